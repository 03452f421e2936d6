/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The words of a question. An inline command is split as redis itself splits it, byte for byte:
 * what a route refuses must not reach redis in other clothes ("FLUSH\x41LL").
 */
#include "protocols/resp/resp.h"

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
ends_word(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void
resp_words_begin_line(struct resp_words *w, struct slice line)
{
	*w = (struct resp_words){ line, true, NULL };
}

void
resp_words_begin(struct resp_words *w, struct slice wire)
{
	*w = (struct resp_words){ wire, wire.at[0] != '*', NULL };
	if (!w->is_line)
		w->rest = slice_after(wire, slice_find(wire, '\n', 0) + 1);
}

/* ------------------------------------------------------------------ inline */

/* One byte of what stands in double quotes, at *at. */
static char
unescape(struct slice in, size_t *at)
{
	static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
	const char *c = in.at + *at;
	size_t left = in.n - *at;

	if (c[0] != '\\' || left < 2) {
		*at += 1;
		return c[0];
	}
	if (left >= 4 && c[1] == 'x' && ascii_hex_value(c[2]) >= 0 && ascii_hex_value(c[3]) >= 0) {
		*at += 4;
		return (char)(ascii_hex_value(c[2]) << 4 | ascii_hex_value(c[3]));
	}
	*at += 2;

	const char *known = c[1] == '\0' ? NULL : strchr(from, c[1]);

	return known == NULL ? c[1] : to[known - from];
}

/* What stands in quotes, behind the first; 0: it does not end, or not where a word may. */
static size_t
take_quoted(struct slice in, size_t at, struct builder *out)
{
	char quote = in.at[at++];

	while (at < in.n && in.at[at] != quote) {
		if (quote == '"') {
			builder_byte(out, unescape(in, &at));
			continue;
		}
		if (in.at[at] == '\\' && in.n - at > 1 && in.at[at + 1] == '\'')
			at++;
		builder_byte(out, in.at[at++]);
	}
	if (at >= in.n || (in.n - at > 1 && !is_blank(in.at[at + 1])))
		return 0;
	return at + 1;
}

/* How many bytes a word has as it stands; 0: its quotes are bad. */
static size_t
take_word(struct slice in, struct builder *out, bool *quoted)
{
	size_t at = 0;

	*quoted = false;
	while (at < in.n && !ends_word(in.at[at])) {
		if (in.at[at] == '"' || in.at[at] == '\'') {
			*quoted = true;
			return take_quoted(in, at, out);
		}
		builder_byte(out, in.at[at++]);
	}
	return at;
}

static bool
next_in_line(struct resp_words *w, struct scratch *scratch, struct slice *word)
{
	size_t blank = 0;
	bool quoted;

	while (blank < w->rest.n && is_blank(w->rest.at[blank]))
		blank++;
	w->rest = slice_after(w->rest, blank);
	if (w->rest.n == 0)
		return false;

	/* first how long it is: a builder without room */
	struct builder room = builder_on(NULL, 0);
	size_t n = take_word(w->rest, &room, &quoted);

	if (n == 0) {
		w->fault = "bad_quotes";
		return false;
	}
	*word = slice_first(w->rest, n);
	if (quoted && scratch != NULL) {
		room = builder_on(scratch_alloc(scratch, n), n);
		take_word(w->rest, &room, &quoted);
		*word = builder_slice(&room);
	} else if (quoted) {
		*word = SLICE_EMPTY;
	}
	w->rest = slice_after(w->rest, n);
	return true;
}

/* ------------------------------------------------------------------ any */

bool
resp_words_next(struct resp_words *w, struct scratch *scratch, struct slice *word)
{
	uint64_t n;

	if (w->is_line)
		return next_in_line(w, scratch, word);
	if (w->rest.n == 0)
		return false;

	size_t head = slice_find(w->rest, '\n', 0) + 1;

	if (head < 4 || head > w->rest.n ||
	    !slice_to_u64(slice_make(w->rest.at + 1, head - 3), &n) || n > w->rest.n - head ||
	    w->rest.n - head - n < 2)
		return false;
	*word = slice_make(w->rest.at + head, n);
	w->rest = slice_after(w->rest, head + n + 2);
	return true;
}

bool
resp_word(struct slice wire, size_t nth, struct scratch *scratch, struct slice *word)
{
	struct resp_words w;

	resp_words_begin(&w, wire);
	for (size_t i = 0; i < nth; i++)
		if (!resp_words_next(&w, NULL, word))
			return false;
	return resp_words_next(&w, scratch, word);
}

size_t
resp_word_count(struct slice wire)
{
	struct resp_words w;
	struct slice word;
	uint64_t count = 0;

	if (wire.at[0] == '*') {
		size_t end = slice_find(wire, '\r', 0);

		return slice_to_u64(slice_make(wire.at + 1, end - 1), &count) ? count : 0;
	}
	resp_words_begin(&w, wire);
	while (resp_words_next(&w, NULL, &word))
		count++;
	return count;
}
