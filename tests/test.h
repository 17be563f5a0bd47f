/* The whole test framework: a test is a function, a test file is a program.
 *
 *     TEST(adds_up) { EXPECT(1 + 1 == 2); EXPECT_EQ(add(1, 1), 2); }
 *     TEST_MAIN(TEST_CASE(adds_up))
 *
 * A failed EXPECT prints where and what, fails its test, and goes on; REQUIRE leaves the test. The program prints one line a
 * failure and one of counts, and exits 0 only if every test passed. Arguments name the tests to run; none: all. */
#ifndef MR_TESTS_TEST_H
#define MR_TESTS_TEST_H

#include <math.h>
#include <stdio.h>
#include <string.h>

static int test_failures; /* of the running test */

#define TEST(name) static void test_##name(void)
#define EXPECT(condition) ((condition) ? (void)0 : (void)(test_failures++, printf("%s:%d: expected %s\n", __FILE__, __LINE__, #condition)))
#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            EXPECT(condition); \
            return; \
        } \
    } while (0)
#define EXPECT_EQ(actual, wanted) \
    do { \
        long long actual_ = (long long)(actual), wanted_ = (long long)(wanted); \
        if (actual_ != wanted_) \
            test_failures++, printf("%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #actual, actual_, wanted_); \
    } while (0)
#define EXPECT_STR(actual, wanted) \
    do { \
        const char *actual_ = (actual), *wanted_ = (wanted); \
        if (strcmp(actual_, wanted_) != 0) \
            test_failures++, printf("%s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #actual, actual_, wanted_); \
    } while (0)
#define EXPECT_NEAR(actual, wanted, tolerance) \
    do { \
        double actual_ = (actual), wanted_ = (wanted); \
        if (!(fabs(actual_ - wanted_) <= (tolerance))) \
            test_failures++, printf("%s:%d: %s is %.9g, not %.9g\n", __FILE__, __LINE__, #actual, actual_, wanted_); \
    } while (0)

struct test_case {
    const char *name;
    void (*run)(void);
};
#define TEST_CASE(name) {#name, test_##name}
#define TEST_MAIN(...) \
    int main(int argc, char **argv) \
    { \
        static const struct test_case cases[] = {__VA_ARGS__}; \
        return test_run(cases, (int)(sizeof cases / sizeof *cases), argc, argv); \
    }

static int test_run(const struct test_case *cases, int n_cases, int argc, char **argv)
{
    int ran = 0, failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < n_cases; i++) {
        int wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted |= strcmp(argv[a], cases[i].name) == 0;
        if (!wanted)
            continue;
        test_failures = 0;
        cases[i].run();
        ran++;
        if (test_failures) {
            failed++;
            printf("FAILED %s\n", cases[i].name);
        }
    }
    printf("%d passed, %d failed\n", ran - failed, failed);
    return failed || ran == 0; /* a run that tested nothing has not passed */
}

#endif
