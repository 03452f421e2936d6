/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's own connections, looked at and ended in its own pass.
 */
#include "server/control_order.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/datagram.h"
#include "core/exchange.h"
#include "core/tunnel.h"
#include "server/control_report.h"

/* ------------------------------------------------------------------ what a connection is */

struct shown {
	const char *state;
	struct addr address;
	struct slice listener, server, upstream;
	uint64_t age, idle;
};

/* The oldest one on it, or the one that runs. */
static const struct exchange *
exchange_of(const struct conn *c)
{
	return c->exchange != NULL ? c->exchange :
	    lane_is(c) && c->side == SIDE_CLIENT ? lane_first(c) : NULL;
}

static const char *
state_of(const struct conn *c)
{
	if (c->state == CONN_CONNECTING)
		return "connecting";
	if (c->state == CONN_LINGERING || c->close_wanted)
		return "closing";
	if (c->tunnel != NULL)
		return "tunnel";
	return exchange_of(c) != NULL || (lane_is(c) && lane_waits(c)) ? "asking" : "idle";
}

static uint64_t
touched(const struct conn *c)
{
	if (c->tunnel != NULL)
		return tunnel_active(c->tunnel);
	return c->flow != NULL ? c->flow->active : c->touched;
}

static struct slice
upstream_of(const struct engine *e, const struct conn *c)
{
	const struct exchange *ex = exchange_of(c);
	const struct snapshot *s = e->snapshot;

	if (ex != NULL && ex->upstream_name.n != 0)
		return ex->upstream_name;
	for (size_t i = 0; c->peer != NULL && i < s->upstream_count; i++)
		for (size_t k = 0; k < s->upstreams[i]->peer_count; k++)
			if (s->upstream_runs[i].peers[k] == c->peer)
				return s->upstreams[i]->name;
	return SLICE_EMPTY;
}

/* What its exchange says, or where there is only one, its listener. */
static struct slice
server_of(const struct conn *c, const struct listener *l)
{
	const struct exchange *ex = exchange_of(c);

	if (ex != NULL && ex->server_name.n != 0)
		return ex->server_name;
	return l != NULL && l->alone && l->only != NULL ? l->only->name : SLICE_EMPTY;
}

static uint64_t
since(uint64_t then)
{
	return clock_ms() - MIN_OF(then, clock_ms());
}

static struct shown
look(const struct engine *e, const struct conn *c)
{
	const struct listener *l = c->side == SIDE_CLIENT ? conn_listener(c) : NULL;

	return (struct shown){
		.state = state_of(c),
		.listener = l != NULL ? l->text : SLICE_EMPTY,
		.server = server_of(c, l),
		.upstream = upstream_of(e, c),
		.age = since(c->opened),
		.idle = since(touched(c)),
	};
}

static void
find_address(const struct conn *c, struct addr *a)
{
	if (c->side == SIDE_CLIENT) {
		*a = c->remote;
		return;
	}
	*a = (struct addr){ .n = sizeof(a->local) };
	if (getpeername(c->wire.fd, &a->any, &a->n) != 0)
		a->n = 0;
	addr_unmap(a);
	a->datagram = c->datagrams;
}

/* ------------------------------------------------------------------ which of them */

static bool
is_wanted_text(const char *wanted, struct slice is)
{
	return wanted[0] == '\0' || slice_is(is, wanted);
}

static bool
is_wanted(const struct control_filter *f, const struct conn *c, struct shown *s)
{
	if (!is_wanted_text(f->side, slice_of(c->side == SIDE_CLIENT ? "client" : "peer")) ||
	    !is_wanted_text(f->state, slice_of(s->state)) ||
	    !is_wanted_text(f->protocol, slice_of(c->protocol != NULL ? c->protocol->name : "")) ||
	    !is_wanted_text(f->server, s->server) || !is_wanted_text(f->upstream, s->upstream))
		return false;
	if ((f->idle_over != 0 && s->idle <= f->idle_over) || s->idle >= f->idle_under ||
	    (f->age_over != 0 && s->age <= f->age_over) || s->age >= f->age_under)
		return false;
	if (f->source.family == 0)
		return true;
	return c->side == SIDE_CLIENT && network_has(&f->source, &c->remote);
}

static void
put_conn(struct report *r, const struct control_order *o, const struct conn *c, struct shown *s)
{
	char id[CONTROL_WORKER_NAME + 24], text[ADDR_TEXT];

	find_address(c, &s->address);
	snprintf(id, sizeof(id), "%s.%llu", o->worker, (unsigned long long)c->number);
	report_row(r);
	report_text(r, slice_of(id));
	report_text(r, slice_of(c->side == SIDE_CLIENT ? "client" : "peer"));
	report_text(r, slice_of(s->state));
	report_text(r, c->protocol != NULL ? slice_of(c->protocol->name) : SLICE_EMPTY);
	report_text(r, s->address.n != 0 ? addr_print(&s->address, text) : SLICE_EMPTY);
	report_text(r, s->listener);
	report_text(r, s->server);
	report_text(r, s->upstream);
	report_number(r, s->age);
	report_number(r, s->idle);
	report_number(r, c->received);
	report_number(r, c->sent);
	report_number(r, conn_waiting(c));
	if (c->side == SIDE_CLIENT)
		report_number(r, c->turns);
	else
		report_nothing(r);
	report_end_row(r);
}

static uint64_t
put_connections(struct engine *e, struct report *r, const struct control_order *o)
{
	uint64_t matched = 0;

	for (const struct conn *c = e->conns; c != NULL; c = c->all_next) {
		struct shown s = look(e, c);

		if (!is_wanted(&o->filter, c, &s))
			continue;
		if (matched++ < o->filter.limit)
			put_conn(r, o, c, &s);
	}
	return matched;
}

/* ------------------------------------------------------------------ ending one */

/* As if the worker left, for this one alone. */
static void
end_now(struct conn *c)
{
	struct exchange *ex = c->exchange;

	if (c->tunnel != NULL) {
		tunnel_end(c->tunnel, REASON_SHUTDOWN);
		return;
	}
	if (lane_is(c))
		lane_broken(c, c->side == SIDE_CLIENT ? REASON_SHUTDOWN : REASON_PEER_CLOSED);
	else if (ex != NULL && c->side == SIDE_CLIENT)
		exchange_client_failed(ex, REASON_SHUTDOWN);
	else if (ex != NULL)
		exchange_peer_failed(ex, REASON_PEER_CLOSED);
	conn_reset(c);
}

/* Behind what is under way, where its protocol can be told; a tunnel is under way as long as it lives. */
static void
end_in_order(struct conn *c)
{
	if (c->tunnel != NULL || c->state == CONN_CONNECTING || c->protocol->drain == NULL) {
		end_now(c);
		return;
	}
	c->last = true;
	if (c->exchange != NULL && c->side == SIDE_CLIENT)
		c->exchange->close_client = true;
	if (c->side == SIDE_PEER && lane_is(c))
		lane_peer_part(c, true);
	else
		c->protocol->drain(c);
}

static uint64_t
kick(struct engine *e, const struct control_order *o)
{
	for (struct conn *c = e->conns; c != NULL; c = c->all_next) {
		if (c->number != o->number)
			continue;
		log_line(LOG_NOTICE, "connection %llu is ended, as was asked for",
		    (unsigned long long)c->number);
		if (o->now)
			end_now(c);
		else
			end_in_order(c);
		return 1;
	}
	return 0;
}

/* ------------------------------------------------------------------ snapshots */

struct holders {
	uint64_t exchanges, conns;
};

static void
count_exchanges(const struct conn *c, const struct snapshot *s, struct holders *h)
{
	if (c->side != SIDE_CLIENT)
		return;
	if (c->exchange != NULL) {
		h->exchanges += c->exchange->snapshot == s;
		return;
	}
	for (const struct exchange *ex = lane_is(c) ? lane_first(c) : NULL; ex != NULL;
	    ex = ex->client_next)
		h->exchanges += ex->snapshot == s;
}

static uint64_t
put_snapshots(struct engine *e, struct report *r, const struct control_order *o)
{
	uint64_t n = 0;

	for (const struct snapshot *s = e->snapshots; s != NULL; s = s->older) {
		struct holders h = { .conns = 0 };

		for (const struct conn *c = e->conns; c != NULL; c = c->all_next) {
			count_exchanges(c, s, &h);
			h.conns += c->old == s;
		}
		report_row(r);
		report_text(r, slice_of(o->worker));
		report_number(r, s->generation);
		report_text(r, slice_of(s == e->snapshot ? "current" : s->holders == 0 ? "going" : "old"));
		report_number(r, s->holders);
		report_number(r, h.exchanges);
		report_number(r, h.conns);
		report_end_row(r);
		n++;
	}
	return n;
}

/* ------------------------------------------------------------------ the order */

static void
write_answer(int fd, const struct report *r, uint64_t matched)
{
	const struct control_answer a = { .matched = matched, .size = r->n };
	size_t at = sizeof(struct control_order);

	/* What does not get there is missing, and who reads sees it. */
	if (r->n != 0 && pwrite(fd, r->at, r->n, (off_t)(at + sizeof(a))) != (ssize_t)r->n)
		return;
	(void)!pwrite(fd, &a, sizeof(a), (off_t)at);
}

void
control_follow(struct engine *e, int fd)
{
	struct control_order o;
	struct report r;
	uint64_t matched = 0;

	report_init(&r, REPORT_MAX);
	if (pread(fd, &o, sizeof(o), 0) == (ssize_t)sizeof(o) && e->snapshot != NULL &&
	    clock_ms() <= o.until) {
		if (o.kind == ORDER_CONNECTIONS)
			matched = put_connections(e, &r, &o);
		else if (o.kind == ORDER_KICK)
			matched = kick(e, &o);
		else if (o.kind == ORDER_SNAPSHOTS)
			matched = put_snapshots(e, &r, &o);
		write_answer(fd, &r, matched);
	}
	report_free(&r);
	close(fd);
}
