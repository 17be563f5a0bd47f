/* Any bytes as a configuration file: options or an error with its line; and what was read prints and reads back the same. */
#include "base/check.h"
#include "worker/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* libconfig 1.5 loses the string at hand when a file ends in a syntax error: once at the start of a program that then ends. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libconfig.so"; }

static char path[] = "/tmp/mr_config_fuzz_XXXXXX";

static void cleanup(void) { unlink(path); }

static void put(const void *bytes, size_t n)
{
    static bool made;
    if (!made) {
        CHECK((close(mkstemp(path)), true));
        atexit(cleanup);
    }
    made = true;
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct mr_options options, again;
    struct mr_err err = {0};
    struct mr_buf first = {0}, second = {0};
    put(bytes, n);
    if (mr_options_open(&options, path, NULL, 0, &err) != MR_OK) {
        CHECK(err.text[0]);
        return 0;
    }
    mr_options_print(&options, &first);
    if (!strstr(first.p, "=***")) { /* a secret does not read back, by design */
        put(first.p, first.n);
        CHECK(mr_options_open(&again, path, NULL, 0, &err) == MR_OK);
        mr_options_print(&again, &second);
        CHECK(mr_str_equal(mr_buf_view(&first), mr_buf_view(&second)));
        mr_options_fini(&again);
    }
    mr_options_fini(&options);
    mr_buf_fini(&first);
    mr_buf_fini(&second);
    return 0;
}
