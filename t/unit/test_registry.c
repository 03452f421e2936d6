/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/registry: all tables of the language, walked from the top: what every row must have, whoever
 * adds one.
 */
#include "config_case.h"
#include "core/conn.h"
#include "server/registry.h"

enum { DEPTH_MAX = 8 };

/* The rows of all tables of one block, one after another. */
struct walk {
	const struct table *table;
	const struct directive *row;
};

static bool
walk_next(struct walk *w)
{
	if (w->row != NULL)
		w->row++;
	else
		w->row = w->table->rows;
	while (w->row->name == NULL) {
		w->table++;
		if (w->table->rows == NULL)
			return false;
		w->row = w->table->rows;
	}
	return true;
}

static size_t rows_seen;

static void
each_row(const struct table *tables, int depth, void (*call)(const struct table *tables, const struct directive *row))
{
	struct walk w = { tables, NULL };

	assert_true(depth < DEPTH_MAX);
	while (walk_next(&w)) {
		rows_seen++;
		call(tables, w.row);
		if (w.row->inside != NULL)
			each_row(w.row->inside, depth + 1, call);
	}
}

static bool
has_row(const struct table *tables, struct slice name, const struct directive *but)
{
	struct walk w = { tables, NULL };

	while (walk_next(&w))
		if (w.row != but && slice_is(name, w.row->name))
			return true;
	return false;
}

/* ------------------------------------------------------------------ what every row must have */

static void
check_help(const struct table *tables, const struct directive *row)
{
	size_t n = row->help != NULL ? strlen(row->help) : 0;

	if (n < 10 || row->help[n - 1] != '.' || strchr(row->help, '\n') != NULL)
		fail_msg("%s: its help does not end with a full stop", row->name);
}

static void
check_name(const struct table *tables, const struct directive *row)
{
	/* `~` is the row of patterns in a map */
	for (const char *at = strcmp(row->name, "~") != 0 ? row->name : ""; *at != '\0'; at++)
		if (!(*at >= 'a' && *at <= 'z') && *at != '_' && (row->flags & DIRECTIVE_FREE) == 0)
			fail_msg("%s: a name has small letters and _", row->name);
	if (has_row(tables, slice_of(row->name), row))
		fail_msg("%s stands twice in a block", row->name);
}

static void
check_kind(const struct table *tables, const struct directive *row)
{
	bool block = row->kind == DIRECTIVE_BLOCK;
	bool lists = row->kind == DIRECTIVE_STEP || (row->flags & DIRECTIVE_REPEATS) != 0;

	bool inside = row->inside != NULL || row->find_inside != NULL;

	if (block != inside && (row->flags & DIRECTIVE_BLOCK_OPTIONAL) == 0)
		fail_msg("%s: a block has an inside, and of others who can do without", row->name);
	if (row->otherwise != NULL && (row->kind != DIRECTIVE_SETTING || lists))
		fail_msg("%s: only a single setting has a default", row->name);
	if ((row->flags & DIRECTIVE_WHEN) != 0 && row->kind == DIRECTIVE_SETTING && !lists)
		fail_msg("%s: a single setting has no condition", row->name);
	if (row->inherit_size != 0 && (!block || !lists || row->inherit_to + row->inherit_size > row->size))
		fail_msg("%s: what it inherits does not fit", row->name);
}

static void
check_arguments(const struct table *tables, const struct directive *row)
{
	bool lists = row->kind == DIRECTIVE_STEP || (row->flags & DIRECTIVE_REPEATS) != 0;
	bool optional = false;

	/* it is gone before a table is asked */
	if (strcmp(row->name, "include") == 0)
		return;
	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++) {
		size_t size = (a->flags & ARGUMENT_MANY) != 0 ? sizeof(struct list) : a->type->size;

		if (a->name == NULL || a->type->read == NULL || a->type->name == NULL || a->type->wanted == NULL)
			fail_msg("%s: an argument without a name or a type", row->name);
		if (lists && a->offset + size > row->size)
			fail_msg("%s %s: it lies outside of what the row fills", row->name, a->name);
		if (a->type == &type_word && (a->words == NULL || a->words[0] == NULL))
			fail_msg("%s %s: no words", row->name, a->name);
		if (a->min > a->max && a->max != 0)
			fail_msg("%s %s: nothing is between its bounds", row->name, a->name);
		if ((a->flags & ARGUMENT_MANY) != 0 && a[1].type != NULL && (a[1].flags & ARGUMENT_OPTION) == 0)
			fail_msg("%s %s: what repeats is the last", row->name, a->name);
		if ((a->flags & ARGUMENT_OPTION) == 0) {
			if (optional && (a->flags & ARGUMENT_OPTIONAL) == 0)
				fail_msg("%s %s: what is behind an optional one is optional", row->name, a->name);
			optional = (a->flags & ARGUMENT_OPTIONAL) != 0;
		}
		for (const struct argument *b = row->arguments; b < a; b++)
			if (strcmp(a->name, b->name) == 0)
				fail_msg("%s: two arguments %s", row->name, a->name);
	}
}

static void
check_ops(const struct table *tables, const struct directive *row)
{
	const struct handler_ops *ops = row->ops;

	if ((row->kind == DIRECTIVE_STEP) != (ops != NULL))
		fail_msg("%s: a step has ops, and nothing else does", row->name);
	if (ops == NULL)
		return;
	if (ops->name == NULL || ops->name[0] == '\0')
		fail_msg("%s: its handler has no name", row->name);
	if (ops->question == NULL && ops->answer == NULL)
		fail_msg("%s: its handler does nothing", row->name);
	if (ops->takes && ops->question == NULL)
		fail_msg("%s: it takes what it never sees", row->name);
	if (ops->moment == MOMENT_ANSWER && ops->question != NULL)
		fail_msg("%s: its condition comes too late for a question", row->name);
	if ((ops->peer_open != NULL) != (ops->peer_fail != NULL))
		fail_msg("%s: whose peer opens may fail", row->name);
	if (ops->end != NULL && ops->state_size == 0)
		fail_msg("%s: its end is called only for what has state", row->name);
	assert_true(ops->state_size <= 1024);
}

static void
rows(void **state)
{
	each_row(registry_main, 0, check_help);
	each_row(registry_main, 0, check_name);
	each_row(registry_main, 0, check_kind);
	each_row(registry_main, 0, check_arguments);
	each_row(registry_main, 0, check_ops);
	/* the walk has seen all of it */
	assert_true(rows_seen > 5 * 60);
}

/* ------------------------------------------------------------------ defaults */

/* `text` reads as values of these arguments. */
static void
read_default(const struct directive *row, const struct argument *arguments, const char *text)
{
	struct config_case c;
	char whole[256];
	_Alignas(16) char out[1024];

	snprintf(whole, sizeof(whole), "x %s;", text);
	case_open(&c, whole);

	struct block *block = ast_parse(&c.arena, c.main, &c.diag);
	struct reading r = { .arena = &c.arena, .work = &c.arena, .sources = &c.sources, .diag = &c.diag };
	const struct statement *s = block->first;

	assert_int_equal(c.diag.errors, 0);
	assert_true(s != NULL && s->next == NULL);
	for (size_t i = 1; i < s->value_count; i++) {
		const struct argument *a = &arguments[i - 1];

		memset(out, 0, sizeof(out));
		if (a->type == NULL || a->type->size > sizeof(out) || !a->type->read(&r, &s->values[i], a, out))
			fail_msg("%s: its default \"%s\" cannot be read", row->name, text);
	}
	if (s->value_count == 1 && arguments[0].type != NULL)
		fail_msg("%s: its default is nothing", row->name);
	case_close(&c);
}

static void
check_defaults(const struct table *tables, const struct directive *row)
{
	if (row->otherwise != NULL)
		read_default(row, row->arguments, row->otherwise);
	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++) {
		struct argument alone[2] = { *a, { 0 } };

		if (a->otherwise != NULL)
			read_default(row, alone, a->otherwise);
	}
}

static void
defaults(void **state)
{
	each_row(registry_main, 0, check_defaults);
}

/* ------------------------------------------------------------------ protocols */

static void
protocols(void **state)
{
	for (const struct protocol_ops *const *p = registry_protocols; *p != NULL; p++) {
		assert_true((*p)->name != NULL && (*p)->name[0] != '\0');
		assert_true((*p)->conn_size <= CONN_STATE);
		assert_ptr_equal(registry_protocol(slice_of((*p)->name)), *p);
		assert_true((*p)->open != NULL && (*p)->read != NULL && (*p)->finish != NULL && (*p)->send != NULL);
		assert_true((*p)->fail != NULL && (*p)->late != NULL && (*p)->done != NULL && (*p)->drain != NULL);
		if (((*p)->traits & PROTOCOL_POOLS) != 0)
			assert_true(((*p)->traits & PROTOCOL_TURNS) != 0);
		for (const struct field *f = (*p)->fields; f != NULL && f->name != NULL; f++)
			assert_true(f->get != NULL && f->help != NULL);
	}
	assert_string_equal(registry_protocols[0]->name, "http");
	assert_null(registry_protocol(SLICE("htt")));
	assert_null(registry_protocol(SLICE_EMPTY));
}

/* ------------------------------------------------------------------ other people's words */

static struct slice looked_for;
static bool found;

static void
look(const struct table *tables, const struct directive *row)
{
	found |= slice_is(looked_for, row->name);
}

static bool
is_directive(struct slice word)
{
	looked_for = word;
	found = false;
	each_row(registry_main, 0, look);
	return found;
}

static void
elsewhere(void **state)
{
	for (const struct elsewhere *e = registry_elsewhere; e->word != NULL; e++) {
		if ((e->here != NULL) == (e->instead != NULL))
			fail_msg("%s: either another word or a sentence", e->word);
		/* one that nginx has in another place than we */
		if (strcmp(e->word, "keepalive") != 0 && is_directive(slice_of(e->word)))
			fail_msg("%s is a directive of ours: nobody asks for it here", e->word);
		for (const struct elsewhere *f = registry_elsewhere; f < e; f++)
			assert_string_not_equal(e->word, f->word);
		/* `$…` are variables, which are fields here */
		if (e->here == NULL || e->word[0] == '$')
			continue;

		struct slice here = slice_of(e->here);

		if (!is_directive(slice_first(here, slice_find(here, ' ', 0))))
			fail_msg("%s: \"%s\" begins with no directive", e->word, e->here);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows), cmocka_unit_test(defaults), cmocka_unit_test(protocols), cmocka_unit_test(elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
