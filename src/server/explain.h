/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `server explain` and `server routes`: what a configuration does with a question that nobody sent, and in which
 * order questions are tried. Pure, over a snapshot: no socket, no peer, no clock but that of fields.
 */
#ifndef MILLRACE_SERVER_EXPLAIN_H
#define MILLRACE_SERVER_EXPLAIN_H

#include <stdio.h>

#include "core/snapshot.h"

/* What was built, and what it was built from: places and lines are shown as they were written. */
struct explain_input {
	const struct snapshot *snapshot;
	struct sources *files;
};

/* What the program ends with. */
enum { EXPLAIN_GOOD = 0, EXPLAIN_FAILED = 1, EXPLAIN_USAGE = 2 };

/*
 * `words` are those behind `explain` and `routes`, each with a NUL behind it. The answer goes to `to`; what is
 * wrong with the words to `wrong`, and nothing to `to`.
 */
int explain_question(const struct explain_input *in, const char *const *words, size_t count,
    FILE *to, FILE *wrong);
int explain_routes(const struct explain_input *in, const char *const *words, size_t count,
    FILE *to, FILE *wrong);

#endif
