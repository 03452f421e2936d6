/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server/watch: what is told, and what is not, of a directory in which files are written, renamed, linked and
 * removed. Times are of the loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/watch.h"

static struct loop loop;
static struct watch watch;
static struct arena arena;
static struct sources files;
static char directory[] = "/tmp/millrace-watch-XXXXXX";
static char top[64];
static unsigned told;
static int null_fd;

static void
count(struct watch *w)
{
	told++;
	loop_stop(&loop);
}

static int
remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
	return remove(path);
}

static int
set_up(void **state)
{
	strcpy(top, directory);
	if (mkdtemp(top) == NULL || !loop_open(&loop) || !watch_open(&watch, &loop, count))
		return -1;
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	log_to(null_fd, LOG_ERROR);
	arena_init(&arena, NULL, 0);
	told = 0;
	return 0;
}

static int
tear_down(void **state)
{
	watch_close(&watch, true);
	loop_close(&loop);
	arena_reset(&arena);
	log_to(STDERR_FILENO, LOG_NOTICE);
	close(null_fd);
	return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *
path_of(const char *name)
{
	return arena_printf(&arena, "%s/%s", top, name);
}

static void
put(const char *name, const char *text)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void
make_directory(const char *name)
{
	assert_int_equal(mkdir(path_of(name), 0700), 0);
}

static void
link_to(const char *target, const char *name)
{
	assert_int_equal(symlink(target, path_of(name)), 0);
}

static void
move(const char *from, const char *to)
{
	assert_int_equal(rename(path_of(from), path_of(to)), 0);
}

static void
begin_set(void)
{
	sources_init(&files, &arena, true);
	files.directory = slice_of(top);
}

static void
set_file(const char *name)
{
	begin_set();
	(void)sources_file(&files, slice_of(name));
	watch_set(&watch, &files, true);
}

static void
set_glob(const char *name)
{
	begin_set();
	(void)sources_glob(&files, slice_of(name));
	watch_set(&watch, &files, true);
}

static void
stop(struct deadline *d)
{
	loop_stop(&loop);
}

/* How often it was told until it was, or until there was silence. */
static unsigned
wait_told(void)
{
	struct deadline end = { .run = stop };

	told = 0;
	clock_update();
	deadline_set(&loop, &end, WATCH_SILENCE + 3 * LOOP_TICK);
	loop_run(&loop, NULL, NULL);
	deadline_remove(&loop, &end);
	return told;
}

#define assert_told() assert_int_equal(wait_told(), 1)
#define assert_not_told() assert_int_equal(wait_told(), 0)

/* ------------------------------------------------------------------ files */

static void
test_written(void **state)
{
	put("a.conf", "1");
	set_file("a.conf");
	assert_not_told();
	put("a.conf", "2");
	assert_told();
	/* what stands beside it is not of the configuration */
	put("a.log", "line");
	put("b.conf", "3");
	assert_not_told();
}

/* While it is open it is being written: nothing is read before it is closed. */
static void
test_half_written(void **state)
{
	int fd;

	set_glob(".");
	fd = open(path_of("a.conf"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && write(fd, "ser", 3) == 3);
	assert_not_told();
	assert_int_equal(write(fd, "ver", 3), 3);
	close(fd);
	assert_told();
}

static void
test_many_at_once(void **state)
{
	put("a.conf", "1");
	set_file("a.conf");
	for (int i = 0; i < 50; i++)
		put("a.conf", "2");
	assert_told();
	assert_not_told();
}

/* Most editors write beside it and rename. */
static void
test_renamed(void **state)
{
	put("a.conf", "1");
	set_file("a.conf");
	put(".a.conf.swp", "2");
	assert_not_told();
	move(".a.conf.swp", "a.conf");
	assert_told();
	/* the directory is watched, not the file that was there */
	put("a.conf", "3");
	assert_told();
	move("a.conf", "a.old");
	assert_told();
}

static void
test_removed_and_back(void **state)
{
	put("a.conf", "1");
	set_file("a.conf");
	assert_int_equal(unlink(path_of("a.conf")), 0);
	assert_told();
	put("a.conf", "1");
	assert_told();
	assert_int_equal(chmod(path_of("a.conf"), 0400), 0);
	assert_told();
}

/* ------------------------------------------------------------------ what is missing */

static void
test_missing(void **state)
{
	set_file("sub/deep/a.conf");
	make_directory("sub");
	assert_told();
	set_file("sub/deep/a.conf");
	make_directory("sub/deep");
	assert_told();
	set_file("sub/deep/a.conf");
	put("sub/deep/a.conf", "1");
	assert_told();
}

static void
test_directory_goes(void **state)
{
	make_directory("sub");
	put("sub/a.conf", "1");
	set_file("sub/a.conf");
	move("sub", "old");
	make_directory("sub");
	put("sub/a.conf", "2");
	assert_told();
	set_file("sub/a.conf");
	put("sub/a.conf", "3");
	assert_told();
	put("old/a.conf", "4");
	assert_not_told();
}

/* ------------------------------------------------------------------ links */

static void
test_link_is_swapped(void **state)
{
	put("one", "1");
	put("two", "2");
	link_to("one", "a.conf");
	set_file("a.conf");
	put("one", "1 again");
	assert_told();
	put("two", "2 again");
	assert_not_told();
	link_to("two", "new");
	move("new", "a.conf");
	assert_told();
	set_file("a.conf");
	put("two", "2 for the third time");
	assert_told();
	put("one", "1 for the third time");
	assert_not_told();
}

/* As volumes of configuration are mounted: the file leads through a link that is swapped. */
static void
test_directory_of_links(void **state)
{
	make_directory("..1");
	make_directory("..2");
	put("..1/a.conf", "1");
	put("..2/a.conf", "2");
	link_to("..1", "..data");
	link_to("..data/a.conf", "a.conf");
	set_file("a.conf");
	assert_not_told();
	link_to("..2", "..new");
	move("..new", "..data");
	assert_told();
	set_file("a.conf");
	put("..2/a.conf", "3");
	assert_told();
}

static void
test_link_to_nothing_and_round(void **state)
{
	link_to("nowhere", "a.conf");
	link_to("c.conf", "b.conf");
	link_to("b.conf", "c.conf");
	set_file("b.conf");
	set_file("a.conf");
	put("nowhere", "1");
	assert_told();
}

/* ------------------------------------------------------------------ patterns */

static void
test_glob(void **state)
{
	make_directory("sites");
	set_glob("sites/*.conf");
	put("sites/a.conf", "1");
	assert_told();
	put("sites/a.conf~", "1");
	put("sites/.hidden.conf", "1");
	assert_not_told();
	assert_int_equal(unlink(path_of("sites/a.conf")), 0);
	assert_told();
	link_to("/etc/hostname", "sites/b.conf");
	assert_told();
	link_to("/etc/hostname", "sites/b.txt");
	assert_not_told();
}

static void
test_glob_of_directories(void **state)
{
	make_directory("x1");
	set_glob("x*/sites/*.conf");
	make_directory("x2");
	assert_told();
	make_directory("x1/sites");
	assert_told();
	set_glob("x*/sites/*.conf");
	put("x1/sites/a.conf", "1");
	assert_told();
	make_directory("y");
	assert_not_told();
}

/* ------------------------------------------------------------------ sets */

static void
test_other_set(void **state)
{
	make_directory("one");
	make_directory("two");
	set_glob("one/*.conf");
	set_glob("two/*.conf");
	put("one/a.conf", "1");
	assert_not_told();
	put("two/a.conf", "1");
	assert_told();
}

/* What is wrong may stand in a file that the last good configuration did not have. */
static void
test_after_a_failure(void **state)
{
	put("a.conf", "1");
	set_file("a.conf");
	put("b.conf", "1");
	assert_not_told();
	watch_set(&watch, &files, false);
	put("b.conf", "2");
	assert_told();
	put("b.log", "2");
	assert_not_told();
}

static void
test_too_many(void **state)
{
	begin_set();
	for (int i = 0; i < WATCH_DIRECTORIES_MAX + 10; i++) {
		const char *name = arena_printf(&arena, "d%d", i);

		make_directory(name);
		(void)sources_file(&files, slice_of(arena_printf(&arena, "%s/a.conf", name)));
	}
	watch_set(&watch, &files, true);
	assert_true(watch.told);
	put("d0/a.conf", "1");
	assert_told();
	set_file("d1/a.conf");
	assert_false(watch.told);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Between the reading of a directory and its watch. */
static void
test_comes_too_early(void **state)
{
	make_directory("sites");
	begin_set();
	(void)sources_glob(&files, SLICE("sites/*.conf"));
	put("sites/a.conf", "x;");
	watch_set(&watch, &files, true);
	assert_int_equal(wait_told(), 1);
	/* The same set once more is nothing new. */
	watch_set(&watch, &files, true);
	assert_int_equal(wait_told(), 0);
	set_glob("sites/*.conf");
	assert_int_equal(wait_told(), 0);
}

/* … and where what was read was not all of it: nothing else would ever mend that. */
static void
test_comes_while_it_is_checked(void **state)
{
	make_directory("sites");
	put("sites/a.conf", "x;");
	set_glob("sites/*.conf");
	move("sites", "away");
	assert_int_equal(wait_told(), 1);
	watch_set(&watch, &files, false);
	make_directory("sites");
	assert_int_equal(wait_told(), 1);
	put("sites/a.conf", "x;");
	watch_set(&watch, &files, false);
	assert_int_equal(wait_told(), 1);
	watch_set(&watch, &files, false);
	assert_int_equal(wait_told(), 0);
}

/* A directory that all lies in goes, and comes again. */
static void
test_moves_above(void **state)
{
	make_directory("above");
	make_directory("above/mid");
	make_directory("above/mid/sites");
	set_glob("above/mid/sites/*.conf");
	put("above/other.conf", "x;");
	put("above/mid/other.conf", "x;");
	assert_int_equal(wait_told(), 0);
	move("above", "away");
	assert_int_equal(wait_told(), 1);
	set_glob("above/mid/sites/*.conf");
	move("away", "above");
	assert_int_equal(wait_told(), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_written),
		CASE(test_half_written),
		CASE(test_many_at_once),
		CASE(test_renamed),
		CASE(test_removed_and_back),
		CASE(test_missing),
		CASE(test_directory_goes),
		CASE(test_link_is_swapped),
		CASE(test_directory_of_links),
		CASE(test_link_to_nothing_and_round),
		CASE(test_glob),
		CASE(test_glob_of_directories),
		CASE(test_other_set),
		CASE(test_after_a_failure),
		CASE(test_too_many),
		CASE(test_comes_too_early),
		CASE(test_comes_while_it_is_checked),
		CASE(test_moves_above),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
