/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/frame, reading: every form cut at every byte; lengths of nothing, of less than the header, of
 * more than there can be; exactly max and one more; streams of a thousand messages; what comes behind
 * junk. And that dripping bytes cost no more than a few looks each.
 */
#include "frame_case.h"

#define READS(f, in, want) assert_reads_as(&(f), SLICE(in), false, want)

static void
reads_boundaries(void **state)
{
	READS(text_case, "hello\nworld\r\n\n\r\r\nx\ry\n", "[hello][world][][][x\\x0dy]");
	READS(text_case, "a\nrest", "[a]!truncated");
	READS(jsonnl_case, "{\"a\":1}\n\n\n{}\n", "[{\\x22a\\x22:1}]~[{}]");
	READS(lines_case, "GET a\r\nSET b c\nx\r\ry\r\n", "[GET a][SET b c][x\\x0d\\x0dy]");
	READS(checked_line_case, "ab03\r\nab03\n00\r\r\n0\n", "[ab][ab]~!too_short");
	READS(checked_line_case, "ab04\n", "!bad_checksum");
	READS(lines_case, "\r\n\n\r\r\n", "[][][\\x0d]");
	READS(long_boundary_case, "aabababab<end><<end>abaabab", "[a][][][<][aba]");
	READS(header_boundary_case, "\0\0\0\0body\0\1\2\3\0\0", "[body][]");
	READS(header_boundary_case, "\0\0\0", "!truncated");
}

static void
reads_lengths(void **state)
{
	READS(frame_case, "\0\0\0\4\0\0\0\7abc", "[][abc]");
	READS(modbus_case, "\0\1\0\0\0\6\x11\3\0k\0\3" "\0\2\0\0\0\2\x11\3", "[\\x11\\x03\\x00k\\x00\\x03][\\x11\\x03]");
	READS(mysql_case, "\3\0\0\1abc\0\0\0\2", "[abc][]");
	READS(xml10_case, "0000000014<a/>0000000010", "[<a/>][]");
	READS(hex4_case, "x0003abc\r\ny0000\r\nz000ffifteen bytes..\r\n", "[abc]~[fifteen bytes..]");
	READS(netstring_case, "5:hello,0:,012:hello world!,", "[hello][][hello world!]");
	READS(hex_until_case, "b\nhello world0\nA\n0123456789", "[hello world][][0123456789]");
	READS(self_counting_case, "7 abcde2 004 ", "[abcde][][]");
	READS(varint_case, "\3abc\0\x83\0def", "[abc][][def]");
	READS(mqtt_case, "\x30\5hello\xc0\0", "[hello][]");
	READS(u64_case, "\0\0\0\0\0\0\0\5abc\0\0\0\0\0\0\0\2", "[abc][]");
	READS(statistic_case, "\1\2....\1\0\0\0\x63\0\3....mifmsg", "[mifmsg]");
	READS(telemetry_case, "\1\0\0\0kabcdata\2\0\0\0kabcDATA", "[data][DATA]");
}

static void
reads_header_blocks(void **state)
{
	READS(stomp_case, "SEND\na:b\n\nhello\0\n\nSEND\ncontent-length:3\n\na\0b\0\nX\n\n\0", "[hello]~[a\\x00b]~[]");
	READS(stomp_case, "SEND\r\nContent-Length: 2 \r\n\r\nhi\0", "[hi]");
	READS(stomp_case, "SEND\ncontent-length:2\ncontent-length:2\n\nhi\0", "!bad_headers");
	READS(stomp_case, "SEND\ncontent-length : 2\n\n\0\0\0", "[\\x00\\x00]");
	READS(stomp_case, "SEND\ncontent-length:1\ncontent-length :2\n\n\0\0\0", "!bad_headers");
	READS(stomp_case, "SEND\ncontent-length:2x\n\nhi\0", "!bad_headers");
	READS(stomp_case, "SEND\ncontent-length:\n\nhi\0", "!bad_headers");
	READS(stomp_case, "SEND\ncontent-length:-2\n\nhi\0", "!bad_headers");
	READS(stomp_case, "SEND\ncontent-length:2\n\nhi!", "!bad_trailer");
	READS(stomp_case, "SEND\ncontent-length:99999999999999999999\n\nhi", "!too_long");
	READS(stomp_case, "SEND\ncontent-length:18446744073709551615\n\nhi", "!too_long");
	READS(lsp_case, "Content-Length: 2\r\nX: y\r\n\r\n{}content-length:4\r\n\r\nnull", "[{}][null]");
	READS(lsp_case, "X: y\r\n\r\n{}", "!bad_headers");
	READS(lsp_case, "Content-Length: 4\r\n\r\n{}", "!truncated");
}

static void
reads_escapes(void **state)
{
	READS(slip_case, "\xc0" "abc\xc0\xc0" "d\xdb\xdc" "e\xdb\xdd\xc0", "~[abc]~[d\\xc0e\\xdb]");
	READS(slip_case, "a\xdb" "b\xc0", "!bad_escape");
	READS(slip_case, "a\xdb\xc0", "!bad_escape");
	READS(slip_case, "abc", "!truncated");
	READS(tracker_case, "(a)()(b=\tc=\bd)", "[a][][b)c(d]");
	READS(tracker_case, "junk(a)more(b)(c(d)e", "~bad_sync[a]~bad_sync[b]~bad_escape[d]~bad_sync");
	READS(tracker_case, "(a=)(b)", "~bad_escape[b]");
	/* crc32 of "123456789" */
	READS(hdlc_case, "\x7e" "123456789\xcb\xf4\x39\x26\x7e", "~[123456789]");
	READS(hdlc_case, "\x7e" "123456788\xcb\xf4\x39\x26\x7e", "~!bad_checksum");
	READS(hdlc_case, "\x7e" "123\x7e", "~!too_short");
}

static void
reads_json(void **state)
{
	READS(json_case, "{\"a\":\"}\"}[1] \"x\" 12 \n true{}", "[{\\x22a\\x22:\\x22}\\x22}][[1]]~[\\x22x\\x22]~[12]~[true][{}]");
	READS(json_case, "{} 42", "[{}]~[42]");
	READS(json_case, "{}}", "[{}]!bad_json");
	READS(json_case, "{]", "!bad_json");
	READS(json_case, "[1", "!truncated");
	READS(json_case, "  \n", "~");
}

static void
reads_by_type(void **state)
{
	READS(switch_case, "+OK\r\n$\0\3abc#12+\r\n", "[OK][abc][12][]");
	READS(switch_case, "?OK\r\n", "!bad_type");
	READS(switch_case, "$\xff\xff", "!too_long");
	/* a case with a max of its own */
	READS(switch_case, "$\0\x1e", "!too_long");
	READS(switch_else_case, "GET x\r\n#12!\r\n", "[GET x][12][!]");
}

/* As many cases as there may be, and the one for all others. */
static void
reads_by_many_types(void **state)
{
	static struct frame_case cases[255];
	static struct frame two = { .kind = FRAME_FIXED, .fixed = 2 }, three = { .kind = FRAME_FIXED, .fixed = 3 };
	static struct frame many = { .kind = FRAME_SWITCH, .tag = { U(1), 0 }, .cases = cases, .case_count = 255, .else_case = &three, .max = 10 };

	for (unsigned i = 0; i < ARRAY_COUNT(cases); i++)
		cases[i] = (struct frame_case){ i, &two };
	assert_true(frame_check(&many, &(struct frame_mistakes){ 0 }));
	READS(many, "\xfe" "a\xff" "bc\0d", "[a][bc][d]");
}

static void
reads_the_preface_once(void **state)
{
	static const char in[] = "\0\0\0\x0d\0\3\0\0user\0Q\0\0\0\x0dselect 1\0X\0\0\0\4";

	assert_reads_as(&pgsql_case, SLICE(in), true, "[\\x00\\x03\\x00\\x00user\\x00][select 1\\x00][]");
	/* the other direction has none */
	READS(pgsql_case, "R\0\0\0\x8....Z\0\0\0\5I", "[....][I]");
	assert_reads_as(&pgsql_case, SLICE("\0\0\0\7..."), true, "!too_short");
}

static void
reads_to_the_end(void **state)
{
	READS(whole_case, "a=1&b=2", "[a=1&b=2]");
	READS(whole_case, "", "");
}

/* ------------------------------------------------------------------ what is wrong */

static void
believes_no_length(void **state)
{
	READS(frame_case, "\0\0\0\0", "!too_short");
	READS(frame_case, "\0\0\0\1", "!too_short");
	READS(frame_case, "\0\0\0\3", "!too_short");
	READS(frame_case, "\0\0\0\x41", "!too_long");
	READS(frame_case, "\x7f\xff\xff\xff", "!too_long");
	READS(frame_case, "\xff\xff\xff\xff", "!too_long");
	READS(frame_case, "\0\0\0", "!truncated");
	/* the declared fields need two bytes of the body */
	READS(modbus_case, "\0\1\0\0\0\0", "!too_short");
	READS(modbus_case, "\0\1\0\0\0\1\x11", "!too_short");
	READS(modbus_case, "\0\1\0\0\xff\xff\x11", "!too_long");
	READS(mysql_case, "\xff\xff\xff\0", "!too_long");
	/* -2: less than nothing */
	READS(u64_case, "\0\0\0\0\0\0\0\0", "!too_short");
	READS(u64_case, "\0\0\0\0\0\0\0\1", "!too_short");
	READS(u64_case, "\0\0\0\0\xff\xff\xff\xff", "!too_long");
	READS(u64_case, "\x7f\xff\xff\xff\xff\xff\xff\xff", "!too_long");
	READS(u64_case, "\xff\xff\xff\xff\xff\xff\xff\xff", "!too_long");
	READS(u64_case, "\x80\0\0\0\0\0\0\0", "!too_long");
	READS(statistic_case, "\xff\xff....\1\0\0\0\0\xff\xff....", "!too_long");
	READS(xml10_case, "0000000009", "!too_short");
	READS(xml10_case, "9999999999", "!too_long");
	READS(xml10_case, "00000000x0", "!bad_length");
	READS(xml10_case, "+000000010", "!bad_length");
	READS(xml10_case, "        10", "!bad_length");
	READS(hex4_case, "x00g0", "!bad_length");
	READS(hex4_case, "xFFFF", "!too_long");
	READS(hex4_case, "x0001a\n\n", "!bad_trailer");
	READS(netstring_case, ":", "!bad_length");
	READS(netstring_case, "x", "!bad_length");
	READS(netstring_case, "-1:", "!bad_length");
	READS(netstring_case, "1x:", "!bad_length");
	READS(netstring_case, "00000000000000000000", "!bad_length");
	READS(netstring_case, "99999999999999999999999", "!bad_length");
	READS(netstring_case, "4294967295:", "!too_long");
	READS(netstring_case, "9223372036854775807:", "!too_long");
	READS(netstring_case, "18446744073709551615:", "!bad_length");
	READS(netstring_case, "2:ab;", "!bad_trailer");
	READS(self_counting_case, "1 ", "!too_short");
	READS(self_counting_case, "0 ", "!too_short");
	READS(varint_case, "\xff\xff\xff\xff\x0f", "!too_long");
	READS(varint_case, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "!too_long");
	READS(varint_case, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", "!bad_length");
	READS(varint_case, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", "!bad_length");
	READS(mqtt_case, "0\xff\xff\xff\x7f", "!too_long");
	READS(mqtt_case, "0\x80\x80\x80\x80\1", "!bad_length");
	READS(mqtt_case, "0\x80\0", "!bad_length");
	READS(header_boundary_case, "abc", "!truncated");
}

static void
sums_do_not_wrap(void **state)
{
	struct frame f = { LENGTHS({ U(8), 0 }, { U(8), 8 }, { U(8), 16 }), .counts = FRAME_COUNTS_AFTER, .adjust = INT32_MAX, .max = FRAME_MAX_MOST };
	struct frame_mistakes m = { case_wrong, NULL, 0 };

	assert_true(frame_check(&f, &m));
	READS(f, "\xff\xff\xff\xff\xff\xff\xff\xff" "\xff\xff\xff\xff\xff\xff\xff\xff" "\xff\xff\xff\xff\xff\xff\xff\xff", "!too_long");
	READS(f, "\x80\0\0\0\0\0\0\0" "\x80\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0", "!too_long");
	READS(f, "\x40\0\0\0\0\0\0\0" "\x40\0\0\0\0\0\0\0" "\x40\0\0\0\0\0\0\0", "!too_long");
	f.adjust = INT32_MIN;
	READS(f, "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0", "!too_short");
	READS(f, "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\x80\0\0\3abc", "[abc]");
}

/* A message of exactly max bytes, and of one more; unfinished ones likewise. */
static void
keeps_to_max(void **state)
{
	static const struct {
		struct frame *f;
		const char *before, *after;     /* of the longest body */
		size_t before_n, after_n;
		const char *over;               /* what one byte more makes of it */
	} rows[] = {
#define ROW(f, before, after, over) { &(f), before, after, sizeof(before) - 1, sizeof(after) - 1, over }
		ROW(text_case, "", "\n", "!too_long"), ROW(lines_case, "", "\r\n", "!too_long"), ROW(header_boundary_case, "head", "\0", "!too_long"),
		ROW(slip_case, "", "\xc0", "!too_long"), ROW(json_case, "\"", "\"", "!too_long"), ROW(whole_case, "", "", "!too_long"),
		ROW(stomp_case, "S\n\n", "\0", "!too_long"), ROW(jsonnl_case, "", "\n", "!too_long"), ROW(tracker_case, "(", ")", "~too_long"),
		ROW(long_boundary_case, "", "<end>", "~too_long"), ROW(nmea_case, "$", "*", "~too_long"),
#undef ROW
	};
	char in[512], want[512];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		for (size_t over = 0; over < 2; over++) {
			struct builder b = builder_on(in, sizeof(in)), w = builder_on(want, sizeof(want));
			size_t n = rows[i].f->max - rows[i].before_n - rows[i].after_n + over;

			if (rows[i].f == &nmea_case && !over)
				continue;
			builder_put(&b, rows[i].before, rows[i].before_n);
			for (size_t k = 0; k < n; k++)
				builder_byte(&b, 'x');
			builder_put(&b, rows[i].after, rows[i].after_n);
			if (over) {
				builder_text(&w, rows[i].over);
			} else {
				builder_byte(&w, '[');
				builder_log(&w, rows[i].f == &json_case ? builder_slice(&b) : slice_make(in + rows[i].before_n, n));
				builder_byte(&w, ']');
			}
			builder_byte(&w, '\0');
			assert_reads_as(rows[i].f, builder_slice(&b), false, want);
		}
	}
}

/* What cannot end within max any more is said at once, what still can is awaited. */
static void
waits_no_longer_than_max(void **state)
{
	static const struct {
		struct frame *f;
		char begins;
		enum frame_verdict verdict;
	} rows[] = {
		{ &text_case, 'x', FRAME_BAD }, { &lines_case, 'x', FRAME_BAD }, { &long_boundary_case, 'x', FRAME_SKIP }, { &slip_case, 'x', FRAME_BAD },
		{ &tracker_case, '(', FRAME_SKIP }, { &stomp_case, 'x', FRAME_BAD }, { &lsp_case, 'x', FRAME_BAD },
	};
	char in[64];
	struct frame_state s;
	struct frame_cut cut;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		memset(in, 'x', sizeof(in));
		in[0] = rows[i].begins;
		for (size_t whole = 0; whole < 2; whole++) {
			frame_begin(rows[i].f, &s, false);
			if (!whole)
				assert_int_equal(frame_measure(rows[i].f, &s, slice_make(in, sizeof(in) - 1), &cut), FRAME_MORE);
			assert_int_equal(frame_measure(rows[i].f, &s, slice_make(in, sizeof(in)), &cut), rows[i].verdict);
			assert_int_equal(cut.fault, FRAME_TOO_LONG);
		}
	}
	/* nor for the bytes of a message that is shorter than its header */
	for (in[3] = 0; in[3] < 4; in[3]++) {
		in[0] = in[1] = in[2] = 0;
		frame_begin(&frame_case, &s, false);
		assert_int_equal(frame_measure(&frame_case, &s, slice_make(in, 4), &cut), FRAME_BAD);
		assert_int_equal(cut.fault, FRAME_TOO_SHORT);
	}
}

static void
counts_to_max(void **state)
{
	static const struct {
		struct frame *f;
		struct slice head;
		size_t total;
		const char *want;
	} rows[] = {
		{ &frame_case, SLICE("\0\0\0\x40"), 64, NULL }, { &frame_case, SLICE("\0\0\0\x41"), 65, "!too_long" },
		{ &varint_case, SLICE("\xaa\2"), 300, NULL }, { &varint_case, SLICE("\xab\2"), 301, "!too_long" },
		{ &netstring_case, SLICE("60:"), 64, NULL }, { &netstring_case, SLICE("61:"), 65, "!too_long" },
		{ &xml10_case, SLICE("0000000064"), 64, NULL }, { &xml10_case, SLICE("0000000065"), 65, "!too_long" },
		{ &stomp_case, SLICE("S\ncontent-length:42\n\n"), 64, NULL }, { &stomp_case, SLICE("S\ncontent-length:43\n\n"), 65, "!too_long" },
	};
	char in[512], want[512];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct builder b = builder_on(in, sizeof(in)), w = builder_on(want, sizeof(want));

		builder_slice_put(&b, rows[i].head);
		while (b.n < rows[i].total - rows[i].f->trailer.n)
			builder_byte(&b, 'x');
		builder_printf(&w, "[" SLICE_FORMAT "]", SLICE_ARG(slice_after(builder_slice(&b), rows[i].head.n)));
		builder_slice_put(&b, rows[i].f->trailer);
		assert_reads_as(rows[i].f, builder_slice(&b), false, rows[i].want != NULL ? rows[i].want : want);
	}
}

/* ------------------------------------------------------------------ behind what is wrong */

static void
finds_its_way_back(void **state)
{
	static const char xs[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
	char in[512];
	struct builder b = builder_on(in, sizeof(in));

	/* a boundary behind what is too long */
	builder_text(&b, "<end>");
	builder_text(&b, xs);
	builder_text(&b, "<e<end>ok<end>");
	assert_reads_as(&long_boundary_case, builder_slice(&b), false, "[]~too_long[ok]");
	/* and one that begins within max */
	for (size_t n = 58; n < 66; n++) {
		b = builder_on(in, sizeof(in));
		builder_put(&b, xs, n);
		builder_text(&b, "<end>ok<end>");
		if (n + 5 > long_boundary_case.max)
			assert_reads_as(&long_boundary_case, builder_slice(&b), false, "~too_long[ok]");
	}
	b = builder_on(in, sizeof(in));
	builder_byte(&b, '(');
	builder_text(&b, xs);
	builder_text(&b, ")(ok)");
	assert_reads_as(&tracker_case, builder_slice(&b), false, "~too_long[ok]");
	b = builder_on(in, sizeof(in));
	builder_byte(&b, '$');
	builder_text(&b, xs);
	builder_text(&b, "$\r\n$a61\r\n$ab*00\r\n$a61\r\n$\r\n!!$a61\r\n");
	assert_reads_as(&nmea_case, builder_slice(&b), false, "~too_long[a]~bad_checksum[a]~too_short~bad_sync[a]");
	/* a sync within junk, within a sync, and behind a length that is none; crc16 of "\1a" is 0xc8c1 */
	READS(sync_case, "ju\x7enk\x7e\x7e\1a\xc1\xc8\x7e\x7e\x7e\1a\xc1\xc8", "~bad_sync[a]~too_long[a]");
	READS(sync_case, "\x7e\x7e\1b\xc1\xc8\x7e\x7e\1a\xc1\xc8\x7e", "~bad_checksum[a]!truncated");
}

/* ------------------------------------------------------------------ many */

static void
reads_a_thousand(void **state)
{
	static char in[128 * 1024], want[128 * 1024], got[128 * 1024];
	static const size_t steps[] = { 1, 2, 3, 7, 64, 1000, sizeof(in) };

	for (size_t i = 0; i < ARRAY_COUNT(frame_cases); i++) {
		const struct frame *f = frame_cases[i];
		struct builder b = builder_on(in, sizeof(in)), w = builder_on(want, sizeof(want));

		if (f->kind == FRAME_WHOLE)
			continue;
		for (unsigned k = 0; k < 1000; k++) {
			char body[16];
			struct builder t = builder_on(body, sizeof(body));
			struct frame_draft draft = { .type = k % 2 ? '$' : '#' };

			if (f->kind == FRAME_JSON || f->format == FORMAT_JSON)
				builder_printf(&t, "[%u]", k);
			else
				builder_printf(&t, f->kind == FRAME_FIXED ? "%04u" : "%u=", k);
			if (f->kind == FRAME_SWITCH && k % 2 == 0)
				t.n = 2;
			draft.body = builder_slice(&t);
			assert_int_equal(frame_write(f, &draft, &b), FRAME_FINE);
			builder_byte(&w, '[');
			builder_slice_put(&w, builder_slice(&t));
			builder_byte(&w, ']');
		}
		builder_byte(&w, '\0');
		for (size_t k = 0; k < ARRAY_COUNT(steps); k++) {
			struct builder g = builder_on(got, sizeof(got));
			size_t n = 0;

			frame_transcript(f, builder_slice(&b), 0, steps[k], false, &g);
			/* what is skipped between messages is no matter here */
			for (size_t c = 0; c < g.n; c++)
				if (got[c] != '~')
					got[n++] = got[c];
			assert_string_equal(got, want);
		}
	}
}

/* A byte at a time into a message of a megabyte: were it looked at from its beginning each time, this would take minutes. */
static void
does_not_look_twice(void **state)
{
	enum { SIZE = 1 << 20 };
	struct frame frames[] = {
		{ .kind = FRAME_BOUNDARY, .boundary = ANY(SLICE("\n")), .max = SIZE },
		{ .kind = FRAME_BOUNDARY, .boundary = { .any = { SLICE("xxxxy"), SLICE("xz"), SLICE("\n") }, .count = 3 }, .max = SIZE },
		{ .kind = FRAME_HEADERS, .boundary = ANY(SLICE("\n\n")), .length_name = SLICE("n"), .otherwise = ANY(SLICE("\n")), .max = SIZE },
		{ .kind = FRAME_ESCAPED, .escape = { -1, '\n', '\\', 0x20, 0, {} }, .max = SIZE },
		{ .kind = FRAME_JSON, .max = SIZE },
		{ LENGTHS({ U(4), 0 }), .counts = FRAME_COUNTS_WHOLE, .max = SIZE },
	};
	static const struct slice begins[] = { SLICE(""), SLICE(""), SLICE("a\n\n"), SLICE(""), SLICE("\""), SLICE("\0\x10\0\0") };
	char *in = memory_alloc(SIZE);

	for (size_t i = 0; i < ARRAY_COUNT(frames); i++) {
		struct frame_mistakes m = { case_wrong, NULL, 0 };
		struct frame_state s;
		struct frame_cut cut;

		assert_true(frame_check(&frames[i], &m));
		memset(in, 'x', SIZE);
		memcpy(in, begins[i].at, begins[i].n);
		in[SIZE - 1] = frames[i].kind == FRAME_JSON ? '"' : '\n';
		frame_begin(&frames[i], &s, true);
		for (size_t n = 0; n < SIZE; n++)
			assert_int_equal(frame_measure(&frames[i], &s, slice_make(in, n), &cut), FRAME_MORE);
		assert_int_equal(frame_measure(&frames[i], &s, slice_make(in, SIZE), &cut), FRAME_MESSAGE);
		assert_int_equal(cut.n, SIZE);
	}
	free(in);
}

static void
says_what_is_missing(void **state)
{
	struct frame_state s;
	struct frame_cut cut;

	frame_begin(&frame_case, &s, false);
	assert_int_equal(frame_missing(&s, 0), 0);
	assert_int_equal(frame_measure(&frame_case, &s, SLICE("\0\0\0"), &cut), FRAME_MORE);
	assert_int_equal(frame_missing(&s, 3), 0);
	assert_int_equal(frame_measure(&frame_case, &s, SLICE("\0\0\0\x20xx"), &cut), FRAME_MORE);
	assert_int_equal(frame_missing(&s, 6), 26);
}

/* A length that is known is not asked for again, and what is measured and opened is not copied. */
static void
asks_once(void **state)
{
	char in[32] = "\0\0\0\x20xx";
	struct builder none = builder_on(NULL, 0);
	struct frame_state s;
	struct frame_cut cut;
	struct frame_view view;

	frame_begin(&frame_case, &s, false);
	assert_int_equal(frame_measure(&frame_case, &s, slice_make(in, 6), &cut), FRAME_MORE);
	memset(in, 0xff, sizeof(in));
	assert_int_equal(frame_measure(&frame_case, &s, slice_make(in, 31), &cut), FRAME_MORE);
	assert_int_equal(frame_measure(&frame_case, &s, slice_make(in, 32), &cut), FRAME_MESSAGE);
	assert_int_equal(cut.n, 32);
	assert_int_equal(frame_open(&cut, slice_make(in, 32), &none, &view), FRAME_FINE);
	assert_ptr_equal(view.body.at, in + 4);
	assert_int_equal(view.body.n, 28);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_boundaries),
		cmocka_unit_test(reads_lengths),
		cmocka_unit_test(reads_header_blocks),
		cmocka_unit_test(reads_escapes),
		cmocka_unit_test(reads_json),
		cmocka_unit_test(reads_by_type),
		cmocka_unit_test(reads_by_many_types),
		cmocka_unit_test(reads_the_preface_once),
		cmocka_unit_test(reads_to_the_end),
		cmocka_unit_test(believes_no_length),
		cmocka_unit_test(sums_do_not_wrap),
		cmocka_unit_test(keeps_to_max),
		cmocka_unit_test(waits_no_longer_than_max),
		cmocka_unit_test(counts_to_max),
		cmocka_unit_test(finds_its_way_back),
		cmocka_unit_test(reads_a_thousand),
		cmocka_unit_test(does_not_look_twice),
		cmocka_unit_test(says_what_is_missing),
		cmocka_unit_test(asks_once),
	};

	return cmocka_run_group_tests(tests, frame_cases_check, NULL);
}
