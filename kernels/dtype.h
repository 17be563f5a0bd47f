/* Element and block formats of weights, activations and KV. Quantised formats are those of GGUF files (ggml's block layouts). */
#ifndef MR_KERNELS_DTYPE_H
#define MR_KERNELS_DTYPE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum mr_dtype {
    MR_F32,
    MR_F16,
    MR_BF16,
    MR_Q4_0, /* 32 weights: f16 scale, 16 bytes of nibbles; w = d (q - 8) */
    MR_Q4_1, /* 32: f16 scale and minimum; w = d q + m */
    MR_Q5_0,
    MR_Q5_1,
    MR_Q8_0, /* 32: f16 scale, 32 int8 */
    MR_Q4_K, /* super-blocks of 256 */
    MR_Q5_K,
    MR_Q6_K,
    MR_E4M3, /* float8, 4 exponent and 3 mantissa bits, no infinity; scales stand beside it */
    MR_DTYPE_COUNT
};

/* "f32", "q4_1", ... */
const char *mr_dtype_name(enum mr_dtype dtype);
/* Elements a block holds (1 for plain formats) and bytes a block takes. */
int mr_dtype_block_elements(enum mr_dtype dtype);
int mr_dtype_block_bytes(enum mr_dtype dtype);
/* Bytes of a row of k elements; -1 when k is negative, no multiple of the block, or the product passes int64. */
int64_t mr_dtype_row_bytes(enum mr_dtype dtype, int64_t k);

#ifdef __cplusplus
}
#endif
#endif
