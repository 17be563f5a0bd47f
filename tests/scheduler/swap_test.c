/* The break-even numbers of scheduling.md 3.8. */
#include "scheduler/swap.h"
#include "tests/test.h"

#define KIB INT64_C(1024)
static const struct mr_sched_cost bf16 = {.floor_ps = 3900000000, .base_ps = 1500000000, .token_ps = 18400000, .pair_ps = 1310};
static const struct mr_swap_link pcie = {.bytes_per_s = 54000000000, .token_bytes = 128 * KIB};

TEST(an_8b_model_breaks_even_at_about_20_tokens)
{
    EXPECT_NEAR(mr_swap_break_even(&bf16, &pcie, true), 19, 1); /* 2.4 us against 18.4 us a token */
    EXPECT_NEAR(mr_swap_break_even(&bf16, &pcie, false), 22, 1);
}

TEST(with_fp8_between_44_and_69)
{
    struct mr_sched_cost fp8 = bf16;
    fp8.token_ps /= 2;
    EXPECT_NEAR(mr_swap_break_even(&fp8, &pcie, true), 44, 1);
    EXPECT_NEAR(mr_swap_break_even(&fp8, &pcie, false), 69, 1);
}

TEST(of_full_heads_only_a_checkpoint_is_worth_it)
{
    struct mr_swap_link full = {.bytes_per_s = 54000000000, .token_bytes = 512 * KIB};
    EXPECT(mr_swap_break_even(&bf16, &full, true) < INT64_MAX);
    EXPECT_EQ(mr_swap_break_even(&bf16, &full, false), INT64_MAX);
}

TEST(a_coherent_link_almost_always)
{
    struct mr_swap_link c2c = {.bytes_per_s = 360000000000, .token_bytes = 128 * KIB, .fixed_ps = 1};
    EXPECT_EQ(mr_swap_break_even(&bf16, &c2c, false), 1);
}

TEST(recomputes_the_tiny_the_free_and_when_the_host_is_full)
{
    struct mr_swap_ask ask = {.tokens = 2000, .uncached = 2000, .step_tokens = 1000};
    EXPECT_EQ(mr_swap_knee(&bf16), 130);
    EXPECT(mr_swap_pays(&bf16, &pcie, &ask));
    ask.host_full = true;
    EXPECT(!mr_swap_pays(&bf16, &pcie, &ask));
    ask.checkpointed = true; /* it is there already */
    EXPECT(mr_swap_pays(&bf16, &pcie, &ask));
    ask = (struct mr_swap_ask){.tokens = 10, .uncached = 10, .step_tokens = 1000, .checkpointed = true};
    EXPECT(!mr_swap_pays(&bf16, &pcie, &ask));
    ask = (struct mr_swap_ask){.tokens = 2000, .uncached = 2000, .step_tokens = 130, .checkpointed = true}; /* under the knee tokens are free */
    EXPECT(!mr_swap_pays(&bf16, &pcie, &ask));
    ask.step_tokens = 131;
    EXPECT(mr_swap_pays(&bf16, &pcie, &ask));
    ask.uncached = 0; /* the prefix cache gives it back */
    EXPECT(!mr_swap_pays(&bf16, &pcie, &ask));
    ask.tokens = 0;
    EXPECT(!mr_swap_pays(&bf16, &pcie, &ask));
}

TEST_MAIN(TEST_CASE(an_8b_model_breaks_even_at_about_20_tokens), TEST_CASE(with_fp8_between_44_and_69),
          TEST_CASE(of_full_heads_only_a_checkpoint_is_worth_it), TEST_CASE(a_coherent_link_almost_always),
          TEST_CASE(recomputes_the_tiny_the_free_and_when_the_host_is_full))
