/* `millrace tail JOB`: a job's text as it comes, from its first token, whoever generates it. One thread. */
#include "worker/cli/client.h"
#include "worker/cli/job_verb.h"
#include "worker/cli/outcome.h"
#include "worker/cli/place.h"

#include <stdio.h>

#define TAIL_POLL_NS (MR_NS_PER_S / 10)

struct tail {
    struct mr_cli *cli;
    struct mr_client client;
    struct mr_follow follow;
    struct mr_str name;
    struct mr_follow_run *shown; /* the run whose text is shown; NULL: none yet */
    int32_t catching_up;
    bool from_now;               /* the job may still come */
};

/* A later run of the name is shown only where the one before it moved: a duplicate's stream says nothing about the first. */
static bool tail_shows(const struct tail *t, const struct mr_follow_run *run)
{
    if (!t->shown || t->shown == run)
        return true;
    return t->shown->fold.closed && (t->shown->fold.end == MR_FOLD_MOVED || t->shown->fold.end == MR_FOLD_DUPLICATE);
}

static void tail_take(struct tail *t, const struct mr_record *record)
{
    struct mr_follow_run *run;
    struct mr_stream_record decoded;
    if (mr_follow_add(&t->follow, record, &run, &decoded) != MR_FOLLOW_ACCEPTED || !tail_shows(t, run))
        return;
    t->shown = run;
    if (!t->cli->json) {
        mr_outcome_print_text(decoded.text);
        return;
    }
    struct mr_buf line = {0};
    if (mr_stream_record_encode(&decoded, MR_ENCODING_JSON, &line))
        printf("%.*s\n", (int)line.n, line.p);
    fflush(stdout);
    mr_buf_fini(&line);
}

static bool tail_ended(const struct tail *t)
{
    if (!t->shown || !t->shown->fold.closed || t->shown->fold.end == MR_FOLD_MOVED)
        return false;
    return t->shown->fold.end != MR_FOLD_DUPLICATE || t->catching_up == 0; /* the first may still be read */
}

static int tail_follow(struct tail *t)
{
    t->catching_up = mr_place_follow(&t->client, t->name, &t->cli->arena);
    if (t->catching_up == 0)
        return MR_EXIT_FAILED;
    while (!tail_ended(t) && !t->client.broken) {
        struct mr_log_event event;
        if (!mr_client_next(&t->client, TAIL_POLL_NS, &event))
            continue;
        if (event.kind == MR_LOG_FOLLOWED)
            tail_take(t, &event.record);
        else if (event.kind == MR_LOG_CAUGHT_UP && --t->catching_up == 0 && !t->shown && !t->from_now)
            return mr_cli_fail("no stream holds a job %.*s (--follow waits for it)", (int)t->name.n, t->name.p);
        if (t->follow.out_of_memory)
            return mr_cli_fail("out of memory");
    }
    if (!tail_ended(t))
        return MR_EXIT_FAILED;
    if (!t->cli->json) {
        putchar('\n');
        fflush(stdout);
        mr_outcome_say(t->shown);
    }
    return t->shown->fold.end == MR_FOLD_DONE ? MR_EXIT_DONE : MR_EXIT_FAILED;
}

int mr_verb_tail(struct mr_cli *cli, int argc, char **argv)
{
    struct tail t = {.cli = cli};
    const char *tenant = NULL;
    int code;
    const struct mr_flag flags[] = {
        MR_JOB_VERB_TENANT(tenant),
        {"follow", NULL, "wait for a job that has not begun yet", MR_FLAG_BOOL, &t.from_now, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "tail JOB",
        .about = "Prints the job's text from its first token to its end, live (--json: the stream records that count). JOB: tenant/id, or an id.\n"
                 "Exit code 1: it ended otherwise than done, or is not there.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    if (!mr_job_verb_begin(cli, &usage, argc, argv, &t.name, &code) || (code = mr_client_open(&t.client, cli)) != MR_EXIT_DONE)
        return code;
    mr_follow_init(&t.follow, mr_job_verb_wants, &t.name);
    code = tail_follow(&t);
    mr_follow_fini(&t.follow);
    mr_client_close(&t.client);
    return code;
}
