/* The arithmetic of sampling that every device shares (architecture, Sampling), so that equal float32 logits give equal tokens.
 *
 * Of one row, in this order:
 *   1. z = logits; z += logit_bias (-inf bans); ids in history: z = z > 0 ? z / repetition : z * repetition, then
 *      z -= frequency * count, and z -= presence where count > 0 (count: in the output); ids outside the mask: -inf.
 *   2. temperature < MR_SAMPLE_GREEDY_BELOW: the token is the lowest id of the largest z. Otherwise cuts, each a threshold on the value z
 *      (ties at the cut stay): min-p keeps z >= max + T log(min_p); of these top-k keeps z >= the k-th largest;
 *      of these top-p keeps z >= the largest v for which the weights of all z >= v sum to top_p of the whole.
 *      Weights are exp((z - max) / T) in units of 2^-40: integers, so their sums are exact in any order.
 *   3. the token is the lowest id of the largest z / T + g among what is kept; g = -log(-log u), u = 1 - v,
 *      v = (r + 1/2) 2^-32 with r = philox(seed, (choice, position, id / 4, 0)).word[id % 4], cut to v < 1.
 * Step 3 uses the platform's logf and log1pf: a draw within 1e-5 of a tie may differ between devices. All else is exact:
 * multiply and add round separately here (no fused operation), on CUDA too. NaN logits are never chosen.
 * Order as in vLLM (bias, penalties, min-p, top-k, top-p); Gumbel-max as in Maddison et al. 2014, "A* sampling". */
#ifndef MR_KERNELS_SAMPLING_H
#define MR_KERNELS_SAMPLING_H

#include "kernels/philox.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define MR_SAMPLE_GREEDY_BELOW 1e-5f

static inline MR_HOST_DEVICE float mr_mul_rn(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

static inline MR_HOST_DEVICE float mr_add_rn(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

/* Floats as unsigned integers in the same order; -0 counts as 0. Not for NaN. */
static inline MR_HOST_DEVICE uint32_t mr_order_key(float x)
{
    float positive_zero = x + 0.0f;
    uint32_t bits;
    memcpy(&bits, &positive_zero, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* exp(x), x <= 0, in units of 2^-40, rounded: degree-6 polynomial (Taylor on |r| <= ln 2 / 2, relative error 2e-7). */
static inline MR_HOST_DEVICE uint64_t mr_sample_weight(float x)
{
    if (!(x > -28.0f))
        return 0;
    int n = (int)(mr_mul_rn(x, 1.44269504f) - 0.5f);
    float r = mr_add_rn(mr_add_rn(x, -mr_mul_rn((float)n, 0.693359375f)), mr_mul_rn((float)n, 2.12194440e-4f));
    float p = 1.3888889e-3f;
    p = mr_add_rn(mr_mul_rn(p, r), 8.3333333e-3f);
    p = mr_add_rn(mr_mul_rn(p, r), 4.1666667e-2f);
    p = mr_add_rn(mr_mul_rn(p, r), 1.6666667e-1f);
    p = mr_add_rn(mr_mul_rn(p, r), 0.5f);
    p = mr_add_rn(mr_mul_rn(p, r), 1.0f);
    p = mr_add_rn(mr_mul_rn(p, r), 1.0f);
    uint64_t mantissa = (uint64_t)mr_mul_rn(p, 1073741824.0f); /* p in units of 2^-30, exact: p has 24 bits */
    return n >= -10 ? mantissa << (10 + n) : (mantissa + (UINT64_C(1) << (-n - 11))) >> (-n - 10);
}

/* The four random words of ids id4 * 4 .. + 3. */
static inline MR_HOST_DEVICE struct mr_philox mr_sample_random(uint64_t seed, uint32_t choice, uint32_t position, uint32_t id4)
{
    struct mr_philox counter = {{choice, position, id4, 0}};
    return mr_philox4x32(seed, counter);
}

/* -log(-log(1 - v)), v = (r + 1/2) 2^-32. */
static inline MR_HOST_DEVICE float mr_sample_gumbel(uint32_t r)
{
    float v = ((float)r + 0.5f) * 2.3283064365386963e-10f;
    v = v < 0.99999994f ? v : 0.99999994f;
    return -logf(-log1pf(-v));
}

/* An upper bound of mr_sample_gumbel(r) without a logarithm: g <= -log v < 0.6932 (leading zeros of r + 1). */
static inline MR_HOST_DEVICE float mr_sample_gumbel_bound(uint32_t r)
{
#ifdef __CUDA_ARCH__
    int zeros = __clz((int)r);
#else
    int zeros = r ? __builtin_clz(r) : 32;
#endif
    return 0.69315f * (float)(zeros + 1);
}

/* The value cut of min-p, from the row's largest z. */
static inline MR_HOST_DEVICE float mr_sample_min_p_cut(float largest, float temperature, float min_p)
{
    return mr_add_rn(largest, mr_mul_rn(temperature, logf(min_p)));
}

#endif
