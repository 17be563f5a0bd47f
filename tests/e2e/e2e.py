"""Jobs through real workers, and a verdict from the topics alone. Started by tests/e2e/run."""
import argparse
import collections
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "worker"))
from fold import Fold  # noqa: E402
from wire import Kafka, decode, pack  # noqa: E402

ROUTES = ["realtime", "standard", "bulk"]
TERMINALS = {"done", "failed", "cancelled", "expired", "duplicate", "moved"}
passed = failed = 0


def check(condition, sentence):
    global passed, failed
    passed, failed = passed + bool(condition), failed + (not condition)
    print("%s %s" % ("ok    " if condition else "FAILED", sentence), flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    count = 0

    def __init__(self, test, environment=None):
        Worker.count += 1
        self.name, self.port = "w%d" % Worker.count, free_port()
        self.log = open("%s/%s.log" % (test.work, self.name), "w")
        self.process = subprocess.Popen(
            [test.bin, "worker", "-c", test.config, "--set", "worker.id=" + self.name, "--set", "http.listen=127.0.0.1:%d" % self.port],
            stdout=self.log, stderr=self.log, env=dict(os.environ, **(environment or {})))

    def get(self, path):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d%s" % (self.port, path), timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def ready(self, seconds=60):
        end = time.time() + seconds
        while time.time() < end and self.process.poll() is None:
            if self.get("/readyz")[0] == 200:
                return True
            time.sleep(0.1)
        return False

    def stop(self, number, seconds=60):
        self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


class Test:
    """One configuration with topics of its own, its workers, and what is expected of its jobs."""

    def __init__(self, arguments, name, model, settings="", kafka=""):
        self.bin, self.work, self.prefix = arguments.bin, arguments.work, name + "."
        self.kafka, self.redis = Kafka(os.environ["KAFKA_BOOTSTRAP"], arguments.work), arguments.redis
        self.config, self.model = "%s/%s.conf" % (arguments.work, name), model
        self.settings, self.dev_broker = settings, arguments.dev_broker
        self.jobs = []        # (route, id, body) of greedy jobs whose text is compared
        self.expected = {}    # tenant/id -> allowed terminal kinds
        self.bad = []         # Bad
        self.sent = 0
        with open(self.config, "w") as file:
            file.write('model = "%s";\nmodel_name = "m";\nkafka = { brokers = "%s"; prefix = "%s"; group = "%s"; partitions = 4; %s };\n'
                       'redis = { address = "%s"; };\n%s\n'
                       % (model, self.kafka.bootstrap, self.prefix, name, kafka, self.redis, settings))
        if not arguments.dev_broker:
            subprocess.run([self.bin, "topics", "create", "-c", self.config], check=True, stdout=subprocess.DEVNULL)

    def topic(self, name):
        return self.prefix + name

    def send(self, route, jobs, encoding="json"):
        """jobs: (tenant, id, body)."""
        for tenant, name, body in jobs:
            self.jobs.append((route, name, body))
            self.expected["%s/%s" % (tenant, name)] = {"done"}
        bodies = [dict(body, id=name, tenant=tenant) for tenant, name, body in jobs]
        if encoding == "json":
            self.kafka.send_lines(self.topic("jobs." + route), [(b["tenant"] + "/" + b["id"], json.dumps(b)) for b in bodies])
        else:
            self.kafka.send_bytes(self.topic("jobs." + route), [pack(b) for b in bodies], headers=["content-type=application/msgpack"])
        self.sent += len(jobs)

    def unfinished(self):
        """Input records without a terminal in the stream, by a count of distinct sources."""
        closed = set()
        for route in ROUTES:
            for r in self.kafka.read(self.topic("stream." + route)):
                if r.headers.get("mr-kind") in TERMINALS:
                    closed.add((route, r.partition, r.headers["mr-src"]))
        return self.sent - len(closed)

    def wait(self, seconds):
        end = time.time() + seconds
        left = self.unfinished()
        while left > 0 and time.time() < end:
            time.sleep(1)
            left = self.unfinished()
        check(left == 0, "every job has ended (%d have not)" % left)


class Verdict:
    """The topics of a test, folded."""

    def __init__(self, test):
        self.test = test
        self.runs = {}          # (route, partition, src) -> (fold, ids, text, terminal)
        self.starts = collections.Counter()
        self.records = 0
        for route in ROUTES:
            for r in test.kafka.read(test.topic("stream." + route)):
                self.take(route, r)
        self.inputs = {}
        for route in ROUTES:
            for r in test.kafka.read(test.topic("jobs." + route)):
                self.inputs[(route, r.partition, "%d.%d" % (r.offset, r.timestamp))] = r
        self.results = collections.defaultdict(dict) # key -> src -> set of values
        for r in test.kafka.read(test.topic("results")):
            self.results[r.key.decode()].setdefault(decode(r.value)["millrace"]["src"], set()).add(r.value)
        self.dead = test.kafka.read(test.topic("dead"))

    def take(self, route, r):
        record = decode(r.value)
        key = (route, r.partition, record["src"])
        if key not in self.runs:
            self.runs[key] = [Fold(record["job"]), [], "", None, record["job"]]
        run = self.runs[key]
        self.records += 1
        if not run[0].add(record):
            return
        if record["kind"] == "start":
            self.starts[record["cause"]] += 1
        if record["kind"] == "tok":
            run[1] += record["ids"]
        run[2] += record.get("text", "")
        if record["kind"] in TERMINALS:
            run[3] = record

    def result_of(self, key):
        """The one result of a run, or None."""
        values = self.results.get(self.runs[key][4], {}).get(key[2], set())
        return decode(next(iter(values))) if len(values) == 1 else None

    def judge(self):
        t = self.test
        folded = sum(sum(run[0].ignored.values()) for run in self.runs.values())
        print("       %d stream records of %d runs; starts %s; %d records beside the fold"
              % (self.records, len(self.runs), dict(self.starts), folded), flush=True)
        check(set(self.runs) == set(self.inputs), "every input record has a run, and every run its input record (%d)" % len(self.inputs))
        open_runs = [k for k, run in self.runs.items() if not run[0].closed]
        check(not open_runs, "every run is closed by one terminal, without gap or repeat (open: %s)" % open_runs[:3])
        wrong = [(run[4], run[0].closed) for run in self.runs.values() if run[4] in t.expected and run[0].closed not in t.expected[run[4]]]
        check(not wrong, "every outcome is what it should be (not: %s)" % wrong[:3])
        self.judge_results()
        self.judge_bad()

    def judge_results(self):
        wrong = []
        for key, run in self.runs.items():
            result, kind = self.result_of(key), run[0].closed
            if kind == "duplicate" or (kind == "failed" and run[3].get("reason") == "id_conflict"):
                continue
            if not result:
                wrong.append((run[4], "result missing or not always the same bytes"))
            elif kind in ("done", "cancelled") and (result["choices"][0]["text"] != run[2] or result["usage"]["completion_tokens"] != len(run[1])):
                wrong.append((run[4], "result differs from its stream"))
            elif kind == "done" and result["choices"][0].get("token_ids", run[1]) != run[1]:
                wrong.append((run[4], "token ids differ from the stream's"))
        check(not wrong, "every result is there and says what its stream says (not: %s)" % wrong[:3])

    def judge_bad(self):
        """Each bad job: terminal, result and dead letter under one reason, with a sentence that names the field."""
        runs = {self.inputs[key].value: key for key in self.runs if key in self.inputs}
        letters = collections.defaultdict(list)
        for r in self.dead:
            letters[r.value].append(r.headers)
        for bad in self.test.bad:
            key = runs.get(bad.value)
            end = self.runs[key][3] if key else {}
            faults = []
            if end.get("kind") != "failed" or end.get("reason") != bad.reason or (end.get("field") or "") != bad.field:
                faults.append("terminal %s %s %s" % (end.get("kind"), end.get("reason"), end.get("field")))
            if len(end.get("message") or "") < 10 or bad.field not in end["message"]:
                faults.append("message %s" % end.get("message"))
            found = letters[bad.value] # a worker that was killed in between leaves its successor to write it again
            if not found or any(h.get("mr-dead-reason") != bad.reason or h.get("mr-dead-field", "") != bad.field for h in found):
                faults.append("dead letters %s" % found)
            result = self.result_of(key) if key else None
            if bad.reason != "id_conflict" and (not result or result["error"]["code"] != bad.reason or (result["error"]["param"] or "") != bad.field):
                faults.append("result %s" % result)
            check(not faults, "bad: %s: %s%s" % (bad.what, bad.reason, ", not: %s" % faults if faults else ""))
        failed = collections.Counter(run[3]["reason"] for run in self.runs.values() if run[0].closed == "failed")
        wanted = collections.Counter(bad.reason for bad in self.test.bad)
        others = set(letters) - {bad.value for bad in self.test.bad}
        check(failed == wanted and not others, "nothing else failed, and no other letter is dead (%d)" % len(self.dead))

    def judge_alone(self):
        """Every greedy text against the one that the job gets alone."""
        t = self.test
        path = "%s/alone.jsonl" % t.work
        with open(path, "w") as file:
            for _, name, body in t.jobs:
                file.write(json.dumps(dict(body, id=name)) + "\n")
        out = subprocess.run([t.bin, "run", "--model", t.model, "--model-name", "m", "--max-seqs", "1", "--threads", "1", path], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL).stdout.decode()
        alone = {r["id"]: r["choices"][0] for r in map(json.loads, out.splitlines()) if "choices" in r}
        different, compared = [], 0
        for key, run in self.runs.items():
            name = run[4].split("/")[1]
            if run[0].closed == "done" and name in alone:
                compared += 1
                if alone[name]["text"] != run[2] or alone[name]["token_ids"] != run[1]:
                    different.append(name)
        check(compared and not different, "%d greedy texts are those that the jobs get alone (not: %s)" % (compared, different[:3]))


def body_of(rng, tokens):
    prompt = " ".join(rng.choice(["river", "mill", "stone", "wheel", "grain", "näher", "水"]) for _ in range(rng.randrange(1, 12)))
    return {"model": "m", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "return_token_ids": True}


Bad = collections.namedtuple("Bad", "what value reason field headers", defaults=[()])
MSGPACK = ("content-type=application/msgpack",)

# Every kind of bad input, by name; the limits are e2e's own (records of 64 KiB, a context of 4,096).
BAD = [
    Bad("malformed JSON", b"{not json", "invalid_encoding", ""),
    Bad("JSON that goes on after its value", b'{"id":"bad-more","prompt":"a"} {}', "invalid_encoding", ""),
    Bad("a key twice", b'{"id":"bad-twice","prompt":"a","prompt":"b"}', "invalid_encoding", ""),
    Bad("malformed msgpack", b"\xc1\xff\xff", "invalid_encoding", ""),
    Bad("msgpack that ends too early", pack({"id": "bad-short", "prompt": "abc"})[:-2], "invalid_encoding", "", MSGPACK),
    Bad("no object", b"[1,2,3]", "invalid_encoding", "", ("content-type=application/json",)),
    Bad("no value", None, "invalid_encoding", ""),
    Bad("deep nesting, JSON", b'{"id":"bad-deep","prompt":"a","metadata":' + b'{"a":' * 40 + b"1" + b"}" * 41, "too_deep", ""),
    Bad("deep nesting, msgpack", b"\x81\xa8metadata" + b"\x91" * 40 + b"\xc0", "too_deep", ""),
    Bad("an array of 4 billion elements", b"\xdd\xff\xff\xff\xff", "invalid_encoding", ""),
    Bad("a map of 4 billion pairs", b"\xdf\xff\xff\xff\xff\xa1a", "invalid_encoding", ""),
    Bad("a string of 4 billion bytes", b"\x81\xa6prompt\xdb\xff\xff\xff\xffab", "invalid_encoding", ""),
    Bad("unknown field", b'{"id":"bad-field","prompt":"a","no_such_field":1}', "unknown_field", "no_such_field"),
    Bad("a field that is not implemented", b'{"id":"bad-n","prompt":"a","n":2}', "unsupported_field", "n"),
    Bad("wrong type", b'{"id":"bad-type","prompt":"a","max_tokens":"many"}', "wrong_type", "max_tokens"),
    Bad("number out of range", b'{"id":"bad-range","prompt":"a","temperature":99}', "out_of_range", "temperature"),
    Bad("no prompt", b'{"id":"bad-none"}', "missing_field", "prompt"),
    Bad("empty prompt", b'{"id":"bad-empty","prompt":""}', "empty_prompt", "prompt"),
    Bad("no messages", b'{"id":"bad-messages","messages":[]}', "empty_prompt", "messages"),
    Bad("prompt longer than the context", b'{"id":"bad-long","prompt":"' + b"x" * 5000 + b'"}', "prompt_too_long", "prompt"),
    Bad("a token that is not in the vocabulary", b'{"id":"bad-token","prompt":[1,99999999]}', "invalid_token", "prompt"),
    Bad("unknown model", b'{"id":"bad-model","prompt":"a","model":"other"}', "unknown_model", "model"),
    Bad("invalid UTF-8, JSON", b'{"id":"bad-utf8","prompt":"\xff\xfe"}', "invalid_utf8", ""),
    Bad("invalid UTF-8, msgpack", b"\x82\xa2id\xa5bad-u\xa6prompt\xa2\xff\xfe", "invalid_utf8", "", MSGPACK),
    Bad("an id with a blank", b'{"id":"bad 6","prompt":"a"}', "invalid_id", "id"),
    Bad("record too large", b'{"id":"bad-large","prompt":"' + b"y" * 70000 + b'"}', "too_large", ""),
    Bad("unknown content type", b'{"id":"bad-content","prompt":"a"}', "invalid_encoding", "content-type", ("content-type=text/html",)),
]


def send_odd(test, rng):
    """Bad jobs, a duplicate, a conflict, and jobs that are cancelled."""
    for i, bad in enumerate(BAD):
        topic = test.topic("jobs." + ROUTES[i % 3])
        if bad.value is None:
            test.kafka.send_no_value(topic, "nobody")
        else:
            test.kafka.send_bytes(topic, [bad.value], headers=bad.headers)
    test.bad += BAD
    test.sent += len(BAD)
    first = dict(body_of(rng, 8), id="twin", tenant="acme")
    other = dict(first, prompt="something else")
    test.kafka.send_bytes(test.topic("jobs.standard"), [json.dumps(j).encode() for j in (first, first, other)], partition=1, key="acme/twin")
    test.bad.append(Bad("a used id with another body", json.dumps(other).encode(), "id_conflict", "id"))
    test.sent += 3
    cancelled = [("acme", "cancel-%d" % i, dict(body_of(rng, 3500))) for i in range(12)]
    test.send("bulk", cancelled)
    test.jobs = test.jobs[:-len(cancelled)]
    for tenant, name, _ in cancelled:
        test.expected["%s/%s" % (tenant, name)] = {"cancelled", "done"}
    test.kafka.send_lines(test.topic("control"), [("acme/" + name, json.dumps({"v": 1, "kind": "cancel", "job": "acme/" + name, "by": "e2e"}))
                                                  for _, name, _ in cancelled])


def send_jobs(test, rng, first, n):
    by_route = collections.defaultdict(list)
    for i in range(first, first + n):
        tokens = 400 if i % 20 == 0 else rng.randrange(2, 40)
        by_route["bulk" if i % 20 == 0 else ROUTES[i % 3]].append((rng.choice(["acme", "globex"]), "job-%d" % i, body_of(rng, tokens)))
    for route, jobs in by_route.items():
        test.send(route, jobs)


def check_states(test, verdict):
    host, port = test.redis.rsplit(":", 1)
    names = [run[4] for run in verdict.runs.values() if run[0].closed == "done" and run[4] in test.expected][:20]
    states = [subprocess.run(["redis-cli", "-h", host, "-p", port, "hget", "mr:{%s}" % name, "state"], stdout=subprocess.PIPE).stdout.decode().strip()
              for name in names]
    check(names and set(states) == {"done"}, "Redis says so too, for %d jobs (%s)" % (len(names), set(states)))


def check_verb(test):
    """The program's own judge must agree."""
    out = subprocess.run([test.bin, "check", "-c", test.config, "--json"], stdout=subprocess.PIPE).stdout.decode()
    try:
        report = json.loads(out)
        print("       millrace check: %s" % out.strip()[:300])
        check(report["violations"] == 0 and report["lost"] == 0, "millrace check finds nothing violated and nothing lost")
    except ValueError:
        check(False, "millrace check answers in JSON")


def check_rest(test):
    """A new worker over the finished topics has nothing to do: everything was committed."""
    before = sum(len(test.kafka.read(test.topic("stream." + route))) for route in ROUTES)
    worker = Worker(test)
    check(worker.ready(), "a new worker becomes ready")
    status, metrics = worker.get("/metrics")
    check(status == 200 and "millrace_" in metrics and worker.get("/healthz")[0] == 200, "it answers /metrics and /healthz")
    time.sleep(3)
    after = sum(len(test.kafka.read(test.topic("stream." + route))) for route in ROUTES)
    check(before == after, "and finds nothing to do: every offset is committed (%d records more)" % (after - before))
    check(worker.stop(signal.SIGTERM) == 0, "it drains and leaves with exit code 0")


def kill_broker(data):
    """kill -9, and started again at once on what it had written."""
    with open(data + "/1.pid") as file:
        os.kill(int(file.read()), signal.SIGKILL)
    time.sleep(0.5)
    subprocess.run([os.path.join(here, "..", "..", "deploy", "kafka", "start"), "--data", data], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def tiny(arguments):
    rng = random.Random(20240601)
    test = Test(arguments, "e2e", "synthetic:tiny", "engine = { threads = 1; max_seqs = 16; };\nlimits = { record = \"64KiB\"; };")
    workers = [Worker(test)] if arguments.calm else [Worker(test), Worker(test)]
    try:
        check(all(w.ready() for w in workers), "%d worker(s) ready" % len(workers))
        step = max(arguments.jobs // 4, 1)
        send_jobs(test, rng, 0, step)
        send_odd(test, rng)
        test.send("realtime", [("acme", "packed-%d" % i, body_of(rng, 12)) for i in range(20)], encoding="msgpack")
        send_jobs(test, rng, step, step)
        if not arguments.calm:
            code = workers[0].stop(signal.SIGTERM)
            check(code == 0, "a drained worker leaves with exit code 0 (%s)" % code)
            workers[0] = Worker(test)
        send_jobs(test, rng, 2 * step, step)
        if arguments.kill_broker:
            workers[0].ready() # a worker that finds no broker when it starts ends and says so
            kill_broker(arguments.kill_broker)
        if not arguments.calm:
            workers[0].ready()
            send_jobs(test, rng, 3 * step, step)
            workers[1].stop(signal.SIGKILL)
            workers[1] = Worker(test)
        else:
            send_jobs(test, rng, 3 * step, step)
        test.wait(300)
        for w in workers:
            check(w.stop(signal.SIGTERM) == 0, "worker %s drains and leaves with exit code 0" % w.name)
        verdict = Verdict(test)
        verdict.judge()
        if not arguments.calm:
            check(verdict.starts["takeover"] > 0, "jobs were taken over in the middle (%d)" % verdict.starts["takeover"])
        check(verdict.results.get("acme/twin") and len(verdict.results["acme/twin"]) == 1, "of two twins one ran")
        outcomes = collections.Counter(run[0].closed for run in verdict.runs.values())
        print("       outcomes: %s" % dict(outcomes))
        check(outcomes["duplicate"] == 1, "and the other is a duplicate")
        verdict.judge_alone()
        check_states(test, verdict)
        check_verb(test)
        if not arguments.dev_broker:
            check_rest(test)
    finally:
        for w in workers:
            if w.process.poll() is None:
                w.process.kill()
                w.process.wait()


def real_model(arguments):
    model = os.environ.get("MILLRACE_TEST_MODEL")
    if not model or not arguments.model_jobs or arguments.dev_broker:
        print("skipped: the real model (MILLRACE_TEST_MODEL)")
        return
    rng = random.Random(7)
    test = Test(arguments, "e2em", model, "engine = { threads = 1; };\nkv = { memory = \"256MiB\"; };")
    workers = [Worker(test), Worker(test)]
    try:
        check(all(w.ready() for w in workers), "two workers with the real model are ready")
        jobs = [("acme", "real-%d" % i, body_of(rng, 24)) for i in range(arguments.model_jobs)]
        for i, route in enumerate(ROUTES):
            test.send(route, jobs[i::3])
        time.sleep(2)
        workers[0].stop(signal.SIGKILL)
        workers[0] = Worker(test)
        test.wait(240)
        for w in workers:
            check(w.stop(signal.SIGTERM) == 0, "worker %s drains and leaves with exit code 0" % w.name)
        verdict = Verdict(test)
        verdict.judge()
        verdict.judge_alone()
    finally:
        for w in workers:
            if w.process.poll() is None:
                w.process.kill()
                w.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--model-jobs", type=int, default=50)
    parser.add_argument("--kill-broker", help="the data folder of the Kafka to kill in the middle")
    parser.add_argument("--calm", action="store_true")
    parser.add_argument("--dev-broker", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers are ended
    start = time.time()
    tiny(arguments)
    real_model(arguments)
    print("e2e: %.0f s; %d passed, %d failed" % (time.time() - start, passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
