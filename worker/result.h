/* A result record (wire.md, A result): an OpenAI completion or error object with a map `millrace`, as the output line of an
 * OpenAI Batch file where the job came as its input line. A pure function: same input record and accepted stream, same bytes. */
#ifndef MR_WORKER_RESULT_H
#define MR_WORKER_RESULT_H

#include "worker/record.h"
#include "worker/route.h"

/* The accepted tokens of one choice, in order. */
struct mr_result_choice {
    const int32_t *ids;                /* [n] */
    int32_t n;
    struct mr_str text;                /* of all accepted records, the terminal's included */
    const struct mr_logprob *logprobs; /* [n], or NULL */
    struct mr_str finish;              /* "stop", "length", "cancelled", "expired" */
};

struct mr_result {
    const struct mr_job *job;
    const struct mr_route *route;      /* NULL: none (`run`); then partition, src, takeovers and epoch are not written */
    int32_t partition;
    struct mr_src src;
    int64_t created_ms;                /* `created`; 0: src's timestamp. A moved job's is that of its first record */
    const struct mr_stream_record *start;    /* the accepted START before the terminal; NULL: none */
    const struct mr_stream_record *terminal; /* kind done, failed, cancelled or expired */
    int64_t takeovers;                 /* accepted STARTs of cause new or takeover */
    const struct mr_result_choice *choices; /* [n_choices] */
    int32_t n_choices;
    struct mr_str prompt_text;         /* for echo */
};

/* Appends to out; false: no memory. */
bool mr_result_encode(const struct mr_result *result, enum mr_encoding encoding, struct mr_buf *out);
/* A job that never was a run: the error object alone (`run`, a client). created_ms: Unix time. */
bool mr_result_encode_refusal(const struct mr_job *job, const struct mr_refusal *refusal, int64_t created_ms, struct mr_buf *out);

/* An upper bound of the encoded result, for a job with n_prompt prompt tokens and sampling.max_tokens resolved, whose tokens
 * have at most token_bytes bytes each. */
int64_t mr_result_bound_bytes(const struct mr_job *job, int32_t n_prompt, int32_t token_bytes);

#endif
