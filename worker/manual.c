#include "worker/manual.h"

#include "worker/job_field.h"
#include "worker/option_table.h"

#include <inttypes.h>
#include <stdio.h>

/* Text as groff shows it literally: no escape, no request, and dashes that can be copied. */
static void add_text(struct mr_buf *out, const char *text)
{
    bool start = true;
    for (const char *p = text; *p; p++) {
        if (*p == '\\')
            mr_buf_addf(out, "\\e");
        else if (*p == '-')
            mr_buf_addf(out, "\\-");
        else if (start && (*p == '.' || *p == '\''))
            mr_buf_addf(out, "\\&%c", *p);
        else
            mr_buf_add_char(out, *p);
        start = *p == '\n';
    }
}

static void add_number(struct mr_buf *out, const struct mr_option *option, int64_t number)
{
    if (option->type == MR_OPTION_BYTES)
        mr_bytes_format(number, out);
    else if (option->type == MR_OPTION_TIME)
        mr_time_format(number, out);
    else
        mr_buf_addf(out, "%" PRId64, number);
}

/* "whole number, 0 to 1024, default 0" */
static void add_kind(struct mr_buf *out, const struct mr_option *option)
{
    static const char *const kinds[] = {
        [MR_OPTION_STRING] = "string", [MR_OPTION_INT] = "whole number", [MR_OPTION_BOOL] = "true or false", [MR_OPTION_BYTES] = "size",
        [MR_OPTION_TIME] = "time", [MR_OPTION_WORD] = "one of", [MR_OPTION_LIST] = "list of strings", [MR_OPTION_ROUTES] = "list of groups",
    };
    struct mr_buf text = {0};
    mr_buf_addf(&text, "%s", kinds[option->type]);
    for (int i = 0; option->words && option->words[i]; i++)
        mr_buf_addf(&text, "%s %s", i ? "," : "", option->words[i]);
    if (option->type == MR_OPTION_INT || option->type == MR_OPTION_BYTES || option->type == MR_OPTION_TIME) {
        mr_buf_addf(&text, ", ");
        add_number(&text, option, option->least);
        mr_buf_addf(&text, " to ");
        add_number(&text, option, option->most);
    }
    if (option->type != MR_OPTION_LIST && option->type != MR_OPTION_ROUTES)
        mr_buf_addf(&text, ", default %s", option->fallback[0] ? option->fallback : "empty");
    mr_buf_add_char(&text, 0);
    if (!text.failed)
        add_text(out, text.p);
    mr_buf_fini(&text);
}

void mr_manual_options(struct mr_buf *out)
{
    size_t n;
    const struct mr_option *table = mr_option_table(&n);
    mr_buf_addf(out, ".TH MILLRACE.CONF 5 \"\" millrace\n.SH NAME\nmillrace.conf \\- configuration of millrace\n.SH DESCRIPTION\n"
                     "A file in libconfig's syntax, given with\n.BR \\-c .\n"
                     "A dot in a name is a group: kafka.brokers is written\n.PP\n.nf\n    kafka : { brokers = \"a:9092,b:9092\"; };\n.fi\n.PP\n"
                     "Sizes and times are strings with their unit: \"64MiB\", \"900kB\"; \"100ms\", \"5s\", \"2min\", \"1h\", \"7d\". "
                     "A whole number past 32 bits needs the suffix L. @include takes files of the same folder. "
                     "What is not known is an error.\n.PP\n.B \\-\\-set\n.I name=value\n"
                     "gives one option on the command line, over the file; to a list it appends.\n.B millrace worker \\-\\-print\\-config\n"
                     "shows what results.\n.SH OPTIONS\n");
    for (size_t i = 0; i < n; i++) {
        mr_buf_addf(out, ".TP\n.B ");
        add_text(out, table[i].name);
        mr_buf_addf(out, "\n(");
        add_kind(out, &table[i]);
        mr_buf_addf(out, ")\n.br\n");
        add_text(out, table[i].text);
        mr_buf_add_char(out, '\n');
    }
    mr_buf_addf(out, ".SH SEE ALSO\n.BR millrace (1),\n.BR millrace\\-jobs (7)\n");
}

static void add_field(struct mr_buf *out, const struct mr_job_field *field)
{
    static const char *const kinds[] = {"", "completions", "chat", "both"};
    mr_buf_addf(out, ".TP\n.B ");
    add_text(out, field->name);
    mr_buf_addf(out, "\n(%s", kinds[field->kinds]);
    if (field->type == MR_FIELD_INT32 || field->type == MR_FIELD_NUMBER) {
        char range[80];
        snprintf(range, sizeof range, ", %s %.10g to %.10g", field->type == MR_FIELD_INT32 ? "integer" : "number", field->least, field->most);
        add_text(out, range);
    } else if (field->type == MR_FIELD_BOOL) {
        mr_buf_addf(out, ", true or false");
    }
    mr_buf_addf(out, ")\n.br\n");
    add_text(out, field->text);
    mr_buf_add_char(out, '\n');
}

/* The fields of one fate. */
static void add_fields(struct mr_buf *out, enum mr_field_fate fate)
{
    size_t n;
    const struct mr_job_field *table = mr_job_field_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (table[i].fate != fate)
            continue;
        if (fate == MR_FIELD_IMPLEMENTED) {
            add_field(out, &table[i]);
            continue;
        }
        mr_buf_addf(out, ".TP\n.B ");
        add_text(out, table[i].name);
        mr_buf_add_char(out, '\n');
        add_text(out, fate == MR_FIELD_IGNORED ? "ignored" : table[i].neutral[0] ? "null or " : "null");
        if (fate == MR_FIELD_NEUTRAL)
            add_text(out, table[i].neutral);
        mr_buf_add_char(out, '\n');
    }
}

void mr_manual_jobs(struct mr_buf *out)
{
    mr_buf_addf(out, ".TH MILLRACE-JOBS 7 \"\" millrace\n.SH NAME\nmillrace\\-jobs \\- the fields of a job, and why one is refused\n.SH DESCRIPTION\n"
                     "A job is the body of an OpenAI completion or chat completion request, in JSON or msgpack, with a few fields more; "
                     "or a line of an OpenAI Batch file: {custom_id, method, url, body}. null is the same as absent.\n.SH FIELDS\n");
    add_fields(out, MR_FIELD_IMPLEMENTED);
    mr_buf_addf(out, ".SH KNOWN, NOT IMPLEMENTED\nAccepted with these values, which ask for nothing; others are refused as unsupported_field.\n");
    add_fields(out, MR_FIELD_NEUTRAL);
    mr_buf_addf(out, ".SH IGNORED\n");
    add_fields(out, MR_FIELD_IGNORED);
    mr_buf_addf(out, ".PP\nEverything else is refused as unknown_field, unless worker.lenient is set.\n.SH REASONS\n");
    for (int i = 1; i < MR_REASON_COUNT; i++) {
        enum mr_reason reason = (enum mr_reason)i;
        mr_buf_addf(out, ".TP\n.B %s\n(%d, %s) ", mr_reason_name(reason), mr_reason_status(reason), mr_reason_openai_type(reason));
        add_text(out, mr_reason_sentence(reason));
        mr_buf_add_char(out, '\n');
    }
    mr_buf_addf(out, ".SH SEE ALSO\n.BR millrace (1),\n.BR millrace.conf (5)\n");
}
