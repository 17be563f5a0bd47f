/* Log probabilities of raw logits on the CPU: natural log softmax over the whole vocabulary, summed in double. */
#ifndef MR_KERNELS_CPU_SCORE_H
#define MR_KERNELS_CPU_SCORE_H

#include "kernels/ops.h"

/* out->logprob of out->id, which the caller has set, and the n_top likeliest, lowest id first on ties. */
void mr_cpu_score_row(const float *logits, int32_t vocabulary, int32_t n_top, struct mr_sampled *out);

/* A row of id -1 is not looked at: logprob 0, n_top 0. Rows are split over the device's threads; NULL: the caller's alone. */
enum mr_status mr_cpu_score(struct mr_device *device, const struct mr_score_params *params);

#endif
