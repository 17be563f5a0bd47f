/* Two records with one name in different partitions (delivery.md, Identity). The store only suggests which was first; the verdict
 * needs its input record, read from its topic, decoded and compared. Whatever fails on that way, the job runs.
 *
 *   UNASKED --claim--> ASKED --an earlier position--> READING --its record--> COMPARING --> SETTLED (duplicate, id_conflict, or neither)
 *   any of them --nothing there, this record itself, a later one, or no answer in time--> SETTLED
 *   ASKED --no room to read it now--> UNASKED, for at most MR_OWNER_FIRST_READ_NS
 *
 * Invariants:
 * 1. Order is (broker timestamp, topic, partition, offset): of two records at most one can be told that the other was first.
 * 2. At most MR_OWNER_FIRST_READS_MAX records are read at a time, each of another partition; each ends after a while.
 *
 * Rejected: believing the body hash that the store could hold (a flushed, foreign or forged store would then lose jobs). */
#include "worker/owner_state.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>

/* What the claim says: "timestamp topic partition offset". */
struct position {
    int64_t timestamp_ms, offset;
    char topic[MR_TOPIC_BYTES_MAX + 1];
    int partition;
};

static bool position_read(struct mr_str text, struct position *out)
{
    char copy[MR_TOPIC_BYTES_MAX + 80];
    int end = 0;
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    return sscanf(copy, "%" SCNd64 " %249s %d %" SCNd64 "%n", &out->timestamp_ms, out->topic, &out->partition, &out->offset, &end) == 4
           && copy[end] == 0;
}

static bool is_before(const struct position *a, const struct mr_run *b)
{
    int topics = strcmp(a->topic, b->partition->topic);
    if (a->timestamp_ms != b->src.timestamp_ms)
        return a->timestamp_ms < b->src.timestamp_ms;
    if (topics != 0)
        return topics < 0;
    if (a->partition != b->partition->number)
        return a->partition < b->partition->number;
    return a->offset < b->src.offset;
}

static void settle(struct mr_run *run) { run->first = MR_RUN_FIRST_SETTLED; }

static void wait_for(struct mr_owner *owner, struct mr_run *run, enum mr_run_first state, int64_t wait_ns)
{
    run->first = state;
    run->first_until_ns = owner->now_ns + wait_ns;
}

bool owner_first_settled(struct mr_owner *owner, struct mr_run *run)
{
    const struct mr_partition *p = run->partition;
    if (!owner->config.ask_first || p->parked_topic || run->fold.starts > 0 || run->first == MR_RUN_FIRST_SETTLED)
        return true;
    bool given_up = run->first_again_ns && owner->now_ns >= run->first_again_ns;
    if (run->first == MR_RUN_FIRST_UNASKED && (!owner->store_up || given_up)) {
        settle(run);
        return true;
    }
    if (run->first == MR_RUN_FIRST_UNASKED) {
        struct mr_state_ask *ask = &owner_act(owner, MR_OWNER_DO_ASK)->ask;
        *ask = (struct mr_state_ask){.kind = MR_STATE_CLAIM, .tag = run->handle, .expire_ms = owner->config.state_expire_ms};
        ask->key = owner_out_format(owner, "{%.*s}:first", (int)run->name.n, run->name.p);
        ask->value = owner_out_format(owner, "%lld %s %d %lld", (long long)run->src.timestamp_ms, p->topic, p->number, (long long)run->src.offset);
        run->first_again_ns = run->first_again_ns ? run->first_again_ns : owner->now_ns + MR_OWNER_FIRST_READ_NS;
        wait_for(owner, run, MR_RUN_FIRST_ASKED, MR_OWNER_FIRST_NS);
        return false;
    }
    if (owner->now_ns < run->first_until_ns)
        return false;
    settle(run);
    return true;
}

/* ---- reading the one that may be first ---- */

static struct owner_first_read *read_of(struct mr_owner *owner, struct mr_str topic, int32_t partition)
{
    for (int i = 0; i < MR_OWNER_FIRST_READS_MAX; i++) {
        struct owner_first_read *read = &owner->read[i];
        if (read->handle && read->partition == partition && mr_str_is(topic, read->route->jobs))
            return read;
    }
    return NULL;
}

static void read_end(struct mr_owner *owner, struct owner_first_read *read)
{
    owner_log(owner, MR_LOG_UNFOLLOW, read->route->jobs, read->partition, 0);
    read->handle = 0;
}

/* It cannot be read: the run goes on without. */
static void read_fail(struct mr_owner *owner, struct owner_first_read *read)
{
    struct mr_run *run = owner_slot_run(owner, read->handle);
    read_end(owner, read);
    if (run && run->first == MR_RUN_FIRST_READING) {
        settle(run);
        owner_run_begin(owner, run);
    }
}

/* A position that could be an input record; *route: its topic's. */
static bool readable(const struct mr_owner *owner, const struct position *first, const struct mr_route **route)
{
    bool parked;
    *route = mr_route_of_topic(owner->config.routes, owner->config.n_routes, mr_str_from(first->topic), &parked);
    return *route && !parked && first->partition >= 0 && first->offset >= 0;
}

/* false: another is being read there, or as many as may be. */
static bool read_begin(struct mr_owner *owner, struct mr_run *run, const struct mr_route *route, const struct position *first)
{
    if (read_of(owner, mr_str_from(first->topic), first->partition))
        return false;
    for (int i = 0; i < MR_OWNER_FIRST_READS_MAX; i++) {
        struct owner_first_read *read = &owner->read[i];
        if (read->handle)
            continue;
        *read = (struct owner_first_read){.handle = run->handle, .route = route, .partition = first->partition, .offset = first->offset,
                                          .timestamp_ms = first->timestamp_ms, .until_ns = owner->now_ns + MR_OWNER_FIRST_READ_NS};
        owner_log(owner, MR_LOG_FOLLOW, route->jobs, first->partition, first->offset);
        return true;
    }
    return false;
}

void owner_first_answer(struct mr_owner *owner, struct mr_run *run, struct mr_str text)
{
    struct position first;
    const struct mr_route *route;
    if (run->first != MR_RUN_FIRST_ASKED)
        return;
    if (position_read(text, &first) && is_before(&first, run) && readable(owner, &first, &route)) {
        if (read_begin(owner, run, route, &first))
            wait_for(owner, run, MR_RUN_FIRST_READING, MR_OWNER_FIRST_READ_NS);
        else
            run->first = MR_RUN_FIRST_UNASKED; /* the tick asks again */
        return;
    }
    settle(run);
    owner_run_begin(owner, run);
}

static void compare(struct mr_owner *owner, struct owner_first_read *read, const struct mr_record *record)
{
    struct mr_run *run = owner_slot_run(owner, read->handle);
    if (!run || run->first != MR_RUN_FIRST_READING) {
        read_end(owner, read);
        return;
    }
    struct mr_owner_action *action = owner_act(owner, MR_OWNER_DO_ADMIT);
    struct mr_header *headers = mr_arena_array(&owner->out, MR_HEADERS_MAX, sizeof *headers);
    CHECK(headers);
    action->record = *record;
    action->record.topic = mr_str_from(read->route->jobs);
    action->record.headers = headers;
    if (record->n_headers)
        memcpy(headers, record->headers, sizeof *headers * (size_t)record->n_headers);
    owner_out_headers(owner, headers, record->n_headers);
    action->record.key = record->key.p ? owner_out_str(owner, record->key) : (struct mr_str){0};
    action->record.value = record->value.p ? owner_out_str(owner, record->value) : (struct mr_str){0};
    action->handle = run->handle;
    action->route = read->route;
    run->decision.first_topic = read->route->jobs;
    run->decision.first_partition = read->partition;
    run->decision.first_offset = read->offset;
    wait_for(owner, run, MR_RUN_FIRST_COMPARING, MR_OWNER_FIRST_READ_NS);
    read_end(owner, read);
}

bool owner_first_event(struct mr_owner *owner, const struct mr_log_event *event)
{
    bool about = event->kind == MR_LOG_FOLLOWED || event->kind == MR_LOG_CAUGHT_UP || event->kind == MR_LOG_OUT_OF_RANGE;
    struct owner_first_read *read = about ? read_of(owner, event->record.topic, event->record.partition) : NULL;
    if (!read)
        return false;
    const struct mr_record *record = &event->record;
    if (event->kind == MR_LOG_FOLLOWED && record->offset == read->offset && record->timestamp_ms == read->timestamp_ms)
        compare(owner, read, record);
    else if (event->kind != MR_LOG_CAUGHT_UP || event->offset > read->offset)
        read_fail(owner, read); /* another record, or none any more */
    return true;
}

bool owner_first_missing(struct mr_owner *owner, const struct mr_log_action *refused)
{
    struct owner_first_read *read = read_of(owner, refused->record.topic, refused->record.partition);
    if (read)
        read_fail(owner, read);
    return read != NULL;
}

void owner_first_tick(struct mr_owner *owner)
{
    for (int i = 0; i < MR_OWNER_FIRST_READS_MAX; i++) {
        if (owner->read[i].handle && owner->now_ns >= owner->read[i].until_ns)
            read_fail(owner, &owner->read[i]);
    }
}

void owner_first_admitted(struct mr_owner *owner, struct mr_run *run, const struct mr_job *first)
{
    if (run->first != MR_RUN_FIRST_COMPARING || run->state != MR_RUN_READY)
        return;
    settle(run);
    if (mr_str_equal(first->name, run->name) && run->fold.starts == 0) {
        owner->stats.duplicates_elsewhere++;
        owner_run_same_name(run, run->decision.first_topic, run->decision.first_partition, run->decision.first_offset,
                            strcmp(first->body_hash, run->job->body_hash) == 0);
    }
    owner_run_begin(owner, run);
}
