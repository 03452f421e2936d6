/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a snapshot: made empty, filled by the build, held by whoever
 * uses it, freed with the last holder.
 */
#include <stdlib.h>

#include "core/engine.h"

struct snapshot *
snapshot_new(void)
{
	struct snapshot *s = memory_zalloc(sizeof(*s));

	arena_init(&s->arena, NULL, 0);
	s->holders = 1;
	return s;
}

static void
snapshot_free(struct snapshot *s)
{
	arena_reset(&s->arena);
	free(s->shared_at);
	free(s->bindings);
	free(s->log_sinks);
	free(s);
}

static void
snapshot_on_rest(struct loop_task *t)
{
	snapshot_free(CONTAINER_OF(t, struct snapshot, rest));
}

void
snapshot_release(struct engine *e, struct snapshot *s)
{
	if (--s->holders != 0)
		return;
	if (e != NULL && s->upstream_runs != NULL)
		upstream_disown(e, s);
	if (e == NULL) {
		snapshot_free(s);
		return;
	}
	/* A text of it may be on its way to a client: that is written before the pass ends. */
	s->rest.run = snapshot_on_rest;
	loop_queue(&e->loop, LOOP_REST, &s->rest);
}
