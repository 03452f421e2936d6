/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * return STATUS ["text"] [type=…]: an answer made here. A text without fields
 * goes out as it lies in the snapshot, uncopied.
 */
#include "core/exchange.h"
#include "core/text.h"
#include "handlers/handlers.h"

struct reply {
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
ends_nocase(struct slice s, struct slice end)
{
	return s.n >= end.n && slice_equal_nocase(slice_after(s, s.n - end.n), end);
}

/* A value must not end the string, the text or the attribute that it stands in. */
static enum text_place
place_for(struct slice type)
{
	struct slice name = slice_trim(slice_first(type, slice_find(type, ';', 0)));

	if (slice_equal_nocase(name, SLICE("application/json")) ||
	    ends_nocase(name, SLICE("+json")))
		return TEXT_JSON;
	if (slice_equal_nocase(name, SLICE("text/html")) || ends_nocase(name, SLICE("/xml")) ||
	    ends_nocase(name, SLICE("+xml")))
		return TEXT_HTML;
	return TEXT_PLAIN;
}

static bool
reply_check(struct reading *r, const struct statement *s, void *filled)
{
	struct reply *reply = filled;

	if (status_redirects(reply->status)) {
		diag_error(r->diag, s->span,
		    "\"return\" sends a body, not a client elsewhere; write: redirect %d TARGET;",
		    (int)reply->status);
		return false;
	}
	if (!status_has_body(reply->status) && reply->body.raw.raw.n != 0) {
		diag_error(
		    r->diag, reply->body.raw.span, "a %d answer has no body", (int)reply->status);
		return false;
	}
	reply->body.place = place_for(reply->type);
	for (size_t i = 0; i < reply->type.n; i++)
		if ((unsigned char)reply->type.at[i] < ' ' || reply->type.at[i] == 0x7f) {
			diag_error(r->diag, s->span, "a media type has no control bytes");
			return false;
		}
	return true;
}

static enum verdict
reply_question(struct exchange *ex, const struct step *step)
{
	const struct reply *reply = step->settings;
	struct slice body = reply->body.literal;

	if (!reply->body.constant && !text_write(&reply->body, ex, &body)) {
		exchange_abort(ex, REASON_INTERNAL);
		return STEP_TAKE;
	}
	exchange_return(ex, (uint16_t)reply->status,
	    status_has_body(reply->status) ? reply->type : SLICE_EMPTY, body);
	return STEP_TAKE;
}

static const struct handler_ops reply_ops = {
	.name = "return",
	.protocols = PROTOCOL_HTTP,
	.moment = MOMENT_QUESTION,
	.takes = true,
	.question = reply_question,
};

static const struct argument reply_arguments[] = {
	{ "STATUS", &type_integer, offsetof(struct reply, status), .min = 200, .max = 599 },
	{ "TEXT", &type_text, offsetof(struct reply, body), .flags = ARGUMENT_OPTIONAL,
	    .more = TEXT_PLAIN, .otherwise = "\"\"" },
	{ "type", &type_string, offsetof(struct reply, type), .flags = ARGUMENT_OPTION,
	    .otherwise = "text/plain" },
	{ 0 },
};

const struct directive handler_reply_rows[] = {
	{ "return", DIRECTIVE_STEP, .arguments = reply_arguments, .size = sizeof(struct reply),
	    .check = reply_check, .ops = &reply_ops,
	    .help = "Answers with this status and text." },
	{ 0 },
};
