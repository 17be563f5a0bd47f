/* What makes two models the same: SHA-256, as 64 hex digits.
 *
 * Of a file: its metadata and tensor table whole (every byte before the first tensor), its size, then each tensor's bytes in the
 * file's order. Of a file over 1 GiB, of a tensor over 64 KiB, only 16 pieces of 4 KiB at even distances, the first and the last among them: a
 * changed file is then found unless the change misses every piece (a retrained model changes nearly every byte).
 * Of a synthetic model: its name and seed. */
#ifndef MR_WORKER_MODEL_MODEL_DIGEST_H
#define MR_WORKER_MODEL_MODEL_DIGEST_H

#include "worker/model/format_gguf.h"

#define MR_DIGEST_WHOLE_BYTES_MAX ((size_t)1 << 30)
enum { MR_DIGEST_PIECES = 16, MR_DIGEST_PIECE_BYTES = 4096 };

/* whole_max_bytes: MR_DIGEST_WHOLE_BYTES_MAX (tests take less). */
void mr_model_digest_gguf(const struct mr_gguf *gguf, size_t whole_max_bytes, char out[65]);
void mr_model_digest_synthetic(const char *name, uint64_t seed, char out[65]);

#endif
