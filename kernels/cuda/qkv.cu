/* One pass over the rows of q|k|v: bias, per-head RMS norm of q and k, rotation, and the write of k and v to their slots.
 *
 * A warp a head, in turns where there are many rows: a lane then keeps the cosines and sines of its pairs for all heads of the token;
 * with few rows the heads of a token are spread over blocks (gridDim.y).
 * Bytes: q read and written, k and v read once and written once to the cache. Rounded where stored; norm and rotation in f32.
 * RoPE: Su et al. 2021 (arXiv 2104.09864); frequencies and scaling come from the host. */
#include "kernels/cuda/device.cuh"

#include <cuda_fp16.h>
#include <cuda_fp8.h>

enum { WARPS = 8, HEAD_DIM_MAX = 256, PAIRS_MAX = HEAD_DIM_MAX / 64 };

struct qkv_args {
    struct mr_qkv_params p;
    struct mr_kv_view kv;
    const int32_t *positions, *slots;
};

template <typename T>
static __device__ __forceinline__ T kv_element(float x, float scale);
template <>
__device__ __forceinline__ bf16 kv_element<bf16>(float x, float)
{
    return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half kv_element<__half>(float x, float)
{
    return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_fp8_e4m3 kv_element<__nv_fp8_e4m3>(float x, float scale)
{
    return __nv_fp8_e4m3(x / scale); /* saturates at 448 */
}

/* Rotates the pairs of one head in shared memory. */
static __device__ __forceinline__ void rotate(float *x, const qkv_args &a, const float *cosine, const float *sine, int lane)
{
    int half = a.p.rope_dim / 2;
#pragma unroll
    for (int i = 0; i < PAIRS_MAX; i++) {
        int pair = lane + 32 * i;
        if (pair < half) {
            int first = a.p.rope == MR_ROPE_HALF ? pair : 2 * pair;
            int second = a.p.rope == MR_ROPE_HALF ? pair + half : 2 * pair + 1;
            float u = x[first], v = x[second];
            x[first] = u * cosine[i] - v * sine[i];
            x[second] = u * sine[i] + v * cosine[i];
        }
    }
    __syncwarp();
}

template <typename KV>
static __global__ void __launch_bounds__(32 * WARPS) qkv_kernel(qkv_args a)
{
    __shared__ float heads[WARPS][HEAD_DIM_MAX];
    next_start();
    previous_wait();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, token = blockIdx.x;
    int d = a.kv.head_dim, n_q = a.p.n_heads, n_kv = a.kv.n_kv_heads, n_all = n_q + 2 * n_kv;
    bf16 *row = (bf16 *)a.p.qkv + (int64_t)token * n_all * d;
    int slot = a.slots[token], block = slot / a.kv.block_tokens, in_block = slot % a.kv.block_tokens;
    float cosine[PAIRS_MAX], sine[PAIRS_MAX];
    if (a.p.rope != MR_ROPE_NONE)
        for (int i = 0; i < PAIRS_MAX; i++)
            if (lane + 32 * i < a.p.rope_dim / 2) {
                sincosf((float)a.positions[token] * a.p.rope_frequency[lane + 32 * i], &sine[i], &cosine[i]);
                cosine[i] *= a.p.rope_magnitude;
                sine[i] *= a.p.rope_magnitude;
            }
    float *x = heads[warp];
    for (int head = blockIdx.y * WARPS + warp; head < n_all; head += WARPS * gridDim.y) {
        bool is_q = head < n_q, is_v = head >= n_q + n_kv;
        float squares = 0;
        for (int i = lane; i < d; i += 32) {
            x[i] = __bfloat162float(row[head * d + i]) + (a.p.bias ? a.p.bias[head * d + i] : 0.0f);
            squares += x[i] * x[i];
        }
        const float *gain = is_q ? a.p.q_gain : a.p.k_gain;
        if (gain && !is_v) {
            float scale = rsqrtf(warp_sum(squares) / d + a.p.norm_epsilon);
            for (int i = lane; i < d; i += 32)
                x[i] *= scale * gain[i];
        }
        __syncwarp();
        if (!is_v && a.p.rope != MR_ROPE_NONE)
            rotate(x, a, cosine, sine, lane);
        if (is_q) {
            for (int i = lane; i < d; i += 32)
                row[head * d + i] = __float2bfloat16_rn(x[i]);
        } else if (slot >= 0) {
            int kv_head = is_v ? head - n_q - n_kv : head - n_q;
            KV *to = (KV *)(is_v ? a.kv.v : a.kv.k) + block * a.kv.block_stride + kv_head * a.kv.head_stride + in_block * a.kv.token_stride;
            for (int i = lane; i < d; i += 32)
                to[i] = kv_element<KV>(x[i], is_v ? a.kv.v_scale : a.kv.k_scale);
        }
        __syncwarp();
    }
}

enum mr_status cuda_qkv(struct mr_device *device, const struct mr_qkv_params *params)
{
    if (device->replaying)
        return MR_OK;
    const struct mr_kv_view *kv = params->kv;
    if (kv->head_dim > HEAD_DIM_MAX || kv->k_dtype != kv->v_dtype || params->rope_dim > kv->head_dim)
        return MR_ERR_UNSUPPORTED;
    qkv_args args = {*params, *kv, device->batch.positions, device->batch.slots};
    int heads = params->n_heads + 2 * kv->n_kv_heads, spread = device->n_tokens < device->n_sm ? (heads + WARPS - 1) / WARPS : 1;
    launch_shape shape = {dim3(device->n_tokens, spread), 32 * WARPS, 0};
    switch (kv->k_dtype) {
    case MR_BF16: return cuda_launch(device, shape, qkv_kernel<bf16>, args);
    case MR_F16: return cuda_launch(device, shape, qkv_kernel<__half>, args);
    case MR_E4M3: return cuda_launch(device, shape, qkv_kernel<__nv_fp8_e4m3>, args);
    default: return MR_ERR_UNSUPPORTED;
    }
}
