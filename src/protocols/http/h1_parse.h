/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/1 as bytes: heads of questions and answers, chunked bodies, the proof of a WebSocket
 * handshake. Pure functions: no connection, no exchange, no clock. Strict (RFC 9112), and there is
 * no switch that makes it lenient: two readers that differ about where a message ends are how
 * requests are smuggled.
 */
#ifndef MILLRACE_PROTOCOLS_HTTP_H1_PARSE_H
#define MILLRACE_PROTOCOLS_HTTP_H1_PARSE_H

#include <sys/types.h>

#include "core/message.h"
#include "core/reason.h"

struct h1_limits {
	size_t uri;             /* bytes of a request line, its CRLF not counted */
	size_t field;           /* of one field line, or a status line; less than 64 KiB */
	size_t head;            /* of all of a head; less than 4 GiB */
	size_t count;           /* fields */
};

/*
 * The head at the front of `in`. More than 0: how long it is (its empty line, and one CRLF before a
 * question, included), and *m is filled, with in.at as its base. 0: the head goes on behind `in`.
 * -1: it is malformed or too large whatever follows, and *why says how. One pass from the start
 * each time, nothing is kept from a call that returned 0 but the room for fields in *m: the caller
 * began with message_init, and calls again with the same *m when h1_head_again says so.
 *
 * Filled are: method, target, host, minor, keep_alive, body (Content-Length: 0 is BODY_LENGTH with
 * length 0), fields, and upgrade and expect where they hold; path, query and forward are
 * uri_normalise's. No field is marked as removed.
 */
MUST_USE ssize_t h1_parse_question(struct message *m, struct arena *a, struct slice in,
    const struct h1_limits *l, enum reason *why);
/*
 * body is what the status and the fields say; whoever asked with HEAD puts BODY_NONE there. A
 * Content-Length with 1xx and 204 is marked as removed. upgrade: a 101 that agrees to a WebSocket,
 * its key is not proved yet (h1_upgrade_agrees). Every failure is REASON_PEER_BAD_MESSAGE.
 */
MUST_USE ssize_t h1_parse_answer(struct message *m, struct arena *a, struct slice in,
    const struct h1_limits *l, enum reason *why);
/*
 * Whether an incomplete head that was parsed at its first `before` bytes is worth another try, now
 * that it is `in`.
 */
bool h1_head_again(struct slice in, size_t before, const struct h1_limits *l);

/* The answer's accept key is the question's key as RFC 6455 4.2.2 wants it; both have `upgrade`. */
bool h1_upgrade_agrees(const struct message *question, const struct message *answer);

/*
 * host [":" port] of a Host field or an authority (RFC 3986 3.2.2): a name, an IPv4 address or
 * [IPv6]; no user.
 */
struct h1_authority {
	struct slice host;      /* with the brackets of IPv6, without the last dot of a name */
	uint16_t port;          /* 0: none was given */
	bool upper;             /* has capital letters */
};
MUST_USE bool h1_authority_read(struct slice text, struct h1_authority *out);

/*
 * A chunked body while it comes: zeroed at its start. Chunk extensions and trailers are checked,
 * counted and dropped.
 */
struct h1_chunks {
	uint64_t left;                  /* of this chunk */
	uint16_t extension, extensions; /* bytes: of this chunk, of all */
	uint16_t trailer;               /* bytes */
	uint8_t trailers;               /* fields */
	uint8_t digits;
	uint8_t state;
	bool stops;                     /* set by the caller: in front of the trailers */
};

enum {
	H1_CHUNK_DIGITS = 15,           /* of a chunk's size */
	H1_CHUNK_EXTENSION = 256,       /* bytes behind one size */
	H1_CHUNK_EXTENSIONS = 4096,     /* of a message */
	H1_TRAILERS = 16,               /* fields */
	H1_TRAILER = 4096,              /* bytes of all */
};

/*
 * Takes bytes off the front of `in` and returns how many: to the end of the first piece of body,
 * which is *data, or to the end of `in` (*data is empty), or to the end of the body (*done). Called
 * again with the rest. *bad: malformed; nothing more can be read.
 */
size_t h1_chunks_read(struct h1_chunks *c, struct slice in, struct slice *data, bool *done,
    bool *bad);
/* It stopped: what comes next is for h1_parse_trailers, and is the end of the body. */
bool h1_chunks_stopped(const struct h1_chunks *c);
/*
 * The trailer section at the front of `in`, as a head: fields are filled, and nothing that they say is
 * noted. The caller gave *m room for H1_TRAILERS fields.
 */
MUST_USE ssize_t h1_parse_trailers(struct message *m, struct arena *a, struct slice in);

#endif
