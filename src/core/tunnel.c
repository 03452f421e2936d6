/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two ways, one in each direction, both with the same few rules: nothing is
 * read while the other side has not taken what came before; a way that keeps
 * filling the window is spliced through a pipe; its end is passed on behind
 * its last byte. The tunnel lives in the arena of its exchange and ends with it.
 */
#include "core/tunnel.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "core/datagram.h"
#include "core/exchange.h"

enum {
	FULL_READS = 2,                 /* in a row: then a way is spliced */
	PIPES_KEPT = 32                 /* open ones that a worker keeps for the next way */
};

struct way {
	struct conn *from, *to;
	struct wire_pipe pipe;
	uint8_t full;                   /* full reads in a row */
	bool splicing;
	bool passed;                    /* its end was passed on */
};

struct tunnel {
	struct exchange *exchange;
	struct way ways[2];             /* by the side it comes from */
	uint64_t active;                /* clock_ms() of the last byte */
	uint32_t idle;                  /* ms */
	uint64_t received;              /* what the client's connection had counted before */
	bool datagrams;                 /* each goes at once or not at all; silence is a good end */
	bool looked;                    /* since the last byte: no reset came with it */
};

static struct way *
way_from(struct tunnel *t, const struct conn *c)
{
	return &t->ways[c->side];
}

static struct way *
way_into(struct tunnel *t, const struct conn *c)
{
	return &t->ways[c->side == SIDE_CLIENT ? SIDE_PEER : SIDE_CLIENT];
}

/* ------------------------------------------------------------------ pipes */

static bool
take_pipe(struct engine *e, struct wire_pipe *p)
{
	if (e->free_pipe_count != 0) {
		*p = e->free_pipes[--e->free_pipe_count];
		return true;
	}
	if (e->pipe_count >= e->pipes_max || !wire_pipe_open(p))
		return false;
	e->pipe_count++;
	return true;
}

static void
close_pipe(struct engine *e, struct wire_pipe *p)
{
	wire_pipe_close(p);
	e->pipe_count--;
}

static void
give_pipe(struct engine *e, struct wire_pipe *p)
{
	if (p->held != 0 || e->free_pipe_count == PIPES_KEPT) {
		close_pipe(e, p);
		return;
	}
	if (e->free_pipes == NULL)
		e->free_pipes = memory_zalloc(PIPES_KEPT * sizeof(*e->free_pipes));
	e->free_pipes[e->free_pipe_count++] = *p;
	*p = (struct wire_pipe){ .in = -1, .out = -1 };
}

void
tunnel_close_pipes(struct engine *e)
{
	while (e->free_pipe_count > 0)
		close_pipe(e, &e->free_pipes[--e->free_pipe_count]);
	free(e->free_pipes);
	e->free_pipes = NULL;
}

/* ------------------------------------------------------------------ the end */

/* Nobody may touch the tunnel behind this call: it was memory of the exchange. */
static void
end(struct tunnel *t, enum reason reason, void (*close)(struct conn *))
{
	struct exchange *ex = t->exchange;
	struct conn *client = t->ways[SIDE_CLIENT].from, *peer = t->ways[SIDE_PEER].from;

	ex->received += client->received - t->received;
	ex->sent = client->sent - MIN_OF(client->sent, ex->queued_before);
	if (ex->reason == REASON_NONE)
		ex->reason = (uint8_t)reason;
	for (size_t i = 0; i < ARRAY_COUNT(t->ways); i++)
		if (t->ways[i].pipe.in >= 0)
			give_pipe(client->engine, &t->ways[i].pipe);
	client->tunnel = peer->tunnel = NULL;
	client->exchange = peer->exchange = NULL;
	close(client);
	close(peer);
	exchange_end(ex);
}

/* A reset is passed on as a reset: the other end must not take what it has for the whole. */
void
tunnel_broken(struct tunnel *t, struct conn *c, int error)
{
	enum reason reason = c->side == SIDE_CLIENT ? REASON_CLIENT_GONE : REASON_PEER_RESET;

	end(t, error == ENOMEM ? REASON_MEMORY : reason, conn_reset);
}

void
tunnel_end(struct tunnel *t, enum reason reason)
{
	end(t, reason, conn_close);
}

static bool
is_over(const struct tunnel *t)
{
	for (size_t i = 0; i < ARRAY_COUNT(t->ways); i++)
		if (!t->ways[i].passed || conn_waiting(t->ways[i].to) != 0)
			return false;
	return true;
}

/* ------------------------------------------------------------------ deadlines */

/* Traffic only stores the time: how long it is silent is asked when the deadline comes. */
static void
arm(struct tunnel *t, struct conn *c)
{
	uint64_t due = t->active + (t->looked ? t->idle : MIN_OF(t->idle, (uint32_t)CONN_LOOK));
	uint64_t now = clock_ms();

	conn_expect(c, due > now ? due - now : 0, REASON_IDLE_TIMEOUT);
}

/*
 * Bytes and a reset right behind them are one event, and a short read ends it: when it has become
 * silent, the sockets are asked.
 */
static void
look(struct tunnel *t, struct conn *c)
{
	t->looked = true;
	for (size_t i = 0; i < ARRAY_COUNT(t->ways); i++) {
		struct conn *from = t->ways[i].from;
		int error = from->ended || from->readable ? 0 : socket_error(from->wire.fd);

		if (error != 0) {
			tunnel_broken(t, from, error);
			return;
		}
	}
	arm(t, c);
}

void
tunnel_late(struct tunnel *t, struct conn *c)
{
	uint64_t now = clock_ms();
	bool due = c->write_due != 0 && c->write_due <= now;
	enum reason late = due ? conn_judge(c) : REASON_NONE;

	if (late != REASON_NONE)
		end(t, c->side == SIDE_CLIENT ? late : REASON_PEER_WRITE_TIMEOUT, conn_reset);
	else if (t->active + t->idle <= now)
		end(t, t->datagrams ? REASON_NONE : REASON_IDLE_TIMEOUT, conn_close);
	else if (!t->looked && t->active + CONN_LOOK <= now)
		look(t, c);
	else
		arm(t, c);
}

void
tunnel_hasten(struct tunnel *t, uint64_t ms)
{
	t->idle = (uint32_t)MIN_OF(ms, (uint64_t)t->idle);
	arm(t, t->ways[SIDE_CLIENT].from);
}

/* ------------------------------------------------------------------ one way */

/* False: the pipe still holds bytes, or the tunnel has ended. */
static bool
drain(struct tunnel *t, struct way *w)
{
	struct conn *to = w->to;

	if (w->pipe.held == 0)
		return true;
	do {
		ssize_t n = to->writable ? wire_pipe_drain(&w->pipe, to->wire.fd) : WIRE_AGAIN;

		if (n == WIRE_BROKEN) {
			tunnel_broken(t, to, errno);
			return false;
		}
		if (n <= 0) {
			to->writable = false;
			conn_set_waiting(to, true);
			return false;
		}
		to->sent += (size_t)n;
		t->active = clock_ms();
	} while (w->pipe.held != 0);
	conn_set_waiting(to, false);
	return true;
}

/*
 * A pipe is filled only when it is empty, so that AGAIN can but mean that the socket has nothing.
 */
static ssize_t
fill(struct way *w)
{
	ssize_t n = wire_pipe_fill(&w->pipe, w->from->wire.fd, w->pipe.size);

	if (n <= 0)
		give_pipe(w->from->engine, &w->pipe);
	if (n >= 0 && n < SCRATCH_WINDOW) {
		w->splicing = false;
		w->full = 0;
	}
	return n;
}

static ssize_t
copy(struct way *w)
{
	struct conn *from = w->from;
	struct scratch *scratch = &from->engine->loop.scratch;

	/* Nobody refers to what was read before: the same memory again is warm in the cache. */
	if (from->engine->pins == 0)
		scratch_reset(scratch);

	size_t room = conn_window(w->to, w->full != 0);
	char *window = scratch_window(scratch, room);
	ssize_t n = from->wire_ops->read(&from->wire, window, room);

	if (n <= 0)
		return n;

	size_t written = conn_write_now(w->to, window, (size_t)n);

	if (written < (size_t)n) {
		scratch_take(scratch, (size_t)n);
		conn_write(w->to, slice_make(window + written, (size_t)n - written));
	}
	if ((size_t)n == room) {
		w->full = (uint8_t)MIN_OF(w->full + 1, FULL_READS);
	} else {
		w->full = 0;
		if (!from->peer_fin)
			from->readable = false;
	}
	return n;
}

/* What was copied and is not written yet goes before anything a pipe would bring. */
static bool
may_splice(struct way *w)
{
	if (!w->splicing) {
		if (w->full < FULL_READS || !w->from->wire_ops->splices ||
		    !w->to->wire_ops->splices)
			return false;
		w->splicing = true;
	}
	if (conn_waiting(w->to) != 0)
		return false;
	if (w->pipe.in < 0 && !take_pipe(w->from->engine, &w->pipe)) {
		w->splicing = false;
		w->full = 0;
		return false;
	}
	return true;
}

/* One read and its write; false: stop, and the tunnel may have ended. */
static bool
step(struct tunnel *t, struct way *w, size_t *budget)
{
	struct conn *from = w->from, *to = w->to;

	if (w->pipe.in >= 0) {
		if (!drain(t, w))
			return false;
		if (!w->splicing)
			give_pipe(from->engine, &w->pipe);
	}
	if (from->ended) {
		if (!w->passed)
			conn_shut(to);
		w->passed = true;
		return false;
	}
	if (!from->readable || to->backlog_n != 0)
		return false;
	if (*budget == 0 || unlikely(memory_is_short)) {
		loop_queue(&from->engine->loop, LOOP_READY, &from->ready);
		return false;
	}

	ssize_t n = may_splice(w) ? fill(w) : copy(w);

	if (n == WIRE_BROKEN) {
		tunnel_broken(t, from, errno);
		return false;
	}
	if (n <= 0) {
		from->readable = false;
		from->ended = n == 0;
		return from->ended;
	}
	from->received += (size_t)n;
	t->active = clock_ms();
	if (t->looked) {
		t->looked = false;
		arm(t, t->ways[SIDE_CLIENT].from);
	}
	*budget -= MIN_OF((size_t)n, *budget);
	return from->readable;
}

static void
pump(struct tunnel *t, struct way *w)
{
	size_t budget = CONN_BUDGET;

	while (step(t, w, &budget))
		continue;
}

/* What was read while it was still on the road. */
static void
send_leftover(struct tunnel *t, struct conn *c)
{
	conn_write(way_from(t, c)->to, slice_make(c->in + c->in_at, c->in_n));
	if (c->side == SIDE_CLIENT)
		t->received -= c->in_n;
	scratch_free_later(&c->engine->loop.scratch, c->in);
	c->in = NULL;
	c->in_at = c->in_n = c->in_size = 0;
}

uint64_t
tunnel_active(const struct tunnel *t)
{
	return t->active;
}

/* ------------------------------------------------------------------ called by conn.c */

/* Nothing is moved here: callers up the stack still look at the scratch. */
void
tunnel_join(
    struct exchange *ex, struct conn *client, struct conn *peer, uint64_t idle, uint64_t write)
{
	struct tunnel *t = arena_zalloc(&ex->arena, sizeof(*t));
	struct conn *ends[] = { client, peer };

	*t = (struct tunnel){
		.exchange = ex,
		.ways = {
			[SIDE_CLIENT] = { .from = client, .to = peer, .pipe = { .in = -1, .out = -1 } },
			[SIDE_PEER] = { .from = peer, .to = client, .pipe = { .in = -1, .out = -1 } },
		},
		.active = clock_ms(),
		.idle = (uint32_t)MIN_OF(idle != 0 ? idle : UINT32_MAX, UINT32_MAX),
		.received = client->received,
		.datagrams = client->datagrams,
		.looked = client->datagrams,
	};
	for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
		ends[i]->tunnel = t;
		ends[i]->hold = 0;
		ends[i]->write_timeout = (uint32_t)MIN_OF(write != 0 ? write : UINT32_MAX, UINT32_MAX);
		conn_expect_nothing(ends[i]);
		loop_queue(&ends[i]->engine->loop, LOOP_READY, &ends[i]->ready);
	}
	arm(t, client);
}

void
tunnel_datagram(struct tunnel *t, struct conn *from, struct slice s)
{
	t->active = clock_ms();
	datagram_write(way_from(t, from)->to, s);
}

/* A reset arrives as readable; one who is not read from (now, or any more) has to be asked. */
static bool
was_reset(struct tunnel *t, struct conn *c)
{
	const struct way *w = way_from(t, c);

	if (!c->readable)
		return false;
	if (c->ended)
		c->readable = false;
	else if (c->peer_fin || (w->to->backlog_n == 0 && w->pipe.held == 0))
		return false;
	return socket_error(c->wire.fd) != 0;
}

void
tunnel_ready(struct tunnel *t, struct conn *c)
{
	if (c->in_read)
		return;
	if (was_reset(t, c)) {
		tunnel_broken(t, c, ECONNRESET);
		return;
	}
	if (way_into(t, c)->pipe.held != 0)
		pump(t, way_into(t, c));
	if (c->tunnel == NULL)
		return;
	if (c->in_n != 0)
		send_leftover(t, c);
	pump(t, way_from(t, c));
}

void
tunnel_flushed(struct tunnel *t, struct conn *c)
{
	struct way *w = way_into(t, c);

	t->active = clock_ms();
	if (is_over(t))
		end(t, REASON_NONE, conn_close);
	else if (c->backlog_n == 0 && w->from->readable && !w->from->ended)
		loop_queue(&c->engine->loop, LOOP_READY, &w->from->ready);
}
