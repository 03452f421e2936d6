/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/datagram on the road: sources are sockets of this test, so is the backend; the clock is the test's.
 */
#include "road_case.h"

#include "core/datagram.h"
#include "io/datagram.h"
#include "io/socket.h"
#include "protocols/raw.h"

enum { SOURCES = 700 };

#define ECHO "server { listen udp:127.0.0.1:1; protocol udp; timeout { idle 10s; } echo; }"

struct door_case {
	struct road road;
	struct addr front;              /* where sources ask */
	struct addr back;               /* where the backend listens */
	int back_fd;
};

static int
bound_socket(struct addr *at)
{
	int fd;

	assert_true(addr_parse(SLICE("127.0.0.1:0"), at));
	fd = socket_listen(at, &(struct socket_options){ .datagram = true });
	assert_true(fd >= 0 && socket_local(fd, at));
	return fd;
}

static void
accept_on(struct door_case *d, uint16_t binding)
{
	assert_true(engine_accept(&d->road.engine, binding, bound_socket(&d->front)));
}

/* `%u` in the text: the backend's port. */
static void
case_open(struct door_case *d, const char *text)
{
	char filled[1024];

	d->back_fd = bound_socket(&d->back);
	snprintf(filled, sizeof(filled), text, addr_port(&d->back));
	road_open(&d->road, filled);
	d->road.descriptors--;          /* the backend's is closed first */
	accept_on(d, 1);
}

static void
case_close(struct door_case *d)
{
	close(d->back_fd);
	engine_drain(&d->road.engine);
	road_close(&d->road);
	assert_int_equal(d->road.engine.flow_count, 0);
}

static int
source_open(const struct door_case *d)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && connect(fd, &d->front.any, d->front.n) == 0);
	return fd;
}

static void
say(struct door_case *d, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	road_turn(&d->road);
}

/* What came, or "-": nothing did. */
static const char *
heard(int fd)
{
	static char room[1024];
	ssize_t n = recv(fd, room, sizeof(room) - 1, 0);

	if (n < 0)
		return "-";
	room[n] = '\0';
	return room;
}

#define assert_heard(fd, text) assert_string_equal(heard(fd), text)

/* The backend hears `text`; where it came from. */
static struct addr
backend_hears(struct door_case *d, const char *text)
{
	struct addr from = { .n = sizeof(from.v4) };
	char room[1024] = "";

	assert_int_equal(recvfrom(d->back_fd, room, sizeof(room), 0, &from.any, &from.n), strlen(text));
	assert_string_equal(room, text);
	return from;
}

static void
backend_says(struct door_case *d, const struct addr *to, const char *text)
{
	assert_int_equal(sendto(d->back_fd, text, strlen(text), 0, &to->any, to->n), strlen(text));
}

/* ------------------------------------------------------------------ flows */

static void
table(void **state)
{
	static int sources[SOURCES];
	struct door_case d;
	char text[16];

	case_open(&d, ECHO);
	for (int turn = 0; turn < 2; turn++)
		for (int i = 0; i < SOURCES; i++) {
			if (turn == 0)
				sources[i] = source_open(&d);
			snprintf(text, sizeof(text), "%d", i);
			assert_true(send(sources[i], text, strlen(text), 0) > 0);
			if (i % 50 == 49)
				road_turn(&d.road);
		}
	road_turn(&d.road);
	assert_int_equal(d.road.engine.flow_count, SOURCES);
	assert_int_equal(d.road.engine.shared->flows, SOURCES);
	assert_int_equal(d.road.engine.shared->flows_opened, SOURCES);
	assert_int_equal(d.road.engine.shared->datagrams_in, 2 * SOURCES);
	assert_int_equal(d.road.engine.shared->datagrams_out, 2 * SOURCES);
	assert_int_equal(d.road.engine.shared->datagrams_dropped, 0);
	assert_int_equal(d.road.engine.conn_count, 0);
	for (int i = 0; i < SOURCES; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_heard(sources[i], text);
		assert_heard(sources[i], text);
		assert_heard(sources[i], "-");
	}
	road_wait(&d.road, 5 * 1000);
	for (int i = 0; i < 10; i++)
		say(&d, sources[i], "stays");
	road_wait(&d.road, 6 * 1000);
	assert_int_equal(d.road.engine.flow_count, 10);
	road_wait(&d.road, 6 * 1000);
	assert_int_equal(d.road.engine.flow_count, 0);
	assert_int_equal(d.road.engine.shared->flows, 0);
	for (int i = 0; i < SOURCES; i++)
		close(sources[i]);
	case_close(&d);
}

/* Nobody goes for another within a second; then the one that is silent for longest does. */
static void
at_most(void **state)
{
	struct door_case d;
	int sources[5];

	case_open(&d, "server { listen udp:127.0.0.1:1; protocol udp; max { flows 4; } echo; }");
	for (int i = 0; i < 5; i++)
		sources[i] = source_open(&d);
	for (int i = 0; i < 4; i++) {
		say(&d, sources[i], "a");
		road_wait(&d.road, 100);
	}
	say(&d, sources[4], "b");
	assert_heard(sources[4], "-");
	assert_int_equal(road_reason(&d.road, REASON_FLOW_LIMIT), 1);
	assert_int_equal(d.road.engine.shared->datagrams_dropped, 1);
	road_wait(&d.road, 700);
	say(&d, sources[0], "a");       /* the oldest, and used last */
	road_wait(&d.road, 400);
	say(&d, sources[4], "b");
	assert_heard(sources[4], "b");
	assert_int_equal(d.road.engine.flow_count, 4);
	assert_int_equal(d.road.engine.shared->flows_opened, 5);
	say(&d, sources[0], "c");
	say(&d, sources[2], "c");
	say(&d, sources[3], "c");
	assert_int_equal(d.road.engine.shared->flows_opened, 5);
	for (int i = 0; i < 5; i++)
		close(sources[i]);
	case_close(&d);
}

static void
short_of_memory(void **state)
{
	struct door_case d;
	int known, late;

	case_open(&d, ECHO);
	known = source_open(&d);
	late = source_open(&d);
	say(&d, known, "a");
	engine_pause(&d.road.engine, PAUSE_MEMORY);
	say(&d, known, "b");
	say(&d, late, "c");
	assert_heard(known, "a");
	assert_heard(known, "b");
	assert_heard(late, "-");
	engine_resume(&d.road.engine, PAUSE_MEMORY);
	say(&d, late, "d");
	assert_heard(late, "d");
	close(known);
	close(late);
	case_close(&d);
}

/* ------------------------------------------------------------------ flows of a value */

#define DEVICES(by) \
	"protocol dev { datagram; max 600; format words; }" \
	"server { listen udp:127.0.0.1:1; protocol dev; timeout { idle 10s; } flow by " by "; echo; }"
#define ASKED \
	"protocol dev { datagram; max 600; format binary; fields { id u8 at 0; dev u8 at 1; } answers by id;" \
	"    messages independent; }" \
	"server { listen udp:127.0.0.1:1; protocol dev; flow by msg.dev; proxy udp:127.0.0.1:%u; }"

/* What a value makes a flow is found again from anywhere; what has none is its source's. */
static void
of_a_value(void **state)
{
	struct door_case d;
	int one, two;

	case_open(&d, DEVICES("msg[2]"));
	one = source_open(&d);
	two = source_open(&d);
	say(&d, one, "a 1 dev");
	say(&d, two, "b 1 dev");
	assert_int_equal(d.road.engine.flow_count, 1);
	assert_heard(one, "a 1 dev");
	assert_heard(two, "b 1 dev");
	say(&d, two, "b 2 other");
	assert_int_equal(d.road.engine.flow_count, 2);
	say(&d, one, "a 2");
	say(&d, two, "b 3");
	assert_int_equal(d.road.engine.flow_count, 4);
	assert_heard(two, "b 2 other");
	assert_heard(one, "a 2");
	assert_heard(two, "b 3");
	road_wait(&d.road, 9 * 1000);
	say(&d, one, "a 4 dev");
	road_wait(&d.road, 9 * 1000);
	assert_int_equal(d.road.engine.flow_count, 1);
	say(&d, two, "b 4 dev");
	assert_int_equal(d.road.engine.flow_count, 1);
	road_wait(&d.road, 11 * 1000);
	assert_int_equal(d.road.engine.flow_count, 0);
	close(one);
	close(two);
	case_close(&d);
}

/* Many values of one source, and one of many sources: the table grows and finds each. */
static void
table_of_values(void **state)
{
	static int sources[SOURCES];
	struct door_case d;
	char text[32];

	case_open(&d, DEVICES("msg[2]"));
	for (int turn = 0; turn < 2; turn++)
		for (int i = 0; i < SOURCES; i++) {
			if (turn == 0)
				sources[i] = source_open(&d);
			snprintf(text, sizeof(text), "x %d d%d", i, turn == 0 ? i : SOURCES - 1 - i);
			say(&d, sources[i], text);
			assert_heard(sources[i], text);
		}
	assert_int_equal(d.road.engine.flow_count, SOURCES);
	assert_int_equal(d.road.engine.shared->flows_opened, SOURCES);
	for (int i = 0; i < SOURCES; i++)
		close(sources[i]);
	case_close(&d);
}

/* Within a pass each answer goes to who asked. */
static void
moves_in_a_pass(void **state)
{
	struct door_case d;
	int sources[5];
	char text[16];

	case_open(&d, DEVICES("msg[2]"));
	for (int i = 0; i < 5; i++) {
		sources[i] = source_open(&d);
		snprintf(text, sizeof(text), "x %d dev", i);
		assert_true(send(sources[i], text, strlen(text), 0) > 0);
	}
	road_turn(&d.road);
	assert_int_equal(d.road.engine.flow_count, 1);
	for (int i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), "x %d dev", i);
		assert_heard(sources[i], text);
		close(sources[i]);
	}
	case_close(&d);
}

/* Answers under way follow; who asked stays known. */
static void
moves_with_answers_under_way(void **state)
{
	struct door_case d;
	struct addr to, from = { .n = sizeof(from.v4) };
	char room[64];
	int one, two;

	case_open(&d, ASKED);
	one = source_open(&d);
	two = source_open(&d);
	assert_int_equal(getsockname(one, &from.any, &from.n), 0);
	say(&d, one, "1da");
	say(&d, two, "2db");
	say(&d, two, "3dc");

	struct conn *c = d.road.engine.conns;

	while (c->side != SIDE_CLIENT)
		c = c->all_next;

	struct lane *l = conn_state(c);

	assert_int_equal(l->count, 3);
	assert_int_equal(addr_port(l->first->src), addr_port(&from));
	assert_int_equal(addr_port(l->first->client_next->src), addr_port(&c->remote));
	for (int i = 0; i < 3; i++) {
		ssize_t n;

		to.n = sizeof(to.v4);
		n = recvfrom(d.back_fd, room, sizeof(room), 0, &to.any, &to.n);
		assert_true(n > 0);
		assert_int_equal(sendto(d.back_fd, room, (size_t)n, 0, &to.any, to.n), n);
		road_turn(&d.road);
	}
	assert_heard(one, "-");
	assert_heard(two, "1da");
	assert_heard(two, "2db");
	assert_heard(two, "3dc");
	close(one);
	close(two);
	case_close(&d);
}

/* Under another field flows are others; a value of one is none of the other. */
static void
another_field(void **state)
{
	struct door_case d;
	int fd;

	case_open(&d, DEVICES("msg[2]"));
	fd = source_open(&d);
	say(&d, fd, "a 1 dev");
	engine_adopt(&d.road.engine, road_build(&d.road, DEVICES("msg[2]")));
	say(&d, fd, "a 2 dev");
	assert_int_equal(d.road.engine.shared->flows_opened, 1);
	engine_adopt(&d.road.engine, road_build(&d.road, DEVICES("msg[0]")));
	say(&d, fd, "dev 3 x");
	assert_int_equal(d.road.engine.shared->flows_opened, 2);
	engine_adopt(&d.road.engine, road_build(&d.road, DEVICES("source")));
	say(&d, fd, "dev 4 x");
	say(&d, fd, "a 5 dev");
	assert_int_equal(d.road.engine.shared->flows_opened, 3);
	for (int i = 0; i < 5; i++)
		assert_string_not_equal(heard(fd), "-");
	close(fd);
	case_close(&d);
}

/* How many of a hundred sources' datagrams the first of two sockets got. */
static int
share_of_first(const struct addr *to, const int fds[2])
{
	int got[2] = { 0 };

	for (int i = 0; i < 100; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		assert_int_equal(sendto(fd, "x", 1, 0, &to->any, to->n), 1);
		close(fd);
	}
	for (int i = 0; i < 2; i++)
		while (recv(fds[i], &(char){ 0 }, 1, MSG_DONTWAIT) == 1)
			got[i]++;
	assert_int_equal(got[0] + got[1], 100);
	return got[0];
}

static void
gathered(void **state)
{
	const struct socket_options options = { .datagram = true, .reuse_port = true };
	struct addr at;
	int fds[2];

	assert_true(addr_parse(SLICE("127.0.0.1:0"), &at));
	fds[0] = socket_listen(&at, &options);
	assert_true(fds[0] >= 0 && socket_local(fds[0], &at));
	fds[1] = socket_listen(&at, &options);
	assert_true(fds[1] >= 0);
	assert_in_range(share_of_first(&at, fds), 1, 99);
	assert_true(datagram_gather(fds[1], true));
	assert_true(datagram_gather(fds[0], true));
	assert_int_equal(share_of_first(&at, fds), 100);
	assert_true(datagram_gather(fds[1], false));
	assert_in_range(share_of_first(&at, fds), 1, 99);
	assert_false(datagram_gather(fds[1], false));
	close(fds[0]);
	close(fds[1]);
}

/* ------------------------------------------------------------------ snapshots, sockets */

static void
another_snapshot(void **state)
{
	struct door_case d;
	struct road *r = &d.road;
	int fd;

	case_open(&d, ECHO);
	fd = source_open(&d);
	say(&d, fd, "a\n");
	engine_adopt(&r->engine, road_build(r, ECHO));
	say(&d, fd, "b\n");
	assert_int_equal(r->engine.shared->flows_opened, 1);
	engine_adopt(&r->engine, road_build(r, "server { listen udp:127.0.0.1:1; protocol text; echo; }"));
	say(&d, fd, "c\nd\n");
	assert_int_equal(r->engine.shared->flows_opened, 2);
	assert_int_equal(r->engine.flow_count, 1);
	assert_heard(fd, "a\n");
	assert_heard(fd, "b\n");
	assert_heard(fd, "c\n");
	assert_heard(fd, "d\n");
	close(fd);
	case_close(&d);
}

/* Any socket of the binding answers for all; without one there is nobody to answer. */
static void
sockets_come_and_go(void **state)
{
	struct door_case d;
	struct addr first;
	int fd, lent;

	case_open(&d, "server { listen udp:127.0.0.1:1; protocol udp; proxy udp:127.0.0.1:%u; }");
	fd = source_open(&d);
	first = d.front;
	say(&d, fd, "a");

	struct addr to = backend_hears(&d, "a");

	lent = dup(engine_socket(&d.road.engine, 1));
	assert_true(engine_accept(&d.road.engine, 1, lent));
	engine_unaccept(&d.road.engine, 1, engine_socket(&d.road.engine, 1));
	backend_says(&d, &to, "b");
	road_turn(&d.road);
	assert_true(addr_equal(&first, &d.front));
	assert_heard(fd, "b");
	engine_unaccept(&d.road.engine, 1, -1);
	road_turn(&d.road);
	assert_int_equal(d.road.engine.flow_count, 0);
	assert_int_equal(d.road.engine.conn_count, 0);
	close(fd);
	case_close(&d);
}

static void
drain(void **state)
{
	struct door_case d;
	int fd;

	case_open(&d, "server { listen udp:127.0.0.1:1; protocol udp; proxy udp:127.0.0.1:%u; }");
	fd = source_open(&d);
	say(&d, fd, "question");

	struct addr to = backend_hears(&d, "question");

	engine_drain(&d.road.engine);
	say(&d, fd, "for another worker");
	assert_false(engine_is_idle(&d.road.engine));
	backend_says(&d, &to, "answer");
	road_turn(&d.road);
	assert_heard(fd, "answer");
	assert_int_equal(recv(d.back_fd, &(char){ 0 }, 1, 0), -1);
	road_wait(&d.road, 3000);
	assert_true(engine_is_idle(&d.road.engine));
	close(fd);
	case_close(&d);
}

/* ------------------------------------------------------------------ peers */

/* What was said to the one who had the socket before is not heard by the next. */
static void
sockets_again(void **state)
{
	struct door_case d;
	int one, two;

	case_open(&d, "server { listen udp:127.0.0.1:1; protocol udp; proxy udp:127.0.0.1:%u answers=1; }");
	one = source_open(&d);
	two = source_open(&d);
	say(&d, one, "first");

	struct addr to = backend_hears(&d, "first"), again;
	struct door *door = d.road.engine.conns->door != NULL ? d.road.engine.conns->door :
	    d.road.engine.conns->all_next->door;
	struct conn *peer = door->conn;

	backend_says(&d, &to, "late");
	exchange_client_failed(peer->exchange, REASON_CLIENT_GONE);     /* it lies unread in the socket */
	assert_null(door->conn);
	say(&d, two, "second");
	assert_non_null(door->conn);
	again = backend_hears(&d, "second");
	assert_int_not_equal(addr_port(&to), addr_port(&again));
	assert_heard(two, "-");
	backend_says(&d, &to, "nobody's");
	backend_says(&d, &again, "answer");
	road_turn(&d.road);
	assert_heard(two, "answer");
	assert_heard(one, "-");
	close(one);
	close(two);
	case_close(&d);
}

/* A flow that was not answered asks the next; what an earlier refusal leaves is not another's. */
static void
refused(void **state)
{
	struct addr nobody;
	struct door_case d;
	char text[256];
	int gone = bound_socket(&nobody), fd;

	close(gone);
	snprintf(text, sizeof(text), "upstream u { server udp:127.0.0.1:%u max_fails=0; server udp:127.0.0.1:%%u; }"
	    "server { listen udp:127.0.0.1:1; protocol udp; proxy u answers=1; }", addr_port(&nobody));
	case_open(&d, text);
	fd = source_open(&d);
	for (int i = 0; i < 6; i++) {
		say(&d, fd, "who is there");

		struct addr to = backend_hears(&d, "who is there");

		backend_says(&d, &to, "I");
		road_turn(&d.road);
		assert_heard(fd, "I");
	}
	assert_int_equal(road_reason(&d.road, REASON_PEER_REFUSED), 0);
	close(fd);
	case_close(&d);
}

/* What was refused to the one who had the socket before is not refused to the next. */
static void
errors_of_before(void **state)
{
	struct addr nobody;
	struct door_case d;
	int gone = bound_socket(&nobody);

	close(gone);
	nobody.datagram = 1;
	case_open(&d, ECHO);
	d.back.datagram = 1;
	for (int turn = 0; turn < 3; turn++) {
		struct conn *c = conn_open_peer(
		    &d.road.engine, &nobody, &protocol_udp, NULL, 1000, SLICE_EMPTY);

		assert_non_null(c);
		conn_write(c, SLICE("refused"));
		if (turn == 1)
			road_turn(&d.road);
		conn_close(c);
		c = conn_open_peer(&d.road.engine, &d.back, &protocol_udp, NULL, 1000, SLICE_EMPTY);
		assert_non_null(c);
		if (turn == 2)
			road_turn(&d.road);
		conn_write(c, SLICE("heard"));
		road_turn(&d.road);
		assert_int_equal(c->state, CONN_OPEN);
		backend_hears(&d, "heard");
		conn_close(c);
	}
	case_close(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(at_most),
		cmocka_unit_test(short_of_memory),
		cmocka_unit_test(of_a_value),
		cmocka_unit_test(table_of_values),
		cmocka_unit_test(moves_in_a_pass),
		cmocka_unit_test(moves_with_answers_under_way),
		cmocka_unit_test(another_field),
		cmocka_unit_test(gathered),
		cmocka_unit_test(another_snapshot),
		cmocka_unit_test(sockets_come_and_go),
		cmocka_unit_test(drain),
		cmocka_unit_test(sockets_again),
		cmocka_unit_test(refused),
		cmocka_unit_test(errors_of_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
