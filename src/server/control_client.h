/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `server VERB …` on the command line: asks the master that runs, and prints what it answers.
 */
#ifndef MILLRACE_SERVER_CONTROL_CLIENT_H
#define MILLRACE_SERVER_CONTROL_CLIENT_H

#include <sys/types.h>

#include "base/common.h"

struct control_question {
	const char *socket;             /* where it is */
	const char **words;             /* the verb, and what stands behind it */
	size_t count;
	bool json;
};

/* The exit status: 0, or 1 when it failed, which was said on stderr. */
int control_ask(const struct control_question *q);
/* Who listens there, by a number of this container's; 0: it has none; -1: nobody does, or errno. */
pid_t control_listener(const char *socket);
/* Every verb with its words and what it does, for the usage. */
void control_print_verbs(void);
/* NULL: it is one, with as many words as it takes; else what is wrong with it. */
const char *control_misused(const struct control_question *q);

#endif
