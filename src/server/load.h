/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a configuration on disk to a bundle: a short-lived child of the master
 * reads, builds and checks with the master's rights, says what is wrong on stderr, and
 * hands back one descriptor. So the master parses nothing, and a crash of the parser is a verdict.
 */
#ifndef MILLRACE_SERVER_LOAD_H
#define MILLRACE_SERVER_LOAD_H

#include "server/binding.h"
#include "server/build.h"
#include "server/shared.h"

struct load_input {
	const char *config;             /* as given: a file or a directory */
	const char *prefix;             /* or NULL */
	/* What the master has, and the child foretells numbers and places from. */
	const struct binding_table *bindings;
	struct shared *shared;
	/* a reload: what is served now; what is said goes there in place of stderr */
	const struct bundle *running;   /* or NULL */
	int said;                       /* when there is one */
};

struct load {
	pid_t pid;                      /* the child */
	int fd;                         /* the verdict comes here: readable once */
};

/* False with errno: no child. */
MUST_USE bool load_begin(struct load *l, const struct load_input *in);
/*
 * Once fd is readable: takes the verdict and closes fd (the child is the caller's to reap). False:
 * errors were said.
 */
MUST_USE bool load_end(struct load *l, struct bundle *b);
/* The same with waiting and reaping. */
MUST_USE bool load_wait(struct load *l, struct bundle *b);

/*
 * The set of files and the paths that build_snapshot wants, from those of the command line. In the
 * arena of `files`, which was initialised.
 */
void load_locate(
    struct sources *files, const char *config, const char *prefix, struct build_input *in);
/* CPUs that this process may run on. */
unsigned load_cpus(void);

#endif
