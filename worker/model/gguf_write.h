/* A made-up model as a GGUF file (version 3), so that loading can be measured and shown with no download: the file opens as any other.
 * Its vocabulary is synthetic: a token a byte, three control tokens, and names for the rest; it has no merges and no chat template. */
#ifndef MR_WORKER_MODEL_GGUF_WRITE_H
#define MR_WORKER_MODEL_GGUF_WRITE_H

#include "worker/model/synthetic.h"

/* bf16: matrices in BF16, each value rounded to nearest; else as the model has them. MR_ERR_IO: the file could not be written whole;
 * what was written is removed. MR_ERR_INVALID: the file exists, or the vocabulary has no room for bytes and control tokens. */
enum mr_status mr_gguf_write(const char *path, const struct mr_synthetic *model, bool bf16, struct mr_err *err);

#endif
