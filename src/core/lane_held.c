/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes to a client that does not read: as `buffer { answer }` of its server
 * says, answers wait, are dropped, are dropped for newer ones, or end it. Those
 * that may still be dropped wait here as whole messages, the others are bytes of the connection.
 */
#include "core/lane.h"

#include <errno.h>
#include <stdlib.h>

#include "core/engine.h"

/* Whole messages that wait here, where the oldest may be dropped for the newest. */
struct held {
	struct held_message {
		struct held_message *next;
		size_t n;
		char bytes[];
	} *first, **end;
	size_t n;                       /* bytes of all */
};

static void
drop_oldest(struct conn *c, struct held *h)
{
	struct held_message *m = h->first;

	h->first = m->next;
	if (h->first == NULL)
		h->end = &h->first;
	h->n -= m->n;
	free(m);
	engine_count(&c->engine->shared->reasons[REASON_ANSWER_DROPPED], 1);
}

void
lane_drop_held(struct conn *c, struct lane *l)
{
	while (l->held != NULL && l->held->first != NULL)
		drop_oldest(c, l->held);
	free(l->held);
	l->held = NULL;
}

static void
keep_newest(struct conn *c, struct lane *l, struct slice wire, size_t most)
{
	struct held_message *m = memory_try(sizeof(*m) + wire.n);

	if (m == NULL) {
		engine_count(&c->engine->shared->reasons[REASON_ANSWER_DROPPED], 1);
		return;
	}
	if (l->held == NULL) {
		l->held = memory_zalloc(sizeof(*l->held));
		l->held->end = &l->held->first;
	}
	*m = (struct held_message){ .n = wire.n };
	memcpy(m->bytes, wire.at, wire.n);
	/* The flush that finds room lets it go. */
	c->congested = true;
	*l->held->end = m;
	l->held->end = &m->next;
	l->held->n += wire.n;
	while (l->held->n > most && l->held->first->next != NULL)
		drop_oldest(c, l->held);
}

void
lane_let_go_held(struct conn *c, struct lane *l)
{
	struct held *h = l->held;

	while (h != NULL && h->first != NULL) {
		struct held_message *m = h->first;
		struct slice wire =
		    scratch_slice(&c->engine->loop.scratch, slice_make(m->bytes, m->n));

		h->first = m->next;
		h->n -= m->n;
		free(m);
		if (h->first == NULL)
			h->end = &h->first;
		conn_write(c, wire);
	}
}

/* There is more than may wait. */
static void
put_over(struct conn *c, struct slice wire, const struct settings *s)
{
	switch ((enum answer_over)s->answer_over) {
	case ANSWER_WAIT:
		conn_write(c, wire);
		break;
	case ANSWER_DROP:
		engine_count(&c->engine->shared->reasons[REASON_ANSWER_DROPPED], 1);
		break;
	case ANSWER_DROP_OLDEST:
		keep_newest(c, conn_state(c), wire, s->answer_buffer);
		break;
	case ANSWER_CLOSE:
		conn_break(c, ETIMEDOUT);
		break;
	}
}

void
lane_put(struct conn *c, struct slice wire)
{
	const struct settings *s;

	if (likely(conn_waiting(c) == c->out_n)) {      /* it reads */
		conn_write(c, wire);
		return;
	}
	s = lane_settings(c);
	if (s != NULL && (s->answer_over == ANSWER_DROP_OLDEST ||
	    conn_waiting(c) + wire.n > s->answer_buffer))
		put_over(c, wire, s);
	else
		conn_write(c, wire);
}
