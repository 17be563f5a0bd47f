#include "tests/test.h"

#include "worker/names.h"

static struct mr_str name_of(int i, char text[32])
{
    snprintf(text, 32, "tenant/job-%d", i);
    return mr_str_from(text);
}

TEST(lower_offset_stays)
{
    struct mr_names names;
    mr_names_init(&names, 64);
    EXPECT(!mr_names_find(&names, MR_STR("a/b")));
    mr_names_add(&names, MR_STR("a/b"), 7, "seven");
    mr_names_add(&names, MR_STR("a/b"), 9, "nine");
    REQUIRE(mr_names_find(&names, MR_STR("a/b")));
    EXPECT_EQ(mr_names_find(&names, MR_STR("a/b"))->offset, 7);
    EXPECT_STR(mr_names_find(&names, MR_STR("a/b"))->body_hash, "seven");
    mr_names_add(&names, MR_STR("a/b"), 3, "three");
    EXPECT_EQ(mr_names_find(&names, MR_STR("a/b"))->offset, 3);
    EXPECT_STR(mr_names_find(&names, MR_STR("a/b"))->body_hash, "three");
    mr_names_forget(&names, MR_STR("a/b"), 9);
    EXPECT_EQ(mr_names_find(&names, MR_STR("a/b"))->offset, 3);
    mr_names_forget(&names, MR_STR("a/b"), 3);
    mr_names_add(&names, MR_STR("a/b"), 9, "nine");
    EXPECT_EQ(mr_names_find(&names, MR_STR("a/b"))->offset, 9);
    mr_names_fini(&names);
}

TEST(at_the_limit_and_past_it)
{
    struct mr_names names;
    char text[32];
    mr_names_init(&names, 256);
    for (int i = 0; i < 256; i++)
        mr_names_add(&names, name_of(i, text), i, "x");
    for (int i = 0; i < 256; i++)
        EXPECT(mr_names_find(&names, name_of(i, text)));
    for (int i = 256; i < 1000; i++) {
        mr_names_add(&names, name_of(i, text), i, "x");
        EXPECT(!mr_names_find(&names, name_of(i - 256, text)));
        EXPECT(mr_names_find(&names, name_of(i - 255, text)) && mr_names_find(&names, name_of(i, text))->offset == i);
        EXPECT_EQ(names.count, 256);
    }
    mr_names_fini(&names);
}

TEST_MAIN(TEST_CASE(lower_offset_stays), TEST_CASE(at_the_limit_and_past_it))
