/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Values out of what people write: a whole value is itself, a line that begins with + or - a simple
 * string or an error, all else a bulk string; a question is a line of words, as in redis-cli.
 */
#include "protocols/resp/resp.h"

enum { HEAD_ROOM = 16 };        /* bytes: $4294967295 CR LF, and a CRLF behind */

static void
put_bulk(struct builder *b, struct slice text)
{
	builder_byte(b, '$');
	builder_number(b, text.n);
	BUILDER_LITERAL(b, "\r\n");
	builder_slice_put(b, text);
	BUILDER_LITERAL(b, "\r\n");
}

static struct slice
without_line_end(struct slice text)
{
	if (text.n > 0 && text.at[text.n - 1] == '\n')
		text.n -= 1 + (text.n > 1 && text.at[text.n - 2] == '\r');
	return text;
}

/* With its last CRLF, whether it was written or not: is it one value, and all of it? */
static bool
whole_value(struct slice text, bool question, struct scratch *scratch, struct slice *wire)
{
	struct slice line = without_line_end(text);
	struct builder b = builder_on(scratch_alloc(scratch, line.n + 2), line.n + 2);
	struct resp_state state;
	struct unit u;

	builder_slice_put(&b, line);
	BUILDER_LITERAL(&b, "\r\n");
	*wire = builder_slice(&b);
	resp_begin(&state, question);
	return resp_measure(&state, RESP_MAX, *wire, &u) == CODEC_MESSAGE &&
	       u.wire.n == wire->n && !u.pushed;
}

const char *
resp_write_answer(struct slice text, struct scratch *scratch, struct slice *wire)
{
	char first = text.n > 0 ? text.at[0] : '\0';

	if (text.n > RESP_MAX - HEAD_ROOM)
		return "too_long";
	if (first != '\0' && strchr("+-:$*_#,(!=~%|", first) != NULL &&
	    whole_value(text, false, scratch, wire))
		return NULL;
	if (first == '+' || first == '-')
		return "line_break";

	size_t room = text.n + HEAD_ROOM;
	struct builder b = builder_on(scratch_alloc(scratch, room), room);

	put_bulk(&b, text);
	*wire = builder_slice(&b);
	return NULL;
}

static const char *
write_words(struct slice line, struct scratch *scratch, struct slice *wire)
{
	struct resp_words w;
	struct slice word;
	size_t count = 0;

	resp_words_begin_line(&w, line);
	while (resp_words_next(&w, NULL, &word))
		count++;
	if (w.fault != NULL || count == 0)
		return w.fault != NULL ? w.fault : "empty";

	/* a word is never longer than it is written */
	size_t room = line.n + (count + 1) * HEAD_ROOM;
	struct builder b = builder_on(scratch_alloc(scratch, room), room);

	builder_byte(&b, '*');
	builder_number(&b, count);
	BUILDER_LITERAL(&b, "\r\n");
	resp_words_begin_line(&w, line);
	while (resp_words_next(&w, scratch, &word))
		put_bulk(&b, word);
	*wire = builder_slice(&b);
	return wire->n > RESP_MAX ? "too_long" : NULL;
}

const char *
resp_write_question(struct slice text, struct scratch *scratch, struct slice *wire)
{
	struct slice line = without_line_end(text);

	if (text.n > RESP_MAX - HEAD_ROOM)
		return "too_long";
	if (text.n > 0 && text.at[0] == '*')
		return whole_value(text, true, scratch, wire) ? NULL : "bad_question";
	if (slice_find(line, '\n', 0) < line.n || slice_find(line, '\r', 0) < line.n)
		return "line_break";
	return write_words(line, scratch, wire);
}
