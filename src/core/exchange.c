/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The middle of the road: a question comes from the client's protocol, runs
 * the steps of its route, goes to a peer's protocol; the answer comes back
 * through the same steps. Every exchange ends in one place, exchange_finish.
 * How one fails is exchange_fail.c's.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "core/exchange_inner.h"
#include "core/proxy_header.h"
#include "core/tunnel.h"

static void exchange_on_settle(struct loop_task *t);
static void exchange_expect_body(struct exchange *ex);

/* ------------------------------------------------------------------ begin, settle, end */

static struct exchange *
exchange_take(struct engine *e)
{
	struct exchange *ex = e->free_exchanges;

	if (ex != NULL) {
		e->free_exchanges = ex->free_next;
	} else {
		ex = memory_alloc(sizeof(*ex));
		ex->settle = (struct loop_task){ .run = exchange_on_settle };
		arena_init(&ex->arena, ex->first, sizeof(ex->first));
	}
	memset(ex, 0, offsetof(struct exchange, settle));
	return ex;
}

struct exchange *
exchange_begin(struct conn *client)
{
	struct engine *e = client->engine;
	struct exchange *ex = exchange_take(e);

	ex->engine = e;
	ex->client = client;
	ex->src = &client->remote;
	ex->taker = -1;
	ex->log_sink = -1;
	ex->started_us = clock_us();
	ex->queued_before = client->sent + conn_waiting(client);
	ex->snapshot = snapshot_hold(likely(client->old == NULL) ? e->snapshot : client->old);
	ex->close_client = client->old != NULL;
	ex->question.edits_end = &ex->question.edits;
	ex->answer.edits_end = &ex->answer.edits;
	client->exchange = ex;
	client->turns++;
	e->exchange_count++;
	e->pins++;
	return ex;
}

void
exchange_stand_in(struct exchange *ex, struct engine *e, const struct addr *src)
{
	memset(ex, 0, offsetof(struct exchange, settle));
	ex->engine = e;
	ex->src = src;
	ex->taker = -1;
	ex->log_sink = -1;
	message_init(&ex->question);
	message_init(&ex->answer);
}

static void
exchange_settle_unit(struct exchange *ex)
{
	struct unit *u = ex->unit;
	struct slice wire = u->wire;

	unit_move(u, wire, arena_slice(&ex->arena, wire).at);
	/* Escaped on the wire: what stands in it lies elsewhere. */
	if (u->inner.n != 0 && (u->inner.at < u->wire.at || u->inner.at >= u->wire.at + u->wire.n))
		u->inner = arena_slice(&ex->arena, u->inner);
}

/* What is wanted of the heads after this pass moves out of the scratch. */
static void
exchange_settle(struct exchange *ex)
{
	struct message *m = &ex->question;

	if (ex->settled)
		return;
	ex->settled = true;
	ex->engine->pins--;
	if (ex->unit != NULL)
		exchange_settle_unit(ex);
	if (m->base != NULL)
		message_move(m, arena_slice(&ex->arena, slice_make(m->base, m->size)).at);
}

static void
exchange_on_settle(struct loop_task *t)
{
	struct exchange *ex = CONTAINER_OF(t, struct exchange, settle);

	if (!ex->free)
		exchange_settle(ex);
}

static void
exchange_give(struct exchange *ex)
{
	struct engine *e = ex->engine;

	exchange_land(ex);
	if (!ex->settled)
		e->pins--;
	if (ex->snapshot != NULL)
		snapshot_release(e, ex->snapshot);
	arena_reset(&ex->arena);
	ex->free = true;
	ex->free_next = e->free_exchanges;
	e->free_exchanges = ex;
	e->exchange_count--;
}

void
exchange_free(struct exchange *ex)
{
	arena_reset(&ex->arena);
	memory_show(ex->first, sizeof(ex->first));
	free(ex);
}

void
exchange_cancel(struct exchange *ex)
{
	ex->client->exchange = NULL;
	exchange_give(ex);
}

void
exchange_end_steps(struct exchange *ex)
{
	const struct steps *steps = ex->steps;

	if (steps == NULL || steps->state_size == 0)
		return;
	for (unsigned i = 0; i < ex->step; i++)
		if (steps->items[i].ops->end != NULL && (i >= 64 || (ex->ran >> i & 1) != 0))
			steps->items[i].ops->end(ex, &steps->items[i]);
	ex->ran = 0;
}

/* What the client's connection does next is its protocol's affair. */
static void
exchange_leave_client(struct exchange *ex)
{
	struct conn *c = ex->client;

	if (c == NULL)
		return;
	ex->client = NULL;
	if (lane_is(c)) {
		lane_left(c, ex);
		return;
	}
	c->exchange = NULL;
	if (c->state == CONN_CLOSED)
		return;
	c->hold &= (uint8_t)~(HOLD_OUTPUT | HOLD_STEP);
	if (c->congested)
		conn_set_hold(c, HOLD_OUTPUT);
	if (!ex->tunnelled)
		c->protocol->done(c);
}

static void
exchange_finish(struct exchange *ex)
{
	struct engine *e = ex->engine;

	exchange_end_steps(ex);
	exchange_drop_peer(ex, false);
	if (ex->client != NULL && !ex->tunnelled && !lane_is(ex->client))
		ex->sent = exchange_sent(ex, ex->client->sent + conn_waiting(ex->client));
	if (ex->reason != REASON_NONE)
		engine_count(&e->shared->reasons[ex->reason], 1);
	engine_count(&e->shared->exchanges, 1);
	if (ex->unit != NULL)
		engine_count(&e->shared->messages, 1);
	engine_count(&e->shared->bytes_in, ex->received);
	engine_count(&e->shared->bytes_out, ex->sent);
	if (ex->log_sink >= 0)
		access_write(e->sinks[ex->log_sink], ex->log_format, ex);
	exchange_leave_client(ex);
	exchange_give(ex);
}

void
exchange_end(struct exchange *ex)
{
	ex->ending = true;
	if (ex->busy == 0)
		exchange_finish(ex);
}

/* Most are over before anything has to be kept of them. */
void
exchange_left(struct exchange *ex)
{
	if (ex->ending)
		exchange_finish(ex);
	else
		loop_queue(&ex->engine->loop, LOOP_SETTLE, &ex->settle);
}

/* ------------------------------------------------------------------ the question */

static void
exchange_run(struct exchange *ex)
{
	while (ex->step < ex->steps->count && !ex->ending && !ex->gave_up) {
		const struct step *step = &ex->steps->items[ex->step];
		unsigned at = ex->step++;
		const struct handler_ops *ops = step->ops;

		if (step->when != NULL && ops->moment != MOMENT_ANSWER) {
			bool is = condition_is(step->when, ex);

			if (ex->gave_up)
				break;
			if (!is)
				continue;
		}
		if (at < 64)
			ex->ran |= UINT64_C(1) << at;
		if (ops->answer != NULL)
			ex->answers |= UINT64_C(1) << step->answer_bit;
		if (ops->question == NULL)
			continue;

		const struct steps *steps = ex->steps;

		/*
		 * Before the call: a step that answers at once may end up in error steps, with a
		 * taker of their own.
		 */
		ex->taker = (int16_t)at;

		enum verdict verdict = ops->question(ex, step);

		if (ex->steps != steps || ex->ending || verdict == STEP_TAKE)
			return;
		ex->taker = -1;
		if (verdict == STEP_HOLD) {
			ex->held = true;
			conn_set_hold(ex->client, HOLD_STEP);
			return;
		}
	}
	if (!ex->ending)
		exchange_abort(ex, ex->gave_up ? REASON_PATTERN_LIMIT : REASON_NO_ROUTE);
}

void
exchange_start(struct exchange *ex, const struct steps *steps)
{
	ex->steps = steps;
	ex->step = 0;
	ex->taker = -1;
	ex->answers = 0;
	ex->ran = 0;
	ex->state = steps->state_size != 0 ? arena_zalloc(&ex->arena, steps->state_size) : NULL;
	exchange_run(ex);
}

void
exchange_resume(struct exchange *ex)
{
	if (!ex->held)
		return;
	ex->held = false;
	exchange_enter(ex);
	if (ex->client != NULL)
		conn_clear_hold(ex->client, HOLD_STEP);
	exchange_run(ex);
	exchange_expect_body(ex);
	exchange_leave(ex);
}

static void
exchange_set(struct exchange *ex, const struct settings *settings)
{
	struct conn *c = ex->client;

	ex->settings = settings;
	ex->log_format = (uint8_t)settings->access.format;
	ex->log_sink =
	    settings->access.log < 0 ? -1 : ex->snapshot->log_sinks[settings->access.log];
	c->write_timeout = (uint32_t)settings->write_timeout;
	c->idle_timeout = (uint32_t)settings->keepalive_timeout;
	c->write_least = (uint32_t)settings->write_least;
	c->write_grace = (uint32_t)settings->least_grace;
	/* Where the oldest may be dropped, whole messages wait in the lane. */
	c->ahead = settings->answer_over == ANSWER_DROP_OLDEST ? 0 : (uint32_t)settings->answer_buffer;
}

void
exchange_set_unread(struct exchange *ex)
{
	const struct listener *l = conn_listener(ex->client);

	if (l != NULL && l->only != NULL) {
		ex->server_name = l->only->name;
		exchange_set(ex, &l->only->settings);
	}
}

bool
exchange_find_server(struct exchange *ex, const struct listener *l)
{
	ex->listener = l;
	ex->server = l->only;
	if (!l->alone && (l->protocol->traits & PROTOCOL_HTTP) != 0) {
		const struct server *named = host_find(l->hosts, ex->question.host);

		if (named != NULL)
			ex->server = named;
	}
	if (ex->server == NULL)
		return false;
	ex->server_name = ex->server->name;
	if (unlikely(trust_matters(&ex->server->trust, &ex->question)))
		trust_question(ex);
	return true;
}

/* Listener, server and route; false: it was aborted. */
static bool
exchange_choose(struct exchange *ex)
{
	const struct listener *l = conn_listener(ex->client);

	if (l == NULL) {
		ex->close_client = true;
		exchange_abort(ex, REASON_SHUTDOWN);
		return false;
	}
	if (!exchange_find_server(ex, l)) {
		exchange_abort(ex, REASON_MISDIRECTED);
		return false;
	}
	if (unlikely(ex->engine->shortage != SHORTAGE_NONE)) {
		exchange_set(ex, &ex->server->settings);
		exchange_abort(ex, REASON_MEMORY);
		return false;
	}
	ex->route = route_find(ex->server->table, ex);
	exchange_set(ex, ex->route != NULL ? ex->route->settings : &ex->server->settings);
	if (ex->gave_up || ex->route == NULL)
		exchange_abort(ex, ex->gave_up ? REASON_PATTERN_LIMIT : REASON_NO_ROUTE);
	return ex->route != NULL && !ex->gave_up;
}

static bool
exchange_body_fits(struct exchange *ex, uint64_t n)
{
	uint64_t max = ex->settings->body_max;

	if (ex->talk || max == 0 || n <= max)
		return true;
	ex->close_client = true;
	exchange_abort(ex, REASON_BODY_TOO_LARGE);
	return false;
}

static void
exchange_expect_body(struct exchange *ex)
{
	struct conn *c = ex->client;

	if (c == NULL || ex->talk || lane_is(c))
		return;
	if (ex->question_done || c->hold != 0 || ex->ending) {
		if (unlikely(ex->pace.since != 0))
			pace_hold(&ex->pace, clock_ms());
		conn_expect_nothing(c);
	} else {
		pace_release(&ex->pace, clock_ms());
		conn_expect(c, ex->settings->body_timeout, REASON_BODY_TIMEOUT);
	}
}

/* Measured from its first piece on: how long that may take is the timeout's. */
static bool
exchange_body_is_fast(struct exchange *ex)
{
	const struct settings *s = ex->settings;
	uint64_t now = clock_ms();

	if (ex->talk || ex->question_done || s->body_least == 0)
		return true;
	if (ex->pace.since == 0)
		pace_begin(&ex->pace, ex->received, now);
	pace_release(&ex->pace, now);
	if (pace_keep(&ex->pace, ex->received, now, s->body_least, s->least_grace))
		return true;
	ex->close_client = true;
	exchange_abort(ex, REASON_BODY_TOO_SLOW);
	return false;
}

/* A peer that does not have the whole question may be waiting for it. */
static void
exchange_expect_answer(struct exchange *ex)
{
	struct conn *p = ex->peer;

	if (p == NULL || ex->talk || lane_is(p))
		return;
	if (p->hold != 0 || !exchange_is_asked(ex))
		conn_expect_nothing(p);
	else
		conn_expect(p, p->idle_timeout, REASON_PEER_TIMEOUT);
}

void
exchange_question(struct exchange *ex, bool last)
{
	exchange_enter(ex);
	ex->talk = (ex->client->protocol->traits & PROTOCOL_TURNS) == 0;
	ex->question_done = last;
	if (exchange_choose(ex) && exchange_body_fits(ex, ex->question.length))
		exchange_start(ex, &ex->route->steps);
	if (ex->settings != NULL)
		exchange_expect_body(ex);
	exchange_leave(ex);
}

/* As if it had never come; nothing of it is logged. */
static void
exchange_take_back(struct exchange *ex)
{
	exchange_end_steps(ex);
	lane_forget(ex);
	ex->client = NULL;
	exchange_give(ex);
}

void
exchange_set_unit(struct exchange *ex, const struct unit *u)
{
	ex->question_done = true;
	ex->received = u->wire.n;
	ex->unit = arena_alloc(&ex->arena, sizeof(*u));
	*ex->unit = *u;
}

void
exchange_message(struct exchange *ex)
{
	exchange_enter(ex);
	if (exchange_choose(ex))
		exchange_start(ex, &ex->route->steps);
	if (unlikely(ex->again) && !ex->ending) {
		exchange_take_back(ex);
		return;
	}
	exchange_leave(ex);
}

void
exchange_question_data(struct exchange *ex, struct slice data, bool last)
{
	exchange_enter(ex);
	ex->received += data.n;
	ex->question_done = last;
	if (!ex->ending && !ex->error_run && exchange_body_fits(ex, ex->received) &&
	    exchange_body_is_fast(ex) && ex->taker >= 0) {
		const struct step *step = &ex->steps->items[ex->taker];
		struct part part = { .kind = PART_DATA, .last = last, .data = data };

		if (step->ops->data != NULL)
			step->ops->data(ex, step, &part);
	}
	if (ex->settings != NULL)
		exchange_expect_body(ex);
	if (last && ex->answer_state == ANSWER_HEAD && !ex->ending)
		exchange_expect_answer(ex);
	exchange_leave(ex);
}

/*
 * The exchange may be older than a swap. Its connection is of the current snapshot, where that
 * frames as its own does.
 */
static void
exchange_outlive(struct conn *c, const struct exchange *ex)
{
	const struct conn *client = ex->client;
	const struct protocol_ops *same;

	if (ex->snapshot == ex->engine->snapshot || c->protocol->codec == NULL)
		return;
	same = snapshot_protocol(ex->engine->snapshot, c->protocol);
	if (same != NULL)
		c->protocol = same;
	else
		c->old = snapshot_hold(client->protocol == c->protocol && client->old != NULL ?
			client->old : ex->snapshot);
}

/* The first bytes on it; they live as long as the pass does. */
APART static struct slice
exchange_proxy_header(struct exchange *ex, const struct upstream *u)
{
	struct builder b = builder_on(
	    scratch_alloc(&ex->engine->loop.scratch, PROXY_HEADER_WRITTEN), PROXY_HEADER_WRITTEN);

	if (u->proxy_line == PROXY_LINE_V1)
		proxy_header_write_v1(&b, ex->src, conn_local(ex->client));
	else
		proxy_header_write_v2(&b, ex->src, conn_local(ex->client));
	return builder_slice(&b);
}

struct conn *
exchange_connect(struct exchange *ex, const struct upstream *u, const struct peer *p,
    const struct protocol_ops *protocol, bool alone)
{
	struct slice first =
	    u->proxy_line == PROXY_LINE_OFF ? SLICE_EMPTY : exchange_proxy_header(ex, u);
	struct conn *c = conn_open_peer(
	    ex->engine, &p->addr, protocol, alone ? ex : NULL, u->connect_timeout, first);

	if (c == NULL)
		return NULL;
	exchange_outlive(c, ex);
	upstream_owns(ex->snapshot, u, p, c);
	return c;
}

void
exchange_send(struct exchange *ex, const struct part *part)
{
	if (ex->peer != NULL)
		ex->peer->protocol->send(ex, ex->peer, part);
}

void
exchange_hold_question(struct exchange *ex)
{
	if (ex->client == NULL || lane_is(ex->client))
		return;
	conn_set_hold(ex->client, HOLD_STEP);
	exchange_expect_body(ex);
}

void
exchange_release_question(struct exchange *ex)
{
	if (ex->client == NULL || lane_is(ex->client))
		return;
	conn_clear_hold(ex->client, HOLD_STEP);
	exchange_expect_body(ex);
}

/* ------------------------------------------------------------------ the answer */

static void
exchange_answer_steps(struct exchange *ex, struct part *part)
{
	for (int i = ex->taker; i-- > 0;) {
		const struct step *step = &ex->steps->items[i];

		if (step->ops->answer == NULL || (ex->answers >> step->answer_bit & 1) == 0)
			continue;
		if (part->kind == PART_HEAD && step->ops->moment == MOMENT_ANSWER &&
		    step->when != NULL && !condition_is(step->when, ex)) {
			ex->answers &= ~(UINT64_C(1) << step->answer_bit);
			continue;
		}
		step->ops->answer(ex, step, part);
	}
}

static void
exchange_note_head(struct exchange *ex)
{
	ex->head_us = clock_us();
	if (ex->flight != NULL)
		upstream_answered(ex->flight,
		    ex->head_us - (ex->peer_us != 0 ? ex->peer_us : ex->started_us));
}

/* The head was written: its bytes are not ours beyond this call. */
static void
exchange_forget_head(struct message *m)
{
	m->base = NULL;
	m->field_count = 0;
	m->known = 0;
	m->edits = NULL;
	m->edits_end = &m->edits;
}

static void
exchange_answered(struct exchange *ex)
{
	if (unlikely(ex->parked))
		return;
	ex->answer_state = ANSWER_DONE;
	exchange_end(ex);
}

void
exchange_unpark(struct exchange *ex)
{
	ex->parked = false;
	exchange_answered(ex);
}

void
exchange_return_head(struct exchange *ex, bool last)
{
	struct part part = { .kind = PART_HEAD, .last = last };

	if (ex->client == NULL || ex->answer_state != ANSWER_NONE)
		return;
	exchange_enter(ex);
	if (ex->answers != 0)
		exchange_answer_steps(ex, &part);
	if (unlikely(ex->gave_up) && !ex->error_run) {
		/* no error steps: who called us goes on with the body of this answer */
		ex->error_run = true;
		exchange_abort(ex, REASON_PATTERN_LIMIT);
		exchange_leave(ex);
		return;
	}
	ex->answer_state = ANSWER_HEAD;
	ex->status = ex->answer.status;
	ex->client->protocol->send(ex, ex->client, &part);
	exchange_forget_head(&ex->answer);
	if (last)
		exchange_answered(ex);
	exchange_leave(ex);
}

void
exchange_return_data(struct exchange *ex, struct slice data, bool last)
{
	struct part part = { .kind = PART_DATA, .last = last, .data = data };

	if (ex->client == NULL || ex->answer_state == ANSWER_DONE || ex->ending)
		return;
	exchange_enter(ex);
	if (ex->answers != 0)
		exchange_answer_steps(ex, &part);
	ex->client->protocol->send(ex, ex->client, &part);
	if (last)
		exchange_answered(ex);
	exchange_leave(ex);
}

void
exchange_return(struct exchange *ex, uint16_t status, struct slice type, struct slice body)
{
	struct message *m = &ex->answer;

	if (status >= 400 && exchange_run_error_steps(ex, status))
		return;
	m->status = status;
	m->body = BODY_LENGTH;
	m->length = body.n;
	if (type.n != 0 && body.n != 0)
		message_add_known(m, &ex->arena, KNOWN_CONTENT_TYPE, type);
	exchange_enter(ex);
	exchange_return_head(ex, body.n == 0);
	if (body.n != 0)
		exchange_return_data(ex, body, true);
	exchange_leave(ex);
}

void
exchange_return_message(struct exchange *ex, struct slice body, const struct unit_set *sets,
    size_t set_count)
{
	struct draft d = { .body = body, .sets = sets, .set_count = set_count };

	if (ex->client == NULL || ex->answer_state != ANSWER_NONE)
		return;
	exchange_enter(ex);
	if (lane_write(ex, &d, &ex->wire))
		exchange_return_head(ex, true);
	else
		exchange_abort(ex, REASON_INTERNAL);
	exchange_leave(ex);
}

void
exchange_return_nothing(struct exchange *ex)
{
	if (ex->ending)
		return;
	ex->answer_state = ANSWER_DONE;
	exchange_end(ex);
}

void
exchange_is_said(struct exchange *ex)
{
	if (ex->client != NULL && (ex->client->protocol->traits & PROTOCOL_HTTP) != 0)
		exchange_return(ex, 202, SLICE_EMPTY, SLICE_EMPTY);
	else
		exchange_return_nothing(ex);
}

void
exchange_interim(struct exchange *ex)
{
	struct part part = { .kind = PART_HEAD, .interim = true };

	if (ex->client != NULL && ex->answer_state == ANSWER_NONE)
		ex->client->protocol->send(ex, ex->client, &part);
	exchange_forget_head(&ex->answer);
}

/* An orderly end behind half a question could be taken for the end of all of it. */
static bool
exchange_is_half_asked(const struct exchange *ex, const struct conn *p)
{
	return p->sent != ex->peer_sent && (!exchange_is_asked(ex) || conn_waiting(p) != 0);
}

static void
exchange_tell_answer(struct exchange *ex)
{
	const struct step *step = &ex->steps->items[ex->taker];

	ex->keeps = 0;
	if (step->ops->peer_answer != NULL)
		step->ops->peer_answer(ex, step);
}

void
exchange_answer(struct exchange *ex, bool last)
{
	exchange_enter(ex);
	exchange_note_head(ex);
	if (likely(ex->answer.status < 300) || !exchange_intercept(ex)) {
		if (unlikely(ex->keeps != 0))
			exchange_tell_answer(ex);
		exchange_expect_answer(ex);
		exchange_return_head(ex, last);
		if (last)
			exchange_drop_peer(ex, true);
	}
	exchange_leave(ex);
}

void
exchange_answer_data(struct exchange *ex, struct slice data, bool last)
{
	exchange_enter(ex);
	exchange_expect_answer(ex);
	exchange_return_data(ex, data, last);
	if (last)
		exchange_drop_peer(ex, true);
	exchange_leave(ex);
}

/* An answer of HTTP that carries the message. */
static void
exchange_return_body(struct exchange *ex, const struct codec *k, struct slice body)
{
	message_init(&ex->answer);
	if (ex->keeps != 0)
		exchange_tell_answer(ex);
	exchange_return(ex, 200, slice_of(k->type), body);
}

void
exchange_answer_message(struct exchange *ex, const struct codec *k, const struct unit *u)
{
	exchange_enter(ex);
	exchange_note_head(ex);
	exchange_land(ex);
	if (ex->client == NULL || ex->ending)
		;
	else if (ex->client->protocol->codec == NULL)
		exchange_return_body(ex, k, unit_body(u));
	else if (lane_translate(ex, k, u, &ex->wire))
		exchange_return_head(ex, true);
	else
		exchange_abort(ex, REASON_PEER_BAD_MESSAGE);
	exchange_leave(ex);
}

/* ------------------------------------------------------------------ the peer, and back-pressure */

void
exchange_peer_opened(struct exchange *ex)
{
	const struct step *step = &ex->steps->items[ex->taker];

	exchange_enter(ex);
	ex->peer_us = clock_us();
	if (step->ops->peer_open != NULL)
		step->ops->peer_open(ex, step);
	exchange_leave(ex);
}

void
exchange_drop_peer(struct exchange *ex, bool clean)
{
	struct conn *p = ex->peer;

	if (p == NULL || ex->tunnelled)
		return;
	exchange_land(ex);
	if (lane_is(p)) {
		lane_leave(p, ex);
		return;
	}
	ex->peer = NULL;
	p->exchange = NULL;
	p->hold = 0;
	if (unlikely(exchange_is_half_asked(ex, p)))
		conn_reset(p);
	else if (clean && p->state == CONN_OPEN)
		p->protocol->done(p);
	else
		conn_close(p);
	if (ex->client != NULL && !ex->client->congested)
		conn_clear_hold(ex->client, HOLD_OUTPUT);
}

static void
exchange_tell_room(struct exchange *ex)
{
	const struct step *step = &ex->steps->items[ex->taker];

	exchange_enter(ex);
	if (step->ops->peer_room != NULL)
		step->ops->peer_room(ex, step);
	exchange_leave(ex);
}

void
exchange_congestion(struct exchange *ex, struct conn *c, bool congested)
{
	struct conn *other = c == ex->client ? ex->peer : ex->client;

	/* Answered here (echo): the client's own question waits. */
	if (other == NULL)
		other = c;
	/* Others have their answers from it, too. */
	if (lane_is(other) && other->side == SIDE_PEER)
		return;
	if (congested)
		conn_set_hold(other, HOLD_OUTPUT);
	else
		conn_clear_hold(other, HOLD_OUTPUT);
	/* Held for itself, if it was alone then; else for the other, which may have no room yet. */
	if (!congested && !other->congested)
		conn_clear_hold(c, HOLD_OUTPUT);
	if (other == ex->peer && ex->answer_state != ANSWER_NONE)
		exchange_expect_answer(ex);
	else if (other == ex->client && ex->settings != NULL)
		exchange_expect_body(ex);
	if (!congested && c == ex->peer && ex->taker >= 0)
		exchange_tell_room(ex);
}

/* ------------------------------------------------------------------ off the road */

/* It is only passed on from here: what knew its messages goes with the snapshot. */
static void
exchange_leave_road(struct exchange *ex, struct conn *c)
{
	if (c->protocol->codec != NULL) {
		struct protocol_ops *named = arena_zalloc(&ex->arena, sizeof(*named));

		lane_closed(c);
		named->name = arena_text(&ex->arena, slice_of(c->protocol->name));
		c->protocol = named;
	}
	if (c->old != NULL)
		snapshot_release(c->engine, c->old);
	c->old = NULL;
}

void
exchange_tunnel(struct exchange *ex)
{
	struct conn *client = ex->client, *peer = ex->peer;
	uint64_t idle = ex->settings->idle_timeout, write = ex->settings->write_timeout;

	exchange_settle(ex);
	exchange_end_steps(ex);
	ex->server_name = arena_slice(&ex->arena, ex->server_name);
	ex->upstream_name = arena_slice(&ex->arena, ex->upstream_name);
	ex->peer_text = arena_slice(&ex->arena, ex->peer_text);
	ex->question.edits = NULL;
	ex->question.edits_end = &ex->question.edits;
	ex->tunnelled = true;
	ex->answer_state = ANSWER_HEAD;
	ex->steps = NULL;
	ex->taker = -1;
	ex->route = NULL;
	ex->server = NULL;
	ex->settings = NULL;
	ex->listener = NULL;
	exchange_leave_road(ex, client);
	exchange_leave_road(ex, peer);
	snapshot_release(ex->engine, ex->snapshot);
	ex->snapshot = NULL;
	conn_expect_nothing(client);
	conn_expect_nothing(peer);
	client->hold = peer->hold = 0;
	tunnel_join(ex, client, peer, idle, write);
}
