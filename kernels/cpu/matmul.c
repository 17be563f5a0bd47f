/* The matrix product: its plain path, and the cut of the SIMD paths' work.
 *
 * 1. Exact: the order of exact.h.
 * 2. Fast: the order of int8.h for block formats. The head
 *    (out_f32) takes them in 16 bits where all its codes have 8, else the exact product: int8's rounding would go into the logits undamped.
 * 3. What either makes of the rows is made once a product, by a fork of its own where they are many.
 * 4. An item is some panels under one block of rows; threads split outputs, never k.
 * Thread: the engine's, with the helpers. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/exact.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/weight.h"
#include "kernels/quant.h"

struct matmul_context {
    struct mr_device *device;
    const struct mr_matmul_params *params;
    struct mr_exact_rows exact;
    struct mr_int8_rows int8; /* k is 0 where the product is exact */
    int32_t row_blocks, panels_an_item, items_a_row_block;
};

/* Single panels where a matrix is narrow, so that two threads get the same and end together. */
enum { ITEMS_A_THREAD = 64 };

static void matmul_item_plain(void *context, int32_t j, int thread)
{
    const struct matmul_context *c = context;
    const struct mr_matmul_params *p = c->params;
    int64_t n = p->weight->n;
    const void *data;
    const struct mr_weight_part *part = mr_cpu_weight_find(p->weight, j, &data);
    bool int8 = c->int8.k > 0 && mr_quant_is_block(part->dtype);
    struct mr_exact_weights weights;
    if (!int8)
        mr_exact_unpack_plain(part->dtype, data, p->weight->k, mr_cpu_scratch(c->device, thread), &weights);
    for (int32_t r = 0; r < p->rows; r++) {
        float sum = int8 ? mr_int8_dot_plain(&c->int8, r, part->dtype, data) : mr_exact_dot_plain(&c->exact, r, &weights);
        ((float *)p->out)[r * n + j] = p->bias ? sum + p->bias[j] : sum;
    }
}

/* Panels first .. end - 1, counted through all parts, under one block of rows. */
static void multiply_panels(const struct matmul_context *c, int32_t row, int32_t first, int32_t end, float *scratch)
{
    const struct mr_matmul_params *p = c->params;
    const struct mr_weight *weight = p->weight;
    int64_t output = 0;
    for (int i = 0; i < weight->n_parts; i++) {
        const struct mr_pack *pack = &weight->packs[i];
        int32_t from = first > 0 ? first : 0, to = end < pack->n_panels ? end : pack->n_panels;
        struct mr_matmul_tile tile = {
            .pack = pack,
            .out = (float *)p->out + row * weight->n + output,
            .bias = p->bias ? p->bias + output : NULL,
            .scratch = scratch,
            .out_stride = weight->n,
            .rows = p->rows - row < MR_MATMUL_ROW_BLOCK ? p->rows - row : MR_MATMUL_ROW_BLOCK,
            .first_panel = from,
            .end_panel = to,
        };
        if (from < to && c->int8.k > 0 && pack->scale != MR_SCALE_NONE)
            c->device->path->multiply_int8(&tile, &c->int8, row);
        else if (from < to)
            c->device->path->multiply_exact(&tile, &c->exact, row);
        first -= pack->n_panels;
        end -= pack->n_panels;
        output += pack->rows;
    }
}

static void matmul_item(void *context, int32_t item, int thread)
{
    const struct matmul_context *c = context;
    int32_t first = item % c->items_a_row_block * c->panels_an_item;
    multiply_panels(c, item / c->items_a_row_block * MR_MATMUL_ROW_BLOCK, first, first + c->panels_an_item, mr_cpu_scratch(c->device, thread));
}

static void cut_work(struct matmul_context *c)
{
    int32_t n_panels = 0;
    for (int i = 0; i < c->params->weight->n_parts; i++)
        n_panels += c->params->weight->packs[i].n_panels;
    c->row_blocks = (c->params->rows + MR_MATMUL_ROW_BLOCK - 1) / MR_MATMUL_ROW_BLOCK;
    int32_t wanted = mr_threads_count(c->device->threads) * ITEMS_A_THREAD / c->row_blocks;
    wanted = wanted < 1 ? 1 : wanted;
    c->panels_an_item = (n_panels + wanted - 1) / wanted;
    c->items_a_row_block = (n_panels + c->panels_an_item - 1) / c->panels_an_item;
}

static void int8_rows(void *context, int32_t first, int32_t end)
{
    const struct matmul_context *c = context;
    for (int32_t r = first; r < end; r++) {
        const float *x = (const float *)c->params->in + r * c->int8.k;
        if (c->device->path->int8_row)
            c->device->path->int8_row(&c->int8, r, x);
        else
            mr_int8_row_plain(&c->int8, r, x);
    }
}

static void exact_rows(void *context, int32_t first, int32_t end)
{
    const struct matmul_context *c = context;
    for (int32_t r = first; r < end; r++) {
        if (c->device->path->exact_row)
            c->device->path->exact_row(&c->exact, r);
        else
            mr_exact_row_plain(&c->exact, r);
    }
}

/* The largest integer that this product's activations are turned into; 0: they stay float32. coded: whether any part has codes. */
static int32_t int8_top(const struct mr_device *device, const struct mr_matmul_params *params, bool coded)
{
    bool bytes = true;
    for (int i = 0; i < params->weight->n_parts; i++)
        bytes &= mr_pack_form_of(params->weight->parts[i].dtype).code == MR_PACK_BYTES;
    if (device->options.precision != MR_FAST || !coded)
        return 0;
    return !params->out_f32 ? MR_INT8_TOP : bytes ? MR_INT8_TOP_WIDE : 0;
}

/* Makes of the rows what the product reads. */
static void prepare_rows(struct matmul_context *c)
{
    struct mr_device *device = c->device;
    const struct mr_matmul_params *params = c->params;
    int64_t k = params->weight->k;
    bool coded = false;
    for (int i = 0; i < params->weight->n_parts; i++)
        coded |= mr_quant_is_block(params->weight->parts[i].dtype);
    int32_t top = int8_top(device, params, coded);
    c->exact = mr_exact_carve(device->exact_space, device->row_elements, params->in, k);
    if (top)
        c->int8 = mr_int8_carve(device->int8_space, device->row_elements, k, top);
    if (coded)
        mr_cpu_rows(device, params->rows, (int32_t)k, top ? int8_rows : exact_rows, c);
}

enum mr_status mr_cpu_matmul(struct mr_device *device, const struct mr_matmul_params *params)
{
    struct matmul_context context = {.device = device, .params = params};
    int64_t k = params->weight->k;
    bool fits = mr_exact_floats((size_t)k) <= device->scratch_floats && (size_t)params->rows * (size_t)k <= device->row_elements;
    if (!fits || params->weight->n > INT32_MAX)
        return MR_ERR_UNSUPPORTED;
    prepare_rows(&context);
    if (!device->path->multiply_exact) {
        mr_threads_run(device->threads, (int32_t)params->weight->n, matmul_item_plain, &context);
        return MR_OK;
    }
    cut_work(&context);
    mr_threads_run(device->threads, context.row_blocks * context.items_a_row_block, matmul_item, &context);
    return MR_OK;
}
