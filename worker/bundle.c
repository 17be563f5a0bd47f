/* Owns what one model file gives, in the order in which it is opened: device, model, store, tokenizer, chat template.
 * Invariants:
 * 1. The device is opened for the model's shape, which is read first: every workspace has its size before a weight is loaded.
 * 2. Whatever was opened before a failure is closed by mr_bundle_close, which takes a bundle at any stage.
 * 3. A chat template that is not understood refuses chat jobs, not the model.
 * Thread: opened before any; the forward port belongs to the engine's. */
#include "worker/bundle.h"

#include "kv/block_table.h"
#include "worker/model/format_gguf.h"
#include "worker/model/synthetic.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    VOCABULARY_BYTES_MAX = 512 << 20,
    FP8_ROWS = 16, /* a step's rows on a device with FP8 products are a multiple of it */
};

/* ChatML, so that chat jobs run on a synthetic model too; its control tokens are the tokenizer's. */
static const char synthetic_template[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/* The file's name without folder and .gguf. */
static void name_set(struct mr_bundle *bundle, const struct mr_bundle_options *options)
{
    const char *slash = strrchr(options->source, '/');
    const char *name = options->name ? options->name : slash ? slash + 1 : options->source;
    size_t n = strlen(name), ending = sizeof ".gguf" - 1;
    if (!options->name && n > ending && strcmp(name + n - ending, ".gguf") == 0)
        n -= ending;
    snprintf(bundle->name, sizeof bundle->name, "%.*s", n < sizeof bundle->name ? (int)n : (int)sizeof bundle->name - 1, name);
}

static enum mr_status context_set(struct mr_bundle *bundle, const struct mr_bundle_options *options, const struct mr_shape *shape, struct mr_err *err)
{
    if (options->block_tokens < 1 || options->max_context < 0)
        return mr_err_set(err, MR_ERR_INVALID, "blocks of %d tokens, a context of %d", options->block_tokens, options->max_context);
    if (options->max_context > shape->context)
        return mr_err_set(err, MR_ERR_INVALID, "a context of %d tokens: the model was trained for %d", options->max_context, shape->context);
    bundle->context = options->max_context ? options->max_context : shape->context;
    return MR_OK;
}

/* Rows that buffers of a step have: the step's tokens, rounded up. */
static int32_t step_rows(const struct mr_bundle_options *options)
{
    return (options->max_step_tokens + FP8_ROWS - 1) / FP8_ROWS * FP8_ROWS;
}

static enum mr_precision precision_of(const struct mr_bundle *bundle, const struct mr_bundle_options *options)
{
    enum mr_precision own = bundle->ops->act_dtype == MR_F32 ? MR_EXACT : MR_FAST;
    return options->precision == MR_PRECISION_AUTO ? own : options->precision;
}

static enum mr_status device_open(struct mr_bundle *bundle, const struct mr_bundle_options *options, const struct mr_shape *shape, struct mr_err *err)
{
    const char *device = options->device ? options->device : "cpu";
    bool automatic = strcmp(device, "auto") == 0;
    if (strcmp(device, "cpu") != 0 && strcmp(device, "cuda") != 0 && !automatic)
        return mr_err_set(err, MR_ERR_INVALID, "no device \"%.32s\": there are cpu, cuda and auto", device);
    bundle->ops = strcmp(device, "cpu") == 0 ? NULL : mr_ops_cuda(err);
    if (!bundle->ops && strcmp(device, "cuda") == 0)
        return MR_ERR_UNSUPPORTED;
    if (!bundle->ops)
        bundle->ops = mr_ops_cpu();
    bool fp8 = options->weights && strcmp(options->weights, "fp8") == 0;
    if (options->weights && strcmp(options->weights, "file") != 0 && !fp8)
        return mr_err_set(err, MR_ERR_INVALID, "no weights \"%.32s\": there are file and fp8", options->weights);
    if (fp8 && bundle->ops->act_dtype != MR_BF16)
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "weights \"fp8\" need a CUDA device");
    int32_t widths[] = {shape->hidden, shape->ffn, (shape->n_heads + 2 * shape->n_kv_heads) * shape->head_dim, 0}, widest = 0;
    for (int i = 0; widths[i]; i++)
        widest = widths[i] > widest ? widths[i] : widest;
    struct mr_device_options device_options = {
        .threads = options->threads,
        .pin = options->pin,
        .precision = precision_of(bundle, options),
        .weight_dtype = fp8 ? MR_E4M3 : MR_BF16,
        .max_tokens = step_rows(options),
        .max_seqs = options->max_seqs,
        .max_blocks = mr_blocks_for(bundle->context, options->block_tokens),
        .max_row_elements = (size_t)widest,
    };
    return bundle->ops->open(&device_options, &bundle->device, err);
}

/* Bytes of the device that were taken since the last call; 0 where it does not say. */
static size_t memory_taken(struct mr_bundle *bundle)
{
    size_t left, total, before = bundle->memory.left;
    if (!bundle->ops->memory)
        return 0;
    bundle->ops->memory(bundle->device, &left, &total);
    if (!bundle->memory.total)
        bundle->memory.total = before = total;
    bundle->memory.left = left;
    return before > left ? before - left : 0;
}

static size_t cache_bytes(const struct mr_bundle *bundle, const struct mr_bundle_options *options)
{
    size_t spare = bundle->memory.total / MR_BUNDLE_SPARE_PART;
    if (options->kv_bytes)
        return options->kv_bytes;
    if (!bundle->ops->memory)
        return MR_BUNDLE_KV_BYTES;
    return bundle->memory.left > spare ? bundle->memory.left - spare : 0;
}

static enum mr_status store_open(struct mr_bundle *bundle, const struct mr_bundle_options *options, const struct mr_shape *shape, struct mr_err *err)
{
    bool cpu = bundle->ops->act_dtype == MR_F32;
    enum mr_dtype dtype = !cpu ? bundle->ops->act_dtype : precision_of(bundle, options) == MR_EXACT ? MR_F32 : MR_F16;
    if (!cpu && options->block_tokens % 16)
        return mr_err_set(err, MR_ERR_INVALID, "blocks of %d tokens: on CUDA they are a multiple of 16", options->block_tokens);
    if (options->kv_fp8 && cpu)
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "a cache in fp8 needs a CUDA device");
    if (options->kv_fp8)
        dtype = MR_E4M3;
    struct mr_kv_store_options store = {
        .n_layers = shape->n_layers,
        .n_kv_heads = shape->n_kv_heads,
        .head_dim = shape->head_dim,
        .block_tokens = options->block_tokens,
        .k_dtype = dtype,
        .v_dtype = dtype,
    };
    size_t block_bytes = mr_kv_block_bytes(&store), most = (size_t)(INT32_MAX / options->block_tokens), bytes = cache_bytes(bundle, options);
    if (block_bytes == 0 || bytes < block_bytes)
        return mr_err_set(err, MR_ERR_INVALID, "%zu bytes for the cache: one block of %d tokens takes %zu", bytes, options->block_tokens,
                          block_bytes);
    store.n_blocks = (int32_t)(bytes / block_bytes < most ? bytes / block_bytes : most);
    return mr_kv_store_open(&store, bundle->ops, bundle->device, &bundle->store, err);
}

/* An optional token id. */
static enum mr_status token_id(const struct mr_gguf *gguf, const char *name, size_t n_tokens, int32_t *out, struct mr_err *err)
{
    int64_t id = -1;
    enum mr_status status = mr_gguf_int(gguf, name, 0, (int64_t)n_tokens - 1, &id, err);
    *out = (int32_t)id;
    return status == MR_ERR_NOT_FOUND ? MR_OK : status;
}

static enum mr_status vocabulary_ids(const struct mr_gguf *gguf, struct mr_vocabulary *vocabulary, int32_t *eom, struct mr_err *err)
{
    const struct {
        const char *name;
        int32_t *id;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &vocabulary->bos}, {"tokenizer.ggml.eos_token_id", &vocabulary->eos},
        {"tokenizer.ggml.eot_token_id", &vocabulary->eot}, {"tokenizer.ggml.eom_token_id", eom},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        enum mr_status status = token_id(gguf, ids[i].name, vocabulary->n_tokens, ids[i].id, err);
        if (status)
            return status;
    }
    vocabulary->ends = eom;
    vocabulary->n_ends = *eom >= 0;
    /* Files of this pre-tokenizer leave the key out and mean yes. */
    vocabulary->add_bos = mr_str_is(vocabulary->pre, "llama-bpe") || mr_str_is(vocabulary->pre, "llama3") || mr_str_is(vocabulary->pre, "llama-v3");
    enum mr_status status = mr_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &vocabulary->add_bos, err);
    return status == MR_ERR_NOT_FOUND ? MR_OK : status;
}

static enum mr_status vocabulary_read(const struct mr_gguf *gguf, struct mr_arena *arena, struct mr_vocabulary *vocabulary, struct mr_err *err)
{
    size_t n_types = 0;
    vocabulary->pre = MR_STR("default");
    enum mr_status status = mr_gguf_string(gguf, "tokenizer.ggml.model", &vocabulary->model, err);
    if (!status)
        status = mr_gguf_strings(gguf, "tokenizer.ggml.tokens", arena, &vocabulary->tokens, &vocabulary->n_tokens, err);
    if (!status && mr_gguf_key_find(gguf, "tokenizer.ggml.pre"))
        status = mr_gguf_string(gguf, "tokenizer.ggml.pre", &vocabulary->pre, err);
    if (!status && mr_gguf_key_find(gguf, "tokenizer.ggml.merges"))
        status = mr_gguf_strings(gguf, "tokenizer.ggml.merges", arena, &vocabulary->merges, &vocabulary->n_merges, err);
    if (!status && mr_gguf_key_find(gguf, "tokenizer.ggml.token_type"))
        status = mr_gguf_ints(gguf, "tokenizer.ggml.token_type", arena, &vocabulary->types, &n_types, err);
    if (!status && vocabulary->types && n_types != vocabulary->n_tokens)
        status = mr_err_set(err, MR_ERR_INVALID, "key tokenizer.ggml.token_type has %zu entries for %zu tokens", n_types, vocabulary->n_tokens);
    return status;
}

/* gguf NULL: a synthetic model, of n_rows tokens. */
static enum mr_status tokenizer_open(const struct mr_gguf *gguf, int32_t n_rows, struct mr_tokenizer **out, struct mr_err *err)
{
    int32_t eom = -1;
    struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = (size_t)n_rows, .bos = -1, .eos = MR_SYNTHETIC_EOS, .eot = -1};
    struct mr_arena arena;
    mr_arena_init(&arena, VOCABULARY_BYTES_MAX);
    enum mr_status status = gguf ? vocabulary_read(gguf, &arena, &vocabulary, err) : MR_OK;
    if (gguf && !status)
        status = vocabulary_ids(gguf, &vocabulary, &eom, err);
    if (!status && vocabulary.n_tokens > (size_t)n_rows)
        status = mr_err_set(err, MR_ERR_INVALID, "key tokenizer.ggml.tokens has %zu tokens, the model's table %d rows", vocabulary.n_tokens, n_rows);
    if (!status)
        status = mr_tokenizer_open(&vocabulary, out, err);
    mr_arena_fini(&arena);
    return status;
}

enum mr_status mr_bundle_open_tokenizer(const char *source, struct mr_tokenizer **out, struct mr_err *err)
{
    struct mr_shape shape;
    struct mr_gguf *gguf = NULL;
    *out = NULL;
    enum mr_status status = mr_model_shape_read(source, &shape, err);
    if (!status && strncmp(source, "synthetic:", sizeof "synthetic:" - 1) != 0)
        status = mr_gguf_open(source, &gguf, err);
    if (!status)
        status = tokenizer_open(gguf, shape.vocabulary, out, err);
    mr_gguf_close(gguf);
    return status;
}

static void chat_open(struct mr_bundle *bundle)
{
    const struct mr_gguf *gguf = mr_model_file(bundle->model);
    struct mr_str source = mr_str_from(synthetic_template);
    struct mr_err err = {.text = ""};
    if (!gguf || mr_gguf_string(gguf, "tokenizer.chat_template", &source, &err) == MR_OK)
        mr_chat_open(source, &bundle->chat, &err);
    if (!bundle->chat)
        snprintf(bundle->chat_error, sizeof bundle->chat_error, "%s", err.text);
}

static enum mr_status bundle_fill(struct mr_bundle *bundle, const struct mr_bundle_options *options, struct mr_err *err)
{
    struct mr_shape shape;
    struct mr_model_options model = {.max_tokens = step_rows(options), .max_logits = options->max_logits, .seed = options->seed};
    const struct mr_clock clock = mr_clock_system();
    int64_t open_ns = mr_clock_ns(&clock);
    name_set(bundle, options);
    enum mr_status status = mr_model_shape_read(options->source, &shape, err);
    if (!status)
        status = context_set(bundle, options, &shape, err);
    if (!status)
        status = device_open(bundle, options, &shape, err);
    if (status)
        return status;
    model.ops = bundle->ops;
    model.device = bundle->device;
    bundle->memory.others = memory_taken(bundle);
    int64_t start_ns = mr_clock_ns(&clock);
    status = mr_model_open(options->source, &model, &bundle->model, err);
    bundle->model_ns = mr_clock_ns(&clock) - start_ns;
    bundle->memory.model = memory_taken(bundle);
    if (!status)
        status = store_open(bundle, options, mr_model_shape(bundle->model), err);
    bundle->memory.cache = memory_taken(bundle);
    if (!status)
        status = tokenizer_open(mr_model_file(bundle->model), mr_model_shape(bundle->model)->vocabulary, &bundle->tokenizer, err);
    if (!status)
        chat_open(bundle);
    if (!status)
        status = mr_model_warm(bundle->model, bundle->store, err);
    bundle->memory.warm = memory_taken(bundle);
    bundle->open_ns = mr_clock_ns(&clock) - open_ns;
    return status;
}

enum mr_status mr_bundle_open(const struct mr_bundle_options *options, struct mr_bundle **out, struct mr_err *err)
{
    struct mr_bundle *bundle = calloc(1, sizeof *bundle);
    *out = NULL;
    if (!bundle)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a model");
    enum mr_status status = bundle_fill(bundle, options, err);
    if (status) {
        mr_bundle_close(bundle);
        return status;
    }
    *out = bundle;
    return MR_OK;
}

void mr_bundle_close(struct mr_bundle *bundle)
{
    if (!bundle)
        return;
    if (bundle->chat)
        mr_chat_close(bundle->chat);
    if (bundle->tokenizer)
        mr_tokenizer_close(bundle->tokenizer);
    mr_kv_store_close(bundle->store);
    mr_model_close(bundle->model);
    if (bundle->device)
        bundle->ops->close(bundle->device);
    free(bundle);
}

static enum mr_status port_step(void *self, const struct mr_batch *batch)
{
    struct mr_bundle *bundle = self;
    return mr_model_forward(bundle->model, bundle->store, batch);
}

static enum mr_status port_sample(void *self, int32_t rows, const struct mr_sample_row *row, struct mr_sampled *out)
{
    struct mr_bundle *bundle = self;
    return bundle->ops->sample(bundle->device, &(struct mr_sample_params){
        .logits = mr_model_logits(bundle->model), .rows = rows, .vocabulary = mr_model_shape(bundle->model)->vocabulary, .row = row, .out = out,
        .scratch = mr_model_scratch(bundle->model)});
}

static enum mr_status port_score(void *self, int32_t rows, int32_t n_top, const int32_t *ids, struct mr_sampled *out)
{
    struct mr_bundle *bundle = self;
    return bundle->ops->score(bundle->device, &(struct mr_score_params){
        .logits = mr_model_logits(bundle->model), .rows = rows, .vocabulary = mr_model_shape(bundle->model)->vocabulary, .n_top = n_top, .ids = ids,
        .out = out});
}

static enum mr_status port_finish(void *self)
{
    struct mr_bundle *bundle = self;
    return bundle->ops->finish(bundle->device);
}

static enum mr_status port_leave(void *self)
{
    struct mr_bundle *bundle = self;
    return bundle->ops->leave(bundle->device);
}

static enum mr_status port_collect(void *self)
{
    struct mr_bundle *bundle = self;
    return bundle->ops->collect(bundle->device);
}

struct mr_forward_port mr_bundle_forward(struct mr_bundle *bundle)
{
    struct mr_forward_port port = {.step = port_step, .sample = port_sample, .score = port_score, .finish = port_finish, .self = bundle};
    if (bundle->ops->leave)
        port.leave = port_leave, port.collect = port_collect;
    return port;
}
