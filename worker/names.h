/* A bounded memory of names: which input offset of a partition first carried a job's name, and with which body; and which jobs
 * somebody asked to cancel. Names are kept as the first 128 bits of their SHA-256. When it is full the oldest entry goes: a
 * forgotten name costs a second run, never a lost job. One thread. */
#ifndef MR_WORKER_NAMES_H
#define MR_WORKER_NAMES_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_NAMES_MAX = 65536 };

struct mr_names_entry {
    unsigned char key[16];
    int64_t offset;
    char body_hash[65];
    int32_t chain; /* next in its bucket; -1 */
};

struct mr_names {
    struct mr_names_entry *entries; /* ring of capacity; grows to max */
    int32_t *buckets;               /* [capacity] entry index or -1 */
    int32_t capacity, count, oldest, max;
};

void mr_names_init(struct mr_names *names, int32_t max);
void mr_names_fini(struct mr_names *names);
/* NULL: not there. Valid until the next add. */
const struct mr_names_entry *mr_names_find(const struct mr_names *names, struct mr_str name);
/* Remembers; a name that is there keeps the lower offset with its body. */
void mr_names_add(struct mr_names *names, struct mr_str name, int64_t offset, const char *body_hash);
/* The one at offset turned out to be no first: from now on any other is. */
void mr_names_forget(struct mr_names *names, struct mr_str name, int64_t offset);

#endif
