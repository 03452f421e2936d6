# SPDX-License-Identifier: BSD-2-Clause
"""`server explain` says what the running server does: seeded configurations, and questions that both are asked."""
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import time

import flow

ROUNDS, QUESTIONS = 8, 40
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/u/1", "/u/22/x", "/dir/", "/dir/x", "/%61", "/a/../b", "//a", "/b%2fc"]
METHODS = ["GET", "GET", "GET", "POST", "PUT", "OPTIONS", "get"]
# What is no question, or asks for what is not there.
BROKEN = ["GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: a.test\r\n\r\n",
          "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
          "GET /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999\r\n\r\n", "GET / HTTP/1.1\r\nHost: a test\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\n",
          "GET /%s HTTP/1.1\r\nHost: a.test\r\n\r\n" % ("x" * 9000),
          "GET / HTTP/1.1\r\nHost: a.test\r\nA: %s\r\n\r\n" % ("x" * 40000)]


def explain(s, *words):
    status, out, err = flow.run("-c", s.path, "-p", s.directory, "explain", "--json", *words)
    assert (status, err) == (0, ""), (words, err)
    return json.loads(out)


def escaped(data):
    """Bytes, as they are typed behind -p."""
    return "".join("\\x%02x" % b if b < 32 or b > 126 or chr(b) in "\\\"'$" else chr(b) for b in data)


class Random(random.Random):
    """A configuration, and what to ask of it."""

    def condition(self, depth=0):
        if depth < 2 and self.random() < 0.3:
            return "(%s %s %s)" % (self.condition(depth + 1), self.choice(["and", "or"]), self.condition(depth + 1))
        if depth < 2 and self.random() < 0.15:
            return "not (%s)" % self.condition(2)
        return self.choice([
            'method in (GET, POST)', 'method != GET', 'header.x-a == "1"', 'header.x-a != "1"', 'header.x-b exists',
            'header.x-a in ("1", "2")', 'query.q == "1"', 'query.q exists', 'cookie.c ~ "^[0-9]+$"',
            'src in (127.0.0.0/8)', 'src == 10.0.0.1', 'host == "a.test"', 'map.kind == "one"', 'path ~ "b"', 'version == "1.0"'])

    def when(self, chance):
        return " when " + self.condition() if self.random() < chance else ""

    def pattern(self):
        return self.choice(["", "", "/", "/a", "/a/b", "/a*", "= /a", "= /", "/dir/", "/u", '~ "^/u/(?<id>[0-9]+)"', '~ "b"', '~ "x$"'])

    def step(self, number):
        return self.choice([
            'request_header set X-A "2"%s;' % self.when(0.4), 'request_header remove X-B%s;' % self.when(0.4),
            'rewrite "/moved"%s;' % self.when(0.5), 'deny%s;' % self.when(1), 'allow 127.0.0.1%s; deny all;' % self.when(0.7),
            'response_header set X-R "%d"%s;' % (number, self.when(0.4)), 'return 403 "no %d"%s;' % (number, self.when(1)),
            'limit calls%s;' % self.when(0.5)])

    def end(self, number):
        return self.choice(['return 200 "route %d";' % number, 'return 503 "route %d";' % number, "proxy app;", "proxy other;",
                            "proxy pick;", "redirect 302 /elsewhere/%d;" % number, "echo;"])

    def route(self, number):
        pattern = self.pattern()
        when = self.when(0.5 if pattern else 0.9)
        steps = "".join(self.step(number) + " " for _ in range(self.choice([0, 0, 1, 2, 3])))
        return "route %s%s { %s%s }\n" % (pattern, when, steps, self.end(number))

    def server(self, name):
        own = "".join(self.step(0) + "\n" for _ in range(self.choice([0, 0, 1, 2])))
        routes = "".join(self.route(i) for i in range(1, self.randint(2, 14)))
        error = self.choice(["", 'error 403 { return 403 "error of %s"; }\n' % name, 'error 400..599 { return 500 "error"; }\n'])
        return "server %s {\n listen 127.0.0.1:@port@%s; max { body 1k; } access_log off;\n server_name %s.test;\n%s%s%s}\n" % (
            name, " default_server" if name == "a" and self.random() < 0.5 else "", name, own, routes, error)

    def question(self):
        if self.random() < 0.1:
            return self.choice(BROKEN)
        fields = ["Host: %s" % self.choice(["a.test", "b.test", "A.test.:80", "c.test"])]
        for field in ("X-A: 1", "X-A: 2", "X-B: 1", "Cookie: c=7; d=8", "Cookie: c=x", "Accept: */*", "X-Forwarded-For: 10.0.0.1",
                      "X-Kind: 1", "X-Kind: 2"):
            if self.random() < 0.25:
                fields.append(field)
        self.shuffle(fields)
        query = self.choice(["", "", "?q=1", "?q=2&q=1", "?x"])
        return "%s %s%s HTTP/%s\r\n%s\r\n\r\n" % (
            self.choice(METHODS), self.choice(PATHS), query, self.choice(["1.1", "1.1", "1.0"]), "\r\n".join(fields))


class Questions(flow.Case):
    def fits(self, said, a, question):
        """What was explained is what the client got."""
        self.assertIn("answer", said, question)
        if "upstream" in said:
            self.assertEqual(a.status, 200, (said, question))
            name, target, x_a = a.text.split("\n")
            self.assertEqual(name, said["upstream"]["name"], question)
            moved = [s["does"] for s in said["steps"] if s.get("does", "").startswith("forwards")]
            if moved:
                self.assertEqual("forwards \"%s\"" % target, moved[-1], question)
            return
        self.assertEqual(a.status, said["status"], (said, a.text, question))
        last = [s["does"] for s in said["steps"] if s["state"] == "runs" and "does" in s]
        if said["reason"] == "none" and last:
            m = re.fullmatch(r'answers (\d+)(?:, to)?(?: "(.*)")?', last[-1])
            if m and m.group(2):
                self.assertEqual(m.group(2), a["Location"] if a.status == 302 else a.text, (said, question))

    def ask(self, s, question):
        data = question.encode("latin-1")
        said = explain(s, "-p", "http", escaped(data), "--listener", "127.0.0.1:%d" % s.port)
        with s.client() as c:
            c.send(data)
            self.fits(said, c.answer(question.split(" ")[0]), question)
        return said

    def answering(self, name):
        def respond(q):
            text = "%s\n%s\n%s" % (name, q.target, q["X-A"])
            return flow.answer(200, text.encode("latin-1"))
        return self.peer(flow.http(respond))

    def test_as_it_is(self):
        chosen, refused, asked = set(), 0, 0
        for seed in range(ROUNDS):
            r = Random(seed)
            s = self.server("""
                upstream app { server @app@; } upstream other { server @other@; }
                limit calls { key src; rate 1000000/s; burst 1000000; }
                map kind header.x-kind { "1" "one"; default "none"; }
                map pick header.x-kind { "1" "app"; "2" "other"; }
            """ + r.server("a") + r.server("b"), app=self.answering("app"), other=self.answering("other"))
            for _ in range(QUESTIONS):
                said = self.ask(s, r.question())
                asked += 1
                refused += said["status"] >= 400
                if "route" in said:
                    chosen.add((seed, said["server"]["name"], said["route"]["line"]))
            s.stop()
        # it was worth it
        self.assertGreater(len(chosen), 3 * ROUNDS)
        self.assertTrue(asked / 10 < refused < asked * 9 / 10, (refused, asked))

    def test_urls(self):
        s = self.server("""
            server { listen 127.0.0.1:@port@; server_name a.test; route /x when query.q == "1" { return 200 "x"; } route { return 404 "rest"; } }
            server { listen 127.0.0.1:@port2@; server_name a.test; return 200 "other"; }
        """)
        base = "a.test:%d" % s.port
        self.assertEqual(explain(s, "http://%s/x?q=1" % base)["status"], 200)
        self.assertEqual(explain(s, "http://%s/x?q=2" % base)["status"], 404)
        self.assertEqual(explain(s, "https://a.test", "--listener=%d" % s.names["port2"])["status"], 200)
        self.assertEqual(explain(s, "GET /x?q=1", "-H", "Host: a.test", "--listener", str(s.port))["route"]["route"], '/x when query.q == "1"')
        # people see the same
        status, out, err = flow.run("-c", s.path, "-p", s.directory, "explain", "http://%s/y" % base)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("no: path is \"/y\"\n", out)
        self.assertTrue(out.endswith("answer    404\n"), out)

    def test_is_no_question(self):
        for words in ([], ["x", "y"], ["--src", "10.0.0.1"], ["-p"]):
            status, out, err = flow.run("-c", self.server("server { listen 127.0.0.1:@port@; return 200; }", start=False).path, "explain", *words)
            self.assertEqual((status, out), (2, ""), words)
            self.assertIn("usage: server explain", err)

    def test_a_bad_configuration(self):
        s = self.server("server { lissten 80; }", start=False, listens=[])
        for verb in ("explain", "routes"):
            status, out, err = flow.run("-c", s.path, verb, *["http://a/"] * (verb == "explain"))
            self.assertEqual((status, out), (1, ""))
            self.assertIn('did you mean "listen"?', err)


class Messages(flow.Case):
    def test_as_it_is(self):
        s = self.server(r"""
            protocol jsonnl { boundary "\n"; max 1k; format json; answers in_order; messages independent; error '{"no":"${reason}"}'; }
            server { listen 127.0.0.1:@port@; protocol jsonnl;
                deny when msg.who == "bad";
                route when msg.type == "ping"               { reply "pong"; }
                route when msg.n in (1..5) and msg.x exists { reply '{"n":${msg.n}}'; }
                route when msg.n == "1"                     { reply "text"; }
                route when msg.n > 1000                     { drop; }
                route when msg.bye == true                  { close "bye"; }
            }
        """)
        questions = ['{"type":"ping"}', '{"type":"ping","who":"bad"}', '{"n":3,"x":null}', '{"n":3}', '{"n":"1"}', '{"n":1}', '{"bye":true}',
                     '{"bye":"true"}', 'no json', '', '[1,2]', '{"n":7000}', "x" * 2000, '{"type":"p\\u0069ng"}']
        for question in questions:
            data = question.encode() + b"\n"
            said = explain(s, "-p", "jsonnl", escaped(data))
            does = (said["steps"] or [{}])[-1].get("does", "")
            with s.client() as c:
                c.send(data)
                if does.startswith("leaves"):
                    c.send(b'{"type":"ping"}\n')
                    self.assertEqual(c.until(b"\n"), b"pong\n", said)
                    continue
                got = c.until(b"\n").decode().strip()
                m = re.search(r"""["'](.*)["']""", does if said["reason"] == "none" else said["answer"].split("error")[1].split(" (")[0])
                self.assertIsNotNone(m, said)
                self.assertEqual(got, m.group(1), (said, question))

    def test_not_all_of_it(self):
        """Who types leaves out the end; what lacks more is waited for, as it is from a client."""
        s = self.server(r"""
            protocol jsonnl { boundary "\n"; max 1k; format json; answers in_order; }
            protocol len { length u16be at 0 counts after; max 1k; answers in_order; }
            server { listen 127.0.0.1:@port@; protocol jsonnl; route when msg.type == "x" { reply "x"; } }
            server { listen 127.0.0.1:@port2@; protocol len; reply "len"; }
        """)
        said = explain(s, "-p", "jsonnl", '{"type":"x"}')
        self.assertEqual(said["steps"][0]["does"], 'replies "x"')
        self.assertIn("its end was missing", said["note"])
        for data in (b"\0", b"\0\3", b"\0\3ab"):
            self.assertIn("more is awaited", explain(s, "-p", "len", escaped(data))["answer"])
        with s.client("port2") as c:
            for byte in b"\0\3abc":
                c.send(bytes([byte]))
                time.sleep(0.02)
            self.assertEqual(c.exactly(5), b"\0\3len")

    def test_talks(self):
        s = self.server("""
            server { listen 127.0.0.1:@port@; protocol tcp; route when src == 127.0.0.2 { close; } route { echo; } }
        """)
        for source, last in (("127.0.0.1", "sends back what came"), ("127.0.0.2", "cuts the connection")):
            said = explain(s, "-p", "tcp", "--src", source)
            self.assertEqual(said["steps"][-1]["does"], last)
            with s.client(source=(source, 0)) as c:
                if last.startswith("cuts"):
                    self.assertEqual(c.rest(), b"")
                else:
                    c.send(b"hello")
                    self.assertEqual(c.exactly(5), b"hello")


class Routes(flow.Case):
    def test_order(self):
        s = self.server("""
            server a { listen 127.0.0.1:@port@; server_name a.test *.a.test; deny 10.0.0.0/8; route /x { return 200; } route = /y { return 201; } }
            server b { listen 127.0.0.1:@port@ default_server; return 202; }
        """, start=False)
        status, out, err = flow.run("-c", s.path, "routes", "--json")
        self.assertEqual((status, err), (0, ""))
        said = json.loads(out)
        self.assertEqual([(h["host"], h["server"]) for h in said["listeners"][0]["hosts"]], [("*.a.test", "a"), ("a.test", "a")])
        self.assertEqual(said["listeners"][0]["otherwise"], "b")
        self.assertEqual([r["route"] for r in said["servers"][0]["routes"]], ["/x", "= /y"])
        self.assertEqual([t["step"] for t in said["servers"][0]["routes"][1]["steps"]], ["deny 10.0.0.0/8", "return 201"])
        status, out, err = flow.run("-c", s.path, "routes", "b")
        self.assertIn("any other host: server b", out)
        self.assertNotIn("/x", out)
        self.assertEqual(flow.run("-c", s.path, "routes", "c")[0], 1)


class Running(flow.Case):
    """The same, of what is served: asked over the control socket."""

    def ask(self, s, *words, status=0):
        got, out, err = flow.run("-c", s.path, "-p", s.directory, *words)
        self.assertEqual(got, status, (words, out, err))
        return out if status == 0 else err

    def test_what_is_served(self):
        s = self.server('server a { listen 127.0.0.1:@port@; route /x when header.täg exists { return 200; } route { return 404 "one"; } }\n'
                        .replace("täg", "tag"))
        url = "http://a:%d/x" % s.port
        for words in (["explain", url], ["explain", url, "-H", "Tag: ä", "--json"], ["explain", "-p", "http", "GET /\\xe4 HTTP/1.1\\r\\n"],
                      ["routes"], ["routes", "a", "--json"]):
            self.assertEqual(self.ask(s, *words, "--running"), self.ask(s, *words), words)
        with open(s.path) as f:
            text = f.read()
        with open(s.path, "w") as f:
            f.write(text.replace('404 "one"', '404 "two"'))
        self.assertIn('404 "two"', self.ask(s, "routes"))
        self.assertIn('404 "one"', self.ask(s, "routes", "--running"))
        where = s.directory + "/server.control"
        self.assertIn('404 "one"', self.ask(s, "--socket", where, "explain", "--running", url))
        self.assertIn('404 "one"', self.ask(s, "explain", "--running", url, "--socket", where))
        self.assertIn('404 "one"', self.ask(s, "routes", "--socket=" + where))
        self.assertEqual(self.ask(s, "--json", "routes", "--running"), self.ask(s, "routes", "--running", "--json"))
        self.assertEqual(self.ask(s, "--json", "explain", url), self.ask(s, "explain", url, "--json"))
        self.ask(s, "-s", "reload")
        self.assertIn('404 "two"', self.ask(s, "explain", url, "--running"))
        flow.wait_for(lambda: len(s.children()) == 1)

    def test_wrong_words(self):
        s = self.server('server a { listen 127.0.0.1:@port@; return 200; }\n')
        self.assertIn("there is no server \"b\"", self.ask(s, "routes", "b", "--running", status=1))
        self.assertIn("usage: server explain", self.ask(s, "explain", "--what", "--running", status=1))
        self.assertIn("too long", self.ask(s, "explain", "http://a/" + "x" * 2000, "--running", status=1))

    def test_many_routes(self):
        """An answer of megabytes, and several who ask at once."""
        s = self.server("server a { listen 127.0.0.1:@port@;\n" + "".join(
            'route = /%s%d { return 200 "%d"; }\n' % ("long" * 20, i, i) for i in range(26000)) + "}\n")
        plain = self.ask(s, "routes")
        self.assertGreater(len(plain), 4 << 20)
        self.assertEqual(self.ask(s, "routes", "--running"), plain)
        self.assertEqual(len(json.loads(self.ask(s, "routes", "--running", "--json"))["servers"][0]["routes"]), 26000)
        asked = [self.process(flow.SERVER, "-c", s.path, "explain", "http://a:%d/%s7999" % (s.port, "long" * 20), "--running",
                              stdout=subprocess.PIPE) for _ in range(4)]
        for p in asked:
            out, _ = p.communicate(timeout=flow.TIME * flow.SLOW)
            self.assertIn(b'answers 200 "7999"', out)
        flow.wait_for(lambda: len(s.children()) == 1)

    def state(self, pid):
        with contextlib.suppress(OSError), open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0]
        return "X"

    def stop(self, asked, known):
        """Who looks, stopped; None if that was over before we saw it."""
        found = flow.wait_for(lambda: asked.poll() is not None or set(self.s.children()) - known)
        if found is True:
            return None
        looker, = found
        with contextlib.suppress(ProcessLookupError):
            os.kill(looker, signal.SIGSTOP)
        flow.wait_for(lambda: self.state(looker) in "TZX")
        return looker if self.state(looker) == "T" else None

    def test_who_looks_holds_nobody(self):
        self.s = s = self.server('server a { listen 127.0.0.1:@port@; return 200; }\n' + "".join(
            "upstream u%d { server 127.0.0.1:1; }\n" % i for i in range(5000)))
        workers = set(s.workers())
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as other:
                other.settimeout(flow.TIME)
                other.connect(s.directory + "/server.control")
                asked = self.process(flow.SERVER, "-c", s.path, "routes", "--running", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                looker = self.stop(asked, workers)
                if looker:
                    # It has the socket of this one, too, which ends all the same.
                    other.sendall(b"status\n")
                    while other.recv(65536):
                        pass
                    self.assertEqual(self.state(looker), "T")
                    os.kill(looker, signal.SIGKILL)
                    break
                asked.communicate(timeout=flow.TIME * flow.SLOW)
        out, err = asked.communicate(timeout=flow.TIME * flow.SLOW)
        self.assertEqual((asked.returncode, out), (1, b""))
        self.assertIn(b"who looked was ended by signal 9", err)


if __name__ == "__main__":
    flow.main()
