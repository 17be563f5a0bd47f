/* The model's chat template: messages to the text that the model was trained on, as spans that say whether control tokens
 * in them are meant. What a template wrote is meant; what a user wrote is not.
 * An interpreter for every template comes later; a template that is not understood is refused by name at open. */
#ifndef MR_WORKER_TEXT_CHAT_H
#define MR_WORKER_TEXT_CHAT_H

#include "base/arena.h"
#include "base/status.h"
#include "base/value.h"
#include "worker/text/tokenizer.h" /* mr_chat_span */

struct mr_chat; /* opaque; immutable after open: any thread */

/* source: the template's text as in the model file. MR_ERR_UNSUPPORTED names what is not understood. */
enum mr_status mr_chat_open(struct mr_str source, struct mr_chat **out, struct mr_err *err);
void mr_chat_close(struct mr_chat *chat);

/* A rendered prompt; the array lies in the arena that render was given. */
struct mr_chat_spans {
    struct mr_chat_span *spans; /* [n] */
    size_t n;
};

/* messages: array of {role, content}. Spans lie in arena; their concatenation is the rendered prompt, for
 * mr_tokenizer_encode_spans. What the messages say (role and content) is never special.
 * MR_ERR_INVALID names the message and field that the template refuses. */
enum mr_status mr_chat_render(const struct mr_chat *chat, const struct mr_value *messages, bool add_generation_prompt, struct mr_arena *arena,
                              struct mr_chat_spans *out, struct mr_err *err);

#endif
