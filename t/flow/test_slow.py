# SPDX-License-Identifier: BSD-2-Clause
"""
Slow ends, end to end: those who send or take too little are sent away and those who are only slow are not,
a peer never takes half a question for a whole one, and buffers that free a peer from a slow client.
"""
import json
import threading
import time

import flow

MUCH = 48 << 20         # more than the kernel takes by itself
LOGGED = '    access_log "access.log" json;\n'


def entries(s, n):
    """The first n lines of the access log."""
    def lines():
        try:
            found = s.read("access.log").splitlines()
        except FileNotFoundError:
            return None
        return found if len(found) >= n else None

    return [json.loads(line) for line in flow.wait_for(lines)]


def listen_to_the_end(stream, peer):
    """Reads all that comes and notes how it ended."""
    try:
        stream.rest()
        peer.notes["end"] = "fin"
    except ConnectionResetError:
        peer.notes["end"] = "reset"


def endless(stream, peer):
    stream.question()
    stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MUCH)
    block = b"x" * 65536
    for _ in range(MUCH // len(block)):
        stream.send(block)
    peer.notes["done"] = time.monotonic()
    listen_to_the_end(stream, peer)


class Slow(flow.Case):
    def test_a_body_that_drips(self):
        peer = self.peer(listen_to_the_end)
        s = self.server("""
            server { listen 127.0.0.1:@port@; min { body 1k/s; after 1s; }""" + LOGGED + """ proxy @peer@; }
        """, peer=peer)
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
            began = time.monotonic()
            c.socket.settimeout(0.1)
            answer = None
            while answer is None and time.monotonic() < began + flow.TIME:
                c.send(b"x")
                try:
                    answer = c.answer()
                except TimeoutError:
                    pass
            self.assertEqual(answer.status, 408)
            self.assertEqual(answer["Connection"], "close")
            self.assertGreater(time.monotonic() - began, 0.9)
        self.assertEqual(entries(s, 1)[0]["reason"], "body_too_slow")
        self.assertEqual(flow.wait_for(lambda: peer.notes.get("end")), "reset")

    def test_who_hurries_is_not_late(self):
        peer = self.peer(flow.http(lambda q: flow.answer(200, b"%d" % len(q.body))))
        s = self.server("""
            server { listen 127.0.0.1:@port@; min { body 1k/s; after 1s; } proxy @peer@; }
        """, peer=peer)
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12000\r\n\r\n")
            for _ in range(12):
                time.sleep(0.2)
                c.send(b"x" * 1000)
            self.assertEqual(c.answer().text, "12000")

    def test_a_client_that_goes_in_the_middle(self):
        peer = self.peer(listen_to_the_end)
        s = self.server("server { listen 127.0.0.1:@port@; proxy @peer@; }", peer=peer)
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            flow.wait_for(lambda: peer.streams)
            time.sleep(0.1)
        self.assertEqual(flow.wait_for(lambda: peer.notes.get("end")), "reset")

    def test_a_peer_that_takes_nothing(self):
        def script(stream, peer):
            stream.head()
            peer.notes["go"].wait(flow.TIME * flow.SLOW)
            listen_to_the_end(stream, peer)

        peer = self.peer(script, receive_buffer=4096)
        peer.notes["go"] = threading.Event()
        s = self.server("""
            upstream app { server @peer@; timeout { write 1s; } retry 0; }
            server { listen 127.0.0.1:@port@; max { body 0; } proxy app; }
        """, peer=peer)
        with s.client() as c:
            c.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % MUCH)
            c.socket.settimeout(0.3)
            try:
                c.send(b"x" * MUCH)
            except (TimeoutError, ConnectionResetError):
                pass
            c.socket.settimeout(flow.TIME * flow.SLOW)
            self.assertEqual(c.answer().status, 504)
        peer.notes["go"].set()
        self.assertEqual(flow.wait_for(lambda: peer.notes.get("end")), "reset")

    def read_slowly(self, c, n, pause, seconds):
        """Reads n bytes at a time; how many came, and whether it was cut off."""
        got, until = 0, time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                came = len(c.socket.recv(n))
                if came == 0:
                    return got, True
                got += came
                time.sleep(pause)
        except ConnectionResetError:
            return got, True
        return got, False

    def test_a_client_that_takes_too_little(self):
        s = self.server("""
            server {
                listen 127.0.0.1:@port@;""" + LOGGED + """
                timeout { write 1s; }
                min { write 4m/s; after 1s; }
                route /slow { min { write 0; } proxy @peer@; }
                route { proxy @peer@; }
            }
        """, peer=self.peer(endless))
        with flow.Client(s.address(), receive_buffer=16384) as c, flow.Client(s.address(), receive_buffer=16384) as d:
            c.send(flow.request("/"))
            d.send(flow.request("/slow"))
            ends = {}

            def read(name, stream, seconds):
                ends[name] = self.read_slowly(stream, 16384, 0.05, seconds)

            threads = [threading.Thread(target=read, args=("c", c, flow.TIME)), threading.Thread(target=read, args=("d", d, 4))]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        self.assertTrue(ends["c"][1])
        self.assertFalse(ends["d"][1])
        self.assertEqual(entries(s, 1)[0]["reason"], "write_too_slow")

    def test_a_client_that_is_slow_but_honest(self):
        """The kernel holds megabytes of its answer: longer than the timeout no send succeeds, and yet it reads."""
        s = self.server("""
            server { listen 127.0.0.1:@port@; timeout { write 2s; } proxy @peer@; }
        """, peer=self.peer(endless))
        with s.client() as c:
            c.send(flow.request("/"))
            got, cut = self.read_slowly(c, 131072, 0.25, 4.5)
            self.assertFalse(cut)
            self.assertLess(got, 4 << 20)
            # and one that takes nothing is not waited for
            time.sleep(2.8)
            with self.assertRaises((ConnectionResetError, EOFError)):
                while c.socket.recv(1 << 20):
                    pass
                raise EOFError


class Buffers(flow.Case):
    SIZE = 1 << 20

    def answers(self):
        def script(stream, peer):
            while True:
                q = stream.question()
                if q is None:
                    return
                stream.send(flow.answer(200, b"x" * (16 * self.SIZE)))
                with peer.lock:
                    peer.notes[q.target] = time.monotonic()

        return self.peer(script)

    def test_answers(self):
        peer = self.answers()
        s = self.server("""
            server {
                listen 127.0.0.1:@port@;
                route /ahead { buffer { answer 16m; } proxy @peer@; }
                route { proxy @peer@; }
            }
        """, peer=peer)
        with s.client() as c, s.client() as d:
            c.send(flow.request("/held"))
            d.send(flow.request("/ahead"))
            flow.wait_for(lambda: "/ahead" in peer.notes)
            time.sleep(0.3)
            self.assertNotIn("/held", peer.notes)
            for stream in (d, c):
                length = int(stream.head()["Content-Length"])
                got = len(stream.buffer)
                while got < length:
                    piece = len(stream.socket.recv(1 << 20))
                    self.assertNotEqual(piece, 0)
                    got += piece
                self.assertEqual(got, 16 * self.SIZE)
            self.assertIn("/held", peer.notes)

    def test_questions(self):
        def script(stream, peer):
            stream.more()
            peer.notes["first"] = time.monotonic()
            q = stream.question()
            with peer.lock:
                peer.questions.append(q)
            stream.send(flow.answer(200, b"%d" % len(q.body), "Connection: close"))

        peer = self.peer(script)
        s = self.server("""
            server {
                listen 127.0.0.1:@port@;
                max { body 2m; }
                route /whole { buffer { question 2m; } proxy @peer@; }
                route { proxy @peer@; }
            }
        """, peer=peer)
        for target, whole in (("/whole", True), ("/streamed", False)):
            with self.subTest(target), s.client() as c:
                peer.notes.clear()
                c.send(flow.request(target, method="POST", headers="Expect: 100-continue\nContent-Length: %d" % self.SIZE))
                self.assertEqual(c.head().status, 100)
                for i in range(4):
                    time.sleep(0.1)
                    sent = time.monotonic()
                    c.send(b"x" * (self.SIZE // 4))
                self.assertEqual(c.answer().text, str(self.SIZE))
                self.assertEqual(peer.notes["first"] > sent, whole)


class ErrorPages(flow.Case):
    def test_intercept(self):
        def respond(q):
            whole = flow.answer(int(q.target[1:]), b"theirs", "X-Secret: 1")
            return whole[:-6] if q.method == "HEAD" else whole

        peer = self.peer(flow.http(respond))
        s = self.server("""
            server {
                listen 127.0.0.1:@port@;
                access_log "access.log" json;
                proxy @peer@;
                error 404 intercept { response_header set X-Page "yes"; return 404 "no ${path}" type=text/html; }
                error 500..599 intercept { proxy @pages@; }
            }
        """, peer=peer, pages=self.peer(flow.http(lambda q: flow.answer(503, b"a page for " + q.target.encode()))))
        with s.client() as c:
            for target, method, status, body in (
                    ("/200", "GET", 200, "theirs"), ("/404", "GET", 404, "no /404"), ("/404", "HEAD", 404, ""),
                    ("/403", "GET", 403, "theirs"), ("/500", "POST", 503, "a page for /500"), ("/200", "GET", 200, "theirs")):
                c.send(flow.request(target, method=method, body=b"abc" if method == "POST" else b""))
                a = c.answer(method)
                self.assertEqual((a.status, a.text), (status, body))
                self.assertEqual(a["X-Secret"], "1" if body == "theirs" else None)
                self.assertEqual(a["X-Page"], "yes" if status == 404 else None)
        self.assertEqual(peer.accepted, 1)
        self.assertEqual([e["status"] for e in entries(s, 6)], [200, 404, 404, 403, 503, 200])


if __name__ == "__main__":
    flow.main()
