/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Strings with ${fields}: compiled once, built in one pass into a bounded
 * buffer. Each has a place, and what is substituted is escaped for it.
 */
#ifndef MILLRACE_CORE_TEXT_H
#define MILLRACE_CORE_TEXT_H

#include "core/field.h"

enum text_place {
	TEXT_PLAIN,             /* bodies of answers: nothing is escaped */
	TEXT_URL,               /* percent-encoded */
	TEXT_HEADER,            /* control bytes become spaces, so that no value makes a new line */
	TEXT_JSON,              /* the inside of a JSON string */
	TEXT_HTML,              /* text of HTML and XML, or an attribute in quotes */
	TEXT_LOG                /* control bytes and quotes as \xNN */
};

enum { TEXT_MAX = 32 * 1024 };     /* bytes that a built text may have; past it the step fails */

struct text_part {
	struct slice literal;           /* when ref.field is NULL */
	struct field_ref ref;
};

struct text {
	struct value raw;
	enum text_place place;
	bool constant;                  /* no fields: `literal` is all */
	struct slice literal;
	struct text_part *parts;
	size_t part_count;
};

/* Where a value stands in a body of that media type; what is not known: PLAIN. */
enum text_place text_place_for(struct slice type);

/* argument.more is the enum text_place. */
extern const struct type type_text;

/* False: it does not fit. `constant` texts should be taken from ->literal instead. */
MUST_USE bool text_build(const struct text *t, struct exchange *ex, struct builder *b);
/* The text, in the exchange's arena (or the literal itself); false: longer than TEXT_MAX. */
MUST_USE bool text_get(const struct text *t, struct exchange *ex, struct slice *out);
/* The same to be written: it lives to the end of the pass, whatever becomes of the exchange. */
MUST_USE bool text_write(const struct text *t, struct exchange *ex, struct slice *out);

/*
 * For people: ` "TEXT"`, or in the other quotes where these are in it, its end left out where it is
 * long. False: longer than TEXT_MAX.
 */
MUST_USE bool text_show(const struct text *t, struct exchange *ex, struct builder *b);
void text_show_slice(struct slice s, struct builder *b);

#endif
