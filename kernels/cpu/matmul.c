/* out[r][j] = bias[j] + sum over i of weight[j][i] * in[r][i]: one chain of fused multiply-adds from 0, i ascending, over the
 * float32 value of every weight; the bias is added last. Every path of the exact precision sums in this order. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/weight.h"

#include <math.h>

struct matmul_context {
    const struct mr_device *device;
    const struct mr_matmul_params *params;
    int32_t row_blocks, panels_an_item, items_a_row_block;
};

enum { ITEMS_A_THREAD = 6 }; /* enough to even out a thread that loses its core, few enough to cost nothing */

static void matmul_item_plain(void *context, int32_t j, int thread)
{
    const struct matmul_context *c = context;
    const struct mr_matmul_params *p = c->params;
    int64_t n = p->weight->n, k = p->weight->k;
    float *w = mr_cpu_scratch(c->device, thread);
    mr_cpu_weight_row(p->weight, j, w);
    for (int32_t r = 0; r < p->rows; r++) {
        const float *in = (const float *)p->in + r * k;
        float sum = 0;
        for (int64_t i = 0; i < k; i++)
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
        if (from < to)
            mr_matmul_exact_avx2(&tile);
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

enum mr_status mr_cpu_matmul(struct mr_device *device, const struct mr_matmul_params *params)
{
    struct matmul_context context = {.device = device, .params = params};
    if ((size_t)params->weight->k > device->scratch_floats || params->weight->n > INT32_MAX)
        return MR_ERR_UNSUPPORTED;
    if (device->isa == MR_CPU_PLAIN) {
        mr_threads_run(device->threads, (int32_t)params->weight->n, matmul_item_plain, &context);
        return MR_OK;
    }
    cut_work(&context);
    mr_threads_run(device->threads, context.row_blocks * context.items_a_row_block, matmul_item, &context);
    return MR_OK;
}
