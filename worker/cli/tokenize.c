/* `millrace tokenize`: text lines (JSON strings) in, {"ids":[...]} lines out; --decode the other way. One line out for each line
 * in, an error object for a bad one, so that lines stay side by side. One thread. */
#include "adapters/codec/codec.h"
#include "worker/bundle.h"
#include "worker/cli/cli.h"
#include "worker/cli/lines.h"
#include "worker/options.h"
#include "worker/text/detokenizer.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOKENIZE_LINE_BYTES_MAX = 8 << 20 };

struct tokenize {
    const struct mr_tokenizer *tokenizer;
    bool special, decode;
    struct mr_arena arena; /* of one line */
    struct mr_buf out;
    int64_t failed;
};

static enum mr_status tokenize_encode(struct tokenize *t, const struct mr_value *line, struct mr_err *err)
{
    if (line->kind != MR_STRING)
        return mr_err_set(err, MR_ERR_INVALID, "a JSON string is wanted, not %s", mr_value_kind_name(line->kind));
    struct mr_str text = line->as.string;
    struct mr_token_ids out = {.capacity = text.n * MR_TOKENIZER_IDS_PER_BYTE + 1};
    out.ids = mr_arena_array(&t->arena, out.capacity, sizeof *out.ids);
    if (!out.ids)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory");
    enum mr_status status = mr_tokenizer_encode(t->tokenizer, text, t->special, &out, err);
    if (status != MR_OK)
        return status;
    mr_buf_add_str(&t->out, MR_STR("{\"ids\":["));
    for (size_t i = 0; i < out.n; i++)
        mr_buf_addf(&t->out, i ? ",%d" : "%d", out.ids[i]);
    mr_buf_add_str(&t->out, MR_STR("]}"));
    return MR_OK;
}

static enum mr_status tokenize_decode(struct tokenize *t, const struct mr_value *line, struct mr_err *err)
{
    const struct mr_value *ids = line->kind == MR_ARRAY ? line : mr_value_get(line, "ids");
    if (!ids || ids->kind != MR_ARRAY)
        return mr_err_set(err, MR_ERR_INVALID, "an object with an array \"ids\", or an array, is wanted");
    struct mr_detokenizer detokenizer = {0};
    struct mr_buf text = {0};
    enum mr_status status = MR_OK;
    for (size_t i = 0; i < ids->as.array.n && status == MR_OK; i++) {
        const struct mr_value *id = &ids->as.array.items[i];
        if (id->kind != MR_INT || id->as.integer < 0 || id->as.integer >= (int64_t)mr_tokenizer_size(t->tokenizer))
            status = mr_err_set(err, MR_ERR_INVALID, "ids[%zu] is no token of this model", i);
        else
            mr_detokenizer_add(&detokenizer, mr_tokenizer_piece(t->tokenizer, (int32_t)id->as.integer), &text);
    }
    mr_detokenizer_finish(&detokenizer, &text);
    if (status == MR_OK) {
        struct mr_value value = mr_value_string(mr_buf_view(&text));
        mr_codec_json.encode(&value, &t->out);
        t->out.failed |= text.failed;
    }
    mr_buf_fini(&text);
    return status;
}

/* Writes one line of output for one of input; false: out of memory. */
static bool tokenize_line(struct tokenize *t, struct mr_str bytes, int64_t number)
{
    static const struct mr_codec_limits limits = {TOKENIZE_LINE_BYTES_MAX, MR_CODEC_NODES_MAX, MR_CODEC_DEPTH_MAX};
    struct mr_value line;
    struct mr_err err;
    mr_buf_clear(&t->out);
    enum mr_status status = MR_ERR_INVALID;
    if (mr_codec_json.decode(bytes, &limits, &t->arena, &line, &err) == MR_CODEC_OK)
        status = t->decode ? tokenize_decode(t, &line, &err) : tokenize_encode(t, &line, &err);
    if (status != MR_OK) {
        struct mr_value object = mr_value_map(&t->arena, 1);
        mr_value_set(&object, "error", mr_value_string(mr_str_from(err.text)));
        mr_codec_json.encode(&object, &t->out);
        mr_cli_fail("line %lld: %s", (long long)number, err.text);
        t->failed++;
    }
    mr_buf_add_char(&t->out, '\n');
    mr_arena_fini(&t->arena);
    fwrite(t->out.p, 1, t->out.n, stdout);
    return !t->out.failed;
}

static int tokenize_lines(struct tokenize *t, const char *path)
{
    struct mr_lines lines;
    struct mr_err err;
    if (mr_lines_open(&lines, path, TOKENIZE_LINE_BYTES_MAX, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    struct mr_str line;
    enum mr_lines_next next;
    bool ok = true;
    while (ok && (next = mr_lines_next(&lines, -1, &line)) == MR_LINES_LINE)
        ok = line.n == 0 || tokenize_line(t, line, lines.number);
    mr_lines_close(&lines);
    if (!ok)
        return mr_cli_fail("out of memory");
    if (next == MR_LINES_FAILED)
        return mr_cli_fail("the input cannot be read");
    return t->failed ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

int mr_verb_tokenize(struct mr_cli *cli, int argc, char **argv)
{
    struct tokenize t = {0};
    const struct mr_flag flags[] = {
        MR_FLAG_ROW_MODEL,
        {"special", NULL, "control tokens in the text become their ids", MR_FLAG_BOOL, &t.special, NULL},
        {"decode", NULL, "{\"ids\":[...]} lines in, JSON strings out", MR_FLAG_BOOL, &t.decode, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "tokenize --model M [LINES or -]",
        .about = "Reads a JSON string a line and writes {\"ids\":[...]} lines. No beginning-of-sequence token is added.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .max_args = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    const struct mr_options *options = mr_cli_options(cli);
    if (!options)
        return MR_EXIT_USAGE;
    if (!options->model[0])
        return mr_cli_misuse("no model is given: --model takes a GGUF file or synthetic:SHAPE");
    struct mr_tokenizer *tokenizer;
    struct mr_err err;
    if (mr_bundle_open_tokenizer(options->model, &tokenizer, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    t.tokenizer = tokenizer;
    int code = tokenize_lines(&t, args.n ? args.items[0] : "-");
    mr_buf_fini(&t.out);
    mr_tokenizer_close(tokenizer);
    return code;
}
