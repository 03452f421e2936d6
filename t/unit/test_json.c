/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/json: what RFC 8259 allows and what it does not, values by path, names that stand twice,
 * strings decoded, and the end of a value wherever its bytes are cut. Texts lie in blocks of their
 * own size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/json.h"
#include "base/memory.h"

static const struct slice good_texts[] = {
	SLICE("{}"), SLICE("[]"), SLICE("0"), SLICE("-0"), SLICE("\"\""), SLICE("true"), SLICE("false"), SLICE("null"),
	SLICE(" \t\r\n1\t "), SLICE("[ ]"), SLICE("{ }"), SLICE("[1,2 , 3]"), SLICE("[[],[[]],{}]"),
	SLICE("-1"), SLICE("10"), SLICE("1.5"), SLICE("0.0"), SLICE("-0.1e+10"), SLICE("1E5"), SLICE("1e-07"), SLICE("123456789012345678901234567890"),
	SLICE("{\"a\":1}"), SLICE("{ \"a\" : 1 , \"b\" : [ null ] }"), SLICE("{\"\":0}"), SLICE("{\"a\":1,\"a\":2}"),
	SLICE("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\""), SLICE("\"\\ud83d\\ude00\""), SLICE("\"\\ud800\""), SLICE("\"\\udc00x\""), SLICE("\"\\uABcd\""),
	SLICE("\"\x7f\""), SLICE("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""), SLICE("\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\""),
	SLICE("\"/ a long string without anything in it, and {[ brackets ]} in it\""),
	SLICE("{\"a long name, longer than sixteen bytes\":\"0123456789abcdef\xc3\xa9" "0123456789abcdef\\n\"}"),
};

static const struct slice bad_texts[] = {
	SLICE(""), SLICE(" "), SLICE("{"), SLICE("}"), SLICE("["), SLICE("]"), SLICE("\""), SLICE("{]"), SLICE("[}"), SLICE("[1"), SLICE("{\"a\":1"),
	SLICE("[1,]"), SLICE("[,1]"), SLICE("[1 2]"), SLICE("[1,,2]"), SLICE("{,}"), SLICE("{\"a\"}"), SLICE("{\"a\":}"), SLICE("{\"a\":1,}"), SLICE("{a:1}"), SLICE("{1:1}"),
	SLICE("{\"a\" 1}"), SLICE("{\"a\"::1}"), SLICE("{'a':1}"), SLICE("{\"a\":1 \"b\":2}"), SLICE("{null:1}"),
	SLICE("1 2"), SLICE("{}{}"), SLICE("[]x"), SLICE("nul"), SLICE("nulll"), SLICE("True"), SLICE("TRUE"), SLICE("truefalse"), SLICE("undefined"), SLICE("NaN"), SLICE("Infinity"),
	SLICE("+1"), SLICE("01"), SLICE("-01"), SLICE("-"), SLICE("1."), SLICE(".5"), SLICE("1.e5"), SLICE("1e"), SLICE("1e+"), SLICE("0x10"), SLICE("1_000"), SLICE("- 1"), SLICE("--1"), SLICE("00"),
	SLICE("\"a"), SLICE("\"\\\""), SLICE("\"\\x41\""), SLICE("\"\\u12\""), SLICE("\"\\u12g4\""), SLICE("\"\\U0041\""), SLICE("\"\\\0\""), SLICE("\"\\'\""), SLICE("'a'"),
	SLICE("\"a\tb\""), SLICE("\"a\nb\""), SLICE("\"a\0b\""), SLICE("\"\x1f\""), SLICE("\"0123456789abcdef\x01\""),
	SLICE("\"\x80\""), SLICE("\"\xc0\xaf\""), SLICE("\"\xc3\""), SLICE("\"\xc3(\""), SLICE("\"\xe0\x80\xaf\""), SLICE("\"\xed\xa0\x80\""), SLICE("\"\xf0\x80\x80\x80\""),
	SLICE("\"\xf4\x90\x80\x80\""), SLICE("\"\xf5\x80\x80\x80\""), SLICE("\"\xff\""), SLICE("\"\xe2\x82\""), SLICE("\"\xf0\x9f\x98"),
	SLICE("\xef\xbb\xbf{}"), SLICE("[1]\0"), SLICE("\0"), SLICE("[\v1]"), SLICE("[1]\f"), SLICE("/**/1"), SLICE("[1]//"), SLICE("\xc2\xa0" "1"),
};

static char *
copy_of(struct slice s)
{
	char *copy = memory_alloc(s.n);

	if (s.n > 0)
		memcpy(copy, s.at, s.n);
	return copy;
}

static enum json_verdict
check(struct slice s)
{
	char *copy = copy_of(s);
	enum json_verdict verdict = json_find(slice_make(copy, s.n), NULL, 0, NULL, NULL);

	free(copy);
	return verdict;
}

static void
takes_what_the_rfc_allows(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(good_texts); i++)
		if (check(good_texts[i]) != JSON_GOOD)
			fail_msg("refused: " SLICE_FORMAT, SLICE_ARG(good_texts[i]));
}

static void
refuses_everything_else(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(bad_texts); i++)
		if (check(bad_texts[i]) != JSON_MALFORMED)
			fail_msg("taken: " SLICE_FORMAT, SLICE_ARG(bad_texts[i]));
}

/* Objects, arrays and strings are good only whole. */
static void
refuses_what_is_cut(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(good_texts); i++) {
		struct slice s = slice_trim(good_texts[i]);

		if (strchr("{[\"tfn", s.at[0]) == NULL)
			continue;
		for (size_t n = 0; n < s.n; n++)
			assert_int_equal(check(slice_first(s, n)), JSON_MALFORMED);
	}
}

static void
says_where(void **state)
{
	size_t bad = 99;

	assert_int_equal(json_find(SLICE("{\"a\": tru}"), NULL, 0, NULL, &bad), JSON_MALFORMED);
	assert_int_equal(bad, 6);
	assert_int_equal(json_find(SLICE("[1] 2"), NULL, 0, NULL, &bad), JSON_MALFORMED);
	assert_int_equal(bad, 4);
}

static void
goes_so_deep_and_no_deeper(void **state)
{
	char text[2 * JSON_DEPTH + 4];

	for (size_t n = JSON_DEPTH - 1; n <= JSON_DEPTH + 1; n++) {
		for (int object = 0; object < 2; object++) {
			char deep[6 * (JSON_DEPTH + 1) + 2];
			struct builder b = builder_on(deep, sizeof(deep));

			for (size_t i = 0; i < n; i++)
				builder_text(&b, object ? "{\"\":" : "[");
			builder_byte(&b, '1');
			for (size_t i = 0; i < n; i++)
				builder_byte(&b, object ? '}' : ']');
			assert_false(b.full);
			assert_int_equal(check(builder_slice(&b)), n <= JSON_DEPTH ? JSON_GOOD : JSON_TOO_DEEP);

			struct json_end e = { 0 };
			size_t taken;

			assert_int_equal(json_end(&e, builder_slice(&b), &taken),
			    n <= JSON_DEPTH ? JSON_END_FOUND : JSON_END_BAD);
		}
	}
	memset(text, '[', sizeof(text));
	assert_int_equal(check(slice_make(text, sizeof(text))), JSON_TOO_DEEP);
}

/* ------------------------------------------------------------------ paths */

static void
reads_paths(void **state)
{
	static const char *const good[] = {
		"", "a", "a.b", "[0]", "[0].x", "a[1][2].b", "a[\"x.y\"].z", "['']", "a-b_c.d e", "[4294967295]", "a.b.c.d.e.f.g.h",
	};
	static const struct {
		const char *text, *wrong;
	} bad[] = {
		{ ".", "a name is missing" }, { "a.", "a name is missing" }, { "a..b", "a name is missing" }, { ".a", "a name is missing" },
		{ "]", "a name is missing" }, { "a.[0]", "a name is missing" },
		{ "[0]x", "a dot or a bracket is missing" }, { "a]", "a dot or a bracket is missing" }, { "a\"b", "a dot or a bracket is missing" },
		{ "[", "in brackets stands a number or a quoted name" }, { "[]", "in brackets stands a number or a quoted name" },
		{ "[-1]", "in brackets stands a number or a quoted name" }, { "[x]", "in brackets stands a number or a quoted name" },
		{ "[4294967296]", "in brackets stands a number or a quoted name" }, { "[\"a]", "in brackets stands a number or a quoted name" },
		{ "[\"a\"x]", "in brackets stands a number or a quoted name" }, { "[\"", "in brackets stands a number or a quoted name" },
		{ "[\"a\"", "in brackets stands a number or a quoted name" },
		{ "a.b.c.d.e.f.g.h.i", "more than 8 steps" },
	};
	struct json_path path;

	for (size_t i = 0; i < ARRAY_COUNT(good); i++)
		assert_null(json_path_parse(&path, slice_of(good[i])));
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		const char *wrong = json_path_parse(&path, slice_of(bad[i].text));

		assert_non_null(wrong);
		assert_string_equal(wrong, bad[i].wrong);
	}
	assert_null(json_path_parse(&path, SLICE("a[7]['b.c']")));
	assert_int_equal(path.count, 3);
	assert_true(slice_is(path.steps[0].name, "a"));
	assert_null(path.steps[1].name.at);
	assert_int_equal(path.steps[1].index, 7);
	assert_true(slice_is(path.steps[2].name, "b.c"));
}

static const struct slice document = SLICE(
    "{ \"type\": \"message\", \"n\": 42, \"a\": {\"b\": {\"c\": [10, {\"x\": true}, \"e\\u0301\\n\"]}, \"b2\": null},\n"
    "  \"list\": [[1,2],[3,[4,5]]], \"t\\u0079ped\": \"by escape\", \"\": \"no name\", \"x.y\": -1.5e3, \"empty\": {} }");

static void
finds(void **state)
{
	static const struct {
		const char *path;
		enum json_type type;
		const char *raw;
	} rows[] = {
		{ "type", JSON_STRING, "message" }, { "n", JSON_NUMBER, "42" }, { "a.b.c[0]", JSON_NUMBER, "10" },
		{ "a.b.c[1].x", JSON_BOOL, "true" }, { "a.b.c[2]", JSON_STRING, "e\\u0301\\n" }, { "a.b2", JSON_NULL, "null" },
		{ "a.b.c[1]", JSON_OBJECT, "{\"x\": true}" }, { "list[1]", JSON_ARRAY, "[3,[4,5]]" }, { "list[1][1][1]", JSON_NUMBER, "5" },
		{ "typed", JSON_STRING, "by escape" }, { "['']", JSON_STRING, "no name" }, { "[\"x.y\"]", JSON_NUMBER, "-1.5e3" },
		{ "empty", JSON_OBJECT, "{}" },
		{ "x.y", JSON_ABSENT, "" }, { "typ", JSON_ABSENT, "" }, { "types", JSON_ABSENT, "" }, { "type.x", JSON_ABSENT, "" }, { "a.b.c.x", JSON_ABSENT, "" },
		{ "a[0]", JSON_ABSENT, "" }, { "list[2]", JSON_ABSENT, "" }, { "empty.x", JSON_ABSENT, "" }, { "a.b.d", JSON_ABSENT, "" }, { "Type", JSON_ABSENT, "" },
	};
	struct json_path paths[ARRAY_COUNT(rows)];
	struct json_value values[ARRAY_COUNT(rows)];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_null(json_path_parse(&paths[i], slice_of(rows[i].path)));
		assert_int_equal(json_find(document, &paths[i], 1, &values[i], NULL), JSON_GOOD);
		assert_int_equal(values[i].type, rows[i].type);
		if (rows[i].type != JSON_ABSENT)
			assert_true(slice_is(values[i].raw, rows[i].raw));
	}

	/* all in one walk */
	struct json_value again[ARRAY_COUNT(rows)];

	assert_int_equal(json_find(document, paths, ARRAY_COUNT(rows), again, NULL), JSON_GOOD);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_int_equal(again[i].type, values[i].type);
		assert_ptr_equal(again[i].raw.at, values[i].raw.at);
		assert_int_equal(again[i].raw.n, values[i].raw.n);
	}
}

static void
finds_the_whole(void **state)
{
	struct json_path path;
	struct json_value v;

	assert_null(json_path_parse(&path, SLICE_EMPTY));
	assert_int_equal(json_find(SLICE(" [1] "), &path, 1, &v, NULL), JSON_GOOD);
	assert_int_equal(v.type, JSON_ARRAY);
	assert_true(slice_is(v.raw, "[1]"));
	assert_int_equal(json_find(SLICE("\"x\""), &path, 1, &v, NULL), JSON_GOOD);
	assert_true(v.type == JSON_STRING && slice_is(v.raw, "x"));
}

/* As many as one walk can look for. */
static void
finds_thirty_two(void **state)
{
	static const char names[JSON_PATHS + 1] = "abcdefghijklmnopqrstuvwxyzABCDEF";
	struct json_path paths[JSON_PATHS];
	struct json_value values[JSON_PATHS];
	char text[1024];
	struct builder b = builder_on(text, sizeof(text));

	for (int i = JSON_PATHS - 1; i >= 0; i--)
		builder_printf(&b, "%s\"%c\":%d", b.n == 0 ? "{" : ",", names[i], i);
	builder_byte(&b, '}');
	for (int i = 0; i < JSON_PATHS; i++)
		assert_null(json_path_parse(&paths[i], slice_make(&names[i], 1)));
	assert_int_equal(json_find(builder_slice(&b), paths, JSON_PATHS, values, NULL), JSON_GOOD);
	for (int i = 0; i < JSON_PATHS; i++) {
		int64_t n;

		assert_true(json_integer(&values[i], &n));
		assert_int_equal(n, i);
	}
}

static void
says_malformed_rather_than_absent(void **state)
{
	static const char *const texts[] = {
		"{\"type\":\"x\"", "{\"type\":\"x\",}", "{\"type\":\"x\"}}", "{\"type\":\"x\",\"b\":01}", "{\"type\":\"x\",\"b\":\"\xff\"}", "{\"type\":\"x\"} x",
	};
	struct json_path path;
	struct json_value v;

	assert_null(json_path_parse(&path, SLICE("type")));
	for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
		assert_int_equal(json_find(slice_of(texts[i]), &path, 1, &v, NULL), JSON_MALFORMED);
		assert_int_equal(v.type, JSON_ABSENT);
	}
}

static void
refuses_names_that_stand_twice(void **state)
{
	static const struct {
		const char *text, *path;
		enum json_verdict verdict;
	} rows[] = {
		{ "{\"a\":1,\"a\":2}", "a", JSON_REPEATED }, { "{\"a\":1,\"\\u0061\":2}", "a", JSON_REPEATED }, { "{\"\\u0061\":1,\"b\":3,\"a\":1}", "a", JSON_REPEATED },
		{ "{\"a\":{\"b\":1},\"a\":{\"b\":2}}", "a.b", JSON_REPEATED }, { "{\"a\":{\"x\":1},\"a\":{\"b\":2}}", "a.b", JSON_REPEATED },
		{ "{\"a\":{\"b\":1,\"b\":1}}", "a.b", JSON_REPEATED }, { "[{\"a\":1,\"a\":1}]", "[0].a", JSON_REPEATED },
		/* not asked for, or not in one object */
		{ "{\"a\":1,\"a\":2,\"b\":1}", "b", JSON_GOOD }, { "{\"b\":{\"a\":1,\"a\":2},\"a\":1}", "a", JSON_GOOD }, { "{\"a\":{\"a\":1},\"b\":{\"a\":1}}", "a", JSON_GOOD },
		{ "[{\"a\":1},{\"a\":1}]", "[0].a", JSON_GOOD }, { "[{\"a\":1},{\"a\":1,\"a\":2}]", "[0].a", JSON_GOOD }, { "{\"A\":1,\"a\":2}", "a", JSON_GOOD },
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct json_path path;
		struct json_value v;

		assert_null(json_path_parse(&path, slice_of(rows[i].path)));
		assert_int_equal(json_find(slice_of(rows[i].text), &path, 1, &v, NULL), rows[i].verdict);
		assert_true(rows[i].verdict == JSON_GOOD || v.type == JSON_ABSENT);
	}
}

/* ------------------------------------------------------------------ values */

static struct json_value
value_of(const char *text)
{
	struct json_path path = { .count = 0 };
	struct json_value v;

	assert_int_equal(json_find(slice_of(text), &path, 1, &v, NULL), JSON_GOOD);
	return v;
}

static void
decodes(void **state)
{
	static const struct {
		const char *text;
		struct slice want;
	} rows[] = {
		{ "\"\"", SLICE("") }, { "\"plain\"", SLICE("plain") }, { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", SLICE("\"\\/\b\f\n\r\t") },
		{ "\"a\\u0041\\u00e9\\u20AC z\"", SLICE("aA\xc3\xa9\xe2\x82\xac z") }, { "\"\\ud83d\\ude00\"", SLICE("\xf0\x9f\x98\x80") },
		{ "\"\\uDBFF\\uDFFF\"", SLICE("\xf4\x8f\xbf\xbf") }, { "\"\\ud800\\udc00\"", SLICE("\xf0\x90\x80\x80") }, { "\"\\u0000\"", SLICE("\0") },
		{ "\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", SLICE("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf") },
		{ "\"\\ud800\"", SLICE("\xef\xbf\xbd") }, { "\"\\udc00x\"", SLICE("\xef\xbf\xbdx") }, { "\"\\ud800\\ud800\\udc00\"", SLICE("\xef\xbf\xbd\xf0\x90\x80\x80") },
		{ "\"\\ud800\\u0041\"", SLICE("\xef\xbf\xbd" "A") }, { "\"\\ud800\\n\"", SLICE("\xef\xbf\xbd\n") }, { "\"\\ud800....u1\"", SLICE("\xef\xbf\xbd....u1") },
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct json_value v = value_of(rows[i].text);
		char room[64];
		struct builder b = builder_on(room, sizeof(room));
		struct slice got;

		builder_byte(&b, '>');
		assert_true(json_string(&v, &b, &got));
		assert_true(slice_equal(got, rows[i].want));
		assert_int_equal(b.n, v.escaped ? 1 + got.n : 1);
		assert_true(json_string_is(&v, rows[i].want));
		assert_false(json_string_is(&v, SLICE("other")));
		for (size_t n = 0; n < rows[i].want.n; n++) {
			assert_false(json_string_is(&v, slice_first(rows[i].want, n)));
			if (!v.escaped)
				continue;
			b = builder_on(room, n);
			assert_false(json_string(&v, &b, &got));
		}
	}
}

static void
reads_integers(void **state)
{
	static const struct {
		const char *text;
		bool fits;
		int64_t want;
	} rows[] = {
		{ "0", true, 0 }, { "-0", true, 0 }, { "1", true, 1 }, { "-1", true, -1 }, { "9223372036854775807", true, INT64_MAX },
		{ "-9223372036854775808", true, INT64_MIN }, { "9223372036854775808", false, 0 }, { "-9223372036854775809", false, 0 },
		{ "18446744073709551616", false, 0 }, { "1.0", false, 0 }, { "1e2", false, 0 }, { "\"1\"", false, 0 }, { "true", false, 0 }, { "[1]", false, 0 },
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct json_value v = value_of(rows[i].text);
		int64_t got = 0;

		assert_int_equal(json_integer(&v, &got), rows[i].fits);
		assert_true(got == rows[i].want);
	}
}

/* ------------------------------------------------------------------ the end of a value */

/* Fed in pieces of `step`; the last ones may stay. SIZE_MAX: it is bad; taken and MORE: what follows the stream says. */
static enum json_end_verdict
end_in_steps(struct slice s, size_t step, size_t *end, bool *closes)
{
	struct json_end e = { 0 };
	enum json_end_verdict verdict = JSON_END_MORE;
	size_t at = 0;

	while (at < s.n && verdict == JSON_END_MORE) {
		struct slice piece = slice_first(slice_after(s, at), MIN_OF(step, s.n - at));
		char *copy = copy_of(piece);
		size_t taken = SIZE_MAX;

		verdict = json_end(&e, slice_make(copy, piece.n), &taken);
		free(copy);
		if (verdict == JSON_END_BAD)
			break;
		assert_true(taken <= piece.n && (verdict == JSON_END_FOUND || taken == piece.n));
		at += taken;
	}
	*end = at;
	*closes = json_end_closes(&e);
	return verdict;
}

static void
finds_the_end_however_it_is_cut(void **state)
{
	static const char *const behind[] = { "", " ", "\n{\"b\":1}", "\"x\"", "[", "}", "\xff" };
	char text[512];

	for (size_t i = 0; i < ARRAY_COUNT(good_texts); i++) {
		for (size_t k = 0; k < ARRAY_COUNT(behind); k++) {
			struct builder b = builder_on(text, sizeof(text));
			struct slice s = good_texts[i];

			while (s.n > 0 && json_is_blank(s.at[s.n - 1]))
				s.n--;
			builder_slice_put(&b, s);
			builder_text(&b, behind[k]);
			for (size_t step = 1; step <= b.n; step++) {
				size_t end;
				bool closes;
				enum json_end_verdict verdict = end_in_steps(builder_slice(&b), step, &end, &closes);

				if (verdict == JSON_END_MORE)
					assert_true(closes && behind[k][0] == '\0');
				else
					assert_int_equal(verdict, JSON_END_FOUND);
				assert_int_equal(end, s.n);
			}
		}
	}
}

static void
finds_no_end_in_what_has_none(void **state)
{
	static const struct slice bad[] = {
		SLICE("}"), SLICE("]"), SLICE(","), SLICE(":"), SLICE("[}"), SLICE("{]"), SLICE("[[}"), SLICE("\xff"), SLICE("\0"), SLICE("{\0"), SLICE("+1"), SLICE("E"),
		SLICE("\"a\nb\""), SLICE("[\"\x1f"), SLICE("[X]"), SLICE("\xef\xbb\xbf{}"), SLICE("'a'"), SLICE("[/"), SLICE("\v1"),
	};
	size_t end;
	bool closes;

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		for (size_t step = 1; step <= bad[i].n; step++)
			assert_int_equal(end_in_steps(bad[i], step, &end, &closes), JSON_END_BAD);
	assert_int_equal(end_in_steps(SLICE("  "), 1, &end, &closes), JSON_END_MORE);
	assert_false(closes);
	assert_int_equal(end_in_steps(SLICE("[\"\\"), 1, &end, &closes), JSON_END_MORE);
	assert_false(closes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_the_rfc_allows),
		cmocka_unit_test(refuses_everything_else),
		cmocka_unit_test(refuses_what_is_cut),
		cmocka_unit_test(says_where),
		cmocka_unit_test(goes_so_deep_and_no_deeper),
		cmocka_unit_test(reads_paths),
		cmocka_unit_test(finds),
		cmocka_unit_test(finds_the_whole),
		cmocka_unit_test(finds_thirty_two),
		cmocka_unit_test(says_malformed_rather_than_absent),
		cmocka_unit_test(refuses_names_that_stand_twice),
		cmocka_unit_test(decodes),
		cmocka_unit_test(reads_integers),
		cmocka_unit_test(finds_the_end_however_it_is_cut),
		cmocka_unit_test(finds_no_end_in_what_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
