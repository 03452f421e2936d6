/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread ends right behind its last word, so that joining it waits for nothing.
 */
#include "io/aside.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *
run(void *what)
{
	struct aside *a = what;
	const uint64_t one = 1;

	a->work(a);
	/* An eventfd always takes its first one. */
	ssize_t n = write(a->fd, &one, sizeof(one));
	(void)n;
	return NULL;
}

void
aside_end(struct aside *a)
{
	if (!a->runs)
		return;
	pthread_join(a->thread, NULL);
	a->runs = false;
	loop_unwatch(&a->event);
	close(a->fd);
}

static void
on_done(struct loop_event *e, unsigned what)
{
	struct aside *a = CONTAINER_OF(e, struct aside, event);

	aside_end(a);
	a->done(a);
}

static bool
start(struct aside *a)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&a->thread, NULL, run, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return error == 0;
}

bool
aside_begin(struct aside *a, struct loop *l)
{
	a->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->fd < 0)
		return false;
	a->runs = loop_watch(l, &a->event, a->fd, LOOP_LEVEL, on_done);
	if (a->runs && start(a))
		return true;

	int error = errno;

	if (a->runs)
		loop_unwatch(&a->event);
	a->runs = false;
	close(a->fd);
	errno = error;
	return false;
}
