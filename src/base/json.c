/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A recursive walk, JSON_DEPTH deep at most. What is looked for goes down as a set of paths, one
 * bit each: those whose first steps lead to where the walk is. Where the set is empty, and in
 * strings, nothing is compared; strings are skipped sixteen (SSE2) or eight bytes a step.
 */
#include "base/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ------------------------------------------------------------------ strings */

#ifdef __SSE2__
/* A bit for each of sixteen bytes that may end a run. */
static inline __attribute__((always_inline)) unsigned
string_marks(const char *at, bool high)
{
	const __m128i x = _mm_loadu_si128((const __m128i *)at);
	/* to a signed comparison what is above 0x7f is below 0x20, too */
	const __m128i control = high ?
	    _mm_cmplt_epi8(x, _mm_set1_epi8(0x20)) :
	    _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);

	return (unsigned)_mm_movemask_epi8(_mm_or_si128(control,
	    _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')),
	    _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')))));
}
#endif

/*
 * The first byte at or behind `at` that may end a run: quote, backslash, below 0x20, and above
 * 0x7f when `high`. Without SSE2 it may stop early, at a byte that is none of them. Bytes from
 * `first` on may be read.
 */
static inline __attribute__((always_inline)) const char *
string_run(const char *first, const char *at, const char *end, bool high)
{
#ifdef __SSE2__
	unsigned bits;

	for (; end - at >= 16; at += 16) {
		bits = string_marks(at, high);
		if (bits != 0)
			return at + __builtin_ctz(bits);
	}
	if (end - first >= 16 && at < end) {
		/* the last sixteen; those in front of `at` do not count */
		bits = string_marks(end - 16, high) >> (16 - (end - at));
		return bits != 0 ? at + __builtin_ctz(bits) : end;
	}
#else
	const uint64_t each = UINT64_C(0x0101010101010101);

	for (; end - at >= 8; at += 8) {
		uint64_t x = bytes_word(at, 8), quote = x ^ each * '"', slash = x ^ each * '\\';
		uint64_t marks = ((x - each * 0x20) & ~x) | ((quote - each) & ~quote) |
		    ((slash - each) & ~slash) | (high ? x : 0);

		if ((marks & each * 0x80) != 0)
			return at + __builtin_ctzll(marks & each * 0x80) / 8;
	}
#endif
	while (at < end && (unsigned char)*at >= 0x20 && *at != '"' && *at != '\\' &&
	    !(high && (unsigned char)*at >= 0x80))
		at++;
	return at;
}

/* The four digits of \uXXXX; -1: they are not. */
static int32_t
hex4(const char *at, const char *end)
{
	int32_t code = 0;

	if (end - at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = ascii_hex_value(at[i]);

		if (digit < 0)
			return -1;
		code = code << 4 | digit;
	}
	return code;
}

/* How long the escape at `at`, a backslash, is; 0: it is none. */
static size_t
escape_length(const char *at, const char *end)
{
	if (end - at < 2)
		return 0;
	if (at[1] == 'u')
		return hex4(at + 2, end) < 0 ? 0 : 6;
	return at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL ? 2 : 0;
}

static size_t
utf8_put(uint32_t code, char out[4])
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}

	size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3f));
	out[0] = (char)(0xf00 >> n | code);
	return n;
}

/* Decodes the escape at `at`, which is a good one; returns how long it is. */
static size_t
unescape(const char *at, const char *end, char out[4], size_t *n)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";

	if (at[1] != 'u') {
		const char *found = strchr(from, at[1]);

		out[0] = found != NULL ? to[found - from] : at[1];
		*n = 1;
		return 2;
	}

	uint32_t code = (uint32_t)hex4(at + 2, end), low = 0;
	size_t taken = 6;

	if (code >> 10 == 0x36 && end - at >= 12 && at[6] == '\\' && at[7] == 'u')
		low = (uint32_t)hex4(at + 8, end);
	if (low >> 10 == 0x37) {
		code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
		taken = 12;
	} else if (code >> 11 == 0x1b) {
		code = 0xfffd;
	}
	*n = utf8_put(code, out);
	return taken;
}

APART static bool
unescape_all(const struct json_value *v, struct builder *room, struct slice *out)
{
	const char *at = v->raw.at, *end = at + v->raw.n;
	size_t start = room->n;

	while (at < end && !room->full) {
		const char *slash = memchr(at, '\\', (size_t)(end - at));
		char code[4];
		size_t n;

		if (slash == NULL)
			slash = end;
		builder_put(room, at, (size_t)(slash - at));
		if (slash == end)
			break;
		at = slash + unescape(slash, end, code, &n);
		builder_put(room, code, n);
	}
	if (room->full)
		return false;
	*out = slice_make(room->at + start, room->n - start);
	return true;
}

bool
json_string(const struct json_value *v, struct builder *room, struct slice *out)
{
	*out = v->raw;
	return !v->escaped || unescape_all(v, room, out);
}

static bool
escaped_is(struct slice raw, struct slice text, bool nocase)
{
	const char *at = raw.at, *end = at + raw.n;

	while (at < end) {
		char code[4] = { *at };
		size_t n = 1;

		at += *at == '\\' ? unescape(at, end, code, &n) : 1;
		if (text.n < n || !(nocase ? slice_equal_nocase(slice_make(code, n), slice_first(text, n)) :
			memcmp(text.at, code, n) == 0))
			return false;
		text = slice_after(text, n);
	}
	return text.n == 0;
}

static bool
string_is(struct slice raw, bool escaped, struct slice text)
{
	return escaped ? escaped_is(raw, text, false) : slice_equal(raw, text);
}

bool
json_string_is(const struct json_value *v, struct slice text)
{
	return v->type == JSON_STRING && string_is(v->raw, v->escaped, text);
}

/* ------------------------------------------------------------------ paths */

static bool
is_bare(char c)
{
	return c != '.' && c != '[' && c != ']' && c != '"';
}

/*
 * What stands in brackets, `text` behind the first one; how many bytes, with the last; 0: nothing
 * good.
 */
static size_t
bracket_parse(struct json_step *step, struct slice text)
{
	bool quoted = text.n > 0 && (text.at[0] == '"' || text.at[0] == '\'');
	uint64_t index;
	size_t n = slice_find(text, ']', 0);

	if (quoted) {
		n = slice_find(text, text.at[0], 1) + 1;
		if (n >= text.n || text.at[n] != ']')
			return 0;
		step->name = slice_make(text.at + 1, n - 2);
		return n + 1;
	}
	if (n == text.n || !slice_to_u64(slice_first(text, n), &index) || index > UINT32_MAX)
		return 0;
	step->name = (struct slice){ NULL, 0 };
	step->index = (uint32_t)index;
	return n + 1;
}

const char *
json_path_parse(struct json_path *path, struct slice text)
{
	size_t at = 0;

	path->count = 0;
	path->alone = false;
	while (at < text.n) {
		struct json_step step = { 0 };
		size_t n = 0;

		if (path->count == JSON_STEPS)
			return "more than 8 steps";
		if (text.at[at] == '[') {
			n = bracket_parse(&step, slice_after(text, at + 1));
			if (n == 0)
				return "in brackets stands a number or a quoted name";
			at += n + 1;
		} else {
			if (path->count > 0 && text.at[at++] != '.')
				return "a dot or a bracket is missing";
			while (at + n < text.n && is_bare(text.at[at + n]))
				n++;
			if (n == 0)
				return "a name is missing";
			step.name = slice_make(text.at + at, n);
			at += n;
		}
		path->steps[path->count++] = step;
	}
	return NULL;
}

/* ------------------------------------------------------------------ the walk */

struct walk {
	const char *at, *first, *end;
	const struct json_path *paths;
	struct json_value *values;
	enum json_verdict verdict;
};

static bool walk_value(struct walk *w, uint32_t wanted, unsigned depth);

static bool
walk_wrong(struct walk *w, enum json_verdict verdict)
{
	w->verdict = verdict;
	return false;
}

static inline void
walk_blanks(struct walk *w)
{
	while (w->at < w->end && json_is_blank(*w->at))
		w->at++;
}

/* The byte that the walk is at; 0, which JSON has none of, at the end. */
static inline char
walk_byte(const struct walk *w)
{
	return w->at < w->end ? *w->at : '\0';
}

/* A string, on at a byte that is none of a run, to its last quote. */
APART static bool
walk_odd_string(struct walk *w, struct json_value *v)
{
	for (char c; (c = walk_byte(w)) != '"';) {
		size_t n = 1;

		if (c == '\\') {
			v->escaped = true;
			n = escape_length(w->at, w->end);
		} else if ((unsigned char)c < 0x20) {
			n = 0;
		} else if ((unsigned char)c >= 0x80) {
			n = utf8_length(slice_make(w->at, (size_t)(w->end - w->at)));
		}
		if (n == 0)
			return walk_wrong(w, JSON_MALFORMED);
		w->at = string_run(w->first, w->at + n, w->end, true);
	}
	return true;
}

/* At its first quote. */
static bool
walk_string(struct walk *w, struct json_value *v)
{
	const char *first = ++w->at;

	v->type = JSON_STRING;
	v->escaped = false;
	w->at = string_run(w->first, w->at, w->end, true);
	if (unlikely(walk_byte(w) != '"') && !walk_odd_string(w, v))
		return false;
	v->raw = slice_make(first, (size_t)(w->at - first));
	w->at++;
	return true;
}

static bool
walk_digits(struct walk *w)
{
	const char *first = w->at;

	while (ascii_is_digit(walk_byte(w)))
		w->at++;
	return w->at > first;
}

/* RFC 8259 6: no plus, no zeros in front, digits on both sides of the point. */
static bool
walk_number(struct walk *w, struct json_value *v)
{
	const char *first = w->at;
	bool good;

	w->at += *w->at == '-';
	if (walk_byte(w) == '0') {
		w->at++;
		good = true;
	} else {
		good = walk_digits(w);
	}
	if (good && walk_byte(w) == '.') {
		w->at++;
		good = walk_digits(w);
	}
	if (good && (walk_byte(w) | 0x20) == 'e') {
		w->at++;
		w->at += walk_byte(w) == '-' || walk_byte(w) == '+';
		good = walk_digits(w);
	}
	*v = (struct json_value){ JSON_NUMBER, slice_make(first, (size_t)(w->at - first)), false };
	return good || walk_wrong(w, JSON_MALFORMED);
}

static bool
walk_word(struct walk *w, struct json_value *v)
{
	static const struct {
		struct slice word;
		enum json_type type;
	} words[] = {
		{ SLICE("true"), JSON_BOOL },
		{ SLICE("false"), JSON_BOOL },
		{ SLICE("null"), JSON_NULL },
	};
	struct slice rest = slice_make(w->at, (size_t)(w->end - w->at));

	for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
		if (slice_starts(rest, words[i].word)) {
			v->type = words[i].type;
			v->raw = slice_first(rest, words[i].word.n);
			w->at += v->raw.n;
			return true;
		}
	}
	return walk_wrong(w, JSON_MALFORMED);
}

/* Those of `wanted` whose next step is that name. */
static uint32_t
paths_named(const struct walk *w, uint32_t wanted, unsigned depth, const struct json_value *name)
{
	uint32_t found = 0;

	for (uint32_t left = wanted; left != 0; left &= left - 1) {
		const struct json_path *path = &w->paths[__builtin_ctz(left)];

		if (path->count > depth && path->steps[depth].name.at != NULL &&
		    string_is(name->raw, name->escaped, path->steps[depth].name))
			found |= left & -left;
	}
	return found;
}

/* Another reader may take this name for one that is wanted. */
static bool
is_twin(const struct walk *w, uint32_t wanted, unsigned depth, const struct json_value *name)
{
	for (uint32_t left = wanted; left != 0; left &= left - 1) {
		const struct json_path *path = &w->paths[__builtin_ctz(left)];
		const struct json_step *step = &path->steps[depth];

		if (path->alone && path->count > depth && step->name.at != NULL &&
		    escaped_is(name->raw, step->name, true) &&
		    !string_is(name->raw, name->escaped, step->name))
			return true;
	}
	return false;
}

static uint32_t
paths_indexed(const struct walk *w, uint32_t wanted, unsigned depth, uint32_t index)
{
	uint32_t found = 0;

	for (uint32_t left = wanted; left != 0; left &= left - 1) {
		const struct json_path *path = &w->paths[__builtin_ctz(left)];

		if (path->count > depth && path->steps[depth].name.at == NULL &&
		    path->steps[depth].index == index)
			found |= left & -left;
	}
	return found;
}

static bool
walk_member(struct walk *w, uint32_t wanted, unsigned depth, uint32_t *seen)
{
	struct json_value name;
	uint32_t here = 0;

	if (walk_byte(w) != '"')
		return walk_wrong(w, JSON_MALFORMED);

	const char *first = w->at;

	if (!walk_string(w, &name))
		return false;
	if (wanted != 0)
		here = paths_named(w, wanted, depth, &name);
	if ((here & *seen) != 0 || (wanted != here && is_twin(w, wanted, depth, &name))) {
		w->at = first;
		return walk_wrong(w, JSON_REPEATED);
	}
	*seen |= here;
	walk_blanks(w);
	if (walk_byte(w) != ':')
		return walk_wrong(w, JSON_MALFORMED);
	w->at++;
	walk_blanks(w);
	return walk_value(w, here, depth + 1);
}

/* At its bracket. `wanted` are those paths whose `depth` first steps lead here. */
static bool
walk_container(struct walk *w, uint32_t wanted, unsigned depth, bool object)
{
	const char close = object ? '}' : ']';
	uint32_t seen = 0, index = 0;

	if (depth == JSON_DEPTH)
		return walk_wrong(w, JSON_TOO_DEEP);
	w->at++;
	walk_blanks(w);
	if (walk_byte(w) == close) {
		w->at++;
		return true;
	}
	for (;; index++) {
		bool good;

		if (object)
			good = walk_member(w, wanted, depth, &seen);
		else
			good = walk_value(w, paths_indexed(w, wanted, depth, index), depth + 1);
		if (!good)
			return false;
		walk_blanks(w);
		if (walk_byte(w) == close)
			break;
		if (walk_byte(w) != ',')
			return walk_wrong(w, JSON_MALFORMED);
		w->at++;
		walk_blanks(w);
	}
	w->at++;
	return true;
}

static bool
walk_value(struct walk *w, uint32_t wanted, unsigned depth)
{
	const char *first = w->at;
	char c = walk_byte(w);
	struct json_value v = { 0 };
	bool good;

	if (c == '"') {
		good = walk_string(w, &v);
	} else if (c == '{' || c == '[') {
		good = walk_container(w, wanted, depth, c == '{');
		v.type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
		v.raw = slice_make(first, (size_t)(w->at - first));
	} else if (c == '-' || ascii_is_digit(c)) {
		good = walk_number(w, &v);
	} else {
		good = walk_word(w, &v);
	}
	if (!good)
		return false;
	for (uint32_t left = wanted; left != 0; left &= left - 1)
		if (w->paths[__builtin_ctz(left)].count == depth)
			w->values[__builtin_ctz(left)] = v;
	return true;
}

enum json_verdict
json_find(struct slice text, const struct json_path *paths, size_t count, struct json_value *values,
    size_t *bad)
{
	struct walk w = { text.at, text.at, text.at + text.n, paths, values, JSON_GOOD };

	for (size_t i = 0; i < count; i++)
		values[i] = (struct json_value){ 0 };
	walk_blanks(&w);

	bool good = walk_value(&w, (uint32_t)((UINT64_C(1) << count) - 1), 0);

	walk_blanks(&w);
	if (good && w.at < w.end)
		good = walk_wrong(&w, JSON_MALFORMED);
	for (size_t i = 0; i < count && !good; i++)
		values[i] = (struct json_value){ 0 };
	if (bad != NULL)
		*bad = (size_t)(w.at - text.at);
	return w.verdict;
}

bool
json_integer(const struct json_value *v, int64_t *out)
{
	bool minus = v->raw.n > 0 && v->raw.at[0] == '-';
	uint64_t number;

	if (v->type != JSON_NUMBER || !slice_to_u64(slice_after(v->raw, minus), &number) ||
	    number > (uint64_t)INT64_MAX + minus)
		return false;
	*out = (int64_t)(minus ? -number : number);
	return true;
}

/* ------------------------------------------------------------------ the end of a value */

enum { END_BEFORE, END_BARE, END_BETWEEN, END_STRING, END_ESCAPE, END_OVER };

/* What a byte outside of strings is. */
enum { BYTE_BAD, BYTE_BLANK, BYTE_BARE, BYTE_BETWEEN, BYTE_QUOTE, BYTE_OPEN, BYTE_CLOSE };

static const uint8_t byte_kinds[256] = {
	[' '] = BYTE_BLANK, ['\t'] = BYTE_BLANK, ['\r'] = BYTE_BLANK, ['\n'] = BYTE_BLANK,
	['0' ... '9'] = BYTE_BARE, ['-'] = BYTE_BARE, ['+'] = BYTE_BARE, ['.'] = BYTE_BARE,
	['a' ... 'z'] = BYTE_BARE, ['E'] = BYTE_BARE,
	[','] = BYTE_BETWEEN, [':'] = BYTE_BETWEEN, ['"'] = BYTE_QUOTE,
	['{'] = BYTE_OPEN, ['['] = BYTE_OPEN, ['}'] = BYTE_CLOSE, [']'] = BYTE_CLOSE,
};

static bool
end_open(struct json_end *e, char c)
{
	if (e->depth == JSON_DEPTH)
		return false;
	e->objects = e->objects << 1 | (c == '{');
	e->depth++;
	e->where = END_BETWEEN;
	return true;
}

static bool
end_close(struct json_end *e, char c)
{
	if (e->depth == 0 || (c == '}') != (e->objects & 1))
		return false;
	e->objects >>= 1;
	e->depth--;
	if (e->depth == 0)
		e->where = END_OVER;
	return true;
}

/* In a string, or behind a backslash; up to its quote. */
static const char *
end_string(struct json_end *e, const char *first, const char *at, const char *end)
{
	if (e->where == END_ESCAPE) {
		e->where = END_STRING;
		return at + 1;
	}
	at = string_run(first, at, end, false);
	if (at == end)
		return at;
	if (*at == '\\')
		e->where = END_ESCAPE;
	else if (*at == '"')
		e->where = e->depth == 0 ? END_OVER : END_BETWEEN;
	else if ((unsigned char)*at < 0x20)
		return NULL;
	return at + 1;
}

/* One byte outside of strings; false: it may not stand there. */
static bool
end_byte(struct json_end *e, char c)
{
	switch (byte_kinds[(unsigned char)c]) {
	case BYTE_BLANK:
		return true;
	case BYTE_BARE:
		if (e->where != END_BEFORE)
			return true;
		e->where = END_BARE;
		return c != '+' && c != '.' && c != 'E';
	case BYTE_BETWEEN:
		return e->where == END_BETWEEN;
	case BYTE_QUOTE:
		e->where = END_STRING;
		return true;
	case BYTE_OPEN:
		return end_open(e, c);
	case BYTE_CLOSE:
		return end_close(e, c);
	default:
		return false;
	}
}

enum json_end_verdict
json_end(struct json_end *e, struct slice in, size_t *taken)
{
	const char *at = in.at, *end = in.at + in.n;

	while (at < end && e->where != END_OVER) {
		if (e->where == END_STRING || e->where == END_ESCAPE) {
			at = end_string(e, in.at, at, end);
			if (at == NULL)
				return JSON_END_BAD;
		} else if (e->where == END_BARE && byte_kinds[(unsigned char)*at] != BYTE_BARE) {
			e->where = END_OVER;
		} else if (!end_byte(e, *at++)) {
			return JSON_END_BAD;
		}
	}
	*taken = (size_t)(at - in.at);
	return e->where == END_OVER ? JSON_END_FOUND : JSON_END_MORE;
}

bool
json_end_closes(const struct json_end *e)
{
	return e->where == END_BARE;
}
