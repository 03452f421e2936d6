/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a connection is looked at next: one deadline for what it expects and for the bytes that wait
 * for the other end, of which it is asked now and then whether any were taken.
 */
#include "base/clock.h"
#include "core/conn.h"
#include "core/engine.h"

enum {
	/* of a write timeout: looks at what the other end takes; ms to the first */
	CONN_LOOKS = 4,
	CONN_FIRST_LOOK = 1000,
};

void
conn_arm(struct conn *c)
{
	/* what is not set (0) is behind all others so */
	uint64_t before = MIN_OF(c->expect_due - 1, MIN_OF(c->write_due - 1, c->look_due - 1));

	if (before == UINT64_MAX)
		deadline_clear(&c->deadline);
	else
		deadline_set_at(&c->engine->loop, &c->deadline, before + 1);
}

static uint64_t
conn_first_look(const struct conn *c)
{
	return MIN_OF((uint32_t)CONN_FIRST_LOOK, c->write_timeout / CONN_LOOKS);
}

void
conn_expect(struct conn *c, uint64_t ms, enum reason reason)
{
	c->expects = reason;
	c->expect_due = clock_ms() + ms;
	conn_arm(c);
}

void
conn_expect_nothing(struct conn *c)
{
	if (c->expect_due == 0)
		return;
	c->expect_due = 0;
	conn_arm(c);
}

void
conn_set_waiting(struct conn *c, bool waiting)
{
	if (waiting == (c->write_due != 0))
		return;
	c->write_due = waiting ? clock_ms() + conn_first_look(c) : 0;
	if (c->stall != NULL && waiting) {
		pace_release(&c->stall->pace, clock_ms());
		c->stall->moved = clock_ms();
	} else if (c->stall != NULL) {
		pace_hold(&c->stall->pace, clock_ms());
	}
	conn_arm(c);
}

/*
 * The kernel's buffer hides progress and stall alike: a send says that there is room, not that
 * anybody reads; so the kernel is asked how much of it the other end has. A pause of less than
 * the timeout is nothing: a player that has enough for now is no attacker.
 */
enum reason
conn_judge(struct conn *c)
{
	uint64_t now = clock_ms(), pause = c->write_timeout / CONN_LOOKS;
	uint64_t unsent = socket_unsent(c->wire.fd), taken = c->sent - MIN_OF(unsent, c->sent);
	struct stall *s = c->stall;

	if (s == NULL) {
		s = c->stall = memory_alloc(sizeof(*s));
		/* Late for a look ourselves, we have not watched so long. */
		s->moved = MAX_OF(c->write_due - conn_first_look(c), now - MIN_OF(now, pause));
		pace_begin(&s->pace, taken, now);
	} else if (taken != s->taken) {
		s->moved = now;
	}
	s->taken = taken;
	if (now - s->moved >= c->write_timeout)
		return REASON_WRITE_TIMEOUT;
	if (!pace_keep(&s->pace, taken, now, c->write_least,
	    MAX_OF(c->write_grace, c->write_timeout)))
		return REASON_WRITE_TOO_SLOW;
	c->write_due = MIN_OF(now + pause, s->moved + c->write_timeout);
	conn_arm(c);
	return REASON_NONE;
}
