# SPDX-License-Identifier: BSD-2-Clause
"""
What a request costs, beside Debian's nginx and haproxy under configurations that say the same, and a message or a
datagram beside programs that do nothing else (bare.c, datagrams.c). `make bench`, or

    SERVER=build/server python3 t/bench/bench.py [--rows fixed,ping] [--rounds 5] [--seconds 3] [--peers nginx] ...

The figure to compare is CPU time per request of the server's process tree: medians of rounds that take turns,
so that a noisy machine is noisy for all; under 10 % is noise. --calls and --instructions count system calls
(strace) and user-mode instructions (valgrind) per request on one connection; both are exact. Memory is PSS of the
process tree, so without what the kernel holds for a socket, which is the same for all.

A server has a CPU of its own where there are two, its clients and its backend have the other. All
runs in a network namespace with cubic if that may be made, so that no congestion control which paces
distorts what goes in bulk; the first line says which it was. Needs cc, and nginx, haproxy, strace, valgrind for
what is asked of them: apt-get install nginx libnginx-mod-stream haproxy strace valgrind.
"""
import argparse
import contextlib
import ctypes
import fcntl
import os
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile

import measure
from measure import SERVERS, Datagrams, Failure, Place, Program, find, question

QUIET, RATE = 100, 20                       # clients beside the one that floods, and what each asks in a second
MANY = 10000
SLOW_BODY = 1 << 20
PING = "p" * 200
OKAY = measure.OKAY + "\n"

# What millrace may cost: of another, or in all. By unit, or by row and unit.
OF = {"us CPU": ("nginx", 1.0), "ms CPU/GiB": ("nginx", 1.0), "instructions": ("nginx", 0.7), ("ping", "instructions"): ("nginx", 0.95),
      ("udp", "us CPU"): ("nginx", 0.9), ("udp-anew", "us CPU"): ("nginx", 0.75),
      **{(kind + depth, "us CPU"): ("bare", bar) for kind in ("reply-", "echo-") for depth, bar in (("1", 1.25), ("16", 2.4))}}
IN_ALL = {("idle", "bytes"): 1024, "bytes": 4096, "times": 2, "calls": 3.1,
          **{(row, "calls"): 6.2 for row in ("tcp-120", "tcp-16k", "unix-120", "unix-16k", "ping", "relay-1", "udp", "udp-anew")}}


# ---------------------------------------------------------------- where it runs

def congestion():
    """The congestion control that connections over the loopback get."""
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as s:
        return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).split(b"\0")[0].decode()


def lo_up():
    with socket.socket() as s:
        request = bytearray(struct.pack("16sh14x", b"lo", 0))
        fcntl.ioctl(s, 0x8913, request)                     # SIOCGIFFLAGS
        flags = struct.unpack("16xh14x", request)[0] | 1    # IFF_UP
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", flags))


def enter_namespace():
    """A network of our own, with cubic: by sysctl, or by route where that one is refused."""
    user, network = 0x10000000, 0x40000000                  # CLONE_NEWUSER, CLONE_NEWNET
    uid, gid = os.getuid(), os.getgid()
    if ctypes.CDLL(None).unshare(network if uid == 0 else user | network) < 0:
        return False
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", "%d %d 1" % (uid, uid)), ("gid_map", "%d %d 1" % (gid, gid))):
            with open("/proc/self/" + name, "w") as f:
                f.write(text)
    lo_up()
    with contextlib.suppress(OSError):
        fd = os.open("/proc/sys/net/ipv4/tcp_congestion_control", os.O_WRONLY)
        try:
            os.write(fd, b"cubic")
        finally:
            os.close(fd)
    if congestion() != "cubic" and find("ip"):
        for to in ("127.0.0.0/8", "127.0.0.1"):
            subprocess.run([find("ip"), "route", "change", "table", "local", "local", to, "dev", "lo", "src", "127.0.0.1",
                            "congctl", "lock", "cubic"], stderr=subprocess.DEVNULL)
    return True


def memory_available():
    with open("/proc/meminfo") as f:
        return int(next(line for line in f if line.startswith("MemAvailable")).split()[1]) * 1024


# ---------------------------------------------------------------- rows

class Row:
    """What is measured, and how: what is which part of a configuration, and its argument ("peer": the backend's address)."""

    def __init__(self, name, about, run, what, backend=None, connections=64, ask=None, size=0, workers=1, log=False, local=False,
                 count=0, answered=False, exact=True, each=1, answer=None, kind=int, anew=False):
        self.name, self.about, self.run, self.what, self.backend = name, about, run, what, backend
        self.connections, self.ask, self.size = connections, question() if ask is None else ask, size
        self.workers, self.log, self.local, self.count, self.answered = workers, log, local, count, answered
        self.exact, self.kind, self.anew = exact, kind, anew
        self.each, self.answer = each, answer               # questions that are asked at once; what all of them get


def messages(name, about, run, what, depth, answer=measure.MESSAGE, **more):
    return Row("%s-%d" % (name, depth), "%s, %d in flight on each of 64" % (about, depth), run, what, ask=measure.MESSAGE * depth,
               size=len(answer) * depth, answer=answer * depth, each=depth, **more)


class Bench:
    def __init__(self, options, directory):
        self.o, self.d = options, directory
        self.server = os.path.abspath(os.environ.get("SERVER", "build/server"))
        self.failed = False
        self.table = {}                     # row -> unit, {server: figures}
        cpus = sorted(os.sched_getaffinity(0))
        self.cpu, self.other = ({cpus[0]}, set(cpus[1:])) if len(cpus) > 1 else (None, None)
        self.programs = {name: self.program(name) for name in ("load", "backend", "bare", "datagrams")}

    def program(self, name):
        """One of ours: as make built it, else built here."""
        built = os.path.join(os.environ.get("BUILD", ""), "t/bench", name)
        if os.environ.get("BUILD") and os.access(built, os.X_OK):
            return built
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".c")
        to = os.path.join(self.d, name)
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", to, source], check=True)
        return to

    def rows(self):
        descriptors = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 600) * 9 // 10
        timed, held = self.timed, self.held
        many, pairs = min(MANY, descriptors), min(MANY, descriptors // 2)
        slow = min(pairs, memory_available() // (1 << 20))
        return [
            Row("fixed-64", "fixed answer, 64 connections", timed, ("fixed",)),
            Row("fixed-256", "fixed answer, 256 connections", timed, ("fixed",), connections=256, exact=False),
            Row("fixed-64-log", "the same with the access log, 64", timed, ("fixed",), log=True),
            Row("fixed-256-log", "the same with the access log, 256", timed, ("fixed",), connections=256, log=True, exact=False),
            Row("tcp-120", "HTTP proxy to TCP, 120 B", timed, ("proxy", "peer"), ["http", "120"]),
            Row("tcp-16k", "HTTP proxy to TCP, 16 KiB", timed, ("proxy", "peer"), ["http", "16384"]),
            Row("unix-120", "HTTP proxy to a Unix socket, 120 B", timed, ("proxy", "peer"), ["http", "120"], local=True),
            Row("unix-16k", "HTTP proxy to a Unix socket, 16 KiB", timed, ("proxy", "peer"), ["http", "16384"], local=True),
            Row("ping", "TCP round trip, 200 B, 64 connections", timed, ("stream", "peer"), ["echo"], ask=PING, size=len(PING)),
            Row("bulk", "TCP in bulk, 4 connections", self.bulk, ("stream", "peer"), ["source"], connections=4, exact=False),
            Row("idle", "idle connection after a request", held, ("fixed",), count=many, answered=True),
            Row("half", "half a head received", held, ("fixed",), count=many, ask=question()[:60]),
            Row("waiting", "question that waits for its peer", held, ("proxy", "peer"), ["silent"], local=True, count=pairs),
            Row("slow", "reader of 1 MiB that does not read", held, ("proxy", "peer"), ["http", str(SLOW_BODY)], local=True, count=slow),
            Row("quiet", "%d quiet clients beside one that floods" % QUIET, self.quiet, ("fixed",), connections=QUIET),
            Row("prefix-1000", "last of 1,000 prefix routes", timed, ("routes", measure.PREFIX), ask=question(measure.LAST[measure.PREFIX])),
            Row("literal-1000", "last of 1,000 regexes, literal prefix", timed, ("routes", measure.LITERAL), ask=question(measure.LAST[measure.LITERAL])),
            Row("regex-1000", "last of 1,000 regexes without one", timed, ("routes", measure.FREE), ask=question(measure.LAST[measure.FREE])),
            *[messages("reply", "JSON lines, a route by a field, a reply", timed, ("reply",), depth, answer=OKAY)
              for depth in (1, 16, 256)],
            *[messages("echo", "JSON lines, echo", timed, ("echo",), depth) for depth in (1, 16, 256)],
            *[messages("relay", "JSON lines, each proxied on a shared connection", timed, ("relay", "peer"), depth, backend=["echo"])
              for depth in (1, 16)],
            Row("udp", "UDP proxy, sessions kept, 64 sources", timed, ("datagrams", "peer", False), ["echo"], ask=PING, size=len(PING),
                kind=Datagrams),
            Row("udp-anew", "UDP proxy, each datagram of a source of its own", timed, ("datagrams", "peer", True), ["echo"], ask=PING,
                size=len(PING), kind=Datagrams, anew=True),
            Row("workers-2", "fixed answer, 2 workers, 64 connections", timed, ("fixed",), workers=2, exact=False),
        ]

    # ------------------------------------------------------------ parts

    def load(self, *arguments, wait=True, idly=False, program="load"):
        def prepare():
            if self.other:
                os.sched_setaffinity(0, self.other)
            if idly:                        # nobody waits for it
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        p = subprocess.Popen([self.programs[program], *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, preexec_fn=prepare)
        return self.finish(p) if wait else p

    def finish(self, p, most=60):
        try:
            out, said = p.communicate(timeout=self.o.seconds + most)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            raise Failure("the clients did not end in time")
        if p.returncode:
            raise Failure(said.strip() or "the clients failed")
        return [float(w) for w in out.split()]

    @contextlib.contextmanager
    def backend(self, row):
        """The row's backend, and the address of it."""
        if not row.backend:
            yield None
            return
        address = os.path.join(self.d, row.name + ".sock") if row.local else measure.free_port(row.kind)
        program = self.programs["datagrams" if row.kind is Datagrams else "backend"]
        program = Program("backend", [program, str(address), *row.backend], address, self.other)
        try:
            yield address
        finally:
            program.stop()
            if row.local:
                os.unlink(address)

    def start(self, row, which, peer, prefix=()):
        pinned = self.cpu if row.workers == 1 else None
        place = Place(self.d, self.server, clients=max(1000, row.count), workers=row.workers, log=row.log,
                      large="16384" in (row.backend or ()), bare=os.path.dirname(self.programs["bare"]))
        arguments = [peer if a == "peer" else a for a in row.what[1:]]
        return measure.start(which, place, getattr(which, row.what[0])(place, *arguments), pinned if not prefix else None, prefix, row.kind)

    def peers(self, row):
        place = Place(self.d, self.server, bare=self.d)
        if not SERVERS["millrace"].there(place):
            sys.exit("bench: SERVER=%s is not there" % self.server)
        for name in ["millrace", *self.o.peers]:
            if SERVERS[name].there(place) and hasattr(SERVERS[name], row.what[0]):
                yield SERVERS[name]

    def each(self, row, body):
        """body(which, peer) for every server; one that cannot is said and left out."""
        found = {}
        with self.backend(row) as peer:
            for which in self.peers(row):
                try:
                    found[which.name] = body(which, peer)
                except Failure as e:
                    print("%-14s %-9s failed: %s" % (row.name, which.name, e), flush=True)
                    self.failed |= which.name == "millrace"
        return found

    def say(self, row, unit, figures, note=""):
        self.table.setdefault((row.name, unit), {}).update(figures)
        for name, values in figures.items():
            spread = " (%s-%s)" % (short(min(values)), short(max(values))) if len(values) > 1 else ""
            print("%-14s %-9s %9s%-18s %s%s" % (row.name, name, short(statistics.median(values)), spread, unit,
                                               note[name] if note else ""), flush=True)

    # ------------------------------------------------------------ kinds of row

    def rounds(self, row, one):
        """one(program, round) of every server in turn, after a first that is not counted."""
        with self.backend(row) as peer, contextlib.ExitStack() as stack:
            running, found = [], {}
            for which in self.peers(row):
                try:
                    program = self.start(row, which, peer)
                    stack.callback(program.stop)
                    one(program, True)
                    running.append(program)
                except Failure as e:
                    print("%-14s %-9s failed: %s" % (row.name, which.name, e), flush=True)
                    self.failed |= which.name == "millrace"
            for i in range(self.o.rounds):
                for program in running if i % 2 == 0 else reversed(running):
                    found.setdefault(program.name, []).append(one(program, False))
                    with contextlib.suppress(OSError):
                        os.truncate(os.path.join(self.d, program.name + ".log"), 0)
            return {p.name: found[p.name] for p in running}

    def timed(self, row):
        def one(program, warm):
            if warm and row.answer:
                got = measure.ask(program.address, row.ask, 1, row.size).decode()
                if got != row.answer:
                    raise Failure("answered %r" % got[:200])
            before = program.cpu_us()
            if row.kind is Datagrams:
                done, seconds, _ = self.load(program.address, "load", row.connections, 0.3 if warm else self.o.seconds, row.ask,
                                             *["anew"] * row.anew, program="datagrams")
            else:
                done, seconds, *_ = self.load("turns", program.address, row.connections, 0.3 if warm else self.o.seconds,
                                              row.ask, row.size, 0)
            done *= row.each
            return (program.cpu_us() - before) / done, done / seconds
        found = self.rounds(row, one)
        self.say(row, "us CPU", {n: [f[0] for f in v] for n, v in found.items()},
                 {n: ", %.0f/s" % statistics.median(f[1] for f in v) for n, v in found.items()})

    def bulk(self, row):
        def one(program, warm):
            before = program.cpu_us()
            done, = self.load("bulk", program.address, row.connections, 0.3 if warm else self.o.seconds)
            return (program.cpu_us() - before) / 1000 / (done / (1 << 30))
        self.say(row, "ms CPU/GiB", self.rounds(row, one))

    def quiet(self, row):
        """p99 of the quiet without and with the one that floods, of the same server."""
        def one(program, warm):
            seconds = 0.5 if warm else self.o.seconds
            turns = ("turns", program.address, QUIET, seconds, row.ask, 0, RATE)
            alone = self.load(*turns)[3]
            other = self.load("flood", program.address, 1, seconds + 0.5, question(), wait=False, idly=True)
            try:
                beside = self.load(*turns)[3]
            finally:
                answered, = self.finish(other)
            if not answered:
                raise Failure("the flood was not answered")
            return alone, beside, beside / alone
        found = self.rounds(row, one)
        self.say(row, "us p99 alone", {n: [f[0] for f in v] for n, v in found.items()})
        self.say(row, "us p99 beside", {n: [f[1] for f in v] for n, v in found.items()})
        self.say(row, "times", {n: [f[2] for f in v] for n, v in found.items()})

    def held(self, row):
        """Bytes of each connection that is held."""
        notes = {}

        def one(which, peer):
            program = self.start(row, which, peer)
            try:
                if not row.backend or row.backend[0] == "http":
                    measure.ask(program.address, question(), 1)
                before = program.pss()
                clients = self.load("hold", program.address, row.count, row.ask, int(row.answered), wait=False)
                try:
                    if clients.stdout.readline() != "ready\n":
                        self.finish(clients)
                        raise Failure("the clients are not there")
                    after = program.pss()
                    notes[which.name] = " each of %d, %.1f MiB at rest" % (row.count, before / (1 << 20))
                finally:
                    clients.kill()
                    clients.communicate()
                return [(after - before) / row.count]
            finally:
                program.stop()
        found = self.each(row, one)
        self.say(row, "bytes", found, notes)

    def exact(self, row):
        """System calls and instructions of a row, where they are asked for."""
        def exercise(program, n):
            measure.ask(program.address, row.ask, n, row.size, row.anew)

        def count(which, peer):
            found = measure.calls(lambda prefix: self.start(row, which, peer, prefix), self.d, exercise)
            return {k: v / row.each for k, v in found.items()}

        def weigh(which, peer):
            which.single = True
            try:
                return [measure.instructions(lambda prefix: self.start(row, which, peer, prefix), exercise) / row.each]
            finally:
                which.single = False
        if self.o.calls:
            found = self.each(row, count)
            self.say(row, "calls", {n: [sum(v.values())] for n, v in found.items()},
                     {n: ": " + " ".join("%s %.2f" % c for c in sorted(v.items(), key=lambda c: -c[1])) for n, v in found.items()})
        if self.o.instructions:
            self.say(row, "instructions", self.each(row, weigh))

    # ------------------------------------------------------------ all of it

    def ratios(self):
        others = [p for p in self.o.peers if any(p in v for v in self.table.values())]
        print("\n%-14s %-13s %10s" % ("medians", "", "millrace") + "".join(" %10s %6s" % (o, "ratio") for o in others) + "  bar")
        for (name, unit), figures in self.table.items():
            values = {n: statistics.median(v) for n, v in figures.items()}
            if "millrace" not in values:
                continue
            line = "%-14s %-13s %10s" % (name, unit, short(values["millrace"]))
            for other in others:
                if other in values:
                    ratio = "%.2f" % (values["millrace"] / values[other]) if values[other] > 0 else "-"
                    line += " %10s %6s" % (short(values[other]), ratio)
                else:
                    line += " %10s %6s" % ("-", "-")
            print(line + self.bar(name, unit, values))

    @staticmethod
    def bar(name, unit, values):
        other, factor = OF.get((name, unit), OF.get(unit, (None, 0)))
        most = IN_ALL.get((name, unit), IN_ALL.get(unit))
        if values.get(other):
            return "  %g %s%s" % (factor, other, "" if values["millrace"] <= factor * values[other] else ": MISSED")
        return "" if most is None else "  %g%s" % (most, "" if values["millrace"] <= most else ": MISSED")

    def run(self):
        rows = [r for r in self.rows() if not self.o.rows or any(r.name == w or r.name.startswith(w + "-") for w in self.o.rows)]
        if not rows:
            sys.exit("bench: rows are " + ", ".join(r.name for r in self.rows()))
        print("%s, %d CPUs, load %.2f; %s, %s; %d rounds of %g s, taking turns"
              % (os.uname().release, os.cpu_count(), os.getloadavg()[0], congestion(),
                 "a network namespace" if self.o.namespace else "the machine's own loopback", self.o.rounds, self.o.seconds))
        for name, command in (("nginx", ["nginx", "-v"]), ("haproxy", ["haproxy", "-v"])):
            if name in self.o.peers and find(name):
                p = subprocess.run([find(name), *command[1:]], capture_output=True, text=True)
                print((p.stdout + p.stderr).splitlines()[0])
        for row in rows:
            print("\n%s: %s" % (row.name, row.about))
            if not self.o.exact_only:
                row.run(row)
            if row.exact and row.run == self.timed:
                self.exact(row)
        self.ratios()
        return 1 if self.failed else 0


def short(value):
    return "%.2f" % value if abs(value) < 100 else "%.0f" % value


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])

    def words(text):
        return [w for w in text.split(",") if w]
    parser.add_argument("--rows", type=words, default=[], help="names, or their first words: fixed,tcp,ping (all)")
    parser.add_argument("--peers", type=words, default=["nginx", "haproxy", "bare"], help="beside whom (nginx,haproxy,bare)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of one round")
    parser.add_argument("--calls", action="store_true", help="system calls per request too")
    parser.add_argument("--instructions", action="store_true", help="user-mode instructions per request too")
    parser.add_argument("--exact-only", action="store_true", help="only these two, no times")
    parser.add_argument("--here", action="store_true", help="no network namespace")
    options = parser.parse_args()
    for name in options.peers:
        if name not in SERVERS or name == "millrace":
            parser.error("--peers nginx,haproxy,bare")
    for asked, tool in ((options.calls, "strace"), (options.instructions, "valgrind")):
        if asked and not find(tool):
            parser.error("%s is missing" % tool)
    for name in [p for p in options.peers if p != "bare" and not find(p)]:
        print("bench: %s is missing, so left out; as root: apt-get install -y %s" % (name, name))
    return options


def main():
    options = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        options.namespace = not options.here and enter_namespace()
    except OSError:
        sys.exit("bench: the network namespace is of no use; try --here")
    directory = tempfile.mkdtemp(prefix="millrace-bench-")
    os.chmod(directory, 0o755)
    try:
        return Bench(options, directory).run()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
