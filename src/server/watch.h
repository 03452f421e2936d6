/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `watch on`: tells when what the configuration was read from changes. Directories are watched, never files: an
 * editor that renames makes another file, and what is missing may come. What a path leads through by symbolic
 * links is watched, too. It reads nothing and decides nothing.
 */
#ifndef MILLRACE_SERVER_WATCH_H
#define MILLRACE_SERVER_WATCH_H

#include "config/source.h"
#include "io/loop.h"

enum {
	WATCH_DIRECTORIES_MAX = 1024,
	WATCH_SILENCE = 300,            /* ms without a change, behind which it is told */
	WATCH_PATIENCE = 5000           /* ms that it is waited for silence */
};

struct watch_place;

struct watch {
	struct loop *loop;
	struct loop_event event;
	struct deadline silence;
	int fd;                         /* inotify; -1: it is off */
	void (*changed)(struct watch *w);
	struct arena arena;             /* of what is wanted; anew with each watch_set */
	struct map names;               /* place and name of each file -> its place */
	struct map by_path;             /* of a directory -> its place */
	struct watch_place *places;
	uint64_t since;                 /* clock_ms() of the first change not told; 0: none */
	bool retries;                   /* the last check failed: any *.conf beside may mend it */
	bool told;                      /* that something cannot be watched */
	bool missed;                    /* … in the set that is being made */
};

#define WATCH_OFF ((struct watch){ .fd = -1 })

/* False with errno. `changed` is called when there were changes, and then none for a while. */
MUST_USE bool watch_open(struct watch *w, struct loop *loop, void (*changed)(struct watch *w));
/* `owner`: who opened it; else a fork, in which the registrations with the loop are forgotten. */
void watch_close(struct watch *w, bool owner);
/*
 * Watches these files and globs from now on, with what leads to them, and no others. `good`: what stands in
 * them serves; else other files in their directories count as well. What cannot be watched is
 * said in the log, once.
 */
void watch_set(struct watch *w, const struct sources *files, bool good);

#endif
