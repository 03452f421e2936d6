/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every malformed request is refused with a sentence: nothing is guessed, nothing is skipped.
 */
#include "server/control_request.h"

/* ------------------------------------------------------------------ lines and words */

/* The first thing that is wrong with these bytes; NULL: nothing. */
static const char *
fault_of(struct slice line)
{
	for (size_t i = 0; i < line.n;) {
		size_t n = utf8_length(slice_after(line, i));

		if (n == 0)
			return "the request is not UTF-8";
		if (!utf8_printable(slice_after(line, i), &n) && line.at[i] != '\t')
			return "the request has a control byte in it";
		i += n;
	}
	return NULL;
}

static const char *
split(struct control_request *r, struct slice line)
{
	struct slice word;

	r->count = 0;
	if (line.n == 0 || line.at[line.n - 1] == '\t')
		return "the request has an empty word";
	while (slice_split(&line, '\t', &word)) {
		if (word.n == 0)
			return "the request has an empty word";
		if (r->count == CONTROL_WORDS_MAX)
			return "the request has too many words";
		r->words[r->count++] = word;
	}
	return NULL;
}

enum control_reading
control_request_read(struct control_request *r, struct slice in, const char **fault)
{
	size_t end = slice_find(in, '\n', 0);

	*fault = NULL;
	if (end >= CONTROL_REQUEST_MAX)
		*fault = "the request is longer than 1024 bytes";
	else if (end == in.n)
		return CONTROL_MORE;
	else if (end + 1 != in.n)
		*fault = "a connection has one request, and more came behind it";
	if (*fault == NULL)
		*fault = fault_of(slice_first(in, end));
	if (*fault == NULL)
		*fault = split(r, slice_first(in, end));
	return *fault == NULL ? CONTROL_WHOLE : CONTROL_BAD;
}

bool
control_request_write(struct builder *b, const struct slice *words, size_t count)
{
	struct control_request again;
	const char *fault;
	size_t begin = b->n;

	for (size_t i = 0; i < count; i++) {
		/* One with a TAB in it would be read as two. */
		if (slice_find(words[i], '\t', 0) != words[i].n)
			return false;
		builder_slice_put(b, words[i]);
		builder_byte(b, i + 1 < count ? '\t' : '\n');
	}
	return !b->full && control_request_read(&again, slice_after(builder_slice(b), begin), &fault) ==
	    CONTROL_WHOLE;
}

/* ------------------------------------------------------------------ ids */

bool
control_id_read(struct slice text, struct slice *worker, uint64_t *number)
{
	size_t dot = slice_find(text, '.', 0);

	if (dot == 0 || dot == text.n)
		return false;
	*worker = slice_first(text, dot);
	return slice_to_u64(slice_after(text, dot + 1), number) && *number != 0;
}

/* ------------------------------------------------------------------ filters */

/* 30s, 5m, 500ms, 1h, 2d: one number and its unit. */
static bool
read_duration(struct slice text, uint64_t *ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 },
		{ "d", 24 * 3600 * 1000 } };
	size_t digits = 0;

	while (digits < text.n && ascii_is_digit(text.at[digits]))
		digits++;
	if (!slice_to_u64(slice_first(text, digits), ms))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(units); i++)
		if (slice_is(slice_after(text, digits), units[i].unit))
			return !__builtin_mul_overflow(*ms, units[i].ms, ms);
	return false;
}

static const char *
take_name(char *to, struct slice value)
{
	if (value.n >= CONTROL_NAME_MAX)
		return "the name is too long";
	memcpy(to, value.at, value.n);
	to[value.n] = '\0';
	return NULL;
}

static const char *
take_word(char *to, struct slice value, const char *const *words, const char *fault)
{
	for (; *words != NULL; words++)
		if (slice_is(value, *words))
			return take_name(to, value);
	return fault;
}

static const char *
take_limit(struct control_filter *f, struct slice value)
{
	uint64_t n;

	if (!slice_to_u64(value, &n) || n == 0 || n > CONTROL_ROWS_MAX)
		return "the limit is a number from 1 to 100000";
	f->limit = (uint32_t)n;
	return NULL;
}

static const char *
take_equal(struct control_filter *f, struct slice name, struct slice value)
{
	static const char *const sides[] = { "client", "peer", NULL };
	static const char *const states[] = { "connecting", "idle", "asking", "tunnel", "closing",
		NULL };

	if (slice_is(name, "server"))
		return take_name(f->server, value);
	if (slice_is(name, "upstream"))
		return take_name(f->upstream, value);
	if (slice_is(name, "protocol"))
		return take_name(f->protocol, value);
	if (slice_is(name, "state"))
		return take_word(f->state, value, states,
		    "a state is connecting, idle, asking, tunnel or closing");
	if (slice_is(name, "side"))
		return take_word(f->side, value, sides, "a side is client or peer");
	if (slice_is(name, "limit"))
		return take_limit(f, value);
	if (slice_is(name, "src"))
		return network_parse(value, &f->source) != NETWORK_BAD ? NULL :
		    "src is an address or a network: 10.0.0.0/8";
	return "there is no such filter: server= upstream= protocol= state= side= src= limit= "
	       "idle> idle< age> age<";
}

static const char *
take_span(struct control_filter *f, struct slice name, char sign, struct slice value)
{
	bool idle = slice_is(name, "idle");
	uint64_t *to = sign == '>' ? (idle ? &f->idle_over : &f->age_over)
				   : (idle ? &f->idle_under : &f->age_under);

	if (!idle && !slice_is(name, "age"))
		return "only idle and age are compared";
	return read_duration(value, to) ? NULL : "a duration is a number and ms, s, m, h or d";
}

static const char *
take(struct control_filter *f, struct slice word)
{
	size_t at = 0;

	while (at < word.n && strchr("=<>", word.at[at]) == NULL)
		at++;
	if (at + 1 >= word.n)
		return "a filter is a name, one of = < >, and a value";

	struct slice name = slice_first(word, at), value = slice_after(word, at + 1);

	return word.at[at] == '=' ? take_equal(f, name, value)
				  : take_span(f, name, word.at[at], value);
}

bool
control_filter_read(
    struct control_filter *f, const struct slice *words, size_t count, struct builder *fault)
{
	memset(f, 0, sizeof(*f));
	f->idle_under = f->age_under = UINT64_MAX;
	f->limit = CONTROL_ROWS;
	for (size_t i = 0; i < count; i++) {
		const char *wrong = take(f, words[i]);

		if (wrong == NULL)
			continue;
		builder_slice_put(fault, words[i]);
		builder_text(fault, ": ");
		builder_text(fault, wrong);
		return false;
	}
	return true;
}
