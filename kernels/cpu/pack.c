#include "kernels/cpu/pack.h"

#include "base/check.h"
#include "kernels/quant.h"

#include <string.h>

static const struct mr_pack_form forms[MR_DTYPE_COUNT] = {
    [MR_F32] = {MR_PACK_F32, MR_SCALE_NONE, 32},
    [MR_F16] = {MR_PACK_F16, MR_SCALE_NONE, 32},
    [MR_BF16] = {MR_PACK_BF16, MR_SCALE_NONE, 32},
    [MR_Q4_0] = {MR_PACK_NIBBLES, MR_SCALE_F16_LESS8, 32},
    [MR_Q4_1] = {MR_PACK_NIBBLES, MR_SCALE_F16_PAIR, 32},
    [MR_Q5_0] = {MR_PACK_BYTES, MR_SCALE_F16, 32},
    [MR_Q5_1] = {MR_PACK_BYTES, MR_SCALE_F16_PAIR, 32},
    [MR_Q8_0] = {MR_PACK_BYTES, MR_SCALE_F16, 32},
    [MR_Q4_K] = {MR_PACK_NIBBLES, MR_SCALE_F32_PAIR, 32},
    [MR_Q5_K] = {MR_PACK_BYTES, MR_SCALE_F32_PAIR, 32},
    [MR_Q6_K] = {MR_PACK_BYTES, MR_SCALE_F32, 16},
};

struct mr_pack_form mr_pack_form_of(enum mr_dtype dtype)
{
    return forms[dtype];
}

static size_t scale_bytes(enum mr_pack_scale scale)
{
    static const size_t each[] = {[MR_SCALE_NONE] = 0,     [MR_SCALE_F16] = 2, [MR_SCALE_F16_LESS8] = 2,
                                  [MR_SCALE_F16_PAIR] = 4, [MR_SCALE_F32] = 4, [MR_SCALE_F32_PAIR] = 8};
    return MR_PACK_OUTPUTS * each[scale];
}

static size_t code_bytes(enum mr_pack_code code, int run)
{
    static const size_t half_bytes[] = {[MR_PACK_NIBBLES] = 1, [MR_PACK_BYTES] = 2, [MR_PACK_F16] = 4, [MR_PACK_BF16] = 4, [MR_PACK_F32] = 8};
    return MR_PACK_OUTPUTS * (size_t)run * half_bytes[code] / 2;
}

static void put_scale(const struct mr_pack *pack, uint8_t *record, int output, float d, float m)
{
    bool pair = pack->scale == MR_SCALE_F16_PAIR || pack->scale == MR_SCALE_F32_PAIR;
    if (pack->scale == MR_SCALE_F32 || pack->scale == MR_SCALE_F32_PAIR) {
        memcpy(record + 4 * output, &d, sizeof d);
        if (pair)
            memcpy(record + 4 * (MR_PACK_OUTPUTS + output), &m, sizeof m);
    } else {
        uint16_t half_d = mr_f32_to_f16(d), half_m = mr_f32_to_f16(m); /* exact: they were f16 in the file */
        memcpy(record + 2 * output, &half_d, sizeof half_d);
        if (pair)
            memcpy(record + 2 * (MR_PACK_OUTPUTS + output), &half_m, sizeof half_m);
    }
}

/* One record's codes of one output. */
static void put_codes(const struct mr_pack *pack, uint8_t *codes, int output, const int16_t *q)
{
    for (int i = 0; i < pack->run; i++) {
        if (pack->code == MR_PACK_BYTES) {
            codes[(i / 4 * MR_PACK_OUTPUTS + output) * 4 + i % 4] = (uint8_t)q[i];
        } else {
            int nibble = q[i] + (pack->scale == MR_SCALE_F16_LESS8 ? 8 : 0);
            codes[(i / 8 * MR_PACK_OUTPUTS + output) * 4 + i % 4] |= (uint8_t)(nibble << (i / 4 % 2 * 4));
        }
    }
}

static void pack_block_row(const struct mr_pack *pack, enum mr_dtype dtype, const uint8_t *row, uint8_t *panel, int output)
{
    struct mr_quant_block block;
    int elements = mr_dtype_block_elements(dtype), bytes = mr_dtype_block_bytes(dtype);
    for (int32_t start = 0; start < pack->k; start += elements, row += bytes) {
        mr_quant_unpack(dtype, row, &block);
        for (int i = 0; i < elements; i += pack->run) {
            uint8_t *record = panel + (size_t)((start + i) / pack->run) * pack->record_bytes;
            put_scale(pack, record, output, block.d[i / MR_QUANT_RUN], block.m[i / MR_QUANT_RUN]);
            put_codes(pack, record + pack->scale_bytes, output, block.q + i);
        }
    }
}

static void pack_plain_row(const struct mr_pack *pack, const uint8_t *row, uint8_t *panel, int output)
{
    size_t size = pack->code == MR_PACK_F32 ? 4 : 2;
    for (int32_t i = 0; i < pack->k; i++) /* records of plain values follow each other without a gap */
        memcpy(panel + ((size_t)i * MR_PACK_OUTPUTS + (size_t)output) * size, row + (size_t)i * size, size);
}

enum mr_status mr_pack_open(struct mr_pages *pages, const struct mr_weight_part *part, int64_t k, struct mr_pack *out, struct mr_err *err)
{
    if (k > INT32_MAX / 2 || part->rows > INT32_MAX / 2)
        return mr_err_set(err, MR_ERR_LIMIT, "a matrix of %lld rows of %lld is too large", (long long)part->rows, (long long)k);
    struct mr_pack pack = {.code = forms[part->dtype].code, .scale = forms[part->dtype].scale, .run = forms[part->dtype].run};
    pack.rows = (int32_t)part->rows;
    pack.k = (int32_t)k;
    pack.n_panels = (pack.rows + MR_PACK_OUTPUTS - 1) / MR_PACK_OUTPUTS;
    pack.n_records = (pack.k + pack.run - 1) / pack.run;
    pack.scale_bytes = scale_bytes(pack.scale);
    pack.record_bytes = pack.scale_bytes + code_bytes(pack.code, pack.run);
    pack.panel_bytes = (size_t)pack.n_records * pack.record_bytes;
    size_t bytes = mr_pack_bytes(&pack);
    pack.data = mr_pages_alloc(pages, bytes + MR_PACK_AFTER);
    if (!pack.data)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %zu bytes of repacked weights", bytes);
    memset(pack.data, 0, bytes);
    int64_t row_bytes = mr_dtype_row_bytes(part->dtype, k);
    for (int32_t r = 0; r < pack.rows; r++) {
        const uint8_t *row = (const uint8_t *)part->data + r * row_bytes;
        uint8_t *panel = pack.data + (size_t)(r / MR_PACK_OUTPUTS) * pack.panel_bytes;
        if (mr_quant_is_block(part->dtype))
            pack_block_row(&pack, part->dtype, row, panel, r % MR_PACK_OUTPUTS);
        else
            pack_plain_row(&pack, row, panel, r % MR_PACK_OUTPUTS);
    }
    *out = pack;
    return MR_OK;
}

void mr_pack_close(struct mr_pages *pages, struct mr_pack *pack)
{
    mr_pages_release(pages, pack->data);
    pack->data = NULL;
}
