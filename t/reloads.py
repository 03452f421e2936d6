#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A long row of reloads, and what they cost: numbers for people, and promises that a run can break.

    make reloads RELOADS=1000 PARTS=1,2,3,4

 1  reloads under the load of wrk, with many WebSockets and TCP tunnels open, and one more of each opened between every two
 2  the same with routes, upstreams and listeners that change each time; every third configuration is bad
 3  configurations of 10,000 routes and of 10,000 server blocks, beside nginx: check, reload, stalls, memory
 4  WebSockets and idle kept-alive clients over 100 reloads, beside nginx

Broken promises make it exit 1: a request that failed, a connection that was closed, a process that is another one, a third
configuration alive in a worker that no running exchange holds, a verdict that is wrong. Times and memory are printed, and nobody's bar: machines differ.
Needs cc and wrk, and nginx for what is beside it: apt-get install wrk nginx.
"""
import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "flow"))
import flow

KEY = base64.b64encode(b"0123456789abcdef").decode()
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HANDSHAKE = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: " + KEY
WORKERS, MANY, BESIDE, IDLE, TIMES = 2, 10000, 100, 100, 20
LOOKS = (1, 2, 5, 10, TIMES)
PART = 900          # seconds that a row of reloads may take

broken = []


def check(fine, *words):
    """A promise."""
    if not fine:
        broken.append(" ".join(map(str, words)))
        print("BROKEN: " + broken[-1], flush=True)
    return fine


def say(what, *values):
    print("    %-58s %s" % (what, "  ".join(str(v) for v in values)), flush=True)


def ms(seconds):
    return "%.1f" % (seconds * 1000) if seconds < 0.1 else "%.0f" % (seconds * 1000)


def spread(seconds):
    return "%s ms median, %s longest of %d" % (ms(statistics.median(seconds)), ms(max(seconds)), len(seconds))


def kib(n):
    return "%d KiB" % (n / 1024) if abs(n) < 10 << 20 else "%.1f MiB" % (n / (1 << 20))


def pss(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1)) * 1024


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]


def tree_pss(pid):
    """Of a master and its workers, once nobody comes or goes and nothing moves."""
    last = 0
    for _ in range(40):
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            now = sum(map(pss, [pid, *children(pid)]))
            if abs(now - last) < 16384:
                return now
            last = now
    return last


# ---------------------------------------------------------------- processes of our own: backend, pinger


class Talk(asyncio.Protocol):
    """Shakes hands where it is asked to; from then on, as with anybody else, what came goes back."""

    def __init__(self):
        self.head = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if self.head is None or not b"GET ".startswith((self.head + data)[:4]):
            self.transport.write((self.head or b"") + data)
            self.head = None
            return
        self.head += data
        if b"\r\n\r\n" in self.head:
            head, rest = self.head.split(b"\r\n\r\n", 1)
            key = re.search(rb"(?i)\nsec-websocket-key:\s*(\S+)", head).group(1)
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + rest)
            self.head = None


async def talk(port):
    server = await asyncio.get_running_loop().create_server(Talk, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def ping(ports):
    """
    Asks on some connections to each port, on each anew a millisecond after it was answered. For each line on stdin one
    comes back: the longest that an answer took since the last, by port.
    """
    poll, asked, port_of, longest, due = select.epoll(), {}, {}, dict.fromkeys(ports, 0), []
    poll.register(0, select.EPOLLIN)
    for port in ports:
        for _ in range(6):
            s = socket.create_connection(("127.0.0.1", port))
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(s, select.EPOLLIN)
            port_of[s.fileno()] = port, s
            due.append((0, s.fileno()))
    while True:
        now = time.monotonic()
        while due and due[0][0] <= now:
            fd = due.pop(0)[1]
            asked[fd] = time.monotonic()
            port_of[fd][1].sendall(b"GET /ping HTTP/1.1\r\nHost: h1.example.com\r\n\r\n")
        for fd, _ in poll.poll(0.001 if due else -1):
            now = time.monotonic()
            if fd == 0:
                if not os.read(0, 4096):
                    return
                for at, began in asked.items():             # who still waits has waited that long
                    longest[port_of[at][0]] = max(longest[port_of[at][0]], now - began)
                print(json.dumps(list(longest.values())), flush=True)
                longest = dict.fromkeys(ports, 0)
                continue
            port, s = port_of[fd]
            if not s.recv(65536):
                sys.exit("a pinged connection was closed")
            longest[port] = max(longest[port], now - asked.pop(fd))
            due.append((now + 0.001, fd))


class Own:
    """A process that is ours to end."""

    def __init__(self, *arguments, **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        self.process = subprocess.Popen([str(a) for a in arguments], **more)

    def end(self, number=signal.SIGTERM):
        if self.process.returncode is not None:
            return ""
        self.process.send_signal(number)
        try:
            return self.process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[0]


class Pinger(Own):
    def __init__(self, *ports):
        super().__init__(sys.executable, __file__, "--ping", ",".join(map(str, ports)), stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        self.look()

    def look(self):
        """The longest wait since the last look, by port."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not check(line, "a pinged connection was closed"):
            raise AssertionError("no pinger")
        return json.loads(line)


class Load(Own):
    """wrk, not at the most it can: each connection rests a little between two questions."""

    def __init__(self, port, connections, directory, *arguments):
        script = os.path.join(directory, "delay.lua")
        with open(script, "w") as f:
            f.write("function delay() return 5 end\n")
        super().__init__(shutil.which("wrk"), "-t1", "-c%d" % connections, "-d%ds" % (2 * PART), "--timeout", "30s", "-s", script,
                         *arguments, "http://127.0.0.1:%d/" % port, stdout=subprocess.PIPE, text=True)

    def finish(self):
        """(requests, what failed)"""
        said = self.end(signal.SIGINT)
        return int(re.search(r"(\d+) requests in", said).group(1)), re.findall(r"(?:Socket errors|Non-2xx).*", said)


class Backends:
    """What stands behind: one of C for wrk, and a second that comes and goes; one that talks."""

    def __init__(self, directory):
        self.ports, self.all = flow.Ports(), []
        self.web, self.web2, self.talk = (self.ports.take() for _ in range(3))
        program = os.path.join(os.environ.get("BUILD", ""), "t/bench/backend")
        if not os.environ.get("BUILD") or not os.access(program, os.X_OK):
            program = os.path.join(directory, "backend")
            subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", program,
                            os.path.join(HERE, "bench/backend.c")], check=True)
        self.all = [Own(program, port, "http", 120) for port in (self.web, self.web2)]
        self.all.append(Own(sys.executable, __file__, "--talk", self.talk))
        for port in (self.web, self.web2, self.talk):
            flow.wait_for(lambda port=port: flow.listening(("127.0.0.1", port)))

    def end(self):
        for one in self.all:
            one.end()
        self.ports.close()


# ---------------------------------------------------------------- connections that are kept


class Kept:
    """Connections that stay open; whoever of them is closed, or hears what it did not say, is found."""

    def __init__(self, web, tcp):
        self.web, self.tcp, self.all, self.closed, self.poll = web, tcp, {}, 0, select.epoll()
        self.websockets = self.tunnels = self.echoes = 0

    def keep(self, client):
        self.all[client.socket.fileno()] = client
        self.poll.register(client.socket, select.EPOLLIN | select.EPOLLRDHUP)
        self.echo(client)

    def websocket(self):
        c = flow.Client(("127.0.0.1", self.web))
        c.send(flow.request("/ws", headers=HANDSHAKE))
        a = c.answer()
        if a.status != 101:
            raise AssertionError("a WebSocket was answered %d" % a.status)
        self.websockets += 1
        self.keep(c)

    def tunnel(self):
        self.tunnels += 1
        self.keep(flow.Client(("127.0.0.1", self.tcp)))

    def echo(self, client):
        """A frame of text as clients send them, there and back."""
        self.echoes += 1
        text = b"echo %08d" % self.echoes
        frame = b"\x81" + bytes([0x80 | len(text)]) + b"\0\0\0\0" + text
        fd = client.socket.fileno()
        try:
            client.send(frame)
            if client.exactly(len(frame)) == frame and not client.buffer:
                return
            why = "another answer than what was said"
        except (OSError, EOFError) as e:
            why = repr(e)
        self.lose(fd, why)

    def lose(self, fd, why):
        self.closed += 1
        if self.closed <= 10:
            print("    lost: %s" % why, flush=True)
        self.poll.unregister(fd)
        self.all.pop(fd).close()

    def look(self, echoes=0):
        """Whether all are there; some are talked on."""
        for fd, event in self.poll.poll(0):
            self.lose(fd, "closed, or bytes that nobody said (event %#x)" % event)
        for c in random.sample(list(self.all.values()), min(echoes, len(self.all))):
            self.echo(c)

    def end(self):
        self.look(len(self.all))
        for c in self.all.values():
            c.close()


class Idle:
    """Clients with a kept-alive connection that say nothing for a while, and then ask."""

    def __init__(self, port, n):
        self.all = [flow.Client(("127.0.0.1", port)) for _ in range(n)]
        if not all(self.fine(c) for c in self.all):
            raise AssertionError("a first question failed")

    @staticmethod
    def fine(client):
        try:
            client.send(flow.request("/number"))
            return client.answer().status == 200
        except (OSError, EOFError):
            return False

    def lost(self):
        n = sum(not self.fine(c) for c in self.all)
        for c in self.all:
            c.close()
        return n


# ---------------------------------------------------------------- the server


class Millrace:
    """flow.Server, and the commands of people."""

    name = "millrace"

    def __init__(self, text, connections=1000):
        self.connections = connections
        self.server = flow.Server(self.whole(text), main="", listens=[], arguments=())
        self.master = self.server.process.pid
        try:
            flow.wait_for(lambda: "serving:" in self.server.said())
        except AssertionError:
            said = self.server.said()
            self.server.end()
            raise AssertionError(said) from None

    def whole(self, text):
        return 'workers %d; connections %d; defaults { access_log off; timeout { idle 2h; keepalive 2h; } }\n%s' % (
            WORKERS, self.connections, text)

    def write(self, text):
        self.server.write("server.conf", 'pid "server.pid";\n' + self.whole(text))

    def command(self, *words):
        return flow.run("-c", self.server.path, "-p", self.server.directory, *words, timeout=120)

    def reload(self):
        """(seconds, exit status, what was said)"""
        began = time.monotonic()
        status, out, said = self.command("-s", "reload")
        return time.monotonic() - began, status, out + said

    def test(self):
        began = time.monotonic()
        status, _, said = self.command("-t")
        check(status == 0, "-t:", said)
        return time.monotonic() - began

    def ask(self, verb):
        """Rows of the control socket, as words."""
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(flow.TIME)
            c.connect(os.path.join(self.server.directory, "server.control"))
            c.sendall(verb.encode() + b"\n")
            got = b""
            while more := c.recv(65536):
                got += more
        return [line[1:].split("\t") for line in got.decode().split("\n") if line.startswith(" ")]

    def workers(self):
        return sorted(children(self.master))

    def settled(self):
        """The workers, when nobody else is born of the master."""
        return flow.wait_for(lambda: len(self.workers()) == WORKERS and self.workers())

    def reloaded_in(self):
        """What the master says that each took."""
        return [int(n) / 1000 for n in re.findall(r"reloaded in (\d+) ms", self.server.said())]

    def end(self):
        try:
            self.server.stop()
        except AssertionError as e:
            check(False, "the end:", e)
            self.server.end() if self.server.process else None


class Watch(threading.Thread):
    """
    `server snapshots`, over and over. A third one may be held by exchanges of the load that outlive two reloads, where the
    machine does not come to them, or be on its way out; seldom, and it is held by nothing else.
    """

    def __init__(self, millrace):
        super().__init__(daemon=True)
        self.millrace, self.most, self.looks, self.done = millrace, 0, 0, threading.Event()
        self.held, self.more = [], 0
        self.start()

    def look(self, rows):
        self.looks += bool(rows)
        for worker in {row[0] for row in rows}:
            mine = sorted((r for r in rows if r[0] == worker), key=lambda r: -int(r[1]))
            self.most = max(self.most, len(mine))
            self.more += len(mine) > 2
            self.held += [mine for r in mine[2:] if r[2] != "going" and r[4] == "0"]

    def run(self):
        while not self.done.wait(0.005):
            with contextlib.suppress(OSError):
                self.look(self.millrace.ask("snapshots"))

    def finish(self):
        self.done.set()
        self.join(flow.TIME)


class Nginx:
    """Debian's, under a configuration that says the same."""

    name = "nginx"

    def __init__(self, body, connections=1000):
        self.program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        self.directory, self.connections = tempfile.mkdtemp(prefix="nginx-"), connections
        os.chmod(self.directory, 0o755)
        self.path = os.path.join(self.directory, "nginx.conf")
        self.write(body)
        self.arguments = [self.program, "-c", self.path, "-e", self.directory + "/error.log", "-p", self.directory]
        self.own = Own(*self.arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.master = self.own.process.pid
        flow.wait_for(lambda: os.path.exists(self.directory + "/nginx.pid") and len(children(self.master)) == WORKERS, 30)

    def write(self, body):
        temporary = " ".join("%s_temp_path %s/t;" % (w, self.directory)
                             for w in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(self.path, "w") as f:
            f.write("""daemon off; worker_processes %d; pid nginx.pid; error_log error.log crit; worker_rlimit_nofile %d;
                events { worker_connections %d; }
                http { access_log off; %s keepalive_timeout 1h; keepalive_requests 1000000; server_names_hash_max_size 65536;
                server_names_hash_bucket_size 128; variables_hash_max_size 4096; default_type text/plain; %s }
                """ % (WORKERS, self.connections + 200, self.connections, temporary, body))

    def test(self):
        began = time.monotonic()
        subprocess.run([*self.arguments, "-t"], check=True, capture_output=True, timeout=120)
        return time.monotonic() - began

    def reload(self, port, number):
        """`nginx -s reload`, until new connections get the new answer and no other: (seconds of the command, of all)"""
        began = time.monotonic()
        subprocess.run([*self.arguments, "-s", "reload"], check=True, capture_output=True, timeout=120)
        command, since, run = time.monotonic() - began, 0, 0
        while run < 20:
            if time.monotonic() - began > 60:
                raise AssertionError("nginx did not reload")
            new = answer(port) == str(number)
            since = time.monotonic() if new and run == 0 else since
            run = run + 1 if new else 0
        return command, since - began

    def end(self):
        self.own.process.terminate()        # at once, with its workers, those of reloads before too
        self.own.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def answer(port, target="/number"):
    """Of a connection of its own."""
    with flow.Client(("127.0.0.1", port)) as c:
        c.send(flow.request(target, "h0.example.com", "Connection: close"))
        return c.answer().text


# ---------------------------------------------------------------- 1 and 2: many reloads under load


CONF = """
upstream web { server 127.0.0.1:%(web)d;%(more)s pool { idle 64; } }
upstream talk { server 127.0.0.1:%(talk)d; }
server http {
    listen 127.0.0.1:@port@;
    response_header set X-Number "%(n)d";
    route = /number { return 200 "%(n)d"; }
    route /ws { proxy talk; }
%(routes)s    route { proxy web; }
}
server tcp { listen 127.0.0.1:@port2@; protocol tcp; proxy 127.0.0.1:%(talk)d; }
%(changing)s"""


class Row:
    """Reloads, one after another, with everything open."""

    BAD = ("nonsense;", "server broken { listen 127.0.0.1:@port2@ }", "server other { listen 127.0.0.1:%(taken)d; return 200; }",
           "server other { listen 127.0.0.1:@port6@; proxy nobody; }", "server {")

    def __init__(self, options, backends, changing):
        self.o, self.b, self.changing = options, backends, changing
        self.times, self.bad_times, self.samples, self.number, self.other = [], [], {}, 0, None
        self.served = 0

    def text(self, n):
        """(configuration number n, whether it is good)"""
        words = {"web": self.b.web, "talk": self.b.talk, "n": n, "more": "", "routes": "", "changing": ""}
        bad = self.changing and n % 3 == 2
        if self.changing:
            words["more"] = " server 127.0.0.1:%d;" % self.b.web2 if n % 2 else ""
            words["routes"] = "".join('    route /r%d { return 200 "%d"; }\n' % (i, n) for i in range(n % 7))
            words["changing"] = """upstream changing { server 127.0.0.1:%d weight=%d; }
server changing { listen 127.0.0.1:@port%d@; route = /number { return 200 "%d"; } route { proxy changing; } }
%s""" % (self.b.web, 1 + n % 4, 3 + n % 3, n, self.BAD[n // 3 % len(self.BAD)] % {"taken": self.b.talk} if bad else "")
        return CONF % words, not bad

    def reload(self, n):
        text, good = self.text(n)
        self.m.write(text)
        seconds, status, said = self.m.reload()
        (self.times if good else self.bad_times).append(seconds)
        if good:
            check(status == 0, "reload %d: exit status %d: %s" % (n, status, said))
            self.served = n
        else:
            check(status == 1 and re.search("error: |cannot listen on ", said) and "the configuration before stays" in said,
                  "bad reload %d: exit status %d: %s" % (n, status, said))
        got = answer(self.port)
        check(got == str(self.served), "after reload %d: configuration %s serves" % (n, got))
        if self.changing:
            got = answer(self.m.server.names["port%d" % (3 + self.served % 3)])
            check(got == str(self.served), "after reload %d: the listener of %s answers" % (n, got))
            gone = self.m.server.names["port%d" % (3 + (self.served + 1) % 3)]
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", gone)) == 0:
                    check(False, "after reload %d: a listener that is gone is there" % n)

    def sample(self, name):
        workers = self.m.settled()
        self.samples[name] = {
            "tunnels": len(self.kept.all), "workers": sum(map(pss, workers)), "master": pss(self.m.master),
            "descriptors": sum(map(descriptors, workers)) - 2 * len(self.kept.all), "of the master": descriptors(self.m.master)}

    def open_all(self):
        """Bytes of the workers for each that was opened: WebSockets, tunnels."""
        found = []
        for one in (self.kept.websocket, self.kept.tunnel):
            before = sum(map(pss, self.m.settled()))
            for _ in range(self.o.connections):
                one()
            time.sleep(0.3)
            found.append((sum(map(pss, self.m.settled())) - before) // self.o.connections)
        return found

    def all_reloads(self):
        until = time.monotonic() + PART
        half = self.o.reloads // 2
        for n in range(1, self.o.reloads + 1):
            self.reload(n)
            self.kept.websocket()
            self.kept.tunnel()
            self.kept.look(10)
            if n in (10, half, self.o.reloads):
                self.sample("after %d" % n)
            if time.monotonic() > until:
                check(False, "only %d reloads in %d s" % (n, PART))
                break
        self.done = n

    def run(self):
        total = 2 * (self.o.connections + self.o.reloads)
        ports = ["@port%d@" % i for i in range(2, 7)]
        self.m = Millrace(self.text(0)[0], 3 * total + 1000)
        with contextlib.ExitStack() as stack:
            stack.callback(self.m.end)
            for p in ports:
                self.m.server.fill(p)
            self.port = self.m.server.names["port"]
            workers = self.m.settled()
            self.kept = Kept(self.port, self.m.server.names["port2"])
            directory = self.m.server.directory
            loads = [Load(self.port, 48, directory), Load(self.port, 16, directory, "-H", "Connection: close")]
            for load in loads:
                stack.callback(load.end)
            time.sleep(1)
            each = self.open_all()
            watch = Watch(self.m)
            began = time.monotonic()
            self.all_reloads()
            seconds = time.monotonic() - began
            extra = max(min(self.o.reloads // 10, 100), 10) // 6 * 6
            for n in range(self.done + 1, self.done + 1 + extra):
                self.reload(n)
                self.kept.look(10)
            self.sample("and %d more, none opened" % extra)
            watch.finish()
            asked = [load.finish() for load in loads]
            self.kept.end()
            self.report(each, watch, asked, workers, seconds)

    def report(self, each, watch, asked, workers, seconds):
        failed = [w for _, wrong in asked for w in wrong]
        say("reloads, bad ones among them", len(self.times) + len(self.bad_times), len(self.bad_times), "in %.0f s" % seconds)
        say("a reload takes (the command, to its exit)", spread(self.times))
        if self.bad_times:
            say("a bad one takes", spread(self.bad_times))
        say("requests of wrk; on a connection each", sum(n for n, _ in asked), asked[1][0])
        say("requests that failed", failed or 0)
        say("WebSockets, TCP tunnels opened", self.kept.websockets, self.kept.tunnels)
        say("closed of them", self.kept.closed)
        say("echoes on them", self.kept.echoes)
        say("processes before, after", [self.m.master, *workers], [self.m.master, *self.m.settled()])
        say("most configurations in a worker, of how many looks", watch.most, watch.looks)
        if watch.more:
            say("   more than two, behind exchanges that still ran", watch.more, "times")
        say("memory of the workers for a WebSocket, a tunnel", "%d, %d bytes" % tuple(each))
        for name, s in self.samples.items():
            say(name, "workers %s with %d open; master %s; descriptors beside these: %d, of the master %d" % (
                kib(s["workers"]), s["tunnels"], kib(s["master"]), s["descriptors"], s["of the master"]))
        first, *_, last, still = self.samples.values() if len(self.samples) > 2 else [*self.samples.values()] * 3
        opened = last["tunnels"] - first["tunnels"]
        if opened:
            say("growth from the 10th to the last, for each opened since", "%d bytes" % (
                (last["workers"] - first["workers"]) // opened))
        say("growth of the workers in the last, when none opened", kib(still["workers"] - last["workers"]))
        check(not failed, "requests failed:", failed)
        check(self.kept.closed == 0, self.kept.closed, "connections were closed")
        check(workers == self.m.settled(), "the workers are not the same")
        check(watch.looks > 0 and not watch.held and watch.more <= watch.looks / 20, watch.most, "configurations alive in a worker:", watch.held[:1])


# ---------------------------------------------------------------- 3: large configurations


def ours_routes(port, n):
    return 'server { listen 127.0.0.1:%d; %s route = /number { return 200 "%d"; } route { return 200 "pong"; } }' % (
        port, "\n".join('route /r%d { return 200 "%d"; }' % (i, i) for i in range(MANY)), n)


def nginx_routes(port, n):
    return "server { listen 127.0.0.1:%d; %s location = /number { return 200 '%d'; } location / { return 200 'pong'; } }" % (
        port, "\n".join("location /r%d { return 200 '%d'; }" % (i, i) for i in range(MANY)), n)


def ours_servers(port, n):
    return "\n".join('server { listen 127.0.0.1:%d; server_name h%d.example.com; return 200 "%d"; }' % (
        port, i, i or n) for i in range(MANY))


def nginx_servers(port, n):
    return "\n".join("server { listen 127.0.0.1:%d; server_name h%d.example.com; location / { return 200 '%d'; } }" % (
        port, i, i or n) for i in range(MANY))


def large_ours(what, text, backends):
    ports = flow.Ports()
    port = ports.take()
    m = Millrace(text(port, 1))
    with contextlib.ExitStack() as stack:
        stack.callback(ports.close)
        stack.callback(m.end)
        m.settled()
        memory = [tree_pss(m.master)]
        checks = [m.test() for _ in range(TIMES)]
        pinger = Pinger(port, backends.web)
        stack.callback(pinger.end)
        idle = []
        for _ in range(TIMES):
            time.sleep(0.5)
            idle.append(pinger.look())
        times, stalls = [], []
        for n in range(2, TIMES + 2):
            m.write(text(port, n))
            pinger.look()
            seconds, status, said = m.reload()
            time.sleep(0.3)             # what was before is freed
            stalls.append(pinger.look())
            times.append(seconds)
            check(status == 0, "%s: exit status %d: %s" % (what, status, said))
            check(answer(port) == str(n), "%s: not reloaded" % what)
            m.settled()
            memory.append(tree_pss(m.master))
        workers = [kib(pss(p)) for p in m.workers()]
        say("%s: -t" % what, spread(checks))
        say("%s: reload (the command, to its exit)" % what, spread(times))
        say("%s: reload (as the master logs it)" % what, spread(m.reloaded_in()))
        for name, looks in (("nothing happens", idle), ("it reloads", stalls)):
            say("%s: longest wait for an answer while %s" % (what, name), spread([a for a, _ in looks]))
            say("%s:   of a bystander meanwhile" % what, spread([b for _, b in looks]))
        say("%s: memory before, after %s reloads" % (what, LOOKS), *(kib(memory[i]) for i in (0, *LOOKS)),
            "(master %s, workers %s)" % (kib(pss(m.master)), ", ".join(workers)))


def large_nginx(what, text):
    ports = flow.Ports()
    port = ports.take()
    m = Nginx(text(port, 1))
    with contextlib.ExitStack() as stack:
        stack.callback(ports.close)
        stack.callback(m.end)
        memory = [tree_pss(m.master)]
        checks = [m.test() for _ in range(TIMES)]
        commands, times = [], []
        for n in range(2, TIMES + 2):
            m.write(text(port, n))
            command, seconds = m.reload(port, n)
            commands.append(command)
            times.append(seconds)
            flow.wait_for(lambda: len(children(m.master)) == WORKERS, 30)
            memory.append(tree_pss(m.master))
        say("%s, nginx: -t" % what, spread(checks))
        say("%s, nginx: reload, until nobody gets the old answer" % what, spread(times))
        say("%s, nginx:   of it the command" % what, spread(commands))
        say("%s, nginx: memory before, after %s reloads" % (what, LOOKS), *(kib(memory[i]) for i in (0, *LOOKS)))


# ---------------------------------------------------------------- 4: beside nginx


def beside_text(n, port, talk):
    return """
        upstream talk { server 127.0.0.1:%d; }
        server { listen 127.0.0.1:%d; route /ws { proxy talk; } route { return 200 "%d"; } }
    """ % (talk, port, n)


def beside_nginx_text(n, port, talk):
    return """
        upstream talk { server 127.0.0.1:%d; }
        server { listen 127.0.0.1:%d; location / { return 200 '%d'; }
            location /ws { proxy_pass http://talk; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection upgrade; proxy_read_timeout 2h; proxy_send_timeout 2h; } }
    """ % (talk, port, n)


def beside(options, backends, kind, text):
    """WebSockets over reloads, one more opened between every two; idle clients at one of them."""
    ports = flow.Ports()
    port = ports.take()
    m = kind(text(0, port, backends.talk), 3 * (options.connections + BESIDE) + 1000)
    reload = (lambda n: m.reload(port, n)[1]) if kind is Nginx else (lambda n: m.reload()[0])
    with contextlib.ExitStack() as stack:
        stack.callback(ports.close)
        stack.callback(m.end)
        flow.wait_for(lambda: flow.listening(("127.0.0.1", port)))
        idle = Idle(port, IDLE)
        m.write(text(1, port, backends.talk))
        reload(1)
        time.sleep(0.5)
        lost = idle.lost()
        kept = Kept(port, None)
        for _ in range(options.connections):
            kept.websocket()
        before = len(children(m.master)), tree_pss(m.master)
        times = []
        for n in range(2, BESIDE + 2):
            m.write(text(n, port, backends.talk))
            times.append(reload(n))
            kept.websocket()
            kept.look(5)
        after = len(children(m.master)), tree_pss(m.master)
        kept.end()
        say("%s: workers, memory with %d WebSockets" % (m.name, options.connections), "%d, %s" % (before[0], kib(before[1])))
        say("%s: after %d reloads and as many WebSockets more" % (m.name, BESIDE), "%d, %s" % (after[0], kib(after[1])))
        say("%s: WebSockets closed" % m.name, kept.closed)
        say("%s: a reload takes" % m.name, spread(times))
        say("%s: idle kept-alive clients that lost their next request" % m.name, "%d of %d" % (lost, IDLE))
        if kind is Millrace:
            check(lost == 0, lost, "idle clients lost a request")
            check(kept.closed == 0, kept.closed, "WebSockets were closed")
            check(after[0] == WORKERS, after[0], "workers")


# ---------------------------------------------------------------- all of it


def parts(options, backends):
    have_nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not have_nginx and options.parts & {3, 4}:
        print("nginx is not installed: nothing stands beside\n")
    if 1 in options.parts:
        yield "%d reloads under load, one answer changes" % options.reloads, Row(options, backends, False).run
    if 2 in options.parts:
        yield "%d reloads under load, all changes, every third is bad" % options.reloads, Row(options, backends, True).run
    if 3 in options.parts:
        for what, ours, other in (("routes", ours_routes, nginx_routes), ("server blocks", ours_servers, nginx_servers)):
            yield "10,000 %s" % what, lambda what=what, ours=ours: large_ours(what, ours, backends)
            if have_nginx:
                yield "10,000 %s, nginx" % what, lambda what=what, other=other: large_nginx(what, other)
    if 4 in options.parts:
        yield "%d reloads, beside nginx" % BESIDE, lambda: beside(options, backends, Millrace, beside_text)
        if have_nginx:
            yield "%d reloads, nginx" % BESIDE, lambda: beside(options, backends, Nginx, beside_nginx_text)


def main():
    parser = argparse.ArgumentParser(description="Many reloads, and what they cost.")
    parser.add_argument("--reloads", type=int, default=int(os.environ.get("RELOADS") or 1000))
    parser.add_argument("--connections", type=int, default=1000, help="WebSockets, and as many tunnels, that are open at first")
    parser.add_argument("--parts", default="1,2,3,4", type=lambda s: {int(n) for n in s.split(",")})
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    need = 6 * (options.connections + options.reloads) + 1500
    if need > hard:
        sys.exit("reloads: needs %d descriptors and may have %d: fewer --connections or --reloads" % (need, hard))
    if not shutil.which("wrk"):
        sys.exit("reloads: wrk is not installed")
    print("%s; %d CPUs, load %.1f; %d workers" % (flow.run("-v")[1].strip(), os.cpu_count(), os.getloadavg()[0], WORKERS))
    directory = tempfile.mkdtemp(prefix="reloads-")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        backends = Backends(directory)
        stack.callback(backends.end)
        for title, run in parts(options, backends):
            print("\n%s (load %.1f)" % (title, os.getloadavg()[0]), flush=True)
            try:
                run()
            except (AssertionError, OSError, EOFError, subprocess.SubprocessError) as e:
                check(False, "%s: ended by %r" % (title, e))
    print("\nreloads: %s" % ("%d promises are broken" % len(broken) if broken else "fine"))
    return 1 if broken else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--talk"]:
        asyncio.run(talk(int(sys.argv[2])))
    elif sys.argv[1:2] == ["--ping"]:
        ping([int(p) for p in sys.argv[2].split(",")])
    else:
        sys.exit(main())
