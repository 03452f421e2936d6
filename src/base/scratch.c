/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks of 256 KiB, or of what one request needs. A reset keeps the current
 * block and one more, so that a steady worker neither allocates nor faults.
 * Free memory is hidden from AddressSanitizer's point of view until it is taken.
 */
#include "base/scratch.h"

#include <stdlib.h>

#include "base/arena.h"

enum { BLOCK = 256 * 1024 };

struct scratch_block {
	struct scratch_block *next;
	size_t size;                     /* its head included */
};

struct scratch_later {                   /* scratch memory too: it goes with the pass */
	struct scratch_later *next;
	void *memory;
};

static char *
block_start(struct scratch_block *b)
{
	return (char *)(b + 1);
}

static void
use_block(struct scratch *s, struct scratch_block *b)
{
	b->next = s->blocks;
	s->blocks = b;
	s->at = block_start(b);
	s->clean = b->next == NULL && b->size == BLOCK ? s->at : NULL;
	s->end = (char *)b + b->size;
	memory_hide(s->at, (size_t)(s->end - s->at));
}

static struct scratch_block *
new_block(size_t size)
{
	struct scratch_block *b = memory_alloc(size);

	b->size = size;
	return b;
}

/* Goes on in a block with room for `need` bytes; the rest of the current one stays unused. */
static void
add_room(struct scratch *s, size_t need)
{
	struct scratch_block *b = s->spare;

	if (need > BLOCK - sizeof(*b)) {
		use_block(s, new_block(sizeof(*b) + need));
	} else if (b != NULL) {
		s->spare = NULL;
		use_block(s, b);
	} else {
		use_block(s, new_block(BLOCK));
	}
}

void
scratch_init(struct scratch *s)
{
	*s = (struct scratch){ .at = NULL };
	use_block(s, new_block(BLOCK));
}

static void
free_later_list(struct scratch *s)
{
	for (; s->later != NULL; s->later = s->later->next)
		free(s->later->memory);
}

void
scratch_free(struct scratch *s)
{
	free_later_list(s);
	for (struct scratch_block *b; (b = s->blocks) != NULL;) {
		s->blocks = b->next;
		free(b);
	}
	free(s->spare);
	*s = (struct scratch){ .at = NULL };
}

/* Rounded up to what keeps the free part aligned. Nobody means more than half of all memory. */
static size_t
round_up(size_t size)
{
	return size > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size + 7) & ~(size_t)7;
}

void *
scratch_alloc_slow(struct scratch *s, size_t size)
{
	size_t need = round_up(size);

	add_room(s, need);

	void *p = s->at;

	s->at += need;
	memory_show(p, size);
	return p;
}

char *
scratch_window_slow(struct scratch *s, size_t size)
{
	add_room(s, round_up(size));
	memory_show(s->at, size);
	return s->at;
}

void
scratch_take(struct scratch *s, size_t n)
{
	memory_hide(s->at + n, (size_t)(s->end - s->at) - n);
	s->at += round_up(n);
}

void
scratch_reset_slow(struct scratch *s)
{
	struct scratch_block *keep = NULL;

	free_later_list(s);
	for (struct scratch_block *b; (b = s->blocks) != NULL;) {
		s->blocks = b->next;
		if (b->size == BLOCK && keep == NULL) {
			keep = b;
		} else if (b->size == BLOCK && s->spare == NULL) {
			memory_hide(block_start(b), b->size - sizeof(*b));
			s->spare = b;
		} else {
			free(b);
		}
	}
	use_block(s, keep != NULL ? keep : new_block(BLOCK));
}

void
scratch_free_later(struct scratch *s, void *memory)
{
	struct scratch_later *later = scratch_alloc(s, sizeof(*later));

	*later = (struct scratch_later){ s->later, memory };
	s->later = later;
}
