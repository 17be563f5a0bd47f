/* `millrace submit`: a prompt, a chat, or a file of jobs into a route's jobs topic. One thread.
 *
 * Owns the flags and the body made of them; a file's lines go out as they are, so that what the worker refuses is what the user
 * wrote. A prompt without --id gets a random one: a name that does not depend on where the record will lie can be told at once.
 * Rejected: judging a job here before it is sent (two judges differ one day); a retry of what was not appended (the same name
 * sent again is the retry, and never runs twice). */
#include "adapters/codec/codec.h"
#include "worker/cli/input_file.h"
#include "worker/cli/outcome.h"
#include "worker/cli/sending.h"
#include "worker/routing_key.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { SUBMIT_FIELDS = 32 };

struct submit {
    struct mr_cli *cli;
    const char *tier, *tenant, *id, *key, *file, *batch, *system, *extra, *model, *stop;
    bool chat, wait, stream;
    int64_t max_tokens, top_k, seed, priority, deadline_s;
    double temperature, top_p, timeout_s;
    struct mr_sending sending;
    struct mr_header json;
};

/* "cli-" and 16 random hex digits. */
static const char *submit_new_id(struct mr_arena *arena)
{
    uint64_t random = 0;
    char text[32];
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return NULL;
    int n = snprintf(text, sizeof text, "cli-%016llx", (unsigned long long)random);
    return mr_arena_str(arena, (struct mr_str){text, (size_t)n}).p;
}

static void submit_text(struct mr_value *map, const char *key, const char *text)
{
    if (text)
        mr_value_set(map, key, mr_value_string(mr_str_from(text)));
}

static void submit_int(struct mr_value *map, const char *key, int64_t value)
{
    if (value >= 0)
        mr_value_set(map, key, mr_value_int(value));
}

static void submit_number(struct mr_value *map, const char *key, double value)
{
    if (!isnan(value))
        mr_value_set(map, key, mr_value_float(value));
}

static struct mr_value submit_message(struct mr_arena *arena, const char *role, const char *content)
{
    struct mr_value message = mr_value_map(arena, 2);
    submit_text(&message, "role", role);
    submit_text(&message, "content", content);
    return message;
}

/* Adds what --extra holds. */
static int submit_extra(struct submit *s, struct mr_value *body)
{
    struct mr_value extra;
    struct mr_err err;
    if (!s->extra)
        return MR_EXIT_DONE;
    if (mr_codec_json.decode(mr_str_from(s->extra), NULL, &s->cli->arena, &extra, &err) != MR_CODEC_OK || extra.kind != MR_MAP)
        return mr_cli_misuse("--extra wants a JSON object");
    for (size_t i = 0; i < extra.as.map.n; i++) {
        if (body->as.map.n == SUBMIT_FIELDS)
            return mr_cli_misuse("--extra holds too many fields");
        body->as.map.items[body->as.map.n++] = extra.as.map.items[i];
    }
    return MR_EXIT_DONE;
}

static int submit_body(struct submit *s, const char *prompt, struct mr_str *out)
{
    struct mr_arena *arena = &s->cli->arena;
    struct mr_value body = mr_value_map(arena, SUBMIT_FIELDS);
    struct mr_buf text = {0};
    submit_text(&body, "id", s->id);
    submit_text(&body, "tenant", s->tenant);
    submit_text(&body, "model", s->model);
    if (s->chat) {
        struct mr_value messages = mr_value_array(arena, 2);
        if (s->system)
            mr_value_push(&messages, submit_message(arena, "system", s->system));
        mr_value_push(&messages, submit_message(arena, "user", prompt));
        mr_value_set(&body, "messages", messages);
    } else {
        submit_text(&body, "prompt", prompt);
    }
    if (s->stream)
        mr_value_set(&body, "stream", mr_value_bool(true));
    submit_int(&body, "max_tokens", s->max_tokens);
    submit_number(&body, "temperature", s->temperature);
    submit_number(&body, "top_p", s->top_p);
    submit_int(&body, "top_k", s->top_k);
    submit_int(&body, "seed", s->seed);
    submit_int(&body, "priority", s->priority);
    submit_int(&body, "deadline_ms", s->deadline_s >= 0 ? s->deadline_s * 1000 : -1);
    submit_text(&body, "stop", s->stop);
    int code = submit_extra(s, &body);
    mr_codec_json.encode(&body, &text);
    *out = mr_arena_str(arena, mr_buf_view(&text));
    mr_buf_fini(&text);
    return code == MR_EXIT_DONE && !out->p ? mr_cli_fail("out of memory") : code;
}

/* The key that was asked for, else that of the job's beginning, else its name. */
static struct mr_str submit_key(struct submit *s, struct mr_str value, struct mr_str name)
{
    struct mr_arena arena;
    struct mr_value body;
    struct mr_str key = s->key ? mr_str_from(s->key) : name;
    const char *slash = name.n ? memchr(name.p, '/', name.n) : NULL;
    mr_arena_init(&arena, 0);
    if (!s->key && slash && mr_codec_json.decode(value, NULL, &arena, &body, NULL) == MR_CODEC_OK)
        mr_routing_key(&body, (struct mr_str){name.p, (size_t)(slash - name.p)}, &s->cli->arena, &key);
    mr_arena_fini(&arena);
    return key;
}

static int submit_prompt(struct submit *s, const char *prompt)
{
    struct mr_sending_job job = {.headers = &s->json, .n_headers = 1};
    if (!s->id && !(s->id = submit_new_id(&s->cli->arena)))
        return mr_cli_fail("no random numbers");
    const char *tenant = s->sending.route->tenant_from_field && s->tenant ? s->tenant : s->sending.route->tenant;
    job.name = mr_client_job_name(&s->cli->arena, s->id, tenant);
    int code = job.name.n ? submit_body(s, prompt, &job.value) : MR_EXIT_USAGE;
    if (code != MR_EXIT_DONE)
        return code;
    job.key = submit_key(s, job.value, job.name);
    s->sending.jobs = &job;
    s->sending.n = 1;
    return mr_sending_run(&s->sending);
}

static int submit_file(struct submit *s)
{
    struct mr_input_file file;
    struct mr_err err;
    if (mr_input_file_open(&file, s->file, s->batch, s->sending.client.options, s->sending.route, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    s->sending.n = file.n;
    s->sending.jobs = calloc(file.n ? file.n : 1, sizeof *s->sending.jobs);
    for (size_t i = 0; s->sending.jobs && i < file.n; i++) {
        const struct mr_input_job *in = &file.jobs[i];
        s->sending.jobs[i] = (struct mr_sending_job){.value = in->line, .headers = in->headers, .n_headers = in->n_headers, .name = in->name,
                                                     .key = submit_key(s, in->line, in->name)};
    }
    int code = !s->sending.jobs ? mr_cli_fail("out of memory") : file.n ? mr_sending_run(&s->sending) : mr_cli_fail("%s holds no job", s->file);
    if (s->sending.n_reported)
        fprintf(stderr, "millrace: batch %s: %zu of %zu jobs appended to %s\n", file.batch, s->sending.n_reported, file.n, s->sending.route->jobs);
    free(s->sending.jobs);
    mr_input_file_close(&file);
    return code;
}

static int submit_all(struct submit *s, const char *prompt)
{
    struct mr_sending *sending = &s->sending;
    int code = mr_client_open(&sending->client, s->cli);
    if (code != MR_EXIT_DONE)
        return code;
    sending->cli = s->cli;
    sending->wait = s->wait || s->stream;
    sending->stream = s->stream;
    sending->timeout_s = s->timeout_s;
    sending->route = mr_client_route(sending->client.options, s->tier);
    code = !sending->route ? MR_EXIT_USAGE : prompt ? submit_prompt(s, prompt) : submit_file(s);
    mr_client_close(&sending->client);
    return code;
}

/* A flag given that is a field of one job; NULL: none. */
static const char *submit_describes_a_job(const struct submit *s)
{
    const struct {
        const char *flag;
        bool given;
    } fields[] = {
        {"id", s->id}, {"chat", s->chat}, {"system", s->system}, {"tenant", s->tenant}, {"model-name", s->model}, {"stop", s->stop},
        {"extra", s->extra}, {"max-tokens", s->max_tokens >= 0}, {"top-k", s->top_k >= 0}, {"seed", s->seed >= 0}, {"priority", s->priority >= 0},
        {"deadline", s->deadline_s >= 0}, {"temperature", !isnan(s->temperature)}, {"top-p", !isnan(s->top_p)},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].given)
            return fields[i].flag;
    return NULL;
}

int mr_verb_submit(struct mr_cli *cli, int argc, char **argv)
{
    struct submit s = {.cli = cli, .max_tokens = -1, .top_k = -1, .seed = -1, .priority = -1, .deadline_s = -1, .temperature = NAN, .top_p = NAN,
                       .json = {MR_STR("content-type"), MR_STR("application/json")}};
    const struct mr_flag flags[] = {
        {"file", "F", "send the jobs of a file: a JSON job or an OpenAI Batch line a line; - for standard input", MR_FLAG_TEXT, &s.file, NULL},
        {"batch", "ID", "name of the file's batch (default: from its content)", MR_FLAG_TEXT, &s.batch, NULL},
        {"chat", NULL, "the prompt is a user's message", MR_FLAG_BOOL, &s.chat, NULL},
        {"system", "TEXT", "system message of the chat", MR_FLAG_TEXT, &s.system, NULL},
        {"wait", NULL, "wait for the end and print the text", MR_FLAG_BOOL, &s.wait, NULL},
        {"stream", NULL, "print the text (--json: the stream records) as it is generated", MR_FLAG_BOOL, &s.stream, NULL},
        {"timeout", "S", "give up after so many seconds without news", MR_FLAG_NUMBER, &s.timeout_s, NULL},
        {"tier", "T", "realtime, standard, bulk, or a route's name", MR_FLAG_TEXT, &s.tier, NULL},
        {"tenant", "T", "whose job it is", MR_FLAG_TEXT, &s.tenant, NULL},
        {"id", "ID", "the job's name inside its tenant", MR_FLAG_TEXT, &s.id, NULL},
        {"key", "K", "partition key (default: of tenant and beginning, for a short one tenant/id)", MR_FLAG_TEXT, &s.key, NULL},
        {"model-name", "M", "the model to ask for", MR_FLAG_TEXT, &s.model, NULL},
        {"max-tokens", "N", "longest output", MR_FLAG_INT, &s.max_tokens, NULL},
        {"temperature", "X", "0: greedy", MR_FLAG_NUMBER, &s.temperature, NULL},
        {"top-p", "X", "nucleus", MR_FLAG_NUMBER, &s.top_p, NULL},
        {"top-k", "N", "most likely tokens", MR_FLAG_INT, &s.top_k, NULL},
        {"seed", "N", "of the sampler", MR_FLAG_INT, &s.seed, NULL},
        {"stop", "TEXT", "a stop string", MR_FLAG_TEXT, &s.stop, NULL},
        {"priority", "N", "0 to 9, inside the tenant", MR_FLAG_INT, &s.priority, NULL},
        {"deadline", "S", "seconds after which the job is worth nothing", MR_FLAG_INT, &s.deadline_s, NULL},
        {"extra", "JSON", "an object of further fields of the job", MR_FLAG_TEXT, &s.extra, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "submit [PROMPT | --file F]",
        .about = "Sends one prompt, or every job of a file. Prints the job's name; with --wait or --stream its text. Exit code 1: a job was\n"
                 "not sent or, waiting, did not end done.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .max_args = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    if ((args.n == 1) == (s.file != NULL))
        return mr_cli_misuse("submit takes a prompt or --file, one of the two");
    if (s.file && submit_describes_a_job(&s))
        return mr_cli_misuse("--%s goes with a prompt: the jobs of a file say it themselves", submit_describes_a_job(&s));
    s.chat |= s.system != NULL;
    return submit_all(&s, args.n ? args.items[0] : NULL);
}
