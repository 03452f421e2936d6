/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Max-Forwards: heeded where the question would leave us, so that what is answered here
 * (deny, return) needs no hop.
 */
#include "core/hops.h"

#include "core/exchange.h"

enum { DIGITS = 10 };                   /* that a number of hops has at most, when it goes on */

/* More hops than we can count are the most that we can. */
static bool
read_hops(const struct message *m, uint64_t *out)
{
	struct slice value = SLICE_EMPTY, second;

	if (!message_find(m, KNOWN_MAX_FORWARDS, SLICE_EMPTY, 0, &value) ||
	    message_find(m, KNOWN_MAX_FORWARDS, SLICE_EMPTY, 1, &second))
		return false;
	for (size_t i = 0; i < value.n; i++)
		if (!ascii_is_digit(value.at[i]))
			return false;
	if (!slice_to_u64(value, out) || *out > UINT32_MAX)
		*out = UINT32_MAX;
	return value.n != 0;
}

bool
hops_are_sound(const struct message *m)
{
	uint64_t left;

	return read_hops(m, &left);
}

bool
hops_are_left(const struct message *m)
{
	uint64_t left;

	return !read_hops(m, &left) || left != 0;
}

bool
hops_take(struct exchange *ex)
{
	struct message *m = &ex->question;
	struct builder b = builder_on(arena_alloc(&ex->arena, DIGITS), DIGITS);
	uint64_t left;

	/*
	 * asked elsewhere in place of a failure: it is still one hop; or a step has set it to no
	 * number
	 */
	if (ex->hop_counted || !read_hops(m, &left))
		return true;
	ex->hop_counted = true;
	if (left != 0) {
		builder_number(&b, left - 1);
		message_remove(m, KNOWN_MAX_FORWARDS, SLICE_EMPTY);
		message_add_known(m, &ex->arena, KNOWN_MAX_FORWARDS, builder_slice(&b));
		return true;
	}
	if (m->method == METHOD_TRACE)
		exchange_abort(ex, REASON_NOT_IMPLEMENTED);
	else
		exchange_return(ex, 200, SLICE_EMPTY, SLICE_EMPTY);
	return false;
}
