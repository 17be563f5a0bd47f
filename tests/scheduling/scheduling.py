"""Loads through a real worker, and a verdict on its scheduling from the topics alone. Started by tests/scheduling/run."""
import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "e2e"))
from wire import Kafka, decode  # noqa: E402

TERMINALS = {"done", "failed", "cancelled", "expired", "duplicate", "moved"}
PROMPT, OUTPUT = 512, 16                 # tokens of a job of the fairness loads; a job's service is PROMPT + 2 OUTPUT
SERVICE = PROMPT + 2 * OUTPUT
BULK_JOBS = 400                          # beside realtime: more than can end meanwhile
WINDOW, SEQS = 1024, 16                  # scheduler.window, engine.max_seqs of the fairness loads
passed = failed = 0


def check(condition, sentence):
    global passed, failed
    passed, failed = passed + bool(condition), failed + (not condition)
    print("%s %s" % ("ok    " if condition else "FAILED", sentence), flush=True)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * (len(values) - 1) + 0.5))]


class Load:
    """One worker with topics of its own, and what it did with the jobs it got."""

    def __init__(self, arguments, name, model, settings):
        name = "sched%d-%s" % (os.getpid(), name) # a broker may be used more than once
        self.kafka, self.prefix, self.bin = Kafka(os.environ["KAFKA_BOOTSTRAP"], arguments.work), name + ".", arguments.bin
        self.config, self.sent, self.random = "%s/%s.conf" % (arguments.work, name), 0, random.Random(name)
        with open(self.config, "w") as file:
            file.write('model = "%s";\nmodel_name = "m";\nkafka = { brokers = "%s"; prefix = "%s"; group = "%s"; partitions = 4; prefetch = 4096; };\n'
                       'limits = { jobs = 8192; jobs_per_partition = 512; };\n%s\n' % (model, self.kafka.bootstrap, self.prefix, name, settings))
        subprocess.run([self.bin, "topics", "create", "-c", self.config], check=True, stdout=subprocess.DEVNULL)
        self.logs, self.workers = arguments.work, []
        self.start()

    def start(self):
        """One more worker."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        path = "%s/%s%d.log" % (self.logs, self.prefix, len(self.workers))
        with open(path, "w") as log:
            self.workers.append(subprocess.Popen([self.bin, "worker", "-c", self.config, "--set", "http.listen=127.0.0.1:%d" % self.port],
                                                 stdout=log, stderr=log))
        end = time.time() + 60
        while self.get("/readyz") != 200:
            if time.time() > end or self.workers[-1].poll() is not None:
                self.kill()
                raise SystemExit("the worker does not come up: %s" % open(path).read()[-2000:])
            time.sleep(0.1)

    def kill(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def get(self, path):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d%s" % (self.port, path), timeout=5) as answer:
                return answer.status
        except OSError:
            return 0

    def metrics(self):
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.port, timeout=5) as answer:
            return answer.read().decode()

    def stop(self):
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def jobs(self, tenant, n, prompt, output):
        """n jobs of random prompts, none with another's beginning: a line each."""
        lines = []
        for _ in range(n):
            self.sent += 1
            lines.append(json.dumps({"id": "%s-%d" % (tenant, self.sent), "tenant": tenant, "max_tokens": output, "ignore_eos": True,
                                     "prompt": [self.random.randrange(250) for _ in range(prompt)], "temperature": 0}) + "\n")
        return "".join(lines).encode()

    def producer(self, route, tenant, partition):
        return subprocess.Popen(["kcat", "-P", "-b", self.kafka.bootstrap, "-t", self.prefix + "jobs." + route, "-p", str(partition), "-k", tenant,
                                 "-X", "linger.ms=0"], stdin=subprocess.PIPE)

    def send(self, route, tenant, n, partition, prompt=PROMPT, output=OUTPUT):
        self.producer(route, tenant, partition).communicate(self.jobs(tenant, n, prompt, output))

    def trickle(self, route, tenant, n, partition, gap):
        """One job every `gap` seconds."""
        producer = self.producer(route, tenant, partition)
        for _ in range(n):
            producer.stdin.write(self.jobs(tenant, 1, PROMPT, OUTPUT))
            producer.stdin.flush()
            time.sleep(gap)
        producer.communicate()

    def ended(self, route):
        return sum(r.headers.get("mr-kind") in TERMINALS for r in self.kafka.read(self.prefix + "stream." + route))

    def wait(self, route, count, seconds):
        """Until so many jobs of the route have ended."""
        end = time.time() + seconds
        while self.ended(route) < count and time.time() < end and self.workers[0].poll() is None:
            time.sleep(0.3)
        if self.ended(route) < count:
            check(False, "%d jobs have ended (%d have)" % (count, self.ended(route)))

    def refusals(self):
        """The errors among the results."""
        results = (decode(r.value) for r in self.kafka.read(self.prefix + "results"))
        return [result["error"] for result in results if result.get("error")]

    def runs(self, route, allowed={}):
        """Of every run with tokens: tenant, when its record came, when its first token left, and (time, tokens) of its token records; broker's seconds."""
        arrived = {"%d/%d.%d" % (r.partition, r.offset, r.timestamp): r.timestamp / 1000 for r in self.kafka.read(self.prefix + "jobs." + route)}
        runs = {}
        for r in self.kafka.read(self.prefix + "stream." + route):
            record = decode(r.value)
            source = "%d/%s" % (r.partition, record["src"])
            run = runs.setdefault(source, {"tenant": record["job"].split("/")[0], "arrived": arrived[source], "tokens": [], "end": None})
            if record["kind"] == "tok":
                run["tokens"].append((r.timestamp / 1000, len(record["ids"])))
            elif record["kind"] in TERMINALS:
                run["end"] = record["kind"]
        bad = [run for run in runs.values() if run["end"] not in allowed.get(run["tenant"], {"done"})]
        if bad:
            check(False, "every job is done (%d are not: %s)" % (len(bad), bad[0]["end"]))
        return [run for run in runs.values() if run["tokens"]]


def service(runs, tenant, begin, end):
    """What the tenant was served between two moments: prompts with their first token, outputs as they left."""
    total = 0
    for run in runs:
        if run["tenant"] != tenant:
            continue
        total += PROMPT * (begin <= run["tokens"][0][0] < end)
        total += 2 * sum(n for at, n in run["tokens"] if begin <= at < end)
    return total


def edges(runs, tenant):
    mine = [run for run in runs if run["tenant"] == tenant]
    return min(run["tokens"][0][0] for run in mine), max(run["tokens"][0][0] for run in mine)


def fairness_settings(policy, tenants="()", more=""):
    return ('scheduler = { policy = "%s"; window = %d; %s };\nengine = { max_seqs = %d; max_step_tokens = 512; threads = 1; };\nkv = { memory = "64MiB"; };\n'
            'tier = { bulk = { batch_tokens = 8; batch_wait = "20ms"; }; };\ntenants = %s;' % (policy, WINDOW, more, SEQS, tenants))


def flood(arguments, model, name, n_flood, n_quiet, gap):
    """The quiet tenant's queue time (record appended to first token seen) under both orders, and the bound B3 at the measured rate."""
    waits, bounds = {}, {}
    for policy in ("ours", "fcfs"):
        load = Load(arguments, "%s-%s" % (name, policy), model, fairness_settings(policy))
        load.send("bulk", "warm", 20, 2)
        load.wait("bulk", 20, 60)
        load.send("bulk", "flood", n_flood, 0)
        time.sleep(1) # it stands; reading a topic that grows so fast to its end takes as long as it grows
        load.trickle("bulk", "quiet", n_quiet, 1, gap)
        load.wait("bulk", load.sent, 240)
        load.stop()
        runs = load.runs("bulk")
        begin, end = edges(runs, "flood")
        rate = (service(runs, "flood", begin, end) + service(runs, "quiet", begin, end)) / (end - begin)
        longest = max(run["tokens"][-1][0] - run["tokens"][0][0] for run in runs if run["tenant"] == "flood")
        # B3 = 2 (Q + U) x (sum of the other weights) / rate + time to make room; U = w_in L_in + w_out K_f, K_f: all sequences the flood's.
        bounds[policy] = 2 * (WINDOW + PROMPT + 2 * SEQS * (PROMPT + OUTPUT)) / rate + longest
        waits[policy] = [run["tokens"][0][0] - run["arrived"] for run in runs if run["tenant"] == "quiet" and run["arrived"] < end]
        if not waits[policy]:
            check(False, "%s, %s: the flood ends %.1f s after it began, before the quiet tenant's first job" % (name, policy, end - begin))
            return
        print("       %s, %s: %.0f service/s, quiet tenant waits p50 %.3f s, p99 %.3f s (%d jobs beside %d of the flood's), B3 %.3f s"
              % (model.split("/")[-1], policy, rate, percentile(waits[policy], 0.5), percentile(waits[policy], 0.99), len(waits[policy]), n_flood,
                 bounds[policy]), flush=True)
    check(len(waits["ours"]) >= n_quiet // 2, "%s: the flood was there for most of the quiet tenant's jobs" % name)
    check(percentile(waits["ours"], 0.99) <= bounds["ours"],
          "%s: queue time of the quiet tenant p99 %.3f s, limit (B3) %.3f s" % (name, percentile(waits["ours"], 0.99), bounds["ours"]))
    check(percentile(waits["fcfs"], 0.99) > bounds["fcfs"],
          "%s: first come, first served breaks it: p99 %.3f s, limit %.3f s" % (name, percentile(waits["fcfs"], 0.99), bounds["fcfs"]))


def returning(arguments, n):
    load = Load(arguments, "return", "synthetic:tiny", fairness_settings("ours"))
    load.send("bulk", "back", 20, 0)
    load.wait("bulk", 20, 60)
    load.send("bulk", "steady", 3 * n, 1)
    load.wait("bulk", n, 60)
    load.send("bulk", "back", n, 0)
    load.wait("bulk", load.sent, 120)
    load.stop()
    runs = load.runs("bulk")
    late = sorted((run for run in runs if run["tenant"] == "back"), key=lambda run: run["arrived"])[20:]
    begin, end = min(run["tokens"][0][0] for run in late), max(run["tokens"][0][0] for run in late)
    end = min(end, edges(runs, "steady")[1])
    back, steady = service(runs, "back", begin, end), service(runs, "steady", begin, end)
    share = back / (back + steady)
    check(0.45 <= share <= 0.55, "returning tenant: %.1f %% of the machine over %.1f s, limit 50 +- 5 %%" % (100 * share, end - begin))


def weights(arguments, n):
    tenants = {"one": 1, "two": 2, "four": 4}
    contracts = "(%s)" % ", ".join('"%s weight=%d"' % pair for pair in tenants.items())
    load = Load(arguments, "weights", "synthetic:tiny", fairness_settings("ours", contracts))
    load.send("bulk", "warm", 20, 3)
    load.wait("bulk", 20, 60)
    for partition, (tenant, weight) in enumerate(tenants.items()):
        load.send("bulk", tenant, weight * n, partition)
    load.wait("bulk", load.sent, 120)
    load.stop()
    runs = load.runs("bulk")
    begin, end = max(edges(runs, t)[0] for t in tenants) + 0.2, min(edges(runs, t)[1] for t in tenants) - 0.1
    had = {t: service(runs, t, begin, end) / w for t, w in tenants.items()}
    mean = sum(had[t] * w for t, w in tenants.items()) / 7
    worst = max(abs(x / mean - 1) for x in had.values())
    shares = ", ".join("%s %.2f %%" % (t, 100 * had[t] * w / mean / 7) for t, w in tenants.items())
    check(worst <= 0.03, "weights 1:2:4: %s over %.1f s; off by %.2f %%, limit 3 %%" % (shares, end - begin, 100 * worst))


def limits(arguments, n):
    """A rate shapes and drops nothing, a full queue ends jobs with quota, and a neighbour in the same partition goes on meanwhile."""
    rate, queued = 10 * SERVICE, 40 * (PROMPT + OUTPUT)
    load = Load(arguments, "limits", "synthetic:tiny",
                fairness_settings("ours", '("rated rate=%d burst=%d", "queued queued=%d concurrency=1")' % (rate, SERVICE, queued)))
    load.send("bulk", "warm", 20, 3)
    load.wait("bulk", 20, 60)
    load.send("bulk", "rated", n, 0)
    load.send("bulk", "free", n, 0)
    load.send("bulk", "queued", 400, 1)
    load.wait("bulk", load.sent, 120)
    metrics = load.metrics()
    load.stop()
    runs, refused = load.runs("bulk", {"queued": {"done", "failed"}}), load.refusals()
    begin, end = edges(runs, "rated")
    had = service(runs, "rated", begin, end) / (end - begin)
    check(sum(run["tenant"] == "rated" for run in runs) == n, "limits: all %d jobs over the rate are done, none is dropped" % n)
    check(had <= 1.1 * rate, "limits: %.0f service/s over %.1f s, limit %d (+ 10 %%)" % (had, end - begin, rate))
    free = edges(runs, "free")[1]
    check(free < end - 0.3 * (end - begin), "limits: behind them in the same partition another's jobs were through at %.0f %% of that time"
          % (100 * (free - begin) / (end - begin)))
    check(refused and all(e["code"] == "quota" and e.get("retry_after", 0) >= 1 for e in refused) and
          len(refused) + sum(run["tenant"] == "queued" for run in runs) == 400,
          "limits: past %d waiting tokens %d of 400 jobs end with quota and a retry_after of %s s" %
          (queued, len(refused), sorted({e.get("retry_after") for e in refused})))
    check('millrace_tenant_limited{tenant="rated"}' in metrics and 'millrace_tenant_drift{tenant="free"}' in metrics,
          "limits: /metrics shows each tenant's figures")


def operator(load, job):
    """What a person sees meanwhile: `top` and `status --why`."""
    top = subprocess.run([load.bin, "top", "-c", load.config, "--json"], stdout=subprocess.PIPE, check=True).stdout.decode()
    lines = {line["tenant"]: line for line in map(json.loads, top.splitlines()) if "tenant" in line}
    check(set(lines) >= {"both", "one"} and all(k in lines["one"] for k in ("share", "counter", "drift", "waiting", "on_time", "relegations")),
          "operator: top shows the tenants (%s)" % ", ".join("%s %.0f %%" % (t, 100 * line["share"]) for t, line in sorted(lines.items())))
    why = subprocess.run([load.bin, "status", "-c", load.config, "--json", "--why", job], stdout=subprocess.PIPE).stdout.decode()
    said = json.loads(why).get("why", "") if why else ""
    check(said.startswith("wait"), "operator: status --why %s: %s" % (job, said))


def cluster(arguments, n):
    """Two workers, each with half of the partitions: tenant `both` has work on either, `one` on one of them alone. Fair over the two, `one`
    gets half of all; each fair by itself, a quarter. In the middle Redis is flushed, killed and started again: jobs go on."""
    start = ["deploy/redis/start", "--data", arguments.work + "/redis"]
    redis = subprocess.run(start, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode().strip()
    port, shares = redis.rsplit(":", 1)[1], {}
    for sync in ("0", "200ms"):
        load = Load(arguments, "cluster" + sync, "synthetic:tiny",
                    fairness_settings("ours", "()", 'sync = "%s";' % sync) + '\nredis = { address = "%s"; };\nworker = { heartbeat = "500ms"; };\n' % redis)
        load.start()
        load.send("bulk", "warm", 40, 0)
        load.send("bulk", "warm", 40, 3)
        load.wait("bulk", 80, 60)
        for tenant, partition in (("both", 0), ("one", 1), ("both", 3)):
            load.send("bulk", tenant, n, partition)
        if sync != "0":
            load.wait("bulk", 80 + n // 2, 60)
            operator(load, "one/one-%d" % (80 + n + n - 1))
            subprocess.run(["redis-cli", "-p", port, "flushall"], check=True, stdout=subprocess.DEVNULL)
            load.wait("bulk", 80 + n, 60)
            subprocess.run(["deploy/redis/stop", arguments.work + "/redis"], stderr=subprocess.DEVNULL)
            time.sleep(1)
            subprocess.run(start + ["--port", port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        load.wait("bulk", load.sent, 120)
        load.stop()
        runs = load.runs("bulk")
        begin, end = max(edges(runs, t)[0] for t in ("both", "one")), min(edges(runs, t)[1] for t in ("both", "one"))
        one, both = service(runs, "one", begin, end), service(runs, "both", begin, end)
        shares[sync] = one / (one + both)
        print("       two workers, %s: a tenant at one of them has %.1f %% of both" % ("counters shared" if sync != "0" else "each by itself",
                                                                                     100 * shares[sync]), flush=True)
    subprocess.run(["deploy/redis/stop", arguments.work + "/redis"], stderr=subprocess.DEVNULL)
    check(shares["0"] < 0.38, "cluster: without shared counters it has %.1f %% (about a quarter, or the load does not count)" % (100 * shares["0"]))
    check(shares["200ms"] >= 0.42, "cluster: with them, over a flush and a death of Redis, %.1f %%, limit 50 - 8 %%" % (100 * shares["200ms"]))


def realtime(arguments, model, n):
    """Time to the first token of prompts of 256 tokens, alone and with bulk running."""
    load = Load(arguments, "realtime", model, 'engine = { max_seqs = 16; };\nkv = { memory = "256MiB"; };\n'
                'tier = { realtime = { ttft = "700ms"; }; };\nscheduler = { backfill_keep = 1000; };\n')
    load.send("realtime", "warm", 1, 3, 256, 8)
    load.wait("realtime", 1, 60)
    medians, sent = {}, 1
    for tenant in ("alone", "beside"):
        if tenant == "beside":
            load.send("bulk", "bulk", BULK_JOBS, 0, 64, 64)
            time.sleep(3)
        for i in range(n):
            load.send("realtime", tenant, 1, i % 3, 256, 8)
            sent += 1
            load.wait("realtime", sent, 30)
            time.sleep(load.random.random() * 0.3)
    bulk_left = BULK_JOBS - load.ended("bulk")
    load.kill() # the rest of the bulk is nobody's
    runs = load.runs("realtime")
    for tenant in ("alone", "beside"):
        times = [run["tokens"][0][0] - run["arrived"] for run in runs if run["tenant"] == tenant]
        medians[tenant] = statistics.median(times)
        print("       realtime %s: TTFT p50 %.0f ms of %d prompts of 256 tokens" % (tenant, 1000 * medians[tenant], len(times)), flush=True)
    check(bulk_left > 0, "realtime: bulk was there all the time (%d jobs left)" % bulk_left)
    ratio = medians["beside"] / medians["alone"]
    check(ratio <= 1.3, "realtime TTFT with bulk running: %.2fx of without, limit 1.3x" % ratio)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", required=True)
    parser.add_argument("--bin", default="build/millrace")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="flood,return,weights,limits,cluster,realtime")
    arguments = parser.parse_args()
    model, only = os.environ.get("MILLRACE_TEST_MODEL"), arguments.only.split(",")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if "flood" in only:
        flood(arguments, "synthetic:tiny", "flood", *((16000, 100, 0.15) if arguments.long else (5000, 20, 0.15)))
        if arguments.long and model:
            flood(arguments, model, "flood-model", 300, 3, 4)
    if "return" in only:
        returning(arguments, 1500 if arguments.long else 500)
    if "weights" in only:
        weights(arguments, 1000 if arguments.long else 300)
    if "limits" in only:
        limits(arguments, 100 if arguments.long else 50)
    if "cluster" in only:
        cluster(arguments, 1500 if arguments.long else 400)
    if "realtime" in only and model:
        realtime(arguments, model, 20 if arguments.long else 6)
    elif "realtime" in only:
        print("skipped: MILLRACE_TEST_MODEL is not set", flush=True)
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
