/* Owns: per worker what each block holds, per class and tenant the counters seen and the pairwise differences, per tenant the
 * service it should have been charged. 1. Nothing here calls a function of the scheduler that changes it. 2. A check that
 * does not apply (a part is off, a tenant is shaped) is skipped by a condition that stands with it.
 * What each function asserts is named by its number in scheduling.md section 4.
 *
 * Left out, and why: B1, B2, B3 for a tenant that its contract or its cap stops (it is not eligible), for the relegated class (its
 * members come without a pick) and with several workers (counters jump at each exchange: B6). B4, I7 and B6 once a worker was
 * killed (a job's past lies there; up to one prompt may be charged twice). B5 while blocks, slots or its own cap stop the tier.
 * I10 for blocks with realtime residents (their future peak may refuse) and with shared beginnings (what a victim frees depends on
 * who shares). I13's T in a step that expires or promotes. B4, B5, I10-I12 for policies with a part left out. */
#include "scheduler/sim/oracle.h"

#include "kv/block_table.h"
#include "scheduler/cost.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENANTS = 16, CLASSES = MR_SCHED_CLASSES, NEAR_END = 32 };

struct pair {
    bool both;             /* backlogged without a break */
    int64_t low, high;     /* of C_f - C_g meanwhile */
};

/* A head that waits while nobody of its tenant is resident. */
struct headwait {
    bool waits;
    int64_t charged[TENANTS]; /* the others' when it began */
};

struct watch {
    uint64_t *content;     /* [n_blocks] true name of what a block holds; 0: unnamed */
    int64_t counter[CLASSES][TENANTS];
    int64_t potential[CLASSES][TENANTS]; /* most service, at weight 1, its residents could still draw */
    bool backlogged[CLASSES][TENANTS];
    struct pair pairs[CLASSES][TENANTS][TENANTS];
    int64_t charged[CLASSES][TENANTS];
    struct headwait heads[CLASSES][TENANTS];
    int64_t in_period[TENANTS], period; /* service of a sync period, and its number */
    bool paused[MR_TIER_COUNT];
    int64_t paused_ns[MR_TIER_COUNT]; /* of the last change */
    int64_t tier_high[MR_TIER_COUNT], tier_sum[MR_TIER_COUNT]; /* share x total - service, and its least so far */
    int64_t step_most, rate_most, second, in_second;           /* service of a step; of a second */
    int64_t expected_budget_ns;
    uint8_t *was_resident; /* [jobs] */
    int32_t jobs_capacity;
};

struct sim_oracle {
    const struct sim_scenario *scenario;
    char *violation;
    struct watch watch[SIM_WORKERS_MAX];
    int64_t served[TENANTS];  /* service units a tenant should have been charged */
    struct pair global[CLASSES][TENANTS][TENANTS]; /* of all workers: weighted service */
    int64_t period_most;      /* R Delta: most weighted service of one tenant on one worker in a period */
    bool killed;
};

static void broken(struct sim_oracle *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void broken(struct sim_oracle *o, const char *format, ...)
{
    va_list args;
    if (o->violation[0])
        return;
    va_start(args, format);
    vsnprintf(o->violation, 256, format, args);
    va_end(args);
}

struct sim_oracle *sim_oracle_open(const struct sim_scenario *scenario, char violation[256])
{
    struct sim_oracle *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->scenario = scenario;
    o->violation = violation;
    for (int i = 0; i < scenario->n_faults; i++)
        o->killed |= scenario->faults[i].kind == SIM_KILL;
    for (int32_t w = 0; w < scenario->workers; w++) {
        o->watch[w].content = calloc((size_t)scenario->config.n_blocks, sizeof *o->watch[w].content);
        if (!o->watch[w].content) {
            sim_oracle_close(o);
            return NULL;
        }
    }
    return o;
}

void sim_oracle_close(struct sim_oracle *o)
{
    for (int32_t w = 0; o && w < SIM_WORKERS_MAX; w++) {
        free(o->watch[w].content);
        free(o->watch[w].was_resident);
    }
    free(o);
}

static int64_t units(int64_t tokens, int32_t permille) { return tokens * permille * MR_SCHED_SERVICE_UNIT / 1000; }
static int32_t permille_or(int32_t value, int32_t otherwise) { return value ? value : otherwise; }

static const struct sim_job *job_of(const struct sim_view *view, uint64_t id) { return &view->loads->jobs[id - 1]; }

static bool info_of(const struct sim_view *view, int32_t j, struct mr_sched_job_info *info)
{
    return mr_sched_job_info(view->sched, (uint64_t)j + 1, info);
}

static int class_of(const struct sim_job *job, const struct mr_sched_job_info *info)
{
    return info->relegated ? MR_SCHED_RELEGATED : info->promoted ? MR_TIER_STANDARD : job->tier;
}

/* ---- the budget, derived again (I1, I13, the two traps of section 2) ---- */

static int64_t tpot_of(const struct mr_sched_config *config, int tier)
{
    int32_t pace = tier == MR_TIER_REALTIME && config->pace_permille ? config->pace_permille : 1000;
    return config->tier[tier].tpot_ns / 1000 * pace;
}

static int64_t due_of(const struct sim_view *view, const struct sim_job *job, const struct mr_sched_job_info *info)
{
    const struct mr_sched_tier_config *tier = &view->scenario->config.tier[job->tier];
    if (info->relegated || info->promoted || job->tier > MR_TIER_STANDARD || !tier->tpot_ns)
        return INT64_MAX;
    return job->produced ? job->first_ns + tpot_of(&view->scenario->config, job->tier) * job->produced : job->arrival_ns + tier->ttft_ns;
}

static int64_t budget_expected(const struct sim_view *view)
{
    bool late = false;
    const struct mr_sched_config *config = &view->scenario->config;
    struct cost_load load = {0};
    int64_t tpot = INT64_MAX, least = INT64_MAX;
    if (config->off || !config->tier[0].ttft_ns || !config->tier[1].ttft_ns)
        return -1;
    for (int32_t i = 0; i < view->n_live; i++) {
        const struct sim_job *job = &view->loads->jobs[view->live[i]];
        struct mr_sched_job_info info;
        if (!info_of(view, view->live[i], &info) || job->worker != view->worker)
            return -1;
        int class = class_of(job, &info);
        if (job->deadline_ns && (job->deadline_ns <= view->now_ns || job->tier == MR_TIER_BULK))
            return -1; /* expires or is promoted in this very plan */
        if (class > MR_TIER_STANDARD)
            continue;
        tpot = tpot_of(config, class) < tpot ? tpot_of(config, class) : tpot;
        if (info.resident && job->prompt + job->produced - info.computed == 1)
            load = cost_load_sum(load, cost_load_decode(info.computed));
    }
    load = cost_load_sum(load, cost_load_chunk(0, config->floor_tokens ? config->floor_tokens : 8 * config->chunk_quantum));
    int64_t floor_ns = cost_step_ps(&config->cost, load) / 1000 + 1, idle = config->tier[0].ttft_ns / 10;
    if (tpot == INT64_MAX)
        return idle > floor_ns ? idle : floor_ns;
    for (int32_t i = 0; i < view->n_live; i++) {
        struct mr_sched_job_info info;
        info_of(view, view->live[i], &info);
        int64_t due = due_of(view, &view->loads->jobs[view->live[i]], &info), slack = due - view->now_ns;
        if (info.resident && due != INT64_MAX && slack >= floor_ns && slack < least)
            least = slack;
        late |= info.resident && due != INT64_MAX && slack < floor_ns && view->loads->jobs[view->live[i]].produced > 0;
    }
    int64_t high = tpot / 2 * 3 > floor_ns ? tpot / 2 * 3 : floor_ns, budget = least == INT64_MAX ? high : least / 100 * 95;
    budget = late && budget > tpot / 4 * 3 ? tpot / 4 * 3 : budget;
    budget = budget < floor_ns ? floor_ns : budget;
    return budget > high ? high : budget;
}

void sim_oracle_before_plan(struct sim_oracle *o, const struct sim_view *view)
{
    struct watch *w = &o->watch[view->worker];
    if (w->jobs_capacity < view->loads->n) {
        free(w->was_resident);
        w->jobs_capacity = 2 * view->loads->n;
        w->was_resident = calloc((size_t)w->jobs_capacity, 1);
    }
    for (int32_t i = 0; i < view->n_live; i++) {
        struct mr_sched_job_info info;
        w->was_resident[view->live[i]] = info_of(view, view->live[i], &info) && info.resident;
    }
    w->expected_budget_ns = o->killed ? -1 : budget_expected(view);
}

/* ---- after a plan ---- */

static void check_budget(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_plan *plan)
{
    int64_t expected = o->watch[view->worker].expected_budget_ns;
    if (plan->n_items && !plan->forced && plan->predicted_ns > plan->budget_ns)
        broken(o, "I1: a plan of %lld ns in a budget of %lld ns", (long long)plan->predicted_ns, (long long)plan->budget_ns);
    if (plan->n_tokens > o->scenario->config.max_step_tokens)
        broken(o, "I1: %d tokens in a step of at most %d", plan->n_tokens, o->scenario->config.max_step_tokens);
    if (expected >= 0 && plan->n_preempted == 0 && plan->n_expired == 0 && plan->budget_ns != expected)
        broken(o, "I13: T is %lld ns, derived again it is %lld ns", (long long)plan->budget_ns, (long long)expected);
}

/* I9 and the content of shared blocks: what a sequence reads was computed for the same beginning, by its own tenant. */
static void check_items(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_plan *plan)
{
    struct watch *w = &o->watch[view->worker];
    int32_t bt = o->scenario->config.block_tokens;
    bool chunks = false;
    for (int32_t i = 0; i < plan->n_items; i++) {
        const struct mr_sched_item *item = &plan->items[i];
        const struct sim_job *job = job_of(view, item->id);
        bool decode = item->n == 1 && item->samples;
        if (decode && chunks)
            broken(o, "order: a decode behind a chunk");
        chunks |= !decode;
        if (item->n < 1 || item->start + item->n > job->prompt + job->produced)
            broken(o, "items: job %llu computes [%d, +%d) of %d", (unsigned long long)item->id, item->start, item->n, job->prompt + job->produced);
        if (item->n_blocks < mr_blocks_for(item->start + item->n, bt))
            broken(o, "I2: job %llu has %d blocks for %d tokens", (unsigned long long)item->id, item->n_blocks, item->start + item->n);
        if (job->at >= 0 && item->start != job->at)
            broken(o, "items: job %llu goes on at %d, not at %d", (unsigned long long)item->id, item->start, job->at);
        for (int32_t b = 0; job->at < 0 && b < item->start / bt; b++) {
            uint64_t salted = b < job->n_names ? mr_mix64(job->names[b] ^ mr_mix64(job->tenant + 77)) : 0;
            if (!salted || w->content[item->blocks[b]] != salted)
                broken(o, "I9: job %llu reads block %d, which holds another beginning or another tenant's", (unsigned long long)item->id, b);
        }
    }
}

/* I3: no idle step with a job that could run. */
static void check_idle(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_plan *plan)
{
    if (plan->n_items || plan->n_preempted)
        return;
    for (int32_t i = 0; i < view->n_live; i++) {
        const struct sim_job *job = &view->loads->jobs[view->live[i]];
        struct mr_sched_job_info info;
        struct mr_sched_tenant_stats tenant;
        if (!info_of(view, view->live[i], &info))
            continue;
        mr_sched_tenant_stats(view->sched, class_of(job, &info), job->tenant, &tenant);
        if (info.resident || !tenant.over_limit)
            broken(o, "I3: an idle step while job %d could run", view->live[i] + 1);
    }
}

/* I11, I12. */
static void check_victims(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_plan *plan)
{
    struct watch *w = &o->watch[view->worker];
    int best_admitted = CLASSES;
    for (int32_t i = 0; i < view->n_live; i++) {
        struct mr_sched_job_info info;
        if (!info_of(view, view->live[i], &info) || !info.resident || w->was_resident[view->live[i]])
            continue;
        int class = class_of(&view->loads->jobs[view->live[i]], &info);
        best_admitted = class < best_admitted ? class : best_admitted;
    }
    for (int32_t i = 0; i < plan->n_preempted; i++) {
        const struct mr_sched_victim *v = &plan->victims[i];
        const struct sim_job *job = job_of(view, v->id);
        int32_t others = 0, n = 0;
        struct mr_sched_job_info info = {0};
        mr_sched_job_info(view->sched, v->id, &info);
        for (int32_t k = 0; k < plan->n_preempted; k++)
            if (plan->victims[k].need == v->need) {
                n++;
                others += k == i ? 0 : plan->victims[k].freed;
            }
        if (v->wanted > 0 && n > 1 && others >= v->wanted)
            broken(o, "I12: job %llu need not have yielded (%d others free %d of %d)", (unsigned long long)v->id, n - 1, others, v->wanted);
        if (v->wanted == 0 && n > 1)
            broken(o, "I12: %d yielded for one slot", n);
        if (info.preemptions > MR_SCHED_PREEMPTIONS_MAX)
            broken(o, "I11: job %llu was preempted %d times", (unsigned long long)v->id, info.preemptions);
        if (v->slot && best_admitted >= class_of(job, &info))
            broken(o, "I11: job %llu gave its slot to nobody of a higher tier", (unsigned long long)v->id);
    }
}

/* I10: a realtime head that waits for a slot or blocks while bulk holds them and may be preempted. */
static void check_realtime_head(struct sim_oracle *o, const struct sim_view *view)
{
    const struct mr_sched_config *config = &o->scenario->config;
    struct mr_sched_stats stats;
    mr_sched_stats(view->sched, &stats);
    int stop = stats.stop[MR_TIER_REALTIME];
    if (stop != MR_WAIT_SLOTS && stop != MR_WAIT_BLOCKS)
        return;
    int32_t yieldable = 0, victims = 0, most = 0, realtime = 0;
    for (int32_t i = 0; i < view->n_live; i++) {
        const struct sim_job *job = &view->loads->jobs[view->live[i]];
        struct mr_sched_job_info info;
        if (!info_of(view, view->live[i], &info))
            continue;
        int class = class_of(job, &info);
        bool near_end = job->produced > 0 && info.predicted_output - job->produced <= NEAR_END && info.predicted_output > NEAR_END;
        if (info.resident && class >= MR_TIER_BULK && info.preemptions == 0 && !near_end) {
            victims++;
            yieldable += mr_blocks_for(job->prompt + job->produced, config->block_tokens);
        }
        realtime += info.resident && class == MR_TIER_REALTIME;
        if (!info.resident && class == MR_TIER_REALTIME) {
            int32_t tokens = info.preemptions >= MR_SCHED_PREEMPTIONS_MAX ? job->prompt + job->max_output : job->prompt + job->produced;
            tokens = mr_blocks_for(tokens, config->block_tokens);
            most = tokens > most ? tokens : most;
        }
    }
    if (stop == MR_WAIT_SLOTS && victims > 0)
        broken(o, "I10: a realtime job waits for a slot that one of %d bulk jobs could give", victims);
    bool shared = view->loads->scenario->loads[0].prefixes > 0;
    if (stop == MR_WAIT_BLOCKS && realtime == 0 && !shared && victims > 0 && stats.blocks_total - stats.blocks_used + yieldable >= most)
        broken(o, "I10: a realtime job waits for blocks that %d bulk jobs could give", victims);
}

/* B4: inside a tenant and tier a job is bypassed at most 16 x (position + 1) times. Same priority, no preemption. */
static void check_bypass(struct sim_oracle *o, const struct sim_view *view)
{
    struct watch *w = &o->watch[view->worker];
    for (int32_t i = 0; i < view->n_live; i++) {
        const struct sim_job *admitted = &view->loads->jobs[view->live[i]];
        struct mr_sched_job_info info;
        if (w->was_resident[view->live[i]] || !info_of(view, view->live[i], &info) || !info.resident || info.preemptions || info.relegated ||
                info.promoted)
            continue;
        for (int32_t k = 0; k < view->n_live; k++) {
            struct sim_job *job = &view->loads->jobs[view->live[k]];
            struct mr_sched_job_info other;
            if (job->tenant != admitted->tenant || job->tier != admitted->tier || !info_of(view, view->live[k], &other) || other.resident ||
                other.preemptions || other.relegated || other.promoted || job->arrival_ns >= admitted->arrival_ns)
                continue;
            job->bypassed++;
            if (job->bypassed > 16 * (job->ahead + 1) + 16)
                broken(o, "B4: job %d was bypassed %d times from position %d", view->live[k] + 1, job->bypassed, job->ahead);
        }
    }
}

/* Service that the residents of each class and tenant may still draw. */
static void note_potential(struct sim_oracle *o, const struct sim_view *view)
{
    const struct mr_sched_config *config = &o->scenario->config;
    struct watch *w = &o->watch[view->worker];
    int64_t now[CLASSES][TENANTS] = {{0}};
    for (int32_t i = 0; i < view->n_live; i++) {
        const struct sim_job *job = &view->loads->jobs[view->live[i]];
        struct mr_sched_job_info info;
        if (!info_of(view, view->live[i], &info) || !info.resident || job->tenant >= TENANTS)
            continue;
        now[class_of(job, &info)][job->tenant] += units(job->prompt - job->counted, permille_or(config->input_permille, 1000)) +
                                                 units(job->output - job->produced + 1, permille_or(config->output_permille, 2000));
    }
    for (int c = 0; c < CLASSES; c++)
        for (int t = 0; t < TENANTS; t++)
            w->potential[c][t] = now[c][t] > w->potential[c][t] ? now[c][t] : w->potential[c][t];
}

/* I17: realtime is never paused; a tier is while more is queued than 10 s of its rate bring, until it is half of that. */
static void check_pressure(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_stats *stats)
{
    struct watch *w = &o->watch[view->worker];
    if (mr_sched_paused(view->sched, MR_TIER_REALTIME))
        broken(o, "I17: realtime is paused");
    for (int tier = MR_TIER_STANDARD; tier < MR_TIER_COUNT; tier++) {
        int64_t high = 10 * stats->rate_service[tier], least = units(65536, 1000), queued = stats->queued_service[tier];
        bool paused = mr_sched_paused(view->sched, tier), settled = view->now_ns - w->paused_ns[tier] >= 250000000;
        high = high > least ? high : least;
        if (paused != w->paused[tier] && !settled && w->paused_ns[tier])
            broken(o, "I17: tier %d changed twice within 250 ms", tier);
        if (paused == w->paused[tier] && settled && (paused ? queued <= high / 2 : queued > high))
            broken(o, "I17: tier %d is %s with %lld of service queued", tier, paused ? "still paused" : "not paused", (long long)queued);
        if (paused != w->paused[tier])
            w->paused_ns[tier] = view->now_ns;
        w->paused[tier] = paused;
    }
}

void sim_oracle_after_plan(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_plan *plan)
{
    struct mr_sched_stats stats;
    mr_sched_check(view->sched);
    mr_sched_stats(view->sched, &stats);
    int32_t in = 0;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        in += stats.waiting[tier] + stats.resident[tier];
    if (in != view->n_live)
        broken(o, "I8: the scheduler has %d jobs, %d were given to it and have not ended", in, view->n_live);
    note_potential(o, view);
    check_pressure(o, view, &stats);
    check_budget(o, view, plan);
    check_items(o, view, plan);
    check_idle(o, view, plan);
    if (o->scenario->config.off)
        return;
    check_victims(o, view, plan);
    check_realtime_head(o, view);
    if (!o->killed) /* who comes over from a dead worker has a past there */
        check_bypass(o, view);
}

/* ---- after a commit ---- */

/* I7's side of the sum, and what the blocks hold now. */
static void count_items(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_plan *plan)
{
    const struct mr_sched_config *config = &o->scenario->config;
    struct watch *w = &o->watch[view->worker];
    for (int32_t i = 0; i < plan->n_items; i++) {
        const struct mr_sched_item *item = &plan->items[i];
        struct sim_job *job = &view->loads->jobs[item->id - 1];
        int32_t end = item->start + item->n, counted = end < job->prompt ? end : job->prompt, from = job->counted;
        int64_t service = item->samples ? units(1, permille_or(config->output_permille, 2000)) : 0;
        if (counted > from) { /* positions that no item of this residence computed were found in the cache */
            int32_t hits = job->at < 0 ? item->start : 0;
            hits = (hits < counted ? hits : counted) - from;
            hits = hits > 0 ? hits : 0;
            service += units(counted - from - hits, permille_or(config->input_permille, 1000)) + units(hits, permille_or(config->cached_permille,
                    100));
            job->counted = counted;
        }
        o->served[job->tenant % TENANTS] += service;
        for (int32_t b = item->start / config->block_tokens; b < mr_blocks_for(end, config->block_tokens); b++)
            w->content[item->blocks[b]] = b < job->n_names && end >= (b + 1) * config->block_tokens
                                              ? mr_mix64(job->names[b] ^ mr_mix64(job->tenant + 77)) : 0;
        job->at = end;
    }
}

static int64_t window_of(const struct sim_oracle *o) { return units(permille_or(o->scenario->config.window_tokens, 8192), 1000); }
static int32_t weight_of(const struct sim_oracle *o, int t)
{
    return o->scenario->contract[t].weight ? o->scenario->contract[t].weight : 1;
}

/* Q + U: how far f may be ahead of g. U is what the residents of both could still draw, the largest ever seen. */
static int64_t bound_of(const struct sim_oracle *o, const struct watch *w, int c, int f, int g)
{
    return (window_of(o) + w->potential[c][f]) / weight_of(o, f) + w->potential[c][g] / weight_of(o, g) + MR_SCHED_SERVICE_UNIT;
}

/* B3, as service: while a head waits, with nobody of its tenant resident, each other tenant is served at most twice its bound, so
 * that the sum over them at the class's rate is the wait. A tenant that was served had its head picked, though a job of one step is
 * never seen resident: its wait begins anew. */
static void check_head(struct sim_oracle *o, struct watch *w, int c, int f, bool waits)
{
    struct headwait *head = &w->heads[c][f];
    if (waits && (!head->waits || w->charged[c][f] != head->charged[f]))
        memcpy(head->charged, w->charged[c], sizeof head->charged);
    head->waits = waits;
    for (int g = 0; g < TENANTS && waits; g++) {
        int64_t service = w->charged[c][g] - head->charged[g], bound = (bound_of(o, w, c, g, f) + bound_of(o, w, c, f, g)) * weight_of(o, g);
        if (g != f && service > bound)
            broken(o, "B3: while the head of tenant %d waited, tenant %d was served %lld in class %d, the bound is %lld", f, g, (long long)service, c,
                   (long long)bound);
    }
}

/* The sync period: while the store is away it lasts as long as that. */
static int64_t period_ns(const struct sim_oracle *o)
{
    double away = 0;
    for (int i = 0; i < o->scenario->n_faults; i++) {
        const struct sim_fault *fault = &o->scenario->faults[i];
        away = fault->kind == SIM_REDIS && fault->to_s - fault->from_s > away ? fault->to_s - fault->from_s : away;
    }
    return o->scenario->sync_ns + (int64_t)(away * 1e9);
}

static void note_period(struct sim_oracle *o, struct watch *w, int64_t now_ns, const int64_t before[TENANTS])
{
    if (now_ns / period_ns(o) != w->period)
        memset(w->in_period, 0, sizeof w->in_period);
    w->period = now_ns / period_ns(o);
    for (int t = 0; t < TENANTS; t++) {
        int64_t charged = 0;
        for (int c = 0; c < CLASSES; c++)
            charged += w->charged[c][t];
        w->in_period[t] += (charged - before[t]) / weight_of(o, t);
        o->period_most = w->in_period[t] > o->period_most ? w->in_period[t] : o->period_most;
    }
}

/* B6: weighted service of all workers, of two tenants that wait on all of them, drifts by at most 2 (Q + N U + (N - 1) R Delta). */
static void check_cluster(struct sim_oracle *o)
{
    int32_t n = o->scenario->workers;
    for (int c = 0; c < MR_TIER_COUNT; c++)
        for (int f = 0; f < TENANTS; f++)
            for (int g = 0; g < f; g++) {
                struct pair *pair = &o->global[c][f][g];
                bool both = true;
                int64_t ahead = 0, bound = 2 * (n - 1) * o->period_most;
                for (int32_t i = 0; i < n; i++) {
                    const struct watch *w = &o->watch[i];
                    both = both && w->backlogged[c][f] && w->backlogged[c][g];
                    ahead += w->charged[c][f] / weight_of(o, f) - w->charged[c][g] / weight_of(o, g);
                    bound += bound_of(o, w, c, f, g) + bound_of(o, w, c, g, f);
                }
                if (!both) {
                    pair->both = false;
                    continue;
                }
                if (!pair->both)
                    *pair = (struct pair){true, ahead, ahead};
                pair->low = ahead < pair->low ? ahead : pair->low;
                pair->high = ahead > pair->high ? ahead : pair->high;
                if (pair->high - pair->low > bound)
                    broken(o, "B6: tenants %d and %d drifted by %lld over %d workers in class %d, the bound is %lld", f, g,
                           (long long)(pair->high - pair->low), n, c, (long long)bound);
            }
}

/* I4, B1, B2, B3; with several workers, whose counters jump at each exchange, B6. */
static void check_counters(struct sim_oracle *o, const struct sim_view *view)
{
    struct watch *w = &o->watch[view->worker];
    for (int c = 0; c < CLASSES; c++)
        for (int t = 0; t < TENANTS; t++) {
            struct mr_sched_tenant_stats stats;
            mr_sched_tenant_stats(view->sched, c, (uint32_t)t, &stats);
            if (stats.counter < w->counter[c][t] || stats.charged < w->charged[c][t])
                broken(o, "I4: the counter of tenant %d in class %d fell from %lld to %lld", t, c, (long long)w->counter[c][t],
                        (long long)stats.counter);
            w->counter[c][t] = stats.counter;
            w->charged[c][t] = stats.charged;
            /* a tenant that its contract shapes stops and starts inside a step, unseen from here */
            bool shaped = o->scenario->contract[t].rate_tokens || o->scenario->contract[t].concurrency;
            w->backlogged[c][t] = stats.waiting > 0 && !shaped && !stats.over_cap;
            if (o->scenario->workers == 1 && c < MR_TIER_COUNT)
                check_head(o, w, c, t, w->backlogged[c][t] && stats.resident == 0);
        }
    if (o->scenario->workers > 1) {
        if (!o->killed)
            check_cluster(o);
        return;
    }
    for (int c = 0; c < MR_TIER_COUNT; c++) /* relegated residents come into their class without a pick: no bound is claimed there */
        for (int f = 0; f < TENANTS; f++)
            for (int g = 0; g < TENANTS; g++) {
                struct pair *pair = &w->pairs[c][f][g];
                if (f == g || !w->backlogged[c][f] || !w->backlogged[c][g]) {
                    pair->both = false;
                    continue;
                }
                int64_t ahead = w->counter[c][f] - w->counter[c][g];
                int64_t bound = bound_of(o, w, c, f, g), back = bound_of(o, w, c, g, f);
                if (!pair->both)
                    *pair = (struct pair){true, ahead, ahead};
                pair->low = ahead < pair->low ? ahead : pair->low;
                pair->high = ahead > pair->high ? ahead : pair->high;
                if (ahead > bound)
                    broken(o, "B1: tenant %d is %lld ahead of tenant %d in class %d, the bound is %lld", f, (long long)ahead, g, c, (long long)bound);
                if (pair->high - pair->low > bound + back)
                    broken(o, "B2: tenants %d and %d drifted by %lld in class %d", f, g, (long long)(pair->high - pair->low), c);
            }
}

/* B5: share x total - service of a tier that could run never rises by more than Q_T + U_T + share x capacity x D. */
static void check_floors(struct sim_oracle *o, const struct sim_view *view, const int64_t before[CLASSES])
{
    struct watch *w = &o->watch[view->worker];
    struct mr_sched_stats stats;
    int64_t service[CLASSES] = {0}, total = 0;
    mr_sched_stats(view->sched, &stats);
    for (int c = 0; c < CLASSES; c++) {
        for (int t = 0; t < TENANTS; t++)
            service[c] += w->charged[c][t];
        service[c] -= before[c];
        total += service[c];
    }
    if (view->now_ns / 1000000000 != w->second) {
        w->rate_most = w->in_second > w->rate_most ? w->in_second : w->rate_most;
        w->second = view->now_ns / 1000000000;
        w->in_second = 0;
    }
    w->in_second += total;
    w->step_most = total > w->step_most ? total : w->step_most;
    for (int tier = MR_TIER_STANDARD; tier < MR_TIER_COUNT; tier++) {
        int64_t share = o->scenario->config.tier[tier].floor_permille;
        bool waits = stats.waiting[tier] > 0, could = waits && stats.stop[tier] == MR_WAIT_BUDGET; /* neither blocks nor slots nor its cap stop it */
        w->tier_sum[tier] = waits ? w->tier_sum[tier] + (could ? total * share / 1000 : 0) - service[tier] : 0;
        w->tier_high[tier] = !waits || w->tier_sum[tier] < w->tier_high[tier] ? w->tier_sum[tier] : w->tier_high[tier];
        int64_t rate = w->rate_most > w->in_second ? w->rate_most : w->in_second;
        int64_t bound = units(2 * 16384, 1000) + 4 * w->step_most + share * rate / 1000 * 2;
        if (w->tier_sum[tier] - w->tier_high[tier] > bound)
            broken(o, "B5: tier %d is owed %lld of service, the bound is %lld", tier, (long long)(w->tier_sum[tier] - w->tier_high[tier]),
                    (long long)bound);
    }
}

void sim_oracle_after_commit(struct sim_oracle *o, const struct sim_view *view, const struct mr_sched_plan *plan)
{
    struct watch *w = &o->watch[view->worker];
    int64_t before[CLASSES] = {0};
    for (int c = 0; c < CLASSES; c++)
        for (int t = 0; t < TENANTS; t++)
            before[c] += w->charged[c][t];
    int64_t by_tenant[TENANTS] = {0};
    for (int t = 0; t < TENANTS; t++)
        for (int c = 0; c < CLASSES; c++)
            by_tenant[t] += w->charged[c][t];
    count_items(o, view, plan);
    check_counters(o, view);
    note_period(o, w, view->now_ns, by_tenant);
    if (!o->scenario->config.off)
        check_floors(o, view, before);
}

/* I2, I7, I8 at the end. */
void sim_oracle_end(struct sim_oracle *o, const struct sim_view *view)
{
    struct mr_sched_stats stats;
    mr_sched_stats(view->sched, &stats);
    if (stats.blocks_used != 0)
        broken(o, "I2: %d blocks are still held when every job has ended", stats.blocks_used);
    int64_t served = 0, charged = 0;
    for (int t = 0; t < TENANTS; t++) {
        served += o->served[t];
        for (int w = 0; w < o->scenario->workers; w++)
            for (int c = 0; c < CLASSES; c++)
                charged += o->watch[w].charged[c][t];
    }
    if (!o->killed && served != charged)
        broken(o, "I7: %lld service was charged, %lld was served for the first time", (long long)charged, (long long)served);
    for (int32_t j = 0; j < view->loads->n; j++)
        if (view->loads->jobs[j].state == SIM_QUEUED)
            broken(o, "I8: job %d never ended", j + 1);
}
