/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/proxy_header: both versions, cut at every byte; what is refused, and
 * how early; what is written is read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const char *
shown(const struct addr *a)
{
	static char text[2][ADDR_TEXT];
	static int turn;

	turn = !turn;
	return addr_print(a, text[turn]).at;
}

/* Read whole, with more behind it, and cut at every byte: each piece in memory of its own size. */
static void
reads(struct slice whole, struct slice behind, struct proxy_header *out)
{
	char all[8192];
	struct proxy_header cut;

	assert_true(whole.n + behind.n <= sizeof(all));
	memcpy(all, whole.at, whole.n);
	memcpy(all + whole.n, behind.at, behind.n);
	assert_int_equal(proxy_header_parse(slice_make(all, whole.n + behind.n), out), whole.n);
	for (size_t n = 0; n < whole.n; n++) {
		char *piece = test_malloc(n + 1);

		memcpy(piece, whole.at, n);
		assert_int_equal(proxy_header_parse(slice_make(piece, n), &cut), 0);
		assert_false(cut.known);
		test_free(piece);
	}
}

static void
reads_as(struct slice whole, const char *src, const char *dst)
{
	struct proxy_header h;

	reads(whole, SLICE("GET / HTTP/1.1\r\n"), &h);
	assert_true(h.known);
	assert_string_equal(shown(&h.src), src);
	assert_string_equal(shown(&h.dst), dst);
}

static void
reads_unknown(struct slice whole)
{
	struct proxy_header h;

	reads(whole, SLICE("\r\n\r\nmore"), &h);
	assert_false(h.known);
}

/* Refused, and with all the more behind it. */
static void
refuses(struct slice in)
{
	struct proxy_header h;
	char *copy = test_malloc(in.n);

	memcpy(copy, in.at, in.n);
	assert_int_equal(proxy_header_parse(slice_make(copy, in.n), &h), -1);
	assert_false(h.known);
	test_free(copy);
}

static void
reads_lines(void **state)
{
	reads_as(SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), "192.0.2.1:56324", "198.51.100.2:443");
	reads_as(SLICE("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"), "0.0.0.0:0", "255.255.255.255:65535");
	reads_as(SLICE("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "[2001:db8::1]:1", "[::1]:2");
	reads_as(SLICE("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n"), "192.0.2.1:1", "192.0.2.2:2");
	reads_as(SLICE("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n"),
	    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535");
	reads_unknown(SLICE("PROXY UNKNOWN\r\n"));
	reads_unknown(SLICE("PROXY UNKNOWN whatever this is\r\n"));
	reads_unknown(SLICE("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"));
}

static void
refuses_other_lines(void **state)
{
	static const struct slice bad[] = {
		SLICE("G"), SLICE("PROXZ"), SLICE("proxy "), SLICE(" PROXY"), SLICE("PROXY\tTCP4"),
		SLICE("PROXY\r\n"), SLICE("PROXY \r\n"), SLICE("PROXY TCP4\r\n"), SLICE("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n"),
		SLICE("PROXY UNKNOWNX\r\n"), SLICE("PROXY UNKNOWN\n"), SLICE("PROXY UNKNOWN\rX"),
		SLICE("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"), SLICE("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"),
		SLICE("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"), SLICE("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"),
		SLICE("PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n"), SLICE("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"),
		SLICE("PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n"), SLICE("PROXY TCP4 1.1.1.1 2.2.2.2  2\r\n"),
		SLICE("PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n"), SLICE("PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n"),
		SLICE("PROXY TCP4 ::1 ::2 1 2\r\n"), SLICE("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"),
		SLICE("PROXY TCP6 [::1] ::2 1 2\r\n"), SLICE("PROXY TCP6 fe80::1%1 ::2 1 2\r\n"),
		SLICE("PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n"), SLICE("PROXY UNKNOWN \x80\r\n"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		refuses(bad[i]);
}

static void
bounds_the_line(void **state)
{
	char line[PROXY_HEADER_V1_MAX + 2];
	struct proxy_header h;

	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	memcpy(line + PROXY_HEADER_V1_MAX - 2, "\r\n", 2);
	reads_unknown(slice_make(line, PROXY_HEADER_V1_MAX));
	memcpy(line + PROXY_HEADER_V1_MAX - 2, "x\r\n", 3);
	assert_int_equal(proxy_header_parse(slice_make(line, PROXY_HEADER_V1_MAX - 1), &h), 0);
	refuses(slice_make(line, PROXY_HEADER_V1_MAX));
	refuses(slice_make(line, PROXY_HEADER_V1_MAX + 1));
}

#define V4_BLOCK "\xc0\x00\x02\x01" "\xc6\x33\x64\x02" "\xdc\x04" "\x01\xbb"
#define V6_HOST "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0"

static void
reads_binary(void **state)
{
	reads_as(SLICE(SIGNATURE "\x21\x11\0\x0c" V4_BLOCK), "192.0.2.1:56324", "198.51.100.2:443");
	reads_as(SLICE(SIGNATURE "\x21\x12\0\x0c" V4_BLOCK), "192.0.2.1:56324", "198.51.100.2:443");
	reads_as(SLICE(SIGNATURE "\x21\x21\0\x24" V6_HOST "\x01" V6_HOST "\x02" "\0\x50\x1f\x90"),
	    "[2001:db8::1]:80", "[2001:db8::2]:8080");
	reads_as(SLICE(SIGNATURE "\x21\x11\0\x15" V4_BLOCK "\x04\0\0" "\xe0\0\x03" "abc"),
	    "192.0.2.1:56324", "198.51.100.2:443");
	reads_unknown(SLICE(SIGNATURE "\x20\0\0\0"));
	reads_unknown(SLICE(SIGNATURE "\x20\x11\0\x0c" V4_BLOCK));
	reads_unknown(SLICE(SIGNATURE "\x20\xff\0\x02" "ab"));
	reads_unknown(SLICE(SIGNATURE "\x21\0\0\0"));
	reads_unknown(SLICE(SIGNATURE "\x21\0\0\x02" "ab"));
}

static void
reads_paths(void **state)
{
	char whole[16 + 216] = SIGNATURE "\x21\x31\0\xd8";
	struct proxy_header h;

	strcpy(whole + 16, "/run/a.sock");
	memset(whole + 16 + 108, 'p', 108);
	reads(slice_make(whole, sizeof(whole)), SLICE("x"), &h);
	assert_true(h.known);
	assert_string_equal(shown(&h.src), "unix:/run/a.sock");
	assert_int_equal(h.dst.n, sizeof(sa_family_t) + 108);

	memset(whole + 16, 0, 216);
	whole[16 + 109] = 'a';
	reads(slice_make(whole, sizeof(whole)), SLICE("x"), &h);
	assert_true(h.known);
	assert_string_equal(shown(&h.src), "unix:");
	assert_string_equal(shown(&h.dst), "unix:@a");
}

static void
refuses_other_binary(void **state)
{
	static const struct slice bad[] = {
		SLICE("\r\n\r\r"), SLICE(SIGNATURE "\x11"), SLICE(SIGNATURE "\x22"), SLICE(SIGNATURE "\x31"),
		SLICE(SIGNATURE "\x21\x11\0\x0b" V4_BLOCK), SLICE(SIGNATURE "\x21\x21\0\x0c" V4_BLOCK),
		SLICE(SIGNATURE "\x21\x10\0\x0c" V4_BLOCK), SLICE(SIGNATURE "\x21\x13\0\x0c" V4_BLOCK),
		SLICE(SIGNATURE "\x21\x01\0\x0c" V4_BLOCK), SLICE(SIGNATURE "\x21\x41\0\x0c" V4_BLOCK),
		SLICE(SIGNATURE "\x21\x11\x10\x01"), SLICE(SIGNATURE "\x20\0\xff\xff"),
		SLICE(SIGNATURE "\x21\x11\0\x0f" V4_BLOCK "\x04\0\x01"),
		SLICE(SIGNATURE "\x21\x11\0\x0d" V4_BLOCK "\x04"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		refuses(bad[i]);
}

static void
reads_the_largest(void **state)
{
	static char whole[16 + PROXY_HEADER_V2_MAX] = SIGNATURE "\x21\x11\x10\0" V4_BLOCK "\x04\x0f\xf1";

	reads_as(slice_make(whole, sizeof(whole)), "192.0.2.1:56324", "198.51.100.2:443");
}

static void
writes_back(const char *src, const char *dst, const char *line)
{
	struct addr a, b;
	char memory[PROXY_HEADER_WRITTEN];
	struct builder to = builder_on(memory, sizeof(memory));

	assert_true(addr_parse(slice_of(src), &a) && addr_parse(slice_of(dst), &b));
	proxy_header_write_v1(&to, &a, &b);
	assert_false(to.full);
	assert_true(slice_is(builder_slice(&to), line));

	to = builder_on(memory, sizeof(memory));
	proxy_header_write_v2(&to, &a, &b);
	assert_false(to.full);
	addr_unmap(&a);
	addr_unmap(&b);
	if (addr_is_unix(&a) != addr_is_unix(&b) && addr_is_unix(&a)) {
		reads_unknown(builder_slice(&to));
		return;
	}

	struct proxy_header h;

	reads(builder_slice(&to), SLICE("x"), &h);
	assert_true(h.known);
	assert_true(addr_equal(&h.src, &a));
	assert_true(addr_is_unix(&a) == addr_is_unix(&b) ? addr_equal(&h.dst, &b) : addr_port(&h.dst) == 0);
	if (slice_starts(slice_of(line), SLICE("PROXY TCP"))) {
		reads(slice_of(line), SLICE("x"), &h);
		assert_true(h.known);
		assert_true(addr_equal(&h.src, &a));
	}
}

static void
writes_what_it_reads(void **state)
{
	writes_back("192.0.2.1:56324", "198.51.100.2:443", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
	writes_back("[2001:db8::1]:1", "[::1]:65535", "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
	writes_back("[::ffff:10.0.0.1]:1", "10.0.0.2:2", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n");
	writes_back("unix:/run/a", "unix:/run/b", "PROXY UNKNOWN\r\n");
	/* a client that a proxy told us of (real_ip), over a connection of another family */
	writes_back("10.0.0.1:1", "[::1]:2", "PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n");
	writes_back("[2001:db8::1]:1", "10.0.0.1:2", "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 1 2\r\n");
	writes_back("10.0.0.1:1", "unix:/run/b", "PROXY TCP4 10.0.0.1 0.0.0.0 1 0\r\n");
	writes_back("[2001:db8::1]:0", "unix:/run/b", "PROXY TCP6 2001:db8::1 :: 0 0\r\n");
	writes_back("unix:/run/a", "10.0.0.1:1", "PROXY UNKNOWN\r\n");
}

static void
writes_nameless_ends(void **state)
{
	struct addr nameless = { .local.sun_family = AF_UNIX, .n = sizeof(sa_family_t) }, none = { .n = 0 };
	char memory[PROXY_HEADER_WRITTEN];
	struct builder to = builder_on(memory, sizeof(memory));
	struct proxy_header h;

	proxy_header_write_v2(&to, &nameless, &nameless);
	reads(builder_slice(&to), SLICE(""), &h);
	assert_true(h.known);
	assert_string_equal(shown(&h.src), "unix:");

	to = builder_on(memory, sizeof(memory));
	proxy_header_write_v2(&to, &none, &nameless);
	reads_unknown(builder_slice(&to));
	to = builder_on(memory, sizeof(memory));
	proxy_header_write_v1(&to, &none, &none);
	assert_true(slice_is(builder_slice(&to), "PROXY UNKNOWN\r\n"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_lines),
		cmocka_unit_test(refuses_other_lines),
		cmocka_unit_test(bounds_the_line),
		cmocka_unit_test(reads_binary),
		cmocka_unit_test(reads_paths),
		cmocka_unit_test(refuses_other_binary),
		cmocka_unit_test(reads_the_largest),
		cmocka_unit_test(writes_what_it_reads),
		cmocka_unit_test(writes_nameless_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
