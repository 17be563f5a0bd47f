/* The fast path's product: activations in integers by runs of 32, weights in their codes, integer sums (exact in any order).
 *
 * out[r][j] = bias[j] + chain over blocks b ascending, from 0:
 *     acc = fma((float)sum q_w q_x * d_w, d_x, acc);  then, where the format has minimums, acc = fma(m_w, s_x, acc)
 * with, for each row and run of 32 of x: d_x = max |x| / top, q_x = x / d_x rounded to even, s_x = d_x * sum q_x. A block is the pack's run
 * (32; 16 for Q6_K, whose halves share d_x). All paths give the same bits; matrices of plain floats take the exact product.
 * top is 127, and 32,767 for the head: its rounding would go into the logits undamped, and beside codes of 8 bits 16 cost hardly more. */
#ifndef MR_KERNELS_CPU_INT8_H
#define MR_KERNELS_CPU_INT8_H

#include "kernels/cpu/matmul.h"

enum {
    MR_INT8_RUN = 32,
    MR_INT8_TOP = 127,
    MR_INT8_TOP_WIDE = 32767, /* 128 * 32767 * 32 fits in int32; weights of nibbles do not take it */
};

/* Rows of activations as integers: in the device's workspace, for one product. */
struct mr_int8_rows {
    int8_t *q;      /* [rows][k]; not written where top is the wide one */
    int16_t *wide;  /* [rows][k]: the same, for formats of 8-bit codes */
    float *d, *s;   /* [rows][k / 32] */
    int32_t *sum;   /* [rows][k / 32] */
    int64_t k;      /* a multiple of 32 */
    int32_t top;    /* the largest |q| */
};

/* Bytes of workspace for `elements` = rows * k activations, and where its arrays lie. */
size_t mr_int8_bytes(size_t elements);
struct mr_int8_rows mr_int8_carve(void *workspace, size_t elements, int64_t k, int32_t top);
/* Row r of x into rows; the AVX2 one is the same, faster. */
void mr_int8_row_plain(const struct mr_int8_rows *rows, int32_t r, const float *x);
void mr_int8_row_avx2(const struct mr_int8_rows *rows, int32_t r, const float *x);

/* Row r times a row of a weight as it lies in the file (a block format), without the bias. */
float mr_int8_dot_plain(const struct mr_int8_rows *rows, int32_t r, enum mr_dtype dtype, const void *weight_row);

/* Rows first_row .. first_row + tile->rows - 1 of `rows`. The pack's codes are nibbles or bytes. */
void mr_int8_multiply_avx2(const struct mr_matmul_tile *tile, const struct mr_int8_rows *rows, int32_t first_row);
void mr_int8_multiply_avx512(const struct mr_matmul_tile *tile, const struct mr_int8_rows *rows, int32_t first_row);

#endif
