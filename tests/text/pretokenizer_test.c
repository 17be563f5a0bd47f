#include "tests/test.h"

#include "base/buf.h"
#include "worker/text/pretokenizer.h"

/* The pieces of text, with | between them. */
static void expect_pieces(const char *name, struct mr_str text, const char *wanted)
{
    struct mr_pretokenizer *pretokenizer;
    struct mr_pretokenizer_scan scan = {0};
    struct mr_buf out = {0};
    REQUIRE(mr_pretokenizer_open(mr_str_from(name), &pretokenizer, NULL) == MR_OK);
    REQUIRE(mr_pretokenizer_begin(pretokenizer, text, &scan, NULL) == MR_OK);
    for (struct mr_str piece;;) {
        EXPECT_EQ(mr_pretokenizer_next(&scan, &piece, NULL), MR_OK);
        if (piece.n == 0)
            break;
        mr_buf_add_str(&out, piece);
        mr_buf_add_char(&out, '|');
    }
    mr_buf_add_char(&out, '\0');
    EXPECT_STR(out.p, wanted);
    mr_buf_fini(&out);
    mr_pretokenizer_end(&scan);
    mr_pretokenizer_close(pretokenizer);
}

TEST(pieces)
{
    expect_pieces("gpt-2", MR_STR("It's  3 a.m. 123"), "It|'s| | 3| a|.|m|.| 123|");
    expect_pieces("default", MR_STR("a\n\n b"), "a|\n\n| b|");
    expect_pieces("smollm", MR_STR("a  12 b 3"), "a|  |1|2| b| |3|");
    expect_pieces("llama-bpe", MR_STR("I'LL pay 12345!\n\nok"), "I|'LL| pay| |123|45|!\n\n|ok|");
    expect_pieces("qwen2", MR_STR("x=12\r\n y"), "x|=|1|2|\r\n| y|");
    expect_pieces("gpt-2", MR_STR("a\xe1\xa0\x8e "), "a|\xe1\xa0\x8e| |"); /* U+180E is no space */
    expect_pieces("gpt-2", MR_STR(""), "");
}

TEST(unknown_names_are_refused)
{
    struct mr_pretokenizer *pretokenizer;
    struct mr_err err;
    EXPECT_EQ(mr_pretokenizer_open(MR_STR("deepseek-llm"), &pretokenizer, &err), MR_ERR_UNSUPPORTED);
    EXPECT(strstr(err.text, "deepseek-llm") != NULL);
    EXPECT(pretokenizer == NULL);
    EXPECT_EQ(mr_pretokenizer_open(MR_STR(""), &pretokenizer, &err), MR_ERR_UNSUPPORTED);
}

TEST(fingerprints_differ)
{
    struct mr_pretokenizer *a, *b;
    REQUIRE(mr_pretokenizer_open(MR_STR("gpt-2"), &a, NULL) == MR_OK);
    REQUIRE(mr_pretokenizer_open(MR_STR("smollm"), &b, NULL) == MR_OK);
    EXPECT(strcmp(mr_pretokenizer_fingerprint(a), mr_pretokenizer_fingerprint(b)) != 0);
    EXPECT(strstr(mr_pretokenizer_fingerprint(a), "unicode 1") != NULL);
    mr_pretokenizer_close(a);
    mr_pretokenizer_close(b);
}

TEST_MAIN(TEST_CASE(pieces), TEST_CASE(unknown_names_are_refused), TEST_CASE(fingerprints_differ))
