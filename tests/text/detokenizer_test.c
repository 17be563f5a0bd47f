#include "tests/test.h"

#include "tests/text/golden.h"
#include "worker/text/detokenizer.h"
#include "worker/text/utf8.h"

static uint32_t random_state = 3;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

/* The references' streams: whole texts, cut ends, tails that begin inside a character, random ids. */
TEST(smollm2_streams)
{
    struct mr_tokenizer *tokenizer = golden_tokenizer("tokenizers/smollm2.vocabulary");
    struct mr_str file = golden_file("tokenizers/smollm2.decode.jsonl"), rest = file, line;
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    int rows = 0;
    for (; golden_line(&rest, &line); rows++) {
        struct mr_value row = golden_json(line, &arena);
        const struct mr_value *ids = mr_value_get(&row, "ids");
        struct mr_detokenizer detokenizer = {0};
        struct mr_buf out = {0};
        for (size_t i = 0; i < ids->as.array.n; i++) {
            mr_detokenizer_add(&detokenizer, mr_tokenizer_piece(tokenizer, (int32_t)ids->as.array.items[i].as.integer), &out);
            EXPECT(mr_utf8_whole(mr_buf_view(&out))); /* never half a character */
        }
        mr_detokenizer_finish(&detokenizer, &out);
        if (!mr_str_equal(mr_buf_view(&out), golden_text(&row, "decoded"))) {
            printf("%.*s\n", (int)line.n, line.p);
            EXPECT(false);
        }
        mr_buf_fini(&out);
        mr_arena_fini(&arena);
    }
    EXPECT_EQ(rows, 240);
    free((char *)file.p);
    mr_tokenizer_close(tokenizer);
}

TEST(random_splits_equal_whole_decoding)
{
    static const unsigned char likely[] = {'a', 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xe4, 0xbd, 0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f, 0xff, 0xc0};
    for (int round = 0; round < 50000; round++) {
        char text[40];
        size_t n = random_below(sizeof text);
        for (size_t i = 0; i < n; i++)
            text[i] = (char)(random_below(8) ? likely[random_below(sizeof likely)] : random_below(256));
        struct mr_buf whole = {0}, pieces = {0};
        struct mr_detokenizer detokenizer = {0};
        mr_utf8_repair((struct mr_str){text, n}, &whole);
        for (size_t at = 0; at < n;) {
            size_t piece = 1 + random_below(5);
            if (piece > n - at)
                piece = n - at;
            mr_detokenizer_add(&detokenizer, (struct mr_str){text + at, piece}, &pieces);
            EXPECT(mr_utf8_whole(mr_buf_view(&pieces)));
            at += piece;
        }
        mr_detokenizer_finish(&detokenizer, &pieces);
        EXPECT(mr_str_equal(mr_buf_view(&whole), mr_buf_view(&pieces)));
        mr_buf_fini(&whole);
        mr_buf_fini(&pieces);
    }
}

TEST_MAIN(TEST_CASE(smollm2_streams), TEST_CASE(random_splits_equal_whole_decoding))
