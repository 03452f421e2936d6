/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handlers/proxy: which peer is asked, when another is, what is kept for that, whose
 * connection is used again, and that neither side can make us hold more than a little.
 */
#include "road_case.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static struct road road;

/* ------------------------------------------------------------------ the pool */

/* The same connection serves one client after another. */
static void
is_reused(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end peer = end_of(-1);
	int fd = -1;

	for (int i = 0; i < 5; i++) {
		struct end client = road_client(&road);

		road_say(&road, &client, GET);
		if (i == 0) {
			peer = road_accept(at);
			fd = road_peer_conn(&road)->wire.fd;
		}
		assert_int_equal(road_accept(at).fd, -1);
		assert_int_equal(road_peer_conn(&road)->wire.fd, fd);
		end_expect_start(&peer, "GET / HTTP/1.1\r\n");
		road_say(&road, &peer, ROAD_OK);
		end_expect(&client, ROAD_FINE);
		end_close(&client);
	}
	end_close(&peer);
	road_close(&road);
}

/* The connection given last is taken first; more than the pool holds are closed; all go after their time. */
static void
pool_is_a_stack(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; pool { idle 2; idle_timeout 30s; } } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end clients[3], peers[3];

	for (int i = 0; i < 3; i++) {
		clients[i] = road_client(&road);
		road_say(&road, &clients[i], GET);
		peers[i] = road_accept(at);
		assert_true(peers[i].fd >= 0);
		end_read(&peers[i]);
		end_forget(&peers[i]);
	}
	road_say(&road, &peers[0], ROAD_OK);
	road_say(&road, &peers[2], ROAD_OK);
	road_say(&road, &peers[1], ROAD_OK);
	end_read(&peers[1]);
	assert_true(peers[1].ended);
	road_say(&road, &clients[0], GET);
	end_expect_start(&peers[2], "GET / ");
	road_say(&road, &clients[1], GET);
	end_expect_start(&peers[0], "GET / ");
	road_say(&road, &peers[0], ROAD_OK);
	road_say(&road, &peers[2], ROAD_OK);
	road_wait(&road, 29000);
	assert_int_equal(road_count(&road, SIDE_PEER), 2);
	road_wait(&road, 1200);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	for (int i = 0; i < 3; i++) {
		end_close(&clients[i]);
		end_close(&peers[i]);
	}
	road_close(&road);
}

/* A new snapshot that says the same of the pool takes it over; else it is closed at the swap. */
static void
pool_is_of_its_settings(void **state)
{
	static const char *const texts[] = {
		"upstream app { server unix:@/a; pool { idle 9; } } server { listen 80; proxy app; }",
		"upstream other { server unix:@/a; pool { idle 9; } } server { listen 80; proxy other; }",
		"upstream other { server unix:@/a; pool { idle 1; } } server { listen 80; proxy other; }",
		"server { listen 80; return 204; }",
	};
	struct end clients[3], peers[3];

	road_open(&road, texts[0]);

	int at = road_listener(&road, "a");

	for (int i = 0; i < 3; i++) {
		clients[i] = road_client(&road);
		road_say(&road, &clients[i], GET);
		peers[i] = road_accept(at);
	}
	for (int i = 0; i < 3; i++)
		road_say(&road, &peers[i], ROAD_OK);
	assert_int_equal(road_count(&road, SIDE_PEER), 3);
	engine_adopt(&road.engine, road_build(&road, texts[1]));
	road_turn(&road);
	assert_int_equal(road_count(&road, SIDE_PEER), 3);
	engine_adopt(&road.engine, road_build(&road, texts[2]));
	road_turn(&road);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	for (int i = 0; i < 3; i++) {
		end_close(&clients[i]);
		end_close(&peers[i]);
	}
	road_close(&road);
}

/* One client's pipelined questions find the connection that the one before has just given back. */
static void
pool_within_a_pass(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	road_say(&road, &client, GET GET GET);

	struct end peer = road_accept(at);

	for (int i = 0; i < 3; i++) {
		end_expect_start(&peer, "GET / ");
		road_say(&road, &peer, ROAD_OK);
	}
	end_expect(&client, ROAD_FINE ROAD_FINE ROAD_FINE);
	assert_int_equal(road_accept(at).fd, -1);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* ------------------------------------------------------------------ another attempt */

/* The pool holds one connection; both sides believe in it. */
static struct end
pooled(struct road *r, int at)
{
	struct end client = road_client(r);

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	end_expect_start(&peer, "GET / ");
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	road_turn(r);
	return peer;
}

/* The peer closes while the question is under way: what it had was a stale connection. */
static void
stale(const char *question, bool again)
{
	road_open(&road, "upstream app { server unix:@/a; retry 1; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end old = pooled(&road, at), client = road_client(&road), new;

	road_say(&road, &client, question);
	end_read(&old);
	assert_true(old.n > 20);
	end_close(&old);
	road_turn(&road);
	new = road_accept(at);
	assert_int_equal(new.fd >= 0, again);
	if (again) {
		end_expect_start(&new, slice_starts(slice_of(question), SLICE("PUT")) ? "PUT / HTTP/1.1\r\n" : "GET / HTTP/1.1\r\n");
		road_say(&road, &new, ROAD_OK);
		end_expect(&client, ROAD_FINE);
	} else {
		end_expect_start(&client, "HTTP/1.1 502 Bad Gateway\r\n");
	}
	end_close(&client);
	end_close(&new);
	road_close(&road);
}

/* It closes in the very pass that brings the question: nothing was written, so anything may be asked again. */
static void
stale_untouched(const char *question)
{
	road_open(&road, "upstream app { server unix:@/a; retry 0; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end old = pooled(&road, at), client = road_client(&road), new;

	end_say(&client, question);
	end_close(&old);
	road_turn(&road);
	new = road_accept(at);
	assert_true(new.fd >= 0);
	end_read(&new);
	assert_true(slice_starts(end_got(&new), slice_first(slice_of(question), 6)));
	assert_true(end_has(&new, "body") == (strstr(question, "body") != NULL));
	road_say(&road, &new, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	end_close(&new);
	road_close(&road);
}

static void
stale_connections(void **state)
{
	stale_untouched(GET);
	stale_untouched("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
	stale_untouched("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n");

	stale(GET, true);
	stale("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", true);
	stale("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", false);
	stale("PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", false);
}

/* The peer closed before the question came: nobody notices. */
static void
closed_in_the_pool(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; retry 0; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end old = pooled(&road, at), client = road_client(&road);

	end_close(&old);
	road_turn(&road);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	road_say(&road, &client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");

	struct end new = road_accept(at);

	end_expect_start(&new, "POST / ");
	road_say(&road, &new, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	end_close(&new);
	road_close(&road);
}

/* Peers that always close: each is asked once, however many attempts there may be. */
static void
gives_up(void **state)
{
	int asked = 0;

	road_open(&road, "upstream app { server unix:@/a; server unix:@/b; retry 3; } server { listen 80; proxy app; }");

	int at[2] = { road_listener(&road, "a"), road_listener(&road, "b") };
	struct end client = road_client(&road);

	road_say(&road, &client, GET);
	for (struct end peer; (peer = road_accept(at[asked % 2])).fd >= 0; asked++) {
		end_close(&peer);
		road_turn(&road);
	}
	assert_int_equal(asked, 2);
	end_expect_start(&client, "HTTP/1.1 502 Bad Gateway\r\n");
	assert_int_equal(road_reason(&road, REASON_PEER_CLOSED) + road_reason(&road, REASON_PEER_RESET), 1);
	end_close(&client);
	road_close(&road);
}

/* Nor more of them than `retry` allows. */
static void
retries_are_counted(void **state)
{
	int asked = 0;

	road_open(&road, "upstream app { server unix:@/a; server unix:@/b; server unix:@/c; retry 1; } server { listen 80; proxy app; }");

	int at[3] = { road_listener(&road, "a"), road_listener(&road, "b"), road_listener(&road, "c") };
	struct end client = road_client(&road);

	road_say(&road, &client, GET);
	for (struct end peer; (peer = road_accept(at[asked % 3])).fd >= 0; asked++) {
		end_close(&peer);
		road_turn(&road);
	}
	assert_int_equal(asked, 2);
	end_expect_start(&client, "HTTP/1.1 502 Bad Gateway\r\n");
	end_close(&client);
	road_close(&road);
}

/* The body goes again from the copy, cut as it may be; one that is too large is not kept. */
static void
body_again(void **state)
{
	static char body[100 * 1024];
	static const size_t sizes[] = { 1, 4096, 65536, 65537, 100 * 1024 };

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)('a' + i % 23);
	for (size_t k = 0; k < ARRAY_COUNT(sizes); k++) {
		char head[128];
		bool again = sizes[k] <= 65536;

		road_open(&road, "upstream app { server unix:@/a; server unix:@/b; retry 1; } server { listen 80; proxy app; }");

		int a = road_listener(&road, "a"), b = road_listener(&road, "b");
		struct end client = road_client(&road);

		snprintf(head, sizeof(head), "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", sizes[k]);
		road_say(&road, &client, head);

		struct end first = road_accept(a), second;

		for (size_t sent = 0; sent < sizes[k]; sent += 3000) {
			end_put(&client, body + sent, MIN_OF((size_t)3000, sizes[k] - sent));
			road_turn(&road);
			end_read(&first);
		}
		assert_true(first.n > sizes[k]);
		end_close(&first);
		road_turn(&road);
		second = road_accept(b);
		assert_int_equal(second.fd >= 0, again);
		if (again) {
			road_turn(&road);
			end_read(&second);
			assert_true(second.n > sizes[k]);
			assert_memory_equal(second.at + second.n - sizes[k], body, sizes[k]);
			road_say(&road, &second, ROAD_OK);
			end_expect(&client, ROAD_FINE);
		} else {
			end_expect_start(&client, "HTTP/1.1 502 ");
		}
		end_close(&client);
		end_close(&second);
		road_close(&road);
	}
}

/* Nothing listens at the first: the next one is asked, whatever the method; without a next it is 502. */
static void
refused(void **state)
{
	road_open(&road, "upstream app { server unix:@/none; server unix:@/b; retry 1; } upstream no { server unix:@/none; }"
	    "server { listen 80; route /no { proxy no; } route { proxy app; } }");

	int b = road_listener(&road, "b");
	struct end client = road_client(&road);

	road_say(&road, &client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");

	struct end peer = road_accept(b);

	end_read(&peer);
	assert_true(end_has(&peer, "\r\n\r\nhi"));
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	road_say(&road, &client, "GET /no HTTP/1.1\r\nHost: a\r\n\r\n");
	end_expect_start(&client, "HTTP/1.1 502 Bad Gateway\r\n");
	assert_int_equal(road_reason(&road, REASON_PEER_REFUSED), 1);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

static void
error_steps(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } upstream sorry { server unix:@/b; }"
	    "server { listen 80; proxy app; error 502 504 { request_header set X-Sorry \"1\"; proxy sorry; } }");

	int b = road_listener(&road, "b");
	struct end client = road_client(&road);

	road_say(&road, &client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");

	struct end peer = road_accept(b);

	end_read(&peer);
	assert_true(slice_starts(end_got(&peer), SLICE("POST /x HTTP/1.1\r\n")));
	assert_true(end_has(&peer, "X-Sorry: 1\r\n"));
	/* the body is gone, and so is its length */
	assert_true(end_has(&peer, "\r\nContent-Length: 0\r\n"));
	assert_false(end_has(&peer, "Content-Length: 2"));
	assert_false(end_has(&peer, "hi"));
	road_say(&road, &peer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsorry");
	end_read(&client);
	assert_true(end_has(&client, "\r\n\r\nsorry"));
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* ------------------------------------------------------------------ it breaks off */

static void
breaks(const char *question, const char *said, const char *got, bool reset)
{
	road_open(&road, "upstream app { server unix:@/a; retry 1; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	road_say(&road, &client, question);

	struct end peer = road_accept(at);

	end_read(&peer);                /* closed with bytes unread it would be a reset */
	road_say(&road, &peer, said);
	end_close(&peer);
	road_turn(&road);
	end_expect(&client, got);
	/* A Unix socket has no RST: without one the end is all there is to see. */
	assert_true(client.ended || (reset && client.error != 0));
	assert_int_equal(road_accept(at).fd, -1);
	assert_int_equal(road_reason(&road, REASON_PEER_CLOSED), 1);
	end_close(&client);
	road_close(&road);
}

static void
breaks_off(void **state)
{
	breaks(GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 5\r\nVia: 1.1 millrace\r\n\r\nab", false);
	breaks(GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", false);
	breaks("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nConnection: close\r\n\r\nab", true);
}

/* The client goes while the peer thinks: the peer's connection is not for others. */
static void
client_goes(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	road_say(&road, &client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx");

	struct end peer = road_accept(at);

	end_close(&client);
	road_turn(&road);
	end_read(&peer);
	assert_true(peer.ended);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road_reason(&road, REASON_CLIENT_GONE), 1);
	end_close(&peer);
	road_close(&road);
}

/* ------------------------------------------------------------------ time */

static void
no_answer(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; timeout { header 5s; idle 3s; } retry 2; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	road_say(&road, &peer, "HTTP/1.1 200 OK\r\nX");
	road_wait(&road, 4900);
	end_expect(&client, "");
	road_wait(&road, 300);
	end_expect_start(&client, "HTTP/1.1 504 Gateway Timeout\r\n");
	assert_int_equal(road_reason(&road, REASON_PEER_TIMEOUT), 1);
	end_close(&peer);

	/* its head is out: nothing is left but to cut it off */
	road_say(&road, &client, GET);
	peer = road_accept(at);
	road_say(&road, &peer, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
	for (int i = 0; i < 3; i++) {
		road_say(&road, &peer, "x");
		road_wait(&road, 2800);
		end_read(&client);
		assert_false(client.ended);
	}
	road_wait(&road, 400);
	end_read(&client);
	assert_true(client.ended);
	assert_true(end_has(&client, "\r\n\r\nxxx"));
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* A listener whose queue is full does not answer at all. */
static void
no_connection(void **state)
{
	struct addr addr, bound;
	struct end fill[8];
	char text[256], shown[ADDR_TEXT];
	bool pending;

	assert_true(addr_parse(SLICE("127.0.0.1:0"), &addr));

	int at = socket_listen(&addr, &(struct socket_options){ .backlog = 1 });

	assert_true(at >= 0 && socket_local(at, &bound));
	for (size_t i = 0; i < ARRAY_COUNT(fill); i++)
		fill[i] = end_of(socket_connect(&bound, &pending));
	snprintf(text, sizeof(text), "upstream app { server " SLICE_FORMAT "; retry 0; timeout { connect 2s; } } server { listen 80; proxy app; }",
	    SLICE_ARG(addr_print(&bound, shown)));
	road_open(&road, text);

	struct end client = road_client(&road);

	road_say(&road, &client, GET);
	road_wait(&road, 1900);
	end_expect(&client, "");
	road_wait(&road, 300);
	end_expect_start(&client, "HTTP/1.1 504 Gateway Timeout\r\n");
	assert_int_equal(road_reason(&road, REASON_PEER_CONNECT_TIMEOUT), 1);
	end_close(&client);
	road_close(&road);
	for (size_t i = 0; i < ARRAY_COUNT(fill); i++)
		end_close(&fill[i]);
	close(at);
}

/* ------------------------------------------------------------------ nobody reads */

/* what is held: one read, before it is known how little the other end takes, and a head */
enum { MUCH = 8 * 1024 * 1024, LITTLE = 32 * 1024 };

static size_t
held(struct road *r)
{
	size_t n = 0;

	for (struct conn *c = r->engine.conns; c != NULL; c = c->all_next)
		n += conn_waiting(c) + c->in_size;
	return n;
}

/* The client does not read: the peer is not read either, and goes on when the client does. */
static void
client_does_not_read(void **state)
{
	char head[64];
	size_t given = 0, taken = 0;

	road_open(&road, "upstream app { server unix:@/a; timeout { idle 5s; } } server { listen 80; proxy app; timeout { write 60s; } }");

	int at = road_listener(&road, "a");
	struct end client = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 16384);

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", MUCH);
	road_say(&road, &peer, head);
	for (int still = 0; still < 3;) {
		size_t n = end_stuff(&peer, MUCH - given);

		given += n;
		still = n == 0 ? still + 1 : 0;
		road_turn(&road);
		assert_true(held(&road) <= LITTLE);
	}
	assert_true(given < MUCH / 4);
	assert_true((road_peer_conn(&road)->hold & HOLD_OUTPUT) != 0);
	/* who is not read from is not late */
	road_wait(&road, 20000);
	assert_true((client.conn->state) == CONN_OPEN);
	while (taken < MUCH) {
		given += end_stuff(&peer, MUCH - given);
		road_turn(&road);
		end_read(&client);
		assert_true(client.n != 0);
		if (taken == 0)
			taken = client.n - slice_find_slice(end_got(&client), SLICE("\r\n\r\n")) - 4;
		else
			taken += client.n;
		end_forget(&client);
		assert_true(held(&road) <= LITTLE);
	}
	assert_int_equal(taken, MUCH);
	assert_int_equal(given, MUCH);
	road_turn(&road);
	/* it ended well: both are kept, and no memory is */
	assert_int_equal(road.engine.conn_count, 2);
	assert_int_equal(road.engine.exchange_count, 0);
	assert_int_equal(held(&road), 0);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

static void
client_never_reads(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; proxy app; timeout { write 7s; } }");

	int at = road_listener(&road, "a");
	struct end client = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 16384);

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	road_say(&road, &peer, "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n");
	for (int i = 0; i < 4; i++) {
		end_stuff(&peer, MUCH);
		road_turn(&road);
	}
	road_wait(&road, 1000);
	road_wait(&road, 5500);
	assert_int_equal(road.engine.conn_count, 2);
	road_wait(&road, 700);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road_reason(&road, REASON_WRITE_TIMEOUT), 1);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* The other way round: a peer that takes nothing of the question. */
static void
peer_does_not_read(void **state)
{
	char head[96];
	int small = 16384;
	size_t given = 0, taken = 0;

	road_open(&road, "upstream app { server unix:@/a; timeout { write 60s; header 5s; } } server { listen 80; max { body 0; } proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", MUCH);
	road_say(&road, &client, head);

	struct end peer = road_accept(at);

	setsockopt(road_peer_conn(&road)->wire.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (int still = 0; still < 3;) {
		size_t n = end_stuff(&client, MUCH - given);

		given += n;
		still = n == 0 ? still + 1 : 0;
		road_turn(&road);
		assert_true(held(&road) <= LITTLE);
	}
	assert_true(given < MUCH / 4);
	assert_true((client.conn->hold & HOLD_OUTPUT) != 0);
	while (taken < MUCH) {
		given += end_stuff(&client, MUCH - given);
		road_turn(&road);
		end_read(&peer);
		assert_true(peer.n != 0);
		if (taken == 0)
			taken = peer.n - slice_find_slice(end_got(&peer), SLICE("\r\n\r\n")) - 4;
		else
			taken += peer.n;
		end_forget(&peer);
		assert_true(held(&road) <= LITTLE);
	}
	assert_int_equal(taken, MUCH);
	road_turn(&road);
	end_expect(&client, "");
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

static void
peer_never_reads(void **state)
{
	int small = 16384;

	road_open(&road, "upstream app { server unix:@/a; timeout { write 4s; header 60s; } } server { listen 80; max { body 0; } proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	road_say(&road, &client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");

	struct end peer = road_accept(at);

	setsockopt(road_peer_conn(&road)->wire.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (int i = 0; i < 4; i++) {
		end_stuff(&client, MUCH);
		road_turn(&road);
	}
	road_wait(&road, 1000);
	road_wait(&road, 3300);
	end_expect_start(&client, "HTTP/1.1 504 Gateway Timeout\r\n");
	assert_int_equal(road_reason(&road, REASON_PEER_WRITE_TIMEOUT), 1);
	end_close(&client);
	end_close(&peer);
	road_wait(&road, 3000);
	road_close(&road);
}

/* ------------------------------------------------------------------ too much */

static void
body_too_large(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; max { body 4; } proxy app; }");

	int at = road_listener(&road, "a");
	struct end one = road_client(&road), two = road_client(&road), three = road_client(&road);

	road_say(&road, &one, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
	end_expect_start(&one, "HTTP/1.1 413 Content Too Large\r\n");
	assert_int_equal(road_accept(at).fd, -1);
	road_say(&road, &two, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");

	struct end peer = road_accept(at);

	end_expect_start(&peer, "POST / ");
	road_say(&road, &two, "1\r\nx\r\n");
	end_expect_start(&two, "HTTP/1.1 413 Content Too Large\r\n");
	assert_true(two.ended);
	end_read(&peer);
	assert_true(peer.ended);
	assert_int_equal(peer.n, 0);
	end_close(&peer);
	road_say(&road, &three, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
	peer = road_accept(at);
	assert_true(peer.fd >= 0);
	road_say(&road, &peer, ROAD_OK);
	end_expect(&three, ROAD_FINE);
	end_close(&one);
	end_close(&two);
	end_close(&three);
	end_close(&peer);
	road_close(&road);
}

/* ------------------------------------------------------------------ which upstream, how */

static void
by_map(void **state)
{
	road_open(&road, "upstream a { server unix:@/a; } upstream b { server unix:@/b; }"
	    "map where header.x { \"a\" a; \"b\" b; } server { listen 80; proxy where; }");

	int a = road_listener(&road, "a"), b = road_listener(&road, "b");
	struct end client = road_client(&road);

	road_say(&road, &client, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n");
	assert_int_equal(road_accept(a).fd, -1);

	struct end peer = road_accept(b);

	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	road_say(&road, &client, "GET / HTTP/1.1\r\nHost: a\r\nX: c\r\n\r\n");
	end_expect_start(&client, "HTTP/1.1 502 Bad Gateway\r\n");
	assert_int_equal(road_reason(&road, REASON_NO_PEER), 1);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* A connection that begins with who its client is serves no other client. */
static void
proxy_line(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; proxy_protocol v1; } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	end_read(&peer);
	assert_true(slice_starts(end_got(&peer), SLICE("PROXY ")));
	assert_true(end_has(&peer, "\r\nGET / HTTP/1.1\r\n"));
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_read(&peer);
	assert_true(peer.ended);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

static void
weights(void **state)
{
	int counts[2] = { 0 };

	road_open(&road, "upstream app { server unix:@/a weight=3; server unix:@/b; pool { idle 0; } } server { listen 80; proxy app; }");

	int at[2] = { road_listener(&road, "a"), road_listener(&road, "b") };
	struct end client = road_client(&road);

	for (int i = 0; i < 8; i++) {
		road_say(&road, &client, GET);
		for (int k = 0; k < 2; k++) {
			struct end peer = road_accept(at[k]);

			if (peer.fd < 0)
				continue;
			counts[k]++;
			road_say(&road, &peer, ROAD_OK);
			end_close(&peer);
		}
		end_expect(&client, ROAD_FINE);
	}
	assert_int_equal(counts[0], 6);
	assert_int_equal(counts[1], 2);
	end_close(&client);
	road_close(&road);
}

/* ------------------------------------------------------------------ all of it at once */

/*
 * Clients that ask several things in a row, bodies of every framing and length both ways, sockets that
 * take little, both sides reading and writing by pieces of any size: every byte arrives at its place.
 */
enum { CLIENTS = 6, ASKED = 5, SPEAKERS = 64, BODY_MAX = 40000 };

static uint32_t chance_state;

static uint32_t
chance(uint32_t below)
{
	chance_state ^= chance_state << 13;
	chance_state ^= chance_state >> 17;
	chance_state ^= chance_state << 5;
	return chance_state % below;
}

/* What is said of the question with that number, the same on every side. */
static uint32_t
fate(uint32_t number, uint32_t salt, uint32_t below)
{
	uint32_t x = (number * 2654435761u) ^ (salt * 40503u + 77);

	x ^= x >> 15;
	x *= 2246822519u;
	x ^= x >> 13;
	return x % below;
}

static size_t
body_size(uint32_t number, uint32_t salt)
{
	static const uint32_t most[] = { 1, 2, 100, 5000, BODY_MAX };

	return fate(number, salt, most[fate(number, salt + 1, ARRAY_COUNT(most))] + 1);
}

static char
body_byte(uint32_t number, uint32_t salt, size_t i)
{
	return (char)('!' + (number * 7 + salt * 3 + i + i / 251) % 90);
}

struct speaker {
	struct end end;
	char *out;                      /* what it will say */
	size_t out_n, out_room, out_at;
	size_t read_at;                 /* bytes of end.at that were understood */
	bool ends;                      /* closes when all is said */
};

static void
speak(struct speaker *s, const char *at, size_t n)
{
	if (s->out_n + n > s->out_room) {
		s->out_room = (s->out_n + n) * 2;
		s->out = realloc(s->out, s->out_room);
		assert_non_null(s->out);
	}
	memcpy(s->out + s->out_n, at, n);
	s->out_n += n;
}

static void
speak_text(struct speaker *s, const char *text)
{
	speak(s, text, strlen(text));
}

static void
speak_body(struct speaker *s, uint32_t number, uint32_t salt, size_t size, bool chunked)
{
	char piece[8192], line[32];

	for (size_t at = 0; at < size;) {
		size_t n = 1 + fate(number + (uint32_t)at, salt, (uint32_t)sizeof(piece));

		n = MIN_OF(n, size - at);
		for (size_t i = 0; i < n; i++)
			piece[i] = body_byte(number, salt, at + i);
		snprintf(line, sizeof(line), "%zx\r\n", n);
		if (chunked)
			speak_text(s, line);
		speak(s, piece, n);
		if (chunked)
			speak_text(s, "\r\n");
		at += n;
	}
	if (chunked)
		speak_text(s, "0\r\n\r\n");
}

static void
speak_message(struct speaker *s, const char *first, uint32_t number, uint32_t salt)
{
	size_t size = body_size(number, salt);
	uint32_t how = fate(number, salt + 2, salt == 1 ? 2 : 3);
	char head[256];

	if (how == 0)
		snprintf(head, sizeof(head), "%sN: %u\r\nContent-Length: %zu\r\n\r\n", first, number, size);
	else if (how == 1)
		snprintf(head, sizeof(head), "%sN: %u\r\nTransfer-Encoding: chunked\r\n\r\n", first, number);
	else
		snprintf(head, sizeof(head), "%sN: %u\r\n\r\n", first, number);
	speak_text(s, head);
	speak_body(s, number, salt, size, how == 1);
	s->ends = how == 2;
}

/* A complete message at the front of what came, its body checked; false: it is not complete. */
static bool
understand(struct speaker *s, uint32_t salt, uint32_t *number)
{
	struct slice in = slice_make(s->end.at + s->read_at, s->end.n - s->read_at);
	size_t head_n = slice_find_slice(in, SLICE("\r\n\r\n")), at = head_n + 4, got = 0;

	if (head_n >= in.n)
		return false;

	struct slice head = slice_first(in, head_n + 2);
	size_t n_at = slice_find_slice(head, SLICE("\r\nN: ")), length_at = slice_find_slice(head, SLICE("\r\nContent-Length: "));

	assert_true(n_at < head.n);
	*number = (uint32_t)strtoul(head.at + n_at + 5, NULL, 10);

	size_t size = body_size(*number, salt);

	if (length_at < head.n) {
		assert_int_equal(strtoul(head.at + length_at + 18, NULL, 10), size);
		if (in.n - at < size)
			return false;
		for (; got < size; got++)
			if (in.at[at + got] != body_byte(*number, salt, got))
				fail_msg("question %u: byte %zu of its body is wrong", *number, got);
		s->read_at += at + size;
		return true;
	}
	assert_true(slice_find_slice(head, SLICE("Transfer-Encoding: chunked\r\n")) < head.n);
	for (;;) {
		size_t line = slice_find_slice(slice_after(in, MIN_OF(at, in.n)), SLICE("\r\n"));

		if (at >= in.n || line >= in.n - at)
			return false;

		size_t n = strtoul(in.at + at, NULL, 16);

		at += line + 2;
		if (in.n < at + n + 2)
			return false;
		for (size_t i = 0; i < n; i++, got++)
			if (in.at[at + i] != body_byte(*number, salt, got))
				fail_msg("question %u: byte %zu of its body is wrong", *number, got);
		at += n + 2;
		if (n == 0)
			break;
	}
	assert_int_equal(got, size);
	s->read_at += at;
	return true;
}

/* Some of what it has to say, some of what it may hear. */
static void
breathe(struct speaker *s)
{
	size_t n = 1 + chance(chance(4) == 0 ? 30000 : 700);

	if (s->end.fd < 0)
		return;
	if (s->out_at < s->out_n && chance(3) != 0) {
		ssize_t sent = send(s->end.fd, s->out + s->out_at, MIN_OF(n, s->out_n - s->out_at), MSG_NOSIGNAL);

		if (sent > 0)
			s->out_at += (size_t)sent;
	}
	if (chance(3) == 0)
		return;
	if (s->end.room - s->end.n < n) {
		s->end.room = s->end.room * 2 + n;
		s->end.at = realloc(s->end.at, s->end.room);
		assert_non_null(s->end.at);
	}

	ssize_t got = recv(s->end.fd, s->end.at + s->end.n, n, 0);

	if (got > 0)
		s->end.n += (size_t)got;
	else if (got == 0)
		s->end.ended = true;
	else if (errno != EAGAIN)
		s->end.error = errno;
}

static void
peer_breathes(struct speaker *s)
{
	uint32_t number;

	breathe(s);
	if (s->end.fd >= 0 && !s->ends && understand(s, 1, &number))
		speak_message(s, "HTTP/1.1 200 OK\r\n", number, 10);
	if (s->end.fd >= 0 && ((s->ends && s->out_at == s->out_n) || s->end.ended || s->end.error != 0)) {
		close(s->end.fd);
		s->end.fd = -1;
	}
}

static void
speaker_free(struct speaker *s)
{
	end_close(&s->end);
	free(s->out);
	*s = (struct speaker){ .end = { .fd = -1 } };
}

static void
everything(uint32_t seed)
{
	static struct speaker clients[CLIENTS], peers[SPEAKERS];
	uint32_t answered[CLIENTS] = { 0 }, done = 0;
	char first[128];

	chance_state = seed * 2654435761u + 1;
	road_open(&road, "upstream app { server unix:@/a; pool { idle 3; } } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");

	for (uint32_t i = 0; i < CLIENTS; i++) {
		clients[i] = (struct speaker){ .end = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 4096 << chance(5)) };
		for (uint32_t k = 0; k < ASKED; k++) {
			uint32_t number = seed * 1000 + i * 100 + k;

			snprintf(first, sizeof(first), "POST /%u HTTP/1.1\r\nHost: a\r\n", number);
			speak_message(&clients[i], first, number, 1);
		}
	}
	for (size_t k = 0; k < SPEAKERS; k++)
		peers[k] = (struct speaker){ .end = { .fd = -1 } };
	for (uint32_t turn = 0; done < CLIENTS; turn++) {
		if (turn == 50000)
			fail_msg("seed %u: it stands still, %u of %d clients are done", seed, done, CLIENTS);
		for (size_t k = 0; k < SPEAKERS; k++) {
			if (peers[k].end.fd >= 0) {
				peer_breathes(&peers[k]);
				continue;
			}
			if (peers[k].out != NULL || peers[k].end.at != NULL)
				speaker_free(&peers[k]);
			peers[k].end = road_accept(at);
			if (peers[k].end.fd < 0)
				continue;
			if (chance(2) == 0) {
				int small = 4096 << chance(4);

				setsockopt(peers[k].end.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
				setsockopt(road_peer_conn(&road)->wire.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
			}
		}
		for (uint32_t i = 0; i < CLIENTS; i++) {
			uint32_t number;

			breathe(&clients[i]);
			assert_false(clients[i].end.ended);
			while (answered[i] < ASKED && understand(&clients[i], 10, &number)) {
				assert_int_equal(number, seed * 1000 + i * 100 + answered[i]);
				done += ++answered[i] == ASKED;
			}
		}
		road_pass(&road);
		assert_int_equal(road.engine.pins, 0);
		assert_true(held(&road) <= 2 * LITTLE * CLIENTS);
	}
	road_turn(&road);
	assert_int_equal(road.engine.exchange_count, 0);
	assert_int_equal(road.engine.shared->exchanges, CLIENTS * ASKED);
	assert_int_equal(road_count(&road, SIDE_CLIENT), CLIENTS);
	assert_true(road_count(&road, SIDE_PEER) <= 3);
	assert_int_equal(held(&road), 0);
	for (int r = 1; r < REASON_COUNT; r++)
		if (road_reason(&road, (enum reason)r) != 0)
			fail_msg("seed %u: %s", seed, reason_texts[r].word);
	for (size_t i = 0; i < CLIENTS; i++)
		speaker_free(&clients[i]);
	for (size_t k = 0; k < SPEAKERS; k++)
		speaker_free(&peers[k]);
	road_close(&road);
}

static void
all_at_once(void **state)
{
	for (uint32_t seed = 1; seed <= 12; seed++)
		everything(seed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_reused), cmocka_unit_test(pool_is_a_stack), cmocka_unit_test(pool_within_a_pass),
		cmocka_unit_test(stale_connections), cmocka_unit_test(closed_in_the_pool), cmocka_unit_test(gives_up),
		cmocka_unit_test(retries_are_counted), cmocka_unit_test(pool_is_of_its_settings),
		cmocka_unit_test(body_again), cmocka_unit_test(refused), cmocka_unit_test(error_steps),
		cmocka_unit_test(breaks_off), cmocka_unit_test(client_goes),
		cmocka_unit_test(no_answer), cmocka_unit_test(no_connection),
		cmocka_unit_test(client_does_not_read), cmocka_unit_test(client_never_reads),
		cmocka_unit_test(peer_does_not_read), cmocka_unit_test(peer_never_reads),
		cmocka_unit_test(body_too_large),
		cmocka_unit_test(by_map), cmocka_unit_test(proxy_line), cmocka_unit_test(weights),
		cmocka_unit_test(all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
