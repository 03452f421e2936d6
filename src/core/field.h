/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named, typed values that a configuration may ask for: `path`, `header.host`,
 * `src`. One name everywhere: bare in conditions, ${name} inside quotes.
 */
#ifndef MILLRACE_CORE_FIELD_H
#define MILLRACE_CORE_FIELD_H

#include "base/addr.h"
#include "config/schema.h"

struct exchange;
struct protocol_ops;
struct field_ref;

/* When it can be known first. */
enum moment { MOMENT_OPEN, MOMENT_QUESTION, MOMENT_ANSWER, MOMENT_END };

enum field_type {
	FIELD_TEXT,
	FIELD_NUMBER,
	FIELD_ADDRESS,
	/* of values alone: a word that is neither text nor integer: true, null, 1.5 */
	FIELD_BARE,
	/*
	 * not of values: each says what it is (JSON), and a literal by its form what it is compared
	 * as
	 */
	FIELD_ANY,
};

struct field_value {
	/*
	 * FIELD_TEXT and FIELD_BARE; lives to the end of the pass, or longer. Of a FIELD_NUMBER how
	 * it is printed, where `number` has no room for it
	 */
	struct slice text;
	int64_t number;
	const struct addr *addr;
	enum field_type type;           /* said where the field's is FIELD_ANY */
};

/*
 * Values of a repeated field are asked for one after the other: where the last was found, so that
 * thousands of them cost no square.
 */
struct field_cursor {
	const struct field_ref *ref;
	size_t nth;                     /* of the value that comes next */
	size_t field;                   /* Cookie fields begun */
	struct slice rest;              /* behind the last value */
};

enum field_flags {
	/* takes a name behind its own: header.NAME, msg[0]; `name` ends with a dot or a bracket */
	FIELD_FAMILY = 1,
	FIELD_REPEATED = 2,             /* may have several values: any may match */
	FIELD_NOCASE = 4,               /* compares without case (hosts) */
	/* in a text all its values stand, ", " between (header fields); else the first */
	FIELD_JOINED = 8,
	/*
	 * a piece of a URI as it came (query): in a url only what may not stand there is
	 * encoded, not % & = ?
	 */
	FIELD_URI = 16,
	FIELD_CAPITALS = 32,            /* nobody means a value without capitals (methods) */
};

struct field {
	const char *name;
	enum field_type type;
	enum moment moment;
	unsigned flags;
	/* The nth value (0 first); false: there is none. */
	bool (*get)(
	    struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out);
	/*
	 * Of a family: makes ref->known/more from ref->name, and may say ref->type better; false:
	 * there is no such (it says so). NULL: nothing to prepare.
	 */
	bool (*prepare)(
	    struct reading *r, const struct scope *scope, struct field_ref *ref, struct span at);
	const char *help;
};

struct field_ref {
	const struct field *field;
	struct slice name;              /* of a family: what stands behind the dot */
	enum field_type type;           /* the field's, or what its family knows better */
	unsigned known;                 /* enum known of a header */
	const void *more;
};

/* What may be asked for in one place of the configuration. */
struct scope {
	const struct protocol_ops *protocol;    /* or NULL: any; then only core's fields */
	enum moment moment;                     /* the latest that is known here */
	/* regex_groups() of the route, NULL-terminated; or NULL */
	const char *const *captures;
	const struct map *maps;                 /* name -> struct field_map; or NULL */
	const char *where;                      /* "a route's condition": for messages */
	/* all there are, NULL-terminated, to say which one has a field; or NULL */
	const struct protocol_ops *const *protocols;
	unsigned depth;                         /* of maps that ask for maps */
};

/*
 * Finds `word` (header.host) in the scope; errors, with did-you-mean, are reported: unknown, not of
 * this protocol, too early. A capture goes before a field of the same name: it was named by who
 * asks.
 */
MUST_USE bool field_find(struct reading *r, const struct scope *scope, struct slice word,
    struct span at, struct field_ref *out);

/*
 * Core's own fields: src src_port dst dst_port listener server time ... ; captures by NAME and
 * number; map.NAME. Ended by name NULL.
 */
extern const struct field core_fields[];

/*
 * A field's value as text; numbers and addresses are printed into scratch memory. Only the first
 * value, unless joined is set: then all, ", " between.
 */
bool field_text(struct exchange *ex, const struct field_ref *ref, bool joined, struct slice *out);
/* Its name, as it is written in a condition. */
void field_name(const struct field_ref *ref, struct builder *b);
/* When it is known: of a map, what its own field needs. */
enum moment field_moment(const struct field_ref *ref);
/* The nth value alone. */
bool field_text_nth(
    struct exchange *ex, const struct field_ref *ref, size_t nth, struct slice *out);

/*
 * An argument that is one bare field: `hash FIELD`, `key FIELD`. Reads a struct field_argument,
 * compiles it.
 */
struct field_argument {
	struct value raw;
	struct field_ref ref;
};
extern const struct type type_field;

#endif
