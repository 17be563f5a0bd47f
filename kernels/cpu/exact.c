#include "kernels/cpu/exact.h"

#include "kernels/quant.h"

#include <math.h>

static size_t padded(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

size_t mr_exact_floats(size_t elements)
{
    return padded(elements) + 2 * padded(elements / MR_QUANT_RUN + 1);
}

struct mr_exact_rows mr_exact_carve(float *workspace, size_t elements, const float *x, int64_t k)
{
    return (struct mr_exact_rows){.x = x, .scaled = workspace, .sums = workspace + padded(elements), .k = k};
}

/* mr_sum_lanes of what stands 8 apart. */
static float sum_run(const float *x)
{
    float lane[8];
    for (int i = 0; i < 8; i++)
        lane[i] = x[i] + x[i + 8] + x[i + 16] + x[i + 24];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

void mr_exact_row_plain(const struct mr_exact_rows *rows, int32_t r)
{
    static const int order[8] = MR_EXACT_ORDER;
    static const float powers[8] = MR_EXACT_POWERS;
    for (int64_t k = 0, at = r * rows->k; k < rows->k; k++, at++) {
        rows->scaled[at] = rows->x[at - k % 8 + order[k % 8]] * powers[k % 8];
        if (k % MR_EXACT_RUN == 0)
            rows->sums[at / MR_EXACT_RUN] = sum_run(rows->x + at);
    }
}

void mr_exact_unpack_plain(enum mr_dtype dtype, const void *weight_row, int64_t k, float *w, struct mr_exact_weights *out)
{
    const uint8_t *at = weight_row;
    *out = (struct mr_exact_weights){.form = mr_pack_form_of(dtype), .codes = w, .d = w + padded((size_t)k)};
    out->m = out->d + padded((size_t)k / MR_QUANT_RUN + 1);
    if (!mr_quant_is_block(dtype)) {
        mr_quant_row(dtype, weight_row, w, k);
        return;
    }
    int elements = mr_dtype_block_elements(dtype), bytes = mr_dtype_block_bytes(dtype), more = out->form.scale == MR_SCALE_F16_LESS8 ? 8 : 0;
    struct mr_quant_block block;
    for (int64_t start = 0; start < k; start += elements, at += bytes) {
        mr_quant_unpack(dtype, at, &block);
        for (int i = 0; i < elements; i++) {
            out->codes[start + i] = (float)(block.q[i] + more);
            out->d[(start + i) / MR_QUANT_RUN] = block.d[i / MR_QUANT_RUN];
            out->m[(start + i) / MR_QUANT_RUN] = more ? -8 * block.d[i / MR_QUANT_RUN] : block.m[i / MR_QUANT_RUN];
        }
    }
}

float mr_exact_dot_plain(const struct mr_exact_rows *rows, int32_t r, const struct mr_exact_weights *weights)
{
    static const int orders[2][8] = {{0, 1, 2, 3, 4, 5, 6, 7}, MR_EXACT_ORDER};
    const struct mr_pack_form *form = &weights->form;
    const int *order = orders[form->code == MR_PACK_NIBBLES];
    const float *x = rows->x + r * rows->k, *sums = rows->sums + r * (rows->k / MR_EXACT_RUN);
    float y = 0;
    for (int64_t start = 0; start < rows->k; start += form->run) {
        float s = 0;
        for (int64_t i = start; i < start + form->run && i < rows->k; i++) {
            int64_t k = i / 8 * 8 + order[i % 8];
            s = fmaf(weights->codes[k], x[k], s);
        }
        y = fmaf(form->scale == MR_SCALE_NONE ? 1 : weights->d[start / MR_QUANT_RUN], s, y);
        if (mr_exact_has_minimum(form->scale))
            y = fmaf(weights->m[start / MR_QUANT_RUN], sums[start / MR_EXACT_RUN], y);
    }
    return y;
}
