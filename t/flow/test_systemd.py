#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Under a manager of services: what it is told, sockets that it opened, the main process that becomes another.

The manager is this test: a datagram socket, and descriptors from 3 on.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_processes import SERVER, children, free_port, read_all, stat_of, until  # noqa: E402

SLOW = 4 if "asan" in SERVER else 1
SOURCE = os.path.abspath(os.environ.get("srcdir") or os.path.join(os.path.dirname(__file__), "../.."))
HELLO = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Manager:
    """Hears what is said, and starts the server as it would."""

    def __init__(self, test, listens, abstract=False, workers=2):
        self.directory = tempfile.mkdtemp(prefix="systemd.")
        os.chmod(self.directory, 0o755)
        test.addCleanup(shutil.rmtree, self.directory, True)
        self.heard = []
        # NotifyAccess=main: what others say does not count.
        self.main, self.strangers = None, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.name = "@millrace-%d-%d" % (os.getpid(), free_port()) if abstract else self.path("notify")
        self.socket.bind("\0" + self.name[1:] if abstract else self.name)
        threading.Thread(target=self.hear, daemon=True).start()
        self.config = self.path("server.conf")
        self.write("workers %d; pid server.pid; error_log error.log info;\nserver web { %s return 200 hello; }\n" % (
            workers, "".join("listen %s; " % a for a in listens)))
        self.process = None
        test.addCleanup(self.end)

    def write(self, text):
        with open(self.config, "w") as f:
            f.write(text)

    def path(self, name):
        return os.path.join(self.directory, name)

    def hear(self):
        with contextlib.suppress(OSError):
            while True:
                text, ancillary, _, _ = self.socket.recvmsg(4096, 64)
                text, pid = text.decode(), struct.unpack("3i", ancillary[0][2])[0]
                self.main = self.main or pid
                if pid != self.main:
                    self.strangers.append((pid, text))
                elif "MAINPID=" in text:
                    self.main = int(re.search(r"MAINPID=(\d+)", text).group(1))
                self.heard.append((time.monotonic(), text))

    def lines(self):
        return [line for _, text in list(self.heard) for line in text.split("\n")]

    def hears(self, line, seconds=10):
        return until(lambda: line in self.lines(), seconds * SLOW)

    def start(self, sockets=(), watchdog=None, names=None, wait=True):
        env = {**os.environ, "NOTIFY_SOCKET": self.name}
        fds = [s.fileno() for s in sockets]

        def prepare():
            # Above, and then down: the numbers may be each other's.
            high = [os.dup2(fd, 200 + i, inheritable=False) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)

        # The number of the process is known to itself alone before the exec.
        line = 'export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$@"'
        if sockets:
            env["LISTEN_FDS"] = str(len(sockets))
            if names:
                env["LISTEN_FDNAMES"] = names
        if watchdog:
            env["WATCHDOG_USEC"] = str(watchdog)
        with open(self.path("output"), "w") as output:
            self.process = subprocess.Popen(["sh", "-c", line, "sh", SERVER, "-c", self.config], env=env,
                                            preexec_fn=prepare, close_fds=False, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output)
        if wait and not self.hears("READY=1", 15):
            raise AssertionError("it is not ready: " + self.output() + self.log())
        return self

    def output(self):
        with open(self.path("output")) as f:
            return f.read()

    def log(self):
        with contextlib.suppress(OSError), open(self.path("error.log")) as f:
            return f.read()
        return ""

    def master(self):
        with contextlib.suppress(OSError, ValueError), open(self.path("server.pid")) as f:
            return int(f.read())
        return 0

    def run(self, *arguments):
        return subprocess.run([SERVER, "-c", self.config, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=40)

    def end(self):
        pids = {p for p in (self.master(), self.process and self.process.pid) if p}
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        if self.process:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.socket.close()


def ask(address, family=socket.AF_INET):
    with socket.socket(family) as s:
        s.settimeout(8)
        s.connect(address)
        s.sendall(HELLO)
        return read_all(s)


def descriptors(pid):
    targets = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            targets.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return targets


class Systemd(unittest.TestCase):
    def assert_served(self, address, count=12, family=socket.AF_INET):
        for _ in range(count):
            self.assertTrue(ask(address, family).endswith(b"hello"))

    def listener(self, port, reuse=True, kind=socket.SOCK_STREAM):
        s = socket.socket(socket.AF_INET, kind)
        self.addCleanup(s.close)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            s.listen(64)
        return s

    # ------------------------------------------------------------ what is told

    def test_life(self):
        for abstract in (False, True):
            port = free_port()
            m = Manager(self, [f"127.0.0.1:{port}"], abstract).start()
            # Ready is who serves.
            self.assert_served(("127.0.0.1", port), 4)
            self.assertIn("STATUS=serving", m.lines())
            before = time.monotonic_ns() // 1000
            self.assertEqual(m.run("reload").returncode, 0, m.log())
            self.assertTrue(until(lambda m=m: m.lines().count("READY=1") == 2))
            told = [text for _, text in m.heard if text.startswith("RELOADING=1\n")]
            self.assertEqual(len(told), 1)
            at = int(re.search(r"^MONOTONIC_USEC=(\d+)$", told[0], re.M).group(1))
            self.assertLess(before, at)
            self.assertLess(at, time.monotonic_ns() // 1000)
            m.write("nonsense;\n")
            os.kill(m.process.pid, signal.SIGHUP)
            self.assertTrue(m.hears("STATUS=serving; the last reload failed"))
            self.assertEqual(m.lines().count("READY=1"), 3)
            self.assertNotIn("STOPPING=1", m.lines())
            m.process.send_signal(signal.SIGTERM)
            self.assertEqual(m.process.wait(10), 0)
            self.assertTrue(m.hears("STOPPING=1"))
            self.assertNotIn("WATCHDOG=1", m.lines())

    def test_a_start_that_fails_is_never_ready(self):
        m = Manager(self, ["203.0.113.1:1"]).start(wait=False)
        self.assertEqual(m.process.wait(15 * SLOW), 1)
        self.assertNotIn("READY=1", m.lines())

    def test_manager_that_is_not_there(self):
        port = free_port()
        m = Manager(self, [f"127.0.0.1:{port}"])
        os.unlink(m.name)
        m.start(wait=False)
        self.assertTrue(until(lambda: "serving:" in m.log(), 15 * SLOW))
        self.assertIn("the manager of services cannot be told", m.log())
        self.assert_served(("127.0.0.1", port), 4)

    def test_watchdog(self):
        port = free_port()
        m = Manager(self, [f"127.0.0.1:{port}"]).start(watchdog=1_000_000)

        def signs():
            return [at for at, text in list(m.heard) if "WATCHDOG=1" in text]
        self.assertTrue(until(lambda: len(signs()) >= 4, 8 * SLOW))
        # As often as it is told to, but for those times when the machine has others to run.
        gaps = sorted(b - a for a, b in zip(signs(), signs()[1:]))
        self.assertLess(gaps[1], 1.0, gaps)
        # No worker that lives: no sign of life.
        workers = children(m.process.pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            # Half a second apart they were; some more come before it is known that nobody moves.
            self.assertTrue(until(lambda: time.monotonic() - signs()[-1] > 2, 8))
            n = len(signs())
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        self.assertTrue(until(lambda: len(signs()) > n, 5 * SLOW))

    def test_watchdog_of_another_process(self):
        port = free_port()
        os.environ["WATCHDOG_USEC"] = "200000"
        self.addCleanup(os.environ.pop, "WATCHDOG_USEC")
        m = Manager(self, [f"127.0.0.1:{port}"])
        with open(m.path("output"), "w") as output:
            m.process = subprocess.Popen([SERVER, "-c", m.config], stdout=output, stderr=output, env={
                **os.environ, "NOTIFY_SOCKET": m.name, "WATCHDOG_PID": str(os.getpid())})
        self.assertTrue(m.hears("READY=1"))
        time.sleep(0.6)
        self.assertNotIn("WATCHDOG=1", m.lines())

    def test_upgrade_names_the_main_process(self):
        port = free_port()
        m = Manager(self, [f"127.0.0.1:{port}"]).start(watchdog=1_000_000)
        old = m.process.pid
        self.assertEqual(m.run("upgrade").returncode, 0, m.log())
        new = m.master()
        self.assertNotEqual(new, old)
        self.assertTrue(m.hears(f"MAINPID={new}"))
        self.assertNotIn("STOPPING=1", m.lines())
        self.assertEqual(m.process.wait(10), 0)
        # The new one says that it is ready, behind that and not before: it would not be listened to.
        self.assertTrue(until(lambda: m.lines().count("READY=1") == 2))
        self.assertEqual(m.strangers, [])
        n = m.lines().count("WATCHDOG=1")
        self.assertTrue(until(lambda: m.lines().count("WATCHDOG=1") > n + 1, 5 * SLOW))
        self.assert_served(("127.0.0.1", port), 4)
        os.kill(new, signal.SIGTERM)
        self.assertTrue(m.hears("STOPPING=1"))
        self.assertEqual(m.strangers, [])
        self.assertTrue(until(lambda: stat_of(new) is None or stat_of(new)[1] == "Z"))

    # ------------------------------------------------------------ sockets that it opened

    def test_sockets(self):
        """One with company, one without, a Unix socket; who waited before we were is served."""
        first, second, third = free_port(), free_port(), free_port()
        m = Manager(self, [])
        path = m.path("given.sock")
        local = socket.socket(socket.AF_UNIX)
        self.addCleanup(local.close)
        local.bind(path)
        local.listen(16)
        sockets = [self.listener(first), self.listener(second, reuse=False), local]
        early = [socket.create_connection(("127.0.0.1", p), 8) for p in (first, second)]
        for s in early:
            self.addCleanup(s.close)
            s.sendall(HELLO)
        m.write(f"workers 2; pid server.pid; error_log error.log info;\nserver web {{ "
                f"listen 127.0.0.1:{first}; listen 127.0.0.1:{second}; listen unix:{path}; "
                f"listen 127.0.0.1:{third}; return 200 hello; }}\n")
        inode = os.stat(path).st_ino
        m.start(sockets, names="web:web2:")
        for s in early:
            self.assertTrue(read_all(s).endswith(b"hello"))
        for port in (first, second, third):
            self.assert_served(("127.0.0.1", port))
        self.assert_served(path, family=socket.AF_UNIX)
        self.assertEqual(m.output(), "")
        self.assertEqual(os.stat(path).st_ino, inode)
        # The group has as many as there are slots; the other one is the same for all.
        mine = {os.readlink(f"/proc/self/fd/{s.fileno()}") for s in sockets}
        held = descriptors(m.process.pid)
        self.assertEqual([held.count(x) for x in sorted(mine)], [1, 1, 1])
        alone = os.readlink(f"/proc/self/fd/{sockets[1].fileno()}")
        self.assertEqual([alone in descriptors(w) for w in children(m.process.pid)], [True, True])
        # It goes along to the next master, too.
        for s in sockets[:2]:
            s.close()
        self.assertEqual(m.run("upgrade").returncode, 0, m.log())
        for port in (first, second, third):
            self.assert_served(("127.0.0.1", port))
        self.assert_served(path, family=socket.AF_UNIX)
        os.kill(m.master(), signal.SIGTERM)
        # What another made is another's to remove.
        self.assertTrue(until(lambda: m.master() == 0, 10 * SLOW))
        self.assertEqual(os.stat(path).st_ino, inode)

    def test_datagram_sockets(self):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(peer.close)
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(8)
        for reuse in (True, False):
            port = free_port()
            m = Manager(self, [])
            m.write(f"workers 2; pid server.pid; error_log error.log info;\nserver d {{ listen udp:127.0.0.1:{port}; "
                    f"protocol udp; proxy udp:127.0.0.1:{peer.getsockname()[1]}; }}\n")
            m.start([self.listener(port, reuse, socket.SOCK_DGRAM)])
            self.assertEqual(m.output(), "")
            for i in range(8):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    # Another socket of the group is this process's own, which is not read from.
                    s.settimeout(8)
                    s.connect(("127.0.0.1", port))
                    if reuse:
                        break
                    s.send(b"%d" % i)
                    data, source = peer.recvfrom(100)
                    peer.sendto(data + b"!", source)
                    self.assertEqual(s.recv(100), b"%d!" % i)
            m.end()

    def test_sockets_that_are_nobody_s(self):
        port, other = free_port(), free_port()
        m = Manager(self, [f"127.0.0.1:{port}"]).start([self.listener(other)])
        self.assertIn("not all sockets that were opened for us are listeners'", m.output())
        self.assert_served(("127.0.0.1", port), 4)

    def test_descriptors_that_are_no_sockets(self):
        port = free_port()
        m = Manager(self, [f"127.0.0.1:{port}"])
        with open(m.config) as f:
            m.start([f], names="file", wait=False)
            self.assertEqual(m.process.wait(15 * SLOW), 1)
        self.assertIn("file (descriptor 3), which was opened for us, is nothing to listen on", m.output())

    def test_socket_activate(self):
        """systemd's own tool opens the sockets, and starts the server with the first client."""
        tool = shutil.which("systemd-socket-activate")
        if tool is None:
            self.skipTest("there is no systemd-socket-activate")
        ports = free_port(), free_port()
        m = Manager(self, [f"127.0.0.1:{p}" for p in ports])
        with open(m.path("output"), "w") as output:
            m.process = subprocess.Popen(
                [tool, *(w for p in ports for w in ("-l", f"127.0.0.1:{p}")), "--fdname=web:more", SERVER, "-c", m.config],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)

        def listens(port):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
        # Who asks this way is the first client: it waits until the server is there.
        self.assertTrue(until(lambda: listens(ports[0])), m.output())
        for port in ports:
            self.assert_served(("127.0.0.1", port))
        self.assertNotIn("not all sockets", m.output())
        self.assertNotIn("error", m.output())
        self.assertEqual(m.master(), m.process.pid)

    # ------------------------------------------------------------ the unit

    def units(self, root):
        """The unit files as they are installed, below a directory where all is that they name."""
        home = os.path.join(root, "lib/systemd/system")
        os.makedirs(home)
        os.makedirs(os.path.join(root, "sbin"))
        with open(os.path.join(root, "sbin/server"), "w") as f:
            os.chmod(f.fileno(), 0o755)
        names = []
        for name in ("millrace.service", "millrace.socket"):
            with open(os.path.join(SOURCE, "doc", name + ".in")) as f:
                text = f.read().replace("@sbindir@", os.path.join(root, "sbin")).replace("@confdir@", "/nowhere")
            names.append(os.path.join(home, name))
            with open(names[-1], "w") as f:
                f.write(re.sub("^Documentation=.*\n", "", text, flags=re.M))
        return names

    def test_units_as_systemd_sees_them(self):
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            self.skipTest("there is no systemd-analyze")
        root = tempfile.mkdtemp(prefix="units.")
        self.addCleanup(shutil.rmtree, root, True)
        service, activated = self.units(root)

        def run(*arguments):
            return subprocess.run([analyze, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=60)
        version = int(re.search(r"\d+", run("--version").stdout).group())
        if version < 250:
            self.skipTest(f"systemd {version} cannot look at files that are not installed")
        seen = run("verify", "--recursive-errors=no", service, activated)
        self.assertEqual((seen.returncode, seen.stdout), (0, ""))
        # "3.0" is 30: what is open on purpose is the network, root for the master, compiled expressions.
        seen = run("security", "--offline=yes", "--threshold=27", "--no-pager", service)
        self.assertEqual(seen.returncode, 0, seen.stdout)

    def test_unit_files(self):
        """Every option has a value, every section is known, the program is called as it wants to be."""
        for name in ("millrace.service", "millrace.socket"):
            with open(os.path.join(SOURCE, "doc", name + ".in")) as f:
                text = f.read()
            for line in text.splitlines():
                self.assertRegex(line, r"^(#.*|\[(Unit|Service|Socket|Install)\]|[A-Za-z0-9]+=\S.*|)$")
            for command in re.findall(r"^Exec\w+=@sbindir@/server (.*)$", text, re.M):
                words = command.replace("@confdir@", "/nowhere").split()
                run = subprocess.run([SERVER, *words, "-t"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                self.assertEqual(run.returncode, 1, run.stderr)
                self.assertNotIn("usage", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
