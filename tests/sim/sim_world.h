/* A small world for the owner: a log in memory, a few workers, jobs of every fate, faults from a seed; and the judge.
 * One thread; everything follows from the plan. */
#ifndef MR_TESTS_SIM_WORLD_H
#define MR_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct sim_plan {
    uint64_t seed;
    int workers, partitions, jobs;
    bool salted;          /* each worker's engine makes tokens of its own: only their prefix is checked */
    int64_t fault_ns;     /* how long faults go on (virtual) */
    int crash, stall, reset, drain, cut; /* chances in 1/4096 a step */
    int lose, lie, twice, refuse;  /* chances in 1/1024 a record or commit */
    int64_t delay_max_ns;
    bool poison;
    int64_t crash_at_append; /* > 0: a worker dies at this append of its own, and every later one */
    bool crash_after;        /* behind it instead of before it */
    int length_max, tiers;   /* tokens of a job; routes, at most 3 */
    bool store;              /* there is a store, which forgets, is silent and lies */
    bool transactions;
    bool interleaved;        /* one event at a time, in any order */
};

struct sim_totals {
    int64_t jobs, records, accepted, ignored, starts, done, failed, cancelled, expired, duplicates, poison;
    int64_t crashes, stalls, resets, drains, lost_records, tokens, tokens_made, results, result_repeats;
    int64_t moved, copies, elsewhere, hints, steps;
    int64_t stream_bytes, tail_bytes; /* values in the stream topics; what the workers' tails read of them */
    uint64_t digest; /* over every record of every stream: the same seed, the same digest */
};

struct sim_plan sim_plan_of(uint64_t seed, int jobs);
struct sim_plan sim_plan_small(uint64_t seed, int64_t crash_at_append, bool after);
/* As small as the protocol's model: one to three jobs of two tokens, three workers, one partition. */
struct sim_plan sim_plan_interleaved(uint64_t seed);
/* Looks at a world that is done, before it is taken down: its log, and its routes [plan->tiers]. NULL: nobody does. */
struct mr_memory;
struct mr_route;
extern void (*sim_look)(const struct sim_plan *plan, const struct mr_memory *memory, const struct mr_route *routes);
/* Number of violations; each is printed. */
int sim_run(const struct sim_plan *plan, struct sim_totals *totals);
void sim_totals_add(struct sim_totals *sum, const struct sim_totals *one);
void sim_totals_print(const struct sim_totals *totals);

#endif
