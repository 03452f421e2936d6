/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the grammar makes of a file: statements, values, conditions, each with
 * its span. It knows no directive; strings are raw (no escape decoded).
 */
#ifndef MILLRACE_CONFIG_AST_H
#define MILLRACE_CONFIG_AST_H

#include "config/diag.h"

enum value_kind { VALUE_WORD, VALUE_STRING };

struct value {
	enum value_kind kind;
	struct span span;               /* quotes included */
	struct slice raw;               /* a string without its quotes, nothing decoded */
};

enum expression_kind {
	EXPRESSION_OR, EXPRESSION_AND, EXPRESSION_NOT,
	EXPRESSION_COMPARE,             /* field operator operand */
	EXPRESSION_IN,                  /* field in (a, b, …); negated: not in */
	EXPRESSION_EXISTS               /* field exists; negated: not exists */
};

enum comparison {
	IS_EQUAL,
	IS_NOT_EQUAL,
	IS_LESS,
	IS_LESS_EQUAL,
	IS_GREATER,
	IS_GREATER_EQUAL,
	IS_MATCH
};

struct expression {
	enum expression_kind kind;
	enum comparison comparison;
	bool negated;                   /* of IN */
	struct expression *left, *right;   /* NOT: left only */
	struct value field;
	struct value *operands;         /* one for COMPARE */
	uint32_t operand_count;
	struct span span;
};

struct block {
	struct statement *first;
	struct span span;               /* brace to brace */
};

/* values[0] is the word. */
struct statement {
	struct value *values;
	uint32_t value_count;
	struct span span;               /* the head: word to the last value */
	struct expression *when;        /* or NULL */
	struct block *block;            /* or NULL */
	struct statement *next;
};

enum { AST_DEPTH_MAX = 32, AST_INCLUDE_DEPTH_MAX = 16, AST_EXPRESSION_DEPTH_MAX = 64 };

/*
 * Parses one file. Syntax errors go to `diag`, and what could be read is returned all the same
 * (never NULL). Reentrant: the scanner and the parser keep nothing outside their arguments.
 */
struct block *ast_parse(struct arena *arena, struct source *source, struct diag *diag);
/*
 * The same with every `include` statement, at any depth, replaced by what it names; loops and
 * missing files are errors.
 */
struct block *ast_parse_all(
    struct arena *arena, struct sources *sources, struct source *main, struct diag *diag);

#endif
