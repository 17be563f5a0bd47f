/* What the tests of job decoding share: one route, one record, one call. */
#ifndef MR_TESTS_JOB_SAMPLE_H
#define MR_TESTS_JOB_SAMPLE_H

#include "tests/test.h"

#include "worker/job_decode.h"

#include <stdlib.h>

static const char *const sample_models[] = {"m1", "m2"};
static const char *const sample_replies[] = {"replies.a"};
__attribute__((unused)) static struct mr_route sample_open = {.name = "open", .jobs = "jobs", .tier = MR_TIER_BULK, .tenant_from_field = true, .tenant = "default"};
__attribute__((unused)) static struct mr_route sample_closed = {.name = "closed", .jobs = "jobs", .tier = MR_TIER_REALTIME, .tenant = "acme",
    .models = sample_models, .n_models = 2, .reply_topics = sample_replies, .n_reply_topics = 1};

struct sample {
    struct mr_route *route; /* NULL: open */
    const struct mr_header *headers;
    int n_headers;
    bool lenient;
    struct mr_job *job;     /* of the last decoding */
    struct mr_refusal refusal;
};

__attribute__((unused)) static enum mr_reason sample_decode(struct sample *s, struct mr_str value)
{
    struct mr_record record = {.topic = MR_STR("jobs"), .partition = 2, .offset = 34, .timestamp_ms = 1700000000000, .value = value,
                               .headers = s->headers, .n_headers = s->n_headers};
    struct mr_job_source source = {&record, s->route ? s->route : &sample_open, s->lenient, 1 << 20, 1000};
    mr_job_free(s->job);
    return mr_job_decode(&source, &s->job, &s->refusal);
}

/* Decodes JSON and expects this reason (by name) and field. */
__attribute__((unused)) static void sample_expect(struct sample *s, const char *json, const char *reason, const char *field)
{
    enum mr_reason got = sample_decode(s, mr_str_from(json));
    if (strcmp(mr_reason_name(got), reason) != 0 || strcmp(s->refusal.field, field) != 0)
        printf("for %.100s (%s):\n", json, s->refusal.message);
    EXPECT_STR(mr_reason_name(got), reason);
    EXPECT_STR(s->refusal.field, field);
    EXPECT(got == MR_REASON_NONE || s->refusal.message[0]);
    EXPECT(s->job && s->job->name.n && s->job->tenant.n && strlen(s->job->body_hash) == 64);
}

#endif
