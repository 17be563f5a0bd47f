/* What sampling or scoring said of tokens, in the form that records and results have: ids with their bytes. */
#ifndef MR_WORKER_LOGPROB_H
#define MR_WORKER_LOGPROB_H

#include "kernels/ops.h"
#include "worker/record.h"
#include "worker/text/tokenizer.h"

/* [n] in arena; id -1 stays "nothing"; bytes are views into the tokenizer. NULL: no memory. Any thread. */
struct mr_logprob *mr_logprob_from(const struct mr_tokenizer *tokenizer, const struct mr_sampled *sampled, int32_t n, struct mr_arena *arena);

#endif
