#include "tests/test.h"

#include "worker/text/marker.h"

TEST(leftmost_then_longest)
{
    struct mr_mark marks[] = {{MR_STR("ab"), 1, true}, {MR_STR("abc"), 2, true}, {MR_STR("bc"), 3, false}, {MR_STR("\xff"), 4, true}, {MR_STR("ab"), 0, true}};
    struct mr_marker marker;
    struct mr_str text = MR_STR("xabcab\xff");
    size_t at = 0;
    REQUIRE(mr_marker_init(&marker, marks, 5));
    EXPECT_EQ(mr_marker_find(&marker, text, 0, text.n, true, &at)->id, 2);
    EXPECT_EQ(at, 1);
    EXPECT_EQ(mr_marker_find(&marker, text, 2, text.n, true, &at)->id, 3);
    EXPECT_EQ(mr_marker_find(&marker, text, 3, text.n, true, &at)->id, 0);
    EXPECT_EQ(at, 4);
    EXPECT_EQ(mr_marker_find(&marker, text, 6, text.n, true, &at)->id, 4);
    EXPECT(mr_marker_find(&marker, text, 7, text.n, true, &at) == NULL);
    EXPECT_EQ(mr_marker_find(&marker, text, 0, text.n, false, &at)->id, 3); /* not meant: no control token */
    EXPECT_EQ(mr_marker_find(&marker, text, 0, 3, true, &at)->id, 0);       /* "abc" ends outside */
    EXPECT_EQ(mr_marker_find(&marker, text, 2, 3, false, &at)->id, 3);      /* a user-defined one may end outside */
    mr_marker_fini(&marker);
    REQUIRE(mr_marker_init(&marker, NULL, 0));
    EXPECT(mr_marker_find(&marker, text, 0, text.n, true, &at) == NULL);
    mr_marker_fini(&marker);
}

TEST_MAIN(TEST_CASE(leftmost_then_longest))
