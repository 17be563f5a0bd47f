/* A model: its shape (a row of switches, read from the file), its weights on a device, and the forward pass.
 * A family is a row in a table, never a source file. Opened once, then read-only; forward belongs to the engine thread. */
#ifndef MR_WORKER_MODEL_MODEL_H
#define MR_WORKER_MODEL_MODEL_H

#include "base/status.h"
#include "base/str.h"
#include "kernels/ops.h"
#include "kv/kv_store.h"

#include <stdbool.h>
#include <stdint.h>

/* What the graph does, by data. */
struct mr_shape {
    char family[32];          /* "llama", "qwen2", "qwen3", ... */
    int32_t n_layers, hidden, n_heads, n_kv_heads, head_dim, ffn, vocabulary;
    int32_t context;          /* positions it was trained for */
    float norm_epsilon, norm_gain_offset, embed_scale, softcap_attention, softcap_logits;
    float rope_base;
    float rope_linear;        /* positions are divided by it (linear scaling); 1: none */
    int32_t rope_dim;
    int32_t nope_interval;    /* every such layer (the last of each group) goes without positions; 0: none does */
    enum mr_rope_kind rope;
    enum mr_activation activation;
    int32_t window;           /* 0: none */
    bool qkv_bias, qk_norm, tied_head;
};

struct mr_model_options {
    const struct mr_ops *ops;
    struct mr_device *device; /* borrowed: outlives the model */
    int32_t max_tokens;       /* rows of the widest step */
    int32_t max_logits;       /* rows of logits of one step */
    uint64_t seed;            /* synthetic weights */
};

struct mr_model; /* opaque */
struct mr_gguf;  /* format_gguf.h */

/* The shape alone, without reading a weight: what a device must be opened for. */
enum mr_status mr_model_shape_read(const char *source, struct mr_shape *out, struct mr_err *err);

/* source: a GGUF file's path or "synthetic:SHAPE". On failure *out is NULL and err names what in the file is wrong. */
enum mr_status mr_model_open(const char *source, const struct mr_model_options *options, struct mr_model **out, struct mr_err *err);
void mr_model_close(struct mr_model *model);

const struct mr_shape *mr_model_shape(const struct mr_model *model);
const char *mr_model_name(const struct mr_model *model);   /* general.name, else the file's name */
const char *mr_model_digest(const struct mr_model *model); /* 64 hex digits over metadata and weights (model_digest.h says what) */
size_t mr_model_weight_bytes(const struct mr_model *model); /* of all tensors, as stored */
size_t mr_model_step_bytes(const struct mr_model *model);   /* of the matrices that a step reads once, in the form that the device keeps */
size_t mr_model_device_bytes(const struct mr_model *model); /* what the device holds beyond them: repacked weights, activations */
const struct mr_gguf *mr_model_file(const struct mr_model *model); /* its metadata; NULL: synthetic */

/* Lets the device time and record what it will run, before serving: idle forward passes over the store's layers. */
enum mr_status mr_model_warm(struct mr_model *model, struct mr_kv_store *store, struct mr_err *err);

/* One step: ops->begin, then batch through every layer; writes K and V to the store, and leaves logits of batch->logit_rows, in order, at
 * mr_model_logits ([R][vocabulary] f32, device memory) for ops->sample / ops->score. The caller calls ops->finish.
 * MR_ERR_LIMIT: more tokens, sequences or logits than at open; MR_ERR_INVALID: an id outside the vocabulary. */
enum mr_status mr_model_forward(struct mr_model *model, struct mr_kv_store *store, const struct mr_batch *batch);
/* For measuring, between steps: the last step's ops again, those of `parts` alone (bits of mr_model_part), over its batch. What they leave
 * in the activations, and in the cache at the step's own slots, is good for nothing. */
enum mr_model_part { MR_MODEL_PRODUCTS = 1, MR_MODEL_ATTENTION = 2, MR_MODEL_REST = 4 };
enum mr_status mr_model_again(struct mr_model *model, struct mr_kv_store *store, int32_t n_tokens, int32_t n_logits, unsigned parts);
const float *mr_model_logits(const struct mr_model *model);
float *mr_model_scratch(const struct mr_model *model); /* [max_logits][vocabulary] device memory, for mr_sample_params */

#endif
