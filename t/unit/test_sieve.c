/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/sieve.h"
#include "exchange_case.h"

enum { ITEMS_MAX = 1000 };

struct sieve_case {
	struct arena arena;
	struct scratch scratch;
	struct sieve_item items[ITEMS_MAX];
	size_t count;
	struct sieve *sieve;
	const uint32_t *found;
	size_t n;
};

static void
open_sieve(struct sieve_case *c)
{
	arena_init(&c->arena, NULL, 0);
	scratch_init(&c->scratch);
	c->count = 0;
}

static void
close_sieve(struct sieve_case *c)
{
	scratch_free(&c->scratch);
	arena_reset(&c->arena);
}

/* Pieces are written with a bar behind each. */
static void
add(struct sieve_case *c, const char *pieces)
{
	char *copy = arena_text(&c->arena, slice_of(pieces));

	for (char *at = copy; *at != '\0'; at++)
		if (*at == '|')
			*at = '\0';
	c->items[c->count] = (struct sieve_item){ slice_make(copy, strlen(pieces)), 10 * (uint32_t)c->count };
	c->count++;
}

static void
build(struct sieve_case *c)
{
	c->sieve = sieve_build(&c->arena, c->items, c->count);
}

static void
ask(struct sieve_case *c, struct slice text)
{
	scratch_reset(&c->scratch);
	c->n = sieve_ask(c->sieve, &c->scratch, text, &c->found);
	for (size_t i = 1; i < c->n; i++)
		assert_true(c->found[i - 1] < c->found[i]);
}

static bool
has(const struct sieve_case *c, size_t item)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->found[i] == 10 * item)
			return true;
	return false;
}

static void
expect(struct sieve_case *c, const char *text, const char *items)
{
	char memory[256];
	struct builder b = builder_on(memory, sizeof(memory));

	ask(c, slice_of(text));
	for (size_t i = 0; i < c->n; i++)
		builder_printf(&b, "%s%u", i == 0 ? "" : " ", c->found[i] / 10);
	if (!slice_is(builder_slice(&b), items))
		fail_msg("%s: %.*s, not %s", text, SLICE_ARG(builder_slice(&b)), items);
}

static void
test_choice(void **state)
{
	struct sieve_case c;

	open_sieve(&c);
	add(&c, "/|/users|");
	add(&c, "/|/orders|");
	add(&c, "");
	add(&c, ".|");
	add(&c, ".PHP|");
	add(&c, "ab|cd|");
	add(&c, "/|/users|/edit|");
	build(&c);
	expect(&c, "", "2");
	expect(&c, "/a/users", "0 2");
	expect(&c, "/a/orders", "1 2");
	expect(&c, "/a/users/7/edit", "0 2 6");
	expect(&c, "/index.php", "2 3 4");
	expect(&c, "/INDEX.pHp", "2 3 4");
	expect(&c, "/abxcd", "2 5");
	expect(&c, "/abxc", "2");
	ask(&c, slice_make(NULL, 0));
	assert_int_equal(c.n, 1);
	close_sieve(&c);
}

/* What all have in common does not tell them apart; the rest does. */
static void
test_rarest(void **state)
{
	struct sieve_case c;
	char text[32];

	open_sieve(&c);
	for (unsigned i = 0; i < ITEMS_MAX; i++) {
		snprintf(text, sizeof(text), "/api/v1/|/r%u|", i);
		add(&c, text);
	}
	build(&c);
	for (unsigned i = 0; i < ITEMS_MAX; i++) {
		snprintf(text, sizeof(text), "/api/v1/x/r%u", i);
		ask(&c, slice_of(text));
		assert_true(has(&c, i));
		/* 7, 77 and 777 of 777 */
		assert_true(c.n <= 3);
	}
	expect(&c, "/api/v1/x", "");
	close_sieve(&c);
}

/* Many that need the same, and texts that have it very often. */
static void
test_equal(void **state)
{
	struct sieve_case c;
	char text[3000];

	for (size_t many = 1; many <= 100; many += 5) {
		open_sieve(&c);
		for (size_t i = 0; i < many; i++)
			add(&c, "/a|/bcd|");
		add(&c, "xyz|");
		build(&c);
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = "/bcd"[i % 4];
		ask(&c, slice_make(text, sizeof(text)));
		assert_int_equal(c.n, 0);
		text[1] = 'a';
		ask(&c, slice_make(text, sizeof(text)));
		assert_int_equal(c.n, many);
		ask(&c, SLICE("/xyz"));
		assert_true(c.n == 1 && has(&c, many));
		close_sieve(&c);
	}
}

static void
test_every_byte(void **state)
{
	struct sieve_case c;
	char text[3];

	open_sieve(&c);
	for (unsigned i = 1; i < 256; i++) {
		struct slice pieces = arena_slice(&c.arena, SLICE("aXb\0"));

		((char *)(uintptr_t)pieces.at)[1] = (char)i;
		c.items[c.count] = (struct sieve_item){ pieces, 10 * (uint32_t)c.count };
		c.count++;
	}
	build(&c);
	for (unsigned i = 1; i < 256; i++) {
		text[0] = 'A';
		text[1] = (char)i;
		text[2] = 'b';
		ask(&c, slice_make(text, 3));
		assert_true(has(&c, i - 1));
		assert_true(c.n < 16);
	}
	close_sieve(&c);
}

/* ------------------------------------------------------------------ against PCRE2 */

static unsigned long seed = 11;

static unsigned
dice(unsigned sides)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(seed >> 33) % sides;
}

static const char *const pieces[] = {
	/* what is common first */
	"abc", "/ab", "b/c", "cab", "a", "b", "/", "\\.", "ABC",
	".", "[ab]", "[^/]+", "\\d", "\\w+", "+", "?", "*", "{2}", "{0,1}", "{0}", "{,2}", "+?", "*+", "(", ")", "(?:", "|", "^", "$",
	"\\b", "\\A", "\\z", "\\K", "(?i)", "(?i:", "(?-i)", "(?x)", " ", "#", "(?#", "(?s)", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?|",
	"(?<n>", "(?P<m>", "(?P=m)", "\\k<n>", "\\1", "\\g{1}", "\\g1", "(?1)", "(?R)", "(?&n)", "(?(1)", "(?(DEFINE)", "\\Q", "\\E", "\\x61",
	"\\x{62}", "\\141", "\\o{142}", "\\ca", "\\c[", "\\p{L}", "\\pL", "\\N", "\\n", "\\R", "\\h", "\\X", "[", "]", "[[:alpha:]]", "[:alpha:]",
	"[^]a]", "[]a]", "[\\]a]", "[\\Qa]\\E]", "[a\\E]", "(*ACCEPT)", "(*FAIL)", "(*PRUNE)", "(*COMMIT)", "(*SKIP)", "{", "}", "{a}", "\\", "\\/", "\\_",
	"(?<*", "(*pla:", "(*atomic:", "(?C1)", "(?^)", "-", ":", "<", "!", "=", "'", "(?'q'", "\\G",
};
enum { COMMON = 9 };

static const char *const starts[] = { "", "", "", "^", "^", "^/", "(?i)", "(?i)^", "(?x)", "(*NO_START_OPT)", "(*NO_AUTO_POSSESS)", "(*UCP)", "(*CRLF)",
	"(?m)^", "(?U)", "(?n)" };

static const char *
random_pattern(struct builder *b)
{
	unsigned open = 0, n = 1 + dice(8);

	b->n = 0;
	builder_text(b, starts[dice(ARRAY_COUNT(starts))]);
	for (; n > 0; n--) {
		const char *piece = pieces[dice(dice(2) == 0 ? COMMON : ARRAY_COUNT(pieces))];

		open += piece[0] == '(' && strchr(piece, ')') == NULL;
		open -= open > 0 && piece[0] == ')';
		builder_text(b, piece);
	}
	for (; open > 0; open--)
		builder_byte(b, ')');
	b->at[b->n] = '\0';
	return b->at;
}

/* Of the pattern's own bytes as much as not, so that many match. */
static struct slice
random_text(struct builder *b, const char *pattern)
{
	size_t length = strlen(pattern);

	b->n = 0;
	for (size_t i = 0; i < length && dice(20) != 0; i++)
		switch (dice(8)) {
		case 0:
			builder_byte(b, "abc/.A1 "[dice(8)]);
			break;
		case 1:
			builder_byte(b, (char)(pattern[i] ^ (ascii_is_alpha(pattern[i]) ? 0x20 : 0)));
			break;
		default:
			if (ascii_is_alpha(pattern[i]) || pattern[i] == '/' || dice(8) == 0)
				builder_byte(b, pattern[i]);
		}
	return builder_slice(b);
}

enum { PATTERNS = 40 };

struct tried {
	struct regex *is, *plain;       /* the second one without a literal prefix */
	const char *pattern;
};

static size_t matched, told;

static void
try(struct sieve_case *c, const struct tried *t, size_t item, struct slice text)
{
	size_t captures[2 * REGEX_CAPTURES_MAX];
	bool over, matches = regex_match(t->plain, text, captures, &over);

	if (over)
		return;
	matched += matches && c->items[item].pieces.n > 0;
	told += !has(c, item);
	if (matches && !has(c, item))
		fail_msg("%s: \"%.*s\" was sieved out", t->pattern, SLICE_ARG(text));
	if (regex_match(t->is, text, captures, &over) != matches && !over)
		fail_msg("%s: \"%.*s\" %s", t->pattern, SLICE_ARG(text), matches ? "was a match" : "was none");
}

static bool
compile(struct exchange_case *e, const char *pattern, struct tried *out)
{
	/* the group changes nothing, but hides what the pattern begins with; not before a verb */
	const char *plain = arena_printf(&e->config.arena, strncmp(pattern, "(*", 2) == 0 ? "%s" : "(?:)%s", pattern);

	out->pattern = arena_text(&e->config.arena, slice_of(pattern));
	out->is = regex_compile(&e->reading, slice_of(pattern), false, (struct span){ 0 });
	out->plain = out->is == NULL ? NULL : regex_compile(&e->reading, slice_of(plain), false, (struct span){ 0 });
	return out->plain != NULL;
}

/* What matches is never sieved out. */
static void
test_random(void **state)
{
	char pattern_memory[256], text_memory[256];
	struct builder pattern = builder_on(pattern_memory, sizeof(pattern_memory) - 1);
	struct builder text = builder_on(text_memory, sizeof(text_memory));

	for (int round = 0; round < 600; round++) {
		struct exchange_case e;
		struct sieve_case c;
		struct tried tried[PATTERNS];

		exchange_open(&e, "");
		open_sieve(&c);
		while (c.count < PATTERNS)
			if (compile(&e, random_pattern(&pattern), &tried[c.count])) {
				c.items[c.count] =
				    (struct sieve_item){ regex_pieces(tried[c.count].is), 10 * (uint32_t)c.count };
				c.count++;
			}
		build(&c);
		for (int i = 0; i < 80; i++) {
			ask(&c, random_text(&text, tried[i % PATTERNS].pattern));
			for (size_t k = 0; k < c.count; k++)
				try(&c, &tried[k], k, builder_slice(&text));
		}
		close_sieve(&c);
		exchange_close(&e);
	}
	assert_true(matched > 30000);
	assert_true(told > 500000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_rarest),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
