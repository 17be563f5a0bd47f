/* How a CUDA kernel is judged: against float64, with float32 arithmetic rounded to bf16 at the kernel's stated points as the
 * yardstick. max|x - f64| <= 2 max|ref - f64| + 2 ulp_bf16(max|f64|), and the norm of the error <= 1.5 times ref's. */
#ifndef MR_TESTS_GPU_COMPARE_H
#define MR_TESTS_GPU_COMPARE_H

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
