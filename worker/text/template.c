/* Cuts a Jinja source. Owns nothing: all is a view of the source or lies in the caller's arena.
 *
 * Invariants
 * 1 Time is linear in the source: every byte is looked at a fixed number of times, but for whitespace before a tag (twice).
 * 2 A quote inside a tag hides a delimiter, as Jinja's lexer has it.
 *
 * Rejected: raw blocks and line statements (no template met has them; a raw statement is refused by who reads the chunks). */
#include "worker/text/template.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Where the next tag opens, from at on; source.n: nowhere. */
static size_t find_tag(struct mr_str source, size_t at)
{
    for (; at + 1 < source.n; at++)
        if (source.p[at] == '{' && (source.p[at + 1] == '{' || source.p[at + 1] == '%' || source.p[at + 1] == '#'))
            return at;
    return source.n;
}

/* Where the tag of this kind, whose inside starts at at, closes; source.n: nowhere. Quotes count in all but comments. */
static size_t find_close(struct mr_str source, size_t at, char kind)
{
    char first = kind == '{' ? '}' : kind, quote = 0;
    for (; at + 1 < source.n; at++) {
        char c = source.p[at];
        if (quote) {
            at += c == '\\';
            if (c == quote)
                quote = 0;
        } else if (kind != '#' && (c == '\'' || c == '"')) {
            quote = c;
        } else if (c == first && source.p[at + 1] == '}') {
            return at;
        }
    }
    return source.n;
}

/* Data before a tag, whose first sign inside is sign: "-" strips all whitespace, a block strips the blanks of its own line. */
static struct mr_str strip_end(struct mr_str data, char kind, char sign, bool line_start_ok)
{
    size_t n = data.n;
    while (n && sign == '-' && is_space(data.p[n - 1]))
        n--;
    if (sign == '-' || sign == '+' || kind == '{')
        return (struct mr_str){data.p, n};
    while (n && (data.p[n - 1] == ' ' || data.p[n - 1] == '\t'))
        n--;
    bool starts_line = n ? data.p[n - 1] == '\n' : line_start_ok;
    return (struct mr_str){data.p, starts_line ? n : data.n};
}

/* Bytes to skip behind a tag. */
static size_t skip_after(struct mr_str source, size_t at, char kind, char sign)
{
    size_t start = at;
    while (sign == '-' && at < source.n && is_space(source.p[at]))
        at++;
    if (sign != '-' && sign != '+' && kind != '{') {
        if (at + 1 < source.n && source.p[at] == '\r' && source.p[at + 1] == '\n')
            at += 2;
        else if (at < source.n && source.p[at] == '\n')
            at++;
    }
    return at - start;
}

static enum mr_status push(struct mr_template_chunk *chunks, size_t *n, enum mr_template_kind kind, struct mr_str text, struct mr_err *err)
{
    if (kind == MR_TEMPLATE_DATA && text.n == 0)
        return MR_OK;
    if (*n == MR_TEMPLATE_CHUNKS_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "the template has more than %d parts", MR_TEMPLATE_CHUNKS_MAX);
    chunks[(*n)++] = (struct mr_template_chunk){kind, text};
    return MR_OK;
}

enum mr_status mr_template_cut(struct mr_str source, struct mr_arena *arena, struct mr_template_chunk **chunks, size_t *n, struct mr_err *err)
{
    *n = 0;
    *chunks = mr_arena_array(arena, MR_TEMPLATE_CHUNKS_MAX, sizeof **chunks);
    if (!*chunks)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the template");
    if (source.n > MR_TEMPLATE_BYTES_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "the template is longer than %d bytes", MR_TEMPLATE_BYTES_MAX);
    if (source.n && source.p[source.n - 1] == '\n')
        source.n -= source.n > 1 && source.p[source.n - 2] == '\r' ? 2 : 1;
    for (size_t at = 0; at < source.n;) {
        size_t open = find_tag(source, at);
        struct mr_str data = {source.p + at, open - at};
        if (open == source.n)
            return push(*chunks, n, MR_TEMPLATE_DATA, data, err);
        char kind = source.p[open + 1];
        size_t close = find_close(source, open + 2, kind);
        if (close == source.n)
            return mr_err_set(err, MR_ERR_INVALID, "the template's \"{%c\" at byte %zu is not closed", kind, open);
        struct mr_str inside = {source.p + open + 2, close - open - 2};
        char before = inside.n ? inside.p[0] : 0, after = inside.n > 1 ? inside.p[inside.n - 1] : 0;
        if (before == '-' || before == '+')
            inside.p++, inside.n--;
        if (after == '-' || (after == '+' && kind != '{'))
            inside.n--;
        bool line_start = at == 0 || source.p[at - 1] == '\n';
        enum mr_status status = push(*chunks, n, MR_TEMPLATE_DATA, strip_end(data, kind, before, line_start), err);
        if (status == MR_OK && kind != '#')
            status = push(*chunks, n, kind == '{' ? MR_TEMPLATE_OUTPUT : MR_TEMPLATE_STATEMENT, inside, err);
        if (status != MR_OK)
            return status;
        at = close + 2 + skip_after(source, close + 2, kind, after);
    }
    return MR_OK;
}

struct mr_template_token mr_template_next(struct mr_str *rest)
{
    while (rest->n && is_space(rest->p[0]))
        rest->p++, rest->n--;
    if (rest->n == 0)
        return (struct mr_template_token){MR_TEMPLATE_END, {rest->p, 0}};
    char first = rest->p[0];
    size_t n = 1;
    struct mr_template_token token = {MR_TEMPLATE_SIGN, {rest->p, 1}};
    if (is_word(first)) {
        while (n < rest->n && is_word(rest->p[n]))
            n++;
        token = (struct mr_template_token){MR_TEMPLATE_NAME, {rest->p, n}};
    } else if (first == '\'' || first == '"') {
        while (n < rest->n && rest->p[n] != first)
            n += rest->p[n] == '\\' ? 2 : 1;
        token = n < rest->n ? (struct mr_template_token){MR_TEMPLATE_TEXT, {rest->p + 1, n - 1}} : (struct mr_template_token){MR_TEMPLATE_BAD, *rest};
        n = n < rest->n ? n + 1 : rest->n;
    } else if (rest->n > 1 && rest->p[1] == '=' && (first == '=' || first == '!' || first == '<' || first == '>')) {
        n = token.text.n = 2;
    }
    rest->p += n;
    rest->n -= n;
    return token;
}

bool mr_template_same(struct mr_str a, struct mr_str b)
{
    for (;;) {
        struct mr_template_token x = mr_template_next(&a), y = mr_template_next(&b);
        if (x.kind != y.kind || x.kind == MR_TEMPLATE_BAD || !mr_str_equal(x.text, y.text))
            return false;
        if (x.kind == MR_TEMPLATE_END)
            return true;
    }
}

enum mr_status mr_template_text(struct mr_str raw, struct mr_arena *arena, struct mr_str *out, struct mr_err *err)
{
    static const char from[] = "nrt\\'\"", to[] = "\n\r\t\\'\"";
    char *bytes = mr_arena_alloc(arena, raw.n);
    if (!bytes)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the template");
    *out = (struct mr_str){bytes, 0};
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '\\' && i + 1 < raw.n) {
            const char *known = raw.p[++i] ? strchr(from, raw.p[i]) : NULL;
            if (!known)
                return mr_err_set(err, MR_ERR_UNSUPPORTED, "the template's escape \"\\%c\" is not understood", raw.p[i]);
            c = to[known - from];
        }
        bytes[out->n++] = c;
    }
    return MR_OK;
}
