/* The log port on Kafka: one poll and one act over the family's parts.
 *
 * Owns the port, the events of our own making (pending) and the sleep. The parts: kafka_group (the consumer group),
 * kafka_follow (partitions read outside it), kafka_producer, kafka_repair (makes the two readers anew), kafka_topics (a thread
 * that keeps partition counts), kafka_conf.
 *
 * Invariants
 * 1. Everything here runs on the log thread, callbacks of librdkafka included (they are served inside poll); the topics thread
 *    shares nothing but its locked table.
 * 2. At most one record is with the caller; its views die at the next poll.
 * 3. poll sleeps only after every queue was found empty since io_fd was drained last, so that no signal is slept over.
 *    A queue writes io_fd when it becomes non-empty, hence the order: drain, look, sleep.
 * 4. Pending events (assigned, revoked, answers, trouble) go before records, in the order they arose.
 *
 * Rejected: rd_kafka_consume_batch and friends (2.0.2 loses or skips offsets with pause and seek); one handle for group and
 * followed partitions (an assign of one would restart the other); events for rebalances (the callback needs the same work). */
#include "adapters/kafka_private.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

int64_t kafka_now_ns(void)
{
    struct mr_clock clock = mr_clock_system();
    return mr_clock_ns(&clock);
}

bool kafka_topic_copy(char out[KAFKA_TOPIC_BYTES], struct mr_str topic)
{
    if (topic.n >= KAFKA_TOPIC_BYTES)
        return false;
    memcpy(out, topic.p, topic.n);
    out[topic.n] = 0;
    return true;
}

int64_t kafka_log_start(rd_kafka_t *handle, const char *topic, int32_t partition)
{
    int64_t low, high;
    return rd_kafka_query_watermark_offsets(handle, topic, partition, &low, &high, 5000) ? -1 : low;
}

/* --- slots --- */

/* Where (topic, partition) is, or belongs. */
static size_t slot_index(const struct kafka_slots *slots, const char *topic, int32_t partition, bool *found)
{
    size_t low = 0, high = slots->n;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(slots->items[middle].topic, topic);
        if (order == 0)
            order = slots->items[middle].partition - partition;
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct kafka_slot *kafka_slot_find(struct kafka_slots *slots, const char *topic, int32_t partition)
{
    bool found;
    size_t i = slot_index(slots, topic, partition, &found);
    return found ? &slots->items[i] : NULL;
}

struct kafka_slot *kafka_slot_add(struct kafka_slots *slots, const char *topic, int32_t partition)
{
    bool found;
    size_t i = slot_index(slots, topic, partition, &found);
    CHECK(!found);
    if (slots->n == slots->capacity) {
        slots->capacity = slots->capacity ? 2 * slots->capacity : 16;
        slots->items = realloc(slots->items, slots->capacity * sizeof *slots->items);
        CHECK(slots->items);
    }
    memmove(&slots->items[i + 1], &slots->items[i], (slots->n - i) * sizeof *slots->items);
    slots->n++;
    slots->items[i] = (struct kafka_slot){.partition = partition, .next = -1, .hole = -1};
    CHECK(kafka_topic_copy(slots->items[i].topic, mr_str_from(topic)));
    return &slots->items[i];
}

void kafka_slot_remove(struct kafka_slots *slots, struct kafka_slot *slot)
{
    size_t i = (size_t)(slot - slots->items);
    memmove(slot, slot + 1, (slots->n - i - 1) * sizeof *slot);
    slots->n--;
}

/* --- events --- */

void kafka_tell(struct kafka *k, const struct mr_log_event *event, const char *topic, int32_t partition, struct mr_str text)
{
    struct kafka_pending *pending = calloc(1, sizeof *pending + text.n + 1);
    CHECK(pending);
    pending->event = *event;
    if (topic)
        CHECK(kafka_topic_copy(pending->topic, mr_str_from(topic)));
    if (text.n)
        memcpy(pending->text, text.p, text.n);
    pending->event.record.topic = mr_str_from(pending->topic);
    pending->event.record.partition = partition;
    pending->event.text = (struct mr_str){pending->text, text.n};
    *k->pending_tail = pending;
    k->pending_tail = &pending->next;
}

void kafka_tell_trouble(struct kafka *k, enum mr_status status, bool fatal, const char *topic, int32_t partition, const char *text)
{
    struct mr_log_event event = {.kind = MR_LOG_TROUBLE, .status = status, .fatal = fatal};
    kafka_tell(k, &event, topic, partition, mr_str_from(text));
}

void kafka_trouble(rd_kafka_t *handle, int err, const char *reason, void *opaque)
{
    (void)handle;
    kafka_tell_trouble(opaque, err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ? MR_ERR_BUSY : MR_ERR_IO, false, NULL, -1, reason);
}

void kafka_tell_record(struct kafka *k, enum mr_log_event_kind kind, rd_kafka_message_t *message, struct mr_log_event *event)
{
    rd_kafka_timestamp_type_t type;
    rd_kafka_headers_t *headers = NULL;
    int32_t n = 0;
    CHECK(kafka_topic_copy(k->topic, mr_str_from(rd_kafka_topic_name(message->rkt))));
    if (!rd_kafka_message_headers(message, &headers)) {
        const char *name;
        const void *value;
        size_t bytes;
        while (n < MR_HEADERS_MAX && !rd_kafka_header_get_all(headers, (size_t)n, &name, &value, &bytes)) {
            k->headers[n].key = mr_str_from(name);
            k->headers[n].value = (struct mr_str){value, bytes};
            n++;
        }
    }
    k->message = message;
    *event = (struct mr_log_event){
        .kind = kind,
        .record = {
            .topic = mr_str_from(k->topic),
            .partition = message->partition,
            .offset = message->offset,
            .timestamp_ms = rd_kafka_message_timestamp(message, &type),
            .key = {message->key, message->key ? message->key_len : 0},
            .value = {message->payload, message->payload ? message->len : 0},
            .headers = k->headers,
            .n_headers = n,
        },
    };
}

static bool take_pending(struct kafka *k, struct mr_log_event *event)
{
    if (!k->pending)
        return false;
    k->told = k->pending;
    k->pending = k->told->next;
    if (!k->pending)
        k->pending_tail = &k->pending;
    *event = k->told->event;
    return true;
}

/* --- poll --- */

/* Whatever is there now. */
static bool look(struct kafka *k, struct mr_log_event *event)
{
    if (take_pending(k, event) || kafka_producer_next(k, event))
        return true;
    kafka_repair_step(k);
    if (k->group) {
        kafka_group_answers(k);
        if (k->transaction)
            kafka_transaction_answers(k);
        kafka_group_give_back(k);
    }
    if (take_pending(k, event))
        return true;
    for (int i = 0; i < 2; i++) {
        k->turn = !k->turn;
        bool got = k->turn ? kafka_follow_next(k, event) : k->group && kafka_group_next(k, event);
        if (got)
            return true;
    }
    return take_pending(k, event);
}

static void sleep_until(struct kafka *k, int64_t deadline_ns, bool *woken)
{
    struct pollfd fds[2] = {{.fd = k->wake->fd, .events = POLLIN}, {.fd = k->io_fd, .events = POLLIN}};
    int64_t wake_ns = deadline_ns;
    if (k->unassign_ns && k->unassign_ns < wake_ns)
        wake_ns = k->unassign_ns;
    if (kafka_repair_due_ns(k) < wake_ns)
        wake_ns = kafka_repair_due_ns(k);
    int64_t wait = wake_ns - kafka_now_ns();
    if (wait < 0)
        wait = 0;
    int64_t wait_ms = (wait + MR_NS_PER_MS - 1) / MR_NS_PER_MS;
    *woken = false;
    if (poll(fds, 2, wait_ms < INT32_MAX ? (int)wait_ms : -1) <= 0 || !(fds[0].revents & POLLIN))
        return;
    mr_wake_wait(k->wake, 0);
    *woken = true;
}

static void let_go(struct kafka *k)
{
    free(k->told);
    k->told = NULL;
    if (k->message)
        rd_kafka_message_destroy(k->message);
    k->message = NULL;
}

static bool kafka_poll(void *self, int64_t timeout_ns, struct mr_log_event *event)
{
    struct kafka *k = self;
    int64_t deadline_ns = timeout_ns > INT64_MAX / 2 || timeout_ns < 0 ? INT64_MAX / 2 : kafka_now_ns() + timeout_ns;
    let_go(k);
    for (;;) {
        bool woken;
        uint64_t signals;
        if (look(k, event))
            return true;
        ssize_t drained = read(k->io_fd, &signals, sizeof signals);
        if (drained > 0) /* something came since: look again before sleeping (invariant 3) */
            continue;
        sleep_until(k, deadline_ns, &woken);
        if (woken)
            return false;
        if (kafka_now_ns() >= deadline_ns)
            return look(k, event);
    }
}

static enum mr_status kafka_act(void *self, const struct mr_log_action *action)
{
    struct kafka *k = self;
    switch (action->kind) {
    case MR_LOG_PRODUCE:
        return action->transaction && k->transaction ? kafka_transaction_hold(k, action) : kafka_producer_send(k, action);
    case MR_LOG_COMMIT:
        CHECK(k->role == MR_LOG_WORKER);
        return kafka_group_commit(k, action);
    case MR_LOG_PAUSE:
    case MR_LOG_RESUME:
        CHECK(k->role == MR_LOG_WORKER);
        return kafka_group_pause(k, action, action->kind == MR_LOG_PAUSE);
    case MR_LOG_FOLLOW:
        return kafka_follow_start(k, action);
    case MR_LOG_UNFOLLOW:
        return kafka_follow_stop(k, action);
    case MR_LOG_REOPEN_PRODUCER:
        kafka_producer_close(k, 0);
        if (k->transaction)
            kafka_transaction_forget(k);
        struct mr_err err;
        if (kafka_producer_open(k, &err)) /* what is produced now fails, and asks for the next one */
            kafka_tell_trouble(k, err.code, false, NULL, -1, err.text);
        return MR_OK;
    case MR_LOG_LEAVE:
        if (k->role == MR_LOG_WORKER)
            kafka_group_leave(k);
        return MR_OK;
    }
    CHECK(!"action kind");
    return MR_ERR_INVALID;
}

static int32_t kafka_partitions(void *self, struct mr_str topic)
{
    struct kafka *k = self;
    return kafka_topics_partitions(&k->topics, topic);
}

/* --- open and close --- */

static void port_free(struct kafka *k)
{
    let_go(k); /* a message holds its handle: first of all */
    kafka_topics_stop(&k->topics);
    kafka_transaction_close(k);
    kafka_group_close(k);
    kafka_follow_close(k);
    kafka_producer_close(k, MR_KAFKA_FLUSH_MS);
    kafka_topics_free(&k->topics);
    rd_kafka_conf_t *confs[] = {k->producer_conf, k->group_conf, k->follow_conf};
    for (int i = 0; i < 3; i++)
        if (confs[i])
            rd_kafka_conf_destroy(confs[i]);
    if (k->group_topics)
        rd_kafka_topic_partition_list_destroy(k->group_topics);
    while (k->pending) {
        struct kafka_pending *next = k->pending->next;
        free(k->pending);
        k->pending = next;
    }
    free(k->inputs.items);
    free(k->followed.items);
    if (k->io_fd >= 0)
        close(k->io_fd);
    pthread_mutex_destroy(&k->topics.lock);
    pthread_cond_destroy(&k->topics.changed);
    free(k);
}

static enum mr_status port_open(struct kafka *k, struct mr_err *err)
{
    enum mr_status status;
    if (k->io_fd < 0)
        return mr_err_set(err, MR_ERR_IO, "no file descriptor left for Kafka");
    k->producer_conf = kafka_conf_new(k->options, KAFKA_PRODUCER, false, err);
    if (!k->producer_conf)
        return err->code;
    if ((status = kafka_producer_open(k, err)))
        return status;
    /* The list of topics also tells what kind of broker this is, before the consumers are set up for it. */
    if ((status = kafka_topics_read(&k->topics, k->producer, MR_KAFKA_OPEN_MS, err)))
        return status;
    k->dev_broker = kafka_topics_partitions(&k->topics, MR_STR(MR_KAFKA_DEV_BROKER_TOPIC)) >= 0;
    k->follow_conf = kafka_conf_new(k->options, KAFKA_FOLLOWER, k->dev_broker, err);
    if (!k->follow_conf)
        return err->code;
    if ((status = kafka_follow_open(k, err)))
        return status;
    if (!kafka_topics_start(&k->topics, k->follower))
        return mr_err_set(err, MR_ERR_IO, "no thread left for Kafka");
    if (k->role == MR_LOG_CLIENT)
        return MR_OK;
    if (k->options->transactions && (status = kafka_transaction_open(k, k->options->group, err)))
        return status;
    status = kafka_group_prepare(k, err);
    return status ? status : kafka_group_open(k, err);
}

enum mr_status mr_kafka_open(const struct mr_kafka_options *options, enum mr_log_role role, struct mr_wake *wake, struct mr_log_port *out,
                             struct mr_err *err)
{
    struct mr_err own;
    struct kafka *k = calloc(1, sizeof *k);
    if (!err)
        err = &own;
    if (!k)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for Kafka");
    k->role = role;
    k->options = options;
    k->wake = wake;
    k->pending_tail = &k->pending;
    pthread_mutex_init(&k->topics.lock, NULL);
    pthread_cond_init(&k->topics.changed, NULL);
    k->io_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum mr_status status = port_open(k, err);
    k->options = NULL;
    if (status) {
        port_free(k);
        return status;
    }
    *out = (struct mr_log_port){.poll = kafka_poll, .act = kafka_act, .partitions = kafka_partitions, .wake = wake, .self = k};
    return MR_OK;
}

void mr_kafka_close(struct mr_log_port *port)
{
    if (port->self)
        port_free(port->self);
    *port = (struct mr_log_port){0};
}
