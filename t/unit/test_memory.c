/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/memory: what happens when there is none, with an address space that is bounded in a child.
 * A sanitizer needs its own: there the reserve is only counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"

enum { MIB = 1024 * 1024 };

#ifdef MEMORY_HIDES
#define NEEDS_A_BOUND() skip()
#else
#define NEEDS_A_BOUND() ((void)0)
#endif

/* What `run` says, in a child that may take no more than `more` bytes; -1: a signal ended it. */
static int
bounded(int (*run)(void), size_t more)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		unsigned long pages = 0;
		FILE *f = fopen("/proc/self/statm", "r");

		if (f == NULL || fscanf(f, "%lu", &pages) != 1)
			_exit(99);
		fclose(f);

		rlim_t most = pages * (rlim_t)sysconf(_SC_PAGESIZE) + more;

		signal(SIGABRT, SIG_DFL);
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		if (setrlimit(RLIMIT_AS, &(struct rlimit){ most, most }) != 0)
			_exit(98);
		_exit(run());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Until there is no more: how many pieces that were. */
static size_t
eat(size_t piece)
{
	size_t n = 0;

	for (char *p; (p = memory_try(piece)) != NULL; n++)
		p[0] = p[piece - 1] = 1;
	return n;
}

/* ------------------------------------------------------------------ */

static void
counts(void **state)
{
	size_t before = memory_in_use();
	char *p = memory_alloc(3 * MIB);

	memset(p, 1, 3 * MIB);
	assert_in_range(memory_in_use(), before + 3 * MIB, before + 3 * MIB + 128 * 1024);
	/* the reserve is nobody's */
	assert_true(memory_reserve());
	assert_in_range(memory_in_use(), before + 3 * MIB, before + 3 * MIB + 128 * 1024);
	memory_unreserve();
	free(p);
	assert_in_range(memory_in_use(), 0, before + 128 * 1024);
	assert_false(memory_is_short);
}

static int
lasts_inside(void)
{
	if (!memory_reserve() || memory_is_short)
		return 1;

	size_t tried = eat(64 * 1024);

	/* all but the last of the reserve, which those get who cannot do without */
	if (!memory_is_short || tried < 6 * MIB / (64 * 1024))
		return 2;
	for (int i = 0; i < 16; i++) {
		char *p = i % 2 == 0 ? memory_alloc(50 * 1024) : memory_zalloc(50 * 1024);

		memset(memory_realloc(p, 100 * 1024), 1, 100 * 1024);
	}
	return 0;
}

static void
lasts(void **state)
{
	NEEDS_A_BOUND();
	assert_int_equal(bounded(lasts_inside, 12 * MIB), 0);
}

static int
comes_back_inside(void)
{
	enum { MANY = 1000 };
	void *held[MANY];

	if (!memory_reserve())
		return 1;
	for (int round = 0; round < 20; round++) {
		size_t n = 0;

		while (n < MANY && (held[n] = memory_try(5000 + 977 * (n % 31))) != NULL)
			n++;
		if (n == MANY || !memory_is_short)
			return 2;
		if (memory_reserve())
			return 3;
		while (n > 0)
			free(held[--n]);
		if (!memory_reserve())
			return 4;
		memory_is_short = false;
	}
	return 0;
}

/* What was given up is taken again when others have let go. */
static void
comes_back(void **state)
{
	NEEDS_A_BOUND();
	assert_int_equal(bounded(comes_back_inside, 12 * MIB), 0);
}

static int
ends_inside(void)
{
	for (int i = 0; i < 1000; i++)
		memset(memory_alloc(64 * 1024), 1, 64 * 1024);
	return 0;
}

static int
without_a_reserve_inside(void)
{
	return eat(64 * 1024) > 0 && memory_is_short ? 0 : 1;
}

static void
ends(void **state)
{
	NEEDS_A_BOUND();
	assert_int_equal(bounded(ends_inside, 12 * MIB), -1);
	assert_int_equal(bounded(without_a_reserve_inside, 12 * MIB), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts), cmocka_unit_test(lasts), cmocka_unit_test(comes_back),
		cmocka_unit_test(ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
