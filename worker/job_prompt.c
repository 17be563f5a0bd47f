/* Prompts and messages.
 *
 * Any thread; what it makes lies in the job's arena, or is a view of the decoded tree there.
 * 1 After a successful read exactly one of prompt, prompt_ids and messages is set, and it is not empty.
 * 2 messages holds {role, content} with plain strings, whatever form came in: a chat template sees one form.
 * 3 What would change the answer and is not implemented (images, tool calls, names) is refused by its place, never dropped.
 * Rejected: several prompts in one job (each outcome has one name and one stream). */
#include "worker/job_prompt.h"

#include <stdio.h>

static enum mr_reason no_memory(struct mr_field_reader *r, const char *field)
{
    return mr_refuse(r->refusal, MR_REASON_TOO_LARGE, field, "%s needs more memory than one job may take", field);
}

static enum mr_reason read_ids(struct mr_field_reader *r, const struct mr_value *array)
{
    size_t n = array->as.array.n;
    int32_t *ids = mr_arena_array(&r->job->arena, n, sizeof *ids);
    if (!ids)
        return no_memory(r, "prompt");
    for (size_t i = 0; i < n; i++) {
        const struct mr_value *id = &array->as.array.items[i];
        if (id->kind != MR_INT)
            return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, "prompt", "prompt[%zu] is %s among token ids", i, mr_value_kind_name(id->kind));
        if (id->as.integer < 0 || id->as.integer > INT32_MAX)
            return mr_refuse(r->refusal, MR_REASON_INVALID_TOKEN, "prompt", "prompt[%zu] is no token id", i);
        ids[i] = (int32_t)id->as.integer;
    }
    r->job->prompt_ids = ids;
    r->job->n_prompt = (int32_t)n; /* below the codec's limit of values */
    return MR_REASON_NONE;
}

static enum mr_reason empty(struct mr_field_reader *r, const char *field)
{
    return mr_refuse(r->refusal, MR_REASON_EMPTY_PROMPT, field, "%s is empty", field);
}

enum mr_reason mr_job_prompt_read(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    const struct mr_value *first = value->kind == MR_ARRAY && value->as.array.n ? &value->as.array.items[0] : NULL;
    bool several = first && (first->kind == MR_STRING || first->kind == MR_ARRAY);
    if (several && value->as.array.n > 1)
        return mr_refuse(r->refusal, MR_REASON_UNSUPPORTED_FIELD, field->name, "a job has one prompt, not %zu: send a job for each",
                         value->as.array.n);
    if (several)
        value = first;
    if (value->kind == MR_STRING) {
        r->job->prompt = value->as.string;
        return value->as.string.n ? MR_REASON_NONE : empty(r, field->name);
    }
    if (value->kind != MR_ARRAY)
        return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, field->name, "prompt must be a string or an array of token ids, not %s",
                         mr_value_kind_name(value->kind));
    return value->as.array.n ? read_ids(r, value) : empty(r, field->name);
}

/* The text of content given as parts, joined. */
static enum mr_reason join_parts(struct mr_field_reader *r, const struct mr_value *parts, const char *where, struct mr_str *out)
{
    size_t total = 0, n = parts->as.array.n;
    if (n > MR_MESSAGE_PARTS_MAX)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, "messages", "%s has more than %d parts", where, MR_MESSAGE_PARTS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct mr_value *part = &parts->as.array.items[i];
        const struct mr_value *type = mr_value_get(part, "type"), *text = mr_value_get(part, "text");
        if (!type || type->kind != MR_STRING)
            return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, "messages", "%s[%zu] must be an object with a type", where, i);
        if (!mr_str_is(type->as.string, "text"))
            return mr_refuse(r->refusal, MR_REASON_UNSUPPORTED_FIELD, "messages", "%s[%zu]: only parts of type text are implemented", where, i);
        if (!text || text->kind != MR_STRING)
            return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, "messages", "%s[%zu].text must be a string", where, i);
        total += text->as.string.n;
    }
    char *joined = mr_arena_alloc(&r->job->arena, total + 1);
    if (!joined)
        return no_memory(r, "messages");
    *out = (struct mr_str){joined, total};
    for (size_t i = 0; i < n; i++) {
        struct mr_str text = mr_value_get(&parts->as.array.items[i], "text")->as.string;
        memcpy(joined, text.p, text.n);
        joined += text.n;
    }
    return MR_REASON_NONE;
}

static bool known_role(struct mr_str role)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (mr_str_is(role, roles[i]))
            return true;
    return false;
}

/* Keys beside role and content may be there as null, as clients copy an answer back into their next question. */
static enum mr_reason check_keys(struct mr_field_reader *r, const struct mr_value *message, size_t i)
{
    for (size_t k = 0; k < message->as.map.n; k++) {
        const struct mr_pair *pair = &message->as.map.items[k];
        char shown[64];
        if (mr_str_is(pair->key, "role") || mr_str_is(pair->key, "content") || pair->value.kind == MR_NULL)
            continue;
        return mr_refuse(r->refusal, MR_REASON_UNSUPPORTED_FIELD, "messages", "messages[%zu].%s is not implemented", i,
                         mr_job_field_shown(pair->key, shown));
    }
    return MR_REASON_NONE;
}

static enum mr_reason read_message(struct mr_field_reader *r, const struct mr_value *message, size_t i, struct mr_value *out)
{
    const struct mr_value *role = mr_value_get(message, "role"), *content = mr_value_get(message, "content");
    char where[48];
    struct mr_str text = {0};
    snprintf(where, sizeof where, "messages[%zu].content", i);
    if (message->kind != MR_MAP)
        return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, "messages", "messages[%zu] must be an object, not %s", i,
                         mr_value_kind_name(message->kind));
    if (!role || !content)
        return mr_refuse(r->refusal, MR_REASON_MISSING_FIELD, "messages", "messages[%zu] has no %s", i, role ? "content" : "role");
    if (role->kind != MR_STRING)
        return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, "messages", "messages[%zu].role must be a string", i);
    if (!known_role(role->as.string))
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, "messages",
                         "messages[%zu].role must be system, developer, user, assistant, tool or function", i);
    if (content->kind != MR_STRING && content->kind != MR_ARRAY)
        return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, "messages", "%s must be a string or an array of text parts", where);
    enum mr_reason reason = check_keys(r, message, i);
    if (!reason && content->kind == MR_ARRAY)
        reason = join_parts(r, content, where, &text);
    else
        text = content->as.string;
    if (reason)
        return reason;
    *out = mr_value_map(&r->job->arena, 2);
    mr_value_set(out, "role", *role);
    mr_value_set(out, "content", mr_value_string(text));
    return out->kind == MR_MAP ? MR_REASON_NONE : no_memory(r, "messages");
}

enum mr_reason mr_job_messages_read(struct mr_field_reader *r, const struct mr_job_field *field, const struct mr_value *value)
{
    if (value->kind != MR_ARRAY)
        return mr_refuse(r->refusal, MR_REASON_WRONG_TYPE, field->name, "messages must be an array, not %s", mr_value_kind_name(value->kind));
    size_t n = value->as.array.n;
    if (n == 0)
        return empty(r, field->name);
    if (n > MR_MESSAGES_MAX)
        return mr_refuse(r->refusal, MR_REASON_OUT_OF_RANGE, field->name, "messages has more than %d entries", MR_MESSAGES_MAX);
    struct mr_value *messages = mr_arena_alloc(&r->job->arena, sizeof *messages);
    if (!messages)
        return no_memory(r, field->name);
    *messages = mr_value_array(&r->job->arena, n);
    for (size_t i = 0; i < n; i++) {
        struct mr_value message;
        enum mr_reason reason = read_message(r, &value->as.array.items[i], i, &message);
        if (reason)
            return reason;
        mr_value_push(messages, message);
    }
    if (messages->kind != MR_ARRAY)
        return no_memory(r, field->name);
    r->job->messages = messages;
    return MR_REASON_NONE;
}
