/* Out of the way: a job that must wait long before its first token goes to the route's parked topic, so that it never holds its
 * partition back (delivery.md, The owner's protocol 10).
 *
 * Its run ends with MOVED first, and the parked record is that terminal's outcome, as a result is DONE's: published when the tail
 * has shown MOVED, acknowledged before the offset is finished. So an owner that dies in between leaves a run that its successor
 * finds closed by MOVED, and at most a second copy of the record, which ends as DUPLICATE of the copy before it.
 *
 * Rejected: the parked record first (its run and the origin's could both end with an outcome when an owner dies in between). */
#include "worker/owner_state.h"

#include "base/check.h"
#include "worker/encoding.h"

#include <stdio.h>
#include <stdlib.h>

static bool must_move(const struct mr_owner *owner, const struct mr_run *run)
{
    bool waited = run->held && owner->now_ns - run->arrival_ns >= owner->config.move_ns;
    return waited || run->partition->ledger.next - run->src.offset > owner->config.move_span;
}

static bool can_move(const struct mr_owner *owner, const struct mr_run *run)
{
    const struct mr_partition *p = run->partition;
    struct mr_header headers[MR_HEADERS_MAX];
    struct mr_record record;
    if (p->parked_topic || !p->route->parked[0] || run->name.n > MR_ORIGIN_JOB_BYTES_MAX)
        return false;
    mr_run_input(run, headers, &record);
    return record.n_headers < MR_HEADERS_MAX && (int64_t)(run->input.n + run->input_headers.n) + MR_ORIGIN_TEXT_BYTES <= owner->config.max_dead_bytes;
}

void owner_move_tick(struct mr_owner *owner, struct mr_run *run)
{
    bool untouched = run->fold.seq == 0 && run->sent_seq == 0 && !run->chunks && !run->ended && run->decision.kind == MR_FOLD_START;
    if (!untouched || owner->draining || !must_move(owner, run) || !can_move(owner, run))
        return;
    owner_run_take_back(owner, run);
    owner->stats.moved++;
    owner_run_decide(owner, run, MR_FOLD_MOVED, MR_REASON_NONE, "");
}

void owner_move_publish(struct mr_owner *owner, struct mr_run *run)
{
    const struct mr_partition *p = run->partition;
    struct mr_origin origin = {.partition = p->number, .offset = run->src.offset, .timestamp_ms = run->src.timestamp_ms, .tier = run->job->tier};
    struct mr_header *headers = mr_arena_array(&owner->out, MR_HEADERS_MAX, sizeof *headers);
    char text[MR_ORIGIN_TEXT_BYTES];
    struct mr_record record;
    CHECK(headers && run->name.n <= MR_ORIGIN_JOB_BYTES_MAX);
    memcpy(origin.job, run->name.p, run->name.n);
    snprintf(origin.topic, sizeof origin.topic, "%s", p->topic);
    mr_run_input(run, headers, &record);
    headers[record.n_headers++] = (struct mr_header){MR_STR(MR_ORIGIN_HEADER), {text, mr_origin_write(&origin, text)}};
    owner_out_headers(owner, headers, record.n_headers);
    struct mr_log_action *log = &owner_act(owner, MR_OWNER_DO_LOG)->log;
    log->kind = MR_LOG_PRODUCE;
    log->tag = owner_tag(owner, run, TAG_RESULT);
    log->transaction = owner->config.transactions;
    log->record = record;
    log->record.topic = mr_str_from(p->route->parked);
    log->record.partition = p->number;
    log->record.key = record.key.p ? owner_out_str(owner, record.key) : (struct mr_str){0};
    log->record.value = record.value.p ? owner_out_str(owner, record.value) : (struct mr_str){0};
    run->closing++;
}

void owner_move_arrive(struct mr_run *run, const struct mr_record *record)
{
    struct mr_origin origin;
    if (run->origin || !mr_origin_read(record, &origin))
        return;
    run->origin = malloc(sizeof *run->origin);
    CHECK(run->origin);
    *run->origin = origin;
}

void owner_move_admit(const struct mr_run *run, struct mr_record *record)
{
    if (!run->origin)
        return;
    record->topic = mr_str_from(run->origin->topic);
    record->partition = run->origin->partition;
    record->offset = run->origin->offset;
    record->timestamp_ms = run->origin->timestamp_ms;
}
