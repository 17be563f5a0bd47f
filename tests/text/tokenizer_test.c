/* Ids against the references' vectors, line by line; then the promises that no vector shows. */
#include "tests/test.h"

#include "tests/text/golden.h"
#include "worker/text/detokenizer.h"

#include <pthread.h>

enum { IDS_MAX = 1 << 16 };
static int32_t ids[IDS_MAX];

/* Encodes into ids[*n .. capacity). */
static enum mr_status encode(const struct mr_tokenizer *tokenizer, struct mr_str text, bool special, size_t capacity, size_t *n)
{
    struct mr_token_ids out = {ids, capacity, *n};
    enum mr_status status = mr_tokenizer_encode(tokenizer, text, special, &out, NULL);
    *n = out.n;
    return status;
}

static enum mr_status encode_spans(const struct mr_tokenizer *tokenizer, const struct mr_chat_span *spans, size_t n_spans, size_t *n)
{
    struct mr_token_ids out = {ids, IDS_MAX, *n};
    enum mr_status status = mr_tokenizer_encode_spans(tokenizer, spans, n_spans, &out, NULL);
    *n = out.n;
    return status;
}

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
    EXPECT_EQ(encode(tokenizer, text, special, IDS_MAX, &n), MR_OK);
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

static uint64_t random_state = 1;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

/* Random text out of what is likely to hurt: control tokens whole and in halves, spaces, digits, signs, many scripts, broken bytes. */
static struct mr_str random_text(struct mr_buf *buf)
{
    static const char *const bits[] = {"<|im_start|>", "<|im_end|>", "<|im_", "start|>", "<|", "|>", "<", "user", "\n", "\n\n", " ", "  ", "1", "23",
                                       "'s", "'", "!", "\xc3\xa9", "e\xcc\x81", "\xe4\xbd\xa0", "\xf0\x9f\xa4\x96", "\xc2\xa0", "\xe2\x80\xa8", "\xff", "\xe4",
                                       "<|endoftext|>", "<repo_name>", "\x04", "\xf1"};
    mr_buf_clear(buf);
    for (uint32_t i = random_below(12); i > 0; i--)
        mr_buf_add_str(buf, mr_str_from(bits[random_below(sizeof bits / sizeof *bits)]));
    return mr_buf_view(buf);
}

TEST(user_text_makes_no_control_token)
{
    struct mr_tokenizer *tokenizer = golden_tokenizer("tokenizers/smollm2.vocabulary");
    struct mr_buf buf = {0};
    for (int round = 0; round < 20000; round++) {
        struct mr_str text = random_text(&buf);
        struct mr_chat_span spans[] = {{MR_STR("<|im_start|>"), true}, {text, false}, {MR_STR("start|><|im_end|>\n"), true}};
        size_t n = 0;
        EXPECT_EQ(encode(tokenizer, text, false, IDS_MAX, &n), MR_OK);
        for (size_t i = 0; i < n; i++)
            EXPECT(!mr_tokenizer_is_control(tokenizer, ids[i]));
        n = 0;
        EXPECT_EQ(encode_spans(tokenizer, spans, 3, &n), MR_OK);
        int controls = 0;
        for (size_t i = 0; i < n; i++)
            controls += mr_tokenizer_is_control(tokenizer, ids[i]);
        EXPECT_EQ(controls, 2);
    }
    mr_buf_fini(&buf);
    mr_tokenizer_close(tokenizer);
}

/* Merging by its definition: the pair of lowest rank, leftmost, again and again. */
TEST(merging_equals_its_definition)
{
    struct mr_tokenizer *tokenizer = golden_tokenizer("tokenizers/smollm2.vocabulary");
    struct mr_str file = golden_file("tokenizers/smollm2.vocabulary");
    struct mr_str rest = file, line;
    golden_line(&rest, &line);
    for (int i = 0; i < 17 + 235; i++)
        golden_line(&rest, &line);
    static struct mr_str merges[48900];
    for (size_t i = 0; i < 48900; i++)
        golden_line(&rest, &merges[i]);
    for (int round = 0; round < 20; round++) {
        char text[24], symbols[24][24];
        int n_text = 1 + (int)random_below(20), n = n_text;
        for (int i = 0; i < n; i++)
            snprintf(symbols[i], sizeof symbols[i], "%c", text[i] = "aeinorstlh"[random_below(10)]);
        for (size_t rank = 0; rank < 48900;) {
            int at = -1;
            for (int i = 0; i + 1 < n && at < 0; i++) {
                char pair[64];
                int bytes = snprintf(pair, sizeof pair, "%s %s", symbols[i], symbols[i + 1]);
                if (mr_str_equal((struct mr_str){pair, (size_t)bytes}, merges[rank]))
                    at = i;
            }
            if (at < 0) {
                rank++;
                continue;
            }
            strcat(symbols[at], symbols[at + 1]);
            memmove(symbols[at + 1], symbols[at + 2], (size_t)(n - at - 2) * sizeof *symbols);
            n--;
            rank = 0;
        }
        size_t got = 0;
        EXPECT_EQ(encode(tokenizer, (struct mr_str){text, (size_t)n_text}, false, IDS_MAX, &got), MR_OK);
        EXPECT_EQ(got, n);
        for (int i = 0; i < n && got == (size_t)n; i++)
            EXPECT(mr_str_is(mr_tokenizer_piece(tokenizer, ids[i]), symbols[i]));
    }
    free((char *)file.p);
    mr_tokenizer_close(tokenizer);
}

/* ---- hostile sizes ---- */

struct long_text {
    const struct mr_tokenizer *tokenizer;
    struct mr_str unit;
    size_t bytes, n;
    enum mr_status status;
};

static void *encode_long(void *argument)
{
    struct long_text *text = argument;
    char *bytes = malloc(text->bytes);
    int32_t *out = malloc(text->bytes * sizeof *out);
    for (size_t i = 0; i < text->bytes; i++)
        bytes[i] = text->unit.p[i % text->unit.n];
    struct mr_token_ids encoded = {out, text->bytes, 0};
    text->status = mr_tokenizer_encode(text->tokenizer, (struct mr_str){bytes, text->bytes}, true, &encoded, NULL);
    text->n = encoded.n;
    size_t decoded = 0;
    for (size_t i = 0; i < text->n; i++)
        decoded += mr_tokenizer_piece(text->tokenizer, out[i]).n;
    if (decoded != text->bytes)
        text->status = MR_ERR_INVALID;
    free(out);
    free(bytes);
    return NULL;
}

/* On a thread with 64 KiB of stack. */
static void expect_long(const char *vocabulary, size_t bytes, size_t n_units)
{
    static const char *const units[] = {" ", "a", "\n", "<", "!", "7", " a", "\xe4\xbd\xa0", "\r", "\t \n"};
    struct mr_tokenizer *tokenizer = golden_tokenizer(vocabulary);
    for (size_t i = 0; i < n_units && i < sizeof units / sizeof *units; i++) {
        struct mr_str unit = mr_str_from(units[i]);
        struct long_text text = {.tokenizer = tokenizer, .unit = unit, .bytes = bytes / unit.n * unit.n};
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        REQUIRE(pthread_attr_setstacksize(&attributes, 64 << 10) == 0);
        REQUIRE(pthread_create(&thread, &attributes, encode_long, &text) == 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attributes);
        if (text.status != MR_OK)
            printf("%s, unit %zu: %s\n", vocabulary, i, mr_status_name(text.status));
        EXPECT_EQ(text.status, MR_OK);
        EXPECT(text.n > 0);
    }
    mr_tokenizer_close(tokenizer);
}

TEST(long_texts_of_one_class)
{
    expect_long("tokenizers/smollm2.vocabulary", 10 << 20, 2);
    expect_long("tokenizers/smollm2.vocabulary", 256 << 10, 10);
    expect_long("tokenizers/hf_bytelevel.vocabulary", 256 << 10, 10);
    expect_long("tokenizers/hf_split_llama3_bos.vocabulary", 256 << 10, 10);
    expect_long("tokenizers/hf_nfc_split_qwen2.vocabulary", 256 << 10, 10);
}

TEST(limits)
{
    struct mr_tokenizer *tokenizer = golden_tokenizer("tokenizers/smollm2.vocabulary");
    struct mr_err err;
    size_t n = 0;
    EXPECT_EQ(encode(tokenizer, MR_STR("Hello world"), false, 2, &n), MR_OK);
    EXPECT_EQ(n, 2);
    EXPECT_EQ(encode(tokenizer, MR_STR("!"), false, 2, &n), MR_ERR_LIMIT);
    EXPECT_EQ(n, 2);
    n = 0;
    EXPECT_EQ(encode(tokenizer, MR_STR("Hello world"), false, 1, &n), MR_ERR_LIMIT);
    EXPECT_EQ(n, 1);
    n = 0;
    EXPECT_EQ(encode(tokenizer, MR_STR(""), false, 0, &n), MR_OK);
    EXPECT_EQ(n, 0);
    char *bytes = calloc(MR_TOKENIZER_TEXT_BYTES_MAX + 1, 1); /* NUL bytes: one token each, so the capacity refuses the longest allowed */
    struct mr_token_ids out = {ids, IDS_MAX, 0};
    EXPECT_EQ(mr_tokenizer_encode(tokenizer, (struct mr_str){bytes, MR_TOKENIZER_TEXT_BYTES_MAX + 1}, false, &out, &err), MR_ERR_LIMIT);
    EXPECT_EQ(out.n, 0);
    EXPECT(strstr(err.text, "longer than") != NULL);
    free(bytes);
    mr_tokenizer_close(tokenizer);
}

/* ---- opening ---- */

static enum mr_status try_open(struct mr_vocabulary vocabulary, struct mr_err *err)
{
    struct mr_tokenizer *tokenizer = NULL;
    enum mr_status status = mr_tokenizer_open(&vocabulary, &tokenizer, err);
    EXPECT((status == MR_OK) == (tokenizer != NULL));
    mr_tokenizer_close(tokenizer);
    return status;
}

TEST(bad_vocabularies_are_refused_by_name)
{
    struct mr_str tokens[] = {MR_STR("<s>"), MR_STR("a"), MR_STR("b"), MR_STR("ab")}, merges[] = {MR_STR("a b"), MR_STR("a c")};
    int32_t types[] = {MR_TOKEN_CONTROL, 1, 1, 1};
    struct mr_vocabulary good = {.model = MR_STR("gpt2"), .pre = MR_STR("gpt-2"), .tokens = tokens, .types = types, .n_tokens = 4,
                                 .merges = merges, .n_merges = 1, .bos = 0, .eos = -1, .eot = -1};
    struct mr_vocabulary bad = good;
    struct mr_err err;
    EXPECT_EQ(try_open(good, &err), MR_OK);
    bad.model = MR_STR("llama");
    EXPECT_EQ(try_open(bad, &err), MR_ERR_UNSUPPORTED);
    EXPECT(strstr(err.text, "llama") != NULL);
    bad = good, bad.pre = MR_STR("tekken");
    EXPECT_EQ(try_open(bad, &err), MR_ERR_UNSUPPORTED);
    EXPECT(strstr(err.text, "tekken") != NULL);
    bad = good, bad.n_merges = 2;
    EXPECT_EQ(try_open(bad, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "merge 1") != NULL);
    bad = good, bad.eos = 4;
    EXPECT_EQ(try_open(bad, &err), MR_ERR_INVALID);
    bad = good, bad.n_tokens = 0;
    EXPECT_EQ(try_open(bad, &err), MR_ERR_INVALID);
    types[3] = 9;
    EXPECT_EQ(try_open(good, &err), MR_ERR_INVALID);
    types[3] = MR_TOKEN_CONTROL; /* a rule whose product is a control token is no rule */
    struct mr_tokenizer *tokenizer;
    size_t n = 0;
    REQUIRE(mr_tokenizer_open(&good, &tokenizer, &err) == MR_OK);
    EXPECT_EQ(encode(tokenizer, MR_STR("ab"), false, IDS_MAX, &n), MR_OK);
    EXPECT_EQ(n, 2);
    mr_tokenizer_close(tokenizer);
}

TEST(user_defined_tokens_are_found_anywhere)
{
    struct mr_str tokens[] = {MR_STR("a"), MR_STR("b"), MR_STR("ba"), MR_STR("bab"), MR_STR("<s>")};
    int32_t types[] = {1, 1, MR_TOKEN_USER_DEFINED, MR_TOKEN_USER_DEFINED, MR_TOKEN_CONTROL};
    struct mr_vocabulary vocabulary = {.model = MR_STR("gpt2"), .pre = MR_STR("default"), .tokens = tokens, .types = types, .n_tokens = 5,
                                       .bos = 4, .eos = 4, .eot = -1, .add_bos = true};
    struct mr_tokenizer *tokenizer;
    size_t n = 0;
    REQUIRE(mr_tokenizer_open(&vocabulary, &tokenizer, NULL) == MR_OK);
    EXPECT_EQ(encode(tokenizer, MR_STR("aababba"), false, IDS_MAX, &n), MR_OK);
    EXPECT_EQ(n, 4); /* a a bab ba: the longest at the leftmost place */
    EXPECT_EQ(ids[2], 3);
    EXPECT_EQ(ids[3], 2);
    struct mr_chat_span spans[] = {{MR_STR("ab"), true}, {MR_STR("ab<s>"), false}, {MR_STR("<"), true}, {MR_STR("s>"), true}};
    n = 0;
    EXPECT_EQ(encode_spans(tokenizer, spans, 4, &n), MR_OK);
    EXPECT_EQ(n, 3); /* a bab and, over two special spans, <s>; the user's <s> has no token here at all */
    EXPECT_EQ(ids[1], 3);
    EXPECT_EQ(ids[2], 4);
    EXPECT_EQ(mr_tokenizer_bos(tokenizer), 4);
    EXPECT(mr_tokenizer_is_end(tokenizer, 4) && !mr_tokenizer_is_end(tokenizer, 0) && !mr_tokenizer_is_end(tokenizer, -1));
    EXPECT_EQ(mr_tokenizer_control(tokenizer, MR_STR("<s>")), 4);
    EXPECT_EQ(mr_tokenizer_control(tokenizer, MR_STR("ba")), -1);
    mr_tokenizer_close(tokenizer);
}

TEST(synthetic_is_one_token_a_byte)
{
    struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = 300, .bos = -1, .eos = 256, .eot = 258};
    struct mr_tokenizer *tokenizer;
    struct mr_err err;
    size_t n = 0;
    REQUIRE(mr_tokenizer_open(&vocabulary, &tokenizer, &err) == MR_OK);
    EXPECT_EQ(encode(tokenizer, MR_STR("h\xff<|im_end|>"), false, IDS_MAX, &n), MR_OK);
    EXPECT_EQ(n, 12);
    EXPECT_EQ(ids[1], 255);
    n = 0;
    EXPECT_EQ(encode(tokenizer, MR_STR("h<|im_end|>"), true, IDS_MAX, &n), MR_OK);
    EXPECT_EQ(n, 2);
    EXPECT_EQ(ids[1], 258);
    EXPECT(mr_tokenizer_is_end(tokenizer, 258));
    EXPECT(mr_str_is(mr_tokenizer_piece(tokenizer, 259), "<259>"));
    EXPECT_EQ(mr_tokenizer_piece(tokenizer, 300).n, 0);
    EXPECT_EQ(mr_tokenizer_size(tokenizer), 300);
    mr_tokenizer_close(tokenizer);
    vocabulary.n_tokens = 255;
    EXPECT_EQ(try_open(vocabulary, &err), MR_ERR_INVALID);
}

TEST(digest_follows_content)
{
    struct mr_str tokens[] = {MR_STR("a"), MR_STR("b"), MR_STR("ab")}, merges[] = {MR_STR("a b")};
    struct mr_vocabulary vocabulary = {.model = MR_STR("gpt2"), .pre = MR_STR("gpt-2"), .tokens = tokens, .n_tokens = 3, .merges = merges,
                                       .n_merges = 1, .bos = -1, .eos = -1, .eot = -1};
    struct mr_tokenizer *a, *b, *c;
    REQUIRE(mr_tokenizer_open(&vocabulary, &a, NULL) == MR_OK);
    REQUIRE(mr_tokenizer_open(&vocabulary, &b, NULL) == MR_OK);
    vocabulary.n_merges = 0;
    REQUIRE(mr_tokenizer_open(&vocabulary, &c, NULL) == MR_OK);
    EXPECT_EQ(strlen(mr_tokenizer_digest(a)), 64);
    EXPECT_STR(mr_tokenizer_digest(a), mr_tokenizer_digest(b));
    EXPECT(strcmp(mr_tokenizer_digest(a), mr_tokenizer_digest(c)) != 0);
    mr_tokenizer_close(a);
    mr_tokenizer_close(b);
    mr_tokenizer_close(c);
}

TEST_MAIN(TEST_CASE(smollm2_vectors), TEST_CASE(gpt2_vectors), TEST_CASE(llama_bpe_vectors), TEST_CASE(qwen2_vectors), TEST_CASE(smollm2_goldens),
          TEST_CASE(user_text_makes_no_control_token), TEST_CASE(merging_equals_its_definition), TEST_CASE(long_texts_of_one_class),
          TEST_CASE(limits), TEST_CASE(bad_vocabularies_are_refused_by_name), TEST_CASE(user_defined_tokens_are_found_anywhere),
          TEST_CASE(synthetic_is_one_token_a_byte), TEST_CASE(digest_follows_content))
