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

/* `mr:tenants:<id>`: the tenants that the worker serves, the busiest first; field: name, value: tenant_view.h. */
enum { MR_HEARTBEAT_TENANTS_MAX = 16 };
struct mr_heartbeat_tenants {
    char name[MR_HEARTBEAT_TENANTS_MAX][MR_TENANT_BYTES_MAX + 1], value[MR_HEARTBEAT_TENANTS_MAX][MR_TENANT_VIEW_TEXT_BYTES];
};

/* Sets the fields of update, which keeps views of tenants. */
void mr_heartbeat_tenants(struct mr_heartbeat_tenants *tenants, struct mr_metrics *metrics, struct mr_state_update *update);

#endif
