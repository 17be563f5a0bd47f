#include "base/value.h"
#include "tests/test.h"

TEST(maps_and_arrays_hold_what_was_put_in)
{
    struct mr_arena arena;
    double number = 0;
    mr_arena_init(&arena, 0);
    struct mr_value map = mr_value_map(&arena, 3), list = mr_value_array(&arena, 2);
    mr_value_push(&list, mr_value_int(7));
    mr_value_push(&list, mr_value_float(0.5));
    mr_value_set(&map, "list", list);
    mr_value_set(&map, "name", mr_value_string(MR_STR("m")));
    mr_value_set(&map, "on", mr_value_bool(true));
    const struct mr_value *found = mr_value_get(&map, "list");
    REQUIRE(found && found->kind == MR_ARRAY && found->as.array.n == 2);
    EXPECT(mr_value_number(&found->as.array.items[0], &number) && number == 7);
    EXPECT(mr_value_number(&found->as.array.items[1], &number) && number == 0.5);
    EXPECT(mr_str_is(mr_value_get(&map, "name")->as.string, "m"));
    EXPECT(!mr_value_get(&map, "nam") && !mr_value_get(&list, "list") && !mr_value_get(NULL, "list"));
    EXPECT(!mr_value_number(mr_value_get(&map, "on"), &number));
    EXPECT_STR(mr_value_kind_name(map.kind), "object");
    mr_arena_fini(&arena);
}

TEST(an_exhausted_arena_gives_null_and_pushes_are_safe)
{
    struct mr_arena arena;
    mr_arena_init(&arena, 16);
    struct mr_value list = mr_value_array(&arena, 100);
    EXPECT(list.kind == MR_NULL);
    mr_value_push(&list, mr_value_int(1));
    mr_value_set(&list, "a", mr_value_int(1));
    EXPECT(list.kind == MR_NULL);
    mr_arena_fini(&arena);
}

TEST_MAIN(TEST_CASE(maps_and_arrays_hold_what_was_put_in), TEST_CASE(an_exhausted_arena_gives_null_and_pushes_are_safe))
