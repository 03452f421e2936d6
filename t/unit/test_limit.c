/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/limit: each key has its own bucket, by however many it is asked for, and a table that is full forgets those
 * that have asked for least.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/exchange.h"
#include "core/limit.h"

enum { SECOND = 1000 * 1000, SETS = 16 };

struct world {
	struct limit limit;
	struct limit_set *table;                /* shared with children */
};

static int
open_world(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->limit = (struct limit){ .sets = SETS, .limit = rate_limit_of(&(struct rate){ 5, 60000 }, 5) };
	assert_int_equal(limit_size(&w->limit), SETS * 64);
	w->table = mmap(NULL, limit_size(&w->limit), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(w->table != MAP_FAILED);
	*state = w;
	return 0;
}

static int
close_world(void **state)
{
	struct world *w = *state;

	munmap(w->table, limit_size(&w->limit));
	free(w);
	return 0;
}

/* The nth key of a set. */
static uint64_t
key_of(unsigned set, unsigned nth)
{
	return (uint64_t)set << 32 | (nth + 1);
}

static unsigned
take_all(struct world *w, uint64_t hash, uint64_t now)
{
	unsigned n = 0;

	while (n < 100 && limit_take(&w->limit, w->table, hash, now))
		n++;
	return n;
}

static void
each_has_its_own(void **state)
{
	struct world *w = *state;

	for (unsigned set = 0; set < SETS; set++)
		for (unsigned i = 0; i < LIMIT_WAYS; i++)
			assert_int_equal(take_all(w, key_of(set, i), SECOND), 5);
	for (unsigned set = 0; set < SETS; set++)
		for (unsigned i = 0; i < LIMIT_WAYS; i++) {
			assert_false(limit_take(&w->limit, w->table, key_of(set, i), SECOND));
			assert_true(limit_take(&w->limit, w->table, key_of(set, i), 13 * SECOND));
			assert_false(limit_take(&w->limit, w->table, key_of(set, i), 13 * SECOND));
		}
	/* 0 is no key, and yet some value's hash */
	assert_true(limit_take(&w->limit, w->table, 0, 1000 * SECOND));
}

/* Many that ask once do not make us forget who has asked too often. */
static void
floods_wash_nobody_out(void **state)
{
	struct world *w = *state;

	assert_int_equal(take_all(w, key_of(3, 0), SECOND), 5);
	assert_int_equal(take_all(w, key_of(3, 1), SECOND), 5);
	for (unsigned i = 2; i < 10000; i++)
		assert_true(limit_take(&w->limit, w->table, key_of(3, i), SECOND));
	assert_false(limit_take(&w->limit, w->table, key_of(3, 0), SECOND));
	assert_false(limit_take(&w->limit, w->table, key_of(3, 1), SECOND));
}

/* Two processes have together what one would have. */
static void
is_one_for_all(void **state)
{
	struct world *w = *state;
	enum { CHILDREN = 3, TRIES = 20000 };
	unsigned taken = 0;

	w->limit.limit = rate_limit_of(&(struct rate){ 1000, 3600 * 1000 }, 0);
	for (int i = 0; i < CHILDREN; i++)
		if (fork() == 0) {
			unsigned mine = 0;

			for (int k = 0; k < TRIES; k++)
				mine += limit_take(&w->limit, w->table, key_of(1, 0), SECOND);
			/* what it has is told in another set's bytes */
			atomic_fetch_add((_Atomic uint64_t *)&w->table[9].entries[i].full, mine);
			_exit(0);
		}
	for (int i = 0; i < CHILDREN; i++)
		assert_true(wait(NULL) > 0);
	for (int i = 0; i < CHILDREN; i++)
		taken += (unsigned)w->table[9].entries[i].full;
	/* whoever came first may have begun the entry while another already had counted */
	assert_in_range(taken, 1000, 1000 + CHILDREN * 1000);
	assert_false(limit_take(&w->limit, w->table, key_of(1, 0), SECOND));
	assert_true(limit_take(&w->limit, w->table, key_of(1, 0), 5 * SECOND));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_has_its_own, open_world, close_world),
		cmocka_unit_test_setup_teardown(floods_wash_nobody_out, open_world, close_world),
		cmocka_unit_test_setup_teardown(is_one_for_all, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
