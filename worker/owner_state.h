/* What the owner's files share. Nobody else includes this. */
#ifndef MR_WORKER_OWNER_STATE_H
#define MR_WORKER_OWNER_STATE_H

#include "scheduler/breaker.h"
#include "worker/owner.h"
#include "worker/partition.h"
#include "worker/tenants.h"

/* A run's place towards admission, engine and log. A handle is serial << 20 | index; a slot whose run went away while the engine
 * still had its job keeps the job until the engine lets go. */
struct owner_slot {
    uint64_t handle;              /* 0: free */
    struct mr_run *run;           /* NULL: an orphan */
    struct mr_job *job;           /* orphan: what the engine borrows */
    uint32_t tenant;              /* in the engine: index */
    int32_t next_free;
};

enum { TAG_STREAM = 1, TAG_RESULT = 2, TAG_YIELD = 3 }; /* RESULT: result or dead letter, counted in run->closing */

/* An input record of another partition, on its way for a comparison. */
struct owner_first_read {
    uint64_t handle;              /* whose question; 0: free */
    const struct mr_route *route;
    int32_t partition;
    int64_t offset, timestamp_ms, until_ns;
};

/* bare: a record that was just appended, as the tail would have shown it. */
struct owner_echo {
    struct owner_echo *next;
    struct mr_partition *partition;
    struct mr_stream_record record;
    struct mr_str value;
    enum mr_encoding encoding;
};

struct owner_control {
    const char *topic;
    int64_t next;                 /* offset; -1 */
    int64_t look_again_ns;        /* missing: when to look again; 0: it is there */
    bool caught_up;
    bool trusted;                 /* of a route whose writers may name any tenant */
    const char *tenant;           /* else: whose own it is; NULL: of more than one, and then nobody's */
    struct mr_names cancels;
};

/* Copies to a reply topic that has failed: a circuit breaker each. */
struct owner_reply {
    char topic[MR_TOPIC_BYTES_MAX + 1];
    struct mr_breaker breaker;
};

struct mr_owner {
    struct mr_owner_config config;
    int64_t now_ns;

    struct mr_partition *partitions;
    struct owner_slot *slots;     /* [n_slots] */
    int32_t n_slots, free_slot;   /* free_slot: head of the free list; -1 */
    uint64_t serial;
    int32_t live;                 /* runs with a slot */
    int32_t in_engine;            /* slots whose job the engine borrows */
    int64_t held_bytes;           /* of input records */

    unsigned producer;            /* 1 .. 255: which producer a tag belongs to */
    int64_t producer_backoff_ns;
    bool broker_time_known;
    int64_t broker_minus_mono_ms;

    struct mr_run *alone;         /* runs with nothing beside it */
    bool alone_wanted;            /* one waits for that */
    struct owner_control control[MR_OWNER_CONTROLS_MAX];
    int32_t n_controls;
    struct owner_first_read read[MR_OWNER_FIRST_READS_MAX];
    struct owner_echo *echo, **echo_end; /* in out */
    struct mr_tenants tenants;    /* with runs in the engine, or lately */

    struct owner_reply replies[MR_OWNER_REPLIES_MAX];
    int32_t n_replies;

    bool store_up;
    bool pressed[MR_TIER_COUNT];  /* a partition of the tier admits past MR_OWNER_PRESSED_LIVE no more for now */
    bool begun, draining, leaving, exited;
    int32_t generation;           /* of the last ASSIGNED, */
    int64_t assigned_ns;          /* and when it came */
    int64_t drain_until_ns;
    int64_t sweep_ns;             /* the last slow tick */
    bool silent;                  /* as the engine was told; */
    int64_t shown_ns;             /* when the youngest own record that a tail has shown was appended (owner_silence.c), */
    int64_t doubt_ns;             /* and when no broker could be reached last */
    int32_t yields_out;           /* YIELDs not acknowledged yet */

    struct mr_arena out;          /* what actions point at; emptied by the next step */
    struct mr_buf scratch;
    struct mr_owner_action *actions;
    size_t n_actions, actions_capacity;
    struct mr_owner_stats stats;
};

/* owner_reply.c: copies to reply topics are best effort; one that keeps failing is left alone for a while */
bool owner_reply_allow(struct mr_owner *owner, struct mr_str topic);          /* whether a copy may be made now */
void owner_reply_told(struct mr_owner *owner, struct mr_str topic, bool ok);  /* what became of one */

/* owner.c */
struct mr_owner_action *owner_act(struct mr_owner *owner, enum mr_owner_action_kind kind);
void owner_log(struct mr_owner *owner, enum mr_log_action_kind kind, const char *topic, int32_t partition, int64_t offset);
void owner_pump(struct mr_owner *owner);                  /* admits what limits allow */
void owner_producer_failed(struct mr_owner *owner);
bool owner_broker_now(const struct mr_owner *owner, int64_t *now_ms);

/* owner_slot.c */
bool owner_slots_open(struct mr_owner *owner);            /* false: no memory */
void owner_slots_close(struct mr_owner *owner);
bool owner_slot_take(struct mr_owner *owner, struct mr_run *run);
void owner_slot_leave(struct mr_owner *owner, struct mr_run *run); /* the run goes away; its job stays while the engine has it */
void owner_slot_free(struct mr_owner *owner, struct owner_slot *slot);
struct owner_slot *owner_slot_of(struct mr_owner *owner, uint64_t handle); /* NULL: no longer */
struct mr_run *owner_slot_run(struct mr_owner *owner, uint64_t handle);    /* NULL: no longer */

/* owner_control.c */
void owner_controls_open(struct mr_owner *owner);
void owner_controls_close(struct mr_owner *owner);
void owner_controls_begin(struct mr_owner *owner);        /* follows them from their start */
bool owner_controls_ready(const struct mr_owner *owner);
void owner_controls_tick(struct mr_owner *owner);
bool owner_control_event(struct mr_owner *owner, const struct mr_log_event *event);         /* true: it was about a control topic */
bool owner_control_missing(struct mr_owner *owner, const struct mr_log_action *refused);    /* the same */
bool owner_control_cancelled(struct mr_owner *owner, const struct mr_run *run);             /* somebody who may has cancelled it */

/* owner_partition.c */
struct mr_partition *owner_partition_of(struct mr_owner *owner, struct mr_str topic, int32_t number, bool stream);
void owner_partition_event(struct mr_owner *owner, const struct mr_log_event *event); /* all but DELIVERED, TROUBLE, control */
void owner_partition_missing(struct mr_owner *owner, const struct mr_log_action *refused);
void owner_partition_tick(struct mr_owner *owner, struct mr_partition *partition);
void owner_partition_stop(struct mr_owner *owner, struct mr_partition *partition, const struct mr_run *run);
void owner_partition_pause(struct mr_owner *owner, struct mr_partition *partition); /* tells the port what limits ask for */
void owner_partition_park(struct mr_owner *owner, struct mr_partition *partition);   /* it is no longer ours */
void owner_partition_forget(struct mr_owner *owner, struct mr_partition *partition); /* drops its runs, closes it */
void owner_partition_echo(struct mr_owner *owner);                                   /* bare: everything appended so far counts */

/* owner_commit.c */
void owner_commit_ask(struct mr_owner *owner, struct mr_partition *partition);
void owner_commit(struct mr_owner *owner, struct mr_partition *partition);           /* unless it must wait */
void owner_committed(struct mr_owner *owner, struct mr_partition *partition, const struct mr_log_event *event);

/* owner_run.c */
void owner_run_admitted(struct mr_owner *owner, struct mr_run *run, struct mr_job *job, const struct mr_refusal *refusal);
void owner_run_begin(struct mr_owner *owner, struct mr_run *run);     /* READY, when nothing holds it back: START or CLOSING */
void owner_run_restart(struct mr_owner *owner, struct mr_run *run, enum mr_stream_cause cause, int64_t not_before_ns);
void owner_run_park(struct mr_owner *owner, struct mr_run *run);
void owner_run_followed(struct mr_owner *owner, struct mr_run *run, const struct mr_stream_record *record, bool accepted);
void owner_run_engine(struct mr_owner *owner, struct mr_run *run, const struct mr_owner_event *event);
void owner_run_delivered(struct mr_owner *owner, struct mr_run *run, int tag_kind);
void owner_run_cancel(struct mr_owner *owner, struct mr_run *run);
void owner_run_tick(struct mr_owner *owner, struct mr_run *run);
void owner_run_finish(struct mr_owner *owner, struct mr_run *run);    /* closed, its outcomes acknowledged */
void owner_run_decide(struct mr_owner *owner, struct mr_run *run, enum mr_fold_kind kind, enum mr_reason reason, const char *message);
void owner_run_same_name(struct mr_run *run, const char *topic, int32_t partition, int64_t offset, bool same_body);
void owner_run_submit(struct mr_owner *owner, struct mr_run *run, const int32_t *ids, int64_t n); /* to the engine, behind n tokens */
void owner_run_take_back(struct mr_owner *owner, struct mr_run *run); /* out of the engine, and nothing that it made counts */
bool owner_run_suspect(const struct mr_owner *owner, const struct mr_run *run); /* its next START must be alone */
void owner_run_hold(struct mr_owner *owner, struct mr_run *run);      /* out of the engine, if a suspect needs it */
void owner_run_yield(struct mr_owner *owner, struct mr_run *run);
void owner_run_discard(struct mr_owner *owner, struct mr_run *run);   /* forgets it, unfinished or finished elsewhere */

/* owner_silence.c */
void owner_silence_shown(struct mr_owner *owner, int64_t sent_ns);    /* a tail has shown an own record that was appended then */
void owner_silence_doubt(struct mr_owner *owner);                     /* no broker can be reached */
void owner_silence_tick(struct mr_owner *owner);                      /* tells the engine to rest, or no longer */

/* owner_publish.c */
void owner_publish_start(struct mr_owner *owner, struct mr_run *run);
void owner_publish_tokens(struct mr_owner *owner, struct mr_run *run, bool all); /* what is due, or all */
void owner_publish_yield(struct mr_owner *owner, struct mr_run *run);
void owner_publish_terminal(struct mr_owner *owner, struct mr_run *run);
/* The START in force was made by the same model and tokenizer. */
bool owner_publish_same_model(struct mr_owner *owner, const struct mr_run *run);
struct mr_str owner_out_str(struct mr_owner *owner, struct mr_str s); /* copies that live until the next step */
struct mr_str owner_out_scratch(struct mr_owner *owner);
struct mr_str owner_out_format(struct mr_owner *owner, const char *format, ...) __attribute__((format(printf, 2, 3)));
void owner_out_headers(struct mr_owner *owner, struct mr_header *headers, int32_t n);
uint64_t owner_tag(const struct mr_owner *owner, const struct mr_run *run, uint64_t kind);
/* A record that was kept when it was followed. */
void owner_publish_kept(struct mr_owner *owner, const struct mr_run *run, struct mr_str value, struct mr_stream_record *out);

/* owner_outcome.c */
/* Result, dead letter, reply copy, parked record: what the terminal in run->end asks for. Counts run->closing. */
void owner_outcome(struct mr_owner *owner, struct mr_run *run);
void owner_outcome_state(struct mr_owner *owner, struct mr_run *run, const char *state);
void owner_outcome_count(struct mr_owner *owner, struct mr_run *run);

/* owner_move.c */
void owner_move_tick(struct mr_owner *owner, struct mr_run *run);     /* RUNNING: moves it if it must not wait here */
void owner_move_publish(struct mr_owner *owner, struct mr_run *run);  /* its record to the parked topic */
void owner_move_arrive(struct mr_run *run, const struct mr_record *record); /* of a parked topic: where it lay first */
void owner_move_admit(const struct mr_run *run, struct mr_record *record);  /* as if it lay there still */

/* owner_first.c */
bool owner_first_settled(struct mr_owner *owner, struct mr_run *run); /* READY: may it begin? Asks when it must */
void owner_first_answer(struct mr_owner *owner, struct mr_run *run, struct mr_str text);
void owner_first_admitted(struct mr_owner *owner, struct mr_run *run, const struct mr_job *first);
bool owner_first_event(struct mr_owner *owner, const struct mr_log_event *event);      /* true: of a record that is read */
bool owner_first_missing(struct mr_owner *owner, const struct mr_log_action *refused); /* the same */
void owner_first_tick(struct mr_owner *owner);

/* owner_journal.c */
void owner_journal_write(struct mr_owner *owner, struct mr_run *run); /* a stream record was acknowledged */
void owner_journal_ask(struct mr_owner *owner, struct mr_run *run);   /* READY while the tail catches up */
void owner_journal_answer(struct mr_owner *owner, struct mr_run *run, struct mr_str text);

/* owner_audit.c */
void owner_audit_run(struct mr_owner *owner, const struct mr_run *run, const char *kind, const char *action, struct mr_str reason);
void owner_audit_cancel(struct mr_owner *owner, const struct mr_run *run, struct mr_str by, const char *topic, bool accepted);

#endif
