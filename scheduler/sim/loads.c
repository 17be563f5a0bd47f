/* Jobs from loads. Owns the list of all jobs, the traces and a random stream a load.
 *
 * 1. Every load draws from its own stream: another load changes nothing for it. 2. Open loads are made whole at open, in order
 * of time; loads that keep a backlog make a job when one has gone. 3. Names of prompt blocks are made when a job is submitted
 * and freed when it ends: they are most of the memory. */
#include "scheduler/sim/loads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t length_draw(struct sim_random *r, struct sim_length length, int32_t most)
{
    double x = length.mean;
    if (length.cv > 0) { /* log-normal with that mean and coefficient of variation */
        double sigma2 = log(1 + length.cv * length.cv);
        double normal = sqrt(2 * sim_random_exponential(r)) * cos(6.283185307179586 * sim_random_unit(r));
        x = exp(log(length.mean) - sigma2 / 2 + sqrt(sigma2) * normal);
    }
    return x < 1 ? 1 : x > most ? most : (int32_t)x;
}

bool sim_load_active(const struct sim_load *load, double second)
{
    if (second < load->from_s || second >= load->to_s)
        return false;
    return load->off_s <= 0 || fmod(second - load->from_s, load->on_s + load->off_s) < load->on_s;
}

static int32_t job_add(struct sim_loads *loads)
{
    if (loads->n == loads->capacity) {
        int32_t capacity = loads->capacity ? 2 * loads->capacity : 4096;
        void *grown = realloc(loads->jobs, (size_t)capacity * sizeof *loads->jobs);
        if (!grown)
            return -1;
        loads->jobs = grown;
        loads->capacity = capacity;
    }
    return loads->n++;
}

/* Zipf with exponent 1 over n, by inversion of 1/x. */
static int32_t zipf_draw(struct sim_random *r, int32_t n)
{
    int32_t at = (int32_t)(exp(sim_random_unit(r) * log(n + 1.0)) - 1);
    return at >= n ? n - 1 : at;
}

/* A leaf of the tenant's tree of beginnings: its number has the way down in it, the deepest level last. */
static void prefix_draw(struct sim_random *r, const struct sim_load *load, struct sim_job *job)
{
    job->prefix = zipf_draw(r, load->prefixes);
    job->prompt += load->prefix_tokens;
    for (int i = 0; i < SIM_TREE_MAX && load->tree[i].n; i++) {
        job->prefix = job->prefix * load->tree[i].n + zipf_draw(r, load->tree[i].n);
        job->prompt += load->tree[i].tokens;
    }
}

static int32_t job_make(struct sim_loads *loads, int32_t l, uint32_t tenant, int64_t at_ns, const struct sim_trace_job *from)
{
    const struct sim_load *load = &loads->scenario->loads[l];
    struct sim_random *r = &loads->random[l];
    int32_t most = loads->scenario->config.max_context, j = job_add(loads);
    if (j < 0)
        return -1;
    struct sim_job job = {.arrival_ns = at_ns, .tenant = tenant, .tier = load->tier, .load = l, .prefix = -1, .at = -1};
    job.prompt = from ? (from->prompt < most - 2 ? from->prompt : most - 2) : length_draw(r, load->prompt, most / 2);
    if (load->prefixes)
        prefix_draw(r, load, &job);
    job.prompt = job.prompt < most - 2 ? job.prompt : most - 2;
    int32_t room = most - job.prompt, mean = (int32_t)load->output.mean;
    job.output = from ? from->output : length_draw(r, load->output, 8 * mean);
    job.max_output = load->max_output ? load->max_output : from ? 2 * job.output + 512 : 4 * mean;
    job.max_output = job.max_output < room ? job.max_output : room;
    job.output = job.output < job.max_output ? job.output : job.max_output;
    if (from) {
        job.first_block = from->first_block;
        job.n_blocks = from->n_blocks;
    }
    if (load->deadline_s > 0)
        job.deadline_ns = at_ns + (int64_t)(load->deadline_s * 1e9);
    if (load->cancel_share > 0 && sim_random_unit(r) < load->cancel_share)
        job.cancel_ns = at_ns + 1 + (int64_t)(sim_random_exponential(r) * 2e9);
    loads->jobs[j] = job;
    return j;
}

int32_t sim_loads_more(struct sim_loads *loads, int32_t load, uint32_t tenant, int64_t now_ns) { return job_make(loads, load, tenant, now_ns, NULL); }

static bool open_trace(struct sim_loads *loads, int32_t l, double end)
{
    const struct sim_load *load = &loads->scenario->loads[l];
    const struct sim_trace *trace = &loads->trace[l];
    int32_t tenants = load->last_tenant - load->first_tenant + 1;
    for (int32_t i = 0; i < trace->n; i++) {
        double second = load->from_s + (double)trace->jobs[i].at_ns / 1e9 / load->speed;
        int32_t tenant = load->first_tenant + (trace->n_clients > 1 ? trace->jobs[i].client : i) % tenants;
        if (second < end && job_make(loads, l, (uint32_t)tenant, (int64_t)(second * 1e9), &trace->jobs[i]) < 0)
            return false;
    }
    return true;
}

/* All at from_s; grouped: in order of their beginnings, stably, by counting. */
static bool open_batch(struct sim_loads *loads, int32_t l)
{
    const struct sim_load *load = &loads->scenario->loads[l];
    int64_t at_ns = (int64_t)(load->from_s * 1e9);
    for (int32_t tenant = load->first_tenant; tenant <= load->last_tenant; tenant++) {
        int32_t first = loads->n;
        for (int32_t i = 0; i < load->backlog; i++)
            if (job_make(loads, l, (uint32_t)tenant, at_ns, NULL) < 0)
                return false;
        struct sim_job *jobs = loads->jobs + first, *sorted = load->grouped ? malloc((size_t)load->backlog * sizeof *sorted) : NULL;
        if (load->grouped && !sorted)
            return false;
        int32_t leaves = load->prefixes, n = 0;
        for (int i = 0; i < SIM_TREE_MAX && load->tree[i].n; i++)
            leaves *= load->tree[i].n;
        for (int32_t prefix = -1; sorted && prefix < leaves; prefix++)
            for (int32_t i = 0; i < load->backlog; i++)
                if (jobs[i].prefix == prefix)
                    sorted[n++] = jobs[i];
        if (sorted)
            memcpy(jobs, sorted, (size_t)load->backlog * sizeof *jobs);
        free(sorted);
    }
    return true;
}

/* What one client of a population sends: the largest has `top` of the load, the next nine the rest of `top_ten`, the others
 * what is left; inside the two groups by Zipf's law. */
static double client_share(const struct sim_population *p, int32_t client)
{
    int32_t first = client == 0 ? 0 : client < 10 ? 1 : 10, last = client == 0 ? 1 : client < 10 ? 10 : p->clients;
    double of = client == 0 ? p->top : client < 10 ? p->top_ten - p->top : 1 - p->top_ten, sum = 0;
    for (int32_t i = first; i < last; i++)
        sum += 1.0 / (i - first + 1);
    return of / (client - first + 1) / sum;
}

static bool open_servegen(struct sim_loads *loads, int32_t l, double end)
{
    const struct sim_load *load = &loads->scenario->loads[l];
    struct sim_random *r = &loads->random[l];
    int32_t tenants = load->last_tenant - load->first_tenant + 1;
    for (int32_t client = 0; client < load->population->clients; client++) {
        double rate = load->rate * client_share(load->population, client), cv = exp(sim_random_unit(r) * log(18.0)), phase = sim_random_unit(r);
        for (double at = load->from_s;;) {
            double swing = load->day_s > 0 ? 1 + 0.8 * sin(6.283185307179586 * (at / load->day_s + 0.1 * phase)) : 1;
            at += sim_random_gamma(r, cv) / (rate * swing);
            if (at >= end)
                break;
            if (job_make(loads, l, (uint32_t)(load->first_tenant + client % tenants), (int64_t)(at * 1e9), NULL) < 0)
                return false;
        }
    }
    return true;
}

static bool open_load(struct sim_loads *loads, int32_t l)
{
    const struct sim_load *load = &loads->scenario->loads[l];
    double end = load->to_s < loads->scenario->seconds ? load->to_s : loads->scenario->seconds;
    if (load->source == SIM_TRACE)
        return open_trace(loads, l, end);
    if (load->source == SIM_BATCH)
        return open_batch(loads, l);
    if (load->source == SIM_SERVEGEN)
        return open_servegen(loads, l, end);
    for (int32_t tenant = load->first_tenant; tenant <= load->last_tenant; tenant++)
        for (double at = load->from_s;;) {
            at += (load->source == SIM_GAMMA ? sim_random_gamma(&loads->random[l],
                    load->cv) : sim_random_exponential(&loads->random[l])) / load->rate;
            if (at >= end)
                break;
            if (sim_load_active(load, at) && job_make(loads, l, (uint32_t)tenant, (int64_t)(at * 1e9), NULL) < 0)
                return false;
        }
    return true;
}

/* Merge sort by arrival, stable: equal times keep the order of creation. */
static void sort_arrivals(const struct sim_loads *loads, int32_t *order, int32_t *scratch, int32_t n)
{
    if (n < 2)
        return;
    int32_t half = n / 2, a = 0, b = half;
    sort_arrivals(loads, order, scratch, half);
    sort_arrivals(loads, order + half, scratch, n - half);
    for (int32_t i = 0; i < n; i++)
        scratch[i] = b >= n || (a < half && loads->jobs[order[a]].arrival_ns <= loads->jobs[order[b]].arrival_ns) ? order[a++] : order[b++];
    memcpy(order, scratch, (size_t)n * sizeof *order);
}

enum mr_status sim_loads_open(struct sim_loads *loads, const struct sim_scenario *scenario, const char *trace_folder, struct mr_err *err)
{
    enum mr_status status = MR_OK;
    *loads = (struct sim_loads){.scenario = scenario};
    for (int32_t l = 0; l < scenario->n_loads && status == MR_OK; l++) {
        const struct sim_load *load = &scenario->loads[l];
        char path[1024];
        loads->random[l].state = mr_mix64(scenario->seed) + (uint64_t)l * 7919;
        if (load->source == SIM_TRACE) {
            bool relative = trace_folder && load->trace[0] != '/';
            snprintf(path, sizeof path, "%s%s%s", relative ? trace_folder : "", relative ? "/" : "", load->trace);
            status = sim_trace_read(path, &loads->trace[l], err);
        }
        if (status == MR_OK && load->source != SIM_BACKLOG && !open_load(loads, l))
            status = mr_err_set(err, MR_ERR_NOMEM, "no memory for the jobs");
    }
    loads->n_arrivals = loads->n;
    loads->arrivals = calloc((size_t)loads->n + 1, sizeof *loads->arrivals);
    int32_t *scratch = calloc((size_t)loads->n + 1, sizeof *scratch);
    if (status == MR_OK && (!loads->arrivals || !scratch))
        status = mr_err_set(err, MR_ERR_NOMEM, "no memory for the arrivals");
    for (int32_t i = 0; i < loads->n && status == MR_OK; i++)
        loads->arrivals[i] = i;
    if (status == MR_OK)
        sort_arrivals(loads, loads->arrivals, scratch, loads->n_arrivals);
    free(scratch);
    if (status != MR_OK)
        sim_loads_close(loads);
    return status;
}

void sim_loads_close(struct sim_loads *loads)
{
    for (int32_t j = 0; j < loads->n; j++)
        free(loads->jobs[j].names);
    for (int32_t l = 0; l < SIM_LOADS_MAX; l++)
        sim_trace_free(&loads->trace[l]);
    free(loads->jobs);
    free(loads->arrivals);
    *loads = (struct sim_loads){0};
}

/* Of a block that lies whole in one level of the tree of beginnings: the name of its place there; 0: it is the job's own. */
static uint64_t tree_name(const struct sim_load *load, const struct sim_job *job, int32_t block, int32_t block_tokens)
{
    int32_t end = load->prefix_tokens, path = job->prefix, level = 0;
    for (int i = 0; i < SIM_TREE_MAX && load->tree[i].n; i++)
        path /= load->tree[i].n;
    while ((block + 1) * block_tokens > end) {
        if (level == SIM_TREE_MAX || !load->tree[level].n)
            return 0;
        path = job->prefix;
        for (int i = level + 1; i < SIM_TREE_MAX && load->tree[i].n; i++)
            path /= load->tree[i].n;
        end += load->tree[level++].tokens;
    }
    return ((uint64_t)level << 56) + ((uint64_t)job->load << 40) + ((uint64_t)path << 20) + (uint64_t)block;
}

bool sim_job_names(const struct sim_loads *loads, struct sim_job *job, int32_t block_tokens, bool salted)
{
    const struct sim_load *load = &loads->scenario->loads[job->load];
    /* An odd constant keeps the salts apart from the small numbers that are hashed with them. */
    uint64_t salt = mr_mix64(salted ? (uint64_t)job->tenant + UINT64_C(0x5a17ed5a17ed5a17) : 1), own = mr_mix64((uint64_t)(job - loads->jobs) +
            0x5151) ^ salt;
    int32_t n = job->prompt / block_tokens;
    if (n == 0 || (job->prefix < 0 && job->n_blocks == 0))
        return true;
    uint64_t *names = malloc((size_t)n * sizeof *names);
    if (!names)
        return false;
    for (int32_t b = 0; b < n; b++) {
        int32_t token = b * block_tokens, of = token / SIM_TRACE_BLOCK;
        uint64_t shared = job->prefix >= 0 ? tree_name(load, job, b, block_tokens) : 0;
        if (job->prefix >= 0 && (shared || (b == 0 && block_tokens <= load->prefix_tokens)))
            names[b] = mr_mix64(mr_mix64(shared) + salt);
        else if (of < job->n_blocks && (token + block_tokens - 1) / SIM_TRACE_BLOCK == of)
            names[b] = mr_mix64(mr_mix64(((uint64_t)loads->trace[job->load].blocks[job->first_block + of] << 12) +
                    (uint64_t)(token % SIM_TRACE_BLOCK)) + salt);
        else
            names[b] = mr_mix64(own + (uint64_t)b);
        names[b] += names[b] == 0;
    }
    job->names = names;
    job->n_names = n;
    return true;
}
