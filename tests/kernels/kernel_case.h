/* What the kernel tests share: random numbers, random blocks of every format, devices, poison. */
#ifndef MR_TESTS_KERNELS_KERNEL_CASE_H
#define MR_TESTS_KERNELS_KERNEL_CASE_H

#include "kernels/cpu/device.h"
#include "kernels/ops.h"
#include "kernels/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t case_state = 0x9e3779b97f4a7c15u;

static inline uint32_t case_random(void) /* splitmix64 */
{
    uint64_t z = case_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

static inline float case_uniform(float low, float high)
{
    return low + (high - low) * (float)(case_random() >> 8) * 0x1p-24f;
}

static inline float *case_floats(size_t n, float low, float high)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 64) / 64 * 64);
    for (size_t i = 0; i < n; i++)
        p[i] = case_uniform(low, high);
    return p;
}

static inline float *case_poison(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 64) / 64 * 64);
    for (size_t i = 0; i < n; i++)
        p[i] = NAN;
    return p;
}

static inline void case_put_half(uint8_t *p, float value)
{
    uint16_t half = mr_f32_to_f16(value);
    memcpy(p, &half, sizeof half);
}

/* rows x k random weights of about unit size; free() it. */
static inline uint8_t *case_weights(enum mr_dtype dtype, int64_t rows, int64_t k)
{
    size_t bytes = (size_t)(rows * mr_dtype_row_bytes(dtype, k));
    uint8_t *data = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)case_random();
    static const struct {
        int d, m; /* where the f16 scale and minimum are; -1: none */
        float d_size;
    } halves[MR_DTYPE_COUNT] = {[MR_Q4_0] = {0, -1, 0.1f},   [MR_Q4_1] = {0, 2, 0.1f},      [MR_Q5_0] = {0, -1, 0.06f},
                                [MR_Q5_1] = {0, 2, 0.06f},   [MR_Q8_0] = {0, -1, 0.008f},   [MR_Q4_K] = {0, 2, 0.002f},
                                [MR_Q5_K] = {0, 2, 0.001f},  [MR_Q6_K] = {208, -1, 0.0004f}};
    if (!mr_quant_is_block(dtype)) {
        for (int64_t i = 0; i < rows * k; i++) {
            float value = case_uniform(-1, 1);
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            uint16_t brain = (uint16_t)(bits >> 16);
            if (dtype == MR_F32)
                memcpy(data + 4 * i, &value, 4);
            else if (dtype == MR_F16)
                case_put_half(data + 2 * i, value);
            else
                memcpy(data + 2 * i, &brain, 2);
        }
        return data;
    }
    for (size_t at = 0; at < bytes; at += (size_t)mr_dtype_block_bytes(dtype)) {
        float sign = case_random() % 2 ? 1 : -1;
        case_put_half(data + at + halves[dtype].d, sign * halves[dtype].d_size * case_uniform(0.5f, 1.5f));
        if (halves[dtype].m >= 0)
            case_put_half(data + at + halves[dtype].m, -sign * halves[dtype].d_size * 7 * case_uniform(0.5f, 1.5f));
    }
    return data;
}

/* Whether this processor has the path: a test that loops over all of them says once what it leaves out. */
static inline bool case_runs(enum mr_cpu_isa isa)
{
    static bool said;
    if (isa <= mr_cpu_isa_best())
        return true;
    if (!said)
        printf("skipped: this processor runs no path above %s\n", mr_cpu_path(mr_cpu_isa_best())->isa);
    said = true;
    return false;
}

#define EACH_PATH(isa) \
    for (enum mr_cpu_isa isa = MR_CPU_PLAIN; isa < MR_CPU_ISAS; isa++) \
        if (case_runs(isa))
/* Without the oracle. */
#define EACH_FAST_PATH(isa) \
    for (enum mr_cpu_isa isa = MR_CPU_PLAIN + 1; isa < MR_CPU_ISAS; isa++) \
        if (case_runs(isa))

static inline struct mr_device *case_device(enum mr_cpu_isa isa, int threads, enum mr_precision precision, int32_t max_tokens)
{
    struct mr_device_options options = {
        .threads = threads, .precision = precision, .max_tokens = max_tokens, .max_seqs = 64, .max_blocks = 4096, .max_row_elements = 8192};
    struct mr_device *device = NULL;
    mr_cpu_isa_limit(isa);
    if (mr_ops_cpu()->open(&options, &device, NULL) != MR_OK)
        abort();
    mr_cpu_isa_limit(MR_CPU_ISAS - 1);
    return device;
}

#endif
