/* SPDX-License-Identifier: BSD-2-Clause */
#include "exchange_case.h"
#include "core/request_id.h"

/* The vector of the cipher's paper. */
static void
enciphers(void **state)
{
	const uint64_t key[2] = { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) };
	uint64_t block[2] = { UINT64_C(0x7469206564616d20), UINT64_C(0x6c61766975716520) };

	request_id_encipher(key, block);
	assert_true(block[1] == UINT64_C(0xa65d985179783265));
	assert_true(block[0] == UINT64_C(0x7860fedf5c570d18));
}

static void
stays_and_differs(void **state)
{
	struct exchange_case c;
	char seen[64][REQUEST_ID];

	exchange_open(&c, "");
	for (size_t i = 0; i < ARRAY_COUNT(seen); i++) {
		/* as a worker that has started anew */
		if (i % 8 == 0)
			assert_true(request_ids_open(&c.engine.request_ids));
		c.ex.id = SLICE_EMPTY;

		struct slice id = request_id(&c.ex);

		assert_int_equal(id.n, REQUEST_ID);
		assert_true(slice_equal(request_id(&c.ex), id));
		assert_true(request_id_is_sound(id));
		for (size_t j = 0; j < id.n; j++)
			assert_non_null(strchr("0123456789abcdef", id.at[j]));
		memcpy(seen[i], id.at, REQUEST_ID);
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(seen[j], seen[i], REQUEST_ID);
	}
	exchange_close(&c);
}

static void
sound(void **state)
{
	char longest[REQUEST_ID_MAX + 1];

	memset(longest, 'x', sizeof(longest));
	assert_true(request_id_is_sound(slice_make(longest, REQUEST_ID_MAX)));
	assert_false(request_id_is_sound(slice_make(longest, REQUEST_ID_MAX + 1)));
	assert_true(request_id_is_sound(SLICE("a-B_9.~/+=:;,{}")));
	assert_false(request_id_is_sound(SLICE_EMPTY));
	for (int c = 0; c < 256; c++) {
		char text[3] = { 'a', (char)c, 'b' };

		assert_int_equal(request_id_is_sound(slice_make(text, 3)),
		    c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\');
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enciphers),
		cmocka_unit_test(stays_and_differs),
		cmocka_unit_test(sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
