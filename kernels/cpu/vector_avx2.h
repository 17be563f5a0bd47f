/* Small AVX2 pieces: exp, sums in one fixed order, tails under a mask. Included by *_avx2.c files only. */
#ifndef MR_KERNELS_CPU_VECTOR_AVX2_H
#define MR_KERNELS_CPU_VECTOR_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#define MR_INLINE static inline __attribute__((always_inline))

/* Lanes 0 .. n - 1 set; n below 0 counts as 0, above 8 as 8. */
MR_INLINE __m256i mr_mask_first(int32_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* ((l0 + l1) + (l2 + l3)) + ((l4 + l5) + (l6 + l7)): the tree of a sum over lanes. */
MR_INLINE float mr_sum_lanes(__m256 x)
{
    __m256 pairs = _mm256_hadd_ps(x, x), quads = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
}

/* Four sums at once, each ((l0 + l2) + (l1 + l3)) + ((l4 + l6) + (l5 + l7)). */
MR_INLINE __m128 mr_sum_lanes_of_4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)); /* a02 b02 a13 b13 */
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 quads = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
}

MR_INLINE float mr_max_lanes(__m256 x)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* e^x to 1.2e-7 relative: 2^n times a polynomial in x - n ln 2 (Cody and Waite's reduction; coefficients of Moshier's Cephes expf).
 * x above 88.3 counts as 88.3; below -87 (and -inf): exactly 0. */
MR_INLINE __m256 mr_exp_avx2(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f), lowest = _mm256_set1_ps(-87.0f);
    __m256 alive = _mm256_cmp_ps(x, lowest, _CMP_GT_OQ);
    x = _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(88.3f)), lowest);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), one);
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(power)), alive);
}

#endif
