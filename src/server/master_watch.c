/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `watch on`: what the configuration is made of is watched, and read again when it changes.
 */
#include "server/master_inner.h"

#include <errno.h>

static void
on_change(struct watch *w)
{
	struct master *m = CONTAINER_OF(w, struct master, watch);

	if (m->phase != PHASE_SERVING)
		return;
	/* The new master reads it; where that does not come to serve, it is ours to read. */
	if (upgrade_is_under_way(m)) {
		m->upgrade.missed = true;
		return;
	}
	log_line(LOG_NOTICE, "the configuration has changed");
	master_reload(m, NULL);
}

void
watch_follow(struct master *m, bool good)
{
	struct arena arena;
	struct sources files;

	if (!m->bundle.header->watch || m->phase >= PHASE_DRAINING) {
		watch_close(&m->watch, true);
		return;
	}
	if (m->watch.fd < 0 && !watch_open(&m->watch, &m->loop, on_change)) {
		log_errno(LOG_WARN, errno, "the configuration cannot be watched");
		return;
	}
	arena_init(&arena, NULL, 0);
	bundle_sources(&m->bundle, &files, &arena);
	watch_set(&m->watch, &files, good);
	arena_reset(&arena);
}
