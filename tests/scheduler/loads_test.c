#include "scheduler/sim/loads.h"
#include "tests/test.h"

#include <stdlib.h>

static struct sim_scenario scenario;
static struct sim_loads loads;

static void open_loads(const char *text)
{
    struct mr_err err = {0};
    EXPECT_EQ(sim_scenario_parse(&scenario, text, &err), MR_OK);
    EXPECT_EQ(sim_loads_open(&loads, &scenario, NULL, &err), MR_OK);
}

TEST(servegen_has_the_shares_of_its_clients) /* small: the largest 30 %, the ten largest 93 % */
{
    open_loads("seconds 4000\nload tenants=0-42 tier=standard source=servegen:small:50 prompt=10 output=10\n");
    double top = 0, ten = 0;
    for (int32_t i = 0; i < loads.n; i++) {
        top += loads.jobs[i].tenant == 0;
        ten += loads.jobs[i].tenant < 10;
    }
    EXPECT_NEAR(loads.n / 4000.0, 50, 5);
    EXPECT_NEAR(top / loads.n, 0.30, 0.05);
    EXPECT_NEAR(ten / loads.n, 0.93, 0.05);
    sim_loads_close(&loads);
}

TEST(a_day_swings_the_rate)
{
    open_loads("seconds 1000\nload tenants=0-161 tier=standard source=servegen:large:50 day=1000 prompt=10 output=10\n");
    int32_t early = 0;
    for (int32_t i = 0; i < loads.n; i++)
        early += loads.jobs[i].arrival_ns < INT64_C(500000000000);
    EXPECT(early > loads.n * 6 / 10); /* the first half is the day's upper one */
    sim_loads_close(&loads);
}

TEST(a_grouped_batch_is_the_same_jobs_sorted)
{
    int64_t prompts[2] = {0, 0};
    for (int grouped = 0; grouped < 2; grouped++) {
        char text[256];
        snprintf(text, sizeof text, "seconds 10\nload tenants=0 tier=bulk source=batch:500 order=%s prompt=100~0.5 output=10 prefixes=20x64\n",
                 grouped ? "grouped" : "coming");
        open_loads(text);
        EXPECT_EQ(loads.n, 500);
        int32_t falls = 0;
        for (int32_t i = 0; i < loads.n; i++) {
            prompts[grouped] += loads.jobs[i].prompt;
            falls += i > 0 && loads.jobs[i].prefix < loads.jobs[i - 1].prefix;
        }
        EXPECT(grouped ? falls == 0 : falls > 100);
        sim_loads_close(&loads);
    }
    EXPECT_EQ(prompts[0], prompts[1]);
}

/* Full blocks that two jobs have in common, from the first on. */
static int32_t common(struct sim_job *a, struct sim_job *b)
{
    int32_t n = 0;
    while (n < a->n_names && n < b->n_names && a->names[n] == b->names[n])
        n++;
    return n;
}

TEST(a_tree_shares_as_far_as_its_ways_do)
{
    open_loads("seconds 10\nblock_tokens 16\nload tenants=0-1 tier=bulk source=batch:300 prompt=32 output=10 prefixes=2x64 tree=2x32,2x16\n");
    bool seen[3] = {false, false, false};
    for (int32_t i = 0; i < loads.n; i++)
        REQUIRE(sim_job_names(&loads, &loads.jobs[i], 16, true));
    for (int32_t i = 0; i < loads.n; i++)
        for (int32_t k = i + 1; k < loads.n; k++) {
            struct sim_job *a = &loads.jobs[i], *b = &loads.jobs[k];
            int32_t shared = a->tenant != b->tenant || a->prefix / 4 != b->prefix / 4 ? 0 : a->prefix / 2 != b->prefix / 2 ? 4 : a->prefix != b->prefix ? 6 : 7;
            REQUIRE(common(a, b) == shared);
            for (int at = 0; at < 3; at++)
                seen[at] |= shared == (int[]){4, 6, 7}[at];
        }
    EXPECT(seen[0] && seen[1] && seen[2]);
    sim_loads_close(&loads);
}

TEST_MAIN(TEST_CASE(servegen_has_the_shares_of_its_clients), TEST_CASE(a_day_swings_the_rate), TEST_CASE(a_grouped_batch_is_the_same_jobs_sorted),
          TEST_CASE(a_tree_shares_as_far_as_its_ways_do))
