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
#include "core/datagram.h"
#include "core/engine.h"
#include "core/exchange.h"
#include "core/lane.h"
#include "core/shortage.h"
#include "core/tunnel.h"

enum {
	ACCEPT_BUDGET = 64,             /* connections of one event */
	/* ms, when not even one to refuse can be accepted, or nobody is silent enough to go */
	ACCEPT_PAUSE = 200,
	CLIENTS_MOST = 95,              /* percent of the connections: accepting pauses … */
	CLIENTS_AGAIN = 90,             /* … and resumes */
	DRAIN_ACCEPTS = 64,             /* such events, at most, when the worker leaves */
};

/* One listening descriptor that this process accepts from. */
struct accepter {
	struct loop_event event;
	struct engine *engine;
	struct accepter *next;
	int fd;
	uint16_t binding;
	bool datagrams;
};

static void engine_on_accept(struct loop_event *event, unsigned what);
static void engine_on_datagrams(struct loop_event *event, unsigned what);
static void engine_on_accept_again(struct deadline *d);
static void engine_on_flowless(struct deadline *d);
static void engine_open_spare(struct engine *e);

bool
engine_open(struct engine *e)
{
	*e = (struct engine){
		.spare_fd = -1,
		.pipes_max = SIZE_MAX,
		.accept_again.run = engine_on_accept_again,
		.flowless.run = engine_on_flowless,
	};
	if (!request_ids_open(&e->request_ids) || !loop_open(&e->loop))
		return false;
	arena_init(&e->arena, NULL, 0);
	e->peers = arena_zalloc(&e->arena, sizeof(*e->peers));
	map_init(e->peers, &e->arena, false);
	e->shared = arena_zalloc(&e->arena, sizeof(*e->shared));
	e->bindings = memory_zalloc(sizeof(*e->bindings));
	e->binding_count = 1;
	engine_open_spare(e);
	return true;
}

/* ------------------------------------------------------------------ accepting */

struct binding *
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

static bool
engine_watch(struct accepter *a)
{
	return loop_watch(&a->engine->loop, &a->event, a->fd, LOOP_LEVEL,
	    a->datagrams ? engine_on_datagrams : engine_on_accept);
}

int
engine_socket(const struct engine *e, uint16_t binding)
{
	const struct accepter *a = e->bindings[binding].accepters;

	return a != NULL ? a->fd : -1;
}

static void
drop(struct accepter **at)
{
	struct accepter *a = *at;

	*at = a->next;
	if (a->event.watched)
		loop_unwatch(&a->event);
	close(a->fd);
	free(a);
}

/* What was kept for answers alone, while the listener was gone. */
static void
drop_unheard(struct binding *b)
{
	for (struct accepter **at = &b->accepters; *at != NULL;)
		if ((*at)->datagrams && !(*at)->event.watched)
			drop(at);
		else
			at = &(*at)->next;
}

bool
engine_accept(struct engine *e, uint16_t binding, int fd)
{
	struct binding *b = engine_binding(e, binding);
	struct accepter *a = memory_zalloc(sizeof(*a));

	a->engine = e;
	a->fd = fd;
	a->binding = binding;
	a->datagrams = b->listener != NULL && b->listener->addr.datagram != 0;
	if ((a->datagrams && !datagram_open(e)) ||
	    ((a->datagrams || e->accept_paused == 0) && !engine_watch(a))) {
		free(a);
		return false;
	}
	a->next = b->accepters;
	b->accepters = a;
	drop_unheard(b);
	return true;
}

void
engine_unaccept(struct engine *e, uint16_t binding, int fd)
{
	struct binding *b = engine_binding(e, binding);
	struct accepter **at = &b->accepters;

	while (*at != NULL)
		if (fd >= 0 && (*at)->fd != fd)
			at = &(*at)->next;
		else
			drop(at);
	if (b->accepters != NULL)
		return;
	engine_end_removal(e, b);
	if (b->flow_count != 0)
		datagram_end_binding(e, binding);
	if (b->old != NULL)
		engine_forget_binding(e, b);
}

static void
engine_watch_accepters(struct engine *e, bool on)
{
	for (size_t i = 0; i < e->binding_count; i++)
		for (struct accepter *a = e->bindings[i].accepters; a != NULL; a = a->next) {
			/* Those who have a flow are still heard. */
			if (a->datagrams)
				continue;
			if (!on && a->event.watched)
				loop_unwatch(&a->event);
			else if (on && !a->event.watched && !engine_watch(a))
				log_errno(LOG_ALERT, errno, "a listener cannot be watched again");
		}
}

/* Who comes then waits in the kernel, or goes to other workers. */
void
engine_pause(struct engine *e, enum pause why)
{
	if (e->accept_paused == 0)
		engine_watch_accepters(e, false);
	e->accept_paused |= (uint8_t)why;
}

void
engine_resume(struct engine *e, enum pause why)
{
	if ((e->accept_paused & why) == 0)
		return;
	e->accept_paused &= (uint8_t)~why;
	if (e->accept_paused == 0)
		engine_watch_accepters(e, true);
}

/* ------------------------------------------------------------------ room */

/* So many percent of the connections that are allowed; without a snapshot any number is. */
static uint64_t
engine_connections(const struct engine *e, unsigned percent)
{
	if (e->snapshot == NULL || e->snapshot->connections_max == 0)
		return UINT64_MAX;
	return (uint64_t)e->snapshot->connections_max * percent / 100;
}

/* Kept alive by a client that asks nothing. */
static bool
is_silent(const struct conn *c)
{
	return c->side == SIDE_CLIENT && c->state == CONN_OPEN && c->exchange == NULL &&
	    c->tunnel == NULL && c->expects == REASON_CLIENT_IDLE && c->expect_due != 0 &&
	    c->in_n == 0 && !c->readable && conn_waiting(c) == 0;
}

/*
 * Ends the clients that are silent for longest, about one in sixteen of those that are: rather than
 * that others wait. False: none is.
 */
static bool
engine_end_silent(struct engine *e)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (const struct conn *c = e->conns; c != NULL; c = c->all_next) {
		if (!is_silent(c))
			continue;
		first = MIN_OF(first, c->expect_due);
		last = MAX_OF(last, c->expect_due);
	}
	if (last == 0)
		return false;
	for (struct conn *c = e->conns, *next; c != NULL; c = next) {
		next = c->all_next;
		if (is_silent(c) && c->expect_due <= first + (last - first) / 16)
			conn_close(c);
	}
	return true;
}

/* Below a number of connections, if need be without those on which nothing is asked. */
static bool
engine_is_below(struct engine *e, uint64_t most)
{
	while (e->conn_count >= most)
		if (!upstream_free_idle(e) && !engine_end_silent(e) && !flow_end_silent(e))
			return false;
	return true;
}

/* Somebody waits: others may have to go. */
static bool
engine_make_room_for_client(struct engine *e)
{
	return engine_is_below(e, engine_connections(e, CLIENTS_MOST));
}

bool
engine_has_room_for_peer(struct engine *e)
{
	if (likely(engine_is_below(e, engine_connections(e, 100))))
		return true;
	errno = EMFILE;
	return false;
}

void
engine_check_room(struct engine *e)
{
	if (e->conn_count <= engine_connections(e, CLIENTS_AGAIN))
		engine_resume(e, PAUSE_CONNECTIONS);
}

bool
engine_free_descriptors(struct engine *e)
{
	if (e->free_pipe_count == 0)
		return door_close_free(e) || upstream_free_idle(e);
	tunnel_close_pipes(e);
	return true;
}

static void
engine_open_spare(struct engine *e)
{
	if (e->spare_fd < 0)
		e->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void
engine_on_accept_again(struct deadline *d)
{
	struct engine *e = CONTAINER_OF(d, struct engine, accept_again);

	engine_open_spare(e);
	engine_resume(e, PAUSE_DESCRIPTORS);
	if ((e->accept_paused & PAUSE_CONNECTIONS) == 0)
		return;
	if (engine_make_room_for_client(e))
		engine_resume(e, PAUSE_CONNECTIONS);
	else
		deadline_set(&e->loop, &e->accept_again, ACCEPT_PAUSE);
}

/* With the spare descriptor all that wait are told, as far as the budget goes. */
static size_t
engine_refuse_waiting(struct engine *e, int listener)
{
	struct addr from;
	size_t n = 0;
	int fd;

	if (e->spare_fd >= 0)
		close(e->spare_fd);
	e->spare_fd = -1;
	for (; n < ACCEPT_BUDGET && (fd = socket_accept(listener, &from)) >= 0; n++)
		close(fd);
	engine_open_spare(e);
	return n;
}

/* Out of descriptors: who waits is refused, or else the listener would be ready for ever. */
static void
engine_refuse(struct engine *e, int listener)
{
	static struct log_limit limit;
	size_t refused = engine_refuse_waiting(e, listener);

	engine_count(&e->shared->reasons[REASON_LIMIT], refused);
	log_limited(&limit, LOG_CRIT, "out of descriptors: %zu connections were refused", refused);
	if (refused != 0 && e->spare_fd >= 0)
		return;
	engine_pause(e, PAUSE_DESCRIPTORS);
	deadline_set(&e->loop, &e->accept_again, ACCEPT_PAUSE);
}

static bool
is_out_of_descriptors(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* True: the budget is used up, and more may wait. */
static bool
engine_accept_some(struct accepter *a)
{
	struct engine *e = a->engine;
	uint64_t most = engine_connections(e, CLIENTS_MOST);

	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		struct addr from;

		if (memory_is_short || e->conn_count >= most)
			return false;

		int fd = socket_accept(a->fd, &from);

		if (fd >= 0) {
			engine_count(&e->shared->accepted, 1);
			conn_open_client(e, fd, a->binding, &from);
		} else if (is_out_of_descriptors(errno)) {
			if (engine_free_descriptors(e))
				continue;
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
	struct engine *e = a->engine;
	static struct log_limit limit;

	if (engine_make_room_for_client(e)) {
		engine_accept_some(a);
		return;
	}
	log_limited(&limit, LOG_WARN, "%zu connections of %lld: accepting pauses", e->conn_count,
	    (long long)e->snapshot->connections_max);
	engine_pause(e, PAUSE_CONNECTIONS);
	deadline_set(&e->loop, &e->accept_again, ACCEPT_PAUSE);
}

static void
engine_on_datagrams(struct loop_event *event, unsigned what)
{
	struct accepter *a = CONTAINER_OF(event, struct accepter, event);

	datagram_receive(a->engine, a->binding, a->fd);
}

/* ------------------------------------------------------------------ logs */

int
engine_sink(struct engine *e, struct slice path, int fd)
{
	size_t at = e->sink_count;

	for (size_t i = 0; i < e->sink_count; i++) {
		if (e->sinks[i] == NULL) {
			at = MIN_OF(at, i);
		} else if (slice_equal(e->sinks[i]->path, path)) {
			access_reopen(e->sinks[i], fd);
			return (int)i;
		}
	}
	if (at == e->sink_count)
		e->sinks = memory_realloc(e->sinks, ++e->sink_count * sizeof(*e->sinks));
	e->sinks[at] = memory_zalloc(sizeof(**e->sinks));
	access_open(e->sinks[at], &e->loop, path, fd);
	return (int)at;
}

/* ------------------------------------------------------------------ the end */

static bool
engine_drain_one(struct accepter *a)
{
	if (!a->datagrams)
		return engine_accept_some(a);
	if (a->event.watched)
		loop_unwatch(&a->event);
	return false;
}

/* Whoever has been promised a connection by the kernel gets it. */
static void
engine_empty(struct binding *b)
{
	for (struct accepter *a = b->accepters; a != NULL; a = a->next)
		for (int n = 0; n < DRAIN_ACCEPTS && engine_drain_one(a); n++)
			;
}

void
engine_remove(struct engine *e, uint16_t binding)
{
	struct binding *b = engine_binding(e, binding);

	/* It may be back already. */
	if (b->listed || b->accepters == NULL)
		return;
	engine_empty(b);
	if (!b->removed)
		engine_count(&e->shared->removed, 1);
	b->removed = true;
	/* Answers that are under way leave through the socket. */
	if (b->flow_count == 0)
		engine_unaccept(e, binding, -1);
}

void
engine_end_removal(struct engine *e, struct binding *b)
{
	if (b->removed)
		engine_count(&e->shared->removed, (uint64_t)-1);
	b->removed = false;
}

static void
engine_on_flowless(struct deadline *d)
{
	struct engine *e = CONTAINER_OF(d, struct engine, flowless);

	for (size_t i = 0; i < e->binding_count; i++)
		if (e->bindings[i].removed && e->bindings[i].flow_count == 0)
			engine_unaccept(e, (uint16_t)i, -1);
}

void
engine_drain(struct engine *e)
{
	e->draining = e->parting = true;
	for (size_t i = 0; i < e->binding_count; i++) {
		engine_empty(&e->bindings[i]);
		/* Answers that are under way leave through the socket, which others read. */
		if (e->bindings[i].flow_count == 0)
			engine_unaccept(e, (uint16_t)i, -1);
	}
	engine_expect_end(e);
	for (struct conn *c = e->conns, *next; c != NULL; c = next) {
		next = c->all_next;
		if (c->flow != NULL)
			flow_drain(c);
		else if (c->state == CONN_OPEN && c->tunnel == NULL && c->protocol->drain != NULL)
			c->protocol->drain(c);
	}
}

bool
engine_is_idle(const struct engine *e)
{
	return e->conn_count == 0 && e->flow_count == 0;
}

static void
engine_close_conns(struct engine *e)
{
	/*
	 * Clients first: no question is asked anew of another peer. What closes with them stays
	 * linked.
	 */
	for (struct conn *c = e->conns; c != NULL; c = c->all_next)
		if (c->side == SIDE_CLIENT && c->tunnel == NULL && lane_is(c))
			lane_broken(c, REASON_SHUTDOWN);
		else if (c->side == SIDE_CLIENT && c->tunnel == NULL && c->exchange != NULL)
			exchange_client_failed(c->exchange, REASON_SHUTDOWN);
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
	for (size_t i = 0; i < ARRAY_COUNT(e->free_conns); i++)
		for (struct conn *c; (c = e->free_conns[i]) != NULL;) {
			e->free_conns[i] = c->all_next;
			free(c);
		}
	while (e->free_exchanges != NULL) {
		struct exchange *ex = e->free_exchanges;

		e->free_exchanges = ex->free_next;
		exchange_free(ex);
	}
}

void
engine_free_idle(struct engine *e)
{
	while (upstream_free_idle(e))
		continue;
	engine_free_lists(e);
}

void
engine_close(struct engine *e)
{
	for (size_t i = 0; i < e->binding_count; i++)
		engine_unaccept(e, (uint16_t)i, -1);
	engine_close_conns(e);
	deadline_remove(&e->loop, &e->accept_again);
	deadline_remove(&e->loop, &e->cut);
	deadline_remove(&e->loop, &e->flowless);
	shortage_close(e);
	if (e->snapshot != NULL)
		snapshot_release(e, e->snapshot);
	engine_rest(e);
	snapshot_free_all(e);
	for (size_t i = 0; i < e->sink_count; i++)
		if (e->sinks[i] != NULL) {
			access_close(e->sinks[i]);
			free(e->sinks[i]);
		}
	free(e->sinks);
	datagram_close(e);
	tunnel_close_pipes(e);
	engine_free_lists(e);
	upstream_close(e);
	free(e->bindings);
	if (e->spare_fd >= 0)
		close(e->spare_fd);
	arena_reset(&e->arena);
	loop_close(&e->loop);
}
