/* Every allocation fails once: the k-th, for every k, in turn. What is promised:
 *
 *     codec        a status, and nothing leaked; never half a value (jansson asserts in one place: then the process ends)
 *     admission    the job as ever, or `internal`, or the system's refusal is counted (base/starved.h): at both the worker ends, so no
 *                  good job is refused for want of memory, it goes on elsewhere
 *     owner        opening it gives a status; a step that cannot remember what it owes, or read what the log says, ends the process
 *                  (CHECK), and what it appended until then is the beginning of a whole run: any crash is survived
 *
 * malloc and its kin are this program's own here, in front of libc's and for every library; sanitizers bring theirs, so there
 * the test is skipped. */
#include "worker/owner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OURS 0
#elif defined(__has_feature)
#define OURS (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define OURS 1
#endif

static long fail_at; /* counts down; 0: nothing fails */
static long live;    /* allocations not yet freed, while counting */
static bool armed;   /* only what is under test counts and fails */

#if OURS
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static bool fails(void) { return armed && fail_at > 0 && --fail_at == 0; }

static void *counted(void *p)
{
    live += armed && p;
    return p;
}

void *malloc(size_t n) { return fails() ? NULL : counted(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : counted(__libc_calloc(n, size)); }

void *realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    return p ? __libc_realloc(p, n) : counted(__libc_realloc(p, n));
}

void free(void *p)
{
    live -= armed && p;
    __libc_free(p);
}
#endif

static bool skipped(void)
{
    if (!OURS)
        puts("skipped: a sanitizer has its own malloc");
    return !OURS;
}

static void armed_owner_step(struct mr_owner *owner, const struct mr_owner_event *event, int64_t now_ns, const struct mr_owner_action **actions, size_t *n)
{
    armed = true;
    mr_owner_step(owner, event, now_ns, actions, n);
    armed = false;
}

#define mr_owner_step armed_owner_step
#include "tests/worker/owner_hand.h"
#undef mr_owner_step
#include "tests/worker/job_sample.h"
#include "base/starved.h"
#include "worker/admit.h"

enum outcome { WHOLE, REFUSED, WRONG };

static const char text[] = "{\"id\":\"a\",\"tenant\":\"acme\",\"messages\":[{\"role\":\"user\",\"content\":\"n\\u00e4her, \\ud83d\\ude00 \\\"quoted\\\"\"}],"
                           "\"max_tokens\":7,\"temperature\":0.25,\"stop\":[\"x\",\"yy\"],\"logit_bias\":{\"5\":1.5},\"metadata\":{\"a\":\"1\"}}";

enum { ENDED = 'A', BROKEN = 'X', WENT_WELL = 'W', K_MAX = 100000 };

/* The k-th allocation fails in a process of its own: what body() says with a byte, ENDED when it aborted, BROKEN when it died otherwise. */
static int in_a_child(long k, int (*body)(void))
{
    int code;
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        alarm(10);
        fail_at = k;
        _exit(body());
    }
    if (child < 0 || waitpid(child, &code, 0) != child)
        return BROKEN;
    return WIFEXITED(code) ? WEXITSTATUS(code) : WTERMSIG(code) == SIGABRT ? ENDED : BROKEN;
}

static enum outcome (*tried)(void);

static int try_in_child(void)
{
    live = 0;
    enum outcome got = tried();
    bool reached = fail_at == 0;
    if (got == WRONG || live || (!reached && got != WHOLE))
        return BROKEN;
    return reached ? got == WHOLE ? 's' : 'r' : WENT_WELL; /* in spite of it; refused */
}

static void for_every_k(const char *what, int (*body)(void), bool may_end)
{
    long k = 1, ended = 0, refused = 0;
    int got = 0;
    if (skipped())
        return;
    for (; k < K_MAX && got != WENT_WELL; k++) {
        got = in_a_child(k, body);
        if (got == BROKEN || (got == ENDED && !may_end))
            printf("%s: allocation %ld: %c\n", what, k, got);
        EXPECT(got != BROKEN && (may_end || got != ENDED));
        ended += got == ENDED;
        refused += got == 'r';
    }
    printf("%s: %ld allocations: %ld refusals, %ld ends of the process\n", what, k - 2, refused, ended);
    EXPECT(got == WENT_WELL && ended + refused > 0);
}

/* ---- codec ---- */

static const struct mr_codec *codec;
static struct mr_buf input_bytes;

static enum outcome round_trip(void)
{
    struct mr_arena arena;
    struct mr_value value;
    struct mr_buf out = {0};
    enum outcome outcome = REFUSED;
    mr_arena_init(&arena, 0);
    armed = true;
    enum mr_codec_fault fault = codec->decode(mr_buf_view(&input_bytes), NULL, &arena, &value, NULL);
    if (fault == MR_CODEC_OK) {
        codec->encode(&value, &out);
        if (!out.failed)
            outcome = out.n == input_bytes.n && memcmp(out.p, input_bytes.p, out.n) == 0 ? WHOLE : WRONG;
    } else if (fault != MR_CODEC_SIZE) {
        outcome = WRONG; /* good bytes are never called bad */
    }
    mr_arena_fini(&arena);
    mr_buf_fini(&out);
    armed = false;
    return outcome;
}

static void check_codec(const struct mr_codec *which, bool may_end)
{
    struct mr_arena arena;
    struct mr_value value;
    mr_arena_init(&arena, 0);
    REQUIRE(mr_codec_json.decode(mr_str_from(text), NULL, &arena, &value, NULL) == MR_CODEC_OK);
    mr_buf_clear(&input_bytes);
    which->encode(&value, &input_bytes);
    mr_arena_fini(&arena);
    codec = which;
    tried = round_trip;
    for_every_k(which->name, try_in_child, may_end);
}

TEST(json_gives_a_status) { check_codec(&mr_codec_json, true); }
TEST(msgpack_gives_a_status) { check_codec(&mr_codec_msgpack, false); }

/* ---- admission ---- */

static struct mr_admit admit;

static enum outcome admission(void)
{
    struct mr_record record = {.topic = MR_STR("jobs"), .offset = 3, .timestamp_ms = 1700000000000, .value = mr_str_from(text)};
    struct mr_job_source source = {&record, &sample_open, false, 1 << 20, 1000};
    struct mr_job *job = NULL;
    struct mr_refusal refusal;
    armed = true;
    enum mr_reason reason = mr_job_decode(&source, &job, &refusal);
    if (job && reason == MR_REASON_NONE)
        reason = mr_admit_job(&admit, &sample_open, job, &refusal);
    enum outcome outcome = reason == MR_REASON_NONE ? (job->n_prompt > 20 && job->sampling.n_stop == 2 ? WHOLE : WRONG) : REFUSED;
    if (reason != MR_REASON_NONE && reason != MR_REASON_INTERNAL && mr_starved_count() == 0) {
        printf("a good job is refused: %s: %s\n", mr_reason_name(reason), refusal.message);
        outcome = WRONG;
    }
    mr_job_free(job);
    armed = false;
    return outcome;
}

TEST(no_good_job_is_refused_for_want_of_memory)
{
    static struct mr_bundle bundle = {.name = "toy", .context = 4096};
    struct mr_vocabulary vocabulary = {.model = MR_STR("synthetic"), .n_tokens = 300, .bos = 256, .eos = 258, .eot = -1};
    struct mr_tokenizer *tokenizer;
    REQUIRE(mr_tokenizer_open(&vocabulary, &tokenizer, NULL) == MR_OK);
    REQUIRE(mr_chat_open(MR_STR("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
                                "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"), &bundle.chat, NULL) == MR_OK);
    bundle.tokenizer = tokenizer;
    struct mr_admit_options options = {.result_bytes = 900000, .cache_tokens = 4096};
    mr_admit_open(&admit, &bundle, &options);
    tried = admission;
    for_every_k("admission", try_in_child, true);
}

/* ---- owner ---- */

TEST(opening_an_owner_gives_a_status)
{
    long k = 0, refused = 0;
    if (skipped())
        return;
    for (bool done = false; !done; k++) {
        struct mr_owner *owner = NULL;
        struct mr_err err;
        prepare();
        live = 0;
        fail_at = k + 1;
        armed = true;
        enum mr_status status = mr_owner_open(&t.config, &owner, &err);
        done = fail_at > 0;
        if (status == MR_OK)
            mr_owner_close(owner);
        armed = false;
        fail_at = 0;
        refused += status == MR_ERR_NOMEM;
        EXPECT(status == (done ? MR_OK : MR_ERR_NOMEM));
        EXPECT_EQ(live, 0);
    }
    EXPECT(refused > 0);
}

/* One job to its commit: whole in the end, however often it had to begin again; or the process has ended. */
static int one_job(void)
{
    begin_job();
    for (int i = 0; i < 200 && t.commits == 0; i++) { /* an engine of two tokens, whatever is asked of it */
        if (t.submit) {
            for (int32_t seq = t.submit_accepted; seq < 2; seq++)
                tokens(seq, 5 + seq);
            end(MR_FINISH_STOP);
            t.submit = 0;
        }
        flow();
        pass(100);
    }
    bool whole = t.results == 1 && t.commits > 0 && last_kind() == MR_FOLD_DONE;
    return !whole ? BROKEN : fail_at > 0 ? WENT_WELL : 's';
}

TEST(an_owner_that_cannot_remember_ends_the_process) { for_every_k("owner", one_job, true); }

TEST_MAIN(TEST_CASE(json_gives_a_status), TEST_CASE(msgpack_gives_a_status), TEST_CASE(no_good_job_is_refused_for_want_of_memory),
          TEST_CASE(opening_an_owner_gives_a_status), TEST_CASE(an_owner_that_cannot_remember_ends_the_process))
