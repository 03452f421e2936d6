# SPDX-License-Identifier: BSD-2-Clause
"""When descriptors, connections, memory or the disk run out, service goes on."""
import contextlib
import fcntl
import os
import resource
import select
import signal
import subprocess
import time
import unittest

import flow

ASAN = "asan" in flow.SERVER
BIG = "x" * (1024 * 1024)
SLOW_READERS = """
server { listen 127.0.0.1:@port@; listen unix:@dir@/socket; server_name localhost;
    route /big { return 200 "%s"; }
    route      { return 200 "ok"; }
}
""" % BIG


def busy(pid, seconds):
    """How much of the time a process wants to run, whoever else runs on this machine."""
    looks = wants = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with open("/proc/%d/stat" % pid) as f:
            wants += f.read().rpartition(")")[2].split()[0] == "R"
        looks += 1
        time.sleep(0.01)
    return wants / looks


class Resources(flow.Case):
    def server(self, text, main="workers 1;\n", **more):
        """As whom we are, so that we may bound its workers."""
        return super().server(text, main=main + ("user root;\n" if os.geteuid() == 0 else ""), **more)

    def worker(self, s):
        pids = flow.wait_for(s.workers)
        self.assertEqual(len(pids), 1)
        return pids[0]

    def limit(self, pid, what, soft):
        """Of the worker; raised again when the test ends, or earlier."""
        before = resource.prlimit(pid, what)

        def restore():
            with contextlib.suppress(OSError):
                resource.prlimit(pid, what, before)

        resource.prlimit(pid, what, (soft, before[1]))
        self.addCleanup(restore)
        return restore

    def ask(self, c, target="/", status=200):
        c.send(flow.request(target))
        answer = c.answer()
        self.assertEqual(answer.status, status)
        return answer

    def wait_until_served(self, s, target="/"):
        def served():
            with contextlib.suppress(OSError, EOFError):
                return s.get(target).status == 200

        flow.wait_for(served, message="not served again\n" + s.said())


class Descriptors(Resources):
    def test_the_limit_is_raised(self):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        if before[1] < 2000:
            self.skipTest("the hard limit is too low")
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        try:
            s = self.server("connections 1000; server { listen 127.0.0.1:@port@; return 200 \"ok\"; }")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.assertGreaterEqual(resource.prlimit(self.worker(s), resource.RLIMIT_NOFILE)[0], 1064)

    @unittest.skipUnless(os.geteuid() == 0, "the descriptors of another user's process")
    def test_who_comes_is_refused_and_who_is_here_served(self):
        s = self.server("server { listen 127.0.0.1:@port@; server_name localhost; return 200 \"ok\"; }")
        pid = self.worker(s)
        kept = [s.client() for _ in range(5)]
        for c in kept:
            self.ask(c)
        restore = self.limit(pid, resource.RLIMIT_NOFILE, max(int(n) for n in os.listdir("/proc/%d/fd" % pid)) + 1)
        for _ in range(50):
            with s.client() as c:
                self.assertTrue(c.ends())
            for c in kept:
                self.ask(c)
        restore()
        self.assertEqual(s.get("/").text, "ok")
        for c in kept:
            self.ask(c)
            c.close()
        self.assertIn("out of descriptors", s.said())
        self.assertEqual(self.worker(s), pid)

    def test_no_busy_loop(self):
        """Not even one to refuse: those who come wait, and nobody looks at them all the time."""
        s = self.server("server { listen 127.0.0.1:@port@; server_name localhost; return 200 \"ok\"; }")
        pid = self.worker(s)
        with s.client() as kept:
            self.ask(kept)
            restore = self.limit(pid, resource.RLIMIT_NOFILE, 3)
            waiting = [s.client() for _ in range(5)]
            self.ask(kept)
            self.assertLess(busy(pid, 1.5), 0.5)
            self.ask(kept)
            restore()
            for c in waiting:
                with c:
                    self.assertEqual(self.ask(c).text, "ok")
            self.ask(kept)

    @unittest.skipUnless(os.geteuid() == 0, "the descriptors of another user's process")
    def test_peers(self):
        """The idle connections of others go first; then it is 503, and no fault of the peer."""
        a, b = (self.peer(flow.http(flow.tell)) for _ in range(2))
        s = self.server("""
            upstream a { server @a@; }
            upstream b { server @b@ max_fails=1 fail_timeout=60s; server @a@ down; retry 0; }
            server { listen 127.0.0.1:@port@; server_name localhost;
                route /a { proxy a; }
                route /b { proxy b; }
            }
        """, a=a, b=b)
        pid = self.worker(s)
        with s.client() as first, s.client() as second:
            self.ask(first, "/a")
            top = max(int(n) for n in os.listdir("/proc/%d/fd" % pid)) + 1
            restore = self.limit(pid, resource.RLIMIT_NOFILE, top)
            self.ask(first, "/b")
            flow.wait_for(lambda: a.streams[0].ended, message="the idle connection stayed")
            self.assertEqual(b.accepted, 1)
            # The one that is left is busy: nobody has a descriptor to give.
            self.ask(second, "/b")
            self.assertEqual(b.accepted, 1)
            self.ask(second, "/a")
            self.limit(pid, resource.RLIMIT_NOFILE, 3)
            flow.wait_for(lambda: b.streams[0].ended)
            for _ in range(5):
                self.ask(second, "/b", 503)
            restore()
            self.ask(second, "/b")
        self.assertNotIn("rests", s.said())
        self.assertEqual(s.said().count("out of descriptors or connections"), 1)

    FEW = "connections 16; server { listen 127.0.0.1:@port@; server_name localhost; return 200 \"ok\"; }"

    def one(self, s, what=flow.request("/")):
        c = s.client()
        self.addCleanup(c.close)
        c.send(what)
        return c

    def test_more_clients_than_connections(self):
        """Who waits is served in the place of those that were silent for longest between two questions."""
        s = self.server(self.FEW)
        clients = [self.one(s) for _ in range(60)]
        for c in clients:
            self.assertEqual(c.answer().text, "ok")
        self.assertEqual(self.one(s).answer().text, "ok")
        self.assertLess(s.descriptors(), 60)

    def test_nobody_is_silent(self):
        s = self.server(self.FEW)
        before = s.descriptors()
        busy = [self.one(s, b"GET / HTTP/1.1\r\n") for _ in range(15)]
        flow.wait_for(lambda: s.descriptors() == before + 15)
        waiting = [self.one(s) for _ in range(5)]
        flow.wait_for(lambda: "accepting pauses" in s.said())
        self.assertEqual(select.select([c.socket for c in waiting], [], [], 0.5)[0], [])
        for c in busy[:6]:
            c.close()
        for c in waiting:
            self.assertEqual(c.answer().text, "ok")
        busy[-1].send(b"Host: localhost\r\n\r\n")
        self.assertEqual(busy[-1].answer().text, "ok")


class Memory(Resources):
    def slow(self, s, target="/big"):
        """A client that asks for much and reads nothing; the kernel holds little for it."""
        c = flow.Client(os.path.join(s.directory, "socket"))
        self.addCleanup(c.close)
        with contextlib.suppress(OSError):
            c.send(flow.request(target))
        return c

    def test_budget(self):
        s = self.server("memory 24m;\n" + SLOW_READERS)
        pid = self.worker(s)
        kept = s.client()
        self.addCleanup(kept.close)
        self.assertIsNone(self.ask(kept)["Connection"])
        slow = []

        def refused():
            if len(slow) < 100:
                slow.append(self.slow(s))
            kept.send(flow.request("/"))
            answer = kept.answer()
            return answer if answer.status == 503 else None

        answer = flow.wait_for(refused, message="never refused")
        self.assertGreater(len(slow), 8)
        self.assertEqual(answer["Connection"], "close")
        self.assertTrue(kept.ends())
        self.assertIn("new questions are refused", s.said())
        self.assertEqual(s.said().count("memory is short: questions are refused"), 1)
        for c in slow:
            c.close()
        self.wait_until_served(s)
        with s.client() as c:
            self.assertIsNone(self.ask(c)["Connection"])
        self.assertEqual(self.worker(s), pid)

    def test_none_is_left(self):
        """A bounded address space: some of the slow readers are cut off, the worker stays and serves."""
        if ASAN:
            self.skipTest("a sanitizer needs all the address space")
        s = self.server(SLOW_READERS)
        pid = self.worker(s)
        kept = s.client()
        self.addCleanup(kept.close)
        self.ask(kept)
        with open("/proc/%d/status" % pid) as f:
            size = int([line.split()[1] for line in f if line.startswith("VmSize:")][0]) * 1024
        self.limit(pid, resource.RLIMIT_AS, size + 4 * 1024 * 1024)
        for _ in range(3):
            slow = [self.slow(s) for _ in range(60)]
            self.wait_until_served(s)
            self.assertIn("out of memory", s.said())
            for c in slow:
                c.close()
            self.wait_until_served(s)
            self.assertEqual(self.worker(s), pid)

    def test_none_is_left_for_proxied_answers(self):
        if ASAN:
            self.skipTest("a sanitizer needs all the address space")

        def endless(q):
            if q.target == "/":
                return flow.answer(200, b"ok")
            return [b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"x" * 9999999]

        peer = self.peer(flow.http(endless))
        s = self.server("server { listen 127.0.0.1:@port@; listen unix:@dir@/socket; server_name localhost; proxy @peer@; }",
                        peer=peer)
        pid = self.worker(s)
        self.wait_until_served(s)
        with open("/proc/%d/status" % pid) as f:
            size = int([line.split()[1] for line in f if line.startswith("VmSize:")][0]) * 1024
        self.limit(pid, resource.RLIMIT_AS, size)
        slow = [self.slow(s) for _ in range(200)]
        flow.wait_for(lambda: "out of memory" in s.said(), message="there was enough")
        self.wait_until_served(s)
        for c in slow:
            c.close()
        self.wait_until_served(s)
        self.assertEqual(self.worker(s), pid)

    def test_the_kernel_takes_a_worker_first(self):
        s = self.server("server { listen 127.0.0.1:@port@; server_name localhost; return 200 \"ok\"; }")
        scores = []
        for pid in (s.process.pid, self.worker(s)):
            with open("/proc/%d/oom_score_adj" % pid) as f:
                scores.append(int(f.read()))
        self.assertGreater(scores[1], scores[0])


class Disk(Resources):
    LONG = "/" + "a" * 4000
    LOGGED = """error_log "error.log";
        server { listen 127.0.0.1:@port@; server_name localhost; access_log "%s"; return 200 "ok"; }"""

    def ask_often(self, s, count, target=LONG):
        with s.client() as c:
            for _ in range(count):
                self.ask(c, target)

    def errors(self, s, text):
        return s.read("error.log").decode().count(text)

    def assert_whole(self, lines):
        for line in lines:
            self.assertRegex(line, rb'^127\.0\.0\.1 - - \[.*"GET /\S* HTTP/1\.1" 200 \d+ "-" "-"$')

    def test_full_disk(self):
        s = self.server(self.LOGGED % "/dev/full")
        pid = self.worker(s)
        self.ask_often(s, 1000)
        flow.wait_for(lambda: self.errors(s, "No space left on device"))
        self.ask_often(s, 100)
        self.assertEqual(self.errors(s, "access log"), 1)       # one in ten seconds
        self.assertEqual(self.worker(s), pid)

    def test_quota(self):
        """A file that may not grow: SIGXFSZ ends nobody, and the log goes on when there is room again."""
        s = self.server(self.LOGGED % "access.log")
        pid = self.worker(s)
        restore = self.limit(pid, resource.RLIMIT_FSIZE, 100 * 1000)
        self.ask_often(s, 600)
        flow.wait_for(lambda: self.errors(s, "File too large"))
        self.assertEqual(len(s.read("access.log")), 100 * 1000)
        self.ask_often(s, 10)
        self.assertEqual(self.worker(s), pid)
        restore()

        def after():
            self.ask_often(s, 1, "/after")
            return b"/after" in s.read("access.log")

        flow.wait_for(after, message="the log does not go on")
        lines = s.read("access.log").split(b"\n")
        self.assertEqual(lines.pop(), b"")
        self.assert_whole(lines)
        self.assertLess(len(lines), 600)        # 1 MiB of them waited, the rest was dropped
        self.assertGreater(len(lines), 200)

    def test_nobody_reads(self):
        s = self.server(self.LOGGED % "pipe", start=False)
        path = os.path.join(s.directory, "pipe")
        os.mkfifo(path)
        os.chmod(path, 0o666)
        pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, pipe)
        s.start()
        self.ask_often(s, 600)
        flow.wait_for(lambda: self.errors(s, "does not keep up: lines are dropped"))
        self.assertEqual(self.errors(s, "access log"), 1)
        got = b""

        def after():
            nonlocal got
            self.ask_often(s, 1, "/after")
            with contextlib.suppress(BlockingIOError):
                while True:
                    got += os.read(pipe, 65536)
            return b"/after" in got

        flow.wait_for(after, message="the log does not go on")
        lines = got.split(b"\n")
        self.assert_whole(lines[:-1])
        self.assertGreater(len(lines), 200)

    def start_on_pipe(self, text, **more):
        s = self.server(text, start=False, **more)
        ends = os.pipe()
        self.addCleanup(os.close, ends[0])
        s.process = subprocess.Popen([flow.SERVER, "-c", s.path, "-p", s.directory], stdin=subprocess.DEVNULL,
                                     stdout=ends[1], stderr=ends[1])
        os.close(ends[1])
        for a in s.listens:
            flow.wait_for(lambda: flow.listening(a), flow.TIME * flow.SLOW)
        return s, ends[0]

    def test_nobody_reads_the_errors(self):
        s, pipe = self.start_on_pipe("""error_log stderr info;
            server { listen 127.0.0.1:@port@; server_name localhost; access_log stdout; return 200 "ok"; }""",
                                     main="workers 2;\n")
        for _ in range(400):
            with s.client() as c:
                c.send(b"GET / HTTP/1.1\r\nBad\x00: " + b"a" * 400 + b"\r\n\r\n")
                self.assertEqual(c.answer().status, 400)
        self.ask_often(s, 100)
        # The master has a description of its own, and others who write to the pipe may wait as they did.
        here = os.fstat(pipe).st_ino
        flags = {}
        for fd in os.listdir("/proc/%d/fd" % s.process.pid):
            with contextlib.suppress(OSError):
                if os.stat("/proc/%d/fd/%s" % (s.process.pid, fd)).st_ino == here:
                    with open("/proc/%d/fdinfo/%s" % (s.process.pid, fd)) as f:
                        flags[int(fd)] = int([x for x in f if x.startswith("flags")][0].split()[1], 8)
        self.assertEqual(flags.pop(2) & os.O_NONBLOCK, 0)
        self.assertEqual(flags.pop(1) & os.O_NONBLOCK, 0)
        self.assertEqual({f & os.O_NONBLOCK for f in flags.values()}, {os.O_NONBLOCK})
        s.kill(signal.SIGUSR1)
        self.ask_often(s, 10)
        s.kill(signal.SIGTERM)
        self.assertEqual(s.process.wait(flow.TIME * flow.SLOW), 0)

    def test_who_reads_the_errors_goes(self):
        s, pipe = self.start_on_pipe("""error_log stderr info;
            server { listen 127.0.0.1:@port@; server_name localhost; access_log stderr; return 200 "ok"; }""")
        pid = self.worker(s)
        self.ask_often(s, 10)
        os.dup2(os.open("/dev/null", os.O_RDONLY), pipe)
        self.ask_often(s, 10)
        time.sleep(1.2)
        self.ask_often(s, 10)
        self.assertEqual(self.worker(s), pid)


if __name__ == "__main__":
    flow.main()
