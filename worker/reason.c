#include "worker/reason.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
    const char *type;
    const char *sentence;
} table[MR_REASON_COUNT] = {
    [MR_REASON_NONE] = {"none", 200, "", "Nothing is wrong."},
    [MR_REASON_INVALID_ENCODING] = {"invalid_encoding", 400, "invalid_request_error", "The record is neither one JSON nor one msgpack map."},
    [MR_REASON_INVALID_UTF8] = {"invalid_utf8", 400, "invalid_request_error", "A string of the record is not UTF-8."},
    [MR_REASON_TOO_DEEP] = {"too_deep", 400, "invalid_request_error", "The record is nested too deep."},
    [MR_REASON_TOO_LARGE] = {"too_large", 400, "invalid_request_error", "The record, or a part of it, is larger than allowed."},
    [MR_REASON_MISSING_FIELD] = {"missing_field", 400, "invalid_request_error", "A field that the job needs is not there."},
    [MR_REASON_WRONG_TYPE] = {"wrong_type", 400, "invalid_request_error", "A field has a value of the wrong type."},
    [MR_REASON_OUT_OF_RANGE] = {"out_of_range", 400, "invalid_request_error", "A field has a value outside its range."},
    [MR_REASON_UNKNOWN_FIELD] = {"unknown_field", 400, "invalid_request_error", "The job has a field that is not known."},
    [MR_REASON_UNSUPPORTED_FIELD] = {"unsupported_field", 400, "invalid_request_error", "This value of a known field is not implemented."},
    [MR_REASON_INVALID_ID] = {"invalid_id", 400, "invalid_request_error", "The job's id breaks the rules for ids."},
    [MR_REASON_EMPTY_PROMPT] = {"empty_prompt", 400, "invalid_request_error", "The prompt has no token."},
    [MR_REASON_PROMPT_TOO_LONG] = {"prompt_too_long", 400, "invalid_request_error", "The prompt is longer than the context or the limit."},
    [MR_REASON_INVALID_TOKEN] = {"invalid_token", 400, "invalid_request_error", "A token id is not in the vocabulary."},
    [MR_REASON_RESULT_TOO_LARGE] = {"result_too_large", 400, "invalid_request_error", "The result could be larger than a result record may be."},
    [MR_REASON_SCHEMA_INVALID] = {"schema_invalid", 400, "invalid_request_error", "The schema or grammar is not valid."},
    [MR_REASON_SCHEMA_UNSUPPORTED] = {"schema_unsupported", 400, "invalid_request_error", "The schema or grammar uses what is not implemented."},
    [MR_REASON_TEMPLATE_FAILED] = {"template_failed", 400, "invalid_request_error", "The model's chat template refuses the messages."},
    [MR_REASON_TENANT_NOT_ALLOWED] = {"tenant_not_allowed", 403, "permission_error", "This route does not let a job name that tenant."},
    [MR_REASON_REPLY_NOT_ALLOWED] = {"reply_not_allowed", 403, "permission_error", "This route does not allow that reply topic."},
    [MR_REASON_UNKNOWN_MODEL] = {"unknown_model", 404, "not_found_error", "No model of that name is served here."},
    [MR_REASON_DEADLINE_PASSED] = {"deadline_passed", 408, "timeout_error", "The job's deadline passed before it was done."},
    [MR_REASON_ID_CONFLICT] = {"id_conflict", 409, "conflict_error", "An earlier job has the same id and another body."},
    [MR_REASON_POISON] = {"poison", 422, "invalid_request_error", "Workers died again and again while they ran this job."},
    [MR_REASON_QUOTA] = {"quota", 429, "rate_limit_error", "The tenant's quota is used up for now."},
    [MR_REASON_OVERLOADED] = {"overloaded", 429, "rate_limit_error", "There is more work than the job's deadline allows to wait for."},
    [MR_REASON_CANCELLED] = {"cancelled", 499, "cancelled_error", "The job was cancelled."},
    [MR_REASON_INTERNAL] = {"internal", 500, "server_error", "The worker failed."},
    [MR_REASON_MODEL_CHANGED] = {"model_changed", 503, "server_error", "The run was begun with another model or tokenizer."},
    [MR_REASON_LOG_EXPIRED] = {"log_expired", 503, "server_error", "The log no longer holds what the run had become."},
    [MR_REASON_DEVICE_FAILED] = {"device_failed", 503, "server_error", "The device failed while it ran the job."},
};

const char *mr_reason_name(enum mr_reason reason)
{
    CHECK(reason < MR_REASON_COUNT);
    return table[reason].name;
}

enum mr_reason mr_reason_from_name(const char *name)
{
    for (int i = 1; i < MR_REASON_COUNT; i++)
        if (strcmp(table[i].name, name) == 0)
            return (enum mr_reason)i;
    return MR_REASON_NONE;
}

int mr_reason_status(enum mr_reason reason)
{
    CHECK(reason < MR_REASON_COUNT);
    return table[reason].status;
}

const char *mr_reason_openai_type(enum mr_reason reason)
{
    CHECK(reason < MR_REASON_COUNT);
    return table[reason].type;
}

const char *mr_reason_sentence(enum mr_reason reason)
{
    CHECK(reason < MR_REASON_COUNT);
    return table[reason].sentence;
}

/* A text that was cut to its buffer must not end in a part of a character: it goes into records, which are UTF-8. */
static void trim_cut(char *text, size_t size)
{
    size_t n = strlen(text), back = 1;
    if (n + 1 < size)
        return;
    while (back < 4 && back < n && ((unsigned char)text[n - back] & 0xc0) == 0x80)
        back++;
    unsigned char lead = (unsigned char)text[n - back];
    size_t whole = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (whole > back)
        text[n - back] = 0;
}

enum mr_reason mr_refuse(struct mr_refusal *refusal, enum mr_reason reason, const char *field, const char *format, ...)
{
    va_list args;
    refusal->reason = reason;
    snprintf(refusal->field, sizeof refusal->field, "%s", field);
    va_start(args, format);
    vsnprintf(refusal->message, sizeof refusal->message, format, args);
    va_end(args);
    trim_cut(refusal->field, sizeof refusal->field);
    trim_cut(refusal->message, sizeof refusal->message);
    return reason;
}
