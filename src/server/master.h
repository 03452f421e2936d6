/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The master: binds, forks, watches. It parses nothing, reads from nobody but its own workers (in
 * messages of one size), and keeps every listening socket, so that no worker's end refuses a
 * client.
 */
#ifndef MILLRACE_SERVER_MASTER_H
#define MILLRACE_SERVER_MASTER_H

#include "base/bytes.h"

struct master;

enum master_background { MASTER_AS_CONFIGURED, MASTER_FOREGROUND, MASTER_BACKGROUND };

struct master_options {
	const char *config;             /* -c: a file or a directory */
	const char *prefix;             /* -p; or NULL */
	enum master_background background;
	char **argv;                    /* as main got it */
};

/*
 * The start, and then to the end: the exit status (of the master, of each worker, of who started
 * one in the background).
 */
int master_run(const struct master_options *options);

/* Somebody who waits for a reload. Part of its owner. */
struct reload_waiter {
	struct reload_waiter *next;
	/*
	 * Called once: good, when every worker serves the new configuration. `said`: lines for people, what
	 * changed, or all that is wrong; it lives to the end of the call.
	 */
	void (*done)(struct reload_waiter *w, bool good, struct slice said);
};

/*
 * Reads the configuration again and gives it to the workers. NULL: nobody waits, the error log is told. One
 * that is asked for while another is under way begins behind it.
 */
void master_reload(struct master *m, struct reload_waiter *w);
/*
 * Runs the program anew, which takes over all sockets; then this one drains. NULL: nobody waits, and this one stays
 * until it is told to quit.
 */
void master_upgrade(struct master *m, struct reload_waiter *w);
/* Who asked, for either, is gone. */
void master_reload_forget(struct master *m, struct reload_waiter *w);

#endif
