/* Tenants' contracts: a bucket of service with burst, resident jobs, tokens waiting (scheduling.md 3.9). A job is paid for by
 * its estimate when it is admitted and settled when it ends; debt goes down to one burst. Over a limit a tenant is not
 * eligible: shaped, never dropped, and nobody else waits for it. */
#ifndef MR_SCHEDULER_LIMITS_H
#define MR_SCHEDULER_LIMITS_H

#include "scheduler/heap.h"
#include "scheduler/scheduler.h"

struct limit {
    struct mr_sched_tenant contract;
    int64_t level;      /* service units in the bucket; below 0: debt */
    int64_t filled_ns;  /* level is as of then */
    int64_t queued;     /* tokens waiting */
    int32_t running;
};

struct limits {
    struct limit *tenants;   /* [n] */
    struct heap refills;     /* tenants in debt, by when they are out of it */
    int32_t n;
};

bool limits_open(struct limits *limits, int32_t n);
void limits_close(struct limits *limits);
void limits_set(struct limits *limits, uint32_t tenant, const struct mr_sched_tenant *contract, int64_t now_ns);
bool limits_queue_fits(const struct limits *limits, uint32_t tenant, int64_t tokens); /* false: past queued_tokens */
void limits_queue(struct limits *limits, uint32_t tenant, int64_t tokens); /* tokens more wait; fewer, below 0 */
void limits_start(struct limits *limits, uint32_t tenant, int64_t estimate, int64_t now_ns);
/* correction: real service less the estimate, or less what was settled before. */
void limits_settle(struct limits *limits, uint32_t tenant, int64_t correction, int64_t now_ns);
void limits_end(struct limits *limits, uint32_t tenant); /* one resident job less */
/* May it start a job? *wait names the limit otherwise. */
bool limits_allow(const struct limits *limits, uint32_t tenant, enum mr_sched_wait *wait);
/* A tenant that is out of debt by now, taken off the list; -1: none. */
int32_t limits_refilled(struct limits *limits, int64_t now_ns);

#endif
