/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a value ends, however deep it is nested: not by a stack, but by a count of the values
 * that are still to come. One that holds n others adds n - 1; an attribute, which stands in front
 * of a value and is none, adds all it holds. Only streamed aggregates, which do not say how many
 * they hold, keep the count that they interrupt.
 *
 * More values than can stand below `max` are refused where they are announced.
 */
#include "protocols/resp/resp.h"

enum {
	STEP_VALUE,
	STEP_BULK_END,                  /* the CRLF behind a bulk string */
	STEP_CHUNK,                     /* of a streamed string */
	STEP_CHUNK_END,
};

enum {
	SHORT_LINE = 64,                /* bytes of a number, longer than any */
	LEAST_VALUE = 3,                /* bytes: _ CR LF */
	LEAST_WORD = 6,                 /* $0 CR LF CR LF */
};

enum progress { ON, DONE, WAIT, WRONG };

struct reader {
	struct resp_state *s;
	struct slice in;
	uint32_t max;
	const char *fault;
};

static enum progress
wrong(struct reader *r, const char *fault)
{
	r->fault = fault;
	return WRONG;
}

/* ------------------------------------------------------------------ types */

static struct slice
without_sign(struct slice text)
{
	return slice_after(text, text.n > 0 && (text.at[0] == '-' || text.at[0] == '+'));
}

static size_t
digits(struct slice text)
{
	size_t n = 0;

	while (n < text.n && ascii_is_digit(text.at[n]))
		n++;
	return n;
}

static bool
is_big_number(struct slice text)
{
	struct slice number = without_sign(text);

	return number.n > 0 && digits(number) == number.n;
}

static bool
is_integer(struct slice text)
{
	uint64_t number;
	bool negative = text.n > 0 && text.at[0] == '-';

	return slice_to_u64(without_sign(text), &number) &&
	       number <= (uint64_t)INT64_MAX + negative;
}

static bool
is_double(struct slice text)
{
	struct slice rest = without_sign(text);

	if (slice_is(rest, "inf") || slice_is(rest, "nan"))
		return true;

	size_t whole = digits(rest), fraction = 0;

	rest = slice_after(rest, whole);
	if (rest.n > 0 && rest.at[0] == '.') {
		fraction = digits(slice_after(rest, 1));
		rest = slice_after(rest, 1 + fraction);
	}
	if (whole + fraction == 0)
		return false;
	return rest.n == 0 ||
	       ((rest.at[0] | 0x20) == 'e' && is_big_number(slice_after(rest, 1)));
}

static bool
is_bool(struct slice text)
{
	return slice_is(text, "t") || slice_is(text, "f");
}

static bool
is_nothing(struct slice text)
{
	return text.n == 0;
}

enum kind { KIND_NONE, KIND_LINE, KIND_BULK, KIND_HOLDS };
enum { HAS_NULL = 1, HAS_STREAM = 2, OF_ANY_LENGTH = 4, ATTRIBUTE = 8, PUSH = 16 };

struct form {
	enum kind kind;
	unsigned flags;
	bool (*good)(struct slice text);        /* LINE; NULL: any text */
	unsigned each;                          /* HOLDS: values for one that is counted */
	unsigned least;                         /* BULK: bytes */
};

static const struct form forms[128] = {
	['+'] = { KIND_LINE, OF_ANY_LENGTH },
	['-'] = { KIND_LINE, OF_ANY_LENGTH },
	['('] = { KIND_LINE, OF_ANY_LENGTH, .good = is_big_number },
	[':'] = { KIND_LINE, .good = is_integer },
	[','] = { KIND_LINE, .good = is_double },
	['#'] = { KIND_LINE, .good = is_bool },
	['_'] = { KIND_LINE, .good = is_nothing },
	['$'] = { KIND_BULK, HAS_NULL | HAS_STREAM },
	['!'] = { KIND_BULK },
	['='] = { KIND_BULK, .least = 4 },      /* txt: */
	['*'] = { KIND_HOLDS, HAS_NULL | HAS_STREAM, .each = 1 },
	['~'] = { KIND_HOLDS, HAS_STREAM, .each = 1 },
	['>'] = { KIND_HOLDS, PUSH, .each = 1 },
	['%'] = { KIND_HOLDS, HAS_STREAM, .each = 2 },
	['|'] = { KIND_HOLDS, ATTRIBUTE, .each = 2 },
};

/* ------------------------------------------------------------------ pieces */

/* The line at s->at without its first byte and CRLF; s->at goes behind it. */
static enum progress
take_line(struct reader *r, size_t longest, struct slice *text)
{
	struct resp_state *s = r->s;
	size_t begin = s->at + (size_t)1, limit = begin + longest + 1;
	size_t from = MAX_OF(begin, (size_t)s->looked), to = MIN_OF(r->in.n, limit);
	const char *cr = memchr(r->in.at + from, '\r', to - from);
	size_t end = cr == NULL ? to : (size_t)(cr - r->in.at);

	if (memchr(r->in.at + from, '\n', end - from) != NULL)
		return wrong(r, "bare_lf");
	if (cr == NULL && to == limit)
		return wrong(r, "bad_number");
	s->looked = (uint32_t)end;
	if (cr == NULL || end + 1 == r->in.n)
		return WAIT;
	if (cr[1] != '\n')
		return wrong(r, "bare_cr");
	*text = slice_make(r->in.at + begin, end - begin);
	s->at = (uint32_t)end + 2;
	return ON;
}

enum { COUNT_NULL = -1, COUNT_STREAMED = -2 };

static enum progress
take_count(struct reader *r, unsigned flags, int64_t *count)
{
	struct slice text;
	uint64_t number = 0;
	enum progress progress = take_line(r, SHORT_LINE, &text);

	if (progress != ON)
		return progress;
	if ((flags & HAS_NULL) && slice_is(text, "-1"))
		*count = COUNT_NULL;
	else if ((flags & HAS_STREAM) && slice_is(text, "?"))
		*count = COUNT_STREAMED;
	else if (!slice_to_u64(text, &number) || (text.n > 1 && text.at[0] == '0'))
		return wrong(r, "bad_number");
	else if (number > r->max)
		return wrong(r, "too_long");
	else
		*count = (int64_t)number;
	return ON;
}

/* `n` bytes and `values` stand below max. */
static bool
fits(const struct reader *r, uint64_t n, uint64_t values)
{
	uint64_t least = r->s->session & RESP_QUESTIONS ? LEAST_WORD : LEAST_VALUE;

	return r->s->at + n + values * least <= r->max;
}

static enum progress
value_done(struct resp_state *s)
{
	s->step = STEP_VALUE;
	s->left--;
	return s->left == 0 && s->streams == 0 ? DONE : ON;
}

/* The CRLF at s->at, each byte as soon as it is there. */
static enum progress
take_end(struct reader *r)
{
	struct slice rest = slice_after(r->in, r->s->at);

	if (rest.at[0] != '\r' || (rest.n > 1 && rest.at[1] != '\n'))
		return wrong(r, "bad_length");
	if (rest.n < 2)
		return WAIT;
	r->s->at += 2;
	return ON;
}

/* ------------------------------------------------------------------ values */

static enum progress
take_bulk(struct reader *r, const struct form *form)
{
	struct resp_state *s = r->s;
	int64_t n;
	enum progress progress = take_count(r, form->flags, &n);

	if (progress != ON)
		return progress;
	if (n < 0 && (s->session & RESP_QUESTIONS))
		return wrong(r, "bad_question");
	if (n == COUNT_NULL)
		return value_done(s);
	if (n == COUNT_STREAMED) {
		s->step = STEP_CHUNK;
		return ON;
	}
	if ((uint64_t)n < form->least)
		return wrong(r, "bad_value");
	if (!fits(r, (uint64_t)n + 2, s->left - 1))
		return wrong(r, "too_long");
	s->at += (uint32_t)n;
	s->step = STEP_BULK_END;
	return ON;
}

static enum progress
take_chunk(struct reader *r)
{
	int64_t n;

	if (r->in.at[r->s->at] != ';')
		return wrong(r, "bad_stream");

	enum progress progress = take_count(r, 0, &n);

	if (progress != ON)
		return progress;
	if (n == 0)
		return value_done(r->s);
	if (!fits(r, (uint64_t)n + 2, r->s->left))
		return wrong(r, "too_long");
	r->s->at += (uint32_t)n;
	r->s->step = STEP_CHUNK_END;
	return ON;
}

static enum progress
open_stream(struct reader *r, bool pairs)
{
	struct resp_state *s = r->s;
	unsigned bit = 1u << s->streams;

	if (s->session & RESP_QUESTIONS)
		return wrong(r, "bad_question");
	if (s->streams == RESP_STREAMS)
		return wrong(r, "too_deep");
	s->outer[s->streams++] = s->left;
	s->left = 0;
	s->pairs = (s->pairs & ~bit) | (pairs ? bit : 0);
	s->odd &= ~bit;
	return ON;
}

/* The `.` behind the last value of a stream. */
static enum progress
close_stream(struct reader *r)
{
	struct resp_state *s = r->s;
	struct slice text;

	if (s->pairs & s->odd & 1u << (s->streams - 1))
		return wrong(r, "bad_stream");

	enum progress progress = take_line(r, SHORT_LINE, &text);

	if (progress != ON)
		return progress;
	if (text.n > 0)
		return wrong(r, "bad_stream");
	s->left = s->outer[--s->streams];
	return value_done(s);
}

static enum progress
take_holder(struct reader *r, const struct form *form)
{
	struct resp_state *s = r->s;
	bool first = s->at == 0;
	int64_t count;

	if ((form->flags & PUSH) && !first)
		return wrong(r, "bad_type");

	enum progress progress = take_count(r, form->flags, &count);

	if (progress != ON)
		return progress;
	if (count == COUNT_STREAMED)
		return open_stream(r, form->each == 2);

	uint64_t held = count == COUNT_NULL ? 0 : (uint64_t)count * form->each;

	if (!fits(r, 0, s->left - 1 + held))
		return wrong(r, "too_long");
	s->left += (uint32_t)held;
	return form->flags & ATTRIBUTE ? ON : value_done(s);
}

static enum progress
take_text(struct reader *r, const struct form *form)
{
	struct slice text;
	enum progress progress =
	    take_line(r, form->flags & OF_ANY_LENGTH ? r->max : SHORT_LINE, &text);

	if (progress != ON)
		return progress;
	if (form->good != NULL && !form->good(text))
		return wrong(r, "bad_value");
	return value_done(r->s);
}

static enum progress
take_value(struct reader *r)
{
	struct resp_state *s = r->s;
	uint8_t type = (uint8_t)r->in.at[s->at];

	if (s->left == 0 && type == '.')
		return close_stream(r);
	if (s->left == 0) {
		s->left = 1;
		s->odd ^= 1u << (s->streams - 1);
	}
	if ((s->session & RESP_QUESTIONS) && type != (s->at == 0 ? '*' : '$'))
		return wrong(r, "bad_question");

	static const struct form none = { KIND_NONE };
	const struct form *form = type < ARRAY_COUNT(forms) ? &forms[type] : &none;

	switch (form->kind) {
	case KIND_LINE: return take_text(r, form);
	case KIND_BULK: return take_bulk(r, form);
	case KIND_HOLDS: return take_holder(r, form);
	case KIND_NONE: break;
	}
	return wrong(r, "bad_type");
}

static enum progress
take(struct reader *r)
{
	struct resp_state *s = r->s;
	enum progress progress = ON;

	while (progress == ON) {
		if (s->at >= r->in.n)
			return WAIT;
		if (s->step == STEP_VALUE) {
			progress = take_value(r);
		} else if (s->step == STEP_CHUNK) {
			progress = take_chunk(r);
		} else {
			bool chunk = s->step == STEP_CHUNK_END;

			progress = take_end(r);
			if (progress == ON && chunk)
				s->step = STEP_CHUNK;
			else if (progress == ON)
				progress = value_done(s);
		}
	}
	return progress;
}

/* ------------------------------------------------------------------ inline commands */

/* Line ends between questions; a CR that waits for its LF stays. */
static size_t
blank_lines(struct slice in)
{
	size_t n = 0;

	for (;;) {
		if (n < in.n && in.at[n] == '\n')
			n++;
		else if (in.n - n >= 2 && in.at[n] == '\r' && in.at[n + 1] == '\n')
			n += 2;
		else
			return n;
	}
}

/*
 * A line of words, as people type it. It ends in LF or CRLF, as redis reads it; NUL, where redis
 * would stop reading, and what it would not split are refused.
 */
static enum progress
take_inline(struct reader *r)
{
	struct resp_state *s = r->s;
	size_t to = MIN_OF(r->in.n, (size_t)RESP_INLINE_LONGEST);
	const char *lf = memchr(r->in.at + s->looked, '\n', to - s->looked);
	size_t end = lf == NULL ? to : (size_t)(lf - r->in.at);

	if (memchr(r->in.at + s->looked, '\0', end - s->looked) != NULL)
		return wrong(r, "bad_question");
	if (lf == NULL && to == RESP_INLINE_LONGEST)
		return wrong(r, "too_long");
	s->looked = (uint32_t)end;
	if (lf == NULL)
		return WAIT;
	s->at = (uint32_t)end + 1;
	return DONE;
}

static bool
begins_inline(char first)
{
	uint8_t byte = (uint8_t)first;

	/* no type, and nothing like the start of TLS */
	return byte >= ' ' && byte < 0x7f && forms[byte].kind == KIND_NONE;
}

/* ------------------------------------------------------------------ together */

void
resp_begin(struct resp_state *s, bool question)
{
	*s = (struct resp_state){ .left = 1, .session = question ? RESP_QUESTIONS : 0 };
}

/* `*0` and `*-1` are questions of nothing; so is a line of blanks. */
static enum codec_verdict
judge_question(struct slice wire, struct unit *u)
{
	struct resp_words words;
	struct slice word;
	bool any = false;

	if (wire.at[0] == '*')
		return wire.at[1] == '0' || wire.at[1] == '-' ? CODEC_SKIP : CODEC_MESSAGE;
	resp_words_begin(&words, wire);
	while (resp_words_next(&words, NULL, &word))
		any = true;
	u->fault = words.fault;
	return words.fault != NULL ? CODEC_BAD : any ? CODEC_MESSAGE : CODEC_SKIP;
}

static enum codec_verdict
turn(struct resp_state *s, struct slice wire, struct unit *u)
{
	bool question = s->session & RESP_QUESTIONS;

	*s = (struct resp_state){ .left = 1, .session = s->session };
	u->wire = u->inner = wire;
	u->body_n = (uint32_t)wire.n;
	u->pushed = !question && wire.at[0] == '>';
	return question ? judge_question(wire, u) : CODEC_MESSAGE;
}

enum codec_verdict
resp_measure(struct resp_state *s, uint32_t max, struct slice in, struct unit *u)
{
	struct reader r = { s, slice_first(in, MIN_OF(in.n, (size_t)max)), max, NULL };
	size_t blank = 0;
	enum progress progress;

	*u = (struct unit){ .wire = SLICE_EMPTY, .inner = SLICE_EMPTY };
	if (in.n == 0)
		return CODEC_MORE;
	if ((s->session & RESP_QUESTIONS) && s->at == 0 && s->looked == 0)
		blank = blank_lines(r.in);
	if (blank > 0) {
		u->wire = slice_first(in, blank);
		return CODEC_SKIP;
	}
	if ((s->session & RESP_QUESTIONS) && begins_inline(in.at[0]))
		progress = take_inline(&r);
	else if ((s->session & RESP_QUESTIONS) && slice_is(in, "\r"))
		progress = WAIT;
	else
		progress = take(&r);
	if (progress == WAIT && in.n >= max)
		progress = wrong(&r, "too_long");
	u->fault = r.fault;
	if (progress == DONE)
		return turn(s, slice_first(in, s->at), u);
	return progress == WAIT ? CODEC_MORE : CODEC_BAD;
}
