#include "kernels/cpu/score.h"

#include "base/check.h"

#include <math.h>

/* Keeps the n_top largest logits, descending; walking ids upwards and inserting behind equals gives the lowest id first. */
static void top_find(const float *logits, int32_t vocabulary, int32_t n_top, struct mr_sampled *out)
{
    int32_t n = 0;
    for (int32_t id = 0; id < vocabulary; id++) {
        float x = logits[id];
        if (!(x > -INFINITY) || (n == n_top && !(x > out->top_logprobs[n - 1])))
            continue;
        int32_t at = n < n_top ? n++ : n - 1;
        for (; at > 0 && x > out->top_logprobs[at - 1]; at--) {
            out->top_logprobs[at] = out->top_logprobs[at - 1];
            out->top_ids[at] = out->top_ids[at - 1];
        }
        out->top_logprobs[at] = x;
        out->top_ids[at] = id;
    }
    out->n_top = n;
}

void mr_cpu_score_row(const float *logits, int32_t vocabulary, int32_t n_top, struct mr_sampled *out)
{
    CHECK(n_top >= 0 && n_top <= MR_LOGPROBS_MAX && out->id < vocabulary);
    float largest = -INFINITY;
    double sum = 0;
    for (int32_t id = 0; id < vocabulary; id++)
        largest = logits[id] > largest ? logits[id] : largest;
    for (int32_t id = 0; id < vocabulary; id++)
        sum += (double)expf(logits[id] - largest);
    double log_sum = log(sum);
    out->logprob = out->id < 0 ? 0.0f : (float)((double)logits[out->id] - largest - log_sum);
    out->n_top = 0;
    if (n_top)
        top_find(logits, vocabulary, n_top, out);
    for (int32_t i = 0; i < out->n_top; i++)
        out->top_logprobs[i] = (float)((double)out->top_logprobs[i] - largest - log_sum);
}

enum mr_status mr_cpu_score(struct mr_device *device, const struct mr_score_params *params)
{
    (void)device;
    if (params->rows < 0 || params->vocabulary < 1 || params->n_top < 0 || params->n_top > MR_LOGPROBS_MAX)
        return MR_ERR_UNSUPPORTED;
    for (int32_t r = 0; r < params->rows; r++) {
        params->out[r].id = params->ids[r];
        mr_cpu_score_row(params->logits + (int64_t)r * params->vocabulary, params->vocabulary, params->n_top, &params->out[r]);
    }
    return MR_OK;
}
