/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where messages end. Each kind has one function that is asked until it knows the length; then only
 * bytes are counted. Lengths are summed without wrapping, and believed only between the least
 * that a message needs and `max`.
 *
 * Skipping is linear too: a bad length gives up one byte of a sync, what is too long is dropped up
 * to the boundary, never looked at again from its second byte.
 */
#include "protocols/frame/frame.h"

enum {
	STEP_BEGIN,
	/* junk, up to a sync or a start byte; it was said already */
	STEP_SEEK,
	STEP_DROP,                      /* the rest of what was too long; likewise */
	STEP_BODY,                      /* of HEADERS without a length: its end is looked for */
};

static enum frame_verdict
bad(struct frame_cut *cut, enum frame_fault fault)
{
	cut->fault = fault;
	return FRAME_BAD;
}

/* Bad, but the next message may begin `n` bytes on. */
static enum frame_verdict
bad_up_to(struct frame_cut *cut, enum frame_fault fault, size_t n)
{
	cut->n = n;
	return bad(cut, fault);
}

static enum frame_verdict
skip(struct frame_cut *cut, size_t n)
{
	cut->n = n;
	return FRAME_SKIP;
}

static enum frame_verdict
skip_junk(struct frame_state *s, struct frame_cut *cut, size_t n)
{
	cut->fault = s->step == STEP_SEEK ? FRAME_FINE : FRAME_BAD_SYNC;
	s->step = STEP_SEEK;
	return skip(cut, n);
}

/* The length is known; whether the message is there is seen later. */
static enum frame_verdict
known(struct frame_state *s, size_t total, size_t head)
{
	s->total = (uint32_t)total;
	s->head = (uint32_t)head;
	return FRAME_MESSAGE;
}

static enum frame_verdict
more(struct frame_state *s, size_t looked)
{
	s->looked = (uint32_t)looked;
	return FRAME_MORE;
}

/* ------------------------------------------------------------------ lengths */

static enum frame_verdict
known_length(
    const struct frame *f, struct frame_state *s, struct frame_cut *cut, int64_t total, size_t head)
{
	if (total < (int64_t)MAX_OF((size_t)f->least, head + f->tail))
		return bad(cut, FRAME_TOO_SHORT);
	if (total > (int64_t)f->max)
		return bad(cut, FRAME_TOO_LONG);
	return known(s, (size_t)total, head);
}

static enum frame_verdict
measure_length(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	size_t head = f->head, after = f->prefix, taken;
	int64_t total = f->adjust;

	if (in.n < f->prefix)
		return FRAME_MORE;
	for (size_t i = 0; i < f->length_count; i++) {
		const struct frame_length *l = &f->lengths[i];
		uint64_t value;
		enum number_verdict verdict =
		    number_read(&l->number, slice_after(in, l->at), &value, &taken);

		if (verdict == NUMBER_MORE)
			return FRAME_MORE;
		if (verdict == NUMBER_BAD)
			return bad(cut, FRAME_BAD_LENGTH);
		if (__builtin_add_overflow(total, value, &total))
			return bad(cut, FRAME_TOO_LONG);
	}
	if (f->varies)
		head = after = f->head + taken;
	if (f->counts != FRAME_COUNTS_WHOLE &&
	    __builtin_add_overflow(
		total, f->counts == FRAME_COUNTS_AFTER ? after : head + f->tail, &total))
		return bad(cut, FRAME_TOO_LONG);
	return known_length(f, s, cut, total, head);
}

/* ------------------------------------------------------------------ boundaries */

static enum frame_verdict
measure_boundary(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	struct slice window = slice_first(in, MIN_OF(in.n, (size_t)f->max));
	size_t close = 0, end = boundary_find(&f->boundary, window, f->head, s->looked, &close);

	if (end == 0 && in.n >= f->max)
		/* what may be the beginning of a boundary stays */
		return bad_up_to(cut, FRAME_TOO_LONG, f->max - f->boundary.longest + 1);
	if (end == 0)
		return more(s, window.n);

	size_t inner = end - close;

	while (f->strip_cr && inner > f->head && in.at[inner - 1] == '\r')
		inner--;
	if (f->empty_ignore && inner == f->head + f->tail)
		return skip(cut, end);
	if (inner < f->least)
		return bad_up_to(cut, FRAME_TOO_SHORT, end);
	cut->close = (uint32_t)(end - inner);
	return known(s, end, f->head);
}

/* The rest of what was too long. */
static enum frame_verdict
drop(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	size_t end = 0, close, kept = 0;

	if (f->kind == FRAME_BOUNDARY) {
		end = boundary_find(&f->boundary, in, 0, 0, &close);
		kept = MIN_OF(in.n, f->boundary.longest - 1u);
	} else {
		end = slice_find(in, (char)f->escape.end, 0) + 1;
		end = end <= in.n ? end : 0;
	}
	if (end > 0)
		s->step = STEP_BEGIN;
	else if (in.n == kept)
		return FRAME_MORE;
	return skip(cut, end > 0 ? end : in.n - kept);
}

/* ------------------------------------------------------------------ header lines */

unsigned
frame_header_find(struct slice head, struct slice name, struct slice *value)
{
	unsigned count = 0;
	struct slice line;

	while (slice_split(&head, '\n', &line)) {
		size_t colon = slice_find(line, ':', 0);

		if (line.n > 0 && line.at[line.n - 1] == '\r')
			line.n--;
		/* a blank in front of the colon hides no length */
		if (colon < line.n &&
		    slice_equal_nocase(slice_trim(slice_first(line, colon)), name) &&
		    count++ == 0)
			*value = slice_trim(slice_after(line, colon + 1));
	}
	return count;
}

static enum frame_verdict
measure_headers_body(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	struct slice window = slice_first(in, MIN_OF(in.n, (size_t)f->max));
	size_t close = 0, end = boundary_find(&f->otherwise, window, s->head, s->looked, &close);

	s->step = STEP_BODY;
	if (end == 0 && in.n >= f->max)
		return bad(cut, FRAME_TOO_LONG);
	if (end == 0)
		return more(s, window.n);
	cut->close = (uint32_t)close;
	return known(s, end, s->head);
}

/* The block is there, `head` bytes with its end. */
static enum frame_verdict
measure_headers_block(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	struct slice text;
	unsigned count = frame_header_find(slice_first(in, s->head), f->length_name, &text);
	uint64_t length;

	if (count == 0 && f->otherwise.count > 0) {
		s->looked = s->head;
		return measure_headers_body(f, s, in, cut);
	}
	if (count != 1)
		return bad(cut, FRAME_BAD_HEADERS);
	if (!slice_to_u64(text, &length)) {
		/* digits that are too many are a long message, not a wrong one */
		for (size_t i = 0; i < text.n; i++)
			if (!ascii_is_digit(text.at[i]))
				return bad(cut, FRAME_BAD_HEADERS);
		return bad(cut, text.n == 0 ? FRAME_BAD_HEADERS : FRAME_TOO_LONG);
	}
	if (length > f->max)
		return bad(cut, FRAME_TOO_LONG);
	return known_length(f, s, cut, (int64_t)(s->head + length + f->tail), s->head);
}

static enum frame_verdict
measure_headers(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	struct slice window = slice_first(in, MIN_OF(in.n, (size_t)f->max));
	size_t close, blank = 0;

	if (s->step == STEP_BODY)
		return measure_headers_body(f, s, in, cut);
	while (f->empty_ignore && s->looked == 0 && blank < in.n &&
	       (in.at[blank] == '\n' || in.at[blank] == '\r'))
		blank++;
	if (blank > 0)
		return skip(cut, blank);
	s->head = (uint32_t)boundary_find(&f->boundary, window, 0, s->looked, &close);
	if (s->head > 0)
		return measure_headers_block(f, s, in, cut);
	if (in.n >= f->max)
		return bad(cut, FRAME_TOO_LONG);
	return more(s, window.n);
}

/* ------------------------------------------------------------------ escapes */

static enum frame_verdict
measure_escaped(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	const struct frame_escape *e = &f->escape;
	bool starts = e->start >= 0 && e->start != e->end;
	struct slice window = slice_first(in, MIN_OF(in.n, (size_t)f->max));

	if (starts && in.at[0] != (char)e->start)
		return bad_up_to(cut, FRAME_BAD_SYNC, slice_find(in, (char)e->start, 0));
	if (s->step == STEP_SEEK)
		s->step = STEP_BEGIN;

	size_t end = slice_find(window, (char)e->end, s->looked);

	if (end == window.n)
		return in.n < f->max ? more(s, window.n) : bad_up_to(cut, FRAME_TOO_LONG, f->max);

	struct slice inside = slice_make(in.at + starts, end - starts);

	/* between two of one byte there is nothing; else an empty one is a message */
	if (inside.n == 0 && (!starts || f->empty_ignore))
		return skip(cut, end + 1);
	if (starts) {
		const char *again = memrchr(inside.at, e->start, inside.n);

		if (again != NULL)
			return bad_up_to(cut, FRAME_BAD_ESCAPE, (size_t)(again - in.at));
	}
	cut->close = 1;
	return known(s, end + 1, f->head);
}

/* ------------------------------------------------------------------ the others */

static enum frame_verdict
measure_json(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	/* one byte more: it may be what ends a bare number */
	struct slice window = slice_first(in, MIN_OF(in.n, (size_t)f->max + 1));
	size_t blank = 0, taken = 0;

	while (s->looked == 0 && blank < in.n && json_is_blank(in.at[blank]))
		blank++;
	if (blank > 0)
		return skip(cut, blank);

	enum json_end_verdict verdict = json_end(&s->json, slice_after(window, s->looked), &taken);

	if (verdict == JSON_END_BAD)
		return bad(cut, FRAME_BAD_JSON);
	s->looked += (uint32_t)taken;
	if (s->looked > f->max)
		return bad(cut, FRAME_TOO_LONG);
	return verdict == JSON_END_MORE ? FRAME_MORE : known(s, s->looked, 0);
}

static const struct frame *
case_of(const struct frame *f, const struct frame_state *s)
{
	if (s->choice == 0)
		return f;
	return s->choice <= f->case_count ? f->cases[s->choice - 1].frame : f->else_case;
}

static enum frame_verdict measure_kind(
    const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut);

static enum frame_verdict
measure_switch(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	size_t taken, i = 0;
	uint64_t type;

	if (s->choice != 0)
		return measure_kind(case_of(f, s), s, in, cut);
	if (in.n < f->prefix)
		return FRAME_MORE;
	if (number_read(&f->tag.number, slice_after(in, f->tag.at), &type, &taken) != NUMBER_GOOD)
		return bad(cut, FRAME_BAD_TYPE);
	while (i < f->case_count && f->cases[i].value != type)
		i++;
	if (i == f->case_count && f->else_case == NULL)
		return bad(cut, FRAME_BAD_TYPE);
	s->choice = (uint16_t)(i + 1);
	return measure_kind(case_of(f, s), s, in, cut);
}

static enum frame_verdict
measure_kind(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	switch (f->kind) {
	case FRAME_BOUNDARY: return measure_boundary(f, s, in, cut);
	case FRAME_LENGTH: return measure_length(f, s, in, cut);
	case FRAME_FIXED: return known(s, f->fixed, f->head);
	case FRAME_HEADERS: return measure_headers(f, s, in, cut);
	case FRAME_ESCAPED: return measure_escaped(f, s, in, cut);
	case FRAME_JSON: return measure_json(f, s, in, cut);
	case FRAME_SWITCH: return measure_switch(f, s, in, cut);
	case FRAME_WHOLE: return in.n > f->max ? bad(cut, FRAME_TOO_LONG) : FRAME_MORE;
	case FRAME_NONE: break;
	}
	return bad(cut, FRAME_BAD_TYPE);
}

/* ------------------------------------------------------------------ around them */

/* How many bytes of `in`, at least one, are in front of what may be a sync. */
static size_t
junk_before(struct slice in, struct slice sync)
{
	size_t at = 1;

	for (; at < in.n; at++) {
		at = slice_find(in, sync.at[0], at);
		if (at < in.n && memcmp(in.at + at, sync.at, MIN_OF(sync.n, in.n - at)) == 0)
			break;
	}
	return MIN_OF(at, in.n);
}

static enum frame_verdict
measure_sync(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	if (memcmp(in.at, f->sync.at, MIN_OF(in.n, f->sync.n)) != 0)
		return bad_up_to(cut, FRAME_BAD_SYNC, f->resync ? junk_before(in, f->sync) : 0);
	if (in.n < f->sync.n)
		return FRAME_MORE;
	if (s->step == STEP_SEEK)
		s->step = STEP_BEGIN;
	return measure_kind(f, s, in, cut);
}

/* What is bad is skipped where the declaration says so, and it is known how far. */
static enum frame_verdict
resync(const struct frame *f, struct frame_state *s, struct frame_cut *cut)
{
	if (!f->resync)
		return FRAME_BAD;
	if (cut->fault == FRAME_BAD_SYNC)
		return skip_junk(s, cut, cut->n);
	if (cut->fault == FRAME_TOO_LONG && cut->n > 0)
		s->step = STEP_DROP;
	if (cut->n == 0 && f->sync.n > 0) {
		/* the length was not one: the next sync may begin within this one */
		cut->n = 1;
		s->step = STEP_SEEK;
	}
	return cut->n > 0 ? FRAME_SKIP : FRAME_BAD;
}

/* What a message leaves behind for the next one. */
static void
turn(struct frame_state *s, enum frame_verdict verdict)
{
	bool first = s->first && verdict == FRAME_SKIP;
	uint8_t step = verdict == FRAME_SKIP ? s->step : STEP_BEGIN;

	*s = (struct frame_state){ .first = first, .step = step };
}

static const struct frame *
frame_now(const struct frame *f, const struct frame_state *s)
{
	return s->first ? f->preface : f;
}

void
frame_begin(const struct frame *f, struct frame_state *s, bool question)
{
	*s = (struct frame_state){ .first = question && f->preface != NULL };
}

static enum frame_verdict
measure_total(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	enum frame_verdict verdict;

	if (s->step == STEP_DROP)
		return drop(f, s, in, cut);
	verdict = f->sync.n > 0 ? measure_sync(f, s, in, cut) : measure_kind(f, s, in, cut);
	return verdict == FRAME_BAD ? resync(f, s, cut) : verdict;
}

static bool
is_empty(const struct frame *by, const struct frame_state *s)
{
	return by->empty_ignore && by->kind == FRAME_LENGTH && s->total == s->head + by->tail;
}

/* The commonest declaration, in the fewest steps. Without an end, or empty: as for all others. */
static bool
measure_line(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	size_t n = MIN_OF(in.n, (size_t)f->max), from = s->looked;
	const char *end = from < n ? memchr(in.at + from, f->boundary.last, n - from) : NULL;
	const char *inner = end;

	if (end == NULL)
		return false;
	while (f->strip_cr && inner > in.at && inner[-1] == '\r')
		inner--;
	if (f->empty_ignore && inner == in.at)
		return false;
	*cut = (struct frame_cut){ .n = (size_t)(end - in.at) + 1, .of = f, .by = f };
	cut->close = (uint32_t)(end - inner) + 1;
	s->looked = 0;
	return true;
}

APART static enum frame_verdict
measure_any(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	const struct frame *now = frame_now(f, s);
	enum frame_verdict verdict = FRAME_MESSAGE;

	if (in.n == 0)
		return FRAME_MORE;
	*cut = (struct frame_cut){ .of = now, .by = now };
	if (s->total == 0)
		verdict = measure_total(now, s, in, cut);
	if (verdict == FRAME_MESSAGE) {
		if (in.n < s->total)
			return FRAME_MORE;
		cut->n = s->total;
		cut->head = s->head;
		cut->by = case_of(now, s);
		if (is_empty(cut->by, s))
			verdict = FRAME_SKIP;
	}
	if (verdict == FRAME_MESSAGE || verdict == FRAME_SKIP)
		turn(s, verdict);
	return verdict;
}

enum frame_verdict
frame_measure(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	if (f->is_line && measure_line(f, s, in, cut))
		return FRAME_MESSAGE;
	return measure_any(f, s, in, cut);
}

enum frame_verdict
frame_finish(const struct frame *f, struct frame_state *s, struct slice in, struct frame_cut *cut)
{
	const struct frame *now = frame_now(f, s), *by = case_of(now, s);

	if (in.n == 0)
		return FRAME_MORE;
	*cut = (struct frame_cut){ .n = in.n, .of = now, .by = by, .head = by->head };
	if (s->step == STEP_SEEK || s->step == STEP_DROP)
		return FRAME_SKIP;
	if (by->kind == FRAME_JSON && json_end_closes(&s->json))
		return FRAME_MESSAGE;
	if (by->kind != FRAME_WHOLE)
		return bad(cut, FRAME_TRUNCATED);
	if (in.n < by->least)
		return bad(cut, FRAME_TOO_SHORT);
	return FRAME_MESSAGE;
}
