/* The judge: what stands in the topics, held against the promise (delivery.md). It is given every record of the input, stream,
 * results and dead topics, in any order but each partition's own, and at the end says for every job what happened and what is
 * wrong. It knows no broker: check.c reads for it, tests feed it. One thread. */
#ifndef MR_WORKER_CLI_JUDGE_H
#define MR_WORKER_CLI_JUDGE_H

#include "worker/options.h"
#include "worker/port.h"
#include "worker/record.h"

enum { MR_JUDGE_COMPLAINTS_MAX = 1000 }; /* told one by one; past it they are only counted */

enum mr_judge_topic { MR_JUDGE_INPUT, MR_JUDGE_STREAM, MR_JUDGE_RESULTS, MR_JUDGE_DEAD };

struct mr_judge_report {
    int64_t jobs;        /* input records; a parked copy is its origin's */
    int64_t records;     /* stream records */
    int64_t outcome[MR_FOLD_KINDS]; /* runs by the terminal that closed them */
    int64_t violations;  /* something that must never be: a record that contradicts another, a run without input, a wrong result */
    int64_t lost;        /* jobs without a terminal, or whose result or dead letter is missing */
    int64_t duplicates;  /* jobs that ran again, and results that came again for another run of the same name */
    int64_t ignored[MR_FOLD_KINDS]; /* stream records that the fold does not count */
    int64_t starts, takeovers;      /* accepted */
    int64_t tokens, tokens_twice;   /* accepted; in records that the fold does not count */
    int64_t unchecked;   /* results whose bytes need the model's tokenizer to be made again */
    double recovery_ms_p50, recovery_ms_p99; /* from the last record of the lost owner to the first of the next; -1: no takeover */
    int64_t n_complaints;
    char (*complaints)[256]; /* [min(n_complaints, MR_JUDGE_COMPLAINTS_MAX)] the judge's */
};

struct mr_judge; /* opaque */

struct mr_judge *mr_judge_open(const struct mr_options *options); /* NULL: no memory; options borrowed */
void mr_judge_close(struct mr_judge *judge);
/* Takes a record (copied) of a topic of the options' routes; others are passed over. false: no memory. */
bool mr_judge_add(struct mr_judge *judge, const struct mr_record *record);
/* Once, when everything is added. The report lives with the judge. */
const struct mr_judge_report *mr_judge_finish(struct mr_judge *judge);

#endif
