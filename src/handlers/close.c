/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * close: cuts the client's connection without a word.
 */
#include "core/exchange.h"
#include "handlers/handlers.h"

static enum verdict
close_question(struct exchange *ex, const struct step *step)
{
	struct conn *client = ex->client;

	exchange_client_failed(ex, REASON_DENIED);
	if (client != NULL)
		conn_close(client);
	return STEP_TAKE;
}

static const struct handler_ops close_ops = {
	.name = "close",
	.moment = MOMENT_QUESTION,
	.takes = true,
	.question = close_question,
};

const struct directive handler_close_rows[] = {
	{ "close", DIRECTIVE_STEP, .ops = &close_ops,
	    .help = "Cuts the connection without an answer." },
	{ 0 },
};
