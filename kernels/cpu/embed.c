#include "kernels/cpu/device.h"
#include "kernels/cpu/weight.h"

enum mr_status mr_cpu_embed(struct mr_device *device, const struct mr_embed_params *params)
{
    const struct mr_weight *table = params->table;
    for (int32_t r = 0; r < device->batch.n_tokens; r++) {
        if (device->batch.ids[r] < 0 || device->batch.ids[r] >= table->n)
            return MR_ERR_INVALID;
    }
    for (int32_t r = 0; r < device->batch.n_tokens; r++) {
        float *out = (float *)params->out + r * table->k;
        mr_cpu_weight_row(table, device->batch.ids[r], out);
        for (int64_t i = 0; params->scale != 1.0f && i < table->k; i++)
            out[i] *= params->scale;
    }
    return MR_OK;
}
