#include "worker/routing_key.h"

#include "base/buf.h"
#include "base/hash.h"

#include <inttypes.h>

struct beginning {
    uint64_t hash;
    size_t n; /* bytes hashed */
};

static void add_bytes(struct beginning *b, const void *bytes, size_t n)
{
    n = n < MR_ROUTING_BYTES - b->n ? n : MR_ROUTING_BYTES - b->n;
    b->hash = mr_fnv1a64(b->hash, bytes, n);
    b->n += n;
}

static void add_prompt(struct beginning *b, const struct mr_value *prompt)
{
    if (prompt->kind == MR_STRING && prompt->as.string.n)
        add_bytes(b, prompt->as.string.p, prompt->as.string.n);
    for (size_t i = 0; prompt->kind == MR_ARRAY && i < prompt->as.array.n && b->n < MR_ROUTING_BYTES; i++) {
        const struct mr_value *id = &prompt->as.array.items[i];
        uint64_t value = id->kind == MR_INT ? (uint64_t)id->as.integer : 0;
        unsigned char bytes[4];
        for (int at = 0; at < 4; at++)
            bytes[at] = (unsigned char)(value >> 8 * at);
        add_bytes(b, bytes, sizeof bytes);
    }
}

bool mr_routing_key(const struct mr_value *body, struct mr_str tenant, struct mr_arena *arena, struct mr_str *out)
{
    const struct mr_value *inner = mr_value_get(body, "body");
    const struct mr_value *job = inner && inner->kind == MR_MAP ? inner : body;
    const struct mr_value *prompt = mr_value_get(job, "prompt"), *messages = mr_value_get(job, "messages");
    struct beginning b = {.hash = MR_FNV1A64_START};
    struct mr_buf text = {0};
    if (prompt)
        add_prompt(&b, prompt);
    for (size_t i = 0; !prompt && messages && messages->kind == MR_ARRAY && i < messages->as.array.n; i++) {
        const struct mr_value *content = mr_value_get(&messages->as.array.items[i], "content");
        if (content && content->kind == MR_STRING)
            add_prompt(&b, content);
    }
    if (b.n < MR_ROUTING_BYTES)
        return false;
    mr_buf_addf(&text, "%.*s/%016" PRIx64, (int)tenant.n, tenant.p, b.hash);
    struct mr_str key = text.failed ? (struct mr_str){0} : mr_arena_str(arena, mr_buf_view(&text));
    mr_buf_fini(&text);
    if (key.p)
        *out = key;
    return key.p != NULL;
}
