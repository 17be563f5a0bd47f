/* A model's tensors on a device: checked against the shape, stacked where one product does for several (q, k, v; gate, up). */
#ifndef MR_WORKER_MODEL_WEIGHTS_H
#define MR_WORKER_MODEL_WEIGHTS_H

#include "worker/model/model.h"
#include "worker/model/tensor.h"

/* One layer. Matrices are [outputs][inputs]; vectors lie in device memory; NULL where the family has none. */
struct mr_layer {
    struct mr_weight *qkv;      /* [(n_heads + 2 n_kv_heads) head_dim][hidden] */
    struct mr_weight *attn_out; /* [hidden][n_heads head_dim] */
    struct mr_weight *gate_up;  /* [2 ffn][hidden] */
    struct mr_weight *down;     /* [hidden][ffn] */
    float *attn_norm, *ffn_norm; /* [hidden] */
    float *qkv_bias;            /* [(n_heads + 2 n_kv_heads) head_dim] */
    float *q_gain, *k_gain;     /* [head_dim] */
};

struct mr_weights {
    const struct mr_ops *ops;
    struct mr_device *device;   /* borrowed */
    struct mr_layer *layers;    /* [n_layers] */
    int32_t n_layers;
    struct mr_weight *embed;    /* [vocabulary][hidden] */
    struct mr_weight *head;     /* [vocabulary][hidden]; embed itself when tied */
    float *final_norm;          /* [hidden] */
    float *rope_frequency;      /* [rope_dim / 2] radians a position */
    size_t stored_bytes;        /* of all tensors, as in the table */
    size_t device_bytes;        /* what the device holds beyond them */
};

/* table's data must outlive the weights (a device may use it in place). Every tensor of the table must belong to the graph: one that
 * does not (a bias the family has not, a second head) is MR_ERR_UNSUPPORTED, a missing or misshapen one MR_ERR_INVALID; both by name. */
enum mr_status mr_weights_open(const struct mr_tensor_table *table, const struct mr_shape *shape, const struct mr_ops *ops, struct mr_device *device,
                               struct mr_weights **out, struct mr_err *err);
void mr_weights_close(struct mr_weights *weights); /* NULL is fine */

#endif
