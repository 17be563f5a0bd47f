#include "kv/kv_store.h"

#include <stdlib.h>

/* Elements of one layer's K (or V); -1: out of range. */
static int64_t slab_elements(const struct mr_kv_store_options *o, int64_t blocks)
{
    int64_t n = blocks;
    if (o->n_kv_heads < 1 || o->head_dim < 1 || o->block_tokens < 1 || blocks < 0 || __builtin_mul_overflow(n, (int64_t)o->n_kv_heads, &n) ||
        __builtin_mul_overflow(n, (int64_t)o->block_tokens, &n) || __builtin_mul_overflow(n, (int64_t)o->head_dim, &n) || n > INT64_MAX / 16)
        return -1;
    return n;
}

/* Cache formats are plain: bytes of one element; 0: a block format. */
static int element_bytes(enum mr_dtype dtype) { return mr_dtype_block_elements(dtype) == 1 ? mr_dtype_block_bytes(dtype) : 0; }

size_t mr_kv_block_bytes(const struct mr_kv_store_options *options)
{
    int64_t n = slab_elements(options, 1);
    return n < 0 ? 0 : (size_t)n * (size_t)(element_bytes(options->k_dtype) + element_bytes(options->v_dtype)) * (size_t)options->n_layers;
}

static enum mr_status store_alloc(struct mr_kv_store *store, int64_t slab, struct mr_err *err)
{
    const struct mr_kv_store_options *o = &store->options;
    for (int32_t l = 0; l < o->n_layers; l++) {
        struct mr_kv_view *view = &store->layers[l];
        view->k = store->ops->alloc(store->device, (size_t)slab * (size_t)element_bytes(o->k_dtype));
        view->v = store->ops->alloc(store->device, (size_t)slab * (size_t)element_bytes(o->v_dtype));
        if (!view->k || !view->v)
            return mr_err_set(err, MR_ERR_NOMEM, "no memory for a cache of %d blocks: layer %d of %d does not fit", o->n_blocks, l, o->n_layers);
        view->k_dtype = o->k_dtype;
        view->v_dtype = o->v_dtype;
        view->n_blocks = o->n_blocks;
        view->block_tokens = o->block_tokens;
        view->n_kv_heads = o->n_kv_heads;
        view->head_dim = o->head_dim;
        view->token_stride = o->head_dim;
        view->head_stride = (int64_t)o->block_tokens * o->head_dim;
        view->block_stride = o->n_kv_heads * view->head_stride;
        view->k_scale = view->v_scale = 1;
    }
    return MR_OK;
}

enum mr_status mr_kv_store_open(const struct mr_kv_store_options *options, const struct mr_ops *ops, struct mr_device *device,
                                struct mr_kv_store **out, struct mr_err *err)
{
    int64_t slab = slab_elements(options, options->n_blocks);
    *out = NULL;
    if (slab < 1 || options->n_layers < 1 || !element_bytes(options->k_dtype) || !element_bytes(options->v_dtype))
        return mr_err_set(err, MR_ERR_INVALID, "a cache of %d blocks of %d tokens, %d layers, %d heads of %d", options->n_blocks,
                          options->block_tokens, options->n_layers, options->n_kv_heads, options->head_dim);
    if ((int64_t)options->n_blocks * options->block_tokens > INT32_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "a cache of %d blocks of %d tokens: slots are counted in 31 bits", options->n_blocks,
                          options->block_tokens);
    struct mr_kv_store *store = calloc(1, sizeof *store);
    if (store)
        store->layers = calloc((size_t)options->n_layers, sizeof *store->layers);
    if (!store || !store->layers) {
        free(store);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %d layers", options->n_layers);
    }
    store->ops = ops;
    store->device = device;
    store->options = *options;
    enum mr_status status = store_alloc(store, slab, err);
    if (status) {
        mr_kv_store_close(store);
        return status;
    }
    *out = store;
    return MR_OK;
}

void mr_kv_store_close(struct mr_kv_store *store)
{
    if (!store)
        return;
    for (int32_t l = 0; l < store->options.n_layers; l++) {
        store->ops->release(store->device, store->layers[l].k);
        store->ops->release(store->device, store->layers[l].v);
    }
    free(store->layers);
    free(store);
}
