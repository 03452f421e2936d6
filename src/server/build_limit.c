/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits: found by name where a step asks for one, and each with a table in the memory that workers
 * share.
 */
#include "server/build_inner.h"

static void
report_double(struct build *b, const struct filled *items, size_t i)
{
	const struct limit_block *block = items[i].data;

	diag_error(b->diag, block->name.span, "there are two limits \"%.*s\"",
	    SLICE_ARG(diag_word(block->name.text)));
	for (size_t j = 0; j < i; j++) {
		const struct limit_block *other = items[j].data;

		if (slice_equal(other->name.text, block->name.text))
			diag_note(b->diag, other->name.span, "the first is here");
	}
}

void
build_limits(struct build *b)
{
	const struct filled *items = b->main.limits.items;

	b->limit_items = arena_array(&b->work, b->main.limits.n, sizeof(*b->limit_items));
	for (size_t i = 0; i < b->main.limits.n; i++) {
		const struct limit_block *block = items[i].data;

		if (items[i].broken)
			continue;

		struct limit *l = limit_build(&b->reading, block);

		if (l == NULL)
			continue;
		if (!map_add(&b->limits, l->name, l))
			report_double(b, items, i);
		else
			b->limit_items[b->limit_count++] = l;
	}
}

void
build_limits_end(struct build *b)
{
	for (size_t i = 0; i < b->limit_count; i++) {
		struct limit *l = b->limit_items[i];

		l->shared =
		    build_add_shared(b, SHARED_LIMIT, limit_size(l), l->name, SLICE("limit"));
	}
}

static const char *
limit_name(void *what, size_t i)
{
	const struct build *b = what;

	return b->limit_items[i]->name.at;
}

/* Whose block is broken is there, though it is not known. */
static bool
is_broken(const struct build *b, struct slice name)
{
	const struct filled *items = b->main.limits.items;

	for (size_t i = 0; i < b->main.limits.n; i++)
		if (slice_equal(((const struct limit_block *)items[i].data)->name.text, name))
			return true;
	return false;
}

const struct limit *
build_limit(struct build *b, struct slice name, struct span at)
{
	const struct limit *l = map_find(&b->limits, name);

	if (l != NULL || is_broken(b, name))
		return l;

	const char *closest = diag_closest(name, limit_name, b, b->limit_count);

	diag_error(b->diag, at, "there is no limit \"%.*s\"" DIAG_MEANT,
	    SLICE_ARG(diag_word(name)), DIAG_MEANT_ARG(closest));
	return NULL;
}
