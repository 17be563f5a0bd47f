/* Causal attention of a step's rows: the plan says which sequences are decoded and which prefilled; both may share a step. */
#include "kernels/cuda/attention.cuh"

attention_args attention_arguments(const struct mr_device *device, const struct mr_attention_params *p)
{
    const struct mr_kv_view *kv = p->kv;
    attention_args args = {};
    args.kv = *kv;
    args.qkv = (const bf16 *)p->qkv;
    args.out = (bf16 *)p->out;
    args.work = device->batch.work;
    args.positions = device->batch.positions;
    args.seq_start = device->batch.seq_start;
    args.seq_length = device->batch.seq_length;
    args.block_table = device->batch.block_table;
    args.partial = device->attention_partial;
    args.scale_log2 = p->scale * kv->k_scale * 1.44269504f;
    args.softcap = p->softcap;
    args.window = p->window;
    args.n_heads = p->n_heads;
    args.group = p->n_heads / kv->n_kv_heads;
    args.qkv_stride = (p->n_heads + 2 * kv->n_kv_heads) * kv->head_dim;
    args.table_stride = device->options.max_blocks;
    return args;
}

enum mr_status cuda_attention(struct mr_device *device, const struct mr_attention_params *p)
{
    if (device->replaying)
        return MR_OK;
    const struct mr_kv_view *kv = p->kv;
    if (p->n_heads % kv->n_kv_heads || kv->k_dtype != kv->v_dtype || kv->block_tokens % KV_TILE_TOKENS)
        return MR_ERR_UNSUPPORTED;
    if ((size_t)p->n_heads * (kv->head_dim + 2) * device->plan_decode_items > device->attention_partial_floats)
        return MR_ERR_LIMIT;
    attention_args args = attention_arguments(device, p);
    enum mr_status status = MR_OK;
    if (device->plan_decode_items > 0 || device->recording)
        status = attention_decode(device, args);
    if (status != MR_OK || device->plan_prefill_items == 0)
        return status;
    /* wgmma sums a row in another order than decode does */
    status = device->options.precision == MR_EXACT ? MR_ERR_UNSUPPORTED : attention_wgmma(device, args);
    return status == MR_ERR_UNSUPPORTED ? attention_rows(device, args) : status;
}
