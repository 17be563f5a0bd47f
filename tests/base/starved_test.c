#include "base/arena.h"
#include "base/buf.h"
#include "base/starved.h"
#include "tests/test.h"

TEST(a_limit_of_ones_own_is_no_refusal)
{
    struct mr_arena arena;
    uint64_t before = mr_starved_count();
    mr_arena_init(&arena, 1024);
    EXPECT(!mr_arena_alloc(&arena, 2048));
    mr_arena_fini(&arena);
    EXPECT_EQ(mr_starved_count(), before);
}

TEST(the_systems_refusal_is_counted)
{
    struct mr_arena arena;
    struct mr_buf buf = {0};
    uint64_t before = mr_starved_count();
    mr_arena_init(&arena, 0);
    EXPECT(!mr_arena_alloc(&arena, (size_t)1 << 60)); /* more than any address space */
    mr_arena_fini(&arena);
    EXPECT_EQ(mr_starved_count(), before + 1);
    EXPECT(!mr_buf_reserve(&buf, (size_t)1 << 60) && buf.failed);
    EXPECT_EQ(mr_starved_count(), before + 2);
}

TEST_MAIN(TEST_CASE(a_limit_of_ones_own_is_no_refusal), TEST_CASE(the_systems_refusal_is_counted))
