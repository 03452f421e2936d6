/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A byte is reduced to a code of six bits, three codes in a row are a gram.
 * Each item hangs in a hash table at the one gram of its pieces that the fewest others
 * have. A text sets one bit for every item hanging at one of its grams; those that have no gram
 * have their bits set from the start. Then each item with its bit set is asked for its codes.
 */
#include "core/sieve.h"

#include <stdlib.h>

enum {
	GRAM_BITS = 18, GRAMS = 1 << GRAM_BITS,
	NO_GRAM = GRAMS,
	/* more at one gram: taken for items without one, so a text of one gram costs no more */
	HANGING_MAX = 16
};

#define LAST UINT32_C(0x80000000)

struct hook {
	uint32_t gram;                  /* NO_GRAM: free */
	uint32_t hanging;               /* the first of its items in `hanging` */
};

struct sieve {
	size_t count, words;
	const uint32_t *orders;
	const uint64_t *codes;          /* of each item: the set of codes that it needs */
	const uint64_t *always;         /* bits of the items that hang nowhere */
	const uint32_t *hanging;        /* items; LAST is set in a hook's last one */
	struct hook *hooks;             /* open addressing */
	unsigned shift;                 /* of hashes: 32 less the bits of their count */
};

/* `a` and `A` have one code; so have others, which lets an item pass in vain. */
static inline unsigned
code_of(char byte)
{
	unsigned c = (uint8_t)byte;

	return c & 0x3f >> (c >> 6 & 1);
}

static inline uint32_t
gram_next(uint32_t gram, unsigned code)
{
	return (gram << 6 | code) & (GRAMS - 1);
}

static inline struct hook *
hook_at(const struct sieve *s, uint32_t gram)
{
	uint32_t mask = (UINT32_C(1) << (32 - s->shift)) - 1;
	uint32_t i = gram * UINT32_C(2654435761) >> s->shift;

	while (s->hooks[i].gram != gram && s->hooks[i].gram != NO_GRAM)
		i = (i + 1) & mask;
	return &s->hooks[i];
}

/* ------------------------------------------------------------------ built */

struct gram_of {
	uint32_t gram, item;
};

struct grams {
	struct slice rest;              /* of the pieces */
	size_t length;                  /* of the piece so far */
	uint32_t gram;
};

static bool
next_gram(struct grams *g)
{
	while (g->rest.n > 0) {
		char c = g->rest.at[0];

		g->rest = slice_after(g->rest, 1);
		g->length = c == '\0' ? 0 : g->length + 1;
		g->gram = gram_next(g->gram, code_of(c));
		if (g->length >= 3)
			return true;
	}
	return false;
}

static uint64_t
codes_of(struct slice pieces)
{
	uint64_t codes = 0;

	for (size_t i = 0; i < pieces.n; i++)
		if (pieces.at[i] != '\0')
			codes |= UINT64_C(1) << code_of(pieces.at[i]);
	return codes;
}

static uint32_t
rarest_gram(struct slice pieces, const uint32_t *frequency)
{
	struct grams g = { .rest = pieces };
	uint32_t rarest = NO_GRAM;

	while (next_gram(&g))
		if (rarest == NO_GRAM || frequency[g.gram] < frequency[rarest])
			rarest = g.gram;
	return rarest;
}

static int
gram_compare(const void *a, const void *b)
{
	const struct gram_of *x = a, *y = b;

	return x->gram != y->gram ? (x->gram > y->gram) - (x->gram < y->gram)
				  : (x->item > y->item) - (x->item < y->item);
}

/* The gram that each item hangs at, sorted by gram. */
static struct gram_of *
choose_grams(const struct sieve_item *items, size_t count)
{
	uint32_t *frequency = memory_zalloc(GRAMS * sizeof(*frequency));
	struct gram_of *chosen = memory_alloc((count + 1) * sizeof(*chosen));

	for (size_t i = 0; i < count; i++)
		for (struct grams g = { .rest = items[i].pieces }; next_gram(&g);)
			frequency[g.gram]++;
	for (size_t i = 0; i < count; i++)
		chosen[i] = (struct gram_of){ rarest_gram(items[i].pieces, frequency), (uint32_t)i };
	free(frequency);
	qsort(chosen, count, sizeof(*chosen), gram_compare);
	return chosen;
}

static void
make_hooks(struct sieve *s, struct arena *a)
{
	size_t bits = 4;

	while ((size_t)1 << bits < 2 * s->count)
		bits++;
	s->shift = (unsigned)(32 - bits);
	s->hooks = arena_array(a, (size_t)1 << bits, sizeof(*s->hooks));
	for (size_t i = 0; i < (size_t)1 << bits; i++)
		s->hooks[i].gram = NO_GRAM;
}

static void
hang(struct sieve *s, struct arena *a, const struct gram_of *chosen)
{
	uint32_t *hanging = arena_array(a, s->count, sizeof(*hanging)), n = 0;
	uint64_t *always = arena_array(a, s->words, sizeof(*always));

	s->hanging = hanging;
	s->always = always;
	make_hooks(s, a);
	for (size_t i = 0, from = 0; i < s->count; from = i) {
		uint32_t gram = chosen[i].gram;

		while (i < s->count && chosen[i].gram == gram)
			i++;
		if (gram == NO_GRAM || i - from > HANGING_MAX) {
			for (size_t k = from; k < i; k++)
				always[chosen[k].item / 64] |= UINT64_C(1) << chosen[k].item % 64;
			continue;
		}
		*hook_at(s, gram) = (struct hook){ gram, n };
		for (size_t k = from; k < i; k++)
			hanging[n++] = chosen[k].item;
		hanging[n - 1] |= LAST;
	}
}

struct sieve *
sieve_build(struct arena *a, const struct sieve_item *items, size_t count)
{
	struct sieve *s = arena_zalloc(a, sizeof(*s));
	uint32_t *orders = arena_array(a, count, sizeof(*orders));
	uint64_t *codes = arena_array(a, count, sizeof(*codes));
	struct gram_of *chosen = choose_grams(items, count);

	for (size_t i = 0; i < count; i++) {
		orders[i] = items[i].order;
		codes[i] = codes_of(items[i].pieces);
	}
	s->count = count;
	s->words = (count + 63) / 64;
	s->orders = orders;
	s->codes = codes;
	hang(s, a, chosen);
	free(chosen);
	return s;
}

/* ------------------------------------------------------------------ asked */

/* Sets the bits of all that hangs at grams of the text; returns the set of its codes. */
static uint64_t
walk(const struct sieve *s, struct slice text, uint64_t *bits)
{
	uint64_t codes = 0;
	uint32_t gram = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned code = code_of(text.at[i]);

		codes |= UINT64_C(1) << code;
		gram = gram_next(gram, code);

		const struct hook *hook = hook_at(s, gram);

		if (likely(hook->gram == NO_GRAM))
			continue;
		for (const uint32_t *at = s->hanging + hook->hanging;; at++) {
			uint32_t item = *at & ~LAST;

			bits[item / 64] |= UINT64_C(1) << item % 64;
			if (*at & LAST)
				break;
		}
	}
	return codes;
}

size_t
sieve_ask(const struct sieve *s, struct scratch *scratch, struct slice text, const uint32_t **out)
{
	uint64_t *bits = scratch_alloc(scratch, s->words * sizeof(*bits));

	memcpy(bits, s->always, s->words * sizeof(*bits));

	uint64_t lacking = ~walk(s, text, bits);
	size_t most = 0, n = 0;

	for (size_t w = 0; w < s->words; w++)
		most += (size_t)__builtin_popcountll(bits[w]);

	uint32_t *orders = scratch_alloc(scratch, most * sizeof(*orders));

	*out = orders;
	for (size_t w = 0; w < s->words; w++)
		for (uint64_t left = bits[w]; left != 0; left &= left - 1) {
			size_t item = 64 * w + (size_t)__builtin_ctzll(left);

			if ((s->codes[item] & lacking) == 0)
				orders[n++] = s->orders[item];
		}
	return n;
}
