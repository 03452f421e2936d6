/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bump memory with one end: everything taken from an arena goes when the
 * arena does. Allocation cannot fail (memory.h).
 */
#ifndef MILLRACE_BASE_ARENA_H
#define MILLRACE_BASE_ARENA_H

#include "base/bytes.h"
#include "base/memory.h"

struct arena_block;
struct arena_cleanup;

struct arena {
	char *at, *end;
	struct arena_block *blocks;       /* newest first; malloc'ed */
	struct arena_cleanup *cleanups;   /* run newest first */
	char *first;                      /* memory of the owner, used before any block */
	size_t given;                     /* bytes of it */
	size_t total;                     /* bytes in blocks */
};

/*
 * `first` (may be NULL) is memory of the owner that is used before the heap is.
 * The owner does not touch it (nor clears it) from here on: on the heap, it is hidden while free.
 */
void arena_init(struct arena *a, void *first, size_t first_size);
/* A part of arena_reset: so many cleanups and blocks, at most. True: it was the last. */
MUST_USE bool arena_reset_some(struct arena *a, size_t pieces);

/* Runs the cleanups, frees the blocks; the arena may be used again. */
void arena_reset_slow(struct arena *a);
static inline void
arena_reset(struct arena *a)
{
#ifndef MEMORY_HIDES
	if (likely(a->blocks == NULL && a->cleanups == NULL)) {
		a->at = a->first;
		return;
	}
#endif
	arena_reset_slow(a);
}

void *arena_alloc_slow(struct arena *a, size_t size);

/* Aligned for any type, not cleared; never NULL, not even for no bytes. */
static inline void *
arena_alloc(struct arena *a, size_t size)
{
	size_t need = (size + 15) & ~(size_t)15;

	if (likely(need >= size && need <= (size_t)(a->end - a->at))) {
		void *p = a->at;

		a->at += need;
		memory_show(p, size);
		return p;
	}
	return arena_alloc_slow(a, size);
}

void *arena_zalloc(struct arena *a, size_t size);             /* cleared */
/* cleared; overflow ends the process */
void *arena_array(struct arena *a, size_t count, size_t size);
/* a copy; a NUL stands behind it, not counted */
struct slice arena_slice(struct arena *a, struct slice s);
char *arena_text(struct arena *a, struct slice s);             /* a copy, NUL-terminated */
PRINTF(2, 3) char *arena_printf(struct arena *a, const char *format, ...);
/* Calls run(what) when the arena is reset. */
void arena_on_reset(struct arena *a, void (*run)(void *what), void *what);

void arena_grow_slow(
    struct arena *a, void *array_pointer, size_t count, size_t *room, size_t more, size_t size);

/*
 * Grows an array in place by `more` elements: returns where the first of them is to be written
 * and counts them; the array may move. Start with array NULL, count 0, room 0.
 */
static inline void *
arena_grow(
    struct arena *a, void *array_pointer, size_t *count, size_t *room, size_t more, size_t size)
{
	char *array;

	if (unlikely(more > *room - *count))
		arena_grow_slow(a, array_pointer, *count, room, more, size);
	memcpy(&array, array_pointer, sizeof(array));   /* whatever type it points to */
	array += *count * size;
	*count += more;
	return array;
}

#define ARENA_PUSH(a, array, count, room) \
	((__typeof__(array))arena_grow((a), &(array), &(count), &(room), 1, sizeof(*(array))))

#endif
