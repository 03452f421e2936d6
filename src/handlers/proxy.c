/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy: hands a question to a peer of an upstream, and tries another where
 * that is safe. Attempts and the copy of the body that another attempt needs are known here only;
 * so is what of a body is gathered before a peer is asked at all.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "core/datagram.h"
#include "core/exchange.h"
#include "core/field_map.h"
#include "core/hops.h"
#include "handlers/handlers.h"

/* bytes of a question's body kept for another attempt, where buffer { question } is less */
enum { PROXY_KEEP_MAX = 64 * 1024, PROXY_PIECE = 128 * 1024 };

/* What a peer is chosen for. Not said: where answers find their questions, each message. */
enum proxy_per { PROXY_PER_DEFAULT, PROXY_PER_CONNECTION, PROXY_PER_MESSAGE };

struct proxy_settings {
	struct value target;
	int per;                                /* enum proxy_per */
	struct span per_span;
	const struct upstream *upstream;        /* or, of a map: */
	struct field_map_use map;
	const struct upstream **of_result;      /* by map_result.index */
	int64_t answers;                        /* of a flow of datagrams; 0: not counted */
};

struct proxy_state {
	const struct upstream *upstream;
	const struct peer *peer;
	struct peer_set tried;
	char *kept;                             /* heap; of the question's body */
	uint32_t kept_n, kept_size, keep_max;
	uint32_t fed;                           /* of them, bytes that the peer was sent */
	uint32_t gather;                        /* bytes of it that come before a peer is asked */
	struct loop_task let_go;
	struct exchange *exchange;              /* of let_go */
	uint16_t retries;
	uint8_t reason;                         /* enum reason of the last attempt */
	bool kept_last;                         /* the kept bytes are all there will be */
	bool lost;                              /* not all that came is kept */
	bool gathers;                           /* no peer is asked yet */
	bool open;                              /* the peer's connection is there */
	bool pooled;                            /* and served before */
	bool fresh;                             /* a pooled one was stale: only new ones now */
};

/* ------------------------------------------------------------------ the kept body */

static bool
proxy_is_idempotent(const struct exchange *ex)
{
	switch ((enum method)ex->question.method) {
	case METHOD_GET:
	case METHOD_HEAD:
	case METHOD_PUT:
	case METHOD_DELETE:
	case METHOD_OPTIONS:
	case METHOD_TRACE:
		return true;
	default:
		break;
	}
	if (ex->unit == NULL || ex->client == NULL)
		return false;

	const struct codec *k = ex->client->protocol->codec;

	return k->idempotent != NULL && k->idempotent(k, (struct exchange *)(uintptr_t)ex);
}

/* Asking once more would do no harm, or nobody would notice. */
static bool
proxy_may_repeat(const struct exchange *ex)
{
	return proxy_is_idempotent(ex) || exchange_is_untouched(ex);
}

static void
proxy_drop_kept(struct exchange *ex, struct proxy_state *st)
{
	/* What was just sent from it is written when the pass ends. */
	if (st->kept != NULL)
		scratch_free_later(&ex->engine->loop.scratch, st->kept);
	st->kept = NULL;
	st->kept_n = st->kept_size = st->fed = 0;
	ex->keeps = 0;
}

static void
proxy_lose_kept(struct exchange *ex, struct proxy_state *st)
{
	st->lost = true;
	proxy_drop_kept(ex, st);
}

/* Whatever happens from here on, no other peer will be asked the same. */
static bool
proxy_kept_is_useless(const struct exchange *ex, const struct proxy_state *st)
{
	if (!st->open || ex->peer == NULL || st->fed != st->kept_n)
		return false;
	return ex->answer_state != ANSWER_NONE || (st->retries == 0 && !st->pooled) ||
	    !proxy_may_repeat(ex);
}

/*
 * The pass in which it was sent is over. Most often that is the end of its use, and the peer may
 * take its time with the answer.
 */
static void
proxy_on_let_go(struct loop_task *t)
{
	struct proxy_state *st = CONTAINER_OF(t, struct proxy_state, let_go);
	struct exchange *ex = st->exchange;

	if (st->kept != NULL && proxy_kept_is_useless(ex, st))
		proxy_lose_kept(ex, st);
}

static void
proxy_answered(struct exchange *ex, const struct step *step)
{
	struct proxy_state *st = exchange_state(ex, step);

	/* It may say so before it has read the question, and still want the rest. */
	if (st->fed == st->kept_n)
		proxy_lose_kept(ex, st);
}

/* False: there is no memory for it. */
MUST_USE static bool
proxy_keep(struct exchange *ex, struct proxy_state *st, const struct part *part)
{
	size_t need = st->kept_n + part->data.n;

	if (need > st->kept_size) {
		size_t twice = MIN_OF((size_t)st->kept_size * 2, (size_t)st->keep_max);
		size_t size = MAX_OF(need, twice);
		char *grown = memory_try(size);

		if (grown == NULL)
			return false;
		if (st->kept_n != 0)
			memcpy(grown, st->kept, st->kept_n);
		if (st->kept != NULL)
			scratch_free_later(&ex->engine->loop.scratch, st->kept);
		st->kept = grown;
		st->kept_size = (uint32_t)size;
	}
	if (part->data.n != 0)
		memcpy(st->kept + st->kept_n, part->data.at, part->data.n);
	st->kept_n = (uint32_t)need;
	st->kept_last = part->last;
	ex->keeps = st->kept_size;
	return true;
}

/* ------------------------------------------------------------------ an attempt */

static bool
proxy_asks_for_body(const struct exchange *ex)
{
	const struct message *m = &ex->question;

	return m->body != BODY_NONE && !(m->body == BODY_LENGTH && m->length == 0);
}

static void
proxy_expect_answer(struct exchange *ex, const struct proxy_state *st)
{
	if (!exchange_is_asked(ex) || ex->answer_state != ANSWER_NONE || ex->peer == NULL)
		return;
	if (lane_is(ex->peer))
		lane_expect(ex, st->upstream->header_timeout);
	else
		conn_expect(ex->peer, st->upstream->header_timeout, REASON_PEER_TIMEOUT);
}

static void
proxy_send_piece(struct exchange *ex, struct proxy_state *st)
{
	size_t n = MIN_OF(st->kept_n - st->fed, (uint32_t)PROXY_PIECE);
	struct part part = { .kind = PART_DATA, .data = slice_make(st->kept + st->fed, n) };

	st->fed += (uint32_t)n;
	part.last = st->kept_last && st->fed == st->kept_n;
	exchange_send(ex, &part);
}

/*
 * What is kept goes to the peer as far as it has room, so that it does not wait there a second
 * time; behind it, what comes is passed on.
 */
static void
proxy_feed(struct exchange *ex, struct proxy_state *st)
{
	if (st->kept_n == 0 && st->kept_last)
		proxy_send_piece(ex, st);
	/* A message is gathered before it is sent: no room is needed, and none is told of. */
	while (ex->peer != NULL && st->fed != st->kept_n &&
	    (!ex->peer->congested || lane_is(ex->peer)))
		proxy_send_piece(ex, st);
	if (ex->peer == NULL)           /* it is no message of the peer's protocol */
		return;
	if (st->fed != st->kept_n) {
		exchange_hold_question(ex);
		return;
	}
	if (st->kept != NULL) {
		st->exchange = ex;
		st->let_go.run = proxy_on_let_go;
		loop_queue(&ex->engine->loop, LOOP_REST, &st->let_go);
	}
	proxy_expect_answer(ex, st);
	exchange_release_question(ex);
}

static void
proxy_has_room(struct exchange *ex, const struct step *step)
{
	struct proxy_state *st = exchange_state(ex, step);

	if (st->open && st->fed != st->kept_n)
		proxy_feed(ex, st);
}

/* The body of a message becomes that of a POST; what steps have said of its target stays. */
static void
proxy_become_post(struct exchange *ex, const struct proxy_state *st)
{
	struct message *m = &ex->question;
	const struct codec *k = ex->client->protocol->codec;

	if (m->base != NULL)
		return;
	m->base = "POST";
	m->size = 4;
	m->method_text = (struct piece){ 0, 4 };
	m->method = METHOD_POST;
	m->minor = 1;
	m->body = BODY_LENGTH;
	m->length = ex->unit->body_n;
	if (m->forward.n == 0)
		m->forward = SLICE("/");
	if ((m->known >> KNOWN_HOST & 1) == 0)
		message_add_known(m, &ex->arena, KNOWN_HOST,
		    addr_is_unix(&st->peer->addr) ? SLICE("localhost") : st->peer->text);
	if ((m->known >> KNOWN_CONTENT_TYPE & 1) == 0)
		message_add_known(m, &ex->arena, KNOWN_CONTENT_TYPE, slice_of(k->type));
}

/* The question is a message, which is there as a whole. */
static void
proxy_send_message(struct exchange *ex, struct proxy_state *st)
{
	struct slice body = unit_body(ex->unit);

	if (lane_is(ex->peer)) {
		exchange_send(ex, &(struct part){ .kind = PART_HEAD, .last = true });
	} else {
		proxy_become_post(ex, st);
		exchange_send(ex, &(struct part){ .kind = PART_HEAD, .last = body.n == 0 });
		if (body.n != 0)
			exchange_send(ex,
			    &(struct part){ .kind = PART_DATA, .last = true, .data = body });
	}
	if (!ex->ending)
		proxy_expect_answer(ex, st);
}

static void
proxy_opened(struct exchange *ex, const struct step *step)
{
	struct proxy_state *st = exchange_state(ex, step);
	struct conn *p = ex->peer;

	st->open = true;
	p->write_timeout = (uint32_t)st->upstream->write_timeout;
	p->idle_timeout = (uint32_t)st->upstream->idle_timeout;
	if (ex->talk && p->datagrams) {
		flow_ask_again(ex);
		return;
	}
	if (ex->talk) {
		upstream_worked(ex->engine, ex->snapshot, st->upstream, st->peer);
		exchange_tunnel(ex);
		return;
	}
	if (ex->unit != NULL) {
		proxy_send_message(ex, st);
		return;
	}
	exchange_send(ex, &(struct part){ .kind = PART_HEAD, .last = !proxy_asks_for_body(ex) });
	st->fed = 0;
	proxy_feed(ex, st);
}

static const struct protocol_ops *
proxy_protocol(const struct exchange *ex, const struct upstream *u)
{
	return u->protocol != NULL ? u->protocol : ex->client->protocol;
}

/* A connection could not even be begun. */
static enum reason
proxy_reason(int error)
{
	switch (error) {
	case EBUSY:
		return REASON_TOO_MANY;
	case EMFILE:
	case ENFILE:
		return REASON_LIMIT;
	case ENOMEM:
	case ENOBUFS:
		return REASON_MEMORY;
	default:
		return REASON_PEER_REFUSED;
	}
}

static void
proxy_note_failure(struct exchange *ex, struct proxy_state *st, enum reason reason)
{
	st->reason = (uint8_t)reason;
	st->tried.bits[st->peer->index / 64] |= UINT64_C(1) << st->peer->index % 64;
	/* What we are out of is no fault of the peer; and one connection fails once. */
	if (reason == REASON_LIMIT || reason == REASON_MEMORY || reason == REASON_TOO_MANY ||
	    ex->one_of_many) {
		ex->one_of_many = false;
		return;
	}
	upstream_failed(ex->engine, ex->snapshot, st->upstream, st->peer);
	/* Of flows there may be any number: that it rests now was said. */
	if (ex->client != NULL && ex->client->flow != NULL)
		return;
	log_line(LOG_WARN, "upstream " SLICE_FORMAT ", peer " SLICE_FORMAT ": %s",
	    SLICE_ARG(st->upstream->name), SLICE_ARG(st->peer->text), reason_texts[reason].text);
}

/* A connection that carries messages; they are sent even before it is there. */
static bool
proxy_reach_lane(struct exchange *ex, struct proxy_state *st, const struct protocol_ops *protocol)
{
	if (!lane_reach(ex, protocol, st->upstream, st->peer))
		return false;
	exchange_peer_opened(ex);
	return true;
}

/* A pooled or a new connection to st->peer; false: it could not even be begun. */
static bool
proxy_reach(struct exchange *ex, const struct step *step)
{
	struct proxy_state *st = exchange_state(ex, step);
	const struct upstream *u = st->upstream;
	const struct protocol_ops *protocol = proxy_protocol(ex, u);
	bool lane = protocol->codec != NULL && !ex->talk;
	bool pools = u->proxy_line == PROXY_LINE_OFF && !st->fresh && !ex->talk && !lane &&
	    !ex->question.upgrade;
	struct conn *p = pools ? upstream_take(ex->engine, ex->snapshot, u, st->peer) : NULL;

	exchange_fly(ex, ex->snapshot->upstream_runs[u->index].states[st->peer->index].count);
	ex->attempts++;
	ex->peer_text = st->peer->text;
	st->open = false;
	st->pooled = p != NULL;
	if (lane)
		return proxy_reach_lane(ex, st, protocol);
	if (p == NULL)
		p = exchange_connect(ex, u, st->peer, protocol, true);
	if (p == NULL)
		return false;
	ex->peer = p;
	ex->peer_sent = p->sent;
	p->exchange = ex;
	/* The client does not take what it got before: of this one nothing is read either. */
	if (unlikely(ex->client->congested) && !lane_is(ex->client))
		conn_set_hold(p, HOLD_OUTPUT);
	if (st->pooled)
		exchange_peer_opened(ex);
	else if (p->datagrams)
		conn_open_now(p);
	return true;
}

static void
proxy_try(struct exchange *ex, const struct step *step)
{
	struct proxy_state *st = exchange_state(ex, step);

	for (;;) {
		st->peer = ex->unit != NULL ? lane_known_peer(ex, st->upstream, &st->tried) : NULL;
		if (st->peer == NULL)
			st->peer = upstream_choose(ex->engine, ex->snapshot, st->upstream, &st->tried);
		if (st->peer == NULL) {
			exchange_abort(ex,
			    st->reason != REASON_NONE ? (enum reason)st->reason : REASON_NO_PEER);
			return;
		}
		if (proxy_reach(ex, step))
			return;
		proxy_note_failure(ex, st, proxy_reason(errno));
		/* One that owes too much was not tried. */
		if (st->reason == REASON_TOO_MANY)
			continue;
		if (st->retries == 0) {
			exchange_abort(ex, (enum reason)st->reason);
			return;
		}
		st->retries--;
	}
}

/* ------------------------------------------------------------------ the handler */

static const struct upstream *
proxy_choose_upstream(struct exchange *ex, const struct proxy_settings *s)
{
	if (s->of_result == NULL)
		return s->upstream;

	const struct map_result *result = field_map_find(&s->map, ex);

	return result != NULL ? s->of_result[result->index] : NULL;
}

/* Message by message, where it is known which answer is whose, or none is needed. */
static bool
proxy_goes_by_connection(
    const struct exchange *ex, const struct proxy_settings *s, const struct upstream *u)
{
	const struct codec *k = ex->client->protocol->codec;

	/* Of datagrams there is no connection. */
	if (ex->client->datagrams || u->peers[0].addr.datagram != 0)
		return false;
	if (s->per != PROXY_PER_DEFAULT)
		return s->per == PROXY_PER_CONNECTION;
	return k->pairing == CODEC_NONE && !k->independent;
}

static enum verdict
proxy_question(struct exchange *ex, const struct step *step)
{
	const struct proxy_settings *s = step->settings;
	struct proxy_state *st = exchange_state(ex, step);

	if (unlikely(hops_matter(&ex->question)) && !hops_take(ex))
		return STEP_TAKE;
	st->upstream = proxy_choose_upstream(ex, s);
	if (st->upstream == NULL || ex->gave_up) {
		exchange_abort(ex, ex->gave_up ? REASON_PATTERN_LIMIT : REASON_NO_PEER);
		return STEP_TAKE;
	}
	st->retries = (uint16_t)st->upstream->retries;
	if (ex->talk && ex->client->flow != NULL)
		ex->client->flow->answers_wanted = (uint32_t)s->answers;
	ex->upstream_name = st->upstream->name;
	/* What comes behind it is its peer's, too: once what was asked before is answered. */
	if (ex->unit != NULL && proxy_goes_by_connection(ex, s, st->upstream) && !lane_pin(ex))
		return STEP_TAKE;
	st->keep_max = PROXY_KEEP_MAX;
	if (unlikely(ex->settings->question_buffer != 0) && !ex->talk && !exchange_is_asked(ex)) {
		st->gather = (uint32_t)ex->settings->question_buffer;
		st->keep_max = MAX_OF(st->gather, (uint32_t)PROXY_KEEP_MAX);
		st->gathers = true;
	} else {
		proxy_try(ex, step);
	}
	return STEP_TAKE;
}

/* What would be answered here, as its hops say. */
static bool
proxy_explain_hops(struct exchange *ex, struct outlook *out)
{
	if (!hops_matter(&ex->question) || hops_are_left(&ex->question))
		return false;
	builder_text(&out->does, "answers itself: Max-Forwards is 0");
	if (ex->question.method == METHOD_TRACE)
		out->reason = REASON_NOT_IMPLEMENTED;
	else
		out->status = 200;
	return true;
}

static enum verdict
proxy_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	const struct proxy_settings *s = step->settings;

	if (proxy_explain_hops(ex, out))
		return STEP_TAKE;

	const struct upstream *u = proxy_choose_upstream(ex, s);

	if (u == NULL || ex->gave_up) {
		out->reason = ex->gave_up ? REASON_PATTERN_LIMIT : REASON_NO_PEER;
		builder_text(&out->does, "the map has no upstream for it");
		return STEP_TAKE;
	}
	out->upstream = u;
	builder_printf(&out->does, "asks upstream " SLICE_FORMAT, SLICE_ARG(u->name));
	if (ex->unit != NULL)
		builder_text(&out->does, proxy_goes_by_connection(ex, s, u) ?
		    ", and all that follows on this connection" : ", this message");
	return STEP_TAKE;
}

/* All of it is here, or as much as is wanted: a peer is asked, and what follows streams. */
static void
proxy_gathered(struct exchange *ex, const struct step *step, bool last)
{
	struct proxy_state *st = exchange_state(ex, step);

	if (!last && st->kept_n < st->gather)
		return;
	st->gathers = false;
	proxy_try(ex, step);
	if (!st->open && !last && !ex->ending && st->kept_n >= st->keep_max)
		exchange_hold_question(ex);
}

/* It goes at once or not at all; until there is an answer another peer may be asked. */
static void
proxy_datagram(struct exchange *ex, const struct proxy_state *st, const struct part *part)
{
	if (ex->answer_state == ANSWER_NONE && st->upstream->peer_count > 1)
		flow_keep(ex, part->data);
	exchange_send(ex, part);
}

static void
proxy_data(struct exchange *ex, const struct step *step, const struct part *part)
{
	struct proxy_state *st = exchange_state(ex, step);

	if (ex->talk) {
		proxy_datagram(ex, st, part);
		return;
	}
	if (!st->open || st->fed != st->kept_n) {
		if (!proxy_keep(ex, st, part))
			exchange_abort(ex, REASON_MEMORY);
		else if (st->gathers)
			proxy_gathered(ex, step, part->last);
		else if (st->kept_n >= st->keep_max)
			exchange_hold_question(ex);
		return;
	}
	if (ex->answer_state == ANSWER_NONE && !st->lost) {
		bool fits = st->kept_n + part->data.n <= st->keep_max;

		if (!fits || !proxy_may_repeat(ex) || !proxy_keep(ex, st, part))
			proxy_lose_kept(ex, st);
	}
	if (ex->peer != NULL) {
		exchange_send(ex, part);
		st->fed = st->kept_n;
		proxy_expect_answer(ex, st);
	}
}

/*
 * Whether the same question may be asked again elsewhere: the peer has not got it, or asking twice
 * does no harm.
 */
static bool
proxy_may_ask_again(const struct exchange *ex, const struct proxy_state *st, enum reason reason)
{
	if (ex->answer_state != ANSWER_NONE || ex->client == NULL)
		return false;
	if (!st->open || ex->talk || (ex->untouched && ex->unit != NULL))
		return true;
	if (reason == REASON_PEER_REFUSED || reason == REASON_PEER_CONNECT_TIMEOUT)
		return !st->lost;
	if (reason != REASON_PEER_CLOSED && reason != REASON_PEER_RESET)
		return false;
	return (proxy_is_idempotent(ex) || ex->untouched) && !st->lost;
}

static void
proxy_peer_fail(struct exchange *ex, const struct step *step, enum reason reason)
{
	struct proxy_state *st = exchange_state(ex, step);
	bool stale =
	    st->open && st->pooled && (reason == REASON_PEER_CLOSED || reason == REASON_PEER_RESET);
	bool again = proxy_may_ask_again(ex, st, reason);

	st->open = false;
	if (stale && again) {
		/*
		 * It closed just as it was reused: no failure of the peer, and none of the retries.
		 */
		st->fresh = true;
		if (proxy_reach(ex, step))
			return;
		reason = proxy_reason(errno);
	}
	proxy_note_failure(ex, st, reason);
	if (!again || st->retries == 0) {
		exchange_abort(ex, reason);
		return;
	}
	st->retries--;
	proxy_try(ex, step);
}

static void
proxy_end(struct exchange *ex, const struct step *step)
{
	struct proxy_state *st = exchange_state(ex, step);

	/* Complete, or a tunnel; or the head of one that others answer in place of. */
	if (st->peer != NULL && (ex->answer_state != ANSWER_NONE || ex->head_us != 0) &&
	    ex->reason == REASON_NONE)
		upstream_worked(ex->engine, ex->snapshot, st->upstream, st->peer);
	proxy_drop_kept(ex, st);
	if (st->let_go.queued)
		loop_unqueue(&ex->engine->loop, LOOP_REST, &st->let_go);
}

/* ------------------------------------------------------------------ build */

static bool
proxy_build_map(struct build *b, struct proxy_settings *s, const struct field_map *map)
{
	struct reading *r = build_reading(b);
	bool good = field_map_use(r, build_scope(b), map, s->target.span, &s->map);

	s->of_result = arena_array(r->arena, map->result_count, sizeof(*s->of_result));
	for (size_t i = 0; i < map->result_count; i++) {
		s->of_result[i] =
		    build_upstream(b, map->results[i].text, map->results[i].span, false);
		good &= s->of_result[i] != NULL;
	}
	return good;
}

static bool
proxy_check(struct reading *r, const struct statement *s, void *filled)
{
	struct proxy_settings *proxy = filled;

	bool said = s->value_count > 2 && slice_is(s->values[2].raw, "per");

	if (said && s->value_count == 3) {
		diag_error(r->diag, s->values[2].span, "write: per connection, or per message");
		return false;
	}
	proxy->per = said ? proxy->per + PROXY_PER_CONNECTION : PROXY_PER_DEFAULT;
	if (proxy->per != PROXY_PER_DEFAULT)
		proxy->per_span = span_join(s->values[2].span, s->values[3].span);
	return true;
}

/* What the words ask for, and the server's protocol can do. */
static bool
proxy_check_per(struct build *b, const struct proxy_settings *s)
{
	const struct protocol_ops *protocol = build_protocol(b);

	if (s->per == PROXY_PER_MESSAGE && protocol->codec == NULL)
		diag_error(build_reading(b)->diag, s->per_span,
		    "\"per message\" is for protocols of messages; this server speaks %s",
		    protocol->name);
	else if (s->per == PROXY_PER_CONNECTION && (protocol->traits & PROTOCOL_HTTP) != 0)
		diag_error(build_reading(b)->diag, s->per_span,
		    "a peer is chosen for each question of http; to pass connections on as they "
		    "are write in server: protocol tcp;");
	else
		return true;
	return false;
}

/* Datagrams that are no messages. */
static bool
proxy_is_flow(const struct protocol_ops *p)
{
	return protocol_needs_datagrams(p) && (p->traits & PROTOCOL_TURNS) == 0;
}

/* Connections or datagrams: what the servers of an upstream are, and what is spoken to them. */
static bool
proxy_fits(
    struct build *b, const struct proxy_settings *s, const struct upstream *u, struct span at)
{
	const struct protocol_ops *own = build_protocol(b);
	const struct protocol_ops *p = u->protocol != NULL ? u->protocol : own;

	if (p != own && s->per == PROXY_PER_CONNECTION) {
		diag_error(build_reading(b)->diag, s->per_span,
		    "per connection passes bytes on as they are; this server speaks %s and upstream "
		    "\"%.*s\" %s", own->name, SLICE_ARG(u->name), p->name);
		return false;
	}
	/* What one carries over to the other is the body of a question, and of its answer. */
	if (p != own && (own->traits & p->traits & PROTOCOL_TURNS) == 0) {
		diag_error(build_reading(b)->diag, at,
		    "this server speaks %s and upstream \"%.*s\" %s: neither can be said in the other",
		    own->name, SLICE_ARG(u->name), p->name);
		return false;
	}
	for (size_t i = 0; i < u->peer_count; i++) {
		const struct peer *peer = &u->peers[i];

		if (peer->addr.datagram != 0 && (p->traits & PROTOCOL_DATAGRAMS) == 0)
			diag_error(build_reading(b)->diag, at,
			    "%.*s takes datagrams: protocol %s needs a connection",
			    SLICE_ARG(peer->text), p->name);
		else if (peer->addr.datagram == 0 && protocol_needs_datagrams(p))
			diag_error(build_reading(b)->diag, at,
			    "protocol %s needs datagrams: write udp:%.*s", p->name,
			    SLICE_ARG(peer->text));
		else if (peer->addr.datagram != 0 && u->proxy_line != PROXY_LINE_OFF)
			diag_error(build_reading(b)->diag, at,
			    "a PROXY header begins a connection, and %.*s takes datagrams",
			    SLICE_ARG(peer->text));
		else if (peer->addr.datagram != 0 && p->codec != NULL &&
		    p->codec->pairing == CODEC_IN_ORDER)
			diag_error(build_reading(b)->diag, at,
			    "protocol %s pairs answers by their order, which datagrams do not keep: "
			    "%.*s needs \"answers by FIELD\"", p->name, SLICE_ARG(peer->text));
		else
			continue;
		return false;
	}
	return true;
}

static bool
proxy_all_fit(struct build *b, const struct proxy_settings *s)
{
	const struct protocol_ops *own = build_protocol(b);
	bool good = s->upstream == NULL || proxy_fits(b, s, s->upstream, s->target.span);

	for (size_t i = 0; s->of_result != NULL && i < s->map.map->result_count; i++)
		good &= proxy_fits(b, s, s->of_result[i], s->target.span);
	if (s->answers == 0 || proxy_is_flow(own))
		return good;
	diag_error(build_reading(b)->diag, s->target.span,
	    "\"answers\" ends flows of protocol udp; this server speaks %s", own->name);
	return false;
}

/* A name without a colon is an upstream or a map; anything else is an address. */
static bool
proxy_find(struct build *b, struct proxy_settings *s)
{
	struct reading *r = build_reading(b);
	struct slice target = s->target.raw;

	if (!proxy_check_per(b, s))
		return false;
	s->upstream = build_upstream(b, target, s->target.span, true);
	if (s->upstream == NULL && slice_find(target, ':', 0) == target.n) {
		const struct field_map *map = build_map(b, target);

		if (map != NULL)
			return proxy_build_map(b, s, map);
		s->upstream = build_upstream(b, target, s->target.span, false);
	} else if (s->upstream == NULL) {
		struct argument a = { .name = "TARGET", .type = &type_address };
		struct endpoint to;

		if (!type_address.read(r, &s->target, &a, &to))
			return false;
		s->upstream = build_upstream_of(b, &to);
	}
	return s->upstream != NULL;
}

static bool
proxy_build(struct build *b, struct step *step)
{
	struct proxy_settings *s = (struct proxy_settings *)(uintptr_t)step->settings;

	return proxy_find(b, s) && proxy_all_fit(b, s);
}

static const struct handler_ops handler_proxy = {
	.name = "proxy",
	.state_size = sizeof(struct proxy_state),
	.moment = MOMENT_QUESTION,
	.takes = true,
	.build = proxy_build,
	.question = proxy_question,
	.explain = proxy_explain,
	.data = proxy_data,
	.peer_open = proxy_opened,
	.peer_fail = proxy_peer_fail,
	.peer_room = proxy_has_room,
	.peer_answer = proxy_answered,
	.end = proxy_end,
};

/* All that may stand behind a target is `per`. */
static bool
read_per(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	if (v->kind == VALUE_WORD && slice_is(v->raw, "per"))
		return true;
	diag_error(r->diag, v->span,
	    "\"%.*s\": behind what \"proxy\" asks stands nothing, per connection or per message",
	    SLICE_ARG(diag_word(v->raw)));
	return false;
}

static const struct type type_per = { .name = "per", .wanted = "per", .read = read_per };
static const char *const per_words[] = { "per", NULL };

/* In the order of enum proxy_per, behind its first. */
static const char *const proxy_per_words[] = { "connection", "message", NULL };

static const struct argument proxy_arguments[] = {
	{ .name = "TARGET", .type = &type_raw, .offset = offsetof(struct proxy_settings, target) },
	{ .name = "per", .type = &type_per, .flags = ARGUMENT_OPTIONAL, .words = per_words },
	{ "connection|message", &type_word, offsetof(struct proxy_settings, per),
	    .flags = ARGUMENT_OPTIONAL, .words = proxy_per_words },
	{ "answers", &type_integer, offsetof(struct proxy_settings, answers),
	    .flags = ARGUMENT_OPTION, .min = 1, .max = 65535 },
	{ 0 }
};

const struct directive handler_proxy_rows[] = {
	{ .name = "proxy", .kind = DIRECTIVE_STEP, .arguments = proxy_arguments,
	    .size = sizeof(struct proxy_settings), .check = proxy_check, .ops = &handler_proxy,
	    .help = "Passes the question to an upstream, an address, or the upstream that a map "
	    "names. per message: a peer is chosen for each message; per connection: all that comes "
	    "goes to one. Not said: per message where the protocol pairs answers with questions, or "
	    "its messages are independent. answers=N, of protocol udp: a flow ends when each "
	    "question has so many." },
	{ 0 }
};
