/* One line of an OpenAI Batch input file: {custom_id, method, url, body}. */
#ifndef MR_WORKER_BATCH_LINE_H
#define MR_WORKER_BATCH_LINE_H

#include "worker/job.h"

enum { MR_CUSTOM_ID_BYTES_MAX = 256 };

struct mr_batch_line {
    struct mr_str custom_id;
    enum mr_job_kind kind;          /* from the url */
    const struct mr_value *body;    /* the request */
};

/* A map with custom_id or with url and body is meant as a line. */
bool mr_batch_line_is(const struct mr_value *value);
/* Views into value. On refusal custom_id holds if it could be read, and kind and body do not. */
enum mr_reason mr_batch_line_read(const struct mr_value *value, struct mr_batch_line *out, struct mr_refusal *refusal);

#endif
