/* A GGUF file (versions 2 and 3, little-endian), mapped and checked: metadata, and where each tensor lies.
 *
 * The file is not trusted. Its size is known first; every count is held against the bytes that are left, every sum and product
 * is checked, every tensor lies aligned inside the file and overlaps no other, and no key or tensor name comes twice. A file that
 * breaks a rule is refused with a sentence that names the key or tensor. Source: the format's public description (ggml, docs/gguf.md).
 *
 * What remains: the file is used in place, so a file cut short or written to by another process after open is read as it then is;
 * a page beyond the new end raises SIGBUS, which ends the process, and so does a disk that cannot be read. mr_gguf_changed() tells
 * who asks. Models belong in files that are replaced, not edited: a file that was replaced stays what it was for who has it open.
 * Read-only after open: any thread. */
#ifndef MR_WORKER_MODEL_FORMAT_GGUF_H
#define MR_WORKER_MODEL_FORMAT_GGUF_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "worker/model/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MR_GGUF_KEYS_MAX = 4096,
    MR_GGUF_TENSORS_MAX = 65536,
    MR_GGUF_NAME_BYTES_MAX = 256,        /* of a key or a tensor */
    MR_GGUF_STRING_BYTES_MAX = 16 << 20, /* of a string value */
    MR_GGUF_ARRAY_MAX = 16 << 20,        /* elements of an array */
    MR_GGUF_ALIGNMENT_MAX = 65536,
};

/* The file's numbers. */
enum mr_gguf_type {
    MR_GGUF_U8, MR_GGUF_I8, MR_GGUF_U16, MR_GGUF_I16, MR_GGUF_U32, MR_GGUF_I32, MR_GGUF_F32, MR_GGUF_BOOL, MR_GGUF_STRING,
    MR_GGUF_ARRAY, MR_GGUF_U64, MR_GGUF_I64, MR_GGUF_F64, MR_GGUF_TYPE_COUNT
};

struct mr_gguf_key {
    struct mr_str name;
    enum mr_gguf_type type;         /* never MR_GGUF_ARRAY: an array's elements' type */
    bool array;
    uint64_t count;                 /* elements; 1 unless array */
    const unsigned char *value;     /* value_bytes as in the file, at any alignment; a string is its u64 length, then its bytes */
    size_t value_bytes;
};

struct mr_gguf {
    const unsigned char *bytes;     /* [size] the whole file */
    size_t size;
    bool mapped;                    /* bytes is our mapping, */
    int fd;                         /* of this file, which was written to last at */
    int64_t written_ns;
    uint32_t version, alignment;
    struct mr_gguf_key *keys;       /* [n_keys] in the file's order */
    size_t n_keys;
    struct mr_tensor *tensors;      /* [n_tensors] in the file's order; data in place, aligned when mapped */
    size_t n_tensors;
    size_t data_offset;             /* of the first tensor's alignment origin: metadata lies before it */
};

/* On failure *out is NULL. MR_ERR_IO: the file cannot be read; MR_ERR_INVALID, MR_ERR_LIMIT: it breaks a rule;
 * MR_ERR_UNSUPPORTED: a version, byte order, array or tensor type that this build does not read. */
enum mr_status mr_gguf_open(const char *path, struct mr_gguf **out, struct mr_err *err);
/* The same over bytes in memory, borrowed until close. */
enum mr_status mr_gguf_parse(const void *bytes, size_t size, struct mr_gguf **out, struct mr_err *err);
void mr_gguf_close(struct mr_gguf *gguf); /* NULL is fine */
/* The file was written to or cut since it was opened: what is read of it now is not what was checked. NULL: no. */
bool mr_gguf_changed(const struct mr_gguf *gguf);

const struct mr_gguf_key *mr_gguf_key_find(const struct mr_gguf *gguf, const char *name); /* NULL: none */

/* One value under name. MR_ERR_NOT_FOUND: no such key; MR_ERR_INVALID: of another kind or out of range. *out is written on
 * success only, so that it may hold a default. Views and elements live with the file. */
enum mr_status mr_gguf_int(const struct mr_gguf *gguf, const char *name, int64_t least, int64_t most, int64_t *out, struct mr_err *err);
enum mr_status mr_gguf_real(const struct mr_gguf *gguf, const char *name, double *out, struct mr_err *err); /* finite; whole numbers too */
enum mr_status mr_gguf_bool(const struct mr_gguf *gguf, const char *name, bool *out, struct mr_err *err);
enum mr_status mr_gguf_string(const struct mr_gguf *gguf, const char *name, struct mr_str *out, struct mr_err *err);
/* Arrays, copied into arena (strings as views of the file). MR_ERR_NOMEM: the arena is full. */
enum mr_status mr_gguf_strings(const struct mr_gguf *gguf, const char *name, struct mr_arena *arena, const struct mr_str **out, size_t *n,
                               struct mr_err *err);
enum mr_status mr_gguf_ints(const struct mr_gguf *gguf, const char *name, struct mr_arena *arena, const int32_t **out, size_t *n,
                            struct mr_err *err);
/* Element i of a numeric key (i < count); false: not a number. Integers past 2^53 are rounded. */
bool mr_gguf_number(const struct mr_gguf_key *key, uint64_t i, double *out);
/* "u32", "string", ... */
const char *mr_gguf_type_name(enum mr_gguf_type type);

#endif
