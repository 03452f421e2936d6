#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Configurations that are right, and those that are wrong and what is said of them.

good/*.conf (a directory counts as one): `server -t` is silent about them and exits 0.
bad/*.conf: exits 1 and says exactly what stands in the .expected beside it; warn/*.conf: the same, and exits 0.
SERVER names the program. Names on the command line choose cases; --record writes what was said as expected.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SERVER = os.path.abspath(os.environ.get("SERVER", "./server"))
STATUS = {"good": 0, "warn": 0, "bad": 1}


def cases(names):
    for kind in STATUS:
        for path in sorted((HERE / kind).glob("*.conf")):
            if not names or path.stem in names:
                yield kind, path


def check(path):
    shown = path.relative_to(HERE)
    run = subprocess.run([SERVER, "-t", "-q", "-c", str(shown)], cwd=HERE, capture_output=True, timeout=60)
    return run.returncode, (run.stdout + run.stderr).decode("utf-8", "backslashreplace")


def wrong(kind, path, record):
    """What is wrong with one case, or None."""
    status, said = check(path)
    expected = path.with_suffix(".expected")
    if status != STATUS[kind]:
        return f"exit status {status}\n{said}"
    if kind != "good" and record:
        expected.write_text(said)
    wanted = "" if kind == "good" else expected.read_text() if expected.exists() else "(no .expected)\n"
    if said != wanted:
        return f"--- wanted\n{wanted}--- said\n{said}"
    return None


def long_line():
    return "server { listen 8080; return 200 \"" + "x" * 10_000_000 + "\" y; }\n"


def many_servers():
    servers = (f"server {{ listen 8080; server_name h{i}.example; route /a {{ proxy app; }} route {{ return 404; }} }}\n"
               for i in range(10_000))
    return "upstream app { server 127.0.0.1:1; }\n" + "".join(servers)


def many_errors():
    return "nonsense;\n" * 100_000


# Too large to keep: what is made, its status, how what is said ends.
GENERATED = {
    long_line: (1, "1 error in"),
    many_servers: (0, ""),
    many_errors: (1, "100000 errors in"),
}


def wrong_generated(make):
    wanted, end = GENERATED[make]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "made.conf"
        path.write_text(make())
        run = subprocess.run([SERVER, "-t", "-q", "-c", str(path)], capture_output=True, text=True, timeout=120)
    last = run.stderr.splitlines()[-1] if run.stderr else ""
    if run.returncode != wanted or not last.startswith(end) or len(run.stderr) > 1_000_000:
        return f"exit status {run.returncode}\n{run.stderr[-1000:]}"
    return None


def main():
    names = sys.argv[1:]
    record = "--record" in names
    failed = count = 0
    for kind, path in cases([name for name in names if not name.startswith("-")]):
        count += 1
        complaint = wrong(kind, path, record)
        if complaint is not None:
            failed += 1
            print(f"FAIL {path.relative_to(HERE)}: {complaint}")
    for make in GENERATED:
        if not names or make.__name__ in names:
            count += 1
            complaint = wrong_generated(make)
            if complaint is not None:
                failed += 1
                print(f"FAIL {make.__name__}: {complaint}")
    print(f"{count} configurations, {failed} failed")
    return failed != 0 or count == 0


if __name__ == "__main__":
    sys.exit(main())
