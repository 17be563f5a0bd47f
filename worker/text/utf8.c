#include "worker/text/utf8.h"

/* First byte -> length of the character and the range of its second byte; length 0: starts none. */
struct lead {
    int length;
    unsigned char low, high;
};

static struct lead lead_of(unsigned char first)
{
    if (first < 0x80)
        return (struct lead){1, 0, 0};
    if (first < 0xc2)
        return (struct lead){0, 0, 0};
    if (first < 0xe0)
        return (struct lead){2, 0x80, 0xbf};
    if (first < 0xf0)
        return (struct lead){3, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf};
    if (first < 0xf5)
        return (struct lead){4, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf};
    return (struct lead){0, 0, 0};
}

struct mr_utf8_step mr_utf8_next(const char *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    struct lead lead = lead_of(p[0]);
    if (lead.length == 0)
        return (struct mr_utf8_step){MR_UTF8_BROKEN, 1};
    for (int i = 1; i < lead.length; i++) {
        if ((size_t)i == n)
            return (struct mr_utf8_step){MR_UTF8_PARTIAL, i};
        if (i == 1 ? p[1] < lead.low || p[1] > lead.high : (p[i] & 0xc0) != 0x80)
            return (struct mr_utf8_step){MR_UTF8_BROKEN, i};
    }
    return (struct mr_utf8_step){MR_UTF8_WHOLE, lead.length};
}

/* Bytes from at on that are whole characters. */
static size_t valid_run(struct mr_str text, size_t at)
{
    size_t end = at;
    while (end < text.n) {
        struct mr_utf8_step step = mr_utf8_next(text.p + end, text.n - end);
        if (step.kind != MR_UTF8_WHOLE)
            break;
        end += (size_t)step.n;
    }
    return end - at;
}

bool mr_utf8_whole(struct mr_str text)
{
    return valid_run(text, 0) == text.n;
}

void mr_utf8_repair(struct mr_str text, struct mr_buf *out)
{
    for (size_t at = 0; at < text.n;) {
        size_t run = valid_run(text, at);
        mr_buf_add(out, text.p + at, run);
        at += run;
        if (at < text.n) {
            mr_buf_add_str(out, MR_STR(MR_UTF8_REPLACEMENT));
            at += (size_t)mr_utf8_next(text.p + at, text.n - at).n;
        }
    }
}
