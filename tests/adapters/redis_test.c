/* The state mirror against a real redis-server that the test starts, stops, freezes and empties itself. */
#include "adapters/redis.h"
#include "base/clock.h"
#include "tests/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64], socket_path[96];
static pid_t server;

static int64_t now_ms(void)
{
    struct mr_clock clock = mr_clock_system();
    return mr_clock_ns(&clock) / MR_NS_PER_MS;
}

static void nap_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static bool no_server(void)
{
    bool none = system("command -v redis-server >/dev/null 2>&1") != 0;
    if (none)
        printf("skipped: no redis-server here\n");
    return none;
}

/* On a unix socket, without a port; extra: one more pair of arguments, or NULL. */
static bool server_start(const char *option, const char *value)
{
    server = fork();
    if (server == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(127);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path, "--save", "", "--dir", folder, option, value, NULL);
        _exit(127);
    }
    for (int i = 0; i < 200 && access(socket_path, F_OK); i++)
        nap_ms(10);
    return access(socket_path, F_OK) == 0;
}

static void server_kill(void)
{
    if (server <= 0)
        return;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    unlink(socket_path);
    server = 0;
}

static bool open_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/millrace-redis-test-XXXXXX");
    if (!mkdtemp(folder))
        return false;
    snprintf(socket_path, sizeof socket_path, "%s/redis.sock", folder);
    return true;
}

static void close_folder(void)
{
    char command[128];
    server_kill();
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command))
        printf("%s is left behind\n", folder);
}

static struct mr_redis_options options(void)
{
    return (struct mr_redis_options){.address = socket_path, .user = "", .password_file = "", .timeout_ms = 200};
}

static bool put(struct mr_state_port *port, const char *key, const char *state, int64_t epoch, int64_t expire_ms)
{
    struct mr_state_update update = {.key = mr_str_from(key), .n_fields = 1, .epoch = epoch, .expire_ms = expire_ms};
    update.field[0] = MR_STR("state");
    update.value[0] = mr_str_from(state);
    return port->put(port->self, &update);
}

static bool until_healthy(struct mr_state_port *port, bool healthy)
{
    for (int64_t end = now_ms() + 8000; now_ms() < end; nap_ms(5))
        if (port->healthy(port->self) == healthy)
            return true;
    return false;
}

/* Waits until n updates have met their end. */
static struct mr_redis_counts settle(struct mr_state_port *port, uint64_t n)
{
    struct mr_redis_counts counts;
    int64_t end = now_ms() + 8000;
    do {
        nap_ms(2);
        counts = mr_redis_counts(port);
    } while (counts.written + counts.stale + counts.dropped + counts.failed < n && now_ms() < end);
    return counts;
}

/* The state of a key, in a buffer of its own; "" when there is none. */
static const char *state_of(const char *key)
{
    static char state[64];
    struct mr_arena arena;
    struct mr_str *fields;
    size_t n = 0;
    struct mr_redis_options o = options();
    mr_arena_init(&arena, 0);
    state[0] = 0;
    if (!mr_redis_read(&o, mr_str_from(key), &arena, &fields, &n, NULL))
        for (size_t i = 0; i + 1 < n; i += 2)
            if (mr_str_is(fields[i], "state"))
                snprintf(state, sizeof state, "%.*s", (int)fields[i + 1].n, fields[i + 1].p);
    mr_arena_fini(&arena);
    return state;
}

static void cli(const char *command)
{
    char line[256];
    snprintf(line, sizeof line, "redis-cli -s %s %s >/dev/null", socket_path, command);
    EXPECT(system(line) == 0);
}

TEST(states_are_written_and_the_higher_epoch_wins)
{
    struct mr_state_port port;
    if (no_server())
        return;
    REQUIRE(open_folder() && server_start("--appendonly", "no"));
    struct mr_redis_options o = options();
    REQUIRE(!mr_redis_open(&o, &port, NULL) && until_healthy(&port, true));
    EXPECT(put(&port, "acme/1", "running", 5, 60000));
    EXPECT(put(&port, "acme/1", "stale", 4, 60000));
    EXPECT(put(&port, "acme/2", "beat \"1\"\r\n", -1, 60000));
    struct mr_redis_counts counts = settle(&port, 3);
    EXPECT_EQ(counts.written, 2);
    EXPECT_EQ(counts.stale, 1);
    EXPECT_STR(state_of("acme/1"), "running");
    EXPECT_STR(state_of("acme/2"), "beat \"1\"\r\n");
    EXPECT(put(&port, "acme/1", "done", 5, 300)); /* the same epoch is not lower */
    EXPECT_EQ(settle(&port, 4).written, 3);
    EXPECT_STR(state_of("acme/1"), "done");
    nap_ms(400);
    EXPECT_STR(state_of("acme/1"), ""); /* expired */
    mr_redis_close(&port);
    close_folder();
}

TEST(a_lost_script_and_a_wrong_type_heal)
{
    struct mr_state_port port;
    if (no_server())
        return;
    REQUIRE(open_folder() && server_start("--appendonly", "no"));
    struct mr_redis_options o = options();
    REQUIRE(!mr_redis_open(&o, &port, NULL) && until_healthy(&port, true));
    cli("script flush");
    for (int i = 0; i < 100; i++)
        EXPECT(put(&port, "acme/1", "running", 100 + i, 60000));
    EXPECT_EQ(settle(&port, 100).written, 100); /* NOSCRIPT, loaded again, in whatever batch it was met */
    cli("set mr:acme/1 text");
    EXPECT(put(&port, "acme/1", "done", 7, 60000));
    EXPECT_EQ(settle(&port, 101).written, 101);
    EXPECT_STR(state_of("acme/1"), "done");
    cli("flushall");
    EXPECT(put(&port, "acme/1", "again", 1, 60000));
    EXPECT_EQ(settle(&port, 102).written, 102);
    EXPECT_STR(state_of("acme/1"), "again");
    cli("config set maxmemory 1");
    EXPECT(put(&port, "acme/2", "full", 1, 60000)); /* refused by Redis: counted, and the connection stays */
    EXPECT_EQ(settle(&port, 103).failed, 1);
    EXPECT(port.healthy(port.self));
    mr_redis_close(&port);
    close_folder();
}

TEST(away_and_slow_cost_nobody_time)
{
    struct mr_state_port port;
    if (no_server())
        return;
    REQUIRE(open_folder());
    struct mr_redis_options o = options();
    REQUIRE(!mr_redis_open(&o, &port, NULL)); /* nobody there: not an error */
    EXPECT(!port.healthy(port.self));
    nap_ms(100);
    EXPECT(!put(&port, "acme/1", "lost", 1, 60000));
    REQUIRE(server_start("--appendonly", "no"));
    REQUIRE(until_healthy(&port, true));
    EXPECT(put(&port, "acme/1", "running", 1, 60000));
    settle(&port, 2);
    EXPECT_STR(state_of("acme/1"), "running");

    kill(server, SIGSTOP);
    int64_t start = now_ms(), worst = 0;
    for (int i = 0; i < 500; i++) {
        int64_t before = now_ms();
        put(&port, "acme/1", "slow", 2, 60000);
        worst = now_ms() - before > worst ? now_ms() - before : worst;
        nap_ms(1);
    }
    EXPECT(worst < 100);
    EXPECT(until_healthy(&port, false));
    EXPECT(now_ms() - start < 5000);
    kill(server, SIGCONT);
    EXPECT(until_healthy(&port, true));
    struct mr_redis_counts counts = settle(&port, 502);
    EXPECT_EQ(counts.written + counts.stale + counts.dropped + counts.failed, 502); /* each met one end */
    EXPECT(counts.dropped > 1);

    server_kill(); /* and back, empty, without a script */
    EXPECT(until_healthy(&port, false));
    REQUIRE(server_start("--appendonly", "no"));
    EXPECT(until_healthy(&port, true));
    EXPECT(put(&port, "acme/1", "healed", 1, 60000));
    settle(&port, 503);
    EXPECT_STR(state_of("acme/1"), "healed");
    mr_redis_close(&port);
    close_folder();
}

static bool tally(struct mr_state_port *port, struct mr_state_tally *tallies, int n)
{
    if (!port->tally(port->self, tallies, n))
        return false;
    for (int i = 0; i < 500; i++, nap_ms(5))
        if (port->tallied(port->self))
            return true;
    return false;
}

/* Two workers' connections to one Redis: sums add up, what was seen is put back after FLUSHALL, the least of the others is heard while
 * it is fresh, and a Redis that dies is no more than an answer that is not ok. */
TEST(figures_that_all_workers_share)
{
    struct mr_state_port a, b;
    if (no_server())
        return;
    REQUIRE(open_folder() && server_start("--appendonly", "no"));
    struct mr_redis_options o = options();
    REQUIRE(!mr_redis_open(&o, &a, NULL) && !mr_redis_open(&o, &b, NULL) && until_healthy(&a, true) && until_healthy(&b, true));
    struct mr_state_tally mine[] = {{.kind = MR_STATE_SUM, .hash = MR_STR("vt:2"), .field = MR_STR("acme"), .add = 1000},
                                    {.kind = MR_STATE_SUM, .hash = MR_STR("vt:2"), .field = MR_STR("other"), .add = INT64_C(1) << 50},
                                    {.kind = MR_STATE_LEAST, .hash = MR_STR("vt:least:2"), .field = MR_STR("a"), .least = 70, .fresh_ms = 300}};
    struct mr_state_tally others[] = {{.kind = MR_STATE_SUM, .hash = MR_STR("vt:2"), .field = MR_STR("acme"), .add = 234},
                                      {.kind = MR_STATE_LEAST, .hash = MR_STR("vt:least:2"), .field = MR_STR("b"), .least = 90, .fresh_ms = 300}};
    REQUIRE(tally(&a, mine, 3) && mine[0].ok && mine[1].ok && mine[2].ok);
    EXPECT_EQ(mine[0].out, 1000);
    EXPECT_EQ(mine[1].out, INT64_C(1) << 50);
    EXPECT_EQ(mine[2].out, INT64_MAX); /* nobody else */
    REQUIRE(tally(&b, others, 2) && others[0].ok && others[1].ok);
    EXPECT_EQ(others[0].out, 1234);
    EXPECT_EQ(others[1].out, 70);
    nap_ms(400);
    REQUIRE(tally(&b, &others[1], 1) && others[1].ok);
    EXPECT_EQ(others[1].out, INT64_MAX); /* what a told has aged */
    cli("flushall");
    mine[0].least = 1234;
    mine[0].add = 6;
    REQUIRE(tally(&a, mine, 1) && mine[0].ok);
    EXPECT_EQ(mine[0].out, 1240);
    cli("script flush");
    if (tally(&a, mine, 1) && !mine[0].ok) /* not done; loaded again for the next time */
        REQUIRE(tally(&a, mine, 1));
    EXPECT(mine[0].ok && mine[0].out == 1246);
    server_kill();
    mine[0].ok = true;
    EXPECT(!tally(&a, mine, 1) || !mine[0].ok);
    REQUIRE(until_healthy(&a, false) && server_start("--appendonly", "no") && until_healthy(&a, true));
    REQUIRE(tally(&a, mine, 1) && mine[0].ok);
    EXPECT_EQ(mine[0].out, 1240); /* an empty one: raised to what was seen */
    mr_redis_close(&a);
    mr_redis_close(&b);
    close_folder();
}

/* The answer's text, in a buffer of its own; "": nothing is there, NULL: no answer came. */
static const char *ask(struct mr_state_port *port, struct mr_wake *wake, enum mr_state_ask_kind kind, const char *key, const char *value)
{
    static char text[128];
    static uint64_t tag;
    struct mr_state_ask question = {.kind = kind, .tag = ++tag, .key = mr_str_from(key), .value = mr_str_from(value), .expire_ms = 60000};
    struct mr_state_answer answer;
    if (!port->ask(port->self, &question, wake))
        return NULL;
    mr_wake_wait(wake, 2 * MR_NS_PER_S);
    if (!port->answer(port->self, &answer))
        return NULL;
    EXPECT(answer.tag == tag && answer.kind == kind);
    snprintf(text, sizeof text, "%.*s", (int)answer.n, answer.n ? answer.text : "");
    free(answer.text);
    return text;
}

TEST(questions_are_answered)
{
    struct mr_state_port port;
    struct mr_wake wake;
    if (no_server())
        return;
    REQUIRE(open_folder() && server_start("--appendonly", "no") && mr_wake_open(&wake));
    struct mr_redis_options o = options();
    REQUIRE(!mr_redis_open(&o, &port, NULL) && until_healthy(&port, true));
    EXPECT_STR(ask(&port, &wake, MR_STATE_CLAIM, "{acme/1}:first", "1 jobs 0 5"), "1 jobs 0 5");
    EXPECT_STR(ask(&port, &wake, MR_STATE_CLAIM, "{acme/1}:first", "2 jobs 1 7"), "1 jobs 0 5"); /* who came first stays */
    EXPECT_STR(ask(&port, &wake, MR_STATE_TAKE, "{acme/1}:t", ""), "");
    struct mr_state_update line = {.key = MR_STR("{acme/1}:t"), .n_fields = 1, .field = {MR_STR("line")}, .value = {MR_STR("what was accepted")},
                                   .epoch = 4, .expire_ms = 60000};
    EXPECT(port.put(port.self, &line));
    settle(&port, 1);
    EXPECT_STR(ask(&port, &wake, MR_STATE_TAKE, "{acme/1}:t", ""), "what was accepted");
    EXPECT_STR(ask(&port, &wake, MR_STATE_TAKE, "{acme/1}:t", ""), ""); /* once */
    cli("lpush mr:wrong x");
    EXPECT_STR(ask(&port, &wake, MR_STATE_CLAIM, "wrong", "v"), "");
    server_kill();
    REQUIRE(until_healthy(&port, false));
    EXPECT(ask(&port, &wake, MR_STATE_CLAIM, "{acme/2}:first", "v") == NULL); /* away: nobody is made to wait */
    mr_redis_close(&port);
    mr_wake_close(&wake);
    close_folder();
}

TEST(the_queue_and_the_update_have_a_limit)
{
    struct mr_state_port port;
    static char large[MR_REDIS_UPDATE_BYTES_MAX + 1];
    if (no_server())
        return;
    REQUIRE(open_folder() && server_start("--appendonly", "no"));
    struct mr_redis_options o = options();
    o.timeout_ms = 3000; /* so that it stays up while the server is stopped */
    REQUIRE(!mr_redis_open(&o, &port, NULL) && until_healthy(&port, true));
    memset(large, 'x', sizeof large - 1);
    struct mr_state_update update = {.key = MR_STR("k"), .n_fields = 1, .epoch = -1, .expire_ms = 1000};
    update.field[0] = MR_STR("f");
    update.value[0] = (struct mr_str){large, MR_REDIS_UPDATE_BYTES_MAX - 5}; /* with "mr:k" and "f": at the limit */
    EXPECT(port.put(port.self, &update));
    update.value[0].n++;
    EXPECT(!port.put(port.self, &update));
    settle(&port, 2);
    kill(server, SIGSTOP);
    int taken = 0;
    while (taken < 2 * MR_REDIS_QUEUE_MAX && put(&port, "k", "v", -1, 1000))
        taken++;
    /* full, but for the batch that the thread has already taken out */
    EXPECT(taken >= MR_REDIS_QUEUE_MAX && taken <= MR_REDIS_QUEUE_MAX + MR_REDIS_BATCH_MAX);
    kill(server, SIGCONT);
    struct mr_redis_counts counts = settle(&port, (uint64_t)taken + 3);
    EXPECT_EQ(counts.written, taken + 1);
    mr_redis_close(&port);
    close_folder();
}

static void write_secret(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    if (file)
        fprintf(file, "%s", text), fclose(file);
    chmod(path, mode);
}

TEST(users_passwords_and_databases)
{
    struct mr_state_port port;
    char path[128];
    struct mr_err err;
    if (no_server())
        return;
    REQUIRE(open_folder() && server_start("--requirepass", "s3cret word"));
    snprintf(path, sizeof path, "%s/password", folder);
    write_secret(path, "s3cret word\n", 0600);
    struct mr_redis_options o = options();
    o.password_file = path;
    o.database = 3;
    REQUIRE(!mr_redis_open(&o, &port, NULL) && until_healthy(&port, true));
    EXPECT(put(&port, "acme/1", "running", 1, 60000));
    EXPECT_EQ(settle(&port, 1).written, 1);
    mr_redis_close(&port);
    cli("-a 's3cret word' --no-auth-warning -n 3 hget mr:acme/1 state | grep -qx running"); /* the grep takes what would go to null */
    cli("-a 's3cret word' --no-auth-warning acl setuser mill on '>other' '~mr:*' +@all");
    write_secret(path, "other\n", 0600);
    o.user = "mill";
    REQUIRE(!mr_redis_open(&o, &port, NULL) && until_healthy(&port, true));
    EXPECT(put(&port, "acme/1", "done", 1, 60000));
    EXPECT_EQ(settle(&port, 1).written, 1);
    mr_redis_close(&port);
    write_secret(path, "wrong\n", 0600);
    REQUIRE(!mr_redis_open(&o, &port, NULL));
    nap_ms(300);
    EXPECT(!port.healthy(port.self));
    mr_redis_close(&port);
    write_secret(path, "other\n", 0644);
    EXPECT_EQ(mr_redis_open(&o, &port, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "chmod 600") != NULL && strstr(err.text, "other\n") == NULL);
    close_folder();
}

/* The rights of deploy/redis/millrace.acl, by name. */
enum { RIGHTS_MAX = 32 };
static char rights[RIGHTS_MAX][24];
static int n_rights;

static bool read_rights(void)
{
    char line[1024];
    FILE *file = fopen(TEST_SOURCE_DIR "/deploy/redis/millrace.acl", "r");
    n_rights = 0;
    while (file && fgets(line, sizeof line, file))
        for (char *word = line[0] == '#' ? NULL : strtok(line, " \n"); word; word = strtok(NULL, " \n"))
            if (word[0] == '+' && n_rights < RIGHTS_MAX)
                snprintf(rights[n_rights++], sizeof rights[0], "%.23s", word + 1);
    if (file)
        fclose(file);
    return n_rights == 16;
}

/* The user mill with all rights but one (-1: all of them). */
static void give_rights(int but)
{
    char command[512] = "acl setuser mill reset on '>other' '~mr:*' -@all";
    for (int i = 0; i < n_rights; i++)
        if (i != but)
            snprintf(command + strlen(command), sizeof command - strlen(command), " '+%.23s'", rights[i]);
    cli(command);
}

/* Everything that a worker and the reading verbs do to Redis; true: all of it was done. */
static bool everything_works(const struct mr_redis_options *o)
{
    struct mr_state_port port;
    struct mr_wake wake;
    struct mr_arena arena;
    struct mr_str *list;
    size_t n;
    struct mr_state_tally tallies[] = {
        {.kind = MR_STATE_SUM, .hash = MR_STR("vt:0"), .field = MR_STR("acme"), .add = 1},
        {.kind = MR_STATE_LEAST, .hash = MR_STR("vt:least:0"), .field = MR_STR("a"), .least = INT64_MAX, .fresh_ms = 1000},
        {.kind = MR_STATE_LEAST, .hash = MR_STR("vt:least:0"), .field = MR_STR("a"), .least = 1, .fresh_ms = 1000}};
    if (!mr_wake_open(&wake) || mr_redis_open(o, &port, NULL))
        return false;
    for (int i = 0; i < 50 && !port.healthy(port.self); i++) /* on a socket it is there at once, or never */
        nap_ms(5);
    bool works = port.healthy(port.self) && put(&port, "acme/1", "running", 1, 60000) && settle(&port, 1).written == 1;
    works = works && tally(&port, tallies, 3) && tallies[0].ok && tallies[1].ok && tallies[2].ok;
    cli("-n 1 del mr:claim");
    const char *text = works ? ask(&port, &wake, MR_STATE_CLAIM, "claim", "me") : NULL;
    works = works && text && strcmp(text, "me") == 0;
    struct mr_state_update line = {.key = MR_STR("t"), .n_fields = 1, .field = {MR_STR("line")}, .value = {MR_STR("x")}, .epoch = 1, .expire_ms = 60000};
    works = works && port.put(port.self, &line) && settle(&port, 2).written == 2;
    text = works ? ask(&port, &wake, MR_STATE_TAKE, "t", "") : NULL;
    works = works && text && strcmp(text, "x") == 0;
    text = works ? ask(&port, &wake, MR_STATE_TAKE, "t", "") : NULL; /* it is gone */
    works = works && text && !text[0];
    mr_arena_init(&arena, 0);
    works = works && !mr_redis_read(o, MR_STR("acme/1"), &arena, &list, &n, NULL) && !mr_redis_keys(o, MR_STR("acme"), &arena, &list, &n, NULL);
    nap_ms(works ? 1100 : 0); /* long enough for a PING */
    works = works && port.healthy(port.self);
    mr_arena_fini(&arena);
    mr_redis_close(&port);
    mr_wake_close(&wake);
    return works;
}

TEST(the_least_rights_are_enough_and_each_is_needed)
{
    static const char *const refused[] = {
        "get elsewhere", "set elsewhere 1", "hset elsewhere a b", "del elsewhere", "type elsewhere", "keys '*'", "flushall", "flushdb", "config get '*'",
        "config set dir /tmp", "eval 'return 1' 0", "script flush", "script kill", "function list", "acl list", "acl whoami", "client list", "monitor",
        "shutdown nosave", "save", "bgsave", "replicaof no one", "module list", "info", "dbsize", "publish a b", "subscribe a",
        "lpush mr:a b", "rename mr:a mr:b", "restore mr:a 0 x", "migrate 127.0.0.1 1 mr:a 0 1", "object encoding mr:a", "mget mr:a", "expire mr:a 1",
        "swapdb 0 1", "slowlog get", "cluster info", "latency latest", "xadd mr:a '*' a b"};
    char path[128], line[512];
    if (no_server())
        return;
    REQUIRE(read_rights() && open_folder() && server_start("--appendonly", "no"));
    snprintf(path, sizeof path, "%s/password", folder);
    write_secret(path, "other\n", 0600);
    struct mr_redis_options o = options();
    o.user = "mill";
    o.password_file = path;
    o.database = 1;
    give_rights(-1);
    EXPECT(everything_works(&o));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(line, sizeof line, "redis-cli -s %s --user mill --pass other --no-auth-warning %s 2>&1 | grep -q NOPERM", socket_path, refused[i]);
        bool noperm = system(line) == 0;
        if (!noperm)
            printf("not refused: %s\n", refused[i]);
        EXPECT(noperm);
    }
    for (int i = 0; i < n_rights; i++) {
        if (strcmp(rights[i], "auth") == 0) /* may always be asked for */
            continue;
        give_rights(i);
        cli("-n 1 del mr:acme/1 mr:t mr:claim");
        bool works = everything_works(&o);
        if (works)
            printf("works without: %s\n", rights[i]);
        EXPECT(!works);
    }
    close_folder();
}

TEST(keys_are_listed_by_prefix)
{
    struct mr_state_port port;
    struct mr_arena arena;
    struct mr_str *keys;
    size_t n;
    if (no_server())
        return;
    REQUIRE(open_folder() && server_start("--appendonly", "no"));
    struct mr_redis_options o = options();
    REQUIRE(!mr_redis_open(&o, &port, NULL) && until_healthy(&port, true));
    for (int i = 0; i < 50; i++) {
        char key[32];
        snprintf(key, sizeof key, "worker:%d", i);
        EXPECT(put(&port, key, "up", -1, 60000));
    }
    EXPECT(put(&port, "w*rker:1", "up", -1, 60000));
    settle(&port, 51);
    mr_arena_init(&arena, 0);
    REQUIRE(!mr_redis_keys(&o, MR_STR("worker:"), &arena, &keys, &n, NULL));
    EXPECT_EQ(n, 50);
    EXPECT(n && keys[0].n > 7 && memcmp(keys[0].p, "worker:", 7) == 0);
    REQUIRE(!mr_redis_keys(&o, MR_STR("w*rker:"), &arena, &keys, &n, NULL));
    EXPECT_EQ(n, 1);
    static const char fill[] = "eval \"for i=1,%d do redis.call('hset','mr:many:'..i,'a','b') end\" 0";
    char command[128];
    for (int more = 0; more < 2; more++) { /* as many as are listed, and one more, which is not */
        snprintf(command, sizeof command, fill, MR_REDIS_KEYS_MAX + more);
        cli(command);
        REQUIRE(!mr_redis_keys(&o, MR_STR("many:"), &arena, &keys, &n, NULL));
        EXPECT_EQ(n, MR_REDIS_KEYS_MAX);
    }
    struct mr_str *fields;
    EXPECT_EQ(mr_redis_read(&o, MR_STR("none"), &arena, &fields, &n, NULL), MR_ERR_NOT_FOUND);
    mr_arena_fini(&arena);
    mr_redis_close(&port);
    close_folder();
}

TEST(options_are_judged)
{
    static const char *const bad[] = {"localhost", ":6379", "localhost:0", "localhost:70000", "localhost:6379x", ""};
    struct mr_state_port port;
    struct mr_err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mr_redis_options o = {.address = bad[i]};
        EXPECT_EQ(mr_redis_open(&o, &port, &err), MR_ERR_INVALID);
    }
    struct mr_redis_options tls = {.address = "localhost:6379", .tls = true, .ca_file = ""};
#ifdef MILLRACE_REDIS_TLS
    EXPECT_EQ(mr_redis_open(&tls, &port, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "redis.ca_file") != NULL);
#else
    EXPECT_EQ(mr_redis_open(&tls, &port, &err), MR_ERR_UNSUPPORTED);
    EXPECT(strstr(err.text, "TLS") != NULL);
#endif
}

/* Our own authority is believed, another is not. */
TEST(tls_where_hiredis_has_it)
{
#ifdef MILLRACE_REDIS_TLS
    struct mr_state_port port;
    char command[512], ca[128];
    if (no_server() || system("command -v openssl >/dev/null"))
        return;
    REQUIRE(open_folder());
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof command, "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key%d -out ca%d "
                 "2>/dev/null", folder, i, i);
        REQUIRE(system(command) == 0);
    }
    int tls_port = 20000 + (int)(getpid() % 10000);
    char number[16], address[32];
    snprintf(number, sizeof number, "%d", tls_port);
    snprintf(address, sizeof address, "127.0.0.1:%d", tls_port);
    server = fork();
    if (server == 0) {
        if (!freopen("/dev/null", "w", stdout) || chdir(folder))
            _exit(127);
        execlp("redis-server", "redis-server", "--port", "0", "--tls-port", number, "--tls-cert-file", "ca0", "--tls-key-file", "key0",
               "--tls-ca-cert-file", "ca0", "--tls-auth-clients", "no", "--save", "", NULL);
        _exit(127);
    }
    snprintf(ca, sizeof ca, "%s/ca0", folder);
    struct mr_redis_options o = {.address = address, .tls = true, .ca_file = ca, .timeout_ms = 500};
    REQUIRE(!mr_redis_open(&o, &port, NULL));
    EXPECT(until_healthy(&port, true));
    EXPECT(put(&port, "acme/1", "running", 1, 60000));
    EXPECT_EQ(settle(&port, 1).written, 1);
    mr_redis_close(&port);
    snprintf(ca, sizeof ca, "%s/ca1", folder);
    REQUIRE(!mr_redis_open(&o, &port, NULL));
    nap_ms(700);
    EXPECT(!port.healthy(port.self));
    mr_redis_close(&port);
    close_folder();
#else
    printf("skipped: this hiredis has no TLS\n");
#endif
}

TEST_MAIN(TEST_CASE(options_are_judged), TEST_CASE(states_are_written_and_the_higher_epoch_wins),
          TEST_CASE(a_lost_script_and_a_wrong_type_heal), TEST_CASE(away_and_slow_cost_nobody_time), TEST_CASE(figures_that_all_workers_share), TEST_CASE(questions_are_answered),
          TEST_CASE(the_queue_and_the_update_have_a_limit), TEST_CASE(users_passwords_and_databases),
          TEST_CASE(the_least_rights_are_enough_and_each_is_needed), TEST_CASE(keys_are_listed_by_prefix), TEST_CASE(tls_where_hiredis_has_it))
