/* Residual add and RMSNorm in one pass over the row: residual += delta; out = residual / rms * (gain + offset).
 *
 * Reads residual and delta once, writes residual and out once: 4 x 2 bytes an element, so bandwidth is the limit.
 * The row stays in registers between the two halves: up to 8 x 4 x 256 = 8,192 columns, 16,384 with 512 threads.
 * Order of the sum: within a thread ascending, lanes by butterfly, warps by butterfly: fixed by n alone. */
#include "kernels/cuda/device.cuh"

template <int CHUNKS>
static __global__ void norm_kernel(bf16 *residual, const bf16 *delta, bf16 *out, const float *gain, float gain_offset, float epsilon, int n)
{
    __shared__ float shared[32];
    next_start();
    previous_wait();
    int64_t row = (int64_t)blockIdx.x * n;
    float x[CHUNKS][8];
    float squares = 0;
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        int i = (c * blockDim.x + threadIdx.x) * 8;
        if (i < n) {
            unpack8(*(const bf16x8 *)(residual + row + i), x[c]);
            if (delta) {
                float d[8];
                unpack8(*(const bf16x8 *)(delta + row + i), d);
                for (int j = 0; j < 8; j++)
                    x[c][j] += d[j];
                bf16x8 sum = pack8(x[c]);
                *(bf16x8 *)(residual + row + i) = sum;
                unpack8(sum, x[c]); /* the norm sees what was stored */
            }
            for (int j = 0; j < 8; j++)
                squares += x[c][j] * x[c][j];
        }
    }
    if (!out)
        return;
    float scale = rsqrtf(block_sum(squares, shared) / n + epsilon);
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
        int i = (c * blockDim.x + threadIdx.x) * 8;
        if (i < n) {
            float y[8];
            for (int j = 0; j < 8; j++)
                y[j] = x[c][j] * scale * (gain[i + j] + gain_offset);
            *(bf16x8 *)(out + row + i) = pack8(y);
        }
    }
}

enum mr_status cuda_norm(struct mr_device *device, const struct mr_norm_params *p)
{
    if (device->replaying)
        return MR_OK;
    if (p->n % 8 || p->n > 16384)
        return MR_ERR_UNSUPPORTED;
    if (p->rows == 0)
        return MR_OK;
    int threads = p->n <= 8192 ? 256 : 512;
    int chunks = (p->n / 8 + threads - 1) / threads;
    bf16 *residual = (bf16 *)p->residual, *out = (bf16 *)p->out;
    const bf16 *delta = (const bf16 *)p->delta;
    auto kernel = chunks == 1 ? norm_kernel<1> : chunks == 2 ? norm_kernel<2> : norm_kernel<4>;
    return cuda_launch(device, {dim3(p->rows), threads, 0}, kernel, residual, delta, out, p->gain, p->gain_offset, p->epsilon, p->n);
}
