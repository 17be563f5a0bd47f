#include "tests/test.h"

#include "worker/metrics.h"

#include <stdlib.h>

static bool says(struct mr_metrics *metrics, const char *line)
{
    struct mr_buf out = {0};
    mr_metrics_render(metrics, &out);
    mr_buf_add_char(&out, 0);
    bool found = strstr(out.p, line) != NULL;
    mr_buf_fini(&out);
    return found;
}

TEST(counts_and_histograms)
{
    struct mr_metrics metrics;
    mr_metrics_init(&metrics);
    struct mr_owner_outcome done = {.tier = MR_TIER_REALTIME, .tenant = MR_STR("acme"), .kind = MR_FOLD_DONE, .timings = {1, 30, 5}};
    struct mr_owner_outcome failed = {.tier = MR_TIER_BULK, .tenant = MR_STR("b"), .kind = MR_FOLD_FAILED, .reason = MR_REASON_POISON,
        .timings = {-1, -1, -1}};
    mr_metrics_count(&metrics, &done);
    mr_metrics_count(&metrics, &done);
    mr_metrics_count(&metrics, &failed);
    EXPECT(says(&metrics, "millrace_jobs_total{tier=\"realtime\",tenant=\"acme\",outcome=\"done\"} 2\n"));
    EXPECT(says(&metrics, "millrace_jobs_total{tier=\"bulk\",tenant=\"b\",outcome=\"failed\"} 1\n"));
    EXPECT(says(&metrics, "millrace_failures_total{reason=\"poison\"} 1\n"));
    EXPECT(says(&metrics, "millrace_ttft_seconds_bucket{tier=\"realtime\",le=\"0.032\"} 2\n"));
    EXPECT(says(&metrics, "millrace_ttft_seconds_bucket{tier=\"realtime\",le=\"0.016\"} 0\n"));
    EXPECT(says(&metrics, "millrace_ttft_seconds_count{tier=\"realtime\"} 2\n"));
    EXPECT(says(&metrics, "millrace_ttft_seconds_count{tier=\"bulk\"} 0\n"));
    mr_metrics_fini(&metrics);
}

TEST(tenants_are_bounded)
{
    struct mr_metrics metrics;
    mr_metrics_init(&metrics);
    for (int i = 0; i < MR_METRICS_TENANTS_MAX + 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        struct mr_owner_outcome done = {.tenant = mr_str_from(name), .kind = MR_FOLD_DONE, .timings = {-1, -1, -1}};
        mr_metrics_count(&metrics, &done);
    }
    EXPECT(says(&metrics, "tenant=\"t63\",outcome=\"done\"} 1\n") && !says(&metrics, "tenant=\"t64\""));
    EXPECT(says(&metrics, "tenant=\"other\",outcome=\"done\"} 5\n"));
    mr_metrics_fini(&metrics);
}

TEST(a_step_is_counted_once)
{
    struct mr_metrics metrics;
    struct mr_engine_stats stats = {.steps = 1, .last_step_ns = 2000000};
    mr_metrics_init(&metrics);
    mr_metrics_step(&metrics, &stats);
    mr_metrics_step(&metrics, &stats);
    EXPECT(says(&metrics, "millrace_step_seconds_count 1\n"));
    mr_metrics_fini(&metrics);
}

TEST(what_the_scheduler_gives_each_tenant)
{
    struct mr_metrics metrics;
    struct mr_tenant_view views[MR_METRICS_TENANTS_MAX + 1] = {{.name = "acme", .service = 700, .drift_permille = 250, .waiting = 3, .limited = true}};
    mr_metrics_init(&metrics);
    mr_metrics_tenants(&metrics, views, 1);
    EXPECT(says(&metrics, "millrace_tenant_service_total{tenant=\"acme\"} 700\n"));
    EXPECT(says(&metrics, "millrace_tenant_drift{tenant=\"acme\"} 0.25\n"));
    EXPECT(says(&metrics, "millrace_tenant_waiting{tenant=\"acme\"} 3\n"));
    EXPECT(says(&metrics, "millrace_tenant_limited{tenant=\"acme\"} 1\n"));
    mr_metrics_tenants(&metrics, views, MR_METRICS_TENANTS_MAX + 1); /* one more than there is room for */
    EXPECT_EQ(metrics.n_views, MR_METRICS_TENANTS_MAX);
    EXPECT(says(&metrics, "millrace_breaker_open 0\n"));
    mr_metrics_breaker(&metrics, true);
    EXPECT(says(&metrics, "millrace_breaker_open 1\n"));
    mr_metrics_fini(&metrics);
}

TEST_MAIN(TEST_CASE(what_the_scheduler_gives_each_tenant), TEST_CASE(counts_and_histograms), TEST_CASE(tenants_are_bounded), TEST_CASE(a_step_is_counted_once))
