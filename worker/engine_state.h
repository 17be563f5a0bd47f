/* The engine's own state, for engine.c, engine_look.c and engine_ahead.c. */
#ifndef MR_WORKER_ENGINE_STATE_H
#define MR_WORKER_ENGINE_STATE_H

#include "base/buf.h"
#include "worker/batch.h"
#include "worker/engine.h"
#include "worker/sequence.h"
#include "worker/step_cost.h"

enum slot_state { SLOT_FREE, SLOT_LIVE, SLOT_LAST, SLOT_ENDED, SLOT_CLOSING };

struct engine_slot {
    struct mr_sequence *sequence; /* FREE: NULL */
    uint64_t run;
    enum slot_state state;
    bool held;    /* as the last HELD said */
    bool binds;   /* counted in n_bound */
    uint32_t life; /* counts who has been here: a step under way may tell of one that is gone */
    int32_t next; /* FREE: the next free one, -1 none */
};

/* A step that is issued and committed, and whose tokens are not here yet. */
struct engine_flight {
    struct engine_ticket {
        int32_t slot, row; /* row of chosen; -1: a chunk that chooses nothing */
        uint32_t life;
    } *tickets;            /* [max_seqs] of the plan's items */
    int32_t n, n_tokens;
    bool under_way;
    struct mr_sampled *chosen; /* [max_logits] */
    struct cost_load load;
    int64_t issued_ns, predicted_ns;
};

struct mr_engine {
    struct mr_engine_options options;
    struct mr_sched *sched;
    struct mr_sequence_context context;
    struct mr_block_names names;
    int32_t *end_ids;

    struct engine_slot *slots; /* [n_slots]: those the scheduler may know, and as many that wait for a step to end them */
    int32_t n_slots, free_slot;
    int32_t *ended, n_ended;   /* [n_slots] slots that owe an END */
    int32_t *closing, n_closing;
    int32_t *late, n_late;     /* [n_slots] slots that owe a LATE */

    struct mr_batch_builder batch;
    struct mr_batch_source *sources; /* [max_seqs] of the plan's items */
    struct mr_sched_result *results; /* [max_seqs] */
    struct mr_sampled *chosen;       /* [max_seqs] of the items that sampled */
    struct mr_sample_row *rows;      /* [max_logits] of one batch, as are the next three */
    struct mr_sampled *sampled, *scored;
    int32_t *score_ids;

    struct mr_engine_event *events;
    size_t *text_start;        /* [max_events] where in text an event's text begins: text may move while it grows */
    int32_t n_events, max_events;
    struct mr_buf text;

    struct mr_str *tenants;    /* [max_tenants] names by index, as their runs told; p NULL: not seen */
    struct mr_step_track track;

    bool tell_waits;
    int64_t look_ns;           /* when to look again at who waits */
    int32_t look_at;           /* the slot where the next look's WAITs begin */
    int64_t (*waits)[MR_WAIT_COUNT]; /* [max_seqs + ENGINE_WAITS_A_LOOK] of this step's WAIT events */
    int32_t n_waits;

    struct engine_flight flights[2];
    int turn;                  /* the one that is or was last under way */
    bool ahead;                /* steps may be issued ahead */
    int32_t n_bound;           /* runs that do not allow it (6) */
    int64_t landed_ns;         /* when the last one's tokens came */

    struct mr_engine_stats stats;
    int64_t device_ns;         /* of the step: spent in the forward port */
};

enum { ENGINE_WAITS_A_LOOK = 32 }; /* waiting runs whose WAIT is told at one look, in turns */

/* engine.c */
struct mr_engine_event *engine_event(struct mr_engine *e, enum mr_engine_event_kind kind, const struct mr_sequence *s);
void engine_end(struct mr_engine *e, int32_t slot);
void engine_tell_token(struct mr_engine *e, struct mr_sequence *s, const struct mr_sampled *chosen, int64_t now_ns);
void engine_fill_sources(struct mr_engine *e, const struct mr_sched_plan *plan, int64_t now_ns);
bool engine_fill_rows(struct mr_engine *e, const struct mr_sched_plan *plan, int32_t *n_top); /* whether a row samples */
struct cost_load engine_load(const struct mr_sched_plan *plan);
void engine_track(struct mr_engine *e, struct cost_load load, int64_t step_ns);

/* engine_look.c */
enum mr_status engine_meet(struct mr_engine *e, uint32_t tenant, struct mr_str name, struct mr_err *err);
void engine_tell_wait(struct mr_engine *e, int32_t slot, int64_t now_ns);
void engine_look(struct mr_engine *e, int64_t now_ns);

/* engine_ahead.c */
enum mr_status engine_land(struct mr_engine *e, const struct mr_clock *clock);
enum mr_status engine_run_ahead(struct mr_engine *e, const struct mr_sched_plan *plan, const struct mr_clock *clock, int64_t now_ns);

#endif
