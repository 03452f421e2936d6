/* SPDX-License-Identifier: BSD-2-Clause */
#include "exchange_case.h"

static struct field_ref
find(struct exchange_case *c, const char *word)
{
	struct field_ref ref;

	assert_true(field_find(&c->reading, &c->scope, slice_of(word), (struct span){ 0 }, &ref));
	return ref;
}

static void
expect_text(struct exchange_case *c, const char *word, const char *wanted)
{
	struct field_ref ref = find(c, word);
	struct slice text;

	if (!field_text(&c->ex, &ref, false, &text)) {
		assert_null(wanted);
		return;
	}
	assert_non_null(wanted);
	assert_int_equal(text.n, strlen(wanted));
	assert_memory_equal(text.at, wanted, text.n);
}

static void
test_core(void **state)
{
	struct exchange_case c;

	exchange_open(&c, "");
	c.scope.moment = MOMENT_END;
	exchange_src(&c, "10.1.2.3:456");
	c.ex.id = SLICE("77");
	c.ex.sent = 5;
	expect_text(&c, "src", "10.1.2.3");
	expect_text(&c, "src_port", "456");
	expect_text(&c, "src.connection", "10.1.2.3");
	expect_text(&c, "id", "77");
	expect_text(&c, "bytes_sent", "5");
	expect_text(&c, "bytes_received", "0");
	expect_text(&c, "attempts", "0");
	/* absent: no connection, no peer, nothing failed */
	expect_text(&c, "dst", NULL);
	expect_text(&c, "dst_port", NULL);
	expect_text(&c, "listener", NULL);
	expect_text(&c, "server", NULL);
	expect_text(&c, "upstream", NULL);
	expect_text(&c, "peer", NULL);
	expect_text(&c, "reason", NULL);
	c.ex.reason = REASON_PEER_REFUSED;
	expect_text(&c, "reason", "peer_refused");
	exchange_src(&c, "unix:/run/x");
	expect_text(&c, "src_port", NULL);

	struct addr connection;

	assert_true(addr_parse(SLICE("10.9.9.9:80"), &connection));
	c.ex.connection_src = &connection;
	expect_text(&c, "src.connection", "10.9.9.9");
	/* told by a field, without a port */
	exchange_src(&c, "1.2.3.4:0");
	expect_text(&c, "src", "1.2.3.4");
	expect_text(&c, "src_port", NULL);
	exchange_close(&c);
}

static void
test_every_core_field_has_help_and_a_value_or_none(void **state)
{
	struct exchange_case c;

	exchange_open(&c, "");
	for (const struct field *f = core_fields; f->name != NULL; f++) {
		struct field_value value;

		assert_non_null(f->help);
		assert_int_equal(f->help[strlen(f->help) - 1], '.');
		if (f->flags & FIELD_FAMILY)
			continue;

		struct field_ref ref = { .field = f };

		assert_false(f->get(&c.ex, &ref, 1, &value));
		(void)f->get(&c.ex, &ref, 0, &value);
	}
	exchange_close(&c);
}

static void
test_repeated(void **state)
{
	struct exchange_case c;
	struct slice text;

	exchange_open(&c, "");
	fake.tags[0] = "a";
	fake.tags[1] = "";
	fake.tags[2] = "c";

	struct field_ref ref = find(&c, "tag.x");

	assert_true(slice_is(ref.name, "x"));
	assert_true(field_text(&c.ex, &ref, false, &text) && slice_is(text, "a"));
	assert_true(field_text(&c.ex, &ref, true, &text) && slice_is(text, "a, , c"));
	fake.tags[1] = NULL;
	assert_true(field_text(&c.ex, &ref, true, &text) && slice_is(text, "a"));
	fake.tags[0] = NULL;
	assert_false(field_text(&c.ex, &ref, true, &text));
	exchange_close(&c);
}

static void
test_captures(void **state)
{
	static const char *const names[] = { "id", "", "path", NULL };
	struct exchange_case c;

	exchange_open(&c, "");
	c.scope.captures = names;
	exchange_path(&c, "/u/42/x");

	uint32_t captures[2 * REGEX_CAPTURES_MAX];

	c.ex.captured = (const struct regex *)&c;
	memset(captures, 0xff, sizeof(captures));
	c.ex.captures = captures;
	c.ex.captures[2] = 3;
	c.ex.captures[3] = 5;
	expect_text(&c, "id", "42");
	expect_text(&c, "1", "42");
	expect_text(&c, "2", NULL);
	/* a capture goes before a field */
	expect_text(&c, "path", NULL);
	c.ex.captured = NULL;
	expect_text(&c, "id", NULL);

	struct field_ref ref;

	assert_false(field_find(&c.reading, &c.scope, SLICE("4"), (struct span){ 0 }, &ref));
	assert_false(field_find(&c.reading, &c.scope, SLICE("0"), (struct span){ 0 }, &ref));
	exchange_close(&c);
}

/* The only statement's second word is asked for. */
static void
expect_error(const char *text, enum moment moment, const struct protocol_ops *protocol, const char *said)
{
	struct exchange_case c;
	struct field_ref ref;

	exchange_open(&c, text);
	c.scope.moment = moment;
	c.scope.protocol = protocol;

	const struct value *v = &c.block->first->values[1];

	assert_false(field_find(&c.reading, &c.scope, v->raw, v->span, &ref));
	exchange_expect(&c, said);
}

static void
test_errors(void **state)
{
	expect_error("key pth;", MOMENT_END, &fake_protocol, "a.conf:1:5: error: unknown field \"pth\"; did you mean \"path\"?\n");
	expect_error("key tga.x;", MOMENT_END, &fake_protocol, "a.conf:1:5: error: unknown field \"tga.x\"; did you mean \"tag.x\"?\n");
	expect_error("key zzzzzzzzzz;", MOMENT_END, &fake_protocol, "a.conf:1:5: error: unknown field \"zzzzzzzzzz\"\n");
	expect_error("key tag;", MOMENT_END, &fake_protocol, "a.conf:1:5: error: field \"tag\" wants a name: tag.NAME\n");
	expect_error("key tag.;", MOMENT_END, &fake_protocol, "a.conf:1:5: error: field \"tag\" wants a name: tag.NAME\n");
	expect_error("key path;", MOMENT_END, &plain_protocol,
	    "a.conf:1:5: error: field \"path\" needs protocol fake; this server speaks plain\n");
	expect_error("key path;", MOMENT_END, NULL, "a.conf:1:5: error: field \"path\" needs protocol fake\n");
	expect_error("key result;", MOMENT_QUESTION, &fake_protocol,
	    "a.conf:1:5: error: field \"result\" is known only once the answer is there; the condition of a route is asked before\n");
	expect_error("key bytes_sent;", MOMENT_ANSWER, &fake_protocol,
	    "a.conf:1:5: error: field \"bytes_sent\" is known only at the end of the exchange; the condition of a route is asked before\n");
	expect_error("key map.x;", MOMENT_END, &fake_protocol, "a.conf:1:5: error: unknown map \"x\"\n");
}

static void
test_argument(void **state)
{
	static const struct argument argument = { .name = "FIELD", .type = &type_field };
	struct exchange_case c;
	struct field_argument field = { 0 };

	exchange_open(&c, "key tag.a \"path\";");

	const struct value *v = c.block->first->values;

	assert_true(type_field.read(&c.reading, &v[1], &argument, &field));
	assert_true(type_field.compile(&c.reading, &c.scope, &argument, &field));
	assert_true(slice_is(field.ref.name, "a"));
	assert_false(type_field.read(&c.reading, &v[2], &argument, &field));
	exchange_expect(&c, "a.conf:1:11: error: a field is written without quotes: path\n");
}

/* ------------------------------------------------------------------ maps */

static const struct table map_inside[] = { { map_rows, 0 }, { NULL, 0 } };
static const struct directive outer_rows[] = {
	{ .name = "map", .kind = DIRECTIVE_BLOCK, .flags = DIRECTIVE_REPEATS, .arguments = map_arguments,
	    .size = sizeof(struct map_block), .inside = map_inside, .help = "A map." },
	{ 0 },
};
static const struct table outer[] = { { outer_rows, 0 }, { NULL, 0 } };

/* Reads every map of the text; false when one of them is wrong. */
static bool
read_maps(struct exchange_case *c)
{
	struct list list = { 0 };
	struct map *maps = arena_alloc(c->reading.arena, sizeof(*maps));

	map_init(maps, c->reading.arena, false);
	c->scope.maps = maps;
	if (!schema_fill(&c->reading, outer, c->block, "the top level", &list))
		return false;

	const struct filled *filled = list.items;
	bool fine = true;

	for (size_t i = 0; i < list.n; i++) {
		struct field_map *map = field_map_build(&c->reading, filled[i].data);

		fine = map != NULL && map_add(maps, map->name, map) && fine;
	}
	return fine;
}

static void
test_map(void **state)
{
	struct exchange_case c;

	exchange_open(&c, "map m path { ~ \"^/a\" first; \"/a/b\" never; \"/x\" second; /y \"th\\x69rd\"; ~ \"y$\" \"\"; default other; }\n"
			  "map h host { A.example one; ~ \"^b\" two; }\n"
			  "map t tag.x { b second; a first; }");
	assert_true(read_maps(&c));
	exchange_path(&c, "/a/b");
	expect_text(&c, "map.m", "first");
	exchange_path(&c, "/x");
	expect_text(&c, "map.m", "second");
	exchange_path(&c, "/y");
	expect_text(&c, "map.m", "third");
	exchange_path(&c, "/xy");
	expect_text(&c, "map.m", "");
	exchange_path(&c, "/z");
	expect_text(&c, "map.m", "other");
	exchange_path(&c, "");
	expect_text(&c, "map.m", "other");
	/* hosts without case, and no default */
	expect_text(&c, "map.h", NULL);
	fake.host = "a.EXAMPLE";
	expect_text(&c, "map.h", "one");
	fake.host = "B";
	expect_text(&c, "map.h", "two");
	/* of several values the one whose entry stands first */
	fake.tags[0] = "a";
	expect_text(&c, "map.t", "first");
	fake.tags[1] = "b";
	expect_text(&c, "map.t", "second");
	exchange_close(&c);
}

static void
test_map_errors(void **state)
{
	struct exchange_case c;
	struct field_ref ref;

	exchange_open(&c, "map m path { a 1; a 2; ~ \"(\" 3; }");
	assert_false(read_maps(&c));
	exchange_expect(&c, "a.conf:1:19: error: map \"m\" has this value already\n"
			    "a.conf:1:16: note: its result is here\n"
			    "a.conf:1:28: error: this is not a regular expression: missing closing parenthesis\n");

	exchange_open(&c, "map mine pth { a 1; }");
	assert_true(read_maps(&c));
	assert_false(field_find(&c.reading, &c.scope, SLICE("map.mine"), c.block->first->values[0].span, &ref));
	assert_false(field_find(&c.reading, &c.scope, SLICE("map.mnie"), c.block->first->values[1].span, &ref));
	exchange_expect(&c, "a.conf:1:5: error: unknown map \"mnie\"; did you mean \"mine\"?\n"
			    "a.conf:1:10: error: unknown field \"pth\"; did you mean \"path\"?\n"
			    "a.conf:1:1: note: map \"mine\" is used here\n");

	exchange_open(&c, "map a map.b { x 1; }\nmap b map.a { x 1; }");
	assert_true(read_maps(&c));
	assert_false(field_find(&c.reading, &c.scope, SLICE("map.a"), (struct span){ 0 }, &ref));
	assert_int_equal(c.config.diag.errors, 1);
	exchange_close(&c);

	exchange_open(&c, "map late result { 1 one; }");
	assert_true(read_maps(&c));
	assert_false(field_find(&c.reading, &c.scope, SLICE("map.late"), (struct span){ 0 }, &ref));
	c.scope.moment = MOMENT_ANSWER;
	ref = find(&c, "map.late");
	assert_int_equal(field_moment(&ref), MOMENT_ANSWER);
	fake.size = 1;
	expect_text(&c, "map.late", "one");
	exchange_close(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_core),
		cmocka_unit_test(test_every_core_field_has_help_and_a_value_or_none),
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_captures),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_argument),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_map_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
