/* A route: the input topic that jobs come from, and the topics that their outcomes go to (wire.md, Routes).
 * Built by options.c, checked there, read-only afterwards. Every string lies in the options' arena and is never NULL. */
#ifndef MR_WORKER_ROUTE_H
#define MR_WORKER_ROUTE_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "base/value.h"
#include "scheduler/scheduler.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_ROUTES_MAX = 32, MR_TOPIC_BYTES_MAX = 249, MR_ROUTE_LIST_MAX = 256 };

struct mr_route {
    const char *name;                 /* "realtime" */
    const char *jobs, *parked;        /* input topics; parked "": none */
    const char *stream, *stream_parked; /* where the runs of jobs, of parked are written */
    const char *results, *dead, *control;
    enum mr_tier tier;
    bool tenant_from_field;           /* writers are trusted to name their tenant in the job */
    const char *tenant;               /* the tenant of every job, or, from_field, of a job that names none */
    const char *const *models;        /* [n_models] names that may be asked for; 0: any that the worker serves */
    int32_t n_models;
    const char *const *reply_topics;  /* [n_reply_topics] allowed names */
    int32_t n_reply_topics;
    bool restart_on_model_change;     /* a run without a token, begun on another model, begins again instead of failing */
};

const char *mr_tier_name(enum mr_tier tier);                     /* "realtime", "standard", "bulk" */
bool mr_tier_from_name(struct mr_str name, enum mr_tier *out);
bool mr_tenant_valid(struct mr_str tenant);                      /* [a-z0-9-]{1,63} */
bool mr_topic_valid(struct mr_str topic);                        /* [A-Za-z0-9._-]{1,249}, not "." or ".." */

/* The three routes of the default config, all names starting with prefix; [3]. NULL: no memory. */
struct mr_route *mr_route_defaults(const char *prefix, struct mr_arena *arena);
/* One entry of `routes`: what is not given is derived from prefix and the route's name; a name and a tier are needed unless
 * the name is a tier's. *bad: the value that err speaks of. */
enum mr_status mr_route_read(const struct mr_value *entry, const char *prefix, struct mr_arena *arena, struct mr_route *out,
                             const struct mr_value **bad, struct mr_err *err);
/* What must hold among routes: distinct names; no topic is input twice, or stream of two inputs, or input and output. */
enum mr_status mr_routes_check(const struct mr_route *routes, int32_t n, struct mr_err *err);

/* The route whose jobs or parked topic this is; *parked says which. NULL: none. */
const struct mr_route *mr_route_of_topic(const struct mr_route *routes, int32_t n, struct mr_str topic, bool *parked);

#endif
