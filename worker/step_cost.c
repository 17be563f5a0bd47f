/* Owns nothing. Pure arithmetic on any thread.
 *
 * 1. Errors are relative: a step of 5 ms counts as much as one of 500.
 * 2. No coefficient is negative, so that more work never looks cheaper; the knee is searched among powers of two.
 * 3. Tracking moves five multipliers, each within [1/4, 4]: what a worker's load does not exercise stays as it was fitted, and a step
 *    of more than STALL times its prediction counts as that much.
 * Rejected: fitting absolute coefficients on line (a worker that only decodes would forget what a prompt costs). */
#include "worker/step_cost.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = MR_STEP_COST_PARTS, KNEES = 11 };

#define FORGETTING 0.995
#define SPREAD_START 0.01
#define SPREAD_MOST 0.05
#define SCALE_LEAST 0.25
#define SCALE_MOST 4.0
#define STALL 3.0 /* a step this many times its prediction is a stall */

static double part_value(const struct mr_step_sample *s, int part, double knee)
{
    double n = (double)s->load.tokens;
    const double values[PARTS] = {1, n > knee ? n : knee, (double)s->load.rows, (double)s->load.context, (double)s->load.pairs};
    return values[part];
}

/* Solves the normal equations of the parts in use; false: singular. */
static bool solve(const double full[PARTS][PARTS + 1], unsigned used, double x[PARTS])
{
    double a[PARTS][PARTS + 1];
    memcpy(a, full, sizeof a);
    for (int i = 0; i < PARTS; i++) {
        x[i] = 0;
        for (int k = 0; k <= PARTS && !(used >> i & 1); k++)
            a[i][k] = k == i;
        for (int k = 0; k < PARTS; k++)
            if (!(used >> k & 1) && k != i)
                a[i][k] = 0;
    }
    for (int i = 0; i < PARTS; i++) {
        if (fabs(a[i][i]) < 1e-300)
            return false;
        for (int r = i + 1; r < PARTS; r++) {
            double factor = a[r][i] / a[i][i];
            for (int k = i; k <= PARTS; k++)
                a[r][k] -= factor * a[i][k];
        }
    }
    for (int i = PARTS - 1; i >= 0; i--) {
        x[i] = a[i][PARTS];
        for (int k = i + 1; k < PARTS; k++)
            x[i] -= a[i][k] * x[k];
        x[i] /= a[i][i];
    }
    return true;
}

/* Least squares without negative coefficients for one knee; returns the mean square of the relative errors. */
static double fit_knee(const struct mr_step_sample *samples, int32_t n, const bool *left_out, double knee, double x[PARTS])
{
    double a[PARTS][PARTS + 1] = {{0}};
    for (int32_t s = 0; s < n; s++) {
        double weight = 1 / (double)samples[s].ns;
        for (int i = 0; i < PARTS && !left_out[s]; i++) {
            for (int k = 0; k < PARTS; k++)
                a[i][k] += part_value(&samples[s], i, knee) * part_value(&samples[s], k, knee) * weight * weight;
            a[i][PARTS] += part_value(&samples[s], i, knee) * weight;
        }
    }
    for (unsigned used = (1u << PARTS) - 1;;) {
        int worst = -1;
        for (int i = 0; i < PARTS; i++) /* a part that no sample has */
            used &= ~((unsigned)(a[i][i] <= 0) << i);
        if (!solve(a, used, x))
            return DBL_MAX;
        for (int i = 0; i < PARTS; i++)
            if (x[i] < 0 && (worst < 0 || x[i] * a[i][i] < x[worst] * a[worst][worst]))
                worst = i;
        if (worst < 0)
            break;
        used &= ~(1u << worst);
    }
    double sum = 0;
    int32_t counted = 0;
    for (int32_t s = 0; s < n; s++) {
        double predicted = 0;
        for (int i = 0; i < PARTS; i++)
            predicted += x[i] * part_value(&samples[s], i, knee);
        double error = predicted / (double)samples[s].ns - 1;
        sum += left_out[s] ? 0 : error * error;
        counted += !left_out[s];
    }
    return sum / counted;
}

static void fit_all(const struct mr_step_sample *samples, int32_t n, const bool *left_out, struct mr_sched_cost *out)
{
    double best = DBL_MAX, x[PARTS];
    for (int k = 0; k < KNEES; k++) {
        double knee = k ? (double)(1 << k) / 2 : 0, error = fit_knee(samples, n, left_out, knee, x);
        if (error >= best * 0.99) /* a knee must be worth it */
            continue;
        best = error;
        *out = (struct mr_sched_cost){
            .floor_ps = (int64_t)((x[0] + x[1] * knee) * 1000),
            .base_ps = (int64_t)(x[0] * 1000),
            .token_ps = (int64_t)(x[1] * 1000),
            .row_ps = (int64_t)(x[2] * 1000),
            .context_ps = (int64_t)(x[3] * 1000),
            .pair_ps = (int64_t)(x[4] * 1000),
        };
    }
}

static double error_of(const struct mr_sched_cost *cost, const struct mr_step_sample *sample)
{
    return fabs((double)cost_step_ps(cost, sample->load) / 1000 / (double)sample->ns - 1);
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double mr_step_cost_error(const struct mr_sched_cost *cost, const struct mr_step_sample *samples, int32_t n, double share)
{
    double errors[MR_STEP_COST_SAMPLES_MAX];
    n = n < MR_STEP_COST_SAMPLES_MAX ? n : MR_STEP_COST_SAMPLES_MAX;
    if (n < 1)
        return 0;
    for (int32_t i = 0; i < n; i++)
        errors[i] = error_of(cost, &samples[i]);
    qsort(errors, (size_t)n, sizeof *errors, order);
    return errors[(int32_t)(share * (n - 1) + 0.5)];
}

bool mr_step_cost_fit(const struct mr_step_sample *samples, int32_t n, struct mr_sched_cost *out)
{
    bool left_out[MR_STEP_COST_SAMPLES_MAX] = {false};
    *out = (struct mr_sched_cost){0};
    if (n < MR_STEP_COST_LEAST || n > MR_STEP_COST_SAMPLES_MAX)
        return false;
    for (int32_t i = 0; i < n; i++)
        if (samples[i].ns <= 0)
            return false;
    fit_all(samples, n, left_out, out);
    double most = 4 * mr_step_cost_error(out, samples, n, 0.5) + 0.05;
    for (int32_t i = 0; i < n; i++) /* only what took too long: a stall never makes a step faster */
        left_out[i] = error_of(out, &samples[i]) > most && samples[i].ns > cost_step_ps(out, samples[i].load) / 1000;
    fit_all(samples, n, left_out, out);
    return out->floor_ps > 0;
}

/* ---- tracking ---- */

void mr_step_track_open(struct mr_step_track *track, const struct mr_sched_cost *fitted)
{
    *track = (struct mr_step_track){.fitted = *fitted};
    for (int i = 0; i < PARTS; i++) {
        track->scale[i] = 1;
        track->spread[i][i] = SPREAD_START;
    }
}

/* The parts of the fitted prediction, as shares of it; their sum is 1. */
static double shares_of(const struct mr_sched_cost *c, const struct cost_load *load, double share[PARTS])
{
    double dense = (double)c->base_ps + (double)c->token_ps * (double)load->tokens, predicted = (double)cost_step_ps(c, *load);
    bool floored = dense < (double)c->floor_ps;
    share[0] = (double)(floored ? c->floor_ps : c->base_ps) + (double)c->overhead_ps;
    share[1] = floored ? 0 : (double)c->token_ps * (double)load->tokens;
    share[2] = (double)c->row_ps * (double)load->rows;
    share[3] = (double)c->context_ps * (double)load->context;
    share[4] = (double)c->pair_ps * (double)load->pairs;
    for (int i = 0; i < PARTS && predicted > 0; i++)
        share[i] /= predicted;
    return predicted / 1000;
}

void mr_step_track_add(struct mr_step_track *t, const struct mr_step_sample *sample)
{
    double share[PARTS], gain[PARTS], predicted_ns = shares_of(&t->fitted, &sample->load, share), now = 0, noise = FORGETTING;
    if (predicted_ns <= 0 || sample->ns <= 0)
        return;
    for (int i = 0; i < PARTS; i++) {
        now += t->scale[i] * share[i];
        gain[i] = 0;
        for (int k = 0; k < PARTS; k++)
            gain[i] += t->spread[i][k] * share[k];
        noise += share[i] * gain[i];
    }
    double ratio = (double)sample->ns / predicted_ns;
    t->steps++;
    t->stalls += ratio > STALL * now;
    double surprise = (ratio > STALL * now ? STALL * now : ratio) - now;
    for (int i = 0; i < PARTS; i++) {
        double scale = t->scale[i] + gain[i] / noise * surprise;
        t->scale[i] = scale < SCALE_LEAST ? SCALE_LEAST : scale > SCALE_MOST ? SCALE_MOST : scale;
    }
    double before[PARTS][PARTS];
    memcpy(before, t->spread, sizeof before);
    for (int i = 0; i < PARTS; i++)
        for (int k = 0; k < PARTS; k++)
            t->spread[i][k] = (before[i][k] - gain[i] * gain[k] / noise) / FORGETTING;
    for (int i = 0; i < PARTS; i++) {
        if (t->spread[i][i] <= SPREAD_MOST)
            continue;
        double down = sqrt(SPREAD_MOST / t->spread[i][i]); /* what is not exercised does not become arbitrary */
        for (int k = 0; k < PARTS; k++) {
            t->spread[i][k] *= down;
            t->spread[k][i] *= down;
        }
    }
}

struct mr_sched_cost mr_step_track_cost(const struct mr_step_track *t)
{
    const struct mr_sched_cost *c = &t->fitted;
    return (struct mr_sched_cost){
        .floor_ps = (int64_t)((double)c->floor_ps * t->scale[0]),
        .base_ps = (int64_t)((double)c->base_ps * t->scale[0]),
        .token_ps = (int64_t)((double)c->token_ps * t->scale[1]),
        .row_ps = (int64_t)((double)c->row_ps * t->scale[2]),
        .context_ps = (int64_t)((double)c->context_ps * t->scale[3]),
        .pair_ps = (int64_t)((double)c->pair_ps * t->scale[4]),
        .overhead_ps = (int64_t)((double)c->overhead_ps * t->scale[0]),
    };
}

/* ---- as text ---- */

void mr_step_cost_print(const struct mr_sched_cost *c, char text[MR_STEP_COST_TEXT_BYTES])
{
    snprintf(text, MR_STEP_COST_TEXT_BYTES, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, c->floor_ps,
             c->base_ps, c->token_ps, c->context_ps, c->pair_ps, c->overhead_ps, c->row_ps);
}

bool mr_step_cost_parse(const char *text, struct mr_sched_cost *out)
{
    int64_t *const fields[] = {&out->floor_ps, &out->base_ps, &out->token_ps, &out->context_ps, &out->pair_ps, &out->overhead_ps,
                               &out->row_ps};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char *end;
        *fields[i] = strtoll(text, &end, 10);
        if (end == text || *fields[i] < 0)
            return false;
        text = end;
    }
    return text[strspn(text, " ")] == '\0';
}
