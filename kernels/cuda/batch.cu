/* The step's batch on its way to the device: packed into pinned memory, one copy, one small kernel that puts each part at its
 * fixed address. The packed form starts with a header of counts; it is as long as the step needs, not as the maximum. */
#include "kernels/cuda/attention_plan.cuh"
#include "kernels/cuda/device.cuh"

#include <string.h>

enum { HEADER_INTS = 8, N_PARTS = 9 };

struct parts {
    int32_t *to[N_PARTS];
    int32_t n[N_PARTS];      /* ints */
    int32_t from[N_PARTS];   /* offset in the packed form */
    int32_t table_width, table_stride;
};

static __global__ void unpack_kernel(const int32_t *packed, parts p)
{
    int part = blockIdx.y;
    int32_t n = p.n[part];
    const int32_t *from = packed + p.from[part];
    int32_t *to = p.to[part];
    bool table = part == N_PARTS - 1;
    for (int32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        to[table ? (int64_t)(i / p.table_width) * p.table_stride + i % p.table_width : i] = from[i];
}

static enum mr_status part_alloc(int32_t **out, size_t ints, struct mr_err *err)
{
    CUDA_TRY(cudaMalloc(out, ints * sizeof(int32_t)));
    CUDA_TRY(cudaMemset(*out, 0, ints * sizeof(int32_t)));
    return MR_OK;
}

enum mr_status cuda_batch_open(struct mr_device *device, struct mr_err *err)
{
    size_t tokens = (size_t)device->options.max_tokens, seqs = (size_t)device->options.max_seqs, blocks = (size_t)device->options.max_blocks;
    struct cuda_batch *b = &device->batch;
    struct {
        int32_t **to;
        size_t ints;
    } want[] = {{&b->ids, tokens},          {&b->positions, tokens},  {&b->slots, tokens},      {&b->token_seq, tokens},          {&b->seq_start, seqs + 1},
                {&b->seq_length, seqs},     {&b->logit_rows, tokens}, {&b->work, PLAN_INTS_MAX}, {&b->block_table, seqs * blocks}};
    device->staging_ints = HEADER_INTS;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        enum mr_status status = part_alloc(want[i].to, want[i].ints, err);
        if (status)
            return status;
        device->staging_ints += want[i].ints;
    }
    CUDA_TRY(cudaMallocHost(&device->staging, device->staging_ints * sizeof(int32_t)));
    CUDA_TRY(cudaMalloc(&device->staging_device, device->staging_ints * sizeof(int32_t)));
    return MR_OK;
}

void cuda_batch_close(struct mr_device *device)
{
    struct cuda_batch *b = &device->batch;
    int32_t *all[] = {b->ids, b->positions, b->slots, b->token_seq, b->seq_start, b->seq_length, b->logit_rows, b->work, b->block_table};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cudaFree(all[i]);
    cudaFree(device->staging_device);
    cudaFreeHost(device->staging);
}

static void pack(struct mr_device *device, parts *p, int part, int32_t *to, const int32_t *from, int32_t n, int32_t *at)
{
    p->to[part] = to;
    p->n[part] = n;
    p->from[part] = *at;
    if (n > 0)
        memcpy(device->staging + *at, from, (size_t)n * sizeof *from);
    *at += n;
}

enum mr_status cuda_begin(struct mr_device *device, const struct mr_batch *batch)
{
    struct cuda_batch *b = &device->batch;
    int32_t m = batch->n_tokens, s = batch->n_seqs, at = HEADER_INTS, width = 0;
    if (m < 1 || m > device->options.max_tokens || s < 1 || s > device->options.max_seqs || batch->n_logits > m)
        return MR_ERR_INVALID;
    if (batch->block_table_stride > device->options.max_blocks)
        return MR_ERR_LIMIT;
    device->n_tokens = m;
    device->n_seqs = s;
    device->n_logits = batch->n_logits;
    device->longest = 0;
    for (int32_t i = 0; i < s; i++)
        device->longest = batch->seq_length[i] > device->longest ? batch->seq_length[i] : device->longest;
    width = batch->block_table_stride;

    parts p;
    pack(device, &p, 0, b->ids, batch->ids, m, &at);
    pack(device, &p, 1, b->positions, batch->positions, m, &at);
    pack(device, &p, 2, b->slots, batch->slots, m, &at);
    int32_t *token_seq = device->staging + at;
    p.to[3] = b->token_seq, p.n[3] = m, p.from[3] = at, at += m;
    for (int32_t i = 0; i < s; i++)
        for (int32_t row = batch->seq_start[i]; row < batch->seq_start[i + 1]; row++)
            token_seq[row] = i;
    pack(device, &p, 4, b->seq_start, batch->seq_start, s + 1, &at);
    pack(device, &p, 5, b->seq_length, batch->seq_length, s, &at);
    pack(device, &p, 6, b->logit_rows, batch->logit_rows, batch->n_logits, &at);
    p.to[7] = b->work, p.from[7] = at;
    p.n[7] = attention_plan_make(batch, device->staging + at);
    if (p.n[7] < 0)
        return MR_ERR_LIMIT;
    device->plan_decode_items = device->staging[at];
    device->plan_prefill_items = device->staging[at + 1];
    at += p.n[7];
    pack(device, &p, 8, b->block_table, batch->block_table, s * width, &at);
    p.table_width = width > 0 ? width : 1;
    p.table_stride = device->options.max_blocks;
    if (cudaMemcpyAsync(device->staging_device, device->staging, (size_t)at * sizeof(int32_t), cudaMemcpyHostToDevice, device->stream) != cudaSuccess)
        return MR_ERR_IO;
    unpack_kernel<<<dim3((m + 255) / 256 + 1, N_PARTS), 256, 0, device->stream>>>(device->staging_device, p);
    return cuda_launched();
}
