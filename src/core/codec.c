/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Views of a message that moves from the scratch to what outlives the pass.
 */
#include "core/codec.h"

static void
slice_move(struct slice *s, struct slice from, const char *to)
{
	if (s->at >= from.at && s->at <= from.at + from.n)
		s->at = to + (s->at - from.at);
}

void
unit_move(struct unit *u, struct slice from, const char *to)
{
	slice_move(&u->wire, from, to);
	slice_move(&u->inner, from, to);
}
