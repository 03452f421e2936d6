/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bucket is as empty as its next full moment is far away.
 */
#include "core/rate.h"

#include <stdatomic.h>

enum { NS_OF_US = 1000, NS_OF_MS = 1000 * 1000 };

struct rate_limit
rate_limit_of(const struct rate *rate, uint64_t burst)
{
	if (rate->count == 0)
		return (struct rate_limit){ 0 };

	uint64_t each = MAX_OF(rate->period * NS_OF_MS / rate->count, UINT64_C(1));

	return (struct rate_limit){ each, each * (burst != 0 ? burst : rate->count) };
}

/* 0: taken, *next is the new number. Else the ns that are missing. */
static uint64_t
take_one(const struct rate_limit *limit, uint64_t full, uint64_t now, uint64_t *next)
{
	uint64_t empty = full > now ? full - now : 0;

	/*
	 * Emptier than can be: the limit was another before a reload, and the bucket begins anew.
	 */
	if (unlikely(empty > limit->all))
		empty = 0;
	empty += limit->each;
	*next = now + empty;
	return empty > limit->all ? empty - limit->all : 0;
}

static uint64_t
us_up(uint64_t ns)
{
	return (ns + NS_OF_US - 1) / NS_OF_US;
}

uint64_t
rate_take(const struct rate_limit *limit, uint64_t *full, uint64_t now_us)
{
	uint64_t next;

	if (limit->each == 0)
		return 0;

	uint64_t missing = take_one(limit, *full, now_us * NS_OF_US, &next);

	if (missing == 0)
		*full = next;
	return us_up(missing);
}

uint64_t
rate_take_shared(const struct rate_limit *limit, _Atomic uint64_t *full, uint64_t now_us)
{
	uint64_t next, was = atomic_load_explicit(full, memory_order_relaxed);

	if (limit->each == 0)
		return 0;
	do {
		uint64_t missing = take_one(limit, was, now_us * NS_OF_US, &next);

		if (missing != 0)
			return us_up(missing);
	} while (!atomic_compare_exchange_weak_explicit(
	    full, &was, next, memory_order_relaxed, memory_order_relaxed));
	return 0;
}
