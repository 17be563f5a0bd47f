/* Row-wise inner loops in AVX2, beside the plain ones in norm.c, glu.c and qkv.c. A row's bits depend on that row alone; tails run
 * the same instructions under a mask. */
#ifndef MR_KERNELS_CPU_ROWS_H
#define MR_KERNELS_CPU_ROWS_H

#include "kernels/ops.h"

struct mr_norm_row {
    float *residual;    /* [n], updated */
    const float *delta; /* [n] or NULL */
    const float *gain;  /* [n] */
    float *out;         /* [n] or NULL; may be residual */
    float gain_offset, epsilon;
    int32_t n;
};

void mr_norm_row_avx2(const struct mr_norm_row *row);
/* MR_SILU, MR_GELU_TANH and MR_RELU; not MR_GELU. */
void mr_glu_row_avx2(enum mr_activation activation, const float *gate, const float *up, float *out, int32_t n);
/* Rotates pairs (a[i], b[i]), i < n, n a multiple of 8, by the angles of (c[i], s[i]). */
void mr_rotate_halves_avx2(float *a, float *b, const float *c, const float *s, int32_t n);
/* Rotates pairs (a[2 i], a[2 i + 1]), i < n, n a multiple of 8. */
void mr_rotate_pairs_avx2(float *a, const float *c, const float *s, int32_t n);
/* n a multiple of 8. */
void mr_to_f16_avx2(uint16_t *out, const float *in, int32_t n);

#endif
