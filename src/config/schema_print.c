/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is printed of tables (-D, the manual, the list of words) and of what
 * was read with them (-T).
 */
#include "config/schema_state.h"

#include <stdio.h>
#include <stdlib.h>

/* -- -T -- */

/*
 * Where the value of a setting comes from is found by its address: in the block itself, or in what
 * was copied into it.
 */
struct setting {
	const char *name;
	const char *at;
};

/* The trace of the whole struct that this one's block is a part of. */
static const struct trace *
whole_of(const struct trace *t)
{
	while (t->entry != NULL && !row_repeats(t->entry->row))
		t = t->parent;
	return t;
}

static const char *
address_in(const void *target, const struct entry *e)
{
	return (const char *)target + e->base + e->row->offset;
}

/* The statement that set it in this struct, single blocks inside included. */
static const struct statement *
find_said(const struct trace *t, struct setting s)
{
	if (t->rows == NULL)
		return NULL;
	const struct entry *e = map_find(&t->rows->by_name, slice_of(s.name));
	if (e != NULL && t->said[e->number] != NULL && address_in(t->target, e) == s.at)
		return t->said[e->number];
	for (const struct trace *child = t->first; child != NULL; child = child->next) {
		const struct statement *found =
		    row_repeats(child->entry->row) ? NULL : find_said(child, s);

		if (found != NULL)
			return found;
	}
	return NULL;
}

/* The same setting in the struct that this one was copied from; false: it was not copied. */
static bool
step_back(const struct trace **whole, struct setting *s)
{
	const struct trace *t = *whole;

	if (t->entry == NULL || t->parent == NULL)
		return false;
	const struct directive *row = t->entry->row;
	const char *copied = (const char *)t->target + row->inherit_to;
	if (s->at < copied || s->at >= copied + row->inherit_size)
		return false;
	s->at =
	    (const char *)t->parent->target + t->entry->base + row->inherit_from + (s->at - copied);
	*whole = whole_of(t->parent);
	return true;
}

static void
indent(FILE *to, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		fputc('\t', to);
}

static struct slice
text_of(const struct reading *r, struct span at)
{
	return at.file == 0 ? SLICE_EMPTY
			    : slice_make(r->sources->items[at.file - 1]->text.at + at.at, at.n);
}

static void
print_words(const struct reading *r, const struct statement *s, FILE *to)
{
	for (size_t i = 0; i < s->value_count; i++) {
		struct span at = s->values[i].span;
		struct span before = i > 0 ? s->values[i - 1].span : at;
		bool glued = i > 0 && before.at + before.n == at.at;

		fprintf(to, "%s%.*s", i > 0 && !glued ? " " : "", SLICE_ARG(text_of(r, at)));
	}
	if (s->when != NULL)
		fprintf(to, " when %.*s", SLICE_ARG(text_of(r, s->when->span)));
}

/* The head of a statement, `end`, and where it stands. */
static void
print_head(
    const struct reading *r, const struct statement *s, const char *end, FILE *to, unsigned depth)
{
	struct span at = s->values[0].span;

	indent(to, depth);
	print_words(r, s, to);
	fputs(end, to);
	if (at.file != 0) {
		struct source *source = r->sources->items[at.file - 1];
		unsigned line, column;

		source_place(source, at.at, &line, &column);
		fprintf(to, "\t# %.*s:%u", SLICE_ARG(source->shown), line);
	}
	fputc('\n', to);
}

static void print_settings(struct reading *r, const struct rows *rows, const struct trace *whole,
    const char *target, FILE *to, unsigned depth);
static void print_blocks(struct reading *r, const struct trace *t, FILE *to, unsigned depth);

/* The lines that said it in this struct, single blocks inside included; false: none. */
static bool
print_said(
    const struct reading *r, const struct trace *t, struct setting s, FILE *to, unsigned depth)
{
	bool found = false;

	for (const struct trace *child = t->first; child != NULL; child = child->next) {
		const struct directive *row = child->entry->row;

		if (!row_repeats(row))
			found |= print_said(r, child, s, to, depth);
		else if (row->kind == DIRECTIVE_SETTING &&
			 address_in(t->target, child->entry) == s.at &&
			 strcmp(row->name, s.name) == 0) {
			print_head(r, child->statement, ";", to, depth);
			found = true;
		}
	}
	return found;
}

/* All lines of a repeated setting that are in force. */
static void
print_repeated(const struct reading *r, const struct entry *e, const struct trace *whole,
    struct setting s, FILE *to, unsigned depth)
{
	bool found = print_said(r, whole, s, to, depth);

	if ((!found || (e->row->flags & DIRECTIVE_ADDS) != 0) && step_back(&whole, &s))
		print_repeated(r, e, whole, s, to, depth);
}

/* What stands in a block that nobody has written; empty: the block does not stand there either. */
static void
print_unsaid_block(struct reading *r, const struct entry *e, const struct trace *whole,
    const char *at, FILE *to, unsigned depth)
{
	char *inside = NULL;
	size_t n = 0;
	FILE *memory = open_memstream(&inside, &n);

	if (memory == NULL)
		return;
	print_settings(r, schema_rows(r, e->row->inside), whole, at, memory, depth + 1);
	fclose(memory);
	if (n > 0) {
		indent(to, depth);
		fprintf(to, "%s {\n%s", e->row->name, inside);
		indent(to, depth);
		fputs("}\n", to);
	}
	free(inside);
}

/* Of a block of this struct, single blocks inside included; NULL: it is inherited. */
static const struct trace *
find_trace(const struct trace *t, const struct statement *s)
{
	for (const struct trace *child = t->first; child != NULL; child = child->next) {
		const struct trace *found = child->statement == s ? child
		    : row_repeats(child->entry->row)              ? NULL
								  : find_trace(child, s);

		if (found != NULL)
			return found;
	}
	return NULL;
}

static void
print_single_block(struct reading *r, const struct entry *e, const struct statement *said,
    const struct trace *whole, const char *at, FILE *to, unsigned depth)
{
	if (said == NULL) {
		if (e->row->arguments == NULL)
			print_unsaid_block(r, e, whole, at, to, depth);
		return;
	}

	const struct trace *own = find_trace(whole, said);

	print_head(r, said, " {", to, depth);
	print_settings(r, schema_rows(r, e->row->inside), whole, at, to, depth + 1);
	if (own != NULL)
		print_blocks(r, own, to, depth + 1);
	indent(to, depth);
	fputs("}\n", to);
}

static void
print_setting(struct reading *r, const struct entry *e, const struct trace *whole,
    const char *target, FILE *to, unsigned depth)
{
	struct setting s = { e->row->name, address_in(target, e) };
	struct setting back = s;
	const struct trace *owner = whole;

	if (row_repeats(e->row)) {
		print_repeated(r, e, whole, s, to, depth);
		return;
	}
	const struct statement *said = find_said(owner, back);
	while (said == NULL && step_back(&owner, &back))
		said = find_said(owner, back);
	if (e->row->inside != NULL && (said == NULL || said->block != NULL))
		print_single_block(r, e, said, whole, s.at, to, depth);
	else if (said != NULL)
		print_head(r, said, ";", to, depth);
	else if (e->row->otherwise != NULL) {
		indent(to, depth);
		fprintf(to, "%s%s%s;\t# default\n", e->row->name,
		    e->row->otherwise[0] != '\0' ? " " : "", e->row->otherwise);
	}
}

static void
print_settings(struct reading *r, const struct rows *rows, const struct trace *whole,
    const char *target, FILE *to, unsigned depth)
{
	for (size_t i = 0; i < rows->count && depth < AST_DEPTH_MAX; i++) {
		const struct directive *row = rows->entries[i].row;

		if (row->kind == DIRECTIVE_SETTING ||
		    (row->kind == DIRECTIVE_BLOCK && !row_repeats(row)))
			print_setting(r, &rows->entries[i], whole, target, to, depth);
	}
}

static void
print_block(struct reading *r, const struct trace *t, FILE *to, unsigned depth)
{
	print_settings(r, t->rows, t, t->target, to, depth);
	print_blocks(r, t, to, depth);
}

/* Those that repeat, in the order in which they were written. */
static void
print_blocks(struct reading *r, const struct trace *t, FILE *to, unsigned depth)
{
	for (const struct trace *child = t->first; child != NULL; child = child->next) {
		if (child->entry->row->kind == DIRECTIVE_SETTING || !row_repeats(child->entry->row))
			continue;
		print_head(r, child->statement, child->rows != NULL ? " {" : ";", to, depth);
		if (child->rows == NULL)
			continue;
		print_block(r, child, to, depth + 1);
		indent(to, depth);
		fputs("}\n", to);
	}
}

void
schema_print_effective(struct reading *r, FILE *to)
{
	if (r->root != NULL && r->root->said != NULL)
		print_block(r, r->root, to, 0);
}

/* -- -D -- */

enum { ITEMS_MAX = 1024, PLACES_MAX = 12 };

/* One directive and the blocks that it may stand in. */
struct item {
	const struct directive *row;
	const char *places[PLACES_MAX];
	size_t place_count;
};

struct reference {
	struct item *items;
	size_t count;
	struct arena arena;             /* names of places */
};

/* Rows that differ only in the struct they fill are one directive to the reader. */
static struct item *
find_item(struct reference *all, const struct directive *row)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct directive *other = all->items[i].row;

		if (other == row ||
		    (strcmp(other->name, row->name) == 0 && other->kind == row->kind &&
			strcmp(other->help != NULL ? other->help : "",
			    row->help != NULL ? row->help : "") == 0))
			return &all->items[i];
	}
	if (all->count == ITEMS_MAX)
		return NULL;
	all->items[all->count] = (struct item){ .row = row };
	return &all->items[all->count++];
}

/* False when the place was known. */
static bool
add_place(struct item *item, const char *where)
{
	for (size_t i = 0; i < item->place_count; i++)
		if (strcmp(item->places[i], where) == 0)
			return false;
	if (item->place_count == PLACES_MAX)
		return false;
	item->places[item->place_count++] = where;
	return true;
}

static const char outermost_place[] = "the top level";

static void
collect(struct reference *all, const struct table *tables, const char *where)
{
	bool outermost = strcmp(where, outermost_place) == 0;
	char place[SCHEMA_PLACE];

	for (const struct table *t = tables; t->rows != NULL; t++)
		for (const struct directive *row = t->rows; row->name != NULL; row++) {
			bool hidden = (row->flags & DIRECTIVE_HIDDEN) != 0;
			struct item *item = hidden ? NULL : find_item(all, row);

			if ((item != NULL ? add_place(item, where) : hidden) && row->inside != NULL)
				collect(all, row->inside,
				    arena_text(&all->arena,
					slice_of(schema_place(place, row, where, outermost))));
		}
}

static void
print_argument(FILE *to, const struct argument *a)
{
	bool option = (a->flags & ARGUMENT_OPTION) != 0;

	if (option)
		fprintf(to, "%s%s", a->name, a->type == &type_flag ? "" : "=");
	if (a->words != NULL)
		for (size_t i = 0; a->words[i] != NULL; i++)
			fprintf(to, "%s%s", i > 0 ? "|" : "", a->words[i]);
	else if (!option)
		fputs(a->type == &type_flag ? a->type->name : a->name, to);
	else if (a->type != &type_flag)
		fputs(a->type->name, to);
	if ((a->flags & (ARGUMENT_MANY | ARGUMENT_PHRASE)) == ARGUMENT_MANY)
		fputs("...", to);
}

/* `WORD A [B [C]] [option=X]`: without one that is optional none may stand behind it. */
static void
print_arguments(FILE *to, const struct directive *row)
{
	const char *space = (row->flags & DIRECTIVE_FREE) != 0 ? "" : " ";
	unsigned open = 0;

	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++) {
		bool option = (a->flags & ARGUMENT_OPTION) != 0;

		for (; option && open > 0; open--)
			fputc(']', to);
		fputs(space, to);
		if ((a->flags & (ARGUMENT_OPTION | ARGUMENT_OPTIONAL)) != 0) {
			fputc('[', to);
			open++;
		}
		print_argument(to, a);
		space = " ";
	}
	for (; open > 0; open--)
		fputc(']', to);
}

static void
print_syntax(FILE *to, const struct directive *row)
{
	if ((row->flags & DIRECTIVE_FREE) == 0)
		fputs(row->name, to);
	print_arguments(to, row);
	if (row->kind == DIRECTIVE_STEP || (row->flags & DIRECTIVE_WHEN) != 0)
		fputs(" [when CONDITION]", to);
	fputs(row->inside == NULL && row->find_inside == NULL ? ";"
	      : (row->flags & DIRECTIVE_BLOCK_OPTIONAL) != 0  ? " [{ ... }];"
							      : " { ... }",
	    to);
}

/* `NAME is a duration (…), at least 1s; 30s if missing.` for what the syntax does not say. */
static bool
print_argument_help(FILE *to, const char *before, const struct argument *a)
{
	bool says = a->words == NULL && a->type != &type_flag && a->type != &type_raw;
	bool option = (a->flags & ARGUMENT_OPTION) != 0 && a->type != &type_flag;
	char low[32], high[32];

	if (!says && a->otherwise == NULL)
		return false;
	fputs(before, to);
	if (says)
		fprintf(to, "%s is %s", a->name, a->type->wanted);
	if (a->min != 0 || a->max != 0) {
		fprintf(to, ", at least %s", schema_bound(low, a->type, a->min));
		if (a->max != INT64_MAX)
			fprintf(to, ", at most %s", schema_bound(high, a->type, a->max));
	}
	if (a->otherwise != NULL)
		fprintf(to, "%s%s%s%s if missing", says ? "; " : "", !says && option ? a->name : "",
		    !says && option ? "=" : "", a->otherwise);
	fputs(".", to);
	return true;
}

static void
print_facts(FILE *to, const struct item *item)
{
	const struct directive *row = item->row;

	fputs("In: ", to);
	for (size_t i = 0; i < item->place_count; i++)
		fprintf(to, "%s%s", i > 0 ? ", " : "", item->places[i]);
	fputs(row->kind == DIRECTIVE_STEP ? ". A step." : ".", to);
	if (row->kind != DIRECTIVE_STEP && (row->flags & DIRECTIVE_REPEATS) != 0)
		fputs(" May be repeated.", to);
	if ((row->flags & DIRECTIVE_REQUIRED) != 0)
		fputs(" Must be there.", to);
	if ((row->flags & DIRECTIVE_LISTENER) != 0)
		fputs(" Belongs to the listener.", to);
	if (row->otherwise != NULL)
		fprintf(to, " Default: %s.", row->otherwise);
}

/* Text for troff: no byte of it is a command. */
static void
put_roff(FILE *to, const char *text)
{
	bool start = true;

	for (; *text != '\0'; text++) {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", to);
		if (*text == '\\')
			fputs("\\e", to);
		else if (*text == '-')
			fputs("\\-", to);
		else
			fputc(*text, to);
		start = *text == '\n';
	}
}

static void
print_item(FILE *to, const struct item *item)
{
	print_syntax(to, item->row);
	const char *before = "\n    ";

	if (item->row->help != NULL)
		fprintf(to, "\n    %s", item->row->help);
	for (const struct argument *a = item->row->arguments; a != NULL && a->type != NULL; a++)
		if (print_argument_help(to, before, a))
			before = " ";
	fputs("\n    ", to);
	print_facts(to, item);
	fputs("\n\n", to);
}

/* Each line of print_item, the first as the tag of a paragraph. */
static void
print_item_roff(FILE *to, const struct item *item)
{
	char *text = NULL;
	size_t n = 0;
	FILE *memory = open_memstream(&text, &n);

	if (memory == NULL)
		return;
	print_item(memory, item);
	fclose(memory);
	char *line = text;
	for (unsigned i = 0; *line != '\0'; i++) {
		size_t length = strcspn(line, "\n");
		bool more = line[length] != '\0';

		line[length] = '\0';
		line += strspn(line, " ");
		if (i == 0)
			fputs(".TP\n.B ", to);
		if (*line != '\0') {
			put_roff(to, line);
			fputc('\n', to);
		}
		line += strlen(line) + more;
	}
	free(text);
}

void
schema_print_reference(const struct table *tables, FILE *to, bool roff)
{
	struct reference all = { .items = memory_zalloc(ITEMS_MAX * sizeof(*all.items)) };

	arena_init(&all.arena, NULL, 0);
	collect(&all, tables, outermost_place);
	if (roff)
		fputs(".TH SERVER.CONF 5\n.SH NAME\nserver.conf \\- the directives of "
		      "millrace\n.SH DIRECTIVES\n",
		    to);
	for (size_t i = 0; i < all.count; i++) {
		if (roff)
			print_item_roff(to, &all.items[i]);
		else
			print_item(to, &all.items[i]);
	}
	arena_reset(&all.arena);
	free(all.items);
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum { WORDS_MAX = 8192 };

static void
add_words(const char **words, size_t *count, const struct directive *row)
{
	if (*count < WORDS_MAX && (row->flags & DIRECTIVE_FREE) == 0)
		words[(*count)++] = row->name;
	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++) {
		if ((a->flags & ARGUMENT_OPTION) != 0 && *count < WORDS_MAX)
			words[(*count)++] = a->name;
		for (size_t i = 0; a->words != NULL && a->words[i] != NULL && *count < WORDS_MAX;
		     i++)
			words[(*count)++] = a->words[i];
	}
}

void
schema_print_words(const struct table *tables, FILE *to)
{
	struct reference all = { .items = memory_zalloc(ITEMS_MAX * sizeof(*all.items)) };
	const char **words = memory_zalloc(WORDS_MAX * sizeof(*words));
	size_t count = 0;

	arena_init(&all.arena, NULL, 0);
	collect(&all, tables, outermost_place);
	for (size_t i = 0; i < all.count; i++)
		add_words(words, &count, all.items[i].row);
	qsort(words, count, sizeof(*words), by_text);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || strcmp(words[i], words[i - 1]) != 0)
			fprintf(to, "%s\n", words[i]);
	arena_reset(&all.arena);
	free(words);
	free(all.items);
}
