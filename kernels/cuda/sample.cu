/* Logits to tokens by the one formula of kernels/sampling.h, one block a row, without a sort.
 *
 * The rows' parameters and lists are packed into one pinned buffer (of two: device.cuh) and copied once a step. A block edits its row into scratch
 * (bias, penalties, mask) only when asked to, finds the largest, narrows by three histogram passes over the ordered value
 * (counts or fixed-point weights: integers, so the order of the atomics does not matter), draws, and scores. Rows are read
 * from L2 after the first pass. Thread: the engine's. */
#include "kernels/cuda/device.cuh"
#include "kernels/sampling.h"

#include <string.h>

enum { THREADS = 512, DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, LIST_BYTES = 16 << 20 };

/* A row as the device reads it; offsets are bytes into the packed buffer, 0: none. */
struct device_row {
    struct mr_sample_row row;
    uint32_t bias_ids, bias_values, mask, history_ids, history_counts;
};

struct best {
    float value;
    int32_t id;
};

static __device__ __forceinline__ best better(best a, best b)
{
    bool take_b = b.id >= 0 && (a.id < 0 || b.value > a.value || (b.value == a.value && b.id < a.id));
    return take_b ? b : a;
}

/* The best of all threads, the same for all. */
static __device__ best block_best(best mine, best *shared)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        best other = {__shfl_xor_sync(0xffffffffu, mine.value, step), __shfl_xor_sync(0xffffffffu, mine.id, step)};
        mine = better(mine, other);
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = mine;
    __syncthreads();
    best all = shared[0];
    for (int i = 1; i < THREADS / 32; i++)
        all = better(all, shared[i]);
    return all;
}

static __device__ void row_edit(const float *logits, float *z, int32_t n, const device_row &r, const unsigned char *lists)
{
    const int32_t *bias_ids = (const int32_t *)(lists + r.bias_ids), *history_ids = (const int32_t *)(lists + r.history_ids);
    const int32_t *counts = (const int32_t *)(lists + r.history_counts);
    const float *bias_values = (const float *)(lists + r.bias_values);
    const uint32_t *mask = r.mask ? (const uint32_t *)(lists + r.mask) : NULL;
    for (int32_t i = threadIdx.x; i < n; i += THREADS)
        z[i] = logits[i];
    __syncthreads();
    if (threadIdx.x == 0) /* ids may repeat: one thread keeps the oracle's order */
        for (int32_t i = 0; i < r.row.n_bias; i++)
            if (bias_ids[i] >= 0 && bias_ids[i] < n)
                z[bias_ids[i]] = mr_add_rn(z[bias_ids[i]], bias_values[i]);
    __syncthreads();
    bool penalties = r.row.repetition_penalty != 1 || r.row.frequency_penalty != 0 || r.row.presence_penalty != 0;
    for (int32_t i = threadIdx.x; penalties && i < r.row.n_history; i += THREADS) {
        int32_t id = history_ids[i], count = counts[i];
        if (id < 0 || id >= n)
            continue;
        float x = z[id];
        x = x > 0 ? __fdiv_rn(x, r.row.repetition_penalty) : mr_mul_rn(x, r.row.repetition_penalty);
        x = mr_add_rn(x, -mr_mul_rn(r.row.frequency_penalty, (float)count));
        z[id] = mr_add_rn(x, -(count > 0 ? r.row.presence_penalty : 0.0f));
    }
    __syncthreads();
    for (int32_t i = threadIdx.x; mask && i < n; i += THREADS)
        if (!(mask[i / 32] >> (i % 32) & 1))
            z[i] = -INFINITY;
    __syncthreads();
}

struct field {
    const float *z;
    int32_t n;
    float largest, temperature;
    uint32_t floor;
};

/* The largest ordered value v for which ids with z >= v meet the demand (kernels/cpu/sample.c, field_cut). */
static __device__ uint32_t field_cut(const field &f, bool weighted, uint64_t target, double share, unsigned long long *histogram, uint32_t *result)
{
    uint32_t prefix = 0;
    int above = 32;
    for (int pass = 0; pass < 3; pass++) {
        int shift = pass < 2 ? 32 - DIGIT_BITS * (pass + 1) : 0, bits = above - shift;
        for (int i = threadIdx.x; i < DIGITS; i += THREADS)
            histogram[i] = 0;
        __syncthreads();
        for (int32_t i = threadIdx.x; i < f.n; i += THREADS) {
            float z = f.z[i];
            if (!(z > -INFINITY))
                continue;
            uint32_t key = mr_order_key(z);
            if (key < f.floor || (above < 32 && key >> above != prefix))
                continue;
            uint64_t weight = weighted ? mr_sample_weight(__fdiv_rn(mr_add_rn(z, -f.largest), f.temperature)) : 1;
            if (weight)
                atomicAdd(&histogram[key >> shift & ((1u << bits) - 1)], (unsigned long long)weight);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            uint64_t total = 0, want = target;
            for (int i = 0; i < 1 << bits; i++)
                total += histogram[i];
            if (pass == 0 && weighted)
                want = (uint64_t)(share * (double)total);
            want = want ? want : 1;
            uint32_t digit = (1u << bits) - 1;
            result[1] = want > total;
            for (; want <= total && histogram[digit] < want; digit--)
                want -= histogram[digit];
            result[0] = prefix << bits | digit;
            histogram[DIGITS] = want;
        }
        __syncthreads();
        if (result[1])
            return f.floor;
        prefix = result[0];
        target = histogram[DIGITS];
        above = shift;
        __syncthreads();
    }
    return prefix;
}

static __device__ int32_t field_draw(const field &f, const struct mr_sample_row &row, best *shared)
{
    best mine = {-INFINITY, -1};
    for (int32_t id4 = threadIdx.x; id4 * 4 < f.n; id4 += THREADS) {
        struct mr_philox random;
        bool drawn = false;
        for (int32_t id = id4 * 4; id < id4 * 4 + 4 && id < f.n; id++) {
            float z = f.z[id];
            if (!(z > -INFINITY) || mr_order_key(z) < f.floor)
                continue;
            float scaled = __fdiv_rn(z, f.temperature);
            if (mine.id >= 0 && scaled + 0.69315f * 33 < mine.value)
                continue;
            if (!drawn)
                random = mr_sample_random(row.seed, row.choice, row.position, (uint32_t)id4), drawn = true;
            best candidate = {scaled + mr_sample_gumbel(random.word[id & 3]), id};
            mine = better(mine, candidate);
        }
    }
    return block_best(mine, shared).id;
}

/* Log probabilities of out->id and of the n_top likeliest, by the raw logits. */
static __device__ void row_score(const float *logits, int32_t n, int32_t n_top, struct mr_sampled *out, best *shared, float *sums)
{
    best mine = {-INFINITY, -1};
    for (int32_t i = threadIdx.x; i < n; i += THREADS)
        if (logits[i] > mine.value)
            mine.value = logits[i], mine.id = i;
    best top = block_best(mine, shared);
    float sum = 0;
    for (int32_t i = threadIdx.x; i < n; i += THREADS)
        sum += expf(logits[i] - top.value);
    __syncthreads();
    float log_sum = logf(block_sum(sum, sums));
    if (threadIdx.x == 0) {
        out->logprob = out->id < 0 ? 0.0f : logits[out->id] - top.value - log_sum;
        out->n_top = n_top;
    }
    best last = {INFINITY, -1};
    for (int32_t t = 0; t < n_top; t++) {
        mine.value = -INFINITY, mine.id = -1;
        for (int32_t i = threadIdx.x; i < n; i += THREADS)
            if (logits[i] > mine.value && (logits[i] < last.value || (logits[i] == last.value && i > last.id)))
                mine.value = logits[i], mine.id = i;
        last = block_best(mine, shared);
        if (threadIdx.x == 0 && last.id < 0 && out->n_top > t)
            out->n_top = t;
        if (threadIdx.x == 0 && last.id >= 0) {
            out->top_ids[t] = last.id;
            out->top_logprobs[t] = last.value - top.value - log_sum;
        }
    }
}

static __global__ void __launch_bounds__(THREADS)
    sample_kernel(const float *logits, float *scratch, int32_t n, const unsigned char *lists, struct mr_sampled *out)
{
    __shared__ unsigned long long histogram[DIGITS + 1];
    __shared__ best shared[THREADS / 32];
    __shared__ float sums[32];
    __shared__ uint32_t result[2];
    const device_row &r = ((const device_row *)lists)[blockIdx.x];
    const struct mr_sample_row &row = r.row;
    const float *raw = logits + (int64_t)blockIdx.x * n, *z = raw;
    bool penalties = row.n_history > 0 && (row.repetition_penalty != 1 || row.frequency_penalty != 0 || row.presence_penalty != 0);
    if (row.n_bias > 0 || r.mask || penalties) {
        row_edit(raw, scratch + (int64_t)blockIdx.x * n, n, r, lists);
        z = scratch + (int64_t)blockIdx.x * n;
    }
    best mine = {-INFINITY, -1};
    for (int32_t i = threadIdx.x; i < n; i += THREADS)
        if (z[i] > mine.value)
            mine.value = z[i], mine.id = i;
    best top = block_best(mine, shared);
    int32_t id = top.id;
    if (row.temperature >= MR_SAMPLE_GREEDY_BELOW && id >= 0) {
        field f = {z, n, top.value, row.temperature, 0};
        if (row.min_p > 0)
            f.floor = min(mr_order_key(mr_sample_min_p_cut(top.value, row.temperature, row.min_p)), mr_order_key(top.value));
        if (row.top_k > 0 && row.top_k < n)
            f.floor = field_cut(f, false, (uint64_t)row.top_k, 0, histogram, result);
        if (row.top_p < 1)
            f.floor = field_cut(f, true, 0, row.top_p, histogram, result);
        id = field_draw(f, row, shared);
    }
    struct mr_sampled *mine_out = out + blockIdx.x;
    if (threadIdx.x == 0) {
        mine_out->id = id;
        mine_out->logprob = 0;
        mine_out->n_top = 0;
    }
    __syncthreads();
    if (row.n_logprobs >= 0)
        row_score(raw, n, row.n_logprobs, mine_out, shared, sums);
}

static __global__ void __launch_bounds__(THREADS)
    score_kernel(const float *logits, int32_t n, int32_t n_top, const int32_t *ids, struct mr_sampled *out)
{
    __shared__ best shared[THREADS / 32];
    __shared__ float sums[32];
    if (threadIdx.x == 0)
        out[blockIdx.x].id = ids[blockIdx.x];
    __syncthreads();
    row_score(logits + (int64_t)blockIdx.x * n, n, n_top, out + blockIdx.x, shared, sums);
}

enum mr_status cuda_sample_open(struct mr_device *device, struct mr_err *err)
{
    size_t rows = (size_t)device->options.max_tokens;
    device->sample_bytes = rows * sizeof(device_row) + LIST_BYTES;
    CUDA_TRY(cudaMalloc(&device->sample_rows, device->sample_bytes));
    CUDA_TRY(cudaMalloc(&device->sampled, rows * sizeof(struct mr_sampled)));
    CUDA_TRY(cudaMemset(device->sampled, 0, rows * sizeof(struct mr_sampled)));
    for (int i = 0; i < 2; i++) {
        CUDA_TRY(cudaMallocHost(&device->side[i].sample_rows, device->sample_bytes));
        CUDA_TRY(cudaMallocHost(&device->side[i].sampled, rows * sizeof(struct mr_sampled)));
    }
    return MR_OK;
}

void cuda_sample_close(struct mr_device *device)
{
    cudaFree(device->sample_rows);
    cudaFree(device->sampled);
    for (int i = 0; i < 2; i++) {
        cudaFreeHost(device->side[i].sample_rows);
        cudaFreeHost(device->side[i].sampled);
    }
}

/* Appends bytes to the packed lists; the offset, or 0 when there are none; *at past the end when they do not fit. */
static uint32_t list_add(struct mr_device *device, const void *bytes, size_t n, size_t *at)
{
    if (!bytes || n == 0)
        return 0;
    size_t from = *at;
    *at += (n + 15) / 16 * 16;
    if (*at <= device->sample_bytes)
        memcpy((unsigned char *)device->side[device->turn].sample_rows + from, bytes, n);
    return (uint32_t)from;
}

static void side_give(struct cuda_side *side)
{
    if (side->out)
        memcpy(side->out, side->sampled, (size_t)side->n_out * sizeof *side->out);
    side->out = NULL;
}

/* Hands over what an earlier call left; after it the pinned buffers are free again. */
enum mr_status cuda_sample_finish(struct mr_device *device)
{
    if (cudaStreamSynchronize(device->stream) != cudaSuccess)
        return MR_ERR_IO;
    side_give(&device->side[device->turn]);
    return MR_OK;
}

enum mr_status cuda_sample_leave(struct mr_device *device)
{
    if (device->n_left == 2)
        return MR_ERR_LIMIT;
    if (cudaEventRecord(device->side[device->turn].done, device->stream) != cudaSuccess)
        return MR_ERR_IO;
    device->turn = !device->turn;
    device->n_left++;
    return MR_OK;
}

enum mr_status cuda_sample_collect(struct mr_device *device)
{
    if (device->n_left == 0)
        return MR_ERR_INVALID;
    struct cuda_side *oldest = &device->side[device->n_left-- == 2 ? device->turn : !device->turn];
    bool ok = cudaEventSynchronize(oldest->done) == cudaSuccess;
    side_give(oldest);
    return ok ? MR_OK : MR_ERR_IO;
}

static enum mr_status results_fetch(struct mr_device *device, int32_t rows, struct mr_sampled *out)
{
    struct cuda_side *side = &device->side[device->turn];
    if (cudaMemcpyAsync(side->sampled, device->sampled, (size_t)rows * sizeof *out, cudaMemcpyDeviceToHost, device->stream) != cudaSuccess)
        return MR_ERR_IO;
    side->out = out;
    side->n_out = rows;
    return cuda_launched();
}

enum mr_status cuda_sample(struct mr_device *device, const struct mr_sample_params *p)
{
    if (p->rows < 0 || p->rows > device->options.max_tokens || p->vocabulary < 1)
        return MR_ERR_UNSUPPORTED;
    if (p->rows == 0)
        return MR_OK;
    if (device->side[device->turn].out && cuda_sample_finish(device) != MR_OK)
        return MR_ERR_IO;
    size_t at = ((size_t)p->rows * sizeof(device_row) + 15) / 16 * 16;
    device_row *rows = (device_row *)device->side[device->turn].sample_rows;
    for (int32_t i = 0; i < p->rows; i++) {
        const struct mr_sample_row *row = &p->row[i];
        if (row->n_logprobs > MR_LOGPROBS_MAX)
            return MR_ERR_UNSUPPORTED;
        rows[i].row = *row;
        rows[i].bias_ids = list_add(device, row->bias_ids, (size_t)row->n_bias * sizeof(int32_t), &at);
        rows[i].bias_values = list_add(device, row->bias_values, (size_t)row->n_bias * sizeof(float), &at);
        rows[i].mask = list_add(device, row->mask, ((size_t)p->vocabulary / 32 + 1) * sizeof(uint32_t), &at);
        rows[i].history_ids = list_add(device, row->history_ids, (size_t)row->n_history * sizeof(int32_t), &at);
        rows[i].history_counts = list_add(device, row->history_counts, (size_t)row->n_history * sizeof(int32_t), &at);
    }
    if (at > device->sample_bytes)
        return MR_ERR_LIMIT;
    if (cudaMemcpyAsync(device->sample_rows, device->side[device->turn].sample_rows, at, cudaMemcpyHostToDevice, device->stream) != cudaSuccess)
        return MR_ERR_IO;
    sample_kernel<<<p->rows, THREADS, 0, device->stream>>>(p->logits, p->scratch, p->vocabulary, (const unsigned char *)device->sample_rows,
                                                           device->sampled);
    return results_fetch(device, p->rows, p->out);
}

enum mr_status cuda_score(struct mr_device *device, const struct mr_score_params *p)
{
    if (p->rows < 0 || p->rows > device->options.max_tokens || p->n_top < 0 || p->n_top > MR_LOGPROBS_MAX)
        return MR_ERR_UNSUPPORTED;
    if (p->rows == 0)
        return MR_OK;
    if (device->side[device->turn].out && cuda_sample_finish(device) != MR_OK)
        return MR_ERR_IO;
    memcpy(device->side[device->turn].sample_rows, p->ids, (size_t)p->rows * sizeof(int32_t));
    if (cudaMemcpyAsync(device->sample_rows, device->side[device->turn].sample_rows, (size_t)p->rows * sizeof(int32_t),
                        cudaMemcpyHostToDevice, device->stream) != cudaSuccess)
        return MR_ERR_IO;
    score_kernel<<<p->rows, THREADS, 0, device->stream>>>(p->logits, p->vocabulary, p->n_top, (const int32_t *)device->sample_rows, device->sampled);
    return results_fetch(device, p->rows, p->out);
}
