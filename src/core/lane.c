/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's side of a lane: messages off the wire become exchanges, answers go back in their order.
 * It also makes the one message of what comes in parts (HTTP bodies), for both sides.
 */
#include "core/lane.h"

#include "base/clock.h"
#include "core/engine.h"
#include "core/exchange.h"

enum {
	LANE_MOST = 64,                 /* of a client: questions that are not answered */
	LANE_SHOWN = 48,                /* bytes of a malformed message that are logged */
};

static const struct codec *
codec_of(const struct conn *c)
{
	return c->protocol->codec;
}

static const struct settings *
settings_of(const struct conn *c)
{
	const struct listener *l = conn_listener(c);

	return l != NULL && l->only != NULL ? &l->only->settings : NULL;
}

/* ------------------------------------------------------------------ the list of the unanswered */

static void
join(struct lane *l, struct exchange *ex)
{
	ex->client_next = NULL;
	ex->client_back = l->end;
	*l->end = ex;
	l->end = &ex->client_next;
	l->count++;
}

static void
unlink_from(struct lane *l, struct exchange *ex)
{
	*ex->client_back = ex->client_next;
	if (ex->client_next != NULL)
		ex->client_next->client_back = ex->client_back;
	else
		l->end = ex->client_back;
	ex->client_back = NULL;
	l->count--;
}

/* Whose answer is written next, where order pairs. */
static struct exchange *
next_in_order(const struct lane *l)
{
	struct exchange *ex = l->first;

	while (ex != NULL && ex->unit != NULL && ex->unit->one_way)
		ex = ex->client_next;
	return ex;
}

/* ------------------------------------------------------------------ deadlines */

static uint32_t
age(const struct conn *c)
{
	return (uint32_t)MIN_OF(clock_ms() - c->opened, (uint64_t)UINT32_MAX);
}

/*
 * One deadline for all: when it comes it is looked at what is late, so that a message costs a store and no
 * more.
 */
static void
arm(struct conn *c)
{
	const struct settings *s = settings_of(c);

	if (s != NULL && c->expect_due == 0 && c->state == CONN_OPEN)
		conn_expect(c, s->idle_timeout, REASON_IDLE_TIMEOUT);
}

static void
close_quietly(struct conn *c, enum reason reason)
{
	engine_count(&c->engine->shared->reasons[reason], 1);
	conn_end(c);
}

static void
client_late(struct conn *c)
{
	struct lane *l = conn_state(c);
	const struct settings *s = settings_of(c);
	uint64_t idle = s != NULL ? s->idle_timeout : 0, silent = age(c) - l->touched;

	if (l->first != NULL || conn_waiting(c) != 0)
		conn_expect(c, MAX_OF(idle, (uint64_t)LOOP_TICK), REASON_IDLE_TIMEOUT);
	else if (silent >= idle)
		close_quietly(c, REASON_IDLE_TIMEOUT);
	else
		conn_expect(c, idle - silent, REASON_IDLE_TIMEOUT);
}

/* ------------------------------------------------------------------ the end of a client */

static void
fail_from(struct lane *l, struct exchange *ex, enum reason reason)
{
	while (ex != NULL) {
		struct exchange *next = ex->client_next;

		unlink_from(l, ex);
		exchange_client_failed(ex, reason);
		ex = next;
	}
}

void
lane_retire(struct conn *c)
{
	struct lane *l = conn_state(c);

	l->leaving = true;
	c->linger = !c->ended;
	conn_set_hold(c, HOLD_TURN);
	if (l->first == NULL)
		conn_end(c);
}

/* Order pairs, and this one gets no answer: what was asked behind it can have none either. */
static void
break_order(struct conn *c, struct exchange *ex)
{
	struct lane *l = conn_state(c);

	if (codec_of(c)->pairing == CODEC_IN_ORDER && ex->client_back != NULL)
		fail_from(l, ex->client_next, REASON_CLIENT_GONE);
	lane_retire(c);
}

void
lane_broken(struct conn *c, enum reason reason)
{
	struct lane *l = conn_state(c);

	if (c->side == SIDE_PEER) {
		lane_peer_broken(c, reason);
		return;
	}
	fail_from(l, l->first, reason);
	lane_close_own(l);
}

void
lane_closed(struct conn *c)
{
	struct lane *l = conn_state(c);

	if (c->side == SIDE_PEER) {
		lane_peer_closed(c);
		return;
	}
	if (l->end == NULL)
		return;
	fail_from(l, l->first, REASON_CLIENT_GONE);
	lane_close_own(l);
}

void
lane_forget(struct exchange *ex)
{
	if (ex->client_back != NULL)
		unlink_from(conn_state(ex->client), ex);
}

size_t
lane_weight(const struct conn *c)
{
	const struct lane *l = (const void *)c->state_of_protocol;
	size_t n = 0;

	if (c->side == SIDE_CLIENT)
		for (const struct exchange *ex = l->first; ex != NULL; ex = ex->client_next)
			n += ex->arena.total + ex->keeps;
	return n;
}

/* ------------------------------------------------------------------ questions */

static struct exchange *
begin(struct conn *c)
{
	struct exchange *ex = exchange_begin(c);

	c->exchange = NULL;
	join(conn_state(c), ex);
	return ex;
}

/* False: it is to be read again, when what was asked before is answered. */
static bool
question(struct conn *c, struct lane *l, const struct unit *u)
{
	struct exchange *ex = begin(c);

	l->heard = true;
	l->begun = 0;
	l->touched = age(c);
	exchange_message(ex, u);
	/* It may be over, and its memory another's: the connection knows whether it is to be read again. */
	if (unlikely(c->exchange != NULL || (c->hold & HOLD_IDLE) != 0))
		return false;
	if (l->count >= LANE_MOST)
		conn_set_hold(c, HOLD_TURN);
	return true;
}

static void
log_malformed(const struct conn *c, struct slice in, const char *fault)
{
	char shown[4 * LANE_SHOWN];
	struct builder b = builder_on(shown, sizeof(shown));

	for (size_t i = 0; i < MIN_OF(in.n, (size_t)LANE_SHOWN); i++) {
		unsigned char byte = (unsigned char)in.at[i];

		if (byte >= ' ' && byte < 0x7f && byte != '\\' && byte != '"')
			builder_byte(&b, (char)byte);
		else
			builder_printf(&b, "\\x%02x", byte);
	}
	log_line(LOG_INFO, "malformed %s of %s, %s: \"" SLICE_FORMAT "\"%s",
	    c->side == SIDE_CLIENT ? "question" : "answer", c->protocol->name, fault,
	    SLICE_ARG(builder_slice(&b)), in.n > LANE_SHOWN ? "…" : "");
}

/* Said in the protocol's words, in its place behind what is under way; then the connection ends. */
static void
refuse(struct conn *c, enum reason reason)
{
	struct exchange *ex = begin(c);

	ex->close_client = true;
	exchange_abort(ex, reason);
	lane_retire(c);
}

static void
malformed(struct conn *c, struct slice in, const char *fault)
{
	log_malformed(c, in, fault);
	if (c->side == SIDE_CLIENT) {
		refuse(c, REASON_BAD_MESSAGE);
		return;
	}
	engine_count(&c->engine->shared->reasons[REASON_PEER_BAD_MESSAGE], 1);
	lane_broken(c, REASON_PEER_BAD_MESSAGE);
	conn_reset(c);
}

/* What is no message is passed over; where something was wrong with it, that is said. */
static void
skipped(struct conn *c, const struct unit *u)
{
	if (u->fault == NULL)
		return;
	log_malformed(c, u->wire, u->fault);
	engine_count(&c->engine->shared->reasons[c->side == SIDE_CLIENT ? REASON_BAD_MESSAGE :
	    REASON_PEER_BAD_MESSAGE], 1);
}

static size_t
took(struct conn *c, struct lane *l, const struct unit *u)
{
	if (c->side == SIDE_PEER)
		lane_answered(c, u);
	else if (!question(c, l, u))
		return 0;
	return u->wire.n;
}

static void
unfinished(struct conn *c, struct lane *l)
{
	if (c->side == SIDE_CLIENT && l->begun == 0) {
		l->begun = MAX_OF(age(c), 1u);
		arm(c);
	}
}

static size_t
heed(struct conn *c, struct slice in, enum codec_verdict verdict, const struct unit *u)
{
	struct lane *l = conn_state(c);

	switch (verdict) {
	case CODEC_MESSAGE:
		return took(c, l, u);
	case CODEC_SKIP:
		skipped(c, u);
		return u->wire.n;
	case CODEC_BAD:
		malformed(c, in, u->fault);
		return in.n;
	case CODEC_STARVED:
		conn_sacrifice(c);
		return in.n;
	case CODEC_MORE:
		unfinished(c, l);
		return 0;
	}
	return 0;
}

size_t
lane_read(struct conn *c, struct slice in)
{
	struct lane *l = conn_state(c);
	struct unit u = { .fault = NULL };

	if (unlikely(l->leaving))
		return in.n;
	return heed(c, in, codec_of(c)->next(codec_of(c), l->codec, in, &c->engine->loop.scratch, &u), &u);
}

/* ------------------------------------------------------------------ open, finish, end */

void
lane_open(struct conn *c)
{
	struct lane *l = conn_state(c);

	l->end = &l->first;
	if (c->exchange != NULL)
		return;
	codec_of(c)->begin(codec_of(c), l->codec, c->side == SIDE_CLIENT);
	if (c->side == SIDE_PEER)
		lane_peer_opened(c);
	else
		arm(c);
}

/* What was left may be the last message, or the half of one. */
static void
finish_reading(struct conn *c)
{
	struct lane *l = conn_state(c);
	struct slice in = slice_make(c->in + c->in_at, c->in_n);
	struct unit u = { .fault = NULL };
	enum codec_verdict verdict;

	if (l->finished || in.n == 0)
		return;
	l->finished = true;
	verdict = codec_of(c)->finish(codec_of(c), l->codec, in, &c->engine->loop.scratch, &u);
	if (verdict != CODEC_MORE)
		heed(c, in, verdict, &u);
}

/* The client has said all: it gets its answers, and then the end. */
void
lane_finish(struct conn *c, size_t left)
{
	struct lane *l = conn_state(c);

	if (c->exchange != NULL)        /* a talk that waits for its peer: the tunnel will see it */
		return;
	finish_reading(c);
	if (c->state != CONN_OPEN)
		return;
	if (c->side == SIDE_CLIENT) {
		if (l->first == NULL)
			conn_end(c);
		return;
	}
	lane_broken(c, REASON_PEER_CLOSED);
	conn_close(c);
}

void
lane_late(struct conn *c, enum reason reason)
{
	if (c->exchange != NULL && c->side == SIDE_PEER)
		exchange_peer_failed(c->exchange, reason);
	else if (c->side == SIDE_PEER)
		lane_peer_late(c, reason);
	else if (c->exchange == NULL)
		client_late(c);
}

/* Of a talk that came to nothing. */
void
lane_done(struct conn *c)
{
	if (c->side == SIDE_CLIENT)
		conn_end(c);
	else
		conn_close(c);
}

void
lane_drain(struct conn *c)
{
	if (c->side == SIDE_CLIENT && c->exchange == NULL)
		lane_retire(c);
	else if (c->side == SIDE_PEER && !lane_waits(c) && c->exchange == NULL)
		conn_close(c);
}

/* ------------------------------------------------------------------ answers */

/* The oldest may go on: those behind it that were answered earlier follow. */
static void
release(struct conn *c, struct lane *l)
{
	struct exchange *ex;

	l->releasing = true;
	while ((ex = next_in_order(l)) != NULL && ex->parked) {
		conn_write(c, ex->wire);
		exchange_unpark(ex);
	}
	l->releasing = false;
}

void
lane_left(struct conn *c, struct exchange *ex)
{
	struct lane *l = conn_state(c);

	if (ex->client_back != NULL)
		unlink_from(l, ex);
	if (unlikely(ex->close_client) && !l->leaving)
		lane_retire(c);
	if (l->releasing)
		return;
	if (l->first != NULL)
		release(c, l);
	if (unlikely(l->leaving || c->ended)) {
		if (l->first == NULL && (l->leaving || l->finished || c->in_n == 0)) {
			conn_end(c);
			return;
		}
	}
	if (c->hold != 0 && !l->leaving && l->count < LANE_MOST &&
	    ((c->hold & HOLD_IDLE) == 0 || l->first == NULL)) {
		c->hold &= (uint8_t)~HOLD_IDLE;
		conn_clear_hold(c, HOLD_TURN);
	}
}

/* Written now, or kept until those before it are. */
static void
give(struct exchange *ex, struct conn *c)
{
	struct lane *l = conn_state(c);

	ex->sent = ex->wire.n;
	if (likely(codec_of(c)->pairing != CODEC_IN_ORDER || next_in_order(l) == ex || ex->talk)) {
		/* The wire may lie in the exchange, which ends: what is written lives to the end of the pass. */
		conn_write(c, ex->wire);
		return;
	}
	ex->parked = true;
	ex->wire = arena_slice(&ex->arena, ex->wire);
}

bool
lane_write(struct exchange *ex, struct draft *d, struct slice *wire)
{
	const struct codec *k = codec_of(ex->client);
	const char *fault;

	d->question = ex->unit;
	d->id = ex->unit != NULL ? unit_id(ex->unit) : SLICE_EMPTY;
	d->is_answer = true;
	fault = k->write(k, d, &ex->engine->loop.scratch, wire);
	if (fault == NULL)
		return true;
	log_line(LOG_WARN, "an answer of %zu bytes cannot be written as %s: %s", d->body.n,
	    ex->client->protocol->name, fault);
	return false;
}

bool
lane_translate(
    struct exchange *ex, const struct codec *from, const struct unit *u, struct slice *wire)
{
	const struct codec *k = codec_of(ex->client);
	struct draft d = { .body = unit_body(u) };

	if (from != k)
		return lane_write(ex, &d, wire);
	*wire = u->wire;
	return k->pairing != CODEC_BY_ID ||
	       k->id_set(k, u, unit_id(ex->unit), &ex->engine->loop.scratch, wire) == NULL;
}

bool
lane_gather(struct exchange *ex, struct slice more, uint32_t max)
{
	struct gathered *g = &ex->gathered;
	size_t need = (size_t)g->n + more.n;

	if (need > max)
		return false;
	if (need > g->size) {
		size_t size = MIN_OF(MAX_OF(need, (size_t)g->size * 2), (size_t)max);
		char *grown = arena_alloc(&ex->arena, size);

		if (g->n != 0)
			memcpy(grown, g->at, g->n);
		g->at = grown;
		g->size = (uint32_t)size;
	}
	if (more.n != 0)
		memcpy(g->at + g->n, more.at, more.n);
	g->n = (uint32_t)need;
	return true;
}

/* An answer that comes in parts, of a peer that speaks HTTP, becomes one message. */
static void
give_parts(struct exchange *ex, struct conn *c, const struct part *part)
{
	struct draft d = { .body = part->data };

	if (part->kind == PART_HEAD)
		ex->gathered.n = 0;
	if (ex->gathered.n != 0 || !part->last) {
		if (!lane_gather(ex, part->data, codec_of(c)->max)) {
			exchange_abort(ex, REASON_PEER_BAD_MESSAGE);
			return;
		}
		d.body = slice_make(ex->gathered.at, ex->gathered.n);
	}
	if (!part->last)
		return;
	if (ex->status < 200 || ex->status >= 300)
		exchange_abort(ex, REASON_PEER_STATUS);
	else if (!lane_write(ex, &d, &ex->wire))
		exchange_abort(ex, REASON_PEER_BAD_MESSAGE);
	else
		give(ex, c);
}

void
lane_send(struct exchange *ex, struct conn *c, const struct part *part)
{
	if (c->side == SIDE_PEER)
		lane_ask(ex, c, part);
	else if (ex->wire.at != NULL)
		give(ex, c);
	else if (!part->interim)
		give_parts(ex, c, part);
}

/*
 * False, and nothing is answered: order pairs, so what follows cannot be answered either. A question
 * without an answer fails without one.
 */
bool
lane_fail(struct exchange *ex, struct conn *c, enum reason reason)
{
	const struct codec *k = codec_of(c);
	struct draft d = { .body = SLICE_EMPTY };

	ex->answer_state = ANSWER_NONE;
	if ((ex->unit != NULL && ex->unit->one_way) || k->pairing == CODEC_NONE) {
		if (ex->close_client)
			lane_retire(c);
		exchange_return_nothing(ex);
	} else if (k->error != NULL && k->error(k, ex, reason, &d.body) && lane_write(ex, &d, &ex->wire)) {
		exchange_return_head(ex, true);
	} else {
		break_order(c, ex);
		exchange_end(ex);
	}
	return true;
}

/* ------------------------------------------------------------------ the whole connection */

bool
lane_pin(struct exchange *ex)
{
	struct conn *c = ex->client;
	struct lane *l = conn_state(c);

	if (l->count > 1) {
		conn_set_hold(c, HOLD_IDLE);
		conn_set_hold(c, HOLD_TURN);
		ex->again = true;
		return false;
	}
	unlink_from(l, ex);
	c->exchange = ex;
	ex->talk = true;
	conn_expect_nothing(c);
	conn_set_hold(c, HOLD_TURN);
	return true;
}

void
lane_congestion(struct conn *c, bool congested)
{
	if (c->side == SIDE_PEER) {
		lane_peer_congestion(c, congested);
		return;
	}
	lane_hold_own(conn_state(c), congested);
	if (congested)
		conn_set_hold(c, HOLD_OUTPUT);
	else
		conn_clear_hold(c, HOLD_OUTPUT);
}
