#include "kv/kv_store.h"

#include "tests/test.h"

#include <stdlib.h>

/* A device that only counts its memory, and may run out of it. */
static int live, left;

static void *count_alloc(struct mr_device *device, size_t bytes)
{
    (void)device;
    if (left-- <= 0)
        return NULL;
    live++;
    return malloc(bytes);
}

static void count_release(struct mr_device *device, void *memory)
{
    (void)device;
    live -= memory != NULL;
    free(memory);
}

static const struct mr_ops counting = {.alloc = count_alloc, .release = count_release};
static const struct mr_kv_store_options shape = {
    .n_layers = 3, .n_kv_heads = 2, .head_dim = 8, .block_tokens = 4, .n_blocks = 5, .k_dtype = MR_F32, .v_dtype = MR_F16};

TEST(layout)
{
    struct mr_kv_store *store;
    struct mr_err err = {0};
    left = 100;
    EXPECT_EQ(mr_kv_block_bytes(&shape), 3 * 2 * 8 * 4 * (4 + 2));
    REQUIRE(mr_kv_store_open(&shape, &counting, NULL, &store, &err) == MR_OK);
    EXPECT_EQ(live, 6);
    for (int l = 0; l < 3; l++) {
        const struct mr_kv_view *view = &store->layers[l];
        EXPECT_EQ(view->token_stride, 8);
        EXPECT_EQ(view->head_stride, 32);
        EXPECT_EQ(view->block_stride, 64);
        EXPECT_NEAR(view->k_scale, 1, 0);
        /* the last element of the last block lies inside: a sanitizer watches */
        int64_t last = 4 * view->block_stride + 1 * view->head_stride + 3 * view->token_stride + 7;
        ((float *)view->k)[last] = 1;
        ((uint16_t *)view->v)[last] = 1;
        EXPECT_EQ(last + 1, 5 * view->block_stride);
    }
    mr_kv_store_close(store);
    EXPECT_EQ(live, 0);
}

TEST(no_memory_leaves_nothing)
{
    struct mr_kv_store *store;
    struct mr_err err = {0};
    for (int n = 0; n < 6; n++) {
        left = n;
        EXPECT_EQ(mr_kv_store_open(&shape, &counting, NULL, &store, &err), MR_ERR_NOMEM);
        EXPECT(!store);
        EXPECT_EQ(live, 0);
    }
}

TEST(what_cannot_be)
{
    struct mr_kv_store *store;
    struct mr_err err = {0};
    left = 100;
    struct mr_kv_store_options o = shape;
    o.n_blocks = 0;
    EXPECT_EQ(mr_kv_store_open(&o, &counting, NULL, &store, &err), MR_ERR_INVALID);
    o = shape;
    o.k_dtype = MR_Q4_0;
    EXPECT_EQ(mr_kv_store_open(&o, &counting, NULL, &store, &err), MR_ERR_INVALID);
    o = shape;
    o.n_blocks = INT32_MAX / 4 + 1; /* one slot past 31 bits */
    EXPECT_EQ(mr_kv_store_open(&o, &counting, NULL, &store, &err), MR_ERR_LIMIT);
    o = shape;
    o.n_blocks = o.block_tokens = o.n_kv_heads = o.head_dim = INT32_MAX;
    EXPECT_EQ(mr_kv_store_open(&o, &counting, NULL, &store, &err), MR_ERR_INVALID);
}

TEST_MAIN(TEST_CASE(layout), TEST_CASE(no_memory_leaves_nothing), TEST_CASE(what_cannot_be))
