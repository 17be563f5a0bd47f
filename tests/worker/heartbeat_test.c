#include "tests/test.h"

#include "worker/heartbeat.h"

#include <stdio.h>

static struct mr_str value_of(const struct mr_state_update *update, const char *name)
{
    for (int32_t i = 0; i < update->n_fields; i++)
        if (mr_str_is(update->field[i], name))
            return update->value[i];
    return (struct mr_str){0};
}

TEST(load_from_the_metrics)
{
    struct mr_metrics metrics;
    struct mr_heartbeat beat;
    struct mr_state_update update = {.n_fields = 6};
    struct mr_engine_stats stats = {.steps = 7, .prompt_tokens = 11, .output_tokens = 13, .last_batch_seqs = 3, .last_step_ns = 2000000};
    stats.sched.blocks_used = 5;
    stats.sched.blocks_total = 9;
    stats.sched.resident[MR_TIER_BULK] = 2;
    stats.sched.waiting[MR_TIER_BULK] = 4;
    mr_metrics_init(&metrics);
    mr_metrics_step(&metrics, &stats);
    for (int i = 0; i < 40; i++) { /* tenants t0 .. t9, the higher the busier */
        char tenant[8];
        snprintf(tenant, sizeof tenant, "t%d", i % 10);
        for (int k = 0; k <= i % 10; k++)
            mr_metrics_count(&metrics, &(struct mr_owner_outcome){.tier = MR_TIER_BULK, .tenant = mr_str_from(tenant), .kind = MR_FOLD_DONE,
                                                                  .timings = {-1, -1, -1}});
    }
    mr_heartbeat_add(&beat, &metrics, &update);
    EXPECT_EQ(update.n_fields, 16);
    EXPECT(mr_str_is(value_of(&update, "steps"), "7"));
    EXPECT(mr_str_is(value_of(&update, "prompt_tokens"), "11"));
    EXPECT(mr_str_is(value_of(&update, "output_tokens"), "13"));
    EXPECT(mr_str_is(value_of(&update, "batch_seqs"), "3"));
    EXPECT(mr_str_is(value_of(&update, "step_us"), "2000"));
    EXPECT(mr_str_is(value_of(&update, "kv"), "5/9"));
    EXPECT(mr_str_is(value_of(&update, "bulk"), "2/4"));
    EXPECT(mr_str_is(value_of(&update, "realtime"), "0/0"));
    EXPECT(mr_str_is(value_of(&update, "tenants"), "t9=40 t8=36 t7=32 t6=28 t5=24 t4=20"));
    mr_metrics_fini(&metrics);
}

/* At the number and one past it: the busiest are told, in order; a worker without tenants tells none. */
TEST(tenants_under_a_key_of_their_own)
{
    struct mr_metrics metrics;
    struct mr_heartbeat_tenants tenants;
    struct mr_tenant_view views[MR_HEARTBEAT_TENANTS_MAX + 1] = {{.waiting = 2, .running = 1, .service = 900}};
    struct mr_state_update update = {.n_fields = 3};
    for (int i = 0; i <= MR_HEARTBEAT_TENANTS_MAX; i++)
        snprintf(views[i].name, sizeof views[i].name, "t%d", i);
    mr_metrics_init(&metrics);
    mr_heartbeat_tenants(&tenants, &metrics, &update);
    EXPECT_EQ(update.n_fields, 0);
    mr_metrics_tenants(&metrics, views, MR_HEARTBEAT_TENANTS_MAX + 1);
    mr_heartbeat_tenants(&tenants, &metrics, &update);
    EXPECT_EQ(update.n_fields, MR_HEARTBEAT_TENANTS_MAX);
    EXPECT(mr_str_is(update.field[0], "t0") && mr_str_is(update.value[0], "900 0 0 2 1 0 0 0 0 0"));
    EXPECT(mr_str_is(update.field[MR_HEARTBEAT_TENANTS_MAX - 1], "t15"));
    mr_metrics_fini(&metrics);
}

TEST_MAIN(TEST_CASE(load_from_the_metrics), TEST_CASE(tenants_under_a_key_of_their_own))
