/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handlers: return, redirect, rewrite, request_header and response_header, allow and deny, echo,
 * close; each as a client and a peer see it. (proxy has test_proxy.c.)
 */
#include "road_case.h"

#define FINE(fields, body_n, body) \
	"HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\n" fields "Content-Length: " body_n "\r\n\r\n" body

static struct road road;
static struct end client;

static void
open_road(const char *text)
{
	road_open(&road, text);
	client = road_client(&road);
}

static void
close_road(void)
{
	end_close(&client);
	road_close(&road);
}

/* A question for that target with these fields, and what comes back of it. */
static struct slice
ask(const char *target, const char *fields)
{
	char text[4096];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a.example:8080\r\n%s\r\n", target, fields);
	end_forget(&client);
	end_say(&client, text);
	road_turn(&road);
	end_read(&client);
	return end_got(&client);
}

#define assert_got(text) \
	do { \
		if (!end_has(&client, (text))) \
			fail_msg("no \"%s\" in:\n%.*s", (text), (int)client.n, client.at); \
	} while (0)
#define assert_got_not(text) \
	do { \
		if (end_has(&client, (text))) \
			fail_msg("\"%s\" in:\n%.*s", (text), (int)client.n, client.at); \
	} while (0)

/* ------------------------------------------------------------------ return */

static void
reply(void **state)
{
	open_road("server { listen 80; route = /plain { return 200 \"a\\nb\"; } route = /none { return 204; } route = /nothing { return 404; }"
	    "route = /json { return 200 '{\"q\":\"${query}\"}' type=application/json; }"
	    "route = /odd { return 499 \"x\"; } route = /reset { return 205; } route { return 200 \"${method} ${path} ${header.x}\" type=text/html; } }");
	ask("/plain", "");
	end_expect(&client, FINE("Content-Type: text/plain\r\n", "3", "a\nb"));
	ask("/none", "");
	end_expect(&client, "HTTP/1.1 204 No Content\r\nDate: " ROAD_DATE "\r\n\r\n");
	ask("/nothing", "");
	end_expect(&client, "HTTP/1.1 404 Not Found\r\nDate: " ROAD_DATE "\r\nContent-Length: 0\r\n\r\n");
	ask("/reset", "");
	end_expect(&client, "HTTP/1.1 205 Reset Content\r\nDate: " ROAD_DATE "\r\nContent-Length: 0\r\n\r\n");
	ask("/odd", "");
	assert_got("HTTP/1.1 499 \r\n");
	/* what a client says does not end the string that it stands in */
	ask("/json?a\\b'c", "");
	assert_got("Content-Type: application/json\r\n");
	assert_got_not("\"a\\b'c\"");
	ask("/x%20%41", "X: 1\r\nX: 2\r\n");
	assert_got("Content-Type: text/html\r\n");
	assert_got("\r\n\r\nGET /x A 1");
	close_road();
}

static void
reply_too_long(void **state)
{
	static char fields[9000];

	open_road("server { listen 80; max { header 64k; headers 128k; } return 200 \"${header.x}${header.x}${header.x}${header.x}"
	    "${header.x}${header.x}${header.x}${header.x}${header.x}\"; }");
	memset(fields, 'x', sizeof(fields) - 1);
	memcpy(fields, "X: ", 3);
	memcpy(fields + 4000, "\r\n", 3);
	ask("/", fields);
	assert_got("HTTP/1.1 ");
	assert_true(slice_starts(end_got(&client), SLICE("HTTP/1.1 200 ")) || slice_starts(end_got(&client), SLICE("HTTP/1.1 500 ")));
	close_road();
}

/* ------------------------------------------------------------------ redirect */

static void
redirect(void **state)
{
	open_road("server { listen 80; route = /one { redirect /two; } route = /moved { redirect 301 \"http://b.example/${query.to}\"; }"
	    "route ~ \"^/u/(?<rest>.*)$\" { redirect 308 \"/user/${rest}?${query}\"; } route { redirect https; } }");
	ask("/one", "");
	end_expect(&client, "HTTP/1.1 302 Found\r\nDate: " ROAD_DATE "\r\nLocation: /two\r\nContent-Length: 0\r\n\r\n");
	ask("/moved?to=x%0d%0aSet-Cookie:+evil", "");
	assert_got("HTTP/1.1 301 Moved Permanently\r\n");
	assert_got("Location: http://b.example/x");
	assert_got_not("\r\nSet-Cookie");
	ask("/u/a%20b%0Dc?q=1", "");
	assert_got("HTTP/1.1 308 Permanent Redirect\r\n");
	assert_got("Location: /user/a%20b%0Dc?q=1\r\n");
	ask("/x/../y%41?z", "");
	assert_got("Location: https://a.example/yA?z\r\n");
	close_road();
}

/* ------------------------------------------------------------------ rewrite */

static void
expect_forwarded(int at, const char *target, const char *line)
{
	struct end peer;

	ask(target, "");
	peer = road_accept(at);
	end_expect_start(&peer, line);
	end_close(&peer);
	road_turn(&road);
}

static void
rewrite(void **state)
{
	open_road("upstream app { server unix:@/a; pool { idle 0; } retry 0; }"
	    "server { listen 80; route ~ \"^/u/(?<id>[^/]+)$\" { rewrite \"/user?id=${id}\"; proxy app; }"
	    "  route /old { rewrite /new; proxy app; } route /twice { rewrite /one; rewrite \"${uri}x\"; proxy app; }"
	    "  route /bad { rewrite \"${query.to}\"; proxy app; } route { proxy app; } }");

	int at = road_listener(&road, "a");

	expect_forwarded(at, "/u/17", "GET /user?id=17 HTTP/1.1\r\n");
	expect_forwarded(at, "/u/1%267%20x", "GET /user?id=1%267%20x HTTP/1.1\r\n");
	expect_forwarded(at, "/old/thing?a=b", "GET /new?a=b HTTP/1.1\r\n");
	expect_forwarded(at, "/old", "GET /new HTTP/1.1\r\n");
	expect_forwarded(at, "/plain/./x/../y?q", "GET /plain/y?q HTTP/1.1\r\n");
	/* what is forwarded begins with a slash, whatever a client says */
	ask("/bad?to=http://evil/", "");
	assert_got("HTTP/1.1 500 ");
	assert_int_equal(road_accept(at).fd, -1);
	ask("/bad?to=/x%20HTTP/1.1%0d%0aX:%20y", "");

	struct end peer = road_accept(at);

	if (peer.fd >= 0) {
		end_read(&peer);
		assert_false(end_has(&peer, "\r\nX: y"));
	}
	end_close(&peer);
	road_turn(&road);
	close_road();
}

/* ------------------------------------------------------------------ headers */

static void
headers(void **state)
{
	open_road("upstream app { server unix:@/a; }"
	    "server { listen 80; request_header set X-Set \"s\"; request_header add X-Add \"2\"; request_header remove x-gone;"
	    "  request_header set Host \"b.example\"; request_header remove Via; request_header set X-Forwarded-For \"${src}\";"
	    "  request_header set X-When \"1\" when header.x-add == \"1\"; request_header set X-Not \"1\" when header.x-add == \"9\";"
	    "  response_header set X-Status \"${status}\"; response_header remove Server; response_header add Set-Cookie \"ours\";"
	    "  response_header set X-Err \"1\" when status >= 500; response_header remove Date;"
	    "  route /reset { response_header reset; request_header reset; proxy app; } route { proxy app; } }");

	int at = road_listener(&road, "a");

	ask("/", "X-Add: 1\r\nX-Gone: 1\r\nX-Set: theirs\r\nX-Gone: 2\r\nX-SET: twice\r\nX-Forwarded-For: 6.6.6.6\r\n");

	struct end peer = road_accept(at);

	end_expect(&peer, "GET / HTTP/1.1\r\nX-Add: 1\r\nX-Set: s\r\nX-Add: 2\r\nHost: b.example\r\n"
	    "X-Forwarded-For: 192.0.2.7\r\nX-When: 1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example:8080\r\n\r\n");
	end_say(&peer, "HTTP/1.1 200 OK\r\nServer: secret\r\nSet-Cookie: theirs\r\nDate: x\r\nContent-Length: 1\r\n\r\nx");
	road_turn(&road);
	end_read(&client);
	assert_got("Set-Cookie: theirs\r\n");
	assert_got("Set-Cookie: ours\r\n");
	assert_got("X-Status: 200\r\n");
	assert_got_not("Server:");
	assert_got_not("X-Err");
	assert_got_not("Date:");
	ask("/", "");
	end_expect_start(&peer, "GET / ");
	end_say(&peer, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
	road_turn(&road);
	end_read(&client);
	assert_got("X-Err: 1\r\n");
	assert_got("X-Status: 503\r\n");
	ask("/reset", "X-Gone: 1\r\n");
	end_read(&peer);
	assert_true(end_has(&peer, "X-Gone: 1\r\n"));
	assert_false(end_has(&peer, "X-Set"));
	end_say(&peer, "HTTP/1.1 200 OK\r\nServer: secret\r\nContent-Length: 0\r\n\r\n");
	road_turn(&road);
	end_read(&client);
	assert_got("Server: secret\r\n");
	assert_got_not("X-Status");
	/* an answer made here has them, too */
	end_close(&peer);
	close_road();

	open_road("server { listen 80; response_header set X \"${path}\"; return 200; }");
	ask("/a%0d%0aEvil:%201", "");
	assert_got("\r\nX: /a");
	assert_got_not("\r\nEvil");
	assert_got_not("\nEvil");
	close_road();
}

/* ------------------------------------------------------------------ allow, deny */

static void
expect_status(const char *from, const char *target, const char *status)
{
	struct end e = road_client_of(&road, 1, from, SOCK_STREAM, 0);
	char text[256];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target);
	end_say(&e, text);
	road_turn(&road);
	end_read(&e);
	if (e.n < 12 || memcmp(e.at + 9, status, 3) != 0)
		fail_msg("%s %s: %.*s", from, target, (int)e.n, e.at);
	end_close(&e);
	road_turn(&road);
}

static void
allow_deny(void **state)
{
	open_road("server { listen 80; deny 10.6.6.6; allow 10.0.0.0/8 unix: 2001:db8::/32; allow 192.0.2.0/24 when path == \"/open\"; deny;"
	    "  route /more { deny 10.1.0.0/16; return 200; } route { return 200; } error 403 { return 403 \"go away\"; } }");
	expect_status("10.0.0.1:1", "/", "200");
	expect_status("10.6.6.6:1", "/", "403");
	expect_status("[2001:db8::9]:1", "/", "200");
	expect_status("[2001:db9::9]:1", "/", "403");
	expect_status("unix:/x", "/", "200");
	expect_status("192.0.2.9:1", "/", "403");
	expect_status("192.0.2.9:1", "/open", "200");
	/* neighbours are one list: the first that matches has decided already */
	expect_status("10.1.2.3:1", "/more", "200");
	assert_int_equal(road_reason(&road, REASON_DENIED), 3);
	close_road();

	/* error steps that fail have no other ones */
	open_road("server { listen 80; deny; return 200; error 403 { deny; return 200; } }");
	expect_status("10.1.2.3:1", "/", "403");
	assert_int_equal(road_reason(&road, REASON_DENIED), 1);
	close_road();

	/* a step between them, and they are two */
	open_road("server { listen 80; allow 10.0.0.0/8; deny; request_header set X 1;"
	    "  route /more { deny 10.1.0.0/16; return 200; } route { return 200; } }");
	expect_status("10.1.2.3:1", "/more", "403");
	expect_status("10.1.2.3:1", "/", "200");
	close_road();
}

static void
deny_a_talk(void **state)
{
	open_road("server { listen 80; protocol tcp; deny 192.0.2.7; echo; }");

	struct end other = road_client_of(&road, 1, "192.0.2.8:1", SOCK_STREAM, 0);

	road_turn(&road);
	end_expect(&client, "");
	assert_true(client.ended);
	end_say(&other, "hello");
	road_turn(&road);
	end_expect(&other, "hello");
	end_close(&other);
	close_road();
}

/* ------------------------------------------------------------------ echo, close */

static void
echo(void **state)
{
	open_road("server { listen 80; max { body 0; } echo; }");
	ask("/", "");
	end_expect(&client, FINE("", "0", ""));
	end_say(&client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: x/y\r\nContent-Length: 6\r\n\r\nabc");
	road_turn(&road);
	end_say(&client, "def");
	road_turn(&road);
	end_expect(&client, FINE("Content-Type: x/y\r\n", "6", "abcdef"));
	end_say(&client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	road_turn(&road);
	end_say(&client, "2\r\nde\r\n0\r\n\r\n");
	road_turn(&road);
	end_expect(&client, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	close_road();
}

/* Who asks for an echo and does not read it is not listened to any more. */
static void
echo_unread(void **state)
{
	size_t given = 0, taken = 0;
	enum { MUCH = 4 * 1024 * 1024 };

	road_open(&road, "server { listen 80; max { body 0; } echo; }");
	client = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 16384);
	end_say(&client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n");
	for (int still = 0; still < 3;) {
		size_t n = end_stuff(&client, MUCH - given);

		given += n;
		still = n == 0 ? still + 1 : 0;
		road_turn(&road);
		assert_true(conn_waiting(client.conn) <= 400 * 1024);
	}
	assert_true(given < MUCH / 2);
	while (taken < MUCH) {
		given += end_stuff(&client, MUCH - given);
		road_turn(&road);
		end_read(&client);
		assert_true(client.n != 0);
		taken += client.n - (taken == 0 ? slice_find_slice(end_got(&client), SLICE("\r\n\r\n")) + 4 : 0);
		end_forget(&client);
	}
	assert_int_equal(taken, MUCH);
	close_road();
}

static void
closes(void **state)
{
	open_road("server { listen 80; route = /x { close; } route { return 200; } }");
	ask("/", "");
	end_expect_start(&client, "HTTP/1.1 200 OK\r\n");
	end_say(&client, "GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	end_read(&client);
	assert_int_equal(client.n, 0);
	assert_true(client.ended || client.error == ECONNRESET);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road_reason(&road, REASON_DENIED), 1);
	close_road();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reply), cmocka_unit_test(reply_too_long), cmocka_unit_test(redirect),
		cmocka_unit_test(rewrite), cmocka_unit_test(headers), cmocka_unit_test(allow_deny),
		cmocka_unit_test(deny_a_talk), cmocka_unit_test(echo), cmocka_unit_test(echo_unread),
		cmocka_unit_test(closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
