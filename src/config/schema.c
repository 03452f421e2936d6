/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads statements into structs as the directive tables say. The types of
 * arguments are in schema_types.c, what is printed of tables in schema_print.c.
 */
#include "config/schema_state.h"

#include <stdio.h>

/* One block while it is read. */
struct frame {
	struct reading *r;
	const struct rows *rows;
	const struct statement *owner;  /* whose block it is; NULL: the outermost */
	const char *where;
	char *target;
	size_t said;                    /* where this block's part of state->said begins */
	struct trace *trace;
};

const struct directive schema_loaded[] = { { 0 } };

struct schema_state *
schema_state(struct reading *r)
{
	if (r->state == NULL) {
		r->state = arena_zalloc(r->arena, sizeof(*r->state));
		map_init(&r->state->traces, r->arena, false);
	}
	return r->state;
}

static struct arena *
work_arena(const struct reading *r)
{
	return r->work != NULL ? r->work : r->arena;
}

/* -- arguments -- */

static void
push_compile(struct reading *r, const struct argument *a, void *out, struct compile_item *group)
{
	struct compile_item *item = arena_alloc(work_arena(r), sizeof(*item));

	*item =
	    (struct compile_item){ .next = r->compile, .group = group, .argument = a, .out = out };
	r->compile = item;
}

/* The same where a default or an inherited value may have been before: that one is gone. */
static void
replace_compile(struct reading *r, const struct argument *a, void *out)
{
	for (struct compile_item *item = r->compile; item != NULL; item = item->next)
		if (item->out == out) {
			item->argument = a;
			return;
		}
	push_compile(r, a, out, NULL);
}

static bool
read_value(struct reading *r, const struct argument *a, const struct value *v, void *out)
{
	if (!a->type->read(r, v, a, out))
		return false;
	if (a->type->compile != NULL)
		replace_compile(r, a, out);
	return true;
}

static bool
read_many(
    struct reading *r, const struct argument *a, const struct value *values, size_t n, void *out)
{
	struct list *list = out;
	bool fine = true;

	*list = (struct list){ arena_array(r->arena, n, a->type->size), n, n };
	for (size_t i = 0; i < n; i++) {
		char *item = (char *)list->items + i * a->type->size;

		if (!a->type->read(r, &values[i], a, item))
			fine = false;
		else if (a->type->compile != NULL)
			push_compile(r, a, item, NULL);
	}
	return fine;
}

enum { DEFAULT_VALUES = 16 };

/* Cuts what a table gives as a default into values, as the scanner would. */
static size_t
cut_default(const char *text, struct value values[static DEFAULT_VALUES])
{
	size_t n = 0;

	while (*(text += strspn(text, " ")) != '\0' && n < DEFAULT_VALUES) {
		bool quoted = *text == '"' || *text == '\'';
		size_t length =
		    quoted ? strcspn(text + 1, *text == '"' ? "\"" : "'") : strcspn(text, " ");

		values[n++] = (struct value){ .kind = quoted ? VALUE_STRING : VALUE_WORD,
			.raw = slice_make(text + quoted, length) };
		text += quoted + length;
		text += quoted && *text != '\0';
	}
	return n;
}

static bool
read_default(struct reading *r, const struct argument *a, char *to)
{
	struct value values[DEFAULT_VALUES];
	size_t n = cut_default(a->otherwise, values);

	if ((a->flags & ARGUMENT_MANY) != 0)
		return read_many(r, a, values, n, to + a->offset);
	return n == 1 && read_value(r, a, values, to + a->offset);
}

/* The arguments of one statement while they are read. */
struct arguments {
	struct reading *r;
	const struct directive *row;
	struct slice word;              /* whose arguments they are, for messages */
	struct span span;
	const struct value *values;
	size_t count;
	char *to;
	uint64_t given;                 /* by index in row->arguments */
};

/* The option that a word sets: NAME=VALUE, or NAME alone for a flag. */
static const struct argument *
find_option(const struct directive *row, const struct value *v)
{
	if (v->kind != VALUE_WORD)
		return NULL;
	struct slice name = slice_first(v->raw, slice_find(v->raw, '=', 0));
	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++)
		if ((a->flags & ARGUMENT_OPTION) != 0 && slice_is(name, a->name) &&
		    (name.n < v->raw.n || a->type == &type_flag))
			return a;
	return NULL;
}

/* Reads values[i], an option; returns how many values it took (`name="x"` is two). */
static size_t
read_option(struct arguments *in, const struct argument *a, size_t i, bool *fine)
{
	struct value v = in->values[i];
	size_t name = slice_find(v.raw, '=', 0);
	size_t taken = 1;
	uint64_t bit = UINT64_C(1) << (a - in->row->arguments);

	if ((in->given & bit) != 0) {
		diag_error(in->r->diag, v.span, "\"%s\" is said twice", a->name);
		*fine = false;
	}
	in->given |= bit;
	if (name == v.raw.n) {
		*(bool *)(in->to + a->offset) = true;
		return taken;
	}
	v.raw = slice_after(v.raw, name + 1);
	v.span = v.span.file == 0 ? v.span
	    : (struct span){ v.span.file, v.span.at + (uint32_t)name + 1, (uint32_t)v.raw.n };
	if (v.raw.n == 0 && i + 1 < in->count && in->values[i + 1].kind == VALUE_STRING &&
	    in->values[i + 1].span.at == v.span.at && in->values[i + 1].span.file == v.span.file) {
		v = in->values[i + 1];
		taken = 2;
	} else if (v.raw.n == 0) {
		diag_error(in->r->diag, in->values[i].span, "\"%s=\" has no value", a->name);
		*fine = false;
		return taken;
	}
	*fine &= read_value(in->r, a, &v, in->to + a->offset);
	return taken;
}

static const char *
option_name(void *what, size_t i)
{
	const struct argument *a = (const struct argument *)what + i;

	return (a->flags & ARGUMENT_OPTION) != 0 ? a->name : NULL;
}

/* Whether the text breaks its line between these two. */
static bool
on_another_line(struct reading *r, struct span before, struct span v)
{
	if (v.file == 0 || before.file != v.file || before.at + before.n > v.at)
		return false;
	struct slice text = r->sources->items[v.file - 1]->text;
	return memchr(text.at + before.at + before.n, '\n', v.at - before.at - before.n) != NULL;
}

/* A word that begins a line, and could begin a statement: the one before it has lost its `;`. */
static bool
is_swallowed(struct reading *r, const struct rows *rows, const struct statement *s, size_t i)
{
	const struct value *v = &s->values[i];

	return v->kind == VALUE_WORD && on_another_line(r, s->values[i - 1].span, v->span) &&
	    map_find(&rows->by_name, v->raw) != NULL;
}

/* How many of a statement's values are its own. */
static size_t
count_values(struct reading *r, const struct rows *rows, const struct statement *s)
{
	size_t n = 1;

	while (n < s->value_count && !is_swallowed(r, rows, s, n))
		n++;
	if (n == s->value_count)
		return n;
	struct span before = s->values[n - 1].span;
	diag_error(r->diag, s->values[n].span, "\"%.*s\" stands among the arguments of \"%.*s\"",
	    SLICE_ARG(diag_word(s->values[n].raw)), SLICE_ARG(diag_word(s->values[0].raw)));
	diag_note(r->diag, (struct span){ before.file, before.at + before.n, 1 },
	    "is a \";\" missing here?");
	return n;
}

const struct elsewhere *
schema_elsewhere(const struct reading *r, const char *place, struct slice word)
{
	struct slice before = slice_of(place);
	size_t gap = before.n > 0 && before.at[before.n - 1] != '$';

	for (const struct elsewhere *e = r->elsewhere; e != NULL && e->word != NULL; e++) {
		struct slice known = slice_of(e->word);

		if (known.n == before.n + gap + word.n && slice_starts(known, before) &&
		    slice_ends(known, word) && (gap == 0 || known.at[before.n] == ' '))
			return e;
	}
	return NULL;
}

void
schema_report_elsewhere(
    struct reading *r, struct slice word, struct span at, const struct elsewhere *e)
{
	if (e->here != NULL)
		diag_error(r->diag, at, "nginx's \"%.*s\" is \"%s\" here",
		    SLICE_ARG(diag_word(word)), e->here);
	else
		diag_error(r->diag, at, "\"%.*s\": %s", SLICE_ARG(diag_word(word)), e->instead);
}

static void
report_extra(struct arguments *in, size_t i)
{
	struct diag *d = in->r->diag;
	const struct value *v = &in->values[i];
	struct slice name = slice_first(v->raw, slice_find(v->raw, '=', 0));
	size_t count = 0, options = 0;
	const struct elsewhere *elsewhere = schema_elsewhere(in->r, in->row->name, name);

	if (v->kind == VALUE_WORD && elsewhere != NULL) {
		schema_report_elsewhere(in->r, name, v->span, elsewhere);
		return;
	}

	for (const struct argument *a = in->row->arguments; a != NULL && a->type != NULL;
	     a++, count++)
		options += (a->flags & ARGUMENT_OPTION) != 0;
	if (options > 0 && v->kind == VALUE_WORD && i > 0 &&
	    !on_another_line(in->r, in->values[i - 1].span, v->span)) {
		const char *closest =
		    diag_closest(name, option_name, (void *)(uintptr_t)in->row->arguments, count);

		diag_error(d, v->span, "unknown option \"%.*s\" of \"%.*s\"" DIAG_MEANT,
		    SLICE_ARG(diag_word(name)), SLICE_ARG(diag_word(in->word)),
		    DIAG_MEANT_ARG(closest));
		return;
	}
	diag_error(d, v->span, "too many arguments to \"%.*s\"", SLICE_ARG(diag_word(in->word)));
	struct span before = i > 0 ? in->values[i - 1].span : in->span;
	if (on_another_line(in->r, before, v->span))
		diag_note(d, (struct span){ before.file, before.at + before.n, 1 },
		    "is a \";\" missing here?");
}

static const struct argument *
next_positional(const struct argument *a)
{
	while (a != NULL && a->type != NULL && (a->flags & ARGUMENT_OPTION) != 0)
		a++;
	return a != NULL && a->type != NULL ? a : NULL;
}

static bool
read_given(struct arguments *in)
{
	const struct argument *next = next_positional(in->row->arguments);
	bool fine = true, options = false;

	for (size_t i = 0; i < in->count;) {
		const struct argument *option = find_option(in->row, &in->values[i]);
		size_t run = 1;

		if (option != NULL) {
			i += read_option(in, option, i, &fine);
			options = true;
			continue;
		}
		if (next == NULL) {
			report_extra(in, i);
			return false;
		}
		if (options) {
			diag_error(in->r->diag, in->values[i].span,
			    "options stand behind the other arguments");
			return false;
		}
		in->given |= UINT64_C(1) << (next - in->row->arguments);
		if ((next->flags & ARGUMENT_MANY) != 0) {
			while (i + run < in->count &&
			       find_option(in->row, &in->values[i + run]) == NULL)
				run++;
			fine &= read_many(in->r, next, in->values + i, run, in->to + next->offset);
		} else
			fine &= read_value(in->r, next, &in->values[i], in->to + next->offset);
		next = next_positional(next + 1);
		i += run;
	}
	return fine;
}

static bool
read_arguments(struct arguments *in)
{
	bool fine = read_given(in);
	bool missing = false;

	for (const struct argument *a = in->row->arguments; fine && a != NULL && a->type != NULL;
	     a++) {
		if ((in->given & UINT64_C(1) << (a - in->row->arguments)) != 0)
			continue;
		if ((a->flags & (ARGUMENT_OPTIONAL | ARGUMENT_OPTION)) == 0 && !missing) {
			diag_error(in->r->diag, in->span, "missing argument %s of \"%.*s\"",
			    a->name, SLICE_ARG(diag_word(in->word)));
			missing = true;
		} else if (a->otherwise != NULL)
			fine &= read_default(in->r, a, in->to);
	}
	return fine && !missing;
}

/* -- the rows of a block -- */

static void add_defaults(
    struct reading *r, struct rows *rows, const struct table *tables, size_t base, unsigned depth);

/* Reads a setting's default once; every block's struct gets a copy of what came out. */
static void
add_default(struct reading *r, struct rows *rows, const struct directive *row, size_t base)
{
	struct value values[DEFAULT_VALUES];
	size_t size = 0;

	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++)
		size = MAX_OF(size, a->offset + argument_size(a));
	char *to = arena_zalloc(r->arena, size + 1);
	struct compile_item *kept = r->compile;
	struct arguments in = { .r = r, .row = row, .word = slice_of(row->name), .values = values,
		.count = cut_default(row->otherwise, values), .to = to };

	read_arguments(&in);
	r->compile = kept;
	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++)
		*ARENA_PUSH(r->arena, rows->defaults, rows->default_count, rows->default_room) =
		    (struct ready){
			    .argument = a,
			    .offset = base + row->offset + a->offset,
			    .size = argument_size(a),
			    .bytes = to + a->offset,
			    .compiles = a->type->compile != NULL && (a->flags & ARGUMENT_MANY) == 0,
		    };
}

/* Single blocks are part of the struct round them, so their defaults are too. */
static void
add_defaults(
    struct reading *r, struct rows *rows, const struct table *tables, size_t base, unsigned depth)
{
	for (const struct table *t = tables; t->rows != NULL && depth < AST_DEPTH_MAX; t++)
		for (const struct directive *row = table_rows(r, t); row->name != NULL; row++) {
			if (row_repeats(row))
				continue;
			if (row->otherwise != NULL)
				add_default(r, rows, row, base + t->offset);
			if (row->inside != NULL)
				add_defaults(r, rows, row->inside, base + t->offset + row->offset,
				    depth + 1);
		}
}

static void
add_entries(const struct reading *r, struct rows *rows)
{
	struct entry *e = rows->entries;

	for (const struct table *t = rows->tables; t->rows != NULL; t++)
		for (const struct directive *row = table_rows(r, t); row->name != NULL; row++, e++) {
			*e = (struct entry){ row, t->offset, (size_t)(e - rows->entries),
				(size_t)(e - rows->entries) };
			rows->requires |= (row->flags & DIRECTIVE_REQUIRED) != 0;
			for (size_t i = 0; row_repeats(row) && i < e->number; i++)
				if (row_repeats(rows->entries[i].row) &&
				    rows->entries[i].base + rows->entries[i].row->offset ==
					t->offset + row->offset) {
					e->list = i;
					break;
				}
			if ((row->flags & DIRECTIVE_FREE) != 0)
				rows->free = e;
			else
				map_add(&rows->by_name, slice_of(row->name), e);
		}
}

struct rows *
schema_rows(struct reading *r, const struct table *tables)
{
	struct schema_state *state = schema_state(r);
	size_t count = 0;

	for (struct rows *rows = state->rows; rows != NULL; rows = rows->next)
		if (rows->tables == tables)
			return rows;
	for (const struct table *t = tables; t->rows != NULL; t++)
		for (const struct directive *row = table_rows(r, t); row->name != NULL; row++)
			count++;
	struct rows *rows = arena_zalloc(r->arena, sizeof(*rows));
	rows->tables = tables;
	rows->count = count;
	rows->entries = arena_array(r->arena, count + 1, sizeof(*rows->entries));
	map_init(&rows->by_name, r->arena, false);
	add_entries(r, rows);
	add_defaults(r, rows, tables, 0, 0);
	rows->next = state->rows;
	state->rows = rows;
	return rows;
}

static void
put_defaults(struct reading *r, const struct rows *rows, char *target)
{
	for (size_t i = 0; i < rows->default_count; i++) {
		const struct ready *d = &rows->defaults[i];

		memcpy(target + d->offset, d->bytes, d->size);
		if (d->compiles)
			push_compile(r, d->argument, target + d->offset, NULL);
	}
}

/* -- words that have no row here -- */

static const char *
entry_name(void *what, size_t i)
{
	const struct entry *e = (const struct entry *)what + i;

	return (e->row->flags & DIRECTIVE_FREE) == 0 ? e->row->name : NULL;
}

enum { PLACES_TEXT = 200, TABLES_MAX = 256 };

/* Where else a word may stand, for a message. */
struct places {
	const struct reading *r;
	struct slice word;
	char text[PLACES_TEXT];
	struct builder names;
	const struct table *seen[TABLES_MAX];
	size_t seen_count;
};

/* A single block means what the one round it makes of it: `timeout of upstream`. */
const char *
schema_place(
    char text[static SCHEMA_PLACE], const struct directive *row, const char *where, bool outermost)
{
	if (outermost || row_repeats(row))
		return row->name;
	snprintf(text, SCHEMA_PLACE, "%s of %s", row->name, where);
	return text;
}

static void
find_places(struct places *p, const struct table *tables, const char *where)
{
	char place[SCHEMA_PLACE];

	for (size_t i = 0; i < p->seen_count; i++)
		if (p->seen[i] == tables)
			return;
	if (p->seen_count == TABLES_MAX)
		return;
	p->seen[p->seen_count++] = tables;
	bool named = slice_find_slice(builder_slice(&p->names), slice_of(where)) < p->names.n;
	for (const struct table *t = tables; t->rows != NULL && !named; t++)
		for (const struct directive *row = table_rows(p->r, t); row->name != NULL; row++)
			if ((row->flags & (DIRECTIVE_FREE | DIRECTIVE_HIDDEN)) == 0 &&
			    slice_is(p->word, row->name))
				builder_printf(
				    &p->names, "%s%s", p->names.n > 0 ? ", " : "", where);
	for (const struct table *t = tables; t->rows != NULL; t++)
		for (const struct directive *row = t->rows; row->name != NULL; row++)
			if (row->inside != NULL)
				find_places(p, row->inside,
				    schema_place(place, row, where, p->seen_count == 1));
}

static void
report_unknown(const struct frame *f, const struct value *v)
{
	struct reading *r = f->r;
	struct slice word = diag_word(v->raw);
	struct places places = { .r = r, .word = v->raw };
	const struct elsewhere *here = schema_elsewhere(r, f->where, v->raw);
	const struct elsewhere *elsewhere = here != NULL ? here : schema_elsewhere(r, "", v->raw);

	places.names = builder_on(places.text, sizeof(places.text));
	find_places(&places, r->state->root, "the top level");
	if (v->kind == VALUE_STRING)
		diag_error(r->diag, v->span, "a directive's name stands without quotes");
	else if (elsewhere != NULL)
		schema_report_elsewhere(r, v->raw, v->span, elsewhere);
	else if (places.names.n > 0)
		diag_error(r->diag, v->span, "\"%.*s\" is not allowed in %s; it may stand in %.*s",
		    SLICE_ARG(word), f->where, (int)places.names.n, places.names.at);
	else {
		const char *closest =
		    diag_closest(v->raw, entry_name, f->rows->entries, f->rows->count);

		diag_error(r->diag, v->span, "unknown directive \"%.*s\" in %s" DIAG_MEANT,
		    SLICE_ARG(word), f->where, DIAG_MEANT_ARG(closest));
	}
}

/* -- statements -- */

static const struct entry *
find_entry(const struct frame *f, const struct statement *s)
{
	const struct entry *e = NULL;

	if (s->values[0].kind == VALUE_WORD)
		e = map_find(&f->rows->by_name, s->values[0].raw);
	return e != NULL ? e : f->rows->free;
}

/* Whether `when` and the block stand where they may. */
static bool
check_form(struct reading *r, const struct directive *row, const struct statement *s)
{
	struct slice word = diag_word(s->values[0].raw);
	bool fine = true;

	if (s->when != NULL && row->kind != DIRECTIVE_STEP && (row->flags & DIRECTIVE_WHEN) == 0) {
		diag_error(
		    r->diag, s->when->span, "\"%.*s\" cannot carry \"when\"", SLICE_ARG(word));
		fine = false;
	}
	/* a hidden row says by itself what is wrong, whatever follows its word */
	if (s->block != NULL && row->inside == NULL && row->find_inside == NULL &&
	    (row->flags & DIRECTIVE_HIDDEN) == 0) {
		diag_error(r->diag, (struct span){ s->block->span.file, s->block->span.at, 1 },
		    "\"%.*s\" takes no block", SLICE_ARG(word));
		fine = false;
	}
	if (s->block == NULL && row->inside != NULL &&
	    (row->flags & DIRECTIVE_BLOCK_OPTIONAL) == 0) {
		diag_error(r->diag, s->span, "\"%.*s\" needs a block", SLICE_ARG(word));
		fine = false;
	}
	return fine;
}

static struct trace *
add_trace(
    const struct frame *f, const struct entry *e, const struct statement *s, const void *target)
{
	if (f->trace == NULL)
		return NULL;
	struct trace *t = arena_zalloc(f->r->arena, sizeof(*t));
	t->entry = e;
	t->statement = s;
	t->target = target;
	t->parent = f->trace;
	if (f->trace->last != NULL)
		f->trace->last->next = t;
	else
		f->trace->first = t;
	f->trace->last = t;
	return t;
}

static bool fill_block(struct frame *f, const struct block *block);

static bool
read_inside(const struct frame *f, const struct entry *e, const struct statement *s, char *to,
    struct trace *trace)
{
	static const struct block empty;
	const struct table *tables = e->row->inside;
	const struct block *block = s->block;
	void *target = to;

	if (e->row->find_inside != NULL) {
		tables = e->row->find_inside(f->r, s, to, &target);
		block = block == NULL ? &empty : block;
	}
	if (block == NULL || tables == NULL)
		return true;
	struct frame inside = { .r = f->r, .rows = schema_rows(f->r, tables), .owner = s,
		.where = e->row->name, .target = target, .trace = trace };

	if (e->row->find_inside != NULL)
		put_defaults(f->r, inside.rows, target);
	return fill_block(&inside, block);
}

/* Arguments, inside, and the rule across them. */
static bool
read_row(const struct frame *f, const struct entry *e, const struct statement *s, char *to,
    struct trace *trace)
{
	bool free = (e->row->flags & DIRECTIVE_FREE) != 0;
	size_t count = count_values(f->r, f->rows, s);
	struct arguments in = { .r = f->r, .row = e->row, .word = s->values[0].raw,
		.span = s->values[0].span, .values = s->values + !free, .count = count - !free, .to = to };
	bool fine = check_form(f->r, e->row, s) && count == s->value_count;

	fine &= read_arguments(&in);
	fine &= read_inside(f, e, s, to, trace);
	return fine && (e->row->check == NULL || e->row->check(f->r, s, to));
}

static const struct statement **
said(const struct frame *f, size_t number)
{
	return &f->r->state->said[f->said + number];
}

static bool
read_single(struct frame *f, const struct entry *e, const struct statement *s)
{
	const struct statement *before = *said(f, e->number);
	char *to = f->target + e->base + e->row->offset;

	if (before != NULL) {
		diag_error(f->r->diag, s->values[0].span, "\"%.*s\" is already set",
		    SLICE_ARG(diag_word(s->values[0].raw)));
		diag_note(f->r->diag, before->values[0].span, "first set here");
		return false;
	}
	*said(f, e->number) = s;
	return read_row(f, e, s, to, s->block != NULL ? add_trace(f, e, s, to) : NULL);
}

/*
 * A child starts with its parent's settings; what of them is still to be compiled is so in the
 * copy, too.
 */
static void
inherit(
    const struct frame *f, const struct entry *e, char *data, const struct compile_item *parents)
{
	const char *from = f->target + e->base + e->row->inherit_from;
	size_t size = e->row->inherit_size;

	if (size == 0)
		return;
	memcpy(data + e->row->inherit_to, from, size);
	for (const struct compile_item *item = parents; item != NULL; item = item->next) {
		const char *out = item->out;

		if (item->group == NULL && out >= from && out < from + size)
			replace_compile(
			    f->r, item->argument, data + e->row->inherit_to + (out - from));
	}
}

/* A list said anew replaces the inherited one, or goes on behind a copy of it. */
static struct list *
own_list(const struct frame *f, const struct entry *e, const struct statement *s)
{
	struct list *list = (struct list *)(f->target + e->base + e->row->offset);

	if (e->row->kind == DIRECTIVE_SETTING && *said(f, e->list) == NULL) {
		struct filled *inherited = list->items;
		size_t n = (e->row->flags & DIRECTIVE_ADDS) != 0 ? list->n : 0;

		*list = (struct list){ NULL, n, n };
		if (n > 0) {
			list->items = arena_array(work_arena(f->r), n, sizeof(*inherited));
			memcpy(list->items, inherited, n * sizeof(*inherited));
		}
	}
	*said(f, e->list) = s;
	*said(f, e->number) = s;
	return list;
}

static bool
read_repeated(struct frame *f, const struct entry *e, const struct statement *s)
{
	struct reading *r = f->r;
	const struct directive *row = e->row;
	struct compile_item *outer = r->compile;
	struct arena *outside = r->state->steps > 0 ? r->arena : work_arena(r);
	struct arena *arena = row->kind == DIRECTIVE_STEP ? r->arena : outside;
	struct filled filled = { .row = row,
		.statement = s,
		.data = arena_zalloc(arena, MAX_OF(row->size, (size_t)1)) };

	r->compile = NULL;
	if (row->inside != NULL)
		put_defaults(r, schema_rows(r, row->inside), filled.data);
	inherit(f, e, filled.data, outer);
	r->state->steps += row->kind == DIRECTIVE_STEP;
	bool fine = read_row(f, e, s, filled.data, add_trace(f, e, s, filled.data));
	r->state->steps -= row->kind == DIRECTIVE_STEP;

	filled.compile = r->compile;
	r->compile = outer;
	if (filled.compile != NULL && (row->kind == DIRECTIVE_SETTING || r->state->steps > 0))
		push_compile(r, NULL, NULL, filled.compile);
	filled.broken = !fine;
	struct list *list = own_list(f, e, s);
	if (list->room == 0) {
		/* most lists stay short, and there are many of them */
		list->items = arena_alloc(outside, sizeof(filled));
		list->room = 1;
	}
	*(struct filled *)arena_grow(
	    outside, &list->items, &list->n, &list->room, 1, sizeof(filled)) =
	    filled;
	return fine;
}

/* Steps and repeated blocks wait until the settings that they may inherit are all there. */
static bool
waits(const struct directive *row)
{
	return row->kind != DIRECTIVE_SETTING && row_repeats(row);
}

static bool
check_required(const struct frame *f, const struct block *block)
{
	bool fine = true;

	for (size_t i = 0; f->rows->requires && i < f->rows->count; i++) {
		const struct directive *row = f->rows->entries[i].row;

		if ((row->flags & DIRECTIVE_REQUIRED) == 0 || *said(f, i) != NULL)
			continue;
		struct span at = f->owner != NULL ? f->owner->values[0].span
						  : (struct span){ block->span.file, 0, 0 };
		diag_error(f->r->diag, at, "\"%s\" is missing in %s", row->name, f->where);
		fine = false;
	}
	return fine;
}

static bool
read_settings(struct frame *f, const struct block *block)
{
	struct schema_state *state = f->r->state;
	bool fine = true;

	for (const struct statement *s = block->first; s != NULL; s = s->next) {
		const struct entry *e = find_entry(f, s);

		if (e == NULL) {
			report_unknown(f, &s->values[0]);
			fine = false;
		} else if (waits(e->row)) {
			*ARENA_PUSH(f->r->arena, state->waiting, state->waiting_count,
			    state->waiting_room) = (struct waiting){ s, e };
		} else {
			fine &= row_repeats(e->row) ? read_repeated(f, e, s) : read_single(f, e, s);
		}
	}
	return fine;
}

static bool
read_waiting(struct frame *f, size_t first)
{
	struct schema_state *state = f->r->state;
	size_t count = state->waiting_count;
	bool fine = true;

	for (size_t i = first; i < count; i++) {
		struct waiting w = state->waiting[i];

		fine &= read_repeated(f, w.entry, w.statement);
	}
	state->waiting_count = first;
	return fine;
}

static void
begin_trace(struct frame *f)
{
	struct trace *t = f->trace;
	struct schema_state *state = f->r->state;

	t->rows = f->rows;
	t->target = f->target;
	struct slice key = slice_make((const char *)&t->target, sizeof(t->target));
	t->same = map_find(&state->traces, key);
	map_set(&state->traces, key, t);
}

static void
end_trace(struct frame *f)
{
	size_t size = f->rows->count * sizeof(*f->trace->said);

	f->trace->said = arena_alloc(f->r->arena, size + 1);
	memcpy(f->trace->said, said(f, 0), size);
}

static bool
fill_block(struct frame *f, const struct block *block)
{
	struct schema_state *state = f->r->state;

	f->said = state->said_count;
	memset(arena_grow(f->r->arena, &state->said, &state->said_count, &state->said_room,
		   f->rows->count + 1, sizeof(*state->said)),
	    0, (f->rows->count + 1) * sizeof(*state->said));
	if (f->trace != NULL)
		begin_trace(f);
	size_t waiting = state->waiting_count;
	bool fine = read_settings(f, block);

	fine &= read_waiting(f, waiting);
	fine &= check_required(f, block);
	if (f->trace != NULL)
		end_trace(f);
	state->said_count = f->said;
	return fine;
}

bool
schema_fill(struct reading *r, const struct table *tables, const struct block *block,
    const char *where, void *target)
{
	struct schema_state *state = schema_state(r);
	size_t errors = r->diag->errors;

	if (state->root == NULL)
		state->root = tables;
	struct frame f = {
		.r = r, .rows = schema_rows(r, tables), .where = where, .target = target
	};
	if (r->trace) {
		f.trace = arena_zalloc(r->arena, sizeof(*f.trace));
		if (r->root == NULL)
			r->root = f.trace;
	}
	put_defaults(r, f.rows, target);
	return fill_block(&f, block) && r->diag->errors == errors;
}

static bool
compile_all(struct reading *r, const struct scope *scope, struct compile_item *item)
{
	bool fine = true;

	for (; item != NULL; item = item->next) {
		if (item->group != NULL)
			fine &= compile_all(r, scope, item->group);
		else if (!item->done)
			fine &= item->argument->type->compile(r, scope, item->argument, item->out);
		item->done = true;
	}
	return fine;
}

bool
schema_compile(struct reading *r, const struct scope *scope, struct filled *f)
{
	return compile_all(r, scope, f->compile);
}

bool
schema_is_set(const struct reading *r, const void *target, const char *name)
{
	if (r->state == NULL)
		return false;
	const struct trace *t =
	    map_find(&r->state->traces, slice_make((const char *)&target, sizeof(target)));
	for (; t != NULL; t = t->same) {
		const struct entry *e = map_find(&t->rows->by_name, slice_of(name));

		if (e != NULL && t->said != NULL && t->said[e->number] != NULL)
			return true;
	}
	return false;
}
