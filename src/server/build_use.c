/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a block says and its protocol has no use for, by the one list in core/settings.c. Said is
 * what is other than it would be without a word: what is inherited is for all, and what -T prints
 * can be read.
 */
#include "server/build_inner.h"

#include <string.h>

/* ------------------------------------------------------------------ what is other */

static bool
list_differs(const struct list *own, const struct list *outer, size_t size)
{
	return own->n != outer->n ||
	       (own->n != 0 && memcmp(own->items, outer->items, own->n * size) != 0);
}

static bool
argument_differs(const struct argument *a, const char *own, const char *outer)
{
	own += a->offset;
	outer += a->offset;
	if ((a->flags & ARGUMENT_MANY) != 0)
		return list_differs((const void *)own, (const void *)outer, a->type->size);
	if (a->type == &type_bytes || a->type == &type_string)
		return !slice_equal(*(const struct slice *)(const void *)own,
		    *(const struct slice *)(const void *)outer);
	if (a->type == &type_raw)       /* where it stands makes no other of it */
		return !slice_equal(((const struct value *)(const void *)own)->raw,
		    ((const struct value *)(const void *)outer)->raw);
	return memcmp(own, outer, a->type->size) != 0;
}

/* By the argument of that name, or of a block the row, where `part` is not NULL. */
static bool
row_differs(const struct directive *row, const char *part, const char *own, const char *outer)
{
	bool differs = false;

	own += row->offset;
	outer += row->offset;
	for (const struct argument *a = row->arguments; a != NULL && a->type != NULL; a++)
		if (part == NULL || strcmp(a->name, part) == 0)
			differs |= argument_differs(a, own, outer);
	for (const struct table *t = row->inside; t != NULL && t->rows != NULL; t++)
		for (const struct directive *in = t->rows; in->name != NULL; in++)
			if (part == NULL || strcmp(in->name, part) == 0)
				differs |=
				    row_differs(in, NULL, own + t->offset, outer + t->offset);
	return differs;
}

static const struct directive *
find_row(const struct directive *rows, struct slice word)
{
	for (; rows->name != NULL; rows++)
		if (slice_is(word, rows->name))
			return rows;
	return NULL;
}

/* ------------------------------------------------------------------ what is of no use */

static void
report_use(struct build *b, const struct build_said *said, const struct setting_use *use,
    struct span at)
{
	const char *word = use->block != NULL && use->part != NULL ? use->part : use->word;

	if (use->only_said)
		diag_warning(b->diag, at, "\"%s\" does nothing here: this %s speaks %s", word,
		    said->what, said->protocol->name);
	else
		diag_error(b->diag, at, "\"%s\" is for %s; this %s speaks %s", word,
		    (use->traits & PROTOCOL_HTTP) != 0 ? "protocol http" : "protocols of messages",
		    said->what, said->protocol->name);
}

/* Of a single block every row has its place in the struct round it, as its own has. */
static void
check_use(struct build *b, const struct build_said *said, const struct directive *rows,
    const char *block, const struct statement *s)
{
	const struct directive *row = find_row(rows, s->values[0].raw);

	for (const struct setting_use *use = setting_uses; row != NULL && use->word != NULL; use++)
		if ((use->block == NULL) == (block == NULL) &&
		    (block == NULL || strcmp(block, use->block) == 0) &&
		    strcmp(row->name, use->word) == 0 && (use->traits & said->protocol->traits) == 0 &&
		    row_differs(row, use->part, said->own, said->outer))
			report_use(b, said, use, s->values[0].span);
}

void
build_check_uses(struct build *b, const struct build_said *said)
{
	static const char *const blocks[] = { "timeout", "max", "min", "buffer", "pool" };

	for (const struct statement *s = said->block != NULL ? said->block->first : NULL; s != NULL;
	     s = s->next) {
		const struct directive *row = find_row(said->rows, s->values[0].raw);

		check_use(b, said, said->rows, NULL, s);
		for (size_t i = 0; i < ARRAY_COUNT(blocks) && row != NULL && s->block != NULL; i++)
			for (const struct statement *in = s->block->first;
			     in != NULL && strcmp(row->name, blocks[i]) == 0; in = in->next)
				check_use(b, said, row->inside->rows, blocks[i], in);
	}
}

/* ------------------------------------------------------------------ heartbeats */

/* Where a block says it; `otherwise` when it has it from elsewhere. */
static struct span
span_of(const struct block *block, const char *word, struct span otherwise)
{
	for (const struct statement *s = block != NULL ? block->first : NULL; s != NULL; s = s->next)
		if (slice_is(s->values[0].raw, word))
			return s->values[0].span;
	return otherwise;
}

void
build_check_heartbeat(struct build *b, const struct protocol_ops *protocol,
    const struct heartbeat *h, bool question, const struct block *block, struct span otherwise)
{
	const struct codec *k = protocol->codec;
	struct span at = span_of(block, "heartbeat", otherwise);
	struct draft draft = { .body = h->send, .is_answer = !question };

	if (k == NULL || h->interval == 0)
		return;
	if (h->send.n != 0)
		codec_check(k, protocol->name, &draft, &b->reading, at);
	else if (k->ping == NULL || k->ping(k).n == 0)
		diag_error(b->diag, at,
		    "%s has no ping of its own; write: heartbeat { interval …; send \"…\"; }",
		    protocol->name);
	else if (!question && k->pairing != CODEC_NONE)
		diag_error(b->diag, at,
		    "the ping of %s is a question, and a client would take it for an answer; write: "
		    "heartbeat { interval …; send \"…\"; }",
		    protocol->name);
}
