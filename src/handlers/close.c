/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * close ["TEXT"] [drain]: ends the client's connection. Of messages, those before this one are
 * answered first; it may have a last word itself. What came behind it is forgotten, or with
 * `drain` answered as far as it is whole. Any other connection is cut.
 */
#include "core/exchange.h"
#include "core/text.h"
#include "handlers/handlers.h"

struct close {
	struct text text;
	bool says, drains;
};

static bool
close_check(struct reading *r, const struct statement *s, void *filled)
{
	struct close *close = filled;

	close->says = close->text.raw.raw.at != NULL;
	if (!close->says || close->text.raw.kind != VALUE_WORD)
		return true;
	diag_error(r->diag, close->text.raw.span,
	    "a last word stands in quotes: close \"%.*s\"; without it: close drain;",
	    SLICE_ARG(diag_word(close->text.raw.raw)));
	return false;
}

static bool
close_build(struct build *b, struct step *step)
{
	struct close *close = (struct close *)(uintptr_t)step->settings;
	const struct protocol_ops *protocol = build_protocol(b);
	const struct codec *k = protocol->codec;
	struct draft draft = { .body = close->text.literal, .is_answer = true };

	if (k == NULL && (close->says || close->drains)) {
		diag_error(build_reading(b)->diag, step->span,
		    "a last word and drain are for protocols of messages; this server speaks %s",
		    protocol->name);
		return false;
	}
	if (!close->says)
		return true;
	close->text.place = text_place_for(slice_of(k->type));
	return !close->text.constant ||
	    codec_check(k, protocol->name, &draft, build_reading(b), close->text.raw.span);
}

static enum verdict
close_message(struct exchange *ex, const struct close *close)
{
	struct slice text = close->text.literal;

	ex->close_client = true;
	ex->close_drains = close->drains;
	if (!close->says)
		exchange_return_nothing(ex);
	else if (close->text.constant || text_write(&close->text, ex, &text))
		exchange_return_message(ex, text, NULL, 0);
	else
		exchange_abort(ex, REASON_INTERNAL);
	return STEP_TAKE;
}

static enum verdict
close_question(struct exchange *ex, const struct step *step)
{
	struct conn *client = ex->client;

	if (ex->unit != NULL)
		return close_message(ex, step->settings);
	exchange_client_failed(ex, REASON_DENIED);
	if (client != NULL)
		conn_close(client);
	return STEP_TAKE;
}

static enum verdict
close_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	const struct close *close = step->settings;

	builder_text(&out->does, ex->unit != NULL ? "ends the connection" : "cuts the connection");
	if (!close->says)
		return STEP_TAKE;
	builder_text(&out->does, " behind");
	if (!text_show(&close->text, ex, &out->does))
		out->reason = REASON_INTERNAL;
	return STEP_TAKE;
}

static const struct handler_ops close_ops = {
	.name = "close",
	.moment = MOMENT_QUESTION,
	.takes = true,
	.build = close_build,
	.question = close_question,
	.explain = close_explain,
};

static const struct argument close_arguments[] = {
	{ "TEXT", &type_text, offsetof(struct close, text), .flags = ARGUMENT_OPTIONAL,
	    .more = TEXT_PLAIN },
	{ "drain", &type_flag, offsetof(struct close, drains), .flags = ARGUMENT_OPTION },
	{ 0 },
};

const struct directive handler_close_rows[] = {
	{ "close", DIRECTIVE_STEP, .arguments = close_arguments, .size = sizeof(struct close),
	    .check = close_check, .ops = &close_ops,
	    .help = "Cuts the connection without an answer. Of messages: answers those before this "
	    "one, says TEXT, and ends; drain: those that are whole behind it are answered, too." },
	{ 0 },
};
