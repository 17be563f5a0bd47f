#include "worker/origin.h"

#include "worker/encoding.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

size_t mr_origin_write(const struct mr_origin *origin, char out[MR_ORIGIN_TEXT_BYTES])
{
    int n = snprintf(out, MR_ORIGIN_TEXT_BYTES, "%s/%" PRId32 "/%" PRId64 "/%" PRId64 "/%s/%s", origin->topic, origin->partition, origin->offset,
                     origin->timestamp_ms, mr_tier_name(origin->tier), origin->job);
    return n > 0 && n < MR_ORIGIN_TEXT_BYTES ? (size_t)n : 0;
}

/* Cuts the part before the next slash off text. */
static struct mr_str cut(struct mr_str *text)
{
    const char *slash = text->n ? memchr(text->p, '/', text->n) : NULL;
    struct mr_str part = {text->p, slash ? (size_t)(slash - text->p) : text->n};
    size_t gone = part.n + (slash != NULL);
    text->p += gone;
    text->n -= gone;
    return part;
}

static bool cut_number(struct mr_str *text, int64_t most, int64_t *out)
{
    struct mr_str part = cut(text);
    char copy[24] = {0}, *end;
    if (part.n == 0 || part.n >= sizeof copy || part.p[0] < '0' || part.p[0] > '9')
        return false;
    memcpy(copy, part.p, part.n);
    *out = strtoll(copy, &end, 10);
    return *end == 0 && *out >= 0 && *out <= most;
}

bool mr_origin_read(const struct mr_record *record, struct mr_origin *out)
{
    struct mr_str text = mr_record_header(record, MR_ORIGIN_HEADER);
    int64_t partition;
    *out = (struct mr_origin){0};
    if (text.n == 0)
        return false;
    struct mr_str topic = cut(&text);
    if (!mr_topic_valid(topic) || !cut_number(&text, INT32_MAX, &partition) || !cut_number(&text, INT64_MAX - 1, &out->offset)
        || !cut_number(&text, INT64_MAX - 1, &out->timestamp_ms) || !mr_tier_from_name(cut(&text), &out->tier))
        return false;
    if (text.n == 0 || text.n > MR_ORIGIN_JOB_BYTES_MAX || !memchr(text.p, '/', text.n))
        return false;
    memcpy(out->topic, topic.p, topic.n);
    memcpy(out->job, text.p, text.n);
    out->partition = (int32_t)partition;
    return true;
}
