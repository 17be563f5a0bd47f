/* The simulator: discrete events round the real scheduler. Only the time of a step is modelled; jobs come from a scenario's
 * loads, and what a job will generate is hidden from the scheduler. Every worker is one scheduler with a step in flight; the
 * next event is the earliest end of a step, arrival, cancel, fault or counter exchange. One thread; a seed replays a run. */
#ifndef MR_SCHEDULER_SIM_SIM_H
#define MR_SCHEDULER_SIM_SIM_H

#include "scheduler/sim/scenario.h"

enum { SIM_CURVE = 101 };

enum sim_state { SIM_QUEUED, SIM_DONE, SIM_CANCELLED, SIM_EXPIRED, SIM_REFUSED };

/* A job's life, as the simulator sees it. */
struct sim_job {
    int64_t arrival_ns, first_ns, last_ns; /* of its tokens; 0: none yet */
    int64_t first_planned_ns, cancel_ns, deadline_ns;
    uint32_t tenant;
    int32_t tier, load, worker;
    int32_t prompt, max_output, output;    /* output: what it will generate, hidden */
    int32_t produced;
    int32_t prefix;                        /* which shared beginning; -1 none */
    int32_t first_block, n_blocks;         /* of a trace, in its blocks */
    uint64_t *names;                       /* of its full prompt blocks, while live */
    int32_t n_names;
    enum sim_state state;
    bool relegated;
    int16_t preemptions;
    /* the oracle's */
    int32_t high, counted;                 /* positions ever computed; prompt positions counted as served */
    int32_t ahead, bypassed;               /* same tenant and tier, when it came; admitted before it though younger */
    int32_t at;                            /* position computed, by its last item; -1: not resident */
};

struct sim_tier_result {
    int64_t arrived, finished, on_time, cancelled, relegated;
    double ttft_ms[3], tpot_ms[3], tbt_ms[3], queue_ms[3]; /* p50, p99, p99.9 */
    double curve_ms[SIM_CURVE];                 /* quantiles of the TTFT, evenly spaced from the least to the most */
    double tok_s, out_tok_s;                    /* prompt + output, output: of the measured window */
    double stretch_ms;                          /* longest wait to the first token */
};

struct sim_tenant_result {
    double service;                             /* unweighted service tokens in the window */
    int64_t finished;
    double queue_ms_p50, queue_ms_p99, ttft_ms_p50;
};

struct sim_result {
    struct sim_tier_result tier[MR_TIER_COUNT];
    struct sim_tenant_result tenant[SIM_TENANTS_MAX];
    int32_t n_tenants;
    double seconds, out_tok_s, tok_s;
    double jain, max_drift, bound;              /* drift: service tokens at weight 1, among always backlogged; bound 2 (Q + U) */
    double quiet_queue_ms;                      /* p99 of the wait of tenants that asked for less than an equal share */
    double finish_s;                            /* when the last job ended */
    int64_t pauses, refetched, log_longest;     /* of the log: pauses of partitions, messages fetched twice, most jobs in it */
    double hit, recompute_share;
    int64_t steps, preemptions, finished, infeasible;
    double optimum_on_time;                     /* realtime jobs that Moore and Hodgson's offline rule keeps, share of arrived */
    double plan_us_p50, plan_us_p99;            /* filled when options.time_plans */
    uint64_t digest;                            /* of every plan: equal runs are equal */
    char violation[256];                        /* the first broken invariant; empty: none */
    double step_ms_mean, pool_share;            /* blocks used, mean */
};

struct sim_options {
    bool check;                                 /* the oracles of scheduling.md section 4, at every event */
    int64_t (*plan_clock_ns)(void);             /* NULL: plans are not timed */
    const char *trace_folder;                   /* where relative traces lie; NULL: as they stand */
    bool unsalted;                              /* a deliberate mistake: names without the tenant */
};

enum mr_status sim_run(const struct sim_scenario *scenario, const struct sim_options *options, struct sim_result *result, struct mr_err *err);

#endif
