/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a serving process has while it runs: the loop, the current snapshot,
 * its bindings, its free lists, its counters. One a worker; every conn knows it.
 */
#ifndef MILLRACE_CORE_ENGINE_H
#define MILLRACE_CORE_ENGINE_H

#include "core/access_log.h"
#include "core/request_id.h"
#include "core/snapshot.h"

enum { BINDINGS_MAX = 65535, BINDING_NONE = 0, SNAPSHOTS_MOST = 8, SNAPSHOTS_SHOWN = 16 };

struct accepter;
struct datagrams;
struct flow;

/* One number: a transport and an address, stable over reloads. */
struct binding {
	const struct listener *listener;        /* in the current snapshot; NULL: gone */
	uint64_t fingerprint;
	/*
	 * held: the current one does not have it, and the listener is of this one, which serves who
	 * is waiting until its sockets close
	 */
	struct snapshot *old;
	bool listed;                            /* in the current snapshot */
	bool removed;                           /* its sockets close with the last flow; counted */
	bool fresh;                             /* it was nobody's before the current one */
	struct accepter *accepters;             /* the sockets this worker accepts from */
	struct flow *oldest, *newest;           /* of datagrams, by when they were looked at */
	size_t flow_count;
};

enum { TALE_MOST = 640 };

/* In shared memory, one a worker slot; the worker alone writes it, but for `asked`. */
struct worker_shared {
	_Atomic uint64_t beat;                  /* clock_ms() of its last pass */
	_Atomic uint64_t passes;
	_Atomic uint64_t accepted, connections; /* connections: open client connections now */
	_Atomic uint64_t exchanges, messages;   /* exchanges: messages among them */
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic uint64_t reasons[REASON_COUNT];
	_Atomic uint64_t log_dropped;
	_Atomic uint64_t generation;
	/* generations of the snapshots that live, in no order, and how many found no place there */
	_Atomic uint64_t held[SNAPSHOTS_SHOWN], held_more;
	_Atomic uint64_t numbers;               /* the last one of a connection */
	_Atomic uint64_t flows, flows_opened;   /* flows: open now */
	_Atomic uint64_t removed;               /* bindings that are gone, whose flows still answer */
	_Atomic uint64_t datagrams_in, datagrams_out, datagrams_dropped;
	_Atomic uint32_t doing;                 /* enum loop_doing */
	_Atomic uint32_t asked;                 /* what it is at: a number for each time; the master's */
	_Atomic uint32_t told;                  /* … the one that is answered in `tale` (glance.h) */
	bool peers_used;
	char tale[TALE_MOST];
	struct peer_count peers[PEER_COUNTS];   /* upstream_count */
};

/* Why nobody is accepted; any bit pauses. */
enum pause { PAUSE_CONNECTIONS = 1, PAUSE_DESCRIPTORS = 2, PAUSE_MEMORY = 4 };

/* How short memory is. TIGHT: what is new is refused; FULL: nobody is accepted either. */
enum shortage { SHORTAGE_NONE, SHORTAGE_TIGHT, SHORTAGE_FULL };

struct engine {
	struct loop loop;
	struct snapshot *snapshot;              /* current; held */
	struct snapshot *snapshots;             /* all that live, newest first */
	struct binding *bindings;               /* by number */
	size_t binding_count;
	struct access_sink **sinks;
	size_t sink_count;
	/* never NULL: private memory where there is no master */
	struct worker_shared *shared;
	const void *region;                     /* the shared memory that it is in */
	struct peer_count uncounted;            /* of peers that have no place there */
	struct map *peers;                      /* key -> struct peer_run, on the heap */
	struct arena arena;                     /* life of the process */

	struct conn *free_conns[2];             /* by side: a peer is smaller; by all_next */
	struct exchange *free_exchanges;
	/* living; flows are conns too, which have no descriptor and are not in conn_count */
	size_t conn_count, exchange_count, flow_count;
	struct datagrams *datagrams;            /* NULL: it has no socket of them */
	/* all open ones, by conn->all_next: for drains and the end */
	struct conn *conns;
	/* entered last, read from last: for who looks at a loop that hangs (glance.c) alone */
	const struct exchange *entered;
	const struct conn *fed;
	/* conns and exchanges that refer to the scratch: none = it may be forgotten */
	size_t pins;
	struct wire_pipe *free_pipes;
	size_t free_pipe_count;
	/* open ones, and as many as take no descriptor from a connection */
	size_t pipe_count, pipes_max;
	struct request_ids request_ids;
	struct deadline flowless;               /* bindings that are removed have no flow any more */
	struct deadline cut;                    /* of who drains for too long */
	bool draining;
	/* kept connections end with their answer: it drains, or memory is short */
	bool parting;
	uint8_t accept_paused;                  /* enum pause */
	uint8_t shortage;                       /* enum shortage */
	struct deadline look;                   /* at memory; runs while there is a reason to */
	uint64_t failed_at;                     /* clock_ms() when an allocation failed last */
	struct deadline accept_again;           /* behind PAUSE_DESCRIPTORS */
	/* given up to accept and refuse when descriptors run out */
	int spare_fd;
};

MUST_USE bool engine_open(struct engine *e);
void engine_close(struct engine *e);            /* every connection, every pool, the snapshot */

/* Accepts on `fd` for a binding from now on (level-triggered), or takes its datagrams. */
MUST_USE bool engine_accept(struct engine *e, uint16_t binding, int fd);
/* A socket of that binding, -1: it has none. */
int engine_socket(const struct engine *e, uint16_t binding);
/* Stops for one descriptor (closing it), or for all of the binding when fd is -1. */
void engine_unaccept(struct engine *e, uint16_t binding, int fd);
/*
 * Swaps: takes over the hold on `s` (bindings[], shared_at[], log_sinks[] are set), lets go of the
 * old one. Connections whose binding says what it said go on under the new one, others keep the old
 * for what is running on them, and end.
 */
void engine_adopt(struct engine *e, struct snapshot *s);
/* Nobody listens there any more: who waits is accepted, then its sockets close. */
void engine_remove(struct engine *e, uint16_t binding);
/* The number is another listener's, or its own again, before they have. */
void engine_end_removal(struct engine *e, struct binding *b);
/* What it had of a snapshot before the current one. */
void engine_forget_binding(struct engine *e, struct binding *b);
/* The one of that number; the table grows for it. */
struct binding *engine_binding(struct engine *e, uint16_t number);
/* All have so long as `drain { deadline }` says. */
void engine_expect_end(struct engine *e);
/* … and one that is accepted where nobody listens any more. */
void engine_expect_end_of(struct conn *c);
/* Closes logs that no snapshot and no exchange writes to. */
void engine_trim_sinks(struct engine *e);
/* No new connections, keep-alive ends, idle ones close; engine_idle says when the last is gone. */
void engine_drain(struct engine *e);
bool engine_is_idle(const struct engine *e);
/* Accepting pauses when there are too many connections, and goes on when there are fewer again. */
void engine_check_room(struct engine *e);
void engine_pause(struct engine *e, enum pause why);
void engine_resume(struct engine *e, enum pause why);
/*
 * Whether one more connection to a peer is allowed: idle ones go for it, and if none is, it is not
 * (errno EMFILE).
 */
MUST_USE bool engine_has_room_for_peer(struct engine *e);
/* Closes what is open for no one: true if there was something. */
bool engine_free_descriptors(struct engine *e);
/* Memory that is kept for those to come. */
void engine_free_idle(struct engine *e);
/* Index of a sink of that path; opened with fd when it is new, else reopened with it. */
int engine_sink(struct engine *e, struct slice path, int fd);

static inline void
engine_count(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: a load and a store suffice. */
	__atomic_store_n((uint64_t *)counter,
	    __atomic_load_n((uint64_t *)counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

#endif
