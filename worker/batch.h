/* A step's plan as the flat arrays that a device wants, in as many batches as the rows of logits need.
 * Owns the arrays; all memory is taken at open. Engine thread. */
#ifndef MR_WORKER_BATCH_H
#define MR_WORKER_BATCH_H

#include "base/status.h"
#include "kernels/ops.h"

/* What one sequence has in the step. */
struct mr_batch_source {
    const int32_t *tokens;  /* the sequence's, from position 0 */
    const int32_t *blocks;  /* [n_blocks] */
    int32_t n_blocks;
    int32_t start, n;       /* positions to compute */
    int32_t score_from, score_to; /* positions in [score_from, score_to) want logits that predict the next prompt token */
    bool samples;           /* the last position's logits choose a token */
    int32_t coming_row;     /* the token at start + n - 1 is still on the device, in this row of the step before; -1 - row is its id */
    bool coming;
};

/* What a row of logits is for. */
struct mr_batch_row {
    int32_t source;         /* index */
    int32_t position;
    bool scores, samples;
};

struct mr_batch_limits {
    int32_t max_tokens, max_seqs, max_logits, max_blocks /* of one sequence */, block_tokens;
};

struct mr_batch_builder {
    struct mr_batch batch;      /* its arrays are the ones below */
    struct mr_batch_row *rows;  /* [batch.n_logits] */
    struct mr_batch_limits limits;
    int32_t source, offset;     /* what comes next: sources[source], its position start + offset */
    int32_t *ids, *positions, *slots, *seq_start, *seq_length, *block_table, *logit_rows;
    void *memory;
};

enum mr_status mr_batch_open(struct mr_batch_builder *builder, const struct mr_batch_limits *limits, struct mr_err *err);
void mr_batch_close(struct mr_batch_builder *builder);

/* Before the first batch of a step. */
static inline void mr_batch_rewind(struct mr_batch_builder *builder) { builder->source = builder->offset = 0; }
/* Fills builder->batch and rows with what fits and comes next; false: the step is done. A sequence may be cut between two
 * batches: it is the same computation (architecture, Same bits). */
bool mr_batch_next(struct mr_batch_builder *builder, const struct mr_batch_source *sources, int32_t n_sources);

#endif
