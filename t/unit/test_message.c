/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/message: every known name in every case and with every byte changed; finding, removing,
 * adding, and a head that moves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/message.h"

static void
knows_names(void **state)
{
	assert_int_equal(known_find(SLICE_EMPTY), KNOWN_NONE);
	assert_int_equal(known_find(SLICE("x")), KNOWN_NONE);
	for (enum known known = KNOWN_NONE + 1; known < KNOWN_COUNT; known++) {
		char name[32];
		size_t n = known_names[known].n;

		assert_in_range(n, 2, sizeof(name) - 1);
		for (unsigned which = 0; which < 3; which++) {
			for (size_t i = 0; i < n; i++) {
				char c = known_names[known].at[i];
				bool letter = ascii_is_alpha(c);

				name[i] = letter && which == 1 ? (char)(c & ~0x20) : letter && which == 2 ? (char)(c | 0x20) : c;
			}
			assert_int_equal(known_find(slice_make(name, n)), known);
		}
		assert_int_equal(known_find(slice_make(name, n - 1)), KNOWN_NONE);
		name[n] = 's';
		assert_int_equal(known_find(slice_make(name, n + 1)), KNOWN_NONE);
	}
}

static void
knows_nothing_else(void **state)
{
	for (enum known known = KNOWN_NONE + 1; known < KNOWN_COUNT; known++) {
		for (size_t i = 0; i < known_names[known].n; i++) {
			for (unsigned c = 0; c < 256; c++) {
				char name[32];
				struct slice s = slice_make(name, known_names[known].n);

				memcpy(name, known_names[known].at, s.n);
				name[i] = (char)c;
				enum known found = known_find(s);

				if (found != KNOWN_NONE)
					assert_true(slice_equal_nocase(s, known_names[found]));
			}
		}
	}
}

static const char head[] = "Host: a\r\nX-One: 1\r\nCookie: b\r\nx-one: 2\r\n";

/* The fields of `head`, as a parser would leave them. */
static void
fill(struct message *m, struct message_field fields[4])
{
	static const struct message_field four[4] = {
		{ 0, 4, KNOWN_HOST, 0, 6, 1, 9 },
		{ 9, 5, KNOWN_NONE, 0, 16, 1, 19 },
		{ 19, 6, KNOWN_COOKIE, 0, 27, 1, 30 },
		{ 30, 5, KNOWN_NONE, 0, 37, 1, 40 },
	};

	message_init(m);
	memcpy(fields, four, sizeof(four));
	m->base = head;
	m->size = sizeof(head) - 1;
	m->fields = fields;
	m->field_count = m->field_room = 4;
	m->known = UINT64_C(1) << KNOWN_HOST | UINT64_C(1) << KNOWN_COOKIE;
}

/* Are these, one letter each, the values of that name? */
static bool
values_are(const struct message *m, const char *name, const char *want)
{
	enum known known = known_find(slice_of(name));
	struct slice value;
	size_t i = 0;

	for (; want[i] != '\0'; i++)
		if (!message_find(m, known, slice_of(name), i, &value) || value.n != 1 || value.at[0] != want[i])
			return false;
	return !message_find(m, known, slice_of(name), i, &value);
}

static void
finds_and_edits(void **state)
{
	struct message_field fields[4];
	struct message m;
	struct arena a;

	arena_init(&a, NULL, 0);
	message_init(&m);
	assert_true(values_are(&m, "Host", ""));
	message_remove(&m, KNOWN_NONE, SLICE("Host"));
	fill(&m, fields);
	assert_true(values_are(&m, "host", "a"));
	assert_true(values_are(&m, "X-ONE", "12"));
	assert_true(values_are(&m, "X-On", ""));
	message_add(&m, &a, SLICE("x-One"), SLICE("3"));
	message_add(&m, &a, SLICE("Via"), SLICE("v"));
	message_add(&m, &a, SLICE("X-One"), SLICE("4"));
	message_add(&m, &a, SLICE("cookie"), SLICE("c"));
	assert_true(values_are(&m, "x-one", "1234"));
	assert_true(values_are(&m, "Via", "v"));
	assert_true(values_are(&m, "Cookie", "bc"));

	/* first, middle and last of the edits, and what is added next stands behind */
	message_remove(&m, KNOWN_NONE, SLICE("X-ONE"));
	assert_true(values_are(&m, "x-one", ""));
	assert_true(values_are(&m, "Via", "v"));
	message_remove(&m, KNOWN_COOKIE, SLICE_EMPTY);
	assert_true(values_are(&m, "Cookie", ""));
	message_add(&m, &a, SLICE("X-One"), SLICE("5"));
	message_add(&m, &a, SLICE("Cookie"), SLICE("d"));
	assert_true(values_are(&m, "X-One", "5"));
	assert_true(values_are(&m, "Cookie", "d"));
	message_remove(&m, KNOWN_NONE, SLICE("Via"));
	assert_true(values_are(&m, "Via", ""));
	assert_true(values_are(&m, "X-One", "5"));
	assert_true(values_are(&m, "Host", "a"));
	assert_true(fields[1].removed && fields[2].removed && fields[3].removed && !fields[0].removed);
	arena_reset(&a);
}

static void
moves(void **state)
{
	static const char other[] = "other";
	struct message_field fields[4];
	char to[sizeof(head)];
	struct message m;
	struct arena a;

	arena_init(&a, NULL, 0);
	fill(&m, fields);
	m.host = slice_make(head + 6, 1);
	m.path = slice_make(head, m.size);
	m.query = slice_make(head + m.size, 0);
	m.forward = slice_make(other, 5);
	message_add(&m, &a, SLICE("X"), slice_make(head + 27, 1));
	memcpy(to, head, sizeof(head));
	message_move(&m, to);
	assert_ptr_equal(m.base, to);
	assert_ptr_equal(m.host.at, to + 6);
	assert_ptr_equal(m.path.at, to);
	assert_ptr_equal(m.query.at, to + m.size);
	assert_ptr_equal(m.forward.at, other);
	assert_ptr_equal(m.edits->value.at, to + 27);
	assert_true(values_are(&m, "x-one", "12"));
	arena_reset(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_names),
		cmocka_unit_test(knows_nothing_else),
		cmocka_unit_test(finds_and_edits),
		cmocka_unit_test(moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
