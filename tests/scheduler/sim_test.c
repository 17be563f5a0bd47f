/* What is checked once a scenario (scheduling.md section 4): I5, I6, I18, I19, the quiet tenant, the refusal of an SLO. */
#include "scheduler/sim/sim.h"
#include "tests/test.h"

#define TENANTS "card h200-8b\nblocks 2000 block_tokens 16 max_seqs 16 max_context 2048\nslo standard 0 0\nslo realtime 0 0\n"

static struct sim_scenario scenario;

static struct sim_result run_policy(const char *text, const char *policy)
{
    static struct sim_result result;
    struct sim_options options = {0};
    struct mr_err err = {0};
    EXPECT_EQ(sim_scenario_parse(&scenario, text, &err), MR_OK);
    EXPECT_EQ(sim_policy_apply(&scenario, policy, &err), MR_OK);
    EXPECT_EQ(sim_run(&scenario, &options, &result, &err), MR_OK);
    return result;
}

TEST(weights_are_kept) /* I6 */
{
    struct sim_result r = run_policy(TENANTS "seconds 40 warmup 5\ntenant 1 weight=2\ntenant 2 weight=4\n"
                                             "load tenants=0-2 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5\n", "ours");
    EXPECT(r.jain >= 0.99);
    EXPECT_NEAR(r.tenant[1].service / r.tenant[0].service, 2, 0.06);
    EXPECT_NEAR(r.tenant[2].service / r.tenant[0].service, 4, 0.12);
}

TEST(a_returning_tenant_gets_a_half) /* I5; without the lift it takes all */
{
    static const char *const text = TENANTS "seconds 26 warmup 21\nload tenants=0 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5\n"
                                            "load tenants=1 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5 to=1\n"
                                            "load tenants=1 tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5 from=20\n";
    struct sim_result r = run_policy(text, "ours");
    EXPECT_NEAR(r.tenant[1].service / (r.tenant[0].service + r.tenant[1].service), 0.5, 0.05);
    r = run_policy(text, "ours-no-lift");
    EXPECT(r.tenant[1].service / (r.tenant[0].service + r.tenant[1].service) > 0.9);
}

TEST(a_flood_does_not_reach_the_quiet_tenant) /* and reaches it in order of arrival, or the load would not count */
{
    static const char *const text = "card cpu-2\nblocks 4096 block_tokens 16 max_seqs 32 max_step 256 quantum 16 max_context 2048\nwindow 512\n"
                                    "slo realtime 2000 200\nslo standard 20000 400\nseconds 120 warmup 10\n"
                                    "load tenants=0 tier=standard source=backlog:200 prompt=64~0.5 output=32~0.5\n"
                                    "load tenants=1 tier=standard source=poisson:0.5 prompt=64~0.5 output=32~0.5\n";
    EXPECT(run_policy(text, "ours").tenant[1].queue_ms_p99 < 2000);
    EXPECT(run_policy(text, "fcfs").tenant[1].queue_ms_p99 > 10000);
}

TEST(the_same_seed_is_the_same_run_and_shifts_change_nothing) /* I18, I19 */
{
    static const char *const tail = "seconds 10\nload tenants=%d tier=standard source=backlog:32 prompt=256~0.5 output=64~0.5\n"
                                    "load tenants=%d tier=standard source=backlog:32 prompt=128~0.5 output=64~0.5\n%s";
    char text[1024], other[1024];
    snprintf(text, sizeof text, "%s", TENANTS "tenant 0 weight=1\ntenant 1 weight=2\n");
    snprintf(text + strlen(text), sizeof text - strlen(text), tail, 0, 1, "");
    uint64_t digest = run_policy(text, "ours").digest;
    EXPECT(digest == run_policy(text, "ours").digest);
    snprintf(other, sizeof other, "%s", TENANTS "tenant 0 weight=3\ntenant 1 weight=6\n"); /* all weights times three */
    snprintf(other + strlen(other), sizeof other - strlen(other), tail, 0, 1, "");
    EXPECT(digest == run_policy(other, "ours").digest);
    snprintf(other, sizeof other, "%s", TENANTS "tenant 7 weight=1\ntenant 3 weight=2\n"); /* other names, other order of them */
    snprintf(other + strlen(other), sizeof other - strlen(other), tail, 7, 3, "");
    EXPECT(digest == run_policy(other, "ours").digest);
    snprintf(other, sizeof other, "%s", TENANTS "tenant 0 weight=1\ntenant 1 weight=2\ntenant 5 weight=9\n"); /* one that idles */
    snprintf(other + strlen(other), sizeof other - strlen(other), tail, 0, 1, "");
    EXPECT(digest == run_policy(other, "ours").digest);
}

TEST(an_impossible_slo_is_refused_with_the_figure)
{
    struct sim_options options = {0};
    static struct sim_result result;
    struct mr_err err = {0};
    EXPECT_EQ(sim_scenario_parse(&scenario, "card cpu-2\nslo realtime 500 1\n", &err), MR_OK);
    EXPECT_EQ(sim_run(&scenario, &options, &result, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "this device needs"));
}

TEST(bad_statements_are_refused_with_their_line)
{
    struct mr_err err = {0};
    EXPECT_EQ(sim_scenario_parse(&scenario, "seconds 3\nload tenants=0 colour=red\n", &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "line 2"));
    EXPECT_EQ(sim_scenario_parse(&scenario, "card gpu\n", &err), MR_ERR_INVALID);
    EXPECT_EQ(sim_policy_apply(&scenario, "best", &err), MR_ERR_NOT_FOUND);
}

TEST_MAIN(TEST_CASE(weights_are_kept), TEST_CASE(a_returning_tenant_gets_a_half), TEST_CASE(a_flood_does_not_reach_the_quiet_tenant),
          TEST_CASE(the_same_seed_is_the_same_run_and_shifts_change_nothing), TEST_CASE(an_impossible_slo_is_refused_with_the_figure),
          TEST_CASE(bad_statements_are_refused_with_their_line))
