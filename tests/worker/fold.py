"""The fold of a run's stream records in Python, for clients in any language to copy; and its check against the shared vectors.
Usage: fold.py VECTORS.jsonl"""
import json
import sys


def fnv(h, data):
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def hex16(number):
    return "%016x" % number


class Fold:
    def __init__(self, job):
        self.epoch, self.writer, self.seq, self.closed, self.ignored = 0, hex16(0), 0, None, {}
        self.ctx = fnv(0xCBF29CE484222325, job.encode())

    def counts(self, r):
        if self.closed:
            return False
        if r["kind"] == "start":
            if r["epoch"] <= self.epoch:
                return False
            self.epoch, self.writer = r["epoch"], r["writer"]
            return True
        if self.epoch == 0 or (r["epoch"], r["writer"]) != (self.epoch, self.writer):
            return False
        if r["kind"] == "yield":
            return True
        if r["kind"] == "tok":
            ctx = self.ctx
            for token in r["ids"]:
                ctx = fnv(ctx, r["choice"].to_bytes(4, "little") + token.to_bytes(4, "little"))
            if not r["ids"] or r["seq"] != self.seq or r["ctx"] != hex16(ctx):
                return False
            self.seq, self.ctx = self.seq + len(r["ids"]), ctx
            return True
        if r["n"] != self.seq or r["ctx"] != hex16(self.ctx):
            return False
        self.closed = r["kind"]
        return True

    def add(self, r):
        accepted = self.counts(r)
        if not accepted:
            self.ignored[r["kind"]] = self.ignored.get(r["kind"], 0) + 1
        return accepted


def main():
    failed = ran = 0
    for line in open(sys.argv[1], encoding="utf-8"):
        case = json.loads(line)
        fold = Fold(case["job"])
        accept = [fold.add(r) for r in case["records"]]
        got = (accept, fold.epoch, fold.writer, fold.seq, hex16(fold.ctx), fold.closed, fold.ignored)
        want = tuple(case[k] for k in ("accept", "epoch", "writer", "seq", "ctx", "closed", "ignored"))
        ran += 1
        if got != want:
            failed += 1
            print("fold.py: %s: got %s, want %s" % (case["name"], got, want))
    print("fold.py: %d cases, %d failed" % (ran, failed))
    sys.exit(1 if failed or not ran else 0)


if __name__ == "__main__":
    main()
