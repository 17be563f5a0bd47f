/* A weight part repacked for SIMD: panels of 32 outputs, in the order in which the kernels read.
 *
 * A panel is a run of records, one for every `run` values of k: first the record's scales, then its codes.
 *   scales: d[32], then m[32] where the format has minimums; f16 or f32, output o's at index o
 *   codes:  MR_PACK_NIBBLES: [run / 8][32 outputs] words of 8 values of k: byte b's low nibble is k = b, its high one k = 4 + b
 *           MR_PACK_BYTES:   [run / 4][32 outputs] words of 4 int8, byte b is k = b
 *           others:          [run][32 outputs] values
 * Outputs past the part's rows are zero. The value is w = d q + m, exact in float32 before its one rounding (quant.h); nibbles of
 * Q4_0 have m = -8 d, which is not stored. */
#ifndef MR_KERNELS_CPU_PACK_H
#define MR_KERNELS_CPU_PACK_H

#include "kernels/cpu/pages.h"
#include "kernels/ops.h"

enum {
    MR_PACK_OUTPUTS = 32,
    MR_PACK_AFTER = 2, /* bytes behind the last record that may be read: words are read off their bounds */
};

enum mr_pack_code { MR_PACK_NIBBLES, MR_PACK_BYTES, MR_PACK_F16, MR_PACK_BF16, MR_PACK_F32 };

enum mr_pack_scale {
    MR_SCALE_NONE,     /* the codes are the values */
    MR_SCALE_F16,      /* d */
    MR_SCALE_F16_LESS8,/* d; m = -8 d */
    MR_SCALE_F16_PAIR, /* d, m */
    MR_SCALE_F32,      /* d */
    MR_SCALE_F32_PAIR, /* d, m */
};

/* How a format is packed. */
struct mr_pack_form {
    enum mr_pack_code code;
    enum mr_pack_scale scale;
    int32_t run; /* values of k a record covers: 32, or 16 (Q6_K) */
};

struct mr_pack {
    enum mr_pack_code code;
    enum mr_pack_scale scale;
    int32_t run;
    int32_t rows, k;
    int32_t n_panels, n_records; /* records a panel */
    size_t scale_bytes, record_bytes, panel_bytes;
    uint8_t *data;            /* [n_panels][n_records][record_bytes], 64-byte aligned; of the arena it was opened with */
};

/* Repacks part into memory of pages; MR_ERR_NOMEM, or MR_ERR_LIMIT when a side passes int32. */
enum mr_status mr_pack_open(struct mr_pages *pages, const struct mr_weight_part *part, int64_t k, struct mr_pack *out, struct mr_err *err);
void mr_pack_close(struct mr_pages *pages, struct mr_pack *pack);
struct mr_pack_form mr_pack_form_of(enum mr_dtype dtype);
/* The record that begins with value k, a multiple of run, of a panel. */
static inline const uint8_t *mr_pack_record(const struct mr_pack *pack, const uint8_t *panel, int32_t k)
{
    return panel + (size_t)(k / pack->run) * pack->record_bytes;
}
static inline size_t mr_pack_bytes(const struct mr_pack *pack) { return (size_t)pack->n_panels * pack->panel_bytes; }

#endif
