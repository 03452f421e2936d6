/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads PCRE2's syntax as far as it is plain: literals outside groups that no
 * quantifier can take away. What would change how the rest is read (options, verbs,
 * quotes, a choice outside groups) makes all of it unread; what only may have arguments of its
 * own ends the reading there.
 */
#include "core/pattern.h"

struct reader {
	struct slice text;
	size_t at, depth;
	char *out;
	size_t n, piece;                /* written; where the last piece begins */
	size_t prefix_n;                /* of the first piece, when it ended */
	bool broken;                    /* a piece ended, be it an empty one */
	bool blind;                     /* what follows may not be what it looks like */
	bool nocase;
};

static void
end_piece(struct reader *r)
{
	if (!r->broken)
		r->prefix_n = r->n;
	r->broken = true;
	if (r->n == r->piece)
		return;
	r->out[r->n++] = '\0';
	r->piece = r->n;
}

static bool
is_one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

static bool
peek(const struct reader *r, const char *set)
{
	return r->at < r->text.n && is_one_of(r->text.at[r->at], set);
}

/* `length` bytes stand for this one; `?`, `*` and {0} take it away. */
static bool
read_literal(struct reader *r, char c, size_t length)
{
	r->at += length;
	/* without case, a locale decides which bytes beyond ASCII are alike */
	if (c == '\0' || (r->nocase && (uint8_t)c >= 0x80) || r->blind || r->depth > 0 ||
	    peek(r, "?*{"))
		end_piece(r);
	else
		r->out[r->n++] = c;
	return true;
}

static bool
read_escape(struct reader *r)
{
	if (r->at + 1 >= r->text.n)
		return false;

	char c = r->text.at[r->at + 1];

	if (!ascii_is_alpha(c) && !ascii_is_digit(c) && (uint8_t)c < 0x80)
		return read_literal(r, c, 2);
	/* others have arguments: \x41, \p{Lu}, \k<name>, \12 */
	if (!is_one_of(c, "dDwWsShHvVbBAzZRKnrtfea") && r->depth == 0)
		r->blind = true;
	end_piece(r);
	r->at += 2;
	return true;
}

/*
 * Behind [:alpha:], whose brackets are not the class's; 0: not understood, nor are [.x.] and [=x=].
 */
static size_t
skip_named_class(struct slice text, size_t at)
{
	if (text.at[at + 1] != ':')
		return 0;
	at += 2;
	while (at < text.n && (ascii_is_alpha(text.at[at]) || text.at[at] == '^'))
		at++;
	return at + 1 < text.n && text.at[at] == ':' && text.at[at + 1] == ']' ? at + 2 : 0;
}

static bool
read_class(struct reader *r)
{
	struct slice text = r->text;
	size_t at = r->at + 1;

	end_piece(r);
	at += at < text.n && text.at[at] == '^';
	at += at < text.n && text.at[at] == ']';
	while (at < text.n && text.at[at] != ']') {
		if (text.at[at] == '[' && at + 1 < text.n && is_one_of(text.at[at + 1], ":.=")) {
			at = skip_named_class(text, at);
			if (at == 0)
				return false;
		} else {
			at += text.at[at] == '\\' ? 2 : 1;
		}
	}
	r->at = at + 1;
	return at < text.n;
}

/* Lookaround, names and the like are read as groups; what else stands behind `(?` is not. */
static bool
read_group(struct reader *r)
{
	end_piece(r);
	r->at++;
	r->depth++;
	if (peek(r, "*"))
		return false;
	if (!peek(r, "?"))
		return true;
	r->at++;
	return peek(r, ":=!<>P'");
}

static bool
read_count(struct reader *r)
{
	end_piece(r);
	r->at++;
	while (peek(r, "0123456789, "))
		r->at++;
	if (peek(r, "}"))
		r->at++;
	else if (r->depth == 0)
		r->blind = true;        /* `{` stands for itself */
	return true;
}

/* One element; false: the pattern cannot be read. */
static bool
read_next(struct reader *r)
{
	char c = r->text.at[r->at];

	switch (c) {
	case '\\':
		return read_escape(r);
	case '[':
		return read_class(r);
	case '(':
		return read_group(r);
	case '{':
		return read_count(r);
	case ')':
		end_piece(r);
		r->at++;
		return r->depth-- > 0;
	case '|':
		r->at++;
		return r->depth > 0;
	case '.':
	case '^':
	case '$':
	case '*':
	case '+':
	case '?':
		end_piece(r);
		r->at++;
		return true;
	}
	return read_literal(r, c, 1);
}

/* \Q quotes, across classes too; \c takes the next byte, whatever it is. */
static bool
has_quotes(struct slice text)
{
	return slice_find_slice(text, SLICE("\\Q")) < text.n ||
	       slice_find_slice(text, SLICE("\\E")) < text.n ||
	       slice_find_slice(text, SLICE("\\c")) < text.n;
}

struct pattern
pattern_read(struct slice text, bool nocase, char *room)
{
	struct pattern none = { SLICE_EMPTY, SLICE_EMPTY };
	struct reader r = { .text = text, .out = room, .nocase = nocase };

	if (slice_starts(text, SLICE("(?i)"))) {
		r.nocase = true;
		r.at = 4;
	}

	bool begins = !r.nocase && text.n > 0 && text.at[0] == '^';

	r.at += begins;
	if (has_quotes(text))
		return none;
	while (r.at < text.n)
		if (!read_next(&r))
			return none;
	end_piece(&r);
	if (r.depth > 0)
		return none;
	return (struct pattern){ slice_make(room, begins ? r.prefix_n : 0), slice_make(room, r.n) };
}
