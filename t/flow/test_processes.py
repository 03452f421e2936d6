#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Master and workers, end to end: signals, crashes, hangs, the pid file, logs.

SERVER names the program. Loopback only; each server runs on a port and in a
directory of its own, and only what a test started is ever signalled.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import flow

SERVER = os.path.abspath(os.environ.get("SERVER", "./server"))
WORKERS = 2
PORTS = flow.Ports()


def free_port():
    """Nobody's until this program ends: none that the kernel gives to a client meanwhile."""
    return PORTS.take()


def until(what, seconds=5.0, step=0.02):
    """The first true value of what(), or the last false one."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


def stat_of(pid):
    """(parent, state) of a living process, or None."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return int(fields[1]), fields[0]
    except (OSError, IndexError):
        return None


def children(pid):
    found = []
    for name in os.listdir("/proc"):
        about = stat_of(name) if name.isdigit() else None
        if about and about[0] == pid:
            found.append(int(name))
    return sorted(found)


def workers_of(pid):
    """Without who checks a configuration, explains, or is the next master: they come and go."""
    found = []
    for child in children(pid):
        with contextlib.suppress(OSError), open(f"/proc/{child}/comm") as f:
            if f.read().startswith("server worker"):
                found.append(child)
    return found


def status_value(pid, key):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return line.split()[1:]
    return None


class Slow(threading.Thread):
    """A backend that answers each request when it is told to."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.asked, self.go = threading.Semaphore(0), threading.Event()
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                one, _ = self.listener.accept()
                threading.Thread(target=self.answer, args=(one,), daemon=True).start()

    def answer(self, one):
        with one, contextlib.suppress(OSError):
            one.recv(65536)
            self.asked.release()
            self.go.wait(20)
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslow\n")

    def close(self):
        self.go.set()
        self.listener.close()

    def is_asked(self, questions=1):
        return all(self.asked.acquire(timeout=8) for _ in range(questions))


class Asking(threading.Thread):
    """A client that keeps its connection, asks again and again, and counts what goes wrong."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.answers = self.ended = self.refused = self.wrong = 0
        self.socket, self.done = None, threading.Event()
        self.start()

    def run(self):
        while not self.done.is_set():
            try:
                self.socket = self.server.connect()
            except OSError:
                self.refused += 1
                time.sleep(0.05)
                continue
            with self.socket:
                self.ask()

    def ask(self):
        try:
            while not self.done.is_set():
                self.socket.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while not answer.endswith(b"\r\n\r\nhello"):
                    piece = self.socket.recv(4096)
                    if not piece:
                        raise ConnectionResetError
                    answer += piece
                if not answer.startswith(b"HTTP/1.1 200 "):
                    self.wrong += 1
                self.answers += 1
                time.sleep(0.005)
        except TimeoutError:
            self.wrong += 1
        except OSError:
            self.ended += not self.done.is_set()

    def finish(self):
        self.done.set()
        self.join(10)


def sockets_of(pid):
    """The clients' ports of a process's TCP connections."""
    ours = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            ours.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    with open("/proc/net/tcp") as f:
        lines = [line.split() for line in f.readlines()[1:]]
    return {int(line[2].split(":")[1], 16) for line in lines if f"socket:[{line[9]}]" in ours}


class Server:
    def __init__(self, test, settings="", wrap=(), more="", workers=WORKERS):
        self.directory = tempfile.mkdtemp(prefix="processes.")
        os.chmod(self.directory, 0o755)
        test.addCleanup(shutil.rmtree, self.directory, True)
        self.port = free_port()
        self.config = self.path("server.conf")
        self.wrap = list(wrap)
        with open(self.config, "w") as f:
            f.write(f"""
workers {workers};
connections 100;
pid server.pid;
error_log error.log info;
{settings}
server web {{
    listen 127.0.0.1:{self.port};
    listen unix:{self.path("web.sock")};
    access_log access.log;
    route = /hello {{ return 200 hello; }}
    {more}
}}
""")
        self.process = None
        test.addCleanup(self.end)

    def path(self, name):
        return os.path.join(self.directory, name)

    def run(self, *arguments):
        return subprocess.run([SERVER, "-c", self.config, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)

    def start(self):
        with open(self.path("output"), "w") as output:
            self.process = subprocess.Popen([*self.wrap, SERVER, "-c", self.config],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if not until(lambda: "serving:" in self.log() or self.process.poll() is not None, 15) or \
                self.process.poll() is not None:
            raise AssertionError("the server did not start: " + self.read("output") + self.log())
        return self

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def read(self, name):
        try:
            with open(self.path(name), errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def log(self):
        return self.read("error.log")

    def workers(self):
        return workers_of(self.process.pid)

    def connect(self, timeout=8):
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        s.settimeout(timeout)
        return s

    def ask(self, path="/hello", timeout=8, unix=False):
        """The answer's bytes, read to the end."""
        if unix:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout)
            s.connect(self.path("web.sock"))
        else:
            s = self.connect(timeout)
        with s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return read_all(s)


def read_all(s):
    answer = b""
    while True:
        piece = s.recv(65536)
        if not piece:
            return answer
        answer += piece


class Processes(unittest.TestCase):
    def assert_served(self, server, count=24):
        for i in range(count):
            self.assertTrue(server.ask(unix=i % 4 == 0).endswith(b"hello"), "connection %d" % i)

    def assert_clean_end(self, server, status=0):
        self.assertEqual(server.process.wait(10), status, server.log())
        self.assertFalse(os.path.exists(server.path("server.pid")))
        self.assertFalse(os.path.exists(server.path("web.sock")))
        self.assertNotIn("Sanitizer", server.read("output"))
        self.assertNotIn("ended with status", server.log())

    # ------------------------------------------------------------ the start

    def test_start_and_stop(self):
        server = Server(self).start()
        self.assertEqual(server.read("server.pid"), f"{server.process.pid}\n")
        self.assertEqual(len(server.workers()), WORKERS)
        self.assert_served(server)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        self.assert_clean_end(server)
        self.assertLess(time.monotonic() - began, 5)
        with self.assertRaises(OSError):
            server.connect()

    def test_interrupt_stops(self):
        server = Server(self).start()
        server.signal(signal.SIGINT)
        self.assert_clean_end(server)

    def test_second_master_is_refused(self):
        server = Server(self).start()
        second = server.run()
        self.assertEqual(second.returncode, 1)
        self.assertEqual(second.stderr, f"server: error: another master (pid {server.process.pid}) is running: "
                                        f"{server.path('server.pid')}\n")
        self.assertTrue(os.path.exists(server.path("server.pid")))
        self.assert_served(server)

    def test_address_of_another_server_is_refused(self):
        server = Server(self).start()
        other = Server(self)
        with open(other.config) as f:
            text = f.read().replace(str(other.port), str(server.port))
        with open(other.config, "w") as f:
            f.write(text)
        second = other.run()
        self.assertEqual(second.returncode, 1)
        self.assertEqual(second.stderr, f"server: error: cannot listen on 127.0.0.1:{server.port}: "
                                        "Address already in use\n")
        self.assertFalse(os.path.exists(other.path("server.pid")))
        self.assertFalse(os.path.exists(other.path("web.sock")))
        self.assert_served(server)

    def test_address_beside_our_own_is_still_anothers(self):
        """The same port of another address, which is ours, does not make us share with a second server."""
        server = Server(self).start()
        other = Server(self)
        with open(other.config) as f:
            text = f.read().replace(f"listen 127.0.0.1:{other.port};",
                                    f"listen 127.0.0.2:{server.port}; listen 127.0.0.1:{server.port};")
        with open(other.config, "w") as f:
            f.write(text)
        second = other.run()
        self.assertEqual(second.returncode, 1)
        self.assertEqual(second.stderr, f"server: error: cannot listen on 127.0.0.1:{server.port}: "
                                        "Address already in use\n")

    def test_all_bind_errors_at_once(self):
        server = Server(self)
        with open(server.config) as f:
            text = f.read().replace(f"listen 127.0.0.1:{server.port};",
                                    "listen 203.0.113.1:1; listen 203.0.113.2:2; listen unix:/nowhere/x;")
        with open(server.config, "w") as f:
            f.write(text)
        run = server.run()
        self.assertEqual(run.returncode, 1)
        for what in ("203.0.113.1:1: Cannot assign", "203.0.113.2:2: Cannot assign", "unix:/nowhere/x: No such file"):
            self.assertIn("cannot listen on " + what, run.stderr)
        self.assertFalse(os.path.exists(server.path("server.pid")))
        self.assertFalse(os.path.exists(server.path("web.sock")))

    def test_logs_and_binds_are_said_together(self):
        server = Server(self)
        with open(server.config) as f:
            text = f.read().replace(f"listen 127.0.0.1:{server.port};", "listen 203.0.113.1:1;")
        with open(server.config, "w") as f:
            f.write(text.replace("access_log access.log;", "access_log /nowhere/access.log;"))
        run = server.run()
        self.assertEqual(run.returncode, 1)
        self.assertIn("cannot open /nowhere/access.log: No such file", run.stderr)
        self.assertIn("cannot listen on 203.0.113.1:1: Cannot assign", run.stderr)
        self.assertFalse(os.path.exists(server.path("server.pid")))

    def test_pid_file_is_a_file(self):
        """What is not ours to remove is not taken."""
        server = Server(self)
        os.mkfifo(server.path("server.pid"))
        run = server.run()
        self.assertEqual(run.returncode, 1)
        self.assertIn("cannot write the pid file " + server.path("server.pid"), run.stderr)
        self.assertTrue(os.path.exists(server.path("server.pid")))

    def test_directory_of_the_pid_file_is_made(self):
        """/run is empty when the machine starts."""
        server = Server(self)
        with open(server.config) as f:
            text = re.sub("^pid .*\n", "", f.read(), flags=re.M)
        with open(server.config, "w") as f:
            f.write(f"pid {server.path('run')}/millrace/server.pid;\n" + text)
        server.start()
        self.assertEqual(server.read("run/millrace/server.pid"), f"{server.process.pid}\n")
        self.assertEqual(os.stat(server.path("run/millrace")).st_mode & 0o022, 0)
        self.assertEqual(server.run("status").returncode, 0)
        server.signal(signal.SIGTERM)
        self.assert_clean_end(server)
        self.assertEqual(os.listdir(server.path("run/millrace")), [])

    def test_standard_descriptors_that_are_closed(self):
        """No socket or file of ours gets their numbers: what is written to stderr would go into it."""
        server = Server(self, wrap=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]).start()
        for pid in [server.process.pid, *(server.workers() if os.geteuid() == 0 else [])]:
            for fd in range(3):
                self.assertEqual(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null")
        self.assert_served(server, 4)
        server.signal(signal.SIGTERM)
        self.assert_clean_end(server)

    def test_signals_that_the_parent_blocked(self):
        server = Server(self, wrap=["env", "--block-signal=TERM", "--block-signal=CHLD", "--block-signal=USR1"]).start()
        os.kill(server.workers()[0], signal.SIGKILL)
        self.assertTrue(until(lambda: server.log().count(" serves") == WORKERS + 1))
        server.signal(signal.SIGTERM)
        self.assert_clean_end(server)

    def test_no_process_for_a_worker(self):
        """A start that lacks a worker is none; it does not wait for better times."""
        server = Server(self)
        if os.geteuid() != 0:
            self.skipTest("needs a user without processes")
        os.chmod(server.directory, 0o777)
        run = subprocess.run(["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=-all",
                              "bash", "-c", f'ulimit -u {WORKERS}; exec "$0" -c "$1"', SERVER, server.config],
                             capture_output=True, text=True, timeout=20)
        if "setpriv" in run.stderr or not server.log():
            self.skipTest(run.stderr)
        self.assertEqual(run.returncode, 1)
        self.assertNotIn("serving:", server.log())
        self.assertIn("no process for a worker", server.log())
        self.assertFalse(os.path.exists(server.path("server.pid")))

    def test_background_without_an_error_log(self):
        server = Server(self, settings="daemon on;")
        with open(server.config) as f:
            text = f.read().replace("error_log error.log info;", "")
        with open(server.config, "w") as f:
            f.write(text)
        run = server.run()
        self.assertEqual(run.returncode, 0)
        self.assertIn("in the background there is no stderr to log to; write: error_log PATH;", run.stderr)
        self.assertEqual(server.run("-s", "stop").returncode, 0)
        self.assertTrue(until(lambda: not os.path.exists(server.path("server.pid"))))

    def test_bad_configuration(self):
        server = Server(self, settings="wrokers 3;")
        run = server.run()
        self.assertEqual(run.returncode, 1)
        self.assertIn('unknown directive "wrokers"', run.stderr)
        self.assertFalse(os.path.exists(server.path("server.pid")))

    def test_too_few_descriptors(self):
        server = Server(self)
        with open(server.config) as f:
            text = f.read().replace("connections 100;", "connections 1000000;")
        with open(server.config, "w") as f:
            f.write(text)
        run = subprocess.run(["sh", "-c", 'ulimit -n 512; exec setpriv --bounding-set=-sys_resource '
                              '--inh-caps=-sys_resource "$0" -c "$1"', SERVER, server.config],
                             capture_output=True, text=True, timeout=20)
        if "setpriv" in run.stderr:
            self.skipTest(run.stderr)
        self.assertEqual(run.returncode, 1)
        self.assertIn("and the limit is 512: raise it", run.stderr)

    def test_background(self):
        server = Server(self, settings="daemon on;")
        run = server.run()
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))
        # It returned because all workers serve: the first question is answered.
        self.assert_served(server, 1)
        pid = int(server.read("server.pid"))
        self.assertEqual(os.readlink(f"/proc/{pid}/fd/2"), "/dev/null")
        for worker in children(pid):
            if os.geteuid() == 0:
                self.assertEqual(os.readlink(f"/proc/{worker}/fd/1"), "/dev/null")
        self.assertEqual(server.run("-s", "stop").returncode, 0)
        self.assertTrue(until(lambda: not os.path.exists(server.path("server.pid"))))
        self.assertTrue(until(lambda: stat_of(pid) is None or stat_of(pid)[1] == "Z"))

    def test_background_that_fails(self):
        server = Server(self, settings="daemon on;")
        first = Server(self).start()
        with open(server.config) as f:
            text = f.read().replace(str(server.port), str(first.port))
        with open(server.config, "w") as f:
            f.write(text)
        self.assertEqual(server.run().returncode, 1)
        self.assertFalse(os.path.exists(server.path("server.pid")))

    # ------------------------------------------------------------ what workers are

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another")
    def test_rights_are_dropped(self):
        server = Server(self).start()
        for worker in server.workers():
            self.assertEqual(len(set(status_value(worker, "Uid"))), 1)
            self.assertNotEqual(status_value(worker, "Uid")[0], "0")
            self.assertNotEqual(status_value(worker, "Gid")[0], "0")
            self.assertEqual(status_value(worker, "CapPrm"), ["0000000000000000"])
            self.assertEqual(status_value(worker, "NoNewPrivs"), ["1"])
            with open(f"/proc/{worker}/oom_score_adj") as mine, \
                    open(f"/proc/{server.process.pid}/oom_score_adj") as masters:
                self.assertGreater(int(mine.read()), int(masters.read()))

    def test_names(self):
        server = Server(self).start()
        with open(f"/proc/{server.process.pid}/comm") as f:
            self.assertEqual(f.read(), "server master\n")
        names = set()
        for worker in server.workers():
            with open(f"/proc/{worker}/comm") as f:
                names.add(f.read())
        self.assertEqual(names, {"server worker 1\n", "server worker 2\n"})

    @unittest.skipUnless(os.geteuid() == 0, "the descriptors of another user's process")
    def test_no_descriptor_is_inherited(self):
        """A worker has its own channel, and no pid file: the lock must not outlive the master."""
        server = Server(self).start()
        for worker in server.workers():
            targets = [os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")]
            self.assertFalse([t for t in targets if t.endswith("server.pid")], targets)
            self.assertEqual(len([t for t in targets if "eventpoll" in t]), 1, targets)

    # ------------------------------------------------------------ crashes and hangs

    def test_killed_worker_is_replaced(self):
        server = Server(self).start()
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        self.assertTrue(until(lambda: len([w for w in server.workers() if w not in before]) == 1))
        self.assert_served(server)
        self.assertTrue(until(lambda: server.log().count(" serves") == WORKERS + 1))
        self.assertEqual(len(server.workers()), WORKERS)
        self.assertIn(f"({before[0]}) was ended by signal 9", server.log())

    def test_only_the_connections_of_a_killed_worker_end(self):
        server = Server(self).start()
        clients = [Asking(server) for _ in range(24)]
        self.addCleanup(lambda: [c.finish() for c in clients])
        self.assertTrue(until(lambda: all(c.answers >= 3 for c in clients), 20))
        victim = server.workers()[0]
        owned = None
        if os.geteuid() == 0:
            ports = sockets_of(victim)
            owned = [int(c.socket.getsockname()[1] in ports) for c in clients]
        os.kill(victim, signal.SIGKILL)
        self.assertTrue(until(lambda: server.log().count(" serves") == WORKERS + 1, 10))
        seen = [c.answers for c in clients]
        self.assertTrue(until(lambda: all(c.answers >= n + 3 for c, n in zip(clients, seen)), 20))
        for c in clients:
            c.finish()
        ended = [c.ended for c in clients]
        self.assertEqual([(c.refused, c.wrong) for c in clients], [(0, 0)] * len(clients))
        self.assertLessEqual(max(ended), 1)
        if owned is not None:
            self.assertEqual(ended, owned)
            self.assertIn(sum(owned), range(1, len(clients)))

    def test_crashes_leave_no_descriptor(self):
        """Fifty deaths, spread over ten workers: what waits between two of one stays short."""
        server = Server(self, workers=10).start()

        def descriptors():
            return len(os.listdir(f"/proc/{server.process.pid}/fd"))

        before = descriptors()
        for i in range(5):
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
            self.assertTrue(until(lambda i=i: server.log().count(" serves") == 10 * (i + 2), 20), server.log())
        self.assertEqual(server.log().count("was ended by signal 9"), 50)
        self.assertTrue(until(lambda: descriptors() <= before), (before, descriptors()))
        self.assertEqual(len(server.workers()), 10)
        self.assert_served(server)

    def test_worker_that_drains_by_itself(self):
        """Its sockets are another's at once, however long its last client stays."""
        slow = Slow()
        self.addCleanup(slow.close)
        server = Server(self, more=f"route /slow {{ proxy 127.0.0.1:{slow.port}; }}").start()
        held = [server.connect() for _ in range(16)]
        for s in held:
            s.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertTrue(slow.is_asked(len(held)))
        leaving = server.workers()[0]
        os.kill(leaving, signal.SIGQUIT)
        self.assertTrue(until(lambda: f"({leaving}) drains" in server.log()))
        self.assert_served(server)
        self.assertIn(leaving, server.workers())
        slow.go.set()
        for s in held:
            with s:
                self.assertTrue(read_all(s).endswith(b"slow\n"))
        self.assertTrue(until(lambda: server.log().count(" serves") == WORKERS + 1))
        self.assertNotIn(leaving, server.workers())

    def test_stopped_master_blames_nobody(self):
        server = Server(self).start()
        workers = server.workers()
        server.signal(signal.SIGSTOP)
        time.sleep(3)
        self.assert_served(server, 8)
        server.signal(signal.SIGCONT)
        time.sleep(1.5)
        self.assertEqual(server.workers(), workers)
        self.assertNotIn("hangs", server.log())
        self.assertNotIn("does not answer", server.log())

    def test_connections_waiting_for_a_killed_worker_are_served(self):
        server = Server(self).start()
        workers = server.workers()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        waiting = [server.connect() for _ in range(16)]
        for s in waiting:
            s.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        for s in waiting:
            with s:
                self.assertTrue(read_all(s).endswith(b"hello"))

    def test_queue_of_a_stopped_worker_is_served_by_another(self):
        server = Server(self).start()
        stopped = server.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            began = time.monotonic()
            waiting = [server.connect() for _ in range(16)]
            for s in waiting:
                s.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            for s in waiting:
                with s:
                    self.assertTrue(read_all(s).endswith(b"hello"))
            self.assertLess(time.monotonic() - began, 6)
            self.assertTrue(until(lambda: f"({stopped}) hangs: its sockets are lent (waits, stopped)" in server.log()))
        finally:
            os.kill(stopped, signal.SIGCONT)
        self.assertTrue(until(lambda: f"({stopped}) is back" in server.log()))
        self.assertIn(stopped, server.workers())
        self.assert_served(server)

    def test_stopped_worker_is_killed_in_the_end(self):
        server = Server(self).start()
        stopped = server.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        self.assertTrue(until(lambda: stopped not in server.workers(), 16, 0.2))
        self.assertTrue(until(lambda: server.log().count(" serves") == WORKERS + 1))
        self.assert_served(server)

    def kill_and_wait(self, server, victim):
        """The successor, once it serves, and how long that took."""
        known, served = set(server.workers()), server.log().count(" serves")
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        self.assertTrue(until(lambda: server.log().count(" serves") > served, 15, 0.002), server.log())
        took = time.monotonic() - began
        fresh = set(server.workers()) - known
        self.assertEqual(len(fresh), 1, server.log())
        return fresh.pop(), took

    def test_crash_loop_backs_off(self):
        """And whoever can be served is, by the others."""
        server = Server(self).start()
        clients = [Asking(server) for _ in range(8)]
        self.addCleanup(lambda: [c.finish() for c in clients])
        victim, said = server.workers()[0], "ended 3 times in a row before it had served for 500 ms"
        for _ in range(10):
            victim, took = self.kill_and_wait(server, victim)
            if said in server.log():
                break
        # From there on it is later and later, however slow we are ourselves.
        for wait in (0.1, 0.2, 0.4, 0.8):
            self.assertGreater(took, wait - 0.01)
            victim, took = self.kill_and_wait(server, victim)
        seen = [c.answers for c in clients]
        self.assertEqual(server.log().count(said), 1)
        # Another configuration may mend it: when all serve that one, all do.
        os.kill(victim, signal.SIGKILL)
        self.assertTrue(until(lambda: victim not in server.workers()))
        run = server.run("reload")
        self.assertEqual((run.returncode, len(server.workers())), (0, WORKERS), run.stderr)
        self.assertTrue(until(lambda: all(c.answers > n for c, n in zip(clients, seen)), 10))
        for c in clients:
            c.finish()
        self.assertEqual([(c.refused, c.wrong) for c in clients], [(0, 0)] * len(clients))
        self.assert_served(server)

    def test_deaths_that_are_no_loop(self):
        """Each has served for a while: the next is there at once, unless there are very many of them."""
        server = Server(self).start()
        victim, took = server.workers()[0], []
        for _ in range(11):
            time.sleep(0.7)
            victim, one = self.kill_and_wait(server, victim)
            took.append(one)
        # The quickest of them: others may have had to wait for the machine.
        self.assertLess(sorted(took[2:])[1], 0.1, took)
        self.assertNotIn("ever later", server.log())
        time.sleep(0.7)
        self.kill_and_wait(server, victim)
        self.assertEqual(server.log().count("ended 12 times within 60 seconds"), 1)

    def test_no_zombies(self):
        server = Server(self).start()
        for _ in range(2):
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
            self.assertTrue(until(lambda: len([w for w in server.workers() if stat_of(w)[1] != "Z"]) == WORKERS, 15))
        self.assert_served(server)
        self.assertTrue(until(lambda: [stat_of(w)[1] == "Z" for w in server.workers()] == [False] * WORKERS))

    def test_workers_drain_when_the_master_dies(self):
        slow = Slow()
        self.addCleanup(slow.close)
        server = Server(self, more=f"route /slow {{ proxy 127.0.0.1:{slow.port}; }}").start()
        workers = server.workers()
        with server.connect() as s:
            s.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertTrue(slow.is_asked())
            server.process.kill()
            server.process.wait()
            time.sleep(0.3)
            slow.go.set()
            self.assertTrue(read_all(s).endswith(b"slow\n"))
        self.assertTrue(until(lambda: not [w for w in workers if stat_of(w) and stat_of(w)[1] != "Z"]))
        # The pid file and the socket that were left behind hinder nobody.
        os.unlink(server.path("error.log"))
        server.start()
        self.assert_served(server)

    # ------------------------------------------------------------ signals

    def test_quit_finishes_what_runs(self):
        slow = Slow()
        self.addCleanup(slow.close)
        server = Server(self, more=f"route /slow {{ proxy 127.0.0.1:{slow.port}; }}").start()
        with server.connect() as s:
            s.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(slow.is_asked())
            self.assertEqual(server.run("-s", "quit").returncode, 0)

            def is_refused():
                try:
                    server.connect().close()
                    return False
                except OSError:
                    return True
            self.assertTrue(until(is_refused))
            time.sleep(0.3)
            self.assertIsNone(server.process.poll())
            slow.go.set()
            self.assertTrue(read_all(s).endswith(b"slow\n"))
        self.assert_clean_end(server)
        self.assertIn("GET /slow", server.read("access.log"))

    def test_terminate_ends_a_drain(self):
        slow = Slow()
        self.addCleanup(slow.close)
        server = Server(self, more=f"route /slow {{ proxy 127.0.0.1:{slow.port}; }}").start()
        with server.connect() as s:
            s.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(slow.is_asked())
            server.signal(signal.SIGQUIT)
            time.sleep(0.3)
            self.assertIsNone(server.process.poll())
            server.signal(signal.SIGTERM)
            self.assert_clean_end(server)

    def test_terminate_with_a_stopped_worker(self):
        server = Server(self).start()
        os.kill(server.workers()[0], signal.SIGSTOP)
        server.signal(signal.SIGTERM)
        self.assert_clean_end(server)

    def test_logs_are_reopened(self):
        server = Server(self).start()
        self.assert_served(server, 4)
        for name in ("access.log", "error.log"):
            os.rename(server.path(name), server.path(name + ".1"))
        self.assertEqual(server.run("-s", "reopen").returncode, 0)
        self.assertTrue(until(lambda: "logs reopened" in server.log()))
        self.assert_served(server, 4)

        def lines():
            return [server.read(name).count("GET /hello") for name in ("access.log.1", "access.log")]
        # Lines are buffered for a second; those of a worker that is killed are lost.
        self.assertTrue(until(lambda: sum(lines()) == 8))
        self.assertGreaterEqual(lines()[1], 4)
        os.kill(server.workers()[0], signal.SIGKILL)
        self.assertTrue(until(lambda: server.log().count(" serves") == 1))
        self.assert_served(server, 4)
        server.signal(signal.SIGTERM)
        self.assert_clean_end(server)
        self.assertEqual(sum(lines()), 12)
        self.assertNotIn("logs reopened", server.read("error.log.1"))

    def test_terminal_signals_do_not_reach_workers(self):
        server = Server(self).start()
        workers = server.workers()
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGINT):
            for worker in workers:
                os.kill(worker, number)
        time.sleep(0.3)
        self.assertEqual(server.workers(), workers)

    def test_reload(self):
        """In place: the same processes. (test_reload.py has the rest.)"""
        server = Server(self).start()
        workers = server.workers()
        server.signal(signal.SIGHUP)
        self.assertTrue(until(lambda: "reloaded in" in server.log()))
        self.assertEqual(server.run("-s", "reload").returncode, 0)
        self.assertTrue(until(lambda: server.log().count("reloaded in") == 2))
        self.assertEqual(server.workers(), workers)
        # who checked the configuration may take a moment to be gone
        self.assertTrue(until(lambda: children(server.process.pid) == workers))
        self.assert_served(server, 4)

    def test_send_without_a_master(self):
        server = Server(self)
        for word in ("stop", "quit", "reopen"):
            run = server.run("-s", word)
            self.assertEqual(run.returncode, 1)
            self.assertEqual(run.stderr, f"server: error: no master is running: {server.path('server.pid')}\n")
        # A file that was left behind names nobody, whoever has that number now.
        with open(server.path("server.pid"), "w") as f:
            f.write(f"{os.getpid()}\n")
        self.assertEqual(server.run("-s", "stop").returncode, 1)
        self.assertNotEqual(server.run("-s", "dance").returncode, 0)

    # ------------------------------------------------------------ as the first process

    def test_first_process_of_a_container(self):
        wrap = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if subprocess.run([*wrap, "true"], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("unshare is not permitted")
        server = Server(self, wrap=wrap).start()
        self.assertEqual(server.read("server.pid"), "1\n")
        self.assert_served(server)
        master = children(server.process.pid)[0]
        victim = children(master)[0]
        os.kill(victim, signal.SIGKILL)
        self.assertTrue(until(lambda: server.log().count(" serves") == WORKERS + 1))
        # Who ends it, ends the container: there is no other to take its place.
        run = server.run("--socket=" + server.path("server.control"), "upgrade")
        self.assertEqual(run.returncode, 1)
        self.assertIn("the first process of a container cannot be followed", run.stderr)
        # An orphan becomes the master's child, and is waited for.
        orphan = subprocess.run(["nsenter", "-t", str(master), "-p", "sh", "-c", "(sleep 0.2 & ) ; true"])
        if orphan.returncode == 0:
            self.assertTrue(until(lambda: len(children(master)) == WORKERS))
        self.assert_served(server)
        os.kill(master, signal.SIGTERM)
        self.assert_clean_end(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
