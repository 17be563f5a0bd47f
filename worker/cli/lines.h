/* Lines of a file or of standard input, read as they come: an engine that is busy is never kept waiting for a slow writer.
 * Owns its buffer; one thread. */
#ifndef MR_WORKER_CLI_LINES_H
#define MR_WORKER_CLI_LINES_H

#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum mr_lines_next { MR_LINES_LINE, MR_LINES_LATER /* none within the timeout */, MR_LINES_END, MR_LINES_FAILED };

struct mr_lines {
    int fd;
    char *buffer;         /* [capacity]; bytes [from, to) are read and not yet given */
    size_t capacity, from, to;
    size_t max_bytes;     /* of a line; a longer one is given cut to max_bytes + 1, so that a reader sees that it is too long */
    bool skipping, ended; /* dropping the rest of a line that is too long; no more bytes come */
    int64_t number;       /* of the last line given, from 1 */
};

/* path "-" or NULL: standard input. */
enum mr_status mr_lines_open(struct mr_lines *lines, const char *path, size_t max_bytes, struct mr_err *err);
void mr_lines_close(struct mr_lines *lines);
/* The next line without its end ("\n" or "\r\n"); a view until the next call. timeout_ms -1: waits. */
enum mr_lines_next mr_lines_next(struct mr_lines *lines, int timeout_ms, struct mr_str *line);

#endif
