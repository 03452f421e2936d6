# SPDX-License-Identifier: BSD-2-Clause
"""The road at its edges: what happens when several things go wrong at once, or one at the worst moment."""
import contextlib
import os
import random
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


def memory(server):
    """KiB that the workers hold."""
    total = 0
    for p in server.workers():
        with open("/proc/%d/status" % p) as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    return total


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
        """What was a body is gone: neither announced nor sent, so the connection may be used again."""
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
            c.reset()
            t.join(flow.TIME)

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

    def test_leaving_with_a_proxy_line_to_come(self):
        """Who was accepted as the worker left is served, header and all."""
        s = self.server("server { listen 127.0.0.1:@port@ proxy_protocol; server_name localhost; route { return 200 \"x\"; } }")
        with s.client() as c:
            time.sleep(0.1)
            s.kill(signal.SIGQUIT)
            time.sleep(0.2)
            c.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + flow.request("/"))
            self.assertEqual(c.answer().status, 200)
        with s.client() if False else contextlib.nullcontext():
            s.process.wait(flow.TIME * flow.SLOW)


if __name__ == "__main__":
    flow.main()
