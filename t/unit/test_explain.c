/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/explain: what is said of questions that nobody sent. That it is true is for t/flow/test_explain.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/engine.h"
#include "server/build.h"
#include "server/explain.h"

static const char configuration[] =
    "protocol jsonnl { boundary \"\\n\"; max 64k; format json; answers in_order;\n"
    "    messages independent; error '{\"code\":${code},\"msg\":\"${reason}\"}'; }\n"
    "upstream app { server 127.0.0.1:9001 weight=2; server unix:/run/app.sock backup; }\n"
    "upstream beta { server 127.0.0.1:9002; server 127.0.0.1:9003 down; }\n"
    "limit login { key src; rate 5/m; }\n"
    "map pick header.x-v { \"2\" \"beta\"; }\n"
    "server web {\n"
    "    listen 8080; listen 127.0.0.1:8090;\n"
    "    server_name example.com *.example.com;\n"
    "    real_ip { from 10.9.0.0/16; }\n"
    "    deny 10.0.0.0/8;\n"
    "    deny when path ~ \"^/private/\" and header.x-ok not exists;\n"
    "    request_header set X-Step \"${src}\";\n"
    "    response_header set X-A \"b\";\n"
    "    route = /healthz { return 200 \"ok\\n\"; }\n"
    "    route /login { limit login; proxy app; }\n"
    "    route /api/ when method in (POST, PUT)   # not GET; that is below\n"
    "        and src_port != 1 { proxy app; }\n"
    "    route ~ \"^/u/(?<id>[0-9]+)$\" { rewrite \"/user?id=${id}\"; proxy pick; }\n"
    "    route when header.x-canary == \"1\" or cookie.c == \"2\" { redirect 301 \"/c${path}\"; }\n"
    "    route /big { max { body 10; } return 200; }\n"
    "    route /step when method != PUT { return 204 when header.x-step == \"::1\"; return 201 when dst_port == 8090; echo; }\n"
    "    error 403 { response_header set X-E \"1\"; return 403 \"no\\n\"; }\n"
    "}\n"
    "server other { listen 8080; server_name o.example.com; return 200; }\n"
    "server rest { listen 127.0.0.1:8090 default_server; route /private* { return 500; } }\n"
    "server rpc { listen 1234; protocol jsonnl;\n"
    "    route when msg.type == \"ping\" { reply '{\"type\":\"pong\",\"src\":\"${src}\"}'; }\n"
    "    route when msg.n > 5 { proxy messages; }\n"
    "    route when msg.n == \"5\" { close '{}' drain; }\n"
    "    route when msg.n == 6 { drop; }\n"
    "}\n"
    "upstream messages { server 127.0.0.1:9004; }\n"
    "server raw { listen 1235; protocol tcp; route when src in (10.0.0.0/8) { close; } route { proxy 127.0.0.1:9005; } }\n";

struct asked {
	struct arena arena;
	struct sources files;
	struct diag diag;
	struct snapshot *snapshot;
	int status;
	char *said, *wrong;
};

static int (*const verbs[])(const struct explain_input *in, const char *const *words,
    size_t count, FILE *to, FILE *wrong) = { explain_question, explain_routes };

static void
open_configuration(struct asked *a, const char *text)
{
	struct source main = { .kind = SOURCE_FILE, .name = SLICE("/c/m"), .text = slice_of(text) };
	struct build_input in = { .files = &a->files, .path = SLICE("/c/m") };

	arena_init(&a->arena, NULL, 0);
	sources_init(&a->files, &a->arena, false);
	a->files.directory = SLICE("/c");
	a->files.shown_directory = SLICE(".");
	diag_init(&a->diag, &a->arena, &a->files);
	sources_add(&a->files, &main);
	a->snapshot = build_snapshot(&in, &a->diag);
	if (a->snapshot == NULL)
		diag_print(&a->diag, stderr);
	assert_non_null(a->snapshot);
}

/* Words end with NULL. */
static void
ask(struct asked *a, unsigned verb, const char *text, const char *const *words)
{
	size_t count = 0, n;

	open_configuration(a, text);

	struct explain_input in = { a->snapshot, &a->files };
	FILE *to = open_memstream(&a->said, &n), *wrong = open_memstream(&a->wrong, &n);

	while (words[count] != NULL)
		count++;
	a->status = verbs[verb](&in, words, count, to, wrong);
	fclose(to);
	fclose(wrong);
}

static void
done(struct asked *a)
{
	free(a->said);
	free(a->wrong);
	snapshot_release(NULL, a->snapshot);
	arena_reset(&a->arena);
}

static void
check(unsigned verb, const char *const *words, const char *said)
{
	struct asked a;

	ask(&a, verb, configuration, words);
	assert_string_equal(a.wrong, "");
	assert_string_equal(a.said, said);
	assert_int_equal(a.status, EXPLAIN_GOOD);
	done(&a);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define EXPLAIN(said, ...) check(0, WORDS(__VA_ARGS__), (said))

/* ------------------------------------------------------------------ http */

static void
test_road(void **state)
{
	EXPLAIN(
	    "question  GET http://a.example.com:8080/u/17?x=y\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/u/17\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/u/17\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          no: path is \"/u/17\"\n"
	    "route     ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "          yes: path is \"/u/17\"\n"
	    "capture   id is \"17\"\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "step      deny when path ~ \"^/private/\" and header.x-ok not exists  (m:12)\n"
	    "          passes 127.0.0.1: no line is for it\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          runs when the answer comes\n"
	    "step      rewrite \"/user?id=${id}\"  (m:19)\n"
	    "          forwards \"/user?id=17\"\n"
	    "step      proxy pick  (m:19)\n"
	    "          asks upstream beta\n"
	    "peer      127.0.0.1:9002\n"
	    "peer      127.0.0.1:9003 down\n"
	    "answer    a peer's, of upstream beta\n",
	    "GET http://a.example.com:8080/u/17?x=y", "-H", "X-V: 2");
	EXPLAIN(
	    "question  http://example.com:8080/login\n"
	    "from      192.0.2.7\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/login\"\n"
	    "route     /login  (m:16)\n"
	    "          yes: path is \"/login\"\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "step      deny when path ~ \"^/private/\" and header.x-ok not exists  (m:12)\n"
	    "          passes 192.0.2.7: no line is for it\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          runs when the answer comes\n"
	    "step      limit login  (m:16)\n"
	    "          passes, unless there were too many of \"192.0.2.7\"\n"
	    "step      proxy app  (m:16)\n"
	    "          asks upstream app\n"
	    "peer      127.0.0.1:9001 weight=2\n"
	    "peer      unix:/run/app.sock backup\n"
	    "answer    a peer's, of upstream app\n",
	    "http://example.com:8080/login", "--src", "192.0.2.7");
}

static void
test_steps(void **state)
{
	EXPLAIN(
	    "question  http://example.com:8080/step\n"
	    "from      ::1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/step\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/step\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          no: path is \"/step\"\n"
	    "route     ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "          no: path is \"/step\"\n"
	    "route     when header.x-canary == \"1\" or cookie.c == \"2\"  (m:20)\n"
	    "          no: header.x-canary is absent, cookie.c is absent\n"
	    "route     /big  (m:21)\n"
	    "          no: path is \"/step\"\n"
	    "route     /step when method != PUT  (m:22)\n"
	    "          yes: method is \"GET\"\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "step      deny when path ~ \"^/private/\" and header.x-ok not exists  (m:12)\n"
	    "          passes ::1: no line is for it\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          runs when the answer comes\n"
	    "step      return 204 when header.x-step == \"::1\"  (m:22)\n"
	    "          yes: header.x-step is \"::1\"\n"
	    "          answers 204\n"
	    "step      return 201 when dst_port == 8090  (m:22)\n"
	    "          is not reached\n"
	    "step      echo  (m:22)\n"
	    "          is not reached\n"
	    "answer    204\n",
	    "http://example.com:8080/step", "--src", "::1", "--listener", "8080");
	EXPLAIN(
	    "question  http://127.0.0.1:8090/step\n"
	    "from      127.0.0.1\n"
	    "listener  127.0.0.1:8090, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/step\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/step\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          no: path is \"/step\"\n"
	    "route     ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "          no: path is \"/step\"\n"
	    "route     when header.x-canary == \"1\" or cookie.c == \"2\"  (m:20)\n"
	    "          no: header.x-canary is absent, cookie.c is absent\n"
	    "route     /big  (m:21)\n"
	    "          no: path is \"/step\"\n"
	    "route     /step when method != PUT  (m:22)\n"
	    "          yes: method is \"GET\"\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "step      deny when path ~ \"^/private/\" and header.x-ok not exists  (m:12)\n"
	    "          passes 127.0.0.1: no line is for it\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          runs when the answer comes\n"
	    "step      return 204 when header.x-step == \"::1\"  (m:22)\n"
	    "          no: header.x-step is \"127.0.0.1\"\n"
	    "step      return 201 when dst_port == 8090  (m:22)\n"
	    "          yes: dst_port is 8090\n"
	    "          answers 201\n"
	    "step      echo  (m:22)\n"
	    "          is not reached\n"
	    "answer    201\n",
	    "http://127.0.0.1:8090/step", "-H", "Host: example.com");
}

static void
test_no_route(void **state)
{
	EXPLAIN(
	    "question  GET http://example.com:8080/x\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/x\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/x\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          no: path is \"/x\"\n"
	    "route     ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "          no: path is \"/x\"\n"
	    "route     when header.x-canary == \"1\" or cookie.c == \"2\"  (m:20)\n"
	    "          no: header.x-canary is absent, cookie.c is \"1, 3\"\n"
	    "route     /big  (m:21)\n"
	    "          no: path is \"/x\"\n"
	    "route     /step when method != PUT  (m:22)\n"
	    "          no: path is \"/x\"\n"
	    "answer    404 (no_route: no route matches)\n",
	    "GET http://example.com:8080/x", "-H", "Cookie: c=1; c=3");
}

static void
test_refused(void **state)
{
	EXPLAIN(
	    "question  POST http://example.com:8080/api/x\n"
	    "from      10.1.2.3\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/api/x\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/api/x\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          yes: method is \"POST\", src_port is absent\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "          denies 10.1.2.3\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "          is not reached\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          is not reached\n"
	    "step      proxy app  (m:18)\n"
	    "          is not reached\n"
	    "error     response_header set X-E \"1\"  (m:23)\n"
	    "          runs when the answer comes\n"
	    "error     return 403 \"no\\n\"  (m:23)\n"
	    "          answers 403 \"no\\n\"\n"
	    "answer    403\n",
	    "POST http://example.com:8080/api/x", "--src", "10.1.2.3");
	EXPLAIN(
	    "question  http://example.com:8080/private/step\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/private/step\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/private/step\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          no: path is \"/private/step\"\n"
	    "route     ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "          no: path is \"/private/step\"\n"
	    "route     when header.x-canary == \"1\" or cookie.c == \"2\"  (m:20)\n"
	    "          no: header.x-canary is absent, cookie.c is absent\n"
	    "route     /big  (m:21)\n"
	    "          no: path is \"/private/step\"\n"
	    "route     /step when method != PUT  (m:22)\n"
	    "          no: path is \"/private/step\"\n"
	    "answer    404 (no_route: no route matches)\n",
	    "http://example.com:8080/private/step");
	EXPLAIN(
	    "question  POST http://example.com:8080/big\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/big\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/big\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          no: path is \"/big\"\n"
	    "route     ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "          no: path is \"/big\"\n"
	    "route     when header.x-canary == \"1\" or cookie.c == \"2\"  (m:20)\n"
	    "          no: header.x-canary is absent, cookie.c is absent\n"
	    "route     /big  (m:21)\n"
	    "          yes: path is \"/big\"\n"
	    "answer    413 (body_too_large: the body is too large)\n",
	    "POST http://example.com:8080/big", "-H", "Content-Length: 11");
	EXPLAIN(
	    "question  http://example.com:8080/u/1\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/u/1\"\n"
	    "route     /login  (m:16)\n"
	    "          no: path is \"/u/1\"\n"
	    "route     /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "          no: path is \"/u/1\"\n"
	    "route     ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "          yes: path is \"/u/1\"\n"
	    "capture   id is \"1\"\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "step      deny when path ~ \"^/private/\" and header.x-ok not exists  (m:12)\n"
	    "          passes 127.0.0.1: no line is for it\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          runs when the answer comes\n"
	    "step      rewrite \"/user?id=${id}\"  (m:19)\n"
	    "          forwards \"/user?id=1\"\n"
	    "step      proxy pick  (m:19)\n"
	    "          the map has no upstream for it\n"
	    "answer    502 (no_peer: every peer is down or was tried)\n",
	    "http://example.com:8080/u/1");
}

/* What a trusted proxy says counts from then on. */
static void
test_trust(void **state)
{
	EXPLAIN(
	    "question  http://example.com:8080/healthz\n"
	    "from      192.0.2.9\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          yes: path is \"/healthz\"\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "step      deny when path ~ \"^/private/\" and header.x-ok not exists  (m:12)\n"
	    "          passes 192.0.2.9: no line is for it\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          runs when the answer comes\n"
	    "step      return 200 \"ok\\n\"  (m:15)\n"
	    "          answers 200 \"ok\\n\"\n"
	    "answer    200\n",
	    "http://example.com:8080/healthz", "--src=10.9.0.1", "-H", "X-Forwarded-For: 192.0.2.9");
}

static void
test_servers(void **state)
{
	EXPLAIN(
	    "question  http://o.example.com/\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    other  (m:25)\n"
	    "          it has the name of the host\n"
	    "route     (every question)  (m:25)\n"
	    "step      return 200  (m:25)\n"
	    "          answers 200\n"
	    "answer    200\n",
	    "http://o.example.com/");
	EXPLAIN(
	    "question  https://nobody.example/\n"
	    "from      unix:\n"
	    "note      no listener speaks TLS: it is explained as a question of http\n"
	    "listener  [::]:8080, protocol http\n"
	    "answer    421 (misdirected: no server here has that name)\n",
	    "https://nobody.example/", "--src", "unix:");
	EXPLAIN(
	    "question  http://nobody.example/privateer\n"
	    "from      127.0.0.1\n"
	    "listener  127.0.0.1:8090, protocol http\n"
	    "server    rest  (m:26)\n"
	    "          the default_server: no other has the name of the host\n"
	    "route     /private*  (m:26)\n"
	    "          yes: path is \"/privateer\"\n"
	    "step      return 500  (m:26)\n"
	    "          answers 500\n"
	    "answer    500\n",
	    "http://nobody.example/privateer", "--listener", "127.0.0.1:8090");
}

static void
test_malformed(void **state)
{
	EXPLAIN(
	    "question  GET /x\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "answer    400 (bad_host: Host is missing, doubled or malformed)\n",
	    "GET /x");
	EXPLAIN(
	    "question  GET http://example.com:8080/%zz\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "answer    400 (bad_message: the question is malformed)\n",
	    "GET http://example.com:8080/%zz");
	EXPLAIN(
	    "question  GET http://example.com/ HTTP/3.0\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "answer    505 (bad_version: the version of the protocol is not supported)\n",
	    "GET http://example.com/ HTTP/3.0");
	EXPLAIN(
	    "question  GET / HTTP/1.1\\r\\nHost: example.com\\r\\nContent-Length: 1\\r\\nContent-Length: 2\\r\\n\\r\\n\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "          --listener chooses another: 127.0.0.1:8090\n"
	    "answer    400 (bad_message: the question is malformed)\n",
	    "-p", "http", "GET / HTTP/1.1\\r\\nHost: example.com\\r\\nContent-Length: 1\\r\\nContent-Length: 2\\r\\n\\r\\n");
	EXPLAIN(
	    "question  GET / HTTP/1.1\\r\\nHost:\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "          --listener chooses another: 127.0.0.1:8090\n"
	    "answer    none yet: what came is not all of a question, more is awaited\n",
	    "-p", "http", "GET / HTTP/1.1\\r\\nHost:");
	EXPLAIN(
	    "question  OPTIONS http://example.com:8080/login\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:8080, protocol http\n"
	    "server    web  (m:7)\n"
	    "          it has the name of the host\n"
	    "route     = /healthz  (m:15)\n"
	    "          no: path is \"/login\"\n"
	    "route     /login  (m:16)\n"
	    "          yes: path is \"/login\"\n"
	    "step      deny 10.0.0.0/8  (m:11)\n"
	    "step      deny when path ~ \"^/private/\" and header.x-ok not exists  (m:12)\n"
	    "          passes 127.0.0.1: no line is for it\n"
	    "step      request_header set X-Step \"${src}\"  (m:13)\n"
	    "step      response_header set X-A \"b\"  (m:14)\n"
	    "          runs when the answer comes\n"
	    "step      limit login  (m:16)\n"
	    "          passes, unless there were too many of \"127.0.0.1\"\n"
	    "step      proxy app  (m:16)\n"
	    "          answers itself: Max-Forwards is 0\n"
	    "answer    200\n",
	    "OPTIONS http://example.com:8080/login", "-H", "Max-Forwards: 0");
}

/* ------------------------------------------------------------------ messages, talks */

static void
test_messages(void **state)
{
	EXPLAIN(
	    "question  {\"type\":\"ping\"}\\n\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:1234, protocol jsonnl\n"
	    "server    rpc  (m:27)\n"
	    "          the only one of this listener\n"
	    "route     when msg.type == \"ping\"  (m:28)\n"
	    "          yes: msg.type is \"ping\"\n"
	    "step      reply '{\"type\":\"pong\",\"src\":\"${src}\"}'  (m:28)\n"
	    "          replies '{\"type\":\"pong\",\"src\":\"127.0.0.1\"}'\n"
	    "answer    that of \"reply\"\n",
	    "-p", "jsonnl", "{\"type\":\"ping\"}\\n");
	EXPLAIN(
	    "question  {\"type\":[1],\"n\":7}\\n{}\\n\n"
	    "from      127.0.0.1\n"
	    "note      there is more behind the first message, which alone is explained\n"
	    "listener  [::]:1234, protocol jsonnl\n"
	    "server    rpc  (m:27)\n"
	    "          the only one of this listener\n"
	    "route     when msg.type == \"ping\"  (m:28)\n"
	    "          no: msg.type is [1]\n"
	    "route     when msg.n > 5  (m:29)\n"
	    "          yes: msg.n is 7\n"
	    "step      proxy messages  (m:29)\n"
	    "          asks upstream messages, this message\n"
	    "peer      127.0.0.1:9004\n"
	    "answer    a peer's, of upstream messages\n",
	    "-p", "jsonnl", "{\"type\":[1],\"n\":7}\\n{}\\n");
	EXPLAIN(
	    "question  {\"n\":\"5\"}\\n\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:1234, protocol jsonnl\n"
	    "server    rpc  (m:27)\n"
	    "          the only one of this listener\n"
	    "route     when msg.type == \"ping\"  (m:28)\n"
	    "          no: msg.type is absent\n"
	    "route     when msg.n > 5  (m:29)\n"
	    "          no: msg.n is \"5\"\n"
	    "route     when msg.n == \"5\"  (m:30)\n"
	    "          yes: msg.n is \"5\"\n"
	    "step      close '{}' drain  (m:30)\n"
	    "          ends the connection behind \"{}\"\n"
	    "answer    that of \"close\"\n",
	    "-p", "jsonnl", "{\"n\":\"5\"}\\n");
	EXPLAIN(
	    "question  {\"n\":6}\\n\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:1234, protocol jsonnl\n"
	    "server    rpc  (m:27)\n"
	    "          the only one of this listener\n"
	    "route     when msg.type == \"ping\"  (m:28)\n"
	    "          no: msg.type is absent\n"
	    "route     when msg.n > 5  (m:29)\n"
	    "          yes: msg.n is 6\n"
	    "step      proxy messages  (m:29)\n"
	    "          asks upstream messages, this message\n"
	    "peer      127.0.0.1:9004\n"
	    "answer    a peer's, of upstream messages\n",
	    "-p", "jsonnl", "{\"n\":6}\\n");
	EXPLAIN(
	    "question  {\"n\":4}\\n\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:1234, protocol jsonnl\n"
	    "server    rpc  (m:27)\n"
	    "          the only one of this listener\n"
	    "route     when msg.type == \"ping\"  (m:28)\n"
	    "          no: msg.type is absent\n"
	    "route     when msg.n > 5  (m:29)\n"
	    "          no: msg.n is 4\n"
	    "route     when msg.n == \"5\"  (m:30)\n"
	    "          no: msg.n is 4\n"
	    "route     when msg.n == 6  (m:31)\n"
	    "          no: msg.n is 4\n"
	    "answer    the protocol's error '{\"code\":404,\"msg\":\"no_route\"}' (no_route: no route matches)\n",
	    "-p", "jsonnl", "{\"n\":4}\\n");
	EXPLAIN(
	    "question  {\"n\":4}\n"
	    "from      127.0.0.1\n"
	    "note      what marks its end was missing, and is put behind it\n"
	    "listener  [::]:1234, protocol jsonnl\n"
	    "server    rpc  (m:27)\n"
	    "          the only one of this listener\n"
	    "route     when msg.type == \"ping\"  (m:28)\n"
	    "          no: msg.type is absent\n"
	    "route     when msg.n > 5  (m:29)\n"
	    "          no: msg.n is 4\n"
	    "route     when msg.n == \"5\"  (m:30)\n"
	    "          no: msg.n is 4\n"
	    "route     when msg.n == 6  (m:31)\n"
	    "          no: msg.n is 4\n"
	    "answer    the protocol's error '{\"code\":404,\"msg\":\"no_route\"}' (no_route: no route matches)\n",
	    "-p", "jsonnl", "{\"n\":4}");
}

static void
test_talks(void **state)
{
	EXPLAIN(
	    "question  (a connection)\n"
	    "from      10.1.1.1\n"
	    "listener  [::]:1235, protocol tcp\n"
	    "server    raw  (m:34)\n"
	    "          the only one of this listener\n"
	    "route     when src in (10.0.0.0/8)  (m:34)\n"
	    "          yes: src is 10.1.1.1\n"
	    "step      close  (m:34)\n"
	    "          cuts the connection\n"
	    "answer    that of \"close\"\n",
	    "-p", "tcp", "--src", "10.1.1.1");
	EXPLAIN(
	    "question  (a connection)\n"
	    "from      127.0.0.1\n"
	    "listener  [::]:1235, protocol tcp\n"
	    "server    raw  (m:34)\n"
	    "          the only one of this listener\n"
	    "route     when src in (10.0.0.0/8)  (m:34)\n"
	    "          no: src is 127.0.0.1\n"
	    "route     (every question)  (m:34)\n"
	    "step      proxy 127.0.0.1:9005  (m:34)\n"
	    "          asks upstream 127.0.0.1:9005\n"
	    "peer      127.0.0.1:9005\n"
	    "answer    a peer's, of upstream 127.0.0.1:9005\n",
	    "-p", "tcp");
}

/* ------------------------------------------------------------------ routes, JSON */

static void
test_routes(void **state)
{
	check(1, WORDS("rest"),
	    "listener  127.0.0.1:8090, protocol http\n"
	    "          any other host: server rest\n"
	    "\n"
	    "server    rest  (m:26)\n"
	    "  1       /private*  (m:26)\n"
	    "              return 500\n");
	check(1, WORDS("web"),
	    "listener  [::]:8080, protocol http\n"
	    "          host *.example.com: server web\n"
	    "          host example.com: server web\n"
	    "          any other host: refused (421)\n"
	    "listener  127.0.0.1:8090, protocol http\n"
	    "          host *.example.com: server web\n"
	    "          host example.com: server web\n"
	    "\n"
	    "server    web  (m:7)\n"
	    "  1       = /healthz  (m:15)\n"
	    "              deny 10.0.0.0/8\n"
	    "              deny when path ~ \"^/private/\" and header.x-ok not exists\n"
	    "              request_header set X-Step \"${src}\"\n"
	    "              response_header set X-A \"b\"\n"
	    "              return 200 \"ok\\n\"\n"
	    "  2       /login  (m:16)\n"
	    "              deny 10.0.0.0/8\n"
	    "              deny when path ~ \"^/private/\" and header.x-ok not exists\n"
	    "              request_header set X-Step \"${src}\"\n"
	    "              response_header set X-A \"b\"\n"
	    "              limit login\n"
	    "              proxy app\n"
	    "  3       /api/ when method in (POST, PUT) and src_port != 1  (m:17)\n"
	    "              deny 10.0.0.0/8\n"
	    "              deny when path ~ \"^/private/\" and header.x-ok not exists\n"
	    "              request_header set X-Step \"${src}\"\n"
	    "              response_header set X-A \"b\"\n"
	    "              proxy app\n"
	    "  4       ~ \"^/u/(?<id>[0-9]+)$\"  (m:19)\n"
	    "              deny 10.0.0.0/8\n"
	    "              deny when path ~ \"^/private/\" and header.x-ok not exists\n"
	    "              request_header set X-Step \"${src}\"\n"
	    "              response_header set X-A \"b\"\n"
	    "              rewrite \"/user?id=${id}\"\n"
	    "              proxy pick\n"
	    "  5       when header.x-canary == \"1\" or cookie.c == \"2\"  (m:20)\n"
	    "              deny 10.0.0.0/8\n"
	    "              deny when path ~ \"^/private/\" and header.x-ok not exists\n"
	    "              request_header set X-Step \"${src}\"\n"
	    "              response_header set X-A \"b\"\n"
	    "              redirect 301 \"/c${path}\"\n"
	    "  6       /big  (m:21)\n"
	    "              deny 10.0.0.0/8\n"
	    "              deny when path ~ \"^/private/\" and header.x-ok not exists\n"
	    "              request_header set X-Step \"${src}\"\n"
	    "              response_header set X-A \"b\"\n"
	    "              return 200\n"
	    "  7       /step when method != PUT  (m:22)\n"
	    "              deny 10.0.0.0/8\n"
	    "              deny when path ~ \"^/private/\" and header.x-ok not exists\n"
	    "              request_header set X-Step \"${src}\"\n"
	    "              response_header set X-A \"b\"\n"
	    "              return 204 when header.x-step == \"::1\"\n"
	    "              return 201 when dst_port == 8090\n"
	    "              echo\n"
	    "  error   403\n"
	    "              response_header set X-E \"1\"\n"
	    "              return 403 \"no\\n\"\n");
	check(1, WORDS("rpc", "--json"),
	    "{\"listeners\":[{\"listener\":\"[::]:1234\",\"protocol\":\"jsonnl\",\"hosts\":[],\"otherwise\":\"rpc\"}],\"servers\":[{\"server\":\"rpc\",\"file\":\"m\",\"line\":27,\"routes\":[{\"route\":\"when msg.type == \\\"ping\\\"\",\"file\":\"m\",\"line\":28,\"steps\":[{\"step\":\"reply '{\\\"type\\\":\\\"pong\\\",\\\"src\\\":\\\"${src}\\\"}'\",\"file\":\"m\",\"line\":28}]},{\"route\":\"when msg.n > 5\",\"file\":\"m\",\"line\":29,\"steps\":[{\"step\":\"proxy messages\",\"file\":\"m\",\"line\":29}]},{\"route\":\"when msg.n == \\\"5\\\"\",\"file\":\"m\",\"line\":30,\"steps\":[{\"step\":\"close '{}' drain\",\"file\":\"m\",\"line\":30}]},{\"route\":\"when msg.n == 6\",\"file\":\"m\",\"line\":31,\"steps\":[{\"step\":\"drop\",\"file\":\"m\",\"line\":31}]}],\"errors\":[]}]}\n");
}

static void
test_json(void **state)
{
	EXPLAIN(
	    "{\"question\":\"http://a.example.com:8080/u/17\",\"src\":\"127.0.0.1\",\"listener\":\"[::]:8080\",\"protocol\":\"http\",\"server\":{\"name\":\"web\",\"file\":\"m\",\"line\":7,\"why\":\"it has the name of the host\"},\"earlier\":[{\"route\":\"= /healthz\",\"file\":\"m\",\"line\":15,\"matches\":false,\"why\":\"path is \\\"/u/17\\\"\"},{\"route\":\"/login\",\"file\":\"m\",\"line\":16,\"matches\":false,\"why\":\"path is \\\"/u/17\\\"\"},{\"route\":\"/api/ when method in (POST, PUT) and src_port != 1\",\"file\":\"m\",\"line\":17,\"matches\":false,\"why\":\"path is \\\"/u/17\\\"\"}],\"unshown\":0,\"route\":{\"route\":\"~ \\\"^/u/(?<id>[0-9]+)$\\\"\",\"file\":\"m\",\"line\":19,\"matches\":true,\"why\":\"path is \\\"/u/17\\\"\"},\"captures\":[{\"name\":\"id\",\"value\":\"17\"}],\"steps\":[{\"step\":\"deny 10.0.0.0/8\",\"file\":\"m\",\"line\":11,\"also\":[{\"step\":\"deny when path ~ \\\"^/private/\\\" and header.x-ok not exists\",\"file\":\"m\",\"line\":12}],\"error\":false,\"state\":\"runs\",\"does\":\"passes 127.0.0.1: no line is for it\"},{\"step\":\"request_header set X-Step \\\"${src}\\\"\",\"file\":\"m\",\"line\":13,\"error\":false,\"state\":\"runs\"},{\"step\":\"response_header set X-A \\\"b\\\"\",\"file\":\"m\",\"line\":14,\"error\":false,\"state\":\"later\"},{\"step\":\"rewrite \\\"/user?id=${id}\\\"\",\"file\":\"m\",\"line\":19,\"error\":false,\"state\":\"runs\",\"does\":\"forwards \\\"/user?id=17\\\"\"},{\"step\":\"proxy pick\",\"file\":\"m\",\"line\":19,\"error\":false,\"state\":\"runs\",\"does\":\"the map has no upstream for it\"}],\"status\":502,\"reason\":\"no_peer\",\"answer\":\"502 (no_peer: every peer is down or was tried)\"}\n",
	    "--json", "http://a.example.com:8080/u/17");
	EXPLAIN(
	    "{\"question\":\"GET http://\\\"<>/\",\"src\":\"127.0.0.1\",\"listener\":\"[::]:8080\",\"protocol\":\"http\",\"steps\":[],\"status\":400,\"reason\":\"bad_host\",\"answer\":\"400 (bad_host: Host is missing, doubled or malformed)\"}\n",
	    "--json", "GET http://\"<>/");
}

/* ------------------------------------------------------------------ many routes, the same answer */

/* With a table of thousands, what the trie finds and what each route says of itself agree. */
static void
test_many(void **state)
{
	enum { ROUTES = 3000 };
	size_t n;
	char *text;
	FILE *to = open_memstream(&text, &n);
	struct asked a;

	fprintf(to, "server { listen 80;\n");
	for (int i = 0; i < ROUTES; i++)
		fprintf(to, i % 3 == 0 ? "route = /e%d { return 200; }\n" :
			i % 3 == 1     ? "route ~ \"^/r%d/[a-z]+$\" { return 200; }\n" :
					 "route /s%d when query.a == \"1\" { return 200; }\n", i);
	fprintf(to, "}\n");
	fclose(to);
	ask(&a, 0, text, WORDS("http://h/s2999?b=1"));
	assert_non_null(strstr(a.said, "more whose pattern does not match"));
	assert_non_null(strstr(a.said, "no: query.a is absent"));
	assert_non_null(strstr(a.said, "answer    404"));
	done(&a);
	ask(&a, 0, text, WORDS("http://h/s2999?a=1&a=2"));
	assert_non_null(strstr(a.said, "yes: query.a is \"1, 2\"\n"));
	assert_null(strstr(a.said, "= /e3000"));
	done(&a);
	ask(&a, 0, text, WORDS("http://h/r1/abc"));
	assert_non_null(strstr(a.said, "(m:3)\n          yes: path is \"/r1/abc\"\n"));
	done(&a);
	free(text);
}

/* ------------------------------------------------------------------ wrong words */

static void
test_wrong_words(void **state)
{
	static const struct {
		unsigned verb;
		const char *words[6];
		int status;
		const char *wrong;
	} cases[] = {
		{ 0, { NULL }, EXPLAIN_USAGE, "explain: what is asked?\n" },
		{ 0, { "a", "b" }, EXPLAIN_USAGE, "explain: one question at a time; there is also \"b\"\n" },
		{ 0, { "http://a/", "--wat" }, EXPLAIN_USAGE, "explain: it cannot read \"--wat\"\n" },
		{ 0, { "http://a/", "-H" }, EXPLAIN_USAGE, "explain: it cannot read \"-H\"\n" },
		{ 0, { "-p", "tcp", "-H", "A: b" }, EXPLAIN_USAGE, "explain: -H is for a URL; behind -p all stands in the bytes\n" },
		{ 0, { "ftp://a/" }, EXPLAIN_USAGE, "explain: a URL begins with http:// or https://; for other protocols there is -p\n" },
		{ 0, { "http://a/", "--src", "x" }, EXPLAIN_USAGE, "explain: x: this is no address (10.0.0.1, 10.0.0.1:80, ::1, unix:)\n" },
		{ 0, { "-p", "jsonnl", "\\q" }, EXPLAIN_USAGE, "error: " },
		{ 0, { "http://a:81/" }, EXPLAIN_FAILED, "explain: 81: no listener of protocol http has this port\n" },
		{ 0, { "http://a/", "--listener", "81" }, EXPLAIN_FAILED, "explain: 81: no server listens there\n" },
		{ 0, { "http://a/", "--listener", "1234" }, EXPLAIN_FAILED, "explain: [::]:1234: this listener speaks jsonnl\n" },
		{ 0, { "-p", "resp" }, EXPLAIN_FAILED, "explain: resp: no listener speaks it\n" },
		{ 1, { "nobody" }, EXPLAIN_FAILED, "routes: there is no server \"nobody\"\n" },
		{ 1, { "web", "rpc" }, EXPLAIN_USAGE, "routes: it cannot read \"rpc\"\n" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct asked a;

		ask(&a, cases[i].verb, configuration, cases[i].words);
		assert_int_equal(a.status, cases[i].status);
		assert_string_equal(a.said, "");
		if (strncmp(a.wrong, cases[i].wrong, strlen(cases[i].wrong)) != 0)
			assert_string_equal(a.wrong, cases[i].wrong);
		done(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_road),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_no_route),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_trust),
		cmocka_unit_test(test_servers),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_talks),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_wrong_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
