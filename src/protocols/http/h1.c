/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/1, both roles (RFC 9112). Bytes become heads and bodies by h1_parse.c's pure functions;
 * heads become bytes as runs of what came, with what was removed left out and what was added
 * behind. One exchange at a time on a connection: pipelined questions wait their turn.
 */
#include "base/clock.h"
#include "core/engine.h"
#include "core/exchange.h"
#include "core/upstream.h"
#include "protocols/http/forwarded.h"
#include "protocols/http/h1.h"
#include "protocols/http/h1_question.h"
#include "protocols/http/status.h"
#include "protocols/http/trailers.h"

enum h1_phase {
	H1_HEAD,                /* a head is awaited */
	H1_BODY,
	H1_REST,                /* of a body that nobody wants: read and dropped */
	H1_WAIT,                /* the question is complete, its exchange runs */
	H1_OVER                 /* nothing more is read */
};

enum {
	/* bytes of an unwanted body that are read to keep the connection */
	H1_DROP_MAX = 64 * 1024,
	H1_INTERIM_MAX = 8,             /* interim answers in front of one */
	/* ms in which the rest of an unwanted answer must come */
	H1_REST_TIME = 1000,
	/* ms in which a kept connection may still ask, when the worker leaves */
	H1_DRAIN_GRACE = 1000,
};

/* What this keeps in a connection. */
struct h1 {
	struct h1_chunks chunks;
	uint64_t left;                  /* of a body with a length; to drop in H1_REST */
	uint32_t looked;                /* bytes of an incomplete head that were parsed before */
	uint8_t phase;                  /* enum h1_phase */
	uint8_t body;                   /* enum body_kind: how what comes is framed */
	uint8_t out;                    /* enum body_kind: how what goes is framed */
	uint8_t interim;                /* peer: interim answers so far */
	bool keep;                      /* another exchange may follow */
	bool expects;                   /* client: waits for 100 before it sends */
	bool whole;                     /* client: the end of a chunked body is in hand */
	bool clean;                     /* peer: its answer is complete, and nothing came behind */
	bool asked;                     /* peer: the question is written completely */
};

_Static_assert(sizeof(struct h1) <= CONN_STATE, "h1 keeps too much");

static const struct h1_limits h1_peer_limits = {
	.uri = 8192, .field = 32768, .head = 65536, .count = 200
};

/* ------------------------------------------------------------------ reading a body */

/* The end of a chunked body whose trailers go on; it comes again until it is complete. */
static size_t
h1_take_trailers(struct conn *c, struct slice in, bool *last, bool *bad)
{
	struct exchange *ex = c->exchange;
	struct message *m = c->side == SIDE_CLIENT ? &ex->question : &ex->answer;
	ssize_t n = trailers_take(m, &ex->arena, in);

	*last = n > 0;
	*bad = n < 0;
	return (size_t)MAX_OF(n, (ssize_t)0);
}

/* Takes from `in`; returns how many bytes. */
static size_t
h1_take_body(struct conn *c, struct slice in, struct slice *data, bool *last, bool *bad)
{
	struct h1 *h = conn_state(c);

	*last = *bad = false;
	if (h->body == BODY_CHUNKED) {
		size_t n = h1_chunks_read(&h->chunks, in, data, last, bad);

		if (unlikely(h1_chunks_stopped(&h->chunks)) && data->n == 0)
			n += h1_take_trailers(c, slice_after(in, n), last, bad);
		return n;
	}
	*data = in;
	if (h->body == BODY_LENGTH) {
		data->n = MIN_OF((uint64_t)in.n, h->left);
		h->left -= data->n;
		*last = h->left == 0;
	}
	return data->n;
}

static void
h1_begin_body(struct h1 *h, const struct message *m)
{
	h->body = m->body;
	h->left = m->length;
	h->chunks = (struct h1_chunks){ 0 };
}

/* Not where Connection names fields: one of them may be a trailer, and is for nobody but us. */
static bool
h1_passes_trailers(const struct exchange *ex, const struct message *m)
{
	return m->body == BODY_CHUNKED && ex->settings != NULL &&
	       ex->settings->trailers == TRAILERS_PASS && !m->names_fields;
}

static bool
h1_has_body(const struct message *m)
{
	return m->body != BODY_NONE && !(m->body == BODY_LENGTH && m->length == 0);
}

/* -------------------------------------------------------------- the client's side: questions */

/*
 * It cannot be read on: answer, say goodbye, and let the answer arrive although the client may
 * still be sending.
 */
static void
h1_refuse(struct conn *c, struct exchange *ex, enum reason why)
{
	struct h1 *h = conn_state(c);

	h->phase = H1_OVER;
	h->keep = false;
	c->linger = true;
	ex->close_client = true;
	exchange_abort(ex, why);
}

static void
h1_continue(struct conn *c)
{
	struct h1 *h = conn_state(c);
	struct exchange *ex = c->exchange;

	if (!h->expects || ex == NULL || ex->answer_state != ANSWER_NONE)
		return;
	h->expects = false;
	conn_write(c, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
}

/* The chunked body at the front of `in` ends there, and would be read for nothing. */
static bool
h1_is_whole(struct slice in)
{
	struct h1_chunks chunks = { 0 };
	struct slice data;
	bool last = false, bad = false;

	in = slice_first(in, MIN_OF(in.n, (size_t)H1_DROP_MAX));
	while (in.n != 0 && !last && !bad)
		in = slice_after(in, h1_chunks_read(&chunks, in, &data, &last, &bad));
	return last;
}

/* The head is there, and good; behind it stands `in`. */
static void
h1_ask(struct conn *c, struct exchange *ex, struct slice in)
{
	struct h1 *h = conn_state(c);
	struct message *m = &ex->question;
	bool last = !h1_has_body(m);

	h1_strip_question(m);
	h1_begin_body(h, m);
	h->keep = m->keep_alive && !c->engine->parting;
	h->expects = m->expect && !last;
	h->whole = m->body == BODY_CHUNKED && h1_is_whole(in);
	h->phase = last ? H1_WAIT : H1_BODY;
	exchange_question(ex, last);
	if (c->exchange != NULL)
		h->chunks.stops = h1_passes_trailers(ex, m);
	h1_continue(c);
	if (last && c->exchange != NULL)
		conn_set_hold(c, HOLD_TURN);
}

static size_t
h1_read_question(struct conn *c, struct slice in)
{
	struct h1 *h = conn_state(c);
	const struct listener *l = conn_listener(c);

	if (l == NULL) {
		h->phase = H1_OVER;
		conn_end(c);
		return in.n;
	}

	const struct listener_settings *s = &l->settings;
	struct h1_limits limits = h1_limits_of(s);

	if (h->looked != 0 && !h1_head_again(in, h->looked, &limits))
		return 0;

	struct exchange *ex = exchange_begin(c);
	enum reason why;
	ssize_t n = h1_take_question(&ex->question, &ex->arena, in, &limits, &why);

	if (n == 0) {
		exchange_cancel(ex);
		if (c->expects != REASON_HEAD_TIMEOUT)
			conn_expect(c, s->head_timeout, REASON_HEAD_TIMEOUT);
		h->looked = (uint32_t)in.n;
		return 0;
	}
	h->looked = 0;
	if (n < 0) {
		uint8_t method = ex->question.method;

		message_init(&ex->question);
		ex->question.method = method;   /* HEAD has no body, good or bad (RFC 9110 9.3.2) */
		h1_refuse(c, ex, why);
		return in.n;
	}
	h1_ask(c, ex, slice_after(in, (size_t)n));
	return (size_t)n;
}

static void
h1_expect_question(struct conn *c)
{
	conn_expect(c, c->idle_timeout, REASON_CLIENT_IDLE);
}

/* Of a body that nobody wants. */
static void
h1_drop_body(struct conn *c, size_t n, bool last)
{
	struct h1 *h = conn_state(c);

	if (last) {
		h->phase = H1_HEAD;
		h1_expect_question(c);
	} else if (h->looked + n > H1_DROP_MAX) {
		h->phase = H1_OVER;
		c->linger = true;
		conn_end(c);
	} else {
		h->looked += (uint32_t)n;
	}
	if (last)
		h->looked = 0;
}

static size_t
h1_read_question_body(struct conn *c, struct slice in)
{
	struct h1 *h = conn_state(c);
	struct exchange *ex = c->exchange;
	struct slice data;
	bool last, bad;
	size_t n = h1_take_body(c, in, &data, &last, &bad);

	if (h->phase == H1_REST) {
		h1_drop_body(c, bad ? H1_DROP_MAX + 1 : n, last);
	} else if (bad) {
		h1_refuse(c, ex, REASON_BAD_MESSAGE);
		return in.n;
	} else if (data.n != 0 || last) {
		if (last)
			h->phase = H1_WAIT;
		exchange_question_data(ex, data, last);
		if (last && c->exchange != NULL)
			conn_set_hold(c, HOLD_TURN);
	}
	return n;
}

/* ------------------------------------------------------------------ the peer's side: answers */

/* A 101 that was asked for, and proves it. */
static bool
h1_switches(const struct exchange *ex)
{
	return ex->question.upgrade && ex->answer.upgrade &&
	       h1_upgrade_agrees(&ex->question, &ex->answer);
}

static void
h1_answered(struct conn *c, struct exchange *ex, bool behind)
{
	struct h1 *h = conn_state(c);
	struct message *m = &ex->answer;

	if (ex->question.method == METHOD_HEAD)
		m->body = BODY_NONE;

	bool last = !h1_has_body(m);

	h1_begin_body(h, m);
	h->keep = m->keep_alive;
	h->phase = last ? H1_OVER : H1_BODY;
	h->clean = last && !behind;
	h->chunks.stops = ex->question.takes_trailers && h1_passes_trailers(ex, m);
	fields_strip(m);
	exchange_answer(ex, last);
}

/* 100 was said by us already; the rest goes on (RFC 9110 15.2). */
static void
h1_pass_interim(struct exchange *ex)
{
	if (ex->answer.status == 100)
		return;
	fields_strip(&ex->answer);
	exchange_interim(ex);
}

static size_t
h1_read_answer(struct conn *c, struct slice in)
{
	struct h1 *h = conn_state(c);
	struct exchange *ex = c->exchange;
	enum reason why;

	/*
	 * What came before the question went out does not answer it; it may be the farewell of a
	 * server that tired of waiting (408).
	 */
	if (unlikely(c->sent == ex->peer_sent)) {
		exchange_peer_failed(ex, c->used ? REASON_PEER_CLOSED : REASON_PEER_BAD_MESSAGE);
		return in.n;
	}
	if (h->looked != 0 && !h1_head_again(in, h->looked, &h1_peer_limits))
		return 0;

	ssize_t n = h1_parse_answer(&ex->answer, &ex->arena, in, &h1_peer_limits, &why);

	if (n == 0) {
		h->looked = (uint32_t)in.n;
		return 0;
	}
	h->looked = 0;
	if (n < 0 || (ex->answer.status == 101 && !h1_switches(ex)) ||
	    (ex->answer.status < 200 && h->interim == H1_INTERIM_MAX)) {
		exchange_peer_failed(ex, REASON_PEER_BAD_MESSAGE);
		return in.n;
	}
	if (ex->answer.status == 101) {
		fields_strip(&ex->answer);
		exchange_return_head(ex, false);
		if (likely(c->exchange == ex))  /* a step may have refused it */
			exchange_tunnel(ex);
	} else if (ex->answer.status < 200) {
		h->interim++;
		h1_pass_interim(ex);
	} else {
		h1_answered(c, ex, in.n > (size_t)n);
	}
	return (size_t)n;
}

static size_t
h1_read_answer_body(struct conn *c, struct slice in)
{
	struct h1 *h = conn_state(c);
	struct slice data;
	bool last, bad;
	size_t n = h1_take_body(c, in, &data, &last, &bad);

	if (bad) {
		exchange_peer_failed(c->exchange, REASON_PEER_BAD_MESSAGE);
		return in.n;
	}
	if (last) {
		h->phase = H1_OVER;
		h->clean = n == in.n;
	}
	if (data.n != 0 || last)
		exchange_answer_data(c->exchange, data, last);
	return n;
}

static void h1_peer_done(struct conn *c);

/* Of an answer that nobody wants: a little is read, so that the connection can be kept. */
static size_t
h1_drop_answer_body(struct conn *c, struct slice in)
{
	struct h1 *h = conn_state(c);
	struct slice data;
	bool last, bad;
	size_t n = h1_take_body(c, in, &data, &last, &bad);

	h->looked += (uint32_t)n;
	if (bad || h->looked > H1_DROP_MAX) {
		conn_close(c);
	} else if (last) {
		h->phase = H1_OVER;
		h->clean = n == in.n;
		h1_peer_done(c);
	}
	return n;
}

/* ------------------------------------------------------------------ reading, both sides */

/* One head, or one piece of a body. */
static size_t
h1_read(struct conn *c, struct slice in)
{
	struct h1 *h = conn_state(c);
	bool client = c->side == SIDE_CLIENT;

	if (!client && c->exchange == NULL && h->phase != H1_REST) {
		/* a peer that speaks unasked is not to be trusted with the next question */
		conn_close(c);
		return in.n;
	}
	switch ((enum h1_phase)h->phase) {
	case H1_HEAD:
		return client ? h1_read_question(c, in) : h1_read_answer(c, in);
	case H1_BODY:
		return client ? h1_read_question_body(c, in) : h1_read_answer_body(c, in);
	case H1_REST:
		return client ? h1_read_question_body(c, in) : h1_drop_answer_body(c, in);
	case H1_WAIT:
		return 0;
	case H1_OVER:
		return in.n;
	}
	return in.n;
}

static void
h1_finish(struct conn *c, size_t left)
{
	struct h1 *h = conn_state(c);
	struct exchange *ex = c->exchange;

	if (c->side == SIDE_PEER) {
		if (ex == NULL) {
			conn_close(c);
		} else if (h->phase == H1_BODY && h->body == BODY_TO_CLOSE) {
			h->phase = H1_OVER;
			exchange_answer_data(ex, SLICE_EMPTY, true);
		} else {
			exchange_peer_failed(ex, REASON_PEER_CLOSED);
		}
	} else if (ex == NULL) {
		conn_end(c);
	} else if (h->phase == H1_BODY) {
		exchange_client_failed(ex, REASON_CLIENT_GONE);
		h->phase = H1_OVER;
		conn_end(c);            /* answers to earlier questions may still be on their way */
	}
	/* Else the client has only said that it asks no more: it gets its answer. */
}

/* ------------------------------------------------------------------ writing */

static void
h1_put_field(struct builder *b, struct slice name, struct slice value)
{
	builder_slice_put(b, name);
	BUILDER_LITERAL(b, ": ");
	builder_slice_put(b, value);
	BUILDER_LITERAL(b, "\r\n");
}

/* Untouched fields in a row go as they came. */
static void
h1_put_runs(struct builder *b, const struct message *m)
{
	uint32_t from = 0, to = 0;

	for (unsigned i = 0; i < m->field_count; i++) {
		const struct message_field *f = &m->fields[i];

		if (f->removed)
			continue;
		if (f->name_at != to) {
			builder_put(b, m->base + from, to - from);
			from = f->name_at;
		}
		to = f->end;
	}
	if (to != 0)
		builder_put(b, m->base + from, to - from);
}

/* Not every reader takes a tab for white space: none gets one from us. */
static void
h1_put_anew(struct builder *b, const struct message *m)
{
	for (unsigned i = 0; i < m->field_count; i++)
		if (!m->fields[i].removed)
			h1_put_field(b, message_field_name(m, &m->fields[i]),
			    message_field_value(m, &m->fields[i]));
}

/* What came, and what was added behind it. */
static void
h1_put_fields(struct builder *b, const struct message *m)
{
	if (unlikely(m->spaced))
		h1_put_anew(b, m);
	else
		h1_put_runs(b, m);
	for (const struct message_edit *e = m->edits; e != NULL; e = e->next)
		h1_put_field(b, e->name, e->value);
}

static size_t
h1_fields_room(const struct message *m)
{
	size_t room = m->size + m->field_count; /* `a:b` may become `a: b` */

	for (const struct message_edit *e = m->edits; e != NULL; e = e->next)
		room += e->name.n + e->value.n + 4;
	return room;
}

static bool
h1_knows(const struct message *m, enum known known)
{
	return ((m->known | m->refused) >> known & 1) != 0;
}

/*
 * Of a question that is answered before its end. The client was not told to go on, and may send the
 * body or not; or more may come than we would read for nothing, in chunks nobody knows how much. So
 * it hears with the answer that no other question is taken. (Whose answer is in chunks, too, may be
 * talking with the client.)
 */
static bool
h1_leaves_much(const struct h1 *h, const struct message *answer)
{
	if (h->expects)
		return true;
	if (h->body == BODY_CHUNKED)
		return !h->whole && (h->out != BODY_CHUNKED || answer->status >= 300);
	return h->body == BODY_LENGTH && h->left > H1_DROP_MAX;
}

/* How the body goes to the client, and whether the connection outlives it (RFC 9112 6.3, 9.3). */
static void
h1_frame_answer(struct exchange *ex, struct h1 *h)
{
	const struct message *m = &ex->answer;

	h->out = m->body;
	if (m->body == BODY_CHUNKED || m->body == BODY_TO_CLOSE)
		h->out = ex->question.minor >= 1 ? BODY_CHUNKED : BODY_TO_CLOSE;
	if (ex->question.method == METHOD_HEAD || m->status < 200 || m->status == 204 ||
	    m->status == 304)
		h->out = BODY_NONE;
	if (ex->close_client || ex->engine->parting || h->out == BODY_TO_CLOSE ||
	    ex->client->idle_timeout == 0)
		h->keep = false;
	if (!ex->question_done && h1_leaves_much(h, m))
		h->keep = false;
}

static void
h1_put_framing(struct builder *b, const struct exchange *ex, const struct h1 *h)
{
	const struct message *m = &ex->answer;

	if (m->status == 101) {
		BUILDER_LITERAL(b, "Upgrade: websocket\r\nConnection: upgrade\r\n");
		return;
	}
	if (h->out == BODY_CHUNKED) {
		BUILDER_LITERAL(b, "Transfer-Encoding: chunked\r\n");
	} else if (m->body == BODY_LENGTH && (m->known >> KNOWN_CONTENT_LENGTH & 1) == 0 &&
		   m->status != 204 && m->status != 304) {
		BUILDER_LITERAL(b, "Content-Length: ");
		builder_number(b, m->length);
		BUILDER_LITERAL(b, "\r\n");
	}
	if (!h->keep)
		BUILDER_LITERAL(b, "Connection: close\r\n");
	else if (ex->question.minor == 0)
		BUILDER_LITERAL(b, "Connection: keep-alive\r\n");
}

APART static void
h1_send_answer_head(struct exchange *ex, struct conn *c)
{
	struct h1 *h = conn_state(c);
	const struct message *m = &ex->answer;
	struct slice phrase = m->base != NULL ? message_piece(m, m->reason_phrase) : SLICE_EMPTY;
	size_t room = h1_fields_room(m) + phrase.n + 320;
	struct builder b = builder_on(scratch_alloc(&c->engine->loop.scratch, room), room);

	h1_frame_answer(ex, h);
	status_put_line(&b, m->status, phrase);
	if (!h1_knows(m, KNOWN_DATE))
		h1_put_field(&b, SLICE("Date"), clock_http_date());
	h1_put_fields(&b, m);
	if (m->base != NULL && (m->refused >> KNOWN_VIA & 1) == 0)
		BUILDER_LITERAL(&b, "Via: 1.1 millrace\r\n");
	h1_put_framing(&b, ex, h);
	BUILDER_LITERAL(&b, "\r\n");
	conn_write_built(c, &b);
}

/* HTTP/1.0 knows of none. */
APART static void
h1_send_interim(struct exchange *ex, struct conn *c)
{
	const struct message *m = &ex->answer;
	struct slice phrase = message_piece(m, m->reason_phrase);
	size_t room = h1_fields_room(m) + phrase.n + 64;

	if (ex->question.minor == 0)
		return;

	struct builder b = builder_on(scratch_alloc(&c->engine->loop.scratch, room), room);

	status_put_line(&b, m->status, phrase);
	h1_put_fields(&b, m);
	BUILDER_LITERAL(&b, "\r\n");
	conn_write_built(c, &b);
}

/* What the client said: a step may have put another Host in its place. */
static struct slice
h1_host_asked(const struct message *m, struct slice sent)
{
	if (likely((m->refused >> KNOWN_HOST & 1) == 0))
		return sent;
	for (unsigned i = 0; i < m->field_count; i++)
		if (m->fields[i].known == KNOWN_HOST)
			return message_field_value(m, &m->fields[i]);
	return m->host;
}

/* Who asks, by which way: said by us, unless a step has said it or forbidden it. */
static void
h1_put_forwarded(struct builder *b, struct exchange *ex, struct slice host)
{
	const struct message *m = &ex->question;
	char text[ADDR_TEXT];

	if (!h1_knows(m, KNOWN_X_FORWARDED_FOR))
		h1_put_field(b, SLICE("X-Forwarded-For"), addr_print_host(ex->src, text));
	if (!h1_knows(m, KNOWN_X_FORWARDED_PROTO))
		BUILDER_LITERAL(b, "X-Forwarded-Proto: http\r\n");
	if (!h1_knows(m, KNOWN_X_FORWARDED_HOST) && host.n != 0)
		h1_put_field(b, SLICE("X-Forwarded-Host"), host);
	if ((m->refused >> KNOWN_VIA & 1) == 0) {
		if (m->minor == 0)
			BUILDER_LITERAL(b, "Via: 1.0 millrace\r\n");
		else
			BUILDER_LITERAL(b, "Via: 1.1 millrace\r\n");
	}
}

static void
h1_put_question_framing(struct builder *b, const struct exchange *ex, const struct h1 *h)
{
	const struct message *m = &ex->question;

	if (m->upgrade)
		BUILDER_LITERAL(b, "Upgrade: websocket\r\nConnection: upgrade\r\n");
	else if (unlikely(m->takes_trailers) && ex->settings->trailers == TRAILERS_PASS)
		BUILDER_LITERAL(b, "TE: trailers\r\nConnection: TE\r\n");
	if (h->out == BODY_CHUNKED) {
		BUILDER_LITERAL(b, "Transfer-Encoding: chunked\r\n");
	} else if (h->out == BODY_LENGTH && (m->known >> KNOWN_CONTENT_LENGTH & 1) == 0) {
		BUILDER_LITERAL(b, "Content-Length: ");
		builder_number(b, m->length);
		BUILDER_LITERAL(b, "\r\n");
	}
}

APART static void
h1_send_question_head(struct exchange *ex, struct conn *c)
{
	struct h1 *h = conn_state(c);
	const struct message *m = &ex->question;
	struct slice host = SLICE_EMPTY, method = message_piece(m, m->method_text);
	bool named = message_find(m, KNOWN_HOST, known_names[KNOWN_HOST], 0, &host);

	if (unlikely(ex->trusted || ex->settings->forwarded != FORWARDED_X))
		forwarded_tell(ex, h1_host_asked(m, host));

	size_t room =
	    h1_fields_room(m) + method.n + m->forward.n + 2 * host.n + ex->upstream_name.n + 512;
	struct builder b = builder_on(scratch_alloc(&c->engine->loop.scratch, room), room);

	h->out = m->body;
	builder_slice_put(&b, method);
	builder_byte(&b, ' ');
	builder_slice_put(&b, m->forward);
	BUILDER_LITERAL(&b, " HTTP/1.1\r\n");
	if (!named)             /* HTTP/1.0 may lack it, 1.1 may not */
		BUILDER_LITERAL(&b, "Host: localhost\r\n");
	h1_put_fields(&b, m);
	h1_put_forwarded(&b, ex, h1_host_asked(m, host));
	h1_put_question_framing(&b, ex, h);
	BUILDER_LITERAL(&b, "\r\n");
	conn_write_built(c, &b);
}

/* The last chunk, with what goes behind it. */
static void
h1_send_trailers(struct conn *c, const struct message *m)
{
	size_t room = trailers_room(m) + 3;
	struct builder b = builder_on(scratch_alloc(&c->engine->loop.scratch, room), room);

	BUILDER_LITERAL(&b, "0\r\n");
	trailers_put(&b, m);
	conn_write_built(c, &b);
}

APART static void
h1_send_chunk(struct conn *c, const struct message *m, const struct part *part)
{
	bool last = part->last && m->trailers == NULL;

	if (part->data.n != 0) {
		struct builder b = builder_on(scratch_alloc(&c->engine->loop.scratch, 24), 24);

		builder_hex(&b, part->data.n);
		BUILDER_LITERAL(&b, "\r\n");
		conn_write_built(c, &b);
		conn_write(c, part->data);
		conn_write(c, last ? SLICE("\r\n0\r\n\r\n") : SLICE("\r\n"));
	} else if (last) {
		conn_write(c, SLICE("0\r\n\r\n"));
	}
	if (unlikely(part->last && !last))
		h1_send_trailers(c, m);
}

static void
h1_send_data(struct exchange *ex, struct conn *c, const struct part *part)
{
	const struct h1 *h = conn_state(c);

	if (h->out == BODY_CHUNKED)
		h1_send_chunk(c, c->side == SIDE_CLIENT ? &ex->answer : &ex->question, part);
	else if (h->out != BODY_NONE)
		conn_write(c, part->data);
}

static void
h1_send(struct exchange *ex, struct conn *c, const struct part *part)
{
	struct h1 *h = conn_state(c);

	h->asked |= c->side == SIDE_PEER && part->last;
	if (part->kind == PART_DATA)
		h1_send_data(ex, c, part);
	else if (part->interim)
		h1_send_interim(ex, c);
	else if (c->side == SIDE_CLIENT)
		h1_send_answer_head(ex, c);
	else
		h1_send_question_head(ex, c);
}

/* ------------------------------------------------------------ what else happens to a connection */

static void
h1_open(struct conn *c)
{
	if (c->side == SIDE_PEER)
		return;

	const struct listener *l = conn_listener(c);

	conn_expect(c, l != NULL ? l->settings.head_timeout : 1, REASON_HEAD_TIMEOUT);
}

static bool
h1_fail(struct exchange *ex, struct conn *c, enum reason reason)
{
	unsigned status = reason_texts[reason].status;

	if (status == 0)
		return false;
	if (reason == REASON_BODY_TIMEOUT || reason == REASON_BODY_TOO_SLOW ||
	    reason == REASON_HEAD_TIMEOUT || reason == REASON_BODY_TOO_LARGE)
		c->linger = ex->close_client = true;

	struct builder b = builder_on(scratch_alloc(&c->engine->loop.scratch, 64), 64);

	builder_number(&b, status);
	builder_byte(&b, ' ');
	builder_slice_put(&b, status_phrase(status));
	builder_byte(&b, '\n');
	message_init(&ex->answer);
	exchange_return(ex, (uint16_t)status, SLICE("text/plain"), builder_slice(&b));
	return true;
}

static void
h1_late(struct conn *c, enum reason reason)
{
	struct h1 *h = conn_state(c);
	struct exchange *ex = c->exchange;

	if (c->side == SIDE_PEER) {
		if (ex != NULL)
			exchange_peer_failed(ex, reason);
		else
			conn_close(c);
	} else if (reason == REASON_HEAD_TIMEOUT && c->in_n != 0) {
		h1_refuse(c, exchange_begin(c), reason);
	} else if (ex != NULL) {
		exchange_abort(ex, reason);
	} else if (h->keep && conn_waiting(c) != 0) {
		/* it still has to read: who does not at all is another deadline's */
		h1_expect_question(c);
	} else {
		h->phase = H1_OVER;
		conn_end(c);
	}
}

static void
h1_peer_done(struct conn *c)
{
	struct h1 *h = conn_state(c);
	bool keep = h->keep && h->asked && c->peer != NULL && !c->ended && c->broken == 0 &&
		    !c->engine->draining;

	if (keep && h->phase == H1_BODY && h->left <= H1_DROP_MAX) {
		h->phase = H1_REST;
		h->looked = 0;
		h->chunks.stops = false;
		conn_expect(c, H1_REST_TIME, REASON_PEER_TIMEOUT);
		return;
	}
	if (!keep || !h->clean) {
		conn_close(c);
		return;
	}
	*h = (struct h1){ .phase = H1_HEAD };
	upstream_give(c);
}

static void
h1_client_done(struct conn *c)
{
	struct h1 *h = conn_state(c);

	if (c->close_wanted) {
		/* the answer was cut: what still comes of the question is nobody's */
		h->phase = H1_OVER;
		return;
	}
	if (h->phase == H1_BODY && (!h->keep || h->expects || h->left > H1_DROP_MAX)) {
		h->keep = false;
		c->linger = true;
	}
	if (!h->keep || (c->ended && c->in_n == 0 && !c->in_read)) {
		h->phase = H1_OVER;
		conn_end(c);
		return;
	}
	h->looked = 0;
	h->chunks.stops = false;
	h->phase = h->phase == H1_BODY ? H1_REST : H1_HEAD;
	h1_expect_question(c);
	c->hold &= (uint8_t)~HOLD_TURN;
	conn_wake(c);
}

static void
h1_done(struct conn *c)
{
	if (c->side == SIDE_PEER)
		h1_peer_done(c);
	else
		h1_client_done(c);
}

static void
h1_drain(struct conn *c)
{
	struct h1 *h = conn_state(c);

	h->keep = false;
	if (c->exchange != NULL)
		return;
	if (c->side == SIDE_PEER)
		conn_close(c);
	else if (h->phase == H1_HEAD && c->in_n == 0)
		conn_expect(c, H1_DRAIN_GRACE, REASON_CLIENT_IDLE);
}

const struct protocol_ops protocol_http = {
	.name = "http",
	.traits = PROTOCOL_TURNS | PROTOCOL_HTTP | PROTOCOL_POOLS,
	.fields = http_fields,
	.conn_size = sizeof(struct h1),
	.open = h1_open,
	.read = h1_read,
	.finish = h1_finish,
	.send = h1_send,
	.fail = h1_fail,
	.late = h1_late,
	.done = h1_done,
	.drain = h1_drain,
};
