#include "tests/test.h"

#include "worker/text/alphabet.h"

static void expect_decoded(struct mr_str stored, struct mr_str wanted)
{
    struct mr_buf out = {0};
    mr_buf_add_char(&out, '>');
    mr_alphabet_decode(stored, &out);
    EXPECT(out.n == wanted.n + 1 && memcmp(out.p + 1, wanted.p, wanted.n) == 0);
    mr_buf_fini(&out);
}

TEST(spelling)
{
    expect_decoded(MR_STR("Hello"), MR_STR("Hello"));
    expect_decoded(MR_STR("\xc4\xa0the"), MR_STR(" the"));               /* U+0120 */
    expect_decoded(MR_STR("\xc4\x8a"), MR_STR("\n"));                     /* U+010A */
    expect_decoded(MR_STR("\xc4\x80"), MR_STR("\0"));                     /* U+0100 */
    expect_decoded(MR_STR("\xc5\x83"), MR_STR("\xad"));                   /* U+0143, the last */
    expect_decoded(MR_STR("\xc3\xa3\xc4\xa3\xc4\xa3"), MR_STR("\xe3\x81\x81"));
    expect_decoded(MR_STR("a b"), MR_STR("a b"));                         /* a space is no letter of it: stands for itself */
    expect_decoded(MR_STR("\xc4\xa0\xe2\x96\x81"), MR_STR("\xc4\xa0\xe2\x96\x81"));
    expect_decoded(MR_STR("\xc5\x84"), MR_STR("\xc5\x84"));               /* U+0144: one past the last */
    expect_decoded(MR_STR(""), MR_STR(""));
}

/* Each byte has exactly one letter among the 512 candidates. */
TEST(bijection)
{
    int letters[256] = {0};
    for (int c = 1; c < 0x200; c++) {
        char spelled[2] = {(char)(c < 0x80 ? c : 0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
        struct mr_str stored = {spelled, c < 0x80 ? 1 : 2};
        struct mr_buf out = {0};
        mr_alphabet_decode(stored, &out);
        if (!mr_str_equal(mr_buf_view(&out), stored) || (c >= 33 && c <= 126))
            letters[(unsigned char)out.p[0]]++;
        mr_buf_fini(&out);
    }
    for (int byte = 0; byte < 256; byte++)
        EXPECT_EQ(letters[byte], 1);
}

TEST_MAIN(TEST_CASE(spelling), TEST_CASE(bijection))
