/* `millrace dev-broker`: the small volatile broker for a first look, with every topic of the configuration. */
#include "worker/cli/cli.h"
#include "worker/options.h"
#include "worker/topic_plan.h"

int mr_verb_dev_broker(struct mr_cli *cli, int argc, char **argv)
{
    const struct mr_flag flags[] = {
        {"listen", "ADDRESS", "where to listen; loopback only", MR_FLAG_SETTING, NULL, "dev_broker.listen"},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "dev-broker [--listen 127.0.0.1:PORT]",
        .about = "A small broker that speaks Kafka's protocol, with every topic of the configuration. It keeps nothing when it ends: for a\n"
                 "first look and for tests, not for work. Prints \"listening on ADDRESS\" once clients may come; SIGINT or SIGTERM ends it.",
        .flags = flags,
        .n_flags = 1,
    };
    struct mr_args args;
    size_t n;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    if (!mr_cli_has((const void *)cli->outside->dev_broker, "the embedded broker"))
        return MR_EXIT_FAILED;
    const struct mr_options *options = mr_cli_options(cli);
    if (!options)
        return MR_EXIT_USAGE;
    const struct mr_topic_need *needs = mr_topic_plan(options, &cli->arena, &n);
    struct mr_topic *topics = needs ? mr_arena_array(&cli->arena, n, sizeof *topics) : NULL;
    if (!topics)
        return mr_cli_fail("no memory");
    for (size_t i = 0; i < n; i++)
        topics[i] = needs[i].topic;
    return cli->outside->dev_broker(options, options->dev_broker.listen, topics, n);
}
