/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cached time and its four texts. A text is remade when it is asked for
 * in another second than the last time: a worker without a log pays nothing.
 */
#include "base/clock.h"

#include <time.h>

struct clock_seen clock_seen;

/* Room for the longest form with a year of any length. */
struct text {
	int64_t second;
	size_t n;
	char at[64];
};

static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
	"Oct", "Nov", "Dec" };

enum { DATE_EVERY = 1000 };      /* ms: the two clocks walk alike, but one of them may be set */

/* How far the date is ahead of the clock that is never set. */
static void
look_at_date(void)
{
	struct timespec now;

	if (clock_seen.date_due == 0)
		tzset();                 /* while the files of the time zones can still be read */
	clock_gettime(CLOCK_REALTIME, &now);
	clock_seen.unix_ahead =
	    (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 - clock_seen.ms;
	clock_seen.date_due = clock_seen.ms + DATE_EVERY;
}

void
clock_update(void)
{
	clock_seen.us = clock_us_exact();
	clock_seen.ms = clock_seen.us / 1000;
	if (unlikely(clock_seen.ms >= clock_seen.date_due))
		look_at_date();
}

uint64_t
clock_us_exact(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int64_t
clock_unix(void)
{
	return (int64_t)(clock_unix_ms() / 1000);
}

static void
put_padded(struct builder *b, int number)
{
	builder_byte(b, (char)('0' + number / 10 % 10));
	builder_byte(b, (char)('0' + number % 10));
}

/* 08:49:37 */
static void
put_time(struct builder *b, const struct tm *tm)
{
	put_padded(b, tm->tm_hour);
	builder_byte(b, ':');
	put_padded(b, tm->tm_min);
	builder_byte(b, ':');
	put_padded(b, tm->tm_sec);
}

/* +0530 or +05:30 */
static void
put_offset(struct builder *b, const struct tm *tm, bool colon)
{
	long minutes = tm->tm_gmtoff / 60;

	builder_byte(b, minutes < 0 ? '-' : '+');
	minutes = minutes < 0 ? -minutes : minutes;
	put_padded(b, (int)(minutes / 60));
	if (colon)
		builder_byte(b, ':');
	put_padded(b, (int)(minutes % 60));
}

static void
put_date(struct builder *b, const struct tm *tm, char between)
{
	builder_signed(b, tm->tm_year + INT64_C(1900));
	builder_byte(b, between);
	put_padded(b, tm->tm_mon + 1);
	builder_byte(b, between);
	put_padded(b, tm->tm_mday);
}

static void
put_http(struct builder *b, const struct tm *tm)
{
	builder_put(b, days[tm->tm_wday], 3);
	BUILDER_LITERAL(b, ", ");
	put_padded(b, tm->tm_mday);
	builder_byte(b, ' ');
	builder_put(b, months[tm->tm_mon], 3);
	builder_byte(b, ' ');
	builder_signed(b, tm->tm_year + INT64_C(1900));
	builder_byte(b, ' ');
	put_time(b, tm);
	BUILDER_LITERAL(b, " GMT");
}

static void
put_log(struct builder *b, const struct tm *tm)
{
	put_padded(b, tm->tm_mday);
	builder_byte(b, '/');
	builder_put(b, months[tm->tm_mon], 3);
	builder_byte(b, '/');
	builder_signed(b, tm->tm_year + INT64_C(1900));
	builder_byte(b, ':');
	put_time(b, tm);
	builder_byte(b, ' ');
	put_offset(b, tm, false);
}

static void
put_error(struct builder *b, const struct tm *tm)
{
	put_date(b, tm, '/');
	builder_byte(b, ' ');
	put_time(b, tm);
}

static void
put_iso(struct builder *b, const struct tm *tm)
{
	put_date(b, tm, '-');
	builder_byte(b, 'T');
	put_time(b, tm);
	put_offset(b, tm, true);
}

/* `text` as `put` makes it of this second, remade when it is of another one. */
static struct slice
text_now(struct text *text, struct tm *(*split)(const time_t *, struct tm *),
    void (*put)(struct builder *, const struct tm *))
{
	int64_t second = clock_unix();

	if (unlikely(text->second != second || text->n == 0)) {
		struct builder b = builder_on(text->at, sizeof(text->at));
		time_t when = (time_t)second;
		struct tm tm;

		if (split(&when, &tm) != NULL)
			put(&b, &tm);
		text->second = second;
		text->n = b.n;
	}
	return slice_make(text->at, text->n);
}

struct slice
clock_http_date(void)
{
	static struct text text;

	return text_now(&text, gmtime_r, put_http);
}

struct slice
clock_log_date(void)
{
	static struct text text;

	return text_now(&text, localtime_r, put_log);
}

struct slice
clock_error_date(void)
{
	static _Thread_local struct text text;  /* a build beside the loop may have to say something */

	return text_now(&text, localtime_r, put_error);
}

struct slice
clock_iso_date(void)
{
	static struct text text;

	return text_now(&text, localtime_r, put_iso);
}
