/* What a calibration found, kept in a file for the next start of the same model, device and program. The file is a hint: one that
 * is missing, damaged, of another key or too old is as none, and one that cannot be written is no failure of a start. Any thread. */
#ifndef MR_WORKER_CALIBRATION_CACHE_H
#define MR_WORKER_CALIBRATION_CACHE_H

#include "worker/step_cost.h"

enum { MR_CALIBRATION_AGE_S = 24 * 3600, MR_CALIBRATION_KEY_BYTES = 512 };

/* The key: everything that the cost hangs on, in one line. false: it is longer, or the program's own file cannot be seen. */
struct mr_calibration_identity {
    const char *model;     /* its digest */
    const char *path;      /* kernel path */
    const char *weights;
    int64_t threads, block_tokens, kv_type, max_seqs, max_step_tokens, max_logits;
};
bool mr_calibration_key(const struct mr_calibration_identity *identity, char key[MR_CALIBRATION_KEY_BYTES]);

/* Ages count from now_s, seconds since 1970; a file from the future is too old as well. */
bool mr_calibration_cache_load(const char *folder, const char *key, int64_t now_s, struct mr_sched_cost *out);
/* The last level of the folder is made; the file is there whole or not at all. */
bool mr_calibration_cache_store(const char *folder, const char *key, int64_t now_s, const struct mr_sched_cost *cost);

#endif
