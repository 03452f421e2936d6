/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Redis as a protocol of messages. Its connections have a memory (SELECT, MULTI, SUBSCRIBE), so
 * they belong to one client each, and answers come in order. What cannot be known from bytes:
 * replication (PSYNC) leaves the protocol behind its first answer; proxy it as tcp.
 */
#include "protocols/resp/resp.h"

#include "core/exchange.h"
#include "core/lane.h"

/* ------------------------------------------------------------------ the codec */

static void
codec_begin(const struct codec *k, void *state, bool question)
{
	resp_begin(state, question);
}

static enum codec_verdict
codec_next(const struct codec *k, void *state, struct slice in, struct scratch *scratch,
    struct unit *u)
{
	struct resp_state *s = state;
	enum codec_verdict verdict = resp_measure(s, k->max, in, u);

	if (verdict == CODEC_MESSAGE && (s->session & RESP_QUESTIONS))
		resp_follow(s, scratch, u);
	return verdict;
}

static enum codec_verdict
codec_finish(const struct codec *k, void *state, struct slice in, struct scratch *scratch,
    struct unit *u)
{
	*u = (struct unit){ .wire = in, .inner = in, .fault = in.n > 0 ? "truncated" : NULL };
	return in.n > 0 ? CODEC_BAD : CODEC_MORE;
}

static const char *
codec_write(const struct codec *k, const struct draft *d, struct scratch *scratch,
    struct slice *wire)
{
	return d->is_answer ? resp_write_answer(d->body, scratch, wire)
			    : resp_write_question(d->body, scratch, wire);
}

/* The first word of an error is for programs; those that clients know mean what they do there. */
static const char *
error_word(enum reason reason)
{
	switch (reason) {
	case REASON_DENIED: return "-NOPERM ";
	case REASON_LIMIT: case REASON_MEMORY: return "-BUSY ";
	case REASON_BAD_MESSAGE: return "-ERR Protocol error: ";
	case REASON_NO_PEER: case REASON_PEER_REFUSED: case REASON_PEER_CONNECT_TIMEOUT:
	case REASON_PEER_CLOSED: case REASON_PEER_RESET: case REASON_PEER_BAD_MESSAGE:
	case REASON_PEER_TIMEOUT: case REASON_PEER_WRITE_TIMEOUT: return "-ERR upstream: ";
	default: return "-ERR ";
	}
}

static bool
codec_error(const struct codec *k, struct exchange *ex, enum reason reason, struct slice *body)
{
	enum { LONGEST = 128 };
	struct builder b = builder_on(scratch_alloc(&ex->engine->loop.scratch, LONGEST), LONGEST);

	/* nobody is there, or nobody's fault */
	if (reason_texts[reason].status == 0)
		return false;
	builder_text(&b, error_word(reason));
	builder_text(&b, reason_texts[reason].text);
	*body = builder_slice(&b);
	return true;
}

/*
 * What only reads, on a connection that was told nothing: there any other connection does as well.
 */
static bool
codec_idempotent(const struct codec *k, struct exchange *ex)
{
	struct slice name;

	return ex->unit != NULL && ex->unit->mark == 0 && ex->unit->wire.n > 0 &&
	       resp_word(ex->unit->wire, 0, &ex->engine->loop.scratch, &name) &&
	       (resp_command_find(name)->flags & RESP_READS);
}

static struct slice
codec_ping(const struct codec *k)
{
	return SLICE("*1\r\n$4\r\nPING\r\n");
}

/*
 * Not where a PING would be a command of a transaction, or gets no answer, or one that cannot be
 * told from the messages of a channel.
 */
static bool
codec_may_beat(const struct codec *k, const void *state)
{
	unsigned session = ((const struct resp_state *)state)->session;

	return (session & (RESP_MULTI | RESP_SILENT | RESP_SKIP)) == 0 &&
	       (session & (RESP_LISTENS | RESP_THREE)) != RESP_LISTENS;
}

const struct codec resp_codec = {
	.pairing = CODEC_IN_ORDER,
	.max = RESP_MAX,
	.type = "application/octet-stream",
	.begin = codec_begin,
	.next = codec_next,
	.finish = codec_finish,
	.write = codec_write,
	.error = codec_error,
	.idempotent = codec_idempotent,
	.ping = codec_ping,
	.may_beat = codec_may_beat,
};

/* ------------------------------------------------------------------ fields */

static struct scratch *
scratch_of(struct exchange *ex)
{
	return &ex->engine->loop.scratch;
}

/* The question; false: there is none yet, or another value is asked for. */
static bool
question(struct exchange *ex, size_t nth, struct slice *wire)
{
	if (nth > 0 || ex->unit == NULL || ex->unit->wire.n == 0)
		return false;
	*wire = ex->unit->wire;
	return true;
}

static bool
get_cmd(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct slice wire;

	return question(ex, nth, &wire) && resp_word(wire, 0, scratch_of(ex), &out->text);
}

static bool
get_key(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct slice wire;

	return question(ex, nth, &wire) && resp_key(wire, scratch_of(ex), &out->text);
}

static bool
get_word(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct slice wire;

	return question(ex, nth, &wire) && resp_word(wire, ref->known, scratch_of(ex), &out->text);
}

/* msg[N] */
static bool
prepare_word(struct reading *r, const struct scope *scope, struct field_ref *ref, struct span at)
{
	size_t n = ref->name.n - 1;
	uint64_t number;

	if (ref->name.at[n] == ']' && slice_to_u64(slice_first(ref->name, n), &number) &&
	    number <= RESP_MAX) {
		ref->known = (unsigned)number;
		return true;
	}
	diag_error(r->diag, at, "\"msg[" SLICE_FORMAT "\" is no word of a command; write msg[1]",
	    SLICE_ARG(diag_word(ref->name)));
	return false;
}

static bool
get_count(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct slice wire;

	if (!question(ex, nth, &wire))
		return false;
	out->number = (int64_t)resp_word_count(wire);
	return true;
}

static bool
get_session(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct slice wire;

	if (!question(ex, nth, &wire) || ex->unit->mark == 0)
		return false;
	out->text = ex->unit->mark & (RESP_MULTI | RESP_WATCH) ? SLICE("transaction")
							       : SLICE("bound");
	return true;
}

static bool
get_len(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	struct slice wire;

	if (!question(ex, nth, &wire))
		return false;
	out->number = (int64_t)wire.n;
	return true;
}

static bool
get_body(struct exchange *ex, const struct field_ref *ref, size_t nth, struct field_value *out)
{
	return question(ex, nth, &out->text);
}

#define TEXT   .type = FIELD_TEXT, .moment = MOMENT_QUESTION
#define NUMBER .type = FIELD_NUMBER, .moment = MOMENT_QUESTION

static const struct field resp_fields[] = {
	{ .name = "msg.cmd", TEXT, .flags = FIELD_NOCASE, .get = get_cmd,
	    .help = "The command, as it was written; it compares without case." },
	{ .name = "msg.key", TEXT, .get = get_key,
	    .help = "The first key of the command." },
	{ .name = "msg[", TEXT, .flags = FIELD_FAMILY, .get = get_word, .prepare = prepare_word,
	    .help = "A word of the question by its number: msg[0] is the command, msg[1] its "
		    "first argument." },
	{ .name = "msg.count", NUMBER, .get = get_count,
	    .help = "How many words the question has, the command included." },
	{ .name = "msg.session", TEXT, .get = get_session,
	    .help = "What ties the question to this connection: \"transaction\" (WATCH, MULTI), "
		    "\"bound\" (SELECT, AUTH, HELLO, SUBSCRIBE, ... came before); else it does "
		    "not exist." },
	{ .name = "msg.len", NUMBER, .get = get_len, .help = "Bytes of the question." },
	{ .name = "msg.body", TEXT, .get = get_body, .help = "The question, as it came." },
	{ .name = NULL },
};

const struct protocol_ops protocol_resp = {
	.name = "resp",
	LANE_OPS,
	.fields = resp_fields,
	.codec = &resp_codec,
};
