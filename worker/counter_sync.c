/* Owns one exchange: what is asked of the store, and which flow each entry speaks of.
 *
 *     idle --every_ns--> asked --the store's answer--> idle
 *
 * Invariants
 * 1. At most one exchange is out; its memory is the store's until it is back.
 * 2. A delta is taken only for an exchange that the store took. One that was not answered is given back to the scheduler and goes out
 *    again: if it had arrived all the same it counts twice, never less.
 * 3. What was last seen goes along, so that a store that lost its sums gets them back before anything is added.
 * Rejected: a field a worker in each sum (the fields of workers that are gone would have to be kept for ever). */
#include "worker/counter_sync.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER_SYNC_LEAST_NS INT64_C(2000000000) /* a worker not heard of for so long has nobody waiting */

struct flow_key {
    int32_t class, tenant; /* tenant -1: the class's least counter */
    uint32_t life;         /* of the tenant's index: the answer may come when it is another's */
    int64_t delta;
};

struct mr_counter_sync {
    struct mr_counter_sync_options options;
    struct sum_seen {
        int64_t least;             /* what the store is to hold at least */
        uint32_t life;             /* of the index then */
    } *seen;                       /* [MR_SCHED_CLASSES][max_tenants] */
    struct mr_state_tally tallies[MR_COUNTER_SYNC_TALLIES];
    struct flow_key keys[MR_COUNTER_SYNC_TALLIES];
    char names[MR_COUNTER_SYNC_TALLIES][MR_TENANT_BYTES_MAX + 1]; /* of tenants, as asked: the engine's may be gone before the answer */
    char sums[MR_SCHED_CLASSES][24], leasts[MR_SCHED_CLASSES][24]; /* names of hashes */
    int32_t n;
    bool out;
    int32_t cursor;                /* tenant where the next exchange begins */
    int64_t next_ns;
    struct mr_counter_sync_stats stats;
};

struct mr_counter_sync *mr_counter_sync_open(const struct mr_counter_sync_options *options)
{
    struct mr_counter_sync *sync = calloc(1, sizeof *sync);
    if (!sync)
        return NULL;
    sync->options = *options;
    sync->seen = calloc((size_t)options->max_tenants * MR_SCHED_CLASSES, sizeof *sync->seen);
    for (int class = 0; class < MR_SCHED_CLASSES; class++) {
        snprintf(sync->sums[class], sizeof sync->sums[class], "vt:%d", class);
        snprintf(sync->leasts[class], sizeof sync->leasts[class], "vt:least:%d", class);
    }
    if (!sync->seen) {
        free(sync);
        return NULL;
    }
    return sync;
}

void mr_counter_sync_close(struct mr_counter_sync *sync)
{
    if (sync)
        free(sync->seen);
    free(sync);
}

static int64_t *seen_of(struct mr_counter_sync *sync, const struct flow_key *key)
{
    struct sum_seen *seen = &sync->seen[(size_t)key->class * (size_t)sync->options.max_tenants + (size_t)key->tenant];
    if (seen->life != key->life)
        *seen = (struct sum_seen){0, key->life};
    return &seen->least;
}

static bool same_life(const struct mr_counter_sync *sync, const struct flow_key *key)
{
    return key->life == mr_sched_tenant_life(mr_engine_sched(sync->options.engine), (uint32_t)key->tenant);
}

static void add_tally(struct mr_counter_sync *sync, const struct flow_key *key, const struct mr_state_tally *tally)
{
    struct mr_state_tally *at = &sync->tallies[sync->n];
    char *name = sync->names[sync->n];
    sync->keys[sync->n++] = *key;
    *at = *tally;
    if (key->tenant < 0)
        return;
    CHECK(at->field.n <= MR_TENANT_BYTES_MAX);
    memcpy(name, at->field.p, at->field.n);
    at->field.p = name;
}

/* The flows of one tenant that have charges to tell or wait for their turn. */
static void add_tenant(struct mr_counter_sync *sync, int32_t tenant, struct mr_str name)
{
    struct mr_sched *sched = mr_engine_sched(sync->options.engine);
    for (int class = 0; class < MR_SCHED_CLASSES; class++) {
        struct mr_sched_tenant_stats stats;
        struct flow_key key = {class, tenant, mr_sched_tenant_life(sched, (uint32_t)tenant),
                               mr_sched_delta_take(sched, class, (uint32_t)tenant)};
        mr_sched_tenant_stats(sched, class, (uint32_t)tenant, &stats);
        if (key.delta || stats.waiting || stats.resident)
            add_tally(sync, &key, &(struct mr_state_tally){.kind = MR_STATE_SUM, .hash = mr_str_from(sync->sums[class]), .field = name,
                                                           .add = key.delta, .least = *seen_of(sync, &key)});
    }
}

static void give_back(struct mr_counter_sync *sync, int32_t i)
{
    const struct flow_key *key = &sync->keys[i];
    if (key->tenant >= 0 && same_life(sync, key))
        mr_sched_delta_return(mr_engine_sched(sync->options.engine), key->class, (uint32_t)key->tenant, key->delta);
}

static void ask(struct mr_counter_sync *sync)
{
    struct mr_sched *sched = mr_engine_sched(sync->options.engine);
    const struct mr_counter_sync_options *o = &sync->options;
    sync->n = 0;
    for (int class = 0; class < MR_SCHED_CLASSES; class++)
        add_tally(sync, &(struct flow_key){class, -1, 0, 0},
                  &(struct mr_state_tally){.kind = MR_STATE_LEAST, .hash = mr_str_from(sync->leasts[class]), .field = mr_str_from(o->worker),
                                           .least = mr_sched_least(sched, class), .fresh_ms = COUNTER_SYNC_LEAST_NS / MR_NS_PER_MS});
    int32_t looked = 0, at = sync->cursor;
    for (; looked < o->max_tenants && sync->n + MR_SCHED_CLASSES <= MR_COUNTER_SYNC_TALLIES; looked++, at = at + 1 < o->max_tenants ? at + 1 : 0) {
        struct mr_str name = mr_engine_tenant(o->engine, (uint32_t)at);
        if (name.p)
            add_tenant(sync, at, name);
    }
    sync->cursor = at;
    sync->out = o->state->tally(o->state->self, sync->tallies, sync->n);
    for (int32_t i = 0; i < sync->n && !sync->out; i++)
        give_back(sync, i);
}

static void take(struct mr_counter_sync *sync)
{
    struct mr_sched *sched = mr_engine_sched(sync->options.engine);
    bool whole = true;
    for (int32_t i = 0; i < sync->n; i++) {
        const struct flow_key *key = &sync->keys[i];
        whole &= sync->tallies[i].ok;
        if (key->tenant < 0)
            mr_sched_least_set(sched, key->class, sync->tallies[i].ok ? sync->tallies[i].out : INT64_MAX);
        else if (sync->tallies[i].ok && same_life(sync, key))
            *seen_of(sync, key) = mr_sched_total_set(sched, key->class, (uint32_t)key->tenant, sync->tallies[i].out);
        else
            give_back(sync, i);
    }
    sync->stats.exchanges++;
    sync->stats.failures += !whole;
    sync->out = false;
}

void mr_counter_sync_step(struct mr_counter_sync *sync, int64_t now_ns)
{
    if (sync->out) {
        if (sync->options.state->tallied(sync->options.state->self))
            take(sync);
        return;
    }
    if (now_ns < sync->next_ns)
        return;
    sync->next_ns = now_ns + sync->options.every_ns;
    if (sync->options.state->healthy(sync->options.state->self))
        ask(sync);
}

void mr_counter_sync_stats(const struct mr_counter_sync *sync, struct mr_counter_sync_stats *out) { *out = sync->stats; }
