/* The exact product with AVX2 and FMA.
 *
 * 1. Every output is the chain of matmul.c: acc = fma(w, x, acc), k ascending from 0, over w = the float32 value of the weight. One row
 *    or two (dot_panel) and many (expand, then tiles of 6 x 16) do the same operations on every output, so rows, blocks of k, chunks change no bit;
 *    it is also the plain path's order, bit for bit.
 * 2. w is made by one FMA: a code is converted as q 256^j, where it stands in its word, and d is scaled by 256^-j: both exact (d is at
 *    least 2^-24 in every format, far from float32's smallest).
 * 3. Lanes are outputs: no tail in k, and outputs past the matrix are computed on zeros and not stored.
 * Thread: any, on disjoint outputs. Rejected: scale times block sum (a second accumulator a block costs the tiles 15 %);
 * packed activations (broadcasts straight from the rows cost nothing more). */
#if defined(__AVX2__) && defined(__FMA__)

#include "kernels/cpu/matmul.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { VECTORS = MR_PACK_OUTPUTS / 8, TILE_ROWS = 6, ROWS_AT_ONCE = 2 };

/* Scales of one record. d[j][v]: of byte j of a word of codes, see value(). */
struct scales {
    __m256 d[4][VECTORS], m[VECTORS];
};

INLINE __m256 load_half(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)p));
}

INLINE struct scales load_scales(enum mr_pack_scale scale, const uint8_t *record)
{
    struct scales s;
    bool f32 = scale == MR_SCALE_F32 || scale == MR_SCALE_F32_PAIR;
    for (int v = 0; v < VECTORS; v++) {
        __m256 d = f32 ? _mm256_load_ps((const float *)record + 8 * v) : load_half(record + 16 * v);
        s.m[v] = _mm256_setzero_ps();
        if (scale == MR_SCALE_F16_LESS8)
            s.m[v] = _mm256_mul_ps(d, _mm256_set1_ps(-8.0f));
        else if (scale == MR_SCALE_F16_PAIR)
            s.m[v] = load_half(record + 2 * MR_PACK_OUTPUTS + 16 * v);
        else if (scale == MR_SCALE_F32_PAIR)
            s.m[v] = _mm256_load_ps((const float *)record + MR_PACK_OUTPUTS + 8 * v);
        s.d[0][v] = d;
        for (int j = 1; j < 4; j++)
            s.d[j][v] = _mm256_mul_ps(d, _mm256_set1_ps(1.0f / (float)(1 << 8 * j)));
    }
    return s;
}

/* d q + m of byte j of every word. A nibble is converted where it stands, 256^j too large; an int8, having a sign, at the word's top. */
INLINE __m256 value(enum mr_pack_code code, __m256i words, int j, const struct scales *s, int v)
{
    if (code == MR_PACK_NIBBLES) {
        __m256 q = _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32((int)(0xffu << 8 * j))));
        return _mm256_fmadd_ps(q, s->d[j][v], s->m[v]);
    }
    const __m256i at = _mm256_setr_epi32(0, 4 << 24, 8 << 24, 12 << 24, 0, 4 << 24, 8 << 24, 12 << 24);
    __m256i top = j == 3 ? _mm256_and_si256(words, _mm256_set1_epi32((int)0xff000000u)) /* it is there: 7 % of one row's time */
                         : _mm256_shuffle_epi8(words, _mm256_or_si256(at, _mm256_set1_epi32(j << 24 | 0x808080)));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(top), s->d[3][v], s->m[v]);
}

/* The words of four values of k (group g of the record), as bytes. */
INLINE __m256i code_words(enum mr_pack_code code, const uint8_t *codes, int g, int v)
{
    if (code == MR_PACK_BYTES)
        return _mm256_load_si256((const __m256i *)(codes + g * 4 * MR_PACK_OUTPUTS) + v);
    __m256i nibbles = _mm256_load_si256((const __m256i *)(codes + g / 2 * 4 * MR_PACK_OUTPUTS) + v);
    return _mm256_and_si256(g % 2 ? _mm256_srli_epi32(nibbles, 4) : nibbles, _mm256_set1_epi8(15));
}

INLINE __m256 plain_value(enum mr_pack_code code, const uint8_t *values, int64_t k, int v)
{
    int64_t at = k * MR_PACK_OUTPUTS + 8 * v;
    if (code == MR_PACK_F32)
        return _mm256_load_ps((const float *)values + at);
    __m128i half = _mm_load_si128((const __m128i *)((const uint16_t *)values + at));
    return code == MR_PACK_F16 ? _mm256_cvtph_ps(half) : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* acc[R][VECTORS] += group g of four values of k of a record, times x[R][4]; R is known where it is called. */
INLINE void dot_words(int R, enum mr_pack_code code, const uint8_t *codes, int g, const struct scales *s, const float *x, int64_t x_stride,
                      __m256 acc[][VECTORS])
{
    __m256i words[VECTORS];
    for (int v = 0; v < VECTORS; v++)
        words[v] = code_words(code, codes, g, v);
    for (int j = 0; j < 4; j++) {
        __m256 broadcast[ROWS_AT_ONCE];
        for (int r = 0; r < R; r++)
            broadcast[r] = _mm256_broadcast_ss(x + r * x_stride + j);
        for (int v = 0; v < VECTORS; v++) {
            __m256 w = value(code, words[v], j, s, v);
            for (int r = 0; r < R; r++)
                acc[r][v] = _mm256_fmadd_ps(w, broadcast[r], acc[r][v]);
        }
    }
}

/* acc += one record, of codes, times x[R][run]. */
INLINE void dot_record(int R, enum mr_pack_code code, enum mr_pack_scale scale, int run, const uint8_t *record, const float *x, int64_t x_stride,
                       __m256 acc[][VECTORS])
{
    struct scales s = load_scales(scale, record);
    bool f32 = scale == MR_SCALE_F32 || scale == MR_SCALE_F32_PAIR, pair = scale == MR_SCALE_F16_PAIR || scale == MR_SCALE_F32_PAIR;
    const uint8_t *codes = record + MR_PACK_OUTPUTS * (f32 ? 4 : 2) * (pair ? 2 : 1);
    if (R == 1 && code == MR_PACK_NIBBLES) {
#pragma GCC unroll 8
        for (int g = 0; g < run / 4; g++) /* 5 % faster in a row; the others are slower so */
            dot_words(R, code, codes, g, &s, x + 4 * g, x_stride, acc);
    } else {
        for (int g = 0; g < run / 4; g++)
            dot_words(R, code, codes, g, &s, x + 4 * g, x_stride, acc);
    }
}

INLINE void dot_codes(int R, enum mr_pack_code code, enum mr_pack_scale scale, int run, const struct mr_pack *pack, const uint8_t *panel,
                      const float *x, __m256 acc[][VECTORS])
{
    for (int32_t i = 0; i < pack->n_records; i++) {
        const uint8_t *record = panel + (size_t)i * pack->record_bytes;
        mr_matmul_read_ahead(record, pack->record_bytes);
        dot_record(R, code, scale, run, record, x + (int64_t)i * run, pack->k, acc);
    }
}

INLINE void dot_plain(int R, enum mr_pack_code code, const struct mr_pack *pack, const uint8_t *panel, const float *x, __m256 acc[][VECTORS])
{
    for (int32_t k = 0; k < pack->k; k++) {
        for (int v = 0; v < VECTORS; v++) {
            __m256 w = plain_value(code, panel, k, v);
            for (int r = 0; r < R; r++)
                acc[r][v] = _mm256_fmadd_ps(w, _mm256_broadcast_ss(x + r * (int64_t)pack->k + k), acc[r][v]);
        }
    }
}

/* out[R][32] = one panel times x[R][k]; the forms of pack.c, one inner loop each. */
INLINE void dot_panel(int R, const struct mr_pack *pack, const uint8_t *panel, const float *x, float *out)
{
    __m256 acc[ROWS_AT_ONCE][VECTORS];
    for (int i = 0; i < R * VECTORS; i++)
        acc[i / VECTORS][i % VECTORS] = _mm256_setzero_ps();
    if (pack->code == MR_PACK_NIBBLES && pack->scale == MR_SCALE_F16_PAIR)
        dot_codes(R, MR_PACK_NIBBLES, MR_SCALE_F16_PAIR, 32, pack, panel, x, acc);
    else if (pack->code == MR_PACK_NIBBLES && pack->scale == MR_SCALE_F16_LESS8)
        dot_codes(R, MR_PACK_NIBBLES, MR_SCALE_F16_LESS8, 32, pack, panel, x, acc);
    else if (pack->code == MR_PACK_NIBBLES && pack->scale == MR_SCALE_F32_PAIR)
        dot_codes(R, MR_PACK_NIBBLES, MR_SCALE_F32_PAIR, 32, pack, panel, x, acc);
    else if (pack->code == MR_PACK_BYTES && pack->scale == MR_SCALE_F16)
        dot_codes(R, MR_PACK_BYTES, MR_SCALE_F16, 32, pack, panel, x, acc);
    else if (pack->code == MR_PACK_BYTES && pack->scale == MR_SCALE_F16_PAIR)
        dot_codes(R, MR_PACK_BYTES, MR_SCALE_F16_PAIR, 32, pack, panel, x, acc);
    else if (pack->code == MR_PACK_BYTES && pack->scale == MR_SCALE_F32_PAIR)
        dot_codes(R, MR_PACK_BYTES, MR_SCALE_F32_PAIR, 32, pack, panel, x, acc);
    else if (pack->code == MR_PACK_BYTES && pack->scale == MR_SCALE_F32)
        dot_codes(R, MR_PACK_BYTES, MR_SCALE_F32, 16, pack, panel, x, acc);
    else if (pack->code == MR_PACK_F16)
        dot_plain(R, MR_PACK_F16, pack, panel, x, acc);
    else if (pack->code == MR_PACK_BF16)
        dot_plain(R, MR_PACK_BF16, pack, panel, x, acc);
    else
        dot_plain(R, MR_PACK_F32, pack, panel, x, acc);
    for (int i = 0; i < R * VECTORS; i++)
        _mm256_store_ps(out + 8 * i, acc[i / VECTORS][i % VECTORS]);
}

static void dot_one(const struct mr_pack *pack, const uint8_t *panel, const float *x, float *out)
{
    dot_panel(1, pack, panel, x, out);
}

static void dot_two(const struct mr_pack *pack, const uint8_t *panel, const float *x, float *out)
{
    dot_panel(2, pack, panel, x, out);
}


INLINE void expand_codes(enum mr_pack_code code, const struct mr_pack *pack, const uint8_t *record, int32_t n, float *out)
{
    for (int32_t k = 0; k < n; k += pack->run, record += pack->record_bytes) {
        struct scales s = load_scales(pack->scale, record);
        mr_matmul_read_ahead(record, pack->record_bytes);
        for (int g = 0; g < pack->run / 4; g++, out += 4 * MR_PACK_OUTPUTS) {
            for (int v = 0; v < VECTORS; v++) {
                __m256i words = code_words(code, record + pack->scale_bytes, g, v);
                for (int j = 0; j < 4; j++)
                    _mm256_store_ps(out + j * MR_PACK_OUTPUTS + 8 * v, value(code, words, j, &s, v));
            }
        }
    }
}

INLINE void expand_plain(enum mr_pack_code code, const uint8_t *values, int32_t n, float *out)
{
    const size_t bytes = MR_PACK_OUTPUTS * (code == MR_PACK_F32 ? 4 : 2); /* of one k */
    for (int32_t k = 0; k < n; k++) {
        mr_matmul_read_ahead(values + (size_t)k * bytes, bytes);
        for (int v = 0; v < VECTORS; v++)
            _mm256_store_ps(out + k * MR_PACK_OUTPUTS + 8 * v, plain_value(code, values, k, v));
    }
}

/* The values of k first .. first + n - 1 of a panel, [n][32] floats; first is a multiple of the run. */
static void expand(const struct mr_pack *pack, const uint8_t *panel, int32_t first, int32_t n, float *out)
{
    const uint8_t *record = mr_pack_record(pack, panel, first);
    switch (pack->code) {
    case MR_PACK_NIBBLES:
        expand_codes(MR_PACK_NIBBLES, pack, record, n, out);
        break;
    case MR_PACK_BYTES:
        expand_codes(MR_PACK_BYTES, pack, record, n, out);
        break;
    case MR_PACK_F16:
        expand_plain(MR_PACK_F16, record, n, out);
        break;
    case MR_PACK_BF16:
        expand_plain(MR_PACK_BF16, record, n, out);
        break;
    case MR_PACK_F32:
        expand_plain(MR_PACK_F32, record, n, out);
        break;
    }
}

/* c[R][16] (rows c_stride apart) goes on with k values of a[R][k] (rows a_stride apart) times w[k][16 of 32]; first: c starts at 0. */
INLINE void tile_rows(int R, const float *a, int64_t a_stride, const float *w, int32_t k, float *c, int64_t c_stride, bool first)
{
    __m256 acc[TILE_ROWS][2];
    for (int r = 0; r < R; r++) {
        acc[r][0] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(c + r * c_stride);
        acc[r][1] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(c + r * c_stride + 8);
    }
#pragma GCC unroll 4
    for (int32_t i = 0; i < k; i++) {
        __m256 w0 = _mm256_load_ps(w + i * MR_PACK_OUTPUTS), w1 = _mm256_load_ps(w + i * MR_PACK_OUTPUTS + 8);
        for (int r = 0; r < R; r++) {
            __m256 x = _mm256_broadcast_ss(a + r * a_stride + i);
            acc[r][0] = _mm256_fmadd_ps(w0, x, acc[r][0]);
            acc[r][1] = _mm256_fmadd_ps(w1, x, acc[r][1]);
        }
    }
    for (int r = 0; r < R; r++) {
        _mm256_storeu_ps(c + r * c_stride, acc[r][0]);
        _mm256_storeu_ps(c + r * c_stride + 8, acc[r][1]);
    }
}

struct strip {
    const float *a, *w;
    float *c;
    int64_t a_stride, c_stride;
    int32_t rows, k;
    bool first;
};

#define STRIP_CASE(R) \
    case R: \
        tile_rows(R, s->a + r * s->a_stride, s->a_stride, s->w, s->k, s->c + r * s->c_stride, s->c_stride, s->first); \
        break

/* A strip of 16 outputs under all rows, six at a time. */
static void multiply_strip(const struct strip *s)
{
    for (int64_t r = 0; r < s->rows; r += TILE_ROWS) {
        switch (s->rows - r) {
            STRIP_CASE(1);
            STRIP_CASE(2);
            STRIP_CASE(3);
            STRIP_CASE(4);
            STRIP_CASE(5);
        default:
            tile_rows(TILE_ROWS, s->a + r * s->a_stride, s->a_stride, s->w, s->k, s->c + r * s->c_stride, s->c_stride, s->first);
        }
    }
}

/* One panel under all rows; c: where its 32 columns are summed. */
static void multiply_panel(const struct mr_matmul_tile *tile, const uint8_t *panel, float *c)
{
    const struct mr_pack *pack = tile->pack;
    for (int32_t k = 0; k < pack->k; k += MR_MATMUL_K_BLOCK) {
        int32_t n = pack->k - k < MR_MATMUL_K_BLOCK ? pack->k - k : MR_MATMUL_K_BLOCK;
        expand(pack, panel, k, n, tile->scratch);
        for (int half = 0; half < MR_PACK_OUTPUTS; half += 16) {
            struct strip strip = {tile->in + k, tile->scratch + half, c + half, pack->k, MR_PACK_OUTPUTS, tile->rows, n, k == 0};
            multiply_strip(&strip);
        }
    }
}

void mr_matmul_exact_avx2(const struct mr_matmul_tile *tile)
{
    const struct mr_pack *pack = tile->pack;
    float *sums = tile->scratch + MR_MATMUL_K_BLOCK * MR_PACK_OUTPUTS;
    for (int32_t p = tile->first_panel; p < tile->end_panel; p++) {
        const uint8_t *panel = pack->data + (size_t)p * pack->panel_bytes;
        if (tile->rows == 1)
            dot_one(pack, panel, tile->in, sums);
        else if (tile->rows == 2)
            dot_two(pack, panel, tile->in, sums);
        else
            multiply_panel(tile, panel, sums);
        mr_matmul_store(tile, p, sums);
    }
}

#endif
