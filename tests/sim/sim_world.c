/* The world: jobs of every fate, workers whose engines make tokens from the prefix, faults from the plan's chances; and, for small
 * worlds, one event at a time in any order. The topics are judged afterwards (sim_judge.c).
 *
 * Invariants:
 * 1. Everything follows from the plan: one generator, drawn in the order of the steps.
 * 2. Each worker has a monotonic clock of its own, up to an hour from the world's; the log's time is the world's alone.
 * 3. When faults have ended everything must come to its end within an hour.
 * Thread: one. Rejected: a worker's threads here (tests/sim/worker_test.c has them). */
#include "tests/sim/sim_state.h"

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
    plan.length_max = LENGTH_MAX;
    plan.tiers = TIERS;
    plan.store = seed % 4 != 3;
    plan.transactions = seed % 5 == 0;
    return plan;
}

struct sim_plan sim_plan_small(uint64_t seed, int64_t crash_at_append, bool after)
{
    return (struct sim_plan){.seed = seed, .workers = 1, .partitions = 1, .jobs = 9, .fault_ns = 20 * MR_NS_PER_S, .delay_max_ns = 10 * MR_NS_PER_MS,
                             .crash_at_append = crash_at_append, .crash_after = after, .length_max = LENGTH_MAX, .tiers = TIERS,
                             .store = seed % 2 == 0, .transactions = seed % 5 == 0};
}

/* ---- jobs ---- */

struct sim_plan sim_plan_interleaved(uint64_t seed)
{
    uint64_t r = mr_mix64(seed + 7);
    return (struct sim_plan){.seed = seed, .workers = 3, .partitions = 1, .tiers = 1, .jobs = 1 + (int)(r % 3), .salted = r >> 8 & 1, .length_max = 2,
                             .delay_max_ns = (int64_t)(r >> 16 & 15) * MR_NS_PER_MS, .crash = (int)(r >> 20 & 15), .stall = (int)(r >> 26 & 31),
                             .reset = (int)(r >> 31 & 7), .drain = (int)(r >> 34 & 7), .lose = (int)(r >> 37 & 127), .lie = (int)(r >> 44 & 63),
                             .twice = (int)(r >> 50 & 63), .refuse = (int)(r >> 56 & 255), .store = r >> 9 & 1, .transactions = (r >> 10 & 3) == 0,
                             .interleaved = true};
}

static const struct mr_value held_mark;

/* The sim's own job format: "id body fate", behind the encoding byte that decides how outcomes are written. */
static struct mr_job *job_make(const struct mr_record *record, const struct mr_route *route, bool parked, struct mr_refusal *refusal)
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
    job->priority = parked; /* what the engine holds back is a job that was not moved yet */
    job->deadline_ms = sim_deadline_ms(&(struct sim_job){.fate = (enum fate)fate, .body = body});
    job->metadata = fate == FATE_HELD ? &held_mark : NULL;
    snprintf(job->body_hash, sizeof job->body_hash, "%064llx", body);
    int32_t *prompt = mr_arena_array(&job->arena, 3, sizeof *prompt);
    job->prompt_ids = prompt;
    job->n_prompt = 3;
    if (fate == FATE_BAD)
        mr_refuse(refusal, MR_REASON_OUT_OF_RANGE, "temperature", "temperature is out of range");
    return job;
}

/* A second record of an earlier job's name, mostly in its partition. */
static void repeat(struct world *w, struct sim_job *job, int i)
{
    const struct sim_job *first = i ? &w->jobs[draw(w, (uint64_t)i)] : NULL;
    if (!first || first->fate != FATE_PLAIN || first->timestamp_ms == w->clock.wall_ms) { /* one src must not name two of a name */
        job->fate = FATE_PLAIN;
        return;
    }
    strcpy(job->id, first->id);
    if (draw(w, 3)) {
        job->tier = first->tier;
        job->partition = first->partition;
    }
    job->body = job->fate == FATE_DUPLICATE ? first->body : job->body;
}

static enum fate fate_of(uint64_t r)
{
    static const struct {
        uint64_t below;
        enum fate fate;
    } shares[] = {{40, FATE_BAD}, {80, FATE_DUPLICATE}, {110, FATE_CONFLICT}, {190, FATE_CANCEL}, {250, FATE_DEADLINE}, {280, FATE_HELD}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        if (r < shares[i].below)
            return shares[i].fate;
    }
    return FATE_PLAIN;
}

static void produce_job(struct world *w, int i)
{
    struct sim_job *job = &w->jobs[i];
    uint64_t r = draw(w, 1000);
    *job = (struct sim_job){.fate = fate_of(r), .body = (draw(w, UINT64_MAX) & 0xffffffffff) | 16, .tier = (int)draw(w, (uint64_t)w->plan->tiers),
                            .partition = (int)draw(w, (uint64_t)w->plan->partitions)};
    if (w->plan->poison && i == w->plan->jobs / 2)
        job->fate = FATE_POISON;
    snprintf(job->id, sizeof job->id, "j%d", i);
    if (job->fate == FATE_DUPLICATE || job->fate == FATE_CONFLICT)
        repeat(w, job, i);
    char text[96];
    int n = snprintf(text, sizeof text, "%s %llx %d", job->id, (unsigned long long)job->body, (int)(job->fate == FATE_DUPLICATE
        ? FATE_PLAIN : job->fate));
    struct mr_record record = {.topic = mr_str_from(w->routes[job->tier].jobs), .partition = job->partition, .value = {text, (size_t)n},
        .key = mr_str_from(job->id)};
    job->timestamp_ms = w->clock.wall_ms;
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
    worker->skew_ns = (int64_t)draw(w, 7200) * MR_NS_PER_S;
    snprintf(worker->name, sizeof worker->name, "w%d", index);
    struct mr_owner_config config = {
        .routes = w->routes, .n_routes = w->plan->tiers, .process = worker->process, .worker = worker->name, .build = "sim", .model_digest = "m",
            .tokenizer_digest = "t",
        .tier = {{1, 0}, {8, 100 * MR_NS_PER_MS}, {64, MR_NS_PER_S}}, .max_jobs = RUNS_MAX, .max_jobs_per_partition = 24, .max_waiting = 16,
            .max_tenants = 4,
        .max_bytes = 1 << 20, .max_dead_bytes = 1 << 20, .grace_ns = 300 * MR_NS_PER_MS, .state_expire_ms = 1000, .audit = "audit", .move_ns = 500 * MR_NS_PER_MS, .ask_first = w->plan->store, .journal = w->plan->store,
        .vocabulary = INT32_MAX, .transactions = w->plan->transactions, .random = worker_random, .self = worker};
    CHECK(mr_owner_open(&config, &worker->owner, NULL) == MR_OK);
    worker->client = mr_memory_client_open(w->memory, w->inputs, 2 * w->plan->tiers, &worker->port);
}

static void worker_stop(struct sim_worker *worker)
{
    for (int i = 0; i < worker->n_admissions; i++)
        mr_job_free(worker->admissions[i].job);
    for (int i = 0; i < worker->n_answers; i++)
        free(worker->answers[i].text);
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
            .length = sim_length(w, in->job->sampling.seed)};
        run->ctx = mr_fold_ctx(mr_fnv1a64(MR_FNV1A64_START, in->job->name.p, in->job->name.n), 0, in->accepted, (size_t)in->n_accepted);
        run->held = in->job->metadata == &held_mark && !in->job->priority;
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
        admission->job = job_make(&a->record, a->route, a->parked, &admission->refusal);
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
    case MR_OWNER_DO_STATE: sim_store_put(w, &a->state); break;
    case MR_OWNER_DO_ASK: sim_store_ask(w, worker, &a->ask); break;
    case MR_OWNER_DO_COUNT: break;
    case MR_OWNER_DO_REST: worker->rest = a->on; break;
    case MR_OWNER_DO_EXIT: worker->dying = true; break;
    }
}

static void step(struct world *w, struct sim_worker *worker, const struct mr_owner_event *event)
{
    const struct mr_owner_action *actions;
    size_t n;
    w->totals->steps++;
    mr_owner_step(worker->owner, event, w->clock.monotonic_ns + worker->skew_ns, &actions, &n);
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

static void engine_tokens(struct world *w, struct sim_worker *worker, struct engine_run *run)
{
    int32_t ids[3];
    char text[64] = "", piece[16];
    int n = 1 + (int)draw(w, 3);
    if (n > run->length - run->seq)
        n = (int)(run->length - run->seq);
    for (int k = 0; k < n; k++) {
        ids[k] = sim_token(run->seed, run->ctx, worker->salt, w->plan->salted);
        run->ctx = mr_fold_ctx(run->ctx, 0, &ids[k], 1);
        sim_token_text(ids[k], piece);
        strcat(text, piece);
    }
    struct mr_owner_event event = {.kind = MR_OWNER_TOKENS, .handle = run->handle, .seq = run->seq, .n_tokens = n, .ids = ids,
        .text = mr_str_from(text)};
    run->seq += n;
    w->totals->tokens_made += n;
    step(w, worker, &event);
}

static void engine_one(struct world *w, struct sim_worker *worker, struct engine_run *run)
{
    if (run->cancelled) {
        engine_end(w, worker, run, MR_FINISH_CANCELLED);
    } else if (run->poison) {
        worker->dying = true;
    } else if (run->held) {
        if (!run->told_held)
            step(w, worker, &(struct mr_owner_event){.kind = MR_OWNER_HELD, .handle = run->handle, .on = true});
        run->told_held = true;
    } else if (run->seq < run->length) {
        engine_tokens(w, worker, run);
    } else {
        engine_end(w, worker, run, MR_FINISH_STOP);
    }
}

static void engine_step(struct world *w, struct sim_worker *worker)
{
    for (int i = 0; i < RUNS_MAX * 2 && !worker->dying; i++) {
        if (worker->runs[i].live && (!worker->rest || worker->runs[i].cancelled) && draw(w, 3) != 0)
            engine_one(w, worker, &worker->runs[i]);
    }
}

/* Each of the following gives the worker one event of a kind, if there is one. */
static bool give_log(struct world *w, struct sim_worker *worker)
{
    struct mr_log_event log;
    if (worker->dying || !worker->port.poll(worker->port.self, 0, &log))
        return false;
    if (log.kind == MR_LOG_FOLLOWED && log.record.topic.n > 7 && memcmp(log.record.topic.p, "stream.", 7) == 0)
        w->totals->tail_bytes += (int64_t)log.record.value.n;
    step(w, worker, &(struct mr_owner_event){.kind = MR_OWNER_LOG, .log = &log});
    return true;
}

static bool give_dropped(struct world *w, struct sim_worker *worker)
{
    if (worker->dying || !worker->n_dropped)
        return false;
    struct mr_owner_event event = {.kind = MR_OWNER_DROPPED, .handle = worker->dropped[0]};
    memmove(worker->dropped, worker->dropped + 1, sizeof *worker->dropped * (size_t)--worker->n_dropped);
    step(w, worker, &event);
    return true;
}

static bool give_admitted(struct world *w, struct sim_worker *worker)
{
    if (worker->dying || !worker->n_admissions)
        return false;
    struct admission a = worker->admissions[0];
    memmove(worker->admissions, worker->admissions + 1, sizeof *worker->admissions * (size_t)--worker->n_admissions);
    struct mr_owner_event event = {.kind = MR_OWNER_ADMITTED, .handle = a.handle, .job = a.job, .refusal = &a.refusal};
    step(w, worker, &event);
    return true;
}

static bool give_answer(struct world *w, struct sim_worker *worker)
{
    if (worker->dying || !worker->n_answers)
        return false;
    struct mr_state_answer answer = worker->answers[0];
    memmove(worker->answers, worker->answers + 1, sizeof *worker->answers * (size_t)--worker->n_answers);
    step(w, worker, &(struct mr_owner_event){.kind = MR_OWNER_ANSWER, .answer = &answer});
    free(answer.text);
    return true;
}

static void give_tick(struct world *w, struct sim_worker *worker)
{
    if (!worker->dying)
        step(w, worker, &(struct mr_owner_event){.kind = MR_OWNER_TICK});
}

static void worker_step(struct world *w, struct sim_worker *worker)
{
    bool engine_first = draw(w, 2);
    if (engine_first)
        engine_step(w, worker);
    for (int polls = 1 + (int)draw(w, 60); polls > 0 && give_log(w, worker); polls--)
        ;
    while (give_dropped(w, worker))
        ;
    while (draw(w, 4) && give_admitted(w, worker))
        ;
    while (draw(w, 4) && give_answer(w, worker))
        ;
    if (!engine_first)
        engine_step(w, worker);
    give_tick(w, worker);
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
    w->store = plan->store ? calloc(STORE_MAX, sizeof *w->store) : NULL;
    CHECK(w->memory && w->jobs && (w->store || !plan->store));
    for (int t = 0; t < plan->tiers; t++) {
        w->routes[t] = (struct mr_route){.name = names[t][0], .jobs = names[t][1], .stream = names[t][2], .parked = names[t][3],
            .stream_parked = names[t][4],
                                         .results = "results", .dead = "dead", .control = "control", .tier = (enum mr_tier)t, .tenant = "acme"};
        w->inputs[t] = names[t][1];
        w->inputs[plan->tiers + t] = names[t][3];
        for (int k = 1; k <= 4; k++)
            mr_memory_topic(w->memory, names[t][k], plan->partitions);
    }
    mr_memory_topic(w->memory, "results", 2);
    mr_memory_topic(w->memory, "dead", 1);
    mr_memory_topic(w->memory, "control", 1);
    mr_memory_topic(w->memory, "audit", 1);
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
    if (chance(w, 4))
        sim_store_flush(w);
    if (chance(w, w->plan->reset)) {
        w->totals->resets++;
        mr_memory_group_reset(w->memory, draw(w, 2));
    }
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

static void worker_begin(struct world *w, struct sim_worker *worker)
{
    worker_start(w, worker);
    if (w->store)
        step(w, worker, &(struct mr_owner_event){.kind = MR_OWNER_STORE, .on = true});
}

static void bury(struct world *w, struct sim_worker *worker)
{
    if (!worker->dying)
        return;
    w->totals->crashes++;
    worker_stop(worker);
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
                worker_begin(w, worker);
            if (!worker->owner || (faults && w->clock.monotonic_ns < worker->stalled_until_ns))
                continue;
            if (!worker->dying)
                worker_step(w, worker);
            bury(w, worker);
        }
        if (!faults && w->produced == w->plan->jobs && i % 16 == 0 && sim_all_committed(w))
            return;
    }
}

/* ---- one event at a time ---- */

/* A worker's next event, of a kind that chance picks. */
static void one_event(struct world *w, struct sim_worker *worker)
{
    switch (draw(w, 12)) {
    case 0: give_dropped(w, worker); break;
    case 1: give_admitted(w, worker); break;
    case 2: give_answer(w, worker); break;
    case 3: give_tick(w, worker); break;
    case 4:
    case 5: {
        struct engine_run *run = &worker->runs[draw(w, 4)];
        if (run->live)
            engine_one(w, worker, run);
        break;
    }
    default: give_log(w, worker); break;
    }
}

/* Time stands still mostly; now and then it is an acknowledgement's, a back-off's or a session's. */
static void pass_time(struct world *w, bool faults)
{
    static const int64_t most_ms[] = {2, 2, 2, 2, 20, 20, 300, 7000};
    int64_t ms = draw(w, 8) ? 0 : (int64_t)draw(w, (uint64_t)most_ms[draw(w, faults ? 8 : 7)] + 1);
    w->clock.monotonic_ns += ms * MR_NS_PER_MS;
    w->clock.wall_ms += ms;
    mr_memory_step(w->memory);
}

static void run_interleaved(struct world *w)
{
    struct mr_memory_faults calm = {.delay_max_ns = MR_NS_PER_MS};
    int events = 100 + (int)draw(w, 900);
    for (int64_t i = 0; i < 400000; i++) {
        bool faults = i < events;
        if (i == events)
            mr_memory_set_faults(w->memory, &calm);
        if (w->produced < w->plan->jobs && (!faults || draw(w, 8) == 0))
            produce_job(w, w->produced++);
        for (int k = 0; k < w->produced; k++) {
            if (w->jobs[k].fate == FATE_CANCEL && faults && draw(w, 256) == 0)
                produce_cancel(w, &w->jobs[k]);
        }
        if (faults)
            strike(w);
        pass_time(w, faults);
        struct sim_worker *worker = &w->workers[draw(w, (uint64_t)w->plan->workers)];
        if (!worker->owner && (!faults || draw(w, 8) == 0))
            worker_begin(w, worker);
        else if (worker->owner && (!faults || w->clock.monotonic_ns >= worker->stalled_until_ns))
            one_event(w, worker);
        for (int k = 0; k < w->plan->workers; k++)
            bury(w, &w->workers[k]);
        if (!faults && i % 64 == 0 && w->produced == w->plan->jobs && sim_all_committed(w))
            return;
    }
}

void (*sim_look)(const struct sim_plan *plan, const struct mr_memory *memory, const struct mr_route *routes);

int sim_run(const struct sim_plan *plan, struct sim_totals *totals)
{
    static struct world w;
    mr_log_setup(getenv("SIM_LOG") ? MR_LOG_INFO : MR_LOG_ERROR, false);
    world_open(&w, plan, totals);
    if (plan->interleaved)
        run_interleaved(&w);
    else
        run_world(&w);
    totals->jobs += plan->jobs;
    sim_judge(&w);
    if (sim_look)
        sim_look(plan, w.memory, w.routes);
    for (int i = 0; i < plan->workers; i++) {
        if (w.workers[i].owner)
            worker_stop(&w.workers[i]);
    }
    sim_store_close(&w);
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
    printf("sim: moved %lld, parked copies that ended as duplicates %lld; duplicates elsewhere %lld; the store answered %lld; owner steps %lld\n",
           (long long)t->moved, (long long)t->copies, (long long)t->elsewhere, (long long)t->hints, (long long)t->steps);
    printf("sim: tokens %lld, made %lld; results %lld, repeated %lld; digest %016llx\n", (long long)t->tokens, (long long)t->tokens_made,
        (long long)t->results,
           (long long)t->result_repeats, (unsigned long long)t->digest);
}
