/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/arena: alignment, the owner's memory first, blocks that grow, cleanups
 * newest first, arrays that grow, and an end of the process where memory ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"

static void
is_aligned_and_apart(void **state)
{
	struct arena a;
	char *pieces[300];

	arena_init(&a, NULL, 0);
	for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
		pieces[i] = arena_alloc(&a, i);
		assert_int_equal((uintptr_t)pieces[i] % 16, 0);
		memset(pieces[i], (int)i, i);
	}
	for (size_t i = 0; i < ARRAY_COUNT(pieces); i++)
		for (size_t k = 0; k < i; k++)
			assert_int_equal((uint8_t)pieces[i][k], (uint8_t)i);
	assert_true(a.total >= 300 * 299 / 2);
	arena_reset(&a);
	assert_int_equal(a.total, 0);
	assert_null(a.blocks);
}

static void
uses_the_owners_memory_first(void **state)
{
	char *memory = malloc(1024 + 1);
	struct arena a;

	for (size_t off = 0; off < 2; off++) {
		arena_init(&a, memory + off, 1024);
		for (int turn = 0; turn < 2; turn++) {
			char *p = arena_alloc(&a, 900);

			assert_true(p >= memory + off && p + 900 <= memory + off + 1024);
			assert_int_equal((uintptr_t)p % 16, 0);
			assert_int_equal(a.total, 0);
			p = arena_alloc(&a, 200);
			assert_false(p >= memory && p < memory + 1025);
			assert_int_equal(a.total, 1008);
			arena_reset(&a);
		}
	}
	arena_init(&a, memory + 1, 3);           /* less than it takes to align it */
	memset(arena_alloc(&a, 1), 0, 1);
	assert_int_equal(a.total, 1008);
	arena_reset(&a);
	free(memory);
}

static void
grows_its_blocks(void **state)
{
	struct arena a;
	size_t largest = 0;

	arena_init(&a, NULL, 0);
	for (int i = 0; i < 3000; i++) {
		size_t before = a.total;

		arena_alloc(&a, 1000);
		largest = MAX_OF(largest, a.total - before);
	}
	assert_int_equal(largest, 256 * 1024);
	arena_reset(&a);
	arena_alloc(&a, 16);
	assert_int_equal(a.total, 4096);

	char *at = a.at;

	memset(arena_alloc(&a, 1 << 20), 1, 1 << 20);
	assert_ptr_equal(a.at, at);              /* the current block is still in use */
	assert_in_range(a.total, (1 << 20) + 4096, (1 << 20) + 4096 + 64);
	arena_alloc(&a, 4090);
	assert_in_range(a.total, (1 << 20) + 4096 + 8192, (1 << 20) + 4096 + 8192 + 64);
	arena_reset(&a);
}

static int order[4], ran;

static void
note(void *what)
{
	order[ran++] = *(int *)what;
}

static void
cleans_up_newest_first(void **state)
{
	struct arena a;

	arena_init(&a, NULL, 0);
	for (int i = 0; i < 3; i++) {
		int *number = arena_alloc(&a, sizeof(*number));

		*number = i;
		arena_on_reset(&a, note, number);
	}
	arena_reset(&a);
	assert_int_equal(ran, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(order[i], 2 - i);
	arena_reset(&a);
	assert_int_equal(ran, 3);
}

static void
copies_and_clears(void **state)
{
	struct arena a;
	char first[64];

	arena_init(&a, first, sizeof(first));
	memset(arena_alloc(&a, 48), 0xff, 48);
	arena_reset(&a);

	const char *zeros = arena_zalloc(&a, 33);

	for (int i = 0; i < 33; i++)
		assert_int_equal(zeros[i], 0);
	assert_non_null(arena_array(&a, 0, 8));

	struct slice s = arena_slice(&a, SLICE("ab\0c"));

	assert_int_equal(s.n, 4);
	assert_memory_equal(s.at, "ab\0c", 5);
	assert_string_equal(arena_text(&a, (struct slice){ 0 }), "");
	assert_string_equal(arena_text(&a, slice_make("xyz", 2)), "xy");
	assert_string_equal(arena_printf(&a, "%s-%d", "n", 7), "n-7");
	assert_int_equal(strlen(arena_printf(&a, "%9999d", 1)), 9999);
	arena_reset(&a);
}

static void
grows_arrays(void **state)
{
	struct arena a;
	struct { int number; char pad[7]; } *list = NULL;
	char *pieces[8];
	size_t count = 0, room = 0;

	arena_init(&a, NULL, 0);
	for (int i = 0; i < 5000; i++) {
		ARENA_PUSH(&a, list, count, room)->number = i;
		if (i % 700 == 0)                /* it cannot always stay where it is */
			pieces[i / 700] = arena_text(&a, SLICE("not part of it"));
	}
	for (size_t i = 0; i < ARRAY_COUNT(pieces); i++)
		assert_string_equal(pieces[i], "not part of it");
	assert_int_equal(count, 5000);
	assert_true(room >= count);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(list[i].number, i);
	arena_reset(&a);

	/* the last thing taken grows in place */
	char *text = NULL;

	count = room = 0;
	*ARENA_PUSH(&a, text, count, room) = 'x';
	for (int i = 0; i < 100; i++) {
		char *before = text;

		*ARENA_PUSH(&a, text, count, room) = 'x';
		assert_ptr_equal(text, before);
	}
	arena_reset(&a);
}

static void
hides_what_is_free(void **state)
{
#ifdef MEMORY_HIDES
	char *memory = malloc(256);
	struct arena a;

	arena_init(&a, memory, 256);
	assert_int_equal(__asan_address_is_poisoned(memory), 1);

	char *p = arena_alloc(&a, 20);

	assert_null(__asan_region_is_poisoned(p, 20));
	assert_int_equal(__asan_address_is_poisoned(p + 20), 1);
	p = arena_alloc(&a, 1000);
	assert_null(__asan_region_is_poisoned(p, 1000));
	assert_int_equal(__asan_address_is_poisoned(p + 1000), 1);
	arena_reset(&a);
	assert_int_equal(__asan_address_is_poisoned(memory), 1);
	free(memory);
#else
	skip();
#endif
}

static void
overflow_of_an_array(struct arena *a)
{
	arena_array(a, SIZE_MAX / 2, 4);
}

static void
overflow_of_a_size(struct arena *a)
{
	arena_alloc(a, SIZE_MAX - 3);
}

static void
ends_the_process(void (*run)(struct arena *))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct arena a;
		int nowhere = open("/dev/null", O_WRONLY);

		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		signal(SIGABRT, SIG_DFL);
		dup2(nowhere, STDERR_FILENO);
		arena_init(&a, NULL, 0);
		run(&a);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void
never_returns_without_memory(void **state)
{
	ends_the_process(overflow_of_an_array);
	ends_the_process(overflow_of_a_size);
}

static void
allocates_from_the_heap(void **state)
{
	char *p = memory_zalloc(10);

	for (int i = 0; i < 10; i++)
		assert_int_equal(p[i], 0);
	p = memory_realloc(p, 1000);
	memset(p, 1, 1000);
	free(p);
	p = memory_alloc(0);
	assert_non_null(p);
	free(p);
}

/* Of a large piece, which may be an array that is filled slowly, no page is taken before it is written to. */
static void
leaves_large_pieces_alone(void **state)
{
	enum { LARGE = 32 << 20, PAGE_LEAST = 4096 };
	static unsigned char pages[LARGE / PAGE_LEAST + 1];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), taken = 0;
	struct arena a;

	arena_init(&a, NULL, 0);

	char *p = arena_alloc(&a, LARGE);
	char *first = p + (-(uintptr_t)p & (page - 1));
	size_t size = (LARGE - (size_t)(first - p)) / page * page;

	assert_int_equal(mincore(first, size, pages), 0);
	for (size_t i = 0; i < size / page; i++)
		taken += pages[i] & 1;
	assert_true(taken <= size / page / 2);
	arena_reset(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_aligned_and_apart),
		cmocka_unit_test(uses_the_owners_memory_first),
		cmocka_unit_test(grows_its_blocks),
		cmocka_unit_test(cleans_up_newest_first),
		cmocka_unit_test(copies_and_clears),
		cmocka_unit_test(grows_arrays),
		cmocka_unit_test(hides_what_is_free),
		cmocka_unit_test(never_returns_without_memory),
		cmocka_unit_test(allocates_from_the_heap),
		cmocka_unit_test(leaves_large_pieces_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
