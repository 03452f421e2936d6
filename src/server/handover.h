/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a master leaves to the one that follows it, another program perhaps: a sealed memfd with a
 * table of all that is inherited by descriptor, whose number stands in the environment. Descriptors
 * keep their numbers over the exec.
 */
#ifndef MILLRACE_SERVER_HANDOVER_H
#define MILLRACE_SERVER_HANDOVER_H

#include "server/binding.h"
#include "server/shared.h"

/* Of the table. A master that knows it not says so, and the one before it goes on. */
enum { HANDOVER_VERSION = 1 };

/* What a master is besides its sockets and its memory. */
struct handover_about {
	int32_t link;                   /* a socket: masters speak over it */
	int32_t stderr_fd;              /* the real one: 2 is what is said until it serves */
	int32_t background;
	uint32_t workers_shown;         /* places of workers in shared memory: all so far */
	uint32_t workers_others;        /* the first of them, of masters that have not ended yet */
	char pid_path[4096];            /* empty: none */
};

/* A sealed memfd, or -1 with errno. */
MUST_USE int handover_write(const struct handover_about *about,
    const struct binding_table *bindings, const struct shared *shared);
/*
 * In a fork, before the exec: what the table names stays open over it, and the environment says
 * where it is.
 */
MUST_USE bool handover_keep(const struct handover_about *about,
    const struct binding_table *bindings, const struct shared *shared, int table);
/*
 * HANDOVER_NONE: we follow nobody. HANDOVER_BAD: *why. HANDOVER_TAKEN: all is the caller's, and no
 * program that we run inherits it; a shared memory of another layout is none (NULL).
 */
enum handover_taking { HANDOVER_NONE, HANDOVER_BAD, HANDOVER_TAKEN };
MUST_USE enum handover_taking handover_take(struct handover_about *about,
    struct binding_table *bindings, struct shared *shared, const char **why);

#endif
