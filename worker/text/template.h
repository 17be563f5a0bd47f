/* The words of a Jinja template: cut into data, outputs and statements, and an expression's tokens. No evaluation.
 * Whitespace is treated as the references do: trim_blocks and lstrip_blocks on, one trailing newline of the source dropped.
 * Pure; any thread. */
#ifndef MR_WORKER_TEXT_TEMPLATE_H
#define MR_WORKER_TEXT_TEMPLATE_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>

enum { MR_TEMPLATE_CHUNKS_MAX = 4096, MR_TEMPLATE_BYTES_MAX = 1 << 20 };

enum mr_template_kind { MR_TEMPLATE_DATA, MR_TEMPLATE_OUTPUT, MR_TEMPLATE_STATEMENT };

struct mr_template_chunk {
    enum mr_template_kind kind;
    struct mr_str text; /* data as it is written; else what stands between the delimiters */
};

/* Chunks in arena, views of source; comments and empty data are left out. MR_ERR_INVALID names what is not closed. */
enum mr_status mr_template_cut(struct mr_str source, struct mr_arena *arena, struct mr_template_chunk **chunks, size_t *n, struct mr_err *err);

enum mr_template_token_kind { MR_TEMPLATE_NAME, MR_TEMPLATE_TEXT, MR_TEMPLATE_SIGN, MR_TEMPLATE_END, MR_TEMPLATE_BAD };

struct mr_template_token {
    enum mr_template_token_kind kind;
    struct mr_str text; /* a text's is what stands between its quotes, escapes not resolved */
};

/* Takes the first token off *rest. */
struct mr_template_token mr_template_next(struct mr_str *rest);
/* Whether two expressions are the same tokens. */
bool mr_template_same(struct mr_str a, struct mr_str b);
/* A text token's value, escapes resolved, in arena. MR_ERR_UNSUPPORTED names an escape that is not known. */
enum mr_status mr_template_text(struct mr_str raw, struct mr_arena *arena, struct mr_str *out, struct mr_err *err);

#endif
