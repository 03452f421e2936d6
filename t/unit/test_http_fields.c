/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/http/http_fields: what the fields of a question and an answer give, one by one, of heads
 * that the real parser has read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/exchange.h"
#include "protocols/http/fields.h"
#include "protocols/http/h1_parse.h"
#include "protocols/http/uri.h"

static struct engine engine;
static struct exchange ex;

static const char question[] =
    "GET http://Some.Example:8080/a/%62/../%C3%A9?one=1&two=%32+x&one=&=none&one=a%26b&pl%75s=%zz&&flag HTTP/1.1\r\n"
    "Host: Some.Example:8080\r\n"
    "X-Two: first\r\n"
    "Cookie: sid=abc; other=\"q\"; sid=def\r\n"
    "x-two:second\t\r\n"
    "Cookie: sid=ghi; =x; empty=\r\n"
    "Content-Length: 3\r\n\r\n";
static const char answer[] =
    "HTTP/1.1 207 Multi\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Type: x/y\r\n\r\n";

static int
set_up(void **state)
{
	static const struct h1_limits limits = { 8192, 8192, 32768, 100 };
	enum reason why;

	memset(&ex, 0, sizeof(ex));
	scratch_init(&engine.loop.scratch);
	arena_init(&ex.arena, NULL, 0);
	ex.engine = &engine;
	message_init(&ex.question);
	message_init(&ex.answer);
	assert_int_equal(h1_parse_question(&ex.question, &ex.arena, SLICE(question), &limits, &why), sizeof(question) - 1);
	assert_true(uri_normalise(&ex.question, &ex.arena, &why));
	assert_int_equal(h1_parse_answer(&ex.answer, &ex.arena, SLICE(answer), &limits, &why), sizeof(answer) - 1);
	return 0;
}

static int
tear_down(void **state)
{
	arena_reset(&ex.arena);
	scratch_free(&engine.loop.scratch);
	return 0;
}

/* Of a family `name` is FAMILY.NAME. */
static bool
get(const char *name, size_t nth, struct field_value *out)
{
	for (const struct field *f = http_fields; f->name != NULL; f++) {
		struct field_ref ref = { .field = f };
		size_t n = strlen(f->name);
		bool family = (f->flags & FIELD_FAMILY) != 0;

		if (family ? strncmp(name, f->name, n) != 0 : strcmp(name, f->name) != 0)
			continue;
		if (family) {
			ref.name = slice_of(name + n);
			ref.known = known_find(ref.name);
		}
		return f->get(&ex, &ref, nth, out);
	}
	fail_msg("there is no field %s", name);
	return false;
}

static void
expect(const char *name, size_t nth, const char *wanted)
{
	struct field_value v = { 0 };

	if (!get(name, nth, &v)) {
		if (wanted != NULL)
			fail_msg("%s (%zu) is absent", name, nth);
		return;
	}
	if (wanted == NULL || !slice_is(v.text, wanted))
		fail_msg("%s (%zu) is \"" SLICE_FORMAT "\"", name, nth, SLICE_ARG(v.text));
}

static void
of_the_question(void **state)
{
	expect("method", 0, "GET");
	expect("method", 1, NULL);
	expect("path", 0, "/a/\xc3\xa9");
	expect("path", 1, NULL);
	expect("uri", 0, "http://Some.Example:8080/a/%62/../%C3%A9?one=1&two=%32+x&one=&=none&one=a%26b&pl%75s=%zz&&flag");
	expect("query", 0, "one=1&two=%32+x&one=&=none&one=a%26b&pl%75s=%zz&&flag");
	expect("host", 0, "some.example");
	expect("scheme", 0, "http");
	expect("version", 0, "1.1");
	ex.question.minor = 0;
	expect("version", 0, "1.0");
}

static void
of_the_query(void **state)
{
	expect("query.one", 0, "1");
	expect("query.one", 1, "");
	expect("query.one", 2, "a&b");
	expect("query.one", 3, NULL);
	expect("query.two", 0, "2 x");
	/* the name is decoded, too; what is no %XX is itself */
	expect("query.plus", 0, "%zz");
	expect("query.flag", 0, "");
	expect("query.", 0, "none");
	expect("query.One", 0, NULL);
	expect("query.none", 0, NULL);
	ex.question.query = SLICE_EMPTY;
	expect("query", 0, NULL);
	expect("query.one", 0, NULL);
}

static void
of_headers_and_cookies(void **state)
{
	expect("header.x-two", 0, "first");
	expect("header.X-TWO", 1, "second");
	expect("header.x-two", 2, NULL);
	expect("header.content-length", 0, "3");
	expect("header.x-three", 0, NULL);
	expect("cookie.sid", 0, "abc");
	expect("cookie.sid", 1, "def");
	expect("cookie.sid", 2, "ghi");
	expect("cookie.sid", 3, NULL);
	expect("cookie.other", 0, "\"q\"");
	expect("cookie.empty", 0, "");
	expect("cookie.SID", 0, NULL);
	/* what a step changed is seen as it is now */
	message_remove(&ex.question, KNOWN_NONE, SLICE("X-Two"));
	message_add(&ex.question, &ex.arena, SLICE("X-Two"), SLICE("new"));
	expect("header.x-two", 0, "new");
	expect("header.x-two", 1, NULL);
	message_remove(&ex.question, KNOWN_COOKIE, SLICE("Cookie"));
	expect("cookie.sid", 0, NULL);
}

static void
of_the_answer(void **state)
{
	struct field_value v = { 0 };

	assert_true(get("status", 0, &v));
	assert_int_equal(v.number, 207);
	assert_false(get("status", 1, &v));
	expect("response_header.set-cookie", 0, "a");
	expect("response_header.Set-Cookie", 1, "b");
	expect("response_header.set-cookie", 2, NULL);
	expect("response_header.content-type", 0, "x/y");
	expect("response_header.x-two", 0, NULL);
	/* one that failed has no answer yet, but a status */
	ex.answer.status = 0;
	ex.status = 502;
	assert_true(get("status", 0, &v));
	assert_int_equal(v.number, 502);
	ex.status = 0;
	assert_false(get("status", 0, &v));
}

/* Nothing points into the bytes that came, once the head has been moved. */
static void
moved(void **state)
{
	const char *copy = arena_slice(&ex.arena, slice_make(ex.question.base, ex.question.size)).at;

	message_move(&ex.question, copy);
	of_the_query(state);
	expect("header.x-two", 0, "first");
	expect("cookie.sid", 2, "ghi");
	expect("path", 0, "/a/\xc3\xa9");
	expect("host", 0, "some.example");

	struct field_value v;

	assert_true(get("uri", 0, &v));
	assert_true(v.text.at >= copy && v.text.at < copy + ex.question.size);
	assert_true(get("header.x-two", 0, &v));
	assert_true(v.text.at >= copy && v.text.at < copy + ex.question.size);
}

/* The table as the manual shows it. */
static void
table(void **state)
{
	for (const struct field *f = http_fields; f->name != NULL; f++) {
		size_t n = strlen(f->name), help = strlen(f->help);

		assert_non_null(f->get);
		assert_int_equal((f->flags & FIELD_FAMILY) != 0, f->name[n - 1] == '.');
		assert_true(help > 0 && (f->help[help - 1] == '.' || strcmp(f->name, "scheme") == 0));
		for (const struct field *g = http_fields; g < f; g++)
			assert_string_not_equal(f->name, g->name);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(of_the_question), TEST(of_the_query), TEST(of_headers_and_cookies), TEST(of_the_answer), TEST(moved), TEST(table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
