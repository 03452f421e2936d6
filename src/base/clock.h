/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The time as the loop saw it last: no system call to ask. One clock a process.
 */
#ifndef MILLRACE_BASE_CLOCK_H
#define MILLRACE_BASE_CLOCK_H

#include "base/bytes.h"

/* Asks the kernel (vDSO); once a pass of the loop. The date is asked for once a second. */
void clock_update(void);

/* What clock_update saw; nobody but this header reads it. us is 0 until the first time. */
struct clock_seen {
	uint64_t us, ms;
	uint64_t unix_ahead;             /* what is to be added to ms */
	uint64_t date_due;               /* of ms: when that is asked for again */
};
extern struct clock_seen clock_seen;

static inline const struct clock_seen *
clock_last(void)
{
	if (unlikely(clock_seen.us == 0))
		clock_update();
	return &clock_seen;
}

/* Monotonic, milliseconds; the cached value. */
static inline uint64_t
clock_ms(void)
{
	return clock_last()->ms;
}

/* Monotonic, microseconds; the cached value. */
static inline uint64_t
clock_us(void)
{
	return clock_last()->us;
}

/* Milliseconds since 1970; cached. */
static inline uint64_t
clock_unix_ms(void)
{
	const struct clock_seen *seen = clock_last();

	return seen->ms + seen->unix_ahead;
}

uint64_t clock_us_exact(void);           /* monotonic, microseconds; asks */
int64_t clock_unix(void);                /* seconds since 1970; cached */

/* Texts are remade at most once a second and live until then. */
struct slice clock_http_date(void);      /* Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110 5.6.7) */
/* 06/Nov/1994:08:49:37 +0000 (the combined log; local time) */
struct slice clock_log_date(void);
struct slice clock_error_date(void);     /* 1994/11/06 08:49:37 (the error log; local time) */
/* 1994-11-06T08:49:37+00:00 (local time with its offset) */
struct slice clock_iso_date(void);

#endif
