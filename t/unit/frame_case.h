/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Declarations that tests of protocols/frame share, one of every form and some of real protocols; and a
 * stream read through one of them, in pieces of any size, as a line of text.
 */
#ifndef MILLRACE_T_UNIT_FRAME_CASE_H
#define MILLRACE_T_UNIT_FRAME_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/memory.h"
#include "protocols/frame/format.h"

#define U(bytes)       { .form = NUMBER_UNSIGNED, .width = bytes }
#define U_LITTLE(bytes) { .form = NUMBER_UNSIGNED, .width = bytes, .little = true }
#define DECIMAL(digits) { .form = NUMBER_DECIMAL, .width = digits }
#define HEX(digits)     { .form = NUMBER_HEX, .width = digits }
#define UNTIL(byte)     { .form = NUMBER_DECIMAL_UNTIL, .until = byte }
#define HEX_UNTIL(byte) { .form = NUMBER_HEX_UNTIL, .until = byte }
#define VARINT          { .form = NUMBER_VARINT }
#define MQTT            { .form = NUMBER_MQTT }
#define BYTES(count)    { .form = NUMBER_BYTES, .width = count }
#define LENGTHS(...)    .kind = FRAME_LENGTH, .lengths = { __VA_ARGS__ }, \
	.length_count = sizeof((struct frame_length[]){ __VA_ARGS__ }) / sizeof(struct frame_length)
#define ANY(slice)      { .any = { slice }, .count = 1 }
#define ANY_OF(a, b)    { .any = { a, b }, .count = 2 }
#define FIELDS(array)   .fields = array, .field_count = ARRAY_COUNT(array)

static const struct frame_field modbus_fields[] = {
	{ SLICE("txid"), U(2), 0 }, { SLICE("unit"), U(1), 6 }, { SLICE("func"), U(1), 7 },
};
static const struct frame_field telemetry_fields[] = {
	{ SLICE("device"), U_LITTLE(4), 0 }, { SLICE("kind"), U(1), 4 }, { SLICE("tag"), BYTES(3), 5 },
};
static const struct frame_field statistic_fields[] = {
	{ SLICE("module_n"), U(1), 0 }, { SLICE("interface_n"), U(1), 1 }, { SLICE("success"), U(1), 6 }, { SLICE("code"), U(4), 7 },
};
static const struct frame_field pgsql_fields[] = { { SLICE("type"), BYTES(1), 0 } };

static struct frame text_case = { .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\n")), .strip_cr = true, .max = 64 };
static struct frame jsonnl_case = { .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\n")), .max = 64, .format = FORMAT_JSON, .empty_ignore = true };
static struct frame lines_case = { .kind = FRAME_BOUNDARY, .boundary = ANY_OF(SLICE("\r\n"), SLICE("\n")), .max = 64, .format = FORMAT_WORDS };
static struct frame long_boundary_case = { .kind = FRAME_BOUNDARY, .boundary = ANY_OF(SLICE("abab"), SLICE("<end>")), .max = 64, .resync = true };
static struct frame header_boundary_case = { .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\0")), .has_header = true, .header = 4, .max = 64 };
/* Workerman's: all of it, with itself */
static struct frame frame_case = { LENGTHS({ U(4), 0 }), .counts = FRAME_COUNTS_WHOLE, .max = 64 };
static struct frame modbus_case = { LENGTHS({ U(2), 4 }), .counts = FRAME_COUNTS_AFTER, .max = 260, FIELDS(modbus_fields), .format = FORMAT_BINARY };
static struct frame mysql_case = { LENGTHS({ U_LITTLE(3), 0 }), .counts = FRAME_COUNTS_BODY, .has_header = true, .header = 4, .max = 64 };
static struct frame xml10_case = { LENGTHS({ DECIMAL(10), 0 }), .counts = FRAME_COUNTS_WHOLE, .max = 64 };
static struct frame hex4_case = { LENGTHS({ HEX(4), 1 }), .counts = FRAME_COUNTS_BODY, .max = 64, .trailer = SLICE("\r\n"), .empty_ignore = true };
static struct frame netstring_case = { LENGTHS({ UNTIL(':'), 0 }), .counts = FRAME_COUNTS_BODY, .trailer = SLICE(","), .max = 64 };
static struct frame hex_until_case = { LENGTHS({ HEX_UNTIL('\n'), 0 }), .counts = FRAME_COUNTS_AFTER, .max = 64 };
static struct frame self_counting_case = { LENGTHS({ UNTIL(' '), 0 }), .counts = FRAME_COUNTS_WHOLE, .max = 300 };
static struct frame varint_case = { LENGTHS({ VARINT, 0 }), .counts = FRAME_COUNTS_BODY, .max = 300 };
static struct frame mqtt_case = { LENGTHS({ MQTT, 1 }), .counts = FRAME_COUNTS_AFTER, .max = 300 };
static struct frame u64_case = { LENGTHS({ U(8), 0 }), .counts = FRAME_COUNTS_BODY, .adjust = -2, .max = 64 };
static struct frame telemetry_case = { .kind = FRAME_FIXED, .fixed = 12, .max = 12, FIELDS(telemetry_fields), .has_header = true, .header = 8 };
static struct frame statistic_case = { LENGTHS({ U(1), 0 }, { U(1), 1 }, { U(2), 11 }), .counts = FRAME_COUNTS_WHOLE, .adjust = 17, .has_header = true, .header = 17, .max = 100, FIELDS(statistic_fields) };
static struct frame stomp_case = { .kind = FRAME_HEADERS, .boundary = ANY_OF(SLICE("\n\n"), SLICE("\r\n\r\n")), .length_name = SLICE("content-length"), .otherwise = ANY(SLICE("\0")), .trailer = SLICE("\0"), .empty_ignore = true, .max = 64 };
static struct frame lsp_case = { .kind = FRAME_HEADERS, .boundary = ANY(SLICE("\r\n\r\n")), .length_name = SLICE("Content-Length"), .max = 64, .format = FORMAT_JSON };
static struct frame sync_case = { LENGTHS({ U(1), 2 }), .counts = FRAME_COUNTS_BODY, .sync = SLICE("\x7e\x7e"), .resync = true, .max = 64, .check = { CHECKSUM_CRC16_MODBUS, U_LITTLE(2), .from = 2 } };
static struct frame nmea_case = { .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\r\n")), .sync = SLICE("$"), .resync = true, .max = 64, .check = { CHECKSUM_XOR8, HEX(2), .from = 1 } };
static struct frame checked_line_case = { .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\n")), .strip_cr = true, .empty_ignore = true, .max = 64, .check = { CHECKSUM_XOR8, HEX(2) } };
static struct frame hdlc_case = { .kind = FRAME_ESCAPED, .escape = { .start = 0x7e, .end = 0x7e, .escape = 0x7d, .flip = 0x20 }, .max = 64, .check = { CHECKSUM_CRC32, U(4) } };
static struct frame slip_case = { .kind = FRAME_ESCAPED, .escape = { .start = -1, .end = 0xc0, .escape = 0xdb, .swap_count = 2, .swaps = { { 0xc0, 0xdc }, { 0xdb, 0xdd } } }, .max = 64 };
static struct frame tracker_case = { .kind = FRAME_ESCAPED, .escape = { .start = '(', .end = ')', .escape = '=', .flip = 0x20 }, .resync = true, .max = 64 };
static struct frame json_case = { .kind = FRAME_JSON, .max = 64, .format = FORMAT_JSON };
static struct frame whole_case = { .kind = FRAME_WHOLE, .max = 64, .format = FORMAT_KV, .equals = '=', .between = '&' };

static struct frame pgsql_startup = { LENGTHS({ U(4), 0 }), .counts = FRAME_COUNTS_WHOLE, .min = 8 };
static struct frame pgsql_case = { LENGTHS({ U(4), 1 }), .counts = FRAME_COUNTS_AFTER, .adjust = -4, .preface = &pgsql_startup, .max = 64, FIELDS(pgsql_fields) };

static struct frame resp_line = { .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\r\n")) };
static struct frame resp_any = { .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\r\n")), .has_header = true };
static struct frame resp_bulk = { LENGTHS({ U(2), 1 }), .counts = FRAME_COUNTS_BODY, .max = 32 };
static struct frame resp_fixed = { .kind = FRAME_FIXED, .fixed = 3 };
static struct frame_case switch_cases[] = { { '+', &resp_line }, { '$', &resp_bulk }, { '#', &resp_fixed } };
static struct frame switch_case = { .kind = FRAME_SWITCH, .tag = { U(1), 0 }, .cases = switch_cases, .case_count = 3, .max = 64 };
static struct frame switch_else_case = { .kind = FRAME_SWITCH, .tag = { U(1), 0 }, .cases = switch_cases + 1, .case_count = 2, .else_case = &resp_any, .max = 64 };

static struct frame *const frame_cases[] = {
	&text_case, &jsonnl_case, &lines_case, &long_boundary_case, &header_boundary_case, &frame_case, &modbus_case, &mysql_case,
	&xml10_case, &hex4_case, &netstring_case, &hex_until_case, &self_counting_case, &varint_case, &mqtt_case, &u64_case, &telemetry_case,
	&statistic_case, &stomp_case, &lsp_case, &sync_case, &nmea_case, &checked_line_case, &hdlc_case, &slip_case, &tracker_case, &json_case, &whole_case,
	&pgsql_case, &switch_case, &switch_else_case,
};

static void
case_wrong(void *who, const struct frame *f, enum frame_part part, size_t index, const char *text)
{
	print_error("kind %d, part %d, %zu: %s\n", (int)f->kind, (int)part, index, text);
}

/* A group setup: all of them, checked. */
static UNUSED int
frame_cases_check(void **state)
{
	bool good = true;

	for (size_t i = 0; i < ARRAY_COUNT(frame_cases); i++) {
		struct frame_mistakes m = { case_wrong, NULL, 0 };

		good = frame_check(frame_cases[i], &m) && good;
		if (m.count > 0)
			print_error("in case %zu\n", i);
	}
	return good ? 0 : -1;
}

/*
 * What is read of `in` when it comes in pieces: `first` bytes, then `step` at a time. Messages as [body], what is
 * skipped as ~fault, or ~ when nothing is wrong with it; what is bad as !fault; what is left at the end as +count.
 * Each piece lies in memory of its own size.
 */
static UNUSED void
frame_transcript(const struct frame *f, struct slice in, size_t first, size_t step, bool question, struct builder *out)
{
	struct frame_state s;
	size_t at = 0, have = 0, grow = first > 0 ? first : step;
	bool junk = false;

	frame_begin(f, &s, question);
	for (;;) {
		struct frame_cut cut;
		struct frame_view view;
		char *copy = memory_alloc(have - at), *room = memory_alloc(have - at);
		struct builder b = builder_on(room, have - at);

		if (have > at)
			memcpy(copy, in.at + at, have - at);

		enum frame_verdict verdict = frame_next(f, &s, slice_make(copy, have - at), &b, &cut, &view);

		if (verdict == FRAME_MORE && have == in.n) {
			verdict = frame_finish(f, &s, slice_make(copy, have - at), &cut);
			if (verdict == FRAME_MESSAGE && frame_open(&cut, slice_make(copy, have - at), &b, &view) != FRAME_FINE)
				verdict = FRAME_BAD;
			if (verdict == FRAME_MORE) {
				free(copy);
				free(room);
				break;
			}
		}
		if (verdict == FRAME_MESSAGE || verdict == FRAME_SKIP)
			assert_true(cut.n > 0 && cut.n <= have - at);
		if (verdict == FRAME_MESSAGE) {
			builder_byte(out, '[');
			builder_log(out, view.body);
			builder_byte(out, ']');
		} else if (verdict == FRAME_SKIP && cut.fault == FRAME_FINE) {
			if (!junk)
				builder_byte(out, '~');
		} else if (verdict == FRAME_SKIP || verdict == FRAME_BAD) {
			builder_printf(out, "%c%s", verdict == FRAME_SKIP ? '~' : '!', frame_fault_word(cut.fault));
		}
		free(copy);
		free(room);
		if (verdict == FRAME_BAD)
			break;
		if (verdict == FRAME_MORE) {
			have += MIN_OF(grow, in.n - have);
			grow = step;
			continue;
		}
		junk = verdict == FRAME_SKIP;
		at += cut.n;
	}
	builder_byte(out, '\0');
	assert_false(out->full);
}

/* Whole, cut in two at every byte, and in pieces of every size: always that. */
static UNUSED void
assert_reads_as(const struct frame *f, struct slice in, bool question, const char *want)
{
	static char got[1 << 20];
	struct builder b = builder_on(got, sizeof(got));

	frame_transcript(f, in, 0, in.n + 1, question, &b);
	assert_string_equal(got, want);
	for (size_t cut = 1; cut < in.n; cut++) {
		b = builder_on(got, sizeof(got));
		frame_transcript(f, in, cut, in.n, question, &b);
		assert_string_equal(got, want);
		b = builder_on(got, sizeof(got));
		frame_transcript(f, in, 0, cut, question, &b);
		assert_string_equal(got, want);
	}
}

#endif
