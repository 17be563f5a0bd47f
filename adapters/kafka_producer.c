/* Records out: one idempotent producer, its delivery reports as events. */
#include "adapters/kafka_private.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdint.h>

enum mr_status kafka_producer_open(struct kafka *k, struct mr_err *err)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(k->producer_conf);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    k->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!k->producer) {
        rd_kafka_conf_destroy(conf);
        return mr_err_set(err, MR_ERR_INVALID, "Kafka producer: %s", text);
    }
    k->reports = rd_kafka_queue_get_main(k->producer);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(k->reports, k->io_fd, &one, sizeof one);
    return MR_OK;
}

void kafka_producer_close(struct kafka *k, int64_t flush_ms)
{
    if (!k->producer)
        return;
    int64_t deadline_ns = kafka_now_ns() + flush_ms * MR_NS_PER_MS;
    if (k->report)
        rd_kafka_event_destroy(k->report);
    k->report = NULL;
    while (rd_kafka_outq_len(k->producer) > 0 && kafka_now_ns() < deadline_ns)
        rd_kafka_event_destroy(rd_kafka_queue_poll(k->reports, 50));
    rd_kafka_purge(k->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    rd_kafka_queue_io_event_enable(k->reports, -1, NULL, 0);
    rd_kafka_queue_destroy(k->reports);
    rd_kafka_destroy(k->producer);
    k->producer = NULL;
    k->reports = NULL;
}

static enum mr_status status_of(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return MR_OK;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
        return MR_ERR_LIMIT;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
        return MR_ERR_TIMEOUT;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return MR_ERR_NOT_FOUND;
    case RD_KAFKA_RESP_ERR__FATAL:
        return MR_ERR_CLOSED;
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return MR_ERR_BUSY;
    default:
        return MR_ERR_IO;
    }
}

rd_kafka_headers_t *kafka_headers_of(const struct mr_record *record)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)record->n_headers);
    for (int32_t i = 0; i < record->n_headers; i++) {
        const struct mr_header *header = &record->headers[i];
        rd_kafka_header_add(headers, header->key.p, (ssize_t)header->key.n, header->value.p, (ssize_t)header->value.n);
    }
    return headers;
}

enum mr_status kafka_producer_send(struct kafka *k, const struct mr_log_action *action)
{
    const struct mr_record *record = &action->record;
    char topic[KAFKA_TOPIC_BYTES];
    int32_t partitions = kafka_topics_partitions(&k->topics, record->topic);
    if (!kafka_topic_copy(topic, record->topic) || partitions < 0 || record->partition >= partitions)
        return MR_ERR_NOT_FOUND;
    if (!k->producer) {
        struct mr_log_event event = {.kind = MR_LOG_DELIVERED, .status = MR_ERR_CLOSED, .tag = action->tag};
        kafka_tell(k, &event, topic, record->partition, MR_STR("no producer could be made"));
        return MR_OK;
    }
    rd_kafka_headers_t *headers = kafka_headers_of(record);
    const rd_kafka_vu_t units[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = record->partition < 0 ? RD_KAFKA_PARTITION_UA : record->partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)record->value.p, record->value.n}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)record->key.p, record->key.n}},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)action->tag},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *error = rd_kafka_produceva(k->producer, units, sizeof units / sizeof *units);
    if (!error)
        return MR_OK; /* the headers are librdkafka's now */
    rd_kafka_headers_destroy(headers);
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        struct mr_log_event event = {.kind = MR_LOG_DELIVERED, .status = status_of(code), .tag = action->tag};
        kafka_tell(k, &event, topic, record->partition, mr_str_from(rd_kafka_error_string(error)));
    }
    rd_kafka_error_destroy(error);
    return code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? MR_ERR_BUSY : MR_OK;
}

static void tell_report(struct kafka *k, const rd_kafka_message_t *message, struct mr_log_event *event)
{
    rd_kafka_timestamp_type_t type;
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, &type);
    struct mr_clock clock = mr_clock_system();
    CHECK(kafka_topic_copy(k->topic, mr_str_from(rd_kafka_topic_name(message->rkt))));
    *event = (struct mr_log_event){
        .kind = MR_LOG_DELIVERED,
        .record = {.topic = mr_str_from(k->topic), .partition = message->partition, .offset = message->offset},
        .offset = message->offset,
        .timestamp_ms = k->dev_broker || timestamp_ms <= 0 ? mr_clock_wall_ms(&clock) : timestamp_ms, /* the embedded one says 1234 */
        .tag = (uint64_t)(uintptr_t)message->_private,
        .status = status_of(message->err),
        .text = mr_str_from(message->err ? rd_kafka_err2str(message->err) : ""),
    };
}

bool kafka_producer_next(struct kafka *k, struct mr_log_event *event)
{
    if (!k->producer)
        return false;
    for (;;) {
        const rd_kafka_message_t *message = k->report ? rd_kafka_event_message_next(k->report) : NULL;
        if (message) {
            tell_report(k, message, event);
            return true;
        }
        if (k->report)
            rd_kafka_event_destroy(k->report);
        k->report = rd_kafka_queue_poll(k->reports, 0);
        if (!k->report)
            return false;
        if (rd_kafka_event_type(k->report) == RD_KAFKA_EVENT_ERROR)
            kafka_tell_trouble(k, status_of(rd_kafka_event_error(k->report)), false, NULL, -1, rd_kafka_event_error_string(k->report));
    }
}
