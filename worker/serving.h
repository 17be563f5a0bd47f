/* The model side of the process, as the options describe it: one bundle, admission to it, and the engine over it.
 * Opened before any thread; engine and bundle then belong to the engine thread, admit may be read by any. */
#ifndef MR_WORKER_SERVING_H
#define MR_WORKER_SERVING_H

#include "worker/admit.h"
#include "worker/options.h"

struct mr_serving {
    struct mr_bundle *bundle;
    struct mr_admit admit;
    struct mr_engine *engine;
    struct mr_engine_options engine_options;
};

/* On failure *out is empty and err says why. */
enum mr_status mr_serving_open(const struct mr_options *options, struct mr_serving *out, struct mr_err *err);
void mr_serving_close(struct mr_serving *serving);

#endif
