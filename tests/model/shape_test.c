/* Families against transformers: each tiny model (tests/golden/tiny) is written as the GGUF file that the format's converter would
 * make of it, opened as any file is, and run. Then the refusals. */
#include "worker/model/shape.h"

#include "tests/model/driver.h"
#include "tests/model/gguf_build.h"
#include "tests/test.h"
#include "tests/text/golden.h"

#include <unistd.h>

enum { PROMPTS = 4, STEPS = 32, CONTEXT = 256 };

struct family {
    const char *folder, *gguf; /* of tests/golden/tiny; the architecture's name in the file */
    bool pairs;                /* rows of q and k are reordered */
};

static double config_number(const struct mr_value *config, const char *key, double fallback)
{
    double x;
    return mr_value_number(mr_value_get(config, key), &x) ? x : fallback;
}

/* "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". */
static bool tensor_name(struct mr_str name, char *out, size_t size)
{
    static const char *const parts[][2] = {
        {"self_attn.q_proj.", "attn_q."}, {"self_attn.k_proj.", "attn_k."}, {"self_attn.v_proj.", "attn_v."}, {"self_attn.o_proj.", "attn_output."},
        {"self_attn.q_norm.", "attn_q_norm."}, {"self_attn.k_norm.", "attn_k_norm."}, {"input_layernorm.", "attn_norm."},
        {"post_attention_layernorm.", "ffn_norm."}, {"mlp.gate_proj.", "ffn_gate."}, {"mlp.up_proj.", "ffn_up."}, {"mlp.down_proj.", "ffn_down."},
    };
    static const char *const whole[][2] = {{"model.embed_tokens.weight", "token_embd.weight"}, {"model.norm.weight", "output_norm.weight"},
                                           {"lm_head.weight", "output.weight"}};
    char text[128];
    int layer, at = 0;
    snprintf(text, sizeof text, "%.*s", (int)name.n, name.p);
    for (size_t i = 0; i < 3; i++)
        if (strcmp(text, whole[i][0]) == 0)
            return snprintf(out, size, "%s", whole[i][1]) > 0;
    if (sscanf(text, "model.layers.%d.%n", &layer, &at) != 1 || at == 0)
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strncmp(text + at, parts[i][0], strlen(parts[i][0])) == 0)
            return snprintf(out, size, "blk.%d.%s%s", layer, parts[i][1], text + at + strlen(parts[i][0])) > 0;
    return false;
}

static void metadata_write(struct mr_buf *b, const struct mr_value *config, const char *gguf, uint64_t n_tensors)
{
    const struct mr_value *rope = mr_value_get(config, "rope_parameters"), *type = mr_value_get(rope, "rope_type");
    double heads = config_number(config, "num_attention_heads", 0), hidden = config_number(config, "hidden_size", 0);
    double window = config_number(config, "sliding_window", 0);
    bool linear = type && mr_str_is(type->as.string, "linear");
    char name[64];
#define KEY(key) (snprintf(name, sizeof name, "%s.%s", gguf, key), name)
    build_header(b, n_tensors, 10 + (window > 0) + 2 * linear);
    build_key_str(b, "general.architecture", gguf);
    build_key_u32(b, KEY("block_count"), (uint32_t)config_number(config, "num_hidden_layers", 0));
    build_key_u32(b, KEY("context_length"), CONTEXT);
    build_key_u32(b, KEY("embedding_length"), (uint32_t)hidden);
    build_key_u32(b, KEY("feed_forward_length"), (uint32_t)config_number(config, "intermediate_size", 0));
    build_key_u32(b, KEY("attention.head_count"), (uint32_t)heads);
    build_key_u32(b, KEY("attention.head_count_kv"), (uint32_t)config_number(config, "num_key_value_heads", 0));
    build_key_u32(b, KEY("attention.key_length"), (uint32_t)config_number(config, "head_dim", hidden / heads));
    build_key_f32(b, KEY("attention.layer_norm_rms_epsilon"), (float)config_number(config, "rms_norm_eps", 0));
    build_key_f32(b, KEY("rope.freq_base"), (float)config_number(rope, "rope_theta", 0));
    if (window > 0)
        build_key_u32(b, KEY("attention.sliding_window"), (uint32_t)window);
    if (linear) {
        build_key_str(b, KEY("rope.scaling.type"), "linear");
        build_key_f32(b, KEY("rope.scaling.factor"), (float)config_number(rope, "factor", 0));
    }
#undef KEY
}

/* Rows of a head in the order (0, d/2, 1, d/2 + 1, ...): rotary pairs side by side. */
static void rows_write(struct mr_buf *data, const char *bytes, size_t row_bytes, size_t rows, size_t head_dim)
{
    for (size_t r = 0; r < rows; r++) {
        size_t in_head = head_dim ? r % head_dim : 0, from = r - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
        mr_buf_add(data, bytes + (head_dim ? from : r) * row_bytes, row_bytes);
    }
}

/* Llama 3's scaling (transformers, modeling_rope_utils): the divisor of each frequency. */
static void factors_write(struct mr_buf *table, struct mr_buf *data, const struct mr_value *rope, int head_dim)
{
    double factor = config_number(rope, "factor", 0), low = config_number(rope, "low_freq_factor", 0);
    double high = config_number(rope, "high_freq_factor", 0), original = config_number(rope, "original_max_position_embeddings", 0);
    build_tensor(table, "rope_freqs.weight", (uint64_t)head_dim / 2, 0, 0, data->n);
    for (int i = 0; i < head_dim / 2; i++) {
        double wavelength = 2 * 3.14159265358979323846 * pow(config_number(rope, "rope_theta", 0), 2.0 * i / head_dim);
        double smooth = (original / wavelength - low) / (high - low);
        float divisor = (float)(wavelength < original / high ? 1 : wavelength > original / low ? factor : 1 / ((1 - smooth) / factor + smooth));
        mr_buf_add(data, &divisor, sizeof divisor);
    }
    build_pad(data, 32);
}

static struct mr_value golden_tree(const char *folder, const char *file, struct mr_arena *arena)
{
    char name[128];
    snprintf(name, sizeof name, "tiny/%s/%s", folder, file);
    struct mr_str bytes = golden_file(name);
    struct mr_value tree = golden_json(bytes, arena);
    free((void *)bytes.p);
    return tree;
}

/* The GGUF file of a tiny model; its bytes in *out. */
static void family_write(const struct family *family, struct mr_buf *out)
{
    struct mr_arena arena;
    struct mr_buf table = {0}, data = {0};
    char name[128];
    mr_arena_init(&arena, 0);
    struct mr_value config = golden_tree(family->folder, "config.json", &arena);
    const struct mr_value *rope = mr_value_get(&config, "rope_parameters"), *type = mr_value_get(rope, "rope_type");
    double usual = config_number(&config, "hidden_size", 0) / config_number(&config, "num_attention_heads", 1);
    int head_dim = (int)config_number(&config, "head_dim", usual);
    snprintf(name, sizeof name, "tiny/%s/model.safetensors", family->folder);
    struct mr_str file = golden_file(name);
    uint64_t header_bytes, n_tensors = 0;
    memcpy(&header_bytes, file.p, 8);
    struct mr_value header = golden_json((struct mr_str){file.p + 8, header_bytes}, &arena);
    for (size_t i = 0; i < header.as.map.n; i++) {
        const struct mr_pair *pair = &header.as.map.items[i];
        if (!tensor_name(pair->key, name, sizeof name))
            continue;
        const struct mr_value *shape = mr_value_get(&pair->value, "shape"), *span = mr_value_get(&pair->value, "data_offsets");
        size_t rows = (size_t)shape->as.array.items[0].as.integer, columns = shape->as.array.n > 1 ? (size_t)shape->as.array.items[1].as.integer : 0;
        bool turned = family->pairs && (strstr(name, "attn_q.") || strstr(name, "attn_k."));
        build_tensor(&table, name, columns ? columns : rows, columns ? rows : 0, 0, data.n);
        rows_write(&data, file.p + 8 + header_bytes + span->as.array.items[0].as.integer, (columns ? columns : 1) * 4, rows,
                   turned ? (size_t)head_dim : 0);
        build_pad(&data, 32);
        n_tensors++;
    }
    if (type && mr_str_is(type->as.string, "llama3"))
        factors_write(&table, &data, rope, head_dim), n_tensors++;
    metadata_write(out, &config, family->gguf, n_tensors);
    mr_buf_add(out, table.p, table.n);
    build_pad(out, 32);
    mr_buf_add(out, data.p, data.n);
    mr_buf_fini(&table);
    mr_buf_fini(&data);
    free((void *)file.p);
    mr_arena_fini(&arena);
}

static bool file_write(const struct mr_buf *b, char path[32])
{
    snprintf(path, 32, "/tmp/mr_shape_XXXXXX");
    int fd = mkstemp(path);
    bool ok = fd >= 0 && !b->failed && write(fd, b->p, b->n) == (ssize_t)b->n;
    if (fd >= 0)
        close(fd);
    return ok;
}

static int32_t argmax(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* Greedy continuation of one prompt: as a chunk, then token by token. */
static void generate_check(struct driver *d, const struct mr_value *row)
{
    int32_t ids[CONTEXT], n_logits, vocabulary = mr_model_shape(d->model)->vocabulary;
    const struct mr_value *input = mr_value_get(row, "input_ids"), *wanted = mr_value_get(row, "generated_ids");
    int32_t n = (int32_t)input->as.array.n, wrong = 0;
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)input->as.array.items[i].as.integer;
    for (int32_t step = 0, done = 0; step < STEPS; step++) {
        struct driver_piece piece = {.ids = ids, .start = done, .n = n - done, .logits_from = n - 1};
        const float *logits = driver_step(d, &piece, 1, &n_logits);
        REQUIRE(logits && n_logits == 1);
        done = n;
        ids[n++] = argmax(logits, vocabulary);
        wrong += ids[n - 1] != wanted->as.array.items[step].as.integer;
    }
    EXPECT_EQ(wrong, 0);
}

static double logits_check(struct driver *d, const char *folder, const struct mr_value *row)
{
    int32_t ids[CONTEXT], n_logits, vocabulary = mr_model_shape(d->model)->vocabulary;
    char name[64];
    double worst = 0;
    snprintf(name, sizeof name, "tiny/%s/logits_33.npy", folder);
    struct mr_str file = golden_file(name);
    const float *wanted = (const float *)(file.p + 10 + ((unsigned char)file.p[8] | (unsigned char)file.p[9] << 8));
    const struct mr_value *input = mr_value_get(row, "input_ids");
    for (size_t i = 0; i < input->as.array.n; i++)
        ids[i] = (int32_t)input->as.array.items[i].as.integer;
    struct driver_piece piece = {.ids = ids, .n = 33};
    const float *logits = driver_step(d, &piece, 1, &n_logits);
    for (int32_t i = 0; logits && i < 33 * vocabulary; i++)
        worst = fmax(worst, fabs((double)logits[i] - (double)wanted[i]));
    free((void *)file.p);
    return logits ? worst : INFINITY;
}

static void family_check(const struct family *family)
{
    struct mr_buf bytes = {0};
    struct mr_arena arena;
    struct driver d = {0};
    char path[32], name[64];
    mr_arena_init(&arena, 0);
    family_write(family, &bytes);
    EXPECT(file_write(&bytes, path));
    bool open = driver_open(&d, path, MR_EXACT, 1, CONTEXT, 128, 64);
    EXPECT(open);
    snprintf(name, sizeof name, "tiny/%s/prompts.jsonl", family->folder);
    struct mr_str file = golden_file(name), rest = file, line;
    while (open && golden_line(&rest, &line)) {
        struct mr_value row = golden_json(line, &arena);
        generate_check(&d, &row);
        if (mr_value_get(&row, "input_ids")->as.array.n == 33) {
            double worst = logits_check(&d, family->folder, &row);
            printf("%s: logits off by %.7f at most\n", family->folder, worst);
            EXPECT(worst <= 1e-4);
        }
    }
    free((void *)file.p);
    driver_close(&d);
    unlink(path);
    mr_buf_fini(&bytes);
    mr_arena_fini(&arena);
}

TEST(families_equal_transformers)
{
    static const struct family families[] = {
        {"llama", "llama", true}, {"mistral", "llama", true},           {"llama_rope_llama3", "llama", true}, {"llama_rope_linear", "llama", true},
        {"qwen2", "qwen2", false}, {"qwen3", "qwen3", false}, {"smollm3", "smollm3", true},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        family_check(&families[i]);
}

/* A small llama, spoiled in one place. */
struct spoiled {
    const char *name, *value;          /* a string key to add; NULL value: `number` */
    uint32_t number;
    const char *says;
    enum mr_status status;
};

static void refusal_check(const struct spoiled *spoiled, const char *family)
{
    struct mr_buf b = {0};
    struct mr_gguf *gguf;
    struct mr_shape shape;
    struct mr_err err = {0};
    static const struct {
        const char *name;
        uint32_t value;
    } keys[] = {{"llama.block_count", 1}, {"llama.context_length", 64}, {"llama.embedding_length", 64}, {"llama.feed_forward_length", 64},
                {"llama.attention.head_count", 2}};
    uint64_t n = 2;
    for (size_t i = 0; i < 5; i++)
        n += strcmp(keys[i].name, spoiled->name) != 0;
    build_header(&b, 1, n + (spoiled->number != UINT32_MAX));
    build_key_str(&b, "general.architecture", family);
    build_key_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < 5; i++)
        if (strcmp(keys[i].name, spoiled->name) != 0)
            build_key_u32(&b, keys[i].name, keys[i].value);
    if (spoiled->value)
        build_key_str(&b, spoiled->name, spoiled->value);
    else if (spoiled->number != UINT32_MAX)
        build_key_u32(&b, spoiled->name, spoiled->number);
    build_tensor(&b, "token_embd.weight", 64, 32, 0, 0);
    build_pad(&b, 32);
    build_zeros(&b, 64 * 32 * 4);
    REQUIRE(mr_gguf_parse(b.p, b.n, &gguf, &err) == MR_OK);
    enum mr_status status = mr_shape_from_gguf(gguf, &shape, &err);
    if (status != spoiled->status || (status && !strstr(err.text, spoiled->says)))
        test_failures++, printf("%s: %s, \"%s\"\n", spoiled->name, mr_status_name(status), err.text);
    mr_gguf_close(gguf);
    mr_buf_fini(&b);
}

TEST(what_is_not_built_is_refused_by_name)
{
    static const struct spoiled cases[] = {
        {"spare", NULL, 1, "", MR_OK},
        {"llama.block_count", NULL, UINT32_MAX, "llama.block_count is missing", MR_ERR_NOT_FOUND},
        {"llama.block_count", NULL, 0, "0 layers", MR_ERR_INVALID},
        {"llama.block_count", NULL, MR_SHAPE_LAYERS_MAX + 1, "llama.block_count", MR_ERR_INVALID},
        {"llama.context_length", NULL, MR_SHAPE_CONTEXT_MAX, "", MR_OK},
        {"llama.context_length", NULL, MR_SHAPE_CONTEXT_MAX + 1, "llama.context_length", MR_ERR_INVALID},
        {"llama.embedding_length", NULL, MR_SHAPE_WIDTH_MAX + 1, "llama.embedding_length", MR_ERR_INVALID},
        {"llama.feed_forward_length", NULL, MR_SHAPE_WIDTH_MAX + 1, "llama.feed_forward_length", MR_ERR_INVALID},
        {"llama.attention.head_count", NULL, MR_SHAPE_HEADS_MAX + 1, "llama.attention.head_count", MR_ERR_INVALID},
        {"llama.attention.head_count_kv", NULL, MR_SHAPE_HEADS_MAX + 1, "llama.attention.head_count_kv", MR_ERR_INVALID},
        {"llama.attention.key_length", NULL, MR_SHAPE_HEAD_DIM_MAX + 1, "llama.attention.key_length", MR_ERR_INVALID},
        {"llama.embedding_length", "wide", 0, "llama.embedding_length", MR_ERR_INVALID},
        {"llama.attention.head_count", NULL, 0, "0 heads", MR_ERR_INVALID},
        {"llama.attention.head_count_kv", NULL, 3, "3 KV heads", MR_ERR_INVALID},
        {"llama.attention.value_length", NULL, 16, "values of 16", MR_ERR_UNSUPPORTED},
        {"llama.rope.dimension_count", NULL, 31, "31 rotated", MR_ERR_INVALID},
        {"llama.rope.dimension_count", NULL, 34, "34 rotated", MR_ERR_INVALID},
        {"llama.expert_count", NULL, 8, "experts", MR_ERR_UNSUPPORTED},
        {"llama.rope.scaling.type", "yarn", 0, "yarn", MR_ERR_UNSUPPORTED},
        {"split.count", NULL, 2, "split.count", MR_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refusal_check(&cases[i], "llama");
    refusal_check(&(struct spoiled){"spare", NULL, 1, "\"mamba\"", MR_ERR_UNSUPPORTED}, "mamba");
}

TEST_MAIN(TEST_CASE(families_equal_transformers), TEST_CASE(what_is_not_built_is_refused_by_name))
