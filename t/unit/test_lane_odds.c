/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/lane.c and lane_peer.c where it matters who is told what, and when: protocols that meet on one
 * connection, questions without an answer, connections that end with something in hand, reloads.
 */
#include "lane_case.h"

static struct end
client(uint16_t binding)
{
	return road_client_of(&road, binding, "192.0.2.7:4711", SOCK_STREAM, 0);
}

/* What the ends held is closed, and nothing of it is left. */
static void
end_all(struct end *ends, size_t n)
{
	for (size_t i = 0; i < n; i++)
		end_close(&ends[i]);
	road_wait(&road, 2500);
	assert_int_equal(road.engine.exchange_count, 0);
}

#define END_ALL(...) end_all((struct end[]){ __VA_ARGS__ }, sizeof((struct end[]){ __VA_ARGS__ }) / sizeof(struct end))

/* ------------------------------------------------------------------ two protocols on one connection */

static void
post(struct end *c, const char *body)
{
	char text[512];

	snprintf(text, sizeof(text), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
	road_say(&road, c, text);
}

/* What cannot be written as a question leaves no gap in the order of those that are. */
static void
test_unwritable(void **state)
{
	open_with(LINE, "protocol line; pool { connections 1; }", "server h { listen 127.0.0.1:9; proxy one; }");

	struct end c = road_client(&road);

	post(&c, "two\nlines");
	end_read(&c);
	assert_true(end_has(&c, "500"));
	end_forget(&c);

	struct end d = road_client(&road);

	post(&d, "a line");

	struct end p = accepted(back);

	end_expect(&p, "a line\n");
	road_say(&road, &p, "its answer\n");
	end_read(&d);
	assert_true(end_has(&d, "200 OK") && end_has(&d, "its answer"));
	END_ALL(c, d, p);
}

/* To who asks nothing, what is said by a peer that answers all is nobody's. */
static void
test_answer_of_one_way(void **state)
{
	open_with(LINE SAY PAIR, "protocol line; pool { connections 1; }",
	    "server h { listen 127.0.0.1:9; proxy one; }\n"
	    "server s { listen 127.0.0.1:10; protocol say; proxy one; }\n"
	    "server p { listen 127.0.0.1:11; protocol pair; proxy one; }\n");

	struct end c = client(1), s = client(2), n = client(3);

	road_say(&road, &s, "said\n");
	road_say(&road, &n, "{\"m\":1}\n");
	post(&c, "asked");

	struct end p = accepted(back);

	end_expect(&p, "said\n{\"m\":1}\nasked\n");
	road_say(&road, &p, "to said\nto m\nto asked\n");
	end_read(&c);
	assert_true(end_has(&c, "to asked") && !end_has(&c, "to said"));
	end_expect(&s, "");
	end_expect(&n, "");
	assert_int_equal(road_reason(&road, REASON_UNASKED), 0);
	END_ALL(c, s, n, p);
}

/*
 * What another reader may find an id in is not said to who is asked by many: the answer would be found to be
 * another's. Nor is what a client of another protocol takes for its body.
 */
static void
test_doubtful_ids(void **state)
{
	static const char *const forged[] = { "{\"id\":9,\"id\":1}\n", "{\"id\":1} x\n", "[{\"id\":1}]\n",
		"{\"ID\":1}\n", "{\"id\":9,\"Id\":1}\n", "{\"\\u0049d\":1}\n" };

	open_with(PAIR "protocol says { boundary \"\\n\"; max 64; format json; messages independent; }\n",
	    "protocol pair; pool { connections 1; }",
	    "server v { listen 127.0.0.1:9; protocol pair; proxy one; }\n"
	    "server s { listen 127.0.0.1:10; protocol says; proxy one; }\n");

	struct end c = client(1), f = client(1), s = client(2);

	road_say(&road, &c, "{\"id\":\"c\"}\n");

	struct end p = accepted(back);

	end_expect(&p, "{\"id\":1}\n");
	for (size_t i = 0; i < ARRAY_COUNT(forged); i++) {
		road_say(&road, &f, forged[i]);
		end_expect(&f, "{\"code\":400}\n");
		end_expect(&p, "");
	}
	assert_int_equal(road_reason(&road, REASON_BAD_MESSAGE), ARRAY_COUNT(forged));
	/* The next is asked as ever. */
	road_say(&road, &f, "{\"id\":1}\n");
	end_expect(&p, "{\"id\":2}\n");
	road_say(&road, &s, "{\"id\":1,\"a\":1}\n");
	end_expect(&p, "{\"id\":3,\"a\":1}\n");
	road_say(&road, &p, "{\"id\":3}\n{\"id\":2}\n{\"id\":1}\n");
	end_expect(&c, "{\"id\":\"c\"}\n");
	end_expect(&f, "{\"id\":1}\n");
	end_expect(&s, "");
	END_ALL(c, f, s, p);
}

/* Who speaks another protocol finds the id that he gave in the body of his answer, and not ours. */
static void
test_id_in_body(void **state)
{
	open_with(PAIR "protocol lines { boundary \"\\n\"; max 64; answers in_order; }\n"
	    "protocol head { length u16be; max 64; fields { id u16be at 2; } answers by id; messages independent; }\n"
	    "upstream three { server unix:@/other; protocol head; }\n",
	    "protocol pair; pool { connections 1; }",
	    "server h { listen 127.0.0.1:9; proxy one; }\n"
	    "server l { listen 127.0.0.1:10; protocol lines; proxy one; }\n"
	    "server d { listen 127.0.0.1:11; proxy three; }\n");

	struct end h = client(1), l = client(2), d = client(3);

	post(&h, "{\"m\":1,\"id\":\"of http\"}");

	struct end p = accepted(back);

	end_expect(&p, "{\"m\":1,\"id\":1}\n");
	road_say(&road, &l, "{\"id\":\"of l\"}\n");
	end_expect(&p, "{\"id\":2}\n");
	road_say(&road, &p, "{\"id\":2,\"r\":2}\n{\"r\":1,\"id\":1}\n");
	end_read(&h);
	assert_true(end_has(&h, "\r\n\r\n{\"r\":1,\"id\":\"of http\"}"));
	end_expect(&l, "{\"id\":\"of l\",\"r\":2}\n");
	/* In the header of the one, at the beginning of what is the body of the other. */
	post(&d, "?!ask");

	struct end q = accepted(other);

	road_wait(&road, 100);
	assert_int_equal(write(q.fd, "\0\5\0\1yes", 7), 7);
	road_wait(&road, 100);
	end_read(&d);
	assert_true(end_has(&d, "\r\n\r\n?!yes"));
	END_ALL(h, l, d, p, q);
}

/* A question that has no answer is not answered, whoever is asked, and is over when he is. */
static void
test_one_way_to_http(void **state)
{
	open_with(PAIR, "protocol http; timeout { header 2s; }",
	    "server s { listen 127.0.0.1:9; protocol pair; max { messages 1; } proxy one; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "{\"m\":1}\n");

	struct end p = accepted(back);

	end_read(&p);
	assert_true(end_has(&p, "POST / HTTP/1.1\r\n"));
	end_forget(&p);
	road_say(&road, &p, ROAD_OK);
	end_expect(&c, "");
	assert_int_equal(road.engine.exchange_count, 0);

	/* One who is silent does not hold the next. */
	road_say(&road, &c, "{\"m\":2}\n");
	road_wait(&road, 2300);
	end_expect(&c, "");
	assert_int_equal(road.engine.exchange_count, 0);
	END_ALL(c, p);
}

/* HTTP in front of peers that never answer: 202 when it is said, and it is said. */
static void
test_http_says(void **state)
{
	open_with(SAY, "protocol say; pool { connections 1; }", "server h { listen 127.0.0.1:9; proxy one; }");

	struct end c = road_client(&road);

	post(&c, "one");

	struct end p = accepted(back);

	end_expect(&p, "one\n");
	end_read(&c);
	assert_true(end_has(&c, "202"));
	end_forget(&c);
	post(&c, "two");
	end_expect(&p, "two\n");
	end_read(&c);
	assert_true(end_has(&c, "202"));
	END_ALL(c, p);
	road_close(&road);

	open_with("protocol each { boundary \"\\n\"; max 64; answers none; }\n", "protocol each;",
	    "server h { listen 127.0.0.1:9; proxy one; }");
	c = road_client(&road);
	post(&c, "one");
	p = accepted(back);
	end_expect(&p, "one\n");
	end_read(&c);
	assert_true(end_has(&c, "202"));
	END_ALL(c, p);
}

/* What was said arrives, though who said it is gone. */
static void
test_said_and_gone(void **state)
{
	open_with("protocol each { boundary \"\\n\"; max 64; answers none; }\n", "",
	    "server s { listen 127.0.0.1:9; protocol each; proxy one per message; }");

	struct end c = road_client(&road);

	end_say(&c, "one\ntwo\n");
	end_close(&c);
	road_turn(&road);

	struct end p = accepted(back);

	end_expect(&p, "one\ntwo\n");
	assert_true(p.ended);
	END_ALL(c, p);
}

/* ------------------------------------------------------------------ ends */

/* Behind a last word nothing is asked, even while it waits for its turn. */
static void
test_last_word_waits(void **state)
{
	open_with(LINE, "", "server s { listen 127.0.0.1:9; protocol line; "
	    "route when msg[0] == bye { close \"bye\"; } route { proxy one; } }");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\nbye\nb\n");
	road_say(&road, &c, "c\n");

	struct end p = accepted(back);

	end_expect(&p, "a\n");
	road_say(&road, &p, "A\n");
	end_expect(&c, "A\nbye\n");
	assert_true(c.ended);
	END_ALL(c, p);
}

/* What was whole behind it is answered; then it ends, though nothing more comes. */
static void
test_drain_waits(void **state)
{
	static const char *const all[] = { "a\nbye\n", "a\nbye\nha", "a\nbye\nb\n", "a\nbye\nb\nha" };

	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		open_with(LINE, "", "server s { listen 127.0.0.1:9; protocol line; max { messages 2; } "
		    "route when msg[0] == bye { close \"bye\" drain; } route { proxy one; } }");

		struct end c = road_client(&road);

		road_say(&road, &c, all[i]);

		struct end p = accepted(back);

		end_expect(&p, "a\n");
		road_say(&road, &p, "A\n");
		if (i < 2) {
			end_expect(&c, "A\nbye\n");
		} else {
			end_expect(&p, "b\n");
			road_say(&road, &p, "B\n");
			end_expect(&c, "A\nbye\nB\n");
		}
		assert_true(c.ended);
		END_ALL(c, p);
		road_close(&road);
	}
	open_with(LINE, "", "server s { listen 127.0.0.1:9; protocol line; drop; }");
}

/* A worker that leaves waits for no answer that nobody wants. */
static void
test_drain_given_up(void **state)
{
	open_with(LINE, "pool { connections 1; }", "server s { listen 127.0.0.1:9; protocol line; proxy one; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\n");

	struct end p = accepted(back);

	engine_drain(&road.engine);
	road_turn(&road);
	assert_false(engine_is_idle(&road.engine));
	conn_break(c.conn, ECONNRESET);
	road_turn(&road);
	assert_true(engine_is_idle(&road.engine));
	END_ALL(c, p);
}

/* Who came as the worker left has his first question answered, or a moment to ask it. */
static void
test_drain_newcomers(void **state)
{
	open_with(LINE, "", "server s { listen 127.0.0.1:9; protocol line; proxy one; }");

	struct end c = road_client(&road), silent = road_client(&road), half = road_client(&road);

	end_say(&c, "a\n");
	engine_drain(&road.engine);
	road_say(&road, &half, "ha");

	struct end p = accepted(back);

	end_expect(&p, "a\n");
	road_say(&road, &p, "A\n");
	end_expect(&c, "A\n");
	end_expect(&half, "");
	assert_true(c.ended && half.ended);
	road_wait(&road, 1100);
	end_expect(&silent, "");
	assert_true(silent.ended);
	END_ALL(c, silent, half, p);
	assert_true(engine_is_idle(&road.engine));
}

/* Nor does a connection stay for it. */
static void
test_idle_given_up(void **state)
{
	open_with(PAIR, "pool { connections 1; idle_timeout 5s; } timeout { header 1s; } max_inflight 1;",
	    "server s { listen 127.0.0.1:9; protocol pair; timeout { idle 60s; } proxy one; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "{\"id\":1}\n");

	struct end p = accepted(back);

	road_wait(&road, 1200);
	end_expect(&c, "{\"id\":1,\"code\":504}\n");
	assert_int_equal(road_count(&road, SIDE_PEER), 1);
	road_wait(&road, 5300);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	road_say(&road, &c, "{\"id\":2}\n");

	struct end q = accepted(back);

	road_say(&road, &q, "{\"id\":1}\n");
	end_expect(&c, "{\"id\":2}\n");
	END_ALL(c, p, q);
}

/* Who has become a talk is not ended by a connection of before. */
static void
test_pinned_keeps(void **state)
{
	open_with(OWN, "", "server s { listen 127.0.0.1:9; protocol own; "
	    "route when msg[0] == pin { proxy unix:@/other per connection; } route { proxy one; } }");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\n");

	struct end p = accepted(back);

	road_say(&road, &p, "A\n");
	end_expect(&c, "A\n");
	road_say(&road, &c, "pin\n");

	struct end q = accepted(other);

	end_close(&p);
	road_turn(&road);
	end_expect(&q, "pin\n");
	road_say(&road, &q, "pinned");
	end_expect(&c, "pinned");
	assert_false(c.ended);
	END_ALL(c, p, q);
}

/* ------------------------------------------------------------------ time */

/* One connection, two patiences. */
static void
test_two_timeouts(void **state)
{
	open_with(LINE, "pool { connections 1; }",
	    "upstream three { server unix:@/back; timeout { header 2s; } }\n"
	    "server s { listen 127.0.0.1:9; protocol line; "
	    "route when msg[0] == soon { proxy three; } route { proxy one; } }");

	struct end c = road_client(&road), d = road_client(&road);

	road_say(&road, &c, "a\n");

	struct end p = accepted(back);

	road_say(&road, &d, "soon\n");
	end_expect(&p, "a\nsoon\n");
	road_wait(&road, 2200);
	end_expect(&d, "error 504 peer_timeout\n");
	END_ALL(c, d, p);
}

/* A body that comes slowly is no silence of the connection that waits for it. */
static void
test_idle_under_way(void **state)
{
	open_with(LINE, "protocol line; pool { connections 1; idle_timeout 3s; }",
	    "server h { listen 127.0.0.1:9; proxy one; }");

	struct end c = road_client(&road);

	post(&c, "one");

	struct end p = accepted(back);

	end_expect(&p, "one\n");
	road_say(&road, &p, "ONE\n");
	end_read(&c);
	end_forget(&c);
	road_say(&road, &c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nt");
	road_wait(&road, 3300);
	road_say(&road, &c, "wo");
	end_expect(&p, "two\n");
	road_say(&road, &p, "TWO\n");
	end_read(&c);
	assert_true(end_has(&c, "TWO"));
	END_ALL(c, p);
}

/* Silence begins with the answer. */
static void
test_idle_after_answer(void **state)
{
	open_with(LINE, "", "server s { listen 127.0.0.1:9; protocol line; timeout { idle 5s; } proxy one; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\n");

	struct end p = accepted(back);

	road_wait(&road, 5100);
	road_wait(&road, 3900);
	road_say(&road, &p, "A\n");
	end_expect(&c, "A\n");
	road_wait(&road, 4500);
	end_expect(&c, "");
	assert_false(c.ended);
	road_wait(&road, 6000);
	end_expect(&c, "");
	assert_true(c.ended);
	END_ALL(c, p);
}

/* Who is not read from cannot be told that he is silent, or slow. */
static void
test_held_is_not_late(void **state)
{
	open_with(LINE, "", "server s { listen 127.0.0.1:9; protocol line; max { messages 2; } timeout { message 2s; } "
	    "heartbeat { interval 1s; send \"ping\"; miss 2; } route when msg[0] == pong { drop; } route { proxy one; } }");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\nha");
	road_say(&road, &c, "lf\npo");

	struct end p = accepted(back);

	for (int i = 0; i < 6; i++)
		road_wait(&road, 1100);
	end_read(&c);
	assert_false(c.ended);
	end_forget(&c);
	road_say(&road, &p, "A\nHALF\n");
	end_expect(&c, "A\nHALF\n");
	road_wait(&road, 1100);
	end_read(&c);
	assert_false(c.ended);
	END_ALL(c, p);
}

/* ------------------------------------------------------------------ pairs, and room */

/* What came before anything was asked answers nothing. */
static void
test_greeting(void **state)
{
	open_with(LINE, "pool { connections 1; }", "server s { listen 127.0.0.1:9; protocol line; proxy one; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\n");

	struct end p = accepted(back);

	road_say(&road, &p, "A\n");
	end_expect(&c, "A\n");
	end_say(&c, "b\n");
	end_say(&p, "unasked\n");
	road_turn(&road);
	road_say(&road, &p, "B\n");
	end_expect(&c, "B\n");
	assert_int_equal(road_reason(&road, REASON_UNASKED), 1);
	END_ALL(c, p);
}

/* Answers by HTTP to who does not read, where others than he wait. */
static void
test_congested_over_http(void **state)
{
	open_with(PAIR, "protocol http;", "server s { listen 127.0.0.1:9; protocol pair; buffer { answer 64k over=drop_oldest; } "
	    "route when msg.m == \"big\" { echo; } route { proxy one; } }");

	struct end c = road_client_of(&road, 1, "192.0.2.7:4711", SOCK_STREAM, 4096);
	char line[220];

	snprintf(line, sizeof(line), "{\"id\":1,\"m\":\"big\",\"x\":\"%0150d\"}\n", 0);
	for (int i = 0; i < 600; i++) {
		end_say(&c, line);
		if (i % 32 == 0)
			road_turn(&road);
	}
	road_turn(&road);
	assert_true(c.conn->congested);
	road_say(&road, &c, "{\"id\":2,\"m\":\"x\"}\n");

	struct end p = accepted(back);

	end_read(&p);
	road_say(&road, &p, ROAD_OK);
	assert_int_equal(road.engine.exchange_count, 0);
	END_ALL(c, p);
}

/* A route has another room for answers than its server: what was kept goes out all the same. */
static void
test_kept_goes_out(void **state)
{
	open_with(LINE, "", "server s { listen 127.0.0.1:9; protocol line; buffer { answer 4k over=drop_oldest; } "
	    "route { buffer { answer 256k over=wait; } echo; } }");

	struct end c = road_client_of(&road, 1, "192.0.2.7:4711", SOCK_STREAM, 4096);
	char line[60];

	for (int i = 0; i < 2000; i++) {
		snprintf(line, sizeof(line), "number %06d of many that nobody reads\n", i);
		end_say(&c, line);
		if (i % 32 == 0)
			road_turn(&road);
	}
	for (int i = 0; i < 100; i++) {
		road_turn(&road);
		end_read(&c);
	}
	assert_true(end_has(&c, "number 001999 of"));
	END_ALL(c);
}

/* A peer that reads does not make room on the connection of one that does not. */
static void
test_two_full(void **state)
{
	open_with("protocol each { boundary \"\\n\"; max 64; format words; answers none; }\n", "",
	    "server s { listen 127.0.0.1:9; protocol each; "
	    "route when msg[0] == a { proxy unix:@/back per message; } route { proxy unix:@/other per message; } }");

	struct end c = road_client(&road);
	struct conn *full, *fine;
	int bytes = 4096;

	road_say(&road, &c, "b\n");
	fine = road_peer_conn(&road);

	struct end q = accepted(other);

	road_say(&road, &c, "a\n");
	full = road_peer_conn(&road);

	struct end p = accepted(back);

	assert_int_equal(setsockopt(full->wire.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	while (!full->congested)
		road_say(&road, &c, "a message of many that nobody reads\n");
	assert_int_equal(c.conn->hold, HOLD_STEP);
	lane_congestion(fine, true);
	lane_congestion(fine, false);
	assert_int_equal(c.conn->hold, HOLD_STEP);
	end_read(&p);
	road_turn(&road);
	assert_int_equal(c.conn->hold, 0);
	END_ALL(p, q, c);
}

/* What is gathered for a message waits for no room on the connection that others have filled. */
static void
test_gathered_for_full(void **state)
{
	open_with(LINE, "protocol line; pool { connections 1; }",
	    "server h { listen 127.0.0.1:9; buffer { question 64k; } proxy one; }\n"
	    "server s { listen 127.0.0.1:10; protocol line; proxy one; }");

	struct end s = client(2), c = client(1);
	int bytes = 4096;

	road_say(&road, &s, "first\n");

	struct end p = accepted(back);

	assert_int_equal(setsockopt(road_peer_conn(&road)->wire.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	while (!road_peer_conn(&road)->congested) {
		struct end one = client(2);

		road_say(&road, &one, "one of many that fill the socket of the peer\n");
		conn_break(one.conn, ECONNRESET);
		end_close(&one);
		road_turn(&road);
	}
	post(&c, "the last");
	for (int i = 0; i < 10; i++) {
		end_read(&p);
		road_turn(&road);
	}
	assert_true(end_has(&p, "the last\n"));
	END_ALL(s, c, p);
}

/* A body that is too much for a message, in pieces. */
static void
test_too_much(void **state)
{
	open_with("protocol big { boundary \"\\n\"; max 200k; answers in_order; messages independent; }\n",
	    "protocol big;", "server h { listen 127.0.0.1:9; max { body 1m; } buffer { question 1m; } proxy one; }");

	struct end c = road_client(&road);
	static char much[500 * 1000 + 1];

	memset(much, 'x', sizeof(much) - 1);
	end_say(&c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n");
	for (size_t at = 0; at < sizeof(much) - 1; at += 20000) {
		end_put(&c, much + at, 20000);
		road_turn(&road);
	}
	end_read(&c);
	assert_true(end_has(&c, "413"));
	END_ALL(c);
}

/* What is asked anew is written when the pass ends, and who asked may be gone by then. */
static void
test_asked_anew_and_gone(void **state)
{
	open_with(LINE, "pool { connections 1; }", "server s { listen 127.0.0.1:9; protocol line; proxy two; }");

	struct end c = road_client(&road), d = road_client(&road);

	road_say(&road, &c, "get 1\n");
	road_say(&road, &d, "get 2\n");

	struct end p = accepted(back), q = accepted(other);

	end_expect(&p, "get 1\n");
	end_expect(&q, "get 2\n");
	end_close(&q);
	conn_break(d.conn, ECONNRESET);
	road_turn(&road);
	end_read(&p);
	assert_true(p.n == 0 || end_has(&p, "get 2\n"));
	road_say(&road, &p, p.n == 0 ? "A\n" : "A\nB\n");
	end_expect(&c, "A\n");
	END_ALL(c, d, p);
}

/* ------------------------------------------------------------------ reload */

static void
reload(const char *protocols, const char *upstream, const char *servers)
{
	struct arena a;

	arena_init(&a, NULL, 0);
	road.snapshot = road_build(&road, lane_configuration(&a, protocols, upstream, servers));
	engine_adopt(&road.engine, road.snapshot);
	arena_reset(&a);
	road_turn(&road);
}

/* Connections of before go on under the new configuration, which speaks as the old one did. */
static void
test_reload(void **state)
{
	static const char *const servers = "server s { listen 127.0.0.1:9; protocol line; proxy one; }\n"
	    "server o { listen 127.0.0.1:10; protocol own; "
	    "route when msg[0] == pin { proxy unix:@/other per connection; } route { proxy one; } }";

	open_with(LINE OWN, "pool { connections 1; }", servers);

	struct end c = client(1), o = client(2), t = client(2);

	road_say(&road, &c, "a\n");

	struct end p = accepted(back);

	road_say(&road, &o, "oa\n");

	struct end q = accepted(back);

	road_say(&road, &t, "pin\n");

	struct end r = accepted(other);

	road_say(&road, &q, "OA\n");
	road_say(&road, &o, "ha");
	reload(LINE OWN, "pool { connections 1; }", servers);
	road_say(&road, &p, "A\n");
	end_expect(&c, "A\n");
	reload(LINE OWN, "pool { connections 1; }", servers);
	road_say(&road, &c, "b\n");
	end_expect(&p, "a\nb\n");
	road_say(&road, &p, "B\n");
	end_expect(&c, "B\n");
	road_say(&road, &o, "lf\n");
	end_expect(&q, "oa\nhalf\n");
	road_say(&road, &q, "HALF\n");
	end_expect(&o, "OA\nHALF\n");
	road_say(&road, &r, "R");
	end_expect(&t, "R");
	END_ALL(c, o, t, p, q, r);
}

/* One that is spoken no more ends when what was asked in it is answered. */
static void
test_reload_other(void **state)
{
	open_with(LINE, "pool { connections 1; }", "server s { listen 127.0.0.1:9; protocol line; proxy one; }");

	struct end c = road_client(&road), d = road_client(&road);

	road_say(&road, &c, "a\n");
	road_say(&road, &d, "b\n");

	struct end p = accepted(back);

	road_say(&road, &p, "A\n");
	reload(SAY, "", "server s { listen 127.0.0.1:9; protocol say; drop; }");
	end_expect(&c, "A\n");
	assert_true(c.ended);
	reload(SAY, "", "server s { listen 127.0.0.1:9; protocol say; drop; }");
	road_say(&road, &p, "B\n");
	end_expect(&d, "B\n");
	assert_true(d.ended);
	END_ALL(c, d, p);
}


/* The name of one runs it alone. */
int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_unwritable),
		TEST(test_answer_of_one_way),
		TEST(test_doubtful_ids),
		TEST(test_id_in_body),
		TEST(test_one_way_to_http),
		TEST(test_http_says),
		TEST(test_said_and_gone),
		TEST(test_last_word_waits),
		TEST(test_drain_waits),
		TEST(test_drain_given_up),
		TEST(test_drain_newcomers),
		TEST(test_idle_given_up),
		TEST(test_pinned_keeps),
		TEST(test_two_timeouts),
		TEST(test_idle_under_way),
		TEST(test_idle_after_answer),
		TEST(test_held_is_not_late),
		TEST(test_greeting),
		TEST(test_congested_over_http),
		TEST(test_kept_goes_out),
		TEST(test_two_full),
		TEST(test_gathered_for_full),
		TEST(test_too_much),
		TEST(test_asked_anew_and_gone),
		TEST(test_reload),
		TEST(test_reload_other),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
