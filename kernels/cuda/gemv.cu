/* Products with one to four rows: the weight is streamed once at the memory's rate, two output elements a warp.
 *
 * A lane reads 16 bytes (8 weights of bf16, 16 of e4m3) of each of two weight rows, UNROLL deep before the first use, so that a block
 * has WARPS x 2 x UNROLL x 512 bytes in flight. The input rows come through L1: k x 2 bytes, the same for every warp; they stay
 * bf16 beside e4m3 weights too, so this path is more exact than the tensor cores' there.
 * Sum order: a lane's elements ascending, then butterfly: fixed by k alone, the same for any number of rows.
 * Limit: bytes of the weight over the bandwidth. */
#include "kernels/cuda/device.cuh"

#include <cuda_fp16.h>
#include <cuda_fp8.h>

enum { WARPS = 4, ROWS_MAX = 4, UNROLL = 4, OUTPUTS = 2 };

/* The weights of one 16-byte load as floats. */
template <typename W>
struct packed16;

template <>
struct packed16<bf16> {
    enum { N = 8 };
    static __device__ __forceinline__ void unpack(const int4 &from, float out[N]) { unpack8(*(const bf16x8 *)&from, out); }
};

template <>
struct packed16<__nv_fp8_e4m3> {
    enum { N = 16 };
    static __device__ __forceinline__ void unpack(const int4 &from, float out[N])
    {
        const __nv_fp8x2_storage_t *pairs = (const __nv_fp8x2_storage_t *)&from;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float2 two = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(pairs[i], __NV_E4M3)));
            out[2 * i] = two.x;
            out[2 * i + 1] = two.y;
        }
    }
};

struct gemv_args {
    const void *weight, *in;
    void *out;
    const float *bias, *scale; /* scale: of e4m3 rows, else NULL */
    int n, k;
};

template <typename W, int ROWS, typename OUT>
static __global__ void __launch_bounds__(32 * WARPS) gemv_kernel(gemv_args a)
{
    constexpr int N = packed16<W>::N;
    int lane = threadIdx.x % 32, first = (blockIdx.x * WARPS + threadIdx.x / 32) * OUTPUTS;
    if (first >= a.n)
        return;
    const W *w[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++)
        w[i] = (const W *)a.weight + (int64_t)min(first + i, a.n - 1) * a.k;
    float sum[OUTPUTS][ROWS] = {};
    next_start();
    for (int base = lane * N; base < a.k; base += 32 * N * UNROLL) {
        int4 packed[OUTPUTS][UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            for (int i = 0; i < OUTPUTS; i++)
                if (base + u * 32 * N < a.k)
                    packed[i][u] = __ldcs((const int4 *)(w[i] + base + u * 32 * N)); /* read once: do not keep */
        if (base == lane * N)
            previous_wait(); /* the first weights are on their way */
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            int at = base + u * 32 * N;
            if (at >= a.k)
                break;
            float x[N], y[N];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                for (int j = 0; j < N; j += 8)
                    unpack8(*(const bf16x8 *)((const bf16 *)a.in + (int64_t)r * a.k + at + j), x + j);
#pragma unroll
                for (int i = 0; i < OUTPUTS; i++) {
                    packed16<W>::unpack(packed[i][u], y);
                    for (int j = 0; j < N; j++)
                        sum[i][r] = fmaf(x[j], y[j], sum[i][r]);
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < OUTPUTS; i++)
        for (int r = 0; r < ROWS; r++) {
            float total = warp_sum(sum[i][r]);
            if (lane == 0 && first + i < a.n)
                ((OUT *)a.out)[(int64_t)r * a.n + first + i] =
                    (OUT)(total * (a.scale ? a.scale[first + i] : 1.0f) + (a.bias ? a.bias[first + i] : 0.0f));
        }
}

template <typename W, int ROWS>
static enum mr_status launch(struct mr_device *device, const struct mr_matmul_params *p)
{
    gemv_args args = {p->weight->data, p->in, p->out, p->bias, p->weight->scale, (int)p->weight->rows, (int)p->weight->k};
    int blocks = (args.n + WARPS * OUTPUTS - 1) / (WARPS * OUTPUTS);
    return cuda_launch(device, {dim3(blocks), 32 * WARPS, 0}, p->out_f32 ? gemv_kernel<W, ROWS, float> : gemv_kernel<W, ROWS, bf16>, args);
}

template <typename W>
static enum mr_status launch_rows(struct mr_device *device, const struct mr_matmul_params *p)
{
    switch (p->rows) {
    case 1: return launch<W, 1>(device, p);
    case 2: return launch<W, 2>(device, p);
    case 3: return launch<W, 3>(device, p);
    default: return launch<W, 4>(device, p);
    }
}

enum mr_status cuda_gemv(struct mr_device *device, const struct mr_matmul_params *p)
{
    bool small = p->weight->dtype == MR_E4M3;
    if (p->rows > ROWS_MAX || p->weight->k % (small ? 16 : 8) || device->options.precision == MR_EXACT)
        return MR_ERR_UNSUPPORTED;
    return small ? launch_rows<__nv_fp8_e4m3>(device, p) : launch_rows<bf16>(device, p);
}
