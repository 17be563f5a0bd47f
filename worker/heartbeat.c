#include "worker/heartbeat.h"

#include "base/check.h"

#include <stdio.h>

static const char *const names[MR_HEARTBEAT_LOAD] = {"steps", "step_us", "prompt_tokens", "output_tokens", "batch_seqs",
                                                     "kv", "realtime", "standard", "bulk", "tenants"};

static int64_t ended(const struct mr_metrics *m, int32_t tenant)
{
    int64_t n = 0;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        for (int kind = 0; kind < MR_FOLD_KINDS; kind++)
            n += m->jobs[tier][tenant][kind];
    return n;
}

/* The busiest tenants, by repeated search: there are few, and it happens every other second. */
static void fill_tenants(const struct mr_metrics *m, char *text)
{
    bool told[MR_METRICS_TENANTS_MAX + 1] = {false};
    int used = 0;
    text[0] = '\0';
    for (int rank = 0; rank < MR_HEARTBEAT_TENANTS; rank++) {
        int32_t best = -1;
        for (int32_t i = 0; i <= MR_METRICS_TENANTS_MAX; i++)
            if (!told[i] && ended(m, i) > 0 && (best < 0 || ended(m, i) > ended(m, best)))
                best = i;
        char one[MR_TENANT_BYTES_MAX + 32];
        if (best < 0)
            return;
        told[best] = true;
        int n = snprintf(one, sizeof one, "%s%s=%lld", used ? " " : "", m->tenant[best], (long long)ended(m, best));
        if (used + n >= MR_HEARTBEAT_TEXT_BYTES)
            return;
        memcpy(text + used, one, (size_t)n + 1);
        used += n;
    }
}

void mr_heartbeat_add(struct mr_heartbeat *beat, struct mr_metrics *metrics, struct mr_state_update *update)
{
    const size_t room = sizeof update->field / sizeof *update->field;
    CHECK((size_t)update->n_fields + MR_HEARTBEAT_LOAD <= room);
    pthread_mutex_lock(&metrics->lock);
    const struct mr_engine_stats *engine = &metrics->gauges.engine;
    const struct mr_sched_stats *sched = &engine->sched;
    double step_us = metrics->step.count ? metrics->step.sum_s * 1e6 / (double)metrics->step.count : 0;
    snprintf(beat->value[0], sizeof beat->value[0], "%lld", (long long)engine->steps);
    snprintf(beat->value[1], sizeof beat->value[1], "%.0f", step_us);
    snprintf(beat->value[2], sizeof beat->value[2], "%lld", (long long)engine->prompt_tokens);
    snprintf(beat->value[3], sizeof beat->value[3], "%lld", (long long)engine->output_tokens);
    snprintf(beat->value[4], sizeof beat->value[4], "%d", engine->last_batch_seqs);
    snprintf(beat->value[5], sizeof beat->value[5], "%d/%d", sched->blocks_used, sched->blocks_total);
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        snprintf(beat->value[6 + tier], sizeof beat->value[0], "%d/%d", sched->resident[tier], sched->waiting[tier]);
    fill_tenants(metrics, beat->value[9]);
    pthread_mutex_unlock(&metrics->lock);
    for (int i = 0; i < MR_HEARTBEAT_LOAD; i++) {
        update->field[update->n_fields] = mr_str_from(names[i]);
        update->value[update->n_fields++] = mr_str_from(beat->value[i]);
    }
}

void mr_heartbeat_tenants(struct mr_heartbeat_tenants *tenants, struct mr_metrics *metrics, struct mr_state_update *update)
{
    pthread_mutex_lock(&metrics->lock);
    update->n_fields = 0;
    for (int32_t i = 0; i < metrics->n_views && i < MR_HEARTBEAT_TENANTS_MAX; i++) {
        memcpy(tenants->name[i], metrics->view[i].name, sizeof tenants->name[i]);
        mr_tenant_view_print(&metrics->view[i], tenants->value[i]);
        update->field[i] = mr_str_from(tenants->name[i]);
        update->value[i] = mr_str_from(tenants->value[i]);
        update->n_fields++;
    }
    pthread_mutex_unlock(&metrics->lock);
}
