#include "kernels/cpu/score.h"

#include "base/check.h"
#include "kernels/cpu/device.h"

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
    CHECK(n_top >= 0 && n_top <= MR_LOGPROBS_MAX && out->id >= 0 && out->id < vocabulary);
    float largest = -INFINITY;
    double sum = 0;
    for (int32_t id = 0; id < vocabulary; id++)
        largest = logits[id] > largest ? logits[id] : largest;
    for (int32_t id = 0; id < vocabulary; id++)
        sum += (double)expf(logits[id] - largest);
    double log_sum = log(sum);
    out->logprob = (float)((double)logits[out->id] - largest - log_sum);
    out->n_top = 0;
    if (n_top)
        top_find(logits, vocabulary, n_top, out);
    for (int32_t i = 0; i < out->n_top; i++)
        out->top_logprobs[i] = (float)((double)out->top_logprobs[i] - largest - log_sum);
}

static void score_item(void *context, int32_t r, int thread)
{
    const struct mr_score_params *params = context;
    (void)thread;
    params->out[r] = (struct mr_sampled){.id = params->ids[r]};
    if (params->ids[r] >= 0)
        mr_cpu_score_row(params->logits + (int64_t)r * params->vocabulary, params->vocabulary, params->n_top, &params->out[r]);
}

enum mr_status mr_cpu_score(struct mr_device *device, const struct mr_score_params *params)
{
    struct mr_score_params p = *params;
    if (p.rows < 0 || p.vocabulary < 1 || p.n_top < 0 || p.n_top > MR_LOGPROBS_MAX)
        return MR_ERR_UNSUPPORTED;
    if (device)
        mr_threads_run(device->threads, p.rows, score_item, &p);
    for (int32_t r = 0; !device && r < p.rows; r++)
        score_item(&p, r, 0);
    return MR_OK;
}
