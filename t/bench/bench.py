# SPDX-License-Identifier: BSD-2-Clause
"""
What a request costs, beside Debian's nginx under an equal configuration: one worker, no logs, the same
answer of 120 bytes, connections kept on both sides. Run it as `make bench`, or

    SERVER=build/server python3 t/bench/bench.py [--rounds 7] [--seconds 3] [--calls] [--instructions]

The figure to compare is CPU time per request of the server's process tree: medians of rounds that take
turns, so that a noisy machine is noisy for both. Under 10 % is noise. --calls counts system calls (strace),
--instructions user-mode instructions (valgrind), per request on one kept connection; both are exact.
"""
import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BODY = "x" * 119 + "\\n"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
CONNECTIONS = 64


def find(program):
    found = shutil.which(program, path=PATH)
    if not found:
        sys.exit("bench: %s is missing; as root: apt-get install -y --no-install-recommends %s"
                 % (program, {"wrk": "wrk", "nginx": "nginx"}.get(program, program)))
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


NGINX = """
daemon off; master_process {master}; worker_processes 1; pid {d}/nginx.pid; error_log {d}/nginx.error crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 60s; server_tokens off;
    client_body_temp_path {d}/b; proxy_temp_path {d}/p; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;
    {body}
}}
"""
NGINX_FIXED = "server {{ listen 127.0.0.1:{port}; default_type text/plain; location / {{ return 200 '{text}'; }} }}"
NGINX_PROXY = """
    upstream app {{ server 127.0.0.1:{peer}; keepalive 128; keepalive_requests 1000000000; }}
    server {{ listen 127.0.0.1:{port}; location / {{
        proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
        proxy_pass http://app; }} }}
"""
OURS_FIXED = 'server {{ listen 127.0.0.1:{port}; return 200 "{text}"; }}'
OURS_PROXY = """
    upstream app {{ server 127.0.0.1:{peer}; pool {{ idle 128; }} }}
    server {{ listen 127.0.0.1:{port}; proxy app; }}
"""


class Program:
    """One server under one configuration."""

    def __init__(self, name, arguments, port, cpu):
        self.name = name
        self.port = port
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        preexec_fn=lambda: cpu is not None and os.sched_setaffinity(0, {cpu}))
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit("bench: %s does not start: %s" % (name, self.process.stderr.read().decode()))
            time.sleep(0.02)

    def tree(self):
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir("/proc/%d/task" % pid):
                    with open("/proc/%d/task/%s/children" % (pid, task)) as f:
                        todo += [int(p) for p in f.read().split()]
        return found

    def cpu_us(self):
        """Time on a CPU, of every thread of the tree: nanoseconds of schedstat, or the ticks of stat."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                for task in os.listdir("/proc/%d/task" % pid):
                    try:
                        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
                            total += int(f.read().split()[0]) / 1000
                    except OSError:
                        with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
                            words = f.read().rsplit(")", 1)[1].split()
                        total += (int(words[11]) + int(words[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
        return total

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            said = self.process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            said = self.process.communicate()[1]
        return said.decode("utf-8", "replace")


class Bench:
    def __init__(self, options, directory):
        self.o = options
        self.d = directory
        self.server = os.environ.get("SERVER", "build/server")
        self.nginx = find("nginx")
        cpus = sorted(os.sched_getaffinity(0))
        self.cpu = cpus[0] if len(cpus) > 1 else None
        self.other = cpus[1] if len(cpus) > 1 else None

    def write(self, name, text):
        path = os.path.join(self.d, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def start_nginx(self, body, cpu, prefix=(), master="on"):
        port = free_port()
        path = self.write("nginx-%d.conf" % port, NGINX.format(d=self.d, master=master, body=body(port)))
        return Program("nginx", [*prefix, self.nginx, "-c", path, "-e", self.d + "/nginx.error"], port, cpu)

    def start_ours(self, body, cpu, prefix=()):
        port = free_port()
        path = self.write("millrace-%d.conf" % port, 'workers 1; error_log "%s/millrace.error" error;\n' % self.d + body(port))
        return Program("millrace", [*prefix, self.server, "-c", path, "-p", self.d], port, cpu)

    def rows(self):
        """The two rows: what to start for each of the two programs."""
        backend = self.start_nginx(lambda port: NGINX_FIXED.format(port=port, text=BODY), self.other)
        yield ("fixed answer", lambda port: OURS_FIXED.format(port=port, text=BODY),
               lambda port: NGINX_FIXED.format(port=port, text=BODY))
        yield ("HTTP proxy to TCP", lambda port: OURS_PROXY.format(port=port, peer=backend.port),
               lambda port: NGINX_PROXY.format(port=port, peer=backend.port))
        backend.stop()

    def load(self, program):
        """CPU microseconds per request, and requests per second, of one round."""
        before = program.cpu_us()
        p = subprocess.run([find("wrk"), "-t1", "-c%d" % CONNECTIONS, "-d%ds" % self.o.seconds, "http://127.0.0.1:%d/" % program.port],
                           capture_output=True, text=True, preexec_fn=lambda: self.other is not None and os.sched_setaffinity(0, {self.other}))
        used = program.cpu_us() - before
        m = re.search(r"(\d+) requests in ([\d.]+)s", p.stdout)
        if p.returncode or not m or "Non-2xx" in p.stdout or int(m[1]) == 0:
            sys.exit("bench: %s: %s%s" % (program.name, p.stdout, p.stderr))
        return used / int(m[1]), int(m[1]) / float(m[2])

    def time_row(self, ours, theirs):
        pair = [self.start_ours(ours, self.cpu), self.start_nginx(theirs, self.cpu)]
        results = {p.name: [] for p in pair}
        try:
            for p in pair:
                self.load(p)            # warm
            for i in range(self.o.rounds):
                for p in pair if i % 2 == 0 else reversed(pair):
                    results[p.name].append(self.load(p))
        finally:
            for p in pair:
                p.stop()
        return results

    @staticmethod
    def ask(port, n):
        """n requests, one after the other, on one kept connection."""
        request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), 60) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(n):
                s.sendall(request)
                got = b""
                while b"x\n" not in got:
                    piece = s.recv(65536)
                    if not piece:
                        sys.exit("bench: closed in the middle")
                    got += piece

    def calls(self, start):
        """System calls per request, by name: those of a long run less those of a short one."""
        counts = []
        for n in (200, 1200):
            p = start()
            self.ask(p.port, 100)
            out = os.path.join(self.d, "strace")
            worker = p.tree()[-1]
            trace = subprocess.Popen([find("strace"), "-f", "-c", "-o", out, "-p", str(worker)], stderr=subprocess.PIPE)
            trace.stderr.readline()     # attached
            self.ask(p.port, n)
            trace.send_signal(signal.SIGINT)
            trace.communicate()
            p.stop()
            with open(out) as f:
                counts.append({w[-1]: int(w[3]) for w in (line.split() for line in f) if len(w) >= 5 and w[3].isdigit() and w[-1] != "total"})
        per = {k: (v - counts[0].get(k, 0)) / 1000 for k, v in counts[1].items()}
        return sum(per.values()), " ".join("%s %.2f" % (k, v) for k, v in sorted(per.items(), key=lambda x: -x[1]) if v >= 0.005)

    def instructions(self, start):
        """User-mode instructions per request: those of a long run less those of a short one."""
        totals = []
        for n in (500, 3500):
            p = start((find("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=yes"))
            self.ask(p.port, n)
            totals.append(sum(int(m) for m in re.findall(r"Collected : (\d+)", p.stop())))
        return (totals[1] - totals[0]) / 3000

    def run(self):
        print("%s, %d CPUs; wrk: 1 thread, %d connections, %d rounds of %d s, taking turns\n"
              % (os.uname().release, os.cpu_count(), CONNECTIONS, self.o.rounds, self.o.seconds))
        print("%-20s %-10s %22s %10s %10s" % ("CPU us per request", "", "median (range)", "ratio", "req/s"))
        for name, ours, theirs in self.rows():
            results = self.time_row(ours, theirs)
            base = statistics.median(r[0] for r in results["nginx"])
            for who, rounds in results.items():
                us = [r[0] for r in rounds]
                print("%-20s %-10s %8.2f (%.2f-%.2f) %10.2f %10.0f" % (name, who, statistics.median(us), min(us), max(us),
                      statistics.median(us) / base, statistics.median(r[1] for r in rounds)), flush=True)
            if self.o.calls:
                for who, start in (("millrace", lambda: self.start_ours(ours, None)), ("nginx", lambda: self.start_nginx(theirs, None))):
                    print("%-20s %-10s %8.2f system calls: %s" % ((name, who) + self.calls(start)), flush=True)
            if self.o.instructions:
                for who, start in (("millrace", lambda prefix: self.start_ours(ours, None, prefix)),
                                   ("nginx", lambda prefix: self.start_nginx(theirs, None, prefix, "off"))):
                    print("%-20s %-10s %8.0f user instructions" % (name, who, self.instructions(start)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--instructions", action="store_true")
    directory = tempfile.mkdtemp(prefix="millrace-bench-")
    os.chmod(directory, 0o755)
    try:
        Bench(parser.parse_args(), directory).run()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
