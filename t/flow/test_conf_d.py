# SPDX-License-Identifier: BSD-2-Clause
"""What is shipped works as it is: each file of conf.d is checked and asked."""
import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import socket
import struct
import subprocess

import flow

CONF_D = os.path.join(flow.SOURCE, "conf.d")


class Shipped(flow.Case):
    def start(self):
        """conf.d as it is, but for its ports and the socket's path."""
        d = self.directory()
        names = {}
        s = flow.Server("", start=False, d=d)
        self.addCleanup(s.stop)

        def port(m):
            names.setdefault(m.group(2), s.ports.take())
            return m.group(1) + str(names[m.group(2)])

        shutil.copytree(CONF_D, d + "/conf.d")
        listens = []
        for name in sorted(os.listdir(d + "/conf.d")):
            if not name.endswith(".conf"):
                continue
            path = d + "/conf.d/" + name
            with open(path) as f:
                text = f.read()
            text = re.sub(r"(\b(?:listen|proxy|server)\s+(?:udp:)?(?:[\d.]+:)?)(\d{4,5})\b", port, text)
            text = text.replace("unix:/tmp/", "unix:" + d + "/")
            with open(path, "w") as f:
                f.write(text)
            listens += [flow.Server.parse_address(a) for a in re.findall(r"^[^#\n]*?\blisten\s+([^\s;]+)", text, re.M)]
        s.path = d + "/conf.d"
        s.listens = listens
        s.names.update({"p" + k: v for k, v in names.items()})
        s.start()
        return s

    def test_check(self):
        status, _, err = flow.run("-t", "-q", "-c", CONF_D)
        self.assertEqual((status, err), (0, ""))
        for name in sorted(os.listdir(CONF_D)):
            if name.endswith(".conf"):
                with self.subTest(name):
                    self.assertEqual(flow.run("-t", "-q", "-c", os.path.join(CONF_D, name)), (0, "", ""))

    def test_main(self):
        """What is commented out in 10-main.conf works as it stands there, all of it at once."""
        d = self.directory()
        with open(os.path.join(CONF_D, "10-main.conf")) as f:
            text = re.sub(r"^( *)# (?=[a-z_]+ .*;)", r"\1", f.read(), flags=re.M)
        for word in ("workers", "pid", "control", "user", "daemon", "error_log", "watch", "drain", "access_log"):
            self.assertRegex(text, r"(?m)^\s*%s\b" % word)
        with contextlib.suppress(KeyError):
            pwd.getpwnam("www-data")
            with open(d + "/all.conf", "w") as f:
                f.write(text)
            self.assertEqual(flow.run("-t", "-q", "-c", d + "/all.conf")[0], 0)
        s = self.server(re.sub(r"(?m)^(user|daemon|workers|error_log|pid)\b.*", "", text) + "server web { listen 127.0.0.1:@port@; return 200 x; }")
        self.assertEqual(s.get("/", name="port").status, 200)
        status, out, _ = flow.run("-c", s.path, "status", "--json")
        self.assertEqual(status, 0)
        self.assertEqual(json.loads(out)["server"]["state"], "serving")
        log = s.directory + "/access.log"
        flow.wait_for(lambda: os.path.getsize(log) > 0)
        with open(log) as f:
            self.assertEqual(json.loads(f.read())["status"], 200)

    def test_site(self):
        s = self.start()
        for name in ("p8080", "p8081"):
            a = s.get("/", name=name)
            self.assertEqual(a.status, 200)
            self.assertIn("millrace", a.text)
            self.assertTrue(a["Content-Type"].startswith("text/html"))
            self.assertRegex(a["Via"], "^1.1 ")
        self.assertIn("127.0.0.1", s.get("/hello?you", name="p8080").text)
        self.assertEqual(s.get("/nowhere", name="p8080").status, 404)

    def test_behind_a_proxy(self):
        s = self.start()
        a = s.get("/", headers="X-Forwarded-For: 203.0.113.9\nX-Request-Id: given", name="p8082")
        self.assertEqual((a.text, a["X-Request-Id"]), ("203.0.113.9, by way of 127.0.0.1\n", "given"))
        self.assertRegex(s.get("/", name="p8082")["X-Request-Id"], "^[0-9a-f]{32}$")
        self.assertEqual(s.get("/", headers="X-Forwarded-For: 203.0.113.66", name="p8082").status, 403)

    def test_jsonnl(self):
        """The example of the protocol chapter of Workerman's manual: byte for byte, with nc as it is typed."""
        s = self.start()
        address = ("127.0.0.1", str(s.names["p1234"]))
        p = subprocess.run([self.need("nc"), "-q1", *address], input=b'{"type":"message","content":"hello"}\n',
                           capture_output=True, timeout=flow.TIME * flow.SLOW)
        self.assertEqual((p.stdout, p.stderr), (b'{"code":0,"msg":"ok"}\n', b""))
        with s.client("p1234") as c:
            c.send(b'{"type":"ping"}\n{"type":"who"}\n{"type":"bye"}\n{"type":"ping"}\n')
            self.assertEqual(c.rest(), b'{"type":"pong"}\n{"code":0,"msg":"you are 127.0.0.1"}\n{"code":0,"msg":"bye"}\n')
        with s.client("p1234") as c:
            c.send(b"x" * 65536)
            self.assertEqual(c.rest(), b'{"code":400,"msg":"bad_message"}\n')

    def test_jsonrpc(self):
        s = self.start()
        with s.client("p8083") as c, s.client("p8083") as d:
            c.send(b'{"jsonrpc":"2.0","method":"changed"}\n{"jsonrpc":"2.0","id":1,"method":"get","params":["a"]}\n')
            d.send(b'{"jsonrpc":"2.0","id":1,"method":"nothing"}\n')
            a, b = json.loads(c.until(b"\n")), json.loads(d.until(b"\n"))
            self.assertEqual(a, {"jsonrpc": "2.0", "id": 1, "result": {"key": "a", "value": "seven"}})
            self.assertEqual((b["id"], b["error"]["code"], b["error"]["message"]), (1, -32601, "no method nothing"))
            c.send(b'{"jsonrpc":"2.0","id":"x","method":"shutdown"}\n')
            a = json.loads(c.until(b"\n"))
            self.assertEqual((a["id"], a["error"]["message"], a["error"]["data"]), ("x", "denied", 403))

    def test_modbus(self):
        s = self.start()
        read = struct.Struct("!HHHBBHH")
        with s.client("p5020") as c:
            for unit, answer in ((1, "000700000005 01 03 02 00e6"), (2, "000700000005 02 03 02 0011"), (9, "000700000003 09 83 0b")):
                c.send(read.pack(7, 0, 6, unit, 3, 0, 1))
                answer = bytes.fromhex(answer)
                self.assertEqual(c.exactly(len(answer)), answer)
            c.send(read.pack(7, 0, 6, 9, 16, 0, 1))
            self.assertTrue(c.ends())

    def test_dns(self):
        s = self.start()
        peer, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for one in (peer, client):
            one.settimeout(flow.TIME)
            self.addCleanup(one.close)
        peer.bind(s.address("p5300"))
        for name in ("p8053", "p8054"):
            client.sendto(b"\x12\x34\x01\x00question", s.address(name))
            question, source = peer.recvfrom(512)
            self.assertEqual(question[2:], b"\x01\x00question")
            peer.sendto(question[:2] + b"\x81\x80answer", source)
            self.assertEqual(client.recv(512), b"\x12\x34\x81\x80answer")
        client.sendto(b"\x12\x34\x28\x00update", s.address("p8054"))
        client.sendto(b"\x12\x35\x01\x00behind it", s.address("p8054"))
        self.assertEqual(peer.recv(512)[2:], b"\x01\x00behind it")

    def test_redis(self):
        server, cli = self.need("redis-server", "redis-cli")
        s = self.start()

        def ask(*words):
            return subprocess.run([cli, "-p", str(s.names["p6380"]), *words], capture_output=True, timeout=30).stdout

        self.assertEqual(ask("SET", "greeting", "hello"), b"ERR upstream: the peer refused the connection\n\n")
        self.process(server, "--port", str(s.names["p6379"]), "--bind", "127.0.0.1", "--dir", self.directory(), "--save", "")
        flow.wait_for(lambda: flow.listening(("127.0.0.1", s.names["p6379"])))
        self.assertEqual(ask("SET", "greeting", "hello"), b"OK\n")
        self.assertEqual(ask("GET", "greeting"), b"hello\n")
        self.assertEqual(ask("flushall"), b"NOPERM this user has no permissions to run the 'flushall' command\n\n")
        with s.client("p6380") as c:
            c.send(b"MULTI\r\nGET greeting\r\nEXEC\r\nPSYNC ? -1\r\n")
            self.assertEqual(c.until(b"through here\r\n"), b"+OK\r\n+QUEUED\r\n*1\r\n$5\r\nhello\r\n"
                             b"-ERR replication does not go through here\r\n")

    def test_readme(self):
        """What README.md shows is served as it stands there."""
        with open(os.path.join(flow.SOURCE, "README.md")) as f:
            text = f.read()
        examples = [e for e in re.findall(r"^```\n(.*?)^```\n", text, re.M | re.S) if "server " in e]
        self.assertGreater(len(examples), 1)
        for example in examples:
            example = re.sub(r"(?m)^pid .*\n", "", example)
            s = self.server(re.sub(r"\blisten (?:[\d.]+:)?(\d+)", r"listen 127.0.0.1:@port\1@", example))
            for said, answer in re.findall(r"^    printf '(.*?)' \| nc .*# (.*)$", text, re.M) if "1234" in example else ():
                with s.client("port1234") as c:
                    c.send(said.replace("\\n", "\n").encode())
                    self.assertEqual(c.until(b"\n").decode(), answer + "\n")

    def test_readme_commands(self):
        """Every command of README.md about a configuration of one's own does what it says, in that order."""
        with open(os.path.join(flow.SOURCE, "README.md")) as f:
            text = f.read()
        example = next(e for e in re.findall(r"^```\n(.*?)^```\n", text, re.M | re.S) if "server web" in e)
        self.assertRegex(example, r'^pid "my.pid";')
        commands = re.findall(r"^    build/server (.*)$", text, re.M)
        s = flow.Server("", start=False)
        self.addCleanup(s.stop)
        for number in ("8080", "5433", "3000", "3001"):
            port = str(s.ports.take())
            example = re.sub(rf"\blisten {number}\b", "listen 127.0.0.1:" + number, example)
            example, *commands = [re.sub(rf":{number}\b", ":" + port, one) for one in (example, *commands)]
        s.write("my.conf", example)
        s.path = s.directory + "/my.conf"
        s.listens = [flow.Server.parse_address(a) for a in re.findall(r"\blisten\s+([^\s;]+)", example)]
        commands = [shlex.split(command, comments=True) for command in commands]
        verbs = [c[2] if c[:1] == ["-c"] and len(c) > 2 else " ".join(c) for c in commands]
        for word in ("explain", "status", "connections", "upstreams", "drain", "upgrade", "-s"):
            self.assertIn(word, verbs)
        serves = commands.index(["-c", "my.conf"])
        for i, command in enumerate(commands):
            if i == serves:
                s.start()
                continue
            status, out, err = flow.run(*[s.path if w == "my.conf" else w for w in command])
            self.assertEqual(status, 0, (command, err))
            self.assertEqual(out + err == "", command[-1] == "quit", command)
        flow.wait_for(lambda: not os.path.exists(s.directory + "/my.pid"))

    def test_every_file_is_an_example(self):
        for name in os.listdir(CONF_D):
            with open(os.path.join(CONF_D, name)) as f:
                text = f.read()
            self.assertTrue(text.startswith("# "), name)
            self.assertGreater(sum("#" in line for line in text.splitlines()), 3, name + " explains nothing")


if __name__ == "__main__":
    flow.main()
