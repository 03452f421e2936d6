/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The road of a connection whose messages are turns: each question is an exchange of its own,
 * several may be under way, and their answers are paired, put in order, and given back to who
 * asked. What is a message, and what pairs two of them, the protocol's codec says.
 *
 *   client side (lane.c)     questions become exchanges, in the order they came; answers are
 *                            written in that order where the protocol pairs by order, else as
 *                            they come; to who does not read, as its server says (lane_held.c)
 *   peer side (lane_peer.c)  questions wait in slots for their answers. The connection is shared
 *                            by many clients where messages are independent; else it is one
 *                            client's own, or for one question (of HTTP)
 *
 * A lane is the state of its connection (conn_state). What goes wrong with a connection is told to
 * each exchange on it; one that is given up keeps its place at the peer, and its answer is
 * swallowed.
 */
#ifndef MILLRACE_CORE_LANE_H
#define MILLRACE_CORE_LANE_H

#include "core/conn.h"
#include "core/upstream.h"

struct asked;
struct held;

struct lane {
	_Alignas(8) unsigned char codec[CODEC_STATE];
	struct exchange *first, **end;  /* client: not answered, in the order they came */
	/* peer: what is asked on it. Client: its own connections to peers */
	struct asked *asked;
	struct held *held;              /* client: whole answers that may still be dropped; or NULL */
	uint64_t bucket;                /* client: of message_rate */
	uint32_t count, most;           /* client: how many are not answered, and may be */
	/*
	 * client: ms after it opened: a message came last, the unfinished one began (0: none has),
	 * a heartbeat was sent
	 */
	uint32_t touched, begun, beaten;
	uint8_t missed;                 /* heartbeats that brought nothing */
	bool heard;                     /* a whole message came on it */
	bool leaving;                   /* client: closes when all is answered */
	bool draining;                  /* … and what is in hand, as far as it is whole */
	bool releasing;                 /* answers that had to wait are being written */
	bool finished;                  /* the codec was told of the end */
};

_Static_assert(sizeof(struct lane) <= CONN_STATE, "a lane keeps too much");

/* ------------------------------------------------------------------ struct protocol_ops */

void lane_open(struct conn *c);
size_t lane_read(struct conn *c, struct slice in);
void lane_finish(struct conn *c, size_t left);
void lane_send(struct exchange *ex, struct conn *c, const struct part *part);
bool lane_fail(struct exchange *ex, struct conn *c, enum reason reason);
void lane_late(struct conn *c, enum reason reason);
void lane_done(struct conn *c);
void lane_drain(struct conn *c);

/* Of every protocol of messages; name, fields and codec are its own. */
#define LANE_OPS \
	.traits = PROTOCOL_TURNS | PROTOCOL_MESSAGES | PROTOCOL_DATAGRAMS, \
	.conn_size = sizeof(struct lane), \
	.open = lane_open, .read = lane_read, .finish = lane_finish, .send = lane_send, \
	.fail = lane_fail, .late = lane_late, .done = lane_done, .drain = lane_drain

static inline const struct lane *
lane_of(const struct conn *c)
{
	return (const void *)c->state_of_protocol;
}

static inline const struct codec *
lane_codec(const struct conn *c)
{
	return c->protocol->codec;
}

/* ------------------------------------------------------------------ for conn.c and engine.c */

/*
 * A connection of messages, on the road. (One that became a talk has its one exchange, as others.)
 */
static inline bool
lane_is(const struct conn *c)
{
	return c->protocol != NULL && c->protocol->codec != NULL && c->exchange == NULL;
}

/* Every exchange on it is told. The connection stays as it is. */
void lane_broken(struct conn *c, enum reason reason);
/* It is closed: what it kept is given back; exchanges that nobody has told are. */
void lane_closed(struct conn *c);
/* It has no room for more output, or has again. */
void lane_congestion(struct conn *c, bool congested);
/* Answers are awaited on it. */
bool lane_waits(const struct conn *c);
/* Of a client: the oldest exchange that is not answered; or NULL. */
const struct exchange *lane_first(const struct conn *c);
/*
 * Of a peer, at a swap: nothing more is asked on it where its protocol is gone, or the peer of a
 * shared one is.
 */
void lane_peer_part(struct conn *c, bool gone);
/* The client is about to be elsewhere: who asked what is not answered yet stays known. */
void lane_keep_source(struct conn *c);
/* Bytes that its exchanges hold. */
size_t lane_weight(const struct conn *c);

/* ------------------------------------------------------------------ for exchange.c */

/* The exchange ended: off its client's list; answers that waited for its place follow. */
void lane_left(struct conn *c, struct exchange *ex);
/* It ends for want of its client. */
void lane_forget(struct exchange *ex);
/* The peer's connection is no longer the exchange's. */
void lane_leave(struct conn *peer, struct exchange *ex);
/* The answer as it goes to the client: of a peer's message, or of a draft. False: it cannot be. */
MUST_USE bool lane_translate(
    struct exchange *ex, const struct codec *from, const struct unit *u, struct slice *wire);
MUST_USE bool lane_write(struct exchange *ex, struct draft *d, struct slice *wire);

/* ------------------------------------------------------------------ for proxy */

/*
 * A connection to that peer for the exchange (ex->peer): its own, a shared one, or a new one that
 * is not connected yet; the question may be sent at once. False: errno.
 */
MUST_USE bool lane_reach(struct exchange *ex, const struct protocol_ops *protocol,
    const struct upstream *u, const struct peer *p);
/*
 * The peer of that upstream that knows the client already, by a connection of its own; NULL: any
 * may be asked, or the one that knows it was tried.
 */
const struct peer *lane_known_peer(
    const struct exchange *ex, const struct upstream *u, const struct peer_set *tried);
/* exchange_peer_failed(ex, REASON_PEER_TIMEOUT) in `ms`, unless it is answered. */
void lane_expect(struct exchange *ex, uint64_t ms);
/* No answer will come: the question is one-way for its client, or for the peer. */
bool lane_is_one_way(const struct exchange *ex);
/*
 * All of the client's bytes from this question on are its peer's, unread: the exchange becomes a
 * talk. False: earlier questions are not answered yet; it comes again when they are.
 */
MUST_USE bool lane_pin(struct exchange *ex);

/* ------------------------------------------------------------------ between the files */

/* Of the listener's only server; NULL: it has more, or is gone. */
const struct settings *lane_settings(const struct conn *client);

/* The question goes to the peer: written when all of it is there. */
void lane_ask(struct exchange *ex, struct conn *peer, const struct part *part);
/* Of a client: no more is read; what is under way is answered, then it closes. */
void lane_retire(struct conn *client);
void lane_peer_congestion(struct conn *peer, bool congested);
/* The client does not read: nothing is read from its own connections either. */
void lane_hold_own(struct lane *client, bool held);
/* To the client, as its buffer { answer } allows. */
void lane_put(struct conn *client, struct slice wire);
/* All that was written is out: what waited follows. */
void lane_let_go_held(struct conn *client, struct lane *l);
void lane_drop_held(struct conn *client, struct lane *l);
void lane_answered(struct conn *peer, const struct unit *u);
void lane_peer_opened(struct conn *peer);
void lane_peer_late(struct conn *peer, enum reason reason);
void lane_peer_broken(struct conn *peer, enum reason reason);
void lane_peer_closed(struct conn *peer);
/* Nothing more is asked on it. */
void lane_peer_retire(struct conn *peer);
/* Its client is gone: the client's own connections close. */
void lane_close_own(struct lane *l);
/* More of a body that becomes one message; false: there is too much (`max`), or no memory. */
MUST_USE bool lane_gather(struct exchange *ex, struct slice more, uint32_t max);

#endif
