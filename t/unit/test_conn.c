/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/conn under a protocol of the test's own: what it is given and when, what becomes
 * of what it writes, deadlines, and the ways in which a connection ends.
 */
#include "road_case.h"

static struct road road;

/* What the protocol does, and what was done to it. */
static struct {
	size_t take;                    /* bytes of each read; SIZE_MAX: all */
	size_t least;                   /* it takes nothing of less */
	bool hold;                      /* after each read */
	bool answers;                   /* writes back what it took */
	const struct protocol_ops *next;        /* switches after the first read */
	char seen[4 * 1024 * 1024];
	size_t seen_n;
	size_t opened, reads, finished, left, lates, drained;
	size_t first;                   /* bytes of the last read */
	enum reason reason;
} fake;

static void
fake_open(struct conn *c)
{
	fake.opened++;
	conn_expect_nothing(c);
}

static size_t
fake_read(struct conn *c, struct slice in)
{
	size_t n = MIN_OF(fake.take, in.n);

	fake.reads++;
	fake.first = in.n;
	if (in.n < fake.least)
		return 0;
	assert_true(fake.seen_n + n <= sizeof(fake.seen));
	memcpy(fake.seen + fake.seen_n, in.at, n);
	fake.seen_n += n;
	if (fake.answers)
		conn_write(c, slice_first(in, n));
	if (fake.hold)
		conn_set_hold(c, HOLD_TURN);
	if (fake.next != NULL) {
		conn_switch(c, fake.next);
		fake.next = NULL;
	}
	return n;
}

static void
fake_finish(struct conn *c, size_t left)
{
	fake.finished++;
	fake.left = left;
}

static void
fake_late(struct conn *c, enum reason reason)
{
	fake.lates++;
	fake.reason = reason;
}

static void
fake_drain(struct conn *c)
{
	fake.drained++;
}

static const struct protocol_ops fake_protocol = {
	.name = "fake", .open = fake_open, .read = fake_read, .finish = fake_finish, .late = fake_late,
	.drain = fake_drain,
};

static size_t other_n;

static void
other_open(struct conn *c)
{
	fake.opened++;
}

static size_t
other_read(struct conn *c, struct slice in)
{
	other_n += in.n;
	return in.n;
}

static const struct protocol_ops other_protocol = {
	.name = "other", .open = other_open, .read = other_read, .finish = fake_finish, .late = fake_late,
};

static int
set_up(void **state)
{
	memset(&fake, 0, sizeof(fake));
	fake.take = SIZE_MAX;
	other_n = 0;
	road_open(&road, "server { listen 80; protocol tcp; echo; }");
	road.snapshot->listeners[0].protocol = &fake_protocol;
	return 0;
}

static int
tear_down(void **state)
{
	road_close(&road);
	return 0;
}

/* ------------------------------------------------------------------ reading */

/* Whatever is left comes again, in front of more: byte by byte, small and large. */
static void
what_is_left_comes_again(void **state)
{
	static const size_t least[] = { 1, 2, 100, CONN_SMALL, CONN_SMALL + 1, 3 * CONN_SMALL, 100 * 1024 };
	static char text[100 * 1024];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7 + i / 251);
	for (size_t k = 0; k < ARRAY_COUNT(least); k++) {
		struct end e = road_client(&road);

		fake.least = least[k];
		fake.seen_n = 0;
		for (size_t at = 0; at < least[k]; at += 1 + k * 700) {
			end_put(&e, text + at, MIN_OF(1 + k * 700, least[k] - at));
			road_turn(&road);
			assert_true(e.conn->in_size <= 2 * least[k] + CONN_SMALL + SCRATCH_WINDOW);
		}
		assert_int_equal(fake.seen_n, least[k]);
		assert_memory_equal(fake.seen, text, least[k]);
		assert_int_equal(e.conn->in_n, 0);
		assert_null(e.conn->in);
		end_close(&e);
		road_turn(&road);
	}
}

/* A little at a time: it is asked again until it takes no more. */
static void
takes_a_little(void **state)
{
	struct end e = road_client(&road);

	fake.take = 3;
	end_say(&e, "0123456789");
	road_turn(&road);
	assert_int_equal(fake.reads, 4);
	assert_int_equal(fake.seen_n, 10);
	assert_memory_equal(fake.seen, "0123456789", 10);
	end_close(&e);
	road_turn(&road);
	assert_int_equal(fake.finished, 1);
	assert_int_equal(fake.left, 0);
}

static void
held_is_not_read(void **state)
{
	struct end e = road_client(&road);

	fake.take = 4;
	fake.hold = true;
	end_say(&e, "0123456789");
	road_turn(&road);
	assert_int_equal(fake.seen_n, 4);
	assert_int_equal(e.conn->in_n, 6);

	size_t stuffed = end_stuff(&e, SIZE_MAX / 2);

	road_turn(&road);
	assert_int_equal(fake.seen_n, 4);
	assert_int_equal(e.conn->in_n, 6);
	conn_set_hold(e.conn, HOLD_STEP);
	conn_clear_hold(e.conn, HOLD_TURN);
	road_turn(&road);
	assert_int_equal(fake.seen_n, 4);
	conn_clear_hold(e.conn, HOLD_STEP);
	road_turn(&road);
	assert_int_equal(fake.seen_n, 8);
	fake.hold = false;
	fake.take = SIZE_MAX;
	conn_clear_hold(e.conn, HOLD_TURN);
	road_turn(&road);
	assert_int_equal(fake.seen_n, 10 + stuffed);
	assert_memory_equal(fake.seen, "0123456789", 10);
	end_close(&e);
	road_turn(&road);
}

/* The end comes behind the last byte, also when both were there at once and held. */
static void
end_behind_the_bytes(void **state)
{
	struct end e = road_client(&road);

	fake.hold = true;
	fake.take = 2;
	end_say(&e, "abcdef");
	shutdown(e.fd, SHUT_WR);
	road_turn(&road);
	assert_int_equal(fake.seen_n, 2);
	assert_int_equal(fake.finished, 0);
	fake.hold = false;
	fake.take = 3;
	conn_clear_hold(e.conn, HOLD_TURN);
	road_turn(&road);
	assert_int_equal(fake.seen_n, 6);
	assert_int_equal(fake.finished, 1);
	assert_int_equal(fake.left, 0);
	conn_close(e.conn);
	end_close(&e);
}

static void
end_with_something_left(void **state)
{
	struct end e = road_client(&road);

	fake.least = 10;
	end_say(&e, "abc");
	road_turn(&road);
	shutdown(e.fd, SHUT_WR);
	road_turn(&road);
	assert_int_equal(fake.finished, 1);
	assert_int_equal(fake.left, 3);
	conn_close(e.conn);
	end_close(&e);
}

/* One that sends without end has a budget: the others have their turn in the same pass. */
static void
nobody_starves(void **state)
{
	struct end flood = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 0), other;
	int large = 4 * 1024 * 1024;

	setsockopt(flood.fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));

	size_t n = end_stuff(&flood, 3 * 1024 * 1024);

	if (n < 2 * CONN_BUDGET) {
		print_message("the kernel keeps too little for this: %zu\n", n);
		end_close(&flood);
		skip();
	}
	other = road_client(&road);
	end_say(&other, "x");
	road_pass(&road);
	assert_true(flood.conn->received >= CONN_BUDGET);
	/* a turn of its event, and one of the ready list */
	assert_true(flood.conn->received <= 2 * (CONN_BUDGET + SCRATCH_WINDOW));
	assert_true(flood.conn->received < n);
	assert_int_equal(other.conn->received, 1);
	road_turn(&road);
	assert_int_equal(flood.conn->received, n);
	end_close(&flood);
	end_close(&other);
	road_turn(&road);
}

static void
switches(void **state)
{
	struct end e = road_client(&road);

	fake.take = 3;
	fake.next = &other_protocol;
	end_say(&e, "abcdefgh");
	road_turn(&road);
	assert_int_equal(fake.seen_n, 3);
	assert_int_equal(other_n, 5);
	assert_int_equal(fake.opened, 2);
	end_close(&e);
	road_turn(&road);
}

/* ------------------------------------------------------------------ writing */

/* A packet is one write: all that one pass produced leaves in one. */
static void
one_write_a_pass(void **state)
{
	struct end e = road_client_of(&road, 1, "192.0.2.7:1", SOCK_SEQPACKET, 0);
	char got[64];

	fake.take = 2;
	fake.answers = true;
	end_say(&e, "abcdef");
	road_pass(&road);
	assert_int_equal(recv(e.fd, got, sizeof(got), 0), 6);
	assert_memory_equal(got, "abcdef", 6);
	conn_write(e.conn, SLICE("one "));
	conn_write(e.conn, SLICE_EMPTY);
	conn_write(e.conn, SLICE("two "));
	conn_write(e.conn, SLICE("three"));
	assert_int_equal(conn_waiting(e.conn), 13);
	road_pass(&road);
	assert_int_equal(recv(e.fd, got, sizeof(got), 0), 13);
	assert_memory_equal(got, "one two three", 13);
	assert_int_equal(conn_waiting(e.conn), 0);
	end_close(&e);
	road_turn(&road);
}

/* What the socket does not take waits in blocks of its own and goes out in order; meanwhile nothing is read. */
static void
waits_in_order(void **state)
{
	enum { PIECE = 10000, PIECES = 60 };
	static char text[PIECE * PIECES];
	struct end e = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 8192);

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 13 + i / 241);
	for (size_t i = 0; i < PIECES; i++) {
		conn_write(e.conn, slice_make(text + i * PIECE, PIECE));
		if (i % 7 == 0)
			road_pass(&road);
	}
	end_say(&e, "not read");
	road_turn(&road);
	assert_true(e.conn->congested);
	assert_true(e.conn->backlog_n > 500000);
	assert_int_equal(e.conn->out_n, 0);
	assert_true((e.conn->hold & HOLD_OUTPUT) != 0);
	assert_int_equal(fake.seen_n, 0);
	while (e.n < sizeof(text)) {
		size_t before = e.n;

		end_read(&e);
		assert_true(e.n > before);
		road_turn(&road);
	}
	assert_memory_equal(e.at, text, sizeof(text));
	assert_false(e.conn->congested);
	assert_null(e.conn->backlog);
	assert_int_equal(fake.seen_n, 8);
	end_close(&e);
	road_turn(&road);
}

/* A client that takes nothing is reset in time; one that takes a little now and then is not. */
static void
write_timeout(void **state)
{
	static char text[400 * 1024];
	struct end stalls = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 8192);
	struct end slow = road_client_of(&road, 1, "192.0.2.7:2", SOCK_STREAM, 8192);

	stalls.conn->write_timeout = slow.conn->write_timeout = 10000;
	conn_write(stalls.conn, slice_make(text, sizeof(text)));
	conn_write(slow.conn, slice_make(text, sizeof(text)));
	road_turn(&road);
	for (int i = 0; i < 3; i++) {
		road_wait(&road, 3000);
		end_read(&slow);
		road_turn(&road);
	}
	assert_int_equal(road.engine.conn_count, 2);
	road_wait(&road, 2000);
	assert_int_equal(road.engine.conn_count, 1);
	assert_ptr_equal(road.engine.conns, slow.conn);
	assert_int_equal(road_reason(&road, REASON_WRITE_TIMEOUT), 1);
	end_close(&stalls);
	end_close(&slow);
	road_turn(&road);
}

static char much[8 * 1024 * 1024];

/* At most so much of what there is. */
static void
take(struct end *e, size_t n)
{
	for (ssize_t got = 1; got > 0; n -= (size_t)got) {
		got = recv(e->fd, much, MIN_OF(n, sizeof(much)), 0);
		road_turn(&road);
		if (got <= 0 || (size_t)got == n)
			return;
	}
}

/* The kernel took much at once: no send succeeds for longer than the timeout, and yet it reads. */
static void
slow_but_honest(void **state)
{
	struct end e = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 400 * 1024);

	e.conn->write_timeout = 10000;
	e.conn->write_least = 240;
	e.conn->write_grace = 5000;
	conn_write(e.conn, slice_make(much, sizeof(much)));
	road_turn(&road);

	uint64_t sent = e.conn->sent;

	for (int i = 0; i < 4; i++) {
		for (int s = 0; s < 4; s++)
			road_wait(&road, 1000);
		take(&e, 100 * 1024);
	}
	assert_int_equal(e.conn->sent, sent);
	/* a pause short of the timeout is none of our business */
	for (int i = 0; i < 30; i++) {
		for (int s = 0; s < 9; s++)
			road_wait(&road, 1000);
		assert_int_equal(road.engine.conn_count, 1);
		take(&e, 200 * 1024);
	}
	for (int s = 0; s < 14; s++)
		road_wait(&road, 1000);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road_reason(&road, REASON_WRITE_TIMEOUT), 1);
	end_close(&e);
}

/* Takes a little all the time, and never enough. */
static void
write_too_slow(void **state)
{
	struct end drips = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 16384);
	struct end other = road_client_of(&road, 1, "192.0.2.7:2", SOCK_STREAM, 16384);
	int seconds = 0;

	drips.conn->write_timeout = other.conn->write_timeout = 10000;
	drips.conn->write_least = other.conn->write_least = 50000;
	conn_write(drips.conn, slice_make(much, sizeof(much)));
	conn_write(other.conn, slice_make(much, sizeof(much)));
	road_turn(&road);
	/* a fast start: it is credit for a minute */
	take(&drips, 4 * 1024 * 1024);
	for (; road.engine.conn_count == 2 && seconds < 200; seconds++) {
		road_wait(&road, 1000);
		take(&drips, 20000);
		take(&other, 80000);
	}
	assert_in_range(seconds, 10, 90);
	assert_int_equal(road_reason(&road, REASON_WRITE_TOO_SLOW), 1);
	assert_ptr_equal(road.engine.conns, other.conn);
	/* all is taken: nobody looks any more */
	while (conn_waiting(other.conn) != 0)
		take(&other, 1024 * 1024);
	assert_int_equal(other.conn->write_due, 0);
	road_wait(&road, 100000);
	assert_int_equal(road.engine.conn_count, 1);
	end_close(&drips);
	end_close(&other);
	road_turn(&road);
}

/* Small pieces that wait share blocks, and what has gone is given back. */
static void
little_by_little(void **state)
{
	struct end e = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 8192);
	size_t blocks = 0, all = 0;

	conn_write(e.conn, slice_make(much, 100 * 1024));
	road_turn(&road);
	assert_null(e.conn->backlog->next);
	assert_int_equal(e.conn->backlog->size, e.conn->backlog->at + e.conn->backlog_n);
	for (int i = 0; i < 10000; i++) {
		conn_write(e.conn, SLICE("x"));
		road_pass(&road);
	}
	for (struct backlog *b = e.conn->backlog; b != NULL; b = b->next) {
		blocks++;
		all += b->n;
	}
	assert_int_equal(blocks, 4);
	assert_int_equal(all, e.conn->backlog_n);
	while (conn_waiting(e.conn) != 0) {
		end_read(&e);
		road_turn(&road);
	}
	end_read(&e);
	assert_int_equal(e.n, 100 * 1024 + 10000);
	assert_int_equal(e.at[e.n - 1], 'x');
	assert_null(e.conn->backlog);
	end_close(&e);
	road_turn(&road);
}

/* More may wait than nothing: the other side is held above it, and read again below its half. */
static void
room_to_wait(void **state)
{
	struct end e = road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, 8192);

	e.conn->ahead = 200000;
	conn_write(e.conn, slice_make(much, 200000));
	road_turn(&road);
	assert_true(e.conn->backlog_n > 100000);
	assert_int_equal(e.conn->hold, 0);
	assert_true(e.conn->write_due != 0);
	conn_write(e.conn, slice_make(much, 100000));
	road_turn(&road);
	assert_int_equal(e.conn->hold, HOLD_OUTPUT);
	while (e.conn->backlog_n > 100000) {
		assert_int_equal(e.conn->hold, HOLD_OUTPUT);
		end_read(&e);
		road_turn(&road);
	}
	assert_int_equal(e.conn->hold, 0);
	assert_true(e.conn->write_due != 0);
	while (conn_waiting(e.conn) != 0) {
		end_read(&e);
		road_turn(&road);
	}
	assert_int_equal(e.conn->write_due, 0);
	end_close(&e);
	road_turn(&road);
}

/* ------------------------------------------------------------------ ends */

/* Its answer arrives whole although the client is still sending; then it is closed. */
static void
lingers(void **state)
{
	struct end e = road_client(&road);

	end_say(&e, "first");
	road_turn(&road);
	e.conn->linger = true;
	conn_write(e.conn, SLICE("goodbye"));
	conn_end(e.conn);
	end_say(&e, "more");
	road_turn(&road);
	end_expect(&e, "goodbye");
	assert_true(e.ended);
	assert_int_equal(e.conn->state, CONN_LINGERING);
	end_stuff(&e, 100000);
	road_turn(&road);
	assert_int_equal(fake.seen_n, 9);
	conn_write(e.conn, SLICE("never"));
	road_turn(&road);
	end_close(&e);
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(fake.finished, 0);
}

static void
lingers_not_for_ever(void **state)
{
	struct end e = road_client(&road);

	e.conn->linger = true;
	conn_end(e.conn);
	for (int i = 0; i < 19; i++) {
		road_wait(&road, 100);
		end_say(&e, "still here");
	}
	assert_int_equal(road.engine.conn_count, 1);
	road_wait(&road, 300);
	assert_int_equal(road.engine.conn_count, 0);
	end_close(&e);
}

static void
ends_at_once_when_quiet(void **state)
{
	struct end e = road_client(&road);

	conn_write(e.conn, SLICE("bye"));
	conn_end(e.conn);
	conn_end(e.conn);
	road_pass(&road);
	end_expect(&e, "bye");
	assert_true(e.ended);
	assert_int_equal(road.engine.conn_count, 0);
	end_close(&e);
}

static void
half_close(void **state)
{
	struct end e = road_client(&road);

	conn_write(e.conn, SLICE("last"));
	conn_shut(e.conn);
	road_turn(&road);
	end_expect(&e, "last");
	assert_true(e.ended);
	end_say(&e, "and I");
	road_turn(&road);
	assert_int_equal(fake.seen_n, 5);
	conn_close(e.conn);
	end_close(&e);
}

/* Closed in the middle of everything: what is queued is dropped, and it is safe to look at it to the end of the pass. */
static void
closed_at_once(void **state)
{
	struct end e = road_client(&road);
	struct conn *c = e.conn;

	fake.least = 100;
	end_say(&e, "left");
	road_turn(&road);
	conn_write(c, SLICE("lost"));
	conn_expect(c, 1000, REASON_IDLE_TIMEOUT);
	conn_close(c);
	conn_close(c);
	conn_write(c, SLICE("lost too"));
	conn_end(c);
	conn_wake(c);
	assert_int_equal(c->state, CONN_CLOSED);
	assert_int_equal(conn_waiting(c), 0);
	end_expect(&e, "");
	assert_true(e.ended || e.error == ECONNRESET);
	road_wait(&road, 5000);
	assert_int_equal(fake.lates, 0);
	assert_ptr_equal(road.engine.free_conns[SIDE_CLIENT], c);
	end_close(&e);
	/* its memory is used again */
	e = road_client(&road);
	assert_ptr_equal(e.conn, c);
	assert_null(c->in);
	end_close(&e);
	road_turn(&road);
}

/* ------------------------------------------------------------------ deadlines */

static void
deadlines(void **state)
{
	struct end e = road_client(&road);

	conn_expect(e.conn, 5000, REASON_IDLE_TIMEOUT);
	road_wait(&road, 4000);
	conn_expect(e.conn, 5000, REASON_BODY_TIMEOUT);
	road_wait(&road, 4900);
	assert_int_equal(fake.lates, 0);
	road_wait(&road, 300);
	assert_int_equal(fake.lates, 1);
	assert_int_equal(fake.reason, REASON_BODY_TIMEOUT);
	road_wait(&road, 60000);
	assert_int_equal(fake.lates, 1);
	/* sooner than it stood */
	conn_expect(e.conn, 60000, REASON_IDLE_TIMEOUT);
	conn_expect(e.conn, 1000, REASON_HEAD_TIMEOUT);
	road_wait(&road, 1200);
	assert_int_equal(fake.lates, 2);
	assert_int_equal(fake.reason, REASON_HEAD_TIMEOUT);
	conn_expect(e.conn, 1000, REASON_IDLE_TIMEOUT);
	conn_expect_nothing(e.conn);
	road_wait(&road, 10000);
	assert_int_equal(fake.lates, 2);
	/* a day and more, over many turns of the wheel */
	conn_expect(e.conn, UINT64_C(26) * 3600 * 1000, REASON_IDLE_TIMEOUT);
	road_wait(&road, UINT64_C(25) * 3600 * 1000);
	assert_int_equal(fake.lates, 2);
	road_wait(&road, UINT64_C(3600) * 1000 + 200);
	assert_int_equal(fake.lates, 3);
	end_close(&e);
}

/* ------------------------------------------------------------------ where it came from */

static void
addresses(void **state)
{
	struct end e = road_client_of(&road, 1, "[2001:db8::1]:99", SOCK_STREAM, 0);
	char text[ADDR_TEXT];

	assert_true(slice_is(addr_print(&e.conn->remote, text), "[2001:db8::1]:99"));
	assert_ptr_equal(conn_listener(e.conn), &road.snapshot->listeners[0]);
	assert_ptr_equal(conn_local(e.conn), conn_local(e.conn));
	assert_int_equal(e.conn->side, SIDE_CLIENT);
	/* the listener is framed otherwise now: it is not this connection's any more */
	road.engine.bindings[1].fingerprint++;
	assert_null(conn_listener(e.conn));
	end_close(&e);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_left_comes_again), TEST(takes_a_little), TEST(held_is_not_read),
		TEST(end_behind_the_bytes), TEST(end_with_something_left), TEST(nobody_starves), TEST(switches),
		TEST(one_write_a_pass), TEST(waits_in_order), TEST(write_timeout), TEST(slow_but_honest),
		TEST(write_too_slow), TEST(little_by_little), TEST(room_to_wait),
		TEST(lingers), TEST(lingers_not_for_ever), TEST(ends_at_once_when_quiet), TEST(half_close),
		TEST(closed_at_once), TEST(deadlines), TEST(addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
