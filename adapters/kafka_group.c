/* Jobs in: one member of the consumer group.
 *
 * Owns the group's handle, the assigned partitions (inputs) and the commits under way.
 *
 *     joined --ASSIGN--> owned --REVOKE--> grace --(MR_KAFKA_REVOKE_GRACE_MS)--> given back
 *
 * Invariants
 * 1. A slot exists from ASSIGNED to REVOKED; `next` is the offset that the caller gets next. A record of no slot, of a paused
 *    one, or below `next` is never told: what librdkafka fetched ahead of a pause or a seek cannot come twice.
 * 2. RESUME seeks to `next`: 2.0.2's own resume has lost records, and does not wake the broker's thread for up to a second. A seek may
 *    fail unseen, so a record behind a gap is told only when reading from `next` again has led to the same record.
 * 3. A commit's answer is OK only if its partition's assignment is the one that it was asked in.
 * 4. Partitions start at explicit offsets (committed, or the log's start). An offset that the log does not hold is told as
 *    OUT_OF_RANGE and reading goes on at the log's start: librdkafka has stopped that partition, so all are assigned anew
 *    at `next`.
 * 5. A fatal error, or a coordinator that names no offsets in all that time, has the handle made anew (kafka_repair).
 * 6. The rebalance callback runs inside poll. On assignment it waits for the coordinator to name the committed offsets: a wait
 *    for the broker, never for the engine; heartbeats go on meanwhile on librdkafka's own thread.
 * 7. A record that the poll returns behind a rebalance is told behind it: before ASSIGNED nobody would take it, and it never comes
 *    again.
 *
 * Rejected: static membership (a restart would keep the generation, and epochs come from it); the cooperative assignor
 * (2.0.2); unassigning inside the callback (the caller could not commit any more). */
#include "adapters/kafka_private.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { COMMITTED_TRIES = 6, COMMITTED_MS = 5000 };

struct commit {
    uint64_t tag, assignment;
};

/* The generation that the group is in, out of the serialised metadata ("CGMDv2:", then an int32 in host order): the accessor
 * came with 2.8. -1: not readable. */
static int32_t generation_of(rd_kafka_t *group)
{
    int32_t generation = -1;
    void *bytes = NULL;
    size_t n = 0;
    rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata(group);
    if (!metadata)
        return -1;
    rd_kafka_error_t *error = rd_kafka_consumer_group_metadata_write(metadata, &bytes, &n);
    if (error)
        rd_kafka_error_destroy(error);
    else if (n >= 7 + sizeof generation && memcmp(bytes, "CGMDv2:", 7) == 0)
        memcpy(&generation, (char *)bytes + 7, sizeof generation);
    if (bytes)
        rd_kafka_mem_free(group, bytes);
    rd_kafka_consumer_group_metadata_destroy(metadata);
    return generation;
}

/* Reads offsets and metadata of partitions; false: the coordinator did not answer in all that time. */
static bool read_committed(struct kafka *k, rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; i < COMMITTED_TRIES; i++) {
        err = rd_kafka_committed(k->group, partitions, COMMITTED_MS);
        for (int p = 0; !err && p < partitions->cnt; p++)
            err = partitions->elems[p].err;
        if (!err)
            return true;
    }
    kafka_repair_ask(k, &k->group_repair, rd_kafka_err2str(err));
    return false;
}

/* Tells what is assigned, and turns the list's offsets into where to start. */
static void take_over(struct kafka *k, rd_kafka_topic_partition_list_t *partitions)
{
    int32_t generation = generation_of(k->group);
    if (generation < 1)
        kafka_tell_trouble(k, MR_ERR_UNSUPPORTED, true, NULL, -1, "this librdkafka does not tell the group's generation");
    k->group_repair.backoff_ns = 0;
    for (int i = 0; i < partitions->cnt; i++) {
        rd_kafka_topic_partition_t *p = &partitions->elems[i];
        struct kafka_slot *slot = kafka_slot_add(&k->inputs, p->topic, p->partition);
        slot->assignment = ++k->assignments;
        slot->next = p->offset >= 0 ? p->offset : -1;
        struct mr_log_event event = {.kind = MR_LOG_ASSIGNED, .offset = slot->next, .generation = generation};
        kafka_tell(k, &event, p->topic, p->partition, (struct mr_str){p->metadata, p->metadata ? p->metadata_size : 0});
        if (slot->next < 0) /* as a number: a pause right now would else lose the first record unseen (invariant 2) */
            slot->next = kafka_log_start(k->group, p->topic, p->partition);
        p->offset = slot->next >= 0 ? slot->next : RD_KAFKA_OFFSET_BEGINNING;
    }
}

void kafka_group_forget(struct kafka *k, bool lost)
{
    for (size_t i = 0; i < k->inputs.n; i++) {
        struct mr_log_event event = {.kind = MR_LOG_REVOKED, .lost = lost};
        kafka_tell(k, &event, k->inputs.items[i].topic, k->inputs.items[i].partition, (struct mr_str){0});
    }
    k->inputs.n = 0;
}

static void rebalance(rd_kafka_t *group, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct kafka *k = opaque;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !k->group_closing) {
        rd_kafka_topic_partition_list_t *starts = rd_kafka_topic_partition_list_copy(partitions);
        if (read_committed(k, starts)) {
            take_over(k, starts);
            rd_kafka_assign(group, starts);
        } else {
            rd_kafka_assign(group, NULL);
        }
        rd_kafka_topic_partition_list_destroy(starts);
        return;
    }
    bool lost = rd_kafka_assignment_lost(group) != 0;
    kafka_group_forget(k, lost);
    if (k->group_closing || lost || err != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        rd_kafka_assign(group, NULL);
    else
        k->unassign_ns = kafka_now_ns() + MR_KAFKA_REVOKE_GRACE_MS * MR_NS_PER_MS;
}

void kafka_group_give_back(struct kafka *k)
{
    if (!k->unassign_ns || kafka_now_ns() < k->unassign_ns)
        return;
    k->unassign_ns = 0;
    rd_kafka_assign(k->group, NULL);
}

enum mr_status kafka_group_prepare(struct kafka *k, struct mr_err *err)
{
    for (int32_t i = 0; i < k->options->n_inputs; i++)
        if (kafka_topics_partitions(&k->topics, mr_str_from(k->options->inputs[i])) < 0)
            return mr_err_set(err, MR_ERR_NOT_FOUND, "topic %s does not exist (`millrace topics create` makes it), or this user may not see it",
                              k->options->inputs[i]);
    k->group_conf = kafka_conf_new(k->options, KAFKA_GROUP, k->dev_broker, err);
    if (!k->group_conf)
        return err->code;
    k->group_topics = rd_kafka_topic_partition_list_new(k->options->n_inputs);
    for (int32_t i = 0; i < k->options->n_inputs; i++)
        rd_kafka_topic_partition_list_add(k->group_topics, k->options->inputs[i], RD_KAFKA_PARTITION_UA);
    return MR_OK;
}

enum mr_status kafka_group_open(struct kafka *k, struct mr_err *err)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(k->group_conf);
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_rebalance_cb(conf, rebalance);
    rd_kafka_conf_set_error_cb(conf, kafka_trouble);
    k->group = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (!k->group) {
        rd_kafka_conf_destroy(conf);
        return mr_err_set(err, MR_ERR_INVALID, "Kafka consumer: %s", text);
    }
    static const uint64_t one = 1;
    rd_kafka_poll_set_consumer(k->group);
    k->group_queue = rd_kafka_queue_get_consumer(k->group);
    k->answers = rd_kafka_queue_new(k->group);
    rd_kafka_queue_io_event_enable(k->group_queue, k->io_fd, &one, sizeof one);
    rd_kafka_queue_io_event_enable(k->answers, k->io_fd, &one, sizeof one);
    rd_kafka_resp_err_t failed = rd_kafka_subscribe(k->group, k->group_topics);
    return failed ? mr_err_set(err, MR_ERR_INVALID, "cannot join the group: %s", rd_kafka_err2str(failed)) : MR_OK;
}

void kafka_group_close(struct kafka *k)
{
    if (!k->group)
        return;
    k->group_closing = true;
    if (k->unassign_ns)
        rd_kafka_assign(k->group, NULL);
    k->unassign_ns = 0;
    bool fatal = rd_kafka_fatal_error(k->group, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
    if (k->group_held)
        rd_kafka_message_destroy(k->group_held);
    k->group_held = NULL;
    if (!fatal) /* after a fatal error 2.0.2 never comes back from it */
        rd_kafka_consumer_close(k->group);
    kafka_group_answers(k);
    rd_kafka_queue_io_event_enable(k->group_queue, -1, NULL, 0);
    rd_kafka_queue_io_event_enable(k->answers, -1, NULL, 0);
    rd_kafka_queue_destroy(k->group_queue);
    rd_kafka_queue_destroy(k->answers);
    rd_kafka_destroy_flags(k->group, fatal ? RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE : 0);
    k->group = NULL;
    k->group_closing = false;
    k->commits = 0; /* no answer comes any more */
}

void kafka_group_leave(struct kafka *k)
{
    k->group_repair.wanted = false;
    if (k->group)
        rd_kafka_unsubscribe(k->group);
}

/* --- records --- */

static rd_kafka_topic_partition_list_t *list_of(const struct kafka_slot *slot, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, slot->topic, slot->partition)->offset = offset;
    return list;
}

/* librdkafka has stopped a partition and only an assignment starts it again: assign all, each where it was (invariant 4). */
static void assign_anew(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new((int)k->inputs.n);
    rd_kafka_topic_partition_list_t *paused = rd_kafka_topic_partition_list_new((int)k->inputs.n);
    for (size_t i = 0; i < k->inputs.n; i++) {
        struct kafka_slot *slot = &k->inputs.items[i];
        int64_t start = slot->next >= 0 ? slot->next : RD_KAFKA_OFFSET_BEGINNING;
        rd_kafka_topic_partition_list_add(all, slot->topic, slot->partition)->offset = start;
        if (slot->paused)
            rd_kafka_topic_partition_list_add(paused, slot->topic, slot->partition);
    }
    rd_kafka_assign(k->group, all);
    if (paused->cnt)
        rd_kafka_pause_partitions(k->group, paused);
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_topic_partition_list_destroy(paused);
}

static void tell_failure(struct kafka *k, const rd_kafka_message_t *message)
{
    const char *topic = message->rkt ? rd_kafka_topic_name(message->rkt) : NULL;
    struct kafka_slot *slot = topic ? kafka_slot_find(&k->inputs, topic, message->partition) : NULL;
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && slot) {
        int64_t start = kafka_log_start(k->group, topic, message->partition);
        if (start >= 0) {
            struct mr_log_event event = {.kind = MR_LOG_OUT_OF_RANGE, .offset = start};
            kafka_tell(k, &event, topic, message->partition, (struct mr_str){0});
            slot->next = start;
        } /* else the same error comes again */
        assign_anew(k);
        return;
    }
    kafka_tell_trouble(k, MR_ERR_IO, false, topic, message->partition, rd_kafka_message_errstr(message));
}

static void seek_to_next(struct kafka *k, const struct kafka_slot *slot)
{
    rd_kafka_topic_partition_list_t *list = list_of(slot, slot->next >= 0 ? slot->next : RD_KAFKA_OFFSET_BEGINNING);
    rd_kafka_error_t *error = rd_kafka_seek_partitions(k->group, list, 0);
    if (error)
        rd_kafka_error_destroy(error);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Whether the record is the caller's next (invariants 1 and 2). */
static bool is_next(struct kafka *k, struct kafka_slot *slot, const rd_kafka_message_t *message)
{
    if (!slot || slot->paused || message->offset < slot->next)
        return false;
    if (slot->next >= 0 && message->offset > slot->next && slot->hole != message->offset) {
        slot->hole = message->offset;
        seek_to_next(k, slot);
        return false;
    }
    slot->hole = -1;
    slot->next = message->offset + 1;
    return true;
}

bool kafka_group_next(struct kafka *k, struct mr_log_event *event)
{
    while (!k->pending) {
        rd_kafka_message_t *message = k->group_held ? k->group_held : rd_kafka_consumer_poll(k->group, 0);
        k->group_held = NULL;
        if (message && k->pending) { /* one call can run the rebalance callback and return a first record (invariant 7) */
            k->group_held = message;
            return false;
        }
        if (!message)
            return false;
        if (message->err) {
            tell_failure(k, message);
        } else if (is_next(k, kafka_slot_find(&k->inputs, rd_kafka_topic_name(message->rkt), message->partition), message)) {
            kafka_tell_record(k, MR_LOG_RECORD, message, event);
            return true;
        }
        rd_kafka_message_destroy(message);
    }
    return false;
}

enum mr_status kafka_group_pause(struct kafka *k, const struct mr_log_action *action, bool pause)
{
    char topic[KAFKA_TOPIC_BYTES];
    struct kafka_slot *slot = kafka_topic_copy(topic, action->record.topic) ? kafka_slot_find(&k->inputs, topic, action->record.partition) : NULL;
    if (!slot || slot->paused == pause)
        return MR_OK; /* revoked in between, or nothing to do */
    rd_kafka_topic_partition_list_t *list = list_of(slot, RD_KAFKA_OFFSET_INVALID);
    slot->paused = pause;
    if (pause) {
        rd_kafka_pause_partitions(k->group, list);
    } else {
        rd_kafka_resume_partitions(k->group, list);
        seek_to_next(k, slot);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return MR_OK;
}

/* --- commits --- */

static void answer(struct kafka *k, uint64_t tag, const char *topic, int32_t partition, enum mr_commit_outcome outcome, const char *text)
{
    struct mr_log_event event = {.kind = MR_LOG_COMMITTED, .tag = tag, .commit = outcome};
    kafka_tell(k, &event, topic, partition, mr_str_from(text));
}

enum mr_status kafka_group_commit(struct kafka *k, const struct mr_log_action *action)
{
    char topic[KAFKA_TOPIC_BYTES];
    int32_t partition = action->record.partition;
    if (!kafka_topic_copy(topic, action->record.topic))
        return MR_ERR_NOT_FOUND;
    const struct kafka_slot *slot = kafka_slot_find(&k->inputs, topic, partition);
    if (!slot && !k->unassign_ns) {
        answer(k, action->tag, topic, partition, MR_COMMIT_NOT_OWNER, "not assigned");
        return MR_OK;
    }
    if (action->transaction && k->transaction && k->group) {
        kafka_transaction_commit(k, action, slot ? slot->assignment : 0, generation_of(k->group));
        return MR_OK;
    }
    if (k->commits >= MR_KAFKA_COMMITS_MAX)
        return MR_ERR_BUSY;
    struct commit *commit = malloc(sizeof *commit);
    CHECK(commit);
    *commit = (struct commit){.tag = action->tag, .assignment = slot ? slot->assignment : 0};
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, partition);
    p->offset = action->offset;
    if (action->text.n) {
        p->metadata = malloc(action->text.n); /* the list frees it */
        CHECK(p->metadata);
        memcpy(p->metadata, action->text.p, action->text.n);
        p->metadata_size = action->text.n;
    }
    rd_kafka_resp_err_t err = rd_kafka_commit_queue(k->group, list, k->answers, NULL, commit);
    rd_kafka_topic_partition_list_destroy(list);
    if (err) {
        answer(k, action->tag, topic, partition, MR_COMMIT_RETRY, rd_kafka_err2str(err));
        free(commit);
    } else {
        k->commits++;
    }
    return MR_OK;
}

static enum mr_commit_outcome outcome_of(rd_kafka_resp_err_t err, bool ours)
{
    if (!ours || err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
        err == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID || err == RD_KAFKA_RESP_ERR__FENCED)
        return MR_COMMIT_NOT_OWNER;
    return err ? MR_COMMIT_RETRY : MR_COMMIT_OK;
}

void kafka_group_answers(struct kafka *k)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(k->answers, 0))) {
        struct commit *commit = rd_kafka_event_opaque(event);
        const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT && commit && list && list->cnt == 1) {
            const rd_kafka_topic_partition_t *p = &list->elems[0];
            rd_kafka_resp_err_t err = rd_kafka_event_error(event);
            const struct kafka_slot *slot = kafka_slot_find(&k->inputs, p->topic, p->partition);
            bool ours = slot && slot->assignment == commit->assignment;
            if (!err)
                err = p->err;
            answer(k, commit->tag, p->topic, p->partition, outcome_of(err, ours), err ? rd_kafka_err2str(err) : "");
            free(commit);
            k->commits--;
        }
        rd_kafka_event_destroy(event);
    }
}
