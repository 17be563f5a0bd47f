/* Times real steps on the device that is there: forward pass, sampling and the wait for both, for shapes of steps that a worker meets.
 * Before any job: it writes blocks of the cache at will. Engine thread, or before it. */
#ifndef MR_WORKER_CALIBRATION_H
#define MR_WORKER_CALIBRATION_H

#include "worker/bundle.h"
#include "worker/step_cost.h"

/* One step: `decodes` sequences of `context` known tokens each, and, chunk > 0, a prompt's next `chunk` tokens behind `past`. */
struct mr_step_shape {
    int32_t decodes, context, chunk, past;
};

struct mr_calibration_options {
    int32_t max_seqs, max_step_tokens, max_logits; /* the engine's: no shape is larger */
    int64_t limit_ns;                              /* about so long in all; up to three times as long for the least that a fit needs */
};

/* The shapes of a start: from one decode to the largest chunk, each once a round, MR_CALIBRATION_ROUNDS rounds or until the limit.
 * Fills samples [MR_CALIBRATION_SAMPLES_MAX]. */
enum { MR_CALIBRATION_ROUNDS = 4, MR_CALIBRATION_SAMPLES_MAX = 128 };
enum mr_status mr_calibration_grid(struct mr_bundle *bundle, const struct mr_calibration_options *options, struct mr_step_sample *samples,
                                   int32_t *n, struct mr_err *err);
/* n steps of random shapes, the same for the same seed: sizes are uniform in their logarithm. Fewer when the limit is reached. */
enum mr_status mr_calibration_random(struct mr_bundle *bundle, const struct mr_calibration_options *options, uint64_t seed,
                                     struct mr_step_sample *samples, int32_t *n, struct mr_err *err);

#endif
