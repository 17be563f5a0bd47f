/* The whole model on the card: the golden outputs in bf16, with FP8 weights and with an FP8 cache; same bits in the deterministic
 * mode, and not in the default one. Needs MILLRACE_TEST_MODEL (tests/model/golden_run.h). */
#include "tests/model/golden_run.h"
#include "tests/model/same_bits_run.h"

static bool kind_open(struct driver_kind *kind)
{
    struct mr_err err = {0};
    kind->ops = mr_ops_cuda(&err);
    if (!kind->ops)
        printf("%s\n", err.text);
    EXPECT(kind->ops);
    return kind->ops;
}

static double perplexity_bf16 = 30.0; /* the reference's limit until the bf16 test has measured it */

TEST(goldens_bf16)
{
    struct driver_kind kind = {NULL, MR_FAST, MR_BF16, MR_BF16};
    struct totals t = {.clear_gap = 0.5};
    if (!kind_open(&kind) || !golden_run(&kind, &t))
        return;
    int well = t.n_errors - TOP_STEPS * 20;
    EXPECT((t.error_sum - t.ill_error_sum) / well <= 0.06);
    EXPECT_EQ(t.n_wrong, 0);
    EXPECT(exp(t.nll) <= 30.0);
    perplexity_bf16 = exp(t.nll);
}

TEST(goldens_exact)
{
    struct driver_kind kind = {NULL, MR_EXACT, MR_BF16, MR_BF16};
    struct totals t = {.clear_gap = 0.5};
    if (!kind_open(&kind) || !golden_run(&kind, &t))
        return;
    EXPECT((t.error_sum - t.ill_error_sum) / (t.n_errors - TOP_STEPS * 20) <= 0.06);
    EXPECT_EQ(t.n_wrong, 0);
    EXPECT(exp(t.nll) <= 30.0);
}

TEST(goldens_fp8_cache)
{
    struct driver_kind kind = {NULL, MR_FAST, MR_BF16, MR_E4M3};
    struct totals t = {.clear_gap = 0.5};
    if (kind_open(&kind) && golden_run(&kind, &t))
        EXPECT(exp(t.nll) <= 30.4);
}

TEST(goldens_fp8)
{
    struct driver_kind kind = {NULL, MR_FAST, MR_E4M3, MR_E4M3};
    struct totals t = {.clear_gap = 0.5};
    if (kind_open(&kind) && golden_run(&kind, &t))
        EXPECT(exp(t.nll) <= 1.05 * perplexity_bf16);
}

/* 64 sequences alone, together, in chunks of 1, 7 and 64, preempted and resumed, across graph buckets. */
static int32_t wrong_rows(enum mr_precision precision, enum mr_dtype weights, enum mr_dtype kv)
{
    struct driver_kind kind = {NULL, precision, weights, kv};
    const char *path = model_path();
    return path && kind_open(&kind) ? same_bits_run(&kind, path, SEQUENCES, LONGEST) : -1;
}

TEST(same_bits)
{
    if (!model_path())
        return;
    EXPECT_EQ(wrong_rows(MR_EXACT, MR_BF16, MR_BF16), 0);
    EXPECT_EQ(wrong_rows(MR_EXACT, MR_BF16, MR_E4M3), 0);
    EXPECT_EQ(wrong_rows(MR_EXACT, MR_E4M3, MR_E4M3), 0);
    int32_t wrong = wrong_rows(MR_FAST, MR_BF16, MR_BF16);
    EXPECT(wrong > 0); /* else the test could not tell */
    printf("default mode: %d rows of logits with other bits\n", wrong);
}

TEST_MAIN(TEST_CASE(goldens_bf16), TEST_CASE(goldens_exact), TEST_CASE(goldens_fp8_cache), TEST_CASE(goldens_fp8), TEST_CASE(same_bits))
