/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory that master and workers share: one sparse region, mapped before the first fork, handed
 * out by the master alone. An equal key is the same memory for as long as the master lives. Which
 * key is where is the master's own knowledge: a worker that goes wrong cannot change it.
 */
#ifndef MILLRACE_SERVER_SHARED_H
#define MILLRACE_SERVER_SHARED_H

#include "core/snapshot.h"

enum { SHARED_ALIGN = 64, SHARED_SIZE = 256 * 1024 * 1024 };

struct shared {
	char *at;                       /* NULL: none */
	size_t size, used;
	struct arena arena;             /* the keys */
	struct map by_key;              /* struct shared_key -> struct shared_place */
};

/* `size` bytes of address space, given memory when they are written. False with errno. */
MUST_USE bool shared_open(struct shared *s, size_t size);
void shared_close(struct shared *s);
/*
 * Finds it or takes it, zeroed. False: full, or a size of 0. Taking writes to the table only, so a
 * fork of the master foretells its offsets.
 */
MUST_USE bool shared_take(struct shared *s, const struct shared_key *key, uint64_t *offset);
/* NULL: not inside what the region is. */
void *shared_at(const struct shared *s, uint64_t offset, size_t size);

#endif
