/* The step's batch on its way to the device: packed into pinned memory, one copy, one small kernel that puts each part at its
 * fixed address. The packed form is as long as the step needs, not as the maximum. A step that will be replayed as a graph is
 * padded to the graph's rows (graph.cu). */
#include "kernels/cuda/attention_plan.cuh"
#include "kernels/cuda/device.cuh"

#include <string.h>

enum { N_PARTS = 8 };

struct parts {
    int32_t *to[N_PARTS];
    int32_t n[N_PARTS];      /* ints */
    int32_t from[N_PARTS];   /* offset in the packed form */
    int32_t table_width, table_stride;
    const struct mr_sampled *chosen; /* of the step before: an id of -1 - r is its row r's */
};

static __global__ void unpack_kernel(const int32_t *packed, parts p)
{
    int part = blockIdx.y;
    int32_t n = p.n[part];
    const int32_t *from = packed + p.from[part];
    int32_t *to = p.to[part];
    bool table = part == N_PARTS - 1;
    for (int32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int32_t value = from[i];
        if (part == 0 && value < 0)
            value = max(p.chosen[-1 - value].id, 0); /* -1: nothing could be chosen; the host ends that run when it hears of it */
        to[table ? (int64_t)(i / p.table_width) * p.table_stride + i % p.table_width : i] = value;
    }
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
    } want[] = {{&b->ids, tokens},        {&b->positions, tokens},   {&b->slots, tokens},
                {&b->seq_start, seqs + 1}, {&b->seq_length, seqs},       {&b->logit_rows, tokens},
                {&b->work, PLAN_INTS_MAX}, {&b->block_table, seqs * blocks}};
    device->staging_ints = 0;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        enum mr_status status = part_alloc(want[i].to, want[i].ints, err);
        if (status)
            return status;
        device->staging_ints += want[i].ints;
    }
    for (int i = 0; i < 2; i++) {
        CUDA_TRY(cudaMallocHost(&device->side[i].staging, device->staging_ints * sizeof(int32_t)));
        CUDA_TRY(cudaEventCreateWithFlags(&device->side[i].done, cudaEventDisableTiming));
    }
    CUDA_TRY(cudaMalloc(&device->staging_device, device->staging_ints * sizeof(int32_t)));
    return MR_OK;
}

void cuda_batch_close(struct mr_device *device)
{
    struct cuda_batch *b = &device->batch;
    int32_t *all[] = {b->ids, b->positions, b->slots, b->seq_start, b->seq_length, b->logit_rows, b->work, b->block_table};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cudaFree(all[i]);
    cudaFree(device->staging_device);
    for (int i = 0; i < 2; i++) {
        cudaFreeHost(device->side[i].staging);
        if (device->side[i].done)
            cudaEventDestroy(device->side[i].done);
    }
}

/* Appends n ints, then padding up to `padded`. */
static void pack(int32_t *staging, parts *p, int part, int32_t *to, const int32_t *from, int32_t n, int32_t padded, int32_t padding)
{
    int32_t at = part ? p->from[part - 1] + p->n[part - 1] : 0;
    p->to[part] = to;
    p->n[part] = padded;
    p->from[part] = at;
    if (n > 0)
        memcpy(staging + at, from, (size_t)n * sizeof *from);
    for (int32_t i = n; i < padded; i++)
        staging[at + i] = padding;
}

static bool batch_fits(const struct mr_device *device, const struct mr_batch *batch)
{
    return batch->n_tokens >= 1 && batch->n_tokens <= device->options.max_tokens && batch->n_seqs >= 1 && batch->n_seqs <= device->options.max_seqs &&
           batch->n_logits <= batch->n_tokens && batch->block_table_stride <= device->options.max_blocks;
}

enum mr_status cuda_begin(struct mr_device *device, const struct mr_batch *batch)
{
    struct cuda_batch *b = &device->batch;
    if (!batch_fits(device, batch))
        return MR_ERR_LIMIT;
    int32_t n = batch->n_tokens, s = batch->n_seqs, m = cuda_graphs_plan(device, batch), extra = m - n,
            width = batch->block_table_width ? batch->block_table_width : batch->block_table_stride;
    device->n_tokens = m;
    device->n_seqs = s + extra;
    device->n_logits = batch->n_logits + extra;

    device->plan_longest = 0;
    for (int32_t i = 0; i < s; i++)
        device->plan_longest = batch->seq_length[i] > device->plan_longest ? batch->seq_length[i] : device->plan_longest;
    int32_t *staging = device->side[device->turn].staging;
    parts p;
    p.chosen = device->sampled;
    pack(staging, &p, 0, b->ids, batch->ids, n, m, 0);
    pack(staging, &p, 1, b->positions, batch->positions, n, m, 0);
    pack(staging, &p, 2, b->slots, batch->slots, n, m, -1);
    pack(staging, &p, 3, b->seq_start, batch->seq_start, s + 1, s + extra + 1, n);
    pack(staging, &p, 4, b->seq_length, batch->seq_length, s, s + extra, 0);
    pack(staging, &p, 5, b->logit_rows, batch->logit_rows, batch->n_logits, batch->n_logits + extra, 0);
    int32_t *plan = staging + p.from[5] + p.n[5], plan_ints;
    device->plan_even = device->options.precision == MR_FAST && device->n_seqs > FEW_SEQUENCES;
    plan_ints = attention_plan_make(batch, device->plan_even, plan);
    if (plan_ints < 0)
        return MR_ERR_LIMIT;
    device->plan_decode_items = plan[0];
    device->plan_prefill_items = plan[1];
    pack(staging, &p, 6, b->work, NULL, 0, 0, 0);
    p.n[6] = plan_ints;
    pack(staging, &p, 7, b->block_table, NULL, 0, 0, 0);
    p.n[7] = s * width;
    for (int32_t i = 0; i < s; i++)
        memcpy(staging + p.from[7] + i * width, batch->block_table + (int64_t)i * batch->block_table_stride, (size_t)width * sizeof(int32_t));
    p.table_width = width > 0 ? width : 1;
    p.table_stride = device->options.max_blocks;
    size_t bytes = (size_t)(p.from[7] + p.n[7]) * sizeof(int32_t);
    if (cudaMemcpyAsync(device->staging_device, staging, bytes, cudaMemcpyHostToDevice, device->stream) != cudaSuccess)
        return MR_ERR_IO;
    int32_t largest = s * width > m ? s * width : m;
    unpack_kernel<<<dim3((largest + 255) / 256 < device->n_sm ? (largest + 255) / 256 : device->n_sm, N_PARTS), 256, 0, device->stream>>>(
        device->staging_device, p);
    return cuda_launched() == MR_OK ? cuda_graphs_begin(device) : MR_ERR_IO;
}
