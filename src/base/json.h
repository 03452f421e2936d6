/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON (RFC 8259) read in place: values are found by path, in one walk over the text that builds no
 * tree and allocates nothing. And the end of a value in a stream of bytes, wherever it is cut.
 *
 * A walk always goes to the end of the text, so what is malformed anywhere is said, and a name that
 * is looked for and stands twice is refused: who reads behind us may take the other one.
 * What is not UTF-8 is malformed (8.1). A lone surrogate in an escape is grammar (8.2): it decodes
 * as U+FFFD.
 */
#ifndef MILLRACE_BASE_JSON_H
#define MILLRACE_BASE_JSON_H

#include "base/bytes.h"

enum {
	JSON_DEPTH = 64,                /* arrays and objects in one another */
	JSON_STEPS = 8,                 /* of a path */
	JSON_PATHS = 32,                /* of one walk */
};

enum json_type {
	JSON_ABSENT,
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

enum json_verdict { JSON_GOOD, JSON_MALFORMED, JSON_TOO_DEEP, JSON_REPEATED };

struct json_value {
	enum json_type type;
	/* as it stands in the text; of a string what is between the quotes */
	struct slice raw;
	bool escaped;                   /* a string with a backslash in it */
};

struct json_step {
	struct slice name;              /* at NULL: an index */
	uint32_t index;
};

struct json_path {
	struct json_step steps[JSON_STEPS];
	unsigned count;                 /* 0: the whole text */
	/*
	 * Other readers tell names without case: one that differs from a step in nothing else is JSON_REPEATED,
	 * since it may be found in its place.
	 */
	bool alone;
};

/*
 * `a`, `a.b`, `[0].x`, `a["odd name"]`, or nothing at all; NULL, or what is wrong with it. The
 * steps are pieces of `text`. (No escapes: a name with a quote in it cannot be asked for.)
 */
MUST_USE const char *json_path_parse(struct json_path *path, struct slice text);

/*
 * Finds up to JSON_PATHS values in one walk; those that are not there are JSON_ABSENT. When the
 * verdict is not good, *bad (or NULL) is where, and no value is.
 */
MUST_USE enum json_verdict json_find(struct slice text, const struct json_path *paths, size_t count,
    struct json_value *values, size_t *bad);

/*
 * What a string says. Without escapes that is a piece of the text, else it is put into `room`;
 * false: it does not fit there.
 */
MUST_USE bool json_string(const struct json_value *v, struct builder *room, struct slice *out);
/* As if it were decoded and compared. */
bool json_string_is(const struct json_value *v, struct slice text);
/* A number without fraction and exponent that fits. */
MUST_USE bool json_integer(const struct json_value *v, int64_t *out);

/* ------------------------------------------------------------------ the end of a value */

enum json_end_verdict { JSON_END_MORE, JSON_END_FOUND, JSON_END_BAD };

/* Zeroed before the first byte. */
struct json_end {
	uint64_t objects;               /* a bit per depth: it is an object */
	uint8_t depth;
	uint8_t where;
};

/*
 * Takes the next bytes of a stream. FOUND: the value ends behind the first *taken of them; a bare
 * number or word ends at a byte that cannot be of it, which is not taken. MORE: all are taken.
 * It looks at strings, brackets and which bytes may stand between them, not at commas: what
 * it delimits may still be malformed to json_find; what json_find calls good it delimits.
 */
enum json_end_verdict json_end(struct json_end *e, struct slice in, size_t *taken);
/* The stream is over after MORE: true when what was taken is a value (a bare one). */
bool json_end_closes(const struct json_end *e);

/* Space, tab, CR, LF (RFC 8259 2). */
static inline bool
json_is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

#endif
