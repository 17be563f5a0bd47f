/* The exact product in AVX-512: the chains of matmul_avx2.c, sixteen outputs a vector, so that the bits are the same.
 *
 * 1. A code is taken out of its word by a shift and becomes w = d q + m in one FMA.
 * 2. Up to FUSED_ROWS rows make w in registers and use it at once; more rows expand a block of k into the scratch first.
 * Thread: any, on disjoint outputs. */
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#include "kernels/cpu/matmul.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { VECTORS = MR_PACK_OUTPUTS / 16, TILE_ROWS = 8, FUSED_ROWS = 4 };

struct scales {
    __m512 d[VECTORS], m[VECTORS];
};

INLINE __m512 load_half(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static struct scales load_scales(const struct mr_pack *pack, const uint8_t *record)
{
    struct scales s;
    bool f32 = pack->scale == MR_SCALE_F32 || pack->scale == MR_SCALE_F32_PAIR;
    for (int v = 0; v < VECTORS; v++) {
        s.d[v] = f32 ? _mm512_loadu_ps(record + 64 * v) : load_half(record + 32 * v);
        s.m[v] = _mm512_setzero_ps();
        if (pack->scale == MR_SCALE_F16_LESS8)
            s.m[v] = _mm512_mul_ps(s.d[v], _mm512_set1_ps(-8.0f));
        else if (pack->scale == MR_SCALE_F16_PAIR)
            s.m[v] = load_half(record + 2 * MR_PACK_OUTPUTS + 32 * v);
        else if (pack->scale == MR_SCALE_F32_PAIR)
            s.m[v] = _mm512_loadu_ps(record + 4 * MR_PACK_OUTPUTS + 64 * v);
    }
    return s;
}

/* Value k of a record, for outputs 16 v .. + 15; k is known where it is called. */
INLINE __m512 value(enum mr_pack_code code, const uint8_t *codes, int k, const struct scales *s, int v)
{
    __m512i q;
    if (code == MR_PACK_NIBBLES) {
        __m512i words = _mm512_loadu_si512(codes + (k / 8 * MR_PACK_OUTPUTS + 16 * v) * 4);
        q = _mm512_and_si512(_mm512_srli_epi32(words, (unsigned)(k % 4 * 8 + k / 4 % 2 * 4)), _mm512_set1_epi32(15));
    } else {
        __m512i words = _mm512_loadu_si512(codes + (k / 4 * MR_PACK_OUTPUTS + 16 * v) * 4);
        q = _mm512_srai_epi32(_mm512_slli_epi32(words, (unsigned)(24 - k % 4 * 8)), 24);
    }
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(q), s->d[v], s->m[v]);
}

INLINE __m512 plain_value(enum mr_pack_code code, const uint8_t *values, int64_t k, int v)
{
    int64_t at = k * MR_PACK_OUTPUTS + 16 * v;
    if (code == MR_PACK_F32)
        return _mm512_loadu_ps((const float *)values + at);
    __m256i half = _mm256_loadu_si256((const __m256i *)((const uint16_t *)values + at));
    return code == MR_PACK_F16 ? _mm512_cvtph_ps(half) : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* R rows, from x on, go on with one k; R is known where it is called. */
INLINE void multiply(int R, const __m512 w[VECTORS], const float *x, int64_t x_stride, __m512 acc[][VECTORS])
{
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        __m512 broadcast = _mm512_set1_ps(x[r * x_stride]);
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            acc[r][v] = _mm512_fmadd_ps(w[v], broadcast, acc[r][v]);
    }
}

/* A panel of codes under R rows. */
INLINE void fuse_codes(int R, enum mr_pack_code code, const struct mr_pack *pack, const uint8_t *record, const float *x, __m512 acc[][VECTORS])
{
    for (int32_t k = 0; k < pack->k; k += pack->run, record += pack->record_bytes) {
        struct scales s = load_scales(pack, record);
        mr_matmul_read_ahead(record, pack->record_bytes);
        const uint8_t *codes = record + pack->scale_bytes;
        for (int32_t g = 0; g < pack->run; g += 8, codes += (code == MR_PACK_NIBBLES ? 4 : 8) * MR_PACK_OUTPUTS) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                __m512 w[VECTORS] = {value(code, codes, i, &s, 0), value(code, codes, i, &s, 1)};
                multiply(R, w, x + k + g + i, pack->k, acc);
            }
        }
    }
}

INLINE void fuse_plain(int R, enum mr_pack_code code, const struct mr_pack *pack, const uint8_t *panel, const float *x, __m512 acc[][VECTORS])
{
    for (int32_t k = 0; k < pack->k; k++) {
        __m512 w[VECTORS] = {plain_value(code, panel, k, 0), plain_value(code, panel, k, 1)};
        multiply(R, w, x + k, pack->k, acc);
    }
}

INLINE void fuse_rows(int R, const struct mr_pack *pack, const uint8_t *panel, const float *x, float *c)
{
    __m512 acc[FUSED_ROWS][VECTORS];
    for (int r = 0; r < R; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    if (pack->code == MR_PACK_NIBBLES)
        fuse_codes(R, MR_PACK_NIBBLES, pack, panel, x, acc);
    else if (pack->code == MR_PACK_BYTES)
        fuse_codes(R, MR_PACK_BYTES, pack, panel, x, acc);
    else if (pack->code == MR_PACK_F16)
        fuse_plain(R, MR_PACK_F16, pack, panel, x, acc);
    else if (pack->code == MR_PACK_BF16)
        fuse_plain(R, MR_PACK_BF16, pack, panel, x, acc);
    else
        fuse_plain(R, MR_PACK_F32, pack, panel, x, acc);
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++)
            _mm512_storeu_ps(c + r * MR_PACK_OUTPUTS + 16 * v, acc[r][v]);
}

/* Values first .. first + n - 1 of a panel, [n][32] floats; first is a multiple of the run. */
INLINE void expand_codes(enum mr_pack_code code, const struct mr_pack *pack, const uint8_t *record, int32_t n, float *out)
{
    for (int32_t k = 0; k < n; k += pack->run, record += pack->record_bytes) {
        struct scales s = load_scales(pack, record);
        mr_matmul_read_ahead(record, pack->record_bytes);
        const uint8_t *codes = record + pack->scale_bytes;
        for (int32_t g = 0; g < pack->run; g += 8, codes += (code == MR_PACK_NIBBLES ? 4 : 8) * MR_PACK_OUTPUTS) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++, out += MR_PACK_OUTPUTS)
                for (int v = 0; v < VECTORS; v++)
                    _mm512_storeu_ps(out + 16 * v, value(code, codes, i, &s, v));
        }
    }
}

static void expand(const struct mr_pack *pack, const uint8_t *record, int32_t n, float *out)
{
    if (pack->code == MR_PACK_NIBBLES)
        expand_codes(MR_PACK_NIBBLES, pack, record, n, out);
    else if (pack->code == MR_PACK_BYTES)
        expand_codes(MR_PACK_BYTES, pack, record, n, out);
    for (int32_t k = 0; pack->scale == MR_SCALE_NONE && k < n; k++)
        for (int v = 0; v < VECTORS; v++)
            _mm512_storeu_ps(out + k * MR_PACK_OUTPUTS + 16 * v, plain_value(pack->code, record, k, v));
}

/* c[R][32] goes on with n values of k of R rows times w[n][32]; first: c starts at 0. */
INLINE void tile_rows(int R, const float *x, int64_t x_stride, const float *w, int32_t n, float *c, bool first)
{
    __m512 acc[TILE_ROWS][VECTORS];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++)
            acc[r][v] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * MR_PACK_OUTPUTS + 16 * v);
    for (int32_t k = 0; k < n; k++) {
        __m512 at_k[VECTORS] = {_mm512_loadu_ps(w + k * MR_PACK_OUTPUTS), _mm512_loadu_ps(w + k * MR_PACK_OUTPUTS + 16)};
        multiply(R, at_k, x + k, x_stride, acc);
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++)
            _mm512_storeu_ps(c + r * MR_PACK_OUTPUTS + 16 * v, acc[r][v]);
}

#define TILE_CASE(R) \
    case R: \
        tile_rows(R, x, pack->k, w, n, to, k == 0); \
        break

static void multiply_panel(const struct mr_matmul_tile *tile, const uint8_t *panel, float *c)
{
    const struct mr_pack *pack = tile->pack;
    float *w = tile->scratch;
    for (int32_t k = 0; k < pack->k; k += MR_MATMUL_K_BLOCK) {
        int32_t n = pack->k - k < MR_MATMUL_K_BLOCK ? pack->k - k : MR_MATMUL_K_BLOCK;
        expand(pack, mr_pack_record(pack, panel, k), n, w);
        for (int32_t r = 0; r < tile->rows; r += TILE_ROWS) {
            const float *x = tile->in + r * (int64_t)pack->k + k;
            float *to = c + r * MR_PACK_OUTPUTS;
            switch (tile->rows - r) {
                TILE_CASE(1);
                TILE_CASE(2);
                TILE_CASE(3);
                TILE_CASE(4);
                TILE_CASE(5);
                TILE_CASE(6);
                TILE_CASE(7);
            default:
                tile_rows(TILE_ROWS, x, pack->k, w, n, to, k == 0);
            }
        }
    }
}

void mr_matmul_exact_avx512(const struct mr_matmul_tile *tile)
{
    const struct mr_pack *pack = tile->pack;
    float *c = tile->scratch + MR_MATMUL_K_BLOCK * MR_PACK_OUTPUTS;
    for (int32_t p = tile->first_panel; p < tile->end_panel; p++) {
        const uint8_t *panel = pack->data + (size_t)p * pack->panel_bytes;
        if (tile->rows == 1)
            fuse_rows(1, pack, panel, tile->in, c);
        else if (tile->rows == 2)
            fuse_rows(2, pack, panel, tile->in, c);
        else if (tile->rows == 3)
            fuse_rows(3, pack, panel, tile->in, c);
        else if (tile->rows == FUSED_ROWS)
            fuse_rows(FUSED_ROWS, pack, panel, tile->in, c);
        else
            multiply_panel(tile, panel, c);
        mr_matmul_store(tile, p, c);
    }
}

#endif
