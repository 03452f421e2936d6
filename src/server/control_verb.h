/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything that can be asked over the control socket: the one list, of the command line and of the master.
 */
#ifndef MILLRACE_SERVER_CONTROL_VERB_H
#define MILLRACE_SERVER_CONTROL_VERB_H

#include "base/bytes.h"

struct control_client;

struct control_verb {
	const char *name;
	const char *words;              /* that stand behind it, for people */
	const char *help;
	size_t least, most;             /* of them */
	void (*run)(struct control_client *k);
};

/* Ended by name NULL. */
extern const struct control_verb control_verbs[];
const struct control_verb *control_verb_find(struct slice name);

#endif
