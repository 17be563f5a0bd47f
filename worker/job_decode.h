/* An input record to a job, or to the reason why it is none. One table (job_field.h) says which fields there are. */
#ifndef MR_WORKER_JOB_DECODE_H
#define MR_WORKER_JOB_DECODE_H

#include "worker/job.h"
#include "worker/route.h"

enum { MR_JOB_ARENA_BYTES_MAX = 128 << 20 }; /* memory that one job may take, decoded */

struct mr_job_source {
    const struct mr_record *record; /* as it came; timestamp and position included */
    const struct mr_route *route;
    bool lenient;                   /* unknown fields are ignored */
    size_t max_record_bytes;        /* options limits.record_bytes */
    int64_t max_deadline_ms;        /* options limits.deadline_ms */
};

/* MR_REASON_NONE: *out is a valid job. Otherwise *refusal says why, and *out is still a job of which encoding, id, tenant,
 * name, tier, body_hash, custom_id and echoed hold (an id or tenant that was itself refused is replaced by the default): what
 * a terminal record needs. *out NULL: no memory (reason internal). The caller frees *out. Nothing points into the record. */
enum mr_reason mr_job_decode(const struct mr_job_source *source, struct mr_job **out, struct mr_refusal *refusal);

/* [A-Za-z0-9._:~-]{1,120} with no trailing ~r<digits>, unless redriven (then that suffix may come on top). */
bool mr_job_id_valid(struct mr_str id, bool redriven);

#endif
