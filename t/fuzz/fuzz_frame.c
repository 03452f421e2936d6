/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A declaration and a stream, both out of the input (the byte 0xff ends the first). Where the declaration is a good one: the
 * stream reads the same however it is cut, nothing is consumed that is not there, what a message holds
 * lies within it; the rest of the input as a body is written and read back, or not written at all;
 * and an id that was replaced is found again.
 */
#include "base/memory.h"
#include "frame_dice.h"
#include "fuzz.h"

enum { EVENTS = 4096, STREAM = 2048 };

/* ------------------------------------------------------------------ reading */

struct event {
	enum frame_verdict verdict;
	enum frame_fault fault;
	size_t at, n, head, close;
};

struct events {
	struct event list[EVENTS];
	size_t count;
};

/* What is skipped in several pieces, or with nothing wrong twice, is skipped once. */
static void
note(struct events *e, enum frame_verdict verdict, const struct frame_cut *cut, size_t at)
{
	struct event *last = e->count > 0 ? &e->list[e->count - 1] : NULL;

	if (verdict == FRAME_SKIP && cut->fault == FRAME_FINE && last != NULL && last->verdict == FRAME_SKIP) {
		last->n += cut->n;
		return;
	}
	MUST(e->count < EVENTS);
	e->list[e->count++] = (struct event){ verdict, cut->fault, at, verdict == FRAME_BAD ? 0 : cut->n,
		verdict == FRAME_MESSAGE ? cut->head : 0, verdict == FRAME_MESSAGE ? cut->close : 0 };
}

static void
check_inside(struct slice what, struct slice in)
{
	MUST(what.n <= in.n && (what.n == 0 || (what.at >= in.at && what.at + what.n <= in.at + in.n)));
}

static void check_ids(const struct frame *f, const struct frame_view *view);

static void
check_message(const struct frame *f, const struct frame_view *view, struct slice in, struct slice room)
{
	static const char *const words[] = { "len", "body", "a", "id", "[0]", "[1].a" };

	MUST(view->wire.at == in.at && view->wire.n <= in.n);
	if (view->inner.at >= room.at && view->inner.at <= room.at + room.n)
		check_inside(view->inner, room);
	else
		check_inside(view->inner, view->wire);
	check_inside(view->head, view->inner);
	check_inside(view->body, view->inner);
	for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
		struct frame_name name;
		struct frame_value v = { .raw = { NULL, 0 } };
		char *decoded = memory_alloc(view->body.n);
		struct builder b = builder_on(decoded, view->body.n);

		if (frame_name_parse(f, slice_of(words[i]), &name) == NULL &&
		    frame_name_get(&name, view, 0, &b, &v) == FRAME_VALUE_FOUND && v.raw.at != NULL)
			check_inside(v.raw, view->inner);
		free(decoded);
	}
	if (f->answers_by != NULL)
		check_ids(f, view);
}

static void
read_all(const struct frame *f, struct slice in, size_t step, bool question, struct events *e)
{
	struct frame_state s;
	size_t at = 0, have = 0;

	e->count = 0;
	frame_begin(f, &s, question);
	for (;;) {
		struct frame_cut cut = { .n = 0 };
		struct frame_view view;
		struct slice left = slice_make(in.at + at, have - at);
		struct slice room = slice_make(memory_alloc(left.n), left.n);
		struct builder b = builder_on((char *)room.at, room.n);
		enum frame_verdict verdict = frame_next(f, &s, left, &b, &cut, &view);

		MUST(!b.full);
		if (verdict == FRAME_MORE && have == in.n) {
			verdict = frame_finish(f, &s, left, &cut);
			if (verdict == FRAME_MESSAGE) {
				cut.fault = frame_open(&cut, left, &b, &view);
				verdict = cut.fault == FRAME_FINE ? FRAME_MESSAGE : FRAME_BAD;
			}
			if (verdict == FRAME_MORE)
				cut.n = 1;
		}
		if (verdict == FRAME_MESSAGE && step > in.n)
			check_message(f, &view, left, room);
		free((char *)room.at);
		if (verdict == FRAME_MORE && have < in.n) {
			have += MIN_OF(step, in.n - have);
			continue;
		}
		if (verdict == FRAME_MORE)
			break;
		note(e, verdict, &cut, at);
		if (verdict == FRAME_BAD)
			break;
		MUST(cut.n > 0 && cut.n <= left.n);
		at += cut.n;
	}
}

/* ------------------------------------------------------------------ writing */

/* One message, behind a byte that may be skipped; false: not so. */
static bool
read_back(const struct frame *f, struct slice wire, struct builder *room, struct frame_view *view)
{
	struct frame_state s;
	struct frame_cut cut;
	enum frame_verdict verdict;

	frame_begin(f, &s, false);
	verdict = frame_next(f, &s, wire, room, &cut, view);
	if (verdict == FRAME_SKIP && f->kind == FRAME_ESCAPED && cut.n == 1) {
		wire = slice_after(wire, 1);
		verdict = frame_next(f, &s, wire, room, &cut, view);
	}
	if (f->kind == FRAME_WHOLE && verdict == FRAME_MORE) {
		verdict = frame_finish(f, &s, wire, &cut);
		MUST(verdict != FRAME_MESSAGE || frame_open(&cut, wire, room, view) == FRAME_FINE);
	}
	if (f->kind == FRAME_JSON && verdict == FRAME_MESSAGE)
		cut.n++;
	return verdict == FRAME_MESSAGE && cut.n == wire.n;
}

static void
check_writing(const struct frame *f, struct slice body, uint64_t type)
{
	size_t size = 2 * body.n + 256;
	struct builder out = builder_on(memory_alloc(size), size), room = builder_on(memory_alloc(size), size);
	struct frame_draft draft = { .body = body, .type = type };
	struct frame_view view;
	enum frame_fault fault = frame_write(f, &draft, &out);

	MUST(!out.full);
	if (fault == FRAME_FINE) {
		MUST(out.n <= f->max + (f->kind == FRAME_JSON));
		MUST(read_back(f, builder_slice(&out), &room, &view));
		MUST(slice_equal(view.body, body));
	} else {
		MUST(out.n == 0 && fault != FRAME_NO_ROOM);
	}
	free(out.at);
	free(room.at);
}

static void
check_ids(const struct frame *f, const struct frame_view *view)
{
	char digits[FRAME_ID_LONGEST], *copy;
	size_t size = 2 * view->wire.n + 256;
	struct slice was, ours, now;
	uint64_t number;
	struct frame_view again;

	if (frame_id_get(f, view, &was) != FRAME_ID_FOUND)
		return;
	check_inside(was, view->inner);
	ours = frame_id_make(f, MIN_OF(frame_id_most(f), (uint64_t)77), digits);

	struct builder out = builder_on(memory_alloc(size), size), room = builder_on(memory_alloc(size), size);

	MUST(ours.n <= sizeof(digits) && frame_id_number(f, ours, &number) && number == MIN_OF(frame_id_most(f), (uint64_t)77));
	if (frame_id_rewrite(f, view, was, ours, &out) == FRAME_FINE) {
		MUST(read_back(f, builder_slice(&out), &room, &again));
		MUST(frame_id_get(f, &again, &now) == FRAME_ID_FOUND && slice_equal(now, ours));
	}
	copy = memory_alloc(view->wire.n);
	memcpy(copy, view->wire.at, view->wire.n);
	if (frame_id_replace(view, was, ours, copy))
		MUST(memcmp(copy + (was.at - view->wire.at), ours.at, ours.n) == 0);
	free(copy);
	free(out.at);
	free(room.at);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct events whole, cut;
	struct slice in = slice_make((const char *)data, n);
	size_t end = slice_find(in, '\xff', 0);
	struct dice d = { slice_first(in, end) };
	struct dealt x;

	memset(&x, 0, sizeof(x));
	if (!deal(&d, &x))
		return 0;
	in = slice_after(in, MIN_OF(end + 1, n));
	in.n = MIN_OF(in.n, (size_t)STREAM);
	for (int question = 0; question < 2; question++) {
		read_all(&x.whole, in, in.n + 1, question, &whole);
		for (size_t step = 1; step <= 64 && step <= in.n; step = step * 2 + step / 3) {
			read_all(&x.whole, in, step, question, &cut);
			MUST(cut.count == whole.count);
			for (size_t i = 0; i < cut.count; i++)
				MUST(memcmp(&cut.list[i], &whole.list[i], sizeof(cut.list[i])) == 0);
		}
	}
	check_writing(&x.whole, in, x.list[0].value);
	check_writing(&x.whole, slice_first(in, MIN_OF(in.n, (size_t)5)), x.list[1].value);
	if (x.whole.preface != NULL)
		check_writing(x.whole.preface, in, 0);
	return 0;
}
