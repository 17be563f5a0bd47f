/* `millrace bench kernels`: each kind of matrix product of a model over all its layers (so that no weight is found in a cache),
 * and attention, each beside what this machine reads and multiplies, measured in the same run.
 *
 * Owns: device, weights and activations of one call.
 * 1 A figure is the best of several runs; a run of a product goes through every layer's weight once.
 * 2 Bytes are those that must be read: a weight as the device holds it, K and V of the sequences.
 * Thread: the caller's. Rejected: one weight in a loop (it would come from the cache, and no layer does). */
#include "base/clock.h"
#include "kernels/ceiling.h"
#include "kv/kv_store.h"
#include "worker/cli/bench.h"
#include "worker/model/format_gguf.h"
#include "worker/model/shape.h"
#include "worker/model/synthetic.h"
#include "worker/model/weights.h"
#include "worker/options.h"

#include <stdio.h>
#include <stdlib.h>

enum { KERNELS_ROWS_MAX = 512, KERNELS_RUNS = 5, KERNELS_BLOCK_TOKENS = 16, KERNELS_SEQS_MAX = 64 };

struct kernels {
    const struct mr_ops *ops;
    struct mr_device *device;
    struct mr_gguf *gguf;
    struct mr_synthetic *synthetic;
    struct mr_shape shape;
    struct mr_weights *weights;
    struct mr_clock clock;
    void *in, *out; /* [KERNELS_ROWS_MAX][widest] */
    double read_gbs, multiply_gops;
    bool json;
};

/* One measurement. */
struct kernels_figure {
    const char *name;
    int32_t rows, context;
    double s, bytes, operations;
};

static void kernels_print(const struct kernels *k, const struct kernels_figure *f)
{
    double gbs = f->bytes / f->s / 1e9, gops = f->operations / f->s / 1e9;
    if (k->json)
        printf("{\"kernel\":\"%s\",\"rows\":%d,\"context\":%d,\"us\":%.2f,\"gb_s\":%.3f,\"bandwidth_share\":%.4f,\"gop_s\":%.3f,\"flops_share\":%.4f,"
               "\"limit_read_gb_s\":%.2f,\"limit_gop_s\":%.2f}\n",
               f->name, f->rows, f->context, f->s * 1e6, gbs, gbs / k->read_gbs, gops, gops / k->multiply_gops, k->read_gbs, k->multiply_gops);
    else
        printf("%-18s rows %4d context %5d %10.1f us %7.2f GB/s (%3.0f %%) %8.1f Gop/s (%3.0f %%)\n", f->name, f->rows, f->context,
               f->s * 1e6, gbs, 100 * gbs / k->read_gbs, gops, 100 * gops / k->multiply_gops);
    fflush(stdout);
}

/* Weight `kind` of a layer, with its shape. */
static const struct mr_weight *kernels_weight(const struct kernels *k, int kind, int32_t layer, int64_t *n, int64_t *columns)
{
    const struct mr_shape *s = &k->shape;
    const struct mr_layer *l = &k->weights->layers[layer];
    const struct {
        const struct mr_weight *weight;
        int64_t n, k;
    } all[] = {
        {l->qkv, mr_shape_qkv_width(s), s->hidden},
        {l->attn_out, s->hidden, (int64_t)s->n_heads * s->head_dim},
        {l->gate_up, 2 * (int64_t)s->ffn, s->hidden},
        {l->down, s->hidden, s->ffn},
        {k->weights->head, s->vocabulary, s->hidden},
    };
    *n = all[kind].n;
    *columns = all[kind].k;
    return all[kind].weight;
}

static bool kernels_matmul(struct kernels *k, int kind, const char *name, int32_t rows)
{
    int32_t layers = kind == 4 ? 1 : k->shape.n_layers;
    int64_t n = 0, columns = 0;
    double best = 1e30, bytes = 0;
    for (int run = 0; run < KERNELS_RUNS; run++) {
        int64_t start_ns = mr_clock_ns(&k->clock);
        bytes = 0;
        for (int32_t layer = 0; layer < layers; layer++) {
            const struct mr_weight *weight = kernels_weight(k, kind, layer, &n, &columns);
            struct mr_matmul_params params = {.weight = weight, .in = k->in, .out = k->out, .rows = rows, .out_f32 = kind == 4};
            if (k->ops->matmul(k->device, &params) != MR_OK)
                return false;
            bytes += (double)k->ops->weight_bytes(weight);
        }
        k->ops->finish(k->device);
        double s = (double)(mr_clock_ns(&k->clock) - start_ns) / 1e9;
        best = s < best ? s : best;
    }
    kernels_print(k, &(struct kernels_figure){name, rows, 0, best / layers, bytes / layers, 2.0 * rows * (double)(n * columns)});
    return true;
}

/* Attention of one layer: n_seqs sequences of `context` tokens, the last `rows` of each in the step. */
static bool kernels_attention(struct kernels *k, struct mr_kv_store *store, int32_t n_seqs, int32_t rows, int32_t context)
{
    static int32_t ids[KERNELS_ROWS_MAX], positions[KERNELS_ROWS_MAX], slots[KERNELS_ROWS_MAX];
    static int32_t starts[KERNELS_SEQS_MAX + 1], lengths[KERNELS_SEQS_MAX];
    static int32_t table[KERNELS_SEQS_MAX * (KERNELS_ROWS_MAX / KERNELS_BLOCK_TOKENS)];
    int32_t stride = context / KERNELS_BLOCK_TOKENS, m = n_seqs * rows;
    for (int32_t s = 0; s < n_seqs; s++) {
        starts[s] = s * rows;
        lengths[s] = context;
        for (int32_t b = 0; b < stride; b++)
            table[s * stride + b] = s * stride + b;
        for (int32_t r = 0; r < rows; r++) {
            positions[s * rows + r] = context - rows + r;
            slots[s * rows + r] = s * context + context - rows + r;
        }
    }
    starts[n_seqs] = m;
    struct mr_batch batch = {.n_tokens = m, .n_seqs = n_seqs, .block_table_stride = stride, .ids = ids, .positions = positions, .slots = slots,
                             .seq_start = starts, .seq_length = lengths, .block_table = table};
    struct mr_attention_params params = {.qkv = k->in, .kv = &store->layers[0], .out = k->out, .scale = 0.125f, .n_heads = k->shape.n_heads};
    double best = 1e30;
    for (int run = 0; run < KERNELS_RUNS; run++) {
        int64_t start_ns = mr_clock_ns(&k->clock);
        if (k->ops->begin(k->device, &batch) != MR_OK || k->ops->attention(k->device, &params) != MR_OK)
            return false;
        k->ops->finish(k->device);
        double s = (double)(mr_clock_ns(&k->clock) - start_ns) / 1e9;
        best = s < best ? s : best;
    }
    double pairs = (double)n_seqs * rows * (context - (rows - 1) / 2.0);
    double bytes = (double)n_seqs * context * (double)mr_kv_block_bytes(&store->options) / KERNELS_BLOCK_TOKENS;
    double operations = 4.0 * k->shape.n_heads * k->shape.head_dim * pairs;
    kernels_print(k, &(struct kernels_figure){rows == 1 ? "attention decode" : "attention prefill", m, context, best, bytes, operations});
    return true;
}

static enum mr_status kernels_attentions(struct kernels *k, bool exact, struct mr_err *err)
{
    const struct mr_shape *s = &k->shape;
    struct mr_kv_store_options options = {
        .n_layers = 1, .n_kv_heads = s->n_kv_heads, .head_dim = s->head_dim, .block_tokens = KERNELS_BLOCK_TOKENS,
        .n_blocks = KERNELS_SEQS_MAX * KERNELS_ROWS_MAX / KERNELS_BLOCK_TOKENS,
        .k_dtype = exact ? MR_F32 : MR_F16, .v_dtype = exact ? MR_F32 : MR_F16,
    };
    struct mr_kv_store *store;
    enum mr_status status = mr_kv_store_open(&options, k->ops, k->device, &store, err);
    if (status != MR_OK)
        return status;
    size_t elements = (size_t)options.n_blocks * (size_t)store->layers[0].block_stride, bytes = exact ? 4 : 2;
    memset(store->layers[0].k, 0, elements * bytes); /* numbers, and pages that are there */
    memset(store->layers[0].v, 0, elements * bytes);
    static const int32_t seqs[] = {1, 4, 16, 64};
    bool done = true;
    for (size_t i = 0; done && i < sizeof seqs / sizeof *seqs; i++)
        done = kernels_attention(k, store, seqs[i], 1, 512);
    done = done && kernels_attention(k, store, 1, 512, 512);
    mr_kv_store_close(store);
    return done ? MR_OK : mr_err_set(err, MR_ERR_UNSUPPORTED, "the device refuses attention of this shape");
}

static enum mr_status kernels_open(struct kernels *k, const struct mr_options *options, struct mr_err *err)
{
    struct mr_tensor_table table;
    bool synthetic = strncmp(options->model, "synthetic:", 10) == 0;
    enum mr_status status = synthetic ? mr_synthetic_open(options->model + 10, 1, &k->synthetic, err) : mr_gguf_open(options->model, &k->gguf, err);
    if (status == MR_OK && k->gguf)
        status = mr_shape_from_gguf(k->gguf, &k->shape, err);
    if (status != MR_OK)
        return status;
    if (k->synthetic)
        k->shape = k->synthetic->shape, table = k->synthetic->table;
    else
        table = (struct mr_tensor_table){k->gguf->tensors, k->gguf->n_tensors};
    int32_t widths[] = {k->shape.hidden, 2 * k->shape.ffn, mr_shape_qkv_width(&k->shape)}, widest = 0;
    for (int i = 0; i < 3; i++)
        widest = widths[i] > widest ? widths[i] : widest;
    struct mr_device_options device = {
        .threads = (int)options->engine.threads, .pin = options->engine.pin, .precision = options->engine.precision == MR_FAST ? MR_FAST : MR_EXACT,
        .max_tokens = KERNELS_ROWS_MAX, .max_seqs = KERNELS_SEQS_MAX, .max_blocks = KERNELS_ROWS_MAX / KERNELS_BLOCK_TOKENS,
        .max_row_elements = (size_t)widest,
    };
    k->ops = mr_ops_cpu();
    status = k->ops->open(&device, &k->device, err);
    if (status == MR_OK)
        status = mr_weights_open(&table, &k->shape, k->ops, k->device, &k->weights, err);
    size_t wide = (size_t)(widest > k->shape.vocabulary / 8 ? widest : k->shape.vocabulary / 8); /* 64 rows of logits are the most */
    k->in = calloc(KERNELS_ROWS_MAX * wide, sizeof(float));
    k->out = calloc(KERNELS_ROWS_MAX * wide, sizeof(float));
    return status == MR_OK && !(k->in && k->out) ? mr_err_set(err, MR_ERR_NOMEM, "no memory for activations") : status;
}

static void kernels_close(struct kernels *k)
{
    mr_weights_close(k->weights);
    if (k->device)
        k->ops->close(k->device);
    mr_synthetic_close(k->synthetic);
    mr_gguf_close(k->gguf);
    free(k->in);
    free(k->out);
}

static int kernels_run(struct kernels *k, const struct mr_options *options)
{
    static const char *const names[] = {"matmul qkv", "matmul attn_out", "matmul gate_up", "matmul down", "matmul head"};
    static const int32_t rows[] = {1, 4, 16, 64, 512};
    struct mr_err err;
    bool exact = options->engine.precision != MR_FAST;
    if (kernels_open(k, options, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    for (size_t i = 0; i < (size_t)KERNELS_ROWS_MAX * (size_t)k->shape.hidden; i++)
        ((float *)k->in)[i] = (float)((int)(i * 2654435761u >> 16 & 255) - 128) / 128;
    k->read_gbs = mr_ceiling_read_gbs((int)options->engine.threads);
    k->multiply_gops = exact ? mr_ceiling_fma_gflops((int)options->engine.threads) : mr_ceiling_int8_gops((int)options->engine.threads);
    if (!k->json)
        printf("%s, %s; limits measured now: read %.1f GB/s, %s %.0f Gop/s\n", options->model, k->ops->path(k->device), k->read_gbs,
               exact ? "float32 FMA" : "int8", k->multiply_gops);
    for (int kind = 0; kind < 5; kind++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            if ((kind < 4 || rows[r] <= 64) && !kernels_matmul(k, kind, names[kind], rows[r]))
                return mr_cli_fail("the device refuses %s", names[kind]);
    return kernels_attentions(k, exact, &err) == MR_OK ? MR_EXIT_DONE : mr_cli_fail("%s", err.text);
}

int mr_bench_kernels(struct mr_cli *cli, int argc, char **argv)
{
    const struct mr_flag flags[] = {
        MR_FLAG_ROW_MODEL,
        MR_FLAG_ROW_THREADS,
        MR_FLAG_ROW_PRECISION,
    };
    const struct mr_flags_usage usage = {
        .synopsis = "bench kernels --model M",
        .about = "Times every kind of matrix product of a model at 1 to 512 rows, and attention at 1 to 64 sequences of 512 tokens, on the CPU.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    const struct mr_options *options = mr_cli_options(cli);
    if (!options)
        return MR_EXIT_USAGE;
    struct kernels k = {.clock = mr_clock_system(), .json = cli->json};
    int code = kernels_run(&k, options);
    kernels_close(&k);
    return code;
}
