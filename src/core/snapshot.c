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

void
snapshot_release(struct engine *e, struct snapshot *s)
{
	if (--s->holders != 0)
		return;
	if (e != NULL && s->upstream_runs != NULL)
		upstream_disown(e, s);
	arena_reset(&s->arena);
	free(s->shared_at);
	free(s->bindings);
	free(s->log_sinks);
	free(s);
}
