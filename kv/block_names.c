/* Owns the table: entries by hash of (parent, content), in order of their last use.
 *
 * 1. An entry is found by its hash and is the one only when parent and content are equal; so by induction equal names are equal
 *    beginnings. 2. A name is never given out twice: what was forgotten cannot come back as something else. 3. A link stands behind
 *    its parent in the order of use, so that ends are forgotten before what they end.
 * Who may share is the first link or links: its bytes behind their lengths, cut as tokens are.
 * Rejected: names that are hashes, however long (a forged collision would be a wrong reuse across tenants, and the scheduler would
 * have to compare contents in every plan); counting who holds a name (forgetting one is never wrong, it only costs its reuse). */
#include "kv/block_names.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum mr_status mr_block_names_open(struct mr_block_names *names, int32_t capacity, int32_t block_tokens, uint64_t seed, struct mr_err *err)
{
    *names = (struct mr_block_names){.newest = -1, .oldest = -1};
    if (capacity < 1 || capacity > 1 << 30 || block_tokens < 1)
        return mr_err_set(err, MR_ERR_INVALID, "1 to %d beginnings can be remembered, not %d", 1 << 30, capacity);
    size_t n = (size_t)capacity, buckets = 16;
    while (buckets < n)
        buckets *= 2;
    *names = (struct mr_block_names){.capacity = capacity, .block_tokens = block_tokens, .seed = seed, .hash_mask = UINT64_MAX,
                                     .bucket_mask = (int32_t)(buckets - 1), .newest = -1, .oldest = -1};
    names->entries = calloc(n, sizeof *names->entries);
    names->contents = calloc(n * (size_t)block_tokens, sizeof *names->contents);
    names->buckets = calloc(buckets, sizeof *names->buckets);
    names->scratch = calloc((size_t)block_tokens, sizeof *names->scratch);
    if (names->entries && names->contents && names->buckets && names->scratch)
        return MR_OK;
    mr_block_names_close(names);
    return mr_err_set(err, MR_ERR_NOMEM, "no memory to remember %d beginnings", capacity);
}

void mr_block_names_close(struct mr_block_names *names)
{
    free(names->entries);
    free(names->contents);
    free(names->buckets);
    free(names->scratch);
    *names = (struct mr_block_names){0};
}

static int32_t *content_of(const struct mr_block_names *names, int32_t entry)
{
    return names->contents + (size_t)entry * (size_t)names->block_tokens;
}

static uint64_t hash_of(const struct mr_block_names *names, uint64_t parent, const int32_t *content)
{
    uint64_t h = mr_mix64(names->seed ^ mr_mix64(parent));
    for (int32_t i = 0; i < names->block_tokens; i++)
        h = mr_mix64(h + (uint32_t)content[i]);
    return h & names->hash_mask;
}

static int32_t *bucket_of(const struct mr_block_names *names, uint64_t hash)
{
    return &names->buckets[hash & (uint64_t)names->bucket_mask];
}

static int32_t entry_find(const struct mr_block_names *names, uint64_t hash, uint64_t parent, const int32_t *content)
{
    for (int32_t e = *bucket_of(names, hash) - 1; e >= 0; e = names->entries[e].chained - 1) {
        const struct mr_block_names_entry *entry = &names->entries[e];
        if (entry->hash == hash && entry->parent == parent &&
            memcmp(content_of(names, e), content, (size_t)names->block_tokens * sizeof *content) == 0)
            return e;
    }
    return -1;
}

static void order_remove(struct mr_block_names *names, int32_t e)
{
    const struct mr_block_names_entry *entry = &names->entries[e];
    *(entry->newer >= 0 ? &names->entries[entry->newer].older : &names->newest) = entry->older;
    *(entry->older >= 0 ? &names->entries[entry->older].newer : &names->oldest) = entry->newer;
}

/* Right behind an entry; behind none (-1): the newest. */
static void order_insert(struct mr_block_names *names, int32_t e, int32_t behind)
{
    struct mr_block_names_entry *entry = &names->entries[e];
    entry->newer = behind;
    entry->older = behind >= 0 ? names->entries[behind].older : names->newest;
    *(behind >= 0 ? &names->entries[behind].older : &names->newest) = e;
    *(entry->older >= 0 ? &names->entries[entry->older].newer : &names->oldest) = e;
}

/* A place for a new entry: a fresh one, or that of the one that is forgotten for it. */
static int32_t entry_take(struct mr_block_names *names)
{
    if (names->n < names->capacity)
        return names->n++;
    int32_t e = names->oldest, *at = bucket_of(names, names->entries[e].hash);
    while (*at != e + 1)
        at = &names->entries[*at - 1].chained;
    *at = names->entries[e].chained;
    order_remove(names, e);
    return e;
}

/* The entry of content behind a parent (-1: the first link), known or new. */
static int32_t entry_link(struct mr_block_names *names, int32_t parent, const int32_t *content)
{
    uint64_t parent_name = parent >= 0 ? names->entries[parent].name : 0, hash = hash_of(names, parent_name, content);
    int32_t e = entry_find(names, hash, parent_name, content);
    if (e >= 0) {
        order_remove(names, e);
    } else {
        e = entry_take(names);
        CHECK(e != parent);
        int32_t *bucket = bucket_of(names, hash);
        names->entries[e] = (struct mr_block_names_entry){.name = ++names->last, .parent = parent_name, .hash = hash, .chained = *bucket};
        memcpy(content_of(names, e), content, (size_t)names->block_tokens * sizeof *content);
        *bucket = e + 1;
    }
    order_insert(names, e, parent);
    return e;
}

/* Bytes [from, from + n) of: both lengths, tenant, scope; zeros behind the end. */
static void sharer_bytes(struct mr_str tenant, struct mr_str scope, size_t from, size_t n, unsigned char *out)
{
    uint32_t lengths[2] = {(uint32_t)tenant.n, (uint32_t)scope.n};
    const struct mr_str parts[] = {{(const char *)lengths, sizeof lengths}, tenant, scope};
    size_t start = 0;
    memset(out, 0, n);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; start += parts[i++].n) {
        size_t low = from > start ? from : start, high = from + n < start + parts[i].n ? from + n : start + parts[i].n;
        if (low < high)
            memcpy(out + (low - from), parts[i].p + (low - start), high - low);
    }
}

int32_t mr_block_names_of(struct mr_block_names *names, struct mr_str tenant, struct mr_str scope, const int32_t *tokens, int32_t n,
                          uint64_t out[])
{
    size_t link_bytes = (size_t)names->block_tokens * sizeof *tokens, bytes = 2 * sizeof(uint32_t) + tenant.n + scope.n;
    size_t links = (bytes + link_bytes - 1) / link_bytes;
    if (links >= (size_t)names->capacity)
        return 0;
    if ((size_t)n > (size_t)names->capacity - links)
        n = names->capacity - (int32_t)links;
    int32_t at = -1;
    for (size_t i = 0; i < links; i++) {
        sharer_bytes(tenant, scope, i * link_bytes, link_bytes, (unsigned char *)names->scratch);
        at = entry_link(names, at, names->scratch);
    }
    for (int32_t i = 0; i < n; i++) {
        at = entry_link(names, at, tokens + (size_t)i * (size_t)names->block_tokens);
        out[i] = names->entries[at].name;
    }
    return n;
}
