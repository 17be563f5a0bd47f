/* The owner by hand: one partition, events one at a time, and what it does about each. The simulator (tests/sim) has the storms. */
#include "tests/test.h"

#include "worker/encoding.h"
#include "worker/owner.h"

#include <stdlib.h>

enum { LOG_MAX = 256 };

static const struct mr_route routes[] = {{.name = "r", .jobs = "jobs", .parked = "parked", .stream = "stream", .stream_parked = "sp",
    .results = "results",
                                          .dead = "dead", .control = "control", .tier = MR_TIER_REALTIME, .tenant = "acme"}};

static struct {
    struct mr_owner *owner;
    int64_t now_ns, wall_ms;
    struct mr_buf values[LOG_MAX];  /* the stream partition */
    enum mr_fold_kind kinds[LOG_MAX];
    struct mr_stream_record starts[LOG_MAX];
    int64_t n_log, told;            /* records in it; followed so far */
    bool hold_acks;
    uint64_t tags[LOG_MAX];
    int n_tags;
    uint64_t admit, submit, cancel, drop; /* handles of the last of each; 0: none */
    int32_t submit_accepted;
    int results, dead, commits, exits, reopens, pauses, resumes;
    int64_t commit_offset;
    uint64_t commit_tag;
    char dead_reason[32];
    uint64_t random;
} t;

static uint64_t next_random(void *self)
{
    (void)self;
    return ++t.random;
}

static void take_produce(const struct mr_log_action *log)
{
    t.results += mr_str_is(log->record.topic, "results");
    if (mr_str_is(log->record.topic, "dead")) {
        struct mr_str reason = mr_record_header(&log->record, "mr-dead-reason");
        snprintf(t.dead_reason, sizeof t.dead_reason, "%.*s", (int)reason.n, reason.p);
        t.dead++;
    }
    if (mr_str_is(log->record.topic, "stream")) {
        struct mr_arena arena;
        struct mr_stream_record rec;
        mr_arena_init(&arena, 0);
        EXPECT(mr_stream_record_decode(&log->record, &arena, &rec, NULL) == MR_OK);
        t.kinds[t.n_log] = rec.kind;
        t.starts[t.n_log] = (struct mr_stream_record){.epoch = rec.epoch, .writer = rec.writer, .cause = rec.cause, .alone = rec.alone, .n = rec.n,
            .reason = rec.reason};
        mr_arena_fini(&arena);
        mr_buf_clear(&t.values[t.n_log]);
        mr_buf_add_str(&t.values[t.n_log++], log->record.value);
    }
    if (log->tag)
        t.tags[t.n_tags++] = log->tag;
}

static void take(const struct mr_owner_action *a)
{
    switch (a->kind) {
    case MR_OWNER_DO_ADMIT: t.admit = a->handle; break;
    case MR_OWNER_DO_SUBMIT: t.submit = a->handle, t.submit_accepted = a->engine.n_accepted; break;
    case MR_OWNER_DO_CANCEL: t.cancel = a->handle; break;
    case MR_OWNER_DO_DROP: t.drop = a->handle; break;
    case MR_OWNER_DO_EXIT: t.exits++; break;
    case MR_OWNER_DO_LOG:
        if (a->log.kind == MR_LOG_PRODUCE)
            take_produce(&a->log);
        if (a->log.kind == MR_LOG_COMMIT)
            t.commits++, t.commit_offset = a->log.offset, t.commit_tag = a->log.tag;
        t.reopens += a->log.kind == MR_LOG_REOPEN_PRODUCER;
        t.pauses += a->log.kind == MR_LOG_PAUSE;
        t.resumes += a->log.kind == MR_LOG_RESUME;
        break;
    default: break;
    }
}

static void step(const struct mr_owner_event *event)
{
    const struct mr_owner_action *actions;
    size_t n;
    mr_owner_step(t.owner, event, t.now_ns, &actions, &n);
    for (size_t i = 0; i < n; i++)
        take(&actions[i]);
    mr_owner_check(t.owner);
}

static void tell(enum mr_log_event_kind kind, const char *topic, struct mr_log_event event)
{
    event.kind = kind;
    event.record.topic = mr_str_from(topic);
    step(&(struct mr_owner_event){.kind = MR_OWNER_LOG, .log = &event});
}

static void pass(int64_t ms)
{
    t.now_ns += ms * MR_NS_PER_MS;
    t.wall_ms += ms;
    step(&(struct mr_owner_event){.kind = MR_OWNER_TICK});
}

static void acks(enum mr_status status)
{
    for (int i = 0; i < t.n_tags; i++)
        tell(MR_LOG_DELIVERED, "", (struct mr_log_event){.tag = t.tags[i], .status = status, .timestamp_ms = status == MR_OK ? t.wall_ms : 0});
    t.n_tags = 0;
}

/* The tail shows everything appended so far, and then the reports come. */
static void flow(void)
{
    while (t.told < t.n_log || t.n_tags) {
        for (; t.told < t.n_log; ) {
            int64_t at = t.told++;
            tell(MR_LOG_FOLLOWED, "stream", (struct mr_log_event){.record = {.offset = at, .timestamp_ms = t.wall_ms,
                .value = mr_buf_view(&t.values[at])}});
        }
        if (t.hold_acks)
            return;
        acks(MR_OK);
    }
}

static void assign(int32_t generation, int64_t committed)
{
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = committed, .generation = generation});
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
}

static void open_owner(void)
{
    for (int i = 0; i < LOG_MAX; i++)
        mr_buf_fini(&t.values[i]);
    memset(&t, 0, sizeof t);
    t.now_ns = MR_NS_PER_S;
    t.wall_ms = 5000;
    struct mr_owner_config config = {.routes = routes, .n_routes = 1, .process = 77, .worker = "w", .build = "b", .model_digest = "m",
        .tokenizer_digest = "k",
                                     .tier = {{1, 0}, {8, 100 * MR_NS_PER_MS}, {64, MR_NS_PER_S}}, .max_jobs = 8, .max_jobs_per_partition = 4,
                                         .max_waiting = 4,
                                     .max_tenants = 2, .max_bytes = 1 << 20, .max_dead_bytes = 1 << 20, .grace_ns = MR_NS_PER_S,
                                         .random = next_random};
    EXPECT(mr_owner_open(&config, &t.owner, NULL) == MR_OK);
    pass(1);
    tell(MR_LOG_CAUGHT_UP, "control", (struct mr_log_event){0});
}

static void close_owner(void) { mr_owner_close(t.owner); }

static void input(int64_t offset) { tell(MR_LOG_RECORD, "jobs", (struct mr_log_event){.record = {.offset = offset, .timestamp_ms = 4000 + offset,
    .value = MR_STR("{}")}}); }

static struct mr_job *job_make(const char *name, const char *hash)
{
    struct mr_job *job = calloc(1, sizeof *job);
    job->encoding = MR_ENCODING_JSON;
    job->name = mr_arena_str(&job->arena, mr_str_from(name));
    job->tenant = (struct mr_str){job->name.p, 4};
    job->id = (struct mr_str){job->name.p + 5, job->name.n - 5};
    job->stream = true;
    job->prompt_ids = mr_arena_alloc(&job->arena, 8);
    job->n_prompt = 2;
    snprintf(job->body_hash, sizeof job->body_hash, "%s", hash);
    return job;
}

static void verdict(const char *name, const char *hash, const struct mr_refusal *refusal)
{
    step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job_make(name, hash), .refusal = refusal});
}

static void tokens(int64_t seq, int32_t id)
{
    step(&(struct mr_owner_event){.kind = MR_OWNER_TOKENS, .handle = t.submit, .seq = seq, .n_tokens = 1, .ids = &id, .text = MR_STR("x")});
}

static void end(enum mr_finish finish) { step(&(struct mr_owner_event){.kind = MR_OWNER_ENDED, .handle = t.submit, .finish = finish}); }
static enum mr_fold_kind last_kind(void) { return t.kinds[t.n_log - 1]; }

/* Appends to the stream as another worker would. */
static void foreign_start(int64_t epoch, uint64_t process, bool alone)
{
    struct mr_stream_record r = {.kind = MR_FOLD_START, .job = MR_STR("acme/a"), .src = {0, 4000}, .epoch = epoch, .writer = process * 3,
        .cause = MR_CAUSE_TAKEOVER,
                                 .process = process, .alone = alone, .model_digest = MR_STR("m"), .tokenizer_digest = MR_STR("k"),
                                     .body_hash = MR_STR("h")};
    mr_buf_clear(&t.values[t.n_log]);
    EXPECT(mr_stream_record_encode(&r, MR_ENCODING_JSON, &t.values[t.n_log]));
    t.kinds[t.n_log++] = MR_FOLD_START;
}

TEST(nothing_leaves_before_the_barrier)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 1);
    EXPECT_EQ(t.starts[0].epoch, 3 << 20);
    EXPECT(t.submit != 0); /* the engine may begin */
    tokens(0, 5);
    tokens(1, 6);
    EXPECT_EQ(t.n_log, 1); /* but its tokens wait */
    flow();
    EXPECT(t.n_log == 2 && t.kinds[1] == MR_FOLD_TOK); /* both in one record */
    end(MR_FINISH_STOP);
    EXPECT_EQ(last_kind(), MR_FOLD_DONE);
    EXPECT_EQ(t.results, 0); /* not before the tail has shown the terminal */
    t.hold_acks = true;
    flow();
    EXPECT_EQ(t.results, 1);
    pass(1000);
    EXPECT_EQ(t.commit_offset, 0); /* not before the result is acknowledged */
    acks(MR_OK);
    tell(MR_LOG_COMMITTED, "jobs", (struct mr_log_event){.tag = t.commit_tag, .commit = MR_COMMIT_OK});
    pass(1000);
    EXPECT_EQ(t.commit_offset, 1);
    close_owner();
}

TEST(takeover_continues_and_counts_epochs)
{
    open_owner();
    foreign_start((5 << 20) + 9, 11, false); /* a higher generation once was: the group has been deleted since */
    flow();
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = 1});
    t.told = 0;
    flow();
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
    input(0);
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 2);
    EXPECT_EQ(t.starts[1].epoch, (5 << 20) + 10);
    EXPECT_EQ(t.starts[1].cause, MR_CAUSE_TAKEOVER);
    close_owner();
}

TEST(another_start_raises_the_question)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    tokens(0, 5);
    flow();
    foreign_start(4 << 20, 11, false);
    int before = t.commits;
    flow();
    EXPECT_EQ(t.commits, before + 1); /* who owns? */
    tokens(1, 6);
    EXPECT_EQ(t.n_log, 3); /* START, TOK, the other's START: silence until the answer */
    tell(MR_LOG_COMMITTED, "jobs", (struct mr_log_event){.tag = t.commit_tag, .commit = MR_COMMIT_RETRY});
    pass(50);
    EXPECT_EQ(t.commits, before + 1);
    pass(100);
    EXPECT_EQ(t.commits, before + 2); /* after a back-off */
    tell(MR_LOG_COMMITTED, "jobs", (struct mr_log_event){.tag = t.commit_tag, .commit = MR_COMMIT_OK});
    EXPECT_EQ(t.starts[3].epoch, (4 << 20) + 1);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_TOK); /* the token made meanwhile goes on where the log stands */
    EXPECT(t.drop == 0);
    close_owner();
}

TEST(who_does_not_own_stands_down)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    foreign_start(4 << 20, 11, false);
    flow();
    tell(MR_LOG_COMMITTED, "jobs", (struct mr_log_event){.tag = t.commit_tag, .commit = MR_COMMIT_NOT_OWNER});
    int64_t n = t.n_log;
    tokens(0, 5);
    end(MR_FINISH_STOP);
    pass(5000);
    EXPECT_EQ(t.n_log, n);
    pass(20000); /* and does not come back: forgotten */
    struct mr_owner_stats stats;
    mr_owner_stats(t.owner, &stats);
    EXPECT(stats.live == 0 && stats.partitions == 0);
    close_owner();
}

TEST(parked_and_back)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    tokens(0, 5);
    flow();
    tell(MR_LOG_REVOKED, "jobs", (struct mr_log_event){0});
    int64_t n = t.n_log;
    tokens(1, 6);
    EXPECT_EQ(t.n_log, n);
    assign(4, 0);
    EXPECT_EQ(t.starts[n].cause, MR_CAUSE_REBALANCE);
    EXPECT_EQ(t.starts[n].epoch, 4 << 20);
    input(0); /* delivered again: nobody cares */
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_TOK);
    EXPECT(t.drop == 0);
    close_owner();
}

TEST(a_delivery_error_begins_anew)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    tokens(0, 5);
    tokens(1, 6);
    int64_t n = t.n_log;
    tell(MR_LOG_DELIVERED, "", (struct mr_log_event){.tag = t.tags[0], .status = MR_ERR_TIMEOUT});
    EXPECT_EQ(t.reopens, 1);
    tell(MR_LOG_DELIVERED, "", (struct mr_log_event){.tag = t.tags[1], .status = MR_ERR_TIMEOUT});
    EXPECT_EQ(t.reopens, 1); /* of the producer that is gone already */
    t.n_tags = 0;
    t.n_log = n - 2; /* both are lost */
    pass(200);
    EXPECT_EQ(t.starts[n - 2].cause, MR_CAUSE_PRODUCER);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_TOK);
    EXPECT_EQ(t.n_log, n); /* START, and both tokens in a record each or one */
    close_owner();
}

TEST(refused_duplicate_and_conflict)
{
    struct mr_refusal refusal = {.reason = MR_REASON_OUT_OF_RANGE, .field = "top_p", .message = "top_p is out of range"};
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/bad", "h", &refusal);
    flow();
    EXPECT(t.kinds[0] == MR_FOLD_START && t.kinds[1] == MR_FOLD_FAILED && t.submit == 0);
    EXPECT(t.results == 1 && t.dead == 1);
    EXPECT_STR(t.dead_reason, "out_of_range");
    input(1);
    verdict("acme/a", "h", NULL);
    flow();
    input(2);
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_DUPLICATE);
    EXPECT(t.results == 1 && t.dead == 1); /* it leaves no trace but in the stream */
    input(3);
    verdict("acme/a", "other", NULL);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_FAILED);
    EXPECT_STR(t.dead_reason, "id_conflict");
    EXPECT(t.results == 1 && t.dead == 2);
    close_owner();
}

TEST(cancel_before_and_after)
{
    static const struct mr_str value = MR_STR("{\"v\":1,\"kind\":\"cancel\",\"job\":\"acme/a\"}");
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    tokens(0, 5);
    tell(MR_LOG_FOLLOWED, "control", (struct mr_log_event){.record = {.value = value}});
    EXPECT(t.cancel == t.submit);
    end(MR_FINISH_CANCELLED);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_CANCELLED);
    EXPECT_EQ(t.starts[t.n_log - 1].n, 1);
    EXPECT_EQ(t.results, 1);
    input(1); /* the same name again: cancelled before it runs (the duplicate's rule comes after its own outcome) */
    t.submit = 0;
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT(t.submit == 0 && mr_fold_is_terminal(last_kind()));
    close_owner();
}

TEST(deadlines_in_broker_time)
{
    open_owner();
    assign(3, 0);
    input(0); /* stamped 4000 by the broker */
    struct mr_job *job = job_make("acme/a", "h");
    job->deadline_ms = 1500;
    step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job});
    t.hold_acks = true;
    flow();
    pass(100000);
    EXPECT(t.cancel == 0); /* no report yet: nothing expires */
    t.hold_acks = false;
    t.wall_ms = 5400; /* what the broker says now */
    flow();
    pass(50);
    EXPECT(t.cancel == 0);
    pass(100);
    EXPECT(t.cancel == t.submit);
    end(MR_FINISH_CANCELLED);
    flow();
    EXPECT_EQ(last_kind(), MR_FOLD_EXPIRED);
    close_owner();
}

TEST(suspects_run_alone_and_three_deaths_are_poison)
{
    open_owner();
    foreign_start(1, 11, false);
    foreign_start(2, 12, false);
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = 3});
    flow();
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
    input(0);
    uint64_t suspect = t.admit;
    input(1);
    verdict("acme/neighbour", "h", NULL);
    flow();
    uint64_t neighbour = t.submit;
    t.admit = suspect;
    verdict("acme/a", "h", NULL);
    EXPECT_EQ(t.n_log, 3); /* it waits for the engine to be empty */
    pass(60);
    EXPECT(t.drop == neighbour);
    step(&(struct mr_owner_event){.kind = MR_OWNER_DROPPED, .handle = neighbour});
    pass(60);
    EXPECT(t.n_log == 4 && t.starts[3].alone);
    flow();
    tokens(0, 5); /* of the suspect: it lives */
    flow();
    pass(60);
    pass(60);
    EXPECT(t.submit == neighbour);
    close_owner();

    open_owner();
    for (int i = 0; i < 5; i++)
        foreign_start(i + 1, 11 + (uint64_t)i, i > 1);
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = 3});
    flow();
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    EXPECT(t.submit == 0 && last_kind() == MR_FOLD_FAILED && t.starts[t.n_log - 1].reason == MR_REASON_POISON);
    EXPECT_STR(t.dead_reason, "poison");
    close_owner();
}

TEST(drain_yields_what_is_left)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
    input(1);
    verdict("acme/b", "h", NULL);
    flow();
    uint64_t second = t.submit;
    step(&(struct mr_owner_event){.kind = MR_OWNER_DRAIN});
    EXPECT(t.pauses > 0);
    end(MR_FINISH_STOP);
    flow();
    EXPECT(second && t.exits == 0);
    pass(1100); /* the grace is over; the first still runs */
    EXPECT_EQ(last_kind(), MR_FOLD_YIELD);
    EXPECT_EQ(t.exits, 0); /* its acknowledgement and the last commit are waited for */
    flow();
    tell(MR_LOG_COMMITTED, "jobs", (struct mr_log_event){.tag = t.commit_tag, .commit = MR_COMMIT_OK});
    pass(10);
    tell(MR_LOG_COMMITTED, "jobs", (struct mr_log_event){.tag = t.commit_tag, .commit = MR_COMMIT_OK});
    pass(10);
    EXPECT_EQ(t.exits, 1);
    close_owner();

    open_owner();
    step(&(struct mr_owner_event){.kind = MR_OWNER_DRAIN});
    step(&(struct mr_owner_event){.kind = MR_OWNER_LEAVE});
    EXPECT_EQ(t.exits, 1);
    close_owner();
}

TEST(limits_pause_and_resume)
{
    open_owner();
    assign(3, 0);
    int resumes = t.resumes;
    for (int64_t i = 0; i < 7; i++)
        input(i); /* 4 are admitted, 3 wait */
    EXPECT_EQ(t.pauses, 1); /* of the assignment */
    input(7);
    EXPECT_EQ(t.pauses, 2); /* the fourth waits: enough */
    struct mr_owner_stats stats;
    mr_owner_stats(t.owner, &stats);
    EXPECT(stats.live == 4 && stats.waiting == 4);
    EXPECT_EQ(t.resumes, resumes);
    close_owner();
}

TEST(a_topic_made_anew_stops_its_partition)
{
    open_owner();
    foreign_start(1, 11, false);
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = 3});
    flow();
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
    input(0);
    verdict("acme/somebody-else", "h", NULL);
    struct mr_owner_stats stats;
    mr_owner_stats(t.owner, &stats);
    EXPECT(stats.stopped == 1 && t.n_log == 1 && t.submit == 0);
    close_owner();
}

TEST_MAIN(TEST_CASE(nothing_leaves_before_the_barrier), TEST_CASE(takeover_continues_and_counts_epochs), TEST_CASE(another_start_raises_the_question),
          TEST_CASE(who_does_not_own_stands_down), TEST_CASE(parked_and_back), TEST_CASE(a_delivery_error_begins_anew),
              TEST_CASE(refused_duplicate_and_conflict),
          TEST_CASE(cancel_before_and_after), TEST_CASE(deadlines_in_broker_time), TEST_CASE(suspects_run_alone_and_three_deaths_are_poison),
          TEST_CASE(drain_yields_what_is_left), TEST_CASE(limits_pause_and_resume), TEST_CASE(a_topic_made_anew_stops_its_partition))
