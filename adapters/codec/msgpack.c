/* MessagePack by msgpack-c, behind a scan of our own.
 *
 * Owns nothing between calls; any thread.
 * 1 The scan needs no memory and has seen every byte before msgpack-c does: depth, declared counts against the bytes that are
 *   left (an array of four thousand million elements in five bytes goes no further), number of values, UTF-8, keys that are
 *   strings, finite floats, integers that fit 64 bits signed, nothing behind the value.
 * 2 bin and ext are refused: JSON has neither, and a job must mean the same in both encodings. A client that packs text as bin
 *   is told so by name instead of being guessed at.
 * 3 Keys of a map are distinct, as in JSON. They are compared after sorting: hashing would let a sender choose collisions.
 * Rejected: msgpack-c's own limits (it asks the allocator for what an array declares, and nests to 32 by a fixed stack). */
#include "adapters/codec/codec.h"

#include "base/check.h"
#include "base/starved.h"

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>

struct scan {
    const unsigned char *p;
    size_t n, at;
    size_t nodes;
    int depth;
    const struct mr_codec_limits *limits;
    struct mr_err *err;
};

/* An array or map that is open: values still to come; a map's keys are those at an even count. */
struct open {
    uint64_t left;
    bool map;
};

enum form { SCALAR, TEXT, ARRAY, MAP, BINARY, EXTENSION, UNUSED };

/* What a first byte opens: its form, the bytes of the number behind it (payload of a scalar, length of the rest), and the
 * length if it stands in the byte itself. */
struct shape {
    enum form form;
    int bytes;
    uint64_t length;
};

static struct shape shape_of(unsigned char c)
{
    static const struct shape high[32] = {
        {SCALAR, 0, 0}, {UNUSED, 0, 0}, {SCALAR, 0, 0}, {SCALAR, 0, 0},     /* nil, never used, false, true */
        {BINARY, 1, 0}, {BINARY, 2, 0}, {BINARY, 4, 0},
        {EXTENSION, 1, 0}, {EXTENSION, 2, 0}, {EXTENSION, 4, 0},
        {SCALAR, 4, 0}, {SCALAR, 8, 0},                                     /* float 32, 64 */
        {SCALAR, 1, 0}, {SCALAR, 2, 0}, {SCALAR, 4, 0}, {SCALAR, 8, 0},     /* uint */
        {SCALAR, 1, 0}, {SCALAR, 2, 0}, {SCALAR, 4, 0}, {SCALAR, 8, 0},     /* int */
        {EXTENSION, 0, 0}, {EXTENSION, 0, 0}, {EXTENSION, 0, 0}, {EXTENSION, 0, 0}, {EXTENSION, 0, 0},
        {TEXT, 1, 0}, {TEXT, 2, 0}, {TEXT, 4, 0}, {ARRAY, 2, 0}, {ARRAY, 4, 0}, {MAP, 2, 0}, {MAP, 4, 0},
    };
    if (c < 0x80 || c >= 0xe0)
        return (struct shape){SCALAR, 0, 0};
    if (c < 0x90)
        return (struct shape){MAP, 0, c & 15};
    if (c < 0xa0)
        return (struct shape){ARRAY, 0, c & 15};
    if (c < 0xc0)
        return (struct shape){TEXT, 0, c & 31};
    return high[c - 0xc0];
}

static enum mr_codec_fault fault(struct scan *s, enum mr_codec_fault kind, const char *what)
{
    mr_err_set(s->err, MR_ERR_INVALID, "the msgpack data %s at byte %zu", what, s->at);
    return kind;
}

static enum mr_codec_fault scan_scalar(struct scan *s, unsigned char lead, uint64_t bits)
{
    if (lead == 0xca) {
        uint32_t single = (uint32_t)bits;
        float f;
        memcpy(&f, &single, sizeof f);
        if (!isfinite(f))
            return fault(s, MR_CODEC_ENCODING, "has a number that is not finite");
    } else if (lead == 0xcb) {
        double d;
        memcpy(&d, &bits, sizeof d);
        if (!isfinite(d))
            return fault(s, MR_CODEC_ENCODING, "has a number that is not finite");
    } else if (lead == 0xcf && bits > INT64_MAX) {
        return fault(s, MR_CODEC_ENCODING, "has an integer outside 64 bits signed");
    }
    return MR_CODEC_OK;
}

static enum mr_codec_fault scan_text(struct scan *s, uint64_t length)
{
    if (length > s->n - s->at)
        return fault(s, MR_CODEC_ENCODING, "declares a string longer than what is left");
    if (!mr_codec_utf8_valid((struct mr_str){(const char *)s->p + s->at, length}))
        return fault(s, MR_CODEC_UTF8, "has invalid UTF-8 in the string");
    s->at += length;
    return MR_CODEC_OK;
}

static enum mr_codec_fault scan_container(struct scan *s, bool map, uint64_t count, struct open *stack)
{
    uint64_t values = map ? 2 * count : count;
    if (values > s->n - s->at)
        return fault(s, MR_CODEC_ENCODING, "declares more elements than bytes are left");
    if (values > s->limits->nodes - s->nodes)
        return fault(s, MR_CODEC_SIZE, "holds more values than allowed");
    if (s->depth >= s->limits->depth)
        return fault(s, MR_CODEC_DEPTH, "is nested too deep");
    s->nodes += values;
    stack[s->depth++] = (struct open){values, map};
    return MR_CODEC_OK;
}

/* One value's head, and its whole content unless it is a container. */
static enum mr_codec_fault scan_value(struct scan *s, struct open *stack)
{
    if (s->at >= s->n)
        return fault(s, MR_CODEC_ENCODING, "ends too early");
    bool key = s->depth && stack[s->depth - 1].map && stack[s->depth - 1].left % 2 == 0;
    if (s->depth)
        stack[s->depth - 1].left--;
    unsigned char lead = s->p[s->at++];
    struct shape shape = shape_of(lead);
    if (shape.form >= BINARY)
        return fault(s, MR_CODEC_ENCODING, shape.form == BINARY ? "has binary data where text belongs" : "has a type that is not accepted");
    if ((size_t)shape.bytes > s->n - s->at)
        return fault(s, MR_CODEC_ENCODING, "ends too early");
    uint64_t number = shape.length;
    for (int i = 0; i < shape.bytes; i++)
        number = number << 8 | s->p[s->at++];
    if (key && shape.form != TEXT)
        return fault(s, MR_CODEC_ENCODING, "has a key that is no string");
    if (shape.form == SCALAR)
        return scan_scalar(s, lead, number);
    if (shape.form == TEXT)
        return scan_text(s, number);
    return scan_container(s, shape.form == MAP, number, stack);
}

static enum mr_codec_fault scan(struct scan *s)
{
    struct open stack[MR_CODEC_DEPTH_MAX];
    CHECK(s->limits->depth <= MR_CODEC_DEPTH_MAX && s->limits->nodes >= 1);
    do {
        enum mr_codec_fault kind = scan_value(s, stack);
        if (kind)
            return kind;
        while (s->depth && stack[s->depth - 1].left == 0)
            s->depth--;
    } while (s->depth);
    return s->at == s->n ? MR_CODEC_OK : fault(s, MR_CODEC_ENCODING, "goes on after its value");
}

/* What copy carries along: it stops at the first of the two. */
struct copying {
    struct mr_arena *arena;
    bool full, duplicate;
};

static struct mr_value copy(const msgpack_object *object, struct copying *c);

static struct mr_value copy_string(const msgpack_object *object, struct copying *c)
{
    struct mr_str s = mr_arena_str(c->arena, (struct mr_str){object->via.str.ptr, object->via.str.size});
    c->full |= !s.p;
    return mr_value_string(s);
}

static struct mr_value copy_array(const msgpack_object *object, struct copying *c)
{
    struct mr_value array = mr_value_array(c->arena, object->via.array.size);
    c->full |= array.kind == MR_NULL;
    for (uint32_t i = 0; i < object->via.array.size && !c->full && !c->duplicate; i++)
        mr_value_push(&array, copy(&object->via.array.ptr[i], c));
    return array;
}

static int key_compare(const void *a, const void *b)
{
    const struct mr_str *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return x->n ? memcmp(x->p, y->p, x->n) : 0;
}

static void check_keys(const struct mr_value *map, struct copying *c)
{
    size_t n = map->as.map.n;
    struct mr_str *keys = malloc((n + 1) * sizeof *keys);
    c->full |= !keys;
    if (!keys) {
        mr_starved_add();
        return;
    }
    for (size_t i = 0; i < n; i++)
        keys[i] = map->as.map.items[i].key;
    qsort(keys, n, sizeof *keys, key_compare);
    for (size_t i = 1; i < n; i++)
        c->duplicate |= key_compare(&keys[i - 1], &keys[i]) == 0;
    free(keys);
}

static struct mr_value copy_map(const msgpack_object *object, struct copying *c)
{
    struct mr_value map = mr_value_map(c->arena, object->via.map.size);
    c->full |= map.kind == MR_NULL;
    for (uint32_t i = 0; i < object->via.map.size && !c->full && !c->duplicate; i++) {
        struct mr_str key = copy_string(&object->via.map.ptr[i].key, c).as.string;
        struct mr_value value = copy(&object->via.map.ptr[i].val, c);
        map.as.map.items[map.as.map.n++] = (struct mr_pair){key, value};
    }
    if (!c->full && !c->duplicate)
        check_keys(&map, c);
    return map;
}

static struct mr_value copy(const msgpack_object *object, struct copying *c)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL: return mr_value_null();
    case MSGPACK_OBJECT_BOOLEAN: return mr_value_bool(object->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER: return mr_value_int((int64_t)object->via.u64);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: return mr_value_int(object->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: return mr_value_float(object->via.f64);
    case MSGPACK_OBJECT_STR: return copy_string(object, c);
    case MSGPACK_OBJECT_ARRAY: return copy_array(object, c);
    case MSGPACK_OBJECT_MAP: return copy_map(object, c);
    default: CHECK(!"refused by the scan");
    }
    return mr_value_null();
}

static enum mr_codec_fault decode(struct mr_str bytes, const struct mr_codec_limits *limits, struct mr_arena *arena, struct mr_value *out,
                                  struct mr_err *err)
{
    static const struct mr_codec_limits most = {MR_CODEC_BYTES_MAX, MR_CODEC_NODES_MAX, MR_CODEC_DEPTH_MAX};
    struct scan s = {.p = (const unsigned char *)bytes.p, .n = bytes.n, .nodes = 1, .limits = limits ? limits : &most, .err = err};
    if (bytes.n > s.limits->bytes) {
        mr_err_set(err, MR_ERR_LIMIT, "the msgpack data has %zu bytes, more than %zu", bytes.n, s.limits->bytes);
        return MR_CODEC_SIZE;
    }
    enum mr_codec_fault kind = scan(&s);
    if (kind)
        return kind;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    struct copying c = {.arena = arena};
    struct mr_value value = mr_value_null();
    size_t at = 0;
    if (msgpack_unpack_next(&unpacked, bytes.p, bytes.n, &at) == MSGPACK_UNPACK_SUCCESS) {
        value = copy(&unpacked.data, &c);
    } else {
        c.full = true; /* well-formed, by the scan: only memory can fail */
        mr_starved_add();
    }
    msgpack_unpacked_destroy(&unpacked);
    if (c.full) {
        mr_err_set(err, MR_ERR_NOMEM, "the msgpack data needs more memory than one value may take");
        return MR_CODEC_SIZE;
    }
    if (c.duplicate) {
        mr_err_set(err, MR_ERR_INVALID, "the msgpack data names a key twice in one map");
        return MR_CODEC_ENCODING;
    }
    *out = value;
    return MR_CODEC_OK;
}

static int write_bytes(void *out, const char *bytes, size_t n)
{
    mr_buf_add(out, bytes, n);
    return 0; /* the buffer remembers a failure itself */
}

static void pack_string(msgpack_packer *packer, struct mr_str s)
{
    msgpack_pack_str(packer, s.n);
    msgpack_pack_str_body(packer, s.p, s.n);
}

static void pack(msgpack_packer *packer, const struct mr_value *value)
{
    switch (value->kind) {
    case MR_NULL: msgpack_pack_nil(packer); break;
    case MR_BOOL: value->as.boolean ? msgpack_pack_true(packer) : msgpack_pack_false(packer); break;
    case MR_INT: msgpack_pack_int64(packer, value->as.integer); break;
    case MR_FLOAT: isfinite(value->as.real) ? msgpack_pack_double(packer, value->as.real) : msgpack_pack_nil(packer); break;
    case MR_STRING: pack_string(packer, value->as.string); break;
    case MR_ARRAY:
        msgpack_pack_array(packer, value->as.array.n);
        for (size_t i = 0; i < value->as.array.n; i++)
            pack(packer, &value->as.array.items[i]);
        break;
    case MR_MAP:
        msgpack_pack_map(packer, value->as.map.n);
        for (size_t i = 0; i < value->as.map.n; i++) {
            pack_string(packer, value->as.map.items[i].key);
            pack(packer, &value->as.map.items[i].value);
        }
        break;
    }
}

static void encode(const struct mr_value *value, struct mr_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, write_bytes);
    pack(&packer, value);
}

const struct mr_codec mr_codec_msgpack = {"msgpack", "application/msgpack", decode, encode};
