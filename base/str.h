/* A view of bytes: a pointer and a length, not owned, not terminated. */
#ifndef MR_BASE_STR_H
#define MR_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct mr_str {
    const char *p; /* n bytes, may hold NUL; NULL only when n is 0 */
    size_t n;
};

#define MR_STR(literal) ((struct mr_str){(literal), sizeof(literal) - 1})

static inline struct mr_str mr_str_from(const char *terminated) { return (struct mr_str){terminated, strlen(terminated)}; }

static inline bool mr_str_equal(struct mr_str a, struct mr_str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }

static inline bool mr_str_is(struct mr_str a, const char *terminated) { return mr_str_equal(a, mr_str_from(terminated)); }

#endif
