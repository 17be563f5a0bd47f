/* Where a parked job lay first: header `mr-origin` of its record (delivery.md, The owner's protocol 10). It is believed on a
 * parked topic only, which nobody but workers may write. Text: topic/partition/offset/timestamp/tier/tenant/id. Pure. */
#ifndef MR_WORKER_ORIGIN_H
#define MR_WORKER_ORIGIN_H

#include "worker/job.h"
#include "worker/port.h"
#include "worker/route.h"

#define MR_ORIGIN_HEADER "mr-origin"

enum {
    MR_ORIGIN_JOB_BYTES_MAX = MR_TENANT_BYTES_MAX + 1 + MR_TOPIC_BYTES_MAX + 40, /* an id that was made from the position is the longest */
    MR_ORIGIN_TEXT_BYTES = MR_TOPIC_BYTES_MAX + MR_ORIGIN_JOB_BYTES_MAX + 80,
};

struct mr_origin {
    char topic[MR_TOPIC_BYTES_MAX + 1];
    int32_t partition;
    int64_t offset, timestamp_ms;
    enum mr_tier tier;
    char job[MR_ORIGIN_JOB_BYTES_MAX + 1]; /* tenant/id */
};

/* The header's text, terminated; returns its length, 0: the job's name is too long for it. */
size_t mr_origin_write(const struct mr_origin *origin, char out[MR_ORIGIN_TEXT_BYTES]);
/* false: no such header, or it cannot be read. */
bool mr_origin_read(const struct mr_record *record, struct mr_origin *out);

#endif
