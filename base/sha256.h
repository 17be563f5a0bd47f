/* SHA-256 (FIPS 180-4): digests of models, tokenizers and job bodies. */
#ifndef MR_BASE_SHA256_H
#define MR_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct mr_sha256 {
    uint32_t state[8];
    uint64_t total_bytes;
    unsigned char block[64]; /* total_bytes % 64 bytes wait here */
};

void mr_sha256_init(struct mr_sha256 *sha);
void mr_sha256_add(struct mr_sha256 *sha, const void *bytes, size_t n);
void mr_sha256_finish(struct mr_sha256 *sha, unsigned char digest[32]);
/* Writes 2 n lower-case hex digits and a NUL. */
void mr_hex(const unsigned char *bytes, size_t n, char *out);

#endif
