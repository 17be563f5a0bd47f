/* Owns the table of families. GGUF's names for a family's numbers are "<family>.<number>"; see docs/gguf.md of ggml.
 * Invariants:
 * 1. A shape that leaves here has passed mr_shape_check: every product of two of its numbers fits 32 bits.
 * 2. What a file asks for and the graph does not do is refused by name, never skipped: a model that runs is the model meant.
 * Thread: any. Rejected: a source file a family (they drift apart); guessing a family from its tensors. */
#include "worker/model/shape.h"

#include <stdio.h>
#include <string.h>

static const struct family {
    const char *name;
    enum mr_rope_kind rope;
    enum mr_activation activation;
    bool qkv_bias, qk_norm;
    int32_t nope_interval;
} families[] = {
    {.name = "llama", .rope = MR_ROPE_PAIRS, .activation = MR_SILU}, /* the converter reorders rows of q and k for pairs */
    {.name = "qwen2", .rope = MR_ROPE_HALF, .activation = MR_SILU, .qkv_bias = true},
    {.name = "qwen3", .rope = MR_ROPE_HALF, .activation = MR_SILU, .qk_norm = true},
    {.name = "smollm3", .rope = MR_ROPE_PAIRS, .activation = MR_SILU, .nope_interval = 4},
};

struct source {
    const struct mr_gguf *gguf;
    const char *family;
    struct mr_err *err;
    enum mr_status status; /* of the first failure */
};

static const char *full_name(const struct source *source, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", source->family, name);
    return out;
}

/* A whole number of the family; fallback -1: the key is required. */
static int32_t number(struct source *source, const char *name, int32_t most, int32_t fallback)
{
    char full[96];
    int64_t value = fallback;
    struct mr_err err;
    if (source->status)
        return 0;
    enum mr_status status = mr_gguf_int(source->gguf, full_name(source, name, full), 0, most, &value, &err);
    if (status && !(status == MR_ERR_NOT_FOUND && fallback >= 0)) {
        source->status = status;
        mr_err_set(source->err, status, "%s", err.text);
    }
    return (int32_t)value;
}

static float real(struct source *source, const char *name, double fallback)
{
    char full[96];
    double value = fallback;
    struct mr_err err;
    if (source->status)
        return 0;
    enum mr_status status = mr_gguf_real(source->gguf, full_name(source, name, full), &value, &err);
    if (status && !(status == MR_ERR_NOT_FOUND && fallback >= 0)) {
        source->status = status;
        mr_err_set(source->err, status, "%s", err.text);
    }
    return (float)value;
}

static const struct family *family_find(struct mr_str name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (mr_str_is(name, families[i].name))
            return &families[i];
    return NULL;
}

/* Features that change the graph and are not in it. */
static enum mr_status refuse_unbuilt(struct source *source, struct mr_shape *shape)
{
    char full[96];
    struct mr_str scaling;
    int64_t split = 1;
    if (number(source, "expert_count", INT32_MAX, 0) > 0)
        return mr_err_set(source->err, MR_ERR_UNSUPPORTED, "this %s model has experts, which are not built", source->family);
    if (mr_gguf_int(source->gguf, "split.count", 0, INT32_MAX, &split, NULL) == MR_OK && split > 1)
        return mr_err_set(source->err, MR_ERR_UNSUPPORTED, "the model is split over %lld files (split.count); one file is read", (long long)split);
    if (source->status || mr_gguf_string(source->gguf, full_name(source, "rope.scaling.type", full), &scaling, NULL) || mr_str_is(scaling, "none"))
        return source->status;
    if (!mr_str_is(scaling, "linear"))
        return mr_err_set(source->err, MR_ERR_UNSUPPORTED, "rope scaling \"%.*s\" is not built", scaling.n < 32 ? (int)scaling.n : 32, scaling.p);
    shape->rope_linear = real(source, "rope.scaling.factor", 1);
    return source->status;
}

static void numbers_read(struct source *source, struct mr_shape *shape)
{
    shape->n_layers = number(source, "block_count", MR_SHAPE_LAYERS_MAX, -1);
    shape->context = number(source, "context_length", MR_SHAPE_CONTEXT_MAX, -1);
    shape->hidden = number(source, "embedding_length", MR_SHAPE_WIDTH_MAX, -1);
    shape->ffn = number(source, "feed_forward_length", MR_SHAPE_WIDTH_MAX, -1);
    shape->n_heads = number(source, "attention.head_count", MR_SHAPE_HEADS_MAX, -1);
    shape->n_kv_heads = number(source, "attention.head_count_kv", MR_SHAPE_HEADS_MAX, shape->n_heads);
    int32_t usual = shape->n_heads > 0 ? shape->hidden / shape->n_heads : 0;
    shape->head_dim = number(source, "attention.key_length", MR_SHAPE_HEAD_DIM_MAX, usual);
    int32_t value_length = number(source, "attention.value_length", MR_SHAPE_HEAD_DIM_MAX, shape->head_dim);
    if (!source->status && value_length != shape->head_dim)
        source->status = mr_err_set(source->err, MR_ERR_UNSUPPORTED, "keys of %d and values of %d elements are not built", shape->head_dim,
                                    value_length);
    shape->norm_epsilon = real(source, "attention.layer_norm_rms_epsilon", -1);
    shape->rope_base = real(source, "rope.freq_base", 10000);
    shape->rope_dim = number(source, "rope.dimension_count", MR_SHAPE_HEAD_DIM_MAX, shape->head_dim);
    shape->window = number(source, "attention.sliding_window", INT32_MAX, 0);
}

enum mr_status mr_shape_from_gguf(const struct mr_gguf *gguf, struct mr_shape *out, struct mr_err *err)
{
    struct mr_str name;
    struct mr_tensor_table table = {gguf->tensors, gguf->n_tensors};
    enum mr_status status = mr_gguf_string(gguf, "general.architecture", &name, err);
    if (status)
        return status;
    const struct family *family = family_find(name);
    if (!family)
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "the model family \"%.*s\" is not built", name.n < 32 ? (int)name.n : 32, name.p);
    *out = (struct mr_shape){.embed_scale = 1, .rope_linear = 1, .rope = family->rope, .activation = family->activation,
                             .qkv_bias = family->qkv_bias, .qk_norm = family->qk_norm, .nope_interval = family->nope_interval};
    snprintf(out->family, sizeof out->family, "%s", family->name);
    struct source source = {.gguf = gguf, .family = family->name, .err = err};
    numbers_read(&source, out);
    status = source.status ? source.status : refuse_unbuilt(&source, out);
    if (status)
        return status;
    const struct mr_tensor *embed = mr_tensor_find(&table, "token_embd.weight");
    if (!embed || embed->dims[1] > MR_SHAPE_VOCABULARY_MAX)
        return mr_err_set(err, MR_ERR_INVALID, "tensor token_embd.weight is %s", embed ? "too large" : "missing");
    out->vocabulary = (int32_t)embed->dims[1];
    out->tied_head = !mr_tensor_find(&table, "output.weight");
    out->qkv_bias |= mr_tensor_find(&table, "blk.0.attn_q.bias") != NULL;
    return mr_shape_check(out, err);
}

enum mr_status mr_shape_check(const struct mr_shape *s, struct mr_err *err)
{
    const struct {
        const char *what;
        int32_t value, most;
    } limits[] = {
        {"layers", s->n_layers, MR_SHAPE_LAYERS_MAX}, {"heads", s->n_heads, MR_SHAPE_HEADS_MAX}, {"KV heads", s->n_kv_heads, MR_SHAPE_HEADS_MAX},
        {"elements a head", s->head_dim, MR_SHAPE_HEAD_DIM_MAX}, {"hidden elements", s->hidden, MR_SHAPE_WIDTH_MAX},
        {"feed-forward elements", s->ffn, MR_SHAPE_WIDTH_MAX}, {"tokens", s->vocabulary, MR_SHAPE_VOCABULARY_MAX},
        {"positions", s->context, MR_SHAPE_CONTEXT_MAX}, {"rotated elements", s->rope_dim, s->head_dim},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].value < 1 || limits[i].value > limits[i].most)
            return mr_err_set(err, MR_ERR_INVALID, "a %s model of %d %s: not 1 to %d", s->family, limits[i].value, limits[i].what, limits[i].most);
    if (s->n_heads % s->n_kv_heads)
        return mr_err_set(err, MR_ERR_INVALID, "%d heads do not share %d KV heads evenly", s->n_heads, s->n_kv_heads);
    if (s->rope_dim % 2)
        return mr_err_set(err, MR_ERR_INVALID, "%d rotated elements are no pairs", s->rope_dim);
    if (!(s->norm_epsilon >= 0 && s->norm_epsilon < 1) || !(s->rope_base > 0) || !(s->rope_linear > 0))
        return mr_err_set(err, MR_ERR_INVALID, "a %s model with norm epsilon %g, rope base %g, rope factor %g", s->family, (double)s->norm_epsilon,
                          (double)s->rope_base, (double)s->rope_linear);
    return MR_OK;
}
