/* A file of jobs (a JSON job or an OpenAI Batch line a line), as `submit` sends it and `collect` looks for it again: both
 * derive the same names from the same bytes. One thread. */
#ifndef MR_WORKER_CLI_INPUT_FILE_H
#define MR_WORKER_CLI_INPUT_FILE_H

#include "base/arena.h"
#include "base/status.h"
#include "worker/options.h"
#include "worker/port.h"

enum { MR_INPUT_BYTES_MAX = 1 << 30, MR_INPUT_JOBS_MAX = 1 << 20, MR_BATCH_ID_BYTES_MAX = 60 };

struct mr_input_job {
    struct mr_str line;           /* view of the file's bytes */
    int64_t number;               /* of the line, from 1 */
    struct mr_header headers[2];  /* content-type; batch-id for a batch line, idempotency-key for a job without an id */
    int32_t n_headers;
    struct mr_str name;           /* tenant/id; empty: it depends on where the record will lie (its id is refused) */
    bool batch_line;
    struct mr_str custom_id;
};

struct mr_input_file {
    struct mr_arena arena;
    char *bytes;                  /* owned */
    size_t n_bytes;
    struct mr_input_job *jobs;    /* [n]; blank lines are left out */
    size_t n;
    char batch[MR_BATCH_ID_BYTES_MAX + 1];
};

/* path "-": standard input. batch NULL: the first 16 hex digits of the content's SHA-256, so that sending a file twice runs no
 * job twice. Every job of the file goes to route. */
enum mr_status mr_input_file_open(struct mr_input_file *file, const char *path, const char *batch, const struct mr_options *options,
                                  const struct mr_route *route, struct mr_err *err);
void mr_input_file_close(struct mr_input_file *file);

#endif
