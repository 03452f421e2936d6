/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the files of a configuration to a snapshot: one pure function. It
 * touches no global, clock, log, loop or (but through `files`) disk, and binds nothing. -t, the
 * start, and every worker call it.
 */
#ifndef MILLRACE_SERVER_BUILD_H
#define MILLRACE_SERVER_BUILD_H

#include <stdio.h>

#include "core/protocol.h"
#include "core/snapshot.h"
#include "server/compare.h"

/* Where the master that runs is found. Empty: nothing is said, or not so that it can be read. */
struct build_paths {
	struct slice pid, control;
};

struct build_input {
	/*
	 * `directory` is set; the snapshot keeps pointing into their texts, so they live as long
	 * as it
	 */
	struct sources *files;
	struct slice path;              /* file, or directory (its *.conf, in order) */
	/* -p: for pid and logs given as relative paths; empty: the configuration's directory */
	struct slice prefix;
	/* what may be shared with it (patterns are, by themselves; nothing else yet); or NULL */
	const struct snapshot *previous;
	bool trace;                     /* keep origins, for -T */
	/* what is in it, by name, in the arena of `files`; or NULL */
	struct compare_list *parts;
};

/*
 * NULL: errors were reported. The snapshot has one holder, the caller. Warnings may have been
 * reported either way.
 */
MUST_USE struct snapshot *build_snapshot(const struct build_input *in, struct diag *diag);
/* The same, and then -T to a file. False: errors. */
bool build_print_effective(const struct build_input *in, struct diag *diag, FILE *to);

/*
 * Reads the two settings that say where the master is, and no others: what else is wrong does not matter. In the
 * arena of `files`. False: errors were reported.
 */
bool build_paths(const struct build_input *in, struct diag *diag, struct build_paths *to);

/*
 * -D of one module, in->path: its directives and handlers; `show` is called for each of its
 * protocols. False: errors.
 */
bool build_print_module(const struct build_input *in, struct diag *diag, FILE *to, bool roff,
    void (*show)(const struct protocol_ops *ops, bool roff));

#endif
