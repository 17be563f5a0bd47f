/* Commits, and the question who owns, for one input partition.
 *
 * Invariants:
 * 1. One commit is out at a time; a question is a commit whose answer was asked for after the doubt arose.
 * 2. With transactions every commit is one, questions too: the outcomes of the runs that the tail has closed go before it, the
 *    position and map say that these are finished, and they are only once it has succeeded. Should its answer be lost, they
 *    are published again, the same bytes under the same keys.
 *
 * Rejected: outcomes first and the position in a later transaction (it would be the order without transactions, at their price). */
#include "worker/owner_state.h"

#include "base/check.h"
#include "base/log.h"

/* The outcomes of what is closed, and a ledger in which that is finished. */
static void close_within(struct mr_owner *owner, struct mr_partition *p, struct mr_ledger *ledger)
{
    for (struct mr_run *run = p->first; run; run = run->next) {
        if (run->state != MR_RUN_CLOSING)
            continue;
        run->in_transaction = true;
        owner_outcome(owner, run);
        mr_ledger_finish(ledger, run->src.offset);
    }
}

static void send(struct mr_owner *owner, struct mr_partition *p, bool asking)
{
    char metadata[MR_LEDGER_METADATA_BYTES + 1];
    struct mr_ledger ledger = p->ledger;
    bool transaction = owner->config.transactions;
    if (transaction && p->state == MR_PARTITION_OPEN)
        close_within(owner, p, &ledger);
    size_t n = mr_ledger_metadata(&ledger, mr_partition_since(p), metadata);
    struct mr_log_action *log = &owner_act(owner, MR_OWNER_DO_LOG)->log;
    log->kind = MR_LOG_COMMIT;
    log->record.topic = mr_str_from(p->topic);
    log->record.partition = p->number;
    log->offset = ledger.low;
    log->tag = (uint64_t)p->assignment << 1 | asking;
    log->text = owner_out_str(owner, (struct mr_str){metadata, n});
    log->transaction = transaction;
    p->commit_out = true;
    p->commit_dirty = false;
    p->commit_low = ledger.low;
}

void owner_commit(struct mr_owner *owner, struct mr_partition *p)
{
    if (p->commit_out || p->ledger.low < 0 || owner->now_ns < p->commit_after_ns || p->state == MR_PARTITION_PARKED)
        return;
    p->commit_after_ns = owner->now_ns + MR_OWNER_COMMIT_NS;
    send(owner, p, p->asking);
}

void owner_commit_ask(struct mr_owner *owner, struct mr_partition *p)
{
    if (p->asking)
        return;
    p->asking = true;
    p->commit_after_ns = 0;
    owner_commit(owner, p); /* or, if one is out, when its answer has come */
}

/* What went with the commit is finished, or goes again with the next one. */
static void settle(struct mr_owner *owner, struct mr_partition *p, bool done)
{
    bool dirty = p->commit_dirty;
    for (struct mr_run *run = p->first, *next; run; run = next) {
        next = run->next;
        bool within = run->in_transaction;
        run->in_transaction = false;
        dirty |= within && !done;
        if (within && done && run->state == MR_RUN_CLOSING)
            owner_run_finish(owner, run);
    }
    p->commit_dirty = dirty; /* what was finished just now is committed already */
}

static void owned(struct mr_owner *owner, struct mr_partition *p)
{
    p->asking = false;
    for (struct mr_run *run = p->first, *next; run; run = next) {
        next = run->next;
        if (run->state == MR_RUN_ASKING)
            owner_run_restart(owner, run, MR_CAUSE_REBALANCE, 0);
    }
}

void owner_committed(struct mr_owner *owner, struct mr_partition *p, const struct mr_log_event *event)
{
    if (event->tag >> 1 != p->assignment || !p->commit_out || p->state == MR_PARTITION_PARKED)
        return;
    p->commit_out = false;
    bool asked = event->tag & 1;
    owner->stats.commits += event->commit == MR_COMMIT_OK;
    owner->stats.commit_errors += event->commit != MR_COMMIT_OK;
    if (owner->config.transactions)
        settle(owner, p, event->commit == MR_COMMIT_OK);
    if (event->commit == MR_COMMIT_NOT_OWNER) {
        mr_log(MR_LOG_WARN, "partition.not_owner", "topic=%s partition=%d", p->topic, p->number);
        owner_partition_park(owner, p);
        return;
    }
    if (event->commit == MR_COMMIT_RETRY) {
        p->commit_dirty = true;
        p->commit_after_ns = owner->now_ns + p->ask_backoff_ns;
        p->ask_backoff_ns = p->ask_backoff_ns * 2 < MR_OWNER_BACKOFF_MAX_NS ? p->ask_backoff_ns * 2 : MR_OWNER_BACKOFF_MAX_NS;
        return;
    }
    p->ask_backoff_ns = MR_OWNER_BACKOFF_MIN_NS;
    mr_partition_sweep(p);
    if (p->asking && asked) {
        owned(owner, p);
    } else if (p->asking) { /* it went out before the doubt */
        p->commit_after_ns = 0;
        owner_commit(owner, p);
    }
}
