/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/http/h1: whole rounds through the road, question and answer each cut at every byte.
 * What reaches the peer and what reaches the client must not depend on where.
 */
#include "road_case.h"

static const char config[] =
    "upstream app { server unix:@/a; }\n"
    "server { listen 80; proxy app; }\n";

struct round {
	const char *name;
	const char *question, *to_peer;
	const char *answer, *to_client;
	bool head;                      /* no body in the answer, whatever its head says */
	bool peer_ends;                 /* the peer closes behind its answer */
	bool client_ends;               /* we close the client's connection behind it */
	bool pooled;                    /* the peer's connection is kept */
};

#define ADDED(host) "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: " host "\r\nVia: 1.1 millrace\r\n"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define GOT "GET / HTTP/1.1\r\nHost: a\r\n" ADDED("a") "\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
#define PROOF "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

/* Chunked bodies stand here without their chunks and with <end> behind them. */
static const struct round rounds[] = {
	{ "a length", GET, GOT, ROAD_OK, ROAD_FINE, .pooled = true },
	{ "fields pass, hop-by-hop ones and claims do not",
	    "GET /p/%41?q=%41 HTTP/1.1\r\nhost: A.b:80\r\nX-One: 1\r\nConnection: x-two, keep-alive\r\nX-Two: 2\r\nKeep-Alive: 5\r\n"
	    "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nTE: trailers\r\nAccept:\t*/*  \r\nX-One: 3\r\n\r\n",
	    "GET /p/A?q=%41 HTTP/1.1\r\nhost: A.b:80\r\nX-One: 1\r\nAccept: */*\r\nX-One: 3\r\n" ADDED("A.b:80") "\r\n",
	    "HTTP/1.1 200 Whatever\r\nDate: then\r\nSet-Cookie: a\r\nConnection: X-Gone\r\nX-Gone: 1\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nDate: then\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\nVia: 1.1 millrace\r\n\r\n",
	    .pooled = true },
	{ "a body with a length",
	    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
	    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n" ADDED("a") "\r\n0123456789",
	    ROAD_OK, ROAD_FINE, .pooled = true },
	{ "a length of nothing",
	    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" ADDED("a") "\r\n",
	    ROAD_OK, ROAD_FINE, .pooled = true },
	{ "chunks both ways, extensions and trailers dropped",
	    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: a\r\n" ADDED("a") "Transfer-Encoding: chunked\r\n\r\nabc0123456789<end>",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n1\r\nx\r\n0002;e\r\nyz\r\n00\r\nT: 1\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nTransfer-Encoding: chunked\r\n\r\nxyz<end>",
	    .pooled = true },
	{ "no chunk but the last",
	    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost: a\r\n" ADDED("a") "Transfer-Encoding: chunked\r\n\r\n<end>",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nTransfer-Encoding: chunked\r\n\r\n<end>",
	    .pooled = true },
	{ "to the end of the connection", GET, GOT,
	    "HTTP/1.1 200 OK\r\n\r\nall of this",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nTransfer-Encoding: chunked\r\n\r\nall of this<end>",
	    .peer_ends = true },
	{ "to the end, for 1.0",
	    "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.0 millrace\r\n\r\n",
	    "HTTP/1.0 200 OK\r\n\r\nall of this",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nConnection: close\r\n\r\nall of this",
	    .peer_ends = true, .client_ends = true },
	{ "chunks for 1.0",
	    "GET / HTTP/1.0\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nVia: 1.0 millrace\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nConnection: close\r\n\r\nabcde",
	    .client_ends = true, .pooled = true },
	{ "1.0 may be kept",
	    "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.0 millrace\r\n\r\n",
	    ROAD_OK,
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 2\r\nVia: 1.1 millrace\r\nConnection: keep-alive\r\n\r\nok",
	    .pooled = true },
	{ "HEAD",
	    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n" ADDED("a") "\r\n",
	    "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 1000\r\nVia: 1.1 millrace\r\n\r\n",
	    .head = true, .pooled = true },
	{ "HEAD of chunks",
	    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n" ADDED("a") "\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\n\r\n",
	    .head = true, .pooled = true },
	{ "204", GET, GOT,
	    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 204 No Content\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\n\r\n",
	    .head = true, .pooled = true },
	{ "304", GET, GOT,
	    "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"e\"\r\n\r\n",
	    "HTTP/1.1 304 Not Modified\r\nDate: " ROAD_DATE "\r\nContent-Length: 77\r\nETag: \"e\"\r\nVia: 1.1 millrace\r\n\r\n",
	    .head = true, .pooled = true },
	{ "1xx in front", GET, GOT,
	    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nConnection: close\r\n\r\n" ROAD_OK,
	    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" ROAD_FINE, .pooled = true },
	{ "1xx is not for 1.0",
	    "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.0 millrace\r\n\r\n",
	    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" ROAD_OK,
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 2\r\nVia: 1.1 millrace\r\nConnection: keep-alive\r\n\r\nok", .pooled = true },
	{ "a status without a name", GET, GOT,
	    "HTTP/1.1 299 Own Words\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 299 Own Words\r\nDate: " ROAD_DATE "\r\nContent-Length: 0\r\nVia: 1.1 millrace\r\n\r\n", .pooled = true },
	{ "the peer closes", GET, GOT,
	    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", ROAD_FINE, .pooled = false },
	{ "the client closes",
	    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", GOT, ROAD_OK,
	    "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 2\r\nVia: 1.1 millrace\r\nConnection: close\r\n\r\nok",
	    .client_ends = true, .pooled = true },
	{ "absolute form",
	    "GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: a\r\n" ADDED("a") "\r\n", ROAD_OK, ROAD_FINE, .pooled = true },
	{ "OPTIONS *",
	    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n" ADDED("a") "\r\n", ROAD_OK, ROAD_FINE, .pooled = true },
	{ "an upgrade to something else is not heard",
	    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", GOT, ROAD_OK, ROAD_FINE, .pooled = true },
	{ "a handshake that is refused",
	    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n" KEY "\r\n",
	    "GET / HTTP/1.1\r\nHost: a\r\n" KEY ADDED("a") "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n",
	    ROAD_OK, ROAD_FINE, .pooled = true },
};

/* ------------------------------------------------------------------ reading what came */

static size_t
number_behind(struct slice head, const char *name, unsigned base, bool *found)
{
	size_t at = slice_find_slice(head, slice_of(name));

	*found = at < head.n;
	return *found ? strtoul(head.at + at + strlen(name), NULL, (int)base) : 0;
}

/* The chunks at *in into `b`; false: they are wrong. */
static bool
put_chunks(struct builder *b, struct slice *in)
{
	for (;;) {
		char *end;
		size_t n = strtoul(in->at, &end, 16), used = (size_t)(end - in->at);

		if (used == 0 || in->n < used + 4 + n || memcmp(end, "\r\n", 2) != 0 || memcmp(end + 2 + n, "\r\n", 2) != 0)
			return false;
		builder_put(b, end + 2, n);
		*in = slice_after(*in, used + 4 + n);
		if (n == 0)
			break;
	}
	builder_text(b, "<end>");
	return true;
}

/* A row of messages, chunked bodies made plain. */
static const char *
plain(struct end *e, bool head)
{
	static char text[65536];
	struct builder b = builder_on(text, sizeof(text) - 1);

	end_read(e);
	for (struct slice in = slice_make(e->at, e->n); in.n != 0;) {
		size_t n = slice_find_slice(in, SLICE("\r\n\r\n"));
		struct slice one = slice_first(in, MIN_OF(n + 4, in.n));
		bool chunked, counted;

		number_behind(one, "Transfer-Encoding: chunked", 10, &chunked);

		size_t length = number_behind(one, "Content-Length: ", 10, &counted);

		builder_slice_put(&b, one);
		in = slice_after(in, one.n);
		if (chunked && !put_chunks(&b, &in)) {
			builder_text(&b, "<broken>");
			builder_slice_put(&b, in);
			break;
		} else if (counted && !head) {
			builder_slice_put(&b, slice_first(in, MIN_OF(length, in.n)));
			in = slice_after(in, MIN_OF(length, in.n));
		}
	}
	text[b.n] = '\0';
	end_forget(e);
	return text;
}

static void
expect_plain(const struct round *r, const char *what, struct end *e, bool head, const char *wanted, size_t cut)
{
	const char *got = plain(e, head);

	if (strcmp(got, wanted) == 0)
		return;
	fail_msg("%s, cut at %zu: %s got:\n%s\nwanted:\n%s", r->name, cut, what, got, wanted);
}

/* ------------------------------------------------------------------ a round */

static struct road road;
static int listener;
static struct end peer;

static void
say_cut(struct end *e, const char *text, size_t cut)
{
	end_put(e, text, cut);
	road_turn(&road);
	end_put(e, text + cut, strlen(text) - cut);
	road_turn(&road);
}

/* A new connection to the peer takes the place of the one before. */
static void
meet_peer(void)
{
	struct end new = road_accept(listener);

	if (new.fd < 0)
		return;
	end_close(&peer);
	peer = new;
}

static void
play(const struct round *r, size_t cut_question, size_t cut_answer)
{
	struct end client = road_client(&road);

	say_cut(&client, r->question, cut_question);
	meet_peer();
	expect_plain(r, "the peer", &peer, false, r->to_peer, cut_question);
	end_expect(&client, "");
	say_cut(&peer, r->answer, cut_answer);
	if (r->peer_ends) {
		shutdown(peer.fd, SHUT_WR);
		road_turn(&road);
	}
	expect_plain(r, "the client", &client, r->head, r->to_client, cut_answer);
	if (client.ended != r->client_ends)
		fail_msg("%s: the client's connection %s", r->name, client.ended ? "ended" : "was kept");
	end_close(&client);
	road_turn(&road);
	assert_int_equal(road_count(&road, SIDE_CLIENT), 0);
	assert_int_equal(road.engine.exchange_count, 0);
	if (road_count(&road, SIDE_PEER) != r->pooled)
		fail_msg("%s, cut at %zu %zu: the peer's connection %s", r->name, cut_question, cut_answer,
		    r->pooled ? "was not kept" : "was kept");
}

static void
cuts(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(rounds); i++) {
		size_t question = strlen(rounds[i].question), answer = strlen(rounds[i].answer);

		play(&rounds[i], question, answer);
		for (size_t cut = 1; cut < question; cut++)
			play(&rounds[i], cut, answer);
		for (size_t cut = 1; cut < answer; cut++)
			play(&rounds[i], question, cut);
	}
}

static void
byte_by_byte(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(rounds); i++) {
		const struct round *r = &rounds[i];
		struct end client = road_client(&road);

		for (const char *at = r->question; *at != '\0'; at++) {
			end_put(&client, at, 1);
			road_turn(&road);
		}
		meet_peer();
		expect_plain(r, "the peer", &peer, false, r->to_peer, 0);
		for (const char *at = r->answer; *at != '\0'; at++) {
			end_put(&peer, at, 1);
			road_turn(&road);
		}
		if (r->peer_ends)
			end_close(&peer);
		road_turn(&road);
		expect_plain(r, "the client", &client, r->head, r->to_client, 0);
		end_close(&client);
		road_turn(&road);
	}
}

/* ------------------------------------------------------------------ several on one connection */

static const char three[] =
    "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
    "\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n";
static const char *const three_to_peer[] = {
	"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n" ADDED("a") "\r\nbody",
	"GET /2 HTTP/1.1\r\nHost: a\r\n" ADDED("a") "\r\n",
	"POST /3 HTTP/1.1\r\nHost: a\r\n" ADDED("a") "Transfer-Encoding: chunked\r\n\r\nGET <end>",
};

static void
pipelined_cut(size_t cut)
{
	static const struct round name = { .name = "pipelined" };
	struct end client = road_client(&road);

	end_put(&client, three, cut);
	road_turn(&road);
	for (size_t i = 0; i < ARRAY_COUNT(three_to_peer); i++) {
		if (i == 0) {
			end_put(&client, three + cut, sizeof(three) - 1 - cut);
			road_turn(&road);
		}
		meet_peer();
		expect_plain(&name, "the peer", &peer, false, three_to_peer[i], cut);
		end_say(&peer, ROAD_OK);
		road_turn(&road);
		end_expect(&client, ROAD_FINE);
	}
	end_close(&client);
	road_turn(&road);
}

static void
pipelined(void **state)
{
	for (size_t cut = 0; cut < sizeof(three); cut++)
		pipelined_cut(cut);
}

/* All that came in one piece leaves in one piece; a packet is one write. */
static void
pipelined_leave_in_one_write(void **state)
{
	struct road r;
	char packet[8192];

	road_open(&r, "server { listen 80; return 200 \"x\"; }");

	struct end client = road_client_of(&r, 1, "192.0.2.7:1", SOCK_SEQPACKET, 0);

	for (int i = 0; i < 10; i++)
		memcpy(packet + i * (sizeof(GET) - 1), GET, sizeof(GET) - 1);
	end_put(&client, packet, 10 * (sizeof(GET) - 1));
	road_turn(&r);

	ssize_t n = recv(client.fd, packet, sizeof(packet), 0);
	static const char one[] = "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx";

	assert_int_equal(n, 10 * (sizeof(one) - 1));
	for (int i = 0; i < 10; i++)
		assert_memory_equal(packet + i * (sizeof(one) - 1), one, sizeof(one) - 1);
	end_close(&client);
	road_close(&r);
}

/* ------------------------------------------------------------------ an upgrade */

static const char handshake[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" KEY "\r\nearly";
static const char agrees[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" PROOF "\r\nfirst";

static void
upgrade_cut(size_t cut_question, size_t cut_answer)
{
	struct end client = road_client(&road);

	say_cut(&client, handshake, cut_question);
	meet_peer();
	end_expect(&peer, "GET / HTTP/1.1\r\nHost: a\r\n" KEY ADDED("a") "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n");
	say_cut(&peer, agrees, cut_answer);
	end_expect(&client, "HTTP/1.1 101 Switching Protocols\r\nDate: " ROAD_DATE "\r\n" PROOF
	    "Via: 1.1 millrace\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nfirst");
	end_expect(&peer, "early");
	end_say(&client, "up");
	end_say(&peer, "down");
	road_turn(&road);
	end_expect(&client, "down");
	end_expect(&peer, "up");
	shutdown(client.fd, SHUT_WR);
	road_turn(&road);
	end_expect(&peer, "");
	assert_true(peer.ended);
	end_say(&peer, "last");
	end_close(&peer);
	road_turn(&road);
	end_expect(&client, "last");
	assert_true(client.ended);
	end_close(&client);
	assert_int_equal(road.engine.conn_count, 0);
	assert_int_equal(road.engine.exchange_count, 0);
}

static void
upgrade(void **state)
{
	road_turn(&road);
	for (struct conn *c; (c = road_peer_conn(&road)) != NULL;)
		conn_close(c);
	road_turn(&road);
	for (size_t cut = 1; cut < sizeof(handshake); cut++)
		upgrade_cut(cut, sizeof(agrees) - 1);
	for (size_t cut = 1; cut < sizeof(agrees); cut++)
		upgrade_cut(sizeof(handshake) - 1, cut);
}

/* ------------------------------------------------------------------ a flooder has its turn, and no more */

static void
floods(void **state)
{
	struct road flood;
	static char many[600 * sizeof(GET)];
	size_t n = 0, first;

	for (int i = 0; i < 600; i++, n += sizeof(GET) - 1)
		memcpy(many + n, GET, sizeof(GET) - 1);
	road_open(&flood, "server { listen 80; return 204; }");

	struct end client = road_client(&flood);

	assert_int_equal(send(client.fd, many, n, 0), n);
	road_pass(&flood);
	end_read(&client);
	first = flood.engine.shared->exchanges;
	assert_in_range(first, 1, 2 * CONN_PIECES_READ);
	shutdown(client.fd, SHUT_WR);
	road_turn(&flood);
	assert_int_equal(flood.engine.shared->exchanges, 600);
	end_close(&client);
	road_close(&flood);
}

/* ------------------------------------------------------------------ hostile answers, cut */

#define NINE(text) text text text text text text text text text

static const char *const hostile[] = {
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
	"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
	"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 700 Odd\r\n\r\n", "ICY 200 OK\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" PROOF "\r\n",
	NINE("HTTP/1.1 102 Processing\r\n\r\n"),
};

static void
hostile_cut(const char *answer, size_t cut)
{
	struct end client = road_client(&road);

	end_say(&client, GET);
	road_turn(&road);
	meet_peer();
	end_forget(&peer);
	end_put(&peer, answer, cut);
	road_turn(&road);
	send(peer.fd, answer + cut, strlen(answer) - cut, MSG_NOSIGNAL);
	road_turn(&road);
	end_read(&client);

	struct slice got = end_got(&client);

	/* What is harmless passes before it is too much. */
	while (slice_starts(got, SLICE("HTTP/1.1 102 Processing\r\n\r\n")))
		got = slice_after(got, sizeof("HTTP/1.1 102 Processing\r\n\r\n") - 1);
	if (!slice_starts(got, SLICE("HTTP/1.1 502 Bad Gateway\r\n")) || end_has(&client, "\r\n\r\nok"))
		fail_msg("%s: the client got %.*s", answer, (int)client.n, client.at);
	end_read(&peer);
	assert_true(peer.ended || peer.error != 0);
	end_forget(&client);
	/* the client's connection lives on */
	end_say(&client, "GET /again HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	meet_peer();
	end_expect_start(&peer, "GET /again ");
	end_say(&peer, ROAD_OK);
	road_turn(&road);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	end_close(&peer);
	road_turn(&road);
	assert_int_equal(road.engine.conn_count, 0);
}

static void
hostile_answers(void **state)
{
	for (struct conn *c; (c = road_peer_conn(&road)) != NULL;)
		conn_close(c);
	road_turn(&road);
	for (size_t i = 0; i < ARRAY_COUNT(hostile); i++)
		for (size_t cut = 1; cut <= strlen(hostile[i]); cut++)
			hostile_cut(hostile[i], cut);
}

/* What a peer says behind a complete answer, or unasked, never reaches the next question (RFC 9112 9.2). */
static void
said_too_much(void **state)
{
	struct end client = road_client(&road);

	end_say(&client, GET);
	road_turn(&road);
	meet_peer();
	end_say(&peer, ROAD_OK "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
	road_turn(&road);
	end_expect(&client, ROAD_FINE);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	end_say(&client, GET);
	road_turn(&road);
	meet_peer();
	end_expect(&peer, GOT);
	end_say(&peer, ROAD_OK);
	road_turn(&road);
	end_expect(&client, ROAD_FINE);
	assert_int_equal(road_count(&road, SIDE_PEER), 1);
	end_say(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
	road_turn(&road);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	end_close(&client);
	end_close(&peer);
	road_turn(&road);
}

/* An answer before the question's body is complete: it passes, and the peer's connection is not kept. */
static void
answered_early(void **state)
{
	struct end client = road_client(&road);

	end_say(&client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
	road_turn(&road);
	meet_peer();
	end_expect_start(&peer, "POST / ");
	end_say(&peer, ROAD_OK);
	road_turn(&road);
	end_expect(&client, ROAD_FINE);
	assert_int_equal(road_count(&road, SIDE_PEER), 0);
	/* the rest of the body is no question */
	end_say(&client, "56789" GET);
	road_turn(&road);
	meet_peer();
	end_expect(&peer, GOT);
	end_say(&peer, ROAD_OK);
	road_turn(&road);
	end_expect(&client, ROAD_FINE);
	end_close(&client);
	end_close(&peer);
	road_turn(&road);
}

/* RFC 9110 10.1.1: told to go on once its question has a taker, not told when it is refused. */
static void
expect_continue(void **state)
{
	struct road r;

	road_open(&r, "server { listen 80; route /no { deny; return 200; } route { echo; } }");

	struct end client = road_client(&r);

	end_say(&client, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	road_turn(&r);
	end_expect(&client, "HTTP/1.1 100 Continue\r\n\r\n");
	end_say(&client, "abc");
	road_turn(&r);
	end_expect(&client, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 3\r\n\r\nabc");
	end_say(&client, "POST /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	road_turn(&r);
	end_read(&client);
	assert_true(slice_starts(end_got(&client), SLICE("HTTP/1.1 403 Forbidden\r\n")));
	assert_true(end_has(&client, "Connection: close\r\n"));
	/* it may send the body or not: nobody could tell it from a question */
	end_read(&client);
	assert_true(client.ended);
	end_close(&client);
	road_close(&r);
}

/* A large body that nobody wants is read and dropped only so far. */
static void
unwanted_body(void **state)
{
	struct road r;

	road_open(&r, "server { listen 80; max { body 0; } return 200 \"x\"; }");

	struct end small = road_client(&r), large = road_client(&r);

	end_say(&small, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
	road_turn(&r);
	end_expect_start(&small, "HTTP/1.1 200 OK\r\n");
	assert_int_equal(end_stuff(&small, 60000), 60000);
	end_say(&small, GET);
	road_turn(&r);
	end_expect_start(&small, "HTTP/1.1 200 OK\r\n");
	assert_false(small.ended);

	end_say(&large, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n");
	road_turn(&r);
	end_read(&large);
	assert_true(end_has(&large, "Connection: close\r\n") || large.ended);
	assert_true(large.ended);

	struct end chunks = road_client(&r);

	/* all of it in hand: it goes on */
	end_say(&chunks, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n");
	road_turn(&r);
	end_expect(&chunks, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx");
	/* nobody knows how much is to come */
	end_say(&chunks, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n");
	road_turn(&r);
	end_read(&chunks);
	assert_true(end_has(&chunks, "Connection: close\r\n"));
	assert_true(chunks.ended);
	end_close(&chunks);
	end_close(&small);
	end_close(&large);
	road_close(&r);
}

/* ------------------------------------------------------------------ time */

static void
late(void **state)
{
	struct road r;

	road_open(&r, "server { listen 80; timeout { header 10s; body 30s; keepalive 20s; } min { body 0; } echo; }");

	struct end silent = road_client(&r), head = road_client(&r), body = road_client(&r), kept = road_client(&r);

	end_say(&head, "GET / HTTP/1.1\r\n");
	end_say(&body, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
	end_say(&kept, GET);
	road_turn(&r);
	end_forget(&body);
	end_expect_start(&kept, "HTTP/1.1 200 OK\r\n");
	/* a byte now and then does not buy time for a head */
	for (int i = 0; i < 9; i++) {
		road_wait(&r, 1000);
		end_say(&head, "X: y\r\n");
		end_expect(&head, "");
	}
	road_wait(&r, 1300);
	end_expect_start(&head, "HTTP/1.1 408 Request Timeout\r\n");
	assert_true(head.ended);
	end_expect(&silent, "");
	assert_true(silent.ended);
	end_expect(&kept, "");
	assert_false(kept.ended);
	road_wait(&r, 10000);
	end_expect(&kept, "");
	assert_true(kept.ended);
	/* but one for a body does */
	end_read(&body);
	assert_false(body.ended);
	end_say(&body, "b");
	road_turn(&r);
	road_wait(&r, 29000);
	end_read(&body);
	assert_false(body.ended);
	road_wait(&r, 2000);
	end_read(&body);
	assert_true(body.ended);
	assert_int_equal(road_reason(&r, REASON_HEAD_TIMEOUT), 1);
	assert_int_equal(road_reason(&r, REASON_BODY_TIMEOUT), 1);
	end_close(&silent);
	end_close(&head);
	end_close(&body);
	end_close(&kept);
	road_turn(&r);
	assert_int_equal(r.engine.conn_count, 0);
	road_close(&r);
}

static void
keepalive_of_nothing(void **state)
{
	struct road r;

	road_open(&r, "server { listen 80; timeout { keepalive 0s; } return 204; }");

	struct end client = road_client(&r);

	end_say(&client, GET GET);
	road_turn(&r);
	end_expect(&client, "HTTP/1.1 204 No Content\r\nDate: " ROAD_DATE "\r\nConnection: close\r\n\r\n");
	assert_true(client.ended);
	end_close(&client);
	road_close(&r);
}

/* ------------------------------------------------------------------ drain */

static void
drained(void **state)
{
	struct road r;

	road_open(&r, config);

	int at = road_listener(&r, "a");
	struct end idle = road_client(&r), busy = road_client(&r), half = road_client(&r), new = road_client(&r);

	end_say(&idle, GET);
	road_turn(&r);

	struct end p = road_accept(at);

	end_say(&p, ROAD_OK);
	road_turn(&r);
	end_expect(&idle, ROAD_FINE);
	end_say(&busy, GET);
	end_say(&half, "GET / HT");
	road_turn(&r);
	end_forget(&p);
	engine_drain(&r.engine);
	road_turn(&r);
	assert_false(engine_is_idle(&r.engine));
	end_say(&p, ROAD_OK);
	end_say(&half, "TP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&r);
	end_expect_start(&busy, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nContent-Length: 2\r\nVia: 1.1 millrace\r\nConnection: close\r\n\r\nok");
	assert_true(busy.ended);

	struct end q = road_accept(at);

	end_say(&q, ROAD_OK);
	road_turn(&r);
	end_read(&half);
	assert_true(end_has(&half, "Connection: close\r\n"));
	assert_true(half.ended);
	end_close(&busy);
	end_close(&half);
	/* the idle ones have a moment in which what is under way still arrives */
	end_expect(&idle, "");
	assert_false(idle.ended);
	road_wait(&r, 1500);
	end_expect(&idle, "");
	assert_true(idle.ended);
	end_close(&idle);
	end_close(&new);
	road_wait(&r, 3000);
	assert_true(engine_is_idle(&r.engine));
	end_close(&p);
	end_close(&q);
	road_close(&r);
}

/* ------------------------------------------------------------------ */

static int
set_up(void **state)
{
	road_open(&road, config);
	listener = road_listener(&road, "a");
	peer = end_of(-1);
	return 0;
}

static int
tear_down(void **state)
{
	end_close(&peer);
	road_close(&road);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cuts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(byte_by_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pipelined, set_up, tear_down),
		cmocka_unit_test(pipelined_leave_in_one_write),
		cmocka_unit_test_setup_teardown(upgrade, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hostile_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(said_too_much, set_up, tear_down),
		cmocka_unit_test_setup_teardown(answered_early, set_up, tear_down),
		cmocka_unit_test(floods), cmocka_unit_test(expect_continue),
		cmocka_unit_test(unwanted_body),
		cmocka_unit_test(late),
		cmocka_unit_test(keepalive_of_nothing),
		cmocka_unit_test(drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
