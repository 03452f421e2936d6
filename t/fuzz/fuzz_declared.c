/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A declaration and a stream, both out of the input (the byte 0xff ends the first), through the table of a protocol of
 * messages. However the stream is cut, the same messages are in it; each may be answered, and the answer
 * is one message with that body; an id that was replaced is read again, and the old one put back.
 */
#include "base/memory.h"
#include "frame_dice.h"
#include "fuzz.h"
#include "protocols/frame/declared.h"

enum { EVENTS = 4096, STREAM = 1024 };

static struct scratch scratch;

struct event {
	enum codec_verdict verdict;
	const char *fault;
	size_t at, n, body_at, body_n, id_at, id_n;
};

struct events {
	struct event list[EVENTS];
	size_t count;
};

/* What is skipped in several pieces is skipped once. */
static void
note(struct events *e, enum codec_verdict verdict, const struct unit *u, size_t at)
{
	struct event *last = e->count > 0 ? &e->list[e->count - 1] : NULL;

	if (verdict == CODEC_SKIP && u->fault == NULL && last != NULL && last->verdict == CODEC_SKIP) {
		last->n += u->wire.n;
		return;
	}
	MUST(e->count < EVENTS);
	e->list[e->count++] = (struct event){ verdict, u->fault, at, verdict == CODEC_BAD ? 0 : u->wire.n, u->body_at, u->body_n,
		u->id_at, u->id_n };
}

/* One message, behind what is skipped; false: not so. */
static bool
read_back(const struct codec *k, struct slice wire, struct unit *u)
{
	_Alignas(8) char state[CODEC_STATE] = "";

	k->begin(k, state, false);
	for (;;) {
		enum codec_verdict verdict = k->next(k, state, wire, &scratch, u);

		if (verdict == CODEC_MORE)
			verdict = k->finish(k, state, wire, &scratch, u);
		if (verdict != CODEC_SKIP)
			return verdict == CODEC_MESSAGE;
		wire = slice_after(wire, u->wire.n);
	}
}

static void
check_id(const struct codec *k, const struct unit *u)
{
	uint64_t most = k->id_most(k), number, again;
	char room[CODEC_ID_LONGEST];
	struct unit ours, back;
	struct slice wire;

	MUST(u->id_n > 0 && u->id_n <= CODEC_ID_LONGEST && u->id_at + u->id_n <= u->inner.n && most >= 1);
	number = MIN_OF(most, (uint64_t)77);
	if (k->id_set(k, u, k->id_make(k, number, room), &scratch, &wire) != NULL)
		return;
	MUST(read_back(k, wire, &ours) && !ours.one_way);
	MUST(k->id_number(k, unit_id(&ours), &again) && again == number);
	if (k->id_set(k, &ours, unit_id(u), &scratch, &wire) != NULL)
		return;
	MUST(read_back(k, wire, &back) && slice_equal(unit_id(&back), unit_id(u)));
	MUST(slice_equal(unit_body(&back), unit_body(u)));
}

static void
check_answer(const struct codec *k, const struct unit *u, struct slice body)
{
	struct draft d = { .body = body, .id = unit_id(u), .question = u, .is_answer = true };
	struct unit answer;
	struct slice wire;

	if (k->write(k, &d, &scratch, &wire) != NULL)
		return;
	MUST(wire.n <= k->max + 1);
	MUST(read_back(k, wire, &answer));
	if (u->id_n > 0)
		MUST(slice_equal(unit_id(&answer), unit_id(u)));
	else
		MUST(slice_equal(unit_body(&answer), body));
}

static void
check_message(const struct codec *k, const struct unit *u, struct slice in)
{
	MUST(u->wire.at == in.at && u->wire.n > 0 && u->wire.n <= in.n && u->body_at + u->body_n <= u->inner.n);
	check_answer(k, u, unit_body(u));
	check_answer(k, u, slice_first(in, MIN_OF(in.n, (size_t)7)));
	if (k->pairing == CODEC_BY_ID && !u->one_way && u->fault == NULL)
		check_id(k, u);
}

static void
read_all(const struct codec *k, struct slice in, size_t step, bool question, struct events *e)
{
	_Alignas(8) char state[CODEC_STATE] = "";
	size_t at = 0, have = MIN_OF(step, in.n);

	e->count = 0;
	k->begin(k, state, question);
	for (;;) {
		struct unit u = { .fault = NULL };
		struct slice left = slice_make(in.at + at, have - at);
		enum codec_verdict verdict = k->next(k, state, left, &scratch, &u);

		if (verdict == CODEC_MORE && have < in.n) {
			have += MIN_OF(step, in.n - have);
			continue;
		}
		if (verdict == CODEC_MORE)
			verdict = k->finish(k, state, left, &scratch, &u);
		if (verdict == CODEC_MORE)
			return;
		note(e, verdict, &u, at);
		if (verdict == CODEC_BAD)
			return;
		MUST(u.wire.n > 0 && u.wire.n <= left.n);
		if (verdict == CODEC_MESSAGE && step > in.n)
			check_message(k, &u, left);
		at += u.wire.n;
		scratch_reset(&scratch);
	}
}

/* As dealt, at its place for good. */
static bool
make(struct dice *d, struct dealt *dealt, struct declared *x)
{
	struct frame_mistakes m = { .say = ignore };

	if (!deal(d, dealt))
		return false;
	x->frame = dealt->whole;
	x->id = dealt->id;
	x->id.frame = &x->frame;
	if (x->frame.answers_by != NULL)
		x->frame.answers_by = &x->id;
	MUST(frame_check(&x->frame, &m));
	declared_init(x, "fuzz");
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct events whole, cut;
	struct slice in = slice_make((const char *)data, n);
	size_t end = slice_find(in, '\xff', 0);
	struct dice d = { slice_first(in, end) };
	struct dealt dealt;
	struct declared x;

	memset(&dealt, 0, sizeof(dealt));
	memset(&x, 0, sizeof(x));
	if (!make(&d, &dealt, &x))
		return 0;
	scratch_init(&scratch);
	in = slice_after(in, MIN_OF(end + 1, n));
	in.n = MIN_OF(in.n, (size_t)STREAM);
	for (int question = 0; question < 2; question++) {
		read_all(&x.codec, in, in.n + 1, question, &whole);
		for (size_t step = 1; step <= 64 && step <= in.n; step = step * 2 + step / 3) {
			read_all(&x.codec, in, step, question, &cut);
			MUST(cut.count == whole.count);
			for (size_t i = 0; i < cut.count; i++)
				MUST(memcmp(&cut.list[i], &whole.list[i], sizeof(cut.list[i])) == 0);
		}
	}
	scratch_free(&scratch);
	return 0;
}
