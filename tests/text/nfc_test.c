#include "tests/test.h"

#include "worker/text/nfc.h"

static void expect_composed(struct mr_str text, struct mr_str wanted)
{
    struct mr_buf out = {0};
    mr_nfc_add(text, &out);
    EXPECT(!out.failed && mr_str_equal(mr_buf_view(&out), wanted));
    mr_buf_fini(&out);
}

TEST(composition)
{
    expect_composed(MR_STR("plain"), MR_STR("plain"));
    expect_composed(MR_STR("e\xcc\x81"), MR_STR("\xc3\xa9"));
    expect_composed(MR_STR("\xe2\x84\xab"), MR_STR("\xc3\x85"));                       /* the angstrom sign */
    expect_composed(MR_STR("a\xcc\x87\xcc\xa3"), MR_STR("\xe1\xba\xa1\xcc\x87"));       /* marks in canonical order */
    expect_composed(MR_STR("\0\xc3\xa9\0"), MR_STR("\0\xc3\xa9\0"));
    expect_composed(MR_STR(""), MR_STR(""));
}

/* Marks without end, in the order that costs most, take time that grows with their number, not its square. */
TEST(marks_without_end)
{
    enum { N = 1 << 20 };
    static char text[4 * N];
    struct mr_buf out = {0};
    for (int i = 0; i < N; i++)
        memcpy(text + 4 * i, "\xcc\x81\xcc\xa3", 4);
    mr_nfc_add((struct mr_str){text, sizeof text}, &out);
    EXPECT(!out.failed);
    EXPECT_EQ(out.n, sizeof text);
    mr_buf_fini(&out);
}

TEST_MAIN(TEST_CASE(composition), TEST_CASE(marks_without_end))
