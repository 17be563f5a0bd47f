/* Prefix groups. Owns the groups' table (by flow and name) and, in each flow, the lists of its groups by size.
 *
 * 1. A group is on exactly one list of its flow while it has a waiting job, and free otherwise. 2. The lists double: a change of one
 * job seldom moves a group. 3. Of warm groups the smallest goes first, so that few are in the cache half done; of cold ones the
 * largest. Rejected: a heap of sizes; it costs a logarithm for every job that comes or goes. */
#include "scheduler/groups.h"

#include "base/hash.h"
#include "scheduler/core.h"

#include <stdlib.h>

bool groups_open(struct groups *groups, int32_t max_jobs)
{
    int32_t n = 16;
    while (n < 2 * max_jobs)
        n *= 2;
    *groups = (struct groups){.all = calloc((size_t)max_jobs, sizeof *groups->all), .buckets = calloc((size_t)n, sizeof *groups->buckets),
            .mask = n - 1};
    if (!groups->all || !groups->buckets)
        return false;
    for (int32_t i = 0; i < n; i++)
        groups->buckets[i] = -1;
    for (int32_t g = 0; g < max_jobs; g++)
        groups->all[g].chain = g + 1 < max_jobs ? g + 1 : -1;
    return true;
}

void groups_close(struct groups *groups)
{
    free(groups->all);
    free(groups->buckets);
}

static int32_t *bucket_of(const struct groups *groups, uint64_t name, int32_t flow)
{
    return &groups->buckets[mr_mix64(name + (uint64_t)flow * UINT64_C(0x9e3779b97f4a7c15)) & (uint64_t)groups->mask];
}

static int32_t group_get(struct groups *groups, uint64_t name, int32_t flow)
{
    int32_t *bucket = bucket_of(groups, name, flow), g = *bucket;
    while (g >= 0 && (groups->all[g].name != name || groups->all[g].flow != flow))
        g = groups->all[g].chain;
    if (g >= 0)
        return g;
    g = groups->free; /* there are as many groups as jobs, and each has one */
    groups->free = groups->all[g].chain;
    groups->all[g] = (struct group){.name = name, .flow = flow, .head = -1, .tail = -1, .chain = *bucket, .warming = -1, .size = -1};
    *bucket = g;
    return g;
}

static int8_t size_of(const struct group *group)
{
    int8_t doublings = (int8_t)(31 - __builtin_clz((unsigned)group->n | 1));
    doublings = doublings < GROUP_DOUBLINGS ? doublings : GROUP_DOUBLINGS - 1;
    return (int8_t)(group->warm ? GROUP_DOUBLINGS + doublings : doublings);
}

/* On the list of its size, the latest first; an empty one on none. */
static void size_note(struct mr_sched *s, int32_t g)
{
    struct group *group = &s->groups.all[g];
    int32_t *heads = s->flows[group->flow].sized;
    int8_t size = group->n ? size_of(group) : -1;
    if (size == group->size)
        return;
    if (group->size >= 0) {
        *(group->prev >= 0 ? &s->groups.all[group->prev].next : &heads[group->size]) = group->next;
        if (group->next >= 0)
            s->groups.all[group->next].prev = group->prev;
    }
    group->size = size;
    if (size < 0)
        return;
    group->prev = -1;
    group->next = heads[size];
    if (group->next >= 0)
        s->groups.all[group->next].prev = g;
    heads[size] = g;
}

void groups_add(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    bool deadlines = job->class <= MR_TIER_STANDARD && s->config.tier[job->class].ttft_ns > 0;
    job->group = -1;
    if (deadlines || job->n_prefix == 0)
        return;
    job->group = group_get(&s->groups, job->prefix[0], (int32_t)(job_flow(s, job) - s->flows));
    struct group *group = &s->groups.all[job->group];
    int32_t after = group->tail;
    while (after >= 0 && job_before(job, &s->jobs[after]))
        after = s->jobs[after].group_prev;
    int32_t before = after >= 0 ? s->jobs[after].group_next : group->head;
    job->group_prev = after;
    job->group_next = before;
    *(after >= 0 ? &s->jobs[after].group_next : &group->head) = j;
    *(before >= 0 ? &s->jobs[before].group_prev : &group->tail) = j;
    group->n++;
    size_note(s, job->group);
}

void groups_remove(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    if (job->group < 0)
        return;
    struct group *group = &s->groups.all[job->group];
    *(job->group_prev >= 0 ? &s->jobs[job->group_prev].group_next : &group->head) = job->group_next;
    *(job->group_next >= 0 ? &s->jobs[job->group_next].group_prev : &group->tail) = job->group_prev;
    group->n--;
    size_note(s, job->group);
    if (group->n == 0) {
        int32_t *link = bucket_of(&s->groups, group->name, group->flow);
        while (*link != job->group)
            link = &s->groups.all[*link].chain;
        *link = group->chain;
        group->chain = s->groups.free;
        s->groups.free = job->group;
    }
    job->group = -1;
}

void groups_admitted(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    if (job->group < 0)
        return;
    s->groups.all[job->group].warm = true;
    size_note(s, job->group);
    if (job->match > 0)
        return;
    s->groups.all[job->group].warming = j;
    s->groups.all[job->group].warming_admitted = s->admissions + 1; /* the number it is about to get */
}

bool groups_ready(const struct mr_sched *s, int32_t g)
{
    if (g < 0 || s->groups.all[g].warming < 0)
        return true;
    const struct job *first = &s->jobs[s->groups.all[g].warming];
    bool still = first->state == JOB_RESIDENT && first->admitted == s->groups.all[g].warming_admitted && first->place < 0;
    return !still;
}

int32_t groups_best(struct mr_sched *s, int32_t flow)
{
    const int32_t *sized = s->flows[flow].sized;
    for (int size = GROUP_DOUBLINGS; size < GROUP_SIZES; size++)
        for (int32_t g = sized[size], next; g >= 0; g = next) {
            struct group *group = &s->groups.all[g];
            next = group->next;
            if (!groups_ready(s, g))
                continue;
            match_refresh(s, &s->jobs[group->head]);
            if (s->jobs[group->head].match > 0)
                return group->head;
            group->warm = false; /* its beginning has gone from the cache */
            size_note(s, g);
        }
    for (int size = GROUP_DOUBLINGS - 1; size >= 0; size--)
        if (sized[size] >= 0)
            return s->groups.all[sized[size]].head;
    return -1;
}
