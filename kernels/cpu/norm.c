/* RMS norm with the residual add before it (Zhang and Sennrich 2019). */
#include "kernels/cpu/device.h"

#include <math.h>

struct norm_row {
    float *residual;
    const float *delta, *gain;
    float *out;
    float gain_offset, epsilon;
    int32_t n;
};

static void norm_row_plain(const struct norm_row *row)
{
    double sum = 0;
    for (int32_t i = 0; i < row->n; i++) {
        if (row->delta)
            row->residual[i] += row->delta[i];
        sum += (double)row->residual[i] * row->residual[i];
    }
    if (!row->out)
        return;
    float scale = (float)(1.0 / sqrt(sum / row->n + row->epsilon));
    for (int32_t i = 0; i < row->n; i++)
        row->out[i] = row->residual[i] * scale * (row->gain[i] + row->gain_offset);
}

static void norm_item(void *context, int32_t r, int thread)
{
    const struct mr_norm_params *p = context;
    (void)thread;
    int64_t at = (int64_t)r * p->n;
    struct norm_row row = {
        .residual = (float *)p->residual + at,
        .delta = p->delta ? (const float *)p->delta + at : NULL,
        .gain = p->gain,
        .out = p->out ? (float *)p->out + at : NULL,
        .gain_offset = p->gain_offset,
        .epsilon = p->epsilon,
        .n = p->n,
    };
    norm_row_plain(&row);
}

enum mr_status mr_cpu_norm(struct mr_device *device, const struct mr_norm_params *params)
{
    struct mr_norm_params p = *params;
    mr_threads_run(device->threads, p.rows, norm_item, &p);
    return MR_OK;
}
