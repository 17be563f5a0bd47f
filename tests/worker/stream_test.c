#include "tests/test.h"
#include "worker/stream.h"

static struct mr_tokenizer *open_tokenizer(void)
{
    static struct mr_tokenizer *tokenizer;
    struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = 300, .bos = -1, .eos = 256, .eot = -1};
    if (!tokenizer)
        EXPECT_EQ(mr_tokenizer_open(&vocabulary, &tokenizer, NULL), MR_OK);
    return tokenizer;
}

/* Streams the bytes of text, min of them without stop strings; what came out, "|" where it stopped. */
static const char *streamed(const char *text, size_t n, size_t min, const struct mr_str *stops, int n_stops)
{
    static char out[256];
    struct mr_stream stream;
    struct mr_buf buf = {0};
    bool stopped = false;
    mr_stream_init(&stream, open_tokenizer(), stops, n_stops);
    for (size_t i = 0; i < n && !stopped; i++)
        stopped = mr_stream_add(&stream, (unsigned char)text[i], i >= min, &buf);
    mr_stream_finish(&stream, &buf);
    snprintf(out, sizeof out, "%.*s%s", (int)buf.n, buf.p ? buf.p : "", stopped ? "|" : "");
    mr_stream_fini(&stream);
    mr_buf_fini(&buf);
    return out;
}

TEST(text)
{
    EXPECT_STR(streamed("abc", 3, 0, NULL, 0), "abc");
    EXPECT_STR(streamed("a\xc3\xa9", 3, 0, NULL, 0), "a\xc3\xa9");
    EXPECT_STR(streamed("a\xc3", 2, 0, NULL, 0), "a\xef\xbf\xbd"); /* half a character, at the end */
}

TEST(stops)
{
    const struct mr_str stops[] = {MR_STR("cd"), MR_STR("\xc3\xa9" "f")};
    EXPECT_STR(streamed("abcdef", 6, 0, stops, 2), "ab|");
    EXPECT_STR(streamed("abc", 3, 0, stops, 2), "abc"); /* held, then released */
    EXPECT_STR(streamed("ab\xc3\xa9" "fg", 6, 0, stops, 2), "ab|");
    EXPECT_STR(streamed("abcdcd", 6, 4, stops, 2), "abcd|"); /* the first does not count */
    EXPECT_STR(streamed("ab\xc3", 3, 0, stops, 2), "ab\xef\xbf\xbd");
}

TEST(control_tokens_have_no_text)
{
    struct mr_stream stream;
    struct mr_buf buf = {0};
    mr_stream_init(&stream, open_tokenizer(), NULL, 0);
    mr_stream_add(&stream, 'a', true, &buf);
    mr_stream_add(&stream, 256, true, &buf);
    mr_stream_add(&stream, 'b', true, &buf);
    EXPECT_EQ(buf.n, 2);
    mr_stream_fini(&stream);
    mr_buf_fini(&buf);
}

TEST_MAIN(TEST_CASE(text), TEST_CASE(stops), TEST_CASE(control_tokens_have_no_text))
