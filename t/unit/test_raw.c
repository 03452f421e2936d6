/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/raw and protocols/proxy_line where no tunnel is: a talk that is answered here, one whose
 * peer is not there, the PROXY header in front of either. (Bytes both ways are test_tunnel.c.)
 */
#include "road_case.h"

static struct road road;

/* ------------------------------------------------------------------ tcp */

static void
echoes(void **state)
{
	road_open(&road, "server { listen 80; protocol tcp; echo; }");

	struct end e = road_client(&road);

	for (int i = 0; i < 3; i++) {
		end_say(&e, "some bytes");
		road_turn(&road);
		end_expect(&e, "some bytes");
	}
	assert_int_equal(road.engine.exchange_count, 1);
	end_say(&e, "the last");
	shutdown(e.fd, SHUT_WR);
	road_turn(&road);
	end_expect(&e, "the last");
	assert_true(e.ended);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road.engine.exchange_count, 0);
	assert_int_equal(road.engine.shared->bytes_in, 38);
	assert_int_equal(road.engine.shared->bytes_out, 38);
	end_close(&e);
	road_close(&road);
}

static void
silent(void **state)
{
	road_open(&road, "server { listen 80; protocol tcp; timeout { idle 10s; } echo; }");

	struct end e = road_client(&road);

	road_wait(&road, 9000);
	end_say(&e, "x");
	road_turn(&road);
	end_expect(&e, "x");
	road_wait(&road, 9000);
	end_expect(&e, "");
	assert_false(e.ended);
	road_wait(&road, 1300);
	end_expect(&e, "");
	assert_true(e.ended);
	assert_int_equal(road_reason(&road, REASON_IDLE_TIMEOUT), 1);
	assert_int_equal(road.engine.conn_count, 0);
	end_close(&e);
	road_close(&road);
}

/* It has no words for a failure: it ends. Another peer is tried first, and gets every byte. */
static void
joins_a_peer(void **state)
{
	road_open(&road, "upstream app { server unix:@/none; server unix:@/a; retry 1; } upstream no { server unix:@/none; retry 0; }"
	    "server { listen 80; protocol tcp; route when src == 192.0.2.8 { proxy no; } route { proxy app; } }");

	int at = road_listener(&road, "a");
	struct end e = road_client(&road), lost = road_client_of(&road, 1, "192.0.2.8:1", SOCK_STREAM, 0);

	end_say(&e, "early");
	road_turn(&road);

	struct end peer = road_accept(at);

	end_expect(&peer, "early");
	end_say(&peer, "answer");
	road_turn(&road);
	end_expect(&e, "answer");
	end_expect(&lost, "");
	assert_true(lost.ended);
	assert_int_equal(road_reason(&road, REASON_PEER_REFUSED), 1);
	end_close(&peer);
	end_close(&lost);
	road_turn(&road);
	end_expect(&e, "");
	assert_true(e.ended);
	end_close(&e);
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road.engine.exchange_count, 0);
	road_close(&road);
}

/* A talk goes on to its own end when the worker leaves. */
static void
drained(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; protocol tcp; proxy app; }"
	    "server { listen 81; protocol tcp; echo; }");

	int at = road_listener(&road, "a");
	struct end e = road_client(&road), f = road_client_of(&road, 2, "192.0.2.8:1", SOCK_STREAM, 0);

	road_turn(&road);

	struct end peer = road_accept(at);

	engine_drain(&road.engine);
	end_say(&e, "still");
	end_say(&f, "here");
	road_turn(&road);
	end_expect(&peer, "still");
	end_expect(&f, "here");
	end_close(&e);
	end_close(&f);
	end_close(&peer);
	road_turn(&road);
	assert_true(engine_is_idle(&road.engine));
	road_close(&road);
}

static void
closed_in_the_middle(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; protocol tcp; proxy app; }");

	int at = road_listener(&road, "a");
	struct end e = road_client(&road);

	end_stuff(&e, 1024 * 1024);
	road_turn(&road);

	struct end peer = road_accept(at);

	road.descriptors += 2;          /* ours */
	road_close(&road);
	end_read(&e);
	assert_true(e.ended || e.error == ECONNRESET);
	end_read(&peer);
	assert_true(peer.ended || peer.error == ECONNRESET);
	end_close(&e);
	end_close(&peer);
}

/* ------------------------------------------------------------------ the PROXY header */

static const char v1[] = "PROXY TCP4 203.0.113.5 198.51.100.6 1234 80\r\n";
static const char v2[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x05\xc6\x33\x64\x06\x04\xd2\0\x50";
static const char unknown[] = "PROXY UNKNOWN\r\n";

static void
line_cut(const char *line, size_t n, const char *src)
{
	static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	char all[256];
	size_t whole = n + sizeof(get) - 1;

	memcpy(all, line, n);
	memcpy(all + n, get, sizeof(get) - 1);
	for (size_t cut = 1; cut <= whole; cut++) {
		struct end e = road_client(&road);

		end_put(&e, all, cut);
		road_turn(&road);
		end_put(&e, all + cut, whole - cut);
		road_turn(&road);
		end_read(&e);
		assert_true(end_has(&e, src));
		end_close(&e);
		road_turn(&road);
		assert_int_equal(road.engine.conn_count, 0);
	}
}

static void
lines(void **state)
{
	road_open(&road, "server { listen 80 proxy_protocol; return 200 \"from ${src} to ${dst}\"; }");
	line_cut(v1, sizeof(v1) - 1, "\r\n\r\nfrom 203.0.113.5 to 198.51.100.6");
	line_cut(v2, sizeof(v2) - 1, "\r\n\r\nfrom 203.0.113.5 to 198.51.100.6");
	line_cut(unknown, sizeof(unknown) - 1, "\r\n\r\nfrom 192.0.2.7 to ");
	road_close(&road);
}

static void
no_line(void **state)
{
	static const char *const wrong[] = {
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 203.0.113.5 198.51.100.6 1234\r\n", "PROXY TCP4 203.0.113.5 198.51.100.6 1234 80\n",
		"\r\n\r\n",
	};
	road_open(&road, "server { listen 80 proxy_protocol; timeout { header 5s; } return 200 \"x\"; }");

	for (size_t i = 0; i < 3; i++) {
		struct end e = road_client(&road);

		end_say(&e, wrong[i]);
		road_turn(&road);
		end_read(&e);
		assert_int_equal(e.n, 0);
		assert_true(e.ended || e.error == ECONNRESET);
		end_close(&e);
	}
	assert_int_equal(road_reason(&road, REASON_BAD_PROXY_LINE), 3);

	struct end probe = road_client(&road), half = road_client(&road), late = road_client(&road), cut = road_client(&road);

	end_close(&probe);              /* ends before its first byte: nobody's fault */
	end_say(&half, wrong[3]);
	end_say(&cut, "PROXY TC");
	road_turn(&road);
	assert_int_equal(road_reason(&road, REASON_BAD_PROXY_LINE), 3);
	end_close(&cut);
	road_turn(&road);
	assert_int_equal(road_reason(&road, REASON_BAD_PROXY_LINE), 4);
	road_wait(&road, 5300);
	end_expect(&late, "");
	assert_true(late.ended);
	end_read(&half);
	assert_true(half.ended || half.error == ECONNRESET);
	assert_int_equal(road_reason(&road, REASON_BAD_PROXY_LINE), 6);
	assert_int_equal(road.engine.conn_count, 0);
	end_close(&late);
	end_close(&half);
	road_close(&road);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(echoes), cmocka_unit_test(silent), cmocka_unit_test(joins_a_peer),
		cmocka_unit_test(drained), cmocka_unit_test(closed_in_the_middle),
		cmocka_unit_test(lines), cmocka_unit_test(no_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
