/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The second name of the pid file is there for as long as an upgrade is under way; the first is the
 * new master's as soon as that one serves.
 */
#include "server/upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/pid_file.h"
#include "server/process.h"

/* Milliseconds. */
enum { LOOK = 5, BEGIN_LIMIT = 3000, SERVE_LIMIT = 80 * 1000, PROOF = 1000 };

struct upgrade_look {
	const char *path;
	char old_path[4096];
	pid_t old;
};

/* Whoever looks at the lock is in the way of who takes it, for a moment. */
static void
rest(void)
{
	usleep(LOOK * 1000);
}

static bool
has_begun(const struct upgrade_look *l)
{
	return pid_file_holder(l->old_path) == l->old || pid_file_holder(l->path) != l->old;
}

/* 0: not yet; -1: it came to nothing. */
static pid_t
successor(const struct upgrade_look *l)
{
	pid_t now = pid_file_holder(l->path);

	if (now > 0 && now != l->old)
		return now;
	return now == l->old && access(l->old_path, F_OK) < 0 ? -1 : 0;
}

static bool
wait_for_begin(const struct upgrade_look *l)
{
	for (int waited = 0; waited < BEGIN_LIMIT; waited += LOOK) {
		if (has_begun(l))
			return true;
		rest();
	}
	return false;
}

static pid_t
wait_for_successor(const struct upgrade_look *l)
{
	for (int waited = 0; waited < SERVE_LIMIT; waited += LOOK) {
		pid_t pid = successor(l);

		if (pid != 0)
			return pid;
		rest();
	}
	return -1;
}

static int
refuse_upgrade(const struct upgrade_look *l)
{
	process_refuse("not upgraded: the error log of the master that goes on (pid %d) says why",
	    (int)l->old);
	return 1;
}

static int
follow(const struct upgrade_look *l)
{
	pid_t fresh = wait_for_begin(l) ? wait_for_successor(l) : -1;

	if (fresh < 0)
		return refuse_upgrade(l);
	usleep(PROOF * 1000);
	if (pid_file_holder(l->path) != fresh)
		return refuse_upgrade(l);
	if (kill(l->old, SIGQUIT) < 0 && errno != ESRCH) {
		process_refuse("cannot tell the old master (pid %d) to quit: %s", (int)l->old,
		    strerror(errno));
		return 1;
	}
	printf("master %d serves in place of %d\n", (int)fresh, (int)l->old);
	return 0;
}

int
upgrade_by_signals(const char *pid_path)
{
	struct upgrade_look l = { .path = pid_path, .old = pid_file_holder(pid_path) };
	int n = snprintf(l.old_path, sizeof(l.old_path), "%s%s", pid_path, PID_FILE_OLD);

	if (n < 0 || (size_t)n >= sizeof(l.old_path))
		process_refuse("the name of the pid file is too long: %s", pid_path);
	else if (l.old == 0)
		process_refuse("no master is running: %s", pid_path);
	else if (l.old < 0)
		process_refuse("cannot read the pid file %s: %s", pid_path, strerror(errno));
	else if (pid_file_holder(l.old_path) > 0)
		process_refuse("an upgrade is under way already");
	else if (kill(l.old, SIGUSR2) < 0)
		process_refuse(
		    "cannot signal the master (pid %d): %s", (int)l.old, strerror(errno));
	else
		return follow(&l);
	return 1;
}
