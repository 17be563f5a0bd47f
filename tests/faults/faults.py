"""The fault test: jobs, faults from a seed, and the verdict from the topics. Started by tests/faults/run."""
import argparse
import calendar
import collections
import functools
import itertools
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "e2e"))
import e2e  # noqa: E402
from e2e import ROUTES, TERMINALS, Test, Verdict, Worker, check  # noqa: E402
from surroundings import GROUP, MAX_POLL_S, SESSION_S, SIDE, Page, Surroundings, peak_mib  # noqa: E402
from wire import decode  # noqa: E402

WORKERS = 3
BATCH = {"realtime": 1, "standard": 8, "bulk": 64}      # tokens of a record, the tiers' defaults
SETTINGS = """engine = { threads = 1; max_seqs = 16; };
kv = { memory = "64MiB"; };
limits = { record = "64KiB"; };
worker = { grace = "3s"; hung = "8s"; };
scheduler = { calibrate = "0"; };
log = { level = "debug"; };"""
PLANTED = "step:%d,abort:acme/poison-"    # a larger model's steps; and jobs that nobody survives
HANGS = ",hang:acme/tar-"                  # for one worker: jobs that its engine never comes back from
HUNG_S = 8                                 # worker.hung
SILENCE_S = 0.5                            # MR_OWNER_SILENCE_NS: so long the engine of a worker that nobody hears goes on
STEP_MS = 4                                # the least that a planted step takes


class Keeper:
    """Keeps three workers alive: one that has ended is noted and replaced."""

    def __init__(self, test, step_ms):
        self.test, self.step_ms, self.lock = test, step_ms, threading.Lock()
        self.deaths, self.codes, self.expected = [], [], {}
        self.peak, self.looked, self.open = 0, time.time(), True
        self.ports = [int(b.rsplit(":", 1)[1]) for b in test.kafka.bootstrap.split(",")]
        self.workers = [self.start() for _ in range(WORKERS)]
        self.thread = threading.Thread(target=self.keep, daemon=True)
        self.thread.start()

    def start(self, planted=""):
        page = Page("%s/page-%d" % (self.test.work, Worker.count + 1), self.ports)
        worker = Worker(self.test, {"LD_PRELOAD": self.test.work + "/shim.so", "FAULTS_PAGE": page.path,
                                    "MILLRACE_PLANTED": PLANTED % self.step_ms + planted})
        worker.page = page
        return worker

    def keep(self):
        while self.open:
            now = time.time()
            for i, worker in enumerate(self.workers):
                code = worker.process.poll()
                if code is None:
                    self.peak = max(self.peak, peak_mib(worker.process.pid))
                    continue
                kind, at = self.expected.get(worker.name, ("abort", self.looked))
                with self.lock:
                    self.deaths.append((worker.name, kind, at))
                    self.codes.append((worker.name, kind, code))
                    self.workers[i] = self.start()
            self.looked = now
            time.sleep(0.1)

    def dies(self, worker, kind):
        self.expected[worker.name] = (kind, time.time())

    def pick(self, rng):
        return self.workers[rng.randrange(WORKERS)]

    def replace(self, planted):
        """Worker 0 makes room for one with other faults planted; returns that one."""
        self.dies(self.workers[0], "drain")
        with self.lock:
            old, self.workers[0] = self.workers[0], self.start(planted)
        old.process.send_signal(signal.SIGTERM)
        self.codes.append((old.name, "drain", old.process.wait(60)))
        return self.workers[0]

    def settle(self, seconds=40):
        """Waits until every worker is ready."""
        end = time.time() + seconds
        while time.time() < end:
            with self.lock:
                workers = list(self.workers)
            if all(w.process.poll() is None and w.get("/readyz")[0] == 200 for w in workers):
                return True
            time.sleep(0.25)
        return False

    def stop(self):
        self.open = False
        self.thread.join()
        for worker in self.workers:
            worker.process.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                self.codes.append((worker.name, "drain", worker.process.wait(60)))
            except subprocess.TimeoutExpired:
                self.codes.append((worker.name, "drain", None))
        self.end()

    def end(self):
        self.open = False
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()


def body_of(rng, i):
    """Greedy or seeded, short or long: (route, name, body, allowed outcomes)."""
    body = e2e.body_of(rng, rng.randrange(2, 40))
    route = ROUTES[i % 3]
    if i % 4 == 0:
        body["max_tokens"] = rng.randrange(600, 2000)
    if i % 5 < 2:
        body.update(temperature=0.9, seed=i, top_p=0.95)
    if i % 7 == 0:
        body.update(frequency_penalty=0.3, repetition_penalty=1.05)
    if i % 40 == 11:
        return route, "cancel-%d" % i, dict(body, max_tokens=2500), {"cancelled", "done"}
    if i % 40 == 31:
        return route, "late-%d" % i, dict(body, max_tokens=2500, deadline_ms=rng.choice([1, 1500])), {"expired", "done"}
    return route, "job-%d" % i, body, {"done"}


class Load(threading.Thread):
    """Sends the jobs in handfuls over the time of the faults; while these go on longer, more of them."""

    def __init__(self, test, rng, around, counts, rest):
        super().__init__(daemon=True)
        self.test, self.rng, self.around, self.rest = test, rng, around, rest
        self.jobs, self.poisons = counts
        self.error, self.over = None, threading.Event()

    def lines(self, topic, pairs):
        with self.around.sending:   # kcat gives up where a broker is away
            self.test.kafka.send_lines(self.test.topic(topic), pairs)

    def handful(self, first, n):
        by_route, cancels = collections.defaultdict(list), []
        for i in range(first, first + n):
            route, name, body, allowed = body_of(self.rng, i)
            tenant = self.rng.choice(["acme", "globex"])
            by_route[route].append((tenant, name, body))
            cancels += [tenant + "/" + name] if name.startswith("cancel") else []
            self.test.expected["%s/%s" % (tenant, name)] = allowed
        for route, jobs in by_route.items():
            allowed = {"%s/%s" % (t, n): self.test.expected["%s/%s" % (t, n)] for t, n, _ in jobs}
            with self.around.sending:
                self.test.send(route, jobs)
            self.test.expected.update(allowed)
        return cancels

    def poison(self, i):
        body = {"id": "poison-%d" % i, "tenant": "acme", "model": "m", "prompt": "never again", "max_tokens": 4}
        value, route = json.dumps(body).encode(), ROUTES[i % 3]
        self.lines("jobs." + route, [("acme/" + body["id"], value.decode())])
        self.test.bad.append(e2e.Bad("poison", value, "poison", ""))
        self.test.sent += 1

    def run(self):
        try:
            self.send_all()
        except Exception as error: # told by the main thread
            self.error = error

    def send_all(self):
        n, cancels, sent_poisons = 6, [], 0
        for first in itertools.count(0, n):
            if first >= self.jobs and self.over.is_set():
                return
            if sent_poisons < self.poisons and first >= self.jobs * (sent_poisons + 0.5) / (self.poisons + 1):
                self.poison(sent_poisons)
                sent_poisons += 1
            for name in cancels:    # of the handful before: they run by now
                self.lines("control", [(name, json.dumps({"v": 1, "kind": "cancel", "job": name, "by": "faults"}))])
            cancels = self.handful(first, n)
            self.over.wait(self.rest * (1 if first < self.jobs else 3))


MOVES = ("died", "let go", "unheard")     # what became of the worker that a run moved away from


class Timeline(Verdict):
    """The folded topics, with the time of every accepted record and whose it was."""

    def __init__(self, test):
        self.times = collections.defaultdict(list) # run -> [(time ms, kind, worker, tokens accepted, generation of the group)]
        self.owned = collections.defaultdict(list) # (route, partition, worker, generation) -> times ms of what it appended
        super().__init__(test)

    def take(self, route, r):
        record = decode(r.value)
        key = (route, r.partition, record["src"])
        before = self.runs[key][0].seq if key in self.runs else 0
        ignored = sum(self.runs[key][0].ignored.values()) if key in self.runs else 0
        super().take(route, r)
        if sum(self.runs[key][0].ignored.values()) == ignored:
            worker = record["worker"] if record["kind"] == "start" else self.times[key][-1][2]
            self.times[key].append((r.timestamp, record["kind"], worker, before, record["epoch"] >> 20))
            self.owned[route, r.partition, worker, record["epoch"] >> 20].append(r.timestamp)

    def recoveries(self, deaths, away, all_deaths):
        """For every death, of each run that was the dead worker's and open: seconds to the next accepted record, as `millrace check --deaths`
        counts them. Broker faults count from the broker's return; where the next owner died before it could begin, its death counts."""
        out = []
        for name, kind, at in deaths:
            for key, line in self.times.items():
                until = [e for e in line if e[0] <= at * 1000 or e[2] == name] # what it wrote just before may be stamped just after
                if not until or until[-1][2] != name or until[-1][1] in TERMINALS or until[-1][1] == "yield":
                    continue
                after = line[len(until):]
                if after:
                    out.append((waited(at, after[0][0] / 1000, away, all_deaths), self.runs[key][4], name, kind))
        return out

    def resumed(self, pauses, away, all_deaths):
        """For every pause, of each run that was the paused worker's and open, and that somebody had to start anew for it, be it this worker:
        seconds to that START, counted as above. What was on its way when the pause began may be stamped up to half a second later. Where
        the worker had the partition still when the pause was over, whatever followed was not of this pause."""
        out = collections.defaultdict(list)
        for name, kind, at, end in pauses:
            for key, line in self.times.items():
                until = [e for e in line if e[0] <= at * 1000 + 500]
                after = line[len(until):]
                if not until or until[-1][2] != name or not after or after[0][1] != "start":
                    continue
                taken = after[0][0]
                if not any(end * 1000 < t < taken for t in self.owned[key[0], key[1], name, until[-1][4]]):
                    out[kind].append((waited(at, taken / 1000, away, all_deaths), self.runs[key][4], name))
        return out

    def running(self, at):
        """How many runs had begun and not ended at a time."""
        return sum(line[0][0] <= at * 1000 and (line[-1][0] > at * 1000 or line[-1][1] not in TERMINALS) for line in self.times.values())

    def twice(self, dead):
        """For every run that another worker went on with: (tokens that the one before had made beyond those accepted, job, that worker). By
        what became of it, and route: it was dead; it let go of the run (its YIELD is there); it could not be heard (paused, cut off).
        What it made after the partition came back to it was not made twice."""
        out = {how: collections.defaultdict(list) for how in MOVES}
        made, assigned = made_tokens(self.test.work)
        for (route, partition, src), line in self.times.items():
            job = self.runs[route, partition, src][4]
            for i, now in enumerate(line):
                before = line[i - 1]
                if i == 0 or now[1] != "start" or now[2] == before[2]:
                    continue
                back = [at for at in assigned[before[2], route, partition] if at > now[0] / 1000]
                most = max((n for at, n in made[before[2], job] if at < min(back, default=1e18)), default=0)
                died = dead.get(before[2], 1e18) * 1000 <= now[0]
                how = "died" if died else "let go" if before[1] == "yield" else "unheard"
                out[how][route].append((max(0, most - now[3]), job, before[2]))
        return out


def waited(at, taken, away, all_deaths):
    """Seconds from a fault at `at` until a run was taken at `taken`: from the broker's return where it was away, and from the last death
    between where another worker died meanwhile."""
    begin = max([at] + [later for _, _, later in all_deaths if at < later < taken])
    begin = max([begin] + [min(back, taken) for gone, back in away if gone < taken and back > begin])
    return taken - begin


@functools.lru_cache(None)
def seconds_of(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


def true_time(text, began):
    """Of a worker's log line; a clock fault may have shifted it by an hour."""
    at = seconds_of(text[:19]) + int(text[20:23]) / 1000
    return at - 3600 * round((at - began - 900) / 3600)


def made_tokens(work):
    """From the workers' own logs: how far each had come with each job, and when, {(worker, job): [(time, tokens)]}; and when it was given a
    partition, {(worker, route, partition): [time]}."""
    made, assigned = collections.defaultdict(list), collections.defaultdict(list)
    take, tokens = re.compile(r"event=engine.take run=(\d+) job=(\S+)"), re.compile(r"event=engine.tokens run=(\d+) next=(\d+)")
    given = re.compile(r"event=partition.assigned topic=faults.jobs.(\w+) partition=(\d+)")
    began = os.path.getmtime(work + "/shim.so")
    for file in os.listdir(work):
        if not re.fullmatch(r"w\d+\.log", file):
            continue
        jobs, worker = {}, file[:-4]
        with open(os.path.join(work, file), errors="replace") as lines:
            for line in lines:
                m = tokens.search(line)
                if m and m.group(1) in jobs:
                    made[worker, jobs[m.group(1)]].append((true_time(line[5:28], began), int(m.group(2))))
                    continue
                m = take.search(line)
                if m:
                    jobs[m.group(1)] = m.group(2)
                    continue
                m = given.search(line)
                if m:
                    assigned[worker, m.group(1), int(m.group(2))].append(true_time(line[5:28], began))
    return made, assigned


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else -1


class Side(threading.Thread):
    """The side faults, one after the other, beside the group faults."""

    def __init__(self, around, kinds, rest):
        super().__init__(daemon=True)
        self.around, self.kinds, self.rest, self.error = around, kinds, rest, None

    def run(self):
        for kind in self.kinds:
            try:
                self.around.run(kind)
            except Exception as error: # told by the main thread
                self.error = "%s: %r" % (kind, error)
                return
            time.sleep(self.rest)


def draw(rng, table, n):
    """n kinds in random order, each by its weight, every kind at least once where there is room."""
    names = list(table)
    if not names:
        return []
    rng.shuffle(names)
    kinds = names[:n] + rng.choices(names, [table[k] for k in names], k=max(0, n - len(names)))
    rng.shuffle(kinds)
    return kinds


def order(arguments, rng, around):
    group, side = around.kinds(GROUP), dict(SIDE)
    if arguments.brokers == 3:
        group = {"broker_kill": 3, "broker_stop": 2, "kill": 1}
    if arguments.only:
        group = {k: n for k, n in group.items() if k in arguments.only}
        side = {k: n for k, n in side.items() if k in arguments.only}
    n_group, n_side = (62, 50) if arguments.long else (10, 12) if arguments.brokers == 3 else (7, 9)
    kinds = draw(rng, group, n_group if group else 0)
    if not arguments.long and not arguments.only and arguments.brokers == 1:   # a short run still kills three times
        others = [k for k in kinds if k.startswith("broker") or k == "pause"]
        kinds = ["kill"] * 3 + ["stop", "drain", "cut"] + others[:1]
        rng.shuffle(kinds)
    return kinds, draw(rng, side, n_side if side else 0)


def check_verb(test, keeper, around):
    """The program's own judge; it is told when workers died, and when brokers went and came back. Returns its report."""
    path = test.work + "/deaths"
    with open(path, "w") as file:
        for name, _, at in keeper.deaths:
            file.write("%d %s\n" % (at * 1000, name))
        for away, back in around.broker_away:
            file.write("%d -\n%d *\n" % (away * 1000, back * 1000))
    out = subprocess.run([test.bin, "check", "-c", test.config, "--deaths", path, "--json"], stdout=subprocess.PIPE).stdout.decode()
    report = json.loads(out)
    complaints = report.pop("complaints", [])
    print("       millrace check: %s" % json.dumps(report))
    for word in ("violations", "lost", "duplicates"):
        check(report[word] == 0, "millrace check: no %s (%d%s)" % (word, report[word], ": %s" % complaints[:3] if report[word] else ""))
    return report


def results_wait(test, seconds=30):
    """A result follows its terminal record; workers that all leave at once would leave the last ones to whoever comes next."""
    end = time.time() + seconds
    while time.time() < end:
        out = subprocess.run([test.bin, "check", "-c", test.config, "--json"], stdout=subprocess.PIPE).stdout.decode()
        if json.loads(out)["lost"] == 0:
            return
        time.sleep(1)


def hang(test, keeper, load):
    """The engine of one worker hangs: its health goes red, it leaves, and its jobs go on with the others."""
    worker = keeper.replace(HANGS)
    keeper.settle()
    keeper.dies(worker, "hang")
    for i in range(24):
        test.send(ROUTES[i % 3], [("acme", "tar-%d" % i, e2e.body_of(load.rng, 8))])
    begin, red = time.time(), None
    while worker.process.poll() is None and time.time() - begin < HUNG_S + 20:
        if red is None and worker.get("/healthz")[0] == 503:
            red = time.time() - begin
        time.sleep(0.1)
    left, code = time.time() - begin, worker.process.poll()
    check(red is not None and red < HUNG_S, "a hung engine: /healthz says no (after %s s)" % (red and round(red, 1)))
    check(code not in (None, 0) and left < HUNG_S + 6, "its worker leaves with an exit code that is not 0 (%s, after %.1f s)" % (code, left))


def rest(test, around, load):
    """The broker stands still with records on their way to it: no worker may keep a core busy."""
    for i in range(12):
        body = e2e.body_of(load.rng, 8)
        load.test.send(ROUTES[i % 3], [("acme", "rest-%d" % i, body)])
    around.broker_still()


def said(test, worker, words):
    with open("%s/%s.log" % (test.work, worker), errors="replace") as file:
        return words in file.read()


def judge(arguments, test, keeper, around):
    print("       reading the topics back", flush=True)
    verdict = Timeline(test)
    verdict.judge()
    verdict.judge_alone()
    report = check_verb(test, keeper, around)
    kinds = collections.Counter(kind for kind, _ in around.done)
    kills = collections.Counter(kind for _, kind, _ in keeper.deaths)
    recoveries = verdict.recoveries([d for d in keeper.deaths if d[1] == "kill"], around.broker_away, keeper.deaths)
    aborted = verdict.recoveries([d for d in keeper.deaths if d[1] == "abort"], around.broker_away, keeper.deaths)
    paused = verdict.resumed(around.pauses, around.broker_away, keeper.deaths)
    seconds = [r[0] for r in recoveries]
    extra = sum(verdict.starts.values()) - len(verdict.runs)
    print("       faults: %s" % dict(kinds))
    print("       %d workers killed, %d aborted in a poison job, %d drained; %d pauses; %d jobs, %d stream records, %d extra starts"
          % (kills["kill"], kills["abort"], kills["drain"], len(around.pauses), len(verdict.inputs), verdict.records, extra))
    beside = collections.Counter(name for _, _, name, _ in aborted)
    print("       the poison job took a worker with %d jobs begun on it at most" % max(beside.values(), default=0))
    for name, values in [("kill", recoveries), ("poison's abort", aborted)] + sorted(paused.items()):
        if values:
            print("       recovery after a %s: %d jobs, %.1f s (median), %.1f s (99 %%), %.1f s (most: %s of %s)"
                  % (name, len(values), statistics.median(v[0] for v in values), percentile([v[0] for v in values], 0.99), *max(values)[:3]))
    print("       workers' peak memory %d MiB; processor while the broker stands still: %s of a core"
          % (keeper.peak, ", ".join("%.3f" % s for s in sorted(around.away_cpu)) or "not measured"))
    both = sorted(r[0] for r in verdict.recoveries(keeper.deaths, around.broker_away, keeper.deaths))
    if both:
        theirs = report["recoveries"], report["recovery_ms_p50"] / 1000, report["recovery_ms_p99"] / 1000
        ours = len(both), both[int((len(both) - 1) * 0.5 + 0.5)], both[int((len(both) - 1) * 0.99 + 0.5)]
        check(theirs[0] == ours[0] and all(abs(a - b) < 0.01 for a, b in zip(theirs, ours)),
              "millrace check --deaths counts the same recoveries (%s, here %s)" % (theirs, ours))
    hit = [verdict.running(gone) for kind, (gone, _) in zip(around.broker_kinds, around.broker_away) if kind == "broker_kill"]
    if hit:
        check(min(hit) > 0, "every kill of a broker met running jobs (%s)" % hit)
    for name in around.stalled:
        check(said(test, name, "MAXPOLL"), "%s polled too late, and was told so" % name)
    if recoveries:
        check(percentile(seconds, 0.99) <= 10, "99 %% of the killed workers' jobs go on within 10 s (%s)" % (max(recoveries),))
    for kind, values in sorted(paused.items()):
        bound = (MAX_POLL_S if kind == "stall" else SESSION_S) + 4  # what ends the membership; a late poll is seen by the client itself
        late = percentile([v[0] for v in values], 0.99)
        check(late <= bound, "99 %% of the jobs that a %s interrupts go on within %d s (%s)" % (kind, bound, max(values)))
    judge_twice(verdict.twice({name: at for name, kind, at in keeper.deaths if kind != "drain"}), not arguments.only)
    # a poison job may come upon a worker while it drains
    wrong = [c for c in keeper.codes if c[1] == "drain" and c[2] != 0 and not (c[2] == -signal.SIGABRT and said(test, c[0], "planted.abort"))]
    check(not wrong, "every drained worker left with exit code 0 (not: %s)" % wrong)
    # one that finds no broker when it starts says so and ends with 1, and the keeper starts the next
    when = {name: at for name, _, at in keeper.deaths}
    away = lambda name: any(begin <= when[name] <= end + 2 for begin, end in around.broker_away)  # noqa: E731
    unplanned = [c for c in keeper.codes if c[1] == "abort" and c[2] != -signal.SIGABRT and not (c[2] == 1 and away(c[0]))]
    check(not unplanned, "no worker ended that nobody ended (but: %s)" % unplanned)
    check(keeper.peak < 512, "no worker grew beyond 512 MiB (%d)" % keeper.peak)
    if around.away_cpu:
        check(statistics.median(around.away_cpu) < 0.05, "a worker without its broker rests")


def judge_twice(twice, mixed):
    """What a worker that is not heard makes before it notices comes on top: it cannot know more than that nothing comes back. Faults of all
    kinds together keep to the bound without that."""
    for route in ROUTES:
        bound, all_counts = 3 if route == "realtime" else BATCH[route] / 2 + 3, []
        for how in MOVES:
            counts = [n for n, _, _ in twice[how][route]]
            all_counts += counts
            if not counts:
                continue
            words = "%s, the worker %s" % (route, {"unheard": "was not heard"}.get(how, how))
            print("       tokens generated twice, %s: %d jobs, median %d, most %d (%s of %s)"
                  % (words, len(counts), statistics.median(counts), *max(twice[how][route])))
            limit = bound + (SILENCE_S * 1000 / STEP_MS if how == "unheard" else 0)
            if len(counts) >= 5:
                check(statistics.median(counts) <= limit, "tokens generated twice, %s: median at most %d" % (words, limit))
        if mixed and len(all_counts) >= 5:
            check(statistics.median(all_counts) <= bound, "tokens generated twice, %s, all interrupted jobs (%d): median at most %d"
                  % (route, len(all_counts), bound))


def main():
    parser = argparse.ArgumentParser()
    for name in ("--bin", "--work", "--redis"):
        parser.add_argument(name, required=True)
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    arguments = parser.parse_args()
    arguments.dev_broker = False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.time()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 31)
    print("faults: seed %d" % seed, flush=True)
    jobs, poisons = (2100, 4) if arguments.long else (330, 1)
    test = Test(arguments, "faults", "synthetic:tiny", SETTINGS, 'options = ["max.poll.interval.ms=%d"];' % (MAX_POLL_S * 1000))
    keeper = Keeper(test, STEP_MS)
    try:
        check(keeper.settle(), "%d workers are ready" % WORKERS)
        around = Surroundings(arguments, random.Random(seed + 1), keeper)
        group, side = order(arguments, random.Random(seed + 2), around)
        if arguments.brokers == 1 and not arguments.disk:
            print("skipped: broker_full (no tmpfs could be mounted)")
        seconds = 9.5 * len(group) if arguments.brokers == 1 else 20 * len(group)
        load = Load(test, random.Random(seed), around, (jobs, poisons), seconds / (jobs / 6))
        load.start()
        beside = Side(around, side, seconds / max(1, len(side)) - 2)
        beside.start()
        time.sleep(2)
        for kind in group:
            print("       %5.1f s %s" % (time.time() - begin, kind), flush=True)
            around.run(kind)
            keeper.settle()
        load.over.set()
        load.join()
        beside.join()
        check(beside.error is None, "every side fault could be made (%s)" % beside.error)
        check(load.error is None, "every job could be sent (%s)" % load.error)
        around.heal()
        test.wait(400 if arguments.long else 90)
        keeper.settle()
        if arguments.brokers == 1:
            hang(test, keeper, load)
            test.wait(60)
            keeper.settle()
            rest(test, around, load)
            test.wait(60)
        results_wait(test)
        keeper.stop()
        judge(arguments, test, keeper, around)
    finally:
        keeper.end()
    print("faults: seed %d; %.0f s" % (seed, time.time() - begin))
    print("%d passed, %d failed" % (e2e.passed, e2e.failed))
    sys.exit(1 if e2e.failed else 0)


if __name__ == "__main__":
    main()
