/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * buffer { question; answer }: a slow client does not occupy a peer, what is held for it is
 * bounded and given back, and no byte of it is lost or changed.
 */
#include <malloc.h>

#include "road_case.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

enum { MIB = 1024 * 1024, SMALL = 8192, LITTLE = 400 * 1024 };

static struct road road;
static char stuff[8 * MIB];

static int
fill_stuff(void **state)
{
	for (size_t i = 0; i < sizeof(stuff); i++)
		stuff[i] = (char)(i * 2654435761u >> 11);
	return 0;
}

/* All of it, by and by, or as much as is taken: how much that was. */
static size_t
put(struct end *e, const char *at, size_t n)
{
	size_t all = n;

	for (int still = 0; n != 0 && still < 3;) {
		ssize_t sent = send(e->fd, at, n, MSG_NOSIGNAL);

		still = sent > 0 ? 0 : still + 1;
		if (sent > 0) {
			at += sent;
			n -= (size_t)sent;
		}
		road_turn(&road);
	}
	return all - n;
}

/* Reads with the engine turning, until that many bytes have come. */
static void
get(struct end *e, size_t n)
{
	while (e->n < n) {
		size_t before = e->n;

		road_turn(&road);
		end_read(e);
		assert_true(e->n > before);
	}
}

static size_t
held(void)
{
	size_t n = 0;

	for (struct conn *c = road.engine.conns; c != NULL; c = c->all_next)
		n += conn_waiting(c) + c->in_size;
	return n;
}

/* Heap that is in use; 0 where malloc does not say. */
static size_t
heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static struct end
small_client(void)
{
	return road_client_of(&road, 1, "192.0.2.7:1", SOCK_STREAM, SMALL);
}

static size_t
body_at(const struct end *e)
{
	return slice_find_slice(end_got(e), SLICE("\r\n\r\n")) + 4;
}

static void
expect_stuff(struct end *e, size_t n)
{
	end_read(e);
	get(e, body_at(e) + n);
	assert_int_equal(e->n, body_at(e) + n);
	assert_memory_equal(e->at + body_at(e), stuff, n);
	end_forget(e);
}

static size_t
answer_stuff(struct end *peer, size_t n)
{
	char head[64];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
	road_say(&road, peer, head);
	return put(peer, stuff, n);
}

/* ------------------------------------------------------------------ answers */

#define TWO_ROUTES "upstream app { server unix:@/a; } server { listen 80; timeout { write 10s; } " \
	"route /held { proxy app; } route { buffer { answer 2m; } proxy app; } }"

/* The same client asleep: by one route the peer waits for it, by the other it is done at once. */
static void
answer_frees_the_peer(void **state)
{
	road_open(&road, TWO_ROUTES);

	int at = road_listener(&road, "a");
	struct end asleep = small_client(), other = road_client(&road), held_one = small_client();

	road_say(&road, &asleep, GET("/"));

	struct end peer = road_accept(at);

	answer_stuff(&peer, MIB);
	assert_int_equal(road.engine.exchange_count, 0);
	end_forget(&peer);
	road_say(&road, &other, GET("/"));
	end_read(&peer);
	assert_true(end_has(&peer, "GET / "));
	end_forget(&peer);
	road_say(&road, &peer, ROAD_OK);
	end_expect(&other, ROAD_FINE);
	assert_int_equal(road_accept(at).fd, -1);
	assert_in_range(held(), MIB - LITTLE, MIB + 1024);
	expect_stuff(&asleep, MIB);
	assert_int_equal(held(), 0);
	/* and it can be asked on, where the answer is not taken ahead */
	road_say(&road, &held_one, GET("/held"));
	answer_stuff(&peer, MIB);
	assert_int_equal(road.engine.exchange_count, 1);
	assert_true((road_peer_conn(&road)->hold & HOLD_OUTPUT) != 0);
	assert_true(held() <= LITTLE);
	road_say(&road, &other, GET("/"));

	struct end second = road_accept(at);

	assert_true(second.fd >= 0);
	end_close(&asleep);
	end_close(&other);
	end_close(&held_one);
	end_close(&peer);
	end_close(&second);
	road_close(&road);
}

/* More than is taken ahead: never much more is held, and nothing is lost. */
static void
answer_is_bounded(void **state)
{
	size_t given = 0, taken = 0, most = 0;
	char head[64];

	road_open(&road, TWO_ROUTES);

	int at = road_listener(&road, "a");
	struct end client = small_client();

	road_say(&road, &client, GET("/"));

	struct end peer = road_accept(at);

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof(stuff));
	road_say(&road, &peer, head);
	while (taken < sizeof(stuff)) {
		for (ssize_t n = 1; n > 0 && given < sizeof(stuff);) {
			n = send(peer.fd, stuff + given, sizeof(stuff) - given, MSG_NOSIGNAL);
			given += n > 0 ? (size_t)n : 0;
			road_turn(&road);
		}
		most = MAX_OF(most, held());
		if (taken == 0)
			assert_true(given < 4 * MIB);
		end_read(&client);
		taken = client.n - MIN_OF(client.n, body_at(&client));
		road_turn(&road);
	}
	assert_in_range(most, 2 * MIB, 2 * MIB + LITTLE);
	assert_memory_equal(client.at + body_at(&client), stuff, sizeof(stuff));
	assert_int_equal(road.engine.exchange_count, 0);
	assert_int_equal(held(), 0);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* The peer is gone, the exchange is over: who takes nothing is still not waited for. */
static void
answer_nobody_takes(void **state)
{
	road_open(&road, TWO_ROUTES);

	int at = road_listener(&road, "a");
	struct end client = small_client();

	road_say(&road, &client, GET("/"));

	struct end peer = road_accept(at);

	answer_stuff(&peer, MIB);
	assert_int_equal(road.engine.exchange_count, 0);
	for (int i = 0; i < 9; i++)
		road_wait(&road, 1000);
	assert_int_equal(road_count(&road, SIDE_CLIENT), 1);
	road_wait(&road, 2000);
	assert_int_equal(road_count(&road, SIDE_CLIENT), 0);
	assert_int_equal(road_reason(&road, REASON_WRITE_TIMEOUT), 1);
	assert_int_equal(held(), 0);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* The next of a pipeline is answered behind it; all of them together are no more than what may wait. */
static void
answers_in_a_pipeline(void **state)
{
	enum { EACH = 900 * 1024, ASKED = 4 };

	road_open(&road, TWO_ROUTES);

	int at = road_listener(&road, "a");
	struct end client = small_client();

	for (int i = 0; i < ASKED; i++)
		end_say(&client, GET("/"));
	road_turn(&road);

	struct end peer = road_accept(at);

	for (int i = 0; i < 2; i++)
		assert_int_equal(answer_stuff(&peer, EACH), EACH);

	size_t third = answer_stuff(&peer, EACH);

	assert_in_range(held(), 2 * MIB, 2 * MIB + LITTLE);
	assert_true(third < EACH);
	get(&client, 2 * EACH);
	assert_int_equal(put(&peer, stuff + third, EACH - third), EACH - third);
	assert_int_equal(answer_stuff(&peer, EACH), EACH);
	get(&client, ASKED * EACH);
	for (int i = 0; i < ASKED; i++) {
		size_t begin = body_at(&client);

		assert_memory_equal(client.at + begin, stuff, EACH);
		memmove(client.at, client.at + begin + EACH, client.n - begin - EACH);
		client.n -= begin + EACH;
	}
	assert_int_equal(client.n, 0);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* Reads that much, a little at a time. */
static void
sip(struct end *e, size_t n)
{
	static char mouth[16 * 1024];

	for (size_t got = 0; got < n;) {
		ssize_t more = recv(e->fd, mouth, MIN_OF(n - got, sizeof(mouth)), 0);

		assert_true(more > 0);
		got += (size_t)more;
		road_turn(&road);
	}
}

/* Who is asked instead of a peer that was held is held, too. */
static void
answer_of_another_peer(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; pool { idle 0; } timeout { header 2s; } } server { listen 80; "
	    "error 504 { proxy unix:@/b; } route /held { proxy app; } route { buffer { answer 2m; } proxy app; } }");

	int at = road_listener(&road, "a"), beside = road_listener(&road, "b");
	struct end client = small_client();

	road_say(&road, &client, GET("/"));

	struct end peer = road_accept(at);

	answer_stuff(&peer, MIB);
	road_say(&road, &client, GET("/held"));

	struct end silent = road_accept(at);

	sip(&client, 128 * 1024);
	assert_true((road_peer_conn(&road)->hold & HOLD_OUTPUT) != 0);
	for (int i = 0; i < 5; i++)
		road_wait(&road, 500);

	struct end other = road_accept(beside);

	assert_true(other.fd >= 0);
	assert_true(answer_stuff(&other, 8 * MIB) < MIB);
	assert_true(held() <= MIB);
	end_close(&client);
	end_close(&peer);
	end_close(&silent);
	end_close(&other);
	road_close(&road);
}

/* It keeps the connection, and is silent only from when it has what waits for it. */
static void
answer_is_no_silence(void **state)
{
	road_open(&road, "upstream app { server unix:@/a; } server { listen 80; timeout { keepalive 2s; } "
	    "buffer { answer 2m; } proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = small_client();

	road_say(&road, &client, GET("/"));

	struct end peer = road_accept(at);

	answer_stuff(&peer, MIB);
	assert_int_equal(road.engine.exchange_count, 0);
	for (int i = 0; i < 5; i++) {
		sip(&client, 16 * 1024);
		road_wait(&road, 1000);
	}
	get(&client, MIB - 80 * 1024);
	road_wait(&road, 1900);
	end_forget(&client);
	road_say(&road, &client, GET("/"));
	end_forget(&peer);
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	road_wait(&road, 2100);
	end_read(&client);
	assert_true(client.ended);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/*
 * It was said before the peer went, who did not want the question: whoever takes it slowly gets all
 * of it, however long nothing can be written to that peer.
 */
static void
answer_of_a_peer_that_went(void **state)
{
	enum { ASKED = 900 * 1024, SAID = 160 * 1024 };
	char head[96];

	road_open(&road, "upstream app { server unix:@/a; timeout { write 2s; } } server { listen 80; proxy app; }");

	int at = road_listener(&road, "a");
	struct end client = small_client();

	snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", ASKED);
	road_say(&road, &client, head);

	struct end peer = road_accept(at);

	put(&client, stuff, ASKED);
	assert_int_equal(answer_stuff(&peer, SAID), SAID);
	end_close(&peer);
	for (int i = 0; i < 8; i++) {
		sip(&client, 4096);
		road_wait(&road, 1000);
	}
	get(&client, SAID - 8 * 4096);
	assert_int_equal(road.engine.exchange_count, 0);
	end_close(&client);
	road_close(&road);
}

/* ------------------------------------------------------------------ questions */

#define GATHERS "upstream app { server unix:@/a; server unix:@/b; retry 1; } " \
	"server { listen 80; max { body 6m; } min { after 2s; } buffer { question 4m; } proxy app; }"

/* A peer hears of it when all is here, and then all at once. */
static void
question_comes_whole(void **state)
{
	road_open(&road, GATHERS);

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	road_say(&road, &client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
	end_expect(&client, "HTTP/1.1 100 Continue\r\n\r\n");
	for (int i = 0; i < 9; i++) {
		road_say(&road, &client, "x");
		assert_int_equal(road_count(&road, SIDE_PEER), 0);
	}
	road_say(&road, &client, "y");

	struct end peer = road_accept(at);

	end_read(&peer);
	assert_true(slice_ends(end_got(&peer), SLICE("\r\n\r\nxxxxxxxxxy")));
	end_forget(&peer);
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	/* in chunks; in one piece with its head; without a body */
	road_say(&road, &client, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	end_expect(&peer, "");
	road_say(&road, &client, "2\r\nde\r\n0\r\n\r\n");
	end_read(&peer);
	assert_true(slice_ends(end_got(&peer), SLICE("\r\n\r\n5\r\nabcde\r\n0\r\n\r\n")));
	end_forget(&peer);
	road_say(&road, &peer, ROAD_OK);
	road_say(&road, &client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET("/"));
	end_read(&peer);
	assert_true(slice_ends(end_got(&peer), SLICE("\r\n\r\nabc")));
	road_say(&road, &peer, ROAD_OK);
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE ROAD_FINE ROAD_FINE);
	end_read(&peer);
	end_forget(&peer);
	/* empty, which is known only at its end */
	road_say(&road, &client, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
	end_expect(&peer, "");
	road_say(&road, &client, "0\r\n\r\n");
	end_read(&peer);
	assert_true(slice_ends(end_got(&peer), SLICE("\r\n\r\n0\r\n\r\n")));
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* What is longer than the buffer streams from there on; the peer may be as slow as it likes. */
static void
question_streams_behind(void **state)
{
	enum { ALL = 5 * MIB + 12345 };
	int small = SMALL;
	char head[96];

	road_open(&road, GATHERS);

	int at = road_listener(&road, "a");
	struct end client = road_client(&road);

	snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", ALL);
	road_say(&road, &client, head);
	put(&client, stuff, 4 * MIB - 1);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	assert_true(held() <= LITTLE);
	end_put(&client, stuff + 4 * MIB - 1, 1);
	road_pass(&road);

	struct end peer = road_accept(at);

	assert_true(peer.fd >= 0);
	setsockopt(road_peer_conn(&road)->wire.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	road_turn(&road);
	for (size_t given = 4 * MIB, taken = 0; taken < ALL;) {
		ssize_t n = given < ALL ? send(client.fd, stuff + given, ALL - given, MSG_NOSIGNAL) : 0;

		given += n > 0 ? (size_t)n : 0;
		road_turn(&road);
		assert_true(held() <= LITTLE);
		end_read(&peer);
		taken = peer.n - MIN_OF(peer.n, body_at(&peer));
		road_turn(&road);
	}
	assert_int_equal(peer.n, body_at(&peer) + ALL);
	assert_memory_equal(peer.at + body_at(&peer), stuff, ALL);
	road_say(&road, &peer, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	end_close(&peer);
	road_close(&road);
}

/* Too large, too slow, gone: no peer has ever heard of it. */
static void
question_that_fails(void **state)
{
	road_open(&road, GATHERS);

	struct end large = road_client(&road), slow = road_client(&road), gone = road_client(&road);

	road_say(&road, &large, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n");
	end_expect_start(&large, "HTTP/1.1 413 Content Too Large\r\n");
	road_say(&road, &slow, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\nx");
	road_say(&road, &gone, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\nx");
	end_close(&gone);
	road_wait(&road, 2500);
	road_say(&road, &slow, "x");
	end_expect_start(&slow, "HTTP/1.1 408 Request Timeout\r\n");
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	assert_int_equal(road.engine.exchange_count, 0);
	assert_int_equal(road_reason(&road, REASON_BODY_TOO_LARGE), 1);
	assert_int_equal(road_reason(&road, REASON_BODY_TOO_SLOW), 1);
	assert_int_equal(road_reason(&road, REASON_CLIENT_GONE), 1);
	end_close(&large);
	end_close(&slow);
	road_close(&road);
}

/* A peer that goes away in the middle of it: what may be asked again is, of another, from the beginning. */
static void
question_is_replayed(void **state)
{
	enum { ALL = 3 * MIB };
	char head[96];

	road_open(&road, GATHERS);

	int at = road_listener(&road, "a"), beside = road_listener(&road, "b");
	struct end client = road_client(&road);

	snprintf(head, sizeof(head), "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", ALL);
	road_say(&road, &client, head);
	put(&client, stuff, ALL);

	struct end first = road_accept(at);

	assert_true(first.fd >= 0);
	road_turn(&road);
	end_read(&first);
	road_turn(&road);
	end_close(&first);
	road_turn(&road);

	struct end second = road_accept(beside);

	assert_true(second.fd >= 0);
	expect_stuff(&second, ALL);
	road_say(&road, &second, ROAD_OK);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	end_close(&second);
	road_close(&road);
}

/* What nobody will be asked again is let go when it was sent; the rest when the answer comes. */
static void
question_is_let_go(void **state)
{
	static const char *const methods[] = { "POST", "PUT" };
	enum { ALL = 4 * MIB };
	char head[96];

	for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
		road_open(&road, GATHERS);

		int at = road_listener(&road, "a");
		struct end client = road_client(&road);
		struct end peer;

		snprintf(head, sizeof(head), "%s /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", methods[i], ALL);
		peer = end_of(-1);
		peer.at = malloc(5 * MIB);
		peer.room = 5 * MIB;

		size_t before = heap();

		road_say(&road, &client, head);
		put(&client, stuff, ALL);
		peer.fd = road_accept(at).fd;
		get(&peer, ALL + 100);
		road_turn(&road);
		if (before != 0 && i == 0)
			assert_true(heap() < before + MIB);
		else if (before != 0)
			assert_true(heap() > before + ALL - MIB);
		road_say(&road, &peer, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
		if (before != 0)
			assert_true(heap() < before + MIB);
		end_close(&client);
		end_close(&peer);
		road_close(&road);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answer_frees_the_peer), cmocka_unit_test(answer_is_bounded),
		cmocka_unit_test(answer_nobody_takes), cmocka_unit_test(answers_in_a_pipeline),
		cmocka_unit_test(answer_of_another_peer), cmocka_unit_test(answer_is_no_silence),
		cmocka_unit_test(answer_of_a_peer_that_went), cmocka_unit_test(question_comes_whole),
		cmocka_unit_test(question_streams_behind), cmocka_unit_test(question_that_fails),
		cmocka_unit_test(question_is_replayed), cmocka_unit_test(question_is_let_go),
	};

	return cmocka_run_group_tests(tests, fill_stuff, NULL);
}
