/* Names of beginnings: two prompts get the same name for a block exactly when who may share, all tokens before the block and its own
 * tokens are the same. A name is a number that was never given out before, not a hash: what a hash finds is compared, word by word,
 * so no collision can lend one beginning's cache to another.
 *
 * What was not asked for longest is forgotten when the table is full, ends before their beginnings. Who asks again then gets a new
 * name, and computes anew what still lies under the old one. No allocation after open. One thread. */
#ifndef MR_KV_BLOCK_NAMES_H
#define MR_KV_BLOCK_NAMES_H

#include "base/status.h"
#include "base/str.h"

#include <stdint.h>

struct mr_block_names_entry {
    uint64_t name, parent;       /* parent: the name of all that stands before; 0: nothing does */
    uint64_t hash;
    int32_t chained;             /* next entry of the bucket + 1; 0: none */
    int32_t newer, older;        /* by last use; -1: none */
};

struct mr_block_names {
    int32_t capacity, n, block_tokens;
    uint64_t seed, last;         /* last: the latest name that was given out */
    uint64_t hash_mask;          /* all ones; fewer make collisions, for tests */
    struct mr_block_names_entry *entries; /* [capacity] */
    int32_t *contents;           /* [capacity][block_tokens] */
    int32_t *buckets;            /* [bucket_mask + 1] entry + 1; 0: none */
    int32_t bucket_mask;
    int32_t newest, oldest;
    int32_t *scratch;            /* [block_tokens] */
};

/* capacity: beginnings that are remembered. seed: a secret, so that nobody can fill one bucket on purpose. */
enum mr_status mr_block_names_open(struct mr_block_names *names, int32_t capacity, int32_t block_tokens, uint64_t seed, struct mr_err *err);
void mr_block_names_close(struct mr_block_names *names);

/* Names the first n blocks of tokens ([n * block_tokens]) for the jobs of one tenant and scope; returns how many were named: n, or
 * fewer when the table holds no more. */
int32_t mr_block_names_of(struct mr_block_names *names, struct mr_str tenant, struct mr_str scope, const int32_t *tokens, int32_t n,
                          uint64_t out[]);

#endif
