/* What the text tests share: the vocabularies and vectors under tests/golden, read whole. */
#ifndef MR_TESTS_TEXT_GOLDEN_H
#define MR_TESTS_TEXT_GOLDEN_H

#include "adapters/codec/codec.h"
#include "base/check.h"
#include "worker/text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

/* The file's bytes, for the caller to free; aborts when it cannot be read. */
static inline struct mr_str golden_file(const char *name)
{
    char path[1024];
    const char *moved = getenv("MILLRACE_TEST_SOURCE"); /* the sources, where they are not where this was built */
    snprintf(path, sizeof path, "%s/tests/golden/%s", moved ? moved : TEST_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        printf("cannot open %s\n", path);
    CHECK(file);
    fseek(file, 0, SEEK_END);
    size_t n = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(n + 1);
    CHECK(bytes && fread(bytes, 1, n, file) == n);
    fclose(file);
    return (struct mr_str){bytes, n};
}

/* Cuts the next line off *rest; false: there is none. */
static inline bool golden_line(struct mr_str *rest, struct mr_str *line)
{
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n;
    *line = (struct mr_str){rest->p, n};
    rest->p += end ? n + 1 : n;
    rest->n -= end ? n + 1 : n;
    return true;
}

/* A .vocabulary file: a line "pre n_control n_base n_merges", then one token a line (control, base), then the merge list; the
 * tokens that merges make follow the base tokens in the merges' order. */
static inline struct mr_tokenizer *golden_tokenizer(const char *name)
{
    struct mr_str file = golden_file(name), rest = file, line;
    char pre[32], header[96] = "";
    size_t n_control, n_base, n_merges;
    CHECK(golden_line(&rest, &line) && line.n < sizeof header);
    memcpy(header, line.p, line.n);
    CHECK(sscanf(header, "%31s %zu %zu %zu", pre, &n_control, &n_base, &n_merges) == 4);
    size_t n = n_control + n_base + n_merges;
    struct mr_str *tokens = calloc(n, sizeof *tokens), *merges = calloc(n_merges, sizeof *merges);
    int32_t *types = calloc(n, sizeof *types);
    char *products = malloc(rest.n), *product = products;
    CHECK(tokens && merges && types && products);
    for (size_t i = 0; i < n; i++) {
        CHECK(golden_line(&rest, &line));
        tokens[i] = line;
        types[i] = i < n_control ? MR_TOKEN_CONTROL : MR_TOKEN_NORMAL;
        if (i < n_control + n_base)
            continue;
        merges[i - n_control - n_base] = line;
        tokens[i].p = product;
        for (size_t k = 0; k < line.n; k++)
            if (line.p[k] != ' ')
                *product++ = line.p[k];
        tokens[i].n = (size_t)(product - tokens[i].p);
    }
    struct mr_vocabulary vocabulary = {MR_STR("gpt2"), mr_str_from(pre), tokens, types, n, merges, n_merges, 1, 2, -1, false, NULL, 0};
    struct mr_tokenizer *tokenizer = NULL;
    struct mr_err err = {0};
    if (mr_tokenizer_open(&vocabulary, &tokenizer, &err) != MR_OK)
        printf("%s: %s\n", name, err.text);
    CHECK(tokenizer);
    free(products);
    free(types);
    free(merges);
    free(tokens);
    free((char *)file.p);
    return tokenizer;
}

/* A line of JSON as a tree in arena; aborts when it is none. */
static inline struct mr_value golden_json(struct mr_str line, struct mr_arena *arena)
{
    struct mr_value value;
    struct mr_err err = {0};
    if (mr_codec_json.decode(line, NULL, arena, &value, &err) != MR_CODEC_OK)
        printf("%.*s: %s\n", (int)line.n, line.p, err.text);
    CHECK(err.text[0] == 0);
    return value;
}

/* The string under key; empty when there is none. */
static inline struct mr_str golden_text(const struct mr_value *map, const char *key)
{
    const struct mr_value *v = mr_value_get(map, key);
    return v && v->kind == MR_STRING ? v->as.string : (struct mr_str){0};
}

/* Whether ids[0 .. n) equals the array under key. */
static inline bool golden_ids_equal(const struct mr_value *map, const char *key, const int32_t *ids, size_t n)
{
    const struct mr_value *v = mr_value_get(map, key);
    CHECK(v && v->kind == MR_ARRAY);
    bool equal = v->as.array.n == n;
    for (size_t i = 0; i < n && equal; i++)
        equal = v->as.array.items[i].as.integer == ids[i];
    return equal;
}

#endif
