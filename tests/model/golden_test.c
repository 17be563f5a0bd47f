/* The CPU's two paths against the golden outputs. */
#include "tests/model/golden_run.h"

TEST(exact_path_equals_the_reference)
{
    struct driver_kind kind = {mr_ops_cpu(), MR_EXACT, MR_F32, MR_F32};
    struct totals t = {.clear_gap = 1e-3};
    if (!golden_run(&kind, &t))
        return;
    EXPECT_EQ(t.n_prompts, 48);
    EXPECT_EQ(t.n_errors, 48 * TOP_STEPS * 20);
    EXPECT_EQ(t.n_argmax, 48 * STEPS - 2);
    EXPECT_EQ(t.n_wrong, 0);
    EXPECT(t.worst <= 0.005);
    EXPECT(t.worst_ill <= 0.01); /* its float32 noise is several 1e-3 */
    EXPECT(t.final_worst <= 0.002);
    EXPECT(t.score_worst <= 0.005);
    EXPECT_NEAR(exp(t.nll), 29.9165, 0.01);
}

TEST(fast_path_is_no_worse_than_the_peer)
{
    struct driver_kind kind = {mr_ops_cpu(), MR_FAST, MR_F32, MR_F16};
    struct totals t = {.clear_gap = 1e-3};
    if (!golden_run(&kind, &t))
        return;
    EXPECT(t.error_sum / t.n_errors <= 0.109);
    EXPECT(exp(t.nll) <= 30.11);
}

TEST_MAIN(TEST_CASE(exact_path_equals_the_reference), TEST_CASE(fast_path_is_no_worse_than_the_peer))
