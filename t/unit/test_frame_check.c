/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/frame/frame_check: every mistake a declaration can hold, in its exact words, several at
 * once; and the layout that follows from good ones.
 */
#include "frame_case.h"

struct said {
	char text[2048];
	struct builder b;
};

static void
say(void *who, const struct frame *f, enum frame_part part, size_t index, const char *text)
{
	struct said *s = who;

	if (s->b.n > 0)
		builder_text(&s->b, " | ");
	if (index > 0)
		builder_printf(&s->b, "%zu: ", index);
	builder_text(&s->b, text);
}

static void
assert_says(struct frame f, const char *want)
{
	struct said s;
	struct frame_mistakes m = { say, &s, 0 };

	s.b = builder_on(s.text, sizeof(s.text) - 1);
	assert_int_equal(frame_check(&f, &m), want[0] == '\0');
	s.text[s.b.n] = '\0';
	assert_string_equal(s.text, want);
}

#define SAYS(want, ...) assert_says((struct frame){ __VA_ARGS__ }, want)
#define LINE .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\n"))
#define U16 LENGTHS({ U(2), 0 })

static void
wants_an_end_and_a_max(void **state)
{
	SAYS("nothing says where a message ends: boundary, length or fixed", .max = 10);
	SAYS("max is missing: it bounds a message, also an unfinished one", LINE);
	SAYS("max is at most 1g", LINE, .max = FRAME_MAX_MOST + 1);
	SAYS("", LINE, .max = FRAME_MAX_MOST);
	SAYS("the smallest message has 2 bytes, more than max", .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\r\n")), .max = 1);
	SAYS("", .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\r\n")), .max = 2);
	SAYS("the smallest message has 12 bytes, more than max", .kind = FRAME_FIXED, .fixed = 12, .max = 11);
	SAYS("a message has at least one byte", .kind = FRAME_FIXED, .max = 11);
	SAYS("12 bytes have no room for header and trailer (14)", .kind = FRAME_FIXED, .fixed = 12, .has_header = true, .header = 12, .trailer = SLICE("\r\n"), .max = 20);
	SAYS("this kind of message has no min", .kind = FRAME_FIXED, .fixed = 12, .min = 3, .max = 20);
	SAYS("max is missing: it bounds a message, also an unfinished one | adjust goes with a length", LINE, .adjust = 1);
}

static void
checks_boundaries(void **state)
{
	static char long_one[BOUNDARY_LONGEST + 1];
	struct frame f = { .kind = FRAME_BOUNDARY, .max = 1000 };

	SAYS("a boundary is 1 to 4 strings", .kind = FRAME_BOUNDARY, .max = 10);
	SAYS("a boundary has at least one byte", .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("")), .max = 10);
	SAYS("1: a boundary has at least one byte", .kind = FRAME_BOUNDARY, .boundary = ANY_OF(SLICE("x"), SLICE("")), .max = 10);
	SAYS("it can never be found: boundary 2 of this line ends before it", .kind = FRAME_BOUNDARY, .boundary = ANY_OF(SLICE("\r\n"), SLICE("\r")), .max = 10);
	SAYS("1: it can never be found: boundary 1 of this line ends before it", .kind = FRAME_BOUNDARY, .boundary = ANY_OF(SLICE("b"), SLICE("abc")), .max = 10);
	SAYS("1: it can never be found: boundary 1 of this line ends before it", .kind = FRAME_BOUNDARY, .boundary = ANY_OF(SLICE("b"), SLICE("b")), .max = 10);
	SAYS("", .kind = FRAME_BOUNDARY, .boundary = ANY_OF(SLICE("\n"), SLICE("\r\n")), .max = 10);
	f.boundary = (struct boundary)ANY(slice_make(long_one, sizeof(long_one)));
	assert_says(f, "a boundary has at most 64 bytes");
	f.boundary.any[0].n--;
	assert_says(f, "");
}

static void
checks_lengths(void **state)
{
	SAYS("a message has 1 to 4 lengths", .kind = FRAME_LENGTH, .max = 10);
	SAYS("a binary number has 1, 2, 3, 4 or 8 bytes, not 5", LENGTHS({ U(5), 0 }), .max = 10);
	SAYS("a decimal number has 1 to 19 digits, not 20", LENGTHS({ DECIMAL(20), 0 }), .max = 100);
	SAYS("a hexadecimal number has 1 to 16 digits, not 0", LENGTHS({ HEX(0), 0 }), .max = 100);
	SAYS("\"7\" may be one of the digits, so it cannot end them", LENGTHS({ UNTIL('7'), 0 }), .max = 100);
	SAYS("\"a\" may be one of the digits, so it cannot end them", LENGTHS({ HEX_UNTIL('a'), 0 }), .max = 100);
	SAYS("a length is an unsigned number", LENGTHS({ { .form = NUMBER_SIGNED, .width = 2 }, 0 }), .max = 100);
	SAYS("a length is an unsigned number", LENGTHS({ BYTES(2), 0 }), .max = 100);
	SAYS("1: a length that varies in width is the only one", LENGTHS({ U(1), 0 }, { VARINT, 1 }), .max = 100);
	SAYS("it lies too far from the beginning", LENGTHS({ U(1), 0xffffffff }), .max = 100);
	SAYS("a length stands where a length does (1)", LENGTHS({ U(2), 0 }, { U(2), 1 }), .max = 100);
	SAYS("a length stands where sync does (1)", LENGTHS({ U(2), 1 }), .sync = SLICE("ab"), .max = 100);
	SAYS("the checksum stands where a length does (1)", LENGTHS({ U(2), 0 }), .check = { CHECKSUM_XOR8, U(1), 4, 0, true, 1 }, .min = 8, .max = 100);
	SAYS("the header ends at 3, but what stands in it at 4", LENGTHS({ U(2), 2 }), .has_header = true, .header = 3, .max = 100);
	SAYS("", LENGTHS({ U(2), 2 }), .has_header = true, .header = 4, .max = 100);
	SAYS("the length varies in width, so the body begins behind it", LENGTHS({ VARINT, 2 }), .has_header = true, .header = 4, .max = 100);
	SAYS("it begins at 1, within what ends at 2 | a length stands where sync does (1)", LENGTHS({ VARINT, 1 }), .sync = SLICE("ab"), .max = 100);
}

static void
checks_what_stands_around(void **state)
{
	SAYS("sync has at most 16 bytes", U16, .sync = SLICE("12345678901234567"), .max = 100);
	SAYS("this kind of message has no sync", .kind = FRAME_JSON, .sync = SLICE("x"), .max = 100);
	SAYS("this kind of message has no sync", .kind = FRAME_ESCAPED, .escape = { -1, 1, 2, 0x20, 0, {} }, .sync = SLICE("x"), .max = 100);
	SAYS("strip cr goes with a boundary", U16, .strip_cr = true, .max = 100);
	SAYS("this kind of message is never empty", .kind = FRAME_FIXED, .fixed = 1, .empty_ignore = true, .max = 100);
	SAYS("a trailer has at most 16 bytes", U16, .trailer = SLICE("12345678901234567"), .max = 100);
	SAYS("only a message of known length has a trailer", LINE, .trailer = SLICE("x"), .max = 100);
	SAYS("this kind of message has no header of a fixed size", .kind = FRAME_JSON, .has_header = true, .header = 1, .max = 100);
	SAYS("nothing shows where the next message begins: that takes a boundary, or sync before a length", U16, .resync = true, .max = 100);
	SAYS("nothing shows where the next message begins: that takes a boundary, or sync before a length", .kind = FRAME_JSON, .resync = true, .max = 100);
	SAYS("", U16, .adjust = 4, .sync = SLICE(""), .max = 100);
	SAYS("", LENGTHS({ U(2), 4 }), .resync = true, .sync = SLICE("sync"), .max = 100);
}

static void
checks_escapes(void **state)
{
#define ESCAPED(...) .kind = FRAME_ESCAPED, .max = 100, .escape = { __VA_ARGS__ }
	SAYS("the escape byte is another than start and end", ESCAPED(.start = -1, .end = 0x7e, .escape = 0x7e, .flip = 0x20));
	SAYS("nothing says how the end byte (0xc0) is escaped | nothing says how the escape byte (0xdb) is escaped", ESCAPED(.start = -1, .end = 0xc0, .escape = 0xdb));
	SAYS("nothing says how the start byte (0x28) is escaped", ESCAPED(.start = '(', .end = ')', .escape = '=', .swap_count = 2, .swaps = { { ')', '1' }, { '=', '2' } }));
	/* 0x28 ^ 1 is 0x29, which ends a message */
	SAYS("nothing says how the end byte (0x29) is escaped | nothing says how the start byte (0x28) is escaped", ESCAPED(.start = '(', .end = ')', .escape = '=', .flip = 1));
	SAYS("2: 0xc0 ends or begins a message, so it cannot stand behind the escape byte", ESCAPED(.start = -1, .end = 0xc0, .escape = 0xdb, .swap_count = 2, .swaps = { { 0xc0, 1 }, { 0xdb, 0xc0 } }));
	SAYS("2: 0xdb is escaped twice, or as another byte is", ESCAPED(.start = -1, .end = 0xc0, .escape = 0xdb, .swap_count = 2, .swaps = { { 0xc0, 1 }, { 0xdb, 1 } }));
	SAYS("1: 0xc0 is escaped twice, or as another byte is", ESCAPED(.start = -1, .end = 0xc0, .escape = 0xdb, .flip = 0x20, .swap_count = 1, .swaps = { { 0xc0, 0xfb } }));
	SAYS("at most 4 bytes have an escape of their own", ESCAPED(.start = -1, .end = 0xc0, .escape = 0xdb, .flip = 0x20, .swap_count = 5));
}

static void
checks_headers(void **state)
{
#define BLOCK .kind = FRAME_HEADERS, .max = 100, .boundary = ANY(SLICE("\n\n"))
	SAYS("", BLOCK, .length_name = SLICE("length"));
	SAYS("the name of the header that tells the length is missing: \"content-length\"", BLOCK);
	SAYS("that is no name of a header", BLOCK, .length_name = SLICE("a b"));
	SAYS("header lines end with an empty one: \"\\n\\n\" or \"\\r\\n\\r\\n\"", .kind = FRAME_HEADERS, .max = 100, .boundary = ANY(SLICE("\n")), .length_name = SLICE("n"));
}

static void
checks_checksums(void **state)
{
#define SUMMED(...) .kind = FRAME_FIXED, .fixed = 10, .max = 100, .check = { __VA_ARGS__ }
	SAYS("", SUMMED(CHECKSUM_CRC32, U(4)));
	SAYS("", SUMMED(CHECKSUM_CRC32, HEX(8)));
	SAYS("this checksum has 4 bytes, or 8 hexadecimal digits", SUMMED(CHECKSUM_CRC32, U(2)));
	SAYS("this checksum has 1 bytes, or 2 hexadecimal digits", SUMMED(CHECKSUM_XOR8, DECIMAL(1)));
	SAYS("it is made of no bytes: 4..4", SUMMED(CHECKSUM_XOR8, U(1), 4, 4));
	SAYS("its bytes end at 10, but a message may have 9 only", SUMMED(CHECKSUM_XOR8, U(1), 4, 10));
	SAYS("the checksum is one of the bytes it is made of", SUMMED(CHECKSUM_XOR8, U(1), 0, 0, true, 2));
	SAYS("the checksum is one of the bytes it is made of", SUMMED(CHECKSUM_XOR8, U(1), 0, 3, true, 2));
	SAYS("", SUMMED(CHECKSUM_XOR8, U(1), 0, 2, true, 2));
	SAYS("", SUMMED(CHECKSUM_XOR8, U(1), 3, 0, true, 2));
	SAYS("a binary checksum may hold the boundary: write it in hexadecimal, or in a header", LINE, .max = 9, .check = { CHECKSUM_XOR8, U(1) });
	SAYS("it lies too far from the beginning", SUMMED(CHECKSUM_XOR8, U(1), 3, 0, true, 0xffffffff));
	SAYS("it lies too far from the beginning", .kind = FRAME_FIXED, .fixed = 10, .max = 100, .has_header = true, .header = 0xffffffff, .trailer = SLICE("x"));
	SAYS("it lies too far from the beginning", .kind = FRAME_SWITCH, .tag = { U(1), 0xffffffff }, .max = 100);
	SAYS("this kind of message has no checksum", .kind = FRAME_JSON, .max = 9, .check = { CHECKSUM_XOR8, U(1) });
}

static void
proves_that_fields_are_there(void **state)
{
	static const struct frame_field at_30[] = { { SLICE("device"), U(4), 0 }, { SLICE("kind"), U(4), 30 } };
	static const struct frame_field twice[] = { { SLICE("a"), U(1), 0 }, { SLICE("a"), U(1), 1 } };
	static const struct frame_field varying[] = { { SLICE("a"), VARINT, 0 } };
	static const struct frame_field far[] = { { SLICE("a"), U(4), 0xfffffffe } };
	static const struct frame_field third[] = { { SLICE("a"), U(1), 2 } };
	static const struct frame_field len[] = { { SLICE("len"), U(1), 0 } };
	static const struct frame_field seven[] = { { SLICE("a"), U(7), 0 } };

	SAYS("1: field \"kind\" ends at 34, but a message may end at 32", .kind = FRAME_FIXED, .fixed = 32, .max = 32, FIELDS(at_30));
	SAYS("1: field \"kind\" ends at 34, but a message may end at 33", U16, .min = 33, .max = 64, FIELDS(at_30));
	/* nothing said: a shorter message is malformed */
	SAYS("", U16, .max = 64, FIELDS(at_30));
	SAYS("1: field \"a\" is declared twice", U16, .max = 64, FIELDS(twice));
	SAYS("every message has len and body already", U16, .max = 64, FIELDS(len));
	SAYS("a field has a fixed width", U16, .max = 64, FIELDS(varying));
	SAYS("it lies too far from the beginning", .kind = FRAME_FIXED, .fixed = 32, .max = 32, FIELDS(far));
	SAYS("a binary number has 1, 2, 3, 4 or 8 bytes, not 7", U16, .max = 64, FIELDS(seven));
	SAYS("field \"a\" ends at 3, but from 1 on all depends on how wide the length is", LENGTHS({ VARINT, 1 }), .max = 64, FIELDS(third));
	SAYS("this kind of message has no place at a fixed offset", .kind = FRAME_JSON, .max = 64, FIELDS(third));
}

static void
checks_switches(void **state)
{
	static struct frame line, fixed, whole = { .kind = FRAME_WHOLE }, nothing, synced, big;
	static const struct frame_field fourth[] = { { SLICE("a"), U(1), 3 } };
	struct frame_case cases[] = { { 1, &line }, { 2, &fixed } };

	line = (struct frame){ LINE };
	fixed = (struct frame){ .kind = FRAME_FIXED, .fixed = 2 };
	synced = (struct frame){ LINE, .sync = SLICE("x") };
	big = (struct frame){ LINE, .max = 11 };
#define SWITCH(n) .kind = FRAME_SWITCH, .tag = { U(1), 0 }, .cases = cases, .case_count = n, .max = 10
	SAYS("", SWITCH(2));
	assert_int_equal(line.max, 10);
	assert_int_equal(line.head, 1);
	SAYS("a switch has 1 to 255 cases", SWITCH(0));
	SAYS("its smallest message has 2 bytes, but the fields of the protocol need 4", SWITCH(2), FIELDS(fourth));
	line.max = fixed.max = 0;
	SAYS("a type is an unsigned number of fixed width", .kind = FRAME_SWITCH, .max = 10, .cases = cases, .case_count = 1, .tag = { { .form = NUMBER_SIGNED, .width = 1 }, 0 });
	cases[1] = (struct frame_case){ 1, &line };
	SAYS("1: case 1 stands twice", SWITCH(2));
	cases[1] = (struct frame_case){ 2, &(struct frame){ LENGTHS({ U(2), 0 }) } };
	SAYS("a length stands where the type does (0)", SWITCH(2));
	cases[1] = (struct frame_case){ 256, &line };
	SAYS("1: the type can never be 256", SWITCH(2));
	cases[1] = (struct frame_case){ 2, &whole };
	SAYS("1: a case has a boundary, a length, or a fixed size", SWITCH(2));
	cases[1] = (struct frame_case){ 2, &nothing };
	SAYS("1: a case has a boundary, a length, or a fixed size", SWITCH(2));
	cases[1] = (struct frame_case){ 2, &synced };
	SAYS("1: sync, resync and fields stand outside of the switch, they hold for all of its cases", SWITCH(2));
	cases[1] = (struct frame_case){ 2, &big };
	SAYS("1: its max is more than that of the protocol", SWITCH(2));
	SAYS("1: its max is more than that of the protocol", SWITCH(1), .else_case = &big);
	SAYS("nothing shows where the next message begins: that takes a boundary, or sync before a length", SWITCH(1), .sync = SLICE("x"), .resync = true);
}

static void
checks_the_preface(void **state)
{
	static struct frame line, preface;

	line = (struct frame){ LINE };
	preface = (struct frame){ .kind = FRAME_FIXED, .fixed = 4 };
	SAYS("", LINE, .max = 10, .preface = &preface);
	assert_int_equal(preface.max, 10);
	SAYS("the smallest message has 4 bytes, more than max", LINE, .max = 3, .preface = &(struct frame){ .kind = FRAME_FIXED, .fixed = 4 });
	line.preface = &preface;
	SAYS("a preface or answers belong to the protocol as a whole | a preface has none of its own", LINE, .max = 10, .preface = &line);
}

static void
checks_formats_and_answers(void **state)
{
	static const struct frame_field wide[] = { { SLICE("id"), BYTES(65), 2 } };
	static const struct frame_field id[] = { { SLICE("id"), U(2), 0 } };
	const struct frame_name len = { .kind = FRAME_NAME_LEN }, body = { .kind = FRAME_NAME_BODY }, word = { .kind = FRAME_NAME_FORMAT };
	const struct frame_name wide_name = { .kind = FRAME_NAME_FIELD, .field = wide }, id_name = { .kind = FRAME_NAME_FIELD, .field = id };

	SAYS("name and value, and pairs, are divided by different bytes", LINE, .max = 10, .format = FORMAT_KV, .equals = '=', .between = '=');
	SAYS("format binary takes fields { }", LINE, .max = 10, .format = FORMAT_BINARY);
#define BY(name) .answers = FRAME_ANSWERS_BY_FIELD, .answers_by = name
	SAYS("the field that pairs answers with questions is missing", LINE, .max = 10, BY(NULL));
	SAYS("that cannot be changed alone: answers are paired by a field of their own", LINE, .max = 10, BY(&len));
	SAYS("that cannot be changed alone: answers are paired by a field of their own", LINE, .max = 10, BY(&body));
	SAYS("it stands where sync, type, a length or the checksum does", U16, .max = 100, FIELDS(id), BY(&id_name));
	SAYS("it stands where sync, type, a length or the checksum does", .kind = FRAME_FIXED, .fixed = 9, .sync = SLICE("x"), .max = 100, FIELDS(id), BY(&id_name));
	SAYS("it stands where sync, type, a length or the checksum does", .kind = FRAME_FIXED, .fixed = 9, .check = { CHECKSUM_XOR8, U(1), 2, 0, true, 1 }, .max = 100, FIELDS(id), BY(&id_name));
	SAYS("an id has at most 64 bytes", U16, .max = 100, FIELDS(wide), BY(&wide_name));
	SAYS("an id of ours may hold the boundary: say with header N that it stands in front of the body", LINE, .max = 100, FIELDS(id), BY(&id_name));
	SAYS("", LINE, .max = 100, FIELDS(id), .has_header = true, .header = 2, BY(&id_name));
	SAYS("", LINE, .max = 100, .format = FORMAT_JSON, BY(&word));
	SAYS("the digits of an id of ours may hold the boundary", .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("}1")), .max = 100, .format = FORMAT_JSON, BY(&word));
}

static void
lays_out(void **state)
{
	assert_int_equal(modbus_case.head, 6);
	assert_int_equal(modbus_case.least, 8);
	assert_int_equal(mysql_case.head, 4);
	assert_int_equal(hex4_case.head, 5);
	assert_int_equal(hex4_case.tail, 2);
	assert_int_equal(hex4_case.least, 7);
	assert_int_equal(mqtt_case.least, 2);
	assert_int_equal(netstring_case.least, 3);
	assert_int_equal(sync_case.head, 3);
	assert_int_equal(sync_case.tail, 2);
	assert_int_equal(pgsql_startup.least, 8);
	assert_int_equal(resp_bulk.head, 3);
	assert_int_equal(resp_bulk.max, 32);
	assert_int_equal(resp_line.max, 64);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wants_an_end_and_a_max),
		cmocka_unit_test(checks_boundaries),
		cmocka_unit_test(checks_lengths),
		cmocka_unit_test(checks_what_stands_around),
		cmocka_unit_test(checks_escapes),
		cmocka_unit_test(checks_headers),
		cmocka_unit_test(checks_checksums),
		cmocka_unit_test(proves_that_fields_are_there),
		cmocka_unit_test(checks_switches),
		cmocka_unit_test(checks_the_preface),
		cmocka_unit_test(checks_formats_and_answers),
		cmocka_unit_test(lays_out),
	};

	return cmocka_run_group_tests(tests, frame_cases_check, NULL);
}
