# SPDX-License-Identifier: BSD-2-Clause
"""
Every form that a protocol can be declared in, through the running server: cut at every byte, one by one and a thousand
at once, at exactly max and one over, with lengths that lie; the same bytes through a server that proxies to that one. Then
what is promised of protocols whatever their form (R1 to R14 of t/README), as far as it shows outside.
"""
import concurrent.futures
import re
import struct
import time
import zlib

import flow
from test_slow import entries

MAX = 64
ORDER = {"be": ">", "le": "<"}


def crc16_modbus(data):
    crc = 0xffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xa001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


def xor8(data):
    x = 0
    for byte in data:
        x ^= byte
    return bytes([x])


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


class Form:
    """
    wires: messages; back: what an echo makes of them, if not the same. of(n): a message of n bytes, or its beginning; what
    is longer than max is refused. bad: (bytes, why); skipped: likewise, but passed over. first: what has to come before
    all, and its echo.
    """

    def __init__(self, name, text, wires, back=None, of=None, bad=(), skipped=(), first=(b"", b""), most=MAX, ends=b""):
        self.name, self.text, self.wires, self.most = name, text, wires, most
        self.first, self.first_back = first
        self.back = back if back is not None else wires
        self.bad, self.skipped, self.of, self.ends = list(bad), list(skipped), of, ends
        if of and "resync" not in text:
            self.bad.append((of(most + 1), "too_long"))
        self.said = []          # why, in the order in which it must be logged
        self.refused = 0        # how many were the end of a connection


BODIES = (b"", b"a", b"hello, world", b"\0\xff\x7f", b"x")


def length(name, kind, encode, counts, at=0, width=None, bodies=BODIES, most=MAX, digits=None):
    """A length of a kind that `encode` writes; of a fixed width with a byte of header behind it."""
    def total(n, head):
        return n if counts == "whole" else n + head if counts == "body" else n + at + width if width else n + head

    def begin(size):
        """What a message of that size begins with: where the width varies, the first number that says it."""
        if width:
            n = size if counts == "whole" else size - (at + width) - (counts == "body")
            return b"h" * at + encode(n) + b"g" if n >= 0 else None
        for n in range(max(size - at - 12, 0), size + 1):
            if total(n, at + len(encode(n))) == size:
                return b"h" * at + encode(n)
        return None

    def of(size):
        head = begin(size)
        return head + b"x" * (size - len(head))

    def wire(body):
        size = len(body)
        while begin(size) is None or size - len(begin(size)) < len(body):
            size += 1
        return begin(size) + body

    form = Form("%s_%s_at_%d" % (name, counts, at),
                "length %s at %d counts %s; %s max %d;" % (kind, at, counts, "header %d;" % (at + width + 1) if width else "", most),
                [wire(b) for b in bodies], of=of, most=most)
    for n in (0, 1, at + (width or 1), most + 1, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1):
        try:
            said = encode(n)
        except (struct.error, OverflowError, ValueError):
            continue
        if width and len(said) != width:
            continue
        least = at + len(said) + (1 if width else 0)
        size = total(n, least)
        if size < least:
            form.bad.append((b"h" * at + said, "too_short"))
        elif size > most:
            form.bad.append((b"h" * at + said, "too_long"))
        else:
            form.wires.append(b"h" * at + said + b"y" * (size - at - len(said)))
    form.bad += [(b"h" * at + d, "bad_length") for d in digits or ()]
    return form


def binary_lengths():
    letters = {1: "B", 2: "H", 4: "I", 8: "Q"}
    for width in (1, 2, 3, 4, 8):
        for order in ("be", "le") if width > 1 else ("",):
            def encode(n, width=width, order=order):
                return n.to_bytes(width, "little" if order == "le" else "big")
            for i, counts in enumerate(("whole", "body", "after")):
                yield length("u%d%s" % (8 * width, order), "u%d%s" % (8 * width, order), encode, counts, (0, 3, 1)[i], width)


def other_lengths():
    def hexadecimal(n):
        return b"%x\n" % n

    def mqtt(n):
        if n >= 1 << 28:
            raise ValueError
        return varint(n)

    def decimal(n):
        if n >= 10**19:         # more digits than a length has
            raise ValueError
        return b"%d:" % n

    for i, counts in enumerate(("whole", "body", "after")):
        yield length("dec10", "dec 10", lambda n: b"%010d" % n, counts, i, 10, digits=(b"+000000010", b"        10", b"00000000x0"))
        yield length("hex4", "hex 4", lambda n: b"%04x" % n, counts, i, 4, digits=(b"00g0", b"0x10"))
        yield length("dec_until", "dec until \":\"", decimal, counts, i, digits=(b"%d:" % 2**64, b":", b"-1:", b"+1:", b"9" * 21, b"1x:"))
        yield length("hex_until", "hex until \"\\n\"", hexadecimal, counts, i, digits=(b"\n", b"g\n", b"0x1\n"))
        yield length("varint", "varint", varint, counts, i, digits=(b"\xff" * 9 + b"\2", b"\x80" * 10 + b"\1"))
        yield length("mqtt", "mqtt_varint", mqtt, counts, i, digits=(b"\x80" * 4 + b"\1", b"\x80\0"))
    yield length("long_varint", "varint", varint, "body", 0, most=1000, bodies=BODIES + (b"x" * 127, b"x" * 128, b"x" * 300))


def boundaries():
    def lines(end):
        return lambda n: (b"x" * n)[:n - len(end)] + end if n <= MAX else b"x" * MAX
    yield Form("line", r'boundary "\n"; max 64;', [b"a\n", b"\n", b"a\r\n", b"hello\0\n"], of=lines(b"\n"))
    yield Form("nul", r'boundary "\x00"; max 64;', [b"a\0", b"\0", b"a\r\n\0"], of=lines(b"\0"))
    yield Form("either", r'boundary "\r\n" "\n" "\x00\x01"; max 64;', [b"a\r\n", b"b\n", b"\0c\0\1", b"d\r\0\0\1", b"\n"],
               [b"a\r\n", b"b\r\n", b"\0c\r\n", b"d\r\0\r\n", b"\r\n"], of=lines(b"\r\n"))
    yield Form("stripped", r'boundary "\n"; strip cr; max 64;', [b"a\r\n", b"b\n", b"c\rd\r\r\n", b"\r\n"], [b"a\n", b"b\n", b"c\rd\n", b"\n"],
               of=lines(b"\n"))
    yield Form("no_empty", r'boundary "\n"; strip cr; empty ignore; max 64;', [b"a\r\n", b"\n", b"\r\n", b"b\n"], [b"a\n", b"", b"", b"b\n"],
               of=lines(b"\n"))
    yield Form("long_boundary", r'boundary "<end>"; max 64; resync;', [b"a<end>", b"<e<end>", b"<end>", b"<en<end>"],
               skipped=[(b"x" * 61 + b"<end>", "too_long"), (b"x" * 300 + b"<en<end>", "too_long")])
    yield Form("headed", r'boundary "\n"; header 3; max 64;', [b"abc\n", b"abcd\n", b"\n\n\n\n", b"\n\n\nd\n"], of=lines(b"\n"))
    yield Form("json_value", r"boundary json_value; format json; max 64;",
               [b'{"a":[1,"}\\""]}', b"[]", b'"x"', b"42\n", b"-1.5e3\n", b"true\n", b"{}"],
               [b'{"a":[1,"}\\""]}\n', b"[]\n", b'"x"\n', b"42\n", b"-1.5e3\n", b"true\n", b"{}\n"], of=lambda n: b'"' + b"x" * (n - 2) + b'"', ends=b"\n",
               bad=[(b"}", "bad_json"), (b"[1}", "bad_json"), (b"[" * 65, "bad_json"), (b'"\n"', "bad_json"), (b"1" * 66, "too_long")])


def sums():
    yield Form("sum", "length u8 at 0 counts whole; length u8 at 1; length u16be at 2; adjust 4; header 5; max 64;",
               [b"\1\0\0\0h", b"\0\0\0\1h", b"\2\0\0\3habcd", b"\0\5\0\0habcd"],
               of=lambda n: b"\x0a\x0a" + struct.pack("!H", n - 24) + b"h" + b"x" * (n - 5),
               bad=[(b"\0\0\0\0", "too_short"), (b"\xff\xff\xff\xff", "too_long")])
    big = "length u64be at 0 counts after; length u64be at 8; adjust %d; max 64;"
    over = [struct.pack("!QQ", *pair) for pair in ((2**63, 2**63), (2**64 - 1, 2**64 - 1), (2**64 - 1, 1), (2**63 - 1, 2**63 - 1), (0, 2**64 - 1), (2**64 - 64, 96))]
    yield Form("wraps", big % 0, [struct.pack("!QQ", 0, 3) + b"abc", bytes(16)], bad=[(b, "too_long") for b in over])
    yield Form("wraps_up", big % 2**30, [], bad=[(b, "too_long") for b in over] + [(bytes(16), "too_long")])
    yield Form("wraps_down", big % -2**30, [], bad=[(b, "too_long") for b in over] + [(bytes(16), "too_short"), (struct.pack("!QQ", 2**30 - 1, 0), "too_short")])
    yield Form("adjusted", "length u32le counts body; adjust -2; max 64;", [b"\2\0\0\0", b"\5\0\0\0abc"],
               of=lambda n: struct.pack("<I", n - 2) + b"x" * (n - 4), bad=[(bytes(4), "too_short"), (b"\1\0\0\0", "too_short"), (b"\xff" * 4, "too_long")])


def sized():
    def stomp(n):
        return b"content-length: %d\n\n" % (n - 21) + b"x" * (n - 21) + b"\0"

    def checked(body):
        data = b"\x7e\x7e" + bytes([len(body)]) + body
        return data + crc16_modbus(data[2:])

    def nmea(body):
        return b"$" + body + b"%02x" % xor8(body)[0] + b"\r\n"

    def headed(body):
        return bytes([len(body) + 3, 7]) + xor8(body) + body

    yield Form("fixed", "fixed 16;", [b"0123456789abcdef", bytes(16)])
    yield Form("fixed_fields", "fixed 8; fields { kind u8 at 0; number i16le at 2; tag bytes 3 at 4; }", [b"abcdefgh", b"\xff" * 8])
    yield Form("stomp", r'headers until "\n\n" "\r\n\r\n" length content-length; trailer "\x00"; max 64;',
               [b"content-length: 5\n\nhello\0", b"content-length: 0\n\n\0", b"Content-Length : 1\nA: b\n\n\0\0", b"A:b\r\nContent-Length:2\r\n\r\n\n\n\0"],
               [b"content-length: 5\n\nhello\0", b"content-length: 0\n\n\0", b"A: b\ncontent-length: 1\n\n\0\0", b"A:b\ncontent-length: 2\n\n\n\n\0"],
               of=lambda n: stomp(n), bad=[
                   (b"a:b\n\n", "bad_headers"), (b"content-length:1\ncontent-length:1\n\n", "bad_headers"), (b"content-length:x\n\n", "bad_headers"),
                   (b"content-length:-1\n\n", "bad_headers"), (b"content-length:\n\n", "bad_headers"), (b"content-length:4294967295\n\n", "too_long"),
                   (b"content-length:18446744073709551615\n\n", "too_long"), (b"content-length:99999999999999999999999\n\n", "too_long"),
                   (b"content-length:1\n\nab", "bad_trailer"), (b"x" * 64, "too_long")])
    yield Form("headers_or_end", r'headers until "\n\n" length content-length else "\x00"; empty ignore; max 64;',
               [b"\n", b"content-length: 3\n\na\0b", b"\n\r\n", b"A:b\n\nhello\0"], [b"", b"content-length: 3\n\na\0b", b"", b"A:b\ncontent-length: 5\n\nhello"],
               bad=[(b"A:b\n\n" + b"x" * 60, "too_long")])
    yield Form("synced", r'sync "\x7e\x7e"; length u8 at 2; check crc16_modbus over 2..; max 64;', [checked(b"a"), checked(b""), checked(b"\x7e\x7e\x7e")],
               of=lambda n: checked(b"x" * (n - 5)),
               bad=[(b"x", "bad_sync"), (b"\x7ex", "bad_sync"), (checked(b"a")[:-1] + b"\0", "bad_checksum"), (b"\x7e\x7e\xff", "too_long")])
    yield Form("resynced", r'sync "\x7e\x7e"; resync; length u8 at 2; check crc16_modbus over 2..; max 64;', [checked(b"a"), checked(b"hello"), checked(b"")],
               skipped=[(b"junk\x7ejunk", "bad_sync"), (checked(b"a")[:-1] + b"\0", "bad_checksum"), (b"\x7e\x7e\x50\x01\x02", "too_long")])
    yield Form("nmea", r'sync "$"; boundary "\r\n"; check xor8 hex 2 over 1..; max 64; resync;', [nmea(b"a"), nmea(b"gpgga,1"), nmea(b"")],
               skipped=[(b"$a00\r\n", "bad_checksum"), (b"$\r\n", "too_short"), (b"$" + b"x" * 100 + b"\r\n", "too_long"), (b"??", "bad_sync")])
    yield Form("check_in_header", "length u8 at 0 counts whole; header 3; check xor8 u8 over 3.. at 2; max 64;", [headed(b"a"), headed(b""), headed(b"\xff\1")],
               of=lambda n: headed(b"x" * (n - 3)), bad=[(b"\x04\x07\x00a", "bad_checksum"), (b"\x02", "too_short")])
    yield Form("check_crc32", 'length u16be counts body; check crc32 hex 8; trailer ";"; max 64;',
               [h + b"%08x;" % zlib.crc32(h) for h in (b"\0\1a", b"\0\0", b"\0\3;;;")],
               of=lambda n: (lambda h: h + b"%08x;" % zlib.crc32(h))(struct.pack("!H", n - 11) + b"x" * (n - 11)),
               bad=[(b"\0\1a00000000;", "bad_checksum"), (b"\0\0" + b"%08x." % zlib.crc32(b"\0\0"), "bad_trailer")])
    yield Form("netstring", 'length dec until ":" counts body; trailer ","; max 64;', [b"5:hello,", b"0:,", b"3:,,,,"],
               of=lambda n: b"%d:" % (n - 4) + b"x" * (n - 4) + b",", bad=[(b"2:ab;", "bad_trailer")])


def escaped():
    def hdlc(body):
        data = b"".join(b"\x7d" + bytes([c ^ 0x20]) if c in b"\x7d\x7e" else bytes([c]) for c in body + struct.pack(">I", zlib.crc32(body)))
        return b"\x7e" + data + b"\x7e"

    yield Form("hdlc", "start 0x7e; end 0x7e; escape 0x7d flip 0x20; check crc32; max 64;", [hdlc(b"123456789"), hdlc(b"\x7d\x7e\x7d"), hdlc(b"a")],
               bad=[(b"\x7ea\0\0\0\0\x7e", "bad_checksum"), (b"\x7e\x7d\x01abcdef\x7e", "bad_checksum"), (b"\x7eabc\x7e", "too_short"), (b"\x7e" + b"x" * 64, "too_long")])
    yield Form("slip", r'end "\xc0"; escape "\xdb" "\xc0" as "\xdc" "\xdb" as "\xdd"; max 64;', [b"a\xdb\xdc\xdb\xdd\xc0", b"b\xc0", b"\xdb\xdc\xc0"],
               of=lambda n: b"x" * (n - 1) + b"\xc0", bad=[(b"a\xdbx\xc0", "bad_escape"), (b"a\xdb\xc0", "bad_escape"), (b"x" * 64, "too_long")])
    yield Form("tracker", 'start "("; end ")"; escape "=" flip 0x20; max 64; resync;', [b"(a)", b"()", b"(=\x08=\x09=\x1d)"],
               skipped=[(b"junk", "bad_sync"), (b"(ab=)", "bad_escape"), (b"(" + b"x" * 100 + b")", "too_long"), (b"(a", "bad_escape")])


def chosen():
    yield Form("typed", r"""
        switch u8 {
            case "+" { boundary "\r\n"; }
            case 0x24 { length u16be at 1 counts body; max 32; }
            case 35 { fixed 3; }
            case "!" { length varint at 1; }
            else { boundary "\n"; header 0; }
        }
        max 64;""", [b"+OK\r\n", b"$\0\3abc", b"#ab", b"GET x\n", b"!\2ab", b"$\0\0"],
               bad=[(b"$\0\x1e", "too_long"), (b"+" + b"x" * 63, "too_long"), (b"!\x7f", "too_long"), (b"?" + b"x" * 63, "too_long")])
    yield Form("typed_strict", 'switch u16le at 1 { case 1 { fixed 4; } case 2 { length u8 at 3; max 16; } } max 64;',
               [b"a\1\0b", b"a\2\0\3abc", b"\0\2\0\0"], bad=[(b"a\3\0", "bad_type"), (b"a\0\1", "bad_type"), (b"a\2\0\x0d", "too_long")])
    # A PostgreSQL client: its first message has no type.
    yield Form("prefaced", "preface { length u32be counts whole; min 8; } length u32be at 1 counts after; adjust -4; max 64;",
               [b"Q\0\0\0\7abc", b"S\0\0\0\4"], first=(b"\0\0\0\x09\0\3\0\0x", b"\0\0\0\0\x09\0\3\0\0x"), of=lambda n: b"Q" + struct.pack("!I", n - 1) + b"x" * (n - 5),
               bad=[(b"Q\0\0\0\3", "too_short"), (b"Q\xff\xff\xff\xff", "too_long")])


FORMS = [*boundaries(), *binary_lengths(), *other_lengths(), *sums(), *sized(), *escaped(), *chosen()]
BUILTIN = [Form("text", None, [b"a\n", b"\n", b"hello\r\n"], [b"a\n", b"\n", b"hello\n"]),
           Form("frame", None, [b"\0\0\0\4", b"\0\0\0\x07abc"], bad=[(struct.pack("!I", n), "too_short") for n in range(4)] + [(b"\xff" * 4, "too_long")])]


class Forms(flow.Case):
    """One process, two listeners a form: one that echoes, one that proxies to it."""

    def setUp(self):
        text = ""
        for i, form in enumerate(FORMS + BUILTIN):
            form.said, form.refused = [], 0
            form.echo, form.proxy = "port%d" % (2 * i), "port%d" % (2 * i + 1)
            if form.text:
                text += "protocol %s { %s answers in_order; }\n" % (form.name, form.text)
            text += "server %s { listen 127.0.0.1:@%s@; protocol %s; access_log \"access.log\" json; echo; }\n" % (form.name, form.echo, form.name)
            text += "server proxy_%s { listen 127.0.0.1:@%s@; protocol %s; proxy 127.0.0.1:@%s@; }\n" % (form.name, form.proxy, form.name, form.echo)
        self.running = self.server("error_log \"error.log\" info;\n" + text)

    def test(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = {form.name: pool.submit(self.check, form) for form in FORMS + BUILTIN}
        for name, one in done.items():
            with self.subTest(name):
                one.result()
        self.check_logs()

    def talk(self, form, data, name=None):
        """All that comes back, when nothing more is said."""
        with self.running.client(name or form.echo) as c:
            c.send(form.first + data)
            c.shut()
            return self.after(form, c.rest())

    def after(self, form, got):
        """Behind what had to come first, which is echoed, too."""
        self.assertEqual(got[:len(form.first_back)], form.first_back)
        return got[len(form.first_back):]

    def check(self, form):
        if form.wires:
            self.check_cuts(form)
            self.check_many(form)
        if form.of:
            most = form.of(form.most)
            self.assertEqual(len(most), form.most)
            self.assertEqual(self.talk(form, most * 3), (most + form.ends) * 3, "at max")
        for data, why in form.bad:
            self.check_bad(form, data, why)
        for data, why in form.skipped:
            good, back = b"".join(form.wires), b"".join(form.back)
            self.assertEqual(self.talk(form, good + data + good), back + back, why)
            form.said.append(why)
        if form.wires:
            self.assertEqual(self.talk(form, form.wires[0] + form.wires[0][:-1]), form.back[0])
            if len(form.wires[0]) > 1:
                form.said.append("truncated")
                form.refused += 1

    def check_cuts(self, form):
        good, back = b"".join(form.wires), b"".join(form.back)
        for at in range(len(good) + 1 if not form.first else 0):
            if at % 64 == 0:
                c = self.running.client(form.echo)
                self.addCleanup(c.close)
            c.send_cut(good, at, 0.001)
            self.assertEqual(c.exactly(len(back)), back, "cut at %d" % at)
        for at in range(len(form.first + good) if form.first else 0):
            with self.running.client(form.echo) as c:
                c.send_cut(form.first + good, at, 0.001)
                self.assertEqual(self.after(form, c.exactly(len(form.first_back + back))), back, "cut at %d" % at)
        with self.running.client(form.echo) as c:
            for byte in form.first + good:
                c.send(bytes([byte]))
            self.assertEqual(self.after(form, c.exactly(len(form.first_back + back))), back, "in bytes")

    def check_many(self, form):
        times = 1000 // len(form.wires) + 1
        good, back = b"".join(form.wires) * times, b"".join(form.back) * times
        self.assertEqual(self.talk(form, good), back, "a thousand")
        self.assertEqual(self.talk(form, good, form.proxy), back, "a thousand, proxied")
        for name in (form.echo, form.proxy):
            with self.running.client(name) as c:
                c.send(form.first)
                c.exactly(len(form.first_back))
                for wire, answer in list(zip(form.wires, form.back)) * 3:
                    c.send(wire)
                    self.assertEqual(c.exactly(len(answer)), answer)

    def check_bad(self, form, data, why):
        """What came before it is answered; it is the end, without waiting for more."""
        form.said.append(why)
        form.refused += 1
        with self.running.client(form.echo) as c:
            c.send(form.first + b"".join(form.wires) + data)
            self.assertEqual(self.after(form, c.rest()), b"".join(form.back), (why, data))

    def check_logs(self):
        """A line for each, with its reason and how it began; each that ended a connection is an exchange that failed."""
        said = {form.name: [] for form in FORMS + BUILTIN}
        for line in self.running.read("error.log").decode().splitlines():
            m = re.search(r'malformed question of (\w+), (\w+): "((?:[ -~])*)"…?$', line)
            if m:
                said[m.group(1)].append(m.group(2))
            self.assertTrue(m or " malformed question of " not in line, line)
        for form in FORMS + BUILTIN:
            with self.subTest(form.name):
                self.assertEqual(said[form.name], form.said)
        refused = {form.name: form.refused for form in FORMS + BUILTIN if form.refused}

        def counted():
            got = {}
            for line in self.running.read("access.log").decode().splitlines():
                m = re.search(r'"reason":"bad_message","server":"(\w+)"', line)
                if m:
                    got[m.group(1)] = got.get(m.group(1), 0) + 1
            return got == refused
        flow.wait_for(counted)


class Rules(flow.Case):
    """What shows outside of R5 to R14, beside what other files show: t/README says which."""
    PROTOCOLS = r"""
        protocol lines  { boundary "\n"; max 64; format words; answers in_order; }
        protocol errors { boundary "\n"; max 64; answers in_order; error "error ${reason}"; }
        protocol skips  { sync "$"; boundary "\n"; resync; max 64; answers in_order; }
        protocol small  { length u8; max 200; answers in_order; }
        protocol greets { preface { length u16be counts whole; } length u8; max 64; answers in_order; }
    """

    def run_with(self, text, **names):
        return self.server('error_log "error.log" info;\n' + self.PROTOCOLS + text, **names)

    def talk(self, s, data, name="port"):
        with s.client(name) as c:
            c.send(data)
            c.shut()
            return c.rest()

    def test_r6_nothing_crosses_connections(self):
        """The same bytes are one message here and another there; what one has begun is not the next one's."""
        s = self.run_with("server { listen 127.0.0.1:@port@; protocol greets; echo; }")
        first, same = b"\0\4ab", b"\0\3x\2y"
        with s.client() as a:
            a.send(first)
            self.assertEqual(a.exactly(3), b"\2ab")
            for _ in range(50):
                with s.client() as b:
                    b.send(same)            # a preface, and half a message that goes with it
                    self.assertEqual(b.exactly(2), b"\1x")
                a.send(same)                # an empty message, and one of three bytes
                self.assertEqual(a.exactly(5), b"\0\3x\2y")

    def test_r7_what_cannot_be_written(self):
        """A body that its length has no room for: nothing of it is sent, one connection ends, the others do not notice."""
        s = self.run_with("""
            server { listen 127.0.0.1:@port@; protocol small; route when msg.len > 100 { reply "${msg.body}${msg.body}"; } route { echo; } }
        """)
        workers = s.workers()
        with s.client() as other:
            for _ in range(5):
                self.assertEqual(self.talk(s, b"\1a\xc0" + b"b" * 192 + b"\1c"), b"\1a")
                other.send(b"\1x")
                self.assertEqual(other.exactly(2), b"\1x")
        self.assertEqual(s.workers(), workers)
        flow.wait_for(lambda: b"cannot be written as small" in s.read("error.log"))

    def test_r8_policies(self):
        s = self.run_with("""
            server { listen 127.0.0.1:@port@; protocol lines; echo; }
            server { listen 127.0.0.1:@port2@; protocol errors; echo; }
            server { listen 127.0.0.1:@port3@; protocol skips; echo; }
        """)
        junk = b"x" * 100 + b"\n"
        self.assertEqual(self.talk(s, b"a\n" + junk + b"b\n"), b"a\n")
        self.assertEqual(self.talk(s, b"a\n" + junk + b"b\n", "port2"), b"a\nerror bad_message\n")
        self.assertEqual(self.talk(s, b"$a\n" + junk + b"$b\n", "port3"), b"$a\n$b\n")

    def slow(self):
        """A peer that answers a line when it is told to."""
        def script(stream, peer):
            while True:
                line = stream.until(b"\n")
                peer.questions.append(line)
                flow.wait_for(lambda: peer.notes.get("go"))
                stream.send(line)
        return self.peer(script)

    def test_r9_paused(self):
        """While one may be unanswered the next ones wait in us, and so does the end that stands behind them."""
        peer = self.slow()
        s = self.run_with("server { listen 127.0.0.1:@port@; protocol lines; max { messages 1; } proxy @peer@; }", peer=peer)
        with s.client() as c:
            c.send(b"a\nb\nc\nd\n")
            c.shut()
            flow.wait_for(lambda: peer.questions)
            time.sleep(0.1)
            self.assertEqual(peer.questions, [b"a\n"])
            self.assertEqual(peer.streams[0].buffer, b"")
            peer.notes["go"] = True         # the client sends nothing that would wake anybody
            self.assertEqual(c.rest(), b"a\nb\nc\nd\n")
        self.assertEqual(peer.questions, [b"a\n", b"b\n", b"c\n", b"d\n"])

    def test_r10_half_closed(self):
        """Who has said all gets its answers, message by message and as a connection."""
        peer = self.slow()
        s = self.run_with("""
            server { listen 127.0.0.1:@port@; protocol lines; proxy @peer@; }
            server { listen 127.0.0.1:@port2@; protocol lines; proxy @peer@ per connection; }
        """, peer=peer)
        for name in ("port", "port2"):
            peer.notes["go"] = False
            with s.client(name) as c:
                c.send(b"a\nb\n")
                c.shut()
                flow.wait_for(lambda: peer.questions)
                time.sleep(0.1)
                peer.notes["go"] = True
                self.assertEqual(c.rest(), b"a\nb\n")
            peer.questions.clear()

    def test_r13_in_order_and_once(self):
        """The PROXY header is before the first message, however it is cut; each message has one line, and the end is one."""
        s = self.run_with("""server { listen 127.0.0.1:@port@ proxy_protocol; protocol lines; access_log "access.log" json;
            route when msg[0] == "who" { reply "${src}"; } route when msg[0] == "bye" { close; } route { echo; } }""")
        said = b"PROXY TCP4 192.0.2.7 192.0.2.1 5 6\r\nwho\na\nbye\nb\n"
        for at in range(0, len(said), 3):
            with s.client() as c:
                c.send_cut(said, at)
                self.assertEqual(c.rest(), b"192.0.2.7\na\n")
        with s.client() as c:
            c.send(b"who\n")
            self.assertTrue(c.ends())
        times = len(range(0, len(said), 3))
        found = entries(s, 3 * times)
        time.sleep(0.05)
        self.assertEqual(len(entries(s, 3 * times)), 3 * times)
        self.assertEqual({e["src"] for e in found}, {"192.0.2.7"})

    def test_r14_bad_answers(self):
        """The same reader looks at answers: a peer that breaks the protocol is left, and who asked is told."""
        bad = {b"long": b"x" * 100, b"half": b"x", b"twice": b"a\nb\n"}

        def script(stream, peer):
            stream.send(bad[stream.until(b"\n")[:-1]])
            stream.shut()

        peer = self.peer(script)
        s = self.run_with('server { listen 127.0.0.1:@port@; protocol errors; access_log "access.log" json; proxy @peer@; }', peer=peer)
        self.assertEqual(self.talk(s, b"long\n"), b"error peer_bad_message\n")
        self.assertEqual(self.talk(s, b"half\n"), b"error peer_bad_message\n")
        self.assertEqual(self.talk(s, b"twice\n")[:2], b"a\n")
        flow.wait_for(lambda: b'malformed answer of errors, too_long: "xxx' in s.read("error.log"))
        self.assertIn(b"malformed answer of errors, truncated: \"x\"", s.read("error.log"))

    def test_r14_ids_in_every_form(self):
        """Clients with the same ids on one connection: ours stands in their place, however that changes the message."""
        def lsp(body):
            return b"Content-Length: %d\r\n\r\n" % len(body) + body

        def hdlc(body):
            body += struct.pack(">I", zlib.crc32(body))
            return b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"

        forms = {
            "lines": (r'boundary "\n"; format json; answers by id;', lambda b: b + b"\n"),
            "values": ("boundary json_value; format json; answers by id;", lambda b: b + b"\n"),
            "lsp": (r'headers until "\r\n\r\n" length Content-Length; format json; answers by id;', lsp),
            "hdlc": ("start 0x7e; end 0x7e; escape 0x7d flip 0x20; check crc32; format json; answers by id;", hdlc),
            "netstring": (r'length dec until ":"; trailer ","; format json; answers by id;', lambda b: b"%d:%s," % (len(b), b)),
            "counted": ("length u16le counts whole; format json; answers by id;", lambda b: struct.pack("<H", len(b) + 2) + b),
            "varint": ("length varint; format json; answers by id;", lambda b: varint(len(b)) + b),
            "deep": (r'boundary "\n"; format json; answers by head.list[0].id;', lambda b: b'{"head":{"list":[%s]}}\n' % b),
        }
        ids = [b"1", b'"1"', b'"a long one, with \\"quotes\\" \\u00e4~}"', b"-1", b"18446744073709551616", b"1.5e300", b"null", b"2"]
        text = ""
        for i, (name, (declared, _)) in enumerate(forms.items()):
            text += ("protocol %s { %s max 4k; messages independent; }\n"
                     "upstream %s { server 127.0.0.1:@port%d@; pool { connections 1; } }\n"
                     "server { listen 127.0.0.1:@port%d@; protocol %s; echo; }\n"
                     "server { listen 127.0.0.1:@port%d@; protocol %s; proxy %s; }\n" % (name, declared, name, 2 * i, 2 * i, name, 2 * i + 1, name, name))
        s = self.server(text)
        for i, (name, (_, wire)) in enumerate(forms.items()):
            with self.subTest(name):
                clients = [s.client("port%d" % (2 * i + 1)) for _ in range(20)]
                sent = [b"".join(wire(b'{"n":%d,"id":%s,"t":"~}"}' % (n, one)) for one in ids) for n in range(len(clients))]
                for c, data in zip(clients, sent):
                    self.addCleanup(c.close)
                    c.send(data)
                for c, data in zip(clients, sent):
                    self.assertEqual(c.exactly(len(data)), data)


if __name__ == "__main__":
    flow.main()
