/* One run: an input record's life. First the log's view of it (what the tail of its stream partition has shown), then, where
 * this worker owns the input partition, its life here: the input record, the job, the engine's tokens that wait to leave.
 *
 *   FOLLOWED --record--> WAITING --admit--> ADMITTING --verdict--> READY --START--> STARTING --barrier--> RUNNING
 *   RUNNING --terminal--> ENDING --seen in the tail--> CLOSING --acknowledged--> finished (freed)
 *   STARTING, RUNNING, ENDING --another's START counts--> ASKING --we own--> READY; --we do not--> parked with its partition
 *   STARTING .. ENDING --delivery error, or an own record ignored--> READY
 *   any --closed in the tail--> CLOSING (needs the job: a followed run waits for its record and admission first)
 *
 * The log thread's. Everything here is owned by the run unless it says otherwise. */
#ifndef MR_WORKER_RUN_H
#define MR_WORKER_RUN_H

#include "base/buf.h"
#include "worker/engine.h"
#include "worker/fold.h"
#include "worker/origin.h"
#include "worker/record.h"

struct mr_partition; /* partition.h */

enum mr_run_state {
    MR_RUN_FOLLOWED, MR_RUN_WAITING, MR_RUN_ADMITTING, MR_RUN_READY, MR_RUN_STARTING, MR_RUN_ASKING, MR_RUN_RUNNING, MR_RUN_ENDING,
    MR_RUN_CLOSING,
};

enum mr_run_engine { MR_RUN_ENGINE_NONE, MR_RUN_ENGINE_LIVE, MR_RUN_ENGINE_DROPPING };

enum {
    MR_RUN_HISTORY_MAX = 8,    /* STARTs without progress that are remembered; the oldest go first */
    MR_RUN_SUSPECT = 2,        /* other processes lost without progress: the next START is alone */
    MR_RUN_POISON_STARTS = 3,  /* such STARTs, each lost again: poison */
};

/* An accepted START since the run's last accepted TOK or YIELD. */
struct mr_run_start {
    uint64_t process;
    enum mr_stream_cause cause;
    bool alone;
};

/* What one engine event gave: the unit in which tokens leave, so that text stays with its tokens. */
struct mr_chunk {
    struct mr_chunk *next;
    int64_t seq;
    int32_t n_ids;
    const int32_t *ids;                /* [n_ids] in the chunk's own memory, as everything below */
    const struct mr_logprob *logprobs; /* [n_ids] or NULL */
    struct mr_str text;
    int64_t made_ns, sent_ns;          /* sent_ns: appended last; 0: not yet */
    struct mr_arena arena;
};

/* The outcome that this owner has decided on; kind START: none yet. */
struct mr_run_decision {
    enum mr_fold_kind kind;
    struct mr_refusal refusal;         /* FAILED, EXPIRED */
    int64_t retry_after_ms;            /* FAILED of quota; 0: not said */
    const char *first_topic;           /* DUPLICATE: where the first lies (a route's string) */
    int32_t first_partition;
    int64_t first_offset;
};

/* Whether an earlier record elsewhere has this name (owner_first.c). */
enum mr_run_first { MR_RUN_FIRST_UNASKED, MR_RUN_FIRST_ASKED, MR_RUN_FIRST_READING, MR_RUN_FIRST_COMPARING, MR_RUN_FIRST_SETTLED };

struct mr_run {
    struct mr_run *next, *previous;    /* in its partition, in order of arrival */
    struct mr_run *chain;              /* in its partition's table */
    struct mr_partition *partition;
    struct mr_src src;
    struct mr_str name;                /* tenant/id; empty until a START or the job says it */

    /* the log's view */
    struct mr_fold fold;               /* valid once name is set */
    int64_t first_start;               /* stream offset of the first START seen; -1 */
    int64_t takeovers;                 /* accepted STARTs of cause new or takeover */
    struct mr_run_start history[MR_RUN_HISTORY_MAX];
    int32_t n_history;
    uint64_t last_process;             /* of the last accepted START */
    struct mr_buf ids, text;           /* accepted tokens (int32) and their text */
    struct mr_buf start, end;          /* encoded values: of the accepted START in force, of the terminal that closed it */
    struct mr_buf scored;              /* length (uint32), value of every accepted TOK with logprobs */
    enum mr_encoding log_encoding;     /* of start, end and scored */
    char body_hash[65];                /* of the accepted START; "" */
    bool foreign;                      /* the log holds another input record at this offset: the topic was made anew */

    /* its life here */
    enum mr_run_state state;
    uint64_t handle;                   /* names it towards admission, engine and log; 0: it has none */
    struct mr_buf input, input_headers;/* the record's value; its key, then header keys and values, each behind its length */
    bool input_has_key, input_has_value;
    bool unseen;                       /* WAITING: the ledger had no room for it yet */
    struct mr_run *wait_next;          /* WAITING: in its partition's queue */
    struct mr_job *job;                /* NULL before the verdict */
    struct mr_origin *origin;          /* parked topic: where the job lay first; NULL: here */
    enum mr_run_first first;
    int64_t first_until_ns;            /* ASKED, READING, COMPARING: when to go on without */
    int64_t first_again_ns;            /* UNASKED after no record could be read: until when to ask again; 0: never asked */
    bool held;                         /* the engine says: quota, or its tenant is parked */
    bool in_transaction;               /* CLOSING: its outcomes are in the commit that is out */
    bool head_start;                   /* the engine works from the journal, not from the fold */
    int64_t journal_ns;                /* when the journal was written last */
    int64_t arrival_ns, not_before_ns, deadline_ms; /* deadline in broker time; 0: none */
    int64_t epoch;                     /* of the last START appended here; 0: none */
    uint64_t writer;
    int64_t start_ns;                  /* when that START was appended, or a head start begun */
    enum mr_stream_cause restart;      /* why the next START is needed, where this process holds the last one */
    bool alone;
    struct mr_run_decision decision;
    int32_t unacked;                   /* records appended and not yet acknowledged, of the producer in use */
    int32_t closing;                   /* CLOSING: outcomes still to be acknowledged */

    enum mr_run_engine engine;
    bool ended;                        /* the engine's END came; finish, tail_text and so on hold */
    struct mr_chunk *chunks, **chunks_end; /* made and not yet accepted, ascending */
    int64_t chunks_seq;                /* seq of the first token in chunks, or of the next to be made */
    uint64_t chunks_ctx;               /* ctx before it */
    int64_t parked_made;               /* parked: what was made when it was; a little more may be (owner_run.c) */
    int64_t sent_seq;                  /* next to be appended under (epoch, writer) */
    uint64_t sent_ctx;
    enum mr_finish finish;
    enum mr_reason finish_reason;
    struct mr_buf tail_text;           /* held back until the end */
    int32_t n_cached;
    struct mr_engine_timing timing;
    struct mr_logprob *prompt_logprobs;/* [n_prompt_logprobs] in extra */
    int32_t n_prompt_logprobs;
    struct mr_arena extra;
};

/* NULL: no memory. */
struct mr_run *mr_run_open(struct mr_partition *partition, struct mr_src src);
void mr_run_close(struct mr_run *run); /* frees the job too, if it is still the run's */

/* The name that ctx begins with. Once; the same name again is fine, another one: false. */
bool mr_run_name(struct mr_run *run, struct mr_str name);
/* A record of the run from the tail at stream offset. true: the fold accepted it. value: as it stood in the log. */
bool mr_run_follow(struct mr_run *run, const struct mr_stream_record *record, int64_t offset, struct mr_str value, enum mr_encoding encoding);
/* The START in force is the last one appended here. */
static inline bool mr_run_is_mine(const struct mr_run *run)
{
    return run->epoch > 0 && run->fold.epoch == (uint64_t)run->epoch && run->fold.writer == run->writer;
}

/* Other processes lost since the last progress, if process now starts it; alone STARTs that were lost. */
int32_t mr_run_suspicion(const struct mr_run *run, uint64_t process);
int32_t mr_run_alone_lost(const struct mr_run *run, uint64_t process);
/* Cause of the next START. */
enum mr_stream_cause mr_run_cause(const struct mr_run *run, uint64_t process);

/* The input record is a dead letter's redrive. */
bool mr_run_redriven(const struct mr_run *run);
/* Copies the input record. false: no memory. */
bool mr_run_keep_input(struct mr_run *run, const struct mr_record *record);
/* The record again; headers: room for MR_HEADERS_MAX. Views into the run. */
void mr_run_input(const struct mr_run *run, struct mr_header *headers, struct mr_record *out);

/* A deep copy; NULL: no memory. */
struct mr_logprob *mr_run_copy_logprobs(struct mr_arena *arena, const struct mr_logprob *from, int32_t n);
/* What the engine made. false: no memory. */
bool mr_run_add_chunk(struct mr_run *run, const struct mr_chunk *views, int64_t now_ns);
/* Lets go of chunks that the log holds by now. true: what is left continues the accepted tokens exactly. */
bool mr_run_align(struct mr_run *run);
/* Number of the token that comes behind everything accepted or made. */
int64_t mr_run_made(const struct mr_run *run);
/* Forgets everything that the engine made; the next one begins behind the accepted tokens. */
void mr_run_forget(struct mr_run *run);

#endif
