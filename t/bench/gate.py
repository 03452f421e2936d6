# SPDX-License-Identifier: BSD-2-Clause
"""
What a turn costs exactly, on one kept connection: system calls (strace) and user-mode instructions (valgrind), for a
fixed answer, a proxied one, a TCP round trip, a message (echoed, answered, proxied) and a datagram that is proxied. gate.txt says what they may cost; a change that makes the road
dearer fails here, one that makes it cheaper is told to lower the figure.

Absolute counts are comparable only where compiler, options and libraries are alike: instructions are held against
gate.txt for the builds that it names, and only printed for others. A sanitizer, no optimisation, or a
missing tool: skipped (77).
"""
import contextlib
import os
import platform
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import measure
from measure import Failure, Millrace, Place

SERVER = os.path.abspath(os.environ.get("SERVER", "build/server"))
FIGURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gate.txt")
TURNS = {"calls": (100, 1100), "instructions": (200, 1200)}
MOST = 240                                  # seconds, of all of it
PING = "p" * 200
MESSAGE, OKAY = measure.MESSAGE, measure.OKAY + "\n"
ROWS = {                                    # which port; what is asked, the size of what comes back, how many messages that is
    "fixed": (0, measure.question(), 0, 1), "proxied": (1, measure.question(), 0, 1), "tcp": (2, PING, len(PING), 1),
    "echo": (3, MESSAGE, len(MESSAGE), 1), "echo-16": (3, MESSAGE * 16, len(MESSAGE) * 16, 16),
    "reply-16": (4, MESSAGE * 16, len(OKAY) * 16, 16), "relay-16": (5, MESSAGE * 16, len(MESSAGE) * 16, 16),
    "udp": (6, PING, len(PING), 1), "udp-anew": (7, PING, len(PING), 1),
}
BODY = b"x" * 119 + b"\n"
ANSWER = (b"HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
          b"Content-Length: %d\r\n\r\n" % len(BODY)) + BODY


def skip(why):
    print("gate: skipped: " + why)
    sys.exit(77)


class Backend(threading.Thread):
    """Answers every head, or gives back what came; one connection after another or at once, on a port of its own."""

    def __init__(self, echo):
        super().__init__(daemon=True)
        self.echo = echo
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        self.start()

    def run(self):
        seen = {}
        while True:
            for s in select.select([self.door, *seen], [], [])[0]:
                if s is self.door:
                    s = s.accept()[0]
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    seen[s] = b""
                    continue
                with contextlib.suppress(OSError):
                    got = s.recv(65536)
                    if got:
                        *heads, seen[s] = (seen[s] + got).split(b"\r\n\r\n") if not self.echo else (b"",)
                        s.sendall(got if self.echo else ANSWER * len(heads))
                        continue
                del seen[s]
                s.close()


class Datagrams(threading.Thread):
    """Gives back what came."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            self.socket.sendto(*self.socket.recvfrom(2048))


def server(place, http, echo, datagrams, prefix):
    """One server for all rows, so that a run starts one; ports: where each row is asked."""
    more = [*(measure.free_port() for _ in range(5)), *(measure.free_port(measure.Datagrams) for _ in range(2))]

    def body(port):
        return """upstream app { server 127.0.0.1:%d; pool { idle 4; } }
            server { listen 127.0.0.1:%d; return 200 "%s"; }
            server { listen 127.0.0.1:%d; proxy app; }
            server { listen 127.0.0.1:%d; protocol tcp; proxy 127.0.0.1:%d; }
            %s
            server { listen 127.0.0.1:%d; protocol jsonnl; echo; }
            server { listen 127.0.0.1:%d; protocol jsonnl; %s }
            server { listen 127.0.0.1:%d; protocol jsonnl; proxy 127.0.0.1:%d; }
            %s %s""" % (
                http.port, port, measure.TEXT, more[0], more[1], echo.port,
                Millrace.JSONNL, more[2], more[3], measure.ROUTED, more[4], echo.port,
                Millrace.datagrams(place, datagrams.port, False)(more[5]), Millrace.datagrams(place, datagrams.port, True)(more[6]))
    program = measure.start(Millrace, place, body, prefix=prefix)
    program.ports = (program.address, *more)
    return program


def build():
    """What `server -V` says of how it was made."""
    said = subprocess.run([SERVER, "-V"], capture_output=True, text=True, timeout=30).stdout
    if "-fsanitize" in said:
        skip("a build with a sanitizer")
    levels = re.findall(r"(?<!\S)-O(\S*)", said)
    if not levels or levels[-1] in ("0", "g"):
        skip("a build without optimisation")
    return {"machine": platform.machine(), "compiler": "gcc" if re.search(r"^(\S*-)?gcc\b", said, re.M) else "other",
            "level": levels[-1], "libevent": ".".join((re.findall(r"libevent (\d+)\.(\d+)", said) or [("?",)])[0])}


def figures():
    """gate.txt: the builds that instructions are held against, the margin, and the counts by (kind, row)."""
    alike, margin, most = [], 0, {}
    with open(FIGURES) as f:
        for words in (line.split("#")[0].split() for line in f):
            if not words:
                continue
            if words[0] == "build":
                alike.append(dict(w.split("=") for w in words[1:]))
            elif words[0] == "margin":
                margin = float(words[1].rstrip("%")) / 100
            else:
                most[words[0], words[1]] = float(words[2])
    return alike, margin, most


def run(kind, begin, directory):
    """Counts of each row: a run in which that row has more turns, less one in which none has."""
    few, many = TURNS[kind]
    totals = []
    for longer in (None, *ROWS):
        def exercise(program):
            for row, (n, what, size, _) in ROWS.items():
                measure.ask(program.ports[n], what, many if row == longer else few, size, row == "udp-anew")
        if kind == "calls":
            totals.append(sum(measure.calls_of(begin, directory, exercise).values()))
        else:
            totals.append(measure.instructions_of(begin, exercise))
    return {row: (total - totals[0]) / (many - few) / ROWS[row][3] for row, total in zip(ROWS, totals[1:])}


def judge(kind, found, most, margin, held):
    """Whether no row costs more than it may; says each."""
    good = True
    for row, figure in found.items():
        bar = most[kind, row]
        # wakeups by the clock; a call more is a whole one
        room = bar * margin if kind == "instructions" else 0.25 / ROWS[row][3]
        verdict = "ok"
        if not held:
            verdict = "not compared: another build than gate.txt names"
        elif figure > bar + room:
            verdict, good = "DEARER by %.1f %%" % (100 * (figure / bar - 1)), False
        elif figure < bar - room:
            verdict = "cheaper: gate.txt can say less"
        print("%-12s %-8s %10.2f of %g: %s" % (kind, row, figure, bar, verdict), flush=True)
    return good


def too_late(*_):
    raise Failure("not done in %d seconds" % MOST)


def main():
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(MOST)
    for tool in ("strace", "valgrind"):
        if not measure.find(tool):
            skip("%s is missing; as root: apt-get install -y %s" % (tool, tool))
    made = build()
    alike, margin, most = figures()
    held = any(all(made.get(k) == v for k, v in a.items()) for a in alike)
    print("gate: %s" % " ".join("%s=%s" % m for m in made.items()))
    http, echo, datagrams = Backend(False), Backend(True), Datagrams()
    good = True
    with tempfile.TemporaryDirectory(prefix="millrace-gate-") as directory:
        os.chmod(directory, 0o755)
        place = Place(directory, SERVER)
        for kind in TURNS:
            try:
                found = run(kind, lambda prefix: server(place, http, echo, datagrams, prefix), directory)
            except Failure as e:
                if kind == "calls" and "ptrace" in str(e).lower():
                    skip("strace may not trace here")
                raise
            good &= judge(kind, found, most, margin, held or kind == "calls")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
