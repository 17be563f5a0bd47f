/* Owns the compiled expressions; a scan owns PCRE2's match data.
 *
 * 1 Alternatives are tried in order and cover every character, so the pieces make up the text.
 * 2 Neither stack nor time runs away: JIT code has 32 KiB, the interpreter's frames lie on the heap, every match has a budget of
 *   steps, and no expression looks further back than one run of its own class.
 * 3 What depends on Unicode's version is in the fingerprint.
 * Rejected: scanners by hand (five expressions now, dozens later; each would have to be proved equal). */
#include "worker/text/pretokenizer.h"

#include "base/check.h"
#include "worker/text/nfc.h"

#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Unicode's White_Space, spelled out: PCRE2's \s has U+180E besides, which the references have not. */
#define SPACES "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define SPACE "[" SPACES "]"
#define NOT_SPACE "[^" SPACES "]"

/* GPT-2's expression (Radford et al. 2019, encoder.py). */
#define GPT2 "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES "\\p{L}\\p{N}]+|" SPACE "+(?!" NOT_SPACE ")|" SPACE "+"
/* Every numeric character alone first, then GPT-2's expression in each part between; as one expression: a part's end looks to
 * GPT-2's look-ahead like the end of the text, so a numeric character does too. */
#define SMOLLM \
    "\\p{N}|'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?[^" SPACES "\\p{L}\\p{N}]+|" SPACE "+(?![^" SPACES "\\p{N}])|" SPACE "+"
/* cl100k's shape, with the longest run of digits as its parameter. U+017F folds to s. */
#define CL100K(digits) \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits "| ?[^" SPACES "\\p{L}\\p{N}]+[\\r\\n]*|" \
    SPACE "*[\\r\\n]+|" SPACE "+(?!" NOT_SPACE ")|" SPACE "+"

static const struct pre {
    const char *name, *expression;
    bool whole_first, composes;
} pres[] = {
    {"default", GPT2, false, false},
    {"gpt-2", GPT2, false, false},
    {"smollm", SMOLLM, false, false},
    {"llama-bpe", CL100K("{1,3}"), true, false},
    {"qwen2", CL100K(""), false, true},
};

/* Steps that matching one text may take beyond STEPS_PER_BYTE for each of its bytes; depth needs no stack (PCRE2's
 * interpreter keeps its frames on the heap), but no expression here needs more than a few levels. */
enum { STEPS_MIN = 100000, STEPS_PER_BYTE = 16, DEPTH_MAX = 1000 };

struct mr_pretokenizer {
    const struct pre *pre;
    pcre2_code *code;
    bool jit;
    char fingerprint[640];
};

static const struct pre *pre_by_name(struct mr_str name)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (mr_str_is(name, pres[i].name))
            return &pres[i];
    return NULL;
}

enum mr_status mr_pretokenizer_open(struct mr_str name, struct mr_pretokenizer **out, struct mr_err *err)
{
    *out = NULL;
    const struct pre *pre = pre_by_name(name);
    if (!pre)
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "pre-tokenizer \"%.*s\" is not known (known: default, gpt-2, smollm, llama-bpe, qwen2)",
                          name.n > 64 ? 64 : (int)name.n, name.p);
    struct mr_pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);
    if (!pretokenizer)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the pre-tokenizer");
    int error;
    size_t at;
    pretokenizer->pre = pre;
    pretokenizer->code = pcre2_compile((PCRE2_SPTR)pre->expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
    if (!pretokenizer->code) {
        mr_pretokenizer_close(pretokenizer);
        return mr_err_set(err, MR_ERR_NOMEM, "PCRE2 refuses pre-tokenizer %s: error %d at %zu", pre->name, error, at);
    }
    pretokenizer->jit = pcre2_jit_compile(pretokenizer->code, PCRE2_JIT_COMPLETE) == 0;
    char unicode[64] = "";
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, unicode);
    int n = snprintf(pretokenizer->fingerprint, sizeof pretokenizer->fingerprint, "%s %d unicode %s composes %s", pre->expression,
                     pre->whole_first, unicode, pre->composes ? mr_nfc_unicode_version() : "no");
    CHECK(n > 0 && (size_t)n < sizeof pretokenizer->fingerprint);
    *out = pretokenizer;
    return MR_OK;
}

void mr_pretokenizer_close(struct mr_pretokenizer *pretokenizer)
{
    if (!pretokenizer)
        return;
    pcre2_code_free(pretokenizer->code);
    free(pretokenizer);
}

bool mr_pretokenizer_whole_first(const struct mr_pretokenizer *pretokenizer)
{
    return pretokenizer->pre->whole_first;
}

bool mr_pretokenizer_composes(const struct mr_pretokenizer *pretokenizer)
{
    return pretokenizer->pre->composes;
}

const char *mr_pretokenizer_fingerprint(const struct mr_pretokenizer *pretokenizer)
{
    return pretokenizer->fingerprint;
}

/* What a scan holds of PCRE2. */
struct matching {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static void matching_free(struct matching *matching)
{
    if (!matching)
        return;
    pcre2_match_data_free(matching->data);
    pcre2_match_context_free(matching->context);
    free(matching);
}

static struct matching *matching_new(void)
{
    struct matching *matching = calloc(1, sizeof *matching);
    if (!matching)
        return NULL;
    matching->data = pcre2_match_data_create(1, NULL);
    matching->context = pcre2_match_context_create(NULL);
    if (matching->data && matching->context)
        return matching;
    matching_free(matching);
    return NULL;
}

enum mr_status mr_pretokenizer_begin(const struct mr_pretokenizer *pretokenizer, struct mr_str text, struct mr_pretokenizer_scan *scan,
                                     struct mr_err *err)
{
    struct matching *matching = scan->matching ? scan->matching : matching_new();
    if (!matching)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory to split a text");
    size_t steps = STEPS_MIN + STEPS_PER_BYTE * text.n;
    pcre2_set_match_limit(matching->context, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
    pcre2_set_depth_limit(matching->context, DEPTH_MAX);
    *scan = (struct mr_pretokenizer_scan){pretokenizer, matching, text, 0};
    return MR_OK;
}

/* JIT code runs on 32 KiB of the machine's stack; where that is not enough the interpreter, whose frames lie on the heap, does
 * the same match. */
static int match(struct mr_pretokenizer_scan *scan)
{
    const struct mr_pretokenizer *pretokenizer = scan->pretokenizer;
    struct matching *matching = scan->matching;
    PCRE2_SPTR text = (PCRE2_SPTR)scan->text.p;
    int found = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pretokenizer->jit)
        found = pcre2_match(pretokenizer->code, text, scan->text.n, scan->at, PCRE2_NO_UTF_CHECK, matching->data, matching->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(pretokenizer->code, text, scan->text.n, scan->at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matching->data,
                            matching->context);
    return found;
}

/* Every expression's alternatives cover every character, so a match starts where the last one ended and is not empty. */
enum mr_status mr_pretokenizer_next(struct mr_pretokenizer_scan *scan, struct mr_str *piece, struct mr_err *err)
{
    *piece = (struct mr_str){scan->text.p + scan->at, 0};
    if (scan->at == scan->text.n)
        return MR_OK;
    int found = match(scan);
    if (found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_DEPTHLIMIT || found == PCRE2_ERROR_HEAPLIMIT)
        return mr_err_set(err, MR_ERR_LIMIT, "the text needs too many steps to split at byte %zu", scan->at);
    if (found == PCRE2_ERROR_NOMEMORY)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory to split a text");
    CHECK(found >= 0);
    const size_t *range = pcre2_get_ovector_pointer(((struct matching *)scan->matching)->data);
    CHECK(range[0] == scan->at && range[1] > scan->at);
    piece->n = range[1] - scan->at;
    scan->at = range[1];
    return MR_OK;
}

void mr_pretokenizer_end(struct mr_pretokenizer_scan *scan)
{
    matching_free(scan->matching);
    *scan = (struct mr_pretokenizer_scan){0};
}
