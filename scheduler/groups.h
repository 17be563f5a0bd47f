/* Prefix groups: the waiting jobs of one tenant and class that begin alike (the same first block), so that a beginning is
 * computed once and then serves them all. For classes without a time to first token: where deadlines rule, they rule.
 * A group lives while it has a waiting job. While its first job is still computing the beginning the group is warming, and
 * nobody else of it is admitted: they would compute the same again. A flow finds the group that is worth most, whichever of its
 * jobs are in sight: one whose beginning is in the cache, else one of the largest. */
#ifndef MR_SCHEDULER_GROUPS_H
#define MR_SCHEDULER_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

enum { GROUP_DOUBLINGS = 17, GROUP_SIZES = 2 * GROUP_DOUBLINGS }; /* lists of a flow's groups by size: cold, then warm */

struct group {
    uint64_t name;         /* of the first block */
    int32_t flow;          /* index in flows */
    int32_t head, tail, n; /* waiting jobs, in order of arrival (job.group_next) */
    int32_t chain;         /* next of the bucket; next free */
    int32_t next, prev;    /* of the same size */
    int8_t size;           /* the list it is on; -1: none yet */
    bool warm;             /* its beginning was computed, and not missed since */
    int32_t warming;       /* the job that computes the beginning; -1 */
    uint64_t warming_admitted;
};

struct groups {
    struct group *all;     /* [max_jobs] */
    int32_t *buckets;      /* [mask + 1] */
    int32_t mask, free;
};

struct mr_sched;
bool groups_open(struct groups *groups, int32_t max_jobs);
void groups_close(struct groups *groups);
void groups_add(struct mr_sched *s, int32_t j);          /* a job that begins to wait */
void groups_remove(struct mr_sched *s, int32_t j);       /* fine for a job in none */
int32_t groups_best(struct mr_sched *s, int32_t flow);   /* the first job of the flow's best group; -1: none is ready */
void groups_admitted(struct mr_sched *s, int32_t j);     /* before it leaves: it warms its group, when it finds nothing */
bool groups_ready(const struct mr_sched *s, int32_t g);  /* not warming; g -1: true */

#endif
