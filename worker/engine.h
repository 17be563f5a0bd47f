/* The engine: jobs in, tokens out. It owns the scheduler, the batch, the forward pass, sampling and each sequence's text
 * (steps 4 to 8 of a job's way); it knows no broker, no record and no wall clock. `worker` and `run` drive this same object.
 *
 * The engine thread's body is a loop round mr_engine_step(engine, now, ...). Everything here belongs to that thread. */
#ifndef MR_WORKER_ENGINE_H
#define MR_WORKER_ENGINE_H

#include "base/clock.h"
#include "kernels/ops.h"
#include "scheduler/scheduler.h"
#include "worker/job.h"

struct mr_engine;
struct mr_bundle; /* bundle.h: model, tokenizer, chat template of one model file */

/* What the engine asks of the device, as a port: the real one is forward.c over a model; tests and the simulator fake it. */
struct mr_forward_port {
    enum mr_status (*step)(void *self, const struct mr_batch *batch); /* forward pass; logits stay inside */
    enum mr_status (*sample)(void *self, int32_t rows, const struct mr_sample_row *row, struct mr_sampled *out);
    enum mr_status (*score)(void *self, int32_t rows, int32_t n_top, const int32_t *ids, struct mr_sampled *out);
    enum mr_status (*finish)(void *self);
    void *self;
    /* Both NULL where a step is done when it returns. leave, in place of finish: the step's samples stay under way and `out` is not
     * written yet; another step may be issued behind it, with ids of -1 - r for what its row r chooses. collect: waits for the oldest
     * one left and writes its `out`. */
    enum mr_status (*leave)(void *self);
    enum mr_status (*collect)(void *self);
};

struct mr_engine_options {
    struct mr_sched_config sched;
    struct mr_forward_port forward;
    const struct mr_bundle *bundle; /* tokenizer for text and stops; borrowed */
    int32_t max_logits;             /* rows of logits one step may want */
    bool prefix_cache;              /* jobs of one tenant and cache_scope share what equal beginnings have computed */
    uint64_t names_seed;            /* of that: block_names.h */
    bool track_cost;                /* sched.cost follows what steps take (step_cost.h) */
    /* The contract of a tenant, asked once, at its first run; NULL: none has one. */
    struct mr_sched_tenant (*contract)(void *self, struct mr_str tenant);
    void *contract_self;
};

/* One run. The job is borrowed until its END event has been taken or drop has returned. */
struct mr_engine_run {
    uint64_t run;                /* the caller's handle, unique among live runs */
    const struct mr_job *job;    /* admitted: prompt_ids set, max_tokens resolved */
    uint32_t tenant;             /* dense index for the scheduler (tenants.h): one that another had goes to this run's tenant once no run
                                    of the other is live; the last, max_tenants - 1, is of all that share it */
    const int32_t *accepted;     /* [n_accepted] tokens the log already holds: prefilled and replayed through penalties, stop
                                    strings and detokenizer, never emitted again; copied */
    int32_t n_accepted;
    int64_t arrival_ns, deadline_ns; /* monotonic; deadline 0: none */
};

enum mr_finish { MR_FINISH_NONE, MR_FINISH_STOP, MR_FINISH_LENGTH, MR_FINISH_CANCELLED, MR_FINISH_EXPIRED, MR_FINISH_FAILED };

enum mr_engine_event_kind {
    MR_ENGINE_TOKENS, /* new tokens of a run */
    MR_ENGINE_PROMPT, /* prompt_logprobs are complete (before the first token) */
    MR_ENGINE_END,    /* the run is over; nothing follows */
    MR_ENGINE_HELD,   /* its tenant's contract holds it back from now, or (on false) no longer. With tell_waits only, as is */
    MR_ENGINE_WAIT,   /* what it has waited for: when it begins (on), and now and then before that */
    MR_ENGINE_LATE,   /* its deadline cannot be kept at the rate that is measured: at once after submit; it runs all the same */
};

struct mr_engine_timing {
    int64_t first_planned_ns; /* monotonic, of the first planned chunk; 0: never */
    int64_t first_token_ns, last_token_ns;
};

/* Views live until the next call of step. */
struct mr_engine_event {
    enum mr_engine_event_kind kind;
    uint64_t run;
    int32_t seq;                    /* TOKENS: number of the first token in the run, accepted ones counted */
    int32_t n_tokens;
    const int32_t *ids;             /* [n_tokens] */
    const struct mr_sampled *logprobs; /* [n_tokens] or, PROMPT, [n_prompt] (entry 0: id -1); NULL: not asked for */
    struct mr_str text;             /* TOKENS: text they release; END: text held back until now */
    enum mr_finish finish;          /* END */
    enum mr_reason reason;          /* END with FAILED */
    int32_t n_output, n_cached;     /* END: tokens of the run; prompt tokens found in the cache */
    struct mr_engine_timing timing; /* END */
    bool on;                        /* HELD, WAIT */
    const int64_t *waited_ns;       /* [MR_WAIT_COUNT] WAIT: from arrival until now, by cause */
    const struct mr_job *job;       /* WAIT, LATE */
    bool relegated;                 /* WAIT: it could not be on time, and runs behind those that can */
};

struct mr_engine_stats {
    struct mr_sched_stats sched;
    int64_t steps, prompt_tokens, output_tokens; /* since open */
    int64_t last_step_ns;                        /* of the last step whose tokens are here, */
    int64_t last_host_ns;                        /* and of the last call what it did not wait for the device; where a step is issued
                                                    behind another the device works meanwhile */
    int32_t last_batch_tokens, last_batch_seqs;
    int64_t last_predicted_ns;                   /* what the cost model said of the last step */
    struct mr_sched_cost cost;                   /* as it is tracked */
};

enum mr_status mr_engine_open(const struct mr_engine_options *options, struct mr_engine **out, struct mr_err *err);
void mr_engine_close(struct mr_engine *engine);

/* MR_ERR_LIMIT: full, try later; MR_ERR_BUSY: past what the tenant's contract lets wait; MR_ERR_INVALID: the job cannot run here
 * (its length). */
enum mr_status mr_engine_submit(struct mr_engine *engine, const struct mr_engine_run *run, int64_t now_ns, struct mr_err *err);
/* The run ends with END{CANCELLED} at the next step; false: not live. */
bool mr_engine_cancel(struct mr_engine *engine, uint64_t run);
/* Forgets the run at once, without any event; false: not live. */
bool mr_engine_drop(struct mr_engine *engine, uint64_t run);

/* Plans, runs and commits one step, and fills *events (the engine's array); over a port with `leave` it issues one step and gives the
 * tokens of the one before. *n_events 0 and false: nothing to do, sleep.
 * A forward failure fails the runs of the step with device_failed and is returned in *status. */
bool mr_engine_step(struct mr_engine *engine, const struct mr_clock *clock, const struct mr_engine_event **events, int32_t *n_events,
                    enum mr_status *status);
/* A step without the device: only what has been cancelled or was over before it began gets its END. While the device keeps failing. */
void mr_engine_rest(struct mr_engine *engine, const struct mr_clock *clock, const struct mr_engine_event **events, int32_t *n_events);
void mr_engine_stats(const struct mr_engine *engine, struct mr_engine_stats *out);
bool mr_engine_preempt(struct mr_engine *engine, uint64_t run); /* test hook: mr_sched_preempt */

/* ---- what an operator sees: between steps ---- */

/* From now on HELD, WAIT and LATE events are given too. */
void mr_engine_tell_waits(struct mr_engine *engine);
/* To be read, and to exchange counters with other workers. */
struct mr_sched *mr_engine_sched(struct mr_engine *engine);
/* Whose index `tenant` is; p NULL: no run of it was seen. The view lives until the next submit. */
struct mr_str mr_engine_tenant(const struct mr_engine *engine, uint32_t tenant);
#define MR_ENGINE_OTHERS "(others)" /* the name of the last index */

#endif
