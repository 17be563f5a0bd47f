#include "tests/test.h"
#include "worker/watchdog.h"

#define HUNG_NS (3 * MR_NS_PER_S)

static struct mr_wake log_wake;
static struct mr_watchdog dog;
static int64_t now_ns;

static void begin(void)
{
    now_ns = MR_NS_PER_S;
    mr_wake_open(&log_wake);
    mr_watchdog_init(&dog, HUNG_NS, &log_wake, now_ns);
}

/* Looks for so long, with beats of everyone but `still`. The last look's answer. */
static bool look(int64_t for_ns, enum mr_watched still)
{
    bool fine = true;
    for (int64_t end_ns = now_ns + for_ns; now_ns < end_ns && fine;) {
        now_ns += MR_WATCHDOG_LOOK_NS;
        for (int who = 0; who < MR_WATCHED_COUNT; who++)
            if (who != (int)still)
                mr_watchdog_beat(&dog, (enum mr_watched)who);
        fine = mr_watchdog_look(&dog, now_ns);
    }
    return fine;
}

TEST(who_beats_is_fine)
{
    begin();
    EXPECT(look(100 * HUNG_NS, MR_WATCHED_NONE));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_NONE);
    EXPECT_EQ(mr_watchdog_hung(&dog), MR_WATCHED_NONE);
    mr_wake_close(&log_wake);
}

TEST(a_still_engine_is_stalled_then_hung_and_the_log_thread_is_woken)
{
    begin();
    EXPECT(look(HUNG_NS / 3 - MR_WATCHDOG_LOOK_NS, MR_WATCHED_ENGINE));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_NONE);
    EXPECT(look(MR_WATCHDOG_LOOK_NS, MR_WATCHED_ENGINE));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_ENGINE);
    EXPECT(look(HUNG_NS - HUNG_NS / 3 - MR_WATCHDOG_LOOK_NS, MR_WATCHED_ENGINE));
    EXPECT_EQ(mr_watchdog_hung(&dog), MR_WATCHED_NONE);
    EXPECT(look(MR_WATCHDOG_LOOK_NS, MR_WATCHED_ENGINE));
    EXPECT_EQ(mr_watchdog_hung(&dog), MR_WATCHED_ENGINE);
    mr_wake_wait(&log_wake, -1); /* would never return if it had not been signalled */
    EXPECT(look(MR_WATCHDOG_LEAVE_NS - MR_WATCHDOG_LOOK_NS, MR_WATCHED_ENGINE));
    EXPECT(!look(MR_WATCHDOG_LOOK_NS, MR_WATCHED_ENGINE)); /* nobody has left: the process must go */
    mr_wake_close(&log_wake);
}

TEST(a_stall_that_ends_is_forgotten)
{
    begin();
    EXPECT(look(HUNG_NS / 2, MR_WATCHED_ADMISSION));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_ADMISSION);
    EXPECT(look(MR_WATCHDOG_LOOK_NS, MR_WATCHED_NONE));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_NONE);
    EXPECT(look(HUNG_NS - MR_WATCHDOG_LOOK_NS, MR_WATCHED_ADMISSION));
    EXPECT_EQ(mr_watchdog_hung(&dog), MR_WATCHED_NONE);
    mr_wake_close(&log_wake);
}

TEST(a_hung_log_thread_ends_the_process)
{
    begin();
    EXPECT(look(HUNG_NS, MR_WATCHED_LOG));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_NONE); /* it may wait for a broker */
    EXPECT(look(MR_WATCHDOG_BROKER_NS - MR_WATCHDOG_LOOK_NS, MR_WATCHED_LOG));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_LOG);
    EXPECT(!look(MR_WATCHDOG_LOOK_NS, MR_WATCHED_LOG));
    mr_wake_close(&log_wake);
}

TEST(a_stopped_process_hangs_nobody)
{
    begin();
    now_ns += 1000 * HUNG_NS; /* SIGSTOP, or a frozen machine: the watchdog slept as well */
    EXPECT(mr_watchdog_look(&dog, now_ns));
    EXPECT_EQ(mr_watchdog_stalled(&dog), MR_WATCHED_NONE);
    EXPECT(look(HUNG_NS, MR_WATCHED_NONE));
    mr_wake_close(&log_wake);
}

TEST(its_thread_starts_and_stops)
{
    struct mr_err err;
    struct mr_clock clock = mr_clock_system();
    mr_wake_open(&log_wake);
    mr_watchdog_init(&dog, 60 * MR_NS_PER_S, &log_wake, mr_clock_ns(&clock));
    mr_watchdog_stop(&dog); /* never started */
    mr_watchdog_init(&dog, 60 * MR_NS_PER_S, &log_wake, mr_clock_ns(&clock));
    REQUIRE(mr_watchdog_start(&dog, &err) == MR_OK);
    mr_watchdog_stop(&dog);
    EXPECT_EQ(mr_watchdog_hung(&dog), MR_WATCHED_NONE);
    mr_wake_close(&log_wake);
}

TEST_MAIN(TEST_CASE(who_beats_is_fine), TEST_CASE(a_still_engine_is_stalled_then_hung_and_the_log_thread_is_woken),
          TEST_CASE(a_stall_that_ends_is_forgotten), TEST_CASE(a_hung_log_thread_ends_the_process), TEST_CASE(a_stopped_process_hangs_nobody),
          TEST_CASE(its_thread_starts_and_stops))
