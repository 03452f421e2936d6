/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/exchange: the order of steps on both ways, holding and resuming, failing, error
 * steps, what is told to the steps at the end. The steps are the test's own; they write down what
 * happens to them.
 */
#include "road_case.h"

#define GET "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"

static struct road road;
static char told[1024];                 /* words, each with a space behind it */
static struct exchange *held;           /* by step_holds */

struct note {
	const char *name;
	const char *adds;               /* a field of the answer */
};

static void
tell(const struct step *step, const char *what)
{
	const struct note *note = step->settings;
	size_t n = strlen(told);

	snprintf(told + n, sizeof(told) - n, "%s%s ", note->name, what);
}

static enum verdict
pass_question(struct exchange *ex, const struct step *step)
{
	int *state = exchange_state(ex, step);

	assert_int_equal(*state, 0);
	*state = 1;
	tell(step, "?");
	return STEP_PASS;
}

static void
pass_answer(struct exchange *ex, const struct step *step, struct part *part)
{
	const struct note *note = step->settings;

	if (part->kind == PART_HEAD) {
		tell(step, "!");
		if (note->adds != NULL)
			message_add(&ex->answer, &ex->arena, SLICE("X"), slice_of(note->adds));
	} else {
		tell(step, part->last ? "." : ",");
	}
}

static void
pass_end(struct exchange *ex, const struct step *step)
{
	int *state = exchange_state(ex, step);

	assert_int_equal(*state, 1);
	tell(step, "/");
}

static enum verdict
hold_question(struct exchange *ex, const struct step *step)
{
	tell(step, "?");
	held = ex;
	return STEP_HOLD;
}

static enum verdict
take_question(struct exchange *ex, const struct step *step)
{
	tell(step, "?");
	exchange_return(ex, 200, SLICE("text/plain"), SLICE("body"));
	return STEP_TAKE;
}

/* Takes, and answers when all of the body was there. */
static enum verdict
wait_question(struct exchange *ex, const struct step *step)
{
	tell(step, "?");
	return STEP_TAKE;
}

static void
wait_data(struct exchange *ex, const struct step *step, const struct part *part)
{
	tell(step, part->last ? "." : ",");
	if (part->last)
		exchange_return(ex, 200, SLICE("text/plain"), SLICE("done"));
}

/* An answer in parts, the last of which is empty. */
static enum verdict
parts_question(struct exchange *ex, const struct step *step)
{
	tell(step, "?");
	ex->answer.status = 201;
	ex->answer.body = BODY_CHUNKED;
	exchange_return_head(ex, false);
	exchange_return_data(ex, SLICE("ab"), false);
	exchange_return_data(ex, SLICE("cd"), false);
	exchange_return_data(ex, SLICE_EMPTY, true);
	exchange_return_data(ex, SLICE("never"), true);
	return STEP_TAKE;
}

static enum verdict
abort_question(struct exchange *ex, const struct step *step)
{
	tell(step, "?");
	exchange_abort(ex, REASON_DENIED);
	exchange_abort(ex, REASON_INTERNAL);
	return STEP_TAKE;
}

/* Its head is out when it fails. */
static enum verdict
cut_question(struct exchange *ex, const struct step *step)
{
	tell(step, "?");
	ex->answer.status = 200;
	ex->answer.body = BODY_LENGTH;
	ex->answer.length = 100;
	exchange_return_head(ex, false);
	exchange_return_data(ex, SLICE("some"), false);
	exchange_abort(ex, REASON_PEER_CLOSED);
	return STEP_TAKE;
}

static enum verdict
give_up_question(struct exchange *ex, const struct step *step)
{
	ex->gave_up = true;
	return STEP_PASS;
}

#define OPS(word, ...) { .name = word, .state_size = sizeof(int), .end = pass_end, .answer = pass_answer, __VA_ARGS__ }

static const struct handler_ops pass_ops = OPS("pass", .question = pass_question);
static const struct handler_ops quiet_ops = { .name = "quiet", .answer = pass_answer, .moment = MOMENT_ANSWER };
static const struct handler_ops hold_ops = { .name = "hold", .question = hold_question };
static const struct handler_ops take_ops = { .name = "take", .question = take_question, .answer = pass_answer };
static const struct handler_ops wait_ops = { .name = "wait", .question = wait_question, .data = wait_data };
static const struct handler_ops parts_ops = { .name = "parts", .question = parts_question };
static const struct handler_ops abort_ops = { .name = "abort", .question = abort_question };
static const struct handler_ops cut_ops = { .name = "cut", .question = cut_question };
static const struct handler_ops give_up_ops = { .name = "give_up", .question = give_up_question };

static struct note notes[] = { { "a", "1" }, { "b", "2" }, { "c", "3" }, { "d", NULL } };
static struct step items[4];

/* The only route has these steps. */
static void
set_steps(size_t count, const struct handler_ops *const *ops)
{
	struct route *route = (struct route *)(uintptr_t)&road.snapshot->servers[0].routes[0];

	for (size_t i = 0; i < count; i++)
		items[i] = (struct step){ .ops = ops[i], .settings = &notes[i], .state_at = (uint32_t)(i * 8), .answer_bit = (uint8_t)i };
	route->steps = (struct steps){ .items = items, .count = (uint16_t)count, .answers = (uint16_t)count, .state_size = 32 };
}

#define STEPS(...) set_steps(ARRAY_COUNT(((const struct handler_ops *[]){ __VA_ARGS__ })), (const struct handler_ops *[]){ __VA_ARGS__ })

static void
expect_told(const char *wanted)
{
	assert_string_equal(told, wanted);
	told[0] = '\0';
}

static void
open_road(const char *text)
{
	told[0] = '\0';
	held = NULL;
	road_open(&road, text);
}

static int
set_up(void **state)
{
	open_road("server { listen 80; return 200; error 403 { return 418 \"instead\"; } }");
	return 0;
}

static int
tear_down(void **state)
{
	road_close(&road);
	return 0;
}

/* ------------------------------------------------------------------ */

/* Down 1…n, up n…1: who answers does not see it, nor who comes behind. */
static void
order(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &pass_ops, &take_ops, &pass_ops);
	end_say(&e, GET);
	road_turn(&road);
	expect_told("a? b? c? b! a! b. a. a/ b/ ");
	end_expect(&e, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Type: text/plain\r\nX: 2\r\nX: 1\r\nContent-Length: 4\r\n\r\nbody");
	assert_int_equal(road.engine.exchange_count, 0);
	assert_int_equal(road.engine.shared->exchanges, 1);
	end_close(&e);
}

/* A step of the answer only is on the way, too; its condition is asked when the answer is there. */
static void
answer_only(void **state)
{
	struct end e = road_client(&road);

	STEPS(&quiet_ops, &take_ops);
	end_say(&e, GET);
	road_turn(&road);
	expect_told("b? a! a. ");
	end_close(&e);
}

static void
holds(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &hold_ops, &take_ops);
	end_say(&e, GET GET);
	road_turn(&road);
	expect_told("a? b? ");
	end_expect(&e, "");
	assert_true((e.conn->hold & HOLD_STEP) != 0);

	struct exchange *ex = held;

	exchange_resume(ex);
	exchange_resume(ex);            /* it is not held any more */
	road_turn(&road);
	/* and the next question came, and is held in its turn */
	expect_told("c? a! a. a/ a? b? ");
	end_expect_start(&e, "HTTP/1.1 200 OK\r\n");
	exchange_resume(held);
	road_turn(&road);
	expect_told("c? a! a. a/ ");
	end_close(&e);
}

/* The client goes while a step holds: its state is given back, nothing runs any more. */
static void
gone_while_held(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &hold_ops, &take_ops);
	end_say(&e, POST "abc");
	road_turn(&road);
	expect_told("a? b? ");
	exchange_client_failed(held, REASON_CLIENT_GONE);
	conn_close(e.conn);
	road_turn(&road);
	expect_told("a/ ");
	assert_int_equal(road.engine.exchange_count, 0);
	end_close(&e);
}

/* Body to the taker, in order, whole. */
static void
body(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &wait_ops);
	end_say(&e, POST "ab");
	road_turn(&road);
	expect_told("a? b? b, ");
	end_say(&e, "cd");
	road_turn(&road);
	end_say(&e, "ef");
	road_turn(&road);
	expect_told("b, b. a! a. a/ ");
	end_read(&e);
	assert_true(end_has(&e, "\r\n\r\ndone"));
	end_close(&e);
}

/* The body waits while a step holds, and comes when the next has taken it. */
static void
body_behind_a_hold(void **state)
{
	struct end e = road_client(&road);

	STEPS(&hold_ops, &wait_ops);
	end_say(&e, POST "abcdef");
	road_turn(&road);
	expect_told("a? ");
	exchange_resume(held);
	road_turn(&road);
	expect_told("b? b. ");
	end_read(&e);
	assert_true(end_has(&e, "\r\n\r\ndone"));
	end_close(&e);
}

static void
parts(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &parts_ops);
	end_say(&e, GET);
	road_turn(&road);
	expect_told("a? b? a! a, a, a. a/ ");
	end_expect(&e, "HTTP/1.1 201 Created\r\nDate: " ROAD_DATE "\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
	end_close(&e);
}

/* Error steps in place of the failure, once; the state of the steps before them was given back first. */
static void
fails(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &abort_ops, &take_ops);
	end_say(&e, GET);
	road_turn(&road);
	expect_told("a? b? a/ ");
	end_expect(&e, "HTTP/1.1 418 I'm a teapot\r\nDate: " ROAD_DATE "\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\ninstead");
	assert_int_equal(road_reason(&road, REASON_DENIED), 1);
	assert_int_equal(road_reason(&road, REASON_INTERNAL), 0);
	end_close(&e);
}

static void
is_cut(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &cut_ops);
	end_say(&e, GET GET);
	road_turn(&road);
	expect_told("a? b? a! a, a/ ");
	end_expect(&e, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nX: 1\r\nContent-Length: 100\r\n\r\nsome");
	assert_true(e.ended);
	end_close(&e);
}

/* Nobody takes it. */
static void
no_taker(void **state)
{
	struct end e = road_client(&road);

	STEPS(&pass_ops, &pass_ops);
	end_say(&e, GET);
	road_turn(&road);
	/* both passed it, both see the answer to it */
	expect_told("a? b? b! a! b. a. a/ b/ ");
	end_expect_start(&e, "HTTP/1.1 404 Not Found\r\n");
	assert_int_equal(road_reason(&road, REASON_NO_ROUTE), 1);
	end_close(&e);
}

static void
gives_up(void **state)
{
	struct end e = road_client(&road);

	STEPS(&give_up_ops, &take_ops);
	end_say(&e, GET);
	road_turn(&road);
	expect_told("");
	end_expect_start(&e, "HTTP/1.1 500 Internal Server Error\r\n");
	end_close(&e);
}

/* ------------------------------------------------------------------ which server, which route */

static void
chosen(void **state)
{
	open_road("server one { listen 80; server_name one.a; return 200 \"one\"; }"
	    "server two { listen 80; server_name *.a; route /x { return 200 \"two\"; } }");

	struct end e = road_client(&road);

	end_say(&e, "GET / HTTP/1.1\r\nHost: ONE.a.:8080\r\n\r\n");
	road_turn(&road);
	end_read(&e);
	assert_true(end_has(&e, "\r\n\r\none"));
	end_forget(&e);
	end_say(&e, "GET /x/y HTTP/1.1\r\nHost: b.a\r\n\r\n");
	road_turn(&road);
	end_read(&e);
	assert_true(end_has(&e, "\r\n\r\ntwo"));
	end_forget(&e);
	end_say(&e, "GET / HTTP/1.1\r\nHost: b.a\r\n\r\n");
	road_turn(&road);
	end_expect_start(&e, "HTTP/1.1 404 ");
	end_say(&e, "GET / HTTP/1.1\r\nHost: b\r\n\r\n");
	road_turn(&road);
	end_expect_start(&e, "HTTP/1.1 421 Misdirected Request\r\n");
	end_say(&e, "GET / HTTP/1.1\r\nHost: one.a\r\n\r\n");
	road_turn(&road);
	end_expect_start(&e, "HTTP/1.1 200 OK\r\n");
	assert_int_equal(road_reason(&road, REASON_MISDIRECTED), 1);
	end_close(&e);
	road_close(&road);
}

/* A running question keeps its snapshot, the next one on the connection has the new one. */
static void
keeps_its_snapshot(void **state)
{
	open_road("upstream app { server unix:@/a; } server old { listen 80; response_header set X old; proxy app; }");

	int at = road_listener(&road, "a");
	struct end e = road_client(&road);

	end_say(&e, GET);
	road_turn(&road);
	engine_adopt(&road.engine, road_build(&road, "server new { listen 80; return 200 \"new\"; }"));
	road_turn(&road);

	struct end peer = road_accept(at);

	end_say(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	road_turn(&road);
	end_read(&e);
	assert_true(end_has(&e, "\r\nX: old\r\n"));
	end_forget(&e);
	/* no one pools it any more */
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	end_say(&e, GET);
	road_turn(&road);
	end_read(&e);
	assert_true(end_has(&e, "\r\n\r\nnew"));
	end_forget(&e);
	/* the same address, spoken to otherwise: it is told that it is over */
	engine_adopt(&road.engine, road_build(&road, "server other { listen 80 proxy_protocol; return 200 \"new\"; }"));
	end_say(&e, GET);
	road_turn(&road);
	end_read(&e);
	assert_true(e.ended);
	end_close(&e);
	end_close(&peer);
	road_close(&road);
}

/* ------------------------------------------------------------------ memory */

/* What a question brought may be asked for in later passes, when the bytes it came in are long gone. */
static void
outlives_the_pass(void **state)
{
	open_road("server { listen 80; return 200 \"${header.x} ${path} ${host}\"; }");

	struct route *route = (struct route *)(uintptr_t)&road.snapshot->servers[0].routes[0];
	struct step both[2] = { { .ops = &hold_ops, .settings = &notes[0] }, route->steps.items[0] };
	struct end e = road_client(&road), noise = road_client(&road);

	route->steps.items = both;
	route->steps.count = 2;
	end_say(&e, "GET /path%20x HTTP/1.1\r\nHost: HOST\r\nX: value\r\n\r\n");
	road_turn(&road);

	struct exchange *ex = held;

	for (int i = 0; i < 20; i++) {
		end_say(&noise, "GET /zzzzzzzzzz HTTP/1.1\r\nHost: zzzz\r\nX: zzzzz\r\n\r\n");
		road_turn(&road);
		exchange_resume(held);
		road_turn(&road);
	}
	exchange_resume(ex);
	road_turn(&road);
	end_read(&e);
	assert_true(end_has(&e, "\r\n\r\nvalue /path x host"));
	end_close(&e);
	end_close(&noise);
	road_close(&road);
}

/* Many at once, each of another size: all of it is given back, and used again. */
static void
many(void **state)
{
	enum { MANY = 200 };
	struct end ends[MANY];
	char question[8192];

	STEPS(&pass_ops, &wait_ops);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++) {
			ends[i] = road_client(&road);
			snprintf(question, sizeof(question), "POST /%0*d HTTP/1.1\r\nHost: a\r\nX: %0*d\r\nContent-Length: 2\r\n\r\n1", i * 10 + 1, i, i * 8 + 1, i);
			end_say(&ends[i], question);
			if (i % 10 == 0)
				road_turn(&road);
			told[0] = '\0';
		}
		road_turn(&road);
		told[0] = '\0';
		assert_int_equal(road.engine.exchange_count, MANY);
		for (int i = 0; i < MANY; i += 2) {
			end_say(&ends[i], "2");
			end_say(&ends[i], "GE");
			road_turn(&road);
			told[0] = '\0';
			end_expect_start(&ends[i], "HTTP/1.1 200 OK\r\n");
		}
		for (int i = 0; i < MANY; i++)
			end_close(&ends[i]);
		road_turn(&road);
		told[0] = '\0';
		assert_int_equal(road.engine.exchange_count, 0);
		assert_int_equal(road.engine.conn_count, 0);
	}
}

/* ------------------------------------------------------------------ how fast a body comes */

#define SLOW_ANSWER "HTTP/1.1 408 Request Timeout\r\n"

/* A byte now and then is no silence, and yet it ends; who hurries does not. */
static void
body_too_slow(void **state)
{
	open_road("server { listen 80; timeout { body 30s; } min { body 240/s; after 5s; } echo; }");

	struct end drips = road_client(&road), fine = road_client(&road);
	char piece[300] = "";
	int seconds = 0;

	memset(piece, 'x', sizeof(piece) - 1);
	end_say(&drips, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
	end_say(&fine, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
	road_turn(&road);
	/* how long the first byte takes is the timeout's affair */
	road_wait(&road, 20000);
	end_expect(&drips, "");
	for (; !drips.ended && seconds < 60; seconds++) {
		end_say(&drips, "x");
		end_say(&fine, piece);
		road_turn(&road);
		end_forget(&drips);
		end_read(&drips);
		road_wait(&road, 1000);
	}
	assert_in_range(seconds, 5, 7);
	assert_int_equal(road_reason(&road, REASON_BODY_TOO_SLOW), 1);
	for (; seconds < 130; seconds++) {
		end_say(&fine, piece);
		road_wait(&road, 1000);
		assert_true(fine.conn->exchange != NULL);
	}
	/* the fast minutes are no credit */
	for (seconds = 0; fine.conn->exchange != NULL && seconds < 200; seconds++) {
		end_say(&fine, "x");
		road_wait(&road, 1000);
		end_read(&fine);
		if (fine.ended)
			break;
	}
	assert_in_range(seconds, 1, 66);
	assert_int_equal(road_reason(&road, REASON_BODY_TOO_SLOW), 2);
	end_close(&drips);
	end_close(&fine);
	road_close(&road);
}

/* Nothing of its answer is out: it is said what is wrong, once, and the peer hears no more. */
static void
body_too_slow_for_a_peer(void **state)
{
	open_road("upstream app { server unix:@/a; } server { listen 80; min { body 1k/s; after 2s; } proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	end_say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
	road_turn(&road);

	struct end peer = road_accept(at);

	for (int i = 0; i < 2; i++) {
		end_expect(&client, "");
		road_wait(&road, 1000);
		end_say(&client, "1\r\nx\r\n");
		road_turn(&road);
	}
	end_expect_start(&client, SLOW_ANSWER);
	assert_true(client.ended);
	end_read(&peer);
	assert_true(peer.ended || peer.error != 0);
	assert_false(end_has(&peer, "0\r\n\r\n"));
	end_close(&peer);
	end_close(&client);
	road_wait(&road, 3000);
	assert_int_equal(road.engine.conn_count, 0);
	road_close(&road);
}

/* The peer does not read, so the client cannot send: that time is not the client's. */
static void
body_that_we_hold(void **state)
{
	static char stuff[65536];
	int small = 8192;
	size_t given = 0;

	open_road("upstream app { server unix:@/a; timeout { write 10m; } } server { listen 80; max { body 0; } "
	    "min { body 100k/s; after 5s; } timeout { body 600s; } proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	end_say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nx");
	road_turn(&road);

	struct end peer = road_accept(at);

	setsockopt(road_peer_conn(&road)->wire.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (size_t n = 1; n != 0;) {
		n = end_stuff(&client, sizeof(stuff));
		given += n;
		road_turn(&road);
	}
	assert_true((client.conn->hold & HOLD_OUTPUT) != 0);
	for (int i = 0; i < 60; i++)
		road_wait(&road, 1000);
	assert_true(given < 60 * 100 * 1024);
	for (int i = 0; i < 20; i++) {
		end_stuff(&client, 200000);
		road_turn(&road);
		end_read(&peer);
		end_forget(&peer);
		road_turn(&road);
		road_wait(&road, 100);
	}
	assert_int_equal(road_reason(&road, REASON_BODY_TOO_SLOW), 0);
	assert_int_equal(road.engine.conn_count, 2);
	/* but from here on it is */
	for (int i = 0; i < 70; i++) {
		road_wait(&road, 1000);
		send(client.fd, "x", 1, MSG_NOSIGNAL);
		road_turn(&road);
		end_read(&peer);
		end_forget(&peer);
	}
	assert_int_equal(road_reason(&road, REASON_BODY_TOO_SLOW), 1);
	end_close(&peer);
	end_close(&client);
	road_wait(&road, 3000);
	road_close(&road);
}

/* The end of the process in the middle of it. */
static void
closed_in_the_middle(void **state)
{
	struct end e = road_client(&road), f = road_client(&road);

	STEPS(&pass_ops, &wait_ops);
	end_say(&e, POST "abc");
	end_say(&f, "GET / HT");
	road_turn(&road);
	told[0] = '\0';
	road.descriptors += 2;          /* ours */
	road_close(&road);
	expect_told("a/ ");
	end_read(&e);
	assert_true(e.ended);
	end_close(&e);
	end_close(&f);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(order), TEST(answer_only), TEST(holds), TEST(gone_while_held), TEST(body), TEST(body_behind_a_hold),
		TEST(parts), TEST(fails), TEST(is_cut), TEST(no_taker), TEST(gives_up), TEST(many),
		cmocka_unit_test(chosen), cmocka_unit_test(keeps_its_snapshot), cmocka_unit_test(outlives_the_pass),
		cmocka_unit_test(body_too_slow), cmocka_unit_test(body_too_slow_for_a_peer),
		cmocka_unit_test(body_that_we_hold),
		cmocka_unit_test_setup(closed_in_the_middle, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
