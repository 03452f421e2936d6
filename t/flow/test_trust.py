# SPDX-License-Identifier: BSD-2-Clause
"""Who is believed about who asks (real_ip), what peers are told of it (forwarded), request ids, Max-Forwards, trailers."""
import json
import os

import flow

SITE = """
defaults { access_log "@dir@/log" json; }
server {
    listen 127.0.0.1:@port@;
    listen unix:@dir@/in.sock;
    real_ip { from 127.0.0.2 unix; %s }
    deny 6.6.6.6;
    route = /src when src == 1.2.3.4 { return 200 "one ${src} ${src.connection}"; }
    route = /src { return 200 "${src} ${src.connection}"; }
    route = /id { response_header set X-Request-Id "${id}"; return 200 "${id}"; }
    route { request_header set X-Request-Id "${id}"; response_header set X-Request-Id "${id}"; %s proxy @peer@; }
}
"""
TRUSTED = ("127.0.0.2", 0)


class Site(flow.Case):
    def site(self, real_ip="", route="", **more):
        self.asked = self.peer(flow.http(flow.tell))
        return self.server(SITE % (real_ip, route), peer=self.asked, **more)

    def ask(self, s, target, headers="", source=TRUSTED, method="GET"):
        with flow.Client(s.address(), source=source) as c:
            c.send(flow.request(target, headers=headers, method=method))
            return c.answer(method)

    def log(self, s, n):
        """The last of n lines, once they are there."""
        def lines():
            with open(os.path.join(s.directory, "log")) as f:
                found = f.read().splitlines()
            return found if len(found) >= n else None
        return json.loads(flow.wait_for(lines)[-1])


class Trust(Site):
    def test_src(self):
        s = self.site()
        self.assertEqual(self.ask(s, "/src", "X-Forwarded-For: 9.9.9.9, 1.2.3.4, 127.0.0.2").text, "one 1.2.3.4 127.0.0.2")
        self.assertEqual(self.ask(s, "/src", "X-Forwarded-For: 1.2.3.4", source=None).text, "127.0.0.1 127.0.0.1")
        self.assertEqual(self.ask(s, "/src", "X-Forwarded-For: 6.6.6.6").status, 403)
        self.assertEqual(self.ask(s, "/src", "X-Forwarded-For: 6.6.6.6", source=None).status, 200)
        self.assertEqual(self.log(s, 4)["src"], "127.0.0.1")

    def test_log(self):
        s = self.site()
        self.ask(s, "/src", "X-Forwarded-For: [2001:db8::1]:55")
        line = self.log(s, 1)
        self.assertEqual((line["src"], line["src.connection"]), ("2001:db8::1", "127.0.0.2"))
        self.assertNotIn("id", line)    # nobody asked for it
        a = self.ask(s, "/id")
        self.assertEqual(self.log(s, 2)["id"], a["X-Request-Id"])

    def test_unix_socket(self):
        s = self.site()
        with flow.Client(os.path.join(s.directory, "in.sock")) as c:
            c.send(flow.request("/src", headers="X-Forwarded-For: 1.2.3.4"))
            self.assertEqual(c.answer().text, "one 1.2.3.4 unix:")

    def test_peer_is_told(self):
        s = self.site()
        self.ask(s, "/", "X-Forwarded-For: 1.2.3.4\nX-Forwarded-Proto: https\nX_Forwarded_For: 6.6.6.6")
        q = self.asked.questions[-1]
        self.assertEqual(q.all("X-Forwarded-For"), ["1.2.3.4, 127.0.0.2"])
        self.assertEqual(q.all("X-Forwarded-Proto"), ["https"])
        self.assertEqual(q.all("X_Forwarded_For"), [])
        self.ask(s, "/", "X-Forwarded-For: 1.2.3.4\nX-Forwarded-Proto: https\nX-Real-IP: 1.1.1.1", source=None)
        q = self.asked.questions[-1]
        self.assertEqual(q.all("X-Forwarded-For"), ["127.0.0.1"])
        self.assertEqual(q.all("X-Forwarded-Proto"), ["http"])
        self.assertEqual(q.all("X-Real-IP"), [])

    def test_forwarded(self):
        s = self.site("header Forwarded;", "forwarded rfc7239;")
        self.ask(s, "/", 'Forwarded: for="[2001:db8::1]"')
        self.assertEqual(self.asked.questions[-1]["Forwarded"],
                         'for="[2001:db8::1]", for=127.0.0.2;proto=http;host=localhost')
        self.assertIsNone(self.asked.questions[-1]["X-Forwarded-For"])
        self.assertEqual(self.log(s, 1)["src"], "2001:db8::1")

    def test_two_in_a_row(self):
        """What one says is believed by the next, all the way to the peer."""
        peer = self.peer(flow.http(flow.tell))
        s = self.server("""
            server { listen 127.0.0.1:@port@; real_ip { from 127.0.0.2; } forwarded both; proxy 127.0.0.1:@port2@; }
            server {
                listen 127.0.0.1:@port2@;
                real_ip { from 127.0.0.0/8; header Forwarded; }
                request_header set Client "${src}";
                proxy @peer@;
            }
        """, peer=peer)
        self.ask(s, "/", "X-Forwarded-For: 1.2.3.4\nForwarded: for=9.9.9.9")
        q = peer.questions[-1]
        self.assertEqual(q["Client"], "9.9.9.9")        # trusted, it said both, and Forwarded is asked
        self.assertEqual(q.all("X-Forwarded-For"), ["1.2.3.4, 127.0.0.2, 127.0.0.1"])
        self.ask(s, "/", "Forwarded: for=9.9.9.9", source=None)
        q = peer.questions[-1]
        self.assertEqual(q["Client"], "127.0.0.1")
        self.assertEqual(q.all("X-Forwarded-For"), ["127.0.0.1, 127.0.0.1"])

    def test_proxy_line_to_the_peer(self):
        seen = []

        def script(stream, peer):
            seen.append(stream.until(b"\r\n"))
            flow.http(flow.tell)(stream, peer)

        s = self.server("""
            upstream app { server @peer@; proxy_protocol v1; }
            server { listen 127.0.0.1:@port@; real_ip { from 127.0.0.2; } proxy app; }
        """, peer=self.peer(script))
        self.ask(s, "/", "X-Forwarded-For: 1.2.3.4:99")
        self.assertEqual(seen[0], b"PROXY TCP4 1.2.3.4 127.0.0.1 99 %d\r\n" % s.port)


class Ids(Site):
    def test_same_everywhere(self):
        s = self.site()
        a = self.ask(s, "/")
        self.assertRegex(a["X-Request-Id"], "^[0-9a-f]{32}$")
        self.assertEqual(self.asked.questions[-1]["X-Request-Id"], a["X-Request-Id"])
        self.assertEqual(self.log(s, 1)["id"], a["X-Request-Id"])

    def test_failure(self):
        """The line in the error log names what the client was given, and who the client is."""
        s = self.server(SITE % ("", ""), peer=self.closed_port())
        a = self.ask(s, "/", "X-Forwarded-For: 1.2.3.4")
        self.assertEqual(a.status, 502)
        line = next(l for l in s.said().splitlines() if "client 1.2.3.4," in l)
        self.assertTrue(line.endswith(", id " + self.log(s, 1)["id"]), line)

    def test_unique(self):
        s = self.site(main="workers 2;\n")
        with s.client() as c:
            seen = set()
            for _ in range(50):
                c.send(flow.request("/id", headers="X-Request-Id: chosen"))
                seen.add(c.answer().text)
        seen |= {self.ask(s, "/id").text for _ in range(20)}
        self.assertEqual(len(seen), 70)
        self.assertNotIn("chosen", seen)

    def test_taken_over(self):
        s = self.site("request_id X-Request-Id;")
        a = self.ask(s, "/", "X-Request-Id: from-the-edge/1")
        self.assertEqual(a["X-Request-Id"], "from-the-edge/1")
        self.assertEqual(self.asked.questions[-1].all("X-Request-Id"), ["from-the-edge/1"])
        self.assertEqual(self.log(s, 1)["id"], "from-the-edge/1")
        for bad in ("a b", 'a"b', "x" * 129, "a\nX-Request-Id: b"):
            self.assertRegex(self.ask(s, "/", "X-Request-Id: " + bad)["X-Request-Id"], "^[0-9a-f]{32}$")
        self.assertRegex(self.ask(s, "/", "X-Request-Id: evil", source=None)["X-Request-Id"], "^[0-9a-f]{32}$")

    def test_passed_on_where_none_is_set(self):
        peer = self.peer(flow.http(flow.tell))
        s = self.server("server { listen 127.0.0.1:@port@; proxy @peer@; }", peer=peer)
        s.get("/", headers="X-Request-Id: mine")
        self.assertEqual(peer.questions[-1].all("X-Request-Id"), ["mine"])
        s.get("/")
        self.assertEqual(peer.questions[-1].all("X-Request-Id"), [])


class Hops(Site):
    def test_hops(self):
        s = self.site()
        for method, fields, status, told in (
                ("OPTIONS", "Max-Forwards: 3", 200, ["2"]), ("OPTIONS", "Max-Forwards: 0", 200, None),
                ("TRACE", "Max-Forwards: 1", 200, ["0"]), ("TRACE", "Max-Forwards: 0\nCookie: secret", 501, None),
                ("TRACE", "", 200, []), ("GET", "Max-Forwards: 0", 200, ["0"]),
                ("OPTIONS", "Max-Forwards: x", 400, None), ("TRACE", "Max-Forwards: 1\nMax-Forwards: 1", 400, None)):
            before = len(self.asked.questions)
            a = self.ask(s, "/", fields, method=method)
            self.assertEqual(a.status, status, (method, fields))
            if told is None:
                self.assertEqual(len(self.asked.questions), before, (method, fields))
                self.assertNotIn("secret", a.text)
            else:
                self.assertEqual(self.asked.questions[-1].all("Max-Forwards"), told, (method, fields))

    def test_once(self):
        """Asked elsewhere in place of a failure, it is the same hop."""
        peer = self.peer(flow.http(flow.tell))
        s = self.server("""
            upstream gone { server 127.0.0.1:@port2@; }
            server { listen 127.0.0.1:@port@; route { proxy gone; } error 502 { proxy @peer@; } }
        """, peer=peer)
        self.assertEqual(s.get("/", method="OPTIONS", headers="Max-Forwards: 1").status, 200)
        self.assertEqual(peer.questions[-1].all("Max-Forwards"), ["0"])


class Trailers(flow.Case):
    """What stands behind the last chunk; t/unit/test_trailers.c has the rest."""

    def test_both_ways(self):
        trailer = b"X-Sum: 7\r\nContent-Length: 9\r\n"
        head = b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"
        peer = self.peer(flow.http(lambda q: [head, flow.chunked([b"abc"], trailer)]))
        s = self.server("""
            server { listen 127.0.0.1:@port@; route /drop { proxy @peer@; } route { trailers pass; proxy @peer@; } }
        """, peer=peer)
        for target, asks, told, got in (("/", True, [b"X-Sum: 7\r\n"], [b"X-Sum: 7\r\n"]), ("/", False, [b"X-Sum: 7\r\n"], []),
                                        ("/drop", True, [], [])):
            with s.client() as c:
                c.send(flow.request(target, method="POST", headers="Transfer-Encoding: chunked\n" +
                                    ("TE: trailers\nConnection: TE" if asks else "")) + flow.chunked([b"xyz"], trailer))
                a = c.answer()
                self.assertEqual((a.text, a.trailer), ("abc", got), (target, asks))
                q = peer.questions[-1]
                self.assertEqual((q.text, q.trailer), ("xyz", told), (target, asks))
                self.assertEqual(q["TE"], "trailers" if told and asks else None)


if __name__ == "__main__":
    flow.main()
