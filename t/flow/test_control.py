#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The control socket: every verb for people and for programs, what is malformed, and workers that hang."""
import json
import os
import resource
import signal
import socket
import stat
import threading
import time
import unittest

import flow

WEB = """
upstream app { server @peer@; server @other@; }
server web { listen 127.0.0.1:@port@; route /p { proxy app; } route { return 200 "hi\\n"; } }
"""


def slow(gate):
    """A peer that answers /slow only when it is let."""
    def script(question):
        if question.target.endswith("slow"):
            gate.wait(flow.TIME)
        return flow.answer(200, b"fine")
    return flow.http(script)


class Control(flow.Case):
    def verb(self, s, *words, status=0):
        got, out, said = flow.run("-c", s.path, "-p", s.directory, *words)
        self.assertEqual(got, status, out + said)
        return out if status == 0 else said

    def json(self, s, *words):
        return json.loads(self.verb(s, *words, "--json"))

    def raw(self, s, request, shut=False):
        """What is answered to these bytes, to its end."""
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(flow.TIME * flow.SLOW)
            c.connect(os.path.join(s.directory, "server.control"))
            if request:
                c.sendall(request)
            if shut:
                c.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                more = c.recv(65536)
                if not more:
                    return got
                got += more

    def web(self, workers=2, main=""):
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)
        self.one, self.two = self.peer(slow(self.gate)), self.peer(slow(self.gate))
        return self.server(WEB, peer=self.one, other=self.two, main="workers %d;\nerror_log stderr info;\n%s" % (workers, main))

    def peers(self, s):
        return {p["peer"]: p for p in self.json(s, "upstreams")["peers"]}

    # -------------------------------------------------------------- what is shown

    def test_status(self):
        s = self.web()
        for _ in range(5):
            self.assertEqual(s.get("/").status, 200)
        self.assertEqual(s.get("/none", host="").status, 400)
        status = self.json(s, "status")
        self.assertEqual(status["server"]["pid"], s.process.pid)
        self.assertEqual(status["server"]["state"], "serving")
        self.assertEqual(status["server"]["generation"], 1)
        self.assertEqual(sorted(w["pid"] for w in status["workers"]), sorted(s.workers()))
        self.assertEqual([w["worker"] for w in status["workers"]], ["1", "2"])
        self.assertEqual(sum(w["exchanges"] for w in status["workers"]), 6)
        self.assertTrue(all(w["memory"] > 100000 and w["state"] == "serving" for w in status["workers"]))
        self.assertEqual({r["reason"]: r["count"] for r in status["reasons"]}, {"bad_host": 1})
        text = self.verb(s, "status")
        lines = text.splitlines()
        self.assertIn("state serving", lines[0])
        heads = [line for line in lines if line.startswith("worker ")]
        self.assertEqual(len(heads), 1)
        at = heads[0].index("state")
        self.assertTrue(all(line[at:].startswith("serving") for line in lines if line[:1].isdigit()))

    def test_rates(self):
        s = self.web(workers=1)
        with s.client() as c:
            def ask():
                for _ in range(20):
                    c.send(flow.request("/"))
                    self.assertEqual(c.answer().status, 200)
                return self.json(s, "status")["workers"][0]["exchanges_per_s"] > 5
            flow.wait_for(ask)

    def test_connections(self):
        s = self.web(workers=2)
        with s.client() as idle, s.client() as asking:
            idle.send(flow.request("/p/x"))
            self.assertEqual(idle.answer().status, 200)
            asking.send(flow.request("/p/slow"))

            def all_there():
                rows = self.json(s, "connections")["connections"]
                return len(rows) == 4 and {r["state"] for r in rows if r["side"] == "client"} == {"idle", "asking"} and rows
            rows = flow.wait_for(all_there)
            mine = {r["address"]: r for r in rows if r["side"] == "client"}
            row = mine["127.0.0.1:%d" % asking.socket.getsockname()[1]]
            self.assertEqual((row["state"], row["server"], row["upstream"], row["protocol"], row["questions"]),
                             ("asking", "web", "app", "http", 1))
            self.assertEqual(row["listener"], "127.0.0.1:%d" % s.port)
            self.assertEqual({r["upstream"] for r in rows if r["side"] == "peer"}, {"app"})
            self.assertEqual({r["state"] for r in rows if r["side"] == "peer"}, {"idle", "asking"})

            def count(*words):
                return len(self.json(s, "connections", *words).get("connections", []))
            self.assertEqual(count("side=peer"), 2)
            self.assertEqual(count("state=asking", "side=client"), 1)
            self.assertEqual(count("src=127.0.0.0/8"), 2)
            self.assertEqual(count("src=10.0.0.0/8"), 0)
            self.assertEqual(count("server=web", "side=client"), 2)
            self.assertEqual(count("server=web", "state=asking"), 2)
            self.assertEqual(count("upstream=app"), 3)
            self.assertEqual(count("protocol=tcp"), 0)
            self.assertEqual(count("age>1h"), 0)
            self.assertEqual(count("age<1h"), 4)
            self.assertEqual(count("idle<1h"), 4)
            limited = self.json(s, "connections", "limit=1")
            self.assertEqual(len(limited["connections"]), 1)
            self.assertEqual(limited["missing"], ["3 more are not shown: limit=1"])
            self.assertIn("idle=3", self.verb(s, "connections", "idle=3", status=1))
            peers = self.peers(s)
            self.assertEqual(sum(p["in_flight"] for p in peers.values()), 1)
            self.gate.set()
            self.assertEqual(asking.answer().status, 200)
            flow.wait_for(lambda: sum(p["in_flight"] for p in self.peers(s).values()) == 0)
            flow.wait_for(lambda: sum(p["idle"] for p in self.peers(s).values()) == 2)
            self.assertEqual(sum(p["open"] for p in self.peers(s).values()), 2)
            self.assertTrue(any(p["latency_ms"] for p in self.peers(s).values()))

    def test_a_talk_and_messages(self):
        echo = self.peer(lambda stream, peer: [stream.send(stream.exactly(1)) for _ in range(1000)])
        s = self.server("""
            server raw { listen @port@; protocol tcp; proxy @peer@; }
            server said { listen @port2@; protocol text; echo; }
        """, peer=echo)
        with s.client() as talk, s.client("port2") as messages:
            talk.send(b"x")
            self.assertEqual(talk.exactly(1), b"x")
            messages.send(b"a\nb\n")
            self.assertEqual(messages.exactly(4), b"a\nb\n")
            rows = self.json(s, "connections")["connections"]
            states = sorted((r["side"], r["protocol"], r["state"]) for r in rows)
            self.assertEqual(states, [("client", "tcp", "tunnel"), ("client", "text", "idle"), ("peer", "tcp", "tunnel")])
            self.assertEqual([r["questions"] for r in rows if r["protocol"] == "text"], [2])
            self.assertEqual([p["in_flight"] for p in self.json(s, "upstreams")["peers"]], [1])
            self.assertEqual(self.json(s, "status")["workers"][0]["messages"], 2)
            ids = {r["protocol"]: r["id"] for r in rows if r["side"] == "client"}
            self.assertIn("ends", self.verb(s, "kick", ids["tcp"]))
            self.assertTrue(talk.ends())
            self.verb(s, "kick", ids["text"])
            self.assertTrue(messages.ends())
        flow.wait_for(lambda: self.json(s, "upstreams")["peers"][0]["in_flight"] == 0)

    def test_snapshots(self):
        s = self.web(workers=1)
        with s.client() as c:
            c.send(flow.request("/p/slow"))
            flow.wait_for(lambda: sum(p["in_flight"] for p in self.peers(s).values()) == 1)
            self.assertIn("generation 2", self.verb(s, "reload"))
            rows = {r["generation"]: r for r in self.json(s, "snapshots")["snapshots"]}
            self.assertEqual(rows[2]["state"], "current")
            self.assertEqual((rows[1]["state"], rows[1]["exchanges"]), ("old", 1))
            self.gate.set()
            self.assertEqual(c.answer().status, 200)
            flow.wait_for(lambda: len(self.json(s, "snapshots")["snapshots"]) == 1)

    def test_in_order(self):
        """Rows are in the order of the workers, whoever of them was slow to answer."""
        s = self.web(workers=2)
        first = self.json(s, "status")["workers"][0]["pid"]
        for _ in range(10):
            rows = []
            asking = threading.Thread(target=lambda rows=rows: rows.extend(self.json(s, "snapshots")["snapshots"]))
            os.kill(first, signal.SIGSTOP)
            asking.start()
            time.sleep(0.3)
            os.kill(first, signal.SIGCONT)
            asking.join()
            if len(rows) == 2:      # else we were so slow ourselves that it was not waited for
                break
        self.assertEqual([r["worker"] for r in rows], ["1", "2"])

    def test_strange_names(self):
        """Programs get what was written; a terminal nothing that it would follow."""
        s = self.server('upstream "a\u009b31m" { server "unix:/tmp/\\x1b[31m\\xc2\\x9b\\"\\t"; server "unix:/tmp/\\xff"; }\n'
                        'server "-" { listen 127.0.0.1:@port@; listen 127.0.0.1:@port2@; route "/ü\u009b" { return 200; } route { proxy "a\u009b31m"; } }\n')
        names = [p["peer"] for p in self.json(s, "upstreams")["peers"]]
        self.assertEqual(names, ["a\u009b31m/unix:/tmp/\x1b[31m\u009b\"\t", "a\u009b31m/unix:/tmp/\ufffd"])
        with s.client() as c:
            c.send(flow.request("/ü\u009b"))
            self.assertEqual(c.answer().status, 400)
        with s.client(), s.client("port2"):
            rows = flow.wait_for(lambda: len(r := self.json(s, "connections", "side=client")["connections"]) == 2 and r)
            self.assertEqual({(r["server"], r["upstream"]) for r in rows}, {("-", None)})
        for words in (["upstreams"], ["connections"], ["routes"], ["routes", "--running"], ["explain", "http://x:%d/" % s.port],
                      ["explain", "http://x:%d/" % s.port, "--running"], ["explain", "http://x:%d/" % s.port, "--json"]):
            out = self.verb(s, *words)
            if "--json" not in words:
                self.assertTrue(all(c.isprintable() or c == "\n" for c in out), (words, out))
        self.assertIn("control bytes", self.verb(s, "drain", "a\u009b", status=1))

    def test_nowhere_to_write(self):
        s = self.web(workers=1)
        with open("/dev/full", "w") as full:
            self.assertEqual(self.process(flow.SERVER, "-c", s.path, "status", stdout=full).wait(flow.TIME * flow.SLOW), 1)

    # -------------------------------------------------------------- what is asked for

    def test_mode_and_end(self):
        s = self.web()
        path = os.path.join(s.directory, "server.control")
        info = os.lstat(path)
        self.assertTrue(stat.S_ISSOCK(info.st_mode))
        self.assertEqual(stat.S_IMODE(info.st_mode), 0o600)
        s.process.send_signal(signal.SIGTERM)
        s.process.wait(flow.TIME)
        self.assertFalse(os.path.exists(path))
        self.assertIn("no master answers at ", self.verb(s, "status", status=1))

    def test_where_it_is(self):
        s = self.web(main='control "here.sock";\n')
        self.assertTrue(os.path.exists(os.path.join(s.directory, "here.sock")))
        self.json(s, "status")
        status, out, said = flow.run("--socket=" + os.path.join(s.directory, "here.sock"), "status", "--json")
        self.assertEqual((status, json.loads(out)["server"]["state"]), (0, "serving"), said)
        with open(s.path) as f:
            text = f.read()
        s.write("server.conf", text.replace('control "here.sock"', 'control "there.sock"'))
        status, _, said = flow.run("--socket", os.path.join(s.directory, "here.sock"), "reload")
        self.assertEqual(status, 0, said)
        flow.wait_for(lambda: not os.path.exists(os.path.join(s.directory, "here.sock")))
        self.json(s, "status")
        s.write("server.conf", text.replace('control "here.sock"', "control off"))
        self.verb(s, "status", status=1)
        s.kill(signal.SIGHUP)
        flow.wait_for(lambda: not os.path.exists(os.path.join(s.directory, "there.sock")))
        self.assertEqual(s.get("/").status, 200)

    def test_its_file_is_gone(self):
        """It comes back with the next reload; what another has put there stays his."""
        s = self.web(workers=1)
        path = os.path.join(s.directory, "server.control")
        os.unlink(path)
        self.assertIn("no master answers", self.verb(s, "status", status=1))
        s.kill(signal.SIGHUP)
        flow.wait_for(lambda: os.path.exists(path))
        self.assertEqual(stat.S_IMODE(os.lstat(path).st_mode), 0o600)
        self.assertEqual(self.json(s, "status")["server"]["pid"], s.process.pid)
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen(1)
            mine = os.lstat(path).st_ino
            s.kill(signal.SIGHUP)
            flow.wait_for(lambda: "cannot listen on the control socket" in s.said())
            s.process.send_signal(signal.SIGTERM)
            s.process.wait(flow.TIME * flow.SLOW)
            self.assertEqual(os.lstat(path).st_ino, mine)

    def test_while_it_leaves(self):
        s = self.web(workers=1)
        with s.client() as c:
            c.send(flow.request("/p/slow"))
            flow.wait_for(lambda: sum(p["in_flight"] for p in self.peers(s).values()) == 1)
            s.kill(signal.SIGQUIT)
            flow.wait_for(lambda: self.json(s, "status")["server"]["state"] == "draining")
            self.assertEqual(self.verb(s, "reload", status=1),
                             "this master is leaving\nserver: not reloaded: the configuration before stays\n")
            self.assertIn("does not serve", self.verb(s, "worker", "1", "restart", status=1))
            self.assertEqual([r["state"] for r in self.json(s, "connections", "side=client")["connections"]], ["asking"])
            self.gate.set()
            self.assertEqual(c.answer().status, 200)

    @unittest.skipIf(os.geteuid() != 0, "only root's workers become another")
    def test_it_moves_while_workers_are_replaced(self):
        """A worker that is born in that pass is no master: it opens no socket."""
        s = self.web(main='user root;\ncontrol "0.sock";\n')
        with open(s.path) as f:
            text = f.read()
        before = "0.sock"
        for i in range(1, 7):
            now = "%d.sock" % i
            s.write("server.conf", text.replace("0.sock", now).replace("user root", "user " + ("root", "nobody")[i % 2]))
            status, _, said = flow.run("-c", s.path, "-p", s.directory, "--socket", os.path.join(s.directory, before), "-s", "reload")
            self.assertEqual(status, 0, said)
            self.assertEqual(self.json(s, "status")["server"]["pid"], s.process.pid)
            self.assertFalse(os.path.exists(os.path.join(s.directory, before)))
            before = now
        self.assertNotIn("cannot listen", s.said())
        # Who has no socket by its configuration any more is found by the one that it has.
        s.write("server.conf", text.replace("0.sock", "nowhere.sock").replace("server.pid", "nowhere.pid"))
        path = os.path.join(s.directory, before)
        status, _, said = flow.run("-c", s.path, "-p", s.directory, "-s", "stop")
        self.assertEqual(status, 1)
        self.assertIn("no master is running", said)
        self.assertEqual(flow.run("--socket", path, "-s", "stop"), (0, "", ""))
        self.assertEqual(s.process.wait(flow.TIME * flow.SLOW), 0)

    def test_malformed(self):
        s = self.web()
        for bad in (b"\n", b"\t\n", b"bogus\n", b"status\tnow\n", b"stat\0us\n", b"status\r\n", b"\xff\xfe\n", b"a" * 1024,
                    b"a" * 5000, b"status\nstatus\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"kick\t1\n", b"kick\t1.x\n",
                    b"kick\t9.1\n", b"kick\t1.1\tlater\n", b"log\tloud\n", b"worker\t0\trestart\n", b"worker\t1\tstop\n",
                    b"worker\t99999999999999999999\trestart\n", b"drain\tnobody\n", b"enable\t/\n", b"connections\tx\n",
                    b"connections\tlimit=0\n", b"\x1b[2J\n"):
            with self.subTest(bad=bad[:40]):
                got = self.raw(s, bad)
                self.assertTrue(got.startswith(b"-") or b"\n-" in got, got)
                self.assertTrue(got.endswith(b"\n.\n"), got)
        self.assertEqual(self.raw(s, b"status", shut=True), b"")
        self.assertEqual(self.raw(s, b"", shut=True), b"")
        self.assertEqual(s.get("/").status, 200)
        self.assertEqual(len(s.workers()), 2)

    def test_half_a_request(self):
        """It holds nobody, and too many at once are told so."""
        s, held, began = self.web(), [], time.monotonic()
        for _ in range(16):
            c = socket.socket(socket.AF_UNIX)
            self.addCleanup(c.close)
            c.settimeout(flow.TIME * flow.SLOW)
            c.connect(os.path.join(s.directory, "server.control"))
            c.sendall(b"sta")
            held.append(c)
        said = [self.raw(s, b"")]
        # For as long as they are waited for; some of ours may find that this has ended.
        while len(said) < 20 and time.monotonic() - began < 3:
            said.append(flow.run("-c", s.path, "-p", s.directory, "status")[2].encode())
        held[0].sendall(b"tus\n")
        ended = held[0].recv(16), held[1].recv(1000)
        self.assertIn(b"did not come in time", ended[1])
        if time.monotonic() - began < 5.5:
            self.assertEqual((said[0], set(said[1:])), (b"-too many ask at once\n.\n", {b"server: too many ask at once\n"}))
            self.assertTrue(ended[0].startswith(b"*server"), ended)
        self.assertEqual(s.get("/").status, 200)
        self.json(s, "status")

    def test_command_line(self):
        s = self.web()
        for words in (("bogus",), ("kick",), ("status", "more"), ("worker", "1")):
            status, _, said = flow.run("-c", s.path, *words)
            self.assertEqual(status, 2, said)
        self.assertIn("control byte", self.verb(s, "drain", "a\nb", status=1))
        status, out, _ = flow.run("-h")
        self.assertEqual(status, 0)
        for verb in ("status", "connections", "upstreams", "snapshots", "kick", "drain", "enable", "worker", "log", "reload"):
            self.assertIn("server " + verb, out)

    def test_two_masters(self):
        s = self.web()
        status, _, said = flow.run("-c", s.path, "-p", s.directory, "-F")
        self.assertEqual(status, 1)
        self.assertIn("another master (pid %d) is running" % s.process.pid, said)
        self.json(s, "status")
        # Without a pid file the socket itself tells.
        self.server_path = os.path.join(s.directory, "second.conf")
        with open(self.server_path, "w") as f:
            f.write('control "server.control"; server { listen unix:%s/x.sock; return 200; }' % s.directory)
        status, _, said = flow.run("-c", self.server_path, "-p", s.directory, "-F")
        self.assertEqual(status, 1)
        self.assertIn("cannot listen on the control socket", said)
        self.json(s, "status")

    # -------------------------------------------------------------- what changes something

    def test_kick(self):
        s = self.web(workers=1)

        def row(state):
            found = [r for r in self.json(s, "connections", "side=client")["connections"] if r["state"] == state]
            return found and found[0]
        with s.client() as asking:
            asking.send(flow.request("/p/slow"))
            one = flow.wait_for(lambda: row("asking"))
            self.verb(s, "kick", one["id"])
            self.gate.set()
            answer = asking.answer()
            self.assertEqual((answer.status, answer["Connection"]), (200, "close"))
            self.assertTrue(asking.ends())
        self.gate.clear()
        with s.client() as idle:
            idle.send(flow.request("/"))
            self.assertEqual(idle.answer().status, 200)
            self.verb(s, "kick", flow.wait_for(lambda: row("idle"))["id"])
            self.assertTrue(idle.ends())
        with s.client() as asking:
            asking.send(flow.request("/p/slow"))
            self.verb(s, "kick", flow.wait_for(lambda: row("asking"))["id"], "now")
            self.assertTrue(asking.ends())
        flow.wait_for(lambda: sum(p["in_flight"] for p in self.peers(s).values()) == 0)
        with s.client() as asking:
            asking.send(flow.request("/p/slow"))
            flow.wait_for(lambda: row("asking"))
            for r in self.json(s, "connections", "side=peer", "state=idle")["connections"]:
                self.verb(s, "kick", r["id"])
            peer = self.json(s, "connections", "side=peer", "state=asking")["connections"][0]
            self.verb(s, "kick", peer["id"])
            self.gate.set()
            self.assertEqual(asking.answer().status, 200)
        flow.wait_for(lambda: not self.json(s, "connections", "side=peer")["connections"])
        self.assertIn("there is no connection", self.verb(s, "kick", "1.424242", status=1))

    def states(self, s):
        return {name: p["state"] for name, p in self.peers(s).items()}

    def test_states(self):
        """Whether a peer is asked: by configuration, by hand, by what became of it; and which of these counts."""
        dead = self.closed_port()
        text = """
            upstream app { server @peer@; server @other@ down; server %s fail_timeout=1h; }
            upstream one { server %s fail_timeout=1h; }
            server { listen 127.0.0.1:@port@; route /p { proxy app; } route { proxy one; } }
        """
        one, two = (self.peer(slow(threading.Event())) for _ in range(2))
        s = self.server(text % (dead, dead), peer=one, other=two)
        names = ["app/" + one.shown, "app/" + two.shown, "app/" + dead, "one/" + dead]
        self.assertEqual(self.states(s), dict(zip(names, ["up", "down", "up", "up"])))
        for _ in range(6):
            self.assertEqual(s.get("/p").status, 200)
            # who is alone does not rest
            self.assertEqual(s.get("/").status, 502)
        self.assertEqual(self.states(s), dict(zip(names, ["up", "down", "resting", "up"])))
        self.assertGreater(self.peers(s)[names[2]]["rests_ms"], 3000 * 1000)
        self.assertEqual(self.peers(s)[names[1]]["taken"], 0)
        # by hand beside what became of it, and beside the configuration
        for name in names[1:]:
            self.verb(s, "drain", name)
        self.assertEqual(self.states(s), dict(zip(names, ["up", "down", "drained", "drained"])))
        self.verb(s, "reload")
        self.assertEqual(self.states(s), dict(zip(names, ["up", "down", "drained", "drained"])))
        self.assertIn("enabled, and down by configuration", self.verb(s, "enable", names[1]))
        self.assertNotIn("down", self.verb(s, "enable", names[2]))
        self.assertEqual(self.states(s), dict(zip(names, ["up", "down", "resting", "drained"])))
        # the other way round; who may not rest any more does not
        s.write("server.conf", "pid server.pid;\n" + (text % (dead + " max_fails=0", dead)).replace("@ down", "@"))
        self.verb(s, "reload")
        self.assertEqual(self.states(s), dict(zip(names, ["up", "up", "up", "drained"])))
        self.verb(s, "enable", names[3])
        self.assertEqual(self.states(s), dict(zip(names, ["up"] * 4)))

    def test_kick_of_one_that_died(self):
        """The number of a connection is no other's, in a worker's successor neither."""
        s = self.web(workers=1)
        s.expect_report = True
        with s.client() as c:
            c.send(flow.request("/p/x"))
            self.assertEqual(c.answer().status, 200)
            old = [r["id"] for r in self.json(s, "connections")["connections"]]
        for end in (lambda: os.kill(s.workers()[0], signal.SIGKILL), lambda: self.verb(s, "worker", "1", "restart")):
            before = s.workers()
            end()
            flow.wait_for(lambda: s.workers() != before and len(s.workers()) == 1 and flow.listening(s.address()))
            with s.client() as c:
                c.send(flow.request("/p/x"))
                self.assertEqual(c.answer().status, 200)
                new = [r["id"] for r in self.json(s, "connections")["connections"]]
                for number in old:
                    self.assertIn("there is no connection", self.verb(s, "kick", number, status=1))
                self.assertFalse(set(old) & set(new))
                old += new
                c.send(flow.request("/p/x"))
                self.assertEqual(c.answer().status, 200)

    def test_master_that_was_stopped(self):
        """What was answered while it stood still was answered in time: nothing is late of which nothing is awaited."""
        s = self.web(workers=1)
        with s.client() as c:
            c.send(flow.request("/"))
            self.assertEqual(c.answer().status, 200)
            (one,) = self.json(s, "connections")["connections"]
            worker, said = s.workers()[0], []
            os.kill(worker, signal.SIGSTOP)
            asks = threading.Thread(target=lambda: said.append(self.raw(s, b"kick\t%s\n" % one["id"].encode())))
            asks.start()
            time.sleep(0.3)
            s.kill(signal.SIGSTOP)
            os.kill(worker, signal.SIGCONT)
            self.assertTrue(c.ends())
            time.sleep(1.2)
            s.kill(signal.SIGCONT)
            asks.join(flow.TIME)
            self.assertEqual(said, [b"=connection %s ends\n.\n" % one["id"].encode()])

    def test_master_without_descriptors(self):
        """Who cannot be accepted waits, and the master does not spin meanwhile."""
        s = self.web()
        pid = s.process.pid
        used = {int(n) for n in os.listdir("/proc/%d/fd" % pid)}
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)

        def cpu():
            with open("/proc/%d/stat" % pid) as f:
                return sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(len(used) + 1)) - used), before[1]))
        said = []
        asks = threading.Thread(target=lambda: said.append(self.raw(s, b"status\n")))
        began = cpu()
        asks.start()
        time.sleep(1.5)
        took = cpu() - began
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        asks.join(flow.TIME)
        self.assertEqual(said[0][-3:], b"\n.\n")
        self.assertLess(took, 0.3 * flow.SLOW)

    def test_drain(self):
        s = self.web()
        names = list(self.peers(s))
        self.assertEqual(self.verb(s, "drain", "10.9.8.7:6555555555", status=1), "server: there is no peer 10.9.8.7:6555555555\n")
        self.assertEqual(self.verb(s, "drain", names[0][:-1], status=1),
                         'server: there is no peer %s; did you mean "%s"?\n' % (names[0][:-1], names[0]))
        done, failed, stop = [0], [], threading.Event()

        def ask():
            with s.client() as c:
                while not stop.is_set():
                    c.send(flow.request("/p/x"))
                    if c.answer().status != 200:
                        failed.append(1)
                    done[0] += 1
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()

        def goes_on(n=100):
            before = done[0]
            flow.wait_for(lambda: done[0] > before + n)
        try:
            for name in names:
                goes_on()
                self.assertIn("drained", self.verb(s, "drain", name))
                goes_on(20)
                before = self.peers(s)[name]["taken"]
                goes_on()
                self.verb(s, "reload")
                goes_on()
                peer = self.peers(s)[name]
                self.assertEqual((peer["state"], peer["taken"], peer["in_flight"]), ("drained", before, 0))
                self.verb(s, "enable", name.partition("/")[2])
                flow.wait_for(lambda: self.peers(s)[name]["taken"] > before)
                self.assertEqual(self.peers(s)[name]["state"], "up")
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(failed, [])
        self.assertEqual([p["in_flight"] for p in self.peers(s).values()], [0, 0])
        for name in names:
            self.verb(s, "drain", name)
        self.assertEqual(s.get("/p/x").status, 502)

    def test_log(self):
        s = self.web(workers=1)
        self.assertNotIn("[info] worker", s.said())
        self.verb(s, "log", "error")
        s.get("/", host="")
        time.sleep(0.1)
        self.assertNotIn("Host is missing", s.said())
        self.assertEqual(self.json(s, "status")["server"]["log"], "error")
        self.verb(s, "log", "info")
        s.get("/", host="")
        flow.wait_for(lambda: "Host is missing" in s.said())
        self.verb(s, "log", "error")
        before = s.workers()
        self.verb(s, "worker", "1", "restart")
        flow.wait_for(lambda: s.workers() and s.workers() != before and len(s.workers()) == 1)
        at = len(s.said())
        s.get("/", host="")
        self.verb(s, "log", "configured")
        s.get("/", host="")
        flow.wait_for(lambda: s.said()[at:].count("Host is missing") == 1)

    def test_restart_under_load(self):
        s = self.web()
        before, failed, stop, done = set(s.workers()), [], threading.Event(), [0]

        def ask():
            c = s.client()
            while not stop.is_set():
                try:
                    c.send(flow.request("/p/x"))
                    answer = c.answer()
                except OSError as e:
                    failed.append(e)
                    return
                done[0] += 1
                if answer.status != 200:
                    failed.append(answer)
                if answer["Connection"] == "close":
                    c.close()
                    c = s.client()
            c.close()
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            for number in ("1", "2"):
                self.assertIn("worker " + number, self.verb(s, "worker", number, "restart"))
                at = done[0]
                flow.wait_for(lambda: done[0] > at + 50)
            flow.wait_for(lambda: len(s.workers()) == 2 and not before & set(s.workers()))
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(failed, [])
        status = self.json(s, "status")
        self.assertEqual([w["state"] for w in status["workers"]], ["serving", "serving"])
        self.assertEqual([w["deaths"] for w in status["workers"]], [0, 0])

    # -------------------------------------------------------------- who hangs

    def test_a_worker_that_hangs(self):
        s = self.web()
        stopped = s.workers()[0]
        with s.client() as one, s.client() as two:
            for c in (one, two):
                c.send(flow.request("/"))
                self.assertEqual(c.answer().status, 200)
            os.kill(stopped, signal.SIGSTOP)
            try:
                status = flow.wait_for(lambda: [x for x in [self.json(s, "status")] if any(
                    w["state"] == "stopped" for w in x["workers"])])[0]
                connections = self.json(s, "connections")
                states = {w["pid"]: w["state"] for w in status["workers"]}
                self.assertEqual(states.pop(stopped), "stopped")
                self.assertEqual(list(states.values()), ["serving"])
                number = [w["worker"] for w in status["workers"] if w["pid"] == stopped][0]
                self.assertEqual(connections["missing"], ["worker %s does not answer" % number])
                self.assertTrue(all(not r["id"].startswith(number + ".") for r in connections["connections"]))
                said = [self.verb(s, "kick", number + "." + n, status=1) for n in "12"]
                self.assertIn("worker %s does not answer" % number, said[0])
                flow.wait_for(lambda: [w for w in self.json(s, "status")["workers"]
                                       if w["pid"] == stopped and w["doing"]])
            finally:
                os.kill(stopped, signal.SIGCONT)
            flow.wait_for(lambda: all(w["state"] == "serving" for w in self.json(s, "status")["workers"]))
            self.assertNotIn("missing", self.json(s, "connections"))
            # It failed, so it was not done later either.
            for c in (one, two):
                c.send(flow.request("/"))
                self.assertEqual(c.answer().status, 200)

    def test_a_worker_that_dies(self):
        s = self.web(workers=1)
        s.expect_report = True
        with s.client() as c:
            c.send(flow.request("/p/slow"))
            flow.wait_for(lambda: sum(p["in_flight"] for p in self.peers(s).values()) == 1)
            os.kill(s.workers()[0], signal.SIGKILL)
            flow.wait_for(lambda: self.json(s, "status")["workers"][0]["deaths"] == 1)
        self.assertEqual([p["in_flight"] for p in self.peers(s).values()], [0, 0])
        self.assertEqual(s.get("/p/x").status, 200)

        def dead():
            for p in s.workers():
                os.kill(p, signal.SIGKILL)
            row = self.json(s, "status")["workers"][0]
            return row["state"] == "dead" and row
        row = flow.wait_for(dead)
        self.assertEqual({row[n] for n in ("pid", "age_ms", "silent_ms", "connections", "flows", "memory")}, {None})

    def test_upgrade(self):
        """The heir answers at the same path, from when its elder leaves."""
        s = self.web()
        before = self.json(s, "status")["server"]["pid"]
        self.verb(s, "-s", "upgrade")
        flow.wait_for(lambda: self.json(s, "status")["server"]["pid"] != before)
        self.assertEqual(stat.S_IMODE(os.lstat(os.path.join(s.directory, "server.control")).st_mode), 0o600)
        self.assertEqual(s.process.wait(flow.TIME), 0)
        self.assertEqual(s.get("/").status, 200)
        self.json(s, "status")
        self.verb(s, "-s", "quit")
        flow.wait_for(lambda: not os.path.exists(os.path.join(s.directory, "server.control")))
        flow.wait_for(lambda: not os.path.exists(os.path.join(s.directory, "server.pid")))

    def test_reload(self):
        s = self.web()
        with open(s.path) as f:
            text = f.read()
        s.write("server.conf", text + "bogus 1;\n")
        status, out, said = flow.run("--socket", os.path.join(s.directory, "server.control"), "reload")
        self.assertEqual((status, out), (1, ""))
        # As editors find it, and as -t says it.
        self.assertTrue(said.startswith(s.path + ":"), said)
        self.assertIn(':1: error: unknown directive "bogus"', said)
        self.assertTrue(said.endswith("\nserver: not reloaded: the configuration before stays\n"), said)
        # What is wrong with it does not hide who runs.
        self.assertEqual(self.json(s, "status")["server"]["generation"], 1)
        self.assertIn('unknown directive "bogus"', self.verb(s, "reload", status=1))
        s.write("server.conf", text + "server { listen 127.0.0.1:@port9@; return 204; }\n")
        status, out, said = flow.run("-c", s.path, "-p", s.directory, "-s", "reload")
        self.assertEqual(status, 0, said)
        self.assertEqual(s.get("/", name="port9").status, 204)
        self.assertEqual(self.json(s, "status")["server"]["generation"], 2)

    def test_reload_in_part(self):
        """Told to quit when not every worker serves the new one yet: nobody says that the old one stays."""
        s = self.web()
        stopped = s.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        said = []
        waits = threading.Thread(target=lambda: said.append(self.verb(s, "reload", status=1)))
        waits.start()
        flow.wait_for(lambda: self.json(s, "status")["server"]["generation"] == 2)
        s.kill(signal.SIGQUIT)
        waits.join(flow.TIME * flow.SLOW)
        os.kill(stopped, signal.SIGCONT)
        self.assertIn("this master is leaving", said[0])
        self.assertIn("reloaded in part: not every worker serves the new configuration", said[0])
        self.assertNotIn("stays", said[0])


if __name__ == "__main__":
    unittest.main()
