# SPDX-License-Identifier: BSD-2-Clause
"""Datagrams: flows, their peers, their ends; where answers come from; what is refused, lost, or too much."""
import contextlib
import json
import os
import resource
import select
import signal
import socket
import threading
import time

import flow

ECHO = """
server { listen udp:127.0.0.1:@port@; protocol udp; %s echo; }
"""
PROXY = """
upstream app { server @peer@; }
server { listen udp:127.0.0.1:@port@; protocol udp; access_log "flows.log"; %s }
"""


class DatagramPeer:
    """A backend on UDP: answer(data, number of the source) gives the datagrams that go back."""

    def __init__(self, answer=lambda data, number: [data], ipv6=False):
        self.socket = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("::1" if ipv6 else "127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.shown = ("udp:[::1]:%d" if ipv6 else "udp:127.0.0.1:%d") % self.port
        self.answer = answer
        self.got = []
        self.sources = {}
        self.closed = False
        threading.Thread(target=self.serve, daemon=True).start()

    def __str__(self):
        return self.shown

    def serve(self):
        while True:
            try:
                data, source = self.socket.recvfrom(65536)
            except OSError:
                return
            if self.closed:
                return
            number = self.sources.setdefault(source, len(self.sources))
            self.got.append((number, data))
            for piece in self.answer(data, number):
                with contextlib.suppress(OSError):
                    self.socket.sendto(piece, source)

    def close(self):
        self.closed = True
        with contextlib.suppress(OSError), socket.socket(self.socket.family, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.socket.getsockname())        # wakes it
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Source:
    """A client: its socket is connected, so that an answer from elsewhere is not seen."""

    def __init__(self, address, seconds=flow.TIME * flow.SLOW):
        self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        self.socket.settimeout(seconds)
        self.socket.connect(address)

    def send(self, data):
        self.socket.send(data)

    def get(self):
        return self.socket.recv(65536)

    def ask(self, data):
        self.send(data)
        return self.get()

    def is_silent(self, seconds=0.3):
        return not select.select([self.socket], [], [], seconds)[0]

    def ask_until(self, data, tries=100):
        """A datagram may be lost while somebody leaves."""
        for _ in range(tries):
            with contextlib.suppress(OSError):
                self.send(data)
                if not self.is_silent(0.1):
                    return self.get()
        raise AssertionError("no answer to %r" % data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Case(flow.Case):
    def backend(self, *a, **k):
        p = DatagramPeer(*a, **k)
        self.addCleanup(p.close)
        return p

    def source(self, s, name="port", host="127.0.0.1"):
        c = Source((host, s.names[name]))
        self.addCleanup(c.socket.close)
        return c

    @staticmethod
    def connected(peer):
        """Sockets that are connected to it: flows."""
        with open("/proc/net/udp") as f:
            return sum(line.split()[2].endswith(":%04X" % peer.port) for line in f)

    def closed(self):
        return "udp:" + self.closed_port()


class Echo(Case):
    def test_sizes(self):
        s = self.server(ECHO % "")
        c = self.source(s)
        for n in (1, 0, 100, 1472, 9000, 65507, 0, 3):
            data = os.urandom(n)
            self.assertEqual(c.ask(data), data)

    def test_each_is_one(self):
        """What comes in one batch goes back as it was cut."""
        s = self.server(ECHO % "")
        c = self.source(s)
        sent = [b"%d" % i * (i % 7) for i in range(60)]
        for data in sent:
            c.send(data)
        self.assertEqual([c.get() for _ in sent], sent)

    def test_answers_come_from_where_they_were_asked(self):
        s = self.server("server { listen udp:@port@; protocol udp; echo; }")
        hosts = ["127.0.0.1", "127.0.0.5", "127.1.2.3"] + (["::1"] if flow.have_ipv6() else [])
        for host in hosts:
            with self.subTest(host):
                c = self.source(s, host=host)
                for i in range(3):
                    self.assertEqual(c.ask(b"%d" % i), b"%d" % i)

    def test_answers_of_ipv4_alone(self):
        s = self.server("server { listen udp:0.0.0.0:@port@; protocol udp; echo; }")
        self.assertEqual(self.source(s, host="127.0.0.7").ask(b"x"), b"x")

    def test_tcp_and_udp_on_one_port(self):
        s = self.server("""
            server { listen 127.0.0.1:@port@; return 200 "tcp"; }
            server { listen udp:127.0.0.1:@port@; protocol udp; echo; }
        """)
        self.assertEqual(self.source(s).ask(b"udp"), b"udp")
        self.assertEqual(s.get("/").text, "tcp")

    def test_routes(self):
        s = self.server("""
            server { listen udp:@port@; protocol udp;
                route when dst == 127.0.0.2 { echo; }
                route when src in (127.0.0.0/8) { close; }
            }
        """)
        self.assertEqual(self.source(s, host="127.0.0.2").ask(b"x"), b"x")
        c = self.source(s)
        c.send(b"x")
        c.send(b"x")
        self.assertTrue(c.is_silent())

    def test_flows_at_most(self):
        s = self.server(ECHO % "max { flows 4; }")
        four = [self.source(s) for _ in range(4)]
        for c in four:
            self.assertEqual(c.ask(b"a"), b"a")
        fifth = self.source(s)
        fifth.send(b"b")
        self.assertTrue(fifth.is_silent())
        for c in four:
            self.assertEqual(c.ask(b"c"), b"c")
        for _ in range(4):          # three are kept alive, the fourth has to go
            time.sleep(0.3)
            for c in four[1:]:
                self.assertEqual(c.ask(b"d"), b"d")
        self.assertEqual(fifth.ask(b"e"), b"e")
        self.assertEqual(four[2].ask(b"f"), b"f")

    def test_garbage_is_no_load(self):
        """More sources than flows, each once: those who are known are still answered."""
        s = self.server(ECHO % "max { flows 100; }")
        c = self.source(s)
        for _ in range(20):
            for _ in range(20):
                with Source(s.address()) as other:
                    other.send(b"x")
            self.assertEqual(c.ask(b"y"), b"y")

    def test_a_worker_dies(self):
        s = self.server(ECHO % "", main="workers 2;\n", expect_report=True)
        sources = [self.source(s) for _ in range(8)]
        for c in sources:
            self.assertEqual(c.ask(b"a"), b"a")
        for p in s.workers():
            os.kill(p, signal.SIGKILL)
            for c in sources:
                self.assertEqual(c.ask_until(b"b"), b"b")
            flow.wait_for(lambda: len(s.workers()) == 2)


class Reload(Case):
    def test_flows_go_on(self):
        """A flow stays with its peer; one of a listener that is gone is not answered any more."""
        first, second = (self.backend(lambda d, n, i=i: [b"%d" % i + d]) for i in range(2))
        text = "server { listen udp:127.0.0.1:@port@; protocol udp; proxy %s; }"
        s = self.server(text % first + "server { listen 127.0.0.1:@port2@; return 200; }", main="workers 2;\n")
        old = [self.source(s) for _ in range(6)]
        for c in old:
            self.assertEqual(c.ask(b"a"), b"0a")

        def reload(text):
            s.write("server.conf", "pid \"server.pid\"; workers 2; " + text)
            before = s.said().count("reloaded in")
            s.kill(signal.SIGHUP)
            flow.wait_for(lambda: s.said().count("reloaded in") > before)

        reload(text % second + "server { listen 127.0.0.1:@port2@; return 200; }")
        for c in old:
            self.assertEqual(c.ask(b"b"), b"0b")
        self.assertEqual(self.source(s).ask(b"c"), b"1c")
        reload("server { listen 127.0.0.1:@port2@; return 200; }")
        for c in old:
            with contextlib.suppress(ConnectionRefusedError):
                c.send(b"d")
                self.assertTrue(c.is_silent(0.05))


class Proxy(Case):
    def test_there_and_back(self):
        peer = self.backend()
        s = self.server(PROXY % "proxy app;", peer=peer)
        c = self.source(s)
        for i, n in enumerate((5, 0, 65507, 1, 1472, 0, 9)):
            data = os.urandom(n)
            self.assertEqual(c.ask(data), data, i)
        self.assertEqual(len(peer.sources), 1)

    def test_an_address_in_place(self):
        peer = self.backend()
        s = self.server("server { listen udp:@port@; protocol udp; proxy @peer@; }", peer=peer)
        self.assertEqual(self.source(s).ask(b"x"), b"x")

    def test_ipv6(self):
        if not flow.have_ipv6():
            self.skipTest("no IPv6 here")
        s = self.server("server { listen udp:[::1]:@port@; protocol udp; proxy @peer@; }", peer=self.backend(ipv6=True))
        self.assertEqual(self.source(s, host="::1").ask(b"x"), b"x")

    def test_many_answers(self):
        """Nobody counts them: a flow is no question and answer."""
        s = self.server(PROXY % "proxy app;", peer=self.backend(lambda d, n: [d] * 20))
        c = self.source(s)
        for data in (b"a", b"", b"b"):
            c.send(data)
            self.assertEqual([c.get() for _ in range(20)], [data] * 20)

    def test_the_peer_is_told_first_and_speaks_later(self):
        peer = self.backend(lambda d, n: [])
        s = self.server(PROXY % "proxy app;", peer=peer)
        c = self.source(s)
        c.send(b"hello")
        flow.wait_for(lambda: peer.got)
        time.sleep(0.2)
        peer.socket.sendto(b"later", list(peer.sources)[0])
        self.assertEqual(c.get(), b"later")
        peer.socket.sendto(b"", list(peer.sources)[0])
        self.assertEqual(c.get(), b"")

    def test_one_way(self):
        peer = self.backend(lambda d, n: [])
        s = self.server(PROXY % "proxy app;", peer=peer)
        c = self.source(s)
        sent = [(0, b"line %d" % i) for i in range(50)]
        for _, data in sent:
            c.send(data)
        flow.wait_for(lambda: len(peer.got) == 50)
        self.assertEqual(peer.got, sent)

    def test_strangers_are_not_heard(self):
        peer, stranger = self.backend(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(stranger.close)
        s = self.server(PROXY % "proxy app;", peer=peer)
        c = self.source(s)
        self.assertEqual(c.ask(b"x"), b"x")
        stranger.bind(("127.0.0.1", 0))
        stranger.sendto(b"poison", list(peer.sources)[0])
        self.assertTrue(c.is_silent())
        self.assertEqual(c.ask(b"y"), b"y")

    def test_a_thousand_sources(self):
        count = 1000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < count + 200:
            self.skipTest("too few descriptors are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
        peer = self.backend(lambda d, n: [b"%d:" % n + d])
        s = self.server(PROXY % "proxy app;", peer=peer, main="workers 2;\n")
        sources = [self.source(s) for _ in range(count)]
        numbers = {}
        for turn in range(3):
            for first in range(0, count, 50):
                some = list(enumerate(sources))[first:first + 50]
                for i, c in some:
                    c.send(b"%d.%d" % (i, turn))
                for i, c in some:
                    number, data = c.get().split(b":")
                    self.assertEqual(data, b"%d.%d" % (i, turn))
                    self.assertEqual(numbers.setdefault(i, number), number, "a flow has moved")
        self.assertEqual(len(peer.sources), count)

    def test_answers_end_a_flow(self):
        peer = self.backend()
        s = self.server(PROXY % "proxy app answers=1;", peer=peer)
        c = self.source(s)
        for i in range(20):
            self.assertEqual(c.ask(b"%d" % i), b"%d" % i)
        flow.wait_for(lambda: not self.connected(peer))
        # The kernel draws the ports: now and then it draws one again.
        self.assertGreater(len(peer.sources), 16)
        descriptors = s.descriptors()
        for i in range(20):
            self.assertEqual(c.ask(b"%d" % i), b"%d" % i)
        self.assertGreater(len(peer.sources), 34, "each flow has a port of its own")
        self.assertLessEqual(s.descriptors(), descriptors + 1)
        c.send(b"a")
        c.send(b"b")
        self.assertEqual({c.get(), c.get()}, {b"a", b"b"})
        flow.wait_for(lambda: not self.connected(peer))
        flow.wait_for(lambda: s.read("flows.log").count(b"\n") >= 21)

    def test_an_answer_that_comes_twice(self):
        """The second time it is nobody's, and not of whoever asks next."""
        peer = self.backend(lambda data, number: [data] if data == b"quick" else [])
        s = self.server(PROXY % "proxy app answers=1;", peer=peer)
        for _ in range(10):
            self.assertEqual(self.source(s).ask(b"quick"), b"quick")
            before = len(peer.got)
            c = self.source(s)
            c.send(b"slow")
            flow.wait_for(lambda: len(peer.got) > before)
            ports = {number: source for source, number in peer.sources.items()}
            quick, slow = (ports[number] for number, _ in peer.got[-2:])
            with contextlib.suppress(OSError):
                peer.socket.sendto(b"quick", quick)
            peer.socket.sendto(b"slow", slow)
            self.assertEqual(c.get(), b"slow")

    def test_a_question_without_an_answer(self):
        """What comes late comes to nobody else."""
        peer = self.backend(lambda data, number: [] if data == b"slow" else [data])
        s = self.server(PROXY % "timeout { idle 1s; } proxy app answers=1;", peer=peer)
        slow = self.source(s)
        slow.send(b"slow")
        flow.wait_for(lambda: peer.got)
        late = next(iter(peer.sources))
        for i in range(5):
            self.assertEqual(self.source(s).ask(b"%d" % i), b"%d" % i)
        flow.wait_for(lambda: s.read("flows.log").count(b"\n") >= 6)
        peer.socket.sendto(b"late", late)
        c = self.source(s)
        self.assertEqual(c.ask(b"x"), b"x")
        self.assertTrue(c.is_silent(0.1) and slow.is_silent(0.1))
        self.assertGreater(len(peer.sources), 5)

    def test_silence_ends_a_flow(self):
        peer = self.backend()
        s = self.server(PROXY % "timeout { idle 1s; } proxy app;", peer=peer)
        c, silent = self.source(s), self.source(s)
        silent.ask(b"x")
        self.assertEqual(self.connected(peer), 1)
        for _ in range(6):
            time.sleep(0.3)
            self.assertEqual(c.ask(b"x"), b"x")
        self.assertEqual(len(peer.sources), 2)
        flow.wait_for(lambda: not self.connected(peer))
        self.assertEqual(c.ask(b"y"), b"y")
        self.assertEqual(len(peer.sources), 3)
        flow.wait_for(lambda: s.read("flows.log").count(b"\n") >= 2)

    def test_refused(self):
        s = self.server(PROXY % "proxy app;", peer=self.closed())
        c = self.source(s)
        for _ in range(50):
            with contextlib.suppress(ConnectionRefusedError):
                c.send(b"x")
        self.assertTrue(c.is_silent())
        self.assertIn(s.said().count("refused"), (1, 2), "a line for many")

    def test_the_next_peer(self):
        for answers in ("", "answers=1"):
            with self.subTest(answers):
                s = self.server("""
                    upstream app { server @bad@ max_fails=0; server @good@; }
                    server { listen udp:127.0.0.1:@port@; protocol udp; proxy app %s; }
                """ % answers, bad=self.closed(), good=self.backend())
                for _ in range(6):
                    c = self.source(s)
                    self.assertEqual(c.ask(b"hello"), b"hello")
                    self.assertEqual(c.ask(b""), b"")

    def test_the_next_peer_gets_all(self):
        good = self.backend()
        s = self.server("""
            upstream app { server @bad@; server @good@ backup; }
            server { listen udp:127.0.0.1:@port@; protocol udp; proxy app; }
        """, bad=self.closed(), good=good)
        c = self.source(s)
        for i in range(3):
            c.send(b"%d" % i)
        self.assertEqual([c.get() for _ in range(3)], [b"0", b"1", b"2"])

    def test_the_peer_goes(self):
        """A flow whose peer has answered stays with it; a new one goes to who is left."""
        first, second = self.backend(), self.backend()
        s = self.server("""
            upstream app { server @first@; server @second@ backup; }
            server { listen udp:127.0.0.1:@port@; protocol udp; proxy app; }
        """, first=first, second=second)
        c = self.source(s)
        self.assertEqual(c.ask(b"a"), b"a")
        first.close()
        self.assertEqual(c.ask_until(b"b"), b"b")
        self.assertTrue(second.got)

    def test_in_turn(self):
        peers = [self.backend(lambda d, n, i=i: [b"%d" % i]) for i in range(3)]
        s = self.server("""
            upstream app { server @a@; server @b@; server @c@; }
            server { listen udp:127.0.0.1:@port@; protocol udp; proxy app answers=1; }
        """, a=peers[0], b=peers[1], c=peers[2])
        got = [self.source(s).ask(b"?") for _ in range(9)]
        self.assertEqual({g: got.count(g) for g in got}, {b"0": 3, b"1": 3, b"2": 3})

    def test_no_more_connections(self):
        """Peers take descriptors: flows that are silent go for new ones, nobody is stuck."""
        s = self.server("connections 16;\n" + PROXY % "proxy app;", peer=self.backend(), expect_report=True)
        for i in range(15):
            self.assertEqual(self.source(s).ask(b"%d" % i), b"%d" % i)
        time.sleep(1.2)
        for i in range(10):
            self.assertEqual(self.source(s).ask_until(b"%d" % i), b"%d" % i)

    def test_the_last_answer(self):
        """Who leaves in order hands on what is under way."""
        peer = self.backend(lambda d, n: [])
        s = self.server(PROXY % "proxy app;", peer=peer)
        c = self.source(s)
        c.send(b"question")
        flow.wait_for(lambda: peer.got)
        s.kill(signal.SIGQUIT)
        time.sleep(0.3)
        peer.socket.sendto(b"answer", list(peer.sources)[0])
        self.assertEqual(c.get(), b"answer")
        flow.wait_for(lambda: s.process.poll() is not None)


IDS = """
protocol ids { datagram; max 600; format binary; fields { id u16be at 0; kind u8 at 2; } answers by id;
    messages independent; error "${id}"; }
"""
LINES = 'protocol lines { boundary "\\n"; max 20; answers in_order; error "no: ${reason}"; }\n'


class Messages(Case):
    """Protocols of messages: a datagram is one, or holds some."""

    def test_some_in_one(self):
        s = self.server(LINES + """
            server { listen udp:127.0.0.1:@port@; listen 127.0.0.1:@port@; protocol lines;
                route when msg.body == "quiet" { drop; } route { echo; } }
        """)
        c = self.source(s)
        c.send(b"one\ntwo\nquiet\nthree\n")
        self.assertEqual([c.get() for _ in range(3)], [b"one\n", b"two\n", b"three\n"])
        with s.client() as t:
            t.send(b"one\ntwo\nquiet\nthree\n")
            self.assertEqual(t.exactly(14), b"one\ntwo\nthree\n")

    def test_what_is_left_is_dropped(self):
        """A rest is never the beginning of the next datagram, and what is malformed ends no flow."""
        s = self.server(LINES + "server { listen udp:127.0.0.1:@port@; protocol lines; echo; }")
        c = self.source(s)
        for bad in (b"", b"hal", b"x" * 21, b"x" * 65500, b"\n" * 3):
            c.send(b"before\n" + bad)
            self.assertEqual(c.get(), b"before\n")
            c.send(b"f\n")
            got = []
            while b"f\n" not in got:
                got.append(c.get())
            self.assertLessEqual(len(got), 4)
        self.assertTrue(c.is_silent())

    def test_ids_are_not_guessed(self):
        """No two the same before all others were there, and none follows from those before it."""
        seen = []

        def answer(data, number):
            seen.append(int.from_bytes(data[:2], "big"))
            return [data]

        peer = self.backend(answer)
        s = self.server(IDS + """
            upstream app { server @peer@; pool { connections 1; } }
            server { listen udp:127.0.0.1:@port@; protocol ids; proxy app; }
        """, peer=peer)
        c = self.source(s)
        for i in range(300):
            c.send(b"\0\1%d." % i)
            self.assertEqual(c.get(), b"\0\1%d." % i)
        self.assertEqual(len(set(seen)), 300)
        near = sum(abs(a - b) < 1000 for a, b in zip(seen, seen[1:]))
        self.assertLess(near, 60)
        self.assertGreater(max(seen), 0x8000)

    def test_ids(self):
        """Many clients with the same ids on one socket: each gets its own answer, under its own id."""
        held = []

        def answer(data, number):
            if data[2:] == b"late":
                held.append(data)
                return []
            return [data[:2] + b"re:" + data[2:]] + [held.pop()[:2] + b"re:late" for _ in range(len(held))]

        peer = self.backend(answer)
        s = self.server(IDS + """
            upstream app { server @peer@; pool { connections 1; } }
            server { listen udp:127.0.0.1:@port@; protocol ids; proxy app; }
        """, peer=peer)
        sources = [self.source(s) for _ in range(30)]
        sources[0].send(b"\0\1late")
        flow.wait_for(lambda: held)
        for i, c in enumerate(sources[1:]):
            c.send(b"\0\1from %d" % i)
        for i, c in enumerate(sources[1:]):
            self.assertEqual(c.get(), b"\0\1re:from %d" % i)
        self.assertEqual(sources[0].get(), b"\0\1re:late")
        self.assertEqual(len(peer.sources), 1)

    def test_lost_answers(self):
        """They are not waited for for ever, and take no place of others."""
        peer = self.backend(lambda d, n: [] if d[2:] == b"lost" else [d])
        s = self.server(IDS + """
            upstream app { server @peer@; timeout { header 300ms; } pool { connections 1; } retry 0; max_inflight 50; }
            server { listen udp:127.0.0.1:@port@; protocol ids; proxy app; }
        """, peer=peer)
        c = self.source(s)
        for turn in range(3):
            for i in range(40):
                c.send(b"%c%clost" % (turn, i))
            time.sleep(0.6)
            c.send(b"abfine")
            flow.wait_for(lambda: c.get() == b"abfine")
        while not c.is_silent():
            c.get()
        self.assertEqual(c.ask(b"cdfine"), b"cdfine")

    def test_garbage_of_a_peer(self):
        peer = self.backend(lambda d, n: [b"", b"x", b"\xff\xffnobody's", d, d])
        s = self.server(IDS + """
            server { listen udp:127.0.0.1:@port@; protocol ids; proxy @peer@; }
        """, peer=peer)
        c = self.source(s)
        for i in range(10):
            self.assertEqual(c.ask(b"\0%chello" % i), b"\0%chello" % i)
        self.assertTrue(c.is_silent())

    def test_the_next_peer(self):
        s = self.server(IDS + """
            upstream app { server @bad@; server @good@; }
            server { listen udp:127.0.0.1:@port@; protocol ids; proxy app; }
        """, bad=self.closed(), good=self.backend())
        c = self.source(s)
        for i in range(6):
            self.assertEqual(c.ask(b"\0%cx" % i), b"\0%cx" % i)

    def test_http_in_front(self):
        s = self.server(IDS + """
            upstream app { server @peer@; protocol ids; }
            server { listen 127.0.0.1:@port@; proxy app; }
        """, peer=self.backend(lambda d, n: [d[:2] + b"re:" + d[2:]]))
        self.assertIn("re:", s.get("/", method="POST", body=b"\0\0question").text)

    def test_tcp_in_front(self):
        s = self.server("""
            protocol ids { length u16be at 0 counts whole; max 600; fields { id u16be at 2; } answers by id;
                messages independent; }
            upstream app { server @peer@; }
            server { listen 127.0.0.1:@port@; protocol ids; proxy app; }
        """, peer=self.backend())
        with s.client() as c:
            c.send(b"\0\5\0\7a" + b"\0\5\0\7b")
            self.assertEqual({c.exactly(5), c.exactly(5)}, {b"\0\5\0\7a", b"\0\5\0\7b"})


DEVICES = """
protocol dev { datagram; max 600; format json; %s }
upstream app { server @peer@; }
server { listen udp:127.0.0.1:@port@; protocol dev; access_log "flows.log" json; flow by msg.device; %s }
"""
BY_ID = "answers by id; messages independent;"


def says(device, **more):
    return json.dumps({"device": device, **more}).encode()


class OfAValue(Case):
    """Flows by a field of their messages."""

    def test_a_device_moves(self):
        peer = self.backend(lambda data, number: [b'{"flow":%d}' % number])
        s = self.server(DEVICES % ("", "proxy app;"), peer=peer)
        one, two = self.source(s), self.source(s)
        for c in (one, two, two, one):
            self.assertEqual(c.ask(says("a")), b'{"flow":0}')
        two.send(says("a"))
        two.get()
        peer.socket.sendto(b'{"later":1}', list(peer.sources)[0])
        self.assertEqual(two.get(), b'{"later":1}')
        self.assertTrue(one.is_silent(0.1))

    def test_devices_of_one_source(self):
        peer = self.backend(lambda data, number: [b'{"flow":%d}' % number])
        s = self.server(DEVICES % ("", "proxy app;"), peer=peer)
        c = self.source(s)
        for number, device in enumerate(("a", "b", "", "a" * 500)):
            for _ in range(2):
                self.assertEqual(c.ask(says(device)), b'{"flow":%d}' % number)

    def test_without_a_value(self):
        """They are of their source, and of no device."""
        peer = self.backend(lambda data, number: [b'{"flow":%d}' % number])
        s = self.server(DEVICES % ("", "proxy app;"), peer=peer)
        one, two = self.source(s), self.source(s)
        self.assertEqual(one.ask(says("a")), b'{"flow":0}')
        for bad in (b'{"id":1}', b"no JSON", b'{"device":', b'["device"]'):
            self.assertEqual(one.ask(bad), b'{"flow":1}', bad)
            self.assertEqual(two.ask(bad), b'{"flow":2}', bad)
        self.assertEqual(two.ask(says("a")), b'{"flow":0}')

    def test_silence_ends_it(self):
        peer = self.backend(lambda data, number: [b'{"flow":%d}' % number])
        s = self.server(DEVICES % ("", "timeout { idle 1s; } proxy app;"), peer=peer)
        for _ in range(5):          # another port each time: it is not silent
            self.assertEqual(self.source(s).ask(says("a")), b'{"flow":0}')
            time.sleep(0.4)
        flow.wait_for(lambda: not self.connected(peer))
        self.assertEqual(self.source(s).ask(says("a")), b'{"flow":1}')

    def test_answers_under_way(self):
        """They go to where the device is now."""
        held = []
        peer = self.backend(lambda data, number: held.append(data) or [])
        s = self.server(DEVICES % (BY_ID, "proxy app;"), peer=peer)
        sources = [self.source(s) for _ in range(4)]
        for i, c in enumerate(sources):
            c.send(says("a", id=i))
        flow.wait_for(lambda: len(held) == 4)
        for data in held:
            peer.socket.sendto(data, list(peer.sources)[0])
        self.assertEqual(sorted(json.loads(sources[3].get())["id"] for _ in held), [0, 1, 2, 3])
        self.assertTrue(all(c.is_silent(0.1) for c in sources[:3]))

    def test_messages_of_one_datagram(self):
        """The first says whose it is."""
        s = self.server("""
            protocol lines { boundary "\\n"; max 100; empty ignore; format words; answers in_order; }
            server { listen udp:127.0.0.1:@port@; protocol lines; max { flows 1; } flow by msg[0]; echo; }
        """)
        one, two = self.source(s), self.source(s)
        for c in (one, two):
            c.send(b"\n\na 1\nb 2\n")
            self.assertEqual([c.get(), c.get()], [b"a 1\n", b"b 2\n"])
        two.send(b"b 3\n")
        self.assertTrue(two.is_silent(0.2), "there is room for one")
        self.assertEqual(one.ask(b"a 4\n"), b"a 4\n")

    def test_all_workers(self):
        """Sources are not shared out where a device may have any of them, whoever serves them."""
        peer = self.backend(lambda data, number: [b'{"flow":%d}' % number])
        s = self.server(DEVICES % ("", "proxy app;"), peer=peer, main="workers 4;\n", expect_report=True)
        for _ in range(40):
            self.assertEqual(self.source(s).ask(says("a")), b'{"flow":0}')
        flow.wait_for(lambda: "serving: 4 workers" in s.said())
        for p in s.workers():
            os.kill(p, signal.SIGKILL)
            self.source(s).ask_until(says("a"))
        flow.wait_for(lambda: len(s.workers()) == 4)
        # the socket may be on its way back to its own worker
        flow.wait_for(lambda: len({self.source(s).ask_until(says("a")) for _ in range(40)}) == 1)


class Dns(Case):
    """Real questions, by a real client, of a real server."""

    def test_dig(self):
        dig, dnsmasq = self.need("dig", "dnsmasq")
        ports = flow.Ports()
        self.addCleanup(ports.close)
        port = ports.take()
        self.process(dnsmasq, "--keep-in-foreground", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                     "--pid-file=", "--listen-address=127.0.0.1", "--bind-interfaces", "--port=%d" % port,
                     "--address=/one.example/192.0.2.1", "--txt-record=long.example," + ",".join(["x" * 200] * 10))
        flow.wait_for(lambda: flow.listening(("127.0.0.1", port, "udp")))
        s = self.server("""
            upstream resolvers { server udp:127.0.0.1:%d; }
            server { listen udp:127.0.0.1:@port@; protocol udp; timeout { idle 5s; } proxy resolvers answers=1; }
            server { listen 127.0.0.1:@port@; protocol tcp; proxy 127.0.0.1:%d; }
        """ % (port, port))

        def ask(*words):
            p = self.process(dig, "@127.0.0.1", "-p", str(s.port), "+short", "+tries=3", "+time=3", *words, stdout=-1)
            return p.communicate(timeout=30)[0].decode().split()

        self.assertEqual(ask("one.example", "A"), ["192.0.2.1"])
        self.assertEqual(ask("one.example", "A", "one.example", "A"), ["192.0.2.1"] * 2)
        self.assertGreater(len(ask("+bufsize=4096", "long.example", "TXT")), 9)
        self.assertGreater(len(ask("+bufsize=512", "long.example", "TXT")), 9)       # cut, and asked again over TCP
        self.assertEqual(ask("nowhere.invalid", "A"), [])


if __name__ == "__main__":
    flow.main()
