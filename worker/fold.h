/* The fold: what a run's stream records mean, whoever wrote them and in whatever order they were appended (delivery.md, The
 * stream). One partition's records go in, in log order, each to the fold of its src; the view that comes out is exactly once.
 *
 * No dependency but the C library's fixed-width integers: anybody may copy fold.h and fold.c. Pure; any thread. */
#ifndef MR_WORKER_FOLD_H
#define MR_WORKER_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mr_fold_kind {
    MR_FOLD_START, MR_FOLD_TOK, MR_FOLD_YIELD,
    MR_FOLD_DONE, MR_FOLD_FAILED, MR_FOLD_CANCELLED, MR_FOLD_EXPIRED, MR_FOLD_DUPLICATE, MR_FOLD_MOVED, /* the terminals */
    MR_FOLD_KINDS
};

/* What the fold looks at in a record; the rest is payload. */
struct mr_fold_record {
    enum mr_fold_kind kind;
    uint64_t epoch, writer, ctx; /* ctx: TOK and terminals */
    int64_t seq;                 /* TOK: number of its first token in the run; terminals: n, the run's tokens */
    const int32_t *ids;          /* TOK: [n_ids], n_ids >= 1 */
    int32_t n_ids;
    uint32_t choice;             /* TOK */
};

struct mr_fold {
    uint64_t epoch, writer; /* of the START in force; 0, 0 before the first */
    int64_t seq;            /* tokens accepted */
    uint64_t ctx;           /* FNV-1a 64 over the name and every accepted (choice, id) */
    bool closed;
    enum mr_fold_kind end;  /* closed: by which terminal */
    uint32_t starts;        /* accepted */
    uint32_t ignored[MR_FOLD_KINDS];
};

/* name: "tenant/id", n bytes. */
void mr_fold_init(struct mr_fold *fold, const char *name, size_t n);
/* true: the record counts, and fold moved on (a YIELD counts without moving it). false: ignored, and counted. */
bool mr_fold_add(struct mr_fold *fold, const struct mr_fold_record *record);
/* ctx continued over n tokens of one choice: what a writer puts into a record. */
uint64_t mr_fold_ctx(uint64_t ctx, uint32_t choice, const int32_t *ids, size_t n);

static inline bool mr_fold_is_terminal(enum mr_fold_kind kind) { return kind >= MR_FOLD_DONE; }
/* "start", "tok", ... as on the wire. */
const char *mr_fold_kind_name(enum mr_fold_kind kind);
/* false: no such kind. */
bool mr_fold_kind_from(const char *name, size_t n, enum mr_fold_kind *kind);

#endif
