/* What the two attention kernels share: arguments, the score's transformation and the running softmax of one row.
 * Online softmax: Milakov and Gimelshein 2018 (arXiv 1805.02867); tiling: Dao 2023 (arXiv 2307.08691). */
#ifndef MR_KERNELS_CUDA_ATTENTION_CUH
#define MR_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/attention_plan.cuh"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/mma.cuh"

struct attention_args {
    struct mr_kv_view kv;
    const bf16 *qkv;
    bf16 *out;
    const int32_t *work, *positions, *seq_start, *seq_length, *block_table;
    float *partial;         /* decode: [item][n_heads][head_dim + 2]: sums, then maximum and denominator */
    float scale_log2;       /* scale * log2(e): scores are kept in powers of two */
    float softcap;          /* of the scaled score, in natural units; 0: none */
    int32_t window, n_heads, group, qkv_stride, table_stride;
};

/* The score in units of log2: scaled, capped. */
static __device__ __forceinline__ float score_log2(float dot, const attention_args &a)
{
    if (a.softcap == 0.0f)
        return dot * a.scale_log2;
    return a.softcap * tanhf(dot * a.scale_log2 * 0.69314718f / a.softcap) * 1.44269504f;
}

/* Maximum that subtraction may use: a row with nothing seen yet has -inf, and -inf - -inf is no number. */
static __device__ __forceinline__ float finite(float maximum) { return maximum == -INFINITY ? 0.0f : maximum; }

enum mr_status attention_decode(struct mr_device *device, const attention_args &args);
enum mr_status attention_prefill(struct mr_device *device, const attention_args &args);

#endif
