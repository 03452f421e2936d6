/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bounded: what has no room is dropped by whole lines and counted, and the memory is asked for in a way that
 * may fail.
 */
#include "server/control_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

/* ROWS, LINES: what each leaves free, so that it can still be said what is missing, and that it is the end. */
enum { FIRST = 4096, TEXT = 2048, ROWS = 512, LINES = 16 };

void
report_init(struct report *r, size_t most)
{
	*r = (struct report){ .most = most };
}

void
report_free(struct report *r)
{
	free(r->at);
	*r = (struct report){ .at = NULL };
}

static bool
grow(struct report *r, size_t need)
{
	size_t size = MIN_OF(MAX_OF(MAX_OF(2 * r->size, need), (size_t)FIRST), r->most);

	if (need > size)
		return false;

	char *grown = memory_try(size);

	if (grown == NULL)
		return false;
	if (r->n != 0)
		memcpy(grown, r->at, r->n);
	free(r->at);
	r->at = grown;
	r->size = size;
	return true;
}

static void
put(struct report *r, const char *at, size_t n)
{
	if (r->full || (r->n + n > r->size && !grow(r, r->n + n))) {
		r->full = true;
		return;
	}
	if (n != 0)
		memcpy(r->at + r->n, at, n);
	r->n += n;
}

static void
begin(struct report *r, char kind)
{
	r->line = r->n;
	r->full = false;
	put(r, &kind, 1);
}

static bool
end(struct report *r, size_t spare)
{
	put(r, "\n", 1);
	if (!r->full && r->n + spare <= r->most)
		return true;
	r->n = r->line;
	r->full = false;
	return false;
}

void
report_table(struct report *r, char kind, const char *name, const char *columns)
{
	begin(r, kind);
	put(r, name, strlen(name));
	put(r, "\t", 1);
	for (const char *c = columns; *c != '\0'; c++)
		put(r, *c == ' ' ? "\t" : c, 1);
	if (!end(r, ROWS))
		r->dropped++;
}

void
report_row(struct report *r)
{
	begin(r, ' ');
}

static void
separate(struct report *r)
{
	if (r->n > r->line + 1)
		put(r, "\t", 1);
}

static void
put_escaped(struct report *r, struct slice text)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.at[i], code[8];

		if (c == '\t' || c == '\n' || c == '\\')
			put(r, c == '\t' ? "\\t" : c == '\n' ? "\\n" : "\\\\", 2);
		else if ((unsigned char)c < 0x20 || c == 0x7f)
			put(r, code, (size_t)snprintf(code, sizeof(code), "\\x%02x", c & 0xff));
		else
			put(r, &c, 1);
	}
}

void
report_text(struct report *r, struct slice text)
{
	separate(r);
	/* A row of one empty value would be no row. */
	if (text.n == 0)
		put(r, "-", 1);
	else if (slice_is(text, "-"))
		put(r, "\\-", 2);
	else
		put_escaped(r, text);
}

void
report_number(struct report *r, uint64_t number)
{
	char digits[24];
	struct builder b = builder_on(digits, sizeof(digits));

	separate(r);
	builder_number(&b, number);
	put(r, b.at, b.n);
}

void
report_nothing(struct report *r)
{
	separate(r);
	put(r, "-", 1);
}

bool
report_end_row(struct report *r)
{
	bool good = end(r, ROWS);

	r->dropped += !good;
	return good;
}

void
report_line(struct report *r, char kind, const char *format, ...)
{
	char text[TEXT];
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	begin(r, kind);
	put_escaped(r, slice_make(text, n < 0 ? 0 : MIN_OF((size_t)n, sizeof(text) - 1)));
	(void)end(r, LINES);
}

void
report_whole_line(struct report *r, char kind, struct slice text)
{
	begin(r, kind);
	put_escaped(r, text);
	r->dropped += !end(r, ROWS);
}

uint64_t
report_take_rows(struct report *r, struct slice lines)
{
	struct slice line;
	uint64_t taken = 0;

	while (slice_split(&lines, '\n', &line)) {
		if (line.n < 2 || line.at[0] != ' ')
			continue;
		begin(r, ' ');
		put(r, line.at + 1, line.n - 1);
		taken += report_end_row(r);
	}
	return taken;
}

void
report_end(struct report *r)
{
	if (r->dropped != 0)
		report_line(r, '!', "%llu rows have no room here", (unsigned long long)r->dropped);
	r->full = false;
	put(r, ".\n", 2);
}
