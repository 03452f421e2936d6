/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocols/http/uri: targets with the path that routes see and the form that is forwarded; what is
 * refused; that the usual target costs no memory, and that normalising twice changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "protocols/http/uri.h"

static struct arena arena;

/* From a block of its own size, which *keep is. */
static bool
normalise(struct message *m, enum method method, struct slice target, char **keep)
{
	enum reason why = REASON_NONE;

	*keep = memory_alloc(target.n);
	memcpy(*keep, target.at, target.n);
	message_init(m);
	m->base = *keep;
	m->size = (uint32_t)target.n;
	m->target = (struct piece){ 0, (uint32_t)target.n };
	m->method = (uint8_t)method;

	bool good = uri_normalise(m, &arena, &why);

	assert_int_equal(why, good ? REASON_NONE : REASON_BAD_MESSAGE);
	return good;
}

static void
assert_slice(struct slice got, struct slice want)
{
	if (!slice_equal(got, want))
		fail_msg("got " SLICE_FORMAT ", wanted " SLICE_FORMAT, SLICE_ARG(got), SLICE_ARG(want));
}

static void
normalises(void **state)
{
	static const struct {
		struct slice target, path, query, forward;
	} rows[] = {
#define ROW(target, path, query, forward) { SLICE(target), SLICE(path), SLICE(query), SLICE(forward) }
#define SAME(target) ROW(target, target, "", target)
		SAME("/"), ROW("//", "/", "", "//"), ROW("/a//b/", "/a/b/", "", "/a//b/"), ROW("///a///?//", "/a/", "//", "///a///?//"), SAME("/a.b/..c/d.."), SAME("/.a/...") , SAME("/~_-!$&'()*+,;=:@"),
		SAME("/0123456789/abcdefghijklmnopqrstuvwxyz/ABC"),
		ROW("/a?b", "/a", "b", "/a?b"), ROW("/?", "/", "", "/?"), ROW("/a?b?c/../d", "/a", "b?c/../d", "/a?b?c/../d"),
		ROW("/a?x[]=1&y={}|\\^`\"<>%", "/a", "x[]=1&y={}|\\^`\"<>%", "/a?x[]=1&y={}|\\^`\"<>%"),
		/* dots */
		ROW("/.", "/", "", "/"), ROW("/./", "/", "", "/"), ROW("/a/.", "/a/", "", "/a/"), ROW("/a/./b", "/a/b", "", "/a/b"),
		ROW("/a/..", "/", "", "/"), ROW("/a/../", "/", "", "/"), ROW("/a/b/../c?d", "/a/c", "d", "/a/c?d"),
		ROW("/a//../b", "/a/b", "", "/a/b"), ROW("/a/b/../..", "/", "", "/"), ROW("/a/%2e%2E/b", "/b", "", "/b"), ROW("/a/.%2e", "/", "", "/"),
		ROW("/%2e", "/", "", "/"), ROW("//..", "/", "", "/"), ROW("/a/..//", "/", "", "//"), ROW("/a/.../", "/a/.../", "", "/a/.../"),
		ROW("/%2fa", "", "", ""), ROW("/a/..?..", "/", "..", "/?.."),
		/* percent signs */
		ROW("/%61%7E%2d", "/a~-", "", "/a~-"), ROW("/a%20b", "/a b", "", "/a%20b"), ROW("/%3b;%3F?%3f", "/;;?", "%3f", "/%3B;%3F?%3f"),
		ROW("/%25", "/%", "", "/%25"), ROW("/%2525", "/%25", "", "/%2525"), ROW("/%c3%a4", "/\xc3\xa4", "", "/%C3%A4"),
		ROW("/%0d%0A", "/\r\n", "", "/%0D%0A"), ROW("/a[1]|{}\"<>^`", "/a[1]|{}\"<>^`", "", "/a%5B1%5D%7C%7B%7D%22%3C%3E%5E%60"),
		ROW("/%23%20/..", "/", "", "/"), ROW("/\xff", "", "", ""),
		/* absolute */
		ROW("http://a/b?c", "/b", "c", "/b?c"), ROW("http://a", "/", "", "/"), ROW("http://a?c", "/", "c", "/?c"),
		ROW("https://a:1/b/../c", "/c", "", "/c"), ROW("http://a//b", "/b", "", "//b"), ROW("http://a/?http://b/", "/", "http://b/", "/?http://b/"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct message m;
		char *keep;
		bool good = normalise(&m, METHOD_GET, rows[i].target, &keep);

		assert_int_equal(good, rows[i].path.n > 0);
		if (good) {
			assert_slice(m.path, rows[i].path);
			assert_slice(m.query, rows[i].query);
			assert_slice(m.forward, rows[i].forward);
			/*
			 * the query is inside the target, and what is forwarded normalises to
			 * itself
			 */
			assert_true(m.query.at >= keep && m.query.at + m.query.n == keep + rows[i].target.n);

			struct message again;
			char *keep_again;

			assert_true(normalise(&again, METHOD_GET, m.forward, &keep_again));
			assert_slice(again.path, m.path);
			assert_slice(again.forward, m.forward);
			free(keep_again);
		}
		free(keep);
	}
}

static void
refuses(void **state)
{
	static const struct slice rows[] = {
		SLICE(""), SLICE("a"), SLICE("a/b"), SLICE("*a"), SLICE("?a"), SLICE("http:/a"), SLICE("ftp://a/"), SLICE("x?http://a/"),
		SLICE("/.."), SLICE("/../a"), SLICE("/a/../.."), SLICE("/%2e%2e/a"), SLICE("/./.."), SLICE("/a/../../b"), SLICE("http://a/.."),
		SLICE("/%00"), SLICE("/a%00b"), SLICE("/a%2fb"), SLICE("/a%2Fb"), SLICE("/a%5cb"), SLICE("/a%5Cb"), SLICE("/a\\b"),
		SLICE("/%"), SLICE("/%4"), SLICE("/%g0"), SLICE("/%0g"), SLICE("/%%41"), SLICE("/%?41"), SLICE("/%-1"),
		SLICE("/a#b"), SLICE("/a?b#c"), SLICE("/a b"), SLICE("/a?b c"), SLICE("/a\tb"), SLICE("/a\0b"), SLICE("/a?\0"), SLICE("/a\r"), SLICE("/a?\n"),
		SLICE("/\x7f"), SLICE("/?\x7f"), SLICE("/\xc3\xa4"), SLICE("/?\xc3\xa4"), SLICE("/0123456789abcdef?0123456789abcdef\x01"),
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct message m;
		char *keep;

		if (normalise(&m, METHOD_GET, rows[i], &keep))
			fail_msg("taken: " SLICE_FORMAT, SLICE_ARG(rows[i]));
		free(keep);
	}
}

static void
asks_all_of_the_server(void **state)
{
	struct message m;
	char *keep;

	assert_true(normalise(&m, METHOD_OPTIONS, SLICE("*"), &keep));
	assert_slice(m.path, SLICE("*"));
	assert_slice(m.forward, SLICE("*"));
	free(keep);
	assert_true(normalise(&m, METHOD_OPTIONS, SLICE("http://a:1"), &keep));
	assert_slice(m.forward, SLICE("*"));
	assert_int_equal(m.query.n, 0);
	free(keep);
}

static void
copies_nothing_where_nothing_changes(void **state)
{
	static const struct slice rows[] = { SLICE("/"), SLICE("/a/b.c/d..e?f=/../%41"), SLICE("http://a/b?c") };

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *before = arena.at;
		struct message m;
		char *keep;

		assert_true(normalise(&m, METHOD_GET, rows[i], &keep));
		assert_ptr_equal(arena.at, before);
		assert_true(m.path.at >= keep && m.forward.at == m.path.at);
		assert_ptr_equal(m.forward.at + m.forward.n, keep + rows[i].n);
		free(keep);
	}
}

/*
 * Every byte, raw and encoded, where it stands for itself and where it ends a path of a whole step.
 */
static void
takes_every_byte_as_it_should(void **state)
{
	for (unsigned c = 0; c < 256; c++) {
		char raw[] = "/0123456789012345?", text[] = "/%00";
		struct message m;
		char *keep;

		raw[16] = (char)c;
		bool fine = c > ' ' && c < 0x7f && strchr("#\\%", (int)c) == NULL;

		assert_int_equal(normalise(&m, METHOD_GET, SLICE(raw), &keep), fine);
		free(keep);
		text[2] = "0123456789abcdef"[c >> 4];
		text[3] = "0123456789abcdef"[c & 15];
		fine = c != 0 && c != '/' && c != '\\';
		assert_int_equal(normalise(&m, METHOD_GET, SLICE(text), &keep), fine);
		if (fine && c != '.')
			assert_slice(m.path, slice_make((char[]){ '/', (char)c }, 2));
		free(keep);
	}
}

static int
set_up(void **state)
{
	arena_init(&arena, NULL, 0);
	return 0;
}

static int
tear_down(void **state)
{
	arena_reset(&arena);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normalises),
		cmocka_unit_test(refuses),
		cmocka_unit_test(asks_all_of_the_server),
		cmocka_unit_test(copies_nothing_where_nothing_changes),
		cmocka_unit_test(takes_every_byte_as_it_should),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
