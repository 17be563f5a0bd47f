/* Bytes to value trees and back: one table an encoding, so that no code above knows which one a record came in.
 * Pure functions: any thread. What a decoder makes lies in the caller's arena; it keeps no view of the input bytes. */
#ifndef MR_CODEC_CODEC_H
#define MR_CODEC_CODEC_H

#include "base/buf.h"
#include "base/status.h"
#include "base/value.h"

enum {
    MR_CODEC_DEPTH_MAX = 32,         /* arrays and maps inside each other; [] is 1 */
    MR_CODEC_NODES_MAX = 1 << 20,    /* values in one tree, keys included */
    MR_CODEC_BYTES_MAX = 16 << 20,   /* of one encoded tree */
};

/* What is wrong with the bytes. The sentence that goes with it names the place. */
enum mr_codec_fault {
    MR_CODEC_OK,
    MR_CODEC_ENCODING, /* not one well-formed value: syntax, duplicate key, key that is no string, NaN, number past 64 bits, binary */
    MR_CODEC_UTF8,     /* a string is not UTF-8 */
    MR_CODEC_DEPTH,    /* nested deeper than the limit */
    MR_CODEC_SIZE,     /* more bytes or values than the limit, or the arena is exhausted */
};

struct mr_codec_limits {
    size_t bytes, nodes; /* at most MR_CODEC_BYTES_MAX, MR_CODEC_NODES_MAX */
    int depth;           /* at most MR_CODEC_DEPTH_MAX */
};

struct mr_codec {
    const char *name;         /* "json" */
    const char *content_type; /* "application/json" */
    /* *out is written on MR_CODEC_OK only; err (may be NULL) gets a sentence otherwise. limits NULL: the maxima. Integers are
     * exact, keys of a map distinct, floats finite. */
    enum mr_codec_fault (*decode)(struct mr_str bytes, const struct mr_codec_limits *limits, struct mr_arena *arena, struct mr_value *out,
                                  struct mr_err *err);
    /* Appends to out; the same tree gives the same bytes. A float that is not finite becomes null. Check out->failed. */
    void (*encode)(const struct mr_value *value, struct mr_buf *out);
};

extern const struct mr_codec mr_codec_json;    /* json.c: RFC 8259; doubles as the shortest text that reads back the same */
extern const struct mr_codec mr_codec_msgpack; /* msgpack.c: integers in their shortest form, doubles as float 64; bin and ext are refused */

const char *mr_codec_fault_name(enum mr_codec_fault fault); /* "ok", "encoding", ... */

/* RFC 3629: no surrogates, no overlong forms, nothing past U+10FFFF. */
bool mr_codec_utf8_valid(struct mr_str s);

/* The canonical form of a tree: JSON with every map's keys in byte order. It does not depend on the encoding that the tree
 * came in, so that its hash names the content. */
void mr_codec_canonical(const struct mr_value *value, struct mr_buf *out);

#endif
