/* Where a byte-level BPE may not merge across: a text is cut into pieces (words with their space, digits, runs of signs) by
 * the regular expression that the model was trained with. The only file that knows PCRE2.
 * Immutable after open: any thread; a scan belongs to one. */
#ifndef MR_WORKER_TEXT_PRETOKENIZER_H
#define MR_WORKER_TEXT_PRETOKENIZER_H

#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>

struct mr_pretokenizer; /* opaque */

/* name: GGUF's tokenizer.ggml.pre. MR_ERR_UNSUPPORTED names a pre-tokenizer that is not known. */
enum mr_status mr_pretokenizer_open(struct mr_str name, struct mr_pretokenizer **out, struct mr_err *err);
void mr_pretokenizer_close(struct mr_pretokenizer *pretokenizer); /* NULL is fine */

/* Whether a piece that is a token as a whole is taken as it is, without merging. */
bool mr_pretokenizer_whole_first(const struct mr_pretokenizer *pretokenizer);
/* Whether the text is brought into normalization form C first. */
bool mr_pretokenizer_composes(const struct mr_pretokenizer *pretokenizer);
/* Everything that shapes the pieces, for the digest: the expression and the version of Unicode behind its properties. */
const char *mr_pretokenizer_fingerprint(const struct mr_pretokenizer *pretokenizer);

struct mr_pretokenizer_scan {
    const struct mr_pretokenizer *pretokenizer;
    void *matching; /* PCRE2's match data */
    struct mr_str text;
    size_t at;
};

/* text is valid UTF-8 and outlives the scan. Begin may be called again on a scan that was begun before; end frees it. A scan
 * starts zeroed. */
enum mr_status mr_pretokenizer_begin(const struct mr_pretokenizer *pretokenizer, struct mr_str text, struct mr_pretokenizer_scan *scan,
                                     struct mr_err *err);
/* The next piece; the pieces make up the whole text. *piece is empty at its end. MR_ERR_LIMIT: the expression needs more than
 * its budget of steps on this text, MR_ERR_NOMEM. */
enum mr_status mr_pretokenizer_next(struct mr_pretokenizer_scan *scan, struct mr_str *piece, struct mr_err *err);
void mr_pretokenizer_end(struct mr_pretokenizer_scan *scan);

#endif
