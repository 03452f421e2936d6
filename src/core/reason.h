/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one vocabulary of failures: each with its word in logs and counters,
 * the HTTP status it answers with, and whose fault it is.
 */
#ifndef MILLRACE_CORE_REASON_H
#define MILLRACE_CORE_REASON_H

#include "base/log.h"

enum reason {
	REASON_NONE,
	REASON_CLIENT_GONE,             /* closed or reset before its answer was out */
	REASON_CLIENT_IDLE,             /* kept alive and silent: nobody's fault */
	REASON_BAD_MESSAGE,             /* malformed: 400 */
	REASON_BAD_HOST,                /* Host missing, doubled, malformed: 400 */
	REASON_BAD_PROXY_LINE,          /* PROXY header expected and not found */
	REASON_URI_TOO_LONG,            /* 414 */
	REASON_HEAD_TOO_LARGE,          /* 431 */
	REASON_BODY_TOO_LARGE,          /* 413 */
	REASON_BAD_EXPECTATION,         /* 417 */
	REASON_NOT_IMPLEMENTED,         /* a transfer coding, CONNECT: 501 */
	REASON_BAD_VERSION,             /* 505 */
	REASON_HEAD_TIMEOUT,            /* 408 */
	REASON_BODY_TIMEOUT,            /* 408 */
	REASON_BODY_TOO_SLOW,           /* 408 */
	REASON_FIRST_MESSAGE_TIMEOUT,   /* not one whole message came in time: 408 */
	REASON_MESSAGE_TIMEOUT,         /* one stayed unfinished: 408 */
	REASON_HEARTBEAT,               /* it answers no heartbeat */
	REASON_RATE,                    /* more than its rate: 429 */
	REASON_OVERFLOW,                /* more waits for it than may */
	REASON_WRITE_TIMEOUT,           /* the client does not read */
	REASON_WRITE_TOO_SLOW,          /* it reads less than it must */
	REASON_MISDIRECTED,             /* 421: no server of this listener has that name */
	REASON_NO_ROUTE,                /* 404 */
	REASON_DENIED,                  /* 403 */
	REASON_NO_PEER,                 /* every peer is down or was tried: 502 */
	REASON_PEER_REFUSED,            /* connect failed: 502 */
	REASON_PEER_CONNECT_TIMEOUT,    /* 504 */
	REASON_PEER_CLOSED,             /* before the answer was complete: 502 */
	REASON_PEER_RESET,              /* 502 */
	REASON_PEER_BAD_MESSAGE,        /* a malformed answer: 502 */
	REASON_PEER_TIMEOUT,            /* no head in time, or silent in the body: 504 */
	REASON_PEER_WRITE_TIMEOUT,      /* the peer does not read: 504 */
	REASON_PEER_STATUS,             /* the status of a failure, where a message is wanted: 502 */
	REASON_PEER_HEARTBEAT,          /* the peer answers no heartbeat: 504 */
	REASON_ANSWER_DROPPED,          /* a client does not read, and its buffer says drop */
	REASON_UNASKED,                 /* a peer's message that nobody asked for: 502 */
	REASON_TOO_MANY,                /* the peers owe as many answers as they may: 503 */
	REASON_IDLE_TIMEOUT,            /* a silent tunnel */
	REASON_LIMIT,                   /* out of descriptors or connections: 503 */
	REASON_MEMORY,                  /* out of memory, or of what may be used of it: 503 */
	REASON_SHUTDOWN,                /* the worker is leaving: 503 */
	REASON_FLOW_LIMIT,              /* of datagrams: no more than max { flows } */
	REASON_BAD_DATAGRAM,            /* or its rest: dropped */
	REASON_SOCKET_FULL,             /* a datagram that the kernel did not take: dropped */
	REASON_PATTERN_LIMIT,           /* a pattern ran into its limit: 500 */
	REASON_INTERNAL,                /* a step gave up: 500 */
	REASON_COUNT
};

struct reason_text {
	const char *word;               /* peer_refused */
	const char *text;               /* "the peer refused the connection" */
	uint16_t status;                /* 0: no answer, just close */
	enum log_level level;
};

extern const struct reason_text reason_texts[REASON_COUNT];

#endif
