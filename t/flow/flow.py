# SPDX-License-Identifier: BSD-2-Clause
"""
End-to-end tests: the server under a configuration of its own, clients and
peers on raw sockets, so that broken bytes can be sent and cut anywhere.

    class Tests(flow.Case):
        def test_ok(self):
            peer = self.peer(flow.http(lambda q: flow.answer(200, b"hi")))
            s = self.server('''
                upstream app { server @peer@; }
                server { listen @port@; proxy app; }
            ''', peer=peer)
            self.assertEqual(s.get("/").status, 200)

@port@, @port2@ … are free ports, @dir@ is the directory of this server, other
names are given as keywords (a Peer becomes its address). What a test starts
is stopped when it ends; the server must then leave with status 0, and neither a
sanitizer nor a worker that died may have been heard of.
"""
import contextlib
import faulthandler
import functools
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SERVER = os.environ.get("SERVER") or os.path.join(os.path.dirname(__file__), "../../build/server")
SOURCE = os.path.abspath(os.environ.get("srcdir") or os.path.join(os.path.dirname(__file__), "../.."))
TIME = 10           # seconds that anything may take
SLOW = 5 if "asan" in SERVER else 1

# ---------------------------------------------------------------- addresses


def listening(address):
    """Whether something listens there; asked of the kernel, so that nothing sees a connection."""
    if isinstance(address, str):
        if not os.path.exists(address):
            return False
        with open("/proc/net/unix") as f:
            flags = [line.split()[3] for line in f if line.split()[-1] == address]
        return not flags or "00010000" in flags     # not named there: bound under another name and moved here
    datagrams = len(address) > 2
    for table in ("/proc/net/udp", "/proc/net/udp6") if datagrams else ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as f:
            for line in list(f)[1:]:
                words = line.split()
                if words[3] == ("07" if datagrams else "0A") and int(words[1].rsplit(":", 1)[1], 16) == address[1]:
                    return True
    return False


def wait_for(what, seconds=TIME, message="it did not happen in time"):
    """Calls what() until it is true; returns that."""
    until = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(message)
        time.sleep(0.005)


class Ports:
    """
    Free ports, kept for as long as the test lasts: below those that the kernel gives out by itself, each
    taken by binding an abstract Unix socket of its name, so that no two tests at once use the same.
    """

    def __init__(self):
        self.held = []

    def take(self):
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            low = int(f.read().split()[0])
        first = max(low - 12000, 1024)
        for _ in range(1000):
            port = random.randrange(first, low) if low > first + 1000 else random.randrange(1024, 65536)
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind("\0millrace-port-%d" % port)
                for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                    if family == socket.AF_INET or have_ipv6():
                        with socket.socket(family) as s, socket.socket(family, socket.SOCK_DGRAM) as d:
                            s.bind((host, port))
                            d.bind((host, port))
            except OSError:
                lock.close()
                continue
            self.held.append(lock)
            return port
        raise AssertionError("no free port")

    def close(self):
        for s in self.held:
            s.close()


@functools.lru_cache(None)
def have_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


# ---------------------------------------------------------------- the server

REPORT = re.compile(r"Sanitizer|runtime error:|\[(?:alert|emerg)\]|exited on signal|assertion", re.I)


class Server:
    """The program under one configuration, in a directory of its own."""

    def __init__(self, text, files=None, main="workers 1;\n", listens=None, arguments=(), start=True,
                 expect_report=False, **names):
        self.expect_report = expect_report
        self.directory = tempfile.mkdtemp(prefix="millrace-")
        os.chmod(self.directory, 0o755)
        self.ports = Ports()
        self.names = dict(names, dir=self.directory)
        self.path = os.path.join(self.directory, "server.conf")
        for name, content in (files or {}).items():
            self.write(name, content)
        self.write("server.conf", "pid \"server.pid\";\n" + main + text)
        self.port = self.names.get("port")
        with open(self.path) as f:
            written = f.read()
        number = re.search(r"\bworkers\s+(\d+)\s*;", written)
        self.expected = int(number[1]) if number else 1
        if listens is None:
            listens = [self.parse_address(a) for a in re.findall(r"^[^#\n]*?\blisten\s+([^\s;]+)", written, re.M)]
        self.listens = listens
        self.arguments = arguments
        self.process = None
        self.stderr = open(os.path.join(self.directory, "stderr"), "w+b")
        if start:
            self.start()

    def write(self, name, content):
        if isinstance(content, str):
            content = self.fill(content).encode()
        with open(os.path.join(self.directory, name), "wb") as f:
            f.write(content)

    def fill(self, text):
        def value(m):
            name = m.group(1)
            if name not in self.names:
                if not re.fullmatch(r"port\d*", name):
                    raise KeyError(name)
                self.names[name] = self.ports.take()
            v = self.names[name]
            return v.shown if isinstance(v, Peer) else str(v)

        return re.sub(r"@(\w+)@", value, text)

    def address(self, name="port"):
        return ("127.0.0.1", self.names[name])

    @staticmethod
    def parse_address(text):
        if text.startswith("unix:"):
            return text[5:]
        address = ("127.0.0.1", int(text.rsplit(":", 1)[-1]))
        return address + ("udp",) if text.startswith("udp:") else address

    def environment(self):
        e = dict(os.environ)
        # A daemon has no stderr: what a sanitizer says goes to files where it can.
        return e

    def start(self):
        self.process = subprocess.Popen(
            [SERVER, "-c", self.path, "-p", self.directory, *self.arguments], stdin=subprocess.DEVNULL,
            stdout=self.stderr, stderr=self.stderr, env=self.environment())
        for a in self.listens:
            with contextlib.suppress(AssertionError):
                wait_for(lambda: self.process.poll() is not None or listening(a), TIME * SLOW)
            status = self.process.poll()
            if status is None and listening(a):
                continue
            said = self.said()
            self.end()
            self.remove()
            raise AssertionError("nothing listens on %s\n%s" % (a, said) if status is None else
                                 "the server did not start: status %d\n%s" % (status, said))
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.process.poll() is not None or len(self.workers()) >= self.expected, TIME * SLOW)

    def said(self):
        self.stderr.flush()
        with open(self.stderr.name, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def read(self, name):
        with open(os.path.join(self.directory, name), "rb") as f:
            return f.read()

    def workers(self):
        """Process ids of the workers, as they were born: of the children of the master those that have their name."""
        return [p for p in self.children() if self.name_of(p).startswith("server worker")]

    def children(self):
        """With those that come and go: who checks a configuration, who explains, and the next master."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            return [int(p) for p in f.read().split()]

    @staticmethod
    def name_of(pid):
        with contextlib.suppress(OSError), open("/proc/%d/comm" % pid) as f:
            return f.read()
        return ""

    def descriptors(self):
        return sum(len(os.listdir("/proc/%d/fd" % p)) for p in self.workers())

    def kill(self, number):
        self.process.send_signal(number)

    def end(self):
        """By force, with its workers."""
        if self.process.poll() is None:
            children = self.children()
            self.process.kill()
            self.process.wait()
            for p in children:
                with contextlib.suppress(OSError):
                    os.kill(p, signal.SIGKILL)

    def stop(self, how=signal.SIGTERM):
        """Its exit status; checks that it leaves as it should."""
        if self.process is None:
            self.remove()
            return 0
        try:
            if self.process.poll() is None:
                self.process.send_signal(how)
            try:
                status = self.process.wait(TIME * SLOW)
            except subprocess.TimeoutExpired:
                said = self.said()
                self.end()
                raise AssertionError("the server did not stop in %d s\n%s" % (TIME * SLOW, said))
            said = self.said()
            if status != 0:
                raise AssertionError("the server left with status %d\n%s" % (status, said))
            if REPORT.search(said) and not self.expect_report:
                raise AssertionError("the server said:\n" + said)
            return status
        finally:
            self.process = None
            self.remove()

    def remove(self):
        self.stderr.close()
        self.ports.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # What a client does most often.

    def client(self, name="port", **more):
        return Client(self.address(name), **more)

    def get(self, target="/", host="localhost", headers="", name="port", method="GET", body=b"", version="1.1"):
        """One request on a connection of its own."""
        with self.client(name) as c:
            c.send(request(target, host, headers, method, body, version))
            return c.answer(method)


def run(*arguments, stdin=b"", timeout=60, cwd=None):
    """The program for one command: (status, stdout, stderr)."""
    p = subprocess.run([SERVER, *arguments], input=stdin, capture_output=True, timeout=timeout, cwd=cwd)
    return p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")


# ---------------------------------------------------------------- bytes


def request(target="/", host="localhost", headers="", method="GET", body=b"", version="1.1"):
    head = "%s %s HTTP/%s\r\n" % (method, target, version)
    if host is not None:
        head += "Host: %s\r\n" % host
    if body:
        head += "Content-Length: %d\r\n" % len(body)
    for line in headers.strip().splitlines():
        head += line.strip() + "\r\n"
    return head.encode("latin-1") + b"\r\n" + body


def answer(status=200, body=b"", headers="", reason="Fine"):
    head = "HTTP/1.1 %d %s\r\n" % (status, reason)
    if status >= 200 and status not in (204, 304):
        head += "Content-Length: %d\r\n" % len(body)
    for line in headers.strip().splitlines():
        head += line.strip() + "\r\n"
    return head.encode("latin-1") + b"\r\n" + body


def chunked(pieces, trailer=b""):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n" + trailer + b"\r\n"


class Message:
    """A head and a body as they came: `start` (the first line), `fields` (name, value), `body`, `raw`."""

    def __init__(self, start, fields):
        self.start = start
        self.fields = fields
        self.body = b""
        self.complete = False
        self.how = None         # how the body was framed: none length chunked close
        self.interim = []       # the statuses of 1xx answers before this one

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        return ", ".join(values) if values else None

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    @property
    def method(self):
        return self.start.split(" ")[0]

    @property
    def target(self):
        return self.start.split(" ")[1]

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def __repr__(self):
        return "<%s %r %d bytes>" % (self.start, self.fields, len(self.body))


class Stream:
    """A socket with a buffer, read as HTTP or as bytes. Strict: what it cannot read is an AssertionError."""

    def __init__(self, s):
        self.socket = s
        self.buffer = b""
        self.ended = False

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            self.ended = True
            return False
        self.buffer += data
        return True

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise EOFError("the end, behind %r" % self.buffer[:200])
        at = self.buffer.index(mark) + len(mark)
        taken, self.buffer = self.buffer[:at], self.buffer[at:]
        return taken

    def exactly(self, n):
        while len(self.buffer) < n:
            if not self.more():
                raise EOFError("the end, %d bytes early" % (n - len(self.buffer)))
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def rest(self):
        """Everything up to the end."""
        while not self.ended and self.more():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def ends(self):
        """Whether the other side closes (or resets) now, without another byte."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def send(self, data):
        self.socket.sendall(data)

    def send_cut(self, data, at, pause=0.002):
        self.send(data[:at])
        time.sleep(pause)
        self.send(data[at:])

    def shut(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def head(self):
        raw = self.until(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")[:-2]
        fields = []
        for line in lines[1:]:
            m = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", line)
            if not m:
                raise AssertionError("a malformed field: %r" % line)
            fields.append(m.groups())
        message = Message(lines[0], fields)
        message.raw_head = raw
        return message

    def body(self, message, bodiless=False, to_close=False):
        length, coding = message.all("Content-Length"), message.all("Transfer-Encoding")
        if len(length) > 1 or (length and coding):
            raise AssertionError("two framings: %r" % message.fields)
        if bodiless:
            message.how = "none"
        elif coding:
            if coding != ["chunked"]:
                raise AssertionError("a coding of %r" % coding)
            message.how = "chunked"
            message.chunks = []
            while True:
                size = int(self.until(b"\r\n")[:-2], 16)
                if size == 0:
                    break
                message.chunks.append(self.exactly(size))
                message.body += message.chunks[-1]
                if self.exactly(2) != b"\r\n":
                    raise AssertionError("a chunk without its end")
            message.trailer = []
            while True:
                line = self.until(b"\r\n")
                if line == b"\r\n":
                    break
                message.trailer.append(line)
        elif length:
            message.how = "length"
            message.body = self.exactly(int(length[0]))
        elif to_close:
            message.how = "close"
            message.body = self.rest()
        else:
            message.how = "none"
        message.complete = True
        return message

    def question(self):
        """The next request, or None at the end."""
        while not self.buffer:
            if not self.more():
                return None
        return self.body(self.head())

    def answer(self, method="GET"):
        """The next final answer; 1xx before it are noted."""
        interim = []
        while True:
            message = self.head()
            if not re.fullmatch(r"HTTP/1\.[01] \d\d\d .*", message.start):
                raise AssertionError("no status line: %r" % message.start)
            if 100 <= message.status < 200 and message.status != 101:
                interim.append(message.status)
                continue
            message.interim = interim
            bodiless = method == "HEAD" or message.status in (101, 204, 304)
            return self.body(message, bodiless, to_close=True)


class Client(Stream):
    def __init__(self, address, source=None, receive_buffer=None):
        if isinstance(address, str):
            s = socket.socket(socket.AF_UNIX)
        elif ":" in address[0]:
            s = socket.socket(socket.AF_INET6)
        else:
            s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(TIME * SLOW)
        if source:
            s.bind(source)
        s.connect(address)
        if not isinstance(address, str):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(s)


# ---------------------------------------------------------------- peers


class Peer:
    """A backend: `script(stream, peer)` runs in a thread of its own for each connection."""

    def __init__(self, script, path=None, ipv6=False, backlog=64, receive_buffer=None):
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.address = path
            self.shown = "unix:" + path
            os.chmod(path, 0o777)
        else:
            self.listener = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
            if receive_buffer:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.listener.bind(("::1" if ipv6 else "127.0.0.1", 0))
            self.address = self.listener.getsockname()[:2]
            self.shown = ("[::1]:%d" if ipv6 else "127.0.0.1:%d") % self.address[1]
        self.script = script
        self.questions = []         # what flow.http read
        self.accepted = 0
        self.failures = []
        self.streams = []
        self.notes = {}             # for scripts
        self.lock = threading.Lock()
        self.closed = False
        self.listener.listen(backlog)
        self.thread = None
        if script is not None:
            self.thread = threading.Thread(target=self.accept, daemon=True)
            self.thread.start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            if self.closed:
                s.close()
                return
            s.settimeout(TIME * SLOW)
            if s.family != socket.AF_UNIX:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = Stream(s)
            with self.lock:
                self.accepted += 1
                stream.number = self.accepted
                self.streams.append(stream)
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        try:
            self.script(stream, self)
        except (OSError, EOFError):
            pass
        except Exception as e:      # seen by the test when it ends
            self.failures.append(e)
        finally:
            stream.close()

    def close(self):
        self.closed = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.streams:
            with contextlib.suppress(OSError):
                s.socket.shutdown(socket.SHUT_RDWR)


def http(respond):
    """A script: HTTP/1.1 with keep-alive. respond(question) gives bytes, or an iterable of bytes, or None to close."""

    def script(stream, peer):
        while True:
            q = stream.question()
            if q is None:
                return
            q.connection = stream.number
            with peer.lock:
                peer.questions.append(q)
            given = respond(q)
            if given is None:
                return
            for piece in [given] if isinstance(given, bytes) else given:
                stream.send(piece)

    return script


def echo(stream, peer):
    """A script: bytes go back as they come."""
    while stream.more():
        data, stream.buffer = stream.buffer, b""
        stream.send(data)


def tell(q):
    """An answer that repeats the question: first line, fields, body."""
    text = q.start + "\n" + "".join("%s: %s\n" % f for f in q.fields) + "\n"
    return answer(200, text.encode("latin-1") + q.body)


# ---------------------------------------------------------------- tests


class Case(unittest.TestCase):
    maxDiff = None

    def server(self, text, **more):
        s = Server(text, **more)
        self.addCleanup(s.stop)
        return s

    def peer(self, script, **more):
        p = Peer(script, **more)

        def end():
            p.close()
            if p.failures:
                raise p.failures[0]

        self.addCleanup(end)
        return p

    def directory(self):
        d = tempfile.mkdtemp(prefix="millrace-")
        os.chmod(d, 0o777)
        self.addCleanup(shutil.rmtree, d, ignore_errors=True)
        return d

    def closed_port(self):
        """An address that refuses: kept by us, listened on by nobody."""
        ports = Ports()
        self.addCleanup(ports.close)
        return "127.0.0.1:%d" % ports.take()

    def need(self, *programs):
        paths = []
        for p in programs:
            found = shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
            if not found:
                self.skipTest("%s is not installed (./bootstrap check installs it)" % p)
            paths.append(found)
        return paths[0] if len(paths) == 1 else paths

    def process(self, *arguments, **more):
        """A foreign program, stopped when the test ends."""
        more.setdefault("stdout", subprocess.DEVNULL)
        more.setdefault("stderr", subprocess.DEVNULL)
        p = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, **more)

        def end():
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(TIME)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
            for pipe in (p.stdout, p.stderr):
                pipe and pipe.close()

        self.addCleanup(end)
        return p


def main():
    """No file of tests may take more than four minutes, whatever hangs."""
    if not os.access(SERVER, os.X_OK):
        sys.exit("%s: not there; SERVER says which program is tested" % SERVER)
    faulthandler.dump_traceback_later(240, exit=True)
    unittest.main(verbosity=2)
