/* Attention of one block of rows over one head of keys; kernels/cpu/attention.c cuts the work.
 *
 * The order of sums, the same for every cut: keys go in tiles of 128 at absolute positions. A tile gives, for each query, its largest
 * score m, the sum l of exp(score - m) and the sum a of exp(score - m) v, keys ascending; tiles are merged ascending into
 * (M, L, A): N = max(M, m), L = L exp(M - N) + l exp(m - N), A likewise; the output is A / L (FlashAttention's merge, Dao et al. 2022). */
#ifndef MR_KERNELS_CPU_ATTENTION_H
#define MR_KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/device.h"

enum {
    MR_ATTENTION_TILE = 128,
    MR_ATTENTION_QUERIES = 48,   /* queries (rows x heads of a group) a block has at most */
    MR_ATTENTION_GROUP_MAX = 48,
    /* scores of a tile, its sums, the merged sums */
    MR_ATTENTION_SCRATCH_FLOATS = MR_ATTENTION_QUERIES * (MR_ATTENTION_TILE + 2 * MR_CPU_HEAD_DIM_MAX),
};

/* One unit of work: a block of rows under one KV head, tiles first_tile .. end_tile - 1. */
struct mr_attention_block {
    const struct mr_batch *batch;
    const struct mr_attention_params *params;
    struct mr_attention_rows rows;
    int32_t kv_head;
    int32_t first_tile, end_tile;
    float *scratch;  /* [MR_ATTENTION_SCRATCH_FLOATS], 64-byte aligned */
    float *partial;  /* NULL: write the output; else [queries][2 + head_dim] of the one tile: m, l, a */
};

/* Whether the AVX2 path takes these shapes. */
bool mr_attention_avx2_takes(const struct mr_attention_params *params);
void mr_attention_avx2(const struct mr_attention_block *block);
/* Merges the partials of n_tiles tiles, ascending, `stride` floats apart, into the block's output. */
void mr_attention_merge_avx2(const struct mr_attention_block *block, const float *partials, int64_t stride, int32_t n_tiles);

#endif
