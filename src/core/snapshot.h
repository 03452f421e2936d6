/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything a configuration says: checked, typed, immutable, counted. Made by
 * server/build.c; freed when nobody holds it.
 */
#ifndef MILLRACE_CORE_SNAPSHOT_H
#define MILLRACE_CORE_SNAPSHOT_H

#include "core/listener.h"
#include "core/upstream.h"

enum { SHARED_NAME = 104 };

/* Another number when what lies there means something else and has the same size. */
enum { SHARED_LAYOUT = 1 };

enum shared_kind { SHARED_PEER = 1, SHARED_WORKER, SHARED_LIMIT };

/*
 * Memory that all workers share, by (kind, name, size): an equal key is the same memory over
 * reloads.
 */
struct shared_key {
	uint32_t kind;                  /* enum shared_kind */
	uint32_t size;                  /* bytes */
	char name[SHARED_NAME];         /* cut names end in their fingerprint */
};

struct log_file {
	struct slice path;              /* resolved; `stderr` and `stdout` as such */
};

struct snapshot {
	struct arena arena;             /* all below lives here */
	uint32_t holders;               /* plain: one thread counts */
	/* of the engine that adopted it: the living ones, newest first */
	struct snapshot *older, **back;
	uint64_t generation;            /* set by the worker at the swap */
	_Atomic uint64_t *shown;        /* where that is shown */
	/* when the pass ends that nobody holds it any more it begins to go, a piece a pass */
	struct loop_task rest, piece;
	struct engine *engine;          /* … and whose that is */

	struct slice user, group;       /* empty: not said */
	int64_t workers;                /* 0: auto */
	struct slice pid_path, control_path;    /* empty: none */
	bool daemon, watch;
	struct slice error_path;        /* empty: stderr */
	int error_level;                /* enum log_level */
	int64_t connections_max;        /* per worker */
	uint64_t drain_deadline;        /* ms that what drains has; 0: any time */
	uint64_t memory_max;            /* bytes, per worker; 0: no budget */

	struct listener *listeners;
	size_t listener_count;
	struct server *servers;
	size_t server_count;
	struct upstream **upstreams;
	size_t upstream_count;
	/* of messages: under which a connection goes on whose own is of another snapshot */
	const struct protocol_ops **messages;
	size_t message_count;
	struct log_file *logs;          /* access logs; what settings.access.log indexes */
	size_t log_count;
	struct shared_key *shared;      /* what must exist in shared memory */
	size_t shared_count;

	/* Beside it, set when a worker adopts it. */
	void **shared_at;               /* by index of `shared` */
	struct upstream_run *upstream_runs;
	uint16_t *bindings;             /* binding number of each listener */
	int *log_sinks;                 /* engine sink of each log */
};

static inline struct snapshot *
snapshot_hold(struct snapshot *s)
{
	s->holders++;
	return s;
}

/*
 * Frees it with the last holder, from the end of the pass on; at once where there is no engine
 * (NULL).
 */
void snapshot_release(struct engine *e, struct snapshot *s);
/* It lives: what it names in shared memory stays where it is, until it is gone. */
void snapshot_show(struct engine *e, struct snapshot *s);
/* Those that nobody holds, at once. */
void snapshot_free_all(struct engine *e);
/* Its listener of that binding; NULL: it has none. */
const struct listener *snapshot_listener(const struct snapshot *s, uint16_t binding);
/* Its protocol of messages that frames them as that one does; NULL: it has none. */
const struct protocol_ops *snapshot_protocol(
    const struct snapshot *s, const struct protocol_ops *like);
/* An empty one with one holder; snapshot_release frees what a build has put in. */
struct snapshot *snapshot_new(void);

#endif
