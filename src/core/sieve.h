/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of many regular expressions can match a text at all, told in one walk over the
 * text: by three bytes that each of them needs, and by the set of all the bytes that it
 * needs. ASCII case aside, so that it holds with and without case.
 */
#ifndef MILLRACE_CORE_SIEVE_H
#define MILLRACE_CORE_SIEVE_H

#include "base/arena.h"
#include "base/scratch.h"

struct sieve_item {
	struct slice pieces;            /* regex_pieces() */
	uint32_t order;                 /* what is given back for it */
};

struct sieve;

/* Items with ascending orders. */
struct sieve *sieve_build(struct arena *a, const struct sieve_item *items, size_t count);
/*
 * Orders, ascending, of all items whose pieces are in the text, and perhaps of some others; *out
 * lives in the scratch memory. Returns how many.
 */
size_t sieve_ask(
    const struct sieve *s, struct scratch *scratch, struct slice text, const uint32_t **out);

#endif
