/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/shared: an equal key is the same memory, also for a fork; what the
 * region does not hold is not given; what nobody names any more is given to others, zeroed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/shared.h"

static struct shared region;

static int
open_region(void **state)
{
	return shared_open(&region, 1024) ? 0 : -1;
}

static int
close_region(void **state)
{
	shared_close(&region);
	shared_close(&region);
	return 0;
}

static struct shared_key
key(uint32_t kind, uint32_t size, const char *name)
{
	struct shared_key k = { .kind = kind, .size = size };

	snprintf(k.name, sizeof(k.name), "%s", name);
	return k;
}

static uint64_t
take(uint32_t kind, uint32_t size, const char *name)
{
	struct shared_key k = key(kind, size, name);
	uint64_t offset = UINT64_MAX;

	assert_true(shared_take(&region, &k, &offset));
	return offset;
}

static void
equal_keys_are_one(void **state)
{
	uint64_t first = take(SHARED_PEER, 48, "a");

	assert_int_equal(take(SHARED_PEER, 48, "a"), first);
	assert_int_not_equal(take(SHARED_PEER, 48, "b"), first);
	assert_int_not_equal(take(SHARED_LIMIT, 48, "a"), first);
	assert_int_not_equal(take(SHARED_PEER, 64, "a"), first);
	assert_int_equal(take(SHARED_PEER, 48, "a"), first);
	assert_int_equal(region.used, 4 * SHARED_ALIGN);
}

static void
bytes_behind_the_name_do_not_count(void **state)
{
	struct shared_key k = key(SHARED_PEER, 48, "a");
	uint64_t offset;

	memset(k.name + 2, 'x', SHARED_NAME - 2);
	assert_true(shared_take(&region, &k, &offset));
	assert_int_equal(take(SHARED_PEER, 48, "a"), offset);
	memset(k.name, 'y', SHARED_NAME);
	assert_true(shared_take(&region, &k, &offset));
}

static void
objects_are_apart_and_zero(void **state)
{
	uint64_t a = take(SHARED_PEER, 65, "a"), b = take(SHARED_PEER, 1, "b");
	unsigned char *at = shared_at(&region, a, 65);

	assert_int_equal(a % SHARED_ALIGN, 0);
	assert_int_equal(b, a + 2 * SHARED_ALIGN);
	for (int i = 0; i < 65; i++)
		assert_int_equal(at[i], 0);
	memset(at, 0xff, 65);
	assert_int_equal(*(unsigned char *)shared_at(&region, b, 1), 0);
}

static void
full_is_refused(void **state)
{
	struct shared_key k = key(SHARED_PEER, 1024, "all"), one = key(SHARED_PEER, 1, "one"),
	    none = key(SHARED_PEER, 0, "none"), much = key(SHARED_PEER, UINT32_MAX, "much");
	uint64_t offset;

	assert_false(shared_take(&region, &none, &offset));
	assert_false(shared_take(&region, &much, &offset));
	assert_true(shared_take(&region, &k, &offset));
	assert_false(shared_take(&region, &one, &offset));
	assert_true(shared_take(&region, &k, &offset));
}

static void
places_outside_are_none(void **state)
{
	assert_non_null(shared_at(&region, 0, 1024));
	assert_null(shared_at(&region, 0, 1025));
	assert_null(shared_at(&region, 64, 1024));
	assert_null(shared_at(&region, 1, 1));
	assert_null(shared_at(&region, 1024, 1));
	assert_null(shared_at(&region, UINT64_MAX - 63, 128));
	assert_non_null(shared_at(&region, 960, 64));
}

/* A child foretells the offset, and writes where the parent reads. */
static void
fork_agrees(void **state)
{
	take(SHARED_PEER, 48, "before");
	pid_t pid = fork();
	if (pid == 0) {
		shared_foretell(&region);
		uint64_t offset = take(SHARED_PEER, 8, "after");

		*(uint64_t *)shared_at(&region, offset, 8) = offset + 1;
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	uint64_t offset = take(SHARED_PEER, 8, "after");
	assert_int_equal(*(uint64_t *)shared_at(&region, offset, 8), offset + 1);
}

/* Two masters side by side: what one has handed out is not the other's to hand out. */
static void
another_goes_on(void **state)
{
	struct shared other;
	struct shared_key a = key(SHARED_PEER, 48, "a"), c = key(SHARED_PEER, 48, "c");
	struct shared_place place = { .key = a, .offset = take(SHARED_PEER, 48, "a") };
	uint64_t offset;

	assert_true(shared_inherit(&other, dup(region.fd)));
	assert_int_equal(other.size, 1024);
	assert_true(shared_know(&other, &place));
	assert_true(shared_take(&other, &a, &offset));
	assert_int_equal(offset, place.offset);
	assert_true(shared_take(&other, &c, &offset));
	assert_int_equal(offset, SHARED_ALIGN);
	assert_int_equal(take(SHARED_PEER, 48, "b"), 2 * SHARED_ALIGN);
	*(char *)shared_at(&other, offset, 1) = 'c';
	assert_int_equal(*(char *)shared_at(&region, offset, 1), 'c');
	shared_close(&other);
	assert_int_equal(take(SHARED_PEER, 48, "d"), 3 * SHARED_ALIGN);
}

static void
name(const char *what, uint32_t size, uint64_t generation)
{
	struct shared_key k = key(SHARED_PEER, size, what);

	shared_name(&region, &k, generation);
}

static void
sweep(struct shared *s, uint64_t oldest)
{
	shared_sweep(s, &(struct shared_span){ oldest, UINT64_MAX }, 1);
}

/* 200,000 names, of which few are in use at a time; each finds zeroes, and its neighbours lose nothing. */
static void
what_is_gone_is_others_to_have(void **state)
{
	uint64_t stays = take(SHARED_PEER, 48, "stays");

	memset(shared_at(&region, stays, 48), 'x', 48);
	for (uint64_t generation = 1; generation < 50000; generation++) {
		uint64_t offsets[4];
		char names[4][16];

		sweep(&region, generation - 1);
		for (uint32_t i = 0; i < 4; i++) {
			snprintf(names[i], sizeof(names[i]), "%u", (unsigned)generation * 4 + i);
			offsets[i] = take(SHARED_PEER, i == 2 ? 65 : 64, names[i]);
			assert_int_equal(*(char *)shared_at(&region, offsets[i], 64), 0);
			memset(shared_at(&region, offsets[i], 64), 'y', 64);
			name(names[i], i == 2 ? 65 : 64, generation);
		}
		name("stays", 48, generation);
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(take(SHARED_PEER, i == 2 ? 65 : 64, names[i]), offsets[i]);
	}
	assert_int_equal(take(SHARED_PEER, 48, "stays"), stays);
	assert_int_equal(*(char *)shared_at(&region, stays, 1), 'x');
	sweep(&region, 50001);
	assert_int_equal(region.by_key.count, 0);
	take(SHARED_PEER, 1024, "all of it");
}

/* Who still has a configuration of long ago keeps what is in it; a worker's own goes with no configuration. */
static void
what_somebody_has_stays(void **state)
{
	uint64_t old = take(SHARED_PEER, 64, "old"), worker = take(SHARED_WORKER, 64, "worker"),
	    unnamed = take(SHARED_PEER, 64, "unnamed");

	name("old", 64, 3);
	sweep(&region, 3);
	assert_int_equal(take(SHARED_PEER, 64, "old"), old);
	assert_int_equal(take(SHARED_PEER, 64, "new"), unnamed);
	sweep(&region, 4);
	assert_int_equal(take(SHARED_WORKER, 64, "worker"), worker);
	assert_int_equal(region.by_key.count, 1);
}

/* Who keeps to one of long ago holds what that one has, and nothing of those behind it. */
static void
what_came_and_went_meanwhile_goes(void **state)
{
	static const struct shared_span held[] = { { 2, 2 }, { 6, 9 } };
	static const struct { const char *name; uint64_t first, last; bool stays; } all[] = {
		{ "1", 1, 1, false }, { "1-2", 1, 2, true }, { "2-3", 2, 3, true }, { "3-5", 3, 5, false },
		{ "5-6", 5, 6, true }, { "9", 9, 9, true }, { "1-9", 1, 9, true } };

	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		take(SHARED_PEER, 64, all[i].name);
		for (uint64_t g = all[i].first; g <= all[i].last; g++)
			name(all[i].name, 64, g);
	}
	shared_sweep(&region, held, ARRAY_COUNT(held));
	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		struct shared_key k = key(SHARED_PEER, 64, all[i].name);

		assert_int_equal(map_find(&region.by_key, slice_make((char *)&k, sizeof(k))) != NULL, all[i].stays);
	}
}

/* The one that follows has no gaps; it finds them, and what a third one left, when it is alone. */
static void
gaps_are_found_by_who_follows(void **state)
{
	struct shared other;
	struct shared_place place = { .key = key(SHARED_PEER, 64, "b") };
	uint64_t a = take(SHARED_PEER, 64, "a"), offset;

	place.offset = take(SHARED_PEER, 64, "b");
	assert_true(shared_inherit(&other, dup(region.fd)));
	assert_true(shared_know(&other, &place));
	shared_name(&other, &place.key, 1);
	take(SHARED_PEER, 64, "c");
	struct shared_key d = key(SHARED_PEER, 64, "d"), e = key(SHARED_PEER, 64, "e");
	assert_true(shared_take(&other, &d, &offset));
	assert_int_equal(offset, 3 * SHARED_ALIGN);
	sweep(&other, 1);
	assert_true(shared_take(&other, &e, &offset));
	assert_int_equal(offset, a);
	assert_true(shared_take(&other, &place.key, &offset));
	assert_int_equal(offset, place.offset);
	shared_close(&other);
}

/* A fork that only foretells fills the same gaps. */
static void
fork_agrees_on_gaps(void **state)
{
	uint64_t first = take(SHARED_PEER, 64, "a"), offset;

	take(SHARED_WORKER, 64, "w");
	take(SHARED_WORKER, 64, "x");
	sweep(&region, 1);

	pid_t pid = fork();

	if (pid == 0) {
		shared_foretell(&region);
		_exit(take(SHARED_PEER, 64, "b") == first ? 0 : 1);
	}

	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	offset = take(SHARED_PEER, 64, "b");
	assert_int_equal(offset, first);
}

static void
what_cannot_be_is_not_known(void **state)
{
	struct shared other;
	struct shared_place outside = { .key = key(SHARED_PEER, 48, "a"), .offset = 1024 },
	    crooked = { .key = key(SHARED_PEER, 48, "a"), .offset = 1 },
	    large = { .key = key(SHARED_PEER, UINT32_MAX, "a"), .offset = 0 },
	    none = { .key = key(SHARED_PEER, 0, "a"), .offset = 0 };
	int pair[2];

	assert_true(shared_inherit(&other, dup(region.fd)));
	assert_false(shared_know(&other, &outside));
	assert_false(shared_know(&other, &crooked));
	assert_false(shared_know(&other, &large));
	assert_false(shared_know(&other, &none));
	shared_close(&other);
	assert_int_equal(pipe(pair), 0);
	assert_false(shared_inherit(&other, pair[0]));
	close(pair[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(equal_keys_are_one, open_region, close_region),
		cmocka_unit_test_setup_teardown(bytes_behind_the_name_do_not_count, open_region, close_region),
		cmocka_unit_test_setup_teardown(objects_are_apart_and_zero, open_region, close_region),
		cmocka_unit_test_setup_teardown(full_is_refused, open_region, close_region),
		cmocka_unit_test_setup_teardown(places_outside_are_none, open_region, close_region),
		cmocka_unit_test_setup_teardown(fork_agrees, open_region, close_region),
		cmocka_unit_test_setup_teardown(another_goes_on, open_region, close_region),
		cmocka_unit_test_setup_teardown(what_is_gone_is_others_to_have, open_region, close_region),
		cmocka_unit_test_setup_teardown(what_somebody_has_stays, open_region, close_region),
		cmocka_unit_test_setup_teardown(what_came_and_went_meanwhile_goes, open_region, close_region),
		cmocka_unit_test_setup_teardown(gaps_are_found_by_who_follows, open_region, close_region),
		cmocka_unit_test_setup_teardown(fork_agrees_on_gaps, open_region, close_region),
		cmocka_unit_test_setup_teardown(what_cannot_be_is_not_known, open_region, close_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
