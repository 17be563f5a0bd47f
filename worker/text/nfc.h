/* Unicode normalization form C (UAX 15), for the vocabularies that were trained on it. The only file that knows utf8proc.
 * Pure; any thread. */
#ifndef MR_WORKER_TEXT_NFC_H
#define MR_WORKER_TEXT_NFC_H

#include "base/buf.h"
#include "base/str.h"

enum { MR_NFC_MARKS_MAX = 1000 }; /* marks in a row that are put in order together: the library's sort is quadratic in them */

/* Appends text (valid UTF-8) in form C to out; a failed allocation shows in out->failed. */
void mr_nfc_add(struct mr_str text, struct mr_buf *out);
const char *mr_nfc_unicode_version(void);

#endif
