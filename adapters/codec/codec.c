#include "adapters/codec/codec.h"

const char *mr_codec_fault_name(enum mr_codec_fault fault)
{
    static const char *const names[] = {"ok", "encoding", "utf8", "depth", "size"};
    return names[fault];
}

/* Bytes of the sequence that a lead byte opens; 0: no lead byte. */
static size_t utf8_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if ((lead & 0xf0) == 0xe0)
        return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* The range of the second byte is what excludes overlong forms, surrogates and code points past U+10FFFF. */
static bool utf8_second_ok(unsigned char lead, unsigned char second)
{
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high;
}

bool mr_codec_utf8_valid(struct mr_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_length(p[i]);
        if (n == 0 || n > s.n - i || (n > 1 && !utf8_second_ok(p[i], p[i + 1])))
            return false;
        for (size_t k = 2; k < n; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        i += n;
    }
    return true;
}
