/* Gated activation: out = act(gate) * up. Reads 4 bytes, writes 2 an element. */
#include "kernels/cuda/device.cuh"

template <int ACTIVATION>
static __device__ __forceinline__ float activate(float x)
{
    if (ACTIVATION == MR_SILU)
        return x / (1.0f + expf(-x));
    if (ACTIVATION == MR_GELU)
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    if (ACTIVATION == MR_GELU_TANH)
        return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    return fmaxf(x, 0.0f);
}

template <int ACTIVATION>
static __global__ void glu_kernel(const bf16 *in, bf16 *out, int n)
{
    next_start();
    previous_wait();
    int i = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (i >= n)
        return;
    float gate[8], up[8], y[8];
    const bf16 *row = in + (int64_t)blockIdx.y * 2 * n;
    unpack8(*(const bf16x8 *)(row + i), gate);
    unpack8(*(const bf16x8 *)(row + n + i), up);
    for (int j = 0; j < 8; j++)
        y[j] = activate<ACTIVATION>(gate[j]) * up[j];
    *(bf16x8 *)(out + (int64_t)blockIdx.y * n + i) = pack8(y);
}

enum mr_status cuda_glu(struct mr_device *device, const struct mr_glu_params *p)
{
    if (device->replaying)
        return MR_OK;
    if (p->n % 8 || p->rows > 65535)
        return MR_ERR_UNSUPPORTED;
    dim3 grid((p->n / 8 + 127) / 128, p->rows);
    const bf16 *in = (const bf16 *)p->in;
    bf16 *out = (bf16 *)p->out;
    auto kernel = p->activation == MR_SILU ? glu_kernel<MR_SILU> : p->activation == MR_GELU ? glu_kernel<MR_GELU>
                : p->activation == MR_GELU_TANH ? glu_kernel<MR_GELU_TANH> : glu_kernel<MR_RELU>;
    return cuda_launch(device, {grid, 128, 0}, kernel, in, out, p->n);
}
