#include "base/value.h"

#include "base/check.h"

const char *mr_value_kind_name(enum mr_value_kind kind)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    return names[kind];
}

const struct mr_value *mr_value_get(const struct mr_value *map, const char *key)
{
    if (!map || map->kind != MR_MAP)
        return NULL;
    struct mr_str wanted = mr_str_from(key);
    for (size_t i = 0; i < map->as.map.n; i++)
        if (mr_str_equal(map->as.map.items[i].key, wanted))
            return &map->as.map.items[i].value;
    return NULL;
}

bool mr_value_number(const struct mr_value *v, double *out)
{
    if (!v || (v->kind != MR_INT && v->kind != MR_FLOAT))
        return false;
    *out = v->kind == MR_INT ? (double)v->as.integer : v->as.real;
    return true;
}

struct mr_value mr_value_array(struct mr_arena *arena, size_t n)
{
    struct mr_value *items = mr_arena_array(arena, n, sizeof *items);
    return items ? (struct mr_value){.kind = MR_ARRAY, .as.array = {items, 0}} : mr_value_null();
}

struct mr_value mr_value_map(struct mr_arena *arena, size_t n)
{
    struct mr_pair *items = mr_arena_array(arena, n, sizeof *items);
    return items ? (struct mr_value){.kind = MR_MAP, .as.map = {items, 0}} : mr_value_null();
}

void mr_value_push(struct mr_value *array, struct mr_value item)
{
    if (array->kind == MR_NULL)
        return; /* its own allocation failed: the encoder's caller sees the null */
    CHECK(array->kind == MR_ARRAY);
    array->as.array.items[array->as.array.n++] = item;
}

void mr_value_set(struct mr_value *map, const char *key, struct mr_value item)
{
    if (map->kind == MR_NULL)
        return;
    CHECK(map->kind == MR_MAP);
    map->as.map.items[map->as.map.n++] = (struct mr_pair){mr_str_from(key), item};
}
