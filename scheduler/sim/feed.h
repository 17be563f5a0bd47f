/* The log between the senders and the workers: partitions of each tier with their jobs in order, fetched some ahead. A worker
 * that is pressed pauses a tier: what it had fetched is thrown away and fetched again when the pause ends. A rebalance moves
 * partitions (by range) and holds those that move for a while. One thread. */
#ifndef MR_SCHEDULER_SIM_FEED_H
#define MR_SCHEDULER_SIM_FEED_H

#include "scheduler/sim/scenario.h"

enum { SIM_PARTITIONS = 24 }; /* of a tier */

struct sim_partition {
    int32_t *jobs;             /* ring */
    int64_t *ready_ns;
    int32_t head, n, capacity; /* capacity: a power of 2 */
    int32_t owner;             /* worker; -1: none is left */
    int32_t taken;             /* of the fetch that is being handed over */
    int64_t blocked_ns;        /* nothing before */
    bool paused;
};

struct sim_feed {
    const struct sim_scenario *scenario;
    struct sim_partition partitions[MR_TIER_COUNT][SIM_PARTITIONS];
    int64_t pauses, refetched, rebalances;
    int64_t longest;           /* most jobs in the log at once */
    int64_t n;
};

void sim_feed_open(struct sim_feed *feed, const struct sim_scenario *scenario);
void sim_feed_close(struct sim_feed *feed);
/* Behind those of its partition that came before it. false: no memory. */
bool sim_feed_put(struct sim_feed *feed, int tier, uint64_t key, int32_t job, int64_t now_ns);
/* In front: a job of a worker that died, which its partition still holds as unfinished. */
bool sim_feed_return(struct sim_feed *feed, int tier, uint64_t key, int32_t job);
/* The next job for a worker of this tier; -1: none now. */
int32_t sim_feed_take(struct sim_feed *feed, int32_t worker, int tier, bool pressed, int64_t now_ns);
/* When a job may come for the worker that is not there yet; INT64_MAX: never. */
int64_t sim_feed_moment(const struct sim_feed *feed, int32_t worker, int64_t now_ns);
/* Partitions by range over those alive. */
void sim_feed_rebalance(struct sim_feed *feed, const bool alive[SIM_WORKERS_MAX], int64_t now_ns);

#endif
