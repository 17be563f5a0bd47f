/* What the worker needs from outside: a partitioned log and a state store. Adapters fill these tables (Kafka, Redis; memory
 * for tests) and only translate between a library's callbacks and these events and actions. The clock is base/clock.h.
 *
 * The log's two calls belong to one thread (the log thread). Nothing here waits but poll. */
#ifndef MR_WORKER_PORT_H
#define MR_WORKER_PORT_H

#include "base/ring.h"
#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct mr_header {
    struct mr_str key, value;
};

enum { MR_HEADERS_MAX = 64 };

/* A record, read or to be written. Views: of an event they live until the next poll; of an action for the call. */
struct mr_record {
    struct mr_str topic;
    int32_t partition;            /* to be written: -1 lets the key choose */
    int64_t offset;               /* read only */
    int64_t timestamp_ms;         /* read: the broker's (LogAppendTime where the topic has it); written: ignored */
    struct mr_str key;            /* n 0 and p NULL: none */
    struct mr_str value;          /* p NULL: none (tombstone) */
    const struct mr_header *headers; /* [n_headers] */
    int32_t n_headers;
};

enum mr_log_event_kind {
    MR_LOG_RECORD,     /* an input record of an assigned partition */
    MR_LOG_ASSIGNED,   /* this partition is ours from now; `offset` committed (-1: none), `text` its metadata */
    MR_LOG_REVOKED,    /* no longer ours; lost: without a chance to commit */
    MR_LOG_FOLLOWED,   /* a record of a followed partition */
    MR_LOG_CAUGHT_UP,  /* a followed partition: everything that stood in it when follow was called has been delivered; offset: next */
    MR_LOG_DELIVERED,  /* a produced record: ok with offset and timestamp_ms, or failed (status, text) */
    MR_LOG_COMMITTED,  /* a commit's answer */
    MR_LOG_OUT_OF_RANGE, /* an offset that the log no longer holds; offset: the log's start */
    MR_LOG_TROUBLE,    /* something to log and count: text; fatal: this port must be reopened; status BUSY: no broker can be reached just now */
};

enum mr_commit_outcome {
    MR_COMMIT_OK,      /* and the partition was assigned to us from question to answer */
    MR_COMMIT_NOT_OWNER, /* ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, fenced, or revoked meanwhile */
    MR_COMMIT_RETRY,   /* REBALANCE_IN_PROGRESS, a timeout, anything else */
};

struct mr_log_event {
    enum mr_log_event_kind kind;
    struct mr_record record;      /* RECORD, FOLLOWED whole; ASSIGNED, REVOKED, CAUGHT_UP, COMMITTED, OUT_OF_RANGE: topic and partition */
    int64_t offset;
    int64_t timestamp_ms;         /* DELIVERED */
    uint64_t tag;                 /* DELIVERED, COMMITTED: the action's */
    int32_t generation;           /* ASSIGNED: the group's generation, >= 1 */
    enum mr_commit_outcome commit;
    enum mr_status status;        /* DELIVERED, TROUBLE */
    bool lost, fatal;
    struct mr_str text;
};

enum mr_log_action_kind {
    MR_LOG_PRODUCE,    /* record; tag comes back in DELIVERED */
    MR_LOG_COMMIT,     /* record.topic/partition, offset, text (metadata); tag */
    MR_LOG_PAUSE,      /* stop delivering RECORDs of a partition */
    MR_LOG_RESUME,
    MR_LOG_FOLLOW,     /* deliver a partition from offset on (-1: its start; MR_LOG_FROM_END: its end as it is now), outside the group */
    MR_LOG_UNFOLLOW,
    MR_LOG_REOPEN_PRODUCER, /* after a delivery error: drop what is queued, start a new producer */
    MR_LOG_LEAVE,      /* leave the group (drain): REVOKED events follow */
};

/* For a reader who will only care for what is appended after CAUGHT_UP: a client that is about to produce. Never for an owner. */
enum { MR_LOG_FROM_END = -2 };

struct mr_log_action {
    enum mr_log_action_kind kind;
    struct mr_record record;
    int64_t offset;
    uint64_t tag;
    struct mr_str text;
    bool transaction;             /* PRODUCE: held until the next COMMIT with this flag, and visible only together with it; never
                                   * reported. COMMIT: goes through a transaction, with everything held; NOT_OWNER and RETRY: nothing
                                   * of it is visible, or (after a timeout) perhaps all of it */
};

struct mr_log_port {
    /* The next event, or false after timeout_ns or a signal on wake. */
    bool (*poll)(void *self, int64_t timeout_ns, struct mr_log_event *event);
    /* Takes a copy of everything it needs. MR_ERR_BUSY: the send queue is full, try after the next poll; MR_ERR_NOT_FOUND: no such topic. */
    enum mr_status (*act)(void *self, const struct mr_log_action *action);
    int32_t (*partitions)(void *self, struct mr_str topic); /* number of partitions; -1: unknown topic */
    struct mr_wake *wake;         /* another thread signals it to cut poll short */
    void *self;
};

/* One mirror write: the state hash of a job, a heartbeat, a journal entry. Best effort. */
struct mr_state_update {
    struct mr_str key;            /* without the mr: prefix */
    int32_t n_fields;
    struct mr_str field[16], value[16];
    int64_t epoch;                /* compared in the store: a lower one loses; -1: unconditional */
    int64_t expire_ms;
};

/* What only the store can say, as a hint. */
enum mr_state_ask_kind {
    MR_STATE_CLAIM, /* keeps value under key for expire_ms unless something is there; answer: what is there now */
    MR_STATE_TAKE,  /* answer: field `line` of the hash under key, which is then gone */
};

struct mr_state_ask {
    enum mr_state_ask_kind kind;
    uint64_t tag;
    struct mr_str key, value;     /* key without the mr: prefix */
    int64_t expire_ms;
};

struct mr_state_answer {
    enum mr_state_ask_kind kind;
    uint64_t tag;
    char *text;                   /* [n], the receiver frees it; NULL: nothing is there, or it cannot be told */
    size_t n;
};

/* A figure that all workers share. */
enum mr_state_tally_kind {
    MR_STATE_SUM,   /* raises the field to `least`, then adds `add`; out: the sum */
    MR_STATE_LEAST, /* tells `least` (INT64_MAX: nothing) under the field; out: the least of the others told within fresh_ms, INT64_MAX: none */
};

struct mr_state_tally {
    enum mr_state_tally_kind kind;
    struct mr_str hash, field;    /* hash without the mr: prefix */
    int64_t add, least, fresh_ms; /* a sum stays below 2^53 */
    int64_t out;                  /* the answer, when ok */
    bool ok;                      /* not ok: it is not known whether it was done */
};

struct mr_state_port {
    /* Queues a copy; false: the queue is full or the store is away (counted; nobody waits). Any thread. */
    bool (*put)(void *self, const struct mr_state_update *update);
    bool (*healthy)(void *self);
    /* Queues a question; false: as for put. wake is signalled when the answer is there; it may never come. One thread. */
    bool (*ask)(void *self, const struct mr_state_ask *ask, struct mr_wake *wake);
    bool (*answer)(void *self, struct mr_state_answer *out); /* the next answer, if one is there. The thread that asks */
    /* Does all n in one pipeline; they stay the store's until tallied says so. false: one set is out already, or the store is away. NULL: the
     * store has no figures. One thread, perhaps another than asks. */
    bool (*tally)(void *self, struct mr_state_tally *tallies, int32_t n);
    bool (*tallied)(void *self);  /* true once: what was handed to tally is the caller's again */
    void *self;
};

#endif
