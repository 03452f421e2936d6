/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fingerprints are of the words, not of where they stand: neither a comment nor a line that moved is a
 * change. What is told apart is what has a name.
 */
#include "server/compare.h"

#include "base/map.h"

enum { SHOWN = 20 };                    /* lines of one kind of change; the rest is a number */

static const char *const kind_names[COMPARE_KINDS][2] = {
	[COMPARE_LISTENER] = { "listener", "listeners" },
	[COMPARE_UPSTREAM] = { "upstream", "upstreams" },
	[COMPARE_PEER] = { "peer", "peers" },
	[COMPARE_SERVER] = { "server", "servers" },
	[COMPARE_ROUTE] = { "route", "routes" },
	[COMPARE_PROTOCOL] = { "protocol", "protocols" },
	[COMPARE_LIMIT] = { "limit", "limits" },
	[COMPARE_MAP] = { "map", "maps" },
	[COMPARE_MODULE] = { "module", "modules" },
	[COMPARE_SETTING] = { "setting", "settings" },
};

/* ------------------------------------------------------------------ fingerprints */

static uint64_t
add_slice(uint64_t so_far, struct slice s)
{
	return fingerprint_add(fingerprint_add(so_far, &s.n, sizeof(s.n)), s.at, s.n);
}

static uint64_t
add_value(uint64_t so_far, const struct value *v)
{
	return add_slice(fingerprint_add(so_far, v->kind == VALUE_WORD ? "w" : "s", 1), v->raw);
}

static uint64_t
add_expression(uint64_t so_far, const struct expression *e)
{
	const unsigned char what[] = { (unsigned char)e->kind, (unsigned char)e->comparison, e->negated };

	so_far = fingerprint_add(so_far, what, sizeof(what));
	if (e->left != NULL)
		so_far = add_expression(so_far, e->left);
	if (e->right != NULL)
		so_far = add_expression(so_far, e->right);
	so_far = add_value(so_far, &e->field);
	for (size_t i = 0; i < e->operand_count; i++)
		so_far = add_value(so_far, &e->operands[i]);
	return fingerprint_add(so_far, ")", 1);
}

static uint64_t add_block(uint64_t so_far, const struct block *b, const char *except);

static uint64_t
add_statement(uint64_t so_far, const struct statement *s, const char *except)
{
	for (size_t i = 0; i < s->value_count; i++)
		so_far = add_value(so_far, &s->values[i]);
	if (s->when != NULL)
		so_far = add_expression(so_far, s->when);
	if (s->block != NULL)
		so_far = add_block(so_far, s->block, except);
	return fingerprint_add(so_far, ";", 1);
}

/* All of it but statements of that word, which are parts of their own. */
static uint64_t
add_block(uint64_t so_far, const struct block *b, const char *except)
{
	so_far = fingerprint_add(so_far, "{", 1);
	for (const struct statement *s = b->first; s != NULL; s = s->next)
		if (except == NULL || !slice_is(s->values[0].raw, except))
			so_far = add_statement(so_far, s, NULL);
	return fingerprint_add(so_far, "}", 1);
}

/* ------------------------------------------------------------------ the list */

static struct slice
second(const struct statement *s)
{
	return s->value_count > 1 ? s->values[1].raw : SLICE_EMPTY;
}

void
compare_add(struct compare_list *list, struct arena *a, const struct compare_part *part)
{
	*ARENA_PUSH(a, list->parts, list->count, list->room) = *part;
}

void
compare_add_file(
    struct compare_list *list, enum compare_kind kind, struct slice name, struct slice text)
{
	for (size_t i = 0; i < list->count; i++) {
		struct compare_part *p = &list->parts[i];

		if (p->kind == kind && slice_equal(p->name, name))
			p->fingerprint = add_slice(p->fingerprint, text);
	}
}

static void
add_part(struct compare_list *list, struct arena *a, enum compare_kind kind, struct slice name,
    struct slice of, const struct statement *s, const char *except)
{
	compare_add(list, a, &(struct compare_part){ .kind = kind, .name = name, .of = of,
		.fingerprint = add_statement(FINGERPRINT_START, s, except) });
}

/* As it is written: `= /x`, `~ "^/u"`. */
static struct slice
written(struct arena *a, const struct statement *s)
{
	size_t n = 0;

	for (size_t i = 1; i < s->value_count; i++)
		n += s->values[i].raw.n + 1;

	struct builder b = builder_on(arena_alloc(a, n + 1), n);

	for (size_t i = 1; i < s->value_count; i++) {
		if (i > 1)
			builder_byte(&b, ' ');
		builder_slice_put(&b, s->values[i].raw);
	}
	return builder_slice(&b);
}

/* Each statement of that word in the block is a part. */
static void
add_inner(struct compare_list *list, struct arena *a, const struct statement *outer, const char *word,
    enum compare_kind kind, struct slice of)
{
	for (const struct statement *s = outer->block->first; s != NULL; s = s->next)
		if (slice_is(s->values[0].raw, word))
			add_part(list, a, kind,
			    kind == COMPARE_ROUTE ? written(a, s) : second(s), of, s, NULL);
}

/* A server without a name goes by its first one, or by where it listens. */
static struct slice
server_name(const struct statement *server)
{
	static const char *const words[] = { "server_name", "listen" };

	if (server->value_count > 1)
		return server->values[1].raw;
	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		for (const struct statement *s = server->block->first; s != NULL; s = s->next)
			if (slice_is(s->values[0].raw, words[i]) && s->value_count > 1)
				return s->values[1].raw;
	return SLICE_EMPTY;
}

static void
read_one(struct compare_list *list, struct arena *a, const struct statement *s)
{
	static const struct {
		const char *word;
		enum compare_kind kind;
	} plain[] = { { "protocol", COMPARE_PROTOCOL }, { "limit", COMPARE_LIMIT },
		{ "map", COMPARE_MAP }, { "module", COMPARE_MODULE } };
	struct slice word = s->values[0].raw;

	if (s->block != NULL && slice_is(word, "server")) {
		struct slice name = server_name(s);

		add_part(list, a, COMPARE_SERVER, name, SLICE_EMPTY, s, "route");
		add_inner(list, a, s, "route", COMPARE_ROUTE, name);
		return;
	}
	if (s->block != NULL && slice_is(word, "upstream")) {
		add_part(list, a, COMPARE_UPSTREAM, second(s), SLICE_EMPTY, s, "server");
		add_inner(list, a, s, "server", COMPARE_PEER, second(s));
		return;
	}
	for (size_t i = 0; i < ARRAY_COUNT(plain); i++)
		if (slice_is(word, plain[i].word)) {
			add_part(list, a, plain[i].kind, second(s), SLICE_EMPTY, s, NULL);
			return;
		}
	add_part(list, a, COMPARE_SETTING, word, SLICE_EMPTY, s, NULL);
}

void
compare_read(struct compare_list *list, struct arena *a, const struct block *tree)
{
	for (const struct statement *s = tree->first; s != NULL; s = s->next)
		read_one(list, a, s);
}

/* ------------------------------------------------------------------ the comparison */

enum change { ADDED, REMOVED, CHANGED, CHANGES };

struct differences {
	size_t counts[CHANGES][COMPARE_KINDS];
	size_t all;
	FILE *to;
};

/* One of the two lists; what is neither at its beginning nor at its end as in the other. */
struct side {
	const struct compare_list *list;
	size_t from, to;
	uint32_t *nth;                  /* which of those that are called so, in between */
	struct map parts;               /* in between: by name and number */
};

static bool
same_name(const struct compare_part *a, const struct compare_part *b)
{
	return a->kind == b->kind && slice_equal(a->name, b->name) && slice_equal(a->of, b->of);
}

static void
put_slice(FILE *to, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.at[i];

		if (c >= ' ' && c != 0x7f)
			fputc(c, to);
		else
			fprintf(to, "\\x%02x", c);
	}
}

/* How many before it are called so. Asked for the few that are shown. */
static unsigned
number_of(const struct compare_list *list, const struct compare_part *p)
{
	unsigned n = 0;

	for (const struct compare_part *other = list->parts; other < p; other++)
		n += same_name(other, p);
	return n;
}

static void
note(struct differences *c, enum change change, const struct compare_list *list, size_t i)
{
	static const char *const words[CHANGES] = { "added", "removed", "changed" };
	const struct compare_part *p = &list->parts[i];
	bool of_server = p->kind == COMPARE_ROUTE;

	c->all++;
	if (++c->counts[change][p->kind] > SHOWN)
		return;
	fprintf(c->to, "%s %s ", words[change], kind_names[p->kind][0]);
	if (p->name.n != 0)
		put_slice(c->to, p->name);
	else
		fputs(of_server ? "(of all paths)" : "(without a name)", c->to);
	unsigned before = number_of(list, p);

	if (before != 0)
		fprintf(c->to, " (number %u of them)", before + 1);
	if (p->of.n != 0) {
		fputs(of_server ? " of server " : " of upstream ", c->to);
		put_slice(c->to, p->of);
	}
	fputc('\n', c->to);
}

static void
note_rest(const struct differences *c)
{
	static const char *const words[CHANGES] = { "added", "removed", "changed" };

	for (int change = 0; change < CHANGES; change++)
		for (int kind = 0; kind < COMPARE_KINDS; kind++) {
			size_t n = c->counts[change][kind];

			if (n > SHOWN)
				fprintf(c->to, "%s %zu %s more\n", words[change], n - SHOWN,
				    kind_names[kind][n - SHOWN != 1]);
		}
}

static struct slice
key_of(struct arena *a, const struct compare_part *p, uint32_t nth)
{
	const uint32_t numbers[] = { p->kind, nth, (uint32_t)p->of.n };
	size_t n = sizeof(numbers) + p->of.n + p->name.n;
	struct builder b = builder_on(arena_alloc(a, n), n);

	builder_put(&b, (const char *)numbers, sizeof(numbers));
	builder_slice_put(&b, p->of);
	builder_slice_put(&b, p->name);
	return builder_slice(&b);
}

static void
index_parts(struct side *s, struct arena *a)
{
	const struct compare_part *parts = s->list->parts;
	struct map last;

	map_init(&last, a, false);
	map_init(&s->parts, a, false);
	s->nth = arena_array(a, s->to - s->from, sizeof(*s->nth));
	for (size_t i = s->from; i < s->to; i++) {
		uint32_t *nth = &s->nth[i - s->from];
		struct slice name = key_of(a, &parts[i], 0);
		const uint32_t *before = map_find(&last, name);

		*nth = before != NULL ? *before + 1 : 0;
		map_set(&last, name, nth);
		map_set(&s->parts, key_of(a, &parts[i], *nth), (void *)(uintptr_t)&parts[i]);
	}
}

/* Most reloads change a word here or there: what stands at either end as it did is not looked up. */
static void
skip_ends(struct side *old, struct side *new)
{
	const struct compare_part *before = old->list->parts, *now = new->list->parts;

	while (old->from < old->to && new->from < new->to &&
	       same_name(&before[old->from], &now[new->from]))
		old->from++, new->from++;
	while (old->to > old->from && new->to > new->from &&
	       same_name(&before[old->to - 1], &now[new->to - 1]))
		old->to--, new->to--;
}

/* What part i of the new list was, or NULL. */
static const struct compare_part *
part_before(const struct side *old, const struct side *new, struct arena *a, size_t i)
{
	if (i < new->from)
		return &old->list->parts[i];
	if (i >= new->to)
		return &old->list->parts[old->to + (i - new->to)];
	return map_find(&old->parts, key_of(a, &new->list->parts[i], new->nth[i - new->from]));
}

static void
note_all(struct differences *c, struct side *old, struct side *new, struct arena *a)
{
	for (size_t i = 0; i < new->list->count; i++) {
		const struct compare_part *was = part_before(old, new, a, i);

		if (was == NULL)
			note(c, ADDED, new->list, i);
		else if (was->fingerprint != new->list->parts[i].fingerprint)
			note(c, CHANGED, new->list, i);
	}
	for (size_t i = old->from; i < old->to; i++)
		if (map_find(&new->parts,
			key_of(a, &old->list->parts[i], old->nth[i - old->from])) == NULL)
			note(c, REMOVED, old->list, i);
}

void
compare_print(const struct compare_list *before, const struct compare_list *now, FILE *to)
{
	struct differences c = { .to = to };
	struct side old = { .list = before, .to = before->count };
	struct side new = { .list = now, .to = now->count };
	struct arena a;

	arena_init(&a, NULL, 0);
	skip_ends(&old, &new);
	index_parts(&old, &a);
	index_parts(&new, &a);
	note_all(&c, &old, &new, &a);
	note_rest(&c);
	if (c.all == 0 && old.from == old.to && new.from == new.to)
		fputs("nothing changed\n", to);
	else if (c.all == 0)
		fputs("changed: the order of some parts\n", to);
	arena_reset(&a);
}
