/* One run inside the engine: its tokens, what sampling needs of them, its text, and whether it is over.
 * Owned by the engine; engine thread. All memory is taken at open; taking a token allocates nothing. */
#ifndef MR_WORKER_SEQUENCE_H
#define MR_WORKER_SEQUENCE_H

#include "kv/block_names.h"
#include "worker/engine.h"
#include "worker/stream.h"

/* Counts of distinct token ids, for penalties: an open-addressing index over arrays that sampling reads as they stand. */
struct mr_history {
    int32_t *ids;     /* [n] distinct, in order of first sight */
    int32_t *counts;  /* [n] times in the output; 0: in the prompt only */
    int32_t *index;   /* [index_size] position in ids + 1; 0: free */
    int32_t n;
    uint32_t index_size; /* a power of two, at least twice the most ids; 0: penalties are off */
};

struct mr_sequence {
    uint64_t run;
    uint32_t tenant;
    const struct mr_job *job;         /* borrowed */
    int32_t n_prompt, n_tokens;       /* known: prompt, then output (accepted ones first) */
    int32_t n_coming, coming_row;     /* chosen on the device and not here yet (engine.c); row of the last step issued that holds the latest */
    int32_t max_tokens;               /* prompt + the longest output */
    int32_t *tokens;                  /* [max_tokens] */
    struct mr_stream stream;
    struct mr_history history;
    int32_t *bias_ids;                /* [n_bias + n_bans]: the job's, then what is banned below min_tokens */
    float *bias_values;
    int32_t n_bias, n_bans;
    struct mr_sampled *prompt_scores; /* [n_prompt] entry 0 has id -1; or NULL: not asked for */
    int32_t n_scored;                 /* entries [1, n_scored) are filled; starts at 1 */
    uint64_t *prefix;                 /* [n_prefix] names of the prompt's full blocks; none where blocks are not shared */
    int32_t n_prefix;
    bool prompt_told, planned;        /* PROMPT event given; had a planned item */
    enum mr_finish finish;            /* NONE: goes on */
    enum mr_reason reason;            /* with FAILED */
    int32_t n_cached;
    struct mr_engine_timing timing;
    void *memory;                     /* the block all arrays lie in */
};

/* Ids at which generation ends (engine-wide) and the vocabulary's text. */
struct mr_sequence_context {
    const struct mr_tokenizer *tokenizer;
    const int32_t *end_ids; /* [n_end_ids] */
    int32_t n_end_ids;
    struct mr_block_names *names; /* of prompts' blocks; NULL: prompts are not shared */
};

/* Takes the prompt and replays the accepted tokens; their text goes nowhere. finish may be set already: nothing is left to
 * generate. MR_ERR_INVALID: more accepted tokens than the job may have, or tokens behind its end. */
enum mr_status mr_sequence_open(struct mr_sequence *sequence, const struct mr_engine_run *run, const struct mr_sequence_context *context,
                                struct mr_err *err);
void mr_sequence_close(struct mr_sequence *sequence);

static inline int32_t mr_sequence_n_output(const struct mr_sequence *s) { return s->n_tokens - s->n_prompt; }

/* How the next token, behind those that are coming, is to be chosen. Views into the sequence, valid until the next take. */
void mr_sequence_row(const struct mr_sequence *sequence, struct mr_sample_row *row);
/* Appends a chosen token, its released text to text, and sets finish when it ends the run. */
void mr_sequence_take(struct mr_sequence *sequence, const struct mr_sequence_context *context, int32_t id, struct mr_buf *text);

#endif
