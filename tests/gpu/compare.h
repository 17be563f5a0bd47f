/* How a CUDA kernel is judged: against float64, with float32 arithmetic rounded to bf16 at the kernel's stated points as the
 * yardstick. max|x - f64| <= 2 max|ref - f64| + 2 ulp_bf16(max|f64|), and the norm of the error <= 1.5 times ref's. */
#ifndef MR_TESTS_GPU_COMPARE_H
#define MR_TESTS_GPU_COMPARE_H

#include "kernels/dtype.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline float bf16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return x;
    bits = (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, 4);
    return x;
}
static inline uint16_t bf16_bits(float x)
{
    uint32_t bits;
    x = bf16_round(x);
    memcpy(&bits, &x, 4);
    return (uint16_t)(bits >> 16);
}
static inline float bf16_value(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline float e4m3_round(float x)
{
    int exponent;
    float m = frexpf(fabsf(x), &exponent); /* in [0.5, 1): 4 significant bits, subnormals below 2^-6 */
    int shift = exponent < -5 ? 4 - (-5 - exponent) : 4;
    float y = ldexpf(rintf(ldexpf(m, shift)), exponent - shift);
    return copysignf(y > 448 ? 448 : y, x);
}

/* Sign, four bits of exponent with bias 7, three of mantissa. 0x7f and 0xff are NaN. */
static inline float e4m3_value(uint8_t bits)
{
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    float x = (bits & 0x7f) == 0x7f ? NAN : exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    return bits & 0x80 ? -x : x;
}
static inline uint8_t e4m3_bits(float x)
{
    float magnitude = fabsf(e4m3_round(x));
    int exponent = 0;
    if (magnitude >= 0.015625f) { /* normal: from 2^-6 */
        frexpf(magnitude, &exponent);
        exponent += 6;
    }
    int mantissa = (int)(exponent ? ldexpf(magnitude, 10 - exponent) - 8 : ldexpf(magnitude, 9));
    return (uint8_t)((x < 0 ? 0x80 : 0) | exponent << 3 | mantissa);
}

/* Element i of an array of bf16, f16 or e4m3. */
static inline float element_get(enum mr_dtype dtype, const void *array, size_t i)
{
    if (dtype == MR_E4M3)
        return e4m3_value(((const uint8_t *)array)[i]);
    return dtype == MR_F16 ? (float)((const _Float16 *)array)[i] : bf16_value(((const uint16_t *)array)[i]);
}
/* Rounds x into it and returns what is there then. */
static inline float element_put(enum mr_dtype dtype, void *array, size_t i, float x)
{
    if (dtype == MR_E4M3)
        ((uint8_t *)array)[i] = e4m3_bits(x);
    else if (dtype == MR_F16)
        ((_Float16 *)array)[i] = (_Float16)x;
    else
        ((uint16_t *)array)[i] = bf16_bits(x);
    return element_get(dtype, array, i);
}

struct judge {
    double worst, worst_ref, largest, squares, squares_ref;
    bool broken; /* a NaN or an infinity: an element that was not written, or a masked lane that was not zero */
};

static inline void judge_add(struct judge *j, double exact, double ref, double x)
{
    double error = fabs(x - exact), error_ref = fabs(ref - exact);
    if (!isfinite(x))
        j->broken = true;
    j->worst = fmax(j->worst, error);
    j->worst_ref = fmax(j->worst_ref, error_ref);
    j->largest = fmax(j->largest, fabs(exact));
    j->squares += error * error;
    j->squares_ref += error_ref * error_ref;
}

static inline bool judge_ok(const struct judge *j)
{
    double ulp = j->largest > 0 ? ldexp(1, ilogb(j->largest) - 7) : 0;
    return !j->broken && j->worst <= 2 * j->worst_ref + 2 * ulp && sqrt(j->squares) <= 1.5 * sqrt(j->squares_ref) + 1e-30;
}

/* Small deterministic random numbers for inputs. */
static uint64_t random_state = 1;
static inline uint32_t random_bits(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 32);
}
static inline float random_normal(void)
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)random_bits() * 2.3283064e-10f - 0.5f;
    return sum * 1.41421356f;
}

#endif
