# SPDX-License-Identifier: BSD-2-Clause
"""
Two parsers in a row, and no case in which they disagree on where a message ends.

Questions: us before nginx, Node, Python's http.server and a strict reader of our own, each behind a tap that keeps
what we said to it. A table of oddities, each on each kind of question, and combinations of them by seed; every one
with a mark of its own, with a question hidden in its body and one honestly pipelined behind it. What the tap has,
what the strict reader makes of the client's bytes, what the backend says it saw, what the client was answered and
what the access log counted must be the same questions, in the same order, with the same bodies.

Answers: a peer that says every odd thing, us, and curl, Node, Python's http.client and the strict reader behind.

PAIRS_SEED and PAIRS_CASES (of combinations) make another run; a failure prints its seed, and the case.
"""
import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse

import flow
import strict

SEED = int(os.environ.get("PAIRS_SEED") or 9112)
CASES = int(os.environ.get("PAIRS_CASES") or 400)

# ---------------------------------------------------------------- questions: what is odd


class Case:
    """A question in pieces, so that each can be bent: request line, field lines, what stands behind the head."""

    def __init__(self, mark, kind):
        self.mark = mark
        self.kind = kind
        self.names = [kind]
        self.method, self.target, self.version = b"GET", b"/%s/a" % mark, b"HTTP/1.1"
        self.fields = [b"Host: localhost\r\n"]
        self.evil = b"GET /%s/evil HTTP/1.1\r\nHost: localhost\r\n\r\n" % mark
        self.next = b"GET /%s/b HTTP/1.1\r\nHost: localhost\r\nX-Last: 1\r\n\r\n" % mark
        self.body = b""
        self.coding = None
        if kind == "length":
            self.length(self.evil)
        elif kind == "chunked":
            self.chunked(b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.evil), self.evil))
        elif kind == "trailers":
            self.chunked(b"3\r\nabc\r\n%x;x=y\r\n%s\r\n0\r\nX-Trailer: 1\r\nContent-Length: 3\r\n\r\n" % (len(self.evil), self.evil))
        elif kind == "old":
            self.version = b"HTTP/1.0"
            self.fields.append(b"Connection: keep-alive\r\n")
            self.length(self.evil)
        elif kind == "expect":
            self.fields.append(b"Expect: 100-continue\r\n")
            self.length(self.evil)

    def length(self, body):
        self.method, self.body = b"POST", body
        self.fields.append(b"Content-Length: %d\r\n" % len(body))

    def chunked(self, body):
        self.method, self.body = b"POST", body
        self.fields.append(b"Transfer-Encoding: chunked\r\n")

    def add(self, line):
        self.fields.insert(1, line + b"\r\n")

    def replace(self, name, line):
        self.fields = [f for f in self.fields if not f.lower().startswith(name.lower() + b":")]
        if line is not None:
            self.add(line)

    def raw(self):
        return b"%s %s %s\r\n%s\r\n%s" % (self.method, self.target, self.version, b"".join(self.fields), self.body) + self.next


KINDS = ("get", "length", "chunked", "trailers", "old", "expect")

# Added to what is there: each a line, or several.
LINES = [
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 05", b"Content-Length: +5", b"Content-Length: -5",
    b"Content-Length: 5 ", b"Content-Length:5", b"Content-Length:\t5", b"Content-Length: 5\t", b"Content-Length : 5",
    b"Content-Length\t: 5", b"Content-Length: 5, 5", b"Content-Length: 5,", b"Content-Length: 0x5", b"Content-Length: 5_0",
    b"Content-Length: 5.0", b"Content-Length: 5e0", b"Content-Length: ", b"Content-Length: 18446744073709551621",
    b"Content-Length: 000000000000005", b"Content-Length: 0000000000000005", b"Content-Length: \xef\xbc\x95", b"Content-Length: \xb2",
    b"Content-Length: \x0b5", b"Content-Length: 5\x0b", b"Content-Length: 5\0", b"Content-Length: \"5\"", b"Content-Length: 5;x",
    b"Content-Length: 5\r\nContent-Length: 6", b"content-length: 5\r\nCONTENT-LENGTH: 5", b"Content_Length: 5", b"Content-Length\r\n: 5",
    b"Content-Length:\r\n 5", b"Content-Length: 5\n", b"X: y\nContent-Length: 5", b"X: y\rContent-Length: 5", b"X: y\r\rContent-Length: 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding:chunked", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b"Transfer-Encoding: Chunked", b"transfer-encoding: CHUNKED",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: gzip", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding: \xffchunked", b"Transfer-Encoding: chunked\0", b"Transfer-Encoding: \"chunked\"",
    b"Transfer-Encoding: 'chunked'", b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: chunked ;", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding:\r\n\tchunked", b"Transfer-Encoding:\n chunked", b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding: ", b"Transfer_Encoding: chunked",
    b"Transfer-Encoding\x0b: chunked", b"Transfer-Encoding\0: chunked", b"\0Transfer-Encoding: chunked", b"Transfer\xadEncoding: chunked",
    b" Transfer-Encoding: chunked", b"\tTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
    b"X: y\0\r\nTransfer-Encoding: chunked", b"X: y\x85Transfer-Encoding: chunked", b"X: y\xc2\x85Transfer-Encoding: chunked",
    b"X: y\xe2\x80\xa8Transfer-Encoding: chunked", b"X: y\x1cTransfer-Encoding: chunked", b"X: y\x0cTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"TE: chunked", b"Trailer: Content-Length",
    b"X: y\r\n Transfer-Encoding: chunked", b"X:\r\n\tContent-Length: 5", b"X", b"X y: z", b": y", b":", b"=: y", b"X(: y", b"X\x80: y", b"X\": y", b"X[]: y",
    b"X: \x80\xff\xfe", b"X: a\tb", b"X:\t\t y \t", b"X: \x7f", b"X: \x01", b"X: \x1b[0m", b"X: " + b"a" * 8000, b"X: " + b"a" * 9000,
    b"X" * 3000 + b": y", b"\r\n".join(b"X%d: y" % i for i in range(90)), b"\r\n".join(b"X%d: y" % i for i in range(120)),
    b"Host: localhost", b"Host: evil", b"Host:", b"host: localhost", b"Host : localhost", b" Host: x", b"X-Host: x", b"X-Forwarded-Host: evil",
    b"Connection: close", b"Connection: keep-alive", b"Connection: Content-Length", b"Connection: Transfer-Encoding, Host", b"Connection: close, X-Last",
    b"Connection: X\r\nX: y", b"Connection: ,,close", b"Connection: clo se", b"Connection: \"close\"", b"Connection: close\r\nConnection: keep-alive",
    b"Proxy-Connection: close", b"Keep-Alive: timeout=1, max=1", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    b"Connection: Upgrade\r\nUpgrade: websocket", b"Upgrade: websocket", b"Upgrade: TLS/1.0", b"Expect: 100-continue", b"Expect: 100-Continue", b"Expect: 200-ok", b"Expect: 100-continue, x",
    b"Expect: ", b"Max-Forwards: 0", b"Range: bytes=0-0", b"If-None-Match: *", b"Accept-Encoding: gzip", b"Content-Encoding: gzip", b"Content-Type: multipart/byteranges; boundary=x",
    b"X-HTTP-Method-Override: PUT", b"Sec-WebSocket-Key: x", b"Via: 1.0 x", b"Forwarded: for=x;host=\"y\"", b"X: =?utf-8?q?=0d=0a?=", b"Cookie: a=b; c=\"d\"; e",
]
METHODS = [b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND", b"M-SEARCH", b"get", b"Get", b"G", b"GET\t", b"GET ", b" GET", b"G\0T",
           b"GE\xd4", b"G:T", b"G(T", b"GE!T", b"\"GET\"", b"GET\x0b", b"!#$%&'*+-.^_`|~", b"PRI", b"A" * 300, b"\r\nGET", b"\nGET", b"\r\n\r\nGET", b"\rGET", b"\xef\xbb\xbfGET", b"\0GET", b"X\r\nGET"]
# %M stands for the mark.
TARGETS = [b"/%M/../%M/a", b"/%M/./a", b"/%M//a", b"//%M/a", b"///%M", b"/%M/%61", b"/%M/%2e%2e/%M/x", b"/%M/a%20b", b"/%M/a%0d%0ab", b"/%M/%00", b"/%M/%2f", b"/%M/%5c", b"/%M\\a",
           b"/%M/a?b#c", b"/%M#", b"/%M/a%", b"/%M/a%4", b"/%M/a%zz", b"/%M/%c3%a9", b"/%M/\xc3\xa9", b"/%M/\x80", b"/%M/a;b=c", b"/%M/a?%00", b"/%M/a?x=%0d%0aX:%20y", b"/%M?a?b", b"/%M/a\"b", b"/%M/<a>",
           b"/%M/{a}", b"/%M/a|b", b"/%M/a^b", b"/%M/a`b", b"/%M/[a]", b"/%M/%25%32%66", b"/../%M", b"/%M/..", b"/%M/a\tb", b"/%M/a b", b"/%M/a\x0bb", b"/%M/a\0b", b"/%M/a\x7fb", b"/%M/a\rb",
           b"http://localhost/%M/a", b"HTTP://LOCALHOST/%M/a", b"http://localhost:80/%M/a", b"http://evil/%M/a", b"http://u@localhost/%M/a", b"https://localhost/%M/a", b"http:/%M/a", b"http://localhost?%M", b"http://localhost/?%M",
           b"http://localhost/%M/../a", b"ftp://localhost/%M", b"%M/a", b"*", b"*%M", b"?%M", b"localhost:80", b"/%M" + b"/a" * 3000, b"/%M?" + b"a" * 9000, b"/%M/a HTTP/1.1\r\nX: y", b"/%M/a%20HTTP/1.1%0d%0aX:y", b"/%M/a HTTP/1.0", b"/%M/~a_-.!$&'()*+,;=:@"]
VERSIONS = [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.1 ", b"HTTP/1.1\t", b" HTTP/1.1", b"http/1.1", b"HTTP/1.1\0", b"HTTP/1,1", b"HTTP 1.1", b"HTTPS/1.1", b"", b"HTTP/1.1 HTTP/1.1",
            b"HTTP/+1.1", b"HTTP/1.\xb9", b"HTTP/1.1\x0b", b"HTTP/1.1\r", b"HTTP/1.1\n", b"HTTP/1.1\r\n", b"HTTP/1.1\rX: y", b"HTTP/1.1\nX: y"]
HOSTS = [None, b"Host: LocalHost", b"Host: localhost:80", b"Host: localhost:", b"Host: localhost:0", b"Host: localhost:99999", b"Host: localhost:8a", b"Host: u@localhost", b"Host: localhost/x", b"Host: localhost?x", b"Host: localhost#x",
         b"Host: local host", b"Host: localhost, evil", b"Host: [::1]", b"Host: [::1]:80", b"Host: [::1", b"Host: [::1]x", b"Host: ::1", b"Host: 127.1", b"Host: .localhost", b"Host: localhost.", b"Host: local..host", b"Host: loc\xe4l", b"Host: local%00host",
         b"Host: local\0host", b"Host: local\thost", b"Host:\tlocalhost\t", b"Host:localhost", b"Host: http://localhost", b"Host: *", b"Host: -", b"Host: localhost\\evil", b"Host: \"localhost\"", b"Host:\r\n localhost"]
# What stands for a chunked body; %E is the hidden question, %S its size in hex.
CHUNKS = [b"%S\r\n%E\r\n0\r\n", b"%S\r\n%E\r\n", b"%S\r\n%E\r\n0\r\n\r", b"0%S\r\n%E\r\n0\r\n\r\n", b"000000000000%S\r\n%E\r\n0\r\n\r\n", b"000000000000000000%S\r\n%E\r\n0\r\n\r\n", b"0x%S\r\n%E\r\n0\r\n\r\n", b"+%S\r\n%E\r\n0\r\n\r\n",
          b"-%S\r\n%E\r\n0\r\n\r\n", b" %S\r\n%E\r\n0\r\n\r\n", b"%S \r\n%E\r\n0\r\n\r\n", b"%S\t\r\n%E\r\n0\r\n\r\n", b"%S;\r\n%E\r\n0\r\n\r\n", b"%S;a\r\n%E\r\n0\r\n\r\n", b"%S;a=b;c=\"d e\"\r\n%E\r\n0\r\n\r\n", b"%S ;a\r\n%E\r\n0\r\n\r\n",
          b"%S;a\n%E\r\n0\r\n\r\n", b"%S;a\rb\r\n%E\r\n0\r\n\r\n", b"%S;a\r\r\n%E\r\n0\r\n\r\n", b"%S;\0\r\n%E\r\n0\r\n\r\n", b"%S;\x80\r\n%E\r\n0\r\n\r\n", b"%S;a=\"\r\n%E\r\n0\r\n\r\n", b"%S;a=\"\n\"\r\n%E\r\n0\r\n\r\n", b"%S;" + b"a" * 250 + b"\r\n%E\r\n0\r\n\r\n",
          b"%S;" + b"a" * 5000 + b"\r\n%E\r\n0\r\n\r\n", b"%S\n%E\r\n0\r\n\r\n", b"%S\r%E\r\n0\r\n\r\n", b"%S\r\n%E\n0\r\n\r\n", b"%S\r\n%E\r0\r\n\r\n", b"%S\r\n%E0\r\n\r\n", b"%S\r\n%E\r\n\r\n0\r\n\r\n", b"%S\r\n%Ex\r\n0\r\n\r\n", b"%S\r\n%E\r\n0\n\n", b"%S\r\n%E\r\n0\r\n\n",
          b"%S\r\n%E\r\n0\r\r\n\r\n", b"%S\r\n%E\r\n00\r\n\r\n", b"%S\r\n%E\r\n0;a=b\r\n\r\n", b"%S\r\n%E\r\n0 \r\n\r\n", b"%S\r\n%E\r\n-0\r\n\r\n", b"%S\r\n%E\r\n\r\n\r\n", b"%S\r\n%E\r\ng\r\n\r\n", b"%S\r\n%E\r\n0x0\r\n\r\n", b"\r\n%S\r\n%E\r\n0\r\n\r\n", b"10000000000000000\r\n%E\r\n0\r\n\r\n",
          b"ffffffffffffffff\r\n%E\r\n0\r\n\r\n", b"fffffffffffffff0\r\n%E\r\n0\r\n\r\n", b"7fffffffffffffff\r\n%E\r\n0\r\n\r\n", b"100000000%S\r\n%E\r\n0\r\n\r\n", b"%S.0\r\n%E\r\n0\r\n\r\n", b"%Sh\r\n%E\r\n0\r\n\r\n", b"%S,%S\r\n%E\r\n0\r\n\r\n", b"\xef\xbc\x93\r\nabc\r\n0\r\n\r\n",
          b"0\r\n\r\n%E", b"0\r\n%E", b"0\r\nX: y\r\n\r\n%E", b"1\r\nx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n%E", b"1\r\nx\r\n0\r\nContent-Length: 100\r\n\r\n", b"1\r\nx\r\n0\r\nHost: evil\r\n\r\n", b"1\r\nx\r\n0\r\nX : y\r\n\r\n", b"1\r\nx\r\n0\r\nX: y\r\n z\r\n\r\n",
          b"1\r\nx\r\n0\r\n X: y\r\n\r\n", b"1\r\nx\r\n0\r\nX\r\n\r\n", b"1\r\nx\r\n0\r\n: y\r\n\r\n", b"1\r\nx\r\n0\r\nX: y\n\r\n", b"1\r\nx\r\n0\r\nX: y\rZ\r\n\r\n", b"1\r\nx\r\n0\r\nX: \0\r\n\r\n", b"1\r\nx\r\n0\r\nX: y\r\n\r\n\r\n", b"1\r\nx\r\n0\r\n" + b"X: y\r\n" * 20 + b"\r\n", b"1\r\nx\r\n0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
          b"1\r\nx\r\n" * 100 + b"0\r\n\r\n", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"3\r\n\r\n\r\r\n0\r\n\r\n", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"]
# What stands for a body with a length.
LENGTHS = [b"%d " % 0, b"0%d", b"%d", b" %d \t", b"%d0", b"1", b"0", b"+%d", b"-%d", b"%d,%d", b"%d;", b"%d\x0c", b"99999999999999999999", b"4294967296", b"18446744073709551615", b"9223372036854775808", b"1048576", b"1048577", b"2147483648", b"0x%d", b"%d.", b"%d\xa0", b"\xa0%d", b"\xd9\xa1"]


def bend_line(c, line):
    c.add(line)


def bend_last_line(c, line):
    c.fields.append(line + b"\r\n")


def bend_method(c, method):
    c.method = method


def bend_target(c, target):
    c.target = target.replace(b"%M", c.mark)


def bend_version(c, version):
    c.version = version


def bend_host(c, host):
    c.replace(b"Host", host)


def bend_chunks(c, chunks):
    c.replace(b"Content-Length", None)
    c.replace(b"Transfer-Encoding", b"Transfer-Encoding: chunked")
    c.method = b"POST"
    c.body = chunks.replace(b"%E", c.evil).replace(b"%S", b"%x" % len(c.evil))


def bend_length(c, length):
    c.replace(b"Transfer-Encoding", None)
    c.method, c.body = b"POST", c.evil
    c.replace(b"Content-Length", b"Content-Length: " + length.replace(b"%d", b"%d" % len(c.evil)))


# how, with what, on which kinds of questions
TABLE = [(bend_line, LINES, ("get", "length", "chunked")), (bend_last_line, LINES, ("old", "trailers")), (bend_method, METHODS, ("get", "length")),
         (bend_target, TARGETS, ("get", "chunked")), (bend_version, VERSIONS, ("get", "length", "chunked")), (bend_host, HOSTS, ("get", "old")),
         (bend_chunks, CHUNKS, ("chunked",)), (bend_length, LENGTHS, ("length", "expect"))]

NASTY = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b"\x85", b"\xa0", b"\xff", b"\x7f", b":", b",", b";", b"0", b"1", b"-", b"+", b"%", b"/", b"\\", b"\"", b"chunked", b"\r\n ", b"0\r\n\r\n",
         b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"]


def bend_bytes(raw, rng):
    """One of the many ways in which bytes go wrong."""
    at = rng.randrange(len(raw) + 1)
    end = min(len(raw), at + rng.choice((1, 1, 2, 4, 16)))
    how = rng.randrange(8)
    if how < 3:
        return raw[:at] + rng.choice(NASTY) + raw[at:]
    if how == 3:
        return raw[:at] + raw[end:]
    if how == 4:
        return raw[:at] + raw[at:end] + raw[at:]
    if how == 5:
        return raw[:at] + rng.choice(NASTY) + raw[end:]
    if how == 6:
        return raw[:at]
    return raw.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\r\r\n", b"\r\n\r\n", b"\n\r")), 1) if rng.random() < 0.5 else raw[:at] + bytes([rng.randrange(256)]) + raw[end:]


def make_cases(seed):
    """(names, bytes, where they are cut): the table, then combinations."""
    made = []

    def add(case, raw, cut=None):
        made.append((case.names, raw, cut))

    def new(kind):
        return Case(b"m%d" % len(made), kind)

    for kind in KINDS:
        c = new(kind)
        add(c, c.raw())
        raw = new(kind).raw()
        for at in range(1, len(raw), max(1, len(raw) // 24)):       # ends there, whatever more was said
            c = new(kind)
            c.names.append("ends at %d" % at)
            add(c, c.raw()[:at])
    for bend, values, kinds in TABLE:
        for value in values:
            for kind in kinds:
                c = new(kind)
                bend(c, value)
                c.names.append("%s %r" % (bend.__name__, value and value[:60]))
                add(c, c.raw())
    for i in range(CASES):
        rng = random.Random(seed * 1000003 + i)
        c = new(rng.choice(KINDS))
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            bend, values, _ = rng.choice(TABLE)
            value = rng.choice(values)
            bend(c, value)
            c.names.append("%s %r" % (bend.__name__, value and value[:60]))
        raw = c.raw()
        for _ in range(rng.choice((0, 1, 1, 2))):
            raw = bend_bytes(raw, rng)
            c.names.append("bytes")
        c.names.append("combination %d of seed %d" % (i, seed))
        add(c, raw or b"\n", rng.randrange(len(raw)) if raw and rng.random() < 0.5 else None)
    return made


def address_of(n):
    """Each case comes from an address of its own: we say it to the backend, whatever became of the case's bytes."""
    return "127.%d.%d.1" % (1 + n // 256, n % 256)


def same_target(asked, forwarded):
    """Whether what was forwarded is the same resource as what was asked for, and in the form for origins."""
    asked = re.sub(rb"(?i)\Ahttps?://[^/?]*", b"", asked)
    if asked in (b"*", b""):
        return forwarded == asked or forwarded == b"/"
    path, mark, query = asked.partition(b"?")
    path = urllib.parse.unquote_to_bytes(path or b"/")
    end = b"/" if path.endswith((b"/", b"/.", b"/..")) else b""
    path = b"/" + b"/".join(_work_off_dots(path))
    if not path.endswith(b"/"):
        path += end
    its, its_mark, its_query = forwarded.partition(b"?")
    return urllib.parse.unquote_to_bytes(its) == path and (mark, query) == (its_mark, its_query)


def _work_off_dots(path):
    done = []
    for segment in path.split(b"/")[1:]:
        if segment == b"..":
            done = done[:-1]
        elif segment != b".":
            done.append(segment)
    return done


# ---------------------------------------------------------------- backends


class Tap:
    """Between us and a backend: passes everything on, and keeps it. One thread."""

    def __init__(self, target, path):
        self.target = target
        self.connections, self.ports = [], set()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o777)
        self.listener.listen(64)
        self.wake, self.woken = socket.socketpair()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.selector.register(self.woken, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.woken:
                    return
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.move(key.fileobj, *key.data)

    def accept(self):
        ours, _ = self.listener.accept()
        theirs = socket.create_connection(self.target)
        while theirs.getsockname()[1] in self.ports:        # it names the connection
            theirs.close()
            theirs = socket.create_connection(self.target)
        self.ports.add(theirs.getsockname()[1])
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c = {"port": theirs.getsockname()[1], "questions": b"", "answers": b"", "closed": False, "open": 2}
        self.connections.append(c)
        self.selector.register(ours, selectors.EVENT_READ, (c, "questions", theirs))
        self.selector.register(theirs, selectors.EVENT_READ, (c, "answers", ours))

    def move(self, side, c, name, other):
        try:
            data = side.recv(65536)
        except OSError:
            data = b""
        if data and not (name == "questions" and c["closed"]):
            c[name] += data
            with contextlib.suppress(OSError):
                other.sendall(data)
        if data:
            return
        self.selector.unregister(side)
        c["closed"] |= name == "answers"
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)
        c["open"] -= 1
        if c["open"] == 0:
            side.close()
            other.close()

    def close(self):
        self.wake.send(b"x")
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.wake.close()


# Each says in X-Echo: our port, the number on this connection, method, target, and of the body length and SHA-1.

NODE = """
const http = require('http'), crypto = require('crypto');
const counts = new WeakMap();
const server = http.createServer({ maxHeaderSize: 65536, keepAliveTimeout: 60000 }, (q, a) => {
    const n = (counts.get(q.socket) || 0) + 1, hash = crypto.createHash('sha1');
    let length = 0;
    counts.set(q.socket, n);
    q.on('data', d => { length += d.length; hash.update(d); });
    q.on('end', () => {
        a.setHeader('X-Echo', [q.socket.remotePort, n, q.method, q.url, length, hash.digest('hex')].join(' '));
        a.end('x'.repeat(n % 50));
    });
});
server.maxHeadersCount = 0;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""

PYTHON = """
import hashlib, http.server, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    n = 0
    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.echo
        raise AttributeError(name)
    def echo(self):
        self.n += 1
        body = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                body += self.rfile.read(size)
                if size == 0:
                    break
                self.rfile.readline()
            while self.rfile.readline() not in (b"\\r\\n", b""):
                pass
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        text = b"x" * (self.n % 50)
        target = self.raw_requestline.decode("latin-1").split(" ")[1]
        self.send_header("X-Echo", "%d %d %s %s %d %s" % (self.client_address[1], self.n, self.command, target, len(body), hashlib.sha1(body).hexdigest()))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass
s = Server(("127.0.0.1", 0), Handler)
print(s.server_port, flush=True)
s.serve_forever()
"""

NGINX = """
daemon off; master_process off; pid %(d)s/nginx.pid; error_log %(d)s/error.log;
events { worker_connections 1000; }
http {
    client_body_temp_path %(d)s/b; proxy_temp_path %(d)s/p; fastcgi_temp_path %(d)s/f; uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s;
    keepalive_requests 1000000; client_max_body_size 0; client_body_buffer_size 4m; client_body_in_single_buffer on;
    large_client_header_buffers 8 64k; merge_slashes off;
    log_format seen escape=json '["$remote_port","$connection_requests","$request_method","$request_uri","$request_body","$status"]';
    server {
        listen 127.0.0.1:%(port)d;
        access_log %(d)s/seen.log seen;
        location / {
            add_header X-Echo "$remote_port $connection_requests $request_method $request_uri" always;
            proxy_set_header Host localhost;
            proxy_pass http://unix:%(d)s/inner.sock:/;
        }
    }
    server { listen unix:%(d)s/inner.sock; access_log off; location / { return 200 "inner"; } }
}
"""


def echo_of(m, port, n):
    return [b"%d" % port, b"%d" % n, m.method, m.target, b"%d" % len(m.body), hashlib.sha1(m.body).hexdigest().encode()]


def strict_backend(stream, peer):
    """The strict reader as a server."""
    data, n = b"", 0
    while stream.more():
        data, stream.buffer = data + stream.buffer, b""
        read, rest = strict.questions(data)
        for m in read:
            n += 1
            text = b"x" * (n % 50)
            echo = b" ".join(echo_of(m, stream.socket.getpeername()[1], n))
            stream.send(b"HTTP/1.1 200 Fine\r\nX-Echo: %s\r\nContent-Length: %d\r\n\r\n" % (echo, len(text)) + (b"" if m.method == b"HEAD" else text))
        if rest is not None and rest.why:
            peer.failures.append(AssertionError("refused by the strict reader: %r" % rest))
            return
        data = data[rest.begin:] if rest is not None else b""


# ---------------------------------------------------------------- questions


class Questions(flow.Case):
    CONF = """
    upstream app { server unix:@dir@/tap.sock max_fails=0; retry 0; timeout { header 5s; } }
    server { listen 127.0.0.1:@port@; access_log "access.log" json; timeout { header 5s; body 5s; } proxy app; }
    """

    def setUp(self):
        self.cases = make_cases(SEED)

    def begin(self, target):
        self.s = self.server(self.CONF, start=False)
        self.tap = Tap(target, self.s.directory + "/tap.sock")
        self.addCleanup(self.tap.close)
        self.s.start()

    def ask(self, source, raw, cut):
        """Everything that the client gets, and whether it ended with a reset."""
        with flow.Client(self.s.address(), source=(source, 0)) as c:
            with contextlib.suppress(OSError):      # we may have refused it already
                c.send(raw if cut is None else raw[:cut])
                if cut is not None:
                    c.send(raw[cut:])
                c.shut()
            got = b""
            try:
                while c.more():
                    got, c.buffer = got + c.buffer, b""
            except ConnectionResetError:
                return got, True
            return got, False

    def forwarded(self):
        """By client: what the tap saw, complete or not, as it came; checks both streams of each connection."""
        by_client = {}
        self.seen = []              # (port, number, message): what the backend says it had
        for c in self.tap.connections:
            read, rest = strict.questions(c["questions"], all_of_them=True)
            self.assertFalse(rest is not None and rest.why, "we said what is malformed: %r\n%r" % (rest, rest and c["questions"][rest.begin:][:500]))
            for m in read + ([rest] if rest is not None else []):
                self.check_forwarded(m)
                by_client.setdefault(m.all(b"x-forwarded-for")[0].decode(), []).append((m, m is not rest))
            methods = [m.method for m in read] + ([rest.method] if rest is not None else [])
            answers, more = strict.answers(c["answers"], methods, closed=c["closed"])
            self.assertIsNone(more, "the backend is no good: %r" % c["answers"][-1000:])
            for n, (a, m) in enumerate(zip(answers, read + [rest]), 1):
                echo = a.all(b"x-echo")
                if not echo:        # refused: then it heard nothing more on this connection
                    self.assertGreaterEqual(a.status, 400)
                    self.assertEqual(n, len(methods), "heard on after %r" % a)
                    self.refusals.append((a.status, m.target[:60]))
                    continue
                echo = echo[0].split(b" ")
                self.assertEqual(echo, echo_of(m, c["port"], n)[:len(echo)])
                self.seen.append((c["port"], n, m))
            if not c["closed"]:
                self.assertEqual(len(answers), len(read))
        return by_client

    def check_forwarded(self, m):
        self.assertTrue(m.head)
        self.assertEqual(m.minor, 1)
        self.assertLess(m.target.find(b"#"), 0)
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"expect", b"trailer"):
            self.assertEqual(m.all(name), [], m)
        self.assertEqual(len(m.all(b"x-forwarded-for")), 1)

    @staticmethod
    def is_same(wanted, m, complete):
        return (m.method == wanted.method and same_target(wanted.target, m.target) and
                (m.body == wanted.body if complete else wanted.body.startswith(m.body) or wanted.why == ""))

    def check(self, case, answer, forwarded):
        asked, rest = strict.questions(case[1])
        wanted = asked + ([rest] if rest is not None and rest.head else [])
        left, sent = list(forwarded), []
        for w in wanted:            # each once, in their order; one answered early may have been cut
            f = next((f for f in left if self.is_same(w, *f)), None)
            if f is None:
                break
            left.remove(f)
            sent.append(f[0])
        self.assertEqual(left, [], "questions that nobody asked")
        got, reset = answer
        methods = [m.method for m in wanted]
        if rest is not None and not rest.head:      # refused; for HEAD without a body, however bad it was
            methods.append(case[1][rest.begin:].strip(b"\r\n").split(b" ")[0])
        answers, more = strict.answers(got, methods, closed=True, reset=reset)
        cut = []
        if more is not None:        # told to go on, and did not; or left while it was answered all the same
            self.assertTrue(rest is not None and rest.why == "", got[-500:])
            self.assertEqual(more.why, "")
            if more.head:
                self.assertTrue(more.all(b"via"), got[-500:])
                cut = [more.status]
            else:
                self.assertEqual(more.status, 100, got[-500:])
        ours = [a for a in answers if not a.all(b"via")]
        theirs = [a for a in answers if a.all(b"via")]
        self.assertEqual(answers, theirs + ours, "an answer behind a refusal")
        self.assertLessEqual(len(ours), 1)
        for a in ours:
            self.assertIn(a.status, (400, 408, 413, 414, 417, 421, 431, 501, 505))
            self.assertEqual(a.all(b"connection"), [b"close"])
        for a, m in zip(theirs, sent):
            for echo in a.all(b"x-echo"):
                self.assertEqual(echo.split(b" ")[2:4], [m.method, m.target], "an answer to another question")
        if not ours and (not answers or answers[-1].keeps):
            self.assertGreaterEqual(len(theirs), len(asked), "a question without an answer")
        self.assertGreaterEqual(len(theirs), sum(complete for _, complete in forwarded), "an answer was lost")
        self.assertLessEqual(len(theirs), len(forwarded), "an answer to nothing")
        self.counts["answered"] += len(theirs)
        self.counts["refused"] += len(ours)
        return [a.status for a in answers] + cut

    def check_log(self, statuses, by_client):
        """A line for each answer, in the order of the answers, with what was received of the question's body."""
        def lines():
            with open(self.s.directory + "/access.log", "rb") as f:
                return [json.loads(line) for line in f]

        wanted = sum(len(s) for s in statuses.values())
        flow.wait_for(lambda: sum(1 for x in lines() if x.get("status")) >= wanted)
        found = {}
        for x in lines():
            if x.get("status"):
                found.setdefault(x["src"], []).append((x["status"], x["bytes_received"] if x["status"] < 400 else None))
        for client, its in statuses.items():
            bodies = [len(m.body) for m, _ in by_client.get(client, [])]
            bodies += [None] * len(its)
            self.assertEqual(found.pop(client, []), [(s, n if s < 400 else None) for s, n in zip(its, bodies)], client)
        self.assertEqual(found, {})

    def everything(self):
        self.counts = {"answered": 0, "refused": 0}
        self.refusals = []
        given = [self.ask(address_of(n), case[1], case[2]) for n, case in enumerate(self.cases)]
        self.s.kill(signal.SIGUSR1)         # the log is written
        by_client = self.forwarded()
        statuses = {}
        for n, (case, answer) in enumerate(zip(self.cases, given)):
            forwarded = by_client.get(address_of(n), [])
            try:
                statuses[address_of(n)] = self.check(case, answer, forwarded)
            except AssertionError as e:
                self.fail("%s\nPAIRS_SEED=%d, case %d: %s\nasked: %r\nforwarded: %r\nanswered: %r" %
                          (e, SEED, n, "; ".join(case[0]), case[1][:1500], forwarded, answer[0][:800]))
        self.assertLessEqual(set(by_client), set(statuses))
        for n, case in enumerate(self.cases):
            if len(case[0]) == 1:           # as it should be: nothing in the way
                self.assertEqual(statuses[address_of(n)], [200, 200], case)
        self.check_log(statuses, by_client)
        sys.stderr.write("%d cases, %d answered, %d refused by us, %d by the backend ... " %
                         (len(self.cases), self.counts["answered"], self.counts["refused"], len(self.refusals)))
        if os.environ.get("PAIRS_SHOW"):
            for r in self.refusals:
                sys.stderr.write("  refused by the backend: %s %r\n" % r)

    def port_of(self, *arguments):
        p = self.process(*arguments, stdout=subprocess.PIPE)
        return ("127.0.0.1", int(p.stdout.readline()))

    def test_strict(self):
        self.begin(self.peer(strict_backend).address)
        self.everything()

    def test_node(self):
        self.begin(self.port_of(self.need("node"), "-e", NODE))
        self.everything()

    def test_python(self):
        self.begin(self.port_of(sys.executable, "-u", "-c", PYTHON))
        self.everything()

    def test_nginx(self):
        nginx, d = self.need("nginx"), self.directory()
        ports = flow.Ports()
        self.addCleanup(ports.close)
        address = ("127.0.0.1", ports.take())
        with open(d + "/nginx.conf", "w") as f:
            f.write(NGINX % {"d": d, "port": address[1]})
        self.process(nginx, "-c", d + "/nginx.conf", "-e", d + "/error.log")
        flow.wait_for(lambda: flow.listening(address))
        self.begin(address)
        self.everything()

        def lines():
            with open(d + "/seen.log", "rb") as f:
                return [json.loads(x, strict=False) for x in f.read().decode("latin-1").split("\n")[:-1]]

        logged = {(int(port), int(n)): more for port, n, *more in lines()}
        for port, n, m in self.seen:
            self.assertEqual(logged.pop((port, n))[:3], [m.method.decode(), m.target.decode(), m.body.decode("latin-1")])
        for method, uri, body, status in logged.values():
            self.assertGreaterEqual(int(status), 400, "nginx saw what we never said: %s %s" % (method, uri))



# ---------------------------------------------------------------- answers: what is odd

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH, CHUNKED = b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
STATUS_LINES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/1.10 200 OK", b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK",
                b"HTTP/1.1 200\tOK", b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"\nHTTP/1.1 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 200OK", b"HTTP/1.1 +20 OK", b"HTTP/1.1 0200 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 000 OK", b"HTTP/1.1 -20 OK",
                b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK", b"HTTP/1.1 2\xb20 OK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\nK", b"HTTP/1.1 200 \xc3\x96K", b"HTTP/1.1 200 O\x0bK", b"HTTP/1.1 200 OK\r", b"HTTP/1.1 200 " + b"a" * 5000, b"ICY 200 OK", b"HTTP/1.1", b"",
                b"HTTP/1.1 404 Not Found", b"HTTP/1.1 500 No", b"HTTP/1.1 304 Same", b"HTTP/1.1 204 None", b"HTTP/1.1 205 Reset", b"HTTP/1.1 101 Switch", b"HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: websocket", b"HTTP/1.1 100 Go on", b"HTTP/1.1 199 What", b"HTTP/1.1 206 Part"]
FRAMES = [LENGTH, CHUNKED, b"Content-Length: 0\r\n\r\n", b"\r\nhello", b"Connection: close\r\n\r\nhello", b"Connection: keep-alive\r\n\r\nhello", b"Content-Length: 5, 5\r\n\r\nhello", b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
          b"Content-Length: -5\r\n\r\nhello", b"Content-Length: +5\r\n\r\nhello", b"Content-Length: 05\r\n\r\nhello", b"Content-Length: 5 \r\n\r\nhello", b"Content-Length:\t5\t\r\n\r\nhello", b"Content-Length:5\r\n\r\nhello", b"Content-Length : 5\r\n\r\nhello", b"Content-Length: 0x5\r\n\r\nhello",
          b"Content-Length: 5.0\r\n\r\nhello", b"Content-Length: 5;\r\n\r\nhello", b"Content-Length: \r\n\r\nhello", b"Content-Length: 18446744073709551621\r\n\r\nhello", b"Content-Length: 4294967301\r\n\r\nhello", b"Content-Length: 99999999999999999999\r\n\r\nhello", b"Content-Length: 6\r\n\r\nhello",
          b"Content-Length: 4\r\n\r\nhello", b"Content-Length: 5\x0b\r\n\r\nhello", b"Content-Length: \xef\xbc\x95\r\n\r\nhello", b"Content-Length: 5\n\r\nhello", b"Content-Length: 5\r\n\nhello", b"Content-Length: 5\n\nhello", b"X: y\nContent-Length: 5\r\n\r\nhello", b"X: y\rContent-Length: 5\r\n\r\nhello",
          b"X: y\r\n Content-Length: 5\r\n\r\nhello", b"X: y\r\n\tz\r\nContent-Length: 5\r\n\r\nhello", b" Content-Length: 5\r\n\r\nhello", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
          b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: identity\r\n\r\nhello", b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked, gzip\r\n\r\nhello",
          b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding:chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
          b"Transfer-Encoding: chunked;x\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: \r\n\r\nhello", b"Transfer-Encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Transfer_Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"X: y\0\r\n" + LENGTH, b"X\0: y\r\n" + LENGTH, b"X y: z\r\n" + LENGTH, b"X\r\n" + LENGTH,
          b": y\r\n" + LENGTH, b"X: \x80\xff\r\n" + LENGTH, b"X: \x7f\r\n" + LENGTH, b"X: " + b"a" * 9000 + b"\r\n" + LENGTH, b"X: " + b"a" * 40000 + b"\r\n" + LENGTH, b"X: y\r\n" * 90 + LENGTH, b"X: y\r\n" * 250 + LENGTH, b"Connection: Content-Length\r\n" + LENGTH, b"Connection: Transfer-Encoding\r\n" + CHUNKED,
          b"Connection: close\r\n" + LENGTH, b"Connection: close\r\n" + CHUNKED, b"Keep-Alive: timeout=0\r\n" + LENGTH, b"Proxy-Connection: close\r\n" + LENGTH, b"Upgrade: h2c\r\nConnection: Upgrade\r\n" + LENGTH, b"Trailer: X\r\n" + CHUNKED, b"Content-Encoding: gzip\r\n" + LENGTH, b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n" + LENGTH,
          LENGTH + b"\r\n", LENGTH + b"x", LENGTH + EVIL, CHUNKED + EVIL, CHUNKED + b"\r\n", b"Content-Length: 0\r\n\r\n" + EVIL]
CHUNKED_BODIES = [b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n", b"5\r\nhello\r\n0", b"5\r\nhello", b"5\r\nhel", b"5\r\n", b"5", b"", b"05\r\nhello\r\n0\r\n\r\n", b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
                  b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\n", b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n00\r\n\r\n", b"5\r\nhello\r\n-0\r\n\r\n",
                  b"5\r\nhello\r\n\r\n\r\n", b"5\r\nhello\r\ng\r\n\r\n", b"5;\0\r\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
                  b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", b"5\r\nhello\r\n0\r\nX\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\n\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n", b"5\r\nhello\r\n0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
                  b"1\r\nx\r\n" * 200 + b"0\r\n\r\n", b"\r\n5\r\nhello\r\n0\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n" + EVIL, b"5\r\nhello\r\n0\r\n" + EVIL, b"6\r\n0\r\n\r\nX\r\n0\r\n\r\n"]
INTERIM = [b"HTTP/1.1 100 Go on\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", b"HTTP/1.1 102 Wait\r\n\r\n" * 3, b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n", b"HTTP/1.1 103 Hints\r\n\r\n" * 20, b"HTTP/1.1 103 Hints\n\n", b"HTTP/1.1 100 Go on\r\n", b"HTTP/1.1 199\r\n\r\n"]


def make_answers(seed):
    """(name, method, bytes, whether they end with a reset)"""
    made = []

    def add(name, raw, method=b"GET", reset=False):
        made.append(("%s %r" % (name, raw[:80]), method, raw, reset))

    for line in STATUS_LINES:
        for frame in (LENGTH, CHUNKED, b"\r\nhello", b"\r\n"):
            add("status line", line + b"\r\n" + frame)
    for frame in FRAMES:
        add("frame", OK + frame)
        add("frame of HEAD", OK + frame.replace(b"\r\nhello", b"\r\n"), b"HEAD")
        add("frame of 1.0", b"HTTP/1.0 200 OK\r\n" + frame)
        for status in (b"204", b"304"):
            add("frame of " + status.decode(), b"HTTP/1.1 %s Fine\r\n" % status + frame)
    for body in CHUNKED_BODIES:
        add("chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    for interim in INTERIM:
        add("interim", interim + OK + LENGTH)
    for frame in (LENGTH, CHUNKED, b"\r\nhello"):
        raw = OK + b"X: y\r\n" + frame
        for at in range(1, len(raw) + 1, 3 if frame is LENGTH else 2):
            add("ends at %d" % at, raw[:at])
            if at % 12 == 0:
                add("reset at %d" % at, raw[:at], reset=True)
    for i in range(CASES):
        rng = random.Random(seed * 1000033 + i)
        raw = rng.choice((OK, OK, rng.choice(STATUS_LINES) + b"\r\n")) + rng.choice((LENGTH, CHUNKED, b"\r\nhello", rng.choice(FRAMES)))
        for _ in range(rng.choice((1, 1, 2, 3))):
            raw = bend_bytes(raw, rng) or b"\n"
        add("combination %d of seed %d" % (i, seed), raw, rng.choice((b"GET", b"GET", b"GET", b"HEAD")))
    return made


NODE_CLIENT = """
const http = require('http'), crypto = require('crypto');
const [port, methods] = JSON.parse(require('fs').readFileSync(0));
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ask = (method, path) => new Promise(done => {
    const hash = crypto.createHash('sha1');
    const q = http.request({ host: '127.0.0.1', port, agent, method, path, headers: { Host: 'localhost' } }, a => {
        a.on('data', d => hash.update(d));
        a.on('end', () => done(a.complete ? [a.statusCode, hash.digest('hex')] : null));
        a.on('error', () => done(null));
        a.on('aborted', () => done(null));
    });
    q.on('error', () => done(null));
    q.on('upgrade', (a, s) => { s.destroy(); done([a.statusCode, 'upgraded']); });
    q.end();
});
(async () => {
    const found = [];
    for (let n = 0; n < methods.length; n++)
        found.push([await ask(methods[n], '/odd/' + n), await ask('GET', '/after/' + n)]);
    process.stdout.write(JSON.stringify(found), () => process.exit(0));
})();
"""


def after(n):
    return b"the one behind %d" % n


def seen(status, body):
    return (status, hashlib.sha1(body).hexdigest())


class Answers(flow.Case):
    """What each client makes of it: for each case the answer, or None where it saw a failure, and the answer behind it."""

    CONF = """
    upstream app { server @peer@ max_fails=0; retry 0; timeout { header 3s; idle 3s; } }
    server { listen 127.0.0.1:@port@; proxy app; }
    """

    def setUp(self):
        self.cases = make_answers(SEED)
        self.interim = [False] * len(self.cases)
        self.s = self.server(self.CONF, peer=self.peer(self.script, backlog=256))

    def script(self, stream, peer):
        while True:
            q = stream.question()
            if q is None:
                return
            _, what, n = q.target.split("/")
            if what == "after":
                stream.send(flow.answer(200, after(int(n))))
                continue
            _, _, raw, reset = self.cases[int(n)]
            stream.send(raw)
            if reset:
                stream.reset()
            return

    def by_strict(self, version=b"1.1"):
        """Both questions at once, so that the second answer begins where the first one ends."""
        found = []
        for n, (_, method, _, _) in enumerate(self.cases):
            with self.s.client() as c:
                c.send(b"%s /odd/%d HTTP/%s\r\nHost: localhost\r\n\r\n" % (method, n, version) +
                       (b"GET /after/%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % n if version == b"1.1" else b""))
                got, reset = b"", False
                try:
                    while c.more():
                        got, c.buffer = got + c.buffer, b""
                except ConnectionResetError:
                    reset = True
            read, rest = strict.answers(got, [method, b"GET"], closed=True, reset=reset)
            self.assertFalse(rest is not None and rest.why, (self.cases[n], got))
            self.interim[n] |= any(a.interim for a in read) or (rest is not None and rest.status is not None and not rest.head)
            both = [seen(a.status, a.body) for a in read] + [None, None]
            if read and (len(read) == 2 or not read[0].keeps):
                both[1] = both[1] or seen(200, after(n))        # it was told to ask on another connection
            found.append(both[:2])
        return found

    def by_python(self, against):
        found = []
        c = http.client.HTTPConnection("127.0.0.1", self.s.names["port"], timeout=flow.TIME)
        for n, (_, method, _, _) in enumerate(self.cases):
            if self.interim[n]:         # it takes any of them but 100 for the answer
                found.append(against[n])
                continue
            both = []
            for what, path in ((method.decode(), "/odd/%d"), ("GET", "/after/%d")):
                try:
                    c.request(what, path % n, headers={"Host": "localhost"})
                    a = c.getresponse()
                    both.append(seen(a.status, a.read()))
                except (http.client.HTTPException, ConnectionError):
                    both.append(None)
                    c.close()
            found.append(both)
        c.close()
        return found

    def by_node(self):
        node = self.need("node")
        methods = [method.decode() for _, method, _, _ in self.cases]
        p = subprocess.run([node, "-e", NODE_CLIENT], input=json.dumps([self.s.names["port"], methods]).encode(), capture_output=True, timeout=100)
        self.assertEqual(p.returncode, 0, p.stderr)
        return [[both[0] and tuple(both[0]), both[1] and tuple(both[1])] for both in json.loads(p.stdout)]

    def by_curl(self):
        curl, d = self.need("curl"), self.directory()
        url = "http://127.0.0.1:%d" % self.s.names["port"]
        with open(d + "/config", "w") as f:
            for n, (_, method, _, _) in enumerate(self.cases):
                for what, path in ((method.decode(), "odd"), ("GET", "after")):
                    f.write('url = "%s/%s/%d"\noutput = "%s/%s%d"\nnoproxy = "*"\nheader = "Host: localhost"\nsilent\nmax-time = 10\nwrite-out = "%%{exitcode} %%{http_code}\\n"\n' % (url, path, n, d, path, n))
                    f.write(("head\n" if what == "HEAD" else "") + "next\n")
        p = subprocess.run([curl, "-K", d + "/config"], capture_output=True, timeout=100)
        lines = p.stdout.decode().splitlines()
        self.assertEqual(len(lines), 2 * len(self.cases), p.stderr)
        found = []
        for i, line in enumerate(lines):
            code, status = line.split()
            name = "%s/%s%d" % (d, ("odd", "after")[i % 2], i // 2)
            body = b""
            if os.path.exists(name) and not (i % 2 == 0 and self.cases[i // 2][1] == b"HEAD"):      # -I writes the head there
                with open(name, "rb") as f:
                    body = f.read()
            found.append(None if code != "0" else seen(int(status), body))
        return [found[i:i + 2] for i in range(0, len(found), 2)]

    def truth(self, n):
        """What the strict reader makes of the peer's own bytes; None: nobody may take them for an answer."""
        _, method, raw, reset = self.cases[n]
        read, rest = strict.answers(raw, [method], closed=True, reset=reset)
        return (seen(read[0].status, read[0].body) if read else None), read[0] if read else rest

    def check(self, name, found, against):
        """The clients agree, and none has whole what is not."""
        broken = odd = 0
        for n, (got, wanted) in enumerate(zip(found, against)):
            true, message = self.truth(n)
            self.assertEqual(got[0], wanted[0], "%s and the strict reader differ: PAIRS_SEED=%d %r" % (name, SEED, self.cases[n]))
            if got[0] is not None or wanted[1] is not None:
                self.assertEqual(got[1], seen(200, after(n)), "the answer behind it: PAIRS_SEED=%d %r" % (SEED, self.cases[n]))
            if got[0] is None or got[0][0] in (502, 504):
                broken += true is None
                odd += true is not None
                if true is not None and os.environ.get("PAIRS_SHOW"):
                    sys.stderr.write("  refused: %r %r\n" % (self.cases[n], message))
            elif true is None and message.why == "204 with a body":
                self.assertEqual(got[0], seen(204, b""))        # ends with its head all the same, and its length is not passed on
            else:
                self.assertEqual(got[0], true, "PAIRS_SEED=%d %r %r" % (SEED, self.cases[n], message))
        sys.stderr.write("%s: %d answers, %d broken, %d refused although they are none ... " % (name, len(found), broken, odd))

    def test_all(self):
        against = self.by_strict()
        self.check("strict", against, against)
        self.check("Python", self.by_python(against), against)
        self.check("Node", self.by_node(), against)
        self.check("curl", self.by_curl(), against)

    def test_old_client(self):
        """To one of 1.0 the end of the connection is the end of the body, unless it is a reset."""
        found = self.by_strict(b"1.0")
        for n, got in enumerate(found):
            true, message = self.truth(n)
            if got[0] is not None and got[0][0] not in (502, 504) and not (message.why == "204 with a body"):
                self.assertEqual(got[0], true, "PAIRS_SEED=%d %r %r" % (SEED, self.cases[n], message))


if __name__ == "__main__":
    flow.main()
