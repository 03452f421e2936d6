/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of one pass of the loop: what is read, what is built to be
 * written, lists that live no longer. All of it is valid to the end of the
 * pass (and not beyond), so nobody owns or counts a piece of it.
 * Reads take a window at its end, keep what came, and the next read goes behind.
 */
#ifndef MILLRACE_BASE_SCRATCH_H
#define MILLRACE_BASE_SCRATCH_H

#include <string.h>

#include "base/bytes.h"

enum { SCRATCH_WINDOW = 64 * 1024 };      /* bytes: the largest single read */

struct scratch_block;
struct scratch_later;

struct scratch {
	char *at, *end;                   /* the free part of the current block */
	/* where `at` is when nothing is taken at all; NULL: not of a block that a reset keeps */
	char *clean;
	struct scratch_block *blocks;     /* current first */
	struct scratch_block *spare;      /* one more, kept by a reset */
	struct scratch_later *later;      /* heap memory to free at the end of the pass */
};

void scratch_init(struct scratch *s);
void scratch_free(struct scratch *s);
void *scratch_alloc_slow(struct scratch *s, size_t size);

/* Aligned to 8, not cleared. */
static inline void *
scratch_alloc(struct scratch *s, size_t size)
{
	size_t need = (size + 7) & ~(size_t)7;

	if (likely(need >= size && need <= (size_t)(s->end - s->at))) {
		void *p = s->at;

		s->at += need;
		memory_show(p, size);
		return p;
	}
	return scratch_alloc_slow(s, size);
}

static inline struct slice
scratch_slice(struct scratch *s, struct slice from)     /* a copy */
{
	char *at = scratch_alloc(s, from.n);

	if (from.n != 0)
		memcpy(at, from.at, from.n);
	return (struct slice){ at, from.n };
}

/* Contiguous free room of at least `size` bytes, not taken yet: take what was used of it. */
char *scratch_window_slow(struct scratch *s, size_t size);
static inline char *
scratch_window(struct scratch *s, size_t size)
{
	if (unlikely(size > (size_t)(s->end - s->at)))
		return scratch_window_slow(s, size);
	memory_show(s->at, size);
	return s->at;
}
/* `n` bytes of the last window stay; nothing is taken between the two calls. */
void scratch_take(struct scratch *s, size_t n);

/* Everything up to now is forgotten. The end of the pass; or earlier, when nothing refers to it. */
void scratch_reset_slow(struct scratch *s);
static inline void
scratch_reset(struct scratch *s)
{
	if (s->at == s->clean)
		return;
	if (likely(s->clean != NULL && s->later == NULL)) {
		memory_hide(s->clean, (size_t)(s->end - s->clean));
		s->at = s->clean;
	} else {
		scratch_reset_slow(s);
	}
}
/*
 * Memory from malloc that may still be looked at in this pass: untouched until the next
 * scratch_reset frees it.
 */
void scratch_free_later(struct scratch *s, void *memory);

#endif
