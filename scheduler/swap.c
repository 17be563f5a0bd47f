#include "scheduler/swap.h"

#define PS_PER_S INT64_C(1000000000000)

static int64_t fixed_of(const struct mr_swap_link *link) { return link->fixed_ps ? link->fixed_ps : MR_SWAP_FIXED_PS; }

/* Moving the KV of so many tokens. */
static __int128 move_ps(const struct mr_swap_link *link, int64_t tokens, bool checkpointed)
{
    return (__int128)(checkpointed ? 1 : 2) * tokens * link->token_bytes * PS_PER_S / link->bytes_per_s;
}

int64_t mr_swap_knee(const struct mr_sched_cost *cost)
{
    return cost->floor_ps > cost->base_ps && cost->token_ps ? (cost->floor_ps - cost->base_ps) / cost->token_ps : 0;
}

bool mr_swap_pays(const struct mr_sched_cost *cost, const struct mr_swap_link *link, const struct mr_swap_ask *ask)
{
    if (ask->tokens < 1 || link->bytes_per_s < 1 || (ask->host_full && !ask->checkpointed))
        return false;
    __int128 swap = move_ps(link, ask->tokens, ask->checkpointed) + fixed_of(link);
    __int128 again = ask->step_tokens > mr_swap_knee(cost) ? (__int128)ask->uncached * cost->token_ps : 0;
    return swap < again + (__int128)cost->pair_ps * ask->tokens * ask->tokens / 2;
}

int64_t mr_swap_break_even(const struct mr_sched_cost *cost, const struct mr_swap_link *link, bool checkpointed)
{
    int64_t saved = link->bytes_per_s < 1 ? 0 : cost->token_ps - (int64_t)move_ps(link, 1, checkpointed); /* a token */
    return saved > 0 ? (fixed_of(link) + saved - 1) / saved : INT64_MAX;
}
