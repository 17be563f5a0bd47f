/* The matrix product: its plain path, and the cut of the SIMD paths' work.
 *
 * 1. Exact: out[r][j] = bias[j] + sum over i of weight[j][i] * in[r][i], one chain of fused multiply-adds from 0, i ascending, over the
 *    float32 value of every weight; the bias is added last. Plain and AVX2 give the same bits, whatever the format.
 * 2. Fast: the order of int8.h for block formats; rows are turned to integers once, by a fork of their own where they are many. The head
 *    (out_f32) takes them in 16 bits where all its codes have 8, else the exact product: int8's rounding would go into the logits undamped.
 * 3. An item is some panels under one block of rows; threads split outputs, never k.
 * Thread: the engine's, with the helpers. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/weight.h"
#include "kernels/quant.h"

#include <math.h>

struct matmul_context {
    struct mr_device *device;
    const struct mr_matmul_params *params;
    struct mr_int8_rows int8; /* k is 0 where the product is exact */
    int32_t row_blocks, panels_an_item, items_a_row_block;
};

/* Single panels where a matrix is narrow, so that two threads get the same and end together. */
enum { ITEMS_A_THREAD = 64 };

static void matmul_item_plain(void *context, int32_t j, int thread)
{
    const struct matmul_context *c = context;
    const struct mr_matmul_params *p = c->params;
    int64_t n = p->weight->n, k = p->weight->k;
    float *w = mr_cpu_scratch(c->device, thread);
    const void *data;
    const struct mr_weight_part *part = mr_cpu_weight_find(p->weight, j, &data);
    bool int8 = c->int8.k > 0 && mr_quant_is_block(part->dtype);
    if (!int8)
        mr_quant_row(part->dtype, data, w, k);
    for (int32_t r = 0; r < p->rows; r++) {
        const float *in = (const float *)p->in + r * k;
        float sum = int8 ? mr_int8_dot_plain(&c->int8, r, part->dtype, data) : 0;
        for (int64_t i = 0; !int8 && i < k; i++)
            sum = fmaf(w[i], in[i], sum);
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
            .in = (const float *)p->in + row * weight->k,
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
            c->device->path->multiply_exact(&tile);
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

/* The largest integer that this product's activations are turned into; 0: they stay float32. */
static int32_t int8_top(const struct mr_device *device, const struct mr_matmul_params *params)
{
    bool any = false, bytes = true;
    for (int i = 0; i < params->weight->n_parts; i++) {
        bool block = mr_quant_is_block(params->weight->parts[i].dtype);
        any |= block;
        bytes &= block && mr_pack_code_of(params->weight->parts[i].dtype) == MR_PACK_BYTES;
    }
    if (device->options.precision != MR_FAST || !any)
        return 0;
    return !params->out_f32 ? MR_INT8_TOP : bytes ? MR_INT8_TOP_WIDE : 0;
}

enum mr_status mr_cpu_matmul(struct mr_device *device, const struct mr_matmul_params *params)
{
    struct matmul_context context = {.device = device, .params = params};
    int64_t k = params->weight->k;
    if ((size_t)k > device->scratch_floats || params->weight->n > INT32_MAX)
        return MR_ERR_UNSUPPORTED;
    int32_t top = int8_top(device, params);
    if (top) {
        if ((size_t)params->rows * (size_t)k > device->int8_elements)
            return MR_ERR_UNSUPPORTED;
        context.int8 = mr_int8_carve(device->int8_space, device->int8_elements, k, top);
        mr_cpu_rows(device, params->rows, (int32_t)k, int8_rows, &context);
    }
    if (!device->path->multiply_exact) {
        mr_threads_run(device->threads, (int32_t)params->weight->n, matmul_item_plain, &context);
        return MR_OK;
    }
    cut_work(&context);
    mr_threads_run(device->threads, context.row_blocks * context.items_a_row_block, matmul_item, &context);
    return MR_OK;
}
