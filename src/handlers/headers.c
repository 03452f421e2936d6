/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * request_header and response_header: edits of the fields of a question on its
 * way to a peer and of an answer on its way to the client. `reset` is gone
 * when a route is built: it only drops what came from the server's own steps.
 */
#include "core/exchange.h"
#include "core/text.h"
#include "handlers/handlers.h"

enum edit_verb { EDIT_SET, EDIT_ADD, EDIT_REMOVE, EDIT_RESET };

static const char *const edit_verbs[] = { "set", "add", "remove", "reset", NULL };

struct edit {
	int verb; /* enum edit_verb */
	struct slice name;
	struct text value;
	enum known known;
};

/* nginx's add_header has no verb: the name of the field stands there. */
static bool
read_action(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	for (const char *const *verb = edit_verbs; *verb != NULL; verb++)
		if (slice_is(v->raw, *verb))
			return type_word.read(r, v, a, out);
	diag_error(r->diag, v->span,
	    "\"" SLICE_FORMAT "\" is not set, add, remove or reset; to set a field write: set " SLICE_FORMAT
	    " \"TEXT\"",
	    SLICE_ARG(diag_word(v->raw)), SLICE_ARG(diag_word(v->raw)));
	return false;
}

static const struct type type_action = {
	.name = "WORD",
	.wanted = "set, add, remove or reset",
	.size = sizeof(int),
	.read = read_action,
};

/* What frames a message, or belongs to one connection (RFC 9110 7.6.1), is the protocol's. */
static bool
is_of_the_protocol(enum known known)
{
	switch (known) {
	case KNOWN_CONNECTION:
	case KNOWN_CONTENT_LENGTH:
	case KNOWN_EXPECT:
	case KNOWN_KEEP_ALIVE:
	case KNOWN_PROXY_CONNECTION:
	case KNOWN_TE:
	case KNOWN_TRAILER:
	case KNOWN_TRANSFER_ENCODING:
	case KNOWN_UPGRADE: return true;
	default: return false;
	}
}

static bool
read_field_name(struct reading *r, const struct value *v, const struct argument *a, void *out)
{
	for (size_t i = 0; i < v->raw.n; i++)
		if (!ascii_is_token(v->raw.at[i])) {
			diag_error(r->diag, v->span,
			    "\"%.*s\" is no field name: letters, digits and - only",
			    SLICE_ARG(diag_word(v->raw)));
			return false;
		}
	if (v->raw.n == 0 || v->raw.n > UINT16_MAX) {
		diag_error(r->diag, v->span, "a field name has 1 to 65535 bytes");
		return false;
	}
	if (is_of_the_protocol(known_sounding(v->raw))) {
		diag_error(r->diag, v->span,
		    "\"%.*s\" is written by the protocol and is not edited", SLICE_ARG(v->raw));
		return false;
	}
	*(struct slice *)out = arena_slice(r->arena, v->raw);
	return true;
}

static const struct type type_field_name = {
	.name = "FIELD",
	.wanted = "a field name (X-Frame-Options)",
	.size = sizeof(struct slice),
	.read = read_field_name,
};

static bool
edit_check(struct reading *r, const struct statement *s, void *filled)
{
	static const char *const forms[] = { "set NAME \"TEXT\"", "add NAME \"TEXT\"",
		"remove NAME", "reset" };
	static const size_t counts[] = { 4, 4, 3, 2 };
	struct edit *edit = filled;

	edit->known = known_find(edit->name);
	if (s->value_count != counts[edit->verb]) {
		diag_error(r->diag, s->span, "write: %.*s %s;", SLICE_ARG(s->values[0].raw),
		    forms[edit->verb]);
		return false;
	}
	if (edit->known == KNOWN_HOST && edit->verb != EDIT_SET) {
		diag_error(r->diag, s->span,
		    "a question has one Host: it can be set, not added or removed");
		return false;
	}
	return true;
}

static bool
edit_build(struct build *b, struct step *step)
{
	const struct edit *edit = step->settings;

	if (edit->verb != EDIT_RESET)
		return true;
	if (step->when != NULL) {
		diag_error(build_reading(b)->diag, step->span,
		    "reset is done once and for all: it takes no condition");
		return false;
	}
	if (!build_reset(b, step->ops)) {
		diag_error(build_reading(b)->diag, step->span,
		    "nothing is inherited here that could be reset; reset belongs in a route");
		return false;
	}
	step->ops = NULL;
	return true;
}

/* False: the value is too long. */
static bool
edit_run(const struct edit *edit, struct exchange *ex, struct message *m)
{
	struct slice value = SLICE_EMPTY;

	if (edit->verb != EDIT_REMOVE && !text_get(&edit->value, ex, &value))
		return false;
	if (edit->verb != EDIT_ADD)
		message_remove(m, edit->known, edit->name);
	if (edit->verb != EDIT_REMOVE)
		message_add(m, &ex->arena, edit->name, value);
	return true;
}

static enum verdict
request_question(struct exchange *ex, const struct step *step)
{
	if (edit_run(step->settings, ex, &ex->question))
		return STEP_PASS;
	exchange_abort(ex, REASON_INTERNAL);
	return STEP_TAKE;
}

static enum verdict
request_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	if (edit_run(step->settings, ex, &ex->question))
		return STEP_PASS;
	out->reason = REASON_INTERNAL;
	return STEP_TAKE;
}

/*
 * The answer is on its way: a value too long for it is left out, which harms less than cutting it
 * off.
 */
static void
response_answer(struct exchange *ex, const struct step *step, struct part *part)
{
	if (part->kind == PART_HEAD && !edit_run(step->settings, ex, &ex->answer))
		log_line(LOG_ERROR,
		    "response_header: the value is longer than %d bytes and was left out",
		    TEXT_MAX);
}

static const struct handler_ops request_ops = {
	.name = "request_header",
	.protocols = PROTOCOL_HTTP | PROTOCOL_MESSAGES,
	.moment = MOMENT_QUESTION,
	.build = edit_build,
	.question = request_question,
	.explain = request_explain,
};

static const struct handler_ops response_ops = {
	.name = "response_header",
	.protocols = PROTOCOL_HTTP,
	.moment = MOMENT_ANSWER,
	.build = edit_build,
	.answer = response_answer,
};

static const struct argument edit_arguments[] = {
	{ "ACTION", &type_action, offsetof(struct edit, verb), .words = edit_verbs },
	{ "NAME", &type_field_name, offsetof(struct edit, name), .flags = ARGUMENT_OPTIONAL },
	{ "TEXT", &type_text, offsetof(struct edit, value), .flags = ARGUMENT_OPTIONAL,
	    .more = TEXT_HEADER },
	{ 0 },
};

const struct directive handler_headers_rows[] = {
	{ "request_header", DIRECTIVE_STEP, .arguments = edit_arguments,
	    .size = sizeof(struct edit),
	    .check = edit_check, .ops = &request_ops,
	    .help = "Sets, adds or removes a field of what is forwarded; reset forgets the "
	    "server's own edits." },
	{ "response_header", DIRECTIVE_STEP, .arguments = edit_arguments,
	    .size = sizeof(struct edit),
	    .check = edit_check, .ops = &response_ops,
	    .help = "Sets, adds or removes a field of the answer; reset forgets the server's own "
	    "edits." },
	{ 0 },
};
