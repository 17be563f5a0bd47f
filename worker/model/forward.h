/* The forward pass: one step's tokens through every layer, written against kernels/ops.h alone.
 * Engine thread. Memory is allocated at open; a step allocates nothing. */
#ifndef MR_WORKER_MODEL_FORWARD_H
#define MR_WORKER_MODEL_FORWARD_H

#include "worker/model/model.h"
#include "worker/model/weights.h"

struct mr_forward {
    const struct mr_shape *shape;     /* borrowed, as weights is */
    const struct mr_weights *weights;
    int32_t max_tokens, max_logits;
    /* Activations, device memory, M = max_tokens, R = max_logits. */
    void *residual;  /* [M][hidden] */
    void *normed;    /* [M][hidden] */
    void *qkv;       /* [M][(n_heads + 2 n_kv_heads) head_dim] */
    void *attention; /* [M][n_heads head_dim] */
    void *delta;     /* [M][hidden] what the next norm adds to the residual */
    void *gate_up;   /* [M][2 ffn] */
    void *ffn;       /* [M][ffn] */
    void *gathered;  /* [R][hidden] */
    float *logits;   /* [R][vocabulary] */
    float *scratch;  /* [R][vocabulary] for sampling */
    size_t bytes;    /* of all of them */
    unsigned only;   /* parts that run (mr_model_again); 0: all */
};

/* Fills *forward; close frees what is there, after a failure too. */
enum mr_status mr_forward_open(struct mr_forward *forward, const struct mr_shape *shape, const struct mr_weights *weights, int32_t max_tokens,
                               int32_t max_logits, struct mr_err *err);
void mr_forward_close(struct mr_forward *forward);
/* mr_model_forward says what it does. store: of the shape's layers and heads. */
enum mr_status mr_forward_step(struct mr_forward *forward, struct mr_kv_store *store, const struct mr_batch *batch);
/* The last step's ops again, those of `parts` alone, without begin and end. */
enum mr_status mr_forward_again(struct mr_forward *forward, struct mr_kv_store *store, int32_t n_tokens, int32_t n_logits, unsigned parts);

#endif
