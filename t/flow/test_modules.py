# SPDX-License-Identifier: BSD-2-Clause
"""Modules end to end: loaded beside declared, workers without rights, what lies, and what modules/README says."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import textwrap

import flow

BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.dirname(flow.SERVER))
MODULES = os.path.join(BUILD, "modules")
HOSTILE = os.path.join(BUILD, "t/unit/hostile.so")

ROUTES = """
    route when msg.type == "ping" { reply '{"type":"pong"}'; }
    route when msg.type ~ "^cl" { close; }
    route when msg.class exists { reply '{"class":"${msg.class}"}'; }
    route { reply '{"code":0,"msg":"ok"}'; }
"""
PAIR = """
module "jsonnl.so" { max 1k; error '{"code":1}'; }
protocol lines { boundary "\\n"; max 1k; format json; answers in_order; messages independent; error '{"code":1}'; }
server { listen 127.0.0.1:@port@; protocol jsonnl; %s }
server { listen 127.0.0.1:@port2@; protocol lines; %s }
"""

# What is said, and what is answered.
TALKS = [
    (b'{"type":"message","content":"hello"}\n', b'{"code":0,"msg":"ok"}\n'),
    (b'{"type":"ping"}\n{"type":"x"}\n{"type":"ping"}\n', b'{"type":"pong"}\n{"code":0,"msg":"ok"}\n{"type":"pong"}\n'),
    (b'{"type":"p\\u0069ng"}\r\n', b'{"type":"pong"}\n'),
    (b'{"class":"a\\"b\\\\\\u00e4"}\n', b'{"class":"a\\"b\\\\\xc3\xa4"}\n'),
    (b'{"a":{"type":"ping"},"class":"c"}\n', b'{"class":"c"}\n'),
    (b'no json\n', b'{"code":0,"msg":"ok"}\n'),
    (b'{"type":"ping"}\n{"type":"close"}\n{"type":"ping"}\n', b'{"type":"pong"}\n'),
    (b'{"type":"ping"}\n' + b"x" * 1100, b'{"type":"pong"}\n{"code":1}\n'),
    (b'{"type":"ping"}\n{"type":"pi', b'{"type":"pong"}\n{"code":1}\n'),
]


def talk(s, name, pieces):
    with s.client(name) as c:
        for piece in pieces:
            c.send(piece)
        c.shut()
        return c.rest()


class Loaded(flow.Case):
    def setUp(self):
        if not os.path.exists(os.path.join(MODULES, "jsonnl.so")):
            self.skipTest("no modules were built")

    def modules(self):
        files = {}
        for name in ("jsonnl", "echo_handler", "line_protocol"):
            with open(os.path.join(MODULES, name + ".so"), "rb") as f:
                files[name + ".so"] = f.read()
        return files

    def hostile(self):
        with open(HOSTILE, "rb") as f:
            return {"hostile.so": f.read()}

    def compile(self, directory, name, text):
        """A shared object of this text, in the directory."""
        source = os.path.join(directory, name + ".c")
        with open(source, "w") as f:
            f.write(text)
        subprocess.run([self.need("cc"), "-shared", "-fPIC", "-I", MODULES, "-o", os.path.join(directory, name + ".so"), source],
                       check=True)

    # ---------------------------------------------------------- the shipped ones

    def test_as_declared(self):
        s = self.server(PAIR % (ROUTES, ROUTES), files=self.modules())
        for said, answered in TALKS:
            for name in ("port", "port2"):
                with self.subTest(said=said[:40], name=name):
                    self.assertEqual(talk(s, name, [said]), answered)
                    self.assertEqual(talk(s, name, [said[i:i + 1] for i in range(min(len(said), 80))] + [said[80:]]), answered)

    def test_the_example(self):
        """conf.d's own, and with the module in place of the declaration, as its comment says."""
        with open(os.path.join(flow.SOURCE, "conf.d/50-jsonnl.conf")) as f:
            text = f.read()
        line = re.search(r"^# (module .*)$", text, re.M).group(1)
        loaded = re.sub(r"^protocol jsonnl \{.*?^\}$", lambda m: line, text, flags=re.M | re.S)
        self.assertNotEqual(loaded, text)
        said = (b'{"type":"message","content":"hello"}\n{"type":"ping"}\nhello\n\n{"type":"who"}\r\n{"type":"bye"}\n{"type":"ping"}\n')
        answers = []
        for one in (text, loaded):
            s = self.server(re.sub(r"(\blisten\s+)1234", r"\g<1>127.0.0.1:@port@", one), files=self.modules())
            self.assertEqual(talk(s, "port", [b'{"type":"message","content":"hello"}\n']), b'{"code":0,"msg":"ok"}\n')
            answers.append([talk(s, "port", [said[:cut], said[cut:]]) for cut in range(len(said) + 1)])
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(len(set(answers[0])), 1)

    def test_shared_peers(self):
        """Many clients, few connections to the backend, answers where they belong; loaded here, declared there."""
        def script(stream, peer):
            while True:
                line = stream.until(b"\n")
                if not line.endswith(b"\n"):
                    return
                stream.send(b'{"to":' + line[:-1] + b'}\n')

        text = """
            module "jsonnl.so";
            protocol lines { boundary "\\n"; max 64k; format json; answers in_order; messages independent; }
            upstream same { server @peer@; }
            upstream other { server @peer@; protocol lines; }
            server { listen 127.0.0.1:@port@; protocol jsonnl; route when msg.type == "o" { proxy other; } route { proxy same; } }
        """
        s = self.server(text, files=self.modules(), peer=self.peer(script))
        clients = [s.client() for _ in range(20)]
        try:
            for turn in range(5):
                for i, c in enumerate(clients):
                    kind = b"os"[(i + turn) % 2:][:1]
                    c.send(b'{"type":"%s","n":%d}\n{"type":"%s","n":%d}\n' % (kind, i, kind, i + 100))
                for i, c in enumerate(clients):
                    kind = b"os"[(i + turn) % 2:][:1]
                    self.assertEqual(c.until(b"\n"), b'{"to":{"type":"%s","n":%d}}\n' % (kind, i))
                    self.assertEqual(c.until(b"\n"), b'{"to":{"type":"%s","n":%d}}\n' % (kind, i + 100))
        finally:
            for c in clients:
                c.close()

    def test_no_backend(self):
        s = self.server("""module "jsonnl.so" { error '{"code":502}'; }
            server { listen 127.0.0.1:@port@; protocol jsonnl; proxy %s; }""" % self.closed_port(), files=self.modules())
        self.assertEqual(talk(s, "port", [b"{}\n{}\n"]), b'{"code":502}\n{"code":502}\n')

    def test_datagrams(self):
        """Messages in datagrams: what is left of one is dropped, and holds up nobody (R12)."""
        s = self.server('module "line_protocol.so"; server { listen udp:127.0.0.1:@port@; protocol line; echo; }', files=self.modules(),
                        listens=[], start=False)
        s.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
            c.settimeout(0.2)

            def asked():
                c.sendto(b"there?\n", s.address())
                with contextlib.suppress(OSError):
                    return c.recv(100) == b"there?\n"

            flow.wait_for(asked)
            c.settimeout(flow.TIME)
            for said, answered in ((b"a\nb\n", [b"a\n", b"b\n"]), (b"half", []), (b"c\nhalf", [b"c\n"]), (b"\n", [b"\n"])):
                c.sendto(said, s.address())
                for one in answered:
                    self.assertEqual(self.behind_doubles(c), one)

    @staticmethod
    def behind_doubles(c):
        """What comes, but for answers to a question that was asked again."""
        while True:
            got = c.recv(100)
            if got != b"there?\n":
                return got

    def test_handler(self):
        s = self.server("""
            module "line_protocol.so"; module "echo_handler.so";
            server { listen 127.0.0.1:@port@; protocol line;
                route when msg.len > 10 { echo_back max=20 too_long=close; }
                route { echo_back before="${msg.len} " max=10; } }
            server { listen 127.0.0.1:@port2@; echo_back before="<${path}>"; }
        """, files=self.modules())
        self.assertEqual(talk(s, "port", [b"hello\n123456789012\nx\n"]), b"6 hello\n123456789012\n2 x\n")
        self.assertEqual(talk(s, "port", [b"a\n" + b"x" * 30 + b"\nb\n"]), b"2 a\n")
        a = s.get("/there", name="port2")
        self.assertEqual((a.status, a.text, a["Content-Type"]), (200, "</there>", "text/plain"))

    def test_what_is_written_is_one_message(self):
        """A body that would read as two is not sent; the connection ends."""
        s = self.server("""module "line_protocol.so";
            server { listen 127.0.0.1:@port@; protocol line; route when msg.body == "a\\n" { reply "x\\ny\\n"; } route { reply "z\\n"; } }""",
                        files=self.modules(), start=False)
        status, _, err = flow.run("-t", "-c", s.path)
        if status == 0:
            s.start()
            self.assertEqual(talk(s, "port", [b"b\na\nb\n"]), b"z\n")
        else:
            self.assertIn("not_one_message", err)

    # ---------------------------------------------------------- rights, crashes

    def test_the_file_is_read_once(self):
        """Workers run what was checked: without a right to read it, and when it is something else since."""
        directory = self.directory()
        path = os.path.join(directory, "hidden.so")
        shutil.copy(os.path.join(MODULES, "jsonnl.so"), path)
        os.chmod(path, 0o600)
        os.chmod(directory, 0o700)
        s = self.server('module "%s"; server { listen 127.0.0.1:@port@; protocol jsonnl; %s }' % (path, ROUTES))
        if os.geteuid() == 0:
            with open("/proc/%d/status" % s.workers()[0]) as f:
                uid = int(re.search(r"Uid:\s+(\d+)", f.read()).group(1))
            self.assertNotEqual(uid, 0)
        self.assertEqual(talk(s, "port", [b'{"type":"ping"}\n']), b'{"type":"pong"}\n')
        with open(path, "wb") as f:
            f.write(b"no module")
        before = s.workers()
        s.expect_report = True
        os.kill(before[0], signal.SIGKILL)
        flow.wait_for(lambda: s.workers() and s.workers() != before)
        self.assertEqual(talk(s, "port", [b'{"type":"ping"}\n']), b'{"type":"pong"}\n')
        status, _, err = flow.run("-t", "-c", s.path)
        self.assertEqual(status, 1)
        self.assertIn("error: module \"%s\" cannot be loaded: " % path, err)

    CUT = textwrap.dedent("""
        #include <string.h>
        #include <millrace/module.h>

        static int64_t
        input(const void *settings, void *context, struct millrace_span in, size_t *resume)
        {
            const char *end = in.n != 0 ? memchr(in.at, '%s', in.n) : NULL;

            return end != NULL ? end - in.at + 1 : 0;
        }

        static const struct millrace_protocol p = { .size = sizeof(p), .name = "cut", .max = 100, .input = input,
            .answers = MILLRACE_IN_ORDER };
        static const struct millrace_protocol *const protocols[] = { &p, NULL };
        static const struct millrace_module m = { .abi = MILLRACE_ABI, .size = sizeof(m), .name = "cut", .protocols = protocols };

        MILLRACE_EXPORT const struct millrace_module *
        millrace_module(const struct millrace_host *host)
        {
            return &m;
        }
    """)

    def test_other_code(self):
        """It is loaded beside what there was, in the same processes; what was framed by the old one ends."""
        directory = self.directory()
        os.chmod(directory, 0o755)
        self.compile(directory, "cut", self.CUT % "+")
        text = 'module "%s/cut.so"; server { listen 127.0.0.1:@port@; protocol cut; echo; %%s }' % directory
        s = self.server(text % "", main="workers 2;\n")

        def reload(more=""):
            s.write("server.conf", "pid \"server.pid\"; workers 2;\n" + text % more)
            status, out, _ = flow.run("-c", s.path, "-p", s.directory, "-s", "reload")
            self.assertEqual(status, 0, s.said())
            return out

        def ask(c, said):
            c.send(said)
            self.assertEqual(c.exactly(len(said)), said)

        workers = s.workers()
        with s.client() as old:
            ask(old, b"a+")
            self.assertNotIn("module", reload("access_log off;"))
            ask(old, b"a+")
            self.compile(directory, "cut", self.CUT % "-")
            self.assertIn("changed module %s/cut.so\n" % directory, reload())
            self.assertTrue(old.ends())
        with s.client() as new:
            ask(new, b"a+b-")
        self.assertEqual(s.workers(), workers)

    # ---------------------------------------------------------- what does not return

    STUCK = textwrap.dedent("""
        #include <string.h>
        #include <unistd.h>
        #include <millrace/module.h>

        /* until there is a file; some time later nobody waits for it any more */
        static void
        wait(int sleeps)
        {
            for (int i = 0; access("%s", F_OK) != 0 && i < (sleeps ? 900 : 50000000); i++)
                if (sleeps)
                    usleep(10000);
        }

        static enum millrace_verdict
        question(const void *settings, const void *own, struct millrace_exchange *ex)
        {
            wait(1);
            return MILLRACE_PASS;
        }

        static int64_t
        input(const void *settings, void *context, struct millrace_span in, size_t *resume)
        {
            const char *end = in.n != 0 ? memchr(in.at, '\\n', in.n) : NULL;

            if (in.n != 0 && in.at[0] == 'z')
                wait(0);
            return end != NULL ? end - in.at + 1 : 0;
        }

        static const struct millrace_handler h = { .size = sizeof(h), .name = "waits", .help = "Waits.", .question = question };
        static const struct millrace_handler *const handlers[] = { &h, NULL };
        static const struct millrace_protocol p = { .size = sizeof(p), .name = "stuck", .max = 100, .input = input,
            .answers = MILLRACE_IN_ORDER };
        static const struct millrace_protocol *const protocols[] = { &p, NULL };
        static const struct millrace_module m = { .abi = MILLRACE_ABI, .size = sizeof(m), .name = "stuck", .handlers = handlers,
            .protocols = protocols };

        MILLRACE_EXPORT const struct millrace_module *
        millrace_module(const struct millrace_host *host)
        {
            return &m;
        }
    """)

    def doing(self, s):
        status, out, said = flow.run("-c", s.path, "-p", s.directory, "status", "--json")
        self.assertEqual(status, 0, said)
        return [w["doing"] for w in json.loads(out)["workers"] if w["doing"]]

    def stuck(self, name, said, wanted):
        """Once with the word, which hangs a worker; the others serve, and who asks and who reads the log is told in what."""
        directory = self.directory()
        os.chmod(directory, 0o755)
        go = os.path.join(directory, "go")
        self.compile(directory, "stuck", self.STUCK % go)
        s = self.server("""
            module "%s/stuck.so";
            server web { listen 127.0.0.1:@port@; route = /stuck { waits; return 200 "went on"; } route { return 200 "fine"; } }
            server { listen 127.0.0.1:@port2@; protocol stuck; echo; }
        """ % directory, main="workers 2;\nerror_log stderr info;\n")
        before = s.workers()
        with s.client(name) as c:
            c.send(said)
            for word, address in (("CLIENT", c.socket.getsockname()), ("LISTENER", c.socket.getpeername())):
                wanted = wanted.replace(word, "%s:%d" % address)
            doing = flow.wait_for(lambda: [d for d in self.doing(s) if ": " in d])
            self.assertEqual(len(doing), 1)
            stage, _, tale = doing[0].partition(": ")
            self.assertRegex(stage, "^(events|tasks), (sleeps|computes|in the kernel)$")
            self.assertEqual(tale, wanted)
            flow.wait_for(lambda: "hangs: its sockets are lent" in s.said())
            self.assertIn(": %s)" % wanted, s.said())
            for _ in range(8):
                self.assertEqual(s.get("/").text, "fine")
            with open(go, "w"):
                pass
            got = c.until(b"\n") if name == "port2" else c.answer().body
        flow.wait_for(lambda: "is back" in s.said())
        flow.wait_for(lambda: not self.doing(s))
        self.assertEqual(s.workers(), before)
        return got

    def test_a_step_that_does_not_return(self):
        self.assertEqual(self.stuck("port", flow.request("/stuck?why"), "in question() of waits, step waits, route = /stuck, server web, "
                                    "http of client CLIENT, GET /stuck?why"), b"went on")

    def test_a_protocol_that_does_not_return(self):
        self.assertEqual(self.stuck("port2", b"zzz\n", "in input() of stuck, reads stuck of client CLIENT, listener LISTENER"), b"zzz\n")

    # ---------------------------------------------------------- what lies

    def test_lies(self):
        """Whatever a module reports ends at most the connection that it is about."""
        names = ["negative", "least", "most", "wrap", "bad", "past_resume", "wild_resume", "below_header", "decodes_result",
                 "decodes_null", "decodes_huge", "decodes_unknown_field", "decodes_long_id", "forever", "encodes_nothing",
                 "encodes_two", "encodes_endless", "encodes_null", "encodes_refuses"]
        servers = "".join("server { listen 127.0.0.1:@port%d@; protocol %s; echo; }\n" % (i + 2, n) for i, n in enumerate(names))
        s = self.server('error_log stderr info; module "hostile.so"; server { listen 127.0.0.1:@port@; protocol by_id; echo; }\n' + servers,
                        files=self.hostile())
        worker = s.workers()
        with s.client() as good:
            for i, name in enumerate(names):
                with self.subTest(name):
                    with s.client("port%d" % (i + 2)) as c:
                        c.send(b"question\n" if name != "forever" else b"x" * 2000)
                        self.assertEqual(c.rest(), b"")
                    good.send(b"7 fine\n")
                    self.assertEqual(good.until(b"\n"), b"7 fine\n")
        self.assertEqual(s.workers(), worker)
        self.assertIn("malformed question of below_header, module_length_below_header: \"question\\x0a\"", s.said())

    def test_lying_steps(self):
        names = ["says_nothing", "says_garbage", "passes_by", "says_null", "splits_header", "closes"]
        routes = "".join("route = /%s { %s; }\n" % (n, n) for n in names)
        s = self.server('module "hostile.so"; server { listen 127.0.0.1:@port@; %s route { return 200 "ok"; } }' % routes,
                        files=self.hostile())
        worker = s.workers()
        for name, status in zip(names, (500, 500, 500, 500, 204)):
            with self.subTest(name):
                self.assertEqual(s.get("/" + name).status, status)
        with s.client() as c:
            c.send(flow.request("/closes"))
            self.assertEqual(c.rest(), b"")
        self.assertEqual(s.get("/").text, "ok")
        self.assertEqual(s.workers(), worker)
        self.assertIn("module hostile: says_garbage returned 4711", s.said())

    # ---------------------------------------------------------- what is not loaded

    def check(self, text, files=(), compiled=()):
        d = self.directory()
        for name in files:
            shutil.copy(os.path.join(MODULES, name), d)
        for name, source in compiled:
            self.compile(d, name, source)
        with open(d + "/server.conf", "w") as f:
            f.write(text)
        status, _, err = flow.run("-t", "-q", "-c", d + "/server.conf")
        return status, [line.split(d + "/server.conf:")[1].replace(d + "/", "") for line in err.splitlines() if d + "/server.conf:" in line]

    def test_errors(self):
        with open(os.path.join(flow.SOURCE, "modules/jsonnl.c")) as f:
            jsonnl = f.read()
        tail = "\nserver { listen 127.0.0.1:1; protocol tcp; close; }\n"
        cases = [
            ('module "plain.so";', [("plain", "int other;")],
             ['1:8: error: module "plain.so" is no module of this server: it has no function millrace_module']),
            ('module "lost.so";', [("lost", "extern int nowhere(void); int millrace_module(void) { return nowhere(); }")],
             ['1:8: error: module "lost.so" cannot be loaded: undefined symbol: nowhere']),
            ('module "jsonnl.so" { max 1; }', [], ['1:26: error: "1" is out of bounds; from 16 to 16m']),
            ('module "jsonnl.so" { mx 1k; }', [],
             ['1:22: error: unknown directive "mx" in module; did you mean "max"?']),
            ('module "jsonnl.so" { error "a\\nb"; }', [], ['1:1: error: an error of jsonnl is one line']),
            ('module "jsonnl.so"; protocol jsonnl { fixed 2; max 2; }', [],
             ['1:30: error: "jsonnl" is a protocol already, without being declared', '1:8: note: this module offers it']),
            ('module "jsonnl.so"; module "copy.so";', [("copy", jsonnl)],
             ['1:28: error: module "copy.so" offers a second protocol "jsonnl"', '1:8: note: the first is from here']),
            ('module "jsonnl.so";' + "server { listen 127.0.0.1:2; protocol jsonnl; route when msg.tpye == 1 { drop; } }", [],
             ['1:77: error: unknown field "msg.tpye"; did you mean "msg.type"?']),
            ('module "jsonnl.so";' + "server { listen 127.0.0.1:2; protocol jsonl; drop; }", [],
             ['1:58: error: there is no protocol "jsonl"; did you mean "jsonnl"?']),
            ('module "echo_handler.so"; server { listen 127.0.0.1:2; echo_back max=2m; }', [],
             ['1:70: error: "2m" is out of bounds; from 1 to 1m']),
            ('module "echo_handler.so"; server { listen 127.0.0.1:2; echo_back before="${pth}"; }', [],
             ['1:76: error: unknown field "pth"; did you mean "path"?']),
            ('module "echo_handler.so"; server { listen 127.0.0.1:2; ecko_back; }', [],
             ['1:56: error: unknown directive "ecko_back" in server; did you mean "echo_back"?']),
            ('load_module "jsonnl.so";', [], ['1:1: error: nginx\'s "load_module" is "module" here']),
        ]
        for text, compiled, wanted in cases:
            with self.subTest(text):
                self.assertEqual(self.check(text + tail, ("jsonnl.so", "echo_handler.so"), compiled), (1, wanted))

    def test_not_there(self):
        status, said = self.check('module "gone.so"; server { listen 127.0.0.1:1; return 200; }')
        self.assertEqual(status, 1)
        self.assertEqual(len(said), 1)
        self.assertRegex(said[0], r'^1:8: error: there is neither a module "gone.so" nor "/.*/millrace/modules/gone.so"$')

    def test_effective(self):
        status, out, _ = self.effective('module "jsonnl.so";\nserver { listen 127.0.0.1:1; protocol jsonnl; drop; }\n')
        self.assertEqual(status, 0)
        self.assertRegex(out, r'module "jsonnl.so" \{\t# .*server.conf:1\n\tmax 64k;\t# default\n\}\n')

    def test_reference(self):
        """What a module brings is told as what is builtin."""
        status, out, err = flow.run("-D", "--module=" + os.path.join(MODULES, "jsonnl.so"))
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("max SIZE;\n    How many bytes a line may have, its end included.\n"
                                       "    SIZE is a size (512, 8k, 1m, 2g), at least 16, at most 16m.\n    In: module. Default: 64k.\n"), out)
        self.assertIn("msg.type\n    What the message is. Known with a question of jsonnl; a text.\n", out)
        status, out, err = flow.run("-D", "--module=" + os.path.join(MODULES, "echo_handler.so"))
        self.assertIn("echo_back [before=TEXT] [after=TEXT] [max=SIZE] [too_long=drop|close] [when CONDITION];\n", out)
        self.assertIn("    In: server, route, error. A step.\n", out)
        status, out, err = flow.run("-D", "--module=gone.so", cwd=self.directory())
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.startswith('error: there is neither a module "gone.so" nor "/'), err)

    def effective(self, text):
        d = self.directory()
        shutil.copy(os.path.join(MODULES, "jsonnl.so"), d)
        with open(d + "/server.conf", "w") as f:
            f.write(text)
        return flow.run("-T", "-c", d + "/server.conf")


class Readme(flow.Case):
    def test_ten_minutes(self):
        """Each command of modules/README, as it stands there, out of the tree, against what make install puts somewhere."""
        self.need("cc", "pkg-config", "make", "bash", "nc")
        if not os.path.exists(os.path.join(BUILD, "Makefile")):
            self.skipTest("nothing was configured there")
        d = self.directory()
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in ("MFLAGS", "DESTDIR")}
        done = subprocess.run(["make", "-C", BUILD, "install", "DESTDIR=" + d + "/root"], env=env, capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = {name: os.path.join(at, name) for at, folders, files in os.walk(d + "/root") for name in files + folders}
        port = flow.Ports()
        self.addCleanup(port.close)
        env.update(PATH=os.path.dirname(found["server"]) + ":" + env["PATH"], PKG_CONFIG_PATH=os.path.dirname(found["millrace.pc"]),
                   PKG_CONFIG_SYSROOT_DIR=d + "/root", PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1")
        with open(os.path.join(flow.SOURCE, "modules/README")) as f:
            text = f.read().split("From there")[0]
        steps = re.findall(r"(?:^ {7}.*\n)+", text, re.M)
        self.assertEqual(len(steps), 5)
        number = str(port.take())
        script = "set -e\n" + "".join(textwrap.dedent(step) for step in steps).replace("1235", number)
        # a person needs longer than this to type the next line
        script = script.replace("mine.conf &\n", "mine.conf &\nuntil nc -z 127.0.0.1 %s; do sleep 0.05; done\n" % number)
        shutil.copy(os.path.join(flow.SOURCE, "modules/line_protocol.c"), d)
        os.chmod(d, 0o755)
        run = subprocess.run(["timeout", "60", "bash", "-c", script + "wait"], cwd=d, env=env, capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout), (0, "hello\n"), run.stderr)
        self.assertIn("configuration mine.conf is fine", run.stderr)


if __name__ == "__main__":
    flow.main()
