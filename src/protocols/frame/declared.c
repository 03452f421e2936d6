/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The codec of a declared protocol, reading: the verdicts of frame.h as those of codec.h, a message
 * as a unit, ids. And the words for a failure, and what may be asked twice.
 */
#include "protocols/frame/declared.h"

#include "core/exchange.h"
#include "core/lane.h"
#include "core/match.h"
#include "core/text.h"

_Static_assert(sizeof(struct frame_state) <= CODEC_STATE, "a codec keeps less than a frame does");
_Static_assert((int)FRAME_ID_LONGEST <= (int)CODEC_ID_LONGEST, "an id has no room");

static void
begin(const struct codec *k, void *state, bool question)
{
	frame_begin(&declared_of(k)->frame, state, question);
}

/* ------------------------------------------------------------------ reading */

APART static void
take_id(const struct declared *x, struct unit *u)
{
	struct slice id;
	struct frame_view view = declared_view(u);
	enum frame_id verdict = frame_id_get(&x->frame, &view, &id);

	u->one_way = verdict == FRAME_ID_NONE;
	if (verdict == FRAME_ID_DOUBTFUL)
		u->fault = "doubtful_id";
	if (verdict != FRAME_ID_FOUND)
		return;
	u->id_at = (uint32_t)(id.at - u->inner.at);
	u->id_n = (uint32_t)id.n;
}

/* What is not opened is bad, or where the declaration says resync, skipped. */
APART static enum codec_verdict
open(const struct frame_cut *cut, struct slice in, struct scratch *scratch, struct unit *u)
{
	bool escaped = cut->by->kind == FRAME_ESCAPED;
	struct builder room =
	    builder_on(escaped ? scratch_alloc(scratch, cut->n) : NULL, escaped ? cut->n : 0);
	struct frame_view view;
	enum frame_fault fault = frame_open(cut, in, &room, &view);

	if (fault != FRAME_FINE) {
		u->fault = frame_fault_word(fault);
		return cut->of->resync ? CODEC_SKIP : CODEC_BAD;
	}
	u->inner = view.inner;
	u->body_at = (uint32_t)view.head.n;
	u->body_n = (uint32_t)view.body.n;
	return CODEC_MESSAGE;
}

/* A line is its body. */
static enum codec_verdict
message(const struct declared *x, const struct frame_cut *cut, struct slice in,
    struct scratch *scratch, struct unit *u)
{
	enum codec_verdict verdict = CODEC_MESSAGE;

	u->of = cut->of;
	u->by = cut->by;
	if (cut->by->is_line) {
		u->inner = slice_first(in, cut->n - cut->close);
		u->body_n = (uint32_t)u->inner.n;
	} else {
		verdict = open(cut, in, scratch, u);
	}
	if (verdict == CODEC_MESSAGE && x->codec.pairing == CODEC_BY_ID)
		take_id(x, u);
	return verdict;
}

static inline enum codec_verdict
judge(const struct declared *x, enum frame_verdict verdict, const struct frame_cut *cut,
    struct slice in, struct scratch *scratch, struct unit *u)
{
	if (verdict == FRAME_MORE)
		return CODEC_MORE;
	*u = (struct unit){ .wire = slice_first(in, verdict == FRAME_BAD ? 0 : cut->n) };
	if (verdict == FRAME_MESSAGE)
		return message(x, cut, in, scratch, u);
	if (cut->fault != FRAME_FINE)
		u->fault = frame_fault_word(cut->fault);
	return verdict == FRAME_SKIP ? CODEC_SKIP : CODEC_BAD;
}

static enum codec_verdict
next(const struct codec *k, void *state, struct slice in, struct scratch *scratch, struct unit *u)
{
	const struct declared *x = declared_of(k);
	struct frame_cut cut;
	enum frame_verdict verdict = frame_measure(&x->frame, state, in, &cut);

	return judge(x, verdict, &cut, in, scratch, u);
}

static enum codec_verdict
finish(const struct codec *k, void *state, struct slice in, struct scratch *scratch, struct unit *u)
{
	const struct declared *x = declared_of(k);
	struct frame_cut cut;
	enum frame_verdict verdict = frame_finish(&x->frame, state, in, &cut);

	return judge(x, verdict, &cut, in, scratch, u);
}

/* ------------------------------------------------------------------ ids */

static uint64_t
id_most(const struct codec *k)
{
	return frame_id_most(&declared_of(k)->frame);
}

static struct slice
id_make(const struct codec *k, uint64_t number, char room[CODEC_ID_LONGEST])
{
	return frame_id_make(&declared_of(k)->frame, number, room);
}

static bool
id_number(const struct codec *k, struct slice id, uint64_t *number)
{
	return frame_id_number(&declared_of(k)->frame, id, number);
}

/* ------------------------------------------------------------------ what is said of it */

static bool
error(const struct codec *k, struct exchange *ex, enum reason reason, struct slice *body)
{
	uint8_t before = ex->reason;
	bool fine;

	/* its words may ask for the reason, which may not be settled yet */
	ex->reason = (uint8_t)reason;
	fine = text_write(declared_of(k)->error, ex, body);
	ex->reason = before;
	return fine;
}

static bool
idempotent(const struct codec *k, struct exchange *ex)
{
	const struct declared *x = declared_of(k);

	for (size_t i = 0; i < x->idempotent_count; i++)
		if (x->idempotent[i] == NULL || condition_is(x->idempotent[i], ex))
			return true;
	return false;
}

static const char *
media_type(enum frame_format format)
{
	switch (format) {
	case FORMAT_JSON:
		return "application/json";
	case FORMAT_TEXT:
	case FORMAT_WORDS:
		return "text/plain";
	default:
		return "application/octet-stream";
	}
}

/* ------------------------------------------------------------------ sending on */

/*
 * What ends a message stands outside of it: a flag that is one between two, the line end behind a
 * bare number.
 */
static bool
shares_ends(const struct frame *f)
{
	return f->kind == FRAME_JSON ||
	       (f->kind == FRAME_ESCAPED && f->escape.start == f->escape.end);
}

static struct slice
alone(const struct codec *k, const struct unit *u, struct scratch *scratch)
{
	const struct frame *by = u->by;

	if (!shares_ends(by))
		return u->wire;

	struct builder b = builder_on(scratch_alloc(scratch, u->wire.n + 1), u->wire.n + 1);

	if (by->kind == FRAME_ESCAPED)
		builder_byte(&b, (char)by->escape.start);
	builder_slice_put(&b, u->wire);
	if (by->kind == FRAME_JSON)
		builder_byte(&b, '\n');
	return builder_slice(&b);
}

/* ------------------------------------------------------------------ the tables */

static size_t
room_of(const struct frame *f)
{
	size_t n = f->head + f->tail + f->boundary.longest + f->length_name.n + NUMBER_WIDEST + 16;

	for (size_t i = 0; f->kind == FRAME_SWITCH && i < f->case_count; i++)
		n = MAX_OF(n, room_of(f->cases[i].frame));
	return f->else_case != NULL ? MAX_OF(n, room_of(f->else_case)) : n;
}

static const enum codec_pairing pairings[] = {
	[FRAME_ANSWERS_IN_ORDER] = CODEC_IN_ORDER,
	[FRAME_ANSWERS_BY_FIELD] = CODEC_BY_ID,
	[FRAME_ANSWERS_NONE] = CODEC_NONE,
};

void
declared_init(struct declared *x, const char *name)
{
	const struct frame *f = &x->frame;
	struct codec *k = &x->codec;

	x->write_room = room_of(f);
	k->pairing = pairings[f->answers];
	k->max = f->max;
	k->type = media_type(f->format);
	if (f->format == FORMAT_KV && f->equals == '=' && f->between == '&')
		k->type = "application/x-www-form-urlencoded";
	k->begin = begin;
	k->next = next;
	k->finish = finish;
	k->write = declared_write;
	if (shares_ends(f) || (f->preface != NULL && shares_ends(f->preface)))
		k->alone = alone;
	if (k->pairing == CODEC_BY_ID) {
		k->id_most = id_most;
		k->id_make = id_make;
		k->id_number = id_number;
		k->id_set = declared_id_set;
		k->body_id = declared_body_id;
	}
	k->error = x->error != NULL ? error : NULL;
	k->set = declared_set;
	k->idempotent = x->idempotent_count > 0 ? idempotent : NULL;
	x->ops = (struct protocol_ops){
		LANE_OPS, .name = name, .fields = declared_fields, .codec = k };
}
