/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes through the scanner and the grammar, and what is said about them through both printers. */
#include <stdio.h>
#include "config/ast.h"
#include "fuzz.h"

/* Every value lies in the text, and every block in the one round it. */
static void
walk(const struct block *block, struct slice text, unsigned depth)
{
	if (depth > AST_DEPTH_MAX)
		abort();
	for (const struct statement *s = block->first; s != NULL; s = s->next) {
		if (s->value_count == 0)
			abort();
		for (size_t i = 0; i < s->value_count; i++) {
			struct value v = s->values[i];

			if (v.raw.at < text.at || v.raw.n > (size_t)(text.at + text.n - v.raw.at) ||
			    v.span.at > text.n || v.span.n > text.n - v.span.at)
				abort();
		}
		if (s->block != NULL)
			walk(s->block, text, depth + 1);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct sources sources;
	struct diag diag;
	struct source like = { .kind = SOURCE_FILE, .name = SLICE("fuzz.conf"), .text = { (const char *)data, size } };
	char *text = NULL;
	size_t n = 0;

	if (size == 0)
		like.text = SLICE_EMPTY;
	arena_init(&arena, NULL, 0);
	sources_init(&sources, &arena, false);
	diag_init(&diag, &arena, &sources);
	struct source *source = sources_add(&sources, &like);
	struct block *block = ast_parse(&arena, source, &diag);
	walk(block, source->text, 0);
	ast_parse_all(&arena, &sources, source, &diag);
	FILE *to = open_memstream(&text, &n);
	if (to != NULL) {
		diag_print(&diag, to);
		diag_print_json(&diag, to);
		fclose(to);
		free(text);
	}
	arena_reset(&arena);
	return 0;
}
