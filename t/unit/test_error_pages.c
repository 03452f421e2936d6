/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * error … intercept: steps in the place of a peer's own answer. What the client gets, what it
 * can still ask on its connection, what becomes of the peer's, and that it ends.
 */
#include "road_case.h"

#define HEAD_OF(path) "HEAD " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define PAGE(status, length, body) "HTTP/1.1 " status "\r\nDate: " ROAD_DATE \
	"\r\nContent-Type: text/html\r\nX-Page: yes\r\nContent-Length: " length "\r\n\r\n" body

static struct road road;
static int at;

static int
set_up(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } upstream pages { server unix:@/p; }"
	    "server { listen 80; response_header set X-Own 1; proxy app;"
	    "  error 404 500..502 intercept { response_header set X-Page yes; return 404 \"no ${path} (${status})\" type=text/html; }"
	    "  error 503 { return 503 \"ours\"; }"
	    "  error 410 intercept { proxy pages; }"
	    "  error 402 intercept { redirect 302 \"/pay\"; } }");
	at = road_listener(&road, "a");
	return 0;
}

static int
tear_down(void **state)
{
	road_close(&road);
	return 0;
}

/* Whatever its answer looks like: where all of it came, or little is missing, its connection serves the next. */
static void
peer_is_kept(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX-Secret: 1\r\n\r\n",
		"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-Secret: 1\r\n\r\nteapo",
		"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	};
	struct end client = road_client(&road), peer = end_of(-1);

	for (size_t i = 0; i < ARRAY_COUNT(answers); i++)
		for (size_t cut = 1; cut <= strlen(answers[i]); cut++) {
			road_say(&road, &client, GET("/x"));
			if (peer.fd < 0)
				peer = road_accept(at);
			end_expect_start(&peer, "GET /x HTTP/1.1\r\n");
			end_put(&peer, answers[i], cut);
			road_turn(&road);
			end_put(&peer, answers[i] + cut, strlen(answers[i]) - cut);
			road_turn(&road);
			end_expect(&client, PAGE("404 Not Found", "11", "no /x (404)"));
			assert_int_equal(road_count(&road, SIDE_PEER), 1);
			assert_int_equal(road_accept(at).fd, -1);
		}
	road_say(&road, &client, GET("/y"));
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 2\r\nX-Own: 1\r\nVia: 1.1 millrace\r\n\r\nok");
	end_close(&client);
	end_close(&peer);
}

/* Its connection cannot be kept, and nothing that comes on it is anybody's answer. */
static void
peer_is_not_kept(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 500 Oops\r\n\r\nto the end",
		"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
		"HTTP/1.1 500 Oops\r\nContent-Length: 9999999\r\n\r\nx",
		"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	};
	struct end client = road_client(&road);

	for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
		road_say(&road, &client, GET("/x"));

		struct end peer = road_accept(at);

		assert_true(peer.fd >= 0);
		road_say(&road, &peer, answers[i]);
		end_expect(&client, PAGE("404 Not Found", "11", "no /x (500)"));
		assert_int_equal(road_count(&road, SIDE_PEER), 0);
		end_close(&peer);
	}
	/* the rest does not come in time; or it never ends */
	for (int i = 0; i < 2; i++) {
		static char much[100 * 1024];

		road_say(&road, &client, GET("/x"));

		struct end peer = road_accept(at);

		road_say(&road, &peer, i == 0 ? "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nn" :
		    "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n");
		end_expect(&client, PAGE("404 Not Found", "11", "no /x (500)"));
		assert_int_equal(road_count(&road, SIDE_PEER), 1);
		if (i == 0)
			road_wait(&road, 1200);
		else
			end_put(&peer, much, sizeof(much));
		road_turn(&road);
		assert_int_equal(road_count(&road, SIDE_PEER), 0);
		end_close(&peer);
	}
	end_close(&client);
}

/* Only where it was said; other answers, and our own failures, are as they were. */
static void
others_pass(void **state)
{
	struct end client = road_client(&road);

	road_say(&road, &client, GET("/x"));

	struct end peer = road_accept(at);

	road_say(&road, &peer, "HTTP/1.1 503 Theirs\r\nContent-Length: 4\r\n\r\nbusy");
	end_expect(&client, "HTTP/1.1 503 Service Unavailable\r\nDate: " ROAD_DATE "\r\nContent-Length: 4\r\nX-Own: 1\r\nVia: 1.1 millrace\r\n\r\nbusy");
	/* 502 of ours: the same page */
	end_read(&peer);
	end_close(&peer);
	road_turn(&road);
	close(road.listeners[0]);
	road_say(&road, &client, GET("/x"));
	end_expect(&client, PAGE("404 Not Found", "11", "no /x (502)"));
	assert_int_equal(road_reason(&road, REASON_PEER_REFUSED), 1);
	road.listeners[0] = dup(2);
	end_close(&client);
}

/* HEAD has no body, a pipeline goes on, and what was not read of a question is not taken for the next. */
static void
client_goes_on(void **state)
{
	struct end client = road_client(&road);

	road_say(&road, &client, HEAD_OF("/h") GET("/x") GET("/y"));

	struct end peer = road_accept(at);

	road_say(&road, &peer, "HTTP/1.1 404 Not Found\r\nContent-Length: 999\r\n\r\n");
	end_expect(&client, PAGE("404 Not Found", "11", ""));
	road_say(&road, &peer, "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc");
	end_expect(&client, PAGE("404 Not Found", "11", "no /x (404)"));
	road_say(&road, &peer, ROAD_OK);
	end_expect_start(&client, "HTTP/1.1 200 OK\r\n");
	end_read(&peer);
	end_forget(&peer);
	/* answered before the question was complete: its rest is dropped, and the peer's end is no end of it */
	road_say(&road, &client, "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
	end_expect_start(&peer, "POST /p ");
	road_say(&road, &peer, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	end_expect(&client, PAGE("404 Not Found", "11", "no /p (404)"));
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	road_say(&road, &client, "defghij" GET("/z"));
	end_close(&peer);
	peer = road_accept(at);
	end_expect_start(&peer, "GET /z ");
	road_say(&road, &peer, ROAD_OK);
	end_expect_start(&client, "HTTP/1.1 200 OK\r\n");
	end_close(&client);
	end_close(&peer);
}

/* Error steps may ask another; whatever that says is the answer. */
static void
asks_another(void **state)
{
	int pages = road_listener(&road, "p");
	struct end client = road_client(&road);

	road_say(&road, &client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");

	struct end peer = road_accept(at);

	road_say(&road, &peer, "HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone");

	struct end other = road_accept(pages);

	end_read(&other);
	assert_true(end_has(&other, "Content-Length: 0\r\n"));
	road_say(&road, &other, "HTTP/1.1 410 Gone too\r\nContent-Length: 3\r\n\r\ntoo");
	end_expect(&client, "HTTP/1.1 410 Gone\r\nDate: " ROAD_DATE "\r\nContent-Length: 3\r\nVia: 1.1 millrace\r\n\r\ntoo");
	assert_int_equal(road_count(&road, SIDE_PEER), 2);
	/* it fails itself: that is said, and no step runs again */
	road_say(&road, &client, GET("/x"));
	road_say(&road, &peer, "HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone");
	road_say(&road, &other, "rubbish\r\n\r\n");
	end_expect_start(&client, "HTTP/1.1 502 Bad Gateway\r\n");
	/* another kind of answer */
	road_say(&road, &client, GET("/x"));
	road_say(&road, &peer, "HTTP/1.1 402 Pay\r\nContent-Length: 4\r\n\r\ngone");
	end_read(&client);
	assert_true(end_has(&client, "HTTP/1.1 302 Found\r\n"));
	assert_true(end_has(&client, "Location: /pay\r\n"));
	end_close(&client);
	end_close(&peer);
	end_close(&other);
}

/* It answered, whatever it said: a peer on trial is well again. */
static void
peer_is_well(void **state)
{
	struct road r;

	road_open(&r, "upstream app { server unix:@/a fail_timeout=10s; server unix:@/b down; retry 0; }"
	    "server { listen 80; proxy app; error 404 intercept { return 200 \"x\"; } }");

	struct end client = road_client(&r);

	/* nobody listens: it rests */
	end_say(&client, GET("/"));
	road_turn(&r);
	end_expect_start(&client, "HTTP/1.1 502 ");

	const struct peer_state *s = &r.snapshot->upstream_runs[0].states[0];

	assert_true(s->shared->down_until != 0);

	int again = road_listener(&r, "a");

	road_wait(&r, 11000);
	end_say(&client, GET("/"));
	road_turn(&r);

	struct end peer = road_accept(again);

	end_say(&peer, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
	road_turn(&r);
	end_expect_start(&client, "HTTP/1.1 200 OK\r\n");
	assert_true(s->shared->down_until == 0);
	end_close(&client);
	end_close(&peer);
	road_close(&r);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(peer_is_kept), TEST(peer_is_not_kept), TEST(others_pass), TEST(client_goes_on),
		TEST(asks_another), cmocka_unit_test(peer_is_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
