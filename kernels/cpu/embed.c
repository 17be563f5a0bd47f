#include "kernels/cpu/device.h"
#include "kernels/cpu/weight.h"

struct embed_context {
    const struct mr_embed_params *params;
    const int32_t *ids;
};

static void embed_rows(void *context, int32_t first, int32_t end)
{
    const struct embed_context *c = context;
    int64_t k = c->params->table->k;
    for (int32_t r = first; r < end; r++) {
        float *out = (float *)c->params->out + r * k;
        mr_cpu_weight_row(c->params->table, c->ids[r], out);
        for (int64_t i = 0; c->params->scale != 1.0f && i < k; i++)
            out[i] *= c->params->scale;
    }
}

enum mr_status mr_cpu_embed(struct mr_device *device, const struct mr_embed_params *params)
{
    struct embed_context context = {params, device->batch.ids};
    for (int32_t r = 0; r < device->batch.n_tokens; r++) {
        if (context.ids[r] < 0 || context.ids[r] >= params->table->n)
            return MR_ERR_INVALID;
    }
    mr_cpu_rows(device, device->batch.n_tokens, (int32_t)params->table->k, embed_rows, &context);
    return MR_OK;
}
