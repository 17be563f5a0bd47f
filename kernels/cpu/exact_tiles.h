/* The loops of the exact product, for the order of sums of exact.h, over a path's vectors. Included by matmul_avx2.c and matmul_avx512.c, which
 * define before:
 *     vec, LANES        floats and how many of them; STRIP_VECTORS: the width of a tile of many rows
 *     vec_set1, vec_load, vec_store (aligned), vec_mul, vec_fmadd
 *     vec_half          f16 to floats, from an address
 *     vec_brain         bf16 to floats, from an address
 *     vec_masked        words from any address AND a mask, as floats: the words' numbers, or their bits
 *
 * 1. Lanes are outputs: outputs past the matrix are computed on zeros and not stored. Every tile does the same operations on an output, so rows,
 *    chunks, threads change no bit.
 * 2. A code is multiplied where it stands in its word, and x has been made smaller by as much as the code is too large there: an AND with
 *    memory takes it out. A nibble is then converted, or is a float32 as it stands, a subnormal one; a byte, having a sign, is read to the
 *    word's top and converted.
 * 3. The chains s of a block start anew, so that nothing but them stays in registers; y lies in the scratch. Few rows take several
 *    blocks at a time, for eight chains: an FMA takes four cycles, and two start in each.
 * 4. A tile's loop is eight values of k and no more: on a Zen 3 in a virtual machine the tiles of many rows go as fast as their instructions are
 * fetched (20 bytes a cycle), and whatever makes the code longer, a first value multiplied apart, a whole block unrolled, costs a third.
 * Thread: any, on disjoint outputs. Rejected: d q + m made in registers (as many FMAs again for one row, and half the chains), codes expanded to
 * floats first (12 % slower at 16 rows), packed activations (broadcasts straight from the rows cost nothing more). */
#ifndef MR_KERNELS_CPU_EXACT_TILES_H
#define MR_KERNELS_CPU_EXACT_TILES_H

#include "kernels/cpu/exact.h"

#include <string.h>

enum {
    GROUP = 8,           /* values of k whose codes lie alike */
    VECTORS = MR_PACK_OUTPUTS / LANES,
    TILE_ROWS = 6,
    FEW_ROWS = 2,        /* up to here a tile is as wide as a panel */
    CHAINS = 8,
    RECORDS_AT_ONCE = 8, /* that all rows pass while they are in the first cache */
};

/* How codes become floats. */
enum form { NIBBLES, NIBBLES_SUBNORMAL, BYTES, F16, BF16, F32 };

/* The power of two by which s and y are too large. */
MR_INLINE float excess(enum form form)
{
    return form == NIBBLES ? 0x1p80f : form == NIBBLES_SUBNORMAL ? 0x1p-69f : form == BYTES ? 0x1p24f : 1;
}

MR_INLINE int32_t group_bytes(enum form form)
{
    return GROUP * MR_PACK_OUTPUTS / 2 * (form == F32 ? 8 : form == F16 || form == BF16 ? 4 : form == BYTES ? 2 : 1);
}

/* Value i of a group, in the order of sums, of outputs LANES v .. + LANES - 1. */
MR_INLINE vec value(enum form form, const uint8_t *group, int i, int v)
{
    static const int places[GROUP] = MR_EXACT_PLACES;
    const uint8_t *words = group + 4 * LANES * v, *halves = group + 2 * (i * MR_PACK_OUTPUTS + LANES * v);
    switch (form) {
    case NIBBLES:
    case NIBBLES_SUBNORMAL:
        return vec_masked(words + (i < 5 ? 0 : 2), 15u << 4 * places[i], form == NIBBLES);
    case BYTES:
        return vec_masked(words + i / 4 * 4 * MR_PACK_OUTPUTS + i % 4 - 3, 0xff000000u, true);
    case F16:
        return vec_half(halves);
    case BF16:
        return vec_brain(halves);
    case F32:
        return vec_load((const float *)group + i * MR_PACK_OUTPUTS + LANES * v);
    }
    return vec_set1(0);
}

/* A tile: rows of x by vectors of a panel's outputs, over some records. */
struct tile {
    const uint8_t *record;  /* the first */
    const float *x, *sums;  /* of the first row, from that record on; rows are x_stride and x_stride / 32 apart */
    float *y;               /* of the first row, from the tile's first output on; rows are MR_PACK_OUTPUTS apart */
    size_t record_bytes, scale_bytes;
    enum mr_pack_scale scale;
    int32_t run, x_stride, first_output;
    int32_t n_records, k;   /* k: of x from the first record on, for the last one may be shorter */
    bool ahead;             /* this tile is the first to read these records */
};

/* s[R][V] goes on with value i of a group times x; R and V are known where they are called. */
MR_INLINE void multiply(int R, int V, enum form form, const uint8_t *group, int i, const float *x, int64_t stride, vec s[][VECTORS])
{
    vec w[VECTORS];
    for (int v = 0; v < V; v++)
        w[v] = value(form, group, i, v);
    for (int r = 0; r < R; r++) {
        vec b = vec_set1(x[r * stride]);
        for (int v = 0; v < V; v++) {
            s[r][v] = vec_fmadd(w[v], b, s[r][v]);
            __asm__("" : "+v"(s[r][v])); /* or all rows' b are loaded first, into registers that are not there */
        }
    }
}

/* s[B][R][V] = the chains of B blocks from `block` on; B is 1 where the codes are plain floats, whose last block may be shorter. */
MR_INLINE void multiply_blocks(int B, int R, int V, enum form form, const struct tile *t, int32_t block, vec s[][VECTORS])
{
    const int32_t run = form <= NIBBLES_SUBNORMAL ? 32 : t->run, n = t->k - block * run < run ? t->k - block * run : run;
    const float *x = t->x + block * run;
    const uint8_t *group = t->record + block * t->record_bytes + t->scale_bytes + t->first_output * (form == F16 || form == BF16 ? 2 : 4);
    for (int i = 0; i < B * R * V; i++)
        s[i / V][i % V] = vec_set1(0);
    if (form >= F16) {
        for (int32_t k = 0; k < n; k++, group += group_bytes(form) / GROUP)
            multiply(R, V, form, group, 0, x + k, t->x_stride, s);
        return;
    }
    for (int32_t k = 0; k < run; k += GROUP, group += group_bytes(form)) {
        for (int b = 0; b < B; b++) {
#pragma GCC unroll 8
            for (int i = 0; i < GROUP; i++)
                multiply(R, V, form, group + b * t->record_bytes, i, x + b * run + k + i, t->x_stride, s + b * R);
        }
    }
}

struct scales {
    vec d[VECTORS], m[VECTORS];
};

MR_INLINE struct scales load_scales(int V, enum form form, enum mr_pack_scale scale, const uint8_t *record, int32_t first_output)
{
    const float *single = (const float *)record + first_output;
    const uint8_t *half = record + 2 * first_output;
    struct scales s;
    for (int v = 0; v < V; v++) {
        if (scale == MR_SCALE_F32 || scale == MR_SCALE_F32_PAIR)
            s.d[v] = vec_load(single + LANES * v);
        else
            s.d[v] = scale == MR_SCALE_NONE ? vec_set1(1) : vec_half(half + 2 * LANES * v);
        if (scale == MR_SCALE_F16_LESS8)
            s.m[v] = vec_mul(s.d[v], vec_set1(-8 * excess(form)));
        else if (scale == MR_SCALE_F16_PAIR)
            s.m[v] = vec_mul(vec_half(half + 2 * (MR_PACK_OUTPUTS + LANES * v)), vec_set1(excess(form)));
        else if (scale == MR_SCALE_F32_PAIR)
            s.m[v] = vec_mul(vec_load(single + MR_PACK_OUTPUTS + LANES * v), vec_set1(excess(form)));
    }
    return s;
}

MR_INLINE void add_scaled(int R, int V, enum form form, enum mr_pack_scale scale, const struct tile *t, int32_t block, vec s[][VECTORS])
{
    struct scales w = load_scales(V, form, scale, t->record + block * t->record_bytes, t->first_output);
    for (int r = 0; r < R; r++) {
        for (int v = 0; v < V; v++) {
            float *at = t->y + r * MR_PACK_OUTPUTS + LANES * v;
            vec y = vec_fmadd(w.d[v], s[r][v], vec_load(at));
            if (mr_exact_has_minimum(scale))
                y = vec_fmadd(w.m[v], vec_set1(t->sums[r * (t->x_stride / MR_EXACT_RUN) + block]), y);
            vec_store(at, y);
        }
    }
}

#define SCALE_CASE(SCALE) \
    case SCALE: \
        add_scaled(R, V, form, SCALE, t, block, s); \
        break

/* y goes on with a block: one loop for each kind of scale that the form comes with (pack.c). */
MR_INLINE void add_block(int R, int V, enum form form, const struct tile *t, int32_t block, vec s[][VECTORS])
{
    if (form >= F16) {
        add_scaled(R, V, form, MR_SCALE_NONE, t, block, s);
    } else if (form == BYTES) {
        switch ((int)t->scale) {
            SCALE_CASE(MR_SCALE_F16);
            SCALE_CASE(MR_SCALE_F16_PAIR);
            SCALE_CASE(MR_SCALE_F32);
            SCALE_CASE(MR_SCALE_F32_PAIR);
        }
    } else {
        switch ((int)t->scale) {
            SCALE_CASE(MR_SCALE_F16_LESS8);
            SCALE_CASE(MR_SCALE_F16_PAIR);
            SCALE_CASE(MR_SCALE_F32_PAIR);
        }
    }
}

/* R rows by V vectors; with fewer than CHAINS of them, several blocks of codes at a time. */
MR_INLINE void multiply_tile(int R, int V, enum form form, const struct tile *tile)
{
    const int B = form < F16 && R * V < CHAINS ? CHAINS / (R * V) : 1;
    const struct tile t = *tile; /* y is not in it, so nothing of it is loaded again */
    vec s[TILE_ROWS][VECTORS];
    int32_t block = 0;
    for (; block + B <= t.n_records; block += B) {
        if (t.ahead)
            mr_matmul_read_ahead(t.record + block * t.record_bytes, B * t.record_bytes);
        multiply_blocks(B, R, V, form, &t, block, s);
        for (int b = 0; b < B; b++)
            add_block(R, V, form, &t, block + b, s + b * R);
    }
    for (; block < t.n_records; block++) {
        multiply_blocks(1, R, V, form, &t, block, s);
        add_block(R, V, form, &t, block, s);
    }
}

/* Each tile is a function of its own, in which the compiler finds registers for it. */
#define TILE(FORM, R, V) \
    static void tile_##FORM##_##R(const struct tile *tile) \
    { \
        multiply_tile(R, V, FORM, tile); \
    }
#define TILES(FORM) \
    TILE(FORM, 1, VECTORS) \
    TILE(FORM, 2, VECTORS) \
    TILE(FORM, 3, STRIP_VECTORS) \
    TILE(FORM, 4, STRIP_VECTORS) \
    TILE(FORM, 5, STRIP_VECTORS) \
    TILE(FORM, 6, STRIP_VECTORS)
#define TILE_NAMES(FORM) \
    [FORM] = {NULL, tile_##FORM##_1, tile_##FORM##_2, tile_##FORM##_3, tile_##FORM##_4, tile_##FORM##_5, tile_##FORM##_6}

TILES(NIBBLES)
TILES(NIBBLES_SUBNORMAL)
TILES(BYTES)
TILES(F16)
TILES(BF16)
TILES(F32)

static void (*const tiles[][TILE_ROWS + 1])(const struct tile *tile) = {
    TILE_NAMES(NIBBLES), TILE_NAMES(NIBBLES_SUBNORMAL), TILE_NAMES(BYTES), TILE_NAMES(F16), TILE_NAMES(BF16), TILE_NAMES(F32)};

/* A panel under all rows, which `all` begins with. Rows are dealt out evenly: seven as four and three, for one alone is as dear as four. */
static void multiply_panel(enum form form, int32_t rows, const struct tile *all)
{
    enum { STRIPS = VECTORS / STRIP_VECTORS };
    if (rows <= FEW_ROWS) {
        tiles[form][rows](all);
        return;
    }
    const int32_t n_tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int32_t record = 0; record < all->n_records; record += RECORDS_AT_ONCE) {
        for (int32_t i = 0; i < n_tiles * STRIPS; i++) {
            int32_t row = rows * (i / STRIPS) / n_tiles, end = rows * (i / STRIPS + 1) / n_tiles, left = all->n_records - record;
            struct tile t = *all;
            t.record += record * t.record_bytes;
            t.x += (int64_t)row * t.x_stride + record * t.run;
            t.sums += row * (t.x_stride / MR_EXACT_RUN) + record;
            t.first_output = i % STRIPS * STRIP_VECTORS * LANES;
            t.y += row * MR_PACK_OUTPUTS + t.first_output;
            t.n_records = left < RECORDS_AT_ONCE ? left : RECORDS_AT_ONCE;
            t.k -= record * t.run;
            t.ahead = i == 0;
            tiles[form][end - row](&t);
        }
    }
}

/* With nibbles converted. */
static enum form form_of(enum mr_pack_code code)
{
    static const enum form forms[] = {
        [MR_PACK_NIBBLES] = NIBBLES, [MR_PACK_BYTES] = BYTES, [MR_PACK_F16] = F16, [MR_PACK_BF16] = BF16, [MR_PACK_F32] = F32};
    return forms[code];
}

static void multiply_panels(const struct mr_matmul_tile *tile, const struct mr_exact_rows *rows, int32_t first_row, enum form form)
{
    const struct mr_pack *pack = tile->pack;
    struct tile t = {
        .x = (form <= NIBBLES_SUBNORMAL ? rows->scaled : rows->x) + first_row * rows->k,
        .sums = rows->sums + first_row * (rows->k / MR_EXACT_RUN),
        .y = tile->scratch,
        .record_bytes = pack->record_bytes,
        .scale_bytes = pack->scale_bytes,
        .scale = pack->scale,
        .run = pack->run,
        .x_stride = pack->k,
        .n_records = pack->n_records,
        .k = pack->k,
        .ahead = true,
    };
    for (int32_t p = tile->first_panel; p < tile->end_panel; p++) {
        t.record = pack->data + (size_t)p * pack->panel_bytes;
        memset(t.y, 0, (size_t)tile->rows * MR_PACK_OUTPUTS * sizeof *t.y);
        multiply_panel(form, tile->rows, &t);
        mr_matmul_store(tile, p, t.y, 1 / excess(form));
    }
}

#endif
