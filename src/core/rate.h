/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How often something may happen: a bucket of so many, filled at a rate. It is kept as one number,
 * the time at which the bucket will be full again, so that what several processes share needs no
 * lock.
 */
#ifndef MILLRACE_CORE_RATE_H
#define MILLRACE_CORE_RATE_H

#include "config/schema.h"

enum { RATE_MOST = 1000 * 1000, RATE_BURST_MOST = 1000 * 1000 };

struct rate_limit {
	uint64_t each;                  /* ns in which one comes back; 0: no limit */
	uint64_t all;                   /* ns in which an empty bucket is full again */
};

/* `burst` at once; 0: as many as the rate says for its period. */
struct rate_limit rate_limit_of(const struct rate *rate, uint64_t burst);
/*
 * Takes one: 0. Else nothing is taken, and it will be there in so many us. `full` is where the
 * bucket's one number is; 0: full.
 */
MUST_USE uint64_t rate_take(const struct rate_limit *limit, uint64_t *full, uint64_t now_us);
/* The same, where others take from the bucket meanwhile. */
MUST_USE uint64_t rate_take_shared(
    const struct rate_limit *limit, _Atomic uint64_t *full, uint64_t now_us);

#endif
