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
    groups->all[g] = (struct group){.name = name, .flow = flow, .head = -1, .tail = -1, .chain = *bucket, .warming = -1};
    *bucket = g;
    return g;
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
}

void groups_remove(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    if (job->group < 0)
        return;
    struct group *group = &s->groups.all[job->group];
    *(job->group_prev >= 0 ? &s->jobs[job->group_prev].group_next : &group->head) = job->group_next;
    *(job->group_next >= 0 ? &s->jobs[job->group_next].group_prev : &group->tail) = job->group_prev;
    if (--group->n == 0) {
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
    if (job->group < 0 || job->match > 0)
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
