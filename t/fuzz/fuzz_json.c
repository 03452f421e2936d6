/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON texts: a walk that looks for something says of the text what a walk that looks for nothing
 * says (names that stand twice aside); what it finds lies in the text and is a value itself. The
 * end of a value is the same however its bytes are cut, and a good text has one.
 */
#include "base/json.h"
#include "base/memory.h"
#include "fuzz.h"

static void
check_value(struct slice text, const struct json_value *v)
{
	struct json_value again;
	struct json_path whole = { .count = 0 };
	struct slice inside = v->raw;
	int64_t number;

	if (v->type == JSON_ABSENT)
		return;
	if (v->type == JSON_STRING)
		inside = slice_make(inside.at - 1, inside.n + 2);
	MUST(inside.at >= text.at && inside.at + inside.n <= text.at + text.n);
	MUST(json_find(inside, &whole, 1, &again, NULL) == JSON_GOOD);
	MUST(again.type == v->type && slice_equal(again.raw, v->raw) && again.escaped == v->escaped);
	MUST(!json_integer(v, &number) || v->type == JSON_NUMBER);
	if (v->type != JSON_STRING)
		return;

	struct builder room = builder_on(memory_alloc(v->raw.n), v->raw.n);
	struct slice decoded;

	/* decoded is never longer, and nothing but itself */
	MUST(json_string(v, &room, &decoded) && json_string_is(v, decoded));
	MUST(decoded.n <= v->raw.n && (v->escaped || slice_equal(decoded, v->raw)));
	free(room.at);
}

static void
check_paths(struct slice text, enum json_verdict plain)
{
	static const char *const words[] = { "", "a", "a.b", "[0]", "[1].a", "a[0]", "type", "id", "['']" };
	struct json_path paths[ARRAY_COUNT(words)];
	struct json_value values[ARRAY_COUNT(words)], one;
	size_t bad;

	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		MUST(json_path_parse(&paths[i], slice_of(words[i])) == NULL);

	enum json_verdict verdict = json_find(text, paths, ARRAY_COUNT(words), values, &bad);

	MUST(bad <= text.n);
	MUST(verdict == plain || verdict == JSON_REPEATED);
	for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
		check_value(text, &values[i]);
		if (verdict != JSON_GOOD)
			continue;
		MUST(json_find(text, &paths[i], 1, &one, NULL) == JSON_GOOD);
		MUST(one.type == values[i].type && one.raw.at == values[i].raw.at && one.raw.n == values[i].raw.n);
	}
}

static enum json_end_verdict
end_of(struct slice s, size_t step, size_t *end, bool *closes)
{
	struct json_end e = { 0 };
	enum json_end_verdict verdict = JSON_END_MORE;

	for (*end = 0; *end < s.n && verdict == JSON_END_MORE;) {
		size_t taken, n = MIN_OF(step, s.n - *end);

		verdict = json_end(&e, slice_make(s.at + *end, n), &taken);
		if (verdict == JSON_END_BAD)
			break;
		MUST(taken <= n && (taken == n || verdict == JSON_END_FOUND));
		*end += taken;
	}
	*closes = json_end_closes(&e);
	return verdict;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice text = slice_make((const char *)data, n);
	enum json_verdict plain = json_find(text, NULL, 0, NULL, NULL);
	size_t end, once;
	bool closes, closes_once;
	enum json_end_verdict whole = end_of(text, SIZE_MAX, &once, &closes_once);

	check_paths(text, plain);
	for (size_t step = 1; step <= 17; step += step < 3 ? 1 : 7) {
		enum json_end_verdict verdict = end_of(text, step, &end, &closes);

		MUST(verdict == whole && (verdict == JSON_END_BAD || (end == once && closes == closes_once)));
	}
	if (plain == JSON_GOOD)
		MUST(whole == JSON_END_FOUND || closes_once);
	if (whole == JSON_END_FOUND && plain == JSON_GOOD)
		MUST(json_find(slice_first(text, once), NULL, 0, NULL, NULL) == JSON_GOOD);
	/* a path is foreign to nobody, but a configuration is text too */
	struct json_path path;
	MUST(json_path_parse(&path, slice_first(text, MIN_OF(n, (size_t)64))) != NULL || path.count <= JSON_STEPS);
	return 0;
}
