/* The time of a step by the cost model (scheduling.md 3.2). Integers only: the same on every platform. */
#ifndef MR_SCHEDULER_COST_H
#define MR_SCHEDULER_COST_H

#include "scheduler/scheduler.h"

/* What a step consists of. */
struct cost_load {
    int64_t tokens;  /* n */
    int64_t context; /* C: summed context of the decodes */
    int64_t pairs;   /* A: sum over chunks of chunk x (past + chunk / 2) */
    int64_t rows;    /* R: decodes */
};

static inline int64_t cost_pairs(int64_t start, int64_t n) { return n * (start + n / 2); }
static inline struct cost_load cost_load_decode(int64_t start) { return (struct cost_load){1, start + 1, 0, 1}; }
static inline struct cost_load cost_load_chunk(int64_t start, int64_t n) { return (struct cost_load){n, 0, cost_pairs(start, n), 0}; }
static inline struct cost_load cost_load_sum(struct cost_load a, struct cost_load b)
{
    return (struct cost_load){a.tokens + b.tokens, a.context + b.context, a.pairs + b.pairs, a.rows + b.rows};
}
static inline struct cost_load cost_load_less(struct cost_load a, struct cost_load b)
{
    return (struct cost_load){a.tokens - b.tokens, a.context - b.context, a.pairs - b.pairs, a.rows - b.rows};
}

int64_t cost_step_ps(const struct mr_sched_cost *cost, struct cost_load load);
/* The same without the floor: what is left of a step's time is for more tokens. */
int64_t cost_dense_ps(const struct mr_sched_cost *cost, struct cost_load load);
/* Does reading weights and context take longer than computing? Then more prompt tokens cost least, else more decodes. */
bool cost_memory_bound(const struct mr_sched_cost *cost, struct cost_load load);
/* Time that n more prompt tokens from position start add above the knee. */
int64_t cost_prefill_ps(const struct mr_sched_cost *cost, int64_t start, int64_t n);
/* The most tokens, at most `most`, of a chunk from start that keep the step within budget_ps: most itself, or a multiple of quantum. */
int32_t cost_chunk_fit(const struct mr_sched_cost *cost, struct cost_load load, int32_t start, int32_t most, int32_t quantum, int64_t budget_ps);

#endif
