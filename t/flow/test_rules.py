# SPDX-License-Identifier: BSD-2-Clause
"""
The rules of HTTP/1.1, one by one, at both ends: every byte that the client gets and every byte that the peer
saw. Tables of what is refused are test_strict.py's; t/README says which test shows which rule.
"""
import gzip
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time

import flow
from test_road import stopped

CONF = """
upstream app { server @peer@ max_fails=0; retry 0; timeout { connect 1s; header 1s; idle 1s; write 1s; } %s }
server { listen 127.0.0.1:@port@; timeout { header 5s; body 5s; } %s proxy app; }
"""
PLAIN = CONF % ("", "")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
OTHER = b"GET /2 HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
WHO = b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
ADDED = WHO + b"X-Forwarded-Host: a\r\nVia: 1.1 millrace\r\n"
VIA = b"Via: 1.1 millrace\r\n"
DATE = b"Date: today\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FINE = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\n" + VIA + b"\r\nok"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HANDSHAKE = (GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
AGREED = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n")


def failed(status, phrase, more=b""):
    text = b"%d %s\n" % (status, phrase)
    return (b"HTTP/1.1 %d %s\r\n" % (status, phrase) + DATE + b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % len(text) +
            more + b"\r\n" + text)


BAD = failed(400, b"Bad Request", b"Connection: close\r\n")
GATEWAY = failed(502, b"Bad Gateway")


def undated(raw):
    return re.sub(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", DATE, raw)


class Wire(flow.Case):
    """A peer that keeps every byte, by connection, and answers each question with what `say` gives."""

    def start(self, say, conf=PLAIN, **more):
        log = self.log = []
        self.before = 0         # connections that are forgotten

        def script(stream, peer):
            stream.seen = b""
            stream.end = None       # how it ended: b"" an orderly end, b"reset"
            log.append(stream)
            plain = stream.more

            def more():
                before = len(stream.buffer)
                try:
                    going = plain()
                except ConnectionResetError:
                    stream.end = b"reset"
                    raise
                stream.seen += stream.buffer[before:]
                if not going:
                    stream.end = b""
                return going

            stream.more = more
            while True:
                q = stream.question()
                if q is None:
                    return
                given = say(q)
                if given is None:
                    return
                for piece in [given] if isinstance(given, bytes) else given:
                    stream.send(piece)

        self.p = self.peer(script)
        self.s = self.server(conf, peer=self.p, **more)
        return self.s

    def talk(self, *pieces, end=True, pause=0.05):
        """What the client gets for what it says, to the end: it closes its half when it has said all."""
        with self.s.client() as c:
            for i, piece in enumerate(pieces):
                if i:
                    time.sleep(pause)
                c.send(piece)
            if end:
                c.shut()
            try:
                return undated(c.rest())
            except ConnectionResetError:
                return b"reset"

    @property
    def seen(self):
        """What the peer got, by connection; one on which nothing was said may come late, or not."""
        return [stream.seen for stream in self.log if stream.seen]

    def all_ended(self):
        flow.wait_for(lambda: None not in [stream.end for stream in self.log], message="a connection was kept")

    def fresh(self):
        """The server has no connection to the peer any more, and nothing was seen."""
        for stream in self.log:
            if stream.end is None:
                with flow.contextlib.suppress(OSError):
                    stream.shut()
        self.all_ended()
        self.before += len(self.log)
        self.log.clear()

    def fresh_but(self, start):
        for stream in list(self.log):
            if stream.seen.startswith(start):
                stream.shut()
                self.all_ended()
                self.log.remove(stream)
                self.before += 1

    def both(self, said, got, *seen):
        self.fresh()
        self.assertEqual(self.talk(*([said] if isinstance(said, bytes) else said)), got)
        self.assertEqual(self.seen, list(seen))

    def cut(self, said, got, seen):
        """What was said is refused on the way: the peer saw the beginning of `seen` at most, and never an end."""
        self.fresh()
        self.assertEqual(self.talk(*([said] if isinstance(said, bytes) else said)), got)
        self.talk(b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n")     # whoever was to come before it has come
        flow.wait_for(lambda: len(self.log) == self.p.accepted - self.before)
        self.fresh_but(b"GET /behind ")
        self.assertTrue(seen.startswith(b"".join(self.seen)), self.seen)


class Framing(Wire):
    """Rules 1 to 4 and 9: what passes, passes in one form."""

    def test_pipelined(self):
        """Keep-alive and pipelining: three questions, three framings, one connection on either side."""
        self.start(lambda q: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(q.body), q.body))
        self.both(GET + b"\r\n" + POST + b"Content-Length: 3\r\n\r\nabc" + POST + b"Transfer-Encoding: chunked\r\n\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
                  b"".join(b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: %d\r\n" % len(b) + VIA + b"\r\n" + b for b in (b"", b"abc", b"defg")),
                  GET + ADDED + b"\r\n" + POST + b"Content-Length: 3\r\n" + ADDED + b"\r\nabc" +
                  POST + ADDED + b"Transfer-Encoding: chunked\r\n\r\n4\r\ndefg\r\n0\r\n\r\n")

    def test_white_space(self):
        """Tabs around a Content-Length: read as RFC 9110 has it, and forwarded as everybody reads it."""
        self.start(lambda q: b"HTTP/1.1 200 OK\r\nContent-Length:\t2 \t\r\nX:\t \t\r\nY:  z\r\n\r\nok")
        self.both(POST + b"Content-Length:\t5\t\r\nX: \t v w \t\r\nY:z\r\n\r\nhello",
                  b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\nX: \r\nY: z\r\n" + VIA + b"\r\nok",
                  POST + b"Content-Length: 5\r\nX: v w\r\nY: z\r\n" + ADDED + b"\r\nhello")
        self.both(b"POST / HTTP/1.1\r\nHost:\ta \r\nTransfer-Encoding:\tchunked \r\n\r\n0\r\n\r\n",
                  b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\nX: \r\nY: z\r\n" + VIA + b"\r\nok",
                  POST + ADDED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    def test_chunk_bounds(self):
        """Rule 3: 15 digits, 256 bytes of extension, 4 KiB of them a message: the last that passes, the first that does not."""
        self.start(lambda q: OK if len(q.body) < 2 else flow.answer(200, q.body))
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        seen = POST + ADDED + b"Transfer-Encoding: chunked\r\n\r\n"
        self.both(head + b"000000000000001\r\na\r\n0\r\n\r\n", FINE, seen + b"1\r\na\r\n0\r\n\r\n")
        self.cut(head + b"0000000000000001\r\na\r\n0\r\n\r\n", BAD, seen)
        self.both(head + b"1;" + b"x" * 255 + b"\r\na\r\n0\r\n\r\n", FINE, seen + b"1\r\na\r\n0\r\n\r\n")
        self.cut(head + b"1;" + b"x" * 256 + b"\r\na\r\n0\r\n\r\n", BAD, seen)
        sixteen = (b"1;" + b"x" * 255 + b"\r\na\r\n") * 16
        with self.s.client() as c:
            c.send(head + sixteen + b"0\r\n\r\n")
            self.assertEqual(c.answer().text, "a" * 16)
        self.cut([head, sixteen + b"0;\r\n\r\n"], BAD, seen + b"1\r\na\r\n" * 16)
        for extension in (b"\0", b"\r", b"\n", b"\x7f", b"\t", b"\x1b"):
            self.cut(head + b"1;a" + extension + b"b\r\na\r\n0\r\n\r\n", BAD, seen)

    def test_trailer_bounds(self):
        """Rule 3: 16 fields and 4 KiB of trailers, dropped; what they would say of the framing changes nothing."""
        self.start(lambda q: OK)
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        seen = POST + ADDED + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        self.both(head + b"A: b\r\n" * 16 + b"\r\n", FINE, seen + b"0\r\n\r\n")
        self.cut([head, b"A: b\r\n" * 17 + b"\r\n"], BAD, seen)
        self.both(head + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\r\n", FINE, seen + b"0\r\n\r\n")
        self.cut([head, b"A : b\r\n\r\n"], BAD, seen)
        self.cut([head, b"A: b\r\n c\r\n\r\n"], BAD, seen)

    def test_large_and_tiny_chunks(self):
        self.start(lambda q: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(q.body), q.body))
        body = os.urandom(200000)
        for sizes in ([1] * 3000, [200000], [65535, 1, 65536, 1, 65537]):
            pieces, at = [], 0
            for n in sizes:
                pieces.append(body[at:at + n])
                at += n
            with self.s.client() as c:
                c.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + flow.chunked(pieces) + GET + b"\r\n")
                self.assertEqual(c.answer().body, body[:at])
                self.assertEqual(c.answer().body, b"")

    def test_a_small_first_chunk(self):
        """What a peer says is passed on when it comes, however little it is; the same the other way."""
        said = threading.Event()

        def script(stream, peer):
            stream.head()
            stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            said.wait(flow.TIME)
            self.assertEqual(stream.exactly(6), b"1\r\nb\r\n")
            stream.send(b"1\r\nc\r\n0\r\n\r\n")

        s = self.server(PLAIN, peer=self.peer(script))
        with s.client() as c:
            c.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            self.assertEqual(undated(c.until(b"a\r\n")), b"HTTP/1.1 200 OK\r\n" + DATE + VIA + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            c.send(b"1\r\nb\r\n")
            said.set()
            self.assertEqual(c.exactly(6), b"1\r\nc\r\n")

    def test_versions(self):
        """HTTP/1.0: asked of the peer as 1.1, answered without chunks and without 1xx, the end told by the connection."""
        self.start(lambda q: [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"])
        end = b"HTTP/1.1 200 OK\r\n" + DATE + VIA + b"Connection: close\r\n\r\nok"
        old = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + WHO + b"Via: 1.0 millrace\r\n\r\n"
        self.both(b"GET / HTTP/1.0\r\n\r\n", end, old)
        self.both(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET + b"\r\n", end, old)
        self.both(b"GET http://B.example:81/x HTTP/1.0\r\n\r\n", end,
                  b"GET /x HTTP/1.1\r\nHost: B.example:81\r\n" + WHO + b"X-Forwarded-Host: B.example:81\r\nVia: 1.0 millrace\r\n\r\n")
        self.both(b"GET http://b/x HTTP/1.0\r\nHost: a\r\n\r\n", BAD)

    def test_interim(self):
        """1xx: 100 is ours to say, 102 and 103 pass to who knows them, eight at most; none is taken for the answer."""
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        self.start(lambda q: CONTINUE * 2 + b"HTTP/1.1 102 Processing\r\nConnection: X\r\nX: 1\r\nContent-Length: 5\r\n\r\n" + hints * int(q["X"]) + OK)
        for n in (0, 5):
            self.both(GET + b"X: %d\r\n\r\n" % n, b"HTTP/1.1 102 Processing\r\n\r\n" + hints * n + FINE, GET + b"X: %d\r\n" % n + ADDED + b"\r\n")
        self.both(GET + b"X: 6\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n" + hints * 5 + GATEWAY, GET + b"X: 6\r\n" + ADDED + b"\r\n")

    def test_bodiless(self):
        """HEAD, 204, 304, 205: what a peer says behind them is no answer, at once or later, and its connection serves nobody else."""
        for method, said, got in (
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 4\r\n" + VIA + b"\r\n"),
            (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + DATE + VIA + b"\r\n"),
            (b"GET", b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n", b"HTTP/1.1 204 No Content\r\n" + DATE + VIA + b"\r\n"),
            (b"GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 204 No Content\r\n" + DATE + VIA + b"\r\n"),
            (b"GET", b"HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n" + DATE + b"Content-Length: 4\r\n" + VIA + b"\r\n"),
            (b"GET", b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 205 Reset Content\r\n" + DATE + b"Content-Length: 0\r\n" + VIA + b"\r\n"),
        ):
            asked = method + b" / HTTP/1.1\r\nHost: a\r\n"
            for late in (False, True):
                with self.subTest(said=said, late=late):
                    def say(q):
                        if q.target == "/2":
                            return OK
                        return (lambda: (yield said) or time.sleep(0.02) or (yield b"evil"))() if late else said + b"evil"

                    self.start(say)
                    with self.s.client() as c:
                        c.send(asked + b"\r\n")
                        self.assertEqual(undated(c.until(b"\r\n\r\n")), got)
                        flow.wait_for(lambda: self.log[0].end is not None, message="its connection was kept")
                        c.send(OTHER + b"\r\n")
                        c.shut()
                        self.assertEqual(undated(c.rest()), FINE)
                    self.assertEqual(self.seen, [asked + ADDED + b"\r\n", OTHER + ADDED + b"\r\n"])

    def test_a_bad_answer_in_the_middle(self):
        """Pipelined, and the second answer is malformed: 502 in its place, the others whole, no connection used behind it."""
        self.start(lambda q: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok" if q.target == "/2" else OK)
        asked = [b"GET /%d HTTP/1.1\r\nHost: a\r\n" % n for n in (1, 2, 3)]
        self.both(b"".join(q + b"\r\n" for q in asked), FINE + GATEWAY + FINE,
                  b"".join(q + ADDED + b"\r\n" for q in asked[:2]), asked[2] + ADDED + b"\r\n")

    def test_bad_answers(self):
        """Rule 9, what test_strict.py does not have: 502 whole, not a byte of theirs, and the connection is closed."""
        for said in (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4294967298\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\n: 2\r\n\r\nok",
            b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nConnection: a b\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\nevil",
            b"HTTP/1.1 101 \r\n\r\n" + OK,
        ):
            with self.subTest(said=said):
                self.start(lambda q: said if q.target == "/" else OK)
                self.both(GET + b"\r\n" + OTHER + b"\r\n", GATEWAY + FINE,
                          GET + ADDED + b"\r\n", OTHER + ADDED + b"\r\n")
                flow.wait_for(lambda: self.log[0].end is not None, message="its connection was kept")


class Hosts(Wire):
    """Rules 7 and 8, 12: who is asked, for what, and what else is said."""

    def test_host(self):
        """Beyond test_strict.py's: bytes that no name has. 400, and the peer hears nothing."""
        self.start(lambda q: OK)
        for host in (b"a#b", b"a\\b", b"a%41", b"a|b", b"a<b>", b"a\"b", b"a\x80b", b"\xc3\xa4", b"a^b", b"a`b", b"a{b}", b"::1", b"[::1]]", b"[]",
                     b"[::1]:", b"a:-1", b"a:+1", b"a: 1", b"a:0", b"a\tb", b"a,b c", b"@", b":80", b".", b"a.."):
            with self.subTest(host=host):
                if host == b"[::1]:":   # RFC 3986 3.2.3: a port may be empty
                    continue
                self.both(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n" + GET + b"\r\n", BAD)

    def test_x_forwarded_host(self):
        """What the client said, whatever the peer is asked for."""
        self.start(lambda q: OK, CONF % ("", 'request_header set Host "inner"; request_header set X-Asked "${header.host}";'))
        self.both(b"GET / HTTP/1.1\r\nHost: A:81\r\n\r\n", FINE,
                  b"GET / HTTP/1.1\r\nHost: inner\r\nX-Asked: inner\r\n" + WHO + b"X-Forwarded-Host: A:81\r\n" + VIA + b"\r\n")

    def test_twins(self):
        """What a step sets stands alone: CGI reads X_User as X-User."""
        self.start(lambda q: OK, CONF % ("", 'request_header set X-User "bob"; request_header remove Accept-Encoding;'))
        self.both(GET + b"X_User: eve\r\nx-user: eve\r\nX_Users: x\r\nAccept_Encoding: gzip\r\n\r\n", FINE,
                  GET + b"X_Users: x\r\nX-User: bob\r\n" + ADDED + b"\r\n")

    def test_twins_of_ours(self):
        """… and what we say ourselves is said in the known spelling only, or not at all."""
        self.start(lambda q: OK, CONF % ("", "request_header remove X_Forwarded_For;"))
        self.both(GET + b"\r\n", FINE, GET + ADDED.replace(b"X-Forwarded-For: 127.0.0.1\r\n", b"") + b"\r\n")

    def test_connection(self):
        """Rule 12, both ways: what Connection and Proxy-Connection name goes, but for what says who asks and where it ends."""
        self.start(lambda q: b"HTTP/1.1 200 OK\r\nConnection: X-Drop, Content-Length, Date, Via\r\nX-Drop: 1\r\nVia: 1.0 b\r\nDate: 1\r\n"
                             b"Proxy-Connection: Y-Drop\r\nY-Drop: 1\r\nContent-Length: 2\r\n\r\nok")
        self.both(POST + b"Connection: Host, Content-Length, Forwarded, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via, X-Drop\r\n"
                  b"Via: 1.0 b\r\nX-Drop: 1\r\nX-DROP: 2\r\nProxy-Connection: Y-Drop, Host\r\ny-drop: 1\r\nContent-Length: 2\r\n\r\nhi",
                  FINE, POST + b"Content-Length: 2\r\n" + ADDED + b"\r\nhi")

    def test_connection_twins(self):
        """Another spelling is another field: nobody may take the length from a body that goes on."""
        self.start(lambda q: b"HTTP/1.1 200 OK\r\nConnection: content_length\r\nContent-Length: 2\r\n\r\nok")
        self.both(POST + b"Connection: Content_Length, X_Drop\r\nContent-Length: 2\r\nX_Drop: 1\r\nX-Drop: 2\r\n\r\nhi" + GET + b"\r\n",
                  FINE * 2, POST + b"Content-Length: 2\r\nX-Drop: 2\r\n" + ADDED + b"\r\nhi" + GET + ADDED + b"\r\n")

    def test_upgrades(self):
        """Rule 11: only a whole WebSocket handshake upgrades; of any other the peer sees a plain question."""
        self.start(lambda q: OK)
        for upgrade in (b"h2c", b"TLS/1.0", b"websocket, h2c", b"foo", b"websocket/13", b"\"websocket\"", b""):
            self.both(GET + b"Upgrade: " + upgrade + b"\r\nConnection: Upgrade\r\n\r\n" + GET + b"\r\n", FINE * 2, (GET + ADDED + b"\r\n") * 2)
        for head in (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nConnection: close\r\n"):
            end = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\n" + VIA + (b"Connection: close\r\n" if b"close" in head else b"") + b"\r\nok"
            self.both(GET + head + b"\r\n", end, GET + ADDED + b"\r\n")
        for key in (b"", b"dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25jZQ", b"!!!!!!!!!!!!!!!!!!!!!!!!", b"dGhlIHNhbXBsZSBub25jZQ==, x"):
            field = b"Sec-WebSocket-Key: " + key + b"\r\nSec-WebSocket-Version: 13\r\n"
            self.both(GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + field + b"\r\n", FINE, GET + field + ADDED + b"\r\n")

    def test_websocket(self):
        """A handshake passes, and from then on every byte, also those that came with it; then either end closes."""
        frames = bytes(range(256)) * 2

        def script(stream, peer):
            peer.notes["head"] = stream.until(b"\r\n\r\n")
            peer.notes["early"] = list(stream.buffer)
            stream.send(AGREED + b"first")
            peer.notes["got"] = stream.exactly(len(frames) + 5)
            stream.send(frames[::-1])
            peer.notes["rest"] = stream.rest()
            stream.send(b"bye")

        p = self.peer(script)
        s = self.server(PLAIN, peer=p)
        with s.client() as c:
            c.send(HANDSHAKE + frames)
            self.assertEqual(undated(c.until(b"\r\n\r\n")),
                             b"HTTP/1.1 101 Switching Protocols\r\n" + DATE + b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                             b"Sec-WebSocket-Protocol: chat\r\n" + VIA + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n")
            self.assertEqual(c.exactly(5), b"first")
            c.send(b"later")
            self.assertEqual(c.exactly(len(frames)), frames[::-1])
            c.shut()
            self.assertEqual(c.rest(), b"bye")
        self.assertEqual(p.notes["head"], GET + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                         b"Sec-WebSocket-Protocol: chat\r\n" + ADDED + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        self.assertEqual((p.notes["early"], p.notes["got"], p.notes["rest"]), ([], frames + b"later", b""))

    def test_websocket_refused(self):
        """The peer does not agree: an answer like any, and what stands behind the handshake is the next question, not a frame."""
        self.start(lambda q: b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: foo\r\nContent-Length: 0\r\n\r\n" if q["Upgrade"] else OK)
        asked = (GET + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n" +
                 ADDED + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        self.both(HANDSHAKE + GET + b"\r\n", b"HTTP/1.1 426 Upgrade Required\r\n" + DATE + b"Content-Length: 0\r\n" + VIA + b"\r\n" + FINE,
                  asked + GET + ADDED + b"\r\n")

    def test_targets(self):
        """Rule 8 and RFC 9112 3.2: absolute-form, OPTIONS *, one decoding, what routes see is what the peer sees."""
        self.start(lambda q: OK, CONF % ("", 'route /deny { return 403 "no"; } route {') + "}")
        for method, target, seen in (
            (b"OPTIONS", b"*", b"*"), (b"OPTIONS", b"http://a", b"*"), (b"OPTIONS", b"http://a/", b"/"), (b"OPTIONS", b"/", b"/"),
            (b"GET", b"http://a", b"/"), (b"GET", b"HTTPS://A?x", b"/?x"), (b"GET", b"http://a/b/../c", b"/c"),
            (b"GET", b"/%61%2d%7E%c3%a4", b"/a-~%C3%A4"), (b"GET", b"/a%3Bb;c", b"/a%3Bb;c"), (b"GET", b"/%252e%252e/", b"/%252e%252e/"),
            (b"GET", b"/a/b/..?/../%2f%00\\", b"/a/?/../%2f%00\\"), (b"GET", b"/a/.", b"/a/"), (b"GET", b"/\"<>^`{|}[]", b"/%22%3C%3E%5E%60%7B%7C%7D%5B%5D"),
            (b"GET", b"/%0d%0aX:%20y", b"/%0D%0AX:%20y"), (b"TRACE", b"/", b"/"), (b"PURGE", b"//x///y", b"//x///y"),
        ):
            with self.subTest(target=target):
                self.both(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", FINE, method + b" " + seen + b" HTTP/1.1\r\nHost: a\r\n" + ADDED + b"\r\n")
        for target in (b"/deny", b"/./deny/x", b"//deny", b"/x/../deny", b"/%64eny", b"/x/%2e%2e/deny", b"http://a/deny", b"/deny?x", b"/deny/"):
            with self.subTest(target=target):
                self.assertIn(b" 403 ", self.talk(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"))
        for target in (b"/a%2Fb", b"/a%5cb", b"/a\\b", b"/%00", b"/..", b"/a/../..", b"/%2e%2e", b"/a?b#c", b"/\x80", b"/?\xff", b"/%", b"/%g0", b"http://a\\@b/",
                       b"http://a#@b/", b"http://b@a/", b"http:a", b"//a@b:c\x7f", b"?", b"a:80", b"https:/a", b"http://"):
            with self.subTest(target=target):
                self.both(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n", BAD)


class Waiting(Wire):
    """Expect, early answers, half-close: what each side may leave out."""

    def test_expect(self):
        """100 exactly once, before the body is there; the peer never hears of it, nor is its own 100 passed on."""
        self.start(lambda q: CONTINUE + OK)
        head = POST + b"Expect: 100-Continue\r\n"
        with self.s.client() as c:
            c.send(head + b"Content-Length: 2\r\n\r\n")
            self.assertEqual(c.exactly(len(CONTINUE)), CONTINUE)
            time.sleep(0.05)
            self.assertEqual(self.seen, [POST + b"Content-Length: 2\r\n" + ADDED + b"\r\n"])
            c.send(b"hi")
            c.shut()
            self.assertEqual(undated(c.rest()), FINE)
        self.assertEqual(self.seen, [POST + b"Content-Length: 2\r\n" + ADDED + b"\r\nhi"])
        # not waited for; and in chunks
        self.both(head + b"Content-Length: 2\r\n\r\nhi" + GET + b"\r\n", CONTINUE + FINE + FINE,
                  POST + b"Content-Length: 2\r\n" + ADDED + b"\r\nhi" + GET + ADDED + b"\r\n")
        self.both(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", CONTINUE + FINE,
                  POST + ADDED + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
        # nothing to wait for, or nobody who can
        self.both(GET + b"Expect: 100-continue\r\n\r\n", FINE, GET + ADDED + b"\r\n")
        self.both(POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", FINE, POST + b"Content-Length: 0\r\n" + ADDED + b"\r\n")
        end = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\n" + VIA + b"Connection: close\r\n\r\nok"
        self.both(b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", end,
                  POST + b"Content-Length: 2\r\n" + WHO + b"X-Forwarded-Host: a\r\nVia: 1.0 millrace\r\n\r\nhi")
        # what cannot be met
        refused = failed(417, b"Expectation Failed", b"Connection: close\r\n")
        for expect in (b"100-continue, x", b"x", b"100-continue\r\nExpect: x", b"\"100-continue\"", b""):
            self.both(POST + b"Expect: " + expect + b"\r\nContent-Length: 2\r\n\r\nhi", refused)

    def test_expect_and_refused(self):
        """The answer is there before the body was asked for: no 100, and the connection ends, for nobody knows what follows."""
        self.start(lambda q: OK, CONF % ("", 'max { body 10; } route /no { return 403 "no"; } route {') + "}")
        head = b"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        self.both(head % (b"/", 11) + GET + b"\r\n", failed(413, b"Content Too Large", b"Connection: close\r\n"))
        self.both(head % (b"/no", 5) + GET + b"\r\n", b"HTTP/1.1 403 Forbidden\r\n" + DATE + b"Content-Type: text/plain\r\nContent-Length: 2\r\n"
                  b"Connection: close\r\n\r\nno")

    def test_expect_and_no_peer(self):
        """Told to go on, and then there is nobody: 502, the body is dropped, the connection goes on at the next question."""
        s = self.server(PLAIN, peer=self.closed_port())
        with s.client() as c:
            c.send(POST + b"Expect: 100-continue\r\nContent-Length: 30\r\n\r\n")
            self.assertEqual(undated(c.until(b"502 Bad Gateway\n")), CONTINUE + GATEWAY)
            c.send(b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"[:30] + GET + b"\r\n")
            c.shut()
            self.assertEqual(undated(c.rest()), GATEWAY)

    def test_early_answers(self):
        """An answer before the question is over: the client's connection goes on behind a rest whose size is known, the peer's does not."""
        def script(stream, peer):
            q = stream.head()
            if q["Content-Length"] is None and q["Transfer-Encoding"] is None:
                stream.send(OK)
            else:
                stream.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
            try:
                stream.rest()
                how = "ended"
            except ConnectionResetError:
                how = "reset"
            peer.notes.setdefault("over", []).append((q.raw_head, how))

        early = b"HTTP/1.1 403 Forbidden\r\n" + DATE + b"Content-Length: 2\r\n" + VIA + b"\r\nno"
        last = early.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        body = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 10
        for framing, body, cut, first, second in (
                (b"Content-Length: 40\r\n", body, 7, early, FINE),
                (b"Transfer-Encoding: chunked\r\n", flow.chunked([body]), 7, last, b"")):
            p = self.peer(script)
            s = self.server(PLAIN, peer=p)
            with s.client() as c:
                c.send(POST + framing + b"\r\n" + body[:cut])
                self.assertEqual(undated(c.until(b"\r\n\r\nno")), first)
                flow.wait_for(lambda: p.notes.get("over"), message="the peer's connection was kept")
                c.send(body[cut:] + GET + b"\r\n")
                c.shut()
                self.assertEqual(undated(c.rest()), second)
            self.assertEqual(p.accepted, 2 if second else 1)
            seen, how = p.notes["over"][0]
            self.assertIn(POST, seen)
            self.assertEqual(how, "reset", "half a question ended in good order")

    def test_early_answers_of_ours(self):
        """In chunks nobody knows how much is to come: the connection goes on where the end is in hand, else it is said that it ends."""
        s = self.server('server { listen 127.0.0.1:@port@; route { return 200 "ok"; } }')
        fine = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
        last = fine.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        for body, got in ((flow.chunked([b"x" * 100, b"y"]), fine * 2), (flow.chunked([b"x"])[:-1], last), (b"", last), (b"5\r\nabc", last)):
            with s.client() as c:
                c.send(head + body + GET + b"\r\n" if got == fine * 2 else head + body)
                if got == last:
                    self.assertEqual(undated(c.until(b"ok")), last)
                    c.send(b"x" * 100000)
                    got = b""
                c.shut()
                self.assertEqual(undated(c.rest()), got, body)

    def test_half_close(self):
        """A client that says no more: whatever was asked whole is answered whole, whatever was not is not."""
        def slow(q):
            time.sleep(0.05)
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
            time.sleep(0.05)
            yield b"ok"

        self.start(slow)
        asked = GET + ADDED + b"\r\n"
        self.both(b"", b"")
        self.both(b"GET / HT", b"")
        self.both(GET + b"X: y\r\n", b"")
        self.both(GET + b"\r\n", FINE, asked)
        self.both(GET + b"\r\n" + GET, FINE, asked)
        self.both((GET + b"\r\n") * 3, FINE * 3, asked * 3)
        self.both([GET + b"\r\n", GET + b"\r\n"], FINE * 2, asked * 2)
        self.both(POST + b"Content-Length: 2\r\n\r\nhi", FINE, POST + b"Content-Length: 2\r\n" + ADDED + b"\r\nhi")
        self.both(GET + b"\r\nnonsense\r\n\r\n", FINE + BAD, asked)
        # in its body: the peer never gets the end, and sees that there is none
        for framing, body in ((b"Content-Length: 3\r\n", b"hi"), (b"Transfer-Encoding: chunked\r\n", b"2\r\nhi\r\n"), (b"Transfer-Encoding: chunked\r\n", b"2\r\nhi\r\n0\r\n")):
            self.fresh()
            self.assertEqual(self.talk(POST + framing + b"\r\n" + body), b"")
            flow.wait_for(lambda: self.log)
            self.all_ended()
            self.assertNotIn(b"0\r\n\r\n", b"".join(self.seen))

    def test_half_close_of_a_peer(self):
        """A peer that closes its half with its answer: the answer is whole, the connection is not used again."""
        def script(stream, peer):
            stream.question()
            stream.send(OK)
            stream.shut()
            peer.notes.setdefault("rest", []).append(stream.rest())

        p = self.peer(script)
        self.s = self.server(PLAIN, peer=p)
        for _ in range(3):
            self.assertEqual(self.talk(GET + b"\r\n"), FINE)
            time.sleep(0.02)
        flow.wait_for(lambda: len(p.notes.get("rest", [])) == 3)
        self.assertEqual(p.notes["rest"], [b""] * 3)


class Reuse(Wire):
    """Rule 10: which connection carries the next question."""

    def test_closed_as_it_is_reused(self):
        """The peer closes, resets or says something in the moment in which the next question comes: it is asked elsewhere, once."""
        for said, reset in ((b"", False), (b"", True), (b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil", False),
                            (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", False), (b"\r\n", False)):
            for raw in (GET + b"\r\n", POST + b"Content-Length: 2\r\n\r\nhi"):
                with self.subTest(said=said, reset=reset, raw=raw):
                    self.start(lambda q: OK)
                    self.both(GET + b"\r\n", FINE, GET + ADDED + b"\r\n")
                    with self.s.client() as c:
                        time.sleep(0.02)
                        with stopped(self.s):
                            time.sleep(0.02)
                            c.send(raw)
                            time.sleep(0.02)
                            if reset:
                                self.log[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            else:
                                self.log[0].send(said)
                            self.log[0].socket.shutdown(socket.SHUT_RDWR)
                        c.shut()
                        self.assertEqual(undated(c.rest()), FINE)
                    self.assertEqual(self.seen, [GET + ADDED + b"\r\n", raw.replace(b"\r\n\r\n", b"\r\n" + ADDED + b"\r\n")])

    def test_asked_twice_never(self):
        """What was sent and is not idempotent is never sent again: 502, and the other peer hears nothing of it."""
        self.start(lambda q: None if q.method == "POST" else OK)
        self.both(GET + b"\r\n" + POST + b"Content-Length: 2\r\n\r\nhi" + GET + b"\r\n", FINE + GATEWAY + FINE,
                  GET + ADDED + b"\r\n" + POST + b"Content-Length: 2\r\n" + ADDED + b"\r\nhi", GET + ADDED + b"\r\n")

    def test_faults_and_the_connection(self):
        """Silent before the head, in it, in the body; 504 or a cut answer in time, and the peer's connection ends."""
        cut = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 9\r\n" + VIA + b"\r\nhalf"
        late = failed(504, b"Gateway Timeout")
        for said, got in ((b"", late), (b"HTTP/1.1 200 OK\r\nContent-", late), (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n" + late),
                          (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", cut)):
            with self.subTest(said=said):
                self.start(lambda q: said, PLAIN.replace("header 1s; idle 1s", "header 700ms; idle 200ms"))
                self.both(GET + b"\r\n", got, GET + ADDED + b"\r\n")
                flow.wait_for(lambda: self.log[0].end is not None, message="its connection was kept")

    def test_drips(self):
        """An answer that comes by the byte is the same answer."""
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        self.start(lambda q: (time.sleep(0.002) or raw[i:i + 1] for i in range(len(raw))))
        got = self.talk(GET + b"\r\n")
        head, body = got.split(b"\r\n\r\n", 1)
        self.assertEqual(head + b"\r\n", b"HTTP/1.1 200 OK\r\n" + DATE + VIA + b"Transfer-Encoding: chunked\r\n")
        self.assertEqual(body, b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n")
        self.assertEqual(self.seen, [GET + ADDED + b"\r\n"])

    def test_a_whole_answer_and_a_reset(self):
        """The answer was there before its connection broke: a client that is slow to read gets all of it."""
        n = 6 << 20
        over = threading.Event()

        def script(stream, peer):
            stream.question()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n + b"z" * n)
            until = time.monotonic() + flow.TIME
            while time.monotonic() < until and not over.is_set():
                time.sleep(0.01)
                # nothing may be on its way: a reset takes that back
                if struct.unpack("i", __import__("fcntl").ioctl(stream.socket, 0x5411, b"\0\0\0\0"))[0] == 0:
                    over.set()
            stream.reset()

        s = self.server(PLAIN, peer=self.peer(script))
        with s.client(receive_buffer=4096) as c:
            c.send(GET + b"\r\n")
            c.until(b"\r\n\r\n")
            got = len(c.buffer)
            c.socket.settimeout(0.1)
            while not over.is_set() and got < n:
                with flow.contextlib.suppress(socket.timeout):
                    got += len(c.socket.recv(20000))
            time.sleep(0.1)
            c.socket.settimeout(flow.TIME)
            while got < n:
                data = c.socket.recv(1 << 16)
                self.assertTrue(data, "cut at %d of %d" % (got, n))
                got += len(data)
        self.assertEqual(got, n)


class Resources(Wire):
    """Rules 5, 21, 22, 25 to 28, 40, 41."""

    def test_defaults(self):
        """Rules 5 and 22: what holds where nothing is said."""
        with open(os.path.join(self.directory(), "a.conf"), "w") as f:
            f.write('server { listen 127.0.0.1:1; return 200 "x"; }\n')
        status, said, _ = flow.run("-T", "-c", f.name)
        self.assertEqual(status, 0)
        server = said[said.index("\nserver {"):]
        for setting in ("header 10s", "body 30s", "write 60s", "keepalive 60s", "uri 8k", "header 8k", "headers 32k", "header_count 100"):
            self.assertIn("\t" + setting + ";", server)

    def test_limits(self):
        """Rule 5, the last that passes and the first that does not; of what is refused the peer hears nothing."""
        self.start(lambda q: OK)
        line = b"GET /" + b"a" * (8192 - 14)
        self.both(line + b" HTTP/1.1\r\nHost: a\r\n\r\n", FINE, line + b" HTTP/1.1\r\nHost: a\r\n" + ADDED + b"\r\n")
        self.both(line + b"a HTTP/1.1\r\nHost: a\r\n\r\n", failed(414, b"URI Too Long", b"Connection: close\r\n"))
        large = failed(431, b"Request Header Fields Too Large", b"Connection: close\r\n")
        field = b"X: " + b"b" * (8192 - 3)
        self.both(GET + field + b"\r\n\r\n", FINE, GET + field + b"\r\n" + ADDED + b"\r\n")
        self.both(GET + field + b"b\r\n\r\n", large)
        self.both(GET + b"a:\r\n" * 99 + b"\r\n", FINE, GET + b"a: \r\n" * 99 + ADDED + b"\r\n")
        self.both(GET + b"a:\r\n" * 100 + b"\r\n", large)
        self.both(GET + (field + b"\r\n") * 3 + b"Y: " + b"c" * (32768 - len(GET) - 3 * 8194 - 7) + b"\r\n\r\n", FINE,
                  GET + (field + b"\r\n") * 3 + b"Y: " + b"c" * (32768 - len(GET) - 3 * 8194 - 7) + b"\r\n" + ADDED + b"\r\n")
        self.both(GET + (field + b"\r\n") * 3 + b"Y: " + b"c" * (32768 - len(GET) - 3 * 8194 - 6) + b"\r\n\r\n", large)

    def memory(self):
        """KiB that the worker has had in memory at most."""
        with open("/proc/%d/status" % self.s.workers()[0]) as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))

    def test_slow_heads(self):
        """Slowloris: five hundred halves of heads cost next to nothing, and who asks is answered; they end in time."""
        self.start(lambda q: OK, CONF.replace("header 5s", "header 1s") % ("", ""))
        self.talk(GET + b"\r\n")
        before = self.memory()
        clients = [self.s.client() for _ in range(500)]
        try:
            for c in clients:
                c.send(GET + b"X: " + b"y" * 1000)
            self.assertEqual(self.talk(GET + b"\r\n"), FINE)
            if "asan" not in flow.SERVER:
                self.assertLess(self.memory() - before, 500 * 4)
            late = failed(408, b"Request Timeout", b"Connection: close\r\n")
            for c in clients:
                self.assertEqual(undated(c.rest()), late)
        finally:
            for c in clients:
                c.close()
        self.assertEqual(self.seen, [GET + ADDED + b"\r\n" + GET + ADDED + b"\r\n"])

    def test_a_flooder(self):
        """Ten thousand questions at once, over and over: a neighbour's one is not kept waiting behind them."""
        self.start(lambda q: OK, """server { listen 127.0.0.1:@port@; return 200 "ok"; }""")
        stop = threading.Event()

        def flood():
            with self.s.client() as c:
                c.socket.setblocking(False)
                raw = memoryview((GET + b"\r\n") * 10000)
                at = 0
                while not stop.is_set():
                    with flow.contextlib.suppress(BlockingIOError):
                        at = (at + c.socket.send(raw[at:])) % len(raw)
                    with flow.contextlib.suppress(BlockingIOError):
                        c.socket.recv(1 << 20)

        threads = [threading.Thread(target=flood, daemon=True) for _ in range(2)]
        for t in threads:
            t.start()
        try:
            for _ in range(20):
                self.assertEqual(self.s.get("/").text, "ok")
        finally:
            stop.set()
            for t in threads:
                t.join(flow.TIME)

    def test_many_values(self):
        """Cost per byte: thousands of values of one cookie or parameter are looked through once, not once for each."""
        conf = """
            server { listen 127.0.0.1:@port@;
                route /c when cookie.a == "x" { return 200 "c"; }
                route /q when query.a == "x"  { return 200 "q"; }
                route /r when cookie.a ~ "^(a|aa|a?)+$" { return 200 "r"; }
                route { return 200 "none"; }
            }
        """
        self.start(lambda q: OK, conf)
        cookies = (b"Cookie: " + b"a=;" * 2700 + b"\r\n") * 3
        for asked, got in ((b"GET /c HTTP/1.1\r\nHost: a\r\n" + cookies + b"\r\n", "none"),
                           (b"GET /c HTTP/1.1\r\nHost: a\r\n" + cookies + b"Cookie: b=1; a=x\r\n\r\n", "c"),
                           (b"GET /q?" + b"a&" * 4000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "none"),
                           (b"GET /q?" + b"%61&" * 2000 + b"a=%78 HTTP/1.1\r\nHost: a\r\n\r\n", "q"),
                           (b"GET /r HTTP/1.1\r\nHost: a\r\nCookie: " + b"; ".join([b"a=" + b"a" * 30 + b"b"] * 200) + b"\r\n\r\n", "500 Internal Server Error\n")):
            with self.s.client() as c:
                for _ in range(20):     # together a second or two, or half a minute each
                    c.send(asked)
                    self.assertEqual(c.answer().text, got)

    def test_pattern_limit(self):
        """Rule 26: a pattern that does not come to an end is no match: 500, a line that says so, and the next is served."""
        self.start(lambda q: OK, 'error_log "error.log" info;\n' + CONF % (
            "", 'access_log "access.log" json; route ~ "^/(a|aa|a?)+$" { return 200 "a"; } route {') + "}")
        target = b"/" + b"a" * 40 + b"!"
        self.both(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n" + OTHER + b"\r\n",
                  failed(500, b"Internal Server Error") + FINE, OTHER + ADDED + b"\r\n")
        flow.wait_for(lambda: b"a pattern ran into its limit" in self.s.read("error.log"))
        self.assertIn(target, self.s.read("error.log"))
        line = flow.wait_for(lambda: self.s.read("access.log").splitlines())[0]
        self.assertEqual((json.loads(line)["status"], json.loads(line)["reason"]), (500, "pattern_limit"))

    def test_no_decompression(self):
        """Rule 27: a body is bytes. What its coding would make of it is not our affair, either way."""
        small = gzip.compress(b"\0" * (4 << 20), mtime=0)
        self.start(lambda q: b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(q.body), q.body))
        coding = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(small)
        self.both(POST + coding + b"\r\n" + small, b"HTTP/1.1 200 OK\r\n" + DATE + coding + VIA + b"\r\n" + small, POST + coding + ADDED + b"\r\n" + small)

    def test_logs(self):
        """Rule 40: whatever bytes a client sends, a log is lines of visible ASCII, and JSON is JSON."""
        conf = """
            error_log "error.log" debug;
            server { listen 127.0.0.1:@port@; access_log "combined.log"; return 200 "ok"; }
            server { listen 127.0.0.1:@port2@; access_log "json.log" json; return 200 "ok"; }
        """
        self.start(lambda q: OK, conf)
        odd = bytes(b for b in range(0x20, 0x100) if b != 0x7f) + b"\t\x1b[31m\x9b2J".replace(b"\x1b", b"")
        heads = [b"GET /%1b%0a?\"'\\<>{}| HTTP/1.1\r\nHost: a\r\nUser-Agent: " + odd + b"\r\nReferer: \xff\xfe\xed\xa0\x80 " + odd + b"\r\n\r\n",
                 b"G!#$%&'*+-.^_`|~ET / HTTP/1.1\r\nHost: (!$&'*+,;=)~_\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a\x1b[2Jb\r\n\r\n", b"GET /\x1b[2J HTTP/1.1\r\n\r\n", b"\x1b]0;x\x07\r\n\r\n", b"\xff" * 50 + b"\r\n\r\n"]
        for name in ("port", "port2"):
            for head in heads:
                with self.s.client(name) as c:
                    c.send(head)
                    self.assertIn(c.answer().status, (200, 400))
        for name in ("combined.log", "json.log"):
            flow.wait_for(lambda: self.s.read(name).count(b"\n") == len(heads))
        for name in ("combined.log", "error.log"):
            self.assertRegex(self.s.read(name), rb"\A([\x20-\x7e]+\n)+\Z")
        for line in self.s.read("json.log").decode("utf-8").splitlines():
            entry = json.loads(line)
            self.assertFalse(re.search("[\0-\x1f\x7f]", line), line)
            self.assertEqual(entry["status"], 200 if "uri" in entry else 400)
        first = json.loads(self.s.read("json.log").splitlines()[0])
        self.assertTrue(first["user_agent"].startswith(odd[:90].decode("ascii").strip()))

    def test_strings(self):
        """Rule 41: a text is built in one pass into a bounded buffer; past it the step fails, and nothing is cut off."""
        conf = """
            server { listen 127.0.0.1:@port@;
                route /4/     { return 200 "${path}${path}${path}${path}"; }
                route /5/     { return 200 "${path}${path}${path}${path}${path}"; }
                route ~ "^/r/(?<x>[^/]*)$" { rewrite "/${x}?${x}"; proxy @peer@; }
                route /d      { rewrite "/z/${query.x}"; proxy @peer@; }
                route /h/     { response_header set X "${path}${path}${path}${path}${path}"; return 200 "h"; }
            }
        """
        self.start(lambda q: OK, conf)
        tail = b"a" * 7000
        self.assertTrue(self.talk(b"GET /4/" + tail + b" HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"\r\n\r\n" + (b"/4/" + tail) * 4))
        self.assertEqual(self.talk(b"GET /5/" + tail + b" HTTP/1.1\r\nHost: a\r\n\r\n"), failed(500, b"Internal Server Error"))
        got = self.talk(b"GET /h/" + tail + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(got.endswith(b"\r\n\r\nh") and b"X:" not in got)
        # what a client says stays inside what was written around it
        for x, seen in ((b"a/b", b"/z/a/b"), (b"..a", b"/z/..a"), (b"a%0d%0aX:%20y%3f%23", b"/z/a%0D%0AX:%20y%3F%23"), (b"%252e%252e", b"/z/%252e%252e")):
            self.both(b"GET /d?x=" + x + b" HTTP/1.1\r\nHost: a\r\n\r\n", FINE, b"GET " + seen + b"?x=" + x + b" HTTP/1.1\r\nHost: a\r\n" + ADDED + b"\r\n")
        for x in (b"..", b"../a", b"a/../../b", b"%2e%2e%2fa", b"a/.", b"."):
            self.both(b"GET /d?x=" + x + b" HTTP/1.1\r\nHost: a\r\n\r\n", failed(400, b"Bad Request"))
        # each byte becomes three, twice: what is counted is what is written
        odd = b"%2B%20%25%0A" * 300
        self.both(b"GET /r/" + odd + b" HTTP/1.1\r\nHost: a\r\n\r\n", FINE,
                  b"GET /" + odd.replace(b"%2B", b"+") + b"?" + odd + b" HTTP/1.1\r\nHost: a\r\n" + ADDED + b"\r\n")


class Tcp(flow.Case):
    """A reset is passed on as a reset, an end as an end: neither is ever taken for the other."""

    CONF = "server { listen 127.0.0.1:@port@; protocol tcp; proxy @peer@; }"

    def test_reset_by_the_peer(self):
        def script(stream, peer):
            stream.exactly(1)
            stream.send(b"half")
            time.sleep(0.1)
            stream.reset()

        s = self.server(self.CONF, peer=self.peer(script))
        with s.client() as c:
            c.send(b"x")
            self.assertEqual(c.exactly(4), b"half")
            with self.assertRaises(ConnectionResetError):
                c.rest()

    def test_reset_by_the_client(self):
        def script(stream, peer):
            try:
                peer.notes["rest"] = stream.rest()
            except ConnectionResetError:
                peer.notes["rest"] = "reset"

        p = self.peer(script)
        s = self.server(self.CONF, peer=p)
        c = s.client()
        c.send(b"half")
        flow.wait_for(lambda: p.streams and p.streams[0].buffer == b"half")
        c.reset()
        self.assertEqual(flow.wait_for(lambda: p.notes.get("rest")), "reset")


if __name__ == "__main__":
    flow.main()
