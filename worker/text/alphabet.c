#include "worker/text/alphabet.h"

#include "worker/text/utf8.h"

/* Printable Latin-1 characters spell their own byte. */
static bool spells_itself(int c)
{
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

/* The other 68 bytes are spelled, in order, by U+0100 and on. -1: not in the alphabet. */
static int byte_of(int c)
{
    if (c < 256)
        return spells_itself(c) ? c : -1;
    int index = c - 256;
    for (int byte = 0; byte < 256; byte++)
        if (!spells_itself(byte) && index-- == 0)
            return byte;
    return -1;
}

void mr_alphabet_decode(struct mr_str stored, struct mr_buf *out)
{
    size_t start = out->n;
    for (size_t at = 0; at < stored.n;) {
        const unsigned char *p = (const unsigned char *)stored.p + at;
        struct mr_utf8_step step = mr_utf8_next(stored.p + at, stored.n - at);
        int byte = -1;
        if (step.kind == MR_UTF8_WHOLE && step.n <= 2)
            byte = byte_of(step.n == 1 ? p[0] : (p[0] & 0x1f) << 6 | (p[1] & 0x3f));
        if (byte < 0) {
            out->n = start;
            mr_buf_add_str(out, stored);
            return;
        }
        mr_buf_add_char(out, (char)byte);
        at += (size_t)step.n;
    }
}
