/* Owns the mapping and the tables of keys and tensors.
 * Invariants:
 * 1. Nothing is read that take() has not held against the bytes left; nothing is allocated for a count that the bytes left could
 *    not hold at the smallest size of an element.
 * 2. After parse every value of every key has been walked once: getters may trust lengths, but still read by memcpy (values
 *    have any alignment).
 * 3. Tensors lie in [data_offset, size), aligned, pairwise apart.
 * 4. A name is shown in an error only through show(), cut and with unprintable bytes replaced.
 * Thread: open in any; read-only afterwards. Rejected: arrays of arrays (no model file has them, and depth is a way to attack a
 * parser); splitting parse from check (a table that is not yet checked is a table that gets used). */
#include "worker/model/format_gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct reader {
    const unsigned char *bytes;
    size_t size, at;
};

enum { SHOWN_BYTES = 72 };

static const char *show(struct mr_str name, char out[SHOWN_BYTES])
{
    size_t n = name.n < SHOWN_BYTES - 4 ? name.n : SHOWN_BYTES - 4;
    for (size_t i = 0; i < n; i++)
        out[i] = name.p[i] >= 0x20 && name.p[i] < 0x7f ? name.p[i] : '?';
    memcpy(out + n, n < name.n ? "..." : "", n < name.n ? 4 : 1);
    return out;
}

static const unsigned char *take(struct reader *r, uint64_t n)
{
    if (n > r->size - r->at)
        return NULL;
    const unsigned char *p = r->bytes + r->at;
    r->at += (size_t)n;
    return p;
}

static uint32_t u32_at(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }
static uint64_t u64_at(const unsigned char *p) { return u32_at(p) | (uint64_t)u32_at(p + 4) << 32; }

static bool take_u32(struct reader *r, uint32_t *out)
{
    const unsigned char *p = take(r, 4);
    if (p)
        *out = u32_at(p);
    return p;
}

static bool take_u64(struct reader *r, uint64_t *out)
{
    const unsigned char *p = take(r, 8);
    if (p)
        *out = u64_at(p);
    return p;
}

static bool take_str(struct reader *r, struct mr_str *out)
{
    uint64_t n;
    const unsigned char *p = take_u64(r, &n) ? take(r, n) : NULL;
    if (p)
        *out = (struct mr_str){(const char *)p, (size_t)n};
    return p;
}

static enum mr_status cut_short(struct mr_err *err, const char *where, struct mr_str name)
{
    char shown[SHOWN_BYTES];
    return mr_err_set(err, MR_ERR_INVALID, "the file ends inside %s %s", where, show(name, shown));
}

static const struct {
    const char *name;
    size_t bytes; /* the least an element takes */
} types[MR_GGUF_TYPE_COUNT] = {
    [MR_GGUF_U8] = {"u8", 1},   [MR_GGUF_I8] = {"i8", 1},     [MR_GGUF_U16] = {"u16", 2},      [MR_GGUF_I16] = {"i16", 2},
    [MR_GGUF_U32] = {"u32", 4}, [MR_GGUF_I32] = {"i32", 4},   [MR_GGUF_F32] = {"f32", 4},      [MR_GGUF_BOOL] = {"bool", 1},
    [MR_GGUF_U64] = {"u64", 8}, [MR_GGUF_I64] = {"i64", 8},   [MR_GGUF_F64] = {"f64", 8},      [MR_GGUF_STRING] = {"string", 8},
    [MR_GGUF_ARRAY] = {"array", 12},
};

const char *mr_gguf_type_name(enum mr_gguf_type type) { return (unsigned)type < MR_GGUF_TYPE_COUNT ? types[type].name : "unknown"; }

/* Walks the elements of key from r->at on and leaves r behind them. */
static enum mr_status value_walk(struct reader *r, struct mr_gguf_key *key, struct mr_err *err)
{
    char shown[SHOWN_BYTES];
    key->value = r->bytes + r->at;
    if (key->count > (r->size - r->at) / types[key->type].bytes)
        return mr_err_set(err, MR_ERR_INVALID, "key %s claims %llu elements, more than the file holds", show(key->name, shown),
                          (unsigned long long)key->count);
    if (key->count > MR_GGUF_ARRAY_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "key %s has %llu elements, more than %d", show(key->name, shown), (unsigned long long)key->count,
                          MR_GGUF_ARRAY_MAX);
    if (key->type != MR_GGUF_STRING)
        take(r, key->count * types[key->type].bytes);
    for (uint64_t i = 0; key->type == MR_GGUF_STRING && i < key->count; i++) {
        struct mr_str s;
        if (!take_str(r, &s))
            return cut_short(err, "a string of key", key->name);
        if (s.n > MR_GGUF_STRING_BYTES_MAX)
            return mr_err_set(err, MR_ERR_LIMIT, "a string of key %s has %zu bytes, more than %d", show(key->name, shown), s.n,
                              MR_GGUF_STRING_BYTES_MAX);
    }
    key->value_bytes = (size_t)(r->bytes + r->at - key->value);
    for (uint64_t i = 0; key->type == MR_GGUF_BOOL && i < key->count; i++)
        if (key->value[i] > 1)
            return mr_err_set(err, MR_ERR_INVALID, "key %s: a boolean is %d", show(key->name, shown), key->value[i]);
    return MR_OK;
}

static enum mr_status name_take(struct reader *r, const char *what, size_t index, struct mr_str *name, struct mr_err *err)
{
    if (!take_str(r, name))
        return mr_err_set(err, MR_ERR_INVALID, "the file ends inside the name of %s %zu", what, index);
    if (name->n == 0 || name->n > MR_GGUF_NAME_BYTES_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "the name of %s %zu has %zu bytes, not 1 to %d", what, index, name->n, MR_GGUF_NAME_BYTES_MAX);
    if (memchr(name->p, 0, name->n))
        return mr_err_set(err, MR_ERR_INVALID, "the name of %s %zu holds a NUL", what, index);
    return MR_OK;
}

static enum mr_status key_read(struct reader *r, size_t index, struct mr_gguf_key *key, struct mr_err *err)
{
    uint32_t type;
    char shown[SHOWN_BYTES];
    enum mr_status status = name_take(r, "key", index, &key->name, err);
    if (status)
        return status;
    if (!take_u32(r, &type))
        return cut_short(err, "key", key->name);
    key->count = 1;
    if (type == MR_GGUF_ARRAY) {
        key->array = true;
        if (!take_u32(r, &type) || !take_u64(r, &key->count))
            return cut_short(err, "key", key->name);
        if (type == MR_GGUF_ARRAY)
            return mr_err_set(err, MR_ERR_UNSUPPORTED, "key %s is an array of arrays", show(key->name, shown));
    }
    if (type >= MR_GGUF_TYPE_COUNT)
        return mr_err_set(err, MR_ERR_INVALID, "key %s has the unknown type %u", show(key->name, shown), type);
    key->type = (enum mr_gguf_type)type;
    return value_walk(r, key, err);
}

/* ggml's type numbers; a name without a dtype is known but not read. */
static const struct {
    uint32_t number;
    int dtype; /* -1: not read */
    const char *name;
} tensor_types[] = {
    {0, MR_F32, "F32"}, {1, MR_F16, "F16"}, {2, MR_Q4_0, "Q4_0"}, {3, MR_Q4_1, "Q4_1"}, {6, MR_Q5_0, "Q5_0"}, {7, MR_Q5_1, "Q5_1"},
    {8, MR_Q8_0, "Q8_0"}, {9, -1, "Q8_1"}, {10, -1, "Q2_K"}, {11, -1, "Q3_K"}, {12, MR_Q4_K, "Q4_K"}, {13, MR_Q5_K, "Q5_K"},
    {14, MR_Q6_K, "Q6_K"}, {15, -1, "Q8_K"}, {16, -1, "IQ2_XXS"}, {17, -1, "IQ2_XS"}, {18, -1, "IQ3_XXS"}, {19, -1, "IQ1_S"},
    {20, -1, "IQ4_NL"}, {21, -1, "IQ3_S"}, {22, -1, "IQ2_S"}, {23, -1, "IQ4_XS"}, {24, -1, "I8"}, {25, -1, "I16"}, {26, -1, "I32"},
    {27, -1, "I64"}, {28, -1, "F64"}, {29, -1, "IQ1_M"}, {30, MR_BF16, "BF16"}, {34, -1, "TQ1_0"}, {35, -1, "TQ2_0"}, {39, -1, "MXFP4"},
};

static enum mr_status tensor_type(uint32_t number, struct mr_tensor *tensor, struct mr_err *err)
{
    char shown[SHOWN_BYTES];
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++) {
        if (tensor_types[i].number != number)
            continue;
        if (tensor_types[i].dtype < 0)
            return mr_err_set(err, MR_ERR_UNSUPPORTED, "tensor %s has the type %s, which is not read", show(tensor->name, shown),
                              tensor_types[i].name);
        tensor->dtype = (enum mr_dtype)tensor_types[i].dtype;
        return MR_OK;
    }
    return mr_err_set(err, MR_ERR_INVALID, "tensor %s has the unknown type %u", show(tensor->name, shown), number);
}

/* Bytes of the tensor, from its dims; every product checked. */
static enum mr_status tensor_size(struct mr_tensor *tensor, struct mr_err *err)
{
    char shown[SHOWN_BYTES];
    int64_t row_bytes = mr_dtype_row_bytes(tensor->dtype, tensor->dims[0]), rows = 1, total;
    if (row_bytes <= 0)
        return mr_err_set(err, MR_ERR_INVALID, "tensor %s: a row of %lld elements is no whole number of %s blocks", show(tensor->name, shown),
                          (long long)tensor->dims[0], mr_dtype_name(tensor->dtype));
    for (int i = 1; i < MR_TENSOR_DIMS_MAX; i++)
        if (__builtin_mul_overflow(rows, tensor->dims[i], &rows))
            return mr_err_set(err, MR_ERR_INVALID, "tensor %s: its dimensions overflow", show(tensor->name, shown));
    if (__builtin_mul_overflow(rows, row_bytes, &total))
        return mr_err_set(err, MR_ERR_INVALID, "tensor %s: its size overflows", show(tensor->name, shown));
    tensor->bytes = (size_t)total;
    return MR_OK;
}

/* Leaves the tensor's offset in *offset; its place is checked once the data's origin is known. */
static enum mr_status tensor_read(struct reader *r, size_t index, struct mr_tensor *tensor, uint64_t *offset, struct mr_err *err)
{
    uint32_t n_dims, type;
    char shown[SHOWN_BYTES];
    enum mr_status status = name_take(r, "tensor", index, &tensor->name, err);
    if (status)
        return status;
    if (!take_u32(r, &n_dims))
        return cut_short(err, "tensor", tensor->name);
    if (n_dims < 1 || n_dims > MR_TENSOR_DIMS_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "tensor %s has %u dimensions, not 1 to %d", show(tensor->name, shown), n_dims, MR_TENSOR_DIMS_MAX);
    tensor->n_dims = (int32_t)n_dims;
    for (uint32_t i = 0; i < MR_TENSOR_DIMS_MAX; i++) {
        uint64_t dim = 1;
        if (i < n_dims && !take_u64(r, &dim))
            return cut_short(err, "tensor", tensor->name);
        if (dim < 1 || dim > INT_MAX) /* kernels count rows and columns in 32 bits */
            return mr_err_set(err, MR_ERR_INVALID, "tensor %s: dimension %u is %llu", show(tensor->name, shown), i, (unsigned long long)dim);
        tensor->dims[i] = (int64_t)dim;
    }
    if (!take_u32(r, &type) || !take_u64(r, offset))
        return cut_short(err, "tensor", tensor->name);
    status = tensor_type(type, tensor, err);
    return status ? status : tensor_size(tensor, err);
}

static enum mr_status tensor_place(struct mr_gguf *gguf, struct mr_tensor *tensor, uint64_t offset, struct mr_err *err)
{
    char shown[SHOWN_BYTES];
    size_t room = gguf->size - gguf->data_offset;
    if (offset % gguf->alignment)
        return mr_err_set(err, MR_ERR_INVALID, "tensor %s: its offset %llu is no multiple of %u", show(tensor->name, shown),
                          (unsigned long long)offset, gguf->alignment);
    if (offset > room || tensor->bytes > room - offset)
        return mr_err_set(err, MR_ERR_INVALID, "tensor %s ends beyond the file (%zu bytes at %llu of %zu)", show(tensor->name, shown),
                          tensor->bytes, (unsigned long long)offset, room);
    tensor->data = gguf->bytes + gguf->data_offset + offset;
    return MR_OK;
}

static int by_key_name(const void *a, const void *b)
{
    const struct mr_str *x = &(*(const struct mr_gguf_key *const *)a)->name, *y = &(*(const struct mr_gguf_key *const *)b)->name;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int by_tensor_name(const void *a, const void *b)
{
    const struct mr_str *x = &(*(const struct mr_tensor *const *)a)->name, *y = &(*(const struct mr_tensor *const *)b)->name;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int by_place(const void *a, const void *b)
{
    const char *x = (*(const struct mr_tensor *const *)a)->data, *y = (*(const struct mr_tensor *const *)b)->data;
    return (x > y) - (x < y);
}

static enum mr_status keys_distinct(const struct mr_gguf *gguf, const void **order, struct mr_err *err)
{
    char shown[SHOWN_BYTES];
    for (size_t i = 0; i < gguf->n_keys; i++)
        order[i] = &gguf->keys[i];
    if (gguf->n_keys)
        qsort(order, gguf->n_keys, sizeof *order, by_key_name);
    for (size_t i = 1; i < gguf->n_keys; i++)
        if (by_key_name(&order[i - 1], &order[i]) == 0)
            return mr_err_set(err, MR_ERR_INVALID, "key %s comes twice", show(((const struct mr_gguf_key *)order[i])->name, shown));
    return MR_OK;
}

static enum mr_status tensors_apart(const struct mr_gguf *gguf, const void **order, struct mr_err *err)
{
    char shown[SHOWN_BYTES], other[SHOWN_BYTES];
    for (size_t i = 0; i < gguf->n_tensors; i++)
        order[i] = &gguf->tensors[i];
    if (gguf->n_tensors)
        qsort(order, gguf->n_tensors, sizeof *order, by_tensor_name);
    for (size_t i = 1; i < gguf->n_tensors; i++)
        if (by_tensor_name(&order[i - 1], &order[i]) == 0)
            return mr_err_set(err, MR_ERR_INVALID, "tensor %s comes twice", show(((const struct mr_tensor *)order[i])->name, shown));
    if (gguf->n_tensors)
        qsort(order, gguf->n_tensors, sizeof *order, by_place);
    for (size_t i = 1; i < gguf->n_tensors; i++) {
        const struct mr_tensor *a = order[i - 1], *b = order[i];
        if ((const char *)a->data + a->bytes > (const char *)b->data)
            return mr_err_set(err, MR_ERR_INVALID, "tensors %s and %s overlap", show(a->name, shown), show(b->name, other));
    }
    return MR_OK;
}

static enum mr_status alignment_read(struct mr_gguf *gguf, struct mr_err *err)
{
    int64_t alignment = 32;
    enum mr_status status = mr_gguf_int(gguf, "general.alignment", 8, MR_GGUF_ALIGNMENT_MAX, &alignment, err);
    if (status && status != MR_ERR_NOT_FOUND)
        return status;
    if (alignment & (alignment - 1))
        return mr_err_set(err, MR_ERR_INVALID, "key general.alignment: %lld is no power of two", (long long)alignment);
    gguf->alignment = (uint32_t)alignment;
    return MR_OK;
}

static enum mr_status tensors_read(struct reader *r, struct mr_gguf *gguf, uint64_t *offsets, struct mr_err *err)
{
    enum mr_status status = MR_OK;
    for (size_t i = 0; i < gguf->n_tensors && !status; i++)
        status = tensor_read(r, i, &gguf->tensors[i], &offsets[i], err);
    if (status)
        return status;
    size_t padding = (gguf->alignment - r->at % gguf->alignment) % gguf->alignment;
    if (padding > r->size - r->at) {
        if (gguf->n_tensors)
            return mr_err_set(err, MR_ERR_INVALID, "the file ends before its tensors");
        padding = 0;
    }
    gguf->data_offset = r->at + padding;
    for (size_t i = 0; i < gguf->n_tensors && !status; i++)
        status = tensor_place(gguf, &gguf->tensors[i], offsets[i], err);
    return status;
}

static enum mr_status header_read(struct reader *r, struct mr_gguf *gguf, uint64_t *n_tensors, uint64_t *n_keys, struct mr_err *err)
{
    const unsigned char *magic = take(r, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return mr_err_set(err, MR_ERR_INVALID, "not a GGUF file: it does not begin with GGUF");
    if (!take_u32(r, &gguf->version))
        return mr_err_set(err, MR_ERR_INVALID, "the file ends inside its header");
    if (gguf->version != 2 && gguf->version != 3)
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "GGUF version %u (%s)", gguf->version,
                          gguf->version & 0xffff ? "this build reads 2 and 3" : "a big-endian file");
    if (!take_u64(r, n_tensors) || !take_u64(r, n_keys))
        return mr_err_set(err, MR_ERR_INVALID, "the file ends inside its header");
    size_t left = r->size - r->at;
    if (*n_keys > left / 13 || *n_tensors > left / 32) /* the least that a key and a tensor take */
        return mr_err_set(err, MR_ERR_INVALID, "the header claims %llu keys and %llu tensors, more than the file holds",
                          (unsigned long long)*n_keys, (unsigned long long)*n_tensors);
    if (*n_keys > MR_GGUF_KEYS_MAX || *n_tensors > MR_GGUF_TENSORS_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "the header claims %llu keys and %llu tensors; at most %d and %d are read",
                          (unsigned long long)*n_keys, (unsigned long long)*n_tensors, MR_GGUF_KEYS_MAX, MR_GGUF_TENSORS_MAX);
    return MR_OK;
}

static enum mr_status gguf_read(struct mr_gguf *gguf, struct mr_err *err)
{
    struct reader r = {gguf->bytes, gguf->size, 0};
    uint64_t n_tensors, n_keys, *offsets = NULL;
    const void **order = NULL;
    enum mr_status status = header_read(&r, gguf, &n_tensors, &n_keys, err);
    if (status)
        return status;
    gguf->keys = calloc(n_keys + 1, sizeof *gguf->keys);
    gguf->tensors = calloc(n_tensors + 1, sizeof *gguf->tensors);
    offsets = calloc(n_tensors + 1, sizeof *offsets);
    order = calloc((n_keys > n_tensors ? n_keys : n_tensors) + 1, sizeof *order);
    if (!gguf->keys || !gguf->tensors || !offsets || !order)
        status = mr_err_set(err, MR_ERR_NOMEM, "no memory for %llu keys and %llu tensors", (unsigned long long)n_keys,
                            (unsigned long long)n_tensors);
    for (; gguf->n_keys < n_keys && !status; gguf->n_keys++)
        status = key_read(&r, gguf->n_keys, &gguf->keys[gguf->n_keys], err);
    gguf->n_tensors = status ? 0 : n_tensors;
    if (!status)
        status = keys_distinct(gguf, order, err);
    if (!status)
        status = alignment_read(gguf, err);
    if (!status)
        status = tensors_read(&r, gguf, offsets, err);
    if (!status)
        status = tensors_apart(gguf, order, err);
    free(offsets);
    free(order);
    return status;
}

static enum mr_status gguf_make(const unsigned char *bytes, size_t size, bool mapped, struct mr_gguf **out, struct mr_err *err)
{
    struct mr_gguf *gguf = calloc(1, sizeof *gguf);
    *out = NULL;
    if (!gguf) {
        if (mapped)
            munmap((void *)bytes, size);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory");
    }
    *gguf = (struct mr_gguf){.bytes = bytes, .size = size, .mapped = mapped, .fd = -1};
    enum mr_status status = gguf_read(gguf, err);
    if (status) {
        mr_gguf_close(gguf);
        return status;
    }
    *out = gguf;
    return MR_OK;
}

enum mr_status mr_gguf_parse(const void *bytes, size_t size, struct mr_gguf **out, struct mr_err *err)
{
    return gguf_make(bytes, size, false, out, err);
}

static int64_t written_ns(const struct stat *file) { return (int64_t)file->st_mtim.tv_sec * 1000000000 + file->st_mtim.tv_nsec; }

enum mr_status mr_gguf_open(const char *path, struct mr_gguf **out, struct mr_err *err)
{
    struct stat before;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */
    if (fd < 0)
        return mr_err_set(err, MR_ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &before) || !S_ISREG(before.st_mode) || before.st_size <= 0) {
        close(fd);
        return mr_err_set(err, MR_ERR_INVALID, "%s: not a file, or empty", path);
    }
    struct mr_err inner = {.text = ""};
    void *bytes = mmap(NULL, (size_t)before.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    enum mr_status status;
    if (bytes == MAP_FAILED)
        status = mr_err_set(err, MR_ERR_IO, "%s: cannot be mapped: %s", path, strerror(errno));
    else if ((status = gguf_make(bytes, (size_t)before.st_size, true, out, &inner)) != MR_OK)
        mr_err_set(err, status, "%s: %s", path, inner.text);
    if (status) {
        close(fd);
        return status;
    }
    (*out)->fd = fd;
    (*out)->written_ns = written_ns(&before);
    if (mr_gguf_changed(*out)) {
        mr_gguf_close(*out);
        *out = NULL;
        status = mr_err_set(err, MR_ERR_IO, "%s: it changed while it was read", path);
    }
    return status;
}

bool mr_gguf_changed(const struct mr_gguf *gguf)
{
    struct stat now;
    return gguf && gguf->mapped && (fstat(gguf->fd, &now) || (size_t)now.st_size != gguf->size || written_ns(&now) != gguf->written_ns);
}

void mr_gguf_close(struct mr_gguf *gguf)
{
    if (!gguf)
        return;
    if (gguf->mapped)
        munmap((void *)gguf->bytes, gguf->size);
    if (gguf->fd >= 0)
        close(gguf->fd);
    free(gguf->keys);
    free(gguf->tensors);
    free(gguf);
}

const struct mr_gguf_key *mr_gguf_key_find(const struct mr_gguf *gguf, const char *name)
{
    for (size_t i = 0; i < gguf->n_keys; i++)
        if (mr_str_is(gguf->keys[i].name, name))
            return &gguf->keys[i];
    return NULL;
}

/* Element i as a 64-bit integer; u64 past INT64_MAX counts as not an integer here. */
static bool integer_at(const struct mr_gguf_key *key, uint64_t i, int64_t *out)
{
    const unsigned char *p = key->value + i * types[key->type].bytes;
    switch (key->type) {
    case MR_GGUF_U8: *out = p[0]; return true;
    case MR_GGUF_I8: *out = (int8_t)p[0]; return true;
    case MR_GGUF_U16: *out = p[0] | p[1] << 8; return true;
    case MR_GGUF_I16: *out = (int16_t)(p[0] | p[1] << 8); return true;
    case MR_GGUF_U32: *out = u32_at(p); return true;
    case MR_GGUF_I32: *out = (int32_t)u32_at(p); return true;
    case MR_GGUF_U64:
    case MR_GGUF_I64: *out = (int64_t)u64_at(p); return key->type == MR_GGUF_I64 || *out >= 0;
    default: return false;
    }
}

bool mr_gguf_number(const struct mr_gguf_key *key, uint64_t i, double *out)
{
    int64_t whole;
    const unsigned char *p = key->value + i * types[key->type].bytes;
    if (key->type == MR_GGUF_F32) {
        float x;
        memcpy(&x, p, sizeof x);
        *out = (double)x;
    } else if (key->type == MR_GGUF_F64) {
        memcpy(out, p, sizeof *out);
    } else if (integer_at(key, i, &whole)) {
        *out = (double)whole;
    } else {
        return false;
    }
    return true;
}

/* The single value under name, or NULL with *status set. */
static const struct mr_gguf_key *single_find(const struct mr_gguf *gguf, const char *name, enum mr_status *status, struct mr_err *err)
{
    const struct mr_gguf_key *key = mr_gguf_key_find(gguf, name);
    *status = MR_OK;
    if (!key)
        *status = mr_err_set(err, MR_ERR_NOT_FOUND, "key %s is missing", name);
    else if (key->array)
        *status = mr_err_set(err, MR_ERR_INVALID, "key %s is an array", name), key = NULL;
    return key;
}

enum mr_status mr_gguf_int(const struct mr_gguf *gguf, const char *name, int64_t least, int64_t most, int64_t *out, struct mr_err *err)
{
    int64_t value;
    enum mr_status status;
    const struct mr_gguf_key *key = single_find(gguf, name, &status, err);
    if (!key)
        return status;
    if (!integer_at(key, 0, &value))
        return mr_err_set(err, MR_ERR_INVALID, "key %s is no whole number but %s", name, mr_gguf_type_name(key->type));
    if (value < least || value > most)
        return mr_err_set(err, MR_ERR_INVALID, "key %s is %lld, not %lld to %lld", name, (long long)value, (long long)least, (long long)most);
    *out = value;
    return MR_OK;
}

enum mr_status mr_gguf_real(const struct mr_gguf *gguf, const char *name, double *out, struct mr_err *err)
{
    double value;
    enum mr_status status;
    const struct mr_gguf_key *key = single_find(gguf, name, &status, err);
    if (!key)
        return status;
    if (!mr_gguf_number(key, 0, &value) || !isfinite(value))
        return mr_err_set(err, MR_ERR_INVALID, "key %s is no finite number", name);
    *out = value;
    return MR_OK;
}

enum mr_status mr_gguf_bool(const struct mr_gguf *gguf, const char *name, bool *out, struct mr_err *err)
{
    enum mr_status status;
    const struct mr_gguf_key *key = single_find(gguf, name, &status, err);
    if (!key)
        return status;
    if (key->type != MR_GGUF_BOOL)
        return mr_err_set(err, MR_ERR_INVALID, "key %s is no boolean but %s", name, mr_gguf_type_name(key->type));
    *out = key->value[0];
    return MR_OK;
}

enum mr_status mr_gguf_string(const struct mr_gguf *gguf, const char *name, struct mr_str *out, struct mr_err *err)
{
    enum mr_status status;
    const struct mr_gguf_key *key = single_find(gguf, name, &status, err);
    if (!key)
        return status;
    if (key->type != MR_GGUF_STRING)
        return mr_err_set(err, MR_ERR_INVALID, "key %s is no string but %s", name, mr_gguf_type_name(key->type));
    *out = (struct mr_str){(const char *)key->value + 8, key->value_bytes - 8};
    return MR_OK;
}

static const struct mr_gguf_key *array_find(const struct mr_gguf *gguf, const char *name, enum mr_status *status, struct mr_err *err)
{
    const struct mr_gguf_key *key = mr_gguf_key_find(gguf, name);
    *status = MR_OK;
    if (!key)
        *status = mr_err_set(err, MR_ERR_NOT_FOUND, "key %s is missing", name);
    else if (!key->array)
        *status = mr_err_set(err, MR_ERR_INVALID, "key %s is no array", name), key = NULL;
    return key;
}

enum mr_status mr_gguf_strings(const struct mr_gguf *gguf, const char *name, struct mr_arena *arena, const struct mr_str **out, size_t *n,
                               struct mr_err *err)
{
    enum mr_status status;
    const struct mr_gguf_key *key = array_find(gguf, name, &status, err);
    if (!key)
        return status;
    if (key->type != MR_GGUF_STRING)
        return mr_err_set(err, MR_ERR_INVALID, "key %s holds no strings but %s", name, mr_gguf_type_name(key->type));
    struct mr_str *views = mr_arena_array(arena, key->count, sizeof *views);
    if (!views)
        return mr_err_set(err, MR_ERR_NOMEM, "key %s: no memory for %llu strings", name, (unsigned long long)key->count);
    struct reader r = {key->value, key->value_bytes, 0};
    for (uint64_t i = 0; i < key->count; i++)
        take_str(&r, &views[i]);
    *out = views;
    *n = (size_t)key->count;
    return MR_OK;
}

enum mr_status mr_gguf_ints(const struct mr_gguf *gguf, const char *name, struct mr_arena *arena, const int32_t **out, size_t *n,
                            struct mr_err *err)
{
    enum mr_status status;
    const struct mr_gguf_key *key = array_find(gguf, name, &status, err);
    if (!key)
        return status;
    int32_t *values = mr_arena_array(arena, key->count, sizeof *values);
    if (!values)
        return mr_err_set(err, MR_ERR_NOMEM, "key %s: no memory for %llu numbers", name, (unsigned long long)key->count);
    for (uint64_t i = 0; i < key->count; i++) {
        int64_t value;
        if (!integer_at(key, i, &value) || value < INT32_MIN || value > INT32_MAX)
            return mr_err_set(err, MR_ERR_INVALID, "key %s: element %llu is no 32-bit whole number", name, (unsigned long long)i);
        values[i] = (int32_t)value;
    }
    *out = values;
    *n = (size_t)key->count;
    return MR_OK;
}
