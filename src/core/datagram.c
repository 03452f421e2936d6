/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of flows a worker, and a list of them a binding, oldest look first: a datagram only
 * stores the time, and who was used since its last look is put back when somebody has to go.
 * Answers of a pass leave in one call; what a peer says is copied out of the inbox into the pass's
 * memory until then.
 */
#include "core/datagram.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/engine.h"
#include "core/exchange.h"
#include "core/tunnel.h"
#include "io/datagram.h"

enum {
	FLOWS_START = 256,              /* places of the table */
	FLOW_LOOKS = 16,                /* flows looked at when one has to go */
	FLOW_SILENT = 1000,             /* ms: before that nobody goes for another */
	FLOW_DRAIN = 2000,              /* ms that a flow waits for answers when its worker leaves */
	DOORS_KEPT = 256,               /* sockets for the next peer */
	DOOR_TRIES = 8,                 /* for a port that is not the one before */
	KEPT_MOST = 4096,               /* bytes of questions that another peer may be asked */
};

struct datagrams {
	struct engine *engine;
	struct datagram_inbox *in;
	struct datagram_outbox *out;
	struct loop_task flush;
	struct flow **table;            /* a power of two */
	size_t room, count;
	struct flow *free;
	struct exchange *stand_in;      /* for messages that say whose flow it is; or NULL */
	struct door *doors[2];          /* free ones: IPv4, IPv6 */
	size_t door_count;              /* of both */
};

static void on_flush(struct loop_task *t);

/* ------------------------------------------------------------------ open, close */

bool
datagram_open(struct engine *e)
{
	struct datagrams *d = e->datagrams;

	if (d != NULL)
		return true;

	struct datagram_inbox *in = datagram_inbox_new();

	if (in == NULL)
		return false;
	d = e->datagrams = memory_zalloc(sizeof(*d));
	*d = (struct datagrams){
		.engine = e, .in = in, .out = datagram_outbox_new(),
		.flush.run = on_flush,
		.room = FLOWS_START,
		.table = memory_zalloc(FLOWS_START * sizeof(struct flow *)),
	};
	return true;
}

void
datagram_close(struct engine *e)
{
	struct datagrams *d = e->datagrams;

	if (d == NULL)
		return;
	if (d->flush.queued) {
		loop_unqueue(&e->loop, LOOP_FLUSH, &d->flush);
		on_flush(&d->flush);
	}
	(void)door_close_free(e);
	for (struct flow *f; (f = d->free) != NULL;) {
		d->free = f->next;
		free(f);
	}
	free(d->stand_in);
	datagram_inbox_free(d->in);
	datagram_outbox_free(d->out);
	free(d->table);
	free(d);
	e->datagrams = NULL;
}

static void
drop(struct engine *e, enum reason reason, size_t n)
{
	engine_count(&e->shared->datagrams_dropped, n);
	engine_count(&e->shared->reasons[reason], n);
}

/* ------------------------------------------------------------------ the table */

static void
set_ip(uint8_t at[static 16], const struct addr *a)
{
	if (a->any.sa_family == AF_INET6) {
		memcpy(at, &a->v6.sin6_addr, 16);
		return;
	}
	at[10] = at[11] = 0xff;
	memcpy(at + 12, &a->v4.sin_addr, 4);
}

static struct flow_key
key_of_source(uint16_t binding, const struct datagram *g)
{
	struct flow_key key = { .port = addr_port(g->from), .binding = binding };

	_Static_assert(sizeof(key) == 40, "no holes: it is hashed and compared as bytes");
	set_ip(key.source, g->from);
	memcpy(key.local, &g->to, sizeof(key.local));
	if (g->from->any.sa_family == AF_INET6)
		key.scope = g->from->v6.sin6_scope_id;
	return key;
}

/* False: there is none, or what comes first is malformed. */
static bool
first_message(const struct codec *k, struct slice in, struct scratch *scratch, struct unit *u)
{
	_Alignas(8) char state[CODEC_STATE] = "";
	enum codec_verdict verdict = CODEC_SKIP;

	k->begin(k, state, true);
	for (; verdict == CODEC_SKIP && in.n != 0; in = slice_after(in, u->wire.n)) {
		*u = (struct unit){ .fault = NULL };
		verdict = k->next(k, state, in, scratch, u);
		if (verdict == CODEC_MORE)
			verdict = k->finish(k, state, in, scratch, u);
		if (verdict != CODEC_SKIP)
			break;
	}
	return verdict == CODEC_MESSAGE;
}

/* 128 bits under the process's key: nobody can make two values that are one. */
static void
hash_value(struct slice value, struct scratch *scratch, uint8_t out[static 16])
{
	char *text = scratch_alloc(scratch, value.n + 1);

	if (value.n != 0)
		memcpy(text, value.at, value.n);
	for (size_t half = 0; half < 2; half++) {
		text[value.n] = (char)half;

		uint64_t hash = hash_bytes(slice_make(text, value.n + 1));

		memcpy(out + half * sizeof(hash), &hash, sizeof(hash));
	}
}

static struct exchange *
stand_in_of(struct datagrams *d)
{
	struct exchange *ex = d->stand_in;

	if (ex == NULL) {
		ex = d->stand_in = memory_zalloc(sizeof(*ex));
		arena_init(&ex->arena, ex->first, sizeof(ex->first));
	}
	return ex;
}

/* `key` is the source's: where its first message has no value it stays that. */
static void
look_for_value(
    struct datagrams *d, const struct listener *l, const struct datagram *g, struct flow_key *key)
{
	struct scratch *scratch = &d->engine->loop.scratch;
	struct slice value;
	struct unit u;

	if (!first_message(l->protocol->codec, g->bytes, scratch, &u))
		return;

	struct exchange *ex = stand_in_of(d);

	exchange_stand_in(ex, d->engine, g->from);
	exchange_set_unit(ex, &u);
	if (field_text(ex, l->flow_by, false, &value)) {
		hash_value(value, scratch, key->source);
		key->scope = (uint32_t)FLOW_OF_VALUE;
		key->port = 0;
	}
	arena_reset(&ex->arena);
}

static struct slice
key_bytes(const struct flow_key *key)
{
	return slice_make((const char *)key, sizeof(*key));
}

static struct flow *
find(const struct datagrams *d, const struct flow_key *key, uint64_t hash)
{
	struct flow *f = d->table[hash & (d->room - 1)];

	while (f != NULL && (f->hash != hash || memcmp(&f->key, key, sizeof(*key)) != 0))
		f = f->next;
	return f;
}

static void
grow(struct datagrams *d)
{
	size_t room = d->room * 2;
	struct flow **table = memory_zalloc(room * sizeof(struct flow *));

	for (size_t i = 0; i < d->room; i++)
		for (struct flow *f = d->table[i], *next; f != NULL; f = next) {
			struct flow **place = &table[f->hash & (room - 1)];

			next = f->next;
			f->next = *place;
			*place = f;
		}
	free(d->table);
	d->table = table;
	d->room = room;
}

static void
link_newest(struct binding *b, struct flow *f)
{
	f->placed = clock_ms();
	f->newer = NULL;
	f->older = b->newest;
	if (f->older != NULL)
		f->older->newer = f;
	else
		b->oldest = f;
	b->newest = f;
}

static void
unlink_flow(struct binding *b, struct flow *f)
{
	if (f->newer != NULL)
		f->newer->older = f->older;
	else
		b->newest = f->older;
	if (f->older != NULL)
		f->older->newer = f->newer;
	else
		b->oldest = f->newer;
}

static struct flow *
add(struct engine *e, const struct flow_key *key, uint64_t hash)
{
	struct datagrams *d = e->datagrams;
	struct binding *b = &e->bindings[key->binding];
	struct flow *f = d->free;

	if (f != NULL)
		d->free = f->next;
	else
		f = memory_alloc(sizeof(*f));
	if (d->count == d->room)
		grow(d);

	struct flow **place = &d->table[hash & (d->room - 1)];

	*f = (struct flow){ .next = *place, .key = *key, .hash = hash, .active = clock_ms() };
	f->kept_end = &f->kept;
	*place = f;
	d->count++;
	b->flow_count++;
	link_newest(b, f);
	return f;
}

void
flow_close(struct flow *f)
{
	struct engine *e = f->conn->engine;
	struct datagrams *d = e->datagrams;
	struct binding *b = &e->bindings[f->key.binding];
	struct flow **at = &d->table[f->hash & (d->room - 1)];

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	d->count--;
	b->flow_count--;
	unlink_flow(b, f);
	f->next = d->free;
	d->free = f;
	/* Whoever looks at its sockets now still does. */
	if (unlikely(b->removed) && b->flow_count == 0)
		deadline_set(&e->loop, &e->flowless, 0);
}

/* ------------------------------------------------------------------ who has to go */

static void
end(struct flow *f, enum reason reason)
{
	struct conn *c = f->conn;

	if (c->tunnel != NULL) {
		tunnel_end(c->tunnel, reason);
		return;
	}
	if (c->exchange != NULL)
		exchange_client_failed(c->exchange, reason);
	conn_close(c);
}

/* About the one that is silent for longest; NULL: nobody is silent for long. */
static struct flow *
most_silent(struct binding *b)
{
	struct flow *best = NULL;

	for (int i = 0; i < FLOW_LOOKS && b->oldest != NULL; i++) {
		struct flow *f = b->oldest;

		if (best == NULL || f->active < best->active)
			best = f;
		if (f->active <= f->placed)
			break;
		unlink_flow(b, f);
		link_newest(b, f);
	}
	return best != NULL && best->active + FLOW_SILENT <= clock_ms() ? best : NULL;
}

static bool
end_most_silent(struct engine *e, struct binding *b)
{
	struct flow *f = most_silent(b);

	if (f == NULL)
		return false;
	end(f, REASON_FLOW_LIMIT);
	return true;
}

bool
flow_end_silent(struct engine *e)
{
	size_t before = e->conn_count;

	for (size_t i = 0; e->datagrams != NULL && i < e->binding_count; i++)
		if (e->bindings[i].flow_count != 0)
			(void)end_most_silent(e, &e->bindings[i]);
	return e->conn_count < before;
}

void
datagram_end_binding(struct engine *e, uint16_t binding)
{
	while (e->bindings[binding].oldest != NULL)
		end(e->bindings[binding].oldest, REASON_SHUTDOWN);
}

void
flow_drain(struct conn *c)
{
	if (c->tunnel != NULL)
		tunnel_hasten(c->tunnel, FLOW_DRAIN);
	else if (c->protocol->codec != NULL)
		c->protocol->drain(c);
	else
		conn_expect(c, FLOW_DRAIN, REASON_IDLE_TIMEOUT);
}

/* ------------------------------------------------------------------ what comes */

/*
 * Messages inside of it, or it as one. What the protocol leaves will not become more: it is
 * dropped.
 */
APART static void
feed(struct conn *c, struct slice in)
{
	size_t taken = 0, n;

	c->in_read = true;
	c->engine->fed = c;
	do {
		n = c->protocol->read(c, slice_after(in, taken));
		taken += n;
	} while (n != 0 && taken < in.n && c->hold == 0 && c->state == CONN_OPEN);
	c->in_read = false;
	if (taken < in.n && c->state == CONN_OPEN)
		drop(c->engine, REASON_BAD_DATAGRAM, 1);
}

static void
hand_on(struct conn *c, struct slice bytes)
{
	c->received += bytes.n;
	if (c->tunnel != NULL)
		tunnel_datagram(c->tunnel, c, bytes);
	else if (c->hold == 0)
		feed(c, bytes);
	else
		drop(c->engine, REASON_BAD_DATAGRAM, 1);
}

/* The inbox is used again before the pass is over. */
static struct slice
keep_for_pass(struct engine *e, struct slice s)
{
	char *at = scratch_alloc(&e->loop.scratch, s.n);

	if (s.n != 0)
		memcpy(at, s.at, s.n);
	return slice_make(at, s.n);
}

static bool
may_open(struct engine *e, struct binding *b)
{
	if (b->listener == NULL || b->removed || e->draining || memory_is_short ||
	    (e->accept_paused & PAUSE_MEMORY) != 0)
		return false;
	return b->flow_count < (size_t)b->listener->settings.flows_max || end_most_silent(e, b);
}

/* NULL: there is none, for the moment. */
static struct flow *
open_flow(struct engine *e, const struct flow_key *key, uint64_t hash, const struct datagram *g)
{
	if (!may_open(e, &e->bindings[key->binding]))
		return NULL;

	struct flow *f = add(e, key, hash);

	engine_count(&e->shared->flows_opened, 1);
	if (!conn_open_flow(e, f, g->from))
		return NULL;
	return f;
}

static bool
is_of_value(const struct flow *f)
{
	return f->key.scope == (uint32_t)FLOW_OF_VALUE;
}

/* Its last datagram came from there: answers go there, those of earlier questions too. */
static void
move(struct flow *f, const struct addr *from)
{
	struct conn *c = f->conn;

	if (addr_equal(&c->remote, from))
		return;
	if (lane_is(c))
		lane_keep_source(c);
	c->remote = *from;
}

/* One that was opened under another protocol goes on as a new one. */
static struct flow *
flow_of(struct engine *e, uint16_t binding, const struct datagram *g)
{
	const struct listener *l = e->bindings[binding].listener;
	struct flow_key key = key_of_source(binding, g);

	if (unlikely(l != NULL && l->flow_by != NULL))
		look_for_value(e->datagrams, l, g, &key);

	uint64_t hash = hash_bytes(key_bytes(&key));
	struct flow *f = find(e->datagrams, &key, hash);

	if (f != NULL && f->conn->fingerprint != e->bindings[binding].fingerprint) {
		end(f, REASON_SHUTDOWN);
		f = NULL;
	}
	if (f == NULL)
		return open_flow(e, &key, hash, g);
	if (unlikely(is_of_value(f)))
		move(f, g->from);
	return f;
}

static void
receive_one(struct engine *e, uint16_t binding, const struct datagram *g)
{
	if (unlikely(g->cut)) {
		drop(e, REASON_BAD_DATAGRAM, 1);
		return;
	}

	struct flow *f = flow_of(e, binding, g);

	if (f == NULL) {
		drop(e, REASON_FLOW_LIMIT, 1);
		return;
	}
	f->active = clock_ms();
	f->questions++;
	/* A peer has it at once, a tunnel keeps nothing. */
	hand_on(f->conn, f->conn->tunnel != NULL ? g->bytes : keep_for_pass(e, g->bytes));
}

void
datagram_receive(struct engine *e, uint16_t binding, int fd)
{
	struct datagrams *d = e->datagrams;
	int n = datagram_take(d->in, fd);

	if (n <= 0)
		return;
	engine_count(&e->shared->datagrams_in, (uint64_t)n);
	if (e->pins == 0)
		scratch_reset(&e->loop.scratch);
	for (int i = 0; i < n; i++) {
		struct datagram g;

		datagram_at(d->in, i, &g);

		receive_one(e, binding, &g);
	}
}

void
datagram_read(struct conn *c)
{
	struct engine *e = c->engine;
	struct datagrams *d = e->datagrams;
	int n = datagram_take(d->in, c->wire.fd);

	c->readable = n == DATAGRAM_BATCH;
	if (c->readable)
		loop_queue(&e->loop, LOOP_READY, &c->ready);
	if (n < 0) {
		if (errno != EAGAIN && !c->door->again)
			conn_break(c, errno);
		return;
	}
	engine_count(&e->shared->datagrams_in, (uint64_t)n);
	if (e->pins == 0)
		scratch_reset(&e->loop.scratch);
	for (int i = 0; i < n && c->state == CONN_OPEN; i++) {
		struct datagram g;

		datagram_at(d->in, i, &g);

		if (likely(g.port == c->door->port))
			hand_on(c, keep_for_pass(e, g.bytes));
	}
}

/* ------------------------------------------------------------------ sockets of peers */

static void
door_on_event(struct loop_event *event, unsigned what)
{
	struct door *door = CONTAINER_OF(event, struct door, event);

	if (door->conn == NULL)
		return;
	door->conn->readable = true;
	conn_wake(door->conn);
}

static void
door_close(struct door *door)
{
	loop_unwatch(&door->event);
	close(door->fd);
	free(door);
}

static struct door *
door_open(struct engine *e, int family)
{
	int fd = datagram_open_socket(family);

	if (fd < 0)
		return NULL;

	struct door *door = memory_zalloc(sizeof(*door));

	door->fd = fd;
	door->list = family == AF_INET6;
	if (loop_watch(&e->loop, &door->event, fd, LOOP_EDGE_READ, door_on_event))
		return door;
	close(fd);
	free(door);
	return NULL;
}

/* With the port before, what came to that could be taken for an answer. */
static bool
door_connect(struct door *door, const struct addr *to)
{
	uint16_t before = door->port;

	for (int i = 0; i < DOOR_TRIES; i++) {
		if (!datagram_connect(door->fd, to, &door->port))
			return false;
		if (door->port != before)
			return true;
		if (!datagram_disconnect(door->fd))
			return false;
	}
	errno = EADDRNOTAVAIL;
	return false;
}

struct door *
door_take(struct engine *e, const struct addr *to)
{
	if (!datagram_open(e))
		return NULL;

	struct datagrams *d = e->datagrams;
	struct door **list = &d->doors[to->any.sa_family == AF_INET6], *door = *list;

	if (door != NULL) {
		door->again = true;
		*list = door->next;
		d->door_count--;
	} else {
		door = door_open(e, to->any.sa_family);
	}
	if (door == NULL || door_connect(door, to))
		return door;

	int error = errno;

	door_close(door);
	errno = error;
	return NULL;
}

void
door_give(struct conn *c)
{
	struct datagrams *d = c->engine->datagrams;
	struct door *door = c->door;

	c->door = NULL;
	c->wire.fd = -1;
	door->conn = NULL;
	if (c->broken != 0 || d->door_count == DOORS_KEPT || !datagram_disconnect(door->fd)) {
		door_close(door);
		return;
	}
	door->next = d->doors[door->list];
	d->doors[door->list] = door;
	d->door_count++;
}

bool
door_close_free(struct engine *e)
{
	struct datagrams *d = e->datagrams;

	if (d == NULL || d->door_count == 0)
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(d->doors); i++)
		for (struct door *door; (door = d->doors[i]) != NULL;) {
			d->doors[i] = door->next;
			door_close(door);
		}
	d->door_count = 0;
	return true;
}

/* ------------------------------------------------------------------ what goes */

static void
send_all(struct datagrams *d)
{
	size_t lost = datagram_send(d->out);

	if (unlikely(lost != 0))
		drop(d->engine, REASON_SOCKET_FULL, lost);
}

static void
on_flush(struct loop_task *t)
{
	struct datagrams *d = CONTAINER_OF(t, struct datagrams, flush);

	d->engine->pins--;
	send_all(d);
}

/* The socket of a flow is any of its binding: they are all bound to the same. */
APART static void
answer(struct conn *c, struct slice s)
{
	struct engine *e = c->engine;
	struct datagrams *d = e->datagrams;
	int fd = engine_socket(e, c->binding);
	const struct addr *to = &c->remote;
	struct in6_addr from;

	if (fd < 0) {
		drop(e, REASON_SOCKET_FULL, 1);
		return;
	}
	memcpy(&from, c->flow->key.local, sizeof(from));
	/* Where it moves within the pass, what was answered before goes to where it was. */
	if (unlikely(is_of_value(c->flow)))
		to = memcpy(scratch_alloc(&e->loop.scratch, sizeof(*to)), to, sizeof(*to));
	while (!datagram_put(d->out, fd, s, to, &from))
		send_all(d);
	if (!d->flush.queued) {
		e->pins++;
		loop_queue(&e->loop, LOOP_FLUSH, &d->flush);
	}
}

/* What is wrong with one datagram; else it is the connection that is broken. */
static bool
is_of_one(int error)
{
	return error == EAGAIN || error == ENOBUFS || error == EMSGSIZE || error == ENOMEM;
}

APART static void
ask(struct conn *c, struct slice s)
{
	const struct iovec piece = { (char *)(uintptr_t)s.at, s.n };
	ssize_t n = c->wire_ops->write(&c->wire, &piece, 1);

	if (n == WIRE_BROKEN && c->door->again)
		n = c->wire_ops->write(&c->wire, &piece, 1);
	c->door->again = false;
	if (n >= 0)
		return;
	if (is_of_one(n == WIRE_AGAIN ? EAGAIN : errno))
		drop(c->engine, REASON_SOCKET_FULL, 1);
	else
		conn_break(c, errno);
}

void
datagram_write(struct conn *c, struct slice s)
{
	/* A peer's socket is connected before its protocol is told. */
	if ((c->state != CONN_OPEN && c->state != CONN_CONNECTING) || c->broken != 0)
		return;
	c->sent += s.n;
	engine_count(&c->engine->shared->datagrams_out, 1);
	if (c->flow != NULL)
		answer(c, s);
	else
		ask(c, s);
}

void
datagram_local(const struct conn *c, struct addr *a)
{
	int fd = engine_socket(c->engine, c->binding);
	struct in6_addr at;

	if (fd < 0 || !socket_local(fd, a)) {
		*a = (struct addr){ .n = 0 };
		return;
	}
	memcpy(&at, c->flow->key.local, sizeof(at));
	if (IN6_IS_ADDR_UNSPECIFIED(&at))
		return;
	if (a->any.sa_family == AF_INET6)
		a->v6.sin6_addr = at;
	else
		memcpy(&a->v4.sin_addr, at.s6_addr + 12, 4);
}

/* ------------------------------------------------------------------ until a peer answers */

void
flow_keep(struct exchange *ex, struct slice question)
{
	struct flow *f = ex->client->flow;

	if (f->lost || f->kept_n + question.n > KEPT_MOST) {
		f->lost = true;
		return;
	}

	struct flow_kept *k = arena_alloc(&ex->arena, sizeof(*k));

	*k = (struct flow_kept){ .bytes = arena_slice(&ex->arena, question) };
	*f->kept_end = k;
	f->kept_end = &k->next;
	f->kept_n += (uint32_t)question.n;
}

/* Half of what was asked says less than nothing: the client will ask again. */
void
flow_ask_again(struct exchange *ex)
{
	const struct flow *f = ex->client->flow;

	for (const struct flow_kept *k = f->lost ? NULL : f->kept; k != NULL; k = k->next)
		exchange_send(ex, &(struct part){ .kind = PART_DATA, .data = k->bytes });
}

bool
flow_is_answered(struct flow *f)
{
	f->answers++;
	return f->answers_wanted != 0 && f->answers >= f->answers_wanted * f->questions;
}
