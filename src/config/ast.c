/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tree that the grammar builds, and `include`, which is handled on it:
 * a file is parsed by itself and its statements take the place of the line.
 */
#include "config/parse.h"

#include <string.h>

size_t
ast_push_value(struct parse *p, struct value v)
{
	*ARENA_PUSH(&p->scratch, p->values, p->value_count, p->value_room) = v;
	return p->value_count;
}

/* The values from `from` on, off the stack and into the tree. */
static struct value *
take_values(struct parse *p, size_t from, uint32_t *count)
{
	*count = (uint32_t)(p->value_count - from);
	struct value *values = arena_alloc(p->arena, *count * sizeof(*values));

	memcpy(values, p->values + from, *count * sizeof(*values));
	p->value_count = from;
	return values;
}

void
ast_append(struct statements *to, struct statement *s)
{
	if (s == NULL)
		return;
	if (to->last != NULL)
		to->last->next = s;
	else
		to->first = s;
	to->last = s;
}

struct statement *
ast_statement(struct parse *p, size_t count, struct span span, struct expression *when)
{
	struct statement *s = arena_alloc(p->arena, sizeof(*s));

	*s = (struct statement){ .when = when, .span = span };
	p->value_count = count;
	p->term_count = 0;
	s->values = take_values(p, 0, &s->value_count);
	return s;
}

struct block *
ast_block(struct parse *p, struct statements inside, struct span span)
{
	struct block *b = arena_alloc(p->arena, sizeof(*b));

	*b = (struct block){ .first = inside.first, .span = span };
	return b;
}

static struct expression *
make_expression(struct parse *p, enum expression_kind kind, struct span span)
{
	struct expression *e = arena_zalloc(p->arena, sizeof(*e));

	e->kind = kind;
	e->span = span;
	return e;
}

size_t
ast_push_term(struct parse *p, struct expression *term)
{
	*ARENA_PUSH(&p->scratch, p->terms, p->term_count, p->term_room) = term;
	return p->term_count - 1;
}

static struct expression *
balance(struct parse *p, enum expression_kind kind, size_t from, size_t to)
{
	if (to - from == 1)
		return p->terms[from];
	size_t middle = from + (to - from) / 2;
	struct expression *left = balance(p, kind, from, middle);
	struct expression *right = balance(p, kind, middle, to);
	struct expression *e = make_expression(p, kind, span_join(left->span, right->span));

	e->left = left;
	e->right = right;
	return e;
}

struct expression *
ast_chain(struct parse *p, enum expression_kind kind, size_t from)
{
	struct expression *e = balance(p, kind, from, p->term_count);

	p->term_count = from;
	return e;
}

struct expression *
ast_not(struct parse *p, struct expression *of, struct span span)
{
	struct expression *e = make_expression(p, EXPRESSION_NOT, span);

	e->left = of;
	return e;
}

struct expression *
ast_compare(struct parse *p, struct value field, enum comparison how, struct value operand,
    struct span span)
{
	struct expression *e = make_expression(p, EXPRESSION_COMPARE, span);

	e->field = field;
	e->comparison = how;
	e->operands = arena_alloc(p->arena, sizeof(*e->operands));
	e->operands[0] = operand;
	e->operand_count = 1;
	return e;
}

struct expression *
ast_in(struct parse *p, struct value field, bool negated, size_t from, struct span span)
{
	struct expression *e = make_expression(p, EXPRESSION_IN, span);

	e->field = field;
	e->negated = negated;
	e->operands = take_values(p, from, &e->operand_count);
	return e;
}

struct expression *
ast_exists(struct parse *p, struct value field, bool negated, struct span span)
{
	struct expression *e = make_expression(p, EXPRESSION_EXISTS, span);

	e->field = field;
	e->negated = negated;
	return e;
}

/* NULs would make the scanner quadratic, and what has control bytes is not a configuration. */
static bool
is_text(struct source *source, struct diag *diag)
{
	for (size_t i = 0; i < source->text.n; i++) {
		unsigned char c = (unsigned char)source->text.at[i];

		if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t' || c == '\r')
			continue;
		diag_error(diag, (struct span){ source->index + 1, (uint32_t)i, 1 },
		    "this is not text: a byte 0x%02x", c);
		return false;
	}
	return true;
}

struct block *
ast_parse(struct arena *arena, struct source *source, struct diag *diag)
{
	struct parse p = { .arena = arena, .source = source, .diag = diag };

	if (is_text(source, diag)) {
		arena_init(&p.scratch, NULL, 0);
		grammar_run(&p);
		arena_reset(&p.scratch);
	}
	return p.result != NULL ? p.result : arena_zalloc(arena, sizeof(*p.result));
}

/* files in all: includes that fan out would never end otherwise */
enum { INCLUDED_MAX = 65536 };

/* One file on the way from the main one to where we are. */
struct step {
	const struct step *outer;
	const struct source *source;
	struct span from;               /* the `include` that named it */
	unsigned depth;
};

struct including {
	struct arena *arena;
	struct sources *sources;
	struct diag *diag;
	struct map broken;              /* files whose errors are already said */
	size_t files;
};

static void include_block(struct including *in, const struct step *step, struct block *block);

static void
note_chain(struct including *in, const struct step *step)
{
	for (; step != NULL && step->outer != NULL; step = step->outer)
		diag_note(in->diag, step->from, "\"" SLICE_FORMAT "\" is included here",
		    SLICE_ARG(step->source->shown));
}

/* Whether `source` may be parsed at this place. */
static bool
may_include(
    struct including *in, const struct step *step, const struct source *source, struct span at)
{
	struct slice shown = source->shown;

	for (const struct step *outer = step; outer != NULL; outer = outer->outer)
		if (outer->source == source) {
			diag_error(
			    in->diag, at, "\"" SLICE_FORMAT "\" includes itself", SLICE_ARG(shown));
			note_chain(in, step);
			return false;
		}
	if (step->depth >= AST_INCLUDE_DEPTH_MAX) {
		diag_error(in->diag, at, "includes nested deeper than %d", AST_INCLUDE_DEPTH_MAX);
		note_chain(in, step);
		return false;
	}
	if (in->files++ >= INCLUDED_MAX) {
		if (in->files == INCLUDED_MAX + 1)
			diag_error(in->diag, at, "more than %d files are included", INCLUDED_MAX);
		return false;
	}
	return true;
}

static struct block *
parse_once(struct including *in, struct source *source)
{
	size_t errors = in->diag->errors;

	if (map_find(&in->broken, source->name) != NULL)
		return NULL;
	struct block *block = ast_parse(in->arena, source, in->diag);
	if (in->diag->errors != errors)
		map_add(&in->broken, source->name, source);
	return block;
}

static void
include_file(struct including *in, const struct step *step, struct slice name, struct span at,
    struct statements *to)
{
	struct source *source = sources_file(in->sources, name);

	if (source->error != 0) {
		diag_error(in->diag, at, "cannot read \"" SLICE_FORMAT "\": %s",
		    SLICE_ARG(diag_word(source->shown)), strerror(source->error));
		return;
	}
	if (!may_include(in, step, source, at))
		return;
	struct step inner = { step, source, at, step->depth + 1 };
	struct block *block = parse_once(in, source);
	if (block == NULL)
		return;
	include_block(in, &inner, block);
	for (struct statement *s = block->first, *next; s != NULL; s = next) {
		next = s->next;
		s->next = NULL;
		ast_append(to, s);
	}
}

static void
include_glob(struct including *in, const struct step *step, const struct source *glob,
    struct span at, struct statements *to)
{
	if (glob->error != 0)
		diag_error(in->diag, at, "cannot read \"" SLICE_FORMAT "\": %s",
		    SLICE_ARG(diag_word(glob->shown)), strerror(glob->error));
	for (size_t i = 0; i < glob->name_count; i++)
		include_file(in, step, glob->names[i], at, to);
}

static void
include_statement(
    struct including *in, const struct step *step, const struct statement *s, struct statements *to)
{
	if (s->value_count != 2 || s->when != NULL || s->block != NULL) {
		diag_error(
		    in->diag, s->span, "\"include\" takes one file or pattern and nothing else");
		return;
	}
	struct value v = s->values[1];

	if (source_is_pattern(v.raw))
		include_glob(in, step, sources_glob(in->sources, v.raw), v.span, to);
	else
		include_file(in, step, v.raw, v.span, to);
}

/* Replaces the includes of `block` and of the blocks in it. */
static void
include_block(struct including *in, const struct step *step, struct block *block)
{
	struct statements kept = { NULL, NULL };

	for (struct statement *s = block->first, *next; s != NULL; s = next) {
		next = s->next;
		s->next = NULL;
		if (s->values[0].kind == VALUE_WORD && slice_is(s->values[0].raw, "include")) {
			include_statement(in, step, s, &kept);
			continue;
		}
		if (s->block != NULL)
			include_block(in, step, s->block);
		ast_append(&kept, s);
	}
	block->first = kept.first;
}

struct block *
ast_parse_all(struct arena *arena, struct sources *sources, struct source *main, struct diag *diag)
{
	struct including in = { .arena = arena, .sources = sources, .diag = diag };
	struct step step = { .source = main };
	struct span at = { main->index + 1, 0, 0 };
	struct statements all = { NULL, NULL };

	map_init(&in.broken, arena, false);
	if (main->kind == SOURCE_FILE && main->error == 0) {
		struct block *block = parse_once(&in, main);

		include_block(&in, &step, block);
		return block;
	}
	if (main->kind == SOURCE_GLOB)
		include_glob(&in, &step, main, at, &all);
	else
		diag_error(diag, at, "%s", strerror(main->error));
	struct block *block = arena_zalloc(arena, sizeof(*block));
	block->first = all.first;
	block->span = at;
	return block;
}
