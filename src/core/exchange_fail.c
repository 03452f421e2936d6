/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How an exchange fails: the line in the error log; another answer in place of
 * the one that will not come, by the steps of an error block or in the words of
 * the protocol; or, where its head is out, a connection cut so that it shows.
 */
#include "base/clock.h"
#include "core/exchange_inner.h"

/* ------------------------------------------------------------------ the log */

/* What happens to all who come would fill the log: a line for many. */
static bool
exchange_log_crowd(const struct exchange *ex, enum reason reason)
{
	static struct log_limit limit, memory, flows;

	/* Anybody can open flows, under any name and as fast as the line is. */
	if (ex->client != NULL && ex->client->flow != NULL) {
		log_limited(&flows, reason_texts[reason].level,
		    "%s, of server " SLICE_FORMAT "%s" SLICE_FORMAT, reason_texts[reason].text,
		    SLICE_ARG(ex->server_name), ex->peer_text.n != 0 ? ", peer " : "",
		    SLICE_ARG(ex->peer_text));
		return true;
	}
	if (reason != REASON_LIMIT && reason != REASON_MEMORY)
		return false;
	log_limited(reason == REASON_LIMIT ? &limit : &memory, reason_texts[reason].level,
	    "%s: questions are refused, of server " SLICE_FORMAT, reason_texts[reason].text,
	    SLICE_ARG(ex->server_name));
	return true;
}

static void
exchange_log_failure(const struct exchange *ex, enum reason reason)
{
	char text[ADDR_TEXT];
	/* a port is known of a connection, and of few who were told by a field */
	struct slice from = addr_port(ex->src) != 0 ? addr_print(ex->src, text)
						    : addr_print_host(ex->src, text);
	const struct reason_text *r = &reason_texts[reason];
	const struct message *m = &ex->question;
	struct slice method = m->base != NULL ? message_piece(m, m->method_text) : SLICE_EMPTY;
	struct slice target = m->base != NULL ? message_piece(m, m->target) : SLICE_EMPTY;

	if (!log_enabled(r->level) || exchange_log_crowd(ex, reason))
		return;
	log_line(r->level,
	    "%s, client " SLICE_FORMAT ", server " SLICE_FORMAT "%s" SLICE_FORMAT "%s" SLICE_FORMAT
	    "%s" SLICE_FORMAT "%s" SLICE_FORMAT,
	    r->text, SLICE_ARG(from), SLICE_ARG(ex->server_name), method.n != 0 ? ", " : "",
	    SLICE_ARG(method), method.n != 0 ? " " : "",
	    SLICE_ARG(slice_first(target, MIN_OF(target.n, 512))),
	    ex->peer_text.n != 0 ? ", peer " : "", SLICE_ARG(ex->peer_text),
	    ex->id.n != 0 ? ", id " : "", SLICE_ARG(ex->id));
}

/* ------------------------------------------------------------------ error steps */

const struct steps *
exchange_error_steps(const struct exchange *ex, unsigned status, bool own)
{
	if (ex->server == NULL || ex->error_run || ex->answer_state != ANSWER_NONE ||
	    ex->client == NULL)
		return NULL;
	for (size_t i = 0; i < ex->server->error_count; i++) {
		const struct error_block *block = &ex->server->errors[i];

		if (status >= block->first && status <= block->last)
			return own && !block->intercept ? NULL : &block->steps;
	}
	return NULL;
}

/*
 * Nothing is left of an answer that failed, and no body of the question: it was read, or will be
 * dropped.
 */
static void
exchange_clear(struct exchange *ex)
{
	struct message *m = &ex->question;

	message_init(&ex->answer);
	if (m->body == BODY_NONE)
		return;
	message_remove(m, KNOWN_CONTENT_LENGTH, SLICE_EMPTY);
	m->body = BODY_LENGTH;
	m->length = 0;
}

static void
exchange_start_error_steps(struct exchange *ex, const struct steps *steps, unsigned status)
{
	exchange_end_steps(ex);
	exchange_drop_peer(ex, false);
	exchange_clear(ex);
	ex->error_run = true;
	ex->gave_up = false;
	ex->head_us = 0;
	ex->status = (uint16_t)status;
	exchange_start(ex, steps);
}

bool
exchange_run_error_steps(struct exchange *ex, unsigned status)
{
	const struct steps *steps = exchange_error_steps(ex, status, false);

	if (steps != NULL)
		exchange_start_error_steps(ex, steps, status);
	return steps != NULL;
}

bool
exchange_intercept(struct exchange *ex)
{
	unsigned status = ex->answer.status;
	const struct steps *steps = exchange_error_steps(ex, status, true);

	if (steps == NULL)
		return false;
	exchange_drop_peer(ex, true);
	exchange_start_error_steps(ex, steps, status);
	return true;
}

/* ------------------------------------------------------------------ failing */

/* Its head is out, and to one of HTTP/1.0 an orderly end may be the end of the body. */
static bool
exchange_would_look_whole(const struct exchange *ex)
{
	enum body_kind body = ex->answer.body;

	return ex->answer_state == ANSWER_HEAD && !ex->talk &&
	       (body == BODY_TO_CLOSE || (body == BODY_CHUNKED && ex->question.minor == 0));
}

/* Its head is out: the client must see that what follows is missing. */
static void
exchange_cut(struct exchange *ex)
{
	struct conn *c = ex->client;

	if (exchange_would_look_whole(ex))
		conn_reset(c);
	else
		conn_end(c);
	exchange_end(ex);
}

void
exchange_abort(struct exchange *ex, enum reason reason)
{
	if (ex->ending)
		return;
	exchange_enter(ex);
	ex->reason = (uint8_t)reason;
	if (ex->settings == NULL && ex->client != NULL)
		exchange_set_unread(ex);
	exchange_log_failure(ex, reason);
	exchange_drop_peer(ex, false);
	if (ex->client == NULL) {
		exchange_end(ex);
	} else if (ex->answer_state != ANSWER_NONE && !lane_is(ex->client)) {
		exchange_cut(ex);
	} else if (!exchange_run_error_steps(ex, reason_texts[reason].status)) {
		ex->error_run = true;
		ex->taker = ex->steps != NULL ? (int16_t)ex->step : -1;
		if (!ex->client->protocol->fail(ex, ex->client, reason)) {
			conn_end(ex->client);
			exchange_end(ex);
		}
	}
	exchange_leave(ex);
}

void
exchange_client_failed(struct exchange *ex, enum reason reason)
{
	struct conn *c = ex->client;

	ex->reason = (uint8_t)reason;
	if (c != NULL) {
		if (!lane_is(c))
			ex->sent = exchange_sent(ex, c->sent);
		/* However the connection ends then. */
		if (exchange_would_look_whole(ex))
			socket_reset_on_close(c->wire.fd);
		lane_forget(ex);
		c->exchange = NULL;
		ex->client = NULL;
	}
	exchange_end(ex);
}

bool
exchange_is_untouched(const struct exchange *ex)
{
	return ex->peer != NULL && ex->peer->sent <= ex->peer_sent;
}

void
exchange_peer_failed(struct exchange *ex, enum reason reason)
{
	exchange_enter(ex);

	const struct step *step = ex->taker >= 0 ? &ex->steps->items[ex->taker] : NULL;

	if (ex->ending || step == NULL || step->ops->peer_fail == NULL) {
		exchange_abort(ex, reason);
	} else {
		ex->untouched = exchange_is_untouched(ex);
		exchange_drop_peer(ex, false);
		step->ops->peer_fail(ex, step, reason);
	}
	exchange_leave(ex);
}
