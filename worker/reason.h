/* The closed list of reasons for which a job fails (wire.md, Reasons). */
#ifndef MR_WORKER_REASON_H
#define MR_WORKER_REASON_H

enum mr_reason {
    MR_REASON_NONE,
    MR_REASON_INVALID_ENCODING, MR_REASON_INVALID_UTF8, MR_REASON_TOO_DEEP, MR_REASON_TOO_LARGE, MR_REASON_MISSING_FIELD,
    MR_REASON_WRONG_TYPE, MR_REASON_OUT_OF_RANGE, MR_REASON_UNKNOWN_FIELD, MR_REASON_UNSUPPORTED_FIELD, MR_REASON_INVALID_ID,
    MR_REASON_EMPTY_PROMPT, MR_REASON_PROMPT_TOO_LONG, MR_REASON_INVALID_TOKEN, MR_REASON_RESULT_TOO_LARGE,
    MR_REASON_SCHEMA_INVALID, MR_REASON_SCHEMA_UNSUPPORTED, MR_REASON_TEMPLATE_FAILED,
    MR_REASON_TENANT_NOT_ALLOWED, MR_REASON_REPLY_NOT_ALLOWED,
    MR_REASON_UNKNOWN_MODEL,
    MR_REASON_DEADLINE_PASSED,
    MR_REASON_ID_CONFLICT,
    MR_REASON_POISON,
    MR_REASON_QUOTA, MR_REASON_OVERLOADED,
    MR_REASON_CANCELLED,
    MR_REASON_INTERNAL,
    MR_REASON_MODEL_CHANGED, MR_REASON_LOG_EXPIRED, MR_REASON_DEVICE_FAILED,
    MR_REASON_COUNT
};

/* What a refusal tells: the reason, one sentence that names the field, and the field ("" when it speaks of none). */
struct mr_refusal {
    enum mr_reason reason;
    char field[64];
    char message[256];
};

const char *mr_reason_name(enum mr_reason reason);       /* "invalid_encoding", ...; "none" */
enum mr_reason mr_reason_from_name(const char *name);    /* MR_REASON_NONE: unknown */
int mr_reason_status(enum mr_reason reason);             /* 400, 403, ... HTTP-like */
const char *mr_reason_openai_type(enum mr_reason reason);/* "invalid_request_error", ... */
const char *mr_reason_sentence(enum mr_reason reason);   /* what it means, for people and the manual */
/* Fills *refusal and returns reason. */
enum mr_reason mr_refuse(struct mr_refusal *refusal, enum mr_reason reason, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
