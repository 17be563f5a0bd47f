#include "base/arena.h"
#include "tests/test.h"

#include <stdint.h>

TEST(memory_is_zeroed_aligned_and_apart)
{
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    char *last = NULL;
    for (size_t n = 1; n < 40000; n = n * 2 + 1) {
        char *p = mr_arena_alloc(&arena, n);
        REQUIRE(p);
        EXPECT_EQ((uintptr_t)p % 16, 0);
        EXPECT(p != last);
        for (size_t i = 0; i < n; i++)
            EXPECT(p[i] == 0);
        memset(p, 0xff, n);
        last = p;
    }
    mr_arena_fini(&arena);
    EXPECT_EQ(arena.used_bytes, 0);
}

TEST(limit_holds_at_the_number_and_one_past)
{
    struct mr_arena arena;
    mr_arena_init(&arena, 64);
    EXPECT(mr_arena_alloc(&arena, 48));
    EXPECT(!mr_arena_alloc(&arena, 17));
    EXPECT(mr_arena_alloc(&arena, 16));
    EXPECT(!mr_arena_alloc(&arena, 1));
    mr_arena_fini(&arena);
}

TEST(products_that_overflow_give_nothing)
{
    struct mr_arena arena;
    mr_arena_init(&arena, 0);
    EXPECT(!mr_arena_array(&arena, SIZE_MAX / 8 + 1, 8));
    EXPECT(!mr_arena_alloc(&arena, SIZE_MAX));
    EXPECT(!mr_arena_str(&arena, (struct mr_str){"x", SIZE_MAX}).p);
    mr_arena_fini(&arena);
}

TEST(strings_are_copied_and_terminated)
{
    struct mr_arena arena;
    char source[] = "mill\0race";
    mr_arena_init(&arena, 0);
    struct mr_str copy = mr_arena_str(&arena, (struct mr_str){source, 9});
    source[0] = 'x';
    EXPECT_EQ(copy.n, 9);
    EXPECT(memcmp(copy.p, "mill\0race", 10) == 0);
    EXPECT_EQ(mr_arena_str(&arena, (struct mr_str){0}).n, 0);
    mr_arena_fini(&arena);
}

TEST_MAIN(TEST_CASE(memory_is_zeroed_aligned_and_apart), TEST_CASE(limit_holds_at_the_number_and_one_past),
          TEST_CASE(products_that_overflow_give_nothing), TEST_CASE(strings_are_copied_and_terminated))
