/* The wgmma attention kernel under random delays: 1,000 launches give the same bits; without one of its
 * waits, or without a fence and its barrier, they do not. The fence alone makes no difference that this card shows: that is only told. */
#include "tests/gpu/compare.h"
#include "tests/gpu/races.h"
#include "tests/test.h"

#include <cuda_runtime_api.h>

enum { ROWS = 740, HEADS = 4, KV_HEADS = 2, DIM = 128, BLOCK = 16, BLOCKS = 64, LAUNCHES = 1000 };

struct race {
    const struct mr_ops *ops;
    struct mr_device *device;
    struct mr_kv_view view;
    void *qkv, *out;
    uint16_t *first, *again; /* [ROWS][HEADS * DIM] */
};

static void *random_card(const struct race *r, size_t n, enum mr_dtype dtype)
{
    size_t bytes = n * (dtype == MR_E4M3 ? 1 : 2);
    void *bits = malloc(bytes), *card = r->ops->alloc(r->device, bytes);
    for (size_t i = 0; i < n; i++)
        element_put(dtype, bits, i, random_normal());
    cudaMemcpy(card, bits, bytes, cudaMemcpyHostToDevice);
    free(bits);
    return card;
}

static bool race_open(struct race *r, enum mr_dtype kv)
{
    struct mr_err err = {0};
    struct mr_device_options options = {.precision = MR_FAST, .weight_dtype = MR_BF16, .max_tokens = 1024, .max_seqs = 4, .max_blocks = BLOCKS,
                                        .max_row_elements = 4096};
    r->ops = mr_ops_cuda(&err);
    if (!r->ops || r->ops->open(&options, &r->device, &err) != MR_OK)
        printf("%s\n", err.text);
    EXPECT(r->device);
    if (!r->device)
        return false;
    size_t slab = (size_t)BLOCKS * KV_HEADS * BLOCK * DIM, element = kv == MR_E4M3 ? 1 : 2;
    r->view = (struct mr_kv_view){random_card(r, slab, kv), random_card(r, slab, kv), kv, kv, BLOCKS, BLOCK, KV_HEADS, DIM,
                                  (int64_t)KV_HEADS * BLOCK * DIM, (int64_t)BLOCK * DIM, DIM, 1, 1};
    /* what no token has written is NaN: the last block's rows past the chunk's end */
    for (int h = 0; h < KV_HEADS; h++) {
        size_t at = ((size_t)(ROWS / BLOCK) * KV_HEADS + (size_t)h) * BLOCK * DIM + (size_t)(ROWS % BLOCK) * DIM;
        cudaMemset((char *)r->view.v + at * element, 0xff, (size_t)(BLOCK - ROWS % BLOCK) * DIM * element);
    }
    r->qkv = random_card(r, (size_t)1024 * (HEADS + 2 * KV_HEADS) * DIM, MR_BF16);
    r->out = random_card(r, (size_t)ROWS * HEADS * DIM, MR_BF16);
    r->first = malloc((size_t)ROWS * HEADS * DIM * 2);
    r->again = malloc((size_t)ROWS * HEADS * DIM * 2);
    return true;
}

static void race_close(struct race *r)
{
    void *memory[] = {r->view.k, r->view.v, r->qkv, r->out};
    for (int i = 0; i < 4; i++)
        r->ops->release(r->device, memory[i]);
    r->ops->close(r->device);
    free(r->first);
    free(r->again);
}

/* Launches, of LAUNCHES, whose bits are not those of the kernel without delays. */
static int launches_other(enum races_variant variant, enum mr_dtype kv)
{
    struct race r = {0};
    int32_t table[BLOCKS], positions[ROWS], zeros[ROWS] = {0}, starts[2] = {0, ROWS}, length = ROWS, other = 0;
    size_t bytes = (size_t)ROWS * HEADS * DIM * 2;
    if (!race_open(&r, kv))
        return -1;
    for (int i = 0; i < BLOCKS; i++)
        table[i] = i;
    for (int i = 0; i < ROWS; i++)
        positions[i] = i;
    struct mr_batch batch = {.n_tokens = ROWS, .n_seqs = 1, .block_table_stride = BLOCKS, .ids = zeros, .positions = positions,
                             .slots = zeros, .seq_start = starts, .seq_length = &length, .block_table = table,
                             .logit_rows = zeros};
    struct mr_attention_params params = {r.qkv, &r.view, r.out, 0.0883883f, 0, 0, HEADS};
    EXPECT_EQ(r.ops->begin(r.device, &batch), MR_OK);
    EXPECT_EQ(r.ops->attention(r.device, &params), MR_OK);
    EXPECT_EQ(r.ops->download(r.device, r.first, r.out, bytes), MR_OK);
    for (size_t i = 0; i < bytes / 2; i++)
        if (!isfinite(bf16_value(r.first[i]))) {
            EXPECT(!"attention without delays is finite");
            break;
        }
    for (int i = 0; i < LAUNCHES; i++) {
        cudaMemset(r.out, 0xff, bytes);
        EXPECT_EQ(races_attention(r.device, &params, variant), MR_OK);
        EXPECT_EQ(r.ops->download(r.device, r.again, r.out, bytes), MR_OK);
        other += memcmp(r.first, r.again, bytes) != 0;
    }
    race_close(&r);
    return other;
}

TEST(same_bits_under_delays)
{
    EXPECT_EQ(launches_other(RACES_RIGHT, MR_BF16), 0);
    EXPECT_EQ(launches_other(RACES_RIGHT, MR_E4M3), 0);
}

TEST(a_missing_wait_is_seen)
{
    int other = launches_other(RACES_NO_WAIT, MR_BF16), bytes = launches_other(RACES_NO_WAIT, MR_E4M3);
    printf("without the wait for K: %d of %d launches differ; over a cache of bytes %d\n", other, LAUNCHES, bytes);
    EXPECT(other > 0);
    EXPECT(bytes > 0);
}

TEST(a_missing_fence_and_barrier_are_seen)
{
    int other = launches_other(RACES_NO_SYNC, MR_BF16);
    printf("without the fence after the tail is cleared: %d of %d launches differ; ", launches_other(RACES_NO_FENCE, MR_BF16), LAUNCHES);
    printf("without its barrier too: %d\nwithout the fence after bytes are widened: %d\n", other, launches_other(RACES_NO_FENCE, MR_E4M3));
    EXPECT(other > 0);
}

TEST_MAIN(TEST_CASE(same_bits_under_delays), TEST_CASE(a_missing_wait_is_seen), TEST_CASE(a_missing_fence_and_barrier_are_seen))
