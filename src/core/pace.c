/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A least rate, judged over stretches of time. Nothing here looks at a clock.
 */
#include "core/pace.h"

bool
pace_is_kept(const struct pace *p, uint64_t bytes, uint64_t now, uint64_t rate, uint64_t grace)
{
	uint64_t ms = now - p->since;
	uint64_t wanted;

	if (rate == 0 || ms < grace)
		return true;
	return !__builtin_mul_overflow(rate, ms, &wanted) && bytes - p->bytes >= wanted / 1000;
}

bool
pace_keep(struct pace *p, uint64_t bytes, uint64_t now, uint64_t rate, uint64_t grace)
{
	if (!pace_is_kept(p, bytes, now, rate, grace))
		return false;
	if (now - p->since >= MAX_OF(grace, (uint64_t)PACE_STRETCH))
		pace_begin(p, bytes, now);
	return true;
}
