/* The loops of sampling over a whole vocabulary in AVX2. Owns nothing.
 * Invariants:
 * 1. Weights are the integers of mr_sample_weight bit for bit: multiply and add round apart here too.
 * 2. A lane is only ever shut out by a bound; what is left goes through mr_sample_try, as in plain C. So the token is the same.
 * Thread: any. Rejected: logarithms in vectors (other bits than libm's: a near tie would fall otherwise), a vector histogram. */
#include "kernels/cpu/sample.h"

#if defined(__AVX2__)

#include "base/check.h"
#include "kernels/cpu/vector_avx2.h"

enum { GROUP = 32, STEPS = 4 }; /* ids that eight Philox counters serve; values tried in mr_sample_total_avx2 */

static int32_t sample_largest(const float *z, int32_t n)
{
    __m256 largest = _mm256_set1_ps(-INFINITY);
    int32_t i = 0;
    for (; i + 8 <= n; i += 8)
        largest = _mm256_max_ps(_mm256_loadu_ps(z + i), largest); /* a NaN gives the second operand */
    float best = mr_max_lanes(largest);
    for (; i < n; i++)
        best = z[i] > best ? z[i] : best;
    if (!(best > -INFINITY))
        return -1;
    for (i = 0; i + 8 <= n; i += 8) {
        int hit = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(z + i), _mm256_set1_ps(best), _CMP_EQ_OQ));
        if (hit)
            return i + __builtin_ctz((unsigned)hit);
    }
    while (z[i] != best)
        i++;
    return i;
}

/* Four weights from mantissas (32 bits in 64) and exponents n: mr_sample_weight's shifts. */
MR_INLINE __m256i weights_shift(__m128i mantissa, __m128i n)
{
    __m256i m = _mm256_cvtepu32_epi64(mantissa), zero = _mm256_setzero_si256(), one = _mm256_set1_epi64x(1);
    __m256i left = _mm256_add_epi64(_mm256_cvtepi32_epi64(n), _mm256_set1_epi64x(10)), right = _mm256_sub_epi64(zero, left);
    __m256i shrinks = _mm256_cmpgt_epi64(right, zero);
    left = _mm256_andnot_si256(shrinks, left);
    right = _mm256_and_si256(shrinks, right);
    __m256i half = _mm256_sllv_epi64(one, _mm256_sub_epi64(right, one)); /* a count of -1 gives 0 */
    return _mm256_sllv_epi64(_mm256_srlv_epi64(_mm256_add_epi64(m, half), right), left);
}

/* Eight weights of x = (z - largest) / T as two fours; zero where alive is not set. */
MR_INLINE void weights_of(__m256 x, __m256 alive, __m256i *low, __m256i *high)
{
    alive = _mm256_and_ps(alive, _mm256_cmp_ps(x, _mm256_set1_ps(-28.0f), _CMP_GT_OQ));
    x = _mm256_and_ps(x, alive);
    __m256i n = _mm256_cvttps_epi32(_mm256_sub_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _mm256_set1_ps(0.5f)));
    __m256 whole = _mm256_cvtepi32_ps(n);
    __m256 r = _mm256_sub_ps(x, _mm256_mul_ps(whole, _mm256_set1_ps(0.693359375f)));
    r = _mm256_add_ps(r, _mm256_mul_ps(whole, _mm256_set1_ps(2.12194440e-4f)));
    static const float coefficients[] = {8.3333333e-3f, 4.1666667e-2f, 1.6666667e-1f, 0.5f, 1.0f, 1.0f};
    __m256 p = _mm256_set1_ps(1.3888889e-3f);
    for (int i = 0; i < 6; i++)
        p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(coefficients[i]));
    __m256i mantissa = _mm256_cvttps_epi32(_mm256_mul_ps(p, _mm256_set1_ps(1073741824.0f)));
    mantissa = _mm256_and_si256(mantissa, _mm256_castps_si256(alive));
    *low = weights_shift(_mm256_castsi256_si128(mantissa), _mm256_castsi256_si128(n));
    *high = weights_shift(_mm256_extracti128_si256(mantissa, 1), _mm256_extracti128_si256(n, 1));
}

static uint64_t sum_of(__m256i x)
{
    uint64_t lane[4];
    _mm256_storeu_si256((__m256i *)lane, x);
    return lane[0] + lane[1] + lane[2] + lane[3];
}

static const float depth[STEPS] = {1.5f, 3.0f, 5.0f, 8.0f}; /* in units of T below the largest */

static void sample_start(const struct mr_sample_field *f, int32_t k, float *start)
{
    int64_t counts[STEPS] = {0};
    float step[STEPS];
    for (int s = 0; s < STEPS; s++)
        step[s] = fmaxf(f->largest - f->temperature * depth[s], f->floor);
    int32_t i = 0;
    for (; i + 8 <= f->n; i += 8) {
        __m256 z = _mm256_loadu_ps(f->z + i);
        for (int s = 0; s < STEPS; s++)
            counts[s] += __builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(z, _mm256_set1_ps(step[s]), _CMP_GE_OQ)));
    }
    for (; i < f->n; i++)
        for (int s = 0; s < STEPS; s++)
            counts[s] += f->z[i] >= step[s];
    for (int s = STEPS; s-- > 0;)
        if (counts[s] >= k)
            *start = step[s];
}

static int32_t sample_collect(const struct mr_sample_field *f, float start, float *few, int32_t capacity)
{
    int32_t n = 0, i = 0;
    for (; i + 8 <= f->n && n + 8 <= capacity; i += 8) {
        unsigned lanes = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(f->z + i), _mm256_set1_ps(start), _CMP_GE_OQ));
        for (; lanes; lanes &= lanes - 1)
            few[n++] = f->z[i + __builtin_ctz(lanes)];
    }
    for (; i < f->n && n < capacity; i++)
        if (f->z[i] >= start)
            few[n++] = f->z[i];
    return i < f->n ? -1 : n;
}

static uint64_t sample_total(const struct mr_sample_field *f, double share, float *start)
{
    __m256i total = _mm256_setzero_si256(), above[STEPS];
    __m256 step[STEPS];
    uint64_t sum, sums[STEPS];
    for (int s = 0; s < STEPS; s++) {
        above[s] = total;
        step[s] = _mm256_set1_ps(fmaxf(f->largest - f->temperature * depth[s], f->floor));
    }
    int32_t i = 0;
    for (; i + 8 <= f->n; i += 8) {
        __m256 z = _mm256_loadu_ps(f->z + i), x = _mm256_div_ps(_mm256_sub_ps(z, _mm256_set1_ps(f->largest)), _mm256_set1_ps(f->temperature));
        __m256i low, high;
        weights_of(x, _mm256_cmp_ps(z, _mm256_set1_ps(f->floor), _CMP_GE_OQ), &low, &high);
        total = _mm256_add_epi64(total, _mm256_add_epi64(low, high));
        for (int s = 0; s < STEPS; s++) {
            __m256i in = _mm256_castps_si256(_mm256_cmp_ps(z, step[s], _CMP_GE_OQ));
            __m256i in_low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(in)), in_high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(in, 1));
            above[s] = _mm256_add_epi64(above[s], _mm256_add_epi64(_mm256_and_si256(low, in_low), _mm256_and_si256(high, in_high)));
        }
    }
    sum = sum_of(total);
    for (int s = 0; s < STEPS; s++)
        sums[s] = sum_of(above[s]);
    for (; i < f->n; i++) {
        uint64_t weight = f->z[i] >= f->floor ? mr_sample_weight((f->z[i] - f->largest) / f->temperature) : 0;
        sum += weight;
        for (int s = 0; s < STEPS; s++)
            sums[s] += f->z[i] >= _mm256_cvtss_f32(step[s]) ? weight : 0;
    }
    *start = f->floor;
    for (int s = STEPS; s-- > 0;)
        if (sums[s] >= mr_sample_target(sum, share) && sums[s] > 0)
            *start = _mm256_cvtss_f32(step[s]);
    return sum;
}

/* 32-bit lanes times a constant: high and low halves. */
MR_INLINE void multiply(__m256i x, uint32_t by, __m256i *high, __m256i *low)
{
    __m256i m = _mm256_set1_epi64x(by), even = _mm256_mul_epu32(x, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

/* The random words of ids first .. first + 31, in their order. */
MR_INLINE void random_words(const struct mr_sample_row *row, int32_t first, __m256i out[4])
{
    __m256i w0 = _mm256_set1_epi32((int)row->choice), w1 = _mm256_set1_epi32((int)row->position), w3 = _mm256_setzero_si256();
    __m256i w2 = _mm256_add_epi32(_mm256_set1_epi32(first / 4), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    uint32_t k0 = (uint32_t)row->seed, k1 = (uint32_t)(row->seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        __m256i a_high, a_low, b_high, b_low;
        multiply(w0, 0xD2511F53u, &a_high, &a_low);
        multiply(w2, 0xCD9E8D57u, &b_high, &b_low);
        w0 = _mm256_xor_si256(_mm256_xor_si256(b_high, w1), _mm256_set1_epi32((int)k0));
        w2 = _mm256_xor_si256(_mm256_xor_si256(a_high, w3), _mm256_set1_epi32((int)k1));
        w1 = b_low;
        w3 = a_low;
    }
    __m256i t0 = _mm256_unpacklo_epi32(w0, w1), t1 = _mm256_unpackhi_epi32(w0, w1);
    __m256i u0 = _mm256_unpacklo_epi32(w2, w3), u1 = _mm256_unpackhi_epi32(w2, w3);
    __m256i a0 = _mm256_unpacklo_epi64(t0, u0), a1 = _mm256_unpackhi_epi64(t0, u0);
    __m256i a2 = _mm256_unpacklo_epi64(t1, u1), a3 = _mm256_unpackhi_epi64(t1, u1);
    out[0] = _mm256_permute2x128_si256(a0, a1, 0x20);
    out[1] = _mm256_permute2x128_si256(a2, a3, 0x20);
    out[2] = _mm256_permute2x128_si256(a0, a1, 0x31);
    out[3] = _mm256_permute2x128_si256(a2, a3, 0x31);
}

/* At least mr_sample_gumbel: 0.69315 (31 - k), k the exponent of r / 2 as a float (of 0: far below, so the bound is high). */
MR_INLINE __m256 gumbel_bounds(__m256i r)
{
    __m256i k = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(_mm256_srli_epi32(r, 1))), 23);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(31 + 127), k)), _mm256_set1_ps(0.69315f));
}

/* Which of eight ids are in and could win with the bonus. */
MR_INLINE unsigned could_win(const struct mr_sample_field *f, __m256 z, __m256 scaled, __m256 bonus, float best)
{
    __m256 in = _mm256_cmp_ps(z, _mm256_set1_ps(f->floor), _CMP_GE_OQ);
    return (unsigned)_mm256_movemask_ps(_mm256_and_ps(in, _mm256_cmp_ps(_mm256_add_ps(scaled, bonus), _mm256_set1_ps(best), _CMP_GE_OQ)));
}

static void sample_draw(const struct mr_sample_field *f, const struct mr_sample_row *row, struct mr_sample_best *best)
{
    int32_t first = 0;
    for (; first + GROUP <= f->n; first += GROUP) {
        __m256 z[4], scaled[4];
        __m256i random[4];
        unsigned any = 0;
        for (int v = 0; v < 4; v++) {
            z[v] = _mm256_loadu_ps(f->z + first + 8 * v);
            scaled[v] = _mm256_div_ps(z[v], _mm256_set1_ps(f->temperature));
            any |= could_win(f, z[v], scaled[v], _mm256_set1_ps(MR_SAMPLE_GUMBEL_MAX), best->score);
        }
        if (!any)
            continue;
        random_words(row, first, random);
        for (int v = 0; v < 4; v++) {
            unsigned lanes = could_win(f, z[v], scaled[v], gumbel_bounds(random[v]), best->score);
            uint32_t words[8];
            float values[8];
            _mm256_storeu_si256((__m256i *)words, random[v]);
            _mm256_storeu_ps(values, scaled[v]);
            for (; lanes; lanes &= lanes - 1) {
                int lane = __builtin_ctz(lanes);
                mr_sample_try(values[lane], words[lane], first + 8 * v + lane, best);
            }
        }
    }
    mr_sample_draw_range(f, row, first, f->n, best);
}

const struct mr_sample_loops mr_sample_loops_avx2 = {
    .largest = sample_largest, .total = sample_total, .start = sample_start, .collect = sample_collect, .draw = sample_draw};

#endif
