/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose turn it is, who rests after failures, and the idle connections of each
 * address. The configured part is in the snapshot, health is in memory that
 * all workers share, turns and idle connections are this worker's own.
 */
#include "core/upstream.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "core/engine.h"

/* ------------------------------------------------------------------ beside a snapshot */

static struct peer_run *
find_run(struct engine *e, const struct upstream *u, const struct peer *p)
{
	struct slice protocol = u->protocol != NULL ? slice_of(u->protocol->name) : SLICE_EMPTY;
	enum { NUMBERS = 3 * 21 };
	size_t size = protocol.n + ADDR_TEXT + NUMBERS + 1;
	struct builder key = builder_on(scratch_alloc(&e->loop.scratch, size), size);
	char text[ADDR_TEXT];

	builder_slice_put(&key, protocol);
	builder_byte(&key, ' ');
	builder_slice_put(&key, addr_print(&p->addr, text));
	builder_byte(&key, ' ');
	builder_number(&key, (uint64_t)u->proxy_line);

	size_t place = key.n;

	builder_byte(&key, ' ');
	builder_number(&key, (uint64_t)u->pool_idle);
	builder_byte(&key, ' ');
	builder_number(&key, (uint64_t)u->pool_timeout);

	struct peer_run *run = map_find(e->peers, builder_slice(&key));

	if (run == NULL) {
		run = memory_zalloc(sizeof(*run) + key.n);
		run->key = slice_make(memcpy(run + 1, builder_slice(&key).at, key.n), key.n);
		run->place = slice_first(run->key, place);
		map_add(e->peers, run->key, run);
	}
	return run;
}

static void
adopt_peer(struct engine *e, struct snapshot *s, const struct upstream *u, const struct peer *p)
{
	struct upstream_run *r = &s->upstream_runs[u->index];
	struct peer_run *run = find_run(e, u, p);

	run->listed = true;
	/* One that says who its client is serves no other. */
	run->pool_idle = u->proxy_line == PROXY_LINE_OFF ? u->pool_idle : 0;
	run->pool_timeout = u->pool_timeout;
	r->peers[p->index] = run;
	r->states[p->index].count = &e->uncounted;
	if (s->shared_at == NULL)
		return;
	r->states[p->index].shared = s->shared_at[p->shared];

	struct peer_name name =
	    upstream_peer_name(s->shared[p->shared].name, e->region, s->shared_at[p->shared]);
	struct peer_count *count = upstream_count(e->shared->peers, name, true);

	e->shared->peers_used = true;

	if (count == NULL)
		return;
	r->states[p->index].count = count;
	r->states[p->index].current = count->turn;
}

/*
 * Each goes on where it was: who is asked little would else ask the first ones only, reload for
 * reload.
 */
static void
keep_turns(struct engine *e)
{
	const struct snapshot *s = e->snapshot;

	for (size_t i = 0; s != NULL && i < s->upstream_count; i++)
		for (size_t k = 0; k < s->upstreams[i]->peer_count; k++) {
			const struct peer_state *state = &s->upstream_runs[i].states[k];

			if (state->count != &e->uncounted)
				state->count->turn = state->current;
		}
}

/* Weights may be others now: nobody is owed, or owes, more than one round. */
static void
fit_turns(struct snapshot *s, const struct upstream *u)
{
	struct peer_state *states = s->upstream_runs[u->index].states;
	int64_t round = 0;

	for (size_t i = 0; i < u->peer_count; i++)
		round += u->peers[i].weight;
	for (size_t i = 0; i < u->peer_count; i++)
		states[i].current = MAX_OF(-round, MIN_OF(round, states[i].current));
}

/* One block for all of it: the runs, then what they point to. */
static void
make_runs(struct snapshot *s)
{
	size_t peers = 0;

	for (size_t i = 0; i < s->upstream_count; i++)
		peers += s->upstreams[i]->peer_count;

	size_t shared_size = s->shared_at == NULL ? peers * sizeof(struct peer_shared) : 0;
	char *at = memory_zalloc(s->upstream_count * sizeof(struct upstream_run) +
	    peers * (sizeof(struct peer_run *) + sizeof(struct peer_state)) + shared_size);

	s->upstream_runs = (void *)at;
	at += s->upstream_count * sizeof(struct upstream_run);

	struct peer_run **runs = (void *)at;
	struct peer_state *states = (void *)(runs + peers);
	struct peer_shared *private = (void *)(states + peers);

	for (size_t i = 0; i < s->upstream_count; i++) {
		size_t n = s->upstreams[i]->peer_count;

		s->upstream_runs[i] = (struct upstream_run){ runs, states };
		for (size_t k = 0; k < n && s->shared_at == NULL; k++)
			states[k].shared = private++;
		runs += n;
		states += n;
	}
}

/* What the new snapshot has no room for. */
static void
trim_pool(struct peer_run *run)
{
	while ((int64_t)run->idle_count > run->pool_idle)
		conn_close(run->idle);
}

static void
each_run(struct engine *e, void (*call)(struct peer_run *run))
{
	for (size_t i = 0; i < e->peers->room; i++)
		if (e->peers->entries[i].value != NULL)
			call(e->peers->entries[i].value);
}

static void
clear_pool_idle(struct peer_run *run)
{
	run->listed = false;
	run->pool_idle = 0;
}

void
upstream_adopt(struct engine *e, struct snapshot *s)
{
	make_runs(s);
	keep_turns(e);
	each_run(e, clear_pool_idle);
	for (size_t i = 0; i < s->upstream_count; i++) {
		for (size_t k = 0; k < s->upstreams[i]->peer_count; k++)
			adopt_peer(e, s, s->upstreams[i], &s->upstreams[i]->peers[k]);
		fit_turns(s, s->upstreams[i]);
	}
	each_run(e, trim_pool);
}

void
upstream_disown(struct engine *e, struct snapshot *s)
{
	free(s->upstream_runs);
	s->upstream_runs = NULL;
}

/* ------------------------------------------------------------------ what is gone */

static void
clear_named(struct peer_run *run)
{
	run->named = false;
}

static bool
is_wanted(const struct peer_run *run)
{
	return run->named || run->open != 0 || run->idle != NULL || run->lanes != NULL;
}

/* What closes an entry's hole is looked at in its place. */
static void
forget_runs(struct engine *e)
{
	for (size_t i = 0; i < e->peers->room;) {
		struct peer_run *run = e->peers->entries[i].value;

		if (run == NULL || is_wanted(run))
			i++;
		else
			free(map_remove(e->peers, run->key));
	}
}

static void
forget_counts(struct engine *e, const bool *named)
{
	for (size_t i = 0; i < PEER_COUNTS; i++) {
		struct peer_count *c = &e->shared->peers[i];

		if (!named[i] && c->key != 0 && c->in_flight == 0)
			*c = (struct peer_count){ .key = 0 };
	}
}

static void
name_peer(struct engine *e, const struct upstream_run *r, size_t i, bool *named)
{
	struct peer_count *first = e->shared->peers, *c = r->states[i].count;

	r->peers[i]->named = true;
	if (c >= first && c < first + PEER_COUNTS)
		named[c - first] = true;
}

void
upstream_forget_gone(struct engine *e)
{
	bool named[PEER_COUNTS] = { false };

	each_run(e, clear_named);
	for (const struct snapshot *s = e->snapshots; s != NULL; s = s->older)
		for (size_t i = 0; s->upstream_runs != NULL && i < s->upstream_count; i++)
			for (size_t k = 0; k < s->upstreams[i]->peer_count; k++)
				name_peer(e, &s->upstream_runs[i], k, named);
	if (e->shared->peers_used)
		forget_counts(e, named);
	forget_runs(e);
}

void
upstream_close(struct engine *e)
{
	for (size_t i = 0; i < e->peers->room; i++)
		free(e->peers->entries[i].value);
	map_init(e->peers, &e->arena, false);
}

static struct peer_state *
states_of(const struct snapshot *s, const struct upstream *u)
{
	return s->upstream_runs[u->index].states;
}

/* ------------------------------------------------------------------ what is counted */

struct peer_name
upstream_peer_name(const char *name, const void *region, const struct peer_shared *shared)
{
	return (struct peer_name){
		.key = fingerprint_add(FINGERPRINT_START, name, strnlen(name, SHARED_NAME)) | 1,
		.home = (size_t)((const char *)shared - (const char *)region) / 64,
	};
}

/*
 * The homes are nearly a sequence: most stand where they are looked for first. Others have left
 * holes: all places it may have are looked at.
 */
struct peer_count *
upstream_count(struct peer_count *table, struct peer_name whose, bool make)
{
	struct peer_count *hole = NULL;

	for (size_t i = whose.home; i < whose.home + PEER_COUNT_TRIES; i++) {
		struct peer_count *c = &table[i % PEER_COUNTS];
		uint64_t has = atomic_load_explicit(&c->key, memory_order_relaxed);

		if (has == whose.key)
			return c;
		if (has == 0 && hole == NULL)
			hole = c;
	}
	if (!make || hole == NULL)
		return NULL;
	atomic_store_explicit(&hole->key, whose.key, memory_order_relaxed);
	return hole;
}

void
upstream_publish(struct engine *e)
{
	const struct snapshot *s = e->snapshot;

	for (size_t i = 0; s != NULL && i < s->upstream_count; i++)
		for (size_t k = 0; k < s->upstreams[i]->peer_count; k++) {
			const struct peer_run *run = s->upstream_runs[i].peers[k];
			struct peer_count *c = s->upstream_runs[i].states[k].count;

			atomic_store_explicit(
			    &c->idle, (uint32_t)run->idle_count, memory_order_relaxed);
			atomic_store_explicit(&c->open, run->open, memory_order_relaxed);
		}
}

/* An eighth of each: the last dozen or so are what it shows. */
void
upstream_answered(struct peer_count *c, uint64_t us)
{
	uint32_t now = (uint32_t)MIN_OF(MAX_OF(us, UINT64_C(1)), (uint64_t)INT32_MAX);
	uint32_t before = atomic_load_explicit(&c->latency, memory_order_relaxed);

	atomic_store_explicit(&c->latency, before == 0 ? now : before - before / 8 + now / 8,
	    memory_order_relaxed);
}

/* ------------------------------------------------------------------ whose turn it is */

static bool
is_drained(const struct peer_state *state)
{
	return unlikely(atomic_load_explicit(&state->shared->drained, memory_order_relaxed) != 0);
}

static bool
peer_set_is_empty(const struct peer_set *set)
{
	uint64_t any = 0;

	for (size_t i = 0; i < ARRAY_COUNT(set->bits); i++)
		any |= set->bits[i];
	return any == 0;
}

/* Until when it rests; 0: it is up. */
static uint64_t
rests_until(const struct peer *p, const struct peer_state *state)
{
	if (p->max_fails == 0)
		return 0;
	return atomic_load_explicit(&state->shared->down_until, memory_order_relaxed);
}

/* The rest is over: of all workers, the one that pushes it ahead has the trial. */
static bool
claim_trial(const struct peer *p, struct peer_state *state, uint64_t until, uint64_t now)
{
	if (until > now)
		return false;
	state->trial = atomic_compare_exchange_strong_explicit(&state->shared->down_until, &until,
	    now + p->fail_timeout, memory_order_relaxed, memory_order_relaxed);
	return state->trial;
}

/*
 * Smooth weighted round robin: each gains its weight, the one that has most is
 * chosen and pays what all have gained. So 5:1:1 goes a a b a c a a, not a a a a a b c.
 */
static const struct peer *
choose_among(const struct snapshot *s, const struct upstream *u, const struct peer_set *tried,
    bool backup)
{
	struct peer_state *states = states_of(s, u);
	const struct peer *best = NULL;
	int64_t total = 0;

	for (const struct peer *p = u->peers; p < u->peers + u->peer_count; p++) {
		struct peer_state *state = &states[p->index];

		if (p->backup != backup || p->down || peer_set_has(tried, p) || is_drained(state))
			continue;

		uint64_t until = rests_until(p, state);

		if (unlikely(until != 0)) {
			if (claim_trial(p, state, until, clock_ms()))
				return p;
			continue;
		}
		state->current += p->weight;
		total += p->weight;
		if (best == NULL || state->current > states[best->index].current)
			best = p;
	}
	if (best != NULL)
		states[best->index].current -= total;
	return best;
}

static uint64_t
rests_since(const struct peer *p, const struct peer_state *state)
{
	uint64_t until = rests_until(p, state);

	return until - MIN_OF(until, p->fail_timeout);
}

/* All rest: rather than to give up at once, the one that has rested longest is asked. */
static const struct peer *
choose_rested(const struct snapshot *s, const struct upstream *u)
{
	struct peer_state *states = states_of(s, u);
	const struct peer *best = NULL;

	for (const struct peer *p = u->peers; p < u->peers + u->peer_count; p++)
		if (!p->down && !is_drained(&states[p->index]) && (best == NULL ||
		    rests_since(p, &states[p->index]) < rests_since(best, &states[best->index])))
			best = p;
	if (best != NULL)
		states[best->index].trial = true;
	return best;
}

static const struct peer *
choose_only(const struct snapshot *s, const struct upstream *u, const struct peer_set *tried)
{
	const struct peer *p = u->peers;

	return p->down || peer_set_has(tried, p) || is_drained(states_of(s, u)) ? NULL : p;
}

static const struct peer *
choose(const struct snapshot *s, const struct upstream *u, const struct peer_set *tried)
{
	if (u->peer_count == 1)
		return choose_only(s, u, tried);

	const struct peer *p = choose_among(s, u, tried, false);

	if (p == NULL)
		p = choose_among(s, u, tried, true);
	if (p == NULL && peer_set_is_empty(tried))
		p = choose_rested(s, u);
	return p;
}

const struct peer *
upstream_choose(struct engine *e, const struct snapshot *s, const struct upstream *u,
    const struct peer_set *tried)
{
	const struct peer *p = choose(s, u, tried);

	if (p != NULL)
		atomic_fetch_add_explicit(&states_of(s, u)[p->index].shared->taken, 1,
		    memory_order_relaxed);
	return p;
}

/* ------------------------------------------------------------------ health */

/* Only a trial ends a rest: an answer that was under way when the fails began says nothing. */
void
upstream_worked(struct engine *e, const struct snapshot *s, const struct upstream *u,
    const struct peer *p)
{
	struct peer_state *state = &states_of(s, u)[p->index];

	if (likely(!state->trial))
		return;
	state->trial = false;
	atomic_store_explicit(&state->shared->fails, 0, memory_order_relaxed);
	if (atomic_exchange_explicit(&state->shared->down_until, 0, memory_order_relaxed) != 0)
		log_line(LOG_NOTICE, "upstream " SLICE_FORMAT ": " SLICE_FORMAT " is back",
		    SLICE_ARG(u->name), SLICE_ARG(p->text));
}

/* Counts a failure among those of the last fail_timeout. */
static uint32_t
count_fail(const struct peer *p, struct peer_shared *shared, uint64_t now)
{
	uint64_t window = atomic_load_explicit(&shared->window, memory_order_relaxed);

	/* `now` may lie before it: every worker reads its clock once a pass. */
	if ((window == 0 || now >= window + p->fail_timeout) &&
	    atomic_compare_exchange_strong_explicit(&shared->window, &window, now,
	    memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&shared->fails, 0, memory_order_relaxed);
	return atomic_fetch_add_explicit(&shared->fails, 1, memory_order_relaxed) + 1;
}

static void
rest(const struct upstream *u, const struct peer *p, struct peer_shared *shared, uint64_t now)
{
	uint64_t before = atomic_exchange_explicit(&shared->down_until, now + p->fail_timeout,
	    memory_order_relaxed);

	atomic_store_explicit(&shared->fails, 0, memory_order_relaxed);
	atomic_store_explicit(&shared->window, 0, memory_order_relaxed);
	if (before == 0)
		log_line(LOG_WARN, "upstream " SLICE_FORMAT ": " SLICE_FORMAT " rests for %llu ms",
		    SLICE_ARG(u->name), SLICE_ARG(p->text), (unsigned long long)p->fail_timeout);
}

void
upstream_failed(struct engine *e, const struct snapshot *s, const struct upstream *u,
    const struct peer *p)
{
	struct peer_state *state = &states_of(s, u)[p->index];
	uint64_t now = clock_ms();

	atomic_fetch_add_explicit(&state->shared->failed, 1, memory_order_relaxed);
	/* Who is alone has no one to rest for. */
	if (p->max_fails == 0 || u->peer_count == 1)
		return;
	if (state->trial || count_fail(p, state->shared, now) >= p->max_fails) {
		state->trial = false;
		rest(u, p, state->shared, now);
	}
}

/* ------------------------------------------------------------------ idle connections */

/* Nothing came since it was given, nothing is left to go. */
static bool
is_quiet(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->readable && !c->peer_fin && !c->ended && c->in_n == 0 &&
	    c->broken == 0 && conn_waiting(c) == 0;
}

struct conn *
upstream_take(struct engine *e, const struct snapshot *s, const struct upstream *u,
    const struct peer *p)
{
	struct peer_run *run = s->upstream_runs[u->index].peers[p->index];

	for (struct conn *c = run->idle, *next; c != NULL; c = next) {
		next = c->pool_next;
		/* What its read still has in hand would be taken for the next answer. */
		if (unlikely(c->in_read))
			continue;
		if (unlikely(!is_quiet(c))) {
			conn_close(c);
			continue;
		}
		upstream_forget(c);
		conn_expect_nothing(c);
		return c;
	}
	return NULL;
}

void
upstream_owns(const struct snapshot *s, const struct upstream *u, const struct peer *p,
    struct conn *c)
{
	c->peer = s->upstream_runs[u->index].peers[p->index];
	c->peer->open++;
}

void
upstream_give(struct conn *c)
{
	struct peer_run *run = c->peer;

	if (c->pool_back != NULL)
		return;
	if (run == NULL || c->last || (int64_t)run->idle_count >= run->pool_idle || c->engine->draining ||
	    c->engine->accept_paused != 0 || c->state != CONN_OPEN || c->peer_fin || c->ended) {
		conn_close(c);
		return;
	}
	c->used = true;
	c->hold = 0;
	c->pool_next = run->idle;
	c->pool_back = &run->idle;
	if (run->idle != NULL)
		run->idle->pool_back = &c->pool_next;
	run->idle = c;
	run->idle_count++;
	conn_expect(c, run->pool_timeout, REASON_CLIENT_IDLE);
	/* Readiness that was not used up yet: only a read tells whether anything came. */
	if (c->readable)
		conn_wake(c);
}

void
upstream_forget(struct conn *c)
{
	if (c->pool_back == NULL)
		return;
	*c->pool_back = c->pool_next;
	if (c->pool_next != NULL)
		c->pool_next->pool_back = c->pool_back;
	c->pool_next = NULL;
	c->pool_back = NULL;
	c->peer->idle_count--;
}

static struct peer_run *
largest_pool(struct engine *e)
{
	struct peer_run *most = NULL;

	for (size_t i = 0; i < e->peers->room; i++) {
		struct peer_run *run = e->peers->entries[i].value;

		if (run != NULL && run->idle != NULL &&
		    (most == NULL || run->idle_count > most->idle_count))
			most = run;
	}
	return most;
}

/* More than one at a time: looking for them goes over all peers. */
bool
upstream_free_idle(struct engine *e)
{
	struct peer_run *run = largest_pool(e);

	if (run == NULL)
		return false;

	struct conn *c = run->idle;

	for (size_t kept = run->idle_count / 2; kept > 0; kept--)
		c = c->pool_next;
	for (struct conn *next; c != NULL; c = next) {
		next = c->pool_next;
		conn_close(c);
	}
	return true;
}
