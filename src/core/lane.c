/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's side of a lane: messages off the wire become exchanges, answers go back in their
 * order. It also makes the one message of what comes in parts (HTTP bodies), for both sides.
 */
#include "core/lane.h"

#include "base/clock.h"
#include "core/engine.h"
#include "core/exchange.h"

enum {
	LANE_SHOWN = 48,                /* bytes of a malformed message that are logged */
	LANE_DRAIN_GRACE = 1000,        /* ms for the first message of who came as the worker left */
};

const struct settings *
lane_settings(const struct conn *c)
{
	const struct listener *l = conn_listener(c);

	return l != NULL && l->only != NULL ? &l->only->settings : NULL;
}

static uint32_t
age(const struct conn *c)
{
	return (uint32_t)MIN_OF(clock_ms() - c->opened, (uint64_t)UINT32_MAX);
}

static void drain_client(struct conn *c);

/* What acts before a server is known. NULL: the listener is gone. */
static const struct listener_settings *
limits_of(const struct conn *c)
{
	const struct listener *l = conn_listener(c);

	return l != NULL ? &l->settings : NULL;
}

static void arm(struct conn *c);

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

	/* Datagrams are lost, and come in any order: whoever asks has to bear that. */
	if (c->datagrams)
		return;
	if (lane_codec(c)->pairing == CODEC_IN_ORDER && ex->client_back != NULL)
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
	lane_drop_held(c, l);
}

void
lane_forget(struct exchange *ex)
{
	if (ex->client_back != NULL)
		unlink_from(conn_state(ex->client), ex);
}

const struct exchange *
lane_first(const struct conn *c)
{
	return lane_of(c)->first;
}

size_t
lane_weight(const struct conn *c)
{
	const struct lane *l = lane_of(c);
	size_t n = 0;

	if (c->side == SIDE_CLIENT)
		for (const struct exchange *ex = l->first; ex != NULL; ex = ex->client_next)
			n += ex->arena.total + ex->keeps;
	return n;
}

void
lane_keep_source(struct conn *c)
{
	const struct lane *l = conn_state(c);

	for (struct exchange *ex = l->first; ex != NULL; ex = ex->client_next)
		if (ex->src == &c->remote)
			ex->src = memcpy(arena_alloc(&ex->arena, sizeof(*ex->src)), ex->src,
			    sizeof(*ex->src));
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

	exchange_set_unit(ex, u);
	exchange_message(ex);
	/*
	 * It may be over, and its memory another's: the connection knows whether it is to be read
	 * again.
	 */
	if (unlikely(c->exchange != NULL || (c->hold & HOLD_IDLE) != 0))
		return false;
	if (l->count >= l->most)
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

/*
 * Said in the protocol's words, in its place behind what is under way; then the connection ends. A
 * flow has no such end: what comes behind is another datagram.
 */
static void
refuse(struct conn *c, enum reason reason)
{
	struct exchange *ex = begin(c);

	ex->close_client = !c->datagrams;
	exchange_abort(ex, reason);
	if (!c->datagrams)
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
	/* Anybody may have sent it. */
	if (c->datagrams)
		return;
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

/* The next message begins where it ends: it gets its answer, and the connection goes on. */
static size_t
doubtful(struct conn *c, const struct unit *u)
{
	struct exchange *ex = begin(c);

	log_malformed(c, u->wire, u->fault);
	exchange_set_unit(ex, u);
	exchange_abort(ex, REASON_BAD_MESSAGE);
	return u->wire.n;
}

/* More than it may say now: what comes of that is the configuration's choice. */
static size_t
overdone(struct conn *c, enum rate_over over, const struct unit *u)
{
	struct exchange *ex;

	switch (over) {
	case RATE_WAIT:
		if (c->datagrams) {     /* nothing of it can wait */
			engine_count(&c->engine->shared->reasons[REASON_RATE], 1);
			break;
		}
		conn_set_hold(c, HOLD_RATE);
		arm(c);
		return 0;
	case RATE_REFUSE:
		ex = begin(c);
		exchange_set_unit(ex, u);
		exchange_abort(ex, REASON_RATE);
		break;
	case RATE_CLOSE:
		refuse(c, REASON_RATE);
		break;
	}
	return u->wire.n;
}

static size_t
took(struct conn *c, struct lane *l, const struct unit *u)
{
	if (c->side == SIDE_PEER) {
		lane_answered(c, u);
		return u->wire.n;
	}

	const struct listener_settings *s = limits_of(c);

	l->heard = true;
	l->missed = 0;
	l->begun = 0;
	l->touched = age(c);
	if (unlikely(s != NULL && s->message_rate.limit.each != 0) &&
	    rate_take(&s->message_rate.limit, &l->bucket, clock_us()) != 0)
		return overdone(c, (enum rate_over)s->message_rate.over, u);
	if (unlikely(u->fault != NULL))
		return doubtful(c, u);
	return question(c, l, u) ? u->wire.n : 0;
}

static void
unfinished(struct conn *c, struct lane *l)
{
	if (c->side == SIDE_CLIENT && l->begun == 0) {
		l->begun = MAX_OF(age(c), 1u);
		arm(c);
	}
}

/* It begins with no message, or with none yet. */
APART static size_t
took_none(struct conn *c, struct slice in, enum codec_verdict verdict, const struct unit *u)
{
	switch (verdict) {
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
		unfinished(c, conn_state(c));
		return 0;
	case CODEC_MESSAGE:
		break;
	}
	return 0;
}

static inline size_t
heed(struct conn *c, struct slice in, enum codec_verdict verdict, const struct unit *u)
{
	return likely(verdict == CODEC_MESSAGE) ? took(c, conn_state(c), u) :
						  took_none(c, in, verdict, u);
}

/* Nothing comes behind it: what is no message by now is none, and the next one begins anew. */
static enum codec_verdict
end_datagram(struct conn *c, struct lane *l, struct slice in, enum codec_verdict verdict,
    struct unit *u)
{
	const struct codec *k = lane_codec(c);

	if (verdict == CODEC_MORE)
		verdict = k->finish(k, l->codec, in, &c->engine->loop.scratch, u);
	if (verdict == CODEC_MORE) {
		verdict = CODEC_BAD;
		u->fault = "cut";
	}
	memset(l->codec, 0, sizeof(l->codec));
	k->begin(k, l->codec, c->side == SIDE_CLIENT);
	return verdict;
}

size_t
lane_read(struct conn *c, struct slice in)
{
	struct lane *l = conn_state(c);
	struct unit u;

	if (unlikely(l->leaving))
		return in.n;

	enum codec_verdict verdict =
	    lane_codec(c)->next(lane_codec(c), l->codec, in, &c->engine->loop.scratch, &u);

	if (c->datagrams && (verdict == CODEC_MORE || verdict == CODEC_BAD))
		verdict = end_datagram(c, l, in, verdict, &u);

	size_t taken = heed(c, in, verdict, &u);

	if (unlikely(l->draining) && (verdict == CODEC_MORE || taken == in.n))
		lane_retire(c);
	return taken;
}

/* ------------------------------------------------------------------ deadlines */

/* What may be late next, and in how many ms; UINT64_MAX: nothing. */
struct lateness {
	uint64_t in;
	enum reason reason;
};

static void
sooner(struct lateness *l, uint64_t from, uint64_t ms, uint64_t now, enum reason reason)
{
	uint64_t due = from + ms, in = due > now ? due - now : 0;

	if (ms != 0 && in < l->in)
		*l = (struct lateness){ in, reason };
}

static struct lateness
next_late(const struct conn *c, const struct listener_settings *s, uint64_t idle)
{
	const struct lane *l = lane_of(c);
	struct lateness late = { UINT64_MAX, REASON_NONE };
	uint32_t now = age(c);

	if (c->hold & HOLD_RATE)
		sooner(&late, now, LOOP_TICK, now, REASON_RATE);
	if (!l->heard)
		sooner(&late, 0, s->first_message_timeout, now, REASON_FIRST_MESSAGE_TIMEOUT);
	if (l->begun != 0 && c->hold == 0)
		sooner(&late, l->begun, s->message_timeout, now, REASON_MESSAGE_TIMEOUT);
	else if (l->first == NULL && conn_waiting(c) == 0)
		sooner(&late, l->touched, idle, now, REASON_IDLE_TIMEOUT);
	sooner(&late, MAX_OF(l->touched, l->beaten), s->heartbeat.interval, now, REASON_HEARTBEAT);
	return late;
}

/*
 * One deadline for all: when it comes it is looked at what is late, so that a message costs a store
 * and no more.
 */
static void
arm(struct conn *c)
{
	const struct listener_settings *limits = limits_of(c);
	const struct settings *s = lane_settings(c);

	if (s == NULL || c->state != CONN_OPEN)
		return;

	struct lateness late = next_late(c, limits, s->idle_timeout);

	/* While it has to read, or waits for its answers, nothing of these is its fault. */
	if (late.in == UINT64_MAX)
		late.in = MAX_OF(s->idle_timeout, (uint64_t)LOOP_TICK);
	conn_expect(c, late.in, late.reason);
}

static void
close_quietly(struct conn *c, enum reason reason)
{
	struct lane *l = conn_state(c);

	engine_count(&c->engine->shared->reasons[reason], 1);
	lane_broken(c, reason);
	l->leaving = true;
	conn_set_hold(c, HOLD_TURN);
	conn_end(c);
}

/* False: there is nobody. */
static bool
beat(struct conn *c, const struct heartbeat *h)
{
	struct lane *l = conn_state(c);
	const struct codec *k = lane_codec(c);
	struct draft d = { .body = h->send, .is_answer = true };
	struct slice wire = SLICE_EMPTY;

	if (l->missed >= h->miss && c->hold == 0) {
		close_quietly(c, REASON_HEARTBEAT);
		return false;
	}
	/* What it said may be there: we do not read it. */
	l->missed += c->hold == 0;
	l->beaten = age(c);
	if (h->send.n == 0 && k->ping != NULL)
		wire = k->ping(k);
	else if (k->write(k, &d, &c->engine->loop.scratch, &wire) != NULL)
		return true;
	conn_write(c, wire);
	return true;
}

static void
client_late(struct conn *c)
{
	const struct listener_settings *limits = limits_of(c);
	const struct settings *s = lane_settings(c);

	/* It was given a moment to say why it came. */
	if (s == NULL || (c->engine->draining && !((struct lane *)conn_state(c))->heard)) {
		lane_retire(c);
		return;
	}

	struct lateness late = next_late(c, limits, s->idle_timeout);

	if (late.in == 0 || late.reason == REASON_RATE)
		switch (late.reason) {
		case REASON_RATE:
			conn_clear_hold(c, HOLD_RATE);
			break;
		case REASON_HEARTBEAT:
			if (!beat(c, &limits->heartbeat))
				return;
			break;
		case REASON_MESSAGE_TIMEOUT:
			refuse(c, late.reason);
			return;
		default:
			close_quietly(c, late.reason);
			return;
		}
	arm(c);
}

/* ------------------------------------------------------------------ open, finish, end */

void
lane_open(struct conn *c)
{
	struct lane *l = conn_state(c);

	l->end = &l->first;
	if (c->exchange != NULL)
		return;
	lane_codec(c)->begin(lane_codec(c), l->codec, c->side == SIDE_CLIENT);
	if (c->side == SIDE_PEER) {
		lane_peer_opened(c);
		return;
	}

	const struct listener_settings *s = limits_of(c);

	l->most = s != NULL ? (uint32_t)s->messages_max : 1;
	if (unlikely(c->engine->draining))      /* behind a PROXY line */
		drain_client(c);
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
	verdict = lane_codec(c)->finish(lane_codec(c), l->codec, in, &c->engine->loop.scratch, &u);
	if (verdict != CODEC_MORE)
		l->finished = heed(c, in, verdict, &u) != 0;
}

/* The client has said all: it gets its answers, and then the end. */
void
lane_finish(struct conn *c, size_t left)
{
	struct lane *l = conn_state(c);

	if (c->exchange != NULL)        /* a talk that waits for its peer: the tunnel will see it */
		return;
	finish_reading(c);
	if (c->state != CONN_OPEN || c->exchange != NULL)
		return;
	if (c->side == SIDE_CLIENT) {
		if (l->first == NULL && (l->finished || c->in_n == 0))
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

/* One that came a moment ago may have been promised its first answer. */
static void
drain_client(struct conn *c)
{
	struct lane *l = conn_state(c);

	if (l->heard || l->begun != 0 || c->datagrams) {
		lane_retire(c);
		return;
	}
	l->draining = true;
	conn_expect(c, LANE_DRAIN_GRACE, REASON_SHUTDOWN);
}

void
lane_drain(struct conn *c)
{
	if (c->side == SIDE_CLIENT && c->exchange == NULL)
		drain_client(c);
	else if (c->side == SIDE_PEER && c->exchange == NULL)
		lane_peer_retire(c);
}

/* ------------------------------------------------------------------ answers */

/* While nothing was read, the half of a message was not late. */
static void
read_on(struct conn *c, enum conn_hold why)
{
	struct lane *l = conn_state(c);

	if (l->begun != 0)
		l->begun = MAX_OF(age(c), 1u);
	conn_clear_hold(c, why);
}

/* The oldest may go on: those behind it that were answered earlier follow. */
static void
release(struct conn *c, struct lane *l)
{
	struct exchange *ex;

	l->releasing = true;
	while ((ex = next_in_order(l)) != NULL && ex->parked) {
		/* It lay in the exchange, which ends. */
		lane_put(c, scratch_slice(&c->engine->loop.scratch, ex->wire));
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
	if (l->first == NULL)
		l->touched = age(c);
	if (unlikely(ex->close_client) && !l->leaving) {
		l->draining = ex->close_drains;
		if (!l->draining || (c->in_n == 0 && !c->in_read))
			lane_retire(c);
		else
			conn_wake(c);
	}
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
	if (c->hold != 0 && !l->leaving && l->count < l->most &&
	    ((c->hold & HOLD_IDLE) == 0 || l->first == NULL)) {
		c->hold &= (uint8_t)~HOLD_IDLE;
		read_on(c, HOLD_TURN);
	}
}

/* Written now, or kept until those before it are. */
static void
give(struct exchange *ex, struct conn *c)
{
	struct lane *l = conn_state(c);

	ex->sent = ex->wire.n;
	if (likely(lane_codec(c)->pairing != CODEC_IN_ORDER || next_in_order(l) == ex ||
	    ex->talk)) {
		lane_put(c, ex->wire);
		return;
	}
	ex->parked = true;
	ex->wire = arena_slice(&ex->arena, ex->wire);
	/* What comes behind a last word is no question any more. */
	if (unlikely(ex->close_client) && !ex->close_drains)
		lane_retire(c);
}

bool
lane_write(struct exchange *ex, struct draft *d, struct slice *wire)
{
	const struct codec *k = lane_codec(ex->client);
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
	const struct codec *k = lane_codec(ex->client);
	struct draft d = { .body = unit_body(u) };

	if (from != k)
		return lane_write(ex, &d, wire);
	*wire = codec_alone(k, u, &ex->engine->loop.scratch);
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
		if (!lane_gather(ex, part->data, lane_codec(c)->max)) {
			exchange_abort(ex, REASON_PEER_BAD_MESSAGE);
			return;
		}
		d.body = slice_make(ex->gathered.at, ex->gathered.n);
	}
	if (!part->last)
		return;
	if (ex->status < 200 || ex->status >= 300)
		exchange_abort(ex, REASON_PEER_STATUS);
	else if (lane_is_one_way(ex))
		ex->sent = 0;
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
 * A question without an answer fails without one; else, where there are no words, order is broken.
 */
bool
lane_fail(struct exchange *ex, struct conn *c, enum reason reason)
{
	const struct codec *k = lane_codec(c);
	struct draft d = { .body = SLICE_EMPTY };

	ex->answer_state = ANSWER_NONE;
	if ((ex->unit != NULL && ex->unit->one_way) || k->pairing == CODEC_NONE) {
		if (ex->close_client)
			lane_retire(c);
		exchange_return_nothing(ex);
	} else if (k->error != NULL && k->error(k, ex, reason, &d.body) &&
	    lane_write(ex, &d, &ex->wire)) {
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

	/* Its bytes are not there any more. */
	if (ex->client_next != NULL || (!c->in_read && !l->finished)) {
		exchange_abort(ex, REASON_INTERNAL);
		return false;
	}
	if (l->count > 1) {
		conn_set_hold(c, HOLD_IDLE);
		conn_set_hold(c, HOLD_TURN);
		ex->again = true;
		return false;
	}
	unlink_from(l, ex);
	/* Nothing will be asked on them, and their ends are not its end. */
	lane_close_own(l);
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

	struct lane *l = conn_state(c);
	const struct settings *s = lane_settings(c);

	if (!congested)
		lane_let_go_held(c, l);
	/* Where answers are dropped nobody waits. */
	if (congested && s != NULL && s->answer_over != ANSWER_WAIT)
		return;
	lane_hold_own(l, congested);
	if (congested)
		conn_set_hold(c, HOLD_OUTPUT);
	else
		read_on(c, HOLD_OUTPUT);
}
