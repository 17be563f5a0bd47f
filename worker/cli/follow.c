#include "worker/cli/follow.h"

#include "base/hash.h"

#include <stdlib.h>

void mr_follow_init(struct mr_follow *follow, bool (*wants)(void *self, struct mr_str name), void *self)
{
    *follow = (struct mr_follow){.wants = wants, .self = self};
}

void mr_follow_fini(struct mr_follow *follow)
{
    for (struct mr_follow_run *run = follow->newest; run; run = run->older)
        mr_buf_fini(&run->text);
    free(follow->table);
    mr_arena_fini(&follow->arena);
    mr_arena_fini(&follow->scratch);
    *follow = (struct mr_follow){0};
}

static size_t slot_of(const struct mr_follow *follow, struct mr_str topic, int32_t partition, struct mr_src src)
{
    int64_t numbers[] = {partition, src.offset};
    return mr_mix64(mr_fnv1a64(mr_fnv1a64(MR_FNV1A64_START, topic.p, topic.n), numbers, sizeof numbers)) & (follow->capacity - 1);
}

struct mr_follow_run *mr_follow_find(const struct mr_follow *follow, struct mr_str topic, int32_t partition, struct mr_src src)
{
    struct mr_follow_run *run = follow->capacity ? follow->table[slot_of(follow, topic, partition, src)] : NULL;
    while (run && (run->partition != partition || run->src.offset != src.offset || !mr_str_equal(run->topic, topic) ||
                   (src.timestamp_ms >= 0 && run->src.timestamp_ms != src.timestamp_ms)))
        run = run->chain;
    return run;
}

/* A table of twice the size. */
static bool grow(struct mr_follow *follow)
{
    size_t capacity = follow->capacity ? 2 * follow->capacity : 256;
    struct mr_follow_run **table = calloc(capacity, sizeof *table);
    if (!table)
        return false;
    free(follow->table);
    follow->table = table;
    follow->capacity = capacity;
    for (struct mr_follow_run *run = follow->newest; run; run = run->older) {
        struct mr_follow_run **slot = &table[slot_of(follow, run->topic, run->partition, run->src)];
        run->chain = *slot;
        *slot = run;
    }
    return true;
}

static struct mr_follow_run *new_run(struct mr_follow *follow, const struct mr_record *record, const struct mr_stream_record *first)
{
    if (follow->n >= follow->capacity && !grow(follow))
        return NULL;
    struct mr_follow_run *run = mr_arena_alloc(&follow->arena, sizeof *run);
    if (!run)
        return NULL;
    run->topic = mr_arena_str(&follow->arena, record->topic);
    run->name = mr_arena_str(&follow->arena, first->job);
    run->partition = record->partition;
    run->src = first->src;
    run->first_ms = -1;
    if (!run->topic.p || !run->name.p)
        return NULL;
    mr_fold_init(&run->fold, run->name.p, run->name.n);
    struct mr_follow_run **slot = &follow->table[slot_of(follow, run->topic, run->partition, run->src)];
    run->chain = *slot;
    *slot = run;
    run->older = follow->newest;
    follow->newest = run;
    follow->n++;
    return run;
}

static void take_terminal(struct mr_follow *follow, struct mr_follow_run *run, const struct mr_stream_record *record)
{
    if (record->n_finish)
        run->finish = mr_arena_str(&follow->arena, record->finish[0]);
    run->usage = record->usage;
    run->timings = record->timings;
    run->reason = record->reason;
    run->message = mr_arena_str(&follow->arena, record->message);
    run->moved_to = mr_arena_str(&follow->arena, record->to_topic);
    run->first.topic = mr_arena_str(&follow->arena, record->first.topic);
    run->first.partition = record->first.partition;
    run->first.offset = record->first.offset;
}

static void take(struct mr_follow *follow, struct mr_follow_run *run, const struct mr_stream_record *record, int64_t timestamp_ms)
{
    if (run->first_ms < 0)
        run->first_ms = timestamp_ms;
    run->last_ms = timestamp_ms;
    mr_buf_add_str(&run->text, record->text);
    follow->out_of_memory |= run->text.failed;
    if (record->kind == MR_FOLD_START) {
        run->cause = record->cause;
        run->attempt = record->attempt;
    }
    if (mr_fold_is_terminal(record->kind))
        take_terminal(follow, run, record);
}

enum mr_follow_verdict mr_follow_add(struct mr_follow *follow, const struct mr_record *record, struct mr_follow_run **run,
                                     struct mr_stream_record *out)
{
    follow->records++;
    if (record->key.p && follow->wants && !follow->wants(follow->self, record->key))
        return MR_FOLLOW_OTHER;
    mr_arena_fini(&follow->scratch);
    if (mr_stream_record_decode(record, &follow->scratch, out, NULL) != MR_OK) {
        follow->broken++;
        return MR_FOLLOW_OTHER;
    }
    *run = mr_follow_find(follow, record->topic, record->partition, out->src);
    if (!*run && follow->wants && !follow->wants(follow->self, out->job))
        return MR_FOLLOW_OTHER;
    if (!*run && !(*run = new_run(follow, record, out))) {
        follow->out_of_memory = true;
        return MR_FOLLOW_OTHER;
    }
    if (!mr_str_equal((*run)->name, out->job)) { /* ctx starts with the name: another name's records are another run's */
        follow->foreign++;
        return MR_FOLLOW_OTHER;
    }
    struct mr_fold_record folded = mr_stream_record_fold(out);
    if (!mr_fold_add(&(*run)->fold, &folded))
        return MR_FOLLOW_IGNORED;
    take(follow, *run, out, record->timestamp_ms);
    return MR_FOLLOW_ACCEPTED;
}

const char *mr_follow_state(const struct mr_follow_run *run)
{
    return run->fold.closed ? mr_fold_kind_name(run->fold.end) : run->fold.seq ? "running" : "started";
}
