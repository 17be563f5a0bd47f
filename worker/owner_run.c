/* One run's way from the verdict to its finished offset: the state machine drawn in run.h.
 *
 * Invariants:
 * 1. No token and no terminal is appended before the tail has shown that this owner's START is the one in force (the barrier).
 * 2. Chunks that leave continue the accepted tokens exactly: after every barrier they are aligned with the fold, or made again.
 * 3. The engine gets a run only when its START is acknowledged: whoever dies of it has left a trace, or poison would never be told.
 * 4. A decision (refused, cancelled, expired, duplicate, poison, ...) ends the run through the same START, barrier and terminal.
 * 5. duplicate and id_conflict are given only to a run without an accepted START, and then before any other verdict: a second
 *    record of a name never writes a result over the first one's.
 * 6. owner_run_finish() is the only place that marks an offset: fold closed, outcomes acknowledged.
 *
 * Rejected: ending a run from the delivery report of its terminal (the fold may have ignored it). */
#include "worker/owner_state.h"

#include "base/check.h"
#include "base/log.h"

#include <stdio.h>

static bool decided(const struct mr_run *run) { return run->decision.kind != MR_FOLD_START; }

static void drop(struct mr_owner *owner, struct mr_run *run)
{
    if (run->engine != MR_RUN_ENGINE_LIVE)
        return;
    run->engine = MR_RUN_ENGINE_DROPPING;
    owner_act(owner, MR_OWNER_DO_DROP)->handle = run->handle;
}

void owner_run_discard(struct mr_owner *owner, struct mr_run *run)
{
    owner->held_bytes -= (int64_t)(run->input.n + run->input_headers.n);
    if (owner->alone == run)
        owner->alone = NULL;
    owner_slot_leave(owner, run);
    mr_partition_remove(run->partition, run);
}

void owner_run_finish(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_partition *p = run->partition;
    if (p->ledger.low < 0)
        return; /* back from parking, and nothing delivered yet to say where the ledger begins: the tick comes again */
    owner_outcome_count(owner, run);
    owner_outcome_state(owner, run, mr_fold_kind_name(run->fold.end));
    mr_ledger_finish(&p->ledger, run->src.offset);
    p->commit_dirty = true;
    owner_run_discard(owner, run);
}

/* The log has the run's end: publish what follows from it. Needs the job. */
static void close_run(struct mr_owner *owner, struct mr_run *run)
{
    drop(owner, run);
    if (owner->alone == run)
        owner->alone = NULL;
    run->state = MR_RUN_CLOSING;
    run->closing = 0;
    if (owner->config.transactions) {
        run->partition->commit_dirty = true; /* they go with the next commit */
        return;
    }
    owner_outcome(owner, run);
    if (run->closing == 0)
        owner_run_finish(owner, run);
}

void owner_run_take_back(struct mr_owner *owner, struct mr_run *run)
{
    drop(owner, run);
    mr_run_forget(run);
}

/* A suspect runs, or waits to: everything else keeps out of the engine until it has shown a token. */
void owner_run_hold(struct mr_owner *owner, struct mr_run *run)
{
    if (run != owner->alone && (owner->alone || owner->alone_wanted))
        drop(owner, run);
}

/* A parked run makes a little more, for a partition that comes back at once, and then leaves the engine; what it made is kept. So a
 * rebalance makes a quarter of a record twice at most. */
static void park_full(struct mr_owner *owner, struct mr_run *run)
{
    int32_t most = owner->config.tier[run->job->tier].batch_tokens / 4 + 1;
    if (run->partition->state == MR_PARTITION_PARKED && mr_run_made(run) - run->parked_made >= most)
        drop(owner, run);
}

void owner_run_submit(struct mr_owner *owner, struct mr_run *run, const int32_t *ids, int64_t n)
{
    struct mr_owner_action *action = owner_act(owner, MR_OWNER_DO_SUBMIT);
    action->handle = run->handle;
    struct owner_slot *slot = owner_slot_of(owner, run->handle);
    slot->tenant = mr_tenants_join(&owner->tenants, run->job->tenant);
    action->engine = (struct mr_engine_run){.run = run->handle, .job = run->job, .tenant = slot->tenant,
                                            .n_accepted = (int32_t)n, .arrival_ns = run->arrival_ns};
    if (n) {
        int32_t *accepted = mr_arena_array(&owner->out, (size_t)n, sizeof *accepted);
        CHECK(accepted);
        memcpy(accepted, ids, sizeof *ids * (size_t)n);
        action->engine.accepted = accepted;
    }
    if (run->deadline_ms && owner->broker_time_known)
        action->engine.deadline_ns = (run->deadline_ms - owner->broker_minus_mono_ms) * MR_NS_PER_MS;
    run->engine = MR_RUN_ENGINE_LIVE;
    owner->in_engine++;
}

/* Behind what is accepted and what it made before it left the engine. */
static void submit_behind_made(struct mr_owner *owner, struct mr_run *run)
{
    mr_buf_clear(&owner->scratch);
    mr_buf_add_str(&owner->scratch, mr_buf_view(&run->ids));
    for (const struct mr_chunk *chunk = run->chunks; chunk; chunk = chunk->next)
        mr_buf_add(&owner->scratch, chunk->ids, sizeof *chunk->ids * (size_t)chunk->n_ids);
    CHECK(!owner->scratch.failed);
    owner_run_submit(owner, run, (const int32_t *)owner->scratch.p, mr_run_made(run));
}

/* Puts the engine to work behind the tokens that there are, unless it already is, or must not, or records on their way say that it
 * would begin too early. */
static void engine_sync(struct mr_owner *owner, struct mr_run *run)
{
    owner_run_hold(owner, run);
    if (decided(run) || run->engine == MR_RUN_ENGINE_DROPPING)
        return;
    if (run != owner->alone && (owner->alone || owner->alone_wanted))
        return;
    if (run->state == MR_RUN_STARTING && run->unacked)
        return;
    bool aligned = mr_run_align(run);
    if (aligned && (run->engine == MR_RUN_ENGINE_LIVE || run->ended))
        return;
    if (!aligned)
        mr_run_forget(run);
    if (run->engine == MR_RUN_ENGINE_LIVE) {
        drop(owner, run);
        return;
    }
    if (run->state == MR_RUN_RUNNING && run->sent_seq > mr_run_made(run))
        return;
    submit_behind_made(owner, run);
}

static void end_run(struct mr_owner *owner, struct mr_run *run)
{
    owner_publish_tokens(owner, run, true);
    owner_publish_terminal(owner, run);
    run->state = MR_RUN_ENDING;
}

void owner_run_decide(struct mr_owner *owner, struct mr_run *run, enum mr_fold_kind kind, enum mr_reason reason, const char *message)
{
    if (decided(run) || run->state >= MR_RUN_ENDING)
        return;
    run->decision.kind = kind;
    if (reason != MR_REASON_NONE)
        mr_refuse(&run->decision.refusal, reason, "", "%s", message);
    if (run->state != MR_RUN_RUNNING)
        return; /* the barrier comes first */
    if (run->engine == MR_RUN_ENGINE_LIVE)
        owner_act(owner, MR_OWNER_DO_CANCEL)->handle = run->handle; /* its END brings the rest */
    else
        end_run(owner, run);
}

void owner_run_cancel(struct mr_owner *owner, struct mr_run *run)
{
    owner_run_decide(owner, run, MR_FOLD_CANCELLED, MR_REASON_CANCELLED, "cancelled");
}

static void check_deadline(struct mr_owner *owner, struct mr_run *run)
{
    int64_t broker_now_ms;
    if (run->deadline_ms && owner_broker_now(owner, &broker_now_ms) && broker_now_ms >= run->deadline_ms)
        owner_run_decide(owner, run, MR_FOLD_EXPIRED, MR_REASON_DEADLINE_PASSED, "the deadline passed");
}

/* ---- the verdict ---- */

static bool by_name(const struct mr_run *run)
{
    return run->decision.kind == MR_FOLD_DUPLICATE || run->decision.refusal.reason == MR_REASON_ID_CONFLICT;
}

/* The verdict on the later of two records with one name (delivery.md, Identity). Of a parked topic: on copies of one origin, too. */
void owner_run_same_name(struct mr_run *run, const char *topic, int32_t partition, int64_t offset, bool same_body)
{
    run->decision = (struct mr_run_decision){.kind = same_body ? MR_FOLD_DUPLICATE : MR_FOLD_FAILED, .first_topic = topic,
                                             .first_partition = partition, .first_offset = offset};
    if (!same_body)
        mr_refuse(&run->decision.refusal, MR_REASON_ID_CONFLICT, "id", "the record at %s/%d/%lld has this id and another body", topic, partition,
                  (long long)offset);
}

static void check_name(struct mr_run *run)
{
    struct mr_partition *p = run->partition;
    const struct mr_names_entry *first = mr_names_find(&p->names, run->name);
    if (first && first->offset < run->src.offset && run->fold.starts == 0)
        owner_run_same_name(run, p->topic, p->number, first->offset, strcmp(first->body_hash, run->job->body_hash) == 0);
}

/* The log tells of another job, or of another body, at this offset; or of an epoch that leaves none above it, which no owner writes. */
static bool foreign(const struct mr_run *run)
{
    bool last = !run->fold.closed && run->fold.epoch >= (uint64_t)MR_STREAM_EPOCH_MAX;
    return last || run->foreign || (run->body_hash[0] && strcmp(run->body_hash, run->job->body_hash) != 0);
}

void owner_run_admitted(struct mr_owner *owner, struct mr_run *run, struct mr_job *job, const struct mr_refusal *refusal)
{
    struct mr_partition *p = run->partition;
    int64_t created_ms = run->origin ? run->origin->timestamp_ms : run->src.timestamp_ms;
    run->job = job;
    run->state = MR_RUN_READY;
    if (!mr_run_name(run, job->name) || foreign(run)) {
        owner_partition_stop(owner, p, run);
        return;
    }
    run->deadline_ms = job->deadline_ms ? created_ms + job->deadline_ms : 0;
    if (refusal && refusal->reason != MR_REASON_NONE) {
        run->decision.kind = MR_FOLD_FAILED;
        run->decision.refusal = *refusal;
    } else if (run->origin && !mr_str_is(job->name, run->origin->job)) {
        owner_run_decide(owner, run, MR_FOLD_FAILED, MR_REASON_INVALID_ID, "mr-origin names another job");
    }
    mr_names_add(&p->names, run->name, run->src.offset, job->body_hash);
    if (owner_control_cancelled(owner, run))
        owner_run_cancel(owner, run);
    if (!run->fold.closed)
        owner_outcome_state(owner, run, "queued");
    owner_journal_ask(owner, run);
    owner_run_begin(owner, run); /* which may be its end */
}

/* ---- START ---- */

bool owner_run_suspect(const struct mr_owner *owner, const struct mr_run *run)
{
    return !decided(run) && !run->fold.closed && run->partition->state == MR_PARTITION_OPEN
           && mr_run_suspicion(run, owner->config.process) >= MR_RUN_SUSPECT
           && mr_run_alone_lost(run, owner->config.process) < MR_RUN_POISON_STARTS;
}

static void check_model(struct mr_owner *owner, struct mr_run *run)
{
    if (run->fold.starts == 0 || decided(run) || owner_publish_same_model(owner, run))
        return;
    if (run->partition->route->restart_on_model_change && run->fold.seq == 0)
        return;
    owner_run_decide(owner, run, MR_FOLD_FAILED, MR_REASON_MODEL_CHANGED, "it was begun with another model or tokenizer");
    owner_audit_run(owner, run, "model", "refused", mr_str_from(mr_reason_name(MR_REASON_MODEL_CHANGED)));
}

static void judge(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_partition *p = run->partition;
    if (by_name(run) && run->fold.starts > 0)
        run->decision = (struct mr_run_decision){0};
    check_deadline(owner, run);
    if (p->tail_cut && run->fold.starts == 0 && run->src.timestamp_ms < p->tail_first_ms)
        owner_run_decide(owner, run, MR_FOLD_FAILED, MR_REASON_LOG_EXPIRED,
                         "the stream no longer reaches back to this record: whether it ran is unknown");
    check_model(owner, run);
    if (mr_run_alone_lost(run, owner->config.process) >= MR_RUN_POISON_STARTS) {
        owner_run_decide(owner, run, MR_FOLD_FAILED, MR_REASON_POISON, "every worker that began it alone was lost");
        owner->stats.poison++;
    }
}

void owner_run_begin(struct mr_owner *owner, struct mr_run *run)
{
    struct mr_partition *p = run->partition;
    if (run->state != MR_RUN_READY || p->state != MR_PARTITION_OPEN || owner->now_ns < run->not_before_ns || owner->leaving)
        return;
    if (run->fold.closed) {
        close_run(owner, run);
        return;
    }
    if (p->generation < 1 || (owner->draining && run->epoch == 0))
        return;
    if (foreign(run)) {
        owner_partition_stop(owner, p, run);
        return;
    }
    check_name(run);
    if (!by_name(run) && !owner_first_settled(owner, run))
        return;
    judge(owner, run);
    run->alone = owner_run_suspect(owner, run);
    if (owner->alone && owner->alone != run)
        return;
    if (run->alone && owner->in_engine > (run->engine != MR_RUN_ENGINE_NONE)) {
        owner->alone_wanted = true;
        return;
    }
    if (!run->alone && owner->alone_wanted && !decided(run))
        return;
    if (run->alone)
        owner->alone = run;
    owner->stats.starts++;
    owner->stats.takeovers += mr_run_cause(run, owner->config.process) == MR_CAUSE_TAKEOVER;
    if (run->fold.starts > 0 && !decided(run) && !owner_publish_same_model(owner, run))
        owner_audit_run(owner, run, "model", "restarted", (struct mr_str){0});
    owner_publish_start(owner, run);
    run->state = MR_RUN_STARTING;
}

void owner_run_restart(struct mr_owner *owner, struct mr_run *run, enum mr_stream_cause cause, int64_t not_before_ns)
{
    if (run->state < MR_RUN_STARTING || run->partition->state != MR_PARTITION_OPEN)
        return;
    run->state = MR_RUN_READY;
    run->restart = cause;
    run->not_before_ns = not_before_ns;
    owner_run_begin(owner, run);
}

void owner_run_park(struct mr_owner *owner, struct mr_run *run)
{
    if (owner->alone == run)
        owner->alone = NULL;
    run->parked_made = mr_run_made(run);
    if (run->state < MR_RUN_STARTING)
        return;
    run->state = MR_RUN_READY;
    run->restart = MR_CAUSE_REBALANCE;
    run->not_before_ns = 0;
    run->in_transaction = false;
}

/* ---- the tail ---- */

/* The barrier is passed: this owner's START is in force. */
static void own(struct mr_owner *owner, struct mr_run *run)
{
    owner_silence_shown(owner, run->start_ns);
    run->sent_seq = run->fold.seq;
    run->sent_ctx = run->fold.ctx;
    run->state = MR_RUN_RUNNING;
    check_deadline(owner, run);
    if (run->state != MR_RUN_RUNNING)
        return;
    if (decided(run)) {
        owner_run_take_back(owner, run);
        end_run(owner, run);
        return;
    }
    if (!mr_run_align(run)) { /* made behind another prefix, and perhaps on its way out of the engine */
        owner_run_take_back(owner, run);
    }
    engine_sync(owner, run);
    owner_outcome_state(owner, run, "running");
    if (run->ended)
        end_run(owner, run);
    else
        owner_publish_tokens(owner, run, false);
}

static void ask(struct mr_owner *owner, struct mr_run *run)
{
    owner->stats.lost_starts++;
    run->state = MR_RUN_ASKING;
    owner_commit_ask(owner, run->partition);
}

void owner_run_followed(struct mr_owner *owner, struct mr_run *run, const struct mr_stream_record *record, bool accepted)
{
    if (run->partition->state != MR_PARTITION_OPEN || run->state < MR_RUN_STARTING || run->state == MR_RUN_CLOSING)
        return;
    if (run->fold.closed) {
        close_run(owner, run);
        return;
    }
    bool mine = record->epoch == run->epoch && record->writer == run->writer;
    if (record->kind == MR_FOLD_START) {
        if (mine && run->state == MR_RUN_STARTING && accepted)
            own(owner, run);
        else if ((mine && run->state == MR_RUN_STARTING) || (accepted && (run->state == MR_RUN_RUNNING || run->state == MR_RUN_ENDING)))
            ask(owner, run);
        return;
    }
    if (!mine || (run->state != MR_RUN_RUNNING && run->state != MR_RUN_ENDING))
        return;
    if (accepted) {
        if (record->kind == MR_FOLD_TOK && run->chunks)
            owner_silence_shown(owner, run->chunks->sent_ns);
        mr_run_align(run);
        if (owner->alone == run)
            owner->alone = NULL; /* it got further than whoever died of it */
    } else if (mr_run_is_mine(run)) {
        owner_run_restart(owner, run, MR_CAUSE_PRODUCER, 0); /* one before it never arrived */
    }
}

/* ---- the engine ---- */

static void engine_ended(struct mr_owner *owner, struct mr_run *run, const struct mr_owner_event *event)
{
    run->ended = true;
    run->finish = event->finish;
    run->finish_reason = event->reason;
    run->n_cached = event->n_cached;
    run->timing = event->timing;
    mr_buf_clear(&run->tail_text);
    mr_buf_add_str(&run->tail_text, event->text);
    if (run->state == MR_RUN_RUNNING)
        end_run(owner, run);
}

static void engine_tokens(struct mr_owner *owner, struct mr_run *run, const struct mr_owner_event *event)
{
    struct mr_chunk chunk = {.seq = event->seq, .n_ids = event->n_tokens, .ids = event->ids, .logprobs = event->logprobs, .text = event->text};
    CHECK(mr_run_add_chunk(run, &chunk, owner->now_ns));
    if (run->state == MR_RUN_RUNNING)
        owner_publish_tokens(owner, run, false);
    park_full(owner, run);
}

static void untaken(struct mr_owner *owner, struct mr_run *run, const struct mr_owner_event *event)
{
    if (event->status == MR_ERR_BUSY) {
        run->decision.retry_after_ms = event->retry_after_ns / MR_NS_PER_MS;
        owner_run_decide(owner, run, MR_FOLD_FAILED, MR_REASON_QUOTA, "more of this tenant's work waits than it may queue");
    } else {
        owner_run_decide(owner, run, MR_FOLD_FAILED, MR_REASON_INTERNAL, "the engine cannot run it");
    }
}

void owner_run_engine(struct mr_owner *owner, struct mr_run *run, const struct mr_owner_event *event)
{
    bool working = run->state == MR_RUN_STARTING || run->state == MR_RUN_RUNNING;
    switch (event->kind) {
    case MR_OWNER_TOKENS: engine_tokens(owner, run, event); break;
    case MR_OWNER_PROMPT:
        run->prompt_logprobs = mr_run_copy_logprobs(&run->extra, event->logprobs, event->n_tokens);
        run->n_prompt_logprobs = run->prompt_logprobs ? event->n_tokens : 0;
        break;
    case MR_OWNER_ENDED: engine_ended(owner, run, event); break;
    case MR_OWNER_DROPPED:
        run->head_start = false;
        if (working)
            engine_sync(owner, run);
        break;
    case MR_OWNER_UNTAKEN:
        if (run->head_start) { /* the journal was wrong: the tick tries again from the fold */
            run->head_start = false;
            mr_run_forget(run);
            break;
        }
        if (event->status == MR_ERR_INVALID || event->status == MR_ERR_BUSY) {
            untaken(owner, run, event);
            break;
        }
        mr_log(MR_LOG_WARN, "engine.full", "job=%.*s", (int)run->name.n, run->name.p);
        break; /* the tick tries again */
    default: break;
    }
}

/* ---- the rest ---- */

void owner_run_delivered(struct mr_owner *owner, struct mr_run *run, int tag_kind)
{
    if (tag_kind == TAG_STREAM) {
        run->unacked -= run->unacked > 0;
        if (run->state == MR_RUN_STARTING && !run->unacked)
            engine_sync(owner, run); /* it may begin before the barrier; nothing leaves */
        owner_journal_write(owner, run);
    } else if (tag_kind == TAG_RESULT && run->closing > 0) {
        run->closing--;
        if (run->closing == 0 && run->state == MR_RUN_CLOSING && !owner->config.transactions)
            owner_run_finish(owner, run);
    }
}

void owner_run_tick(struct mr_owner *owner, struct mr_run *run)
{
    if (run->partition->state != MR_PARTITION_OPEN)
        return;
    if (run->state == MR_RUN_READY) {
        owner_run_begin(owner, run);
        return;
    }
    if (run->state == MR_RUN_CLOSING && run->closing == 0 && !owner->config.transactions) {
        owner_run_finish(owner, run);
        return;
    }
    check_deadline(owner, run);
    if (run->state == MR_RUN_RUNNING) {
        if (run->engine == MR_RUN_ENGINE_NONE && !run->ended)
            engine_sync(owner, run);
        owner_publish_tokens(owner, run, false);
        owner_move_tick(owner, run);
    }
}

void owner_run_yield(struct mr_owner *owner, struct mr_run *run)
{
    if (run->partition->state == MR_PARTITION_OPEN && (run->state == MR_RUN_RUNNING || run->state == MR_RUN_STARTING)) {
        if (run->state == MR_RUN_RUNNING)
            owner_publish_tokens(owner, run, true);
        owner_publish_yield(owner, run);
    }
    drop(owner, run);
    owner_run_park(owner, run);
}
