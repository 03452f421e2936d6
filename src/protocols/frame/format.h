/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands in a message by name: `msg.len`, `msg.body`, declared fields, and what the format of
 * the body offers. A name is prepared once; its value is scanned out of the message in place.
 */
#ifndef MILLRACE_PROTOCOLS_FRAME_FORMAT_H
#define MILLRACE_PROTOCOLS_FRAME_FORMAT_H

#include "base/json.h"
#include "protocols/frame/frame.h"

enum frame_name_kind { FRAME_NAME_LEN, FRAME_NAME_BODY, FRAME_NAME_FIELD, FRAME_NAME_FORMAT };

struct frame_name {
	enum frame_name_kind kind;
	const struct frame *frame;              /* whose messages have it */
	const struct frame_field *field;        /* FIELD */
	struct json_path path;                  /* FORMAT: json */
	struct slice word;                      /* kv */
	uint32_t index;                         /* words */
};

/* The format of that word: json, text, words, kv, binary; FORMAT_COUNT: there is none. */
enum frame_format frame_format_find(struct slice word);
const char *frame_format_word(enum frame_format format);

/*
 * `word` is what stands behind `msg` and a dot, or a bracket: `type`, `a.b`, `[0]`. `len` and
 * `body` go before fields, fields before the format (whose own "len" is `["len"]`). NULL, or why
 * there is no such thing; `word` must live as long as the name.
 */
MUST_USE const char *frame_name_parse(
    const struct frame *f, struct slice word, struct frame_name *name);

enum frame_value_kind {
	FRAME_VALUE_TEXT,
	FRAME_VALUE_NUMBER,
	FRAME_VALUE_UNSIGNED,           /* past INT64_MAX: `number` has its bits */
	/* of json, as it stands: true, null, a number that is no integer; an array or an object */
	FRAME_VALUE_BARE,
	FRAME_VALUE_TREE,
};

struct frame_value {
	enum frame_value_kind kind;
	int64_t number;
	struct slice text;              /* not of numbers that are declared fields */
	/* its place in the message, quotes and all; at NULL: it has none (len) */
	struct slice raw;
};

enum frame_value_verdict {
	FRAME_VALUE_FOUND,
	FRAME_VALUE_ABSENT,
	FRAME_VALUE_MALFORMED,
	FRAME_VALUE_NO_ROOM
};

/*
 * The nth value (0 first; only kv has several). What must be decoded is put into `room`, which
 * needs no more than the body's size.
 */
enum frame_value_verdict frame_name_get(const struct frame_name *name,
    const struct frame_view *view, size_t nth, struct builder *room, struct frame_value *value);

/* A value that json_find found. */
enum frame_value_verdict frame_value_of_json(
    const struct json_value *v, struct builder *room, struct frame_value *value);

#endif
