/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One question and its answer (a turn), or both directions until the end (a
 * talk). It joins two places, a client connection and a peer's, either of which may be
 * absent; it owns an arena; it runs the steps of its route.
 */
#ifndef MILLRACE_CORE_EXCHANGE_H
#define MILLRACE_CORE_EXCHANGE_H

#include "core/conn.h"
#include "core/engine.h"
#include "core/handler.h"
#include "core/lane.h"
#include "core/listener.h"

enum { EXCHANGE_FIRST = 1152 };          /* bytes of its arena that are part of it */

enum answer_state {
	/* nothing of it yet: it may still be chosen anew (error steps, another peer) */
	ANSWER_NONE,
	ANSWER_HEAD,            /* its head was sent towards the client */
	ANSWER_DONE
};

struct exchange {
	struct conn *client;            /* NULL: gone */
	struct conn *peer;              /* or NULL */
	struct peer_count *flight;      /* where it is counted: it has a peer; or NULL */
	struct engine *engine;
	struct snapshot *snapshot;      /* held; NULL for a talk that left the road */
	const struct listener *listener;
	const struct server *server;
	const struct route *route;
	const struct settings *settings;        /* the route's, or the server's */
	const struct steps *steps;
	uint16_t step;                  /* the next to run */
	int16_t taker;                  /* the step that took it, or -1 */
	uint64_t answers;               /* bits of the steps that want to see the answer */
	unsigned char *state;           /* of the steps */
	uint64_t ran;                   /* bits of the first 64 steps that ran and have state */

	uint8_t answer_state;           /* enum answer_state */
	uint8_t reason;                 /* enum reason: why it failed */
	bool question_done;             /* all of it came */
	bool talk;
	bool error_run;                 /* error steps ran or run: not twice */
	bool held;                      /* a step holds it */
	bool untouched;                 /* the peer that failed got no byte of the question */
	bool tunnelled;                 /* it left the road */
	bool ending;                    /* exchange_end was asked for */
	uint8_t busy;                   /* calls of it that run: it ends behind the last */
	bool settled;                   /* its head was copied into the arena */
	bool free;                      /* in the free list */
	bool close_client;              /* the client's connection ends with this exchange */
	/* … behind what its client has said whole: those messages are answered first */
	bool close_drains;
	bool hop_counted;               /* off its Max-Forwards */
	bool trusted;                   /* real_ip: what its connection says of who asks holds */
	/* heap bytes that its taker keeps and that are of no use once the answer comes */
	uint32_t keeps;
	/*
	 * a pattern ran into its limit: what it would have said is not known, so the exchange
	 * fails (REASON_PATTERN_LIMIT)
	 */
	bool gave_up;

	struct message question, answer;
	/* the question, where each message is a turn: of the arena; else NULL */
	struct unit *unit;
	/* in its client's lane, and in its peer's: asked and not answered */
	struct exchange *client_next, **client_back;
	struct exchange *peer_next, **peer_back;
	uint64_t place;                 /* in its peer's lane; 0: none yet */
	uint64_t due;                   /* clock_ms() when its answer is late */
	/* its answer in the client's protocol; parked: it waits for earlier ones, in the arena */
	struct slice wire;
	bool parked;
	bool again;                     /* its question is read again later */
	bool one_of_many;               /* its peer's connection broke, and another told of it */
	struct gathered {               /* a body that becomes one message */
		char *at;
		uint32_t n, size;
	} gathered;
	/* the client: of its connection, which outlives this by a pass, or what real_ip found */
	const struct addr *src;
	const struct addr *connection_src;      /* of its connection, where src is another; or NULL */
	int log_sink;                   /* of the engine; -1: none */
	uint8_t log_format;             /* enum access_format */
	/*
	 * pairs of positions in question.path, REGEX_CAPTURES_MAX of them, UINT32_MAX: unset; of
	 * the arena once a regex matched
	 */
	uint32_t *captures;
	const struct regex *captured;   /* the regex they are of; or NULL */
	struct field_cursor cursor;

	struct slice id;                /* request_id(); empty: nobody has asked for it */
	uint64_t started_us;            /* clock_us() */
	/* to the peer's connection, to the answer's head; 0: not reached */
	uint64_t peer_us, head_us;
	/* body bytes of the question, bytes queued of the answer (head included) */
	uint64_t received, sent;
	uint64_t peer_sent;             /* bytes written to the peer's connection before */
	struct pace pace;               /* of the question's body, when it came in pieces */
	uint64_t queued_before;         /* bytes queued on the client when it began */
	uint16_t status;                /* what the client got; 0: nothing */
	uint16_t attempts;              /* peers tried */
	struct slice peer_text, upstream_name, server_name;     /* for logs */

	/* From here on nothing is cleared at the begin. */
	struct loop_task settle;
	struct exchange *free_next;
	struct arena arena;
	_Alignas(16) unsigned char first[EXCHANGE_FIRST];
};

static inline void *
exchange_state(struct exchange *ex, const struct step *step)
{
	return ex->state + step->state_at;
}

/* It has, or had, a peer: its count is given back once the answer is there, or none will be. */
static inline void
exchange_land(struct exchange *ex)
{
	if (ex->flight == NULL)
		return;
	__atomic_store_n((uint32_t *)&ex->flight->in_flight, ex->flight->in_flight - 1, __ATOMIC_RELAXED);
	ex->flight = NULL;
}

static inline void
exchange_fly(struct exchange *ex, struct peer_count *c)
{
	exchange_land(ex);
	ex->flight = c;
	__atomic_store_n((uint32_t *)&c->in_flight, c->in_flight + 1, __ATOMIC_RELAXED);
}

/* A peer has, or will have in this pass, all there is to ask: error steps ask without a body. */
static inline bool
exchange_is_asked(const struct exchange *ex)
{
	return ex->question_done || ex->error_run;
}

/* ------------------------------------------------------------------ how it is decided */

/*
 * The server of the listener for the question that is there: ex->server, and what is told of who
 * asks is taken or dropped. False: none has that host.
 */
MUST_USE bool exchange_find_server(struct exchange *ex, const struct listener *l);
/*
 * The error steps for that status, if there are any and they had no turn yet. `own`: that of a
 * peer's answer.
 */
const struct steps *exchange_error_steps(const struct exchange *ex, unsigned status, bool own);

/* ------------------------------------------------------------------ for protocols */

/* A question begins on this connection. Its message is empty; the arena is there. */
struct exchange *exchange_begin(struct conn *client);
/* It did not: nothing is logged or counted (the head is not complete yet). */
void exchange_cancel(struct exchange *ex);
/*
 * The head is in ex->question: chooses server and route, runs the steps. `last`: no body follows.
 */
void exchange_question(struct exchange *ex, bool last);
/* The same for a message, which is all of it: what stands in it, then the steps. */
void exchange_set_unit(struct exchange *ex, const struct unit *u);
void exchange_message(struct exchange *ex);
/* Bytes of the question's body (a talk: what the client says). */
void exchange_question_data(struct exchange *ex, struct slice data, bool last);
/* From the peer: the head is in ex->answer. */
void exchange_answer(struct exchange *ex, bool last);
/* From the peer: a message that is all of the answer; its codec. */
void exchange_answer_message(struct exchange *ex, const struct codec *k, const struct unit *u);
/* It had to wait for its place (exchange.parked) and was written. */
void exchange_unpark(struct exchange *ex);
/* The question is the peer's, and no answer comes to it. */
void exchange_is_said(struct exchange *ex);
/* In front of it: ex->answer is an interim one (103). No step sees it. */
void exchange_interim(struct exchange *ex);
void exchange_answer_data(struct exchange *ex, struct slice data, bool last);
/* The client's connection or the peer's failed. */
void exchange_client_failed(struct exchange *ex, enum reason reason);
void exchange_peer_opened(struct exchange *ex);
void exchange_peer_failed(struct exchange *ex, enum reason reason);
/* A conn has room again / has none: the other side's reading follows. Called by conn.c. */
void exchange_congestion(struct exchange *ex, struct conn *c, bool congested);

/* ------------------------------------------------------------------ for who has no connection */

/*
 * A stand-in for an exchange that never was: its arena is there, all else is made empty. Its fields
 * may be asked for and conditions on it tried; it is never ended, nor given to who would.
 */
void exchange_stand_in(struct exchange *ex, struct engine *e, const struct addr *src);

/* ------------------------------------------------------------------ for handlers */

/*
 * The peer has not got a byte of the question yet: it may still be asked of another, whatever it
 * is.
 */
bool exchange_is_untouched(const struct exchange *ex);
/*
 * A new connection to that peer, begun with the PROXY header that the upstream wants; `alone`: it
 * carries this exchange and no other beside it (conn.exchange). NULL: errno.
 */
struct conn *exchange_connect(struct exchange *ex, const struct upstream *u,
    const struct peer *p, const struct protocol_ops *protocol, bool alone);
/* Question parts to the peer's protocol. HEAD is ex->question. */
void exchange_send(struct exchange *ex, const struct part *part);
/*
 * An answer made here: status and body, which lives to the end of the pass (not in the exchange's
 * arena: it may end first).
 */
void exchange_return(struct exchange *ex, uint16_t status, struct slice type, struct slice body);
/* The same in parts: ex->answer was filled (status, body, length). */
void exchange_return_head(struct exchange *ex, bool last);
void exchange_return_data(struct exchange *ex, struct slice data, bool last);
/*
 * An answer made here in the client's protocol of messages: its body, and header fields of its
 * own. What pairs it with the question is written by the codec. All lives to the end of the pass.
 */
void exchange_return_message(
    struct exchange *ex, struct slice body, const struct unit_set *sets, size_t set_count);
/* The question is answered by nothing: it ends without a word, and without a failure. */
void exchange_return_nothing(struct exchange *ex);
/* Goes on with the step behind the one that said STEP_HOLD. */
void exchange_resume(struct exchange *ex);
/*
 * The only way to fail: answers in the protocol's words if nothing is out, error steps first; else
 * cuts the connection.
 */
void exchange_abort(struct exchange *ex, enum reason reason);
/* The peer's connection is no longer this exchange's: kept when clean, closed otherwise. */
void exchange_drop_peer(struct exchange *ex, bool clean);
/* The body of the question is not read for now / is again. */
void exchange_hold_question(struct exchange *ex);
void exchange_release_question(struct exchange *ex);
/*
 * Ends: log line, counters, the steps' end(), arena, back to the free list. Deferred while one of
 * its calls runs.
 */
void exchange_end(struct exchange *ex);
/* Its memory, when the process ends. */
void exchange_free(struct exchange *ex);
/*
 * Both connections leave the road: bytes go straight between them (the peer's is open). The
 * snapshot is let go.
 */
void exchange_tunnel(struct exchange *ex);

#endif
