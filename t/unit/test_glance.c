/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/glance: what the signal writes down of the call that it interrupts, and that whatever it finds ends
 * nothing. The steps are the test's own, and raise it.
 */
#include "road_case.h"

#include "core/glance.h"
#include "core/module_call.h"

static struct road road;
static char tale[TALE_MOST];

static void
look(void)
{
	struct worker_shared *mine = road.engine.shared;

	mine->asked++;
	errno = ENOTTY;
	raise(GLANCE_SIGNAL);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(mine->told, mine->asked);
	memcpy(tale, mine->tale, sizeof(tale));
}

static enum verdict
question(struct exchange *ex, const struct step *step)
{
	look();
	return STEP_PASS;
}

static void
answer(struct exchange *ex, const struct step *step, struct part *part)
{
	if (part->kind == PART_HEAD)
		look();
}

static enum verdict
module_question(struct exchange *ex, const struct step *step)
{
	module_enter("question", "mine");
	look();
	module_leave();
	return STEP_PASS;
}

/* As if it were interrupted in the middle of a store, wherever. */
static enum verdict
torn_question(struct exchange *ex, const struct step *step)
{
	unsigned char whole[offsetof(struct exchange, settle)]; /* behind it lies what is hidden */

	memcpy(whole, ex, sizeof(whole));
	ex->server_name = slice_make((const char *)16, SIZE_MAX);
	ex->peer_text = slice_make((const char *)16, 1);
	ex->route = (const struct route *)(uintptr_t)0xdead0000;
	ex->steps = (const struct steps *)(uintptr_t)32;
	ex->question.target.at = UINT32_MAX;
	ex->question.target.n = UINT32_MAX;
	ex->client = (struct conn *)(uintptr_t)16;
	ex->src = NULL;
	look();
	memcpy(ex, whole, sizeof(whole));
	return STEP_PASS;
}

static enum verdict
condition_question(struct exchange *ex, const struct step *step)
{
	ex->taker = -1;
	look();
	return STEP_PASS;
}

static enum verdict
take(struct exchange *ex, const struct step *step)
{
	exchange_return(ex, 204, SLICE_EMPTY, SLICE_EMPTY);
	return STEP_TAKE;
}

static const struct handler_ops looks = { .name = "looks", .question = question };
static const struct handler_ops looks_back = { .name = "looks_back", .answer = answer };
static const struct handler_ops module_looks = { .name = "mine", .question = module_question };
static const struct handler_ops torn = { .name = "torn", .question = torn_question };
/* Of an answer: its condition is not asked yet, and may be any. */
static const struct handler_ops asks = { .name = "asks", .moment = MOMENT_ANSWER, .question = condition_question };
static const struct handler_ops takes = { .name = "takes", .question = take };

/* The only route has that step, and one that answers. */
static void
run_step(const struct handler_ops *ops, const char *target)
{
	struct route *route = (struct route *)(uintptr_t)&road.snapshot->servers[0].routes[0];
	const struct condition *when = ops == &asks ? (const struct condition *)route : NULL;
	struct step items[2] = { { .ops = ops, .when = when }, { .ops = &takes, .answer_bit = 1 } };
	struct end e = road_client(&road);

	route->steps = (struct steps){ .items = items, .count = 2, .answers = 2, .state_size = 8 };
	end_say(&e, "GET ");
	end_say(&e, target);
	end_say(&e, " HTTP/1.1\r\nHost: a\r\n\r\n");
	tale[0] = '\0';
	road_turn(&road);
	end_expect_start(&e, "HTTP/1.1 204");
	end_close(&e);
	road_turn(&road);
	route->steps.count = 0;
}

static int
set_up(void **state)
{
	road_open(&road, "server web { listen 80; route /x { return 200; } }");
	assert_true(glance_open(&road.engine));
	return 0;
}

static int
tear_down(void **state)
{
	glance_close();
	raise(GLANCE_SIGNAL);
	road_close(&road);
	return 0;
}

#define WHERE "route /x, server web, http of client 192.0.2.7:4711, GET /x/y?z"

static void
in_a_step(void **state)
{
	run_step(&looks, "/x/y?z");
	assert_string_equal(tale, "step looks, " WHERE);
	run_step(&module_looks, "/x/y?z");
	assert_string_equal(tale, "in question() of mine, step mine, " WHERE);
}

static void
in_an_answer(void **state)
{
	run_step(&looks_back, "/x/y?z");
	assert_string_equal(tale, "answer of step takes, " WHERE);
}

static void
in_a_condition(void **state)
{
	run_step(&asks, "/x/y?z");
	assert_string_equal(tale, "condition of step asks, " WHERE);
}

static void
long_target(void **state)
{
	char target[1024] = "/x/";

	memset(target + 3, 'a', sizeof(target) - 4);
	target[sizeof(target) - 1] = '\0';
	run_step(&looks, target);
	assert_true(strlen(tale) < 300);
	assert_string_equal(tale + strlen(tale) - 6, "aaa...");
}

/* Nothing is said of an exchange that is over, or of a connection that is not read from. */
static void
in_nothing(void **state)
{
	run_step(&looks, "/x");
	assert_non_null(road.engine.entered);
	assert_non_null(road.engine.fed);
	look();
	assert_string_equal(tale, "");
}

static void
reading(void **state)
{
	struct end e = road_client(&road);

	road.engine.fed = e.conn;
	e.conn->in_read = true;
	look();
	assert_string_equal(tale, "reads http of client 192.0.2.7:4711, listener [::]:80");
	module_enter("input", "line");
	look();
	module_leave();
	assert_string_equal(tale, "in input() of line, reads http of client 192.0.2.7:4711, listener [::]:80");
	e.conn->in_read = false;
	end_close(&e);
	road_turn(&road);
}

static void
torn_anywhere(void **state)
{
	run_step(&torn, "/x");
	assert_true(slice_starts(slice_of(tale), SLICE("server ")));
	road.engine.entered = (const struct exchange *)(uintptr_t)16;
	road.engine.fed = (const struct conn *)(uintptr_t)16;
	look();
	assert_string_equal(tale, "");
	road.engine.entered = NULL;
	road.engine.fed = NULL;
	look();
	assert_string_equal(tale, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_a_step, set_up, tear_down),
		cmocka_unit_test_setup_teardown(in_an_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(in_a_condition, set_up, tear_down),
		cmocka_unit_test_setup_teardown(long_target, set_up, tear_down),
		cmocka_unit_test_setup_teardown(in_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reading, set_up, tear_down),
		cmocka_unit_test_setup_teardown(torn_anywhere, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
