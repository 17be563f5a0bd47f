/* What stands between the q, k, v product and attention: bias, per-head norms, rotary positions (Su et al. 2021), the cache write.
 *
 * 1. An angle is float32: position times frequency, rounded once, as in the reference (transformers); its cosine and sine are
 *    taken in double and rounded, once a step, and shared by all layers that use the same frequencies.
 * 2. A row's result depends on that row alone.
 * Thread: rows are split over the helpers; the cache rows written are disjoint as slots are. */
#include "kernels/cpu/device.h"

#include "kernels/cpu/rows.h"
#include "kernels/quant.h"

#include <math.h>
#include <string.h>

enum { COS_SIN_WORK = 50 }; /* elements of other work that one cosine and sine cost */

struct qkv_context {
    const struct mr_device *device;
    const struct mr_qkv_params *params;
};

static void fill_rope_row(const struct mr_device *device, int32_t r)
{
    const struct mr_rope_cache *rope = &device->rope;
    float *c = rope->cos + (int64_t)r * MR_CPU_ROPE_PAIRS_MAX, *s = rope->sin + (int64_t)r * MR_CPU_ROPE_PAIRS_MAX;
    for (int32_t i = 0; i < rope->pairs; i++) {
        float angle = (float)device->batch.positions[r] * rope->frequency[i];
        c[i] = (float)cos(angle) * rope->magnitude;
        s[i] = (float)sin(angle) * rope->magnitude;
    }
}

static void fill_rope_rows(void *context, int32_t first, int32_t end)
{
    for (int32_t r = first; r < end; r++)
        fill_rope_row(context, r);
}

static void fill_rope(struct mr_device *device, const struct mr_qkv_params *p)
{
    struct mr_rope_cache *rope = &device->rope;
    if (p->rope == MR_ROPE_NONE || (rope->frequency == p->rope_frequency && rope->magnitude == p->rope_magnitude &&
                                    rope->pairs == p->rope_dim / 2))
        return;
    rope->frequency = p->rope_frequency;
    rope->magnitude = p->rope_magnitude;
    rope->pairs = p->rope_dim / 2;
    mr_cpu_rows(device, device->batch.n_tokens, rope->pairs * COS_SIN_WORK, fill_rope_rows, device);
}

static void rotate_head(const struct qkv_context *x, const float *c, const float *s, float *head)
{
    int32_t pairs = x->params->rope_dim / 2;
    bool half = x->params->rope == MR_ROPE_HALF;
    if (x->device->path->rotate_halves && pairs % 8 == 0) {
        if (half)
            x->device->path->rotate_halves(head, head + pairs, c, s, pairs);
        else
            x->device->path->rotate_pairs(head, c, s, pairs);
        return;
    }
    for (int32_t i = 0; i < pairs; i++) {
        float *a = head + (half ? i : 2 * i), *b = half ? a + pairs : a + 1;
        float old_a = *a, old_b = *b;
        *a = old_a * c[i] - old_b * s[i];
        *b = old_a * s[i] + old_b * c[i];
    }
}

static void norm_head(float *head, int32_t n, const float *gain, float epsilon)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)head[i] * head[i];
    float scale = (float)(1.0 / sqrt(sum / n + epsilon));
    for (int32_t i = 0; i < n; i++)
        head[i] = head[i] * scale * gain[i];
}

static void write_slot(const struct mr_cpu_path *path, void *cache, enum mr_dtype dtype, int64_t at, const float *from, int32_t n)
{
    if (dtype == MR_F32)
        memcpy((float *)cache + at, from, (size_t)n * sizeof *from);
    else if (path->to_f16 && n % 8 == 0)
        path->to_f16((uint16_t *)cache + at, from, n);
    else
        for (int32_t i = 0; i < n; i++)
            ((uint16_t *)cache)[at + i] = mr_f32_to_f16(from[i]);
}

static void qkv_row(const struct qkv_context *x, int32_t r)
{
    const struct mr_qkv_params *p = x->params;
    const struct mr_kv_view *kv = p->kv;
    int32_t d = kv->head_dim, n_rotated = p->n_heads + kv->n_kv_heads, n_all = n_rotated + kv->n_kv_heads;
    float *row = (float *)p->qkv + (int64_t)r * n_all * d;
    const float *c = x->device->rope.cos + (int64_t)r * MR_CPU_ROPE_PAIRS_MAX;
    const float *s = x->device->rope.sin + (int64_t)r * MR_CPU_ROPE_PAIRS_MAX;
    int32_t slot = x->device->batch.slots[r];
    int64_t cell = slot / kv->block_tokens * kv->block_stride + slot % kv->block_tokens * kv->token_stride;
    for (int32_t i = 0; p->bias && i < n_all * d; i++)
        row[i] += p->bias[i];
    for (int32_t h = 0; h < n_rotated; h++) {
        const float *gain = h < p->n_heads ? p->q_gain : p->k_gain;
        if (gain)
            norm_head(row + h * d, d, gain, p->norm_epsilon);
        if (p->rope != MR_ROPE_NONE)
            rotate_head(x, c, s, row + h * d);
    }
    for (int32_t h = 0; h < kv->n_kv_heads; h++) {
        write_slot(x->device->path, kv->k, kv->k_dtype, cell + h * kv->head_stride, row + (p->n_heads + h) * d, d);
        write_slot(x->device->path, kv->v, kv->v_dtype, cell + h * kv->head_stride, row + (n_rotated + h) * d, d);
    }
}

static void qkv_rows(void *context, int32_t first, int32_t end)
{
    for (int32_t r = first; r < end; r++)
        qkv_row(context, r);
}

enum mr_status mr_cpu_qkv(struct mr_device *device, const struct mr_qkv_params *params)
{
    struct qkv_context context = {device, params};
    const struct mr_kv_view *kv = params->kv;
    bool stored = (kv->k_dtype == MR_F32 || kv->k_dtype == MR_F16) && (kv->v_dtype == MR_F32 || kv->v_dtype == MR_F16);
    if (!stored || params->rope_dim > kv->head_dim || params->rope_dim % 2 != 0 || kv->head_dim > MR_CPU_HEAD_DIM_MAX)
        return MR_ERR_UNSUPPORTED;
    fill_rope(device, params);
    mr_cpu_rows(device, device->batch.n_tokens, (params->n_heads + 2 * kv->n_kv_heads) * kv->head_dim, qkv_rows, &context);
    return MR_OK;
}
