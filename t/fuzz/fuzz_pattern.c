/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A regular expression, up to a line's end, and a text: what matches has the literal
 * prefix and all the pieces, and is not sieved out. The expression is asked behind a group that says
 * nothing, so that its prefix is not looked for.
 */
#include "core/match.h"
#include "core/sieve.h"
#include "fuzz.h"

static void
demand(bool holds)
{
	if (!holds)
		abort();
}

static bool
is_sieved_out(struct arena *a, const struct regex *re, struct slice text)
{
	/* more than one, so that more than one length of table is walked */
	const struct sieve_item items[] = { { regex_pieces(re), 3 }, { SLICE("/a\0"), 5 }, { SLICE("abc\0b/c\0"), 7 } };
	struct scratch scratch;
	const uint32_t *found;

	scratch_init(&scratch);

	size_t n = sieve_ask(sieve_build(a, items, ARRAY_COUNT(items)), &scratch, text, &found);
	bool has = n > 0 && found[0] == 3;

	for (size_t i = 1; i < n; i++)
		demand(found[i - 1] < found[i]);
	scratch_free(&scratch);
	return !has;
}

static void
ask(struct reading *r, struct slice pattern, struct slice text)
{
	size_t captures[2 * REGEX_CAPTURES_MAX];
	bool over, over_plain, anchored;
	struct regex *re = regex_compile(r, pattern, false, (struct span){ 0 });
	const char *plain = arena_printf(r->arena, "(?:)" SLICE_FORMAT, SLICE_ARG(pattern));
	struct regex *reference = re == NULL ? NULL : regex_compile(r, slice_of(plain), false, (struct span){ 0 });

	/* verbs stand at the start only */
	if (reference == NULL || slice_starts(pattern, SLICE("(*")))
		return;

	bool is = regex_match(re, text, captures, &over), is_plain = regex_match(reference, text, captures, &over_plain);

	if (over || over_plain)
		return;
	demand(is == is_plain);
	demand(!is || slice_starts(text, regex_prefix(re, &anchored)));
	demand(!is || !is_sieved_out(r->arena, re, text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct sources sources;
	struct diag diag;
	struct slice rest = slice_make((const char *)data, size), line = SLICE_EMPTY;

	if (size > 1024)
		return 0;
	(void)slice_split(&rest, '\n', &line);
	arena_init(&arena, NULL, 0);
	sources_init(&sources, &arena, false);
	diag_init(&diag, &arena, &sources);

	struct reading r = { .arena = &arena, .sources = &sources, .diag = &diag };

	if (memchr(line.at, '\0', line.n) == NULL)
		ask(&r, line, rest);
	arena_reset(&arena);
	return 0;
}
