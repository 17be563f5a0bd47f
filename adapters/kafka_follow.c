/* Partitions that are read outside the group, each from an offset of its own: streams, results, control.
 *
 * librdkafka's first interface (consume_start on a queue) does this best: partitions come and go one by one, no membership, no
 * assignment to be made anew.
 *
 * CAUGHT_UP: the end of the log as the first fetch answer after `follow` reports it is at or behind what follow's caller means;
 * it is told when that end was reached, or at an end-of-partition, whichever is first. */
#include "adapters/kafka_private.h"

enum mr_status kafka_follow_open(struct kafka *k, struct mr_err *err)
{
    char text[256];
    static const uint64_t one = 1;
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(k->follow_conf);
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_error_cb(conf, kafka_trouble);
    k->follower = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (!k->follower) {
        rd_kafka_conf_destroy(conf);
        return mr_err_set(err, MR_ERR_INVALID, "Kafka consumer: %s", text);
    }
    k->follow_queue = rd_kafka_queue_new(k->follower);
    rd_kafka_queue_io_event_enable(k->follow_queue, k->io_fd, &one, sizeof one);
    return MR_OK;
}

static void stop(struct kafka_slot *slot)
{
    if (slot->handle) {
        rd_kafka_consume_stop(slot->handle, slot->partition);
        rd_kafka_topic_destroy(slot->handle);
    }
    slot->handle = NULL;
}

void kafka_follow_close(struct kafka *k)
{
    if (!k->follower)
        return;
    for (size_t i = 0; i < k->followed.n; i++)
        stop(&k->followed.items[i]);
    rd_kafka_queue_io_event_enable(k->follow_queue, -1, NULL, 0);
    rd_kafka_queue_destroy(k->follow_queue);
    rd_kafka_destroy_flags(k->follower, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    k->follower = NULL;
}

static enum mr_status start(struct kafka *k, struct kafka_slot *slot)
{
    if (!k->follower)
        return MR_OK; /* its repair starts it */
    int64_t offset = slot->next >= 0 ? slot->next : slot->next == MR_LOG_FROM_END ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
    slot->handle = rd_kafka_topic_new(k->follower, slot->topic, NULL);
    if (slot->handle && rd_kafka_consume_start_queue(slot->handle, slot->partition, offset, k->follow_queue) == 0)
        return MR_OK;
    if (slot->handle)
        rd_kafka_topic_destroy(slot->handle);
    slot->handle = NULL;
    return MR_ERR_IO;
}

enum mr_status kafka_follow_start(struct kafka *k, const struct mr_log_action *action)
{
    char topic[KAFKA_TOPIC_BYTES];
    int32_t partition = action->record.partition, partitions = kafka_topics_partitions(&k->topics, action->record.topic);
    if (!kafka_topic_copy(topic, action->record.topic) || partition < 0 || partition >= partitions)
        return MR_ERR_NOT_FOUND;
    struct kafka_slot *slot = kafka_slot_find(&k->followed, topic, partition);
    if (slot)
        stop(slot); /* followed again, from elsewhere */
    else
        slot = kafka_slot_add(&k->followed, topic, partition);
    slot->next = action->offset >= MR_LOG_FROM_END ? action->offset : -1;
    slot->end = -1;
    slot->caught_up = false;
    enum mr_status status = start(k, slot);
    if (status)
        kafka_slot_remove(&k->followed, slot);
    return status;
}

enum mr_status kafka_follow_stop(struct kafka *k, const struct mr_log_action *action)
{
    char topic[KAFKA_TOPIC_BYTES];
    struct kafka_slot *slot = kafka_topic_copy(topic, action->record.topic) ? kafka_slot_find(&k->followed, topic, action->record.partition) : NULL;
    if (slot) {
        stop(slot);
        kafka_slot_remove(&k->followed, slot);
    }
    return MR_OK;
}

static void tell_caught_up(struct kafka *k, struct kafka_slot *slot)
{
    struct mr_log_event event = {.kind = MR_LOG_CAUGHT_UP, .offset = slot->next};
    slot->caught_up = true;
    kafka_tell(k, &event, slot->topic, slot->partition, (struct mr_str){0});
}

/* The offset is not in the log: read on at its start. */
static void out_of_range(struct kafka *k, struct kafka_slot *slot)
{
    int64_t low = kafka_log_start(k->follower, slot->topic, slot->partition);
    if (low >= 0) {
        struct mr_log_event event = {.kind = MR_LOG_OUT_OF_RANGE, .offset = low};
        kafka_tell(k, &event, slot->topic, slot->partition, (struct mr_str){0});
        slot->next = low;
    } /* else the same error comes again */
    stop(slot);
    if (start(k, slot))
        kafka_repair_ask(k, &k->follow_repair, "a partition cannot be followed any more");
}

void kafka_follow_resume(struct kafka *k)
{
    for (size_t i = 0; i < k->followed.n; i++) {
        if (start(k, &k->followed.items[i])) {
            kafka_repair_ask(k, &k->follow_repair, "a partition cannot be followed any more");
            return;
        }
    }
}

/* What is no record. */
static void take_failure(struct kafka *k, const rd_kafka_message_t *message)
{
    const char *topic = message->rkt ? rd_kafka_topic_name(message->rkt) : NULL;
    struct kafka_slot *slot = topic ? kafka_slot_find(&k->followed, topic, message->partition) : NULL;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (slot && !slot->caught_up) {
            slot->next = message->offset;
            tell_caught_up(k, slot);
        }
    } else if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && slot) {
        out_of_range(k, slot);
    } else {
        kafka_tell_trouble(k, MR_ERR_IO, false, topic, message->partition, rd_kafka_message_errstr(message));
    }
}

bool kafka_follow_next(struct kafka *k, struct mr_log_event *event)
{
    rd_kafka_message_t *message;
    if (!k->follower)
        return false;
    rd_kafka_poll(k->follower, 0); /* the error callback */
    while (!k->pending && (message = rd_kafka_consume_queue(k->follow_queue, 0))) {
        struct kafka_slot *slot = message->rkt ? kafka_slot_find(&k->followed, rd_kafka_topic_name(message->rkt), message->partition) : NULL;
        if (message->err) {
            take_failure(k, message);
        } else if (slot && message->offset >= slot->next) {
            int64_t low, end;
            slot->next = message->offset + 1;
            k->follow_repair.backoff_ns = 0;
            if (!slot->caught_up && slot->end < 0 &&
                !rd_kafka_get_watermark_offsets(k->follower, slot->topic, slot->partition, &low, &end))
                slot->end = end;
            kafka_tell_record(k, MR_LOG_FOLLOWED, message, event);
            if (!slot->caught_up && slot->end >= 0 && slot->next >= slot->end)
                tell_caught_up(k, slot); /* told at the next poll, after this record */
            return true;
        }
        rd_kafka_message_destroy(message);
    }
    return false;
}
