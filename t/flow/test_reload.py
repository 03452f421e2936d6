# SPDX-License-Identifier: BSD-2-Clause
"""
From one configuration to the next while connections are open: nothing fails, nothing is closed that may go on,
no process ends, and nothing is left behind.

RELOADS says how many the long test makes (100; by hand 1000).
"""
import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import threading
import time

import flow

RELOADS = int(os.environ.get("RELOADS", "0")) or (100 if flow.SLOW == 1 else 40)
KEY = base64.b64encode(b"0123456789abcdef").decode()
HANDSHAKE = ("Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: %s" % KEY)
LINES = 'protocol lines { boundary "\\n"; max 4k; answers in_order; %s }\n'


def websocket(stream, peer):
    """A backend that shakes hands and then echoes bytes: all a tunnel sees."""
    stream.socket.settimeout(None)
    q = stream.question()
    accept = base64.b64encode(hashlib.sha1((q["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
                                           .encode()).digest()).decode()
    stream.send(flow.answer(101, b"", "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: " + accept))
    flow.echo(stream, peer)


def echo(stream, peer):
    stream.socket.settimeout(None)
    flow.echo(stream, peer)


def lines(stream, peer):
    """A backend of lines, which knows on which connection each came."""
    while True:
        line = stream.until(b"\n")
        stream.send(b"%d %s" % (stream.number, line))


def reload(s, text, good=True, main="workers 2;\n"):
    """The verdict, as it stands in the log."""
    before = s.said().count("reloaded")
    s.write("server.conf", "pid \"server.pid\";\n" + main + text)
    s.kill(signal.SIGHUP)
    flow.wait_for(lambda: s.said().count("reloaded") > before, flow.TIME * flow.SLOW)
    said = s.said()
    said = said[said.rindex("]: reloading\n"):]
    if good != ("]: reloaded in " in said):
        raise AssertionError(said)
    return said


def memory(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return int(re.search(r"^Anonymous:\s+(\d+)", f.read(), re.M).group(1))


class Asking(threading.Thread):
    """Asks without a pause; what goes wrong is kept."""

    def __init__(self, what, ask):
        super().__init__(daemon=True)
        self.what, self.ask, self.done, self.count, self.wrong = what, ask, threading.Event(), 0, None
        self.start()

    def run(self):
        try:
            while not self.done.is_set():
                self.ask(self.count)
                self.count += 1
                time.sleep(0.001)
        except Exception as e:      # told when the test looks
            self.wrong = "%s, question %d: %r" % (self.what, self.count, e)

    def finish(self, test):
        """Once it has asked behind all that was done until now, and often enough."""
        enough = max(self.count + 2, 6)
        with contextlib.suppress(AssertionError):
            flow.wait_for(lambda: self.wrong or self.count >= enough, flow.TIME * flow.SLOW)
        self.done.set()
        self.join(flow.TIME * flow.SLOW)
        test.assertIsNone(self.wrong)
        test.assertGreaterEqual(self.count, enough, self.what)


class Case(flow.Case):
    def asking(self, what, ask):
        a = Asking(what, ask)
        self.addCleanup(a.done.set)
        return a

    def client(self, s, name="port", data=b"", answer=b""):
        c = s.client(name)
        self.addCleanup(c.close)
        if data:
            c.send(data)
            self.assertEqual(c.exactly(len(answer)), answer)
        return c

    def fetch(self, c, target="/", **more):
        c.send(flow.request(target, **more))
        return c.answer()


class Many(Case):
    """Everything at once, over and over."""

    def configuration(self, n):
        """Number n: routes, an upstream, a listener and a log of its own; what the clients use stays."""
        bad = n % 3 == 2
        extra = "".join("    route /r%d { return 200 \"%d\"; }\n" % (i, n) for i in range(n % 7))
        return """
            error_log stderr notice;
            defaults { timeout { idle 1h; } }
            protocol lines { boundary "\\n"; max 4k; answers in_order; messages independent; }
            protocol own { boundary "\\n"; max 4k; answers in_order; }
            upstream web { server @web@; pool { idle %d; } }
            upstream shared { server @lines@; }
            upstream mine { server @mine@; }
            upstream changing { server 127.0.0.1:%d; }
            server http {
                listen 127.0.0.1:@port@;
                access_log "access%d.log";
                response_header set X-Number "%d";
            %s
                route /ws { proxy @ws@; }
                route { proxy web; }
            }
            server shared { listen 127.0.0.1:@port2@; protocol lines; proxy shared; }
            server own { listen 127.0.0.1:@port3@; protocol own; proxy mine; }
            server tcp { listen 127.0.0.1:@port4@; protocol tcp; proxy @tcp@; }
            server udp { listen udp:127.0.0.1:@port5@; protocol udp; echo; }
            server changing { listen 127.0.0.1:@port%d@; return 200 "%d"; }
            %s
        """ % (4 + n % 2, 1000 + n % 5, n % 3, n, extra, 6 + n % 3, n, "nonsense;" if bad else ""), not bad

    def start(self):
        peers = {"web": self.peer(flow.http(flow.tell)), "ws": self.peer(websocket), "lines": self.peer(lines),
                 "mine": self.peer(lines), "tcp": self.peer(echo)}
        text, _ = self.configuration(0)
        listens = []
        s = self.server(text, main="workers 2;\n", listens=listens, **peers)
        for name in ("port", "port2", "port3", "port4"):
            flow.wait_for(lambda name=name: flow.listening(s.address(name)))
        for i in (6, 7, 8):
            s.fill("@port%d@" % i)
        flow.wait_for(lambda: "serving:" in s.said())
        return s

    def ask_http(self, s):
        c = self.client(s)

        def ask(n):
            a = self.fetch(c, "/%d" % n)
            assert a.status == 200 and a.text.startswith("GET /%d " % n), a
            assert (a["Connection"] or "") != "close", a

        return ask

    def ask_pipelined(self, s):
        c = self.client(s)

        def ask(n):
            c.send(flow.request("/a%d" % n) + flow.request("/b%d" % n))
            for target in ("/a%d " % n, "/b%d " % n):
                a = c.answer()
                assert a.status == 200 and a.text.startswith("GET " + target), a

        return ask

    def ask_fresh(self, s):
        def ask(n):
            a = s.get("/x%d" % n)
            assert a.status == 200, a

        return ask

    def ask_lines(self, s, name, same):
        c, numbers = self.client(s, name), set()

        def ask(n):
            c.send(b"q%d\nr%d\n" % (n, n))
            for want in (b"q%d\n" % n, b"r%d\n" % n):
                number, said = c.until(b"\n").split(b" ", 1)
                numbers.add(number)
                assert said == want, said
            # Its own connection is the same one to the end.
            assert not same or len(numbers) == 1, numbers

        return ask

    def ask_bytes(self, c):
        def ask(n):
            c.send(b"bytes %d" % n)
            got = c.exactly(len(b"bytes %d" % n))
            assert got == b"bytes %d" % n, got

        return ask

    def ask_udp(self, s):
        c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(c.close)
        c.connect(s.address("port5"))
        c.settimeout(flow.TIME * flow.SLOW)

        def ask(n):
            c.send(b"datagram %d" % n)
            got = c.recv(1000)
            assert got == b"datagram %d" % n, got

        return ask

    def web_socket(self, s):
        c = self.client(s)
        self.assertEqual(self.fetch(c, "/ws", headers=HANDSHAKE).status, 101)
        return c

    def settle(self, s, workers):
        """The same processes as before, and no other: who checked the configuration may take a while to be gone."""
        flow.wait_for(lambda: s.children() == workers, flow.TIME * flow.SLOW, "other workers than %s" % workers)

    def test_many(self):
        s = self.start()
        workers = s.workers()
        asking = [self.asking("http", self.ask_http(s)), self.asking("pipelined", self.ask_pipelined(s)),
                  self.asking("a connection each", self.ask_fresh(s)),
                  self.asking("messages", self.ask_lines(s, "port2", False)),
                  self.asking("messages of its own", self.ask_lines(s, "port3", True)),
                  self.asking("websocket", self.ask_bytes(self.web_socket(s))),
                  self.asking("tcp", self.ask_bytes(self.client(s, "port4"))), self.asking("udp", self.ask_udp(s))]
        idle, kept, first = self.client(s), [], None
        self.fetch(idle)
        served = 0
        for n in range(1, RELOADS + 1):
            text, good = self.configuration(n)
            reload(s, text, good)
            served = n if good else served
            self.assertEqual(self.fetch(idle)["X-Number"], str(served))
            self.assertEqual(s.get(name="port%d" % (6 + served % 3)).text, str(served))
            gone = s.address("port%d" % (6 + (served + 1) % 3))
            flow.wait_for(lambda gone=gone: not flow.listening(gone))
            if len(kept) < 200:
                kept += [self.web_socket(s), self.client(s, "port4", b"hi", b"hi")]
            if n == 10:
                self.settle(s, workers)
                first = (s.descriptors() - 2 * len(kept), sum(map(memory, workers)), len(kept))
        for a in asking:
            a.finish(self)
        for c in kept:
            c.send(b"still here")
            self.assertEqual(c.exactly(10), b"still here")
        self.settle(s, workers)
        # Descriptors: two for each that is kept, else the same but for what is pooled or asked just now.
        self.assertLess(abs(s.descriptors() - 2 * len(kept) - first[0]), 12)
        if flow.SLOW == 1:
            self.assertLess(sum(map(memory, workers)) - first[1], 512 + 12 * (len(kept) - first[2]))
        # What is not configured any more is closed.
        logs = {os.readlink("/proc/%d/fd/%s" % (p, f)) for p in workers for f in os.listdir("/proc/%d/fd" % p)}
        self.assertLessEqual(sum("access" in name for name in logs), 1 + 2 * (len(kept) > 0))


class Listeners(Case):
    BASE = "server a { listen 127.0.0.1:@port@; access_log off; return 200 \"a\"; }\n"

    def slow(self):
        """A backend that answers when it is told to."""
        go = threading.Event()
        self.addCleanup(go.set)

        def respond(q):
            go.wait(flow.TIME * flow.SLOW)
            return flow.answer(200, b"slow")

        return self.peer(flow.http(respond)), go

    def test_added_and_removed(self):
        peer, go = self.slow()
        s = self.server(self.BASE + """
            server b { listen 127.0.0.1:@port2@; route = /slow { proxy @peer@; } route { return 200 "b"; } }
            server c { listen 127.0.0.1:@port3@; protocol tcp; echo; }
            server d { listen unix:@dir@/d.sock; return 200 "d"; }
        """, main="workers 2;\n", peer=peer)
        running, idle, stays = self.client(s, "port2"), self.client(s, "port2"), self.client(s)
        self.fetch(idle), self.fetch(stays)
        talk = self.client(s, "port3", b"x", b"x")
        running.send(flow.request("/slow"))
        flow.wait_for(lambda: peer.questions)
        said = reload(s, self.BASE + "server e { listen 127.0.0.1:@port4@; return 200 \"e\"; }")
        for what in ("added listener 127.0.0.1:%d" % s.names["port4"], "removed listener 127.0.0.1:%d" % s.names["port2"],
                     "removed server b", "added server e"):
            self.assertIn(what, said)
        self.assertEqual(s.get(name="port4").text, "e")
        for name in ("port2", "port3"):
            flow.wait_for(lambda name=name: not flow.listening(s.address(name)))
        self.assertFalse(os.path.exists(os.path.join(s.directory, "d.sock")))
        # Who asks on what is left of it is answered as before, and told that it was the last time.
        a = self.fetch(idle)
        self.assertEqual((a.text, a["Connection"]), ("b", "close"))
        self.assertTrue(idle.ends())
        go.set()
        a = running.answer()
        self.assertEqual((a.text, a["Connection"]), ("slow", "close"))
        self.assertTrue(running.ends())
        talk.send(b"y")
        self.assertEqual(talk.exactly(1), b"y")
        self.assertNotEqual(self.fetch(stays)["Connection"], "close")

    def test_who_waits_is_served(self):
        """Connections that are queued on a listener when it goes."""
        s = self.server(self.BASE + "server b { listen 127.0.0.1:@port2@; return 200 \"b\"; }", main="workers 1;\n")
        worker, = s.workers()
        os.kill(worker, signal.SIGSTOP)
        waiting = [self.client(s, "port2") for _ in range(20)]
        for c in waiting:
            c.send(flow.request())
        s.write("server.conf", "pid \"server.pid\"; workers 1;\n" + self.BASE)
        s.kill(signal.SIGHUP)
        time.sleep(0.2)
        os.kill(worker, signal.SIGCONT)
        self.assertEqual([c.answer().text for c in waiting], ["b"] * 20)
        flow.wait_for(lambda: not flow.listening(s.address("port2")))

    def test_another_protocol(self):
        """New connections speak the new one at once; old ones end with what runs."""
        peer, go = self.slow()
        text = LINES % "" + "server a { listen 127.0.0.1:@port@%s; %s }"
        s = self.server(text % ("", "route = /slow { proxy @peer@; } route { return 200 \"h\"; }"), main="workers 2;\n",
                        peer=peer)
        running, idle = self.client(s), self.client(s)
        self.fetch(idle)
        running.send(flow.request("/slow"))
        flow.wait_for(lambda: peer.questions)
        self.assertIn("changed listener", reload(s, text % ("", "protocol lines; reply \"l\";")))
        new = self.client(s, "port", b"q\n", b"l\n")
        self.assertEqual(self.fetch(idle)["Connection"], "close")
        go.set()
        self.assertEqual(running.answer()["Connection"], "close")
        reload(s, text % (" proxy_protocol", "protocol lines; reply \"p\";"))
        self.assertTrue(new.ends())
        self.client(s, "port", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nq\n", b"p\n")
        other = self.client(s)
        other.send(b"q without a header of PROXY, long enough to be none\n")
        self.assertTrue(other.ends())

    def test_another_declaration(self):
        """A protocol whose framing changes ends its connections; its error text and its routes do not."""
        text = LINES + "server a { listen 127.0.0.1:@port@; protocol lines; %s }"
        s = self.server(text % ("", "reply \"1\";"), main="workers 2;\n")
        c = self.client(s, "port", b"q\n", b"1\n")
        reload(s, text % ("error \"oh\";", "reply \"2\";"))
        c.send(b"q\n")
        self.assertEqual(c.exactly(2), b"2\n")
        reload(s, text.replace("4k", "5k") % ("", "reply \"3\";"))
        self.assertTrue(c.ends())
        self.client(s, "port", b"q\n", b"3\n")

    def test_an_address_in_use(self):
        """One that cannot be bound: nothing changes at all, not even what could."""
        s = self.server(self.BASE, main="workers 2;\n")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            said = reload(s, self.BASE.replace("\"a\"", "\"b\"") + """
                server b { listen 127.0.0.1:@port2@; listen 127.0.0.1:%d; return 200; }
            """ % taken.getsockname()[1], good=False)
            self.assertIn("cannot listen on 127.0.0.1:%d: Address already in use" % taken.getsockname()[1], said)
        self.assertEqual(s.get().text, "a")
        self.assertFalse(flow.listening(s.address("port2")))
        reload(s, self.BASE.replace("\"a\"", "\"b\"") + "server b { listen 127.0.0.1:@port2@; return 200 \"2\"; }")
        self.assertEqual((s.get().text, s.get(name="port2").text), ("b", "2"))

    def test_there_and_away_and_there(self):
        s = self.server(self.BASE, main="workers 2;\n")
        more = self.BASE + "server b { listen 127.0.0.1:@port2@; return 200 \"%d\"; }"
        for n in range(6):
            reload(s, more % n if n % 2 == 0 else self.BASE)
            if n % 2 == 0:
                self.assertEqual({s.get(name="port2").text for _ in range(8)}, {str(n)})
            else:
                self.assertFalse(flow.listening(s.address("port2")))


    def test_datagrams_there_and_away_and_there(self):
        """While a flow still answers from the address, it is kept for the listener that may come back."""
        backend, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for c in (backend, client):
            self.addCleanup(c.close)
            c.settimeout(flow.TIME * flow.SLOW)
        backend.bind(("127.0.0.1", 0))
        text = "server u { listen udp:127.0.0.1:@port2@; protocol udp; proxy udp:127.0.0.1:%d; }\n" % backend.getsockname()[1]
        s = self.server(self.BASE + text, main="workers 2;\n")
        client.connect(s.address("port2"))
        before = s.descriptors()
        for n in range(5):
            client.send(b"q%d" % n)
            _, asks = backend.recvfrom(100)
            reload(s, self.BASE)
            backend.sendto(b"a%d" % n, asks)
            self.assertEqual(client.recv(100), b"a%d" % n)
            reload(s, self.BASE + text)
        client.send(b"q")
        _, asks = backend.recvfrom(100)
        backend.sendto(b"a", asks)
        self.assertEqual(client.recv(100), b"a")
        flow.wait_for(lambda: s.descriptors() <= before + 2)
        reload(s, "drain { deadline 200ms; }\n" + self.BASE)
        flow.wait_for(lambda: not flow.listening((*s.address("port2"), "udp")))


class Turns(Case):
    def test_go_on(self):
        """One question between any two reloads: all are asked in turn, and a weight that was large is no debt."""
        peers = {name: self.peer(flow.http(lambda q, name=name: flow.answer(200, name.encode()))) for name in "abc"}
        text = "upstream u { server @a@%s; server @b@; %s } server a { listen 127.0.0.1:@port@; proxy u; }\n"
        s = self.server(text % ("", "server @c@;"), main="workers 1;\n", **peers)

        def ask(weight, third):
            reload(s, text % (weight, third), main="workers 1;\n")
            return s.get().text

        self.assertEqual("".join(ask("", "server @c@;") for _ in range(9)), "abc" * 3)
        self.assertEqual("".join(ask("", "") for _ in range(6)), "ab" * 3)
        said = "".join(ask(" weight=1000", "server @c@;") for _ in range(3)) + "".join(
            ask("", "server @c@;") for _ in range(9))
        self.assertEqual(said[:3], "aaa")
        self.assertLessEqual({*"abc"}, {*said[3:]})


class Kept(Case):
    """What belongs to a name goes on under it."""

    def test_pool(self):
        """One connection to the peer, whatever else changes; of a peer that goes it is closed, and the others' are not."""
        one, two = (self.peer(flow.http(lambda q: flow.answer(200, b"fine"))) for _ in range(2))
        text = """
            upstream u { server @one@; %s }
            server a { listen 127.0.0.1:@port@; response_header set X-Number "%d"; proxy u; }
        """
        s = self.server(text % ("", 0), main="workers 1;\n", one=one, two=two)
        for n in range(1, 6):
            self.assertEqual(s.get().status, 200)
            reload(s, text % ("", n), main="workers 1;\n")
        self.assertEqual((s.get()["X-Number"], one.accepted), ("5", 1))
        reload(s, text % ("server @two@;", 6), main="workers 1;\n")
        for _ in range(4):
            s.get()
        reload(s, text % ("", 7), main="workers 1;\n")
        self.assertEqual((s.get()["X-Number"], one.accepted, two.accepted), ("7", 1, 1))
        flow.wait_for(lambda: two.streams[0].ended)

    def test_limit(self):
        """Who has asked often enough has, after a reload as before."""
        text = "limit few { key src; rate 3/h; burst 2; } server a { listen 127.0.0.1:@port@; limit few; return 200 \"%d\"; }"
        s, answers = self.server(text % 0, main="workers 2;\n"), []
        for n in range(6):
            answers.append(s.get().status)
            reload(s, text % n, main="workers 2;\n")
        self.assertEqual(answers, [200, 200, 429, 429, 429, 429])


class EverNew(Case):
    """What a configuration no longer names is given back, however many names there were."""

    MAIN = "workers 1; control \"control\";\n"

    def test_limits(self):
        """Each takes a sixteenth of what there is."""
        text = """
            limit l%d { key src; rate 1/h; burst 2; keys 1048576; }
            server a { listen 127.0.0.1:@port@; limit l%d; return 200; }
        """
        s = self.server(text % (0, 0), main="workers 2;\n")
        for n in range(1, 24):
            reload(s, text % (n, n))
            # Where another one's keys were counted before, nothing is.
            self.assertEqual([s.get().status for _ in range(3)], [200, 200, 429])

    def test_beside_one_that_leaves(self):
        """A worker that drains for long keeps what it has, and nothing of what came and went since."""
        text = """
            limit l%d { key src; rate 1/h; burst 2; keys 1048576; }
            server a { listen 127.0.0.1:@port@; limit l%d; return 200; }
            server b { listen 127.0.0.1:@port2@; protocol tcp; echo; }
        """
        s = self.server(text % (0, 0), main="workers 2;\n")
        talks = [self.client(s, "port2", b"x", b"x") for _ in range(16)]
        reload(s, text % (0, 0), main="workers 1;\n")
        for n in range(1, 24):
            reload(s, text % (n, n), main="workers 1;\n")
            self.assertEqual([s.get().status for _ in range(3)], [200, 200, 429])
        flow.wait_for(lambda: len(s.workers()) == 2)
        for c in talks:
            c.send(b"y")
            self.assertEqual(c.exactly(1), b"y")

    def test_peers(self):
        """Those who came last are counted as those who came first; who still has a tunnel stays counted."""
        text = """
            upstream u%d { %s }
            upstream t { server @peer@; }
            server a { listen 127.0.0.1:@port@; protocol tcp; proxy t; }
            server b { listen 127.0.0.1:@port2@; protocol tcp; proxy u%d; }
        """

        def text_of(n):
            names = " ".join("server unix:/%d.%d;" % (n, k) for k in range(255))
            return text % (n, names if n < 12 else "server @last@;", n)

        peer = self.peer(flow.echo)
        s = self.server(text_of(0), main=self.MAIN, peer=peer, last=self.peer(flow.echo))
        kept = self.client(s, "port", b"x", b"x")
        for n in range(1, 13):
            reload(s, text_of(n), main=self.MAIN)
        new = self.client(s, "port2", b"y", b"y")
        status, said, _ = flow.run("-c", s.path, "-p", s.directory, "upstreams", "--json")
        self.assertEqual([(p["taken"], p["in_flight"]) for p in json.loads(said)["peers"]], [(1, 1)] * 2, said)
        kept.send(b"z"), new.send(b"z")
        self.assertEqual(kept.exactly(1) + new.exactly(1), b"zz")


class Verdicts(Case):
    BASE = Listeners.BASE

    def test_what_changed(self):
        text = """
            upstream u { server 127.0.0.1:1; server 127.0.0.1:2; }
            protocol p { boundary "\\n"; max 1k; }
            server a { listen 127.0.0.1:@port@; route /x { proxy u; } route /y { return 200 "y"; } }
        """
        s = self.server(text, main="workers 2;\n")
        said = reload(s, text)
        self.assertIn("nothing changed", said)
        said = reload(s, text.replace("; server 127.0.0.1:2", " weight=2; server 127.0.0.1:3")
                      .replace("1k", "2k").replace("\"y\"", "\"z\""))
        found = re.findall(r"\]: ((?:added|removed|changed) .*)", said)
        self.assertEqual(found, ["changed peer 127.0.0.1:1 of upstream u", "added peer 127.0.0.1:3 of upstream u",
                                 "changed protocol p", "changed route /y of server a",
                                 "removed peer 127.0.0.1:2 of upstream u"])

    def test_all_errors(self):
        s = self.server(self.BASE, main="workers 2;\n")
        said = reload(s, "one; two;\n" + self.BASE, good=False)
        self.assertIn('unknown directive "one"', said)
        self.assertIn('unknown directive "two"', said)
        self.assertIn("not reloaded: the configuration before stays", said)
        self.assertEqual(s.get().text, "a")

    def test_the_file_is_gone(self):
        s = self.server(self.BASE, main="workers 2;\n")
        os.unlink(s.path)
        s.kill(signal.SIGHUP)
        flow.wait_for(lambda: "not reloaded" in s.said())
        self.assertEqual(s.get().text, "a")

    def test_many_at_once(self):
        """What is asked for while one runs is done behind it, once."""
        s = self.server(self.BASE, main="workers 2;\n")
        for n in range(20):
            s.write("next", "pid \"server.pid\"; workers 2;\n" + self.BASE.replace("\"a\"", "\"%d\"" % n))
            os.rename(os.path.join(s.directory, "next"), s.path)
            s.kill(signal.SIGHUP)
        flow.wait_for(lambda: s.get().text == "19")
        flow.wait_for(lambda: s.said().count("]: reloading") == s.said().count("]: reloaded in"))

    def test_what_cannot_change(self):
        s = self.server(self.BASE, main="workers 2;\n")
        said = reload(s, "daemon on;\n" + self.BASE)
        self.assertIn('"daemon" takes effect with the next start', said)


class Processes(Case):
    BASE = Listeners.BASE

    def test_a_worker_dies(self):
        """In the middle of a reload; who comes back serves the new one."""
        big = "".join("server { listen 127.0.0.1:@port@; server_name h%d.x; return 200 \"%%d\"; }\n" % i
                      for i in range(1500))
        s = self.server(big % ((0,) * 1500), main="workers 2;\n", expect_report=True, listens=[])
        flow.wait_for(lambda: "serving:" in s.said())
        for n in range(1, 4):
            workers = s.workers()
            s.write("server.conf", "pid \"server.pid\"; workers 2;\n" + big % ((n,) * 1500))
            s.kill(signal.SIGHUP)
            time.sleep(0.02 * n * flow.SLOW)
            os.kill(workers[n % 2], signal.SIGKILL)
            flow.wait_for(lambda n=n: s.said().count("]: reloaded in") == n, flow.TIME * flow.SLOW)
            flow.wait_for(lambda: len(s.workers()) == 2)
            flow.wait_for(lambda n=n: s.said().count("was ended by signal 9") == n)
            flow.wait_for(lambda n=n: {s.get(host="h7.x").text for _ in range(12)} == {str(n)})

    def test_more_and_fewer_workers(self):
        s = self.server(self.BASE, main="workers 2;\n")
        asking = self.asking("a connection each", lambda n: self.assertEqual(s.get().text, "a"))
        kept = [self.client(s) for _ in range(8)]
        for c in kept:
            self.fetch(c)
        two = s.workers()
        reload(s, self.BASE, main="workers 1;\n")
        flow.wait_for(lambda: s.workers() == two[:1] or len(s.workers()) == 1, 20)
        reload(s, self.BASE, main="workers 2;\n")
        flow.wait_for(lambda: len(s.workers()) == 2)
        self.assertIn(two[0], s.workers())
        asking.finish(self)
        said = reload(s, self.BASE, good=False, main="workers 1000;\n")
        self.assertIn("more workers than there are sockets for", said)
        self.assertEqual(s.get().text, "a")

    def test_another_user(self):
        """Processes of another user take over; what runs in the old ones ends there."""
        if os.geteuid() != 0:
            self.skipTest("needs root")
        go = threading.Event()
        self.addCleanup(go.set)
        peer = self.peer(flow.http(lambda q: go.wait(20) and flow.answer(200, b"slow")))
        text = """
            drain { deadline 500ms; }
            server a { listen 127.0.0.1:@port@; route = /slow { proxy @peer@; } route { return 200 "a"; } }
            server b { listen 127.0.0.1:@port2@; protocol tcp; echo; }
        """
        s = self.server(text, main="workers 2; user nobody;\n", peer=peer)
        old = s.workers()
        running, talk = self.client(s), self.client(s, "port2", b"x", b"x")
        running.send(flow.request("/slow"))
        flow.wait_for(lambda: peer.questions)
        asking = self.asking("a connection each", lambda n: self.assertEqual(s.get().text, "a"))
        reload(s, text, main="workers 2; user daemon;\n")
        flow.wait_for(lambda: len(set(s.workers()) - set(old)) == 2)
        go.set()
        a = running.answer()
        self.assertEqual((a.text, a["Connection"]), ("slow", "close"))
        self.assertTrue(talk.ends())
        flow.wait_for(lambda: not set(s.workers()) & set(old))
        asking.finish(self)

    def test_who_looks_holds_no_listener(self):
        """Neither who checks nor who explains: in a group of sockets they would be given clients, and take none."""
        s = self.server("".join("server { listen 127.0.0.1:@port@; server_name h%d.x; return 200; }\n" % i
                                for i in range(1000)), main="workers 2;\n", listens=[])
        flow.wait_for(lambda: "serving:" in s.said())
        workers = s.workers()
        with open("/proc/net/tcp") as f:
            rows = [line.split() for line in list(f)[1:]]
        listeners = {"socket:[%s]" % r[9] for r in rows if r[3] == "0A" and int(r[1].split(":")[1], 16) == s.port}

        def held(pid):
            try:
                return {os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
            except OSError:             # it ended meanwhile
                return set()

        self.assertTrue(listeners <= held(s.process.pid))
        for words in (("-s", "reload"), ("explain", "--running", "http://h7.x:%d/" % s.port)):
            command = ("-c", s.path, "-p", s.directory, *words)
            asking = self.asking(words[0], lambda n, command=command: self.assertEqual(flow.run(*command)[0], 0))
            flow.wait_for(lambda: any(h and not h & listeners for h in map(held, set(s.children()) - set(workers))))
            asking.done.set()
            asking.join(flow.TIME * flow.SLOW)
            self.assertIsNone(asking.wrong)

    def test_logs(self):
        text = "error_log \"%s\"; server a { listen 127.0.0.1:@port@; access_log \"%s\"; return 200 \"a\"; }"
        s = self.server(text % ("err0", "acc0"), main="workers 1;\n", listens=None)

        def again(errors, access, marks):
            s.write("server.conf", "pid \"server.pid\"; workers 1;\n" + text % (errors, access))
            s.kill(signal.SIGHUP)
            flow.wait_for(lambda: os.path.exists(os.path.join(s.directory, errors)) and
                          s.read(errors).count(b"reloaded in") == marks)

        s.get("/0")
        again("err0", "acc1", 1)
        s.get("/1")
        again("err1", "acc1", 1)
        s.get("/2")
        again("err1", "acc1", 2)
        flow.wait_for(lambda: b"/2" in s.read("acc1"))
        self.assertIn(b"/0", s.read("acc0"))
        self.assertIn(b"/1", s.read("acc1"))
        names = {os.path.basename(os.readlink("/proc/%d/fd/%s" % (p, f)))
                 for p in [s.process.pid, *s.workers()] for f in os.listdir("/proc/%d/fd" % p)}
        self.assertLessEqual({"err1", "acc1"}, names)
        self.assertFalse({"err0", "acc0"} & names)


class Drain(Case):
    def test_deadline_of_a_listener(self):
        """A tunnel of a listener that is gone has so long; one of a listener that stays has no end."""
        text = "drain { deadline %s; }\nserver a { listen 127.0.0.1:@port@; protocol tcp; proxy @peer@; }\n"
        more = "server b { listen 127.0.0.1:@port2@; protocol tcp; proxy @peer@; }\n"
        s = self.server(text % "1h" + more, main="workers 2;\n", peer=self.peer(flow.echo))
        stays, goes = (self.client(s, name, b"x", b"x") for name in ("port", "port2"))
        reload(s, text % "1h")
        goes.send(b"y")
        self.assertEqual(goes.exactly(1), b"y")
        reload(s, text % "1h" + more)
        began = time.monotonic()
        reload(s, text % "500ms")
        self.assertTrue(goes.ends())
        self.assertGreater(time.monotonic() - began, 0.49)
        stays.send(b"y")
        self.assertEqual(stays.exactly(1), b"y")

    def test_deadline_is_of_the_current_configuration(self):
        """Raised, lowered, or pointless because the listener is again what it was."""
        text = "drain { deadline %s; }\nserver a { listen 127.0.0.1:@port@%s; protocol tcp; proxy @peer@; }\n"
        s = self.server(text % ("500ms", ""), main="workers 2;\n", peer=self.peer(flow.echo))
        more = " proxy_protocol"

        def survives(first, second):
            """Whether what the first would have cut lives by the second: if that was there in time, as it mostly is."""
            for deadline in (0.5, 1, 2, 4, 8):
                reload(s, text % ("1h", ""))
                stays, began = self.client(s, "port", b"x", b"x"), time.monotonic()
                reload(s, text % first(deadline))
                reload(s, text % second(deadline))
                if time.monotonic() - began < deadline:
                    time.sleep(deadline + 0.3)
                    stays.send(b"y")
                    self.assertEqual(stays.exactly(1), b"y")
                    return stays
            self.skipTest("two reloads take longer than %d s" % deadline)

        survives(lambda d: ("%dms" % (d * 1000), more), lambda d: ("%dms" % (d * 1000), ""))
        stays = survives(lambda d: ("%dms" % (d * 1000), more), lambda d: ("1h", more))
        reload(s, text % ("500ms", more))
        self.assertTrue(stays.ends())

    def test_deadline_of_quit(self):
        s = self.server("drain { deadline 300ms; } server a { listen 127.0.0.1:@port@; protocol tcp; echo; }",
                        main="workers 2;\n")
        c = self.client(s, "port", b"x", b"x")
        s.kill(signal.SIGQUIT)
        self.assertTrue(c.ends())
        self.assertEqual(s.process.wait(flow.TIME * flow.SLOW), 0)

    def test_too_many_configurations(self):
        """What holds the ninth oldest one is cut."""
        go = threading.Event()
        self.addCleanup(go.set)
        peer = self.peer(flow.http(lambda q: go.wait(20) and flow.answer(200, b"slow")))
        text = "server a { listen 127.0.0.1:@port@; route = /slow { proxy @peer@; } route { return 200 \"%d\"; } }"
        s = self.server(text % 0, main="workers 1;\n", peer=peer)
        held = []
        for n in range(1, 9):
            held.append(self.client(s))
            held[-1].send(flow.request("/slow"))
            flow.wait_for(lambda: len(peer.questions) == len(held))
            reload(s, text % n, main="workers 1;\n")
        self.assertTrue(held[0].ends())
        go.set()
        self.assertEqual([c.answer().text for c in held[1:]], ["slow"] * 7)


if __name__ == "__main__":
    flow.main()
