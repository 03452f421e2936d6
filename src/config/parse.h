/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the scanner, the grammar and ast.c share while one file is parsed.
 * Nobody else includes it. The grammar calls ast_* to build; ast_parse calls
 * grammar_run, which is all that it knows of flex and bison.
 */
#ifndef MILLRACE_CONFIG_PARSE_H
#define MILLRACE_CONFIG_PARSE_H

#include "config/ast.h"

/* A block that is open: its brace, and how far its line is indented. */
struct opening {
	struct span brace;
	uint32_t indent;
};

struct parse {
	struct arena *arena;            /* of the tree */
	struct source *source;
	struct diag *diag;
	struct block *result;

	struct arena scratch;           /* of the two stacks below */
	struct value *values;           /* of the statement being read */
	size_t value_count, value_room;
	struct expression **terms;      /* of the chains of `and` and `or` being read */
	size_t term_count, term_room;

	uint32_t end;                   /* the scanner: behind the last token or blank */
	uint32_t line, indent;          /* where its line begins, and how many blanks with */
	uint32_t glue_end;              /* behind the last word or string */
	int glue;                       /* its token */
	bool start;                     /* the next word opens a statement */
	bool ended;
	unsigned parentheses;
	unsigned depth;
	struct opening open[AST_DEPTH_MAX];
	/* the first block whose closing brace stands further left than its line; file 0: none */
	struct span suspect;
};

/* Parses p->source->text. */
void grammar_run(struct parse *p);

/* A list of statements that grows at its end. */
struct statements {
	struct statement *first, *last;
};

/* How many there are now. */
size_t ast_push_value(struct parse *p, struct value v);
void ast_append(struct statements *to, struct statement *s);
/*
 * The head of a statement: takes the first `count` values; what a broken condition left behind them
 * is dropped.
 */
struct statement *ast_statement(
    struct parse *p, size_t count, struct span span, struct expression *when);
struct block *ast_block(struct parse *p, struct statements inside, struct span span);

/* Chains: the first term's place is handed on until ast_chain takes all from there. */
size_t ast_push_term(struct parse *p, struct expression *term);
/* A balanced tree, so that its depth stays small however long the chain is. */
struct expression *ast_chain(struct parse *p, enum expression_kind kind, size_t from);
struct expression *ast_not(struct parse *p, struct expression *of, struct span span);
struct expression *ast_compare(struct parse *p, struct value field, enum comparison how,
    struct value operand, struct span span);
/* The operands are the values pushed from `from` on. */
struct expression *ast_in(
    struct parse *p, struct value field, bool negated, size_t from, struct span span);
struct expression *ast_exists(struct parse *p, struct value field, bool negated, struct span span);

#endif
