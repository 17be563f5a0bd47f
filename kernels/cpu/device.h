/* The CPU device from inside: what the op files of this folder share. One op, one file; `ops_cpu.c` makes the table.
 *
 * A param struct's matrices are f32, row-major. Every op forks at most once, and its threads split outputs, never a sum. */
#ifndef MR_KERNELS_CPU_DEVICE_H
#define MR_KERNELS_CPU_DEVICE_H

#include "kernels/cpu/pages.h"
#include "kernels/cpu/path.h"
#include "kernels/ops.h"
#include "kernels/threads.h"

enum {
    MR_CPU_HEAD_DIM_MAX = 512,
    MR_CPU_ROPE_PAIRS_MAX = MR_CPU_HEAD_DIM_MAX / 2,
    MR_CPU_PARTIAL_FLOATS = 1 << 20, /* attention's partial sums; more than that is not split */
};

/* cos and sin of every row's angles, kept from the first layer of a step for the others. */
struct mr_rope_cache {
    float *cos, *sin;        /* [max_tokens][MR_CPU_ROPE_PAIRS_MAX] */
    const float *frequency;  /* of whom; NULL: of nobody */
    float magnitude;
    int32_t pairs;
};

/* Rows row .. row + rows - 1 of a step, all of one sequence. */
struct mr_attention_rows {
    int32_t sequence, row, rows;
};

struct mr_attention_space {
    struct mr_attention_rows *rows; /* [max_tokens] */
    float *partials;                /* [MR_CPU_PARTIAL_FLOATS] */
};

struct mr_device {
    struct mr_device_options options;
    const struct mr_cpu_path *path;
    struct mr_threads *threads;
    struct mr_pages weights; /* repacked */
    struct mr_batch batch;   /* of the step in flight */
    struct mr_rope_cache rope;
    struct mr_attention_space attention;
    float *exact_space;      /* what a product makes of its activations (exact.h), of row_elements */
    void *int8_space;        /* the same of the fast path (int8.h); NULL on the exact path */
    size_t row_elements;
    float *scratch;          /* [n_threads][scratch_floats], 64-byte aligned */
    size_t scratch_floats;
};

static inline float *mr_cpu_scratch(const struct mr_device *device, int thread)
{
    return device->scratch + (size_t)thread * device->scratch_floats;
}

/* Runs fn over rows 0 .. rows - 1 in ranges, on as many threads as their elements are worth. */
void mr_cpu_rows(struct mr_device *device, int32_t rows, int32_t row_elements, void (*fn)(void *context, int32_t first, int32_t end), void *context);

enum mr_status mr_cpu_embed(struct mr_device *device, const struct mr_embed_params *params);
enum mr_status mr_cpu_norm(struct mr_device *device, const struct mr_norm_params *params);
enum mr_status mr_cpu_matmul(struct mr_device *device, const struct mr_matmul_params *params);
enum mr_status mr_cpu_qkv(struct mr_device *device, const struct mr_qkv_params *params);
enum mr_status mr_cpu_attention(struct mr_device *device, const struct mr_attention_params *params);
enum mr_status mr_cpu_glu(struct mr_device *device, const struct mr_glu_params *params);
enum mr_status mr_cpu_gather(struct mr_device *device, const struct mr_gather_params *params);

#endif
