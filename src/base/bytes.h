/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slices (a view of bytes that somebody else owns), builders (a bounded
 * place to write bytes to), ASCII and numbers. No allocation anywhere here.
 */
#ifndef MILLRACE_BASE_BYTES_H
#define MILLRACE_BASE_BYTES_H

#include <endian.h>
#include <string.h>

#include "base/common.h"

struct slice {
	const char *at;
	size_t n;
};

#define SLICE(literal)    ((struct slice){ (literal), sizeof(literal) - 1 })
#define SLICE_EMPTY       ((struct slice){ "", 0 })
#define SLICE_FORMAT      "%.*s"
#define SLICE_ARG(s)      (int)(s).n, (s).at

static inline struct slice
slice_make(const char *at, size_t n)
{
	return (struct slice){ at, n };
}

static inline struct slice
slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

/* What is left of `s` after its first `n` bytes; n <= s.n. */
static inline struct slice
slice_after(struct slice s, size_t n)
{
	return (struct slice){ s.at + n, s.n - n };
}

static inline struct slice
slice_first(struct slice s, size_t n)
{
	return (struct slice){ s.at, n };
}

static inline bool
slice_equal(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.at, b.at, a.n) == 0);
}

static inline bool
slice_is(struct slice s, const char *text)
{
	/* most texts that a word is held against differ in their first byte */
	return s.n == 0 ? *text == '\0' : *s.at == *text && slice_equal(s, slice_of(text));
}

bool slice_equal_nocase(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice with);
bool slice_starts_nocase(struct slice s, struct slice with);
bool slice_ends(struct slice s, struct slice with);
bool slice_ends_nocase(struct slice s, struct slice with);
int slice_compare(struct slice a, struct slice b);          /* by bytes, shorter first */
/* Index of the first `byte` at or after `from`, or s.n when there is none. */
size_t slice_find(struct slice s, char byte, size_t from);
/* Index of the first `needle`, or s.n. */
size_t slice_find_slice(struct slice s, struct slice needle);
/* Cuts spaces and tabs from both ends. */
struct slice slice_trim(struct slice s);
/* Takes what stands before `byte` off the front of *rest; false when *rest is used up. */
bool slice_split(struct slice *rest, char byte, struct slice *piece);

/* Digits only: no sign, no space, not empty, no overflow. */
MUST_USE bool slice_to_u64(struct slice s, uint64_t *out);
MUST_USE bool slice_to_u64_hex(struct slice s, uint64_t *out);   /* no 0x */

static inline char
ascii_lower(char c)
{
	return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

/* At most eight bytes as a number, the first one lowest, whatever the machine. */
static inline uint64_t
bytes_word(const char *at, size_t n)
{
	uint64_t word;
	uint32_t low, high;

	if (n == 8) {
		memcpy(&word, at, 8);
		return le64toh(word);
	}
	if (n >= 4) {
		memcpy(&low, at, 4);
		memcpy(&high, at + n - 4, 4);
		return le32toh(low) | (uint64_t)le32toh(high) << (n - 4) * 8;
	}
	if (n == 0)
		return 0;
	return (uint64_t)(uint8_t)at[0] | (uint64_t)(uint8_t)at[n / 2] << n / 2 * 8 |
	    (uint64_t)(uint8_t)at[n - 1] << (n - 1) * 8;
}

/* ascii_lower of eight bytes at once. */
static inline uint64_t
ascii_lower_word(uint64_t word)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t low = word & (0x7f * ones);
	uint64_t from_a = low + (0x80 - 'A') * ones;
	uint64_t past_z = low + (0x7f - 'Z') * ones;

	return word | ((from_a ^ past_z) & ~word & (0x80 * ones)) >> 2;
}

static inline bool
ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
ascii_is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int ascii_hex_value(char c);      /* 0..15, or -1 */
bool ascii_is_token(char c);      /* RFC 9110 5.6.2 tchar */

/*
 * A builder writes into memory of its owner and never past it: what does not
 * fit is dropped and `full` is set, so one test at the end suffices.
 */
struct builder {
	char *at;
	size_t n, size;
	bool full;
};

static inline struct builder
builder_on(void *memory, size_t size)
{
	return (struct builder){ .at = memory, .size = size };
}

static inline struct slice
builder_slice(const struct builder *b)
{
	return (struct slice){ b->at, b->n };
}

static inline void
builder_put(struct builder *b, const char *at, size_t n)
{
	if (unlikely(n > b->size - b->n)) {
		b->full = true;
		return;
	}
	if (n == 0)
		return;
	memcpy(b->at + b->n, at, n);
	b->n += n;
}

static inline void
builder_slice_put(struct builder *b, struct slice s)
{
	builder_put(b, s.at, s.n);
}

static inline void
builder_byte(struct builder *b, char c)
{
	builder_put(b, &c, 1);
}

#define BUILDER_LITERAL(b, literal) builder_put((b), (literal), sizeof(literal) - 1)

void builder_text(struct builder *b, const char *text);
void builder_number(struct builder *b, uint64_t number);            /* decimal */
void builder_signed(struct builder *b, int64_t number);
void builder_hex(struct builder *b, uint64_t number);               /* lower case, no 0x */
/* Wants one byte of room more than it writes. */
PRINTF(2, 3) void builder_printf(struct builder *b, const char *format, ...);
/* The length of the character that `s`, not empty, starts with; 0: it is none (RFC 3629 4). */
size_t utf8_length(struct slice s);
/* *n: that, or 1. False: it is none, or a control character, which a terminal would follow. */
bool utf8_printable(struct slice s, size_t *n);
/*
 * As the inside of a JSON string: quotes, backslash, control bytes and bytes that are not UTF-8 are
 * escaped.
 */
void builder_json(struct builder *b, struct slice s);
/* For a line of a log: control bytes, `"`, backslash and bytes >= 0x7f as \xNN. */
void builder_log(struct builder *b, struct slice s);
/*
 * Percent-encodes what may not stand in a URI path or query (RFC 3986 3.3, 3.4); %XX stays as it
 * is.
 */
void builder_uri(struct builder *b, struct slice s);

#endif
