/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking for the first byte of a kind, sixteen bytes a step (SSE2) or eight (any machine). What a
 * kind marks is exact; some mark more than what is wrong, and leave it to a table what to make of
 * it.
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_SCAN_H
#define MILLRACE_PROTOCOLS_HTTP_SCAN_H

#include "base/bytes.h"

enum scan_kind {
	SCAN_CONTROL,           /* below 0x20, and DEL */
	SCAN_NOT_VISIBLE,       /* not 0x21..0x7e */
	SCAN_COLON,
	SCAN_NOT_NAME,          /* not a letter, a digit, `-` */
	SCAN_NOT_HOST,          /* not a small letter, a digit, `-`, `.` */
	SCAN_NOT_PATH,          /* not a letter, a digit, `-`, `_`, `/` */
	SCAN_NOT_QUERY,         /* not 0x21..0x7e, or `#` */
};

#ifdef __SSE2__
#include <emmintrin.h>

enum { SCAN_STEP = 16, SCAN_BITS = 1, SCAN_EXACT = 1 };

#define SCAN_EACH(byte) _mm_set1_epi8((char)(byte))

static inline __m128i
scan_in(__m128i x, char first, char last)
{
	__m128i from = _mm_sub_epi8(x, SCAN_EACH(first));

	return _mm_cmpeq_epi8(_mm_min_epu8(from, SCAN_EACH(last - first)), from);
}

static inline __m128i
scan_is(__m128i x, char byte)
{
	return _mm_cmpeq_epi8(x, SCAN_EACH(byte));
}

static inline __m128i
scan_alnum(__m128i x)
{
	__m128i lower = _mm_or_si128(x, SCAN_EACH(0x20));

	return _mm_or_si128(scan_in(lower, 'a', 'z'), scan_in(x, '0', '9'));
}

/* A bit for each byte that is of the kind; the lowest is the first. */
static inline __attribute__((always_inline)) uint64_t
scan_marks(const char *at, enum scan_kind kind)
{
	const __m128i x = _mm_loadu_si128((const __m128i *)at);
	__m128i fine = _mm_setzero_si128();

	switch (kind) {
	case SCAN_CONTROL:
		return (unsigned)_mm_movemask_epi8(
		    _mm_or_si128(scan_in(x, 0, 0x1f), scan_is(x, 0x7f)));
	case SCAN_COLON:
		return (unsigned)_mm_movemask_epi8(scan_is(x, ':'));
	case SCAN_NOT_VISIBLE:
		fine = scan_in(x, 0x21, 0x7e);
		break;
	case SCAN_NOT_NAME:
		fine = _mm_or_si128(scan_alnum(x), scan_is(x, '-'));
		break;
	case SCAN_NOT_HOST:
		fine = _mm_or_si128(scan_in(x, 'a', 'z'),
		    _mm_andnot_si128(scan_is(x, '/'), scan_in(x, '-', '9')));
		break;
	case SCAN_NOT_PATH:
		fine = _mm_or_si128(_mm_or_si128(scan_alnum(x), scan_is(x, '/')),
		    _mm_or_si128(scan_is(x, '-'), scan_is(x, '_')));
		break;
	case SCAN_NOT_QUERY:
		fine = _mm_andnot_si128(scan_is(x, '#'), scan_in(x, 0x21, 0x7e));
		break;
	}
	return (unsigned)_mm_movemask_epi8(fine) ^ 0xffff;
}

#else

enum { SCAN_STEP = 8, SCAN_BITS = 8, SCAN_EXACT = 0 };

#define SCAN_EACH(byte) ((byte) * UINT64_C(0x0101010101010101))

/* Only the lowest mark is exact: a borrow may mark a byte above it. */
static inline uint64_t
scan_is(uint64_t word, char byte)
{
	uint64_t zero = word ^ SCAN_EACH((uint64_t)byte);

	return (zero - SCAN_EACH(1)) & ~zero;
}

static inline uint64_t
scan_not_visible(uint64_t word)
{
	return ((word - SCAN_EACH(0x21)) & ~word) | word | (word + SCAN_EACH(1));
}

static inline __attribute__((always_inline)) uint64_t
scan_marks(const char *at, enum scan_kind kind)
{
	const uint64_t high = SCAN_EACH(UINT64_C(0x80)), word = bytes_word(at, 8);

	switch (kind) {
	case SCAN_CONTROL:
		return (((word - SCAN_EACH(0x20)) & ~word) | scan_is(word, 0x7f)) & high;
	case SCAN_COLON:
		return scan_is(word, ':') & high;
	case SCAN_NOT_VISIBLE:
		return scan_not_visible(word) & high;
	case SCAN_NOT_QUERY:
		return (scan_not_visible(word) | scan_is(word, '#')) & high;
	default:
		return high;            /* the table looks at every byte */
	}
}

#endif

/* Fewer than a step: in a copy, with zeros behind them. */
APART static uint64_t
scan_copy(const char *at, const char *end, enum scan_kind kind)
{
	char copy[SCAN_STEP] = { 0 };

	memcpy(copy, at, (size_t)(end - at));
	return scan_marks(copy, kind);
}

/* The last step before the end: what stands in front of `at` is shifted out. */
static inline __attribute__((always_inline)) uint64_t
scan_last(const char *first, const char *at, const char *end, enum scan_kind kind)
{
	if (SCAN_EXACT && end - first >= SCAN_STEP)
		return scan_marks(end - SCAN_STEP, kind) >> (SCAN_STEP - (end - at));
	return scan_copy(at, end, kind);
}

/*
 * The first byte in [at, stop) of that kind, or `stop`. Bytes from `first` (<= at) up to `end`
 * (>= stop) may be read.
 */
static inline __attribute__((always_inline)) const char *
scan(const char *first, const char *at, const char *stop, const char *end, enum scan_kind kind)
{
	for (;;) {
		uint64_t marks = likely(end - at >= SCAN_STEP) ? scan_marks(at, kind) :
								  scan_last(first, at, end, kind);

		if (marks != 0) {
			const char *found = at + (unsigned)__builtin_ctzll(marks) / SCAN_BITS;

			return found < stop ? found : stop;
		}
		if (stop - at <= SCAN_STEP)
			return stop;
		at += SCAN_STEP;
	}
}

#endif
