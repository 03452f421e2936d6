#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""From one master to the next: nobody is refused, what is counted goes on, what is broken goes back.

Each server runs a copy of the program, so that another file can stand in its place. Clients are kept small
and many; only processes that a test started are ever signalled.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_processes  # noqa: E402
from test_processes import SERVER, Slow, children, read_all, stat_of, until, workers_of  # noqa: E402

SLOW = 4 if "asan" in SERVER else 1
HELLO = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


class Server(test_processes.Server):
    """It is whoever the pid file names."""

    def __init__(self, test, settings="", more="", workers=2):
        super().__init__(test, settings, (), more, workers)
        self.program = self.path("program")
        self.masters = []
        shutil.copy(SERVER, self.program)

    def start(self, *arguments):
        with open(self.path("output"), "w") as output:
            self.process = subprocess.Popen([self.program, "-c", self.config, *arguments],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.masters = [self.process.pid]
        if not until(lambda: "serving:" in self.log() or self.process.poll() is not None, 15 * SLOW) or \
                self.process.poll() is not None:
            raise AssertionError("the server did not start: " + self.read("output") + self.log())
        return self

    def master(self):
        with contextlib.suppress(ValueError):
            return int(self.read("server.pid"))
        return 0

    def workers(self):
        return workers_of(self.master())

    def replace(self, text):
        """Another program in its place, at once."""
        with open(self.program + ".new", "w") as f:
            f.write(text)
        os.chmod(self.program + ".new", 0o755)
        os.rename(self.program + ".new", self.program)

    def restore(self):
        shutil.copy(SERVER, self.program + ".new")
        os.rename(self.program + ".new", self.program)

    def upgrade(self, *arguments):
        run = subprocess.run([SERVER, "-c", self.config, *arguments, "upgrade"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        if run.returncode == 0:
            self.masters.append(self.master())
        return run

    def say(self, number):
        os.kill(self.master(), number)

    def end(self):
        for pid in {*self.masters, self.master()} - {0}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        for pid in self.masters:
            if not until(lambda p=pid: is_gone(p), 5 * SLOW):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def is_gone(pid):
    about = stat_of(pid)
    return about is None or about[1] == "Z"


class Clients:
    """Many at once: half of them keep their connections until they are told that it is the last answer."""

    def __init__(self, server, count=24):
        self.server, self.done = server, threading.Event()
        self.answers = self.refused = 0
        self.failed = []
        self.threads = [threading.Thread(target=self.run, args=(i % 2 == 0,), daemon=True) for i in range(count)]
        for t in self.threads:
            t.start()

    def run(self, keeps):
        while not self.done.is_set():
            try:
                s = self.server.connect()
            except OSError:
                self.refused += 1
                time.sleep(0.02)
                continue
            with s:
                try:
                    while self.ask(s) and keeps and not self.done.is_set():
                        time.sleep(0.005)
                except OSError as e:
                    self.failed.append(repr(e))
            time.sleep(0.005)

    def ask(self, s):
        """Whether another question may follow."""
        s.sendall(HELLO)
        answer = b""
        while not answer.endswith(b"\r\n\r\nhello"):
            piece = s.recv(4096)
            if not piece:
                raise ConnectionResetError("the end, behind %r" % answer)
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.failed.append(repr(answer))
        self.answers += 1
        return b"connection: close" not in answer.lower()

    def finish(self):
        self.done.set()
        for t in self.threads:
            t.join(10)


class Upgrade(unittest.TestCase):
    def assert_served(self, server, count=16):
        for i in range(count):
            self.assertTrue(server.ask(unix=i % 4 == 0).endswith(b"hello"), "connection %d" % i)

    def assert_alone(self, server, alerts=0):
        """One master, with its files; so many workers were left by theirs."""
        self.assertTrue(until(lambda: all(is_gone(p) for p in server.masters[:-1]), 10 * SLOW), server.log())
        self.assertEqual(server.master(), server.masters[-1])
        self.assertFalse(os.path.exists(server.path("server.pid.oldbin")))
        self.assertTrue(os.path.exists(server.path("web.sock")))
        self.assertTrue(until(lambda: len(server.workers()) == 2), server.workers())
        self.assert_served(server)
        self.assertEqual(server.log().count("[alert]"), alerts, server.log())
        self.assertNotIn("Sanitizer", server.read("output"))

    def assert_rolled_back(self, server, before):
        self.assertEqual(server.master(), before[0])
        self.assertEqual(server.workers(), before[1])
        self.assertFalse(os.path.exists(server.path("server.pid.oldbin")))
        self.assertTrue(os.path.exists(server.path("web.sock")))
        self.assertEqual(server.run("status").returncode, 0)
        self.assert_served(server)

    def assert_clean_end(self, server):
        server.say(signal.SIGTERM)
        self.assertTrue(until(lambda: is_gone(server.masters[-1]), 10 * SLOW), server.log())
        left = os.listdir(server.directory)
        self.assertFalse([n for n in left if "pid" in n or "sock" in n or n.endswith("control")], left)

    # ------------------------------------------------------------ it goes well

    def test_under_load_twice(self):
        server = Server(self).start()
        clients = Clients(server)
        self.addCleanup(clients.finish)
        for _ in range(2):
            seen = clients.answers
            self.assertTrue(until(lambda: clients.answers > seen + 200, 20 * SLOW))
            run = server.upgrade()
            self.assertEqual((run.returncode, run.stderr), (0, ""), server.log())
            old, new = server.masters[-2:]
            self.assertEqual(run.stdout, f"master {new} serves in place of {old}\n")
            self.assertNotEqual(new, old)
            self.assertTrue(until(lambda: is_gone(old), 10 * SLOW), server.log())
        seen = clients.answers
        self.assertTrue(until(lambda: clients.answers > seen + 200, 20 * SLOW))
        clients.finish()
        self.assertEqual((clients.refused, clients.failed), (0, []))
        self.assertEqual(server.process.wait(10), 0)
        self.assert_alone(server)
        self.assert_clean_end(server)

    def test_by_signals_alone(self):
        server = Server(self, settings="control off;").start()
        run = server.upgrade()
        self.assertEqual((run.returncode, run.stderr), (0, ""), server.log())
        self.assert_alone(server)
        server.replace("#!/bin/sh\nsleep 0.2\nexit 7\n")
        before = server.master(), server.workers()
        run = server.upgrade()
        self.assertEqual(run.returncode, 1)
        self.assertIn("not upgraded", run.stderr)
        self.assertIn("ended with status 7", server.log())
        self.assertEqual((server.master(), server.workers()), before)

    def test_by_hand_as_nginx_does(self):
        """USR2: both serve; WINCH: the old workers go; HUP: they come back; QUIT to the new one: all as before."""
        server = Server(self).start()
        old = server.process.pid
        os.kill(old, signal.SIGUSR2)
        self.assertTrue(until(lambda: server.master() not in (0, old), 15 * SLOW), server.log())
        new = server.master()
        server.masters.append(new)
        self.assertEqual(server.read("server.pid.oldbin"), f"{old}\n")
        self.assertEqual((len(workers_of(new)), len(workers_of(old))), (2, 2))
        self.assert_served(server)
        self.assertTrue(until(lambda: "serves beside" in server.log()))
        os.kill(old, signal.SIGWINCH)
        self.assertTrue(until(lambda: children(old) == [new], 10 * SLOW), server.log())
        self.assert_served(server)
        os.kill(old, signal.SIGHUP)
        self.assertTrue(until(lambda: len(workers_of(old)) == 2, 10 * SLOW), server.log())
        os.kill(new, signal.SIGQUIT)
        self.assertTrue(until(lambda: is_gone(new), 10 * SLOW), server.log())
        self.assertTrue(until(lambda: server.master() == old))
        self.assertFalse(os.path.exists(server.path("server.pid.oldbin")))
        server.masters = [old]
        self.assert_alone(server)
        self.assert_clean_end(server)

    def test_new_master_dies_and_the_old_one_is_back(self):
        server = Server(self).start()
        old = server.process.pid
        os.kill(old, signal.SIGUSR2)
        self.assertTrue(until(lambda: "serves beside" in server.log(), 15 * SLOW))
        new = server.master()
        os.kill(old, signal.SIGWINCH)
        self.assertTrue(until(lambda: children(old) == [new], 10 * SLOW))
        os.kill(new, signal.SIGKILL)
        self.assertTrue(until(lambda: len(workers_of(old)) == 2 and server.master() == old, 10 * SLOW), server.log())
        self.assertEqual(server.run("status").returncode, 0)
        self.assert_served(server)
        server.restore()
        self.assertEqual(server.upgrade().returncode, 0, server.log())
        self.assert_alone(server, alerts=2)

    def test_old_master_dies_and_the_new_one_has_all(self):
        server = Server(self).start()
        old = server.process.pid
        os.kill(old, signal.SIGUSR2)
        self.assertTrue(until(lambda: "serves beside" in server.log(), 15 * SLOW))
        server.masters.append(server.master())
        server.process.kill()
        server.process.wait()
        self.assertTrue(until(lambda: "the master before this one leaves" in server.log()))
        self.assertTrue(until(lambda: len(server.workers()) == 2))
        self.assert_served(server)
        # The name that it left behind hinders nobody.
        self.assertEqual(server.upgrade().returncode, 0, server.log())
        self.assert_served(server)
        self.assert_clean_end(server)

    def test_what_runs_is_finished(self):
        slow = Slow()
        self.addCleanup(slow.close)
        server = Server(self, more=f"route /slow {{ proxy 127.0.0.1:{slow.port}; }}").start()
        old = server.process.pid
        with server.connect(20) as s:
            s.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(slow.is_asked())
            self.assertEqual(server.upgrade().returncode, 0, server.log())
            self.assert_served(server)
            self.assertFalse(is_gone(old))
            # The elder is left alone with it: another upgrade is none of its business.
            self.assertEqual(server.upgrade().returncode, 0, server.log())
            slow.go.set()
            self.assertTrue(read_all(s).endswith(b"slow\n"))
        self.assert_alone(server)

    def test_change_while_a_new_master_fails(self):
        """It is the new master's to read, unless that comes to nothing."""
        server = Server(self, settings="watch on;").start()
        server.replace("#!/bin/sh\nsleep 1\nexit 7\n")
        asked = threading.Thread(target=server.upgrade)
        asked.start()
        self.assertTrue(until(lambda: "upgrading:" in server.log()))
        with open(server.config) as f:
            text = f.read()
        with open(server.config, "w") as f:
            f.write(text.replace("return 200 hello", "return 200 changed-hello"))
        asked.join(20)
        self.assertIn("not upgraded", server.log())
        self.assertTrue(until(lambda: server.ask().endswith(b"changed-hello")), server.log())
        self.assertNotIn("an upgrade is under way", server.log())

    def rename_upstream(self, server, name):
        with open(server.config) as f:
            text = f.read()
        with open(server.config, "w") as f:
            f.write(re.sub(r"upstream \w+ |proxy \w+;", lambda m: m[0].split()[0] + " " + name +
                           (";" if m[0].endswith(";") else " "), text))
        run = server.run("reload")
        self.assertEqual(run.returncode, 0, run.stderr + server.log())

    def upstream(self, server):
        (peer,) = json.loads(server.run("--json", "upstreams").stdout)["peers"]
        return peer

    def shares_with_an_old_worker(self, end):
        """A worker of a master that is gone writes where it always did: that is nobody else's meanwhile."""
        slow = Slow()
        slow.answer = lambda one: (one.recv(65536), slow.asked.release(), slow.go.wait(20), one.close())
        self.addCleanup(slow.close)
        server = Server(self, workers=1, settings=f"upstream before {{ server 127.0.0.1:{slow.port}; }}",
                        more="route /slow { proxy before; }").start()
        with server.connect(20) as s:
            s.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(slow.is_asked())
            end(server)
            for name in ("second", "third"):
                self.rename_upstream(server, name)
                self.assertEqual(server.run("worker", "1", "restart").returncode, 0, server.log())
            self.assertTrue(until(lambda: len(server.workers()) == 1))
            slow.go.set()
            self.assertIn(b" 502 ", read_all(s))
        self.assertEqual(self.upstream(server)["failed"], 0)
        (worker,) = json.loads(server.run("--json", "status").stdout)["workers"]
        self.assertEqual(worker["connections"], 0)

    def test_old_workers_outlive_a_master_that_is_killed(self):
        def end(server):
            self.assertEqual(server.upgrade().returncode, 0, server.log())
            server.process.kill()
            server.process.wait()
            self.assertTrue(until(lambda: "the master is gone: draining" in server.log()))
        self.shares_with_an_old_worker(end)

    def test_old_workers_outlive_the_next_master(self):
        def end(server):
            for _ in range(2):
                self.assertEqual(server.upgrade().returncode, 0, server.log())
            self.assertTrue(until(lambda: is_gone(server.masters[1]), 10 * SLOW))
            self.assertFalse(is_gone(server.masters[0]))
        self.shares_with_an_old_worker(end)

    def test_new_configuration_and_new_listener(self):
        server = Server(self).start()
        port = test_processes.free_port()
        with open(server.config) as f:
            text = f.read()
        text = text.replace("return 200 hello", "return 200 changed-hello").replace(
            f"listen unix:{server.path('web.sock')};", f"listen 127.0.0.1:{port}; listen unix:{server.path('two.sock')};")
        with open(server.config, "w") as f:
            f.write(text)
        self.assertEqual(server.upgrade().returncode, 0, server.log())
        self.assertTrue(until(lambda: is_gone(server.masters[0]), 10 * SLOW))
        self.assertTrue(server.ask().endswith(b"changed-hello"))
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(HELLO)
            self.assertIn(b"changed-hello", s.recv(4096))
        self.assertTrue(until(lambda: not os.path.exists(server.path("web.sock"))))
        self.assertTrue(os.path.exists(server.path("two.sock")))
        self.assert_clean_end(server)

    def test_limits_go_on(self):
        """What is counted in shared memory is the new workers' too."""
        server = Server(self, more="route /few { limit few; return 200 few; }",
                        settings="limit few { key src; rate 3/h; burst 2; }").start()
        answers = [b" 200 " in server.ask("/few") for _ in range(3)]
        self.assertEqual(server.upgrade().returncode, 0, server.log())
        self.assertTrue(until(lambda: is_gone(server.masters[0]), 10 * SLOW))
        answers += [b" 200 " in server.ask("/few") for _ in range(4)]
        self.assertEqual(answers.count(True), 2, answers)

    def test_datagrams(self):
        server = Server(self)
        port = test_processes.free_port()
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(0.2)
        self.addCleanup(peer.close)
        done = threading.Event()

        def echo():
            while not done.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    data, source = peer.recvfrom(2048)
                    peer.sendto(data, source)
        threading.Thread(target=echo, daemon=True).start()
        self.addCleanup(done.set)
        with open(server.config, "a") as f:
            f.write(f"server dns {{ listen udp:127.0.0.1:{port}; protocol udp; "
                    f"proxy udp:127.0.0.1:{peer.getsockname()[1]}; }}\n")
        server.start()
        lost, asked = [], 0
        upgrade = threading.Thread(target=server.upgrade)
        sources = []
        for _ in range(8):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.connect(("127.0.0.1", port))
            s.settimeout(3 * SLOW)
            self.addCleanup(s.close)
            sources.append(s)
        upgrade.start()
        while upgrade.is_alive() or asked < 400:
            for s in sources:
                asked += 1
                word = b"%d" % asked
                s.send(word)
                try:
                    if s.recv(100) != word:
                        lost.append((asked, "another's"))
                except OSError as e:
                    lost.append((asked, repr(e)))
            time.sleep(0.01)
        upgrade.join()
        self.assertEqual(len(server.masters), 2, server.log())
        self.assertEqual(lost, [])

    def test_in_the_background(self):
        server = Server(self, settings="daemon on;")
        subprocess.run([server.program, "-c", server.config], stdin=subprocess.DEVNULL, check=True, timeout=30)
        server.masters = [server.master()]
        self.assertEqual(server.upgrade().returncode, 0, server.log())
        self.assert_alone(server)
        self.assert_clean_end(server)

    # ------------------------------------------------------------ it does not

    def test_broken_programs_go_back(self):
        server = Server(self).start()
        before = server.master(), server.workers()
        clients = Clients(server, 6)
        self.addCleanup(clients.finish)
        for text, said in (
                ("#!/bin/sh\necho no such library >&2\nexit 3\n", ["no such library", "ended with status 3"]),
                ("#!/bin/sh\nkill -9 $$\n", ["was ended by signal 9"]),
                ("#!/nowhere/at/all\n", ["cannot run " + server.program, "status 127"]),
                # What is no program is not given to the shell.
                ("kill -9 $PPID\n", ["cannot run " + server.program, "status 127"]),
                ("#!/bin/sh\nexec sleep 1000\n", ["has not said a word"])):
            server.replace(text)
            run = server.upgrade()
            self.assertEqual(run.returncode, 1, text)
            for words in [*said, f"not upgraded: master {before[0]} goes on"]:
                self.assertIn(words, run.stderr)
            self.assert_rolled_back(server, before)
        os.unlink(server.program)
        self.assertEqual(server.upgrade().returncode, 1)
        self.assert_rolled_back(server, before)
        server.restore()
        self.assertEqual(server.upgrade().returncode, 0, server.log())
        clients.finish()
        self.assertEqual((clients.refused, clients.failed), (0, []))
        self.assert_alone(server)

    def test_configuration_that_is_refused_goes_back(self):
        server = Server(self).start()
        before = server.master(), server.workers()
        with open(server.config) as f:
            text = f.read()
        for more, said in (("nonsense 1;\n", "nonsense"), ("server two { listen 203.0.113.1:1; return 200; }\n",
                                                          "cannot listen on 203.0.113.1:1")):
            with open(server.config, "w") as f:
                f.write(text + more)
            # The pid and the control socket are found by a configuration that is fine.
            run = subprocess.run([SERVER, "--socket=" + server.path("server.control"), "upgrade"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
            self.assertEqual(run.returncode, 1)
            self.assertIn(said, run.stderr)
            self.assertEqual((server.master(), server.workers()), before)
        with open(server.config, "w") as f:
            f.write(text)
        self.assert_rolled_back(server, before)

    def test_workers_that_die_go_back(self):
        """A new master whose first worker does not come up ends, and says so."""
        server = Server(self).start()
        before = server.master(), server.workers()
        with open(server.config) as f:
            text = f.read()
        with open(server.config, "w") as f:
            f.write(text.replace("workers 2", "workers 500"))
        run = server.upgrade()
        self.assertEqual(run.returncode, 1)
        self.assertIn("more workers than there are sockets for", run.stderr)
        with open(server.config, "w") as f:
            f.write(text)
        self.assert_rolled_back(server, before)

    def test_one_at_a_time(self):
        server = Server(self).start()
        server.replace("#!/bin/sh\nexec sleep 1000\n")
        first = threading.Thread(target=server.upgrade)
        first.start()
        self.assertTrue(until(lambda: "upgrading:" in server.log()))
        run = server.upgrade()
        self.assertEqual(run.returncode, 1)
        self.assertIn("an upgrade is under way already", run.stderr)
        run = server.run("reload")
        self.assertEqual(run.returncode, 1)
        self.assertIn("an upgrade is under way", run.stderr)
        # Who ends takes along what it has begun.
        heir = set(children(server.master())) - set(server.workers())
        self.assertEqual(len(heir), 1)
        server.say(signal.SIGTERM)
        first.join(20)
        self.assertEqual(server.process.wait(10), 0)
        self.assertTrue(until(lambda: all(is_gone(p) for p in heir), 5))

    def test_a_signal_does_not_take_the_place_of_who_waits(self):
        """One waits for a reload to end before it begins; then somebody else asks, who does not wait."""
        server = Server(self).start()
        worker = server.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        server.say(signal.SIGHUP)
        self.assertTrue(until(lambda: "reloading" in server.log()))
        with socket.socket(socket.AF_UNIX) as waits:
            waits.settimeout(20 * SLOW)
            waits.connect(server.path("server.control"))
            waits.sendall(b"upgrade\n")
            # Who asks behind it is answered behind it, and so is the signal.
            self.assertEqual(server.run("status").returncode, 0)
            server.say(signal.SIGUSR2)
            self.assertEqual(server.run("status").returncode, 0)
            os.kill(worker, signal.SIGCONT)
            self.assertIn(b" serves in place of ", read_all(waits))
        server.masters.append(server.master())
        self.assert_alone(server)

    def test_told_to_quit_while_both_serve(self):
        """It leaves a little earlier than by itself: who waits is told the same."""
        server = Server(self).start()
        old, runs = server.master(), []
        waits = threading.Thread(target=lambda: runs.append(server.upgrade()))
        waits.start()
        self.assertTrue(until(lambda: server.master() not in (0, old), 10 * SLOW))
        self.assertTrue(until(lambda: "serves beside this one" in server.log()))
        os.kill(old, signal.SIGQUIT)
        waits.join(20)
        self.assertEqual([(r.returncode, r.stdout) for r in runs],
                         [(0, "master %d serves in place of %d\n" % (server.master(), old))], runs[0].stderr)
        self.assert_alone(server)

    def test_what_is_handed_over_is_checked(self):
        server = Server(self)
        for value in ("", "x", "0", "99999", "-1", "7" * 40):
            run = subprocess.run([SERVER, "-c", server.config], env={**os.environ, "MILLRACE_HANDOVER": value},
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
            self.assertEqual(run.returncode, 1)
            self.assertIn("what the server that runs leaves to this one cannot be used", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
