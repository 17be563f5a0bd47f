#include "worker/logprob.h"

enum { LOGPROB_IMPOSSIBLE = -9999 };

static struct mr_token_logprob logprob_token(const struct mr_tokenizer *tokenizer, int32_t id, float logprob)
{
    bool number = logprob > LOGPROB_IMPOSSIBLE; /* false for NaN too */
    return (struct mr_token_logprob){.id = id, .logprob = number ? logprob : LOGPROB_IMPOSSIBLE, .bytes = mr_tokenizer_piece(tokenizer, id)};
}

struct mr_logprob *mr_logprob_from(const struct mr_tokenizer *tokenizer, const struct mr_sampled *sampled, int32_t n, struct mr_arena *arena)
{
    struct mr_logprob *out = mr_arena_array(arena, (size_t)n, sizeof *out);
    for (int32_t i = 0; out && i < n; i++) {
        struct mr_token_logprob *top = mr_arena_array(arena, (size_t)sampled[i].n_top, sizeof *top);
        if (!top)
            return NULL;
        for (int32_t k = 0; k < sampled[i].n_top; k++)
            top[k] = logprob_token(tokenizer, sampled[i].top_ids[k], sampled[i].top_logprobs[k]);
        out[i] = (struct mr_logprob){.chosen = logprob_token(tokenizer, sampled[i].id, sampled[i].logprob), .top = top, .n_top = sampled[i].n_top};
    }
    return out;
}
