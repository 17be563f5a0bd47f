/* Gated linear units: out = act(gate) * up (Shazeer 2020). */
#include "kernels/cpu/device.h"
#include "kernels/cpu/rows.h"

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

static void glu_row_plain(enum mr_activation activation, const float *gate, const float *up, float *out, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        out[i] = activate(activation, gate[i]) * up[i];
}

struct glu_context {
    const struct mr_glu_params *params;
    void (*row)(enum mr_activation activation, const float *gate, const float *up, float *out, int32_t n);
};

static void glu_rows(void *context, int32_t first, int32_t end)
{
    const struct glu_context *c = context;
    const struct mr_glu_params *p = c->params;
    for (int32_t r = first; r < end; r++) {
        const float *gate = (const float *)p->in + 2 * (int64_t)r * p->n;
        c->row(p->activation, gate, gate + p->n, (float *)p->out + (int64_t)r * p->n, p->n);
    }
}

enum mr_status mr_cpu_glu(struct mr_device *device, const struct mr_glu_params *params)
{
    if ((unsigned)params->activation > MR_RELU)
        return MR_ERR_UNSUPPORTED;
    bool simd = device->path->glu_row && params->activation != MR_GELU; /* erf has no vector code */
    struct glu_context context = {params, simd ? device->path->glu_row : glu_row_plain};
    mr_cpu_rows(device, params->rows, 3 * params->n, glu_rows, &context);
    return MR_OK;
}
