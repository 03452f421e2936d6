/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/bytes: comparing and searching against a plain loop, numbers at their
 * bounds, and the escapes with every byte and every room for what they write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/bytes.h"

#define assert_slice(s, text) \
	do { \
		struct slice got_ = (s), want_ = SLICE(text); \
		assert_int_equal(got_.n, want_.n); \
		assert_memory_equal(got_.at, want_.at, want_.n); \
	} while (0)

static const struct slice nothing;       /* at is NULL */

static void
compares(void **state)
{
	assert_true(slice_equal(SLICE("abc"), SLICE("abc")));
	assert_false(slice_equal(SLICE("abc"), SLICE("abC")));
	assert_false(slice_equal(SLICE("abc"), SLICE("ab")));
	assert_true(slice_equal(nothing, SLICE_EMPTY));
	assert_true(slice_is(SLICE("x"), "x"));
	assert_true(slice_starts(SLICE("abc"), SLICE("ab")));
	assert_true(slice_starts(SLICE("abc"), SLICE_EMPTY));
	assert_false(slice_starts(SLICE("ab"), SLICE("abc")));
	assert_false(slice_starts(SLICE("abc"), SLICE("AB")));
	assert_true(slice_starts_nocase(SLICE("abc"), SLICE("AB")));
	assert_true(slice_ends(SLICE("abc"), SLICE("bc")));
	assert_false(slice_ends(SLICE("abc"), SLICE("ab")));
	assert_false(slice_ends(SLICE("c"), SLICE("bc")));
	assert_true(slice_ends_nocase(SLICE("a.EXAMPLE"), SLICE(".example")));
	assert_false(slice_ends_nocase(SLICE("a-EXAMPLE"), SLICE(".example")));
	assert_true(slice_compare(SLICE("a"), SLICE("b")) < 0);
	assert_true(slice_compare(SLICE("b"), SLICE("ab")) > 0);
	assert_true(slice_compare(SLICE("a"), SLICE("ab")) < 0);
	assert_true(slice_compare(SLICE("\xff"), SLICE("a")) > 0);
	assert_int_equal(slice_compare(nothing, SLICE_EMPTY), 0);
}

static void
lowers_words_as_bytes(void **state)
{
	for (unsigned c = 0; c < 256; c++) {
		for (unsigned at = 0; at < 8; at++) {
			char text[8] = "ZzAa@[`{", lower[8];
			uint64_t word, want;

			text[at] = (char)c;
			for (unsigned i = 0; i < 8; i++)
				lower[i] = ascii_lower(text[i]);
			memcpy(&word, text, 8);
			memcpy(&want, lower, 8);
			assert_int_equal(ascii_lower_word(word), want);
		}
	}
}

static void
reads_words_of_any_length(void **state)
{
	const char text[] = "\x01\x82\x03\x84\x05\x86\x07\x88";
	uint64_t want = 0;

	assert_int_equal(bytes_word(text, 0), 0);
	for (unsigned n = 1; n <= 8; n++) {
		char *exact = malloc(n);         /* so that a read past its end is seen */

		memcpy(exact, text, n);
		want |= (uint64_t)(uint8_t)text[n - 1] << (n - 1) * 8;
		assert_int_equal(bytes_word(exact, n), want);
		free(exact);
	}
}

/* Every length, every place of a difference, and every byte there. */
static void
ignores_case_and_nothing_else(void **state)
{
	const char upper[] = "ACCEPT-ENCODING: 0123456789";

	for (size_t n = 0; n < sizeof(upper); n++) {
		char *text = malloc(n + 1);

		for (size_t i = 0; i < n; i++)
			text[i] = ascii_lower(upper[i]);
		assert_true(slice_equal_nocase(slice_make(text, n), slice_make(upper, n)));
		for (size_t i = 0; i < n; i++) {
			for (unsigned c = 0; c < 256; c++) {
				char kept = text[i];
				bool same = ascii_lower((char)c) == ascii_lower(upper[i]);

				text[i] = (char)c;
				assert_int_equal(slice_equal_nocase(slice_make(text, n),
				    slice_make(upper, n)), same);
				text[i] = kept;
			}
		}
		free(text);
	}
	assert_false(slice_equal_nocase(SLICE("a"), SLICE("ab")));
	assert_true(slice_equal_nocase(nothing, SLICE_EMPTY));
}

static void
finds(void **state)
{
	assert_int_equal(slice_find(SLICE("a,b,c"), ',', 0), 1);
	assert_int_equal(slice_find(SLICE("a,b,c"), ',', 2), 3);
	assert_int_equal(slice_find(SLICE("a,b,c"), ',', 4), 5);
	assert_int_equal(slice_find(SLICE("a,b,c"), ',', 99), 5);
	assert_int_equal(slice_find(SLICE("a\0b"), '\0', 0), 1);
	assert_int_equal(slice_find(nothing, 'x', 0), 0);
	assert_int_equal(slice_find_slice(SLICE("aab\r\n\r\nx"), SLICE("\r\n\r\n")), 3);
	assert_int_equal(slice_find_slice(SLICE("aaab"), SLICE("aab")), 1);
	assert_int_equal(slice_find_slice(SLICE("aaab"), SLICE("x")), 4);
	assert_int_equal(slice_find_slice(SLICE("a"), SLICE("aa")), 1);
	assert_int_equal(slice_find_slice(SLICE("a"), SLICE_EMPTY), 0);
	assert_int_equal(slice_find_slice(nothing, SLICE("a")), 0);
}

static void
trims_and_splits(void **state)
{
	struct slice rest = SLICE("a,,bc"), piece;

	assert_slice(slice_trim(SLICE(" \t a b\t ")), "a b");
	assert_slice(slice_trim(SLICE(" \t ")), "");
	assert_slice(slice_trim(SLICE("\na")), "\na");
	assert_true(slice_split(&rest, ',', &piece));
	assert_slice(piece, "a");
	assert_true(slice_split(&rest, ',', &piece));
	assert_slice(piece, "");
	assert_true(slice_split(&rest, ',', &piece));
	assert_slice(piece, "bc");
	assert_false(slice_split(&rest, ',', &piece));
	rest = SLICE("a,");
	assert_true(slice_split(&rest, ',', &piece));
	assert_false(slice_split(&rest, ',', &piece));
}

static void
reads_numbers(void **state)
{
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "1x", "0x1",
		"18446744073709551616", "99999999999999999999", "184467440737095516150" };
	static const char *const bad_hex[] = { "", "0x1", "g", "-1", "10000000000000000", "1 " };
	uint64_t n;

	assert_true(slice_to_u64(SLICE("0"), &n) && n == 0);
	assert_true(slice_to_u64(SLICE("0042"), &n) && n == 42);
	assert_true(slice_to_u64(SLICE("18446744073709551615"), &n) && n == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		assert_false(slice_to_u64(slice_of(bad[i]), &n));
	assert_false(slice_to_u64(nothing, &n));
	assert_true(slice_to_u64_hex(SLICE("fF"), &n) && n == 255);
	assert_true(slice_to_u64_hex(SLICE("0ffffffffffffffff"), &n) && n == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_COUNT(bad_hex); i++)
		assert_false(slice_to_u64_hex(slice_of(bad_hex[i]), &n));
}

static void
knows_ascii(void **state)
{
	for (int c = 0; c < 256; c++) {
		bool alnum = ascii_is_digit((char)c) || ascii_is_alpha((char)c);
		bool token = alnum || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);

		assert_int_equal(ascii_is_token((char)c), token);
	}
	assert_int_equal(ascii_hex_value('0'), 0);
	assert_int_equal(ascii_hex_value('f'), 15);
	assert_int_equal(ascii_hex_value('A'), 10);
	assert_int_equal(ascii_hex_value('g'), -1);
	assert_int_equal(ascii_hex_value('@'), -1);
	assert_int_equal(ascii_hex_value('\x01'), -1);
}

static void
builds_numbers(void **state)
{
	char memory[128];
	struct builder b = builder_on(memory, sizeof(memory));

	builder_number(&b, 0);
	builder_byte(&b, ' ');
	builder_number(&b, UINT64_MAX);
	BUILDER_LITERAL(&b, " ");
	builder_signed(&b, INT64_MIN);
	builder_text(&b, " ");
	builder_signed(&b, 7);
	builder_byte(&b, ' ');
	builder_hex(&b, 0);
	builder_byte(&b, ' ');
	builder_hex(&b, UINT64_C(0xfedcba9876543210));
	builder_printf(&b, " %d%s", -5, "x");
	assert_false(b.full);
	assert_slice(builder_slice(&b), "0 18446744073709551615 -9223372036854775808 7 0 "
	    "fedcba9876543210 -5x");
}

static void
never_writes_past_its_room(void **state)
{
	char *memory = malloc(4);
	struct builder b = builder_on(memory, 4);

	builder_text(&b, "abc");
	assert_false(b.full);
	builder_text(&b, "de");
	assert_true(b.full);
	assert_slice(builder_slice(&b), "abc");

	b = builder_on(memory, 4);
	builder_printf(&b, "%s", "abc");
	assert_false(b.full);
	builder_printf(&b, "%s", "");
	assert_false(b.full);
	builder_printf(&b, "%s", "d");       /* no room for its NUL */
	assert_true(b.full);
	assert_slice(builder_slice(&b), "abc");
	free(memory);

	b = builder_on(NULL, 0);
	builder_slice_put(&b, nothing);
	builder_printf(&b, "%s", "");
	assert_false(b.full);
	builder_number(&b, 1);
	assert_true(b.full);
}

static struct slice
with(void (*put)(struct builder *, struct slice), struct slice s)
{
	static char memory[4096];
	struct builder b = builder_on(memory, sizeof(memory));

	put(&b, s);
	assert_false(b.full);
	return builder_slice(&b);
}

static void
knows_what_is_printed(void **state)
{
	static const struct {
		struct slice text;
		size_t n;
	} cases[] = { { SLICE("a"), 1 }, { SLICE(" x"), 1 }, { SLICE("\xc3\xbc"), 2 }, { SLICE("\xc2\xa0"), 2 },
		{ SLICE("\xe2\x9c\x93"), 3 }, { SLICE("\xf0\x9f\x98\x80"), 4 }, { SLICE("\0"), 0 },
		{ SLICE("\x1b["), 0 }, { SLICE("\t"), 0 }, { SLICE("\x1f"), 0 }, { SLICE("\x7f"), 0 },
		{ SLICE("\xc2\x80"), 0 }, { SLICE("\xc2\x9b"), 0 }, { SLICE("\xc2\x9f"), 0 },
		{ SLICE("\xff"), 0 }, { SLICE("\xc2"), 0 }, { SLICE("\xe2\x9c"), 0 } };

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		size_t n, length = utf8_length(cases[i].text);

		assert_int_equal(utf8_printable(cases[i].text, &n), cases[i].n != 0);
		assert_int_equal(n, length != 0 ? length : 1);
	}
}

static void
escapes_json(void **state)
{
	assert_slice(with(builder_json, SLICE("a\"b\\c\n\r\t\b\x1f\x7f/")),
	    "a\\\"b\\\\c\\n\\r\\t\\u0008\\u001f\x7f/");
	assert_slice(with(builder_json, SLICE("\0z")), "\\u0000z");
	/* the first and the last character of each length, U+D7FF and U+E000 */
	assert_slice(with(builder_json, SLICE("\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"
	    "\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")),
	    "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"
	    "\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
	assert_slice(with(builder_json, SLICE("\xc0\x80")), "\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("\xc1\xbf")), "\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("\xe0\x9f\xbf")), "\\ufffd\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("\xed\xa0\x80")), "\\ufffd\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("\xf0\x8f\xbf\xbf")), "\\ufffd\\ufffd\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("\xf4\x90\x80\x80")), "\\ufffd\\ufffd\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("\xf5\xff\x80")), "\\ufffd\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("x\xe2\x82")), "x\\ufffd\\ufffd");
	assert_slice(with(builder_json, SLICE("\xe2\"\x82")), "\\ufffd\\\"\\ufffd");
	assert_slice(with(builder_json, SLICE("\xc3" "a")), "\\ufffda");
}

static void
escapes_log_lines(void **state)
{
	assert_slice(with(builder_log, SLICE("a b~\n\"\\\x7f\x80\xff")),
	    "a b~\\x0a\\x22\\x5c\\x7f\\x80\\xff");
	assert_slice(with(builder_log, nothing), "");
}

static void
escapes_uris(void **state)
{
	assert_slice(with(builder_uri, SLICE("/a-._~!$&'()*+,;=:@?b=1")),
	    "/a-._~!$&'()*+,;=:@?b=1");
	assert_slice(with(builder_uri, SLICE("a b#\"<>[]\\^`{|}\xc3\xa4\r\n")),
	    "a%20b%23%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D%C3%A4%0D%0A");
	assert_slice(with(builder_uri, SLICE("%20%4g%")), "%20%254g%25");
	assert_slice(with(builder_uri, slice_first(SLICE("%20"), 2)), "%252");
	assert_slice(with(builder_uri, slice_first(SLICE("%20"), 1)), "%25");
}

/* In every room: a prefix in whole escapes, and full exactly when it is not all. */
static void
cuts_escapes_nowhere(void **state)
{
	static void (*const puts_[])(struct builder *, struct slice) = { builder_json, builder_log,
		builder_uri };
	struct slice text = SLICE("\n\"\xff" "a\r\\\x01\xc3\xa4");

	for (size_t k = 0; k < ARRAY_COUNT(puts_); k++) {
		char whole[64];
		struct slice all = with(puts_[k], text);

		memcpy(whole, all.at, all.n);
		for (size_t room = 0; room <= all.n; room++) {
			char *memory = malloc(room + 1);
			struct builder b = builder_on(memory, room);

			puts_[k](&b, text);
			assert_int_equal(b.full, room < all.n);
			assert_memory_equal(memory, whole, b.n);

			/* what came is what some beginning of the text makes */
			bool found = false;

			for (size_t n = 0; n <= text.n && !found; n++)
				found = with(puts_[k], slice_first(text, n)).n == b.n;
			assert_true(found);
			free(memory);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares),
		cmocka_unit_test(lowers_words_as_bytes),
		cmocka_unit_test(reads_words_of_any_length),
		cmocka_unit_test(ignores_case_and_nothing_else),
		cmocka_unit_test(finds),
		cmocka_unit_test(trims_and_splits),
		cmocka_unit_test(reads_numbers),
		cmocka_unit_test(knows_ascii),
		cmocka_unit_test(builds_numbers),
		cmocka_unit_test(never_writes_past_its_room),
		cmocka_unit_test(knows_what_is_printed),
		cmocka_unit_test(escapes_json),
		cmocka_unit_test(escapes_log_lines),
		cmocka_unit_test(escapes_uris),
		cmocka_unit_test(cuts_escapes_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
