/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fields of messages: their values and types, conditions by the form of the literal, texts; that a body of JSON is walked
 * once, and that what was found goes along when the message moves; header fields that are set.
 */
#include "core/match.h"
#include "exchange_case.h"
#include "protocols/frame/declared.h"

static struct declared protocol;
static struct unit unit;
static struct exchange_case c;

static void
say(void *who, const struct frame *f, enum frame_part part, size_t index, const char *text)
{
	print_error("%s\n", text);
}

static const struct frame_field fields[] = {
	{ SLICE("big"), { .form = NUMBER_UNSIGNED, .width = 8 }, 0 },
	{ SLICE("small"), { .form = NUMBER_SIGNED, .width = 1 }, 8 },
	{ SLICE("tag"), { .form = NUMBER_BYTES, .width = 2 }, 9 },
	{ SLICE("id"), { .form = NUMBER_DECIMAL, .width = 2 }, 11 },
};

/* A message of that protocol in the exchange; the configuration is `x when CONDITION;`. */
static void
open_message(enum frame_format format, struct slice wire, const char *text)
{
	struct frame_mistakes m = { say, NULL, 0 };
	_Alignas(8) char state[CODEC_STATE] = "";

	exchange_open(&c, text);
	protocol = (struct declared){ .frame = { .kind = FRAME_WHOLE, .max = 4096, .format = format,
		.equals = '=', .between = '&' } };
	if (format == FORMAT_BINARY) {
		protocol.frame.fields = fields;
		protocol.frame.field_count = ARRAY_COUNT(fields);
	}
	assert_true(frame_check(&protocol.frame, &m));
	declared_init(&protocol, "test");
	c.scope.protocol = &protocol.ops;
	protocol.codec.begin(&protocol.codec, state, true);
	assert_int_equal(protocol.codec.next(&protocol.codec, state, wire, &c.engine.loop.scratch, &unit), CODEC_MORE);
	assert_int_equal(protocol.codec.finish(&protocol.codec, state, wire, &c.engine.loop.scratch, &unit), CODEC_MESSAGE);
	c.ex.unit = &unit;
}

static bool
holds(enum frame_format format, struct slice wire, const char *condition)
{
	char text[512];
	bool is;

	snprintf(text, sizeof(text), "x when %s;", condition);
	open_message(format, wire, text);

	struct condition *when = condition_compile(&c.reading, &c.scope, c.block->first->when);

	if (when == NULL)
		diag_print(&c.config.diag, stderr);
	assert_non_null(when);
	is = condition_is(when, &c.ex);
	exchange_close(&c);
	return is;
}

#define JSON "{\"n\":1,\"s\":\"1\",\"t\":true,\"z\":null,\"f\":1.50,\"o\":{\"a\":[10,{\"b\":\"x\\u0041\"}]},\"big\":18446744073709551615,\"m\":-5}"

static void
compares_json_by_the_literals_form(void **state)
{
	static const char *const hold[] = {
		"msg.n == 1", "msg.n != \"1\"", "msg.s == \"1\"", "msg.s != 1", "msg.t == true", "msg.t != \"true\"", "msg.z == null",
		"msg.z exists", "msg.f == 1.50", "msg.f != 1.5", "msg.o.a[0] in (1..20)", "msg.o.a[1].b == \"xA\"", "msg.o.a[1].b == xA",
		"msg.o.a[1].b ~ \"^xA$\"", "msg.m < 0", "msg.m >= -5", "not msg.s > 0", "msg.s in (1, \"1\")", "msg.n in (\"x\", 1, true)",
		"msg.t in (\"x\", 1, true)", "msg.n not in (\"1\", 2, true)", "msg.nothing != 1", "msg.nothing not in (1, \"x\")",
		"not msg.nothing == 1", "msg.nothing not exists", "msg.o exists", "msg.len > 100", "msg.body ~ \"^{.*}$\"", "msg[0] not exists",
		"msg.big == 18446744073709551615", "msg.n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)", "msg.s in (a, b, c, d, e, f, g, h, i, \"1\")",
		"msg.o ~ \"a\"", "not msg.n == 2 and not (msg.n == 3 or msg.n == \"1\")",
	};
	static const char *const fail[] = {
		"msg.n == \"1\"", "msg.s == 1", "msg.s > 0", "msg.t == \"true\"", "msg.z == \"null\"", "msg.n in (\"1\", true)", "msg.nothing == null",
		"msg.nothing exists", "msg.nothing > 0", "msg.n not in (\"1\", 1)", "msg.s not in (1, \"1\")", "msg.o.a[2] exists", "msg.f > 1",
	};

	for (size_t i = 0; i < ARRAY_COUNT(hold); i++)
		if (!holds(FORMAT_JSON, SLICE(JSON), hold[i]))
			fail_msg("%s", hold[i]);
	for (size_t i = 0; i < ARRAY_COUNT(fail); i++)
		if (holds(FORMAT_JSON, SLICE(JSON), fail[i]))
			fail_msg("%s", fail[i]);
}

static void
finds_nothing_in_what_is_not_json(void **state)
{
	static const char *const bodies[] = { "{\"n\":1", "{\"n\":1}}", "n", "{\"n\":1,\"n\":1}", "{\"n\":\"\xff\"}" };

	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
		assert_false(holds(FORMAT_JSON, slice_of(bodies[i]), "msg.n == 1 or msg.n exists or msg.n != 1 and msg.n exists"));
		assert_true(holds(FORMAT_JSON, slice_of(bodies[i]), "msg.n != 1 and msg.len > 0"));
	}
}

static void
compares_other_formats_as_text(void **state)
{
	assert_true(holds(FORMAT_WORDS, SLICE("GET  key 7"), "msg[0] == GET and msg[2] == 7 and msg[2] == \"7\" and msg[3] not exists"));
	assert_true(holds(FORMAT_KV, SLICE("a=1&b=2&a=3"), "msg.a == 3 and msg.a == \"1\" and msg.a != 2 and msg.c not exists"));
	assert_true(holds(FORMAT_TEXT, SLICE("hello"), "msg.body == hello and msg.len == 5"));
}

#define BINARY "\xff\xff\xff\xff\xff\xff\xff\xff\xfe" "ab07rest"

static void
knows_declared_fields(void **state)
{
	assert_true(holds(FORMAT_BINARY, SLICE(BINARY), "msg.big > 5 and msg.small == -2 and msg.tag == ab and msg.id == 7 and msg.id in (1..9)"));
	assert_false(holds(FORMAT_BINARY, SLICE("\0\0\0\0\0\0\0\5\1" "ab" "xx"), "msg.id exists"));
	assert_true(holds(FORMAT_BINARY, SLICE("\0\0\0\0\0\0\0\5\1" "ab" "xx"), "msg.big == 5"));
}

static void
expect_text(enum frame_format format, struct slice wire, enum text_place place, const char *from, const char *want)
{
	static const struct argument argument = { .name = "TEXT", .type = &type_text };
	struct value v = { VALUE_STRING, { 0 }, slice_of(from) };
	struct text text = { .place = place };
	struct slice got;

	open_message(format, wire, "");
	assert_true(type_text.read(&c.reading, &v, &argument, &text));
	text.place = place;
	assert_true(type_text.compile(&c.reading, &c.scope, &argument, &text));
	assert_true(text_write(&text, &c.ex, &got));
	if (!slice_is(got, want))
		fail_msg("%s: %.*s", from, SLICE_ARG(got));
	exchange_close(&c);
}

static void
stands_in_texts(void **state)
{
	expect_text(FORMAT_JSON, SLICE(JSON), TEXT_PLAIN, "${msg.n} ${msg.s} ${msg.t} ${msg.z} ${msg.f} ${msg.big} ${msg.m} ${msg.o.a[1].b}",
	    "1 1 true null 1.50 18446744073709551615 -5 xA");
	expect_text(FORMAT_JSON, SLICE(JSON), TEXT_PLAIN, "${msg.o.a} ${msg.nothing}.", "[10,{\"b\":\"x\\u0041\"}] .");
	expect_text(FORMAT_JSON, SLICE("{\"s\":\"a\\\"b\\n\"}"), TEXT_JSON, "\"${msg.s}\"", "\"a\\\"b\\n\"");
	expect_text(FORMAT_JSON, SLICE("[{\"a\":1}]"), TEXT_PLAIN, "${msg[0].a} ${msg[0]} ${msg.len}", "1 {\"a\":1} 9");
	expect_text(FORMAT_BINARY, SLICE(BINARY), TEXT_PLAIN, "${msg.big} ${msg.small} ${msg.tag} ${msg.id} ${msg.len}",
	    "18446744073709551615 -2 ab 7 17");
	expect_text(FORMAT_KV, SLICE("a=1&a=2"), TEXT_PLAIN, "${msg.a}", "1");
}

static void
walks_once_and_goes_along(void **state)
{
	static const struct argument argument = { .name = "TEXT", .type = &type_text };
	char first[64] = "{\"a\":\"one\",\"b\":2}", second[64];
	struct slice wire = slice_of(first), got;
	struct value v = { VALUE_STRING, { 0 }, SLICE("${msg.a} ${msg.b} ${msg[\"a\"]} ${msg.c}") };
	struct text text = { .place = TEXT_PLAIN };

	open_message(FORMAT_JSON, wire, "");
	assert_true(type_text.read(&c.reading, &v, &argument, &text));
	assert_true(type_text.compile(&c.reading, &c.scope, &argument, &text));
	/* the same path, written in another way, is one */
	assert_int_equal(protocol.path_count, 3);
	assert_true(text_write(&text, &c.ex, &got) && slice_is(got, "one 2 one "));

	const void *found = unit.found;

	memcpy(second, first, sizeof(first));
	unit_move(&unit, wire, second);
	memset(first, 'x', sizeof(first));
	assert_true(text_write(&text, &c.ex, &got) && slice_is(got, "one 2 one "));
	assert_ptr_equal(unit.found, found);
	/* a message of another declaration, behind a reload: nothing is known of it */
	unit.of = &unit;
	assert_true(text_write(&text, &c.ex, &got) && slice_is(got, "   "));
	c.ex.unit = NULL;
	assert_true(text_write(&text, &c.ex, &got) && slice_is(got, "   "));
	exchange_close(&c);
}

static void
walks_over_more_paths_than_fit_in_one(void **state)
{
	static const struct argument argument = { .name = "TEXT", .type = &type_text };
	char json[2048] = "", asked[2048] = "", want[2048] = "";
	struct builder j = builder_on(json, sizeof(json)), a = builder_on(asked, sizeof(asked)), w = builder_on(want, sizeof(want));
	struct text text = { .place = TEXT_PLAIN };
	struct slice got;

	for (int i = 0; i < 2 * JSON_PATHS + 3; i++) {
		builder_printf(&j, "%c\"k%d\":%d", i == 0 ? '{' : ',', i, i * 3);
		builder_printf(&a, "${msg.k%d},", i);
		builder_printf(&w, "%d,", i * 3);
	}
	builder_byte(&j, '}');
	open_message(FORMAT_JSON, builder_slice(&j), "");

	struct value v = { VALUE_STRING, { 0 }, builder_slice(&a) };

	assert_true(type_text.read(&c.reading, &v, &argument, &text));
	assert_true(type_text.compile(&c.reading, &c.scope, &argument, &text));
	assert_true(text_write(&text, &c.ex, &got) && slice_equal(got, builder_slice(&w)));
	exchange_close(&c);
}

static void
sets_only_what_fits(void **state)
{
	static const struct {
		const char *name, *value;
		bool good;
	} cases[] = {
		{ "small", "-128", true }, { "small", "-129", false }, { "small", "127", true }, { "small", "128", false },
		{ "big", "18446744073709551615", true }, { "big", "-1", false }, { "big", "18446744073709551616", false },
		{ "tag", "ab", true }, { "tag", "", true }, { "tag", "abc", false }, { "id", "99", true }, { "id", "100", false }, { "id", "x", false },
		{ "nothing", "1", false }, { "len", "1", false }, { "body", "1", false },
	};

	open_message(FORMAT_BINARY, SLICE(BINARY), "");
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct value name = { VALUE_WORD, { 0 }, slice_of(cases[i].name) }, value = { VALUE_WORD, { 0 }, slice_of(cases[i].value) };
		struct unit_set set = { .value = SLICE_EMPTY };

		if (protocol.codec.set(&protocol.codec, &c.reading, &name, &value, &set) != cases[i].good)
			fail_msg("%s %s", cases[i].name, cases[i].value);
		/* known later */
		value.raw.at = NULL;
		assert_int_equal(protocol.codec.set(&protocol.codec, &c.reading, &name, &value, &set), i < 13);
	}
	exchange_close(&c);
}

/* One of them holds, or one says nothing: always. */
static void
knows_what_may_be_asked_twice(void **state)
{
	const struct condition *when[2];

	open_message(FORMAT_JSON, SLICE("{\"m\":\"get\"}"), "x when msg.m == get; y when msg.m == set;");
	assert_null(protocol.codec.idempotent);
	when[0] = condition_compile(&c.reading, &c.scope, c.block->first->next->when);
	when[1] = condition_compile(&c.reading, &c.scope, c.block->first->when);
	protocol.idempotent = when;
	protocol.idempotent_count = 1;
	declared_init(&protocol, "test");
	assert_false(protocol.codec.idempotent(&protocol.codec, &c.ex));
	protocol.idempotent_count = 2;
	assert_true(protocol.codec.idempotent(&protocol.codec, &c.ex));
	protocol.idempotent_count = 1;
	when[0] = NULL;
	assert_true(protocol.codec.idempotent(&protocol.codec, &c.ex));
	exchange_close(&c);
}

/* In the words of the protocol, with what is known of the question; and nothing is changed by it. */
static void
has_words_for_failures(void **state)
{
	static const struct argument argument = { .name = "TEXT", .type = &type_text };
	struct value v = { VALUE_STRING, { 0 }, SLICE("{\"c\":${code},\"r\":\"${reason}\",\"m\":\"${msg.m}\"}") };
	struct text text = { .place = TEXT_JSON };
	struct slice body;

	open_message(FORMAT_JSON, SLICE("{\"m\":\"a\\\"b\"}"), "");
	assert_null(protocol.codec.error);
	c.scope.moment = MOMENT_ANSWER;
	assert_true(type_text.read(&c.reading, &v, &argument, &text));
	text.place = TEXT_JSON;
	assert_true(type_text.compile(&c.reading, &c.scope, &argument, &text));
	protocol.error = &text;
	declared_init(&protocol, "test");
	assert_true(protocol.codec.error(&protocol.codec, &c.ex, REASON_PEER_TIMEOUT, &body));
	assert_true(slice_is(body, "{\"c\":504,\"r\":\"peer_timeout\",\"m\":\"a\\\"b\"}"));
	assert_int_equal(c.ex.reason, REASON_NONE);
	/* of what was malformed nothing is known */
	c.ex.unit = NULL;
	assert_true(protocol.codec.error(&protocol.codec, &c.ex, REASON_BAD_MESSAGE, &body));
	assert_true(slice_is(body, "{\"c\":400,\"r\":\"bad_message\",\"m\":\"\"}"));
	exchange_close(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares_json_by_the_literals_form),
		cmocka_unit_test(finds_nothing_in_what_is_not_json),
		cmocka_unit_test(compares_other_formats_as_text),
		cmocka_unit_test(knows_declared_fields),
		cmocka_unit_test(stands_in_texts),
		cmocka_unit_test(walks_once_and_goes_along),
		cmocka_unit_test(walks_over_more_paths_than_fit_in_one),
		cmocka_unit_test(sets_only_what_fits),
		cmocka_unit_test(knows_what_may_be_asked_twice),
		cmocka_unit_test(has_words_for_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
