/* Invariants that the judge checks from the topics alone, for every input record:
 * 1. its run is closed, by one terminal that the fold accepts;
 * 2. every accepted token was made on exactly the accepted prefix (and, unsalted, is the undisturbed run's, text included);
 * 3. results of one src are the same bytes, there is one for every run that must have one, and it tells the accepted text;
 * 4. the outcome is one that the job's fate allows;
 * 5. every input partition is committed to its end. */
#include "tests/sim/sim_world.h"

#include "adapters/memory.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "worker/encoding.h"
#include "worker/owner.h"

#include <stdlib.h>

enum { WORKERS_MAX = 5, RUNS_MAX = 64, TIERS = 3, LENGTH_MAX = 40 };

enum fate { FATE_PLAIN, FATE_BAD, FATE_DUPLICATE, FATE_CONFLICT, FATE_CANCEL, FATE_DEADLINE, FATE_POISON, FATES };

struct sim_job {
    enum fate fate;
    char id[32];
    uint64_t body; /* what decides tokens and length */
    int tier, partition;
    int64_t offset;
};

struct engine_run {
    bool live, cancelled;
    uint64_t handle, seed;
    int64_t seq;
    int length;
    uint64_t ctx;
    bool poison;
};

struct admission {
    uint64_t handle;
    struct mr_job *job;
    struct mr_refusal refusal;
};

struct sim_worker {
    struct mr_owner *owner;
    struct mr_memory_client *client;
    struct mr_log_port port;
    uint64_t process, random, salt;
    int64_t stalled_until_ns, appends;
    bool dying;
    struct engine_run runs[RUNS_MAX * 2];
    uint64_t dropped[RUNS_MAX * 4];
    int n_dropped;
    struct admission admissions[RUNS_MAX * 2];
    int n_admissions;
    char name[16];
};

struct world {
    const struct sim_plan *plan;
    struct sim_totals *totals;
    struct mr_manual_clock clock;
    struct mr_memory *memory;
    struct mr_route routes[TIERS];
    const char *inputs[TIERS];
    struct sim_worker workers[WORKERS_MAX];
    struct sim_job *jobs;
    uint64_t random, draws, processes;
    int produced, violations;
};

static uint64_t draw(struct world *w, uint64_t below) { return mr_mix64(w->random + ++w->draws * UINT64_C(0x9e3779b97f4a7c15)) % below; }
static bool chance(struct world *w, int of_4096) { return (int)draw(w, 4096) < of_4096; }

struct sim_plan sim_plan_of(uint64_t seed, int jobs)
{
    uint64_t r = mr_mix64(seed);
    struct sim_plan plan = {.seed = seed, .jobs = jobs, .workers = 2 + (int)(r % 3), .partitions = 2 + (int)(r >> 8 & 0xfff) % 4,
        .salted = seed % 2 == 0,
                            .fault_ns = 40 * MR_NS_PER_S, .delay_max_ns = (1 + (int64_t)(r >> 16 & 0xfff) % 60) * MR_NS_PER_MS};
    plan.crash = 2 + (int)(r >> 24 & 0xfff) % 6;
    plan.stall = (int)(r >> 28 & 0xfff) % 8;
    plan.drain = (int)(r >> 32 & 0xfff) % 3;
    plan.reset = seed % 3 == 0 ? 2 : 0;
    plan.lose = (int)(r >> 36 & 0xfff) % 6;
    plan.lie = (int)(r >> 40 & 0xfff) % 6;
    plan.twice = (int)(r >> 44 & 0xfff) % 20;
    plan.refuse = (int)(r >> 48 & 0xfff) % 200;
    plan.poison = seed % 8 == 1;
    return plan;
}

struct sim_plan sim_plan_small(uint64_t seed, int64_t crash_at_append, bool after)
{
    return (struct sim_plan){.seed = seed, .workers = 1, .partitions = 1, .jobs = 9, .fault_ns = 20 * MR_NS_PER_S, .delay_max_ns = 10 * MR_NS_PER_MS,
                             .crash_at_append = crash_at_append, .crash_after = after};
}

/* ---- the engine: tokens are a function of seed and prefix ---- */

static int length_of(uint64_t seed) { return 1 + (int)(mr_mix64(seed ^ 77) % LENGTH_MAX); }

/* High bits: a hash of what came before; low four bits: who made it, or a hash of it too. */
static int32_t token_of(uint64_t seed, uint64_t ctx, uint64_t salt, bool salted)
{
    uint64_t h = mr_mix64(seed ^ mr_mix64(ctx));
    return (int32_t)((h >> 16 & 0x3ffff) << 4 | (salted ? salt & 15 : h & 15));
}

static struct mr_str token_text(int32_t id, char text[16])
{
    int n = snprintf(text, 16, "%x ", (unsigned)id);
    return (struct mr_str){text, (size_t)n};
}

/* ---- jobs ---- */

/* The sim's own job format: "id body fate", behind the encoding byte that decides how outcomes are written. */
static struct mr_job *job_make(struct world *w, const struct mr_record *record, const struct mr_route *route, struct mr_refusal *refusal)
{
    char text[96], name[96];
    struct mr_job *job = calloc(1, sizeof *job);
    unsigned long long body;
    int fate;
    CHECK(job && record->value.n < sizeof text);
    memcpy(text, record->value.p, record->value.n);
    text[record->value.n] = 0;
    char id[32];
    CHECK(sscanf(text, "%31s %llx %d", id, &body, &fate) == 3);
    (void)w;
    snprintf(name, sizeof name, "acme/%s", id);
    mr_arena_init(&job->arena, 0);
    job->kind = MR_JOB_COMPLETION;
    job->encoding = body & 1 ? MR_ENCODING_JSON : MR_ENCODING_MSGPACK;
    job->name = mr_arena_str(&job->arena, mr_str_from(name));
    job->tenant = (struct mr_str){job->name.p, 4};
    job->id = (struct mr_str){job->name.p + 5, job->name.n - 5};
    job->model = MR_STR("sim");
    job->prompt = mr_arena_str(&job->arena, mr_str_from(id));
    job->tier = route->tier;
    job->stream = body & 2;
    job->sampling.seed = body;
    job->sampling.max_tokens = LENGTH_MAX;
    job->sampling.n_logprobs = job->sampling.n_prompt_logprobs = -1;
    job->deadline_ms = fate == FATE_DEADLINE ? 200 + (int64_t)(body % 4000) : 0;
    snprintf(job->body_hash, sizeof job->body_hash, "%064llx", body);
    int32_t *prompt = mr_arena_array(&job->arena, 3, sizeof *prompt);
    job->prompt_ids = prompt;
    job->n_prompt = 3;
    if (fate == FATE_BAD)
        mr_refuse(refusal, MR_REASON_OUT_OF_RANGE, "temperature", "temperature is out of range");
    return job;
}

static void produce_job(struct world *w, int i)
{
    struct sim_job *job = &w->jobs[i];
    uint64_t r = draw(w, 1000);
    *job = (struct sim_job){.body = (draw(w, UINT64_MAX) & 0xffffffffff) | 16, .tier = (int)draw(w, TIERS), .partition = (int)draw(w,
        (uint64_t)w->plan->partitions)};
    job->fate = r < 40 ? FATE_BAD : r < 80 ? FATE_DUPLICATE : r < 110 ? FATE_CONFLICT : r < 190 ? FATE_CANCEL : r < 250 ? FATE_DEADLINE : FATE_PLAIN;
    if (w->plan->poison && i == w->plan->jobs / 2)
        job->fate = FATE_POISON;
    snprintf(job->id, sizeof job->id, "j%d", i);
    if (job->fate == FATE_DUPLICATE || job->fate == FATE_CONFLICT) {
        struct sim_job *first = i ? &w->jobs[draw(w, (uint64_t)i)] : NULL;
        if (first && first->fate == FATE_PLAIN) {
            strcpy(job->id, first->id);
            job->tier = first->tier;
            job->partition = first->partition;
            job->body = job->fate == FATE_DUPLICATE ? first->body : job->body;
        } else {
            job->fate = FATE_PLAIN;
        }
    }
    char text[96];
    int n = snprintf(text, sizeof text, "%s %llx %d", job->id, (unsigned long long)job->body, (int)(job->fate == FATE_DUPLICATE
        ? FATE_PLAIN : job->fate));
    struct mr_record record = {.topic = mr_str_from(w->routes[job->tier].jobs), .partition = job->partition, .value = {text, (size_t)n},
        .key = mr_str_from(job->id)};
    job->offset = mr_memory_append(w->memory, &record);
}

static void produce_cancel(struct world *w, const struct sim_job *job)
{
    char text[96];
    int n = snprintf(text, sizeof text, "{\"v\":1,\"kind\":\"cancel\",\"job\":\"acme/%s\"}", job->id);
    struct mr_record record = {.topic = MR_STR("control"), .value = {text, (size_t)n}, .key = mr_str_from(job->id)};
    mr_memory_append(w->memory, &record);
}

/* ---- a worker ---- */

static uint64_t worker_random(void *self)
{
    struct sim_worker *worker = self;
    return worker->random = mr_mix64(worker->random + 1);
}

static void worker_start(struct world *w, struct sim_worker *worker)
{
    int index = (int)(worker - w->workers);
    memset(worker, 0, sizeof *worker);
    worker->process = mr_mix64(w->plan->seed * 1000 + ++w->processes) | 1;
    worker->random = worker->process;
    worker->salt = w->processes;
    snprintf(worker->name, sizeof worker->name, "w%d", index);
    struct mr_owner_config config = {
        .routes = w->routes, .n_routes = TIERS, .process = worker->process, .worker = worker->name, .build = "sim", .model_digest = "m",
            .tokenizer_digest = "t",
        .tier = {{1, 0}, {8, 100 * MR_NS_PER_MS}, {64, MR_NS_PER_S}}, .max_jobs = RUNS_MAX, .max_jobs_per_partition = 24, .max_waiting = 16,
            .max_tenants = 4,
        .max_bytes = 1 << 20, .max_dead_bytes = 1 << 20, .grace_ns = 300 * MR_NS_PER_MS, .state_expire_ms = 1000, .random = worker_random,
            .self = worker};
    CHECK(mr_owner_open(&config, &worker->owner, NULL) == MR_OK);
    worker->client = mr_memory_client_open(w->memory, w->inputs, TIERS, &worker->port);
}

static void worker_stop(struct sim_worker *worker)
{
    for (int i = 0; i < worker->n_admissions; i++)
        mr_job_free(worker->admissions[i].job);
    mr_owner_close(worker->owner);
    mr_memory_client_crash(worker->client);
    memset(worker, 0, sizeof *worker);
}

static void step(struct world *w, struct sim_worker *worker, const struct mr_owner_event *event);

static void engine_submit(struct world *w, struct sim_worker *worker, const struct mr_engine_run *in)
{
    for (int i = 0; i < RUNS_MAX * 2; i++) {
        struct engine_run *run = &worker->runs[i];
        if (run->live)
            continue;
        char id[32] = {0};
        memcpy(id, in->job->id.p, in->job->id.n);
        *run = (struct engine_run){.live = true, .handle = in->run, .seed = in->job->sampling.seed, .seq = in->n_accepted,
            .length = length_of(in->job->sampling.seed)};
        run->ctx = mr_fold_ctx(mr_fnv1a64(MR_FNV1A64_START, in->job->name.p, in->job->name.n), 0, in->accepted, (size_t)in->n_accepted);
        run->poison = w->plan->poison && strtol(id + 1, NULL, 10) == w->plan->jobs / 2;
        return;
    }
    CHECK(false);
}

static void engine_forget(struct sim_worker *worker, uint64_t handle)
{
    for (int i = 0; i < RUNS_MAX * 2; i++)
        worker->runs[i].live &= worker->runs[i].handle != handle;
}

static void do_log(struct world *w, struct sim_worker *worker, const struct mr_log_action *log)
{
    bool counted = log->kind == MR_LOG_PRODUCE && log->tag;
    worker->appends += counted;
    bool at = counted && w->plan->crash_at_append && worker->appends >= w->plan->crash_at_append && w->totals->crashes < 3;
    if (at)
        worker->dying = true;
    if (at && !w->plan->crash_after)
        return;
    if (worker->port.act(worker->port.self, log) == MR_ERR_NOT_FOUND && !worker->dying) {
        printf("seed %llu: an action was refused\n", (unsigned long long)w->plan->seed);
        w->violations++;
    }
}

static void perform(struct world *w, struct sim_worker *worker, const struct mr_owner_action *a)
{
    if (worker->dying)
        return;
    switch (a->kind) {
    case MR_OWNER_DO_LOG: do_log(w, worker, &a->log); break;
    case MR_OWNER_DO_ADMIT: {
        CHECK(worker->n_admissions < RUNS_MAX * 2);
        struct admission *admission = &worker->admissions[worker->n_admissions++];
        *admission = (struct admission){.handle = a->handle};
        admission->job = job_make(w, &a->record, a->route, &admission->refusal);
        break;
    }
    case MR_OWNER_DO_SUBMIT: engine_submit(w, worker, &a->engine); break;
    case MR_OWNER_DO_CANCEL:
        for (int i = 0; i < RUNS_MAX * 2; i++)
            worker->runs[i].cancelled |= worker->runs[i].handle == a->handle;
        break;
    case MR_OWNER_DO_DROP:
        engine_forget(worker, a->handle);
        CHECK(worker->n_dropped < RUNS_MAX * 4);
        worker->dropped[worker->n_dropped++] = a->handle;
        break;
    case MR_OWNER_DO_STATE:
    case MR_OWNER_DO_ASK:
    case MR_OWNER_DO_COUNT: break;
    case MR_OWNER_DO_EXIT: worker->dying = true; break;
    }
}

static void step(struct world *w, struct sim_worker *worker, const struct mr_owner_event *event)
{
    const struct mr_owner_action *actions;
    size_t n;
    mr_owner_step(worker->owner, event, w->clock.monotonic_ns, &actions, &n);
    for (size_t i = 0; i < n; i++)
        perform(w, worker, &actions[i]);
    mr_owner_check(worker->owner);
}

static void engine_end(struct world *w, struct sim_worker *worker, struct engine_run *run, enum mr_finish finish)
{
    struct mr_owner_event event = {.kind = MR_OWNER_ENDED, .handle = run->handle, .finish = finish, .text = finish == MR_FINISH_STOP
        ? MR_STR("end") : (struct mr_str){0}};
    run->live = false;
    step(w, worker, &event);
}

static void engine_step(struct world *w, struct sim_worker *worker)
{
    for (int i = 0; i < RUNS_MAX * 2 && !worker->dying; i++) {
        struct engine_run *run = &worker->runs[i];
        if (!run->live || draw(w, 3) == 0)
            continue;
        if (run->cancelled) {
            engine_end(w, worker, run, MR_FINISH_CANCELLED);
            continue;
        }
        if (run->poison) {
            worker->dying = true;
            return;
        }
        if (run->seq < run->length) {
            int32_t ids[3];
            char text[64] = "", piece[16];
            int n = 1 + (int)draw(w, 3);
            if (n > run->length - run->seq)
                n = (int)(run->length - run->seq);
            for (int k = 0; k < n; k++) {
                ids[k] = token_of(run->seed, run->ctx, worker->salt, w->plan->salted);
                run->ctx = mr_fold_ctx(run->ctx, 0, &ids[k], 1);
                token_text(ids[k], piece);
                strcat(text, piece);
            }
            struct mr_owner_event event = {.kind = MR_OWNER_TOKENS, .handle = run->handle, .seq = run->seq, .n_tokens = n, .ids = ids,
                .text = mr_str_from(text)};
            run->seq += n;
            w->totals->tokens_made += n;
            step(w, worker, &event);
        } else {
            engine_end(w, worker, run, MR_FINISH_STOP);
        }
    }
}

static void worker_step(struct world *w, struct sim_worker *worker)
{
    bool engine_first = draw(w, 2);
    if (engine_first)
        engine_step(w, worker);
    int polls = 1 + (int)draw(w, 60);
    struct mr_log_event log;
    while (polls-- > 0 && !worker->dying && worker->port.poll(worker->port.self, 0, &log)) {
        struct mr_owner_event event = {.kind = MR_OWNER_LOG, .log = &log};
        step(w, worker, &event);
    }
    while (worker->n_dropped && !worker->dying) {
        struct mr_owner_event event = {.kind = MR_OWNER_DROPPED, .handle = worker->dropped[0]};
        memmove(worker->dropped, worker->dropped + 1, sizeof *worker->dropped * (size_t)--worker->n_dropped);
        step(w, worker, &event);
    }
    while (worker->n_admissions && !worker->dying && draw(w, 4)) {
        struct admission a = worker->admissions[0];
        memmove(worker->admissions, worker->admissions + 1, sizeof *worker->admissions * (size_t)--worker->n_admissions);
        struct mr_owner_event event = {.kind = MR_OWNER_ADMITTED, .handle = a.handle, .job = a.job, .refusal = &a.refusal};
        step(w, worker, &event);
    }
    if (!engine_first && !worker->dying)
        engine_step(w, worker);
    if (!worker->dying)
        step(w, worker, &(struct mr_owner_event){.kind = MR_OWNER_TICK});
}

/* ---- the world ---- */

static void world_open(struct world *w, const struct sim_plan *plan, struct sim_totals *totals)
{
    static const char *const names[TIERS][6] = {
        {"realtime", "jobs.realtime", "stream.realtime", "parked.realtime", "stream.parked.realtime", ""},
        {"standard", "jobs.standard", "stream.standard", "parked.standard", "stream.parked.standard", ""},
        {"bulk", "jobs.bulk", "stream.bulk", "parked.bulk", "stream.parked.bulk", ""}};
    *w = (struct world){.plan = plan, .totals = totals, .random = mr_mix64(plan->seed ^ 0x51), .clock = {.monotonic_ns = MR_NS_PER_S,
        .wall_ms = 1700000000000}};
    w->memory = mr_memory_open(plan->seed, &w->clock);
    w->jobs = calloc((size_t)plan->jobs, sizeof *w->jobs);
    CHECK(w->memory && w->jobs);
    for (int t = 0; t < TIERS; t++) {
        w->routes[t] = (struct mr_route){.name = names[t][0], .jobs = names[t][1], .stream = names[t][2], .parked = names[t][3],
            .stream_parked = names[t][4],
                                         .results = "results", .dead = "dead", .control = "control", .tier = (enum mr_tier)t, .tenant = "acme"};
        w->inputs[t] = names[t][1];
        mr_memory_topic(w->memory, names[t][1], plan->partitions);
        mr_memory_topic(w->memory, names[t][2], plan->partitions);
    }
    mr_memory_topic(w->memory, "results", 2);
    mr_memory_topic(w->memory, "dead", 1);
    mr_memory_topic(w->memory, "control", 1);
    struct mr_memory_faults faults = {plan->lose, plan->lie, plan->twice, plan->refuse, plan->delay_max_ns, 400 * MR_NS_PER_MS};
    mr_memory_set_faults(w->memory, &faults);
}

static void strike(struct world *w)
{
    for (int i = 0; i < w->plan->workers; i++) {
        struct sim_worker *worker = &w->workers[i];
        if (!worker->owner)
            continue;
        if (chance(w, w->plan->crash))
            worker->dying = true;
        if (chance(w, w->plan->stall)) {
            worker->stalled_until_ns = w->clock.monotonic_ns + (int64_t)draw(w, 12000) * MR_NS_PER_MS;
            w->totals->stalls++;
        }
        if (chance(w, w->plan->drain)) {
            w->totals->drains++;
            step(w, worker, &(struct mr_owner_event){.kind = MR_OWNER_DRAIN});
        }
    }
    if (chance(w, w->plan->reset)) {
        w->totals->resets++;
        mr_memory_group_reset(w->memory, draw(w, 2));
    }
}

static bool all_committed(const struct world *w)
{
    for (int t = 0; t < TIERS; t++) {
        for (int p = 0; p < w->plan->partitions; p++) {
            int64_t end = mr_memory_end(w->memory, w->inputs[t], p), committed = mr_memory_committed(w->memory, w->inputs[t], p);
            if (end > 0 && committed != end)
                return false;
        }
    }
    return true;
}

static void produce_some(struct world *w)
{
    int until = w->produced + (int)draw(w, 12);
    for (; w->produced < until && w->produced < w->plan->jobs; w->produced++)
        produce_job(w, w->produced);
    for (int i = w->produced > 40 ? w->produced - 40 : 0; i < w->produced; i++) {
        if (w->jobs[i].fate == FATE_CANCEL && draw(w, 40) == 0)
            produce_cancel(w, &w->jobs[i]);
    }
}

static void run_world(struct world *w)
{
    struct mr_memory_faults calm = {.delay_max_ns = 5 * MR_NS_PER_MS};
    int64_t start_ns = w->clock.monotonic_ns, calm_ns = 0;
    for (int64_t i = 0; w->clock.monotonic_ns - start_ns < 3600 * MR_NS_PER_S; i++) {
        int64_t ms = 1 + (int64_t)draw(w, 25);
        w->clock.monotonic_ns += ms * MR_NS_PER_MS;
        w->clock.wall_ms += ms;
        bool faults = w->clock.monotonic_ns - start_ns < w->plan->fault_ns;
        if (draw(w, 4) == 0)
            produce_some(w);
        if (faults) {
            strike(w);
        } else if (!calm_ns) {
            calm_ns = w->clock.monotonic_ns;
            mr_memory_set_faults(w->memory, &calm);
        }
        mr_memory_step(w->memory);
        for (int k = 0; k < w->plan->workers; k++) {
            struct sim_worker *worker = &w->workers[(k + (int)(i % w->plan->workers)) % w->plan->workers];
            if (!worker->owner && (!faults || draw(w, 100) == 0))
                worker_start(w, worker);
            if (!worker->owner || (faults && w->clock.monotonic_ns < worker->stalled_until_ns))
                continue;
            if (!worker->dying)
                worker_step(w, worker);
            if (worker->dying) {
                w->totals->crashes++;
                worker_stop(worker);
            }
        }
        if (!faults && w->produced == w->plan->jobs && i % 16 == 0 && all_committed(w))
            return;
    }
}

/* ---- the judge ---- */

static void wrong(struct world *w, const struct sim_job *job, const char *what, long long a, long long b)
{
    w->violations++;
    if (w->violations <= 12)
        printf("seed %llu: %s/%d/%lld %s fate %d: %s (%lld, %lld)\n", (unsigned long long)w->plan->seed, job ? w->inputs[job->tier] : "", job
            ? job->partition : 0,
               (long long)(job ? job->offset : 0), job ? job->id : "", job ? (int)job->fate : 0, what, a, b);
}

struct view {
    struct mr_fold fold;
    bool named;
    struct mr_buf text;
    enum mr_reason reason;
    struct mr_str result;
    bool dead;
};

static struct sim_job *job_at(struct world *w, const struct mr_str topic, int partition, int64_t offset)
{
    for (int i = 0; i < w->plan->jobs; i++) {
        if (w->jobs[i].partition == partition && w->jobs[i].offset == offset && mr_str_is(topic, w->inputs[w->jobs[i].tier]))
            return &w->jobs[i];
    }
    return NULL;
}

static bool outcome_allowed(const struct sim_job *job, const struct view *view)
{
    enum mr_fold_kind end = view->fold.end;
    switch (job->fate) {
    case FATE_PLAIN: return end == MR_FOLD_DONE;
    case FATE_BAD: return end == MR_FOLD_FAILED && view->reason == MR_REASON_OUT_OF_RANGE;
    case FATE_DUPLICATE: /* the first may be forgotten, and then another of its name be the first */
        return end == MR_FOLD_DONE || end == MR_FOLD_DUPLICATE || (end == MR_FOLD_FAILED && view->reason == MR_REASON_ID_CONFLICT);
    case FATE_CONFLICT: return end == MR_FOLD_DONE || (end == MR_FOLD_FAILED && view->reason == MR_REASON_ID_CONFLICT);
    case FATE_CANCEL: return end == MR_FOLD_DONE || end == MR_FOLD_CANCELLED;
    case FATE_DEADLINE: return end == MR_FOLD_DONE || end == MR_FOLD_EXPIRED;
    case FATE_POISON: return end == MR_FOLD_FAILED && view->reason == MR_REASON_POISON;
    default: return false;
    }
}

static void judge_tokens(struct world *w, const struct sim_job *job, struct view *view, const struct mr_stream_record *rec)
{
    uint64_t ctx = view->fold.ctx; /* before this record */
    for (int32_t i = 0; i < rec->n_ids; i++) {
        int32_t made = token_of(job->body, ctx, (uint64_t)rec->ids[i], w->plan->salted);
        if (made != rec->ids[i])
            wrong(w, job, "a token of another prefix", view->fold.seq + i, rec->ids[i]);
        ctx = mr_fold_ctx(ctx, 0, &rec->ids[i], 1);
        char piece[16];
        mr_buf_add_str(&view->text, token_text(rec->ids[i], piece));
    }
    size_t n = rec->text.n;
    if (n > view->text.n || memcmp(view->text.p + view->text.n - n, rec->text.p, n) != 0)
        wrong(w, job, "text that is not its tokens'", (long long)n, 0);
}

static void judge_stream(struct world *w, struct view *views)
{
    for (int t = 0; t < TIERS; t++) {
        for (int p = 0; p < w->plan->partitions; p++) {
            struct mr_record in;
            for (int64_t o = 0; mr_memory_read(w->memory, w->routes[t].stream, p, o, &in); o++) {
                struct mr_stream_record rec;
                struct mr_arena arena;
                mr_arena_init(&arena, 0);
                w->totals->records++;
                w->totals->digest = mr_fnv1a64(w->totals->digest, in.value.p, in.value.n);
                CHECK(mr_stream_record_decode(&in, &arena, &rec, NULL) == MR_OK);
                struct sim_job *job = job_at(w, mr_str_from(w->inputs[t]), p, rec.src.offset);
                if (!job) {
                    wrong(w, NULL, "a run of no record", rec.src.offset, o);
                    mr_arena_fini(&arena);
                    continue;
                }
                struct view *view = &views[job - w->jobs];
                if (!view->named)
                    mr_fold_init(&view->fold, rec.job.p, rec.job.n);
                view->named = true;
                struct mr_fold_record record = mr_stream_record_fold(&rec);
                struct mr_fold before = view->fold;
                if (mr_fold_add(&view->fold, &record)) {
                    w->totals->accepted++;
                    w->totals->starts += rec.kind == MR_FOLD_START;
                    struct view at = *view;
                    at.fold = before;
                    if (rec.kind == MR_FOLD_TOK) {
                        judge_tokens(w, job, &at, &rec);
                        view->text = at.text;
                    }
                    if (mr_fold_is_terminal(rec.kind)) {
                        mr_buf_add_str(&view->text, rec.text);
                        view->reason = rec.reason;
                    }
                } else {
                    w->totals->ignored++;
                }
                mr_arena_fini(&arena);
            }
        }
    }
}

static bool contains(struct mr_str whole, struct mr_str part)
{
    for (size_t i = 0; i + part.n <= whole.n; i++) {
        if (part.n == 0 || memcmp(whole.p + i, part.p, part.n) == 0)
            return true;
    }
    return false;
}

static void judge_results(struct world *w, struct view *views)
{
    for (int p = 0; p < 2; p++) {
        struct mr_record in;
        for (int64_t o = 0; mr_memory_read(w->memory, "results", p, o, &in); o++) {
            struct mr_str src = mr_record_header(&in, "mr-src");
            struct mr_arena arena;
            mr_arena_init(&arena, 0);
            w->totals->results++;
            long long offset = atoll(src.n ? src.p : "-1");
            bool found = false;
            for (int i = 0; i < w->plan->jobs && !found; i++) {
                char name[48];
                snprintf(name, sizeof name, "acme/%s", w->jobs[i].id);
                if (w->jobs[i].offset != offset || !mr_str_is(in.key, name))
                    continue;
                found = true;
                if (views[i].result.p && !mr_str_equal(views[i].result, in.value))
                    wrong(w, &w->jobs[i], "two results that differ", o, p), printf("  %.*s\n  %.*s\n", (int)views[i].result.n, views[i].result.p,
                        (int)in.value.n, in.value.p);
                w->totals->result_repeats += views[i].result.p != NULL;
                views[i].result = in.value;
            }
            if (!found)
                wrong(w, NULL, "a result of no record", offset, o);
            mr_arena_fini(&arena);
        }
    }
}

static void judge_dead(struct world *w, struct view *views)
{
    struct mr_record in;
    for (int64_t o = 0; mr_memory_read(w->memory, "dead", 0, o, &in); o++) {
        struct mr_str position = mr_record_header(&in, "mr-dead-position");
        for (int i = 0; i < w->plan->jobs; i++) {
            char text[96];
            snprintf(text, sizeof text, "%s/%d/%lld", w->inputs[w->jobs[i].tier], w->jobs[i].partition, (long long)w->jobs[i].offset);
            if (mr_str_is(position, text))
                views[i].dead = true;
        }
    }
}

static void judge_job(struct world *w, const struct sim_job *job, struct view *view)
{
    if (!view->named || !view->fold.closed) {
        wrong(w, job, "not closed", view->named ? (long long)view->fold.starts : -1, view->fold.seq);
        return;
    }
    if (!outcome_allowed(job, view))
        wrong(w, job, "an outcome that its fate does not allow", view->fold.end, view->reason);
    if (view->fold.end == MR_FOLD_DONE && view->fold.seq != length_of(job->body))
        wrong(w, job, "a length that is not the undisturbed run's", view->fold.seq, length_of(job->body));
    bool failed = view->fold.end == MR_FOLD_FAILED;
    bool wants = view->fold.end != MR_FOLD_DUPLICATE && view->reason != MR_REASON_ID_CONFLICT;
    if (wants != (view->result.p != NULL))
        wrong(w, job, wants ? "no result" : "a result that must not be", view->fold.end, 0);
    if (failed != view->dead)
        wrong(w, job, failed ? "no dead letter" : "a dead letter that must not be", view->fold.end, 0);
    if (view->fold.end == MR_FOLD_DONE && !contains(view->result, mr_buf_view(&view->text)))
        wrong(w, job, "a result without the accepted text", 0, 0);
    w->totals->tokens += view->fold.seq;
    w->totals->done += view->fold.end == MR_FOLD_DONE;
    w->totals->failed += failed;
    w->totals->cancelled += view->fold.end == MR_FOLD_CANCELLED;
    w->totals->expired += view->fold.end == MR_FOLD_EXPIRED;
    w->totals->duplicates += view->fold.end == MR_FOLD_DUPLICATE;
    w->totals->poison += view->reason == MR_REASON_POISON;
}

int sim_run(const struct sim_plan *plan, struct sim_totals *totals)
{
    static struct world w;
    mr_log_setup(getenv("SIM_LOG") ? MR_LOG_INFO : MR_LOG_ERROR, false);
    world_open(&w, plan, totals);
    run_world(&w);
    totals->jobs += plan->jobs;
    if (!all_committed(&w))
        wrong(&w, NULL, "not committed to the end within an hour", w.produced, plan->jobs);
    struct view *views = calloc((size_t)plan->jobs, sizeof *views);
    CHECK(views);
    judge_stream(&w, views);
    judge_results(&w, views);
    judge_dead(&w, views);
    for (int i = 0; i < plan->jobs; i++) {
        judge_job(&w, &w.jobs[i], &views[i]);
        mr_buf_fini(&views[i].text);
    }
    for (int i = 0; i < plan->workers; i++) {
        if (w.workers[i].owner)
            worker_stop(&w.workers[i]);
    }
    free(views);
    free(w.jobs);
    mr_memory_close(w.memory);
    return w.violations;
}

void sim_totals_add(struct sim_totals *sum, const struct sim_totals *one)
{
    uint64_t digest = mr_mix64(sum->digest ^ one->digest);
    int64_t *to = &sum->jobs;
    const int64_t *from = &one->jobs;
    for (size_t i = 0; i < offsetof(struct sim_totals, digest) / sizeof(int64_t); i++)
        to[i] += from[i];
    sum->digest = digest;
}

void sim_totals_print(const struct sim_totals *t)
{
    printf("sim: jobs %lld: done %lld, failed %lld (poison %lld), cancelled %lld, expired %lld, duplicate %lld\n", (long long)t->jobs,
        (long long)t->done,
           (long long)t->failed, (long long)t->poison, (long long)t->cancelled, (long long)t->expired, (long long)t->duplicates);
    printf("sim: crashes %lld, stalls %lld, group resets %lld, drains %lld; stream records %lld, ignored %lld, starts accepted %lld\n",
           (long long)t->crashes, (long long)t->stalls, (long long)t->resets, (long long)t->drains, (long long)t->records, (long long)t->ignored,
               (long long)t->starts);
    printf("sim: tokens %lld, made %lld; results %lld, repeated %lld; digest %016llx\n", (long long)t->tokens, (long long)t->tokens_made,
        (long long)t->results,
           (long long)t->result_repeats, (unsigned long long)t->digest);
}
