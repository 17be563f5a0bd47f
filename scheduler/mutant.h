/* Deliberate mistakes for the tests of the tests: each must be caught by an oracle (tests/scheduler/mutants/mutants_test.c). They
 * exist only in a build with MR_MUTANTS; elsewhere MUTANT(x) is 0 and costs nothing. */
#ifndef MR_SCHEDULER_MUTANT_H
#define MR_SCHEDULER_MUTANT_H

enum mr_mutant {
    MUTANT_NONE,
    MUTANT_NO_LIFT,             /* a returning tenant keeps its old counter */
    MUTANT_LIFT_TO_LEAST,       /* lift to C_min: nothing is remembered while all idle */
    MUTANT_REFUND,              /* a cancelled job's charges are given back */
    MUTANT_CHARGE_RECOMPUTED,   /* preemption is the tenant's cost */
    MUTANT_SLACK_AT_NOW,        /* slack without the lateness rule: late jobs shorten the step */
    MUTANT_FLOOR_ABOVE_CLAMP,   /* the upper clamp may lie under T_floor */
    MUTANT_NO_SAME_TIER,        /* nobody of the own tier yields a block */
    MUTANT_EQUAL_TIER_SLOT,     /* a slot is taken from the own tier */
    MUTANT_UNSALTED,            /* names of blocks without the tenant */
    MUTANT_FOURTH_PREEMPTION,   /* no limit of preemptions a job */
    MUTANT_GREEDY_VICTIMS,      /* victims are not let go again */
    MUTANT_BULK_KEEPS_BLOCKS,   /* realtime does not preempt bulk */
    MUTANT_LEAK_BLOCK,          /* a preempted job keeps its last block */
    MUTANT_LOST_JOB,            /* a preempted job is forgotten */
    MUTANT_NO_FORCED,           /* no progress when no budget allows it */
    MUTANT_NO_FLOORS,           /* bulk starves under realtime */
    MUTANT_HITS_FREE,           /* cached tokens are not charged */
    MUTANT_OVER_BUDGET,         /* the last chunk ignores T */
    MUTANT_NO_GUARD,            /* no pick by age */
    MUTANT_RELEGATED_SLACK,     /* relegated jobs shorten the step */
    MUTANT_WINDOW_IGNORED,      /* any waiting tenant may go, whatever it has had */
    MUTANT_PAUSE_STAYS,         /* a paused tier is never let go on */
    MUTANT_VICTIM_SHARES,       /* a victim's blocks count as freed though the one in need shares them */
    MUTANT_PACE_IGNORED,        /* realtime is paced at its whole TPOT */
    MUTANT_TOTAL_BELIEVED,      /* a store that lost its sums is taken over */
    MUTANT_SCAVENGER_PROMOTED,  /* over its rate a tenant runs in its own tier */
    MUTANT_DEADLINE_UNTOLD,     /* a bulk deadline that cannot be kept is accepted */
    MUTANT_BLEND_REVERSED,      /* prefill-heavy where computing binds the step */
    MUTANT_NO_CAP,              /* a tenant may hold the pool */
    MUTANT_COUNT
};

#ifdef MR_MUTANTS
extern int mr_mutant; /* the one that is on */
#define MUTANT(name) (mr_mutant == (name))
#else
#define MUTANT(name) 0
#endif

#endif
