#include "worker/model/model_digest.h"

#include "base/sha256.h"

#include <stdio.h>

static void number_add(struct mr_sha256 *sha, uint64_t x)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(x >> (8 * i));
    mr_sha256_add(sha, bytes, sizeof bytes);
}

static void finish(struct mr_sha256 *sha, char out[65])
{
    unsigned char digest[32];
    mr_sha256_finish(sha, digest);
    mr_hex(digest, sizeof digest, out);
}

void mr_model_digest_gguf(const struct mr_gguf *gguf, size_t whole_max_bytes, char out[65])
{
    struct mr_sha256 sha;
    mr_sha256_init(&sha);
    number_add(&sha, gguf->size);
    mr_sha256_add(&sha, gguf->bytes, gguf->data_offset);
    for (size_t t = 0; t < gguf->n_tensors; t++) {
        const unsigned char *data = gguf->tensors[t].data;
        size_t bytes = gguf->tensors[t].bytes, spread = bytes - MR_DIGEST_PIECE_BYTES;
        if (gguf->size <= whole_max_bytes || bytes <= (size_t)MR_DIGEST_PIECES * MR_DIGEST_PIECE_BYTES) {
            mr_sha256_add(&sha, data, bytes);
            continue;
        }
        for (size_t i = 0; i < MR_DIGEST_PIECES; i++)
            mr_sha256_add(&sha, data + spread / (MR_DIGEST_PIECES - 1) * i + (i == MR_DIGEST_PIECES - 1 ? spread % (MR_DIGEST_PIECES - 1) : 0),
                          MR_DIGEST_PIECE_BYTES);
    }
    finish(&sha, out);
}

void mr_model_digest_synthetic(const char *name, uint64_t seed, char out[65])
{
    struct mr_sha256 sha;
    char text[128];
    mr_sha256_init(&sha);
    mr_sha256_add(&sha, text, (size_t)snprintf(text, sizeof text, "synthetic:%.60s seed %llu", name, (unsigned long long)seed));
    finish(&sha, out);
}
