# SPDX-License-Identifier: BSD-2-Clause
"""Which route and which server a question gets: file order, segments, bytes, regexes, conditions, hosts."""
import flow

HEAD = "server { listen 127.0.0.1:@port@; server_name localhost;\n"


class Routes(flow.Case):
    def table(self, body, expected, main="", **more):
        s = self.server(main + HEAD + body + "}", **more)
        with s.client() as c:
            for target, text in expected.items():
                method = "GET"
                if " " in target:
                    method, target = target.split(" ")
                c.send(flow.request(target, method=method))
                a = c.answer()
                self.assertEqual(a.text if a.status == 200 else a.status, text, (method, target))
        return s

    def test_kinds(self):
        self.table("""
            route = /exact     { return 200 "exact"; }
            route /seg         { return 200 "seg"; }
            route /dir/        { return 200 "dir"; }
            route /bytes*      { return 200 "bytes"; }
            route ~ "^/u/(?<id>[0-9]+)$" { return 200 "user ${id}"; }
            route ~ "\\.(png|jpg)$"      { return 200 "picture"; }
        """, {
            "/exact": "exact", "/exact/": 404, "/exact?x=1": "exact", "/exacto": 404,
            "/seg": "seg", "/seg/": "seg", "/seg/x/y": "seg", "/segment": 404,
            "/dir/": "dir", "/dir/x": "dir", "/dir": 404,
            "/bytes": "bytes", "/bytesandmore": "bytes", "/byte": 404,
            "/u/42": "user 42", "/u/x": 404, "/u/42/": 404,
            "/a/b.png": "picture", "/a/b.pngx": 404,
            "/%73eg": "seg", "/x/../seg": "seg", "//seg": "seg", "/x/..///dir//x": "dir", "/": 404,
        })

    def test_the_first_wins(self):
        self.table("""
            route /a/b     { return 200 "1"; }
            route = /a/c   { return 200 "2"; }
            route ~ "^/a/" { return 200 "3"; }
            route /a       { return 200 "4"; }
            route          { return 200 "5"; }
        """, {"/a/b/x": "1", "/a/c": "2", "/a/d": "3", "/a": "4", "/b": "5"})

    def test_when(self):
        self.table("""
            route /m when method in (GET, HEAD)                  { return 200 "read"; }
            route /m                                             { return 200 "write"; }
            route when query.x == "1" and not query.y exists     { return 200 "x"; }
            route when query.x == "1"                            { return 200 "xy"; }
            route when path ~ "^/p/" and query.n in (a, b)       { return 200 "p"; }
            route                                                { return 200 "rest"; }
        """, {"/m": "read", "POST /m": "write", "/?x=1": "x", "/?x=1&y=": "xy", "/p/?n=b": "p", "/p/?n=c": "rest", "/": "rest"})

    def test_when_on_fields(self):
        s = self.server(HEAD + """
            route when header.x-canary == "1"    { return 200 "canary"; }
            route when cookie.sid exists         { return 200 "known ${cookie.sid}"; }
            route when header.x-many == "b"      { return 200 "any"; }
            route when src in (10.0.0.0/8)       { return 200 "far"; }
            route when src in (127.0.0.0/8, ::1) { return 200 "near"; }
        }""")
        self.assertEqual(s.get("/", headers="X-Canary: 1").text, "canary")
        self.assertEqual(s.get("/", headers="Cookie: a=b; sid=77").text, "known 77")
        self.assertEqual(s.get("/", headers="X-Many: a\nX-Many: b").text, "any")
        self.assertEqual(s.get("/").text, "near")

    def test_map(self):
        self.table("""
            route { return 200 "${map.kind}"; }
        """, {"/a": "first", "/b/7": "number", "/c": "none"}, main="""
            map kind path { "/a" "first"; ~ "^/b/[0-9]+$" "number"; default "none"; }
        """)

    def test_thousands(self):
        """Compiled, not tried one by one; still the first in file order."""
        routes = "".join('route = /e%d { return 200 "e%d"; }\nroute /s%d { return 200 "s%d"; }\nroute ~ "^/r%d/" { return 200 "r%d"; }\n'
                         % ((i,) * 6) for i in range(2000))
        self.table(routes, {"/e0": "e0", "/e1999": "e1999", "/s1234/x": "s1234", "/r1999/": "r1999", "/r77/x": "r77", "/none": 404})

    def test_steps_of_the_server_come_first(self):
        s = self.server(HEAD + """
            response_header set X-A "server";
            response_header add X-B "server";
            route /r { response_header reset; response_header set X-C "route"; return 200 "r"; }
            route    { response_header add X-B "route"; return 200 "rest"; }
        }""")
        a = s.get("/r")
        self.assertEqual((a["X-A"], a["X-B"], a["X-C"]), (None, None, "route"))
        a = s.get("/")
        self.assertEqual((a["X-A"], a["X-B"]), ("server", "route, server"), "answers pass the steps from the last to the first")

    def test_a_route_overrides_settings(self):
        s = self.server(HEAD + """
            max { body 10; }
            route /big { max { body 1k; } return 200 "big"; }
            route      { return 200 "small"; }
        }""")
        self.assertEqual(s.get("/big", method="POST", body=b"x" * 1000).status, 200)
        self.assertEqual(s.get("/", method="POST", body=b"x" * 11).status, 413)


class Hosts(flow.Case):
    SERVERS = """
        server one   { listen 127.0.0.1:@port@%s; server_name example.com www.example.com; return 200 "one"; }
        server two   { listen 127.0.0.1:@port@; server_name *.example.com; return 200 "two"; }
        server three { listen 127.0.0.1:@port@; server_name *.deep.example.com; return 200 "three"; }
    """

    def ask(self, s, host):
        a = s.get("/", host=host)
        return a.text if a.status == 200 else a.status

    def test_names(self):
        s = self.server(self.SERVERS % "")
        for host, text in {"example.com": "one", "EXAMPLE.com:%d" % s.names["port"]: "one", "www.example.com": "one", "a.example.com": "two",
                           "a.b.example.com": "two", "a.deep.example.com": "three", "other.com": 421, "127.0.0.1": 421}.items():
            self.assertEqual(self.ask(s, host), text, host)

    def test_default_server(self):
        s = self.server(self.SERVERS % " default_server")
        self.assertEqual([self.ask(s, h) for h in ("other.com", "a.example.com", "127.0.0.1")], ["one", "two", "one"])

    def test_one_server_takes_all(self):
        s = self.server('server { listen 127.0.0.1:@port@; return 200 "${host}"; }')
        self.assertEqual([self.ask(s, h) for h in ("A.b", "127.0.0.1")], ["a.b", "127.0.0.1"])

    def test_several_listeners(self):
        s = self.server("""
            server { listen 127.0.0.1:@port@; listen 127.0.0.1:@port2@; return 200 "${dst_port}"; }
            server { listen unix:@dir@/s.sock; return 200 "unix"; }
        """)
        for name in ("port", "port2"):
            self.assertEqual(s.get("/", name=name).text, str(s.names[name]))
        with flow.Client(s.directory + "/s.sock") as c:
            c.send(flow.request("/"))
            self.assertEqual(c.answer().text, "unix")


if __name__ == "__main__":
    flow.main()
