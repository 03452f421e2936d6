# SPDX-License-Identifier: BSD-2-Clause
"""Peers that fail, in every way a peer can: 502 and 504 in the right places, the next peer tried, nothing leaked."""
import os
import signal
import socket
import time

import flow

SERVER = """
upstream app {
    %s
    timeout { connect 300ms; header 300ms; idle 300ms; write 300ms; }
}
server { listen 127.0.0.1:@port@; server_name localhost; proxy app; }
"""
ONE = SERVER % "server @peer@ max_fails=0; retry 0;"
PATIENT = ONE.replace("300ms", "10s")       # where it is not time that runs out


def reset(stream, peer):
    stream.question()
    stream.reset()


def hang(stream, peer):
    while stream.more():
        pass


class Faults(flow.Case):
    def status(self, script, method="GET", body=b"", conf=PATIENT):
        peer = self.peer(script)
        return self.server(conf, peer=peer).get("/", method=method, body=body).status

    def test_refused(self):
        s = self.server(ONE, peer=self.closed_port())
        a = s.get("/")
        self.assertEqual(a.status, 502)
        self.assertEqual(s.get("/", method="POST", body=b"x" * 100).status, 502)

    def test_refused_over_unix(self):
        s = self.server(ONE, peer="unix:@dir@/nobody.sock".replace("@dir@", self.directory()))
        self.assertEqual(s.get("/").status, 502)

    def test_closed_before_an_answer(self):
        self.assertEqual(self.status(lambda stream, peer: stream.question()), 502)

    def test_closed_at_once(self):
        self.assertEqual(self.status(lambda stream, peer: None), 502)

    def test_reset(self):
        self.assertEqual(self.status(reset), 502)

    def test_closed_in_the_head(self):
        self.assertEqual(self.status(lambda stream, peer: stream.question() and stream.send(b"HTTP/1.1 200 OK\r\nX: ")), 502)

    def test_reset_right_behind_a_part(self):
        """Both are there when we wake, as one event: seen long before any timeout."""
        workers = []

        def script(stream, peer):
            stream.question()
            for p in workers:
                os.kill(p, signal.SIGSTOP)
            stream.send(b"HTTP/1.1 200 OK\r\nX: ")
            stream.reset()
            for p in workers:
                os.kill(p, signal.SIGCONT)

        s = self.server(ONE.replace("300ms", "60s"), peer=self.peer(script))
        workers += s.workers()
        self.assertEqual(s.get("/").status, 502)

    def test_reset_within_a_question_in_chunks(self):
        """Nobody knows how much more comes: the 502 says that it is the last answer here."""
        def script(stream, peer):
            stream.head()
            stream.reset()

        s = self.server(ONE, peer=self.peer(script))
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            a = c.answer()
            self.assertEqual((a.status, a["Connection"]), (502, "close"))

    def test_no_answer(self):
        before = time.monotonic()
        self.assertEqual(self.status(hang, conf=ONE), 504)
        self.assertLess(time.monotonic() - before, 3 * flow.SLOW)

    def test_half_a_head_and_silence(self):
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nX: ")
            hang(stream, peer)

        self.assertEqual(self.status(script, conf=ONE), 504)

    def test_no_connection(self):
        """A full backlog: the connection neither comes nor is refused."""
        full = self.peer(None, backlog=0)
        held = []
        for _ in range(4):
            c = socket.socket()
            c.setblocking(False)
            c.connect_ex(full.address)
            held.append(c)
            self.addCleanup(c.close)
        time.sleep(0.1)
        s = self.server(ONE, peer=full)
        self.assertEqual(s.get("/").status, 504)

    def test_garbage(self):
        host = b"Content-Length: 2\r\n\r\nok"
        for raw in (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\r\n\r\n\r\n\r\n", b"HTTP/1.1 abc No\r\n" + host, b"HTTP/1.1 20 No\r\n" + host,
                    b"HTTP/1.1 2000 No\r\n" + host, b"HTTP/1.1 099 No\r\n" + host, b"HTTP/2.0 200 OK\r\n" + host, b"HTTP/1.1  200 OK\r\n" + host,
                    b"HTTP/1.1 200 OK\n" + host, b"HTTP/1.1 200 O\rK\r\n" + host, b"HTTP/1.1 200 O\x00K\r\n" + host,
                    b"HTTP/1.1 200 OK\r\nX : y\r\n" + host, b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n" + host,
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + host, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + host, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
                    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
                    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"\x00" * 100, b"\xff" * 100000):
            with self.subTest(raw=raw[:60]):
                def script(stream, peer, raw=raw):
                    stream.question()
                    stream.send(raw)
                    hang(stream, peer)

                self.assertEqual(self.status(script), 502)

    def truncated(self, script):
        """The client sees that the answer was cut off: neither a whole one nor an error behind its head."""
        s = self.server(ONE, peer=self.peer(script))
        with s.client() as c:
            c.send(flow.request("/"))
            with self.assertRaises((EOFError, ConnectionResetError)):
                a = c.answer()
                self.fail("a whole answer: %r %r" % (a, a.body[:50]))

    def test_closed_in_the_body(self):
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        self.truncated(script)

    def test_closed_in_a_chunk(self):
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe")

        self.truncated(script)

    def test_a_broken_chunk(self):
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n")
            hang(stream, peer)

        self.truncated(script)

    def test_silence_in_the_body(self):
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            hang(stream, peer)

        self.truncated(script)

    def test_a_peer_that_does_not_read(self):
        def script(stream, peer):
            stream.head()
            time.sleep(3)

        peer = self.peer(script, receive_buffer=4096)
        s = self.server(ONE.replace("proxy app", "max { body 0; } proxy app"), peer=peer)
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
            c.socket.setblocking(False)
            block = b"x" * 65536
            until = time.monotonic() + 2.5 * flow.SLOW
            while time.monotonic() < until:
                try:
                    c.socket.send(block)
                except BlockingIOError:
                    time.sleep(0.01)
                    with flow.contextlib.suppress(BlockingIOError):
                        if c.socket.recv(1, socket.MSG_PEEK):
                            break
                except OSError:
                    break
            c.socket.settimeout(flow.TIME)
            self.assertEqual(c.answer().status, 504)

    def test_early_answer(self):
        """A peer may answer before it has read all, and close."""
        def script(stream, peer):
            stream.head()
            stream.send(flow.answer(413, b"no", "Connection: close"))

        peer = self.peer(script)
        s = self.server(ONE.replace("proxy app", "max { body 0; } proxy app"), peer=peer)
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 10000)
            a = c.answer()
            self.assertEqual((a.status, a.text), (413, "no"))

    def test_the_client_goes_in_its_body(self):
        peer = self.peer(flow.http(flow.tell))
        s = self.server(ONE, peer=peer)
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
            time.sleep(0.1)
        time.sleep(0.1)
        self.assertEqual(s.get("/").status, 200)
        self.assertEqual(len(peer.questions), 1, "half a question counted as one")

    def test_error_steps(self):
        s = self.server("""
            server {
                listen 127.0.0.1:@port@; server_name localhost;
                error 502..504 { response_header set X-Sorry "yes"; return 503 "sorry ${path}"; }
                proxy @peer@;
            }
        """, peer=self.closed_port())
        a = s.get("/x")
        self.assertEqual((a.status, a.text, a["X-Sorry"]), (503, "sorry /x", "yes"))

    def test_nothing_is_left(self):
        """After all kinds of trouble the worker has as many descriptors as before."""
        def script(stream, peer):
            q = stream.question()
            if q is None:
                return
            if q.target == "/reset":
                stream.reset()
            elif q.target == "/hang":
                hang(stream, peer)
            elif q.target == "/half":
                stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            elif q.target == "/garbage":
                stream.send(b"garbage\r\n\r\n")
            elif q.target == "/close":
                stream.send(flow.answer(200, b"x", "Connection: close"))

        peer = self.peer(script)
        s = self.server(ONE, peer=peer)
        s.get("/close")
        before = flow.wait_for(s.descriptors)
        for _ in range(5):
            for target in ("/reset", "/hang", "/half", "/garbage", "/close", "/none"):
                with s.client() as c:
                    c.send(flow.request(target))
                    with flow.contextlib.suppress(EOFError, OSError):
                        c.answer()
            with s.client() as c:
                c.send(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
                c.reset()
        flow.wait_for(lambda: s.descriptors() <= before, message="descriptors were left open")


class Pool(flow.Case):
    """Connections that are kept for the next question."""

    def test_kept(self):
        peer = self.peer(flow.http(lambda q: flow.answer(200, b"%d" % q.connection)))
        s = self.server(ONE, peer=peer)
        for _ in range(10):
            self.assertEqual(s.get("/").text, "1")

    def test_not_kept(self):
        peer = self.peer(flow.http(lambda q: flow.answer(200, b"%d" % q.connection)))
        s = self.server(SERVER % "server @peer@; pool { idle 0; }", peer=peer)
        self.assertEqual([s.get("/").text for _ in range(3)], ["1", "2", "3"])

    def test_kept_for_a_while(self):
        peer = self.peer(flow.http(lambda q: flow.answer(200, b"%d" % q.connection)))
        s = self.server(SERVER % "server @peer@; pool { idle_timeout 300ms; }", peer=peer)
        self.assertEqual(s.get("/").text, "1")
        time.sleep(1)
        self.assertEqual(s.get("/").text, "2")

    def test_the_peer_says_close(self):
        peer = self.peer(flow.http(lambda q: flow.answer(200, b"%d" % q.connection, "Connection: close")))
        s = self.server(ONE, peer=peer)
        self.assertEqual([s.get("/").text for _ in range(3)], ["1", "2", "3"])

    def test_an_answer_of_1_0(self):
        peer = self.peer(flow.http(lambda q: b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n%d" % q.connection))
        s = self.server(ONE, peer=peer)
        self.assertEqual([s.get("/").text for _ in range(3)], ["1", "2", "3"])

    def test_stale(self):
        """Closed by the peer while it was idle: the next question goes over another, unseen by the client."""
        def script(stream, peer):
            stream.question()
            stream.send(flow.answer(200, b"%d" % stream.number))

        peer = self.peer(script)
        s = self.server(SERVER % "server @peer@;", peer=peer)
        for i in range(20):
            self.assertEqual(s.get("/").text, str(i + 1))

    def test_stale_at_the_second_question(self):
        """Closed just when the next question comes: a GET is asked again, a POST that was sent is not."""
        def script(stream, peer):
            q = stream.question()
            with peer.lock:
                peer.questions.append(q)
            stream.send(flow.answer(200, b"%d" % stream.number))
            q = stream.question()
            if q:
                with peer.lock:
                    peer.questions.append(q)

        peer = self.peer(script)
        s = self.server(SERVER % "server @peer@ max_fails=0; retry 2;", peer=peer)
        self.assertEqual(s.get("/").text, "1")
        self.assertEqual(s.get("/").text, "2")
        peer.questions.clear()
        self.assertEqual(s.get("/", method="POST", body=b"pay").status, 502)
        self.assertEqual([q.method for q in peer.questions], ["POST"])

    def test_an_unasked_answer(self):
        """Bytes behind a complete answer are nobody's: the connection is not used again."""
        peer = self.peer(flow.http(lambda q: flow.answer(200, b"ok") + flow.answer(200, b"EVIL")))
        s = self.server(ONE, peer=peer)
        for i in range(5):
            self.assertEqual(s.get("/").text, "ok")
            time.sleep(0.02)
        self.assertEqual(peer.accepted, 5)

    def test_an_unasked_answer_later(self):
        def script(stream, peer):
            stream.question()
            stream.send(flow.answer(200, b"ok"))
            time.sleep(0.05)
            stream.send(flow.answer(200, b"EVIL"))
            hang(stream, peer)

        peer = self.peer(script)
        s = self.server(ONE, peer=peer)
        for i in range(3):
            self.assertEqual(s.get("/").text, "ok")
            time.sleep(0.15)
        self.assertEqual(peer.accepted, 3)

    def test_the_client_goes_before_the_answer(self):
        """A connection whose answer was not read to its end is not given to another."""
        def respond(q):
            if q.target == "/slow":
                time.sleep(0.2)
            return flow.answer(200, q.target.encode())

        peer = self.peer(flow.http(respond))
        s = self.server(ONE.replace("header 300ms", "header 5s"), peer=peer)
        for _ in range(3):
            with s.client() as c:
                c.send(flow.request("/slow"))
                time.sleep(0.05)
            self.assertEqual(s.get("/fast").text, "/fast")


class Peers(flow.Case):
    def test_the_next_is_tried(self):
        for name, bad in (("refused", None), ("reset", reset), ("closed", lambda stream, peer: None)):
            with self.subTest(name):
                good = self.peer(flow.http(lambda q: flow.answer(200, b"good" + q.body)))
                shown = self.closed_port() if bad is None else self.peer(bad).shown
                s = self.server(SERVER % "server @bad@ max_fails=0; server @good@; retry 1;", good=good, bad=shown)
                for _ in range(4):
                    self.assertEqual(s.get("/").text, "good")

    def test_a_body_goes_to_the_next_too(self):
        """Refused: nothing was sent, so even a POST goes on."""
        good = self.peer(flow.http(lambda q: flow.answer(200, b"good" + q.body)))
        s = self.server(SERVER % "server @bad@ max_fails=0; server @good@; retry 1;", good=good, bad=self.closed_port())
        for _ in range(4):
            self.assertEqual(s.get("/", method="POST", body=b"x" * 5000).text, "good" + "x" * 5000)

    def test_retry_is_bounded(self):
        peers = [self.peer(reset) for _ in range(4)]
        s = self.server(SERVER % ("".join("server %s max_fails=0; " % p.shown for p in peers) + "retry 2;"))
        self.assertEqual(s.get("/").status, 502)
        self.assertEqual(sum(p.accepted for p in peers), 3)

    def test_no_retry_behind_a_head(self):
        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        peers = [self.peer(script) for _ in range(2)]
        s = self.server(SERVER % "".join("server %s max_fails=0; " % p.shown for p in peers))
        with s.client() as c:
            c.send(flow.request("/"))
            with self.assertRaises((EOFError, OSError)):
                c.answer()
        self.assertEqual(sum(p.accepted for p in peers), 1)

    def test_a_failed_peer_rests(self):
        bad = self.peer(reset)
        good = self.peer(flow.http(lambda q: flow.answer(200, b"good")))
        s = self.server(SERVER % "server @bad@ max_fails=1 fail_timeout=1s; server @good@; retry 1;", good=good, bad=bad)
        for _ in range(10):
            self.assertEqual(s.get("/").text, "good")
        self.assertEqual(bad.accepted, 1)
        time.sleep(1.3)
        for _ in range(4):
            self.assertEqual(s.get("/").text, "good")
        self.assertEqual(bad.accepted, 2, "when its rest is over it gets one trial")

    def test_weights(self):
        a, b = (self.peer(flow.http(lambda q, n=n: flow.answer(200, n))) for n in (b"a", b"b"))
        s = self.server(SERVER % "server @a@ weight=3; server @b@;", a=a, b=b)
        got = "".join(s.get("/").text for _ in range(40))
        self.assertEqual((got.count("a"), got.count("b")), (30, 10))
        self.assertNotIn("bb", got)
        self.assertNotIn("aaaaaa", got)

    def test_backup_and_down(self):
        a, b, c = (self.peer(flow.http(lambda q, n=n: flow.answer(200, n))) for n in (b"a", b"b", b"c"))
        s = self.server(SERVER % "server @a@; server @b@ backup; server @c@ down;", a=a, b=b, c=c)
        self.assertEqual({s.get("/").text for _ in range(6)}, {"a"})
        s = self.server(SERVER % "server @x@ max_fails=0; server @b@ backup; server @c@ down;", x=self.closed_port(), b=b, c=c)
        self.assertEqual({s.get("/").text for _ in range(6)}, {"b"})

    def test_unix_and_ipv6(self):
        p = self.peer(flow.http(lambda q: flow.answer(200, b"unix")), path=self.directory() + "/peer.sock")
        s = self.server(SERVER % "server @p@;", p=p)
        self.assertEqual(s.get("/").text, "unix")
        if flow.have_ipv6():
            p = self.peer(flow.http(lambda q: flow.answer(200, b"six")), ipv6=True)
            s = self.server(SERVER % "server @p@;", p=p)
            self.assertEqual(s.get("/").text, "six")


if __name__ == "__main__":
    flow.main()
