/* The bodies of the admission and the engine thread: each a loop round one step, and a translation of its results into notes for
 * the log thread. Neither knows a broker.
 * Invariants:
 * 1. A message belongs to whoever holds it: a request and a command are freed by the thread that took them, a note by the log thread.
 * 2. A full ring of notes makes the engine wait, never the log thread; until `stop`, no note is dropped.
 * 3. Both loops end when worker->stop is set and they are woken; what still lies in a ring is freed by mr_worker_close.
 * Rejected: calling the owner from these threads under a lock (a long prompt would then stall every acknowledgement). */
#include "worker/worker_state.h"

#include "base/check.h"
#include "base/log.h"
#include "base/starved.h"
#include "worker/job_decode.h"
#include "worker/logprob.h"

#include <stdlib.h>
#include <time.h>

#define IDLE_NS (100 * MR_NS_PER_MS) /* between two looks of an engine without work, */
#define HELD_NS (5 * MR_NS_PER_MS)    /* and of one that rests, or whose jobs are all held back */

struct note *worker_note_new(enum mr_owner_event_kind kind, uint64_t handle)
{
    struct note *note = calloc(1, sizeof *note);
    CHECK(note); /* without memory for a message no promise can be kept: the process ends, its jobs go on elsewhere */
    note->event.kind = kind;
    note->event.handle = handle;
    return note;
}

/* Waits for room: whoever makes tokens faster than the log thread takes them slows down. Waiting is not hanging. */
void worker_note_push(struct mr_worker *worker, struct note *note, enum mr_watched who)
{
    const struct timespec pause = {.tv_nsec = 200000};
    while (!mr_ring_push(&worker->notes, &note)) {
        if (atomic_load(&worker->stop)) {
            mr_job_free(note->event.job);
            mr_arena_fini(&note->arena);
            free(note);
            return;
        }
        mr_watchdog_beat(&worker->watchdog, who);
        nanosleep(&pause, NULL);
    }
}

/* ---- admission ---- */

static void admit(struct mr_worker *worker, const struct admit_request *request)
{
    struct note *note = worker_note_new(MR_OWNER_ADMITTED, request->handle);
    struct mr_job_source source = {.record = &request->record, .route = request->route, .lenient = worker->options->worker.lenient,
                                   .max_record_bytes = (size_t)worker->options->limits.record_bytes,
                                       .max_deadline_ms = worker->options->limits.deadline_ms};
    struct mr_job *job = NULL;
    uint64_t starved = mr_starved_count();
    enum mr_reason reason = mr_job_decode(&source, &job, &note->refusal);
    CHECK(job);
    if (reason == MR_REASON_NONE)
        reason = mr_admit_job(&worker->serving.admit, request->route, job, &note->refusal);
    CHECK(reason == MR_REASON_NONE || (reason != MR_REASON_INTERNAL && mr_starved_count() == starved)); /* want of memory refuses no job */
    if (reason == MR_REASON_NONE)
        note->refusal.reason = MR_REASON_NONE;
    note->event.job = job;
    note->event.refusal = &note->refusal;
    worker_note_push(worker, note, MR_WATCHED_ADMISSION);
}

void *worker_admit_main(void *self)
{
    struct mr_worker *worker = self;
    struct admit_request *request;
    while (!atomic_load(&worker->stop)) {
        mr_watchdog_beat(&worker->watchdog, MR_WATCHED_ADMISSION);
        while (mr_ring_pop(&worker->requests, &request)) {
            mr_watchdog_beat(&worker->watchdog, MR_WATCHED_ADMISSION);
            admit(worker, request);
            free(request);
        }
        mr_wake_wait(&worker->admit_wake, MR_NS_PER_S);
    }
    return NULL;
}

/* ---- engine ---- */

static void obey(struct mr_worker *worker, struct command *command)
{
    struct mr_err err;
    struct note *note = NULL;
    if (command->kind == COMMAND_SUBMIT) {
        struct mr_str name = command->run.job->name;
        mr_log(MR_LOG_DEBUG, "engine.take", "run=%llu job=%.*s from=%d", (unsigned long long)command->run.run, (int)name.n, name.p,
               command->run.n_accepted);
        mr_planted_meet(&worker->planted, name);
        enum mr_status status = mr_engine_submit(worker->serving.engine, &command->run, mr_clock_ns(&worker->clock), &err);
        free((void *)command->run.accepted);
        if (status != MR_OK) {
            char text[MR_ERR_TEXT_BYTES];
            mr_log(status == MR_ERR_BUSY ? MR_LOG_DEBUG : MR_LOG_WARN, "engine.untaken", "reason=%s", mr_log_quote(err.text, text, sizeof text));
            note = worker_note_new(MR_OWNER_UNTAKEN, command->handle);
            note->event.status = status;
            note->event.retry_after_ns = status == MR_ERR_BUSY ? mr_sched_retry_after_ns(mr_engine_sched(worker->serving.engine),
                                                                                        command->run.job->tier, command->run.tenant) : 0;
        }
    } else if (command->kind == COMMAND_CANCEL) {
        mr_engine_cancel(worker->serving.engine, command->handle);
    } else {
        mr_engine_drop(worker->serving.engine, command->handle);
        note = worker_note_new(MR_OWNER_DROPPED, command->handle);
    }
    if (note)
        worker_note_push(worker, note, MR_WATCHED_ENGINE);
}

static void tell(struct mr_worker *worker, const struct mr_engine_event *event)
{
    static const enum mr_owner_event_kind kinds[] = {[MR_ENGINE_TOKENS] = MR_OWNER_TOKENS, [MR_ENGINE_PROMPT] = MR_OWNER_PROMPT,
                                                     [MR_ENGINE_END] = MR_OWNER_ENDED, [MR_ENGINE_HELD] = MR_OWNER_HELD};
    if (event->kind == MR_ENGINE_WAIT) {
        worker_sched_waited(worker, event);
        return;
    }
    if (event->kind == MR_ENGINE_LATE) {
        worker_sched_late(worker, event);
        return;
    }
    struct note *note = worker_note_new(kinds[event->kind], event->run);
    struct mr_owner_event *out = &note->event;
    out->on = event->on;
    out->seq = event->seq;
    out->n_tokens = event->n_tokens;
    if (event->text.n)
        out->text = mr_arena_str(&note->arena, event->text);
    if (event->kind == MR_ENGINE_TOKENS) {
        size_t bytes = sizeof *event->ids * (size_t)event->n_tokens;
        int32_t *ids = mr_arena_alloc(&note->arena, bytes);
        CHECK(ids);
        memcpy(ids, event->ids, bytes);
        out->ids = ids;
        mr_log(MR_LOG_DEBUG, "engine.tokens", "run=%llu next=%d", (unsigned long long)event->run, event->seq + event->n_tokens);
    }
    if (event->logprobs) {
        out->logprobs = mr_logprob_from(worker->serving.bundle->tokenizer, event->logprobs, event->n_tokens, &note->arena);
        CHECK(out->logprobs);
    }
    out->finish = event->finish;
    out->reason = event->reason;
    out->n_cached = event->n_cached;
    out->timing = event->timing;
    worker_note_push(worker, note, MR_WATCHED_ENGINE);
}

/* What it would make could not leave: the log is silent, or its thread stands still. The group may have given this worker's jobs to
 * others, and would make the same tokens again. */
static bool engine_rests(struct mr_worker *worker, int64_t now_ns)
{
    uint64_t beats = atomic_load(&worker->watchdog.beats[MR_WATCHED_LOG]);
    if (beats != worker->log_beats)
        worker->log_beat_ns = now_ns;
    worker->log_beats = beats;
    return atomic_load(&worker->rest) || now_ns - worker->log_beat_ns >= MR_OWNER_SILENCE_NS;
}

/* One step, unless the last ones failed one after another: then jobs wait, instead of each failing, until a probe goes through. */
static bool engine_step(struct mr_worker *worker, bool rests, const struct mr_engine_event **events, int32_t *n_events, enum mr_status *status)
{
    if (rests || !mr_breaker_allow(&worker->breaker, mr_clock_ns(&worker->clock))) {
        mr_engine_rest(worker->serving.engine, &worker->clock, events, n_events);
        return false;
    }
    enum mr_breaker_state before = worker->breaker.state;
    bool busy = mr_engine_step(worker->serving.engine, &worker->clock, events, n_events, status);
    if (*status != MR_OK) {
        mr_log(MR_LOG_ERROR, "engine.step_failed", "status=%s", mr_status_name(*status));
        mr_breaker_failed(&worker->breaker, mr_clock_ns(&worker->clock));
    } else if (busy || before == MR_BREAKER_HALF_OPEN) {
        mr_breaker_succeeded(&worker->breaker);
    }
    if (worker->breaker.state != before) {
        mr_log(MR_LOG_WARN, "engine.breaker", "model=%s state=%s", worker->serving.bundle->name, mr_breaker_name(worker->breaker.state));
        mr_metrics_breaker(&worker->metrics, worker->breaker.state != MR_BREAKER_CLOSED);
    }
    return busy;
}

/* Somebody waits though nothing can run: a contract's rate, which only time gives back. */
static bool engine_waits(struct mr_worker *worker)
{
    struct mr_engine_stats stats;
    int32_t waiting = 0;
    mr_engine_stats(worker->serving.engine, &stats);
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        waiting += stats.sched.waiting[tier];
    return waiting > 0;
}

void *worker_engine_main(void *self)
{
    struct mr_worker *worker = self;
    struct command command;
    while (!atomic_load(&worker->stop)) {
        mr_watchdog_beat(&worker->watchdog, MR_WATCHED_ENGINE);
        while (mr_ring_pop(&worker->commands, &command))
            obey(worker, &command);
        const struct mr_engine_event *events;
        struct mr_engine_stats stats;
        int32_t n_events = 0;
        enum mr_status status = MR_OK;
        bool rests = engine_rests(worker, mr_clock_ns(&worker->clock));
        bool busy = engine_step(worker, rests, &events, &n_events, &status);
        for (int32_t i = 0; i < n_events; i++)
            tell(worker, &events[i]);
        if (busy || n_events) {
            mr_engine_stats(worker->serving.engine, &stats);
            mr_metrics_step(&worker->metrics, &stats);
            mr_planted_step(&worker->planted);
        }
        worker_sched_round(worker, mr_clock_ns(&worker->clock));
        if (!busy && !n_events)
            mr_wake_wait(&worker->engine_wake, rests || engine_waits(worker) ? HELD_NS : IDLE_NS);
    }
    return NULL;
}
