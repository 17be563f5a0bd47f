/* Model families: a row of switches each, filled in with the numbers of a file's metadata. */
#ifndef MR_WORKER_MODEL_SHAPE_H
#define MR_WORKER_MODEL_SHAPE_H

#include "worker/model/format_gguf.h"
#include "worker/model/model.h"

/* Largest numbers that a model may state. */
enum {
    MR_SHAPE_LAYERS_MAX = 1024,
    MR_SHAPE_HEADS_MAX = 1024,
    MR_SHAPE_HEAD_DIM_MAX = 512,
    MR_SHAPE_WIDTH_MAX = 1 << 20,      /* hidden, ffn */
    MR_SHAPE_VOCABULARY_MAX = 1 << 22,
    MR_SHAPE_CONTEXT_MAX = 1 << 24,
};

/* MR_ERR_UNSUPPORTED names the family or the feature (experts, a rope scaling) that is not built; MR_ERR_INVALID, MR_ERR_NOT_FOUND
 * name the key. The vocabulary is that of the token_embd.weight tensor. */
enum mr_status mr_shape_from_gguf(const struct mr_gguf *gguf, struct mr_shape *out, struct mr_err *err);
/* Whether the numbers fit each other and the limits above. */
enum mr_status mr_shape_check(const struct mr_shape *shape, struct mr_err *err);

static inline int32_t mr_shape_qkv_width(const struct mr_shape *shape) { return (shape->n_heads + 2 * shape->n_kv_heads) * shape->head_dim; }
/* Whether layer (from 0) rotates q and k. */
static inline bool mr_shape_layer_rotates(const struct mr_shape *shape, int32_t layer)
{
    return shape->nope_interval == 0 || (layer + 1) % shape->nope_interval != 0;
}

#endif
