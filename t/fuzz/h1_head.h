/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What holds for every head that the parser takes, and for every cut of one: shared by the
 * fuzz targets of questions and answers.
 */
#ifndef MILLRACE_FUZZ_H1_HEAD_H
#define MILLRACE_FUZZ_H1_HEAD_H

#include "protocols/http/fields.h"
#include "protocols/http/h1_parse.h"
#include "protocols/http/uri.h"
#include "fuzz.h"

typedef ssize_t h1_parser(struct message *, struct arena *, struct slice, const struct h1_limits *, enum reason *);

/* Small, so that the limits are met. */
static const struct h1_limits h1_head_limits = { .uri = 120, .field = 160, .head = 600, .count = 20 };

static inline void
h1_head_check_fields(const struct message *m)
{
	uint32_t at = 0;

	MUST(m->field_count <= h1_head_limits.count && m->size <= h1_head_limits.head);
	for (size_t i = 0; i < m->field_count; i++) {
		const struct message_field *f = &m->fields[i];
		struct slice name = message_field_name(m, f), value = message_field_value(m, f);

		MUST(f->name_n > 0 && f->name_at >= at && f->value_at > f->name_at + f->name_n);
		MUST(f->value_at + f->value_n + 2 <= f->end && f->end <= m->size);
		MUST(memcmp(m->base + f->end - 2, "\r\n", 2) == 0);
		MUST(f->known == known_find(name));
		for (size_t j = 0; j < name.n; j++)
			MUST(ascii_is_token(name.at[j]));
		for (size_t j = 0; j < value.n; j++)
			MUST(value.at[j] == '\t' || ((unsigned char)value.at[j] >= ' ' && value.at[j] != 0x7f));
		MUST(slice_trim(value).n == value.n);
		at = f->end;
	}
	MUST(at == 0 || at + 2 == m->size);
}

/* Parses all, then every start of it: incomplete, or the same verdict. Returns what all gave. */
static inline ssize_t
h1_head_check(h1_parser *parse, struct message *m, struct arena *a, struct slice in)
{
	enum reason why = REASON_NONE, why_cut = REASON_NONE;
	struct message cut;
	ssize_t size;

	message_init(m);
	size = parse(m, a, in, &h1_head_limits, &why);
	MUST(size >= -1 && size <= (ssize_t)in.n && (size == -1) == (why != REASON_NONE));
	message_init(&cut);
	for (size_t n = 0; n < in.n && n < 700; n++) {
		ssize_t got = parse(&cut, a, slice_first(in, n), &h1_head_limits, &why_cut);

		if (size > 0)
			MUST(got == ((ssize_t)n < size ? 0 : size));
		else
			MUST(got == 0 || (got == size && why == why_cut));
	}
	if (size > 0) {
		MUST(m->size == (uint32_t)size && m->base == in.at && m->body <= BODY_TO_CLOSE);
		h1_head_check_fields(m);
	}
	return size;
}

#endif
