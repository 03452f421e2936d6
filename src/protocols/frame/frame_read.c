/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From what stands in a protocol block to a struct frame: the words of each row, then frame_check
 * over all of it, whose mistakes are shown where the row stands that makes them.
 */
#include "protocols/frame/frame_rows.h"

#include <stdarg.h>
#include <stdio.h>

#include "protocols/frame/format.h"

/* ------------------------------------------------------------------ words, one after the other */

struct words {
	struct reading *r;
	const struct value *v;
	size_t n, i;
	struct span span;               /* of the statement */
	bool fine;
};

static struct words
words_of(struct reading *r, const struct list *list, const struct statement *s)
{
	return (struct words){ r, list->items, list->n, 0, s->span, true };
}

PRINTF(3, 4) static void
wrong(struct words *w, struct span at, const char *format, ...)
{
	char text[256];
	va_list ap;

	if (!w->fine)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	diag_error(w->r->diag, at, "%s", text);
	w->fine = false;
}

/* The next one, whatever it is; NULL: there is none, and `what` is said to be missing. */
static const struct value *
next(struct words *w, const char *what)
{
	if (w->i < w->n)
		return &w->v[w->i++];
	wrong(w, w->n > 0 ? w->v[w->n - 1].span : w->span, "%s is missing behind this", what);
	return NULL;
}

static bool
next_is(const struct words *w, const char *word)
{
	return w->i < w->n && w->v[w->i].kind == VALUE_WORD && slice_is(w->v[w->i].raw, word);
}

static bool
take(struct words *w, const char *word)
{
	bool is = next_is(w, word);

	w->i += is;
	return is;
}

static bool
end(struct words *w, const char *right)
{
	if (w->i < w->n)
		wrong(w, w->v[w->i].span, "\"" SLICE_FORMAT "\" does not belong here; %s",
		    SLICE_ARG(diag_word(w->v[w->i].raw)), right);
	return w->fine;
}

/* Decimal, or 0x and hexadecimal. */
static bool
to_number(const struct value *v, uint64_t *out)
{
	if (v->kind != VALUE_WORD)
		return false;
	if (slice_starts(v->raw, SLICE("0x")))
		return slice_to_u64_hex(slice_after(v->raw, 2), out);
	return slice_to_u64(v->raw, out);
}

static uint32_t
take_number(struct words *w, const char *what, uint64_t most)
{
	const struct value *v = next(w, what);
	uint64_t number = 0;

	if (v != NULL && (!to_number(v, &number) || number > most))
		wrong(w, v->span, "\"" SLICE_FORMAT "\" is not %s from 0 to %llu",
		    SLICE_ARG(diag_word(v->raw)), what, (unsigned long long)most);
	return w->fine ? (uint32_t)number : 0;
}

static struct slice
take_bytes(struct words *w, const char *what)
{
	const struct value *v = next(w, what);
	struct slice bytes = SLICE_EMPTY;

	if (v != NULL && v->kind != VALUE_STRING)
		wrong(w, v->span, "%s stands in quotes: \"" SLICE_FORMAT "\"", what,
		    SLICE_ARG(diag_word(v->raw)));
	else if (v != NULL && w->fine)
		w->fine = schema_decode(w->r, v, false, &bytes);
	return arena_slice(w->r->arena, bytes);
}

/* "x", 0x78 or 120. */
static uint8_t
take_byte(struct words *w, const char *what)
{
	const struct value *v = next(w, what);
	uint64_t number = 0;
	struct slice bytes;

	if (v == NULL)
		return 0;
	if (to_number(v, &number) && number <= UINT8_MAX)
		return (uint8_t)number;
	if (v->kind == VALUE_STRING && schema_decode(w->r, v, false, &bytes) && bytes.n == 1)
		return (uint8_t)bytes.at[0];
	wrong(w, v->span, "\"" SLICE_FORMAT "\" is not one byte (\"\\x7e\", 0x7e)",
	    SLICE_ARG(diag_word(v->raw)));
	return 0;
}

/* ------------------------------------------------------------------ kinds of numbers */

#define BINARY(letter, form_, bits, bytes) \
	{ letter #bits "be", { .form = form_, .width = bytes } }, \
	{ letter #bits "le", { .form = form_, .width = bytes, .little = true } }
#define BINARIES(letter, form_) \
	{ letter "8", { .form = form_, .width = 1 } }, BINARY(letter, form_, 16, 2), \
	BINARY(letter, form_, 24, 3), BINARY(letter, form_, 32, 4), BINARY(letter, form_, 64, 8)

static const struct kind {
	const char *word;
	struct number number;
} kinds[] = {
	BINARIES("u", NUMBER_UNSIGNED),
	BINARIES("i", NUMBER_SIGNED),
	{ "varint", { .form = NUMBER_VARINT } },
	{ "mqtt_varint", { .form = NUMBER_MQTT } },
	/* these want to know how wide, or where they end */
	{ "dec", { .form = NUMBER_DECIMAL } },
	{ "hex", { .form = NUMBER_HEX } },
	{ "bytes", { .form = NUMBER_BYTES } },
};

static const char *
kind_word(void *what, size_t i)
{
	return kinds[i].word;
}

static void
report_kind(struct words *w, const struct value *v)
{
	struct slice word = diag_word(v->raw);
	const char *closest = diag_closest(v->raw, kind_word, NULL, ARRAY_COUNT(kinds));

	for (size_t i = 0; i + 1 < ARRAY_COUNT(kinds); i++)
		if (slice_starts(slice_of(kinds[i].word), v->raw) &&
		    strlen(kinds[i].word) == v->raw.n + 2 && v->kind == VALUE_WORD) {
			wrong(w, v->span, "in which order do its bytes stand? write %s or %s",
			    kinds[i].word, kinds[i + 1].word);
			return;
		}
	if (closest != NULL && v->kind == VALUE_WORD)
		wrong(w, v->span,
		    "\"" SLICE_FORMAT "\" is no kind of number; did you mean \"%s\"?",
		    SLICE_ARG(word), closest);
	else
		wrong(w, v->span,
		    "\"" SLICE_FORMAT
		    "\" is no kind of number: u8, u16be, u16le … u64le, dec N, hex N",
		    SLICE_ARG(word));
}

static struct number
take_kind(struct words *w)
{
	const struct value *v = next(w, "a kind of number (u16be)");
	struct number n = { .form = NUMBER_UNSIGNED };
	size_t i = 0;

	if (v == NULL)
		return n;
	while (i < ARRAY_COUNT(kinds) &&
	       !(v->kind == VALUE_WORD && slice_is(v->raw, kinds[i].word)))
		i++;
	if (i == ARRAY_COUNT(kinds)) {
		report_kind(w, v);
		return n;
	}
	n = kinds[i].number;
	if (n.width != 0 || n.form == NUMBER_VARINT || n.form == NUMBER_MQTT)
		return n;
	if (n.form == NUMBER_BYTES || !take(w, "until")) {
		n.width = (uint16_t)take_number(w, "how many there are", 1000);
		return n;
	}
	n.form = n.form == NUMBER_DECIMAL ? NUMBER_DECIMAL_UNTIL : NUMBER_HEX_UNTIL;
	n.until = (char)take_byte(w, "the byte that ends it");
	return n;
}

static uint32_t
take_at(struct words *w)
{
	return take(w, "at") ? take_number(w, "an offset", FRAME_MAX_MOST) : 0;
}

/* ------------------------------------------------------------------ a shape */

const struct statement *
frame_rows_find(const struct block *block, const char *word)
{
	const struct statement *s = block != NULL ? block->first : NULL;

	while (s != NULL && !slice_is(s->values[0].raw, word))
		s = s->next;
	return s;
}

static const struct statement *
find_nth(const struct block *block, const char *word, size_t n)
{
	const struct statement *s = frame_rows_find(block, word);

	while (s != NULL && (!slice_is(s->values[0].raw, word) || n > 0)) {
		n -= slice_is(s->values[0].raw, word);
		s = s->next;
	}
	return s;
}

/* A block while it is made into a frame. */
struct shaping {
	struct reading *r;
	const struct shape_block *from;
	const struct statement *owner;  /* whose block it is */
	struct frame *f;
	const struct statement *kind;   /* what said where a message ends */
	bool fine;
};

static void
take_strings(struct words *w, struct boundary *b, const char *until)
{
	while (w->fine && w->i < w->n && (until == NULL || !next_is(w, until))) {
		if (b->count == BOUNDARY_ANY) {
			wrong(w, w->v[w->i].span, "a boundary is 1 to %d strings", BOUNDARY_ANY);
			return;
		}
		b->any[b->count++] = take_bytes(w, "a boundary");
	}
}

static bool
shape_boundary(struct shaping *x, const struct statement *s)
{
	struct words w = words_of(x->r, &x->from->boundary, s);

	x->f->kind = FRAME_BOUNDARY;
	if (take(&w, "json_value"))
		x->f->kind = FRAME_JSON;
	else
		take_strings(&w, &x->f->boundary, NULL);
	return end(&w, "a value of JSON ends by itself");
}

static bool
shape_length(struct shaping *x, const struct filled *line, bool *counts)
{
	const struct length_line *from = line->data;
	struct words w = words_of(x->r, &from->words, line->statement);
	static const char *const words[] = {
		[FRAME_COUNTS_WHOLE] = "whole",
		[FRAME_COUNTS_BODY] = "body",
		[FRAME_COUNTS_AFTER] = "after",
	};
	struct frame *f = x->f;
	struct frame_length length = { .number = take_kind(&w) };
	size_t i = 0;

	length.at = take_at(&w);
	if (take(&w, "counts")) {
		const struct value *v = next(&w, "whole, body or after");

		while (v != NULL && i < ARRAY_COUNT(words) && !slice_is(v->raw, words[i]))
			i++;
		if (i == ARRAY_COUNT(words))
			wrong(&w, v->span, "a length counts whole, body or after");
		else if (*counts && f->counts != i)
			wrong(&w, w.span,
			    "the lengths of a message are added up: all count the same");
		*counts = true;
		f->counts = (enum frame_counts)i;
	}
	if (f->length_count == FRAME_LENGTHS)
		wrong(&w, w.span, "a message has 1 to %d lengths", FRAME_LENGTHS);
	if (end(&w, "a length is written: KIND at N counts whole|body|after"))
		f->lengths[f->length_count++] = length;
	return w.fine;
}

static bool
shape_lengths(struct shaping *x, const struct statement *s)
{
	const struct filled *lines = x->from->lengths.items;
	bool fine = true, counts = false;

	x->f->kind = FRAME_LENGTH;
	x->f->counts = FRAME_COUNTS_BODY;
	for (size_t i = 0; i < x->from->lengths.n; i++)
		fine = shape_length(x, &lines[i], &counts) && fine;
	return fine;
}

static bool
shape_fixed(struct shaping *x, const struct statement *s)
{
	x->f->kind = FRAME_FIXED;
	x->f->fixed = (uint32_t)x->from->fixed;
	if (x->f->max == 0)
		x->f->max = x->f->fixed;
	return true;
}

static bool
shape_headers(struct shaping *x, const struct statement *s)
{
	struct words w = words_of(x->r, &x->from->headers, s);
	struct frame *f = x->f;
	const struct value *name;

	f->kind = FRAME_HEADERS;
	if (!take(&w, "until"))
		wrong(&w, s->span, "write: headers until \"\\r\\n\\r\\n\" length content-length");
	take_strings(&w, &f->boundary, "length");
	if (w.fine && !take(&w, "length"))
		wrong(&w, s->span,
		    "length NAME is missing: the line that tells how long a body is");
	name = w.fine ? next(&w, "the name of a line") : NULL;
	if (name != NULL)
		f->length_name = arena_slice(x->r->arena, name->raw);
	if (w.fine && take(&w, "else")) {
		f->otherwise.any[f->otherwise.count++] = take_bytes(&w, "a boundary");
		take_strings(&w, &f->otherwise, NULL);
	}
	return end(&w, "headers are written: until BYTES length NAME [else BYTES]");
}

static bool
shape_escaping(struct shaping *x, struct words *w)
{
	struct frame_escape *e = &x->f->escape;

	e->escape = take_byte(w, "the escape byte");
	if (take(w, "flip"))
		e->flip = take_byte(w, "what escaped bytes are changed by");
	while (w->fine && w->i < w->n) {
		uint8_t byte = take_byte(w, "a byte"), as;

		if (w->fine && !take(w, "as"))
			wrong(w, w->v[w->i - 1].span, "as BYTE is missing behind this");
		as = take_byte(w, "what it is written as");
		if (e->swap_count == FRAME_SWAPS)
			wrong(w, w->span, "at most %d bytes have an escape of their own",
			    FRAME_SWAPS);
		else
			e->swaps[e->swap_count++] = (struct frame_swap){ byte, as };
	}
	return w->fine;
}

static bool
shape_escaped(struct shaping *x, const struct statement *s)
{
	const struct statement *start = frame_rows_find(x->owner->block, "start");
	const struct statement *escape = frame_rows_find(x->owner->block, "escape");
	struct words w = words_of(x->r, &x->from->end, s);

	x->f->kind = FRAME_ESCAPED;
	x->f->escape = (struct frame_escape){ .start = -1, .end = take_byte(&w, "the end byte") };
	if (!end(&w, "the end is one byte"))
		return false;
	if (escape == NULL) {
		wrong(&w, s->span, "escape is missing: how stands the end byte inside a message?");
		return false;
	}
	if (start != NULL) {
		w = words_of(x->r, &x->from->start, start);
		x->f->escape.start = take_byte(&w, "the start byte");
		if (!end(&w, "the start is one byte"))
			return false;
	}
	w = words_of(x->r, &x->from->escape, escape);
	return shape_escaping(x, &w);
}

/* A..B, A.. */
static void
take_span(struct words *w, struct frame_check *k)
{
	const struct value *v = next(w, "A..B");
	uint64_t from = 0, to = 0;

	if (v == NULL)
		return;

	size_t dots = slice_find_slice(v->raw, SLICE(".."));
	struct slice behind = slice_after(v->raw, MIN_OF(dots + 2, v->raw.n));

	if (dots == v->raw.n || !slice_to_u64(slice_first(v->raw, dots), &from) ||
	    (behind.n > 0 && !slice_to_u64(behind, &to)) || MAX_OF(from, to) > FRAME_MAX_MOST)
		wrong(w, v->span, "\"" SLICE_FORMAT "\" is no part of a message: 0..8, or 2..",
		    SLICE_ARG(diag_word(v->raw)));
	k->from = (uint32_t)from;
	k->to = (uint32_t)to;
}

static bool
shape_check(struct shaping *x, const struct statement *s)
{
	static const struct {
		const char *word;
		enum checksum kind;
		struct number usual;
	} sums[] = {
		{ "xor8", CHECKSUM_XOR8, { .form = NUMBER_UNSIGNED, .width = 1 } },
		{ "crc16_modbus", CHECKSUM_CRC16_MODBUS,
		    { .form = NUMBER_UNSIGNED, .width = 2, .little = true } },
		{ "crc32", CHECKSUM_CRC32, { .form = NUMBER_UNSIGNED, .width = 4 } },
	};
	struct words w = words_of(x->r, &x->from->check, s);
	struct frame_check *k = &x->f->check;
	const struct value *v = next(&w, "a checksum");
	size_t i = 0;

	while (i < ARRAY_COUNT(sums) && !slice_is(v->raw, sums[i].word))
		i++;
	if (i == ARRAY_COUNT(sums)) {
		wrong(&w, v->span,
		    "\"" SLICE_FORMAT "\" is no checksum; there are xor8, crc16_modbus and crc32",
		    SLICE_ARG(diag_word(v->raw)));
		return false;
	}
	*k = (struct frame_check){ .kind = sums[i].kind, .number = sums[i].usual };
	if (w.i < w.n && !next_is(&w, "over") && !next_is(&w, "at"))
		k->number = take_kind(&w);
	if (take(&w, "over"))
		take_span(&w, k);
	k->in_header = next_is(&w, "at");
	k->at = take_at(&w);
	return end(&w, "a checksum is written: SUM KIND over A..B at N");
}

/* What says where a message ends; one of them does. */
static void
shape_kind(struct shaping *x)
{
	static const struct {
		const char *word;
		bool (*shape)(struct shaping *x, const struct statement *s);
	} all[] = {
		{ "boundary", shape_boundary }, { "length", shape_lengths },
		{ "fixed", shape_fixed }, { "headers", shape_headers }, { "end", shape_escaped },
		{ "switch", NULL },
	};

	for (const struct statement *s = x->owner->block->first; s != NULL; s = s->next) {
		size_t i = 0;

		while (i < ARRAY_COUNT(all) && !slice_is(s->values[0].raw, all[i].word))
			i++;
		if (i == ARRAY_COUNT(all))
			continue;
		if (x->kind == NULL) {
			x->kind = s;
			if (all[i].shape != NULL)
				x->fine = all[i].shape(x, s) && x->fine;
		} else if (!slice_equal(x->kind->values[0].raw, s->values[0].raw)) {
			diag_error(x->r->diag, s->span,
			    "where a message ends is said already: by \"" SLICE_FORMAT "\"",
			    SLICE_ARG(x->kind->values[0].raw));
			diag_note(x->r->diag, x->kind->span, "it is here");
			x->fine = false;
		}
	}
}

/* A byte may be said as 0x7e, but several are not: 0x7e7e would be six letters. */
static void
shape_quoted(struct shaping *x, const char *word, struct slice from, struct slice *to)
{
	const struct statement *s = frame_rows_find(x->owner->block, word);

	*to = arena_slice(x->r->arena, from);
	if (s == NULL || s->value_count < 2 || s->values[1].kind == VALUE_STRING)
		return;
	diag_error(x->r->diag, s->values[1].span, "bytes stand in quotes: \"\\x7e\\x7e\", \"$\"");
	x->fine = false;
}

/* False: reported. */
static bool
shape(struct shaping *x)
{
	const struct shape_block *from = x->from;
	const struct block *block = x->owner->block;
	const struct statement *check = frame_rows_find(block, "check");
	static const char *const of_end[] = { "start", "escape" };
	struct frame *f = x->f;

	x->fine = true;
	f->max = (uint32_t)from->max;
	f->min = (uint32_t)from->min;
	f->strip_cr = from->strip_cr;
	f->empty_ignore = from->empty_ignore;
	f->resync = from->resync;
	f->adjust = (int32_t)from->adjust;
	f->has_header = frame_rows_find(block, "header") != NULL;
	f->header = (uint32_t)from->header;
	shape_quoted(x, "sync", from->sync, &f->sync);
	shape_quoted(x, "trailer", from->trailer, &f->trailer);
	shape_kind(x);
	if (check != NULL)
		x->fine = shape_check(x, check) && x->fine;
	for (size_t i = 0; i < ARRAY_COUNT(of_end); i++) {
		const struct statement *s = frame_rows_find(block, of_end[i]);

		if (s == NULL || f->kind == FRAME_ESCAPED)
			continue;
		diag_error(x->r->diag, s->span, "\"%s\" goes with \"end\"", of_end[i]);
		x->fine = false;
	}
	return x->fine;
}

static struct frame *
shape_inner(struct reading *r, const struct shape_block *from, const struct statement *owner)
{
	struct shaping x = { .r = r, .from = from, .owner = owner,
		.f = arena_zalloc(r->arena, sizeof(*x.f)) };

	return shape(&x) ? x.f : NULL;
}

/* ------------------------------------------------------------------ what a protocol has besides */

/* A number, or the bytes as they stand there. */
static bool
case_value(struct reading *r, const struct frame *f, const struct value *v, uint64_t *out)
{
	struct slice bytes;
	size_t taken;

	if (to_number(v, out))
		return true;
	if (v->kind == VALUE_STRING && schema_decode(r, v, false, &bytes) &&
	    number_read(&f->tag.number, bytes, out, &taken) == NUMBER_GOOD && taken == bytes.n)
		return true;
	diag_error(r->diag, v->span,
	    "\"" SLICE_FORMAT
	    "\" is no type here: a number, or its bytes in quotes, as many as it has",
	    SLICE_ARG(diag_word(v->raw)));
	return false;
}

static bool
read_switch(
    struct reading *r, const struct switch_block *from, const struct statement *s, struct frame *f)
{
	const struct statement *otherwise = frame_rows_find(s->block, "else");
	struct words w = words_of(r, &from->words, s);
	const struct filled *cases = from->cases.items;
	bool fine;

	f->kind = FRAME_SWITCH;
	f->tag.number = take_kind(&w);
	f->tag.at = take_at(&w);
	fine = end(&w, "a switch is written: switch KIND at N { case … }");
	f->cases = arena_array(r->arena, from->cases.n, sizeof(*f->cases));
	for (size_t i = 0; fine && i < from->cases.n; i++) {
		const struct case_line *line = cases[i].data;
		struct frame_case *to = &f->cases[f->case_count++];

		to->frame = shape_inner(r, &line->shape, cases[i].statement);
		fine = case_value(r, f, &line->value, &to->value) && to->frame != NULL;
	}
	if (fine && otherwise != NULL) {
		f->else_case = shape_inner(r, &from->otherwise, otherwise);
		fine = f->else_case != NULL;
	}
	return fine;
}

static bool
is_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alpha(s.at[i]) && !ascii_is_digit(s.at[i]) && s.at[i] != '_' &&
		    s.at[i] != '-')
			return false;
	return s.n > 0 && ascii_is_alpha(s.at[0]);
}

static bool
read_fields(struct reading *r, const struct list *lines, struct frame *f)
{
	struct frame_field *fields = arena_array(r->arena, lines->n, sizeof(*fields));
	const struct filled *items = lines->items;
	bool fine = true;

	for (size_t i = 0; i < lines->n; i++) {
		const struct field_line *line = items[i].data;
		struct words w = words_of(r, &line->words, items[i].statement);

		if (!is_name(line->name.raw))
			wrong(&w, line->name.span,
			    "a field's name has letters, digits, \"_\" and \"-\"");
		fields[i].name = arena_slice(r->arena, line->name.raw);
		fields[i].number = take_kind(&w);
		fields[i].at = take_at(&w);
		fine = end(&w, "a field is written: NAME KIND at N") && fine;
	}
	f->fields = fields;
	f->field_count = lines->n;
	return fine;
}

static const char *
format_word(void *what, size_t i)
{
	return frame_format_word((enum frame_format)i);
}

static bool
read_format(struct reading *r, const struct list *list, const struct statement *s, struct frame *f)
{
	struct words w = words_of(r, list, s);
	const struct value *v = next(&w, "a format");
	const char *closest;

	f->format = frame_format_find(v->raw);
	if (f->format == FORMAT_COUNT) {
		closest = diag_closest(v->raw, format_word, NULL, FORMAT_COUNT);
		if (closest != NULL)
			wrong(&w, v->span,
			    "there is no format \"" SLICE_FORMAT "\"; did you mean \"%s\"?",
			    SLICE_ARG(diag_word(v->raw)), closest);
		else
			wrong(&w, v->span,
			    "there is no format \"" SLICE_FORMAT
			    "\"; there are json, text, words, kv and binary",
			    SLICE_ARG(diag_word(v->raw)));
		return false;
	}
	f->equals = '=';
	f->between = '&';
	if (f->format == FORMAT_KV && w.i < w.n) {
		f->equals = (char)take_byte(&w, "what stands between name and value");
		f->between = (char)take_byte(&w, "what stands between two pairs");
	}
	return end(&w, "only kv says more: kv \"=\" \"&\"");
}

static void
take_pairing(struct words *w, struct frame *f, struct frame_name *id)
{
	const struct value *v = next(w, "the field that pairs answers with questions");
	const char *mistake;

	if (v == NULL)
		return;
	if (slice_starts(v->raw, SLICE("msg.")) || slice_starts(v->raw, SLICE("msg["))) {
		struct slice bare = slice_after(v->raw, v->raw.at[3] == '.' ? 4 : 3);

		wrong(w, v->span, "a field of the message is meant: answers by " SLICE_FORMAT,
		    SLICE_ARG(diag_word(bare)));
		return;
	}
	mistake = frame_name_parse(f, arena_slice(w->r->arena, v->raw), id);
	if (mistake != NULL)
		wrong(w, v->span, "\"" SLICE_FORMAT "\": %s", SLICE_ARG(diag_word(v->raw)),
		    mistake);
	f->answers = FRAME_ANSWERS_BY_FIELD;
	f->answers_by = id;
	id->path.alone = true;
}

static bool
read_answers(struct reading *r, const struct list *list, const struct statement *s, struct frame *f,
    struct frame_name *id)
{
	struct words w = words_of(r, list, s);

	if (take(&w, "in_order"))
		f->answers = FRAME_ANSWERS_IN_ORDER;
	else if (take(&w, "by"))
		take_pairing(&w, f, id);
	else if (!take(&w, "none"))
		wrong(&w, w.v[0].span, "\"" SLICE_FORMAT "\" is not in_order, by FIELD or none",
		    SLICE_ARG(diag_word(w.v[0].raw)));
	return w.fine && end(&w, "answers are in_order, by FIELD or none");
}

/* ------------------------------------------------------------------ mistakes, at their rows */

struct saying {
	struct reading *r;
	const struct statement *owner;
	const struct frame *f;
};

/* The statement whose block says what is in that frame. */
static const struct statement *
owner_of(const struct saying *x, const struct frame *f)
{
	const struct statement *s = frame_rows_find(x->owner->block, "switch");

	if (f == x->f->preface)
		return frame_rows_find(x->owner->block, "preface");
	for (size_t i = 0; s != NULL && i < x->f->case_count; i++)
		if (f == x->f->cases[i].frame)
			return find_nth(s->block, "case", i);
	if (s != NULL && f == x->f->else_case && f != NULL)
		return frame_rows_find(s->block, "else");
	return x->owner;
}

/* Its nth value; the last one, if it has fewer. */
static struct span
value_span(const struct statement *s, size_t n)
{
	return s->values[MIN_OF(n, s->value_count - 1)].span;
}

static size_t
value_find(const struct statement *s, const char *word)
{
	size_t i = 0;

	while (i < s->value_count && !slice_is(s->values[i].raw, word))
		i++;
	return i;
}

static const char *const part_words[] = {
	[FRAME_PART_MAX] = "max", [FRAME_PART_MIN] = "min", [FRAME_PART_SYNC] = "sync",
	[FRAME_PART_RESYNC] = "resync", [FRAME_PART_BOUNDARY] = "boundary",
	[FRAME_PART_STRIP] = "strip", [FRAME_PART_EMPTY] = "empty", [FRAME_PART_LENGTH] = "length",
	[FRAME_PART_ADJUST] = "adjust", [FRAME_PART_HEADER] = "header",
	[FRAME_PART_FIXED] = "fixed", [FRAME_PART_TRAILER] = "trailer",
	[FRAME_PART_OTHERWISE] = "headers", [FRAME_PART_ESCAPE] = "escape",
	[FRAME_PART_CHECK] = "check", [FRAME_PART_SWITCH] = "switch",
	[FRAME_PART_CASE] = "switch", [FRAME_PART_PREFACE] = "preface",
	[FRAME_PART_FIELD] = "fields", [FRAME_PART_FORMAT] = "format",
	[FRAME_PART_ANSWERS] = "answers",
};

/* What says where a message of that block ends; if nothing does, the block itself. */
static struct span
kind_span(const struct statement *owner)
{
	static const char *const words[] = { "boundary", "length", "fixed", "headers", "end", "switch" };

	for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
		const struct statement *s = frame_rows_find(owner->block, words[i]);

		if (s != NULL)
			return s->span;
	}
	return owner->span;
}

static struct span
part_span(const struct statement *owner, const struct frame *f, enum frame_part part, size_t index)
{
	const char *word = part_words[part];
	const struct statement *s;

	if (f->kind == FRAME_HEADERS && (part == FRAME_PART_BOUNDARY || part == FRAME_PART_LENGTH))
		word = "headers";
	s = word != NULL ? frame_rows_find(owner->block, word) : NULL;
	if (part == FRAME_PART_LENGTH && f->kind != FRAME_HEADERS)
		s = find_nth(owner->block, word, index);
	if (s == NULL)
		return part == FRAME_PART_KIND ? kind_span(owner) : owner->span;
	switch (part) {
	case FRAME_PART_BOUNDARY:
		return value_span(s, index + 1 + (f->kind == FRAME_HEADERS));
	case FRAME_PART_LENGTH:
		return f->kind == FRAME_HEADERS ? value_span(s, value_find(s, "length") + 1)
						: s->span;
	case FRAME_PART_OTHERWISE:
		return value_span(s, value_find(s, "else") + 1 + index);
	case FRAME_PART_ESCAPE:
		if (index == 0)
			return s->span;
		index = 3 * index - 1 + (value_find(s, "flip") < s->value_count ? 2 : 0);
		return value_span(s, index);
	case FRAME_PART_CASE:
		owner = s;
		s = index < f->case_count ? find_nth(s->block, "case", index)
					  : frame_rows_find(s->block, "else");
		return s != NULL ? s->span : owner->span;
	case FRAME_PART_FIELD:
		s = s->block->first;
		for (; index > 0 && s->next != NULL; index--)
			s = s->next;
		return s->span;
	default:
		return s->span;
	}
}

static void
say(void *who, const struct frame *f, enum frame_part part, size_t index, const char *text)
{
	const struct saying *x = who;

	diag_error(x->r->diag, part_span(owner_of(x, f), f, part, index), "%s", text);
}

/* ------------------------------------------------------------------ all of it */

static bool
read_rest(struct reading *r, const struct protocol_block *block, const struct statement *s,
    struct frame *f, struct frame_name *id)
{
	const struct statement *types = frame_rows_find(s->block, "switch");
	const struct statement *preface = frame_rows_find(s->block, "preface");
	const struct statement *format = frame_rows_find(s->block, "format");
	const struct statement *answers = frame_rows_find(s->block, "answers");
	bool fine = read_fields(r, &block->fields, f);

	if (types != NULL)
		fine = read_switch(r, &block->types, types, f) && fine;
	if (preface != NULL) {
		f->preface = shape_inner(r, &block->preface, preface);
		fine = fine && f->preface != NULL;
	}
	f->format = f->field_count > 0 ? FORMAT_BINARY : FORMAT_TEXT;
	if (format != NULL)
		fine = read_format(r, &block->format, format, f) && fine;
	f->answers = FRAME_ANSWERS_NONE;
	if (answers != NULL && fine)
		fine = read_answers(r, &block->answers, answers, f, id);
	if (f->kind == FRAME_NONE && block->datagram)
		f->kind = FRAME_WHOLE;
	return fine;
}

bool
frame_rows_read(struct reading *r, const struct protocol_block *block, const struct statement *s,
    struct frame *f, struct frame_name *id)
{
	struct shaping top = { .r = r, .from = &block->shape, .owner = s, .f = f };
	struct saying who = { r, s, f };
	struct frame_mistakes mistakes = { say, &who, 0 };
	bool fine = shape(&top);

	return read_rest(r, block, s, f, id) && fine && frame_check(f, &mistakes);
}
