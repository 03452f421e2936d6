/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arenas grow by blocks that double from 4 KiB (1 KiB behind a first one that
 * was given) to 256 KiB, whose pages are asked for at once; what is too big for that
 * gets a block of its own (which its owner may fill slowly, or never), and the current one
 * stays in use. Free memory is hidden from AddressSanitizer's point of view until it is taken.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	BLOCK_LEAST = 4 * 1024,
	BLOCK_NEXT = 1008,               /* behind a first one that was given; malloc keeps such at hand */
	BLOCK_MOST = 256 * 1024,
	ALONE = 8 * 1024,                /* from this size on a block of its own */
	BLOCK_COST = 32,                 /* cleanups */
	ARRAY_START = 8,                 /* elements */
};

struct arena_block {
	struct arena_block *next;
	size_t grown;                    /* the size that shared blocks have grown to */
};

struct arena_cleanup {
	struct arena_cleanup *next;
	void (*run)(void *what);
	void *what;
};

_Static_assert(sizeof(struct arena_block) % 16 == 0, "what follows a block's head is aligned");

/* A frame of the stack goes without a word, and the next one would find its memory hidden. */
static bool
on_the_heap(char *at)
{
#ifdef MEMORY_HIDES
	char name[8];
	void *region;
	size_t size;

	return strcmp(__asan_locate_address(at, name, sizeof(name), &region, &size), "heap") == 0;
#else
	return false;
#endif
}

/* Where there is no first memory. */
static const _Alignas(16) char no_bytes[16];

static void
use_first(struct arena *a)
{
	a->at = a->first;
	a->end = a->first + a->given;
	if (a->given != 0 && on_the_heap(a->at))
		memory_hide(a->at, a->given);
}

void
arena_init(struct arena *a, void *first, size_t first_size)
{
	size_t skip = -(uintptr_t)first & 15;

	*a = (struct arena){ .first = (char *)no_bytes };
	if (first != NULL) {
		a->first = (char *)first + skip;
		a->given = first_size - MIN_OF(first_size, skip);
	}
	use_first(a);
}

bool
arena_reset_some(struct arena *a, size_t pieces)
{
	for (struct arena_cleanup *c; pieces > 0 && (c = a->cleanups) != NULL; pieces--) {
		a->cleanups = c->next;
		c->run(c->what);
	}
	/* One is as much as many cleanups are: its pages go back to the kernel. */
	for (struct arena_block *b; pieces > 0 && (b = a->blocks) != NULL;
	    pieces -= MIN_OF(pieces, (size_t)BLOCK_COST)) {
		a->blocks = b->next;
		free(b);
	}
	if (a->cleanups != NULL || a->blocks != NULL)
		return false;
	a->total = 0;
	use_first(a);
	return true;
}

void
arena_reset_slow(struct arena *a)
{
	while (!arena_reset_some(a, SIZE_MAX))
		continue;
}

static char *
add_block(struct arena *a, size_t size, size_t grown)
{
	struct arena_block *b = memory_alloc(size);

	*b = (struct arena_block){ a->blocks, grown };
	a->blocks = b;
	a->total += size;
	memory_hide(b + 1, size - sizeof(*b));
	return (char *)(b + 1);
}

void *
arena_alloc_slow(struct arena *a, size_t size)
{
	if (size > SIZE_MAX / 2)
		memory_gone();

	size_t need = (size + 15) & ~(size_t)15;
	size_t grown = a->blocks == NULL ? 0 : a->blocks->grown;
	char *p;

	if (need >= ALONE) {
		p = add_block(a, sizeof(struct arena_block) + need, grown);
	} else {
		size_t least = a->first != no_bytes ? BLOCK_NEXT : BLOCK_LEAST;

		grown = MAX_OF(MIN_OF(grown * 2, (size_t)BLOCK_MOST), least);
		while (grown < need + sizeof(struct arena_block))
			grown *= 2;
		p = add_block(a, grown, grown);
		if (grown == BLOCK_MOST)
			memory_touch(p, grown - sizeof(struct arena_block));
		a->at = p + need;
		a->end = p + grown - sizeof(struct arena_block);
	}
	memory_show(p, size);
	return p;
}

void *
arena_zalloc(struct arena *a, size_t size)
{
	return memset(arena_alloc(a, size), 0, size);
}

void *
arena_array(struct arena *a, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		memory_gone();
	return arena_zalloc(a, bytes);
}

char *
arena_text(struct arena *a, struct slice s)
{
	char *text = arena_alloc(a, s.n + 1);

	if (s.n > 0)
		memcpy(text, s.at, s.n);
	text[s.n] = '\0';
	return text;
}

struct slice
arena_slice(struct arena *a, struct slice s)
{
	return slice_make(arena_text(a, s), s.n);
}

char *
arena_printf(struct arena *a, const char *format, ...)
{
	va_list list, again;

	va_start(list, format);
	va_copy(again, list);
	int n = vsnprintf(NULL, 0, format, list);
	size_t size = n < 0 ? 1 : (size_t)n + 1;
	char *text = arena_alloc(a, size);

	text[0] = '\0';
	vsnprintf(text, size, format, again);
	va_end(again);
	va_end(list);
	return text;
}

void
arena_on_reset(struct arena *a, void (*run)(void *what), void *what)
{
	struct arena_cleanup *c = arena_alloc(a, sizeof(*c));

	*c = (struct arena_cleanup){ a->cleanups, run, what };
	a->cleanups = c;
}

/* An array that was the last thing taken grows where it stands. */
static bool
extend(struct arena *a, const char *array, size_t bytes, size_t wanted)
{
	size_t held = (bytes + 15) & ~(size_t)15, need = (wanted + 15) & ~(size_t)15;

	if (array == NULL || array + held != a->at || need - held > (size_t)(a->end - a->at))
		return false;
	a->at += need - held;
	memory_show(array, wanted);
	return true;
}

void
arena_grow_slow(
    struct arena *a, void *array_pointer, size_t count, size_t *room, size_t more, size_t size)
{
	size_t wanted = MAX_OF(*room == 0 ? ARRAY_START : *room * 2, count + more), bytes;
	char *array;

	if (wanted < *room || wanted < more || __builtin_mul_overflow(wanted, size, &bytes) ||
	    bytes > SIZE_MAX / 2)
		memory_gone();
	memcpy(&array, array_pointer, sizeof(array));
	if (!extend(a, array, *room * size, bytes)) {
		void *moved = arena_alloc(a, bytes);

		if (count > 0)
			memcpy(moved, array, count * size);
		memcpy(array_pointer, &moved, sizeof(moved));
	}
	*room = wanted;
}
