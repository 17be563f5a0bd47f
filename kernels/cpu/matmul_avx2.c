/* The exact product with AVX2 and FMA: exact_tiles.h over vectors of eight. */
#include "kernels/cpu/exact.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "kernels/cpu/vector_avx2.h"

typedef __m256 vec;

enum { LANES = 8, STRIP_VECTORS = 2 };

MR_INLINE vec vec_set1(float x) { return _mm256_set1_ps(x); }
MR_INLINE vec vec_load(const float *p) { return _mm256_load_ps(p); }
MR_INLINE void vec_store(float *p, vec x) { _mm256_store_ps(p, x); }
MR_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
MR_INLINE vec vec_fmadd(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
MR_INLINE vec vec_half(const uint8_t *p) { return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)p)); }

MR_INLINE vec vec_brain(const uint8_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_load_si128((const __m128i *)p)), 16));
}

MR_INLINE vec vec_masked(const uint8_t *p, uint32_t mask, bool convert)
{
    __m256i words = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)p), _mm256_set1_epi32((int)mask));
    return convert ? _mm256_cvtepi32_ps(words) : _mm256_castsi256_ps(words);
}

#include "kernels/cpu/exact_tiles.h"

void mr_exact_multiply_avx2(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row)
{
    multiply_panels(tile, rows, first_row, form_of(tile->pack->code));
}

void mr_exact_multiply_avx2_subnormal(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row)
{
    if (tile->pack->code == MR_PACK_NIBBLES)
        multiply_panels(tile, rows, first_row, NIBBLES_SUBNORMAL);
    else
        mr_exact_multiply_avx2(tile, rows, first_row);
}

void mr_exact_row_avx2(const struct mr_exact_rows *rows, int32_t r)
{
    static const int order[GROUP] = MR_EXACT_ORDER;
    static const float powers[GROUP] = MR_EXACT_POWERS;
    const __m256 power = _mm256_loadu_ps(powers);
    const __m256i from = _mm256_loadu_si256((const __m256i *)order);
    for (int64_t k = 0; k < rows->k; k += MR_EXACT_RUN) {
        int64_t at = r * rows->k + k;
        __m256 x[4];
        for (int j = 0; j < 4; j++) {
            x[j] = _mm256_loadu_ps(rows->x + at + 8 * j);
            _mm256_storeu_ps(rows->scaled + at + 8 * j, _mm256_mul_ps(_mm256_permutevar8x32_ps(x[j], from), power));
        }
        rows->sums[at / MR_EXACT_RUN] = mr_sum_lanes(_mm256_add_ps(_mm256_add_ps(_mm256_add_ps(x[0], x[1]), x[2]), x[3]));
    }
}

#endif
