/* The store: it keeps what it is told, unless it forgets, is silent, or answers with something else that it was told. */
#include "tests/sim/sim_state.h"

static struct sim_store_entry *entry_of(struct world *w, struct mr_str key)
{
    return &w->store[mr_fnv1a64(MR_FNV1A64_START, key.p, key.n) % STORE_MAX];
}

static bool is(const struct sim_store_entry *entry, struct mr_str key) { return entry->text && mr_str_is(key, entry->key); }

static void set(struct sim_store_entry *entry, struct mr_str key, struct mr_str text, int64_t epoch)
{
    free(entry->text);
    snprintf(entry->key, sizeof entry->key, "%.*s", (int)key.n, key.p);
    entry->text = strndup(text.p, text.n);
    entry->epoch = epoch;
    CHECK(entry->text);
}

void sim_store_put(struct world *w, const struct mr_state_update *update)
{
    if (!w->store || !mr_str_is(update->field[0], "line") || update->key.n >= sizeof w->store->key)
        return;
    struct sim_store_entry *entry = entry_of(w, update->key);
    if (!is(entry, update->key) || entry->epoch <= update->epoch)
        set(entry, update->key, update->value[0], update->epoch);
}

void sim_store_ask(struct world *w, struct sim_worker *worker, const struct mr_state_ask *ask)
{
    if (!w->store || ask->key.n >= sizeof w->store->key || draw(w, 16) == 0)
        return; /* silent */
    CHECK(worker->n_answers < RUNS_MAX * 4);
    struct sim_store_entry *entry = entry_of(w, ask->key);
    struct mr_state_answer *answer = &worker->answers[worker->n_answers++];
    *answer = (struct mr_state_answer){.kind = ask->kind, .tag = ask->tag};
    if (ask->kind == MR_STATE_CLAIM && !is(entry, ask->key))
        set(entry, ask->key, ask->value, 0);
    const struct sim_store_entry *told = draw(w, 16) == 0 ? &w->store[draw(w, STORE_MAX)] : entry; /* now and then anything */
    if (told->text && (told != entry || is(entry, ask->key))) {
        answer->text = strdup(told->text);
        answer->n = strlen(told->text);
        w->totals->hints++;
    }
    if (ask->kind == MR_STATE_TAKE && is(entry, ask->key)) {
        free(entry->text);
        entry->text = NULL;
    }
}

void sim_store_flush(struct world *w)
{
    for (int i = 0; w->store && i < STORE_MAX; i++) {
        free(w->store[i].text);
        w->store[i].text = NULL;
    }
}

void sim_store_close(struct world *w)
{
    sim_store_flush(w);
    free(w->store);
}
