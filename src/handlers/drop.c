/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drop: a message gets no answer, and its connection goes on.
 */
#include "core/exchange.h"
#include "handlers/handlers.h"

static enum verdict
drop_question(struct exchange *ex, const struct step *step)
{
	exchange_return_nothing(ex);
	return STEP_TAKE;
}

static enum verdict
drop_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	builder_text(&out->does, "leaves it without an answer");
	return STEP_TAKE;
}

static const struct handler_ops drop_ops = {
	.name = "drop",
	.protocols = PROTOCOL_MESSAGES,
	.instead = "close;",
	.moment = MOMENT_QUESTION,
	.takes = true,
	.question = drop_question,
	.explain = drop_explain,
};

const struct directive handler_drop_rows[] = {
	{ "drop", DIRECTIVE_STEP, .ops = &drop_ops,
	    .help = "Leaves a message without an answer; what comes behind it goes its way." },
	{ 0 },
};
