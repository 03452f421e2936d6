# SPDX-License-Identifier: BSD-2-Clause
"""The command line: -t -q --json -T -D -v -V -h -s, their exit statuses, and configurations that should not be."""
import json
import os
import random
import signal
import subprocess
import time

import flow

GOOD = 'server { listen 127.0.0.1:18080; server_name a; return 200 "ok"; }\n'


class Check(flow.Case):
    def setUp(self):
        self.d = self.directory()

    def conf(self, text, name="server.conf"):
        path = os.path.join(self.d, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text.encode() if isinstance(text, str) else text)
        return path

    def test_good(self):
        status, out, err = flow.run("-t", "-c", self.conf(GOOD))
        self.assertEqual((status, out), (0, ""))
        self.assertIn("fine", err)
        self.assertEqual(flow.run("-t", "-q", "-c", self.conf(GOOD)), (0, "", ""))

    def test_leaves_nothing(self):
        self.conf('pid "run.pid"; error_log "e.log"; server { listen unix:%s/x.sock; access_log "a.log"; return 200; }' % self.d)
        self.assertEqual(flow.run("-t", "-q", "-c", self.d)[0], 0)
        self.assertEqual(os.listdir(self.d), ["server.conf"])

    def test_bad(self):
        path = self.conf('server {\n    listen 127.0.0.1:18080;\n    proxi shop;\n    timeout { header 30; }\n}\n')
        status, out, err = flow.run("-t", "-c", path)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r'server\.conf:3:5: error: unknown directive "proxi" in server; did you mean "proxy"\?\n')
        self.assertIn("    3 |     proxi shop;\n      |     ^~~~~\n", err)
        self.assertIn("30s", err)
        self.assertIn("2 errors", err)

    def test_bad_does_not_start(self):
        status, _, err = flow.run("-c", self.conf("nonsense;\n"), "-p", self.d, timeout=10)
        self.assertEqual(status, 1)
        self.assertIn("nonsense", err)

    def test_json(self):
        status, out, err = flow.run("-t", "--json", "-c", self.conf(b'server { proxi "\\"x\xff"; }\nfoo;\n'))
        self.assertEqual((status, err), (1, ""))
        objects = [json.loads(line) for line in out.splitlines()]
        self.assertGreaterEqual(len(objects), 2)
        self.assertEqual({o["severity"] for o in objects} - {"warning", "note"}, {"error"})
        self.assertEqual([o["line"] for o in objects if "proxi" in o["message"]], [1])
        status, out, _ = flow.run("-t", "--json", "-c", self.conf(b"foo\x01\xff\"\\;\n"))
        self.assertEqual(status, 1)
        self.assertTrue([json.loads(line) for line in out.splitlines()])

    def test_directory(self):
        self.conf(GOOD, "a.conf")
        self.conf("proxi;\n", "b.conf")
        self.conf("also wrong\n", "c.conf.off")
        status, _, err = flow.run("-t", "-c", self.d)
        self.assertEqual(status, 1)
        self.assertIn("b.conf:1:1", err)
        self.assertNotIn("c.conf", err)

    def test_absent(self):
        for path in (self.d + "/none.conf", self.d + "/none/"):
            status, _, err = flow.run("-t", "-c", path)
            self.assertEqual(status, 1)
            self.assertIn("none", err)

    def test_unreadable(self):
        if os.geteuid() == 0:
            self.skipTest("root reads everything")
        path = self.conf(GOOD)
        os.chmod(path, 0)
        status, _, err = flow.run("-t", "-c", path)
        self.assertEqual(status, 1)
        self.assertIn("ermission", err)

    def test_includes(self):
        self.conf(GOOD, "sites/one.conf")
        self.assertEqual(flow.run("-t", "-q", "-c", self.conf('include "sites/*.conf"; include "none/*.conf";')), (0, "", ""))
        status, _, err = flow.run("-t", "-c", self.conf('include "none.conf";\n' + GOOD))
        self.assertEqual(status, 1)
        self.assertIn("none.conf", err)

    def test_include_loops(self):
        self.conf('include "b.conf";\n', "a.conf")
        self.conf('include "a.conf";\n', "b.conf")
        for path in (self.d + "/a.conf", self.conf('include "self.conf";', "self.conf")):
            status, _, err = flow.run("-t", "-c", path)
            self.assertEqual(status, 1)
            self.assertIn("include", err)

    def bad(self, text, seconds=20):
        """An error, in time: not a crash, not a hang."""
        before = time.monotonic()
        status, _, err = flow.run("-t", "-c", self.conf(text), timeout=60)
        self.assertEqual(status, 1, err[:500])
        self.assertIn("error:", err)
        self.assertNotRegex(err, "Sanitizer|runtime error")
        self.assertLess(time.monotonic() - before, seconds * flow.SLOW)
        self.assertLess(len(err), 1 << 20)

    def test_binary(self):
        source = random.Random(1)
        for _ in range(20):
            self.bad(bytes(source.randrange(256) for _ in range(source.randrange(1, 5000))) + b"\x00")
        with open(flow.SERVER, "rb") as f:
            self.bad(f.read(1 << 20))

    def test_a_long_line(self):
        self.bad("server { " + "x" * (10 << 20) + "; }\n")
        self.bad('server { return 200 "' + "x" * (10 << 20) + '; }\n')
        self.bad("server { " + "a " * (5 << 20) + "; }\n")

    def test_deep(self):
        self.bad("a { " * 100000)
        self.bad("a { " * 100000 + "} " * 100000)
        self.bad("server { route when " + "(" * 100000 + " { return 200; } }")
        self.bad("server { route when " + "not " * 100000 + "src exists { return 200; } }")

    def test_unbalanced(self):
        for text in ("server {", "server { route {", "}", "server { } }", 'server { return 200 "open; }\n', "server { listen 80", "{", ";;;{"):
            self.bad(text)

    def test_effective(self):
        status, out, err = flow.run("-T", "-c", self.conf("server {\n  listen 127.0.0.1:18080;\n  timeout { header 7s; }\n  return 200;\n}\n"))
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"header\s+7s;\s*# .*server\.conf:3")
        self.assertRegex(out, r"keepalive\s+60s;\s*# default")
        # what it prints is a configuration, and says the same
        self.conf(out, "again.conf")
        status, again, err = flow.run("-T", "-c", self.d + "/again.conf")
        self.assertEqual((status, err), (0, ""))
        strip = lambda text: [line.split(" # ")[0].split("\t# ")[0].rstrip() for line in text.splitlines() if not line.lstrip().startswith("#")]
        self.assertEqual(strip(again), strip(out))

    def test_effective_of_other_protocols(self):
        """What is inherited is printed where it has no use, and is no mistake there."""
        _, out, _ = flow.run("-T", "-c", self.conf(
            "defaults {\n  real_ip { from 10.0.0.0/8; }\n  message_rate 5/s burst=7;\n"
            "  heartbeat { interval 5s; send \"x\"; }\n  timeout { first_message 5s; body 7s; }\n"
            "  buffer { answer 64k over=drop; }\n  flow by msg.device;\n}\n"
            "protocol typed { switch u8 { case 1 { length u8 at 1; } case 2 { fixed 9; } else { fixed 4; } }\n"
            "  max 64; preface { boundary '\\n'; max 9; } fields { a u8 at 0; } }\n"
            "upstream u { server 127.0.0.1:1; protocol http; }\n"
            "server { listen 127.0.0.1:18084; protocol typed; echo; }\n"
            "server { listen 127.0.0.1:18080; route /a { buffer { question 7k; } return 200; } route { proxy u; } }\n"
            "server { listen 127.0.0.1:18081; protocol tcp; proxy 127.0.0.1:1; }\n"
            "protocol dev { boundary \"\\n\"; max 600; format json; }\n"
            "server { listen 127.0.0.1:18082; protocol dev; echo; }\n"
            "server { listen udp:127.0.0.1:18082; protocol dev; flow by source; echo; }\n"
            "server { listen udp:127.0.0.1:18083; protocol dev; echo; }\n"))
        for said in ("length u8 at 1;", "fixed 9;", "fixed 4;", "boundary '\\n';", "a u8 at 0;"):
            self.assertIn(said, out)
        self.conf(out, "again.conf")
        self.assertEqual(flow.run("-t", "-q", "-c", self.d + "/again.conf"), (0, "", ""))

    def test_reference(self):
        status, out, err = flow.run("-D")
        self.assertEqual((status, err), (0, ""))
        for word in ("listen", "upstream", "proxy", "access_log", "keepalive", "fail_timeout"):
            self.assertIn(word, out)
        for line in ("proxy TARGET [per [connection|message]] [answers=NUMBER] [when CONDITION];", "VALUE RESULT;",
                     "boundary BYTES...|json_value;", "NAME KIND [at N];", "switch KIND [at N] { ... }"):
            self.assertIn("\n%s\n" % line, out)
        status, roff, _ = flow.run("-D", "--man")
        self.assertEqual(status, 0)
        self.assertTrue(roff.startswith((".TH", ".\\\"", "'\\\"", ".Dd")), roff[:40])
        self.assertIn("proxy", flow.run("-D", "--words")[1].split())

    def test_version_and_help(self):
        self.assertRegex(flow.run("-v")[1], r"^millrace \d+\.\d+")
        self.assertIn("libevent", flow.run("-V")[1])
        status, out, _ = flow.run("-h")
        self.assertEqual(status, 0)
        self.assertIn("-t", out)

    def test_usage(self):
        for arguments in (["-x"], ["extra"], ["-s"], ["-s", "fly"], ["--nonsense"]):
            self.assertEqual(flow.run(*arguments)[0], 2, arguments)

    def test_nowhere_to_ask(self):
        path = os.path.join(self.directory(), "x.conf")
        for text in ("control off; pid x.pid;", ""):
            with open(path, "w") as f:
                f.write(text)
            for verb in ("status", "reload"):
                status, out, said = flow.run("-c", path, verb)
                self.assertEqual((status, out), (1, ""))
                self.assertEqual(said, "server: error: the configuration has no control socket: write control PATH, or "
                                 "pid PATH, which it is beside; and start the master again\n")
            wanted = "no master is running" if text else 'the configuration has no "pid"'
            for words in (("-s", "reload"), ("-s", "stop"), ("upgrade",)):
                status, out, said = flow.run("-c", path, *words)
                self.assertEqual((status, out), (1, ""))
                self.assertIn(wanted, said)

    def test_verbs_that_are_none(self):
        """What was probably meant, in a line, and where more is to be read."""
        conf = os.path.join(flow.SOURCE, "conf.d")
        for arguments, said in (
                (["upstream"], 'there is no verb "upstream"; did you mean "upstreams"?'),
                (["bananas"], 'there is no verb "bananas"'),
                (["stop"], 'there is no verb "stop"; did you mean: server -s stop'),
                ([conf], f'there is no verb "{conf}"; did you mean: server -c {conf}'),
                (["status", "-c", conf], "-c stands before the verb: server -c PATH status"),
                (["reload", "now"], "write: server [-c PATH] reload"),
                (["kick"], "write: server [-c PATH] kick ID [now]"),
                (["worker", "1"], "write: server [-c PATH] worker N restart")):
            self.assertEqual(flow.run(*arguments), (2, "", f"server: {said}\nserver -h lists the options and the verbs\n"))


class Running(flow.Case):
    CONF = 'server { listen 127.0.0.1:@port@; server_name localhost; route /slow { proxy @slow@; } route { return 200 "ok"; } }'

    def setUp(self):
        self.slow = self.peer(flow.http(lambda q: time.sleep(0.5) or flow.answer(200, b"slow")))

    def run_on(self, s, *arguments):
        return flow.run(*arguments, "-c", s.path, "-p", s.directory)

    def test_pid_file(self):
        s = self.server(self.CONF, slow=self.slow)
        self.assertEqual(int(s.read("server.pid")), s.process.pid)
        # a second one with the same pid file says so and leaves the first alone
        status, _, err = self.run_on(s)
        self.assertEqual(status, 1)
        self.assertIn("server.pid", err)
        self.assertEqual(s.get("/").text, "ok")

    def test_stop(self):
        s = self.server(self.CONF, slow=self.slow)
        path = os.path.join(s.directory, "server.pid")
        self.assertEqual(self.run_on(s, "-s", "stop")[0], 0)
        self.assertEqual(s.process.wait(flow.TIME), 0)
        self.assertFalse(os.path.exists(path))

    def test_quit_waits_for_what_runs(self):
        for send in (lambda s: self.run_on(s, "-s", "quit"), lambda s: s.kill(signal.SIGQUIT)):
            s = self.server(self.CONF, slow=self.slow)
            idle = s.client()
            idle.send(flow.request("/"))
            idle.answer()
            with s.client() as c:
                c.send(flow.request("/slow"))
                flow.wait_for(lambda: self.slow.questions)
                send(s)
                self.assertEqual(c.answer().text, "slow")
            self.assertTrue(idle.ends())
            idle.close()
            self.assertEqual(s.process.wait(flow.TIME), 0)
            self.slow.questions.clear()

    def test_stop_without_a_server(self):
        d = self.directory()
        with open(d + "/server.conf", "w") as f:
            f.write('pid "server.pid";\n' + GOOD)
        status, _, err = flow.run("-s", "stop", "-c", d + "/server.conf", "-p", d)
        self.assertEqual(status, 1)
        self.assertTrue(err)

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            s = self.server(self.CONF, slow=self.slow)
            self.assertEqual(s.get("/").text, "ok")
            self.assertEqual(s.stop(number), 0)

    def test_a_dead_worker_is_replaced(self):
        s = self.server(self.CONF, slow=self.slow, main="workers 2;\n", expect_report=True)
        self.assertEqual(s.get("/").text, "ok")
        workers = flow.wait_for(lambda: len(s.workers()) == 2 and s.workers())
        os.kill(workers[0], signal.SIGKILL)
        for _ in range(50):         # meanwhile nobody is refused
            self.assertEqual(s.get("/").text, "ok")
        flow.wait_for(lambda: len(s.workers()) == 2 and workers[0] not in s.workers())

    def test_every_worker_serves(self):
        s = self.server(self.CONF, slow=self.slow, main="workers 3;\n")
        flow.wait_for(lambda: len(s.workers()) == 3)
        for _ in range(60):
            self.assertEqual(s.get("/").text, "ok")

    def test_port_in_use(self):
        taken = flow.socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        self.addCleanup(taken.close)
        d = self.directory()
        with open(d + "/server.conf", "w") as f:
            f.write('server { listen 127.0.0.1:%d; return 200; }' % taken.getsockname()[1])
        status, _, err = flow.run("-c", d + "/server.conf", "-p", d, timeout=20)
        self.assertEqual(status, 1)
        self.assertIn("in use", err)

    @staticmethod
    def is_gone(pid):
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().split()[2] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def test_daemon(self):
        s = self.server("daemon on; error_log \"error.log\";\n" + self.CONF, slow=self.slow, start=False)
        p = subprocess.run([flow.SERVER, "-c", s.path, "-p", s.directory], stdin=subprocess.DEVNULL, stdout=s.stderr, stderr=s.stderr, timeout=20)
        self.assertEqual(p.returncode, 0, s.said())
        pid = int(flow.wait_for(lambda: s.read("server.pid")))
        try:
            flow.wait_for(lambda: flow.listening(("127.0.0.1", s.names["port"])))
            self.assertEqual(s.get("/").text, "ok")
            self.assertEqual(os.getsid(pid), pid)
            self.assertEqual(self.run_on(s, "-s", "stop")[0], 0)
            flow.wait_for(lambda: self.is_gone(pid))
            pid = 0
        finally:
            if pid:
                os.kill(pid, signal.SIGKILL)

    def test_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        s = self.server("user nobody nogroup;\n" + self.CONF, slow=self.slow)
        self.assertEqual(s.get("/").text, "ok")
        for pid in s.workers():
            with open("/proc/%d/status" % pid) as f:
                status = f.read()
            self.assertIn("Uid:\t65534\t65534\t65534\t65534", status)
            self.assertIn("CapEff:\t0000000000000000", status)
            self.assertRegex(status, r"Groups:\s*(65534\s*)?\n")


if __name__ == "__main__":
    flow.main()
