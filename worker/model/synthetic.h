/* Models of real shapes with random weights, made in memory from a seed: speed, faults and scale with no download.
 * The same name and seed give the same bits everywhere. */
#ifndef MR_WORKER_MODEL_SYNTHETIC_H
#define MR_WORKER_MODEL_SYNTHETIC_H

#include "worker/model/model.h"
#include "worker/model/tensor.h"

/* What ids of a made-up vocabulary mean: a token a byte, then <|endoftext|>, <|im_start|> and <|im_end|>, which ends a text. */
enum { MR_SYNTHETIC_EOS = 258 };

struct mr_synthetic {
    struct mr_shape shape;
    struct mr_tensor_table table; /* GGUF's names, as for a file of shape.family */
    struct mr_tensor *tensors;    /* owned, as all below */
    char (*names)[48];
    void *memory;
    size_t bytes;
};

/* name: "tiny", "llama-3.1-8b", ... (what follows "synthetic:"). MR_ERR_NOT_FOUND lists the names. */
enum mr_status mr_synthetic_shape(const char *name, struct mr_shape *out, struct mr_err *err);
/* Weights are uniform, of variance 1 / columns (an output of unit size for a normed input), the head's 6 times that variance;
 * float32 in tiny, Q8_0 in the others. MR_ERR_NOMEM: the machine has no room. */
enum mr_status mr_synthetic_open(const char *name, uint64_t seed, struct mr_synthetic **out, struct mr_err *err);
/* The same model for a device that makes its values itself: Q8_0 tensors have no data, only `random`, and take no memory. */
enum mr_status mr_synthetic_open_bare(const char *name, uint64_t seed, struct mr_synthetic **out, struct mr_err *err);
void mr_synthetic_close(struct mr_synthetic *synthetic); /* NULL is fine */

#endif
