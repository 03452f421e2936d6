/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shape of the configuration language: word value… [when condition] and
 * a semicolon or a block. No directive is named here. The scanner hands on
 * balanced braces whatever the text says, so recovery never leaves its block.
 */

%require "3.8"
%define api.prefix {grammar_}
%define api.pure full
%define api.location.type {struct span}
%define lr.type canonical-lr
%define lr.default-reduction accepting
%define parse.error custom
%locations
%expect 0

%param { void *scanner }
%parse-param { struct parse *p }

%code requires {
#include "config/parse.h"
}

%code provides {
int grammar_lex(GRAMMAR_STYPE *value, GRAMMAR_LTYPE *at, void *scanner);
}

%union {
	struct value value;
	enum comparison comparison;
	size_t from;
	struct expression *expression;
	struct statements statements;
	struct statement *statement;
	struct block *block;
}

%code {
#include "base/arena.h"

#define YYLLOC_DEFAULT(current, rhs, count) \
	((current) = (count) > 0 ? span_join(YYRHSLOC(rhs, 1), YYRHSLOC(rhs, count)) : span_behind(YYRHSLOC(rhs, 0)))

static void grammar_error(const YYLTYPE *at, void *scanner, struct parse *p, const char *text);

static inline struct span
span_behind(struct span last)
{
	return (struct span){ last.file, last.at + last.n, 0 };
}
}

%token END 0           "the end of the file"
%token <value> WORD    "a word"
%token <value> STRING  "a string"
%token WHEN            "when"
%token SEMICOLON       ";"
%token OPEN            "{"
%token CLOSE           "}"
%token <comparison> COMPARISON "an operator"
%token AND             "and"
%token OR              "or"
%token NOT             "not"
%token IN              "in"
%token EXISTS          "exists"
%token LEFT            "("
%token RIGHT           ")"
%token COMMA           ","

%type <value> operand
%type <expression> condition any all unary comparison
%type <from> values any_of all_of set
%type <statements> contents statements
%type <statement> head statement
%type <block> block ending

%%

file
	: contents                      { p->result = ast_block(p, $1, @1); }
	;

contents
	: statements
	| statements head               {
		$$ = $1;
		ast_append(&$$, $2);
		if (!YYRECOVERING() && !p->ended)
			diag_error(p->diag, (struct span){ @2.file, p->glue_end, 1 }, "missing \";\"");
	}
	;

statements
	: %empty                        { $$ = (struct statements){ NULL, NULL }; }
	| statements statement          { $$ = $1; ast_append(&$$, $2); }
	;

statement
	: head ending                   { $$ = $1; $$->block = $2; }
	| SEMICOLON                     { $$ = NULL; diag_error(p->diag, @1, "\";\" ends nothing here; remove it"); }
	| block                         { $$ = NULL; diag_error(p->diag, @1, "a block without a word before it"); }
	;

head
	: values condition              { $$ = ast_statement(p, $1, @1, $2); }
	;

values
	: WORD                          { $$ = ast_push_value(p, $1); }
	| STRING                        { $$ = ast_push_value(p, $1); }
	| values WORD                   { $$ = ast_push_value(p, $2); }
	| values STRING                 { $$ = ast_push_value(p, $2); }
	;

ending
	: SEMICOLON                     { $$ = NULL; }
	| block
	;

block
	: OPEN contents CLOSE           { $$ = ast_block(p, $2, @$); }
	;

condition
	: %empty                        { $$ = NULL; }
	| WHEN any                      { $$ = $2; }
	| WHEN error                    { $$ = NULL; }
	;

any
	: any_of                        { $$ = ast_chain(p, EXPRESSION_OR, $1); }
	;

any_of
	: all                           { $$ = ast_push_term(p, $1); }
	| any_of OR all                 { $$ = $1; ast_push_term(p, $3); }
	;

all
	: all_of                        { $$ = ast_chain(p, EXPRESSION_AND, $1); }
	;

all_of
	: unary                         { $$ = ast_push_term(p, $1); }
	| all_of AND unary              { $$ = $1; ast_push_term(p, $3); }
	;

unary
	: comparison
	| NOT comparison                { $$ = ast_not(p, $2, @$); }
	;

comparison
	: WORD COMPARISON operand       { $$ = ast_compare(p, $1, $2, $3, @$); }
	| WORD IN LEFT set RIGHT        { $$ = ast_in(p, $1, false, $4, @$); }
	| WORD NOT IN LEFT set RIGHT    { $$ = ast_in(p, $1, true, $5, @$); }
	| WORD EXISTS                   { $$ = ast_exists(p, $1, false, @$); }
	| WORD NOT EXISTS               { $$ = ast_exists(p, $1, true, @$); }
	| LEFT any RIGHT                { $$ = $2; }
	;

operand
	: WORD
	| STRING
	;

set
	: operand                       { $$ = ast_push_value(p, $1) - 1; }
	| set COMMA operand             { $$ = $1; ast_push_value(p, $3); }
	;

%%

static void
grammar_error(const YYLTYPE *at, void *scanner, struct parse *p, const char *text)
{
	diag_error(p->diag, *at, "%s", text);
}

/* Whether a token's name is its own text. */
static bool
is_literal(yysymbol_kind_t symbol)
{
	return strchr(yysymbol_name(symbol), ' ') == NULL;
}

/* `; expected A, B or C`, without what only ends a block: that is never what was meant. */
static void
put_expected(struct builder *b, const yysymbol_kind_t *expected, int n)
{
	yysymbol_kind_t kept[YYNTOKENS];
	int count = 0;

	for (int i = 0; i < n; i++)
		if (expected[i] != YYSYMBOL_YYEOF && expected[i] != YYSYMBOL_CLOSE)
			kept[count++] = expected[i];
	for (int i = 0; i < count; i++) {
		const char *quote = is_literal(kept[i]) ? "\"" : "";

		builder_printf(b, "%s%s%s%s", i == 0 ? "; expected " : i == count - 1 ? " or " : ", ", quote,
		    yysymbol_name(kept[i]), quote);
	}
}

static int
yyreport_syntax_error(const yypcontext_t *context, void *scanner, struct parse *p)
{
	yysymbol_kind_t expected[YYNTOKENS];
	int n = yypcontext_expected_tokens(context, expected, YYNTOKENS);
	yysymbol_kind_t token = yypcontext_token(context);
	char text[256];
	struct builder b = builder_on(text, sizeof(text));

	if (token == YYSYMBOL_YYEMPTY || n < 0)
		return YYENOMEM;
	if (p->ended)
		return 0;               /* that a block is not closed is said already */
	put_expected(&b, expected, n);
	struct span at = *yypcontext_location(context);
	struct slice word = diag_word(slice_make(p->source->text.at + at.at, at.n));
	const char *quote = token == YYSYMBOL_STRING ? "" : "\"";
	diag_error(p->diag, at, "unexpected %s" SLICE_FORMAT "%s%.*s", quote, SLICE_ARG(word), quote, (int)b.n, b.at);
	return 0;
}
