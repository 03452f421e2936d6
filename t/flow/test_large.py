# SPDX-License-Identifier: BSD-2-Clause
"""
More than 2 GiB up and down, by length and in chunks, over HTTP and TCP, to readers that sleep at first: every byte
arrives, counts beyond 2^31 are right, and the worker's memory stays as it was.

The files are holes and what arrives is thrown away in the kernel. Still 2 GiB take seconds, on a busy machine half
a minute: `make check` sends them once, up by length (without sanitizers), and 64 MiB in the other ways; LARGE=1 sends
2 GiB in all of them.
"""
import os
import signal
import socket
import sys
import tempfile
import threading
import time

import flow

TWO = (2 << 30) + 17
LESS = TWO if os.environ.get("LARGE") else (64 << 20) + 17
ONCE = LESS if "asan" in flow.SERVER else TWO
MORE = 2 << 20          # bytes by which the worker may grow
ASLEEP = 0.7            # seconds that a reader sleeps before it reads

CONF = """
upstream app { server @peer@; timeout { header 60s; } }
server { listen 127.0.0.1:@port@; server_name localhost; access_log "access.log" json; max { body 0; } proxy app; }
server { listen 127.0.0.1:@port2@; protocol tcp; proxy @peer@; }
"""


def pss(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))


class Hole:
    """A file of zeros that takes no room."""

    def __init__(self, size):
        self.file = tempfile.TemporaryFile()
        self.file.truncate(size)
        self.sent = 0

    def send(self, stream, n):
        stream.socket.settimeout(None)
        end = self.sent + n
        while self.sent < end:
            self.sent += os.sendfile(stream.socket.fileno(), self.file.fileno(), self.sent, min(end - self.sent, 1 << 28))

    def send_chunks(self, stream, n):
        end = self.sent + n
        while self.sent < end:
            size = min(end - self.sent, 48 << 20)
            stream.send(b"%x\r\n" % size)
            self.send(stream, size)
            stream.send(b"\r\n")
        stream.send(b"0\r\n\r\n")

    def close(self):
        self.file.close()


def skip(stream, n):
    """Counts up to n bytes and looks at none."""
    buffer = bytearray(1 << 20)
    stream.buffer, got = stream.buffer[n:], min(n, len(stream.buffer))
    while got < n:
        more = stream.socket.recv_into(buffer, min(n - got, len(buffer)), socket.MSG_TRUNC)
        if more == 0:
            break
        got += more
    return got


def skip_chunks(stream):
    got = 0
    while True:
        size = int(stream.until(b"\r\n"), 16)
        if size == 0:
            assert stream.until(b"\r\n") == b"\r\n"
            return got
        if skip(stream, size) != size or stream.exactly(2) != b"\r\n":
            return got
        got += size


class Large(flow.Case):
    def setUp(self):
        self.hole = Hole(TWO)
        self.addCleanup(self.hole.close)
        self.asleep = self.chunked = False
        self.size = 1 << 20
        self.s = self.server(CONF, peer=self.peer(self.script))
        self.pid = self.s.workers()[0]

    def script(self, stream, peer):
        """"u" and "d" for up and down over TCP; HTTP else."""
        while stream.buffer or stream.more():
            if stream.buffer[:1] == b"u":
                stream.exactly(1)
                self.sleep()
                stream.send(b"%d" % skip(stream, 1 << 62))
                return
            if stream.buffer[:1] == b"d":
                stream.exactly(1)
                self.hole.send(stream, self.size)
                return
            q = stream.head()
            if q.method == "POST":
                self.sleep()
                got = skip_chunks(stream) if q["Transfer-Encoding"] else skip(stream, int(q["Content-Length"]))
                stream.send(flow.answer(200, b"%d" % got))
            elif self.chunked:
                stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                self.hole.send_chunks(stream, self.size)
            else:
                stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
                self.hole.send(stream, self.size)

    def sleep(self):
        """The reader's; what waits in us and in the sockets then is little."""
        if self.asleep:
            time.sleep(ASLEEP)
            self.assertLess(self.hole.sent, 48 << 20)
            self.watch()

    def watch(self):
        self.most = max(self.most, pss(self.pid))

    def up(self):
        with self.s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n" +
                   (b"Transfer-Encoding: chunked\r\n\r\n" if self.chunked else b"Content-Length: %d\r\n\r\n" % self.size))
            (self.hole.send_chunks if self.chunked else self.hole.send)(c, self.size)
            return int(c.answer().text)

    def down(self):
        with self.s.client() as c:
            c.send(flow.request("/"))
            a = c.head()
            self.sleep()
            if self.chunked:
                return skip_chunks(c)
            self.assertEqual(int(a["Content-Length"]), self.size)
            return skip(c, self.size)

    def tcp_up(self):
        with self.s.client("port2") as c:
            c.send(b"u")
            self.hole.send(c, self.size)
            c.shut()
            return int(c.rest())

    def tcp_down(self):
        with self.s.client("port2") as c:
            c.send(b"d")
            self.sleep()
            got = skip(c, self.size)
            self.assertTrue(c.ends())
            return got

    def go(self, way, size, chunked=False):
        self.chunked = chunked
        self.assertEqual(way(), self.size)          # what is allocated once is there
        self.hole.sent = 0
        before = self.most = pss(self.pid)
        self.size, self.asleep = size, True
        over = threading.Event()

        def look():
            while not over.wait(0.02):
                self.watch()

        watcher = threading.Thread(target=look)
        watcher.start()
        started = time.monotonic()
        try:
            self.assertEqual(way(), size)
        finally:
            over.set()
            watcher.join()
        self.watch()
        sys.stderr.write("%d MiB in %.1f s, worker %d KiB and %d more at most ... " %
                         (size >> 20, time.monotonic() - started, before >> 10, (self.most - before) >> 10))
        if "asan" not in flow.SERVER:               # it keeps what was freed
            self.assertLess(self.most - before, MORE)

    def logged(self, name, size):
        """The counters of the log do not wrap either."""
        self.s.kill(signal.SIGUSR1)
        line = flow.wait_for(lambda: [x for x in self.s.read("access.log").splitlines() if b'"%s":%d' % (name, size) in x])
        self.assertEqual(len(line), 1)

    def test_up(self):
        self.go(self.up, ONCE)
        self.logged(b"bytes_received", ONCE)

    def test_up_in_chunks(self):
        self.go(self.up, LESS, True)
        self.logged(b"bytes_received", LESS)

    def test_down(self):
        self.go(self.down, LESS)

    def test_down_in_chunks(self):
        self.go(self.down, LESS, True)

    def test_tcp_up(self):
        self.go(self.tcp_up, LESS)

    def test_tcp_down(self):
        self.go(self.tcp_down, LESS)


if __name__ == "__main__":
    flow.main()
