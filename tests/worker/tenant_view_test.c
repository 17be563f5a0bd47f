#include "worker/tenant_view.h"

#include "tests/test.h"

TEST(text_and_back_and_sums)
{
    struct mr_tenant_view a = {.name = "acme", .service = 1000, .counter = 500, .drift_permille = 250, .waiting = 3, .running = 2, .finished = 9,
                               .on_time = 8, .preemptions = 1, .relegations = 4, .limited = true}, sum = {0};
    char text[MR_TENANT_VIEW_TEXT_BYTES];
    mr_tenant_view_print(&a, text);
    EXPECT_STR(text, "1000 500 250 3 2 9 8 1 4 1");
    REQUIRE(mr_tenant_view_add(&sum, mr_str_from(text)));
    REQUIRE(mr_tenant_view_add(&sum, MR_STR("10 900 20 1 1 1 1 0 0 0")));
    EXPECT_EQ(sum.service, 1010);
    EXPECT_EQ(sum.counter, 900);
    EXPECT_EQ(sum.drift_permille, 250);
    EXPECT_EQ(sum.waiting, 4);
    EXPECT_EQ(sum.running, 3);
    EXPECT_EQ(sum.finished, 10);
    EXPECT_EQ(sum.on_time, 9);
    EXPECT_EQ(sum.preemptions, 1);
    EXPECT_EQ(sum.relegations, 4);
    EXPECT(sum.limited);
}

TEST(what_is_no_such_text)
{
    struct mr_tenant_view sum = {0};
    EXPECT(!mr_tenant_view_add(&sum, MR_STR("")));
    EXPECT(!mr_tenant_view_add(&sum, MR_STR("1 2 3")));
    EXPECT(!mr_tenant_view_add(&sum, MR_STR("a b c d e f g h i j")));
    EXPECT_EQ(sum.service, 0);
}

TEST_MAIN(TEST_CASE(text_and_back_and_sums), TEST_CASE(what_is_no_such_text))
