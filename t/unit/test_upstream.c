/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/upstream: turns by weight, rests and trials, backups, and the pool of
 * idle connections over snapshots. Connections are only pretended here; time
 * passes by moving what the shared memory says back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "core/engine.h"

enum { PEERS = 4, REST = 10000 };

/* ------------------------------------------------------------------ instead of conn.c */

static unsigned closed, woken, expected, unexpected;
static uint64_t expected_ms;

void
conn_close(struct conn *c)
{
	upstream_forget(c);
	c->state = CONN_CLOSED;
	closed++;
}

void
conn_expect(struct conn *c, uint64_t ms, enum reason reason)
{
	assert_int_equal(reason, REASON_CLIENT_IDLE);
	expected_ms = ms;
	expected++;
}

void
conn_expect_nothing(struct conn *c)
{
	unexpected++;
}

void
conn_wake(struct conn *c)
{
	woken++;
}

/* ------------------------------------------------------------------ a world */

static const struct protocol_ops http = { .name = "http" }, other = { .name = "other" };

struct world {
	struct engine engine;
	struct peer peers[PEERS];
	struct upstream upstream;
	struct upstream *upstreams[1];
	struct snapshot snapshot;
	struct peer_set tried;
};

static void
add_peer(struct world *w, const char *addr, uint32_t weight, bool backup)
{
	struct peer *p = &w->peers[w->upstream.peer_count];

	*p = (struct peer){ .text = slice_of(addr), .weight = weight, .max_fails = 1, .fail_timeout = REST,
		.backup = backup, .index = (uint32_t)w->upstream.peer_count++ };
	p->shared = p->index;
	assert_true(addr_parse(p->text, &p->addr));
}

static int
open_world(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	scratch_init(&w->engine.loop.scratch);
	arena_init(&w->engine.arena, NULL, 0);
	w->engine.shared = arena_zalloc(&w->engine.arena, sizeof(*w->engine.shared));
	w->engine.peers = arena_zalloc(&w->engine.arena, sizeof(*w->engine.peers));
	map_init(w->engine.peers, &w->engine.arena, false);
	w->upstream = (struct upstream){ .name = SLICE("app"), .protocol = &http, .peers = w->peers,
		.pool_idle = 2, .pool_timeout = 60000 };
	w->upstreams[0] = &w->upstream;
	w->snapshot.upstreams = w->upstreams;
	w->snapshot.upstream_count = 1;
	closed = woken = expected = unexpected = 0;
	*state = w;
	return 0;
}

static int
close_world(void **state)
{
	struct world *w = *state;

	upstream_disown(&w->engine, &w->snapshot);
	assert_null(w->snapshot.upstream_runs);
	upstream_close(&w->engine);
	arena_reset(&w->engine.arena);
	scratch_free(&w->engine.loop.scratch);
	free(w);
	return 0;
}

static void
adopt(struct world *w)
{
	upstream_adopt(&w->engine, &w->snapshot);
}

static struct peer_shared *
shared(struct world *w, size_t i)
{
	return w->snapshot.upstream_runs[0].states[i].shared;
}

static struct peer_run *
run(struct world *w, size_t i)
{
	return w->snapshot.upstream_runs[0].peers[i];
}

/* The index of the one chosen, or -1. */
static int
choose(struct world *w)
{
	const struct peer *p = upstream_choose(&w->engine, &w->snapshot, &w->upstream, &w->tried);

	return p == NULL ? -1 : (int)p->index;
}

static void
tried(struct world *w, unsigned i)
{
	w->tried.bits[i / 64] |= UINT64_C(1) << i % 64;
}

static void
failed(struct world *w, size_t i)
{
	upstream_failed(&w->engine, &w->snapshot, &w->upstream, &w->peers[i]);
}

static void
worked(struct world *w, size_t i)
{
	upstream_worked(&w->engine, &w->snapshot, &w->upstream, &w->peers[i]);
}

static void
pass_time(struct world *w, uint64_t ms)
{
	for (size_t i = 0; i < w->upstream.peer_count; i++) {
		struct peer_shared *s = shared(w, i);

		if (s->down_until != 0)
			s->down_until -= ms;
		if (s->window != 0)
			s->window -= ms;
	}
}

/* ------------------------------------------------------------------ turns */

static void
goes_round(void **state)
{
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	add_peer(w, "10.0.0.3:80", 1, false);
	adopt(w);
	for (int i = 0; i < 30; i++)
		assert_int_equal(choose(w), i % 3);
	assert_int_equal(shared(w, 1)->taken, 10);
}

static void
goes_smoothly_by_weight(void **state)
{
	static const int turns[] = { 0, 0, 1, 0, 2, 0, 0 };
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 5, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	add_peer(w, "10.0.0.3:80", 1, false);
	adopt(w);
	for (size_t i = 0; i < 5 * ARRAY_COUNT(turns); i++)
		assert_int_equal(choose(w), turns[i % ARRAY_COUNT(turns)]);
}

static void
passes_over_the_tried_and_the_down(void **state)
{
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	add_peer(w, "10.0.0.3:80", 1, false);
	w->peers[1].down = true;
	adopt(w);
	for (int i = 0; i < 6; i++)
		assert_int_equal(choose(w), i % 2 * 2);
	tried(w, 0);
	assert_int_equal(choose(w), 2);
	tried(w, 2);
	assert_int_equal(choose(w), -1);
}

static void
serves_one(void **state)
{
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 1, false);
	adopt(w);
	assert_int_equal(choose(w), 0);
	failed(w, 0);
	assert_int_equal(choose(w), 0);          /* there is no other to spare it for */
	assert_int_equal(shared(w, 0)->failed, 1);
	assert_int_equal(shared(w, 0)->down_until, 0);
	tried(w, 0);
	assert_int_equal(choose(w), -1);
	w->tried = (struct peer_set){ 0 };
	w->peers[0].down = true;
	assert_int_equal(choose(w), -1);
}

static void
takes_backups_last(void **state)
{
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 1, true);
	add_peer(w, "10.0.0.2:80", 1, false);
	add_peer(w, "10.0.0.3:80", 1, false);
	adopt(w);
	for (int i = 0; i < 4; i++)
		assert_int_equal(choose(w), 1 + i % 2);
	failed(w, 1);
	assert_int_equal(choose(w), 2);
	failed(w, 2);
	assert_int_equal(choose(w), 0);
	w->tried = (struct peer_set){ 0 };
	tried(w, 0);
	assert_int_equal(choose(w), -1);
}

/* ------------------------------------------------------------------ health */

static void
rests_and_has_one_trial(void **state)
{
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	adopt(w);
	assert_int_equal(choose(w), 0);
	failed(w, 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(choose(w), 1);
	pass_time(w, REST - 100);
	assert_int_equal(choose(w), 1);
	pass_time(w, 101);
	assert_int_equal(choose(w), 0);          /* the trial */
	assert_true(shared(w, 0)->down_until > clock_ms() + REST - 1000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(choose(w), 1);
	failed(w, 0);                            /* it failed: the rest begins anew */
	pass_time(w, REST - 100);
	assert_int_equal(choose(w), 1);
	pass_time(w, 101);
	assert_int_equal(choose(w), 0);
	worked(w, 0);
	assert_int_equal(shared(w, 0)->down_until, 0);

	int first = choose(w);

	assert_int_equal(choose(w), 1 - first);
}

/* Another worker was quicker: its trial, not ours. */
static void
leaves_the_trial_to_one(void **state)
{
	struct world *w = *state;
	struct peer_state *of;

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	adopt(w);
	failed(w, 0);
	pass_time(w, REST + 1);

	struct snapshot second = w->snapshot;    /* as another worker has it: of one memory */

	second.shared_at = (void *[]){ shared(w, 0), shared(w, 1) };
	second.shared = (struct shared_key[PEERS]){ { .name = "a" } };
	upstream_adopt(&w->engine, &second);
	assert_ptr_equal(upstream_choose(&w->engine, &second, &w->upstream, &w->tried), &w->peers[0]);
	assert_int_equal(choose(w), 1);
	of = &w->snapshot.upstream_runs[0].states[0];
	assert_false(of->trial);
	worked(w, 0);                            /* one that was under way before: proves nothing */
	assert_int_not_equal(shared(w, 0)->down_until, 0);
	upstream_worked(&w->engine, &second, &w->upstream, &w->peers[0]);
	assert_int_equal(shared(w, 0)->down_until, 0);
	upstream_disown(&w->engine, &second);
}

static void
counts_fails_within_their_time(void **state)
{
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	w->peers[0].max_fails = 3;
	w->peers[1].max_fails = 0;
	adopt(w);
	failed(w, 0);
	failed(w, 0);
	assert_int_equal(shared(w, 0)->fails, 2);
	pass_time(w, REST + 1);
	failed(w, 0);                            /* the two are forgotten */
	assert_int_equal(shared(w, 0)->fails, 1);
	shared(w, 0)->window += 5000;            /* another worker's clock is ahead of ours */
	failed(w, 0);
	assert_int_equal(shared(w, 0)->fails, 2);
	assert_int_equal(shared(w, 0)->down_until, 0);
	failed(w, 0);
	assert_int_not_equal(shared(w, 0)->down_until, 0);
	pass_time(w, REST + 1);
	assert_int_equal(choose(w), 0);
	pass_time(w, 500);
	failed(w, 0);                            /* of a trial, one is enough */
	assert_true(shared(w, 0)->down_until > clock_ms() + REST - 400);
	for (int i = 0; i < 10; i++)
		failed(w, 1);
	assert_int_equal(shared(w, 1)->failed, 10);
	assert_int_equal(shared(w, 1)->down_until, 0);
}

static void
asks_the_longest_rested_when_all_rest(void **state)
{
	struct world *w = *state;

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	add_peer(w, "10.0.0.3:80", 1, true);
	adopt(w);
	failed(w, 1);
	pass_time(w, 300);
	failed(w, 0);
	pass_time(w, 300);
	failed(w, 2);
	assert_int_equal(choose(w), 1);
	tried(w, 1);
	assert_int_equal(choose(w), -1);         /* once */
	failed(w, 1);
	pass_time(w, 300);
	w->tried = (struct peer_set){ 0 };
	assert_int_equal(choose(w), 0);
	worked(w, 0);
	assert_int_equal(choose(w), 0);
	assert_int_equal(choose(w), 0);
}

/* ------------------------------------------------------------------ the pool */

static struct conn *
connect_to(struct world *w, size_t i, struct conn *c)
{
	*c = (struct conn){ .engine = &w->engine, .side = SIDE_PEER, .state = CONN_OPEN, .writable = true,
		.hold = HOLD_OUTPUT, .peer = run(w, i) };
	return c;
}

static struct conn *
take(struct world *w, size_t i)
{
	return upstream_take(&w->engine, &w->snapshot, &w->upstream, &w->peers[i]);
}

static void
takes_the_last_given(void **state)
{
	struct world *w = *state;
	struct conn a, b, c;

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	adopt(w);
	assert_null(take(w, 0));
	upstream_give(connect_to(w, 0, &a));
	upstream_give(connect_to(w, 0, &b));
	upstream_give(&b);                       /* twice is once */
	assert_int_equal(run(w, 0)->idle_count, 2);
	assert_int_equal(expected, 2);
	assert_int_equal(expected_ms, 60000);
	assert_true(a.used && b.used);
	assert_int_equal(a.hold, 0);
	assert_null(take(w, 1));
	upstream_give(connect_to(w, 0, &c));     /* one too many */
	assert_int_equal(c.state, CONN_CLOSED);
	assert_int_equal(closed, 1);
	assert_ptr_equal(take(w, 0), &b);
	assert_ptr_equal(take(w, 0), &a);
	assert_null(take(w, 0));
	assert_int_equal(unexpected, 2);
	assert_int_equal(run(w, 0)->idle_count, 0);
	upstream_forget(&a);                     /* not in it: nothing */
	assert_int_equal(run(w, 0)->idle_count, 0);
}

static void
forgets_from_anywhere(void **state)
{
	struct world *w = *state;
	struct conn c[3];

	for (size_t gone = 0; gone < 3; gone++) {
		if (w->upstream.peer_count == 0)
			add_peer(w, "10.0.0.1:80", 1, false);
		upstream_disown(&w->engine, &w->snapshot);
		w->upstream.pool_idle = 3;
		adopt(w);
		for (size_t i = 0; i < 3; i++)
			upstream_give(connect_to(w, 0, &c[i]));
		conn_close(&c[gone]);
		assert_int_equal(run(w, 0)->idle_count, 2);
		assert_ptr_equal(take(w, 0), &c[gone == 2 ? 1 : 2]);
		assert_ptr_equal(take(w, 0), &c[gone == 0 ? 1 : 0]);
		assert_null(take(w, 0));
	}
}

static void
hands_out_none_that_stirred(void **state)
{
	struct world *w = *state;
	struct conn c;

	add_peer(w, "10.0.0.1:80", 1, false);
	adopt(w);
	for (int what = 0; what < 6; what++) {
		upstream_give(connect_to(w, 0, &c));
		assert_int_equal(run(w, 0)->idle_count, 1);
		c.readable = what == 0;
		c.peer_fin = what == 1;
		c.ended = what == 2;
		c.in_n = what == 3;
		c.broken = what == 4 ? 32 : 0;
		c.out_n = what == 5;
		assert_null(take(w, 0));
		assert_int_equal(c.state, CONN_CLOSED);
		assert_int_equal(run(w, 0)->idle_count, 0);
	}
	upstream_give(connect_to(w, 0, &c));
	c.in_read = true;                        /* what it has in hand might be taken for an answer */
	assert_null(take(w, 0));
	assert_int_equal(c.state, CONN_OPEN);
	c.in_read = false;
	assert_ptr_equal(take(w, 0), &c);
}

static void
keeps_none_that_ended(void **state)
{
	struct world *w = *state;
	struct conn c;

	add_peer(w, "10.0.0.1:80", 1, false);
	adopt(w);
	for (int what = 0; what < 5; what++) {
		connect_to(w, 0, &c);
		c.peer_fin = what == 0;
		c.ended = what == 1;
		c.state = what == 2 ? CONN_LINGERING : CONN_OPEN;
		w->engine.draining = what == 3;
		if (what == 4)
			c.peer = NULL;
		upstream_give(&c);
		assert_int_equal(c.state, CONN_CLOSED);
		assert_int_equal(run(w, 0)->idle_count, 0);
	}
	w->engine.draining = false;
	connect_to(w, 0, &c)->readable = true;   /* left over from the answer, perhaps */
	upstream_give(&c);
	assert_int_equal(woken, 1);
	c.readable = false;
	assert_ptr_equal(take(w, 0), &c);
}

static void
outlives_snapshots(void **state)
{
	struct world *w = *state;
	struct snapshot old;
	struct conn c[3];

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "unix:/run/app.sock", 1, false);
	adopt(w);

	struct peer_run *first = run(w, 0), *second = run(w, 1);

	assert_ptr_not_equal(first, second);
	assert_true(slice_is(second->key, "http unix:/run/app.sock 0 2 60000"));
	upstream_give(connect_to(w, 0, &c[0]));
	upstream_give(connect_to(w, 0, &c[1]));
	upstream_give(connect_to(w, 1, &c[2]));
	old = w->snapshot;
	w->upstream.peer_count = 1;              /* the second is gone */
	adopt(w);
	upstream_disown(&w->engine, &old);
	assert_ptr_equal(run(w, 0), first);
	assert_int_equal(first->idle_count, 2);
	assert_int_equal(second->idle_count, 0);
	assert_int_equal(closed, 1);
	assert_ptr_equal(take(w, 0), &c[1]);
	upstream_give(&c[2]);                    /* an exchange of the old one ends */
	assert_int_equal(second->idle_count, 0);
}

static void
parts_by_protocol_and_line(void **state)
{
	struct world *w = *state;
	struct snapshot s[4];
	static const struct protocol_ops *const protocols[] = { &http, &other, NULL, &http };

	add_peer(w, "10.0.0.1:80", 1, false);
	for (size_t i = 0; i < 4; i++) {
		w->upstream.protocol = protocols[i];
		w->upstream.proxy_line = i == 3 ? PROXY_LINE_V2 : PROXY_LINE_OFF;
		adopt(w);
		s[i] = w->snapshot;
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(s[i].upstream_runs[0].peers[0], s[k].upstream_runs[0].peers[0]);
	}
	for (size_t i = 0; i < 3; i++)
		upstream_disown(&w->engine, &s[i]);
}

/* What one block says of its pool is not said of another's that names the same server. */
static void
parts_by_settings(void **state)
{
	static const struct { int64_t idle; uint64_t timeout; } pools[] = { { 2, 60000 }, { 0, 60000 }, { 2, 5 } };
	struct world *w = *state;
	struct upstream more[3];
	struct upstream *upstreams[3];
	struct conn c[3];

	add_peer(w, "10.0.0.1:80", 1, false);
	for (uint32_t i = 0; i < 3; i++) {
		more[i] = w->upstream;
		more[i].index = i;
		more[i].pool_idle = pools[i].idle;
		more[i].pool_timeout = pools[i].timeout;
		upstreams[i] = &more[i];
	}
	w->snapshot.upstreams = upstreams;
	w->snapshot.upstream_count = 3;
	adopt(w);
	for (size_t i = 0; i < 3; i++) {
		struct peer_run *run = w->snapshot.upstream_runs[i].peers[0];

		assert_int_equal(run->pool_idle, pools[i].idle);
		assert_int_equal(run->pool_timeout, pools[i].timeout);
		c[i] = (struct conn){ .engine = &w->engine, .peer = run, .state = CONN_OPEN };
		upstream_give(&c[i]);
		assert_int_equal(run->idle_count, pools[i].idle != 0);
	}
	assert_int_equal(closed, 1);
}

/* Names without end: what is kept is what is named, or in use. */
static void
forgets_who_is_gone(void **state)
{
	struct world *w = *state;
	struct peer_shared memory;
	struct shared_key name = { .size = sizeof(memory) };
	void *at[1] = { &memory };
	char text[32];
	struct conn c[2];

	add_peer(w, "10.0.0.1:80", 1, false);
	w->engine.region = &memory;
	w->snapshot.shared_at = at;
	w->snapshot.shared = &name;
	w->engine.snapshots = &w->snapshot;
	for (unsigned i = 0; i < 3 * PEER_COUNTS; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.%u:80", i >> 16, i >> 8 & 255, i & 255);
		assert_true(addr_parse(slice_of(text), &w->peers[0].addr));
		snprintf(name.name, sizeof(name.name), "app/%s", text);
		upstream_disown(&w->engine, &w->snapshot);
		adopt(w);

		struct peer_count *count = w->snapshot.upstream_runs[0].states[0].count;

		assert_ptr_not_equal(count, &w->engine.uncounted);
		assert_int_equal(count->in_flight, 0);
		upstream_forget_gone(&w->engine);
		if (i == 0)
			count->in_flight = 7;
		if (i == 1)
			upstream_owns(&w->snapshot, &w->upstream, &w->peers[0], connect_to(w, 0, &c[0]));
		if (i == 2)
			upstream_give(connect_to(w, 0, &c[1]));
	}
	assert_int_equal(w->engine.peers->count, 2);
	assert_int_equal(upstream_count(w->engine.shared->peers,
	    upstream_peer_name("app/10.0.0.0:80", &memory, &memory), false)->in_flight, 7);
	assert_int_equal(c[0].peer->open, 1);
	assert_int_equal(c[1].state, CONN_CLOSED);   /* it is not in the configuration any more */
}

static void
uses_the_shared_memory(void **state)
{
	struct world *w = *state;
	struct peer_shared memory[2] = { { 0 } };
	void *at[2] = { &memory[0], &memory[1] };
	struct shared_key keys[2] = { { .name = "b" }, { .name = "a" } };

	add_peer(w, "10.0.0.1:80", 1, false);
	add_peer(w, "10.0.0.2:80", 1, false);
	w->peers[0].shared = 1;
	w->peers[1].shared = 0;
	w->snapshot.shared_at = at;
	w->snapshot.shared = keys;
	memory[1].down_until = clock_ms() + REST;    /* what another worker has found */
	adopt(w);
	assert_int_equal(choose(w), 1);
	assert_int_equal(choose(w), 1);
	assert_int_equal(memory[0].taken, 2);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
	const struct CMUnitTest tests[] = {
		TEST(goes_round), TEST(goes_smoothly_by_weight), TEST(passes_over_the_tried_and_the_down),
		TEST(serves_one), TEST(takes_backups_last), TEST(rests_and_has_one_trial),
		TEST(leaves_the_trial_to_one), TEST(counts_fails_within_their_time),
		TEST(asks_the_longest_rested_when_all_rest), TEST(takes_the_last_given),
		TEST(forgets_from_anywhere), TEST(hands_out_none_that_stirred), TEST(keeps_none_that_ended),
		TEST(outlives_snapshots), TEST(parts_by_protocol_and_line), TEST(parts_by_settings),
		TEST(forgets_who_is_gone), TEST(uses_the_shared_memory),
	};

	log_to(2, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
