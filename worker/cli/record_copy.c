#include "worker/cli/record_copy.h"

static bool copy(struct mr_arena *arena, struct mr_str from, struct mr_str *to)
{
    *to = from.p ? mr_arena_str(arena, from) : (struct mr_str){0};
    return !from.p || to->p;
}

bool mr_record_copy(struct mr_arena *arena, const struct mr_record *from, struct mr_record *to)
{
    struct mr_header *headers = mr_arena_array(arena, (size_t)from->n_headers, sizeof *headers);
    *to = *from;
    to->headers = headers;
    bool done = headers && copy(arena, from->topic, &to->topic) && copy(arena, from->key, &to->key) && copy(arena, from->value, &to->value);
    for (int32_t i = 0; done && i < from->n_headers; i++)
        done = copy(arena, from->headers[i].key, &headers[i].key) && copy(arena, from->headers[i].value, &headers[i].value);
    return done;
}
