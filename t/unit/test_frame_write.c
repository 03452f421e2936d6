/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/frame, writing: the bytes of every form; that what is written is read back; what cannot be
 * written, and leaves nothing behind; fields, types, and ids that are taken out, replaced, put back.
 */
#include "frame_case.h"

static char memory[4096];

static enum frame_fault
writes(const struct frame *f, struct frame_draft draft, struct slice *out)
{
	struct builder b = builder_on(memory, sizeof(memory));

	builder_text(&b, "before");

	enum frame_fault fault = frame_write(f, &draft, &b);

	assert_true(!b.full && slice_is(slice_make(memory, 6), "before"));
	assert_true(fault == FRAME_FINE || b.n == 6);
	*out = slice_after(builder_slice(&b), 6);
	return fault;
}

static void
assert_writes(const struct frame *f, struct frame_draft draft, struct slice want)
{
	struct slice got;

	assert_int_equal(writes(f, draft, &got), FRAME_FINE);
	if (!slice_equal(got, want)) {
		char text[1024] = "";
		struct builder b = builder_on(text, sizeof(text) - 1);

		builder_log(&b, got);
		fail_msg("wrote %s", text);
	}
}

static void
assert_refuses(const struct frame *f, struct frame_draft draft, enum frame_fault want)
{
	struct slice got;

	assert_int_equal(writes(f, draft, &got), want);
}

#define WRITES(f, text, want, ...) \
	assert_writes(&(f), (struct frame_draft){ .body = SLICE(text) __VA_OPT__(,) __VA_ARGS__ }, SLICE(want))
#define REFUSES(f, text, fault, ...) \
	assert_refuses(&(f), (struct frame_draft){ .body = SLICE(text) __VA_OPT__(,) __VA_ARGS__ }, fault)

static void
writes_every_form(void **state)
{
	WRITES(text_case, "hello", "hello\n");
	WRITES(text_case, "", "\n");
	WRITES(lines_case, "a b", "a b\r\n");
	WRITES(long_boundary_case, "x", "xabab");
	WRITES(header_boundary_case, "body", "\0\0\0\0body\0");
	WRITES(header_boundary_case, "body", "h\0\0\0body\0", .head = SLICE("h"));
	WRITES(frame_case, "abc", "\0\0\0\7abc");
	WRITES(frame_case, "", "\0\0\0\4");
	WRITES(modbus_case, "\x11\3", "\0\0\0\0\0\2\x11\3");
	WRITES(mysql_case, "abc", "\3\0\0\7abc", .head = SLICE("\xff\xff\xff\7"));
	WRITES(xml10_case, "<a/>", "0000000014<a/>");
	WRITES(hex4_case, "fifteen bytes..", "x000ffifteen bytes..\r\n", .head = SLICE("x"));
	WRITES(netstring_case, "hello world!", "12:hello world!,");
	WRITES(netstring_case, "", "0:,");
	WRITES(hex_until_case, "hello world", "b\nhello world");
	WRITES(mqtt_case, "hello", "\x30\5hello", .head = SLICE("\x30"));
	WRITES(u64_case, "abc", "\0\0\0\0\0\0\0\5abc");
	WRITES(telemetry_case, "data", "\0\0\0\0\0\0\0\0data");
	WRITES(stomp_case, "a\0b", "SEND\na:b\ncontent-length: 3\n\na\0b\0", .head = SLICE("SEND\na:b\nContent-Length:77\n\n"));
	WRITES(lsp_case, "{}", "Content-Length: 2\r\n\r\n{}");
	WRITES(lsp_case, "{}", "A: b\r\nContent-Length: 2\r\n\r\n{}", .head = SLICE("A: b"));
	WRITES(sync_case, "a", "\x7e\x7e\1a\xc1\xc8");
	WRITES(nmea_case, "ab", "$ab03\r\n");
	WRITES(hdlc_case, "123456789", "\x7e" "123456789\xcb\xf4\x39\x26\x7e");
	WRITES(slip_case, "a\xc0\xdb", "a\xdb\xdc\xdb\xdd\xc0");
	WRITES(tracker_case, "a(b)=", "(a=\bb=\t=\x1d)");
	WRITES(json_case, "{\"a\":1}", "{\"a\":1}\n");
	WRITES(json_case, "42", "42\n");
	WRITES(whole_case, "a=1", "a=1");
	WRITES(pgsql_case, "select 1\0", "Q\0\0\0\x0dselect 1\0", .head = SLICE("Q"));
	WRITES(pgsql_startup, "\0\3\0\0", "\0\0\0\x8\0\3\0\0");
	WRITES(switch_case, "OK", "+OK\r\n", .type = '+');
	WRITES(switch_case, "abc", "$\0\3abc", .type = '$');
	WRITES(switch_else_case, "GET x", "GET x\r\n", .type = 'G');
	WRITES(text_case, "one,", "one,two,three\n", .more = { SLICE("two,"), SLICE("three") });
}

static void
counts_itself(void **state)
{
	char body[300] = "", want[310];

	/* where one digit more makes the message longer: 8 + 2, not 8 + 1; there is no message of 9 with two digits */
	for (size_t n = 0; n < 280; n++) {
		struct frame_draft draft = { .body = slice_make(body, n) };
		struct slice got;
		struct frame_state s;
		struct frame_cut cut;
		struct builder w = builder_on(want, sizeof(want));

		assert_int_equal(writes(&self_counting_case, draft, &got), FRAME_FINE);
		builder_printf(&w, "%zu ", got.n);
		assert_true(slice_starts(got, builder_slice(&w)));
		frame_begin(&self_counting_case, &s, false);
		assert_int_equal(frame_measure(&self_counting_case, &s, got, &cut), FRAME_MESSAGE);
		assert_int_equal(cut.n, got.n);
		assert_int_equal(got.n - cut.head, n);
		/* nor where it has none but its own length to be wrong about */
		assert_int_equal(writes(&varint_case, draft, &got), FRAME_FINE);
		assert_int_equal(got.n, n + 1 + (n > 127));
	}
}

static void
refuses_what_would_be_read_otherwise(void **state)
{
	REFUSES(text_case, "a\nb", FRAME_HOLDS_BOUNDARY);
	REFUSES(text_case, "a\r", FRAME_HOLDS_BOUNDARY);
	REFUSES(text_case, "\n", FRAME_HOLDS_BOUNDARY);
	REFUSES(lines_case, "a\nb", FRAME_HOLDS_BOUNDARY);
	/* together with what ends it */
	REFUSES(long_boundary_case, "xab", FRAME_HOLDS_BOUNDARY);
	REFUSES(long_boundary_case, "x<end>", FRAME_HOLDS_BOUNDARY);
	WRITES(long_boundary_case, "xa<end", "xa<endabab");
	WRITES(lines_case, "a\r", "a\r\r\n");
	REFUSES(jsonnl_case, "", FRAME_TOO_SHORT);
	REFUSES(hex4_case, "", FRAME_TOO_SHORT);
	REFUSES(slip_case, "", FRAME_TOO_SHORT);
	WRITES(tracker_case, "", "()");
	REFUSES(json_case, "", FRAME_BAD_JSON);
	REFUSES(json_case, "{} {}", FRAME_BAD_JSON);
	REFUSES(json_case, " {}", FRAME_BAD_JSON);
	REFUSES(json_case, "{", FRAME_BAD_JSON);
	REFUSES(json_case, "1 ", FRAME_BAD_JSON);
	REFUSES(modbus_case, "x", FRAME_TOO_SHORT);
	REFUSES(pgsql_startup, "", FRAME_TOO_SHORT);
	REFUSES(telemetry_case, "dat", FRAME_TOO_SHORT);
	REFUSES(telemetry_case, "data!", FRAME_TOO_LONG);
	REFUSES(switch_case, "x", FRAME_BAD_TYPE, .type = '?');
	REFUSES(switch_else_case, "GET x", FRAME_BAD_TYPE, .type = 'H');
	REFUSES(switch_case, "x", FRAME_TOO_SHORT, .type = '#');
	REFUSES(mysql_case, "x", FRAME_UNFIT, .head = SLICE("12345"));
	REFUSES(hex_until_case, "x", FRAME_UNFIT, .head = SLICE("h"));
}

static void
keeps_to_max(void **state)
{
	static const char xs[301];
	char body[301];

	memset(body, 'x', sizeof(body));
	for (size_t i = 0; i < ARRAY_COUNT(frame_cases); i++) {
		const struct frame *f = frame_cases[i];
		size_t longest = 0;
		struct slice got;
		struct frame_draft draft = { .type = '$' };

		if (f->kind == FRAME_FIXED)
			continue;
		memset(body, f->kind == FRAME_JSON ? '1' : 'x', sizeof(body));
		for (size_t n = 0; n <= f->max + 1; n++) {
			draft.body = slice_make(body, MIN_OF(n, sizeof(body)));
			if (writes(f, draft, &got) == FRAME_FINE)
				longest = got.n - (f->kind == FRAME_JSON);
			else if (longest > 0)
				assert_int_equal(writes(f, draft, &got), FRAME_TOO_LONG);
		}
		assert_int_equal(longest, f->kind == FRAME_SWITCH ? 32 : f->max);
	}
	REFUSES(frame_case, "", FRAME_TOO_LONG, .more = { slice_make(xs, 61) });
}

/* Whatever room there is, either all of it is written or nothing. */
static void
writes_all_or_nothing(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(frame_cases); i++) {
		struct frame_draft draft = { .body = frame_cases[i]->kind == FRAME_FIXED ? SLICE("1234") : SLICE("12345"), .type = '$' };
		struct slice whole;

		assert_int_equal(writes(frame_cases[i], draft, &whole), FRAME_FINE);
		for (size_t room = 0; room <= whole.n; room++) {
			struct builder b = builder_on(memory_alloc(room), room);
			enum frame_fault fault = frame_write(frame_cases[i], &draft, &b);

			assert_int_equal(fault, room < whole.n ? FRAME_NO_ROOM : FRAME_FINE);
			assert_int_equal(b.n, room < whole.n ? 0 : whole.n);
			assert_false(b.full);
			free(b.at);
		}
	}
}

static void
sets_fields(void **state)
{
	const struct frame_set modbus[] = { { .field = &modbus_fields[0], .number = 0x1234 }, { .field = &modbus_fields[1], .number = 9 } };
	const struct frame_set telemetry[] = { { .field = &telemetry_fields[0], .number = 0x01020304 }, { .field = &telemetry_fields[2], .text = SLICE("ab") } };
	const struct frame_set wide[] = { { .field = &modbus_fields[1], .number = 256 } };
	const struct frame_set long_text[] = { { .field = &telemetry_fields[2], .text = SLICE("abcd") } };
	const struct frame_set raw[] = { { .field = &modbus_fields[0], .text = SLICE("\1\2") } };
	const struct frame_set short_raw[] = { { .field = &modbus_fields[0], .text = SLICE("\1") } };
	const struct frame_set sums[] = { { .field = &statistic_fields[0], .number = 2 }, { .field = &statistic_fields[1], .number = 3 } };
	const struct frame_set too_much[] = { { .field = &statistic_fields[0], .number = 9 } };

	WRITES(modbus_case, "\0\3", "\x12\x34\0\0\0\2\x9\3", .sets = modbus, .set_count = 2);
	WRITES(modbus_case, "\x11\3", "\1\2\0\0\0\2\x11\3", .sets = raw, .set_count = 1);
	WRITES(telemetry_case, "data", "\4\3\2\1\0ab\0data", .sets = telemetry, .set_count = 2);
	REFUSES(modbus_case, "\0\3", FRAME_UNFIT, .sets = wide, .set_count = 1);
	REFUSES(modbus_case, "\0\3", FRAME_UNFIT, .sets = short_raw, .set_count = 1);
	REFUSES(telemetry_case, "data", FRAME_UNFIT, .sets = long_text, .set_count = 1);
	/* the last length says what the others, as they are set, leave */
	WRITES(statistic_case, "mmiiimsg", "\2\3\0\0\0\0\0\0\0\0\0\0\3\0\0\0\0mmiiimsg", .sets = sums, .set_count = 2);
	WRITES(statistic_case, "msg", "\0\0\0\0\0\0\0\0\0\0\0\0\3\0\0\0\0msg");
	REFUSES(statistic_case, "mmii", FRAME_UNFIT, .sets = too_much, .set_count = 1);
}

/* Bodies of random bytes, through every form, into what they were. */
static void
is_read_back(void **state)
{
	uint32_t seed = 1;

	for (size_t round = 0; round < 2000; round++) {
		const struct frame *f = frame_cases[round % ARRAY_COUNT(frame_cases)];
		char body[64], room[128];
		size_t n = f->kind == FRAME_FIXED ? 4 : (seed >> 8) % 50;
		struct frame_draft draft = { .body = slice_make(body, n), .type = '$' };
		struct slice wire;
		struct frame_state s;
		struct frame_cut cut;
		struct frame_view view;
		struct builder b = builder_on(room, sizeof(room));

		for (size_t i = 0; i < n; i++)
			body[i] = (char)((seed = seed * 1664525 + 1013904223) >> 24);
		if (writes(f, draft, &wire) != FRAME_FINE)
			continue;
		frame_begin(f, &s, false);

		enum frame_verdict verdict = frame_next(f, &s, wire, &b, &cut, &view);

		while (verdict == FRAME_SKIP) {
			wire = slice_after(wire, cut.n);
			verdict = frame_next(f, &s, wire, &b, &cut, &view);
		}
		if (f->kind == FRAME_WHOLE) {
			assert_int_equal(verdict, FRAME_MORE);
			continue;
		}
		assert_int_equal(verdict, FRAME_MESSAGE);
		assert_true(slice_equal(view.body, draft.body));
	}
}

/* ------------------------------------------------------------------ ids */

static void
open_one(const struct frame *f, struct slice wire, char *room, struct frame_view *view)
{
	struct frame_state s;
	struct frame_cut cut;
	struct builder b = builder_on(room, 256);

	frame_begin(f, &s, false);
	assert_int_equal(frame_next(f, &s, wire, &b, &cut, view), FRAME_MESSAGE);
	assert_int_equal(cut.n, wire.n);
}

/* With another id, in place or written anew; then its own is put back. */
static void
assert_pairs(const struct frame *f, struct slice message, struct slice id, uint64_t ours, struct slice replaced, bool in_place)
{
	char wire[256], digits[FRAME_ID_LONGEST], room[256], out[256], back[256];
	struct builder b = builder_on(out, sizeof(out));
	struct frame_view view;
	struct slice was, made;
	uint64_t number;

	memcpy(wire, message.at, message.n);
	open_one(f, slice_make(wire, message.n), room, &view);
	assert_int_equal(frame_id_get(f, &view, &was), FRAME_ID_FOUND);
	assert_true(slice_equal(was, id));
	assert_true(ours <= frame_id_most(f));
	made = frame_id_make(f, ours, digits);
	assert_true(frame_id_number(f, made, &number) && number == ours);
	assert_int_equal(frame_id_rewrite(f, &view, was, made, &b), FRAME_FINE);
	assert_true(slice_equal(builder_slice(&b), replaced));
	assert_int_equal(frame_id_replace(&view, was, made, wire), in_place);
	assert_true(slice_equal(slice_make(wire, message.n), in_place ? replaced : message));

	open_one(f, builder_slice(&b), room, &view);
	assert_true(frame_id_get(f, &view, &was) == FRAME_ID_FOUND && slice_equal(was, made));
	b = builder_on(back, sizeof(back));
	assert_int_equal(frame_id_rewrite(f, &view, was, id, &b), FRAME_FINE);
	assert_true(slice_equal(builder_slice(&b), message));
}

static void
paired(struct frame *f, const char *word, struct frame_name *name)
{
	struct frame_mistakes m = { case_wrong, NULL, 0 };

	assert_null(frame_name_parse(f, slice_of(word), name));
	f->answers = FRAME_ANSWERS_BY_FIELD;
	f->answers_by = name;
	assert_true(frame_check(f, &m));
}

static void
pairs_by_id(void **state)
{
	struct frame f = modbus_case;
	struct frame_name name;

	paired(&f, "txid", &name);
	assert_int_equal(frame_id_most(&f), 0xffff);
	assert_pairs(&f, SLICE("\0\1\0\0\0\2\x11\3"), SLICE("\0\1"), 0x1234, SLICE("\x12\x34\0\0\0\2\x11\3"), true);

	f = jsonnl_case;
	paired(&f, "id", &name);
	assert_true(frame_id_most(&f) == (UINT64_C(1) << 53) - 1);
	assert_pairs(&f, SLICE("{\"id\":1,\"a\":\"x\"}\n"), SLICE("1"), 7, SLICE("{\"id\":7,\"a\":\"x\"}\n"), true);
	assert_pairs(&f, SLICE("{\"id\":1}\n"), SLICE("1"), 1000000, SLICE("{\"id\":1000000}\n"), false);
	assert_pairs(&f, SLICE("{\"a\":[1], \"id\" : \"a\\nb\"}\n"), SLICE("\"a\\nb\""), 42, SLICE("{\"a\":[1], \"id\" : 42}\n"), false);

	f = lsp_case;
	paired(&f, "x.id", &name);
	assert_pairs(&f, SLICE("A: b\r\nContent-Length: 14\r\n\r\n{\"x\":{\"id\":1}}"), SLICE("1"), 12345,
	    SLICE("A: b\r\nContent-Length: 18\r\n\r\n{\"x\":{\"id\":12345}}"), false);
}

static void
pairs_within_checksums_and_escapes(void **state)
{
	static const struct frame_field id[] = { { SLICE("id"), U(2), 0 }, { SLICE("text"), BYTES(4), 0 } };
	struct frame f = { .kind = FRAME_ESCAPED, .escape = { .start = 0x7e, .end = 0x7e, .escape = 0x7d, .flip = 0x20 }, .max = 64, FIELDS(id), .check = { CHECKSUM_XOR8, U(1) } };
	struct frame g = { LENGTHS({ U(1), 4 }), .counts = FRAME_COUNTS_BODY, .max = 64, FIELDS(id), .check = { CHECKSUM_XOR8, U(1) } };
	struct frame_name name;
	char digits[FRAME_ID_LONGEST];

	paired(&g, "id", &name);
	assert_pairs(&g, SLICE("\0\1\0\0\2hi\2"), SLICE("\0\1"), 0x0207, SLICE("\2\7\0\0\2hi\6"), true);
	paired(&g, "text", &name);
	assert_pairs(&g, SLICE("abcd\2hi\7"), SLICE("abcd"), 0xbeef, SLICE("beef\2hi\7"), true);
	assert_int_equal(frame_id_most(&g), 0xffff);
	assert_true(slice_is(frame_id_make(&g, 10, digits), "000a"));

	/* an id that must be escaped, and one that need not */
	struct frame_view view;
	struct slice was;
	char room[256], out[64], wire[] = "\x7d\x5e\x7d\x5dhi\2\x7e";
	struct builder b = builder_on(out, sizeof(out));

	paired(&f, "id", &name);
	open_one(&f, slice_make(wire, sizeof(wire) - 1), room, &view);
	assert_true(frame_id_get(&f, &view, &was) == FRAME_ID_FOUND && slice_is(was, "\x7e\x7d"));
	assert_false(frame_id_replace(&view, was, SLICE("\1\2"), wire));
	assert_int_equal(frame_id_rewrite(&f, &view, was, SLICE("\1\2"), &b), FRAME_FINE);
	assert_true(slice_equal(builder_slice(&b), SLICE("\x7e\1\2hi\2\x7e")));
}

static void
knows_what_has_no_id(void **state)
{
	static const struct {
		const char *message;
		bool in_doubt;
		bool kv;
	} without[] = {
		{ "{}\n" }, { "{\"ids\":[{\"id\":1}]}\n" }, { "1\n" },
		/* another reader may find one */
		{ "{\"id\":1\n", true }, { "{\"id\":1} x\n", true }, { "{\"id\":1,\"id\":2}\n", true },
		{ "{\"id\":1,\"i\\u0064\":2}\n", true }, { " [{\"id\":1}]\n", true },
		{ "{\"id\":\"12345678901234567890123456789012345678901234567890123456789012345\"}\n", true },
		{ "a=1\n", false, true }, { "id=\n", false, true },
		{ "id=1;id=2\n", true, true }, { "id=;id=2\n", true, true },
	};
	struct frame f = jsonnl_case;
	struct frame_name name;
	uint64_t number;

	f.max = 256;
	paired(&f, "id", &name);
	for (size_t i = 0; i < ARRAY_COUNT(without); i++) {
		struct frame_view view;
		struct slice id;
		char room[256];

		f.format = without[i].kv ? FORMAT_KV : FORMAT_JSON;
		f.equals = '=';
		f.between = ';';
		paired(&f, "id", &name);
		open_one(&f, slice_of(without[i].message), room, &view);
		assert_int_equal(frame_id_get(&f, &view, &id),
		    without[i].in_doubt ? FRAME_ID_DOUBTFUL : FRAME_ID_NONE);
	}
	assert_false(frame_id_number(&f, SLICE("\"1\""), &number));
	assert_false(frame_id_number(&f, SLICE("1.0"), &number));
	assert_false(frame_id_number(&f, SLICE("-1"), &number));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_every_form),
		cmocka_unit_test(counts_itself),
		cmocka_unit_test(refuses_what_would_be_read_otherwise),
		cmocka_unit_test(keeps_to_max),
		cmocka_unit_test(writes_all_or_nothing),
		cmocka_unit_test(sets_fields),
		cmocka_unit_test(is_read_back),
		cmocka_unit_test(pairs_by_id),
		cmocka_unit_test(pairs_within_checksums_and_escapes),
		cmocka_unit_test(knows_what_has_no_id),
	};

	return cmocka_run_group_tests(tests, frame_cases_check, NULL);
}
