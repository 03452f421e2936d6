/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands in a message whose end is known: escapes decoded, trailer and checksum compared, the
 * body cut out. And the words for what is wrong.
 */
#include "protocols/frame/frame.h"

static const char *const fault_words[FRAME_FAULT_COUNT] = {
	[FRAME_FINE] = "fine",
	[FRAME_TOO_LONG] = "too_long",
	[FRAME_TOO_SHORT] = "too_short",
	[FRAME_BAD_LENGTH] = "bad_length",
	[FRAME_BAD_SYNC] = "bad_sync",
	[FRAME_BAD_ESCAPE] = "bad_escape",
	[FRAME_BAD_CHECKSUM] = "bad_checksum",
	[FRAME_BAD_TRAILER] = "bad_trailer",
	[FRAME_BAD_HEADERS] = "bad_headers",
	[FRAME_BAD_TYPE] = "bad_type",
	[FRAME_BAD_JSON] = "bad_json",
	[FRAME_TRUNCATED] = "truncated",
	[FRAME_HOLDS_BOUNDARY] = "holds_boundary",
	[FRAME_UNFIT] = "unfit",
	[FRAME_NO_ROOM] = "no_room",
};

const char *
frame_fault_word(enum frame_fault fault)
{
	return fault_words[fault];
}

/* What stands for the byte behind the escape; -1: nothing. */
static int
unescape(const struct frame_escape *e, uint8_t as)
{
	for (size_t i = 0; i < e->swap_count; i++)
		if (e->swaps[i].as == as)
			return e->swaps[i].byte;
	return e->flip != 0 ? as ^ e->flip : -1;
}

static enum frame_fault
open_escaped(const struct frame_escape *e, struct slice *inner, struct builder *room)
{
	size_t start = room->n, done = 0;

	if (slice_find(*inner, (char)e->escape, 0) == inner->n)
		return FRAME_FINE;
	while (done < inner->n) {
		size_t at = slice_find(*inner, (char)e->escape, done);

		builder_put(room, inner->at + done, at - done);
		if (at == inner->n)
			break;

		int byte = at + 1 < inner->n ? unescape(e, (uint8_t)inner->at[at + 1]) : -1;

		if (byte < 0)
			return FRAME_BAD_ESCAPE;
		builder_byte(room, (char)byte);
		done = at + 2;
	}
	*inner = slice_make(room->at + start, room->n - start);
	return room->full ? FRAME_NO_ROOM : FRAME_FINE;
}

static bool
checksum_holds(const struct frame *f, struct slice inner)
{
	const struct frame_check *k = &f->check;
	size_t stands = k->in_header ? k->at : inner.n - f->tail;
	size_t to = k->to != 0 ? k->to : inner.n - f->tail;
	size_t taken;
	uint64_t value;

	if (number_read(&k->number, slice_after(inner, stands), &value, &taken) != NUMBER_GOOD)
		return false;
	return value == checksum(k->kind, slice_make(inner.at + k->from, to - k->from));
}

enum frame_fault
frame_open(
    const struct frame_cut *cut, struct slice in, struct builder *room, struct frame_view *view)
{
	const struct frame *f = cut->by;
	bool starts =
	    f->kind == FRAME_ESCAPED && f->escape.start >= 0 && f->escape.start != f->escape.end;
	/* HEADERS without a length end with a boundary instead of a trailer */
	size_t tail = f->kind == FRAME_HEADERS && cut->close > 0 ? 0 : f->tail;
	struct slice inner = slice_make(in.at + starts, cut->n - starts - cut->close);
	enum frame_fault fault = FRAME_FINE;

	*view = (struct frame_view){ .wire = slice_first(in, cut->n), .of = cut->of, .by = f };
	if (f->kind == FRAME_ESCAPED)
		fault = open_escaped(&f->escape, &inner, room);
	if (fault != FRAME_FINE)
		return fault;
	if (inner.n < f->least || inner.n < cut->head + tail)
		return FRAME_TOO_SHORT;
	if (tail > 0 && f->trailer.n > 0 && !slice_ends(inner, f->trailer))
		return FRAME_BAD_TRAILER;
	if (f->check.kind != CHECKSUM_NONE && !checksum_holds(f, inner))
		return FRAME_BAD_CHECKSUM;
	view->inner = inner;
	view->head = slice_first(inner, cut->head);
	view->body = slice_make(inner.at + cut->head, inner.n - cut->head - tail);
	return FRAME_FINE;
}

enum frame_verdict
frame_next(const struct frame *f, struct frame_state *s, struct slice in, struct builder *room,
    struct frame_cut *cut, struct frame_view *view)
{
	enum frame_verdict verdict = frame_measure(f, s, in, cut);

	if (verdict != FRAME_MESSAGE)
		return verdict;
	cut->fault = frame_open(cut, in, room, view);
	if (cut->fault == FRAME_FINE)
		return FRAME_MESSAGE;
	return cut->of->resync ? FRAME_SKIP : FRAME_BAD;
}
