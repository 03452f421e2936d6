/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sockets of datagrams on the road. What comes from one source to one of our addresses is a flow
 * (or what has one value of a field, from wherever it comes: flow by FIELD), and the client's side
 * of it is a conn like any other, but without a descriptor: it is read from the listener's socket
 * and written through it. A peer's conn has a connected socket of its own. Of both each read is one
 * datagram and each write is one; none is merged, cut or kept: what the kernel does not take is
 * dropped and counted.
 */
#ifndef MILLRACE_CORE_DATAGRAM_H
#define MILLRACE_CORE_DATAGRAM_H

#include "core/conn.h"

struct binding;
struct datagrams;

/* A datagram that another peer would be asked again. */
struct flow_kept {
	struct flow_kept *next;
	struct slice bytes;
};

enum { FLOW_OF_VALUE = -1 };            /* the number of no link */

/* All that makes two flows two, in the order of a hash without holes. */
struct flow_key {
	uint8_t source[16], local[16];  /* IPv4 mapped; local: `::` where all come to one */
	/*
	 * of a source on one link; FLOW_OF_VALUE: `source` is the hash of a field's value, port 0
	 */
	uint32_t scope;
	uint16_t port, binding;
};

struct flow {
	struct flow *next;              /* in its place of the table; in the free list */
	struct flow *newer, *older;     /* of its binding, by when they were looked at last */
	struct conn *conn;
	struct flow_key key;
	uint64_t hash;
	uint64_t active, placed;        /* clock_ms(): of its last question, of its last look */
	uint64_t questions, answers;    /* datagrams */
	/* it ends when each question has so many answers; 0: when it is silent */
	uint32_t answers_wanted;
	bool lost;                      /* not all its questions are kept */
	uint32_t kept_n;                /* bytes */
	struct flow_kept *kept, **kept_end;
};

/*
 * A socket that is connected to a peer, or was: sockets cost more than all else of a short flow.
 * One that is used again has another port, and what came to the one before is dropped.
 */
struct door {
	struct loop_event event;
	struct door *next;              /* of those that nobody uses */
	struct conn *conn;              /* who uses it; or NULL */
	int fd;
	uint16_t port;
	uint8_t list;                   /* by family */
	bool again;                     /* nothing was written since: an error is of who had it before */
};

/* What a worker needs for the first socket of datagrams; false: errno. */
MUST_USE bool datagram_open(struct engine *e);
void datagram_close(struct engine *e);

/* A batch off a listener's socket: what is new becomes a flow. */
void datagram_receive(struct engine *e, uint16_t binding, int fd);
/* Ends the flows of a binding that has no socket any more. */
void datagram_end_binding(struct engine *e, uint16_t binding);

/* Connected to that peer; NULL: errno. */
MUST_USE struct door *door_take(struct engine *e, const struct addr *to);
/* Its connection is done with it. Called by conn_close. */
void door_give(struct conn *c);
/* Closes those that nobody uses; false: there are none. */
bool door_close_free(struct engine *e);

/* A turn of a peer's connection that is readable. */
void datagram_read(struct conn *c);
/*
 * One datagram, empty ones too; to a client it leaves at the end of the pass: its bytes live so
 * long.
 */
void datagram_write(struct conn *c, struct slice s);
/* Where a flow's datagrams come to. */
void datagram_local(const struct conn *c, struct addr *a);

/* Called by conn_close. */
void flow_close(struct flow *f);
/* No more will come to this worker: it lives for the answers that are under way. */
void flow_drain(struct conn *c);
/* Ends those that are silent for longest; false: no connection to a peer went with them. */
bool flow_end_silent(struct engine *e);

/* The question may be asked of another peer, if the first refuses it: of the exchange's arena. */
void flow_keep(struct exchange *ex, struct slice question);
/* Asks the peer all that is kept. */
void flow_ask_again(struct exchange *ex);
/* One more answer came; true: it was the last. */
bool flow_is_answered(struct flow *f);

#endif
