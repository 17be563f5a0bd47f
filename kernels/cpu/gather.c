#include "kernels/cpu/device.h"

#include <string.h>

enum mr_status mr_cpu_gather(struct mr_device *device, const struct mr_gather_params *params)
{
    size_t bytes = (size_t)params->n * sizeof(float);
    for (int32_t r = 0; r < device->batch.n_logits; r++)
        memcpy((char *)params->out + (size_t)r * bytes, (const char *)params->in + (size_t)device->batch.logit_rows[r] * bytes, bytes);
    return MR_OK;
}
