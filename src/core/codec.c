/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Views of a message that moves from the scratch to what outlives the pass; and whether what a
 * configuration says can be a message at all.
 */
#include "core/codec.h"

bool
codec_check(const struct codec *k, const char *protocol, const struct draft *d, struct reading *r,
    struct span at)
{
	struct scratch scratch;
	struct draft with_id = *d;
	struct slice wire = SLICE_EMPTY;
	char id[CODEC_ID_LONGEST];

	scratch_init(&scratch);
	if (d->is_answer && k->pairing == CODEC_BY_ID)
		with_id.id = k->id_make(k, 1, id);

	const char *wrong = k->write(k, &with_id, &scratch, &wire);

	if (wrong != NULL)
		diag_error(r->diag, at, "this cannot be a message of %s: %s", protocol, wrong);
	scratch_free(&scratch);
	return wrong == NULL;
}

static void
slice_move(struct slice *s, struct slice from, const char *to)
{
	/* What begins where `from` ends is another's, unless it is empty. */
	if (s->at >= from.at && s->at + s->n <= from.at + from.n)
		s->at = to + (s->at - from.at);
}

void
unit_move(struct unit *u, struct slice from, const char *to)
{
	slice_move(&u->wire, from, to);
	slice_move(&u->inner, from, to);
}
