/* A worker's heartbeat in the state store (`mr:worker:<id>`): what it is and how busy it is, as fields of text. The worker writes
 * it, `top` reads it. Any thread. */
#ifndef MR_WORKER_HEARTBEAT_H
#define MR_WORKER_HEARTBEAT_H

#include "worker/metrics.h"
#include "worker/port.h"

enum { MR_HEARTBEAT_LOAD = 10, MR_HEARTBEAT_TEXT_BYTES = 160, MR_HEARTBEAT_TENANTS = 6 };

/* The fields that follow from the metrics:
 * steps, step_us (mean since start), prompt_tokens, output_tokens (since start), batch_seqs (of the last step), kv ("used/total"
 * blocks), realtime, standard, bulk ("resident/waiting" jobs), tenants ("acme=12 default=3": ended jobs, the busiest first). */
struct mr_heartbeat {
    char value[MR_HEARTBEAT_LOAD][MR_HEARTBEAT_TEXT_BYTES];
};

/* Appends the fields to update, which keeps views of beat. */
void mr_heartbeat_add(struct mr_heartbeat *beat, struct mr_metrics *metrics, struct mr_state_update *update);

#endif
