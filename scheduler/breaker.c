#include "scheduler/breaker.h"

static void breaker_open(struct mr_breaker *breaker, int64_t now_ns)
{
    int64_t wait = MR_BREAKER_OPEN_NS;
    for (int32_t i = 0; i < breaker->reopenings && wait < MR_BREAKER_OPEN_MOST_NS; i++)
        wait *= 2;
    wait = wait < MR_BREAKER_OPEN_MOST_NS ? wait : MR_BREAKER_OPEN_MOST_NS;
    *breaker = (struct mr_breaker){.state = MR_BREAKER_OPEN, .reopenings = breaker->reopenings + 1, .until_ns = now_ns + wait};
}

static bool probe_lost(const struct mr_breaker *breaker, int64_t now_ns)
{
    return breaker->probing && now_ns - breaker->since_ns >= MR_BREAKER_PROBE_NS;
}

bool mr_breaker_allow(struct mr_breaker *breaker, int64_t now_ns)
{
    if (breaker->state == MR_BREAKER_CLOSED)
        return true;
    if (breaker->state == MR_BREAKER_HALF_OPEN && probe_lost(breaker, now_ns))
        breaker_open(breaker, now_ns);
    if (breaker->state == MR_BREAKER_OPEN && now_ns >= breaker->until_ns)
        *breaker = (struct mr_breaker){.state = MR_BREAKER_HALF_OPEN, .reopenings = breaker->reopenings};
    if (breaker->state == MR_BREAKER_OPEN || breaker->probing)
        return false;
    breaker->probing = true;
    breaker->since_ns = now_ns;
    return true;
}

void mr_breaker_succeeded(struct mr_breaker *breaker)
{
    if (breaker->state != MR_BREAKER_HALF_OPEN)
        return; /* failures fade with their window; a call from before the opening proves nothing */
    breaker->probing = false;
    if (++breaker->successes >= MR_BREAKER_PROBES)
        *breaker = (struct mr_breaker){.state = MR_BREAKER_CLOSED};
}

void mr_breaker_failed(struct mr_breaker *breaker, int64_t now_ns)
{
    if (breaker->state == MR_BREAKER_OPEN)
        return;
    if (breaker->state == MR_BREAKER_HALF_OPEN) {
        breaker_open(breaker, now_ns);
        return;
    }
    if (breaker->failures == 0 || now_ns - breaker->since_ns > MR_BREAKER_WINDOW_NS) {
        breaker->failures = 0;
        breaker->since_ns = now_ns;
    }
    if (++breaker->failures >= MR_BREAKER_FAILURES)
        breaker_open(breaker, now_ns);
}

int64_t mr_breaker_wait_ns(const struct mr_breaker *breaker, int64_t now_ns)
{
    int64_t until = breaker->state == MR_BREAKER_OPEN ? breaker->until_ns : breaker->probing ? breaker->since_ns + MR_BREAKER_PROBE_NS : now_ns;
    return until > now_ns ? until - now_ns : 0;
}

const char *mr_breaker_name(enum mr_breaker_state state)
{
    static const char *const names[] = {"closed", "open", "half-open"};
    return names[state];
}
