/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/pace: what is fast enough, over which stretch, and which time does not count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/pace.h"

enum { RATE = 240, GRACE = 5000 };

static const struct pace begun = { .since = 1000, .bytes = 100 };

static void
is_judged_behind_its_grace(void **state)
{
	assert_true(pace_is_kept(&begun, 100, 1000, RATE, GRACE));
	assert_true(pace_is_kept(&begun, 101, 5999, RATE, GRACE));
	assert_false(pace_is_kept(&begun, 101, 6000, RATE, GRACE));
	assert_false(pace_is_kept(&begun, 100 + 1199, 6000, RATE, GRACE));
	assert_true(pace_is_kept(&begun, 100 + 1200, 6000, RATE, GRACE));
	assert_false(pace_is_kept(&begun, 100 + 1200, 6500, RATE, GRACE));
	assert_false(pace_is_kept(&begun, 100, 1005, RATE, 0));
}

static void
none_is_wanted(void **state)
{
	assert_true(pace_is_kept(&begun, 100, UINT64_C(1) << 50, 0, 0));
	/* more than can be counted */
	assert_false(pace_is_kept(&begun, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0));
	assert_true(pace_is_kept(&begun, UINT64_MAX, 1000 + UINT64_C(86400000) * 30, UINT64_C(1) << 30, 0));
}

/* A fast start does not pay for a minute of nothing. */
static void
goes_by_stretches(void **state)
{
	struct pace p = begun;

	assert_true(pace_keep(&p, 1000000, 1000 + PACE_STRETCH - 1, RATE, GRACE));
	assert_int_equal(p.since, 1000);
	assert_true(pace_keep(&p, 1000000, 1000 + PACE_STRETCH, RATE, GRACE));
	assert_int_equal(p.since, 1000 + PACE_STRETCH);
	assert_int_equal(p.bytes, 1000000);
	assert_true(pace_keep(&p, 1000001, p.since + GRACE - 1, RATE, GRACE));
	assert_false(pace_keep(&p, 1000001, p.since + GRACE, RATE, GRACE));
	/* a grace beyond a stretch: nothing is renewed before it was judged */
	p = begun;
	assert_true(pace_keep(&p, 101, 1000 + 2 * PACE_STRETCH, RATE, 3 * PACE_STRETCH));
	assert_int_equal(p.since, 1000);
	assert_false(pace_keep(&p, 101, 1000 + 3 * PACE_STRETCH, RATE, 3 * PACE_STRETCH));
}

static void
held_time_does_not_count(void **state)
{
	struct pace p = { 0 };

	pace_hold(&p, 50);
	pace_release(&p, 60);
	assert_int_equal(p.since, 0);
	pace_begin(&p, 0, 1000);
	pace_hold(&p, 3000);
	pace_hold(&p, 90000);
	pace_release(&p, 103000);
	pace_release(&p, 200000);
	assert_int_equal(p.since, 101000);
	assert_true(pace_is_kept(&p, 1, 105999, RATE, GRACE));
	assert_false(pace_is_kept(&p, 1, 106000, RATE, GRACE));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_judged_behind_its_grace),
		cmocka_unit_test(none_is_wanted),
		cmocka_unit_test(goes_by_stretches),
		cmocka_unit_test(held_time_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
