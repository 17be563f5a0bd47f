#include "worker/text/nfc.h"

#include <stdlib.h>
#include <utf8proc.h>

static bool is_ascii(struct mr_str text)
{
    unsigned char bits = 0;
    for (size_t i = 0; i < text.n; i++)
        bits |= (unsigned char)text.p[i];
    return bits < 0x80;
}

/* Bytes at the start of text up to the point where more than MR_NFC_MARKS_MAX marks would stand in a row. */
static size_t sortable(struct mr_str text)
{
    size_t at = 0;
    for (int marks = 0; at < text.n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text.p + at, (utf8proc_ssize_t)(text.n - at), &c);
        marks = n > 0 && utf8proc_get_property(c)->combining_class ? marks + 1 : 0;
        if (marks > MR_NFC_MARKS_MAX)
            break;
        at += n > 0 ? (size_t)n : 1;
    }
    return at;
}

static void add_composed(struct mr_str text, struct mr_buf *out)
{
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        out->failed = true;
    else
        mr_buf_add(out, composed, (size_t)n);
    free(composed);
}

void mr_nfc_add(struct mr_str text, struct mr_buf *out)
{
    if (is_ascii(text)) {
        mr_buf_add_str(out, text);
        return;
    }
    while (text.n) {
        size_t n = sortable(text);
        add_composed((struct mr_str){text.p, n}, out);
        text = (struct mr_str){text.p + n, text.n - n};
    }
}

const char *mr_nfc_unicode_version(void)
{
    return utf8proc_unicode_version();
}
