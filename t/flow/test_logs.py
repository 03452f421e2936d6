# SPDX-License-Identifier: BSD-2-Clause
"""Access logs in both formats, with whatever a client sends in them; the error log; reopening."""
import json
import os
import re
import signal

import flow

LOGGED = """
server { listen 127.0.0.1:@port@; server_name localhost; access_log "access.log" %s;
    route /gone { proxy @gone@; }
    route       { return 200 "text"; }
}
"""
COMBINED = re.compile(r'^(\S+) - - \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "([^"]*)" (\d{3}|-) (\d+) "([^"]*)" "([^"]*)"$')


class Logs(flow.Case):
    def lines(self, s, n):
        def read():
            with flow.contextlib.suppress(OSError):
                lines = s.read("access.log").decode().splitlines()
                return lines if len(lines) >= n else None

        return flow.wait_for(read, message="no %d lines in the access log" % n)

    def test_combined(self):
        s = self.server(LOGGED % "combined", gone=self.closed_port())
        s.get("/x?y=1", headers='Referer: http://a/\nUser-Agent: test "1" \\')
        s.get("/gone")
        with s.client() as c:
            c.send(b"NONSENSE\r\n\r\n")
            c.answer()
        lines = self.lines(s, 3)
        for line in lines:
            self.assertRegex(line, COMBINED)
        m = COMBINED.match(lines[0])
        self.assertEqual((m[1], m[3], m[4], m[6]), ("127.0.0.1", "GET /x?y=1 HTTP/1.1", "200", "http://a/"))
        self.assertIn("test ", m[7])
        self.assertEqual(COMBINED.match(lines[1])[4], "502")
        self.assertEqual(COMBINED.match(lines[2])[4], "400")
        self.assertGreater(int(m[5]), 4)

    def test_json(self):
        s = self.server(LOGGED % "json", gone=self.closed_port())
        s.get("/x?y=%22%00"[:8], headers='User-Agent: "quoted" \\back\\ \x80\xff\xc3\xa4\t\nReferer: \xed\xa0\x80')
        s.get("/gone")
        with s.client() as c:
            c.send(b"NONSENSE\r\n\r\n")
            c.answer()
        with s.client() as c:
            c.send(flow.request("/" + "a" * 7000, headers="User-Agent: " + "\xff" * 7000 + "\nReferer: " + '"' * 7000))
            self.assertEqual(c.answer().status, 200)
        entries = [json.loads(line) for line in self.lines(s, 4)]
        a = entries[0]
        self.assertEqual((a["src"], a["method"], a["uri"], a["status"], a["host"]), ("127.0.0.1", "GET", "/x?y=%22", 200, "localhost"))
        self.assertIn('"quoted" \\back\\', a["user_agent"])
        self.assertEqual((entries[1]["status"], entries[1]["reason"], entries[1]["attempts"]), (502, "peer_refused", 1))
        self.assertEqual(entries[2]["status"], 400)

    def test_tcp(self):
        peer = self.peer(flow.echo)
        s = self.server("""
            server { listen 127.0.0.1:@port@; protocol tcp; access_log "access.log" json; proxy @peer@; }
        """, peer=peer)
        with s.client() as c:
            c.send(b"12345")
            c.exactly(5)
            c.shut()
            c.rest()
        a = json.loads(self.lines(s, 1)[0])
        self.assertEqual((a["src"], a["bytes_sent"], a["bytes_received"], a["protocol"], a["peer"]), ("127.0.0.1", 5, 5, "tcp", peer.shown))

    def test_off_and_per_route(self):
        s = self.server("""
            defaults { access_log "access.log"; }
            server { listen 127.0.0.1:@port@; server_name localhost;
                route /quiet { access_log off; return 200 "quiet"; }
                route /other { access_log "other.log" json; return 200 "other"; }
                route        { return 200 "loud"; }
            }
        """)
        for target in ("/quiet", "/other", "/loud"):
            s.get(target)
        self.assertIn("/loud", self.lines(s, 1)[0])
        self.assertEqual(len(self.lines(s, 1)), 1)
        self.assertEqual(json.loads(flow.wait_for(lambda: s.read("other.log")))["uri"], "/other")

    def reopened(self, send):
        s = self.server('error_log "error.log" info;\n' + LOGGED % "combined", gone=self.closed_port())
        s.get("/before")
        self.lines(s, 1)
        for name in ("access.log", "error.log"):
            os.rename(os.path.join(s.directory, name), os.path.join(s.directory, name + ".1"))
        send(s)
        flow.wait_for(lambda: os.path.exists(os.path.join(s.directory, "access.log")), message="not reopened")

        def after():
            s.get("/after")
            return b"/after" in s.read("access.log")

        flow.wait_for(after)
        self.assertIn(b"/before", s.read("access.log.1"))
        self.assertNotIn(b"/before", s.read("access.log"))
        flow.wait_for(lambda: os.path.exists(os.path.join(s.directory, "error.log")))

    def test_reopen_by_signal(self):
        self.reopened(lambda s: s.kill(signal.SIGUSR1))

    def test_reopen_by_command(self):
        def send(s):
            status, _, said = flow.run("-s", "reopen", "-c", s.path, "-p", s.directory)
            self.assertEqual(status, 0, said)

        self.reopened(send)

    def test_nothing_is_lost_at_the_end(self):
        s = self.server(LOGGED % "combined", gone=self.closed_port())
        for i in range(50):
            s.get("/%d" % i)
        path = os.path.join(s.directory, "access.log")
        keep = open(path, "rb")
        s.stop()
        keep.seek(0)
        self.assertEqual(len(keep.read().splitlines()), 50)
        keep.close()

    def test_a_full_disk_stops_nobody(self):
        """/dev/full takes nothing: requests are answered all the same."""
        s = self.server("""
            server { listen 127.0.0.1:@port@; server_name localhost; access_log "/dev/full"; return 200 "ok"; }
        """)
        with s.client() as c:
            for _ in range(2000):
                c.send(flow.request("/"))
                self.assertEqual(c.answer().text, "ok")

    def test_errors_are_said(self):
        s = self.server('error_log "error.log" info;\n' + LOGGED % "combined", gone=self.closed_port())
        s.get("/gone")
        text = flow.wait_for(lambda: s.read("error.log").decode())
        self.assertRegex(text, r"(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] (master|worker \d+)\[\d+\]: ")
        flow.wait_for(lambda: "refused" in s.read("error.log").decode())


if __name__ == "__main__":
    flow.main()
