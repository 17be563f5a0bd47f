/* A record to a job.
 *
 * Any thread. One arena a job: the decoded tree lies in it, and the job's views point into that tree.
 * 1 The name comes first. Whatever is wrong with a record, its job has an encoding, a tenant, an id and a body hash, because a
 *   refusal is a terminal record under that name; what was itself refused is replaced by the default.
 * 2 Tenant, tier and allowed topics come from the route, which the broker's access lists guard; of the headers only
 *   idempotency-key, batch-id, redrive-of and the echoed three are looked at.
 * 3 The same bytes always give the same job, default seed included.
 * Rejected: decoding into the job while parsing (two encodings would mean two decoders of the same thirty fields). */
#include "worker/job_decode.h"

#include "base/check.h"
#include "base/sha256.h"
#include "worker/batch_line.h"
#include "worker/job_field.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* What decoding carries along. */
struct decoding {
    struct mr_field_reader reader; /* job, source, refusal */
    struct mr_value tree;          /* the whole value */
    const struct mr_value *body;   /* the request in it */
    struct mr_batch_line line;     /* of a batch line */
    enum mr_reason reason;         /* the first thing that is wrong, told in reader.refusal */
    struct mr_refusal scratch;     /* what a step writes before note decides */
};

bool mr_job_id_valid(struct mr_str id, bool redriven)
{
    size_t digits = 0;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == 0 || !strchr("._:~-", c)))
            return false;
    }
    while (digits < id.n && id.p[id.n - 1 - digits] >= '0' && id.p[id.n - 1 - digits] <= '9')
        digits++;
    bool suffixed = digits && id.n >= digits + 2 && id.p[id.n - digits - 1] == 'r' && id.p[id.n - digits - 2] == '~';
    if (suffixed && redriven)
        return id.n > digits + 2 && digits + 2 <= MR_REDRIVE_BYTES_MAX && id.n <= MR_JOB_ID_BYTES_MAX + MR_REDRIVE_BYTES_MAX;
    return !suffixed && id.n >= 1 && id.n <= MR_JOB_ID_BYTES_MAX;
}

/* Keeps the first refusal; the step wrote it to scratch. */
static void note(struct decoding *d, enum mr_reason reason)
{
    if (d->reason || !reason)
        return;
    d->reason = reason;
    *d->reader.refusal = d->scratch;
}

static struct mr_str keep(struct decoding *d, struct mr_str s) { return mr_arena_str(&d->reader.job->arena, s); }

static struct mr_str print(struct decoding *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static struct mr_str print(struct decoding *d, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    CHECK(n >= 0 && n < (int)sizeof text);
    return keep(d, (struct mr_str){text, (size_t)n});
}

static bool echoable(struct mr_str value)
{
    if (value.n > MR_ECHO_BYTES_MAX || !mr_codec_utf8_valid(value))
        return false;
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
            return false;
    return true;
}

static void take_echoed(struct decoding *d)
{
    static const char *const names[MR_JOB_ECHO_MAX] = {"traceparent", "tracestate", "correlation-id"};
    struct mr_job *job = d->reader.job;
    struct mr_header *echoed = mr_arena_array(&job->arena, MR_JOB_ECHO_MAX, sizeof *echoed);
    for (int i = 0; echoed && i < MR_JOB_ECHO_MAX; i++) {
        struct mr_str value = mr_record_header(d->reader.source->record, names[i]);
        if (value.p && echoable(value))
            echoed[job->n_echoed++] = (struct mr_header){mr_str_from(names[i]), keep(d, value)};
    }
    job->echoed = echoed;
}

static enum mr_reason fault_reason(enum mr_codec_fault fault)
{
    switch (fault) {
    case MR_CODEC_UTF8: return MR_REASON_INVALID_UTF8;
    case MR_CODEC_DEPTH: return MR_REASON_TOO_DEEP;
    case MR_CODEC_SIZE: return MR_REASON_TOO_LARGE;
    default: return MR_REASON_INVALID_ENCODING;
    }
}

/* Bytes to the tree. The body stays NULL when there is none to look at. */
static void take_tree(struct decoding *d)
{
    const struct mr_job_source *source = d->reader.source;
    const struct mr_record *record = source->record;
    struct mr_refusal *refusal = &d->scratch;
    struct mr_err err;
    bool known = mr_encoding_of(record, &d->reader.job->encoding);
    if (!known) {
        note(d, mr_refuse(refusal, MR_REASON_INVALID_ENCODING, "content-type", "content-type must be application/json or application/msgpack"));
        return;
    }
    if (!record->value.p) {
        note(d, mr_refuse(refusal, MR_REASON_INVALID_ENCODING, "", "the record has no value"));
        return;
    }
    if (record->value.n > source->max_record_bytes) {
        note(d, mr_refuse(refusal, MR_REASON_TOO_LARGE, "", "the record has %zu bytes, more than %zu", record->value.n, source->max_record_bytes));
        return;
    }
    struct mr_codec_limits limits = {MR_CODEC_BYTES_MAX, MR_CODEC_NODES_MAX, MR_CODEC_DEPTH_MAX};
    enum mr_codec_fault fault = mr_encoding_codec(d->reader.job->encoding)->decode(record->value, &limits, &d->reader.job->arena, &d->tree, &err);
    if (fault) {
        note(d, mr_refuse(refusal, fault_reason(fault), "", "%s", err.text));
        mr_arena_fini(&d->reader.job->arena); /* a tree that did not fit leaves no room for the name */
    } else if (d->tree.kind != MR_MAP)
        note(d, mr_refuse(refusal, MR_REASON_INVALID_ENCODING, "", "the record is %s, not an object", mr_value_kind_name(d->tree.kind)));
    else
        d->body = &d->tree;
}

static void hash(const void *bytes, size_t n, char out[65])
{
    struct mr_sha256 sha;
    unsigned char digest[32];
    mr_sha256_init(&sha);
    mr_sha256_add(&sha, bytes, n);
    mr_sha256_finish(&sha, digest);
    mr_hex(digest, sizeof digest, out);
}

/* Over the canonical form of the whole value without its id: the same job in the other encoding, or redriven, is the same body. */
static bool take_hash(struct decoding *d)
{
    struct mr_str raw = d->reader.source->record->value;
    if (!d->body) {
        hash(raw.p, raw.n, d->reader.job->body_hash);
        return true;
    }
    struct mr_value copy = mr_value_map(&d->reader.job->arena, d->tree.as.map.n);
    struct mr_buf text = {0};
    for (size_t i = 0; copy.kind == MR_MAP && i < d->tree.as.map.n; i++)
        if (!mr_str_is(d->tree.as.map.items[i].key, "id"))
            copy.as.map.items[copy.as.map.n++] = d->tree.as.map.items[i];
    mr_codec_canonical(&copy, &text);
    bool done = copy.kind == MR_MAP && !text.failed;
    if (done)
        hash(text.p, text.n, d->reader.job->body_hash);
    mr_buf_fini(&text);
    return done;
}

/* The string under key, or {NULL, 0} when absent or null; another type is noted as a refusal. */
static struct mr_str identity(struct decoding *d, const char *key)
{
    const struct mr_value *value = d->body ? mr_value_get(d->body, key) : NULL;
    if (!value || value->kind == MR_NULL)
        return (struct mr_str){0};
    if (value->kind == MR_STRING)
        return value->as.string;
    note(d, mr_refuse(&d->scratch, MR_REASON_WRONG_TYPE, key, "%s must be a string, not %s", key, mr_value_kind_name(value->kind)));
    return (struct mr_str){0};
}

/* Three places may name the job: its field, a header, the batch line. They must agree. */
static void take_id(struct decoding *d)
{
    struct mr_job *job = d->reader.job;
    const struct mr_record *record = d->reader.source->record;
    bool redriven = mr_record_header(record, "redrive-of").p != NULL;
    struct mr_str batch = mr_record_header(record, "batch-id"), id = {0};
    struct mr_str given[3] = {identity(d, "id"), mr_record_header(record, "idempotency-key"), {0}};
    if (job->batch_line && batch.p && job->custom_id.n + batch.n + 2 < 512)
        given[2] = print(d, "%.*s.%.*s", (int)batch.n, batch.p, (int)job->custom_id.n, job->custom_id.p);
    for (int i = 0; i < 3; i++) {
        if (!given[i].p)
            continue;
        if (id.p && !mr_str_equal(id, given[i])) {
            note(d, mr_refuse(&d->scratch, MR_REASON_INVALID_ID, "id", "id, header idempotency-key and batch id name the job differently"));
            id.p = NULL;
            break;
        }
        id = given[i];
    }
    if (id.p && !mr_job_id_valid(id, redriven)) {
        note(d, mr_refuse(&d->scratch, MR_REASON_INVALID_ID, "id", "an id has 1 to %d characters of [A-Za-z0-9._:~-] and no ~r<digits> at its end",
                          MR_JOB_ID_BYTES_MAX));
        id.p = NULL;
    }
    int topic_bytes = (int)(record->topic.n < MR_TOPIC_BYTES_MAX ? record->topic.n : MR_TOPIC_BYTES_MAX);
    job->id = id.p ? keep(d, id) : print(d, "%.*s.%" PRId32 ".%" PRId64, topic_bytes, record->topic.p, record->partition, record->offset);
}

static void take_tenant(struct decoding *d)
{
    const struct mr_route *route = d->reader.source->route;
    struct mr_str tenant = identity(d, "tenant");
    if (tenant.p && !mr_tenant_valid(tenant)) {
        note(d, mr_refuse(&d->scratch, MR_REASON_OUT_OF_RANGE, "tenant", "a tenant has 1 to %d characters of [a-z0-9-]", MR_TENANT_BYTES_MAX));
        tenant.p = NULL;
    } else if (tenant.p && !route->tenant_from_field && !mr_str_is(tenant, route->tenant)) {
        note(d, mr_refuse(&d->scratch, MR_REASON_TENANT_NOT_ALLOWED, "tenant", "route %s does not let a job name its tenant", route->name));
        tenant.p = NULL;
    }
    d->reader.job->tenant = keep(d, tenant.p ? tenant : mr_str_from(route->tenant));
}

/* Request inside the line; kind from its url, or from what the body has. */
static void take_kind(struct decoding *d)
{
    struct mr_job *job = d->reader.job;
    if (!d->body)
        return;
    if (mr_batch_line_is(d->body)) {
        job->batch_line = true;
        enum mr_reason reason = mr_batch_line_read(d->body, &d->line, &d->scratch);
        note(d, reason);
        job->custom_id = d->line.custom_id;
        job->kind = d->line.kind;
        d->body = reason ? NULL : d->line.body;
    } else {
        job->kind = mr_value_get(d->body, "messages") ? MR_JOB_CHAT : MR_JOB_COMPLETION;
    }
}

static enum mr_reason take_fields(struct decoding *d)
{
    struct mr_refusal *refusal = d->reader.refusal;
    int kind = d->reader.job->kind == MR_JOB_CHAT ? MR_FIELD_CHAT : MR_FIELD_COMPLETION;
    for (size_t i = 0; i < d->body->as.map.n; i++) {
        const struct mr_pair *pair = &d->body->as.map.items[i];
        const struct mr_job_field *field = mr_job_field_find(pair->key);
        char shown[64];
        if (!field && d->reader.source->lenient)
            continue;
        mr_job_field_shown(pair->key, shown);
        if (!field)
            return mr_refuse(refusal, MR_REASON_UNKNOWN_FIELD, shown, "%s is no field of a job", shown);
        if (!(field->kinds & kind) && pair->value.kind != MR_NULL)
            return mr_refuse(refusal, MR_REASON_UNKNOWN_FIELD, shown, "%s is no field of a %s request", shown,
                             kind == MR_FIELD_CHAT ? "chat" : "completion");
        enum mr_reason reason = mr_job_field_read(&d->reader, field, &pair->value);
        if (reason)
            return reason;
    }
    return MR_REASON_NONE;
}

/* What no field can see alone. */
static enum mr_reason check_together(struct decoding *d)
{
    struct mr_job *job = d->reader.job;
    const struct mr_sampling *s = &job->sampling;
    struct mr_refusal *refusal = d->reader.refusal;
    const struct mr_value *logprobs = mr_value_get(d->body, "logprobs");
    const char *prompt = job->kind == MR_JOB_CHAT ? "messages" : "prompt";
    if (job->kind == MR_JOB_CHAT ? !job->messages : !job->prompt.p && !job->prompt_ids)
        return mr_refuse(refusal, MR_REASON_MISSING_FIELD, prompt, "%s is missing", prompt);
    if (s->max_tokens >= 0 && s->min_tokens > s->max_tokens)
        return mr_refuse(refusal, MR_REASON_OUT_OF_RANGE, "min_tokens", "min_tokens is greater than max_tokens");
    if (job->kind == MR_JOB_CHAT && s->n_logprobs >= 0 && !(logprobs && logprobs->kind == MR_BOOL && logprobs->as.boolean))
        return mr_refuse(refusal, MR_REASON_OUT_OF_RANGE, "top_logprobs", "top_logprobs needs logprobs = true");
    if (job->echo && s->n_logprobs >= 0)
        return mr_refuse(refusal, MR_REASON_UNSUPPORTED_FIELD, "echo", "echo together with logprobs is not implemented; prompt_logprobs is");
    return MR_REASON_NONE;
}

/* 53 bits, so that every JSON reader keeps it whole and may send it back. */
static uint64_t default_seed(const struct mr_job *job)
{
    struct mr_sha256 sha;
    unsigned char digest[32];
    uint64_t seed = 0;
    mr_sha256_init(&sha);
    mr_sha256_add(&sha, job->name.p, job->name.n);
    mr_sha256_add(&sha, "", 1);
    mr_sha256_add(&sha, job->body_hash, 64);
    mr_sha256_finish(&sha, digest);
    for (int i = 0; i < 8; i++)
        seed = seed << 8 | digest[i];
    return seed >> 11;
}

static struct mr_job *job_new(const struct mr_route *route)
{
    struct mr_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    mr_arena_init(&job->arena, MR_JOB_ARENA_BYTES_MAX);
    job->tier = route->tier;
    job->stream = true;
    job->sampling = (struct mr_sampling){
        .temperature = 1, .top_p = 1, .repetition_penalty = 1, .max_tokens = -1, .n_logprobs = -1, .n_prompt_logprobs = -1,
    };
    return job;
}

enum mr_reason mr_job_decode(const struct mr_job_source *source, struct mr_job **out, struct mr_refusal *refusal)
{
    struct mr_job *job = *out = job_new(source->route);
    struct decoding d = {.reader = {job, source, refusal}};
    *refusal = (struct mr_refusal){0};
    if (!job)
        return mr_refuse(refusal, MR_REASON_INTERNAL, "", "no memory for a job");
    take_tree(&d);
    take_echoed(&d);
    bool hashed = take_hash(&d);
    take_kind(&d);
    take_tenant(&d);
    take_id(&d);
    job->name = print(&d, "%.*s/%.*s", (int)job->tenant.n, job->tenant.p, (int)job->id.n, job->id.p);
    if (!hashed || !job->name.n || !job->tenant.n || !job->id.n) {
        mr_job_free(job);
        *out = NULL;
        return mr_refuse(refusal, MR_REASON_INTERNAL, "", "no memory for a job");
    }
    job->sampling.seed = default_seed(job);
    if (!d.reason)
        d.reason = take_fields(&d);
    if (!d.reason)
        d.reason = check_together(&d);
    return d.reason;
}
