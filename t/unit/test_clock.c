/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/clock: the kernel's clock is replaced by one that the test sets, so
 * that the four texts can be compared with known dates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

static struct timespec real, steady = { 100, 0 };
static int asked;

/* Instead of the C library's. */
int
clock_gettime(clockid_t which, struct timespec *out)
{
	asked++;
	*out = which == CLOCK_REALTIME ? real : steady;
	return 0;
}

/* The date is asked for once a second. */
static void
at(int64_t second)
{
	steady.tv_sec++;
	real = (struct timespec){ .tv_sec = second, .tv_nsec = 999999999 };
	clock_update();
}

static void
assert_text(struct slice s, const char *want)
{
	assert_int_equal(s.n, strlen(want));
	assert_memory_equal(s.at, want, s.n);
}

static void
asks_the_first_time(void **state)
{
	real.tv_sec = 7;
	assert_int_equal(clock_unix(), 7);
	assert_int_equal(clock_ms(), 100000);
	assert_true(asked > 0);
}

static void
is_cached(void **state)
{
	steady = (struct timespec){ 199, 123456789 };
	at(1000);
	assert_int_equal(clock_ms(), 200123);
	assert_int_equal(clock_us(), 200123456);
	assert_int_equal(clock_unix(), 1000);
	assert_int_equal(clock_unix_ms(), 1000999);

	int before = asked;

	real.tv_sec = 2000;
	steady.tv_sec = 300;
	assert_int_equal(clock_us(), 200123456);
	assert_int_equal(clock_unix(), 1000);
	clock_http_date();
	assert_int_equal(asked, before);
	assert_int_equal(clock_us_exact(), 300123456);
	assert_int_equal(clock_us(), 200123456);
	clock_update();
	assert_int_equal(clock_us(), 300123456);
	assert_int_equal(clock_unix(), 2000);
}

/* Once a second, it is seen that the date was set; between, it goes on as the other clock does. */
static void
follows_the_date(void **state)
{
	steady = (struct timespec){ 400, 0 };
	at(5000);
	assert_int_equal(clock_unix_ms(), 5000999);
	real.tv_sec = 7000;
	steady.tv_nsec = 998000000;
	clock_update();
	assert_int_equal(clock_unix_ms(), 5001997);
	assert_int_equal(clock_unix(), 5001);
	steady = (struct timespec){ 402, 0 };
	clock_update();
	assert_int_equal(clock_unix_ms(), 7000999);
	real.tv_sec = 6000;
	steady = (struct timespec){ 403, 0 };
	clock_update();
	assert_int_equal(clock_unix_ms(), 6000999);
}

static void
writes_dates(void **state)
{
	at(784111777);
	assert_text(clock_http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
	assert_text(clock_log_date(), "06/Nov/1994:03:19:37 -0530");
	assert_text(clock_error_date(), "1994/11/06 03:19:37");
	assert_text(clock_iso_date(), "1994-11-06T03:19:37-05:30");
	at(0);
	assert_text(clock_http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
	assert_text(clock_iso_date(), "1969-12-31T18:30:00-05:30");
	at(951782399);
	assert_text(clock_http_date(), "Mon, 28 Feb 2000 23:59:59 GMT");
	at(951782400);
	assert_text(clock_http_date(), "Tue, 29 Feb 2000 00:00:00 GMT");
	at(INT64_C(4102444800));
	assert_text(clock_http_date(), "Fri, 01 Jan 2100 00:00:00 GMT");
}

/* Every day of a year, against the C library. */
static void
agrees_with_strftime(void **state)
{
	for (int day = 0; day < 366; day++) {
		time_t when = 1767225600 + day * (time_t)86400 + day * 61;
		char want[64];
		struct tm tm;

		at(when);
		strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&when, &tm));
		assert_text(clock_http_date(), want);
		strftime(want, sizeof(want), "%d/%b/%Y:%H:%M:%S %z", localtime_r(&when, &tm));
		assert_text(clock_log_date(), want);
		strftime(want, sizeof(want), "%Y/%m/%d %H:%M:%S", &tm);
		assert_text(clock_error_date(), want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_the_first_time),
		cmocka_unit_test(is_cached),
		cmocka_unit_test(follows_the_date),
		cmocka_unit_test(writes_dates),
		cmocka_unit_test(agrees_with_strftime),
	};

	setenv("TZ", "XXX5:30", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
