/* What the matrix product's inner loops share: exact.h and int8.h, a family a path; kernels/cpu/matmul.c cuts the work. */
#ifndef MR_KERNELS_CPU_MATMUL_H
#define MR_KERNELS_CPU_MATMUL_H

#include "kernels/cpu/pack.h"

enum {
    MR_MATMUL_K_BLOCK = 128,   /* values of k expanded at a time: [128][32] floats stay in the first cache */
    MR_MATMUL_ROW_BLOCK = 192, /* rows that share an expansion */
    MR_MATMUL_AHEAD_BYTES = 4096, /* weights are asked for this far ahead of their use: the processor's own reading ahead ends with a page */
    MR_MATMUL_SCRATCH_FLOATS = (MR_MATMUL_K_BLOCK + MR_MATMUL_ROW_BLOCK) * MR_PACK_OUTPUTS,
};

/* One thread's share: rows x the pack's panels first_panel .. end_panel - 1. */
struct mr_matmul_tile {
    const struct mr_pack *pack;
    float *out;            /* the pack's first output of the first row; rows are out_stride apart */
    const float *bias;     /* of the pack's outputs, or NULL */
    float *scratch;        /* [MR_MATMUL_SCRATCH_FLOATS], 64-byte aligned */
    int64_t out_stride;
    int32_t rows;          /* 1 .. MR_MATMUL_ROW_BLOCK */
    int32_t first_panel, end_panel;
};

/* Asks for the bytes that lie MR_MATMUL_AHEAD_BYTES behind [at, at + bytes); past the last one it is a request for nothing. */
static inline void mr_matmul_read_ahead(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(at + MR_MATMUL_AHEAD_BYTES + i);
}

/* Stores panel p's sums, [rows][MR_PACK_OUTPUTS], times a power of two, with the bias, where the tile's output is. Sums are made in the scratch and
 * copied: rows of a power of two apart in the output would share a few sets of the cache. */
static inline void mr_matmul_store(const struct mr_matmul_tile *tile, int32_t p, const float *sums, float power)
{
    int32_t first = p * MR_PACK_OUTPUTS, left = tile->pack->rows - first, n = left < MR_PACK_OUTPUTS ? left : MR_PACK_OUTPUTS;
    for (int32_t r = 0; r < tile->rows; r++, sums += MR_PACK_OUTPUTS) {
        float *out = tile->out + r * tile->out_stride + first;
        for (int32_t i = 0; i < n; i++)
            out[i] = tile->bias ? sums[i] * power + tile->bias[first + i] : sums[i] * power;
    }
}

#endif
