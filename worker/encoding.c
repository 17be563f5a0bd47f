#include "worker/encoding.h"

#include <strings.h>

const struct mr_codec *mr_encoding_codec(enum mr_encoding encoding)
{
    return encoding == MR_ENCODING_MSGPACK ? &mr_codec_msgpack : &mr_codec_json;
}

static bool same_ignoring_case(struct mr_str a, const char *b) { return a.n == strlen(b) && strncasecmp(a.p, b, a.n) == 0; }

struct mr_str mr_record_header(const struct mr_record *record, const char *name)
{
    for (int32_t i = 0; i < record->n_headers; i++)
        if (same_ignoring_case(record->headers[i].key, name))
            return record->headers[i].value;
    return (struct mr_str){0};
}

/* The type without its parameters ("; charset=utf-8") and the blanks around it. */
static struct mr_str media_type(struct mr_str s)
{
    const char *end = s.n ? memchr(s.p, ';', s.n) : NULL;
    s.n = end ? (size_t)(end - s.p) : s.n;
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool mr_encoding_of(const struct mr_record *record, enum mr_encoding *out)
{
    struct mr_str type = mr_record_header(record, "content-type");
    if (!type.p) {
        *out = record->value.n && record->value.p[0] == '{' ? MR_ENCODING_JSON : MR_ENCODING_MSGPACK;
        return true;
    }
    type = media_type(type);
    *out = same_ignoring_case(type, mr_codec_msgpack.content_type) ? MR_ENCODING_MSGPACK : MR_ENCODING_JSON;
    return *out == MR_ENCODING_MSGPACK || same_ignoring_case(type, mr_codec_json.content_type);
}
