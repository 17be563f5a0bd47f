/* The judge's own: what judge.c gathers and judge_stream.c folds; judge_verdict.c judges it, with judge_result.c. */
#ifndef MR_WORKER_CLI_JUDGE_STATE_H
#define MR_WORKER_CLI_JUDGE_STATE_H

#include "worker/cli/judge.h"
#include "worker/run.h"

enum judge_fault { JUDGE_VIOLATION, JUDGE_LOST, JUDGE_DUPLICATE, JUDGE_FAULTS };

struct judge_kept {                     /* a record, copied */
    struct judge_kept *next;
    struct mr_record record;
};

struct judge_start {                 /* a START that was read, whether it counts or not */
    struct judge_start *next;
    int64_t epoch, timestamp_ms;
    uint64_t writer, process;
    struct mr_str worker;
    int64_t number, seq;             /* of the accepted ones, from 1 (0: not accepted); tokens accepted before it */
    bool yielded;                    /* an accepted YIELD of its writer followed */
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
    struct judge_start *starts, *owner; /* the newest first; the one in force */
    int64_t origin_ms;            /* of a parked record: the timestamp of the record that it was first; 0: none */
    bool arrived;                 /* a parked record says that it was this one first */
    int64_t last_ms, lost_ms;     /* of the last accepted record; since when a takeover waits, as long as its first token is not there, -1 */
    struct mr_str model, tokenizer, body_hash; /* of the first START */
    uint64_t seed;
    int64_t tokens_twice;
    int64_t faults[JUDGE_FAULTS];
};

struct judge_partition {          /* of any topic: what was read of it */
    struct judge_partition *next;
    struct mr_str topic;
    int32_t number;
    int64_t first, expected;      /* offsets: of the first record read, behind the last one */
};

struct judge_process {            /* a worker's process, as its first START tells it */
    struct judge_process *next;
    uint64_t process;
    struct mr_str worker, build, model, tokenizer;
};

struct judge_death {
    struct judge_death *next;
    struct mr_str worker;
    int64_t time_ms;
};

struct judge_numbers {            /* for a percentile */
    double *list;                 /* [n] */
    size_t n, capacity;
};

struct mr_judge {
    const struct mr_options *options;
    struct mr_arena arena, scratch;
    struct judge_run **table, *first, **last;
    size_t capacity, n;
    struct judge_numbers recoveries, first_tokens, twice[MR_TIER_COUNT];
    struct judge_partition *partitions;
    struct judge_process *processes;
    struct judge_death *deaths;
    int64_t now_ms;                     /* INT64_MIN: not told */
    struct judge_kept *orphans;         /* results and dead letters until finish gives them to their runs */
    struct mr_judge_report report;
    bool out_of_memory;
};

/* Counts a fault of a run, and tells it. */
void judge_complain(struct mr_judge *judge, struct judge_run *j, enum judge_fault fault, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The run of that src, made when it is new; NULL: no memory. */
struct judge_run *judge_entry(struct mr_judge *judge, const struct mr_route *route, bool parked, int32_t partition, struct mr_src src);
/* The runs of an input offset, whatever their timestamp: the first (after NULL), the next. */
struct judge_run *judge_at(const struct mr_judge *judge, struct mr_str input, int32_t partition, int64_t offset, const struct judge_run *after);
/* What was read of a partition; NULL: nothing (or, noting, no memory). */
struct judge_partition *judge_partition_of(const struct mr_judge *judge, struct mr_str topic, int32_t number);
void judge_number(struct mr_judge *judge, struct judge_numbers *numbers, double number);

/* judge_stream.c: a record of a stream topic. false: no memory. */
bool judge_stream(struct mr_judge *judge, const struct mr_route *route, bool parked, struct judge_partition *partition,
                  const struct mr_record *record);

/* judge_result.c: a kept stream value, decoded again, in judge->scratch. */
bool judge_decode(struct mr_judge *judge, const struct mr_run *run, struct mr_str value, struct mr_stream_record *out);
/* Whether each chosen token, where it is among its position's best too, is the same there. logprobs may be NULL. */
bool judge_logprobs_agree(const struct mr_logprob *logprobs, int32_t n);
/* Whether a run that ended so has a result. */
bool judge_has_result(const struct mr_stream_record *end);
/* Holds a closed run's results and dead letters against its job and stream. */
void judge_outcomes(struct mr_judge *judge, struct judge_run *j, struct mr_job *job, const struct mr_stream_record *end);

#endif
