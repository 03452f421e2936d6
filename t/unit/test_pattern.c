/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/pattern.h"
#include "exchange_case.h"

/* Pieces are written with a bar behind each. */
static void
expect(const char *text, bool nocase, const char *prefix, const char *pieces)
{
	char room[128];
	/* of its exact size, so that a sanitizer sees a read behind its end */
	char *copy = memory_alloc(strlen(text) + 1);

	memcpy(copy, text, strlen(text));

	struct pattern p = pattern_read(slice_make(copy, strlen(text)), nocase, room);

	assert_true(p.pieces.n <= strlen(text) + 1);
	if (!slice_is(p.prefix, prefix))
		fail_msg("%s: prefix \"%.*s\"", text, SLICE_ARG(p.prefix));
	for (size_t i = 0; i < p.pieces.n; i++)
		if (room[i] == '\0')
			room[i] = '|';
	if (!slice_is(p.pieces, pieces))
		fail_msg("%s: pieces \"%.*s\"", text, SLICE_ARG(p.pieces));
	free(copy);
}

static void
test_literals(void **state)
{
	expect("", false, "", "");
	expect("^", false, "", "");
	expect("abc", false, "", "abc|");
	expect("^/u/([0-9]+)/edit$", false, "/u/", "/u/|/edit|");
	expect("^/[a-z]+/r5$", false, "/", "/|/r5|");
	expect("^^/a", false, "", "/a|");
	expect("\\.php$", false, "", ".php|");
	expect("a\\/b\\_c", false, "", "a/b_c|");
	expect("a]b}c", false, "", "a]b}c|");
	expect("a.b^c$d", false, "", "a|b|c|d|");
	expect("\xc3\xa9t\xc3\xa9", false, "", "\xc3\xa9t\xc3\xa9|");
}

static void
test_quantifiers(void **state)
{
	expect("ab?c", false, "", "a|c|");
	expect("ab*c", false, "", "a|c|");
	expect("ab+c", false, "", "ab|c|");
	expect("ab+?c++d*?e?+f", false, "", "ab|c|f|");
	expect("ab{2}c{0,3}d{,2}e", false, "", "a|e|");
	expect("a\\.?b\\*c", false, "", "a|b*c|");
	/* no quantifier: what follows is not looked at */
	expect("abc{de}f", false, "", "ab|");
	expect("ab{1", false, "", "a|");
	expect("ab{(c}d)?", false, "", "a|");
}

static void
test_groups(void **state)
{
	expect("a(bc|d)e", false, "", "a|e|");
	expect("a(?:bc)?d", false, "", "a|d|");
	expect("a(?=bc)d(?!e)f(?<=g)h(?<!i)j", false, "", "a|d|f|h|j|");
	expect("a(?<n>b)c(?'m'd)e(?P<o>f)g(?P=o)h(?>i)j", false, "", "a|c|e|g|h|j|");
	expect("a((b)(c|(d)))e", false, "", "a|e|");
	expect("a(\\)b)c([)]d)e", false, "", "a|c|e|");
	expect("(a\\p{Lu})bc", false, "", "bc|");
}

static void
test_classes(void **state)
{
	expect("a[bc]d", false, "", "a|d|");
	expect("a[]b]c[^]d]e", false, "", "a|c|e|");
	expect("a[\\]b]c", false, "", "a|c|");
	expect("a[[:alpha:]]b[[:^digit:]x]c", false, "", "a|b|c|");
	expect("a[(|]b", false, "", "a|b|");
	expect("a[[:<:]]b", false, "", "");
	expect("a[[.x.]]b", false, "", "");
	expect("a[[=b:]|c]", false, "", "");
	expect("a[[:]b]", false, "", "");
	expect("a[b", false, "", "");
	expect("a[b\\", false, "", "");
}

static void
test_escapes(void **state)
{
	expect("ab\\dcd\\bef\\Aghi", false, "", "ab|cd|ef|ghi|");
	expect("ab\\n?cd", false, "", "ab|cd|");
	expect("ab\\x41cd", false, "", "ab|");
	expect("ab\\p{Lu}cd", false, "", "ab|");
	expect("ab\\1cd", false, "", "ab|");
	expect("ab\\k<cd>ef", false, "", "ab|");
	expect("ab\\N{U+41}cd", false, "", "ab|");
	expect("ab\\", false, "", "");
}

/* The whole is not what its parts look like. */
static void
test_unread(void **state)
{
	static const char *const texts[] = { "abc|def", "^abc|^def", "(abc)|def", "abc(?i)def", "abc(?x) def", "(?x)a b c", "abc(?i:d)",
		"(*UTF)abc", "(*NO_START_OPT)abc", "ab(*ACCEPT)cd", "(ab(*ACCEPT))cd", "\\Qa|b\\Ec", "[\\Q]\\E]abc", "abc(?#)def", "abc(?R)?",
		"abc(?1)", "(?|(abc))", "(?(1)a|b)", "abc)", "(abc", "abc\\c[|^]b", "(?C1)abc", "(?[abc])", "(?-i)abc", "(?^)abc", "(?ix)a b" };

	for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
		expect(texts[i], false, "", "");
}

static void
test_without_case(void **state)
{
	expect("(?i)\\.PHP$", false, "", ".PHP|");
	expect("(?i)^/a", false, "", "/a|");
	expect("^/a", true, "", "/a|");
	expect("^/(?i)a", false, "", "");
	expect("(?i)ab\xc3\xa9""cd", false, "", "ab|cd|");
	expect("(?i)", false, "", "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_literals),
		cmocka_unit_test(test_quantifiers),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_unread),
		cmocka_unit_test(test_without_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
