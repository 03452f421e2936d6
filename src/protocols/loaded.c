/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The codec of a loaded protocol. The module is asked; whether its answer can be is looked at
 * before anything is done with it, so that a wrong one is a message that cannot be read or written.
 */
#include "protocols/loaded.h"

#include <stdio.h>

#include "core/exchange.h"
#include "core/lane.h"
#include "core/module_call.h"

enum {
	FIELDS_MAX = 64,
	MESSAGE_MAX = 1 << 30,          /* bytes: offsets of a unit have 32 bits */
	ALLOC_SPARE = 64 * 1024,        /* what decode may take beside twice a message */
	FIELD_ABSENT = UINT32_MAX,
};

/* An instance is memory of a snapshot. */
struct loaded {
	struct protocol_ops ops;
	struct codec codec;
	struct millrace_protocol p;     /* as much of it as both sides know */
	const void *settings;
	struct slice ping;
	struct field *fields;           /* msg.len, msg.body, the module's */
	unsigned field_count;           /* the module's */
};

enum { FIELDS_OWN = 2 };                /* in front of the module's */

/* What a direction remembers: codec.h's state. */
struct loaded_state {
	uint32_t resume;                /* bytes that need not be looked at again */
	uint32_t total;                 /* of the awaited message; 0: unknown */
	bool question;
	_Alignas(8) unsigned char context[MILLRACE_CONTEXT];
};

_Static_assert(sizeof(struct loaded_state) <= CODEC_STATE, "a codec keeps less");
_Static_assert((int)MILLRACE_ID_LONGEST <= (int)CODEC_ID_LONGEST, "an id has no room");

/* Calls a function of the module, so that it can be seen which one does not return. */
#define CALL(x, function, ...)                                                                     \
	({                                                                                         \
		module_enter(#function, (x)->p.name);                                              \
		__auto_type result_ = (x)->p.function((x)->settings, __VA_ARGS__);                 \
		module_leave();                                                                    \
		result_;                                                                           \
	})

static const struct loaded *
loaded_of(const struct codec *k)
{
	return CONTAINER_OF(k, struct loaded, codec);
}

static struct millrace_span
span_of(struct slice s)
{
	return (struct millrace_span){ s.at, s.n };
}

static struct slice
slice_from(struct millrace_span s)
{
	return slice_make(s.at, s.n);
}

/* ------------------------------------------------------------------ a message that is decoded */

/* The table in front of `inner`: where a field lies in it. */
struct place {
	uint32_t at, n;                 /* n FIELD_ABSENT: it was not set */
};

struct millrace_message {
	const struct loaded *loaded;
	struct scratch *scratch;
	struct slice wire;
	struct slice body, id;
	struct slice *fields;           /* by index; at NULL: not set; NULL: none is */
	size_t taken;                   /* bytes of scratch memory */
	bool question, one_way;
	const char *fault;
};

static bool
lies_in(struct slice s, struct slice in)
{
	return (uintptr_t)s.at >= (uintptr_t)in.at && s.n <= in.n &&
	    (uintptr_t)s.at - (uintptr_t)in.at <= in.n - s.n;
}

/* Bytes that a decoded message may have beside the message. */
static size_t
apart_most(const struct loaded *x)
{
	return 2 * (size_t)x->codec.max + ALLOC_SPARE;
}

void *
loaded_alloc(struct millrace_message *m, size_t n)
{
	if (n > apart_most(m->loaded) - m->taken)
		return NULL;
	m->taken += n;
	return scratch_alloc(m->scratch, n);
}

/* Of the message: as it is; else a copy, for who knows where it lies. */
static bool
take(struct millrace_message *m, struct millrace_span from, struct slice *to)
{
	char *copy;

	if (from.n != 0 && from.at == NULL) {
		m->fault = "module_null_span";
		return false;
	}
	*to = from.n == 0 ? SLICE_EMPTY : slice_from(from);
	if (from.n == 0 || lies_in(*to, m->wire))
		return true;
	copy = from.n > m->loaded->codec.max ? NULL : loaded_alloc(m, from.n);
	if (copy == NULL) {
		m->fault = "module_long_span";
		return false;
	}
	memcpy(copy, from.at, from.n);
	to->at = copy;
	return true;
}

void
loaded_set_body(struct millrace_message *m, struct millrace_span body)
{
	(void)take(m, body, &m->body);
}

void
loaded_set_id(struct millrace_message *m, struct millrace_span id)
{
	if (id.n > MILLRACE_ID_LONGEST)
		m->fault = "id_too_long";
	else
		(void)take(m, id, &m->id);
}

void
loaded_set_one_way(struct millrace_message *m)
{
	m->one_way = true;
}

/* Routes ask for fields of questions alone. */
void
loaded_set_field(struct millrace_message *m, unsigned field, struct millrace_span value)
{
	if (!m->question)
		return;
	if (field >= m->loaded->field_count) {
		m->fault = "module_unknown_field";
		return;
	}
	if (m->fields == NULL) {
		size_t size = m->loaded->field_count * sizeof(*m->fields);

		m->fields = memset(scratch_alloc(m->scratch, size), 0, size);
	}
	(void)take(m, value, &m->fields[field]);
}

/* ------------------------------------------------------------------ as a unit */

/* One piece of memory that can move as a whole: places, what is not of the body, the body. */
struct layout {
	struct slice body;
	size_t body_at;                 /* in the piece */
	struct builder more;            /* what stands in front of it */
};

static uint32_t
lay(struct layout *l, struct slice s)
{
	size_t at = l->more.n;

	if (lies_in(s, l->body))
		return (uint32_t)(l->body_at + (size_t)(s.at - l->body.at));
	builder_slice_put(&l->more, s);
	return (uint32_t)at;
}

/* What must be copied to stand in front of the body. */
static size_t
count_apart(const struct millrace_message *m)
{
	size_t n = lies_in(m->id, m->body) ? 0 : m->id.n;

	for (unsigned i = 0; m->fields != NULL && i < m->loaded->field_count; i++)
		if (m->fields[i].at != NULL && !lies_in(m->fields[i], m->body))
			n += m->fields[i].n;
	return n;
}

/* False: it is more than offsets can say, or than there is memory for. */
static bool
lay_out(const struct millrace_message *m, struct unit *u)
{
	unsigned count = m->fields != NULL ? m->loaded->field_count : 0;
	size_t front = count * sizeof(struct place), apart = count_apart(m);
	struct layout l = { .body = m->body, .body_at = front + apart };
	char *at;

	if (apart > apart_most(m->loaded))
		return false;
	at = scratch_alloc(m->scratch, l.body_at + m->body.n);
	l.more = builder_on(at, l.body_at);
	l.more.n = front;
	for (unsigned i = 0; i < count; i++) {
		struct place place = { 0, FIELD_ABSENT };

		if (m->fields[i].at != NULL)
			place = (struct place){ lay(&l, m->fields[i]), (uint32_t)m->fields[i].n };
		memcpy(at + i * sizeof(place), &place, sizeof(place));
	}
	u->id_at = lay(&l, m->id);
	memcpy(at + l.body_at, m->body.at, m->body.n);
	u->inner = slice_make(at, l.body_at + m->body.n);
	u->body_at = (uint32_t)l.body_at;
	u->mark = count != 0;
	return true;
}

static bool
fill(const struct millrace_message *m, struct unit *u)
{
	u->of = m->loaded;
	u->body_n = (uint32_t)m->body.n;
	u->id_n = (uint32_t)m->id.n;
	u->one_way = m->one_way || (m->loaded->codec.pairing == CODEC_BY_ID && m->id.n == 0);
	u->pushed = u->one_way && !m->question;
	if (m->fields != NULL || !lies_in(m->body, m->wire) ||
	    (m->id.n != 0 && !lies_in(m->id, m->wire)))
		return lay_out(m, u);
	u->inner = m->wire;
	u->body_at = (uint32_t)(m->body.at - m->wire.at);
	u->id_at = m->id.n == 0 ? 0 : (uint32_t)(m->id.at - m->wire.at);
	return true;
}

/* ------------------------------------------------------------------ reading */

/* What the module says of what it does not like. */
static const char *
fault_of(int64_t result)
{
	switch (result) {
	case MILLRACE_BAD:
		return "malformed";
	case MILLRACE_TOO_LARGE:
		return "too_long";
	case MILLRACE_UNSUPPORTED:
		return "unsupported";
	default:
		return "module_unknown_result";
	}
}

static void
begin(const struct codec *k, void *state, bool question)
{
	const struct loaded *x = loaded_of(k);
	struct loaded_state *s = state;

	s->question = question;
	if (x->p.begin == NULL)
		return;
	module_enter("begin", x->p.name);
	x->p.begin(x->settings, s->context, question);
	module_leave();
}

/*
 * The length of the first message, of which the module is told no more than a message may have. 0:
 * unknown. False: `*fault` says why there is none.
 */
static bool
measure(const struct loaded *x, struct loaded_state *s, struct slice in, uint32_t *n,
    const char **fault)
{
	size_t max = x->codec.max, resume = s->resume;
	struct slice seen = slice_first(in, MIN_OF(in.n, max));
	int64_t length = CALL(x, input, s->context, span_of(seen), &resume);

	*fault = NULL;
	if (length < 0)
		*fault = fault_of(length);
	else if (length > (int64_t)max || (length == 0 && in.n >= max))
		*fault = "too_long";
	else if (resume > seen.n)
		*fault = "module_resumes_past_end";
	else if (length != 0 && length < (int64_t)x->p.header)
		*fault = "module_length_below_header";
	else if (length != 0 && length < (int64_t)s->resume)
		*fault = "module_length_below_what_was_read";
	s->resume = (uint32_t)resume;
	*n = (uint32_t)length;
	return *fault == NULL;
}

/* A whole message as a unit. */
static enum codec_verdict
open(const struct loaded *x, bool question, struct slice wire, struct scratch *scratch,
    struct unit *u)
{
	struct millrace_message m = {
		.loaded = x,
		.scratch = scratch,
		.wire = wire,
		.body = wire,
		.id = SLICE_EMPTY,
		.question = question,
	};
	int result =
	    x->p.decode == NULL ? MILLRACE_OK : CALL(x, decode, span_of(wire), &m);

	*u = (struct unit){ .wire = wire, .inner = slice_first(wire, 0) };
	if (result == MILLRACE_SKIP)
		return CODEC_SKIP;
	if (result != MILLRACE_OK)
		u->fault = fault_of(result);
	else if (m.fault != NULL)
		u->fault = m.fault;
	else if (!fill(&m, u))
		u->fault = "module_long_span";
	if (u->fault == NULL)
		return CODEC_MESSAGE;
	u->wire.n = 0;
	return CODEC_BAD;
}

static struct unit
bad(struct slice in, const char *fault)
{
	struct slice none = slice_first(in, 0);

	return (struct unit){ .wire = none, .inner = none, .fault = fault };
}

static enum codec_verdict
next(const struct codec *k, void *state, struct slice in, struct scratch *scratch, struct unit *u)
{
	const struct loaded *x = loaded_of(k);
	struct loaded_state *s = state;
	const char *fault;

	if (in.n == 0)
		return CODEC_MORE;
	if (s->total == 0 && !measure(x, s, in, &s->total, &fault)) {
		*u = bad(in, fault);
		return CODEC_BAD;
	}
	if (s->total == 0 || s->total > in.n)
		return CODEC_MORE;
	in.n = s->total;
	s->total = s->resume = 0;
	return open(x, s->question, in, scratch, u);
}

/* Where a message ends is its own to say, never the connection's. */
static enum codec_verdict
finish(const struct codec *k, void *state, struct slice in, struct scratch *scratch, struct unit *u)
{
	*u = bad(in, "truncated");
	return CODEC_BAD;
}

/* ------------------------------------------------------------------ writing */

struct millrace_out {
	struct scratch *scratch;
	char *at;
	size_t n, room, max;
	bool full;
};

static struct millrace_out
out_of(const struct loaded *x, struct scratch *scratch, size_t like)
{
	size_t room = MIN_OF(like + 256, (size_t)x->codec.max);

	return (struct millrace_out){ .scratch = scratch, .at = scratch_alloc(scratch, room),
		.room = room, .max = x->codec.max };
}

static void
make_room(struct millrace_out *out, size_t n)
{
	size_t room = MIN_OF(MAX_OF(2 * out->room, out->n + n), out->max);
	char *at = scratch_alloc(out->scratch, room);

	memcpy(at, out->at, out->n);
	out->at = at;
	out->room = room;
}

bool
loaded_write(struct millrace_out *out, const void *at, size_t n)
{
	if (out->full || n > out->max - out->n || (at == NULL && n != 0)) {
		out->full = true;
		return false;
	}
	if (n > out->room - out->n)
		make_room(out, n);
	if (n != 0)
		memcpy(out->at + out->n, at, n);
	out->n += n;
	return true;
}

/* Who reads it finds one message, and nothing else. */
static const char *
check_written(const struct loaded *x, struct slice wire, bool question)
{
	struct loaded_state s = { 0 };
	const char *fault;
	uint32_t n;

	if (wire.n > x->codec.max)
		return "too_long";
	begin(&x->codec, &s, question);
	return wire.n != 0 && measure(x, &s, wire, &n, &fault) && n == wire.n ? NULL
									      : "not_one_message";
}

static const char *
take_written(const struct loaded *x, int result, const struct millrace_out *out, bool question,
    struct slice *wire)
{
	if (out->full)
		return "too_long";
	if (result != MILLRACE_OK)
		return fault_of(result);
	*wire = slice_make(out->at, out->n);
	return check_written(x, *wire, question);
}

static const char *
write(const struct codec *k, const struct draft *d, struct scratch *scratch, struct slice *wire)
{
	const struct loaded *x = loaded_of(k);
	struct millrace_draft draft = {
		.size = sizeof(draft),
		.body = span_of(d->body),
		.id = span_of(d->id),
		.question = span_of(d->question != NULL ? d->question->wire : SLICE_EMPTY),
		.is_answer = d->is_answer,
	};

	if (d->set_count != 0)
		return "no_such_field";
	if (x->p.encode == NULL) {
		*wire = d->body;
		return check_written(x, *wire, !d->is_answer);
	}
	struct millrace_out out = out_of(x, scratch, d->body.n);
	int result = CALL(x, encode, &draft, &out);

	return take_written(x, result, &out, !d->is_answer, wire);
}

/* ------------------------------------------------------------------ ids */

static uint64_t
id_most(const struct codec *k)
{
	uint64_t most = loaded_of(k)->p.id_most;

	return most == 0 ? UINT32_MAX : most;
}

static struct slice
id_make(const struct codec *k, uint64_t number, char room[CODEC_ID_LONGEST])
{
	const struct loaded *x = loaded_of(k);
	struct builder b = builder_on(room, CODEC_ID_LONGEST);

	if (x->p.make_id == NULL) {
		builder_number(&b, number);
	} else {
		/* asked once: it may say something else the next time */
		size_t n = CALL(x, make_id, number, room);

		b.n = MIN_OF(n, (size_t)CODEC_ID_LONGEST);
	}
	return builder_slice(&b);
}

/* What id_make would not have made the same way is somebody else's. */
static bool
id_number(const struct codec *k, struct slice id, uint64_t *number)
{
	const struct loaded *x = loaded_of(k);
	char room[CODEC_ID_LONGEST];

	if (x->p.read_id == NULL ? !slice_to_u64(id, number)
				 : !CALL(x, read_id, span_of(id), number))
		return false;
	return *number >= 1 && *number <= id_most(k) && slice_equal(id_make(k, *number, room), id);
}

static const char *
id_set(const struct codec *k, const struct unit *u, struct slice id, struct scratch *scratch,
    struct slice *wire)
{
	const struct loaded *x = loaded_of(k);
	struct millrace_out out = out_of(x, scratch, u->wire.n);
	struct unit again;
	int result = CALL(x, replace_id, span_of(u->wire), span_of(id), &out);
	/* whichever way it goes: fields are not wanted of it */
	const char *fault = take_written(x, result, &out, false, wire);

	if (fault != NULL)
		return fault;
	return open(x, false, *wire, scratch, &again) == CODEC_MESSAGE &&
		    slice_equal(unit_id(&again), id)
		? NULL
		: "no_place_for_id";
}

/* ------------------------------------------------------------------ what is said of it */

static bool
error(const struct codec *k, struct exchange *ex, enum reason reason, struct slice *body)
{
	const struct loaded *x = loaded_of(k);
	const struct millrace_failure why = {
		.size = sizeof(why),
		.word = reason_texts[reason].word,
		.text = reason_texts[reason].text,
		.status = reason_texts[reason].status,
		.question = span_of(ex->unit != NULL ? ex->unit->wire : SLICE_EMPTY),
	};
	struct millrace_out out = out_of(x, &ex->engine->loop.scratch, 0);

	if (CALL(x, make_error, &why, &out) != MILLRACE_OK || out.full || out.n == 0)
		return false;
	*body = slice_make(out.at, out.n);
	return true;
}

static bool
idempotent(const struct codec *k, struct exchange *ex)
{
	const struct loaded *x = loaded_of(k);

	return ex->unit != NULL && CALL(x, is_idempotent, span_of(ex->unit->wire));
}

static struct slice
ping(const struct codec *k)
{
	return loaded_of(k)->ping;
}

/* ------------------------------------------------------------------ fields */

static bool
get_len(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	if (nth != 0 || ex->unit == NULL)
		return false;
	out->number = (int64_t)ex->unit->wire.n;
	return true;
}

static bool
get_body(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	if (nth != 0 || ex->unit == NULL)
		return false;
	out->text = unit_body(ex->unit);
	return true;
}

static bool
get_field(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	const struct unit *u = ex->unit;
	const struct loaded *x = u == NULL ? NULL : u->of;
	struct place place;
	uint64_t number;

	/* a question that came before a reload is another's */
	if (nth != 0 || x == NULL || u->mark == 0 || ref->field < x->fields ||
	    ref->field >= x->fields + FIELDS_OWN + x->field_count)
		return false;
	memcpy(&place,
	    u->inner.at + (size_t)(ref->field - x->fields - FIELDS_OWN) * sizeof(place),
	    sizeof(place));
	if (place.n == FIELD_ABSENT)
		return false;
	out->text = slice_make(u->inner.at + place.at, place.n);
	if (ref->field->type == FIELD_TEXT)
		return true;

	bool minus = slice_starts(out->text, SLICE("-"));

	if (!slice_to_u64(slice_after(out->text, minus), &number) || number > INT64_MAX)
		return false;
	out->number = minus ? -(int64_t)number : (int64_t)number;
	return true;
}

static const char *
read_fields(struct loaded *x, struct arena *a)
{
	const struct millrace_field *given = x->p.fields;

	while (given != NULL && given[x->field_count].name != NULL)
		if (++x->field_count > FIELDS_MAX)
			return "has more than 64 fields";
	x->fields = arena_array(a, x->field_count + FIELDS_OWN + 1, sizeof(*x->fields));
	x->fields[0] = (struct field){ "msg.len", FIELD_NUMBER, MOMENT_QUESTION, 0, get_len, NULL,
		"How many bytes the message has." };
	x->fields[1] = (struct field){ "msg.body", FIELD_TEXT, MOMENT_QUESTION, 0, get_body, NULL,
		"The body of the message." };
	for (unsigned i = 0; i < x->field_count; i++) {
		const struct millrace_field *f = &given[i];

		if (f->name[0] == '\0' ||
		    (f->type != MILLRACE_FIELD_TEXT && f->type != MILLRACE_FIELD_NUMBER))
			return "has a field without a name or a type";
		if (strcmp(f->name, "len") == 0 || strcmp(f->name, "body") == 0)
			return "has a field len or body: those are there already";
		x->fields[i + FIELDS_OWN] = (struct field){
			arena_printf(a, "msg.%s", f->name),
			f->type == MILLRACE_FIELD_TEXT ? FIELD_TEXT : FIELD_NUMBER,
			MOMENT_QUESTION, 0, get_field, NULL, f->help != NULL ? f->help : "",
		};
	}
	return NULL;
}

/* ------------------------------------------------------------------ the tables */

static const enum codec_pairing pairings[] = {
	[MILLRACE_NONE] = CODEC_NONE,
	[MILLRACE_IN_ORDER] = CODEC_IN_ORDER,
	[MILLRACE_BY_ID] = CODEC_BY_ID,
};

static const char *
wrong_with(const struct millrace_protocol *p)
{
	if (p->input == NULL)
		return "has no input";
	if (p->max == 0 || p->max > MESSAGE_MAX)
		return "says no max from 1 to 1g";
	if (p->header > p->max)
		return "has a header that is longer than its max";
	if (p->answers < MILLRACE_NONE || p->answers > MILLRACE_BY_ID)
		return "does not say how its answers are paired";
	if (p->answers == MILLRACE_BY_ID && (p->replace_id == NULL || p->decode == NULL))
		return "pairs answers by id and has no decode or no replace_id";
	if ((p->make_id == NULL) != (p->read_id == NULL))
		return "has one of make_id and read_id without the other";
	if (p->id_most > INT64_MAX)
		return "has an id_most past 2^63 - 1";
	if ((p->traits & ~(unsigned)(MILLRACE_INDEPENDENT | MILLRACE_DATAGRAMS)) != 0)
		return "has traits that are unknown here";
	return NULL;
}

static void
init(struct loaded *x)
{
	const struct millrace_protocol *p = &x->p;
	struct codec *k = &x->codec;
	bool by_id = p->answers == MILLRACE_BY_ID;

	*k = (struct codec){
		.pairing = pairings[p->answers],
		.independent = (p->traits & MILLRACE_INDEPENDENT) != 0,
		.datagrams = (p->traits & MILLRACE_DATAGRAMS) != 0,
		.max = p->max,
		.type = p->media_type != NULL ? p->media_type : "application/octet-stream",
		.begin = begin,
		.next = next,
		.finish = finish,
		.write = write,
		.id_most = by_id ? id_most : NULL,
		.id_make = by_id ? id_make : NULL,
		.id_number = by_id ? id_number : NULL,
		.id_set = by_id ? id_set : NULL,
		.error = p->make_error != NULL ? error : NULL,
		.idempotent = p->is_idempotent != NULL ? idempotent : NULL,
		.ping = p->make_ping != NULL ? ping : NULL,
	};
	x->ops = (struct protocol_ops){
		LANE_OPS, .name = p->name, .fields = x->fields, .codec = k };
}

struct protocol_ops *
loaded_protocol_read(struct arena *a, const struct millrace_protocol *given, const char **wrong)
{
	struct loaded *x = arena_zalloc(a, sizeof(*x));

	memcpy(&x->p, given, MIN_OF(given->size, sizeof(x->p)));
	x->p.size = sizeof(x->p);
	*wrong = wrong_with(&x->p);
	if (*wrong == NULL)
		*wrong = read_fields(x, a);
	if (*wrong != NULL)
		return NULL;
	init(x);
	return &x->ops;
}

/* Made once: whoever sends it may not find the module slow. */
static const char *
make_ping(struct loaded *x, struct arena *a)
{
	struct scratch scratch;
	struct slice wire;
	const char *wrong;

	if (x->p.make_ping == NULL)
		return NULL;
	scratch_init(&scratch);
	struct millrace_out out = out_of(x, &scratch, 0);
	int result = x->p.make_ping(x->settings, &out);

	wrong = take_written(x, result, &out, true, &wire);
	if (wrong == NULL)
		x->ping = arena_slice(a, wire);
	scratch_free(&scratch);
	return wrong != NULL ? "makes a ping that is not one message" : NULL;
}

bool
loaded_protocol_settle(struct protocol_ops *ops, struct arena *a, const void *settings,
    uint64_t fingerprint, const char **wrong)
{
	struct loaded *x = CONTAINER_OF(ops, struct loaded, ops);
	uint32_t max = x->p.max_of != NULL ? x->p.max_of(settings) : x->p.max;

	x->settings = settings;
	x->codec.max = max;
	x->codec.fingerprint = fingerprint;
	if (max == 0 || max > MESSAGE_MAX || max < x->p.header)
		*wrong = "has a max that no message can have";
	else
		*wrong = make_ping(x, a);
	return *wrong == NULL;
}
