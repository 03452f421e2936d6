/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two thresholds, each with a lower one at which it is over: at 80 % kept
 * connections end with their answer and new questions are refused, at 95 %
 * nobody is accepted. A reserve that is not whole counts as the second.
 */
#include "core/shortage.h"

#include "base/clock.h"
#include "core/exchange.h"
#include "core/lane.h"

enum {
	TIGHT = 80, TIGHT_OVER = 75,     /* percent of the budget */
	FULL = 95, FULL_OVER = 90,
	CLOSED_MOST = 64,                /* connections at once */
	HEAVY = 16 * 1024,               /* bytes: who holds less is not worth more than one */
	WAIT_FOR_RESERVE = 5000,         /* ms: then it is served without a whole one */
};

/* ------------------------------------------------------------------ levels */

static enum shortage
level_of(enum shortage before, uint64_t used, uint64_t budget)
{
	if (used >= budget / 100 * (before == SHORTAGE_FULL ? FULL_OVER : FULL))
		return SHORTAGE_FULL;
	if (used >= budget / 100 * (before != SHORTAGE_NONE ? TIGHT_OVER : TIGHT))
		return SHORTAGE_TIGHT;
	return SHORTAGE_NONE;
}

static void
set_level(struct engine *e, enum shortage level)
{
	static const char *const what[] = {
		[SHORTAGE_NONE] = "there is enough again",
		[SHORTAGE_TIGHT] = "kept connections end, new questions are refused",
		[SHORTAGE_FULL] = "nobody is accepted, new questions are refused",
	};
	static struct log_limit limits[ARRAY_COUNT(what)];

	if (level == e->shortage)
		return;
	log_limited(&limits[level], level == SHORTAGE_NONE ? LOG_NOTICE : LOG_WARN,
	    "memory: %zu KiB in use: %s", memory_in_use() / 1024, what[level]);
	e->shortage = level;
	e->parting = e->draining || level != SHORTAGE_NONE;
	if (level == SHORTAGE_FULL)
		engine_pause(e, PAUSE_MEMORY);
	else
		engine_resume(e, PAUSE_MEMORY);
}

static uint64_t
budget_of(const struct engine *e)
{
	return e->snapshot != NULL ? e->snapshot->memory_max : 0;
}

static void
look(struct engine *e, bool whole)
{
	uint64_t budget = budget_of(e);
	enum shortage level = SHORTAGE_NONE;

	if (!whole && clock_ms() - e->failed_at < WAIT_FOR_RESERVE)
		level = SHORTAGE_FULL;
	else if (budget != 0)
		level = level_of(e->shortage, memory_in_use(), budget);
	set_level(e, level);
	if (budget != 0 || !whole)
		deadline_set(&e->loop, &e->look, LOOP_TICK);
}

/* ------------------------------------------------------------------ nothing is left */

static size_t
weight_of(const struct conn *c)
{
	const struct exchange *ex = c->exchange;
	size_t of_exchange = ex != NULL ? ex->arena.total + ex->keeps : 0;

	if (lane_is(c))
		of_exchange = lane_weight(c);
	return c->backlog_n + c->in_size + of_exchange;
}

/* Of those that hold the same, who came last. */
static struct conn *
heaviest(const struct engine *e)
{
	struct conn *most = e->conns;

	for (struct conn *c = e->conns; c != NULL; c = c->all_next)
		if (weight_of(c) > weight_of(most))
			most = c;
	return most;
}

/* True: the reserve is whole. */
static bool
relieve(struct engine *e)
{
	static struct log_limit limit;
	size_t closed = 0;
	bool whole;

	engine_free_idle(e);
	while (!(whole = memory_reserve()) && closed < CLOSED_MOST) {
		struct conn *c = heaviest(e);

		if (c == NULL || (closed != 0 && weight_of(c) < HEAVY))
			break;
		conn_sacrifice(c);
		closed++;
	}
	log_limited(&limit, LOG_ERROR, "out of memory: connections are cut off until there is enough");
	return whole;
}

void
shortage_relieve(struct engine *e)
{
	e->failed_at = clock_ms();
	look(e, relieve(e));
	memory_is_short = false;
}

static void
on_look(struct deadline *d)
{
	struct engine *e = CONTAINER_OF(d, struct engine, look);

	look(e, memory_reserve());
}

/* ------------------------------------------------------------------ begin, end */

void
shortage_adopt(struct engine *e)
{
	e->look.run = on_look;
	if (budget_of(e) != 0)
		deadline_set(&e->loop, &e->look, LOOP_TICK);
}

void
shortage_close(struct engine *e)
{
	deadline_remove(&e->loop, &e->look);
}
