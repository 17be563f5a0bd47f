"""A worker with topics of its own, loads for it, and what the topics say afterwards of every job.

Nothing here reads a topic that grows: a reader chases its end, and on a quick machine the load is over by then. While a load runs, only
the workers' /metrics are asked; times, shares and the span that counts come from the records, read once when the workers have left.
"""
import atexit
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from wire import Kafka, decode  # noqa: E402

TERMINALS = {"done", "failed", "cancelled", "expired", "duplicate", "moved"}


class Shape:
    """What the jobs of a load are like, and the worker's settings that its bound is made of."""

    def __init__(self, prompt, output, window, seqs):
        self.prompt, self.output, self.window, self.seqs = prompt, output, window, seqs
        self.service = prompt + 2 * output

    def settings(self, policy="ours", tenants="()", more="", visible=256):
        return ('scheduler = { policy = "%s"; window = %d; %s };\nengine = { max_seqs = %d; max_step_tokens = 512; threads = 1; };\n'
                'kv = { memory = "64MiB"; };\ntier = { bulk = { batch_tokens = 8; batch_wait = "20ms"; }; };\ntenants = %s;\n'
                'limits = { jobs = 8192; jobs_per_partition = %d; };\n' % (policy, self.window, more, self.seqs, tenants, visible))

    def bound(self, rate, longest):
        """B3 of scheduling.md for a tenant beside one other of its weight: 2 (Q + U) / rate + time to make room;
        U = w_in L_in + w_out K_f, K_f: all sequences are the other's."""
        return 2 * (self.window + self.prompt + 2 * self.seqs * (self.prompt + self.output)) / rate + longest


class Job:
    """An input record, and what the stream says of its run."""

    def __init__(self, tenant, partition, arrived):
        self.tenant, self.partition, self.arrived, self.tokens, self.end = tenant, partition, arrived, [], None

    def began(self):
        """When its first token left; None: not yet when the workers left."""
        return self.tokens[0][0] if self.tokens else None

    def waited(self):
        return self.began() - self.arrived


class Load:
    """Workers of one configuration and the jobs they get. They start with start(), best when work is there already. Whatever happens,
    none outlives the program."""
    all = []

    def __init__(self, arguments, name, model, shape, settings):
        name = "sched%d-%s" % (os.getpid(), name) # a broker may be used more than once
        self.kafka, self.prefix, self.bin = Kafka(os.environ["KAFKA_BOOTSTRAP"], arguments.work), name + ".", arguments.bin
        self.config, self.shape, self.random = "%s/%s.conf" % (arguments.work, name), shape, random.Random(name)
        self.logs, self.workers, self.ports, self.appended = arguments.work, [], [], {} # appended: by tenant and partition
        Load.all.append(self)
        with open(self.config, "w") as file:
            file.write('model = "%s";\nmodel_name = "m";\nkafka = { brokers = "%s"; prefix = "%s"; group = "%s"; partitions = 4; };\n%s\n'
                       % (model, self.kafka.bootstrap, self.prefix, name, settings))
        subprocess.run([self.bin, "topics", "create", "-c", self.config], check=True, stdout=subprocess.DEVNULL)

    def start(self, workers=1):
        for _ in range(workers):
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            path = "%s/%s%d.log" % (self.logs, self.prefix, len(self.workers))
            with open(path, "w") as log:
                self.workers.append(subprocess.Popen([self.bin, "worker", "-c", self.config, "--set", "http.listen=127.0.0.1:%d" % port],
                                                     stdout=log, stderr=log))
            self.ports.append(port)
        for port, worker in zip(self.ports, self.workers):
            end = time.time() + 60
            while not self.ready(port):
                if time.time() > end or worker.poll() is not None:
                    raise SystemExit("a worker does not come up: its log is %s" % path)
                time.sleep(0.05)

    def ready(self, port):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/readyz" % port, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        """What they have not done stays undone: the verdict has seen enough."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def stop(self):
        """They leave in order: what is done is in the topics."""
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()

    def metrics(self):
        """Of every worker, as text."""
        texts = []
        for port in self.ports:
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=20) as answer:
                texts.append(answer.read().decode())
        return texts

    def tenant(self, name, figure="finished_total"):
        """A figure of the tenant, summed over the workers."""
        found = [re.search(r'^millrace_tenant_%s\{tenant="%s"\} (\S+)$' % (figure, name), text, re.M) for text in self.metrics()]
        return sum(int(float(match.group(1))) for match in found if match)

    def ended(self, name):
        """Jobs of the tenant that have an outcome."""
        return sum(int(n) for text in self.metrics() for n in re.findall(r'^millrace_jobs_total\{[^}]*tenant="%s",[^}]*\} (\d+)$' % name, text, re.M))

    def send(self, tenant, n, partition=0, route="bulk", shape=None):
        """n jobs with random prompts, none with another's beginning."""
        shape, lines, before = shape or self.shape, [], self.appended.get((tenant, partition), 0)
        for i in range(before, before + n):
            lines.append(json.dumps({"id": "%s-%d-%d" % (tenant, partition, i), "tenant": tenant, "max_tokens": shape.output, "ignore_eos": True,
                                     "prompt": self.random.choices(range(250), k=shape.prompt), "temperature": 0}) + "\n")
        subprocess.run(["kcat", "-P", "-b", self.kafka.bootstrap, "-t", self.prefix + "jobs." + route, "-p", str(partition), "-k", tenant,
                        "-X", "linger.ms=0"], input="".join(lines).encode(), check=True)
        self.appended[tenant, partition] = before + n

    def keep(self, tenant, ahead, *partitions):
        """So many of its jobs are to be unfinished in each of the partitions at least, however quick the machine is."""
        finished = self.tenant(tenant)
        for partition in partitions:
            missing = ahead - (self.appended.get((tenant, partition), 0) - finished)
            if missing > ahead // 8: # not for every few
                self.send(tenant, missing + ahead // 8, partition)

    def until(self, what, wanted, seconds, meanwhile=lambda: None):
        """Until what() is so much."""
        end = time.time() + seconds
        while what() < wanted:
            if time.time() > end or any(worker.poll() is not None for worker in self.workers):
                raise SystemExit("%d of %d after %d s: workers' logs are in %s" % (what(), wanted, seconds, self.logs))
            meanwhile()
            time.sleep(0.05)

    def until_finished(self, tenant, wanted, meanwhile=lambda: None):
        self.until(lambda: self.tenant(tenant), wanted, 240, meanwhile)

    def refusals(self):
        """The errors among the results."""
        results = (decode(r.value) for r in self.kafka.read(self.prefix + "results"))
        return [result["error"] for result in results if result.get("error")]

    def jobs(self, route="bulk"):
        """Every job of the route, in the order of its records. Times are the records' (seconds)."""
        jobs = {"%d/%d.%d" % (r.partition, r.offset, r.timestamp): Job(r.key.decode(), r.partition, r.timestamp / 1000)
                for r in self.kafka.read(self.prefix + "jobs." + route)}
        for r in self.kafka.read(self.prefix + "stream." + route):
            record = decode(r.value)
            job = jobs["%d/%s" % (r.partition, record["src"])]
            if record["kind"] == "tok":
                job.tokens.append((r.timestamp / 1000, len(record["ids"])))
            elif record["kind"] in TERMINALS:
                job.end = record["kind"]
        return list(jobs.values())


def begins(jobs):
    """When the first of them began."""
    return min(job.began() for job in jobs if job.tokens)


def backlogged(groups, begin=0):
    """The longest span after `begin` in which every group of jobs had one that had arrived and not begun: what a share can be judged by.
    It ends with the last token at the latest."""
    last = max(job.tokens[-1][0] for group in groups for job in group if job.tokens)
    events = [(job.arrived, i, 1) for i, group in enumerate(groups) for job in group]
    events += [(job.began(), i, -1) for i, group in enumerate(groups) for job in group if job.tokens]
    waiting, best, since = [0] * len(groups), (0, 0), None
    for at, i, change in sorted(events) + [(last, 0, 0)]:
        if since is not None and min(at, last) - since > best[1] - best[0]:
            best = (since, min(at, last))
        waiting[i] += change
        since = None if not all(waiting) else max(at, begin) if since is None else since
    return best


def service(jobs, shape, begin, end):
    """What the jobs were served between two moments: a prompt with its first token, outputs as they left."""
    total = 0
    for job in jobs:
        if job.tokens:
            total += shape.prompt * (begin <= job.began() < end) + 2 * sum(n for at, n in job.tokens if begin <= at < end)
    return total


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * (len(values) - 1) + 0.5))]


def share(jobs, rest, shape, span):
    """The jobs' part of what they and the rest were served within the span."""
    mine = service(jobs, shape, *span)
    return mine / max(1, mine + service(rest, shape, *span))


@atexit.register
def end_all():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for load in Load.all:
        load.kill()
