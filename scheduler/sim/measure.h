/* What is measured of a simulation: times by tier, service by tenant, drift, shares. */
#ifndef MR_SCHEDULER_SIM_MEASURE_H
#define MR_SCHEDULER_SIM_MEASURE_H

#include "scheduler/sim/loads.h"
#include "scheduler/sim/sim.h"

/* A growing list of numbers, sorted when asked. */
struct sim_samples {
    double *values;
    int32_t n, capacity;
    bool failed;
};

void sim_samples_add(struct sim_samples *samples, double value);
double sim_samples_quantile(struct sim_samples *samples, double q); /* 0 when empty */

/* Counts by size, 2 % apart, from a microsecond on: for what there are millions of. */
enum { SIM_GAPS = 1024 };
struct sim_gaps {
    int64_t counts[SIM_GAPS], n;
};

struct sim_measure {
    const struct sim_scenario *scenario;
    struct sim_samples ttft[MR_TIER_COUNT], tpot[MR_TIER_COUNT], queue[MR_TIER_COUNT], plans;
    struct sim_gaps gaps[MR_TIER_COUNT];       /* between a job's tokens */
    struct sim_samples tenant_queue[SIM_TENANTS_MAX], tenant_ttft[SIM_TENANTS_MAX];
    int64_t arrived[MR_TIER_COUNT], finished[MR_TIER_COUNT], on_time[MR_TIER_COUNT], cancelled[MR_TIER_COUNT];
    int64_t tenant_finished[SIM_TENANTS_MAX];
    double service[SIM_TENANTS_MAX];           /* in the window */
    double tokens[MR_TIER_COUNT], outputs[MR_TIER_COUNT];
    bool endless[SIM_TENANTS_MAX];             /* has a load that keeps a backlog through the window */
    double asked[SIM_TENANTS_MAX];             /* service of what arrived in the window */
    double drift;                              /* most difference of weighted service among the endless */
    double longest[SIM_TENANTS_MAX];           /* prompt */
    int64_t held[SIM_TENANTS_MAX];             /* most tokens of KV at once, on one worker */
    int64_t last_end_ns;
    int64_t steps, step_ns, blocks;            /* sums */
    int64_t preemptions, relegations, recomputed, computed, cached;
};

void sim_measure_open(struct sim_measure *m, const struct sim_scenario *scenario);
void sim_measure_close(struct sim_measure *m);
void sim_measure_arrival(struct sim_measure *m, const struct sim_job *job);
void sim_measure_gap(struct sim_measure *m, const struct sim_job *job, int64_t now_ns); /* before job->last_ns moves on */
void sim_measure_item(struct sim_measure *m, struct sim_job *job, const struct mr_sched_item *item, int64_t now_ns);
void sim_measure_end(struct sim_measure *m, const struct sim_loads *loads, const struct sim_job *job, int64_t now_ns);
void sim_measure_step(struct sim_measure *m, const struct mr_sched *sched, int64_t ns);
void sim_measure_plan(struct sim_measure *m, int64_t ns);
void sim_measure_worker(struct sim_measure *m, const struct mr_sched *sched);
void sim_measure_result(struct sim_measure *m, const struct sim_loads *loads, int64_t now_ns, struct sim_result *out);

/* Share of the realtime jobs that Moore and Hodgson's rule keeps, when all arrivals are known and the card does nothing but
 * their prompts and the least their decodes need: an upper bound for any policy. */
double sim_optimum(const struct sim_scenario *scenario, const struct sim_loads *loads);

#endif
