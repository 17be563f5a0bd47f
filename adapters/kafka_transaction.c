/* Outcomes and positions in one: a transactional producer on a thread of its own.
 *
 * Owns that producer, the thread, what is held for the next commit, and the commits on their way to the thread and back.
 *
 *     hold* , commit --> waiting --(thread: begin, produce all, send offsets, commit)--> done --> COMMITTED
 *
 * Invariants
 * 1. The log thread never waits here: every call that may block is the thread's. They share nothing but the locked lists.
 * 2. Commits that wait go together in one transaction, as far as they were asked for in one generation of the group: the
 *    generation that fences them is the one at the time of asking.
 * 3. Whatever becomes of a transaction, each of its commits is answered once. After an EndTxn whose answer was lost, and after
 *    any other error that aborting does not settle, the producer is made anew under its old name: its init settles what was
 *    left open, so that a late EndTxn can never meet a later transaction (librdkafka has no transactions v2).
 * 4. A transaction that its owner's death leaves open holds back whoever takes its partitions over until the broker aborts it: after
 *    TRANSACTION_MS, the session's time, and at most the broker's interval of looking, which is the broker's to set
 *    (transaction.abort.timed.out.transaction.cleanup.interval.ms, 10 s by default; 1 s keeps the time of a recovery without them).
 * 5. A reader sees outcomes only when they are committed: results need isolation.level = read_committed (librdkafka's default).
 *
 * Rejected: one producer for streams and transactions (no token would be visible before a commit); a transaction a job. */
#include "adapters/kafka_private.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CALL_MS = 5000, TRANSACTION_MS = 6000, TOGETHER_MAX = 64 }; /* the transaction ends no later than the session of whoever died in it */

struct held {
    struct held *next;
    char topic[KAFKA_TOPIC_BYTES];
    int32_t partition; /* -1: the key's */
    struct mr_str key, value; /* in memory; p NULL: none */
    rd_kafka_headers_t *headers;
    char memory[];
};

struct commit {
    struct commit *next;
    struct held *records;
    char topic[KAFKA_TOPIC_BYTES];
    int32_t partition, generation;
    int64_t offset;
    uint64_t tag, assignment;
    rd_kafka_consumer_group_metadata_t *member;
    enum mr_commit_outcome outcome;
    char reason[200];
    size_t n_text;
    char text[];
};

struct kafka_transaction {
    rd_kafka_conf_t *conf;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running, stop;
    int io_fd;
    struct held *held, **held_last;             /* log thread only */
    struct commit *waiting, **waiting_last;     /* locked, as what follows */
    struct commit *done, **done_last;
    rd_kafka_t *producer;                       /* the thread's, as failed; NULL: to be made */
    rd_kafka_error_t *failed;                   /* of the last transaction: settled before the next one */
};

static void held_free(struct held *held)
{
    while (held) {
        struct held *next = held->next;
        if (held->headers)
            rd_kafka_headers_destroy(held->headers);
        free(held);
        held = next;
    }
}

static void commits_free(struct commit *commit)
{
    while (commit) {
        struct commit *next = commit->next;
        held_free(commit->records);
        rd_kafka_consumer_group_metadata_destroy(commit->member);
        free(commit);
        commit = next;
    }
}

/* --- the thread --- */

static void producer_end(struct kafka_transaction *t)
{
    if (t->producer) {
        rd_kafka_purge(t->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
        rd_kafka_destroy(t->producer);
    }
    t->producer = NULL;
}

/* Back to where a transaction can begin (invariant 3). */
static void recover(struct kafka_transaction *t)
{
    rd_kafka_error_t *error = t->failed, *failed = NULL;
    t->failed = NULL;
    if (!error)
        return;
    bool abort = !rd_kafka_error_is_fatal(error) && rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (abort)
        failed = rd_kafka_abort_transaction(t->producer, CALL_MS);
    if (!abort || failed)
        producer_end(t);
    if (failed)
        rd_kafka_error_destroy(failed);
    rd_kafka_error_destroy(error);
}

/* A producer whose earlier transactions are settled; false: not now, and text says why. */
static bool producer_begin(struct kafka_transaction *t, char *text, size_t n)
{
    recover(t);
    if (t->producer)
        return true;
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(t->conf);
    t->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, n);
    if (!t->producer) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    rd_kafka_error_t *error = rd_kafka_init_transactions(t->producer, CALL_MS);
    if (!error)
        return true;
    char quoted[300];
    snprintf(text, n, "%s", rd_kafka_error_string(error));
    mr_log(MR_LOG_WARN, "kafka.transactions", "reason=%s", mr_log_quote(text, quoted, sizeof quoted));
    rd_kafka_error_destroy(error);
    producer_end(t);
    return false;
}

/* Calls again what may be called again, for a while. NULL: done. */
static rd_kafka_error_t *patiently(struct kafka_transaction *t, rd_kafka_error_t *(*call)(struct kafka_transaction *, struct commit *),
                                   struct commit *batch)
{
    int64_t end_ns = kafka_now_ns() + CALL_MS * MR_NS_PER_MS;
    rd_kafka_error_t *error;
    while ((error = call(t, batch)) && rd_kafka_error_is_retriable(error) && kafka_now_ns() < end_ns) {
        const struct timespec pause = {.tv_nsec = 50 * MR_NS_PER_MS};
        rd_kafka_error_destroy(error);
        nanosleep(&pause, NULL);
    }
    return error;
}

static rd_kafka_error_t *call_begin(struct kafka_transaction *t, struct commit *batch)
{
    (void)batch;
    return rd_kafka_begin_transaction(t->producer);
}

static rd_kafka_error_t *call_offsets(struct kafka_transaction *t, struct commit *batch)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(TOGETHER_MAX);
    for (const struct commit *c = batch; c; c = c->next) {
        rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, c->topic, c->partition);
        p->offset = c->offset;
        if (c->n_text) {
            p->metadata = malloc(c->n_text); /* the list frees it */
            CHECK(p->metadata);
            memcpy(p->metadata, c->text, c->n_text);
            p->metadata_size = c->n_text;
        }
    }
    rd_kafka_error_t *error = rd_kafka_send_offsets_to_transaction(t->producer, list, batch->member, CALL_MS);
    rd_kafka_topic_partition_list_destroy(list);
    return error;
}

static rd_kafka_error_t *call_commit(struct kafka_transaction *t, struct commit *batch)
{
    (void)batch;
    return rd_kafka_commit_transaction(t->producer, CALL_MS);
}

static rd_kafka_error_t *produce_one(struct kafka_transaction *t, struct held *held)
{
    rd_kafka_headers_t *headers = held->headers;
    const rd_kafka_vu_t units[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = held->topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = held->partition < 0 ? RD_KAFKA_PARTITION_UA : held->partition},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)held->value.p, held->value.n}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)held->key.p, held->key.n}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *error = rd_kafka_produceva(t->producer, units, sizeof units / sizeof *units);
    if (!error)
        held->headers = NULL; /* librdkafka's now */
    return error;
}

static rd_kafka_error_t *run(struct kafka_transaction *t, struct commit *batch)
{
    rd_kafka_error_t *error = patiently(t, call_begin, batch);
    for (struct commit *c = batch; c && !error; c = c->next)
        for (struct held *held = c->records; held && !error; held = held->next)
            error = produce_one(t, held);
    if (!error)
        error = patiently(t, call_offsets, batch);
    return error ? error : patiently(t, call_commit, batch);
}

static enum mr_commit_outcome outcome_of(rd_kafka_resp_err_t err)
{
    bool gone = err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
                || err == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
    return gone ? MR_COMMIT_NOT_OWNER : MR_COMMIT_RETRY;
}

static void transact(struct kafka_transaction *t, struct commit *batch)
{
    enum mr_commit_outcome outcome = MR_COMMIT_RETRY;
    char reason[sizeof batch->reason] = "";
    if (producer_begin(t, reason, sizeof reason)) {
        rd_kafka_error_t *error = run(t, batch);
        outcome = error ? outcome_of(rd_kafka_error_code(error)) : MR_COMMIT_OK;
        snprintf(reason, sizeof reason, "%s", error ? rd_kafka_error_string(error) : "");
        t->failed = error;
    }
    for (struct commit *c = batch; c; c = c->next) {
        c->outcome = outcome;
        snprintf(c->reason, sizeof c->reason, "%s", reason);
    }
}

/* What waits in one generation, cut off. Locked. */
static struct commit *take_together(struct kafka_transaction *t)
{
    struct commit *first = t->waiting, **end = &t->waiting;
    for (int n = 0; *end && n < TOGETHER_MAX && (*end)->generation == first->generation; n++)
        end = &(*end)->next;
    t->waiting = *end;
    if (!t->waiting)
        t->waiting_last = &t->waiting;
    *end = NULL;
    return first;
}

static void *body(void *self)
{
    static const uint64_t one = 1;
    struct kafka_transaction *t = self;
    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        if (!t->waiting) {
            pthread_cond_wait(&t->changed, &t->lock);
            continue;
        }
        struct commit *batch = take_together(t), *last = batch;
        pthread_mutex_unlock(&t->lock);
        transact(t, batch);
        while (last->next)
            last = last->next;
        pthread_mutex_lock(&t->lock);
        *t->done_last = batch;
        t->done_last = &last->next;
        if (write(t->io_fd, &one, sizeof one) < 0)
            continue; /* its counter is full: the log thread is awake */
    }
    pthread_mutex_unlock(&t->lock);
    if (t->failed)
        rd_kafka_error_destroy(t->failed);
    producer_end(t);
    return NULL;
}

/* --- the log thread --- */

enum mr_status kafka_transaction_open(struct kafka *k, const char *group, struct mr_err *err)
{
    char id[KAFKA_TOPIC_BYTES], text[256];
    struct kafka_transaction *t = calloc(1, sizeof *t);
    if (!t)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for transactions");
    if (k->dev_broker) {
        free(t);
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "delivery.transactions: the embedded broker has none");
    }
    t->conf = rd_kafka_conf_dup(k->producer_conf);
    t->io_fd = k->io_fd;
    t->held_last = &t->held;
    t->waiting_last = &t->waiting;
    t->done_last = &t->done;
    snprintf(id, sizeof id, "%.150s.%016llx", group, (unsigned long long)mr_mix64((uint64_t)kafka_now_ns() ^ (uint64_t)getpid() << 40));
    snprintf(text, sizeof text, "%d", TRANSACTION_MS);
    rd_kafka_conf_set(t->conf, "transactional.id", id, NULL, 0);
    rd_kafka_conf_set(t->conf, "transaction.timeout.ms", text, NULL, 0);
    rd_kafka_conf_set(t->conf, "delivery.timeout.ms", text, NULL, 0); /* no longer than the transaction */
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    k->transaction = t;
    t->running = pthread_create(&t->thread, NULL, body, t) == 0;
    return t->running ? MR_OK : mr_err_set(err, MR_ERR_IO, "no thread left for transactions");
}

void kafka_transaction_close(struct kafka *k)
{
    struct kafka_transaction *t = k->transaction;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (t->running)
        pthread_join(t->thread, NULL);
    held_free(t->held);
    commits_free(t->waiting);
    commits_free(t->done);
    rd_kafka_conf_destroy(t->conf);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
    free(t);
    k->transaction = NULL;
}

static struct mr_str put(char **at, struct mr_str s)
{
    struct mr_str copy = {s.p ? *at : NULL, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

enum mr_status kafka_transaction_hold(struct kafka *k, const struct mr_log_action *action)
{
    struct kafka_transaction *t = k->transaction;
    const struct mr_record *record = &action->record;
    int32_t partitions = kafka_topics_partitions(&k->topics, record->topic);
    if (partitions < 0 || record->partition >= partitions)
        return MR_ERR_NOT_FOUND;
    struct held *held = malloc(sizeof *held + record->key.n + record->value.n + 1);
    CHECK(held);
    char *at = held->memory;
    *held = (struct held){.partition = record->partition, .headers = kafka_headers_of(record)};
    CHECK(kafka_topic_copy(held->topic, record->topic));
    held->key = put(&at, record->key);
    held->value = put(&at, record->value);
    *t->held_last = held;
    t->held_last = &held->next;
    return MR_OK;
}

void kafka_transaction_commit(struct kafka *k, const struct mr_log_action *action, uint64_t assignment, int32_t generation)
{
    struct kafka_transaction *t = k->transaction;
    struct commit *commit = calloc(1, sizeof *commit + action->text.n);
    CHECK(commit && kafka_topic_copy(commit->topic, action->record.topic));
    commit->partition = action->record.partition;
    commit->generation = generation;
    commit->offset = action->offset;
    commit->tag = action->tag;
    commit->assignment = assignment;
    commit->member = rd_kafka_consumer_group_metadata(k->group);
    commit->n_text = action->text.n;
    if (action->text.n)
        memcpy(commit->text, action->text.p, action->text.n);
    commit->records = t->held;
    t->held = NULL;
    t->held_last = &t->held;
    pthread_mutex_lock(&t->lock);
    *t->waiting_last = commit;
    t->waiting_last = &commit->next;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

void kafka_transaction_forget(struct kafka *k)
{
    held_free(k->transaction->held);
    k->transaction->held = NULL;
    k->transaction->held_last = &k->transaction->held;
}

void kafka_transaction_answers(struct kafka *k)
{
    struct kafka_transaction *t = k->transaction;
    pthread_mutex_lock(&t->lock);
    struct commit *done = t->done;
    t->done = NULL;
    t->done_last = &t->done;
    pthread_mutex_unlock(&t->lock);
    for (struct commit *c = done; c; c = c->next) {
        const struct kafka_slot *slot = kafka_slot_find(&k->inputs, c->topic, c->partition);
        bool ours = slot && slot->assignment == c->assignment;
        struct mr_log_event event = {.kind = MR_LOG_COMMITTED, .tag = c->tag, .commit = ours ? c->outcome : MR_COMMIT_NOT_OWNER};
        kafka_tell(k, &event, c->topic, c->partition, mr_str_from(c->reason));
    }
    commits_free(done);
}
