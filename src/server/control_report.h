/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is answered over the control socket: lines, whose first byte says what they are. Who asks makes tables
 * or JSON of them.
 *
 *   +NAME TAB COLUMN:KIND TAB …    a table begins; *NAME …: one that has a single row
 *   SPACE VALUE TAB VALUE TAB …    a row
 *   =TEXT                          a line for people
 *   >TEXT                          a line that is printed as it is, whatever was asked for
 *   !TEXT                          what is missing
 *   -TEXT                          it failed; nothing of it was done
 *   ~TEXT                          the same, and it says by itself where: `x.conf:3:1: error: …`
 *   .                              the end: without it the answer is not whole
 *
 * A kind is n (a number), b (bytes), d (milliseconds), r (thousandths), s (text). In texts TAB,
 * newline and backslash are \t, \n and \\; other control bytes are \xNN. `-` is a value that is not
 * known, \- one that is called so.
 */
#ifndef MILLRACE_SERVER_CONTROL_REPORT_H
#define MILLRACE_SERVER_CONTROL_REPORT_H

#include "base/bytes.h"

struct report {
	char *at;                       /* heap */
	size_t n, size, most;
	size_t line;                    /* where the one that is written begins */
	bool full;                      /* it is dropped when it ends */
	uint64_t dropped;               /* rows */
};

enum { REPORT_MAX = 4 * 1024 * 1024 };

void report_init(struct report *r, size_t most);
void report_free(struct report *r);

/* `columns`: as above, a space between them. */
void report_table(struct report *r, char kind, const char *name, const char *columns);
void report_row(struct report *r);
void report_text(struct report *r, struct slice text);
void report_number(struct report *r, uint64_t number);
void report_nothing(struct report *r);
/* False: there was no room, and it is as if it had not been begun. */
bool report_end_row(struct report *r);
PRINTF(3, 4) void report_line(struct report *r, char kind, const char *format, ...);
/* A line of any length. */
void report_whole_line(struct report *r, char kind, struct slice text);
/* Lines as they were made elsewhere: only rows are taken. How many. */
uint64_t report_take_rows(struct report *r, struct slice lines);
/* The last line; always has room. */
void report_end(struct report *r);

#endif
