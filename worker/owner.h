/* The owner: who runs which job, and everything that delivery.md promises about it. A pure state machine: one event in, actions
 * out, no I/O, no clock, no randomness of its own. The log thread's loop drives it in the worker; the simulator drives it on a
 * virtual clock.
 *
 *     mr_owner_step(owner, &event, now_ns, &actions, &n) -> the caller performs actions[0..n) in order
 *
 * Files: owner.c (dispatch, admission limits, drain), owner_slot.c (slots, tenants), owner_control.c (cancels),
 * owner_partition.c (assignment, tail), owner_commit.c (commits, who owns), owner_run.c (one run's way), owner_publish.c and
 * owner_outcome.c (what is appended to the log), owner_move.c (parked topics), owner_first.c (duplicates across partitions),
 * owner_reply.c (reply topics that fail), owner_silence.c (the engine rests while the log is silent),
 * owner_journal.c (the head start), owner_audit.c (who did what). */
#ifndef MR_WORKER_OWNER_H
#define MR_WORKER_OWNER_H

#include "worker/engine.h"
#include "worker/ledger.h"
#include "worker/port.h"
#include "worker/record.h"
#include "worker/route.h"

#define MR_OWNER_COMMIT_NS (200 * MR_NS_PER_MS)     /* between two commits of a partition */
#define MR_OWNER_BACKOFF_MIN_NS (100 * MR_NS_PER_MS) /* after a refused commit or a delivery error, doubling */
#define MR_OWNER_BACKOFF_MAX_NS (2 * MR_NS_PER_S)
#define MR_OWNER_LOOK_AGAIN_NS (5 * MR_NS_PER_S)    /* for a topic or partition that was missing */
#define MR_OWNER_MOVE_NS (30 * MR_NS_PER_S)         /* a job that is held so long moves to the parked topic, */
#define MR_OWNER_MOVE_SPAN (MR_LEDGER_SPAN / 4)     /* and one that lies so many offsets behind the newest without a token, held or not */
#define MR_OWNER_FIRST_NS (50 * MR_NS_PER_MS)       /* the store has so long to name an earlier record of a name, */
#define MR_OWNER_FIRST_READ_NS (MR_NS_PER_S)        /* and its topic so long to show it; then the job runs */
#define MR_OWNER_JOURNAL_NS (500 * MR_NS_PER_MS)    /* between two journal lines of a run */
#define MR_OWNER_SILENCE_NS (500 * MR_NS_PER_MS)    /* the log is silent when the tail lacks a record so old and has shown none younger */
#define MR_OWNER_TICK_NS (5 * MR_NS_PER_MS)         /* the caller sends TICK at least this often while anything is live; idle: ten times as long */
enum {
    MR_OWNER_JOBS_MAX = 1 << 20, MR_OWNER_CONTROLS_MAX = MR_ROUTES_MAX,
    MR_OWNER_PRESSED_LIVE = 64,          /* jobs of a partition that a tier under pressure still admits */
    MR_OWNER_REPLIES_MAX = 64,           /* reply topics that fail and have a circuit breaker; one more has none */
    MR_OWNER_FIRST_READS_MAX = 16,       /* input records of other partitions read at a time, one a partition; without room for a second a run runs */
    MR_OWNER_JOURNAL_TOKENS_MAX = 4096,  /* a longer run is not journaled */
    MR_OWNER_JOURNAL_GENERATIONS = 4,    /* a journal line that was written more generations of the group ago gives no head start */
};

struct mr_owner; /* opaque */

struct mr_owner_tier {
    int32_t batch_tokens; /* a TOK record leaves with so many tokens, */
    int64_t batch_ns;     /* or when its oldest token is so old; 0: at once */
};

struct mr_owner_config {
    const struct mr_route *routes; /* borrowed, as all strings */
    int32_t n_routes;
    uint64_t process;              /* random, drawn at start */
    const char *worker, *build, *model_digest, *tokenizer_digest;
    struct mr_owner_tier tier[MR_TIER_COUNT];
    int32_t max_jobs;              /* admitted and unfinished, on the whole worker */
    int32_t max_jobs_per_partition;
    int32_t max_waiting;           /* records a partition that wait unadmitted before it is paused */
    int32_t max_tenants;           /* dense indices for the scheduler; past it tenants share the last one */
    int64_t max_bytes;             /* of input records held; past it partitions pause */
    int64_t max_dead_bytes;        /* value and headers of a dead letter; past it the value stays behind */
    int64_t grace_ns;              /* DRAIN waits so long for running jobs */
    int64_t state_expire_ms;
    const char *audit;             /* topic of audit records; NULL or "": none */
    int64_t move_ns;               /* 0: MR_OWNER_MOVE_NS */
    int64_t move_span;             /* 0: MR_OWNER_MOVE_SPAN */
    bool ask_first;                /* ask the store for earlier records of a name in other partitions */
    bool journal;                  /* write the journal, and admit and prefill from it before the tail has caught up */
    int32_t vocabulary;            /* tokens that a journal line may hold are below it */
    bool transactions;             /* outcomes leave in one transaction with the position that they finish */
    bool bare;                     /* for measuring only: no tail, no barrier; what is appended counts at once. Breaks the promise */
    uint64_t (*random)(void *self);
    void *self;
};

enum mr_owner_event_kind {
    MR_OWNER_LOG,       /* log */
    MR_OWNER_MISSING,   /* the port answered action `refused` with MR_ERR_NOT_FOUND */
    MR_OWNER_ADMITTED,  /* verdict on handle: job (owned from now), refusal NULL or why not */
    MR_OWNER_TOKENS,    /* handle, seq, n_tokens, ids, logprobs or NULL, text */
    MR_OWNER_PROMPT,    /* handle, n_tokens, logprobs of the prompt */
    MR_OWNER_ENDED,     /* handle, text, finish, reason, n_cached, timing: nothing of handle follows */
    MR_OWNER_DROPPED,   /* handle: answer to every DROP; nothing of handle follows, and its job is nobody's but ours */
    MR_OWNER_UNTAKEN,   /* handle: the engine did not take it; status LIMIT (try later), BUSY (past what its tenant may queue) or INVALID */
    MR_OWNER_HELD,      /* handle, on: the engine will not run it for now (quota, parked tenant), or will again */
    MR_OWNER_STORE,     /* on: the store answers, or does not; until the first it does not */
    MR_OWNER_ANSWER,    /* answer, to an ASK; its text stays the caller's */
    MR_OWNER_PRESSURE,  /* tier, on: the engine has more of the tier waiting than it can soon serve, or no longer */
    MR_OWNER_TICK,
    MR_OWNER_DRAIN,     /* SIGTERM */
    MR_OWNER_LEAVE,     /* the second: at once */
};

/* Views live for the call. */
struct mr_owner_event {
    enum mr_owner_event_kind kind;
    const struct mr_log_event *log;
    const struct mr_log_action *refused;
    uint64_t handle;
    struct mr_job *job;
    const struct mr_refusal *refusal;
    int64_t seq;
    int32_t n_tokens;
    const int32_t *ids;
    const struct mr_logprob *logprobs;
    struct mr_str text;
    enum mr_finish finish;
    enum mr_reason reason;
    int32_t n_cached;
    struct mr_engine_timing timing;
    enum mr_status status;
    int64_t retry_after_ns; /* UNTAKEN with BUSY */
    enum mr_tier tier;
    bool on;
    const struct mr_state_answer *answer;
};

enum mr_owner_action_kind {
    MR_OWNER_DO_LOG,     /* log: hand to the log port; MR_ERR_BUSY: keep it and everything behind it in order, try again */
    MR_OWNER_DO_ADMIT,   /* record (copy it), route, parked: decode, validate, tokenize; answer ADMITTED with handle. A moved job's
                          * record lies where it lay first */
    MR_OWNER_DO_SUBMIT,  /* engine: its job stays ours, and lives until ENDED, DROPPED or UNTAKEN */
    MR_OWNER_DO_CANCEL,  /* handle */
    MR_OWNER_DO_DROP,    /* handle; answer DROPPED */
    MR_OWNER_DO_STATE,   /* state: a mirror write */
    MR_OWNER_DO_ASK,     /* ask: a question to the store; an answer that never comes is waited for only a while */
    MR_OWNER_DO_COUNT,   /* outcome: a run finished here */
    MR_OWNER_DO_REST,    /* on: the engine makes no step until it is off again; what is cancelled still ends */
    MR_OWNER_DO_EXIT,    /* drained: the worker may end */
};

struct mr_owner_outcome {
    enum mr_tier tier;
    struct mr_str tenant;
    enum mr_fold_kind kind;
    enum mr_reason reason;         /* FAILED, EXPIRED */
    int64_t n_output;
    struct mr_timings timings;     /* -1: unknown */
};

/* Views live until the next step. */
struct mr_owner_action {
    enum mr_owner_action_kind kind;
    struct mr_log_action log;
    uint64_t handle;
    struct mr_record record;
    const struct mr_route *route;
    bool parked, on;
    struct mr_engine_run engine;
    struct mr_state_update state;
    struct mr_state_ask ask;
    struct mr_owner_outcome outcome;
};

struct mr_owner_stats {
    int32_t partitions, tailing, stopped; /* assigned; of them not caught up; of them stopped for good */
    int32_t waiting, live;
    int64_t records, starts, takeovers, lost_starts, producer_errors, commits, commit_errors, revoked, parked_back, ignored, lost_by_retention;
    int64_t bad_metadata, poison, dead, moved, duplicates_elsewhere, head_starts, replies_skipped, cancels_refused;
    int64_t silences;              /* times that the engine was told to rest */
    int64_t holes;                 /* input offsets that the log skipped: a transaction's markers, and nothing else */
    int64_t lag;                   /* input offsets seen and not finished */
    bool ready, draining, control_ready;
};

enum mr_status mr_owner_open(const struct mr_owner_config *config, struct mr_owner **out, struct mr_err *err);
/* Frees everything, jobs handed to the engine included: the engine must be gone. */
void mr_owner_close(struct mr_owner *owner);
/* now_ns: monotonic, never going back. Actions are the owner's, valid until the next step. */
void mr_owner_step(struct mr_owner *owner, const struct mr_owner_event *event, int64_t now_ns, const struct mr_owner_action **actions,
                   size_t *n_actions);
void mr_owner_stats(const struct mr_owner *owner, struct mr_owner_stats *out);
/* Re-asserts every invariant between steps. */
void mr_owner_check(const struct mr_owner *owner);

#endif
