/* The owner's protocol (worker/fold.h, worker/owner.h) for one run of N tokens, in Promela: W owners one after another, each but
 * the last of which may stop at any step (a crash: a process that is never scheduled again) or go on as a zombie for as long as it
 * likes; tokens lost by a producer while later records arrive; a group whose generations begin again. Every owner makes tokens of
 * its own, so that a token tells who made it.
 *
 * The log is not stored: what it means at any moment is its fold, kept up with every append, and a tail that reads to the end is a
 * copy of that fold. Between a worker's copy and its next append anything may happen.
 *
 * Safety, asserted where the fold accepts: a token was made on exactly the accepted prefix; a run closes with all N tokens.
 * Progress: the last owner ends with the run closed, within TRIES STARTs. Every loop is bounded, so that no execution is endless
 * and progress too is an assertion; no process may be stuck anywhere else (Spin reports invalid end states).
 *
 * Variants, by -D: NO_END (a terminal counts whatever its n and ctx), NO_HIGHEST (epoch from the generation alone), NO_CTX,
 * NO_BARRIER, NO_WRITER, NO_EPOCH. tests/spin/run says which must hold and which must not. */

#define N 2
#define W 3
#define LAST (W - 1)
#define K 8          /* epochs a generation is apart */
#define ZOMBIE_TRIES 2 /* STARTs of an earlier owner: the second when a token was lost, or when it was overtaken and still owns */
#define TRIES 6      /* STARTs of the last owner: each earlier one may be overtaken by a zombie's or lose a token */
#define LOST 1       /* tokens that producers lose in all */

/* the fold of the log: epoch, writer, tokens, ctx (4 * before + who made it) */
byte fe, fw, fs, fc;
bool closed;

byte owner = 255, lost;
bool was_reset;

#ifdef NO_EPOCH
#define START_COUNTS(E) (!closed)
#define CURRENT(E, Wr) (!closed)
#else
#define START_COUNTS(E) (!closed && (E) > fe)
#ifdef NO_WRITER
#define CURRENT(E, Wr) (!closed && (E) == fe)
#else
#define CURRENT(E, Wr) (!closed && (E) == fe && (Wr) == fw)
#endif
#endif
#ifdef NO_CTX
#define CTX(c) (true)
#else
#define CTX(c) ((c) == fc)
#endif
#ifdef NO_END
#define WHOLE(s, c) (true)
#else
#define WHOLE(s, c) ((s) == fs && CTX(c))
#endif

inline append_start()
{
    d_step {
        if
        :: START_COUNTS(e) -> fe = e; fw = w
        :: else -> skip
        fi
    }
}

inline append_token()
{
    d_step {
        if
        :: CURRENT(e, w) && q == fs && CTX(code) ->
            assert(code == fc); /* made on exactly the accepted prefix */
            fs = fs + 1;
            fc = fc * 4 + id + 1
        :: else -> skip
        fi;
        code = code * 4 + id + 1;
        q = q + 1
    }
}

inline append_done()
{
    d_step {
        if
        :: CURRENT(e, w) && WHOLE(q, code) ->
            assert(fs == N); /* closed without a hole */
            closed = true
        :: else -> skip
        fi
    }
}

/* The tail up to the log's end. */
inline read()
{
    d_step { ve = fe; vw = fw; vs = fs; vc = fc; vx = closed }
}

#ifdef NO_WRITER
#define MINE (ve == e)
#else
#define MINE (ve == e && vw == w)
#endif
#ifdef NO_EPOCH
#undef MINE
#define MINE (true)
#endif

proctype worker(byte id; byte generation)
{
    byte ve, vw, vs, vc, e, w, q, code, tries;
    bool vx;
    read(); /* the tail has caught up */
again:
    atomic {
        if
        :: vx -> goto finished
        :: !vx && tries == (id == LAST -> TRIES : ZOMBIE_TRIES) -> assert(id != LAST); goto gone
        :: else -> skip
        fi;
        tries = tries + 1;
        w = id + 1; /* its own STARTs differ in epoch */
        e = generation * K;
#ifndef NO_HIGHEST
        e = (e > ve -> e : ve + 1)
#endif
    }
    append_start();
#ifndef NO_BARRIER
    read();
#endif
    atomic {
#ifndef NO_BARRIER
        if
        :: vx -> goto finished
        :: !vx && MINE -> skip
        :: !vx && !MINE && owner == id -> goto again /* who owns? this one */
        :: !vx && !MINE && owner != id -> goto gone
        fi;
#endif
        q = vs; code = vc;
        ve = 0; vw = 0; vs = 0; vc = 0 /* not looked at again before the next read */
    }
    do
    :: q < N -> append_token()
    :: q < N && lost < LOST -> /* it never arrives; what follows does */
        d_step { lost = lost + 1; code = code * 4 + id + 1; q = q + 1 }
    :: q == N -> break
    od;
    append_done();
    d_step { e = 0; w = 0; q = 0; code = 0 }
    read();
    atomic {
        if
        :: vx -> goto finished
        :: !vx && owner == id -> goto again /* a delivery error, or overtaken: once more, above it */
        :: !vx && owner != id -> goto gone
        fi
    }
finished:
    assert(vx);
gone:
    skip;
    d_step { ve = 0; vw = 0; vs = 0; vc = 0; vx = false; e = 0; w = 0; q = 0; code = 0; tries = 0 }
}

init {
    byte i, generation;
    do
    :: i < W ->
        atomic {
            if
            :: generation = generation + 1
            :: !was_reset && i > 0 -> was_reset = true; generation = 1 /* the group was deleted */
            fi;
            owner = i;
            run worker(i, generation);
            i = i + 1
        }
    :: else -> break
    od
}
