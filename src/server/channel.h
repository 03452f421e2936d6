/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What master and worker say to each other: messages of one fixed size over
 * a seqpacket socket, descriptors alongside. Neither side waits for the other: what the
 * kernel does not take is queued, with duplicates of its descriptors.
 */
#ifndef MILLRACE_SERVER_CHANNEL_H
#define MILLRACE_SERVER_CHANNEL_H

#include "io/loop.h"
#include "io/socket.h"

enum channel_kind {
	/* To a worker. */
	CHANNEL_BUNDLE = 1,     /* one descriptor; generation: what the next GO builds */
	/* a descriptor each: accept for index[i] (a binding number), of slot `slot` */
	CHANNEL_LISTEN,
	CHANNEL_UNLISTEN,       /* no more for index[i] of slot `slot`: it was lent */
	/* a descriptor each: log index[i] of the bundle, or CHANNEL_ERROR_LOG */
	CHANNEL_LOG,
	/*
	 * index[i] is a listener no more: who waits there is accepted, then all its sockets close; READY
	 * is said again
	 */
	CHANNEL_REMOVE,
	CHANNEL_GO,             /* build what the bundle holds and serve it */
	CHANNEL_DRAIN,
	CHANNEL_LEVEL,          /* slot: enum log_level, of the error log */
	CHANNEL_ASK,            /* one descriptor: an order of the control socket; generation: whose */
	CHANNEL_STOP,
	/* To the master. */
	CHANNEL_READY,          /* generation is served */
	CHANNEL_FAILED,         /* it cannot; the log says why, and the worker ends */
	CHANNEL_LEAVING,        /* it drains of itself: its sockets are another's to serve */
	CHANNEL_ANSWERED,       /* generation: of an ASK */
	CHANNEL_KINDS
};

#define CHANNEL_ERROR_LOG UINT32_MAX     /* an index of LOG */
#define CHANNEL_ALL_SLOTS UINT32_MAX     /* the slot of a socket that all workers share */

struct channel_message {
	uint32_t kind, count;           /* of index */
	uint64_t generation;
	uint32_t slot;
	uint32_t index[SOCKET_PASS_MAX];
};

struct channel_waiting;

struct channel {
	struct loop_event event;
	int fd;                         /* -1: closed */
	struct channel_waiting *first, **last;
	/* The descriptors are the receiver's, to keep or to close. It may close the channel. */
	void (*receive)(
	    struct channel *c, const struct channel_message *m, const int *fds, size_t fd_count);
	/* The other side is gone, or said what is no message: called once. */
	void (*ended)(struct channel *c);
};

/* Takes the descriptor, also when it fails. receive and ended are set by the caller. */
MUST_USE bool channel_open(struct channel *c, struct loop *l, int fd);
/* What was not taken by then is lost. */
void channel_close(struct channel *c);
/* In a child that fork made, once the loop was forgotten. */
void channel_forget(struct channel *c);
/* The descriptors stay the caller's. On a closed channel: nothing. */
void channel_send(
    struct channel *c, const struct channel_message *m, const int *fds, size_t fd_count);
/*
 * What waits because the kernel took no more: tried again by itself, but for limits that others
 * lift.
 */
void channel_retry(struct channel *c);
void channel_say(struct channel *c, enum channel_kind kind, uint64_t generation);

#endif
