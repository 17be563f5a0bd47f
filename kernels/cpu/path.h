/* The kernel paths of the CPU: which code runs, chosen once when a device is opened. One table a path; the op files call what stands in it,
 * so that a path for another processor is its own *_<isa>.c files and a row in path.c, and no caller changes. */
#ifndef MR_KERNELS_CPU_PATH_H
#define MR_KERNELS_CPU_PATH_H

#include "kernels/cpu/rows.h"
#include "kernels/ops.h"

struct mr_attention_block;
struct mr_exact_rows;
struct mr_int8_rows;
struct mr_matmul_tile;
struct mr_sample_loops;

/* Ascending: each is preferred to those before it. MR_CPU_AVX2_SUBNORMAL: the same bits as MR_CPU_AVX2, for processors that multiply subnormal
 * numbers at full speed. */
enum mr_cpu_isa { MR_CPU_PLAIN, MR_CPU_AVX2, MR_CPU_AVX2_SUBNORMAL, MR_CPU_AVX512, MR_CPU_ISAS };

/* NULL where a path has no code of its own: the op's plain code runs. */
struct mr_cpu_path {
    const char *isa;          /* "avx2" */
    const char *exact, *fast; /* the names of its orders of sums, which go into every result */

    /* Products over repacked weights (exact.h, int8.h); NULL, all four: weights stay as they lie in the file. */
    void (*multiply_exact)(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row);
    void (*exact_row)(const struct mr_exact_rows *rows, int32_t r);
    void (*multiply_int8)(const struct mr_matmul_tile *tile, const struct mr_int8_rows *rows, int32_t first_row);
    void (*int8_row)(const struct mr_int8_rows *rows, int32_t r, const float *x);

    /* rows.h */
    void (*norm_row)(const struct mr_norm_row *row);
    void (*glu_row)(enum mr_activation activation, const float *gate, const float *up, float *out, int32_t n); /* not MR_GELU */
    void (*rotate_halves)(float *a, float *b, const float *c, const float *s, int32_t n);
    void (*rotate_pairs)(float *a, const float *c, const float *s, int32_t n);
    void (*to_f16)(uint16_t *out, const float *in, int32_t n);

    /* attention.h */
    bool (*attention_takes)(const struct mr_attention_params *params);
    void (*attention)(const struct mr_attention_block *block);
    void (*attention_merge)(const struct mr_attention_block *block, const float *partials, int64_t stride, int32_t n_tiles);

    const struct mr_sample_loops *sample; /* sample.h */
};

const struct mr_cpu_path *mr_cpu_path(enum mr_cpu_isa isa); /* isa: at most the best */
/* The best this machine has: its processor's word, and its system's that the registers are kept. */
enum mr_cpu_isa mr_cpu_isa_best(void);
/* A test may lower it for the devices opened after. */
void mr_cpu_isa_limit(enum mr_cpu_isa limit);
enum mr_cpu_isa mr_cpu_isa_chosen(void);

#endif
