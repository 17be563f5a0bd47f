/* The ledger of one input partition: which offsets are finished, and so what may be committed (delivery.md, The owner's
 * protocol 1 and 4). It goes to the broker as commit offset (the lowest unfinished one) and commit metadata (the rest).
 *
 * Metadata, base64: version (1 byte), crc32 (4 bytes, little endian, over what follows and the commit's offset), since (8 bytes,
 * little endian), then a bit an offset from the committed one upwards, lowest bit first, 1: finished, trailing zero bytes left
 * out. An offset that the log skips (a transaction's marker) counts as finished. Pure; one thread. */
#ifndef MR_WORKER_LEDGER_H
#define MR_WORKER_LEDGER_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MR_LEDGER_SPAN = 24448,                           /* offsets that the map can speak of */
    MR_LEDGER_ADMIT_SPAN = MR_LEDGER_SPAN / 4 * 3,    /* past it nothing more is admitted from the partition */
    MR_LEDGER_METADATA_BYTES = 4096,                  /* the broker's limit; a full map takes 4,092 */
};

struct mr_ledger {
    int64_t low;   /* lowest unfinished offset; -1: nothing committed and nothing seen */
    int64_t next;  /* first offset not seen yet; >= low */
    unsigned char done[MR_LEDGER_SPAN / 8]; /* bit of offset o at o % MR_LEDGER_SPAN; only of [low, low + SPAN) */
};

enum mr_ledger_seen {
    MR_LEDGER_NEW,      /* seen now, unfinished */
    MR_LEDGER_FINISHED, /* an earlier owner finished it: skip it */
    MR_LEDGER_FULL,     /* too far above the lowest unfinished offset: not seen; offer it again later */
};

/* committed: -1 when the group has none. The map is taken from metadata; *since gets its hint, or -1. false: metadata is there
 * but cannot be read (damaged, of another version, of another commit): the ledger starts without it. */
bool mr_ledger_open(struct mr_ledger *ledger, int64_t committed, struct mr_str metadata, int64_t *since);
/* Adds what an older ledger of the same partition knows to be finished, whether or not it was ever committed: finished is final.
 * false: it cannot be said here (nothing committed, or too far above): the caller must forget what the older one stood for. */
bool mr_ledger_merge(struct mr_ledger *ledger, const struct mr_ledger *older);
enum mr_ledger_seen mr_ledger_see(struct mr_ledger *ledger, int64_t offset);
/* Finished: below low, or marked. Also of offsets not seen yet. */
bool mr_ledger_finished(const struct mr_ledger *ledger, int64_t offset);
/* Of an offset that was seen as NEW, here or before the partition was away for a while. Moves low on. */
void mr_ledger_finish(struct mr_ledger *ledger, int64_t offset);
/* May more be admitted? */
bool mr_ledger_room(const struct mr_ledger *ledger);
/* Writes the metadata of a commit at low, NUL-terminated; returns its length. since: -1 for none. */
size_t mr_ledger_metadata(const struct mr_ledger *ledger, int64_t since, char out[MR_LEDGER_METADATA_BYTES + 1]);

#endif
