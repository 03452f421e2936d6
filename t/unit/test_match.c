/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/match.h"
#include "exchange_case.h"

/* ------------------------------------------------------------------ regular expressions */

static void
expect_prefix(const char *pattern, bool nocase, const char *prefix, bool anchored)
{
	struct exchange_case c;
	bool is;

	exchange_open(&c, "");

	struct regex *re = regex_compile(&c.reading, slice_of(pattern), nocase, (struct span){ 0 });

	assert_non_null(re);

	struct slice found = regex_prefix(re, &is);

	if (!slice_is(found, prefix) || is != anchored)
		fail_msg("%s: prefix \"%.*s\", anchored %d", pattern, SLICE_ARG(found), is);
	exchange_close(&c);
}

static void
test_prefix(void **state)
{
	expect_prefix("^/u/([0-9]+)$", false, "/u/", true);
	expect_prefix("^/a/b$", false, "/a/b", true);
	expect_prefix("^/ab?c", false, "/a", true);
	expect_prefix("^/ab*c", false, "/a", true);
	expect_prefix("^/ab{0,2}c", false, "/a", true);
	expect_prefix("^/ab+c", false, "/ab", true);
	expect_prefix("^/a\\.b\\/c\\d", false, "/a.b/c", true);
	expect_prefix("^/a\\.?b", false, "/a", true);
	expect_prefix("^/a[|)]b", false, "/a", true);
	expect_prefix("^/(a|b)/c", false, "/", true);
	expect_prefix("^/a(?:b|c)", false, "/a", true);
	expect_prefix("^/a(?<n>b)", false, "/a", true);
	expect_prefix("^", false, "", true);
	expect_prefix("^^/a", false, "", true);
	/* not at the start only */
	expect_prefix("/a", false, "", false);
	expect_prefix("^/a|/b", false, "", false);
	/* anchored, but not read: two branches, options, quotes, verbs */
	expect_prefix("^/a|^/b", false, "", true);
	expect_prefix("^/a(?i)b", false, "", true);
	expect_prefix("(?i)^/a", false, "", true);
	expect_prefix("^/a\\Q|\\E", false, "", true);
	expect_prefix("^/a(?x) b", false, "", true);
	expect_prefix("^/a(?#|)b", false, "", true);
	expect_prefix("^/a", true, "", true);
	expect_prefix("(?m)^/a", false, "", false);
	expect_prefix("^/a[[:alpha:]|]", false, "/a", true);
	expect_prefix("^/a[[:a]b", false, "", true);
	expect_prefix("^/a\\c[|^]b", false, "", true);
	expect_prefix("^/a[[:alpha:]]|^/b[c]", false, "", true);
	expect_prefix("^/a[]|]b|c", false, "", false);
}

/* Random patterns over a few bytes: every subject that matches has the prefix. */
static void
test_prefix_is_true(void **state)
{
	static const char bytes[] = "^ab/().|*+?[]\\{},1$:";
	unsigned long seed = 1;
	size_t used = 0;

	for (int i = 0; i < 3000; i++) {
		char pattern[10] = "^", subject[8];
		size_t n = 1 + (size_t)(seed % 8);
		struct exchange_case c;
		bool anchored;

		for (size_t k = 1; k <= n; k++) {
			seed = seed * 6364136223846793005UL + 1442695040888963407UL;
			pattern[k] = bytes[(seed >> 33) % (sizeof(bytes) - 1)];
		}
		pattern[n + 1] = '\0';
		exchange_open(&c, "");

		struct regex *re = regex_compile(&c.reading, slice_of(pattern), false, (struct span){ 0 });

		if (re == NULL) {
			exchange_close(&c);
			continue;
		}

		struct slice prefix = regex_prefix(re, &anchored);
		/* the same, but for a group that changes nothing and hides the prefix from us */
		char *plain = arena_printf(&c.config.arena, "(?i:)(?:%s)", pattern);
		struct regex *reference = regex_compile(&c.reading, slice_of(plain), false, (struct span){ 0 });

		used += prefix.n > 0;
		for (int k = 0; k < 60 && reference != NULL && prefix.n > 0; k++) {
			size_t captures[2 * REGEX_CAPTURES_MAX], length;
			bool over;

			seed = seed * 6364136223846793005UL + 1442695040888963407UL;
			length = (seed >> 40) % sizeof(subject);
			for (size_t b = 0; b < length; b++)
				subject[b] = b < prefix.n && (seed >> b & 3) != 0 ? prefix.at[b] : "ab/1"[(seed >> (20 + 2 * b)) & 3];

			struct slice s = slice_make(subject, length);

			if (regex_match(reference, s, captures, &over) != regex_match(re, s, captures, &over))
				fail_msg("%s, prefix \"%.*s\": %.*s", pattern, SLICE_ARG(prefix), SLICE_ARG(s));
		}
		exchange_close(&c);
	}
	assert_true(used > 100);
}

static void
test_match(void **state)
{
	struct exchange_case c;
	size_t captures[2 * REGEX_CAPTURES_MAX];
	bool over;

	exchange_open(&c, "");

	struct regex *re = regex_compile(&c.reading, SLICE("^/u/(?<id>[0-9]+)(x)?$"), false, (struct span){ 0 });

	assert_true(regex_match(re, SLICE("/u/42"), captures, &over));
	assert_false(over);
	assert_int_equal(captures[0], 0);
	assert_int_equal(captures[1], 5);
	assert_int_equal(captures[2], 3);
	assert_int_equal(captures[3], 5);
	assert_int_equal(captures[4], SIZE_MAX);
	assert_false(regex_match(re, SLICE("/u/"), captures, &over));
	assert_false(regex_match(re, SLICE("/v/42"), captures, &over));
	assert_false(regex_match(re, slice_make(NULL, 0), captures, &over));
	/* `$` is the end, not the line's */
	assert_false(regex_match(re, SLICE("/u/42\n"), captures, &over));
	assert_int_equal(regex_group(re, SLICE("id")), 1);
	assert_int_equal(regex_group(re, SLICE("no")), -1);

	const char *const *names = regex_groups(&c.reading, re);

	assert_string_equal(names[0], "id");
	assert_string_equal(names[1], "");
	assert_null(names[2]);
	/* equal patterns are one */
	assert_ptr_equal(re, regex_compile(&c.reading, SLICE("^/u/(?<id>[0-9]+)(x)?$"), false, (struct span){ 0 }));
	assert_ptr_not_equal(re, regex_compile(&c.reading, SLICE("^/u/(?<id>[0-9]+)(x)?$"), true, (struct span){ 0 }));
	exchange_close(&c);
}

/* More groups than are kept: the first ones are. */
static void
test_many_groups(void **state)
{
	struct exchange_case c;
	size_t captures[2 * REGEX_CAPTURES_MAX], count = 0;
	bool over;

	exchange_open(&c, "");

	struct regex *re = regex_compile(&c.reading, SLICE("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)(l)(m)(n)(o)(p)(?<q>q)"), false,
	    (struct span){ 0 });

	assert_true(regex_match(re, SLICE("abcdefghijklmnopq"), captures, &over));
	assert_int_equal(captures[2 * 15], 14);
	for (const char *const *names = regex_groups(&c.reading, re); names[count] != NULL;)
		count++;
	assert_int_equal(count, REGEX_CAPTURES_MAX - 1);
	assert_int_equal(regex_group(re, SLICE("q")), -1);
	exchange_close(&c);
}

static void
test_limit(void **state)
{
	struct exchange_case c;
	size_t captures[2 * REGEX_CAPTURES_MAX];
	bool over;

	exchange_open(&c, "");

	struct regex *re = regex_compile(&c.reading, SLICE("^(a+)+[bd]$"), false, (struct span){ 0 });

	assert_false(regex_match(re, SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"), captures, &over));
	assert_true(over);
	assert_false(regex_match_in(&c.ex, re, SLICE("x"), captures));
	assert_false(c.ex.gave_up);
	assert_false(regex_match_in(&c.ex, re, SLICE("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"), captures));
	assert_true(c.ex.gave_up);
	exchange_close(&c);
}

/* ------------------------------------------------------------------ conditions */

static struct condition *
compile_at(struct exchange_case *c, const struct statement *s)
{
	assert_non_null(s);
	return condition_compile(&c->reading, &c->scope, s->when);
}

/* Opens a case with the condition in it. */
static struct condition *
open_condition(struct exchange_case *c, const char *condition)
{
	char text[4096];

	snprintf(text, sizeof(text), "x when %s;", condition);
	exchange_open(c, text);
	if (c->config.diag.errors > 0)
		case_expect(&c->config, "");
	return compile_at(c, c->block->first);
}

static const char *method, *host, *tags[3], *path, *src;
static int64_t size;

static void
forget(void)
{
	method = host = tags[0] = tags[1] = tags[2] = src = NULL;
	path = "/";
	size = -1;
}

static void
expect(const char *condition, bool wanted)
{
	struct exchange_case c;
	struct condition *is = open_condition(&c, condition);

	if (is == NULL)
		case_expect(&c.config, "");
	fake.method = method;
	fake.host = host;
	fake.size = size;
	memcpy(fake.tags, tags, sizeof(tags));
	exchange_path(&c, path);
	if (src != NULL)
		exchange_src(&c, src);
	if (condition_is(is, &c.ex) != wanted)
		fail_msg("%s is not %d", condition, wanted);
	exchange_close(&c);
}

static void
test_texts(void **state)
{
	forget();
	method = "GET";
	host = "a.Example";
	expect("method == GET", true);
	expect("method == get", false);
	expect("method != GET", false);
	expect("method != POST", true);
	expect("method in (GET, POST)", true);
	expect("method not in (GET, POST)", false);
	expect("method in (a, b, c, d, e, f, g, h, i, j, GET)", true);
	expect("method in (a, b, c, d, e, f, g, h, i, j, k)", false);
	expect("method ~ \"^G.T$\"", true);
	expect("method ~ \"^g\"", false);
	expect("method == \"\\x47ET\"", true);
	/* hosts compare without case */
	expect("host == A.eXAMPLE", true);
	expect("host ~ \"EXAMPLE$\"", true);
	expect("host in (a, b, c, d, e, f, g, h, i, j, A.EXAMPLE)", true);
	expect("method exists", true);
}

static void
test_absent(void **state)
{
	forget();
	expect("method == GET", false);
	expect("method == \"\"", false);
	expect("method != GET", true);
	expect("method in (GET)", false);
	expect("method not in (GET)", true);
	expect("method ~ \"\"", false);
	expect("not method ~ \"\"", true);
	expect("method exists", false);
	expect("not method exists", true);
	expect("size < 5", false);
	expect("size >= 5", false);
	expect("not size < 5", true);
	expect("size != 5", true);
	expect("src == 10.0.0.1", false);
	expect("src != 10.0.0.1", true);
}

static void
test_repeated(void **state)
{
	forget();
	tags[0] = "a";
	tags[1] = "b";
	expect("tag.x == b", true);
	expect("tag.x == c", false);
	expect("tag.x != b", false);
	expect("tag.x != c", true);
	expect("tag.x in (c, a)", true);
	expect("tag.x not in (c, a)", false);
	expect("tag.x ~ \"^b$\"", true);
}

static void
test_numbers(void **state)
{
	forget();
	size = 500;
	expect("size == 500", true);
	expect("size != 500", false);
	expect("size < 500", false);
	expect("size <= 500", true);
	expect("size > 499", true);
	expect("size >= 501", false);
	expect("size in (1, 500..599)", true);
	expect("size in (1, 501..599)", false);
	expect("size not in (400..499, 498..502)", false);
	expect("size in (-5..0, 499, 501)", false);
	expect("size > -1", true);
	expect("size <= 9223372036854775807", true);
	expect("size > 9223372036854775807", false);
}

static void
test_addresses(void **state)
{
	forget();
	src = "10.1.2.3:5";
	expect("src in (10.0.0.0/8, unix:)", true);
	expect("src not in (10.0.0.0/8)", false);
	expect("src == 10.1.2.3", true);
	expect("src == 10.1.2.4", false);
	expect("src in (0.0.0.0/0)", true);
	expect("src in (\"::/0\")", false);
	src = "[fe80::1]:5";
	expect("src in (fe80::/10)", true);
	expect("src in (10.0.0.0/8)", false);
	src = "unix:/x";
	expect("src in (10.0.0.0/8, unix:)", true);
	expect("src == unix:", true);
}

static void
test_groups(void **state)
{
	forget();
	method = "GET";
	path = "/a";
	expect("method == GET and path == /a", true);
	expect("method == GET and path == /b", false);
	expect("method == PUT or path == /a", true);
	expect("method == PUT or path == /b", false);
	expect("not (method == PUT or path == /b)", true);
	expect("not (method == GET and path == /b)", true);
	expect("not (not method == GET)", true);
	expect("method == PUT or method == GET and path == /a", true);
	expect("(method == PUT or method == GET) and path == /b", false);
	expect("method == A or method == B or method == C or method == D or not method == E", true);
}

static void
expect_error(const char *condition, const char *said)
{
	struct exchange_case c;

	assert_null(open_condition(&c, condition));
	exchange_expect(&c, said);
}

static void
test_errors(void **state)
{
	expect_error("src ~ \"^10\"", "a.conf:1:8: error: \"src\" is an address; \"~\" wants a text field\n");
	expect_error("size ~ \"1\"", "a.conf:1:8: error: \"size\" is a number; \"~\" wants a text field\n");
	expect_error("path < 5", "a.conf:1:8: error: \"path\" is a text; \"<\" wants a number field\n");
	expect_error("src >= 5", "a.conf:1:8: error: \"src\" is an address; \">=\" wants a number field\n");
	expect_error("size == abc", "a.conf:1:16: error: \"abc\" is not a number\n");
	expect_error("size == \"5\"", "a.conf:1:16: error: \"size\" is a number; write 5 without quotes\n");
	expect_error("size == 5..7", "a.conf:1:16: error: a range stands behind \"in\": size in (5..7)\n");
	expect_error("size in (1, 7..5)", "a.conf:1:20: error: \"7..5\" is not a number\n");
	expect_error("size == 99999999999999999999", "a.conf:1:16: error: \"99999999999999999999\" is not a number\n");
	expect_error("src == abc",
	    "a.conf:1:15: error: \"abc\" is not an address or a network (10.0.0.1, 10.0.0.0/8, unix:)\n");
	expect_error("src in (10.0.0.1/8)", "a.conf:1:16: error: \"10.0.0.1/8\" has bits set behind its prefix; write \"10.0.0.0/8\"\n");
	expect_error("path ~ \"a(\"", "a.conf:1:18: error: this is not a regular expression: missing closing parenthesis\n");
	expect_error("pth == /", "a.conf:1:8: error: unknown field \"pth\"; did you mean \"path\"?\n");
	/* all of them, not the first */
	expect_error("pth == / or size == x and src == y",
	    "a.conf:1:8: error: unknown field \"pth\"; did you mean \"path\"?\n"
	    "a.conf:1:28: error: \"x\" is not a number\n"
	    "a.conf:1:41: error: \"y\" is not an address or a network (10.0.0.1, 10.0.0.0/8, unix:)\n");
}

static void
expect_implies(const char *a, const char *b, bool wanted)
{
	struct exchange_case c;
	char text[1024];

	snprintf(text, sizeof(text), "x when %s; y when %s;", a, b);
	exchange_open(&c, text);

	struct condition *first = compile_at(&c, c.block->first), *second = compile_at(&c, c.block->first->next);

	assert_non_null(first);
	assert_non_null(second);
	if (condition_implies(first, second) != wanted)
		fail_msg("%s implies %s: not %d", a, b, wanted);
	if (strcmp(a, b) == 0)
		assert_int_equal(condition_fingerprint(first), condition_fingerprint(second));
	exchange_close(&c);
}

static void
test_implies(void **state)
{
	static const char *const same[] = { "method == GET", "method != GET", "path ~ \"^/a\"", "size in (1, 2..5)",
		"src in (10.0.0.0/8, ::1)", "method == A and (path == /b or not size > 3)", "tag.x exists" };

	for (size_t i = 0; i < ARRAY_COUNT(same); i++)
		expect_implies(same[i], same[i], true);
	expect_implies("method == GET", "method in (GET, POST)", true);
	expect_implies("method in (GET, POST)", "method == GET", false);
	expect_implies("method not in (GET, POST)", "method != GET", true);
	expect_implies("method != GET", "method not in (GET, POST)", false);
	expect_implies("method == GET", "method exists", true);
	expect_implies("method != GET", "method exists", false);
	expect_implies("not method exists", "method != GET", true);
	expect_implies("method == GET", "path == GET", false);
	expect_implies("tag.a == x", "tag.b == x", false);
	expect_implies("size == 5", "size < 6", true);
	expect_implies("size < 5", "size < 6", true);
	expect_implies("size < 6", "size < 5", false);
	expect_implies("size in (1..3, 4..5)", "size in (1..5)", true);
	expect_implies("size in (1..5)", "size in (1..3, 4..5)", true);
	expect_implies("size in (1..5)", "size in (1..3, 5)", false);
	expect_implies("src == 10.0.0.1", "src in (10.0.0.0/8)", true);
	expect_implies("src in (10.0.0.0/8)", "src == 10.0.0.1", false);
	expect_implies("src in (10.1.0.0/16, fe80::/10)", "src in (fe00::/7, 10.0.0.0/9)", true);
	expect_implies("src in (10.128.0.0/9)", "src in (10.0.0.0/9)", false);
	expect_implies("src == 10.0.0.1", "src in (0.0.0.0/0)", true);
	expect_implies("method == A and path == /b", "method == A", true);
	expect_implies("method == A", "method == A and path == /b", false);
	expect_implies("method == A", "method == A or path == /b", true);
	expect_implies("method == A or path == /b", "method == A", false);
	expect_implies("method == A or method == B", "method in (A, B, C)", true);
	expect_implies("method == A and path == /b", "path == /b and method == A", true);
	expect_implies("not (method == A or path == /b)", "method != A", true);
	expect_implies("host == A", "host == a", true);
	expect_implies("method == A", "method == a", false);
	assert_true(condition_implies(NULL, NULL));
}

/* Two deep conditions that share nothing: an answer in no time. */
static void
test_implies_is_bounded(void **state)
{
	char text[4096] = "", *to = text;

	for (int side = 0; side < 2; side++) {
		to += sprintf(to, "%c when ", 'x' + side);
		for (int i = 0; i < 20; i++)
			to += sprintf(to, "(method == %c%d %s ", 'a' + side, i, (i ^ side) & 1 ? "and" : "or");
		to += sprintf(to, "method == z%d", side);
		for (int i = 0; i < 20; i++)
			to += sprintf(to, ")");
		to += sprintf(to, "; ");
	}

	struct exchange_case c;

	exchange_open(&c, text);
	assert_int_equal(c.config.diag.errors, 0);
	assert_false(condition_implies(compile_at(&c, c.block->first), compile_at(&c, c.block->first->next)));
	exchange_close(&c);
}

static void
test_moment(void **state)
{
	struct exchange_case c;

	exchange_open(&c, "x when src == 1.2.3.4; x when method == a or src == 1.2.3.4; x when src == 1.2.3.4 and result == 1;");
	c.scope.moment = MOMENT_ANSWER;

	const struct statement *s = c.block->first;

	assert_int_equal(condition_moment(compile_at(&c, s)), MOMENT_OPEN);
	assert_int_equal(condition_moment(compile_at(&c, s->next)), MOMENT_QUESTION);
	assert_int_equal(condition_moment(compile_at(&c, s->next->next)), MOMENT_ANSWER);
	exchange_close(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_prefix_is_true),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_many_groups),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_implies),
		cmocka_unit_test(test_implies_is_bounded),
		cmocka_unit_test(test_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
