/* What a step costs: the model of scheduling.md 3.2 fitted to timed steps, and kept true while the worker runs.
 *
 *     t = max(floor, base + token n) + row R + context C + pair A + overhead
 *
 * n: tokens of the step; R: its decodes; C: their summed context; A: sum over its chunks of chunk x (past + chunk / 2). Which tokens a job
 * gets never depends on it: two fits may differ. Pure; floating point ends here, the scheduler gets whole picoseconds. */
#ifndef MR_WORKER_STEP_COST_H
#define MR_WORKER_STEP_COST_H

#include "scheduler/cost.h"

enum { MR_STEP_COST_SAMPLES_MAX = 4096, MR_STEP_COST_LEAST = 8 /* samples a fit needs */, MR_STEP_COST_PARTS = 5 };

/* One timed step. */
struct mr_step_sample {
    struct cost_load load;
    int64_t ns;
};

/* Weighted least squares on relative errors with no negative coefficient, over candidate knees; then once more without the samples
 * that a stall spoiled. false: fewer than MR_STEP_COST_LEAST samples, or they say nothing. */
bool mr_step_cost_fit(const struct mr_step_sample *samples, int32_t n, struct mr_sched_cost *out);

/* |predicted - measured| / measured of n samples, at the given share of them (0.5: median). samples are left as they are. */
double mr_step_cost_error(const struct mr_sched_cost *cost, const struct mr_step_sample *samples, int32_t n, double share);

/* Recursive least squares with forgetting on what multiplies each part of a fitted cost: fixed, tokens, context, pairs. */
struct mr_step_track {
    struct mr_sched_cost fitted;
    double scale[MR_STEP_COST_PARTS];                             /* of each part; 1 at the start */
    double spread[MR_STEP_COST_PARTS][MR_STEP_COST_PARTS];        /* covariance */
    int64_t steps, stalls;                                        /* taken in; of them cut off as stalls */
};

void mr_step_track_open(struct mr_step_track *track, const struct mr_sched_cost *fitted);
void mr_step_track_add(struct mr_step_track *track, const struct mr_step_sample *sample);
struct mr_sched_cost mr_step_track_cost(const struct mr_step_track *track);

/* "floor base token context pair overhead row" in picoseconds, as option scheduler.cost and a scenario's `cost` have them. */
enum { MR_STEP_COST_TEXT_BYTES = 160 };
void mr_step_cost_print(const struct mr_sched_cost *cost, char text[MR_STEP_COST_TEXT_BYTES]);
bool mr_step_cost_parse(const char *text, struct mr_sched_cost *out); /* false: not seven numbers, none negative */

#endif
