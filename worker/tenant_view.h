/* What an operator sees of one tenant on one worker: the scheduler's figures over all its tiers, for /metrics, the heartbeat and `top`.
 * Filled by the engine's thread; a plain value from then on. */
#ifndef MR_WORKER_TENANT_VIEW_H
#define MR_WORKER_TENANT_VIEW_H

#include "worker/engine.h"

enum { MR_TENANT_VIEW_TEXT_BYTES = 200 };

struct mr_tenant_view {
    char name[MR_TENANT_BYTES_MAX + 1];
    int64_t service;              /* tokens of service that this worker gave it, since its start */
    int64_t counter;              /* weighted service, in tokens, in the tier that it has most of; all workers' */
    int64_t drift_permille;       /* of the bound (Q + U): the most over its tiers; over 1000 would break B1 */
    int32_t waiting, running;
    int64_t finished, on_time;    /* jobs; on time: within their tier's service levels, or their deadline */
    int64_t preemptions, relegations;
    bool limited;                 /* its contract holds it back now */
};

/* false: no such tenant was seen. */
bool mr_tenant_view_fill(struct mr_engine *engine, uint32_t tenant, struct mr_tenant_view *out);
/* "service counter drift waiting running finished on_time preemptions relegations limited": numbers, as the state store keeps them. */
void mr_tenant_view_print(const struct mr_tenant_view *view, char text[MR_TENANT_VIEW_TEXT_BYTES]);
/* Adds what text says to *sum (drift: the larger; limited: or; counter: the larger). false: it is no such text. */
bool mr_tenant_view_add(struct mr_tenant_view *sum, struct mr_str text);

#endif
