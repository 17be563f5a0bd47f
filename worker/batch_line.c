#include "worker/batch_line.h"

#include "worker/job_field.h"

bool mr_batch_line_is(const struct mr_value *value)
{
    return mr_value_get(value, "custom_id") || (mr_value_get(value, "url") && mr_value_get(value, "body"));
}

static enum mr_reason check_keys(const struct mr_value *value, struct mr_refusal *refusal)
{
    for (size_t i = 0; i < value->as.map.n; i++) {
        struct mr_str key = value->as.map.items[i].key;
        char shown[64];
        if (mr_str_is(key, "custom_id") || mr_str_is(key, "method") || mr_str_is(key, "url") || mr_str_is(key, "body"))
            continue;
        mr_job_field_shown(key, shown);
        return mr_refuse(refusal, MR_REASON_UNKNOWN_FIELD, shown, "%s is no field of a batch line", shown);
    }
    return MR_REASON_NONE;
}

enum mr_reason mr_batch_line_read(const struct mr_value *value, struct mr_batch_line *out, struct mr_refusal *refusal)
{
    static const char *const needed[] = {"custom_id", "method", "url", "body"};
    const struct mr_value *parts[4];
    *out = (struct mr_batch_line){0};
    for (int i = 0; i < 4; i++) {
        enum mr_value_kind kind = i == 3 ? MR_MAP : MR_STRING;
        parts[i] = mr_value_get(value, needed[i]);
        if (!parts[i])
            return mr_refuse(refusal, MR_REASON_MISSING_FIELD, needed[i], "a batch line needs %s", needed[i]);
        if (parts[i]->kind != kind)
            return mr_refuse(refusal, MR_REASON_WRONG_TYPE, needed[i], "%s must be %s", needed[i], i == 3 ? "an object" : "a string");
        if (i == 0 && (parts[i]->as.string.n < 1 || parts[i]->as.string.n > MR_CUSTOM_ID_BYTES_MAX))
            return mr_refuse(refusal, MR_REASON_INVALID_ID, "custom_id", "custom_id must have 1 to %d bytes", MR_CUSTOM_ID_BYTES_MAX);
        if (i == 0)
            out->custom_id = parts[i]->as.string;
    }
    if (!mr_str_is(parts[1]->as.string, "POST"))
        return mr_refuse(refusal, MR_REASON_OUT_OF_RANGE, "method", "method must be POST");
    if (mr_str_is(parts[2]->as.string, "/v1/chat/completions"))
        out->kind = MR_JOB_CHAT;
    else if (!mr_str_is(parts[2]->as.string, "/v1/completions"))
        return mr_refuse(refusal, MR_REASON_UNSUPPORTED_FIELD, "url", "url must be /v1/completions or /v1/chat/completions");
    out->body = parts[3];
    return check_keys(value, refusal);
}
