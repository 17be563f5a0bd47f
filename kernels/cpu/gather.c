#include "kernels/cpu/device.h"

#include <string.h>

struct gather_context {
    const struct mr_gather_params *params;
    const int32_t *rows;
};

static void gather_rows(void *context, int32_t first, int32_t end)
{
    const struct gather_context *c = context;
    size_t bytes = (size_t)c->params->n * sizeof(float);
    for (int32_t r = first; r < end; r++)
        memcpy((char *)c->params->out + (size_t)r * bytes, (const char *)c->params->in + (size_t)c->rows[r] * bytes, bytes);
}

enum mr_status mr_cpu_gather(struct mr_device *device, const struct mr_gather_params *params)
{
    struct gather_context context = {params, device->batch.logit_rows};
    mr_cpu_rows(device, device->batch.n_logits, params->n, gather_rows, &context);
    return MR_OK;
}
