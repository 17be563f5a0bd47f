/* The journal: what the fold had accepted of a run when one of its records was last acknowledged, as one line in the store:
 * "src epoch writer seq ctx ids". It gives whoever takes the partition over a head start: the engine prefills prompt and tokens
 * while the tail still catches up. What the fold then accepts decides; what was made behind another prefix is thrown away.
 *
 * Invariants:
 * 1. Nothing is appended from it: before the tail has caught up no run is begun.
 * 2. No job escapes being told as poison by killing its worker in a head start, which leaves nothing in the log: a line is taken only
 *    once (reading deletes it), is written only once its writer has shown a token behind its own START, and is nothing past
 *    MR_OWNER_JOURNAL_GENERATIONS of the group (each death makes a new one), should a store give the same line again and again. So
 *    after a few deaths without a trace it is begun in the log, where they are counted.
 * 3. A line that does not fit its own hash, or another src, is nothing.
 *
 * Rejected: the line without ids (prefill could only begin with the prompt); a line a token (ids grow, the cost would be square). */
#include "worker/owner_state.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>

enum { HEAD_BYTES = 160, ID_BYTES = 8 };

static struct mr_str key_of(struct mr_owner *owner, const struct mr_run *run)
{
    return owner_out_format(owner, "{%.*s}:t", (int)run->name.n, run->name.p);
}

void owner_journal_write(struct mr_owner *owner, struct mr_run *run)
{
    bool news = run->state == MR_RUN_RUNNING && run->n_history == 0 && run->fold.seq > 0 && run->fold.seq <= MR_OWNER_JOURNAL_TOKENS_MAX;
    if (!owner->config.journal || !news || !mr_run_is_mine(run) || owner->now_ns - run->journal_ns < MR_OWNER_JOURNAL_NS)
        return;
    run->journal_ns = owner->now_ns;
    mr_buf_clear(&owner->scratch);
    mr_buf_addf(&owner->scratch, "%" PRId64 ".%" PRId64 " %" PRIu64 " %016" PRIx64 " %" PRId64 " %016" PRIx64 " ", run->src.offset,
                run->src.timestamp_ms, run->fold.epoch, run->fold.writer, run->fold.seq, run->fold.ctx);
    const int32_t *ids = (const int32_t *)run->ids.p;
    for (int64_t i = 0; i < run->fold.seq; i++)
        mr_buf_addf(&owner->scratch, "%08" PRIx32, (uint32_t)ids[i]);
    struct mr_str line = owner_out_scratch(owner), key = key_of(owner, run);
    struct mr_state_update *state = &owner_act(owner, MR_OWNER_DO_STATE)->state;
    state->key = key;
    state->epoch = (int64_t)run->fold.epoch;
    state->expire_ms = owner->config.state_expire_ms;
    state->field[0] = MR_STR("line");
    state->value[0] = line;
    state->n_fields = 1;
}

void owner_journal_ask(struct mr_owner *owner, struct mr_run *run)
{
    bool early = run->state == MR_RUN_READY && run->partition->state == MR_PARTITION_TAILING && run->decision.kind == MR_FOLD_START;
    if (!owner->config.journal || !owner->store_up || !early)
        return;
    struct mr_state_ask *ask = &owner_act(owner, MR_OWNER_DO_ASK)->ask;
    *ask = (struct mr_state_ask){.kind = MR_STATE_TAKE, .tag = run->handle, .key = key_of(owner, run)};
}

/* The line's ids, checked against its hash; NULL: it is not this run's, or damaged. */
static const int32_t *ids_of(struct mr_owner *owner, const struct mr_run *run, struct mr_str line, int64_t *n, uint64_t *ctx)
{
    struct mr_src src;
    uint64_t epoch, writer, said;
    struct mr_fold fold;
    char head[HEAD_BYTES] = {0};
    int end = 0;
    memcpy(head, line.p, line.n < HEAD_BYTES - 1 ? line.n : HEAD_BYTES - 1);
    if (sscanf(head, "%" SCNd64 ".%" SCNd64 " %" SCNu64 " %16" SCNx64 " %" SCNd64 " %16" SCNx64 "%n", &src.offset, &src.timestamp_ms, &epoch, &writer,
               n, &said, &end) != 6)
        return NULL;
    int64_t generations = run->partition->generation - (int64_t)(epoch >> 20);
    bool mine = src.offset == run->src.offset && src.timestamp_ms == run->src.timestamp_ms && generations >= 0
                && generations <= MR_OWNER_JOURNAL_GENERATIONS;
    if (!mine || *n < 1 || *n > MR_OWNER_JOURNAL_TOKENS_MAX || line.n != (size_t)end + 1 + (size_t)*n * ID_BYTES)
        return NULL;
    int32_t *ids = mr_arena_array(&owner->out, (size_t)*n, sizeof *ids);
    CHECK(ids);
    for (int64_t i = 0; i < *n; i++) {
        char digits[ID_BYTES + 1] = {0};
        uint32_t id;
        memcpy(digits, line.p + end + 1 + i * ID_BYTES, ID_BYTES);
        if (sscanf(digits, "%8" SCNx32, &id) != 1 || id >= (uint32_t)owner->config.vocabulary)
            return NULL;
        ids[i] = (int32_t)id;
    }
    mr_fold_init(&fold, run->name.p, run->name.n);
    *ctx = mr_fold_ctx(fold.ctx, 0, ids, (size_t)*n);
    return *ctx == said ? ids : NULL;
}

void owner_journal_answer(struct mr_owner *owner, struct mr_run *run, struct mr_str line)
{
    int64_t n;
    uint64_t ctx;
    bool idle = run->state == MR_RUN_READY && run->engine == MR_RUN_ENGINE_NONE && !run->ended && run->decision.kind == MR_FOLD_START;
    if (!idle || run->partition->state != MR_PARTITION_TAILING || owner->alone || owner->alone_wanted || owner->draining || line.n == 0)
        return;
    const int32_t *ids = ids_of(owner, run, line, &n, &ctx);
    if (!ids || n > run->job->sampling.max_tokens)
        return;
    mr_run_forget(run);
    run->chunks_seq = n;
    run->chunks_ctx = ctx;
    run->head_start = true;
    run->start_ns = owner->now_ns;
    owner->stats.head_starts++;
    owner_run_submit(owner, run, ids, n);
}
