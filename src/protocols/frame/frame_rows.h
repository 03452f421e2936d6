/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of `protocol NAME { … }`, the struct that they fill, and what that says as a struct
 * frame. What is wrong with the frame as a whole is said where the row stands that says it.
 */
#ifndef MILLRACE_PROTOCOLS_FRAME_FRAME_ROWS_H
#define MILLRACE_PROTOCOLS_FRAME_FRAME_ROWS_H

#include "core/text.h"
#include "protocols/frame/frame.h"

/* What ends a message, and what stands round its body: of a protocol, a case, a preface. */
struct shape_block {
	struct list boundary;           /* struct value: strings, or json_value */
	bool strip_cr, empty_ignore, resync;
	struct list lengths;            /* struct filled of struct length_line */
	int64_t adjust, header, fixed;
	struct list headers;            /* struct value: until …, length …, else … */
	struct list start, end, escape; /* struct value */
	struct list check;              /* struct value */
	struct slice sync, trailer;
	uint64_t max, min;
};

struct length_line {
	struct list words;              /* struct value */
};

struct case_line {
	struct value value;
	struct shape_block shape;
};

struct switch_block {
	struct list words;              /* struct value: KIND at N */
	struct list cases;              /* struct filled of struct case_line */
	struct shape_block otherwise;
};

struct field_line {
	struct value name;
	struct list words;              /* struct value: KIND at N */
};

struct example_line {
	struct value raw;
	struct slice bytes;
};

struct protocol_block {
	struct name name;
	struct shape_block shape;
	struct switch_block types;
	struct shape_block preface;
	bool datagram;
	struct list format;             /* struct value */
	struct list fields;             /* struct filled of struct field_line */
	struct list answers;            /* struct value */
	bool independent;
	struct text error;              /* raw.at NULL: not said */
	struct list idempotent;         /* struct filled; each with its condition, or without */
	struct list examples;           /* struct filled of struct example_line */
};

extern const struct argument protocol_block_arguments[];
extern const struct table protocol_block_tables[];

struct frame_name;

/*
 * Fills `f`, zeroed, from a block and its statement, and checks it. `id` holds what answers are
 * paired by. False: reported. What is filled lives in the arena of `r`.
 */
MUST_USE bool frame_rows_read(struct reading *r, const struct protocol_block *block,
    const struct statement *s, struct frame *f, struct frame_name *id);
/* The statement of that word in a block, or NULL. */
const struct statement *frame_rows_find(const struct block *block, const char *word);

#endif
