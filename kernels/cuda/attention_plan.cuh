/* The host's cut of ragged attention into work items, read by persistent blocks from a fixed buffer.
 *
 * A sequence with one row this step is decoded. By splits: one item a split of SPLIT_TOKENS cached tokens, at absolute positions, so
 * that its sums do not depend on its neighbours or on the grid, and a merge item for a sequence of several splits. Even: one item a
 * sequence, with the place of its first tile in the row of all sequences' tiles; the kernels cut that row into slots.
 * A sequence with more rows is prefilled: one item a tile of PREFILL_TILE rows, of every query head.
 * Layout in ints: {n_decode, n_prefill, n_merge, tiles (0: by splits), slots taken (0 between launches), -, -, -, decode items..., prefill
 * items..., merge items...}. */
#ifndef MR_KERNELS_CUDA_ATTENTION_PLAN_CUH
#define MR_KERNELS_CUDA_ATTENTION_PLAN_CUH

#include "kernels/ops.h"

enum {
    KV_TILE_TOKENS = 16,     /* keys of one tile; a block of the cache holds whole tiles */
    SPLIT_TOKENS = 128,      /* keys of one decode item */
    DECODE_ITEM_INTS = 4,    /* sequence, row, split, splits of the sequence; even: first tile, sequence, row, length */
    PREFILL_ITEM_INTS = 2,   /* sequence, first row of the tile in the sequence */
    MERGE_ITEM_INTS = 3,     /* first decode item, row, splits */
    PREFILL_TILE = 128,      /* rows of one prefill item */
    SLOT_TILES_MIN = 8,      /* of an even cut without small slots */
    SLOT_SMALL_MIN = 4,      /* tiles of a small slot */
    SLOT_LARGE = 12,
    SLOT_PARTS = 16,
    PLAN_CUTS = SLOT_PARTS - SLOT_LARGE + 1, /* slots a warp, in the mean */
    FEW_SEQUENCES = 4,       /* up to here a step is cut by splits in either mode */
    DECODE_ITEMS_MAX = 32768,
    PREFILL_ITEMS_MAX = 8192,
    PLAN_HEADER_INTS = 8,
    PLAN_TAKEN = 4,
    PLAN_INTS_MAX = PLAN_HEADER_INTS + (DECODE_ITEM_INTS + MERGE_ITEM_INTS) * DECODE_ITEMS_MAX + PREFILL_ITEM_INTS * PREFILL_ITEMS_MAX,
};

/* Fills plan and returns its ints; -1: more items than the buffer holds. */
static inline int32_t attention_plan_make(const struct mr_batch *batch, bool even, int32_t *plan)
{
    int32_t n_decode = 0, n_prefill = 0, n_merge = 0, tiles = 0, *at = plan + PLAN_HEADER_INTS;
    for (int32_t s = 0; s < batch->n_seqs; s++) {
        if (batch->seq_start[s + 1] - batch->seq_start[s] != 1)
            continue;
        if (even) {
            if (n_decode++ == DECODE_ITEMS_MAX)
                return -1;
            *at++ = tiles;
            *at++ = s;
            *at++ = batch->seq_start[s];
            *at++ = batch->seq_length[s];
            tiles += (batch->seq_length[s] + KV_TILE_TOKENS - 1) / KV_TILE_TOKENS;
            continue;
        }
        int32_t splits = (batch->seq_length[s] + SPLIT_TOKENS - 1) / SPLIT_TOKENS;
        if (n_decode + splits > DECODE_ITEMS_MAX)
            return -1;
        for (int32_t i = 0; i < splits; i++, n_decode++) {
            *at++ = s;
            *at++ = batch->seq_start[s];
            *at++ = i;
            *at++ = splits;
        }
    }
    for (int32_t s = 0; s < batch->n_seqs; s++) {
        int32_t rows = batch->seq_start[s + 1] - batch->seq_start[s];
        if (rows == 1)
            continue;
        /* longest tiles first: the last rows of a chunk see the most keys */
        for (int32_t first = (rows - 1) / PREFILL_TILE * PREFILL_TILE; first >= 0; first -= PREFILL_TILE, n_prefill++) {
            if (n_prefill == PREFILL_ITEMS_MAX)
                return -1;
            *at++ = s;
            *at++ = first;
        }
    }
    for (const int32_t *item = plan + PLAN_HEADER_INTS, *end = item + n_decode * DECODE_ITEM_INTS; !even && item < end; item += DECODE_ITEM_INTS)
        if (item[2] == 0 && item[3] > 1) {
            *at++ = (int32_t)((item - plan - PLAN_HEADER_INTS) / DECODE_ITEM_INTS);
            *at++ = item[1];
            *at++ = item[3];
            n_merge++;
        }
    plan[0] = n_decode;
    plan[1] = n_prefill;
    plan[2] = n_merge;
    plan[3] = tiles;
    plan[PLAN_TAKEN] = 0;
    return (int32_t)(at - plan);
}

/* The even cut. Each of `first` warps of a kv head has one large slot, of SLOT_LARGE in SLOT_PARTS of what falls to a warp; the rest lies in
 * small slots, for which the warps come as they finish: multiprocessors do not read equally fast. With little work: large ones alone.
 * What slot s has of sequence item i is part s + i: the parts of a sequence are neighbours, and no two have one number. */
struct plan_cut {
    int64_t tiles;
    int first, slots, large, parts;

    __device__ plan_cut(const int32_t *plan, int warps, int n_kv_heads)
    {
        tiles = plan[3];
        first = max(1, min(warps / n_kv_heads, (int)tiles / SLOT_TILES_MIN));
        bool small = tiles >= (int64_t)SLOT_SMALL_MIN * SLOT_PARTS * first;
        large = small ? SLOT_LARGE : 1;
        parts = small ? SLOT_PARTS : 1;
        slots = (parts - large + 1) * first;
    }
    __device__ int begin(int slot) const { return (int)(tiles * min(large * slot, (large - 1) * first + slot) / (parts * first)); }
    __device__ int slot_of(int tile) const
    {
        int part = (int)(((tile + (int64_t)1) * parts * first - 1) / tiles);
        return part < large * first ? part / large : part - (large - 1) * first;
    }
};

#endif
