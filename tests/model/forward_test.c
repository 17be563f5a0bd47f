/* What forward.c refuses and what it leaves alone; its numbers are held by shape_test.c, golden_test.c and same_bits_test.c. */
#include "worker/model/forward.h"

#include "tests/model/driver.h"
#include "tests/test.h"

enum { TOKENS = 8, LOGITS = 4 };
static const int32_t ids[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* A step of n tokens of one sequence whose first n_logits rows give logits. */
static enum mr_status step(struct driver *d, const int32_t *tokens, int32_t n, int32_t n_logits)
{
    static const int32_t counting[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, table[1] = {0};
    int32_t seq_start[2] = {0, n};
    struct mr_batch batch = {
        .n_tokens = n, .n_seqs = 1, .n_logits = n_logits, .block_table_stride = 1, .ids = tokens, .positions = counting, .slots = counting,
        .seq_start = seq_start, .seq_length = &n, .block_table = table, .logit_rows = counting};
    enum mr_status status = mr_model_forward(d->model, d->store, &batch);
    d->ops->finish(d->device);
    return status;
}

TEST(limits)
{
    struct driver d;
    REQUIRE(driver_open(&d, "synthetic:tiny", MR_EXACT, 1, 16, TOKENS, LOGITS));
    EXPECT_EQ(step(&d, ids, TOKENS, LOGITS), MR_OK);
    EXPECT_EQ(step(&d, ids, TOKENS + 1, LOGITS), MR_ERR_LIMIT);
    EXPECT_EQ(step(&d, ids, TOKENS, LOGITS + 1), MR_ERR_LIMIT);
    EXPECT_EQ(step(&d, ids, 0, 0), MR_ERR_LIMIT);
    driver_close(&d);
}

TEST(an_id_outside_the_vocabulary)
{
    struct driver d;
    int32_t bad[2] = {1, 512};
    REQUIRE(driver_open(&d, "synthetic:tiny", MR_EXACT, 1, 16, TOKENS, LOGITS));
    EXPECT_EQ(step(&d, bad, 2, 1), MR_ERR_INVALID);
    bad[1] = -1;
    EXPECT_EQ(step(&d, bad, 2, 1), MR_ERR_INVALID);
    bad[1] = 511;
    EXPECT_EQ(step(&d, bad, 2, 1), MR_OK);
    driver_close(&d);
}

TEST(a_step_without_logits_leaves_the_last_ones)
{
    struct driver d;
    float before[512];
    REQUIRE(driver_open(&d, "synthetic:tiny", MR_EXACT, 1, 16, TOKENS, LOGITS));
    EXPECT_EQ(step(&d, ids, 3, 1), MR_OK);
    memcpy(before, mr_model_logits(d.model), sizeof before);
    EXPECT_EQ(step(&d, ids + 3, 3, 0), MR_OK);
    EXPECT(memcmp(before, mr_model_logits(d.model), sizeof before) == 0);
    driver_close(&d);
}

TEST_MAIN(TEST_CASE(limits), TEST_CASE(an_id_outside_the_vocabulary), TEST_CASE(a_step_without_logits_leaves_the_last_ones))
