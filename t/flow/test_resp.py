# SPDX-License-Identifier: BSD-2-Clause
"""The protocol of Redis in front of a real one: redis-cli, redis-benchmark, and bytes by hand."""
import subprocess
import time

import flow

STEPS = """
    route when msg.cmd == "flushall" {
        reply "-NOPERM this user has no permissions to run the 'flushall' command";
    }
    route when msg.cmd in (GET, MGET) and not msg.session exists { proxy replica; }
    route when msg.key ~ "^gone:" { proxy gone; }
    route when msg.cmd == debug { deny all; }
    route when msg[1] == "who" { reply "${msg.cmd} ${msg.count} ${msg.key} ${msg.len}"; }
    route when msg[1] == "mine" { reply "+${msg[2]}"; }
    route { proxy primary; }
"""


def command(*words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Resp(flow.Case):
    def redis(self, *more):
        server, _, _ = self.need("redis-server", "redis-cli", "redis-benchmark")
        d = self.directory()
        self.process(server, "--port", "0", "--unixsocket", d + "/r", "--unixsocketperm", "777", "--dir", d, "--save", "",
                     "--appendonly", "no", "--daemonize", "no", *more)
        flow.wait_for(lambda: flow.listening(d + "/r"))
        return d + "/r"

    def start(self, steps=STEPS, more=""):
        self.primary, self.replica = self.redis(), self.redis()
        for path, name in ((self.primary, "primary"), (self.replica, "replica")):
            self.direct(path, "SET", "where", name)
        return self.server("""
            upstream primary { server unix:@primary@; %s }
            upstream replica { server unix:@replica@; }
            upstream gone { server @closed@; }
            server cache { listen 127.0.0.1:@port@; protocol resp; %s }""" % (more, steps),
            primary=self.primary, replica=self.replica, closed=self.closed_port())

    def cli(self, *words, stdin=b""):
        p = subprocess.run([self.need("redis-cli"), *words], capture_output=True, timeout=30, input=stdin)
        self.assertEqual((p.returncode, p.stderr), (0, b""))
        return p.stdout

    def direct(self, path, *words):
        return self.cli("-s", path, *words)

    def ask(self, s, *words, stdin=b""):
        return self.cli("-p", str(s.names["port"]), *words, stdin=stdin)

    def talk(self, s, data):
        with s.client() as c:
            c.send(data)
            c.shut()
            return c.rest()


class Routes(Resp):
    def test_each_command_is_routed(self):
        s = self.start()
        self.assertEqual(self.ask(s, "GET", "where"), b"replica\n")
        self.assertEqual(self.ask(s, "get", "where"), b"replica\n")
        self.assertEqual(self.ask(s, "STRLEN", "where"), b"7\n")
        self.assertEqual(self.ask(s, "FlushAll"), b"NOPERM this user has no permissions to run the 'flushall' command\n\n")
        self.assertEqual(self.ask(s, "DEBUG", "SLEEP", "9"), b"NOPERM access is denied\n\n")
        self.assertEqual(self.ask(s, "SET", "who", "x y"), b"SET 3 who 31\n")
        self.assertEqual(self.ask(s, "GET", "gone:1"), b"\n")
        self.assertEqual(self.ask(s, "SET", "gone:1", "x"), b"ERR upstream: the peer refused the connection\n\n")
        # in one connection, in their order
        self.assertEqual(self.talk(s, command("GET", "where") + command("FLUSHALL") + command("STRLEN", "where") +
                                   command("SET", "gone:2", "x") + command("GET", "where") + b"\r\n*0\r\nPING\r\n"),
                         b"$7\r\nreplica\r\n-NOPERM this user has no permissions to run the 'flushall' command\r\n:7\r\n"
                         b"-ERR upstream: the peer refused the connection\r\n$7\r\nreplica\r\n+PONG\r\n")

    def test_no_clothes_hide_a_command(self):
        s = self.start()
        refused = b"-NOPERM this user has no permissions to run the 'flushall' command\r\n"
        for line in (b"FLUSHALL\r\n", b"flushall async\n", b"  'FLUSHALL'\r\n", b'"FLUSH\\x41LL"\r\n', b'fl"ushall"\r\n',
                     b"\r\n\r\nFLUSHALL\r\n", command("fluSHALL")):
            self.assertEqual(self.talk(s, line), refused, line)
        self.assertEqual(self.direct(self.primary, "EXISTS", "where"), b"1\n")

    def test_what_cannot_be_read(self):
        s = self.start()
        said = b"-ERR Protocol error: the question is malformed\r\n"
        for bad in (b"*1\r\n:1\r\n", b"*1\n", b"*x\r\n", b"$4\r\nPING\r\n", b"*1\r\n$4\r\nPINGx\r\n", b"GET 'k\r\n", b"\x16\x03\x01\r\n",
                    b"*1\r\n$99999999999\r\n", b"*1\r\n$4\r\nPI"):
            self.assertEqual(self.talk(s, b"PING\r\n" + bad), b"+PONG\r\n" + said, bad)
        # no value makes a line of its own
        self.assertEqual(self.talk(s, command("X", "mine", "fine")), b"+fine\r\n")
        self.assertNotIn(b"FLUSHALL", self.talk(s, command("X", "mine", "a\r\n+FLUSHALL")))

    def test_reads_are_asked_again(self):
        """Of a connection that was told nothing; what writes is not."""
        def script(stream, peer):
            stream.more()
        primary = self.redis()
        self.direct(primary, "SET", "k", "v")
        for words, want in (("GET k", b"$1\r\nv\r\n"), ("hlen none", b":0\r\n"),
                            ("INCR n", b"-ERR upstream: the peer closed before its answer was complete\r\n")):
            with self.subTest(words):
                # a server each: the peer that failed is passed over for a while
                p = self.peer(script)
                s = self.server("""
                    upstream p { server @peer@; server unix:@r@ backup; retry 1; }
                    server { listen 127.0.0.1:@port@; protocol resp; proxy p; }""", peer=p, r=primary)
                self.assertEqual(self.talk(s, command(*words.split())), want)
                self.assertEqual(len(p.streams), 1)
        self.assertEqual(self.direct(primary, "EXISTS", "n"), b"0\n")

    def test_an_answer_that_cannot_be_read(self):
        def script(stream, peer):
            while stream.until(b"PING\r\n"):
                stream.send(b"+O\nK\r\n")
        p = self.peer(script)
        s = self.server("upstream p { server @peer@; } server { listen 127.0.0.1:@port@; protocol resp; proxy p; }", peer=p)
        self.assertEqual(self.talk(s, b"PING\r\n"), b"-ERR upstream: the peer's answer is malformed\r\n")


class Connections(Resp):
    def test_transactions_of_two(self):
        s = self.start()
        with s.client() as a, s.client() as b:
            def say(c, *words):
                c.send(command(*words))
                return c.until(b"\r\n")

            for c, name in ((a, "a"), (b, "b")):
                self.assertEqual(say(c, "MULTI"), b"+OK\r\n")
                self.assertEqual(say(c, "SET", "where", name), b"+QUEUED\r\n")
            # within a transaction a read belongs to it
            self.assertEqual(say(a, "GET", "where"), b"+QUEUED\r\n")
            self.assertEqual(say(b, "GET", "where"), b"+QUEUED\r\n")
            a.send(command("EXEC"))
            self.assertEqual(a.exactly(16), b"*2\r\n+OK\r\n$1\r\na\r\n")
            b.send(command("EXEC"))
            self.assertEqual(b.exactly(16), b"*2\r\n+OK\r\n$1\r\nb\r\n")
            # and behind it no more
            a.send(command("GET", "where"))
            self.assertEqual(a.exactly(13), b"$7\r\nreplica\r\n")
            self.assertEqual(say(b, "SELECT", "1"), b"+OK\r\n")
            b.send(command("GET", "where"))
            self.assertEqual(b.exactly(5), b"$-1\r\n")
            self.assertEqual(say(b, "RESET"), b"+RESET\r\n")
            b.send(command("GET", "where"))
            self.assertEqual(b.exactly(13), b"$7\r\nreplica\r\n")

    def test_a_thousand_at_once(self):
        s = self.start()
        with s.client() as c:
            c.send(b"".join(command("INCR", "n") if i % 4 else command("GET", "where") for i in range(1000)))
            want, n = b"", 0
            for i in range(1000):
                n += i % 4 > 0
                want += b":%d\r\n" % n if i % 4 else b"$7\r\nreplica\r\n"
            self.assertEqual(c.exactly(len(want)), want)

    def test_big_values(self):
        s = self.start()
        big = bytes(range(256)) * 4096
        with s.client() as c:
            # nothing overtakes it, though it waits for its connection
            c.send(command("SET", "big", big) + command("STRLEN", "big") + command("GETRANGE", "big", 0, -1))
            want = b"+OK\r\n:1048576\r\n$1048576\r\n" + big + b"\r\n"
            self.assertEqual(c.exactly(len(want)), want)
            sent = 0
            data = command("SETRANGE", "big", 1, big)
            for at in (0, 1, 5, 30, 70000, len(data) - 1, len(data)):
                c.send(data[sent:at])
                sent = at
                time.sleep(0.01)
            self.assertEqual(c.until(b"\r\n"), b":1048577\r\n")

    def test_publish_and_subscribe(self):
        s = self.start()
        for version in (b"2", b"3"):
            kind = b"*" if version == b"2" else b">"
            with s.client() as c:
                c.send(b"HELLO " + version + b"\r\n")
                c.until(b"modules\r\n*0\r\n")
                c.send(command("SUBSCRIBE", "a", "b"))
                for i, name in enumerate((b"a", b"b"), 1):
                    want = kind + b"3\r\n$9\r\nsubscribe\r\n$1\r\n" + name + b"\r\n:%d\r\n" % i
                    self.assertEqual(c.exactly(len(want)), want)
                for i in range(3):
                    self.assertEqual(self.ask(s, "PUBLISH", "b", "hi %d" % i), b"1\n")
                    want = kind + b"3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$4\r\nhi %d\r\n" % i
                    self.assertEqual(c.exactly(len(want)), want)
                if version == b"3":
                    c.send(command("PING"))
                    self.assertEqual(c.until(b"\r\n"), b"+PONG\r\n")

    def test_heartbeats(self):
        """None within a transaction, nor where its answer would be taken for a message."""
        s = self.start(steps="route { proxy primary; }", more="heartbeat { interval 50ms; }")

        def beats():
            return self.direct(self.primary, "INFO", "commandstats").split(b"cmdstat_ping:calls=")[1:]

        with s.client() as a, s.client() as b, s.client() as c:
            a.send(command("MULTI"))
            self.assertEqual(a.until(b"\r\n"), b"+OK\r\n")
            b.send(command("SUBSCRIBE", "b"))
            b.until(b":1\r\n")
            time.sleep(0.5)
            self.assertEqual(beats(), [])
            a.send(command("EXEC"))
            self.assertEqual(a.until(b"\r\n"), b"*0\r\n")
            self.direct(self.primary, "PUBLISH", "b", "hi")
            self.assertEqual(b.until(b"hi\r\n"), b"*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$2\r\nhi\r\n")
            c.send(command("HELLO", "3"))
            c.until(b"modules\r\n*0\r\n")
            flow.wait_for(beats)
            c.send(command("SUBSCRIBE", "b"))
            c.until(b":1\r\n")
            time.sleep(0.2)
            self.direct(self.primary, "PUBLISH", "b", "hi")
            self.assertEqual(c.until(b"hi\r\n"), b">3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$2\r\nhi\r\n")

    def test_questions_without_answers(self):
        s = self.start()
        self.assertEqual(self.talk(s, command("CLIENT", "REPLY", "SKIP") + command("SET", "k", "1") + command("STRLEN", "k")), b":1\r\n")
        self.assertEqual(self.talk(s, command("CLIENT", "REPLY", "OFF") + command("SET", "k", "22") + command("CLIENT", "REPLY", "ON") +
                                   command("STRLEN", "k")), b"+OK\r\n:2\r\n")

    def test_a_late_answer_ends_the_connection(self):
        """What it was told is lost with the peer's; another must not go on in its place."""
        s = self.start(steps="route { proxy primary; }", more="timeout { header 300ms; }")
        with s.client() as c:
            c.send(command("SELECT", "5"))
            self.assertEqual(c.until(b"\r\n"), b"+OK\r\n")
            c.send(command("BLPOP", "list", "5") + command("SET", "k", "v"))
            self.assertEqual(c.until(b"\r\n"), b"-ERR upstream: the peer did not answer in time\r\n")
            c.send(command("SET", "stray", "v"))
            self.assertIn(c.rest(), (b"", b"-ERR upstream: the peer did not answer in time\r\n"))
        self.assertEqual(self.direct(self.primary, "EXISTS", "stray"), b"0\n")


class Programs(Resp):
    def test_benchmark(self):
        s = self.start()
        for pipeline in ("1", "16"):
            out = subprocess.run([self.need("redis-benchmark"), "-p", str(s.names["port"]), "-n", "2000", "-c", "10", "-P", pipeline, "-q",
                                  "-t", "set,get,incr,lpush,lrange_100,mset"], capture_output=True, timeout=60 * flow.SLOW)
            self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
            self.assertNotIn(b"rror", out.stdout + out.stderr)
            self.assertGreaterEqual(out.stdout.count(b"requests per second"), 7)

    def test_cli(self):
        s = self.start()
        lines = b"SET k v\nLPUSH l a b c\nLRANGE l 0 -1\nHSET h f 1.5\nHGETALL h\nZADD z 1.5 m\nZRANGE z 0 -1 WITHSCORES\nNOSUCH\nGET\n"
        for version in ("-2", "-3"):
            direct = self.cli(version, "-s", self.redis(), stdin=lines)
            through = self.cli(version, "-p", str(self.server(
                "server { listen 127.0.0.1:@port@; protocol resp; proxy unix:@r@; }", r=self.redis()).names["port"]), stdin=lines)
            self.assertEqual(through, direct)
        self.assertEqual(self.ask(s, "-x", "SET", "big", stdin=b"v" * 2000000), b"OK\n")
        self.assertEqual(self.ask(s, "GETRANGE", "big", "0", "-1"), b"v" * 2000000 + b"\n")

    def test_http_before_redis(self):
        """A body is a line as redis-cli takes it, or a whole command; the answer is as redis writes it."""
        s = self.server("""
            upstream r { server unix:@r@; protocol resp; }
            server { listen 127.0.0.1:@port@; server_name localhost; proxy r; }""", r=self.redis())

        def post(body):
            a = s.get("/", method="POST", body=body)
            return a.status, a.text

        self.assertEqual(post(b"SET k 'a b'"), (200, "+OK\r\n"))
        self.assertEqual(post(b"get k\n"), (200, "$3\r\na b\r\n"))
        self.assertEqual(post(command("APPEND", "k", "\r\n")), (200, ":5\r\n"))
        self.assertEqual(post(b"LRANGE k 0 1")[1][:10], "-WRONGTYPE")
        # one body is one command
        self.assertEqual(post(b"GET k\r\nFLUSHALL")[0], 500)
        self.assertEqual(post(b"STRLEN k"), (200, ":5\r\n"))

    def test_a_replica(self):
        """A real one: what is written comes back from it."""
        self.need("redis-server", "redis-cli")
        ports = flow.Ports()
        self.addCleanup(ports.close)
        port = ports.take()
        primary = self.redis("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
        replica = self.redis("--replicaof", "127.0.0.1 %d" % port)
        s = self.server("""
            upstream primary { server 127.0.0.1:%d; }
            upstream replica { server unix:@replica@; }
            server { listen 127.0.0.1:@port@; protocol resp;
                route when msg.cmd in (GET, MGET) and not msg.session exists { proxy replica; }
                route { proxy primary; }
            }""" % port, replica=replica)
        flow.wait_for(lambda: b"master_link_status:up" in self.direct(replica, "INFO", "replication"))
        self.assertEqual(self.ask(s, "SET", "k", "v"), b"OK\n")
        flow.wait_for(lambda: self.ask(s, "GET", "k") == b"v\n")
        self.assertIn(b"cmdstat_get:", self.direct(replica, "INFO", "commandstats"))
        self.assertNotIn(b"cmdstat_get:", self.direct(primary, "INFO", "commandstats"))


if __name__ == "__main__":
    flow.main()
