/* out[r][j] = bias[j] + sum over i of weight[j][i] * in[r][i]: one chain of fused multiply-adds from 0, i ascending, over the
 * float32 value of every weight; the bias is added last. Every path of the exact precision sums in this order. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/weight.h"

#include <math.h>

struct matmul_context {
    const struct mr_device *device;
    const struct mr_matmul_params *params;
};

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

enum mr_status mr_cpu_matmul(struct mr_device *device, const struct mr_matmul_params *params)
{
    struct matmul_context context = {device, params};
    if ((size_t)params->weight->k > device->scratch_floats || params->weight->n > INT32_MAX)
        return MR_ERR_UNSUPPORTED;
    mr_threads_run(device->threads, (int32_t)params->weight->n, matmul_item_plain, &context);
    return MR_OK;
}
