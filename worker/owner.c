/* Owns the slots, the limits of admission, broker time, cancels and the drain; the rest is in the files beside it.
 *
 * Invariants (mr_owner_check):
 * 1. A run has a slot exactly from ADMITTING on; its handle names it to admission, engine and log, and is never used again.
 * 2. A job that the engine may still read is alive: in its run, or in the slot that the run left behind.
 * 3. A record is appended only for a run of an OPEN partition; a parked run appends nothing.
 * 4. An offset is finished only by owner_run's finish, after the fold closed it and its outcomes were acknowledged.
 * 5. Same events, same times, same random numbers: same actions, byte for byte.
 *
 * Thread: the log thread's, or whoever simulates it.
 *
 * Rejected: callbacks into the ports (an order of effects that no test can record and replay); one thread a run; deciding from
 * delivery reports what the log holds (only the tail knows). */
#include "worker/owner_state.h"

#include "base/check.h"
#include "base/log.h"
#include "worker/encoding.h"

#include <stdio.h>
#include <stdlib.h>

#define SLOW_TICK_NS (50 * MR_NS_PER_MS)

static const uint64_t tag_handle_mask = (UINT64_C(1) << 54) - 1;

struct mr_owner_action *owner_act(struct mr_owner *owner, enum mr_owner_action_kind kind)
{
    if (owner->n_actions == owner->actions_capacity) {
        owner->actions_capacity = owner->actions_capacity ? owner->actions_capacity * 2 : 64;
        owner->actions = realloc(owner->actions, sizeof *owner->actions * owner->actions_capacity);
        CHECK(owner->actions);
    }
    struct mr_owner_action *action = &owner->actions[owner->n_actions++];
    memset(action, 0, sizeof *action);
    action->kind = kind;
    return action;
}

void owner_log(struct mr_owner *owner, enum mr_log_action_kind kind, const char *topic, int32_t partition, int64_t offset)
{
    struct mr_log_action *log = &owner_act(owner, MR_OWNER_DO_LOG)->log;
    log->kind = kind;
    log->record.topic = mr_str_from(topic);
    log->record.partition = partition;
    log->offset = offset;
}

enum mr_status mr_owner_open(const struct mr_owner_config *config, struct mr_owner **out, struct mr_err *err)
{
    if (config->max_jobs < 1 || config->max_jobs > MR_OWNER_JOBS_MAX / 2 || config->max_tenants < MR_TENANTS_MIN ||
            config->max_tenants > MR_TENANTS_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "at most %d jobs and %d to %d tenants at a time", MR_OWNER_JOBS_MAX / 2,
                          MR_TENANTS_MIN, MR_TENANTS_MAX);
    struct mr_owner *owner = calloc(1, sizeof *owner);
    if (!owner)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the owner");
    owner->config = *config;
    if (!owner_slots_open(owner)) {
        mr_owner_close(owner);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %d jobs", config->max_jobs);
    }
    owner->config.move_ns = config->move_ns ? config->move_ns : MR_OWNER_MOVE_NS;
    owner->config.move_span = config->move_span ? config->move_span : MR_OWNER_MOVE_SPAN;
    owner->producer = 1;
    owner->producer_backoff_ns = MR_OWNER_BACKOFF_MIN_NS;
    mr_arena_init(&owner->out, 0);
    owner->echo_end = &owner->echo;
    owner_controls_open(owner);
    *out = owner;
    return MR_OK;
}

void mr_owner_close(struct mr_owner *owner)
{
    while (owner->partitions) {
        struct mr_partition *next = owner->partitions->next;
        mr_partition_close(owner->partitions);
        owner->partitions = next;
    }
    owner_slots_close(owner);
    owner_controls_close(owner);
    mr_arena_fini(&owner->out);
    mr_buf_fini(&owner->scratch);
    free(owner->actions);
    free(owner);
}

bool owner_broker_now(const struct mr_owner *owner, int64_t *now_ms)
{
    *now_ms = owner->now_ns / MR_NS_PER_MS + owner->broker_minus_mono_ms;
    return owner->broker_time_known;
}

/* ---- admission ---- */

/* So that no flood of a lower tier takes every place. */
static int32_t tier_share(const struct mr_owner *owner, enum mr_tier tier)
{
    static const int32_t eighths[MR_TIER_COUNT] = {8, 7, 6};
    int32_t share = (int32_t)((int64_t)owner->config.max_jobs * eighths[tier] / 8);
    return share > 0 ? share : 1;
}

/* While the tail catches up only for the sake of a head start: nothing is begun before it has. */
static bool admits(const struct mr_owner *owner, const struct mr_partition *partition)
{
    return partition->state == MR_PARTITION_OPEN || (owner->config.journal && partition->state == MR_PARTITION_TAILING);
}

static bool admit_one(struct mr_owner *owner, struct mr_partition *partition)
{
    struct mr_run *run = partition->wait_first;
    bool pressed = owner->pressed[partition->route->tier] && partition->n_live >= MR_OWNER_PRESSED_LIVE;
    if (!run || !admits(owner, partition) || pressed || partition->n_live >= owner->config.max_jobs_per_partition
        || owner->live >= tier_share(owner, partition->route->tier) || owner->free_slot < 0)
        return false;
    if (run->unseen) {
        enum mr_ledger_seen seen = mr_ledger_see(&partition->ledger, run->src.offset);
        if (seen == MR_LEDGER_FULL)
            return false;
        run->unseen = false;
        if (seen == MR_LEDGER_FINISHED) {
            owner_run_discard(owner, run);
            return true;
        }
    }
    if (!mr_ledger_room(&partition->ledger) && run->src.offset >= partition->ledger.low + MR_LEDGER_ADMIT_SPAN)
        return false;
    CHECK(owner_slot_take(owner, run));
    mr_partition_unwait(partition, run);
    run->state = MR_RUN_ADMITTING;
    struct mr_owner_action *action = owner_act(owner, MR_OWNER_DO_ADMIT);
    struct mr_header *headers = mr_arena_array(&owner->out, MR_HEADERS_MAX, sizeof *headers);
    CHECK(headers);
    mr_run_input(run, headers, &action->record);
    action->record.topic = mr_str_from(partition->topic);
    action->record.partition = partition->number;
    action->handle = run->handle;
    action->route = partition->route;
    action->parked = partition->parked_topic;
    if (partition->parked_topic) {
        owner_move_arrive(run, &action->record);
        owner_move_admit(run, &action->record);
    }
    owner_partition_pause(owner, partition);
    return true;
}

void owner_pump(struct mr_owner *owner)
{
    if (owner->draining || owner->alone || owner->alone_wanted || !owner_controls_ready(owner))
        return;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        for (bool any = true; any;) { /* one a partition and round, so that none waits for all of another's */
            any = false;
            for (struct mr_partition *p = owner->partitions; p; p = p->next)
                any |= (int)p->route->tier == tier && admit_one(owner, p);
        }
    }
}

/* ---- the log ---- */

/* Every run with something unacknowledged on the old producer starts anew on the next one (delivery.md, protocol 7). */
void owner_producer_failed(struct mr_owner *owner)
{
    owner->stats.producer_errors++;
    owner->producer = owner->producer % 255 + 1;
    owner->yields_out = 0;
    owner_log(owner, MR_LOG_REOPEN_PRODUCER, "", -1, 0);
    int64_t not_before_ns = owner->now_ns + owner->producer_backoff_ns;
    owner->producer_backoff_ns = owner->producer_backoff_ns * 2 < MR_OWNER_BACKOFF_MAX_NS ? owner->producer_backoff_ns * 2 : MR_OWNER_BACKOFF_MAX_NS;
    for (int32_t i = 0; i < owner->n_slots; i++) {
        struct mr_run *run = owner->slots[i].run;
        if (!run || (!run->unacked && !run->closing))
            continue;
        run->unacked = run->closing = 0; /* nothing more will be heard of them */
        owner_run_restart(owner, run, MR_CAUSE_PRODUCER, not_before_ns);
    }
}

static void delivered(struct mr_owner *owner, const struct mr_log_event *event)
{
    if (event->tag == 0)
        owner_reply_told(owner, event->record.topic, event->status == MR_OK);
    if (event->tag == 0 || event->tag >> 56 != owner->producer)
        return; /* a reply copy, or of a producer that is gone */
    if (event->status != MR_OK) {
        char text[128];
        char reason[129];
        snprintf(reason, sizeof reason, "%.*s", (int)(event->text.n < 128 ? event->text.n : 128), event->text.n ? event->text.p : "");
        mr_log(MR_LOG_WARN, "log.delivery_failed", "status=%s reason=%s", mr_status_name(event->status), mr_log_quote(reason, text, sizeof text));
        owner_producer_failed(owner);
        return;
    }
    int kind = (int)(event->tag >> 54 & 3);
    owner->producer_backoff_ns = MR_OWNER_BACKOFF_MIN_NS;
    if (kind == TAG_STREAM && event->timestamp_ms > 0) {
        owner->broker_time_known = true;
        owner->broker_minus_mono_ms = event->timestamp_ms - owner->now_ns / MR_NS_PER_MS;
    }
    owner->yields_out -= kind == TAG_YIELD && owner->yields_out > 0;
    struct owner_slot *slot = owner_slot_of(owner, event->tag & tag_handle_mask);
    if (slot && slot->run)
        owner_run_delivered(owner, slot->run, kind);
}

static void log_event(struct mr_owner *owner, const struct mr_log_event *event)
{
    if (event->kind == MR_LOG_DELIVERED) {
        delivered(owner, event);
    } else if (event->kind == MR_LOG_TROUBLE) {
        char reason[200], quoted[256];
        snprintf(reason, sizeof reason, "%.*s", (int)(event->text.n < 199 ? event->text.n : 199), event->text.n ? event->text.p : "");
        mr_log(event->fatal ? MR_LOG_ERROR : MR_LOG_WARN, "log.error", "fatal=%d reason=%s", event->fatal, mr_log_quote(reason, quoted,
            sizeof quoted));
        if (event->status == MR_ERR_BUSY)
            owner_silence_doubt(owner);
    } else if (!owner_control_event(owner, event) && !owner_first_event(owner, event)) {
        owner_partition_event(owner, event);
    }
    owner_pump(owner);
}

static void missing(struct mr_owner *owner, const struct mr_log_action *refused)
{
    if (refused->kind == MR_LOG_FOLLOW) {
        if (!owner_control_missing(owner, refused) && !owner_first_missing(owner, refused))
            owner_partition_missing(owner, refused);
    } else if (refused->kind == MR_LOG_PRODUCE && !refused->tag) {
        owner_reply_told(owner, refused->record.topic, false);
    } else if (refused->kind == MR_LOG_PRODUCE) {
        mr_log(MR_LOG_ERROR, "log.topic_missing", "topic=%.*s", (int)refused->record.topic.n, refused->record.topic.p);
        if (refused->tag >> 56 == owner->producer)
            owner_producer_failed(owner);
    }
}

/* ---- engine and admission ---- */

static void engine_event(struct mr_owner *owner, const struct mr_owner_event *event)
{
    struct owner_slot *slot = owner_slot_of(owner, event->handle);
    bool last = event->kind == MR_OWNER_ENDED || event->kind == MR_OWNER_DROPPED || event->kind == MR_OWNER_UNTAKEN;
    if (!slot)
        return;
    if (!slot->run) { /* an orphan: only the answer to its DROP lets the job go */
        if (event->kind == MR_OWNER_DROPPED) {
            owner->in_engine--;
            mr_tenants_leave(&owner->tenants, slot->tenant, owner->now_ns);
            owner_slot_free(owner, slot);
        }
        return;
    }
    if (slot->run->engine == MR_RUN_ENGINE_DROPPING && event->kind != MR_OWNER_DROPPED)
        return;
    if (last) {
        owner->in_engine--;
        mr_tenants_leave(&owner->tenants, slot->tenant, owner->now_ns);
        slot->run->engine = MR_RUN_ENGINE_NONE;
    }
    owner_run_engine(owner, slot->run, event);
}

/* A verdict on a run's own record, or the record that may be the first of its name. */
static void admitted(struct mr_owner *owner, const struct mr_owner_event *event)
{
    struct mr_run *run = owner_slot_run(owner, event->handle);
    if (run && run->state == MR_RUN_ADMITTING) {
        owner_run_admitted(owner, run, event->job, event->refusal);
        return;
    }
    if (run)
        owner_first_admitted(owner, run, event->job);
    mr_job_free(event->job);
}

static void held(struct mr_owner *owner, const struct mr_owner_event *event)
{
    struct mr_run *run = owner_slot_run(owner, event->handle);
    if (run)
        run->held = event->on;
}

static void answered(struct mr_owner *owner, const struct mr_state_answer *answer)
{
    struct mr_run *run = owner_slot_run(owner, answer->tag);
    if (run && answer->kind == MR_STATE_CLAIM)
        owner_first_answer(owner, run, (struct mr_str){answer->text, answer->n});
    else if (run)
        owner_journal_answer(owner, run, (struct mr_str){answer->text, answer->n});
}

/* ---- time ---- */

static void drain_begin(struct mr_owner *owner)
{
    if (owner->draining)
        return;
    mr_log(MR_LOG_INFO, "worker.drain", "live=%d", owner->live);
    owner->draining = true;
    owner->drain_until_ns = owner->now_ns + owner->config.grace_ns;
    for (struct mr_partition *p = owner->partitions; p; p = p->next)
        owner_partition_pause(owner, p);
}

static bool drain_busy(const struct mr_owner *owner)
{
    for (int32_t i = 0; i < owner->n_slots; i++) {
        const struct mr_run *run = owner->slots[i].run;
        if (run && run->state >= MR_RUN_STARTING && run->partition->state == MR_PARTITION_OPEN)
            return true;
    }
    return false;
}

static bool commits_busy(struct mr_owner *owner)
{
    bool busy = false;
    for (struct mr_partition *p = owner->partitions; p; p = p->next) {
        if (p->state == MR_PARTITION_OPEN && (p->commit_out || p->commit_dirty)) {
            p->commit_after_ns = 0;
            owner_commit(owner, p);
            busy = true;
        }
    }
    return busy;
}

static void drain_tick(struct mr_owner *owner)
{
    if (!owner->draining || owner->exited)
        return;
    if (owner->now_ns < owner->drain_until_ns && drain_busy(owner))
        return;
    if (!owner->leaving) {
        owner->leaving = true;
        for (int32_t i = 0; i < owner->n_slots; i++) {
            if (owner->slots[i].run && owner->slots[i].run->state >= MR_RUN_STARTING)
                owner_run_yield(owner, owner->slots[i].run);
        }
        owner->drain_until_ns = owner->now_ns + 2 * MR_NS_PER_S; /* for acknowledgements and the last commits */
    }
    bool busy = owner->yields_out > 0;
    busy |= commits_busy(owner);
    if (busy && owner->now_ns < owner->drain_until_ns)
        return;
    owner->exited = true;
    owner_log(owner, MR_LOG_LEAVE, "", -1, 0);
    owner_act(owner, MR_OWNER_DO_EXIT);
}

static void slow_tick(struct mr_owner *owner)
{
    owner->alone_wanted = false;
    for (int32_t i = 0; i < owner->n_slots; i++)
        owner->alone_wanted |= owner->slots[i].run && owner->slots[i].run->state == MR_RUN_READY && owner_run_suspect(owner, owner->slots[i].run);
    for (int32_t i = 0; i < owner->n_slots; i++) {
        if (owner->slots[i].run)
            owner_run_hold(owner, owner->slots[i].run);
    }
    owner_controls_tick(owner);
    owner_first_tick(owner);
    for (struct mr_partition *p = owner->partitions, *next; p; p = next) {
        next = p->next;
        owner_partition_tick(owner, p);
    }
}

static void tick(struct mr_owner *owner)
{
    bool slow = owner->now_ns - owner->sweep_ns >= SLOW_TICK_NS;
    if (slow) {
        owner->sweep_ns = owner->now_ns;
        slow_tick(owner);
    }
    for (int32_t i = 0; i < owner->n_slots; i++) {
        if (owner->slots[i].run)
            owner_run_tick(owner, owner->slots[i].run);
    }
    owner_silence_tick(owner);
    drain_tick(owner);
    owner_pump(owner);
}

void mr_owner_step(struct mr_owner *owner, const struct mr_owner_event *event, int64_t now_ns, const struct mr_owner_action **actions,
                   size_t *n_actions)
{
    CHECK(now_ns >= owner->now_ns);
    owner->now_ns = now_ns;
    owner->n_actions = 0;
    mr_arena_fini(&owner->out);
    if (!owner->begun) {
        owner->begun = true;
        owner_controls_begin(owner);
    }
    switch (event->kind) {
    case MR_OWNER_LOG: log_event(owner, event->log); break;
    case MR_OWNER_MISSING: missing(owner, event->refused); break;
    case MR_OWNER_ADMITTED: admitted(owner, event); break;
    case MR_OWNER_TOKENS:
    case MR_OWNER_PROMPT:
    case MR_OWNER_ENDED:
    case MR_OWNER_DROPPED:
    case MR_OWNER_UNTAKEN: engine_event(owner, event); break;
    case MR_OWNER_HELD: held(owner, event); break;
    case MR_OWNER_PRESSURE:
        owner->pressed[event->tier] = event->on;
        owner_pump(owner);
        break;
    case MR_OWNER_STORE: owner->store_up = event->on; break;
    case MR_OWNER_ANSWER: answered(owner, event->answer); break;
    case MR_OWNER_TICK: tick(owner); break;
    case MR_OWNER_DRAIN: drain_begin(owner); break;
    case MR_OWNER_LEAVE:
        if (!owner->exited)
            owner_act(owner, MR_OWNER_DO_EXIT);
        owner->exited = true;
        break;
    }
    owner_partition_echo(owner);
    *actions = owner->actions;
    *n_actions = owner->n_actions;
}

void mr_owner_stats(const struct mr_owner *owner, struct mr_owner_stats *out)
{
    *out = owner->stats;
    for (const struct mr_partition *p = owner->partitions; p; p = p->next) {
        out->partitions += p->state != MR_PARTITION_PARKED;
        out->tailing += p->state == MR_PARTITION_TAILING;
        out->stopped += p->state == MR_PARTITION_STOPPED;
        out->waiting += p->n_waiting;
        out->lag += p->state == MR_PARTITION_OPEN && p->ledger.low >= 0 ? p->ledger.next - p->ledger.low : 0;
    }
    out->live = owner->live;
    out->control_ready = owner_controls_ready(owner);
    out->ready = out->control_ready && out->partitions > 0 && out->tailing == 0 && !owner->draining;
    out->draining = owner->draining;
}

void mr_owner_check(const struct mr_owner *owner)
{
    int32_t live = 0, in_engine = 0;
    for (const struct mr_partition *p = owner->partitions; p; p = p->next) {
        int32_t n_runs = 0, n_live = 0, n_waiting = 0;
        for (const struct mr_run *run = p->first; run; run = run->next) {
            n_runs++;
            n_waiting += run->state == MR_RUN_WAITING;
            n_live += run->handle != 0;
            in_engine += run->engine != MR_RUN_ENGINE_NONE;
            CHECK((run->handle != 0) == (run->state >= MR_RUN_ADMITTING));
            CHECK(run->state < MR_RUN_READY || run->job);
            CHECK(run->ids.n == sizeof(int32_t) * (size_t)run->fold.seq);
            CHECK(run->state < MR_RUN_STARTING || p->state == MR_PARTITION_OPEN);
            CHECK(run->sent_seq >= run->fold.seq || !mr_run_is_mine(run) || run->state != MR_RUN_RUNNING);
        }
        CHECK(n_runs == p->n_runs && n_live == p->n_live && n_waiting == p->n_waiting);
        live += n_live;
    }
    for (int32_t i = 0; i < owner->n_slots; i++)
        in_engine += owner->slots[i].handle && !owner->slots[i].run;
    CHECK(live == owner->live && in_engine == owner->in_engine);
}
