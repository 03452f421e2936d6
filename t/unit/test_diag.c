/* SPDX-License-Identifier: BSD-2-Clause */
/* What a diagnostic looks like, to the letter. */
#include "config_case.h"

static struct span
at(unsigned from, unsigned n)
{
	return (struct span){ 1, from, n };
}

static void
test_caret(void **state)
{
	struct config_case c;

	case_open(&c, "one\n\tproxi shop;\n");
	diag_error(&c.diag, at(5, 5), "unknown directive \"%s\"", "proxi");
	case_expect(&c,
	    "a.conf:2:2: error: unknown directive \"proxi\"\n"
	    "    2 | \tproxi shop;\n"
	    "      | \t^~~~~\n");
	case_close(&c);
}

static void
test_order_and_notes(void **state)
{
	struct config_case c;

	case_open(&c, "a\nb\nc\n");
	diag_error(&c.diag, at(4, 1), "third");
	diag_note(&c.diag, at(0, 1), "see here");
	diag_warning(&c.diag, at(2, 1), "second");
	diag_error(&c.diag, (struct span){ 0, 0, 0 }, "no place");
	assert_int_equal(c.diag.errors, 2);
	assert_int_equal(c.diag.warnings, 1);
	case_expect(&c,
	    "error: no place\n"
	    "a.conf:2:1: warning: second\n    2 | b\n      | ^\n"
	    "a.conf:3:1: error: third\n    3 | c\n      | ^\n"
	    "a.conf:1:1: note: see here\n    1 | a\n      | ^\n");
	case_close(&c);
}

static void
test_unprintable(void **state)
{
	struct config_case c;

	case_open(&c, "\x1b[31m \xc3\xa4\xff x;\n");
	diag_error(&c.diag, at(9, 1), "\"\x1b\x80\xc2\x9b\"");
	case_expect(&c,
	    "a.conf:1:9: error: \"???\"\n"
	    "    1 | ?[31m \xc3\xa4? x;\n"
	    "      |         ^\n");
	case_close(&c);
}

static void
test_long_line(void **state)
{
	struct config_case c;
	char text[1001];

	memset(text, 'x', 1000);
	text[500] = 'Y';
	text[1000] = '\0';
	case_open(&c, text);
	diag_error(&c.diag, at(500, 3), "here");
	char *said = case_said(&c, false);
	char *excerpt = strchr(said, '\n') + 1;
	assert_non_null(strstr(excerpt, "  1 | ...xxx"));
	assert_int_equal(strcspn(excerpt, "\n"), 8 + 3 + 100 + 3);
	char *marks = strchr(excerpt, '\n') + 1;
	assert_int_equal(strchr(excerpt, 'Y') - excerpt, strchr(marks, '^') - marks);
	free(said);
	case_close(&c);
}

static void
test_beyond_the_end(void **state)
{
	struct config_case c;

	case_open(&c, "abc");
	diag_error(&c.diag, at(3, 0), "the end");
	diag_error(&c.diag, at(1, 4000), "too long");
	case_expect(&c,
	    "a.conf:1:2: error: too long\n    1 | abc\n      |  ^~\n"
	    "a.conf:1:4: error: the end\n    1 | abc\n      |    ^\n");
	case_close(&c);
}

static void
test_too_many(void **state)
{
	struct config_case c;

	case_open(&c, "x\n");
	for (int i = 0; i < DIAG_MAX + 7; i++) {
		diag_error(&c.diag, at(0, 1), "again");
		diag_note(&c.diag, at(0, 1), "and a note");
	}
	assert_int_equal(c.diag.errors, DIAG_MAX + 7);
	char *said = case_said(&c, false);
	size_t lines = 0;
	for (char *p = said; *p != '\0'; p++)
		lines += *p == '\n';
	assert_int_equal(lines, DIAG_MAX * 6 + 1);
	assert_non_null(strstr(said, "\n... and 7 more\n"));
	free(said);
	case_close(&c);
}

static void
test_json(void **state)
{
	struct config_case c;

	case_open(&c, "one two\n");
	diag_error(&c.diag, at(4, 3), "\"two\" is bad");
	diag_note(&c.diag, at(0, 3), "here");
	diag_warning(&c.diag, (struct span){ 0, 0, 0 }, "nowhere");
	char *said = case_said(&c, true);
	assert_string_equal(said,
	    "{\"severity\":\"warning\",\"message\":\"nowhere\",\"notes\":[]}\n"
	    "{\"severity\":\"error\",\"file\":\"a.conf\",\"line\":1,\"column\":5,\"end_column\":8,"
	    "\"message\":\"\\\"two\\\" is bad\",\"notes\":[{\"severity\":\"note\",\"file\":\"a.conf\","
	    "\"line\":1,\"column\":1,\"end_column\":4,\"message\":\"here\"}]}\n");
	free(said);
	case_close(&c);
}

static const char *const names[] = { "proxy", "listen", "timeout", NULL, "server_name", "tls" };

static const char *
name_at(void *what, size_t i)
{
	return names[i];
}

static void
expect_closest(const char *word, const char *wanted)
{
	const char *found = diag_closest(slice_of(word), name_at, NULL, ARRAY_COUNT(names));

	if (wanted == NULL)
		assert_null(found);
	else
		assert_string_equal(found, wanted);
}

static void
test_closest(void **state)
{
	expect_closest("proxi", "proxy");
	expect_closest("porxy", "proxy");
	expect_closest("lsten", "listen");
	expect_closest("servername", "server_name");
	expect_closest("server_nmaes", "server_name");
	expect_closest("tsl", "tls");
	expect_closest("banana", NULL);
	expect_closest("", NULL);
	expect_closest("x", NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_caret),
		cmocka_unit_test(test_order_and_notes),
		cmocka_unit_test(test_unprintable),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_beyond_the_end),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_closest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
