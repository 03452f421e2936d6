/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/route.h"
#include "exchange_case.h"

enum { ROUTES_MAX = 64 };

struct table_case {
	struct exchange_case c;
	struct route routes[ROUTES_MAX];
	size_t count;
	const struct route_table *table;
};

static struct span
word_span(const struct statement *s)
{
	return s->values[0].span;
}

/* `route`, `route = /x`, `route /x`, `route /x*`, `route ~ "re"`, each perhaps with `when`. */
static void
read_route(struct exchange_case *c, const struct statement *s, uint32_t order, struct route *route)
{
	const struct value *last = &s->values[s->value_count - 1];

	*route = (struct route){ .order = order, .span = word_span(s), .path = last->raw };
	if (s->value_count == 1) {
		route->kind = ROUTE_ANY;
		route->path = SLICE_EMPTY;
	} else if (s->value_count == 2) {
		route->kind = slice_ends(last->raw, SLICE("*")) ? ROUTE_BYTES : ROUTE_SEGMENT;
		route->path.n -= route->kind == ROUTE_BYTES;
		route->shown = last->raw;
	} else if (slice_is(s->values[1].raw, "=")) {
		route->kind = ROUTE_EXACT;
		route->shown = slice_make(s->values[1].raw.at, (size_t)(last->raw.at + last->raw.n - s->values[1].raw.at));
	} else {
		route->kind = ROUTE_REGEX;
		route->regex = regex_compile(&c->reading, last->raw, false, last->span);
		assert_non_null(route->regex);
		route->shown = last->raw;
	}
	if (s->when != NULL) {
		c->scope.captures = route->regex == NULL ? NULL : regex_groups(&c->reading, route->regex);
		route->when = condition_compile(&c->reading, &c->scope, s->when);
		assert_non_null(route->when);
	}
}

static void
open_table(struct table_case *t, const char *text)
{
	exchange_open(&t->c, text);
	if (t->c.config.diag.errors > 0)
		case_expect(&t->c.config, "");
	t->count = 0;
	for (const struct statement *s = t->c.block->first; s != NULL; s = s->next, t->count++)
		read_route(&t->c, s, (uint32_t)t->count, &t->routes[t->count]);
	t->table = route_table_build(&t->c.config.arena, t->routes, t->count);
}

static void
expect(struct table_case *t, const char *path, int order)
{
	exchange_path(&t->c, path);

	const struct route *found = route_find(t->table, &t->c.ex);

	if ((found == NULL ? -1 : (int)found->order) != order)
		fail_msg("%s: route %d, not %d", path, found == NULL ? -1 : (int)found->order, order);
}

static void
test_kinds(void **state)
{
	struct table_case t;

	open_table(&t, "route = /x; route /api; route /files/; route /raw*; route ~ \"^/u/([0-9]+)$\"; route ~ \"[.]php$\";");
	expect(&t, "/x", 0);
	expect(&t, "/x/", -1);
	expect(&t, "/api", 1);
	expect(&t, "/api/", 1);
	expect(&t, "/api/a/b", 1);
	expect(&t, "/apix", -1);
	expect(&t, "/files", -1);
	expect(&t, "/files/", 2);
	expect(&t, "/files/a", 2);
	expect(&t, "/raw", 3);
	expect(&t, "/rawhide", 3);
	expect(&t, "/ra", -1);
	expect(&t, "/u/42", 4);
	assert_ptr_equal(t.c.ex.captured, t.routes[4].regex);
	assert_int_equal(t.c.ex.captures[2], 3);
	assert_int_equal(t.c.ex.captures[3], 5);
	assert_int_equal(t.c.ex.captures[4], UINT32_MAX);
	expect(&t, "/u/x", -1);
	assert_null(t.c.ex.captured);
	expect(&t, "/u/a.php", 5);
	expect(&t, "", -1);
	exchange_close(&t.c);
}

static void
test_slash_is_everything(void **state)
{
	struct table_case t;

	open_table(&t, "route /;");
	expect(&t, "/", 0);
	expect(&t, "/a", 0);
	expect(&t, "*", 0);
	exchange_close(&t.c);
	open_table(&t, "route = /;");
	expect(&t, "/", 0);
	expect(&t, "/a", -1);
	exchange_close(&t.c);
	open_table(&t, "");
	expect(&t, "/", -1);
	exchange_close(&t.c);
}

static void
test_file_order(void **state)
{
	struct table_case t;

	open_table(&t, "route ~ \"^/a/b\"; route /a; route = /a/c; route ~ \"c$\"; route;");
	expect(&t, "/a/bx", 0);
	expect(&t, "/a/c", 1);
	expect(&t, "/b/c", 3);
	expect(&t, "/b/d", 4);
	assert_null(t.c.ex.captured);
	exchange_close(&t.c);
}

static void
test_conditions_fall_through(void **state)
{
	struct table_case t;

	open_table(&t, "route /a when method == A; route ~ \"^/a/(?<n>.)\" when n == x; route = /a/y when method == B; "
		       "route /a when method exists; route;");
	expect(&t, "/a/y", 4);
	expect(&t, "/a/x", 1);
	assert_non_null(t.c.ex.captured);
	fake.method = "A";
	expect(&t, "/a/x", 0);
	assert_null(t.c.ex.captured);
	fake.method = "B";
	expect(&t, "/a/y", 2);
	expect(&t, "/a/z", 3);
	assert_null(t.c.ex.captured);
	exchange_close(&t.c);
}

/* No path: TCP and messages. */
static void
test_without_path(void **state)
{
	struct table_case t;

	open_table(&t, "route when host == a; route when host == b; route;");
	t.c.ex.question.path = slice_make(NULL, 0);
	fake.host = "b";
	assert_int_equal(route_find(t.table, &t.c.ex)->order, 1);
	fake.host = "c";
	assert_int_equal(route_find(t.table, &t.c.ex)->order, 2);
	exchange_close(&t.c);
}

/* ------------------------------------------------------------------ against the plain way */

static unsigned long seed = 7;

static unsigned
dice(unsigned sides)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(seed >> 33) % sides;
}

static bool
path_fits(struct exchange_case *c, const struct route *route, struct slice path)
{
	size_t captures[2 * REGEX_CAPTURES_MAX];

	switch (route->kind) {
	case ROUTE_ANY:
		return true;
	case ROUTE_EXACT:
		return slice_equal(path, route->path);
	case ROUTE_SEGMENT:
		if (slice_is(route->path, "/"))
			return true;
		return slice_starts(path, route->path) && (slice_ends(route->path, SLICE("/")) || path.n == route->path.n ||
		    path.at[route->path.n] == '/');
	case ROUTE_BYTES:
		return slice_starts(path, route->path);
	case ROUTE_REGEX:
		return regex_match_in(&c->ex, route->regex, path, captures);
	}
	return false;
}

static const struct route *
plain_find(struct table_case *t)
{
	for (size_t i = 0; i < t->count; i++)
		if (path_fits(&t->c, &t->routes[i], t->c.ex.question.path) &&
		    (t->routes[i].when == NULL || condition_is(t->routes[i].when, &t->c.ex)))
			return &t->routes[i];
	return NULL;
}

static const char *
random_path(struct builder *b)
{
	static const char *const pieces[] = { "/", "a", "b", "/a", "/b", "/ab", "//" };

	b->n = 0;
	builder_byte(b, '/');
	for (unsigned n = dice(6); n > 0; n--)
		builder_text(b, pieces[dice(ARRAY_COUNT(pieces))]);
	b->at[b->n] = '\0';
	return b->at;
}

static void
random_table(struct builder *b, unsigned routes, bool regexes_only)
{
	static const char *const regexes[] = { "^/a", "^/a/(b|/)", "a$", "^/ab*$", "^/a|^/b", "b/a", "^/+a", "^/a.?/ab$", "a/b/a",
		"^/[ab]+/ab/b", "(?i)^/A.*/AB", "(/a)?/ab", "b/ab/?", "/a/a", "^.(ab|ba)/", "//b$" };
	static const char *const conditions[] = { "", "", " when method == A", " when method in (A, B)", " when method == B",
		" when not method == A and path exists" };
	char memory[64];
	struct builder path = builder_on(memory, sizeof(memory) - 1);

	for (unsigned i = 0; i < routes; i++) {
		switch (regexes_only && dice(8) != 0 ? 7 : dice(9)) {
		case 0: case 1:
			builder_printf(b, "route = %s", random_path(&path));
			break;
		case 2: case 3: case 4:
			builder_printf(b, "route %s", random_path(&path));
			break;
		case 5: case 6:
			builder_printf(b, "route %s*", random_path(&path));
			break;
		case 7:
			builder_printf(b, "route ~ \"%s\"", regexes[dice(ARRAY_COUNT(regexes))]);
			break;
		case 8:
			/* seldom: it hides all below */
			builder_text(b, dice(4) == 0 ? "route" : "route = /b");
			break;
		}
		builder_printf(b, "%s;\n", conditions[dice(ARRAY_COUNT(conditions))]);
	}
	b->at[b->n] = '\0';
}

static bool
is_reported(const struct table_case *t, const struct route *route)
{
	for (const struct diagnostic *d = t->c.config.diag.first; d != NULL; d = d->next)
		if (d->severity == SEVERITY_WARNING && d->span.at == route->span.at)
			return true;
	return false;
}

/* What is chosen is what the plain way chooses, and it was not called unreachable. */
static void
test_random(void **state)
{
	static const char *const methods[] = { NULL, "A", "B", "C" };
	char text[8192], memory[64];
	struct builder path = builder_on(memory, sizeof(memory) - 1);
	size_t reported = 0, found = 0;

	for (int i = 0; i < 600; i++) {
		struct table_case t;
		struct builder b = builder_on(text, sizeof(text) - 1);

		random_table(&b, 1 + dice(i % 2 == 0 ? 12 : ROUTES_MAX), i % 3 == 0);
		open_table(&t, text);
		route_report_unreachable(&t.c.config.diag, t.routes, t.count);
		reported += t.c.config.diag.warnings;
		for (int k = 0; k < 100; k++) {
			exchange_path(&t.c, random_path(&path));
			fake.method = methods[dice(ARRAY_COUNT(methods))];

			const struct route *plain = plain_find(&t);

			if (route_find(t.table, &t.c.ex) != plain)
				fail_msg("%s\n%s: not %d", text, memory, plain == NULL ? -1 : (int)plain->order);
			for (size_t j = 0; j < (plain == NULL ? t.count : plain->order + 1); j++)
				if ((route_try(&t.routes[j], &t.c.ex) == ROUTE_FITS) != (&t.routes[j] == plain))
					fail_msg("%s\n%s: %zu by itself", text, memory, j);
			if (plain != NULL && is_reported(&t, plain))
				fail_msg("%s\n%s: reported %u", text, memory, plain->order);
			found += plain != NULL;
		}
		exchange_close(&t.c);
	}
	assert_true(reported > 1000);
	assert_true(found > 10000);
}

/* ------------------------------------------------------------------ never reached */

static void
expect_report(const char *text, const char *said)
{
	struct table_case t;

	open_table(&t, text);
	route_report_unreachable(&t.c.config.diag, t.routes, t.count);
	assert_int_equal(t.c.config.diag.errors, 0);
	exchange_expect(&t.c, said);
}

#define SECOND_NEVER "a.conf:2:1: warning: this route can never match\n"

static void
test_unreachable(void **state)
{
	expect_report("route /api;\nroute /api/x;", SECOND_NEVER "a.conf:1:1: note: \"route /api\" takes every question it could get\n");
	expect_report("route;\nroute = /x;", SECOND_NEVER "a.conf:1:1: note: \"route\" takes every question it could get\n");
	expect_report("route = /x;\nroute = /x;", SECOND_NEVER "a.conf:1:1: note: \"route = /x\" takes every question it could get\n");
	expect_report("route /;\nroute;", SECOND_NEVER "a.conf:1:1: note: \"route /\" takes every question it could get\n");
	expect_report("route /a*;\nroute ~ \"^/ab+\";", SECOND_NEVER "a.conf:1:1: note: \"route /a*\" takes every question it could get\n");
	expect_report("route ~ \"^/a\";\nroute ~ \"^/a\" when method == A;",
	    SECOND_NEVER "a.conf:1:1: note: \"route ^/a\" takes every question it could get\n");
	expect_report("route /a when method in (A, B);\nroute = /a when method == A;",
	    SECOND_NEVER "a.conf:1:1: note: \"route /a\" takes every question it could get\n");
	expect_report("route /a when method == A;\nroute /a/b when method == A and path exists;",
	    SECOND_NEVER "a.conf:1:1: note: \"route /a\" takes every question it could get\n");
	expect_report("route /a;\nroute /a/;", SECOND_NEVER "a.conf:1:1: note: \"route /a\" takes every question it could get\n");
	expect_report("route /a/;\nroute /a/b*;", SECOND_NEVER "a.conf:1:1: note: \"route /a/\" takes every question it could get\n");
}

static void
test_reachable(void **state)
{
	static const char *const texts[] = {
		"route = /x; route /x;",
		"route /api/x; route /api;",
		"route /api; route /apix; route /ap; route /api*;",
		"route /a/; route /a;",
		"route /a when method == A; route /a;",
		"route /a when method == A; route /a when method == B;",
		"route /a when method == A; route /a when method in (A, B);",
		"route ~ \"^/a\"; route /a; route ~ \"^/b\"; route ~ \"^/ab\";",
		"route ~ \"^/a\" when method == A; route ~ \"^/a\";",
		"route /a*; route ~ \"^/\"; route ~ \"a\";",
		"route = /a; route ~ \"^/a$\";",
	};

	for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
		expect_report(texts[i], "");
}

/* ------------------------------------------------------------------ very many */

enum { MANY = 10000 };

static struct route many[3 * MANY];

static void
test_many(void **state)
{
	struct exchange_case c;
	char name[32];

	exchange_open(&c, "x when method == A;");

	struct condition *when = condition_compile(&c.reading, &c.scope, c.block->first->when);

	for (uint32_t i = 0; i < MANY; i++) {
		struct route *r = &many[3 * i];

		r[0] = (struct route){ .kind = ROUTE_SEGMENT, .order = 3 * i, .when = when,
			.path = slice_of(arena_printf(&c.config.arena, "/s%u", i)) };
		r[1] = (struct route){ .kind = ROUTE_EXACT, .order = 3 * i + 1,
			.path = slice_of(arena_printf(&c.config.arena, "/e%u", i)) };
		snprintf(name, sizeof(name), "^/r%u/([a-z]+)$", i);
		r[2] = (struct route){ .kind = ROUTE_REGEX, .order = 3 * i + 2,
			.regex = regex_compile(&c.reading, slice_of(name), false, (struct span){ 0 }) };
	}

	const struct route_table *t = route_table_build(&c.config.arena, many, 3 * MANY);

	route_report_unreachable(&c.config.diag, many, 3 * MANY);
	assert_int_equal(c.config.diag.warnings, 0);
	fake.method = "A";
	for (uint32_t i = 0; i < MANY; i += 37) {
		snprintf(name, sizeof(name), "/s%u/x", i);
		exchange_path(&c, name);
		assert_ptr_equal(route_find(t, &c.ex), &many[3 * i]);
		snprintf(name, sizeof(name), "/e%u", i);
		exchange_path(&c, name);
		assert_ptr_equal(route_find(t, &c.ex), &many[3 * i + 1]);
		snprintf(name, sizeof(name), "/r%u/abc", i);
		exchange_path(&c, name);
		assert_ptr_equal(route_find(t, &c.ex), &many[3 * i + 2]);
	}
	exchange_close(&c);
}

/* More lists on one path than the stack has room for. */
static void
test_deep(void **state)
{
	struct table_case t;
	char text[8192];
	struct builder b = builder_on(text, sizeof(text) - 1);

	for (int i = ROUTES_MAX - 1; i >= 0; i--) {
		builder_text(&b, "route /");
		for (int k = 0; k < i; k++)
			builder_byte(&b, 'a');
		builder_text(&b, i == 0 ? ";" : "* when method == A;");
	}
	text[b.n] = '\0';
	open_table(&t, text);
	expect(&t, "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ROUTES_MAX - 1);
	fake.method = "A";
	expect(&t, "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0);
	expect(&t, "/aaa", ROUTES_MAX - 4);
	exchange_close(&t.c);
}

/* ------------------------------------------------------------------ hosts */

static void
test_hosts(void **state)
{
	static struct server servers[5];
	const struct host_entry entries[] = {
		{ .name = SLICE("example.com"), .server = &servers[0] },
		{ .name = SLICE("*.example.com"), .server = &servers[1] },
		{ .name = SLICE("*.a.example.com"), .server = &servers[2] },
		{ .name = SLICE("b.a.example.com"), .server = &servers[3] },
		{ .name = SLICE("*.com"), .server = &servers[4] },
	};
	struct arena a;

	arena_init(&a, NULL, 0);

	const struct host_table *t = host_table_build(&a, entries, ARRAY_COUNT(entries));

	assert_ptr_equal(host_find(t, SLICE("example.com")), &servers[0]);
	assert_ptr_equal(host_find(t, SLICE("example.com.")), &servers[0]);
	assert_ptr_equal(host_find(t, SLICE("x.example.com")), &servers[1]);
	assert_ptr_equal(host_find(t, SLICE("a.example.com")), &servers[1]);
	assert_ptr_equal(host_find(t, SLICE("x.y.example.com")), &servers[1]);
	assert_ptr_equal(host_find(t, SLICE("c.a.example.com")), &servers[2]);
	assert_ptr_equal(host_find(t, SLICE("b.a.example.com")), &servers[3]);
	assert_ptr_equal(host_find(t, SLICE("other.com")), &servers[4]);
	assert_null(host_find(t, SLICE("com")));
	assert_null(host_find(t, SLICE(".com")));
	assert_null(host_find(t, SLICE("")));
	assert_null(host_find(t, SLICE(".")));
	assert_null(host_find(t, SLICE("example.org")));
	assert_null(host_find(t, SLICE("10.0.0.1")));
	arena_reset(&a);
	t = host_table_build(&a, entries, 0);
	assert_null(host_find(t, SLICE("example.com")));
	arena_reset(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_slash_is_everything),
		cmocka_unit_test(test_file_order),
		cmocka_unit_test(test_conditions_fall_through),
		cmocka_unit_test(test_without_path),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_reachable),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
