/* The fast product in AVX2, for the order of sums of int8.h.
 *
 * 1. Lanes are outputs; a word of codes (four values of k of one output) meets the broadcast word of the row's four.
 * 2. Nibbles: maddubs, added in int16 over a block of 32 (15 x 127 x 2 x 8 = 30,480 fits), widened once a block. Bytes: one row takes |w| and
 *    x signed by w (128 x 127 x 2 fits in int16 too), more rows take both widened to int16 (a sign a product costs more than the widening).
 * 3. Three rows by sixteen outputs a tile: six integer and six float sums, two words, one broadcast and one product are the 16 registers.
 * 4. Outputs are summed in the scratch and copied: rows a power of two apart in the output would share a few sets of the cache.
 * Thread: any, on disjoint outputs. */
#include "kernels/cpu/int8.h"

#if defined(__AVX2__) && defined(__FMA__)

#include "kernels/cpu/vector_avx2.h"

#include <string.h>

enum {
    VECTORS = MR_PACK_OUTPUTS / 8,
    TILE_ROWS = 3,
    RUNS = MR_MATMUL_K_BLOCK / 16, /* the most records in a block of k */
};

/* A block of k of a panel, opened for the tiles. */
struct panel_block {
    _Alignas(32) uint8_t codes[MR_MATMUL_K_BLOCK * MR_PACK_OUTPUTS * 2]; /* words of bytes, or of pairs of int16 */
    _Alignas(32) float d[RUNS][MR_PACK_OUTPUTS], m[RUNS][MR_PACK_OUTPUTS];
};

_Static_assert(sizeof(struct panel_block) <= MR_MATMUL_K_BLOCK * MR_PACK_OUTPUTS * sizeof(float), "the tile's scratch holds it");

static int32_t sum_int_lanes(__m256i x)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

void mr_int8_row_avx2(const struct mr_int8_rows *rows, int32_t r, const float *x)
{
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    for (int64_t i = 0; i < rows->k; i += MR_INT8_RUN) {
        int64_t at = r * rows->k + i, run = at / MR_INT8_RUN;
        __m256 v[4], largest = _mm256_setzero_ps();
        for (int j = 0; j < 4; j++) {
            v[j] = _mm256_loadu_ps(x + i + 8 * j);
            largest = _mm256_max_ps(largest, _mm256_and_ps(v[j], no_sign));
        }
        float top = mr_max_lanes(largest), scale = top > 0 ? (float)rows->top / top : 0;
        __m256i q[4];
        for (int j = 0; j < 4; j++)
            q[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v[j], _mm256_set1_ps(scale)));
        int32_t sum = sum_int_lanes(_mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3])));
        __m256i low = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[0], q[1]), 0xd8);
        __m256i high = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[2], q[3]), 0xd8);
        _mm256_storeu_si256((__m256i *)(rows->wide + at), low);
        _mm256_storeu_si256((__m256i *)(rows->wide + at + 16), high);
        if (rows->top == MR_INT8_TOP)
            _mm256_storeu_si256((__m256i *)(rows->q + at), _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8));
        rows->d[run] = top / (float)rows->top;
        rows->sum[run] = sum;
        rows->s[run] = rows->d[run] * (float)sum;
    }
}

/* d and m of one record's outputs v * 8 .. + 7. */
MR_INLINE void load_scales(enum mr_pack_scale scale, const uint8_t *record, int v, __m256 *d, __m256 *m)
{
    bool f32 = scale == MR_SCALE_F32 || scale == MR_SCALE_F32_PAIR;
    *d = f32 ? _mm256_load_ps((const float *)record + 8 * v) : _mm256_cvtph_ps(_mm_load_si128((const __m128i *)record + v));
    *m = _mm256_setzero_ps();
    if (scale == MR_SCALE_F16_PAIR)
        *m = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)record + VECTORS + v));
    else if (scale == MR_SCALE_F32_PAIR)
        *m = _mm256_load_ps((const float *)record + MR_PACK_OUTPUTS + 8 * v);
}

MR_INLINE bool has_minimum(enum mr_pack_scale scale)
{
    return scale == MR_SCALE_F16_PAIR || scale == MR_SCALE_F32_PAIR;
}

/* Integer sums may be taken in any order, and a compiler that reorders them keeps all products alive at once: not here. */
MR_INLINE void hold(__m256i *sum)
{
    __asm__("" : "+x"(*sum));
}

/* The float step of one block, of the row's d, s and sum there; less8: Q4_0's codes are 8 too large. */
MR_INLINE __m256 add_block(__m256 acc, __m256i sum, __m256 d, __m256 m, const struct mr_int8_rows *x, bool less8, bool minimum)
{
    if (less8)
        sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(8 * *x->sum));
    acc = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), d), _mm256_broadcast_ss(x->d), acc);
    return minimum ? _mm256_fmadd_ps(m, _mm256_broadcast_ss(x->s), acc) : acc;
}

/* The rows' scales from one run on. */
MR_INLINE struct mr_int8_rows scales_from(const struct mr_int8_rows *rows, int64_t run)
{
    return (struct mr_int8_rows){.d = rows->d + run, .s = rows->s + run, .sum = rows->sum + run};
}

MR_INLINE __m256i broadcast_word(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}

/* One record of nibbles times one row: sums of outputs v * 8 .. + 7 for all v. */
MR_INLINE void dot_nibbles(const uint8_t *codes, const int8_t *x, __m256i sum[VECTORS])
{
    const __m256i ones = _mm256_set1_epi16(1), low_bits = _mm256_set1_epi8(15);
    __m256i sum16[VECTORS];
    for (int g = 0; g < 4; g++) {
        __m256i x_low = broadcast_word(x + 8 * g), x_high = broadcast_word(x + 8 * g + 4);
        for (int v = 0; v < VECTORS; v++) {
            __m256i words = _mm256_load_si256((const __m256i *)codes + g * VECTORS + v);
            __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(words, low_bits), x_low);
            __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(words, 4), low_bits), x_high);
            __m256i both = _mm256_add_epi16(low, high);
            sum16[v] = g ? _mm256_add_epi16(sum16[v], both) : both;
        }
    }
    for (int v = 0; v < VECTORS; v++)
        sum[v] = _mm256_madd_epi16(sum16[v], ones);
}

MR_INLINE void dot_bytes(int run, const uint8_t *codes, const int8_t *x, __m256i sum[VECTORS])
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (int v = 0; v < VECTORS; v++)
        sum[v] = _mm256_setzero_si256();
    for (int g = 0; g < run / 4; g++) {
        __m256i word = broadcast_word(x + 4 * g);
        for (int v = 0; v < VECTORS; v++) {
            __m256i w = _mm256_load_si256((const __m256i *)codes + g * VECTORS + v);
            __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(word, w));
            sum[v] = _mm256_add_epi32(sum[v], _mm256_madd_epi16(pairs, ones));
        }
    }
}

/* Bytes 2 half and 2 half + 1 of every word as two int16. */
MR_INLINE __m256i widen(__m256i words, int half)
{
    const __m256i at = _mm256_setr_epi32(0x01800080, 0x05800480, 0x09800880, 0x0d800c80, 0x01800080, 0x05800480, 0x09800880,
                                         0x0d800c80); /* each byte to the top of its int16, above a zero */
    return _mm256_srai_epi16(_mm256_shuffle_epi8(words, _mm256_add_epi8(at, _mm256_set1_epi32(half * 0x02000200))), 8);
}

/* The same for activations of 16 bits. */
MR_INLINE void dot_wide(int run, const uint8_t *codes, const int16_t *x, __m256i sum[VECTORS])
{
    for (int v = 0; v < VECTORS; v++)
        sum[v] = _mm256_setzero_si256();
    for (int g = 0; g < run / 4; g++) {
        __m256i x_low = broadcast_word(x + 4 * g), x_high = broadcast_word(x + 4 * g + 2);
        for (int v = 0; v < VECTORS; v++) {
            __m256i w = _mm256_load_si256((const __m256i *)codes + g * VECTORS + v);
            __m256i pairs = _mm256_add_epi32(_mm256_madd_epi16(widen(w, 0), x_low), _mm256_madd_epi16(widen(w, 1), x_high));
            sum[v] = _mm256_add_epi32(sum[v], pairs);
        }
    }
}

MR_INLINE void dot_panel(enum mr_pack_code code, enum mr_pack_scale scale, int run, const struct mr_pack *pack, const uint8_t *record,
                         const struct mr_int8_rows *rows, int64_t row, __m256 acc[VECTORS])
{
    bool f32 = scale == MR_SCALE_F32 || scale == MR_SCALE_F32_PAIR;
    const int scale_bytes = MR_PACK_OUTPUTS * (f32 ? 4 : 2) * (has_minimum(scale) ? 2 : 1);
    const struct mr_int8_rows x_scales = scales_from(rows, row * rows->k / MR_INT8_RUN);
    for (int32_t i = 0; i < pack->n_records; i++, record += pack->record_bytes) {
        __m256i sum[VECTORS];
        const int64_t at_x = row * rows->k + (int64_t)i * run;
        mr_matmul_read_ahead(record, pack->record_bytes);
        if (code == MR_PACK_NIBBLES)
            dot_nibbles(record + scale_bytes, rows->q + at_x, sum);
        else if (rows->top == MR_INT8_TOP)
            dot_bytes(run, record + scale_bytes, rows->q + at_x, sum);
        else
            dot_wide(run, record + scale_bytes, rows->wide + at_x, sum);
        for (int v = 0; v < VECTORS; v++) {
            __m256 d, m;
            load_scales(scale, record, v, &d, &m);
            struct mr_int8_rows at = scales_from(&x_scales, i * run / MR_INT8_RUN);
            acc[v] = add_block(acc[v], sum[v], d, m, &at, scale == MR_SCALE_F16_LESS8, has_minimum(scale));
        }
    }
}

static void multiply_row(const struct mr_pack *pack, const uint8_t *panel, const struct mr_int8_rows *rows, int64_t row, float *out)
{
    __m256 acc[VECTORS] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    bool nibbles = pack->code == MR_PACK_NIBBLES;
    if (nibbles && pack->scale == MR_SCALE_F16_PAIR)
        dot_panel(MR_PACK_NIBBLES, MR_SCALE_F16_PAIR, 32, pack, panel, rows, row, acc);
    else if (nibbles && pack->scale == MR_SCALE_F16_LESS8)
        dot_panel(MR_PACK_NIBBLES, MR_SCALE_F16_LESS8, 32, pack, panel, rows, row, acc);
    else if (nibbles)
        dot_panel(MR_PACK_NIBBLES, MR_SCALE_F32_PAIR, 32, pack, panel, rows, row, acc);
    else if (pack->scale == MR_SCALE_F16)
        dot_panel(MR_PACK_BYTES, MR_SCALE_F16, 32, pack, panel, rows, row, acc);
    else if (pack->scale == MR_SCALE_F16_PAIR)
        dot_panel(MR_PACK_BYTES, MR_SCALE_F16_PAIR, 32, pack, panel, rows, row, acc);
    else if (pack->scale == MR_SCALE_F32_PAIR)
        dot_panel(MR_PACK_BYTES, MR_SCALE_F32_PAIR, 32, pack, panel, rows, row, acc);
    else
        dot_panel(MR_PACK_BYTES, MR_SCALE_F32, 16, pack, panel, rows, row, acc);
    for (int v = 0; v < VECTORS; v++)
        _mm256_store_ps(out + 8 * v, acc[v]);
}

/* One record's codes: nibbles to words of four bytes, bytes to words of two int16; in ascending k, one vector of words after the other. */
MR_INLINE void open_codes(bool nibbles, int32_t words, const __m256i *codes, __m256i *out)
{
    const __m256i low_bits = _mm256_set1_epi8(15);
    for (int32_t g = 0; g < words; g++, codes += VECTORS, out += 2 * VECTORS) {
        for (int v = 0; v < VECTORS; v++) {
            __m256i w = _mm256_load_si256(codes + v);
            _mm256_store_si256(out + v, nibbles ? _mm256_and_si256(w, low_bits) : widen(w, 0));
            _mm256_store_si256(out + VECTORS + v, nibbles ? _mm256_and_si256(_mm256_srli_epi16(w, 4), low_bits) : widen(w, 1));
        }
    }
}

/* n values of k of a panel: codes opened, scales to float32. */
static void open_block(const struct mr_pack *pack, const uint8_t *record, int32_t n, struct panel_block *block)
{
    bool nibbles = pack->code == MR_PACK_NIBBLES;
    int32_t words = pack->run / (nibbles ? 8 : 4);
    for (int32_t i = 0; i < n / pack->run; i++, record += pack->record_bytes) {
        mr_matmul_read_ahead(record, pack->record_bytes);
        for (int v = 0; v < VECTORS; v++) {
            __m256 d, m;
            load_scales(pack->scale, record, v, &d, &m);
            _mm256_store_ps(block->d[i] + 8 * v, d);
            _mm256_store_ps(block->m[i] + 8 * v, m);
        }
        const __m256i *codes = (const __m256i *)(record + pack->scale_bytes);
        __m256i *out = (__m256i *)block->codes + i * words * 2 * VECTORS;
        if (nibbles)
            open_codes(true, words, codes, out);
        else
            open_codes(false, words, codes, out);
    }
}

/* Rows under one block of k and a half panel of 16 outputs. */
struct strip {
    const struct mr_pack *pack;
    const struct panel_block *block;
    const struct mr_int8_rows *rows;
    float *c;           /* the strip's first column of the first row */
    int64_t c_stride, row, k;
    int32_t n, half;    /* values of k; 0 or 16 */
    bool first;         /* c starts at 0 */
};

/* sum[r] = one record's words, for two vectors of outputs, times R rows of x. */
MR_INLINE void dot_record(int R, bool nibbles, int words, const __m256i *codes, const uint8_t *x, int64_t x_stride, __m256i sum[TILE_ROWS][2])
{
    for (int r = 0; r < R; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int g = 0; g < words; g++) {
        __m256i w0 = _mm256_load_si256(codes + g * VECTORS), w1 = _mm256_load_si256(codes + g * VECTORS + 1);
        for (int r = 0; r < R; r++) {
            __m256i word = broadcast_word(x + r * x_stride + 4 * g);
            if (nibbles) {
                sum[r][0] = _mm256_add_epi16(sum[r][0], _mm256_maddubs_epi16(w0, word));
                sum[r][1] = _mm256_add_epi16(sum[r][1], _mm256_maddubs_epi16(w1, word));
            } else {
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(w0, word));
                sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(w1, word));
            }
            hold(&sum[r][0]);
            hold(&sum[r][1]);
        }
    }
}

MR_INLINE void tile_rows(int R, enum mr_pack_code code, enum mr_pack_scale scale, int run, const struct strip *s, int32_t row)
{
    const bool nibbles = code == MR_PACK_NIBBLES;
    const int words = run / (nibbles ? 4 : 2); /* a record's, of one output */
    const int64_t at = (s->row + row) * s->rows->k + s->k, run_stride = s->rows->k / MR_INT8_RUN;
    const uint8_t *x = nibbles ? (const uint8_t *)(s->rows->q + at) : (const uint8_t *)(s->rows->wide + at);
    const int64_t x_stride = s->rows->k * (nibbles ? 1 : 2), c_stride = s->c_stride;
    const struct mr_int8_rows x_scales = scales_from(s->rows, at / MR_INT8_RUN);
    const __m256i *codes = (const __m256i *)s->block->codes + s->half / 8;
    const float *d = s->block->d[0] + s->half, *m = s->block->m[0] + s->half;
    float *c = s->c + row * c_stride;
    __m256 acc[TILE_ROWS][2];
    for (int r = 0; r < R; r++) {
        acc[r][0] = s->first ? _mm256_setzero_ps() : _mm256_loadu_ps(c + r * c_stride);
        acc[r][1] = s->first ? _mm256_setzero_ps() : _mm256_loadu_ps(c + r * c_stride + 8);
    }
    for (int32_t i = 0, n = s->n / run; i < n; i++) {
        __m256i sum[TILE_ROWS][2];
        dot_record(R, nibbles, words, codes + i * words * VECTORS, x + (int64_t)i * words * 4, x_stride, sum);
        for (int r = 0; r < R; r++) {
            struct mr_int8_rows at_run = scales_from(&x_scales, r * run_stride + i * run / MR_INT8_RUN);
            for (int v = 0; v < 2; v++) {
                __m256i total = nibbles ? _mm256_madd_epi16(sum[r][v], _mm256_set1_epi16(1)) : sum[r][v];
                int32_t at_scale = i * MR_PACK_OUTPUTS + 8 * v;
                acc[r][v] = add_block(acc[r][v], total, _mm256_load_ps(d + at_scale), _mm256_load_ps(m + at_scale), &at_run,
                                      scale == MR_SCALE_F16_LESS8, has_minimum(scale));
            }
        }
    }
    for (int r = 0; r < R; r++) {
        _mm256_storeu_ps(c + r * c_stride, acc[r][0]);
        _mm256_storeu_ps(c + r * c_stride + 8, acc[r][1]);
    }
}

MR_INLINE void strip_rows(enum mr_pack_code code, enum mr_pack_scale scale, int run, const struct strip *s, int32_t rows)
{
    int32_t r = 0;
    for (; rows - r == 3 || rows - r > 4; r += TILE_ROWS)
        tile_rows(TILE_ROWS, code, scale, run, s, r);
    for (; rows - r >= 2; r += 2) /* the last four are two and two */
        tile_rows(2, code, scale, run, s, r);
    if (rows - r == 1)
        tile_rows(1, code, scale, run, s, r);
}

static void multiply_strip(const struct strip *s, int32_t rows)
{
    bool nibbles = s->pack->code == MR_PACK_NIBBLES, minimum = has_minimum(s->pack->scale);
    if (nibbles && s->pack->scale == MR_SCALE_F16_LESS8)
        strip_rows(MR_PACK_NIBBLES, MR_SCALE_F16_LESS8, 32, s, rows);
    else if (nibbles)
        strip_rows(MR_PACK_NIBBLES, MR_SCALE_F32_PAIR, 32, s, rows);
    else if (s->pack->run == 16)
        strip_rows(MR_PACK_BYTES, MR_SCALE_F32, 16, s, rows);
    else if (minimum)
        strip_rows(MR_PACK_BYTES, MR_SCALE_F32_PAIR, 32, s, rows);
    else
        strip_rows(MR_PACK_BYTES, MR_SCALE_F32, 32, s, rows);
}

static void multiply_panel(const struct mr_matmul_tile *tile, const uint8_t *panel, const struct mr_int8_rows *rows, int32_t first_row, float *c,
                           int64_t c_stride)
{
    const struct mr_pack *pack = tile->pack;
    struct panel_block *block = (struct panel_block *)tile->scratch;
    for (int32_t k = 0; k < pack->k; k += MR_MATMUL_K_BLOCK) {
        int32_t n = pack->k - k < MR_MATMUL_K_BLOCK ? pack->k - k : MR_MATMUL_K_BLOCK;
        open_block(pack, mr_pack_record(pack, panel, k), n, block);
        for (int half = 0; half < MR_PACK_OUTPUTS; half += 16) {
            struct strip strip = {pack, block, rows, c + half, c_stride, first_row, k, n, half, k == 0};
            multiply_strip(&strip, tile->rows);
        }
    }
}

void mr_int8_multiply_avx2(const struct mr_matmul_tile *tile, const struct mr_int8_rows *rows, int32_t first_row)
{
    const struct mr_pack *pack = tile->pack;
    float *sums = tile->scratch + MR_MATMUL_K_BLOCK * MR_PACK_OUTPUTS;
    for (int32_t p = tile->first_panel; p < tile->end_panel; p++) {
        const uint8_t *panel = pack->data + (size_t)p * pack->panel_bytes;
        if (tile->rows == 1)
            multiply_row(pack, panel, rows, first_row, sums);
        else
            multiply_panel(tile, panel, rows, first_row, sums, MR_PACK_OUTPUTS);
        mr_matmul_store(tile, p, sums, 1);
    }
}

#endif
