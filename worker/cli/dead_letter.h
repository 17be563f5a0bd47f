/* Dead letters: the records of the dead topics, as a list in the order in which they died. One thread.
 *
 * A letter is the input record's key, value and headers, and why it is here in headers `mr-dead-*`; no value: it did not fit, and
 * the original lies at its position. */
#ifndef MR_WORKER_CLI_DEAD_LETTER_H
#define MR_WORKER_CLI_DEAD_LETTER_H

#include "base/arena.h"
#include "base/status.h"
#include "worker/options.h"
#include "worker/port.h"

struct mr_dead_letter {
    struct mr_record record;          /* a copy, mr-dead-* headers included */
    struct mr_str reason, field, message, job, src, position, history; /* views of its headers */
    struct mr_str tenant, stem;       /* of job: its tenant; tenant/id without the ~rN of a redrive */
    int64_t number;                   /* N of its own name; 0: it was not redriven */
    int64_t next;                     /* N of its redrive: the same whenever the same letters lie before it, so that a letter
                                         redriven twice is a duplicate and not a second run */
    bool redriven;                    /* a later letter is its redrive's */
};

struct mr_dead_letters {
    struct mr_arena arena;
    struct mr_dead_letter *list;      /* [n] */
    size_t n, capacity;
    int64_t strangers;                /* records that are no dead letters */
};

/* Takes a record (copied). false: no memory. */
bool mr_dead_letters_add(struct mr_dead_letters *letters, const struct mr_record *record);
/* Once, when all are added: order and numbers. false: no memory. */
bool mr_dead_letters_sort(struct mr_dead_letters *letters);
void mr_dead_letters_fini(struct mr_dead_letters *letters);

/* "topic/partition/offset" of a letter, where the topic is an input of the options' routes: its route and place. NULL: it is not. */
const struct mr_route *mr_dead_letter_place(const struct mr_dead_letter *letter, const struct mr_options *options, const char **topic,
                                            int32_t *partition, int64_t *offset);
/* The record that runs the letter again, as a new job: its decoded body under the name stem~rN, or (raw) its bytes as they are
 * under that name; header redrive-of says the letter's position. Key, value and headers in arena. original: the input record, where
 * the letter has no value; else NULL. MR_ERR_INVALID: err says why it cannot be redriven. */
enum mr_status mr_dead_letter_redrive(const struct mr_dead_letter *letter, const struct mr_record *original, bool raw, struct mr_arena *arena,
                                      struct mr_record *out, struct mr_err *err);

#endif
