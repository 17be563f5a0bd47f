/* Causal attention over the paged cache: softmax(scale q.k, capped, windowed) v. This file has the plain path and cuts the
 * work of the SIMD path.
 *
 * 1. A unit is a block of rows of one sequence under one KV head (its group's heads share the reading of keys and values).
 * 2. Where there are fewer units than the threads can share out, their tiles of keys become items too: each leaves its partial sums in
 *    the device's workspace, and a second fork merges them. The sums are those of the first way, bit for bit (attention.h).
 * Thread: the engine's, with the helpers. Rejected: always splitting (the second fork and the partials cost 4 % at 16 jobs). */
#include "kernels/cpu/attention.h"

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

struct block_context {
    const struct mr_device *device;
    const struct mr_attention_params *params;
    int32_t n_blocks;       /* of rows: device->attention.rows[0 .. n_blocks - 1] */
    int32_t tiles_a_unit;   /* 0: not split; else the most tiles that a unit has */
    int64_t tile_floats;    /* of one tile's partials of the largest block */
};

static struct mr_attention_block block_of(const struct block_context *c, int32_t unit, int thread)
{
    const struct mr_attention_params *p = c->params;
    const struct mr_batch *batch = &c->device->batch;
    struct mr_attention_rows rows = c->device->attention.rows[unit / p->kv->n_kv_heads];
    int32_t first = batch->positions[rows.row], last = batch->positions[rows.row + rows.rows - 1];
    int32_t seen = p->window > 0 && first >= p->window ? first - p->window + 1 : 0;
    return (struct mr_attention_block){
        .batch = batch,
        .params = p,
        .rows = rows,
        .kv_head = unit % p->kv->n_kv_heads,
        .first_tile = seen / MR_ATTENTION_TILE,
        .end_tile = last / MR_ATTENTION_TILE + 1,
        .scratch = mr_cpu_scratch(c->device, thread),
    };
}

static void whole_unit(void *context, int32_t item, int thread)
{
    const struct block_context *c = context;
    struct mr_attention_block block = block_of(c, c->n_blocks * c->params->kv->n_kv_heads - 1 - item, thread); /* the longest first */
    c->device->path->attention(&block);
}

static float *partials_of(const struct block_context *c, int32_t unit, int32_t tile)
{
    return c->device->attention.partials + ((int64_t)unit * c->tiles_a_unit + tile) * c->tile_floats;
}

static void one_tile(void *context, int32_t item, int thread)
{
    const struct block_context *c = context;
    int32_t unit = item / c->tiles_a_unit, tile = item % c->tiles_a_unit;
    struct mr_attention_block block = block_of(c, unit, thread);
    block.first_tile += tile;
    if (block.first_tile >= block.end_tile)
        return;
    block.end_tile = block.first_tile + 1;
    block.partial = partials_of(c, unit, tile);
    c->device->path->attention(&block);
}

static void merge_unit(void *context, int32_t unit, int thread)
{
    const struct block_context *c = context;
    struct mr_attention_block block = block_of(c, unit, thread);
    c->device->path->attention_merge(&block, partials_of(c, unit, 0), c->tile_floats, block.end_tile - block.first_tile);
}

/* Rows into blocks of one sequence each. */
static void cut_rows(struct block_context *c)
{
    const struct mr_batch *batch = &c->device->batch;
    int32_t group = c->params->n_heads / c->params->kv->n_kv_heads;
    int32_t most = MR_ATTENTION_QUERIES / group;
    c->n_blocks = 0;
    for (int32_t s = 0; s < batch->n_seqs; s++) {
        int32_t end = batch->seq_start[s + 1];
        for (int32_t row = batch->seq_start[s]; row < end; row += most)
            c->device->attention.rows[c->n_blocks++] = (struct mr_attention_rows){s, row, end - row < most ? end - row : most};
    }
}

/* Splits units by tiles where there are too few of them and the workspace holds their partials. */
static void choose_split(struct block_context *c)
{
    enum { UNITS_A_THREAD = 4 };
    int64_t n_units = (int64_t)c->n_blocks * c->params->kv->n_kv_heads;
    int32_t group = c->params->n_heads / c->params->kv->n_kv_heads, n_threads = mr_threads_count(c->device->threads), tiles = 1, rows = 1;
    if (n_threads == 1 || n_units >= n_threads * UNITS_A_THREAD)
        return;
    for (int32_t unit = 0; unit < n_units; unit += c->params->kv->n_kv_heads) {
        struct mr_attention_block block = block_of(c, unit, 0);
        tiles = block.end_tile - block.first_tile > tiles ? block.end_tile - block.first_tile : tiles;
        rows = block.rows.rows > rows ? block.rows.rows : rows;
    }
    c->tile_floats = (int64_t)rows * group * (2 + c->params->kv->head_dim);
    if (tiles > 1 && n_units * tiles * c->tile_floats <= MR_CPU_PARTIAL_FLOATS)
        c->tiles_a_unit = tiles;
}

static void attend_blocks(struct mr_device *device, const struct mr_attention_params *params)
{
    struct block_context c = {.device = device, .params = params};
    cut_rows(&c);
    choose_split(&c);
    int32_t n_units = c.n_blocks * params->kv->n_kv_heads;
    if (c.tiles_a_unit == 0) {
        mr_threads_run(device->threads, n_units, whole_unit, &c);
        return;
    }
    mr_threads_run(device->threads, n_units * c.tiles_a_unit, one_tile, &c);
    mr_threads_run(device->threads, n_units, merge_unit, &c);
}

enum mr_status mr_cpu_attention(struct mr_device *device, const struct mr_attention_params *params)
{
    struct attention_context context = {device, params};
    const struct mr_kv_view *kv = params->kv;
    bool stored = (kv->k_dtype == MR_F32 || kv->k_dtype == MR_F16) && (kv->v_dtype == MR_F32 || kv->v_dtype == MR_F16);
    if (!stored || kv->head_dim > MR_CPU_HEAD_DIM_MAX || params->n_heads % kv->n_kv_heads != 0)
        return MR_ERR_UNSUPPORTED;
    if (device->path->attention && device->path->attention_takes(params))
        attend_blocks(device, params);
    else
        mr_threads_run(device->threads, device->batch.n_tokens * params->n_heads, attention_item_plain, &context);
    return MR_OK;
}
