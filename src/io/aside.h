/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Work beside the loop: one short-lived thread, while everything else of the process goes on. What it
 * works on is its own until the loop is told that it is done.
 */
#ifndef MILLRACE_IO_ASIDE_H
#define MILLRACE_IO_ASIDE_H

#include <pthread.h>

#include "io/loop.h"

/* Part of its owner. */
struct aside {
	struct loop_event event;
	pthread_t thread;
	int fd;                         /* readable when the work is done */
	bool runs;
	void (*work)(struct aside *a);          /* on the thread */
	void (*done)(struct aside *a);          /* on the loop; another may begin */
};

/* work and done are set. False with errno: nothing runs. All signals are blocked on the thread. */
MUST_USE bool aside_begin(struct aside *a, struct loop *l);
/* Waits for it, where one runs; done is not called. */
void aside_end(struct aside *a);

#endif
