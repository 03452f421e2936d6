/* SPDX-License-Identifier: BSD-2-Clause */
/* Files, globs, what is recorded, and places in a text. */
#include "config_case.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
	struct arena arena;
	struct sources all;
	char path[64];
};

static void
put_file(struct tree *t, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", t->path, name);
	FILE *to = fopen(path, "w");
	assert_non_null(to);
	fputs(text, to);
	fclose(to);
}

static int
tree_open(void **state)
{
	struct tree *t = memory_zalloc(sizeof(*t));

	strcpy(t->path, "/tmp/test-source-XXXXXX");
	assert_non_null(mkdtemp(t->path));
	put_file(t, "b.conf", "two\n");
	put_file(t, "a.conf", "one\n");
	put_file(t, "x.txt", "three");
	char path[256];
	snprintf(path, sizeof(path), "%s/inner[1].conf", t->path);
	assert_int_equal(mkdir(path, 0700), 0);
	put_file(t, "inner[1].conf/c.conf", "four\n");
	snprintf(path, sizeof(path), "%s/pipe", t->path);
	assert_int_equal(mkfifo(path, 0600), 0);
	arena_init(&t->arena, NULL, 0);
	sources_init(&t->all, &t->arena, true);
	t->all.directory = slice_of(t->path);
	*state = t;
	return 0;
}

static int
tree_close(void **state)
{
	static const char *const names[] = { "a.conf", "b.conf", "x.txt", "pipe", "inner[1].conf/c.conf" };
	struct tree *t = *state;
	char path[256];

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", t->path, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/inner[1].conf", t->path);
	rmdir(path);
	rmdir(t->path);
	arena_reset(&t->arena);
	free(t);
	return 0;
}

static void
test_file(void **state)
{
	struct tree *t = *state;
	struct source *s = sources_file(&t->all, SLICE("a.conf"));

	assert_int_equal(s->error, 0);
	assert_true(slice_is(s->text, "one\n"));
	assert_ptr_equal(sources_file(&t->all, SLICE("././/a.conf")), s);
	assert_ptr_equal(sources_file(&t->all, s->name), s);
	assert_int_equal(s->mode & 0600, 0600);
	assert_int_equal(sources_file(&t->all, SLICE("none"))->error, ENOENT);
	assert_int_equal(sources_file(&t->all, SLICE("inner[1].conf"))->error, EISDIR);
	assert_int_equal(sources_file(&t->all, SLICE("pipe"))->error, EINVAL);
	assert_int_equal(sources_file(&t->all, SLICE("a\0b"))->error, ENOENT);
}

static void
test_asked_once(void **state)
{
	struct tree *t = *state;
	struct source *s = sources_file(&t->all, SLICE("x.txt"));

	put_file(t, "x.txt", "changed");
	assert_true(slice_is(sources_file(&t->all, SLICE("x.txt"))->text, "three"));
	assert_ptr_equal(sources_file(&t->all, SLICE("x.txt")), s);
}

static void
test_glob(void **state)
{
	struct tree *t = *state;
	struct source *s = sources_glob(&t->all, SLICE("*.conf"));

	assert_int_equal(s->error, 0);
	assert_int_equal(s->name_count, 2);     /* the directory inner[1].conf is no file */
	assert_true(slice_ends(s->names[0], SLICE("/a.conf")));
	assert_true(slice_ends(s->names[1], SLICE("/b.conf")));
	assert_int_equal(sources_glob(&t->all, SLICE("*.none"))->name_count, 0);
	assert_int_equal(sources_glob(&t->all, SLICE("*.none"))->error, 0);
	assert_int_equal(sources_glob(&t->all, SLICE("nowhere/*.conf"))->error, 0);
	assert_int_equal(sources_glob(&t->all, SLICE("x.txt"))->error, ENOTDIR);
	assert_int_equal(sources_glob(&t->all, SLICE("nowhere"))->error, ENOENT);
}

static void
test_directory_with_pattern_characters(void **state)
{
	struct tree *t = *state;
	char inner[256];

	snprintf(inner, sizeof(inner), "%s/inner[1].conf", t->path);
	t->all.directory = slice_of(inner);
	struct source *s = sources_glob(&t->all, SLICE("*.conf"));
	assert_int_equal(s->name_count, 1);
	s = sources_file(&t->all, s->names[0]);
	assert_int_equal(s->error, 0);
	assert_true(slice_is(s->text, "four\n"));
	assert_int_equal(sources_glob(&t->all, SLICE("."))->error, 0);
}

static void
test_recorded_only(void **state)
{
	struct tree *t = *state;
	struct sources copy;

	sources_init(&copy, &t->arena, false);
	copy.directory = t->all.directory;
	sources_add(&copy, sources_file(&t->all, SLICE("a.conf")));
	sources_add(&copy, sources_file(&t->all, SLICE("none")));
	sources_add(&copy, sources_glob(&t->all, SLICE("*.conf")));
	assert_true(slice_is(sources_file(&copy, SLICE("a.conf"))->text, "one\n"));
	assert_int_equal(sources_file(&copy, SLICE("b.conf"))->error, ENOENT);
	assert_int_equal(sources_file(&copy, SLICE("none"))->error, ENOENT);
	assert_int_equal(sources_glob(&copy, SLICE("*.conf"))->name_count, 2);
	assert_int_equal(sources_glob(&copy, SLICE("*.txt"))->error, ENOENT);
}

static void
test_shown(void **state)
{
	struct tree *t = *state;

	t->all.shown_directory = SLICE("conf.d");
	assert_true(slice_is(sources_file(&t->all, SLICE("a.conf"))->shown, "conf.d/a.conf"));
	assert_true(slice_is(sources_file(&t->all, SLICE("/dev/null"))->shown, "/dev/null"));
}

static void
expect_place(struct source *s, uint32_t at, unsigned line, unsigned column)
{
	unsigned l, c;

	source_place(s, at, &l, &c);
	assert_int_equal(l, line);
	assert_int_equal(c, column);
}

static void
test_places(void **state)
{
	struct config_case c;

	case_open(&c, "ab\n\tc\xc3\xa4" "d\r\n\nlast");
	expect_place(c.main, 0, 1, 1);
	expect_place(c.main, 2, 1, 3);
	expect_place(c.main, 3, 2, 1);
	expect_place(c.main, 4, 2, 2);
	expect_place(c.main, 7, 2, 4);
	expect_place(c.main, 10, 3, 1);
	expect_place(c.main, 11, 4, 1);
	expect_place(c.main, 15, 4, 5);
	expect_place(c.main, 1000, 4, 5);
	assert_true(slice_is(source_line(c.main, 2), "\tc\xc3\xa4" "d"));
	assert_true(slice_is(source_line(c.main, 3), ""));
	assert_true(slice_is(source_line(c.main, 4), "last"));
	assert_true(slice_is(source_line(c.main, 5), ""));
	case_close(&c);
}

static void
test_span_join(void **state)
{
	struct span a = { 1, 4, 2 }, b = { 1, 10, 5 }, none = { 0, 0, 0 };
	struct span joined = span_join(b, a);

	assert_int_equal(joined.at, 4);
	assert_int_equal(joined.n, 11);
	assert_int_equal(span_join(none, a).at, 4);
	assert_int_equal(span_join(a, none).n, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file, tree_open, tree_close),
		cmocka_unit_test_setup_teardown(test_asked_once, tree_open, tree_close),
		cmocka_unit_test_setup_teardown(test_glob, tree_open, tree_close),
		cmocka_unit_test_setup_teardown(test_directory_with_pattern_characters, tree_open, tree_close),
		cmocka_unit_test_setup_teardown(test_recorded_only, tree_open, tree_close),
		cmocka_unit_test_setup_teardown(test_shown, tree_open, tree_close),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_span_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
