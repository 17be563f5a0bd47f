/* The stored formats as numbers: every GGUF block format to float32, bit for bit as its definition says.
 *
 * A block is first taken apart into what all formats have in common: integer codes in [-128, 255], and for each run of
 * `MR_QUANT_RUN` = 16 codes a scale d and a minimum m, so that w = d q + m. In every format d q is exact in float32 (at most
 * 11 + 7 + 5 bits), so w rounds once, and a fused multiply-add gives the same bits as ggml's multiply, then add.
 * Any thread. */
#ifndef MR_KERNELS_QUANT_H
#define MR_KERNELS_QUANT_H

#include "kernels/dtype.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_QUANT_RUN = 16, MR_QUANT_BLOCK_MAX = 256 };

/* One block taken apart: n = mr_dtype_block_elements codes, n / 16 scales and minimums. */
struct mr_quant_block {
    int16_t q[MR_QUANT_BLOCK_MAX];
    float d[MR_QUANT_BLOCK_MAX / MR_QUANT_RUN];
    float m[MR_QUANT_BLOCK_MAX / MR_QUANT_RUN]; /* 0 in the formats without one */
};

/* Whether dtype is a block format (Q4_0 ... Q6_K). */
bool mr_quant_is_block(enum mr_dtype dtype);
/* block: mr_dtype_block_bytes(dtype) bytes, any alignment; dtype: a block format. */
void mr_quant_unpack(enum mr_dtype dtype, const void *block, struct mr_quant_block *out);
/* k elements of a row to float32; k a multiple of the block, dtype anything but MR_E4M3. */
void mr_quant_row(enum mr_dtype dtype, const void *row, float *out, int64_t k);

float mr_f16_to_f32(uint16_t half);
uint16_t mr_f32_to_f16(float value); /* to nearest, ties to even; past 65504: infinity */
float mr_bf16_to_f32(uint16_t bits);

#endif
