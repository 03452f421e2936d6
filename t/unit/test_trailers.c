/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/http/trailers: which fields may go on, and whole rounds through the road, question and answer
 * cut at every byte.
 */
#include "road_case.h"

#include "protocols/http/h1_parse.h"
#include "protocols/http/trailers.h"

/* ------------------------------------------------------------------ a section */

/* What goes on of it, or NULL. */
static const char *
taken(const char *section, ssize_t *n)
{
	static char text[H1_TRAILER + 64];
	struct message m;
	struct arena a;

	arena_init(&a, NULL, 0);
	message_init(&m);
	*n = trailers_take(&m, &a, slice_of(section));

	struct builder b = builder_on(text, sizeof(text) - 1);

	assert_int_equal(m.trailers != NULL && *n <= 0, 0);
	trailers_put(&b, &m);
	assert_int_equal(b.n, trailers_room(&m));
	text[b.n] = '\0';
	arena_reset(&a);
	return text;
}

static void
which_may_go_on(void **state)
{
	static const char *const may[] = { "X-Check", "Grpc-Status", "grpc-message", "ETag", "Server-Timing", "Content-Digest",
		"Last-Modified", "Accepted", "Iffy", "Proxyed" };
	static const char *const may_not[] = {
		/* framing, routing, authentication, request modifiers, response controls, content */
		"Transfer-Encoding", "Content-Length", "Trailer", "TE", "Connection", "Keep-Alive", "Upgrade", "Host", "Via", "Max-Forwards",
		"Forwarded", "X-Forwarded-For", "X-Forwarded-Prefix", "X-Real-IP", "X-Request-Id", "Location", "Authorization",
		"WWW-Authenticate", "Proxy-Authorization", "Proxy-Authenticate", "Authentication-Info", "Proxy-Foo", "Cookie", "Set-Cookie",
		"Cache-Control", "Pragma", "Expires", "Age", "Date", "Vary", "Retry-After", "Expect", "Range", "If-Match", "If-None-Match",
		"Accept-Encoding", "Accept-Language", "Content-Type", "Content-Encoding", "Content-Range", "Content-Disposition",
		"Access-Control-Allow-Origin", "Content-Security-Policy", "Strict-Transport-Security", "Sec-WebSocket-Accept", "Server", "Origin",
		"X_Check", "content_length",
	};
	char section[256], wanted[256];
	ssize_t n;

	for (size_t i = 0; i < ARRAY_COUNT(may); i++) {
		snprintf(section, sizeof(section), "%s: v\r\n\r\n", may[i]);
		assert_string_equal(taken(section, &n), section);
		assert_int_equal(n, strlen(section));
	}
	for (size_t i = 0; i < ARRAY_COUNT(may_not); i++) {
		snprintf(section, sizeof(section), "%s: 1\r\nX: y\r\n\r\n", may_not[i]);
		snprintf(wanted, sizeof(wanted), "X: y\r\n\r\n");
		if (strcmp(taken(section, &n), wanted) != 0)
			fail_msg("%s went on", may_not[i]);
	}
}

static void
sections(void **state)
{
	static const char *const bad[] = { "a\r\n\r\n", "a b: c\r\n\r\n", ": c\r\n\r\n", "a: b\n\r\n", "a: \x01\r\n\r\n", " a: b\r\n\r\n",
		"a: b\r\n c\r\n\r\n", "a : b\r\n\r\n", "\rx", "a: b\r\n\n" };
	char large[H1_TRAILER + 32];
	ssize_t n;

	assert_string_equal(taken("\r\nGET", &n), "\r\n");
	assert_int_equal(n, 2);
	/* Content-Length would be refused in a head */
	assert_string_equal(taken("A:  b \r\nContent-Length: x\r\nTransfer-Encoding: y\r\nConnection: (\r\nA:c\r\n\r\n0", &n), "A: b\r\nA: c\r\n\r\n");
	assert_true(n > 0);
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		(void)taken(bad[i], &n);
		if (n != -1)
			fail_msg("\"%s\": %zd", bad[i], n);
	}
	/* sixteen fields, 4 KiB */
	large[0] = '\0';
	for (int i = 0; i < H1_TRAILERS; i++)
		strcat(large, "a: b\r\n");
	(void)taken(strcat(large, "\r\n"), &n);
	assert_int_equal(n, strlen(large));
	strcpy(large + strlen(large) - 2, "a: b\r\n\r\n");
	(void)taken(large, &n);
	assert_int_equal(n, -1);
	for (size_t fields = H1_TRAILER - 2; fields <= H1_TRAILER + 2; fields++) {
		memset(large, 'x', sizeof(large));
		memcpy(large, "a: ", 3);
		memcpy(large + fields - 2, "\r\n\r\n", 5);
		(void)taken(large, &n);
		assert_int_equal(n, fields <= H1_TRAILER ? (ssize_t)fields + 2 : -1);
	}
	/* incomplete at every cut */
	static const char whole[] = "A: b\r\nGrpc-Status: 0\r\n\r\n";

	for (size_t cut = 0; cut < sizeof(whole) - 1; cut++) {
		char part[sizeof(whole)] = "";

		memcpy(part, whole, cut);
		(void)taken(part, &n);
		assert_int_equal(n, 0);
	}
}

/* ------------------------------------------------------------------ rounds */

struct round {
	const char *config;             /* of the route */
	const char *fields, *body;      /* of the question, behind its Transfer-Encoding */
	const char *to_peer;            /* body, then trailers in [] ; fields that h1 adds in front */
	const char *answer;             /* fields and body of it */
	const char *to_client;
};

#define PASS "trailers pass;"
#define CHUNKS "3\r\nabc\r\n2;x\r\nde\r\n0\r\n"

static const struct round rounds[] = {
	{ PASS, "TE: trailers\r\nConnection: TE\r\n", CHUNKS "X-Sum: 1\r\nHost: evil\r\nY:2\r\n\r\n", "TE+ abcde[X-Sum: 1|Y: 2|]",
	    "\r\n" CHUNKS "Grpc-Status: 0\r\nContent-Length: 7\r\n\r\n", "abcde[Grpc-Status: 0|]" },
	{ PASS, "te: gzip;q=0.5 ,TRAILERS\r\n", "0\r\nX: 1\r\n\r\n", "TE+ [X: 1|]", "\r\n0\r\nY: 2\r\n\r\n", "[Y: 2|]" },
	{ PASS, "TE: trailers\r\n", "0\r\n\r\n", "TE+ []", "\r\n0\r\n\r\n", "[]" },
	/* an answer's only to who asks */
	{ PASS, "", "0\r\nX: 1\r\n\r\n", "[X: 1|]", "\r\n" CHUNKS "Y: 2\r\n\r\n", "abcde[]" },
	{ PASS, "TE: gzip, trailers2\r\n", "0\r\nX: 1\r\n\r\n", "[X: 1|]", "\r\n" CHUNKS "Y: 2\r\n\r\n", "abcde[]" },
	/* none where Connection names fields */
	{ PASS, "TE: trailers\r\nConnection: TE, x\r\n", "0\r\nX: 1\r\n\r\n", "TE+ []", "Connection: Y\r\n\r\n0\r\nY: 2\r\n\r\n", "[]" },
	{ "", "TE: trailers\r\n", CHUNKS "X: 1\r\n\r\n", "abcde[]", "\r\n" CHUNKS "Y: 2\r\n\r\n", "abcde[]" },
};

static struct road road;
static int listener;
static struct end peer;

/* The body behind the head, without its chunks: what was added to the head, the data, [the trailers]. */
static const char *
plain(struct end *e)
{
	static char text[4096];
	struct builder b = builder_on(text, sizeof(text) - 1);

	end_read(e);

	struct slice in = end_got(e);
	size_t head = slice_find_slice(in, SLICE("\r\n\r\n"));

	if (slice_find_slice(in, SLICE("\r\nTE: trailers\r\nConnection: TE\r\n")) < head)
		builder_text(&b, "TE+ ");
	in = slice_after(in, MIN_OF(head + 4, in.n));
	for (;;) {
		char *end;
		size_t n = in.n != 0 ? strtoul(in.at, &end, 16) : 0;

		if (in.n == 0 || end == in.at || in.n < n + 4) {
			builder_text(&b, "<cut>");
			break;
		}
		in = slice_after(in, (size_t)(end - in.at) + 2);
		if (n == 0)
			break;
		builder_put(&b, in.at, n);
		in = slice_after(in, n + 2);
	}
	builder_text(&b, "[");
	while (in.n != 0) {
		size_t line = slice_find_slice(in, SLICE("\r\n"));

		if (line == 0)
			break;
		builder_put(&b, in.at, line);
		builder_text(&b, "|");
		in = slice_after(in, MIN_OF(line + 2, in.n));
	}
	builder_text(&b, in.n == 2 ? "]" : "<more>");
	text[b.n] = '\0';
	end_forget(e);
	return text;
}

static void
say_cut(struct end *e, const char *text, size_t cut)
{
	size_t n = strlen(text);

	cut = MIN_OF(cut, n);
	end_put(e, text, cut);
	road_turn(&road);
	end_put(e, text + cut, n - cut);
	road_turn(&road);
}

static void
play(const struct round *r, size_t cut_question, size_t cut_answer)
{
	struct end client = road_client(&road);
	char question[512], answer[512];

	snprintf(question, sizeof(question), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%s\r\n%s", r->fields, r->body);
	snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%s", r->answer);
	say_cut(&client, question, cut_question);

	struct end new = road_accept(listener);

	if (new.fd >= 0) {
		end_close(&peer);
		peer = new;
	}

	const char *got = plain(&peer);

	if (strcmp(got, r->to_peer) != 0)
		fail_msg("cut at %zu of\n%s\nthe peer got %s, wanted %s", cut_question, question, got, r->to_peer);
	say_cut(&peer, answer, cut_answer);
	got = plain(&client);
	if (strcmp(got, r->to_client) != 0)
		fail_msg("cut at %zu of\n%s\nthe client got %s, wanted %s", cut_answer, answer, got, r->to_client);
	end_close(&client);
	road_turn(&road);
	assert_int_equal(road.engine.exchange_count, 0);
	/* clean: kept for the next */
	assert_int_equal(road_count(&road, SIDE_PEER), 1);
}

static void
cuts(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(rounds); i++) {
		char config[256];

		snprintf(config, sizeof(config), "server { listen 80; route { %s proxy unix:@/a; } }", rounds[i].config);
		road_open(&road, config);
		listener = road_listener(&road, "a");
		peer = end_of(-1);
		for (size_t cut = 1; cut < 160; cut++)
			play(&rounds[i], cut, cut);
		end_close(&peer);
		road_close(&road);
	}
}

/* 1.0 knows neither chunks nor trailers; a length has none behind it. */
static void
only_between_chunks(void **state)
{
	road_open(&road, "server { listen 80; trailers pass; proxy unix:@/a; }");
	listener = road_listener(&road, "a");

	struct end client = road_client(&road);

	end_say(&client, "GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n");
	road_turn(&road);
	peer = road_accept(listener);
	end_read(&peer);
	assert_false(end_has(&peer, "TE:"));
	end_say(&peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n");
	road_turn(&road);
	end_expect(&client, "HTTP/1.1 200 OK\r\nDate: " ROAD_DATE "\r\nVia: 1.1 millrace\r\nConnection: close\r\n\r\nok");
	end_close(&client);
	end_close(&peer);
	road_turn(&road);
	road_close(&road);
}

/* A bad section, or one that never ends, is a bad message: 400 here, a cut answer there. */
static void
bad_sections(void **state)
{
	static const char *const bad[] = { "X y: 1\r\n\r\n", "X: 1\n\r\n", "X: \x01\r\n\r\n", " X: 1\r\n\r\n" };

	road_open(&road, "server { listen 80; trailers pass; proxy unix:@/a; }");
	listener = road_listener(&road, "a");
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		struct end client = road_client(&road);

		end_say(&client, "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n");
		end_say(&client, bad[i]);
		road_turn(&road);
		end_expect_start(&client, "HTTP/1.1 400 ");
		end_close(&client);
		peer = road_accept(listener);
		end_close(&peer);
		road_turn(&road);
		client = road_client(&road);
		end_say(&client, "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
		road_turn(&road);
		peer = road_accept(listener);
		end_say(&peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n");
		end_say(&peer, bad[i]);
		road_turn(&road);
		end_read(&client);
		assert_true(client.ended || client.error != 0);
		assert_false(end_has(&client, "0\r\n\r\n"));
		end_close(&client);
		end_close(&peer);
		road_turn(&road);
	}
	assert_int_equal(road_reason(&road, REASON_BAD_MESSAGE), ARRAY_COUNT(bad));
	assert_int_equal(road_reason(&road, REASON_PEER_BAD_MESSAGE), ARRAY_COUNT(bad));
	road_close(&road);
}

/* A peer that fails without an answer: the next is asked with the same trailers. */
static void
told_again(void **state)
{
	road_open(&road,
	    "upstream app { server unix:@/a; server unix:@/b; retry 1; } server { listen 80; trailers pass; proxy app; }");

	int listeners[2] = { road_listener(&road, "a"), road_listener(&road, "b") };
	struct end client = road_client(&road);

	end_say(&client, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKS "X-Sum: 1\r\n\r\n");
	road_turn(&road);
	for (int i = 0; i < 2; i++) {
		peer = road_accept(listeners[0]);
		if (peer.fd < 0)
			peer = road_accept(listeners[1]);
		assert_true(peer.fd >= 0);
		assert_string_equal(plain(&peer), "abcde[X-Sum: 1|]");
		end_close(&peer);
		road_turn(&road);
	}
	end_close(&client);
	road_turn(&road);
	road_close(&road);
}

/* The next question on the connection is read from behind the trailers; a body that nobody wants has them, too. */
static void
goes_on(void **state)
{
	road_open(&road, "server { listen 80; trailers pass; route /x { return 200 \"x\"; } route { proxy unix:@/a; } }");
	listener = road_listener(&road, "a");

	struct end client = road_client(&road);

	for (int i = 0; i < 3; i++)
		end_say(&client, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKS "X-Sum: 1\r\n\r\n");
	end_say(&client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKS "X-Sum: 1\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
	road_turn(&road);
	peer = road_accept(listener);
	assert_string_equal(plain(&peer), "abcde[X-Sum: 1|]");
	end_say(&peer, "HTTP/1.1 204 None\r\n\r\n");
	road_turn(&road);
	end_read(&client);

	size_t answers = 0;

	for (struct slice in = end_got(&client); in.n >= 9; in = slice_after(in, 1))
		answers += slice_starts(in, SLICE("HTTP/1.1 "));
	assert_int_equal(answers, 5);
	end_close(&client);
	end_close(&peer);
	road_turn(&road);
	road_close(&road);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(which_may_go_on),
		cmocka_unit_test(sections),
		cmocka_unit_test(cuts),
		cmocka_unit_test(only_between_chunks),
		cmocka_unit_test(bad_sections),
		cmocka_unit_test(told_again),
		cmocka_unit_test(goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
