/* Small non-cryptographic hashes. For names, tables and the stream's chain; for content see sha256.h. */
#ifndef MR_BASE_HASH_H
#define MR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define MR_FNV1A64_START UINT64_C(0xcbf29ce484222325)

/* FNV-1a, 64 bit (draft-eastlake-fnv): continues h over n bytes. */
static inline uint64_t mr_fnv1a64(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection that spreads every input bit. */
static inline uint64_t mr_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#endif
