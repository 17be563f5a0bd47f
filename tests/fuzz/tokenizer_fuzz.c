/* Any bytes through the tokenizer and back. The first byte picks vocabulary and mode; a vocabulary of its own is tried too.
 * Holds: an encode succeeds or says why; the pieces are the text's bytes wherever every byte has a token and the text is UTF-8;
 * text that is not special makes no control token; the detokenizer gives whole characters. A template is opened from the bytes. */
#include "base/check.h"
#include "worker/text/chat.h"
#include "worker/text/detokenizer.h"
#include "worker/text/utf8.h"

#include <stdlib.h>

enum { N_SPELLED = 256, N_TOKENS = N_SPELLED + 8, IDS_MAX = 1 << 16 };
static const char *const pres[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};

/* The byte-level alphabet and a few merges that make and unmake words. */
static struct mr_tokenizer *open_small(const char *pre)
{
    static char letters[N_SPELLED][2];
    struct mr_str tokens[N_TOKENS], merges[] = {MR_STR("a a"), MR_STR("aa aa"), MR_STR("\xc4\xa0 a"), MR_STR("< |"), MR_STR("1 1")};
    int32_t types[N_TOKENS];
    int n_other = 0;
    for (int byte = 0; byte < N_SPELLED; byte++) {
        bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        int c = itself ? byte : 256 + n_other++;
        letters[byte][0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6), letters[byte][1] = (char)(0x80 | (c & 0x3f));
        tokens[byte] = (struct mr_str){letters[byte], c < 0x80 ? 1 : 2};
    }
    const char *more[] = {"aa", "aaaa", "\xc4\xa0\x61", "<|", "11", "<|s|>", "<|s|><|s|>", "<|e"};
    for (int i = 0; i < 8; i++)
        tokens[N_SPELLED + i] = mr_str_from(more[i]);
    for (int i = 0; i < N_TOKENS; i++)
        types[i] = i < N_SPELLED + 5 ? MR_TOKEN_NORMAL : MR_TOKEN_CONTROL;
    struct mr_vocabulary vocabulary = {.model = MR_STR("gpt2"), .pre = mr_str_from(pre), .tokens = tokens, .types = types, .n_tokens = N_TOKENS,
                                       .merges = merges, .n_merges = 5, .bos = -1, .eos = -1, .eot = -1};
    struct mr_tokenizer *tokenizer = NULL;
    CHECK(mr_tokenizer_open(&vocabulary, &tokenizer, NULL) == MR_OK);
    return tokenizer;
}

/* A vocabulary out of the bytes themselves: lines become tokens, then merges. */
static void open_hostile(struct mr_str text)
{
    struct mr_str lines[64];
    size_t n = 0;
    for (size_t at = 0; at <= text.n && n < 64; n++) {
        const char *end = at < text.n ? memchr(text.p + at, '\n', text.n - at) : NULL;
        size_t to = end ? (size_t)(end - text.p) : text.n;
        lines[n] = (struct mr_str){text.p + at, to - at};
        at = to + 1;
    }
    size_t n_tokens = n - n / 3;
    struct mr_vocabulary vocabulary = {.model = MR_STR("gpt2"), .pre = MR_STR("default"), .tokens = lines, .n_tokens = n_tokens,
                                       .merges = lines + n_tokens, .n_merges = n - n_tokens, .bos = -1, .eos = -1, .eot = -1};
    struct mr_tokenizer *tokenizer = NULL;
    if (mr_tokenizer_open(&vocabulary, &tokenizer, NULL) == MR_OK) {
        int32_t ids[256];
        struct mr_token_ids out = {ids, 256, 0};
        mr_tokenizer_encode(tokenizer, text, true, &out, NULL);
    }
    mr_tokenizer_close(tokenizer);
}

static void check_round_trip(const struct mr_tokenizer *tokenizer, struct mr_str text, bool special, bool lossless)
{
    static int32_t ids[IDS_MAX];
    struct mr_token_ids out = {ids, IDS_MAX, 0};
    if (mr_tokenizer_encode(tokenizer, text, special, &out, NULL) != MR_OK)
        return;
    struct mr_detokenizer detokenizer = {0};
    struct mr_buf bytes = {0}, shown = {0}, wanted = {0};
    for (size_t i = 0; i < out.n; i++) {
        CHECK(special || !mr_tokenizer_is_control(tokenizer, ids[i]));
        mr_buf_add_str(&bytes, mr_tokenizer_piece(tokenizer, ids[i]));
        mr_detokenizer_add(&detokenizer, mr_tokenizer_piece(tokenizer, ids[i]), &shown);
        CHECK(mr_utf8_whole(mr_buf_view(&shown)));
    }
    mr_utf8_repair(text, &wanted);
    CHECK(!lossless || mr_str_equal(mr_buf_view(&bytes), mr_buf_view(&wanted)));
    mr_buf_fini(&bytes);
    mr_buf_fini(&shown);
    mr_buf_fini(&wanted);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static struct mr_tokenizer *tokenizers[4];
    if (size == 0 || size > 1 << 15)
        return 0;
    for (int i = 0; i < 4 && !tokenizers[i]; i++)
        tokenizers[i] = open_small(pres[i]);
    struct mr_str text = {(const char *)data + 1, size - 1};
    int which = data[0] & 3;
    check_round_trip(tokenizers[which], text, data[0] & 4, which != 3); /* qwen2 composes: not the same bytes */
    open_hostile(text);
    struct mr_chat *chat = NULL;
    mr_chat_open(text, &chat, NULL);
    mr_chat_close(chat);
    return 0;
}
