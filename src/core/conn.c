/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One open connection: how it opens and closes, its readiness bits, what was
 * read and not taken. Bytes go up through protocol->read; what comes down
 * through conn_write is conn_write.c's.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "core/conn_inner.h"
#include "core/datagram.h"
#include "core/engine.h"
#include "core/exchange.h"
#include "core/lane.h"
#include "core/tunnel.h"

enum {
	/* ms: of writes and of silence, until an exchange says otherwise */
	CONN_TIMEOUT = 60 * 1000
};

static void conn_on_event(struct loop_event *e, unsigned what);
static void conn_on_ready(struct loop_task *t);
static void conn_on_rest(struct loop_task *t);
static void conn_on_deadline(struct deadline *d);

/* ------------------------------------------------------------------ open */

static inline void
conn_count(struct conn *c, uint64_t by)
{
	struct engine *e = c->engine;

	if (c->flow != NULL) {
		e->flow_count += by;
		engine_count(&e->shared->flows, by);
		return;
	}
	e->conn_count += by;
	if (c->side == SIDE_CLIENT)
		engine_count(&e->shared->connections, by);
}

static struct conn *
conn_new(struct engine *e, int fd, enum side side, struct flow *flow)
{
	struct conn *c = e->free_conns[side];
	size_t size = side == SIDE_CLIENT ? sizeof(*c) : offsetof(struct conn, remote);

	if (c != NULL)
		e->free_conns[side] = c->all_next;
	else
		c = memory_alloc(size);
	memset(c, 0, size);
	c->engine = e;
	c->side = side;
	c->flow = flow;
	c->wire.fd = fd;
	c->wire_ops = &wire_plain;
	c->ready.run = conn_on_ready;
	c->flush.run = conn_on_flush;
	c->rest.run = conn_on_rest;
	c->deadline.run = conn_on_deadline;
	c->out_end = &c->out;
	c->backlog_end = &c->backlog;
	c->write_timeout = c->idle_timeout = CONN_TIMEOUT;
	c->opened = c->touched = clock_ms();
	engine_count(&e->shared->numbers, 1);
	c->number = e->shared->numbers;
	c->all_next = e->conns;
	c->all_back = &e->conns;
	if (e->conns != NULL)
		e->conns->all_back = &c->all_next;
	e->conns = c;
	conn_count(c, 1);
	return c;
}

static struct conn *
conn_new_client(
    struct engine *e, int fd, uint16_t binding, const struct addr *from, struct flow *flow)
{
	struct conn *c = conn_new(e, fd, SIDE_CLIENT, flow);

	c->state = CONN_OPEN;
	c->writable = true;
	c->binding = binding;
	c->remote = *from;
	return c;
}

/* Its binding is on the way out. */
static void
conn_know_old(struct conn *c)
{
	struct snapshot *old = c->engine->bindings[c->binding].old;

	if (likely(old == NULL))
		return;
	c->old = snapshot_hold(old);
	engine_expect_end_of(c);
}

bool
conn_open_flow(struct engine *e, struct flow *f, const struct addr *from)
{
	const struct listener *l = e->bindings[f->key.binding].listener;
	struct conn *c = conn_new_client(e, -1, f->key.binding, from, f);

	f->conn = c;
	conn_know_old(c);
	c->datagrams = true;
	c->fingerprint = l->fingerprint;
	c->protocol = c->next_protocol = l->protocol;
	c->protocol->open(c);
	return c->state == CONN_OPEN;
}

struct conn *
conn_open_client(struct engine *e, int fd, uint16_t binding, const struct addr *from)
{
	const struct listener *l = e->bindings[binding].listener;
	struct conn *c = conn_new_client(e, fd, binding, from, NULL);

	if (l == NULL || !loop_watch(&e->loop, &c->event, fd, LOOP_EDGE, conn_on_event)) {
		conn_close(c);
		return NULL;
	}
	conn_know_old(c);
	c->fingerprint = l->fingerprint;
	c->next_protocol = l->protocol;
	c->protocol = l->first_protocol != NULL ? l->first_protocol : l->protocol;
	c->protocol->open(c);
	return c;
}

/* Rather than a question, what is idle is given up. */
static int
conn_connect(struct engine *e, const struct addr *to, bool *pending, struct door **door)
{
	int fd;

	if (!engine_has_room_for_peer(e))
		return -1;
	do {
		*door = to->datagram != 0 ? door_take(e, to) : NULL;
		fd = to->datagram == 0 ? socket_connect(to, pending) :
		    *door != NULL      ? (*door)->fd :
					 -1;
	} while (unlikely(fd < 0) && (errno == EMFILE || errno == ENFILE) &&
	    engine_free_descriptors(e));
	return fd;
}

struct conn *
conn_open_peer(struct engine *e, const struct addr *to, const struct protocol_ops *protocol,
    struct exchange *ex, uint64_t connect_timeout, struct slice first)
{
	bool pending = false;
	struct door *door;
	int fd = conn_connect(e, to, &pending, &door);

	if (fd < 0)
		return NULL;

	struct conn *c = conn_new(e, fd, SIDE_PEER, NULL);

	c->state = CONN_CONNECTING;
	c->protocol = protocol;
	c->exchange = ex;
	/*
	 * Connected at once (Unix) or not: the first write readiness says so, so both walk one
	 * road.
	 */
	if (door != NULL) {
		c->datagrams = true;
		c->door = door;
		door->conn = c;
	} else if (!loop_watch(&e->loop, &c->event, fd, LOOP_EDGE, conn_on_event)) {
		int error = errno;

		c->exchange = NULL;
		conn_close(c);
		errno = error;
		return NULL;
	}
	if (first.n != 0) {
		struct backlog *b = memory_alloc(sizeof(*b) + first.n);

		*b = (struct backlog){ .n = first.n, .size = first.n };
		memcpy(b->bytes, first.at, first.n);
		*c->backlog_end = b;
		c->backlog_end = &b->next;
		c->backlog_n = first.n;
	}
	if (!pending) {
		c->writable = true;
		loop_queue(&e->loop, LOOP_READY, &c->ready);
	}
	if (!c->datagrams)
		conn_expect(c, connect_timeout, REASON_PEER_CONNECT_TIMEOUT);
	return c;
}

const struct listener *
conn_listener(const struct conn *c)
{
	const struct binding *b = &c->engine->bindings[c->binding];

	if (likely(b->fingerprint == c->fingerprint))
		return b->listener;
	return c->old != NULL ? snapshot_listener(c->old, c->binding) : NULL;
}

const struct addr *
conn_local(struct conn *c)
{
	if (c->local == NULL) {
		c->local = memory_zalloc(sizeof(*c->local));
		if (c->flow != NULL)
			datagram_local(c, c->local);
		else if (!socket_local(c->wire.fd, c->local))
			c->local->n = 0;
		addr_unmap(c->local);
	}
	return c->local;
}

/* ------------------------------------------------------------------ close */

void
conn_drop_input(struct conn *c)
{
	if (c->in == NULL)
		return;
	scratch_free_later(&c->engine->loop.scratch, c->in);
	c->in = NULL;
	c->in_at = c->in_n = c->in_size = 0;
}

void
conn_close(struct conn *c)
{
	struct engine *e = c->engine;

	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_CLOSED;
	if (c->event.watched)
		loop_unwatch(&c->event);
	if (c->door != NULL)
		door_give(c);
	c->wire_ops->close(&c->wire);
	deadline_remove(&e->loop, &c->deadline);
	upstream_forget(c);
	if (c->peer != NULL)
		c->peer->open--;
	if (c->protocol != NULL && c->protocol->codec != NULL)
		lane_closed(c);
	if (c->out != NULL || c->backlog != NULL)
		conn_drop_output(c);
	conn_drop_input(c);
	free(c->stall);
	c->stall = NULL;
	*c->all_back = c->all_next;
	if (c->all_next != NULL)
		c->all_next->all_back = c->all_back;
	conn_count(c, (uint64_t)-1);
	if (c->flow != NULL)
		flow_close(c->flow);
	c->flow = NULL;
	loop_queue(&e->loop, LOOP_REST, &c->rest);
}

void
conn_reset(struct conn *c)
{
	if (c->state != CONN_CLOSED && !c->datagrams)
		socket_reset_on_close(c->wire.fd);
	conn_close(c);
}

/* The pass is over: nobody looks at it any more. */
static void
conn_on_rest(struct loop_task *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, rest);
	struct engine *e = c->engine;

	if (c->ready.queued)
		loop_unqueue(&e->loop, LOOP_READY, &c->ready);
	if (c->flush.queued)
		loop_unqueue(&e->loop, LOOP_FLUSH, &c->flush);
	free(c->local);
	if (unlikely(c->old != NULL))
		snapshot_release(e, c->old);
	c->all_next = e->free_conns[c->side];
	e->free_conns[c->side] = c;
	if (unlikely(e->accept_paused))
		engine_check_room(e);
}

static enum reason
conn_reason(const struct conn *c, int error)
{
	if (error == ENOMEM)
		return REASON_MEMORY;
	if (c->side == SIDE_CLIENT)
		return REASON_CLIENT_GONE;
	return c->state == CONN_CONNECTING || c->datagrams ? REASON_PEER_REFUSED : REASON_PEER_RESET;
}

void
conn_broken(struct conn *c, int error)
{
	struct exchange *ex = c->exchange;

	if (c->tunnel != NULL) {
		tunnel_broken(c->tunnel, c, error);
		return;
	}
	if (lane_is(c) && c->state != CONN_LINGERING) {
		lane_broken(c, conn_reason(c, error));
	} else if (ex != NULL && c->state != CONN_LINGERING) {
		if (c->side == SIDE_CLIENT)
			exchange_client_failed(ex, conn_reason(c, error));
		else
			exchange_peer_failed(ex, conn_reason(c, error));
	} else if (error == ENOMEM) {
		engine_count(&c->engine->shared->reasons[REASON_MEMORY], 1);
	}
	/* The other end must not take what it has for the whole. */
	if (error == ENOMEM)
		conn_reset(c);
	else
		conn_close(c);
}

void
conn_sacrifice(struct conn *c)
{
	conn_broken(c, ENOMEM);
}

void
conn_starve(struct conn *c)
{
	c->readable = c->writable = false;
	c->broken = ENOMEM;
	loop_queue(&c->engine->loop, LOOP_FLUSH, &c->flush);
}

/* ------------------------------------------------------------------ deadlines */

static void
conn_write_late(struct conn *c)
{
	struct exchange *ex = c->exchange;

	/* It takes nothing any more and is only heard out, as fast as the client lets us. */
	if (c->broken != 0 && c->hold != 0) {
		c->write_due = clock_ms() + c->write_timeout;
		conn_arm(c);
		return;
	}

	enum reason reason = conn_judge(c);

	if (reason == REASON_NONE)
		return;
	if (c->side == SIDE_CLIENT) {
		if (ex != NULL)
			exchange_client_failed(ex, reason);
		else
			engine_count(&c->engine->shared->reasons[reason], 1);
		if (lane_is(c))
			lane_broken(c, reason);
	} else if (ex != NULL) {
		exchange_peer_failed(ex, REASON_PEER_WRITE_TIMEOUT);
	} else if (lane_is(c)) {
		lane_broken(c, REASON_PEER_WRITE_TIMEOUT);
	}
	conn_reset(c);
}

/*
 * Bytes and a reset right behind them are one event, and a short read ends it: when more is wanted
 * and nothing comes, the socket is asked. Where there is something to read, reading will tell.
 */
static void
conn_look(struct conn *c)
{
	int error = c->readable ? 0 : socket_error(c->wire.fd);

	c->look_due = 0;
	if (error != 0)
		conn_broken(c, error);
	else
		conn_arm(c);
}

static void
conn_look_later(struct conn *c)
{
	c->look_due = clock_ms() + CONN_LOOK;
	conn_arm(c);
}

static void
conn_on_deadline(struct deadline *d)
{
	struct conn *c = CONTAINER_OF(d, struct conn, deadline);
	uint64_t now = clock_ms();

	if (c->state == CONN_CLOSED)
		return;
	if (c->tunnel != NULL) {
		c->look_due = 0;
		tunnel_late(c->tunnel, c);
	} else if (c->write_due != 0 && c->write_due <= now) {
		conn_write_late(c);
	} else if (c->expect_due != 0 && c->expect_due <= now) {
		c->expect_due = 0;
		conn_arm(c);
		if (c->state == CONN_LINGERING)
			conn_close(c);
		else
			c->protocol->late(c, c->expects);
	} else if (c->look_due != 0 && c->look_due <= now) {
		conn_look(c);
	} else {
		conn_arm(c);
	}
}

/* ------------------------------------------------------------------ reading */

/* Nobody refers to the scratch of this pass: the next read finds it warm in the cache. */
static void
conn_rewind(struct conn *c)
{
	if (c->engine->pins == 0)
		scratch_reset(&c->engine->loop.scratch);
}

/*
 * What the protocol left comes again in front of more. `rest` is in the scratch, or the end of
 * c->in.
 */
static void
conn_keep(struct conn *c, struct slice rest)
{
	if (rest.n == 0) {
		conn_drop_input(c);
		return;
	}
	if (c->in != NULL && rest.at >= c->in && rest.at < c->in + c->in_size) {
		c->in_at = (uint32_t)(rest.at - c->in);
		c->in_n = (uint32_t)rest.n;
		return;
	}

	char *own = memory_try(rest.n);

	if (own != NULL)
		memcpy(own, rest.at, rest.n);
	conn_drop_input(c);
	if (own == NULL) {
		conn_starve(c);
		return;
	}
	c->in = own;
	c->in_n = c->in_size = (uint32_t)rest.n;
}

static void
conn_feed(struct conn *c, struct slice in)
{
	size_t taken = 0, n;
	int pieces = 0, most = c->protocol->codec != NULL ? CONN_MESSAGES_READ : CONN_PIECES_READ;

	c->in_read = true;
	c->engine->fed = c;
	do {
		const struct protocol_ops *protocol = c->protocol;

		n = protocol->read(c, slice_after(in, taken));
		taken += n;
		if (c->protocol != protocol && c->state == CONN_OPEN)
			n = 1;          /* switched: the next one has not looked yet */
	} while (n != 0 && taken < in.n && c->hold == 0 && c->state == CONN_OPEN &&
	    c->tunnel == NULL && ++pieces < most);
	c->in_read = false;
	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_LINGERING)
		taken = in.n;
	conn_keep(c, slice_after(in, taken));
	/* Others have their turn before all that one has sent at once is answered. */
	c->paused = pieces == most;
	if (c->paused)
		loop_queue(&c->engine->loop, LOOP_READY, &c->ready);
	if (c->tunnel != NULL)
		tunnel_ready(c->tunnel, c);
}

/* The room counts the kernel's own bookkeeping as well: more than the bytes it takes. */
static uint32_t
conn_room(struct conn *c)
{
	if (!c->writable)
		return 0;
	if (c->room < 2 * SCRATCH_WINDOW)
		c->room = (uint32_t)MIN_OF(socket_room(c->wire.fd), (size_t)UINT32_MAX);
	return c->room;
}

size_t
conn_window_slow(struct conn *to)
{
	if (to == NULL || to->state != CONN_OPEN || conn_waiting(to) < to->ahead)
		return SCRATCH_WINDOW;

	uint32_t room = conn_room(to);

	if (room >= 2 * SCRATCH_WINDOW) {
		to->room -= SCRATCH_WINDOW + SCRATCH_WINDOW / 4;
		to->tight = false;
		return SCRATCH_WINDOW;
	}
	/* The room is not exact near its end, and only a write that fails brings news of more. */
	return MAX_OF(room / 2, (uint32_t)CONN_WINDOW_LEAST);
}

/* Where what is read on `c` goes. */
static struct conn *
conn_other(const struct conn *c)
{
	const struct exchange *ex = c->exchange;

	if (ex == NULL)
		return NULL;
	return c == ex->client ? ex->peer : ex->client;
}

/*
 * A much is left of before: read behind it in its own block, which grows by doubling. NULL: there
 * is no memory for that.
 */
static char *
conn_own_window(struct conn *c, size_t *room)
{
	size_t end = c->in_at + c->in_n;

	if (c->in_size - end < CONN_SMALL) {
		size_t size = (size_t)c->in_n * 2;
		char *grown = memory_try(size);

		if (grown == NULL)
			return NULL;
		memcpy(grown, c->in + c->in_at, c->in_n);
		scratch_free_later(&c->engine->loop.scratch, c->in);
		c->in = grown;
		c->in_at = 0;
		c->in_size = (uint32_t)size;
		end = c->in_n;
	}
	*room = c->in_size - end;
	return c->in + end;
}

/* A little is left of before: it is copied in front of the window. */
static char *
conn_scratch_window(struct conn *c, size_t *room)
{
	size_t n = conn_window(conn_other(c), c->full);
	char *window = scratch_window(&c->engine->loop.scratch, c->in_n + n);

	if (c->in_n != 0)
		memcpy(window, c->in + c->in_at, c->in_n);
	*room = n;
	return window + c->in_n;
}

/* End of stream, nothing now, or broken: true when reading may go on. */
static bool
conn_read_stopped(struct conn *c, ssize_t n)
{
	c->readable = false;
	if (n == WIRE_AGAIN)
		return false;
	/* The write has taken the error away: what reads like an orderly end is none. */
	if (n == WIRE_BROKEN || c->broken != 0) {
		conn_broken(c, n == WIRE_BROKEN ? errno : c->broken);
		return false;
	}
	c->ended = true;
	if (c->state == CONN_LINGERING)
		conn_close(c);
	else
		c->protocol->finish(c, c->in_n);
	return false;
}

bool
conn_is_awaited(const struct conn *c)
{
	return c->exchange != NULL || (lane_is(c) && lane_waits(c));
}

/* One read and what follows from it; false: stop for now. */
static bool
conn_read_once(struct conn *c, size_t *budget)
{
	conn_rewind(c);

	bool own = c->in_n > CONN_SMALL;
	size_t room;
	char *at = own ? conn_own_window(c, &room) : conn_scratch_window(c, &room);

	if (unlikely(at == NULL)) {
		conn_starve(c);
		return false;
	}

	ssize_t n = c->wire_ops->read(&c->wire, at, room);

	if (n <= 0)
		return conn_read_stopped(c, n);
	c->received += (size_t)n;
	c->touched = clock_ms();
	c->full = (size_t)n == room;
	if (!c->full && !c->peer_fin)
		c->readable = false;
	*budget -= MIN_OF((size_t)n, *budget);

	struct slice in = { at - c->in_n, c->in_n + (size_t)n };

	if (own)
		c->in_n += (uint32_t)n;
	else
		scratch_take(&c->engine->loop.scratch, in.n);
	if (c->state == CONN_LINGERING)
		return true;
	conn_feed(c, in);
	if (!c->readable && conn_is_awaited(c) && (c->hold & HOLD_TURN) == 0 &&
	    c->state == CONN_OPEN && c->tunnel == NULL)
		conn_look_later(c);
	return true;
}

static bool
conn_may_read(const struct conn *c)
{
	return c->hold == 0 && (c->state == CONN_OPEN || c->state == CONN_LINGERING) &&
	       c->tunnel == NULL;
}

/* False: there was nothing to write. */
static bool
conn_flush_other(struct conn *c)
{
	struct conn *to = conn_other(c);

	if (to == NULL || to->out == NULL || to->state != CONN_OPEN || to->broken != 0)
		return false;
	conn_flush(to);
	return true;
}

static void
conn_read(struct conn *c)
{
	size_t budget = CONN_BUDGET;

	while (c->readable && conn_may_read(c)) {
		/* What was read must have its memory first. */
		if (budget == 0 || c->paused || unlikely(memory_is_short)) {
			loop_queue(&c->engine->loop, LOOP_READY, &c->ready);
			return;
		}
		/* How much more the other side takes is known when it has what came before. */
		if (c->full && conn_flush_other(c))
			continue;
		if (!conn_read_once(c, &budget))
			return;
	}
}

void
conn_wake(struct conn *c)
{
	if (c->state != CONN_CLOSED && !c->in_read && c->hold == 0 && (c->in_n != 0 || c->readable))
		loop_queue(&c->engine->loop, LOOP_READY, &c->ready);
}

void
conn_set_hold(struct conn *c, enum conn_hold why)
{
	c->hold |= (uint8_t)why;
}

void
conn_clear_hold(struct conn *c, enum conn_hold why)
{
	if ((c->hold & why) == 0)
		return;
	c->hold &= (uint8_t)~why;
	conn_wake(c);
}

void
conn_switch(struct conn *c, const struct protocol_ops *protocol)
{
	c->protocol = protocol;
	memset(c->state_of_protocol, 0, sizeof(c->state_of_protocol));
	protocol->open(c);
}

/* ------------------------------------------------------------------ a turn of the connection */

static void
conn_connected(struct conn *c)
{
	int error = c->datagrams ? 0 : socket_error(c->wire.fd);

	if (error != 0) {
		conn_broken(c, error);
		return;
	}
	c->state = CONN_OPEN;
	conn_expect_nothing(c);
	if (c->backlog_n != 0)
		loop_queue(&c->engine->loop, LOOP_FLUSH, &c->flush);
	c->protocol->open(c);
	if (c->state == CONN_OPEN && c->exchange != NULL)
		exchange_peer_opened(c->exchange);
}

void
conn_open_now(struct conn *c)
{
	if (c->state == CONN_CONNECTING)
		conn_connected(c);
}

static void
conn_turn(struct conn *c)
{
	if (c->state == CONN_CONNECTING) {
		if (!c->writable)
			return;
		conn_connected(c);
	}
	if (c->state == CONN_CLOSED)
		return;
	if (unlikely(c->datagrams)) {
		if (c->readable && (c->tunnel != NULL || conn_may_read(c)))
			datagram_read(c);
		return;
	}
	if (c->writable && c->backlog_n != 0)
		loop_queue(&c->engine->loop, LOOP_FLUSH, &c->flush);
	if (c->tunnel != NULL) {
		tunnel_ready(c->tunnel, c);
		return;
	}
	c->paused = false;
	if (c->in_n != 0 && c->hold == 0 && c->state == CONN_OPEN && !c->in_read) {
		conn_feed(c, slice_make(c->in + c->in_at, c->in_n));
		if (c->state == CONN_OPEN && c->ended && c->hold == 0 && c->exchange == NULL &&
		    !c->paused)
			c->protocol->finish(c, c->in_n);
	}
	conn_read(c);
}

/*
 * A reset arrives as READ without CLOSED (libevent); a client who is held does not read, so it has
 * to be asked. A peer is not: what it said before can still be read when the hold ends, and the
 * reset behind it, unless the question has taken the error away.
 */
static bool
conn_was_reset(struct conn *c)
{
	return c->side == SIDE_CLIENT && c->readable && !c->peer_fin && !conn_may_read(c) &&
	    c->tunnel == NULL && c->state == CONN_OPEN && socket_error(c->wire.fd) != 0;
}

static void
conn_on_event(struct loop_event *e, unsigned what)
{
	struct conn *c = CONTAINER_OF(e, struct conn, event);

	if (what & LOOP_WRITABLE)
		c->writable = true;
	if (what & LOOP_READABLE)
		c->readable = true;
	if (what & LOOP_CLOSED)
		c->readable = c->peer_fin = true;
	if (unlikely(c->hold != 0) && conn_was_reset(c)) {
		conn_broken(c, ECONNRESET);
		return;
	}
	conn_turn(c);
}

static void
conn_on_ready(struct loop_task *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, ready);

	if (c->state != CONN_CLOSED)
		conn_turn(c);
}
