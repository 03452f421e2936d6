/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Diagnostics: kept in the order they were found, printed in the order of
 * the text. Whatever stands in a file, only printable text leaves here.
 */
#include "config/diag.h"

#include <stdarg.h>
#include <stdlib.h>

enum { TEXT_MAX = 1024, WORD_MAX = 80, WINDOW = 100 };

void
diag_init(struct diag *d, struct arena *arena, struct sources *sources)
{
	*d = (struct diag){ .arena = arena, .sources = sources };
}

struct slice
diag_word(struct slice word)
{
	if (word.n <= WORD_MAX)
		return word;
	size_t n = 0;
	for (size_t size; n < WORD_MAX; n += MAX_OF(size, (size_t)1))
		size = utf8_length(slice_after(word, n));
	return slice_first(word, n);
}

static void
keep(struct diag *d, enum severity severity, struct span at, const char *format, va_list args)
{
	char text[TEXT_MAX];
	struct diagnostic *one = arena_zalloc(d->arena, sizeof(*one));

	vsnprintf(text, sizeof(text), format, args);
	one->severity = severity;
	one->span = at;
	one->text = arena_text(d->arena, slice_of(text));
	if (d->last != NULL)
		d->last->next = one;
	else
		d->first = one;
	d->last = one;
}

void
diag_error(struct diag *d, struct span at, const char *format, ...)
{
	va_list args;

	d->keep_notes = d->errors++ + d->warnings < DIAG_MAX;
	if (!d->keep_notes)
		return;
	va_start(args, format);
	keep(d, SEVERITY_ERROR, at, format, args);
	va_end(args);
}

void
diag_warning(struct diag *d, struct span at, const char *format, ...)
{
	va_list args;

	d->keep_notes = d->errors + d->warnings++ < DIAG_MAX;
	if (!d->keep_notes)
		return;
	va_start(args, format);
	keep(d, SEVERITY_WARNING, at, format, args);
	va_end(args);
}

void
diag_note(struct diag *d, struct span at, const char *format, ...)
{
	va_list args;

	if (!d->keep_notes)
		return;
	va_start(args, format);
	keep(d, SEVERITY_NOTE, at, format, args);
	va_end(args);
}

struct owner {
	const struct diagnostic *one;
	size_t order;
};

static int
by_place(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;
	struct span p = x->one->span, q = y->one->span;

	if (p.file != q.file)
		return p.file < q.file ? -1 : 1;
	if (p.at != q.at)
		return p.at < q.at ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

/* All but the notes, in the order of the text. */
static struct owner *
sorted(const struct diag *d, size_t *count)
{
	struct owner *owners = arena_array(d->arena, DIAG_MAX + 1, sizeof(*owners));

	*count = 0;
	for (const struct diagnostic *one = d->first; one != NULL; one = one->next)
		if (one->severity != SEVERITY_NOTE) {
			owners[*count] = (struct owner){ one, *count };
			++*count;
		}
	if (*count > 0)
		qsort(owners, *count, sizeof(*owners), by_place);
	return owners;
}

static struct source *
source_of(const struct diag *d, struct span at)
{
	return at.file == 0 || at.file > d->sources->count ? NULL : d->sources->items[at.file - 1];
}

/* Control bytes and broken UTF-8 as `?`; a tab stays. */
static void
put_clean(FILE *to, struct slice s)
{
	for (size_t i = 0, n; i < s.n; i += n) {
		if (utf8_printable(slice_after(s, i), &n) || s.at[i] == '\t')
			fwrite(s.at + i, 1, n, to);
		else
			fputc('?', to);
	}
}

/* The same width in blanks, tabs kept, or in marks. */
static void
put_width(FILE *to, struct slice s, const char *marks)
{
	for (size_t i = 0, n; i < s.n; i += MAX_OF(n, (size_t)1)) {
		n = utf8_length(slice_after(s, i));
		if (marks != NULL)
			fputc(i == 0 ? marks[0] : marks[1], to);
		else
			fputc(s.at[i] == '\t' ? '\t' : ' ', to);
	}
}

/* Moves *at to the first byte of its character. */
static size_t
character_start(struct slice s, size_t at)
{
	for (int i = 0; i < 3 && at > 0 && at < s.n && ((unsigned char)s.at[at] & 0xc0) == 0x80;
	     i++)
		at--;
	return at;
}

/* The line with a caret below; of a long one, what is round the caret. */
static void
print_excerpt(FILE *to, struct source *s, struct span at, unsigned line)
{
	struct slice text = source_line(s, line);
	size_t caret = MIN_OF((size_t)(at.at - s->lines[line - 1]), text.n);
	size_t from = 0, end = text.n;

	if (text.n > WINDOW) {
		from = character_start(text, caret > WINDOW / 2 ? caret - WINDOW / 2 : 0);
		end = character_start(text, MIN_OF(text.n, from + WINDOW));
	}
	struct slice before = slice_make(text.at + from, caret - from);
	struct slice marked = slice_make(text.at + caret, MIN_OF((size_t)at.n, end - caret));

	fprintf(to, "%5u | %s", line, from > 0 ? "..." : "");
	put_clean(to, slice_make(text.at + from, end - from));
	fprintf(to, "%s\n      | %s", end < text.n ? "..." : "", from > 0 ? "   " : "");
	put_width(to, before, NULL);
	put_width(to, marked.n > 0 ? marked : SLICE(" "), "^~");
	fputc('\n', to);
}

static const char *const severities[] = { "note", "warning", "error" };

static void
print_one(const struct diag *d, const struct diagnostic *one, FILE *to)
{
	struct source *s = source_of(d, one->span);
	unsigned line = 0, column;

	if (s != NULL) {
		put_clean(to, s->shown);
		if (s->error == 0 && s->kind == SOURCE_FILE) {
			source_place(s, one->span.at, &line, &column);
			fprintf(to, ":%u:%u", line, column);
		}
		fputs(": ", to);
	}
	fprintf(to, "%s: ", severities[one->severity]);
	put_clean(to, slice_of(one->text));
	fputc('\n', to);
	if (line > 0)
		print_excerpt(to, s, one->span, line);
}

void
diag_print(const struct diag *d, FILE *to)
{
	size_t count;
	const struct owner *owners = sorted(d, &count);

	for (size_t i = 0; i < count; i++) {
		const struct diagnostic *one = owners[i].one;

		do
			print_one(d, one, to);
		while ((one = one->next) != NULL && one->severity == SEVERITY_NOTE);
	}
	if (d->errors + d->warnings > count)
		fprintf(to, "... and %zu more\n", d->errors + d->warnings - count);
}

static void
print_json_text(const struct diag *d, FILE *to, const char *name, struct slice s)
{
	size_t room = s.n * 6 + 1;
	struct builder b = builder_on(arena_alloc(d->arena, room), room);

	builder_json(&b, s);
	fprintf(to, "\"%s\":\"%.*s\"", name, (int)b.n, b.at);
}

/* The inside of an object, without the braces. */
static void
print_json_one(const struct diag *d, const struct diagnostic *one, FILE *to)
{
	struct source *s = source_of(d, one->span);

	fprintf(to, "\"severity\":\"%s\",", severities[one->severity]);
	if (s != NULL) {
		print_json_text(d, to, "file", s->shown);
		fputc(',', to);
	}
	if (s != NULL && s->error == 0 && s->kind == SOURCE_FILE) {
		unsigned line, column, end_line, end_column;

		source_place(s, one->span.at, &line, &column);
		source_place(s, one->span.at + one->span.n, &end_line, &end_column);
		if (end_line != line) {
			struct slice text = source_line(s, line);

			source_place(
			    s, (uint32_t)(s->lines[line - 1] + text.n), &end_line, &end_column);
		}
		fprintf(
		    to, "\"line\":%u,\"column\":%u,\"end_column\":%u,", line, column, end_column);
	}
	print_json_text(d, to, "message", slice_of(one->text));
}

void
diag_print_json(const struct diag *d, FILE *to)
{
	size_t count;
	const struct owner *owners = sorted(d, &count);

	for (size_t i = 0; i < count; i++) {
		const struct diagnostic *one = owners[i].one;
		const char *separator = "";

		fputc('{', to);
		print_json_one(d, one, to);
		fputs(",\"notes\":[", to);
		while ((one = one->next) != NULL && one->severity == SEVERITY_NOTE) {
			fprintf(to, "%s{", separator);
			print_json_one(d, one, to);
			fputc('}', to);
			separator = ",";
		}
		fputs("]}\n", to);
	}
}

enum { CLOSE_MAX = 40 };                /* bytes of a word that is worth comparing */

/* Edits that lead from a to b: insert, delete, change, swap of neighbours. */
static size_t
distance(struct slice a, struct slice b)
{
	size_t rows[3][CLOSE_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];

	for (size_t j = 0; j <= b.n; j++)
		last[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		now[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			size_t best = last[j - 1] + (a.at[i - 1] != b.at[j - 1]);

			best = MIN_OF(best, MIN_OF(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a.at[i - 1] == b.at[j - 2] &&
			    a.at[i - 2] == b.at[j - 1])
				best = MIN_OF(best, before[j - 2] + 1);
			now[j] = best;
		}
		size_t *swap = before;
		before = last, last = now, now = swap;
	}
	return last[b.n];
}

const char *
diag_closest(struct slice word, const char *(*next)(void *what, size_t i), void *what, size_t count)
{
	const char *closest = NULL;
	size_t best = MAX_OF((size_t)1, word.n / 3) + 1;

	if (word.n == 0 || word.n > CLOSE_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const char *name = next(what, i);
		size_t n = name == NULL ? 0 : strlen(name);

		if (n == 0 || n > CLOSE_MAX || n >= word.n + best || word.n >= n + best)
			continue;
		size_t edits = distance(word, slice_make(name, n));
		if (edits < best && edits < n) {
			best = edits;
			closest = name;
		}
	}
	return closest;
}
