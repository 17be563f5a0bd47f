/* Causal attention over the paged cache: softmax(scale q.k, capped, windowed) v. */
#include "kernels/cpu/device.h"

#include "kernels/quant.h"

#include <math.h>

struct attention_context {
    const struct mr_device *device;
    const struct mr_attention_params *params;
};

static float cache_value(const void *cache, enum mr_dtype dtype, int64_t at)
{
    return dtype == MR_F32 ? ((const float *)cache)[at] : mr_f16_to_f32(((const uint16_t *)cache)[at]);
}

static int32_t sequence_of(const struct mr_batch *batch, int32_t row)
{
    int32_t s = 0;
    while (batch->seq_start[s + 1] <= row)
        s++;
    return s;
}

/* One head of one row: the running softmax of Milakov and Gimelshein 2018, in double. */
static void attend_plain(const struct attention_context *c, int32_t row, int32_t head)
{
    const struct mr_attention_params *p = c->params;
    const struct mr_kv_view *kv = p->kv;
    const struct mr_batch *batch = &c->device->batch;
    int32_t d = kv->head_dim, group = p->n_heads / kv->n_kv_heads, last = batch->positions[row];
    int32_t first = p->window > 0 && last >= p->window ? last - p->window + 1 : 0;
    const float *q = (const float *)p->qkv + ((int64_t)row * (p->n_heads + 2 * kv->n_kv_heads) + head) * d;
    const int32_t *table = batch->block_table + (int64_t)sequence_of(batch, row) * batch->block_table_stride;
    double largest = -INFINITY, total = 0, sum[MR_CPU_HEAD_DIM_MAX] = {0};
    for (int32_t t = first; t <= last; t++) {
        int64_t at = table[t / kv->block_tokens] * kv->block_stride + head / group * kv->head_stride + t % kv->block_tokens * kv->token_stride;
        double score = 0;
        for (int32_t i = 0; i < d; i++)
            score += (double)q[i] * cache_value(kv->k, kv->k_dtype, at + i);
        score *= p->scale;
        if (p->softcap > 0)
            score = p->softcap * tanh(score / p->softcap);
        double new_largest = score > largest ? score : largest, shrink = exp(largest - new_largest), weight = exp(score - new_largest);
        total = total * shrink + weight;
        for (int32_t i = 0; i < d; i++)
            sum[i] = sum[i] * shrink + weight * cache_value(kv->v, kv->v_dtype, at + i);
        largest = new_largest;
    }
    float *out = (float *)p->out + ((int64_t)row * p->n_heads + head) * d;
    for (int32_t i = 0; i < d; i++)
        out[i] = (float)(sum[i] / total);
}

static void attention_item_plain(void *context, int32_t item, int thread)
{
    const struct attention_context *c = context;
    (void)thread;
    attend_plain(c, item / c->params->n_heads, item % c->params->n_heads);
}

enum mr_status mr_cpu_attention(struct mr_device *device, const struct mr_attention_params *params)
{
    struct attention_context context = {device, params};
    const struct mr_kv_view *kv = params->kv;
    bool stored = (kv->k_dtype == MR_F32 || kv->k_dtype == MR_F16) && (kv->v_dtype == MR_F32 || kv->v_dtype == MR_F16);
    if (!stored || kv->head_dim > MR_CPU_HEAD_DIM_MAX || params->n_heads % kv->n_kv_heads != 0)
        return MR_ERR_UNSUPPORTED;
    mr_threads_run(device->threads, device->batch.n_tokens * params->n_heads, attention_item_plain, &context);
    return MR_OK;
}
