"""The README's fold, as it stands there, against the vectors that the C fold passes.
Usage: fold.py VECTORS.jsonl"""
import json
import os
import re
import sys

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")


def readme_fold():
    with open(README, encoding="utf-8") as page:
        code = re.search(r"```python\n(.*?class Fold.*?)```", page.read(), re.DOTALL).group(1)
    names = {}
    exec(compile(code, README, "exec"), names)
    return names["Fold"]


class Fold(readme_fold()):
    """The same, counting what it ignores by kind."""

    def __init__(self, job):
        super().__init__(job)
        self.ignored = {}

    def add(self, record):
        accepted = self.counts(record)
        if not accepted:
            self.ignored[record["kind"]] = self.ignored.get(record["kind"], 0) + 1
        return accepted


def run(case):
    fold = Fold(case["job"])
    accept = [fold.add(record) for record in case["records"]]
    return accept, fold.epoch, fold.writer, fold.seq, "%016x" % fold.ctx, fold.closed, fold.ignored


def main():
    failed = ran = 0
    for line in open(sys.argv[1], encoding="utf-8"):
        case = json.loads(line)
        got = run(case)
        want = tuple(case[k] for k in ("accept", "epoch", "writer", "seq", "ctx", "closed", "ignored"))
        ran += 1
        if got != want:
            failed += 1
            print("fold.py: %s: got %s, want %s" % (case["name"], got, want))
    print("fold.py: %d cases, %d failed" % (ran, failed))
    sys.exit(1 if failed or not ran else 0)


if __name__ == "__main__":
    main()
