# SPDX-License-Identifier: BSD-2-Clause
"""Programs that others wrote, on both sides: curl, Python's http.server, Node, nginx, redis; WebSocket through the tunnel."""
import base64
import hashlib
import os
import re
import struct
import subprocess
import sys

import flow

PROXY = "server { listen 127.0.0.1:@port@; server_name localhost; max { body 64m; } proxy %s; }"

NODE_HTTP = """
const http = require('http');
const server = http.createServer((q, a) => {
    const parts = [];
    q.on('data', d => parts.push(d));
    q.on('end', () => {
        if (q.url === '/stream') {
            let n = 0;
            const t = setInterval(() => { a.write('tick ' + n + '\\n'); if (++n === 5) { clearInterval(t); a.end(); } }, 5);
            return;
        }
        a.setHeader('X-For', q.headers['x-forwarded-for'] || '');
        a.end(q.method + ' ' + q.url + ' ' + Buffer.concat(parts).length);
    });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


def read_port(process):
    return int(process.stdout.readline())


class Http(flow.Case):
    def curl(self, *arguments):
        curl = self.need("curl")
        p = subprocess.run([curl, "-sS", "--noproxy", "*", "-m", "20", *arguments], capture_output=True, timeout=30)
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def node(self):
        p = self.process(self.need("node"), "-e", NODE_HTTP, stdout=subprocess.PIPE)
        return "127.0.0.1:%d" % read_port(p)

    def url(self, s, path="/"):
        return "http://localhost:%d%s" % (s.names["port"], path)

    def test_curl_and_python(self):
        d = self.directory()
        with open(d + "/file", "wb") as f:
            f.write(os.urandom(3 << 20))
        p = self.process(sys.executable, "-u", "-c",
                         "import http.server, functools\n"
                         "h = functools.partial(http.server.SimpleHTTPRequestHandler, directory=%r)\n"
                         "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), h)\n"
                         "print(s.server_port)\ns.serve_forever()\n" % d, stdout=subprocess.PIPE)
        s = self.server(PROXY % "@peer@", peer="127.0.0.1:%d" % read_port(p))
        with open(d + "/file", "rb") as f:
            content = f.read()
        self.assertEqual(self.curl(self.url(s, "/file")), content)
        head = self.curl("-I", self.url(s, "/file")).decode()
        self.assertIn("Content-Length: %d" % len(content), head)
        self.assertIn(b"404", self.curl("-o", "/dev/null", "-w", "%{http_code}", self.url(s, "/none")))
        self.assertEqual(self.curl("-0", self.url(s, "/file")), content)

    def test_curl_and_node(self):
        s = self.server(PROXY % "@peer@", peer=self.node())
        self.assertEqual(self.curl(self.url(s, "/a?b")), b"GET /a?b 0")
        d = self.directory()
        with open(d + "/body", "wb") as f:
            f.write(b"x" * 5000000)
        self.assertEqual(self.curl("--data-binary", "@" + d + "/body", self.url(s)), b"POST / 5000000")
        self.assertEqual(self.curl("-T", "-", "-H", "Transfer-Encoding: chunked", self.url(s, "/put"), ), b"PUT /put 0")
        self.assertEqual(self.curl("-T", d + "/body", "-H", "Transfer-Encoding: chunked", "-H", "Content-Length:", self.url(s, "/put")), b"PUT /put 5000000")
        self.assertEqual(self.curl(self.url(s, "/stream")), b"".join(b"tick %d\n" % i for i in range(5)))
        # one connection, several requests
        out = self.curl("-w", "%{num_connects} ", *["-o", "/dev/null"] * 3, self.url(s, "/1"), self.url(s, "/2"), self.url(s, "/3"))
        self.assertEqual(out.split(), [b"1", b"0", b"0"])

    def nginx(self, body, d):
        nginx = self.need("nginx")
        with open(d + "/nginx.conf", "w") as f:
            f.write(
                    "daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/error.log;\nevents {{}}\n"
                    "http {{ access_log off; client_max_body_size 64m; client_body_temp_path {0}/b; proxy_temp_path {0}/p;\n"
                    "fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n{1} }}\n".format(d, body))
        self.process(nginx, "-c", d + "/nginx.conf", "-e", d + "/error.log")

    def test_nginx_behind(self):
        d = self.directory()
        with open(d + "/file", "wb") as f:
            f.write(os.urandom(1 << 20))
        self.nginx("server { listen unix:%s/n.sock; root %s; location /hello { add_header X-From $http_x_forwarded_for; return 200 'hello'; } }" % (d, d), d)
        flow.wait_for(lambda: flow.listening(d + "/n.sock"))
        s = self.server(PROXY % "unix:@d@/n.sock", d=d)
        with s.client() as c:
            for _ in range(20):
                c.send(flow.request("/hello"))
                a = c.answer()
                self.assertEqual((a.text, a["X-From"]), ("hello", "127.0.0.1"))
        with open(d + "/file", "rb") as f:
            content = f.read()
        self.assertEqual(s.get("/file").body, content)
        a = s.get("/file", headers="Range: bytes=10-19")
        self.assertEqual((a.status, a.body), (206, content[10:20]))
        etag = s.get("/file", method="HEAD")["ETag"]
        self.assertEqual(s.get("/file", headers="If-None-Match: " + etag).status, 304)

    def test_nginx_in_front(self):
        """nginx speaks HTTP/1.0 and 1.1 to us, over connections that it keeps."""
        d = self.directory()
        s = self.server('server { listen unix:@d@/m.sock mode=0666; max { body 64m; } route /echo { echo; } route { return 200 "${path}"; } }', d=d)
        self.nginx("upstream m { server unix:%s/m.sock; keepalive 4; } server { listen unix:%s/n.sock;"
                   "location /old/ { proxy_pass http://m; } "
                   "location / { proxy_http_version 1.1; proxy_set_header Connection ''; proxy_pass http://m; } }" % (d, d), d)
        flow.wait_for(lambda: flow.listening(d + "/n.sock"))
        with flow.Client(d + "/n.sock") as c:
            for i in range(20):
                c.send(flow.request("/%d" % i) + flow.request("/old/%d" % i))
                self.assertEqual([c.answer().text, c.answer().text], ["/%d" % i, "/old/%d" % i])
            c.send(flow.request("/echo", method="POST", body=b"x" * 10000))
            self.assertEqual(c.answer().body, b"x" * 10000)


class Redis(flow.Case):
    def test_through_tcp(self):
        server, cli, benchmark = self.need("redis-server", "redis-cli", "redis-benchmark")
        d = self.directory()
        self.process(server, "--port", "0", "--unixsocket", d + "/r.sock", "--unixsocketperm", "777", "--dir", d, "--save", "", "--appendonly", "no", "--daemonize", "no")
        flow.wait_for(lambda: flow.listening(d + "/r.sock"))
        s = self.server("server { listen 127.0.0.1:@port@; protocol tcp; proxy unix:@d@/r.sock; }", d=d)
        port = str(s.names["port"])

        def ask(*words, stdin=None):
            p = subprocess.run([cli, "-p", port, *words], capture_output=True, timeout=30, input=stdin)
            self.assertEqual(p.returncode, 0, p.stderr)
            return p.stdout

        self.assertEqual(ask("PING"), b"PONG\n")
        self.assertEqual(ask("-x", "SET", "big", stdin=b"v" * 2000000), b"OK\n")
        self.assertEqual(ask("STRLEN", "big"), b"2000000\n")
        self.assertEqual(ask("GET", "big"), b"v" * 2000000 + b"\n")
        out = subprocess.run([benchmark, "-p", port, "-n", "5000", "-c", "20", "-P", "8", "-q", "-t", "set,get,lrange_100"],
                             capture_output=True, timeout=60 * flow.SLOW)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertNotIn(b"rror", out.stdout + out.stderr)
        self.assertGreaterEqual(out.stdout.count(b"requests per second"), 3)


# ---------------------------------------------------------------- WebSocket (RFC 6455), as little as is needed

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(payload, opcode=1, masked=True):
    n = len(payload)
    head = bytes([0x80 | opcode])
    bit = 0x80 if masked else 0
    head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack("!H", n) if n < 65536 else bytes([bit | 127]) + struct.pack("!Q", n)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def read_frame(stream):
    a, b = stream.exactly(2)
    n = b & 127
    if n == 126:
        n, = struct.unpack("!H", stream.exactly(2))
    elif n == 127:
        n, = struct.unpack("!Q", stream.exactly(8))
    mask = stream.exactly(4) if b & 128 else None
    payload = stream.exactly(n)
    if mask:
        payload = bytes(c ^ mask[i % 4] for i, c in enumerate(payload))
    return a & 15, payload


def websocket_echo(stream, peer):
    while True:
        q = stream.question()
        if q is None:
            return
        with peer.lock:
            peer.questions.append(q)
        if (q["Upgrade"] or "").lower() != "websocket":
            stream.send(flow.answer(200, b"plain"))
            continue
        stream.send(flow.answer(101, b"", "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: "
                                + accept_key(q["Sec-WebSocket-Key"]), "Switching Protocols"))
        break
    while True:
        opcode, payload = read_frame(stream)
        stream.send(frame(payload, opcode, masked=False))
        if opcode == 8:
            return


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: " + KEY


class WebSocket(flow.Case):
    def test_tunnel(self):
        peer = self.peer(websocket_echo)
        s = self.server(PROXY % "@peer@", peer=peer)
        with s.client() as c:
            c.send(flow.request("/plain"))
            self.assertEqual(c.answer().text, "plain")
            c.send(flow.request("/chat", headers=HANDSHAKE) + frame(b"early"))
            a = c.answer()
            self.assertEqual((a.status, a["Upgrade"].lower(), a["Sec-WebSocket-Accept"]), (101, "websocket", accept_key(KEY)))
            self.assertIn("upgrade", a["Connection"].lower())
            self.assertEqual(read_frame(c), (1, b"early"))
            for size in (0, 1, 125, 126, 65535, 65536, 300000):
                c.send(frame(os.urandom(1) * size, 2))
                self.assertEqual(len(read_frame(c)[1]), size)
            c.send(frame(b"\x03\xe8", 8))
            self.assertEqual(read_frame(c), (8, b"\x03\xe8"))
            self.assertTrue(c.ends())
        q = peer.questions[1]
        self.assertEqual((q["X-Forwarded-For"], q["Sec-WebSocket-Key"]), ("127.0.0.1", KEY))

    def test_idle(self):
        peer = self.peer(websocket_echo)
        s = self.server(PROXY.replace("max {", "timeout { idle 1s; } max {") % "@peer@", peer=peer)
        with s.client() as c:
            c.send(flow.request("/", headers=HANDSHAKE))
            self.assertEqual(c.answer().status, 101)
            self.assertTrue(c.ends())

    def test_refused_by_the_peer(self):
        peer = self.peer(flow.http(lambda q: flow.answer(403, b"no")))
        s = self.server(PROXY % "@peer@", peer=peer)
        with s.client() as c:
            c.send(flow.request("/", headers=HANDSHAKE))
            self.assertEqual(c.answer().status, 403)
            c.send(flow.request("/"))
            self.assertEqual(c.answer().status, 403)

    def test_no_real_handshake(self):
        """Without its parts it is an ordinary question; a wrong accept key is a bad answer."""
        peer = self.peer(websocket_echo)
        s = self.server(PROXY % "@peer@", peer=peer)
        for headers in ("Connection: Upgrade\nUpgrade: websocket", HANDSHAKE.replace("Version: 13", "Version: 8"),
                        HANDSHAKE.replace("Upgrade: websocket", "Upgrade: h2c"), HANDSHAKE.replace(KEY, "short"), HANDSHAKE.replace("Connection: Upgrade", "X: y")):
            with self.subTest(headers=headers):
                a = s.get("/", headers=headers)
                self.assertIn(a.status, (200, 400, 426), headers)
        wrong = self.peer(flow.http(lambda q: flow.answer(101, b"", "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: " + accept_key("x"))))
        s = self.server(PROXY % "@peer@", peer=wrong)
        with s.client() as c:
            c.send(flow.request("/", headers=HANDSHAKE))
            self.assertEqual(c.answer().status, 502)


if __name__ == "__main__":
    flow.main()
