/* The one table of a job's fields: which there are, in which kind of request, what they may be, and what becomes of them.
 * job_decode.c reads a job by it, manual.c prints it. */
#ifndef MR_WORKER_JOB_FIELD_H
#define MR_WORKER_JOB_FIELD_H

#include "worker/job_decode.h"

enum mr_field_fate {
    MR_FIELD_IMPLEMENTED,
    MR_FIELD_NEUTRAL, /* known, not implemented: its neutral values are accepted, others are unsupported_field */
    MR_FIELD_IGNORED, /* accepted whatever it says */
};

enum { MR_FIELD_COMPLETION = 1, MR_FIELD_CHAT = 2, MR_FIELD_BOTH = 3 }; /* kinds of requests that have the field */

enum mr_field_type {
    MR_FIELD_BOOL,   /* bool */
    MR_FIELD_INT32,  /* int32_t */
    MR_FIELD_NUMBER, /* double; an integer is a number too */
    MR_FIELD_STRING, /* struct mr_str of least .. most bytes */
    MR_FIELD_OTHER,  /* read by its own function */
};

/* What reading a field needs besides its value. */
struct mr_field_reader {
    struct mr_job *job;
    const struct mr_job_source *source;
    struct mr_refusal *refusal;
};

struct mr_job_field {
    const char *name;
    int kinds;                  /* MR_FIELD_COMPLETION | MR_FIELD_CHAT */
    enum mr_field_fate fate;
    enum mr_field_type type;
    size_t offset;              /* in struct mr_job; not of OTHER */
    double least, most;         /* INT32, NUMBER: the value; STRING: its bytes; exact: every bound is below 2^53 */
    enum mr_reason (*read)(struct mr_field_reader *reader, const struct mr_job_field *field, const struct mr_value *value); /* OTHER */
    const char *neutral;        /* NEUTRAL: what is accepted besides null, as canonical JSON, separated by blanks */
    const char *text;           /* for the manual: a sentence */
};

const struct mr_job_field *mr_job_field_table(size_t *n);
const struct mr_job_field *mr_job_field_find(struct mr_str name); /* NULL: no such field */
/* Takes one field's value into reader->job, or refuses it. null is the same as not given. */
enum mr_reason mr_job_field_read(struct mr_field_reader *reader, const struct mr_job_field *field, const struct mr_value *value);

/* A field's name as a refusal may show it: printable ASCII, cut to 60 characters; out has 64. Returns out. */
const char *mr_job_field_shown(struct mr_str name, char out[64]);

#endif
