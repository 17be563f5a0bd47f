#include "worker/contract.h"

#include <stdlib.h>
#include <string.h>

/* Cuts the next word off rest; n 0: none is left. */
static struct mr_str word_next(struct mr_str *rest)
{
    while (rest->n && *rest->p == ' ')
        rest->p++, rest->n--;
    struct mr_str word = {rest->p, 0};
    while (rest->n && *rest->p != ' ')
        rest->p++, rest->n--, word.n++;
    return word;
}

/* "key=NUMBER", a whole number from 0 to INT32_MAX. */
static bool pair_read(struct mr_str word, struct mr_str *key, int64_t *value)
{
    const char *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
    if (!equals)
        return false;
    *key = (struct mr_str){word.p, (size_t)(equals - word.p)};
    struct mr_str digits = {equals + 1, word.n - key->n - 1};
    *value = 0;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9' || *value > INT32_MAX)
            return false;
        *value = *value * 10 + digits.p[i] - '0';
    }
    return digits.n > 0 && *value <= INT32_MAX;
}

static const char *contract_read(struct mr_str entry, struct mr_str *tenant, struct mr_sched_tenant *out)
{
    static const char bad_word[] = "must be \"NAME key=value ...\" with whole numbers";
    *out = (struct mr_sched_tenant){.weight = 1};
    *tenant = word_next(&entry);
    if (tenant->n == 0 || memchr(tenant->p, '=', tenant->n))
        return bad_word;
    for (struct mr_str word; (word = word_next(&entry)).n;) {
        struct mr_str key;
        int64_t value;
        if (!pair_read(word, &key, &value))
            return bad_word;
        if (mr_str_is(key, "weight")) {
            if (value < 1 || value > MR_SCHED_WEIGHT_MAX)
                return "has a weight that is not 1 to 1000";
            out->weight = (int32_t)value;
        } else if (mr_str_is(key, "concurrency")) {
            out->concurrency = (int32_t)value;
        } else if (mr_str_is(key, "rate")) {
            out->rate_tokens = value;
        } else if (mr_str_is(key, "burst")) {
            out->burst_tokens = value;
        } else if (mr_str_is(key, "queued")) {
            out->queued_tokens = value;
        } else if (mr_str_is(key, "scavenge")) {
            out->scavenge = value != 0;
        } else {
            return "has a key that is none of weight, rate, burst, concurrency, queued, scavenge";
        }
    }
    return NULL;
}

const char *mr_contract_complaint(struct mr_str entry)
{
    struct mr_str tenant;
    struct mr_sched_tenant contract;
    return contract_read(entry, &tenant, &contract);
}

struct mr_sched_tenant mr_contract_of(const struct mr_options *options, struct mr_str tenant)
{
    struct mr_sched_tenant contract, found = {.weight = 1};
    bool own = false;
    for (int32_t i = 0; i < options->tenants.n; i++) {
        struct mr_str name;
        contract_read(mr_str_from(options->tenants.items[i]), &name, &contract);
        if (mr_str_equal(name, tenant) || (!own && mr_str_is(name, "*"))) {
            found = contract;
            own = mr_str_equal(name, tenant);
        }
    }
    if (!found.concurrency)
        found.concurrency = (int32_t)options->limits.jobs_per_tenant;
    return found;
}
