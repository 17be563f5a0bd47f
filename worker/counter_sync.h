/* One fairness for many workers: what each tenant was served, exchanged through the state store (scheduling.md 3.10). Every 200 ms the
 * own charges are added to a sum that all workers share and the sums are read back, in one pipeline; and each worker tells the least
 * counter of those that wait at it. The store away: charges wait and are added later, and every worker is fair by itself meanwhile.
 * The store flushed or restored: it is raised to what was last seen. Engine thread. */
#ifndef MR_WORKER_COUNTER_SYNC_H
#define MR_WORKER_COUNTER_SYNC_H

#include "worker/engine.h"
#include "worker/port.h"

enum { MR_COUNTER_SYNC_TALLIES = 512 }; /* of one exchange; more flows take turns */

struct mr_counter_sync; /* opaque */

struct mr_counter_sync_options {
    struct mr_engine *engine;            /* its scheduler's counters; borrowed, as are the others */
    const struct mr_state_port *state;
    const char *worker;                  /* id */
    int32_t max_tenants;
    int64_t every_ns;
};

struct mr_counter_sync_stats {
    int64_t exchanges, failures;         /* failures: exchanges that the store did not answer whole */
};

struct mr_counter_sync *mr_counter_sync_open(const struct mr_counter_sync_options *options); /* NULL: no memory */
/* The store must be closed before, or have given everything back. NULL is fine. */
void mr_counter_sync_close(struct mr_counter_sync *sync);
/* Between steps: takes an answer in, or begins the next exchange when it is time. Never waits. */
void mr_counter_sync_step(struct mr_counter_sync *sync, int64_t now_ns);
void mr_counter_sync_stats(const struct mr_counter_sync *sync, struct mr_counter_sync_stats *out);

#endif
