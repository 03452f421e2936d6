/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/engine and core/shortage: accepting (also when there is no more room, no descriptor, no
 * memory), bindings over a swap of snapshots, logs, the drain, and that everything is given back.
 */
#include <sys/mman.h>
#include <sys/resource.h>

#include "core/shortage.h"
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
	assert_int_equal(road.engine.accept_paused, PAUSE_CONNECTIONS);
	assert_int_equal(road.engine.conn_count, 19);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		expect_answer(&ends[i]);
		end_close(&ends[i]);
		road_turn(&road);
	}
	road_turn(&road);
	assert_int_equal(road.engine.accept_paused, 0);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road.engine.shared->accepted, 40);
	road_close(&road);
}

/* Not one more than is allowed, however many wait; a flood is 64 a pass, and who is here goes first. */
static void
counts_exactly(void **state)
{
	road_open(&road, "connections 100; server { listen 80; return 200 \"x\"; }");

	struct addr a = accept_on(1, "a");
	struct end first = connect_to(&a), ends[64], more[60];

	road_turn(&road);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++)
		ends[i] = connect_to(&a);
	end_say(&first, GET);
	road_pass(&road);
	end_expect_start(&first, "HTTP/1.1 200 OK\r\n");
	assert_in_range(road.engine.conn_count, 1, 65);
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 65);
	assert_int_equal(road.engine.accept_paused, 0);
	for (size_t i = 0; i < ARRAY_COUNT(more); i++)
		more[i] = connect_to(&a);
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 95);
	assert_int_equal(road.engine.accept_paused, PAUSE_CONNECTIONS);
	expect_answer(&ends[3]);
	for (size_t i = 0; i < 4; i++)
		end_close(&ends[i]);
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 91);
	end_close(&ends[4]);
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 95);
	for (size_t i = 5; i < ARRAY_COUNT(ends); i++)
		end_close(&ends[i]);
	for (size_t i = 0; i < ARRAY_COUNT(more); i++)
		end_close(&more[i]);
	end_close(&first);
	road_close(&road);
}

/* Who was silent for longest gives way: to clients that wait, and to a peer; nobody else does. */
static void
silent_ones_give_way(void **state)
{
	struct end clients[20], peer;

	road_open(&road, "connections 20; server { listen 80; route /p { proxy unix:@/a; } route { return 200 \"x\"; } }");

	int at = road_listener(&road, "a");
	struct addr a = accept_on(1, "b");

	for (size_t i = 0; i < 19; i++) {
		clients[i] = connect_to(&a);
		road_wait(&road, 100);
		if (i != 3)
			expect_answer(&clients[i]);
	}
	end_say(&clients[3], "GET / HTTP/1.1\r\nHo");      /* it is the oldest but two, and not silent */
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 19);
	clients[19] = connect_to(&a);
	road_turn(&road);
	expect_answer(&clients[19]);
	end_read(&clients[0]);
	end_read(&clients[18]);
	assert_true(clients[0].ended);
	assert_false(clients[18].ended);
	end_say(&clients[18], "GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
	end_say(&clients[17], "GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
	end_say(&clients[16], "GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	for (int i = 0; i < 3; i++) {
		peer = road_accept(at);
		assert_true(peer.fd >= 0);
		end_close(&peer);
	}
	assert_in_range(road.engine.conn_count, 10, 20);
	end_read(&clients[3]);
	assert_false(clients[3].ended);
	for (size_t i = 0; i < ARRAY_COUNT(clients); i++)
		end_close(&clients[i]);
	road_close(&road);
}

/* Peers count too: the idle ones go for a new one, and when none is left the question is refused. */
static void
counts_peers(void **state)
{
	struct end peers[4], clients[8];

	road_open(&road, "connections 16; upstream a { server unix:@/a; pool { idle 9; } }"
	    "upstream b { server unix:@/b; } server { listen 80; route /a { proxy a; } route { proxy b; } }");

	int a = road_listener(&road, "a"), b = road_listener(&road, "b");

	for (size_t i = 0; i < 3; i++) {
		clients[i] = road_client(&road);
		end_say(&clients[i], "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
	}
	road_turn(&road);
	for (size_t i = 0; i < 3; i++) {
		peers[i] = road_accept(a);
		end_say(&peers[i], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
	road_turn(&road);
	assert_int_equal(road_count(&road, SIDE_PEER), 3);
	for (size_t i = 3; i < 8; i++)
		clients[i] = road_client(&road);
	for (size_t i = 0; i < 8; i++) {        /* five find room, three that of the pool of a */
		end_say(&clients[i], GET);
		road_turn(&road);
		assert_in_range(road.engine.conn_count, 12, 16);
	}
	assert_int_equal(road_count(&road, SIDE_PEER), 8);
	assert_int_equal(road.engine.conn_count, 16);
	assert_int_equal(road_reason(&road, REASON_LIMIT), 0);

	struct end late = road_client(&road);   /* the test opens it: nothing asks for room */

	end_say(&late, GET);
	road_turn(&road);
	end_expect_start(&late, "HTTP/1.1 503 Service Unavailable\r\n");
	assert_int_equal(road_reason(&road, REASON_LIMIT), 1);
	assert_int_equal(road.snapshot->upstream_runs[1].states[0].shared->failed, 0);
	assert_true(road_accept(b).fd >= 0);
	road.descriptors++;                     /* ours */
	for (size_t i = 0; i < 3; i++)
		end_close(&peers[i]);
	for (size_t i = 0; i < 8; i++)
		end_close(&clients[i]);
	end_close(&late);
	road_close(&road);
}

/* No descriptor more than there are: how many are open is left to those who are. */
static struct rlimit
run_out(void)
{
	struct rlimit before, few;
	int top = dup(0);

	close(top);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)top;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	return before;
}

/* One is given up to refuse: the client is told, the listener does not spin. */
static void
out_of_descriptors(void **state)
{
	struct rlimit before;
	struct end ends[60];

	road_open(&road, fixed);

	struct addr a = accept_on(1, "a");

	for (size_t i = 0; i < ARRAY_COUNT(ends); i++)
		ends[i] = connect_to(&a);
	before = run_out();
	road_pass(&road);
	setrlimit(RLIMIT_NOFILE, &before);
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		end_read(&ends[i]);
		assert_true(ends[i].ended);
		end_close(&ends[i]);
	}
	assert_int_equal(road_reason(&road, REASON_LIMIT), 60);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road.engine.accept_paused, 0);

	/* and it goes on */
	struct end e = connect_to(&a);

	road_turn(&road);
	expect_answer(&e);
	end_close(&e);
	road_close(&road);
}

/* Not even that one: nobody looks at the listener for a moment, and the spare one is taken again. */
static void
out_of_spare_descriptors(void **state)
{
	struct rlimit before;

	road_open(&road, fixed);

	struct addr a = accept_on(1, "a");
	struct end e = connect_to(&a), f = connect_to(&a);

	road_turn(&road);
	close(road.engine.spare_fd);
	road.engine.spare_fd = -1;

	struct end late = connect_to(&a);

	before = run_out();
	for (int i = 0; i < 5; i++)
		road_pass(&road);
	assert_int_equal(road.engine.accept_paused, PAUSE_DESCRIPTORS);
	expect_answer(&e);
	expect_answer(&f);
	road_wait(&road, 400);
	assert_int_equal(road.engine.accept_paused, PAUSE_DESCRIPTORS);
	setrlimit(RLIMIT_NOFILE, &before);
	road_wait(&road, 400);
	assert_int_equal(road.engine.accept_paused, 0);
	assert_true(road.engine.spare_fd >= 0);
	expect_answer(&late);
	end_close(&e);
	end_close(&f);
	end_close(&late);
	road_close(&road);
}

/* A peer's connection that is kept for nobody makes room for a client, and for another peer. */
static void
gives_up_idle_peers(void **state)
{
	struct rlimit before;
	struct end client, peer;

	road_open(&road, "upstream a { server unix:@/a; } upstream b { server unix:@/b; }"
	    "server { listen 80; route /a { proxy a; } route /b { proxy b; } route { return 200 \"x\"; } }");

	int a = road_listener(&road, "a"), b = road_listener(&road, "b");
	struct addr here = accept_on(1, "c");

	client = road_client(&road);
	end_say(&client, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	peer = road_accept(a);
	end_say(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	road_turn(&road);
	end_expect_start(&client, "HTTP/1.1 200 OK\r\n");
	assert_int_equal(road_count(&road, SIDE_PEER), 1);
	before = run_out();
	end_say(&client, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	setrlimit(RLIMIT_NOFILE, &before);
	end_read(&peer);
	assert_true(peer.ended);
	end_close(&peer);
	peer = road_accept(b);
	assert_true(peer.fd >= 0);
	end_say(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	road_turn(&road);
	end_expect_start(&client, "HTTP/1.1 200 OK\r\n");
	assert_int_equal(road_count(&road, SIDE_PEER), 1);

	struct end late = connect_to(&here);

	before = run_out();
	road_turn(&road);
	setrlimit(RLIMIT_NOFILE, &before);
	expect_answer(&late);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	assert_int_equal(road_reason(&road, REASON_LIMIT), 0);

	/* with none left the question is refused, and that is not the peer's fault */
	before = run_out();
	end_say(&client, "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	setrlimit(RLIMIT_NOFILE, &before);
	end_expect_start(&client, "HTTP/1.1 503 Service Unavailable\r\n");
	assert_int_equal(road_reason(&road, REASON_LIMIT), 1);
	assert_int_equal(road.snapshot->upstream_runs[1].states[0].shared->failed, 0);
	end_close(&peer);
	end_close(&client);
	end_close(&late);
	road_close(&road);
}

/* ------------------------------------------------------------------ memory */

/* So many percent of the budget are in use. */
static void
use(size_t percent)
{
	static char *held;
	size_t budget = road.snapshot->memory_max, used;

	free(held);
	held = NULL;
	used = memory_in_use();
	if (percent != 0)
		held = memory_alloc(budget / 100 * percent - used);
	road_wait(&road, 100);
}

/* At 80 % of the budget kept connections end and what is new is refused, at 95 % nobody is accepted. */
static void
keeps_to_its_budget(void **state)
{
	char text[200];

	snprintf(text, sizeof(text), "memory %zu; server { listen 80; return 200 \"x\"; }",
	    3 * memory_in_use() + 64 * 1024 * 1024);
	road_open(&road, text);

	struct addr a = accept_on(1, "a");
	struct end e = connect_to(&a), f = connect_to(&a), late;

	road_wait(&road, 100);
	expect_answer(&e);
	use(79);
	assert_int_equal(road.engine.shortage, SHORTAGE_NONE);
	use(81);
	assert_int_equal(road.engine.shortage, SHORTAGE_TIGHT);
	/* a kept connection ends with its answer */
	end_say(&e, GET);
	road_turn(&road);
	end_read(&e);
	assert_true(end_has(&e, "HTTP/1.1 503 Service Unavailable\r\n"));
	assert_true(end_has(&e, "Connection: close\r\n"));
	assert_true(e.ended);
	use(94);
	assert_int_equal(road.engine.shortage, SHORTAGE_TIGHT);
	late = connect_to(&a);
	end_say(&late, GET);
	road_turn(&road);
	end_expect_start(&late, "HTTP/1.1 503 Service Unavailable\r\n");
	end_close(&late);
	assert_int_equal(road_reason(&road, REASON_MEMORY), 2);
	assert_int_equal(road.engine.accept_paused, 0);
	use(96);
	assert_int_equal(road.engine.shortage, SHORTAGE_FULL);
	assert_int_equal(road.engine.accept_paused, PAUSE_MEMORY);
	late = connect_to(&a);
	use(91);
	assert_int_equal(road.engine.shortage, SHORTAGE_FULL);
	use(89);
	assert_int_equal(road.engine.shortage, SHORTAGE_TIGHT);
	assert_int_equal(road.engine.accept_paused, 0);
	use(76);
	assert_int_equal(road.engine.shortage, SHORTAGE_TIGHT);
	use(74);
	assert_int_equal(road.engine.shortage, SHORTAGE_NONE);
	expect_answer(&late);
	expect_answer(&f);
	use(0);
	/* a new configuration without one */
	use(99);
	engine_adopt(&road.engine, road_build(&road, fixed));
	road_wait(&road, 200);
	assert_int_equal(road.engine.shortage, SHORTAGE_NONE);
	assert_int_equal(road.engine.look.due, 0);
	end_close(&e);
	end_close(&f);
	end_close(&late);
	road_close(&road);
}

/* A failed allocation: who holds most goes, cut off so that it is seen; the others stay. */
static void
ends_who_holds_most(void **state)
{
	struct end small, big, peer;

	road_open(&road, "upstream a { server unix:@/a; } server { listen 80; route /a { proxy a; } route { return 200 \"x\"; } }");

	int a = road_listener(&road, "a");
	struct addr here = accept_on(1, "c");

	small = connect_to(&here);
	big = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 4096);
	end_say(&big, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	peer = road_accept(a);
	end_say(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
	end_stuff(&peer, 1024 * 1024);
	road_turn(&road);
	assert_true(big.conn->backlog_n > 16 * 1024);

#ifndef MEMORY_HIDES
	struct rlimit before;
	void *eaten[4096];
	size_t n = 0;

	assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_AS, &(struct rlimit){ 1024 * 1024, before.rlim_max }), 0);
	while (n < ARRAY_COUNT(eaten) && (eaten[n] = memory_try(256 * 1024)) != NULL)
		n++;
	assert_true(memory_is_short);
	shortage_relieve(&road.engine);
	setrlimit(RLIMIT_AS, &before);
	while (n > 0)
		free(eaten[--n]);
	assert_false(memory_is_short);
	assert_int_equal(road.engine.shortage, SHORTAGE_FULL);
	road_turn(&road);
	assert_int_equal(road_reason(&road, REASON_MEMORY), 1);
	end_read(&big);
	assert_true(big.ended || big.error != 0);
	end_read(&peer);
	assert_true(peer.ended || peer.error != 0);
	assert_int_equal(road.engine.conn_count, 1);
	road_wait(&road, 200);
#else
	memory_is_short = true;                 /* and yet nothing is lacking: nobody goes */
	shortage_relieve(&road.engine);
	assert_int_equal(road_reason(&road, REASON_MEMORY), 0);
#endif
	assert_int_equal(road.engine.shortage, SHORTAGE_NONE);
	expect_answer(&small);
	memory_unreserve();
	end_close(&small);
	end_close(&big);
	end_close(&peer);
	road_close(&road);
}

/* ------------------------------------------------------------------ snapshots */

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
	/* its listener is gone: one more question, and it is told that it was the last */
	end_say(&f, GET);
	road_turn(&road);
	end_read(&f);
	assert_true(end_has(&f, "\r\nConnection: close\r\n\r\nx"));
	assert_true(f.ended);

	/* who waits there when its sockets close is served, too */
	struct end late = connect_to(&b);

	engine_remove(&road.engine, 2);
	assert_null(road.engine.bindings[2].accepters);
	assert_null(road.engine.bindings[2].listener);
	end_say(&late, GET);
	road_turn(&road);
	end_read(&late);
	assert_true(end_has(&late, "\r\nConnection: close\r\n\r\nx"));
	assert_true(late.ended);
	/* who says nothing is waited for a moment, and then nothing holds the old one */
	road_wait(&road, 10 * 1000);
	end_read(&idle);
	assert_true(idle.ended);
	road_wait(&road, 3000);
	assert_ptr_equal(road.engine.snapshots, road.engine.snapshot);
	assert_null(road.engine.snapshot->older);
	end_close(&e);
	end_close(&f);
	end_close(&idle);
	end_close(&late);
	road_close(&road);
}

/* Who is still there when a number is given to another listener is not taken for one of that. */
static void
numbers_come_again(void **state)
{
	static const char one[] = "server { listen 80; return 200 \"x\"; }",
	    two[] = "server { listen 80; return 200 \"x\"; } server { listen 81; return 200 \"x\"; }",
	    other[] = "server { listen 80; return 200 \"x\"; } server { listen 82; return 403; }";

	road_open(&road, two);

	struct addr a = accept_on(1, "a"), b = accept_on(2, "b");
	struct end stays = connect_to(&a), gone = connect_to(&b);

	road_turn(&road);
	engine_adopt(&road.engine, road_build(&road, one));
	road_turn(&road);
	engine_remove(&road.engine, 2);
	engine_adopt(&road.engine, road_build(&road, one));
	road_turn(&road);
	engine_adopt(&road.engine, road_build(&road, other));
	road_turn(&road);
	end_read(&gone);
	assert_true(gone.ended);
	assert_int_equal(gone.n, 0);
	engine_adopt(&road.engine, road_build(&road, other));
	expect_answer(&stays);
	end_close(&stays);
	end_close(&gone);
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

/* The deadline is also of those whom the kernel had promised a connection. */
static void
drains_by_a_deadline(void **state)
{
	road_open(&road, "drain { deadline 3s; } server { listen 80; protocol tcp; echo; }");

	struct addr a = accept_on(1, "a");
	struct end before = connect_to(&a);

	end_say(&before, "x");
	road_turn(&road);
	end_expect(&before, "x");

	struct end waiting = connect_to(&a);

	engine_drain(&road.engine);
	end_say(&waiting, "y");
	road_turn(&road);
	end_expect(&waiting, "y");
	road_wait(&road, 3300);
	end_read(&before);
	end_read(&waiting);
	assert_true(before.ended);
	assert_true(waiting.ended);
	end_close(&before);
	end_close(&waiting);
	road_turn(&road);
	assert_true(engine_is_idle(&road.engine));
	road_close(&road);
}

/* Who is accepted of a listener that is on its way out drains as those before. */
static void
leaves_by_a_deadline(void **state)
{
	static const char both[] = "drain { deadline 3s; } server { listen 80; protocol tcp; echo; }"
	    "server { listen 81; protocol tcp; echo; }";

	road_open(&road, both);

	struct addr a = accept_on(2, "a");

	engine_adopt(&road.engine,
	    road_build(&road, "drain { deadline 3s; } server { listen 80; protocol tcp; echo; }"));

	struct end e = connect_to(&a);

	end_say(&e, "y");
	road_turn(&road);
	end_expect(&e, "y");
	engine_remove(&road.engine, 2);
	road_wait(&road, 3300);
	end_read(&e);
	assert_true(e.ended);
	end_close(&e);
	road_turn(&road);
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
		cmocka_unit_test(accepts), cmocka_unit_test(pauses), cmocka_unit_test(counts_exactly),
		cmocka_unit_test(silent_ones_give_way),
		cmocka_unit_test(counts_peers), cmocka_unit_test(out_of_descriptors),
		cmocka_unit_test(out_of_spare_descriptors), cmocka_unit_test(gives_up_idle_peers),
		cmocka_unit_test(keeps_to_its_budget), cmocka_unit_test(ends_who_holds_most),
		cmocka_unit_test(swaps), cmocka_unit_test(numbers_come_again), cmocka_unit_test(binds), cmocka_unit_test(logs),
		cmocka_unit_test(drains), cmocka_unit_test(drains_by_a_deadline),
		cmocka_unit_test(leaves_by_a_deadline), cmocka_unit_test(closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
