/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What marks the end of a message: one of a few strings of bytes. The one that ends first is it; of
 * several that end at one place the longest ("\r\n" before "\n").
 */
#ifndef MILLRACE_PROTOCOLS_FRAME_BOUNDARY_H
#define MILLRACE_PROTOCOLS_FRAME_BOUNDARY_H

#include "base/bytes.h"

enum {
	BOUNDARY_ANY = 4,               /* alternatives */
	BOUNDARY_LONGEST = 64,          /* bytes of one */
};

struct boundary {
	struct slice any[BOUNDARY_ANY];         /* the first is the one that is written */
	uint8_t count;                          /* 0: there is none */
	/* made by boundary_prepare */
	uint8_t longest, shortest;
	bool alike;                             /* all end in the same byte, `last` */
	char last;
};

void boundary_prepare(struct boundary *b);
/*
 * Which alternative can never be found, because *by ends before it wherever it stands; -1: all can.
 */
int boundary_hidden(const struct boundary *b, int *by);
/*
 * The end of the first boundary that lies wholly at or behind `lower` and ends behind `from`
 * (bytes up to there were looked at before), and how long it is. 0: there is none.
 */
size_t boundary_find(
    const struct boundary *b, struct slice in, size_t lower, size_t from, size_t *length);

#endif
