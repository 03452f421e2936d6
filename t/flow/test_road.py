# SPDX-License-Identifier: BSD-2-Clause
"""The road at its edges: what happens when several things go wrong at once, or one at the worst moment."""
import contextlib
import json
import os
import random
import resource
import signal
import socket
import threading
import time

import flow

ONE = """
upstream app {
    server @peer@ max_fails=0;
    retry 0;
    timeout { connect 500ms; header 500ms; idle 500ms; write 3s; }
}
server { listen 127.0.0.1:@port@; server_name localhost; max { body 0; } %s proxy app; }
"""


def hang(stream, peer):
    while stream.more():
        pass


@contextlib.contextmanager
def stopped(server):
    """What clients and peers do in here, the worker sees in one pass."""
    pids = server.workers()
    for p in pids:
        os.kill(p, signal.SIGSTOP)
    try:
        yield
        time.sleep(0.05)
    finally:
        for p in pids:
            os.kill(p, signal.SIGCONT)


def sockets(server):
    """That the workers have open: pipes are kept for the next tunnel."""
    n = 0
    for p in server.workers():
        for fd in os.listdir("/proc/%d/fd" % p):
            with contextlib.suppress(OSError):
                n += os.readlink("/proc/%d/fd/%s" % (p, fd)).startswith("socket:")
    return n


class Errors(flow.Case):
    """Error steps begin with a clean answer and without the body of the question."""

    SORRY = """
        upstream app { server @peer@ max_fails=0; retry 0; timeout { header 500ms; } }
        server {
            listen 127.0.0.1:@port@; server_name localhost;
            error 502..504 { %s }
            proxy app;
        }
    """

    def test_nothing_of_a_bad_answer_is_left(self):
        bad = (b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 3\r\nbad field\r\n\r\n",
               b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 3\r\nSet-Cookie: a=b\r\n")
        for raw in bad:
            def script(stream, peer, raw=raw):
                stream.question()
                stream.send(raw)

            s = self.server(self.SORRY % 'return 503 "sorry ${status}";', peer=self.peer(script))
            a = s.get("/")
            self.assertEqual((a.status, a.text, a["X-Evil"], a["Set-Cookie"]), (503, "sorry 502", None, None))

    def test_a_bad_answer_of_long_ago(self):
        """Its first half came in a pass that is over."""
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nX-Evil: " + b"1" * 3000 + b"\r\n")
            time.sleep(0.1)
            stream.send(b"X-Evil: " + b"2" * 3000 + b"\r\n")
            hang(stream, peer)

        s = self.server(self.SORRY % 'return 503 "sorry";', peer=self.peer(script))
        a = s.get("/")
        self.assertEqual((a.status, a.text, a["X-Evil"]), (503, "sorry", None))

    def test_another_peer_gets_no_body(self):
        """What was a body is gone: neither announced nor sent, so the connection may be used again (behind chunks: if all came)."""
        other = self.peer(flow.http(flow.tell))
        s = self.server(self.SORRY % "proxy @other@;", peer=self.closed_port(), other=other)
        for framing, body in (("Content-Length: 10", b"0123456789"), ("Transfer-Encoding: chunked", flow.chunked([b"01234", b"56789"]))):
            for cut in (0, 4, len(body)):
                with self.subTest(framing=framing, cut=cut), s.client() as c:
                    c.send(flow.request("/x", method="POST", headers=framing) + body[:cut])
                    if cut < len(body):
                        time.sleep(0.1)
                    c.send(body[cut:] + flow.request("/y"))
                    a = c.answer()
                    self.assertEqual((a.status, a.text.splitlines()[0]), (200, "POST /x HTTP/1.1"))
                    self.assertIn("Content-Length: 0\n", a.text)
                    self.assertTrue(a.text.endswith("\n\n"), a.text)
                    last = cut < len(body) and "chunked" in framing
                    self.assertEqual(a["Connection"], "close" if last else None)
                    if last:
                        self.assertEqual(c.rest(), b"")
                        continue
                    a = c.answer()
                    self.assertEqual((a.status, a.text.splitlines()[0]), (200, "GET /y HTTP/1.1"))

    def test_echo_does_not_wait(self):
        s = self.server(self.SORRY % "echo;", peer=self.closed_port())
        a = s.get("/", method="POST", body=b"0123456789")
        self.assertEqual((a.status, a.body), (200, b""))

    def test_refusals_with_steps_of_their_own(self):
        """413 by error steps: the answer arrives although the client is still sending."""
        s = self.server("""
            server {
                listen 127.0.0.1:@port@; server_name localhost; max { body 1k; }
                error 413 { return 413 "too much"; }
                route { echo; }
            }
        """)
        for _ in range(3):
            with s.client() as c:
                c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n")
                time.sleep(0.05)
                for _ in range(6):
                    c.send(b"x" * 10000)
                    time.sleep(0.01)
                a = c.answer()
                self.assertEqual((a.status, a.text), (413, "too much"))


class Moments(flow.Case):
    """Two things in one pass."""

    def test_the_peer_breaks_as_the_body_comes(self):
        """The answer is cut: what the client still sends belongs to nobody."""
        def script(stream, peer):
            stream.head()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            peer.notes["go"].wait(flow.TIME)
            stream.reset()
            peer.notes["gone"].set()

        peer = self.peer(script)
        s = self.server(ONE % "", peer=peer)
        for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
            peer.notes.update(go=threading.Event(), gone=threading.Event())
            with s.client() as c:
                c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
                c.until(b"half")
                with stopped(s):
                    peer.notes["go"].set()
                    peer.notes["gone"].wait(flow.TIME)
                    time.sleep(0.02)
                    c.send(b"5\r\nhello\r\n")
                self.assertTrue(c.ends())
        self.assertEqual(len(s.workers()), 1)

    def test_an_early_answer_and_a_reset(self):
        """The answer was there before the connection broke under the body: it counts."""
        def script(stream, peer):
            stream.head()
            peer.notes["go"].wait(flow.TIME)
            stream.send(flow.answer(413, b"no", "Connection: close"))

        peer = self.peer(script)
        s = self.server(ONE % "", peer=peer)
        for _ in range(5):
            go = peer.notes["go"] = threading.Event()
            with s.client() as c:
                c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 10000)
                time.sleep(0.05)
                with stopped(s):
                    c.send(b"x" * 50000)        # the client's event comes first
                    time.sleep(0.02)
                    go.set()
                    time.sleep(0.05)
                a = c.answer()
                self.assertEqual((a.status, a.text), (413, "no"))

    def test_a_slow_client_is_no_slow_peer(self):
        """A peer owes an answer only when it has the whole question."""
        s = self.server(ONE % "", peer=self.peer(flow.http(flow.tell)))
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234")
            time.sleep(1)
            c.send(b"56789")
            a = c.answer()
            self.assertEqual(a.status, 200)
            self.assertTrue(a.text.endswith("0123456789"))

    def test_a_slow_client_of_an_answer_begun(self):
        def script(stream, peer):
            q = stream.head()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            stream.send(stream.exactly(int(q["Content-Length"])))

        s = self.server(ONE % "", peer=self.peer(script))
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234")
            time.sleep(1)
            c.send(b"56789")
            self.assertEqual(c.answer().body, b"0123456789")

    def test_a_peer_that_has_all_owes_an_answer(self):
        """Whether it has begun one or not."""
        def script(stream, peer):
            q = stream.head()
            if q.target == "/begun":
                stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            hang(stream, peer)

        s = self.server(ONE % "", peer=self.peer(script))
        for target in ("/", "/begun"):
            with s.client() as c:
                c.send(b"POST " + target.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234")
                time.sleep(0.1)
                c.send(b"56789")
                before = time.monotonic()
                if target == "/":
                    self.assertEqual(c.answer().status, 504)
                else:
                    with self.assertRaises(EOFError):
                        c.answer()
                self.assertLess(time.monotonic() - before, 3 * flow.SLOW)

    def test_truncated_for_1_0(self):
        """To a client of HTTP/1.0 the end of the connection is the end of the body: a broken one is no end."""
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            time.sleep(0.1)

        s = self.server(ONE % "", peer=self.peer(script))
        with s.client() as c:
            c.send(flow.request("/", version="1.0"))
            with self.assertRaises(ConnectionResetError):
                c.answer()

    def streaming(self):
        """Answers to the end of its connection, as soon as it has the head, and does not end."""
        def script(stream, peer):
            stream.head()
            stream.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
            stream.rest()

        return self.server(ONE % "", peer=self.peer(script))

    def test_left_within_a_question_of_1_0(self):
        """Its question was cut, and so is the early answer: that one must not look whole."""
        s = self.streaming()
        with s.client() as c:
            c.send(b"POST / HTTP/1.0\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nten bytes.")
            c.until(b"hello")
            c.shut()
            with self.assertRaises(ConnectionResetError):
                c.rest()

    def test_stopped_within_an_answer_to_1_0(self):
        s = self.streaming()
        with s.client() as c:
            c.send(flow.request("/", version="1.0"))
            c.until(b"hello")
            s.kill(signal.SIGTERM)
            with self.assertRaises(ConnectionResetError):
                c.rest()
        s.process.wait(flow.TIME * flow.SLOW)      # a second signal would be a hurry

    def test_closing_answers_arrive(self):
        """The answer ends the connection, and the body still comes: no reset behind it."""
        s = self.server("""server { listen 127.0.0.1:@port@; server_name localhost; route { return 200 "here"; } }""")
        for framing, body in (("Content-Length: 30000", b"x" * 30000), ("Transfer-Encoding: chunked", flow.chunked([b"x" * 10000] * 3))):
            with s.client() as c:
                c.send(flow.request("/", method="POST", headers="Connection: close\n" + framing))
                time.sleep(0.1)
                for at in range(0, len(body), 5000):
                    c.send(body[at:at + 5000])
                    time.sleep(0.01)
                a = c.answer()
                self.assertEqual((a.text, a["Connection"]), ("here", "close"))
                c.shut()
                self.assertEqual(c.rest(), b"")


class Tunnel(flow.Case):
    def test_a_reset_right_behind_bytes(self):
        """Both are one event, and the bytes hide the reset: it is found out soon, not when the tunnel has been idle for long."""
        def script(stream, peer):
            while True:
                try:
                    if not stream.more():
                        return
                except OSError:
                    peer.notes["over"] = time.monotonic()
                    return
                if stream.buffer.endswith(b"2"):
                    stream.send(b"3")
                    peer.notes["go"].wait(flow.TIME)
                    stream.send(b"4")
                    stream.reset()
                    return

        peer = self.peer(script)
        s = self.server("server { listen 127.0.0.1:@port@; protocol tcp; proxy @peer@; }", peer=peer)
        for _ in range(2):
            c = s.client()
            c.send(b"1")
            flow.wait_for(lambda: peer.streams and peer.streams[-1].buffer)
            time.sleep(1.5)             # it has been quiet once
            with stopped(s):
                c.send(b"x")
                c.reset()
            flow.wait_for(lambda: peer.notes.pop("over", None), 5)
        peer.notes["go"] = threading.Event()
        with s.client() as c:
            c.send(b"2")
            c.until(b"3")
            with stopped(s):
                peer.notes["go"].set()
                time.sleep(0.05)
            c.socket.settimeout(5)
            c.until(b"4")
            self.assertTrue(c.ends())


class Pressure(flow.Case):
    def test_both_ways(self):
        """The client reads slowly and the peer does not read: what the client sends waits in the client."""
        sent = [0]

        def script(stream, peer):
            stream.head()
            stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            block = b"10000\r\n" + b"y" * 65536 + b"\r\n"
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                stream.send(block)

        peer = self.peer(script, receive_buffer=4096)
        s = self.server(ONE % "", peer=peer)
        with s.client(receive_buffer=4096) as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
            c.until(b"\r\n\r\n")

            def upload():
                with contextlib.suppress(OSError):
                    while sent[0] < 200 << 20:
                        sent[0] += c.socket.send(b"x" * 65536)

            t = threading.Thread(target=upload, daemon=True)
            t.start()
            until = time.monotonic() + 1.5
            while time.monotonic() < until:     # so that its side fills and empties, over and over
                c.socket.recv(200000)
                time.sleep(0.002)
            self.assertLess(sent[0], 40 << 20)
            # Who is in the middle of a call of the kernel's is told by this, and not by a close.
            with contextlib.suppress(OSError):
                c.socket.shutdown(socket.SHUT_RDWR)
            t.join(flow.TIME)
            c.reset()

    def test_echo(self):
        """One who writes without reading is not read from."""
        s = self.server("""
            server { listen 127.0.0.1:@port@; server_name localhost; max { body 0; } echo; }
            server { listen 127.0.0.1:@port2@; protocol tcp; echo; }
        """)
        for name, head in (("port", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"), ("port2", b"")):
            with s.client(name, receive_buffer=4096) as c:
                c.send(head)
                c.socket.settimeout(0.5)
                sent = 0
                with contextlib.suppress(socket.timeout):
                    while sent < 100 << 20:
                        sent += c.socket.send(b"x" * 65536)
                self.assertLess(sent, 40 << 20)
                c.socket.settimeout(flow.TIME)
                n = 0
                while n < sent:
                    n += len(c.socket.recv(1 << 20))
                c.reset()


class Peers(flow.Case):
    def test_stale_without_retries(self):
        """A kept connection that closes as it is used is no failure, and costs no attempt."""
        def script(stream, peer):
            for _ in range(2):
                q = stream.question()
                if q is None or stream.number == 1 and peer.questions:
                    return
                peer.questions.append(q)
                stream.send(flow.answer(200, b"%d" % stream.number))

        s = self.server(ONE % "", peer=self.peer(script))
        self.assertEqual(s.get("/").text, "1")
        self.assertEqual(s.get("/").text, "2")

    def test_a_websocket_ends_a_rest(self):
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        handshake = flow.request("/", headers="Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: " + key)
        agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

        def fails_first(stream, peer):
            if stream.number == 1:
                return
            stream.head()
            stream.send(agreed + b"a")

        def other(stream, peer):
            stream.head()
            stream.send(agreed + b"b")

        s = self.server("""
            upstream app { server @a@ max_fails=1 fail_timeout=1s; server @b@ max_fails=0; }
            server { listen 127.0.0.1:@port@; server_name localhost; proxy app; }
        """, a=self.peer(fails_first), b=self.peer(other))

        def ask():
            with s.client() as c:
                c.send(handshake)
                c.until(b"\r\n\r\n")
                return c.exactly(1)

        self.assertEqual(ask(), b"b")
        time.sleep(1.2)
        self.assertEqual(ask(), b"a")
        self.assertEqual(sorted(ask() for _ in range(4)), [b"a", b"a", b"b", b"b"])


class Worker(flow.Case):
    def test_full_and_not_full_again(self):
        s = self.server("server { listen 127.0.0.1:@port@; server_name localhost; route { return 200 \"x\"; } }",
                        main="workers 1;\nconnections 20;\n")
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                for _ in range(30):
                    stack.enter_context(s.client())
                time.sleep(0.2)
            self.assertEqual(s.get("/").status, 200)

    def test_not_one_descriptor(self):
        """Not even one to refuse with: no busy loop, and it goes on as soon as there are some."""
        s = self.server("server { listen 127.0.0.1:@port@; server_name localhost; route { return 200 \"x\"; } }",
                        main="user root;\nworkers 1;\n" if os.geteuid() == 0 else "workers 1;\n", expect_report=True)
        pid = s.workers()[0]

        def ticks():
            with open("/proc/%d/stat" % pid) as f:
                return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))

        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before[1]))
        with s.client(), s.client():
            time.sleep(0.1)
            spent = ticks()
            time.sleep(1)
            self.assertLess(ticks() - spent, 0.3 * os.sysconf("SC_CLK_TCK"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        self.assertEqual(s.get("/").status, 200)

    def test_leaving_with_a_proxy_line_to_come(self):
        """Who was accepted as the worker left is served, header and all."""
        s = self.server("server { listen 127.0.0.1:@port@ proxy_protocol; server_name localhost; route { return 200 \"x\"; } }")
        with s.client() as c:
            time.sleep(0.1)
            s.kill(signal.SIGQUIT)
            time.sleep(0.2)
            c.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + flow.request("/"))
            self.assertEqual(c.answer().status, 200)
        s.process.wait(flow.TIME * flow.SLOW)


class Chaos(flow.Case):
    """
    Clients and peers that keep to nothing, for a few seconds. Whatever they do, an answer belongs to its question, a
    whole one is whole, the worker lives, and nothing is left of it when they are gone.
    """

    SECONDS = float(os.environ.get("CHAOS_SECONDS", 8))
    CLIENTS = 12

    CONFIG = """
        error_log "error.log" crit;
        upstream app {
            server @one@ max_fails=0; server @two@ max_fails=0; server @nobody@ max_fails=0;
            retry 1;
            timeout { connect 300ms; header 300ms; idle 300ms; write 500ms; }
            pool { idle 4; }
        }
        server {
            listen 127.0.0.1:@port@; server_name localhost;
            access_log "access.log" json;
            timeout { header 1s; body 1s; write 1s; keepalive 1s; }
            max { body 300k; }
            error 502 { response_header set X-Error "1"; return 502 "sorry ${path}"; }
            error 504 { proxy app; }
            route /echo   { echo; }
            route /return { return 200 "${path} "; }
            route         { proxy app; }
        }
        server { listen 127.0.0.1:@port2@; protocol tcp; proxy app; timeout { idle 1s; } }
    """

    # The peer: what it does to a question is in the question's target.

    def respond(self, r, stream, q, early):
        what = r.random()
        name = q.target.encode()
        body = name + b" " + b"z" * r.choice((0, 1, 100, 5000, 70000, 200000)) + b" end"
        head = b"HTTP/1.1 200 OK\r\nX-Target: " + name + b"\r\n"
        if r.random() < 0.1:
            head = b"HTTP/1.1 100 Continue\r\n\r\n" * r.randrange(1, 10) + head
        last = early or r.random() < 0.1
        if last:
            head += b"Connection: close\r\n"
        how = r.randrange(3)
        if q.method == "HEAD":
            raw = head + b"Content-Length: %d\r\n\r\n" % len(body)
        elif how == 0:
            raw = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        elif how == 1:
            cuts = sorted(r.randrange(len(body)) for _ in range(r.randrange(4)))
            raw = head + b"Transfer-Encoding: chunked\r\n\r\n" + flow.chunked(
                [body[a:b] for a, b in zip([0] + cuts, cuts + [len(body)])], r.choice((b"", b"T: 1\r\n")))
        else:
            raw, last = head + b"Connection: close\r\n\r\n" + body, True
        if what < 0.05:
            raw, last = raw[:r.randrange(len(raw))], True
            if how == 2 and q.method != "HEAD":
                return "reset", raw         # a clean end would make it whole
        elif what < 0.10:
            return "reset", raw[:r.randrange(len(raw) + 1)]
        elif what < 0.13:
            raw, last = r.choice((b"garbage\r\n\r\n", head + b"Content-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Target: " + name + b"\r\n: \r\n\r\n")), True
        elif what < 0.18 and how != 2 and len(raw) < 10000:
            # together with the end of the answer: behind it, it could as well be the answer to the next question
            raw += b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"
        elif what < 0.23:
            last = True
        elif what < 0.25:
            return "hang", b""
        return "close" if last else "keep", raw

    def script(self, stream, peer):
        r = random.Random(self.seed + stream.number * 7919 + id(peer) % 2)
        while True:
            early = r.random() < 0.08
            if early:
                q = stream.head()
                q.method, q.target
            else:
                q = stream.question()
            if q is None:
                return
            if not early and q.body:
                mark = q.target.encode() + b"|"
                if q.body[:len(mark)] != mark or q.body.strip(b"q") != mark:
                    self.wrong.append("the peer got for %s: %r" % (q.target, q.body[:80]))
            end, raw = self.respond(r, stream, q, early)
            poisoned = raw.endswith(b"POISON")
            while raw:
                n = len(raw) if poisoned else r.choice((1, 7, 100, 3000, 65536, len(raw)))
                stream.send(raw[:n])
                raw = raw[n:]
                if r.random() < 0.1:
                    time.sleep(r.random() * 0.01)
            if end == "reset":
                stream.reset()
                return
            if end == "hang":
                stream.socket.settimeout(0.6)
                stream.more()
                return
            if end == "close":
                if r.random() < 0.5:
                    with contextlib.suppress(OSError):
                        stream.shut()
                        stream.socket.settimeout(0.2)
                        stream.rest()
                return

    # The client.

    def question(self, r, number):
        target = "%s/%d" % (r.choice(("/a", "/a", "/a", "/b", "/echo", "/return")), number)
        method = r.choice(("GET", "GET", "HEAD", "POST", "PUT"))
        version = r.choice(("1.1",) * 9 + ("1.0",))
        head = "%s %s HTTP/%s\r\nHost: localhost\r\n" % (method, target, version)
        if r.random() < 0.1:
            head += "Connection: %s\r\n" % r.choice(("close", "keep-alive", "x-y"))
        if r.random() < 0.05:
            head += "X-Long: %s\r\n" % ("l" * 7000)
        body = b""
        if method in ("POST", "PUT"):
            body = target.encode() + b"|" + b"q" * r.choice((0, 10, 3000, 66000, 130000, 310000))
            if r.random() < 0.1:
                head += "Expect: 100-continue\r\n"
            if r.random() < 0.5 or version == "1.0":
                raw = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
            else:
                cut = r.randrange(len(body))
                raw = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + flow.chunked([body[:cut], body[cut:]])
        else:
            raw = head.encode() + b"\r\n"
        return target, method, body, raw

    def check(self, target, method, body, a):
        if a.status in (400, 408, 413, 502, 503, 504):
            if a.status == 502 and a["X-Error"] and method != "HEAD" and a.text != "sorry " + target:
                self.wrong.append("%s got the page of another: %r" % (target, a.text))
            return
        if a.status != 200:
            self.wrong.append("%s got %d" % (target, a.status))
        elif target.startswith("/echo"):
            if method != "HEAD" and a.body != body:
                self.wrong.append("%s: echo gave %d bytes of %d" % (target, len(a.body), len(body)))
        elif target.startswith("/return"):
            if method != "HEAD" and a.text != target + " ":
                self.wrong.append("%s got %r" % (target, a.body[:80]))
        elif a["X-Target"] != target:
            self.wrong.append("%s got the answer of %r" % (target, a["X-Target"]))
        elif method != "HEAD" and (a.body[:len(target) + 1] != target.encode() + b" " or a.body[-4:] != b" end"):
            self.wrong.append("%s: a body of %d: %r ... %r" % (target, len(a.body), a.body[:40], a.body[-20:]))
        with self.lock:
            self.answered.append(target)

    def one(self, r, s):
        tunnelled = r.random() < 0.15
        questions = []
        for _ in range(r.choice((1, 1, 2, 5))):
            with self.lock:
                self.number += 1
                questions.append(self.question(r, self.number))
        raw = b"".join(q[3] for q in questions)
        end = r.random()
        if end < 0.1:
            raw = raw[:r.randrange(len(raw))]
        elif end < 0.15:
            raw += r.choice((b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"\x00" * 50))
        with s.client("port2" if tunnelled else "port", receive_buffer=r.choice((None, None, 4096))) as c:
            c.socket.settimeout(4 * flow.SLOW)

            broken = []

            def send():
                try:
                    left = raw
                    while left:
                        n = r.choice((1, 50, 1000, 65536, len(left), len(left)))
                        c.send(left[:n])
                        left = left[n:]
                        if r.random() < 0.1:
                            time.sleep(r.random() * 0.02)
                    if end < 0.3:
                        c.shut()
                except OSError as e:
                    broken.append(e)

            t = threading.Thread(target=send, daemon=True)
            t.start()
            try:
                if r.random() < 0.1:
                    time.sleep(r.random() * 0.3)
                for n, (target, method, body, _) in enumerate(questions):
                    if r.random() < 0.03:
                        c.reset()
                        return
                    a = c.answer(method)
                    if a.how == "close" and a["Connection"] is None and not tunnelled:
                        self.wrong.append("%s: to the end, and not said" % target)
                    if b"POISON" in a.body and not tunnelled:
                        self.wrong.append("%s was poisoned" % target)
                    if a.how == "close":
                        # One who still sends is told of the reset there, and then reads what looks like an orderly end.
                        t.join(flow.TIME)
                        if broken:
                            break
                    if not tunnelled:
                        self.check(target, method, body, a)
                    if a.status != 200 or (a["Connection"] or "").lower() == "close":
                        break
            except socket.timeout:
                if end >= 0.1 and not tunnelled:
                    self.wrong.append("%s: nothing came" % target)
            except (OSError, EOFError):
                pass
            except (AssertionError, ValueError, IndexError) as e:
                if not tunnelled:       # else it sees the peers as they are
                    self.wrong.append("%s: %s" % (target, e))
            finally:
                c.close()
                t.join(flow.TIME)

    def run_client(self, r, s):
        while time.monotonic() < self.until:
            self.one(r, s)

    def test_chaos(self):
        self.seed = int(os.environ.get("CHAOS_SEED", 20240229))
        print("CHAOS_SEED=%d " % self.seed, end="", flush=True)
        self.wrong, self.answered, self.number, self.lock = [], [], 0, threading.Lock()
        one, two = flow.Peer(self.script), flow.Peer(self.script)
        self.addCleanup(one.close)
        self.addCleanup(two.close)
        s = self.server(self.CONFIG, one=one, two=two, nobody=self.closed_port())
        pids = s.workers()
        before = sockets(s)
        self.until = time.monotonic() + self.SECONDS
        clients = [threading.Thread(target=self.run_client, args=(random.Random(self.seed + i), s), daemon=True)
                   for i in range(self.CLIENTS)]
        for t in clients:
            t.start()
        for t in clients:
            t.join(self.SECONDS + 30)
        self.assertEqual(s.workers(), pids, s.said())
        self.assertEqual(self.wrong[:10], [], "seed %d" % self.seed)
        self.assertGreater(len(self.answered), 20)
        one.close()
        two.close()
        flow.wait_for(lambda: sockets(s) <= before, message="connections were left open")
        time.sleep(1.2)
        counted = {}
        for line in s.read("access.log").decode().splitlines():
            entry = json.loads(line)
            if "uri" in entry:
                counted[entry["uri"]] = counted.get(entry["uri"], 0) + 1
        self.assertEqual([t for t in self.answered if counted.get(t) != 1], [], "not logged once")
        self.assertEqual([t for t, n in counted.items() if n != 1 and t != "/"], [], "logged twice")


if __name__ == "__main__":
    flow.main()
