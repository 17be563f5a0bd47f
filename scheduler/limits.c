#include "scheduler/limits.h"

#include "base/check.h"

#include <stdlib.h>

enum { NS_PER_S = 1000000000 };

bool limits_open(struct limits *limits, int32_t n)
{
    *limits = (struct limits){.tenants = calloc((size_t)n, sizeof *limits->tenants), .n = n};
    if (!limits->tenants || !heap_open(&limits->refills, n))
        return false;
    for (int32_t i = 0; i < n; i++)
        limits->tenants[i].contract.weight = 1;
    return true;
}

void limits_close(struct limits *limits)
{
    free(limits->tenants);
    heap_close(&limits->refills);
}

static int64_t burst_of(const struct limit *limit)
{
    int64_t tokens = limit->contract.burst_tokens ? limit->contract.burst_tokens : limit->contract.rate_tokens;
    return tokens * MR_SCHED_SERVICE_UNIT;
}

static void fill(struct limit *limit, int64_t now_ns)
{
    int64_t rate = limit->contract.rate_tokens * MR_SCHED_SERVICE_UNIT, burst = burst_of(limit);
    if (now_ns <= limit->filled_ns)
        return;
    __int128 level = limit->level + (__int128)rate * (now_ns - limit->filled_ns) / NS_PER_S;
    limit->level = level > burst ? burst : (int64_t)level;
    limit->filled_ns = now_ns;
}

static void refill_note(struct limits *limits, uint32_t tenant)
{
    struct limit *limit = &limits->tenants[tenant];
    if (!limit->contract.rate_tokens || limit->level >= 0) {
        heap_remove(&limits->refills, (int32_t)tenant);
        return;
    }
    int64_t rate = limit->contract.rate_tokens * MR_SCHED_SERVICE_UNIT;
    __int128 wait = ((__int128)-limit->level * NS_PER_S + rate - 1) / rate;
    heap_set(&limits->refills, (int32_t)tenant, limit->filled_ns + (int64_t)wait + 1);
}

void limits_set(struct limits *limits, uint32_t tenant, const struct mr_sched_tenant *contract, int64_t now_ns)
{
    struct limit *limit = &limits->tenants[tenant];
    limit->contract = *contract;
    limit->filled_ns = now_ns;
    limit->level = burst_of(limit);
    heap_remove(&limits->refills, (int32_t)tenant);
}

bool limits_queue_fits(const struct limits *limits, uint32_t tenant, int64_t tokens)
{
    const struct limit *limit = &limits->tenants[tenant];
    return !limit->contract.queued_tokens || limit->queued + tokens <= limit->contract.queued_tokens;
}

void limits_queue(struct limits *limits, uint32_t tenant, int64_t tokens)
{
    limits->tenants[tenant].queued += tokens;
    DCHECK(limits->tenants[tenant].queued >= 0);
}

void limits_settle(struct limits *limits, uint32_t tenant, int64_t correction, int64_t now_ns)
{
    struct limit *limit = &limits->tenants[tenant];
    if (!limit->contract.rate_tokens)
        return;
    fill(limit, now_ns);
    int64_t burst = burst_of(limit);
    limit->level -= correction;
    if (limit->level < -burst) /* one job may cost more than the bucket: what is over is forgiven, or it would block for ever */
        limit->level = -burst;
    if (limit->level > burst)
        limit->level = burst;
    refill_note(limits, tenant);
}

void limits_start(struct limits *limits, uint32_t tenant, int64_t estimate, int64_t now_ns)
{
    limits->tenants[tenant].running++;
    limits_settle(limits, tenant, estimate, now_ns);
}

void limits_end(struct limits *limits, uint32_t tenant)
{
    limits->tenants[tenant].running--;
    DCHECK(limits->tenants[tenant].running >= 0);
}

bool limits_allow(const struct limits *limits, uint32_t tenant, enum mr_sched_wait *wait)
{
    const struct limit *limit = &limits->tenants[tenant];
    if (limit->contract.concurrency && limit->running >= limit->contract.concurrency) {
        *wait = MR_WAIT_CONCURRENCY;
        return false;
    }
    if (limit->contract.rate_tokens && limit->level < 0) {
        *wait = MR_WAIT_RATE;
        return false;
    }
    return true;
}

int32_t limits_refilled(struct limits *limits, int64_t now_ns)
{
    if (limits->refills.n == 0 || limits->refills.keys[limits->refills.items[0]] > now_ns)
        return -1;
    int32_t tenant = limits->refills.items[0];
    fill(&limits->tenants[tenant], now_ns);
    refill_note(limits, (uint32_t)tenant);
    return heap_has(&limits->refills, tenant) ? -1 : tenant;
}
