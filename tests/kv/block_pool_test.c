#include "kv/block_pool.h"
#include "tests/test.h"

#include <stdlib.h>

TEST(takes_each_block_once)
{
    struct mr_block_pool pool;
    REQUIRE(mr_block_pool_open(&pool, 5, NULL) == MR_OK);
    for (int32_t i = 0; i < 5; i++)
        EXPECT_EQ(mr_block_pool_take(&pool), i); /* lowest id first */
    EXPECT_EQ(mr_block_pool_take(&pool), -1);
    mr_block_pool_check(&pool);
    mr_block_pool_release(&pool, 3);
    mr_block_pool_release(&pool, 1);
    EXPECT_EQ(mr_block_pool_take(&pool), 1); /* last freed first */
    EXPECT_EQ(mr_block_pool_take(&pool), 3);
    mr_block_pool_close(&pool);
}

TEST(shared_blocks_stay_until_the_last_release)
{
    struct mr_block_pool pool;
    REQUIRE(mr_block_pool_open(&pool, 1, NULL) == MR_OK);
    int32_t block = mr_block_pool_take(&pool);
    mr_block_pool_share(&pool, block);
    mr_block_pool_release(&pool, block);
    EXPECT_EQ(pool.n_free, 0);
    mr_block_pool_check(&pool);
    mr_block_pool_release(&pool, block);
    EXPECT_EQ(pool.n_free, 1);
    mr_block_pool_check(&pool);
    mr_block_pool_close(&pool);
}

TEST(refuses_an_empty_pool)
{
    struct mr_block_pool pool;
    struct mr_err err;
    EXPECT_EQ(mr_block_pool_open(&pool, 0, &err), MR_ERR_INVALID);
}

TEST(random_operations_keep_the_accounts)
{
    enum { N = 37 };
    struct mr_block_pool pool;
    int32_t held[4 * N], references[N] = {0};
    int n_held = 0;
    unsigned seed = 1;
    REQUIRE(mr_block_pool_open(&pool, N, NULL) == MR_OK);
    for (int i = 0; i < 20000; i++) {
        int what = rand_r(&seed) % 3, at = n_held ? rand_r(&seed) % n_held : 0;
        int32_t block = -1;
        if (what == 0 && (block = mr_block_pool_take(&pool)) >= 0) {
            EXPECT_EQ(references[block], 0);
        } else if (what == 1 && n_held && n_held < 4 * N) {
            block = held[at];
            mr_block_pool_share(&pool, block);
        } else if (what == 2 && n_held) {
            references[held[at]]--;
            mr_block_pool_release(&pool, held[at]);
            held[at] = held[--n_held];
        }
        if (block >= 0 && what < 2) {
            if (n_held == 4 * N) {
                mr_block_pool_release(&pool, block);
            } else {
                held[n_held++] = block;
                references[block]++;
                if (rand_r(&seed) % 2)
                    mr_block_pool_name(&pool, block, 1 + (uint64_t)rand_r(&seed) % 50);
            }
        }
        for (int b = 0; b < N && i % 100 == 0; b++)
            EXPECT_EQ(pool.references[b], references[b]);
        mr_block_pool_check(&pool);
    }
    while (n_held)
        mr_block_pool_release(&pool, held[--n_held]);
    EXPECT_EQ(mr_block_pool_available(&pool), N);
    mr_block_pool_close(&pool);
}

TEST(named_blocks_are_found_until_they_are_needed)
{
    struct mr_block_pool pool;
    REQUIRE(mr_block_pool_open(&pool, 3, NULL) == MR_OK);
    int32_t a = mr_block_pool_take(&pool), b = mr_block_pool_take(&pool);
    mr_block_pool_name(&pool, a, 11);
    mr_block_pool_name(&pool, b, 11); /* taken: the first stays */
    EXPECT_EQ(mr_block_pool_find(&pool, 11), a);
    mr_block_pool_name(&pool, b, 12);
    mr_block_pool_release(&pool, b); /* a sequence gives back its last block first */
    mr_block_pool_release(&pool, a);
    EXPECT_EQ(pool.n_idle, 2);
    EXPECT_EQ(mr_block_pool_available(&pool), 3);
    mr_block_pool_share(&pool, a);
    EXPECT_EQ(pool.n_idle, 1);
    mr_block_pool_release(&pool, a);
    EXPECT_EQ(mr_block_pool_take(&pool), 2);
    EXPECT_EQ(mr_block_pool_take(&pool), b); /* idle longest */
    EXPECT_EQ(mr_block_pool_find(&pool, 12), -1);
    EXPECT_EQ(mr_block_pool_find(&pool, 11), a);
    mr_block_pool_check(&pool);
    EXPECT_EQ(mr_block_pool_take(&pool), a);
    EXPECT_EQ(mr_block_pool_find(&pool, 11), -1);
    EXPECT_EQ(mr_block_pool_take(&pool), -1);
    mr_block_pool_check(&pool);
    mr_block_pool_close(&pool);
}

TEST_MAIN(TEST_CASE(takes_each_block_once), TEST_CASE(shared_blocks_stay_until_the_last_release), TEST_CASE(refuses_an_empty_pool),
          TEST_CASE(random_operations_keep_the_accounts), TEST_CASE(named_blocks_are_found_until_they_are_needed))
