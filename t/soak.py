#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A long time of everything at once: keep-alive, pipelines, bodies by length and in chunks, slow and aborting clients, slow
readers, tunnels, WebSockets, to backends that hang, drip, answer garbage, break off, and are killed and started again.

    make soak SOAK_SECONDS=600 SOAK_SEED=1 SOAK_WORKERS=2 SOAK_CLIENTS=40

Every question has a mark, and exactly one outcome: an answer with its own mark (every byte of the body is of it), 502 or
504, or an end in the middle that shows. The access log must say the same of each. At the end the workers must have the
memory of the first fifth (within 10 % or 2 MiB) and the descriptors of the start. Without SOAK_SECONDS it takes 10 seconds, as in
`make check`.
"""
import asyncio
import base64
import collections
import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "flow"))
import flow

SECONDS = float(os.environ.get("SOAK_SECONDS") or 10)
SEED = int(os.environ.get("SOAK_SEED") or 0) or random.SystemRandom().randrange(1 << 30)
WORKERS = int(os.environ.get("SOAK_WORKERS") or 2)
CLIENTS = int(os.environ.get("SOAK_CLIENTS") or 40)
REPORT = 30

CONF = """
upstream one { server 127.0.0.1:%(one)d fail_timeout=200ms; server 127.0.0.1:%(two)d fail_timeout=200ms; pool { idle 8; idle_timeout 2s; } timeout { connect 1s; header 1500ms; idle 1500ms; write 5s; } }
upstream two { server unix:%(d)s/three.sock fail_timeout=200ms; server unix:%(d)s/four.sock fail_timeout=200ms; pool { idle 8; idle_timeout 2s; } timeout { connect 1s; header 1500ms; idle 1500ms; write 5s; } }
upstream talk { server 127.0.0.1:%(one)d fail_timeout=200ms; server unix:%(d)s/three.sock fail_timeout=200ms; pool { idle 8; idle_timeout 2s; } timeout { connect 1s; } }
server {
    listen 127.0.0.1:@port@;
    access_log "access.log" json;
    max { body 64m; }
    timeout { keepalive 5s; }
    route /one { proxy one; }
    route /two { proxy two; }
    route { return 404; }
}
server { listen 127.0.0.1:@port2@; protocol tcp; timeout { idle 10s; } proxy talk; }
"""


def pattern(mark, n):
    """What a body of that mark is: nothing else looks like it."""
    unit = mark + b"."
    return (unit * (n // len(unit) + 1))[:n]


async def read_head(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    return lines[0], {n.lower(): v.strip() for n, v in (line.split(b":", 1) for line in lines[1:])}


async def read_body(reader, fields):
    if fields.get(b"transfer-encoding") == b"chunked":
        parts = []
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            part = await reader.readexactly(size + 2)
            if size == 0:
                return b"".join(parts)
            parts.append(part[:-2])
    return await reader.readexactly(int(fields.get(b"content-length", 0)))


def in_chunks(data, rng):
    parts = []
    while data:
        n = rng.choice((1, 7, 100, 4000, 70000))
        parts.append(b"%x\r\n%s\r\n" % (len(data[:n]), data[:n]))
        data = data[n:]
    return b"".join(parts) + b"0\r\n\r\n"


# ---------------------------------------------------------------- a backend: a process of its own, to be killed


async def backend_serve(reader, writer):
    """Targets are /UPSTREAM/HOW/MARK/SIZE. Anything that does not begin as HTTP is echoed."""
    s = writer.get_extra_info("socket")
    if s.family != socket.AF_UNIX:      # whoever is killed resets
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rng = random.Random(id(writer))
    try:
        while True:
            first = await reader.readexactly(1)
            if first == b"!":
                while True:
                    data = await reader.read(65536)
                    if not data:
                        return
                    writer.write(data)
                    await writer.drain()
            line, fields = await read_head(reader)
            method, target, _ = (first + line).split(b" ")
            _, _, how, mark, size = target.split(b"/")
            if how == b"early":
                writer.write(b"HTTP/1.1 200 OK\r\nX-Mark: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % mark)
                await writer.drain()
            body = await read_body(reader, fields)
            if body != pattern(mark, len(body)):
                writer.write(b"HTTP/1.1 500 Mixed\r\nContent-Length: 0\r\n\r\n")
                return
            if not await backend_answer(reader, writer, rng, how, mark, int(size), method == b"HEAD", fields):
                return
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        pass
    finally:
        with contextlib.suppress(Exception):
            writer.close()


async def backend_answer(reader, writer, rng, how, mark, size, head, fields):
    """False: the connection ends."""
    body = pattern(mark, size)
    start = b"HTTP/1.1 200 OK\r\nX-Mark: %s\r\n" % mark
    length = start + b"Content-Length: %d\r\n\r\n" % size
    if how == b"ok":
        writer.write(length + (b"" if head else body))
    elif how == b"chunked":
        writer.write(start + b"Transfer-Encoding: chunked\r\n\r\n" + (b"" if head else in_chunks(body, rng)))
    elif how == b"close":
        writer.write(start + b"\r\n" + (b"" if head else body))
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        return False
    elif how == b"drip":
        for at in range(0, len(length), 20):
            writer.write(length[at:at + 20])
            await asyncio.sleep(0.01)
        writer.write(b"" if head else body)
    elif how == b"hang":
        await reader.read(1)
        return False
    elif how == b"garbage":
        writer.write(rng.choice((b"\0" * 100, b"HTTP/1.1 200 OK\nX: y\n\n", length.replace(b"Content-Length", b"Content-Length : 1\r\nX"), b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n" * 20)))
        await writer.drain()
        return False
    elif how == b"half":
        writer.write(length + body[:size // 2])
        await writer.drain()
        return False
    elif how == b"none" or how == b"early":
        return False
    elif how == b"talk":
        key = fields.get(b"sec-websocket-key", b"")
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nX-Mark: %s\r\n\r\n" % (accept, mark))
        while True:
            data = await reader.read(65536)
            if not data:
                return False
            writer.write(data)
            await writer.drain()
    await writer.drain()
    return True


async def backend_main(address):
    if address.isdigit():
        server = await asyncio.start_server(backend_serve, "127.0.0.1", int(address), backlog=512, limit=1 << 20)
    else:
        with contextlib.suppress(OSError):
            os.unlink(address)
        server = await asyncio.start_unix_server(backend_serve, address, backlog=512, limit=1 << 20)
        os.chmod(address, 0o777)
    await server.serve_forever()


class Backend:
    def __init__(self, address):
        self.address = address
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--backend", str(self.address)], stdin=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ready(self):
        return flow.listening(self.address if isinstance(self.address, str) else ("127.0.0.1", self.address))


# ---------------------------------------------------------------- clients


class Lost(Exception):
    """A question that the rules do not let end as it did."""


class Soak:
    def __init__(self):
        self.rng = random.Random(SEED)
        self.outcomes = collections.Counter()
        self.kinds = collections.Counter()
        self.open = {}              # mark -> statuses that the log may say, while the log has not said it
        self.early = {}             # mark -> what the log said before the client knew
        self.number = 0
        self.over = False
        self.log_rest = b""

    # Marks and their outcomes.

    def mark(self):
        self.number += 1
        return b"r%dq" % self.number

    def outcome(self, mark, what, status=None):
        """`status`: what the client saw; None: nothing, so the log may say anything, or not have it."""
        self.outcomes[what] += 1
        if mark in self.early:
            self.compare(mark, status, self.early.pop(mark))
        else:
            self.open[mark] = status

    def fail(self, text):
        self.outcomes["WRONG"] += 1
        if self.outcomes["WRONG"] <= 50:
            print("WRONG after %.1f s: %s" % (time.monotonic() - self.started, text), flush=True)

    def compare(self, mark, seen, logged):
        if seen is not None and seen != logged:
            self.fail("%s: the client saw %s, the log says %s" % (mark, seen, logged))

    def read_log(self):
        data = self.log_rest + self.log.read()
        *lines, self.log_rest = data.split(b"\n")
        for line in lines:
            mark = re.search(rb'"uri":"/\w+/\w+/(r[0-9]+q)/', line)
            if not mark:
                continue
            status = re.search(rb'"status":([0-9]+)', line)
            status, mark = int(status.group(1)) if status else 0, mark.group(1)
            self.kinds["logged"] += 1
            if mark in self.open:
                self.compare(mark, self.open.pop(mark), status)
            elif mark in self.early:
                self.fail("%s: logged twice" % mark)
            else:
                self.early[mark] = status

    # Questions.

    def question(self, rng, how, mark, size, method=b"GET", more=b"", body=None, chunked=False):
        head = b"%s /%s/%s/%s/%d HTTP/1.1\r\nHost: soak\r\n%s" % (method, rng.choice((b"one", b"two")), how, mark, size, more)
        if body is None:
            return head + b"\r\n"
        if chunked:
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks(body, rng)
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def any_question(self, rng, sane=False):
        """(mark, method, size, bytes)"""
        how = b"ok" if sane else rng.choices((b"ok", b"chunked", b"close", b"drip", b"hang", b"garbage", b"half", b"none", b"early"), (60, 20, 4, 4, 0.5, 1, 1, 1, 1))[0]
        method = b"POST" if how == b"early" else rng.choices((b"GET", b"HEAD", b"POST"), (6, 1, 3))[0]
        mark, size = self.mark(), rng.choice((0, 1, 100, 1000, 5000, 20000, 100000))
        if method != b"POST":
            return mark, how, method, size, self.question(rng, how, mark, size, method)
        body = pattern(mark, rng.choice((1, 100, 3000, 70000, 300000)))
        # An early answer cannot know how much more comes in chunks: behind much the connection may end unannounced.
        chunked = rng.random() < 0.5 and (how != b"early" or len(body) < 60000)
        return mark, how, method, size, self.question(rng, how, mark, size, method, b"", body, chunked)

    async def answer(self, reader, mark, how, method, size):
        """Takes one answer; whether the connection goes on."""
        try:
            line, fields = await read_head(reader)
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            got = getattr(e, "partial", b"")
            raise Lost("%s %s %s: closed without an answer, %r" % (method, how, mark, got[:50])) from None
        status = int(line.split(b" ")[1])
        goes_on = fields.get(b"connection") != b"close"
        if status != 200:
            if status not in (502, 504):
                self.fail("%s %s %s: %s" % (method, how, mark, line))
            if method != b"HEAD":
                await read_body(reader, fields)
            self.outcome(mark, "%d" % status, status)
            return goes_on
        if fields.get(b"x-mark") != mark:
            self.fail("%s %s %s: the answer to %s" % (method, how, mark, fields))
            self.outcome(mark, "200", 200)
            return False
        try:
            body = b"" if method == b"HEAD" else await read_body(reader, fields)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.outcome(mark, "cut", 200)
            return False
        if body != (b"" if method == b"HEAD" or how == b"early" else pattern(mark, size)) or how in (b"hang", b"garbage", b"none") or (how == b"half" and size > 1 and method != b"HEAD"):
            self.fail("%s %s %s: a body of %d bytes that is not its own" % (method, how, mark, len(body)))
        self.outcome(mark, "200", 200)
        return goes_on

    async def connect(self, name="port", receive_buffer=None):
        s = socket.socket()
        s.setblocking(False)
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(s, self.server.address(name))
        reader, writer = await asyncio.open_connection(sock=s, limit=1 << 20)
        reader.set_exception = lambda _: reader.feed_eof()      # what came before a reset is read all the same
        return reader, writer

    # Kinds of clients: each one connection.

    async def keep_alive(self, rng):
        reader, writer = await self.connect()
        for _ in range(rng.randrange(1, 40)):
            mark, how, method, size, raw = self.any_question(rng)
            writer.write(raw)
            if not await self.answer(reader, mark, how, method, size):
                break
        return writer

    async def pipeline(self, rng):
        reader, writer = await self.connect()
        for _ in range(rng.randrange(1, 5)):
            asked = [self.any_question(rng) for _ in range(rng.randrange(2, 9))]
            writer.write(b"".join(q[-1] for q in asked))
            last = rng.random() < 0.2
            if last:
                writer.write_eof()
            goes_on = True
            for mark, how, method, size, _ in asked:
                if goes_on:
                    goes_on = await self.answer(reader, mark, how, method, size)
                else:
                    self.outcome(mark, "behind an end")
            if last and goes_on and await reader.read(1) != b"":
                self.fail("more answers than questions")
            if last or not goes_on:
                break
        return writer

    async def slow(self, rng):
        reader, writer = await self.connect()
        mark, how, method, size, raw = self.any_question(rng, True)
        step = max(1, len(raw) // 20)
        for at in range(0, len(raw), step):
            writer.write(raw[at:at + step])
            await asyncio.sleep(rng.random() * 0.1)
        await self.answer(reader, mark, how, method, size)
        return writer

    async def abort(self, rng):
        reader, writer = await self.connect()
        mark, how, method, size, raw = self.any_question(rng)
        writer.write(raw[:rng.randrange(1, len(raw) + 1)])
        await asyncio.sleep(rng.choice((0, 0.001, 0.01, 0.05)))
        if rng.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self.outcome(mark, "aborted")
        return writer

    async def slow_reader(self, rng):
        reader, writer = await self.connect(receive_buffer=4096)
        mark, size = self.mark(), 1 << 20
        writer.write(self.question(rng, b"ok", mark, size))
        reader._transport.pause_reading()
        await asyncio.sleep(rng.random())
        with contextlib.suppress(RuntimeError):
            reader._transport.resume_reading()
        await self.answer(reader, mark, b"ok", b"GET", size)
        return writer

    async def tunnel(self, rng):
        try:
            reader, writer = await self.connect("port2")
        except ConnectionResetError:        # accepted, and the peer's reset passed on
            self.outcomes["talk cut"] += 1
            return None
        return await self.talk(rng, reader, writer, b"!")

    async def talk(self, rng, reader, writer, first):
        """What goes in comes out, until one side ends."""
        try:
            writer.write(first)
            for _ in range(rng.randrange(1, 20)):
                data = rng.randbytes(rng.choice((1, 100, 5000, 200000)))
                writer.write(data)
                if await reader.readexactly(len(data)) != data:
                    self.fail("a tunnel changed what it carried")
            writer.write_eof()
            if await reader.read(1) != b"":
                self.fail("a tunnel said more than it heard")
            self.outcomes["talk"] += 1
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            self.outcomes["talk cut"] += 1
        return writer

    async def websocket(self, rng):
        reader, writer = await self.connect()
        mark = self.mark()
        key = base64.b64encode(rng.randbytes(16))
        writer.write(self.question(rng, b"talk", mark, 0, b"GET", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n"))
        try:
            line, fields = await read_head(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Lost("a handshake %s: closed without an answer" % mark) from None
        status = int(line.split(b" ")[1])
        if status == 101:
            if fields.get(b"x-mark") != mark:
                self.fail("a handshake with another's answer")
            self.outcome(mark, "101", 101)
            return await self.talk(rng, reader, writer, b"")
        if status not in (502, 504):
            self.fail("a handshake: %s" % line)
        self.outcome(mark, "%d" % status, status)
        return writer

    async def nonsense(self, rng):
        reader, writer = await self.connect()
        writer.write(rng.choice((b"\0\0\0\0\r\n\r\n", b"GET /one/ok/r0q/0 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /x y HTTP/1.1\r\n\r\n", b"GET /\n\n")))
        line, fields = await read_head(reader)
        if not line.startswith(b"HTTP/1.1 400 "):
            self.fail("nonsense got %r" % line)
        await read_body(reader, fields)
        if await reader.read(1) != b"":
            self.fail("more behind a refusal")
        self.outcomes["400"] += 1
        return writer

    async def client(self, rng):
        kinds = ((self.keep_alive, 40), (self.pipeline, 15), (self.slow, 5), (self.abort, 15), (self.slow_reader, 2), (self.tunnel, 10), (self.websocket, 8), (self.nonsense, 3))
        while not self.over:
            kind = rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
            self.kinds[kind.__name__] += 1
            writer = None
            try:
                writer = await asyncio.wait_for(kind(rng), 30)
            except asyncio.TimeoutError:
                self.fail("%s: nothing happened for 30 s" % kind.__name__)
            except Lost as e:
                self.fail("%s: %s" % (kind.__name__, e))
            except Exception as e:
                self.fail("%s: %r" % (kind.__name__, e))
            if writer is not None:
                writer.close()
                with contextlib.suppress(Exception):
                    await writer.wait_closed()

    # What goes on beside them.

    async def chaos(self):
        rng = random.Random(SEED + 1)
        while not self.over:
            await asyncio.sleep(rng.uniform(0.5, 2.5))
            backend = rng.choice(self.backends)
            backend.kill()
            self.kinds["backends killed"] += 1
            await asyncio.sleep(rng.choice((0, 0.1, 0.5, 1)))
            backend.start()

    def sizes(self):
        """Of each worker: PSS in KiB, sockets, other descriptors."""
        found = []
        for pid in self.server.workers():
            with open("/proc/%d/smaps_rollup" % pid) as f:
                pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
            sockets = others = 0
            for fd in os.listdir("/proc/%d/fd" % pid):
                with contextlib.suppress(OSError):
                    is_socket = os.readlink("/proc/%d/fd/%s" % (pid, fd)).startswith("socket:")
                    sockets += is_socket
                    others += not is_socket
            found.append((pss, sockets, others))
        return found

    def report(self, what):
        sizes = "; ".join("worker: PSS %d KiB, %d sockets, %d other descriptors" % s for s in self.sizes())
        print("%6.0f s %s: %d questions; %s; %s" % (time.monotonic() - self.started, what, self.number,
              ", ".join("%s %d" % o for o in sorted(self.outcomes.items())), sizes), flush=True)

    async def watch(self):
        """Memory while it runs: the most of each fifth, and a report now and then."""
        self.most = [[0] * WORKERS for _ in range(5)]
        due = REPORT
        while True:
            elapsed = time.monotonic() - self.started
            if elapsed >= SECONDS:
                return
            fifth = self.most[int(elapsed * 5 / SECONDS)]
            for i, (pss, _, _) in enumerate(self.sizes()):
                fifth[i] = max(fifth[i], pss)
            if elapsed >= due:
                due += REPORT
                self.report("so far")
            self.read_log()
            await asyncio.sleep(min(1, SECONDS / 50))

    async def quiet(self):
        """The backends are back: everything is answered."""
        for b in self.backends:
            if b.process.poll() is not None:
                b.start()
        while not all(b.ready() for b in self.backends):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)        # what failed before is forgiven
        reader, writer = await self.connect()
        for _ in range(100):
            mark, how, method, size, raw = self.any_question(self.rng, True)
            writer.write(raw)
            before = self.outcomes["200"]
            if not await self.answer(reader, mark, how, method, size) or self.outcomes["200"] != before + 1:
                self.fail("a calm question failed: %s %s" % (method, mark))
                break
        writer.close()

    async def run(self):
        base = self.sizes()
        self.started = time.monotonic()
        clients = [asyncio.create_task(self.client(random.Random(SEED * 1000 + i))) for i in range(CLIENTS)]
        chaos = asyncio.create_task(self.chaos())
        await self.watch()
        self.over = True
        await asyncio.gather(*clients, chaos)
        await self.quiet()
        workers = self.server.workers()
        for _ in range(300):            # pools and closing connections have their time
            await asyncio.sleep(0.1)
            if all(s <= b for (_, s, _), (_, b, _) in zip(self.sizes(), base)):
                break
        os.kill(self.server.process.pid, signal.SIGUSR1)
        await asyncio.sleep(1)
        self.read_log()
        self.report("at the end")
        self.verdict(base, workers)

    def verdict(self, base, workers):
        sizes = self.sizes()
        if workers != self.workers:
            self.fail("a worker died: %s are not %s" % (workers, self.workers))
        for i, ((_, sockets, others), (_, first, first_others)) in enumerate(zip(sizes, base)):
            if sockets > first:
                self.fail("worker %d has %d sockets, %d at the start" % (i, sockets, first))
            if others > first_others + 2 * 32:         # a tunnel's pipes are kept for the next
                self.fail("worker %d has %d other descriptors, %d at the start" % (i, others, first_others))
        for i in range(WORKERS):
            first, last = self.most[0][i], max(self.most[4][i], sizes[i][0])
            print("memory of worker %d: %s KiB at most in each fifth, %d at the end" % (i, " ".join(str(f[i]) for f in self.most), sizes[i][0]))
            if "asan" not in flow.SERVER and last - first > max(first // 10, 2048):
                self.fail("worker %d grew from %d to %d KiB" % (i, first, last))
        missing = [m for m, status in self.open.items() if status is not None]
        if missing:
            self.fail("%d answers are not in the log, such as %s" % (len(missing), missing[:5]))
        unasked = [m for m in self.early if m != b"r0q"]
        if unasked:
            self.fail("%d lines of the log are of nothing that was asked: %s" % (len(unasked), unasked[:5]))
        total = sum(n for what, n in self.outcomes.items() if not what.startswith("talk") and what not in ("WRONG", "400"))
        if total != self.number:
            self.fail("%d questions, %d outcomes" % (self.number, total))
        print("kinds: " + ", ".join("%s %d" % k for k in sorted(self.kinds.items())))

    def main(self):
        print("soak: %g s, seed %d, %d workers, %d clients" % (SECONDS, SEED, WORKERS, CLIENTS), flush=True)
        ports = flow.Ports()
        one, two = ports.take(), ports.take()
        self.server = flow.Server(CONF % {"one": one, "two": two, "d": "@dir@"}, main="workers %d;\nerror_log \"error.log\" crit;\n" % WORKERS, start=False)
        os.chmod(self.server.directory, 0o777)
        d = self.server.directory
        self.backends = [Backend(a) for a in (one, two, d + "/three.sock", d + "/four.sock")]
        try:
            flow.wait_for(lambda: all(b.ready() for b in self.backends))
            self.server.start()
            flow.wait_for(lambda: len(self.server.workers()) == WORKERS)
            time.sleep(0.3)
            self.workers = self.server.workers()
            with open(d + "/access.log", "rb", buffering=0) as self.log:
                asyncio.run(self.run())
            self.server.stop()
        finally:
            self.server.end() if self.server.process else None
            for b in self.backends:
                b.kill()
            ports.close()
        print("soak: %s (seed %d)" % ("%d things are wrong" % self.outcomes["WRONG"] if self.outcomes["WRONG"] else "fine", SEED))
        return 1 if self.outcomes["WRONG"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--backend"]:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(backend_main(sys.argv[2]))
    else:
        sys.exit(Soak().main())
