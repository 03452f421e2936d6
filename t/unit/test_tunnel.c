/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/tunnel with protocols/raw and protocols/proxy_line in front: a child
 * runs an engine with one route that joins each client to a backend; the test is
 * client and backend. Every byte must arrive, every end and every reset be passed on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/exchange.h"
#include "protocols/proxy_line.h"
#include "protocols/raw.h"

enum { PATIENCE = 20 * 1000, MUCH = 24 * 1024 * 1024 };

/* What both processes see. */
static struct seen {
	struct worker_shared worker;
	_Atomic size_t pipes;           /* most that were free at once */
	_Atomic bool ready;
} *seen;

static struct front {
	struct settings settings;
	struct listener listener;
	struct addr backend;
	int front_fd, back_fd;
	struct addr address;
	pid_t child;
} front;

/* ------------------------------------------------------------------ the child */

static struct engine engine;

static enum verdict
join_question(struct exchange *ex, const struct step *step)
{
	struct conn *p = conn_open_peer(ex->engine, &front.backend, &protocol_tcp, ex, 5000, SLICE_EMPTY);

	if (p == NULL) {
		exchange_abort(ex, REASON_PEER_REFUSED);
		return STEP_TAKE;
	}
	ex->peer = p;
	p->exchange = ex;
	return STEP_TAKE;
}

static void
join_open(struct exchange *ex, const struct step *step)
{
	exchange_tunnel(ex);
}

static void
join_fail(struct exchange *ex, const struct step *step, enum reason reason)
{
	exchange_abort(ex, reason);
}

static const struct handler_ops join_ops = {
	.name = "join", .moment = MOMENT_QUESTION, .takes = true,
	.question = join_question, .peer_open = join_open, .peer_fail = join_fail,
};

static void
fill_snapshot(struct snapshot *s)
{
	struct step *step = arena_zalloc(&s->arena, sizeof(*step));
	struct route *route = arena_zalloc(&s->arena, sizeof(*route));
	struct server *server = arena_zalloc(&s->arena, sizeof(*server));

	step->ops = &join_ops;
	server->name = SLICE("test");
	server->protocol = &protocol_tcp;
	server->settings = front.settings;
	*route = (struct route){ .kind = ROUTE_ANY, .server = server, .settings = &server->settings,
		.steps = { .items = step, .count = 1 } };
	server->routes = route;
	server->route_count = 1;
	server->table = route_table_build(&s->arena, route, 1);
	front.listener.only = server;
	s->listeners = &front.listener;
	s->listener_count = 1;
	s->bindings = memory_alloc(sizeof(*s->bindings));
	s->bindings[0] = 1;
}

static void
note(void *what)
{
	if (engine.free_pipe_count > seen->pipes)
		seen->pipes = engine.free_pipe_count;
}

static void
on_term(struct loop_event *e, unsigned what)
{
	loop_stop(&engine.loop);
}

static size_t
count_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* 0: everything was given back. */
static int
serve(void)
{
	struct loop_event term = { .watched = false };
	struct snapshot *s = snapshot_new();
	size_t before = count_descriptors();

	log_to(2, LOG_EMERG);
	signal(SIGPIPE, SIG_IGN);
	fill_snapshot(s);
	if (!engine_open(&engine))
		return 1;
	engine.shared = &seen->worker;
	engine_adopt(&engine, s);
	if (!engine_accept(&engine, 1, dup(front.front_fd)) ||
	    !loop_signal(&engine.loop, &term, SIGTERM, on_term))
		return 1;
	seen->ready = true;
	loop_run(&engine.loop, note, NULL);
	loop_unwatch(&term);
	engine_close(&engine);
	return count_descriptors() == before ? 0 : 2;
}

/* ------------------------------------------------------------------ the test's ends */

static int
listen_on(const char *text, struct addr *bound)
{
	struct addr a;

	assert_true(addr_parse(slice_of(text), &a));

	int fd = socket_listen(&a, &(struct socket_options){ .backlog = 16 });

	assert_true(fd >= 0);
	if (addr_is_unix(&a))
		*bound = a;
	else
		assert_true(socket_local(fd, bound));
	return fd;
}

static char path[64];

static void
listen_both(const char *front_text, const char *back_text)
{
	front.front_fd = listen_on(front_text, &front.address);
	front.back_fd = listen_on(back_text, &front.backend);
	front.listener.protocol = &protocol_tcp;
	front.listener.addr = front.address;
	front.listener.alone = true;
	front.listener.fingerprint = 7;
	front.listener.settings.head_timeout = 5000;
}

static void
start_child(void)
{
	front.child = fork();
	assert_true(front.child >= 0);
	if (front.child == 0)
		exit(serve());
	for (int i = 0; i < PATIENCE / 10 && !seen->ready; i++)
		usleep(10 * 1000);
	assert_true(seen->ready);
}

static void
start(const char *front_text, const char *back_text)
{
	listen_both(front_text, back_text);
	start_child();
}

static int
set_up(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(path, sizeof(path), "unix:/tmp/tunnel-test-%d.sock", (int)getpid());
	front = (struct front){
		.settings = { .idle_timeout = 60000, .write_timeout = 60000, .access = { .log = -1 } },
	};
	return seen != MAP_FAILED ? 0 : -1;
}

static void
stop(void)
{
	int status = -1;

	assert_int_equal(kill(front.child, SIGTERM), 0);
	assert_int_equal(waitpid(front.child, &status, 0), front.child);
	front.child = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* After a failed assertion too: no child stays. */
static int
tear_down(void **state)
{
	if (front.child > 0) {
		kill(front.child, SIGKILL);
		waitpid(front.child, NULL, 0);
	}
	close(front.front_fd);
	close(front.back_fd);
	unlink(path + 5);
	munmap(seen, sizeof(*seen));
	return 0;
}

static bool
is_ready(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };

	return poll(&p, 1, PATIENCE) == 1;
}

static int
connect_client(void)
{
	bool pending;
	int fd = socket_connect(&front.address, &pending);

	assert_true(fd >= 0);
	assert_true(is_ready(fd, POLLOUT));
	return fd;
}

static int
accept_backend(void)
{
	struct addr from;

	assert_true(is_ready(front.back_fd, POLLIN));

	int fd = socket_accept(front.back_fd, &from);

	assert_true(fd >= 0);
	return fd;
}

static void
say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void
hear(int fd, const char *text)
{
	char got[256];
	size_t n = 0, want = strlen(text);

	while (n < want) {
		assert_true(is_ready(fd, POLLIN));

		ssize_t more = read(fd, got + n, want - n);

		assert_true(more > 0);
		n += (size_t)more;
	}
	assert_memory_equal(got, text, want);
}

static void
hear_end(int fd)
{
	char byte;

	assert_true(is_ready(fd, POLLIN));
	assert_int_equal(read(fd, &byte, 1), 0);
}

static void
hear_reset(int fd)
{
	static char room[65536];
	ssize_t n;

	do
		assert_true(is_ready(fd, POLLIN));
	while ((n = read(fd, room, sizeof(room))) > 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
}

static void
assert_reason(enum reason reason, uint64_t count)
{
	for (int i = 0; i < PATIENCE / 10 && seen->worker.reasons[reason] < count; i++)
		usleep(10 * 1000);
	assert_int_equal(seen->worker.reasons[reason], count);
}

/* ------------------------------------------------------------------ much */

struct flow {
	int from, to;
	size_t sent, got, total;
	uint32_t seed;
};

static char
byte_at(const struct flow *f, size_t at)
{
	return (char)((at * 2654435761u + f->seed) >> 13);
}

/* False: the socket takes no more. */
static bool
send_some(struct flow *f)
{
	static char chunk[128 * 1024];
	size_t n = MIN_OF(f->total - f->sent, sizeof(chunk));

	for (size_t i = 0; i < n; i++)
		chunk[i] = byte_at(f, f->sent + i);

	ssize_t done = n == 0 ? 0 : write(f->from, chunk, n);

	if (done > 0)
		f->sent += (size_t)done;
	else
		assert_true(n == 0 || errno == EAGAIN);
	return done > 0;
}

static void
take_some(struct flow *f)
{
	static char chunk[128 * 1024];
	ssize_t n = read(f->to, chunk, sizeof(chunk));

	assert_true(n > 0 || (n < 0 && errno == EAGAIN));
	for (ssize_t i = 0; i < n; i++)
		if (chunk[i] != byte_at(f, f->got + (size_t)i))
			fail_msg("byte %zu is another", f->got + (size_t)i);
	if (n > 0)
		f->got += (size_t)n;
}

static void
finish_flows(struct flow *flows, size_t count)
{
	for (;;) {
		struct pollfd p[4];
		size_t left = 0;

		for (size_t i = 0; i < count; i++) {
			struct flow *f = &flows[i];

			left += f->total - f->got;
			p[2 * i] = (struct pollfd){ .fd = f->sent < f->total ? f->from : -1, .events = POLLOUT };
			p[2 * i + 1] = (struct pollfd){ .fd = f->got < f->total ? f->to : -1, .events = POLLIN };
		}
		if (left == 0)
			return;
		assert_true(poll(p, 2 * count, PATIENCE) > 0);
		for (size_t i = 0; i < count; i++) {
			if (p[2 * i].revents != 0)
				send_some(&flows[i]);
			if (p[2 * i + 1].revents != 0)
				take_some(&flows[i]);
		}
	}
}

static void
carry_much(const char *front_text, const char *back_text)
{
	start(front_text, back_text);

	int client = connect_client(), backend = accept_backend();
	struct flow flows[] = {
		{ .from = client, .to = backend, .total = MUCH, .seed = 1 },
		{ .from = backend, .to = client, .total = MUCH + 12345, .seed = 2 },
	};

	finish_flows(flows, 1);
	finish_flows(flows + 1, 1);
	flows[0].total += MUCH / 3;
	flows[1].total += MUCH / 2;
	finish_flows(flows, 2);
	shutdown(client, SHUT_WR);
	hear_end(backend);
	say(backend, "last words");
	close(backend);
	hear(client, "last words");
	hear_end(client);
	close(client);
	for (int i = 0; i < PATIENCE / 10 && seen->worker.exchanges == 0; i++)
		usleep(10 * 1000);
	assert_int_equal(seen->worker.exchanges, 1);
	assert_int_equal(seen->worker.bytes_in, flows[0].total);
	assert_int_equal(seen->worker.bytes_out, flows[1].total + 10);
	assert_true(seen->pipes > 0);                   /* it was spliced, and the pipe given back */
	stop();
}

static void
carries_much_over_tcp(void **state)
{
	carry_much("127.0.0.1:0", "127.0.0.1:0");
}

static void
carries_much_from_unix(void **state)
{
	carry_much(path, "127.0.0.1:0");
}

static void
carries_much_to_unix(void **state)
{
	carry_much("127.0.0.1:0", path);
}

/* ------------------------------------------------------------------ ends */

static void
carries_words_and_ends(void **state)
{
	start("127.0.0.1:0", "127.0.0.1:0");

	/* All is said before the backend has accepted. */
	int client = connect_client();

	say(client, "question");
	shutdown(client, SHUT_WR);

	int backend = accept_backend();

	hear(backend, "question");
	hear_end(backend);
	say(backend, "answer");
	hear(client, "answer");
	say(backend, " and more");
	close(backend);
	hear(client, " and more");
	hear_end(client);
	close(client);

	/* And the other side first. */
	client = connect_client();
	backend = accept_backend();
	say(backend, "hello");
	shutdown(backend, SHUT_WR);
	hear(client, "hello");
	hear_end(client);
	say(client, "bye");
	hear(backend, "bye");
	close(client);
	hear_end(backend);
	close(backend);
	for (int i = 0; i < PATIENCE / 10 && seen->worker.exchanges < 2; i++)
		usleep(10 * 1000);
	assert_int_equal(seen->worker.exchanges, 2);
	for (int reason = 0; reason < REASON_COUNT; reason++)
		assert_int_equal(seen->worker.reasons[reason], 0);
	assert_int_equal(seen->worker.connections, 0);
	stop();
}

static void
reset(int fd)
{
	socket_reset_on_close(fd);
	close(fd);
}

static void
passes_a_reset_on(void **state)
{
	start("127.0.0.1:0", "127.0.0.1:0");

	int client = connect_client(), backend = accept_backend();

	say(client, "x");
	hear(backend, "x");
	reset(client);
	hear_reset(backend);
	close(backend);
	assert_reason(REASON_CLIENT_GONE, 1);

	client = connect_client();
	backend = accept_backend();
	say(client, "x");
	hear(backend, "x");
	reset(backend);
	hear_reset(client);
	close(client);
	assert_reason(REASON_PEER_RESET, 1);

	/* Of one that has ended already: behind the end a read says no more, but the error is there. */
	client = connect_client();
	backend = accept_backend();
	shutdown(client, SHUT_WR);
	hear_end(backend);
	reset(client);
	assert_true(is_ready(backend, 0));
	assert_int_equal(socket_error(backend), EPIPE);
	close(backend);
	assert_reason(REASON_CLIENT_GONE, 2);
	stop();
}

static void
closes_when_the_backend_refuses(void **state)
{
	listen_both("127.0.0.1:0", "127.0.0.1:0");
	close(front.back_fd);
	front.back_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	start_child();

	int client = connect_client();
	char byte;

	assert_true(is_ready(client, POLLIN));
	assert_true(read(client, &byte, 1) <= 0);
	close(client);
	assert_reason(REASON_PEER_REFUSED, 1);
	stop();
}

/* ------------------------------------------------------------------ pressure and time */

static size_t
flood(struct flow *f)
{
	struct pollfd p = { .fd = f->from, .events = POLLOUT };

	while (f->sent < f->total && poll(&p, 1, 500) == 1 && send_some(f))
		continue;
	return f->sent;
}

static void
reads_no_more_than_is_taken(void **state)
{
	start("127.0.0.1:0", "127.0.0.1:0");

	int client = connect_client(), backend = accept_backend();
	struct flow f = { .from = client, .to = backend, .total = 256 * 1024 * 1024, .seed = 3 };

	f.total = flood(&f);
	assert_true(f.total < 256 * 1024 * 1024);
	say(backend, "the other way is free");
	hear(client, "the other way is free");
	finish_flows(&f, 1);
	shutdown(client, SHUT_WR);
	hear_end(backend);
	close(client);
	close(backend);
	stop();
}

static void
gives_up_on_one_who_takes_nothing(void **state)
{
	front.settings.write_timeout = 700;
	start("127.0.0.1:0", "127.0.0.1:0");

	int client = connect_client(), backend = accept_backend();
	struct flow f = { .from = client, .to = backend, .total = 256 * 1024 * 1024 };
	bool broken = false;

	for (struct pollfd p = { .fd = client, .events = POLLOUT }; !broken && poll(&p, 1, 500) == 1;)
		broken = write(client, &f, sizeof(f)) < 0 && errno != EAGAIN;
	assert_reason(REASON_PEER_WRITE_TIMEOUT, 1);
	if (!broken)
		hear_reset(client);
	close(client);
	close(backend);
	stop();
}

/* Something all the time, but too little; the client is the one who must take enough. */
static void
gives_up_on_one_who_takes_too_little(void **state)
{
	front.settings.write_timeout = 700;
	front.settings.write_least = UINT32_MAX;
	start("127.0.0.1:0", "127.0.0.1:0");

	int client = connect_client(), backend = accept_backend();
	struct flow f = { .from = backend, .to = client, .total = 256 * 1024 * 1024 };
	static char bytes[64 * 1024];

	for (int i = 0; i < 60 && seen->worker.reasons[REASON_WRITE_TOO_SLOW] == 0; i++) {
		for (struct pollfd p = { .fd = backend, .events = POLLOUT };
		     poll(&p, 1, 0) == 1 && p.revents == POLLOUT && send_some(&f);)
			continue;
		assert_true(is_ready(client, POLLIN));
		assert_true(read(client, bytes, sizeof(bytes)) > 0 || errno == ECONNRESET);
		usleep(100 * 1000);
	}
	assert_reason(REASON_WRITE_TOO_SLOW, 1);
	assert_int_equal(seen->worker.reasons[REASON_WRITE_TIMEOUT], 0);
	close(client);
	close(backend);
	stop();
}

/* A backend may be slow as long as it goes on: of the same traffic nothing is said. */
static void
waits_for_a_slow_backend(void **state)
{
	front.settings.write_timeout = 700;
	front.settings.write_least = UINT32_MAX;
	start("127.0.0.1:0", "127.0.0.1:0");

	int client = connect_client(), backend = accept_backend();
	struct flow f = { .from = client, .to = backend, .total = 256 * 1024 * 1024 };
	static char bytes[256 * 1024];

	for (int i = 0; i < 20; i++) {
		while (f.sent < f.total && send_some(&f))
			continue;
		assert_true(is_ready(backend, POLLIN));
		assert_true(read(backend, bytes, sizeof(bytes)) > 0);
		usleep(100 * 1000);
	}
	for (size_t i = 0; i < REASON_COUNT; i++)
		assert_int_equal(seen->worker.reasons[i], 0);
	close(client);
	close(backend);
	stop();
}

static void
ends_a_silent_one(void **state)
{
	front.settings.idle_timeout = 600;
	start("127.0.0.1:0", "127.0.0.1:0");

	int client = connect_client(), backend = accept_backend();

	for (int i = 0; i < 8; i++) {                   /* longer than it, never silent for so long */
		say(i % 2 != 0 ? client : backend, "x");
		hear(i % 2 != 0 ? backend : client, "x");
		usleep(120 * 1000);
	}
	assert_int_equal(seen->worker.reasons[REASON_IDLE_TIMEOUT], 0);
	hear_end(client);
	hear_end(backend);
	assert_reason(REASON_IDLE_TIMEOUT, 1);
	close(client);
	close(backend);
	stop();
}

/* ------------------------------------------------------------------ behind a PROXY line */

static void
takes_a_proxy_line_first(void **state)
{
	front.listener.first_protocol = &protocol_proxy_line;
	start("127.0.0.1:0", "127.0.0.1:0");

	int client = connect_client();

	say(client, "PROXY TCP4 192.0.2.1 192.0.2.2 1");
	usleep(50 * 1000);
	say(client, "00 80\r\nhello");

	int backend = accept_backend();

	hear(backend, "hello");
	say(client, " again");
	hear(backend, " again");
	close(client);
	hear_end(backend);
	close(backend);

	client = connect_client();
	say(client, "GET / HTTP/1.1\r\n\r\n");
	assert_reason(REASON_BAD_PROXY_LINE, 1);
	close(client);
	client = connect_client();
	say(client, "PROXY");
	shutdown(client, SHUT_WR);
	hear_end(client);
	assert_reason(REASON_BAD_PROXY_LINE, 2);
	close(client);
	client = connect_client();
	shutdown(client, SHUT_WR);
	hear_end(client);
	close(client);
	assert_int_equal(seen->worker.reasons[REASON_BAD_PROXY_LINE], 2);
	stop();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(carries_words_and_ends),
		TEST(carries_much_over_tcp),
		TEST(carries_much_from_unix),
		TEST(carries_much_to_unix),
		TEST(passes_a_reset_on),
		TEST(closes_when_the_backend_refuses),
		TEST(reads_no_more_than_is_taken),
		TEST(gives_up_on_one_who_takes_nothing),
		TEST(gives_up_on_one_who_takes_too_little),
		TEST(waits_for_a_slow_backend),
		TEST(ends_a_silent_one),
		TEST(takes_a_proxy_line_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
