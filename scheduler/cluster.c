/* Service between many workers (scheduling.md 3.10): what goes out and what is taken over. Only sums are exchanged, so that
 * order and repetition of exchanges do not matter; a sum that is lower than it can be is never believed. */
#include "scheduler/core.h"

static struct flow *tenant_flow(struct mr_sched *s, int class, uint32_t tenant)
{
    return &s->flows[(size_t)class * (size_t)s->config.max_tenants + tenant];
}

int64_t mr_sched_delta_take(struct mr_sched *s, int class, uint32_t tenant)
{
    struct flow *flow = tenant_flow(s, class, tenant);
    int64_t delta = flow->charged - flow->flushed;
    flow->flushed = flow->charged;
    flow->stored += delta;
    return delta;
}

void mr_sched_delta_return(struct mr_sched *s, int class, uint32_t tenant, int64_t delta)
{
    struct flow *flow = tenant_flow(s, class, tenant);
    flow->flushed -= delta;
    flow->stored -= delta;
}

int64_t mr_sched_total_set(struct mr_sched *s, int class, uint32_t tenant, int64_t total)
{
    struct flow *flow = tenant_flow(s, class, tenant);
    flow->stored = total > flow->stored || MUTANT(MUTANT_TOTAL_BELIEVED) ? total : flow->stored;
    fair_external(s, class, tenant, flow->stored - flow->flushed);
    return flow->stored;
}

void mr_sched_external_set(struct mr_sched *s, int class, uint32_t tenant, int64_t total) { fair_external(s, class, tenant, total); }

int64_t mr_sched_least(const struct mr_sched *s, int class)
{
    int64_t least = fair_least(s, class);
    return least == NEVER ? NEVER : least / FAIR_SCALE;
}

void mr_sched_least_set(struct mr_sched *s, int class, int64_t others)
{
    s->classes[class].others_least = others > NEVER / FAIR_SCALE ? NEVER : others * FAIR_SCALE;
    fair_virtual_time(s, class);
}
