/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a snapshot: made empty, filled by the build, held by whoever
 * uses it, freed with the last holder.
 */
#include <stdlib.h>

#include "core/engine.h"

enum {
	PIECE = 256,                    /* of what a snapshot holds: given back in one pass */
	LARGE = 4 * 1024 * 1024         /* bytes: worth asking malloc for its pages */
};

struct snapshot *
snapshot_new(void)
{
	struct snapshot *s = memory_zalloc(sizeof(*s));

	arena_init(&s->arena, NULL, 0);
	s->holders = 1;
	return s;
}

void
snapshot_show(struct engine *e, struct snapshot *s)
{
	_Atomic uint64_t *at = e->shared->held;

	while (at < e->shared->held + SNAPSHOTS_SHOWN && *at != 0)
		at++;
	s->shown = at;
	if (at < e->shared->held + SNAPSHOTS_SHOWN)
		__atomic_store_n((uint64_t *)at, s->generation, __ATOMIC_RELEASE);
	else
		engine_count(&e->shared->held_more, 1);
}

/* Behind all that was written for it. */
static void
snapshot_hide(struct engine *e, struct snapshot *s)
{
	if (s->shown < e->shared->held + SNAPSHOTS_SHOWN)
		__atomic_store_n((uint64_t *)s->shown, 0, __ATOMIC_RELEASE);
	else
		engine_count(&e->shared->held_more, (uint64_t)-1);
}

static void
snapshot_end(struct snapshot *s)
{
	if (s->back != NULL) {
		*s->back = s->older;
		if (s->older != NULL)
			s->older->back = s->back;
		snapshot_hide(s->engine, s);
	}
	free(s->shared_at);
	free(s->bindings);
	free(s->log_sinks);
	free(s);
}

static void
snapshot_free(struct snapshot *s)
{
	arena_reset(&s->arena);
	snapshot_end(s);
}

/* It may be large: others are served between two pieces. */
static void
snapshot_on_piece(struct loop_task *t)
{
	struct snapshot *s = CONTAINER_OF(t, struct snapshot, piece);

	struct engine *e = s->engine;
	bool large = s->arena.total > LARGE;

	if (!arena_reset_some(&s->arena, PIECE)) {
		loop_queue(&e->loop, LOOP_READY, t);
		return;
	}
	snapshot_end(s);
	engine_trim_sinks(e);
	if (large)
		memory_trim();
}

static void
snapshot_on_rest(struct loop_task *t)
{
	struct snapshot *s = CONTAINER_OF(t, struct snapshot, rest);

	upstream_forget_gone(s->engine);
	s->piece.run = snapshot_on_piece;
	loop_queue(&s->engine->loop, LOOP_READY, &s->piece);
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
	s->engine = e;
	s->rest.run = snapshot_on_rest;
	loop_queue(&e->loop, LOOP_REST, &s->rest);
}

void
snapshot_free_all(struct engine *e)
{
	for (struct snapshot *s = e->snapshots, *older; s != NULL; s = older) {
		older = s->older;
		if (s->holders != 0)
			continue;
		loop_unqueue(&e->loop, LOOP_REST, &s->rest);
		loop_unqueue(&e->loop, LOOP_READY, &s->piece);
		snapshot_free(s);
	}
}

const struct listener *
snapshot_listener(const struct snapshot *s, uint16_t binding)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->bindings[i] == binding)
			return &s->listeners[i];
	return NULL;
}

const struct protocol_ops *
snapshot_protocol(const struct snapshot *s, const struct protocol_ops *like)
{
	for (size_t i = 0; i < s->message_count; i++) {
		const struct protocol_ops *p = s->messages[i];

		if (p == like || (p->codec->fingerprint == like->codec->fingerprint &&
		    strcmp(p->name, like->name) == 0))
			return p;
	}
	return NULL;
}
