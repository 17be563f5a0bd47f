/* UTF-8, one character at a time, by the Unicode standard's table 3-7: no overlong form, no surrogate, nothing above
 * U+10FFFF. What is broken is counted in maximal invalid subsequences, each of which a lenient reader shows as one U+FFFD.
 * Pure functions; any thread. */
#ifndef MR_WORKER_TEXT_UTF8_H
#define MR_WORKER_TEXT_UTF8_H

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>

#define MR_UTF8_REPLACEMENT "\xef\xbf\xbd"

enum mr_utf8_kind {
    MR_UTF8_WHOLE,   /* n bytes are one character */
    MR_UTF8_BROKEN,  /* n bytes are a maximal invalid subsequence */
    MR_UTF8_PARTIAL, /* all the n bytes given may be the start of a character */
};

struct mr_utf8_step {
    enum mr_utf8_kind kind;
    int n; /* 1 .. 4 */
};

/* What stands at the start of bytes[0 .. n), n >= 1. */
struct mr_utf8_step mr_utf8_next(const char *bytes, size_t n);
bool mr_utf8_whole(struct mr_str text); /* no invalid byte in it */
/* Appends text with every invalid subsequence, a cut-off end included, replaced by one U+FFFD. */
void mr_utf8_repair(struct mr_str text, struct mr_buf *out);

#endif
