/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The peer's side of a lane: who asked what on a connection, and which answer is whose. A question
 * has a slot from when it is sent to when its answer has come, even if nobody waits for it any
 * more: so no answer is ever taken for another's.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "core/engine.h"
#include "core/exchange.h"
#include "core/lane.h"

enum {
	ASKED_FIRST = 16,               /* slots */
	ASKED_MOST = 32 * 1024,         /* unanswered on one connection */
	ASKED_FULL = 32,                /* on each shared one, before another is opened */
	ASKED_WAITING = 1024 * 1024,    /* bytes that it does not take: it is asked no more */
};

struct slot {
	uint64_t place;                 /* whose; 0: free */
	struct exchange *exchange;      /* NULL: given up, its answer is swallowed */
};

/* What is asked on one connection. */
struct asked {
	struct conn *conn;
	struct conn *owner;             /* the client whose own it is; NULL: shared, or used once */
	struct exchange *first, **end;  /* the living, in the order they were sent to us */
	struct slot *slots;             /* by place modulo size */
	uint32_t size;                  /* a power of two */
	uint32_t open;                  /* slots in use */
	uint32_t given_up;              /* of them */
	uint64_t next;                  /* the place that is given next; from 1 */
	uint64_t oldest;                /* in order: the place whose answer comes next */
	bool shared, once;
	bool leaving;                   /* nothing more is asked on it */
	uint8_t missed;                 /* heartbeats without an answer */
	struct heartbeat beat;          /* `send` is heap */
	struct peer_run *run;
	struct asked *list_next, **list_back;   /* of the run's shared ones, or the owner's */
};

static struct asked *
asked_of(const struct conn *c)
{
	return lane_of(c)->asked;
}

/* ------------------------------------------------------------------ slots */

static struct slot *
slot_at(struct asked *a, uint64_t place)
{
	return &a->slots[place & (a->size - 1)];
}

/* Places that differ by less than the size never meet. */
static bool
grow(struct asked *a)
{
	uint32_t size = a->size != 0 ? a->size * 2 : ASKED_FIRST;
	struct slot *grown = memory_try(size * sizeof(*grown));

	if (grown == NULL)
		return false;
	memset(grown, 0, size * sizeof(*grown));
	for (uint32_t i = 0; i < a->size; i++)
		if (a->slots[i].place != 0)
			grown[a->slots[i].place & (size - 1)] = a->slots[i];
	free(a->slots);
	a->slots = grown;
	a->size = size;
	return true;
}

static uint64_t
most_open(const struct conn *c)
{
	const struct codec *k = lane_codec(c);

	if (k->pairing != CODEC_BY_ID)
		return ASKED_MOST;

	uint64_t ids = k->id_most(k);

	/* Half of the ids, so that one is free near where the next is looked for. */
	return ids < ASKED_MOST ? (ids + 1) / 2 : ASKED_MOST;
}

static uint64_t
following(const struct asked *a, uint64_t place)
{
	const struct codec *k = lane_codec(a->conn);

	return k->pairing == CODEC_BY_ID && place >= k->id_most(k) ? 1 : place + 1;
}

/* Each number up to `most` for another one of them, as only this process knows: four rounds of Feistel. */
APART static uint64_t
shuffle(uint64_t number, uint64_t most)
{
	unsigned half = (65 - (unsigned)__builtin_clzll(most)) / 2;
	uint64_t mask = (UINT64_C(1) << half) - 1;

	do {
		uint64_t left = number >> half, right = number & mask;

		for (uint64_t round = 0; round < 4; round++) {
			uint64_t input[2] = { right, round };
			uint64_t mixed = hash_bytes(slice_make((const char *)input, sizeof(input)));

			right = left ^ (mixed & mask);
			left = input[0];
		}
		number = left << half | right;
	} while (number == 0 || number > most);
	return number;
}

/*
 * Anybody can send a datagram under the address of a peer: he shall not know which id is awaited (RFC 5452
 * 4.3). None comes again before all others have.
 */
static uint64_t
next_place(const struct asked *a)
{
	const struct codec *k = lane_codec(a->conn);

	if (likely(!a->conn->datagrams) || k->pairing != CODEC_BY_ID)
		return a->next;
	return shuffle(a->next, k->id_most(k));
}

/* A place for the exchange; 0: there is no memory, or none is free. */
static uint64_t
take_place(struct asked *a, struct exchange *ex)
{
	uint64_t place = next_place(a);

	if (a->open + 1 > a->size / 2 && a->size <= most_open(a->conn) && !grow(a))
		return 0;
	if (a->open >= a->size || a->open >= most_open(a->conn))
		return 0;
	while (slot_at(a, place)->place != 0) {
		a->next = following(a, a->next);
		place = next_place(a);
	}
	*slot_at(a, place) = (struct slot){ place, ex };
	a->next = following(a, a->next);
	a->open++;
	a->run->owed++;
	return place;
}

/* Its answer came, or will never. */
static void
give_place(struct asked *a, struct slot *s)
{
	if (s->exchange == NULL)
		a->given_up--;
	*s = (struct slot){ 0 };
	a->open--;
	a->run->owed--;
}

/* The one that was given last, for nothing: order has no gaps. */
static void
take_back(struct asked *a, uint64_t place)
{
	give_place(a, slot_at(a, place));
	if (lane_codec(a->conn)->pairing == CODEC_IN_ORDER)
		a->next = place;
}

/* Its answer will be swallowed. */
static void
give_up(struct asked *a, uint64_t place)
{
	slot_at(a, place)->exchange = NULL;
	a->given_up++;
}

/* ------------------------------------------------------------------ the living */

static void
join(struct asked *a, struct exchange *ex)
{
	ex->peer = a->conn;
	ex->place = 0;
	ex->due = 0;
	ex->peer_next = NULL;
	ex->peer_back = a->end;
	*a->end = ex;
	a->end = &ex->peer_next;
}

static void
unlink_from(struct asked *a, struct exchange *ex)
{
	*ex->peer_back = ex->peer_next;
	if (ex->peer_next != NULL)
		ex->peer_next->peer_back = ex->peer_back;
	else
		a->end = ex->peer_back;
	ex->peer_back = NULL;
	ex->peer_next = NULL;
}

/* Nothing more is asked on it; what was said goes out before. */
static void
let_go(struct asked *a)
{
	a->leaving = true;
	if (conn_waiting(a->conn) != 0)
		conn_end(a->conn);
	else
		conn_close(a->conn);
}

/* Nobody waits for it, though it may owe answers to those who have gone. */
static void
become_idle(struct asked *a)
{
	struct conn *c = a->conn;

	if (c->state != CONN_OPEN)
		return;
	a->leaving |= a->open >= most_open(c);
	if (a->leaving && a->owner != NULL)
		lane_retire(a->owner);
	if (a->leaving || ((a->once || c->engine->draining) && a->owner == NULL))
		let_go(a);
	else if (a->beat.interval != 0)
		conn_expect(c, a->beat.interval, REASON_PEER_HEARTBEAT);
	else if (a->shared)
		conn_expect(c, a->run->pool_timeout, REASON_IDLE_TIMEOUT);
	else
		conn_expect_nothing(c);
}

void
lane_peer_part(struct conn *c, bool gone)
{
	struct asked *a = asked_of(c);

	if (a == NULL || (!gone && (a->run->listed || !a->shared)))
		return;
	a->leaving = true;
	if (a->first == NULL)
		become_idle(a);
}

void
lane_leave(struct conn *c, struct exchange *ex)
{
	struct asked *a = asked_of(c);

	ex->peer = NULL;
	if (a == NULL || ex->peer_back == NULL)
		return;
	unlink_from(a, ex);
	if (ex->place != 0 && c->datagrams && lane_codec(c)->pairing == CODEC_BY_ID)
		/* Its answer may be lost; and comes under an id that is not given again soon. */
		give_place(a, slot_at(a, ex->place));
	else if (ex->place != 0)
		give_up(a, ex->place);
	ex->place = 0;
	if (a->first == NULL)
		become_idle(a);
}

bool
lane_waits(const struct conn *c)
{
	const struct asked *a = c->side == SIDE_PEER ? asked_of(c) : NULL;

	return a != NULL && a->first != NULL;
}

/* ------------------------------------------------------------------ connections */

static void
list_in(struct asked *a, struct asked **list)
{
	a->list_next = *list;
	a->list_back = list;
	if (*list != NULL)
		(*list)->list_back = &a->list_next;
	*list = a;
}

static void
list_out(struct asked *a)
{
	if (a->list_back == NULL)
		return;
	*a->list_back = a->list_next;
	if (a->list_next != NULL)
		a->list_next->list_back = a->list_back;
	a->list_back = NULL;
	if (a->shared)
		a->run->lane_count--;
}

/* None of its own is full any more. */
static void
read_on(struct conn *owner)
{
	const struct lane *l = conn_state(owner);

	for (const struct asked *a = l->asked; a != NULL; a = a->list_next)
		if (a->conn->congested)
			return;
	conn_clear_hold(owner, HOLD_STEP);
}

void
lane_peer_closed(struct conn *c)
{
	struct lane *l = conn_state(c);
	struct asked *a = l->asked;

	if (a == NULL)
		return;
	if (a->first != NULL)
		lane_peer_broken(c, REASON_PEER_RESET);
	l->asked = NULL;
	a->run->owed -= a->open;
	list_out(a);
	if (a->owner != NULL)
		read_on(a->owner);
	/* Whoever fails the exchanges of it is still looking at it. */
	scratch_free_later(&c->engine->loop.scratch, a->slots);
	scratch_free_later(&c->engine->loop.scratch, (char *)(uintptr_t)a->beat.send.at);
	scratch_free_later(&c->engine->loop.scratch, a);
}

void
lane_peer_retire(struct conn *c)
{
	struct asked *a = asked_of(c);

	if (a == NULL)
		return;
	a->leaving |= a->owner == NULL;
	if (a->first == NULL && a->owner == NULL)
		let_go(a);
}

void
lane_close_own(struct lane *l)
{
	while (l->asked != NULL) {
		struct asked *a = l->asked;

		list_out(a);
		a->owner = NULL;
		let_go(a);
	}
}

/* It outlives the snapshot. */
static struct slice
heap_slice(struct slice from)
{
	char *at = from.n != 0 ? memory_alloc(from.n) : NULL;

	if (from.n != 0)
		memcpy(at, from.at, from.n);
	return slice_make(at, from.n);
}

static struct asked *
open_one(struct exchange *ex, const struct protocol_ops *protocol, const struct upstream *u,
    const struct peer *p)
{
	struct conn *c = exchange_connect(ex, u, p, protocol, false);

	if (c == NULL)
		return NULL;

	struct asked *a = memory_zalloc(sizeof(*a));
	struct lane *l = conn_state(c);

	a->conn = c;
	a->end = &a->first;
	a->next = a->oldest = 1;
	a->run = c->peer;
	l->asked = a;
	a->beat = u->heartbeat;
	a->beat.send = heap_slice(u->heartbeat.send);
	c->write_timeout = (uint32_t)u->write_timeout;
	return a;
}

static bool
lives(const struct asked *a, const struct protocol_ops *protocol)
{
	const struct conn *c = a->conn;

	return !a->leaving && c->protocol == protocol && !c->ended && c->broken == 0 &&
	       (c->state == CONN_OPEN || c->state == CONN_CONNECTING);
}

static bool
may_be_asked(const struct asked *a, const struct protocol_ops *protocol)
{
	return lives(a, protocol) && a->open < most_open(a->conn) &&
	       conn_waiting(a->conn) < ASKED_WAITING;
}

/* The one that owes least. Another is opened where all owe much. */
static struct asked *
reach_shared(struct exchange *ex, const struct protocol_ops *protocol, const struct upstream *u,
    const struct peer *p)
{
	struct peer_run *run = ex->snapshot->upstream_runs[u->index].peers[p->index];
	struct asked *best = NULL;

	for (struct asked *a = run->lanes; a != NULL; a = a->list_next)
		if (may_be_asked(a, protocol) && (best == NULL || a->open < best->open))
			best = a;
	if (best != NULL && (best->open < ASKED_FULL || run->lane_count >= u->pool_connections))
		return best;
	if (best == NULL && run->lane_count >= 2 * u->pool_connections) {
		errno = EMFILE;
		return NULL;
	}

	struct asked *fresh = open_one(ex, protocol, u, p);

	if (fresh == NULL)
		return best;
	fresh->shared = true;
	run->lane_count++;
	list_in(fresh, &run->lanes);
	return fresh;
}

/*
 * One to a peer, however much waits on it: what is said on a second would overtake, and be said to
 * one that knows nothing. (The client is held while its peer does not take what it asks.)
 */
static struct asked *
reach_own(struct exchange *ex, const struct protocol_ops *protocol, const struct upstream *u,
    const struct peer *p)
{
	struct lane *l = conn_state(ex->client);
	const struct peer_run *run = ex->snapshot->upstream_runs[u->index].peers[p->index];

	for (struct asked *a = l->asked; a != NULL; a = a->list_next) {
		if (!peer_run_is_same(a->run, run) || a->leaving || a->conn->protocol != protocol)
			continue;
		if (lives(a, protocol) && a->open < most_open(a->conn))
			return a;
		errno = EBUSY;          /* what it knows of its client another would not */
		return NULL;
	}

	struct asked *a = open_one(ex, protocol, u, p);

	if (a != NULL) {
		a->owner = ex->client;
		list_in(a, &l->asked);
	}
	return a;
}

const struct peer *
lane_known_peer(
    const struct exchange *ex, const struct upstream *u, const struct peer_set *tried)
{
	if (u->peer_count == 1 || ex->client == NULL || !lane_is(ex->client))
		return NULL;

	const struct lane *l = conn_state(ex->client);
	struct peer_run *const *runs = ex->snapshot->upstream_runs[u->index].peers;

	for (const struct asked *a = l->asked; a != NULL; a = a->list_next)
		for (size_t i = 0; !a->leaving && i < u->peer_count; i++)
			if (runs[i] == a->run && !peer_set_has(tried, &u->peers[i]))
				return &u->peers[i];
	return NULL;
}

/* A client without a lane of its own (HTTP) has a connection for each of its questions. */
static struct asked *
reach_once(struct exchange *ex, const struct protocol_ops *protocol, const struct upstream *u,
    const struct peer *p)
{
	struct asked *a = open_one(ex, protocol, u, p);

	if (a != NULL)
		a->once = true;
	return a;
}

bool
lane_reach(struct exchange *ex, const struct protocol_ops *protocol, const struct upstream *u,
    const struct peer *p)
{
	struct asked *a;

	if (ex->snapshot->upstream_runs[u->index].peers[p->index]->owed >= u->inflight_max) {
		errno = EBUSY;
		return false;
	}
	if (protocol->codec->independent && u->proxy_line == PROXY_LINE_OFF)
		a = reach_shared(ex, protocol, u, p);
	else if (lane_is(ex->client))
		a = reach_own(ex, protocol, u, p);
	else
		a = reach_once(ex, protocol, u, p);
	if (a == NULL)
		return false;
	join(a, ex);
	ex->peer_sent = UINT64_MAX;
	/* Of datagrams there is nothing to wait for. */
	if (a->conn->datagrams)
		conn_open_now(a->conn);
	return true;
}

void
lane_expect(struct exchange *ex, uint64_t ms)
{
	struct conn *c = ex->peer;

	ex->due = clock_ms() + ms;
	if (c->state == CONN_OPEN && (c->expect_due == 0 || c->expects != REASON_PEER_TIMEOUT ||
	    ex->due < c->expect_due))
		conn_expect(c, ms, REASON_PEER_TIMEOUT);
}

/* ------------------------------------------------------------------ asking */

bool
lane_is_one_way(const struct exchange *ex)
{
	const struct codec *asks = ex->client != NULL ? lane_codec(ex->client) : NULL;

	return (ex->unit != NULL && ex->unit->one_way) ||
	       (asks != NULL && asks->pairing == CODEC_NONE) ||
	       (ex->peer != NULL && lane_is(ex->peer) &&
		   lane_codec(ex->peer)->pairing == CODEC_NONE);
}

/* What is said to a peer of another protocol than the client's. */
static struct slice
question_body(const struct exchange *ex)
{
	return ex->unit != NULL ? unit_body(ex->unit) :
	    slice_make(ex->gathered.at, ex->gathered.n);
}

/* The client's own message, or one of its body, with `id`. NULL, or why not. */
static const char *
make_question(struct exchange *ex, const struct codec *k, struct slice id, struct slice *wire)
{
	struct scratch *scratch = &ex->engine->loop.scratch;
	const struct unit *u = ex->unit;
	struct draft d = { .id = id };

	if (u != NULL && ex->client != NULL && lane_codec(ex->client) == k) {
		*wire = codec_alone(k, u, scratch);
		/* Asked anew: the exchange may end before the pass does. */
		if (unlikely(ex->settled))
			*wire = scratch_slice(scratch, *wire);
		return id.n != 0 ? k->id_set(k, u, id, scratch, wire) : NULL;
	}
	d.body = question_body(ex);
	return k->write(k, &d, scratch, wire);
}

/*
 * Even if its client wants no answer, unless their protocol is the same: order pairs, or what a
 * client of another protocol says may hold an id, which is then not one of ours.
 */
static bool
is_answered_all_the_same(const struct exchange *ex, const struct codec *k)
{
	return k->pairing != CODEC_NONE &&
	       (ex->unit == NULL || ex->client == NULL || lane_codec(ex->client) != k);
}

static void
ask(struct exchange *ex, struct conn *c)
{
	struct asked *a = asked_of(c);
	const struct codec *k = lane_codec(c);
	char room[CODEC_ID_LONGEST];
	struct slice id = SLICE_EMPTY, wire;
	bool one_way = lane_is_one_way(ex);
	const char *fault;

	if (likely(!one_way) || is_answered_all_the_same(ex, k)) {
		ex->place = take_place(a, ex);
		if (ex->place == 0) {
			exchange_abort(ex, REASON_LIMIT);
			return;
		}
		if (k->pairing == CODEC_BY_ID)
			id = k->id_make(k, ex->place, room);
	}
	fault = make_question(ex, k, id, &wire);
	if (fault != NULL) {
		log_line(LOG_WARN, "a question cannot be written as %s: %s", c->protocol->name,
		    fault);
		if (ex->place != 0)
			take_back(a, ex->place);
		ex->place = 0;
		exchange_abort(ex, REASON_INTERNAL);
		return;
	}
	ex->peer_sent = c->sent + conn_waiting(c);
	conn_write(c, wire);
	if (likely(!one_way))
		return;
	if (ex->place != 0)
		give_up(a, ex->place);
	ex->place = 0;
	if (c->state == CONN_OPEN)
		exchange_is_said(ex);
}

void
lane_ask(struct exchange *ex, struct conn *c, const struct part *part)
{
	if (part->kind == PART_HEAD)
		ex->gathered.n = 0;
	if (part->data.n != 0 && !lane_gather(ex, part->data, lane_codec(c)->max))
		exchange_abort(ex, REASON_BODY_TOO_LARGE);
	else if (part->last || ex->unit != NULL)
		ask(ex, c);
}

/*
 * A client of its own is not read from while the peer does not take what it asks. Of a shared one
 * nobody is held: it is not chosen while it is full.
 */
void
lane_peer_congestion(struct conn *c, bool congested)
{
	struct asked *a = asked_of(c);

	if (a == NULL || a->owner == NULL)
		return;
	if (congested)
		conn_set_hold(a->owner, HOLD_STEP);
	else
		read_on(a->owner);
}

void
lane_hold_own(struct lane *l, bool held)
{
	for (struct asked *a = l->asked; a != NULL; a = a->list_next)
		if (held)
			conn_set_hold(a->conn, HOLD_OUTPUT);
		else
			conn_clear_hold(a->conn, HOLD_OUTPUT);
}

/* ------------------------------------------------------------------ answers */

/* The slot of the question that `u` answers; NULL: nobody has asked for it. */
static struct slot *
find_slot(struct asked *a, const struct codec *k, const struct unit *u)
{
	uint64_t place = a->oldest;

	if (k->pairing == CODEC_NONE || a->size == 0 || u->pushed)
		return NULL;
	if (k->pairing == CODEC_BY_ID && (u->id_n == 0 || !k->id_number(k, unit_id(u), &place)))
		return NULL;

	struct slot *s = slot_at(a, place);

	if (place == 0 || s->place != place)
		return NULL;
	/* What was not asked yet cannot be answered. */
	return s->exchange != NULL && exchange_is_untouched(s->exchange) ? NULL : s;
}

/* On a connection of its own it is the client's all the same; else nobody's. */
static void
unasked(struct asked *a, const struct unit *u)
{
	if (a->owner != NULL && a->owner->protocol->codec == lane_codec(a->conn))
		lane_put(a->owner,
		    codec_alone(lane_codec(a->conn), u, &a->conn->engine->loop.scratch));
	else
		engine_count(&a->conn->engine->shared->reasons[REASON_UNASKED], 1);
}

/*
 * To who speaks another protocol the answer is a body, in which stands the id that its question's
 * body had, and not ours.
 */
APART static void
answer_with_its_id(struct exchange *ex, const struct codec *k, const struct unit *u)
{
	struct scratch *scratch = &ex->engine->loop.scratch;
	_Alignas(8) unsigned char state[CODEC_STATE] = "";
	struct slice id = k->body_id(k, question_body(ex)), wire;
	enum codec_verdict verdict = CODEC_SKIP;
	struct unit anew;

	if (id.n != 0 && k->body_id(k, unit_body(u)).n != 0 &&
	    k->id_set(k, u, id, scratch, &wire) == NULL) {
		k->begin(k, state, false);
		while ((verdict = k->next(k, state, wire, scratch, &anew)) == CODEC_SKIP)
			wire = slice_after(wire, anew.wire.n);
	}
	exchange_answer_message(ex, k, verdict == CODEC_MESSAGE ? &anew : u);
}

void
lane_answered(struct conn *c, const struct unit *u)
{
	struct asked *a = asked_of(c);
	const struct codec *k = lane_codec(c);
	struct slot *s = find_slot(a, k, u);

	if (s == NULL) {
		unasked(a, u);
		return;
	}

	struct exchange *ex = s->exchange;

	give_place(a, s);
	a->missed = 0;
	if (k->pairing == CODEC_IN_ORDER)
		a->oldest++;
	if (ex != NULL) {
		unlink_from(a, ex);
		ex->place = 0;
		ex->peer = NULL;
	}
	if (a->first == NULL)
		become_idle(a);
	if (ex == NULL)
		return;
	if (k->body_id == NULL || ex->client == NULL || ex->client->protocol->codec == k)
		exchange_answer_message(ex, k, u);
	else
		answer_with_its_id(ex, k, u);
}

/* ------------------------------------------------------------------ opened, late, broken */

/* The one that is late first. */
static void
expect_first(struct asked *a)
{
	uint64_t now = clock_ms(), due = 0;

	for (const struct exchange *ex = a->first; ex != NULL; ex = ex->peer_next)
		if (ex->due != 0 && (due == 0 || ex->due < due))
			due = ex->due;
	if (due != 0)
		conn_expect(a->conn, due > now ? due - now : 0, REASON_PEER_TIMEOUT);
}

void
lane_peer_opened(struct conn *c)
{
	struct asked *a = asked_of(c);
	struct exchange *ex = a->first;

	while (ex != NULL) {
		struct exchange *next = ex->peer_next;

		if (ex->place == 0 && ex->peer_sent != UINT64_MAX)
			exchange_is_said(ex);
		ex = next;
	}
	if (a->first == NULL)
		become_idle(a);
	else
		expect_first(a);
}

/* Those that wait too long; the others are looked at when their time comes. */
static void
fail_late(struct asked *a)
{
	uint64_t now = clock_ms();
	struct exchange *ex = a->first;

	while (ex != NULL) {
		if (ex->due == 0 || ex->due > now) {
			ex = ex->peer_next;
			continue;
		}
		/* Order pairs: what is behind it waits for it as well. */
		a->leaving |= lane_codec(a->conn)->pairing == CODEC_IN_ORDER;
		exchange_peer_failed(ex, REASON_PEER_TIMEOUT);
		/* With it may have gone who stood behind it. */
		ex = a->first;
	}
	if (a->conn->state != CONN_OPEN)
		return;
	if (a->leaving && a->owner != NULL)
		lane_retire(a->owner);
	expect_first(a);
}

static bool
may_beat(const struct asked *a, const struct codec *k)
{
	if (k->may_beat == NULL || a->owner == NULL || lane_codec(a->owner) != k)
		return true;

	const struct lane *l = lane_of(a->owner);

	return k->may_beat(k, l->codec);
}

/* A question of nobody: its answer is swallowed, and says that the peer is there. */
static void
beat(struct asked *a)
{
	struct conn *c = a->conn;
	const struct codec *k = lane_codec(c);
	char room[CODEC_ID_LONGEST];
	struct draft d = { .body = a->beat.send };
	struct slice wire;

	if (a->missed >= a->beat.miss) {
		engine_count(&c->engine->shared->reasons[REASON_PEER_HEARTBEAT], 1);
		lane_peer_broken(c, REASON_PEER_HEARTBEAT);
		conn_reset(c);
		return;
	}

	/* What it owes to those who have gone will not come any more. */
	if (a->open > a->beat.miss && a->owner == NULL) {
		let_go(a);
		return;
	}
	conn_expect(c, a->beat.interval, REASON_PEER_HEARTBEAT);
	if (!may_beat(a, k))
		return;

	uint64_t place = k->pairing != CODEC_NONE ? take_place(a, NULL) : 0;

	if (place == 0 && k->pairing != CODEC_NONE)
		return;
	if (place != 0)
		a->given_up++;
	if (place != 0 && k->pairing == CODEC_BY_ID)
		d.id = k->id_make(k, place, room);
	if (d.body.n == 0 && k->ping != NULL) {
		wire = k->ping(k);
	} else if (k->write(k, &d, &c->engine->loop.scratch, &wire) != NULL) {
		if (place != 0)
			take_back(a, place);
		return;
	}
	a->missed += place != 0;
	conn_write(c, wire);
}

void
lane_peer_late(struct conn *c, enum reason reason)
{
	struct asked *a = asked_of(c);

	if (c->state == CONN_CONNECTING) {
		lane_peer_broken(c, reason);
		conn_close(c);
	} else if (reason == REASON_IDLE_TIMEOUT) {
		if (a->first == NULL)
			let_go(a);
	} else if (reason == REASON_PEER_HEARTBEAT) {
		beat(a);
	} else if (c->hold != 0) {
		/* Its answer may be there: we do not read it. */
		conn_expect(c, LOOP_TICK, REASON_PEER_TIMEOUT);
	} else {
		fail_late(a);
	}
}

void
lane_peer_broken(struct conn *c, enum reason reason)
{
	struct asked *a = asked_of(c);

	if (a == NULL)
		return;
	a->leaving = true;
	/* One connection that breaks is one failure, whoever was on it. */
	for (struct exchange *ex = a->first; ex != NULL; ex = ex->peer_next)
		ex->one_of_many = ex != a->first;
	for (struct exchange *ex; (ex = a->first) != NULL;) {
		exchange_peer_failed(ex, reason);
		if (a->first == ex)
			lane_leave(c, ex);
	}
	/* What it knew of its client is lost with it, and cannot be asked anew. */
	if (a->owner != NULL && c->sent != 0 && a->owner->state == CONN_OPEN)
		lane_retire(a->owner);
}
