/* What the worker's threads share. Included by worker.c and worker_threads.c only. */
#ifndef MR_WORKER_WORKER_STATE_H
#define MR_WORKER_WORKER_STATE_H

#include "scheduler/breaker.h"
#include "worker/counter_sync.h"
#include "worker/metrics.h"
#include "worker/planted.h"
#include "worker/serving.h"
#include "worker/tenant_view.h"
#include "worker/watchdog.h"
#include "worker/worker.h"

#include <pthread.h>
#include <stdatomic.h>

/* Log thread -> admission. Owned by the message. */
struct admit_request {
    uint64_t handle;
    struct mr_record record; /* views into memory */
    const struct mr_route *route;
    char memory[];
};

enum command_kind { COMMAND_SUBMIT, COMMAND_CANCEL, COMMAND_DROP };

/* Log thread -> engine. */
struct command {
    enum command_kind kind;
    uint64_t handle;
    struct mr_engine_run run; /* SUBMIT; accepted is owned by the message */
};

/* Admission, engine -> log thread. event's views lie in arena; owned by the message. */
struct note {
    struct mr_owner_event event;
    struct mr_refusal refusal;
    struct mr_arena arena;
};

/* An action that the log did not take yet; in order. */
struct outbox_item {
    struct outbox_item *next;
    struct mr_log_action action;
    char memory[];
};

struct mr_worker {
    const struct mr_options *options;
    const struct mr_outside *outside;
    struct mr_clock clock;
    struct mr_serving serving;
    struct mr_owner *owner;
    struct mr_log_port log;
    struct mr_state_port state;
    bool has_log, has_state, state_up; /* state_up: as the owner was told */
    void *http;
    char id[128], build[160], audit[MR_TOPIC_BYTES_MAX + 1];
    uint64_t process, random;

    struct mr_wake log_wake, admit_wake, engine_wake;
    struct mr_ring notes;      /* struct note * */
    struct mr_ring requests;   /* struct admit_request * */
    struct mr_ring commands;   /* struct command */
    pthread_t admit_thread, engine_thread;
    bool admit_runs, engine_runs;
    atomic_bool stop;
    atomic_int signals;
    atomic_bool ready;
    atomic_bool rest;          /* the log is silent: the engine makes no step */
    struct mr_watchdog watchdog;
    struct mr_planted planted; /* tests only */
    struct mr_metrics metrics;

    /* engine thread only */
    struct mr_breaker breaker;    /* of the model: its steps */
    struct mr_tenant_view *views; /* [limits.tenants] */
    bool pressed[MR_TIER_COUNT];  /* as the owner was told */
    int64_t view_ns;
    uint64_t log_beats;           /* of the log thread, as they were seen to change */
    int64_t log_beat_ns;          /* at this time */
    struct mr_counter_sync *sync; /* NULL: counters are not shared */

    /* log thread only */
    struct outbox_item *outbox, **outbox_end;
    int32_t n_outbox;
    int signals_seen;
    bool exit;
    int64_t tick_ns, heartbeat_ns, report_ns;
    bool model_changed;           /* the file under the weights: what they are now is not what was digested */
};

void *worker_admit_main(void *worker);
void *worker_engine_main(void *worker);

/* worker_threads.c: messages to the log thread. */
struct note *worker_note_new(enum mr_owner_event_kind kind, uint64_t handle);
void worker_note_push(struct mr_worker *worker, struct note *note, enum mr_watched watched);

/* worker_sched.c: after every step, and at every WAIT event. */
void worker_sched_round(struct mr_worker *worker, int64_t now_ns);
void worker_sched_waited(struct mr_worker *worker, const struct mr_engine_event *event);
void worker_sched_late(struct mr_worker *worker, const struct mr_engine_event *event);

#endif
