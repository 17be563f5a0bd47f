#include "worker/tenant_view.h"

#include <inttypes.h>
#include <stdio.h>

bool mr_tenant_view_fill(struct mr_engine *engine, uint32_t tenant, struct mr_tenant_view *out)
{
    struct mr_str name = mr_engine_tenant(engine, tenant);
    int64_t most = -1;
    *out = (struct mr_tenant_view){0};
    if (!name.p || name.n > MR_TENANT_BYTES_MAX)
        return false;
    memcpy(out->name, name.p, name.n);
    for (int class = 0; class < MR_SCHED_CLASSES; class++) {
        struct mr_sched_tenant_stats stats;
        mr_sched_tenant_stats(mr_engine_sched(engine), class, tenant, &stats);
        int64_t drift = stats.bound > 0 ? stats.lead * 1000 / stats.bound : 0;
        out->service += stats.charged / MR_SCHED_SERVICE_UNIT;
        out->drift_permille = drift > out->drift_permille ? drift : out->drift_permille;
        out->waiting += stats.waiting;
        out->running += stats.resident;
        out->finished += stats.finished;
        out->on_time += stats.on_time;
        out->preemptions += stats.preemptions;
        out->relegations += stats.relegations;
        out->limited |= stats.over_limit;
        if (stats.charged > most) {
            most = stats.charged;
            out->counter = stats.counter / MR_SCHED_SERVICE_UNIT;
        }
    }
    return true;
}

void mr_tenant_view_print(const struct mr_tenant_view *v, char text[MR_TENANT_VIEW_TEXT_BYTES])
{
    snprintf(text, MR_TENANT_VIEW_TEXT_BYTES, "%" PRId64 " %" PRId64 " %" PRId64 " %d %d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %d",
             v->service, v->counter, v->drift_permille, v->waiting, v->running, v->finished, v->on_time, v->preemptions, v->relegations, v->limited);
}

bool mr_tenant_view_add(struct mr_tenant_view *sum, struct mr_str text)
{
    char copy[MR_TENANT_VIEW_TEXT_BYTES];
    struct mr_tenant_view v;
    int limited;
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (sscanf(copy, "%18" SCNd64 " %18" SCNd64 " %18" SCNd64 " %9d %9d %18" SCNd64 " %18" SCNd64 " %18" SCNd64 " %18" SCNd64 " %9d", &v.service,
               &v.counter, &v.drift_permille, &v.waiting, &v.running, &v.finished, &v.on_time, &v.preemptions, &v.relegations, &limited) != 10)
        return false;
    sum->service += v.service;
    sum->counter = v.counter > sum->counter ? v.counter : sum->counter;
    sum->drift_permille = v.drift_permille > sum->drift_permille ? v.drift_permille : sum->drift_permille;
    sum->waiting += v.waiting;
    sum->running += v.running;
    sum->finished += v.finished;
    sum->on_time += v.on_time;
    sum->preemptions += v.preemptions;
    sum->relegations += v.relegations;
    sum->limited |= limited != 0;
    return true;
}
