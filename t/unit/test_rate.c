/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/rate: how many at once, how many later, and when the next may come.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/rate.h"

enum { SECOND = 1000 * 1000 };         /* us */

static const struct rate fifty = { .count = 50, .period = 1000 }, five_a_minute = { 5, 60000 }, none = { 0, 1000 };

/* How many are there at once. */
static unsigned
drain(const struct rate_limit *limit, uint64_t *full, uint64_t now)
{
	unsigned n = 0;

	while (n < 1000 && rate_take(limit, full, now) == 0)
		n++;
	return n;
}

static void
burst_then_rate(void **state)
{
	struct rate_limit limit = rate_limit_of(&fifty, 100);
	uint64_t full = 0, now = 7 * SECOND;

	assert_int_equal(drain(&limit, &full, now), 100);
	assert_int_equal(rate_take(&limit, &full, now), 20000);
	/* what is refused costs nothing */
	assert_int_equal(rate_take(&limit, &full, now), 20000);
	assert_int_equal(rate_take(&limit, &full, now + 19999), 1);
	assert_int_equal(rate_take(&limit, &full, now + 20000), 0);
	assert_int_equal(rate_take(&limit, &full, now + 20000), 20000);
	assert_int_equal(drain(&limit, &full, now + SECOND + 20000), 50);
	/* never more than the burst, however long nothing came */
	assert_int_equal(drain(&limit, &full, now + 1000 * (uint64_t)SECOND), 100);
}

static void
burst_not_said(void **state)
{
	struct rate_limit limit = rate_limit_of(&five_a_minute, 0), one = rate_limit_of(&five_a_minute, 1);
	uint64_t full = 0;

	assert_int_equal(drain(&limit, &full, SECOND), 5);
	assert_int_equal(rate_take(&limit, &full, SECOND), 12 * SECOND);
	full = 0;
	assert_int_equal(drain(&one, &full, SECOND), 1);
	assert_int_equal(drain(&one, &full, 13 * SECOND), 1);
}

static void
no_limit(void **state)
{
	struct rate_limit limit = rate_limit_of(&none, 3);
	uint64_t full = 0;
	_Atomic uint64_t shared = 0;

	assert_int_equal(drain(&limit, &full, 5), 1000);
	assert_int_equal(full, 0);
	assert_int_equal(rate_take_shared(&limit, &shared, 5), 0);
	assert_true(shared == 0);
}

/* The largest that can be said do not wrap. */
static void
extremes(void **state)
{
	struct rate_limit slow = rate_limit_of(&(struct rate){ 1, 3600 * 1000 }, RATE_BURST_MOST);
	struct rate_limit fast = rate_limit_of(&(struct rate){ RATE_MOST, 1000 }, 1);
	uint64_t full = 0, now = UINT64_C(100) * 365 * 86400 * SECOND;

	assert_int_equal(slow.all / slow.each, RATE_BURST_MOST);
	assert_int_equal(drain(&slow, &full, now), 1000);
	full = 0;
	assert_int_equal(drain(&fast, &full, now), 1);
	assert_int_equal(rate_take(&fast, &full, now), 1);
	assert_int_equal(rate_take(&fast, &full, now + 1), 0);
}

/* A reload brought another limit: what is emptier than that can be begins anew. */
static void
smaller_than_before(void **state)
{
	struct rate_limit before = rate_limit_of(&five_a_minute, 100), limit = rate_limit_of(&fifty, 2);
	uint64_t full = 0;

	assert_int_equal(drain(&before, &full, SECOND), 100);
	assert_int_equal(drain(&limit, &full, SECOND), 2);
}

static void
shared_is_the_same(void **state)
{
	struct rate_limit limit = rate_limit_of(&fifty, 3);
	uint64_t full = 0, now = SECOND;
	_Atomic uint64_t shared = 0;

	for (int i = 0; i < 200; i++, now += i * 977 % 31000) {
		assert_int_equal(rate_take_shared(&limit, &shared, now), rate_take(&limit, &full, now));
		assert_true(shared == full);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(burst_then_rate),
		cmocka_unit_test(burst_not_said),
		cmocka_unit_test(no_limit),
		cmocka_unit_test(extremes),
		cmocka_unit_test(smaller_than_before),
		cmocka_unit_test(shared_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
