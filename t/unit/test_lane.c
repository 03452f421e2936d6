/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/lane.c and lane_peer.c under the declared protocols: who asks, who answers, in which order,
 * and what becomes of the others when one goes, is late, or says what nobody asked for.
 */
#include "lane_case.h"

static void
answer(struct end *peer, const char *text)
{
	road_say(&road, peer, text);
}

/* ------------------------------------------------------------------ order */

static void
test_order(void **state)
{
	open_server(LINE, "", "protocol line; route when msg[0] == here { reply \"here ${msg[1]}\"; } "
	    "route { proxy one; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "here 1\nfar 2\nhere 3\nfar 4\nhere 5\n");

	struct end p = accepted(back);

	end_expect(&p, "far 2\nfar 4\n");
	end_expect(&c, "here 1\n");
	answer(&p, "two\n");
	end_expect(&c, "two\nhere 3\n");
	answer(&p, "four\n");
	end_expect(&c, "four\nhere 5\n");
	end_close(&c);
	end_close(&p);
	road_turn(&road);
}

/* Whatever stands in one read, whatever is cut: the same. */
static void
test_cut(void **state)
{
	static const char all[] = "here 1\nfar 2\nhere 3\n";

	for (size_t cut = 0; cut < sizeof(all); cut++) {
		open_server(LINE, "", "protocol line; route when msg[0] == here { reply \"here ${msg[1]}\"; } "
		    "route { proxy one; }");

		struct end c = road_client(&road);

		end_put(&c, all, cut);
		road_turn(&road);
		end_put(&c, all + cut, sizeof(all) - 1 - cut);
		road_turn(&road);

		struct end p = accepted(back);

		end_put(&p, "tw", 2);
		road_turn(&road);
		end_expect(&p, "far 2\n");
		answer(&p, "o\n");
		end_expect(&c, "here 1\ntwo\nhere 3\n");
		end_close(&c);
		end_close(&p);
		road_turn(&road);
		road_close(&road);
	}
	open_server(LINE, "", "protocol line; drop;");
}

/* What is decoded may lie right behind what was read, and is not moved with it. */
static void
test_moved(void **state)
{
	char read[] = "wireinner", to[] = "wire";
	struct unit u = { .wire = { read, 4 }, .inner = { read + 4, 5 } }, v = { .wire = { read, 4 }, .inner = { read + 1, 3 } };

	unit_move(&u, u.wire, to);
	assert_ptr_equal(u.wire.at, to);
	assert_ptr_equal(u.inner.at, read + 4);
	unit_move(&v, v.wire, to);
	assert_ptr_equal(v.inner.at, to + 1);
}

/* ------------------------------------------------------------------ turns */

static size_t
count_lines(const struct end *e)
{
	struct slice rest = end_got(e), line;
	size_t n = 0;

	while (slice_split(&rest, '\n', &line))
		n++;
	return n;
}

/* Who says much at once has one turn a pass, as everybody has: 64 messages. */
static void
test_turns(void **state)
{
	enum { MANY = 1000, TURN = CONN_MESSAGES_READ };
	open_server(LINE, "", "protocol line; max { messages 2000; } echo;");

	struct end a = road_client(&road), b = road_client(&road);
	size_t before = 0, passes = 0;

	static char all[MANY * 5 + 1];

	/* At once: the kernel counts each little send as a big one. */
	for (int i = 0; i < MANY; i++)
		memcpy(all + (size_t)i * 5, "many\n", 5);
	end_say(&a, all);
	end_say(&b, "one\n");
	do {
		road_pass(&road);
		end_read(&a);
		end_read(&b);
		/* one turn by its event, one more when others had theirs */
		assert_true(count_lines(&a) <= before + 2 * TURN);
		before = count_lines(&a);
		if (++passes == 2)
			end_expect(&b, "one\n");
	} while (before < MANY && passes < MANY);
	assert_true(before == MANY && passes >= MANY / (2 * TURN));
	end_close(&a);
	end_close(&b);
	road_turn(&road);
}

/* ------------------------------------------------------------------ shared connections */

static void
test_shared(void **state)
{
	open_server(LINE, "pool { connections 1; }", "protocol line; proxy one;");

	struct end a = road_client(&road), b = road_client(&road);

	road_say(&road, &a, "a 1\n");
	road_say(&road, &b, "b 1\n");
	road_say(&road, &a, "a 2\n");

	struct end p = accepted(back);

	assert_int_equal(road_count(&road, SIDE_PEER), 1);
	end_expect(&p, "a 1\nb 1\na 2\n");
	answer(&p, "to a 1\nto b 1\nto a 2\n");
	end_expect(&a, "to a 1\nto a 2\n");
	end_expect(&b, "to b 1\n");
	end_close(&a);
	end_close(&b);
	end_close(&p);
	road_turn(&road);
}

/* Who goes keeps its place: its answer is nobody else's. */
static void
test_gone(void **state)
{
	open_server(LINE, "pool { connections 1; }", "protocol line; proxy one;");

	struct end a = road_client(&road), b = road_client(&road);

	road_say(&road, &a, "a 1\n");
	road_say(&road, &b, "b 1\n");

	struct end p = accepted(back);

	conn_break(a.conn, ECONNRESET);
	road_turn(&road);
	assert_int_equal(road.engine.exchange_count, 1);
	answer(&p, "to a\nto b\n");
	end_expect(&b, "to b\n");
	answer(&p, "to nobody\n");
	end_expect(&b, "");
	assert_int_equal(road_reason(&road, REASON_UNASKED), 1);
	road_say(&road, &b, "b 2\n");
	answer(&p, "to b 2\n");
	end_expect(&b, "to b 2\n");
	end_close(&a);
	end_close(&b);
	end_close(&p);
	road_turn(&road);
}

static void
test_ids(void **state)
{
	open_server(PAIR, "pool { connections 1; }", "protocol pair; proxy one;");

	struct end a = road_client(&road), b = road_client(&road);

	road_say(&road, &a, "{\"id\":1,\"m\":\"a\"}\n");
	road_say(&road, &b, "{\"id\":1,\"m\":\"b\"}\n{\"m\":\"nothing\"}\n");
	road_say(&road, &b, "{\"m\":\"c\",\"id\":\"x\\u0079\"}\n");

	struct end p = accepted(back);

	end_expect(&p, "{\"id\":1,\"m\":\"a\"}\n{\"id\":2,\"m\":\"b\"}\n{\"m\":\"nothing\"}\n"
	    "{\"m\":\"c\",\"id\":3}\n");
	answer(&p, "{\"id\":3,\"r\":\"c\"}\n{\"r\":\"b\",\"id\":2}\n{\"id\":9}\n{\"id\":1,\"r\":\"a\"}\n{\"id\":1}\n");
	end_expect(&a, "{\"id\":1,\"r\":\"a\"}\n");
	end_expect(&b, "{\"id\":\"x\\u0079\",\"r\":\"c\"}\n{\"r\":\"b\",\"id\":1}\n");
	assert_int_equal(road_reason(&road, REASON_UNASKED), 2);
	assert_int_equal(road.engine.exchange_count, 0);
	end_close(&a);
	end_close(&b);
	end_close(&p);
	road_turn(&road);
}

/* The late answer comes when its id is given up, and is nobody's. */
static void
test_late(void **state)
{
	open_server(PAIR, "pool { connections 1; } timeout { header 2s; }", "protocol pair; proxy one;");

	struct end a = road_client(&road);

	road_say(&road, &a, "{\"id\":7}\n");

	struct end p = accepted(back);

	road_wait(&road, 1900);
	end_expect(&a, "");
	road_wait(&road, 300);
	end_expect(&a, "{\"id\":7,\"code\":504}\n");
	road_say(&road, &a, "{\"id\":8}\n");
	answer(&p, "{\"id\":1,\"late\":true}\n{\"id\":2,\"r\":8}\n");
	end_expect(&a, "{\"id\":8,\"r\":8}\n");
	assert_int_equal(road_reason(&road, REASON_UNASKED), 0);
	end_close(&a);
	end_close(&p);
	road_turn(&road);
}

/* ------------------------------------------------------------------ failing peers */

static void
test_again(void **state)
{
	open_server(LINE, "pool { connections 1; }", "protocol line; proxy two;");

	struct end c = road_client(&road);

	road_say(&road, &c, "get 1\nset 2\nget 3\n");

	struct end p = accepted(back), q = accepted(other);

	end_expect(&p, "get 1\nget 3\n");
	end_expect(&q, "set 2\n");
	end_close(&p);
	road_turn(&road);
	end_expect(&q, "get 1\nget 3\n");
	end_expect(&c, "");
	answer(&q, "two\none\nthree\n");
	end_expect(&c, "one\ntwo\nthree\n");

	/* What may have been done is not asked again. */
	road_say(&road, &c, "set 4\nset 5\n");

	struct end p2 = accepted(back);

	end_expect(&q, "set 4\n");
	end_expect(&p2, "set 5\n");
	end_close(&q);
	road_turn(&road);
	end_expect(&c, "error 502 peer_closed\n");
	answer(&p2, "five\n");
	end_expect(&c, "five\n");
	end_close(&c);
	end_close(&p2);
	road_turn(&road);
}

static void
test_refused(void **state)
{
	open_server(LINE, "", "protocol line; proxy one;");
	close(road.listeners[0]);
	unlink(road.names[0]);

	struct end c = road_client(&road);

	road_say(&road, &c, "set 1\nset 2\n");
	end_expect(&c, "error 502 peer_refused\nerror 502 peer_refused\n");
	end_close(&c);
	road_turn(&road);
	road.listeners[0] = road_listener(&road, "back");
}

/* ------------------------------------------------------------------ connections of one's own */

static void
test_own(void **state)
{
	open_server(OWN, "", "protocol own; proxy one;");

	struct end a = road_client(&road), b = road_client(&road);

	road_say(&road, &a, "a 1\na 2\n");

	struct end pa = accepted(back);

	road_say(&road, &b, "b 1\n");

	struct end pb = accepted(back);

	end_expect(&pa, "a 1\na 2\n");
	end_expect(&pb, "b 1\n");
	answer(&pb, "B\npushed\n");
	end_expect(&b, "B\npushed\n");
	answer(&pa, "A\nAA\n");
	end_expect(&a, "A\nAA\n");
	end_close(&a);
	road_turn(&road);
	end_expect(&pa, "");
	assert_true(pa.ended);
	assert_int_equal(road_count(&road, SIDE_PEER), 1);
	/* It goes: what its client did on it cannot be done anew. */
	end_close(&pb);
	road_turn(&road);
	end_expect(&b, "");
	assert_true(b.ended);
	end_close(&b);
	end_close(&pa);
	road_turn(&road);
}

/* What ends a message stands between two: each goes on with its own. */
static void
test_ends(void **state)
{
	static const struct {
		const char *protocol, *asked, *goes_on;
	} rows[] = {
		{ "start 0x7e; end 0x7e; escape 0x7d flip 0x20;", "~~a~b~~c~", "~a~~b~~c~" },
		{ "boundary json_value; format json;", "1 [2]\"3\" 4\n", "1\n[2]\n\"3\"\n4\n" },
	};
	char protocol[256];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		snprintf(protocol, sizeof(protocol), "protocol x { %s max 64; answers in_order; }\n", rows[i].protocol);
		open_server(protocol, "", "protocol x; proxy one;");

		struct end c = road_client(&road);

		road_say(&road, &c, rows[i].asked);

		struct end p = accepted(back);

		end_expect(&p, rows[i].goes_on);
		answer(&p, rows[i].asked);
		end_expect(&c, rows[i].goes_on);
		end_close(&c);
		end_close(&p);
		road_turn(&road);
		road_close(&road);
	}
	open_server(LINE, "", "protocol line; drop;");
}

/* What one peer was told another does not know: a client stays with the one it has. */
static void
test_own_stays(void **state)
{
	open_server(OWN, "", "protocol own; proxy two;");

	struct end a = road_client(&road), b = road_client(&road);

	road_say(&road, &a, "a 1\na 2\na 3\n");
	road_say(&road, &b, "b 1\nb 2\n");

	struct end pa = accepted(back), pb = accepted(other);

	end_expect(&pa, "a 1\na 2\na 3\n");
	end_expect(&pb, "b 1\nb 2\n");
	answer(&pa, "1\n2\n3\n");
	road_say(&road, &a, "a 4\n");
	end_expect(&pa, "a 4\n");
	end_expect(&a, "1\n2\n3\n");
	end_close(&a);
	end_close(&b);
	end_close(&pa);
	end_close(&pb);
	road_turn(&road);
}

static void
test_pinned(void **state)
{
	open_server(OWN, "", "protocol own; route when msg[0] == pin { proxy one per connection; } route { reply \"no\"; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "x\npin\nwhatever, not a mess");

	struct end p = accepted(back);

	end_expect(&c, "no\n");
	end_expect(&p, "pin\nwhatever, not a mess");
	answer(&p, "anything");
	end_expect(&c, "anything");
	end_close(&p);
	road_turn(&road);
	end_expect(&c, "");
	assert_true(c.ended);
	end_close(&c);
	road_turn(&road);
}

/* ------------------------------------------------------------------ bad clients, and their ends */

static void
test_malformed(void **state)
{
	open_server(LINE, "", "protocol line; proxy one;");

	struct end c = road_client(&road);
	char much[70];

	memset(much, 'x', sizeof(much));
	road_say(&road, &c, "get 1\n");
	end_put(&c, much, sizeof(much));
	road_turn(&road);

	struct end p = accepted(back);

	end_expect(&c, "");
	answer(&p, "one\n");
	end_expect(&c, "one\nerror 400 bad_message\n");
	assert_true(c.ended);
	assert_int_equal(road_reason(&road, REASON_BAD_MESSAGE), 1);
	end_close(&c);
	end_close(&p);
	road_turn(&road);
}

static void
test_half_closed(void **state)
{
	open_server(LINE, "", "protocol line; proxy one;");

	struct end c = road_client(&road);

	end_say(&c, "get 1\nget 2\n");
	shutdown(c.fd, SHUT_WR);
	road_turn(&road);

	struct end p = accepted(back);

	answer(&p, "one\n");
	end_expect(&c, "one\n");
	assert_false(c.ended);
	answer(&p, "two\n");
	end_expect(&c, "two\n");
	assert_true(c.ended);
	end_close(&c);
	end_close(&p);
	road_turn(&road);
}

static void
test_close(void **state)
{
	open_server(LINE, "", "protocol line; route when msg[0] == bye { close \"bye\"; } route { echo; }");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\nbye\nb\n");
	end_expect(&c, "a\nbye\n");
	assert_true(c.ended);
	end_close(&c);
	road_turn(&road);
}

/* ------------------------------------------------------------------ time */

static void
test_times(void **state)
{
	open_server(LINE, "", "protocol line; timeout { first_message 1s; message 2s; idle 5s; } echo;");

	struct end a = road_client(&road), b = road_client(&road);

	road_say(&road, &b, "b\n");
	end_expect(&b, "b\n");
	road_wait(&road, 1200);
	end_read(&a);
	assert_true(a.ended);
	road_say(&road, &b, "half");
	road_wait(&road, 1900);
	end_expect(&b, "");
	assert_false(b.ended);
	road_wait(&road, 300);
	end_expect(&b, "error 408 message_timeout\n");
	assert_true(b.ended);
	end_close(&a);
	end_close(&b);

	struct end c = road_client(&road);

	road_say(&road, &c, "c\n");
	road_wait(&road, 4800);
	end_expect(&c, "c\n");
	assert_false(c.ended);
	road_wait(&road, 400);
	end_expect(&c, "");
	assert_true(c.ended);
	assert_int_equal(road_reason(&road, REASON_FIRST_MESSAGE_TIMEOUT), 1);
	assert_int_equal(road_reason(&road, REASON_IDLE_TIMEOUT), 1);
	end_close(&c);
	road_wait(&road, 3000);
}

static void
test_heartbeat(void **state)
{
	open_server(LINE, "", "protocol line; heartbeat { interval 1s; send \"ping\"; miss 2; } "
	    "route when msg[0] == pong { drop; } route { echo; }");

	struct end c = road_client(&road);

	road_wait(&road, 1100);
	end_expect(&c, "ping\n");
	road_say(&road, &c, "pong\n");
	road_wait(&road, 1100);
	end_expect(&c, "ping\n");
	road_wait(&road, 1100);
	end_expect(&c, "ping\n");
	assert_false(c.ended);
	road_wait(&road, 1100);
	end_expect(&c, "");
	assert_true(c.ended);
	assert_int_equal(road_reason(&road, REASON_HEARTBEAT), 1);
	end_close(&c);
	road_wait(&road, 3000);
}

static void
test_rate(void **state)
{
	open_server(LINE, "", "protocol line; message_rate 10/s burst=2 over=refuse; echo;");

	struct end c = road_client(&road);

	road_say(&road, &c, "a\nb\nc\n");
	end_expect(&c, "a\nb\nerror 429 rate\n");
	road_wait(&road, 110);
	road_say(&road, &c, "d\n");
	end_expect(&c, "d\n");
	end_close(&c);
	road_close(&road);

	open_server(LINE, "", "protocol line; message_rate 10/s burst=2; echo;");
	c = road_client(&road);
	road_say(&road, &c, "a\nb\nc\nd\n");
	end_expect(&c, "a\nb\n");
	road_wait(&road, 250);
	end_expect(&c, "c\nd\n");
	end_close(&c);
	road_turn(&road);
}

/* ------------------------------------------------------------------ bounds */

static void
test_unanswered(void **state)
{
	open_server(LINE, "max_inflight 3; pool { connections 1; }", "protocol line; max { messages 2; } proxy one;");

	struct end a = road_client(&road), b = road_client(&road);

	road_say(&road, &a, "a 1\na 2\na 3\n");

	struct end p = accepted(back);

	end_expect(&p, "a 1\na 2\n");
	road_say(&road, &b, "b 1\nb 2\n");
	end_expect(&p, "b 1\n");
	end_expect(&b, "");
	answer(&p, "x\n");
	end_expect(&a, "x\n");
	end_expect(&p, "a 3\n");
	answer(&p, "y\nz\n");
	end_expect(&a, "y\n");
	end_expect(&b, "z\nerror 503 too_many\n");
	end_close(&a);
	end_close(&b);
	end_close(&p);
	road_turn(&road);
}

static void
test_unread(void **state)
{
	static const char *const policies[] = { "wait", "drop", "drop_oldest", "close" };

	for (size_t i = 0; i < ARRAY_COUNT(policies); i++) {
		char server[128];

		snprintf(server, sizeof(server), "protocol line; buffer { answer 4k over=%s; } echo;", policies[i]);
		open_server(LINE, "", server);

		struct end c = road_client_of(&road, 1, "192.0.2.7:4711", SOCK_STREAM, 4096);
		char line[60];
		unsigned said = 0;
		size_t most = 0;

		for (; said < 20000 && c.conn->state == CONN_OPEN; said++) {
			int n = snprintf(line, sizeof(line), "message number %06u of many that nobody reads now\n", said);

			if (send(c.fd, line, (size_t)n, MSG_NOSIGNAL) < 0)
				break;
			if (said % 64 == 0)
				road_turn(&road);
			most = MAX_OF(most, conn_waiting(c.conn));
		}
		road_turn(&road);
		assert_true(most < 16 * 1024);
		if (i == 0)
			assert_true(said < 20000);      /* it is not read from */
		else if (i < 3)
			assert_true(said == 20000);
		if (i == 3) {
			assert_true(said < 20000);
		} else {
			for (int turns = 0; turns < 400; turns++) {
				end_read(&c);
				road_turn(&road);
			}
			end_read(&c);
			snprintf(line, sizeof(line), "number %06u of", said - 1);
			assert_true(end_has(&c, "number 000000 of"));
			assert_int_equal(end_has(&c, line), i != 1);
			assert_int_equal(road_reason(&road, REASON_ANSWER_DROPPED) != 0, i != 0);
		}
		end_close(&c);
		road_turn(&road);
		road_close(&road);
	}
	open_server(LINE, "", "protocol line; drop;");
}

/* ------------------------------------------------------------------ two protocols */

static void
test_http_to_messages(void **state)
{
	open_server(LINE PAIR, "protocol pair;", "proxy one;");

	struct end c = road_client(&road);

	road_say(&road, &c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{\"m\":\"x\"}");

	struct end p = accepted(back);

	end_read(&p);
	assert_true(end_has(&p, "\"m\":\"x\"") && end_has(&p, "\"id\":1"));
	end_forget(&p);
	answer(&p, "{\"id\":1,\"r\":2}\n");
	end_read(&c);
	assert_true(end_has(&c, "200 OK") && end_has(&c, "application/json") && end_has(&c, "\"r\":2"));
	end_forget(&c);
	road_say(&road, &c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"m\"\r\n");
	end_expect(&p, "");
	road_say(&road, &c, "5\r\n:\"y\"}\r\n0\r\n\r\n");
	end_read(&p);
	assert_true(end_has(&p, "\"m\":\"y\""));
	end_close(&p);
	road_turn(&road);
	end_read(&c);
	assert_true(end_has(&c, "502"));
	end_close(&c);
	road_turn(&road);
}

static void
test_messages_to_http(void **state)
{
	open_server(PAIR, "protocol http;", "protocol pair; rewrite \"/rpc/${msg.m}\"; proxy one;");

	struct end c = road_client(&road);

	road_say(&road, &c, "{\"id\":5,\"m\":\"x\"}\n");

	struct end p = accepted(back);

	end_read(&p);
	assert_true(end_has(&p, "POST /rpc/x HTTP/1.1\r\n") && end_has(&p, "Content-Length: 16\r\n"));
	assert_true(end_has(&p, "\r\n\r\n{\"id\":5,\"m\":\"x\"}"));
	answer(&p, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"r\":1}");
	end_read(&c);
	assert_true(end_has(&c, "\"id\":5") && end_has(&c, "\"r\":1"));
	end_forget(&c);
	road_say(&road, &c, "{\"id\":6,\"m\":\"x\"}\n");
	answer(&p, "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\n{\"r\":1}");
	end_read(&c);
	assert_true(end_has(&c, "\"id\":6") && end_has(&c, "502"));
	end_close(&c);
	end_close(&p);
	road_turn(&road);
}


int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order),
		TEST(test_cut),
		cmocka_unit_test(test_moved),
		TEST(test_turns),
		TEST(test_shared),
		TEST(test_gone),
		TEST(test_ids),
		TEST(test_late),
		TEST(test_again),
		TEST(test_refused),
		TEST(test_own),
		TEST(test_own_stays),
		TEST(test_ends),
		TEST(test_pinned),
		TEST(test_malformed),
		TEST(test_half_closed),
		TEST(test_close),
		TEST(test_times),
		TEST(test_heartbeat),
		TEST(test_rate),
		TEST(test_unanswered),
		TEST(test_unread),
		TEST(test_http_to_messages),
		TEST(test_messages_to_http),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
