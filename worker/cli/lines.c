#include "worker/cli/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES_READ_BYTES = 1 << 16 };

enum mr_status mr_lines_open(struct mr_lines *lines, const char *path, size_t max_bytes, struct mr_err *err)
{
    bool standard = !path || strcmp(path, "-") == 0;
    *lines = (struct mr_lines){.fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), .max_bytes = max_bytes};
    if (lines->fd < 0)
        return mr_err_set(err, MR_ERR_IO, "%s cannot be opened: %s", path, strerror(errno));
    lines->capacity = max_bytes + 2 + LINES_READ_BYTES;
    lines->buffer = malloc(lines->capacity);
    if (!lines->buffer) {
        mr_lines_close(lines);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for lines of %zu bytes", max_bytes);
    }
    return MR_OK;
}

void mr_lines_close(struct mr_lines *lines)
{
    if (lines->fd > STDIN_FILENO)
        close(lines->fd);
    free(lines->buffer);
    *lines = (struct mr_lines){.fd = -1};
}

/* Takes a whole line, or one that is too long or not ended, out of the buffer. */
static bool lines_take(struct mr_lines *lines, struct mr_str *line)
{
    while (lines->from < lines->to || (lines->ended && lines->skipping)) {
        char *start = lines->buffer + lines->from;
        size_t n = lines->to - lines->from;
        char *newline = n ? memchr(start, '\n', n) : NULL;
        bool whole = newline || lines->ended;
        size_t length = newline ? (size_t)(newline - start) : n;
        if (lines->skipping) {
            lines->skipping = !whole;
            lines->from += length + (newline != NULL);
            if (!newline)
                return false;
            continue;
        }
        bool too_long = length > lines->max_bytes + 1; /* one more: a '\r' */
        if (!whole && !too_long)
            return false;
        lines->skipping = too_long && !whole;
        lines->from += length + (newline != NULL);
        if (length > 0 && start[length - 1] == '\r' && whole)
            length--;
        *line = (struct mr_str){start, length > lines->max_bytes ? lines->max_bytes + 1 : length};
        lines->number++;
        return true;
    }
    return false;
}

enum mr_lines_next mr_lines_next(struct mr_lines *lines, int timeout_ms, struct mr_str *line)
{
    for (;;) {
        if (lines_take(lines, line))
            return MR_LINES_LINE;
        if (lines->ended)
            return MR_LINES_END;
        memmove(lines->buffer, lines->buffer + lines->from, lines->to - lines->from);
        lines->to -= lines->from;
        lines->from = 0;
        struct pollfd ready = {.fd = lines->fd, .events = POLLIN};
        int n = poll(&ready, 1, timeout_ms);
        if (n == 0)
            return MR_LINES_LATER;
        ssize_t got = n < 0 ? -1 : read(lines->fd, lines->buffer + lines->to, lines->capacity - lines->to);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return MR_LINES_FAILED;
        lines->ended = got == 0;
        lines->to += (size_t)got;
    }
}
