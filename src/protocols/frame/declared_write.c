/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The codec of a declared protocol, writing: body, header fields and id as a frame's draft. An
 * answer repeats the header of its question, but for what is set and what the engine knows. An id
 * that stands in the body is put in its place there, or where there is none yet, given one.
 */
#include "protocols/frame/declared.h"

/* ------------------------------------------------------------------ header fields */

static bool
is_type(const struct frame *f, const struct frame_field *field)
{
	const struct number *n = &field->number, *type = &f->tag.number;

	return f->kind == FRAME_SWITCH && field->at == f->tag.at && n->width == type->width &&
	       (n->form == NUMBER_BYTES ||
		   (n->form == type->form && n->little == type->little));
}

/* -5 as its 64 bits; false: no number. */
static bool
read_number(struct slice text, uint64_t *number)
{
	bool minus = text.n > 1 && text.at[0] == '-';
	uint64_t value;

	if (!slice_to_u64(slice_after(text, minus), &value) ||
	    (minus && value > (uint64_t)INT64_MAX + 1))
		return false;
	*number = minus ? -value : value;
	return true;
}

bool
declared_number(const struct frame_field *field, struct slice text, uint64_t *bits)
{
	bool minus = slice_starts(text, SLICE("-")), is_signed = field->number.form == NUMBER_SIGNED;

	/* what the bits say is not what was said */
	return read_number(text, bits) && (is_signed ? minus || *bits <= INT64_MAX : !minus) &&
	       number_fits(&field->number, *bits);
}

static bool
take_set(const struct frame *f, const struct unit_set *from, struct frame_set *to, uint64_t *type)
{
	const struct frame_field *field = from->field;

	*to = (struct frame_set){ .field = field };
	if (field->number.form == NUMBER_BYTES) {
		size_t taken;

		to->text = from->value;
		return !is_type(f, field) ||
		       number_read(&f->tag.number, to->text, type, &taken) == NUMBER_GOOD;
	}
	if (!declared_number(field, from->value, &to->number))
		return false;
	if (is_type(f, field))
		*type = to->number;
	return true;
}

/* ------------------------------------------------------------------ an id in the body */

/* `at` bytes of the body, what is new, the body again from `from` on. */
static void
splice(struct frame_draft *draft, size_t at, struct slice piece, size_t from)
{
	struct slice body = draft->body;

	draft->body = slice_first(body, at);
	draft->more[0] = piece;
	draft->more[1] = slice_after(body, from);
}

/* Where the body has none: `"id":7,` behind the brace of an object. */
static const char *
give_json(const struct frame_name *name, struct slice id, struct frame_draft *draft,
    struct scratch *scratch)
{
	struct slice body = draft->body;
	size_t at = 0, next;

	while (at < body.n && json_is_blank(body.at[at]))
		at++;
	if (name->path.count != 1 || name->path.steps[0].name.at == NULL || at == body.n ||
	    body.at[at] != '{')
		return "no_place_for_id";
	next = at + 1;
	while (json_is_blank(body.at[next]))
		next++;

	size_t size = 6 * name->path.steps[0].name.n + id.n + 4;
	struct builder b = builder_on(scratch_alloc(scratch, size), size);

	builder_byte(&b, '"');
	builder_json(&b, name->path.steps[0].name);
	BUILDER_LITERAL(&b, "\":");
	builder_slice_put(&b, id);
	if (body.at[next] != '}')
		builder_byte(&b, ',');
	splice(draft, at + 1, builder_slice(&b), at + 1);
	return NULL;
}

static const char *
give_pair(const struct frame_name *name, struct slice id, struct frame_draft *draft,
    struct scratch *scratch)
{
	size_t size = name->word.n + id.n + 2;
	struct builder b = builder_on(scratch_alloc(scratch, size), size);

	if (draft->body.n > 0)
		builder_byte(&b, name->frame->between);
	builder_slice_put(&b, name->word);
	builder_byte(&b, name->frame->equals);
	builder_slice_put(&b, id);
	splice(draft, draft->body.n, builder_slice(&b), draft->body.n);
	return NULL;
}

/* Behind the last word, if that makes it the one that it must be. */
static const char *
give_word(const struct frame_name *name, struct slice id, struct frame_draft *draft,
    struct scratch *scratch)
{
	struct frame_name last = *name;
	struct frame_view view = { .inner = draft->body, .body = draft->body, .of = name->frame };
	struct builder none = builder_on(NULL, 0);
	struct frame_value value;
	size_t size = id.n + 1;
	struct builder b = builder_on(scratch_alloc(scratch, size), size);

	last.index--;
	if (name->index > 0 &&
	    frame_name_get(&last, &view, 0, &none, &value) != FRAME_VALUE_FOUND)
		return "no_place_for_id";
	if (name->index > 0)
		builder_byte(&b, ' ');
	builder_slice_put(&b, id);
	splice(draft, draft->body.n, builder_slice(&b), draft->body.n);
	return NULL;
}

struct slice
declared_body_id(const struct codec *k, struct slice body)
{
	const struct declared *x = declared_of(k);
	const struct frame_field *field = x->id.field;
	struct frame_view view = { .inner = body, .body = body, .of = &x->frame };
	struct builder none = builder_on(NULL, 0);
	struct frame_value value;

	if (x->id.kind == FRAME_NAME_FIELD) {
		uint32_t at = field->at - x->frame.head, width = field->number.width;

		return field->at >= x->frame.head && x->frame.kind != FRAME_SWITCH && at <= body.n &&
			       width <= body.n - at ?
		    slice_make(body.at + at, width) : SLICE_EMPTY;
	}
	switch (frame_name_get(&x->id, &view, 0, &none, &value)) {
	case FRAME_VALUE_FOUND:
	case FRAME_VALUE_NO_ROOM:
		return value.raw;
	default:
		return SLICE_EMPTY;
	}
}

/* In place of the one that is there. A name without a value may have no place for one: `a&id`. */
static const char *
replace(const struct declared *x, struct slice was, struct slice id, struct frame_draft *draft)
{
	size_t at = (size_t)(was.at - draft->body.at);

	if (was.n == 0 && (at == 0 || was.at[-1] != x->frame.equals))
		return "no_place_for_id";
	splice(draft, at, id, at + was.n);
	return NULL;
}

static const char *
put_id(const struct declared *x, struct slice id, struct frame_draft *draft,
    struct scratch *scratch)
{
	struct frame_view view = { .inner = draft->body, .body = draft->body, .of = &x->frame };
	struct builder none = builder_on(NULL, 0);
	struct frame_value value;
	struct slice was;

	switch (frame_name_get(&x->id, &view, 0, &none, &value)) {
	case FRAME_VALUE_FOUND:
	case FRAME_VALUE_NO_ROOM:
		was = value.raw;
		/* of two another reader may take the one that is not ours */
		if (x->frame.format == FORMAT_KV &&
		    frame_name_get(&x->id, &view, 1, &none, &value) == FRAME_VALUE_FOUND)
			return "no_place_for_id";
		return replace(x, was, id, draft);
	case FRAME_VALUE_MALFORMED:
		return "bad_json";
	case FRAME_VALUE_ABSENT:
		break;
	}
	switch (x->frame.format) {
	case FORMAT_JSON: return give_json(&x->id, id, draft, scratch);
	case FORMAT_KV: return give_pair(&x->id, id, draft, scratch);
	case FORMAT_WORDS: return give_word(&x->id, id, draft, scratch);
	default: return "no_place_for_id";
	}
}

/* ------------------------------------------------------------------ the message */

uint64_t
declared_type(const struct frame *f, struct slice inner)
{
	uint64_t type = 0;
	size_t taken;

	if (f->tag.at > inner.n ||
	    number_read(&f->tag.number, slice_after(inner, f->tag.at), &type, &taken) != NUMBER_GOOD)
		return 0;
	return type;
}

/* What an answer has from its question. */
static void
repeat(const struct frame *f, const struct draft *d, struct frame_draft *draft)
{
	const struct unit *q = d->is_answer ? d->question : NULL;
	const struct frame *by = q != NULL ? q->by : NULL;

	if (f->kind == FRAME_SWITCH && f->case_count > 0)
		draft->type = f->cases[0].value;
	if (q == NULL || q->of != f)
		return;
	if (f->kind == FRAME_SWITCH)
		draft->type = declared_type(f, q->inner);
	draft->head = slice_first(
	    q->inner, by->kind == FRAME_HEADERS ? q->body_at : MIN_OF(by->head, q->body_at));
}

static const char *
put_sets(const struct declared *x, const struct draft *d, struct frame_draft *draft,
    struct scratch *scratch)
{
	if (d->set_count == 0 && d->id.n == 0)
		return NULL;

	struct frame_set *sets = scratch_alloc(scratch, (d->set_count + 1) * sizeof(*sets));
	uint64_t type = draft->type;

	for (size_t i = 0; i < d->set_count; i++)
		if (!take_set(&x->frame, &d->sets[i], &sets[i], &type))
			return frame_fault_word(FRAME_UNFIT);
	draft->sets = sets;
	draft->set_count = d->set_count;
	if (d->id.n > 0 && x->id.kind == FRAME_NAME_FIELD)
		sets[draft->set_count++] = (struct frame_set){ .field = x->id.field, .text = d->id };
	/* another case has another header */
	if (type != draft->type)
		draft->head = SLICE_EMPTY;
	draft->type = type;
	return NULL;
}

/* Escapes and line ends may double what there is. */
static size_t
room_for(const struct declared *x, const struct frame_draft *draft)
{
	return 2 * (x->write_room + draft->head.n + draft->body.n + draft->more[0].n +
		       draft->more[1].n);
}

const char *
declared_write(
    const struct codec *k, const struct draft *d, struct scratch *scratch, struct slice *wire)
{
	const struct declared *x = declared_of(k);
	struct frame_draft draft = { .body = d->body };
	const char *wrong;

	if (d->body.n > x->frame.max)
		return frame_fault_word(FRAME_TOO_LONG);
	repeat(&x->frame, d, &draft);
	wrong = put_sets(x, d, &draft, scratch);
	if (wrong == NULL && d->id.n > 0 && x->id.kind == FRAME_NAME_FORMAT)
		wrong = put_id(x, d->id, &draft, scratch);
	if (wrong != NULL)
		return wrong;

	size_t size = room_for(x, &draft);
	struct builder out = builder_on(scratch_window(scratch, size), size);
	enum frame_fault fault = frame_write(&x->frame, &draft, &out);

	if (fault != FRAME_FINE)
		return frame_fault_word(fault);
	scratch_take(scratch, out.n);
	*wire = builder_slice(&out);
	return NULL;
}

const char *
declared_id_set(const struct codec *k, const struct unit *u, struct slice id,
    struct scratch *scratch, struct slice *wire)
{
	const struct declared *x = declared_of(k);
	struct frame_view view = declared_view(u);
	struct frame_draft size_of = { .head = view.head, .body = view.body, .more = { id } };
	size_t size = MAX_OF(room_for(x, &size_of), view.wire.n);
	struct builder out = builder_on(scratch_window(scratch, size), size);
	enum frame_fault fault = FRAME_FINE;

	builder_slice_put(&out, view.wire);
	if (!frame_id_replace(&view, unit_id(u), id, out.at)) {
		out.n = 0;
		fault = frame_id_rewrite(&x->frame, &view, unit_id(u), id, &out);
	}
	if (fault != FRAME_FINE)
		return frame_fault_word(fault);
	scratch_take(scratch, out.n);
	*wire = builder_slice(&out);
	return NULL;
}
