#include "worker/partition.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdlib.h>

enum { FIRST_BUCKETS = 64 };

struct mr_partition *mr_partition_open(const struct mr_route *route, bool parked_topic, int32_t number)
{
    struct mr_partition *partition = calloc(1, sizeof *partition);
    struct mr_run **table = calloc(FIRST_BUCKETS, sizeof *table);
    if (!partition || !table) {
        free(partition);
        free(table);
        return NULL;
    }
    partition->route = route;
    partition->parked_topic = parked_topic;
    partition->topic = parked_topic ? route->parked : route->jobs;
    partition->stream = parked_topic ? route->stream_parked : route->stream;
    partition->number = number;
    partition->since = partition->tail_next = partition->tail_first_ms = -1;
    partition->table = table;
    partition->n_buckets = FIRST_BUCKETS;
    mr_names_init(&partition->names, MR_NAMES_MAX);
    return partition;
}

void mr_partition_close(struct mr_partition *partition)
{
    while (partition->first)
        mr_partition_remove(partition, partition->first);
    mr_names_fini(&partition->names);
    free(partition->table);
    free(partition);
}

static struct mr_run **bucket_of(const struct mr_partition *partition, int64_t offset)
{
    return &partition->table[mr_mix64((uint64_t)offset) & (uint64_t)(partition->n_buckets - 1)];
}

struct mr_run *mr_partition_find(const struct mr_partition *partition, int64_t offset)
{
    struct mr_run *run = *bucket_of(partition, offset);
    while (run && run->src.offset != offset)
        run = run->chain;
    return run;
}

static void grow(struct mr_partition *partition)
{
    struct mr_run **table = calloc((size_t)partition->n_buckets * 2, sizeof *table);
    if (!table)
        return; /* longer chains, nothing worse */
    free(partition->table);
    partition->table = table;
    partition->n_buckets *= 2;
    for (struct mr_run *run = partition->first; run; run = run->next) {
        struct mr_run **bucket = bucket_of(partition, run->src.offset);
        run->chain = *bucket;
        *bucket = run;
    }
}

struct mr_run *mr_partition_add(struct mr_partition *partition, struct mr_src src)
{
    if (partition->n_runs >= partition->n_buckets)
        grow(partition);
    struct mr_run *run = mr_run_open(partition, src);
    CHECK(run); /* the number of runs is bounded by the ledger's span; without memory for one nothing can go on */
    struct mr_run **bucket = bucket_of(partition, src.offset);
    run->chain = *bucket;
    *bucket = run;
    run->previous = partition->last;
    if (partition->last)
        partition->last->next = run;
    else
        partition->first = run;
    partition->last = run;
    partition->n_runs++;
    return run;
}

void mr_partition_wait(struct mr_partition *partition, struct mr_run *run)
{
    run->state = MR_RUN_WAITING;
    run->wait_next = NULL;
    if (partition->wait_last)
        partition->wait_last->wait_next = run;
    else
        partition->wait_first = run;
    partition->wait_last = run;
    partition->n_waiting++;
}

void mr_partition_unwait(struct mr_partition *partition, struct mr_run *run)
{
    struct mr_run *before = NULL;
    for (struct mr_run *w = partition->wait_first; w != run; w = w->wait_next)
        before = w;
    *(before ? &before->wait_next : &partition->wait_first) = run->wait_next;
    if (partition->wait_last == run)
        partition->wait_last = before;
    partition->n_waiting--;
}

void mr_partition_remove(struct mr_partition *partition, struct mr_run *run)
{
    if (run->state == MR_RUN_WAITING)
        mr_partition_unwait(partition, run);
    struct mr_run **link = bucket_of(partition, run->src.offset);
    while (*link != run)
        link = &(*link)->chain;
    *link = run->chain;
    *(run->previous ? &run->previous->next : &partition->first) = run->next;
    *(run->next ? &run->next->previous : &partition->last) = run->previous;
    partition->n_runs--;
    mr_run_close(run);
}

int64_t mr_partition_since(const struct mr_partition *partition)
{
    int64_t since = partition->tail_next;
    for (const struct mr_run *run = partition->first; run; run = run->next) {
        if (run->first_start >= 0 && run->first_start < since)
            since = run->first_start;
    }
    return since;
}

void mr_partition_sweep(struct mr_partition *partition)
{
    for (struct mr_run *run = partition->first, *next; run; run = next) {
        next = run->next;
        if (run->state == MR_RUN_FOLLOWED && mr_ledger_finished(&partition->ledger, run->src.offset))
            mr_partition_remove(partition, run);
    }
}
