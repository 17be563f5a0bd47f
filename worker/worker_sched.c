/* What the engine thread does for the scheduler beside its steps: tells the log thread which tiers are under pressure and who is held
 * back, the metrics what each tenant has, and the state store what each job waited for.
 *
 * Invariants:
 * 1. Engine thread alone; nothing here waits but a full ring of notes.
 * 2. Without a state store everything else goes on: the store is told, never asked. */
#include "worker/worker_state.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#define VIEW_NS (250 * MR_NS_PER_MS) /* between two looks at the tenants */

/* The busiest first: more tenants than the metrics have room for are left out from the end. */
static int by_service(const void *a, const void *b)
{
    int64_t x = ((const struct mr_tenant_view *)a)->service, y = ((const struct mr_tenant_view *)b)->service;
    return (x < y) - (x > y);
}

static void tell_tenants(struct mr_worker *worker)
{
    int32_t n = 0, tenants = (int32_t)worker->options->limits.tenants;
    for (int32_t i = 0; i < tenants; i++)
        n += mr_tenant_view_fill(worker->serving.engine, (uint32_t)i, &worker->views[n]);
    qsort(worker->views, (size_t)n, sizeof *worker->views, by_service);
    mr_metrics_tenants(&worker->metrics, worker->views, n);
}

static void tell_pressure(struct mr_worker *worker)
{
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        bool pressed = mr_sched_paused(mr_engine_sched(worker->serving.engine), tier);
        if (pressed == worker->pressed[tier])
            continue;
        worker->pressed[tier] = pressed;
        struct note *note = worker_note_new(MR_OWNER_PRESSURE, 0);
        note->event.tier = (enum mr_tier)tier;
        note->event.on = pressed;
        worker_note_push(worker, note, MR_WATCHED_ENGINE);
    }
}

void worker_sched_round(struct mr_worker *worker, int64_t now_ns)
{
    tell_pressure(worker);
    if (worker->sync)
        mr_counter_sync_step(worker->sync, now_ns);
    if (now_ns < worker->view_ns)
        return;
    worker->view_ns = now_ns + VIEW_NS;
    tell_tenants(worker);
}

/* One field beside the job's state. */
static void tell_store(struct mr_worker *worker, const struct mr_job *job, struct mr_str field, struct mr_str value)
{
    char key[2 + MR_TENANT_BYTES_MAX + 1 + MR_JOB_ID_BYTES_MAX + MR_REDRIVE_BYTES_MAX + 8];
    if (!worker->has_state)
        return;
    int n = snprintf(key, sizeof key, "{%.*s}", (int)job->name.n, job->name.p);
    CHECK(n > 0 && (size_t)n < sizeof key);
    struct mr_state_update update = {.key = {key, (size_t)n}, .n_fields = 1, .epoch = -1, .expire_ms = worker->options->redis.expire_ms,
                                     .field = {field}, .value = {value}};
    worker->state.put(worker->state.self, &update);
}

void worker_sched_late(struct mr_worker *worker, const struct mr_engine_event *event)
{
    mr_log(MR_LOG_WARN, "scheduler.late", "job=%.*s action=runs_on", (int)event->job->name.n, event->job->name.p);
    tell_store(worker, event->job, MR_STR("deadline"), MR_STR("cannot be kept at the measured rate"));
}

void worker_sched_waited(struct mr_worker *worker, const struct mr_engine_event *event)
{
    char why[MR_WAIT_COUNT * 32 + 16];
    int64_t sum_ns = 0;
    int at;
    for (int i = 0; i < MR_WAIT_COUNT; i++)
        sum_ns += event->waited_ns[i];
    at = snprintf(why, sizeof why, "%s %lld ms", event->on ? "waited" : "waits since", (long long)(sum_ns / MR_NS_PER_MS));
    for (int i = 0; i < MR_WAIT_COUNT; i++)
        if (event->waited_ns[i] >= MR_NS_PER_MS)
            at += snprintf(why + at, sizeof why - (size_t)at, ", %s %lld", mr_sched_wait_name((enum mr_sched_wait)i),
                           (long long)(event->waited_ns[i] / MR_NS_PER_MS));
    if (event->relegated)
        at += snprintf(why + at, sizeof why - (size_t)at, ", relegated");
    tell_store(worker, event->job, MR_STR("why"), mr_str_from(why));
}
