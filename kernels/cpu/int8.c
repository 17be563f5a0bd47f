#include "kernels/cpu/int8.h"

#include "kernels/quant.h"

#include <math.h>

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t mr_int8_bytes(size_t elements)
{
    size_t runs = elements / MR_INT8_RUN + 1;
    return padded(elements) + padded(2 * elements) + 3 * padded(4 * runs);
}

struct mr_int8_rows mr_int8_carve(void *workspace, size_t elements, int64_t k, int32_t top)
{
    size_t runs = elements / MR_INT8_RUN + 1;
    char *at = workspace;
    struct mr_int8_rows rows = {.k = k, .top = top};
    rows.q = (int8_t *)at;
    rows.wide = (int16_t *)(at += padded(elements));
    rows.d = (float *)(at += padded(2 * elements));
    rows.s = (float *)(at += padded(4 * runs));
    rows.sum = (int32_t *)(at + padded(4 * runs));
    return rows;
}

void mr_int8_row_plain(const struct mr_int8_rows *rows, int32_t r, const float *x)
{
    for (int64_t i = 0; i < rows->k; i += MR_INT8_RUN) {
        int64_t at = r * rows->k + i, run = at / MR_INT8_RUN;
        float largest = 0;
        for (int j = 0; j < MR_INT8_RUN; j++)
            largest = fabsf(x[i + j]) > largest ? fabsf(x[i + j]) : largest;
        float scale = largest > 0 ? (float)rows->top / largest : 0;
        int32_t sum = 0;
        for (int j = 0; j < MR_INT8_RUN; j++) {
            int32_t q = (int32_t)rintf(x[i + j] * scale);
            if (rows->top == MR_INT8_TOP)
                rows->q[at + j] = (int8_t)q;
            rows->wide[at + j] = (int16_t)q;
            sum += q;
        }
        rows->d[run] = largest / (float)rows->top;
        rows->sum[run] = sum;
        rows->s[run] = rows->d[run] * (float)sum;
    }
}

float mr_int8_dot_plain(const struct mr_int8_rows *rows, int32_t r, enum mr_dtype dtype, const void *weight_row)
{
    const uint8_t *at = weight_row;
    int elements = mr_dtype_block_elements(dtype), bytes = mr_dtype_block_bytes(dtype);
    int run = dtype == MR_Q6_K ? MR_QUANT_RUN : MR_INT8_RUN;
    bool minimum = dtype == MR_Q4_1 || dtype == MR_Q5_1 || dtype == MR_Q4_K || dtype == MR_Q5_K;
    struct mr_quant_block block;
    float acc = 0;
    for (int64_t k = 0; k < rows->k; k += elements, at += bytes) {
        mr_quant_unpack(dtype, at, &block);
        for (int i = 0; i < elements; i += run) {
            int64_t x = r * rows->k + k + i;
            int32_t sum = 0;
            for (int j = 0; j < run; j++)
                sum += block.q[i + j] * rows->wide[x + j];
            acc = fmaf((float)sum * block.d[i / MR_QUANT_RUN], rows->d[x / MR_INT8_RUN], acc);
            if (minimum)
                acc = fmaf(block.m[i / MR_QUANT_RUN], rows->s[x / MR_INT8_RUN], acc);
        }
    }
    return acc;
}
