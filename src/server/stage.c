/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stand-in is set up member by member: nothing of it is ever given to who would close it.
 */
#include "server/stage.h"

struct stage *
stage_open(struct arena *a)
{
	struct stage *s = arena_zalloc(a, sizeof(*s));

	scratch_init(&s->engine.loop.scratch);
	s->engine.shared = &s->shared;
	arena_init(&s->ex.arena, NULL, 0);
	exchange_stand_in(&s->ex, &s->engine, &s->client.remote);
	return s;
}

void
stage_close(struct stage *s)
{
	arena_reset(&s->ex.arena);
	scratch_free(&s->engine.loop.scratch);
}

void
stage_connect(
    struct stage *s, const struct listener *l, const struct addr *from, const struct addr *to)
{
	s->local = *to;
	s->client.engine = &s->engine;
	s->client.side = SIDE_CLIENT;
	s->client.protocol = l->protocol;
	s->client.datagrams = l->addr.datagram != 0;
	s->client.local = &s->local;
	s->client.remote = *from;
	s->ex.client = &s->client;
	s->ex.talk = (l->protocol->traits & PROTOCOL_TURNS) == 0;
}
