/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A protocol that is declared, not coded: what marks where a message ends, and what stands in it.
 * struct frame is the declaration, filled by hand or by rows, checked once, immutable from then on.
 * Everything here is pure: bytes in, verdicts and views out, nothing allocated.
 *
 *   inner of a message:  [sync | header, with lengths, type, fields, id][body][checksum][trailer]
 *   on the wire:         [start] inner, escaped [end]     or    inner [boundary]     or    inner
 *
 * Offsets count from where the inner part begins.
 */
#ifndef MILLRACE_PROTOCOLS_FRAME_FRAME_H
#define MILLRACE_PROTOCOLS_FRAME_FRAME_H

#include "base/json.h"
#include "protocols/frame/boundary.h"
#include "protocols/frame/checksum.h"
#include "protocols/frame/number.h"

enum {
	FRAME_LENGTHS = 4,              /* lengths that are summed up */
	FRAME_SYNC_LONGEST = 16,
	FRAME_TRAILER_LONGEST = 16,
	FRAME_SWAPS = 4,                /* bytes with an escape of their own */
	FRAME_MAX_MOST = 1 << 30,       /* bytes: the largest `max` */
};

enum frame_kind {
	FRAME_NONE,                     /* nothing is said: a mistake */
	FRAME_BOUNDARY,                 /* boundary "\n"; */
	FRAME_LENGTH,                   /* length u16be at 4 counts after; */
	FRAME_FIXED,                    /* fixed 32; */
	/* a block of lines, one of which may tell the body's length */
	FRAME_HEADERS,
	FRAME_ESCAPED,                  /* start and end byte, escaped inside */
	FRAME_JSON,                     /* boundary json_value; */
	FRAME_SWITCH,                   /* a type says which declaration holds */
	FRAME_WHOLE,                    /* all there is: a datagram, or a stream up to its end */
};

/* What a length counts. */
enum frame_counts {
	FRAME_COUNTS_WHOLE,             /* the inner part, which here is the message */
	FRAME_COUNTS_BODY,              /* the body alone */
	FRAME_COUNTS_AFTER,             /* what stands behind the (last) length */
};

enum frame_answers { FRAME_ANSWERS_IN_ORDER, FRAME_ANSWERS_BY_FIELD, FRAME_ANSWERS_NONE };

/* Why it is malformed, or cannot be written; frame_fault_word() has its word. */
enum frame_fault {
	FRAME_FINE,
	FRAME_TOO_LONG,                 /* over max; said as soon as that is sure */
	FRAME_TOO_SHORT,                /* less than its header, or than its fields need */
	FRAME_BAD_LENGTH,               /* a length that is no number */
	FRAME_BAD_SYNC,                 /* does not begin as every message does */
	FRAME_BAD_ESCAPE,
	FRAME_BAD_CHECKSUM,
	FRAME_BAD_TRAILER,
	FRAME_BAD_HEADERS,              /* no length, two of them, or no number */
	FRAME_BAD_TYPE,                 /* a type without a case */
	FRAME_BAD_JSON,
	FRAME_TRUNCATED,                /* the stream or the datagram ends within it */
	/* of writing */
	FRAME_HOLDS_BOUNDARY,           /* the body would be read as another one */
	FRAME_UNFIT,                    /* a value or a size that the declaration has no room for */
	FRAME_NO_ROOM,                  /* the builder is full */
	FRAME_FAULT_COUNT
};

struct frame_length {
	struct number number;
	uint32_t at;
};

struct frame_field {
	struct slice name;
	struct number number;           /* none that varies */
	uint32_t at;
};

/* `start` -1: none; the same as `end`: one byte between messages and in front of the first. */
struct frame_escape {
	int16_t start;
	uint8_t end, escape;
	uint8_t flip;                   /* escaped is: escape, byte ^ flip; 0: only by swaps */
	uint8_t swap_count;
	struct frame_swap {
		uint8_t byte, as;       /* escaped is: escape, as */
	} swaps[FRAME_SWAPS];
};

struct frame_check {
	enum checksum kind;
	struct number number;           /* how it is written; as wide as the kind needs */
	/* the bytes it is made of; to 0: up to it, or to the trailer */
	uint32_t from, to;
	bool in_header;                 /* it stands at `at`; else behind the body */
	uint32_t at;
};

struct frame_case {
	uint64_t value;
	struct frame *frame;
};

struct frame_name;

enum frame_format {
	FORMAT_TEXT,                    /* nothing but the body */
	FORMAT_JSON,                    /* msg.a.b, msg[0].c */
	FORMAT_WORDS,                   /* split at blanks: msg[0] */
	FORMAT_KV,                      /* name=value&name=value: msg.name */
	FORMAT_BINARY,                  /* the declared fields alone */
	FORMAT_COUNT
};

struct frame {
	enum frame_kind kind;
	/* of a message on the wire; obligatory; also of an unfinished one */
	uint32_t max;
	uint32_t min;                   /* of its inner part; 0: what header and fields need */
	struct slice sync;              /* what every inner part begins with */
	/* what is malformed is skipped: up to the next sync, boundary or end byte */
	bool resync;

	struct boundary boundary;       /* BOUNDARY; HEADERS: the end of the block */
	bool strip_cr;                  /* all CR in front of the boundary belong to it */
	/* a message with an empty body is none; in front of HEADERS: empty lines */
	bool empty_ignore;

	/* one that varies in width stands alone */
	struct frame_length lengths[FRAME_LENGTHS];
	uint8_t length_count;
	enum frame_counts counts;
	int32_t adjust;                 /* added to what the lengths say */
	bool has_header;
	/* where the body begins; else behind all that is known to stand there */
	uint32_t header;
	uint32_t fixed;
	struct slice trailer;           /* what an inner part of known length ends with */

	struct slice length_name;       /* HEADERS: "content-length" */
	struct boundary otherwise;      /* HEADERS without it; count 0: a fault */

	struct frame_escape escape;
	struct frame_check check;

	struct frame_length tag;        /* SWITCH */
	struct frame_case *cases;
	size_t case_count;
	struct frame *else_case;        /* or NULL */

	struct frame *preface;          /* the first message is of this form; or NULL */
	const struct frame_field *fields;
	size_t field_count;
	enum frame_format format;
	char equals, between;           /* KV */
	enum frame_answers answers;
	const struct frame_name *answers_by;            /* BY_FIELD */

	/* made by frame_check */
	uint32_t head;                  /* bytes in front of the body; varying: of the length */
	uint32_t tail;                  /* checksum and trailer */
	uint32_t prefix;                /* bytes that hold all lengths of fixed width */
	uint32_t least;                 /* of an inner part */
	bool varies;                    /* the length does */
	/* nothing but a body and one byte that ends it (strip cr and empty ignore may be said) */
	bool is_line;
};

/* What a mistake is about: with `index`, where the row is. */
enum frame_part {
	FRAME_PART_KIND,
	FRAME_PART_MAX,
	FRAME_PART_MIN,
	FRAME_PART_SYNC,
	FRAME_PART_RESYNC,
	FRAME_PART_BOUNDARY,
	FRAME_PART_STRIP,
	FRAME_PART_EMPTY,
	FRAME_PART_LENGTH,
	FRAME_PART_ADJUST,
	FRAME_PART_HEADER,
	FRAME_PART_FIXED,
	FRAME_PART_TRAILER,
	FRAME_PART_OTHERWISE,
	FRAME_PART_ESCAPE,
	FRAME_PART_CHECK,
	FRAME_PART_SWITCH,
	FRAME_PART_CASE,
	FRAME_PART_PREFACE,
	FRAME_PART_FIELD,
	FRAME_PART_FORMAT,
	FRAME_PART_ANSWERS,
};

struct frame_mistakes {
	void (*say)(
	    void *who, const struct frame *f, enum frame_part part, size_t index, const char *text);
	void *who;
	size_t count;
};

/*
 * Proves the declaration and prepares it: that every field lies in the smallest message, that what
 * is read can be written. Says every mistake; true: there is none.
 */
MUST_USE bool frame_check(struct frame *f, struct frame_mistakes *mistakes);

/* ------------------------------------------------------------------ reading */

/* What a connection keeps between reads, a direction. Zeroed by frame_begin. */
struct frame_state {
	uint32_t total;                 /* of the message that is awaited, once it is known */
	uint32_t looked;                /* bytes that are not looked at again */
	uint32_t head;                  /* bytes in front of the body, once they are known */
	uint16_t choice;                /* of a switch: case + 1 */
	uint8_t step;
	bool first;                     /* the preface is awaited */
	struct json_end json;
};

_Static_assert(sizeof(struct frame_state) <= 32, "a frame keeps too much");

enum frame_verdict {
	FRAME_MORE,
	FRAME_MESSAGE,                  /* the first cut.n bytes are one */
	FRAME_SKIP,                     /* the first cut.n bytes are none: junk, an empty one */
	FRAME_BAD                       /* it cannot be read on */
};

struct frame_cut {
	size_t n;                       /* >= 1, <= what was given */
	uint32_t head;                  /* bytes of the inner part in front of the body */
	uint32_t close;                 /* bytes behind the inner part */
	/* of BAD; of SKIP, where something is wrong for the first time, else FINE */
	enum frame_fault fault;
	const struct frame *of;         /* whose message it is: the frame, or its preface */
	const struct frame *by;         /* what it was measured by: `of`, or a case of it */
};

/* The preface, if there is one, comes first in questions alone. */
void frame_begin(const struct frame *f, struct frame_state *s, bool question);

/*
 * Looks for the end of the message that `in` begins with. After MORE it comes again with more
 * behind it; after MESSAGE and SKIP the next call begins cut->n bytes on. What it says does not
 * depend on how the bytes are cut, and no byte is looked at more often than a few times.
 */
enum frame_verdict frame_measure(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut);
/* After MORE: nothing comes any more. MORE: nothing is left. */
enum frame_verdict frame_finish(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut);
/*
 * How many bytes of the awaited message are known to be missing, of `n` that are there; 0: unknown.
 */
static inline size_t
frame_missing(const struct frame_state *s, size_t n)
{
	return s->total > n ? s->total - n : 0;
}

struct frame_view {
	struct slice wire;              /* the message as it came */
	struct slice inner;             /* of it; unescaped */
	struct slice head;              /* of the inner part */
	struct slice body;
	const struct frame *of, *by;
};

/*
 * What stands in a message that was measured: checksum and trailer are compared, escapes are
 * decoded into `room` (never more bytes than the message has; without escapes it is not used).
 */
MUST_USE enum frame_fault frame_open(const struct frame_cut *cut, struct slice in,
    struct builder *room, struct frame_view *view);

/*
 * frame_measure and frame_open in one: a message that cannot be opened is BAD, or where the
 * declaration says resync, SKIP.
 */
enum frame_verdict frame_next(const struct frame *f, struct frame_state *s, struct slice in,
    struct builder *room, struct frame_cut *cut, struct frame_view *view);

/*
 * The line of that name in the head of HEADERS, without case; how often it is there (2: or more).
 */
unsigned frame_header_find(struct slice head, struct slice name, struct slice *value);

const char *frame_fault_word(enum frame_fault fault);

/* ------------------------------------------------------------------ writing */

struct frame_set {
	const struct frame_field *field;
	uint64_t number;                /* of a signed field as its 64 bits */
	/*
	 * at NULL: the number. Else the bytes themselves: of NUMBER_BYTES as many as there are,
	 * zeros behind them; of others as many as the field has.
	 */
	struct slice text;
};

struct frame_draft {
	/*
	 * what the header is before length, sync, type, checksum and `sets` are written into it;
	 * shorter: zeros
	 */
	struct slice head;
	struct slice body, more[2];     /* one behind the other */
	const struct frame_set *sets;
	size_t set_count;
	uint64_t type;                  /* of a switch; where it lies in the body, the same */
};

/*
 * Writes the message, as frame_measure and frame_open read it. Unless it is fine nothing was
 * written. HEADERS: `head` is lines, the length's is added.
 */
MUST_USE enum frame_fault frame_write(
    const struct frame *f, const struct frame_draft *draft, struct builder *out);

/* The checksum of an inner part of `n` bytes, into its place. The declaration has one. */
void frame_checksum_put(const struct frame *f, char *inner, size_t n);

/* ------------------------------------------------------------------ ids */

/* What pairs answers with questions, where that is a field. */
enum { FRAME_ID_LONGEST = 64 };         /* bytes of an id that can be kept */

enum frame_id {
	FRAME_ID_FOUND,
	FRAME_ID_NONE,
	/*
	 * It cannot be told: there are two, or one that is too long, or what cannot be read holds
	 * one. Another reader may find one all the same, and it would not be ours.
	 */
	FRAME_ID_DOUBTFUL
};

/* The id as it stands, a piece of view->inner. */
MUST_USE enum frame_id frame_id_get(
    const struct frame *f, const struct frame_view *view, struct slice *id);
/* The largest number that an id of ours may be. */
uint64_t frame_id_most(const struct frame *f);
/* How a number of ours is written where the id stands; `room` holds it. */
struct slice frame_id_make(const struct frame *f, uint64_t number, char room[FRAME_ID_LONGEST]);
/* Back again; false: not one that frame_id_make made. */
MUST_USE bool frame_id_number(const struct frame *f, struct slice id, uint64_t *number);
/*
 * The message with another id, `was` being frame_id_get's. In place, when it is as long and the
 * message is neither escaped nor a bare value of JSON: true.
 */
MUST_USE bool frame_id_replace(
    const struct frame_view *view, struct slice was, struct slice id, char *wire);
/* Or written anew. */
MUST_USE enum frame_fault frame_id_rewrite(const struct frame *f, const struct frame_view *view,
    struct slice was, struct slice id, struct builder *out);

#endif
