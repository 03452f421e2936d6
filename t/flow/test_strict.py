# SPDX-License-Identifier: BSD-2-Clause
"""
What is malformed, ambiguous or forbidden, from clients and from peers: what the client gets, that its
connection ends, and that the peer saw nothing of it, or exactly the bytes that it may see.
"""
import socket
import time

import flow

CONF = """
upstream app { server @peer@; }
server {
    listen 127.0.0.1:@port@;
    timeout { header 5s; body 5s; }
    proxy app;
}
"""

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKS = POST + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
ADDED = b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 millrace\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

# Heads that are refused: name, bytes, status. The peer never hears of them, nor of what stands behind.
REFUSED = [
    # where a body ends
    ("length and coding", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("coding and length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("two lengths", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("two equal lengths", POST + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello", 400),
    ("a list of lengths", POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    ("no length", POST + b"Content-Length:\r\n\r\n", 400),
    ("a signed length", POST + b"Content-Length: +5\r\n\r\nhello", 400),
    ("a negative length", POST + b"Content-Length: -5\r\n\r\nhello", 400),
    ("a length in two words", POST + b"Content-Length: 5 5\r\n\r\nhello", 400),
    ("a length in hex", POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    ("a length with a dot", POST + b"Content-Length: 5.0\r\n\r\nhello", 400),
    ("a length of 16 digits", POST + b"Content-Length: 0000000000000005\r\n\r\nhello", 400),
    ("a huge length", POST + b"Content-Length: 18446744073709551621\r\n\r\nhello", 400),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("two codings", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("two different codings", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    ("another coding", POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    ("another coding before", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("another coding behind", POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    ("identity", POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    ("almost chunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked in quotes", POST + b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("chunked with a parameter", POST + b"Transfer-Encoding: chunked;x=1\r\n\r\n0\r\n\r\n", 400),
    ("chunked behind a control byte", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("no coding", POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    ("a list with a hole", POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked in 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),

    # lines and bytes
    ("LF for CRLF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("LF behind a field", GET + b"X: y\nZ: 1\r\n\r\n", 400),
    ("LF at the end of the head", GET + b"\n", 400),
    ("a bare CR in a value", GET + b"X: a\rb\r\n\r\n", 400),
    ("a bare CR in the request line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CR CR LF", GET + b"X: a\r\r\n\r\n", 400),
    ("NUL in a value", GET + b"X: a\0b\r\n\r\n", 400),
    ("NUL in a name", GET + b"X\0: a\r\n\r\n", 400),
    ("NUL in the path", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a control byte", GET + b"X: a\x01b\r\n\r\n", 400),
    ("DEL", GET + b"X: a\x7fb\r\n\r\n", 400),
    ("a folded line", GET + b"X: a\r\n b\r\n\r\n", 400),
    ("a folded line by tab", GET + b"X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n", 400),
    ("a folded first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("space before the colon", GET + b"Content-Length : 5\r\n\r\nhello", 400),
    ("tab before the colon", GET + b"X\t: 5\r\n\r\n", 400),
    ("a line without a colon", GET + b"nonsense\r\n\r\n", 400),
    ("no name", GET + b": x\r\n\r\n", 400),
    ("a name with a byte of UTF-8", GET + b"X\xc3\xa9: x\r\n\r\n", 400),
    ("a name with a parenthesis", GET + b"X(): x\r\n\r\n", 400),
    ("a method that is no token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a tab for a space", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("a space in the path", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("two empty lines first", b"\r\n\r\n" + GET + b"\r\n", 400),
    ("Connection that is no list of tokens", GET + b"Connection: a b\r\n\r\n", 400),

    # versions
    ("0.9", b"GET /\r\n\r\n", 400),
    ("2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("0.9 said", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("small letters", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("no minor version", b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
    ("two digits", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("something else", b"GET / ICAP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),

    # Host
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", GET + b"Host: a\r\n\r\n", 400),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("a Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("a Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("a Host with a user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ("a Host with a query", b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
    ("a Host with a scheme", b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400),
    ("a port that is none", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    ("a port too large", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
    ("two ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400),
    ("a dot first", b"GET / HTTP/1.1\r\nHost: .a\r\n\r\n", 400),
    ("an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    ("more than an address in brackets", b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400),
    ("no address in brackets", b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", 400),
    ("a zone", b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400),
    ("target and Host differ", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("target and Host differ in the port", b"GET http://a:81/ HTTP/1.1\r\nHost: a:80\r\n\r\n", 400),
    ("a target with a user", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a target without a host", b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("an absolute target, no Host", b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),

    # paths
    ("%00", b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("an encoded slash", b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("an encoded backslash", b"GET /a%5Cb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a backslash", b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("above the root", b"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("above the root, later", b"GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("above the root, encoded", b"GET /%2e%2E/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("above the root, half encoded", b"GET /a/.%2e/..%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("half an escape", b"GET /a%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no escape", b"GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a relative path", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no path", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("* but not OPTIONS", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),

    # too much
    ("a long request line", b"GET /" + b"a" * 8300 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ("a request line without end", b"GET /" + b"a" * 9000, 414),
    ("a long field", GET + b"X: " + b"a" * 8300 + b"\r\n\r\n", 431),
    ("a long name", GET + b"X" * 8300 + b": a\r\n\r\n", 431),
    ("many fields", GET + b"X: a\r\n" * 100 + b"\r\n", 431),
    ("large fields", GET + (b"X: " + b"a" * 8000 + b"\r\n") * 5 + b"\r\n", 431),
    ("many options of Connection", GET + b"Connection: " + b",".join(b"x%d" % i for i in range(65)) + b"\r\n\r\n", 400),
    ("a body too large", POST + b"Content-Length: 1048577\r\n\r\n", 413),

    # what is not done
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    ("CONNECT to a path", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("an expectation", POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417),
]

# Chunked bodies that break off: 400, and the peer never gets the end of one.
BAD_CHUNKS = [
    ("no size", b"\r\nabc"), ("a space before", b" 3\r\nabc\r\n0\r\n\r\n"), ("a space behind", b"3 \r\nabc\r\n0\r\n\r\n"),
    ("0x", b"0x3\r\nabc\r\n0\r\n\r\n"), ("a sign", b"+3\r\nabc\r\n0\r\n\r\n"), ("a minus", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("no hex", b"g\r\n\r\n0\r\n\r\n"), ("16 digits", b"0000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("overflow", b"10000000000000003\r\nabc\r\n0\r\n\r\n"), ("LF behind the size", b"3\nabc\r\n0\r\n\r\n"),
    ("CR alone behind the size", b"3\rabc\r\n0\r\n\r\n"), ("LF in an extension", b"3;a\nabc\r\n0\r\n\r\n"),
    ("NUL in an extension", b"3;\0\r\nabc\r\n0\r\n\r\n"), ("a long extension", b"3;" + b"a" * 300 + b"\r\nabc\r\n0\r\n\r\n"),
    ("many extensions", (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 30 + b"0\r\n\r\n"), ("more data than said", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("LF behind the data", b"3\r\nabc\n0\r\n\r\n"), ("LF at the end", b"3\r\nabc\r\n0\n\n"),
    ("LF for the last line", b"0\r\n\n"), ("a trailer without a colon", b"0\r\nnonsense\r\n\r\n"),
    ("a folded trailer", b"0\r\nA: b\r\n c\r\n\r\n"), ("a trailer with LF", b"0\r\nA: b\n\r\n"),
    ("many trailers", b"0\r\n" + b"A: b\r\n" * 17 + b"\r\n"), ("large trailers", b"0\r\n" + b"A: " + b"b" * 5000 + b"\r\n\r\n"),
]

# What passes, and the head that the peer sees then.
PASSED = [
    ("h2c is not forwarded", GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
     GET + ADDED + b"\r\n"),
    ("a handshake without a key", GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
     GET + b"Sec-WebSocket-Version: 13\r\n" + ADDED + b"\r\n"),
    ("a handshake by POST", POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY + b"Content-Length: 0\r\n\r\n",
     POST + KEY + b"Content-Length: 0\r\n" + ADDED + b"\r\n"),
    ("two upgrades", GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n" + KEY + b"\r\n", GET + KEY + ADDED + b"\r\n"),
    ("Connection cannot remove what matters",
     POST + b"Connection: Host, Content-Length, X-Forwarded-For, X-Mine\r\nX-Mine: 1\r\nContent-Length: 2\r\n\r\nhi",
     POST + b"Content-Length: 2\r\n" + ADDED + b"\r\n"),
    ("hop-by-hop fields", GET + b"TE: trailers\r\nProxy-Connection: x\r\nKeep-Alive: x\r\nTrailer: x\r\nProxy-Authorization: x\r\n"
     b"Connection: TE\r\nConnection: X\r\nX: y\r\n\r\n", GET + ADDED + b"\r\n"),
    ("claims", GET + b"X-Forwarded-For: 6.6.6.6\r\nx-forwarded-host: evil\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\r\n",
     GET + ADDED + b"\r\n"),
    ("tabs and zeros around a length", POST + b"Content-Length:\t \t02 \t\r\nX: y\r\n\r\nhi", POST + b"X: y\r\nContent-Length: 2\r\n" + ADDED + b"\r\n"),
    ("a length without a space", POST + b"Content-Length:2\r\n\r\nhi", POST + b"Content-Length: 2\r\n" + ADDED + b"\r\n"),
    ("one empty line first", b"\r\n" + GET + b"\r\n", GET + ADDED + b"\r\n"),
    ("a later minor version", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", GET + ADDED + b"\r\n"),
    ("dots and escapes", b"GET /a/./b/../%63?x=%2f..%00 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a/c?x=%2f..%00 HTTP/1.1\r\nHost: a\r\n" + ADDED + b"\r\n"),
    ("a question's body with GET", GET + b"Content-Length: %d\r\n\r\n" % len(EVIL) + EVIL,
     GET + b"Content-Length: %d\r\n" % len(EVIL) + ADDED + b"\r\n"),
    ("an absolute target", b"GET HTTP://A/x HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: a\r\n" + ADDED + b"\r\n"),
    ("high bytes in a value", GET + b"X: \xc3\xa9\xff\r\n\r\n", GET + b"X: \xc3\xa9\xff\r\n" + ADDED + b"\r\n"),
]

# What a peer may not say: the client gets 502.
BAD_ANSWERS = [
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("length and coding", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
    ("a coding we have not", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked in 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("LF for CRLF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("a folded line", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    ("NUL", b"HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 2\r\n\r\nok"),
    ("a bare CR", b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: x\r\nContent-Length: 2\r\n\r\nok"),
    ("a CR in the phrase", b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok"),
    ("HTTP/0.9", b"hello, world\r\n"),
    ("HTTP/2", b"HTTP/2 200\r\n\r\n"),
    ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
    ("a status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n"),
    ("a status below", b"HTTP/1.1 099 OK\r\n\r\n"),
    ("a status above", b"HTTP/1.1 600 OK\r\n\r\n"),
    ("101 unasked", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("h2c unasked", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    ("1xx without end", b"HTTP/1.1 103 Hints\r\n\r\n" * 20),
    ("a head without end", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 1000 + b"\r\n" + (b"Y: " + b"b" * 1000 + b"\r\n") * 70),
    ("many fields", b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 250 + b"Content-Length: 0\r\n\r\n"),
]

# The head was fine: what follows is cut off, and the client can see that.
BROKEN_BODIES = [
    ("chunks with LF", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2\nok\r\n0\r\n\r\n"),
    ("a chunk's size is none", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n0\r\n\r\n"),
    ("a bad trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nnonsense\r\n\r\n"),
    ("chunks that end early", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok"),
    ("a length that is not reached", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
]


class Questions(flow.Case):
    def setUp(self):
        self.seen = self.peer(flow.http(lambda q: flow.answer(200, b"fine")))
        self.s = self.server(CONF, peer=self.seen)

    def canary(self):
        """A question from elsewhere comes through alone; what else the peer was asked since the last time."""
        self.assertEqual(self.s.get("/canary", host="a").status, 200)
        targets = [q.target for q in self.seen.questions]
        self.seen.questions.clear()
        self.assertEqual(targets.pop(), "/canary")
        return targets

    def refused(self, raw, status):
        with self.s.client() as c:
            c.send(raw)
            a = c.answer()
            self.assertEqual(a.status, status)
            self.assertEqual(a["Connection"], "close")
            self.assertTrue(c.ends(), "more came behind the refusal")

    def test_refused(self):
        for name, raw, status in REFUSED:
            with self.subTest(name):
                self.refused(raw, status)
                self.refused(raw + EVIL, status)
                self.assertEqual(self.canary(), [])

    def test_refused_behind_a_good_one(self):
        """Pipelined: the first is answered as ever, the second refused, and nothing behind it is heard."""
        for name, raw, status in REFUSED:
            if raw.startswith(b"\r\n"):
                continue
            with self.subTest(name), self.s.client() as c:
                c.send(GET + b"\r\n" + raw + EVIL)
                self.assertEqual(c.answer().status, 200)
                self.assertEqual(c.answer().status, status)
                self.assertTrue(c.ends())
                self.assertEqual(self.canary(), ["/"])

    def test_passed(self):
        for name, raw, wanted in PASSED:
            with self.subTest(name), self.s.client() as c:
                c.send(raw)
                self.assertEqual(c.answer().status, 200)
                self.assertEqual(len(self.seen.questions), 1)
                self.assertEqual(self.seen.questions[0].raw_head, wanted)
                c.send(GET + b"\r\n")
                self.assertEqual(c.answer().status, 200)
                self.assertEqual(len(self.canary()), 2)

    def test_cut_where_it_matters(self):
        """The refusal does not depend on how the bytes arrive."""
        raw = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        for at in range(len(POST), len(raw), 7):
            with self.s.client() as c:
                c.send_cut(raw, at)
                self.assertEqual(c.answer().status, 400)
                self.assertTrue(c.ends())
        self.assertEqual(self.canary(), [])


class Chunks(flow.Case):
    def test_bad(self):
        """The peer has the head, perhaps; the end of the body it never gets."""
        got = []

        def script(stream, peer):
            try:
                got.append(stream.rest())
            except ConnectionResetError:
                got.append(b"")

        s = self.server(CONF, peer=self.peer(script))
        for name, raw in BAD_CHUNKS:
            with self.subTest(name):
                with s.client() as c:
                    c.send(CHUNKS + raw + EVIL)
                    self.assertEqual(c.answer().status, 400)
                    self.assertTrue(c.ends())
                deadline = time.monotonic() + 2
                while not got and time.monotonic() < deadline:
                    time.sleep(0.005)
                for said in got:
                    self.assertNotIn(b"\r\n0\r\n", said)
                    self.assertNotIn(b"evil", said)
                got.clear()


class Answers(flow.Case):
    """A peer that says the wrong thing once, and then is as good as gold."""

    def start(self, more=""):
        self.bad = None

        def script(stream, peer):
            while stream.question() is not None:
                if self.bad is None:
                    stream.send(flow.answer(200, b"fine %d" % stream.number))
                    continue
                bad, self.bad = self.bad, None
                stream.send(bad)
                stream.shut()

        self.p = self.peer(script)
        self.s = self.server(CONF.replace("upstream app {", "upstream app { retry 0; " + more), peer=self.p)

    def test_bad(self):
        self.start()
        for name, raw in BAD_ANSWERS:
            with self.subTest(name):
                self.s.get("/", host="a")
                self.bad = raw
                with self.s.client() as c:
                    c.send(GET + b"\r\n")
                    self.assertEqual(c.answer().status, 502)
                    last = self.p.accepted
                    # the client's own connection is as good as before
                    c.send(GET + b"\r\n")
                    a = c.answer()
                    self.assertEqual(a.status, 200)
                    self.assertEqual(a.text, "fine %d" % (last + 1))

    def test_spaces_around_a_length(self):
        """Read, and not passed on: there are clients that stumble. None pooled: the peer closes behind its answer."""
        self.start("pool { idle 0; }")
        for method in ("GET", "HEAD"):
            self.bad = b"HTTP/1.1 200 OK\r\nContent-Length:\t002\t\r\n\r\n" + (b"ok" if method == "GET" else b"")
            with self.s.client() as c:
                c.send(flow.request("/", method=method))
                a = c.answer(method)
                self.assertEqual(a.body, b"ok" if method == "GET" else b"")
                self.assertEqual(a.raw_head.count(b"\r\nContent-Length: 2\r\n"), 1)
        self.bad = b"HTTP/1.1 204 None\r\nContent-Length:\t0\r\n\r\n"
        self.assertEqual(self.s.get("/", host="a").all("Content-Length"), [])

    def test_no_answer(self):
        """On a new connection: from a pooled one it would be the sign that it was closed as it was used again."""
        self.start("pool { idle 0; }")
        for raw in (b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 103 Hints\r\n\r\n"):
            self.bad = raw
            self.assertEqual(self.s.get("/", host="a").status, 502)
            self.assertEqual(self.s.get("/", host="a").status, 200)

    def test_bad_key(self):
        self.start()
        for accept in (b"", b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n",
                       b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Accept: x\r\n"):
            self.bad = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + accept + b"\r\nframe"
            with self.s.client() as c:
                c.send(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY + b"\r\n")
                self.assertEqual(c.answer().status, 502)
                c.send(GET + b"\r\n")
                self.assertEqual(c.answer().status, 200)

    def test_broken_bodies(self):
        self.start()
        for name, raw in BROKEN_BODIES:
            with self.subTest(name):
                self.s.get("/", host="a")
                self.bad = raw
                with self.s.client() as c:
                    c.send(GET + b"\r\n" + EVIL)
                    got = c.rest()
                self.assertTrue(got.startswith(b"HTTP/1.1 200 OK\r\n"))
                self.assertFalse(got.endswith(b"0\r\n\r\n"), got)
                self.assertEqual(got.count(b"HTTP/1.1"), 1)
                last = self.p.accepted
                self.assertEqual(self.s.get("/", host="a").text, "fine %d" % (last + 1))

    def test_more_than_an_answer(self):
        """It counts for the question that was asked, and its connection for no other."""
        self.start()
        for status, extra in ((200, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), (200, b"\r\n"), (204, b"evil")):
            self.s.get("/", host="a")
            self.bad = flow.answer(status, b"" if status == 204 else b"good") + extra
            with self.s.client() as c:
                c.send(GET + b"\r\n")
                a = c.answer()
                self.assertEqual((a.status, a.text), (status, "" if status == 204 else "good"))
                last = self.p.accepted
                c.send(GET + b"\r\n")
                self.assertEqual(c.answer().text, "fine %d" % (last + 1))

    def test_unasked(self):
        """What a peer says on an idle connection is the answer to nothing."""
        self.start()
        self.assertEqual(self.s.get("/", host="a").text, "fine 1")
        self.p.streams[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        flow.wait_for(lambda: self.closed(self.p.streams[0]))
        self.assertEqual(self.s.get("/", host="a").text, "fine 2")

    @staticmethod
    def closed(stream):
        try:
            return stream.socket.fileno() < 0 or stream.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


if __name__ == "__main__":
    flow.main()
