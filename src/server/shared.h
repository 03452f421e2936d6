/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory that master and workers share: one sparse region, mapped before the first fork, handed
 * out by the master alone. An equal key is the same memory for as long as configurations that are in use
 * name it, and goes along to the master that follows. Which key is where is the master's own knowledge: a worker
 * that goes wrong cannot change it.
 */
#ifndef MILLRACE_SERVER_SHARED_H
#define MILLRACE_SERVER_SHARED_H

#include "core/snapshot.h"

enum { SHARED_ALIGN = 64, SHARED_SIZE = 256 * 1024 * 1024 };

struct shared_place {
	struct shared_key key;
	uint64_t offset;
};

struct shared_gap {
	uint64_t offset, size;
};

struct shared {
	char *at;                       /* NULL: none */
	size_t size, used;
	/*
	 * A memfd, the master's; -1: of a process that only looks. The offset of this open file,
	 * which nobody reads by, says how much is handed out: two masters side by side have it in
	 * common, and no worker has it.
	 */
	int fd;
	struct arena arena;             /* the keys */
	struct map by_key;              /* struct shared_key -> struct shared_place */
	struct shared_gap *gaps;        /* between objects: what others had, zeroed */
	size_t gap_count;
};

/* `size` bytes of address space, given memory when they are written. False with errno. */
MUST_USE bool shared_open(struct shared *s, size_t size);
/* That of another master; takes the descriptor. False with errno: it is none. */
MUST_USE bool shared_inherit(struct shared *s, int fd);
/* What that one's table has; false: it cannot be. */
MUST_USE bool shared_know(struct shared *s, const struct shared_place *place);
void shared_close(struct shared *s);
/* What another master has handed out meanwhile is not ours to hand out. */
void shared_sync(struct shared *s);
/*
 * In a fork: from here on taking writes to the table only, so that it foretells the master's
 * offsets.
 */
void shared_foretell(struct shared *s);
/* Finds it or takes it, zeroed. False: full, or a size of 0. */
MUST_USE bool shared_take(struct shared *s, const struct shared_key *key, uint64_t *offset);
/* One that was taken: the configuration of that generation names it. */
void shared_name(struct shared *s, const struct shared_key *key, uint64_t generation);
/* Generations of configurations that somebody has something of. */
struct shared_span {
	uint64_t oldest, newest;
};
/*
 * Gives back what no configuration of those spans has named, but for what workers show of themselves. While
 * no other master has a part of the region.
 */
void shared_sweep(struct shared *s, const struct shared_span *held, size_t count);
/* NULL: not inside what the region is. */
void *shared_at(const struct shared *s, uint64_t offset, size_t size);

#endif
