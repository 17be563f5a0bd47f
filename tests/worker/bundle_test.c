#include "worker/bundle.h"

#include "tests/model/gguf_build.h"
#include "tests/test.h"
#include "worker/model/gguf_write.h"

#include <stdlib.h>
#include <unistd.h>

static struct mr_bundle_options options_of(const char *source)
{
    return (struct mr_bundle_options){.source = source, .threads = 1, .device = "cpu", .block_tokens = 16, .kv_bytes = 1 << 20, .max_step_tokens = 32,
                                      .max_seqs = 2, .max_logits = 4, .seed = 1};
}

static enum mr_status try_open(const struct mr_bundle_options *options, struct mr_bundle **out, struct mr_err *err)
{
    enum mr_status status = mr_bundle_open(options, out, err);
    EXPECT((status == MR_OK) == (*out != NULL));
    return status;
}

TEST(synthetic_has_all_of_it)
{
    struct mr_bundle *bundle;
    struct mr_err err = {0};
    struct mr_bundle_options options = options_of("synthetic:tiny");
    REQUIRE(try_open(&options, &bundle, &err) == MR_OK);
    EXPECT_STR(bundle->name, "synthetic:tiny");
    EXPECT_EQ(bundle->context, 4096);
    EXPECT_EQ(bundle->store->options.n_blocks, (1 << 20) / (16 * 2 * 32 * 2 * 4)); /* tokens, layers, head, K and V, float */
    EXPECT_EQ(bundle->store->options.k_dtype, MR_F32);
    EXPECT_EQ(mr_tokenizer_size(bundle->tokenizer), 512);
    EXPECT(mr_tokenizer_is_end(bundle->tokenizer, 258));
    EXPECT(bundle->chat != NULL);
    mr_bundle_close(bundle);
    options.precision = MR_FAST;
    options.name = "small";
    options.max_context = 100;
    REQUIRE(try_open(&options, &bundle, &err) == MR_OK);
    EXPECT_STR(bundle->name, "small");
    EXPECT_EQ(bundle->context, 100);
    EXPECT_EQ(bundle->store->options.k_dtype, MR_F16);
    mr_bundle_close(bundle);
}

TEST(options_that_do_not_fit)
{
    struct mr_bundle *bundle;
    struct mr_err err = {0};
    struct mr_bundle_options options = options_of("synthetic:tiny");
    options.max_context = 4097;
    EXPECT_EQ(try_open(&options, &bundle, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "4096"));
    options = options_of("synthetic:tiny");
    options.kv_bytes = 8191;
    EXPECT_EQ(try_open(&options, &bundle, &err), MR_ERR_INVALID);
    options.kv_bytes = 8192;
    EXPECT_EQ(try_open(&options, &bundle, &err), MR_OK);
    mr_bundle_close(bundle);
    options.kv_bytes = 0;
    EXPECT_EQ(try_open(&options, &bundle, &err), MR_OK);
    EXPECT_EQ(bundle->store->options.n_blocks, (int32_t)(MR_BUNDLE_KV_BYTES / 8192));
    EXPECT_EQ(bundle->memory.total, 0); /* a CPU does not say */
    mr_bundle_close(bundle);
    options.block_tokens = 0;
    EXPECT_EQ(try_open(&options, &bundle, &err), MR_ERR_INVALID);
    options = options_of("synthetic:tiny");
    options.device = "abacus";
    EXPECT_EQ(try_open(&options, &bundle, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "abacus"));
    options = options_of("/nowhere.gguf");
    EXPECT_EQ(try_open(&options, &bundle, &err), MR_ERR_IO);
}

/* A model that was written to a file opens as any other; its tokens are bytes. */
TEST(a_written_model_opens)
{
    struct mr_synthetic *model = NULL;
    struct mr_bundle *bundle;
    struct mr_err err = {0};
    int32_t out[256];
    struct mr_token_ids ids = {.ids = out, .capacity = 256};
    char path[64], all[128];
    snprintf(path, sizeof path, "/tmp/mr_bundle_test_%d", (int)getpid());
    unlink(path);
    REQUIRE(mr_synthetic_open("tiny", 7, &model, &err) == MR_OK && mr_gguf_write(path, model, true, &err) == MR_OK);
    struct mr_bundle_options options = options_of(path);
    REQUIRE(try_open(&options, &bundle, &err) == MR_OK);
    EXPECT_EQ(mr_tokenizer_size(bundle->tokenizer), 512);
    EXPECT(mr_tokenizer_is_end(bundle->tokenizer, MR_SYNTHETIC_EOS) && mr_tokenizer_is_control(bundle->tokenizer, MR_SYNTHETIC_EOS - 1));
    for (int i = 0; i < 128; i++)
        all[i] = (char)i;
    EXPECT_EQ(mr_tokenizer_encode(bundle->tokenizer, (struct mr_str){all, 128}, false, &ids, &err), MR_OK);
    EXPECT_EQ(ids.n, 128);
    for (size_t i = 0; i < ids.n; i++)
        EXPECT_EQ(ids.ids[i], (int32_t)i);
    for (int i = 128; i < 256; i++) {
        struct mr_str piece = mr_tokenizer_piece(bundle->tokenizer, i);
        EXPECT(piece.n == 1 && (unsigned char)piece.p[0] == i);
    }
    mr_bundle_close(bundle);
    mr_synthetic_close(model);
    unlink(path);
}

/* One step through the port: logits, a greedy token that is their largest, its score; then a penalty that needs the scratch. */
TEST(the_port_runs_a_step)
{
    struct mr_bundle *bundle;
    struct mr_err err = {0};
    struct mr_bundle_options options = options_of("synthetic:tiny");
    REQUIRE(try_open(&options, &bundle, &err) == MR_OK);
    struct mr_forward_port port = mr_bundle_forward(bundle);
    int32_t ids[] = {72, 105}, positions[] = {0, 1}, slots[] = {16, 17}, start[] = {0, 2}, length = 2, table[] = {1}, rows[] = {0, 1};
    struct mr_batch batch = {.n_tokens = 2, .n_seqs = 1, .n_logits = 2, .block_table_stride = 1, .ids = ids, .positions = positions, .slots = slots,
                             .seq_start = start, .seq_length = &length, .block_table = table, .logit_rows = rows};
    struct mr_sample_row row[2] = {{.top_p = 1, .repetition_penalty = 1, .n_logprobs = 3}, {.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1}};
    struct mr_sampled out[2], score[2];
    EXPECT_EQ(port.step(port.self, &batch), MR_OK);
    EXPECT_EQ(port.sample(port.self, 2, row, out), MR_OK);
    EXPECT_EQ(port.score(port.self, 2, 0, (const int32_t[]){out[0].id, -1}, score), MR_OK);
    EXPECT_EQ(port.finish(port.self), MR_OK);
    EXPECT_EQ(out[0].n_top, 3);
    EXPECT_EQ(out[0].top_ids[0], out[0].id);
    EXPECT_NEAR(score[0].logprob, out[0].logprob, 0);
    EXPECT(out[0].logprob < 0 && out[0].logprob > -20);
    EXPECT_EQ(score[1].id, -1);
    int32_t first = out[1].id, ban[] = {out[1].id};
    float minus[] = {-INFINITY};
    row[1].bias_ids = ban, row[1].bias_values = minus, row[1].n_bias = 1;
    EXPECT_EQ(port.sample(port.self, 2, row, out), MR_OK);
    EXPECT(out[1].id != first);
    mr_bundle_close(bundle);
}

/* A llama of one layer with a vocabulary of its own; what is written of the tokenizer differs by case. */
struct vocabulary {
    const char *model, *template;
    int tokens, types, eos; /* eos -1: no key */
};

static void layer_write(struct mr_buf *table, struct mr_buf *data)
{
    static const struct {
        const char *name;
        uint64_t columns, rows;
    } tensors[] = {
        {"token_embd.weight", 32, 8}, {"output_norm.weight", 32, 0}, {"blk.0.attn_norm.weight", 32, 0}, {"blk.0.ffn_norm.weight", 32, 0},
        {"blk.0.attn_q.weight", 32, 32}, {"blk.0.attn_k.weight", 32, 32}, {"blk.0.attn_v.weight", 32, 32}, {"blk.0.attn_output.weight", 32, 32},
        {"blk.0.ffn_gate.weight", 32, 32}, {"blk.0.ffn_up.weight", 32, 32}, {"blk.0.ffn_down.weight", 32, 32},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        build_tensor(table, tensors[i].name, tensors[i].columns, tensors[i].rows, 0, data->n);
        build_zeros(data, tensors[i].columns * (tensors[i].rows ? tensors[i].rows : 1) * 4);
    }
}

static enum mr_status file_open(const struct vocabulary *v, struct mr_bundle **out, struct mr_err *err)
{
    static const char *const spelled[] = {"a", "b", "ab", "<|end|>", "c", "d", "e", "f", "g"};
    char path[] = "/tmp/mr_bundle_XXXXXX.gguf";
    struct mr_buf b = {0}, table = {0}, data = {0};
    layer_write(&table, &data);
    build_header(&b, 11, 10 + (v->template != NULL) + (v->eos >= 0));
    build_key_str(&b, "general.architecture", "llama");
    build_key_u32(&b, "llama.block_count", 1), build_key_u32(&b, "llama.context_length", 64), build_key_u32(&b, "llama.embedding_length", 32);
    build_key_u32(&b, "llama.feed_forward_length", 32), build_key_u32(&b, "llama.attention.head_count", 1);
    build_key_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    build_key_str(&b, "tokenizer.ggml.model", v->model);
    build_key_array(&b, "tokenizer.ggml.tokens", 8, (uint64_t)v->tokens);
    for (int i = 0; i < v->tokens; i++)
        build_str(&b, spelled[i]);
    build_key_array(&b, "tokenizer.ggml.token_type", 5, (uint64_t)v->types);
    for (int i = 0; i < v->types; i++)
        build_u32(&b, i == 3 ? MR_TOKEN_CONTROL : MR_TOKEN_NORMAL);
    if (v->template)
        build_key_str(&b, "tokenizer.chat_template", v->template);
    if (v->eos >= 0)
        build_key_u32(&b, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    mr_buf_add(&b, table.p, table.n);
    build_pad(&b, 32);
    mr_buf_add(&b, data.p, data.n);
    int fd = mkstemps(path, 5);
    EXPECT(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n);
    close(fd);
    struct mr_bundle_options options = options_of(path);
    enum mr_status status = try_open(&options, out, err);
    if (*out)
        EXPECT((*out)->name[0] == 'm' && !strchr((*out)->name, '.')); /* no folder, no ending */
    unlink(path);
    mr_buf_fini(&b), mr_buf_fini(&table), mr_buf_fini(&data);
    return status;
}

TEST(a_file_with_its_vocabulary)
{
    struct mr_bundle *bundle;
    struct mr_err err = {0};
    int32_t ids[4];
    struct mr_token_ids out = {ids, 4, 0};
    REQUIRE(file_open(&(struct vocabulary){"gpt2", NULL, 8, 8, 3}, &bundle, &err) == MR_OK);
    EXPECT(mr_tokenizer_is_end(bundle->tokenizer, 3));
    EXPECT_EQ(mr_tokenizer_encode(bundle->tokenizer, MR_STR("a<|end|>"), true, &out, &err), MR_OK);
    EXPECT(out.n == 2 && ids[0] == 0 && ids[1] == 3);
    EXPECT(!bundle->chat && strstr(bundle->chat_error, "tokenizer.chat_template"));
    mr_bundle_close(bundle);
    REQUIRE(file_open(&(struct vocabulary){"gpt2", "{% macro x() %}", 8, 8, -1}, &bundle, &err) == MR_OK); /* not understood: no chat, but a model */
    EXPECT(!bundle->chat && bundle->chat_error[0]);
    mr_bundle_close(bundle);
    EXPECT_EQ(file_open(&(struct vocabulary){"gpt2", NULL, 8, 7, 3}, &bundle, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "tokenizer.ggml.token_type"));
    EXPECT_EQ(file_open(&(struct vocabulary){"gpt2", NULL, 9, 9, 3}, &bundle, &err), MR_ERR_INVALID); /* more tokens than rows */
    EXPECT(strstr(err.text, "tokenizer.ggml.tokens"));
    EXPECT_EQ(file_open(&(struct vocabulary){"gpt2", NULL, 8, 8, 8}, &bundle, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "tokenizer.ggml.eos_token_id"));
    EXPECT_EQ(file_open(&(struct vocabulary){"abacus", NULL, 8, 8, 3}, &bundle, &err), MR_ERR_UNSUPPORTED);
    EXPECT(strstr(err.text, "abacus"));
}

TEST_MAIN(TEST_CASE(a_written_model_opens), TEST_CASE(synthetic_has_all_of_it), TEST_CASE(options_that_do_not_fit), TEST_CASE(the_port_runs_a_step),
          TEST_CASE(a_file_with_its_vocabulary))
