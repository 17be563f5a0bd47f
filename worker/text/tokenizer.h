/* Text to token ids and back, as the model's own file says.
 * Special (control) tokens are made from text only when the caller asks: user text never becomes one.
 * Immutable after open: any thread. */
#ifndef MR_WORKER_TEXT_TOKENIZER_H
#define MR_WORKER_TEXT_TOKENIZER_H

#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* GGUF's numbers. */
enum mr_token_type { MR_TOKEN_NORMAL = 1, MR_TOKEN_UNKNOWN, MR_TOKEN_CONTROL, MR_TOKEN_USER_DEFINED, MR_TOKEN_UNUSED, MR_TOKEN_BYTE };

/* A vocabulary as a model file gives it. All views are borrowed for the call of open only.
 * synthetic: tokens, types and merges may be NULL. Ids 0 to 255 are the bytes; then, as far as n_tokens goes, the control tokens
 * <|endoftext|>, <|im_start|>, <|im_end|>; every other id decodes to "<id>", such as "<300>". */
struct mr_vocabulary {
    struct mr_str model;          /* "gpt2" (byte-level BPE); "synthetic" (one token a byte); others are refused by name */
    struct mr_str pre;            /* pre-tokenizer: "smollm", ... */
    const struct mr_str *tokens;  /* [n_tokens] as stored (byte-level alphabet for gpt2) */
    const int32_t *types;         /* [n_tokens] enum mr_token_type, or NULL: all normal */
    size_t n_tokens;
    const struct mr_str *merges;  /* [n_merges] "left right" */
    size_t n_merges;
    int32_t bos, eos, eot;        /* -1: none */
    bool add_bos;
    const int32_t *ends;          /* [n_ends] further tokens at which generation ends, as the file lists them; NULL: none */
    size_t n_ends;
};

enum {
    MR_TOKENIZER_TOKENS_MAX = 1 << 24,      /* of a vocabulary, and rules of its merge list */
    MR_TOKENIZER_IDS_PER_BYTE = 3,          /* a broken byte is read as U+FFFD, and form C can be longer than its text */
    MR_TOKENIZER_TEXT_BYTES_MAX = 64 << 20, /* of one encode; a text of one class needs about 40 bytes of memory a byte */
};

/* Ids being gathered: the caller's array. MR_TOKENIZER_IDS_PER_BYTE ids for each byte of text always suffice. */
struct mr_token_ids {
    int32_t *ids; /* [capacity], n of them filled */
    size_t capacity, n;
};

/* A stretch of text: whether control tokens in it are meant. */
struct mr_chat_span {
    struct mr_str text;
    bool special; /* control tokens in text become their ids */
};

struct mr_tokenizer; /* opaque */

enum mr_status mr_tokenizer_open(const struct mr_vocabulary *vocabulary, struct mr_tokenizer **out, struct mr_err *err);
void mr_tokenizer_close(struct mr_tokenizer *tokenizer);

/* Appends the ids of text to out. special: control tokens in the text become their ids. No BOS is added.
 * Text that is not UTF-8 is read with one U+FFFD for each maximal invalid subsequence (synthetic: byte by byte, as it is); bytes
 * that have no token vanish. MR_ERR_LIMIT: capacity passed (out holds what fitted), or the text is too long. */
enum mr_status mr_tokenizer_encode(const struct mr_tokenizer *tokenizer, struct mr_str text, bool special, struct mr_token_ids *out,
                                   struct mr_err *err);
/* The same for a text in spans, such as a rendered chat: words and merges run across the spans' edges as if it were one text (the
 * ids are those that the model was trained on), but a control token counts only where it lies wholly in special spans. */
enum mr_status mr_tokenizer_encode_spans(const struct mr_tokenizer *tokenizer, const struct mr_chat_span *spans, size_t n_spans,
                                         struct mr_token_ids *out, struct mr_err *err);
/* The bytes that id stands for; control tokens: their name. Empty for an id outside the vocabulary. Lives with the tokenizer. */
struct mr_str mr_tokenizer_piece(const struct mr_tokenizer *tokenizer, int32_t id);
bool mr_tokenizer_is_control(const struct mr_tokenizer *tokenizer, int32_t id);
size_t mr_tokenizer_size(const struct mr_tokenizer *tokenizer);
int32_t mr_tokenizer_bos(const struct mr_tokenizer *tokenizer); /* -1: none is to be added */
/* Whether generation ends at id (eos, eot and what the file lists as end of generation). */
bool mr_tokenizer_is_end(const struct mr_tokenizer *tokenizer, int32_t id);
/* The id of a control token by name; -1: none. */
int32_t mr_tokenizer_control(const struct mr_tokenizer *tokenizer, struct mr_str name);
/* SHA-256 over everything that shapes ids and pieces, 64 hex digits. */
const char *mr_tokenizer_digest(const struct mr_tokenizer *tokenizer);

#endif
