/* The byte-level alphabet of GPT-2 (Radford et al. 2019, encoder.py): each byte has a printable character by which
 * vocabularies spell it. Pure functions; any thread. */
#ifndef MR_WORKER_TEXT_ALPHABET_H
#define MR_WORKER_TEXT_ALPHABET_H

#include "base/buf.h"
#include "base/str.h"

/* Appends the bytes that stored spells. A string with a character outside the alphabet spells nothing: it stands for itself
 * and is appended as it is. */
void mr_alphabet_decode(struct mr_str stored, struct mr_buf *out);

#endif
