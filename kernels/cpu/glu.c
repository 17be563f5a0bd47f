/* Gated linear units: out = act(gate) * up (Shazeer 2020). */
#include "kernels/cpu/device.h"

#include <math.h>

static float activate(enum mr_activation activation, float x)
{
    switch (activation) {
    case MR_SILU:
        return x / (1.0f + expf(-x));
    case MR_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case MR_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case MR_RELU:
        return x > 0 ? x : 0;
    }
    return 0;
}

static void glu_item(void *context, int32_t r, int thread)
{
    const struct mr_glu_params *p = context;
    (void)thread;
    const float *gate = (const float *)p->in + 2 * (int64_t)r * p->n, *up = gate + p->n;
    float *out = (float *)p->out + (int64_t)r * p->n;
    for (int32_t i = 0; i < p->n; i++)
        out[i] = activate(p->activation, gate[i]) * up[i];
}

enum mr_status mr_cpu_glu(struct mr_device *device, const struct mr_glu_params *params)
{
    struct mr_glu_params p = *params;
    if ((unsigned)p.activation > MR_RELU)
        return MR_ERR_UNSUPPORTED;
    mr_threads_run(device->threads, p.rows, glu_item, &p);
    return MR_OK;
}
