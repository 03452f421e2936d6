/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Declarations out of bytes, for the targets that read and write through them.
 */
#ifndef MILLRACE_T_FUZZ_FRAME_DICE_H
#define MILLRACE_T_FUZZ_FRAME_DICE_H

#include "protocols/frame/format.h"

enum { CASES = 3 };

struct dice {
	struct slice left;
};

/* Below `sides`. */
static unsigned
roll(struct dice *d, unsigned sides)
{
	if (d->left.n == 0)
		return 0;

	unsigned value = (uint8_t)d->left.at[0];

	d->left = slice_after(d->left, 1);
	return value % sides;
}

static struct slice
roll_text(struct dice *d, size_t most)
{
	size_t n = roll(d, (unsigned)most + 1);
	struct slice text = slice_first(d->left, MIN_OF(n, d->left.n));

	d->left = slice_after(d->left, text.n);
	return text;
}

static struct number
roll_number(struct dice *d, unsigned form)
{
	static const uint8_t widths[] = { 1, 2, 3, 4, 8, 5 };
	struct number n = { .form = (uint8_t)form, .little = roll(d, 2) != 0 };

	if (form <= NUMBER_SIGNED)
		n.width = widths[roll(d, sizeof(widths))];
	else if (!number_varies(&n))
		n.width = (uint16_t)roll(d, 21);
	n.until = ":, \n5"[roll(d, 5)];
	return n;
}

static void
roll_boundary(struct dice *d, struct boundary *b)
{
	b->count = (uint8_t)(1 + roll(d, BOUNDARY_ANY));
	for (size_t i = 0; i < b->count; i++)
		b->any[i] = roll_text(d, 4);
}

static void
roll_lengths(struct dice *d, struct frame *f)
{
	f->length_count = (uint8_t)(1 + roll(d, FRAME_LENGTHS));
	for (size_t i = 0; i < f->length_count; i++) {
		f->lengths[i].number = roll_number(d, roll(d, NUMBER_MQTT + 1));
		f->lengths[i].at = roll(d, 12);
	}
	f->counts = roll(d, 3);
	f->adjust = (int32_t)roll(d, 32) - 16;
	if (roll(d, 16) == 15)
		f->adjust = roll(d, 2) ? INT32_MAX : INT32_MIN;
}

static void
roll_escape(struct dice *d, struct frame_escape *e)
{
	e->end = (uint8_t)roll(d, 256);
	e->escape = (uint8_t)roll(d, 256);
	e->start = (int16_t)(roll(d, 3) == 0 ? -1 : roll(d, 2) ? e->end : (int)roll(d, 256));
	e->flip = (uint8_t)roll(d, 64);
	e->swap_count = (uint8_t)roll(d, FRAME_SWAPS + 1);
	for (size_t i = 0; i < e->swap_count; i++) {
		e->swaps[i].byte = i == 0 ? e->end : i == 1 ? e->escape : (uint8_t)roll(d, 256);
		e->swaps[i].as = (uint8_t)roll(d, 256);
	}
}

static void
roll_check(struct dice *d, struct frame_check *k)
{
	k->kind = roll(d, CHECKSUM_CRC32 + 1);
	k->number = (struct number){ .form = NUMBER_UNSIGNED, .width = (uint16_t)checksum_width(k->kind) };
	if (roll(d, 2) != 0)
		k->number = (struct number){ .form = NUMBER_HEX, .width = (uint16_t)(2 * checksum_width(k->kind)) };
	k->from = roll(d, 8);
	k->to = roll(d, 8);
	k->in_header = roll(d, 2) != 0;
	k->at = roll(d, 8);
}

static void
roll_frame(struct dice *d, struct frame *f, unsigned kinds)
{
	unsigned bits;

	f->kind = FRAME_BOUNDARY + roll(d, kinds);
	bits = roll(d, 256);
	f->strip_cr = (bits & 1) != 0 && f->kind == FRAME_BOUNDARY;
	f->empty_ignore = (bits & 2) != 0;
	f->resync = (bits & 4) != 0;
	f->has_header = (bits & 8) != 0;
	if (f->kind == FRAME_BOUNDARY)
		roll_boundary(d, &f->boundary);
	else if (f->kind == FRAME_LENGTH)
		roll_lengths(d, f);
	else if (f->kind == FRAME_FIXED)
		f->fixed = roll(d, 40);
	else if (f->kind == FRAME_ESCAPED)
		roll_escape(d, &f->escape);
	else if (f->kind == FRAME_HEADERS) {
		f->boundary = (struct boundary){ .any = { SLICE("\n\n"), SLICE("\r\n\r\n") }, .count = (uint8_t)(1 + roll(d, 2)) };
		f->length_name = SLICE("n");
		if (roll(d, 2) != 0)
			roll_boundary(d, &f->otherwise);
	}
	if (f->has_header)
		f->header = roll(d, 16);
	if ((bits & 16) != 0)
		f->trailer = roll_text(d, 3);
	if ((bits & 32) != 0)
		roll_check(d, &f->check);
	if ((bits & 64) != 0)
		f->sync = roll_text(d, 3);
	if ((bits & 128) != 0)
		f->min = roll(d, 20);
}

struct dealt {
	struct frame whole, cases[CASES], preface;
	struct frame_case list[CASES];
	struct frame_field fields[2];
	struct frame_name id;
};

static void
ignore(void *who, const struct frame *f, enum frame_part part, size_t index, const char *text)
{
}

static bool
deal(struct dice *d, struct dealt *x)
{
	static const char *const words[] = { "a", "id", "[0]", "a.b" };
	struct frame *f = &x->whole;
	struct frame_mistakes m = { .say = ignore };

	roll_frame(d, f, FRAME_WHOLE);
	f->max = 1 + roll(d, 256);
	f->max *= 1 + roll(d, 3);
	if (f->kind == FRAME_SWITCH) {
		f->tag = (struct frame_length){ roll_number(d, roll(d, NUMBER_BYTES)), roll(d, 4) };
		f->cases = x->list;
		f->case_count = 1 + roll(d, CASES);
		for (size_t i = 0; i < f->case_count; i++) {
			roll_frame(d, &x->cases[i], FRAME_FIXED);
			x->list[i] = (struct frame_case){ roll(d, 256), &x->cases[i] };
		}
		if (roll(d, 2) != 0)
			f->else_case = &x->cases[0];
	}
	if (roll(d, 4) == 0) {
		roll_frame(d, &x->preface, FRAME_WHOLE - 1);
		f->preface = x->preface.kind == FRAME_SWITCH ? NULL : &x->preface;
	}
	f->field_count = roll(d, 3);
	f->fields = x->fields;
	for (size_t i = 0; i < f->field_count; i++)
		x->fields[i] = (struct frame_field){ i == 0 ? SLICE("a") : SLICE("id"), roll_number(d, roll(d, NUMBER_BYTES + 1)), roll(d, 16) };
	f->format = roll(d, FORMAT_COUNT);
	f->equals = '=';
	f->between = roll(d, 2) ? '&' : ' ';
	if (frame_name_parse(f, slice_of(words[roll(d, 4)]), &x->id) == NULL && roll(d, 2) != 0) {
		f->answers = FRAME_ANSWERS_BY_FIELD;
		f->answers_by = &x->id;
	}
	return frame_check(f, &m);
}

#endif
