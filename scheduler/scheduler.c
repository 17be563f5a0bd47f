/* The scheduler's interface: open, submit, commit, and what an operator sees. Planning is plan.c's; what each part decides
 * stands in its own file, named by its noun.
 *
 * 1. Service is charged at commit: prompt positions once each, as cached where admission found them, outputs once each;
 *    recomputed positions never. 2. What comes for a job while its step runs (cancel, preempt) is done at commit, so that its
 * blocks stay until the step that reads them has retired. Engine thread. */
#include "scheduler/core.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdlib.h>

/* ---- open ---- */

static int32_t or_default(int32_t value, int32_t otherwise) { return value ? value : otherwise; }

static void config_defaults(struct mr_sched_config *c)
{
    c->floor_tokens = or_default(c->floor_tokens, 8 * c->chunk_quantum);
    c->forced_chunk = or_default(c->forced_chunk, 4 * c->chunk_quantum);
    c->forced_chunk = c->forced_chunk < c->max_step_tokens ? c->forced_chunk : c->max_step_tokens;
    c->visible = or_default(c->visible, 64);
    c->window_tokens = or_default(c->window_tokens, 8192);
    c->input_permille = or_default(c->input_permille, 1000);
    c->cached_permille = or_default(c->cached_permille, 100);
    c->output_permille = or_default(c->output_permille, 2000);
    c->pace_permille = or_default(c->pace_permille, 1000);
}

void mr_sched_config_profile(struct mr_sched_config *c)
{
    static const int64_t TTFT_MS[MR_TIER_COUNT] = {500, 5000, 0}, TPOT_MS[MR_TIER_COUNT] = {50, 100, 0};
    static const int32_t FLOOR_PERMILLE[MR_TIER_COUNT] = {700, 250, 50};
    const struct mr_sched_cost *cost = &c->cost;
    /* A quantum is what about a tenth of a step's fixed cost pays for: 64 on a GPU of 18 us a token, 16 on two cores. */
    if (!c->chunk_quantum)
        c->chunk_quantum = cost->token_ps > 200000000 ? 16 : 64;
    c->floor_tokens = or_default(c->floor_tokens, c->chunk_quantum <= 16 ? 16 : 512);
    c->forced_chunk = or_default(c->forced_chunk, c->chunk_quantum <= 16 ? 32 : 256);
    /* SLOs: the default, or twice what one prompt of 512 tokens, and four times what a step of 8 decodes and a floor takes. */
    int64_t prompt_ns = 2 * cost_step_ps(cost, cost_load_chunk(0, 512)) / 1000;
    int64_t step_ns = 4 * cost_step_ps(cost, cost_load_sum((struct cost_load){8, 8 * 512, 0, 8}, cost_load_chunk(0, c->floor_tokens))) / 1000;
    for (int tier = 0; tier < MR_TIER_BULK; tier++) {
        int64_t ttft = TTFT_MS[tier] * MR_NS_PER_MS, tpot = TPOT_MS[tier] * MR_NS_PER_MS;
        int64_t factor = tier == MR_TIER_REALTIME ? 1 : 4;
        if (!c->tier[tier].ttft_ns)
            c->tier[tier].ttft_ns = ttft > factor * prompt_ns ? ttft : factor * prompt_ns;
        if (!c->tier[tier].tpot_ns)
            c->tier[tier].tpot_ns = tpot > step_ns ? tpot : step_ns;
    }
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        c->tier[tier].floor_permille = or_default(c->tier[tier].floor_permille, FLOOR_PERMILLE[tier]);
}

static enum mr_status slo_check(const struct mr_sched_config *c, struct mr_err *err)
{
    static const char *const names[] = {"realtime", "standard", "bulk"};
    int64_t decode_ns = cost_step_ps(&c->cost, cost_load_decode(1)) / 1000;
    int64_t chunk_ns = cost_step_ps(&c->cost, cost_load_chunk(0, c->chunk_quantum)) / 1000;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        int64_t tpot = tier == MR_TIER_REALTIME && c->pace_permille ? c->tier[tier].tpot_ns / 1000 * c->pace_permille : c->tier[tier].tpot_ns;
        if (tpot && tpot < decode_ns)
            return mr_err_set(err, MR_ERR_INVALID, "%s: a time per output token of %.3f ms is asked for; this device needs %.3f ms for one job alone",
                              names[tier], (double)tpot / 1e6, (double)decode_ns / 1e6);
        if (c->tier[tier].ttft_ns && c->tier[tier].ttft_ns < chunk_ns)
            return mr_err_set(err, MR_ERR_INVALID, "%s: a time to first token of %.3f ms is asked for; this device needs %.3f ms for %d tokens alone",
                              names[tier], (double)c->tier[tier].ttft_ns / 1e6, (double)chunk_ns / 1e6, c->chunk_quantum);
    }
    return MR_OK;
}

static bool sched_allocate(struct mr_sched *s)
{
    size_t seqs = (size_t)s->config.max_seqs, jobs = (size_t)s->config.max_jobs;
    s->items = calloc(seqs, sizeof *s->items);
    s->item_jobs = calloc(seqs, sizeof *s->item_jobs);
    s->victims = calloc(seqs, sizeof *s->victims);
    s->preempted = calloc(seqs, sizeof *s->preempted);
    s->expired = calloc(jobs, sizeof *s->expired);
    s->candidates = calloc(seqs, sizeof *s->candidates);
    s->chosen = calloc(seqs, sizeof *s->chosen);
    return s->items && s->item_jobs && s->victims && s->preempted && s->expired && s->candidates && s->chosen && jobs_open(s) &&
           groups_open(&s->groups, s->config.max_jobs) && lengths_open(&s->lengths, MR_TIER_COUNT) && limits_open(&s->limits,
                   s->config.max_tenants) && bulk_open(&s->bulk) &&
           decisions_open(&s->decisions, s->config.max_tenants);
}

enum mr_status mr_sched_open(const struct mr_sched_config *c, struct mr_sched **out, struct mr_err *err)
{
    if (c->n_blocks < 1 || c->block_tokens < 1 || c->max_seqs < 1 || c->max_step_tokens < 1 || c->max_jobs < 1 || c->max_jobs > 1 << 28 ||
        c->max_tenants < 1 || c->max_context < 1 || c->chunk_quantum < 1)
        return mr_err_set(err, MR_ERR_INVALID, "every size of the scheduler must be at least 1");
    if (c->backfill_keep_permille < 0 || c->backfill_keep_permille > 1000)
        return mr_err_set(err, MR_ERR_INVALID, "%d permille of a step are kept from backfill; it is 0 to 1000", c->backfill_keep_permille);
    if (c->pace_permille < 0 || c->pace_permille > 1000)
        return mr_err_set(err, MR_ERR_INVALID, "a pace of %d permille is asked for; it is 1 to 1000", c->pace_permille);
    enum mr_status status = slo_check(c, err);
    if (status != MR_OK)
        return status;
    struct mr_sched *s = calloc(1, sizeof *s);
    if (!s)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the scheduler");
    s->config = *c;
    config_defaults(&s->config);
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        s->tiers.permille[tier] = c->tier[tier].floor_permille;
    if (!sched_allocate(s) || mr_block_pool_open(&s->pool, c->n_blocks, NULL) != MR_OK) {
        mr_sched_close(s);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a scheduler of %d jobs and %d sequences", c->max_jobs, c->max_seqs);
    }
    *out = s;
    return MR_OK;
}

void mr_sched_close(struct mr_sched *s)
{
    if (!s)
        return;
    mr_block_pool_close(&s->pool);
    jobs_close(s);
    groups_close(&s->groups);
    lengths_close(&s->lengths);
    limits_close(&s->limits);
    bulk_close(&s->bulk);
    decisions_close(&s->decisions);
    void *owned[] = {s->items, s->item_jobs, s->victims, s->preempted, s->expired, s->candidates, s->chosen};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    free(s);
}

enum mr_status mr_sched_tenant_set(struct mr_sched *s, uint32_t tenant, const struct mr_sched_tenant *contract, struct mr_err *err)
{
    struct mr_sched_tenant wanted = *contract;
    wanted.weight = or_default(wanted.weight, 1);
    if (tenant >= (uint32_t)s->config.max_tenants || wanted.weight < 1 || wanted.weight > MR_SCHED_WEIGHT_MAX || wanted.rate_tokens < 0 ||
        wanted.rate_tokens > INT32_MAX || wanted.burst_tokens < 0 || wanted.burst_tokens > INT32_MAX || wanted.concurrency < 0 ||
                wanted.queued_tokens < 0)
        return mr_err_set(err, MR_ERR_INVALID, "tenant %u: a weight is 1 to %d, and no limit is negative", tenant, MR_SCHED_WEIGHT_MAX);
    for (int c = 0; c < CLASSES; c++) {
        const struct flow *flow = flow_of(s, c, tenant);
        if (flow->n_waiting + flow->n_resident > 0)
            s->classes[c].weight_sum += wanted.weight - s->limits.tenants[tenant].contract.weight;
    }
    limits_set(&s->limits, tenant, &wanted, s->clock_ns);
    for (int c = 0; c < CLASSES; c++)
        fair_weight(s, c, tenant, wanted.weight);
    return MR_OK;
}

bool mr_sched_tenant_renew(struct mr_sched *s, uint32_t tenant)
{
    if (s->limits.tenants[tenant].queued > 0 || s->limits.tenants[tenant].running > 0)
        return false;
    for (int c = 0; c < CLASSES; c++) {
        struct flow *flow = &s->flows[(size_t)c * (size_t)s->config.max_tenants + tenant];
        flow->counter = flow->charged = flow->flushed = flow->external = flow->stored = 0;
        flow->finished = flow->on_time = flow->preemptions = flow->relegations = 0;
    }
    s->lives[tenant]++;
    decisions_tenant(&s->decisions, tenant, MR_WAIT_TURN, s->clock_ns);
    return mr_sched_tenant_set(s, tenant, &(struct mr_sched_tenant){.weight = 1}, NULL) == MR_OK;
}

uint32_t mr_sched_tenant_life(const struct mr_sched *s, uint32_t tenant) { return s->lives[tenant]; }

/* ---- submit, cancel ---- */

/* When a bulk job's laxity falls under half of its own time: then it runs as standard. */
static int64_t promotion_ns(const struct mr_sched *s, const struct job *job)
{
    const struct mr_sched_cost *cost = &s->config.cost;
    int64_t alone_ps = cost_prefill_ps(cost, 0, job->known) + (job->predicted - job->output) * cost_step_ps(cost, cost_load_decode(job->known));
    return job->in.deadline_ns - alone_ps / 1000 / 2 * 5; /* its time, and 1.5 of it in hand */
}

enum mr_status mr_sched_submit(struct mr_sched *s, const struct mr_sched_job *in, int64_t now_ns, struct mr_err *err)
{
    const struct mr_sched_config *config = &s->config;
    if (in->tier < 0 || in->tier >= MR_TIER_COUNT || in->tenant >= (uint32_t)config->max_tenants || in->priority < 0 || in->priority > 9)
        return mr_err_set(err, MR_ERR_INVALID, "tier %d, tenant %u or priority %d is out of range", in->tier, in->tenant, in->priority);
    if (in->known_tokens < 1 || in->max_tokens < in->known_tokens || in->max_tokens > config->max_context || in->charged_prompt < 0 ||
        in->charged_output < 0 || (int64_t)in->charged_prompt + in->charged_output > in->known_tokens || in->n_prefix < 0)
        return mr_err_set(err, MR_ERR_INVALID, "%d known of at most %d tokens in a context of %d", in->known_tokens, in->max_tokens,
                          config->max_context);
    if (mr_blocks_for(in->max_tokens, config->block_tokens) > config->n_blocks)
        return mr_err_set(err, MR_ERR_LIMIT, "%d tokens need more than the %d blocks there are", in->max_tokens, config->n_blocks);
    if (jobs_find(s, in->id) >= 0)
        return mr_err_set(err, MR_ERR_INVALID, "job %llu is live already", (unsigned long long)in->id);
    if (!limits_queue_fits(&s->limits, in->tenant, in->max_tokens))
        return mr_err_set(err, MR_ERR_BUSY, "the tenant's waiting jobs hold %lld tokens, which is its limit; try again when some have run",
                          (long long)s->limits.tenants[in->tenant].contract.queued_tokens);
    s->clock_ns = now_ns > s->clock_ns ? now_ns : s->clock_ns;
    int32_t j = jobs_add(s, in);
    if (j < 0)
        return mr_err_set(err, MR_ERR_LIMIT, "%d jobs are waiting or running, which is the limit", config->max_jobs);
    struct job *job = &s->jobs[j];
    if (in->deadline_ns && in->tier == MR_TIER_BULK) {
        job->infeasible = !bulk_add(&s->bulk, job->queued_cost, in->deadline_ns, now_ns);
        s->stats.infeasible += job->infeasible;
        heap_set(&s->timers, j, job->class == MR_TIER_BULK ? promotion_ns(s, job) : in->deadline_ns);
    } else if (in->deadline_ns) {
        heap_set(&s->timers, j, in->deadline_ns);
    }
    return MR_OK;
}

static void job_over(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    if (job->in.tier == MR_TIER_BULK && job->in.deadline_ns)
        bulk_done(&s->bulk, job->queued_cost, job->in.deadline_ns);
    if (MUTANT(MUTANT_REFUND) && job->cancelled)
        job_flow(s, job)->counter -= job_flow(s, job)->counter / 4;
    jobs_forget(s, j);
}

bool mr_sched_cancel(struct mr_sched *s, uint64_t id)
{
    int32_t j = jobs_find(s, id);
    if (j < 0 || s->jobs[j].cancelled)
        return false;
    s->jobs[j].cancelled = true;
    s->jobs[j].prefix = NULL; /* no longer lent to us, though its step may still run */
    s->jobs[j].n_prefix = 0;
    if (!job_in_flight(s, &s->jobs[j]))
        job_over(s, j);
    return true;
}

bool mr_sched_preempt(struct mr_sched *s, uint64_t id)
{
    int32_t j = jobs_find(s, id);
    if (j < 0 || s->jobs[j].state != JOB_RESIDENT || s->jobs[j].cancelled)
        return false;
    if (job_in_flight(s, &s->jobs[j]))
        s->jobs[j].preempt_asked = true;
    else
        jobs_preempt(s, j);
    return true;
}

/* ---- commit ---- */

static int64_t service_of(int64_t tokens, int32_t permille) { return tokens * permille * MR_SCHED_SERVICE_UNIT / 1000; }

/* What the step did for the job, in service units: unique uncached prompt + hits + outputs. */
static int64_t commit_charge(struct mr_sched *s, struct job *job, int32_t n, int32_t new_tokens)
{
    const struct mr_sched_config *config = &s->config;
    int32_t end = job->computed < job_prompt(job) ? job->computed : job_prompt(job), from = job->charged_position;
    int64_t service = service_of(new_tokens, config->output_permille);
    if (MUTANT(MUTANT_CHARGE_RECOMPUTED) && job->computed <= job->high)
        service += service_of(n, config->input_permille);
    if (end > from) {
        int32_t hits_end = job->hit_position < end ? job->hit_position : end, hits = hits_end > from ? hits_end - from : 0;
        service += service_of(end - from - hits, config->input_permille);
        service += MUTANT(MUTANT_HITS_FREE) ? 0 : service_of(hits, config->cached_permille);
        job->charged_position = end;
    }
    int32_t uncharged = job_prompt(job) - (job->charged_position > job->computed ? job->charged_position : job->computed);
    fair_pending(s, job, uncharged > 0 ? service_of(uncharged, config->input_permille) : 0);
    fair_charge(s, job, service);
    return service;
}

static void commit_names(struct mr_sched *s, struct job *job)
{
    int32_t full = job->computed / s->config.block_tokens;
    full = full < job->n_prefix ? full : job->n_prefix;
    for (; job->named < full; job->named++)
        mr_block_pool_name(&s->pool, job->table.blocks[job->named], job->prefix[job->named]);
}

static void commit_output(struct mr_sched *s, int32_t j, int32_t new_tokens, int64_t now_ns)
{
    struct job *job = &s->jobs[j];
    int64_t tpot = class_tpot_ns(s, job->class);
    if (new_tokens == 0)
        return;
    bool first = job->in_due;
    job->first_ns = job->first_ns < now_ns ? job->first_ns : now_ns;
    jobs_due_remove(s, j);
    if (!tpot || job->promoted)
        job->due_ns = NEVER;
    else
        job->due_ns = first || job->due_ns == NEVER ? now_ns + tpot : job->due_ns + tpot * new_tokens;
    job->output += new_tokens;
    job->since_resume += new_tokens;
    if (job->output >= job->predicted)
        jobs_predict(s, j);
}

/* On time: first token and mean time per token within the SLO of its tier, bulk its deadline. */
static void commit_finished(struct mr_sched *s, const struct job *job, int64_t now_ns)
{
    const struct mr_sched_tier_config *tier = &s->config.tier[job->in.tier];
    struct flow *flow = &s->flows[(size_t)job->in.tier * (size_t)s->config.max_tenants + job->in.tenant];
    int64_t mine = job->output - job->in.charged_output;
    bool first = !tier->ttft_ns || job->in.charged_output || job->first_ns - job->in.arrival_ns <= tier->ttft_ns;
    bool pace = !tier->tpot_ns || mine < 2 || (now_ns - job->first_ns) / (mine - 1) <= tier->tpot_ns;
    bool kept = job->in.tier == MR_TIER_BULK ? !job->in.deadline_ns || now_ns <= job->in.deadline_ns : first && pace;
    flow->finished++;
    flow->on_time += kept;
}

static void commit_end(struct mr_sched *s, int32_t j, int64_t now_ns)
{
    const struct job *job = &s->jobs[j];
    if (!job->cancelled)
        commit_finished(s, job, now_ns);
    if (!job->cancelled)
        lengths_add(&s->lengths, job_history(s, job), job->in.template_id, job->in.tier, job->output);
    int64_t real = service_of(job_prompt(job), s->config.input_permille) + service_of(job->output - job->in.charged_output,
            s->config.output_permille);
    if (!job->scavenged)
        limits_settle(&s->limits, job->in.tenant, real - job->queued_cost, now_ns);
    job_over(s, j);
}

static void commit_item(struct mr_sched *s, int32_t i, const struct mr_sched_result *result, int64_t now_ns, int64_t *service)
{
    int32_t j = s->item_jobs[i], n = s->items[i].n;
    struct job *job = &s->jobs[j];
    CHECK(result->new_tokens >= 0 && (s->items[i].samples || result->new_tokens == 0));
    int32_t again = job->high - job->computed;
    s->stats.recomputed_tokens += again < 0 ? 0 : again < n ? again : n;
    s->stats.computed_tokens += n;
    admission_computed(s, n);
    job->computed += n;
    int64_t charged = commit_charge(s, job, n, result->new_tokens);
    service[job->class] += charged;
    job->high = job->high > job->computed ? job->high : job->computed;
    jobs_untake(s, job);
    commit_names(s, job);
    job->known += result->new_tokens;
    CHECK(job->known <= job->in.max_tokens);
    commit_output(s, j, result->new_tokens, now_ns);
    if (result->finished || job->cancelled) {
        commit_end(s, j, now_ns);
    } else if (job->preempt_asked) {
        jobs_preempt(s, j);
    } else {
        CHECK(job->computed < job->known); /* a job that goes on has a token to compute */
        jobs_progress(s, j);
    }
}

enum { AHEAD = 6 }; /* items whose jobs are fetched before they are needed: their order in memory is nobody's */

static void commit_fetch(const struct mr_sched *s, int32_t i)
{
    if (i >= s->n_items)
        return;
    const struct job *job = &s->jobs[s->item_jobs[i]];
    __builtin_prefetch(job);
    __builtin_prefetch(&job->table);
    __builtin_prefetch(&job->in);
}

void mr_sched_commit(struct mr_sched *s, const struct mr_sched_result *results, int32_t n, int64_t now_ns)
{
    CHECK(n == s->n_items && (s->planned || n == 0));
    int64_t service[CLASSES] = {0}, elapsed = now_ns - s->commit_ns;
    bool backlogged[MR_TIER_COUNT];
    s->planned = false;
    s->clock_ns = now_ns > s->clock_ns ? now_ns : s->clock_ns;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        backlogged[tier] = s->classes[tier].n_waiting + s->classes[tier].n_resident > 0;
    for (int32_t i = 0; i < n; i++) {
        commit_fetch(s, i + AHEAD);
        commit_item(s, i, &results[i], now_ns, service);
    }
    s->n_items = 0;
    tiers_account(&s->tiers, service, backlogged);
    if (s->commit_ns && elapsed > 0) {
        pressure_measure(&s->pressure, service, elapsed);
        if (backlogged[MR_TIER_BULK])
            bulk_measure(&s->bulk, service[MR_TIER_BULK], elapsed);
    }
    s->commit_ns = now_ns;
}

bool mr_sched_end(struct mr_sched *s, uint64_t id, int32_t unused, int64_t now_ns)
{
    int32_t j = jobs_find(s, id);
    CHECK(!s->planned);
    if (j < 0)
        return false;
    s->jobs[j].output -= unused;
    commit_end(s, j, now_ns);
    return true;
}

void mr_sched_tick(struct mr_sched *s, const struct mr_sched_cost *cost) { s->config.cost = *cost; }

void mr_sched_check(const struct mr_sched *s)
{
    jobs_check(s);
    fair_check(s);
}
