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
build_text(struct built *b, const char *text, const char *prefix)
{
	struct source main = { .kind = SOURCE_FILE, .name = SLICE("/c/main.conf"), .text = slice_of(text) };
	struct build_input in = { .files = &b->files, .path = SLICE("/c/main.conf"), .prefix = slice_of(prefix) };

	arena_init(&b->arena, NULL, 0);
	sources_init(&b->files, &b->arena, false);
	b->files.directory = SLICE("/c");
	sources_add(&b->files, &main);
	diag_init(&b->diag, &b->arena, &b->files);
	b->snapshot = build_snapshot(&in, &b->diag);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_paths), cmocka_unit_test(test_steps),
		cmocka_unit_test(test_routes), cmocka_unit_test(test_listeners), cmocka_unit_test(test_upstreams),
		cmocka_unit_test(test_errors), cmocka_unit_test(test_wrong), cmocka_unit_test(test_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
