#include "kernels/cpu/score.h"

#include "tests/test.h"

TEST(log_softmax_of_given_ids)
{
    float logits[] = {1, 2, 3, 2, 1, 2, 3, 2000};
    int32_t ids[] = {0, 3};
    struct mr_sampled out[2];
    struct mr_score_params params = {.logits = logits, .rows = 2, .vocabulary = 4, .n_top = 3, .ids = ids, .out = out};
    EXPECT_EQ(mr_cpu_score(NULL, &params), MR_OK);
    double sum = exp(1) + 2 * exp(2) + exp(3);
    EXPECT_EQ(out[0].id, 0);
    EXPECT_NEAR(out[0].logprob, 1 - log(sum), 1e-6);
    EXPECT_EQ(out[0].n_top, 3);
    EXPECT_EQ(out[0].top_ids[0], 2);
    EXPECT_EQ(out[0].top_ids[1], 1); /* of two equal ones the lower id first */
    EXPECT_EQ(out[0].top_ids[2], 3);
    EXPECT_NEAR(out[0].top_logprobs[2], 2 - log(sum), 1e-6);
    EXPECT_EQ(out[1].id, 3);
    EXPECT_NEAR(out[1].logprob, 0, 1e-6);
    EXPECT_EQ(out[1].top_ids[0], 3);
    EXPECT_NEAR(out[1].top_logprobs[0], 0, 1e-6);
    EXPECT_NEAR(out[1].top_logprobs[1], -1997, 1e-3);
}

TEST(top_is_short_where_little_is_left)
{
    float logits[] = {-INFINITY, 5, NAN};
    int32_t id = 1;
    struct mr_sampled out;
    struct mr_score_params params = {.logits = logits, .rows = 1, .vocabulary = 3, .n_top = 20, .ids = &id, .out = &out};
    EXPECT_EQ(mr_cpu_score(NULL, &params), MR_OK);
    EXPECT_EQ(out.n_top, 1);
    EXPECT_EQ(out.top_ids[0], 1);
}

TEST(limits)
{
    float logits[64] = {0};
    int32_t id = 0;
    struct mr_sampled out;
    struct mr_score_params params = {.logits = logits, .rows = 1, .vocabulary = 64, .n_top = MR_LOGPROBS_MAX, .ids = &id, .out = &out};
    EXPECT_EQ(mr_cpu_score(NULL, &params), MR_OK);
    EXPECT_EQ(out.n_top, MR_LOGPROBS_MAX);
    EXPECT_EQ(out.top_ids[19], 19);
    id = -1;
    EXPECT_EQ(mr_cpu_score(NULL, &params), MR_OK);
    EXPECT(out.id == -1 && out.n_top == 0);
    params.n_top = MR_LOGPROBS_MAX + 1;
    EXPECT_EQ(mr_cpu_score(NULL, &params), MR_ERR_UNSUPPORTED);
}

TEST_MAIN(TEST_CASE(log_softmax_of_given_ids), TEST_CASE(top_is_short_where_little_is_left), TEST_CASE(limits))
