/* The judge: what stands in the topics, held against the promise (delivery.md). It is given every record of the input, stream,
 * results and dead topics, in any order but each partition's own, and at the end says for every job what happened and what is
 * wrong. It knows no broker: check.c reads for it, tests feed it. It trusts nobody: whatever a record holds, it is judged. One thread. */
#ifndef MR_WORKER_CLI_JUDGE_H
#define MR_WORKER_CLI_JUDGE_H

#include "worker/options.h"
#include "worker/port.h"
#include "worker/record.h"

enum {
    MR_JUDGE_COMPLAINTS_MAX = 1000, /* told one by one; past it they are only counted */
    MR_JUDGE_UNSEEN_MS = 60000,     /* a START may not know of one that came at most so long before it */
    MR_JUDGE_LAST_WORDS_MS = 1000,  /* what a worker wrote just before it died may be stamped so much later */
    MR_JUDGE_RESULT_DAYS = 7,       /* results are kept so long (wire.md): a run that ended before needs none */
};

/* What happens to the broker, among the deaths. */
#define MR_JUDGE_BROKER_AWAY "-"
#define MR_JUDGE_BROKER_BACK "*"

struct mr_judge_report {
    int64_t jobs;        /* input records; a parked copy is its origin's */
    int64_t records;     /* stream records */
    int64_t outcome[MR_FOLD_KINDS]; /* runs by the terminal that closed them */
    int64_t violations;  /* something that must never be: a record that contradicts another, a run without input, a wrong result */
    int64_t lost;        /* jobs without a terminal, or whose result or dead letter is missing */
    int64_t duplicates;  /* jobs that ran again, and results that came again for another run of the same name */
    int64_t ignored[MR_FOLD_KINDS]; /* stream records that the fold does not count */
    int64_t starts, takeovers;      /* accepted */
    int64_t extra_starts;           /* accepted, beyond the first of each run */
    int64_t tokens, tokens_twice;   /* accepted; in records that the fold does not count */
    double twice_p50[MR_TIER_COUNT];/* of tokens_twice, a run that was taken over; -1: there is none */
    int64_t unchecked;   /* results whose prompt token ids were taken from them: only the tokenizer could make them again */
    int64_t recoveries;  /* takeovers from an owner that had not yielded; with deaths told: that had died */
    double recovery_ms_p50, recovery_ms_p99; /* from the lost owner's death to the first record of the next that counts, its START; -1: none.
                                                Where another died before it could begin, from that death; where the broker was away, from its
                                                return. Without deaths: from the lost owner's last record */
    double first_token_ms_p50, first_token_ms_p99; /* the same, to the next one's first token or terminal */
    int64_t n_complaints;
    char (*complaints)[256]; /* [min(n_complaints, MR_JUDGE_COMPLAINTS_MAX)] the judge's; printable ASCII */
};

/* What happened to one run, or to an input record without one. Views of the judge. */
struct mr_judge_job {
    const char *topic;       /* of the input */
    int32_t partition;
    struct mr_src src;
    struct mr_str name;      /* empty: no stream record says it */
    const char *state;       /* "done", ..., "running" (not closed), "unseen" (no stream record) */
    int64_t tokens, starts, tokens_twice;
    int64_t violations, lost, duplicates;
};

struct mr_judge; /* opaque */

struct mr_judge *mr_judge_open(const struct mr_options *options); /* NULL: no memory; options borrowed */
void mr_judge_close(struct mr_judge *judge);
/* A worker's process died at that time (broker's clock, ms): recoveries are then counted from deaths alone. worker
 * MR_JUDGE_BROKER_AWAY, MR_JUDGE_BROKER_BACK: the broker went, or was back. Before add. false: no memory. */
bool mr_judge_death(struct mr_judge *judge, struct mr_str worker, int64_t time_ms);
/* The present time, in the broker's ms; without it no result is too old to be missed. */
void mr_judge_now(struct mr_judge *judge, int64_t now_ms);
/* Takes a record (copied) of a topic of the options' routes; others are passed over. false: no memory. */
bool mr_judge_add(struct mr_judge *judge, const struct mr_record *record);
/* Once, when everything is added. The report lives with the judge; NULL: no memory. */
const struct mr_judge_report *mr_judge_finish(struct mr_judge *judge);
/* After finish: every job, in order of appearance. */
void mr_judge_each(const struct mr_judge *judge, void (*tell)(void *self, const struct mr_judge_job *job), void *self);

#endif
