/* A growable byte buffer. It remembers a failed allocation, so that a writer checks once at its end. One thread. */
#ifndef MR_BASE_BUF_H
#define MR_BASE_BUF_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mr_buf {
    char *p;         /* n bytes used of capacity; owned; NULL while empty */
    size_t n;
    size_t capacity;
    bool failed;     /* an allocation failed: the content is a prefix of what was meant */
};

void mr_buf_fini(struct mr_buf *buf);
/* Forgets the content, keeps the memory. */
static inline void mr_buf_clear(struct mr_buf *buf) { buf->n = 0, buf->failed = false; }
/* Room for more bytes behind n; false (and failed set) when it cannot be had. */
bool mr_buf_reserve(struct mr_buf *buf, size_t more);
void mr_buf_add(struct mr_buf *buf, const void *bytes, size_t n);
static inline void mr_buf_add_str(struct mr_buf *buf, struct mr_str s) { mr_buf_add(buf, s.p, s.n); }
static inline void mr_buf_add_char(struct mr_buf *buf, char c) { mr_buf_add(buf, &c, 1); }
void mr_buf_addf(struct mr_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline struct mr_str mr_buf_view(const struct mr_buf *buf) { return (struct mr_str){buf->p, buf->n}; }

#endif
