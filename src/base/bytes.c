/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slices are compared and searched, builders are written to. The escapes are
 * here too, one a place that text goes to (JSON, log, URI): whole runs of
 * harmless bytes are copied, and an escape is written entirely or not at all.
 */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";

enum { TOKEN = 1, URI = 2, BOTH = TOKEN | URI };

/* RFC 9110 5.6.2 tchar; RFC 3986 3.3 pchar (without pct-encoded), `/` and `?`. */
static const uint8_t classes[256] = {
	['0' ... '9'] = BOTH, ['A' ... 'Z'] = BOTH, ['a' ... 'z'] = BOTH,
	['!'] = BOTH, ['$'] = BOTH, ['&'] = BOTH, ['\''] = BOTH, ['*'] = BOTH, ['+'] = BOTH,
	['-'] = BOTH, ['.'] = BOTH, ['_'] = BOTH, ['~'] = BOTH,
	['#'] = TOKEN, ['%'] = TOKEN, ['^'] = TOKEN, ['`'] = TOKEN, ['|'] = TOKEN,
	['('] = URI, [')'] = URI, [','] = URI, ['/'] = URI, [':'] = URI, [';'] = URI,
	['='] = URI, ['?'] = URI, ['@'] = URI,
};

static inline bool
word_equal_nocase(const char *a, const char *b, size_t n)
{
	return ascii_lower_word(bytes_word(a, n)) == ascii_lower_word(bytes_word(b, n));
}

/* Eight bytes a step; the last step overlaps the one before it. */
static bool
equal_nocase(const char *a, const char *b, size_t n)
{
	if (n < 8)
		return word_equal_nocase(a, b, n);
	for (size_t i = 0; i + 8 < n; i += 8)
		if (!word_equal_nocase(a + i, b + i, 8))
			return false;
	return word_equal_nocase(a + n - 8, b + n - 8, 8);
}

bool
slice_equal_nocase(struct slice a, struct slice b)
{
	return a.n == b.n && equal_nocase(a.at, b.at, a.n);
}

bool
slice_starts(struct slice s, struct slice with)
{
	return s.n >= with.n && slice_equal(slice_first(s, with.n), with);
}

bool
slice_starts_nocase(struct slice s, struct slice with)
{
	return s.n >= with.n && equal_nocase(s.at, with.at, with.n);
}

bool
slice_ends(struct slice s, struct slice with)
{
	return s.n >= with.n && slice_equal(slice_after(s, s.n - with.n), with);
}

bool
slice_ends_nocase(struct slice s, struct slice with)
{
	return s.n >= with.n && slice_equal_nocase(slice_after(s, s.n - with.n), with);
}

int
slice_compare(struct slice a, struct slice b)
{
	size_t n = MIN_OF(a.n, b.n);
	int order = n == 0 ? 0 : memcmp(a.at, b.at, n);

	return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

size_t
slice_find(struct slice s, char byte, size_t from)
{
	if (from >= s.n)
		return s.n;

	const char *found = memchr(s.at + from, byte, s.n - from);

	return found == NULL ? s.n : (size_t)(found - s.at);
}

size_t
slice_find_slice(struct slice s, struct slice needle)
{
	if (needle.n == 0 || needle.n > s.n)
		return needle.n == 0 ? 0 : s.n;

	const char *found = memmem(s.at, s.n, needle.at, needle.n);

	return found == NULL ? s.n : (size_t)(found - s.at);
}

struct slice
slice_trim(struct slice s)
{
	while (s.n > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
		s = slice_after(s, 1);
	while (s.n > 0 && (s.at[s.n - 1] == ' ' || s.at[s.n - 1] == '\t'))
		s.n--;
	return s;
}

bool
slice_split(struct slice *rest, char byte, struct slice *piece)
{
	if (rest->n == 0)
		return false;

	size_t n = slice_find(*rest, byte, 0);

	*piece = slice_first(*rest, n);
	*rest = slice_after(*rest, MIN_OF(n + 1, rest->n));
	return true;
}

bool
slice_to_u64(struct slice s, uint64_t *out)
{
	uint64_t number = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (!ascii_is_digit(s.at[i]) || __builtin_mul_overflow(number, 10u, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(s.at[i] - '0'), &number))
			return false;
	}
	*out = number;
	return s.n > 0;
}

bool
slice_to_u64_hex(struct slice s, uint64_t *out)
{
	uint64_t number = 0;

	for (size_t i = 0; i < s.n; i++) {
		int digit = ascii_hex_value(s.at[i]);

		if (digit < 0 || number >> 60 != 0)
			return false;
		number = number << 4 | (uint64_t)digit;
	}
	*out = number;
	return s.n > 0;
}

int
ascii_hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
ascii_is_token(char c)
{
	return (classes[(unsigned char)c] & TOKEN) != 0;
}

void
builder_text(struct builder *b, const char *text)
{
	builder_put(b, text, strlen(text));
}

void
builder_number(struct builder *b, uint64_t number)
{
	size_t n = 1;

	for (uint64_t rest = number; rest >= 10; rest /= 10)
		n++;
	if (unlikely(n > b->size - b->n)) {
		b->full = true;
		return;
	}
	b->n += n;
	for (char *at = b->at + b->n; n > 0; n--, number /= 10)
		*--at = (char)('0' + number % 10);
}

void
builder_signed(struct builder *b, int64_t number)
{
	char digits[21];
	struct builder text = builder_on(digits, sizeof(digits));

	if (number < 0)
		builder_byte(&text, '-');
	builder_number(&text, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
	builder_slice_put(b, builder_slice(&text));
}

void
builder_hex(struct builder *b, uint64_t number)
{
	char digits[16];
	size_t at = sizeof(digits);

	do
		digits[--at] = hex_lower[number & 15];
	while ((number >>= 4) != 0);
	builder_put(b, digits + at, sizeof(digits) - at);
}

void
builder_printf(struct builder *b, const char *format, ...)
{
	size_t room = b->size - b->n;
	va_list list;

	va_start(list, format);
	int n = vsnprintf(room > 0 ? b->at + b->n : NULL, room, format, list);
	va_end(list);

	if (n < 0 || (size_t)n >= room)
		b->full = b->full || n != 0;
	else
		b->n += (size_t)n;
}

size_t
utf8_length(struct slice s)
{
	const unsigned char *at = (const unsigned char *)s.at;
	unsigned char c = at[0], lowest = 0x80, highest = 0xbf;
	size_t n;

	if (c < 0x80) {
		return 1;
	} else if (c >= 0xc2 && c <= 0xdf) {
		n = 2;
	} else if (c >= 0xe0 && c <= 0xef) {
		n = 3;
		lowest = c == 0xe0 ? 0xa0 : 0x80;       /* no longer form than needed */
		highest = c == 0xed ? 0x9f : 0xbf;      /* no surrogates */
	} else if (c >= 0xf0 && c <= 0xf4) {
		n = 4;
		lowest = c == 0xf0 ? 0x90 : 0x80;
		highest = c == 0xf4 ? 0x8f : 0xbf;      /* nothing past U+10FFFF */
	} else {
		return 0;
	}
	if (s.n < n || at[1] < lowest || at[1] > highest)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

bool
utf8_printable(struct slice s, size_t *n)
{
	unsigned char c = (unsigned char)s.at[0];
	size_t length = utf8_length(s);

	*n = MAX_OF(length, (size_t)1);
	/* U+0080 to U+009F are control characters, too. */
	return length != 0 && c >= 0x20 && c != 0x7f &&
	    !(length == 2 && c == 0xc2 && (unsigned char)s.at[1] < 0xa0);
}

/* RFC 8259 7. */
static void
put_json_escape(struct builder *b, unsigned char c)
{
	switch (c) {
	case '"':
		BUILDER_LITERAL(b, "\\\"");
		break;
	case '\\':
		BUILDER_LITERAL(b, "\\\\");
		break;
	case '\n':
		BUILDER_LITERAL(b, "\\n");
		break;
	case '\r':
		BUILDER_LITERAL(b, "\\r");
		break;
	case '\t':
		BUILDER_LITERAL(b, "\\t");
		break;
	default:
		if (c >= 0x80)
			BUILDER_LITERAL(b, "\\ufffd");
		else
			builder_put(b, (char[]){ '\\', 'u', '0', '0', hex_lower[c >> 4],
			    hex_lower[c & 15] }, 6);
	}
}

void
builder_json(struct builder *b, struct slice s)
{
	size_t done = 0, i = 0;

	while (i < s.n && !b->full) {
		unsigned char c = (unsigned char)s.at[i];
		size_t n = c < 0x20 || c == '"' || c == '\\' ? 0 : utf8_length(slice_after(s, i));

		if (n == 0) {
			builder_put(b, s.at + done, i - done);
			if (!b->full)
				put_json_escape(b, c);
			done = i + 1;
		}
		i += MAX_OF(n, (size_t)1);
	}
	if (done < s.n && !b->full)
		builder_put(b, s.at + done, s.n - done);
}

static bool
log_is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void
builder_log(struct builder *b, struct slice s)
{
	size_t done = 0;

	for (size_t i = 0; i < s.n && !b->full; i++) {
		unsigned char c = (unsigned char)s.at[i];

		if (likely(log_is_plain(c)))
			continue;
		builder_put(b, s.at + done, i - done);
		if (!b->full)
			builder_put(b, (char[]){ '\\', 'x', hex_lower[c >> 4],
			    hex_lower[c & 15] }, 4);
		done = i + 1;
	}
	if (done < s.n && !b->full)
		builder_put(b, s.at + done, s.n - done);
}

static bool
uri_is_plain(struct slice s)
{
	if (s.at[0] == '%')
		return s.n >= 3 && ascii_hex_value(s.at[1]) >= 0 && ascii_hex_value(s.at[2]) >= 0;
	return (classes[(unsigned char)s.at[0]] & URI) != 0;
}

void
builder_uri(struct builder *b, struct slice s)
{
	size_t done = 0;

	for (size_t i = 0; i < s.n && !b->full; i++) {
		unsigned char c = (unsigned char)s.at[i];

		if (likely(uri_is_plain(slice_after(s, i))))
			continue;
		builder_put(b, s.at + done, i - done);
		if (!b->full)
			builder_put(b, (char[]){ '%', hex_upper[c >> 4], hex_upper[c & 15] }, 3);
		done = i + 1;
	}
	if (done < s.n && !b->full)
		builder_put(b, s.at + done, s.n - done);
}
