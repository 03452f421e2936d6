/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Maps: from a field's value to a text. The entries are split by how they are
 * found; each keeps its place in the file, so the first one wins all the same.
 */
#include "core/field_map.h"

#include "core/match.h"

enum { MAP_DEPTH_MAX = 8 };

struct map_value {
	struct slice text;
	const struct map_result *result;
};

struct map_regex {
	struct regex *regex;
	struct value value;
	const struct map_result *result;
};

/* What a row fills: a value or a regex, and the result. */
struct map_entry_block {
	struct value value;
	struct value result;
};

const struct argument map_arguments[] = {
	{ .name = "NAME", .type = &type_name, .offset = offsetof(struct map_block, name) },
	{ .name = "FIELD", .type = &type_raw, .offset = offsetof(struct map_block, field) },
	{ 0 },
};

static const struct argument value_arguments[] = {
	{ .name = "VALUE", .type = &type_raw, .offset = offsetof(struct map_entry_block, value) },
	{ .name = "RESULT", .type = &type_raw, .offset = offsetof(struct map_entry_block, result) },
	{ 0 },
};

static const struct argument regex_arguments[] = {
	{ .name = "REGEX", .type = &type_raw, .offset = offsetof(struct map_entry_block, value) },
	{ .name = "RESULT", .type = &type_raw, .offset = offsetof(struct map_entry_block, result) },
	{ 0 },
};

static const struct argument otherwise_arguments[] = { { .name = "RESULT", .type = &type_raw },
	{ 0 } };

/* Values and regexes share a list, so that it is in file order. */
const struct directive map_rows[] = {
	{ .name = "default",
	    .kind = DIRECTIVE_SETTING,
	    .arguments = otherwise_arguments,
	    .offset = offsetof(struct map_block, otherwise),
	    .help = "The result when nothing else matches." },
	{ .name = "~",
	    .kind = DIRECTIVE_SETTING,
	    .flags = DIRECTIVE_REPEATS,
	    .arguments = regex_arguments,
	    .offset = offsetof(struct map_block, entries),
	    .size = sizeof(struct map_entry_block),
	    .help = "The result for values that the regular expression matches." },
	{ .name = "VALUE",
	    .kind = DIRECTIVE_SETTING,
	    .flags = DIRECTIVE_REPEATS | DIRECTIVE_FREE,
	    .arguments = value_arguments,
	    .offset = offsetof(struct map_block, entries),
	    .size = sizeof(struct map_entry_block),
	    .help = "The result for one value." },
	{ 0 },
};

static bool
add_result(struct reading *r, struct field_map *map, const struct value *v)
{
	struct map_result *result = &map->results[map->result_count];

	result->span = v->span;
	result->index = (uint32_t)map->result_count++;
	return schema_decode(r, v, false, &result->text);
}

static bool
add_value(struct reading *r, struct field_map *map, const struct value *v,
    const struct map_result *result)
{
	struct map_value *value = &map->values[map->value_count++];

	value->result = result;
	if (v->kind == VALUE_WORD &&
	    (slice_starts(v->raw, SLICE("~")) || slice_starts(v->raw, SLICE("*.")))) {
		diag_error(r->diag, v->span,
		    "\"%.*s\" is compared as it stands; a pattern is written: ~ \"REGEX\" RESULT",
		    SLICE_ARG(diag_word(v->raw)));
		return false;
	}
	if (!schema_decode(r, v, false, &value->text))
		return false;

	const struct map_value *same = map_find(&map->exact, value->text);

	if (same != NULL) {
		diag_error(r->diag, v->span, "map \"" SLICE_FORMAT "\" has this value already",
		    SLICE_ARG(diag_word(map->name)));
		diag_note(r->diag, same->result->span, "its result is here");
		return false;
	}
	map_add(&map->exact, value->text, value);
	return true;
}

static bool
add_regex(struct reading *r, struct field_map *map, const struct value *v,
    const struct map_result *result)
{
	struct regex *regex = regex_compile(r, v->raw, false, v->span);

	map->regexes[map->regex_count++] = (struct map_regex){ regex, *v, result };
	return regex != NULL;
}

/* Everything is looked at, so that all errors are reported. */
struct field_map *
field_map_build(struct reading *r, const struct map_block *block)
{
	struct field_map *map = arena_zalloc(r->arena, sizeof(*map));
	const struct filled *entries = block->entries.items;
	size_t n = block->entries.n;
	bool fine = block->field.kind == VALUE_WORD;

	if (!fine)
		diag_error(r->diag, block->field.span,
		    "a field is written without quotes: " SLICE_FORMAT,
		    SLICE_ARG(diag_word(block->field.raw)));
	map->name = arena_slice(r->arena, block->name.text);
	map->field = block->field;
	map->results = arena_array(r->arena, n + 1, sizeof(*map->results));
	map->values = arena_array(r->arena, n + 1, sizeof(*map->values));
	map->regexes = arena_array(r->arena, n + 1, sizeof(*map->regexes));
	map_init(&map->exact, r->arena, false);
	for (size_t i = 0; i < n; i++) {
		const struct map_entry_block *entry = entries[i].data;
		const struct map_result *result = &map->results[map->result_count];

		fine = add_result(r, map, &entry->result) && fine;
		if (entries[i].row->flags & DIRECTIVE_FREE)
			fine = add_value(r, map, &entry->value, result) && fine;
		else
			fine = add_regex(r, map, &entry->value, result) && fine;
	}
	if (block->otherwise.raw.at != NULL) {
		map->otherwise = &map->results[map->result_count];
		fine = add_result(r, map, &block->otherwise) && fine;
	}
	return fine ? map : NULL;
}

/* The field compares without case, and so does all of the map. */
static void
use_without_case(struct reading *r, const struct field_map *map, struct field_map_use *use)
{
	struct map *exact = arena_alloc(r->arena, sizeof(*exact));
	struct map_regex *regexes = arena_array(r->arena, map->regex_count + 1, sizeof(*regexes));

	map_init(exact, r->arena, true);
	for (size_t i = 0; i < map->value_count; i++)
		map_add(exact, map->values[i].text, &map->values[i]);
	for (size_t i = 0; i < map->regex_count; i++) {
		regexes[i] = map->regexes[i];
		regexes[i].regex =
		    regex_compile(r, regexes[i].value.raw, true, regexes[i].value.span);
	}
	use->exact = exact;
	use->regexes = regexes;
}

bool
field_map_use(struct reading *r, const struct scope *scope, const struct field_map *map,
    struct span at, struct field_map_use *out)
{
	struct scope inner = *scope;

	if (++inner.depth > MAP_DEPTH_MAX) {
		diag_error(r->diag, map->field.span, "maps ask for each other in a circle");
		return false;
	}
	/* the map is not part of the route that uses it */
	inner.captures = NULL;
	if (!field_find(r, &inner, map->field.raw, map->field.span, &out->ref)) {
		if (inner.depth == 1)
			diag_note(r->diag, at, "map \"" SLICE_FORMAT "\" is used here",
			    SLICE_ARG(diag_word(map->name)));
		return false;
	}
	out->map = map;
	out->exact = &map->exact;
	out->regexes = map->regexes;
	if (out->ref.field->flags & FIELD_NOCASE)
		use_without_case(r, map, out);
	return true;
}

/* The better of `best` and what `value` finds. */
static const struct map_result *
find_better(const struct field_map_use *use, struct exchange *ex, struct slice value,
    const struct map_result *best)
{
	const struct map_value *found = map_find(use->exact, value);
	size_t captures[2 * REGEX_CAPTURES_MAX];

	if (found != NULL && (best == NULL || found->result->index < best->index))
		best = found->result;
	for (size_t i = 0; i < use->map->regex_count; i++) {
		const struct map_regex *one = &use->regexes[i];

		if (best != NULL && one->result->index > best->index)
			break;
		if (one->regex != NULL && regex_match_in(ex, one->regex, value, captures))
			return one->result;
	}
	return best;
}

const struct map_result *
field_map_find(const struct field_map_use *use, struct exchange *ex)
{
	const struct map_result *best = NULL;
	struct slice value;

	for (size_t nth = 0; field_text_nth(ex, &use->ref, nth, &value); nth++)
		best = find_better(use, ex, value, best);
	return best != NULL ? best : use->map->otherwise;
}
