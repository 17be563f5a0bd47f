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

TEST(a_dead_workers_jobs_go_on_by_the_log)
{
    struct sim_result r = run_policy(TENANTS "workers 2\nkafka 32 5 500\nkill 1 3\njoin 1 6\nskew 0 400\nstore 3 50\nseconds 10 drain 1\n"
                                     "load tenants=0-9 tier=standard source=servegen:small:30 prompt=256~0.5 output=64~0.5\n", "ours");
    EXPECT(r.tier[MR_TIER_STANDARD].arrived > 100);
    EXPECT_EQ(r.tier[MR_TIER_STANDARD].finished, r.tier[MR_TIER_STANDARD].arrived);
    EXPECT(r.log_longest > 0);
}

TEST(who_was_thrown_back_by_a_stall_catches_up) /* without it they stay late for good */
{
    struct sim_result r = run_policy("card h200-8b\nstalls 10\nseconds 60 warmup 5\n"
                                     "load tenants=0 tier=realtime source=poisson:20 prompt=1000~1 output=200~0.5\n"
                                     "load tenants=1 tier=bulk source=backlog:256 prompt=1000~1 output=200~1\n", "ours");
    EXPECT((double)r.tier[MR_TIER_REALTIME].on_time / (double)r.tier[MR_TIER_REALTIME].arrived > 0.83);
}

TEST(between_tokens_is_what_a_step_takes)
{
    struct sim_result r = run_policy("cost 10000000000 0 0 0 0 0\nslo standard 0 0\nslo realtime 0 0\nseconds 20\n"
                                     "load tenants=0 tier=standard source=backlog:4 prompt=64 output=50\n", "ours"); /* 10 ms a step */
    EXPECT_NEAR(r.tier[MR_TIER_STANDARD].tbt_ms[0], 10, 0.2);
    EXPECT_NEAR(r.tier[MR_TIER_STANDARD].tbt_ms[2], 10, 0.2);
    EXPECT_NEAR(r.tier[MR_TIER_STANDARD].tpot_ms[1], 10, 0.01);
}

TEST(bad_statements_are_refused_with_their_line)
{
    struct mr_err err = {0};
    EXPECT_EQ(sim_scenario_parse(&scenario, "seconds 3\nload tenants=0 colour=red\n", &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "line 2"));
    EXPECT_EQ(sim_scenario_parse(&scenario, "card gpu\n", &err), MR_ERR_INVALID);
    static const char *const bad[] = {"kafka 0 5 5\n", "kill 64 1\n", "store 1\n", "skew 1\n", "workers 65\n", "load tenants=0 source=servegen:huge:5\n",
                                      "load tenants=0 source=batch:0\n", "load tenants=0 tree=2x8,3\n", "load tenants=0 order=random\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT_EQ(sim_scenario_parse(&scenario, bad[i], &err), MR_ERR_INVALID);
    EXPECT_EQ(sim_scenario_parse(&scenario, "workers 64\nkill 63 1\n", &err), MR_OK);
    EXPECT_EQ(sim_policy_apply(&scenario, "best", &err), MR_ERR_NOT_FOUND);
}

TEST_MAIN(TEST_CASE(weights_are_kept), TEST_CASE(a_returning_tenant_gets_a_half), TEST_CASE(a_flood_does_not_reach_the_quiet_tenant),
          TEST_CASE(the_same_seed_is_the_same_run_and_shifts_change_nothing), TEST_CASE(an_impossible_slo_is_refused_with_the_figure),
          TEST_CASE(a_dead_workers_jobs_go_on_by_the_log), TEST_CASE(who_was_thrown_back_by_a_stall_catches_up),
          TEST_CASE(between_tokens_is_what_a_step_takes), TEST_CASE(bad_statements_are_refused_with_their_line))
