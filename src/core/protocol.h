/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How bytes become parts and parts become bytes. Builtin, declared and loaded
 * protocols go through this one table; the same file serves the client's side and the peer's.
 */
#ifndef MILLRACE_CORE_PROTOCOL_H
#define MILLRACE_CORE_PROTOCOL_H

#include "core/codec.h"
#include "core/field.h"
#include "core/message.h"
#include "core/reason.h"

struct conn;
struct exchange;
struct listener;

enum protocol_traits {
	/* exchanges are one question and one answer; else one talk to the end */
	PROTOCOL_TURNS = 1,
	/* questions have method, host, path and fields; answers a status */
	PROTOCOL_HTTP = 2,
	PROTOCOL_POOLS = 4,             /* a peer connection may be kept for the next exchange */
	/* each message is a turn of its own; it has a codec, and its road is lane.c's */
	PROTOCOL_MESSAGES = 8,
	PROTOCOL_DATAGRAMS = 16,        /* for listeners and peers on UDP */
};

/* What read() makes of its bytes. */
enum { PROTOCOL_MALFORMED = -1 };

struct protocol_ops {
	const char *name;                       /* the word in the configuration */
	unsigned traits;
	/* what it offers beside core's; ended by name NULL; or NULL */
	const struct field *fields;
	size_t conn_size;                       /* <= CONN_STATE: what it keeps in a conn */
	const struct codec *codec;              /* of a protocol of messages; else NULL */

	/*
	 * The connection is there (a peer: is connected). The state is zeroed. A talk begins its
	 * exchange here.
	 */
	void (*open)(struct conn *c);
	/*
	 * Takes bytes from the front of `in`, hands on parts; returns how many it took. What it
	 * leaves comes again, in front of more.
	 */
	size_t (*read)(struct conn *c, struct slice in);
	/* The other end sent FIN; `left` bytes were not taken. */
	void (*finish)(struct conn *c, size_t left);
	/* A part to be written to this connection, the exchange's client or peer. */
	void (*send)(struct exchange *ex, struct conn *c, const struct part *part);
	/*
	 * The exchange fails and nothing of its answer is out: answer in the protocol's words, if
	 * it has any. False: it has none.
	 */
	bool (*fail)(struct exchange *ex, struct conn *c, enum reason reason);
	/* A deadline of the connection passed; `reason` is what conn_expect was given. */
	void (*late)(struct conn *c, enum reason reason);
	/* The exchange on this connection is over and was taken off it: become idle, or close. */
	void (*done)(struct conn *c);
	/* No new exchanges: close when idle. */
	void (*drain)(struct conn *c);
};

/* Not for connections: one datagram is one message, or the part of a talk. */
static inline bool
protocol_needs_datagrams(const struct protocol_ops *p)
{
	return (p->traits & PROTOCOL_DATAGRAMS) != 0 &&
	    ((p->traits & PROTOCOL_MESSAGES) == 0 || p->codec->datagrams);
}

#endif
