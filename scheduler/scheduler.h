/* The scheduler: which sequences run in the next step, with how many tokens, and who must make room.
 *
 * Pure: no clock, no I/O, no allocation after open, integer time (ns) and integer service, and the same plan from the same
 * calls on every platform. It owns the KV accounting of resident jobs. The worker and the simulator link this same object.
 *
 * A job is a list of known tokens (prompt, then what was generated); `computed` of them have their KV. A plan item computes
 * positions [start, start + n); when it reaches the last known token the step yields the next token (`samples`), and commit
 * says whether the job goes on. A decode is an item of one token. A preempted job keeps its tokens and loses its KV.
 *
 * One thread. Ids are the caller's, unique among live jobs. */
#ifndef MR_SCHEDULER_SCHEDULER_H
#define MR_SCHEDULER_SCHEDULER_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum mr_tier { MR_TIER_REALTIME, MR_TIER_STANDARD, MR_TIER_BULK, MR_TIER_COUNT };

struct mr_sched; /* opaque */

/* Coefficients of a step's time, int64 picoseconds (scheduling.md 3.2): t = max(floor, base + token * n) + context * C + pair * A + overhead. */
struct mr_sched_cost {
    int64_t floor_ps, base_ps, token_ps, context_ps, pair_ps, overhead_ps;
};

struct mr_sched_tier_config {
    int64_t ttft_ns, tpot_ns; /* SLO; 0: none */
    int32_t floor_permille;   /* share of service a backlogged tier is owed */
};

struct mr_sched_config {
    int32_t n_blocks, block_tokens; /* the pool */
    int32_t max_seqs;               /* resident sequences */
    int32_t max_step_tokens;        /* tokens of one step */
    int32_t max_jobs;               /* waiting + resident; submit past it is refused */
    int32_t max_tenants;
    int32_t max_context;            /* longest prompt + output */
    int32_t chunk_quantum;          /* prefill chunks are multiples of it, unless the prompt ends */
    struct mr_sched_tier_config tier[MR_TIER_COUNT];
    struct mr_sched_cost cost;
};

/* What submit needs of a job. Copied. */
struct mr_sched_job {
    uint64_t id;
    uint32_t tenant;          /* dense index, < max_tenants */
    int32_t tier;             /* enum mr_tier */
    int32_t priority;         /* 0 .. 9, higher first, inside one tenant */
    int32_t known_tokens;     /* prompt + tokens already accepted by the log: all to be computed */
    int32_t max_tokens;       /* known_tokens + the most that may still be generated; <= max_context */
    int32_t charged_prompt, charged_output; /* service already charged by an earlier owner (tokens) */
    int64_t arrival_ns;
    int64_t deadline_ns;      /* 0: none */
};

struct mr_sched_item {
    uint64_t id;
    int32_t start;            /* first position to compute */
    int32_t n;                /* positions */
    bool samples;             /* the last position's logits choose a token */
    const int32_t *blocks;    /* the job's block table, valid until the next call but commit */
    int32_t n_blocks;
};

/* Filled by plan; arrays are the scheduler's, valid until the next plan. A decoding item comes before prefill chunks. */
struct mr_sched_plan {
    const struct mr_sched_item *items;
    int32_t n_items, n_tokens;
    const uint64_t *preempted; /* lost their KV and wait again; no action is owed */
    int32_t n_preempted;
    const uint64_t *expired;   /* deadline passed: gone from the scheduler */
    int32_t n_expired;
    int64_t predicted_ns;      /* the cost model's time for this step */
};

/* The outcome of one planned item, in the plan's order. */
struct mr_sched_result {
    int32_t new_tokens;        /* tokens the step added to the job: 0 for a chunk that did not sample */
    bool finished;             /* the job is over: its blocks return at once */
};

enum mr_status mr_sched_open(const struct mr_sched_config *config, struct mr_sched **out, struct mr_err *err);
void mr_sched_close(struct mr_sched *sched);

/* MR_ERR_LIMIT: max_jobs reached, or the job can never fit the pool. MR_ERR_INVALID: a field out of range. */
enum mr_status mr_sched_submit(struct mr_sched *sched, const struct mr_sched_job *job, int64_t now_ns, struct mr_err *err);
/* start_ns: when the step in flight is predicted to end (now, if none is). The step in flight must have been committed, or
 * be committed before the next plan. Never fails; a plan with no items means nothing can run. */
void mr_sched_plan(struct mr_sched *sched, int64_t start_ns, struct mr_sched_plan *plan);
/* results[i] belongs to the last plan's items[i]; a job cancelled since is skipped. */
void mr_sched_commit(struct mr_sched *sched, const struct mr_sched_result *results, int32_t n, int64_t now_ns);
/* Forgets a job, waiting or resident; false: no such job. */
bool mr_sched_cancel(struct mr_sched *sched, uint64_t id);

/* Test hook and operator's valve: preempt a resident job now. false: not resident. */
bool mr_sched_preempt(struct mr_sched *sched, uint64_t id);

struct mr_sched_stats {
    int32_t waiting[MR_TIER_COUNT], resident[MR_TIER_COUNT];
    int32_t blocks_used, blocks_total;
    int64_t preemptions, expired;
};
void mr_sched_stats(const struct mr_sched *sched, struct mr_sched_stats *out);
/* Re-asserts every invariant that must hold between calls (scheduling.md section 4). */
void mr_sched_check(const struct mr_sched *sched);

#endif
