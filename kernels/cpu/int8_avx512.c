/* The fast product in AVX-512 with VNNI, for the order of sums of int8.h.
 *
 * 1. Lanes are outputs; one vpdpbusd adds four products, of unsigned by signed bytes, to each int32 lane.
 * 2. Nibbles are unsigned as they are. A byte w is taken as w + 128, and 128 times the sum of the record's activations is taken off before:
 *    integer sums are exact in any order (32 x 255 x 127 fits).
 *    Activations of 16 bits (the head's) take bytes widened to int16, two products a vpdpwssd.
 * 3. Codes are opened in registers by every tile of rows: no scratch, and sums stay in registers over the whole of k.
 * Thread: any, on disjoint outputs. */
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512VNNI__)

#include "kernels/cpu/int8.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { VECTORS = MR_PACK_OUTPUTS / 16, TILE_ROWS = 6 };

INLINE __m512i broadcast_word(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

/* d and m of a record's outputs 16 v .. + 15. */
INLINE void load_scales(const struct mr_pack *pack, const uint8_t *record, int v, __m512 *d, __m512 *m)
{
    bool f32 = pack->scale == MR_SCALE_F32 || pack->scale == MR_SCALE_F32_PAIR;
    *d = f32 ? _mm512_loadu_ps(record + 64 * v) : _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)record + v));
    *m = _mm512_setzero_ps();
    if (pack->scale == MR_SCALE_F16_PAIR)
        *m = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)record + VECTORS + v));
    else if (pack->scale == MR_SCALE_F32_PAIR)
        *m = _mm512_loadu_ps(record + 4 * MR_PACK_OUTPUTS + 64 * v);
}

/* sum[r] = what is taken off beforehand: 128 times the row's activations under a record of bytes. */
INLINE void start_sums(int R, bool nibbles, int words, const int8_t *x, int64_t x_stride, __m512i sum[][VECTORS])
{
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) {
        __m512i off = _mm512_setzero_si512();
        for (int g = 0; !nibbles && g < words; g++)
            off = _mm512_dpbusd_epi32(off, _mm512_set1_epi8((char)128), broadcast_word(x + r * x_stride + 4 * g));
        sum[r][0] = sum[r][1] = _mm512_sub_epi32(_mm512_setzero_si512(), off);
    }
}

/* Word g of a record: four codes of k of each output, unsigned. */
INLINE __m512i open_word(bool nibbles, const uint8_t *codes, int g, int v)
{
    if (!nibbles)
        return _mm512_xor_si512(_mm512_loadu_si512(codes + (g * MR_PACK_OUTPUTS + 16 * v) * 4), _mm512_set1_epi8((char)128));
    __m512i words = _mm512_loadu_si512(codes + (g / 2 * MR_PACK_OUTPUTS + 16 * v) * 4);
    return _mm512_and_si512(g % 2 ? _mm512_srli_epi16(words, 4) : words, _mm512_set1_epi8(15));
}

/* Bytes 2 half and 2 half + 1 of every word as two int16. */
INLINE __m512i widen(__m512i words, int half)
{
    const __m512i at = _mm512_broadcast_i32x4(_mm_setr_epi32(0x01800080, 0x05800480, 0x09800880, 0x0d800c80)); /* to the top of its int16 */
    return _mm512_srai_epi16(_mm512_shuffle_epi8(words, _mm512_add_epi8(at, _mm512_set1_epi32(half * 0x02000200))), 8);
}

/* sum[r] += the record's products, for activations of 8 bits. */
INLINE void add_products(int R, bool nibbles, int words, const uint8_t *codes, const int8_t *x, int64_t x_stride, __m512i sum[][VECTORS])
{
    for (int g = 0; g < words; g++) {
        __m512i w[VECTORS] = {open_word(nibbles, codes, g, 0), open_word(nibbles, codes, g, 1)};
#pragma GCC unroll 6
        for (int r = 0; r < R; r++) {
            __m512i word = broadcast_word(x + r * x_stride + 4 * g);
            sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], w[0], word);
            sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], w[1], word);
        }
    }
}

/* sum[r] = the record's products, of bytes with activations of 16 bits. */
INLINE void wide_products(int R, int words, const uint8_t *codes, const int16_t *x, int64_t x_stride, __m512i sum[][VECTORS])
{
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    for (int g = 0; g < 2 * words; g++) {
        __m512i w[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            w[v] = widen(_mm512_loadu_si512(codes + (g / 2 * MR_PACK_OUTPUTS + 16 * v) * 4), g % 2);
#pragma GCC unroll 6
        for (int r = 0; r < R; r++) {
            __m512i pair = broadcast_word(x + r * x_stride + 2 * g);
            sum[r][0] = _mm512_dpwssd_epi32(sum[r][0], w[0], pair);
            sum[r][1] = _mm512_dpwssd_epi32(sum[r][1], w[1], pair);
        }
    }
}

/* One panel under R rows from `row` on. nibbles, less8 and minimum are known where it is called. */
INLINE void tile_rows(int R, bool nibbles, bool less8, bool minimum, const struct mr_pack *pack, const uint8_t *record,
                      const struct mr_int8_rows *rows, int64_t row, float *c)
{
    const int words = pack->run / 4;
    const int64_t run_stride = rows->k / MR_INT8_RUN;
    __m512 acc[TILE_ROWS][VECTORS];
    for (int r = 0; r < R; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (int32_t k = 0; k < pack->k; k += pack->run, record += pack->record_bytes) {
        const int64_t at_x = row * rows->k + k, at = row * run_stride + k / MR_INT8_RUN;
        const uint8_t *codes = record + pack->scale_bytes;
        __m512i sum[TILE_ROWS][VECTORS];
        mr_matmul_read_ahead(record, pack->record_bytes);
        if (nibbles || rows->top == MR_INT8_TOP) {
            start_sums(R, nibbles, words, rows->q + at_x, rows->k, sum);
            add_products(R, nibbles, words, codes, rows->q + at_x, rows->k, sum);
        } else {
            wide_products(R, words, codes, rows->wide + at_x, rows->k, sum);
        }
        for (int v = 0; v < VECTORS; v++) {
            __m512 d, m;
            load_scales(pack, record, v, &d, &m);
#pragma GCC unroll 6
            for (int r = 0; r < R; r++) {
                const int64_t of_row = at + r * run_stride;
                __m512i total = less8 ? _mm512_sub_epi32(sum[r][v], _mm512_set1_epi32(8 * rows->sum[of_row])) : sum[r][v];
                acc[r][v] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(total), d), _mm512_set1_ps(rows->d[of_row]), acc[r][v]);
                if (minimum)
                    acc[r][v] = _mm512_fmadd_ps(m, _mm512_set1_ps(rows->s[of_row]), acc[r][v]);
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++)
            _mm512_storeu_ps(c + r * MR_PACK_OUTPUTS + 16 * v, acc[r][v]);
}

INLINE void rows_of_form(int R, const struct mr_pack *pack, const uint8_t *panel, const struct mr_int8_rows *rows, int64_t row, float *c)
{
    bool minimum = pack->scale == MR_SCALE_F16_PAIR || pack->scale == MR_SCALE_F32_PAIR;
    if (pack->scale == MR_SCALE_F16_LESS8)
        tile_rows(R, true, true, false, pack, panel, rows, row, c);
    else if (pack->code == MR_PACK_NIBBLES)
        tile_rows(R, true, false, true, pack, panel, rows, row, c);
    else if (minimum)
        tile_rows(R, false, false, true, pack, panel, rows, row, c);
    else
        tile_rows(R, false, false, false, pack, panel, rows, row, c);
}

#define ROWS_CASE(R) \
    case R: \
        rows_of_form(R, pack, panel, rows, first_row + r, c + r * MR_PACK_OUTPUTS); \
        break

void mr_int8_multiply_avx512(const struct mr_matmul_tile *tile, const struct mr_int8_rows *rows, int32_t first_row)
{
    const struct mr_pack *pack = tile->pack;
    float *c = tile->scratch;
    for (int32_t p = tile->first_panel; p < tile->end_panel; p++) {
        const uint8_t *panel = pack->data + (size_t)p * pack->panel_bytes;
        for (int32_t r = 0; r < tile->rows; r += TILE_ROWS) {
            switch (tile->rows - r) {
                ROWS_CASE(1);
                ROWS_CASE(2);
                ROWS_CASE(3);
                ROWS_CASE(4);
                ROWS_CASE(5);
            default:
                rows_of_form(TILE_ROWS, pack, panel, rows, first_row + r, c + r * MR_PACK_OUTPUTS);
            }
        }
        mr_matmul_store(tile, p, c, 1);
    }
}

#endif
