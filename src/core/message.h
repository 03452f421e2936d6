/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What flows: the head of a question or an answer, and parts (HEAD, DATA).
 * A head is a list of offsets against one base, so that it can move as one block.
 * It is free of any wire detail: HTTP/1 fills it from lines, HTTP/2 will from frames.
 */
#ifndef MILLRACE_CORE_MESSAGE_H
#define MILLRACE_CORE_MESSAGE_H

#include "base/arena.h"

/*
 * Field names that the code asks for, interned while parsing. Sorted by name; KNOWN_NONE is any
 * other.
 */
enum known {
	KNOWN_NONE,
	KNOWN_ACCEPT,
	KNOWN_ACCEPT_ENCODING,
	KNOWN_AUTHORIZATION,
	KNOWN_CACHE_CONTROL,
	KNOWN_CONNECTION,
	KNOWN_CONTENT_LENGTH,
	KNOWN_CONTENT_TYPE,
	KNOWN_COOKIE,
	KNOWN_DATE,
	KNOWN_EXPECT,
	KNOWN_FORWARDED,
	KNOWN_HOST,
	KNOWN_KEEP_ALIVE,
	KNOWN_LOCATION,
	KNOWN_MAX_FORWARDS,
	KNOWN_ORIGIN,
	KNOWN_PROXY_AUTHENTICATE,
	KNOWN_PROXY_AUTHORIZATION,
	KNOWN_PROXY_CONNECTION,
	KNOWN_REFERER,
	KNOWN_SEC_WEBSOCKET_ACCEPT,
	KNOWN_SEC_WEBSOCKET_KEY,
	KNOWN_SEC_WEBSOCKET_VERSION,
	KNOWN_SERVER,
	KNOWN_SET_COOKIE,
	KNOWN_TE,
	KNOWN_TRAILER,
	KNOWN_TRANSFER_ENCODING,
	KNOWN_UPGRADE,
	KNOWN_USER_AGENT,
	KNOWN_VIA,
	KNOWN_X_FORWARDED_FOR,
	KNOWN_X_FORWARDED_HOST,
	KNOWN_X_FORWARDED_PORT,
	KNOWN_X_FORWARDED_PROTO,
	KNOWN_X_REAL_IP,
	KNOWN_X_REQUEST_ID,
	KNOWN_COUNT
};

extern const struct slice known_names[KNOWN_COUNT];     /* as they are written: Content-Length */
enum known known_find(struct slice name);               /* without case */
/* As CGI hears them (RFC 3875 4.1.18): without case, and `_` and `-` are one, too. */
enum known known_sounding(struct slice name);
bool message_sounds_like(struct slice a, struct slice b);

enum method {
	METHOD_OTHER,
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_OPTIONS,
	METHOD_PATCH,
	METHOD_TRACE,
	METHOD_CONNECT,
	METHOD_COUNT
};

/* A piece of the head, against message.base. */
struct piece {
	uint32_t at, n;
};

/*
 * One field. `line` up to the end of value and its CRLF is what stands on the wire, so that an
 * untouched field is forwarded by copying line_n bytes at `name`.
 */
struct message_field {
	uint32_t name_at;
	uint16_t name_n;
	uint8_t known;                  /* enum known */
	uint8_t removed;                /* by an edit, or because it is not forwarded */
	uint32_t value_at;
	uint32_t value_n;
	uint32_t end;                   /* behind the CRLF */
};

/*
 * A field added by a step or by the protocol; its bytes live in the exchange's arena, the snapshot
 * or the scratch that settles with the head.
 */
struct message_edit {
	struct slice name, value;
	struct message_edit *next;
};

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_TO_CLOSE };

enum { MESSAGE_FIELDS_MAX = 100 };

struct message {
	/*
	 * the bytes that pieces and fields are offsets of: scratch in the pass it came, then the
	 * exchange's arena
	 */
	const char *base;
	uint32_t size;                  /* bytes of the head at base */
	uint16_t status;                /* of an answer */
	uint8_t method;                 /* enum method, of a question */
	uint8_t minor;                  /* HTTP/1.minor as it came: 0 or 1 */
	uint8_t body;                   /* enum body_kind */
	bool keep_alive;                /* the connection it came on may carry another */
	/* a WebSocket handshake: a question that asks, an answer that agrees */
	bool upgrade;
	bool expect;                    /* Expect: 100-continue */
	bool spaced;                    /* a field has other white space than ": " */
	/* a field that is none of `known` may say who asks: X-Forwarded-…, or `_` in its name */
	bool claims;
	bool names_fields;              /* Connection names fields of this message */
	bool takes_trailers;            /* a question: TE: trailers */
	uint64_t length;                /* BODY_LENGTH */

	struct piece method_text, target;       /* the target as it came */
	struct piece reason_phrase;
	/* host without port, lower case; not an offset: exchange arena or base */
	struct slice host;
	struct slice path;              /* decoded, normalised, what routes and conditions see */
	struct slice query;             /* behind `?`, raw; inside target */
	/* what is forwarded as target: path re-encoded and query; a rewrite changes it */
	struct slice forward;

	uint64_t known;                 /* bit per enum known that is present */
	/* bit per enum known that a step removed: the protocol does not add it by itself */
	uint64_t refused;
	uint16_t field_count, field_room;
	struct message_field *fields;   /* of the exchange's arena */
	struct message_edit *edits, **edits_end;
	struct message_edit *trailers;  /* behind its chunked body; of the exchange's arena */
};

static inline struct slice
message_piece(const struct message *m, struct piece p)
{
	return (struct slice){ m->base + p.at, p.n };
}

static inline struct slice
message_field_name(const struct message *m, const struct message_field *f)
{
	return (struct slice){ m->base + f->name_at, f->name_n };
}

static inline struct slice
message_field_value(const struct message *m, const struct message_field *f)
{
	return (struct slice){ m->base + f->value_at, f->value_n };
}

void message_init(struct message *m);
/*
 * The nth field of that name that is not removed, edits included (they come last); false: no more.
 * `known` may be KNOWN_NONE.
 */
bool message_find(
    const struct message *m, enum known known, struct slice name, size_t nth, struct slice *value);
/* Removes all of that name, edits too; `_` and `-` are one here. */
void message_remove(struct message *m, enum known known, struct slice name);
/* The slices must live as long as the exchange. */
void message_add(struct message *m, struct arena *a, struct slice name, struct slice value);
void message_add_known(struct message *m, struct arena *a, enum known known, struct slice value);
/* The bytes at base move to `to`; slices that point into them move along. */
void message_move(struct message *m, const char *to);

enum part_kind { PART_HEAD, PART_DATA };

/* A value on the stack of one call; data is valid to the end of the pass. */
struct part {
	enum part_kind kind;
	bool last;                      /* nothing of this message follows */
	/* HEAD: an answer that says that the answer is still to come */
	bool interim;
	struct slice data;              /* DATA; may be empty when last */
};

#endif
