/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast bytes come or go, held against a least rate: for who sends a body a
 * byte at a time, and for who takes an answer so. What is counted, and where, is the
 * user's affair: a pace is two stores.
 */
#ifndef MILLRACE_CORE_PACE_H
#define MILLRACE_CORE_PACE_H

#include "base/common.h"

/* ms that are judged as one: a fast start is no credit for longer. */
enum { PACE_STRETCH = 60 * 1000 };

/* A stretch of time and what was counted when it began. Zeroed: it has not begun. */
struct pace {
	uint64_t since;         /* clock_ms() */
	uint64_t bytes;
	uint64_t held;          /* clock_ms() since when time does not count; 0: it does */
};

static inline void
pace_begin(struct pace *p, uint64_t bytes, uint64_t now)
{
	*p = (struct pace){ .since = now, .bytes = bytes };
}

/* What follows is our doing, not theirs. Before the begin, and twice, it does nothing. */
static inline void
pace_hold(struct pace *p, uint64_t now)
{
	if (p->since != 0 && p->held == 0)
		p->held = now;
}

static inline void
pace_release(struct pace *p, uint64_t now)
{
	if (p->held != 0) {
		p->since += now - p->held;
		p->held = 0;
	}
}

/*
 * At least `rate` bytes a second (0: any) since the stretch began, of which the first `grace` ms
 * are not judged. `bytes` is what is counted by `now`; it is not held.
 */
MUST_USE bool pace_is_kept(
    const struct pace *p, uint64_t bytes, uint64_t now, uint64_t rate, uint64_t grace);
/* The same; a stretch that was long enough and good is followed by the next. */
MUST_USE bool pace_keep(
    struct pace *p, uint64_t bytes, uint64_t now, uint64_t rate, uint64_t grace);

#endif
