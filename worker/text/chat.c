/* Recognises chat templates of ChatML's shape and renders them; everything else is refused, naming what was met.
 *
 *     {% for message in messages %}
 *       {% if loop.first and messages[0]['role'] != 'system' %} texts {% endif %}      (may be absent)
 *       texts, message['role'], message['content']
 *     {% endfor %}
 *     {% if add_generation_prompt %} texts {% endif %}                                  (may be absent)
 *
 * where texts are data and {{ 'strings' + ... }}. Owns the parts, whose texts lie in its arena.
 *
 * Invariants
 * 1 What is rendered is what the references' Jinja renders for a template that is accepted; no template is accepted in part.
 * 2 Texts of the template are special spans, what a message says never is.
 *
 * Rejected: comparing with a list of known sources by hash (a space more and it fails); guessing a format from a token's name. */
#include "worker/text/chat.h"

#include "worker/text/template.h"

#include <stdlib.h>

enum { PARTS_MAX = 32 }; /* of one section */

enum part_kind { PART_TEXT, PART_ROLE, PART_CONTENT };

struct part {
    enum part_kind kind;
    struct mr_str text;
};

struct section {
    struct part parts[PARTS_MAX];
    size_t n;
};

struct mr_chat {
    struct mr_arena arena;
    struct section no_system;  /* before the first message when it is no system message */
    struct section message;
    struct section generation; /* when the generation prompt is asked for */
};

/* ---- recognising ---- */

struct reader {
    struct mr_chat *chat;
    const struct mr_template_chunk *chunks; /* [n], at the next one */
    size_t n, at;
    struct mr_err *err;
};

static enum mr_status not_understood(const struct reader *reader)
{
    if (reader->at == reader->n)
        return mr_err_set(reader->err, MR_ERR_UNSUPPORTED, "the chat template ends before its loop over messages is complete");
    const struct mr_template_chunk *chunk = &reader->chunks[reader->at];
    const char *open = chunk->kind == MR_TEMPLATE_STATEMENT ? "{%" : chunk->kind == MR_TEMPLATE_OUTPUT ? "{{" : "";
    return mr_err_set(reader->err, MR_ERR_UNSUPPORTED, "the chat template is not of ChatML's shape: \"%s%.*s\" is not understood here", open,
                      chunk->text.n > 120 ? 120 : (int)chunk->text.n, chunk->text.p);
}

/* Takes the next chunk if it is this statement. */
static bool take(struct reader *reader, const char *statement)
{
    if (reader->at == reader->n || reader->chunks[reader->at].kind != MR_TEMPLATE_STATEMENT ||
        !mr_template_same(reader->chunks[reader->at].text, mr_str_from(statement)))
        return false;
    reader->at++;
    return true;
}

static enum mr_status add_part(struct reader *reader, struct section *section, struct part part)
{
    if (section->n == PARTS_MAX)
        return mr_err_set(reader->err, MR_ERR_UNSUPPORTED, "a section of the chat template has more than %d parts", PARTS_MAX);
    section->parts[section->n++] = part;
    return MR_OK;
}

/* message['role'] or message.role, the name `message` taken already. */
static bool read_field(struct mr_str *rest, enum part_kind *kind)
{
    struct mr_template_token sign = mr_template_next(rest), field = mr_template_next(rest);
    bool index = mr_str_is(sign.text, "[") && field.kind == MR_TEMPLATE_TEXT && mr_str_is(mr_template_next(rest).text, "]");
    if (!index && !(mr_str_is(sign.text, ".") && field.kind == MR_TEMPLATE_NAME))
        return false;
    *kind = mr_str_is(field.text, "role") ? PART_ROLE : PART_CONTENT;
    return *kind == PART_ROLE || mr_str_is(field.text, "content");
}

/* term + term + ...; a term is a string or, with fields, a field of the message. */
static enum mr_status read_output(struct reader *reader, struct mr_str rest, struct section *section, bool fields)
{
    for (;;) {
        struct mr_template_token token = mr_template_next(&rest);
        struct part part = {PART_TEXT, {0}};
        enum mr_status status = MR_OK;
        if (token.kind == MR_TEMPLATE_TEXT)
            status = mr_template_text(token.text, &reader->chat->arena, &part.text, reader->err);
        else if (!fields || token.kind != MR_TEMPLATE_NAME || !mr_str_is(token.text, "message") || !read_field(&rest, &part.kind))
            return not_understood(reader);
        if (status == MR_OK)
            status = add_part(reader, section, part);
        if (status != MR_OK)
            return status;
        token = mr_template_next(&rest);
        if (token.kind == MR_TEMPLATE_END)
            return MR_OK;
        if (token.kind != MR_TEMPLATE_SIGN || !mr_str_is(token.text, "+"))
            return not_understood(reader);
    }
}

/* Data and outputs up to the next statement. */
static enum mr_status read_section(struct reader *reader, struct section *section, bool fields)
{
    enum mr_status status = MR_OK;
    for (; status == MR_OK && reader->at < reader->n && reader->chunks[reader->at].kind != MR_TEMPLATE_STATEMENT; reader->at++) {
        const struct mr_template_chunk *chunk = &reader->chunks[reader->at];
        if (chunk->kind == MR_TEMPLATE_OUTPUT) {
            status = read_output(reader, chunk->text, section, fields);
            continue;
        }
        struct mr_str copy = mr_arena_str(&reader->chat->arena, chunk->text);
        status = copy.p ? add_part(reader, section, (struct part){PART_TEXT, copy}) : MR_ERR_NOMEM;
    }
    return status;
}

static enum mr_status read_template(struct reader *reader)
{
    struct mr_chat *chat = reader->chat;
    enum mr_status status = MR_OK;
    if (!take(reader, "for message in messages"))
        return not_understood(reader);
    if (take(reader, "if loop.first and messages[0]['role'] != 'system'") || take(reader, "if loop.first and messages[0].role != 'system'")) {
        status = read_section(reader, &chat->no_system, false);
        if (status == MR_OK && !take(reader, "endif"))
            return not_understood(reader);
    }
    if (status == MR_OK)
        status = read_section(reader, &chat->message, true);
    if (status == MR_OK && !take(reader, "endfor"))
        return not_understood(reader);
    if (status == MR_OK && take(reader, "if add_generation_prompt")) {
        status = read_section(reader, &chat->generation, false);
        if (status == MR_OK && !take(reader, "endif"))
            return not_understood(reader);
    }
    return status != MR_OK || reader->at == reader->n ? status : not_understood(reader);
}

enum mr_status mr_chat_open(struct mr_str source, struct mr_chat **out, struct mr_err *err)
{
    *out = NULL;
    struct mr_chat *chat = calloc(1, sizeof *chat);
    if (!chat)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the chat template");
    mr_arena_init(&chat->arena, 0);
    struct mr_arena scratch;
    mr_arena_init(&scratch, 0);
    struct mr_template_chunk *chunks;
    struct reader reader = {.chat = chat, .err = err};
    enum mr_status status = mr_template_cut(source, &scratch, &chunks, &reader.n, err);
    if (status == MR_OK) {
        reader.chunks = chunks;
        status = read_template(&reader);
    }
    mr_arena_fini(&scratch);
    if (status == MR_OK)
        *out = chat;
    else
        mr_chat_close(chat);
    return status;
}

void mr_chat_close(struct mr_chat *chat)
{
    if (!chat)
        return;
    mr_arena_fini(&chat->arena);
    free(chat);
}

/* ---- rendering ---- */

static enum mr_status field_of(const struct mr_value *message, size_t index, const char *name, struct mr_str *out, struct mr_err *err)
{
    const struct mr_value *value = mr_value_get(message, name);
    if (!value)
        return mr_err_set(err, MR_ERR_INVALID, "messages[%zu].%s is missing", index, name);
    if (value->kind != MR_STRING)
        return mr_err_set(err, MR_ERR_INVALID, "messages[%zu].%s is %s; this model's chat template takes a string", index, name,
                          mr_value_kind_name(value->kind));
    *out = value->as.string;
    return MR_OK;
}

static void add_section(const struct section *section, struct mr_str role, struct mr_str content, struct mr_chat_spans *out)
{
    for (size_t i = 0; i < section->n; i++) {
        const struct part *part = &section->parts[i];
        struct mr_str text = part->kind == PART_TEXT ? part->text : part->kind == PART_ROLE ? role : content;
        if (text.n)
            out->spans[out->n++] = (struct mr_chat_span){text, part->kind == PART_TEXT};
    }
}

enum mr_status mr_chat_render(const struct mr_chat *chat, const struct mr_value *messages, bool add_generation_prompt, struct mr_arena *arena,
                              struct mr_chat_spans *out, struct mr_err *err)
{
    *out = (struct mr_chat_spans){0};
    if (!messages || messages->kind != MR_ARRAY)
        return mr_err_set(err, MR_ERR_INVALID, "messages is not an array");
    size_t n = messages->as.array.n;
    out->spans = mr_arena_array(arena, 2 + n, PARTS_MAX * sizeof *out->spans);
    if (!out->spans)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory to render the chat");
    for (size_t i = 0; i < n; i++) {
        const struct mr_value *message = &messages->as.array.items[i];
        struct mr_str role, content;
        enum mr_status status = field_of(message, i, "role", &role, err);
        if (status == MR_OK)
            status = field_of(message, i, "content", &content, err);
        if (status != MR_OK)
            return status;
        if (i == 0 && !mr_str_is(role, "system"))
            add_section(&chat->no_system, role, content, out);
        add_section(&chat->message, role, content, out);
    }
    if (add_generation_prompt)
        add_section(&chat->generation, (struct mr_str){0}, (struct mr_str){0}, out);
    return MR_OK;
}
