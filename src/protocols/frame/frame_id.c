/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The id that pairs an answer with its question, on a connection that many clients share: taken out
 * of a message, replaced by one of ours, put back. It is a declared field or a value of the format.
 */
#include "protocols/frame/format.h"

/* What others can count to: JSON's numbers are doubles to many (RFC 8259 6). */
#define JSON_INTEGER_MOST ((UINT64_C(1) << 53) - 1)

/* Several at once: each would have to have one of its own. */
static bool
is_batch(const struct frame *f, struct slice body)
{
	const struct frame_name *by = f->answers_by;

	while (body.n > 0 && json_is_blank(body.at[0]))
		body = slice_after(body, 1);
	return by->kind == FRAME_NAME_FORMAT && f->format == FORMAT_JSON &&
	       by->path.steps[0].name.at != NULL && slice_starts(body, SLICE("["));
}

static bool
is_repeated(const struct frame *f, const struct frame_view *view, struct builder *room)
{
	struct frame_value other;

	return f->format == FORMAT_KV &&
	       frame_name_get(f->answers_by, view, 1, room, &other) == FRAME_VALUE_FOUND;
}

enum frame_id
frame_id_get(const struct frame *f, const struct frame_view *view, struct slice *id)
{
	char none;
	struct builder room = builder_on(&none, 0);
	struct frame_value value = { .raw = { NULL, 0 } };

	switch (frame_name_get(f->answers_by, view, 0, &room, &value)) {
	case FRAME_VALUE_ABSENT:
		return is_batch(f, view->body) ? FRAME_ID_DOUBTFUL : FRAME_ID_NONE;
	case FRAME_VALUE_MALFORMED:
		return FRAME_ID_DOUBTFUL;
	case FRAME_VALUE_NO_ROOM:       /* how it stands is wanted, not what it says */
	case FRAME_VALUE_FOUND:
		break;
	}
	*id = value.raw;
	if (id->n > FRAME_ID_LONGEST || is_repeated(f, view, &room))
		return FRAME_ID_DOUBTFUL;
	return id->n > 0 ? FRAME_ID_FOUND : FRAME_ID_NONE;
}

/* As hexadecimal digits, where the field is text. */
static struct number
id_number(const struct frame_field *field)
{
	struct number n = field->number;

	if (n.form == NUMBER_BYTES)
		n.form = NUMBER_HEX;
	return n;
}

uint64_t
frame_id_most(const struct frame *f)
{
	if (f->answers_by->kind != FRAME_NAME_FIELD)
		return f->format == FORMAT_JSON ? JSON_INTEGER_MOST : UINT64_MAX;

	struct number n = id_number(f->answers_by->field);

	return number_most(&n);
}

struct slice
frame_id_make(const struct frame *f, uint64_t number, char room[FRAME_ID_LONGEST])
{
	struct builder b = builder_on(room, FRAME_ID_LONGEST);

	if (f->answers_by->kind != FRAME_NAME_FIELD) {
		builder_number(&b, number);
		return builder_slice(&b);
	}

	struct number n = id_number(f->answers_by->field);

	number_put(&n, number, room);
	return slice_make(room, n.width);
}

bool
frame_id_number(const struct frame *f, struct slice id, uint64_t *number)
{
	size_t taken;

	if (f->answers_by->kind != FRAME_NAME_FIELD)
		return slice_to_u64(id, number);

	struct number n = id_number(f->answers_by->field);

	return number_read(&n, id, number, &taken) == NUMBER_GOOD && taken == id.n;
}

/* Whether another text in this one's place cannot make or unmake a boundary. */
static bool
keeps_boundary(const struct frame *f, struct slice text)
{
	for (size_t i = 0; f->kind == FRAME_BOUNDARY && i < f->boundary.count; i++)
		for (size_t k = 0; k < text.n; k++)
			if (memchr(f->boundary.any[i].at, text.at[k], f->boundary.any[i].n) != NULL)
				return false;
	return true;
}

bool
frame_id_replace(const struct frame_view *view, struct slice was, struct slice id, char *wire)
{
	const struct frame *f = view->by;
	size_t at = (size_t)(was.at - view->wire.at);

	/* what ends those of JSON is not in the wire */
	if (was.n != id.n || f->kind == FRAME_ESCAPED || f->kind == FRAME_JSON || !keeps_boundary(f, id))
		return false;
	memcpy(wire + at, id.at, id.n);
	if (f->check.kind != CHECKSUM_NONE)
		frame_checksum_put(f, wire, view->inner.n);
	return true;
}

static uint64_t
type_of(const struct frame_view *view)
{
	const struct frame_length *tag = &view->of->tag;
	uint64_t type = 0;
	size_t taken;

	if (view->of->kind == FRAME_SWITCH &&
	    number_read(&tag->number, slice_after(view->inner, tag->at), &type, &taken) !=
		NUMBER_GOOD)
		type = 0;
	return type;
}

enum frame_fault
frame_id_rewrite(const struct frame *f, const struct frame_view *view, struct slice was,
    struct slice id, struct builder *out)
{
	struct frame_set set = { .field = f->answers_by->field, .text = id };
	struct frame_draft draft = {
		.head = view->head, .body = view->body, .type = type_of(view)
	};

	if (view->by->varies)
		draft.head = slice_first(draft.head, view->by->head);
	if (set.field != NULL) {
		draft.sets = &set;
		draft.set_count = 1;
	} else {
		draft.body.n = (size_t)(was.at - view->body.at);
		draft.more[0] = id;
		draft.more[1] = slice_after(view->body, draft.body.n + was.n);
	}
	return frame_write(f, &draft, out);
}
