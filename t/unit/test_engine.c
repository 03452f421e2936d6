/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/engine: accepting (also when there is no more room, or no more descriptors), bindings over
 * a swap of snapshots, logs, the drain, and that everything is given back.
 */
#include <sys/mman.h>
#include <sys/resource.h>

#include "road_case.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static struct road road;

static const char fixed[] = "server { listen 80; return 200 \"x\"; }";

/* A listening Unix socket of the engine's, of that binding. */
static struct addr
accept_on(uint16_t binding, const char *name)
{
	struct addr addr;
	char text[128];

	snprintf(text, sizeof(text), "unix:%s/%s", road.directory, name);
	assert_true(addr_parse(slice_of(text), &addr));
	assert_true(engine_accept(&road.engine, binding, dup(road_listener(&road, name))));
	return addr;
}

static struct end
connect_to(const struct addr *addr)
{
	bool pending;
	struct end e = end_of(socket_connect(addr, &pending));

	assert_true(e.fd >= 0);
	return e;
}

static void
expect_answer(struct end *e)
{
	end_forget(e);
	end_say(e, GET);
	road_turn(&road);
	end_expect_start(e, "HTTP/1.1 200 OK\r\n");
}

/* ------------------------------------------------------------------ */

static void
accepts(void **state)
{
	road_open(&road, fixed);

	struct addr a = accept_on(1, "a"), b = accept_on(1, "b");
	struct end ends[100];

	for (size_t i = 0; i < ARRAY_COUNT(ends); i++)
		ends[i] = i < 60 ? connect_to(&a) : connect_to(&b);
	road_turn(&road);
	for (int i = 0; i < 5; i++)
		road_turn(&road);
	assert_int_equal(road.engine.conn_count, 100);
	assert_int_equal(road.engine.shared->accepted, 100);
	assert_int_equal(road.engine.shared->connections, 100);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		expect_answer(&ends[i]);
		end_close(&ends[i]);
	}
	road_turn(&road);
	assert_int_equal(road.engine.shared->connections, 0);
	assert_int_equal(road.engine.shared->exchanges, 100);
	road_close(&road);
}

/* At 95 % of what is allowed accepting pauses, at 90 % it goes on. */
static void
pauses(void **state)
{
	road_open(&road, "connections 20; server { listen 80; return 200 \"x\"; }");

	struct addr a = accept_on(1, "a");
	struct end ends[40];

	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		ends[i] = connect_to(&a);
		road_turn(&road);
	}
	assert_true(road.engine.accept_paused);
	assert_int_equal(road.engine.conn_count, 19);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		expect_answer(&ends[i]);
		end_close(&ends[i]);
		road_turn(&road);
	}
	road_turn(&road);
	assert_false(road.engine.accept_paused);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road.engine.shared->accepted, 40);
	road_close(&road);
}

/* One is given up to refuse: the client is told, the listener does not spin. */
static void
out_of_descriptors(void **state)
{
	struct rlimit before, few;
	struct end ends[4];
	int top;

	road_open(&road, fixed);

	struct addr a = accept_on(1, "a");

	for (size_t i = 0; i < ARRAY_COUNT(ends); i++)
		ends[i] = connect_to(&a);
	top = dup(0);
	close(top);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)top;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 0; i < 10; i++)
		road_pass(&road);
	setrlimit(RLIMIT_NOFILE, &before);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		end_read(&ends[i]);
		assert_true(ends[i].ended);
		end_close(&ends[i]);
	}
	assert_int_equal(road_reason(&road, REASON_LIMIT), 4);
	assert_int_equal(road.engine.conn_count, 0);

	/* and it goes on */
	struct end e = connect_to(&a);

	road_turn(&road);
	expect_answer(&e);
	end_close(&e);
	road_close(&road);
}

/* A binding is a number; what listens behind it comes from the snapshot. */
static void
swaps(void **state)
{
	road_open(&road, "server { listen 80; return 200 \"old\"; } server { listen 81; return 200 \"x\"; }");

	struct addr a = accept_on(1, "a"), b = accept_on(2, "b");
	struct end e = connect_to(&a), f = connect_to(&b), idle = connect_to(&b);

	road_turn(&road);
	expect_answer(&e);
	expect_answer(&f);
	for (int i = 0; i < 3; i++) {
		engine_adopt(&road.engine, road_build(&road, "server { listen 80; return 200 \"new\"; }"));
		road_turn(&road);
	}
	end_say(&e, GET);
	road_turn(&road);
	end_read(&e);
	assert_true(end_has(&e, "\r\n\r\nnew"));
	/* its listener is gone: the next question finds no one */
	end_say(&f, GET);
	road_turn(&road);
	end_expect(&f, "");
	assert_true(f.ended);
	assert_null(road.engine.bindings[2].listener);

	/* who comes where nothing listens any more is let go */
	struct end late = connect_to(&b);

	road_turn(&road);
	end_read(&late);
	assert_true(late.ended);
	engine_unaccept(&road.engine, 2, -1);
	assert_null(road.engine.bindings[2].accepters);
	end_close(&e);
	end_close(&f);
	end_close(&idle);
	end_close(&late);
	road_close(&road);
}

/* Numbers need not be in a row, and one may have many sockets, each of which can be given away. */
static void
binds(void **state)
{
	road_open(&road, fixed);
	road.snapshot->bindings[0] = 700;

	struct snapshot *s = road_build(&road, fixed);

	s->bindings[0] = 700;
	engine_adopt(&road.engine, s);
	assert_int_equal(road.engine.binding_count, 701);
	assert_null(road.engine.bindings[699].listener);

	struct addr a = accept_on(700, "a"), b = accept_on(700, "b");
	struct end e;
	int fd = dup(road.listeners[0]);

	assert_true(engine_accept(&road.engine, 700, fd));
	engine_unaccept(&road.engine, 700, fd);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	e = connect_to(&b);
	road_turn(&road);
	expect_answer(&e);
	end_close(&e);
	e = connect_to(&a);
	road_turn(&road);
	expect_answer(&e);
	end_close(&e);
	road_close(&road);
}

/* ------------------------------------------------------------------ logs */

static void
logs(void **state)
{
	char text[4096];
	int fd, again;

	road_open_empty(&road);
	road.snapshot = road_build(&road, "server { listen 80; access_log /x combined;"
	    " route = /off { access_log off; return 200; } route = /x { return 200 \"x\"; } }");
	assert_int_equal(road.snapshot->log_count, 1);
	fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(fd >= 0);
	again = dup(fd);
	road.snapshot->log_sinks[0] = engine_sink(&road.engine, SLICE("/x"), fd);
	assert_int_equal(engine_sink(&road.engine, SLICE("/y"), open("/dev/null", O_WRONLY)), 1);
	engine_adopt(&road.engine, road.snapshot);

	struct end e = road_client(&road);

	end_say(&e, "GET /x?\"q HTTP/1.1\r\nHost: a\r\nUser-Agent: me\\\"\r\n\r\nGET /off HTTP/1.1\r\nHost: a\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\nbad\r\n\r\n");
	road_turn(&road);
	end_close(&e);
	road_wait(&road, 1300);

	ssize_t n = pread(again, text, sizeof(text) - 1, 0);

	assert_true(n > 0);
	text[n] = '\0';

	int lines = 0;

	for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_int_equal(lines, 3);
	assert_non_null(strstr(text, "192.0.2.7 - - ["));
	assert_non_null(strstr(text, "\" 200 "));
	assert_non_null(strstr(text, "\" 404 "));
	assert_non_null(strstr(text, "\" 400 "));
	assert_null(strstr(text, "/off"));
	close(again);
	road_close(&road);
}

/* ------------------------------------------------------------------ the end */

/* Whom the kernel has promised a connection is served; nobody new is. */
static void
drains(void **state)
{
	road_open(&road, fixed);

	struct addr a = accept_on(1, "a");
	struct end waiting = connect_to(&a), idle = connect_to(&a);

	end_say(&waiting, GET);
	engine_drain(&road.engine);
	road_turn(&road);
	end_read(&waiting);
	assert_true(end_has(&waiting, "HTTP/1.1 200 OK\r\n"));
	assert_true(end_has(&waiting, "Connection: close\r\n"));
	assert_true(waiting.ended);
	assert_null(road.engine.bindings[1].accepters);
	end_close(&waiting);
	assert_false(engine_is_idle(&road.engine));
	road_wait(&road, 1300);
	end_expect(&idle, "");
	assert_true(idle.ended);
	end_close(&idle);
	road_wait(&road, 2300);
	assert_true(engine_is_idle(&road.engine));
	road_close(&road);
}

/* Opened and closed with nothing, and with everything half-way. */
static void
closes(void **state)
{
	road_open_empty(&road);
	road_close(&road);

	road_open(&road, "upstream app { server unix:@/a; } upstream tcp { server unix:@/a; } server { listen 80; proxy app; }"
	    "server { listen 81; protocol tcp; proxy tcp; } server { listen 82; echo; }");

	int at = road_listener(&road, "a");
	struct end ends[6], peers[6];

	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		ends[i] = road_client_of(&road, (uint16_t)(i % 3 + 1), "192.0.2.7:1", SOCK_STREAM, i < 3 ? 8192 : 0);
		end_say(&ends[i], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n");
		end_stuff(&ends[i], 9999);
		road_turn(&road);
		peers[i] = road_accept(at);
		if (peers[i].fd >= 0 && i % 3 == 1)
			end_stuff(&peers[i], 1024 * 1024);
		if (peers[i].fd >= 0 && i == 0)
			end_say(&peers[i], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
	road_turn(&road);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++)
		road.descriptors += (size_t)(ends[i].fd >= 0) + (size_t)(peers[i].fd >= 0);
	road_close(&road);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		end_close(&ends[i]);
		end_close(&peers[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts), cmocka_unit_test(pauses), cmocka_unit_test(out_of_descriptors),
		cmocka_unit_test(swaps), cmocka_unit_test(binds), cmocka_unit_test(logs),
		cmocka_unit_test(drains), cmocka_unit_test(closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
