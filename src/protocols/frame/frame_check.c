/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be wrong in a declaration, each in words that say what to write instead. And the layout
 * that follows from a good one: where body and tail are, how short a message can be.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "protocols/frame/format.h"
#include "protocols/frame/frame.h"

struct checking {
	struct frame_mistakes *mistakes;
	struct frame *f;
	const struct frame *outer;      /* the switch that it is a case of, or NULL */
	uint32_t need;                  /* what the fields of the switch need */
	bool inside;                    /* it is a case, or a preface */
};

static PRINTF(4, 5) void
wrong(const struct checking *c, enum frame_part part, size_t index, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	c->mistakes->count++;
	c->mistakes->say(c->mistakes->who, c->f, part, index, text);
}

static uint32_t
number_end(uint32_t at, const struct number *n)
{
	return at + n->width;
}

static bool
is_kind(const struct frame *f, unsigned kinds)
{
	return (kinds >> f->kind & 1) != 0;
}

#define KIND(name) (1u << FRAME_##name)
enum {
	/* those whose messages have a header of so many bytes */
	KINDS_PLAIN = KIND(BOUNDARY) | KIND(LENGTH) | KIND(FIXED) | KIND(ESCAPED) | KIND(WHOLE),
	KINDS_CASE = KIND(BOUNDARY) | KIND(LENGTH) | KIND(FIXED),
	KINDS_TRAILED = KIND(LENGTH) | KIND(FIXED) | KIND(HEADERS),
	KINDS_EMPTY = KIND(BOUNDARY) | KIND(LENGTH) | KIND(HEADERS) | KIND(ESCAPED),
};

/* ------------------------------------------------------------------ pieces */

static void
check_number(const struct checking *c, enum frame_part part, size_t index, const struct number *n)
{
	switch (n->form) {
	case NUMBER_UNSIGNED:
	case NUMBER_SIGNED:
		if (n->width == 0 || n->width > 8 || (n->width > 4 && n->width < 8))
			wrong(c, part, index, "a binary number has 1, 2, 3, 4 or 8 bytes, not %u",
			    n->width);
		break;
	case NUMBER_DECIMAL:
		if (n->width == 0 || n->width > 19)
			wrong(c, part, index, "a decimal number has 1 to 19 digits, not %u",
			    n->width);
		break;
	case NUMBER_HEX:
		if (n->width == 0 || n->width > 16)
			wrong(c, part, index, "a hexadecimal number has 1 to 16 digits, not %u",
			    n->width);
		break;
	case NUMBER_BYTES:
		if (n->width == 0)
			wrong(c, part, index, "it has no bytes");
		break;
	case NUMBER_DECIMAL_UNTIL:
	case NUMBER_HEX_UNTIL:
		if (ascii_hex_value(n->until) >= 0)
			wrong(c, part, index,
			    "\"%c\" may be one of the digits, so it cannot end them", n->until);
		break;
	default:
		break;
	}
}

static void
check_boundary(const struct checking *c, enum frame_part part, struct boundary *b)
{
	size_t before = c->mistakes->count;
	int by, hidden;

	for (size_t i = 0; i < b->count; i++) {
		if (b->any[i].n == 0)
			wrong(c, part, i, "a boundary has at least one byte");
		else if (b->any[i].n > BOUNDARY_LONGEST)
			wrong(c, part, i, "a boundary has at most %d bytes", BOUNDARY_LONGEST);
	}
	if (c->mistakes->count > before || b->count == 0)
		return;
	boundary_prepare(b);
	hidden = boundary_hidden(b, &by);
	if (hidden >= 0)
		wrong(c, part, (size_t)hidden,
		    "it can never be found: boundary %d of this line ends before it", by + 1);
}

static void
check_lengths(const struct checking *c)
{
	const struct frame *f = c->f;

	if (f->length_count == 0 || f->length_count > FRAME_LENGTHS)
		wrong(c, FRAME_PART_LENGTH, 0, "a message has 1 to %d lengths", FRAME_LENGTHS);
	for (size_t i = 0; i < MIN_OF(f->length_count, FRAME_LENGTHS); i++) {
		const struct number *n = &f->lengths[i].number;

		check_number(c, FRAME_PART_LENGTH, i, n);
		if (n->form == NUMBER_SIGNED || n->form == NUMBER_BYTES)
			wrong(c, FRAME_PART_LENGTH, i, "a length is an unsigned number");
		if (number_varies(n) && f->length_count > 1)
			wrong(c, FRAME_PART_LENGTH, i,
			    "a length that varies in width is the only one");
	}
}

static bool
escape_swaps(const struct frame_escape *e, uint8_t byte)
{
	for (size_t i = 0; i < e->swap_count; i++)
		if (e->swaps[i].byte == byte)
			return true;
	return false;
}

static bool
escape_writes(const struct frame_escape *e, uint8_t byte)
{
	return escape_swaps(e, byte) ||
	       (e->flip != 0 && (byte ^ e->flip) != e->end && (byte ^ e->flip) != e->start);
}

/* Swap `i` against those in front of it, and against what is flipped. */
static bool
swap_clashes(const struct frame_escape *e, size_t i)
{
	const int flipped[] = { e->end, e->escape, e->start };

	for (size_t k = 0; k < i; k++)
		if (e->swaps[i].as == e->swaps[k].as || e->swaps[i].byte == e->swaps[k].byte)
			return true;
	for (size_t k = 0; k < ARRAY_COUNT(flipped); k++)
		if (flipped[k] >= 0 && !escape_swaps(e, (uint8_t)flipped[k]) &&
		    (flipped[k] ^ e->flip) == e->swaps[i].as)
			return true;
	return false;
}

static void
check_escape(const struct checking *c)
{
	const struct frame_escape *e = &c->f->escape;
	const int bytes[] = { e->end, e->escape, e->start };
	static const char *const names[] = { "end", "escape", "start" };

	if (e->escape == e->end || e->escape == e->start)
		wrong(c, FRAME_PART_ESCAPE, 0, "the escape byte is another than start and end");
	if (e->swap_count > FRAME_SWAPS) {
		wrong(c, FRAME_PART_ESCAPE, 0, "at most %d bytes have an escape of their own",
		    FRAME_SWAPS);
		return;
	}
	for (size_t i = 0; i < ARRAY_COUNT(bytes); i++)
		if (bytes[i] >= 0 && !escape_writes(e, (uint8_t)bytes[i]))
			wrong(c, FRAME_PART_ESCAPE, 0,
			    "nothing says how the %s byte (0x%02x) is escaped", names[i], bytes[i]);
	for (size_t i = 0; i < e->swap_count; i++) {
		if (e->swaps[i].as == e->end || e->swaps[i].as == e->start)
			wrong(c, FRAME_PART_ESCAPE, i + 1,
			    "0x%02x ends or begins a message, so it cannot stand behind the escape "
			    "byte",
			    e->swaps[i].as);
		if (swap_clashes(e, i))
			wrong(c, FRAME_PART_ESCAPE, i + 1,
			    "0x%02x is escaped twice, or as another byte is", e->swaps[i].byte);
	}
}

/* What ends a block of header lines is an empty line. */
static void
check_headers(const struct checking *c)
{
	const struct frame *f = c->f;

	for (size_t i = 0; i < f->boundary.count; i++)
		if (!slice_is(f->boundary.any[i], "\n\n") &&
		    !slice_is(f->boundary.any[i], "\r\n\r\n"))
			wrong(c, FRAME_PART_BOUNDARY, i,
			    "header lines end with an empty one: \"\\n\\n\" or \"\\r\\n\\r\\n\"");
	if (f->length_name.n == 0)
		wrong(c, FRAME_PART_LENGTH, 0,
		    "the name of the header that tells the length is missing: \"content-length\"");
	for (size_t i = 0; i < f->length_name.n; i++) {
		if (!ascii_is_token(f->length_name.at[i])) {
			wrong(c, FRAME_PART_LENGTH, 0, "that is no name of a header");
			break;
		}
	}
}

static void
check_checksum(const struct checking *c)
{
	const struct frame *f = c->f;
	const struct frame_check *k = &f->check;
	unsigned width = checksum_width(k->kind);
	uint32_t end = number_end(k->at, &k->number);

	if (k->kind == CHECKSUM_NONE)
		return;
	if (!is_kind(f, KINDS_PLAIN))
		wrong(c, FRAME_PART_CHECK, 0, "this kind of message has no checksum");
	if (!(k->number.form == NUMBER_UNSIGNED && k->number.width == width) &&
	    !(k->number.form == NUMBER_HEX && k->number.width == 2 * width))
		wrong(c, FRAME_PART_CHECK, 0,
		    "this checksum has %u bytes, or %u hexadecimal digits", width, 2 * width);
	if (f->kind == FRAME_BOUNDARY && !k->in_header && k->number.form != NUMBER_HEX)
		wrong(c, FRAME_PART_CHECK, 0,
		    "a binary checksum may hold the boundary: write it in hexadecimal, or in a "
		    "header");
	if (k->to != 0 && k->from >= k->to)
		wrong(c, FRAME_PART_CHECK, 0, "it is made of no bytes: %u..%u", k->from, k->to);
	if (MAX_OF(k->from, k->to) > f->least - f->tail)
		wrong(c, FRAME_PART_CHECK, 0, "its bytes end at %u, but a message may have %u only",
		    MAX_OF(k->from, k->to), f->least - f->tail);
	if (k->in_header && end > f->head)
		wrong(c, FRAME_PART_CHECK, 0,
		    "it ends at %u, behind the header (%u)", end, f->head);
	if (k->in_header && k->from < end && (k->to == 0 || k->to > k->at))
		wrong(c, FRAME_PART_CHECK, 0, "the checksum is one of the bytes it is made of");
}

/* ------------------------------------------------------------------ the layout */

/* A place whose bytes the engine writes. */
struct place {
	uint32_t at, n;
	const char *what;
};

enum { PLACES = FRAME_LENGTHS + 3 };

static bool
overlap(struct place a, struct place b)
{
	return a.at < b.at + b.n && b.at < a.at + a.n;
}

static struct place
place_of(const struct number *n, uint32_t at, const char *what)
{
	return (struct place){ at, MAX_OF(n->width, (uint16_t)1), what };
}

/* Those in front of the body, of a case with those of its switch; returns how many. */
static size_t
places_of(const struct frame *f, const struct frame *outer, struct place places[PLACES])
{
	const struct frame *top = outer != NULL ? outer : f;
	size_t n = 0;

	places[n++] = (struct place){ 0, (uint32_t)top->sync.n, "sync" };
	if (top->kind == FRAME_SWITCH)
		places[n++] = place_of(&top->tag.number, top->tag.at, "the type");
	for (size_t i = 0; f->kind == FRAME_LENGTH && i < f->length_count; i++)
		places[n++] = place_of(&f->lengths[i].number, f->lengths[i].at, "a length");
	if (f->check.kind != CHECKSUM_NONE && f->check.in_header)
		places[n++] = place_of(&f->check.number, f->check.at, "the checksum");
	return n;
}

static void
check_places(const struct checking *c)
{
	struct place places[PLACES];
	size_t n = places_of(c->f, c->outer, places);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (overlap(places[i], places[k]))
				wrong(c, FRAME_PART_KIND, 0, "%s stands where %s does (%u)",
				    places[i].what, places[k].what,
				    MAX_OF(places[i].at, places[k].at));
}

/* Where what stands in front of the body ends; a type may lie in the body. */
static uint32_t
known_end(const struct checking *c, bool with_type)
{
	const struct frame *f = c->f;
	struct place places[PLACES];
	size_t n = places_of(f, c->outer, places);
	uint32_t end = 0;

	for (size_t i = 0; i < n; i++) {
		bool type = c->outer != NULL && i == 1,
		     varying = f->varies && places[i].at == f->lengths[0].at;

		if ((with_type || !type) && !varying)
			end = MAX_OF(end, places[i].at + places[i].n);
	}
	return end;
}

static void
lay_head(const struct checking *c)
{
	struct frame *f = c->f;
	uint32_t end;

	f->varies = f->kind == FRAME_LENGTH && number_varies(&f->lengths[0].number);
	end = known_end(c, f->varies);
	f->prefix = 0;
	for (size_t i = 0; f->kind == FRAME_LENGTH && i < f->length_count; i++)
		f->prefix = MAX_OF(f->prefix, number_end(f->lengths[i].at, &f->lengths[i].number));
	f->head = f->has_header ? f->header : known_end(c, true);
	if (f->has_header && !is_kind(f, KINDS_PLAIN))
		wrong(c, FRAME_PART_HEADER, 0,
		    "this kind of message has no header of a fixed size");
	else if (f->has_header && f->varies)
		wrong(c, FRAME_PART_HEADER, 0,
		    "the length varies in width, so the body begins behind it");
	else if (f->head < end)
		wrong(c, FRAME_PART_HEADER, 0, "the header ends at %u, but what stands in it at %u",
		    f->head, end);
	if (f->varies) {
		f->head = f->lengths[0].at;
		if (f->head < end)
			wrong(c, FRAME_PART_LENGTH, 0, "it begins at %u, within what ends at %u",
			    f->head, end);
	}
}

static uint32_t
fields_end(const struct frame *f)
{
	uint32_t end = 0;

	for (size_t i = 0; i < f->field_count; i++)
		end = MAX_OF(end, number_end(f->fields[i].at, &f->fields[i].number));
	return end;
}

/* How short an inner part can be, and that max has room for it. */
static void
lay_least(const struct checking *c)
{
	struct frame *f = c->f;
	uint32_t need = MAX_OF(c->need, fields_end(f)), close = 0;

	f->tail =
	    (f->check.kind != CHECKSUM_NONE && !f->check.in_header ? f->check.number.width : 0u) +
	    (uint32_t)f->trailer.n;
	f->least = MAX_OF(f->head + f->tail, (uint32_t)(f->kind == FRAME_WHOLE));
	if (f->varies)
		f->least += f->lengths[0].number.form < NUMBER_VARINT ? 2 : 1;
	if (f->kind == FRAME_FIXED && f->fixed < f->least)
		wrong(c, FRAME_PART_FIXED, 0, "%u bytes have no room for header and trailer (%u)",
		    f->fixed, f->least);
	if (f->min != 0 && (f->kind == FRAME_FIXED || !is_kind(f, KINDS_PLAIN)))
		wrong(c, FRAME_PART_MIN, 0, "this kind of message has no min");
	f->least = f->kind == FRAME_FIXED ? f->fixed : MAX_OF(f->least, f->min);
	if (f->kind != FRAME_FIXED && f->min == 0 && need > 0 && is_kind(f, KINDS_PLAIN))
		f->least = MAX_OF(f->least, need + f->tail);
	if (c->need + f->tail > f->least)
		wrong(c, FRAME_PART_KIND, 0,
		    "its smallest message has %u bytes, but the fields of the protocol need %u",
		    f->least, c->need + f->tail);
	if (f->kind == FRAME_BOUNDARY)
		close = f->boundary.longest;
	else if (f->kind == FRAME_ESCAPED)
		close = 1 + (f->escape.start >= 0);
	if (f->max != 0 && (uint64_t)f->least + close > f->max)
		wrong(c, FRAME_PART_MAX, 0,
		    "the smallest message has %" PRIu64 " bytes, more than max",
		    (uint64_t)f->least + close);
}

/* ------------------------------------------------------------------ the parts around it */

static void
check_field(const struct checking *c, size_t i)
{
	const struct frame *f = c->f;
	const struct frame_field *field = &f->fields[i];
	uint32_t end = number_end(field->at, &field->number);

	check_number(c, FRAME_PART_FIELD, i, &field->number);
	if (number_varies(&field->number))
		wrong(c, FRAME_PART_FIELD, i, "a field has a fixed width");
	if (slice_is(field->name, "len") || slice_is(field->name, "body"))
		wrong(c, FRAME_PART_FIELD, i, "every message has len and body already");
	for (size_t k = 0; k < i; k++)
		if (slice_equal(f->fields[k].name, field->name))
			wrong(c, FRAME_PART_FIELD, i,
			    "field \"" SLICE_FORMAT "\" is declared twice", SLICE_ARG(field->name));
	if (is_kind(f, KIND(HEADERS) | KIND(JSON)))
		wrong(c, FRAME_PART_FIELD, i,
		    "this kind of message has no place at a fixed offset");
	else if (f->varies && end > f->head)
		wrong(c, FRAME_PART_FIELD, i,
		    "field \"" SLICE_FORMAT
		    "\" ends at %u, but from %u on all depends on how wide the length is",
		    SLICE_ARG(field->name), end, f->head);
	else if (is_kind(f, KINDS_PLAIN) && end + f->tail > f->least)
		wrong(c, FRAME_PART_FIELD, i,
		    "field \"" SLICE_FORMAT "\" ends at %u, but a message may end at %u",
		    SLICE_ARG(field->name), end, f->least - f->tail);
}

static void
check_resync(const struct checking *c)
{
	const struct frame *f = c->f;
	bool can = is_kind(f, KIND(BOUNDARY) | KIND(ESCAPED)) ||
	    (f->sync.n > 0 && is_kind(f, KIND(LENGTH) | KIND(FIXED)));

	if (f->kind == FRAME_SWITCH && f->sync.n > 0) {
		can = true;
		for (size_t i = 0; i <= f->case_count; i++) {
			const struct frame *g =
			    i < f->case_count ? f->cases[i].frame : f->else_case;

			can = can && (g == NULL || is_kind(g, KIND(LENGTH) | KIND(FIXED)));
		}
	}
	if (f->resync && !can)
		wrong(c, FRAME_PART_RESYNC, 0,
		    "nothing shows where the next message begins: that takes a boundary, or sync "
		    "before a length");
}

/* Offsets that cannot wrap when a width is added. */
static void
check_near(const struct checking *c, enum frame_part part, size_t index, uint32_t at)
{
	if (at > FRAME_MAX_MOST)
		wrong(c, part, index, "it lies too far from the beginning");
}

static void
check_loose(const struct checking *c)
{
	struct frame *f = c->f;

	if (f->max == 0)
		wrong(c, FRAME_PART_MAX, 0,
		    "max is missing: it bounds a message, also an unfinished one");
	else if (f->max > FRAME_MAX_MOST)
		wrong(c, FRAME_PART_MAX, 0, "max is at most 1g");
	if (f->sync.n > FRAME_SYNC_LONGEST)
		wrong(c, FRAME_PART_SYNC, 0, "sync has at most %d bytes", FRAME_SYNC_LONGEST);
	if (f->sync.n > 0 && (!is_kind(f, KINDS_PLAIN | KIND(SWITCH)) || f->kind == FRAME_ESCAPED))
		wrong(c, FRAME_PART_SYNC, 0, "this kind of message has no sync");
	if (f->strip_cr && f->kind != FRAME_BOUNDARY)
		wrong(c, FRAME_PART_STRIP, 0, "strip cr goes with a boundary");
	if (f->empty_ignore && !is_kind(f, KINDS_EMPTY))
		wrong(c, FRAME_PART_EMPTY, 0, "this kind of message is never empty");
	if (f->trailer.n > FRAME_TRAILER_LONGEST)
		wrong(c, FRAME_PART_TRAILER, 0, "a trailer has at most %d bytes",
		    FRAME_TRAILER_LONGEST);
	if (f->trailer.n > 0 && !is_kind(f, KINDS_TRAILED))
		wrong(c, FRAME_PART_TRAILER, 0, "only a message of known length has a trailer");
	if (f->adjust != 0 && f->kind != FRAME_LENGTH)
		wrong(c, FRAME_PART_ADJUST, 0, "adjust goes with a length");
	check_near(c, FRAME_PART_HEADER, 0, f->header);
	check_near(c, FRAME_PART_CHECK, 0, f->check.at);
	check_near(c, FRAME_PART_SWITCH, 0, f->tag.at);
	for (size_t i = 0; i < f->field_count; i++)
		check_near(c, FRAME_PART_FIELD, i, f->fields[i].at);
	for (size_t i = 0; i < MIN_OF(f->length_count, FRAME_LENGTHS); i++)
		check_near(c, FRAME_PART_LENGTH, i, f->lengths[i].at);
	check_resync(c);
}

/* Whether it lies where the engine writes something else. */
static bool
is_taken(const struct frame *f, const struct frame *outer, const struct frame_field *field)
{
	struct place places[PLACES], place = place_of(&field->number, field->at, NULL);
	size_t n = places_of(f, outer, places);

	for (size_t i = 0; i < n; i++)
		if (overlap(places[i], place))
			return true;
	for (size_t i = 0; f->kind == FRAME_SWITCH && i < f->case_count; i++)
		if (is_taken(f->cases[i].frame, f, field))
			return true;
	return f->kind == FRAME_SWITCH && f->else_case != NULL && is_taken(f->else_case, f, field);
}

/* A field whose value is replaced by one of ours. */
static void
check_id_field(const struct checking *c, const struct frame_field *field)
{
	if (field->number.width > FRAME_ID_LONGEST)
		wrong(c, FRAME_PART_ANSWERS, 0, "an id has at most %d bytes", FRAME_ID_LONGEST);
	if (c->f->kind == FRAME_BOUNDARY && number_end(field->at, &field->number) > c->f->head)
		wrong(c, FRAME_PART_ANSWERS, 0,
		    "an id of ours may hold the boundary: say with header N that it stands in "
		    "front of the body");
	if (is_taken(c->f, NULL, field))
		wrong(c, FRAME_PART_ANSWERS, 0,
		    "it stands where sync, type, a length or the checksum does");
}

static bool
boundary_has_digits(const struct boundary *b)
{
	for (size_t i = 0; i < b->count; i++)
		for (size_t k = 0; k < b->any[i].n; k++)
			if (ascii_hex_value(b->any[i].at[k]) >= 0)
				return true;
	return false;
}

static void
check_answers(const struct checking *c)
{
	const struct frame *f = c->f;
	const struct frame_name *id = f->answers_by;

	if (id == NULL)
		wrong(c, FRAME_PART_ANSWERS, 0,
		    "the field that pairs answers with questions is missing");
	else if (id->kind == FRAME_NAME_LEN || id->kind == FRAME_NAME_BODY)
		wrong(c, FRAME_PART_ANSWERS, 0,
		    "that cannot be changed alone: answers are paired by a field of their own");
	else if (f->kind == FRAME_BOUNDARY && boundary_has_digits(&f->boundary))
		wrong(c, FRAME_PART_ANSWERS, 0,
		    "the digits of an id of ours may hold the boundary");
	else if (id->kind == FRAME_NAME_FIELD)
		check_id_field(c, id->field);
}

static void
check_format(const struct checking *c)
{
	const struct frame *f = c->f;

	if (f->format == FORMAT_KV && f->equals == f->between)
		wrong(c, FRAME_PART_FORMAT, 0,
		    "name and value, and pairs, are divided by different bytes");
	if (f->format == FORMAT_BINARY && f->field_count == 0)
		wrong(c, FRAME_PART_FORMAT, 0, "format binary takes fields { }");
	if (f->answers == FRAME_ANSWERS_BY_FIELD)
		check_answers(c);
}

/* ------------------------------------------------------------------ all of it */

static void check_frame(const struct checking *c);

/* A declaration in this one: a case, or the preface. */
static void
check_inner(
    const struct checking *c, enum frame_part part, size_t index, struct frame *g, uint32_t need)
{
	struct checking inner = { c->mistakes, g, part == FRAME_PART_CASE ? c->f : NULL, need,
		true };

	if (g->preface != NULL || g->answers_by != NULL)
		wrong(c, part, index, "a preface or answers belong to the protocol as a whole");
	if (part == FRAME_PART_CASE && !is_kind(g, KINDS_CASE)) {
		wrong(c, part, index, "a case has a boundary, a length, or a fixed size");
		return;
	}
	if (part == FRAME_PART_CASE && (g->sync.n > 0 || g->field_count > 0 || g->resync)) {
		wrong(c, part, index,
		    "sync, resync and fields stand outside of the switch, they hold for all of its "
		    "cases");
		return;
	}
	if (g->max == 0)
		g->max = c->f->max;
	if (g->max > c->f->max)
		wrong(c, part, index, "its max is more than that of the protocol");
	check_frame(&inner);
}

static void
check_switch(const struct checking *c)
{
	struct frame *f = c->f;
	uint32_t type = number_end(f->tag.at, &f->tag.number), need = MAX_OF(fields_end(f), type);

	check_number(c, FRAME_PART_SWITCH, 0, &f->tag.number);
	if (number_varies(&f->tag.number) || f->tag.number.form == NUMBER_BYTES ||
	    f->tag.number.form == NUMBER_SIGNED)
		wrong(c, FRAME_PART_SWITCH, 0, "a type is an unsigned number of fixed width");
	if (f->case_count == 0 || f->case_count > 255)
		wrong(c, FRAME_PART_SWITCH, 0, "a switch has 1 to 255 cases");
	for (size_t i = 0; i < f->case_count; i++) {
		if (!number_fits(&f->tag.number, f->cases[i].value))
			wrong(c, FRAME_PART_CASE, i, "the type can never be %" PRIu64,
			    f->cases[i].value);
		for (size_t k = 0; k < i; k++)
			if (f->cases[k].value == f->cases[i].value)
				wrong(c, FRAME_PART_CASE, i, "case %" PRIu64 " stands twice",
				    f->cases[i].value);
		check_inner(c, FRAME_PART_CASE, i, f->cases[i].frame, need);
	}
	if (f->else_case != NULL)
		check_inner(c, FRAME_PART_CASE, f->case_count, f->else_case, need);
	f->prefix = f->least = MAX_OF(type, (uint32_t)f->sync.n);
}

static void
check_kind(const struct checking *c)
{
	struct frame *f = c->f;

	if (is_kind(f, KIND(BOUNDARY) | KIND(HEADERS)) &&
	    (f->boundary.count == 0 || f->boundary.count > BOUNDARY_ANY))
		wrong(c, FRAME_PART_BOUNDARY, 0, "a boundary is 1 to %d strings", BOUNDARY_ANY);
	else if (is_kind(f, KIND(BOUNDARY) | KIND(HEADERS)))
		check_boundary(c, FRAME_PART_BOUNDARY, &f->boundary);
	if (f->kind == FRAME_LENGTH)
		check_lengths(c);
	else if (f->kind == FRAME_FIXED && f->fixed == 0)
		wrong(c, FRAME_PART_FIXED, 0, "a message has at least one byte");
	else if (f->kind == FRAME_ESCAPED)
		check_escape(c);
	else if (f->kind == FRAME_HEADERS && f->otherwise.count > BOUNDARY_ANY)
		wrong(c, FRAME_PART_OTHERWISE, 0, "a boundary is 1 to %d strings", BOUNDARY_ANY);
	else if (f->kind == FRAME_HEADERS) {
		check_boundary(c, FRAME_PART_OTHERWISE, &f->otherwise);
		check_headers(c);
	}
}

static bool
is_line(const struct frame *f)
{
	return f->kind == FRAME_BOUNDARY && f->boundary.count == 1 && f->boundary.longest == 1 &&
	       f->least == 0 && f->sync.n == 0 && f->preface == NULL && !f->resync;
}

static void
check_frame(const struct checking *c)
{
	struct frame *f = c->f;
	size_t before = c->mistakes->count;

	if (f->kind == FRAME_NONE) {
		wrong(c, FRAME_PART_KIND, 0,
		    "nothing says where a message ends: boundary, length or fixed");
		return;
	}
	check_kind(c);
	check_loose(c);
	if (c->mistakes->count > before)
		return;
	if (f->kind == FRAME_SWITCH) {
		check_switch(c);
	} else {
		lay_head(c);
		lay_least(c);
		check_places(c);
		check_checksum(c);
	}
	for (size_t i = 0; i < f->field_count; i++)
		check_field(c, i);
	check_format(c);
	if (f->preface != NULL && c->inside)
		wrong(c, FRAME_PART_PREFACE, 0, "a preface has none of its own");
	else if (f->preface != NULL)
		check_inner(c, FRAME_PART_PREFACE, 0, f->preface, 0);
	f->is_line = is_line(f);
}

bool
frame_check(struct frame *f, struct frame_mistakes *mistakes)
{
	size_t before = mistakes->count;

	check_frame(&(struct checking){ .mistakes = mistakes, .f = f });
	return mistakes->count == before;
}
