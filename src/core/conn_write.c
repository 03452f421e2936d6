/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a connection writes: the pieces of a pass, small ones copied together,
 * which leave in one writev at its end, and the backlog that the socket did
 * not take. When all is out follows what was to: FIN, the close, lingering.
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
	CONN_PIECES = 64,               /* of one writev */
	CONN_FLUSH_EARLY = 64 * 1024,   /* bytes queued that are written before the pass ends */
	CONN_JOINED = 1024,             /* room for small pieces that are copied together */
	/* ms that a closed client is read from, so that it gets its answer */
	CONN_LINGER = 2000
};

/* ------------------------------------------------------------------ what is to be written */

/* Behind the last piece, in the room that it has or gets. False: it goes by itself. */
static bool
conn_join(struct conn *c, struct segment *last, const char *at, size_t n)
{
	if (n > last->room && last->n + n <= CONN_JOINED / 2) {
		char *room = scratch_alloc(&c->engine->loop.scratch, CONN_JOINED);

		memcpy(room, last->at, last->n);
		last->at = room;
		last->room = CONN_JOINED - last->n;
	}
	if (n > last->room)
		return false;
	memcpy((char *)(uintptr_t)last->at + last->n, at, n);
	last->room -= n;
	last->n += n;
	c->out_n += n;
	return true;
}

/* Small pieces are copied together: each one of a write costs more in the kernel than that does. */
APART static void
conn_add(struct conn *c, const char *at, size_t n, size_t room)
{
	struct engine *e = c->engine;

	if (c->out == NULL) {
		e->pins++;
		loop_queue(&e->loop, LOOP_FLUSH, &c->flush);
	} else if (conn_join(c, CONTAINER_OF(c->out_end, struct segment, next), at, n)) {
		return;
	}

	struct segment *s = scratch_alloc(&e->loop.scratch, sizeof(*s));

	*s = (struct segment){ .at = at, .n = n, .room = room };
	*c->out_end = s;
	c->out_end = &s->next;
	c->out_n += n;
	if (c->out_n >= CONN_FLUSH_EARLY && c->state == CONN_OPEN)
		conn_flush(c);
}

void
conn_write_slow(struct conn *c, const char *at, size_t n, size_t room)
{
	struct segment *last = CONTAINER_OF(c->out_end, struct segment, next);

	if (c->state == CONN_CLOSED || c->state == CONN_LINGERING || c->broken != 0)
		return;
	if (unlikely(c->datagrams)) {
		datagram_write(c, slice_make(at, n));
	} else if (c->out != NULL && last->at + last->n == at) {
		last->n += n;
		c->out_n += n;
	} else {
		conn_add(c, at, n, room);
	}
}

/* ------------------------------------------------------------------ a write */

static int
conn_gather(const struct conn *c, struct iovec *pieces, size_t *total)
{
	int count = 0;

	*total = 0;
	for (struct backlog *b = c->backlog; b != NULL && count < CONN_PIECES; b = b->next) {
		pieces[count++] = (struct iovec){ b->bytes + b->at, b->n };
		*total += b->n;
	}
	for (struct segment *s = c->out; s != NULL && count < CONN_PIECES; s = s->next) {
		pieces[count++] = (struct iovec){ (char *)(uintptr_t)s->at, s->n };
		*total += s->n;
	}
	return count;
}

static void
conn_written(struct conn *c, size_t n)
{
	c->sent += n;
	c->touched = clock_ms();
	if (likely(c->backlog == NULL && n == c->out_n)) {
		c->out_n = 0;
		return;
	}
	while (n != 0 && c->backlog != NULL) {
		struct backlog *b = c->backlog;
		size_t of = MIN_OF(n, b->n);

		b->at += of;
		b->n -= of;
		c->backlog_n -= of;
		n -= of;
		if (b->n == 0) {
			c->backlog = b->next;
			free(b);
		}
	}
	if (c->backlog == NULL)
		c->backlog_end = &c->backlog;
	while (n != 0) {
		struct segment *s = c->out;
		size_t of = MIN_OF(n, s->n);

		s->at += of;
		s->n -= of;
		c->out_n -= of;
		n -= of;
		if (s->n == 0)
			c->out = s->next;
	}
}

/*
 * Room for `n` bytes at the end of what waits, counted as filled. The first block has its own
 * size, so that what waits is small where little waits; those behind it take more than one piece.
 * NULL: there is no memory.
 */
static char *
conn_backlog_room(struct conn *c, size_t n)
{
	struct backlog *b = CONTAINER_OF(c->backlog_end, struct backlog, next);

	if (c->backlog == NULL || b->size - b->at - b->n < n) {
		size_t size = c->backlog == NULL ? n : MAX_OF(n, (size_t)CONN_SMALL);

		b = memory_try(sizeof(*b) + size);
		if (b == NULL)
			return NULL;
		*b = (struct backlog){ .size = size };
		*c->backlog_end = b;
		c->backlog_end = &b->next;
	}

	char *room = b->bytes + b->at + b->n;

	b->n += n;
	c->backlog_n += n;
	return room;
}

/* What this pass could not write is kept. */
static void
conn_save(struct conn *c)
{
	char *to = c->out_n != 0 ? conn_backlog_room(c, c->out_n) : NULL;

	for (struct segment *s = c->out; s != NULL && to != NULL; s = s->next) {
		memcpy(to, s->at, s->n);
		to += s->n;
	}
	if (c->out_n != 0 && to == NULL)
		conn_starve(c);
	c->out = NULL;
	c->out_end = &c->out;
	c->out_n = 0;
}

void
conn_drop_output(struct conn *c)
{
	struct backlog *b = c->backlog;

	while (b != NULL) {
		struct backlog *next = b->next;

		free(b);
		b = next;
	}
	if (c->out != NULL)
		c->engine->pins--;
	c->out = NULL;
	c->out_end = &c->out;
	c->backlog = NULL;
	c->backlog_end = &c->backlog;
	c->out_n = c->backlog_n = 0;
}

/* Writes until all is out or the socket is full; false: it broke. */
static bool
conn_write_out(struct conn *c)
{
	while (c->writable && conn_waiting(c) != 0) {
		struct iovec pieces[CONN_PIECES];
		size_t total;
		int count = conn_gather(c, pieces, &total);
		ssize_t n = c->wire_ops->write(&c->wire, pieces, count);

		if (n == WIRE_BROKEN)
			return false;
		if (n == WIRE_AGAIN || (size_t)n < total) {
			c->writable = false;
			c->tight = true;
		}
		if (n > 0)
			conn_written(c, (size_t)n);
	}
	return true;
}

void
conn_break(struct conn *c, int error)
{
	c->writable = false;
	c->broken = error != 0 ? error : EPIPE;
	loop_queue(&c->engine->loop, LOOP_FLUSH, &c->flush);
}

size_t
conn_write_now(struct conn *c, const char *at, size_t n)
{
	const struct iovec piece = { (char *)(uintptr_t)at, n };

	if (!c->writable || c->out != NULL || c->backlog != NULL || c->broken != 0)
		return 0;

	ssize_t sent = c->wire_ops->write(&c->wire, &piece, 1);

	if (sent == WIRE_BROKEN) {
		conn_break(c, errno);
		return n;
	}
	if (sent != (ssize_t)n) {
		c->writable = false;
		c->tight = true;
	}
	if (sent <= 0)
		return 0;
	c->sent += (size_t)sent;
	return (size_t)sent;
}

/* ------------------------------------------------------------------ the end of a pass */

/* All is written: what was to follow the last byte follows now. */
static void
conn_emptied(struct conn *c)
{
	if ((c->shut_wanted || c->close_wanted) && !c->shut) {
		bool quiet = c->datagrams || (!c->linger && !c->readable && c->in_n == 0);

		if (c->close_wanted && (c->ended || quiet)) {
			conn_close(c);
			return;
		}
		c->shut = true;
		c->wire_ops->shut(&c->wire);
	}
	if (c->close_wanted && c->state == CONN_OPEN) {
		c->state = CONN_LINGERING;
		c->hold = 0;
		conn_drop_input(c);
		conn_expect(c, CONN_LINGER, REASON_NONE);
		if (c->readable)
			loop_queue(&c->engine->loop, LOOP_READY, &c->ready);
	}
}

static void
conn_set_congested(struct conn *c, bool congested)
{
	if (congested == c->congested)
		return;
	c->congested = congested;
	if (c->tunnel != NULL)
		return;
	if (c->exchange != NULL)
		exchange_congestion(c->exchange, c, congested);
	else if (lane_is(c))
		lane_congestion(c, congested);
	else if (congested)
		conn_set_hold(c, HOLD_OUTPUT);
	else
		conn_clear_hold(c, HOLD_OUTPUT);
}

/* The answer was over before the client had it: it may think of the next question from now on. */
static void
conn_begin_silence(struct conn *c)
{
	if (c->side == SIDE_CLIENT && c->backlog_n == 0 && c->expect_due != 0 &&
	    c->expects == REASON_CLIENT_IDLE && !c->engine->draining)
		conn_expect(c, c->idle_timeout, REASON_CLIENT_IDLE);
}

void
conn_flush(struct conn *c)
{
	bool had = c->out != NULL;
	bool good = conn_write_out(c);

	if (had)
		c->engine->pins--;
	if (!good) {
		int error = errno;

		conn_save(c);
		conn_break(c, error);
		return;
	}
	conn_save(c);
	if (unlikely(c->broken != 0))
		return;
	if ((c->backlog_n != 0) != (c->write_due != 0)) {
		conn_set_waiting(c, c->backlog_n != 0);
		conn_begin_silence(c);
	}
	conn_set_congested(c, c->backlog_n > (c->congested ? c->ahead / 2 : c->ahead));
}

/*
 * A peer may answer before it has the whole question, and close: what it said is read before the
 * break is told.
 */
static bool
conn_hears_out(struct conn *c)
{
	if (c->side != SIDE_PEER || !conn_is_awaited(c) || c->tunnel != NULL || c->ended ||
	    (c->broken != EPIPE && c->broken != ECONNRESET))
		return false;
	conn_drop_output(c);
	c->readable = true;
	conn_wake(c);
	return true;
}

void
conn_on_flush(struct loop_task *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, flush);

	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_CONNECTING) {
		if (c->out != NULL)
			c->engine->pins--;
		conn_save(c);
		if (c->broken != 0)
			conn_broken(c, c->broken);
		return;
	}
	if (c->broken == 0)
		conn_flush(c);
	if (c->broken != 0) {
		if (!conn_hears_out(c))
			conn_broken(c, c->broken);
		return;
	}
	if (c->tunnel != NULL)
		tunnel_flushed(c->tunnel, c);
	if (c->state == CONN_OPEN && conn_waiting(c) == 0)
		conn_emptied(c);
}

void
conn_shut(struct conn *c)
{
	c->shut_wanted = true;
	loop_queue(&c->engine->loop, LOOP_FLUSH, &c->flush);
}

void
conn_end(struct conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	c->close_wanted = true;
	loop_queue(&c->engine->loop, LOOP_FLUSH, &c->flush);
}
