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

/* 2^x by the special function unit: relative error 2^-22, results below 2^-126 become zero. */
static __device__ __forceinline__ float power2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Maximum that subtraction may use: a row with nothing seen yet has -inf, and -inf - -inf is no number. */
static __device__ __forceinline__ float finite(float maximum) { return maximum == -INFINITY ? 0.0f : maximum; }

/* Starts one warp's copy of 16 keys' rows of K and V from the paged cache into its tiles. A lane finds the slot of one key (the
 * one division), the others get it by shuffle. Keys at or past `end` become zeros: no unwritten slot is ever multiplied. */
template <typename T, int D>
static __device__ __forceinline__ void warp_fetch16(const attention_args &a, uint32_t k_to, uint32_t v_to, const int32_t *table, int kv_head,
                                                    int row0, int key0, int end, int lane)
{
    constexpr int CHUNKS = D / 8;
    int key = key0 + lane % 16;
    int64_t slot = -1;
    if (key < end)
        slot = table[key / a.kv.block_tokens] * a.kv.block_stride + kv_head * a.kv.head_stride + key % a.kv.block_tokens * a.kv.token_stride;
#pragma unroll
    for (int i = 0; i < 16 * CHUNKS / 32; i++) {
        int at = i * 32 + lane, row = at / CHUNKS, chunk = at % CHUNKS;
        int64_t from = __shfl_sync(0xffffffffu, slot, row);
        bool valid = from >= 0;
        from = valid ? from + chunk * 8 : 0;
        uint32_t to = tile_offset<D>(row0 + row, chunk);
        copy16(k_to + to, (const T *)a.kv.k + from, valid);
        copy16(v_to + to, (const T *)a.kv.v + from, valid);
    }
}

enum mr_status attention_decode(struct mr_device *device, const attention_args &args);
enum mr_status attention_prefill(struct mr_device *device, const attention_args &args);
enum mr_status attention_wgmma(struct mr_device *device, const attention_args &args);

#endif
