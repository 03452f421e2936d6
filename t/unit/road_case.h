/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the tests of the road: an engine in this process under a configuration
 * given as text. The test is every client (the other end of a socket pair) and
 * every peer (Unix sockets in a directory of its own, `@` in the text), turns the loop
 * pass by pass and moves the clock, so that nothing waits and nothing is left to chance.
 */
#ifndef MILLRACE_ROAD_CASE_H
#define MILLRACE_ROAD_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/exchange.h"
#include "core/tunnel.h"
#include "server/build.h"

enum { ROAD_PEERS = 16, ROAD_PASSES = 20000 };

/* One end of a connection that the test holds, and all that came out of it. */
struct end {
	int fd;                         /* -1: closed */
	char *at;
	size_t n, room;
	bool ended;                     /* FIN */
	int error;                      /* errno of a read: ECONNRESET */
	struct conn *conn;              /* of a client: the engine's; valid while it lives */
};

struct road {
	struct arena arena;
	struct sources files;
	struct diag diag;
	struct snapshot *snapshot;
	struct engine engine;
	struct loop_task nudge;
	char directory[32];
	int listeners[ROAD_PEERS];      /* named by the path of their socket */
	char names[ROAD_PEERS][96];
	size_t listener_count, descriptors;
};

/* ------------------------------------------------------------------ the clock */

#define ROAD_DATE "Sun, 06 Nov 1994 08:49:37 GMT"

/* A peer's shortest answer, and what a client gets of it. */
#define ROAD_OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define ROAD_FINE "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 2\r\nVia: 1.1 millrace\r\n\r\nok"

static uint64_t road_ms = 1000 * 1000;

/* Instead of the C library's: real time stands still, the steady clock goes when the test says so. */
int
clock_gettime(clockid_t which, struct timespec *out)
{
	if (which == CLOCK_REALTIME)
		*out = (struct timespec){ .tv_sec = 784111777 };
	else
		*out = (struct timespec){ (time_t)(road_ms / 1000), (long)(road_ms % 1000) * 1000000 };
	return 0;
}

/* ------------------------------------------------------------------ open, close */

static inline size_t
road_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static inline char *
road_fill(struct road *r, const char *text)
{
	size_t size = strlen(text) + 1, wide = strlen(r->directory);

	for (const char *at = text; *at != '\0'; at++)
		size += *at == '@' ? wide : 0;

	char *filled = arena_alloc(&r->arena, size), *to = filled;

	for (const char *at = text; *at != '\0'; at++) {
		if (*at != '@') {
			*to++ = *at;
			continue;
		}
		memcpy(to, r->directory, wide);
		to += wide;
	}
	*to = '\0';
	return filled;
}

/* A snapshot of that text, with a binding for each listener, in order, from 1. */
static inline struct snapshot *
road_build(struct road *r, const char *text)
{
	char *name = arena_printf(&r->arena, "/c/%zu.conf", r->files.count);
	struct source main = { .kind = SOURCE_FILE, .name = slice_of(name), .text = slice_of(road_fill(r, text)) };
	struct build_input in = { .files = &r->files, .path = slice_of(name), .previous = r->engine.snapshot };

	sources_add(&r->files, &main);

	struct snapshot *s = build_snapshot(&in, &r->diag);

	if (s == NULL)
		diag_print(&r->diag, stderr);
	assert_non_null(s);
	s->bindings = memory_alloc((s->listener_count + 1) * sizeof(*s->bindings));
	for (size_t i = 0; i < s->listener_count; i++)
		s->bindings[i] = (uint16_t)(i + 1);
	s->log_sinks = memory_zalloc((s->log_count + 1) * sizeof(*s->log_sinks));
	return s;
}

static inline void
road_pass_end(void *what)
{
	struct road *r = what;

	loop_stop(&r->engine.loop);
}

static inline void
road_nudged(struct loop_task *t)
{
}

/* One pass, which waits for nothing. */
static inline void
road_pass(struct road *r)
{
	loop_queue(&r->engine.loop, LOOP_REST, &r->nudge);
	loop_run(&r->engine.loop, road_pass_end, r);
}

static inline uint64_t
road_mark(struct road *r)
{
	uint64_t mark = r->engine.conn_count * 7 + r->engine.exchange_count * 13;

	for (struct conn *c = r->engine.conns; c != NULL; c = c->all_next)
		mark = mark * 31 + c->received * 3 + c->sent * 5 + conn_waiting(c) + c->in_n + c->state;
	return mark;
}

/* Passes until nothing moves. */
static inline void
road_turn(struct road *r)
{
	for (int quiet = 0, passes = 0; quiet < 3; passes++) {
		uint64_t before = road_mark(r);

		road_pass(r);
		quiet = road_mark(r) == before ? quiet + 1 : 0;
		assert_true(passes < ROAD_PASSES);
	}
	assert_int_equal(r->engine.pins, 0);
}

/* The time passes, and what is due by then comes. */
static inline void
road_wait(struct road *r, uint64_t ms)
{
	road_ms += ms;
	road_turn(r);
}

static inline void
road_open_empty(struct road *r)
{
	signal(SIGPIPE, SIG_IGN);
	log_to(2, LOG_EMERG);
	*r = (struct road){ .nudge = { .run = road_nudged } };
	r->descriptors = road_descriptors();
	memcpy(r->directory, "/tmp/road-XXXXXX", sizeof("/tmp/road-XXXXXX"));
	assert_non_null(mkdtemp(r->directory));
	arena_init(&r->arena, NULL, 0);
	sources_init(&r->files, &r->arena, false);
	r->files.directory = SLICE("/c");
	diag_init(&r->diag, &r->arena, &r->files);
	assert_true(engine_open(&r->engine));
}

static inline void
road_open(struct road *r, const char *text)
{
	road_open_empty(r);
	r->snapshot = road_build(r, text);
	engine_adopt(&r->engine, r->snapshot);
}

/* Everything was given back. */
static inline void
road_close(struct road *r)
{
	engine_close(&r->engine);
	assert_int_equal(r->engine.conn_count, 0);
	assert_int_equal(r->engine.exchange_count, 0);
	for (size_t i = 0; i < r->listener_count; i++) {
		close(r->listeners[i]);
		unlink(r->names[i]);
	}
	rmdir(r->directory);
	arena_reset(&r->arena);
	assert_int_equal(road_descriptors(), r->descriptors);
}

static inline uint64_t
road_reason(struct road *r, enum reason reason)
{
	return r->engine.shared->reasons[reason];
}

/* ------------------------------------------------------------------ ends */

static inline struct end
end_of(int fd)
{
	return (struct end){ .fd = fd };
}

/* `buffer`: bytes of the engine's socket, so that it is full soon; 0: as it comes. */
static inline struct end
road_client_of(struct road *r, uint16_t binding, const char *from, int type, int buffer)
{
	struct addr addr;
	struct end e;
	int pair[2];

	assert_true(addr_parse(slice_of(from), &addr));
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	if (buffer != 0)
		setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	e = end_of(pair[0]);
	e.conn = conn_open_client(&r->engine, pair[1], binding, &addr);
	return e;
}

static inline struct end
road_client(struct road *r)
{
	return road_client_of(r, 1, "192.0.2.7:4711", SOCK_STREAM, 0);
}

static inline void
end_put(struct end *e, const char *at, size_t n)
{
	while (n != 0) {
		ssize_t sent = send(e->fd, at, n, MSG_NOSIGNAL);

		assert_true(sent > 0);
		at += sent;
		n -= (size_t)sent;
	}
}

static inline void
end_say(struct end *e, const char *text)
{
	end_put(e, text, strlen(text));
}

/* And what follows from it. */
static inline void
road_say(struct road *r, struct end *e, const char *text)
{
	end_say(e, text);
	road_turn(r);
}

/* As much as the socket takes; how much that was. */
static inline size_t
end_stuff(struct end *e, size_t most)
{
	static const char stuff[16 * 1024];
	size_t all = 0;

	while (all < most) {
		ssize_t sent = send(e->fd, stuff, MIN_OF(sizeof(stuff), most - all), MSG_NOSIGNAL);

		if (sent < 0)
			break;
		all += (size_t)sent;
	}
	return all;
}

/* What has come by now goes behind what came before. */
static inline void
end_read(struct end *e)
{
	while (!e->ended && e->error == 0) {
		if (e->room - e->n < 65536) {
			e->room = e->room * 2 + 65536;
			e->at = realloc(e->at, e->room);
			assert_non_null(e->at);
		}

		ssize_t got = recv(e->fd, e->at + e->n, e->room - e->n, 0);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got < 0)
			e->error = errno;
		else if (got == 0)
			e->ended = true;
		else
			e->n += (size_t)got;
	}
}

static inline struct slice
end_got(const struct end *e)
{
	return slice_make(e->at, e->n);
}

static inline void
end_forget(struct end *e)
{
	e->n = 0;
}

static inline void
end_close(struct end *e)
{
	if (e->fd >= 0)
		close(e->fd);
	free(e->at);
	*e = (struct end){ .fd = -1 };
}

/* Exactly this has come since end_forget. */
#define end_expect(e, text) end_expect_at((e), (text), __FILE__, __LINE__)
static inline void
end_expect_at(struct end *e, const char *text, const char *file, int line)
{
	end_read(e);
	if (e->n == strlen(text) && (e->n == 0 || memcmp(e->at, text, e->n) == 0)) {
		end_forget(e);
		return;
	}
	print_error("%s:%d: got:\n%.*s\nwanted:\n%s\n", file, line, (int)e->n, e->n != 0 ? e->at : "", text);
	_fail(file, line);
}

/* It begins so; what came is forgotten. */
#define end_expect_start(e, text) end_expect_start_at((e), (text), __FILE__, __LINE__)
static inline void
end_expect_start_at(struct end *e, const char *text, const char *file, int line)
{
	end_read(e);
	if (slice_starts(end_got(e), slice_of(text))) {
		end_forget(e);
		return;
	}
	print_error("%s:%d: got:\n%.*s\nwanted at its start:\n%s\n", file, line, (int)e->n, e->n != 0 ? e->at : "", text);
	_fail(file, line);
}

static inline bool
end_has(const struct end *e, const char *text)
{
	return slice_find_slice(end_got(e), slice_of(text)) < e->n;
}

/* ------------------------------------------------------------------ peers */

static inline int
road_listener(struct road *r, const char *name)
{
	struct addr addr;
	char *path = r->names[r->listener_count];

	assert_true(r->listener_count < ROAD_PEERS);
	snprintf(path, sizeof(r->names[0]), "unix:%s/%s", r->directory, name);
	assert_true(addr_parse(slice_of(path), &addr));
	memmove(path, path + 5, strlen(path + 5) + 1);

	int fd = socket_listen(&addr, &(struct socket_options){ .backlog = 64 });

	assert_true(fd >= 0);
	return r->listeners[r->listener_count++] = fd;
}

/* The next connection to it; fd -1: there is none. */
static inline struct end
road_accept(int listener)
{
	return end_of(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

/* The engine's connection to that peer, the one opened last. */
static inline struct conn *
road_peer_conn(struct road *r)
{
	for (struct conn *c = r->engine.conns; c != NULL; c = c->all_next)
		if (c->side == SIDE_PEER)
			return c;
	return NULL;
}

static inline size_t
road_count(struct road *r, enum side side)
{
	size_t n = 0;

	for (struct conn *c = r->engine.conns; c != NULL; c = c->all_next)
		n += c->side == side;
	return n;
}

#endif
