/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mirror of reading: header, body and tail are laid out, then what the engine knows is written
 * into the header: sync, type, lengths, checksum. What could be read as something else is refused:
 * a message with a boundary is measured once more as the other side will do it.
 */
#include "protocols/frame/format.h"
#include "protocols/frame/frame.h"

struct writing {
	const struct frame *f;          /* the case, in a switch */
	const struct frame *whole;
	const struct frame_draft *draft;
	struct builder *out;
	size_t start;                   /* of the inner part in `out` */
	size_t head, total;             /* sizes of the inner part */
};

static char *
inner_at(const struct writing *w, size_t at)
{
	return w->out->at + w->start + at;
}

static size_t
body_size(const struct frame_draft *d)
{
	return d->body.n + d->more[0].n + d->more[1].n;
}

static void
put_body(const struct writing *w)
{
	builder_slice_put(w->out, w->draft->body);
	builder_slice_put(w->out, w->draft->more[0]);
	builder_slice_put(w->out, w->draft->more[1]);
}

static void
put_zeros(struct builder *b, size_t n)
{
	static const char zeros[64];

	for (; n > sizeof(zeros) && !b->full; n -= sizeof(zeros))
		builder_put(b, zeros, sizeof(zeros));
	builder_put(b, zeros, n);
}

/* ------------------------------------------------------------------ into the header */

static enum frame_fault
put_number(const struct writing *w, const struct number *n, uint64_t value, size_t at)
{
	if (!number_fits(n, value) || at + n->width > w->total)
		return FRAME_UNFIT;
	number_put(n, value, inner_at(w, at));
	return FRAME_FINE;
}

static enum frame_fault
put_set(const struct writing *w, const struct frame_set *set)
{
	const struct number *n = &set->field->number;
	size_t at = set->field->at;

	if (set->text.at == NULL)
		return put_number(w, n, set->number, at);
	if (set->text.n > n->width || (n->form != NUMBER_BYTES && set->text.n < n->width) ||
	    at + n->width > w->total)
		return FRAME_UNFIT;
	memset(inner_at(w, at), 0, n->width);
	if (set->text.n > 0)
		memcpy(inner_at(w, at), set->text.at, set->text.n);
	return FRAME_FINE;
}

/*
 * What the last length must say, so that the message is as long as it is; `width`: how wide one
 * that varies is.
 */
static bool
length_value(const struct writing *w, size_t width, uint64_t *value)
{
	const struct frame *f = w->f;
	int64_t rest = (int64_t)w->total - f->adjust;

	if (f->counts == FRAME_COUNTS_BODY)
		rest -= (int64_t)(w->head + f->tail);
	else if (f->counts == FRAME_COUNTS_AFTER)
		rest -= f->varies ? (int64_t)(f->head + width) : (int64_t)f->prefix;
	for (size_t i = 0; i + 1 < f->length_count; i++) {
		uint64_t other;
		size_t taken;

		if (number_read(&f->lengths[i].number,
			slice_make(inner_at(w, f->lengths[i].at), f->lengths[i].number.width),
			&other, &taken) != NUMBER_GOOD ||
		    other > FRAME_MAX_MOST)
			return false;
		rest -= (int64_t)other;
	}
	*value = (uint64_t)rest;
	return rest >= 0;
}

static enum frame_fault
put_length(const struct writing *w)
{
	const struct frame *f = w->f;
	const struct frame_length *last = &f->lengths[f->length_count - 1];
	uint64_t value;

	/* those in front count as they are set; nobody set them: nothing */
	for (size_t i = 0; i + 1 < f->length_count; i++)
		if (f->lengths[i].number.form > NUMBER_SIGNED &&
		    *inner_at(w, f->lengths[i].at) == '\0')
			number_put(&f->lengths[i].number, 0, inner_at(w, f->lengths[i].at));
	if (!length_value(w, last->number.width, &value))
		return FRAME_UNFIT;
	return put_number(w, &last->number, value, last->at);
}

void
frame_checksum_put(const struct frame *f, char *inner, size_t n)
{
	const struct frame_check *k = &f->check;
	size_t end = n - f->tail, to = k->to != 0 ? k->to : end;

	number_put(&k->number, checksum(k->kind, slice_make(inner + k->from, to - k->from)),
	    inner + (k->in_header ? k->at : end));
}

/* ------------------------------------------------------------------ laying it out */

/*
 * A length that varies in width may count itself: the first width that holds what must then be said
 * is it, because what must be said never shrinks as the width grows.
 */
static enum frame_fault
lay_varying(struct writing *w, const struct number *n)
{
	char digits[2 * NUMBER_WIDEST];

	for (size_t width = 1; width <= NUMBER_WIDEST; width++) {
		uint64_t value;

		w->head = w->f->head + width;
		w->total = w->head + body_size(w->draft) + w->f->tail;
		if (!length_value(w, width, &value) || !number_fits(n, value))
			return FRAME_UNFIT;
		if (number_size(n, value) != width)
			continue;
		number_put(n, value, digits);
		builder_put(w->out, digits, width);
		return FRAME_FINE;
	}
	return FRAME_UNFIT;
}

/* Header, body and room for the tail; no number is in it but a length that varies. */
static enum frame_fault
lay_out(struct writing *w)
{
	const struct frame *f = w->f;
	const struct frame_draft *d = w->draft;
	enum frame_fault fault = FRAME_FINE;

	if (d->head.n > f->head)
		return FRAME_UNFIT;
	w->head = f->head;
	w->total = f->head + body_size(d) + f->tail;
	builder_slice_put(w->out, d->head);
	put_zeros(w->out, f->head - d->head.n);
	if (f->varies)
		fault = lay_varying(w, &f->lengths[0].number);
	put_body(w);
	put_zeros(w->out, f->tail - f->trailer.n);
	builder_slice_put(w->out, f->trailer);
	if (fault == FRAME_FINE && w->out->full)
		fault = FRAME_NO_ROOM;
	return fault;
}

/* Where a case has it in its body, the body says it already. */
static enum frame_fault
put_type(const struct writing *w)
{
	const struct frame_length *tag = &w->whole->tag;
	uint64_t type;
	size_t taken;

	if (tag->at + tag->number.width <= w->head)
		return put_number(w, &tag->number, w->draft->type, tag->at);
	if (number_read(&tag->number, slice_make(inner_at(w, tag->at), w->total - tag->at), &type,
		&taken) != NUMBER_GOOD)
		return FRAME_BAD_TYPE;
	return type == w->draft->type ? FRAME_FINE : FRAME_BAD_TYPE;
}

static enum frame_fault
write_plain(struct writing *w)
{
	const struct frame *f = w->f;
	enum frame_fault fault = lay_out(w);

	if (fault != FRAME_FINE)
		return fault;
	if (w->total < f->least || (f->kind == FRAME_FIXED && w->total != f->fixed))
		return w->total < f->least ? FRAME_TOO_SHORT : FRAME_TOO_LONG;
	if (w->whole->sync.n > 0)
		memcpy(inner_at(w, 0), w->whole->sync.at, w->whole->sync.n);
	for (size_t i = 0; i < w->draft->set_count && fault == FRAME_FINE; i++)
		fault = put_set(w, &w->draft->sets[i]);
	if (fault == FRAME_FINE && w->whole->kind == FRAME_SWITCH)
		fault = put_type(w);
	if (fault == FRAME_FINE && f->kind == FRAME_LENGTH && !f->varies)
		fault = put_length(w);
	if (fault == FRAME_FINE && f->check.kind != CHECKSUM_NONE)
		frame_checksum_put(f, inner_at(w, 0), w->total);
	return fault;
}

/* ------------------------------------------------------------------ the other kinds */

/* Lines of the head as they are, without the one that tells the length; ours behind them. */
static enum frame_fault
write_headers(struct writing *w)
{
	const struct frame *f = w->f;
	struct slice head = w->draft->head, line, end = f->boundary.any[0];
	struct builder *out = w->out;

	end.n /= 2;
	while (slice_split(&head, '\n', &line)) {
		struct slice ignored;

		if (line.n > 0 && line.at[line.n - 1] == '\r')
			line.n--;
		if (line.n == 0)
			continue;
		if (frame_header_find(line, f->length_name, &ignored) > 0)
			continue;
		builder_slice_put(out, line);
		builder_slice_put(out, end);
	}
	builder_slice_put(out, f->length_name);
	builder_text(out, ": ");
	builder_number(out, body_size(w->draft));
	builder_slice_put(out, f->boundary.any[0]);
	put_body(w);
	builder_slice_put(out, f->trailer);
	w->total = out->n - w->start;
	return out->full ? FRAME_NO_ROOM : FRAME_FINE;
}

/* A line feed behind it ends a bare number, and is a blank to who reads it. */
static enum frame_fault
write_json(struct writing *w)
{
	struct json_end e = { 0 };
	size_t taken = 0;

	put_body(w);
	w->total = w->out->n - w->start;
	if (w->out->full)
		return FRAME_NO_ROOM;
	if (w->total == 0 || json_is_blank(*inner_at(w, 0)))
		return FRAME_BAD_JSON;

	enum json_end_verdict verdict = json_end(&e, slice_make(inner_at(w, 0), w->total), &taken);

	if (verdict == JSON_END_BAD || taken < w->total ||
	    (verdict == JSON_END_MORE && !json_end_closes(&e)))
		return FRAME_BAD_JSON;
	builder_byte(w->out, '\n');
	return w->out->full ? FRAME_NO_ROOM : FRAME_FINE;
}

static int
escape_for(const struct frame_escape *e, uint8_t byte)
{
	for (size_t i = 0; i < e->swap_count; i++)
		if (e->swaps[i].byte == byte)
			return e->swaps[i].as;
	return byte == e->end || byte == e->escape || byte == e->start ? byte ^ e->flip : -1;
}

/* In place, from the end on: what is moved is moved once. */
static enum frame_fault
escape_inner(struct writing *w)
{
	const struct frame_escape *e = &w->f->escape;
	size_t extra = 0;

	for (size_t i = 0; i < w->total; i++)
		extra += escape_for(e, (uint8_t)*inner_at(w, i)) >= 0;
	if (extra > w->out->size - w->out->n)
		return FRAME_NO_ROOM;
	w->out->n += extra;
	for (size_t from = w->total, to = w->total + extra; to > from;) {
		uint8_t byte = (uint8_t)*inner_at(w, --from);
		int as = escape_for(e, byte);

		*inner_at(w, --to) = (char)(as >= 0 ? as : byte);
		if (as >= 0)
			*inner_at(w, --to) = (char)e->escape;
	}
	builder_byte(w->out, (char)e->end);
	return w->out->full ? FRAME_NO_ROOM : FRAME_FINE;
}

static enum frame_fault
write_escaped(struct writing *w)
{
	enum frame_fault fault;

	if (w->f->escape.start >= 0)
		builder_byte(w->out, (char)w->f->escape.start);
	w->start = w->out->n;
	fault = write_plain(w);
	return fault == FRAME_FINE ? escape_inner(w) : fault;
}

/* ------------------------------------------------------------------ whether it will be read so */

/* As who reads it will: one message, and all of it. */
static enum frame_fault
measure_again(const struct writing *w, struct slice message)
{
	struct frame_state s = { 0 };
	struct frame_cut cut = { .n = 0 };
	enum frame_verdict verdict = frame_measure(w->whole, &s, message, &cut);

	/* one byte that begins and ends a message ends an empty one first */
	if (w->f->kind == FRAME_ESCAPED && verdict == FRAME_SKIP && cut.n == 1 && message.n > 1) {
		message = slice_after(message, 1);
		verdict = frame_measure(w->whole, &s, message, &cut);
	}
	if (verdict == FRAME_BAD)
		return cut.fault;
	if (verdict == FRAME_SKIP && cut.n == message.n)
		return FRAME_TOO_SHORT;
	return verdict == FRAME_MESSAGE && cut.n == message.n ? FRAME_FINE : FRAME_HOLDS_BOUNDARY;
}

static enum frame_fault
write_kind(struct writing *w)
{
	enum frame_fault fault;

	switch (w->f->kind) {
	case FRAME_HEADERS: return write_headers(w);
	case FRAME_JSON: return write_json(w);
	case FRAME_ESCAPED: return write_escaped(w);
	case FRAME_BOUNDARY:
		fault = write_plain(w);
		builder_slice_put(w->out, w->f->boundary.any[0]);
		return fault == FRAME_FINE && w->out->full ? FRAME_NO_ROOM : fault;
	default: return write_plain(w);
	}
}

static bool
ends_stripped(const struct writing *w)
{
	return w->f->strip_cr && w->total > w->head && *inner_at(w, w->total - 1) == '\r';
}

static enum frame_fault
write_checked(struct writing *w)
{
	size_t before = w->out->n;
	enum frame_fault fault = write_kind(w);
	struct slice message;

	if (fault != FRAME_FINE)
		return fault;
	message = slice_make(w->out->at + before, w->out->n - before);
	if (message.n - (w->f->kind == FRAME_JSON) > w->f->max)
		return FRAME_TOO_LONG;
	switch (w->f->kind) {
	case FRAME_BOUNDARY:
		if (ends_stripped(w))
			return FRAME_HOLDS_BOUNDARY;
		return measure_again(w, message);
	case FRAME_LENGTH:
		if (w->f->empty_ignore && body_size(w->draft) == 0)
			return FRAME_TOO_SHORT;
		return FRAME_FINE;
	case FRAME_HEADERS:
	case FRAME_ESCAPED:
		return measure_again(w, message);
	default:
		return FRAME_FINE;
	}
}

static const struct frame *
case_written(const struct frame *f, uint64_t type)
{
	if (f->kind != FRAME_SWITCH)
		return f;
	for (size_t i = 0; i < f->case_count; i++)
		if (f->cases[i].value == type)
			return f->cases[i].frame;
	return f->else_case;
}

APART static enum frame_fault
write_any(const struct frame *f, const struct frame_draft *draft, struct builder *out)
{
	size_t before = out->n;
	bool full = out->full;
	struct writing w = {
		.f = case_written(f, draft->type),
		.whole = f,
		.draft = draft,
		.out = out,
		.start = before,
	};
	enum frame_fault fault = FRAME_BAD_TYPE;

	if (w.f != NULL)
		fault = body_size(draft) > f->max ? FRAME_TOO_LONG : write_checked(&w);
	if (fault != FRAME_FINE) {
		out->n = before;
		out->full = full;
	}
	return fault;
}

static bool
is_body_alone(const struct frame_draft *d)
{
	return (d->head.n | d->more[0].n | d->more[1].n | d->set_count) == 0 && d->body.n > 0;
}

/* As it would be read: without the end in it. */
static enum frame_fault
write_line(const struct frame *f, struct slice body, struct builder *out)
{
	if (body.n >= f->max)
		return FRAME_TOO_LONG;
	if ((f->strip_cr && body.at[body.n - 1] == '\r') ||
	    memchr(body.at, f->boundary.last, body.n) != NULL)
		return FRAME_HOLDS_BOUNDARY;
	if (out->full || body.n >= out->size - out->n)
		return FRAME_NO_ROOM;
	builder_slice_put(out, body);
	builder_byte(out, f->boundary.last);
	return FRAME_FINE;
}

enum frame_fault
frame_write(const struct frame *f, const struct frame_draft *draft, struct builder *out)
{
	if (f->is_line && is_body_alone(draft))
		return write_line(f, draft->body, out);
	return write_any(f, draft, out);
}
