/* `millrace bench quality`: the perplexity of a text, as the goldens define it: the text's tokens in windows of the context (one
 * window if it fits), no beginning-of-sequence token, token i scored from those before it in its window, the first of a window not
 * scored; exp of the mean negative natural log probability. One thread. */
#include "adapters/codec/codec.h"
#include "base/clock.h"
#include "kv/block_table.h"
#include "worker/bundle.h"
#include "worker/cli/bench.h"
#include "worker/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUALITY_STEP_TOKENS = 256, QUALITY_FILE_BYTES_MAX = 64 << 20 };

struct quality {
    struct mr_bundle *bundle;
    struct mr_forward_port forward;
    int32_t *ids;      /* [n] of the text */
    size_t n;
    int32_t window, *table;
    double nll, seconds;
    size_t n_scored, n_windows;
};

static bool file_read(const char *path, struct mr_buf *out, struct mr_err *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char chunk[1 << 16];
    size_t n;
    if (!file)
        return mr_err_set(err, MR_ERR_IO, "%s cannot be opened", path), false;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0 && out->n <= QUALITY_FILE_BYTES_MAX)
        mr_buf_add(out, chunk, n);
    bool failed = ferror(file);
    if (file != stdin)
        fclose(file);
    if (failed || out->failed || out->n > QUALITY_FILE_BYTES_MAX)
        return mr_err_set(err, MR_ERR_IO, "%s cannot be read, or is longer than %d bytes", path, QUALITY_FILE_BYTES_MAX), false;
    return true;
}

/* Positions [start, start + n) of the window that begins at token `at`; adds the score of each next token inside the window. */
static enum mr_status step(struct quality *q, size_t at, int32_t start, int32_t n, int32_t length)
{
    int32_t positions[QUALITY_STEP_TOKENS], slots[QUALITY_STEP_TOKENS], rows[QUALITY_STEP_TOKENS], next[QUALITY_STEP_TOKENS];
    static struct mr_sampled scores[QUALITY_STEP_TOKENS];
    int32_t seq_start[2] = {0, n}, seq_length = start + n, block_tokens = q->bundle->store->options.block_tokens;
    for (int32_t i = 0; i < n; i++) {
        positions[i] = start + i;
        slots[i] = q->table[(start + i) / block_tokens] * block_tokens + (start + i) % block_tokens;
        rows[i] = i;
        next[i] = start + i + 1 < length ? q->ids[at + (size_t)(start + i) + 1] : -1;
    }
    struct mr_batch batch = {
        .n_tokens = n, .n_seqs = 1, .n_logits = n, .block_table_stride = mr_blocks_for(q->window, block_tokens), .ids = q->ids + at + start,
        .positions = positions, .slots = slots, .seq_start = seq_start, .seq_length = &seq_length, .block_table = q->table, .logit_rows = rows};
    enum mr_status status = q->forward.step(q->forward.self, &batch);
    if (!status)
        status = q->forward.score(q->forward.self, n, 0, next, scores);
    enum mr_status finished = q->forward.finish(q->forward.self);
    for (int32_t i = 0; !status && i < n; i++)
        if (next[i] >= 0) {
            q->nll -= (double)scores[i].logprob;
            q->n_scored++;
        }
    return status ? status : finished;
}

static enum mr_status windows_run(struct quality *q)
{
    for (size_t at = 0; at + 1 < q->n; at += (size_t)q->window, q->n_windows++) {
        int32_t length = q->n - at < (size_t)q->window ? (int32_t)(q->n - at) : q->window;
        for (int32_t start = 0; start < length; start += QUALITY_STEP_TOKENS) {
            int32_t left = length - start;
            enum mr_status status = step(q, at, start, left < QUALITY_STEP_TOKENS ? left : QUALITY_STEP_TOKENS, length);
            if (status)
                return status;
        }
    }
    return MR_OK;
}

static enum mr_status tokens_read(struct quality *q, struct mr_str text, struct mr_err *err)
{
    struct mr_token_ids out = {.capacity = text.n * MR_TOKENIZER_IDS_PER_BYTE + 1};
    q->ids = out.ids = malloc(out.capacity * sizeof *out.ids);
    if (!q->ids)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the tokens of %zu bytes", text.n);
    enum mr_status status = mr_tokenizer_encode(q->bundle->tokenizer, text, false, &out, err);
    q->n = out.n;
    if (!status && q->n < 2)
        status = mr_err_set(err, MR_ERR_INVALID, "the text has %zu tokens: two are needed", q->n);
    return status;
}

static enum mr_status quality_open(struct quality *q, const struct mr_options *options, int64_t window, struct mr_err *err)
{
    struct mr_shape shape;
    enum mr_status status = mr_model_shape_read(options->model, &shape, err);
    if (status)
        return status;
    q->window = window > 0 && window < shape.context ? (int32_t)window : shape.context;
    q->window = (size_t)q->window > 8192 && window <= 0 ? 8192 : q->window;
    int32_t block_tokens = (int32_t)options->kv.block_tokens, blocks = mr_blocks_for(q->window, block_tokens);
    struct mr_bundle_options bundle = {
        .source = options->model, .threads = (int)options->engine.threads, .pin = options->engine.pin,
        .precision = (enum mr_precision)options->engine.precision, .block_tokens = block_tokens,
        .kv_bytes = (size_t)blocks * (size_t)block_tokens * (size_t)shape.n_layers * (size_t)shape.n_kv_heads * (size_t)shape.head_dim * 2 *
                    sizeof(float),
        .max_step_tokens = QUALITY_STEP_TOKENS, .max_seqs = 1, .max_logits = QUALITY_STEP_TOKENS, .max_context = q->window,
        .seed = (uint64_t)options->engine.seed,
    };
    status = mr_bundle_open(&bundle, &q->bundle, err);
    if (status)
        return status;
    q->forward = mr_bundle_forward(q->bundle);
    q->table = malloc((size_t)blocks * sizeof *q->table);
    if (!q->table)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %d blocks", blocks);
    for (int32_t b = 0; b < blocks; b++)
        q->table[b] = b;
    return MR_OK;
}

static int print(const struct quality *q, struct mr_cli *cli)
{
    const char *path = q->bundle->ops->path(q->bundle->device);
    double mean = q->nll / (double)q->n_scored, rate = (double)q->n / q->seconds;
    if (!cli->json) {
        printf("%s, %s: perplexity %.4f over %zu of %zu tokens in %zu window%s (mean %.6f nats a token), %.1f tok/s\n", q->bundle->name, path,
               exp(mean), q->n_scored, q->n, q->n_windows, q->n_windows == 1 ? "" : "s", mean, rate);
        return MR_EXIT_DONE;
    }
    struct mr_buf out = {0};
    struct mr_value map = mr_value_map(&cli->arena, 8);
    mr_value_set(&map, "model", mr_value_string(mr_str_from(q->bundle->name)));
    mr_value_set(&map, "path", mr_value_string(mr_str_from(path)));
    mr_value_set(&map, "tokens", mr_value_int((int64_t)q->n));
    mr_value_set(&map, "scored", mr_value_int((int64_t)q->n_scored));
    mr_value_set(&map, "windows", mr_value_int((int64_t)q->n_windows));
    mr_value_set(&map, "mean_nll", mr_value_float(mean));
    mr_value_set(&map, "perplexity", mr_value_float(exp(mean)));
    mr_value_set(&map, "tok_s", mr_value_float(rate));
    mr_codec_json.encode(&map, &out);
    int code = out.failed ? mr_cli_fail("no memory") : MR_EXIT_DONE;
    printf("%.*s\n", (int)out.n, out.p);
    mr_buf_fini(&out);
    return code;
}

int mr_bench_quality(struct mr_cli *cli, int argc, char **argv)
{
    int64_t window = 0;
    const struct mr_flag flags[] = {
        MR_FLAG_ROW_MODEL,
        MR_FLAG_ROW_THREADS,
        MR_FLAG_ROW_PRECISION,
        {"window", "N", "tokens of a window (0: the model's context, 8,192 at most)", MR_FLAG_INT, &window, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "bench quality --model M TEXT",
        .about = "The perplexity of a text file (- for standard input): lower is better; compare one text and one window only.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .min_args = 1,
        .max_args = 1,
    };
    struct mr_args args;
    struct mr_err err;
    struct mr_buf text = {0};
    struct quality q = {0};
    struct mr_clock clock = mr_clock_system();
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    const struct mr_options *options = mr_cli_options(cli);
    if (!options || !options->model[0])
        return options ? mr_cli_misuse("no model is given: --model takes a GGUF file or synthetic:SHAPE") : MR_EXIT_USAGE;
    bool ok = file_read(args.items[0], &text, &err) && quality_open(&q, options, window, &err) == MR_OK &&
              tokens_read(&q, mr_buf_view(&text), &err) == MR_OK;
    int code = ok ? MR_EXIT_DONE : mr_cli_fail("%s", err.text);
    int64_t start_ns = mr_clock_ns(&clock);
    enum mr_status status = ok ? windows_run(&q) : MR_OK;
    q.seconds = (double)(mr_clock_ns(&clock) - start_ns) / 1e9;
    if (status)
        code = mr_cli_fail("a step failed: %s", mr_status_name(status));
    else if (ok)
        code = print(&q, cli);
    mr_bundle_close(q.bundle);
    mr_buf_fini(&text);
    free(q.table);
    free(q.ids);
    return code;
}
