#include "worker/names.h"

#include "base/check.h"
#include "base/sha256.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

static void key_of(struct mr_str name, unsigned char key[16])
{
    unsigned char digest[32];
    struct mr_sha256 sha;
    mr_sha256_init(&sha);
    mr_sha256_add(&sha, name.p, name.n);
    mr_sha256_finish(&sha, digest);
    memcpy(key, digest, 16);
}

static int32_t bucket_of(const struct mr_names *names, const unsigned char key[16])
{
    uint32_t h;
    memcpy(&h, key, sizeof h);
    return (int32_t)(h & (uint32_t)(names->capacity - 1));
}

void mr_names_init(struct mr_names *names, int32_t max)
{
    CHECK(max >= FIRST_CAPACITY && (max & (max - 1)) == 0);
    *names = (struct mr_names){.max = max};
}

void mr_names_fini(struct mr_names *names)
{
    free(names->entries);
    free(names->buckets);
    *names = (struct mr_names){.max = names->max};
}

static struct mr_names_entry *find(const struct mr_names *names, const unsigned char key[16])
{
    if (names->capacity == 0)
        return NULL;
    for (int32_t i = names->buckets[bucket_of(names, key)]; i >= 0; i = names->entries[i].chain) {
        if (memcmp(names->entries[i].key, key, 16) == 0)
            return &names->entries[i];
    }
    return NULL;
}

const struct mr_names_entry *mr_names_find(const struct mr_names *names, struct mr_str name)
{
    unsigned char key[16];
    key_of(name, key);
    return find(names, key);
}

static void link_entry(struct mr_names *names, int32_t i)
{
    int32_t *bucket = &names->buckets[bucket_of(names, names->entries[i].key)];
    names->entries[i].chain = *bucket;
    *bucket = i;
}

static void unlink_entry(struct mr_names *names, int32_t i)
{
    int32_t *link = &names->buckets[bucket_of(names, names->entries[i].key)];
    while (*link != i)
        link = &names->entries[*link].chain;
    *link = names->entries[i].chain;
}

/* Only while the ring has not wrapped: oldest is 0. */
static void grow(struct mr_names *names)
{
    int32_t capacity = names->capacity ? names->capacity * 2 : FIRST_CAPACITY;
    names->entries = realloc(names->entries, sizeof *names->entries * (size_t)capacity);
    names->buckets = realloc(names->buckets, sizeof *names->buckets * (size_t)capacity);
    CHECK(names->entries && names->buckets);
    names->capacity = capacity;
    for (int32_t i = 0; i < capacity; i++)
        names->buckets[i] = -1;
    for (int32_t i = 0; i < names->count; i++)
        link_entry(names, i);
}

void mr_names_add(struct mr_names *names, struct mr_str name, int64_t offset, const char *body_hash)
{
    unsigned char key[16];
    key_of(name, key);
    struct mr_names_entry *entry = find(names, key);
    if (entry && entry->offset <= offset)
        return;
    if (!entry) {
        if (names->count == names->capacity && names->capacity < names->max)
            grow(names);
        int32_t i = (names->oldest + names->count) % names->capacity;
        if (names->count == names->capacity) {
            unlink_entry(names, i);
            names->oldest = (names->oldest + 1) % names->capacity;
        } else {
            names->count++;
        }
        entry = &names->entries[i];
        memcpy(entry->key, key, 16);
        link_entry(names, i);
    }
    entry->offset = offset;
    memset(entry->body_hash, 0, sizeof entry->body_hash);
    memcpy(entry->body_hash, body_hash, strnlen(body_hash, sizeof entry->body_hash - 1));
}

void mr_names_forget(struct mr_names *names, struct mr_str name, int64_t offset)
{
    unsigned char key[16];
    key_of(name, key);
    struct mr_names_entry *entry = find(names, key);
    if (entry && entry->offset == offset)
        entry->offset = INT64_MAX;
}
