/* SPDX-License-Identifier: BSD-2-Clause */
/* protocols/frame/format: names as they are written behind msg., and what they find in a message. */
#include "frame_case.h"

/* The value of msg.WORD in a body; as text with its kind in front. */
static const char *
value_of(struct frame *f, const char *word, struct slice body, size_t nth)
{
	static char text[512];
	static const char kinds[] = { 't', 'n', 'u', 'b', 'o' };
	struct frame_name name;
	struct frame_view view = { .wire = body, .inner = body, .body = body, .of = f, .by = f };
	struct frame_value v = { .raw = { NULL, 0 } };
	char *copy = memory_alloc(body.n), room[256];
	struct builder b = builder_on(room, sizeof(room)), t = builder_on(text, sizeof(text));

	assert_null(frame_name_parse(f, slice_of(word), &name));
	memcpy(copy, body.at, body.n);
	view.wire.at = view.inner.at = view.body.at = copy;
	view.head = slice_first(view.inner, 0);
	switch (frame_name_get(&name, &view, nth, &b, &v)) {
	case FRAME_VALUE_FOUND:
		builder_byte(&t, kinds[v.kind]);
		builder_byte(&t, ':');
		if (v.kind == FRAME_VALUE_NUMBER)
			builder_signed(&t, v.number);
		else if (v.kind == FRAME_VALUE_UNSIGNED)
			builder_number(&t, (uint64_t)v.number);
		else
			builder_log(&t, v.text);
		assert_true(v.raw.at == NULL || (v.raw.at >= copy && v.raw.at + v.raw.n <= copy + body.n));
		break;
	case FRAME_VALUE_ABSENT: builder_text(&t, "absent"); break;
	case FRAME_VALUE_MALFORMED: builder_text(&t, "malformed"); break;
	case FRAME_VALUE_NO_ROOM: builder_text(&t, "no room"); break;
	}
	builder_byte(&t, '\0');
	free(copy);
	return text;
}

#define IS(f, word, body, want) assert_string_equal(value_of(&(f), word, SLICE(body), 0), want)

static void
finds_in_json(void **state)
{
	IS(jsonnl_case, "type", "{\"type\":\"x\"}", "t:x");
	IS(jsonnl_case, "type", "{\"type\":\"\\u00e9\\n\"}", "t:\\xc3\\xa9\\x0a");
	IS(jsonnl_case, "a.b", "{\"a\":{\"b\":-12}}", "n:-12");
	IS(jsonnl_case, "[0].x", "[{\"x\":1.5}]", "b:1.5");
	IS(jsonnl_case, "a", "{\"a\":true}", "b:true");
	IS(jsonnl_case, "a", "{\"a\":null}", "b:null");
	IS(jsonnl_case, "a", "{\"a\":9223372036854775808}", "b:9223372036854775808");
	IS(jsonnl_case, "a", "{\"a\":[1, 2]}", "o:[1, 2]");
	IS(jsonnl_case, "b", "{\"a\":1}", "absent");
	IS(jsonnl_case, "a", "{\"a\":1", "malformed");
	IS(jsonnl_case, "a", "{\"a\":1,\"a\":1}", "malformed");
	IS(jsonnl_case, "[\"len\"]", "{\"len\":1}", "n:1");
	IS(jsonnl_case, "len", "{\"len\":1}", "n:9");
	IS(jsonnl_case, "body", "{\"len\":1}", "t:{\\x22len\\x22:1}");
	assert_string_equal(value_of(&jsonnl_case, "a", SLICE("{\"a\":1}"), 1), "absent");
}

static void
finds_words(void **state)
{
	IS(lines_case, "[0]", "GET  a b", "t:GET");
	IS(lines_case, "[2]", "GET  a\tb ", "t:b");
	IS(lines_case, "[3]", "GET  a b ", "absent");
	IS(lines_case, "[0]", "", "absent");
	IS(lines_case, "[0]", " \r\n\tx", "t:x");
	assert_string_equal(value_of(&lines_case, "[0]", SLICE("a"), 1), "absent");
}

static void
finds_pairs(void **state)
{
	IS(whole_case, "a", "a=1&b=2", "t:1");
	IS(whole_case, "b", "a=1& b = x y ", "t:x y");
	IS(whole_case, "b", "a=1&b", "t:");
	IS(whole_case, "b", "a=1&b=&", "t:");
	IS(whole_case, "b", "a=b=c&bb=1&=b", "absent");
	IS(whole_case, "a", "a=b=c", "t:b=c");
	IS(whole_case, "a.b", "a.b=1", "t:1");
	IS(whole_case, "[\"a b\"]", "a b=1", "t:1");
	IS(whole_case, "a", "", "absent");
	assert_string_equal(value_of(&whole_case, "a", SLICE("a=1&b=2&a=3"), 1), "t:3");
	assert_string_equal(value_of(&whole_case, "a", SLICE("a=1&b=2&a=3"), 2), "absent");
}

static void
finds_declared_fields(void **state)
{
	static const struct frame_field fields[] = {
		{ SLICE("u8"), U(1), 0 }, { SLICE("be"), U(3), 0 }, { SLICE("le"), U_LITTLE(3), 0 }, { SLICE("s8"), { .form = NUMBER_SIGNED, .width = 1 }, 0 },
		{ SLICE("s16"), { .form = NUMBER_SIGNED, .width = 2, .little = true }, 0 }, { SLICE("u64"), U(8), 0 }, { SLICE("s64"), { .form = NUMBER_SIGNED, .width = 8 }, 0 },
		{ SLICE("dec"), DECIMAL(3), 8 }, { SLICE("hex"), HEX(3), 8 }, { SLICE("text"), BYTES(3), 8 },
	};
	struct frame f = { .kind = FRAME_WHOLE, .max = 64, FIELDS(fields), .format = FORMAT_BINARY };

	IS(f, "u8", "\xfe\1\2\3\4\5\6\7" "012", "n:254");
	IS(f, "be", "\xfe\1\2\3\4\5\6\7" "012", "n:16646402");
	IS(f, "le", "\xfe\1\2\3\4\5\6\7" "012", "n:131582");
	IS(f, "s8", "\xfe\1\2\3\4\5\6\7" "012", "n:-2");
	IS(f, "s16", "\xfe\xff\2\3\4\5\6\7" "012", "n:-2");
	IS(f, "s64", "\xff\xff\xff\xff\xff\xff\xff\xfd" "012", "n:-3");
	IS(f, "u64", "\xff\xff\xff\xff\xff\xff\xff\xfd" "012", "u:18446744073709551613");
	IS(f, "u64", "\x7f\xff\xff\xff\xff\xff\xff\xff" "012", "n:9223372036854775807");
	IS(f, "dec", "........012", "n:12");
	IS(f, "hex", "........0fF", "n:255");
	IS(f, "text", "........0\0F", "t:0\\x00F");
	IS(f, "dec", "........0x2", "malformed");
	IS(f, "dec", "........01", "absent");
	IS(f, "len", "........01", "n:10");
}

static void
finds_fields_first(void **state)
{
	static const struct frame_field fields[] = { { SLICE("type"), U(1), 0 } };
	struct frame f = { LENGTHS({ U(1), 1 }), .max = 64, FIELDS(fields), .format = FORMAT_JSON };

	IS(f, "type", "\7", "n:7");
}

static void
is_absent_in_a_preface(void **state)
{
	struct frame_name name;
	struct frame_view view = { .inner = SLICE("........"), .body = SLICE("...."), .of = &pgsql_startup, .by = &pgsql_startup };
	struct frame_value v;
	struct builder none = { 0 };

	assert_null(frame_name_parse(&pgsql_case, SLICE("type"), &name));
	assert_int_equal(frame_name_get(&name, &view, 0, &none, &v), FRAME_VALUE_ABSENT);
	view.of = &pgsql_case;
	assert_int_equal(frame_name_get(&name, &view, 0, &none, &v), FRAME_VALUE_FOUND);
}

static void
needs_room_for_escapes_alone(void **state)
{
	struct frame_name name;
	struct frame_view view = { .body = SLICE("{\"a\":\"\\n\",\"b\":\"x\"}"), .of = &jsonnl_case, .by = &jsonnl_case };
	struct frame_value v;
	struct builder none = { 0 };

	assert_null(frame_name_parse(&jsonnl_case, SLICE("b"), &name));
	assert_int_equal(frame_name_get(&name, &view, 0, &none, &v), FRAME_VALUE_FOUND);
	assert_null(frame_name_parse(&jsonnl_case, SLICE("a"), &name));
	assert_int_equal(frame_name_get(&name, &view, 0, &none, &v), FRAME_VALUE_NO_ROOM);
}

static void
says_what_there_is_not(void **state)
{
	struct frame_name name;

#define WRONG(f, word, want) assert_string_equal(frame_name_parse(&(f), SLICE(word), &name), want)
	WRONG(text_case, "type", "no field of that name is declared");
	WRONG(text_case, "", "no field of that name is declared");
	WRONG(modbus_case, "unitt", "no field of that name is declared");
	WRONG(lines_case, "type", "words have numbers: msg[0]");
	WRONG(lines_case, "[0][1]", "words have numbers: msg[0]");
	WRONG(lines_case, "[x]", "words have numbers: msg[0]");
	WRONG(jsonnl_case, "a..b", "a name is missing");
	WRONG(jsonnl_case, "", "a name is missing");
	WRONG(whole_case, "", "a name is missing");
}

static void
has_names(void **state)
{
	for (enum frame_format i = 0; i < FORMAT_COUNT; i++)
		assert_int_equal(frame_format_find(slice_of(frame_format_word(i))), i);
	assert_int_equal(frame_format_find(SLICE("xml")), FORMAT_COUNT);
	for (enum frame_fault i = 0; i < FRAME_FAULT_COUNT; i++)
		assert_non_null(frame_fault_word(i));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_in_json),
		cmocka_unit_test(finds_words),
		cmocka_unit_test(finds_pairs),
		cmocka_unit_test(finds_declared_fields),
		cmocka_unit_test(finds_fields_first),
		cmocka_unit_test(is_absent_in_a_preface),
		cmocka_unit_test(needs_room_for_escapes_alone),
		cmocka_unit_test(says_what_there_is_not),
		cmocka_unit_test(has_names),
	};

	return cmocka_run_group_tests(tests, frame_cases_check, NULL);
}
