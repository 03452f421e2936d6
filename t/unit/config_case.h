/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the tests of src/config: a configuration given as text, and what was
 * said about it as text, so that each message is tested to the letter.
 */
#ifndef MILLRACE_CONFIG_CASE_H
#define MILLRACE_CONFIG_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/ast.h"

struct config_case {
	struct arena arena;
	struct sources sources;
	struct diag diag;
	struct source *main;
};

/* Nothing is read from the disk; more files may be added. */
static inline struct source *
case_add(struct config_case *c, const char *name, struct slice text)
{
	struct source like = { .kind = SOURCE_FILE, .name = slice_of(name), .text = arena_slice(&c->arena, text) };

	return sources_add(&c->sources, &like);
}

static inline void
case_open_slice(struct config_case *c, struct slice text)
{
	arena_init(&c->arena, NULL, 0);
	sources_init(&c->sources, &c->arena, false);
	diag_init(&c->diag, &c->arena, &c->sources);
	c->main = case_add(c, "a.conf", text);
}

static inline void
case_open(struct config_case *c, const char *text)
{
	case_open_slice(c, slice_of(text));
}

static inline void
case_close(struct config_case *c)
{
	arena_reset(&c->arena);
}

/* Not inline: gcc 12 takes what open_memstream leaves in `text` for a dangling pointer. */
__attribute__((noinline)) static UNUSED char *
case_said(struct config_case *c, bool json)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	if (json)
		diag_print_json(&c->diag, to);
	else
		diag_print(&c->diag, to);
	fclose(to);
	return text;
}

static inline void
case_expect(struct config_case *c, const char *wanted)
{
	char *text = case_said(c, false);

	assert_string_equal(text, wanted);
	free(text);
}

/* Only the lines with a place: the excerpts are left out. */
static inline void
case_expect_lines(struct config_case *c, const char *wanted)
{
	char *text = case_said(c, false);
	char *to = text, *line = text;

	while (*line != '\0') {
		size_t n = strcspn(line, "\n") + 1;

		if (line[0] != ' ' && !(line[0] >= '0' && line[0] <= '9')) {
			memmove(to, line, n);
			to += n;
		}
		line += n;
	}
	*to = '\0';
	assert_string_equal(text, wanted);
	free(text);
}

#endif
