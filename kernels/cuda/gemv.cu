/* Products with one to four rows: the weight is streamed once at the memory's rate, two output elements a warp.
 *
 * A lane reads 16 bytes (8 weights) of each of two weight rows, UNROLL deep before the first use, so that a block has
 * WARPS x 2 x UNROLL x 512 bytes in flight. The input rows are read through L1: k x 2 bytes, the same for every warp.
 * Sum order: a lane's elements ascending, then butterfly: fixed by k alone, the same for any number of rows.
 * Limit: bytes of the weight over the bandwidth. */
#include "kernels/cuda/device.cuh"

enum { WARPS = 4, ROWS_MAX = 4, UNROLL = 4, OUTPUTS = 2 };

template <int ROWS, typename OUT>
static __global__ void __launch_bounds__(32 * WARPS) gemv_kernel(const bf16 *weight, const bf16 *in, OUT *out, const float *bias, int n, int k)
{
    int lane = threadIdx.x % 32, first = (blockIdx.x * WARPS + threadIdx.x / 32) * OUTPUTS;
    if (first >= n)
        return;
    const bf16 *w[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++)
        w[i] = weight + (int64_t)min(first + i, n - 1) * k;
    float sum[OUTPUTS][ROWS] = {};
    for (int base = lane * 8; base < k; base += 256 * UNROLL) {
        bf16x8 packed[OUTPUTS][UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            for (int i = 0; i < OUTPUTS; i++)
                if (base + u * 256 < k)
                    *(int4 *)&packed[i][u] = __ldcs((const int4 *)(w[i] + base + u * 256)); /* read once: do not keep */
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            int at = base + u * 256;
            if (at >= k)
                break;
            float x[8], y[8];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                unpack8(*(const bf16x8 *)(in + (int64_t)r * k + at), x);
#pragma unroll
                for (int i = 0; i < OUTPUTS; i++) {
                    unpack8(packed[i][u], y);
                    for (int j = 0; j < 8; j++)
                        sum[i][r] = fmaf(x[j], y[j], sum[i][r]);
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < OUTPUTS; i++)
        for (int r = 0; r < ROWS; r++) {
            float total = warp_sum(sum[i][r]);
            if (lane == 0 && first + i < n)
                out[(int64_t)r * n + first + i] = (OUT)(total + (bias ? bias[first + i] : 0.0f));
        }
}

template <int ROWS>
static void launch(struct mr_device *device, const struct mr_matmul_params *p)
{
    int n = (int)p->weight->rows, k = (int)p->weight->k, blocks = (n + WARPS * OUTPUTS - 1) / (WARPS * OUTPUTS);
    if (p->out_f32)
        gemv_kernel<ROWS, float><<<blocks, 32 * WARPS, 0, device->stream>>>(p->weight->data, (const bf16 *)p->in, (float *)p->out, p->bias, n, k);
    else
        gemv_kernel<ROWS, bf16><<<blocks, 32 * WARPS, 0, device->stream>>>(p->weight->data, (const bf16 *)p->in, (bf16 *)p->out, p->bias, n, k);
}

enum mr_status cuda_gemv(struct mr_device *device, const struct mr_matmul_params *p)
{
    if (p->rows > ROWS_MAX || p->weight->k % 8 || device->options.precision == MR_EXACT)
        return MR_ERR_UNSUPPORTED;
    switch (p->rows) {
    case 1: launch<1>(device, p); break;
    case 2: launch<2>(device, p); break;
    case 3: launch<3>(device, p); break;
    default: launch<4>(device, p); break;
    }
    return cuda_launched();
}
