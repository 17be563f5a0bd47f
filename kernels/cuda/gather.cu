/* The rows whose logits are wanted, packed together. One block a row. */
#include "kernels/cuda/device.cuh"

static __global__ void gather_kernel(const bf16 *in, const int32_t *rows, bf16 *out, int n)
{
    next_start();
    previous_wait();
    const bf16x8 *from = (const bf16x8 *)(in + (int64_t)rows[blockIdx.x] * n);
    bf16x8 *to = (bf16x8 *)(out + (int64_t)blockIdx.x * n);
    for (int i = threadIdx.x; i < n / 8; i += blockDim.x)
        to[i] = from[i];
}

enum mr_status cuda_gather(struct mr_device *device, const struct mr_gather_params *params)
{
    if (device->replaying)
        return MR_OK;
    if (params->n % 8)
        return MR_ERR_UNSUPPORTED;
    if (device->n_logits == 0)
        return MR_OK;
    return cuda_launch(device, {dim3(device->n_logits), 128, 0}, gather_kernel, (const bf16 *)params->in, device->batch.logit_rows,
                       (bf16 *)params->out, params->n);
}
