#include "tests/test.h"

#include "worker/text/utf8.h"

/* Every character has one form, and no other four bytes have any: all code points, by the definition of UTF-8. */
TEST(every_code_point)
{
    long whole = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char b[4];
        int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        for (int i = n - 1; i > 0; i--)
            b[i] = (char)(0x80 | ((c >> (6 * (n - 1 - i))) & 0x3f));
        b[0] = (char)(n == 1 ? c : (0xf0u << (4 - n) & 0xff) | c >> (6 * (n - 1)));
        struct mr_utf8_step step = mr_utf8_next(b, (size_t)n);
        bool surrogate = c >= 0xd800 && c < 0xe000;
        EXPECT(surrogate ? step.kind == MR_UTF8_BROKEN && step.n == 1 : step.kind == MR_UTF8_WHOLE && step.n == n);
        whole += !surrogate;
        for (int cut = 1; cut < n && !surrogate; cut++)
            EXPECT(mr_utf8_next(b, (size_t)cut).kind == MR_UTF8_PARTIAL);
    }
    EXPECT_EQ(whole, 0x110000 - 0x800);
}

/* The examples of the Unicode standard, section 3.9, table 3-8 and those before it. */
TEST(maximal_subsequences)
{
    static const struct {
        const char *broken;
        int replacements;
    } rows[] = {
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82", 8},         /* overlong forms: every byte */
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf", 8},         /* surrogates */
        {"\xf4\x91\x92\x93\xff\x80\xbf", 7},             /* above U+10FFFF, and bytes that start nothing */
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf", 4},         /* truncated: one a sequence */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mr_buf out = {0};
        mr_utf8_repair(mr_str_from(rows[i].broken), &out);
        EXPECT_EQ(out.n, 3 * rows[i].replacements);
        EXPECT(mr_utf8_whole(mr_buf_view(&out)));
        EXPECT(!mr_utf8_whole(mr_str_from(rows[i].broken)));
        mr_buf_fini(&out);
    }
    EXPECT(mr_utf8_whole(MR_STR("")));
    EXPECT(mr_utf8_whole(MR_STR("a\0\xc3\xa9")));
}

TEST_MAIN(TEST_CASE(every_code_point), TEST_CASE(maximal_subsequences))
