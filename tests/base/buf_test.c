#include "base/buf.h"
#include "tests/test.h"

TEST(grows_over_every_boundary)
{
    struct mr_buf buf = {0};
    for (int i = 0; i < 5000; i++)
        mr_buf_add_char(&buf, (char)('a' + i % 26));
    mr_buf_addf(&buf, "%05d|%s", 42, "tail");
    REQUIRE(buf.n == 5010);
    for (int i = 0; i < 5000; i++)
        EXPECT(buf.p[i] == 'a' + i % 26);
    EXPECT(memcmp(buf.p + 5000, "00042|tail", 10) == 0);
    mr_buf_clear(&buf);
    EXPECT_EQ(buf.n, 0);
    mr_buf_fini(&buf);
    EXPECT(!buf.p);
}

TEST(a_failed_allocation_is_remembered)
{
    struct mr_buf buf = {0};
    mr_buf_add(&buf, "kept", 4);
    EXPECT(!mr_buf_reserve(&buf, SIZE_MAX / 2));
    EXPECT(buf.failed);
    mr_buf_add(&buf, "lost", 4);
    EXPECT_EQ(buf.n, 4);
    mr_buf_clear(&buf);
    mr_buf_add(&buf, "again", 5);
    EXPECT(!buf.failed && buf.n == 5);
    mr_buf_fini(&buf);
}

TEST_MAIN(TEST_CASE(grows_over_every_boundary), TEST_CASE(a_failed_allocation_is_remembered))
