/* Block formats taken apart. This file owns the byte layouts of GGUF's quantised blocks (ggml-common.h of llama.cpp is their
 * public definition) and nothing else; the SIMD paths repack what it gives.
 *
 * 1. w = d q + m with d q exact: see quant.h. The K formats' d and m are products of an f16 and a 6 or 8-bit integer, exact too.
 * 2. All bytes are read with memcpy: blocks in a file have no alignment.
 * Thread: any. Rejected: one dequantiser a format beside one repacker a format (twice the layouts to get right). */
#include "kernels/quant.h"

#include "base/check.h"

#include <string.h>

float mr_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 31, mantissa = half & 0x3ffu, bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        float value = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

uint16_t mr_f32_to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (bits >> 13 & 0x3ffu));
    if (bits >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (bits < 0x38800000u) { /* below 2^-14: a multiple of 2^-24, rounded by the adder */
        float magnitude, rounded;
        memcpy(&magnitude, &bits, sizeof magnitude);
        rounded = magnitude + 0.5f; /* 0.5 has an ulp of 2^-24 above it */
        memcpy(&bits, &rounded, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (bits - 0x38000000u) >> 13);
}

float mr_bf16_to_f32(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

bool mr_quant_is_block(enum mr_dtype dtype)
{
    return dtype >= MR_Q4_0 && dtype <= MR_Q6_K;
}

static float load_f16(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return mr_f16_to_f32(half);
}

/* 16 bytes of nibbles: the low ones are elements 0..15, the high ones 16..31; bits (or NULL): a fifth bit for each of the 32. */
static void unpack_nibbles(const uint8_t *nibbles, const uint8_t *bits, int bias, int16_t *q)
{
    uint32_t fifth = 0;
    if (bits)
        memcpy(&fifth, bits, sizeof fifth);
    for (int i = 0; i < 16; i++) {
        q[i] = (int16_t)(((nibbles[i] & 15) | (fifth >> i & 1) << 4) - (uint32_t)bias);
        q[i + 16] = (int16_t)((nibbles[i] >> 4 | (fifth >> (i + 16) & 1) << 4) - (uint32_t)bias);
    }
}

static void set_scales(struct mr_quant_block *out, int first_run, int n_runs, float d, float m)
{
    for (int i = first_run; i < first_run + n_runs; i++) {
        out->d[i] = d;
        out->m[i] = m;
    }
}

/* The eight 6-bit scales and minimums of Q4_K and Q5_K, packed in 12 bytes. */
static void k_scale(const uint8_t packed[12], int i, int *scale, int *minimum)
{
    if (i < 4) {
        *scale = packed[i] & 63;
        *minimum = packed[i + 4] & 63;
    } else {
        *scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4;
        *minimum = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
    }
}

/* Q4_K: f16 d, f16 dmin, 12 bytes of scales, 128 of nibbles; Q5_K has 32 bytes of fifth bits before the nibbles. */
static void unpack_k45(const uint8_t *b, bool five, struct mr_quant_block *out)
{
    float d = load_f16(b), dmin = load_f16(b + 2);
    const uint8_t *fifth = b + 16, *nibbles = b + (five ? 48 : 16);
    for (int i = 0; i < 8; i++) { /* sub-blocks of 32: two share 32 bytes, low nibbles first */
        int scale, minimum;
        k_scale(b + 4, i, &scale, &minimum);
        set_scales(out, 2 * i, 2, d * (float)scale, -(dmin * (float)minimum));
        for (int j = 0; j < 32; j++) {
            int q = nibbles[i / 2 * 32 + j] >> (i % 2 * 4) & 15;
            out->q[i * 32 + j] = (int16_t)(five ? q | (fifth[j] >> i & 1) << 4 : q);
        }
    }
}

/* Q6_K: 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, f16 d. */
static void unpack_q6_k(const uint8_t *b, struct mr_quant_block *out)
{
    const uint8_t *low = b, *high = b + 128;
    float d = load_f16(b + 208);
    for (int i = 0; i < 16; i++)
        set_scales(out, i, 1, d * (float)(int8_t)b[192 + i], 0);
    for (int half = 0; half < 2; half++) {
        for (int j = 0; j < 128; j++) { /* quarter j / 32: low or high nibble of byte j % 64, bits 2 (j / 32) of byte j % 32 */
            int nibble = low[half * 64 + j % 64] >> (j / 64 * 4) & 15;
            int pair = high[half * 32 + j % 32] >> (j / 32 * 2) & 3;
            out->q[half * 128 + j] = (int16_t)((nibble | pair << 4) - 32);
        }
    }
}

void mr_quant_unpack(enum mr_dtype dtype, const void *block, struct mr_quant_block *out)
{
    const uint8_t *b = block;
    switch (dtype) {
    case MR_Q4_0:
        set_scales(out, 0, 2, load_f16(b), 0);
        unpack_nibbles(b + 2, NULL, 8, out->q);
        break;
    case MR_Q4_1:
        set_scales(out, 0, 2, load_f16(b), load_f16(b + 2));
        unpack_nibbles(b + 4, NULL, 0, out->q);
        break;
    case MR_Q5_0:
        set_scales(out, 0, 2, load_f16(b), 0);
        unpack_nibbles(b + 6, b + 2, 16, out->q);
        break;
    case MR_Q5_1:
        set_scales(out, 0, 2, load_f16(b), load_f16(b + 2));
        unpack_nibbles(b + 8, b + 4, 0, out->q);
        break;
    case MR_Q8_0:
        set_scales(out, 0, 2, load_f16(b), 0);
        for (int i = 0; i < 32; i++)
            out->q[i] = (int8_t)b[2 + i];
        break;
    case MR_Q4_K:
    case MR_Q5_K:
        unpack_k45(b, dtype == MR_Q5_K, out);
        break;
    case MR_Q6_K:
        unpack_q6_k(b, out);
        break;
    default:
        CHECK(!"a block format");
    }
}

void mr_quant_row(enum mr_dtype dtype, const void *row, float *out, int64_t k)
{
    const uint8_t *p = row;
    uint16_t half;
    switch (dtype) {
    case MR_F32:
        memcpy(out, row, (size_t)k * sizeof *out);
        return;
    case MR_F16:
    case MR_BF16:
        for (int64_t i = 0; i < k; i++) {
            memcpy(&half, p + 2 * i, sizeof half);
            out[i] = dtype == MR_F16 ? mr_f16_to_f32(half) : mr_bf16_to_f32(half);
        }
        return;
    default:
        CHECK(mr_quant_is_block(dtype));
    }
    struct mr_quant_block block;
    int n = mr_dtype_block_elements(dtype), bytes = mr_dtype_block_bytes(dtype);
    for (int64_t start = 0; start < k; start += n, p += bytes) {
        mr_quant_unpack(dtype, p, &block);
        for (int i = 0; i < n; i++)
            out[start + i] = block.d[i / MR_QUANT_RUN] * (float)block.q[i] + block.m[i / MR_QUANT_RUN];
    }
}
