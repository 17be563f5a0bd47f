/* The judge's own: what judge.c gathers and judge_verdict.c judges. */
#ifndef MR_WORKER_CLI_JUDGE_STATE_H
#define MR_WORKER_CLI_JUDGE_STATE_H

#include "worker/cli/judge.h"
#include "worker/run.h"

struct judge_kept {                     /* a record, copied */
    struct judge_kept *next;
    struct mr_record record;
};

struct judge_run {                   /* a run, or an input record without one */
    struct judge_run *chain, *next;  /* in the table; in order of appearance */
    const char *input;            /* topic of the input; borrowed from the options */
    const struct mr_route *route;
    bool parked;
    int32_t partition;
    struct mr_src src;
    struct mr_run *run;           /* NULL: no stream record */
    const struct mr_record *record; /* the input; NULL: not there */
    struct judge_kept *results, *dead;  /* of this src */
    int64_t last_ms, start_ms;    /* of the last accepted record; of a takeover that no record has followed yet, -1 */
    struct mr_str model, tokenizer, body_hash; /* of the first START */
};

struct judge_process {            /* a worker's process, as its first START tells it */
    struct judge_process *next;
    uint64_t process;
    struct mr_str worker, build, model, tokenizer;
};

struct mr_judge {
    const struct mr_options *options;
    struct mr_arena arena, scratch;
    struct judge_run **table, *first, **last;
    size_t capacity, n;
    double *recoveries;           /* [n_recoveries] ms */
    size_t n_recoveries, recoveries_capacity;
    struct judge_process *processes;
    struct judge_kept *orphans;         /* results and dead letters until finish gives them to their runs */
    struct mr_judge_report report;
    bool out_of_memory;
};

void judge_complain(struct mr_judge *judge, const struct judge_run *j, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
