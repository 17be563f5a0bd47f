/* JSON by jansson, with what jansson leaves open decided before and after it.
 *
 * Owns nothing between calls; any thread.
 * 1 No byte reaches jansson before a scan without allocation has bounded depth and number of values: jansson recurses, and
 *   takes about 40 bytes of memory for each 2 bytes of input at worst.
 * 2 Integers are 64-bit and exact, or refused; a number with '.' or exponent is a double, or refused when it overflows.
 * 3 Duplicate keys are refused: of two readers one takes the first and one the last, and a refusal hurts neither.
 * 4 The same tree gives the same text: doubles are the shortest of 15 to 17 digits that reads back the same, with a '.' or an
 *   exponent, so that a float stays one; only '"', '\\' and bytes below 0x20 are escaped.
 * Rejected: a parser of our own (jansson's has years of fuzzing behind it); jansson's encoder (its doubles have 17 digits
 * always, and it needs a tree of its own). */
#include "adapters/codec/codec.h"

#include "base/check.h"
#include "base/starved.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* The deepest nesting and an upper bound of the number of values, from the bytes alone. Strings are skipped; a malformed text
 * gives some answer and is refused by the parser. */
static void scan(struct mr_str bytes, int *depth, size_t *nodes)
{
    bool in_string = false;
    int open = 0;
    *depth = 0;
    *nodes = 1;
    for (size_t i = 0; i < bytes.n; i++) {
        char c = bytes.p[i];
        if (in_string) {
            i += c == '\\'; /* the escaped byte never ends the string */
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            open++;
            *nodes += 1;
            *depth = open > *depth ? open : *depth;
        } else if (c == ']' || c == '}') {
            open--;
        } else if (c == ',' || c == ':') {
            *nodes += 1;
        }
    }
}

static struct mr_value copy(const json_t *json, struct mr_arena *arena, bool *full);

static struct mr_value copy_string(const char *p, size_t n, struct mr_arena *arena, bool *full)
{
    struct mr_str s = mr_arena_str(arena, (struct mr_str){p, n});
    *full |= !s.p;
    return mr_value_string(s);
}

static struct mr_value copy_array(const json_t *json, struct mr_arena *arena, bool *full)
{
    size_t n = json_array_size(json);
    struct mr_value array = mr_value_array(arena, n);
    *full |= array.kind == MR_NULL;
    for (size_t i = 0; i < n && !*full; i++)
        mr_value_push(&array, copy(json_array_get(json, i), arena, full));
    return array;
}

static struct mr_value copy_map(const json_t *json, struct mr_arena *arena, bool *full)
{
    struct mr_value map = mr_value_map(arena, json_object_size(json));
    *full |= map.kind == MR_NULL;
    for (void *at = json_object_iter((json_t *)json); at && !*full; at = json_object_iter_next((json_t *)json, at)) {
        struct mr_str key = copy_string(json_object_iter_key(at), json_object_iter_key_len(at), arena, full).as.string;
        struct mr_value value = copy(json_object_iter_value(at), arena, full);
        map.as.map.items[map.as.map.n++] = (struct mr_pair){key, value};
    }
    return map;
}

static struct mr_value copy(const json_t *json, struct mr_arena *arena, bool *full)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT: return copy_map(json, arena, full);
    case JSON_ARRAY: return copy_array(json, arena, full);
    case JSON_STRING: return copy_string(json_string_value(json), json_string_length(json), arena, full);
    case JSON_INTEGER: return mr_value_int(json_integer_value(json));
    case JSON_REAL: return mr_value_float(json_real_value(json));
    case JSON_TRUE: return mr_value_bool(true);
    case JSON_FALSE: return mr_value_bool(false);
    case JSON_NULL: break;
    }
    return mr_value_null();
}

/* jansson does not always say that it had no memory: an allocation of its that fails is counted. */
static void *jansson_malloc(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p)
        mr_starved_add();
    return p;
}

static void jansson_prepare(void) { json_set_alloc_funcs(jansson_malloc, free); }

/* jansson's sentences quote the input near the place; ours must not carry a prompt into a log, so only code and place are told. */
static enum mr_codec_fault parse_fault(const json_error_t *error, struct mr_err *err)
{
    const char *what = "the text is not JSON";
    switch (json_error_code(error)) {
    case json_error_invalid_utf8:
        mr_err_set(err, MR_ERR_INVALID, "the JSON text has invalid UTF-8 at byte %d", error->position);
        return MR_CODEC_UTF8;
    case json_error_out_of_memory:
        mr_err_set(err, MR_ERR_NOMEM, "the JSON text needs more memory than there is");
        return MR_CODEC_SIZE;
    case json_error_duplicate_key: what = "the JSON text names a key twice in one object"; break;
    case json_error_numeric_overflow: what = "the JSON text has a number outside 64 bits"; break;
    case json_error_premature_end_of_input: what = "the JSON text ends too early"; break;
    case json_error_end_of_input_expected: what = "the JSON text goes on after its value"; break;
    default: break;
    }
    mr_err_set(err, MR_ERR_INVALID, "%s (line %d, column %d)", what, error->line, error->column);
    return MR_CODEC_ENCODING;
}

static enum mr_codec_fault decode(struct mr_str bytes, const struct mr_codec_limits *limits, struct mr_arena *arena, struct mr_value *out,
                                  struct mr_err *err)
{
    static const struct mr_codec_limits most = {MR_CODEC_BYTES_MAX, MR_CODEC_NODES_MAX, MR_CODEC_DEPTH_MAX};
    size_t nodes;
    int depth;
    limits = limits ? limits : &most;
    if (bytes.n > limits->bytes) {
        mr_err_set(err, MR_ERR_LIMIT, "the JSON text has %zu bytes, more than %zu", bytes.n, limits->bytes);
        return MR_CODEC_SIZE;
    }
    scan(bytes, &depth, &nodes);
    if (depth > limits->depth) {
        mr_err_set(err, MR_ERR_LIMIT, "the JSON text is nested %d deep, more than %d", depth, limits->depth);
        return MR_CODEC_DEPTH;
    }
    if (nodes > limits->nodes) {
        mr_err_set(err, MR_ERR_LIMIT, "the JSON text holds more than %zu values", limits->nodes);
        return MR_CODEC_SIZE;
    }
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    json_error_t error;
    uint64_t starved = mr_starved_count();
    pthread_once(&once, jansson_prepare);
    json_t *json = json_loadb(bytes.n ? bytes.p : "", bytes.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!json && mr_starved_count() != starved) {
        mr_err_set(err, MR_ERR_NOMEM, "no memory for the JSON text");
        return MR_CODEC_SIZE;
    }
    if (!json)
        return parse_fault(&error, err);
    bool full = false;
    struct mr_value value = copy(json, arena, &full);
    json_decref(json);
    if (full) {
        mr_err_set(err, MR_ERR_NOMEM, "the JSON text needs more memory than one value may take");
        return MR_CODEC_SIZE;
    }
    *out = value;
    return MR_CODEC_OK;
}

static void write_escape(unsigned char c, struct mr_buf *out)
{
    static const char *const plain = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: byte, letter behind the backslash */
    for (const char *p = plain; *p; p += 2)
        if ((unsigned char)p[0] == c) {
            mr_buf_add(out, (char[]){'\\', p[1]}, 2);
            return;
        }
    mr_buf_addf(out, "\\u%04x", c);
}

static void write_string(struct mr_str s, struct mr_buf *out)
{
    size_t from = 0;
    mr_buf_add_char(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        mr_buf_add(out, s.p + from, i - from);
        write_escape(c, out);
        from = i + 1;
    }
    if (s.n > from)
        mr_buf_add(out, s.p + from, s.n - from);
    mr_buf_add_char(out, '"');
}

static void write_double(double d, struct mr_buf *out)
{
    char text[40];
    int n = 0;
    if (!isfinite(d)) {
        mr_buf_add_str(out, MR_STR("null"));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text - 2, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    bool marked = false;
    for (int i = 0; i < n; i++) {
        if (text[i] == ',')
            text[i] = '.'; /* a locale's decimal comma */
        marked |= text[i] == '.' || text[i] == 'e';
    }
    mr_buf_add(out, text, (size_t)n);
    if (!marked)
        mr_buf_add(out, ".0", 2);
}

static void write_scalar(const struct mr_value *value, struct mr_buf *out)
{
    switch (value->kind) {
    case MR_NULL: mr_buf_add(out, "null", 4); break;
    case MR_BOOL: mr_buf_add_str(out, value->as.boolean ? MR_STR("true") : MR_STR("false")); break;
    case MR_INT: mr_buf_addf(out, "%" PRId64, value->as.integer); break;
    case MR_FLOAT: write_double(value->as.real, out); break;
    case MR_STRING: write_string(value->as.string, out); break;
    default: CHECK(!"a scalar");
    }
}

static int pair_compare(const void *a, const void *b)
{
    struct mr_str x = (*(const struct mr_pair *const *)a)->key, y = (*(const struct mr_pair *const *)b)->key;
    size_t n = x.n < y.n ? x.n : y.n;
    int order = n ? memcmp(x.p, y.p, n) : 0;
    return order ? order : (x.n > y.n) - (x.n < y.n);
}

static void write(const struct mr_value *value, bool sorted, struct mr_buf *out);

static void write_pair(const struct mr_pair *pair, bool first, bool sorted, struct mr_buf *out)
{
    mr_buf_add_str(out, first ? MR_STR("") : MR_STR(","));
    write_string(pair->key, out);
    mr_buf_add_char(out, ':');
    write(&pair->value, sorted, out);
}

static void write_map(const struct mr_value *map, struct mr_buf *out)
{
    mr_buf_add_char(out, '{');
    for (size_t i = 0; i < map->as.map.n; i++)
        write_pair(&map->as.map.items[i], i == 0, false, out);
    mr_buf_add_char(out, '}');
}

static void write_map_sorted(const struct mr_value *map, struct mr_buf *out)
{
    size_t n = map->as.map.n;
    const struct mr_pair **pairs = malloc((n + 1) * sizeof *pairs);
    if (!pairs) {
        mr_starved_add();
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++)
        pairs[i] = &map->as.map.items[i];
    qsort(pairs, n, sizeof *pairs, pair_compare);
    mr_buf_add_char(out, '{');
    for (size_t i = 0; i < n; i++)
        write_pair(pairs[i], i == 0, true, out);
    mr_buf_add_char(out, '}');
    free(pairs);
}

static void write(const struct mr_value *value, bool sorted, struct mr_buf *out)
{
    if (value->kind == MR_MAP) {
        sorted ? write_map_sorted(value, out) : write_map(value, out);
    } else if (value->kind == MR_ARRAY) {
        mr_buf_add_char(out, '[');
        for (size_t i = 0; i < value->as.array.n; i++) {
            mr_buf_add_str(out, i ? MR_STR(",") : MR_STR(""));
            write(&value->as.array.items[i], sorted, out);
        }
        mr_buf_add_char(out, ']');
    } else {
        write_scalar(value, out);
    }
}

static void encode(const struct mr_value *value, struct mr_buf *out) { write(value, false, out); }

void mr_codec_canonical(const struct mr_value *value, struct mr_buf *out) { write(value, true, out); }

const struct mr_codec mr_codec_json = {"json", "application/json", decode, encode};
