#!/usr/bin/env python3
"""Plants one violation of every kind in a small house and demands that tidy.py finds each, and nothing in the clean one."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy

CLEAN = {
    "base/str.h": "#include <stddef.h>\nsize_t mr_str_length(const char *s);\n",
    "base/str.c": '#include "base/str.h"\nsize_t mr_str_length(const char *s)\n{\n    return s[0] == \'{\' ? 1 : 0; /* "}" */\n}\n',
    "kv/pool.h": '#include "base/str.h"\nint mr_pool_take(void);\n',
    "adapters/kafka.c": "#include <librdkafka/rdkafka.h>\n",
    "tests/base/str_test.c": '#include "base/str.h"\n#include "kv/pool.h"\nint main(void) { return (int)mr_str_length("") + mr_pool_take(); }\n',
}
LONG = "int f(void)\n{\n" + "    ;\n" * 70 + "}\n"
PLANTED = [
    ("file", {"base/big.c": "/* a\n b\n c */\n" + "int x;\n" * 800}),
    ("line", {"base/wide.c": "int x; /* " + "x" * 150 + " */\n"}),
    ("function", {"base/long.c": LONG}),
    ("function", {"tests/base/long_test.c": LONG.replace("int f(void)", "TEST(long)")}),
    ("parameters", {"base/many.h": "int f(int a, int b, int c, int d, int e, int (*f)(int, int), int g);\n"}),
    ("note", {"base/bare.c": "int x;\n" * 151}),
    ("include", {"kernels/a.c": '#include "kv/pool.h"\n'}),
    ("include", {"worker/text/a.c": '#include "worker/job.h"\n', "worker/job.h": "int mr_job_x;\n"}),
    ("include", {"base/a.c": '#include "tests/t.h"\n', "tests/t.h": ""}),
    ("include", {"base/a.c": '#include "near.h"\n', "base/near.h": ""}),
    ("third-party", {"worker/a.c": "#include <jansson.h>\n"}),
    ("third-party", {f"adapters/kafka_{i}.c": "#include <librdkafka/rdkafka.h>\n" for i in range(11)}),
    ("header", {"base/alone.h": "size_t mr_alone;\n"}),
    ("test", {"kv/lonely.h": "int mr_lonely_call(void);\n", "worker/uses.c": '#include "kv/lonely.h"\n'}),
    ("word", {"base/word.c": "/* TO" + "DO */\n"}),
    ("word", {"deploy/word": "cd /work" + "/x\n"}),
]


def violations(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        here = os.getcwd()
        os.chdir(root)
        try:
            return tidy.check(root).lines
        finally:
            os.chdir(here)


def main():
    wrong = [f"the clean house: {line}" for line in violations(CLEAN)]
    for rule, files in PLANTED:
        found = {line[0] for line in violations({**CLEAN, **files})}
        if found != {rule}:
            wrong.append(f"{rule} planted in {', '.join(files)[:60]}: found {sorted(found)}")
    for line in wrong:
        print(f"tidy selftest: {line}")
    print(f"tidy selftest: {len(PLANTED) + 1 - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
