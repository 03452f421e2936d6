/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/map: SipHash-1-3 against values that another implementation gave (key
 * zero), and a table that is filled, changed and asked for what is not in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/map.h"

static void
hashes_as_others_do(void **state)
{
	/* of the first n letters */
	static const uint64_t want[] = { 0, UINT64_C(0x407448d2b89b1813),
		UINT64_C(0x555508cbc6add439), UINT64_C(0xc03bc3a0042630f2),
		UINT64_C(0xe3d1d5fdd52aae89), UINT64_C(0x251f3c725bd784a2),
		UINT64_C(0x62207e654289df28), UINT64_C(0x6db12aae9070f506),
		UINT64_C(0x3f7b849c0b8e35ea), UINT64_C(0xf89b34a3d11eb6e5),
		UINT64_C(0xf47c264806c40ff1), UINT64_C(0x14215fc65e2c3bd4),
		UINT64_C(0x83275255f37565c1), UINT64_C(0x954aa964997ae4e6),
		UINT64_C(0xfdbd7fa99ace11da), UINT64_C(0x1fd27a29b0e9dc7a),
		UINT64_C(0x94f60d3d29e6a312), UINT64_C(0x61c47e6da27eaccc) };

	for (size_t n = 1; n < ARRAY_COUNT(want); n++) {
		assert_int_equal(hash_bytes(slice_make("abcdefghijklmnopq", n)), want[n]);
		assert_int_equal(hash_bytes_nocase(slice_make("AbCdEfGhIjKlMnOpQ", n)), want[n]);
	}
	assert_int_equal(hash_bytes((struct slice){ 0 }), hash_bytes(SLICE_EMPTY));
}

static void
depends_on_the_key(void **state)
{
	uint64_t zero = hash_bytes(SLICE("x"));

	hash_seed(1, 0);
	uint64_t one = hash_bytes(SLICE("x"));
	hash_seed(0, 1);
	uint64_t other = hash_bytes(SLICE("x"));
	hash_seed(0, 0);
	assert_int_not_equal(zero, one);
	assert_int_not_equal(zero, other);
	assert_int_not_equal(one, other);
	assert_int_equal(hash_bytes(SLICE("x")), zero);
}

static void
fingerprints(void **state)
{
	/* FNV-1a of "", "a" and "foobar", as its authors published them */
	assert_int_equal(fingerprint_add(FINGERPRINT_START, "", 0), UINT64_C(0xcbf29ce484222325));
	assert_int_equal(fingerprint_add(FINGERPRINT_START, "a", 1), UINT64_C(0xaf63dc4c8601ec8c));

	uint64_t so_far = fingerprint_add(FINGERPRINT_START, "foo", 3);

	assert_int_equal(fingerprint_add(so_far, "bar", 3), UINT64_C(0x85944171f73967e8));
}

static void
finds_what_was_added(void **state)
{
	enum { KEYS = 20000 };
	static int values[KEYS];
	struct arena a;
	struct map m;

	arena_init(&a, NULL, 0);
	map_init(&m, &a, false);
	assert_null(map_find(&m, SLICE("key0")));
	for (int i = 0; i < KEYS; i++) {
		assert_true(map_add(&m, slice_of(arena_printf(&a, "key%d", i)), &values[i]));
		assert_true(m.count * 4 <= m.room * 3);
	}
	assert_int_equal(m.count, KEYS);
	for (int i = 0; i < 2 * KEYS; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%d", i);
		assert_ptr_equal(map_find(&m, slice_of(key)), i < KEYS ? &values[i] : NULL);
	}
	arena_reset(&a);
}

static void
adds_once_and_sets_always(void **state)
{
	int one, two;
	struct arena a;
	struct map m;

	arena_init(&a, NULL, 0);
	map_init(&m, &a, false);
	assert_true(map_add(&m, SLICE("a"), &one));
	assert_false(map_add(&m, SLICE("a"), &two));
	assert_ptr_equal(map_find(&m, SLICE("a")), &one);
	map_set(&m, SLICE("a"), &two);
	assert_ptr_equal(map_find(&m, SLICE("a")), &two);
	map_set(&m, SLICE("b"), &one);
	assert_ptr_equal(map_find(&m, SLICE("b")), &one);
	assert_int_equal(m.count, 2);
	assert_null(map_find(&m, SLICE("A")));
	assert_true(map_add(&m, SLICE_EMPTY, &one));
	assert_ptr_equal(map_find(&m, (struct slice){ 0 }), &one);
	assert_true(map_add(&m, SLICE("a\0b"), &one));
	assert_null(map_find(&m, SLICE("a\0c")));
	arena_reset(&a);
}

static void
ignores_case_if_told(void **state)
{
	int one, two;
	struct arena a;
	struct map m;

	arena_init(&a, NULL, 0);
	map_init(&m, &a, true);
	assert_true(map_add(&m, SLICE("Content-Length"), &one));
	assert_false(map_add(&m, SLICE("content-length"), &two));
	assert_ptr_equal(map_find(&m, SLICE("CONTENT-LENGTH")), &one);
	assert_null(map_find(&m, SLICE("CONTENT_LENGTH")));
	assert_null(map_find(&m, SLICE("CONTENT-LENGT")));
	arena_reset(&a);
}

/* Whatever is taken out of whatever run of entries: the others are found. */
static void
finds_what_is_left(void **state)
{
	enum { KEYS = 500 };
	static int values[KEYS];
	struct slice keys[KEYS];
	struct arena a;
	struct map m;

	arena_init(&a, NULL, 0);
	map_init(&m, &a, false);
	assert_null(map_remove(&m, SLICE("0")));
	for (int i = 0; i < KEYS; i++) {
		keys[i] = slice_of(arena_printf(&a, "%d", i));
		assert_true(map_add(&m, keys[i], &values[i]));
	}
	for (int i = 0; i < KEYS; i++) {
		int gone = i * 7 % KEYS;

		assert_ptr_equal(map_remove(&m, keys[gone]), &values[gone]);
		assert_null(map_remove(&m, keys[gone]));
		values[gone] = 1;
		for (int k = 0; k < KEYS; k++)
			assert_ptr_equal(map_find(&m, keys[k]), values[k] != 0 ? NULL : &values[k]);
	}
	assert_int_equal(m.count, 0);

	size_t room = m.room;

	for (int i = 0; i < 20 * KEYS; i++) {
		assert_true(map_add(&m, keys[i % KEYS], &values[0]));
		assert_non_null(map_remove(&m, keys[i % KEYS]));
	}
	assert_int_equal(m.room, room);
	arena_reset(&a);
}

/* Entries whose hashes are equal are told apart by their keys. */
static void
survives_collisions(void **state)
{
	struct arena a;
	struct map m;
	char keys[6] = "abcdef";

	arena_init(&a, NULL, 0);
	map_init(&m, &a, false);
	for (int i = 0; i < 6; i++)
		assert_true(map_add(&m, slice_make(&keys[i], 1), &keys[i]));

	/* all are moved to the one place that "g" goes to, and claim its hash */
	uint64_t hash = hash_bytes(SLICE("g"));

	memset(m.entries, 0, m.room * sizeof(*m.entries));
	for (size_t i = 0; i < 6; i++)
		m.entries[(hash + i) & (m.room - 1)] =
		    (struct map_entry){ slice_make(&keys[i], 1), hash, &keys[i] };
	assert_null(map_find(&m, SLICE("g")));
	m.entries[(hash + 5) & (m.room - 1)].key = SLICE("g");
	assert_ptr_equal(map_find(&m, SLICE("g")), &keys[5]);
	arena_reset(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_as_others_do),
		cmocka_unit_test(depends_on_the_key),
		cmocka_unit_test(fingerprints),
		cmocka_unit_test(finds_what_was_added),
		cmocka_unit_test(adds_once_and_sets_always),
		cmocka_unit_test(ignores_case_if_told),
		cmocka_unit_test(finds_what_is_left),
		cmocka_unit_test(survives_collisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
