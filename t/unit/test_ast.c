/* SPDX-License-Identifier: BSD-2-Clause */
/* The scanner and the grammar, through ast_parse: the tree, and each message to the letter. */
#include "config_case.h"

static void
put_values(struct builder *b, const struct value *values, size_t n, const char *between)
{
	for (size_t i = 0; i < n; i++)
		builder_printf(b, "%s%s%.*s%s", i > 0 ? between : "", values[i].kind == VALUE_STRING ? "<" : "",
		    SLICE_ARG(values[i].raw), values[i].kind == VALUE_STRING ? ">" : "");
}

static void
put_expression(struct builder *b, const struct expression *e)
{
	static const char *const comparisons[] = { "==", "!=", "<", "<=", ">", ">=", "~" };

	switch (e->kind) {
	case EXPRESSION_OR:
	case EXPRESSION_AND:
		BUILDER_LITERAL(b, "(");
		put_expression(b, e->left);
		builder_text(b, e->kind == EXPRESSION_OR ? " or " : " and ");
		put_expression(b, e->right);
		BUILDER_LITERAL(b, ")");
		break;
	case EXPRESSION_NOT:
		BUILDER_LITERAL(b, "not ");
		put_expression(b, e->left);
		break;
	default:
		put_values(b, &e->field, 1, "");
		if (e->kind == EXPRESSION_COMPARE)
			builder_printf(b, " %s ", comparisons[e->comparison]);
		else
			builder_printf(b, " %s%s", e->negated ? "not " : "", e->kind == EXPRESSION_IN ? "in " : "exists");
		put_values(b, e->operands, e->operand_count, ",");
	}
}

static void
put_block(struct builder *b, const struct block *block)
{
	for (const struct statement *s = block->first; s != NULL; s = s->next) {
		put_values(b, s->values, s->value_count, " ");
		if (s->when != NULL) {
			BUILDER_LITERAL(b, " when ");
			put_expression(b, s->when);
		}
		if (s->block != NULL) {
			BUILDER_LITERAL(b, "{");
			put_block(b, s->block);
			BUILDER_LITERAL(b, "}");
		} else
			BUILDER_LITERAL(b, ";");
	}
}

static void
expect_block(const struct block *block, const char *wanted)
{
	char text[4096];
	struct builder b = builder_on(text, sizeof(text) - 1);

	put_block(&b, block);
	text[b.n] = '\0';
	assert_string_equal(text, wanted);
}

static void
expect_tree(const char *text, const char *wanted)
{
	struct config_case c;

	case_open(&c, text);
	expect_block(ast_parse(&c.arena, c.main, &c.diag), wanted);
	case_expect(&c, "");
	case_close(&c);
}

/* The messages, and what could be read all the same. */
static void
expect_errors(const char *text, const char *messages, const char *tree)
{
	struct config_case c;

	case_open(&c, text);
	struct block *block = ast_parse(&c.arena, c.main, &c.diag);
	case_expect_lines(&c, messages);
	if (tree != NULL)
		expect_block(block, tree);
	case_close(&c);
}

static void
test_statements(void **state)
{
	expect_tree("", "");
	expect_tree("# nothing\n", "");
	expect_tree("a;", "a;");
	expect_tree("\xef\xbb\xbf" "a;\r\nb c\r\n d;", "a;b c d;");
	expect_tree("a {}", "a{}");
	expect_tree("a { b { c; } d; }", "a{b{c;}d;}");
	expect_tree("a \"x y\" 'it is \"so\"' \"\\\"\" '';", "a <x y> <it is \"so\"> <\\\"> <>;");
	expect_tree("x#y z#; # end", "x#y z#;");
	expect_tree("a #b c;\nd;", "a d;");
	expect_tree("route = /x; route ~ \"re\"; a ^~ /b and or not in;", "route = /x;route ~ <re>;a ^~ /b and or not in;");
	expect_tree("when a; when { b; }", "when a;when{b;}");
	expect_tree("\"when\" \"when\" b;", "<when> <when> b;");
	expect_tree("a name=\"x y\" b;", "a name= <x y> b;");
	expect_tree("e '{\"code\":${code}}';", "e <{\"code\":${code}}>;");
}

static void
test_conditions(void **state)
{
	expect_tree("a when b == c;", "a when b == c;");
	expect_tree("a when b==\"c\" { d; }", "a when b == <c>{d;}");
	expect_tree("a when b!=c and d<1 and e<=2;", "a when (b != c and (d < 1 and e <= 2));");
	expect_tree("a when b>1 or c>=2 and d ~ ^/x|y;", "a when (b > 1 or (c >= 2 and d ~ ^/x|y));");
}

static void
test_condition_forms(void **state)
{
	expect_tree("a when not b == c or not (d == e and f exists);",
	    "a when (not b == c or not (d == e and f exists));");
	expect_tree("a when m in (GET, and , \"x y\", 10.0.0.0/8);", "a when m in GET,and,<x y>,10.0.0.0/8;");
	expect_tree("a when m not in (or) and b not exists;", "a when (m not in or and b not exists);");
	expect_tree("a when b == when;", "a when b == when;");
	expect_tree("a when b == not and c == in;", "a when (b == not and c == in);");
	expect_tree("a when (b == c);", "a when b == c;");
	expect_tree("a when header.x-canary == 1 # why\n and b == ==;", "a when (header.x-canary == 1 and b == ==);");
}

static void
test_long_chain(void **state)
{
	struct config_case c;
	size_t room = 200000 * 12;
	char *text = memory_alloc(room);
	struct builder b = builder_on(text, room - 1);

	BUILDER_LITERAL(&b, "a when x == 1");
	for (int i = 0; i < 200000; i++)
		BUILDER_LITERAL(&b, " or x == 1");
	BUILDER_LITERAL(&b, ";");
	assert_false(b.full);
	case_open_slice(&c, builder_slice(&b));
	struct block *block = ast_parse(&c.arena, c.main, &c.diag);
	case_expect(&c, "");
	unsigned depth = 0;
	for (const struct expression *e = block->first->when; e->kind == EXPRESSION_OR; e = e->right)
		depth++;
	assert_in_range(depth, 17, 18);
	case_close(&c);
	free(text);
}

static void
test_message(void **state)
{
	struct config_case c;

	case_open(&c, "a {\n\tb when path = \"x\";\n}\n");
	ast_parse(&c.arena, c.main, &c.diag);
	case_expect(&c,
	    "a.conf:2:14: error: \"=\" is no operator; write \"==\"\n"
	    "    2 | \tb when path = \"x\";\n"
	    "      | \t            ^\n");
	case_close(&c);
}

static void
test_words_that_are_wrong(void **state)
{
	expect_errors("a $remote_addr;", "a.conf:1:3: error: \"$remote_addr\" outside quotes; write \"${remote_addr}\"\n",
	    "a $remote_addr;");
	expect_errors("a http://$host/x;", "a.conf:1:10: error: \"$host\" outside quotes; write \"http://${host}/x\"\n", NULL);
	expect_errors("a ${b};", "a.conf:1:3: error: ${b} stands outside quotes; write \"${b}\"\n", "a ${b};");
	expect_errors("a ^/x$;", "a.conf:1:6: error: \"$\" outside quotes; put the word in quotes\n", NULL);
	expect_errors("a when $b == c;", "a.conf:1:8: error: \"$b\" is no field; write \"b\"\n", NULL);
	expect_errors("route =/x { a; }", "a.conf:1:7: error: \"=/x\" is one word; write \"= /x\"\n", "route =/x{a;}");
	expect_errors("a b{ c; }", "a.conf:1:4: error: put a space before \"{\"\n", "a b{c;}");
	expect_errors("a b\"c\" d;", "a.conf:1:4: error: put a space before the quote\n", "a b <c> d;");
	expect_errors("a \"b\"c;", "a.conf:1:6: error: put a space behind the string\n", "a <b> c;");
	expect_errors("a \"b\"\"c\";", "a.conf:1:6: error: put a space before the quote\n", "a <b> <c>;");
	expect_errors("a when b == \"c\"{ d; }", "a.conf:1:16: error: put a space before \"{\"\n", NULL);
}

static void
test_strings_that_are_open(void **state)
{
	expect_errors("a \"b;\nc;\n", "a.conf:1:3: error: the string that opens here has no closing \" on its line\n",
	    "a <b;> c;");
	expect_errors("a 'b\\\nc;", "a.conf:1:3: error: the string that opens here has no closing ' on its line\n",
	    "a <b\\> c;");
	expect_errors("a \"",
	    "a.conf:1:3: error: the string that opens here has no closing \" on its line\n"
	    "a.conf:1:4: error: missing \";\"\n", NULL);
}

static void
test_punctuation(void **state)
{
	expect_errors("a { b }", "a.conf:1:6: error: missing \";\"\n", "a{b;}");
	expect_errors("a", "a.conf:1:2: error: missing \";\"\n", "a;");
	expect_errors("a when b == c", "a.conf:1:14: error: missing \";\"\n", "a when b == c;");
	expect_errors("a;;b { };", "a.conf:1:3: error: \";\" ends nothing here; remove it\n"
	    "a.conf:1:9: error: \";\" ends nothing here; remove it\n", "a;b{}");
	expect_errors("{ a; } b;", "a.conf:1:1: error: a block without a word before it\n", "b;");
	expect_errors("a; } b; }", "a.conf:1:4: error: \"}\" closes nothing\n"
	    "a.conf:1:9: error: \"}\" closes nothing\n", "a;b;");
}

static void
test_blocks_not_closed(void **state)
{
	expect_errors("a {\n\tb {\n\t\tc;\n",
	    "a.conf:4:1: error: the file ends inside a block; a \"}\" is missing\n"
	    "a.conf:2:4: note: the block that opens here is not closed\n", "a{b{c;}}");
	/* The indentation tells which one it is. */
	expect_errors("a {\n\tb {\n\t\tc;\n}\nd {\n\te;\n}\n",
	    "a.conf:8:1: error: the file ends inside a block; a \"}\" is missing\n"
	    "a.conf:2:4: note: the block that opens here is not closed\n", "a{b{c;}d{e;}}");
	expect_errors("a {\n b when (c == d",
	    "a.conf:2:16: error: the file ends inside a block; a \"}\" is missing\n"
	    "a.conf:1:3: note: the block that opens here is not closed\n", "a{b;}");
}

static void
test_operators_of_others(void **state)
{
	expect_errors("a when b =~ c && d != e || f === g;",
	    "a.conf:1:10: error: \"=~\" is no operator; write \"~\"\n"
	    "a.conf:1:15: error: \"&&\" is no operator; write \"and\"\n"
	    "a.conf:1:25: error: \"||\" is no operator; write \"or\"\n"
	    "a.conf:1:30: error: \"===\" is no operator; write \"==\"\n", NULL);
	expect_errors("a when b ~* c;",
	    "a.conf:1:10: error: \"~*\" is no operator; write \"~\" and begin the pattern with (?i)\n", NULL);
	expect_errors("a when b !~ c;",
	    "a.conf:1:10: error: \"!~\" is no operator; write \"not\" before the field, and \"~\"\n", NULL);
	expect_errors("a when !(b == c);", "a.conf:1:8: error: \"!\" is no operator; write \"not\"\n", "a when not b == c;");
}

static void
test_conditions_that_are_wrong(void **state)
{
	expect_errors("a when;", "a.conf:1:7: error: unexpected \";\"; expected a word, \"not\" or \"(\"\n", "a;");
	expect_errors("a when b;", "a.conf:1:9: error: unexpected \";\"; expected an operator, \"not\", \"in\" or \"exists\"\n", "a;");
	expect_errors("a when b == ;", "a.conf:1:13: error: unexpected \";\"; expected a word or a string\n", "a;");
	expect_errors("x a when b in c;y;", "a.conf:1:15: error: unexpected \"c\"; expected \"(\"\n", "x a;y;");
	expect_errors("a when b in ();", "a.conf:1:14: error: unexpected \")\"; expected a word or a string\n", "a;");
	expect_errors("a when b == c d { e; }",
	    "a.conf:1:15: error: unexpected \"d\"; expected \";\", \"{\", \"and\" or \"or\"\n", "a{e;}");
	expect_errors("a when (b == c { d; } e;",
	    "a.conf:1:16: error: unexpected \"{\"; expected \"and\", \"or\" or \")\"\n", "a{d;}e;");
	expect_errors("a when \"b\" == c;",
	    "a.conf:1:8: error: unexpected \"b\"; expected a word, \"not\" or \"(\"\n", "a;");
	expect_errors("a { b when c == } d;",
	    "a.conf:1:17: error: unexpected \"}\"; expected a word or a string\n", "a{b;}d;");
	expect_errors("a when not not b == c;", "a.conf:1:12: error: unexpected \"not\"; expected a word or \"(\"\n", "a;");
}

static void
test_all_errors_of_a_run(void **state)
{
	expect_errors("a { b }\nc when d = e;\nf \"g;\nh $i;\n}\n",
	    "a.conf:1:6: error: missing \";\"\n"
	    "a.conf:2:10: error: \"=\" is no operator; write \"==\"\n"
	    "a.conf:3:3: error: the string that opens here has no closing \" on its line\n"
	    "a.conf:4:3: error: \"$i\" outside quotes; write \"${i}\"\n"
	    "a.conf:5:1: error: \"}\" closes nothing\n", NULL);
}

static void
expect_slice_errors(struct slice text, const char *messages)
{
	struct config_case c;

	case_open_slice(&c, text);
	assert_non_null(ast_parse(&c.arena, c.main, &c.diag));
	case_expect_lines(&c, messages);
	case_close(&c);
}

static void
test_binary(void **state)
{
	expect_slice_errors(SLICE("a;\n\0\0\0\0 b"), "a.conf:2:1: error: this is not text: a byte 0x00\n");
	expect_slice_errors(SLICE("\x7f" "ELF\2\1\1\0"), "a.conf:1:1: error: this is not text: a byte 0x7f\n");
	expect_slice_errors(SLICE("a \"\x1b\";"), "a.conf:1:4: error: this is not text: a byte 0x1b\n");
	expect_slice_errors(SLICE("a \xff\xfe;"), "");
}

/* `head`, `n` times `each`, `tail`. */
static struct slice
repeat(const char *head, const char *each, size_t n, const char *tail)
{
	size_t room = strlen(head) + strlen(each) * n + strlen(tail);
	struct builder b = builder_on(memory_alloc(room + 1), room);

	builder_text(&b, head);
	for (size_t i = 0; i < n; i++)
		builder_text(&b, each);
	builder_text(&b, tail);
	return builder_slice(&b);
}

static void
expect_repeated(const char *head, const char *each, size_t n, const char *tail, const char *messages)
{
	struct slice text = repeat(head, each, n, tail);

	expect_slice_errors(text, messages);
	free((void *)(uintptr_t)text.at);
}

static void
test_deep(void **state)
{
	expect_repeated("", "a {", AST_DEPTH_MAX, "}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}", "");
	expect_repeated("b;\n", "a {", AST_DEPTH_MAX + 1, "x \"}\"; # }\n }}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}",
	    "a.conf:2:99: error: blocks nested deeper than 32\n");
	expect_repeated("", "a {\n", 1000000, "",
	    "a.conf:33:3: error: blocks nested deeper than 32\n"
	    "a.conf:1000001:1: error: the file ends inside a block; a \"}\" is missing\n"
	    "a.conf:32:3: note: the block that opens here is not closed\n");
	expect_repeated("a when ", "(", AST_EXPRESSION_DEPTH_MAX, "b exists;",
	    "a.conf:1:80: error: unexpected \";\"; expected \"and\", \"or\" or \")\"\n");
	expect_repeated("a when ", "(", 1000000, "b == c { d; }",
	    "a.conf:1:72: error: parentheses nested deeper than 64\n");
	expect_repeated("a when ", "not ", 100000, "b == c;",
	    "a.conf:1:12: error: unexpected \"not\"; expected a word or \"(\"\n");
}

enum { LARGE = 10 * 1024 * 1024 };

static void
test_large(void **state)
{
	expect_repeated("", "x", LARGE, ";", "");
	expect_repeated("a \"", "x", LARGE, "\";", "");
	expect_repeated("a \"", "x", LARGE, ";\nb;",
	    "a.conf:1:3: error: the string that opens here has no closing \" on its line\n");
	expect_repeated("a \"", "\\", LARGE, "\";", "");
	expect_repeated("# ", "x", LARGE, "", "");
	expect_repeated("", "a ", LARGE / 2, ";", "");
	expect_repeated("a when b in (c", ",c", LARGE / 2, ");", "");
	expect_repeated("", " ", LARGE, "", "");
}

static void
test_cut_at_every_byte(void **state)
{
	static const char text[] =
	    "\xef\xbb\xbf" "user \"a\\\"b\" 'c'; # comment\n"
	    "server web {\n\tlisten 80;\n\topt name=\"x\";\n"
	    "\troute = /a when not (b == \"c\" or d not in (e, 'f')) and g exists { return 200 \"${x}\"; }\n"
	    "\troute ~ \"^/(?<id>[0-9]+)$\" when a <= b and c !~ d && e = $f { x{ y } }\n"
	    "}\n};;\n{ z; }\n$a =/b 'open\n";

	for (size_t n = 0; n <= sizeof(text) - 1; n++) {
		struct config_case c;
		char *exact = memory_alloc(n + 1);

		memcpy(exact, text, n);
		case_open_slice(&c, slice_make(exact, n));
		assert_non_null(ast_parse(&c.arena, c.main, &c.diag));
		free(case_said(&c, false));
		free(case_said(&c, true));
		case_close(&c);
		free(exact);
	}
}

/* -- include -- */

static struct block *
parse_all(struct config_case *c)
{
	return ast_parse_all(&c->arena, &c->sources, c->main, &c->diag);
}

static void
test_include(void **state)
{
	struct config_case c;

	case_open(&c, "a; include b.conf; s { include \"d/c.conf\"; z; } include b.conf;");
	case_add(&c, "b.conf", SLICE("b1; b2;"));
	case_add(&c, "d/c.conf", SLICE("include e.conf; c;"));
	case_add(&c, "e.conf", SLICE("e;"));
	expect_block(parse_all(&c), "a;b1;b2;s{e;c;z;}b1;b2;");
	case_expect(&c, "");
	case_close(&c);
}

static void
test_include_pattern(void **state)
{
	struct config_case c;

	case_open(&c, "include sites/*.conf; include none/*;");
	struct slice names[] = { SLICE("sites/1.conf"), SLICE("sites/2.conf") };
	struct source glob = { .kind = SOURCE_GLOB, .name = SLICE("sites/*.conf"), .names = names, .name_count = 2 };
	struct source none = { .kind = SOURCE_GLOB, .name = SLICE("none/*") };
	struct source *recorded = sources_add(&c.sources, &glob);
	sources_add(&c.sources, &none);
	case_add(&c, "sites/1.conf", SLICE("one;"));
	case_add(&c, "sites/2.conf", SLICE("two;"));
	expect_block(parse_all(&c), "one;two;");
	c.main = recorded;
	expect_block(parse_all(&c), "one;two;");
	case_expect(&c, "");
	case_close(&c);
}

static void
test_include_missing(void **state)
{
	struct config_case c;

	case_open(&c, "a {\n  include none.conf;\n}\ninclude;\ninclude a b;\ninclude x { }");
	expect_block(parse_all(&c), "a{}");
	case_expect(&c,
	    "a.conf:2:11: error: cannot read \"none.conf\": No such file or directory\n"
	    "    2 |   include none.conf;\n"
	    "      |           ^~~~~~~~~\n"
	    "a.conf:4:1: error: \"include\" takes one file or pattern and nothing else\n"
	    "    4 | include;\n"
	    "      | ^~~~~~~\n"
	    "a.conf:5:1: error: \"include\" takes one file or pattern and nothing else\n"
	    "    5 | include a b;\n"
	    "      | ^~~~~~~~~~~\n"
	    "a.conf:6:1: error: \"include\" takes one file or pattern and nothing else\n"
	    "    6 | include x { }\n"
	    "      | ^~~~~~~~~\n");
	case_close(&c);
}

static void
test_include_loop(void **state)
{
	struct config_case c;

	case_open(&c, "include b.conf;");
	case_add(&c, "b.conf", SLICE("b; include ./a.conf;"));
	expect_block(parse_all(&c), "b;");
	case_expect_lines(&c,
	    "b.conf:1:12: error: \"a.conf\" includes itself\n"
	    "a.conf:1:9: note: \"b.conf\" is included here\n");
	case_close(&c);
}

static void
test_include_too_deep(void **state)
{
	struct config_case c;
	char name[32], text[64];

	case_open(&c, "include 1.conf;");
	for (int i = 1; i < 30; i++) {
		snprintf(name, sizeof(name), "%d.conf", i);
		snprintf(text, sizeof(text), "include %d.conf;", i + 1);
		case_add(&c, arena_text(&c.arena, slice_of(name)), slice_of(text));
	}
	parse_all(&c);
	assert_int_equal(c.diag.errors, 1);
	char *said = case_said(&c, false);
	assert_non_null(strstr(said, "16.conf:1:9: error: includes nested deeper than 16\n"));
	assert_non_null(strstr(said, "a.conf:1:9: note: \"1.conf\" is included here\n"));
	free(said);
	case_close(&c);
}

static void
test_include_bomb(void **state)
{
	struct config_case c;
	char name[32], text[128];

	case_open(&c, "include 1.conf; include 1.conf; include 1.conf; include 1.conf;");
	for (int i = 1; i <= 15; i++) {
		snprintf(name, sizeof(name), "%d.conf", i);
		snprintf(text, sizeof(text), "include %d.conf; include %d.conf; include %d.conf;", i + 1, i + 1, i + 1);
		case_add(&c, arena_text(&c.arena, slice_of(name)), slice_of(i < 15 ? text : "x;"));
	}
	parse_all(&c);
	assert_int_equal(c.diag.errors, 1);
	assert_string_equal(c.diag.first->text, "more than 65536 files are included");
	case_close(&c);
}

static void
test_errors_of_an_included_file_once(void **state)
{
	struct config_case c;

	case_open(&c, "include b.conf; include b.conf; x }");
	case_add(&c, "b.conf", SLICE("b }"));
	parse_all(&c);
	case_expect_lines(&c,
	    "a.conf:1:34: error: missing \";\"\n"
	    "a.conf:1:35: error: \"}\" closes nothing\n"
	    "b.conf:1:2: error: missing \";\"\n"
	    "b.conf:1:3: error: \"}\" closes nothing\n");
	case_close(&c);
}

static void
test_main_missing(void **state)
{
	struct config_case c;

	case_open(&c, "");
	c.main = sources_file(&c.sources, SLICE("none.conf"));
	expect_block(parse_all(&c), "");
	case_expect(&c, "none.conf: error: No such file or directory\n");
	case_close(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statements),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_condition_forms),
		cmocka_unit_test(test_long_chain),
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_words_that_are_wrong),
		cmocka_unit_test(test_strings_that_are_open),
		cmocka_unit_test(test_punctuation),
		cmocka_unit_test(test_blocks_not_closed),
		cmocka_unit_test(test_operators_of_others),
		cmocka_unit_test(test_conditions_that_are_wrong),
		cmocka_unit_test(test_all_errors_of_a_run),
		cmocka_unit_test(test_binary),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_include),
		cmocka_unit_test(test_include_pattern),
		cmocka_unit_test(test_include_missing),
		cmocka_unit_test(test_include_loop),
		cmocka_unit_test(test_include_too_deep),
		cmocka_unit_test(test_include_bomb),
		cmocka_unit_test(test_errors_of_an_included_file_once),
		cmocka_unit_test(test_main_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
