#include "worker/model/forward.h"

#include "base/check.h"
#include "worker/model/shape.h"

#include <math.h>

static void *buffer(struct mr_forward *f, int32_t rows, int64_t columns, enum mr_dtype dtype)
{
    size_t bytes = (size_t)rows * (size_t)columns * (size_t)mr_dtype_block_bytes(dtype);
    f->bytes += bytes;
    return f->weights->ops->alloc(f->weights->device, bytes);
}

enum mr_status mr_forward_open(struct mr_forward *f, const struct mr_shape *shape, const struct mr_weights *weights, int32_t max_tokens,
                               int32_t max_logits, struct mr_err *err)
{
    enum mr_dtype act = weights->ops->act_dtype;
    *f = (struct mr_forward){.shape = shape, .weights = weights, .max_tokens = max_tokens, .max_logits = max_logits};
    f->residual = buffer(f, max_tokens, shape->hidden, act);
    f->normed = buffer(f, max_tokens, shape->hidden, act);
    f->qkv = buffer(f, max_tokens, mr_shape_qkv_width(shape), act);
    f->attention = buffer(f, max_tokens, (int64_t)shape->n_heads * shape->head_dim, act);
    f->delta = buffer(f, max_tokens, shape->hidden, act);
    f->gate_up = buffer(f, max_tokens, 2 * (int64_t)shape->ffn, act);
    f->ffn = buffer(f, max_tokens, shape->ffn, act);
    f->gathered = buffer(f, max_logits, shape->hidden, act);
    f->logits = buffer(f, max_logits, shape->vocabulary, MR_F32);
    f->scratch = buffer(f, max_logits, shape->vocabulary, MR_F32);
    if (!f->residual || !f->normed || !f->qkv || !f->attention || !f->delta || !f->gate_up || !f->ffn || !f->gathered || !f->logits || !f->scratch)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a step of %d tokens and %d rows of logits (%zu bytes)", max_tokens, max_logits, f->bytes);
    return MR_OK;
}

void mr_forward_close(struct mr_forward *f)
{
    void *buffers[] = {f->residual, f->normed, f->qkv, f->attention, f->delta, f->gate_up, f->ffn, f->gathered, f->logits, f->scratch};
    for (size_t i = 0; f->weights && i < sizeof buffers / sizeof *buffers; i++)
        f->weights->ops->release(f->weights->device, buffers[i]);
    *f = (struct mr_forward){0};
}

static bool runs(const struct mr_forward *f, enum mr_model_part part) { return !f->only || f->only & part; }

static enum mr_status norm(const struct mr_forward *f, const void *delta, const float *gain, int32_t rows)
{
    return !runs(f, MR_MODEL_REST) ? MR_OK : f->weights->ops->norm(f->weights->device, &(struct mr_norm_params){
        .residual = f->residual, .delta = delta, .out = f->normed, .gain = gain, .gain_offset = f->shape->norm_gain_offset,
        .epsilon = f->shape->norm_epsilon, .rows = rows, .n = f->shape->hidden});
}

static enum mr_status matmul(const struct mr_forward *f, const struct mr_weight *weight, const void *in, void *out, int32_t rows)
{
    return !runs(f, MR_MODEL_PRODUCTS) ? MR_OK : f->weights->ops->matmul(f->weights->device, &(struct mr_matmul_params){
        .weight = weight, .in = in, .out = out, .rows = rows});
}

/* residual + delta -> normed -> q, k, v -> cache -> attention -> delta. */
static enum mr_status attention_block(const struct mr_forward *f, int32_t l, const struct mr_kv_view *kv, const void *delta, int32_t rows)
{
    const struct mr_shape *s = f->shape;
    const struct mr_ops *ops = f->weights->ops;
    const struct mr_layer *layer = &f->weights->layers[l];
    enum mr_status status = norm(f, delta, layer->attn_norm, rows);
    if (!status)
        status = matmul(f, layer->qkv, f->normed, f->qkv, rows);
    if (!status && runs(f, MR_MODEL_REST))
        status = ops->qkv(f->weights->device, &(struct mr_qkv_params){
            .qkv = f->qkv, .kv = kv, .bias = layer->qkv_bias, .q_gain = layer->q_gain, .k_gain = layer->k_gain,
            .rope_frequency = f->weights->rope_frequency, .rope_magnitude = 1, .norm_epsilon = s->norm_epsilon,
            .rope = mr_shape_layer_rotates(s, l) ? s->rope : MR_ROPE_NONE, .n_heads = s->n_heads, .rope_dim = s->rope_dim});
    if (!status && runs(f, MR_MODEL_ATTENTION))
        status = ops->attention(f->weights->device, &(struct mr_attention_params){
            .qkv = f->qkv, .kv = kv, .out = f->attention, .scale = (float)(1 / sqrt((double)s->head_dim)), .softcap = s->softcap_attention,
            .window = s->window, .n_heads = s->n_heads});
    return status ? status : matmul(f, layer->attn_out, f->attention, f->delta, rows);
}

/* residual + delta -> normed -> gate, up -> act(gate) up -> delta. */
static enum mr_status ffn_block(const struct mr_forward *f, int32_t l, int32_t rows)
{
    const struct mr_layer *layer = &f->weights->layers[l];
    enum mr_status status = norm(f, f->delta, layer->ffn_norm, rows);
    if (!status)
        status = matmul(f, layer->gate_up, f->normed, f->gate_up, rows);
    if (!status && runs(f, MR_MODEL_REST))
        status = f->weights->ops->glu(f->weights->device, &(struct mr_glu_params){
            .in = f->gate_up, .out = f->ffn, .rows = rows, .n = f->shape->ffn, .activation = f->shape->activation});
    return status ? status : matmul(f, layer->down, f->ffn, f->delta, rows);
}

/* Final norm of all rows, the head of those whose logits are wanted. */
static enum mr_status head_block(const struct mr_forward *f, int32_t n_tokens, int32_t n_logits)
{
    const struct mr_ops *ops = f->weights->ops;
    if (n_logits == 0)
        return MR_OK;
    enum mr_status status = norm(f, f->delta, f->weights->final_norm, n_tokens);
    if (!status && runs(f, MR_MODEL_REST))
        status = ops->gather(f->weights->device, &(struct mr_gather_params){.in = f->normed, .out = f->gathered, .n = f->shape->hidden});
    if (!status && runs(f, MR_MODEL_PRODUCTS))
        status = ops->matmul(f->weights->device, &(struct mr_matmul_params){
            .weight = f->weights->head, .in = f->gathered, .out = f->logits, .rows = n_logits, .out_f32 = true});
    return status;
}

static enum mr_status layers(const struct mr_forward *f, struct mr_kv_store *store, int32_t n_tokens, int32_t n_logits)
{
    enum mr_status status = MR_OK;
    for (int32_t l = 0; l < f->shape->n_layers && !status; l++) {
        status = attention_block(f, l, &store->layers[l], l ? f->delta : NULL, n_tokens);
        if (!status)
            status = ffn_block(f, l, n_tokens);
    }
    return status ? status : head_block(f, n_tokens, n_logits);
}

enum mr_status mr_forward_again(struct mr_forward *f, struct mr_kv_store *store, int32_t n_tokens, int32_t n_logits, unsigned parts)
{
    f->only = parts;
    enum mr_status status = layers(f, store, n_tokens, n_logits);
    f->only = 0;
    return status;
}

enum mr_status mr_forward_step(struct mr_forward *f, struct mr_kv_store *store, const struct mr_batch *batch)
{
    CHECK(store->options.n_layers == f->shape->n_layers && store->options.n_kv_heads == f->shape->n_kv_heads &&
          store->options.head_dim == f->shape->head_dim);
    if (batch->n_tokens < 1 || batch->n_tokens > f->max_tokens || batch->n_logits < 0 || batch->n_logits > f->max_logits)
        return MR_ERR_LIMIT;
    const struct mr_ops *ops = f->weights->ops;
    enum mr_status status = ops->begin(f->weights->device, batch);
    if (!status)
        status = ops->embed(f->weights->device, &(struct mr_embed_params){
            .table = f->weights->embed, .out = f->residual, .scale = f->shape->embed_scale});
    if (!status)
        status = layers(f, store, batch->n_tokens, batch->n_logits);
    return !status && ops->end ? ops->end(f->weights->device) : status;
}
