/* An owner by hand: one partition of each input, events one at a time, and what the owner did about them in `t`. The tests of
 * the owner's parts share it. */
#ifndef MR_TESTS_OWNER_HAND_H
#define MR_TESTS_OWNER_HAND_H

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

static inline void take_produce(const struct mr_log_action *log)
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

static inline void take(const struct mr_owner_action *a)
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

static inline void step(const struct mr_owner_event *event)
{
    const struct mr_owner_action *actions;
    size_t n;
    mr_owner_step(t.owner, event, t.now_ns, &actions, &n);
    for (size_t i = 0; i < n; i++)
        take(&actions[i]);
    mr_owner_check(t.owner);
}

static inline void tell(enum mr_log_event_kind kind, const char *topic, struct mr_log_event event)
{
    event.kind = kind;
    event.record.topic = mr_str_from(topic);
    step(&(struct mr_owner_event){.kind = MR_OWNER_LOG, .log = &event});
}

static inline void pass(int64_t ms)
{
    t.now_ns += ms * MR_NS_PER_MS;
    t.wall_ms += ms;
    step(&(struct mr_owner_event){.kind = MR_OWNER_TICK});
}

static inline void acks(enum mr_status status)
{
    for (int i = 0; i < t.n_tags; i++)
        tell(MR_LOG_DELIVERED, "", (struct mr_log_event){.tag = t.tags[i], .status = status, .timestamp_ms = status == MR_OK ? t.wall_ms : 0});
    t.n_tags = 0;
}

/* The tail shows everything appended so far, and then the reports come. */
static inline void flow(void)
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

static inline void assign(int32_t generation, int64_t committed)
{
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = committed, .generation = generation});
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
}

static inline void open_owner(void)
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

static inline void close_owner(void) { mr_owner_close(t.owner); }

static inline void input(int64_t offset) { tell(MR_LOG_RECORD, "jobs", (struct mr_log_event){.record = {.offset = offset, .timestamp_ms = 4000 + offset,
    .value = MR_STR("{}")}}); }

static inline struct mr_job *job_make(const char *name, const char *hash)
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

static inline void verdict(const char *name, const char *hash, const struct mr_refusal *refusal)
{
    step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job_make(name, hash), .refusal = refusal});
}

static inline void tokens(int64_t seq, int32_t id)
{
    step(&(struct mr_owner_event){.kind = MR_OWNER_TOKENS, .handle = t.submit, .seq = seq, .n_tokens = 1, .ids = &id, .text = MR_STR("x")});
}

static inline void end(enum mr_finish finish) { step(&(struct mr_owner_event){.kind = MR_OWNER_ENDED, .handle = t.submit, .finish = finish}); }
static inline enum mr_fold_kind last_kind(void) { return t.kinds[t.n_log - 1]; }

/* Appends to the stream as another worker would. */
static inline void foreign_start(int64_t epoch, uint64_t process, bool alone)
{
    struct mr_stream_record r = {.kind = MR_FOLD_START, .job = MR_STR("acme/a"), .src = {0, 4000}, .epoch = epoch, .writer = process * 3,
        .cause = MR_CAUSE_TAKEOVER,
                                 .process = process, .alone = alone, .model_digest = MR_STR("m"), .tokenizer_digest = MR_STR("k"),
                                     .body_hash = MR_STR("h")};
    mr_buf_clear(&t.values[t.n_log]);
    EXPECT(mr_stream_record_encode(&r, MR_ENCODING_JSON, &t.values[t.n_log]));
    t.kinds[t.n_log++] = MR_FOLD_START;
}

#endif
