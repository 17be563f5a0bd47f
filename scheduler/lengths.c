#include "scheduler/lengths.h"

#include "base/hash.h"

#include <stdlib.h>

int32_t length_bucket(int32_t length)
{
    if (length < 16)
        return length < 0 ? 0 : length;
    int32_t exponent = 31 - __builtin_clz((unsigned)length);
    int32_t bucket = 16 + (exponent - 4) * 4 + ((length >> (exponent - 2)) & 3);
    return bucket < LENGTH_BUCKETS ? bucket : LENGTH_BUCKETS - 1;
}

int32_t length_bucket_top(int32_t bucket)
{
    if (bucket < 16)
        return bucket;
    int32_t exponent = 4 + (bucket - 16) / 4, quarter = (bucket - 16) % 4;
    return (1 << exponent) + (quarter + 1) * (1 << (exponent - 2)) - 1;
}

bool lengths_open(struct lengths *lengths, int32_t n_tiers)
{
    *lengths = (struct lengths){.counts = calloc((size_t)(LENGTH_SLOTS + n_tiers), sizeof *lengths->counts),
                                .total = calloc((size_t)(LENGTH_SLOTS + n_tiers), sizeof *lengths->total), .n_tiers = n_tiers};
    return lengths->counts && lengths->total;
}

void lengths_close(struct lengths *lengths)
{
    free(lengths->counts);
    free(lengths->total);
    *lengths = (struct lengths){0};
}

static int32_t slot_of(uint32_t tenant, uint32_t template_id)
{
    return (int32_t)(mr_mix64((uint64_t)tenant << 32 | template_id) % LENGTH_SLOTS);
}

static void slot_add(struct lengths *lengths, int32_t slot, int32_t bucket)
{
    lengths->counts[slot][bucket]++;
    if (++lengths->total[slot] < LENGTH_FULL)
        return;
    lengths->total[slot] = 0;
    for (int32_t b = 0; b < LENGTH_BUCKETS; b++)
        lengths->total[slot] = (uint16_t)(lengths->total[slot] + (lengths->counts[slot][b] /= 2));
}

void lengths_add(struct lengths *lengths, uint32_t tenant, uint32_t template_id, int32_t tier, int32_t length)
{
    slot_add(lengths, slot_of(tenant, template_id), length_bucket(length));
    slot_add(lengths, LENGTH_SLOTS + tier, length_bucket(length));
}

int32_t lengths_quantile(const struct lengths *lengths, const struct lengths_query *query)
{
    int32_t slot = slot_of(query->tenant, query->template_id), from = length_bucket(query->produced), above = 0, sum = 0;
    if (lengths->total[slot] < LENGTH_ENOUGH)
        slot = LENGTH_SLOTS + query->tier;
    if (lengths->total[slot] < LENGTH_ENOUGH)
        return query->most;
    for (int32_t b = from; b < LENGTH_BUCKETS; b++)
        above += lengths->counts[slot][b];
    int32_t wanted = (above * query->permille + 999) / 1000, length = query->produced;
    for (int32_t b = from; b < LENGTH_BUCKETS && above; b++) {
        sum += lengths->counts[slot][b];
        length = length_bucket_top(b);
        if (sum >= wanted)
            break;
    }
    int32_t least = query->produced + 1 + query->produced / 8; /* longer than all before it: a little more */
    length = length > least ? length : above ? query->produced + 1 : least;
    return length < query->most ? length : query->most;
}
