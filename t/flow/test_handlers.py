# SPDX-License-Identifier: BSD-2-Clause
"""What a step does: return, redirect, rewrite, echo, allow and deny, header edits, close, proxy."""
import flow

HEAD = "server { listen 127.0.0.1:@port@; server_name localhost;\n"


class Handlers(flow.Case):
    def test_return(self):
        s = self.server(HEAD + """
            route /text   { return 200 "a\\tb\\n"; }
            route /single { return 200 'say "hi"'; }
            route /html   { return 200 "<b>" type="text/html"; }
            route /teapot { return 418 "short"; }
            route /none   { return 204; }
            route /bare   { return 403; }
            route /field  { return 200 "${method} ${host} ${path} ${query.a} ${header.x-y} ${src}|"; }
            route /dollar { return 200 "\\${x}"; }
            route /page   { return 200 "<a title='${query}'>${query.a}</a>" type="text/html; charset=utf-8"; }
            route /problem { return 200 '{"a":"${query.a}"}' type=application/problem+json; }
        }""")
        self.assertEqual(s.get("/text").text, "a\tb\n")
        self.assertEqual(s.get("/single").text, 'say "hi"')
        self.assertEqual(s.get("/html")["Content-Type"], "text/html")
        self.assertEqual((s.get("/teapot").status, s.get("/teapot").text), (418, "short"))
        self.assertEqual(s.get("/none").status, 204)
        self.assertEqual(s.get("/bare").status, 403)
        self.assertEqual(s.get("/field?a=1&b=2", headers="X-Y: z").text, "GET localhost /field 1 z 127.0.0.1|")
        self.assertEqual(s.get("/field").text, "GET localhost /field   127.0.0.1|")
        self.assertEqual(s.get("/dollar").text, "${x}")
        # What a client sends is escaped for what the answer is.
        self.assertEqual(s.get("/page?a=%3Cb%3E%26").text, "<a title='a=%3Cb%3E%26'>&lt;b&gt;&amp;</a>")
        self.assertEqual(s.get("/page?a='\"").text, "<a title='a=&#39;&quot;'>&#39;&quot;</a>")
        self.assertEqual(s.get("/problem?a=%22%5c").text, '{"a":"\\"\\\\"}')

    def test_redirect(self):
        s = self.server(HEAD + """
            route /a    { redirect /other; }
            route /b    { redirect 301 "https://example.com${path}?from=${query.from}"; }
            route /s    { redirect https; }
        }""")
        a = s.get("/a")
        self.assertEqual((a.status, a["Location"]), (302, "/other"))
        a = s.get("/b/x?from=1%0d%0aX:y")
        self.assertEqual(a.status, 301)
        self.assertTrue(a["Location"].startswith("https://example.com/b/x?from="))
        self.assertIsNone(a["X"])
        self.assertEqual(s.get("/s/x?y=1")["Location"], "https://localhost/s/x?y=1")

    def test_rewrite(self):
        peer = self.peer(flow.http(flow.tell))
        s = self.server(HEAD + """
            route ~ "^/u/(?<id>[^/]+)$" { rewrite "/user?id=${id}"; proxy @peer@; }
            route /old { rewrite "/new"; proxy @peer@; }
            route /user { return 200 "a rewrite never chooses"; }
        }""", peer=peer)
        self.assertEqual(s.get("/u/42").text.split()[1], "/user?id=42")
        self.assertEqual(s.get("/old?x=1").text.split()[1], "/new?x=1")
        sent = s.get("/u/a%20b%26c%3dd").text.split("\n")[0]
        self.assertEqual(sent.count(" "), 2, sent)
        self.assertNotIn("&c=d", sent)

    def test_echo(self):
        s = self.server(HEAD + "echo; }")
        a = s.get("/", method="POST", body=b"hello" * 1000)
        self.assertEqual((a.status, a.body), (200, b"hello" * 1000))
        with s.client() as c:
            c.send(flow.request("/", method="POST", headers="Transfer-Encoding: chunked") + flow.chunked([b"a", b"b" * 100]))
            self.assertEqual(c.answer().body, b"a" + b"b" * 100)
            c.send(flow.request("/"))
            self.assertEqual(c.answer().status, 200)

    def test_allow_deny(self):
        s = self.server(HEAD + """
            route /in    { allow 127.0.0.0/8; deny all; return 200 "in"; }
            route /out   { deny 127.0.0.1; allow all; return 200 "out"; }
            route /other { allow 10.0.0.0/8; deny all; return 200 "other"; }
            route /when  { deny when header.x-bad exists; return 200 "fine"; }
        }""")
        self.assertEqual([s.get(t).status for t in ("/in", "/out", "/other", "/when")], [200, 403, 403, 200])
        self.assertEqual(s.get("/when", headers="X-Bad: 1").status, 403)

    def test_request_header(self):
        peer = self.peer(flow.http(flow.tell))
        s = self.server(HEAD + """
            request_header set X-Set "new ${src}";
            request_header add X-Add "two";
            request_header remove X-Gone;
            request_header set X-Evil "${query.e}";
            route { proxy @peer@; }
        }""", peer=peer)
        text = s.get("/?e=a%0d%0aX-Split:%20b", headers="X-Set: old\nX-Add: one\nX-Gone: 1\nx-gone: 2").text
        q = peer.questions[0]
        self.assertEqual(q.all("X-Set"), ["new 127.0.0.1"])
        self.assertEqual(q.all("X-Add"), ["one", "two"])
        self.assertEqual(q.all("X-Gone"), [])
        self.assertEqual(q.all("X-Split"), [], text)

    def test_host_can_be_set(self):
        peer = self.peer(flow.http(flow.tell))
        s = self.server(HEAD + 'request_header set Host "inner.example"; proxy @peer@; }', peer=peer)
        s.get("/")
        self.assertEqual(peer.questions[0].all("Host"), ["inner.example"])

    def test_response_header(self):
        peer = self.peer(flow.http(lambda q: flow.answer(200, b"ok", "X-Set: old\nX-Gone: 1\nServer: secret")))
        s = self.server(HEAD + """
            response_header set X-Set "new";
            response_header add X-Add "${status}" when status == 200;
            response_header add X-Not "x" when status == 500;
            response_header remove X-Gone;
            response_header remove Server;
            route { proxy @peer@; }
        }""", peer=peer)
        a = s.get("/")
        self.assertEqual((a.all("X-Set"), a["X-Add"], a["X-Not"], a["X-Gone"], a["Server"]), (["new"], "200", None, None, None))

    def test_close(self):
        s = self.server(HEAD + 'route /x { close; } route { return 200 "ok"; } }')
        with s.client() as c:
            c.send(flow.request("/x"))
            self.assertTrue(c.ends())
        self.assertEqual(s.get("/").text, "ok")

    def test_steps_with_conditions(self):
        s = self.server(HEAD + """
            route {
                return 200 "one" when query.n == "1";
                redirect /two when query.n == "2";
                deny when query.n == "3";
                return 200 "rest";
            }
        }""")
        self.assertEqual([s.get("/?n=%d" % n).status for n in (1, 2, 3, 4)], [200, 302, 403, 200])
        self.assertEqual(s.get("/?n=4").text, "rest")

    def test_proxy_by_map(self):
        a, b = (self.peer(flow.http(lambda q, n=n: flow.answer(200, n))) for n in (b"a", b"b"))
        s = self.server("""
            upstream a { server @a@; }
            upstream b { server @b@; }
            map where header.x-to { "b" "b"; default "a"; }
            """ + HEAD + "proxy where; }", a=a, b=b)
        self.assertEqual([s.get("/").text, s.get("/", headers="X-To: b").text], ["a", "b"])

    def test_error_steps(self):
        s = self.server(HEAD + """
            error 403 404 { return 200 "instead"; }
            route /deny { deny; }
            route /ok   { return 200 "ok"; }
        }""")
        self.assertEqual([s.get(t).text for t in ("/deny", "/none", "/ok")], ["instead", "instead", "ok"])

    def test_method_of_an_answer_made_here(self):
        """A body that no step wants is read and dropped; the connection goes on."""
        s = self.server(HEAD + 'return 200 "ok"; }')
        with s.client() as c:
            for _ in range(3):
                c.send(flow.request("/", method="PUT", body=b"x" * 50000))
                self.assertEqual(c.answer().text, "ok")


if __name__ == "__main__":
    flow.main()
