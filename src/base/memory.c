/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reserve is of malloc's own, not mapped: what is given up is then surely
 * malloc's to give, and it is taken again wherever malloc has room. Only the
 * head of a piece is ever written to: it costs address space.
 */
#include "base/memory.h"

#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(MEMORY_HIDES)
/* Of the sanitizer's allocator_interface.h, which gcc does not install. */
size_t __sanitizer_get_current_allocated_bytes(void);
#elif defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 33)
#define MALLOC_TELLS 1
#endif
#endif

enum {
	PIECE = 512 * 1024,
	PIECES = 16,
	PIECES_LAST = 4,                 /* for those who cannot do without */
};

bool memory_is_short;

static struct {
	void *pieces[PIECES];
	int held;
	pthread_mutex_t lock;            /* a thread builds beside the loop, and may need one too */
} reserve = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The text is a constant and goes out by write: nothing here may want memory. */
void
memory_gone(void)
{
	static const char text[] = "millrace: out of memory\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)n;
	abort();
}

/* False: no more than `leave` pieces are left. */
static bool
give_up_piece(int leave)
{
	void *piece = NULL;

	pthread_mutex_lock(&reserve.lock);
	memory_is_short = true;
	if (reserve.held > leave)
		piece = reserve.pieces[--reserve.held];
	pthread_mutex_unlock(&reserve.lock);
	free(piece);
	return piece != NULL;
}

static void
need_piece(void)
{
	if (!give_up_piece(0))
		memory_gone();
}

void *
memory_alloc(size_t size)
{
	void *p;

	while (unlikely((p = malloc(MAX_OF(size, (size_t)1))) == NULL))
		need_piece();
	return p;
}

void *
memory_zalloc(size_t size)
{
	void *p;

	while (unlikely((p = calloc(1, MAX_OF(size, (size_t)1))) == NULL))
		need_piece();
	return p;
}

void *
memory_realloc(void *p, size_t size)
{
	void *moved;

	while (unlikely((moved = realloc(p, MAX_OF(size, (size_t)1))) == NULL))
		need_piece();
	return moved;
}

void *
memory_try(size_t size)
{
	void *p;

	do
		p = malloc(MAX_OF(size, (size_t)1));
	while (unlikely(p == NULL) && give_up_piece(PIECES_LAST));
	return p;
}

bool
memory_reserve(void)
{
	bool whole = true;

	pthread_mutex_lock(&reserve.lock);
	while (whole && reserve.held < PIECES) {
		void *p = malloc(PIECE);

		whole = p != NULL;
		if (whole)
			reserve.pieces[reserve.held++] = p;
	}
	pthread_mutex_unlock(&reserve.lock);
	return whole;
}

void
memory_unreserve(void)
{
	while (reserve.held > 0)
		free(reserve.pieces[--reserve.held]);
}

void
memory_touch(void *at, size_t size)
{
#ifdef MADV_POPULATE_WRITE
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = ((uintptr_t)at + page - 1) & -page, end = ((uintptr_t)at + size) & -page;

	/* what an older kernel does not know changes nothing: they come one by one */
	if (from < end)
		madvise((void *)from, end - from, MADV_POPULATE_WRITE);
#endif
}

void
memory_trim(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

/* ------------------------------------------------------------------ how much there is */

#if defined(MEMORY_HIDES)
static size_t
allocated(void)
{
	return __sanitizer_get_current_allocated_bytes();
}
#elif defined(MALLOC_TELLS)
static size_t
allocated(void)
{
	struct mallinfo2 now = mallinfo2();

	return now.uordblks + now.hblkhd;
}
#else
/* The pages of our own: what was freed may be among them, what was not touched is not. */
static size_t
allocated(void)
{
	static size_t bytes;             /* of the last time, if it cannot be read now */
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char text[128];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	unsigned long total, resident, shared;

	if (fd >= 0)
		close(fd);
	text[MAX_OF(n, 0)] = '\0';
	if (sscanf(text, "%lu %lu %lu", &total, &resident, &shared) == 3 && resident > shared)
		bytes = (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
	return bytes + (size_t)reserve.held * PIECE;
}
#endif

size_t
memory_in_use(void)
{
	size_t all = allocated(), kept = (size_t)reserve.held * PIECE;

	return all - MIN_OF(all, kept);
}
