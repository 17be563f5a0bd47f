#include "kernels/cpu/ceiling_avx2.h"

#if defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

int mr_ceiling_read_avx2(const uint8_t *p, size_t bytes)
{
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t i = 0; i < bytes; i += 256) {
        for (int j = 0; j < 8; j++)
            sum[j % 4] = _mm256_xor_si256(sum[j % 4], _mm256_load_si256((const __m256i *)(p + i) + j));
    }
    __m256i all = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    return _mm256_movemask_epi8(all);
}

float mr_ceiling_fma_avx2(int64_t rounds)
{
    __m256 acc[10], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    for (int j = 0; j < 10; j++)
        acc[j] = _mm256_set1_ps((float)j);
    for (int64_t i = 0; i < rounds; i++) {
        for (int j = 0; j < 10; j++)
            acc[j] = _mm256_fmadd_ps(acc[j], a, b);
        __asm__ volatile("" : "+x"(a));
    }
    for (int j = 1; j < 10; j++)
        acc[0] = _mm256_add_ps(acc[0], acc[j]);
    return _mm256_cvtss_f32(acc[0]);
}

int mr_ceiling_int8_avx2(int64_t rounds)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i total[6], a = _mm256_set1_epi8(15), b = _mm256_set1_epi8(-127);
    for (int j = 0; j < 6; j++)
        total[j] = _mm256_setzero_si256();
    for (int64_t i = 0; i < rounds; i++) {
        __m256i sum[6];
        for (int j = 0; j < 6; j++)
            sum[j] = _mm256_setzero_si256();
        for (int step = 0; step < 8; step++) {
            for (int j = 0; j < 6; j++) {
                __asm__("" : "+x"(a)); /* or one product would serve all six */
                sum[j] = _mm256_add_epi16(sum[j], _mm256_maddubs_epi16(a, b));
            }
        }
        for (int j = 0; j < 6; j++) {
            total[j] = _mm256_add_epi32(total[j], _mm256_madd_epi16(sum[j], ones));
        }
    }
    for (int j = 1; j < 6; j++)
        total[0] = _mm256_xor_si256(total[0], total[j]);
    return _mm256_movemask_epi8(total[0]);
}

#else

int mr_ceiling_read_avx2(const uint8_t *p, size_t bytes)
{
    int sum = 0;
    for (size_t i = 0; i < bytes; i += 64)
        sum ^= p[i];
    return sum;
}

float mr_ceiling_fma_avx2(int64_t rounds)
{
    float acc[10] = {0};
    for (int64_t i = 0; i < rounds; i++) {
        for (int j = 0; j < 10; j++)
            acc[j] = acc[j] * 0.999f + 0.001f;
    }
    return acc[0];
}

int mr_ceiling_int8_avx2(int64_t rounds)
{
    return (int)rounds;
}

#endif
