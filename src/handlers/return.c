/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * return STATUS ["text"] [type=…]: an answer made here. A text without fields
 * goes out as it lies in the snapshot, uncopied.
 */
#include "core/exchange.h"
#include "core/text.h"
#include "handlers/handlers.h"

struct answer {
	int64_t status;
	struct text body;
	struct slice type;
};

static bool
status_has_body(int64_t status)
{
	return status != 204 && status != 205 &&
	       status != 304; /* RFC 9110 15.3.5, 15.3.6, 15.4.5 */
}

static bool
status_redirects(int64_t status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static bool
return_check(struct reading *r, const struct statement *s, void *filled)
{
	struct answer *answer = filled;

	if (status_redirects(answer->status)) {
		diag_error(r->diag, s->span,
		    "\"return\" sends a body, not a client elsewhere; write: redirect %d TARGET;",
		    (int)answer->status);
		return false;
	}
	if (!status_has_body(answer->status) && answer->body.raw.raw.n != 0) {
		diag_error(
		    r->diag, answer->body.raw.span, "a %d answer has no body", (int)answer->status);
		return false;
	}
	answer->body.place = text_place_for(answer->type);
	for (size_t i = 0; i < answer->type.n; i++)
		if ((unsigned char)answer->type.at[i] < ' ' || answer->type.at[i] == 0x7f) {
			diag_error(r->diag, s->span, "a media type has no control bytes");
			return false;
		}
	return true;
}

static enum verdict
return_question(struct exchange *ex, const struct step *step)
{
	const struct answer *answer = step->settings;
	struct slice body = answer->body.literal;

	if (!answer->body.constant && !text_write(&answer->body, ex, &body)) {
		exchange_abort(ex, REASON_INTERNAL);
		return STEP_TAKE;
	}
	exchange_return(ex, (uint16_t)answer->status,
	    status_has_body(answer->status) ? answer->type : SLICE_EMPTY, body);
	return STEP_TAKE;
}

static enum verdict
return_explain(struct exchange *ex, const struct step *step, struct outlook *out)
{
	const struct answer *answer = step->settings;

	out->status = (uint16_t)answer->status;
	builder_printf(&out->does, "answers %d", (int)answer->status);
	if (answer->body.raw.raw.n != 0 && !text_show(&answer->body, ex, &out->does))
		out->reason = REASON_INTERNAL;
	return STEP_TAKE;
}

static const struct handler_ops return_ops = {
	.name = "return",
	.protocols = PROTOCOL_HTTP,
	.instead = "reply \"TEXT\";",
	.moment = MOMENT_QUESTION,
	.takes = true,
	.question = return_question,
	.explain = return_explain,
};

static const struct argument return_arguments[] = {
	{ "STATUS", &type_integer, offsetof(struct answer, status), .min = 200, .max = 599 },
	{ "TEXT", &type_text, offsetof(struct answer, body), .flags = ARGUMENT_OPTIONAL,
	    .more = TEXT_PLAIN, .otherwise = "\"\"" },
	{ "type", &type_string, offsetof(struct answer, type), .flags = ARGUMENT_OPTION,
	    .otherwise = "text/plain" },
	{ 0 },
};

const struct directive handler_return_rows[] = {
	{ "return", DIRECTIVE_STEP, .arguments = return_arguments, .size = sizeof(struct answer),
	    .check = return_check, .ops = &return_ops,
	    .help = "Answers with this status and text." },
	{ 0 },
};
