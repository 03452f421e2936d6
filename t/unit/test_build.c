/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/build: what stands in a snapshot. What is said of wrong ones is in t/conf.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/engine.h"
#include "server/build.h"

struct built {
	struct arena arena;
	struct sources files;
	struct diag diag;
	struct snapshot *snapshot;
};

static void
build_begin(struct built *b)
{
	arena_init(&b->arena, NULL, 0);
	sources_init(&b->files, &b->arena, false);
	b->files.directory = SLICE("/c");
	diag_init(&b->diag, &b->arena, &b->files);
}

static void
build_of(struct built *b, const char *text, const char *prefix, const struct snapshot *previous)
{
	struct source main = { .kind = SOURCE_FILE, .name = SLICE("/c/main.conf"), .text = slice_of(text) };
	struct build_input in = { .files = &b->files, .path = SLICE("/c/main.conf"), .prefix = slice_of(prefix), .previous = previous };

	build_begin(b);
	sources_add(&b->files, &main);
	b->snapshot = build_snapshot(&in, &b->diag);
}

static void
build_quietly(struct built *b, const char *text, const struct snapshot *previous)
{
	build_of(b, text, "", previous);
}

static void
build_text(struct built *b, const char *text, const char *prefix)
{
	build_of(b, text, prefix, NULL);
	if (b->snapshot == NULL)
		diag_print(&b->diag, stderr);
}

static void
build_open(struct built *b, const char *text)
{
	build_text(b, text, "");
	assert_non_null(b->snapshot);
	assert_int_equal(b->diag.warnings, 0);
}

static void
build_close(struct built *b)
{
	if (b->snapshot != NULL)
		snapshot_release(NULL, b->snapshot);
	arena_reset(&b->arena);
}

#define assert_text(s, text) assert_true(slice_is((s), (text)))

/* The names of the steps of a route, each with a space behind it. */
static const char *
names_of(const struct steps *steps)
{
	static char text[256];
	struct builder b = builder_on(text, sizeof(text) - 1);

	for (size_t i = 0; i < steps->count; i++) {
		builder_text(&b, steps->items[i].ops->name);
		builder_byte(&b, ' ');
	}
	text[b.n] = '\0';
	return text;
}

static void
test_defaults(void **state)
{
	struct built b;

	build_open(&b, "server { listen 80; return 200; }");

	const struct snapshot *s = b.snapshot;

	assert_int_equal(s->workers, 0);
	assert_int_equal(s->connections_max, 8192);
	assert_int_equal(s->error_level, LOG_NOTICE);
	assert_int_equal(s->user.n + s->group.n + s->pid_path.n + s->error_path.n, 0);
	assert_false(s->daemon);
	assert_int_equal(s->holders, 1);
	assert_int_equal(s->upstream_count + s->log_count + s->shared_count, 0);
	assert_int_equal(s->listener_count, 1);
	assert_text(s->listeners[0].text, "[::]:80");
	assert_true(s->listeners[0].alone);
	assert_ptr_equal(s->listeners[0].only, &s->servers[0]);
	assert_null(s->listeners[0].first_protocol);
	assert_int_equal(s->listeners[0].settings.head_timeout, 10000);
	assert_text(s->servers[0].name, "80");
	assert_int_equal(s->servers[0].settings.access.log, -1);
	assert_int_equal(s->servers[0].route_count, 1);
	assert_string_equal(names_of(&s->servers[0].routes[0].steps), "return ");
	build_close(&b);
}

static void
test_paths(void **state)
{
	static const char *const good = "pid a.pid; error_log /v/b.log warn; defaults { access_log c.log; }"
	    "server { listen 80; route /a { access_log \"d.log\" json; return 200; } route /b { access_log stderr; return 200; }"
	    "    route /c { access_log off; return 200; } route { return 200; } }";
	struct built b;

	build_open(&b, good);
	assert_text(b.snapshot->pid_path, "/c/a.pid");
	assert_text(b.snapshot->error_path, "/v/b.log");
	assert_int_equal(b.snapshot->error_level, LOG_WARN);
	assert_int_equal(b.snapshot->log_count, 3);
	assert_text(b.snapshot->logs[0].path, "/c/c.log");
	assert_text(b.snapshot->logs[1].path, "/c/d.log");
	assert_text(b.snapshot->logs[2].path, "stderr");

	const struct route *routes = b.snapshot->servers[0].routes;

	assert_int_equal(routes[0].settings->access.log, 1);
	assert_int_equal(routes[0].settings->access.format, ACCESS_JSON);
	assert_int_equal(routes[1].settings->access.log, 2);
	assert_int_equal(routes[2].settings->access.log, -1);
	/* nothing of its own: the server's */
	assert_ptr_equal(routes[3].settings, &b.snapshot->servers[0].settings);
	build_close(&b);

	build_text(&b, good, "/p");
	assert_text(b.snapshot->pid_path, "/p/a.pid");
	assert_text(b.snapshot->logs[0].path, "/p/c.log");
	build_close(&b);
}

static bool
read_paths(struct built *b, const char *text, struct build_paths *paths)
{
	struct source main = { .kind = SOURCE_FILE, .name = SLICE("/c/main.conf"), .text = slice_of(text) };
	struct build_input in = { .files = &b->files, .path = main.name };

	build_begin(b);
	b->snapshot = NULL;
	sources_add(&b->files, &main);
	return build_paths(&in, &b->diag, paths);
}

/* In a configuration that does not build. */
static void
test_where_the_master_is(void **state)
{
	struct build_paths paths;
	struct built b;

	assert_true(read_paths(&b, "workers many; server { nonsense; } upstream u { }\n"
	    "user 1 2 3 4; control c.sock; module \"no.so\"; pid a.pid;", &paths));
	assert_int_equal(b.diag.errors, 0);
	assert_text(paths.pid, "/c/a.pid");
	assert_text(paths.control, "/c/c.sock");
	build_close(&b);

	assert_false(read_paths(&b, "pid; server { listen 80; return 200; }", &paths));
	assert_int_equal(paths.pid.n, 0);
	assert_int_equal(paths.control.n, 0);
	build_close(&b);
}

static void
test_steps(void **state)
{
	struct built b;

	build_open(&b, "upstream app { server 127.0.0.1:1; }\n"
	    "server { listen 80; allow 10.0.0.0/8; deny all when method == \"PUT\"; response_header set A \"1\";"
	    "    request_header set B \"1\"; deny unix:;\n"
	    "    route /a { deny 10.1.0.0/16; deny 10.2.0.0/16; proxy app; }\n"
	    "    route /b { response_header reset; response_header set C \"2\"; proxy app; }\n"
	    "    route /c { rewrite /x; deny all; proxy app; } }");

	const struct route *routes = b.snapshot->servers[0].routes;

	/* the server's first, neighbours joined across its end, too */
	assert_string_equal(names_of(&routes[0].steps), "access response_header request_header access proxy ");
	assert_string_equal(names_of(&routes[1].steps), "access request_header access response_header proxy ");
	assert_string_equal(names_of(&routes[2].steps), "access response_header request_header access rewrite access proxy ");
	assert_int_equal(routes[0].steps.answers, 1);
	assert_int_equal(routes[0].steps.items[1].answer_bit, 0);
	assert_true(routes[0].steps.state_size >= routes[0].steps.items[4].ops->state_size);
	assert_int_equal(routes[0].steps.items[4].state_at, 0);
	/* the lines of the server are shared, the joined ones are the route's own */
	assert_ptr_equal(routes[0].steps.items[0].settings, routes[2].steps.items[0].settings);
	assert_ptr_not_equal(routes[0].steps.items[3].settings, routes[2].steps.items[3].settings);
	/* a condition belongs to its line, not to the joined step */
	assert_null(routes[0].steps.items[0].when);
	build_close(&b);
}

static void
test_routes(void **state)
{
	struct built b;

	build_open(&b, "server { listen 80; route = /a { return 200; } route /b* { return 200; } route /c { return 200; }"
	    "route ~ \"^/(?<x>.)$\" when query.y == \"1\" { return 200 \"${x}\"; } route { return 404; } }");

	const struct server *s = &b.snapshot->servers[0];

	assert_int_equal(s->route_count, 5);
	assert_int_equal(s->routes[0].kind, ROUTE_EXACT);
	assert_int_equal(s->routes[1].kind, ROUTE_BYTES);
	assert_text(s->routes[1].path, "/b");
	assert_int_equal(s->routes[2].kind, ROUTE_SEGMENT);
	assert_int_equal(s->routes[3].kind, ROUTE_REGEX);
	assert_non_null(s->routes[3].when);
	assert_text(s->routes[3].shown, "~ \"^/(?<x>.)$\" when query.y == \"1\"");
	assert_int_equal(s->routes[4].kind, ROUTE_ANY);
	assert_text(s->routes[4].shown, "");
	for (size_t i = 0; i < s->route_count; i++) {
		assert_int_equal(s->routes[i].order, i);
		assert_ptr_equal(s->routes[i].server, s);
	}
	assert_non_null(s->table);
	build_close(&b);
}

static void
test_listeners(void **state)
{
	struct built b;

	build_open(&b, "server one { listen 80 backlog=5; listen unix:/a mode=0600; server_name One.Example *.one.example; echo; }\n"
	    "server two { listen *:80 default_server; echo; }\n"
	    "server { listen localhost:81 proxy_protocol; protocol tcp; echo; }");

	const struct snapshot *s = b.snapshot;

	assert_int_equal(s->listener_count, 3);
	assert_text(s->listeners[0].text, "[::]:80");
	assert_int_equal(s->listeners[0].backlog, 5);
	assert_false(s->listeners[0].alone);
	assert_ptr_equal(s->listeners[0].only, &s->servers[1]);
	assert_ptr_equal(host_find(s->listeners[0].hosts, SLICE("one.example")), &s->servers[0]);
	assert_ptr_equal(host_find(s->listeners[0].hosts, SLICE("a.one.example")), &s->servers[0]);
	assert_null(host_find(s->listeners[0].hosts, SLICE("two.example")));
	assert_text(s->listeners[1].text, "unix:/a");
	assert_int_equal(s->listeners[1].mode, 0600);
	assert_text(s->listeners[2].text, "127.0.0.1:81");
	assert_string_equal(s->listeners[2].protocol->name, "tcp");
	assert_non_null(s->listeners[2].first_protocol);
	assert_true(s->listeners[2].proxy_line);
	/* how it is spoken to is the fingerprint; where is not */
	assert_int_equal(s->listeners[0].fingerprint, s->listeners[1].fingerprint);
	assert_int_not_equal(s->listeners[0].fingerprint, s->listeners[2].fingerprint);
	build_close(&b);
}

static void
test_upstreams(void **state)
{
	struct built b;

	build_open(&b, "upstream app { server 127.0.0.1:1 weight=3; server unix:/s backup; retry 5; timeout { connect 1s; } }\n"
	    "upstream a23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789 "
	    "{ server 127.0.0.1:1; }\n"
	    "server { listen 80; route /a { proxy app; } route /b { proxy 127.0.0.1:2; } route { proxy 127.0.0.1:2; } }");

	const struct snapshot *s = b.snapshot;

	assert_int_equal(s->upstream_count, 3);
	assert_text(s->upstreams[0]->name, "app");
	assert_int_equal(s->upstreams[0]->peer_count, 2);
	assert_int_equal(s->upstreams[0]->peers[0].weight, 3);
	assert_true(s->upstreams[0]->peers[1].backup);
	assert_int_equal(s->upstreams[0]->retries, 5);
	assert_int_equal(s->upstreams[0]->connect_timeout, 1000);
	assert_int_equal(s->upstreams[0]->header_timeout, 60000);
	/* equal addresses in place are one upstream, with every default */
	assert_text(s->upstreams[2]->name, "127.0.0.1:2");
	assert_int_equal(s->upstreams[2]->connect_timeout, 5000);
	assert_int_equal(s->upstreams[2]->index, 2);
	assert_int_equal(s->shared_count, 4);
	assert_string_equal(s->shared[0].name, "app/127.0.0.1:1");
	assert_string_equal(s->shared[1].name, "app/unix:/s");
	assert_int_equal(s->upstreams[2]->peers[0].shared, 3);
	/* what is too long is cut and ends in its fingerprint */
	assert_int_equal(strlen(s->shared[2].name), SHARED_NAME - 1);
	assert_int_equal(s->shared[2].name[SHARED_NAME - 18], '~');
	build_close(&b);
}

static void
test_errors(void **state)
{
	struct built b;

	build_open(&b, "server { listen 80; return 200; error 502..504 404 { return 500 \"${reason}\"; } }");

	const struct server *s = &b.snapshot->servers[0];

	assert_int_equal(s->error_count, 2);
	assert_int_equal(s->errors[0].first, 502);
	assert_int_equal(s->errors[0].last, 504);
	assert_int_equal(s->errors[1].first, 404);
	assert_string_equal(names_of(&s->errors[1].steps), "return ");
	build_close(&b);
}

/* No snapshot, and everything that is wrong is said in one go. */
static void
test_wrong(void **state)
{
	struct built b;

	build_text(&b, "workers x; server { listen 80; proxy a; }\nserver { listen 80; proxy b when c == 1; }", "");
	assert_null(b.snapshot);
	assert_int_equal(b.diag.errors, 4);
	build_close(&b);
}

/* The same files, the same snapshot: nothing of a build before is left. */
static void
test_again(void **state)
{
	struct built a, b;
	static const char text[] = "map m method { \"GET\" \"x\"; } server { listen 80; return 200 \"${map.m}\"; }";

	build_open(&a, text);
	build_open(&b, text);
	assert_int_equal(a.snapshot->arena.total, b.snapshot->arena.total);
	assert_int_equal(a.snapshot->listeners[0].fingerprint, b.snapshot->listeners[0].fingerprint);
	build_close(&b);
	build_close(&a);
}

/* ------------------------------------------------------------------ listeners: what is one, and what is not */

/* Says that of a configuration that has no snapshot. */
static void
expect_wrong(const char *text, const char *said)
{
	struct built b;
	char *all = NULL;
	size_t n = 0;

	build_quietly(&b, text, NULL);
	assert_null(b.snapshot);

	FILE *to = open_memstream(&all, &n);

	diag_print(&b.diag, to);
	fclose(to);
	if (strstr(all, said) == NULL)
		fail_msg("%s\nis answered with:\n%s", text, all);
	free(all);
	build_close(&b);
}

static void
test_listener_conflicts(void **state)
{
	expect_wrong("server { listen 80; server_name a; protocol tcp; echo; }", "needs protocol http");
	expect_wrong("server a { listen 80; server_name a; echo; } server b { listen 80; protocol tcp; echo; }", "the protocol of [::]:80 differs");
	expect_wrong("server a { listen 80; server_name a; echo; } server b { listen 80 proxy_protocol; server_name b; echo; }", "proxy_protocol of [::]:80 differs");
	expect_wrong("server a { listen 80; server_name a; timeout { header 5s; } echo; } server b { listen 80; server_name b; echo; }", "timeout { header } of [::]:80 differs");
	expect_wrong("server a { listen 80; server_name a; max { uri 4k; } echo; } server b { listen 80; server_name b; echo; }", "max { uri } of [::]:80 differs");
	expect_wrong("server a { listen 80 backlog=1; server_name a; echo; } server b { listen 80 backlog=2; server_name b; echo; }", "the backlog of [::]:80 is said twice");
	expect_wrong("server a { listen 80 default_server; echo; } server b { listen 80 default_server; echo; }", "[::]:80 has a default_server already");
	expect_wrong("server { listen 80; listen *:80; echo; }", "this server listens on [::]:80 already");
	expect_wrong("server a { listen 80; server_name x; echo; } server b { listen 80; server_name X; echo; }", "\"x\" is the name of another server");
	expect_wrong("server a { listen 80; server_name a; echo; } server b { listen 80; echo; }", "nothing leads to this server on [::]:80");
	expect_wrong("server a { listen 80; protocol tcp; echo; } server b { listen 80; protocol tcp; echo; }", "two servers on [::]:80");
	expect_wrong("server a { listen 80; echo; } server a { listen 81; echo; }", "there are two servers \"a\"");
}

/* One address written in several ways, several addresses that are not one. */
static void
test_addresses(void **state)
{
	struct built b;

	build_open(&b, "server a { listen 80; listen 127.0.0.1:80; listen [::1]:80; server_name a; echo; }"
	    "server b { listen *:80; listen [::]:81; listen unix:/x; server_name b; echo; }");
	assert_int_equal(b.snapshot->listener_count, 5);
	assert_false(b.snapshot->listeners[0].alone);
	assert_null(b.snapshot->listeners[0].only);
	for (size_t i = 1; i < 5; i++) {
		assert_true(b.snapshot->listeners[i].alone);
		assert_ptr_equal(b.snapshot->listeners[i].only, &b.snapshot->servers[i < 3 ? 0 : 1]);
	}
	build_close(&b);
}

static void
test_hosts(void **state)
{
	struct built b;

	build_open(&b, "server a { listen 80; server_name example.com *.example.com; echo; }"
	    "server b { listen 80; server_name x.example.com *.y.example.com [::1] xn--bcher-kva.example; echo; }"
	    "server c { listen 80 default_server; echo; }");

	const struct snapshot *s = b.snapshot;
	const struct host_table *t = s->listeners[0].hosts;

	assert_ptr_equal(host_find(t, SLICE("example.com")), &s->servers[0]);
	assert_ptr_equal(host_find(t, SLICE("w.example.com")), &s->servers[0]);
	assert_ptr_equal(host_find(t, SLICE("v.w.example.com")), &s->servers[0]);
	/* exact before wildcard, the longer wildcard before the shorter */
	assert_ptr_equal(host_find(t, SLICE("x.example.com")), &s->servers[1]);
	assert_ptr_equal(host_find(t, SLICE("y.example.com")), &s->servers[0]);
	assert_ptr_equal(host_find(t, SLICE("z.y.example.com")), &s->servers[1]);
	assert_ptr_equal(host_find(t, SLICE("[::1]")), &s->servers[1]);
	assert_ptr_equal(host_find(t, SLICE("xn--bcher-kva.example")), &s->servers[1]);
	assert_null(host_find(t, SLICE("notexample.com")));
	assert_null(host_find(t, SLICE("com")));
	assert_null(host_find(t, SLICE("")));
	assert_ptr_equal(s->listeners[0].only, &s->servers[2]);
	build_close(&b);
}

/* ------------------------------------------------------------------ settings */

static void
test_inheritance(void **state)
{
	struct built b;

	build_open(&b, "defaults { timeout { header 5s; body 6s; write 7s; } max { body 10m; } access_log /d; }"
	    "server a { listen 80; timeout { body 8s; } max { headers 64k; }"
	    "  route /x { max { body 1k; } return 200; } route { return 200; } }"
	    "server b { listen 81; access_log off; return 200; }");

	const struct server *a = &b.snapshot->servers[0], *c = &b.snapshot->servers[1];

	assert_int_equal(b.snapshot->listeners[0].settings.head_timeout, 5000);
	assert_int_equal(b.snapshot->listeners[0].settings.head_max, 64 * 1024);
	assert_int_equal(b.snapshot->listeners[1].settings.head_max, 32 * 1024);
	assert_int_equal(a->settings.body_timeout, 8000);
	assert_int_equal(a->settings.write_timeout, 7000);
	assert_int_equal(a->settings.keepalive_timeout, 60000);
	assert_int_equal(a->settings.body_max, 10 * 1024 * 1024);
	assert_int_equal(a->settings.access.log, 0);
	assert_int_equal(a->routes[0].settings->body_max, 1024);
	assert_int_equal(a->routes[0].settings->body_timeout, 8000);
	assert_int_equal(a->routes[0].settings->access.log, 0);
	assert_ptr_equal(a->routes[1].settings, &a->settings);
	assert_int_equal(c->settings.body_timeout, 6000);
	assert_int_equal(c->settings.access.log, -1);
	build_close(&b);
}

/* ------------------------------------------------------------------ maps as choosers */

static void
test_map_chooses(void **state)
{
	struct built b;

	build_open(&b, "upstream a { server 127.0.0.1:1; } upstream b { server 127.0.0.1:2; }"
	    "map who header.x { \"a\" a; ~ \"^b\" b; default a; } server { listen 80; proxy who; }");
	assert_string_equal(names_of(&b.snapshot->servers[0].routes[0].steps), "proxy ");
	assert_int_equal(b.snapshot->upstream_count, 2);
	build_close(&b);
	expect_wrong("upstream a { server 127.0.0.1:1; } map who header.x { \"a\" nobody; } server { listen 80; proxy who; }", "nobody");
	expect_wrong("map who header.x { \"a\" \"b\"; } map who path { \"c\" \"d\"; } server { listen 80; return 200; }", "there are two maps \"who\"");
}

/* ------------------------------------------------------------------ a function of its files */

static const char much[] =
    "upstream app { server 127.0.0.1:1 weight=3; server unix:/s; } map m method { \"GET\" \"x\"; default \"y\"; }\n"
    "defaults { access_log /l json; }\n"
    "server one { listen 80; listen 81 proxy_protocol; server_name one *.two; deny 10.0.0.0/8 when path ~ \"^/x\"; request_header set X \"${map.m}\";\n"
    "  route ~ \"^/(?<a>[a-z]+)$\" when query.b == \"1\" { rewrite \"/${a}\"; proxy app; } route = /r { redirect https; } route { proxy 127.0.0.1:9; }\n"
    "  error 502..504 { return 503 \"${reason}\"; } }\n"
    "server two { listen 80 default_server; echo; } server raw { listen unix:/u; protocol tcp; proxy app; }";

/* What can be seen of a snapshot, as text. */
static char *
shape_of(const struct snapshot *s)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	fprintf(to, "%zu bytes %zu %zu %zu %zu\n", s->arena.total, s->listener_count, s->server_count, s->upstream_count, s->log_count);
	for (size_t i = 0; i < s->listener_count; i++)
		fprintf(to, SLICE_FORMAT " %llx %d %s\n", SLICE_ARG(s->listeners[i].text), (unsigned long long)s->listeners[i].fingerprint,
		    s->listeners[i].alone, s->listeners[i].protocol->name);
	for (size_t i = 0; i < s->server_count; i++)
		for (size_t k = 0; k < s->servers[i].route_count; k++) {
			const struct route *r = &s->servers[i].routes[k];

			fprintf(to, SLICE_FORMAT " %d " SLICE_FORMAT " %s%u %u\n", SLICE_ARG(s->servers[i].name), r->kind, SLICE_ARG(r->shown),
			    names_of(&r->steps), r->steps.answers, r->steps.state_size);
		}
	for (size_t i = 0; i < s->shared_count; i++)
		fprintf(to, "%s %u\n", s->shared[i].name, s->shared[i].size);
	fclose(to);
	return text;
}

static void
test_pure(void **state)
{
	struct built a, b, c;

	build_open(&a, much);

	char *first = shape_of(a.snapshot);

	build_quietly(&b, much, a.snapshot);
	assert_non_null(b.snapshot);

	char *second = shape_of(b.snapshot), *again = shape_of(a.snapshot);

	assert_string_equal(first, second);
	/* the one before is as it was, and is not needed */
	assert_string_equal(first, again);
	assert_int_equal(a.snapshot->holders, 1);
	build_close(&a);

	/* nor does one that fails leave anything */
	build_quietly(&c, "server { listen 80; proxi x; }", b.snapshot);
	assert_null(c.snapshot);
	build_close(&c);
	free(again);
	again = shape_of(b.snapshot);
	assert_string_equal(first, again);
	free(first);
	free(second);
	free(again);
	build_close(&b);
}

static uint64_t
fingerprint_of(const char *text)
{
	struct built b;

	build_open(&b, text);

	uint64_t print = b.snapshot->listeners[0].fingerprint;

	build_close(&b);
	return print;
}

/* What was negotiated or framed by a listener, and nothing else. */
static void
test_fingerprints(void **state)
{
	uint64_t plain = fingerprint_of("server { listen 80; return 200; }");

	assert_int_equal(plain, fingerprint_of("server x { listen 81 backlog=3; server_name y; timeout { header 3s; } echo; }"));
	assert_int_not_equal(plain, fingerprint_of("server { listen 80 proxy_protocol; return 200; }"));
	assert_int_not_equal(plain, fingerprint_of("server { listen 80; protocol tcp; echo; }"));
	assert_int_not_equal(fingerprint_of("server { listen 80 proxy_protocol; echo; }"),
	    fingerprint_of("server { listen 80 proxy_protocol; protocol tcp; echo; }"));
}

#define LINES(rows, more) "protocol p { boundary \"\\n\"; max 1k; " rows " } server { listen 80; protocol p; " more " }"

/* What a declaration says of bytes is how it is spoken; what it says of failures, and tries, is not. */
static void
test_fingerprints_of_declarations(void **state)
{
	uint64_t plain = fingerprint_of(LINES("", "echo;"));

	assert_int_equal(plain, fingerprint_of(LINES("# the same\n", "drop;")));
	assert_int_equal(plain, fingerprint_of(LINES("error \"x\"; example \"x\\n\"; idempotent;", "echo;")));
	assert_int_not_equal(plain, fingerprint_of(LINES("strip cr;", "echo;")));
	assert_int_not_equal(plain, fingerprint_of(LINES("answers in_order;", "echo;")));
	assert_int_not_equal(plain, fingerprint_of(LINES("fields { a u8; }", "echo;")));
	assert_int_not_equal(
	    fingerprint_of(LINES("fields { a u8; }", "echo;")), fingerprint_of(LINES("fields { a u8; b u8; }", "echo;")));
	assert_int_not_equal(plain, fingerprint_of("protocol p { boundary \"\\n\"; max 2k; } server { listen 80; protocol p; echo; }"));
	assert_int_not_equal(fingerprint_of("server { listen 80; protocol text; echo; }"), fingerprint_of("server { listen 80; protocol frame; echo; }"));
}

/* Files by include, at any depth, in the order of their names. */
static void
test_files(void **state)
{
	struct built b;
	static const char *const names[] = { "/c/main.conf", "/c/sites", "/c/one.conf", "/c/deep.conf" };
	static const char *const texts[] = { "include one.conf; server { listen 82; echo; }", "", "server { listen 80; include deep.conf; }", "return 200;" };
	struct build_input in = { .files = &b.files, .path = SLICE("/c/main.conf") };

	build_begin(&b);
	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		sources_add(&b.files, &(struct source){ .kind = SOURCE_FILE, .name = slice_of(names[i]), .text = slice_of(texts[i]) });
	b.snapshot = build_snapshot(&in, &b.diag);
	assert_non_null(b.snapshot);
	assert_int_equal(b.snapshot->server_count, 2);
	assert_text(b.snapshot->servers[0].name, "80");
	assert_string_equal(names_of(&b.snapshot->servers[0].routes[0].steps), "return ");
	build_close(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_paths), cmocka_unit_test(test_where_the_master_is),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_routes), cmocka_unit_test(test_listeners), cmocka_unit_test(test_upstreams),
		cmocka_unit_test(test_errors), cmocka_unit_test(test_wrong), cmocka_unit_test(test_again),
		cmocka_unit_test(test_listener_conflicts), cmocka_unit_test(test_addresses), cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_inheritance), cmocka_unit_test(test_map_chooses), cmocka_unit_test(test_pure),
		cmocka_unit_test(test_fingerprints),
		cmocka_unit_test(test_fingerprints_of_declarations), cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
