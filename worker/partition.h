/* An input partition that is, or lately was, assigned to this worker: its ledger, the tail of its stream partition, its runs.
 *
 * A partition that is revoked is parked: runs and fold stay as they are, nothing is published, and when it comes back within
 * MR_PARTITION_PARK_NS the tail goes on where it stood. The log thread's. */
#ifndef MR_WORKER_PARTITION_H
#define MR_WORKER_PARTITION_H

#include "base/clock.h"
#include "worker/ledger.h"
#include "worker/names.h"
#include "worker/route.h"
#include "worker/run.h"

#define MR_PARTITION_PARK_NS (10 * MR_NS_PER_S)
#define MR_PARTITION_BATCH_NS (50 * MR_NS_PER_MS) /* the ASSIGNED events of one rebalance are told within so long */

enum mr_partition_state {
    MR_PARTITION_PARKED,   /* not ours (revoked, or the group says so) */
    MR_PARTITION_TAILING,  /* ours; the tail has not caught up: no record is admitted, no run started */
    MR_PARTITION_OPEN,
    MR_PARTITION_STOPPED,  /* its topic was made anew: nothing is done until an operator looks */
};

struct mr_partition {
    struct mr_partition *next;
    const struct mr_route *route;
    bool parked_topic;             /* its input is the route's parked topic */
    const char *topic, *stream;    /* the route's */
    int32_t number;
    enum mr_partition_state state;
    int32_t generation;
    uint32_t assignment;           /* counts assignments: an answer to a question of an earlier one is void */
    int64_t parked_ns;             /* when it was parked */
    bool given_up;          /* PARKED: an assignment came without it, and its runs have left the engine */
    bool paused;                   /* what the log port was told last */
    bool following;                /* the tail is being delivered */
    int64_t follow_again_ns;       /* its stream partition is missing: when to look again; 0: it is there */

    struct mr_ledger ledger;
    bool commit_out;               /* one commit at a time */
    bool commit_dirty;             /* a job was finished since the last commit went out */
    int64_t commit_low;            /* the offset that it said; holes and offsets finished before move low without a job */
    bool asking;                   /* the next answer decides who owns */
    int64_t commit_after_ns, ask_backoff_ns;

    int64_t since;                 /* where the tail began: from the metadata, -1: start of the partition */
    int64_t tail_next;             /* next stream offset to fold; -1: nothing read yet */
    bool tail_cut;                 /* the stream's log start is above 0 and `since` is missing or below it */
    int64_t tail_first_ms;         /* broker time of the first record kept; -1 */

    struct mr_run *first, *last;   /* in order of arrival */
    struct mr_run **table;         /* [n_buckets] by offset */
    int32_t n_buckets, n_runs;
    struct mr_run *wait_first, *wait_last; /* runs in WAITING, oldest first */
    int32_t n_waiting;
    int32_t n_live;                /* ADMITTING and after */
    struct mr_names names;
};

struct mr_partition *mr_partition_open(const struct mr_route *route, bool parked_topic, int32_t number); /* NULL: no memory */
void mr_partition_close(struct mr_partition *partition); /* its runs too */

struct mr_run *mr_partition_find(const struct mr_partition *partition, int64_t offset);
/* A new run at the end; there is none at this offset. */
struct mr_run *mr_partition_add(struct mr_partition *partition, struct mr_src src);
void mr_partition_wait(struct mr_partition *partition, struct mr_run *run);   /* to WAITING, at the end of the queue */
void mr_partition_unwait(struct mr_partition *partition, struct mr_run *run); /* out of the queue; the caller sets the state */
/* Unlinks and frees. */
void mr_partition_remove(struct mr_partition *partition, struct mr_run *run);
/* Where the next owner must begin to follow: the first START of the oldest unfinished run, or the tail's position. */
int64_t mr_partition_since(const struct mr_partition *partition);
/* Runs below the ledger's lowest unfinished offset of which only the log told: nobody waits for them. */
void mr_partition_sweep(struct mr_partition *partition);

#endif
