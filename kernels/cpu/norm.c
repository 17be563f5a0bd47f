/* RMS norm with the residual add before it (Zhang and Sennrich 2019). */
#include "kernels/cpu/device.h"
#include "kernels/cpu/rows.h"

#include <math.h>

struct norm_context {
    const struct mr_norm_params *params;
    void (*row)(const struct mr_norm_row *row);
};

static void norm_row_plain(const struct mr_norm_row *row)
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

static void norm_rows(void *context, int32_t first, int32_t end)
{
    const struct norm_context *c = context;
    const struct mr_norm_params *p = c->params;
    for (int32_t r = first; r < end; r++) {
        int64_t at = (int64_t)r * p->n;
        struct mr_norm_row row = {
            .residual = (float *)p->residual + at,
            .delta = p->delta ? (const float *)p->delta + at : NULL,
            .gain = p->gain,
            .out = p->out ? (float *)p->out + at : NULL,
            .gain_offset = p->gain_offset,
            .epsilon = p->epsilon,
            .n = p->n,
        };
        c->row(&row);
    }
}

enum mr_status mr_cpu_norm(struct mr_device *device, const struct mr_norm_params *params)
{
    struct norm_context context = {params, device->path->norm_row ? device->path->norm_row : norm_row_plain};
    mr_cpu_rows(device, params->rows, params->n, norm_rows, &context);
    return MR_OK;
}
