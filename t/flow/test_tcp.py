# SPDX-License-Identifier: BSD-2-Clause
"""Bytes from here to there: half-close, back-pressure, timeouts, resets, PROXY lines, Unix sockets, IPv6."""
import hashlib
import os
import select
import socket
import struct
import time

import flow

TCP = """
upstream app { server @peer@; %s }
server { listen 127.0.0.1:@port@ %s; protocol tcp; %s proxy app; }
"""
PLAIN = TCP % ("", "", "")

V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command, family, payload):
    return V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(payload)) + payload


def v2_tcp4(source, port, tail=b""):
    return v2(1, 0x11, socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", port, 80) + tail)


class Talk(flow.Case):
    def test_there_and_back(self):
        s = self.server(PLAIN, peer=self.peer(flow.echo))
        with s.client() as c:
            for i in range(100):
                c.send(b"%d\n" % i)
                self.assertEqual(c.until(b"\n"), b"%d\n" % i)

    def test_the_peer_speaks_first(self):
        s = self.server(PLAIN, peer=self.peer(lambda stream, peer: stream.send(b"220 hello\r\n") or stream.rest()))
        with s.client() as c:
            self.assertEqual(c.until(b"\r\n"), b"220 hello\r\n")

    def test_half_close_by_the_client(self):
        s = self.server(PLAIN, peer=self.peer(lambda stream, peer: stream.send(b"all: " + stream.rest())))
        with s.client() as c:
            c.send(b"question")
            c.shut()
            self.assertEqual(c.rest(), b"all: question")

    def test_half_close_by_the_peer(self):
        def script(stream, peer):
            stream.send(b"first")
            stream.shut()
            peer.notes["got"] = stream.rest()

        peer = self.peer(script)
        s = self.server(PLAIN, peer=peer)
        with s.client() as c:
            self.assertEqual(c.rest(), b"first")
            c.send(b"then")
            c.shut()
            self.assertEqual(flow.wait_for(lambda: peer.notes.get("got")), b"then")

    def test_closed_at_once(self):
        """Data and the end in one go are not lost."""
        s = self.server(PLAIN, peer=self.peer(lambda stream, peer: stream.send(b"x" * 100000)))
        for _ in range(20):
            with s.client() as c:
                self.assertEqual(len(c.rest()), 100000)

    def test_the_client_is_gone_at_once(self):
        peer = self.peer(lambda stream, peer: peer.notes.setdefault("got", []).append(stream.rest()))
        s = self.server(PLAIN, peer=peer)
        for _ in range(20):
            with s.client() as c:
                c.send(b"y" * 1000)
        flow.wait_for(lambda: len(peer.notes.get("got", [])) == 20)
        self.assertEqual(set(peer.notes["got"]), {b"y" * 1000})

    def test_reset_by_the_peer(self):
        def script(stream, peer):
            stream.more()
            stream.reset()

        s = self.server(PLAIN, peer=self.peer(script))
        with s.client() as c:
            c.send(b"x")
            self.assertTrue(c.ends())

    def test_reset_by_the_client(self):
        def script(stream, peer):
            try:
                stream.rest()
            except ConnectionResetError:
                pass
            peer.notes["over"] = True

        peer = self.peer(script)
        s = self.server(PLAIN, peer=peer)
        c = s.client()
        c.send(b"x")
        flow.wait_for(lambda: peer.accepted)
        c.reset()
        flow.wait_for(lambda: peer.notes.get("over"))

    def test_refused(self):
        s = self.server(PLAIN, peer=self.closed_port())
        for _ in range(5):
            with s.client() as c:
                self.assertTrue(c.ends())

    def test_the_next_peer(self):
        s = self.server("""
            upstream app { server @bad@; server @good@; }
            server { listen 127.0.0.1:@port@; protocol tcp; proxy app; }
        """, bad=self.closed_port(), good=self.peer(flow.echo))
        for _ in range(6):
            with s.client() as c:
                c.send(b"hello")
                self.assertEqual(c.exactly(5), b"hello")

    def test_idle(self):
        s = self.server(TCP % ("", "", "timeout { idle 1s; }"), peer=self.peer(flow.echo))
        with s.client() as c:
            c.send(b"x")
            c.exactly(1)
            for _ in range(4):          # bytes in either direction keep it alive
                time.sleep(0.5)
                c.send(b"x")
                c.exactly(1)
            before = time.monotonic()
            self.assertTrue(c.ends())
            self.assertGreater(time.monotonic() - before, 0.5)

    def test_handlers_of_bytes(self):
        s = self.server("""
            server { listen 127.0.0.1:@port@; protocol tcp; echo; }
            server { listen 127.0.0.1:@port2@; protocol tcp; close; }
            server { listen 127.0.0.1:@port3@; protocol tcp; deny 127.0.0.0/8; echo; }
        """)
        with s.client() as c:
            c.send(b"hello")
            self.assertEqual(c.exactly(5), b"hello")
            c.shut()
            self.assertTrue(c.ends())
        for name in ("port2", "port3"):
            with s.client(name) as c:
                self.assertTrue(c.ends())

    def test_unix_on_both_sides(self):
        d = self.directory()
        peer = self.peer(flow.echo, path=d + "/peer.sock")
        s = self.server("server { listen unix:@d@/here.sock mode=0666; protocol tcp; proxy @peer@; }", peer=peer, d=d)
        self.assertEqual(os.stat(d + "/here.sock").st_mode & 0o777, 0o666)
        with flow.Client(d + "/here.sock") as c:
            c.send(b"hello")
            c.shut()
            self.assertEqual(c.rest(), b"hello")
        s.stop()
        self.assertFalse(os.path.exists(d + "/here.sock"), "the socket's path was left behind")

    def test_ipv6_on_both_sides(self):
        if not flow.have_ipv6():
            self.skipTest("no IPv6 here")
        peer = self.peer(flow.echo, ipv6=True)
        s = self.server("server { listen [::1]:@port@; protocol tcp; proxy @peer@; }", peer=peer)
        with flow.Client(("::1", s.names["port"])) as c:
            c.send(b"hello")
            c.shut()
            self.assertEqual(c.rest(), b"hello")

    def test_a_port_alone_is_both_families(self):
        s = self.server("server { listen @port@; protocol tcp; echo; }")
        for host in ["127.0.0.1"] + (["::1"] if flow.have_ipv6() else []):
            with flow.Client((host, s.names["port"])) as c:
                c.send(b"hello")
                self.assertEqual(c.exactly(5), b"hello")


class Bulk(flow.Case):
    TOTAL = 8 << 20

    @staticmethod
    def block(seed, n):
        return hashlib.sha256(b"%d" % seed).digest() * (n // 32)

    def stream_of(self, seed):
        return b"".join(self.block(seed + i, 65536) for i in range(self.TOTAL // 65536))

    def test_both_ways_at_once(self):
        """8 MiB each way, the reader slow and in odd bites, so that every buffer fills and empties."""
        question, answer = self.stream_of(1), self.stream_of(1000)

        def both(s, out, got, rest):
            s.setblocking(False)
            sent, open_ = 0, True
            until = time.monotonic() + 30 * flow.SLOW
            bite = 1
            while open_ or sent < len(out):
                if time.monotonic() > until:
                    raise AssertionError("stuck at %d sent, %d received" % (sent, len(got)))
                r, w, _ = select.select([s] if open_ else [], [s] if sent < len(out) else [], [], 1)
                if r:
                    bite = bite * 3 % 200003 + 1
                    data = s.recv(bite)
                    if not data:
                        open_ = False
                    got.extend(data)
                if w:
                    sent += s.send(out[sent:sent + 100000])
                    if sent == len(out):
                        s.shutdown(socket.SHUT_WR)
                if rest and len(got) % 7 == 0:
                    time.sleep(0.0005)

        def script(stream, peer):
            got = bytearray()
            both(stream.socket, answer, got, True)
            peer.notes["got"] = hashlib.sha256(got).digest(), len(got)

        peer = self.peer(script)
        s = self.server(PLAIN, peer=peer)
        with s.client(receive_buffer=20000) as c:
            got = bytearray()
            both(c.socket, question, got, False)
            self.assertEqual(len(got), len(answer))
            self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(answer).digest())
            self.assertEqual(flow.wait_for(lambda: peer.notes.get("got")), (hashlib.sha256(question).digest(), len(question)))

    def test_a_reader_that_sleeps(self):
        """What cannot be delivered is not read either."""
        sent = [0]

        def script(stream, peer):
            block = b"z" * 65536
            while sent[0] < 64 << 20:
                stream.send(block)
                sent[0] += len(block)

        s = self.server(PLAIN, peer=self.peer(script))
        with s.client(receive_buffer=65536) as c:
            # The buffers of the kernel fill, and grow for a while; then nothing moves, long before all is sent.
            stuck = -1
            while stuck != sent[0]:
                stuck = sent[0]
                time.sleep(0.7)
            self.assertLess(stuck, 64 << 20)
            n = 0
            while n < 64 << 20:
                data = c.socket.recv(1 << 20)
                self.assertTrue(data, "ended at %d" % n)
                n += len(data)

    def test_many_connections(self):
        s = self.server(PLAIN, peer=self.peer(flow.echo, backlog=256))
        clients = [s.client() for _ in range(100)]
        try:
            for round_ in range(5):
                for i, c in enumerate(clients):
                    c.send(b"%d:%d\n" % (round_, i))
                for i, c in enumerate(clients):
                    self.assertEqual(c.until(b"\n"), b"%d:%d\n" % (round_, i))
        finally:
            for c in clients:
                c.close()


class ProxyLine(flow.Case):
    """PROXY protocol: who the client is, read from in front and sent ahead."""

    def test_v1_sent(self):
        peer = self.peer(flow.echo)
        s = self.server(TCP % ("proxy_protocol v1;", "", ""), peer=peer)
        with s.client() as c:
            port = c.socket.getsockname()[1]
            c.send(b"hello")
            self.assertEqual(c.until(b"\r\n"), b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (port, s.names["port"]))
            self.assertEqual(c.exactly(5), b"hello")

    def test_v2_sent(self):
        peer = self.peer(flow.echo)
        s = self.server(TCP % ("proxy_protocol v2;", "", ""), peer=peer)
        with s.client() as c:
            port = c.socket.getsockname()[1]
            c.send(b"hello")
            head = c.exactly(28)
            home = socket.inet_aton("127.0.0.1")
            self.assertEqual(head, v2(1, 0x11, home + home + struct.pack("!HH", port, s.names["port"])))
            self.assertEqual(c.exactly(5), b"hello")

    def test_accepted(self):
        """Read at every cut, and sent on, so that the peer sees the first client."""
        peer = self.peer(flow.echo)
        s = self.server(TCP % ("proxy_protocol v1;", "proxy_protocol", ""), peer=peer)
        for line in (b"PROXY TCP4 10.1.2.3 10.0.0.1 4711 80\r\n", v2_tcp4("10.1.2.3", 4711), v2_tcp4("10.1.2.3", 4711, b"\x04\x00\x01x")):
            raw = line + b"hello"
            for at in range(1, len(raw)):
                with s.client() as c:
                    c.send_cut(raw, at, 0.001)
                    self.assertEqual(c.until(b"\r\n").split()[:3] + [b"4711"], [b"PROXY", b"TCP4", b"10.1.2.3", b"4711"], (line, at))
                    self.assertEqual(c.exactly(5), b"hello")

    def test_unknown_and_local(self):
        """Health checks of the balancer in front: its own address stands."""
        s = self.server(TCP % ("", "proxy_protocol", ""), peer=self.peer(flow.echo))
        for line in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", v2(0, 0, b""), v2(0, 0x11, b"\x00" * 12)):
            with s.client() as c:
                c.send(line + b"hello")
                self.assertEqual(c.exactly(5), b"hello", line)

    def test_six(self):
        s = self.server("""
            server { listen 127.0.0.1:@port@ proxy_protocol; server_name localhost; return 200 "${src}"; }
        """)
        payload = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + b"\x00" * 16 + struct.pack("!HH", 1, 2)
        for line in (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", v2(1, 0x21, payload)):
            with s.client() as c:
                c.send(line + flow.request("/"))
                self.assertIn("2001:db8::7", c.answer().text)

    def test_http_behind_it(self):
        peer = self.peer(flow.http(flow.tell))
        s = self.server("""
            server { listen 127.0.0.1:@port@ proxy_protocol; server_name localhost; deny 10.6.0.0/16; proxy @peer@; }
        """, peer=peer)
        with s.client() as c:
            c.send(b"PROXY TCP4 10.1.2.3 10.0.0.1 4711 80\r\n" + flow.request("/1") + flow.request("/2"))
            self.assertIn("X-Forwarded-For: 10.1.2.3\n", c.answer().text)
            self.assertIn("X-Forwarded-For: 10.1.2.3\n", c.answer().text)
        with s.client() as c:
            c.send(b"PROXY TCP4 10.6.2.3 10.0.0.1 4711 80\r\n" + flow.request("/"))
            self.assertEqual(c.answer().status, 403)

    def test_refused(self):
        peer = self.peer(flow.echo)
        s = self.server(TCP % ("", "proxy_protocol", "timeout { header 1s; }"), peer=peer)
        for line in (b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1.2.3 10.0.0.1 1 2\r\n", b"PROXY TCP4 10.1.2.3 10.0.0.1 70000 2\r\n",
                     b"PROXY TCP4 10.1.2.3 10.0.0.1 1 2\n", b"PROXY TCP9 10.1.2.3 10.0.0.1 1 2\r\n", b"PROXY " + b"x" * 200,
                     V2 + b"\x31\x11\x00\x0c" + b"\x00" * 12, V2 + b"\x21\x11\x00\x02ab", V2 + b"\x2f\x11\x00\x0c" + b"\x00" * 12, b"\r\n\r\n\x00\r\nQUIX\n"):
            with self.subTest(line=line[:40]):
                with s.client() as c:
                    c.send(line)
                    self.assertTrue(c.ends())
        with s.client() as c:       # nothing at all
            self.assertTrue(c.ends())
        self.assertEqual(peer.accepted, 0)


if __name__ == "__main__":
    flow.main()
