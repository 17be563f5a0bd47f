#include "scheduler/sim/feed.h"

#include <stdlib.h>

void sim_feed_open(struct sim_feed *feed, const struct sim_scenario *scenario)
{
    *feed = (struct sim_feed){.scenario = scenario};
}

void sim_feed_close(struct sim_feed *feed)
{
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        for (int p = 0; p < SIM_PARTITIONS; p++) {
            free(feed->partitions[tier][p].jobs);
            free(feed->partitions[tier][p].ready_ns);
        }
}

static int32_t place_of(const struct sim_partition *p, int32_t i) { return (p->head + i) & (p->capacity - 1); }

static bool grow(struct sim_partition *p)
{
    if (p->n < p->capacity)
        return true;
    int32_t capacity = p->capacity ? 2 * p->capacity : 64;
    int32_t *jobs = malloc((size_t)capacity * sizeof *jobs);
    int64_t *ready = malloc((size_t)capacity * sizeof *ready);
    for (int32_t i = 0; jobs && ready && i < p->n; i++) {
        jobs[i] = p->jobs[place_of(p, i)];
        ready[i] = p->ready_ns[place_of(p, i)];
    }
    if (!jobs || !ready) {
        free(jobs);
        free(ready);
        return false;
    }
    free(p->jobs);
    free(p->ready_ns);
    p->jobs = jobs;
    p->ready_ns = ready;
    p->head = 0;
    p->capacity = capacity;
    return true;
}

static struct sim_partition *partition_of(struct sim_feed *feed, int tier, uint64_t key)
{
    struct sim_partition *p = &feed->partitions[tier][key % SIM_PARTITIONS];
    if (!grow(p))
        return NULL;
    feed->n++;
    feed->longest = feed->n > feed->longest ? feed->n : feed->longest;
    return p;
}

bool sim_feed_put(struct sim_feed *feed, int tier, uint64_t key, int32_t job, int64_t now_ns)
{
    struct sim_partition *p = partition_of(feed, tier, key);
    if (!p)
        return false;
    p->n++;
    p->jobs[place_of(p, p->n - 1)] = job;
    p->ready_ns[place_of(p, p->n - 1)] = now_ns + feed->scenario->fetch_ns;
    return true;
}

bool sim_feed_return(struct sim_feed *feed, int tier, uint64_t key, int32_t job)
{
    struct sim_partition *p = partition_of(feed, tier, key);
    if (!p)
        return false;
    p->head = place_of(p, -1);
    p->n++;
    p->jobs[p->head] = job;
    p->ready_ns[p->head] = 0;
    return true;
}

/* What was fetched and not handed over comes again. */
static void pause_begin(struct sim_feed *feed, struct sim_partition *p, int64_t now_ns)
{
    int32_t fetched = 0;
    while (fetched < p->n && fetched < feed->scenario->prefetch && p->ready_ns[place_of(p, fetched)] <= now_ns)
        fetched++;
    feed->pauses++;
    feed->refetched += fetched;
    p->paused = true;
}

int32_t sim_feed_take(struct sim_feed *feed, int32_t worker, int tier, bool pressed, int64_t now_ns)
{
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        struct sim_partition *p = &feed->partitions[tier][i];
        if (p->owner != worker || p->n == 0)
            continue;
        if (pressed && !p->paused)
            pause_begin(feed, p, now_ns);
        if (p->paused && !pressed) {
            p->paused = false;
            p->blocked_ns = now_ns + feed->scenario->fetch_ns;
        }
        if (p->paused || p->blocked_ns > now_ns || p->ready_ns[p->head] > now_ns)
            continue;
        int32_t job = p->jobs[p->head];
        p->head = place_of(p, 1);
        p->n--;
        feed->n--;
        if (++p->taken >= feed->scenario->prefetch) { /* the buffer is empty: the next fetch is on its way */
            p->taken = 0;
            p->blocked_ns = now_ns + feed->scenario->fetch_ns;
        }
        return job;
    }
    return -1;
}

int64_t sim_feed_moment(const struct sim_feed *feed, int32_t worker, int64_t now_ns)
{
    int64_t next = INT64_MAX;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        for (int i = 0; i < SIM_PARTITIONS; i++) {
            const struct sim_partition *p = &feed->partitions[tier][i];
            if (p->owner != worker || p->n == 0 || p->paused)
                continue;
            int64_t at = p->ready_ns[p->head] > p->blocked_ns ? p->ready_ns[p->head] : p->blocked_ns;
            next = at > now_ns && at < next ? at : next;
        }
    return next;
}

void sim_feed_rebalance(struct sim_feed *feed, const bool alive[SIM_WORKERS_MAX], int64_t now_ns)
{
    int32_t members[SIM_WORKERS_MAX], n = 0;
    for (int32_t w = 0; w < feed->scenario->workers; w++)
        if (alive[w])
            members[n++] = w;
    feed->rebalances++;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        for (int i = 0; i < SIM_PARTITIONS; i++) {
            struct sim_partition *p = &feed->partitions[tier][i];
            int32_t owner = n ? members[i * n / SIM_PARTITIONS] : -1;
            if (owner == p->owner)
                continue;
            p->owner = owner;
            p->paused = false;
            p->blocked_ns = now_ns > 0 ? now_ns + feed->scenario->rebalance_ns : 0;
        }
}
