/* A result as `replay` reads it: what it says of how it was made, and what it holds to be made again. One thread. */
#ifndef MR_WORKER_CLI_REPLAY_RESULT_H
#define MR_WORKER_CLI_REPLAY_RESULT_H

#include "base/value.h"
#include "worker/record.h"

struct mr_replay_result {
    struct mr_str id, custom_id, tenant, status; /* custom_id empty: no Batch line */
    struct mr_str route;                 /* empty: none (`run`); then partition and src are not known */
    int32_t partition;
    struct mr_src src;
    struct mr_str model_digest, tokenizer_digest, version, path, body_hash; /* build is "version path"; body_hash may be empty */
    uint64_t seed;
    int32_t prompt_tokens, n;            /* n: the run's tokens */
    struct mr_str text, finish;
    const struct mr_value *ids, *prompt_ids, *logprobs; /* arrays of integers; OpenAI's map; NULL: not there */
};

/* From a result record's value; views of arena. MR_ERR_INVALID: err says what is wrong; MR_ERR_UNSUPPORTED: a job that failed. */
enum mr_status mr_replay_result_read(struct mr_str bytes, struct mr_arena *arena, struct mr_replay_result *out, struct mr_err *err);

/* The first thing in which two results of one job differ. */
enum mr_replay_what {
    MR_REPLAY_SAME, MR_REPLAY_PROMPT, MR_REPLAY_TOKEN, MR_REPLAY_TEXT, MR_REPLAY_FINISH, MR_REPLAY_LOGPROB, MR_REPLAY_TOP_LOGPROBS,
};

struct mr_replay_difference {
    enum mr_replay_what what;
    int32_t token;                       /* TOKEN, TEXT, LOGPROB, TOP_LOGPROBS: its number */
    int32_t was_id, is_id;               /* TOKEN: -1: none, or not known */
    double was, is;                      /* LOGPROB */
    struct mr_str was_text, is_text;     /* TEXT: from where they differ on; FINISH */
};

/* text_end: [is_n] bytes of text that each token of `is` had released; ids [is_n]. finishes: also compare how they ended. */
struct mr_replay_made {
    const struct mr_replay_result *result;
    const int32_t *ids, *text_end;
    int32_t n;
};
struct mr_replay_difference mr_replay_compare(const struct mr_replay_result *was, const struct mr_replay_made *is, bool finishes);
const char *mr_replay_what_name(enum mr_replay_what what); /* "same", "prompt", "token", ... */

#endif
