#include "scheduler/cost.h"

int64_t cost_dense_ps(const struct mr_sched_cost *cost, struct cost_load load)
{
    return cost->base_ps + cost->token_ps * load.tokens + cost->row_ps * load.rows + cost->context_ps * load.context + cost->pair_ps * load.pairs +
           cost->overhead_ps;
}

int64_t cost_step_ps(const struct mr_sched_cost *cost, struct cost_load load)
{
    int64_t weights = cost->base_ps + cost->token_ps * load.tokens;
    int64_t idle = weights < cost->floor_ps ? cost->floor_ps - weights : 0;
    return cost_dense_ps(cost, load) + idle;
}

bool cost_memory_bound(const struct mr_sched_cost *cost, struct cost_load load)
{
    int64_t compute = cost->base_ps + cost->token_ps * load.tokens + cost->row_ps * load.rows + cost->pair_ps * load.pairs;
    return cost->floor_ps + cost->context_ps * load.context > compute;
}

int64_t cost_prefill_ps(const struct mr_sched_cost *cost, int64_t start, int64_t n)
{
    return cost->token_ps * n + cost->pair_ps * cost_pairs(start, n);
}

int32_t cost_chunk_fit(const struct mr_sched_cost *cost, struct cost_load load, int32_t start, int32_t most, int32_t quantum, int64_t budget_ps)
{
    if (most <= 0 || cost_step_ps(cost, cost_load_sum(load, cost_load_chunk(start, most))) <= budget_ps)
        return most < 0 ? 0 : most;
    int32_t low = 0, high = (most - 1) / quantum; /* low quanta fit */
    while (low < high) {
        int32_t middle = low + (high - low + 1) / 2;
        bool fits = cost_step_ps(cost, cost_load_sum(load, cost_load_chunk(start, (int64_t)middle * quantum))) <= budget_ps;
        *(fits ? &low : &high) = fits ? middle : middle - 1;
    }
    return low * quantum;
}
