/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Texts: cut once into literals and fields, then built front to back. Escapes
 * and fields are read in one pass over what stands in the file, so an escaped
 * dollar is a dollar, and an error points at its own column.
 */
#include "core/text.h"

#include "core/exchange.h"

/* ------------------------------------------------------------------ compiled */

struct cutter {
	struct reading *r;
	const struct scope *scope;
	struct text *text;
	struct slice raw;
	size_t at;
	struct builder literal; /* all literals one behind the other; never longer than raw */
	size_t cut;                     /* where in it the current one begins */
	size_t room;
};

/* `n` bytes of the raw text as a place in the file: a string's quote stands before them. */
static struct span
span_at(const struct cutter *c, size_t at, size_t n)
{
	struct span s = c->text->raw.span;

	if (s.file == 0)
		return s;
	s.at += (uint32_t)at + (c->text->raw.kind == VALUE_STRING);
	s.n = (uint32_t)n;
	return s;
}

static void
end_literal(struct cutter *c)
{
	struct slice piece = slice_after(builder_slice(&c->literal), c->cut);

	if (piece.n == 0)
		return;
	*ARENA_PUSH(c->r->arena, c->text->parts, c->text->part_count, c->room) =
	    (struct text_part){ .literal = piece };
	c->cut = c->literal.n;
}

/* One escape, decoded by itself: the dollar it may hold begins no field. */
static bool
cut_escape(struct cutter *c)
{
	struct slice escape = slice_make(c->raw.at + c->at, MIN_OF(c->raw.n - c->at, (size_t)2));
	struct value piece = c->text->raw;
	struct slice decoded;

	if (slice_is(escape, "\\x"))
		escape.n = MIN_OF(c->raw.n - c->at, (size_t)4);
	piece.raw = escape;
	piece.span = span_at(c, c->at, escape.n);
	/* schema_decode counts from behind a quote */
	piece.span.at -= piece.span.file != 0;
	if (!schema_decode(c->r, &piece, false, &decoded))
		return false;
	builder_slice_put(&c->literal, decoded);
	c->at += escape.n;
	return true;
}

static bool
is_name_byte(char b)
{
	return ascii_is_alpha(b) || ascii_is_digit(b) || b == '_' || b == '.' || b == '-';
}

/* nginx's $name. */
static bool
report_bare(struct cutter *c)
{
	size_t end = c->at + 1;

	while (end < c->raw.n && is_name_byte(c->raw.at[end]))
		end++;
	/* a full stop may end a sentence */
	while (c->raw.at[end - 1] == '.' || c->raw.at[end - 1] == '-')
		end--;

	struct slice name = diag_word(slice_make(c->raw.at + c->at + 1, end - c->at - 1));

	diag_error(c->r->diag, span_at(c, c->at, end - c->at),
	    "a field in a string is written \"${" SLICE_FORMAT
	    "}\"; a plain dollar sign is \"\\$\"",
	    SLICE_ARG(name));
	return false;
}

static bool
cut_field(struct cutter *c)
{
	size_t from = c->at + 2, end = slice_find(c->raw, '}', from);
	struct slice name = slice_make(c->raw.at + from, end - from);

	if (end == c->raw.n) {
		diag_error(c->r->diag, span_at(c, c->at, 2),
		    "\"${\" without its \"}\"; a plain dollar sign is \"\\$\"");
		return false;
	}
	if (name.n == 0) {
		diag_error(c->r->diag, span_at(c, c->at, 3), "\"${}\" names no field");
		return false;
	}
	end_literal(c);
	c->at = end + 1;

	struct text_part *part =
	    ARENA_PUSH(c->r->arena, c->text->parts, c->text->part_count, c->room);

	*part = (struct text_part){ .literal = SLICE_EMPTY };
	return field_find(c->r, c->scope, name, span_at(c, from, name.n), &part->ref);
}

static bool
cut_dollar(struct cutter *c)
{
	char next = c->at + 1 < c->raw.n ? c->raw.at[c->at + 1] : ' ';

	if (next == '{')
		return cut_field(c);
	if (ascii_is_alpha(next) || ascii_is_digit(next) || next == '_')
		return report_bare(c);
	builder_byte(&c->literal, '$');
	c->at++;
	return true;
}

/* Goes on behind a bad field, so that all of them are reported; a bad escape ends it. */
static bool
cut(struct cutter *c)
{
	bool fine = true;

	while (c->at < c->raw.n) {
		size_t before = c->at;
		char b = c->raw.at[before];

		if (b == '\\') {
			if (!cut_escape(c))
				return false;
		} else if (b == '$') {
			fine = cut_dollar(c) && fine;
			if (c->at == before)
				c->at++;
		} else {
			builder_byte(&c->literal, b);
			c->at++;
		}
	}
	end_literal(c);
	return fine;
}

static bool
text_read(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	struct text *t = out;

	*t = (struct text){ .raw = *v, .place = (enum text_place)a->more };
	if (v->kind == VALUE_WORD) {
		t->constant = true;
		t->literal = v->raw;
	}
	return true;
}

/* One that is constant is sent from where it lies, however long. */
static bool
is_body(enum text_place place)
{
	return place == TEXT_PLAIN || place == TEXT_JSON || place == TEXT_HTML;
}

static bool
text_compile(struct reading *r, const struct scope *scope, const struct argument *a, void *out)
{
	struct text *t = out;

	if (t->raw.kind == VALUE_WORD)
		return true;

	struct cutter c = { .r = r, .scope = scope, .text = t, .raw = t->raw.raw };

	c.literal = builder_on(arena_alloc(r->arena, c.raw.n + 1), c.raw.n);
	t->parts = NULL;
	t->part_count = 0;
	if (!cut(&c))
		return false;
	t->constant = c.literal.n == 0 ? t->part_count == 0
				       : t->part_count == 1 && t->parts[0].ref.field == NULL;
	t->literal = t->constant ? builder_slice(&c.literal) : SLICE_EMPTY;
	if (!t->constant || t->literal.n <= TEXT_MAX || is_body(t->place))
		return true;
	diag_error(r->diag, t->raw.span, "the text is longer than %d bytes", TEXT_MAX);
	return false;
}

const struct type type_text = {
	.name = "TEXT", .wanted = "a text (\"…${field}…\")", .size = sizeof(struct text),
	.read = text_read, .compile = text_compile,
};

static bool
ends_nocase(struct slice s, struct slice end)
{
	return s.n >= end.n && slice_equal_nocase(slice_after(s, s.n - end.n), end);
}

/* A value must not end the string, the text or the attribute that it stands in. */
enum text_place
text_place_for(struct slice type)
{
	struct slice name = slice_trim(slice_first(type, slice_find(type, ';', 0)));

	if (slice_equal_nocase(name, SLICE("application/json")) ||
	    ends_nocase(name, SLICE("+json")))
		return TEXT_JSON;
	if (slice_equal_nocase(name, SLICE("text/html")) || ends_nocase(name, SLICE("/xml")) ||
	    ends_nocase(name, SLICE("+xml")))
		return TEXT_HTML;
	return TEXT_PLAIN;
}

/* ------------------------------------------------------------------ built */

static void
put_header(struct builder *b, struct slice s)
{
	size_t from = b->n;

	builder_slice_put(b, s);
	for (size_t i = from; i < b->n; i++)
		if (((unsigned char)b->at[i] < 0x20 && b->at[i] != '\t') || b->at[i] == 0x7f)
			b->at[i] = ' ';
}

/* What a value may hold as it is: RFC 3986 3.3; in a query, less what parts its arguments. */
static bool
stands_in_url(char byte, bool query)
{
	return ascii_is_alpha(byte) || ascii_is_digit(byte) ||
	    (byte != '\0' && strchr(query ? "-._~/:@!$'()*," : "-._~/:@!$'()*,&=+;", byte) != NULL);
}

/*
 * The value is decoded: its `%`, `?` and `#` are bytes like others, and who decodes next must get
 * them back. Left as they are, %252e%252e would become the `..` that was refused before, and a `?`
 * would begin a query.
 */
static void
put_url(struct builder *b, struct slice s, bool query)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char byte = (unsigned char)s.at[i];

		if (stands_in_url(s.at[i], query))
			builder_byte(b, s.at[i]);
		else
			builder_put(
			    b, (const char[]){ '%', digits[byte >> 4], digits[byte & 15] }, 3);
	}
}

static void
put_html(struct builder *b, struct slice s)
{
	static const char marks[] = "&<>\"'";
	static const char *const references[] = { "&amp;", "&lt;", "&gt;", "&quot;", "&#39;" };

	for (size_t i = 0; i < s.n; i++) {
		const char *mark = memchr(marks, s.at[i], sizeof(marks) - 1);

		if (mark != NULL)
			builder_text(b, references[mark - marks]);
		else
			builder_byte(b, s.at[i]);
	}
}

static void
put_value(const struct text *t, const struct field *f, struct slice value, struct builder *b)
{
	switch (t->place) {
	case TEXT_PLAIN:
		builder_slice_put(b, value);
		break;
	case TEXT_URL:
		if (f->flags & FIELD_URI)
			builder_uri(b, value);
		else
			put_url(b, value, memchr(b->at, '?', b->n) != NULL);
		break;
	case TEXT_HEADER:
		put_header(b, value);
		break;
	case TEXT_JSON:
		builder_json(b, value);
		break;
	case TEXT_HTML:
		put_html(b, value);
		break;
	case TEXT_LOG:
		builder_log(b, value);
		break;
	}
}

bool
text_build(const struct text *t, struct exchange *ex, struct builder *b)
{
	struct slice value;

	if (t->constant) {
		builder_slice_put(b, t->literal);
		return !b->full;
	}
	for (size_t i = 0; i < t->part_count && !b->full; i++) {
		const struct text_part *part = &t->parts[i];

		if (part->ref.field == NULL)
			builder_slice_put(b, part->literal);
		else if (field_text(ex, &part->ref, part->ref.field->flags & FIELD_JOINED, &value))
			put_value(t, part->ref.field, value, b);
	}
	return !b->full;
}

bool
text_get(const struct text *t, struct exchange *ex, struct slice *out)
{
	char room[TEXT_MAX];
	struct builder b = builder_on(room, sizeof(room));

	if (t->constant) {
		*out = t->literal;
		return true;
	}
	if (!text_build(t, ex, &b))
		return false;
	*out = arena_slice(&ex->arena, builder_slice(&b));
	return true;
}

bool
text_write(const struct text *t, struct exchange *ex, struct slice *out)
{
	if (!text_get(t, ex, out))
		return false;
	if (!t->constant) {
		char *at = scratch_alloc(&ex->engine->loop.scratch, out->n);

		memcpy(at, out->at, out->n);
		out->at = at;
	}
	return true;
}
static void
show_byte(char c, char quote, struct builder *b)
{
	static const char named[] = "\nn\rr\tt\\\\";
	const char *name = c != '\0' ? strchr(named, c) : NULL;

	/* every other one is a letter that stands for the byte before it */
	if (name != NULL && (name - named) % 2 == 0)
		builder_printf(b, "\\%c", name[1]);
	else if ((unsigned char)c < ' ' || (unsigned char)c >= 0x7f || c == quote)
		builder_printf(b, "\\x%02x", (unsigned char)c);
	else
		builder_byte(b, c);
}

void
text_show_slice(struct slice s, struct builder *b)
{
	enum { SHOWN = 120 };
	char quote = slice_find(s, '"', 0) < s.n && slice_find(s, '\'', 0) == s.n ? '\'' : '"';

	builder_byte(b, ' ');
	builder_byte(b, quote);
	for (size_t i = 0; i < MIN_OF(s.n, (size_t)SHOWN); i++)
		show_byte(s.at[i], quote, b);
	builder_text(b, s.n > SHOWN ? "…" : "");
	builder_byte(b, quote);
}

bool
text_show(const struct text *t, struct exchange *ex, struct builder *b)
{
	struct slice text;

	if (!text_get(t, ex, &text))
		return false;
	text_show_slice(text, b);
	return true;
}

