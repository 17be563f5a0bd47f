/* Rows of the embedding table by token id. One block a token; 16 bytes a thread. */
#include "kernels/cuda/device.cuh"

static __global__ void embed_kernel(const bf16 *table, const int32_t *ids, bf16 *out, int hidden, float scale)
{
    next_start();
    previous_wait();
    const bf16x8 *from = (const bf16x8 *)(table + (int64_t)ids[blockIdx.x] * hidden);
    bf16x8 *to = (bf16x8 *)(out + (int64_t)blockIdx.x * hidden);
    for (int i = threadIdx.x; i < hidden / 8; i += blockDim.x) {
        bf16x8 packed = from[i];
        if (scale != 1.0f) {
            float x[8];
            unpack8(packed, x);
            for (int j = 0; j < 8; j++)
                x[j] *= scale;
            packed = pack8(x);
        }
        to[i] = packed;
    }
}

enum mr_status cuda_embed(struct mr_device *device, const struct mr_embed_params *params)
{
    if (device->replaying)
        return MR_OK;
    if (params->table->k % 8 || params->table->dtype != MR_BF16)
        return MR_ERR_UNSUPPORTED;
    return cuda_launch(device, {dim3(device->n_tokens), 128, 0}, embed_kernel, (const bf16 *)params->table->data, device->batch.ids,
                       (bf16 *)params->out, (int)params->table->k, params->scale);
}
