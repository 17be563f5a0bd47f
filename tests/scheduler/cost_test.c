#include "scheduler/cost.h"
#include "tests/test.h"

static const struct mr_sched_cost h200 = {3900000000, 1500000000, 18400000, 36400, 1310, 600000000, 0};

TEST(the_budget_table_of_the_design)
{
    /* scheduling.md 3.2: tokens that fit at TPOT 50 ms with C = 100k, 300k, 600k */
    static const struct {
        int64_t context, tpot_ms;
        int32_t tokens;
    } rows[] = {{100000, 50, 2269}, {300000, 50, 1873}, {600000, 50, 1280}, {100000, 25, 978}, {100000, 100, 4851}};
    struct mr_sched_cost cost = h200;
    cost.pair_ps = 0; /* the table leaves the pairs out */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cost_load load = {.context = rows[i].context};
        int32_t fits = cost_chunk_fit(&cost, load, 0, 100000, 1, rows[i].tpot_ms * 1000000000 * 95 / 100);
        EXPECT_NEAR(fits, rows[i].tokens, rows[i].tokens * 0.02 + 2);
    }
}

TEST(under_the_knee_tokens_are_free)
{
    EXPECT_EQ(cost_step_ps(&h200, (struct cost_load){1, 0, 0, 0}), cost_step_ps(&h200, (struct cost_load){100, 0, 0, 0}));
    EXPECT(cost_step_ps(&h200, (struct cost_load){200, 0, 0, 0}) > cost_step_ps(&h200, (struct cost_load){100, 0, 0, 0}));
}

TEST(a_decode_costs_its_row_too)
{
    struct mr_sched_cost cost = h200;
    cost.row_ps = 5000000;
    struct cost_load load = cost_load_sum(cost_load_decode(10), cost_load_decode(20));
    EXPECT_EQ(load.rows, 2);
    EXPECT_EQ(cost_step_ps(&cost, load), cost_step_ps(&h200, load) + 10000000);
}

TEST(a_chunk_is_the_largest_that_fits)
{
    for (int32_t start = 0; start < 3000; start += 700)
        for (int64_t ms = 1; ms < 40; ms += 3) {
            struct cost_load load = {20, 20000, 0, 0};
            int64_t budget = ms * 1000000000;
            int32_t n = cost_chunk_fit(&h200, load, start, 5000, 64, budget);
            EXPECT(n == 5000 || n % 64 == 0);
            EXPECT(n == 0 || cost_step_ps(&h200, cost_load_sum(load, cost_load_chunk(start, n))) <= budget);
            EXPECT(n + 64 > 5000 || cost_step_ps(&h200, cost_load_sum(load, cost_load_chunk(start, n + 64))) > budget);
        }
}

TEST_MAIN(TEST_CASE(the_budget_table_of_the_design), TEST_CASE(under_the_knee_tokens_are_free), TEST_CASE(a_decode_costs_its_row_too),
          TEST_CASE(a_chunk_is_the_largest_that_fits))
