# SPDX-License-Identifier: BSD-2-Clause
"""
A reader of HTTP/1 that takes nothing but what RFC 9112 says, and knows for each message where it begins and where
it ends. It reads whole streams, has nothing in common with the program that it judges, and forgives nothing.

    read, rest = strict.questions(data)
    read, rest = strict.answers(data, ["GET", "HEAD"], closed=True)

`read` are the complete messages. `rest` is what comes behind them: None (nothing), or a Message that is not
complete; its `why` is "" when only bytes are missing, else what is wrong with it; `head` says whether its head was fine.
"""
import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.([0-9])")
STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([\t -~\x80-\xff]*))?")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*")
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
# What an extension says is nobody's business; that it holds no control bytes is.
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]*)?")


class Wrong(Exception):
    """It breaks a rule."""


class More(Exception):
    """What is there keeps the rules, and has no end yet."""


class Message:
    def __init__(self, begin):
        self.begin = self.end = begin
        self.fields = []
        self.body = b""
        self.how = "none"       # none length chunked close
        self.head = False       # it was read, and is fine
        self.why = ""
        self.method = self.target = self.status = self.minor = None
        self.interim = []

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name]

    def options(self):
        return {o.strip(b" \t").lower() for v in self.all(b"connection") for o in v.split(b",")}

    @property
    def keeps(self):
        """Whether another message may follow on the connection (RFC 9112 9.3)."""
        options = self.options()
        return b"close" not in options and (self.minor != 0 or b"keep-alive" in options)

    def __repr__(self):
        return "<%s %s, %s %d at %d..%d%s>" % (self.method or "answer", self.target or self.status, self.how,
                                               len(self.body), self.begin, self.end, self.why and ": " + self.why)


class Reader:
    def __init__(self, data, at=0):
        self.data = data
        self.at = at

    def line(self):
        """Up to CRLF; a CR or LF of its own is an error as soon as it is seen (2.2)."""
        stop = re.compile(rb"[\r\n]").search(self.data, self.at)
        if stop is None:
            raise More
        if self.data[stop.start():stop.start() + 2] != b"\r\n":
            if self.data[stop.start():] == b"\r":
                raise More
            raise Wrong("a line ends with a bare CR or LF")
        line, self.at = self.data[self.at:stop.start()], stop.end() + 1
        return line

    def match(self, pattern, what):
        line = self.line()
        m = pattern.fullmatch(line)
        if not m:
            raise Wrong("no %s: %r" % (what, line[:100]))
        return m.groups()

    def fields(self):
        found = []
        while True:
            if self.data[self.at:self.at + 2] == b"\r\n":
                self.at += 2
                return found
            found.append(self.match(FIELD, "field line"))

    def take(self, m, n):
        part = self.data[self.at:self.at + n]
        m.body += part
        self.at += len(part)
        if len(part) < n:
            raise More

    def chunks(self, m):
        while True:
            size = int(self.match(CHUNK, "chunk size")[0], 16)
            if size == 0:
                self.fields()
                return
            self.take(m, size)
            end = self.data[self.at:self.at + 2]
            if end != b"\r\n":
                if b"\r\n".startswith(end):
                    raise More
                raise Wrong("no CRLF behind a chunk")
            self.at += 2

    def frame(self, m, bodiless, to_close):
        """RFC 9112 6.3; two ways to say it are none."""
        length, coding = m.all(b"content-length"), m.all(b"transfer-encoding")
        if length and coding or len(length) > 1 or len(coding) > 1:
            raise Wrong("two framings")
        if length and not re.fullmatch(rb"[0-9]{1,18}", length[0]):
            raise Wrong("no length: %r" % length[0])
        if coding and (coding[0].lower() != b"chunked" or m.minor == 0):
            raise Wrong("no coding of ours: %r" % coding[0])
        if not bodiless:
            m.how = "chunked" if coding else "length" if length else "close" if to_close else "none"
        return int(length[0]) if length else 0

    def body(self, m, length, closed):
        if m.how == "chunked":
            self.chunks(m)
        elif m.how == "length":
            self.take(m, length)
        elif m.how == "close":
            m.body, self.at = self.data[self.at:], len(self.data)
            if not closed:
                raise More

    def question(self, m):
        if self.data[self.at:self.at + 2] == b"\r\n":       # 2.2: one empty line may stand before it
            self.at += 2
        m.method, m.target, minor = self.match(REQUEST_LINE, "request line")
        m.minor = int(minor)
        m.fields = self.fields()
        host = m.all(b"host")
        if len(host) > 1 or (not host and m.minor > 0) or (host and not HOST.fullmatch(host[0])):
            raise Wrong("Host is %r" % host)
        length = self.frame(m, False, False)
        m.head = True
        self.body(m, length, False)

    def answer(self, m, method, closed):
        while True:
            minor, status, _ = self.match(STATUS_LINE, "status line")
            m.minor, m.status = int(minor), int(status)
            m.fields = self.fields()
            if m.status >= 200 or m.status == 101:
                break
            if m.all(b"content-length") or m.all(b"transfer-encoding"):
                raise Wrong("an interim answer with a body")
            m.interim.append(m.status)
        if m.status == 204 and (m.all(b"content-length") or m.all(b"transfer-encoding")):
            raise Wrong("204 with a body")
        length = self.frame(m, method in ("HEAD", b"HEAD") or m.status in (101, 204, 304), True)
        m.head = True
        self.body(m, length, closed)


def messages(data, read_one):
    """Until one does not keep the connection, is not complete, or breaks a rule."""
    reader, found = Reader(data), []
    while reader.at < len(data):
        m = Message(reader.at)
        try:
            if not read_one(reader, m, len(found)):
                return found, None
        except (Wrong, More) as e:
            m.end, m.why = reader.at, str(e)
            return found, m
        m.end = reader.at
        found.append(m)
        if m.how == "close":
            break
    return found, None


def questions(data, all_of_them=False):
    """What stands behind a question that asked to close is none, unless it is asked for."""
    def one(reader, m, _):
        if not all_of_them and one.over:
            return False
        reader.question(m)
        one.over = not m.keeps
        return True

    one.over = False
    return messages(data, one)


def answers(data, methods, closed=False, reset=False):
    """`methods`: of what was asked; more answers than that are Wrong. `closed`: in order."""
    def one(reader, m, n):
        if n >= len(methods):
            raise Wrong("an answer to nothing")
        reader.answer(m, methods[n], closed and not reset)
        return True

    return messages(data, one)
