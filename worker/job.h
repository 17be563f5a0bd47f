/* A job: one input record, decoded and validated. Everything in it lies in its own arena; whoever holds the job frees it
 * with mr_job_free. Written by job_decode.c (from a record) and admit.c (prompt ids); read-only afterwards. */
#ifndef MR_WORKER_JOB_H
#define MR_WORKER_JOB_H

#include "base/arena.h"
#include "base/str.h"
#include "base/value.h"
#include "scheduler/scheduler.h"
#include "worker/encoding.h"
#include "worker/reason.h"

#include <stdbool.h>
#include <stdint.h>

enum mr_job_kind { MR_JOB_COMPLETION, MR_JOB_CHAT };

enum {
    MR_STOP_IDS_MAX = 64,
    MR_LOGIT_BIAS_MAX = 1024,
    MR_JOB_ID_BYTES_MAX = 120,
    MR_REDRIVE_BYTES_MAX = 8, /* "~r" and digits, behind an id, with header redrive-of */
    MR_TENANT_BYTES_MAX = 63,
    MR_JOB_ECHO_MAX = 3,      /* traceparent, tracestate, correlation-id */
    MR_ECHO_BYTES_MAX = 512,  /* of one of their values; a longer one is not echoed */
};

/* How tokens are chosen. Defaults as OpenAI's. */
struct mr_sampling {
    double temperature, top_p, min_p;
    int32_t top_k;                       /* 0: off */
    double repetition_penalty, frequency_penalty, presence_penalty;
    uint64_t seed;                       /* given, or the hash of name and body (delivery.md, Identity): then below 2^53 */
    bool seed_given;
    int32_t max_tokens;                  /* -1: not given */
    int32_t min_tokens;
    bool ignore_eos;
    const struct mr_str *stop;           /* [n_stop] */
    int32_t n_stop;
    const int32_t *stop_ids;             /* [n_stop_ids] */
    int32_t n_stop_ids;
    const int32_t *bias_ids;             /* [n_bias] logit_bias */
    const float *bias_values;
    int32_t n_bias;
    int32_t n_logprobs;                  /* -1: none; 0: chosen token only; to 20 */
    int32_t n_prompt_logprobs;           /* -1: none */
};

struct mr_job {
    struct mr_arena arena;
    enum mr_job_kind kind;
    enum mr_encoding encoding;           /* of the input record: outcomes use it too */
    struct mr_str id;                    /* after tenant/ : given, or <topic>.<partition>.<offset> */
    struct mr_str tenant;
    struct mr_str name;                  /* tenant/id: the key of every outcome */
    struct mr_str model;                 /* as asked for; empty: not given */
    bool batch_line;                     /* came as an OpenAI Batch line: the result is written as one */
    struct mr_str custom_id;             /* of the batch line; empty: none */
    struct mr_str reply_topic, cache_scope;
    enum mr_tier tier;
    int32_t priority;                    /* 0 .. 9 */
    int64_t deadline_ms;                 /* from the record's broker timestamp; 0: none */
    bool stream;                         /* false: token records are batched */
    bool return_token_ids, return_tokens_as_token_ids, echo;
    struct mr_sampling sampling;
    const struct mr_value *metadata;     /* NULL: none */
    char body_hash[65];                  /* SHA-256 of the decoded body, without its id, in canonical form; of the raw bytes when undecodable */
    const struct mr_header *echoed;      /* [n_echoed] headers that every outcome repeats */
    int32_t n_echoed;

    /* the prompt, before admission: exactly one of these */
    struct mr_str prompt;                /* text */
    const struct mr_value *messages;     /* chat */
    /* after admission, or given as ids */
    const int32_t *prompt_ids;           /* [n_prompt] */
    int32_t n_prompt;
};

void mr_job_free(struct mr_job *job); /* NULL is fine */

#endif
