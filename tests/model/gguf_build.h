/* Builds GGUF bytes for tests: rightly or, with the raw writers, as an attacker would. */
#ifndef MR_TESTS_MODEL_GGUF_BUILD_H
#define MR_TESTS_MODEL_GGUF_BUILD_H

#include "base/buf.h"

#include <stdint.h>

static inline void build_u32(struct mr_buf *b, uint32_t x) { mr_buf_add(b, &x, sizeof x); }
static inline void build_u64(struct mr_buf *b, uint64_t x) { mr_buf_add(b, &x, sizeof x); }

static inline void build_str(struct mr_buf *b, const char *s)
{
    build_u64(b, strlen(s));
    mr_buf_add(b, s, strlen(s));
}

static inline void build_header(struct mr_buf *b, uint64_t n_tensors, uint64_t n_keys)
{
    mr_buf_add(b, "GGUF", 4);
    build_u32(b, 3);
    build_u64(b, n_tensors);
    build_u64(b, n_keys);
}

/* Starts a key; its value follows. */
static inline void build_key(struct mr_buf *b, const char *name, uint32_t type)
{
    build_str(b, name);
    build_u32(b, type);
}

static inline void build_key_u32(struct mr_buf *b, const char *name, uint32_t value)
{
    build_key(b, name, 4);
    build_u32(b, value);
}

static inline void build_key_f32(struct mr_buf *b, const char *name, float value)
{
    build_key(b, name, 6);
    mr_buf_add(b, &value, sizeof value);
}

static inline void build_key_str(struct mr_buf *b, const char *name, const char *value)
{
    build_key(b, name, 8);
    build_str(b, value);
}

/* Starts an array; its elements follow. */
static inline void build_key_array(struct mr_buf *b, const char *name, uint32_t type, uint64_t count)
{
    build_key(b, name, 9);
    build_u32(b, type);
    build_u64(b, count);
}

static inline void build_tensor(struct mr_buf *b, const char *name, uint64_t columns, uint64_t rows, uint32_t type, uint64_t offset)
{
    build_str(b, name);
    build_u32(b, rows ? 2 : 1);
    build_u64(b, columns);
    if (rows)
        build_u64(b, rows);
    build_u32(b, type);
    build_u64(b, offset);
}

static inline void build_pad(struct mr_buf *b, size_t alignment)
{
    while (b->n % alignment)
        mr_buf_add_char(b, 0);
}

static inline void build_zeros(struct mr_buf *b, size_t n)
{
    while (n--)
        mr_buf_add_char(b, 0);
}

#endif
