/* The bytes of the paged cache, on a device: per layer one slab of K and one of V. Layout is data (struct mr_kv_view).
 * Allocated once at start; a block's content is undefined until written and is never read before. */
#ifndef MR_KV_KV_STORE_H
#define MR_KV_KV_STORE_H

#include "base/status.h"
#include "kernels/ops.h"

#include <stddef.h>
#include <stdint.h>

struct mr_kv_store_options {
    int32_t n_layers, n_kv_heads, head_dim, block_tokens, n_blocks;
    enum mr_dtype k_dtype, v_dtype;
};

struct mr_kv_store {
    const struct mr_ops *ops;
    struct mr_device *device;     /* borrowed */
    struct mr_kv_store_options options;
    struct mr_kv_view *layers;    /* [n_layers] */
};

/* Bytes one block takes over all layers, K and V. */
size_t mr_kv_block_bytes(const struct mr_kv_store_options *options);
enum mr_status mr_kv_store_open(const struct mr_kv_store_options *options, const struct mr_ops *ops, struct mr_device *device,
                                struct mr_kv_store **out, struct mr_err *err);
void mr_kv_store_close(struct mr_kv_store *store);

#endif
