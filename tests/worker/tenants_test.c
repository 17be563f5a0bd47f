#include "worker/tenants.h"

#include "tests/test.h"

#include <stdio.h>

static struct mr_str named(char name[MR_TENANT_BYTES_MAX + 1], int i)
{
    snprintf(name, MR_TENANT_BYTES_MAX + 1, "tenant-%d", i);
    return mr_str_from(name);
}

TEST(a_tenant_keeps_its_index)
{
    struct mr_tenants t;
    REQUIRE(mr_tenants_open(&t, 4));
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("a")), 0);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("b")), 1);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("a")), 0);
    mr_tenants_leave(&t, 0, 1);
    mr_tenants_leave(&t, 0, 2);
    mr_tenants_leave(&t, 1, 3);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("c")), 2); /* a fresh one first */
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("b")), 1);
    mr_tenants_close(&t);
}

TEST(the_one_idle_longest_makes_room)
{
    struct mr_tenants t;
    REQUIRE(mr_tenants_open(&t, 4));
    for (int i = 0; i < 3; i++) {
        char name[MR_TENANT_BYTES_MAX + 1];
        EXPECT_EQ(mr_tenants_join(&t, named(name, i)), i);
    }
    mr_tenants_leave(&t, 2, 10);
    mr_tenants_leave(&t, 1, 20);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("new")), 2);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("newer")), 1);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("tenant-0")), 0);
    mr_tenants_close(&t);
}

/* At the number, 4,095 tenants with runs at once, each has its own; one past it shares. */
TEST(past_the_maximum_tenants_share_the_last_index)
{
    struct mr_tenants t;
    char name[MR_TENANT_BYTES_MAX + 1];
    REQUIRE(mr_tenants_open(&t, MR_TENANTS_MAX));
    for (int i = 0; i < MR_TENANTS_MAX - 1; i++)
        EXPECT_EQ(mr_tenants_join(&t, named(name, i)), i);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("one-more")), MR_TENANTS_MAX - 1);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("and-another")), MR_TENANTS_MAX - 1);
    mr_tenants_leave(&t, MR_TENANTS_MAX - 1, 1);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("one-more")), MR_TENANTS_MAX - 1); /* all others are busy still */
    mr_tenants_leave(&t, 7, 2);
    EXPECT_EQ(mr_tenants_join(&t, MR_STR("one-more")), 7);
    mr_tenants_close(&t);
}

TEST_MAIN(TEST_CASE(a_tenant_keeps_its_index), TEST_CASE(the_one_idle_longest_makes_room),
          TEST_CASE(past_the_maximum_tenants_share_the_last_index))
