/* SPDX-License-Identifier: BSD-2-Clause */
/* server/compare: what a reload changes, as it is said. */
#include "config_case.h"
#include "server/compare.h"

static struct compare_list
read_list(struct config_case *c, const char *text)
{
	struct compare_list list = { .count = 0 };

	case_open(c, text);
	compare_read(&list, &c->arena, ast_parse(&c->arena, c->main, &c->diag));
	assert_int_equal(c->diag.errors, 0);
	return list;
}

__attribute__((noinline)) static char *
say(const struct compare_list *before, const struct compare_list *now)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	assert_non_null(to);
	compare_print(before, now, to);
	fclose(to);
	return text;
}

#define expect(before, now, said) expect_at((before), (now), (said), __FILE__, __LINE__)
static void
expect_at(const char *before, const char *now, const char *said, const char *file, int line)
{
	struct config_case a, b;
	struct compare_list old = read_list(&a, before), new = read_list(&b, now);
	char *got = say(&old, &new);

	if (strcmp(got, said) != 0) {
		print_error("%s:%d: got:\n%s\nwanted:\n%s\n", file, line, got, said);
		_fail(file, line);
	}
	free(got);
	case_close(&a);
	case_close(&b);
}

static const char whole[] =
    "workers 2;\n"
    "protocol p { boundary \"\\n\"; max 1k; }\n"
    "limit l { key src; rate 5/m; }\n"
    "map m path { default a; }\n"
    "module \"x.so\";\n"
    "upstream u { server 127.0.0.1:1; server 127.0.0.1:2 weight=2; balance x; }\n"
    "server web { listen 80; route = /a { return 200; } route /b when path == \"x\" { proxy u; } route { return 404; } }\n";

/* One word of it is another. */
static void
expect_edit(const char *word, const char *other, const char *said)
{
	char text[2 * sizeof(whole)];
	const char *at = strstr(whole, word);

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, other, at + strlen(word));
	expect(whole, text, said);
}

static void
says_what_changed(void **state)
{
	expect(whole, whole, "nothing changed\n");
	expect_edit("workers 2", "workers 3", "changed setting workers\n");
	expect_edit("max 1k", "max 2k", "changed protocol p\n");
	expect_edit("5/m", "6/m", "changed limit l\n");
	expect_edit("default a", "default b", "changed map m\n");
	expect_edit("x.so", "y.so", "added module y.so\nremoved module x.so\n");
	expect_edit("balance x", "balance y", "changed upstream u\n");
	expect_edit("weight=2", "weight=3", "changed peer 127.0.0.1:2 of upstream u\n");
	expect_edit("127.0.0.1:1", "127.0.0.1:3",
	    "added peer 127.0.0.1:3 of upstream u\nremoved peer 127.0.0.1:1 of upstream u\n");
	expect_edit("listen 80", "listen 81", "changed server web\n");
	expect_edit("return 404", "return 403", "changed route (of all paths) of server web\n");
	expect_edit("return 200", "return 201", "changed route = /a of server web\n");
	expect_edit("\"x\"", "\"y\"", "changed route /b of server web\n");
	expect_edit("path == \"x\"", "path != \"x\"", "changed route /b of server web\n");
	/* quoted is not the same as bare */
	expect_edit("path == \"x\"", "path == x", "changed route /b of server web\n");
	expect_edit("upstream u", "upstream v",
	    "added upstream v\nadded peer 127.0.0.1:1 of upstream v\nadded peer 127.0.0.1:2 of upstream v\n"
	    "removed upstream u\nremoved peer 127.0.0.1:1 of upstream u\nremoved peer 127.0.0.1:2 of upstream u\n");
}

static void
lines_and_comments_are_nothing(void **state)
{
	expect("a b; # x\n", "\n\n  a\n   b ;", "nothing changed\n");
	expect("a b;", "a bc;", "changed setting a\n");
	expect("a b c;", "a bc;", "changed setting a\n");
	expect("a { b; c; }", "a { b { c; } }", "changed setting a\n");
	expect("", "", "nothing changed\n");
	expect("", "a;", "added setting a\n");
	expect("a;", "", "removed setting a\n");
	expect("a 1; b 1;", "b 1; a 1;", "changed: the order of some parts\n");
}

/* What stands at either end as it did is not looked up, and told all the same. */
static void
ends_and_between(void **state)
{
	expect("a 1; b 1; c 1; d 1;", "a 2; b 1; c 1; d 2;", "changed setting a\nchanged setting d\n");
	expect("a 1; b 1; c 1;", "a 1; x 1; b 2; c 1;", "added setting x\nchanged setting b\n");
	expect("a 1; b 1; c 1; d 1;", "a 2; c 1; b 2; d 2;", "changed setting a\nchanged setting b\nchanged setting d\n");
	expect("a 1; b 1; c 1;", "c 2;", "changed setting c\nremoved setting a\nremoved setting b\n");
	expect("a 1; b 1; c 1;", "a 2;", "changed setting a\nremoved setting b\nremoved setting c\n");
	expect("a 1; a 2; b 1; a 3;", "a 1; b 1; a 3;", "removed setting a (number 2 of them)\n");
	expect("a 1; b 1; a 3;", "a 1; x 1; a 7; b 1; a 3;", "added setting x\nadded setting a (number 2 of them)\n");
	expect("x 1; a 1; a 2; y 1;", "y 1; a 1; a 3; x 1;", "changed setting a (number 2 of them)\n");
}

static void
names(void **state)
{
	/* by the first name, by the first address, by their number */
	expect("server { listen 1; server_name x y; }", "", "removed server x\n");
	expect("server { listen 1; listen 2; }", "", "removed server 1\n");
	expect("server { }", "", "removed server (without a name)\n");
	expect("server a { route { x; } route when b exists { y; } }", "server a { route { x; } route when b exists { z; } }",
	    "changed route (of all paths) (number 2 of them) of server a\n");
}

/* What stands in a name forges no line. */
static void
is_printable(void **state)
{
	struct config_case c;
	struct compare_list none = read_list(&c, ""), one = { .count = 0 };

	compare_add(&one, &c.arena, &(struct compare_part){ .kind = COMPARE_SERVER,
		.name = SLICE("a\nb\x1b"), .fingerprint = 1 });

	char *said = say(&none, &one);

	assert_string_equal(said, "added server a\\x0ab\\x1b\n");
	free(said);
	case_close(&c);
}

static void
many(void **state)
{
	static char text[64 * 1024];
	struct config_case a, b;
	struct compare_list none = read_list(&a, ""), all;
	size_t n = 0, lines = 0;

	for (int i = 0; i < 1000; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "upstream u%d { }\n", i);
	all = read_list(&b, text);

	char *said = say(&none, &all);

	for (const char *at = said; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_int_equal(lines, 21);
	assert_non_null(strstr(said, "added 980 upstreams more\n"));
	free(said);
	case_close(&a);
	case_close(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_changed),
		cmocka_unit_test(lines_and_comments_are_nothing),
		cmocka_unit_test(ends_and_between), cmocka_unit_test(names),
		cmocka_unit_test(is_printable),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
