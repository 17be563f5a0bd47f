#include "tests/test.h"

#include "worker/text/bpe.h"

enum { N_IDS = 64, N_RULES = 200 };
static struct {
    int32_t left, right, product;
} rules[N_RULES];

static uint32_t random_state = 11;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

/* Rule by rule in rank order is not the definition: a merge may open a pair of lower rank. So start over after each. */
static int merge_plainly(int32_t *ids, int n)
{
    for (int rank = 0; rank < N_RULES; rank++)
        for (int i = 0; i + 1 < n; i++) {
            if (ids[i] != rules[rank].left || ids[i + 1] != rules[rank].right)
                continue;
            ids[i] = rules[rank].product;
            memmove(ids + i + 1, ids + i + 2, (size_t)(n - i - 2) * sizeof *ids);
            n--;
            rank = -1;
            break;
        }
    return n;
}

TEST(random_rules_equal_the_definition)
{
    struct mr_bpe bpe;
    struct mr_bpe_scratch scratch = {0};
    for (int round = 0; round < 500; round++) {
        REQUIRE(mr_bpe_init(&bpe, N_RULES));
        for (int r = 0; r < N_RULES; r++) {
            rules[r].left = (int32_t)random_below(N_IDS), rules[r].right = (int32_t)random_below(N_IDS), rules[r].product = (int32_t)random_below(N_IDS);
            mr_bpe_add(&bpe, rules[r].left, rules[r].right, (uint32_t)r, rules[r].product); /* repeated pairs keep their first rank */
        }
        int32_t ids[80];
        int n = (int)random_below(80);
        mr_bpe_clear(&scratch);
        for (int i = 0; i < n; i++)
            EXPECT(mr_bpe_push(&scratch, ids[i] = (int32_t)random_below(N_IDS)));
        EXPECT(mr_bpe_merge(&bpe, &scratch));
        n = merge_plainly(ids, n);
        size_t at = 0;
        for (int i = 0; i < n; i++)
            EXPECT_EQ(mr_bpe_next(&scratch, &at), ids[i]);
        EXPECT_EQ(mr_bpe_next(&scratch, &at), -1);
        mr_bpe_fini(&bpe);
    }
    mr_bpe_scratch_fini(&scratch);
}

TEST_MAIN(TEST_CASE(random_rules_equal_the_definition))
