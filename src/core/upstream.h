/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A named group of backends: the configured, immutable part, and beside it what
 * a worker keeps while it runs: whose turn it is, who fails, idle connections.
 */
#ifndef MILLRACE_CORE_UPSTREAM_H
#define MILLRACE_CORE_UPSTREAM_H

#include "core/conn.h"
#include "core/settings.h"
#include "core/text.h"

struct peer {
	struct addr addr;
	struct slice text;              /* as written */
	uint32_t weight;                /* 1..1000 */
	uint32_t max_fails;             /* 0: never counted */
	/* ms: fails are counted within, and it then rests so long */
	uint64_t fail_timeout;
	bool backup, down;
	uint32_t index;                 /* in its upstream */
	uint32_t shared;                /* index of its shared object in snapshot.shared */
};

enum proxy_line { PROXY_LINE_OFF, PROXY_LINE_V1, PROXY_LINE_V2 };

struct upstream {
	struct slice name;
	const struct protocol_ops *protocol;    /* NULL: of the server that proxies to it */
	struct peer *peers;
	size_t peer_count;
	uint32_t index;                 /* in snapshot.upstreams */
	uint64_t connect_timeout, header_timeout, idle_timeout, write_timeout;   /* ms */
	int64_t pool_idle;              /* connections kept by a worker for each peer; 0: none */
	uint64_t pool_timeout;          /* ms */
	int64_t retries;                /* further peers tried */
	/* of messages: what a peer may owe one worker; the connections that clients share */
	int64_t inflight_max, pool_connections;
	struct heartbeat heartbeat;
	int proxy_line;                 /* enum proxy_line: sent in front of each connection */
	struct span span;
};

/* In shared memory, one a peer: outlives reloads. Atomics only. */
struct peer_shared {
	_Atomic uint64_t down_until;    /* clock_ms(); 0: up */
	_Atomic uint64_t window;        /* clock_ms() at which the counted fails began */
	_Atomic uint32_t fails;
	_Atomic uint32_t drained;       /* 1: nothing new is asked of it, until it is enabled */
	_Atomic uint64_t taken, failed; /* counters */
};

/*
 * What one worker has at one peer of an upstream: in its own part of shared memory, so that no
 * count is shared, and none is left behind by a worker that dies.
 */
struct peer_count {
	_Atomic uint64_t key;           /* whose: struct peer_name; 0: free */
	_Atomic uint32_t in_flight;     /* exchanges, tunnels among them */
	_Atomic uint32_t idle, open;    /* connections; written once a second */
	_Atomic uint32_t latency;       /* us to the head of an answer, decaying; 0: none came */
	int64_t turn;                   /* peer_state.current, on its way to the next snapshot */
};

enum { PEER_COUNTS = 2048, PEER_COUNT_TRIES = 32 };

/*
 * What a worker keeps for an address: found by (protocol, address, PROXY line), so it outlives
 * snapshots. It goes when no snapshot names it and no connection is open to it.
 */
struct peer_run {
	struct slice key, place;        /* place: the part of it that says where, and not how many */
	bool listed;                    /* in the snapshot adopted last */
	bool named;                     /* in one that lives; for upstream_forget_gone alone */
	struct conn *idle;              /* LIFO by conn->pool_next */
	size_t idle_count;
	uint32_t open;                  /* connections, those in use too */
	int64_t pool_idle;              /* of the snapshot adopted last; 0: it is not there */
	uint64_t pool_timeout;          /* ms */
	/* connections that carry the messages of many clients (lane_peer.c) */
	struct asked *lanes;
	uint32_t lane_count;
	uint32_t owed;                  /* answers, on all of them and on the clients' own */
};

/* The same protocol at the same place: only how many connections are kept may differ. */
static inline bool
peer_run_is_same(const struct peer_run *a, const struct peer_run *b)
{
	return a == b || slice_equal(a->place, b->place);
}

/* What a worker keeps for a peer of one upstream. */
struct peer_state {
	struct peer_shared *shared;
	struct peer_count *count;
	int64_t current;                /* smooth weighted round robin */
	/* it was chosen though it rested: what comes of that decides */
	bool trial;
};

/* Beside one upstream of one snapshot; both by peer.index. */
struct upstream_run {
	struct peer_run **peers;
	struct peer_state *states;
};

/*
 * At a swap: finds or makes what runs beside the snapshot. Idle connections that it has no room for
 * are closed.
 */
void upstream_adopt(struct engine *e, struct snapshot *s);
void upstream_disown(struct engine *e, struct snapshot *s);
/*
 * Gives back what was kept of peers that no living snapshot names any more, but for those to which
 * something still runs. At the end of a pass.
 */
void upstream_forget_gone(struct engine *e);
/* At the end: no connection is open. */
void upstream_close(struct engine *e);

enum { UPSTREAM_PEERS_MAX = 256 };
/* Peers tried already: a bit each. */
struct peer_set {
	uint64_t bits[UPSTREAM_PEERS_MAX / 64];
};

static inline bool
peer_set_has(const struct peer_set *set, const struct peer *p)
{
	return (set->bits[p->index / 64] >> (p->index % 64) & 1) != 0;
}

/*
 * Whose turn it is among those up and not tried (backups when no other is left); NULL: none. A peer
 * whose rest is over gets one trial. When all rest and none was tried, the one that rests longest.
 */
const struct peer *upstream_choose(struct engine *e, const struct snapshot *s,
    const struct upstream *u, const struct peer_set *tried);
/* An idle connection of that peer, registered and open, or NULL. */
struct conn *upstream_take(
    struct engine *e, const struct snapshot *s, const struct upstream *u, const struct peer *p);
/* A connection to it was opened. */
void upstream_owns(const struct snapshot *s, const struct upstream *u, const struct peer *p,
    struct conn *c);
/*
 * The connection (its `peer` is set, nothing of an exchange is left) is clean and may be kept: else
 * the caller closes it.
 */
void upstream_give(struct conn *c);
/* Closes the older half of the largest pool, at least one; false: none is idle. */
bool upstream_free_idle(struct engine *e);
/* An idle connection closed by itself: out of the pool. Called by conn_close. */
void upstream_forget(struct conn *c);
/*
 * What came of a choice: it answered; it did not connect, broke off or was silent. Neither, where
 * it is not the peer's fault.
 */
void upstream_worked(
    struct engine *e, const struct snapshot *s, const struct upstream *u, const struct peer *p);
void upstream_failed(
    struct engine *e, const struct snapshot *s, const struct upstream *u, const struct peer *p);

/*
 * Counts stand in `table`, of PEER_COUNTS: whose they are is told by the name of the peer's shared
 * object, where to look for them by the place of that.
 */
struct peer_name {
	uint64_t key;
	size_t home;
};
struct peer_name upstream_peer_name(
    const char *name, const void *region, const struct peer_shared *shared);
/* NULL: it has none. `make`: if there is room. */
struct peer_count *upstream_count(struct peer_count *table, struct peer_name whose, bool make);
/* What is counted in this worker's memory goes to the shared one. */
void upstream_publish(struct engine *e);
/* An answer's head came so long after the question. */
void upstream_answered(struct peer_count *c, uint64_t us);

extern const struct directive upstream_rows[];   /* fill a struct upstream_block */
struct upstream_block {
	struct upstream upstream;
	struct list servers;            /* struct filled of struct upstream_server */
	struct name protocol;
};
struct upstream_server {
	struct endpoint to;
	int64_t weight, max_fails;
	uint64_t fail_timeout;
	bool backup, down;
};

#endif
