/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a serving process has while it runs: accepts, swaps snapshots, drains,
 * and gives everything back at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/engine.h"
#include "core/exchange.h"
#include "core/tunnel.h"

enum {
	ACCEPT_BUDGET = 64,             /* connections of one event */
	ACCEPT_PAUSE = 200,             /* ms, when not even one to refuse can be accepted */
	DRAIN_ACCEPTS = 64,             /* such events, at most, when the worker leaves */
};

/* One listening descriptor that this process accepts from. */
struct accepter {
	struct loop_event event;
	struct engine *engine;
	struct accepter *next;
	int fd;
	uint16_t binding;
	bool paused;
};

static void engine_on_accept(struct loop_event *event, unsigned what);
static void engine_on_accept_again(struct deadline *d);

bool
engine_open(struct engine *e)
{
	*e = (struct engine){ .spare_fd = -1, .accept_again.run = engine_on_accept_again };
	if (!loop_open(&e->loop))
		return false;
	arena_init(&e->arena, NULL, 0);
	e->peers = arena_zalloc(&e->arena, sizeof(*e->peers));
	map_init(e->peers, &e->arena, false);
	e->shared = arena_zalloc(&e->arena, sizeof(*e->shared));
	e->bindings = memory_zalloc(sizeof(*e->bindings));
	e->binding_count = 1;
	e->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return true;
}

/* ------------------------------------------------------------------ accepting */

static struct binding *
engine_binding(struct engine *e, uint16_t number)
{
	if (number >= e->binding_count) {
		size_t count = (size_t)number + 1;

		e->bindings = memory_realloc(e->bindings, count * sizeof(*e->bindings));
		memset(e->bindings + e->binding_count, 0,
		    (count - e->binding_count) * sizeof(*e->bindings));
		e->binding_count = count;
	}
	return &e->bindings[number];
}

bool
engine_accept(struct engine *e, uint16_t binding, int fd)
{
	struct binding *b = engine_binding(e, binding);
	struct accepter *a = memory_zalloc(sizeof(*a));

	a->engine = e;
	a->fd = fd;
	a->binding = binding;
	if (e->accept_paused)
		a->paused = true;
	else if (!loop_watch(&e->loop, &a->event, fd, LOOP_LEVEL, engine_on_accept)) {
		free(a);
		return false;
	}
	a->next = b->accepters;
	b->accepters = a;
	return true;
}

void
engine_unaccept(struct engine *e, uint16_t binding, int fd)
{
	struct accepter **at = &engine_binding(e, binding)->accepters;

	while (*at != NULL) {
		struct accepter *a = *at;

		if (fd >= 0 && a->fd != fd) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		if (a->event.watched)
			loop_unwatch(&a->event);
		close(a->fd);
		free(a);
	}
}

/* Full: the rest waits in the kernel, or goes to other workers. */
static void
engine_set_paused(struct engine *e, bool paused)
{
	e->accept_paused = paused;
	for (size_t i = 0; i < e->binding_count; i++)
		for (struct accepter *a = e->bindings[i].accepters; a != NULL; a = a->next) {
			a->paused = paused;
			if (paused && a->event.watched)
				loop_unwatch(&a->event);
			else if (!paused && !a->event.watched &&
			    !loop_watch(&e->loop, &a->event, a->fd, LOOP_LEVEL, engine_on_accept))
				log_errno(LOG_ALERT, errno, "a listener cannot be watched again");
		}
}

/* Accepting pauses at 95 % of the connections allowed and resumes at 90 %. */
void
engine_check_room(struct engine *e)
{
	static struct log_limit limit;
	uint64_t max = e->snapshot != NULL ? (uint64_t)e->snapshot->connections_max : 0;

	if (max == 0)
		return;
	if (!e->accept_paused && e->conn_count * 100 >= max * 95) {
		log_limited(&limit, LOG_WARN, "%zu connections of %llu: accepting pauses",
		    e->conn_count, (unsigned long long)max);
		engine_set_paused(e, true);
	} else if (e->accept_paused && e->accept_again.due == 0 &&
		   e->conn_count * 100 <= max * 90 && !e->draining) {
		engine_set_paused(e, false);
	}
}

static void
engine_on_accept_again(struct deadline *d)
{
	engine_check_room(CONTAINER_OF(d, struct engine, accept_again));
}

/* Out of descriptors: one is given up to accept and refuse, so that the listener does not spin. */
static void
engine_refuse(struct engine *e, int listener)
{
	static struct log_limit limit;
	struct addr from;

	log_limited(&limit, LOG_ALERT, "out of descriptors: a connection was refused");
	engine_count(&e->shared->reasons[REASON_LIMIT], 1);
	if (e->spare_fd >= 0)
		close(e->spare_fd);

	int fd = socket_accept(listener, &from);

	if (fd >= 0) {
		close(fd);
	} else if (errno != EAGAIN) {
		engine_set_paused(e, true);
		deadline_set(&e->loop, &e->accept_again, ACCEPT_PAUSE);
	}
	e->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* True: the budget is used up, and more may wait. */
static bool
engine_accept_some(struct accepter *a)
{
	struct engine *e = a->engine;

	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		struct addr from;
		int fd = socket_accept(a->fd, &from);

		if (fd >= 0) {
			engine_count(&e->shared->accepted, 1);
			conn_open_client(e, fd, a->binding, &from);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			engine_refuse(e, a->fd);
			return false;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return false;
		}
	}
	return true;
}

static void
engine_on_accept(struct loop_event *event, unsigned what)
{
	struct accepter *a = CONTAINER_OF(event, struct accepter, event);

	engine_accept_some(a);
	engine_check_room(a->engine);
}

/* ------------------------------------------------------------------ snapshots */

void
engine_adopt(struct engine *e, struct snapshot *s)
{
	struct snapshot *old = e->snapshot;

	upstream_adopt(e, s);
	for (size_t i = 0; i < e->binding_count; i++)
		e->bindings[i].listener = NULL;
	for (size_t i = 0; i < s->listener_count; i++) {
		struct binding *b = engine_binding(e, s->bindings[i]);

		b->listener = &s->listeners[i];
		b->fingerprint = s->listeners[i].fingerprint;
	}
	e->snapshot = s;
	if (old != NULL)
		snapshot_release(e, old);
}

int
engine_sink(struct engine *e, struct slice path, int fd)
{
	for (size_t i = 0; i < e->sink_count; i++)
		if (slice_equal(e->sinks[i]->path, path)) {
			access_reopen(e->sinks[i], fd);
			return (int)i;
		}
	e->sinks = memory_realloc(e->sinks, (e->sink_count + 1) * sizeof(*e->sinks));

	struct access_sink *sink = memory_zalloc(sizeof(*sink));

	access_open(sink, &e->loop, path, fd);
	e->sinks[e->sink_count] = sink;
	return (int)e->sink_count++;
}

/* ------------------------------------------------------------------ the end */

void
engine_drain(struct engine *e)
{
	e->draining = true;
	for (size_t i = 0; i < e->binding_count; i++) {
		/* Whoever has been promised a connection by the kernel gets it. */
		for (struct accepter *a = e->bindings[i].accepters; a != NULL; a = a->next)
			for (int n = 0; n < DRAIN_ACCEPTS && engine_accept_some(a); n++)
				;
		engine_unaccept(e, (uint16_t)i, -1);
	}
	for (struct conn *c = e->conns, *next; c != NULL; c = next) {
		next = c->all_next;
		if (c->state == CONN_OPEN && c->tunnel == NULL && c->protocol->drain != NULL)
			c->protocol->drain(c);
	}
}

bool
engine_is_idle(const struct engine *e)
{
	return e->conn_count == 0;
}

static void
engine_close_conns(struct engine *e)
{
	while (e->conns != NULL) {
		struct conn *c = e->conns;

		if (c->tunnel != NULL) {
			tunnel_broken(c->tunnel, c, 0);
		} else if (c->exchange != NULL && c->side == SIDE_CLIENT) {
			exchange_client_failed(c->exchange, REASON_SHUTDOWN);
		}
		conn_close(c);
	}
}

/* What was closed is given back, outside of any pass. */
static void
engine_rest(struct engine *e)
{
	for (struct loop_task *t; (t = e->loop.first[LOOP_REST]) != NULL;) {
		loop_unqueue(&e->loop, LOOP_REST, t);
		t->run(t);
	}
}

static void
engine_free_lists(struct engine *e)
{
	while (e->free_conns != NULL) {
		struct conn *c = e->free_conns;

		e->free_conns = c->free_next;
		free(c);
	}
	while (e->free_exchanges != NULL) {
		struct exchange *ex = e->free_exchanges;

		e->free_exchanges = ex->free_next;
		exchange_free(ex);
	}
}

void
engine_close(struct engine *e)
{
	for (size_t i = 0; i < e->binding_count; i++)
		engine_unaccept(e, (uint16_t)i, -1);
	engine_close_conns(e);
	deadline_remove(&e->loop, &e->accept_again);
	if (e->snapshot != NULL)
		snapshot_release(e, e->snapshot);
	engine_rest(e);
	for (size_t i = 0; i < e->sink_count; i++) {
		access_close(e->sinks[i]);
		free(e->sinks[i]);
	}
	free(e->sinks);
	tunnel_close_pipes(e);
	engine_free_lists(e);
	free(e->bindings);
	if (e->spare_fd >= 0)
		close(e->spare_fd);
	arena_reset(&e->arena);
	loop_close(&e->loop);
}
