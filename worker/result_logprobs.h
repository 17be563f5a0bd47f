/* Log probabilities in the three shapes that OpenAI's and vLLM's clients know. Trees in arena; any thread. */
#ifndef MR_WORKER_RESULT_LOGPROBS_H
#define MR_WORKER_RESULT_LOGPROBS_H

#include "worker/record.h"

/* Completions: {tokens, token_logprobs, top_logprobs: [{token: logprob}], text_offset}; offsets count characters. A token
 * whose written form another one of the same position has is left out: keys are distinct. */
struct mr_value mr_result_logprobs_completion(struct mr_arena *arena, const struct mr_logprob *logprobs, int32_t n, bool as_ids);
/* Chat: {content: [{token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}]}. */
struct mr_value mr_result_logprobs_chat(struct mr_arena *arena, const struct mr_logprob *logprobs, int32_t n, bool as_ids);
/* prompt_logprobs: [null, {"<id>": {logprob, rank, decoded_token}}, ...]; rank is left out where it is not known. */
struct mr_value mr_result_logprobs_prompt(struct mr_arena *arena, const struct mr_logprob *logprobs, int32_t n);

/* The float with the fewest digits, as a double; "impossible" is -9999. */
struct mr_value mr_logprob_value(float logprob);

#endif
