/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is wrong with a configuration, collected: file:line:column, the line,
 * a caret, a suggestion; as text for people and as JSON lines for tools.
 */
#ifndef MILLRACE_CONFIG_DIAG_H
#define MILLRACE_CONFIG_DIAG_H

#include <stdio.h>

#include "config/source.h"

enum severity { SEVERITY_NOTE, SEVERITY_WARNING, SEVERITY_ERROR };

struct diagnostic {
	enum severity severity;
	struct span span;
	const char *text;
	struct diagnostic *next;        /* a note belongs to what stands before it */
};

enum { DIAG_MAX = 200 };                /* more errors than that are counted, not kept */

struct diag {
	struct arena *arena;
	struct sources *sources;
	struct diagnostic *first, *last;
	size_t errors, warnings;
	bool keep_notes;                /* the last error was kept, so its notes are */
	bool errors_only;               /* nobody reads warnings: what finds nothing else need not look */
};

void diag_init(struct diag *d, struct arena *arena, struct sources *sources);
PRINTF(3, 4) void diag_error(struct diag *d, struct span at, const char *format, ...);
PRINTF(3, 4) void diag_warning(struct diag *d, struct span at, const char *format, ...);
/* Belongs to the error or warning before it: where the other of two stands. */
PRINTF(3, 4) void diag_note(struct diag *d, struct span at, const char *format, ...);

/* As much of a word as a message should repeat. */
struct slice diag_word(struct slice word);

/*
 *   conf.d/shop.conf:14:9: error: unknown directive "proxi" in route; did you mean "proxy"?
 *      14 |         proxi shop;
 *         |         ^~~~~
 * Sorted by file and place (a note stays with its owner). A long line is shown as a window of 100
 * columns round the caret; control bytes and broken UTF-8 are shown as `?`.
 */
void diag_print(const struct diag *d, FILE *to);
/* One object a line: severity, file, line, column, end_column, message, notes[]. */
void diag_print_json(const struct diag *d, FILE *to);

/* The closest of `count` names (next(what, i)), or NULL when none is close. For did-you-mean. */
const char *diag_closest(
    struct slice word, const char *(*next)(void *what, size_t i), void *what, size_t count);
/* Behind what is wrong with it: `; did you mean "CLOSEST"?`, or nothing where that is NULL. */
#define DIAG_MEANT "%s%s%s"
#define DIAG_MEANT_ARG(closest) \
	(closest) != NULL ? "; did you mean \"" : "", (closest) != NULL ? (closest) : "", \
	    (closest) != NULL ? "\"?" : ""

#endif
