/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The formats, each a row: how a name is prepared, how its value is found in a body. Nothing is
 * kept between two calls: who asks often keeps what it got.
 */
#include "protocols/frame/format.h"

struct format {
	const char *word;
	/* NULL: only len, body and declared fields */
	const char *(*parse)(struct slice word, struct frame_name *name);
	enum frame_value_verdict (*get)(const struct frame_name *name, struct slice body,
	    size_t nth, struct builder *room, struct frame_value *value);
};

static void
take_text(struct frame_value *value, struct slice text)
{
	*value = (struct frame_value){ .kind = FRAME_VALUE_TEXT, .text = text, .raw = text };
}

/* ------------------------------------------------------------------ json */

static const char *
json_name(struct slice word, struct frame_name *name)
{
	return json_path_parse(&name->path, word);
}

enum frame_value_verdict
frame_value_of_json(const struct json_value *v, struct builder *room, struct frame_value *value)
{
	take_text(value, v->raw);
	switch (v->type) {
	case JSON_ABSENT:
		return FRAME_VALUE_ABSENT;
	case JSON_STRING:
		value->raw = slice_make(v->raw.at - 1, v->raw.n + 2);
		return json_string(v, room, &value->text) ? FRAME_VALUE_FOUND : FRAME_VALUE_NO_ROOM;
	case JSON_NUMBER:
		value->kind =
		    json_integer(v, &value->number) ? FRAME_VALUE_NUMBER : FRAME_VALUE_BARE;
		return FRAME_VALUE_FOUND;
	case JSON_NULL:
	case JSON_BOOL:
		value->kind = FRAME_VALUE_BARE;
		return FRAME_VALUE_FOUND;
	case JSON_ARRAY:
	case JSON_OBJECT:
		value->kind = FRAME_VALUE_TREE;
		return FRAME_VALUE_FOUND;
	}
	return FRAME_VALUE_ABSENT;
}

static enum frame_value_verdict
json_get(const struct frame_name *name, struct slice body, size_t nth, struct builder *room,
    struct frame_value *value)
{
	struct json_value v;

	if (json_find(body, &name->path, 1, &v, NULL) != JSON_GOOD)
		return FRAME_VALUE_MALFORMED;
	return nth > 0 ? FRAME_VALUE_ABSENT : frame_value_of_json(&v, room, value);
}

/* ------------------------------------------------------------------ words */

static const char *
words_name(struct slice word, struct frame_name *name)
{
	const char *wrong = json_path_parse(&name->path, word);

	if (wrong != NULL || name->path.count != 1 || name->path.steps[0].name.at != NULL)
		return "words have numbers: msg[0]";
	name->index = name->path.steps[0].index;
	return NULL;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum frame_value_verdict
words_get(const struct frame_name *name, struct slice body, size_t nth, struct builder *room,
    struct frame_value *value)
{
	const char *at = body.at, *end = body.at + body.n;

	for (uint32_t i = 0; nth == 0; i++) {
		while (at < end && is_blank(*at))
			at++;

		const char *first = at;

		while (at < end && !is_blank(*at))
			at++;
		if (first == at)
			break;
		if (i == name->index) {
			take_text(value, slice_make(first, (size_t)(at - first)));
			return FRAME_VALUE_FOUND;
		}
	}
	return FRAME_VALUE_ABSENT;
}

/* ------------------------------------------------------------------ kv */

static const char *
kv_name(struct slice word, struct frame_name *name)
{
	name->word = word;
	if (word.n > 4 && word.at[0] == '[' && word.at[1] == '"' && slice_ends(word, SLICE("\"]")))
		name->word = slice_make(word.at + 2, word.n - 4);
	return word.n > 0 ? NULL : "a name is missing";
}

static enum frame_value_verdict
kv_get(const struct frame_name *name, struct slice body, size_t nth, struct builder *room,
    struct frame_value *value)
{
	const char equals = name->frame->equals, between = name->frame->between;
	struct slice pair;

	while (slice_split(&body, between, &pair)) {
		size_t n = slice_find(pair, equals, 0);

		if (!slice_equal(slice_trim(slice_first(pair, n)), name->word) || nth-- > 0)
			continue;
		take_text(value, slice_trim(slice_after(pair, MIN_OF(n + 1, pair.n))));
		return FRAME_VALUE_FOUND;
	}
	return FRAME_VALUE_ABSENT;
}

/* ------------------------------------------------------------------ all of them */

static const struct format formats[FORMAT_COUNT] = {
	[FORMAT_TEXT] = { "text", NULL, NULL },
	[FORMAT_JSON] = { "json", json_name, json_get },
	[FORMAT_WORDS] = { "words", words_name, words_get },
	[FORMAT_KV] = { "kv", kv_name, kv_get },
	[FORMAT_BINARY] = { "binary", NULL, NULL },
};

enum frame_format
frame_format_find(struct slice word)
{
	unsigned i = 0;

	while (i < FORMAT_COUNT && !slice_is(word, formats[i].word))
		i++;
	return i;
}

const char *
frame_format_word(enum frame_format format)
{
	return formats[format].word;
}

const char *
frame_name_parse(const struct frame *f, struct slice word, struct frame_name *name)
{
	*name = (struct frame_name){ .frame = f };
	if (slice_is(word, "len")) {
		name->kind = FRAME_NAME_LEN;
		return NULL;
	}
	if (slice_is(word, "body")) {
		name->kind = FRAME_NAME_BODY;
		return NULL;
	}
	for (size_t i = 0; i < f->field_count; i++) {
		if (slice_equal(word, f->fields[i].name)) {
			name->kind = FRAME_NAME_FIELD;
			name->field = &f->fields[i];
			return NULL;
		}
	}
	name->kind = FRAME_NAME_FORMAT;
	if (formats[f->format].parse == NULL)
		return "no field of that name is declared";
	return word.n == 0 ? "a name is missing" : formats[f->format].parse(word, name);
}

static enum frame_value_verdict
field_get(const struct frame_field *field, struct slice inner, struct frame_value *value)
{
	size_t taken;
	uint64_t bits;

	/* frame_check has proved it; a view made by hand has not been seen there */
	if (field->at > inner.n || inner.n - field->at < field->number.width)
		return FRAME_VALUE_ABSENT;

	struct slice raw = slice_make(inner.at + field->at, field->number.width);

	take_text(value, raw);
	if (field->number.form == NUMBER_BYTES)
		return FRAME_VALUE_FOUND;
	value->text = SLICE_EMPTY;
	if (number_read(&field->number, raw, &bits, &taken) != NUMBER_GOOD)
		return FRAME_VALUE_MALFORMED;
	value->number = (int64_t)bits;
	value->kind = bits > INT64_MAX && field->number.form != NUMBER_SIGNED ?
	    FRAME_VALUE_UNSIGNED : FRAME_VALUE_NUMBER;
	return FRAME_VALUE_FOUND;
}

enum frame_value_verdict
frame_name_get(const struct frame_name *name, const struct frame_view *view, size_t nth,
    struct builder *room, struct frame_value *value)
{
	if (view->of != name->frame || (nth > 0 && name->kind != FRAME_NAME_FORMAT))
		return FRAME_VALUE_ABSENT;
	switch (name->kind) {
	case FRAME_NAME_LEN:
		*value = (struct frame_value){ FRAME_VALUE_NUMBER, .number = (int64_t)view->body.n };
		return FRAME_VALUE_FOUND;
	case FRAME_NAME_BODY:
		take_text(value, view->body);
		return FRAME_VALUE_FOUND;
	case FRAME_NAME_FIELD:
		return field_get(name->field, view->inner, value);
	case FRAME_NAME_FORMAT:
		return formats[name->frame->format].get(name, view->body, nth, room, value);
	}
	return FRAME_VALUE_ABSENT;
}
