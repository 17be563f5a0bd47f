/* What the owner's files share. Nobody else includes this. */
#ifndef MR_WORKER_OWNER_STATE_H
#define MR_WORKER_OWNER_STATE_H

#include "worker/owner.h"
#include "worker/partition.h"

/* A run's place towards admission, engine and log. A handle is serial << 20 | index; a slot whose run went away while the engine
 * still had its job keeps the job until the engine lets go. */
struct owner_slot {
    uint64_t handle;              /* 0: free */
    struct mr_run *run;           /* NULL: an orphan */
    struct mr_job *job;           /* orphan: what the engine borrows */
    int32_t next_free;
};

enum { TAG_STREAM = 1, TAG_RESULT = 2, TAG_YIELD = 3 }; /* RESULT: result or dead letter, counted in run->closing */

struct owner_control {
    const char *topic;
    int64_t next;                 /* offset; -1 */
    int64_t look_again_ns;        /* missing: when to look again; 0: it is there */
    bool caught_up;
    struct mr_names cancels;
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
    struct mr_str *tenants;       /* [n_tenants] */
    int32_t n_tenants;

    bool begun, draining, leaving, exited;
    int64_t drain_until_ns;
    int64_t sweep_ns;             /* the last slow tick */
    int32_t yields_out;           /* YIELDs not acknowledged yet */

    struct mr_arena out;          /* what actions point at; emptied by the next step */
    struct mr_buf scratch;
    struct mr_owner_action *actions;
    size_t n_actions, actions_capacity;
    struct mr_owner_stats stats;
};

/* owner.c */
struct mr_owner_action *owner_act(struct mr_owner *owner, enum mr_owner_action_kind kind);
void owner_log(struct mr_owner *owner, enum mr_log_action_kind kind, const char *topic, int32_t partition, int64_t offset);
bool owner_slot_take(struct mr_owner *owner, struct mr_run *run);
void owner_slot_leave(struct mr_owner *owner, struct mr_run *run); /* the run goes away; its job stays while the engine has it */
struct owner_slot *owner_slot_of(struct mr_owner *owner, uint64_t handle); /* NULL: no longer */
void owner_pump(struct mr_owner *owner);                  /* admits what limits allow */
uint32_t owner_tenant(struct mr_owner *owner, struct mr_str tenant);
struct owner_control *owner_control_of(struct mr_owner *owner, struct mr_str topic);
void owner_producer_failed(struct mr_owner *owner);
bool owner_broker_now(const struct mr_owner *owner, int64_t *now_ms);

/* owner_partition.c */
struct mr_partition *owner_partition_of(struct mr_owner *owner, struct mr_str topic, int32_t number, bool stream);
void owner_partition_event(struct mr_owner *owner, const struct mr_log_event *event); /* all but DELIVERED, TROUBLE, control */
void owner_partition_missing(struct mr_owner *owner, const struct mr_log_action *refused);
void owner_partition_tick(struct mr_owner *owner, struct mr_partition *partition);
void owner_partition_ask(struct mr_owner *owner, struct mr_partition *partition);
void owner_partition_commit(struct mr_owner *owner, struct mr_partition *partition);
void owner_partition_stop(struct mr_owner *owner, struct mr_partition *partition, const struct mr_run *run);
void owner_partition_pause(struct mr_owner *owner, struct mr_partition *partition); /* tells the port what limits ask for */
void owner_partition_forget(struct mr_owner *owner, struct mr_partition *partition); /* drops its runs, closes it */

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
bool owner_run_suspect(const struct mr_owner *owner, const struct mr_run *run); /* its next START must be alone */
void owner_run_hold(struct mr_owner *owner, struct mr_run *run);      /* out of the engine, if a suspect needs it */
void owner_run_yield(struct mr_owner *owner, struct mr_run *run);
void owner_run_discard(struct mr_owner *owner, struct mr_run *run);   /* forgets it, unfinished or finished elsewhere */

/* owner_publish.c */
void owner_publish_start(struct mr_owner *owner, struct mr_run *run);
void owner_publish_tokens(struct mr_owner *owner, struct mr_run *run, bool all); /* what is due, or all */
void owner_publish_yield(struct mr_owner *owner, struct mr_run *run);
void owner_publish_terminal(struct mr_owner *owner, struct mr_run *run);
/* Result, dead letter, reply copy: what the terminal in run->end asks for. Counts run->closing. */
void owner_publish_outcome(struct mr_owner *owner, struct mr_run *run);
void owner_publish_state(struct mr_owner *owner, struct mr_run *run, const char *state);
void owner_publish_count(struct mr_owner *owner, struct mr_run *run);
/* The START in force was made by the same model and tokenizer. */
bool owner_publish_same_model(struct mr_owner *owner, const struct mr_run *run);

#endif
