/* What /metrics tells, in Prometheus' text format: counters and histograms of finished runs, and the last snapshots of owner and
 * engine. Any thread may call any function: a mutex guards the struct, held for microseconds. */
#ifndef MR_WORKER_METRICS_H
#define MR_WORKER_METRICS_H

#include "base/buf.h"
#include "worker/owner.h"
#include "worker/tenant_view.h"

#include <pthread.h>

enum {
    MR_METRICS_TENANTS_MAX = 64, /* label values; past it tenants are counted as "other" */
    MR_METRICS_BUCKETS = 18,     /* powers of two from 1/4 ms to 32 s, and above */
};

struct mr_histogram {
    int64_t bucket[MR_METRICS_BUCKETS], count;
    double sum_s;
};

struct mr_metrics_gauges {
    struct mr_owner_stats owner;
    struct mr_engine_stats engine;
    bool state_store, state_store_up, breaker_open;
    int64_t state_dropped, log_troubles;
};

struct mr_metrics {
    pthread_mutex_t lock;
    char tenant[MR_METRICS_TENANTS_MAX + 1][MR_TENANT_BYTES_MAX + 1]; /* the last: "other" */
    int32_t n_tenants;
    int64_t jobs[MR_TIER_COUNT][MR_METRICS_TENANTS_MAX + 1][MR_FOLD_KINDS];
    int64_t failures[MR_REASON_COUNT];
    struct mr_histogram queue[MR_TIER_COUNT], ttft[MR_TIER_COUNT], tpot[MR_TIER_COUNT], step;
    struct mr_metrics_gauges gauges;
    struct mr_tenant_view view[MR_METRICS_TENANTS_MAX]; /* [n_views] as the scheduler has them, the busiest first */
    int32_t n_views;
};

void mr_metrics_init(struct mr_metrics *metrics);
void mr_metrics_fini(struct mr_metrics *metrics);
void mr_metrics_count(struct mr_metrics *metrics, const struct mr_owner_outcome *outcome);
void mr_metrics_step(struct mr_metrics *metrics, const struct mr_engine_stats *stats); /* after an engine step */
void mr_metrics_owner(struct mr_metrics *metrics, const struct mr_owner_stats *stats);
void mr_metrics_tenants(struct mr_metrics *metrics, const struct mr_tenant_view *views, int32_t n); /* past the maximum: left out */
void mr_metrics_breaker(struct mr_metrics *metrics, bool open); /* the model's circuit breaker */
void mr_metrics_trouble(struct mr_metrics *metrics);
void mr_metrics_state_store(struct mr_metrics *metrics, bool up, bool dropped); /* dropped: one update was not taken */
void mr_metrics_render(struct mr_metrics *metrics, struct mr_buf *out);

#endif
