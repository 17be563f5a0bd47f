#!/usr/bin/env python3
"""The rules of the house, checked by reading the sources: tests/tidy/run. Prints a line a violation; exit 1 if there is one.

Sizes: file <= 800 lines, function <= 70, parameters <= 6, line <= 150 columns (tests may be wider: their tables are data).
Graph: who may include whom (README, architecture); a third-party header in one file or one small family; headers compile alone.
Text: a .c over 150 lines opens with a design note; what a folder offers to others is called by a test; words that have no
place here. tests/tidy/selftest plants one violation of each kind and demands that it is found."""
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

FILE_LINES, FUNCTION_LINES, PARAMETERS, COLUMNS, NOTE_FROM = 800, 70, 6, 150, 150
FOLDERS = ("base", "kernels", "kv", "scheduler", "worker", "adapters", "tests", "deploy")
SOURCES = (".c", ".h", ".cu", ".cuh")

# room -> rooms that it may include; its own and base always.
ALLOWED = {
    "base": set(),
    "kernels": set(),
    "kv": set(),
    "kv_store": {"kernels", "kv"},
    "scheduler": {"kv"},
    "text": set(),
    "model": {"kernels", "kv", "kv_store"},
    "port": set(),
    "codec": set(),
    "worker": {"kernels", "kv", "kv_store", "scheduler", "text", "model", "port", "codec"},
    "adapters": {"port", "codec"},
}
# header prefix -> files that may include it.
THIRD_PARTY = {
    r"librdkafka/": r"^(tests/)?adapters/(kafka|dev_broker)",
    r"hiredis/": r"^adapters/redis",
    r"microhttpd\.h": r"^adapters/http",
    r"(ncurses|curses)\.h": r"^adapters/screen\.c$",
    r"jansson\.h": r"^adapters/codec/json\.c$",
    r"msgpack": r"^adapters/codec/msgpack\.c$",
    r"libconfig\.h": r"^adapters/codec/libconfig\.c$",
    r"pcre2\.h": r"^worker/text/",
    r"utf8proc\.h": r"^worker/text/",
    r"(cublas|cublasLt)": r"^kernels/cuda/",
    r"(cuda|curand|nvrtc)": r"^(kernels/cuda/|tests/gpu/|tests/bench/)",
    r"nccl": r"^kernels/cuda/",
    r"immintrin\.h|arm_neon\.h": r"^(kernels/cpu/|scheduler/|tests/(kernels|bench)/)",
}
# Functions whose parameters a library or an inner loop dictates: a callback's signature; a kernel's own pieces, which live in registers.
PARAMETERS_EXEMPT = re.compile(r"^(adapters/http\.c answer|kernels/(cpu|cuda)/\S+ (?!mr_))")
FAMILY_MAX = 10  # files of one family that share a third-party header
# Words that have no place in the repository. Assembled, so that this file does not hold them itself.
WORDS = [r"\b" + a + b + r"\b" for a, b in (("Cla", "ude"), ("Anthro", "pic"), ("Chat", "GPT"), ("LL", "M-generated"), ("AI", "-generated"))]
WORDS += ["/work" + "/", "TO" + "DO", "FIX" + "ME", r"\bX" + r"XX\b", r"\.internal" + r"\b"]
WORDS_EXEMPT = re.compile(r"^tests/(golden|data|fuzz/corpus|tidy)/")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def tracked(root):
    """Files of the tree that git tracks or would track; of a plain folder, all of them."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True).stdout
        names = out.splitlines()
    except (subprocess.CalledProcessError, FileNotFoundError):
        names = [os.path.relpath(os.path.join(d, f), root) for d, _, files in os.walk(root) for f in files]
    return sorted(n for n in names if os.path.isfile(os.path.join(root, n)))


def blank(text):
    """Comments, strings and characters become spaces; lines stay where they are."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)


def without_macros(text):
    """Preprocessor lines, continued ones too, become blank."""
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.M | re.S)


def matching(text, at, opening, closing):
    depth = 0
    for i in range(at, len(text)):
        if text[i] == opening:
            depth += 1
        elif text[i] == closing:
            depth -= 1
            if depth == 0:
                return i
    return -1


def count_parameters(text):
    depth, n = 0, 1
    for c in text:
        depth += (c in "([{<") - (c in ")]}>")
        n += c == "," and depth == 0
    return 0 if text.strip() in ("", "void") else n


def functions(text):
    """(name, line, lines, parameters) of what is defined or declared at the top level."""
    code = without_macros(blank(text))
    i, depth = 0, 0
    while i < len(code):
        c = code[i]
        if code.startswith("extern", i) and re.match(r'extern\s+{', code[i:]):
            i = code.index("{", i) + 1
            continue
        if c == "{":
            depth += 1
        elif c == "}":
            depth -= 1
        elif c == "(" and depth == 0:
            name = re.search(r"([A-Za-z_]\w*)\s*$", code[:i])
            end = matching(code, i, "(", ")")
            if end < 0:
                return
            if name and name.group(1) not in ("__attribute__", "if", "while", "for", "switch", "sizeof", "defined", "TEST", "TEST_MAIN", "_Static_assert",
                                              "_Alignas", "__launch_bounds__", "alignas"):
                rest = re.match(r"\s*(?:__attribute__\s*\(\(.*?\)\)\s*)*", code[end + 1:], flags=re.S)
                after = end + 1 + rest.end()
                line = code.count("\n", 0, i) + 1
                if after < len(code) and code[after] == "{":
                    close = matching(code, after, "{", "}")
                    if close < 0:
                        return
                    yield name.group(1), line, code.count("\n", i, close) + 1, count_parameters(code[i + 1:end])
                    i = close
                elif after < len(code) and code[after] == ";":
                    yield name.group(1), line, 0, count_parameters(code[i + 1:end])
                    i = after
                else:
                    i = end
            elif name and name.group(1) == "TEST":
                start = code.find("{", end)
                close = matching(code, start, "{", "}") if start >= 0 else -1
                if close < 0:
                    return
                yield "TEST", code.count("\n", 0, i) + 1, code.count("\n", i, close) + 1, 0
                i = close
            else:
                i = end
        i += 1


def room(path):
    """The room that a file belongs to; None: outside the graph."""
    if path.startswith("tests/") or path == "worker/main.c":
        return None
    name = os.path.splitext(os.path.basename(path))[0]
    if path.startswith("kv/"):
        return "kv_store" if name == "kv_store" else "kv"
    if path.startswith("worker/text/"):
        return "text"
    if path.startswith("worker/model/"):
        return "model"
    if path in ("worker/port.h", "worker/outside.h"):
        return "port"
    if path.startswith("adapters/codec/"):
        return "codec"
    top = path.split("/")[0]
    return top if top in ALLOWED else None


def includes(text):
    for number, line in enumerate(text.splitlines(), 1):
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if m:
            yield number, m.group(1) == "<", m.group(2)


class Report:
    def __init__(self):
        self.lines = []

    def add(self, rule, path, line, text):
        self.lines.append((rule, path, line, text))


def check_sizes(path, text, report):
    lines = text.splitlines()
    if len(lines) > FILE_LINES:
        report.add("file", path, 1, f"{len(lines)} lines, more than {FILE_LINES}")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS and not path.startswith("tests/"):
            report.add("line", path, number, f"{len(line)} columns, more than {COLUMNS}")
    for name, number, length, parameters in functions(text):
        if length > FUNCTION_LINES:
            report.add("function", path, number, f"{name} has {length} lines, more than {FUNCTION_LINES}")
        if parameters > PARAMETERS and not path.startswith("tests/") and not PARAMETERS_EXEMPT.match(f"{path} {name}"):
            report.add("parameters", path, number, f"{name} has {parameters} parameters, more than {PARAMETERS}")


def check_note(path, text, report):
    if path.endswith((".c", ".cu")) and not path.startswith("tests/") and text.count("\n") > NOTE_FROM:
        note = re.match(r"(?:#define _GNU_SOURCE[^\n]*\n|\s)*/\*(.*?)\*/", text, flags=re.S)
        if not note or note.group(1).count("\n") < 2:
            report.add("note", path, 1, f"over {NOTE_FROM} lines without a design note at its top")


def check_includes(path, text, files, report):
    mine = room(path)
    for number, system, header in includes(text):
        if system:
            for pattern, owners in THIRD_PARTY.items():
                if re.match(pattern, header) and not re.search(owners, path):
                    report.add("third-party", path, number, f"<{header}> belongs to {owners}")
        elif header not in files:
            if os.path.exists(os.path.join(os.path.dirname(path), header)):
                report.add("include", path, number, f'"{header}" must be written from the root')
        elif mine:
            other = room(header)
            if header.startswith("tests/"):
                report.add("include", path, number, f"{mine} may not include tests")
            elif other and other != mine and other != "base" and other not in ALLOWED[mine]:
                report.add("include", path, number, f"{mine} may not include {other} ({header})")


def check_families(texts, report):
    for pattern in THIRD_PARTY:
        users = [p for p, t in texts.items() if not p.startswith("tests/") and any(s and re.match(pattern, h) for _, s, h in includes(t))]
        if len(users) > FAMILY_MAX and not pattern.startswith(("immintrin", "(cuda", "(cublas")):
            report.add("third-party", users[0], 1, f"{len(users)} files include {pattern}, more than a small family ({FAMILY_MAX})")


def check_words(path, text, report):
    if WORDS_EXEMPT.match(path):
        return
    for word in WORDS:
        for m in re.finditer(word, text):
            report.add("word", path, text.count("\n", 0, m.start()) + 1, f"holds {m.group()!r}")


def check_tests(texts, report):
    """What a folder offers to others is called by some test: a header with mr_ functions that another folder includes."""
    tests = "\n".join(t for p, t in texts.items() if p.startswith("tests/"))
    wanted = {h for p, t in texts.items() if not p.startswith("tests/") for _, _, h in includes(t) if os.path.dirname(h) != os.path.dirname(p)}
    for path, text in texts.items():
        offered = [name for name, _, _, _ in functions(text) if name.startswith("mr_")] if path in wanted and room(path) else []
        if offered and f'#include "{path}"' not in tests and not any(re.search(rf"\b{name}\b", tests) for name in offered):
            report.add("test", path, 1, f"no test calls any of its {len(offered)} functions")


def check_headers(root, paths, report):
    flags = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-I", root, "-DTEST_SOURCE_DIR=\"\"", "-fsyntax-only", "-x", "c", "-"]

    def alone(path):
        source = f'#include "{path}"\n#include "{path}"\n'
        return path, subprocess.run([os.environ.get("CC", "cc")] + flags, input=source, capture_output=True, text=True)

    with ThreadPoolExecutor(2) as pool:
        for path, done in pool.map(alone, paths):
            if done.returncode:
                first = next((l for l in done.stderr.splitlines() if "error" in l), "")
                report.add("header", path, 1, f"does not compile alone: {first[:160]}")


def standalone(path, text):
    """Headers that are meant to compile alone as C: not those of CUDA, of generated or of X-macro lists."""
    return path.endswith(".h") and not path.startswith(("kernels/cuda/", "tests/gpu/")) and "Included by" not in text and "immintrin.h" not in text


def check(root):
    report = Report()
    names = [n for n in tracked(root) if n.split("/")[0] in FOLDERS or "/" not in n]
    texts = {n: read(os.path.join(root, n)) for n in names if n.endswith(SOURCES)}
    files = set(texts)
    for path, text in texts.items():
        check_sizes(path, text, report)
        check_note(path, text, report)
        check_includes(path, text, files, report)
    check_families(texts, report)
    check_tests(texts, report)
    for path in names:
        full = os.path.join(root, path)
        if os.path.getsize(full) < 1 << 20 and b"\0" not in open(full, "rb").read(4096):
            check_words(path, read(full), report)
    check_headers(root, [p for p, t in texts.items() if standalone(p, t)], report)
    return report


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", ".."))
    os.chdir(root)
    report = check(root)
    for rule, path, line, text in sorted(report.lines, key=lambda l: (l[1], l[2], l[0])):
        print(f"{path}:{line}: {rule}: {text}")
    print(f"{len(report.lines)} violations" if report.lines else "tidy: no violation")
    return 1 if report.lines else 0


if __name__ == "__main__":
    sys.exit(main())
