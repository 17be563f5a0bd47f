/* Owns nothing but the struct.
 *
 * Invariants:
 * 1. low <= next; every offset below low is finished; low == next or low is unfinished.
 * 2. A bit outside [low, low + SPAN) is 0, so that the ring of bits needs no clearing when it wraps.
 * 3. Bits at or above next come from the metadata: an earlier owner's finished jobs, still to be delivered here.
 * 4. What metadata() writes, open() reads back to the same finished set; any other text is refused whole.
 *
 * Rejected: run lengths (shorter mostly, longer in the worst case, and then a limit that nobody can foresee); raw bytes
 * (librdkafka 2.0.2 cuts metadata at a NUL). */
#include "worker/ledger.h"

#include "base/check.h"

#include <string.h>

enum { HEAD_BYTES = 13, VERSION = 1, RAW_BYTES_MAX = HEAD_BYTES + MR_LEDGER_SPAN / 8 };

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool bit_get(const struct mr_ledger *ledger, int64_t offset)
{
    int64_t i = offset % MR_LEDGER_SPAN;
    return ledger->done[i / 8] >> i % 8 & 1;
}

static void bit_put(struct mr_ledger *ledger, int64_t offset, bool on)
{
    int64_t i = offset % MR_LEDGER_SPAN;
    unsigned char mask = (unsigned char)(1u << i % 8);
    ledger->done[i / 8] = (unsigned char)(on ? ledger->done[i / 8] | mask : ledger->done[i / 8] & ~mask);
}

/* CRC-32 (IEEE 802.3), bit by bit: 3 KB a commit. */
static uint32_t crc32_add(uint32_t crc, const unsigned char *p, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put_le(unsigned char *p, uint64_t value, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get_le(const unsigned char *p, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value |= (uint64_t)p[i] << 8 * i;
    return value;
}

static uint32_t check_sum(int64_t offset, const unsigned char *raw, size_t n)
{
    unsigned char place[8];
    put_le(place, (uint64_t)offset, 8);
    return crc32_add(crc32_add(0, place, 8), raw + 5, n - 5);
}

static size_t base64_write(const unsigned char *raw, size_t n, char *out)
{
    size_t o = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)raw[i] << 16 | (i + 1 < n ? raw[i + 1] << 8 : 0) | (i + 2 < n ? raw[i + 2] : 0);
        out[o++] = digits[v >> 18];
        out[o++] = digits[v >> 12 & 63];
        out[o++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
        out[o++] = i + 2 < n ? digits[v & 63] : '=';
    }
    out[o] = 0;
    return o;
}

/* Bytes read into raw, or 0: not base64, or longer than raw. */
static size_t base64_read(struct mr_str text, unsigned char *raw)
{
    size_t n = 0, pad = 0;
    if (text.n % 4 != 0 || text.n / 4 * 3 > RAW_BYTES_MAX + 2)
        return 0;
    uint32_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *digit = text.p[i] ? strchr(digits, text.p[i]) : NULL;
        pad += text.p[i] == '=';
        if ((!digit && text.p[i] != '=') || (digit && pad) || pad > 2)
            return 0;
        v = v << 6 | (digit ? (uint32_t)(digit - digits) : 0);
        if (i % 4 != 3)
            continue;
        for (int b = 2; b >= 0; b--) {
            if (n < RAW_BYTES_MAX)
                raw[n] = (unsigned char)(v >> 8 * b);
            n++;
        }
    }
    n -= pad;
    return n <= RAW_BYTES_MAX ? n : 0;
}

static void advance(struct mr_ledger *ledger)
{
    while (ledger->low < ledger->next && bit_get(ledger, ledger->low)) {
        bit_put(ledger, ledger->low, false);
        ledger->low++;
    }
}

bool mr_ledger_open(struct mr_ledger *ledger, int64_t committed, struct mr_str metadata, int64_t *since)
{
    unsigned char raw[RAW_BYTES_MAX];
    memset(ledger, 0, sizeof *ledger);
    ledger->low = ledger->next = committed < 0 ? -1 : committed;
    *since = -1;
    if (committed < 0 || metadata.n == 0)
        return true;
    size_t n = base64_read(metadata, raw);
    if (n < HEAD_BYTES || raw[0] != VERSION || get_le(raw + 1, 4) != check_sum(committed, raw, n))
        return false;
    *since = (int64_t)get_le(raw + 5, 8);
    for (size_t i = 0; i < (n - HEAD_BYTES) * 8; i++) {
        if (raw[HEAD_BYTES + i / 8] >> i % 8 & 1)
            bit_put(ledger, committed + (int64_t)i, true);
    }
    return true;
}

bool mr_ledger_merge(struct mr_ledger *ledger, const struct mr_ledger *older)
{
    if (older->low < 0)
        return true;
    if (ledger->low < 0 || older->next - ledger->low > MR_LEDGER_SPAN)
        return false;
    for (int64_t o = ledger->low; o < ledger->low + MR_LEDGER_SPAN; o++) {
        if (mr_ledger_finished(older, o))
            bit_put(ledger, o, true);
    }
    return true;
}

enum mr_ledger_seen mr_ledger_see(struct mr_ledger *ledger, int64_t offset)
{
    if (ledger->low < 0)
        ledger->low = ledger->next = offset;
    if (offset < ledger->low)
        return MR_LEDGER_FINISHED;
    if (offset >= ledger->next) {
        if (ledger->low == ledger->next && offset - ledger->low >= MR_LEDGER_SPAN) { /* a long hole with nothing open below it */
            memset(ledger->done, 0, sizeof ledger->done);
            ledger->low = ledger->next = offset;
        }
        if (offset - ledger->low >= MR_LEDGER_SPAN)
            return MR_LEDGER_FULL;
        for (; ledger->next < offset; ledger->next++)
            bit_put(ledger, ledger->next, true);
        ledger->next = offset + 1;
    }
    bool finished = bit_get(ledger, offset);
    advance(ledger);
    return finished ? MR_LEDGER_FINISHED : MR_LEDGER_NEW;
}

bool mr_ledger_finished(const struct mr_ledger *ledger, int64_t offset)
{
    return offset < ledger->low || (ledger->low >= 0 && offset - ledger->low < MR_LEDGER_SPAN && bit_get(ledger, offset));
}

void mr_ledger_finish(struct mr_ledger *ledger, int64_t offset)
{
    if (offset < ledger->low)
        return;
    CHECK(ledger->low >= 0 && offset - ledger->low < MR_LEDGER_SPAN);
    bit_put(ledger, offset, true);
    advance(ledger);
}

bool mr_ledger_room(const struct mr_ledger *ledger)
{
    return ledger->next - ledger->low < MR_LEDGER_ADMIT_SPAN;
}

size_t mr_ledger_metadata(const struct mr_ledger *ledger, int64_t since, char out[MR_LEDGER_METADATA_BYTES + 1])
{
    unsigned char raw[RAW_BYTES_MAX] = {VERSION};
    size_t n = HEAD_BYTES;
    put_le(raw + 5, (uint64_t)since, 8);
    for (int64_t i = 0; ledger->low >= 0 && i < MR_LEDGER_SPAN; i++) {
        if (bit_get(ledger, ledger->low + i)) {
            raw[HEAD_BYTES + i / 8] |= (unsigned char)(1u << i % 8);
            n = HEAD_BYTES + (size_t)i / 8 + 1;
        }
    }
    put_le(raw + 1, check_sum(ledger->low, raw, n), 4);
    return base64_write(raw, n, out);
}
