/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looked for is the last byte of a boundary; where it stands, the bytes in front are compared. So a
 * search goes on where it stopped, whatever was cut, and no byte is looked at twice but by a
 * comparison.
 */
#include "protocols/frame/boundary.h"

void
boundary_prepare(struct boundary *b)
{
	b->longest = 0;
	b->shortest = BOUNDARY_LONGEST;
	b->alike = true;
	b->last = b->count > 0 ? b->any[0].at[b->any[0].n - 1] : '\0';
	for (size_t i = 0; i < b->count; i++) {
		b->longest = MAX_OF(b->longest, (uint8_t)b->any[i].n);
		b->shortest = MIN_OF(b->shortest, (uint8_t)b->any[i].n);
		b->alike = b->alike && b->any[i].at[b->any[i].n - 1] == b->last;
	}
}

int
boundary_hidden(const struct boundary *b, int *by)
{
	for (int i = 0; i < b->count; i++) {
		for (int k = 0; k < b->count; k++) {
			size_t at = slice_find_slice(b->any[i], b->any[k]);

			if (i != k && (at + b->any[k].n < b->any[i].n ||
					  (k < i && slice_equal(b->any[i], b->any[k])))) {
				*by = k;
				return i;
			}
		}
	}
	return -1;
}

/* The longest that ends behind the byte at `last`, or 0. */
static size_t
boundary_length(const struct boundary *b, struct slice in, size_t lower, size_t last)
{
	size_t longest = 0;

	for (size_t i = 0; i < b->count; i++) {
		size_t n = b->any[i].n;

		if (n > longest && n <= last + 1 - lower &&
		    memcmp(in.at + last + 1 - n, b->any[i].at, n) == 0)
			longest = n;
	}
	return longest;
}

static bool
boundary_may_end(const struct boundary *b, char c)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->any[i].at[b->any[i].n - 1] == c)
			return true;
	return false;
}

size_t
boundary_find(const struct boundary *b, struct slice in, size_t lower, size_t from, size_t *length)
{
	if (b->longest == 1 && b->alike) {
		size_t end = slice_find(in, b->last, MAX_OF(from, lower)) + 1;

		*length = 1;
		return end <= in.n ? end : 0;
	}
	for (size_t at = MAX_OF(from, lower); at < in.n; at++) {
		if (b->alike)
			at = slice_find(in, b->last, at);
		else
			while (at < in.n && !boundary_may_end(b, in.at[at]))
				at++;
		if (at >= in.n)
			break;
		*length = boundary_length(b, in, lower, at);
		if (*length > 0)
			return at + 1;
	}
	return 0;
}
