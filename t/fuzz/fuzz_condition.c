/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A condition: parsed, compiled, asked of two exchanges, compared with its own
 * negation. The first bytes up to a line's end are the condition; what follows is the path.
 */
#include "core/exchange.h"
#include "fuzz.h"

static bool
get_path(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	out->text = ex->question.path;
	return nth == 0 && out->text.n > 0;
}

static bool
get_size(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	out->number = (int64_t)ex->question.path.n;
	return nth == 0;
}

/* The path's pieces between slashes. */
static bool
get_piece(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct slice rest = ex->question.path;

	while (slice_split(&rest, '/', &out->text))
		if (nth-- == 0)
			return true;
	return false;
}

static const struct field fields[] = {
	{ "path", FIELD_TEXT, MOMENT_QUESTION, 0, get_path, NULL, "The path." },
	{ "host", FIELD_TEXT, MOMENT_QUESTION, FIELD_NOCASE, get_path, NULL, "The path, without case." },
	{ "size", FIELD_NUMBER, MOMENT_QUESTION, 0, get_size, NULL, "Its length." },
	{ "piece.", FIELD_TEXT, MOMENT_QUESTION, FIELD_FAMILY | FIELD_REPEATED, get_piece, NULL, "Its pieces." },
	{ 0 },
};

static const struct protocol_ops protocol = { .name = "fuzz", .fields = fields };

static void
demand(bool holds)
{
	if (!holds)
		abort();
}

static void
ask(struct reading *r, const struct expression *e, struct slice path)
{
	static const char *const captures[] = { "id", "", NULL };
	struct scope scope = { .protocol = &protocol, .moment = MOMENT_QUESTION, .captures = captures, .where = "a condition" };
	struct expression negation = { .kind = EXPRESSION_NOT, .left = (struct expression *)e, .span = e->span };
	const struct condition *is = condition_compile(r, &scope, e);

	demand((is == NULL) == (r->diag->errors > 0));
	if (is == NULL)
		return;

	const struct condition *is_not = condition_compile(r, &scope, &negation);
	static struct addr src;
	static struct exchange ex;
	static struct engine engine;

	demand(is_not != NULL && condition_implies(is, NULL));
	demand(condition_moment(is) == condition_moment(is_not));
	demand(addr_parse(SLICE("10.1.2.3:80"), &src));
	ex = (struct exchange){ .engine = &engine, .src = &src };
	for (int i = 0; i < 2; i++) {
		ex.question.path = i == 0 ? path : SLICE_EMPTY;

		bool says = condition_is(is, &ex), says_not = condition_is(is_not, &ex);

		demand(says != says_not || ex.gave_up);
		demand(!says || says_not || ex.gave_up || !condition_implies(is, is_not));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct sources sources;
	struct diag diag;
	struct slice rest = slice_make((const char *)data, size), line = SLICE_EMPTY;

	if (size > 4096)
		return 0;
	(void)slice_split(&rest, '\n', &line);
	arena_init(&arena, NULL, 0);
	sources_init(&sources, &arena, false);
	diag_init(&diag, &arena, &sources);

	struct reading r = { .arena = &arena, .sources = &sources, .diag = &diag };
	char *text = arena_printf(&arena, "x when " SLICE_FORMAT ";", SLICE_ARG(line));
	struct source like = { .kind = SOURCE_FILE, .name = SLICE("fuzz.conf"), .text = slice_of(text) };
	const struct block *block = ast_parse(&arena, sources_add(&sources, &like), &diag);

	if (diag.errors == 0)
		for (const struct statement *s = block->first; s != NULL && diag.errors == 0; s = s->next)
			if (s->when != NULL)
				ask(&r, s->when, rest);
	arena_reset(&arena);
	return 0;
}
