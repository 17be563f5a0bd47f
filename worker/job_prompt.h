/* The two forms of a prompt: text or token ids (completions), messages (chat). Writes job->prompt, prompt_ids or messages. */
#ifndef MR_WORKER_JOB_PROMPT_H
#define MR_WORKER_JOB_PROMPT_H

#include "worker/job_field.h"

enum { MR_MESSAGES_MAX = 4096, MR_MESSAGE_PARTS_MAX = 1024 };

/* A string; an array of token ids; an array that holds one of these. */
enum mr_reason mr_job_prompt_read(struct mr_field_reader *reader, const struct mr_job_field *field, const struct mr_value *value);
/* [{role, content}], content a string or text parts, which are joined; job->messages is a new array of {role, content}. */
enum mr_reason mr_job_messages_read(struct mr_field_reader *reader, const struct mr_job_field *field, const struct mr_value *value);

#endif
