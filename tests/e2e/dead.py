"""Dead letters and replays through a real worker: jobs that fail die, are listed, redriven under a new name and run; what the worker made
is the same again when it is replayed from the topics. Started by tests/e2e/dead."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import e2e  # noqa: E402

check = e2e.check


def verb(test, *words, code=0):
    """A verb's JSON lines."""
    done = subprocess.run([test.bin, *words, "-c", test.config, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != code:
        check(False, "millrace %s exits with %d: %s" % (" ".join(words), done.returncode, done.stderr.decode()[-300:]))
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def results_of(test):
    return {r.key.decode(): json.loads(r.value) for r in test.kafka.read(test.topic("results"))}


def wait_for(test, names, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        found = results_of(test)
        if all(name in found for name in names):
            return found
        time.sleep(0.3)
    check(False, "results of %s" % ", ".join(name for name in names if name not in found))
    return found


def redrive(test):
    """A job that the worker's limits refuse; then a worker with wider ones."""
    letters = {letter["job"]: letter for letter in verb(test, "dead", "list")}
    nameless = [name for name in letters if name.startswith("default/%sjobs.bulk.1." % test.prefix)] # what cannot be decoded has its place as name
    check(set(letters) - set(nameless) == {"acme/long", "acme/odd"} and len(nameless) == 1, "three letters: %s" % sorted(letters))
    check(letters["acme/long"]["reason"] == "prompt_too_long" and letters["acme/odd"]["reason"] == "unknown_field", "with their reasons")
    shown = verb(test, "dead", "show", "acme/long")
    check(len(shown) == 1 and shown[0]["value"]["id"] == "long" and shown[0]["value"]["prompt"] == "x" * 300, "a letter holds its job")
    sent = verb(test, "dead", "redrive", "--reason", "prompt_too_long", "--tenant", "acme")
    check([s["redriven_as"] for s in sent] == ["acme/long~r1"], "redriven by reason and tenant: %s" % sent)
    again = verb(test, "dead", "redrive", "acme/long")
    check([s["redriven_as"] for s in again] == ["acme/long~r1"], "redriven twice, it has one name")
    refused = verb(test, "dead", "redrive", nameless[0], code=1)
    check("--raw" in refused[0].get("error", ""), "bytes that cannot be decoded are not redriven")
    test.sent += 2


def suffix_is_refused(test):
    """A client cannot take a redrive's name."""
    test.kafka.send_lines(test.topic("jobs.standard"), [("k", json.dumps({"id": "long~r2", "tenant": "acme", "prompt": "a"}))])
    test.sent += 1


def replay(test):
    for name in ("acme/greedy", "acme/seeded", "acme/chat"):
        lines = verb(test, "replay", "--stored", name)
        check(lines and lines[0]["verdict"] == "same" and lines[0]["tokens"] > 0, "%s replayed from the topics: %s" % (name, lines))
    lines = verb(test, "replay", "--stored", "acme/greedy", "--set", "engine.precision=fast", code=1)
    check(lines and lines[0]["verdict"] == "refused" and "kernel path" in lines[0]["reason"], "another kernel path is refused by name")
    lines = verb(test, "replay", "--stored", "acme/greedy", "--set", "engine.seed=9", code=1)
    check(lines and lines[0]["verdict"] == "refused" and "model" in lines[0]["reason"], "another model is refused by name")


def judge(test):
    report = verb(test, "check")[0]
    check(report["violations"] == 0 and report["lost"] == 0 and report["duplicates"] == 0, "millrace check: %s" % report["complaints"][:3])
    check(report["jobs"] == test.sent, "it saw every job (%d of %d)" % (report["jobs"], test.sent))
    plain = subprocess.run([test.bin, "check", "--brokers", test.kafka.bootstrap, "--prefix", test.prefix, "--json"], stdout=subprocess.PIPE)
    stranger = json.loads(plain.stdout.decode() or "{}")
    check(plain.returncode == 0 and stranger == report, "a stranger who knows the broker alone sees the same")
    outcomes = report["outcomes"]
    check(outcomes.get("duplicate") == 1, "a letter redriven twice ran once (%s)" % outcomes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--redis", default="")
    parser.add_argument("--dev-broker", action="store_true")
    test = e2e.Test(parser.parse_args(), "dead", "synthetic:tiny", "engine = { threads = 1; };\nlimits = { prompt_tokens = 200; };")
    jobs = [("realtime", {"id": "greedy", "prompt": "river", "max_tokens": 12, "temperature": 0, "return_token_ids": True}),
            ("standard", {"id": "seeded", "prompt": "mill", "max_tokens": 9, "seed": 5, "logprobs": 2}),
            ("bulk", {"id": "chat", "prompt": "stone", "max_tokens": 20, "frequency_penalty": 1}),
            ("standard", {"id": "long", "prompt": "x" * 300, "max_tokens": 4}),
            ("realtime", {"id": "odd", "prompt": "a", "no_such_field": 1})]
    worker = e2e.Worker(test)
    try:
        check(worker.ready(), "a worker is ready")
        for route, body in jobs:
            test.kafka.send_lines(test.topic("jobs." + route), [("acme/" + body["id"], json.dumps(dict(body, tenant="acme")))])
        test.kafka.send_bytes(test.topic("jobs.bulk"), [b"{not json"], partition=1)
        test.sent += len(jobs) + 1
        wait_for(test, ["acme/" + body["id"] for _, body in jobs])
        test.wait(30)
        check(worker.stop(signal.SIGTERM) == 0, "it drains")
        with open(test.config) as file:
            text = file.read()
        with open(test.config, "w") as file:
            file.write(text.replace("prompt_tokens = 200", "prompt_tokens = 400"))
        redrive(test)
        suffix_is_refused(test)
        worker = e2e.Worker(test)
        check(worker.ready(), "a worker with wider limits is ready")
        found = wait_for(test, ["acme/long~r1"])
        check(found.get("acme/long~r1", {}).get("usage", {}).get("completion_tokens") == 4, "the redriven job ran")
        test.wait(30)
        reasons = {letter["job"]: letter["reason"] for letter in verb(test, "dead", "list")}
        check("invalid_id" in reasons.values(), "a client's own ~r2 is refused (%s)" % reasons)
        check(worker.stop(signal.SIGTERM) == 0, "it drains")
        replay(test)
        judge(test)
    finally:
        worker.process.kill()
    print("%d passed, %d failed" % (e2e.passed, e2e.failed))
    sys.exit(e2e.failed > 0)


if __name__ == "__main__":
    main()
