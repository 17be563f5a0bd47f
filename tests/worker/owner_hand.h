/* An owner by hand: one partition of each input, events one at a time, and what the owner did about them in `t`. The tests of
 * the owner's parts share it. */
#ifndef MR_TESTS_OWNER_HAND_H
#define MR_TESTS_OWNER_HAND_H

#include "tests/test.h"

#include "worker/encoding.h"
#include "worker/origin.h"
#include "worker/owner.h"

#include <stdlib.h>

enum { LOG_MAX = 256, AUDIT_MAX = 64 };

/* The first is trusted to name tenants; the second is beta's own. */
static const struct mr_route routes[] = {
    {.name = "r", .jobs = "jobs", .parked = "parked", .stream = "stream", .stream_parked = "sp", .results = "results", .dead = "dead",
     .control = "control", .tier = MR_TIER_REALTIME, .tenant = "acme", .tenant_from_field = true},
    {.name = "b", .jobs = "jobs.b", .parked = "", .stream = "stream.b", .stream_parked = "", .results = "results.b", .dead = "dead.b",
     .control = "control.b", .tier = MR_TIER_REALTIME, .tenant = "beta", .restart_on_model_change = true},
};

/* What an owner did; the stream is one log, whichever topic it went to. */
static struct {
    struct mr_owner *owner;
    struct mr_owner_config config;
    int64_t now_ns, wall_ms;
    struct mr_buf values[LOG_MAX];  /* stream records, in order */
    enum mr_fold_kind kinds[LOG_MAX];
    struct mr_stream_record starts[LOG_MAX];
    const char *streams[LOG_MAX];
    int64_t n_log, told;            /* records in it; followed so far */
    bool hold_acks;
    uint64_t tags[LOG_MAX];
    int n_tags;
    uint64_t admit, submit, cancel, drop; /* handles of the last of each; 0: none */
    struct mr_record admitted;            /* its topic in text */
    int32_t submit_accepted;
    int results, dead, commits, exits, reopens, pauses, resumes, asks, follows, unfollows, parked, rest;
    int64_t commit_offset;
    uint64_t commit_tag;
    char dead_reason[32], ask_key[96], ask_value[96], admit_topic[64], follow_topic[64], origin[96], state_line[256];
    int64_t follow_offset, created;
    enum mr_state_ask_kind ask_kind;
    uint64_t ask_tag;
    char audit[AUDIT_MAX][512];
    int n_audit;
    uint64_t random;
} t;

static inline uint64_t next_random(void *self)
{
    (void)self;
    return ++t.random;
}

static inline void keep_text(char *out, size_t size, struct mr_str text) { snprintf(out, size, "%.*s", (int)text.n, text.n ? text.p : ""); }

static inline const char *stream_name(struct mr_str topic)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (mr_str_is(topic, routes[i].stream))
            return routes[i].stream;
        if (mr_str_is(topic, routes[i].stream_parked))
            return routes[i].stream_parked;
    }
    return NULL;
}

static inline void take_stream(const struct mr_record *record, const char *stream)
{
    struct mr_arena arena;
    struct mr_stream_record rec;
    mr_arena_init(&arena, 0);
    EXPECT(mr_stream_record_decode(record, &arena, &rec, NULL) == MR_OK);
    t.streams[t.n_log] = stream;
    t.kinds[t.n_log] = rec.kind;
    t.starts[t.n_log] = (struct mr_stream_record){.epoch = rec.epoch, .writer = rec.writer, .cause = rec.cause, .alone = rec.alone, .n = rec.n,
                                                  .reason = rec.reason, .first = {{0}, rec.first.partition, rec.first.offset}};
    mr_arena_fini(&arena);
    mr_buf_clear(&t.values[t.n_log]);
    mr_buf_add_str(&t.values[t.n_log++], record->value);
}

static inline int64_t created_of(struct mr_str result)
{
    struct mr_arena arena;
    struct mr_value value;
    mr_arena_init(&arena, 0);
    const struct mr_value *created =
        mr_codec_json.decode(result, NULL, &arena, &value, NULL) == MR_CODEC_OK ? mr_value_get(&value, "created") : NULL;
    int64_t seconds = created ? created->as.integer : -1;
    mr_arena_fini(&arena);
    return seconds;
}

static inline void take_produce(const struct mr_log_action *log)
{
    const struct mr_record *record = &log->record;
    const char *stream = stream_name(record->topic);
    if (stream) {
        take_stream(record, stream);
    } else if (mr_str_is(record->topic, "results") || mr_str_is(record->topic, "results.b")) {
        t.results++;
        t.created = created_of(record->value);
    } else if (mr_str_is(record->topic, "dead") || mr_str_is(record->topic, "dead.b")) {
        keep_text(t.dead_reason, sizeof t.dead_reason, mr_record_header(record, "mr-dead-reason"));
        t.dead++;
    } else if (mr_str_is(record->topic, "parked")) {
        keep_text(t.origin, sizeof t.origin, mr_record_header(record, MR_ORIGIN_HEADER));
        t.parked++;
    } else if (mr_str_is(record->topic, "audit")) {
        EXPECT(log->tag == 0); /* nobody waits for it */
        keep_text(t.audit[t.n_audit++], sizeof t.audit[0], record->value);
    }
    if (log->tag)
        t.tags[t.n_tags++] = log->tag;
}

static inline void take_log(const struct mr_log_action *log)
{
    t.reopens += log->kind == MR_LOG_REOPEN_PRODUCER;
    t.pauses += log->kind == MR_LOG_PAUSE;
    t.resumes += log->kind == MR_LOG_RESUME;
    t.unfollows += log->kind == MR_LOG_UNFOLLOW;
    if (log->kind == MR_LOG_PRODUCE) {
        take_produce(log);
    } else if (log->kind == MR_LOG_COMMIT) {
        t.commits++;
        t.commit_offset = log->offset;
        t.commit_tag = log->tag;
    } else if (log->kind == MR_LOG_FOLLOW) {
        t.follows++;
        keep_text(t.follow_topic, sizeof t.follow_topic, log->record.topic);
        t.follow_offset = log->offset;
    }
}

static inline void take(const struct mr_owner_action *a)
{
    switch (a->kind) {
    case MR_OWNER_DO_ADMIT:
        t.admit = a->handle;
        keep_text(t.admit_topic, sizeof t.admit_topic, a->record.topic);
        t.admitted = a->record;
        break;
    case MR_OWNER_DO_SUBMIT: t.submit = a->handle, t.submit_accepted = a->engine.n_accepted; break;
    case MR_OWNER_DO_CANCEL: t.cancel = a->handle; break;
    case MR_OWNER_DO_DROP: t.drop = a->handle; break;
    case MR_OWNER_DO_REST: t.rest = a->on; break;
    case MR_OWNER_DO_EXIT: t.exits++; break;
    case MR_OWNER_DO_LOG: take_log(&a->log); break;
    case MR_OWNER_DO_STATE:
        if (mr_str_is(a->state.field[0], "line"))
            keep_text(t.state_line, sizeof t.state_line, a->state.value[0]);
        break;
    case MR_OWNER_DO_ASK:
        t.asks++;
        t.ask_kind = a->ask.kind;
        t.ask_tag = a->ask.tag;
        keep_text(t.ask_key, sizeof t.ask_key, a->ask.key);
        keep_text(t.ask_value, sizeof t.ask_value, a->ask.value);
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
        while (t.told < t.n_log) {
            int64_t at = t.told++;
            tell(MR_LOG_FOLLOWED, t.streams[at], (struct mr_log_event){.record = {.offset = at, .timestamp_ms = t.wall_ms,
                .value = mr_buf_view(&t.values[at])}});
        }
        if (t.hold_acks)
            return;
        acks(MR_OK);
    }
}

/* An input topic's partition, whose stream holds what was told. */
static inline void assign_topic(const char *jobs, const char *stream, int32_t generation, int64_t committed)
{
    tell(MR_LOG_ASSIGNED, jobs, (struct mr_log_event){.offset = committed, .generation = generation});
    tell(MR_LOG_CAUGHT_UP, stream, (struct mr_log_event){.offset = t.told});
}

static inline void assign(int32_t generation, int64_t committed) { assign_topic("jobs", "stream", generation, committed); }

/* The log holds something already: the tail shows it before it has caught up. */
static inline void take_over(int32_t generation)
{
    tell(MR_LOG_ASSIGNED, "jobs", (struct mr_log_event){.offset = 0, .generation = generation});
    t.told = 0;
    flow();
    tell(MR_LOG_CAUGHT_UP, "stream", (struct mr_log_event){.offset = t.told});
}

static inline void prepare(void)
{
    for (int i = 0; i < LOG_MAX; i++)
        mr_buf_fini(&t.values[i]);
    memset(&t, 0, sizeof t);
    t.now_ns = MR_NS_PER_S;
    t.wall_ms = 5000;
    t.config = (struct mr_owner_config){
        .routes = routes, .n_routes = 2, .process = 77, .worker = "w", .build = "b", .model_digest = "m", .tokenizer_digest = "k",
        .tier = {{1, 0}, {8, 100 * MR_NS_PER_MS}, {64, MR_NS_PER_S}}, .max_jobs = 8, .max_jobs_per_partition = 4, .max_waiting = 4,
        .max_tenants = 2, .max_bytes = 1 << 20, .max_dead_bytes = 1 << 20, .grace_ns = MR_NS_PER_S, .vocabulary = 1000, .audit = "audit",
        .random = next_random};
}

/* With t.config as prepare() and the test have made it. */
static inline void start_owner(void)
{
    EXPECT(mr_owner_open(&t.config, &t.owner, NULL) == MR_OK);
    pass(1);
    tell(MR_LOG_CAUGHT_UP, "control", (struct mr_log_event){0});
    tell(MR_LOG_CAUGHT_UP, "control.b", (struct mr_log_event){0});
}

static inline void open_owner(void)
{
    prepare();
    start_owner();
}

static inline void close_owner(void) { mr_owner_close(t.owner); }

static inline void input_to(const char *topic, int64_t offset, const struct mr_header *header)
{
    struct mr_record record = {.offset = offset, .timestamp_ms = 4000 + offset, .value = MR_STR("{}"), .headers = header, .n_headers = header != NULL};
    tell(MR_LOG_RECORD, topic, (struct mr_log_event){.record = record});
}

static inline void input(int64_t offset) { input_to("jobs", offset, NULL); }

static inline struct mr_job *job_make(const char *name, const char *hash)
{
    struct mr_job *job = calloc(1, sizeof *job);
    job->encoding = MR_ENCODING_JSON;
    job->name = mr_arena_str(&job->arena, mr_str_from(name));
    job->tenant = (struct mr_str){job->name.p, 4};
    job->id = (struct mr_str){job->name.p + 5, job->name.n - 5};
    job->stream = true;
    job->sampling.max_tokens = 100;
    job->prompt_ids = mr_arena_alloc(&job->arena, 8);
    job->n_prompt = 2;
    snprintf(job->body_hash, sizeof job->body_hash, "%s", hash);
    return job;
}

static inline void verdict(const char *name, const char *hash, const struct mr_refusal *refusal)
{
    step(&(struct mr_owner_event){.kind = MR_OWNER_ADMITTED, .handle = t.admit, .job = job_make(name, hash), .refusal = refusal});
}

/* The job acme/a at offset 0, begun and over its barrier. */
static inline void begin_job(void)
{
    open_owner();
    assign(3, 0);
    input(0);
    verdict("acme/a", "h", NULL);
    flow();
}

static inline void answer_commit(enum mr_commit_outcome outcome)
{
    tell(MR_LOG_COMMITTED, "jobs", (struct mr_log_event){.tag = t.commit_tag, .commit = outcome});
}

static inline struct mr_owner_stats stats_now(void)
{
    struct mr_owner_stats stats;
    mr_owner_stats(t.owner, &stats);
    return stats;
}

/* Whether an audit record says both. */
static inline bool audited(const char *a, const char *b)
{
    for (int i = 0; i < t.n_audit; i++) {
        if (strstr(t.audit[i], a) && strstr(t.audit[i], b))
            return true;
    }
    return false;
}

static inline void tokens(int64_t seq, int32_t id)
{
    step(&(struct mr_owner_event){.kind = MR_OWNER_TOKENS, .handle = t.submit, .seq = seq, .n_tokens = 1, .ids = &id, .text = MR_STR("x")});
}

static inline void end(enum mr_finish finish) { step(&(struct mr_owner_event){.kind = MR_OWNER_ENDED, .handle = t.submit, .finish = finish}); }
static inline enum mr_fold_kind last_kind(void) { return t.kinds[t.n_log - 1]; }

/* Appends to the stream as another worker would. */
static inline void foreign_record(const struct mr_stream_record *record)
{
    mr_buf_clear(&t.values[t.n_log]);
    EXPECT(mr_stream_record_encode(record, MR_ENCODING_JSON, &t.values[t.n_log]));
    t.streams[t.n_log] = "stream";
    t.kinds[t.n_log++] = record->kind;
}

static inline void foreign_start(int64_t epoch, uint64_t process, bool alone)
{
    struct mr_stream_record r = {.kind = MR_FOLD_START, .job = MR_STR("acme/a"), .src = {0, 4000}, .epoch = epoch, .writer = process * 3,
                                 .cause = MR_CAUSE_TAKEOVER, .process = process, .alone = alone, .model_digest = MR_STR("m"),
                                 .tokenizer_digest = MR_STR("k"), .body_hash = MR_STR("h")};
    foreign_record(&r);
}

#endif
