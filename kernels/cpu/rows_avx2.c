#include "kernels/cpu/rows.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "kernels/cpu/vector_avx2.h"

#include <math.h>

/* Full vectors are loaded and stored plainly: a masked store costs tens of cycles on AMD. */
MR_INLINE __m256 load(const float *p, int32_t left)
{
    return left >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mr_mask_first(left));
}

MR_INLINE void store(float *p, int32_t left, __m256 x)
{
    if (left >= 8)
        _mm256_storeu_ps(p, x);
    else
        _mm256_maskstore_ps(p, mr_mask_first(left), x);
}

/* x += delta, and the sum of squares: lanes i mod 32 in four vectors, added ((0 + 1) + (2 + 3)), then the tree. */
static float add_and_square(const struct mr_norm_row *row)
{
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int32_t i = 0; i < row->n; i += 32) {
        for (int j = 0; j < 4; j++) {
            int32_t left = row->n - i - 8 * j;
            __m256 x = load(row->residual + i + 8 * j, left);
            if (row->delta) {
                x = _mm256_add_ps(x, load(row->delta + i + 8 * j, left));
                store(row->residual + i + 8 * j, left, x);
            }
            sum[j] = _mm256_fmadd_ps(x, x, sum[j]);
        }
    }
    return mr_sum_lanes(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

void mr_norm_row_avx2(const struct mr_norm_row *row)
{
    float squares = add_and_square(row);
    if (!row->out)
        return;
    const __m256 scale = _mm256_set1_ps(1.0f / sqrtf(squares / (float)row->n + row->epsilon)), offset = _mm256_set1_ps(row->gain_offset);
    for (int32_t i = 0; i < row->n; i += 8) {
        __m256 gain = _mm256_add_ps(load(row->gain + i, row->n - i), offset);
        store(row->out + i, row->n - i, _mm256_mul_ps(_mm256_mul_ps(load(row->residual + i, row->n - i), scale), gain));
    }
}

/* gelu_tanh(x) = x / (1 + e^(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3): silu of another exponent. */
MR_INLINE __m256 activate(enum mr_activation activation, __m256 x)
{
    if (activation == MR_RELU)
        return _mm256_max_ps(x, _mm256_setzero_ps());
    __m256 exponent = _mm256_sub_ps(_mm256_setzero_ps(), x);
    if (activation == MR_GELU_TANH) {
        __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f), _mm256_set1_ps(1.0f));
        exponent = _mm256_mul_ps(_mm256_mul_ps(x, cubic), _mm256_set1_ps(-2 * 0.79788456080286536f));
    }
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), mr_exp_avx2(exponent)));
}

MR_INLINE void glu(enum mr_activation activation, const float *gate, const float *up, float *out, int32_t n)
{
    for (int32_t i = 0; i < n; i += 8) {
        __m256 x = activate(activation, load(gate + i, n - i));
        store(out + i, n - i, _mm256_mul_ps(x, load(up + i, n - i)));
    }
}

void mr_glu_row_avx2(enum mr_activation activation, const float *gate, const float *up, float *out, int32_t n)
{
    if (activation == MR_SILU)
        glu(MR_SILU, gate, up, out, n);
    else if (activation == MR_GELU_TANH)
        glu(MR_GELU_TANH, gate, up, out, n);
    else
        glu(MR_RELU, gate, up, out, n);
}

/* x cos - y sin and x sin + y cos, each product rounded once, as in the plain path. */
void mr_rotate_halves_avx2(float *a, float *b, const float *c, const float *s, int32_t n)
{
    for (int32_t i = 0; i < n; i += 8) {
        __m256 x = _mm256_loadu_ps(a + i), y = _mm256_loadu_ps(b + i), cos = _mm256_loadu_ps(c + i), sin = _mm256_loadu_ps(s + i);
        _mm256_storeu_ps(a + i, _mm256_sub_ps(_mm256_mul_ps(x, cos), _mm256_mul_ps(y, sin)));
        _mm256_storeu_ps(b + i, _mm256_add_ps(_mm256_mul_ps(x, sin), _mm256_mul_ps(y, cos)));
    }
}

void mr_rotate_pairs_avx2(float *a, const float *c, const float *s, int32_t n)
{
    for (int32_t i = 0; i < n; i += 4) { /* lanes x0 y0 x1 y1 ...: x cos - y sin, y cos + x sin */
        __m256 cos4 = _mm256_castps128_ps256(_mm_loadu_ps(c + i)), sin4 = _mm256_castps128_ps256(_mm_loadu_ps(s + i));
        const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
        __m256 xy = _mm256_loadu_ps(a + 2 * i), yx = _mm256_permute_ps(xy, 0xb1);
        __m256 cos = _mm256_permutevar8x32_ps(cos4, twice), sin = _mm256_permutevar8x32_ps(sin4, twice);
        _mm256_storeu_ps(a + 2 * i, _mm256_addsub_ps(_mm256_mul_ps(xy, cos), _mm256_mul_ps(yx, sin)));
    }
}

void mr_to_f16_avx2(uint16_t *out, const float *in, int32_t n)
{
    for (int32_t i = 0; i < n; i += 8)
        _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#endif
