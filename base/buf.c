#include "base/buf.h"

#include "base/starved.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void mr_buf_fini(struct mr_buf *buf)
{
    free(buf->p);
    *buf = (struct mr_buf){0};
}

bool mr_buf_reserve(struct mr_buf *buf, size_t more)
{
    if (more <= buf->capacity - buf->n)
        return true;
    size_t capacity = buf->capacity ? buf->capacity : 64;
    while (capacity - buf->n < more && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    char *p = capacity - buf->n < more ? NULL : realloc(buf->p, capacity);
    if (!p) {
        mr_starved_add();
        buf->failed = true;
        return false;
    }
    buf->p = p;
    buf->capacity = capacity;
    return true;
}

void mr_buf_add(struct mr_buf *buf, const void *bytes, size_t n)
{
    if (n == 0 || buf->failed || !mr_buf_reserve(buf, n))
        return;
    memcpy(buf->p + buf->n, bytes, n);
    buf->n += n;
}

void mr_buf_addf(struct mr_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n > 0 && !buf->failed && mr_buf_reserve(buf, (size_t)n + 1)) {
        vsnprintf(buf->p + buf->n, (size_t)n + 1, format, again);
        buf->n += (size_t)n;
    }
    va_end(again);
}
