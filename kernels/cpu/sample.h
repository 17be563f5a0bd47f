/* Sampling on the CPU: the oracle of kernels/sampling.h. Engine thread, or any threads on disjoint rows. */
#ifndef MR_KERNELS_CPU_SAMPLE_H
#define MR_KERNELS_CPU_SAMPLE_H

#include "kernels/ops.h"

/* One row of logits to one token. scratch: [vocabulary] floats, needed (and overwritten) only when mr_sample_row_edits(row). */
void mr_cpu_sample_row(const float *logits, int32_t vocabulary, const struct mr_sample_row *row, float *scratch, struct mr_sampled *out);
/* Whether the row's logits are changed before the draw: bias, penalties or a mask. */
bool mr_sample_row_edits(const struct mr_sample_row *row);

/* Every row of params, split over the device's threads (NULL: the caller's alone). MR_ERR_UNSUPPORTED: a row edits its logits and
 * params->scratch is NULL. */
enum mr_status mr_cpu_sample(struct mr_device *device, const struct mr_sample_params *params);

#endif
