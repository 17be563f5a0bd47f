/* Owns nothing: writes head, vocabulary and tensors from front to back, in the order of the model's table.
 * Invariants:
 * 1. A file that is there was written whole: after a failure it is gone, and one that was there before is never touched.
 * 2. Offsets come from the same function as the bytes that are written (file_bytes).
 * One thread. Rejected: a mapping of the whole file (16 GB of dirty pages; a full disk would be a signal). */
#include "worker/model/gguf_write.h"

#include "base/buf.h"
#include "kernels/quant.h"
#include "worker/model/format_gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 32, ROWS_BYTES = 8 << 20, N_KEYS = 15, TYPE_NORMAL = 1, TYPE_CONTROL = 3 };
enum { NUMBER_F32 = 0, NUMBER_Q8_0 = 8, NUMBER_BF16 = 30 }; /* ggml's type numbers */

static void add_u32(struct mr_buf *b, uint32_t x) { mr_buf_add(b, &x, sizeof x); }
static void add_u64(struct mr_buf *b, uint64_t x) { mr_buf_add(b, &x, sizeof x); }

static void add_str(struct mr_buf *b, struct mr_str s)
{
    add_u64(b, s.n);
    mr_buf_add_str(b, s);
}

static void add_key(struct mr_buf *b, const char *name, uint32_t type)
{
    add_str(b, mr_str_from(name));
    add_u32(b, type);
}

static void add_key_str(struct mr_buf *b, const char *name, const char *value)
{
    add_key(b, name, MR_GGUF_STRING);
    add_str(b, mr_str_from(value));
}

/* Of the family: "llama.block_count". */
static void add_number(struct mr_buf *b, const struct mr_shape *shape, const char *name, uint32_t type, const void *value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", shape->family, name);
    add_key(b, full, type);
    mr_buf_add(b, value, 4);
}

static void add_shape(struct mr_buf *b, const struct mr_shape *s)
{
    const struct {
        const char *name;
        const int32_t *value;
    } whole[] = {{"block_count", &s->n_layers}, {"context_length", &s->context}, {"embedding_length", &s->hidden},
                 {"feed_forward_length", &s->ffn}, {"attention.head_count", &s->n_heads}, {"attention.head_count_kv", &s->n_kv_heads},
                 {"attention.key_length", &s->head_dim}, {"rope.dimension_count", &s->rope_dim}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        add_number(b, s, whole[i].name, MR_GGUF_U32, whole[i].value);
    add_number(b, s, "attention.layer_norm_rms_epsilon", MR_GGUF_F32, &s->norm_epsilon);
    add_number(b, s, "rope.freq_base", MR_GGUF_F32, &s->rope_base);
}

/* A byte as byte-level BPE spells it (GPT-2): printable ones as themselves, the others as letters from U+0100 on; UTF-8. */
static void add_byte_token(struct mr_buf *b, int byte)
{
    int code = byte, others = 0;
    for (int c = 0; c <= byte; c++) {
        bool plain = (c >= 33 && c <= 126) || (c >= 161 && c != 173);
        code = plain ? c : 256 + others++;
    }
    char utf8[2] = {(char)(code < 128 ? code : 0xc0 | code >> 6), (char)(0x80 | (code & 63))};
    add_str(b, (struct mr_str){utf8, code < 128 ? 1 : 2});
}

static void add_vocabulary(struct mr_buf *b, int32_t n)
{
    static const char *const control[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    add_key_str(b, "tokenizer.ggml.model", "gpt2");
    add_key(b, "tokenizer.ggml.tokens", MR_GGUF_ARRAY);
    add_u32(b, MR_GGUF_STRING);
    add_u64(b, (uint64_t)n);
    for (int32_t id = 0; id < n; id++) {
        char name[16];
        snprintf(name, sizeof name, "<%d>", id);
        if (id < 256)
            add_byte_token(b, id);
        else
            add_str(b, mr_str_from(id <= MR_SYNTHETIC_EOS ? control[id - 256] : name));
    }
    add_key(b, "tokenizer.ggml.token_type", MR_GGUF_ARRAY);
    add_u32(b, MR_GGUF_I32);
    add_u64(b, (uint64_t)n);
    for (int32_t id = 0; id < n; id++)
        add_u32(b, id >= 256 && id <= MR_SYNTHETIC_EOS ? TYPE_CONTROL : TYPE_NORMAL);
    add_key(b, "tokenizer.ggml.eos_token_id", MR_GGUF_U32);
    add_u32(b, MR_SYNTHETIC_EOS);
}

static bool turns_bf16(const struct mr_tensor *t, bool bf16) { return bf16 && t->dims[1] > 1; }

static size_t file_bytes(const struct mr_tensor *t, bool bf16)
{
    return turns_bf16(t, bf16) ? (size_t)(t->dims[0] * t->dims[1]) * sizeof(uint16_t) : t->bytes;
}

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static void add_head(struct mr_buf *b, const struct mr_synthetic *model, bool bf16)
{
    size_t offset = 0;
    mr_buf_add(b, "GGUF", 4);
    add_u32(b, 3);
    add_u64(b, model->table.n);
    add_u64(b, N_KEYS);
    add_key_str(b, "general.architecture", model->shape.family);
    add_shape(b, &model->shape);
    add_vocabulary(b, model->shape.vocabulary);
    for (size_t i = 0; i < model->table.n; i++) {
        const struct mr_tensor *t = &model->table.tensors[i];
        add_str(b, t->name);
        add_u32(b, (uint32_t)t->n_dims);
        for (int d = 0; d < t->n_dims; d++)
            add_u64(b, (uint64_t)t->dims[d]);
        add_u32(b, turns_bf16(t, bf16) ? NUMBER_BF16 : t->dtype == MR_F32 ? NUMBER_F32 : NUMBER_Q8_0);
        add_u64(b, offset);
        offset += aligned(file_bytes(t, bf16));
    }
    while (b->n % ALIGNMENT)
        mr_buf_add_char(b, 0);
}

static bool put(int fd, const void *bytes, size_t n)
{
    for (const char *p = bytes; n > 0;) {
        ssize_t wrote = write(fd, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        p += wrote;
        n -= (size_t)wrote;
    }
    return true;
}

/* To nearest, ties to even; weights are numbers. */
static uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Some rows at a time. */
static bool put_bf16(int fd, const struct mr_tensor *t)
{
    int64_t k = t->dims[0], row_bytes = mr_dtype_row_bytes(t->dtype, k), rows = ROWS_BYTES / (k * 2) + 1;
    float *row = malloc((size_t)k * sizeof *row);
    uint16_t *out = malloc((size_t)(rows * k) * sizeof *out);
    bool ok = row && out;
    for (int64_t r = 0, n = 0; ok && r < t->dims[1]; r++) {
        mr_quant_row(t->dtype, (const char *)t->data + r * row_bytes, row, k);
        for (int64_t i = 0; i < k; i++)
            out[n * k + i] = bf16_of(row[i]);
        if (++n == rows || r + 1 == t->dims[1]) {
            ok = put(fd, out, (size_t)(n * k) * sizeof *out);
            n = 0;
        }
    }
    free(row);
    free(out);
    return ok;
}

static bool put_tensor(int fd, const struct mr_tensor *t, bool bf16)
{
    static const char zeros[ALIGNMENT];
    size_t bytes = file_bytes(t, bf16);
    return (turns_bf16(t, bf16) ? put_bf16(fd, t) : put(fd, t->data, bytes)) && put(fd, zeros, aligned(bytes) - bytes);
}

enum mr_status mr_gguf_write(const char *path, const struct mr_synthetic *model, bool bf16, struct mr_err *err)
{
    struct mr_buf head = {0};
    if (model->shape.vocabulary <= MR_SYNTHETIC_EOS)
        return mr_err_set(err, MR_ERR_INVALID, "a vocabulary of %d has no room for bytes and control tokens", model->shape.vocabulary);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return mr_err_set(err, errno == EEXIST ? MR_ERR_INVALID : MR_ERR_IO, "%s: %s", path, strerror(errno));
    add_head(&head, model, bf16);
    bool ok = !head.failed && put(fd, head.p, head.n);
    mr_buf_fini(&head);
    for (size_t i = 0; i < model->table.n && ok; i++)
        ok = put_tensor(fd, &model->table.tensors[i], bf16);
    int error = errno;
    if (close(fd) == 0 && ok)
        return MR_OK;
    unlink(path);
    return mr_err_set(err, MR_ERR_IO, "%s could not be written whole: %s", path, strerror(error));
}
