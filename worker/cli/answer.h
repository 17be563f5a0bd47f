/* One job of `run` while its answer is gathered: engine events in, stream records and the result line out.
 * One thread. */
#ifndef MR_WORKER_CLI_ANSWER_H
#define MR_WORKER_CLI_ANSWER_H

#include "worker/engine.h"
#include "worker/record.h"
#include "worker/result.h"
#include "worker/serving.h"

struct mr_answer {
    struct mr_job *job;               /* owned */
    struct mr_src src;                /* line number and start of the program */
    int64_t arrival_ns;
    struct mr_stream_record start;    /* the record that a stream of this job begins with */
    struct mr_arena arena;            /* ids and logprobs */
    int32_t *ids, n_ids;              /* [max_tokens] */
    struct mr_logprob *logprobs;      /* [max_tokens], or NULL: not asked for */
    struct mr_buf text;
    const struct mr_logprob *prompt_logprobs; /* [n_prompt], or NULL */
    uint64_t ctx;                     /* of the tokens so far */
};

/* Takes job, also on failure (MR_ERR_NOMEM). build: what START says of this program; borrowed. */
enum mr_status mr_answer_open(struct mr_answer *answer, struct mr_job *job, struct mr_src src, const struct mr_serving *serving,
                              const char *build, int64_t arrival_ns);
void mr_answer_close(struct mr_answer *answer);

/* Takes an event of this job, and gives the stream record that says it (views into answer and event; MR_FOLD_TOK or a
 * terminal). false: it has none (PROMPT), or memory ran out (*failed). */
bool mr_answer_take(struct mr_answer *answer, const struct mr_engine_event *event, const struct mr_tokenizer *tokenizer,
                    struct mr_stream_record *record, bool *failed);
/* The result behind a terminal record that take gave. false: no memory. */
bool mr_answer_result(const struct mr_answer *answer, const struct mr_stream_record *terminal, const struct mr_tokenizer *tokenizer,
                      struct mr_buf *out);

#endif
