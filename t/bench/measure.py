# SPDX-License-Identifier: BSD-2-Clause
"""
What bench.py and gate.py share: programs that are started and measured, and the servers under
configurations that say the same. Figures are of the whole process tree of a server. Ports are free ones of
the loopback; what is written goes into a directory of its own.
"""
import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
TEXT = "x" * 119 + "\\n"                    # an answer of 120 bytes, as all three spell it
STREAM = ["/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib64/nginx/modules/ngx_stream_module.so"]
LONG = 600                                  # seconds: more than any row holds its connections
MESSAGE = '{"type":"message","content":"hello all"}\n'
OKAY = '{"code":0,"msg":"ok"}'
ROUTED = """route when msg.type == "message" { reply '%s'; } route { close; }""" % OKAY


class Failure(Exception):
    pass


def find(program):
    return shutil.which(program, path=PATH)


def question(path="/"):
    return "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n" % path


class Datagrams(int):
    """A port of UDP."""


given_ports = set()


def free_port(kind=int):
    """One that was not given before: the kernel forgets what nobody holds."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM if kind is Datagrams else socket.SOCK_STREAM) as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in given_ports:
            given_ports.add(port)
            return kind(port)


def connect(address, seconds=60):
    """A connection to a port of 127.0.0.1 or to the path of a Unix socket."""
    if isinstance(address, Datagrams):
        s = socket.socket(type=socket.SOCK_DGRAM)
        s.settimeout(seconds)
        s.connect(("127.0.0.1", address))
        return s
    if not isinstance(address, str):
        s = socket.create_connection(("127.0.0.1", address), seconds)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(seconds)
    s.connect(address)
    return s


class Program:
    """What was started. address: where it listens, once it does; prefix: what it runs under."""

    def __init__(self, name, arguments, address, cpus=None, prefix=(), output=subprocess.DEVNULL):
        self.name, self.address, self.prefix = name, address, prefix
        self.process = subprocess.Popen([*prefix, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE,
                                        preexec_fn=lambda: cpus and os.sched_setaffinity(0, cpus))
        until = time.monotonic() + 60
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Failure("%s does not start: %s" % (name, self.stop()[-2000:]))
            time.sleep(0.02)

    def listens(self):
        with contextlib.suppress(OSError), connect(self.address, 5) as s:
            if isinstance(self.address, Datagrams):         # who answers is there, and its backend
                s.settimeout(1)
                s.send(b"there")
                s.recv(100)
            return True
        return False

    def tree(self):
        """Its process and all that came of it, parents first."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in os.listdir("/proc/%d/task" % pid):
                    with open("/proc/%d/task/%s/children" % (pid, task)) as f:
                        found += [int(p) for p in f.read().split()]
        return found

    def cpu_us(self):
        """Time on a CPU so far: nanoseconds of schedstat, or the ticks of stat."""
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

    def pss(self):
        """Its share of memory, in bytes, once that no longer moves."""
        def now():
            total = 0
            for pid in self.tree():
                with open("/proc/%d/smaps_rollup" % pid) as f:
                    total += int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M)[1]) * 1024
            return total
        last = now()
        for _ in range(30):
            time.sleep(0.3)
            value = now()
            if abs(value - last) <= last / 1000:
                return value
            last = value
        return last

    def stop(self):
        """Ends it; what it said on stderr. Asked again each second: nginx under valgrind may miss a signal."""
        pid = self.process.pid
        if self.prefix and "strace" in self.prefix[0] and len(self.tree()) > 1:
            pid = self.tree()[1]
        for _ in range(20):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.communicate(timeout=1)[1].decode("utf-8", "replace")
        for pid in reversed(self.tree()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return self.process.communicate()[1].decode("utf-8", "replace")


class Place:
    """Where configurations, sockets and logs go, and how many clients a server is to take."""

    def __init__(self, directory, server, clients=1000, workers=1, log=False, large=False, bare=None):
        self.d, self.server, self.clients, self.bare = directory, server, clients, bare
        self.workers, self.log, self.large = workers, log, large

    def connections(self, body):
        """Those of peers count too; and millrace lets nobody in beyond 95 % of what it may have."""
        return (self.clients * (2 if "proxy" in body else 1) + 32) * 20 // 19

    def write(self, name, text):
        path = os.path.join(self.d, name)
        with open(path, "w") as f:
            f.write(text)
        return path


def start(which, place, body, cpus=None, prefix=(), kind=int):
    """One of the servers below; body(port) is the part of its configuration that a row is about."""
    port = free_port(kind)
    path = place.write("%s-%d.conf" % (which.name, port), which.frame(place, body(port)))
    output = open(os.path.join(place.d, which.name + ".log"), "ab") if place.log else subprocess.DEVNULL
    try:
        return Program(which.name, which.arguments(place, path), port, cpus, prefix, output)
    finally:
        if place.log:
            output.close()


# ---------------------------------------------------------------- the servers

LITERAL, FREE, PREFIX = "literal", "free", "prefix"
ROUTES = 1000
LAST = {LITERAL: "/r999/17", FREE: "/abc/r999", PREFIX: "/r999/x"}      # asks for the last route
PATTERN = {LITERAL: "^/r%d/[0-9]+$", FREE: "^/[a-z]+/r%d$", PREFIX: "/r%d"}


class Millrace:
    name = "millrace"

    @staticmethod
    def there(place):
        return os.access(place.server, os.X_OK)

    @staticmethod
    def arguments(place, path):
        return [place.server, "-c", path, "-p", place.d]

    @staticmethod
    def frame(place, body):
        log = 'access_log "%s/millrace.log" combined;' % place.d if place.log else ""
        return """workers %d; connections %d; error_log "%s/millrace.error" error;
            defaults { timeout { header %ds; keepalive %ds; write %ds; } %s }
            %s""" % (place.workers, place.connections(body), place.d, LONG, LONG, LONG, log, body)

    @staticmethod
    def fixed(place):
        return lambda port: 'server { listen 127.0.0.1:%d; return 200 "%s"; }' % (port, TEXT)

    @staticmethod
    def upstream(peer):
        return "upstream app { server %s; pool { idle 256; } timeout { header %ds; idle %ds; } }" % (
            "unix:" + peer if isinstance(peer, str) else "127.0.0.1:%d" % peer, LONG, LONG)

    @classmethod
    def proxy(cls, place, peer):
        return lambda port: cls.upstream(peer) + " server { listen 127.0.0.1:%d; proxy app; }" % port

    @staticmethod
    def stream(place, peer):
        return lambda port: "server { listen 127.0.0.1:%d; protocol tcp; proxy 127.0.0.1:%d; }" % (port, peer)

    @staticmethod
    def routes(place, kind):
        mark = "" if kind == PREFIX else "~ "
        lines = "".join('route %s"%s" { return 200 "%s"; }\n' % (mark, PATTERN[kind] % i, TEXT) for i in range(ROUTES))
        return lambda port: "server { listen 127.0.0.1:%d; %s }" % (port, lines)

    JSONNL = 'protocol jsonnl { boundary "\\n"; max 64k; format json; answers in_order; messages independent; }'

    @classmethod
    def reply(cls, place):
        return lambda port: "%s server { listen 127.0.0.1:%d; protocol jsonnl; %s }" % (cls.JSONNL, port, ROUTED)

    @classmethod
    def echo(cls, place):
        return lambda port: "%s server { listen 127.0.0.1:%d; protocol jsonnl; echo; }" % (cls.JSONNL, port)

    @classmethod
    def relay(cls, place, peer):
        return lambda port: "%s %s server { listen 127.0.0.1:%d; protocol jsonnl; proxy app; }" % (
            cls.JSONNL, cls.upstream(peer), port)

    @staticmethod
    def datagrams(place, peer, once):
        return lambda port: "server { listen udp:127.0.0.1:%d; protocol udp; proxy udp:127.0.0.1:%d%s; }" % (
            port, peer, " answers=1" if once else "")


class Nginx:
    name = "nginx"
    single = False          # no master: valgrind wants none

    @staticmethod
    def there(place):
        return find("nginx")

    @staticmethod
    def arguments(place, path):
        return [find("nginx"), "-c", path, "-e", place.d + "/nginx.error"]

    @classmethod
    def frame(cls, place, body):
        load = "".join("load_module %s;" % m for m in STREAM if os.path.exists(m)) if body.startswith("stream") else ""
        log = "access_log %s/nginx.log combined buffer=64k flush=1s;" % place.d if place.log else "access_log off;"
        temporary = " ".join("%s_temp_path %s/t;" % (w, place.d) for w in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        if not body.startswith("stream"):
            body = """http { %s %s keepalive_requests 1000000000; keepalive_timeout %ds; client_header_timeout %ds;
                send_timeout %ds; server_tokens off; default_type text/plain; %s }""" % (log, temporary, LONG, LONG, LONG, body)
        return """%s daemon off; master_process %s; worker_processes %d; pid %s/nginx.pid; error_log %s/nginx.error crit;
            events { worker_connections %d; } %s""" % (
                load, "off" if cls.single else "on", place.workers, place.d, place.d, place.connections(body), body)

    @staticmethod
    def fixed(place):
        return lambda port: "server { listen 127.0.0.1:%d; location / { return 200 '%s'; } }" % (port, TEXT)

    @staticmethod
    def proxy(place, peer):
        buffers = "proxy_buffer_size 32k; proxy_buffers 8 32k;" if place.large else ""
        return lambda port: """
            upstream app { server %s; keepalive 256; keepalive_requests 1000000000; }
            server { listen 127.0.0.1:%d; location / {
                proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host;
                proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
                proxy_set_header X-Forwarded-Host $http_host;
                proxy_read_timeout %ds; proxy_max_temp_file_size 0; %s proxy_pass http://app; } }""" % (
                    "unix:" + peer if isinstance(peer, str) else "127.0.0.1:%d" % peer, port, LONG, buffers)

    @staticmethod
    def stream(place, peer):
        return lambda port: "stream { server { listen 127.0.0.1:%d; proxy_pass 127.0.0.1:%d; } }" % (port, peer)

    @staticmethod
    def datagrams(place, peer, once):
        return lambda port: "stream { server { listen 127.0.0.1:%d udp; proxy_pass 127.0.0.1:%d; proxy_timeout %ds; %s } }" % (
            port, peer, LONG, "proxy_responses 1;" if once else "")

    @staticmethod
    def routes(place, kind):
        lines = "".join("location %s\"%s\" { return 200 '%s'; }\n" % ("" if kind == PREFIX else "~ ", PATTERN[kind] % i, TEXT)
                        for i in range(ROUTES))
        return lambda port: "server { listen 127.0.0.1:%d; %s }" % (port, lines)


class Haproxy:
    name = "haproxy"
    answer = 'http-request return status 200 content-type text/plain string "%s"' % TEXT

    @staticmethod
    def there(place):
        return find("haproxy")

    @staticmethod
    def arguments(place, path):
        return [find("haproxy"), "-db", "-f", path]

    @staticmethod
    def frame(place, body):
        tcp = body.startswith("#tcp")
        log = " log stdout format raw local0\n" if place.log else ""
        return "global\n no strict-limits\n maxconn %d\n ulimit-n %d\n nbthread %d\n%sdefaults\n mode %s\n timeout connect 5s\n%s%s%s" % (
            place.clients + 64, resource.getrlimit(resource.RLIMIT_NOFILE)[0], place.workers, log, "tcp" if tcp else "http",
            "".join(" timeout %s %ds\n" % (w, LONG) for w in ("client", "server", "http-request", "http-keep-alive")),
            " log global\n option httplog\n" if place.log else "", body if tcp else " http-reuse always\n" + body)

    @classmethod
    def fixed(cls, place):
        return lambda port: "frontend f\n bind 127.0.0.1:%d\n %s\n" % (port, cls.answer)

    @staticmethod
    def proxy(place, peer):
        return lambda port: """ option forwardfor
frontend f
 bind 127.0.0.1:%d
 http-request set-header X-Forwarded-Proto http
 http-request set-header X-Forwarded-Host %%[req.hdr(host)]
 default_backend b
backend b
 server s %s pool-max-conn 256
""" % (port, "unix@" + peer if isinstance(peer, str) else "127.0.0.1:%d" % peer)

    @staticmethod
    def stream(place, peer):
        return lambda port: "#tcp\nlisten f\n bind 127.0.0.1:%d\n server s 127.0.0.1:%d\n" % (port, peer)

    @classmethod
    def routes(cls, place, kind):
        test = "path_beg /r%d/" if kind == PREFIX else "path_reg " + PATTERN[kind]
        lines = "".join(" %s if { %s }\n" % (cls.answer, test % i) for i in range(ROUTES))
        return lambda port: "frontend f\n bind 127.0.0.1:%d\n%s" % (port, lines)


class Bare:
    """The programs beside this file: what the same system calls cost without a server around them."""
    name = "bare"

    @staticmethod
    def there(place):
        return place.bare

    @staticmethod
    def arguments(place, path):
        with open(path) as f:
            return f.read().split("\n", 3)

    @staticmethod
    def frame(place, body):
        return os.path.join(place.bare, body)

    @staticmethod
    def reply(place):
        return lambda port: "bare\n%d\nreply\n%s\n" % (port, OKAY)

    @staticmethod
    def echo(place):
        return lambda port: "bare\n%d\necho" % port

    @staticmethod
    def relay(place, peer):
        return lambda port: "bare\n%d\nrelay\n%d" % (port, peer)

    @staticmethod
    def datagrams(place, peer, once):
        return lambda port: "datagrams\n%d\n%s\n%d" % (port, "once" if once else "keep", peer)


SERVERS = {c.name: c for c in (Millrace, Nginx, Haproxy, Bare)}


# ---------------------------------------------------------------- exact figures

def ask(address, what, n, size=0, anew=False):
    """n questions, one after the other, on one connection or each on its own; an answer is of size bytes, or ends as HTTP
    says. Returns the last one."""
    if anew:
        for _ in range(n):
            got = ask(address, what, 1, size)
        return got
    what = what.encode()
    with connect(address) as s:
        for _ in range(n):
            s.sendall(what)
            got, whole = b"", size
            while not whole or len(got) < whole:
                piece = s.recv(65536)
                if not piece:
                    raise Failure("closed in the middle")
                got += piece
                if not whole and b"\r\n\r\n" in got:
                    head = got.split(b"\r\n\r\n")[0]
                    if not head.startswith(b"HTTP/1.1 200"):
                        raise Failure("answered %r" % head[:200])
                    whole = len(head) + 4 + int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)[1])
    return got


def calls_of(begin, directory, exercise):
    """System calls of one run, by name. begin(prefix) starts the server, exercise(program) has it do something."""
    out = os.path.join(directory, "strace")
    program = begin((find("strace"), "-f", "-c", "-o", out))
    try:
        exercise(program)
    finally:
        said = program.stop()
    with open(out) as f:
        rows = [line.split() for line in f]
    found = {w[-1]: int(w[3]) for w in rows if len(w) >= 5 and w[3].isdigit() and w[-1] != "total"}
    if not found:
        raise Failure("strace counted nothing: " + said[-1000:])
    return found


def instructions_of(begin, exercise):
    """User-mode instructions of one run."""
    program = begin((find("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=yes"))
    try:
        exercise(program)
    finally:
        said = program.stop()
    collected = re.findall(r"Collected : (\d+)", said)
    if not collected:
        raise Failure("callgrind counted nothing: " + said[-1000:])
    return sum(int(m) for m in collected)


def calls(begin, directory, exercise, few=200, many=1200):
    """System calls per turn, by name: those of a long run less those of a short one; exercise(program, turns)."""
    short, long = (calls_of(begin, directory, lambda program: exercise(program, n)) for n in (few, many))
    found = {k: (v - short.get(k, 0)) / (many - few) for k, v in long.items()}
    return {k: v for k, v in found.items() if abs(v) >= 0.005}


def instructions(begin, exercise, few=500, many=3500):
    """User-mode instructions per turn, likewise."""
    short, long = (instructions_of(begin, lambda program: exercise(program, n)) for n in (few, many))
    return (long - short) / (many - few)
