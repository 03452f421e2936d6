/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/frame/{number,checksum,boundary}: numbers of every form there and back, cut at every byte;
 * checksums against the values everybody publishes; boundaries that overlap.
 */
#include "frame_case.h"

static const struct number forms[] = {
	U(1), U(2), U(3), U(4), U(8), U_LITTLE(2), U_LITTLE(3), U_LITTLE(4), U_LITTLE(8),
	{ .form = NUMBER_SIGNED, .width = 1 }, { .form = NUMBER_SIGNED, .width = 3, .little = true }, { .form = NUMBER_SIGNED, .width = 8 },
	DECIMAL(1), DECIMAL(10), DECIMAL(19), HEX(1), HEX(8), HEX(16), UNTIL(':'), HEX_UNTIL('\n'), VARINT, MQTT,
};

static void
goes_there_and_back(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
		const struct number *n = &forms[i];

		for (unsigned bit = 0; bit < 64 * 3; bit++) {
			uint64_t value = (UINT64_C(1) << bit / 3) + bit % 3 - 1, got;
			char wire[32];
			size_t size = number_size(n, value), taken;

			if (n->form == NUMBER_SIGNED && (bit & 1) != 0)
				value = -value;
			if (!number_fits(n, value)) {
				assert_true(value > number_most(n) || n->form == NUMBER_SIGNED || number_varies(n));
				continue;
			}
			assert_true(size <= sizeof(wire));
			number_put(n, value, wire);
			for (size_t cut = 0; cut < size; cut++)
				assert_int_equal(number_read(n, slice_make(wire, cut), &got, &taken), NUMBER_MORE);
			assert_int_equal(number_read(n, slice_make(wire, size), &got, &taken), NUMBER_GOOD);
			assert_true(got == value);
			assert_int_equal(taken, size);
		}
	}
}

static void
knows_its_most(void **state)
{
	for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
		uint64_t most = number_most(&forms[i]);

		if ((number_varies(&forms[i]) && forms[i].form != NUMBER_MQTT) || (forms[i].form == NUMBER_SIGNED && forms[i].width == 8))
			continue;
		assert_true(number_fits(&forms[i], most));
		assert_false(most != UINT64_MAX && number_fits(&forms[i], most + 1));
	}
	assert_true(number_most(&(struct number)U(3)) == 0xffffff);
	assert_true(number_most(&(struct number)DECIMAL(3)) == 999);
	assert_true(number_most(&(struct number)HEX(16)) == UINT64_MAX);
}

static void
reads_what_others_write(void **state)
{
	static const struct {
		struct number n;
		struct slice wire;
		enum number_verdict verdict;
		uint64_t value;
	} rows[] = {
		{ U(3), SLICE("\1\2\3"), NUMBER_GOOD, 0x010203 }, { U_LITTLE(3), SLICE("\1\2\3"), NUMBER_GOOD, 0x030201 },
		{ VARINT, SLICE("\xac\2"), NUMBER_GOOD, 300 }, { VARINT, SLICE("\x80\0"), NUMBER_GOOD, 0 }, { VARINT, SLICE("\x80"), NUMBER_MORE, 0 },
		{ MQTT, SLICE("\xc1\2"), NUMBER_GOOD, 321 }, { MQTT, SLICE("\xff\xff\xff\x7f"), NUMBER_GOOD, 268435455 }, { MQTT, SLICE("\0"), NUMBER_GOOD, 0 },
		{ HEX(4), SLICE("aBcD"), NUMBER_GOOD, 0xabcd }, { HEX(4), SLICE("0x12"), NUMBER_BAD, 0 }, { DECIMAL(2), SLICE("1a"), NUMBER_BAD, 0 },
		{ DECIMAL(2), SLICE(" 1"), NUMBER_BAD, 0 }, { UNTIL(':'), SLICE("007:"), NUMBER_GOOD, 7 }, { UNTIL(':'), SLICE(""), NUMBER_MORE, 0 },
		{ HEX_UNTIL(':'), SLICE("fF:"), NUMBER_GOOD, 255 }, { HEX_UNTIL(':'), SLICE("fg"), NUMBER_BAD, 0 }, { UNTIL(':'), SLICE(":1"), NUMBER_BAD, 0 },
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		uint64_t value = 0;
		size_t taken = 0;

		assert_int_equal(number_read(&rows[i].n, rows[i].wire, &value, &taken), rows[i].verdict);
		assert_true(rows[i].verdict != NUMBER_GOOD || (value == rows[i].value && taken == rows[i].wire.n));
	}
}

static void
sums_as_everybody_does(void **state)
{
	assert_int_equal(checksum(CHECKSUM_CRC16_MODBUS, SLICE("123456789")), 0x4b37);
	assert_int_equal(checksum(CHECKSUM_CRC32, SLICE("123456789")), 0xcbf43926);
	assert_int_equal(checksum(CHECKSUM_XOR8, SLICE("123456789")), 0x31);
	assert_int_equal(checksum(CHECKSUM_CRC16_MODBUS, SLICE("")), 0xffff);
	assert_int_equal(checksum(CHECKSUM_CRC32, SLICE("")), 0);
	/* a question of modbus rtu */
	assert_int_equal(checksum(CHECKSUM_CRC16_MODBUS, SLICE("\1\3\0\0\0\xa")), 0xcdc5);
}

static void
finds_boundaries(void **state)
{
	static struct boundary rows[] = {
		ANY(SLICE("\n")), ANY(SLICE("aab")), ANY_OF(SLICE("\r\n"), SLICE("\n")), ANY_OF(SLICE("ab"), SLICE("aabc")),
		{ .any = { SLICE("a"), SLICE("b"), SLICE("cb"), SLICE("\xff") }, .count = 4 },
	};
	char text[14];
	uint32_t seed = 1;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		int by;

		boundary_prepare(&rows[i]);
		assert_int_equal(boundary_hidden(&rows[i], &by), i == 3 ? 1 : -1);
		for (unsigned round = 0; round < 3000; round++) {
			size_t n = round % sizeof(text), lower = round % 3, want = 0, want_length = 0, length = 0;

			for (size_t k = 0; k < n; k++)
				text[k] = "ab\r\n"[(seed = seed * 1664525 + 1013904223) >> 24 & 3];
			/* the plain way: the first end, the longest there */
			for (size_t end = 1; end <= n && want == 0; end++) {
				for (size_t k = 0; k < rows[i].count; k++) {
					size_t m = rows[i].any[k].n;

					if (m <= end && end - m >= lower && m > want_length && memcmp(text + end - m, rows[i].any[k].at, m) == 0) {
						want = end;
						want_length = m;
					}
				}
			}
			assert_int_equal(boundary_find(&rows[i], slice_make(text, n), lower, 0, &length), want);
			assert_true(want == 0 || length == want_length);
			/* gone on from where it stopped */
			for (size_t from = 0; from < want; from++)
				assert_int_equal(boundary_find(&rows[i], slice_make(text, n), lower, from, &length), want);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_there_and_back),
		cmocka_unit_test(knows_its_most),
		cmocka_unit_test(reads_what_others_write),
		cmocka_unit_test(sums_as_everybody_does),
		cmocka_unit_test(finds_boundaries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
