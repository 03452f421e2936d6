/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/http/h1_parse: tables of good and bad heads, each cut at every byte: the start of a
 * good head is incomplete, the start of a bad one incomplete or bad in the same way. Chunked bodies
 * whole, in two pieces cut at every byte, and byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "protocols/http/h1_parse.h"

static const struct h1_limits limits = { .uri = 200, .field = 300, .head = 2000, .count = 20 };

static struct arena arena;
static struct message message;

/* From a block of its own size, so that reading past the end is seen. */
static ssize_t
parse(bool question, const char *at, size_t n, enum reason *why)
{
	char *copy = memory_alloc(n);
	ssize_t size;

	memcpy(copy, at, n);
	arena_reset(&arena);
	message_init(&message);
	*why = REASON_NONE;
	size = question ? h1_parse_question(&message, &arena, slice_make(copy, n), &limits, why) :
	    h1_parse_answer(&message, &arena, slice_make(copy, n), &limits, why);
	free(copy);
	return size;
}

static void
check_good(bool question, struct slice head)
{
	enum reason why;

	for (size_t n = 0; n < head.n; n++) {
		ssize_t size = parse(question, head.at, n, &why);

		if (size != 0)
			fail_msg("%zd (%u) for %zu bytes of: %s", size, why, n, head.at);
	}
	ssize_t size = parse(question, head.at, head.n, &why);

	if (size != (ssize_t)head.n)
		fail_msg("%zd (%u) for: %s", size, why, head.at);

	/* what stands behind a head is not of it; and it is left where it can be looked at */
	char *more = memory_alloc(head.n + 3);

	memcpy(more, head.at, head.n);
	memcpy(more + head.n, "\r\n:", 3);
	assert_int_equal(parse(question, more, head.n + 3, &why), head.n);
	free(more);
	assert_int_equal(message.size, head.n);
	arena_reset(&arena);
	message_init(&message);
	size = question ? h1_parse_question(&message, &arena, head, &limits, &why) :
	    h1_parse_answer(&message, &arena, head, &limits, &why);
	assert_int_equal(size, head.n);
}

static void
check_bad(bool question, struct slice head, enum reason want)
{
	enum reason why, first = REASON_NONE;

	for (size_t n = 0; n <= head.n; n++) {
		ssize_t size = parse(question, head.at, n, &why);

		if (size > 0 || (size == 0 && first != REASON_NONE))
			fail_msg("%zd for %zu bytes of: %s", size, n, head.at);
		if (size == 0)
			continue;
		if (first == REASON_NONE)
			first = why;
		if (why != want)
			fail_msg("reason %d, not %d, for %zu bytes of: %s", why, want, n, head.at);
	}
	if (first == REASON_NONE)
		fail_msg("incomplete: %s", head.at);
}

struct row {
	struct slice head;
	enum reason why;
};

#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define OK "HTTP/1.1 200 OK\r\n"

static void
reads_good_questions(void **state)
{
	static const struct slice rows[] = {
		SLICE(GET H "\r\n"),
		SLICE("\r\n" GET H "\r\n"),
		SLICE("GET / HTTP/1.0\r\n\r\n"),
		SLICE("GET / HTTP/1.7\r\n" H "\r\n"),
		SLICE("get / HTTP/1.1\r\n" H "\r\n"),
		SLICE("M-SEARCH /a HTTP/1.1\r\n" H "\r\n"),
		SLICE("OPTIONS * HTTP/1.1\r\n" H "\r\n"),
		SLICE("GET http://a HTTP/1.1\r\n" H "\r\n"),
		SLICE("GET HTTPS://A:80/x?y HTTP/1.1\r\nhost:a:80\r\n\r\n"),
		SLICE("GET http://a/ HTTP/1.0\r\n\r\n"),
		SLICE("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"),
		SLICE("POST / HTTP/1.1\r\n" H "CONTENT-LENGTH:\t 123456789012345 \t\r\n\r\n"),
		SLICE("POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n"),
		SLICE(GET H "Empty:\r\nSpaces:   \r\nTab: a\tb\r\nHigh: \xff\xc3\xa4\r\n\r\n"),
		SLICE(GET H "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n"),
		SLICE(GET "Host: [::1]:8080\r\n\r\n"),
		SLICE(GET "Host: [2001:DB8::1]\r\n\r\n"),
		SLICE(GET "Host: 10.0.0.1:\r\n\r\n"),
		SLICE(GET "Host: Www.Example.Com.:65535\r\n\r\n"),
		SLICE(GET "Host: a_b~c!$&'()*+,;=d\r\n\r\n"),
		SLICE(GET H "Connection: close, , keep-alive,Foo\r\n\r\n"),
		SLICE(GET H "Expect: 100-Continue\r\n\r\n"),
		SLICE("GET / HTTP/1.0\r\nExpect: tea\r\n\r\n"),
		SLICE(GET "Value: a:b:c\r\nA:1\r\nB:2\r\nC:3\r\nD:4\r\nE:5\r\nF:6\r\nG:7\r\nH:8\r\nI:9\r\nJ:10\r\nK:11\r\nL:12\r\nM:13\r\nN:14\r\n"
		    "O:15\r\nP:16\r\nQ:17\r\nR:18\r\n" H "\r\n"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_good(true, rows[i]);
}

#define BAD REASON_BAD_MESSAGE
#define HOST REASON_BAD_HOST

static void
refuses_bad_questions(void **state)
{
	static const struct row rows[] = {
		/* line ends and spaces */
		{ SLICE("\n" GET H "\r\n"), BAD },
		{ SLICE("\r\n\r\n" GET H "\r\n"), BAD },
		{ SLICE("\rGET"), BAD },
		{ SLICE("GET / HTTP/1.1\n" H "\n"), BAD },
		{ SLICE("GET / HTTP/1.1\r" H), BAD },
		{ SLICE(GET "Host: a\n\r\n"), BAD },
		{ SLICE(GET "Host: a\rb\r\n\r\n"), BAD },
		{ SLICE(GET H "\n"), BAD },
		{ SLICE(GET H "\rx"), BAD },
		{ SLICE(GET " Host: a\r\n\r\n"), BAD },
		{ SLICE(GET H "A: b\r\n c\r\n\r\n"), BAD },
		{ SLICE(GET H "A: b\r\n\tc\r\n\r\n"), BAD },
		{ SLICE(GET "Host : a\r\n\r\n"), BAD },
		{ SLICE(GET H ": a\r\n\r\n"), BAD },
		{ SLICE(GET H "NoColon\r\n\r\n"), BAD },
		{ SLICE(GET H "NoColon\r\nA: b\r\n\r\n"), BAD },
		{ SLICE(GET H "A\0: b\r\n\r\n"), BAD },
		{ SLICE(GET H "A: b\0c\r\n\r\n"), BAD },
		{ SLICE(GET H "A: b\x01" "c\r\n\r\n"), BAD },
		{ SLICE(GET H "A: b\x7f" "c\r\n\r\n"), BAD },
		{ SLICE(GET H "A\xe4: b\r\n\r\n"), BAD },
		{ SLICE(GET H "A(b): c\r\n\r\n"), BAD },
		{ SLICE(GET H "Content\rLength: 5\r\n\r\n"), BAD },
		/* request lines */
		{ SLICE("GET  / HTTP/1.1\r\n"), BAD },
		{ SLICE("GET /  HTTP/1.1\r\n"), BAD },
		{ SLICE("GET / HTTP/1.1 \r\n"), BAD },
		{ SLICE(" GET / HTTP/1.1\r\n"), BAD },
		{ SLICE("GET\t/ HTTP/1.1\r\n"), BAD },
		{ SLICE("G@T / HTTP/1.1\r\n"), BAD },
		{ SLICE("GET\r\n"), BAD },
		{ SLICE("GET /\r\n"), BAD },
		{ SLICE("GET / \r\n"), BAD },
		{ SLICE("GET / HTTP/1\r\n"), BAD },
		{ SLICE("GET / http/1.1\r\n"), BAD },
		{ SLICE("GET / HTTP/1.10\r\n"), BAD },
		{ SLICE("GET / HTTP/11.1\r\n"), BAD },
		{ SLICE("GET / HTTP/1,1\r\n"), BAD },
		{ SLICE("GET /\x01 HTTP/1.1\r\n"), BAD },
		{ SLICE("GET /\x7f HTTP/1.1\r\n"), BAD },
		{ SLICE("GET /\xc3\xa4 HTTP/1.1\r\n"), BAD },
		{ SLICE("GET x HTTP/1.1\r\n"), BAD },
		{ SLICE("GET * HTTP/1.1\r\n"), BAD },
		{ SLICE("OPTIONS ** HTTP/1.1\r\n"), BAD },
		{ SLICE("GET ftp://a/ HTTP/1.1\r\n"), BAD },
		{ SLICE("GET / HTTP/2.0\r\n"), REASON_BAD_VERSION },
		{ SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), REASON_BAD_VERSION },
		{ SLICE("GET / HTTP/0.9\r\n"), REASON_BAD_VERSION },
		{ SLICE("CONNECT a:443 HTTP/1.1\r\n"), REASON_NOT_IMPLEMENTED },
		/* Host */
		{ SLICE(GET "\r\n"), HOST },
		{ SLICE(GET H H "\r\n"), HOST },
		{ SLICE("GET / HTTP/1.0\r\n" H "host: a\r\n\r\n"), HOST },
		{ SLICE(GET "Host:\r\n\r\n"), HOST },
		{ SLICE(GET "Host: .\r\n\r\n"), HOST },
		{ SLICE(GET "Host: .a\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a..\r\n\r\n"), HOST },
		{ SLICE(GET "Host: :80\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a b\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a,b@c\r\n\r\n"), HOST },
		{ SLICE(GET "Host: u@a\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a/b\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a?b\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a#b\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a%2eb\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a\xc3\xa4\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a:x\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a:0\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a:65536\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a:000080\r\n\r\n"), HOST },
		{ SLICE(GET "Host: a:80:80\r\n\r\n"), HOST },
		{ SLICE(GET "Host: ::1\r\n\r\n"), HOST },
		{ SLICE(GET "Host: [::1\r\n\r\n"), HOST },
		{ SLICE(GET "Host: [::1]x\r\n\r\n"), HOST },
		{ SLICE(GET "Host: []\r\n\r\n"), HOST },
		{ SLICE(GET "Host: [::1%0]\r\n\r\n"), HOST },
		{ SLICE(GET "Host: [10.0.0.1]\r\n\r\n"), HOST },
		{ SLICE(GET "Host: [fe80::1%25lo]\r\n\r\n"), HOST },
		{ SLICE("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"), HOST },
		{ SLICE("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n"), HOST },
		{ SLICE("GET http://a/ HTTP/1.1\r\n\r\n"), HOST },
		{ SLICE("GET http://u@a/ HTTP/1.1\r\n"), HOST },
		{ SLICE("GET http:/// HTTP/1.1\r\n"), HOST },
		{ SLICE("GET http://a#/ HTTP/1.1\r\n"), HOST },
		/* lengths and codings */
		{ SLICE(GET H "Content-Length:\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: +1\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: -1\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: 0x1\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: 1 1\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: 1,1\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: 1234567890123456\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: 1\r\ncontent-length: 1\r\n\r\n"), BAD },
		{ SLICE(GET H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: chunked, chunked\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: chunked, gzip\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding:\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: ,chunked\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: \"chunked\"\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: chunked;x\r\n\r\n"), BAD },
		{ SLICE(GET H "Transfer-Encoding: gzip, chunked\r\n\r\n"), REASON_NOT_IMPLEMENTED },
		{ SLICE(GET H "Transfer-Encoding: xchunked\r\n\r\n"), REASON_NOT_IMPLEMENTED },
		{ SLICE("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD },
		{ SLICE(GET H "Connection: a b\r\n\r\n"), BAD },
		{ SLICE(GET H "Expect: 200-ok\r\n\r\n"), REASON_BAD_EXPECTATION },
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_bad(true, rows[i].head, rows[i].why);
}

#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static void
holds_to_the_limits(void **state)
{
	/* "GET /" and " HTTP/1.1" are 14 of the 200 */
	check_good(true, SLICE("GET /" FIFTY FIFTY FIFTY TEN TEN TEN "012345 HTTP/1.1\r\n" H "\r\n"));
	check_bad(true, SLICE("GET /" FIFTY FIFTY FIFTY TEN TEN TEN "0123456 HTTP/1.1\r\n"), REASON_URI_TOO_LONG);
	check_bad(true, SLICE("GET /" FIFTY FIFTY FIFTY FIFTY), REASON_URI_TOO_LONG);
	check_bad(true, SLICE(FIFTY FIFTY FIFTY FIFTY "G"), REASON_URI_TOO_LONG);
	/* one too long, and then wrong: too long comes first */
	check_bad(true, SLICE("GET /" FIFTY FIFTY FIFTY FIFTY "\n"), REASON_URI_TOO_LONG);
	check_good(true, SLICE(GET H "A:" FIFTY FIFTY FIFTY FIFTY FIFTY TEN TEN TEN TEN "01234567\r\n\r\n"));
	check_bad(true, SLICE(GET H "A:" FIFTY FIFTY FIFTY FIFTY FIFTY TEN TEN TEN TEN "012345678\r\n\r\n"), REASON_HEAD_TOO_LARGE);
	check_bad(true, SLICE(GET H FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY "0"), REASON_HEAD_TOO_LARGE);
#define FIELD "A: " FIFTY FIFTY FIFTY FIFTY "\r\n"
	check_good(true, SLICE(GET H FIELD FIELD FIELD FIELD FIELD FIELD FIELD FIELD FIELD "\r\n"));
	check_bad(true, SLICE(GET H FIELD FIELD FIELD FIELD FIELD FIELD FIELD FIELD FIELD FIELD "\r\n"), REASON_HEAD_TOO_LARGE);
#define FIVE "A:\r\nA:\r\nA:\r\nA:\r\nA:\r\n"
	check_good(true, SLICE(GET H FIVE FIVE FIVE "A:\r\nA:\r\nA:\r\nA:\r\n\r\n"));
	check_bad(true, SLICE(GET H FIVE FIVE FIVE FIVE "\r\n"), REASON_HEAD_TOO_LARGE);
	check_bad(false, SLICE(OK FIVE FIVE FIVE FIVE "A:\r\n\r\n"), REASON_PEER_BAD_MESSAGE);

	/* a head of exactly the limit */
	char head[2001];
	enum reason why;
	size_t n = 0;

	memcpy(head, GET H, n = sizeof(GET H) - 1);
	while (n < 1998) {
		size_t line = MIN_OF((size_t)290, 1998 - n);

		memset(head + n, 'a', line);
		head[n + 1] = ':';
		memcpy(head + n + line - 2, "\r\n", 2);
		n += line;
	}
	memcpy(head + n, "\r\n", 3);
	check_good(true, slice_make(head, 2000));
	memmove(head + 1, head, 1999);          /* GGET */
	head[2000] = '\n';
	assert_int_equal(parse(true, head, 2001, &why), -1);
	assert_int_equal(why, REASON_HEAD_TOO_LARGE);
}

static void
says_what_a_question_is(void **state)
{
	struct message *m = &message;
	struct slice value;

	check_good(true, SLICE("\r\nPUT /a?b HTTP/1.1\r\nHOST:  Www.Example.COM.:8080 \t\r\nX-One: 1\r\nX-One:\t2 2\t\r\n"
	    "Content-Length: 7\r\n\r\n"));
	assert_int_equal(m->method, METHOD_PUT);
	assert_true(slice_is(message_piece(m, m->method_text), "PUT"));
	assert_true(slice_is(message_piece(m, m->target), "/a?b"));
	assert_true(slice_is(m->host, "www.example.com"));
	assert_int_equal(m->minor, 1);
	assert_true(m->keep_alive);
	assert_int_equal(m->body, BODY_LENGTH);
	assert_int_equal(m->length, 7);
	assert_int_equal(m->field_count, 4);
	assert_int_equal(m->fields[0].known, KNOWN_HOST);
	assert_int_equal(m->fields[1].known, KNOWN_NONE);
	assert_true(slice_is(message_field_value(m, &m->fields[0]), "Www.Example.COM.:8080"));
	assert_true(message_find(m, KNOWN_NONE, SLICE("x-one"), 1, &value));
	assert_true(slice_is(value, "2 2"));
	assert_memory_equal(m->base + m->fields[2].name_at, "X-One:\t2 2\t\r\n", m->fields[2].end - m->fields[2].name_at);
	assert_int_equal(m->fields[3].end + 2, m->size);
	assert_false(m->upgrade || m->expect);
	assert_true(m->spaced);
	check_good(true, SLICE("GET / HTTP/1.1\r\n" H "A: b\r\nC: \r\nD: e f\tg\r\n\r\n"));
	assert_false(m->spaced);
	check_good(true, SLICE("GET / HTTP/1.1\r\n" H "A:b\r\n\r\n"));
	assert_true(m->spaced);

	check_good(true, SLICE("GET http://EXAMPLE.org:81?q HTTP/1.0\r\n\r\n"));
	assert_true(slice_is(m->host, "example.org"));
	assert_true(message_find(m, KNOWN_HOST, SLICE_EMPTY, 0, &value) && slice_is(value, "EXAMPLE.org:81"));
	assert_int_equal(m->minor, 0);
	assert_int_equal(m->body, BODY_NONE);
	check_good(true, SLICE("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"));
	assert_int_equal(m->body, BODY_CHUNKED);
	assert_true(m->expect);
	check_good(true, SLICE(GET "Host: [2001:DB8::1]:80\r\n\r\n"));
	assert_true(slice_is(m->host, "[2001:db8::1]"));
	check_good(true, SLICE("PURGE / HTTP/1.1\r\n" H "\r\n"));
	assert_int_equal(m->method, METHOD_OTHER);
}

static void
keeps_alive(void **state)
{
	static const struct {
		struct slice head;
		bool alive;
	} rows[] = {
		{ SLICE(GET H "\r\n"), true },
		{ SLICE(GET H "Connection: Close\r\n\r\n"), false },
		{ SLICE(GET H "Connection: close, keep-alive\r\n\r\n"), false },
		{ SLICE(GET H "Connection: keep-alive\r\nConnection: x,close\r\n\r\n"), false },
		{ SLICE(GET H "Connection: closed\r\n\r\n"), true },
		{ SLICE("GET / HTTP/1.0\r\n\r\n"), false },
		{ SLICE("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n"), true },
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		check_good(true, rows[i].head);
		assert_int_equal(message.keep_alive, rows[i].alive);
	}
}

static void
bounds_connection_options(void **state)
{
	char head[1000];
	struct builder b = builder_on(head, sizeof(head));

	BUILDER_LITERAL(&b, GET H "Connection: ");
	for (unsigned i = 0; i < 64; i++)
		BUILDER_LITERAL(&b, "a,");

	struct builder more = b;

	BUILDER_LITERAL(&b, "\r\n\r\n");
	check_good(true, builder_slice(&b));

	struct builder other = more;

	BUILDER_LITERAL(&more, "a\r\n\r\n");
	check_bad(true, builder_slice(&more), REASON_BAD_MESSAGE);
	BUILDER_LITERAL(&other, "\r\nProxy-Connection: a\r\n\r\n");
	check_bad(true, builder_slice(&other), REASON_BAD_MESSAGE);
}

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"
#define UP "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"

static void
hears_websockets_only(void **state)
{
	static const struct slice others[] = {
		SLICE("POST / HTTP/1.1\r\n" H UP KEY V13 "\r\n"),
		SLICE("GET / HTTP/1.0\r\n" H UP KEY V13 "\r\n"),
		SLICE(GET H "Upgrade: websocket\r\n" KEY V13 "\r\n"),
		SLICE(GET H "Connection: upgrade\r\n" KEY V13 "\r\n"),
		SLICE(GET H "Upgrade: h2c\r\nConnection: upgrade\r\n" KEY V13 "\r\n"),
		SLICE(GET H "Upgrade: websocket, h2c\r\nConnection: upgrade\r\n" KEY V13 "\r\n"),
		SLICE(GET H UP "Upgrade: websocket\r\n" KEY V13 "\r\n"),
		SLICE(GET H UP V13 "\r\n"),
		SLICE(GET H UP KEY KEY V13 "\r\n"),
		SLICE(GET H UP KEY "\r\n"),
		SLICE(GET H UP KEY "Sec-WebSocket-Version: 8\r\n\r\n"),
		SLICE(GET H UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ\r\n\r\n"),
		SLICE(GET H UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n\r\n"),
		SLICE(GET H UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n\r\n"),
		SLICE(GET H UP KEY V13 "Content-Length: 3\r\n\r\n"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
		check_good(true, others[i]);
		assert_false(message.upgrade);
	}
	check_good(true, SLICE(GET H UP KEY V13 "\r\n"));
	assert_true(message.upgrade);
}

static void
proves_websockets(void **state)
{
#define AGREES "HTTP/1.1 101 Switching Protocols\r\n" UP
	static const struct slice answers[] = {
		SLICE(AGREES "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
		SLICE(AGREES "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=\r\n\r\n"),
		SLICE(AGREES "\r\n"),
		SLICE("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
		SLICE("HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
		SLICE("HTTP/1.1 200 x\r\n" UP "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
	};
	struct arena memory;
	struct message question;
	enum reason why;

	arena_init(&memory, NULL, 0);
	message_init(&question);
	assert_true(h1_parse_question(&question, &memory, SLICE(GET H UP KEY V13 "\r\n"), &limits, &why) > 0);
	for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
		check_good(false, answers[i]);
		assert_int_equal(h1_upgrade_agrees(&question, &message), i == 0);
	}
	question.upgrade = false;
	check_good(false, answers[0]);
	assert_int_equal(message.body, BODY_NONE);
	assert_true(message.upgrade);
	assert_false(h1_upgrade_agrees(&question, &message));
	arena_reset(&memory);
}

static void
reads_good_answers(void **state)
{
	static const struct {
		struct slice head;
		uint16_t status;
		enum body_kind body;
		bool alive;
	} rows[] = {
		{ SLICE(OK "\r\n"), 200, BODY_TO_CLOSE, false },
		{ SLICE(OK "Content-Length: 5\r\n\r\n"), 200, BODY_LENGTH, true },
		{ SLICE("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n"), 200, BODY_LENGTH, true },
		{ SLICE("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n"), 200, BODY_LENGTH, true },
		{ SLICE("HTTP/1.0 404 N\tot \xc3\xa4\r\nContent-Length: 0\r\n\r\n"), 404, BODY_LENGTH, false },
		{ SLICE("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"), 200, BODY_LENGTH, true },
		{ SLICE(OK "Transfer-Encoding: chunked\r\n\r\n"), 200, BODY_CHUNKED, true },
		{ SLICE(OK "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"), 200, BODY_CHUNKED, false },
		{ SLICE("HTTP/1.1 100 Continue\r\n\r\n"), 100, BODY_NONE, true },
		{ SLICE("HTTP/1.1 204 x\r\nContent-Length: 7\r\n\r\n"), 204, BODY_NONE, true },
		{ SLICE("HTTP/1.1 304 x\r\nContent-Length: 7\r\n\r\n"), 304, BODY_NONE, true },
		{ SLICE("HTTP/1.1 599 x\r\nHost: a\r\nHost: @\r\nExpect: x\r\nContent-Length: 7\r\n\r\n"), 599, BODY_LENGTH, true },
	};
	struct slice value;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		check_good(false, rows[i].head);
		assert_int_equal(message.status, rows[i].status);
		assert_int_equal(message.body, rows[i].body);
		assert_int_equal(message.keep_alive, rows[i].alive);
		assert_int_equal(message_find(&message, KNOWN_CONTENT_LENGTH, SLICE_EMPTY, 0, &value),
		    rows[i].body == BODY_LENGTH || rows[i].status == 304);
	}
	check_good(false, rows[4].head);
	assert_true(slice_is(message_piece(&message, message.reason_phrase), "N\tot \xc3\xa4"));
}

static void
refuses_bad_answers(void **state)
{
	static const struct slice rows[] = {
		SLICE("\r\n" OK "\r\n"),
		SLICE("HTTP/1.1 99 x\r\n\r\n"),
		SLICE("HTTP/1.1 099 x\r\n\r\n"),
		SLICE("HTTP/1.1 600 x\r\n\r\n"),
		SLICE("HTTP/1.1 2000 x\r\n\r\n"),
		SLICE("HTTP/1.1 2x0 x\r\n\r\n"),
		SLICE("HTTP/1.1  200 x\r\n\r\n"),
		SLICE("HTTP/1.1 200x\r\n\r\n"),
		SLICE("HTTP/1.1\r\n\r\n"),
		SLICE("HTTP/1.2 200 x\r\n\r\n"),
		SLICE("HTTP/2.0 200 x\r\n\r\n"),
		SLICE("ICY 200 OK\r\n\r\n"),
		SLICE("HTTP/1.1 200 x\n\n"),
		SLICE("HTTP/1.1 200 x\ry\r\n\r\n"),
		SLICE("HTTP/1.1 200 \0\r\n\r\n"),
		SLICE(OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
		SLICE(OK "Content-Length: 5, 5\r\n\r\n"),
		SLICE(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
		SLICE(OK "Transfer-Encoding: gzip, chunked\r\n\r\n"),
		SLICE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		SLICE(OK "A: b\r\n c\r\n\r\n"),
		SLICE(OK "A : b\r\n\r\n"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_bad(false, rows[i], REASON_PEER_BAD_MESSAGE);
}

static void
tries_again_when_it_may_help(void **state)
{
	char text[2100];

	memset(text, 'a', sizeof(text));
	assert_true(h1_head_again(SLICE("GET"), 0, &limits));
	assert_false(h1_head_again(SLICE("GET"), 3, &limits));
	assert_false(h1_head_again(SLICE("GET /"), 4, &limits));
	assert_true(h1_head_again(SLICE("GET / HTTP/1.1\r\n"), 15, &limits));
	assert_false(h1_head_again(slice_make(text, 202), 201, &limits));
	assert_true(h1_head_again(slice_make(text, 203), 202, &limits));
	assert_false(h1_head_again(slice_make(text, 204), 203, &limits));
	assert_true(h1_head_again(slice_make(text, 406), 203, &limits));
	assert_true(h1_head_again(slice_make(text, 2000), 1999, &limits));
}

static void
reads_authorities(void **state)
{
	struct h1_authority a;

	assert_true(h1_authority_read(SLICE("Example.org:443"), &a));
	assert_true(slice_is(a.host, "Example.org"));
	assert_int_equal(a.port, 443);
	assert_true(a.upper);
	assert_true(h1_authority_read(SLICE("a"), &a));
	assert_int_equal(a.port, 0);
	assert_false(a.upper);
	assert_false(h1_authority_read(SLICE_EMPTY, &a));
	assert_false(h1_authority_read(SLICE("a b"), &a));
}

/* ------------------------------------------------------------------ chunks */

struct body {
	char text[4096];
	size_t n, taken;
	bool done, bad;
};

/* Feeds `in`, at most `most` bytes a call, on from where the last call stopped. */
static void
feed(struct h1_chunks *c, struct body *b, struct slice in, size_t most)
{
	while (in.n > 0 && !b->done && !b->bad) {
		struct slice data, piece = slice_first(in, MIN_OF(in.n, most));
		size_t n = h1_chunks_read(c, piece, &data, &b->done, &b->bad);

		assert_true(n <= piece.n);
		assert_true(n > 0 || b->bad);
		assert_true(data.n <= n && data.at >= piece.at && data.at + data.n <= piece.at + piece.n);
		assert_true(b->n + data.n <= sizeof(b->text));
		memcpy(b->text + b->n, data.at, data.n);
		b->n += data.n;
		b->taken += n;
		in = slice_after(in, n);
	}
}

static void
check_chunks(struct slice in, const char *want, size_t left)
{
	for (size_t cut = 0; cut <= in.n; cut++) {
		for (size_t most = 1; most <= 16; most += 15) {
			struct h1_chunks c = { 0 };
			struct body b = { .n = 0 };

			feed(&c, &b, slice_first(in, cut), most == 1 ? 1 : SIZE_MAX);
			feed(&c, &b, slice_after(in, b.taken), most == 1 ? 1 : SIZE_MAX);
			if (want == NULL) {
				assert_true(b.bad);
				assert_false(b.done);
				continue;
			}
			assert_false(b.bad);
			assert_true(b.done);
			assert_int_equal(b.taken, in.n - left);
			assert_true(slice_is(slice_make(b.text, b.n), want));
		}
	}
}

static void
reads_chunks(void **state)
{
	check_chunks(SLICE("0\r\n\r\n"), "", 0);
	check_chunks(SLICE("5\r\nhello\r\n0\r\n\r\nGET"), "hello", 3);
	check_chunks(SLICE("5\r\nhello\r\n00000A\r\n, world!!!\r\n000000000000000\r\n\r\n"), "hello, world!!!", 0);
	check_chunks(SLICE("1;a=b;c=\"\\\"\"\r\nx\r\n0;last\r\n\r\n"), "x", 0);
	check_chunks(SLICE("1\r\nx\r\n0\r\nDigest: a\tb\r\nX:\r\n\r\n"), "x", 0);
	check_chunks(SLICE("2\r\n\r\n\r\n0\r\n\r\n"), "\r\n", 0);
}

static void
refuses_chunks(void **state)
{
	static const struct slice rows[] = {
		SLICE("\r\n"), SLICE("x\r\n"), SLICE(" 1\r\n"), SLICE("1 \r\n"), SLICE("+1\r\n"), SLICE("-1\r\n"), SLICE("0x1\r\n"),
		SLICE("1\n"), SLICE("1\rx"), SLICE("1\r\nxy"), SLICE("1\r\nx\n"), SLICE("1\r\nx\rx"), SLICE(";a\r\n"), SLICE("1 ;a\r\n"),
		SLICE("0000000000000001\r\n"), SLICE("1000000000000000\r\n"), SLICE("1;a\nb"), SLICE("1;a\0"), SLICE("1;a\x01"), SLICE("1;a\tb"),
		SLICE("1;a\x7f"), SLICE("1;a\rb"), SLICE("0\r\n\n"), SLICE("0\r\n\rx"), SLICE("0\r\nab\r\n"), SLICE("0\r\n:a\r\n"), SLICE("0\r\na : b\r\n"),
		SLICE("0\r\n a: b\r\n"), SLICE("0\r\na: b\n"), SLICE("0\r\na: b\0\r\n"), SLICE("0\r\na: b\rc"), SLICE("0\r\na: b\r\n c\r\n"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_chunks(rows[i], NULL, 0);
}

static bool
chunks_are_good(const struct builder *b)
{
	struct h1_chunks c = { 0 };
	struct body body = { .n = 0 };

	assert_false(b->full);
	feed(&c, &body, builder_slice(b), SIZE_MAX);
	assert_true(body.done || body.bad);
	return body.done;
}

static void
put_many(struct builder *b, const char *text, size_t n)
{
	while (n-- > 0)
		builder_text(b, text);
}

static void
bounds_chunks(void **state)
{
	static char text[32 * 1024];

	for (size_t more = 0; more < 2; more++) {
		struct builder b = builder_on(text, sizeof(text));

		builder_text(&b, "0;");
		put_many(&b, "e", H1_CHUNK_EXTENSION - 1 + more);
		builder_text(&b, "\r\n\r\n");
		assert_int_equal(chunks_are_good(&b), more == 0);

		/* extensions of 16 bytes each, 4096 together */
		b = builder_on(text, sizeof(text));
		put_many(&b, "1;abcdefghijklmno\r\nx\r\n", H1_CHUNK_EXTENSIONS / 16);
		builder_text(&b, more ? "0;\r\n\r\n" : "0\r\n\r\n");
		assert_int_equal(chunks_are_good(&b), more == 0);

		b = builder_on(text, sizeof(text));
		builder_text(&b, "0\r\n");
		put_many(&b, "a:\r\n", H1_TRAILERS + more);
		builder_text(&b, "\r\n");
		assert_int_equal(chunks_are_good(&b), more == 0);

		/* with its CRLF */
		b = builder_on(text, sizeof(text));
		builder_text(&b, "0\r\na:");
		put_many(&b, "v", H1_TRAILER - 4 + more);
		builder_text(&b, "\r\n\r\n");
		assert_int_equal(chunks_are_good(&b), more == 0);
	}
}

static int
set_up(void **state)
{
	arena_init(&arena, NULL, 0);
	return 0;
}

static int
tear_down(void **state)
{
	arena_reset(&arena);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_good_questions),
		cmocka_unit_test(refuses_bad_questions),
		cmocka_unit_test(holds_to_the_limits),
		cmocka_unit_test(says_what_a_question_is),
		cmocka_unit_test(keeps_alive),
		cmocka_unit_test(bounds_connection_options),
		cmocka_unit_test(hears_websockets_only),
		cmocka_unit_test(proves_websockets),
		cmocka_unit_test(reads_good_answers),
		cmocka_unit_test(refuses_bad_answers),
		cmocka_unit_test(tries_again_when_it_may_help),
		cmocka_unit_test(reads_authorities),
		cmocka_unit_test(reads_chunks),
		cmocka_unit_test(refuses_chunks),
		cmocka_unit_test(bounds_chunks),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
