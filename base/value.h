/* A JSON-like tree: what every codec decodes into and encodes from, so that no code above a codec knows an encoding.
 * Nodes and strings lie in the arena that the decoder was given. Immutable once built; any thread may read it. */
#ifndef MR_BASE_VALUE_H
#define MR_BASE_VALUE_H

#include "base/arena.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum mr_value_kind { MR_NULL, MR_BOOL, MR_INT, MR_FLOAT, MR_STRING, MR_ARRAY, MR_MAP };

struct mr_pair;

struct mr_value {
    enum mr_value_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct mr_str string; /* UTF-8, checked by the decoder */
        struct {
            struct mr_value *items; /* [n] */
            size_t n;
        } array;
        struct {
            struct mr_pair *items; /* [n], in the order of the input; keys are distinct */
            size_t n;
        } map;
    } as;
};

struct mr_pair {
    struct mr_str key;
    struct mr_value value;
};

/* "null", "boolean", "integer", "number", "string", "array", "object": the words used in errors. */
const char *mr_value_kind_name(enum mr_value_kind kind);
/* The value under key, or NULL when there is none or map is not a map. */
const struct mr_value *mr_value_get(const struct mr_value *map, const char *key);
/* The number in v as a double, whether it was written as integer or float. false: v is NULL or no number. */
bool mr_value_number(const struct mr_value *v, double *out);

/* Builders, for encoders' input: the tree is filled in place, one node at a time. */
static inline struct mr_value mr_value_null(void) { return (struct mr_value){.kind = MR_NULL}; }
static inline struct mr_value mr_value_bool(bool b) { return (struct mr_value){.kind = MR_BOOL, .as.boolean = b}; }
static inline struct mr_value mr_value_int(int64_t i) { return (struct mr_value){.kind = MR_INT, .as.integer = i}; }
static inline struct mr_value mr_value_float(double d) { return (struct mr_value){.kind = MR_FLOAT, .as.real = d}; }
static inline struct mr_value mr_value_string(struct mr_str s) { return (struct mr_value){.kind = MR_STRING, .as.string = s}; }
/* An array or map with room for n nodes, all null, count 0. kind MR_NULL when the arena is exhausted. */
struct mr_value mr_value_array(struct mr_arena *arena, size_t n);
struct mr_value mr_value_map(struct mr_arena *arena, size_t n);
/* Appends; the caller stays within the n it asked for. A view's bytes must outlive the tree. */
void mr_value_push(struct mr_value *array, struct mr_value item);
void mr_value_set(struct mr_value *map, const char *key, struct mr_value item);

#endif
