/* Assignment and tail of one input partition.
 *
 *   PARKED --assigned--> TAILING --caught up--> OPEN --revoked, or a commit says we do not own it--> PARKED --too long--> forgotten
 *   any --the log holds another topic's runs--> STOPPED
 *
 * Invariants:
 * 1. The port delivers input records only between CAUGHT_UP and the next pause: a partition is paused from its assignment on. With
 *    the journal they come at once, and are admitted for a head start; nothing is begun before CAUGHT_UP all the same.
 * 2. The tail is followed without a hole from `since`, or from where a parked partition's tail stood; a partition that comes back
 *    knows its own finished offsets too, committed or not, for its tail has let go of their runs.
 *
 * What a takeover takes, from a worker's death to the first accepted record of its jobs (session timeout 6 s, quiet machine): the
 * broker misses the heartbeats: 6 s; the survivors learn it from their own next heartbeat: <= 1 s (heartbeat.interval.ms); they
 * rejoin when their log thread polls, after the revocation's grace: 0.05 s; JoinGroup, SyncGroup, committed offsets: 0.1 s; the tail
 * from `since`: a fetch (0.05 s wait) and what lies there, about 100,000 records a second; input record fetched: 0.05 s; decoded and
 * tokenized: beside others; START and its barrier: one append and one fetch, 0.06 s; prefill of prompt and accepted tokens: the
 * engine's. No back-off lies on this way: the question who owns, producer errors and missing topics are the only ones that wait.
 * Sum without the engine: <= 7.5 s. A barrier costs no second wait: the engine prefills while it is under way. */
#include "worker/owner_state.h"

#include "base/check.h"
#include "base/log.h"
#include "base/starved.h"
#include "worker/encoding.h"

struct mr_partition *owner_partition_of(struct mr_owner *owner, struct mr_str topic, int32_t number, bool stream)
{
    for (struct mr_partition *p = owner->partitions; p; p = p->next) {
        if (p->number == number && mr_str_is(topic, stream ? p->stream : p->topic))
            return p;
    }
    return NULL;
}

static void set_paused(struct mr_owner *owner, struct mr_partition *p, bool paused)
{
    if (p->paused == paused)
        return;
    p->paused = paused;
    owner_log(owner, paused ? MR_LOG_PAUSE : MR_LOG_RESUME, p->topic, p->number, 0);
}

/* With a gap between the two marks, so that a partition at its limit does not flap. */
void owner_partition_pause(struct mr_owner *owner, struct mr_partition *p)
{
    if (p->state != MR_PARTITION_OPEN && (p->state != MR_PARTITION_TAILING || !owner->config.journal))
        return;
    bool full = p->n_waiting >= owner->config.max_waiting || owner->held_bytes >= owner->config.max_bytes || !mr_ledger_room(&p->ledger);
    bool half = p->n_waiting <= owner->config.max_waiting / 2 && owner->held_bytes <= owner->config.max_bytes / 4 * 3 && mr_ledger_room(&p->ledger);
    if (owner->draining || full)
        set_paused(owner, p, true);
    else if (half)
        set_paused(owner, p, false);
}

static void caught_up(struct mr_owner *owner, struct mr_partition *p, int64_t next);

static void follow(struct mr_owner *owner, struct mr_partition *p)
{
    if (owner->config.bare) {
        caught_up(owner, p, 0);
        return;
    }
    p->following = true;
    owner_log(owner, MR_LOG_FOLLOW, p->stream, p->number, p->tail_next >= 0 ? p->tail_next : p->since);
}

void owner_partition_park(struct mr_owner *owner, struct mr_partition *p)
{
    if (p->following)
        owner_log(owner, MR_LOG_UNFOLLOW, p->stream, p->number, 0);
    p->following = p->asking = p->commit_out = false;
    p->state = MR_PARTITION_PARKED;
    p->parked_ns = owner->now_ns;
    p->given_up = false;
    for (struct mr_run *run = p->first; run; run = run->next)
        owner_run_park(owner, run);
}

void owner_partition_forget(struct mr_owner *owner, struct mr_partition *p)
{
    while (p->first)
        owner_run_discard(owner, p->first);
    struct mr_partition **link = &owner->partitions;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    mr_partition_close(p);
}

void owner_partition_stop(struct mr_owner *owner, struct mr_partition *p, const struct mr_run *run)
{
    const char *reason = run->fold.epoch >= (uint64_t)MR_STREAM_EPOCH_MAX ? "forged epoch" : "topic recreated";
    mr_log(MR_LOG_ERROR, "partition.stopped", "topic=%s partition=%d offset=%lld reason=\"%s\"", p->topic, p->number,
           (long long)run->src.offset, reason);
    owner_partition_park(owner, p);
    set_paused(owner, p, true);
    p->state = MR_PARTITION_STOPPED;
}

static struct mr_partition *partition_for(struct mr_owner *owner, struct mr_str topic, int32_t number)
{
    struct mr_partition *p = owner_partition_of(owner, topic, number, false);
    bool parked_topic;
    const struct mr_route *route = mr_route_of_topic(owner->config.routes, owner->config.n_routes, topic, &parked_topic);
    if (p || !route)
        return p;
    p = mr_partition_open(route, parked_topic, number);
    CHECK(p);
    struct mr_partition **link = &owner->partitions;
    while (*link)
        link = &(*link)->next;
    *link = p;
    return p;
}

/* Everything that the partition remembers, but for its names. */
static void start_over(struct mr_owner *owner, struct mr_partition *p)
{
    while (p->first)
        owner_run_discard(owner, p->first);
    p->since = p->tail_next = p->tail_first_ms = -1;
    p->tail_cut = false;
}

static void assigned(struct mr_owner *owner, const struct mr_log_event *event)
{
    struct mr_partition *p = partition_for(owner, event->record.topic, event->record.partition);
    if (!p)
        return;
    int64_t since;
    struct mr_ledger older = p->ledger;
    bool back = p->assignment > 0;
    if (p->state == MR_PARTITION_OPEN || p->state == MR_PARTITION_TAILING)
        owner_partition_park(owner, p);
    if (!mr_ledger_open(&p->ledger, event->offset, event->text, &since)) {
        owner->stats.bad_metadata++;
        mr_log(MR_LOG_WARN, "partition.metadata", "topic=%s partition=%d reason=\"the map of finished offsets cannot be read: work repeats\"",
               p->topic, p->number);
    }
    if (back && !mr_ledger_merge(&p->ledger, &older)) {
        start_over(owner, p); /* its tail has let go of runs that this commit knows nothing of */
        back = false;
    }
    owner->stats.parked_back += back;
    p->assignment++;
    p->generation = owner->generation = event->generation;
    owner->assigned_ns = owner->now_ns;
    owner_silence_shown(owner, owner->now_ns);
    p->state = MR_PARTITION_TAILING;
    p->commit_dirty = back; /* it may know more than what is committed */
    p->commit_low = event->offset;
    p->ask_backoff_ns = MR_OWNER_BACKOFF_MIN_NS;
    if (p->tail_next < 0)
        p->since = since;
    for (struct mr_run *run = p->first, *next; run; run = next) {
        next = run->next;
        if (mr_ledger_finished(&p->ledger, run->src.offset))
            owner_run_discard(owner, run);
    }
    p->paused = false; /* a new assignment begins with everything flowing */
    set_paused(owner, p, true);
    owner_partition_pause(owner, p);
    follow(owner, p);
    mr_log(MR_LOG_INFO, "partition.assigned", "topic=%s partition=%d committed=%lld since=%lld generation=%d back=%d", p->topic, p->number,
           (long long)event->offset, (long long)since, event->generation, back);
}

static void revoked(struct mr_owner *owner, struct mr_partition *p, bool lost)
{
    mr_log(MR_LOG_INFO, "partition.revoked", "topic=%s partition=%d lost=%d", p->topic, p->number, lost);
    owner->stats.revoked++;
    if (p->state == MR_PARTITION_STOPPED) {
        owner_partition_forget(owner, p);
        return;
    }
    if (p->state == MR_PARTITION_OPEN && !lost && p->commit_dirty) {
        p->commit_out = false;
        p->commit_after_ns = 0;
        owner_commit(owner, p);
    }
    for (struct mr_run *run = p->first; run && p->state == MR_PARTITION_OPEN; run = run->next) {
        if (run->state == MR_RUN_RUNNING)
            owner_publish_tokens(owner, run, true); /* nobody needs to make them again; too late, they count for nothing */
        if (!lost && mr_run_is_mine(run) && !run->fold.closed && (run->n_history > 0 || run->state == MR_RUN_RUNNING))
            owner_publish_yield(owner, run); /* whoever takes over must not think that this one died of it */
    }
    if (p->state != MR_PARTITION_PARKED)
        owner_partition_park(owner, p);
}

/* An input record of an assigned partition. */
static void record(struct mr_owner *owner, struct mr_partition *p, const struct mr_record *in)
{
    if ((p->state != MR_PARTITION_OPEN && p->state != MR_PARTITION_TAILING) || owner->leaving)
        return;
    owner->stats.records++;
    struct mr_run *run = mr_partition_find(p, in->offset);
    struct mr_src src = {in->offset, in->timestamp_ms};
    if (p->ledger.low >= 0 && in->offset > p->ledger.next) {
        owner->stats.holes += in->offset - p->ledger.next;
        mr_log(MR_LOG_WARN, "partition.hole", "topic=%s partition=%d from=%lld to=%lld", p->topic, p->number, (long long)p->ledger.next,
               (long long)in->offset);
    }
    enum mr_ledger_seen seen = mr_ledger_see(&p->ledger, in->offset);
    if (run && (run->foreign || run->src.timestamp_ms != src.timestamp_ms)) {
        owner_partition_stop(owner, p, run);
        return;
    }
    if (seen == MR_LEDGER_FINISHED || (run && run->state != MR_RUN_FOLLOWED))
        return; /* finished by an earlier owner; or delivered again to one who has it */
    if (!run)
        run = mr_partition_add(p, src);
    CHECK(mr_run_keep_input(run, in)); /* bounded by the fetch size and max_bytes */
    owner->held_bytes += (int64_t)(run->input.n + run->input_headers.n);
    run->arrival_ns = owner->now_ns;
    run->unseen = seen == MR_LEDGER_FULL;
    mr_partition_wait(p, run);
    owner_partition_pause(owner, p);
}

static void caught_up(struct mr_owner *owner, struct mr_partition *p, int64_t next)
{
    if (p->tail_next < next)
        p->tail_next = next;
    if (p->state != MR_PARTITION_TAILING)
        return;
    p->state = MR_PARTITION_OPEN;
    mr_partition_sweep(p);
    mr_log(MR_LOG_INFO, "partition.open", "topic=%s partition=%d tail=%lld runs=%d", p->topic, p->number, (long long)p->tail_next, p->n_runs);
    for (struct mr_run *run = p->first, *after; run; run = after) {
        after = run->next;
        if (run->state == MR_RUN_READY)
            owner_run_begin(owner, run);
    }
    owner_partition_pause(owner, p);
}

/* The first record of the tail says whether the log was cut before it (protocol 9). */
static void first_record(struct mr_partition *p, const struct mr_record *in)
{
    if (p->tail_next < 0 && p->since < 0 && in->offset > 0)
        p->tail_cut = true;
    if (p->tail_first_ms < 0)
        p->tail_first_ms = in->timestamp_ms;
}

/* One record of the tail. value: as it stands in the log. */
static void fold(struct mr_owner *owner, struct mr_partition *p, const struct mr_stream_record *rec, int64_t offset, struct mr_str value,
                 enum mr_encoding encoding)
{
    if (rec->kind == MR_FOLD_START && rec->body_hash.n && rec->body_hash.n <= 64) {
        char hash[65] = {0};
        memcpy(hash, rec->body_hash.p, rec->body_hash.n);
        mr_names_add(&p->names, rec->job, rec->src.offset, hash);
    }
    struct mr_run *run = mr_partition_find(p, rec->src.offset);
    if (!run && !mr_ledger_finished(&p->ledger, rec->src.offset))
        run = mr_partition_add(p, rec->src);
    if (!run)
        return;
    bool accepted = mr_run_follow(run, rec, offset, value, encoding);
    owner->stats.ignored += !accepted;
    if (accepted && (rec->kind == MR_FOLD_DUPLICATE || rec->reason == MR_REASON_ID_CONFLICT))
        mr_names_forget(&p->names, rec->job, rec->src.offset); /* not the first of its name, whoever that was */
    if (run->foreign && run->state != MR_RUN_FOLLOWED)
        owner_partition_stop(owner, p, run);
    else
        owner_run_followed(owner, run, rec, accepted);
}

static void followed(struct mr_owner *owner, struct mr_partition *p, const struct mr_record *in)
{
    struct mr_stream_record rec;
    struct mr_arena arena;
    enum mr_encoding encoding;
    if (!p->following || in->offset < p->tail_next)
        return;
    first_record(p, in);
    p->tail_next = in->offset + 1;
    if (p->state == MR_PARTITION_TAILING)
        owner_silence_shown(owner, owner->now_ns);
    mr_arena_init(&arena, 0);
    uint64_t starved = mr_starved_count();
    if (mr_encoding_of(in, &encoding) && mr_stream_record_decode(in, &arena, &rec, NULL) == MR_OK) {
        fold(owner, p, &rec, in->offset, in->value, encoding);
    } else {
        CHECK(mr_starved_count() == starved); /* a record passed over for want of memory: this fold is not the log's any more */
        owner->stats.ignored++;
    }
    mr_arena_fini(&arena);
}

void owner_partition_echo(struct mr_owner *owner)
{
    while (owner->echo) {
        struct owner_echo echo = *owner->echo;
        owner->echo = echo.next;
        if (!owner->echo)
            owner->echo_end = &owner->echo;
        fold(owner, echo.partition, &echo.record, 0, echo.value, echo.encoding);
    }
}

/* ---- entry ---- */

static void out_of_range(struct mr_owner *owner, const struct mr_log_event *event)
{
    struct mr_partition *p = owner_partition_of(owner, event->record.topic, event->record.partition, true);
    if (!p) {
        owner->stats.lost_by_retention++;
        mr_log(MR_LOG_ERROR, "partition.lost_by_retention", "topic=%.*s partition=%d log_start=%lld", (int)event->record.topic.n,
               event->record.topic.p, event->record.partition, (long long)event->offset);
        return;
    }
    p->tail_cut = p->tail_cut || event->offset > 0;
    p->since = p->tail_next = -1;
    if (p->following)
        follow(owner, p);
}

void owner_partition_event(struct mr_owner *owner, const struct mr_log_event *event)
{
    bool stream = event->kind == MR_LOG_FOLLOWED || event->kind == MR_LOG_CAUGHT_UP;
    if (event->kind == MR_LOG_ASSIGNED) {
        assigned(owner, event);
        return;
    }
    if (event->kind == MR_LOG_OUT_OF_RANGE) {
        out_of_range(owner, event);
        return;
    }
    struct mr_partition *p = owner_partition_of(owner, event->record.topic, event->record.partition, stream);
    if (!p)
        return;
    switch (event->kind) {
    case MR_LOG_REVOKED: revoked(owner, p, event->lost); break;
    case MR_LOG_RECORD: record(owner, p, &event->record); break;
    case MR_LOG_FOLLOWED: followed(owner, p, &event->record); break;
    case MR_LOG_CAUGHT_UP: caught_up(owner, p, event->offset); break;
    case MR_LOG_COMMITTED: owner_committed(owner, p, event); break;
    default: break;
    }
}

void owner_partition_missing(struct mr_owner *owner, const struct mr_log_action *refused)
{
    struct mr_partition *p = owner_partition_of(owner, refused->record.topic, refused->record.partition, true);
    if (!p)
        return;
    mr_log(MR_LOG_WARN, "partition.no_stream", "topic=%s partition=%d stream=%s", p->topic, p->number, p->stream);
    p->following = false;
    p->follow_again_ns = owner->now_ns + MR_OWNER_LOOK_AGAIN_NS;
}

/* An assignment without it: another has it now. What the engine would still make for it would be made twice; the tail's memory is
 * kept, for the next rebalance may bring it back. */
static void give_up(struct mr_owner *owner, struct mr_partition *p)
{
    p->given_up = true;
    for (struct mr_run *run = p->first; run; run = run->next)
        owner_run_take_back(owner, run);
}

void owner_partition_tick(struct mr_owner *owner, struct mr_partition *p)
{
    if (p->state == MR_PARTITION_PARKED) {
        if (!p->given_up && owner->generation > p->generation && owner->now_ns - owner->assigned_ns >= MR_PARTITION_BATCH_NS)
            give_up(owner, p);
        if (owner->now_ns - p->parked_ns >= MR_PARTITION_PARK_NS)
            owner_partition_forget(owner, p);
        return;
    }
    if (p->follow_again_ns && owner->now_ns >= p->follow_again_ns) {
        p->follow_again_ns = 0;
        follow(owner, p);
    }
    if (p->state == MR_PARTITION_OPEN && (p->commit_dirty || p->asking || p->commit_low != p->ledger.low))
        owner_commit(owner, p);
    owner_partition_pause(owner, p);
}
