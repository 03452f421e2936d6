/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From one snapshot to the next while connections are open. Whose binding, or whose upstream,
 * frames and negotiates as it did goes on under the new one, with its next question; the others
 * keep the old one for what is running on them, and end. What keeps an old snapshot says so
 * (`old`): nothing else that outlives an exchange points into one.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "core/datagram.h"
#include "core/engine.h"
#include "core/exchange.h"
#include "core/lane.h"
#include "core/shortage.h"
#include "core/tunnel.h"

/* ------------------------------------------------------------------ bindings */

void
engine_forget_binding(struct engine *e, struct binding *b)
{
	b->listener = NULL;
	b->fingerprint = 0;
	if (b->old != NULL)
		snapshot_release(e, b->old);
	b->old = NULL;
}

/* Who waits on its sockets is still served: as before, until they close. */
static void
leave_binding(struct engine *e, struct binding *b, struct snapshot *before)
{
	if (b->listener == NULL || b->old != NULL)
		return;
	if (b->accepters == NULL || before == NULL)
		engine_forget_binding(e, b);
	else
		b->old = snapshot_hold(before);
}

static void
take_binding(struct engine *e, struct binding *b, const struct listener *l)
{
	b->fresh = b->listener == NULL ||
	    (b->removed && !addr_equal(&b->listener->addr, &l->addr));
	/* Sockets, and flows, of who had the number long ago. */
	if (b->fresh && b->removed)
		engine_unaccept(e, (uint16_t)(b - e->bindings), -1);
	engine_end_removal(e, b);
	if (b->old != NULL)
		engine_forget_binding(e, b);
	b->listener = l;
	b->fingerprint = l->fingerprint;
}

static void
swap_bindings(struct engine *e, struct snapshot *s, struct snapshot *before)
{
	for (size_t i = 0; i < e->binding_count; i++)
		e->bindings[i].listed = e->bindings[i].fresh = false;
	for (size_t i = 0; i < s->listener_count; i++) {
		struct binding *b = engine_binding(e, s->bindings[i]);

		take_binding(e, b, &s->listeners[i]);
		b->listed = true;
	}
	for (size_t i = 0; i < e->binding_count; i++)
		if (!e->bindings[i].listed)
			leave_binding(e, &e->bindings[i], before);
}

/* ------------------------------------------------------------------ who stays too long */

static void
cut(struct conn *c)
{
	if (c->tunnel != NULL) {
		tunnel_end(c->tunnel, REASON_SHUTDOWN);
		return;
	}
	if (lane_is(c))
		lane_broken(c, REASON_SHUTDOWN);
	else if (c->exchange != NULL && c->side == SIDE_CLIENT)
		exchange_client_failed(c->exchange, REASON_SHUTDOWN);
	conn_close(c);
}

/* ------------------------------------------------------------------ connections */

static void
forget_old(struct conn *c)
{
	if (c->old != NULL)
		snapshot_release(c->engine, c->old);
	c->old = NULL;
}

static void
keep_old(struct conn *c, struct snapshot *before)
{
	if (c->old == NULL && before != NULL)
		c->old = snapshot_hold(before);
}

static void
expect_end(struct conn *c)
{
	if (c->leaving_since == 0)
		c->leaving_since = clock_ms();
}

static void
drain(struct conn *c)
{
	if (c->flow != NULL)
		flow_drain(c);
	else if (c->state == CONN_OPEN && c->tunnel == NULL && c->protocol->drain != NULL)
		c->protocol->drain(c);
}

static void
swap_client(struct conn *c, struct snapshot *before)
{
	const struct binding *b = &c->engine->bindings[c->binding];

	/* Its listener went long ago: nothing may take it for the new one's. */
	if (unlikely(b->fresh)) {
		cut(c);
		return;
	}
	if (b->listed && b->fingerprint == c->fingerprint) {
		forget_old(c);
		c->leaving_since = 0;
		if (c->tunnel == NULL && c->protocol == c->next_protocol)
			c->protocol = b->listener->protocol;
		c->next_protocol = b->listener->protocol;
		return;
	}
	expect_end(c);
	if (c->tunnel != NULL || c->old != NULL)
		return;
	keep_old(c, before);
	drain(c);
}

static void
swap_peer(struct conn *c, struct snapshot *s, struct snapshot *before)
{
	const struct protocol_ops *p;

	if (c->tunnel != NULL || c->protocol->codec == NULL)
		return;
	p = snapshot_protocol(s, c->protocol);
	if (p != NULL) {
		c->protocol = p;
		forget_old(c);
	} else {
		keep_old(c, before);
	}
	if (lane_is(c))
		lane_peer_part(c, p == NULL);
}

static void
swap_conns(struct engine *e, struct snapshot *s, struct snapshot *before)
{
	/* What closes meanwhile keeps its place in the list to the end of the pass. */
	for (struct conn *c = e->conns; c != NULL; c = c->all_next)
		if (c->state != CONN_CLOSED && c->side == SIDE_CLIENT)
			swap_client(c, before);
		else if (c->state != CONN_CLOSED)
			swap_peer(c, s, before);
}

/* ------------------------------------------------------------------ deadlines */

/* What drains has as long as the current configuration says, from when it began to. */
static void
cut_late(struct engine *e)
{
	uint64_t now = clock_ms(), next = UINT64_MAX;
	uint64_t most = e->snapshot == NULL ? 0 : e->snapshot->drain_deadline;
	size_t count = 0;

	for (struct conn *c = most == 0 ? NULL : e->conns; c != NULL; c = c->all_next) {
		if (c->state == CONN_CLOSED || c->leaving_since == 0)
			continue;
		if (c->leaving_since + most > now) {
			next = MIN_OF(next, c->leaving_since + most);
			continue;
		}
		cut(c);
		count++;
	}
	if (next != UINT64_MAX)
		deadline_set(&e->loop, &e->cut, next - now);
	if (count != 0)
		log_line(LOG_NOTICE, "%zu connections were cut: they had to drain by now", count);
}

static void
on_cut(struct deadline *d)
{
	cut_late(CONTAINER_OF(d, struct engine, cut));
}

void
engine_expect_end_of(struct conn *c)
{
	expect_end(c);
	if (c->engine->cut.due == 0)
		cut_late(c->engine);
}

void
engine_expect_end(struct engine *e)
{
	for (struct conn *c = e->conns; c != NULL; c = c->all_next)
		if (c->side == SIDE_CLIENT)
			expect_end(c);
	cut_late(e);
}

static bool
holds(const struct conn *c, const struct snapshot *s)
{
	if (c->old == s || (c->exchange != NULL && c->exchange->snapshot == s))
		return true;
	if (c->side == SIDE_CLIENT && lane_is(c))
		for (const struct exchange *ex = lane_first(c); ex != NULL; ex = ex->client_next)
			if (ex->snapshot == s)
				return true;
	return false;
}

/* The oldest that is held, if there are too many. */
static struct snapshot *
one_too_many(const struct engine *e)
{
	struct snapshot *oldest = NULL;
	size_t living = 0;

	for (struct snapshot *s = e->snapshots; s != NULL; s = s->older)
		if (s->holders != 0) {
			oldest = s;
			living++;
		}
	return living > SNAPSHOTS_MOST ? oldest : NULL;
}

static void
end_oldest(struct engine *e)
{
	struct snapshot *s = one_too_many(e);
	size_t count = 0;

	if (s == NULL)
		return;
	for (struct conn *c = e->conns; c != NULL; c = c->all_next)
		if (c->state != CONN_CLOSED && holds(c, s)) {
			cut(c);
			count++;
		}
	log_line(LOG_NOTICE,
	    "more than %d configurations are in use: %zu connections that began under the oldest "
	    "were cut", SNAPSHOTS_MOST, count);
}

/* ------------------------------------------------------------------ the swap */

static void
know(struct engine *e, struct snapshot *s)
{
	s->engine = e;
	s->older = e->snapshots;
	s->back = &e->snapshots;
	if (s->older != NULL)
		s->older->back = &s->older;
	e->snapshots = s;
	snapshot_show(e, s);
}

void
engine_adopt(struct engine *e, struct snapshot *s)
{
	struct snapshot *before = e->snapshot;

	e->cut.run = on_cut;
	know(e, s);
	upstream_adopt(e, s);
	swap_bindings(e, s, before);
	e->snapshot = s;
	swap_conns(e, s, before);
	shortage_adopt(e);
	if (before != NULL)
		snapshot_release(e, before);
	cut_late(e);
	end_oldest(e);
}

/* ------------------------------------------------------------------ logs */

static void
use(bool *used, int sink)
{
	if (sink >= 0)
		used[sink] = true;
}

static void
use_of_conn(bool *used, const struct conn *c)
{
	if (c->exchange != NULL)
		use(used, c->exchange->log_sink);
	if (c->side == SIDE_CLIENT && lane_is(c))
		for (const struct exchange *ex = lane_first(c); ex != NULL; ex = ex->client_next)
			use(used, ex->log_sink);
}

void
engine_trim_sinks(struct engine *e)
{
	bool *used = memory_zalloc((e->sink_count + 1) * sizeof(*used));

	for (const struct snapshot *s = e->snapshots; s != NULL; s = s->older)
		for (size_t i = 0; i < s->log_count && s->log_sinks != NULL; i++)
			use(used, s->log_sinks[i]);
	for (const struct conn *c = e->conns; c != NULL; c = c->all_next)
		use_of_conn(used, c);
	for (size_t i = 0; i < e->sink_count; i++) {
		if (used[i] || e->sinks[i] == NULL)
			continue;
		access_close(e->sinks[i]);
		free(e->sinks[i]);
		e->sinks[i] = NULL;
	}
	free(used);
}
