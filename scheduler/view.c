/* What an operator sees: sums, a tenant's standing, a job's, and why a job waited. Reads, decides nothing. */
#include "scheduler/core.h"

#include "base/clock.h"

void mr_sched_stats(const struct mr_sched *s, struct mr_sched_stats *out)
{
    *out = s->stats;
    out->blocks_total = s->pool.n_blocks;
    out->blocks_used = s->pool.n_blocks - mr_block_pool_available(&s->pool);
    out->steps = (int64_t)s->step;
    for (int c = 0; c < CLASSES; c++)
        out->stop[c] = (int8_t)s->classes[c].stop;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        out->queued_service[tier] = s->pressure.queued[tier];
        out->rate_service[tier] = s->pressure.rate[tier];
        out->owed_service[tier] = s->tiers.debt[tier];
    }
    const struct class *relegated = &s->classes[MR_SCHED_RELEGATED];
    out->relegated_live = relegated->n_waiting + relegated->n_resident;
}

void mr_sched_tenant_stats(const struct mr_sched *s, int class, uint32_t tenant, struct mr_sched_tenant_stats *out)
{
    const struct flow *flow = &s->flows[(size_t)class * (size_t)s->config.max_tenants + tenant];
    enum mr_sched_wait wait;
    int64_t least = fair_least(s, class), held = (int64_t)flow->held_blocks * s->config.block_tokens * s->config.output_permille / 1000;
    *out = (struct mr_sched_tenant_stats){
        .counter = flow->counter / FAIR_SCALE, .virtual_time = s->classes[class].virtual_time / FAIR_SCALE, .charged = flow->charged,
        .waiting = flow->n_waiting, .resident = flow->n_resident, .held_blocks = flow->held_blocks,
        .over_limit = !limits_allow(&s->limits, tenant, &wait), .over_cap = fair_over_cap(s, class, tenant, 0),
        .lead = least == NEVER || flow->counter < least ? 0 : (flow->counter - least) / FAIR_SCALE,
        .bound = ((s->config.window_tokens + held) * MR_SCHED_SERVICE_UNIT + flow->pending) / flow->weight,
        .finished = flow->finished, .on_time = flow->on_time, .preemptions = flow->preemptions, .relegations = flow->relegations};
}

bool mr_sched_job_info(const struct mr_sched *s, uint64_t id, struct mr_sched_job_info *out)
{
    int32_t j = jobs_find(s, id);
    if (j < 0)
        return false;
    const struct job *job = &s->jobs[j];
    *out = (struct mr_sched_job_info){.resident = job->state == JOB_RESIDENT, .relegated = job->class == MR_SCHED_RELEGATED,
                                      .infeasible = job->infeasible, .promoted = job->promoted, .computed = job->computed,
                                      .cached = job->cached, .preemptions = job->preemptions, .predicted_output = job->predicted};
    return true;
}

int32_t mr_sched_why_spans(const struct mr_sched *s, uint64_t id, int64_t now_ns, struct mr_sched_span *spans, int32_t most)
{
    int32_t j = jobs_find(s, id);
    if (j < 0)
        return -1;
    const struct job *job = &s->jobs[j];
    struct decisions_query query = {.class = job->class, .tenant = job->in.tenant, .from_ns = job->in.arrival_ns,
                                    .to_ns = job->admitted_ns < now_ns ? job->admitted_ns : now_ns};
    return decisions_spans(&s->decisions, &query, spans, most);
}

bool mr_sched_why(const struct mr_sched *s, uint64_t id, int64_t now_ns, int64_t waited_ns[MR_WAIT_COUNT])
{
    int32_t j = jobs_find(s, id);
    if (j < 0)
        return false;
    const struct job *job = &s->jobs[j];
    struct decisions_query query = {.class = job->class, .tenant = job->in.tenant, .from_ns = job->in.arrival_ns,
                                    .to_ns = job->admitted_ns < now_ns ? job->admitted_ns : now_ns};
    decisions_sum(&s->decisions, &query, waited_ns);
    return true;
}

static int32_t jobs_before(const struct mr_sched *s, const struct job *job)
{
    const struct flow *flow = job_flow(s, job);
    int32_t n = 0;
    for (int level = job->level; level < LEVELS; level++)
        for (int32_t j = flow->head[level]; j >= 0 && &s->jobs[j] != job; j = s->next[j])
            n++;
    return n;
}

bool mr_sched_standing(const struct mr_sched *s, uint64_t id, struct mr_sched_standing *out)
{
    int32_t j = jobs_find(s, id);
    if (j < 0 || s->jobs[j].state != JOB_WAITING)
        return false;
    const struct job *job = &s->jobs[j];
    const struct class *class = &s->classes[job->class];
    uint32_t own = flow_tenant(s, job->in.tenant);
    *out = (struct mr_sched_standing){.wait = class->stop, .before = jobs_before(s, job)};
    for (int32_t i = 0; i < class->flows.n; i++) {
        uint32_t other = (uint32_t)class->flows.items[i];
        out->tenants_before += other != own && flow_of(s, job->class, other)->counter < job_flow(s, job)->counter;
    }
    if (!limits_allow(&s->limits, job->in.tenant, &out->wait))
        return true;
    if (fair_over_cap(s, job->class, job->in.tenant, 0))
        out->wait = MR_WAIT_CAP;
    else if (!groups_ready(s, job->group))
        out->wait = MR_WAIT_GROUP;
    else if (out->wait == MR_WAIT_TURN && !fair_in_window(s, job->class, own))
        out->wait = MR_WAIT_SHARE;
    return true;
}

int64_t mr_sched_retry_after_ns(const struct mr_sched *s, int tier, uint32_t tenant)
{
    const struct flow *flow = flow_of(s, tier, tenant);
    const struct class *class = &s->classes[tier];
    int64_t queued = s->pressure.queued[tier] / (class->n_waiting ? class->n_waiting : 1) * flow->n_waiting / 2;
    int64_t weights = class->weight_sum > flow->weight ? class->weight_sum : flow->weight;
    int64_t rate = (int64_t)((__int128)s->pressure.rate[tier] * flow->weight / weights);
    __int128 wait = rate > 0 ? (__int128)queued * MR_NS_PER_S / rate : 0;
    return wait < MR_NS_PER_S ? MR_NS_PER_S : wait > 3600 * (__int128)MR_NS_PER_S ? 3600 * MR_NS_PER_S : (int64_t)wait;
}

bool mr_sched_paused(const struct mr_sched *s, int tier) { return s->pressure.paused[tier]; }
