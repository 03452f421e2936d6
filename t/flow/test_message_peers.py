# SPDX-License-Identifier: BSD-2-Clause
"""
Declared protocols before real peers: JSON-RPC over lines with backends that die, clients that are late, deaf or all begin
with id 1; Modbus with mbpoll; PostgreSQL, counted command by command.
"""
import collections
import concurrent.futures
import contextlib
import glob
import json
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

import flow

JSONRPC = """
    protocol jsonrpc {
        boundary "\\n";
        max      1m;
        format   json;
        answers  by id;
        messages independent;
        idempotent when msg.method == "get";
        error    '{"jsonrpc":"2.0","error":{"code":-32000,"message":"${reason}"}}';
    }
"""

# A backend: answers in any order, says who it is.
BACKEND = """
import asyncio, json, random, sys
async def answer(call, w):
    await asyncio.sleep(random.random() / 50)
    w.write(json.dumps({"jsonrpc": "2.0", "result": [sys.argv[1], call["method"], call["params"]], "id": call["id"]}).encode() + b"\\n")
async def serve(r, w):
    tasks = set()
    while line := await r.readline():
        task = asyncio.ensure_future(answer(json.loads(line), w))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
async def main():
    s = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(s.sockets[0].getsockname()[1], flush=True)
    await s.serve_forever()
asyncio.run(main())
"""


def call(number, method, *params):
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number}).encode() + b"\n"


class Killed(flow.Case):
    CLIENTS, WINDOW, SECONDS = 8, 16, 2.5

    def backends(self):
        started = [self.process(sys.executable, "-c", BACKEND, name, stdout=subprocess.PIPE) for name in "abc"]
        return started, ["127.0.0.1:%d" % int(p.stdout.readline()) for p in started]

    def talk(self, s, number, until, seen):
        """Keeps a window of calls unanswered; notes what came of each."""
        pending, sent = {}, 0
        with s.client() as c:
            while time.monotonic() < until or pending:
                while len(pending) < self.WINDOW and time.monotonic() < until:
                    sent += 1
                    method = "get" if sent % 4 else "set"
                    pending[sent] = method
                    c.send(call(sent, method, number, sent))
                if not pending:
                    break
                got = json.loads(c.until(b"\n"))
                method = pending.pop(got["id"])         # KeyError: an answer that nobody asked for, or twice
                if "error" in got:
                    seen.append((method, "error", got["error"]["message"]))
                    continue
                name, m, params = got["result"]
                if (m, params) != (method, [number, got["id"]]):
                    raise AssertionError("client %d got %r for %d" % (number, got, got["id"]))
                seen.append((method, name, time.monotonic()))

    def test_killed_in_the_middle(self):
        started, addresses = self.backends()
        s = self.server(JSONRPC + """
            upstream rpc { server %s; server %s; server %s; retry 2; pool { connections 2; } }
            server { listen 127.0.0.1:@port@; protocol jsonrpc; proxy rpc; }
        """ % tuple(addresses))
        seen, failures = [[] for _ in range(self.CLIENTS)], []

        def run(number):
            try:
                self.talk(s, number, until, seen[number])
            except Exception as e:
                failures.append(e)

        until = time.monotonic() + self.SECONDS
        threads = [threading.Thread(target=run, args=(n,)) for n in range(self.CLIENTS)]
        for t in threads:
            t.start()
        time.sleep(self.SECONDS / 3)
        started[1].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        seen = sum(seen, [])
        self.assertEqual([x for x in seen if x[0] == "get" and x[1] == "error"], [])
        # it was asked until then, and calls were under way: those that may not be asked twice failed, and no others
        self.assertTrue(any(x[1] == "b" and x[2] < killed for x in seen))
        lost = [x for x in seen if x[1] == "error"]
        self.assertTrue({x[2] for x in lost} <= {"peer_closed", "peer_reset"}, lost)
        self.assertLessEqual(len(lost), self.CLIENTS * self.WINDOW)
        late = collections.Counter(x[1] for x in seen if x[1] != "error" and x[2] > killed + 0.5)
        self.assertEqual(set(late), {"a", "c"})


class Counted(flow.Case):
    """What is in flight at each peer: whatever becomes of clients, peers and answers, in the end it is nothing."""
    CLIENTS, SECONDS = 12, 3.0

    CONFIGURATION = JSONRPC + """
        protocol lines { boundary "\\n"; max 1m; format json; answers in_order; messages independent; error '{"error":1}';
            idempotent when msg.method == "get"; }
        protocol stateful { boundary "\\n"; max 1m; format json; answers in_order; error '{"error":1}'; }
        upstream shared { server @a@ fail_timeout=200ms; server @b@ fail_timeout=200ms; server %s fail_timeout=200ms;
            retry %d; pool { connections 2; } timeout { header 300ms; } max_inflight 40; }
        server { listen 127.0.0.1:@port@; protocol jsonrpc; proxy shared; }
        server { listen 127.0.0.1:@port2@; protocol lines; proxy shared; }
        server { listen 127.0.0.1:@port3@; protocol stateful; proxy shared; }
    """

    def backend(self, stream, peer):
        """Answers, never answers, dies with an end or a reset, or says what nobody can read."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                q = json.loads(stream.until(b"\n"))
                what = q["method"]
                if what in ("get", "set"):
                    stream.send(json.dumps({"jsonrpc": "2.0", "result": 1, "id": q["id"]}).encode() + b"\n")
                elif what == "junk":
                    stream.send(b'{"id": ' + b"\n" + json.dumps({"result": 1, "id": 4711}).encode() + b"\n")
                elif what == "dies":
                    return
                elif what == "resets":
                    stream.reset()
                    return

    def talk(self, s, dice, until):
        """Connections that end in every way; the questions on them, too."""
        ways = ["get"] * 12 + ["set"] * 4 + ["late", "dies", "resets", "junk"]
        while time.monotonic() < until:
            with contextlib.suppress(EOFError, OSError), s.client(dice.choice(["port", "port2", "port3"])) as c:
                c.socket.settimeout(1)
                count = dice.randrange(1, 13)
                c.send(b"".join(call(i, dice.choice(ways), "x" * dice.choice([1, 100, 30000])) for i in range(1, count + 1)))
                end = dice.choice(["stays", "stays", "goes", "resets", "shuts", "half"])
                if end == "shuts":
                    c.shut()
                for _ in range({"goes": 0, "resets": 0, "half": count // 2}.get(end, count)):
                    c.until(b"\n")
                if end == "resets":
                    c.reset()

    def peers(self, s):
        status, out, said = flow.run("-c", s.path, "-p", s.directory, "upstreams", "--json")
        self.assertEqual(status, 0, said)
        return {p["peer"]: p for p in json.loads(out)["peers"]}

    def test_in_flight(self):
        a, b = self.peer(self.backend), self.peer(self.backend)
        dead = self.closed_port()
        s = self.server(self.CONFIGURATION % (dead, 2), main="workers 2;\n", a=a, b=b)
        until = time.monotonic() + self.SECONDS
        failures, most = [], 0

        def run(number):
            try:
                self.talk(s, random.Random(number), until)
            except Exception as e:
                failures.append(e)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(self.CLIENTS)]
        for t in threads:
            t.start()
        retries = 2
        while time.monotonic() < until:
            seen = [p["in_flight"] for p in self.peers(s).values()]
            self.assertLess(max(seen), 12 * self.CLIENTS + 1)
            most = max(most, *seen)
            # what is under way began under another snapshot
            retries = 3 - retries
            s.write("server.conf", "pid \"server.pid\";\nworkers 2;\n" + self.CONFIGURATION % (dead, retries))
            self.assertEqual(flow.run("-c", s.path, "-p", s.directory, "-s", "reload")[0], 0)
            time.sleep(0.2)
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertGreater(most, 0)
        flow.wait_for(lambda: not any(p["in_flight"] for p in self.peers(s).values()), 10 * flow.SLOW)
        peers = self.peers(s)
        for name, p in peers.items():
            self.assertGreater(p["taken"], 0, name)
            self.assertGreater(p["failed"], 0, name)
        # and it stays so: nothing comes late, and takes one off that was counted off before
        time.sleep(0.5)
        self.assertEqual([p["in_flight"] for p in self.peers(s).values()], [0, 0, 0])


class Shared(flow.Case):
    """A hundred clients on one connection to a peer."""
    CLIENTS, CALLS, BIG = 100, 10, 20000

    def backend(self, stream, peer):
        """Answers what is there in any order; late answers when they are told to."""
        lock = threading.Lock()

        def send(q, result):
            with lock:
                stream.send(json.dumps({"result": result, "id": q["id"], "jsonrpc": "2.0"}).encode() + b"\n")

        def late(q):
            peer.notes["go"].wait(flow.TIME * flow.SLOW)
            send(q, ["late"] + q["params"])

        while True:
            asked = [stream.until(b"\n")]
            while b"\n" in stream.buffer:
                asked.append(stream.until(b"\n"))
            random.shuffle(asked)
            for q in map(json.loads, asked):
                if q["method"] == "late":
                    threading.Thread(target=late, args=(q,), daemon=True).start()
                else:
                    send(q, q["params"] + (["x" * self.BIG] if q["method"] == "big" else []))

    def client(self, s, number):
        with s.client() as c:
            for i in range(1, self.CALLS + 1):
                c.send(call(i, "get", number, i) + (call("s%d" % i, "get", number, -i) if i % 3 == 0 else b""))
                want = {i: [number, i], **({"s%d" % i: [number, -i]} if i % 3 == 0 else {})}
                while want:
                    got = json.loads(c.until(b"\n"))
                    self.assertEqual(got["result"], want.pop(got["id"]))
                self.answered.append((number, i))

    def test_all_begin_with_one(self):
        peer = self.peer(self.backend)
        peer.notes["go"] = threading.Event()
        s = self.server(JSONRPC + """
            upstream rpc { server @peer@; retry 0; pool { connections 1; } timeout { header 1s; } }
            server { listen 127.0.0.1:@port@; protocol jsonrpc; proxy rpc; }
        """, peer=peer)
        self.answered, failures = [], []
        deaf = s.client(receive_buffer=4096)
        self.addCleanup(deaf.close)
        asked = b"".join(call(i, "big", i) for i in range(1, 2001))
        deaf.socket.setblocking(False)
        sent = deaf.socket.send(asked)
        late = s.client()
        self.addCleanup(late.close)
        late.send(call(1, "late", "first"))

        def run(number):
            try:
                self.client(s, number)
            except BaseException as e:
                failures.append(e)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(self.CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(self.answered), self.CLIENTS * self.CALLS)
        # nobody waited for the one that is late, or for the one that does not read: they still do not have theirs
        self.assertFalse(peer.notes["go"].is_set())

        # the answer that comes too late is nobody's, not that of the next call with the same id
        got = json.loads(late.until(b"\n"))
        self.assertEqual((got["id"], got["error"]["message"]), (1, "peer_timeout"))
        late.send(call(1, "get", "second"))
        self.assertEqual(json.loads(late.until(b"\n"))["result"], ["second"])
        peer.notes["go"].set()
        late.send(call(1, "get", "third"))
        self.assertEqual(json.loads(late.until(b"\n"))["result"], ["third"])
        self.assertFalse(select.select([late.socket], [], [], 0.1)[0])

        # and who did not read gets what it had asked for, when it reads
        deaf.socket.settimeout(flow.TIME * flow.SLOW)
        whole = asked[:sent].count(b"\n")
        got = {}
        for _ in range(whole):
            a = json.loads(deaf.until(b"\n"))
            got[a["id"]] = a["result"]
        self.assertEqual(got, {i: [i, "x" * self.BIG] for i in range(1, whole + 1)})
        self.assertEqual(peer.accepted, 1)


class Modbus(flow.Case):
    CONF = r"""
        protocol modbus {
            length u16be at 4 counts after;
            header 8;
            max    260;
            fields { txid u16be at 0; unit u8 at 6; func u8 at 7; }
            answers by txid;
            messages independent;
        }
        upstream one { server @one@; pool { connections 1; } }
        upstream two { server @two@; pool { connections 1; } }
        server { listen 127.0.0.1:@port@; protocol modbus; access_log "access.log" json;
            route when msg.func == 6 and msg.unit == 2 { reply "\x01" { func 134; } }
            route when msg.unit == 1 { proxy one; }
            route when msg.unit == 2 { proxy two; }
            route when msg.func == 3 { reply "\x0b" { func 131; } }
        }
    """

    def device(self, base):
        """A simulator: registers that can be read and written (functions 3, 6, 16)."""
        registers = [base + i for i in range(200)]

        def script(stream, peer):
            while True:
                txid, zero, n, unit, func = struct.unpack("!HHHBB", stream.exactly(8))
                body = stream.exactly(n - 2)
                at, count = struct.unpack("!HH", body[:4])
                peer.questions.append((txid, unit, func))
                if func == 3:
                    answer = bytes([2 * count]) + struct.pack("!%dH" % count, *registers[at:at + count])
                elif func == 6:
                    registers[at] = count
                    answer = body
                else:
                    registers[at:at + count] = struct.unpack("!%dH" % count, body[5:])
                    answer = body[:4]
                stream.send(struct.pack("!HHHBB", txid, zero, len(answer) + 2, unit, func) + answer)

        return self.peer(script)

    def start(self):
        one, two = self.device(100), self.device(1000)
        return self.server(self.CONF, one=one, two=two), one, two

    def poll(self, s, unit, at, count=1, *values):
        """What mbpoll reads: {register: value}; or what it says is wrong."""
        p = subprocess.run([self.need("mbpoll"), "-m", "tcp", "-p", str(s.names["port"]), "-a", str(unit), "-0", "-r", str(at),
                            *([] if values else ["-c", str(count)]), "-1", "-o", "5", "127.0.0.1", *map(str, values)],
                           capture_output=True, timeout=flow.TIME * flow.SLOW, text=True)
        if p.returncode != 0 or "failed" in p.stderr:
            return p.stderr.strip()
        return {int(r): int(v) for r, v in re.findall(r"(?m)^\[(\d+)\]:\s+(\d+)", p.stdout)}

    def test_mbpoll(self):
        s, one, two = self.start()
        self.assertEqual(self.poll(s, 1, 0), {0: 100})
        self.assertEqual(self.poll(s, 2, 5, 3), {5: 1005, 6: 1006, 7: 1007})
        self.assertEqual(self.poll(s, 1, 0, 100), {i: 100 + i for i in range(100)})
        self.assertEqual(self.poll(s, 1, 10, 1, 7), {})
        self.assertEqual(self.poll(s, 1, 11, 2, 8, 9), {})
        self.assertEqual(self.poll(s, 1, 10, 3), {10: 7, 11: 8, 12: 9})
        self.assertIn("Illegal function", self.poll(s, 2, 10, 1, 7))
        self.assertIn("Target device failed to respond", self.poll(s, 9, 0))
        self.assertEqual((one.accepted, two.accepted), (1, 1))
        self.assertEqual({q[1] for q in one.questions}, {1})

    def test_the_same_txid(self):
        """Several masters that begin with the same number, on one connection to each device."""
        s, one, two = self.start()
        read = struct.Struct("!HHHBBHH")
        clients = [s.client() for _ in range(20)]
        for i, c in enumerate(clients):
            self.addCleanup(c.close)
            c.send(b"".join(read.pack(txid, 0, 6, unit, 3, i, 1) for txid in (1, 2, 3) for unit in (1, 2)))
        for i, c in enumerate(clients):
            got = sorted(struct.unpack("!HHHBBBH", c.exactly(11)) for _ in range(6))
            self.assertEqual(got, sorted((txid, 0, 5, unit, 3, 2, (100, 1000)[unit - 1] + i) for txid in (1, 2, 3) for unit in (1, 2)))
        self.assertEqual((one.accepted, two.accepted), (1, 1))
        self.assertEqual(len({q[0] for q in one.questions}), 60)


class Postgres(flow.Case):
    """The startup message has no type; behind it each message is one, and goes its way on the client's own connection."""
    CONF = """
        protocol pgsql {
            preface { length u32be counts whole; min 8; }
            length  u32be at 1 counts after;
            adjust  -4;
            max     1m;
            fields  { type bytes 1; }
            format  text;
            answers none;
        }
        server { listen 127.0.0.1:@port@; protocol pgsql;
            route when msg.type == Q and msg.body ~ "^DROP" { access_log "dropped.log" json; close; }
            route when msg.type == Q { access_log "query.log"     json; proxy @peer@ per message; }
            route when msg.type == P { access_log "parse.log"     json; proxy @peer@ per message; }
            route when msg.type == d { access_log "data.log"      json; proxy @peer@ per message; }
            route when msg.type == X { access_log "terminate.log" json; proxy @peer@ per message; }
            route                    { access_log "other.log"     json; proxy @peer@ per message; }
        }
    """

    def counts(self, s, **wanted):
        def count(name):
            try:
                return s.read(name + ".log").count(b"\n")
            except FileNotFoundError:
                return 0

        flow.wait_for(lambda: all(count(n) >= k for n, k in wanted.items()), message="%r" % {n: count(n) for n in wanted})
        self.assertEqual({n: count(n) for n in wanted}, wanted)

    def program(self, name):
        found = shutil.which(name) or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/" + name), reverse=True)), None)
        if not found:
            self.skipTest("%s is not installed (postgresql)" % name)
        return found

    def database(self):
        """A server of our own, on a Unix socket in a directory of its own; never as root."""
        initdb, postgres = self.program("initdb"), self.program("postgres")
        d = self.directory()
        more = {"cwd": d}
        if os.getuid() == 0:
            more.update(user="nobody", group="nogroup", extra_groups=[])
            shutil.chown(d, "nobody", "nogroup")
        p = subprocess.run([initdb, "-D", d + "/data", "-A", "trust", "-U", "tester", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale", "C"],
                           capture_output=True, timeout=60 * flow.SLOW, **more)
        if p.returncode != 0:
            self.skipTest("initdb: " + p.stderr.decode().strip()[-200:])
        self.process(postgres, "-D", d + "/data", "-k", d, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=20", **more)
        flow.wait_for(lambda: flow.listening(d + "/.s.PGSQL.5432"), 20 * flow.SLOW)
        return "unix:" + d + "/.s.PGSQL.5432"

    def test_psql(self):
        psql = self.program("psql")
        s = self.server(self.CONF, peer=self.database())
        environment = dict(os.environ, PGSSLMODE="disable", PGGSSENCMODE="disable", PGCONNECT_TIMEOUT="10", PSQLRC="/dev/null")

        def ask(*commands, stdin=b""):
            words = [w for c in commands for w in ("-c", c)]
            return subprocess.run([psql, "-X", "-At", "-h", "127.0.0.1", "-p", str(s.names["port"]), "-U", "tester", *words, "postgres"],
                                  input=stdin, capture_output=True, timeout=flow.TIME * flow.SLOW, env=environment)

        flow.wait_for(lambda: ask("SELECT 1").stdout == b"1\n", 20 * flow.SLOW)
        p = ask("CREATE TABLE t (n int, w text)", "COPY t FROM STDIN", "SELECT sum(n), max(w) FROM t", "SELECT generate_series(1, 20000)",
                stdin=b"".join(b"%d\tword %d\n" % (n, n) for n in range(100)) + b"\\.\n")
        lines = p.stdout.decode().splitlines()
        self.assertEqual((lines[:3], len(lines), p.stderr), (["CREATE TABLE", "COPY 100", "4950|word 99"], 20003, b""))
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda n: ask("SELECT %d" % n).stdout, range(5)))
        self.assertEqual(answers, [b"%d\n" % n for n in range(5)])
        p = ask("DROP TABLE t")
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(ask("SELECT count(*) FROM t").stdout, b"100\n")
        # each query, and a farewell of each client but the one that was shown the door
        self.counts(s, query=1 + 4 + 5 + 1, terminate=1 + 1 + 5 + 1, dropped=1, parse=0)
        self.assertGreater(s.read("data.log").count(b"\n"), 0)

    def test_stand_in(self):
        """The extended protocol, byte for byte, before a server that notes what it reads."""
        def message(kind, body=b""):
            return kind + struct.pack("!I", len(body) + 4) + body

        def script(stream, peer):
            n, = struct.unpack("!I", stream.exactly(4))
            peer.questions.append(b"startup " + stream.exactly(n - 4))
            stream.send(message(b"R", bytes(4)) + message(b"S", b"a\0b\0") + message(b"Z", b"I"))
            while True:
                kind = stream.exactly(1)
                n, = struct.unpack("!I", stream.exactly(4))
                peer.questions.append(kind + stream.exactly(n - 4))
                if kind == b"Q":
                    stream.send(message(b"T", b"\0\0") + message(b"D", b"x" * 3000) * 3 + message(b"C", b"SELECT 3\0"))
                if kind in b"QS":
                    stream.send(message(b"Z", b"I"))
                if kind == b"X":
                    return

        rows = message(b"T", b"\0\0") + message(b"D", b"x" * 3000) * 3 + message(b"C", b"SELECT 3\0") + message(b"Z", b"I") * 2
        peer = self.peer(script)
        s = self.server(self.CONF, peer=peer)
        startup = struct.pack("!II", 8 + 12, 196608) + b"user\0tester\0"
        extended = [message(b"P", b"s\0SELECT 1\0\0\0"), message(b"B", b"\0s\0\0\0\0\0\0\0"), message(b"E", bytes(5)), message(b"S")]
        with s.client() as c:
            c.send(startup)
            self.assertEqual(c.exactly(9 + 9 + 6), message(b"R", bytes(4)) + message(b"S", b"a\0b\0") + message(b"Z", b"I"))
            for at in range(0, 60, 3):
                c.send_cut(message(b"Q", b"SELECT 1\0") + b"".join(extended), at)
                self.assertEqual(c.exactly(len(rows)), rows)
            c.send(message(b"X"))
            self.assertTrue(c.ends())
        self.assertEqual(peer.questions[0], b"startup " + startup[4:])
        self.assertEqual(collections.Counter(q[:1] for q in peer.questions[1:]), {b"Q": 20, b"P": 20, b"B": 20, b"E": 20, b"S": 20, b"X": 1})
        self.counts(s, query=20, parse=20, terminate=1, other=1 + 60)


if __name__ == "__main__":
    flow.main()
