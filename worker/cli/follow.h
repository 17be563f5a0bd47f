/* Reads stream partitions through the fold: records in, the runs they make out. Used by submit, tail, status, cancel and check,
 * so that all of them see what the worker sees. One thread. */
#ifndef MR_WORKER_CLI_FOLLOW_H
#define MR_WORKER_CLI_FOLLOW_H

#include "base/buf.h"
#include "worker/fold.h"
#include "worker/port.h"
#include "worker/record.h"

/* One run as its stream tells it. Strings lie in the follow's arena. */
struct mr_follow_run {
    struct mr_follow_run *chain;   /* in the table */
    struct mr_follow_run *older;   /* found before this one */
    struct mr_str topic;           /* of the stream */
    int32_t partition;
    struct mr_src src;
    struct mr_str name;            /* tenant/id */
    struct mr_fold fold;
    struct mr_buf text;            /* of all accepted records, the terminal's included */
    int64_t first_ms, last_ms;     /* timestamps of the first and last accepted record */
    enum mr_stream_cause cause;    /* of the START in force */
    int64_t attempt;
    /* of the terminal, once fold.closed */
    struct mr_str finish;          /* of the first choice; empty: none */
    struct mr_usage usage;
    struct mr_timings timings;
    enum mr_reason reason;
    struct mr_str message, moved_to;
    struct {
        struct mr_str topic;
        int32_t partition;
        int64_t offset;
    } first;                       /* duplicate */
    int32_t mark;                  /* the reader's own */
};

struct mr_follow {
    struct mr_arena arena, scratch;
    struct mr_follow_run **table;  /* [capacity] */
    size_t capacity, n;
    struct mr_follow_run *newest;
    bool (*wants)(void *self, struct mr_str name); /* NULL: every job */
    void *self;
    int64_t records, broken, foreign; /* read; not decodable; of a wanted run, but with another name */
    bool out_of_memory;
};

void mr_follow_init(struct mr_follow *follow, bool (*wants)(void *self, struct mr_str name), void *self);
void mr_follow_fini(struct mr_follow *follow);

enum mr_follow_verdict {
    MR_FOLLOW_OTHER,    /* of a job that is not wanted, or no stream record */
    MR_FOLLOW_IGNORED,  /* the fold did not accept it */
    MR_FOLLOW_ACCEPTED,
};

/* Takes a record of a stream partition, in log order. *run and *out (views until the next add) are set unless OTHER. */
enum mr_follow_verdict mr_follow_add(struct mr_follow *follow, const struct mr_record *record, struct mr_follow_run **run,
                                     struct mr_stream_record *out);
/* src.timestamp_ms -1: any. NULL: not seen. */
struct mr_follow_run *mr_follow_find(const struct mr_follow *follow, struct mr_str topic, int32_t partition, struct mr_src src);

/* "running", "done", "failed", ...: what became of it so far. */
const char *mr_follow_state(const struct mr_follow_run *run);

#endif
