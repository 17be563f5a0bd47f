/* The host's cut of ragged attention into work items, read by persistent blocks from a fixed buffer.
 *
 * A sequence with one row this step is decoded: one item a split of SPLIT_TOKENS cached tokens, at absolute positions, so
 * that its sums do not depend on its neighbours or on the grid. A sequence with more rows is prefilled: one item a tile of
 * PREFILL_TILE rows, of every query head. A decoded sequence of several splits has a merge item too.
 * Layout in ints: {n_decode, n_prefill, n_merge, decode items..., prefill items..., merge items...}. */
#ifndef MR_KERNELS_CUDA_ATTENTION_PLAN_CUH
#define MR_KERNELS_CUDA_ATTENTION_PLAN_CUH

#include "kernels/ops.h"

enum {
    KV_TILE_TOKENS = 16,     /* keys of one tile; a block of the cache holds whole tiles */
    SPLIT_TOKENS = 128,      /* keys of one decode item */
    DECODE_ITEM_INTS = 4,    /* sequence, row, split, splits of the sequence */
    PREFILL_ITEM_INTS = 2,   /* sequence, first row of the tile in the sequence */
    MERGE_ITEM_INTS = 3,     /* first decode item, row, splits */
    PREFILL_TILE = 128,      /* rows of one prefill item */
    DECODE_ITEMS_MAX = 32768,
    PREFILL_ITEMS_MAX = 8192,
    PLAN_HEADER_INTS = 3,
    PLAN_INTS_MAX = PLAN_HEADER_INTS + (DECODE_ITEM_INTS + MERGE_ITEM_INTS) * DECODE_ITEMS_MAX + PREFILL_ITEM_INTS * PREFILL_ITEMS_MAX,
};

/* Fills plan and returns its ints; -1: more items than the buffer holds. */
static inline int32_t attention_plan_make(const struct mr_batch *batch, int32_t *plan)
{
    int32_t n_decode = 0, n_prefill = 0, n_merge = 0, *at = plan + PLAN_HEADER_INTS;
    for (int32_t s = 0; s < batch->n_seqs; s++) {
        if (batch->seq_start[s + 1] - batch->seq_start[s] != 1)
            continue;
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
    for (const int32_t *item = plan + PLAN_HEADER_INTS, *end = item + n_decode * DECODE_ITEM_INTS; item < end; item += DECODE_ITEM_INTS)
        if (item[2] == 0 && item[3] > 1) {
            *at++ = (int32_t)((item - plan - PLAN_HEADER_INTS) / DECODE_ITEM_INTS);
            *at++ = item[1];
            *at++ = item[3];
            n_merge++;
        }
    plan[0] = n_decode;
    plan[1] = n_prefill;
    plan[2] = n_merge;
    return (int32_t)(at - plan);
}

#endif
