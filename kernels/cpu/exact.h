/* The exact path's product: float32 activations times the weights' codes, summed by blocks.
 *
 * out[r][j] = bias[j] + chain over blocks of k ascending, from 0:
 *     y = fma(d_w, s, y);  then, where the pack has minimums, y = fma(m_w, s_x, y)
 * s: the chain fma(code, x, s) from 0 over the block, in the order of the pack's words: of every eight nibbles k = 0 4 1 5 2 6 3 7, else ascending.
 * s_x: the sum of the row's block: eight lanes (k mod 8), ascending, then the tree of mr_sum_lanes. A block is the pack's run, d 1 and the codes
 * the values where they are plain floats. All paths give the same bits: the powers of two that stand between are exact where no sum of a block is
 * below 2^-57 or above 2^38. */
#ifndef MR_KERNELS_CPU_EXACT_H
#define MR_KERNELS_CPU_EXACT_H

#include "kernels/cpu/matmul.h"

enum { MR_EXACT_RUN = 32 /* values that s_x sums */ };

/* Of every eight k of nibbles, in the order of their sum: which it is; how many nibbles up it stands in the word that is read, p (the last three
 * are read two bytes on, so that all lie where a float32 has its mantissa); and what x is multiplied with, 2^(80 - 4 p). */
#define MR_EXACT_ORDER {0, 4, 1, 5, 2, 6, 3, 7}
#define MR_EXACT_PLACES {0, 1, 2, 3, 4, 1, 2, 3}
#define MR_EXACT_POWERS {0x1p80f, 0x1p76f, 0x1p72f, 0x1p68f, 0x1p64f, 0x1p76f, 0x1p72f, 0x1p68f}

/* Whether m is not always 0. */
static inline bool mr_exact_has_minimum(enum mr_pack_scale scale)
{
    return scale == MR_SCALE_F16_LESS8 || scale == MR_SCALE_F16_PAIR || scale == MR_SCALE_F32_PAIR;
}

/* Rows of activations: as they came, and what one product has made of them in the device's workspace. */
struct mr_exact_rows {
    const float *x; /* [rows][k] */
    float *scaled;  /* [rows][k]: for nibbles, in the order of their sum; it and sums are not written where no part of the weight has codes */
    float *sums;    /* [rows][k / 32]: s_x */
    int64_t k;
};

/* Floats of workspace for `elements` = rows * k activations, and where its arrays lie. */
size_t mr_exact_floats(size_t elements);
struct mr_exact_rows mr_exact_carve(float *workspace, size_t elements, const float *x, int64_t k);
/* Row r's scaled values and sums; k a multiple of 32. The AVX2 one is the same, faster. */
void mr_exact_row_plain(const struct mr_exact_rows *rows, int32_t r);
void mr_exact_row_avx2(const struct mr_exact_rows *rows, int32_t r);

/* A row of a weight taken apart. */
struct mr_exact_weights {
    struct mr_pack_form form;
    float *codes, *d, *m; /* [k], [k / 16], [k / 16] */
};

/* w: space for mr_exact_floats(k) floats, which out points into. */
void mr_exact_unpack_plain(enum mr_dtype dtype, const void *weight_row, int64_t k, float *w, struct mr_exact_weights *out);
/* Without the bias. */
float mr_exact_dot_plain(const struct mr_exact_rows *rows, int32_t r, const struct mr_exact_weights *weights);

/* Rows first_row .. first_row + tile->rows - 1 of `rows`. The second is for a processor that multiplies subnormal numbers as fast as others: a
 * nibble alone in a word is one, and needs no conversion. */
void mr_exact_multiply_avx2(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row);
void mr_exact_multiply_avx2_subnormal(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row);
void mr_exact_multiply_avx512(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row);

#endif
