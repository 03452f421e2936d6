/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * echo: what the client says, back to it, streamed. HTTP: the body of the
 * question as the body of a 200; a message: one with the same body; a talk: byte by byte.
 */
#include "core/exchange.h"
#include "handlers/handlers.h"

static void
copy_content_type(struct exchange *ex)
{
	struct slice type;

	if (message_find(&ex->question, KNOWN_CONTENT_TYPE, SLICE_EMPTY, 0, &type))
		message_add_known(&ex->answer, &ex->arena, KNOWN_CONTENT_TYPE,
		    arena_slice(&ex->arena, type));
}

static enum verdict
echo_question(struct exchange *ex, const struct step *step)
{
	const struct message *question = &ex->question;

	if (ex->talk)
		return STEP_TAKE;
	if (ex->unit != NULL) {
		exchange_return_message(ex, unit_body(ex->unit), NULL, 0);
		return STEP_TAKE;
	}
	if (question->body == BODY_NONE ||
	    (question->body == BODY_LENGTH && question->length == 0)) {
		exchange_return(ex, 200, SLICE_EMPTY, SLICE_EMPTY);
		return STEP_TAKE;
	}
	copy_content_type(ex);
	ex->answer.status = 200;
	ex->answer.body = question->body;
	ex->answer.length = question->length;
	return STEP_TAKE;
}

/*
 * The head waits for the first of the body: a client that expects 100 has to be told to send it
 * first.
 */
static void
echo_data(struct exchange *ex, const struct step *step, const struct part *part)
{
	if (ex->answer_state == ANSWER_NONE && !ex->talk)
		exchange_return_head(ex, false);
	exchange_return_data(ex, part->data, part->last);
}

static enum verdict
echo_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	bool http = !ex->talk && ex->unit == NULL;

	out->status = http ? 200 : 0;
	builder_text(&out->does, http ? "answers 200 with the body that came" : "sends back what came");
	return STEP_TAKE;
}

static const struct handler_ops echo_ops = {
	.name = "echo",
	.moment = MOMENT_QUESTION,
	.takes = true,
	.question = echo_question,
	.explain = echo_explain,
	.data = echo_data,
};

const struct directive handler_echo_rows[] = {
	{ "echo", DIRECTIVE_STEP, .ops = &echo_ops,
	    .help = "Sends back what the client sends: for trying things out." },
	{ 0 },
};
