# SPDX-License-Identifier: BSD-2-Clause
"""
Protocols of messages, end to end: what answers them, how they may be cut and batched, what bounds them, how clients
that are silent, hasty or deaf are met, and what is logged.
"""
import json
import time

import flow
from test_slow import entries

PROTOCOLS = r"""
    protocol lines {
        boundary "\n";
        max 64;
        format json;
        answers in_order;
        messages independent;
        error '{"code":${code},"msg":"${reason}"}';
    }
    protocol frames {
        length u16be at 4 counts after;
        header 8;
        max 260;
        fields { txid u16be at 0; unit u8 at 6; func u8 at 7; }
        answers by txid;
        messages independent;
    }
    protocol mute { boundary "\n"; max 64; answers none; messages independent; }
"""
STEPS = r"""
        route when msg.t == "ping"  { reply '{"pong":"${msg.x}"}'; }
        route when msg.t == "drop"  { drop; }
        route when msg.t == "end"   { close; }
        route when msg.t == "bye"   { close "bye"; }
        route when msg.t == "drain" { close "bye" drain; }
        route when msg.t == "deny"  { deny all; echo; }
        route { echo; }
"""


def frame(txid, unit, func, body=b""):
    return b"%c%c\0\0%c%c%c%c" % (txid >> 8, txid & 255, 0, len(body) + 2, unit, func) + body


class Messages(flow.Case):
    def lines(self, more="", steps=STEPS, **names):
        return self.server(PROTOCOLS + """
            server rpc { listen 127.0.0.1:@port@; protocol lines; access_log "access.log" json;
            """ + more + steps + "}\n", **names)

    def talk(self, s, data):
        """All that comes back of it when nothing more is said."""
        with s.client() as c:
            c.send(data)
            c.shut()
            return c.rest()


class Answers(Messages):
    def test_steps(self):
        s = self.lines()
        with s.client() as c:
            c.send(b'{"t":"ping","x":"a\\"b"}\n')
            self.assertEqual(c.until(b"\n"), b'{"pong":"a\\"b"}\n')
            c.send(b'{"t":"drop"}\n{"n":1}\n')
            self.assertEqual(c.until(b"\n"), b'{"n":1}\n')
            c.send(b'{"t":"deny"}\nnot json\n')
            self.assertEqual(c.until(b"\n"), b'{"code":403,"msg":"denied"}\n')
            self.assertEqual(c.until(b"\n"), b"not json\n")
            c.send(b'{"n":2}\n{"t":"end"}\n{"n":3}\n')
            self.assertEqual(c.rest(), b'{"n":2}\n')
        found = entries(s, 7)
        self.assertEqual({(e["protocol"], e["server"], e["src"]) for e in found}, {("lines", "rpc", "127.0.0.1")})
        self.assertEqual([e["bytes_received"] for e in found], [24, 13, 8, 13, 9, 8, 12])
        self.assertEqual([e["bytes_sent"] for e in found], [16, 0, 8, 28, 9, 8, 0])
        self.assertEqual([e.get("reason") for e in found], [None, None, None, "denied", None, None, None])
        self.assertEqual([e.get("status") for e in found], [None, None, None, 403, None, None, None])

    def test_close(self):
        s = self.lines()
        batch = b'{"n":1}\n{"t":"%s"}\n{"n":2}\n{"n":3}\n{"n'
        self.assertEqual(self.talk(s, batch % b"bye"), b'{"n":1}\nbye\n')
        self.assertEqual(self.talk(s, batch % b"drain"), b'{"n":1}\nbye\n{"n":2}\n{"n":3}\n')
        # a client that says nothing more sees the end all the same
        with s.client() as c:
            c.send(b'{"t":"drain"}\n')
            self.assertEqual(c.rest(), b"bye\n")

    def test_by_id(self):
        s = self.server(PROTOCOLS + r"""
            server bus { listen 127.0.0.1:@port@; protocol frames; access_log "access.log" json;
                route when msg.func == 3 { reply "\x01\x02" { unit 9; func "${msg.unit}"; } }
                route when msg.func == 4 { reply "x" { func "${msg.txid}"; } }
                route { echo; } }
        """)
        with s.client() as c:
            c.send(frame(7, 1, 6, b"ab") + frame(0xfffe, 2, 3, b"xyz") + frame(8, 0, 5))
            answers = [frame(7, 1, 6, b"ab"), frame(0xfffe, 9, 2, b"\1\2"), frame(8, 0, 5)]
            self.assertEqual(c.exactly(sum(map(len, answers))), b"".join(answers))
            # a value that does not fit its field is nobody's answer
            c.send(frame(300, 1, 4) + frame(5, 1, 4))
            self.assertEqual(c.rest(), b"")
        found = entries(s, 4)
        self.assertEqual([e["message_id"] for e in found][::2], ["\0\7", "\0\x08"])
        self.assertEqual([e.get("reason") for e in found], [None, None, None, "internal"])

    def test_without_answers(self):
        s = self.server(PROTOCOLS + r"""
            server m { listen 127.0.0.1:@port@; protocol mute; route when msg.body == "a" { drop; } route { echo; } }
        """)
        self.assertEqual(self.talk(s, b"a\nb\na\nc\n"), b"b\nc\n")

    def test_the_text_of_others(self):
        """What is substituted stands in a string of json, and cannot leave it."""
        s = self.lines()
        self.assertEqual(self.talk(s, b'{"t":"ping","x":"\\n\\u0000\\\\"}\n'), b'{"pong":"\\n\\u0000\\\\"}\n')

    def test_limits_by_key(self):
        s = self.server("limit each { key msg.user; rate 5/h; burst 2; }\n" + PROTOCOLS + """
            server rpc { listen 127.0.0.1:@port@; protocol lines; limit each; echo; }
        """)
        over = b'{"code":429,"msg":"rate"}\n'
        one, two = b'{"user":1}\n', b'{"user":2}\n'
        self.assertEqual(self.talk(s, one * 3 + two + one), one * 2 + over + two + over)
        self.assertEqual(self.talk(s, two * 2 + b"{}\n" * 4), two + over + b"{}\n" * 4)

    def test_http_behind(self):
        """A message becomes a POST, whose target and fields are the steps' to say."""
        peer = self.peer(flow.http(lambda q: flow.answer(200, b'{"got":"%s"}' % q.target.encode())))
        s = self.server(PROTOCOLS + """
            upstream web { server @peer@; protocol http; }
            server rpc { listen 127.0.0.1:@port@; protocol lines; access_log "access.log" combined;
                request_header set X-T "${msg.t}";
                route when msg.t exists { rewrite "/rpc/${msg.t}"; proxy web; }
                route { proxy web; } }
        """, peer=peer)
        self.assertEqual(self.talk(s, b'{"t":"a b"}\n{}\n'), b'{"got":"/rpc/a%20b"}\n{"got":"/"}\n')
        first, second = sorted(peer.questions, key=lambda q: q.target, reverse=True)
        self.assertEqual((first.method, first.body, first["X-T"]), ("POST", b'{"t":"a b"}', "a b"))
        self.assertEqual((second.method, second.body, second["Content-Type"]), ("POST", b"{}", "application/json"))

        def logged():
            found = s.read("access.log").splitlines()
            return found if len(found) == 2 else None
        for line in flow.wait_for(logged):
            self.assertRegex(line.decode(), r'^127\.0\.0\.1 - - \[.*\] "MESSAGE rpc lines" \S+ \d+ "-" "-"$')


class Cuts(Messages):
    BATCH = b'{"t":"ping","x":1}\n{"t":"drop"}\n\n{"t":"deny"}\n{"n":12345678}\n{"t":"end"}\n'
    WANTED = b'{"pong":"1"}\n\n{"code":403,"msg":"denied"}\n{"n":12345678}\n'

    def test_every_cut(self):
        s = self.lines()
        for at in range(len(self.BATCH) + 1):
            with s.client() as c:
                c.send_cut(self.BATCH, at)
                self.assertEqual(c.rest(), self.WANTED, at)

    def test_every_byte(self):
        s = self.lines()
        with s.client() as c:
            for i in range(len(self.BATCH)):
                c.send(self.BATCH[i:i + 1])
                time.sleep(0.001)
            self.assertEqual(c.rest(), self.WANTED)

    def test_every_cut_of_frames(self):
        s = self.server(PROTOCOLS + """
            server bus { listen 127.0.0.1:@port@; protocol frames; echo; }
        """)
        batch = frame(1, 2, 3, b"abc") + frame(2, 2, 3) + frame(3, 0, 0, b"\0" * 20)
        for at in range(len(batch) + 1):
            with s.client() as c:
                c.send_cut(batch, at)
                self.assertEqual(c.exactly(len(batch)), batch, at)

    def test_a_thousand(self):
        s = self.lines("max { messages 7; }")
        ones = [b'{"n":%d}\n' % i for i in range(1000)]
        with s.client() as c:
            for one in ones[:200]:
                c.send(one)
                self.assertEqual(c.until(b"\n"), one)
            c.send(b"".join(ones))
            self.assertEqual(c.exactly(sum(map(len, ones))), b"".join(ones))
            c.send(b'{"t":"drop"}\n' * 1000 + b"{}\n")
            self.assertEqual(c.until(b"\n"), b"{}\n")
        self.assertEqual(self.talk(s, b"".join(ones)), b"".join(ones))

    def test_most(self):
        """Exactly max with what ends it, and one over; unfinished, too."""
        s = self.lines()
        most = b"x" * 63 + b"\n"
        bad = b'{"code":400,"msg":"bad_message"}\n'
        self.assertEqual(self.talk(s, most * 3), most * 3)
        self.assertEqual(self.talk(s, most + b"x" + most + most), most + bad)
        with s.client() as c:
            c.send(b"x" * 64)                    # and nothing that would end it
            self.assertEqual(c.rest(), bad)
        self.assertEqual([e.get("reason") for e in entries(s, 6)], [None] * 4 + ["bad_message"] * 2)

    def test_malformed_is_logged(self):
        s = self.server('error_log "error.log" info;\n' + PROTOCOLS + """
            server bus { listen 127.0.0.1:@port@; protocol frames; echo; }
        """)
        with s.client() as c:
            c.send(frame(1, 2, 3) + b"\x00\x01\"\\\n\x00\xff\xffrest")
            self.assertEqual(c.rest(), frame(1, 2, 3))
        line = flow.wait_for(lambda: next((x for x in s.read("error.log").splitlines() if b"malformed" in x), None))
        self.assertIn(rb'frames, too_long: "\x00\x01\x22\x5c\x0a\x00\xff\xffrest"', line)


class Bounds(Messages):
    def late(self, s, data, least, most):
        """What came when it was closed, which was in time."""
        with s.client() as c:
            began = time.monotonic()
            c.send(data)
            got = c.rest()
            took = time.monotonic() - began
        self.assertGreater(took, least)
        self.assertLess(took, most * flow.SLOW)
        return got

    def test_first_message(self):
        s = self.lines("timeout { first_message 300ms; idle 30s; }")
        self.assertEqual(self.late(s, b"", 0.25, 5), b"")
        self.assertEqual(self.late(s, b"{", 0.25, 5), b"")
        with s.client() as c:                    # one that was in time has time
            c.send(b"{}\n")
            self.assertEqual(c.until(b"\n"), b"{}\n")
            time.sleep(0.8)
            c.send(b"{}\n")
            self.assertEqual(c.until(b"\n"), b"{}\n")

    def test_unfinished(self):
        s = self.lines("timeout { message 1s; idle 30s; }")
        late = b'{"code":408,"msg":"message_timeout"}\n'
        self.assertEqual(self.late(s, b'{}\n{"n":', 0.9, 6), b"{}\n" + late)
        with s.client() as c:                    # silence between two is none of its business
            for _ in range(3):
                c.send(b"{}")
                time.sleep(0.5)
                c.send(b"\n")
                self.assertEqual(c.until(b"\n"), b"{}\n")
            time.sleep(1.3)
            c.send(b"{}\n")
            self.assertEqual(c.until(b"\n"), b"{}\n")
        self.assertEqual([e.get("reason") for e in entries(s, 2)][:2], [None, "message_timeout"])

    def test_idle(self):
        s = self.lines("timeout { idle 1s; }")
        self.assertEqual(self.late(s, b"{}\n", 0.9, 6), b"{}\n")

    def test_heartbeat(self):
        s = self.lines("""heartbeat { interval 400ms; send '{"t":"beat"}'; miss 2; }""")
        beat = b'{"t":"beat"}\n'
        self.assertEqual(self.late(s, b"{}\n", 1.0, 8), b"{}\n" + beat * 2)
        with s.client() as c:                    # who answers lives on
            for _ in range(4):
                self.assertEqual(c.until(b"\n"), beat)
                c.send(b'{"t":"drop"}\n')
            c.send(b"{}\n")
            self.assertEqual(c.until(b"{}\n")[-3:], b"{}\n")

    def test_rate_refused(self):
        s = self.lines("message_rate 100/h burst=5 over=refuse;")
        over = b'{"code":429,"msg":"rate"}\n'
        with s.client() as c:
            c.send(b"{}\n" * 8)
            self.assertEqual(c.exactly(15 + 3 * len(over)), b"{}\n" * 5 + over * 3)
        self.assertEqual(self.talk(s, b"{}\n" * 5), b"{}\n" * 5)     # another connection, another count
        self.assertEqual([e.get("reason") for e in entries(s, 8)][:8], [None] * 5 + ["rate"] * 3)

    def test_rate_closed(self):
        s = self.lines("message_rate 100/h burst=5 over=close;")
        self.assertEqual(self.talk(s, b"{}\n" * 8), b"{}\n" * 5 + b'{"code":429,"msg":"rate"}\n')

    def test_rate_waits(self):
        s = self.lines("message_rate 20/s burst=10;")
        began = time.monotonic()
        self.assertEqual(self.talk(s, b'{"n":1}\n' * 20), b'{"n":1}\n' * 20)
        self.assertGreater(time.monotonic() - began, 0.4)

    def test_unanswered(self):
        """No more are read than may be unanswered; the others wait, and are answered in their turn."""
        def script(stream, peer):
            while True:
                line = stream.until(b"\n")
                with peer.lock:
                    peer.questions.append(line)
                while not peer.notes.get("go"):
                    time.sleep(0.01)
                stream.send(line)

        peer = self.peer(script)
        s = self.server(PROTOCOLS + """
            upstream app { server @peer@; protocol lines; pool { connections 1; } }
            server rpc { listen 127.0.0.1:@port@; protocol lines; max { messages 3; }
                route when msg.here == 1 { echo; } route { proxy app; } }
        """, peer=peer)
        with s.client() as c:
            c.send(b"".join(b'{"n":%d}\n' % i for i in range(5)) + b'{"here":1}\n')
            flow.wait_for(lambda: peer.questions)
            time.sleep(0.2)
            self.assertLessEqual(peer.streams[0].buffer.count(b"\n") + len(peer.questions), 3)
            peer.notes["go"] = True
            self.assertEqual([c.until(b"\n") for _ in range(6)],
                             [b'{"n":%d}\n' % i for i in range(5)] + [b'{"here":1}\n'])


class Deaf(Messages):
    """A client that asks and does not read."""
    ASKS = 12000            # more than the kernel takes by itself
    ONE = b'{"t":"%07d","pad":"' + b"x" * 4000 + b'"}\n'

    def deaf(self, more):
        return self.server(PROTOCOLS.replace("max 64;", "max 8k;") + """
            server rpc { listen 127.0.0.1:@port@; protocol lines; """ + more + """ echo; }
        """)

    def ask(self, c):
        """Sends many, as far as they are taken; how many whole ones."""
        data = b"".join(self.ONE % i for i in range(self.ASKS))
        c.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < len(data):
                sent += c.socket.send(data[sent:sent + 65536])
        except (TimeoutError, ConnectionError):
            pass
        c.socket.settimeout(flow.TIME * flow.SLOW)
        return sent

    def numbers(self, got):
        """Of the answers, which are whole."""
        lines = got.split(b"\n")
        for line in lines[:-1]:
            json.loads(line)
        return [int(json.loads(line)["t"]) for line in lines[:-1]]

    def test_waits(self):
        s = self.deaf("buffer { answer 16k; }")
        with s.client(receive_buffer=4096) as c:
            sent = self.ask(c)
            size = len(self.ONE % 0)
            self.assertLess(sent, self.ASKS * size)
            got = self.numbers(c.exactly(sent // size * size))
            self.assertEqual(got, list(range(sent // size)))

    def test_drops(self):
        s = self.deaf("buffer { answer 16k over=drop; }")
        with s.client(receive_buffer=4096) as c:
            self.assertEqual(self.ask(c), self.ASKS * len(self.ONE % 0))
            c.send(b"{}\n")
            c.shut()
            got = self.numbers(c.rest().replace(b"{}\n", b""))
        self.assertEqual(got, sorted(got))
        self.assertEqual(got[:100], list(range(100)))
        self.assertLess(len(got), self.ASKS)
        self.assertNotIn(self.ASKS - 1, got)

    def test_drops_the_oldest(self):
        s = self.deaf("buffer { answer 16k over=drop_oldest; }")
        with s.client(receive_buffer=4096) as c:
            self.assertEqual(self.ask(c), self.ASKS * len(self.ONE % 0))
            c.shut()
            got = self.numbers(c.rest())
        self.assertEqual(got, sorted(got))
        self.assertEqual(got[:100], list(range(100)))
        self.assertLess(len(got), self.ASKS)
        self.assertEqual(got[-3:], list(range(self.ASKS - 3, self.ASKS)))

    def test_closes(self):
        s = self.deaf("buffer { answer 16k over=close; }")
        with s.client(receive_buffer=4096) as c:
            self.ask(c)
            try:
                c.rest()
            except ConnectionResetError:
                pass
            else:
                self.assertTrue(c.ended)
        with s.client() as c:
            c.send(b"{}\n")
            self.assertEqual(c.until(b"\n"), b"{}\n")


if __name__ == "__main__":
    flow.main()
