/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All that fields look at is there, empty; its arena begins in itself, so that a message more costs no heap.
 */
#include "core/stand_in.h"

void
stand_in_open(struct stand_in *s, struct engine *e)
{
	s->nobody = (struct addr){ .n = 0 };
	s->ex.engine = e;
	arena_init(&s->ex.arena, s->ex.first, sizeof(s->ex.first));
}

struct exchange *
stand_in_for(struct stand_in *s, const struct unit *u)
{
	struct exchange *ex = &s->ex;
	struct engine *e = ex->engine;

	memset(ex, 0, offsetof(struct exchange, settle));
	ex->engine = e;
	ex->snapshot = e->snapshot;
	ex->src = &s->nobody;
	message_init(&ex->question);
	message_init(&ex->answer);
	s->unit = *u;
	ex->unit = &s->unit;
	return ex;
}

void
stand_in_forget(struct stand_in *s)
{
	arena_reset(&s->ex.arena);
}
