/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base/log: one line a call into a pipe that the test reads, and a pipe that
 * is full, closed or blocking neither holds nor ends the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static struct timespec now = { 1000, 0 };

/* Instead of the C library's: the test sets the time. */
int
clock_gettime(clockid_t which, struct timespec *out)
{
	*out = now;
	return 0;
}

static int ends[2];
static char line[8192];

static int
open_pipe(void **state)
{
	now.tv_sec += 1000;
	clock_update();
	if (pipe(ends) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
		return -1;
	log_name("worker 1");
	log_to(ends[1], LOG_NOTICE);
	return 0;
}

static int
close_pipe(void **state)
{
	close(ends[0]);
	close(ends[1]);
	return 0;
}

/* What stands behind "[pid]: " of what was logged; "" when nothing was. */
static const char *
logged(void)
{
	ssize_t n = read(ends[0], line, sizeof(line) - 1);

	line[n > 0 ? n : 0] = '\0';

	const char *text = strstr(line, "]: ");

	return text == NULL ? line : text + 3;
}

static void
writes_a_line(void **state)
{
	char want[256];

	log_line(LOG_ERROR, "peer %s: %d", "a", 7);
	logged();

	struct slice date = clock_error_date();

	snprintf(want, sizeof(want), "%.*s [error] worker 1[%d]: peer a: 7\n", SLICE_ARG(date),
	    (int)getpid());
	assert_string_equal(line, want);
}

static void
drops_what_is_below_its_level(void **state)
{
	assert_true(log_enabled(LOG_NOTICE));
	assert_false(log_enabled(LOG_INFO));
	log_line(LOG_INFO, "x");
	log_errno(LOG_INFO, EPERM, "x");
	assert_string_equal(logged(), "");
	log_to(ends[1], LOG_DEBUG);
	log_line(LOG_DEBUG, "x");
	assert_string_equal(logged(), "x\n");
	for (int level = LOG_DEBUG; level < LOG_LEVELS; level++)
		assert_non_null(log_level_names[level]);
	assert_null(log_level_names[LOG_LEVELS]);
}

static void
says_the_error_and_keeps_errno(void **state)
{
	errno = ENOENT;
	log_errno(LOG_ERROR, ECONNREFUSED, "connect");
	assert_int_equal(errno, ENOENT);
	assert_string_equal(logged(), "connect: Connection refused\n");
	errno = EPERM;
	log_line(LOG_ERROR, "%m");
	assert_int_equal(errno, EPERM);
	assert_string_equal(logged(), "Operation not permitted\n");
}

static void
escapes_control_bytes(void **state)
{
	log_line(LOG_ERROR, "%s", "a\nb\x1b[0m\x7f\t\"\\\xc3\xa4");
	assert_string_equal(logged(), "a\\x0ab\\x1b[0m\\x7f\\x09\"\\\xc3\xa4\n");
}

static void
cuts_long_lines(void **state)
{
	char text[5000];

	for (size_t n = 2040; n < 2060; n++) {
		memset(text, 'x', n);
		text[n] = '\0';
		log_errno(LOG_ERROR, EPERM, "%s", text);

		const char *got = logged();
		size_t kept = strspn(got, "x");

		assert_int_equal(kept, MIN_OF(n, (size_t)2048));
		assert_string_equal(got + kept, n <= 2048 ? ": Operation not permitted\n"
		                                          : "...: Operation not permitted\n");
	}
	memset(text, '\n', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_line(LOG_ERROR, "%s", text);

	const char *got = logged();

	assert_int_equal(strlen(got), 2048 + 4);
	assert_string_equal(got + 2044, "\\x0a...\n");

	memset(text, 'x', 2045);                 /* an escape comes whole or not at all */
	text[2045] = '\n';
	text[2046] = '\0';
	log_line(LOG_ERROR, "%s", text);
	assert_string_equal(logged() + 2045, "...\n");
}

static void
fill_the_pipe(void)
{
	char waste[4096] = "";

	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	while (write(ends[1], waste, sizeof(waste)) > 0)
		;
	assert_int_equal(errno, EAGAIN);
}

static void
never_waits(void **state)
{
	uint64_t before = log_lost();

	fill_the_pipe();
	errno = ENOENT;
	log_line(LOG_ERROR, "x");
	assert_int_equal(errno, ENOENT);
	assert_int_equal(log_lost(), before + 1);
	fcntl(ends[1], F_SETFL, 0);              /* not even when the descriptor would */
	log_line(LOG_ERROR, "x");
	assert_int_equal(log_lost(), before + 2);
	while (read(ends[0], line, sizeof(line)) > 0)
		;
	log_line(LOG_ERROR, "y");
	assert_string_equal(logged(), "y\n");
	assert_int_equal(log_lost(), before + 2);
}

static void
survives_a_reader_that_is_gone(void **state)
{
	uint64_t before = log_lost();

	close(ends[0]);
	log_line(LOG_ERROR, "x");                /* SIGPIPE would end this program */
	assert_int_equal(log_lost(), before + 1);
	log_to(-1, LOG_NOTICE);
	log_line(LOG_ERROR, "x");
	assert_int_equal(log_lost(), before + 2);
	ends[0] = -1;
}

static void
counts_what_fails(void **state)
{
	uint64_t before = log_lost();
	int full = open("/dev/full", O_WRONLY);

	if (full < 0)
		skip();
	log_to(full, LOG_NOTICE);
	errno = ENOENT;
	log_line(LOG_ERROR, "x");
	assert_int_equal(errno, ENOENT);
	assert_int_equal(log_lost(), before + 1);
	close(full);
}

static void
writes_to_files(void **state)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	log_to(fileno(file), LOG_NOTICE);
	log_line(LOG_ERROR, "one");
	log_line(LOG_ERROR, "two");
	rewind(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_non_null(strstr(line, "]: one\n"));
	assert_non_null(fgets(line, sizeof(line), file));
	assert_non_null(strstr(line, "]: two\n"));
	fclose(file);
}

static void
limits(void **state)
{
	struct log_limit limit = { 0 }, other = { 0 };

	log_limited(&limit, LOG_INFO, "below the level: does not count");
	log_limited(&limit, LOG_WARN, "a %d", 1);
	assert_string_equal(logged(), "a 1\n");
	for (int i = 0; i < 5; i++)
		log_limited(&limit, LOG_WARN, "b");
	assert_string_equal(logged(), "");
	log_limited(&other, LOG_WARN, "c");
	assert_string_equal(logged(), "c\n");
	now.tv_sec += 10;
	clock_update();
	log_limited(&limit, LOG_WARN, "d");
	assert_string_equal(logged(), "d (5 like it passed over)\n");
	now.tv_sec += 10;
	clock_update();
	log_limited(&limit, LOG_WARN, "e");
	assert_string_equal(logged(), "e\n");
}

static void
holds_a_long_name(void **state)
{
	char name[500];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	log_name(name);
	log_line(LOG_ERROR, "x");
	assert_string_equal(logged(), "x\n");
}

#define with_pipe(test) cmocka_unit_test_setup_teardown(test, open_pipe, close_pipe)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		with_pipe(writes_a_line),
		with_pipe(drops_what_is_below_its_level),
		with_pipe(says_the_error_and_keeps_errno),
		with_pipe(escapes_control_bytes),
		with_pipe(cuts_long_lines),
		with_pipe(never_waits),
		with_pipe(survives_a_reader_that_is_gone),
		with_pipe(counts_what_fails),
		with_pipe(writes_to_files),
		with_pipe(limits),
		with_pipe(holds_a_long_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
