# SPDX-License-Identifier: BSD-2-Clause
"""
Declared protocols, every form of them end to end: whole, cut, in batches, at exactly their bounds and past them, in
datagrams; what stands in a message and what is written into one; and the two that need no declaration.
"""
import socket

import flow

# name, declaration, messages that are answered by themselves as they are, what ends the connection
FORMS = [
    ("lines", r'boundary "\r\n" "\n"; max 40; format words;', [b"GET a\r\n", b"\r\n", b"x\ry\r\n", b"x" * 38 + b"\r\n"], [b"x" * 41]),
    ("jsonl", r'boundary "\n"; max 40; format json; empty ignore;', [b'{"a":1}\n', b"not json\n", b"x" * 39 + b"\n"], [b"x" * 41]),
    ("long", r'boundary "abab" "<end>"; max 40;', [b"xabab", b"aabab"], [b"x" * 41]),
    ("headed", r'boundary "\x00"; header 4; max 40;', [b"\0\0\0\0body\0", b"\1\2\3\4\0"], [b"x" * 41]),
    ("modbus", r"length u16be at 4 counts after; max 40; fields { txid u16be; unit u8 at 6; func u8 at 7; }",
     [b"\0\1\0\0\0\6\x11\3\0k\0\3", b"\0\2\0\0\0\2\x11\3", b"\0\2\0\0\0\x22" + b"x" * 34], [b"\0\2\0\0\0\x23", b"\0\2\0\0\0\1x", b"\0\2\0\0\0\0", b"\0\2\0\0\xff\xff"]),
    ("total", "length u32be counts whole; max 40;", [b"\0\0\0\4", b"\0\0\0\7abc", b"\0\0\0\x28" + b"x" * 36],
     [b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\3", b"\0\0\0\x29", b"\xff\xff\xff\xff"]),
    ("mysql", "length u24le counts body; header 4; max 40;", [b"\3\0\0\7abc", b"\0\0\0\1"], [b"\xff\xff\xff\0", b"\x25\0\0\0"]),
    ("wide", "length u64le counts body; adjust -2; max 40;", [b"\5\0\0\0\0\0\0\0abc", b"\2\0\0\0\0\0\0\0"],
     [b"\0\0\0\0\0\0\0\0", b"\1\0\0\0\0\0\0\0", b"\xff" * 8, b"\1\0\0\0\0\0\0\x80"]),
    ("sums", "length u8; length u8 at 1; length u32be at 2; header 6; max 40;", [b"\0\0\0\0\0\3abc", b"\0" * 6], [b"\xff\0\0\0\0\0", b"\xff\xff\xff\xff\xff\xff"]),
    ("xml", "length dec 10 counts whole; header 10; max 40;", [b"0000000014<a/>", b"0000000010"], [b"0000000009", b"00000000xx", b"9999999999", b"-000000014"]),
    ("hex", r'length hex 4 at 1; header 5; trailer "\r\n"; max 40;', [b"x0003abc\r\n"], [b"x0003abc\r\r", b"x00g0", b"xffff"]),
    ("netstring", r'length dec until ":"; trailer ","; max 40;', [b"5:hello,", b"0:,"], [b"x", b":", b"5:hello!", b"99:", b"99999999999999999999999"]),
    ("varint", "length varint; max 200;", [b"\3abc", b"\0"], [b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]),
    ("mqtt", "length mqtt_varint at 1 counts after; max 200; fields { type u8; }", [b"\x30\5hello", b"\xc0\0", b"\x30\x80\1" + b"x" * 128], [b"\x30\xff\xff\xff\xff"]),
    ("fixed", "fixed 8; fields { a u32le; b u8 at 4; }", [b"12345678"], []),
    ("stomp", r'headers until "\n\n" length content-length else "\x00"; trailer "\x00"; max 60;', [b"SEND\na:b\ncontent-length: 3\n\na\0b\0", b"content-length: 0\n\n\0"],
     [b"SEND\ncontent-length:x\n\n", b"SEND\ncontent-length:1\ncontent-length:1\n\n", b"SEND\ncontent-length:99\n\n", b"SEND\ncontent-length:1\n\nab"]),
    ("sync", r'sync "\x7e\x7e"; length u8 at 2; check crc16_modbus over 2..; max 40;', [b"\x7e\x7e\1a\xc1\xc8"], [b"\x7e\x7d", b"\x7e\x7e\1a\xc1\xc9"]),
    ("nmea", r'sync "$"; boundary "\r\n"; check xor8 hex 2 over 1..; max 40;', [b"$ab03\r\n"], [b"ab03\r\n", b"$ab04\r\n"]),
    ("hdlc", "start 0x7e; end 0x7e; escape 0x7d flip 0x20; check crc32; max 40;", [b"\x7e123456789\xcb\xf4\x39\x26\x7e"], [b"\x7e123456789\xcb\xf4\x39\x27\x7e"]),
    ("slip", r'end "\xc0"; escape "\xdb" "\xc0" as "\xdc" "\xdb" as "\xdd"; max 40;', [b"a\xdb\xdc\xdb\xdd\xc0"], [b"a\xdbx\xc0"]),
    ("json", "boundary json_value; max 40; format json;", [b'{"a":[1,"}"]}\n', b"[]\n"], [b"]", b"[" * 41]),
    ("typed", r'switch u8 { case "+" { boundary "\r\n"; } case 36 { length u16be at 1 counts body; max 20; } case "#" { fixed 3; } } max 40;',
     [b"+OK\r\n", b"$\0\3abc", b"#ab"], [b"x", b"$\0\x12", b"+" + b"x" * 40]),
    ("prefaced", "preface { length u32be; min 8; } length u8; max 40;", [], [b"\0\0\0\3abc"]),
]


def config(forms, more=""):
    text = more
    for i, (name, rows, *_) in enumerate(forms):
        text += "protocol %s { %s answers in_order; }\n" % (name, rows)
        text += "server { listen 127.0.0.1:@port%d@; protocol %s; echo; }\n" % (i, name)
    return text


class Forms(flow.Case):
    def test_every_form(self):
        s = self.server(config(FORMS), main="workers 1; error_log stderr info;\n")
        for i, (name, _, good, bad) in enumerate(FORMS):
            with self.subTest(name):
                port = "port%d" % i
                for message in good + [b"".join(good)]:
                    with s.client(port) as c:
                        for byte in message:
                            c.send(bytes([byte]))
                        self.assertEqual(c.exactly(len(message)), message)
                        c.shut()
                        self.assertEqual(c.rest(), b"")
                for message in bad:
                    with s.client(port) as c:
                        c.send(b"".join(good) + message)
                        self.assertEqual(c.rest(), b"".join(good))
        self.assertIn("malformed question of total, too_short", s.said())
        self.assertIn("malformed question of total, too_long", s.said())
        self.assertIn("malformed question of nmea, bad_checksum", s.said())
        self.assertIn("malformed question of netstring, bad_length", s.said())

    def test_a_thousand(self):
        forms = [f for f in FORMS if f[2]]
        s = self.server(config(forms))
        for i, (name, _, good, _) in enumerate(forms):
            with self.subTest(name), s.client("port%d" % i) as c:
                c.send(b"".join(good) * (1000 // len(good)))
                c.shut()
                self.assertEqual(c.rest(), b"".join(good) * (1000 // len(good)))

    def test_in_datagrams(self):
        """As many as it holds; one that breaks off, or does not begin as it must, is dropped from there on."""
        forms = [f for f in FORMS if f[0] in ("lines", "total", "netstring", "fixed", "typed")]
        s = self.server(config(forms).replace("listen 127", "listen udp:127"))
        for i, (name, _, good, _) in enumerate(forms):
            with self.subTest(name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
                u.settimeout(flow.TIME)
                u.connect(s.address("port%d" % i))
                u.send(b"".join(good))
                got = b""
                while len(got) < len(b"".join(good)):
                    got += u.recv(4096)
                self.assertEqual(got, b"".join(good))
                u.send(good[0] + good[0][:1])
                u.send(good[-1])
                got = b""
                while got[-len(good[-1]):] != good[-1] or len(got) < len(good[0] + good[-1]):
                    got += u.recv(4096)
                self.assertEqual(got, good[0] + good[-1])


class Written(flow.Case):
    def test_into_the_header(self):
        s = self.server(r"""
            protocol typed { switch u8 { case "+" { boundary "\r\n"; } case "$" { length u16be at 1 counts body; } }
                fields { type bytes 1; } max 64; answers in_order; error "${code} ${reason}"; }
            protocol modbus { length u16be at 4 counts after; header 8; max 260;
                fields { txid u16be; unit u8 at 6; func u8 at 7; } answers by txid; error "\x01"; }
            protocol mixed { length u8 at 0; header 13; check xor8 over 2.. at 1; max 64; answers in_order;
                fields { small i16le at 2; big u64be at 4; bit u8 at 12; } }
            server { listen 127.0.0.1:@port@; protocol typed;
                route when msg.type == "+" { reply "${msg.body}" { type "$"; } }
                route when msg.len == 2    { reply "a" { type "+"; } }
                route when msg.len == 3    { proxy @closed@; }
                route                      { reply "${msg.body}"; } }
            server { listen 127.0.0.1:@port2@; protocol modbus;
                route when msg.func == 3 { reply "" { unit 5; func 131; } }
                route { proxy @closed@; } }
            server { listen 127.0.0.1:@port3@; protocol mixed; reply "${msg.big} ${msg.small} ${msg.bit}" { small -2; big 18446744073709551615; } }
        """, closed=self.closed_port())
        with s.client() as c:
            c.send(b"+OK\r\n$\0\2ab$\0\3abc$\0\4abcd")
            c.shut()
            self.assertEqual(c.rest(), b"$\0\2OK+a\r\n$\0\x10502 peer_refused$\0\4abcd")
        with s.client("port2") as c:
            c.send(b"\0\x09\0\0\0\3\7\3x" b"\0\x08\0\0\0\2\7\4")
            c.shut()
            self.assertEqual(c.rest(), b"\0\x09\0\0\0\2\5\x83" b"\0\x08\0\0\0\3\7\4\1")
        with s.client("port3") as c:
            head = bytearray(b"\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\7")
            answer = bytearray(b"\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\7" + b"18446744073709551614 -1 7")
            answer[0] = len(answer) - 13
            for message in head, answer:
                for byte in message[2:]:
                    message[1] ^= byte
            c.send(head)
            c.shut()
            self.assertEqual(c.rest(), bytes(answer))

    def test_a_preface(self):
        """The first message of a client is another; what is declared of the others is not in it."""
        s = self.server(r"""
            protocol pgsql { preface { length u32be counts whole; min 8; } length u32be at 1 counts after; adjust -4;
                max 64; fields { type bytes 1; } answers in_order; }
            server { listen 127.0.0.1:@port@; protocol pgsql;
                route when msg.type == "Q" { reply "${msg.body}" { type "D"; } }
                route when msg.type exists { close; }
                route                      { reply "" { type "R"; } } }
        """)
        with s.client() as c:
            c.send(b"\0\0\0\x08\0\3\0\0" b"Q\0\0\0\5xQ\0\0\0\4")
            self.assertEqual(c.exactly(16), b"R\0\0\0\4D\0\0\0\5xD\0\0\0\4")
            c.send(b"X\0\0\0\4")
            self.assertEqual(c.rest(), b"")
        with s.client() as c:
            c.send(b"\0\0\0\7\0\3\0")
            self.assertEqual(c.rest(), b"")

    def test_ids(self):
        """A reply has the id of what it answers: in its place, or as a member of its own. A notification gets none."""
        s = self.server(r"""
            protocol rpc { boundary "\n"; max 1k; format json; answers by id; messages independent; error '{"error":${code}}'; }
            server { listen 127.0.0.1:@port@; protocol rpc;
                route when msg.m == "own"  { reply '{"id":0,"own":true}'; }
                route when msg.m == "none" { deny all; echo; }
                route when msg.m == "peer" { proxy 127.0.0.1:@port2@; }
                route                      { reply "{}"; } }
            server { listen 127.0.0.1:@port2@; protocol rpc; reply '{"m":"${msg.m}","was":"${msg.id}"}'; }
        """)
        with s.client() as c:
            c.send(b'{"id":"x","m":"own"}\n{"m":"none","id":[1]}\n{"id":3}\n')
            self.assertEqual(c.until(b"\n"), b'{"id":"x","own":true}\n')
            self.assertEqual(c.until(b"\n"), b'{"id":[1],"error":403}\n')
            self.assertEqual(c.until(b"\n"), b'{"id":3}\n')
            c.send(b'{"m":"peer","id":"a rather long one"}\n')
            answer = c.until(b"\n")
            self.assertTrue(answer.startswith(b'{"id":"a rather long one","m":"peer","was":"'), answer)


class Asked(flow.Case):
    def test_fields(self):
        s = self.server(r"""
            protocol jsonl { boundary "\n"; max 1k; format json; answers in_order; }
            protocol words { boundary "\n"; max 1k; format words; answers in_order; }
            protocol pairs { boundary "\n"; max 1k; format kv ":" ";"; answers in_order; }
            map kind msg.kind { a "is a"; ~ "^b" "like b"; default other; }
            server { listen 127.0.0.1:@port@; protocol jsonl;
                route when msg.n == 1                       { reply "number"; }
                route when msg.n == "1"                     { reply "text"; }
                route when msg.n in (null, true, 1.5)       { reply "bare ${msg.n}"; }
                route when msg.n > 9007199254740992         { reply "large ${msg.n}"; }
                route when msg.list[1].deep.name ~ "^x"     { reply "deep ${msg.list[1].deep.name} ${msg.list[0]}"; }
                route when msg.kind exists                  { reply "${map.kind}"; }
                route when msg[1] == 2                      { reply "second"; }
                route                                       { reply "${msg.len} ${msg.none}."; } }
            server { listen 127.0.0.1:@port2@; protocol words; route when msg[0] == "SET" and msg[2] exists { reply "${msg[1]}=${msg[2]}"; } route { reply "?"; } }
            server { listen 127.0.0.1:@port3@; protocol pairs; route when msg.a == "1" { reply "${msg.b}"; } route { reply "?"; } }
        """)

        def ask(port, *questions):
            with s.client(port) as c:
                c.send(b"".join(q + b"\n" for q in questions))
                c.shut()
                return c.rest().split(b"\n")[:-1]

        self.assertEqual(ask("port", b'{"n":1}', b'{"n":"1"}', b'{"n":null}', b'{"n":1.5}', b'{"n":9007199254740993}', b'{"n":1.0}'),
                         [b"number", b"text", b"bare null", b"bare 1.5", b"large 9007199254740993", b"9 ."])
        self.assertEqual(ask("port", b'{"list":[{"x":1},{"deep":{"name":"x\\u0041"}}]}', b'{"kind":"a"}', b'{"kind":"bb"}', b'{"kind":1}', b"[1,2]"),
                         [b'deep xA {\\"x\\":1}', b"is a", b"like b", b"other", b"second"])
        # what is not json, or says one thing twice, matches nothing
        self.assertEqual(ask("port", b"", b'{"n":1', b'{"n":1,"n":1}', b'{"n":1}}', b'{"n":1} x'), [b"0 .", b"6 .", b"13 .", b"8 .", b"9 ."])
        self.assertEqual(ask("port2", b" SET  a\tb ", b"SET a", b"set a b"), [b"a=b", b"?", b"?"])
        self.assertEqual(ask("port3", b"a:2;a : 1 ;b: x y ", b"a:2"), [b"x y", b"?"])


class Builtin(flow.Case):
    def test_text_and_frame(self):
        s = self.server("""
            server { listen 127.0.0.1:@port@; protocol text; route when msg.body == "twice" { reply "${msg.body}${msg.body}"; } route { echo; } }
            server { listen 127.0.0.1:@port2@; protocol frame; route when msg.len == 2 { reply "${msg.body}!"; } route { echo; } }
        """)
        with s.client() as c:
            c.send(b"hello\nworld\r\r\n\ntwice\r\n")
            c.shut()
            self.assertEqual(c.rest(), b"hello\nworld\n\ntwicetwice\n")
        with s.client("port2") as c:
            c.send(b"\0\0\0\4\0\0\0\6hi\0\0\0\7abc")
            c.shut()
            self.assertEqual(c.rest(), b"\0\0\0\4\0\0\0\7hi!\0\0\0\7abc")
        for length in b"\0\0\0\0", b"\0\0\0\3", b"\0\x20\0\0":
            with s.client("port2") as c:
                c.send(b"\0\0\0\4" + length + b"x" * 100)
                self.assertEqual(c.rest(), b"\0\0\0\4")


if __name__ == "__main__":
    flow.main()
