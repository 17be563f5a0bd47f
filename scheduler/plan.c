/* One step (scheduling.md 3.4). The load of the step is kept as sums while jobs take their part of it (job_take), so that a
 * sequence that is preempted meanwhile takes nothing after all; the items are written out at the end.
 *
 * 1. Before anything is taken, every resident decode holds its next block: a step never runs out.
 * 2. The predicted time of a plan is within T, unless it is forced.
 * 3. Order: owed floors; realtime and standard decodes; the feasibility test; realtime prefill, then standard, each with its
 *    admissions behind its residents; relegated decodes, bulk decodes; relegated prefill, bulk prefill.
 * 4. An empty plan with work about is planned again with a forced chunk and no budget.
 * Cost per step: O(residents) for the decodes and for each need of room, both over arrays; O(64) for each admission, of tenants O(320)
 * a class and 8 an admission; O(log) for every queue. Engine thread, no malloc. */
#include "scheduler/core.h"

#include "base/check.h"

#include <string.h>

static const int8_t LAST_FIRST[CLASSES] = {MR_TIER_REALTIME, MR_TIER_STANDARD, MR_SCHED_RELEGATED, MR_TIER_BULK};

/* ---- the load ---- */

static struct cost_load load_of(const struct job *job)
{
    return job_decodes(job) ? cost_load_decode(job->computed) : cost_load_chunk(job->computed, job->take);
}

void step_take(struct mr_sched *s, struct job *job, int32_t n)
{
    struct class *class = &s->classes[job->class];
    int32_t had = job_take(s, job);
    if (had) {
        s->now.load = cost_load_less(s->now.load, load_of(job));
        s->now.n_items--;
    }
    if (job_decodes(job)) {
        class->decode_take[job->place] = (uint8_t)n;
        class->n_taken += n - had;
    } else {
        job->take = n;
    }
    if (n) {
        s->now.load = cost_load_sum(s->now.load, load_of(job));
        s->now.n_items++;
    }
}

static int32_t tokens_left(const struct mr_sched *s)
{
    int64_t most = s->now.forced ? s->config.forced_chunk : s->config.max_step_tokens;
    return (int32_t)(most - s->now.load.tokens);
}

/* ---- time ---- */

static void timers_run(struct mr_sched *s, int64_t start_ns)
{
    while (s->timers.n && s->timers.keys[s->timers.items[0]] <= start_ns) {
        int32_t j = s->timers.items[0];
        struct job *job = &s->jobs[j];
        if (job->in.deadline_ns > start_ns) { /* bulk whose laxity has run out */
            job->promoted = true;
            jobs_reclass(s, j, MR_TIER_STANDARD);
            heap_set(&s->timers, j, job->in.deadline_ns);
            continue;
        }
        s->expired[s->n_expired++] = job->in.id;
        s->stats.expired++;
        if (job->in.tier == MR_TIER_BULK)
            bulk_done(&s->bulk, job->queued_cost, job->in.deadline_ns);
        jobs_forget(s, j);
    }
}

/* ---- decodes ---- */

/* The next block of every decode of the class. A preemption moves the list about: then it is gone through again. */
static void grow_class(struct mr_sched *s, int c)
{
    struct class *class = &s->classes[c];
    for (int32_t i = 0; i < class->n_decodes; i++) {
        int32_t j = class->decode_jobs[i], known = class->decodes[i].start + 1;
        if (known <= class->decodes[i].n_blocks * s->config.block_tokens || jobs_grow(s, j, known))
            continue;
        struct need need = {.class = c, .blocks = 1, .self = j};
        bool room = preemption_make_room(s, &need);
        if (!room && MUTANT(MUTANT_NO_SAME_TIER))
            continue;
        if (!room)
            preemption_give_up(s, j);
        else
            CHECK(jobs_grow(s, j, known));
        i = -1;
    }
}

/* What the latency tiers' decodes weigh: the floor of the budget, and what prefill cannot have. */
static void latency_sum(struct mr_sched *s)
{
    for (int c = MR_TIER_REALTIME; c <= MR_TIER_STANDARD; c++)
        s->now.latency = cost_load_sum(s->now.latency, (struct cost_load){s->classes[c].n_decodes, s->classes[c].decode_context, 0,
                                                                          s->classes[c].n_decodes});
}

/* All of them at once, when none is taken yet and all fit: the common case. */
static bool decode_whole_class(struct mr_sched *s, struct class *class)
{
    struct cost_load load = cost_load_sum(s->now.load, (struct cost_load){class->n_decodes, class->decode_context, 0, class->n_decodes});
    if (class->n_taken || class->n_decodes > tokens_left(s) || cost_step_ps(&s->config.cost, load) > s->now.budget_ps)
        return false;
    memset(class->decode_take, 1, (size_t)class->n_decodes);
    class->n_taken = class->n_decodes;
    s->now.load = load;
    s->now.n_items += class->n_decodes;
    class->cursor = 0;
    return true;
}

/* All that fit; where not all do, the next step goes on behind the last one served. */
static void decode_class(struct mr_sched *s, int c)
{
    struct class *class = &s->classes[c];
    int32_t n = class->n_decodes, from = class->cursor < n ? class->cursor : 0;
    if (decode_whole_class(s, class))
        return;
    for (int32_t i = 0; i < n; i++) {
        int32_t at = from + i < n ? from + i : from + i - n;
        if (class->decode_take[at])
            continue;
        struct cost_load load = cost_load_sum(s->now.load, cost_load_decode(class->decodes[at].start));
        if (tokens_left(s) < 1 || cost_step_ps(&s->config.cost, load) > s->now.budget_ps) {
            class->cursor = at;
            return;
        }
        class->decode_take[at] = 1;
        class->n_taken++;
        s->now.load = load;
        s->now.n_items++;
    }
    class->cursor = 0;
}

/* ---- prefill and admission ---- */

/* false: no token of it fits. */
static bool prefill_take(struct mr_sched *s, int32_t j, int32_t most)
{
    struct job *job = &s->jobs[j];
    int32_t left = job_left(job), room = tokens_left(s);
    most = most < room ? most : room;
    if (most < left)
        most -= s->now.forced ? 0 : most % s->config.chunk_quantum;
    most = most < left ? most : left;
    int64_t budget = MUTANT(MUTANT_OVER_BUDGET) && s->now.budget_ps != NEVER ? s->now.budget_ps * 2 : s->now.budget_ps;
    if (left == 1 && most >= 1)
        most = cost_step_ps(&s->config.cost, cost_load_sum(s->now.load, cost_load_decode(job->computed))) <= budget;
    else
        most = cost_chunk_fit(&s->config.cost, s->now.load, job->computed, most, s->config.chunk_quantum, budget);
    if (most > 0)
        step_take(s, job, most);
    return most > 0;
}

/* Residents in order of deadline, then the waiting as they are picked; at most `most` prompt tokens. */
static void prefill_class(struct mr_sched *s, int c, int32_t most)
{
    struct class *class = &s->classes[c];
    int64_t end = s->now.load.tokens + most;
    class->stop = MR_WAIT_TURN;
    for (int32_t j = class->prefill_head; j >= 0; j = s->next[j])
        if (!s->jobs[j].take && !prefill_take(s, j, (int32_t)(end - s->now.load.tokens))) {
            class->stop = MR_WAIT_BUDGET;
            return;
        }
    for (int failures = 0; failures < TRIES_PER_STEP;) {
        struct cost_load least = cost_load_sum(s->now.load, cost_load_chunk(0, 1));
        if (end - s->now.load.tokens < 1 || tokens_left(s) < 1 || cost_step_ps(&s->config.cost, least) > s->now.budget_ps) {
            class->stop = MR_WAIT_BUDGET;
            return;
        }
        enum mr_sched_wait stop = class->stop;
        int32_t j = fair_pick(s, c);
        if (j < 0) {
            class->stop = failures ? stop : class->stop;
            return;
        }
        if (!admission_try(s, j)) {
            failures++;
            continue;
        }
        failures = 0;
        if (!prefill_take(s, j, (int32_t)(end - s->now.load.tokens))) {
            class->stop = MR_WAIT_BUDGET;
            return;
        }
    }
}

/* A realtime or standard head that waits for blocks or a slot keeps the classes behind it from taking them. */
static bool pool_is_asked_for(const struct mr_sched *s, int c)
{
    for (int other = MR_TIER_REALTIME; other <= MR_TIER_STANDARD && other < c; other++) {
        enum mr_sched_wait stop = s->classes[other].stop;
        if (stop == MR_WAIT_BLOCKS || stop == MR_WAIT_SLOTS || stop == MR_WAIT_RESERVED)
            return true;
    }
    return false;
}

static void prefill_rest(struct mr_sched *s, int c)
{
    struct class *class = &s->classes[c];
    if (!pool_is_asked_for(s, c)) {
        prefill_class(s, c, s->config.max_step_tokens);
        return;
    }
    class->stop = class->n_waiting ? MR_WAIT_BLOCKS : MR_WAIT_TURN;
    for (int32_t j = class->prefill_head; j >= 0; j = s->next[j])
        if (!s->jobs[j].take && !prefill_take(s, j, s->config.max_step_tokens))
            return;
}

/* One job of a tenant over its rate, when nobody else wants what is left of step and pool: it runs as relegated ones do. */
static void scavenge(struct mr_sched *s)
{
    bool wanted = pool_is_asked_for(s, CLASSES) || s->classes[MR_TIER_BULK].stop != MR_WAIT_TURN ||
                  s->classes[MR_SCHED_RELEGATED].stop != MR_WAIT_TURN;
    int32_t j = wanted || s->limits.refills.n == 0 || s->n_slots == 0 ? -1 : fair_scavenger(s);
    struct job *job = j >= 0 ? &s->jobs[j] : NULL;
    if (!job || mr_blocks_for(job->known, s->config.block_tokens) > mr_block_pool_available(&s->pool) ||
        cost_step_ps(&s->config.cost, cost_load_sum(s->now.load, cost_load_chunk(0, 1))) > s->now.budget_ps)
        return;
    job->scavenged = true;
    if (job->class != MR_SCHED_RELEGATED && !MUTANT(MUTANT_SCAVENGER_PROMOTED))
        jobs_reclass(s, j, MR_SCHED_RELEGATED);
    if (admission_try(s, j))
        prefill_take(s, j, s->config.max_step_tokens);
}

/* What the lower tiers may add to a step in which realtime prompts are computed: less than fits, when a first token matters more. */
static void keep_backfill(struct mr_sched *s)
{
    int64_t spent_ps = cost_step_ps(&s->config.cost, s->now.load), left_ps = s->now.budget_ps - spent_ps;
    if (s->now.budget_ps != NEVER && left_ps > 0)
        s->now.budget_ps -= left_ps / 1000 * s->config.backfill_keep_permille;
}

static void plan_classes(struct mr_sched *s)
{
    decode_class(s, MR_TIER_REALTIME);
    decode_class(s, MR_TIER_STANDARD);
    feasibility_relegate(s);
    for (int tier = MR_TIER_STANDARD; tier <= MR_TIER_BULK; tier++)
        if (part_on(s, MR_PART_FLOORS) && !MUTANT(MUTANT_NO_FLOORS) && tiers_owed(&s->tiers, tier, s->now.violating, s->now.start_ns)) {
            decode_class(s, tier);
            prefill_class(s, tier, s->config.floor_tokens);
        }
    int64_t before = s->now.load.tokens;
    prefill_class(s, MR_TIER_REALTIME, s->config.max_step_tokens);
    if (s->now.load.tokens > before)
        keep_backfill(s);
    prefill_rest(s, MR_TIER_STANDARD);
    decode_class(s, MR_SCHED_RELEGATED);
    decode_class(s, MR_TIER_BULK);
    prefill_rest(s, MR_SCHED_RELEGATED);
    prefill_rest(s, MR_TIER_BULK);
    scavenge(s);
}

/* ---- the plan ---- */

static void emit_decodes(struct mr_sched *s, const struct class *class)
{
    if (class->n_taken == class->n_decodes) {
        memcpy(s->items + s->n_items, class->decodes, (size_t)class->n_taken * sizeof *s->items);
        memcpy(s->item_jobs + s->n_items, class->decode_jobs, (size_t)class->n_taken * sizeof *s->item_jobs);
        s->n_items += class->n_taken;
        return;
    }
    for (int32_t i = 0; i < class->n_decodes && class->n_taken; i++)
        if (class->decode_take[i]) {
            s->item_jobs[s->n_items] = class->decode_jobs[i];
            s->items[s->n_items++] = class->decodes[i];
        }
}

static void emit_prefill(struct mr_sched *s, int32_t j)
{
    const struct job *job = &s->jobs[j];
    if (!job->take)
        return;
    s->item_jobs[s->n_items] = j;
    s->items[s->n_items++] = (struct mr_sched_item){.id = job->in.id, .start = job->computed, .n = job->take,
                                                    .samples = job->computed + job->take == job->known, .blocks = job->table.blocks,
                                                    .n_blocks = job->table.n_blocks};
}

static void emit_all(struct mr_sched *s)
{
    for (int i = 0; i < CLASSES; i++)
        emit_decodes(s, &s->classes[LAST_FIRST[i]]);
    for (int i = 0; i < CLASSES; i++)
        for (int32_t j = s->classes[LAST_FIRST[i]].prefill_head; j >= 0; j = s->next[j])
            emit_prefill(s, j);
    CHECK(s->n_items == s->now.n_items);
}

void mr_sched_plan(struct mr_sched *s, int64_t start_ns, struct mr_sched_plan *plan)
{
    CHECK(!s->planned);
    s->step++;
    s->n_items = s->n_preempted = s->n_expired = s->n_needs = 0;
    s->clock_ns = start_ns > s->clock_ns ? start_ns : s->clock_ns;
    s->now = (struct step){.start_ns = start_ns};
    for (int32_t tenant; (tenant = limits_refilled(&s->limits, start_ns)) >= 0;)
        fair_limits(s, (uint32_t)tenant);
    timers_run(s, start_ns);
    for (int i = 0; i < CLASSES; i++)
        grow_class(s, LAST_FIRST[i]);
    latency_sum(s);
    budget_set(s);
    int64_t budget_ps = s->now.budget_ps;
    plan_classes(s);
    if (s->now.n_items == 0 && s->n_live > 0 && !MUTANT(MUTANT_NO_FORCED)) {
        s->now.forced = true;
        s->now.budget_ps = NEVER;
        plan_classes(s);
    }
    emit_all(s);
    for (int c = 0; c < CLASSES; c++)
        decisions_class(&s->decisions, c, s->classes[c].stop, start_ns);
    pressure_update(&s->pressure, start_ns);
    s->planned = s->n_items > 0;
    s->stats.forced_steps += s->now.forced && s->planned;
    s->stats.last_budget_ns = budget_ps == NEVER ? NEVER : budget_ps / 1000;
    *plan = (struct mr_sched_plan){.items = s->items, .n_items = s->n_items, .n_tokens = (int32_t)s->now.load.tokens,
                                   .preempted = s->preempted, .n_preempted = s->n_preempted, .expired = s->expired,
                                   .n_expired = s->n_expired, .budget_ns = s->stats.last_budget_ns, .forced = s->now.forced,
                                   .predicted_ns = s->n_items ? cost_step_ps(&s->config.cost, s->now.load) / 1000 : 0,
                                   .victims = s->victims};
}
