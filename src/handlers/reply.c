/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply "TEXT" { FIELD VALUE; }: a message made here. The text is its body; what marks where it
 * ends, its length and what pairs it with the question are the codec's business. What is known when
 * the configuration is read is written then, once, to see that it can be.
 */
#include "core/exchange.h"
#include "core/text.h"
#include "handlers/handlers.h"

struct reply {
	struct text body;
	struct list lines;              /* struct filled of struct line */
	struct unit_set *sets;          /* a value not known yet: empty */
	const struct text **values;     /* of sets */
	size_t set_count;
	bool fixed;                     /* every value is known */
};

struct line {
	struct value name;
	struct text value;
};

static bool
take_line(struct build *b, struct reply *reply, const struct line *line)
{
	const struct protocol_ops *protocol = build_protocol(b);
	struct reading *r = build_reading(b);
	struct unit_set *set = &reply->sets[reply->set_count];
	struct value value = line->value.raw;

	if (protocol->codec->set == NULL) {
		diag_error(r->diag, line->name.span, "messages of %s have no fields to be set",
		    protocol->name);
		return false;
	}
	value.raw = line->value.constant ? line->value.literal : (struct slice){ NULL, 0 };
	if (!protocol->codec->set(protocol->codec, r, &line->name, &value, set))
		return false;
	for (size_t i = 0; i < reply->set_count; i++)
		if (reply->sets[i].field == set->field) {
			diag_error(r->diag, line->name.span, "\"%.*s\" is already set",
			    SLICE_ARG(diag_word(line->name.raw)));
			return false;
		}
	set->value = line->value.literal;
	reply->values[reply->set_count++] = &line->value;
	reply->fixed &= line->value.constant;
	return true;
}

static bool
take_lines(struct build *b, struct reply *reply)
{
	struct arena *a = build_reading(b)->arena;
	const struct filled *lines = reply->lines.items;
	bool good = true;

	reply->fixed = true;
	reply->sets = arena_array(a, reply->lines.n, sizeof(*reply->sets));
	reply->values = arena_array(a, reply->lines.n, sizeof(*reply->values));
	for (size_t i = 0; i < reply->lines.n; i++)
		good &= take_line(b, reply, lines[i].data);
	return good;
}

static bool
reply_build(struct build *b, struct step *step)
{
	struct reply *reply = (struct reply *)(uintptr_t)step->settings;
	const struct protocol_ops *protocol = build_protocol(b);

	reply->body.place = text_place_for(slice_of(protocol->codec->type));
	if (!take_lines(b, reply))
		return false;
	if (!reply->body.constant || !reply->fixed)
		return true;

	struct draft draft = { .body = reply->body.literal, .sets = reply->sets,
		.set_count = reply->set_count, .is_answer = true };

	return codec_check(protocol->codec, protocol->name, &draft, build_reading(b),
	    reply->body.raw.span);
}

/* Those that are known and those that are now. NULL: a value is too long. */
static const struct unit_set *
make_sets(const struct reply *reply, struct exchange *ex)
{
	size_t size = reply->set_count * sizeof(struct unit_set);
	struct unit_set *sets = reply->sets;

	if (reply->fixed)
		return sets;
	sets = scratch_alloc(&ex->engine->loop.scratch, size);
	memcpy(sets, reply->sets, size);
	for (size_t i = 0; i < reply->set_count; i++)
		if (!reply->values[i]->constant &&
		    !text_write(reply->values[i], ex, &sets[i].value))
			return NULL;
	return sets;
}

static enum verdict
reply_question(struct exchange *ex, const struct step *step)
{
	const struct reply *reply = step->settings;
	const struct unit_set *sets = make_sets(reply, ex);
	struct slice body = reply->body.literal;

	if (sets == NULL || (!reply->body.constant && !text_write(&reply->body, ex, &body)))
		exchange_abort(ex, REASON_INTERNAL);
	else
		exchange_return_message(ex, body, sets, reply->set_count);
	return STEP_TAKE;
}

static enum verdict
reply_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	const struct reply *reply = step->settings;

	builder_text(&out->does, "replies");
	if (make_sets(reply, ex) == NULL || !text_show(&reply->body, ex, &out->does))
		out->reason = REASON_INTERNAL;
	return STEP_TAKE;
}

static const struct handler_ops reply_ops = {
	.name = "reply",
	.protocols = PROTOCOL_MESSAGES,
	.instead = "return 200 \"TEXT\";",
	.moment = MOMENT_QUESTION,
	.takes = true,
	.build = reply_build,
	.question = reply_question,
	.explain = reply_explain,
};

static const struct argument line_arguments[] = {
	{ .name = "FIELD", .type = &type_raw, .offset = offsetof(struct line, name) },
	{ "VALUE", &type_text, offsetof(struct line, value), .more = TEXT_PLAIN },
	{ 0 },
};

static const struct directive line_rows[] = {
	{ "FIELD", DIRECTIVE_SETTING, .flags = DIRECTIVE_REPEATS | DIRECTIVE_FREE,
	    .arguments = line_arguments, .offset = offsetof(struct reply, lines),
	    .size = sizeof(struct line),
	    .help = "A field of the message's header, as its protocol declares it." },
	{ 0 },
};

static const struct table line_tables[] = { { line_rows, 0 }, { NULL, 0 } };

static const struct argument reply_arguments[] = {
	{ "TEXT", &type_text, offsetof(struct reply, body), .more = TEXT_PLAIN },
	{ 0 },
};

const struct directive handler_reply_rows[] = {
	{ "reply", DIRECTIVE_STEP, .flags = DIRECTIVE_BLOCK_OPTIONAL, .arguments = reply_arguments,
	    .size = sizeof(struct reply), .inside = line_tables, .ops = &reply_ops,
	    .help = "Answers a message with one whose body is this text; the block sets fields of "
	    "its header." },
	{ 0 },
};
