/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text: lines, as Workerman's Text has them on the wire, but that a body with a line feed in it is
 * refused and not sent as two. frame: a length of four bytes that counts all of the message, as its
 * Frame, but that a length below four ends the connection.
 */
#include "protocols/frame/frame_builtin.h"

static const struct {
	const char *name;
	struct frame frame;
} builtins[] = {
	{ "text", { .kind = FRAME_BOUNDARY, .boundary = { .any = { SLICE("\n") }, .count = 1 },
	    .strip_cr = true, .max = 1 << 20, .answers = FRAME_ANSWERS_IN_ORDER } },
	{ "frame", { .kind = FRAME_LENGTH,
	    .lengths = { { .number = { .form = NUMBER_UNSIGNED, .width = 4 } } },
	    .length_count = 1, .counts = FRAME_COUNTS_WHOLE, .max = 1 << 20,
	    .answers = FRAME_ANSWERS_IN_ORDER } },
};

/* They are good: a test checks them. */
static void
say_nothing(
    void *who, const struct frame *f, enum frame_part part, size_t index, const char *text)
{
}

struct declared *
frame_builtin(struct arena *a, size_t n)
{
	struct frame_mistakes mistakes = { say_nothing, NULL, 0 };
	struct declared *x;

	if (n >= ARRAY_COUNT(builtins))
		return NULL;
	x = arena_zalloc(a, sizeof(*x));
	x->frame = builtins[n].frame;
	if (!frame_check(&x->frame, &mistakes))
		return NULL;
	declared_init(x, builtins[n].name);
	return x;
}
