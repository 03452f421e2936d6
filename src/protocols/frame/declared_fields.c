/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a configuration may ask of a message: msg.NAME, msg[0], msg.a.b, msg.len, msg.body. What it
 * asks of bodies of JSON is known when it is built, and found in one walk over the body when the
 * first of it is asked for. Of a body that is not JSON nothing is found: every condition on it is
 * as if the field were absent, and the message is routed all the same.
 */
#include "core/exchange.h"
#include "protocols/frame/declared.h"

/* ------------------------------------------------------------------ JSON, all in one walk */

struct found {
	/* where the message lay when it was walked: it may have moved since */
	const char *base;
	bool good;
	struct json_value values[];
};

static bool
walk(const struct declared *x, struct slice body, struct json_value *values)
{
	for (size_t i = 0; i < x->path_count; i += JSON_PATHS)
		if (json_find(body, x->paths + i, MIN_OF(x->path_count - i, (size_t)JSON_PATHS),
			values + i, NULL) != JSON_GOOD)
			return false;
	return true;
}

static const struct found *
find_all(const struct declared *x, struct exchange *ex)
{
	struct unit *u = ex->unit;
	struct found *found = u->found;

	if (found != NULL)
		return found;
	found = arena_alloc(
	    &ex->arena, sizeof(*found) + x->path_count * sizeof(*found->values));
	found->base = u->inner.at;
	found->good = walk(x, unit_body(u), found->values);
	u->found = found;
	return found;
}

static bool
give_json(struct exchange *ex, const struct declared *x, const struct field_ref *ref, size_t nth,
    struct frame_value *value)
{
	const struct found *found = find_all(x, ex);

	if (nth > 0 || !found->good || found->values[ref->known].type == JSON_ABSENT)
		return false;

	struct json_value v = found->values[ref->known];

	v.raw.at = ex->unit->inner.at + (v.raw.at - found->base);

	size_t size = v.escaped ? v.raw.n : 0;
	struct builder room = builder_on(
	    size > 0 ? scratch_alloc(&ex->engine->loop.scratch, size) : NULL, size);

	return frame_value_of_json(&v, &room, value) == FRAME_VALUE_FOUND;
}

/* ------------------------------------------------------------------ values */

/* A number that INT64_MAX is below. */
static struct slice
print_large(struct exchange *ex, uint64_t number)
{
	enum { LONGEST = 20 };
	struct builder b = builder_on(scratch_alloc(&ex->engine->loop.scratch, LONGEST), LONGEST);

	builder_number(&b, number);
	return builder_slice(&b);
}

static void
give(struct exchange *ex, const struct frame_value *value, struct field_value *out)
{
	out->text = value->text;
	switch (value->kind) {
	case FRAME_VALUE_TEXT:
		out->type = FIELD_TEXT;
		break;
	case FRAME_VALUE_NUMBER:
		out->type = FIELD_NUMBER;
		out->number = value->number;
		break;
	case FRAME_VALUE_UNSIGNED:
		out->type = FIELD_NUMBER;
		out->number = INT64_MAX;
		out->text = print_large(ex, (uint64_t)value->number);
		break;
	case FRAME_VALUE_BARE:
	case FRAME_VALUE_TREE:
		out->type = FIELD_BARE;
		break;
	}
}

static bool
get_msg(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	const struct frame_name *name = ref->more;
	const struct declared *x = CONTAINER_OF(name->frame, struct declared, frame);
	struct builder none = builder_on(NULL, 0);
	struct frame_value value;

	if (ex->unit == NULL || ex->unit->of != name->frame)
		return false;
	if (ref->type == FIELD_ANY) {
		if (!give_json(ex, x, ref, nth, &value))
			return false;
	} else {
		struct frame_view view = declared_view(ex->unit);

		if (frame_name_get(name, &view, nth, &none, &value) != FRAME_VALUE_FOUND)
			return false;
	}
	give(ex, &value, out);
	return true;
}

static bool
get_code(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	out->number = reason_texts[ex->reason].status;
	return nth == 0 && out->number != 0;
}

/* ------------------------------------------------------------------ set */

/* The declared fields, then what every message has. */
static const char *
known_name(void *what, size_t i)
{
	const struct frame *f = what;

	return i < f->field_count ? f->fields[i].name.at : i == f->field_count ? "len" : "body";
}

bool
declared_set(const struct codec *k, struct reading *r, const struct value *name,
    const struct value *value, struct unit_set *set)
{
	const struct declared *x = declared_of(k);
	const struct frame_field *field = NULL;
	uint64_t bits;

	for (size_t i = 0; i < x->frame.field_count; i++)
		if (slice_equal(x->frame.fields[i].name, name->raw))
			field = &x->frame.fields[i];
	set->field = field;
	if (field == NULL) {
		const char *closest = diag_closest(
		    name->raw, known_name, (void *)(uintptr_t)&x->frame, x->frame.field_count);

		diag_error(r->diag, name->span,
		    "protocol %s has no field \"" SLICE_FORMAT "\"" DIAG_MEANT, x->ops.name,
		    SLICE_ARG(diag_word(name->raw)), DIAG_MEANT_ARG(closest));
		return false;
	}
	if (field == x->id.field && k->pairing == CODEC_BY_ID) {
		diag_error(r->diag, name->span,
		    "\"" SLICE_FORMAT "\" pairs answers with questions: it is written by itself",
		    SLICE_ARG(name->raw));
		return false;
	}
	if (value->raw.at == NULL ||
	    (field->number.form == NUMBER_BYTES ? value->raw.n <= field->number.width
						: declared_number(field, value->raw, &bits)))
		return true;
	diag_error(r->diag, value->span, "field \"" SLICE_FORMAT "\" has no room for \"" SLICE_FORMAT "\"",
	    SLICE_ARG(name->raw), SLICE_ARG(diag_word(value->raw)));
	return false;
}

/* ------------------------------------------------------------------ prepared */

static bool
same_path(const struct json_path *a, const struct json_path *b)
{
	for (unsigned i = 0; i < a->count && a->count == b->count; i++)
		if (a->steps[i].index != b->steps[i].index ||
		    (a->steps[i].name.at == NULL) != (b->steps[i].name.at == NULL) ||
		    (a->steps[i].name.at != NULL &&
			!slice_equal(a->steps[i].name, b->steps[i].name)))
			return false;
	return a->count == b->count;
}

/* Its place among all that are asked for. */
static unsigned
path_index(struct arena *a, struct declared *x, const struct json_path *path)
{
	size_t i = 0;

	while (i < x->path_count && !same_path(&x->paths[i], path))
		i++;
	if (i == x->path_count)
		*ARENA_PUSH(a, x->paths, x->path_count, x->path_room) = *path;
	return (unsigned)i;
}

static enum field_type
type_of(const struct frame_name *name)
{
	switch (name->kind) {
	case FRAME_NAME_LEN:
		return FIELD_NUMBER;
	case FRAME_NAME_FIELD:
		return name->field->number.form == NUMBER_BYTES ? FIELD_TEXT : FIELD_NUMBER;
	case FRAME_NAME_FORMAT:
		return name->frame->format == FORMAT_JSON ? FIELD_ANY : FIELD_TEXT;
	case FRAME_NAME_BODY:
		break;
	}
	return FIELD_TEXT;
}

static void
report(struct reading *r, const struct frame *f, struct slice word, const char *wrong,
    struct span at)
{
	const char *closest =
	    diag_closest(word, known_name, (void *)(uintptr_t)f, f->field_count + 2);

	diag_error(r->diag, at, "\"msg%s" SLICE_FORMAT "\": %s%s%s%s",
	    slice_starts(word, SLICE("[")) ? "" : ".", SLICE_ARG(diag_word(word)), wrong,
	    closest != NULL ? "; did you mean \"msg." : "", closest != NULL ? closest : "",
	    closest != NULL ? "\"?" : "");
}

static bool
prepare(struct reading *r, const struct scope *scope, struct field_ref *ref, struct slice word,
    struct span at)
{
	struct declared *x = declared_of(scope->protocol->codec);
	struct frame_name *name = arena_alloc(r->arena, sizeof(*name));
	const char *wrong = frame_name_parse(&x->frame, word, name);

	if (wrong != NULL) {
		report(r, &x->frame, word, wrong, at);
		return false;
	}
	ref->more = name;
	ref->type = type_of(name);
	if (ref->type == FIELD_ANY)
		ref->known = path_index(r->arena, x, &name->path);
	return true;
}

static bool
prepare_dot(struct reading *r, const struct scope *scope, struct field_ref *ref, struct span at)
{
	return prepare(r, scope, ref, arena_slice(r->arena, ref->name), at);
}

static bool
prepare_bracket(struct reading *r, const struct scope *scope, struct field_ref *ref, struct span at)
{
	struct slice word = slice_of(arena_printf(r->arena, "[" SLICE_FORMAT, SLICE_ARG(ref->name)));

	return prepare(r, scope, ref, word, at);
}

const struct field declared_fields[] = {
	{ "msg.", FIELD_ANY, MOMENT_QUESTION, FIELD_FAMILY | FIELD_REPEATED, get_msg, prepare_dot,
	    "What stands in the message: a declared field, what the format of the body offers, len or "
	    "body. A body that is not of its format has no names, and a preface has nothing." },
	{ "msg[", FIELD_ANY, MOMENT_QUESTION, FIELD_FAMILY | FIELD_REPEATED, get_msg,
	    prepare_bracket, "The same by its place: msg[0]." },
	{ "code", FIELD_NUMBER, MOMENT_ANSWER, 0, get_code, NULL,
	    "The status that HTTP has for why the exchange failed." },
	{ 0 },
};
