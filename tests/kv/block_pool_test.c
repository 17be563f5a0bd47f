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
            }
        }
        for (int b = 0; b < N && i % 100 == 0; b++)
            EXPECT_EQ(pool.references[b], references[b]);
        mr_block_pool_check(&pool);
    }
    while (n_held)
        mr_block_pool_release(&pool, held[--n_held]);
    EXPECT_EQ(pool.n_free, N);
    mr_block_pool_close(&pool);
}

TEST_MAIN(TEST_CASE(takes_each_block_once), TEST_CASE(shared_blocks_stay_until_the_last_release), TEST_CASE(refuses_an_empty_pool),
          TEST_CASE(random_operations_keep_the_accounts))
