/* The decision log: why a class admitted nobody more, and when a tenant was shaped. Only changes are kept, so that the ring
 * reaches far back; laid over a job's wait they say what it waited for. */
#ifndef MR_SCHEDULER_DECISIONS_H
#define MR_SCHEDULER_DECISIONS_H

#include "scheduler/scheduler.h"

enum { DECISIONS = 4096 };

struct decision {
    int64_t at_ns;
    int32_t tenant;  /* -1: the class's */
    int8_t class;
    int8_t wait;     /* enum mr_sched_wait from now on */
};

struct decisions {
    struct decision *ring;              /* [DECISIONS] */
    uint64_t n;                         /* ever logged */
    int8_t class_now[MR_SCHED_CLASSES];
    int8_t *tenant_now;                 /* [tenants] MR_WAIT_TURN: not shaped */
};

bool decisions_open(struct decisions *decisions, int32_t tenants);
void decisions_close(struct decisions *decisions);
void decisions_class(struct decisions *decisions, int class, enum mr_sched_wait wait, int64_t now_ns);
void decisions_tenant(struct decisions *decisions, uint32_t tenant, enum mr_sched_wait wait, int64_t now_ns);
/* What a job of the class and tenant waited for in [from, to): by cause, and in order of time. */
struct decisions_query {
    int class;
    uint32_t tenant;
    int64_t from_ns, to_ns;
};
void decisions_sum(const struct decisions *decisions, const struct decisions_query *query, int64_t waited_ns[MR_WAIT_COUNT]);
/* The last `most` spans, oldest first; how many. */
int32_t decisions_spans(const struct decisions *decisions, const struct decisions_query *query, struct mr_sched_span *spans, int32_t most);

#endif
