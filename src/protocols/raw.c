/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Talks without words of their own: they are routed when they open, on what is
 * known of the connection. Most become a tunnel and are not seen here again; of
 * the others every byte is data. They have no way to say that something failed. Of UDP the talk is a
 * flow, which leaves the road when its peer has answered: until then another may be asked.
 */
#include "protocols/raw.h"

#include "core/datagram.h"
#include "core/exchange.h"

/* ------------------------------------------------------------------ tcp */

static void
expect_more(struct conn *c)
{
	if (c->exchange != NULL && c->exchange->settings != NULL)
		conn_expect(c, c->exchange->settings->idle_timeout, REASON_IDLE_TIMEOUT);
}

/*
 * Until the peer is there the client's bytes wait in the kernel, so that whoever is tried next gets
 * them all.
 */
static void
tcp_open(struct conn *c)
{
	if (c->side == SIDE_PEER)
		return;

	struct exchange *ex = exchange_begin(c);

	conn_set_hold(c, HOLD_TURN);
	exchange_question(ex, false);
	if (c->exchange != ex || ex->peer != NULL || c->tunnel != NULL)
		return;
	expect_more(c);
	conn_clear_hold(c, HOLD_TURN);
}

static size_t
tcp_read(struct conn *c, struct slice in)
{
	struct exchange *ex = c->exchange;

	if (ex == NULL)
		return in.n;
	if (c->side == SIDE_CLIENT) {
		expect_more(c);
		exchange_question_data(ex, in, false);
		return in.n;
	}
	if (ex->answer_state == ANSWER_NONE)
		exchange_answer(ex, false);
	if (c->exchange == ex)
		exchange_answer_data(ex, in, false);
	return in.n;
}

static void
tcp_finish(struct conn *c, size_t left)
{
	if (c->exchange == NULL)
		conn_end(c);
	else if (c->side == SIDE_CLIENT)
		exchange_question_data(c->exchange, SLICE_EMPTY, true);
	else
		exchange_answer_data(c->exchange, SLICE_EMPTY, true);
}

/* The client's end comes with done, when the exchange is over. */
static void
tcp_send(struct exchange *ex, struct conn *c, const struct part *part)
{
	if (part->kind == PART_DATA)
		conn_write(c, part->data);
	if (part->last && c->side == SIDE_PEER)
		conn_shut(c);
}

static bool
tcp_fail(struct exchange *ex, struct conn *c, enum reason reason)
{
	return false;
}

static void
tcp_late(struct conn *c, enum reason reason)
{
	struct exchange *ex = c->exchange;

	if (ex != NULL && c->side == SIDE_CLIENT)
		exchange_client_failed(ex, reason);
	else if (ex != NULL)
		exchange_peer_failed(ex, reason);
	conn_close(c);
}

static void
tcp_done(struct conn *c)
{
	if (c->side == SIDE_CLIENT)
		conn_end(c);
	else
		conn_close(c);
}

/* A talk is never between two questions: it goes on to its own end. */
static void
tcp_drain(struct conn *c)
{
}

const struct protocol_ops protocol_tcp = {
	.name = "tcp",
	.open = tcp_open,
	.read = tcp_read,
	.finish = tcp_finish,
	.send = tcp_send,
	.fail = tcp_fail,
	.late = tcp_late,
	.done = tcp_done,
	.drain = tcp_drain,
};

/* ------------------------------------------------------------------ udp */

static void
udp_open(struct conn *c)
{
	if (c->side == SIDE_PEER)
		return;

	struct exchange *ex = exchange_begin(c);

	exchange_question(ex, false);
	if (c->exchange == ex && c->tunnel == NULL)
		expect_more(c);
}

/* The first answer says that there is a peer: what it says from now on goes straight to the client. */
APART static void
take_answer(struct exchange *ex, struct conn *c, struct slice in)
{
	struct flow *f = ex->client->flow;
	bool last = flow_is_answered(f);

	if (ex->answer_state == ANSWER_NONE)
		exchange_answer(ex, false);
	if (c->exchange != ex)
		return;
	exchange_answer_data(ex, in, last);
	if (last || c->exchange != ex || f->answers_wanted != 0)
		return;
	exchange_tunnel(ex);
	if (unlikely(c->engine->draining))
		flow_drain(ex->client);
}

static size_t
udp_read(struct conn *c, struct slice in)
{
	if (c->exchange == NULL)
		return in.n;
	if (c->side == SIDE_CLIENT) {
		expect_more(c);
		exchange_question_data(c->exchange, in, false);
	} else {
		take_answer(c->exchange, c, in);
	}
	return in.n;
}

static void
udp_send(struct exchange *ex, struct conn *c, const struct part *part)
{
	if (part->kind == PART_DATA)
		datagram_write(c, part->data);
}

/* Silence is how a flow ends; without any answer it is worth a word. */
static void
udp_late(struct conn *c, enum reason reason)
{
	struct exchange *ex = c->exchange;

	if (ex != NULL)
		exchange_client_failed(ex,
		    ex->peer != NULL && c->flow->answers == 0 ? reason : REASON_NONE);
	conn_close(c);
}

const struct protocol_ops protocol_udp = {
	.name = "udp",
	.traits = PROTOCOL_DATAGRAMS,
	.open = udp_open,
	.read = udp_read,
	.finish = tcp_finish,
	.send = udp_send,
	.fail = tcp_fail,
	.late = udp_late,
	.done = tcp_done,
	.drain = tcp_drain,
};
