/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/http/fields: what one hop keeps for itself, what Connection may and may not remove,
 * cookies and query parameters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "protocols/http/fields.h"
#include "protocols/http/h1_parse.h"

static const struct h1_limits limits = { .uri = 1000, .field = 1000, .head = 10000, .count = 100 };

static struct arena arena;
static struct message message;

static void
parse(struct slice head)
{
	enum reason why;

	arena_reset(&arena);
	message_init(&message);
	assert_int_equal(h1_parse_question(&message, &arena, head, &limits, &why), head.n);
}

static bool
has(const char *name)
{
	struct slice value;

	return message_find(&message, known_find(slice_of(name)), slice_of(name), 0, &value);
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"

static void
strips_one_hop(void **state)
{
	static const char *const gone[] = {
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
		"Transfer-Encoding", "Upgrade",
	};

	parse(SLICE(GET "connection: close\r\nKeep-Alive: 1\r\nPROXY-Connection: x\r\nProxy-Authenticate: a\r\nProxy-Authorization: b\r\n"
	    "TE: trailers\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nClose: 1\r\nCookie: a\r\n\r\n"));
	fields_strip(&message);
	for (size_t i = 0; i < ARRAY_COUNT(gone); i++)
		assert_false(has(gone[i]));
	assert_true(has("Host") && has("Close") && has("Cookie"));
	assert_int_equal(message.body, BODY_CHUNKED);
	for (size_t i = 0; i < message.field_count; i++)
		assert_int_equal(message.fields[i].removed, i > 0 && i < 10);
}

static void
strips_what_connection_names(void **state)
{
	parse(SLICE(GET "X-One: 1\r\nConnection: x-one, Cookie\r\nX-Two: 2\r\nCookie: a\r\nconnection: x-two,,TE, authorization\r\n"
	    "x-one: 3\r\nTE: x\r\nX-Three: 4\r\nAuthorization: b\r\n\r\n"));
	fields_strip(&message);
	assert_false(has("X-One") || has("X-Two") || has("Cookie") || has("TE") || has("Authorization") || has("Connection"));
	assert_true(has("Host") && has("X-Three"));

	parse(SLICE(GET "Proxy-Connection: x-one, Host\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"));
	fields_strip(&message);
	assert_false(has("X-One") || has("Proxy-Connection"));
	assert_true(has("Host") && has("X-Two"));

	/* what the other side takes back we may still say ourselves */
	parse(SLICE(GET "Connection: Via, Date\r\nVia: 1.0 x\r\n\r\n"));
	fields_strip(&message);
	assert_false(has("Via"));
	assert_int_equal(message.refused, 0);
}

static void
keeps_what_connection_may_not_name(void **state)
{
	parse(SLICE(GET "Connection: host, Content-Length, forwarded, X-FORWARDED-FOR, x-forwarded-proto, x-forwarded-anything, x-forwarded\r\n"
	    "Content-Length: 1\r\nForwarded: a\r\nX-Forwarded-For: b\r\nX-Forwarded-Proto: c\r\nX-Forwarded-Anything: d\r\nX-Forwarded: e\r\n\r\n"));
	fields_strip(&message);
	assert_true(has("Host") && has("Content-Length") && has("Forwarded") && has("X-Forwarded-For"));
	assert_true(has("X-Forwarded-Proto") && has("X-Forwarded-Anything"));
	assert_false(has("X-Forwarded"));

	/* nor by another spelling: the length of a body that goes on must be said */
	parse(SLICE(GET "Connection: Content_Length, X_Forwarded_For, Content-Type, X_One\r\nContent-Length: 1\r\n"
	    "X-Forwarded-For: b\r\nContent-Type: c\r\nContent_Type: d\r\nX-One: e\r\nX_One: f\r\n\r\n"));
	fields_strip(&message);
	assert_true(has("Content-Length") && has("X-Forwarded-For") && has("Content_Type") && has("X-One"));
	assert_false(has("Content-Type") || has("X_One"));
}

static void
strips_nothing_else(void **state)
{
	parse(SLICE(GET "Accept: a\r\nX: b\r\n\r\n"));
	fields_strip(&message);
	for (size_t i = 0; i < message.field_count; i++)
		assert_false(message.fields[i].removed);
}

static bool
cookie_is(const char *name, size_t nth, const char *want)
{
	struct slice rest = SLICE_EMPTY, value;
	size_t field = 0;

	do
		if (!fields_cookie(&message, slice_of(name), &field, &rest, &value))
			return want == NULL;
	while (nth-- > 0);
	return want != NULL && slice_is(value, want);
}

static void
finds_cookies(void **state)
{
	parse(SLICE(GET "Cookie: a=1; b=2;a=3 ;; c ; e=\r\nX: a=9\r\nCookie: a=4; d=\"x=y\"\r\n\r\n"));
	assert_true(cookie_is("a", 0, "1"));
	assert_true(cookie_is("a", 1, "3"));
	assert_true(cookie_is("a", 2, "4"));
	assert_true(cookie_is("a", 3, NULL));
	assert_true(cookie_is("b", 0, "2"));
	assert_true(cookie_is("A", 0, NULL));
	assert_true(cookie_is("c", 0, NULL));
	assert_true(cookie_is("d", 0, "\"x=y\""));
	assert_true(cookie_is("e", 0, ""));
	assert_true(cookie_is("", 0, NULL));
}

static void
takes_pairs(void **state)
{
	static const char *const want[][2] = { { "a", "1" }, { "b", "" }, { "c", "" }, { "", "d" }, { "e", "f=g" } };
	struct slice query = SLICE("&a=1&b&&c=&=d&e=f=g&"), name, value;

	for (size_t i = 0; i < ARRAY_COUNT(want); i++) {
		assert_true(fields_pair(&query, &name, &value));
		assert_true(slice_is(name, want[i][0]));
		assert_true(slice_is(value, want[i][1]));
	}
	assert_false(fields_pair(&query, &name, &value));
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
		cmocka_unit_test(strips_one_hop),
		cmocka_unit_test(strips_what_connection_names),
		cmocka_unit_test(keeps_what_connection_may_not_name),
		cmocka_unit_test(strips_nothing_else),
		cmocka_unit_test(finds_cookies),
		cmocka_unit_test(takes_pairs),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
