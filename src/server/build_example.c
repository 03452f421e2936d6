/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The examples of a protocol, tried: cut at every byte each is one message, what is said of it
 * holds, and written anew it is the same bytes. What may be written in several ways (another
 * boundary, blanks round JSON, lines of a header, escapes that need not be) is read again instead.
 */
#include "core/match.h"
#include "protocols/frame/declared.h"
#include "protocols/frame/frame_rows.h"
#include "server/build_inner.h"
#include "server/stage.h"

#include <stdarg.h>
#include <stdio.h>

enum { EXAMPLE_MAX = 4096, SHOWN_MAX = 240 };

/* An example while it is tried. */
struct trial {
	struct build *b;
	const struct declared *x;
	const struct example_line *line;
	struct stage *stage;
	bool question;                  /* as the first message of a client: a preface, if there is one */
};

PRINTF(3, 4) static bool
refuse(const struct trial *t, struct slice bytes, const char *format, ...)
{
	char text[64], shown[4 * SHOWN_MAX + 8];
	struct builder to = builder_on(shown, sizeof(shown));
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	builder_log(&to, slice_first(bytes, MIN_OF(bytes.n, (size_t)SHOWN_MAX)));
	if (bytes.n > SHOWN_MAX)
		builder_text(&to, "...");
	diag_error(t->b->diag, t->line->raw.span, "%s%s%.*s%s", text, bytes.at != NULL ? " \"" : "",
	    (int)to.n, to.at, bytes.at != NULL ? "\"" : "");
	return false;
}

static const struct slice nothing = { NULL, 0 };

/* ------------------------------------------------------------------ read */

/*
 * All of `in`, of which `cut` bytes come first: how many messages it is, the last one in *u;
 * negative: it is malformed, u->fault says how.
 */
static int
read_cut(const struct trial *t, struct slice in, size_t cut, struct unit *u)
{
	const struct codec *k = &t->x->codec;
	struct scratch *scratch = &t->stage->engine.loop.scratch;
	_Alignas(8) char state[CODEC_STATE] = "";
	size_t have = cut > 0 ? cut : in.n;
	int count = 0;

	k->begin(k, state, t->question);
	for (;;) {
		struct unit one;
		struct slice left = slice_first(in, have);
		enum codec_verdict verdict = k->next(k, state, left, scratch, &one);

		if (verdict == CODEC_MORE && have < in.n) {
			have = in.n;
			continue;
		}
		if (verdict == CODEC_MORE)
			verdict = k->finish(k, state, left, scratch, &one);
		if (verdict == CODEC_MORE)
			return count;
		if (verdict == CODEC_BAD || (verdict == CODEC_SKIP && one.fault != NULL)) {
			u->fault = one.fault;
			return -1;
		}
		if (verdict == CODEC_MESSAGE) {
			*u = one;
			count++;
		}
		in = slice_after(in, one.wire.n);
		have -= one.wire.n;
	}
}

static bool
is_one(const struct trial *t, struct unit *u)
{
	struct slice in = t->line->bytes;
	int count = read_cut(t, in, 0, u);

	if (count < 0)
		return refuse(t, nothing, "this example is malformed: %s", u->fault);
	if (count != 1)
		return refuse(t, nothing,
		    count == 0 ? "there is no message in this example"
			       : "there are %d messages in this example", count);
	/* what was unescaped must outlive the next time */
	u->inner = arena_slice(&t->stage->ex.arena, u->inner);
	for (size_t cut = 1; cut < in.n; cut++) {
		struct unit other;

		if (read_cut(t, in, cut, &other) != 1 ||
		    !slice_equal(unit_body(&other), unit_body(u)))
			return refuse(t, nothing, "cut at byte %zu, this example is another", cut);
		scratch_reset(&t->stage->engine.loop.scratch);
	}
	return true;
}

/* ------------------------------------------------------------------ written */

static bool
has_spellings(const struct unit *u)
{
	const struct frame *f = u->by;

	switch (f->kind) {
	case FRAME_BOUNDARY:
		return f->strip_cr || f->boundary.count > 1;
	case FRAME_LENGTH:
		return f->varies;
	case FRAME_HEADERS:
	case FRAME_ESCAPED:
	case FRAME_JSON:
		return true;
	default:
		return false;
	}
}

static bool
is_written(const struct trial *t, const struct unit *u)
{
	const struct frame *f = u->of;
	struct frame_view view = declared_view(u);
	size_t size = 2 * (t->x->write_room + u->wire.n);
	struct builder out = builder_on(arena_alloc(&t->stage->ex.arena, size), size);
	struct frame_draft draft = { .head = view.head, .body = view.body };
	struct unit again;
	enum frame_fault fault;

	if (view.by->kind != FRAME_HEADERS)
		draft.head = slice_first(view.head, MIN_OF(view.by->head, view.head.n));
	if (f->kind == FRAME_SWITCH)
		draft.type = declared_type(f, view.inner);
	fault = frame_write(f, &draft, &out);
	if (fault != FRAME_FINE)
		return refuse(t, nothing, "this example cannot be written: %s", frame_fault_word(fault));
	if (slice_equal(builder_slice(&out), t->line->bytes) ||
	    (has_spellings(u) && read_cut(t, builder_slice(&out), 0, &again) == 1 &&
		slice_equal(unit_body(&again), view.body)))
		return true;
	return refuse(t, builder_slice(&out), "written anew, this example is");
}

/* ------------------------------------------------------------------ what is said of it */

static bool
is_as_said(const struct trial *t, const struct expression *when, const struct unit *u)
{
	struct scope scope = {
		.protocol = &t->x->ops,
		.protocols = t->b->protocols,
		.moment = MOMENT_QUESTION,
		.maps = &t->b->maps,
		.where = "the condition of an example",
	};
	const struct condition *c = condition_compile(&t->b->reading, &scope, when);

	exchange_set_unit(&t->stage->ex, u);
	if (c == NULL)
		return false;
	if (condition_is(c, &t->stage->ex))
		return true;
	return refuse(t, unit_body(u), "its condition does not hold: the body is");
}

static void
try(struct trial *t, const struct filled *f)
{
	struct unit u;

	t->line = f->data;
	if (f->broken)
		return;
	if (t->line->bytes.n > EXAMPLE_MAX) {
		refuse(t, nothing, "an example has at most %d bytes", EXAMPLE_MAX);
		return;
	}
	t->stage = stage_open(&t->b->work);
	/* what is no preface is one of the messages behind it */
	t->question = true;
	t->question = t->x->frame.preface != NULL && read_cut(t, t->line->bytes, 0, &u) == 1;
	if (is_one(t, &u) && is_written(t, &u) && f->statement->when != NULL)
		(void)is_as_said(t, f->statement->when, &u);
	stage_close(t->stage);
}

void
build_examples(struct build *b, const struct declared *x, const struct list *examples)
{
	const struct filled *items = examples->items;

	for (size_t i = 0; i < examples->n; i++)
		try(&(struct trial){ .b = b, .x = x }, &items[i]);
}
