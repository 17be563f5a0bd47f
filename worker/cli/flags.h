/* The flags of one verb: a table that parses the command line and prints the help. One thread.
 *
 * Every verb takes --help, --json, -c FILE and --set a.b=c besides its own; `--flag value` and `--flag=value` are the same;
 * `--` ends the flags; what is no flag is an argument ("-" alone too). */
#ifndef MR_WORKER_CLI_FLAGS_H
#define MR_WORKER_CLI_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

struct mr_cli;

enum mr_flag_kind {
    MR_FLAG_BOOL,    /* no value; *target (bool) becomes true */
    MR_FLAG_INT,     /* *target is int64_t */
    MR_FLAG_NUMBER,  /* *target is double */
    MR_FLAG_TEXT,    /* *target is const char *, a view of argv */
    MR_FLAG_SETTING, /* the same as --set <option>=value: option names a row of the option table */
};

struct mr_flag {
    const char *name;  /* without the dashes */
    const char *value; /* what stands for the value in the help, NULL for MR_FLAG_BOOL */
    const char *help;  /* one line */
    enum mr_flag_kind kind;
    void *target;
    const char *option; /* MR_FLAG_SETTING */
};

/* Rows that several verbs have: what the engine runs and how. */
#define MR_FLAG_ROW_MODEL {"model", "M", "GGUF file or synthetic:SHAPE", MR_FLAG_SETTING, NULL, "model"}
#define MR_FLAG_ROW_DEVICE {"device", "D", "cpu, cuda or auto", MR_FLAG_SETTING, NULL, "engine.device"}
#define MR_FLAG_ROW_THREADS {"threads", "N", "CPU threads (0: one a core)", MR_FLAG_SETTING, NULL, "engine.threads"}
#define MR_FLAG_ROW_PRECISION {"precision", "P", "exact or fast", MR_FLAG_SETTING, NULL, "engine.precision"}
#define MR_FLAG_ROW_CONTEXT {"context", "N", "longest prompt and output (0: the model's)", MR_FLAG_SETTING, NULL, "engine.max_context"}
#define MR_FLAG_ROW_BLOCK_TOKENS {"block-tokens", "N", "tokens of a KV block", MR_FLAG_SETTING, NULL, "kv.block_tokens"}
#define MR_FLAG_ROW_KV_MEMORY {"kv-memory", "SIZE", "memory of the KV cache", MR_FLAG_SETTING, NULL, "kv.memory"}
#define MR_FLAG_ROW_MAX_SEQS {"max-seqs", "N", "jobs in one step", MR_FLAG_SETTING, NULL, "engine.max_seqs"}
#define MR_FLAG_ROW_MAX_STEP_TOKENS {"max-step-tokens", "N", "tokens in one step", MR_FLAG_SETTING, NULL, "engine.max_step_tokens"}

struct mr_flags_usage {
    const char *synopsis; /* "run --model M [JOBS.jsonl or -]" */
    const char *about;    /* a few lines */
    const struct mr_flag *flags;
    int n_flags;
    int min_args, max_args; /* arguments beside flags; max_args -1: any number */
};

enum { MR_EXIT_DONE = 0, MR_EXIT_FAILED = 1, MR_EXIT_USAGE = 2 };

struct mr_args {
    char **items;  /* [n] what is no flag, moved to the front of argv */
    int n;
    int exit_code; /* when parse says to leave */
};

/* Parses argv[1 ..) (argv[0] is the verb). true: go on. false: leave with args->exit_code (help was printed: 0; wrong usage was
 * explained on stderr: 2). */
bool mr_flags_parse(struct mr_cli *cli, const struct mr_flags_usage *usage, int argc, char **argv, struct mr_args *args);

#endif
