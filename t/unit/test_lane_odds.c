/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/lane.c and lane_peer.c where it matters who is told what, and when: protocols that meet on one
 * connection, questions without an answer, connections that end with something in hand, reloads.
 */
#include "road_case.h"

#define LINE \
	"protocol line { boundary \"\\n\"; max 64; format words; answers in_order; " \
	"messages independent; error \"error ${code} ${reason}\"; idempotent when msg[0] == \"get\"; }\n"
#define OWN \
	"protocol own { boundary \"\\n\"; max 64; format words; answers in_order; " \
	"error \"error ${code} ${reason}\"; }\n"
#define PAIR \
	"protocol pair { boundary \"\\n\"; max 256; format json; answers by id; " \
	"messages independent; error '{\"code\":${code}}'; idempotent when msg.m == \"get\"; }\n"
#define SAY "protocol say { boundary \"\\n\"; max 64; format words; messages independent; }\n"

static struct road road;
static int back, other;

static const char *
configuration(struct arena *a, const char *protocols, const char *upstream, const char *servers)
{
	return arena_printf(a, "%s"
	    "upstream one { server unix:@/back; %s }\n"
	    "upstream two { server unix:@/back max_fails=0; server unix:@/other max_fails=0; retry 1; %s }\n"
	    "%s\n", protocols, upstream, upstream, servers);
}

static void
open_with(const char *protocols, const char *upstream, const char *servers)
{
	struct arena a;

	arena_init(&a, NULL, 0);
	road_open_empty(&road);
	back = road_listener(&road, "back");
	other = road_listener(&road, "other");
	road.snapshot = road_build(&road, configuration(&a, protocols, upstream, servers));
	engine_adopt(&road.engine, road.snapshot);
	arena_reset(&a);
}

static int
close_it(void **state)
{
	road_close(&road);
	return 0;
}

static struct end
accepted(int listener)
{
	struct end e = road_accept(listener);

	assert_true(e.fd >= 0);
	return e;
}

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

#define TEST(test) cmocka_unit_test_teardown(test, close_it)

/* The name of one runs it alone. */
int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_unwritable),
		TEST(test_answer_of_one_way),
		TEST(test_one_way_to_http),
		TEST(test_http_says),
		TEST(test_said_and_gone),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
