#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The first process of a container: signals, orphans, a root that is read only, no /proc; and who it is from outside.

A container is a user, PID and mount namespace of unshare(1) here: what is mounted is seen by nobody else.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_processes import SERVER, children, free_port, read_all, stat_of, until  # noqa: E402

SLOW = 4 if "asan" in SERVER else 1
UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]


def can_contain():
    try:
        return subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Container:
    """The server as process 1; `first`: shell commands before it, in the namespaces."""

    def __init__(self, test, settings, first="", servers="", user="user root;"):
        self.test = test
        self.directory = tempfile.mkdtemp(prefix="container.")
        os.chmod(self.directory, 0o755)
        test.addCleanup(shutil.rmtree, self.directory, True)
        self.port = free_port()
        self.config = self.path("server.conf")
        with open(self.config, "w") as f:
            f.write(f"workers 2; {user} {settings}\nserver web {{ listen 127.0.0.1:{self.port}; access_log stdout; "
                    f"return 200 hello; }}\n{servers}")
        with open(self.path("output"), "w") as output:
            self.process = subprocess.Popen([*UNSHARE, "sh", "-c", first + 'exec "$@"', "sh", SERVER, "-c", self.config],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        test.addCleanup(self.end)

    def path(self, name):
        return os.path.join(self.directory, name)

    def output(self):
        with open(self.path("output")) as f:
            return f.read()

    def serves(self):
        return until(lambda: "serving:" in self.output(), 15 * SLOW)

    def master(self):
        """As it is known out here."""
        return (children(self.process.pid) or [0])[0]

    def inside(self, *words):
        return subprocess.run(["nsenter", "-t", str(self.master()), "-U", "-p", "-m", "--preserve-credentials", *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)

    def outside(self, *words):
        return subprocess.run([SERVER, "-c", self.config, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=30)

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.port), 8) as s:
            s.settimeout(8)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return read_all(s)

    def says(self, text):
        return until(lambda: text in self.output(), 10 * SLOW)

    def end(self):
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(self.master() or self.process.pid, signal.SIGKILL)
            self.process.wait(10)


class Containers(unittest.TestCase):
    def setUp(self):
        if not can_contain():
            self.skipTest("there are no namespaces for us")

    def contain(self, *arguments, **named):
        c = Container(self, *arguments, **named)
        self.assertTrue(c.serves(), c.output())
        return c

    # ------------------------------------------------------------ what the first process has to do

    def test_signals(self):
        c = self.contain("control off;")
        self.assertIn("master[1]: serving: 2 workers", c.output())
        for number, said in ((signal.SIGUSR1, "logs reopened"), (signal.SIGHUP, "reloaded in"),
                             (signal.SIGUSR2, "the first process of a container cannot be followed by another"),
                             (signal.SIGQUIT, "draining")):
            self.assertTrue(c.ask().endswith(b"hello"))
            os.kill(c.master(), number)
            self.assertTrue(c.says(said), c.output())
        self.assertEqual(c.process.wait(10), 0)
        self.assertEqual(c.output().count('"GET / HTTP/1.1" 200'), 4)

    def test_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            c = self.contain("control off;")
            os.kill(c.master(), number)
            self.assertEqual(c.process.wait(10), 0)
            self.assertIn("ended", c.output())

    def test_told_while_it_starts(self):
        """There are no default actions: what comes before the handlers must not be lost."""
        port = free_port()
        many = "".join(f"server s{i} {{ listen 127.0.0.1:{port}; server_name s{i}; return 200 x; }}\n" for i in range(8000))
        for _ in range(10):
            c = Container(self, "control off;", servers=many)
            # The first child reads the configuration. On a busy machine all may be over before we look.
            self.assertTrue(until(lambda c=c: c.master() and children(c.master()), 10 * SLOW))
            if "serving:" not in c.output():
                break
            c.end()
        os.kill(c.master(), signal.SIGTERM)
        self.assertEqual(c.process.wait(20 * SLOW), 0, c.output())
        self.assertIn("stopping", c.output())

    def test_orphans_are_reaped(self):
        c = self.contain("control off;")
        orphan = c.inside("sh", "-c", "(sleep 1000 >&- 2>&- & echo $!) & wait").stdout.strip()

        def about():
            return c.inside("sh", "-c", f"cat /proc/{orphan}/stat").stdout
        self.assertTrue(until(lambda: about().startswith(f"{orphan} (sleep) S 1 ")), about())
        c.inside("kill", orphan)
        self.assertTrue(until(lambda: about() == ""), about())
        self.assertNotIn("alert", c.output())
        self.assertTrue(c.ask().endswith(b"hello"))

    def test_killed_worker(self):
        c = self.contain("control off;")
        before = children(c.master())
        os.kill(before[0], signal.SIGKILL)
        self.assertTrue(until(lambda: len(children(c.master())) == 2 and children(c.master()) != before))
        self.assertTrue(c.ask().endswith(b"hello"))
        self.assertTrue(until(lambda: stat_of(before[0]) is None))

    def test_nothing_can_be_written(self):
        """No pid file, no socket, a root that is read only, nothing in /proc."""
        # Sanitizers read there what they shall do, and where leaks are.
        proc = "" if "asan" in SERVER else "mount -t tmpfs none /proc && "
        c = self.contain("control off;", first="mount -o remount,bind,ro / && ! touch /etc/x 2>&- && " + proc)
        self.assertTrue(c.ask().endswith(b"hello"))
        os.kill(c.master(), signal.SIGHUP)
        self.assertTrue(c.says("reloaded in"), c.output())
        self.assertTrue(c.ask().endswith(b"hello"))
        self.assertNotIn("[error]", c.output())
        os.kill(c.master(), signal.SIGTERM)
        self.assertEqual(c.process.wait(10), 0, c.output())

    def test_no_other_user(self):
        """Workers cannot become somebody who does not exist there."""
        c = Container(self, "control off;", user="")
        self.assertEqual(c.process.wait(15 * SLOW), 1)
        self.assertIn("rights cannot be dropped", c.output())
        self.assertIn("write: user root;", c.output())

    # ------------------------------------------------------------ who it is from outside

    def test_control_from_both_sides(self):
        """Its number is 1 inside, and somebody else's outside."""
        c = self.contain("pid server.pid;")
        with open(c.path("server.pid")) as f:
            self.assertEqual(f.read(), "1\n")
        # A whole life by -s: from outside the kernel says who listens at the socket.
        for who in (c.outside, lambda *words: c.inside(SERVER, "-c", c.config, *words)):
            for words, said in ((("-s", "reload"), "reloaded in"), (("-s", "reopen"), "logs reopened")):
                before = c.output().count(said)
                run = who(*words)
                self.assertEqual((run.returncode, run.stderr), (0, ""))
                self.assertTrue(until(lambda n=before, s=said: c.output().count(s) == n + 1), c.output())
            run = who("upgrade")
            self.assertEqual(run.returncode, 1)
            self.assertIn("start a new container", run.stderr)
            self.assertIn("state serving", who("status").stdout)
        run = c.outside("-s", "stop")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertEqual(c.process.wait(10), 0)

    def test_pid_file_alone(self):
        """Without a control socket the number in the file is all there is: outside it is another process."""
        c = self.contain("pid server.pid; control off;")
        for word in ("stop", "quit", "reopen", "reload", "upgrade"):
            run = c.outside("-s", word)
            self.assertEqual((run.returncode, run.stderr), (1, (
                f"server: error: process 1, which {c.path('server.pid')} names, is another: the master runs in another "
                "container\n")))
        for word, said in (("reopen", "logs reopened"), ("reload", "reloaded in"), ("quit", "draining")):
            run = c.inside(SERVER, "-c", c.config, "-s", word)
            # Who is inside goes with the first process, maybe before it has left by itself.
            self.assertIn(run.returncode, (0, -signal.SIGKILL) if word == "quit" else (0,))
            self.assertEqual(run.stderr, "")
            self.assertTrue(c.says(said), c.output())
        self.assertEqual(c.process.wait(10), 0)

    def test_master_of_the_outer_side(self):
        """From within another container it has no number at all."""
        c = self.contain("pid server.pid;")
        run = subprocess.run([*UNSHARE, SERVER, "-c", c.config, "-s", "stop"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual((run.returncode, run.stderr), (1, f"server: error: the master at {c.path('server.control')} runs in "
                                                        "another container, and is no process of this one\n"))
        run = subprocess.run([*UNSHARE, SERVER, "-c", c.config, "-s", "reload"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertTrue(c.ask().endswith(b"hello"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
