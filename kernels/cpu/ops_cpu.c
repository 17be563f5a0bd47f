/* The CPU device: its life, its memory, its table. The ops are in the files beside this one.
 *
 * 1. Nothing is allocated after the start: workspace is sized from mr_device_options at open.
 * 2. `path` names the order of sums: change an order and its number goes up.
 * Thread: the engine's. */
#include "kernels/cpu/device.h"

#include "kernels/ceiling.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/exact.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/sample.h"
#include "kernels/cpu/score.h"
#include "kernels/cpu/weight.h"

#include <stdlib.h>
#include <string.h>

static void *cpu_alloc(struct mr_device *device, size_t bytes)
{
    (void)device;
    return mr_pages_block(bytes);
}

static void cpu_release(struct mr_device *device, void *memory)
{
    (void)device;
    free(memory);
}

static float *cpu_upload_f32(struct mr_device *device, const float *host, size_t n)
{
    float *copy = n > SIZE_MAX / sizeof *host ? NULL : cpu_alloc(device, n * sizeof *host);
    if (copy)
        memcpy(copy, host, n * sizeof *host);
    return copy;
}

static enum mr_status cpu_download(struct mr_device *device, void *host, const void *memory, size_t bytes)
{
    (void)device;
    memcpy(host, memory, bytes);
    return MR_OK;
}

static void cpu_close(struct mr_device *device)
{
    if (!device)
        return;
    mr_threads_close(device->threads);
    free(device->scratch);
    free(device->rope.cos);
    free(device->rope.sin);
    free(device->attention.rows);
    free(device->attention.partials);
    free(device->exact_space);
    free(device->int8_space);
    free(device);
}

static size_t scratch_floats(const struct mr_device_options *options)
{
    size_t floats = mr_exact_floats(options->max_row_elements);
    floats = floats < MR_MATMUL_SCRATCH_FLOATS ? MR_MATMUL_SCRATCH_FLOATS : floats;
    floats = floats < MR_ATTENTION_SCRATCH_FLOATS ? MR_ATTENTION_SCRATCH_FLOATS : floats;
    return (floats + 15) / 16 * 16;
}

/* The workspace, sized once. false: no memory. */
static bool carve(struct mr_device *device)
{
    size_t n_threads = (size_t)mr_threads_count(device->threads), n_tokens = (size_t)device->options.max_tokens;
    device->scratch_floats = scratch_floats(&device->options);
    device->scratch = cpu_alloc(device, n_threads * device->scratch_floats * sizeof(float));
    device->rope.cos = cpu_alloc(device, n_tokens * MR_CPU_ROPE_PAIRS_MAX * sizeof(float));
    device->rope.sin = cpu_alloc(device, n_tokens * MR_CPU_ROPE_PAIRS_MAX * sizeof(float));
    device->attention.rows = cpu_alloc(device, n_tokens * sizeof *device->attention.rows);
    device->attention.partials = cpu_alloc(device, MR_CPU_PARTIAL_FLOATS * sizeof(float));
    device->row_elements = n_tokens * device->options.max_row_elements;
    device->exact_space = cpu_alloc(device, mr_exact_floats(device->row_elements) * sizeof(float));
    if (device->options.precision == MR_FAST) {
        device->int8_space = cpu_alloc(device, mr_int8_bytes(device->row_elements));
        if (!device->int8_space)
            return false;
    }
    return device->scratch && device->exact_space && device->rope.cos && device->rope.sin && device->attention.rows && device->attention.partials;
}

static enum mr_status cpu_open(const struct mr_device_options *options, struct mr_device **out, struct mr_err *err)
{
    if (options->max_tokens < 1 || options->max_seqs < 1 || options->max_row_elements < 1)
        return mr_err_set(err, MR_ERR_INVALID, "a CPU device for %d tokens of %d sequences", options->max_tokens, options->max_seqs);
    struct mr_device *device = calloc(1, sizeof *device);
    if (!device)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a device");
    device->options = *options;
    device->path = mr_cpu_path(mr_cpu_isa_chosen());
    enum mr_status status = mr_threads_open(options->threads, options->pin, &device->threads, err);
    if (status != MR_OK) {
        free(device);
        return status;
    }
    if (!carve(device)) {
        cpu_close(device);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the CPU device's workspace");
    }
    *out = device;
    return MR_OK;
}

struct row_ranges {
    void (*fn)(void *context, int32_t first, int32_t end);
    void *context;
    int32_t rows, rows_an_item;
};

static void row_range(void *context, int32_t item, int thread)
{
    const struct row_ranges *ranges = context;
    (void)thread;
    int32_t first = item * ranges->rows_an_item, end = first + ranges->rows_an_item;
    ranges->fn(ranges->context, first, end < ranges->rows ? end : ranges->rows);
}

void mr_cpu_rows(struct mr_device *device, int32_t rows, int32_t row_elements, void (*fn)(void *context, int32_t first, int32_t end), void *context)
{
    enum { ITEM_ELEMENTS = 4096 }; /* about a microsecond: twice a fork and join */
    int32_t rows_an_item = row_elements >= ITEM_ELEMENTS ? 1 : ITEM_ELEMENTS / row_elements;
    struct row_ranges ranges = {fn, context, rows, rows_an_item};
    mr_threads_run(device->threads, (rows + rows_an_item - 1) / rows_an_item, row_range, &ranges);
}

static const char *cpu_path(const struct mr_device *device)
{
    return device->options.precision == MR_FAST ? device->path->fast : device->path->exact;
}

static enum mr_status cpu_begin(struct mr_device *device, const struct mr_batch *batch)
{
    const struct mr_device_options *limit = &device->options;
    if (batch->n_tokens < 1 || batch->n_tokens > limit->max_tokens || batch->n_seqs < 1 || batch->n_seqs > limit->max_seqs ||
        batch->n_logits < 0 || batch->n_logits > batch->n_tokens)
        return MR_ERR_LIMIT;
    device->batch = *batch;
    device->rope.frequency = NULL;
    return MR_OK;
}

static void cpu_ceilings(struct mr_device *device, struct mr_ceilings *out)
{
    int threads = mr_threads_count(device->threads);
    out->read_gbs = mr_ceiling_read_gbs(threads);
    out->multiply_gflops = device->options.precision == MR_EXACT ? mr_ceiling_fma_gflops(threads) : mr_ceiling_int8_gops(threads);
}

static enum mr_status cpu_finish(struct mr_device *device)
{
    mr_threads_rest(device->threads);
    return MR_OK;
}

const struct mr_ops *mr_ops_cpu(void)
{
    static const struct mr_ops ops = {
        .device_name = "cpu",
        .act_dtype = MR_F32,
        .open = cpu_open,
        .close = cpu_close,
        .path = cpu_path,
        .alloc = cpu_alloc,
        .release = cpu_release,
        .upload_f32 = cpu_upload_f32,
        .download = cpu_download,
        .weight_open = mr_cpu_weight_open,
        .weight_close = mr_cpu_weight_close,
        .weight_bytes = mr_cpu_weight_bytes,
        .begin = cpu_begin,
        .embed = mr_cpu_embed,
        .norm = mr_cpu_norm,
        .matmul = mr_cpu_matmul,
        .qkv = mr_cpu_qkv,
        .attention = mr_cpu_attention,
        .glu = mr_cpu_glu,
        .gather = mr_cpu_gather,
        .sample = mr_cpu_sample,
        .score = mr_cpu_score,
        .ceilings = cpu_ceilings,
        .finish = cpu_finish,
    };
    return &ops;
}
