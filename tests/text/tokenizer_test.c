/* Ids against the references' vectors, line by line; then the promises that no vector shows. */
#include "tests/test.h"

#include "tests/text/golden.h"
#include "worker/text/detokenizer.h"

#include <pthread.h>
#include <time.h>

enum { IDS_MAX = 1 << 16 };
static int32_t ids[IDS_MAX];

static struct mr_str from_hex(struct mr_str hex, char *out)
{
    for (size_t i = 0; i + 1 < hex.n; i += 2) {
        unsigned byte = 0;
        sscanf((char[]){hex.p[i], hex.p[i + 1], 0}, "%x", &byte);
        out[i / 2] = (char)byte;
    }
    return (struct mr_str){out, hex.n / 2};
}

/* One line's failure, with its id. */
static void expect_line(bool ok, struct mr_str id, const char *what)
{
    if (!ok)
        printf("%.*s: %s\n", (int)id.n, id.p, what);
    EXPECT(ok);
}

static void expect_ids(const struct mr_tokenizer *tokenizer, const struct mr_value *row, struct mr_str text, bool special, const char *key)
{
    size_t n = 0;
    EXPECT_EQ(mr_tokenizer_encode(tokenizer, text, special, ids, IDS_MAX, &n, NULL), MR_OK);
    expect_line(golden_ids_equal(row, key, ids, n), golden_text(row, "id"), key);
}

static void expect_decoded(const struct mr_tokenizer *tokenizer, const struct mr_value *row, struct mr_str wanted)
{
    struct mr_detokenizer detokenizer = {0};
    struct mr_buf out = {0};
    const struct mr_value *list = mr_value_get(row, "ids");
    for (size_t i = 0; i < list->as.array.n; i++)
        mr_detokenizer_add(&detokenizer, mr_tokenizer_piece(tokenizer, (int32_t)list->as.array.items[i].as.integer), &out);
    mr_detokenizer_finish(&detokenizer, &out);
    expect_line(mr_str_equal(mr_buf_view(&out), wanted), golden_text(row, "id"), "decoded");
    mr_buf_fini(&out);
}

static size_t check_vectors(const char *vocabulary, const char *vectors)
{
    struct mr_tokenizer *tokenizer = golden_tokenizer(vocabulary);
    struct mr_str file = golden_file(vectors), rest = file, line;
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    size_t rows = 0;
    for (; golden_line(&rest, &line); rows++) {
        struct mr_value row = golden_json(line, &arena);
        struct mr_str hex = golden_text(&row, "bytes_hex");
        char bytes[4096];
        if (hex.n) {
            CHECK(hex.n / 2 <= sizeof bytes);
            expect_ids(tokenizer, &row, from_hex(hex, bytes), false, "ids_lossy");
        } else {
            struct mr_str text = golden_text(&row, "text");
            const struct mr_value *decoded = mr_value_get(&row, "decoded");
            expect_ids(tokenizer, &row, text, false, "ids");
            expect_ids(tokenizer, &row, text, true, "ids_special");
            expect_decoded(tokenizer, &row, decoded ? decoded->as.string : text);
        }
        mr_arena_fini(&arena);
    }
    free((char *)file.p);
    mr_tokenizer_close(tokenizer);
    return rows;
}

TEST(smollm2_vectors) { EXPECT_EQ(check_vectors("tokenizers/smollm2.vocabulary", "tokenizers/smollm2.vectors.jsonl"), 514); }
TEST(gpt2_vectors) { EXPECT_EQ(check_vectors("tokenizers/hf_bytelevel.vocabulary", "tokenizers/hf_bytelevel.vectors.jsonl"), 514); }
TEST(llama_bpe_vectors) { EXPECT_EQ(check_vectors("tokenizers/hf_split_llama3_bos.vocabulary", "tokenizers/hf_split_llama3_bos.vectors.jsonl"), 514); }
TEST(qwen2_vectors) { EXPECT_EQ(check_vectors("tokenizers/hf_nfc_split_qwen2.vocabulary", "tokenizers/hf_nfc_split_qwen2.vectors.jsonl"), 514); }

TEST(smollm2_goldens)
{
    struct mr_tokenizer *tokenizer = golden_tokenizer("tokenizers/smollm2.vocabulary");
    struct mr_str file = golden_file("smollm2/tokenizer.jsonl"), rest = file, line;
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    int rows = 0;
    for (; golden_line(&rest, &line); rows++) {
        struct mr_value row = golden_json(line, &arena);
        expect_ids(tokenizer, &row, golden_text(&row, "text"), true, "ids");
        expect_decoded(tokenizer, &row, golden_text(&row, "decoded"));
        mr_arena_fini(&arena);
    }
    EXPECT(rows > 100);
    free((char *)file.p);
    mr_tokenizer_close(tokenizer);
}

TEST_MAIN(TEST_CASE(smollm2_vectors), TEST_CASE(gpt2_vectors), TEST_CASE(llama_bpe_vectors), TEST_CASE(qwen2_vectors), TEST_CASE(smollm2_goldens))
