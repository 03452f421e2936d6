/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/scratch: windows and pieces do not overlap, a reset keeps two blocks
 * and forgets the rest, and what the pass left behind is hidden.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/scratch.h"

enum { BLOCK = 256 * 1024 };

static void
keeps_what_was_taken(void **state)
{
	struct scratch s;
	struct { char *at; size_t n; } pieces[600];

	scratch_init(&s);
	for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
		pieces[i].n = i * 37 % 3001;
		if (i % 2 == 0) {
			pieces[i].at = scratch_alloc(&s, pieces[i].n);
		} else {
			pieces[i].at = scratch_window(&s, SCRATCH_WINDOW);
			memset(pieces[i].at, 0, SCRATCH_WINDOW);
			scratch_take(&s, pieces[i].n);
		}
		assert_non_null(pieces[i].at);
		assert_int_equal((uintptr_t)pieces[i].at % 8, 0);
		memset(pieces[i].at, (int)(i & 255), pieces[i].n);
	}
	for (size_t i = 0; i < ARRAY_COUNT(pieces); i++)
		for (size_t k = 0; k < pieces[i].n; k++)
			assert_int_equal((uint8_t)pieces[i].at[k], i & 255);
	scratch_free(&s);
}

static void
reads_go_one_behind_the_other(void **state)
{
	struct scratch s;

	scratch_init(&s);

	char *first = scratch_window(&s, 1000);

	assert_ptr_equal(scratch_window(&s, 1000), first);   /* nothing was taken */
	scratch_take(&s, 0);
	assert_ptr_equal(scratch_window(&s, 1000), first);
	scratch_take(&s, 13);
	assert_ptr_equal(scratch_window(&s, 1000), first + 16);
	scratch_take(&s, 1000);                              /* all of it */
	assert_ptr_equal(scratch_alloc(&s, 1), first + 1016);
	scratch_free(&s);
}

static void
fills_a_block_to_its_last_byte(void **state)
{
	struct scratch s;

	scratch_init(&s);

	size_t room = (size_t)(s.end - s.at);
	char *window = scratch_window(&s, room);

	memset(window, 1, room);
	scratch_take(&s, room);
	assert_ptr_equal(s.at, s.end);
	memset(scratch_alloc(&s, 8), 2, 8);
	assert_int_equal(window[room - 1], 1);
	scratch_free(&s);
}

static void
serves_what_is_larger_than_a_block(void **state)
{
	struct scratch s;

	scratch_init(&s);
	memset(scratch_alloc(&s, BLOCK * 3 + 1), 1, BLOCK * 3 + 1);
	memset(scratch_window(&s, BLOCK + 5), 2, BLOCK + 5);
	scratch_take(&s, BLOCK + 5);
	scratch_reset(&s);
	assert_in_range(s.end - s.at, BLOCK - 64, BLOCK);
	assert_null(s.spare);
	scratch_free(&s);
}

static void
keeps_two_blocks(void **state)
{
	struct scratch s;

	scratch_init(&s);
	for (int pass = 0; pass < 3; pass++) {
		for (int i = 0; i < 10; i++)
			memset(scratch_alloc(&s, BLOCK / 2 + 1), i, BLOCK / 2 + 1);
		scratch_reset(&s);
		assert_non_null(s.spare);

		struct scratch_block *current = s.blocks, *spare = s.spare;

		scratch_alloc(&s, BLOCK / 2 + 1);
		assert_ptr_equal(s.blocks, current);
		scratch_alloc(&s, BLOCK / 2 + 1);
		assert_ptr_equal(s.blocks, spare);
	}
	scratch_reset(&s);

	char *at = s.at;

	scratch_alloc(&s, 100);
	scratch_reset(&s);
	assert_ptr_equal(s.at, at);
	scratch_free(&s);
}

static char *
filled(size_t n, int with)
{
	return memset(memory_alloc(n), with, n);
}

static bool
is_filled(const char *at, size_t n, int with)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] != with)
			return false;
	return true;
}

/* Views of it are still read in this pass: not a byte may change. */
static void
frees_later(void **state)
{
	static const size_t sizes[] = { 1, 7, 8, 100, 4096 };
	char *memory[ARRAY_COUNT(sizes)];
	struct scratch s;

	scratch_init(&s);
	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
		memory[i] = filled(sizes[i], (int)i + 'a');
		scratch_free_later(&s, memory[i]);
	}
	memset(scratch_alloc(&s, BLOCK / 2), 'x', BLOCK / 2);
	memset(scratch_alloc(&s, BLOCK / 2), 'x', BLOCK / 2);    /* in another block than the list */
	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
		assert_true(is_filled(memory[i], sizes[i], (int)i + 'a'));
	scratch_reset(&s);
	assert_null(s.later);
#ifdef MEMORY_HIDES
	assert_int_equal(__asan_address_is_poisoned(memory[4]), 1);
#endif
	for (int i = 0; i < 20000; i++)                          /* the list may need blocks of its own */
		scratch_free_later(&s, memory_alloc(1));
	scratch_reset(&s);
	scratch_free_later(&s, memory_alloc(8));                 /* what is left is found by the leak check */
	scratch_free(&s);
}

static void
hides_what_is_free(void **state)
{
#ifdef MEMORY_HIDES
	struct scratch s;

	scratch_init(&s);
	assert_int_equal(__asan_address_is_poisoned(s.at), 1);

	char *p = scratch_alloc(&s, 5);

	assert_null(__asan_region_is_poisoned(p, 5));
	assert_int_equal(__asan_address_is_poisoned(p + 5), 1);

	char *w = scratch_window(&s, 100);

	assert_null(__asan_region_is_poisoned(w, 100));
	scratch_take(&s, 10);
	assert_null(__asan_region_is_poisoned(w, 10));
	assert_int_equal(__asan_address_is_poisoned(w + 10), 1);
	scratch_reset(&s);
	assert_int_equal(__asan_address_is_poisoned(p), 1);
	assert_int_equal(__asan_address_is_poisoned(w), 1);

	char *far = scratch_alloc(&s, BLOCK / 2 + 1);

	scratch_alloc(&s, BLOCK / 2 + 1);        /* so that `far` is in the spare one */
	scratch_reset(&s);
	assert_int_equal(__asan_address_is_poisoned(far), 1);
	scratch_free(&s);
#else
	skip();
#endif
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_was_taken),
		cmocka_unit_test(reads_go_one_behind_the_other),
		cmocka_unit_test(fills_a_block_to_its_last_byte),
		cmocka_unit_test(serves_what_is_larger_than_a_block),
		cmocka_unit_test(keeps_two_blocks),
		cmocka_unit_test(frees_later),
		cmocka_unit_test(hides_what_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
