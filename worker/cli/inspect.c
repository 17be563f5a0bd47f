/* `millrace inspect`: what a model file is, what it needs, and whether this program runs it.
 * Invariants:
 * 1. Metadata and the tensor table are read, weights only for --digest: a 40 GB file is explained at once.
 * 2. A file that parses is explained even when it does not run; the reason comes from the loader's own checks.
 * 3. Nothing of the file reaches a terminal unfiltered.
 * One thread. */
#include "adapters/codec/codec.h"
#include "worker/cli/cli.h"
#include "worker/model/format_gguf.h"
#include "worker/model/gguf_write.h"
#include "worker/model/model_digest.h"
#include "worker/model/shape.h"
#include "worker/model/synthetic.h"
#include "worker/options.h"

#include <inttypes.h>
#include <stdio.h>

enum { INSPECT_SHOWN_BYTES = 60 };

struct inspect {
    const char *source;
    struct mr_gguf *gguf;            /* one of these two */
    struct mr_synthetic *synthetic;
    struct mr_tensor_table table;
    struct mr_shape shape;
    struct mr_err refusal;           /* why it does not run; text empty: it does */
    char digest[65];                 /* empty: not asked for */
    bool metadata, tensors;
    struct mr_arena *arena;
};

/* Sum of the tensors of one type. */
struct inspect_sum {
    size_t bytes;
    int64_t elements;
    int n;
};

static int64_t elements_of(const struct mr_tensor *t) { return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]; }

static void sums_of(const struct mr_tensor_table *table, struct inspect_sum sums[MR_DTYPE_COUNT], struct inspect_sum *all)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct mr_tensor *t = &table->tensors[i];
        struct inspect_sum *both[] = {&sums[t->dtype], all};
        for (int k = 0; k < 2; k++) {
            both[k]->bytes += t->bytes;
            both[k]->elements += elements_of(t);
            both[k]->n++;
        }
    }
}

/* Bytes of K and V that one token takes in a cache of that element size. */
static int64_t kv_token_bytes(const struct mr_shape *s, int64_t element_bytes)
{
    return (int64_t)s->n_layers * s->n_kv_heads * s->head_dim * 2 * element_bytes;
}

static struct mr_value text_value(const char *s) { return mr_value_string(mr_str_from(s)); }

static struct mr_value shape_value(const struct mr_shape *s, struct mr_arena *arena)
{
    struct mr_value map = mr_value_map(arena, 18);
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"layers", s->n_layers}, {"hidden", s->hidden}, {"heads", s->n_heads}, {"kv_heads", s->n_kv_heads}, {"head_dim", s->head_dim},
        {"ffn", s->ffn}, {"vocabulary", s->vocabulary}, {"context", s->context}, {"rope_dim", s->rope_dim}, {"window", s->window},
        {"kv_bytes_per_token_f32", kv_token_bytes(s, 4)}, {"kv_bytes_per_token_f16", kv_token_bytes(s, 2)},
    };
    mr_value_set(&map, "family", text_value(s->family));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        mr_value_set(&map, numbers[i].name, mr_value_int(numbers[i].value));
    mr_value_set(&map, "rope_base", mr_value_float((double)s->rope_base));
    mr_value_set(&map, "norm_epsilon", mr_value_float((double)s->norm_epsilon));
    mr_value_set(&map, "qkv_bias", mr_value_bool(s->qkv_bias));
    mr_value_set(&map, "qk_norm", mr_value_bool(s->qk_norm));
    mr_value_set(&map, "tied_head", mr_value_bool(s->tied_head));
    return map;
}

/* A key's value; of an array only its type and length, a long string cut. */
static struct mr_value key_value(const struct mr_gguf_key *key, struct mr_arena *arena)
{
    double number;
    if (key->array) {
        struct mr_value map = mr_value_map(arena, 2);
        mr_value_set(&map, "array", text_value(mr_gguf_type_name(key->type)));
        mr_value_set(&map, "count", mr_value_int((int64_t)key->count));
        return map;
    }
    if (key->type == MR_GGUF_STRING) {
        struct mr_str s = {(const char *)key->value + 8, key->value_bytes - 8};
        return mr_codec_utf8_valid(s) ? mr_value_string(s) : text_value("(not UTF-8)");
    }
    if (key->type == MR_GGUF_BOOL)
        return mr_value_bool(key->value[0]);
    if (!mr_gguf_number(key, 0, &number))
        return mr_value_null();
    bool whole = key->type != MR_GGUF_F32 && key->type != MR_GGUF_F64;
    return whole ? mr_value_int((int64_t)number) : mr_value_float(number);
}

static struct mr_value tensors_value(const struct inspect *in)
{
    struct mr_value list = mr_value_array(in->arena, in->table.n);
    for (size_t i = 0; i < in->table.n; i++) {
        const struct mr_tensor *t = &in->table.tensors[i];
        struct mr_value map = mr_value_map(in->arena, 4), dims = mr_value_array(in->arena, (size_t)t->n_dims);
        for (int d = 0; d < t->n_dims; d++)
            mr_value_push(&dims, mr_value_int(t->dims[d]));
        mr_value_set(&map, "name", mr_codec_utf8_valid(t->name) ? mr_value_string(t->name) : text_value("(not UTF-8)"));
        mr_value_set(&map, "type", text_value(mr_dtype_name(t->dtype)));
        mr_value_set(&map, "dims", dims);
        mr_value_set(&map, "bytes", mr_value_int((int64_t)t->bytes));
        mr_value_push(&list, map);
    }
    return list;
}

static struct mr_value types_value(const struct inspect *in, struct inspect_sum *all)
{
    struct inspect_sum sums[MR_DTYPE_COUNT] = {0};
    struct mr_value types = mr_value_map(in->arena, MR_DTYPE_COUNT);
    sums_of(&in->table, sums, all);
    for (int t = 0; t < MR_DTYPE_COUNT; t++) {
        if (!sums[t].n)
            continue;
        struct mr_value sum = mr_value_map(in->arena, 3);
        mr_value_set(&sum, "tensors", mr_value_int(sums[t].n));
        mr_value_set(&sum, "elements", mr_value_int(sums[t].elements));
        mr_value_set(&sum, "bytes", mr_value_int((int64_t)sums[t].bytes));
        mr_value_set(&types, mr_dtype_name((enum mr_dtype)t), sum);
    }
    return types;
}

static int print_json(const struct inspect *in)
{
    struct inspect_sum all = {0};
    struct mr_buf out = {0};
    struct mr_value root = mr_value_map(in->arena, 12), types = types_value(in, &all);
    mr_value_set(&root, "source", text_value(in->source));
    mr_value_set(&root, "runs", mr_value_bool(!in->refusal.text[0]));
    if (in->refusal.text[0])
        mr_value_set(&root, "reason", text_value(in->refusal.text));
    else
        mr_value_set(&root, "shape", shape_value(&in->shape, in->arena));
    if (in->digest[0])
        mr_value_set(&root, "digest", text_value(in->digest));
    if (in->gguf)
        mr_value_set(&root, "file_bytes", mr_value_int((int64_t)in->gguf->size));
    mr_value_set(&root, "tensors", mr_value_int(all.n));
    mr_value_set(&root, "parameters", mr_value_int(all.elements));
    mr_value_set(&root, "weight_bytes", mr_value_int((int64_t)all.bytes));
    mr_value_set(&root, "types", types);
    struct mr_value metadata = mr_value_map(in->arena, in->gguf ? in->gguf->n_keys : 0);
    for (size_t i = 0; in->gguf && i < in->gguf->n_keys; i++) {
        struct mr_str name = mr_arena_str(in->arena, in->gguf->keys[i].name);
        if (name.p && mr_codec_utf8_valid(name))
            mr_value_set(&metadata, name.p, key_value(&in->gguf->keys[i], in->arena));
    }
    mr_value_set(&root, "metadata", metadata);
    if (in->tensors)
        mr_value_set(&root, "tensor_table", tensors_value(in));
    mr_codec_json.encode(&root, &out);
    int code = out.failed ? mr_cli_fail("no memory") : MR_EXIT_DONE;
    printf("%.*s\n", (int)out.n, out.p);
    mr_buf_fini(&out);
    return code;
}

/* Bytes as people read them. */
static const char *size_text(double bytes, char out[24])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    for (; bytes >= 1024 && u < 4; u++)
        bytes /= 1024;
    snprintf(out, 24, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
    return out;
}

static void print_key(const struct mr_gguf_key *key)
{
    char name[INSPECT_SHOWN_BYTES * 2], value[INSPECT_SHOWN_BYTES + 4];
    double number;
    struct mr_str s = {(const char *)key->value + 8, key->value_bytes - 8};
    size_t n = s.n < INSPECT_SHOWN_BYTES ? s.n : INSPECT_SHOWN_BYTES;
    snprintf(name, sizeof name, "%.*s", (int)key->name.n, key->name.p);
    for (char *c = name; *c; c++)
        *c = *c < 0x20 || *c == 0x7f ? '?' : *c;
    if (key->array)
        snprintf(value, sizeof value, "%" PRIu64 " x %s", key->count, mr_gguf_type_name(key->type));
    else if (key->type == MR_GGUF_BOOL)
        snprintf(value, sizeof value, "%s", key->value[0] ? "true" : "false");
    else if (mr_gguf_number(key, 0, &number))
        snprintf(value, sizeof value, "%.10g", number);
    else {
        for (size_t i = 0; i < n; i++)
            value[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : ' ';
        snprintf(value + n, sizeof value - n, "%s", n < s.n ? "..." : "");
    }
    printf("  %-44s %s\n", name, value);
}

static void print_shape(const struct mr_shape *s)
{
    char kv32[24], kv16[24], whole[24];
    printf("runs        yes, as %s: %d layers, hidden %d, %d heads (%d of K and V) of %d, feed-forward %d, %d tokens, %d positions%s\n", s->family,
           s->n_layers, s->hidden, s->n_heads, s->n_kv_heads, s->head_dim, s->ffn, s->vocabulary, s->context, s->tied_head ? ", tied head" : "");
    printf("cache       %s a token exact (f32), %s fast (f16); a whole context exact: %s\n", size_text((double)kv_token_bytes(s, 4), kv32),
           size_text((double)kv_token_bytes(s, 2), kv16), size_text((double)kv_token_bytes(s, 4) * s->context, whole));
}

static int print_text(const struct inspect *in)
{
    struct inspect_sum sums[MR_DTYPE_COUNT] = {0}, all = {0};
    char size[24];
    sums_of(&in->table, sums, &all);
    if (in->gguf)
        printf("file        %s, GGUF version %u, %s\n", in->source, in->gguf->version, size_text((double)in->gguf->size, size));
    else
        printf("synthetic   %s\n", in->source);
    if (in->refusal.text[0])
        printf("runs        no: %s\n", in->refusal.text);
    else
        print_shape(&in->shape);
    printf("weights     %d tensors, %.1f million parameters, %s\n", all.n, (double)all.elements / 1e6, size_text((double)all.bytes, size));
    for (int t = 0; t < MR_DTYPE_COUNT; t++)
        if (sums[t].n)
            printf("  %-9s %4d tensors %10.1f million %12s\n", mr_dtype_name((enum mr_dtype)t), sums[t].n, (double)sums[t].elements / 1e6,
                   size_text((double)sums[t].bytes, size));
    if (in->digest[0])
        printf("digest      %s\n", in->digest);
    if (in->gguf && in->metadata)
        printf("metadata\n");
    for (size_t i = 0; in->gguf && in->metadata && i < in->gguf->n_keys; i++)
        print_key(&in->gguf->keys[i]);
    for (size_t i = 0; in->tensors && i < in->table.n; i++) {
        const struct mr_tensor *t = &in->table.tensors[i];
        printf("  %-40.*s %-5s %8lld x %-8lld %s\n", t->name.n < 40 ? (int)t->name.n : 40, t->name.p, mr_dtype_name(t->dtype), (long long)t->dims[0],
               (long long)(t->dims[1] * t->dims[2] * t->dims[3]), size_text((double)t->bytes, size));
    }
    return MR_EXIT_DONE;
}

static enum mr_status inspect_open(struct inspect *in, bool digest, uint64_t seed, struct mr_err *err)
{
    static const char scheme[] = "synthetic:";
    bool synthetic = strncmp(in->source, scheme, sizeof scheme - 1) == 0;
    enum mr_status status = synthetic ? mr_synthetic_open(in->source + sizeof scheme - 1, seed, &in->synthetic, err)
                                      : mr_gguf_open(in->source, &in->gguf, err);
    if (status)
        return status;
    if (synthetic) {
        in->shape = in->synthetic->shape;
        in->table = in->synthetic->table;
    } else {
        in->table = (struct mr_tensor_table){in->gguf->tensors, in->gguf->n_tensors};
        mr_shape_from_gguf(in->gguf, &in->shape, &in->refusal);
    }
    if (digest && synthetic)
        mr_model_digest_synthetic(in->source + sizeof scheme - 1, seed, in->digest);
    else if (digest)
        mr_model_digest_gguf(in->gguf, MR_DIGEST_WHOLE_BYTES_MAX, in->digest);
    return MR_OK;
}

static int inspect_write(const struct inspect *in, const char *path)
{
    struct mr_err err;
    if (!in->synthetic)
        return mr_cli_fail("--write takes a synthetic model: %s is a file", in->source);
    return mr_gguf_write(path, in->synthetic, true, &err) == MR_OK ? MR_EXIT_DONE : mr_cli_fail("%s", err.text);
}

int mr_verb_inspect(struct mr_cli *cli, int argc, char **argv)
{
    bool digest = false, brief = false;
    const char *write = NULL;
    struct inspect in = {.arena = &cli->arena};
    const struct mr_flag flags[] = {
        {"digest", NULL, "the model's digest too (reads the weights)", MR_FLAG_BOOL, &digest, NULL},
        {"tensors", NULL, "every tensor", MR_FLAG_BOOL, &in.tensors, NULL},
        {"brief", NULL, "no metadata", MR_FLAG_BOOL, &brief, NULL},
        {"write", "FILE", "write a synthetic model to a GGUF file, its matrices in BF16", MR_FLAG_TEXT, &write, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "inspect MODEL",
        .about = "Explains a model file (or synthetic:SHAPE): whether it runs, its shape, its tensors by type, what a token of the cache takes,\n"
                 "its metadata. Exit code 1: it cannot be read or does not run.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .min_args = 1,
        .max_args = 1,
    };
    struct mr_args args;
    struct mr_err err;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    const struct mr_options *options = mr_cli_options(cli);
    if (!options)
        return MR_EXIT_USAGE;
    in.source = args.items[0];
    in.metadata = !brief;
    if (inspect_open(&in, digest, (uint64_t)options->engine.seed, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    int code = write ? inspect_write(&in, write) : MR_EXIT_DONE;
    if (code == MR_EXIT_DONE)
        code = cli->json ? print_json(&in) : print_text(&in);
    if (code == MR_EXIT_DONE && in.refusal.text[0])
        code = MR_EXIT_FAILED;
    mr_gguf_close(in.gguf);
    mr_synthetic_close(in.synthetic);
    return code;
}
