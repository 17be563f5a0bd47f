/* The tokenizer: a vocabulary opened for use, and the way from text to ids.
 *
 * Owns the pieces (the bytes of every token), the index from bytes to id, the merge rules, the marks (control and user-defined
 * tokens) and the pre-tokenizer. Encoding: cut out the marks, split what lies between into pieces, turn bytes into symbols, merge.
 *
 * Invariants
 * 1 Everything is immutable after open; an encode has its own scratch. So any thread may encode.
 * 2 A control token's id comes from a mark in a special span and from nowhere else: no byte and no merge rule makes one.
 * 3 Bytes without a token are dropped before merging, as the reference does: their neighbours then stand side by side.
 * 4 Time is O(n log n) in the text and stack use is constant, whatever the text.
 *
 * Rejected: a cache of words (memory per thread for a step that is not the bottleneck); encoding span by span (a newline of the
 * template and one of the user merge into one token in training, so they must here). */
#include "worker/text/tokenizer.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/sha256.h"
#include "worker/text/alphabet.h"
#include "worker/text/bpe.h"
#include "worker/text/marker.h"
#include "worker/text/nfc.h"
#include "worker/text/pretokenizer.h"
#include "worker/text/utf8.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_BYTES = 256 };
static const char *const synthetic_controls[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

struct mr_tokenizer {
    bool synthetic;
    struct mr_str *pieces;  /* [n] views of bytes */
    unsigned char *types;   /* [n] enum mr_token_type */
    bool *ends;             /* [n] generation ends there */
    size_t n;
    struct mr_buf bytes;
    int32_t *index;         /* [index_capacity] open addressing: bytes of a piece -> id; -1: free */
    size_t index_capacity;
    int32_t byte_ids[N_BYTES]; /* -1: no token */
    struct mr_bpe bpe;
    struct mr_marker marker;
    struct mr_pretokenizer *pretokenizer; /* NULL: synthetic */
    int32_t bos;
    char digest[65];
};

/* ---- opening ---- */

static enum mr_status no_memory(struct mr_err *err)
{
    return mr_err_set(err, MR_ERR_NOMEM, "no memory for the tokenizer");
}

static size_t *slot_of(const struct mr_tokenizer *tokenizer, struct mr_str bytes, size_t *slot)
{
    size_t mask = tokenizer->index_capacity - 1;
    *slot = mr_mix64(mr_fnv1a64(MR_FNV1A64_START, bytes.p, bytes.n)) & mask;
    while (tokenizer->index[*slot] >= 0 && !mr_str_equal(tokenizer->pieces[tokenizer->index[*slot]], bytes))
        *slot = (*slot + 1) & mask;
    return slot;
}

static int32_t id_of(const struct mr_tokenizer *tokenizer, struct mr_str bytes)
{
    size_t slot;
    return tokenizer->index[*slot_of(tokenizer, bytes, &slot)];
}

/* Whether plain text may become this token. */
static bool is_plain(const struct mr_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && tokenizer->types[id] != MR_TOKEN_CONTROL && tokenizer->types[id] != MR_TOKEN_UNKNOWN;
}

static enum mr_status check_vocabulary(const struct mr_vocabulary *vocabulary, bool synthetic, struct mr_err *err)
{
    if (vocabulary->n_tokens < (synthetic ? N_BYTES : 1) || vocabulary->n_tokens > MR_TOKENIZER_TOKENS_MAX ||
        vocabulary->n_merges > MR_TOKENIZER_TOKENS_MAX)
        return mr_err_set(err, MR_ERR_INVALID, "a vocabulary of %zu tokens and %zu merges", vocabulary->n_tokens, vocabulary->n_merges);
    if (!synthetic && !vocabulary->tokens)
        return mr_err_set(err, MR_ERR_INVALID, "the vocabulary has no tokens");
    int32_t named[] = {vocabulary->bos, vocabulary->eos, vocabulary->eot};
    for (size_t i = 0; i < 3; i++)
        if (named[i] < -1 || named[i] >= (int64_t)vocabulary->n_tokens)
            return mr_err_set(err, MR_ERR_INVALID, "%s token %d is outside the vocabulary", (const char *[]){"bos", "eos", "eot"}[i], named[i]);
    for (size_t i = 0; i < vocabulary->n_ends; i++)
        if (vocabulary->ends[i] < 0 || vocabulary->ends[i] >= (int64_t)vocabulary->n_tokens)
            return mr_err_set(err, MR_ERR_INVALID, "end token %d is outside the vocabulary", vocabulary->ends[i]);
    for (size_t i = 0; vocabulary->types && i < vocabulary->n_tokens; i++)
        if (vocabulary->types[i] < MR_TOKEN_NORMAL || vocabulary->types[i] > MR_TOKEN_BYTE)
            return mr_err_set(err, MR_ERR_INVALID, "token %zu has the unknown type %d", i, vocabulary->types[i]);
    return MR_OK;
}

/* Appends the bytes of token i of a synthetic vocabulary. */
static void add_synthetic_piece(struct mr_tokenizer *tokenizer, size_t i)
{
    size_t control = i - N_BYTES;
    if (i < N_BYTES)
        mr_buf_add_char(&tokenizer->bytes, (char)i);
    else if (control < sizeof synthetic_controls / sizeof *synthetic_controls) {
        mr_buf_add_str(&tokenizer->bytes, mr_str_from(synthetic_controls[control]));
        tokenizer->types[i] = MR_TOKEN_CONTROL;
    } else {
        mr_buf_addf(&tokenizer->bytes, "<%zu>", i);
        tokenizer->types[i] = MR_TOKEN_UNUSED;
    }
}

/* Fills pieces and types. Views are set when the bytes no longer move. */
static enum mr_status load_pieces(struct mr_tokenizer *tokenizer, const struct mr_vocabulary *vocabulary, struct mr_err *err)
{
    size_t n = tokenizer->n = vocabulary->n_tokens;
    tokenizer->pieces = calloc(n, sizeof *tokenizer->pieces);
    tokenizer->types = malloc(n);
    tokenizer->ends = calloc(n, sizeof *tokenizer->ends);
    if (!tokenizer->pieces || !tokenizer->types || !tokenizer->ends || !mr_buf_reserve(&tokenizer->bytes, 1))
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        size_t start = tokenizer->bytes.n;
        tokenizer->types[i] = vocabulary->types ? (unsigned char)vocabulary->types[i] : MR_TOKEN_NORMAL;
        if (tokenizer->synthetic)
            add_synthetic_piece(tokenizer, i);
        else if (tokenizer->types[i] == MR_TOKEN_NORMAL || tokenizer->types[i] == MR_TOKEN_BYTE || tokenizer->types[i] == MR_TOKEN_UNUSED)
            mr_alphabet_decode(vocabulary->tokens[i], &tokenizer->bytes);
        else
            mr_buf_add_str(&tokenizer->bytes, vocabulary->tokens[i]);
        tokenizer->pieces[i].n = tokenizer->bytes.n - start;
    }
    if (tokenizer->bytes.failed)
        return no_memory(err);
    for (size_t i = 0, start = 0; i < n; start += tokenizer->pieces[i++].n)
        tokenizer->pieces[i].p = tokenizer->bytes.p + start;
    return MR_OK;
}

/* Plain tokens first, so that a control token of the same bytes hides none; of equal ones the lowest id. */
static enum mr_status load_index(struct mr_tokenizer *tokenizer, struct mr_err *err)
{
    tokenizer->index_capacity = 16;
    while (tokenizer->index_capacity < 2 * tokenizer->n)
        tokenizer->index_capacity *= 2;
    tokenizer->index = malloc(tokenizer->index_capacity * sizeof *tokenizer->index);
    if (!tokenizer->index)
        return no_memory(err);
    memset(tokenizer->index, 0xff, tokenizer->index_capacity * sizeof *tokenizer->index);
    for (int plain = 1; plain >= 0; plain--)
        for (size_t i = 0; i < tokenizer->n; i++) {
            size_t slot;
            if (is_plain(tokenizer, (int32_t)i) == plain && tokenizer->index[*slot_of(tokenizer, tokenizer->pieces[i], &slot)] < 0)
                tokenizer->index[slot] = (int32_t)i;
        }
    for (int byte = 0; byte < N_BYTES; byte++) {
        char c = (char)byte;
        int32_t id = id_of(tokenizer, (struct mr_str){&c, 1});
        tokenizer->byte_ids[byte] = is_plain(tokenizer, id) ? id : -1;
    }
    return MR_OK;
}

static enum mr_status load_marks(struct mr_tokenizer *tokenizer, struct mr_err *err)
{
    struct mr_mark *marks = NULL;
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) { /* count, then fill */
        n = 0;
        for (size_t i = 0; i < tokenizer->n; i++) {
            bool control = tokenizer->types[i] == MR_TOKEN_CONTROL;
            if (tokenizer->pieces[i].n == 0 || (!control && tokenizer->types[i] != MR_TOKEN_USER_DEFINED))
                continue;
            if (pass)
                marks[n] = (struct mr_mark){tokenizer->pieces[i], (int32_t)i, control};
            n++;
        }
        if (!pass && !(marks = calloc(n ? n : 1, sizeof *marks)))
            return no_memory(err);
    }
    bool ok = mr_marker_init(&tokenizer->marker, marks, n);
    free(marks);
    return ok ? MR_OK : no_memory(err);
}

/* One line of the merge list. Either side is spelled in the alphabet, which has no space. */
static enum mr_status load_merge(struct mr_tokenizer *tokenizer, struct mr_str line, size_t rank, struct mr_buf *scratch, struct mr_err *err)
{
    const char *space = line.n > 1 ? memchr(line.p + 1, ' ', line.n - 1) : NULL;
    if (!space)
        return mr_err_set(err, MR_ERR_INVALID, "merge %zu is not two tokens", rank);
    size_t left_n = (size_t)(space - line.p);
    mr_buf_clear(scratch);
    mr_alphabet_decode((struct mr_str){line.p, left_n}, scratch);
    size_t split = scratch->n;
    mr_alphabet_decode((struct mr_str){space + 1, line.n - left_n - 1}, scratch);
    if (scratch->failed)
        return no_memory(err);
    int32_t left = id_of(tokenizer, (struct mr_str){scratch->p, split});
    int32_t right = id_of(tokenizer, (struct mr_str){scratch->p + split, scratch->n - split});
    int32_t product = id_of(tokenizer, mr_buf_view(scratch));
    if (left < 0 || right < 0 || product < 0)
        return mr_err_set(err, MR_ERR_INVALID, "merge %zu (%.*s) speaks of a token that is not in the vocabulary", rank,
                          line.n > 80 ? 80 : (int)line.n, line.p);
    if (is_plain(tokenizer, left) && is_plain(tokenizer, right) && is_plain(tokenizer, product))
        mr_bpe_add(&tokenizer->bpe, left, right, (uint32_t)rank, product);
    return MR_OK;
}

static enum mr_status load_merges(struct mr_tokenizer *tokenizer, const struct mr_vocabulary *vocabulary, struct mr_err *err)
{
    if (!mr_bpe_init(&tokenizer->bpe, vocabulary->n_merges))
        return no_memory(err);
    struct mr_buf scratch = {0};
    enum mr_status status = MR_OK;
    for (size_t i = 0; i < vocabulary->n_merges && status == MR_OK; i++)
        status = load_merge(tokenizer, vocabulary->merges[i], i, &scratch, err);
    mr_buf_fini(&scratch);
    return status;
}

static void digest_number(struct mr_sha256 *sha, int64_t number)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> (8 * i));
    mr_sha256_add(sha, bytes, sizeof bytes);
}

static void digest_str(struct mr_sha256 *sha, struct mr_str s)
{
    digest_number(sha, (int64_t)s.n);
    mr_sha256_add(sha, s.p, s.n);
}

static void load_digest(struct mr_tokenizer *tokenizer, const struct mr_vocabulary *vocabulary)
{
    struct mr_sha256 sha;
    unsigned char digest[32];
    mr_sha256_init(&sha);
    digest_str(&sha, vocabulary->model);
    digest_str(&sha, mr_str_from(tokenizer->pretokenizer ? mr_pretokenizer_fingerprint(tokenizer->pretokenizer) : ""));
    digest_number(&sha, (int64_t)tokenizer->n);
    for (size_t i = 0; i < tokenizer->n; i++) {
        digest_str(&sha, tokenizer->pieces[i]);
        digest_number(&sha, tokenizer->types[i] | tokenizer->ends[i] << 8);
    }
    digest_number(&sha, (int64_t)vocabulary->n_merges);
    for (size_t i = 0; i < vocabulary->n_merges; i++)
        digest_str(&sha, vocabulary->merges[i]);
    digest_number(&sha, tokenizer->bos);
    mr_sha256_finish(&sha, digest);
    mr_hex(digest, sizeof digest, tokenizer->digest);
}

static enum mr_status load(struct mr_tokenizer *tokenizer, const struct mr_vocabulary *vocabulary, struct mr_err *err)
{
    enum mr_status status = check_vocabulary(vocabulary, tokenizer->synthetic, err);
    if (status == MR_OK && !tokenizer->synthetic)
        status = mr_pretokenizer_open(vocabulary->pre, &tokenizer->pretokenizer, err);
    if (status == MR_OK)
        status = load_pieces(tokenizer, vocabulary, err);
    if (status == MR_OK)
        status = load_index(tokenizer, err);
    if (status == MR_OK)
        status = load_marks(tokenizer, err);
    if (status == MR_OK && !tokenizer->synthetic)
        status = load_merges(tokenizer, vocabulary, err);
    if (status != MR_OK)
        return status;
    tokenizer->bos = vocabulary->add_bos ? vocabulary->bos : -1;
    if (vocabulary->eos >= 0)
        tokenizer->ends[vocabulary->eos] = true;
    if (vocabulary->eot >= 0)
        tokenizer->ends[vocabulary->eot] = true;
    for (size_t i = 0; i < vocabulary->n_ends; i++)
        tokenizer->ends[vocabulary->ends[i]] = true;
    load_digest(tokenizer, vocabulary);
    return MR_OK;
}

enum mr_status mr_tokenizer_open(const struct mr_vocabulary *vocabulary, struct mr_tokenizer **out, struct mr_err *err)
{
    *out = NULL;
    bool synthetic = mr_str_is(vocabulary->model, "synthetic");
    if (!synthetic && !mr_str_is(vocabulary->model, "gpt2"))
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "tokenizer model \"%.*s\" is not supported (gpt2 is)",
                          vocabulary->model.n > 64 ? 64 : (int)vocabulary->model.n, vocabulary->model.p);
    struct mr_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer)
        return no_memory(err);
    tokenizer->synthetic = synthetic;
    enum mr_status status = load(tokenizer, vocabulary, err);
    if (status == MR_OK)
        *out = tokenizer;
    else
        mr_tokenizer_close(tokenizer);
    return status;
}

void mr_tokenizer_close(struct mr_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    mr_pretokenizer_close(tokenizer->pretokenizer);
    mr_marker_fini(&tokenizer->marker);
    mr_bpe_fini(&tokenizer->bpe);
    mr_buf_fini(&tokenizer->bytes);
    free(tokenizer->index);
    free(tokenizer->ends);
    free(tokenizer->types);
    free(tokenizer->pieces);
    free(tokenizer);
}

/* ---- encoding ---- */

/* One call of encode. */
struct encoding {
    const struct mr_tokenizer *tokenizer;
    struct mr_pretokenizer_scan scan;
    struct mr_bpe_scratch scratch;
    struct mr_buf composed;
    struct mr_token_ids *out;
    struct mr_err *err;
};

static enum mr_status add_id(struct encoding *encoding, int32_t id)
{
    struct mr_token_ids *out = encoding->out;
    if (out->n == out->capacity)
        return mr_err_set(encoding->err, MR_ERR_LIMIT, "the text is more than %zu tokens", out->capacity);
    out->ids[out->n++] = id;
    return MR_OK;
}

static enum mr_status add_bytes(struct encoding *encoding, struct mr_str text)
{
    enum mr_status status = MR_OK;
    for (size_t i = 0; i < text.n && status == MR_OK; i++)
        status = add_id(encoding, (unsigned char)text.p[i]);
    return status;
}

static enum mr_status add_piece(struct encoding *encoding, struct mr_str piece)
{
    const struct mr_tokenizer *tokenizer = encoding->tokenizer;
    if (mr_pretokenizer_whole_first(tokenizer->pretokenizer)) {
        int32_t id = id_of(tokenizer, piece);
        if (is_plain(tokenizer, id))
            return add_id(encoding, id);
    }
    mr_bpe_clear(&encoding->scratch);
    bool ok = true;
    for (size_t i = 0; i < piece.n && ok; i++) {
        int32_t id = tokenizer->byte_ids[(unsigned char)piece.p[i]];
        ok = id < 0 || mr_bpe_push(&encoding->scratch, id);
    }
    if (!ok || !mr_bpe_merge(&tokenizer->bpe, &encoding->scratch))
        return no_memory(encoding->err);
    enum mr_status status = MR_OK;
    size_t at = 0;
    for (int32_t id; status == MR_OK && (id = mr_bpe_next(&encoding->scratch, &at)) >= 0;)
        status = add_id(encoding, id);
    return status;
}

/* Text without marks. */
static enum mr_status add_plain(struct encoding *encoding, struct mr_str text)
{
    if (text.n == 0)
        return MR_OK;
    if (encoding->tokenizer->synthetic)
        return add_bytes(encoding, text);
    if (mr_pretokenizer_composes(encoding->tokenizer->pretokenizer)) {
        mr_buf_clear(&encoding->composed);
        mr_nfc_add(text, &encoding->composed);
        if (encoding->composed.failed)
            return no_memory(encoding->err);
        text = mr_buf_view(&encoding->composed);
    }
    enum mr_status status = mr_pretokenizer_begin(encoding->tokenizer->pretokenizer, text, &encoding->scan, encoding->err);
    while (status == MR_OK) {
        struct mr_str piece;
        status = mr_pretokenizer_next(&encoding->scan, &piece, encoding->err);
        if (status != MR_OK || piece.n == 0)
            break;
        status = add_piece(encoding, piece);
    }
    return status;
}

/* text: the spans' texts one behind the other; ends[i]: where span i ends in it. */
static enum mr_status add_spans(struct encoding *encoding, struct mr_str text, const struct mr_chat_span *spans, const size_t *ends, size_t n_spans)
{
    size_t plain = 0, at = 0; /* text[plain .. at) holds no mark and is not encoded yet */
    for (size_t i = 0; i < n_spans; i++) {
        while (i + 1 < n_spans && spans[i + 1].special == spans[i].special)
            i++;
        size_t found;
        const struct mr_mark *mark;
        while ((mark = mr_marker_find(&encoding->tokenizer->marker, text, at, ends[i], spans[i].special, &found))) {
            enum mr_status status = add_plain(encoding, (struct mr_str){text.p + plain, found - plain});
            if (status == MR_OK)
                status = add_id(encoding, mark->id);
            if (status != MR_OK)
                return status;
            plain = at = found + mark->name.n;
        }
        if (at < ends[i])
            at = ends[i];
    }
    return plain < text.n ? add_plain(encoding, (struct mr_str){text.p + plain, text.n - plain}) : MR_OK;
}

/* Joins the spans in *joined, repaired where they are not UTF-8, and notes their ends. */
static bool join(const struct mr_tokenizer *tokenizer, const struct mr_chat_span *spans, size_t n_spans, struct mr_buf *joined, size_t *ends)
{
    for (size_t i = 0; i < n_spans; i++) {
        if (tokenizer->synthetic)
            mr_buf_add_str(joined, spans[i].text);
        else
            mr_utf8_repair(spans[i].text, joined);
        ends[i] = joined->n;
    }
    return !joined->failed;
}

enum mr_status mr_tokenizer_encode_spans(const struct mr_tokenizer *tokenizer, const struct mr_chat_span *spans, size_t n_spans,
                                         struct mr_token_ids *out, struct mr_err *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n_spans; i++) {
        if (spans[i].text.n > MR_TOKENIZER_TEXT_BYTES_MAX - bytes)
            return mr_err_set(err, MR_ERR_LIMIT, "the text is longer than %d bytes", MR_TOKENIZER_TEXT_BYTES_MAX);
        bytes += spans[i].text.n;
    }
    struct encoding encoding = {.tokenizer = tokenizer, .out = out, .err = err};
    struct mr_buf joined = {0};
    size_t *ends = calloc(n_spans ? n_spans : 1, sizeof *ends);
    enum mr_status status = MR_OK;
    if (!ends || !join(tokenizer, spans, n_spans, &joined, ends))
        status = no_memory(err);
    if (status == MR_OK)
        status = add_spans(&encoding, mr_buf_view(&joined), spans, ends, n_spans);
    mr_pretokenizer_end(&encoding.scan);
    mr_bpe_scratch_fini(&encoding.scratch);
    mr_buf_fini(&encoding.composed);
    mr_buf_fini(&joined);
    free(ends);
    return status;
}

enum mr_status mr_tokenizer_encode(const struct mr_tokenizer *tokenizer, struct mr_str text, bool special, struct mr_token_ids *out,
                                   struct mr_err *err)
{
    struct mr_chat_span span = {text, special};
    return mr_tokenizer_encode_spans(tokenizer, &span, 1, out, err);
}

/* ---- asking ---- */

static bool has(const struct mr_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->n;
}

struct mr_str mr_tokenizer_piece(const struct mr_tokenizer *tokenizer, int32_t id)
{
    return has(tokenizer, id) ? tokenizer->pieces[id] : (struct mr_str){0};
}

bool mr_tokenizer_is_control(const struct mr_tokenizer *tokenizer, int32_t id)
{
    return has(tokenizer, id) && tokenizer->types[id] == MR_TOKEN_CONTROL;
}

size_t mr_tokenizer_size(const struct mr_tokenizer *tokenizer)
{
    return tokenizer->n;
}

int32_t mr_tokenizer_bos(const struct mr_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

bool mr_tokenizer_is_end(const struct mr_tokenizer *tokenizer, int32_t id)
{
    return has(tokenizer, id) && tokenizer->ends[id];
}

int32_t mr_tokenizer_control(const struct mr_tokenizer *tokenizer, struct mr_str name)
{
    for (size_t i = 0; i < tokenizer->marker.n; i++)
        if (tokenizer->marker.marks[i].control && mr_str_equal(tokenizer->marker.marks[i].name, name))
            return tokenizer->marker.marks[i].id;
    return -1;
}

const char *mr_tokenizer_digest(const struct mr_tokenizer *tokenizer)
{
    return tokenizer->digest;
}
