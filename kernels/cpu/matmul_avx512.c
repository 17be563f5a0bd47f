/* The exact product in AVX-512: exact_tiles.h over vectors of sixteen. */
#include "kernels/cpu/exact.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#include <immintrin.h>

#define MR_INLINE static inline __attribute__((always_inline))

typedef __m512 vec;

enum { LANES = 16, STRIP_VECTORS = 2 };

MR_INLINE vec vec_set1(float x) { return _mm512_set1_ps(x); }
MR_INLINE vec vec_load(const float *p) { return _mm512_load_ps(p); }
MR_INLINE void vec_store(float *p, vec x) { _mm512_store_ps(p, x); }
MR_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
MR_INLINE vec vec_fmadd(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
MR_INLINE vec vec_half(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p)); }

MR_INLINE vec vec_brain(const uint8_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)p)), 16));
}

MR_INLINE vec vec_masked(const uint8_t *p, uint32_t mask, bool convert)
{
    __m512i words = _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)mask));
    return convert ? _mm512_cvtepi32_ps(words) : _mm512_castsi512_ps(words);
}

#include "kernels/cpu/exact_tiles.h"

void mr_exact_multiply_avx512(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row)
{
    multiply_panels(tile, rows, first_row, form_of(tile->pack->code));
}

#endif
