/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One open connection, to a client or to a peer: the same struct. It owns the
 * descriptor, what was read and not yet taken, what is to be written, one
 * deadline. It knows no protocol: bytes go to protocol->read, and come from conn_write.
 *
 * Rules. Bytes given to conn_write live to the end of the pass (scratch, snapshot, literals): what
 * is not written by then is copied. No callback re-enters read() of the same connection. conn_close
 * only marks and unlinks; the memory goes back when the pass ends.
 */
#ifndef MILLRACE_CORE_CONN_H
#define MILLRACE_CORE_CONN_H

#include "core/pace.h"
#include "core/protocol.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/wire.h"

struct door;
struct engine;
struct flow;
struct snapshot;
struct peer_run;
struct tunnel;

enum side { SIDE_CLIENT, SIDE_PEER };
enum {
	CONN_STATE = 104,               /* bytes that a protocol may keep */
	CONN_BUDGET = 256 * 1024,       /* bytes read in one turn */
	CONN_PIECES_READ = 32,          /* messages, or pieces of one, taken in one turn */
	CONN_MESSAGES_READ = 64,        /* of a protocol of messages, where one costs a third */
	CONN_SMALL = 4096,
	CONN_WINDOW = 24 * 1024,        /* bytes of a read, until one was full */
	CONN_WINDOW_LEAST = 256,
	CONN_LOOK = 1000                /* ms of silence behind which a reset may be hidden */
};

enum conn_state {
	CONN_CONNECTING,        /* peer only */
	CONN_OPEN,
	/*
	 * answered and closing: reads and drops, for a moment, so that the answer is not lost to
	 * a reset
	 */
	CONN_LINGERING,
	CONN_CLOSED
};

/* Why nothing is read at the moment; any bit holds. */
enum conn_hold {
	HOLD_OUTPUT = 1,        /* what it brings cannot be written to the other side yet */
	HOLD_TURN = 2,          /* an exchange runs: the next question waits */
	HOLD_STEP = 4,          /* a step is not ready for the body */
	HOLD_IDLE = 8,          /* nothing is expected (tunnels hand over here) */
	HOLD_RATE = 16          /* it has said as much as it may for now */
};

struct segment {                /* scratch memory */
	struct segment *next;
	const char *at;
	size_t n;
	size_t room;                    /* behind them, for small ones that follow */
};

/* What an earlier pass could not write: heap blocks of their own size. */
struct backlog {
	struct backlog *next;
	size_t at, n, size;
	char bytes[];
};

/*
 * Bytes wait for the other end: what it took of them when we looked. The pace counts the time in
 * which they wait, so that one who lets them go now and then does not begin anew.
 */
struct stall {
	struct pace pace;
	uint64_t taken;                 /* at the last look */
	uint64_t moved;                 /* clock_ms() of the last one that saw it move */
};

struct conn {
	struct loop_event event;
	struct loop_task ready, flush, rest;
	struct deadline deadline;
	struct wire wire;
	const struct wire_ops *wire_ops;
	const struct protocol_ops *protocol;
	const struct protocol_ops *next_protocol;       /* behind a PROXY line; or NULL */
	struct engine *engine;
	struct exchange *exchange;      /* the one that runs on it (HTTP/1, talks); or NULL */
	struct tunnel *tunnel;          /* it left the road; or NULL */
	struct flow *flow;              /* client: of datagrams, without a descriptor; or NULL */
	struct door *door;              /* peer: of datagrams, whose socket it uses; or NULL */

	uint8_t side, state, hold;
	uint8_t expects;                /* enum reason of the deadline */
	bool readable, writable;        /* edge-triggered readiness */
	bool datagrams;                 /* each read is one, each write is one (datagram.h) */
	bool peer_fin;                  /* EV_CLOSED was seen: a short read does not stop */
	bool ended;                     /* read returned 0, protocol->finish was called */
	bool shut_wanted, shut;         /* FIN when all is written; was sent */
	bool close_wanted;              /* close (linger) when all is written */
	/* more waits than may: the other side is not read from */
	bool congested;
	bool tight;                     /* it did not take all it was given lately */
	bool full;                      /* the last read filled its window */
	bool in_read;
	bool paused;                    /* it had its turn: what is in hand waits for the next */
	/* bytes that it had room for when the socket was asked, less what was read for it since */
	uint32_t room;
	int broken;                     /* errno of a write: told when the pass flushes; 0: fine */
	bool used;                      /* peer: carried an exchange before */
	bool last;                      /* peer: it is not kept for another one */
	/* its end waits for the other's: what was sent must arrive */
	bool linger;
	/* ms that the other end may take nothing while bytes wait */
	uint32_t write_timeout;
	/* bytes a second that it must take of them, and the ms that are not judged; 0: any */
	uint32_t write_least, write_grace;
	uint32_t ahead;                 /* bytes that may wait before the other side is held */
	/* ms of silence: a client's between two exchanges, a peer's inside one */
	uint32_t idle_timeout;
	/*
	 * ms of clock_ms(); 0: not set. The deadline is the earlier one. write_due: bytes wait, and
	 * this is when we look what has come of them
	 */
	uint64_t expect_due, write_due;
	uint64_t look_due;              /* when to ask whether it was reset; 0: no reason to */
	struct stall *stall;            /* from the first look on, to the end; heap */
	uint16_t binding;               /* client: number; the listener is conn_listener(c) */
	/*
	 * held: its binding, or its protocol, is not that of the current snapshot any more; it is
	 * as it was in this one, for what is running on it
	 */
	struct snapshot *old;
	uint64_t leaving_since;         /* clock_ms(): it drains; 0: it does not */
	/* client: of the listener when it was accepted; peer: of the pool key */
	uint64_t fingerprint;

	char *in;                       /* read and not taken; heap */
	uint32_t in_at, in_n, in_size;

	struct segment *out, **out_end; /* of this pass */
	size_t out_n;
	struct backlog *backlog, **backlog_end;
	size_t backlog_n;

	struct conn *all_next, **all_back;
	struct conn *pool_next, **pool_back;    /* idle peer connections */
	struct peer_run *peer;                  /* peer: where it came from */
	/* where it was accepted; made when asked for (conn_local) */
	struct addr *local;
	uint64_t opened;                /* clock_ms() */
	uint64_t number;                /* of this worker; for logs */
	uint64_t touched;               /* clock_ms() when bytes were read or written last */
	uint64_t turns;                 /* client: exchanges that began on it */
	uint64_t received, sent;        /* bytes */

	_Alignas(16) unsigned char state_of_protocol[CONN_STATE];

	/* client: who it is, after a PROXY line. A peer has no memory for it */
	struct addr remote;
};

static inline void *
conn_state(struct conn *c)
{
	return c->state_of_protocol;
}

/*
 * An accepted descriptor; `from` is copied. NULL: it cannot be watched (the descriptor is closed).
 */
struct conn *conn_open_client(struct engine *e, int fd, uint16_t binding, const struct addr *from);
/* The same for a flow: it has no descriptor. False: it is closed already. */
MUST_USE bool conn_open_flow(struct engine *e, struct flow *f, const struct addr *from);
/*
 * Connects; protocol->open is called when it is there, exchange_peer_failed when it is not. NULL:
 * errno (nothing was opened). `first`: bytes sent before anything (a PROXY line).
 */
struct conn *conn_open_peer(struct engine *e, const struct addr *to,
    const struct protocol_ops *protocol, struct exchange *ex, uint64_t connect_timeout,
    struct slice first);
/* What needs no handshake (UDP) is there at once, rather than later in the pass. */
void conn_open_now(struct conn *c);

/* of the current snapshot; NULL: gone or changed */
const struct listener *conn_listener(const struct conn *c);
const struct addr *conn_local(struct conn *c);

/* Queues bytes that live to the end of the pass. `room`: behind them, which is ours from now on. */
void conn_write_slow(struct conn *c, const char *at, size_t n, size_t room);
static inline void
conn_write(struct conn *c, struct slice s)
{
	if (s.n != 0)
		conn_write_slow(c, s.at, s.n, 0);
}
/* What was built in the scratch: what is written next may be copied behind it. */
static inline void
conn_write_built(struct conn *c, const struct builder *b)
{
	if (b->n != 0)
		conn_write_slow(c, b->at, b->n, b->size - b->n);
}
/*
 * Writes at once, where nothing waits to be written. How many bytes it took: the rest is for
 * conn_write.
 */
MUST_USE size_t conn_write_now(struct conn *c, const char *at, size_t n);
/* It is as if a write had failed: told when the pass flushes, so that who uses it now may go on. */
void conn_break(struct conn *c, int error);
void conn_shut(struct conn *c);          /* FIN once all is written */
/*
 * Closes once all is written; a client that may still be sending is lingered for so that it gets
 * its answer.
 */
void conn_end(struct conn *c);
/* At once; what was not written is lost. The exchange on it must have been told. */
void conn_close(struct conn *c);
void conn_reset(struct conn *c);         /* the same with RST */
/* With RST, its exchange told: for the memory that it holds. Between two passes. */
void conn_sacrifice(struct conn *c);

void conn_set_hold(struct conn *c, enum conn_hold why);
/* reads on in this pass when none is left */
void conn_clear_hold(struct conn *c, enum conn_hold why);
/*
 * How much to read at once of what goes to `to` (NULL: nowhere else); `full`: the read before
 * filled its window. Never much more than `to` takes, so that little has to be kept for a slow one.
 */
size_t conn_window_slow(struct conn *to);
static inline size_t
conn_window(struct conn *to, bool full)
{
	return likely(!full && (to == NULL || !to->tight)) ? CONN_WINDOW : conn_window_slow(to);
}
/* Read again what lies in `in`, as if it had just come (after an exchange has ended). */
void conn_wake(struct conn *c);

/*
 * Behind a change of what is due (expect_due, write_due, look_due): the deadline is the earliest.
 */
void conn_arm(struct conn *c);
/* protocol->late(c, reason) in `ms`, unless said anew or cleared. */
void conn_expect(struct conn *c, uint64_t ms, enum reason reason);
void conn_expect_nothing(struct conn *c);
/*
 * Bytes for the other end wait (in us, or in a tunnel's pipe), or no more do: from when on it is
 * watched whether it takes any.
 */
void conn_set_waiting(struct conn *c, bool waiting);
/* write_due has come: REASON_NONE, and the next look is set, or why it goes on no longer. */
MUST_USE enum reason conn_judge(struct conn *c);
/* Bytes for this connection are waiting in us. */
static inline size_t
conn_waiting(const struct conn *c)
{
	return c->out_n + c->backlog_n;
}
/* The rest of the road of this connection is another protocol's (after PROXY lines, an upgrade). */
void conn_switch(struct conn *c, const struct protocol_ops *protocol);

#endif
