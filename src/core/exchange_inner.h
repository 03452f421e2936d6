/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What exchange.c and exchange_fail.c, which are one, know of each other.
 */
#ifndef MILLRACE_CORE_EXCHANGE_INNER_H
#define MILLRACE_CORE_EXCHANGE_INNER_H

#include "core/exchange.h"

/* ------------------------------------------------------------------ exchange.c */

/* Its last call is over: it ends, or is kept. */
void exchange_left(struct exchange *ex);

/* Between these the exchange stays, whatever its steps do. */
static inline void
exchange_enter(struct exchange *ex)
{
	ex->busy++;
	ex->engine->entered = ex;
}

static inline void
exchange_leave(struct exchange *ex)
{
	if (--ex->busy == 0 && (ex->ending || !ex->settled))
		exchange_left(ex);
}

/* Of what was queued to the client; a reset may have dropped even what stood before the answer. */
static inline uint64_t
exchange_sent(const struct exchange *ex, uint64_t queued)
{
	return queued - MIN_OF(queued, ex->queued_before);
}

void exchange_start(struct exchange *ex, const struct steps *steps);
void exchange_end_steps(struct exchange *ex);
/*
 * A question that could not be read reaches no server, but it is logged where the listener's only
 * one logs.
 */
void exchange_set_unread(struct exchange *ex);

/* ------------------------------------------------------------------ exchange_fail.c */

/* In place of an answer of our own; false: none are for that status. */
bool exchange_run_error_steps(struct exchange *ex, unsigned status);
/*
 * The peer's answer is not the client's. What is still to come of it its protocol may read to keep
 * the connection.
 */
bool exchange_intercept(struct exchange *ex);

#endif
