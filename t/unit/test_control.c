/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/control_request and control_report: what is asked, cut at every byte and malformed in every way, and
 * what is answered, whatever stands in it and however little room there is.
 */
#include "config_case.h"
#include "server/control_report.h"
#include "server/control_request.h"

/* ------------------------------------------------------------------ requests */

static enum control_reading
read_all(struct slice in, const char **fault)
{
	struct control_request r;

	return control_request_read(&r, in, fault);
}

static void
refused(const char *bytes, size_t n, const char *why)
{
	const char *fault = NULL;

	assert_int_equal(read_all(slice_make(bytes, n), &fault), CONTROL_BAD);
	assert_non_null(fault);
	if (strstr(fault, why) == NULL)
		fail_msg("said \"%s\", wanted \"%s\"", fault, why);
}

#define REFUSED(literal, why) refused((literal), sizeof(literal) - 1, (why))

static void
words(void **state)
{
	struct control_request r;
	const char *fault;

	assert_int_equal(control_request_read(&r, SLICE("status\n"), &fault), CONTROL_WHOLE);
	assert_int_equal(r.count, 1);
	assert_true(slice_is(r.words[0], "status"));
	assert_int_equal(
	    control_request_read(&r, SLICE("drain\tapp/unix:/run/a b.sock\n"), &fault), CONTROL_WHOLE);
	assert_int_equal(r.count, 2);
	assert_true(slice_is(r.words[1], "app/unix:/run/a b.sock"));
}

static void
cut_anywhere(void **state)
{
	static const char line[] = "kick\t2.117\tnow\n";
	const char *fault;

	for (size_t n = 0; n < sizeof(line) - 2; n++)
		assert_int_equal(read_all(slice_make(line, n), &fault), CONTROL_MORE);
	assert_int_equal(read_all(slice_make(line, sizeof(line) - 1), &fault), CONTROL_WHOLE);
}

static void
malformed(void **state)
{
	REFUSED("\n", "empty word");
	REFUSED("\tstatus\n", "empty word");
	REFUSED("status\t\n", "empty word");
	REFUSED("a\t\tb\n", "empty word");
	REFUSED("sta\0tus\n", "control byte");
	REFUSED("status\r\n", "control byte");
	REFUSED("\x1b[2J\n", "control byte");
	REFUSED("stat\x7f\n", "control byte");
	REFUSED("stat\xff\n", "UTF-8");
	REFUSED("stat\xc0\xaf\n", "UTF-8");
	REFUSED("status\nstatus\n", "one request");
	REFUSED("GET / HTTP/1.1\r\n\r\n", "one request");
	REFUSED("1\t2\t3\t4\t5\t6\t7\t8\t9\t10\t11\t12\t13\t14\t15\t16\t17\n", "too many");
}

static void
too_long(void **state)
{
	char line[CONTROL_REQUEST_MAX + 1];
	const char *fault;

	memset(line, 'a', sizeof(line));
	assert_int_equal(read_all(slice_make(line, CONTROL_REQUEST_MAX - 1), &fault), CONTROL_MORE);
	refused(line, CONTROL_REQUEST_MAX, "longer");
	line[CONTROL_REQUEST_MAX - 1] = '\n';
	assert_int_equal(read_all(slice_make(line, CONTROL_REQUEST_MAX), &fault), CONTROL_WHOLE);
	line[CONTROL_REQUEST_MAX - 1] = 'a';
	line[CONTROL_REQUEST_MAX] = '\n';
	refused(line, sizeof(line), "longer");
}

static void
written(void **state)
{
	const struct slice good[] = { SLICE("log"), SLICE("debug") };
	const struct slice tab[] = { SLICE("log\tdebug") }, empty[] = { SLICE("log"), SLICE("") };
	const struct slice line[] = { SLICE("log\ninfo") };
	char room[CONTROL_REQUEST_MAX + 1];
	struct builder b = builder_on(room, sizeof(room));

	assert_true(control_request_write(&b, good, 2));
	assert_true(slice_is(builder_slice(&b), "log\tdebug\n"));
	assert_false(control_request_write(&b, tab, 1));
	assert_false(control_request_write(&b, empty, 2));
	assert_false(control_request_write(&b, line, 1));
	b = builder_on(room, 5);
	assert_false(control_request_write(&b, good, 2));
}

/* ------------------------------------------------------------------ ids and filters */

static void
ids(void **state)
{
	struct slice worker;
	uint64_t number;

	assert_true(control_id_read(SLICE("2.117"), &worker, &number));
	assert_true(slice_is(worker, "2") && number == 117);
	assert_true(control_id_read(SLICE("2:4711.1"), &worker, &number));
	assert_true(slice_is(worker, "2:4711") && number == 1);
	assert_false(control_id_read(SLICE("2"), &worker, &number));
	assert_false(control_id_read(SLICE("2."), &worker, &number));
	assert_false(control_id_read(SLICE(".2"), &worker, &number));
	assert_false(control_id_read(SLICE("2.0"), &worker, &number));
	assert_false(control_id_read(SLICE("2.x"), &worker, &number));
	assert_false(control_id_read(SLICE("2.99999999999999999999"), &worker, &number));
}

static bool
filter(struct control_filter *f, const char *word, char *said, size_t size)
{
	struct slice one = slice_of(word);
	struct builder b = builder_on(said, size - 1);
	bool good = control_filter_read(f, &one, 1, &b);

	said[b.n] = '\0';
	return good;
}

static void
filters(void **state)
{
	struct control_filter f;
	char said[256];

	assert_true(filter(&f, "server=web", said, sizeof(said)));
	assert_string_equal(f.server, "web");
	assert_int_equal(f.limit, CONTROL_ROWS);
	assert_true(filter(&f, "idle>30s", said, sizeof(said)) && f.idle_over == 30000);
	assert_true(filter(&f, "age<500ms", said, sizeof(said)) && f.age_under == 500);
	assert_true(filter(&f, "age>2d", said, sizeof(said)) && f.age_over == 172800000);
	assert_true(filter(&f, "src=10.0.0.0/8", said, sizeof(said)) && f.source.bits == 8);
	assert_true(filter(&f, "limit=5", said, sizeof(said)) && f.limit == 5);
	assert_true(filter(&f, "state=tunnel", said, sizeof(said)));
	assert_true(filter(&f, "side=peer", said, sizeof(said)));
}

static void
bad_filters(void **state)
{
	static const char *const bad[] = { "web", "=web", "server=", "bogus=1", "idle=3", "idle>3",
		"idle>s", "idle>99999999999999999999s", "idle>18446744073709551615d", "name>3s",
		"src=10.0.0.0/33", "src=x", "limit=0", "limit=100001", "limit=-1", "state=open",
		"side=both" };
	struct control_filter f;
	char said[256], word[300];

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		assert_false(filter(&f, bad[i], said, sizeof(said)));
		assert_memory_equal(said, bad[i], strlen(bad[i]));
		assert_true(strlen(said) > strlen(bad[i]) + 5);
	}
	memset(word, 'n', sizeof(word));
	memcpy(word, "server=", 7);
	word[7 + CONTROL_NAME_MAX - 1] = '\0';
	assert_true(filter(&f, word, said, sizeof(said)));
	word[7 + CONTROL_NAME_MAX - 1] = 'n';
	word[sizeof(word) - 1] = '\0';
	assert_false(filter(&f, word, said, sizeof(said)));
}

/* ------------------------------------------------------------------ answers */

static void
lines(void **state)
{
	struct report r;

	report_init(&r, REPORT_MAX);
	report_table(&r, '+', "things", "name:s n:n");
	report_row(&r);
	report_text(&r, SLICE("a\tb\nc\\\x1b"));
	report_number(&r, 42);
	assert_true(report_end_row(&r));
	report_row(&r);
	report_text(&r, SLICE_EMPTY);
	report_nothing(&r);
	assert_true(report_end_row(&r));
	report_line(&r, '!', "%s is\nmissing", "it");
	report_end(&r);
	assert_true(slice_is(slice_make(r.at, r.n), "+things\tname:s\tn:n\n a\\tb\\nc\\\\\\x1b\t42\n -\t-\n"
	    "!it is\\nmissing\n.\n"));
	report_free(&r);
}

/* Wherever the room ends there are whole lines, and the last ones. */
static void
little_room(void **state)
{
	for (size_t room = 700; room < 1200; room += 7) {
		struct report r;
		size_t rows = 0;

		report_init(&r, room);
		report_table(&r, '+', "t", "a:s");
		for (int i = 0; i < 100; i++) {
			report_row(&r);
			report_text(&r, SLICE("0123456789012345678"));
			rows += report_end_row(&r);
		}
		report_end(&r);
		assert_true(r.n <= room);
		assert_int_equal(r.dropped, 100 - rows);

		struct slice all = slice_make(r.at, r.n), line;

		assert_true(slice_ends(all, SLICE(" rows have no room here\n.\n")));
		assert_true(slice_split(&all, '\n', &line) && line.at[0] == '+');
		for (size_t i = 0; i < rows; i++)
			assert_true(slice_split(&all, '\n', &line) && line.n == 20);
		report_free(&r);
	}
}

static void
rows_of_others(void **state)
{
	struct report r;

	report_init(&r, REPORT_MAX);
	assert_int_equal(report_take_rows(&r, SLICE(" a\tb\n-failed\n.\n+t\tx:s\n c\n \n\n d")), 3);
	assert_true(slice_is(slice_make(r.at, r.n), " a\tb\n c\n d\n"));
	report_free(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(malformed),
		cmocka_unit_test(too_long),
		cmocka_unit_test(written),
		cmocka_unit_test(ids),
		cmocka_unit_test(filters),
		cmocka_unit_test(bad_filters),
		cmocka_unit_test(lines),
		cmocka_unit_test(little_room),
		cmocka_unit_test(rows_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
