/* A stream record (wire.md, Stream records): what a worker appends while a job runs, as one struct for every kind.
 * A field that a kind does not have is zero. Views; who decodes gives the arena, who encodes owns what they point at. */
#ifndef MR_WORKER_RECORD_H
#define MR_WORKER_RECORD_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "worker/fold.h"
#include "worker/job.h"

#define MR_STREAM_EPOCH_MAX ((INT64_C(1) << 53) - 1) /* JSON readers keep it whole; owners come nowhere near it */

enum mr_stream_cause { MR_CAUSE_NEW, MR_CAUSE_TAKEOVER, MR_CAUSE_REBALANCE, MR_CAUSE_PRODUCER };

enum {
    MR_STREAM_IDS_MAX = 4096,     /* tokens of one record */
    MR_STREAM_CHOICES_MAX = 128,
    MR_STREAM_HEADERS_MAX = 16,
};

/* The input record that a run is named by; its topic and partition follow from the stream partition. */
struct mr_src {
    int64_t offset, timestamp_ms;
};

struct mr_token_logprob {
    int32_t id;
    float logprob;                    /* natural log; -9999 stands for "impossible" */
    struct mr_str bytes;              /* of the token, maybe a part of a character */
};

/* What is known about one position. */
struct mr_logprob {
    struct mr_token_logprob chosen;   /* id -1: nothing (the first prompt token) */
    const struct mr_token_logprob *top; /* [n_top] descending */
    int32_t n_top;
};

struct mr_usage {
    int32_t prompt_tokens, completion_tokens, cached_tokens; /* cached: in the device's memory */
};

/* Unknown: -1. */
struct mr_timings {
    double queue_ms, ttft_ms, tpot_ms;
};

struct mr_stream_record {
    enum mr_fold_kind kind;
    struct mr_str job;                /* tenant/id */
    struct mr_src src;
    int64_t epoch;                    /* below 2^53 */
    uint64_t writer;

    /* start */
    enum mr_stream_cause cause;
    int64_t attempt;                  /* accepted STARTs of this run so far + 1 */
    uint64_t process;
    bool alone;
    struct mr_str worker, model, model_digest, tokenizer_digest, build, body_hash; /* model: its name, as the job was served */
    uint64_t seed;                    /* as a signed 64-bit integer on the wire */
    int64_t from;

    /* tok; ctx of terminals too; text of done, cancelled, expired, failed too: what was held back until now */
    int64_t seq;
    int32_t choice;
    const int32_t *ids;               /* [n_ids] */
    int32_t n_ids;
    struct mr_str text;
    const struct mr_logprob *logprobs;/* [n_ids], or NULL: not asked for */
    uint64_t ctx;

    /* terminals */
    int64_t n;                        /* tokens of the run */
    const struct mr_str *finish;      /* [n_finish] finish_reason per choice */
    int32_t n_finish;
    bool has_usage;
    struct mr_usage usage;
    struct mr_timings timings;
    const struct mr_logprob *prompt_logprobs; /* [n_prompt_logprobs], or NULL */
    int32_t n_prompt_logprobs;
    enum mr_reason reason;            /* failed, expired */
    struct mr_str message, field;
    int64_t retry_after_ms;           /* failed, of quota; 0: not said */
    struct {
        struct mr_str topic;
        int32_t partition;
        int64_t offset;
    } first;                          /* duplicate */
    struct mr_str to_topic;           /* moved */
};

const char *mr_stream_cause_name(enum mr_stream_cause cause); /* "new", "takeover", ... */
/* The part that the fold looks at; a view of record. */
struct mr_fold_record mr_stream_record_fold(const struct mr_stream_record *record);

/* Appends the encoded value to out; false: no memory. The bytes depend on nothing but the arguments. */
bool mr_stream_record_encode(const struct mr_stream_record *record, enum mr_encoding encoding, struct mr_buf *out);
/* From a record's value and its content-type. MR_ERR_INVALID: err names the field. Unknown keys are ignored. */
enum mr_status mr_stream_record_decode(const struct mr_record *in, struct mr_arena *arena, struct mr_stream_record *out, struct mr_err *err);

/* The headers of a stream record: content-type, mr-*, then what the job's headers echo. Views into text and echoed. */
struct mr_stream_headers {
    struct mr_header list[MR_STREAM_HEADERS_MAX];
    int32_t n;
    char text[8][32]; /* the numbers in list */
};
void mr_stream_record_headers(const struct mr_stream_record *record, enum mr_encoding encoding, const struct mr_header *echoed,
                              int32_t n_echoed, struct mr_stream_headers *out);

#endif
