/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules of HTTP framing and of resources that are seen only from inside: what a head costs in memory
 * however it was written, which reason is counted, and what happens when two things come in one
 * pass. What client and peer see is t/flow/test_rules.py's.
 */
#include "road_case.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG A64 A64 A64 A64
#define ONE "upstream app { server unix:@/a; retry 0; } server { listen 80; proxy app; }"

static struct road road;

/* The pool holds one connection, and its other end is this. */
static struct end
pooled(int at)
{
	struct end client = road_client(&road);

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	end_expect_start(&peer, "GET / ");
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	road_turn(&road);
	return peer;
}

/* ------------------------------------------------------------------ what a head costs */

enum { BOOKKEEPING = 64 * 1024 };

static struct builder
head_of(const char *first, const char *field, size_t count)
{
	static char text[128 * 1024];
	struct builder b = builder_on(text, sizeof(text) - 1);

	builder_text(&b, first);
	for (size_t i = 0; i < count; i++)
		builder_text(&b, field);
	text[b.n] = '\0';
	return b;
}

/* Rule 6. Of the question, beside its own bytes. */
static void
costs_of_question(struct builder head, size_t step)
{
	struct end client = road_client(&road);

	builder_text(&head, "\r\n");
	for (size_t at = 0; at < head.n; at += step) {
		end_put(&client, head.at + at, MIN_OF(step, head.n - at));
		road_turn(&road);
	}

	struct exchange *ex = client.conn->exchange;

	assert_non_null(ex);
	assert_true(ex->arena.total + EXCHANGE_FIRST <= BOOKKEEPING + head.n);
	end_close(&client);
	road_turn(&road);
}

static void
question_bookkeeping(void **state)
{
	char target[8300] = "GET /", field[8000];

	road_open(&road, ONE);
	road_listener(&road, "a");
	/* the smallest fields there are, as many as may be; at once and by the byte */
	costs_of_question(head_of("GET / HTTP/1.1\r\nHost: a\r\n", "a:\r\n", 99), SIZE_MAX);
	costs_of_question(head_of("GET / HTTP/1.1\r\nHost: a\r\n", "a:\r\n", 99), 1);
	/* a path that is decoded, encoded and merged, each into room of its own */
	memset(target + 5, '"', 4000);
	memset(target + 4005, '/', 4000);
	strcpy(target + 8005, " HTTP/1.1\r\nHost: A\r\n");
	costs_of_question(head_of(target, "a:\r\n", 99), SIZE_MAX);
	costs_of_question(head_of(target, "a:\r\n", 99), 1000);
	/* and as large a head as may be behind it */
	memset(field, 'a', 7990);
	memcpy(field, "a:", 2);
	strcpy(field + 7990, "\r\n");
	costs_of_question(head_of(target, field, 3), SIZE_MAX);
	road_close(&road);
}

/* Rules 6 and 9: a peer that gives its head line by line has it read again and again, in the same room. */
static void
answer_bookkeeping(void **state)
{
	struct builder head = head_of("HTTP/1.1 200 ROAD_OK\r\n", "a:\r\n", 198);
	struct end client = end_of(-1);

	road_open(&road, ONE);
	client = road_client(&road);

	int at = road_listener(&road, "a");

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	for (size_t i = 0; i < head.n; i++) {
		end_put(&peer, head.at + i, 1);
		road_turn(&road);
		assert_true(client.conn->exchange->arena.total <= BOOKKEEPING);
	}
	road_say(&road, &peer, "Content-Length: 2\r\n\r\nok");
	end_read(&client);
	assert_true(end_has(&client, "\r\n\r\nok"));
	end_close(&peer);
	end_close(&client);
	road_close(&road);
}

/* ------------------------------------------------------------------ what is counted */

/* "Each is a default, a counter when it fires": rules 1 to 8, 22, 26. */
static void
reasons(void **state)
{
	static const struct { const char *question; enum reason reason; } all[] = {
		{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", REASON_BAD_MESSAGE },
		{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", REASON_BAD_MESSAGE },
		{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", REASON_NOT_IMPLEMENTED },
		{ "POST /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\n", REASON_BAD_MESSAGE },
		{ "GET / HTTP/1.1\nHost: a\r\n\r\n", REASON_BAD_MESSAGE },
		{ "GET / HTTP/1.1\r\n\r\n", REASON_BAD_HOST },
		{ "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", REASON_BAD_HOST },
		{ "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", REASON_BAD_MESSAGE },
		{ "GET / HTTP/3.0\r\nHost: a\r\n\r\n", REASON_BAD_VERSION },
		{ "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", REASON_NOT_IMPLEMENTED },
		{ "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", REASON_BAD_EXPECTATION },
		{ "GET /" LONG " HTTP/1.1\r\n", REASON_URI_TOO_LONG },
		{ "GET / HTTP/1.1\r\nHost: a\r\nA: " LONG "\r\n\r\n", REASON_HEAD_TOO_LARGE },
		{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", REASON_BODY_TOO_LARGE },
		{ "GET /x HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\r\n\r\n", REASON_PATTERN_LIMIT },
	};

	road_open(&road, "server { listen 80; max { uri 256; header 256; body 4; }"
	    " route /x when header.x ~ \"^(a|aa|a?)+$\" { return 200 \"x\"; } route /e { echo; } route { return 200 \"y\"; } }");
	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		struct end client = road_client(&road);
		uint64_t before = road_reason(&road, all[i].reason);
		char status[32];

		snprintf(status, sizeof(status), "HTTP/1.1 %u ", reason_texts[all[i].reason].status);
		road_say(&road, &client, all[i].question);
		end_expect_start(&client, status);
		assert_int_equal(road_reason(&road, all[i].reason), before + 1);
		end_close(&client);
		road_turn(&road);
	}
	assert_int_equal(road.engine.shared->exchanges, ARRAY_COUNT(all));
	road_close(&road);
}

/* Rule 26: wherever a pattern stands, running into its limit is no match, and no answer either. */
static void
pattern_limit(void **state)
{
	static const char *const places[] = {
		"map m header.x { ~ \"^(a|aa|a?)+$\" \"1\"; default \"2\"; } server { listen 80; return 200 \"${map.m}\"; }",
		"server { listen 80; return 200 \"y\" when header.x ~ \"^(a|aa|a?)+$\"; return 200 \"n\"; }",
		"server { listen 80; deny when header.x ~ \"^(a|aa|a?)+$\"; return 200 \"n\"; }",
		("server { listen 80; response_header set A \"1\" when response_header.content-type ~ \"^t(a|aa|a?)+$\" or header.x ~ \"^(a|aa|a?)+$\";"
		" return 200 \"n\"; }"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
		struct end client;

		road_open(&road, places[i]);
		client = road_client(&road);
		road_say(&road, &client, "GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\r\n\r\n");
		end_expect_start(&client, "HTTP/1.1 500 ");
		assert_int_equal(road_reason(&road, REASON_PATTERN_LIMIT), 1);
		road_say(&road, &client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		end_expect_start(&client, "HTTP/1.1 200 ");
		end_close(&client);
		road_close(&road);
	}
}

/* On the way back: in front of a peer's answer, of a handshake's, and of an error step's. */
static void
pattern_limit_of_answers(void **state)
{
	static const char *const answers[] = {
		ROAD_OK, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n",
		("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nframe"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
		road_open(&road, "server { listen 80; response_header set A \"1\" when header.x ~ \"^(a|aa|a?)+$\";"
		    " error 500 { proxy unix:@/b; } proxy unix:@/a; }");

		int at = road_listener(&road, "a");
		struct end client = road_client(&road);

		road_say(&road, &client, "GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\r\nUpgrade: websocket\r\n"
		    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");

		struct end peer = road_accept(at);

		end_expect_start(&peer, "GET / ");
		road_say(&road, &peer, answers[i]);
		end_expect(&client, "HTTP/1.1 500 Internal Server Error\r\nDate: " ROAD_DATE "\r\n"
		    "Content-Type: text/plain\r\nContent-Length: 26\r\n\r\n500 Internal Server Error\n");
		end_read(&peer);
		assert_true(peer.ended || peer.error != 0);
		assert_int_equal(road.engine.exchange_count, 0);
		end_close(&peer);
		end_close(&client);
		road_close(&road);
	}
}

/* ------------------------------------------------------------------ two things in one pass */

/*
 * Rule 10: what a peer says on a kept connection in the very pass that would use it again was not
 * said to this question. It goes over another connection, whatever it is: not a byte of it was sent.
 */
static void
unasked(const char *question, bool peer_first, const char *said)
{
	road_open(&road, ONE);

	int at = road_listener(&road, "a");
	struct end old = pooled(at), client = road_client(&road), new;

	if (peer_first)
		end_say(&old, said);
	end_say(&client, question);
	if (!peer_first)
		end_say(&old, said);
	road_turn(&road);
	new = road_accept(at);
	assert_true(new.fd >= 0);
	end_read(&old);
	assert_true(old.ended || old.error != 0);
	assert_int_equal(old.n, 0);
	end_expect_start(&new, slice_starts(slice_of(question), SLICE("GET")) ? "GET / " : "POST / ");
	road_say(&road, &new, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	assert_int_equal(road_reason(&road, REASON_PEER_CLOSED), 0);
	end_close(&old);
	end_close(&new);
	end_close(&client);
	road_close(&road);
}

static void
unasked_answers(void **state)
{
	static const char *const said[] = {
		"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "HTTP/1.1 2", "\r\n",
	};

	for (size_t i = 0; i < ARRAY_COUNT(said); i++)
		for (int first = 0; first < 2; first++) {
			unasked(GET, first, said[i]);
			unasked(POST, first, said[i]);
		}
}

/*
 * "Nothing is lost": the whole answer is there and its connection broken, and the client is slow to
 * read. It gets all of it.
 */
static void
reset_behind_a_whole_answer(void **state)
{
	enum { SIZE = 64 * 1024 };
	static char body[SIZE];
	size_t got = 0;

	road_open(&road, ONE);

	int at = road_listener(&road, "a");
	struct end client = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 4096);

	road_say(&road, &client, GET);

	struct end peer = road_accept(at);

	memset(body, 'z', SIZE);
	road_say(&road, &peer, "HTTP/1.1 200 OK\r\nContent-Length: 131072\r\n\r\n");
	end_put(&peer, body, SIZE);
	road_turn(&road);
	assert_true((road_peer_conn(&road)->hold & HOLD_OUTPUT) != 0);
	end_put(&peer, body, SIZE);
	end_close(&peer);       /* the question was not read: this is a reset */
	road_turn(&road);
	road_wait(&road, 2000); /* nor is it looked for while there is something to read */
	for (int quiet = 0; quiet < 3; quiet++) {
		end_read(&client);
		if (client.n != 0)
			quiet = 0;
		for (size_t i = 0; i < client.n; i++)
			got += client.at[i] == 'z';
		end_forget(&client);
		road_turn(&road);
	}
	assert_int_equal(got, 2 * SIZE);
	assert_int_equal(road_reason(&road, REASON_PEER_RESET), 0);
	end_close(&client);
	road_close(&road);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(question_bookkeeping), cmocka_unit_test(answer_bookkeeping),
		cmocka_unit_test(reasons), cmocka_unit_test(pattern_limit), cmocka_unit_test(pattern_limit_of_answers),
		cmocka_unit_test(unasked_answers), cmocka_unit_test(reset_behind_a_whole_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
