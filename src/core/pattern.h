/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be told of a regular expression by reading it: bytes that are in every
 * text that it matches. In doubt: nothing. PCRE2 is not asked here.
 */
#ifndef MILLRACE_CORE_PATTERN_H
#define MILLRACE_CORE_PATTERN_H

#include "base/bytes.h"

struct pattern {
	/* every match begins with it, if a match begins only where the text does */
	struct slice prefix;
	/* pieces that are in every text that matches, a NUL behind each; ASCII letters in any case */
	struct slice pieces;
};

/* `room` takes n + 1 bytes, and the result lives in it. `nocase`: compiled so. */
struct pattern pattern_read(struct slice text, bool nocase, char *room);

#endif
