#include "worker/result_logprobs.h"

#include "worker/text/utf8.h"

#include <stdio.h>
#include <stdlib.h>

#define LOGPROB_LEAST (-9999.0f)

struct mr_value mr_logprob_value(float logprob)
{
    char text[40];
    float f = logprob > LOGPROB_LEAST ? logprob < -LOGPROB_LEAST ? logprob : -LOGPROB_LEAST : LOGPROB_LEAST; /* NaN too */
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
        if (strtof(text, NULL) == f)
            break;
    }
    return mr_value_float(strtod(text, NULL));
}

static struct mr_str kept(struct mr_arena *arena, struct mr_buf *text)
{
    struct mr_str s = text->failed ? (struct mr_str){0} : mr_arena_str(arena, mr_buf_view(text));
    mr_buf_fini(text);
    return s;
}

/* How a token is written: its text, repaired where it is a part of a character, or token_id:N. */
static struct mr_str written(struct mr_arena *arena, const struct mr_token_logprob *token, bool as_ids)
{
    struct mr_buf text = {0};
    if (as_ids)
        mr_buf_addf(&text, "token_id:%d", token->id);
    else
        mr_utf8_repair(token->bytes, &text);
    return kept(arena, &text);
}

static void add_distinct(struct mr_value *map, struct mr_str key, struct mr_value value)
{
    if (map->kind != MR_MAP)
        return;
    for (size_t i = 0; i < map->as.map.n; i++)
        if (mr_str_equal(map->as.map.items[i].key, key))
            return;
    map->as.map.items[map->as.map.n++] = (struct mr_pair){key, value};
}

static int64_t count_characters(struct mr_str bytes)
{
    int64_t n = 0;
    for (size_t i = 0; i < bytes.n; i++)
        n += ((unsigned char)bytes.p[i] & 0xc0) != 0x80;
    return n;
}

struct mr_value mr_result_logprobs_completion(struct mr_arena *arena, const struct mr_logprob *logprobs, int32_t n, bool as_ids)
{
    struct mr_value tokens = mr_value_array(arena, (size_t)n), values = mr_value_array(arena, (size_t)n);
    struct mr_value tops = mr_value_array(arena, (size_t)n), offsets = mr_value_array(arena, (size_t)n), map = mr_value_map(arena, 4);
    int64_t offset = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct mr_token_logprob *chosen = &logprobs[i].chosen;
        struct mr_value top = mr_value_map(arena, (size_t)logprobs[i].n_top + 1);
        struct mr_str token = written(arena, chosen, as_ids);
        for (int32_t k = 0; k < logprobs[i].n_top; k++)
            add_distinct(&top, written(arena, &logprobs[i].top[k], as_ids), mr_logprob_value(logprobs[i].top[k].logprob));
        add_distinct(&top, token, mr_logprob_value(chosen->logprob));
        mr_value_push(&tokens, mr_value_string(token));
        mr_value_push(&values, mr_logprob_value(chosen->logprob));
        mr_value_push(&tops, top);
        mr_value_push(&offsets, mr_value_int(offset));
        offset += count_characters(chosen->bytes);
    }
    mr_value_set(&map, "tokens", tokens);
    mr_value_set(&map, "token_logprobs", values);
    mr_value_set(&map, "top_logprobs", tops);
    mr_value_set(&map, "text_offset", offsets);
    return map;
}

static void set_chat_token(struct mr_arena *arena, struct mr_value *map, const struct mr_token_logprob *token, bool as_ids)
{
    struct mr_value bytes = mr_value_array(arena, token->bytes.n);
    for (size_t i = 0; i < token->bytes.n; i++)
        mr_value_push(&bytes, mr_value_int((unsigned char)token->bytes.p[i]));
    mr_value_set(map, "token", mr_value_string(written(arena, token, as_ids)));
    mr_value_set(map, "logprob", mr_logprob_value(token->logprob));
    mr_value_set(map, "bytes", bytes);
}

struct mr_value mr_result_logprobs_chat(struct mr_arena *arena, const struct mr_logprob *logprobs, int32_t n, bool as_ids)
{
    struct mr_value content = mr_value_array(arena, (size_t)n), map = mr_value_map(arena, 1);
    for (int32_t i = 0; i < n; i++) {
        struct mr_value entry = mr_value_map(arena, 4), top = mr_value_array(arena, (size_t)logprobs[i].n_top);
        set_chat_token(arena, &entry, &logprobs[i].chosen, as_ids);
        for (int32_t k = 0; k < logprobs[i].n_top; k++) {
            struct mr_value other = mr_value_map(arena, 3);
            set_chat_token(arena, &other, &logprobs[i].top[k], as_ids);
            mr_value_push(&top, other);
        }
        mr_value_set(&entry, "top_logprobs", top);
        mr_value_push(&content, entry);
    }
    mr_value_set(&map, "content", content);
    return map;
}

static void add_prompt_token(struct mr_arena *arena, struct mr_value *map, const struct mr_token_logprob *token, int rank)
{
    struct mr_buf key = {0};
    struct mr_value entry = mr_value_map(arena, 3);
    mr_value_set(&entry, "logprob", mr_logprob_value(token->logprob));
    if (rank > 0)
        mr_value_set(&entry, "rank", mr_value_int(rank));
    mr_value_set(&entry, "decoded_token", mr_value_string(written(arena, token, false)));
    mr_buf_addf(&key, "%d", token->id);
    add_distinct(map, kept(arena, &key), entry);
}

struct mr_value mr_result_logprobs_prompt(struct mr_arena *arena, const struct mr_logprob *logprobs, int32_t n)
{
    struct mr_value array = mr_value_array(arena, (size_t)n);
    for (int32_t i = 0; i < n; i++) {
        if (logprobs[i].chosen.id < 0) {
            mr_value_push(&array, mr_value_null());
            continue;
        }
        struct mr_value map = mr_value_map(arena, (size_t)logprobs[i].n_top + 1);
        for (int32_t k = 0; k < logprobs[i].n_top; k++)
            add_prompt_token(arena, &map, &logprobs[i].top[k], k + 1);
        add_prompt_token(arena, &map, &logprobs[i].chosen, 0);
        mr_value_push(&array, map);
    }
    return array;
}
