/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * malloc and friends that never return NULL, and what stands between them and
 * the end of the process: a reserve, taken at the start and never touched, that is given up
 * piece by piece when there is no memory left. Whoever took it sees
 * memory_is_short and ends what can be ended, until the reserve is whole again.
 */
#ifndef MILLRACE_BASE_MEMORY_H
#define MILLRACE_BASE_MEMORY_H

#include "base/common.h"

/* Never NULL; free with free(). Out of memory, and of the reserve: ends the process. */
void *memory_alloc(size_t size);
void *memory_zalloc(size_t size);
void *memory_realloc(void *p, size_t size);
NORETURN void memory_gone(void);

/*
 * NULL when there is none: for what one connection can be ended for. It leaves the last of the
 * reserve to those above.
 */
MUST_USE void *memory_try(size_t size);

/* An allocation has failed since this was set to false: the reserve was broken into. */
extern bool memory_is_short;
/* Takes the reserve, or what is missing of it. True: it is whole. */
bool memory_reserve(void);
void memory_unreserve(void);

/*
 * Asks for the pages of what will be written to, all at once: a fault each costs more than what is
 * done there.
 */
void memory_touch(void *at, size_t size);
/* What was freed goes back to the kernel, where malloc keeps it. */
void memory_trim(void);
/* Bytes that the program has from malloc, but for the reserve; of the whole process where malloc does not say. */
size_t memory_in_use(void);

#endif
